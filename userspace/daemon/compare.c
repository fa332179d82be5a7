#include <string.h>
#include "userspace/daemon/control.h"

#define COMPARE_NS 50000000ull /* adding up reads 72 KiB of each worker */

/* One side: what its workers saw in the present epoch. */
struct side {
	const struct fg_state_seen *workers[FG_ROLLOUT_MAX_WORKERS];
	uint32_t count;
	uint64_t requests, errors;
};

/* Only the worker empties what it saw, and only when the epoch changes: which control does, and not
 * while it reads. */
static void gather(const struct fg_control *control, const struct fg_rollout *rollout,
		   enum fg_generation_phase phase, struct side *side)
{
	const struct fg_rollout_generation *generation = fg_rollout_find(rollout, phase);
	const struct fg_state_seen *seen;
	uint32_t i;

	memset(side, 0, sizeof(*side));
	for (i = 0; generation && i < generation->worker_count; i++) {
		seen = &control->state->slots[generation->slots[i]].seen;
		if (atomic_load_explicit(&seen->epoch, memory_order_acquire) != rollout->watch)
			continue;
		side->workers[side->count++] = seen;
		side->requests += atomic_load_explicit(&seen->requests, memory_order_relaxed);
		side->errors += atomic_load_explicit(&seen->errors, memory_order_relaxed);
	}
}

static double p99(const struct side *side)
{
	struct fg_distribution all;
	uint32_t i;

	memset(&all, 0, sizeof(all));
	for (i = 0; i < side->count; i++)
		fg_distribution_merge(&all, &side->workers[i]->latency_ns);
	return fg_distribution_quantile(&all, 0.99);
}

static double column_drift(const struct side *stable, const struct side *canary, uint32_t column)
{
	struct fg_distribution reference, other;
	uint32_t i;

	memset(&reference, 0, sizeof(reference));
	memset(&other, 0, sizeof(other));
	for (i = 0; i < stable->count; i++)
		fg_distribution_merge(&reference, &stable->workers[i]->scores[column]);
	for (i = 0; i < canary->count; i++)
		fg_distribution_merge(&other, &canary->workers[i]->scores[column]);
	return fg_distribution_psi(&reference, &other);
}

static void add_up(const struct fg_control *control, const struct fg_rollout *rollout,
		   struct fg_comparison *seen)
{
	struct side stable, canary;
	uint32_t column;
	double drift;

	gather(control, rollout, FG_GENERATION_LIVE, &stable);
	gather(control, rollout, FG_GENERATION_CANARY, &canary);
	*seen = (struct fg_comparison){
		.epoch = stable.count || canary.count ? rollout->watch : 0,
		.stable_requests = stable.requests,
		.canary_requests = canary.requests,
		.stable_errors = stable.errors,
		.canary_errors = canary.errors,
		.stable_p99_ns = p99(&stable),
		.canary_p99_ns = p99(&canary),
	};
	for (column = 0; column < FG_SEEN_SCORES; column++) {
		drift = column_drift(&stable, &canary, column);
		if (drift > seen->drift)
			seen->drift = drift;
	}
}

void fg_control_compare(struct fg_control *control, const struct fg_rollout *rollout,
			uint64_t now_ns)
{
	struct fg_comparison *seen = &control->observed.comparison;

	if (!fg_canary_active(&rollout->canary)) {
		memset(seen, 0, sizeof(*seen));
		return;
	}
	if (seen->epoch == rollout->watch && now_ns < control->comparison_ns + COMPARE_NS)
		return;
	control->comparison_ns = now_ns;
	add_up(control, rollout, seen);
	if (rollout->canary.phase == FG_CANARY_STARTING)
		memset(&control->shown, 0, sizeof(control->shown));
	if (fg_canary_judged(&rollout->canary.plan.guards, seen) || !control->shown.epoch)
		control->shown = *seen;
}
