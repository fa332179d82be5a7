#include <stdio.h>
#include "sched/budget.h"

/* So that FG_ROLLOUT_MAX_PACKING packers have room beside one that has half. */
#define SHARES (2 * FG_ROLLOUT_MAX_PACKING)

_Static_assert(FG_ROLLOUT_MAX_PLANS <= 64, "a set of plans is one word");

static uint64_t plans_of(const struct fg_rollout_generation *generation)
{
	uint64_t plans = 0;
	uint32_t i;

	for (i = 0; i < generation->entry_count; i++)
		plans |= 1ull << generation->entries[i].plan;
	return plans;
}

static uint64_t bytes_of(const struct fg_rollout_observed *observed, uint64_t plans)
{
	uint64_t bytes = 0;

	for (; plans; plans &= plans - 1)
		bytes += observed->plans[__builtin_ctzll(plans)].bytes;
	return bytes;
}

static bool is_serving(const struct fg_rollout_generation *generation)
{
	return generation->phase == FG_GENERATION_STARTING ||
	       generation->phase == FG_GENERATION_LIVE ||
	       generation->phase == FG_GENERATION_CANARY ||
	       generation->phase == FG_GENERATION_SHADOW;
}

bool fg_budget_waits(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     uint32_t plan)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (plans_of(&rollout->generations[i]) >> plan & 1)
			return false;
	return observed->plans[plan].phase == FG_PLAN_READY && !(rollout->dropping >> plan & 1);
}

/* A plan that is on its way to FREE counts as kept: its memory is there soon. */
void fg_budget_count(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, struct fg_budget *budget)
{
	const struct fg_rollout_memory *memory = &observed->memory;
	uint64_t serving = 0, kept = 0, waiting = 0;
	uint32_t i;

	*budget = (struct fg_budget){.limit = memory->limit_bytes, .base = memory->base_bytes};
	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &rollout->generations[i];
		uint64_t workers = generation->worker_count * memory->worker_bytes;

		if (is_serving(generation)) {
			serving |= plans_of(generation);
			budget->serving += workers;
		} else if (generation->phase != FG_GENERATION_NONE) {
			kept |= plans_of(generation);
			budget->kept += workers;
		}
	}
	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		if (observed->plans[i].phase == FG_PLAN_PACKING)
			budget->packing += observed->plans[i].memory_bytes;
		else if (fg_budget_waits(rollout, observed, i))
			waiting |= 1ull << i;
		else if (observed->plans[i].phase == FG_PLAN_READY)
			kept |= 1ull << i;
	}
	budget->serving += bytes_of(observed, serving);
	budget->kept += bytes_of(observed, kept & ~serving);
	budget->waiting = bytes_of(observed, waiting);
	budget->start = config->worker_count * memory->worker_bytes;
}

uint64_t fg_budget_left(const struct fg_budget *budget)
{
	uint64_t sum =
		budget->base + budget->serving + budget->kept + budget->waiting + budget->start;

	if (!budget->limit)
		return UINT64_MAX;
	return sum < budget->limit ? budget->limit - sum : 0;
}

bool fg_budget_exceeded(const struct fg_budget *budget)
{
	return budget->waiting && !fg_budget_left(budget);
}

uint64_t fg_budget_share(const struct fg_budget *budget, uint32_t hunger)
{
	static const uint64_t parts[] = {
		[FG_HUNGER_NONE] = SHARES, [FG_HUNGER_MORE] = 2, [FG_HUNGER_ALL] = 1};
	uint64_t share = fg_budget_left(budget) / parts[hunger];

	if (share < FG_BUDGET_PACK_LEAST_BYTES)
		return FG_BUDGET_PACK_LEAST_BYTES;
	return share < FG_BUDGET_PACK_MOST_BYTES ? share : FG_BUDGET_PACK_MOST_BYTES;
}

uint64_t fg_budget_worker(const struct fg_budget *budget,
			  const struct fg_rollout_observed *observed,
			  const struct fg_rollout_config *config)
{
	uint64_t left = fg_budget_left(budget);

	if (!budget->limit)
		return 0;
	left = left > budget->packing ? (left - budget->packing) / config->worker_count : 0;
	return (observed->memory.worker_bytes + left) >> 24 << 24;
}

static unsigned long long mib(uint64_t bytes)
{
	return (bytes + (1 << 20) - 1) >> 20;
}

char *fg_budget_explain(const struct fg_budget *budget, const char *what, char *text, size_t size)
{
	snprintf(text, size,
		 "out of memory: %s of %llu MiB, beside %llu (base) + %llu (serving) + %llu (kept) "
		 "+ %llu (waiting) + %llu (workers): raise --memory or the cgroup's limit",
		 what, mib(budget->limit), mib(budget->base), mib(budget->serving),
		 mib(budget->kept), mib(budget->waiting), mib(budget->start));
	return text;
}
