#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "sched/canary.h"
#include "sched/rollout.h"
#include "sched/wanted.h"

const char *fg_canary_phase_name(uint32_t phase)
{
	static const char names[][10] = {"none", "starting", "running", "paused",
					 "done", "aborted",  "broken",	"failed"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

const char *fg_shadow_phase_name(uint32_t phase)
{
	static const char names[][10] = {"none", "starting", "running", "ended"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

bool fg_canary_active(const struct fg_canary *canary)
{
	return canary->phase == FG_CANARY_STARTING || canary->phase == FG_CANARY_RUNNING ||
	       canary->phase == FG_CANARY_PAUSED;
}

bool fg_shadow_active(const struct fg_shadow *shadow)
{
	return shadow->phase == FG_SHADOW_STARTING || shadow->phase == FG_SHADOW_RUNNING;
}

bool fg_canary_runs(const struct fg_canary *canary, const char *model, uint64_t version)
{
	return fg_canary_active(canary) && !strcmp(canary->model, model) &&
	       (!version || canary->version == version);
}

bool fg_shadow_runs(const struct fg_shadow *shadow, const char *model, uint64_t version)
{
	return fg_shadow_active(shadow) && !strcmp(shadow->model, model) &&
	       (!version || shadow->version == version);
}

/* ---- plan and guards ---- */

static const char *check_guards(const struct fg_canary_guards *guards)
{
	if (!(guards->error_rate >= 0 && guards->error_rate <= 1))
		return "the error rate's bound is a share from 0 to 1";
	if (guards->p99 != 0 && !(guards->p99 >= 1.1 && guards->p99 <= 1000))
		return "the bound of p99 is a factor from 1.1 (closer is noise) to 1000";
	if (!(guards->drift >= 0 && guards->drift <= 100))
		return "the bound of drift is 0 to 100";
	return NULL;
}

int fg_canary_check(const struct fg_canary_plan *plan, const char **why)
{
	uint32_t i;

	*why = NULL;
	if (!plan->step_count || plan->step_count > FG_CANARY_MAX_STEPS)
		*why = "1 to 16 steps";
	for (i = 0; !*why && i < plan->step_count; i++)
		if (!plan->steps[i] || plan->steps[i] > FG_CANARY_WHOLE ||
		    (i && plan->steps[i] <= plan->steps[i - 1]))
			*why = "steps go upward, from 0.01 % to 100 %";
	if (!*why)
		*why = check_guards(&plan->guards);
	return *why ? -EINVAL : 0;
}

static double rate(uint64_t errors, uint64_t requests)
{
	return errors + requests ? (double)errors / (double)(errors + requests) : 0;
}

/*
 * Guards are judged again and again, so what chance alone makes must not break one: an excess of
 * errors counts beyond 3.7 standard errors, PSI beyond the 99.99 % quantile of what two equal sides
 * show (chi-squared with 9 degrees of freedom, times 1/n + 1/m), and a p99 of fewer than a thousand
 * answers is not one.
 */
#define ERROR_Z	     3.7
#define PSI_CHANCE   34.0
#define P99_REQUESTS 1000

static bool more_errors(const struct fg_canary_guards *guards, const struct fg_comparison *seen)
{
	double n = (double)(seen->canary_requests + seen->canary_errors);
	double m = (double)(seen->stable_requests + seen->stable_errors);
	double errors = (double)(seen->canary_errors + seen->stable_errors);
	double share = n + m > 0 ? errors / (n + m) : 0;
	double excess = rate(seen->canary_errors, seen->canary_requests) -
			rate(seen->stable_errors, seen->stable_requests) - guards->error_rate;

	return guards->error_rate > 0 && n > 0 && m > 0 &&
	       excess > ERROR_Z * sqrt(share * (1 - share) * (1 / n + 1 / m));
}

static bool slower(const struct fg_canary_guards *guards, const struct fg_comparison *seen)
{
	return guards->p99 > 0 && seen->stable_p99_ns > 0 &&
	       seen->canary_requests >= P99_REQUESTS && seen->stable_requests >= P99_REQUESTS &&
	       seen->canary_p99_ns > seen->stable_p99_ns * guards->p99;
}

static bool drifts(const struct fg_canary_guards *guards, const struct fg_comparison *seen)
{
	if (!(guards->drift > 0) || !seen->canary_requests || !seen->stable_requests)
		return false;
	return seen->drift - PSI_CHANCE * (1.0 / (double)seen->canary_requests +
					   1.0 / (double)seen->stable_requests) >
	       guards->drift;
}

bool fg_canary_broken(const struct fg_canary_guards *guards, const struct fg_comparison *seen,
		      char *text, uint32_t size)
{
	double canary = rate(seen->canary_errors, seen->canary_requests);
	double stable = rate(seen->stable_errors, seen->stable_requests);

	text[0] = '\0';
	if (!fg_canary_judged(guards, seen))
		return false;
	if (more_errors(guards, seen))
		snprintf(text, size,
			 "error rate %.3g %% against %.3g %%, may be %.3g %% points more",
			 canary * 100, stable * 100, guards->error_rate * 100);
	else if (slower(guards, seen))
		snprintf(text, size, "p99 %.1f us against %.1f us, may be %.3g times that",
			 seen->canary_p99_ns / 1e3, seen->stable_p99_ns / 1e3, guards->p99);
	else if (drifts(guards, seen))
		snprintf(text, size, "scores drift: population stability index %.3f, bound %.3g",
			 seen->drift, guards->drift);
	return text[0];
}

bool fg_canary_guarded(const struct fg_canary_guards *guards)
{
	return guards->error_rate > 0 || guards->p99 > 0 || guards->drift > 0;
}

bool fg_canary_judged(const struct fg_canary_guards *guards, const struct fg_comparison *seen)
{
	return seen->canary_requests + seen->canary_errors >= guards->min_requests &&
	       seen->stable_requests + seen->stable_errors >= guards->min_requests;
}

uint32_t fg_canary_weight(const struct fg_canary *canary)
{
	return canary->step < canary->plan.step_count ? canary->plan.steps[canary->step] : 0;
}

/* ---- the operator ---- */

static const struct fg_rollout_entry *serving(const struct fg_rollout *rollout, const char *model)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);

	return live ? fg_rollout_entry(live, model) : NULL;
}

static bool same_plan(const struct fg_canary_plan *a, const struct fg_canary_plan *b)
{
	return a->step_count == b->step_count &&
	       !memcmp(a->steps, b->steps, a->step_count * sizeof(a->steps[0])) &&
	       a->hold_ns == b->hold_ns && a->window_ns == b->window_ns &&
	       !memcmp(&a->guards, &b->guards, sizeof(a->guards));
}

int fg_canary_begin(struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rules *rules, const char *model, uint64_t version,
		    const struct fg_canary_plan *plan)
{
	const struct fg_rules_model *rule = fg_rules_find(rules, model);
	const struct fg_rollout_entry *entry = serving(rollout, model);
	struct fg_canary *canary = &rollout->canary;

	if (fg_canary_runs(canary, model, version))
		return same_plan(&canary->plan, plan) ? 0 : -EBUSY;
	if (!entry || !rule || !fg_wanted_exists(rollout, store, model, version))
		return -ENOENT;
	if (!fg_wanted_named(rule, version))
		return -EPERM;
	if (entry->version == version)
		return -EALREADY;
	if (fg_canary_active(canary) || rollout->trial.active)
		return -EBUSY;
	if (fg_shadow_active(&rollout->shadow))
		fg_shadow_end(rollout, rollout->shadow.model, "a canary begins");
	fg_wanted_forget(rollout, model, version);
	fg_wanted_ask(rollout, store, model, version);
	memset(canary, 0, sizeof(*canary));
	memcpy(canary->model, entry->model, sizeof(canary->model));
	canary->version = version;
	canary->from = entry->version;
	canary->phase = FG_CANARY_STARTING;
	canary->plan = *plan;
	return 0;
}

int fg_canary_pause(struct fg_rollout *rollout, const char *model, uint64_t now_ns)
{
	struct fg_canary *canary = &rollout->canary;

	if (!fg_canary_runs(canary, model, 0))
		return -ENOENT;
	if (canary->phase == FG_CANARY_PAUSED)
		return 0;
	if (canary->step_ns)
		canary->held_ns += now_ns - canary->step_ns;
	canary->phase = FG_CANARY_PAUSED;
	return 0;
}

/* One that never had flows has all its time to get ready once more. */
static void wake(struct fg_canary *canary)
{
	canary->phase = canary->step_ns ? FG_CANARY_RUNNING : FG_CANARY_STARTING;
	if (!canary->step_ns)
		canary->began_ns = 0;
}

int fg_canary_resume(struct fg_rollout *rollout, const char *model, uint64_t now_ns)
{
	struct fg_canary *canary = &rollout->canary;

	if (!fg_canary_runs(canary, model, 0))
		return -ENOENT;
	if (canary->phase != FG_CANARY_PAUSED)
		return 0;
	wake(canary);
	if (canary->step_ns)
		canary->step_ns = now_ns;
	return 0;
}

int fg_canary_finish(struct fg_rollout *rollout, const char *model)
{
	struct fg_canary *canary = &rollout->canary;

	if (!fg_canary_runs(canary, model, 0))
		return -ENOENT;
	canary->plan.step_count = 1;
	canary->plan.steps[0] = FG_CANARY_WHOLE;
	canary->step = 0;
	if (canary->phase == FG_CANARY_PAUSED)
		wake(canary);
	return 0;
}

void fg_canary_end(struct fg_rollout *rollout, enum fg_canary_phase phase, const char *reason,
		   uint64_t now_ns)
{
	struct fg_canary *canary = &rollout->canary;
	uint64_t chosen = phase == FG_CANARY_DONE ? canary->version : canary->from;
	uint64_t newer = canary->version > canary->from ? canary->version : canary->from;

	canary->phase = phase;
	canary->ended_ns = now_ns;
	snprintf(canary->reason, sizeof(canary->reason), "%s", reason);
	/* Else policy latest would roll the version out at once that the canary just refused. */
	fg_wanted_settle(rollout, canary->model, chosen, newer);
}

int fg_canary_abort(struct fg_rollout *rollout, const char *model, const char *reason,
		    uint64_t now_ns)
{
	const struct fg_canary *canary = &rollout->canary;

	if (!fg_canary_runs(canary, model, 0))
		return !strcmp(canary->model, model) && canary->phase == FG_CANARY_ABORTED
			       ? 0
			       : -ENOENT;
	fg_canary_end(rollout, FG_CANARY_ABORTED, reason, now_ns);
	return 0;
}

/* ---- the shadow ---- */

int fg_shadow_begin(struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rules *rules, const char *model, uint64_t version,
		    uint32_t share, uint64_t now_ns)
{
	const struct fg_rollout_entry *entry = serving(rollout, model);
	struct fg_shadow *shadow = &rollout->shadow;

	if (!entry || !fg_rules_find(rules, model) ||
	    !fg_wanted_exists(rollout, store, model, version))
		return -ENOENT;
	if (entry->version == version)
		return -EALREADY;
	if (fg_canary_active(&rollout->canary))
		return -EBUSY;
	if (fg_shadow_active(shadow)) {
		if (!fg_shadow_runs(shadow, model, version))
			return -EBUSY;
		if (shadow->share != share)
			fg_rollout_new_watch(rollout);
		shadow->share = share;
		return 0;
	}
	fg_wanted_forget(rollout, model, version);
	fg_wanted_ask(rollout, store, model, version);
	/* It is tried, not wanted: policy latest must not take the forgetting for an invitation. */
	fg_wanted_settle(rollout, model, entry->version, version);
	memset(shadow, 0, sizeof(*shadow));
	memcpy(shadow->model, entry->model, sizeof(shadow->model));
	shadow->version = version;
	shadow->share = share;
	shadow->phase = FG_SHADOW_STARTING;
	shadow->since_ns = now_ns;
	return 0;
}

int fg_shadow_end(struct fg_rollout *rollout, const char *model, const char *reason)
{
	struct fg_shadow *shadow = &rollout->shadow;

	if (strcmp(shadow->model, model) || !shadow->phase)
		return -ENOENT;
	if (!fg_shadow_active(shadow))
		return 0;
	shadow->phase = FG_SHADOW_ENDED;
	snprintf(shadow->reason, sizeof(shadow->reason), "%s", reason);
	return 0;
}
