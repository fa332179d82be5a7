#include <stdio.h>
#include <string.h>
#include "sched/rollout_actions.h"
#include "sched/rollout_step.h"

void fg_rollout_new_watch(struct fg_rollout *rollout)
{
	rollout->watch = rollout->watch % 65535 + 1;
}

/* The version failed with the files that are there now, or is nowhere, or has been getting ready
 * for long: why, else NULL. */
static const char *hopeless(const struct fg_step *step, const char *model, uint64_t version,
			    uint64_t since_ns)
{
	const struct fg_rollout_model *record = fg_wanted_model(step->rollout, model);
	const struct fg_store_version *found =
		fg_store_version(step->observed->store, model, version);
	const struct fg_rollout_failure *failure = NULL;

	if (record)
		failure = fg_wanted_failure(record, version, found ? found->fingerprint : 0);
	if (step->now_ns >= since_ns + FG_ROLLOUT_TRIAL_NS)
		return failure ? failure->error : "it was not ready after 120 s";
	if (failure && failure->passing)
		return NULL;
	if (fg_wanted_held(step->rollout, model, version) >= 0 && !(failure && found))
		return NULL;
	if (failure)
		return failure->error;
	return found ? NULL : "its files are gone";
}

/* ---- the canary ---- */

static void start_window(struct fg_step *step)
{
	fg_rollout_new_watch(step->rollout);
	step->rollout->canary.window_ns = step->now_ns;
}

static void start_step(struct fg_step *step, uint32_t number)
{
	struct fg_canary *canary = &step->rollout->canary;

	canary->step = number;
	canary->step_ns = step->now_ns;
	canary->held_ns = 0;
	start_window(step);
}

/* At the weight of all it becomes LIVE, unless the operator said to wait. */
static bool complete(struct fg_step *step, struct fg_rollout_generation *generation)
{
	const struct fg_canary *canary = &step->rollout->canary;

	if (fg_canary_weight(canary) < FG_CANARY_WHOLE || canary->phase == FG_CANARY_PAUSED)
		return false;
	fg_canary_end(step->rollout, FG_CANARY_DONE, "", step->now_ns);
	fg_step_cut_over(step, generation);
	return true;
}

/* Packed, warmed, checked: from now on a table may name it. */
static void let_in(struct fg_step *step, struct fg_rollout_generation *generation)
{
	struct fg_canary *canary = &step->rollout->canary;

	if (complete(step, generation))
		return;
	fg_step_enter(step, generation, FG_GENERATION_CANARY);
	generation->flip_ns = step->now_ns;
	if (canary->phase == FG_CANARY_STARTING)
		canary->phase = FG_CANARY_RUNNING;
	start_step(step, 0);
}

static void start_canary(struct fg_step *step)
{
	struct fg_canary *canary = &step->rollout->canary;
	struct fg_rollout_generation *live = fg_step_find(step, FG_GENERATION_LIVE);
	struct fg_rollout_generation *starting = fg_step_starting(step, false);
	struct fg_rollout_generation *held;
	struct fg_set set;
	const char *why;
	bool packed; /* and its files are not being changed */

	if (!canary->began_ns)
		canary->began_ns = step->now_ns;
	why = hopeless(step, canary->model, canary->version,
		       canary->phase == FG_CANARY_PAUSED ? step->now_ns : canary->began_ns);
	if (why || !live) {
		fg_canary_end(step->rollout, FG_CANARY_FAILED, why ? why : "nothing serves",
			      step->now_ns);
		return;
	}
	fg_set_build(step, live, &set);
	packed = fg_set_has(&set, canary->model, canary->version);
	if (starting && !(packed && fg_set_same(&set, starting))) {
		fg_step_enter(step, starting, FG_GENERATION_RETIRING);
		return;
	}
	if (starting) {
		if (fg_rollout_all_ready(starting, step->observed, step->now_ns) &&
		    canary->phase != FG_CANARY_PAUSED)
			let_in(step, starting);
		return;
	}
	if (set.waiting || !packed || canary->phase == FG_CANARY_PAUSED)
		return;
	held = fg_step_held(step, &set);
	if (held)
		let_in(step, held);
	else
		fg_step_begin(step, &set, false);
}

static const struct fg_comparison *seen_now(const struct fg_step *step)
{
	static const struct fg_comparison nothing;
	const struct fg_comparison *seen = &step->observed->comparison;

	return seen->epoch == step->rollout->watch ? seen : &nothing;
}

/* The step has lasted, and where there are guards they had enough to judge it by. */
static bool step_is_over(const struct fg_step *step)
{
	const struct fg_canary *canary = &step->rollout->canary;
	const struct fg_canary_guards *guards = &canary->plan.guards;

	if (canary->phase == FG_CANARY_PAUSED)
		return false;
	if (step->now_ns - canary->step_ns + canary->held_ns < canary->plan.hold_ns)
		return false;
	return !fg_canary_guarded(guards) || fg_canary_judged(guards, seen_now(step));
}

/* One that could not be judged goes on until it can. */
static bool window_is_over(const struct fg_step *step)
{
	const struct fg_canary *canary = &step->rollout->canary;

	return canary->plan.window_ns &&
	       step->now_ns >= canary->window_ns + canary->plan.window_ns &&
	       fg_canary_judged(&canary->plan.guards, seen_now(step));
}

/* Or the policy would load it beside the default, into the workers that serve. */
static void fail_version(struct fg_step *step, const struct fg_rollout_generation *generation,
			 const char *why)
{
	const struct fg_canary *canary = &step->rollout->canary;
	const struct fg_rollout_generation *live = fg_step_find(step, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry =
		fg_rollout_version(generation, canary->model, canary->version);

	if (!live || !fg_rollout_version(live, canary->model, canary->version))
		fg_wanted_fail(step->rollout, canary->model, canary->version,
			       fg_step_files(step, entry->plan), why,
			       fg_step_passes(step, generation) ? step->now_ns : 0);
}

static void break_canary(struct fg_step *step, struct fg_rollout_generation *generation,
			 enum fg_canary_phase phase, const char *why)
{
	generation->bad = 1;
	fg_canary_end(step->rollout, phase, why, step->now_ns);
	fg_step_enter(step, generation, FG_GENERATION_DRAINING);
}

static void run_canary(struct fg_step *step, struct fg_rollout_generation *generation)
{
	struct fg_canary *canary = &step->rollout->canary;
	struct fg_comparison seen = *seen_now(step);
	char why[sizeof(canary->reason)];

	if (fg_step_dies(generation)) {
		fail_version(step, generation, "its workers died again and again");
		break_canary(step, generation, FG_CANARY_FAILED,
			     "its workers died again and again");
		return;
	}
	if (fg_canary_broken(&canary->plan.guards, &seen, why, sizeof(why))) {
		canary->seen = seen;
		break_canary(step, generation, FG_CANARY_BROKEN, why);
		return;
	}
	if (fg_canary_weight(canary) < FG_CANARY_WHOLE && step_is_over(step) &&
	    canary->step + 1 < canary->plan.step_count) {
		canary->seen = seen;
		start_step(step, canary->step + 1);
	} else if (window_is_over(step)) {
		start_window(step);
	}
	complete(step, generation);
}

bool fg_step_canary(struct fg_step *step)
{
	struct fg_rollout_generation *generation = fg_step_find(step, FG_GENERATION_CANARY);
	struct fg_canary *canary = &step->rollout->canary;

	if (canary->phase && !fg_canary_active(canary) && !canary->ended_ns)
		canary->ended_ns = step->now_ns; /* a rollback pushed it aside */
	/* One that ended, perhaps a moment before another one was begun. */
	if (generation && !(fg_canary_active(canary) && canary->step_ns)) {
		fg_step_enter(step, generation, FG_GENERATION_DRAINING);
		generation = NULL;
	}
	if (!fg_canary_active(canary))
		return false;
	step->rollout->gather_ns = 0; /* what was gathered for waits as well */
	if (generation)
		run_canary(step, generation);
	else
		start_canary(step);
	return true;
}

/* ---- the shadow ---- */

static struct fg_rollout_generation *find_shadow(struct fg_step *step)
{
	struct fg_rollout_generation *starting = fg_step_starting(step, true);

	return starting ? starting : fg_step_find(step, FG_GENERATION_SHADOW);
}

static const char *shadow_ends(struct fg_step *step, const struct fg_rollout_generation *generation)
{
	const struct fg_shadow *shadow = &step->rollout->shadow;
	const struct fg_rollout_generation *live = fg_step_find(step, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, shadow->model) : NULL;

	if (!entry)
		return "its model is not served any more";
	if (entry->version == shadow->version)
		return "it serves now";
	if (generation && fg_step_dies(generation))
		return "its worker dies";
	if (generation)
		return NULL;
	return hopeless(step, shadow->model, shadow->version, shadow->since_ns);
}

static void start_shadow(struct fg_step *step)
{
	const struct fg_shadow *shadow = &step->rollout->shadow;
	struct fg_set set = {.count = 1};
	int plan =
		fg_rollout_find_plan(step->rollout, step->observed, shadow->model, shadow->version);

	if (plan < 0 || fg_set_pending(step, shadow->model, shadow->version))
		return;
	memcpy(set.entries[0].model, shadow->model, sizeof(set.entries[0].model));
	set.entries[0].version = shadow->version;
	set.entries[0].plan = (uint32_t)plan;
	set.entries[0].is_default = 1;
	fg_step_begin(step, &set, true);
}

void fg_step_shadow(struct fg_step *step)
{
	struct fg_shadow *shadow = &step->rollout->shadow;
	struct fg_rollout_generation *generation = find_shadow(step);
	const char *why;

	if (fg_shadow_active(shadow)) {
		why = shadow_ends(step, generation);
		if (why)
			fg_shadow_end(step->rollout, shadow->model, why);
	}
	if (generation && (!fg_shadow_active(shadow) ||
			   !fg_rollout_version(generation, shadow->model, shadow->version))) {
		fg_step_enter(step, generation, FG_GENERATION_RETIRING);
	} else if (!fg_shadow_active(shadow)) {
		return;
	} else if (!generation) {
		start_shadow(step);
	} else if (shadow->phase == FG_SHADOW_STARTING &&
		   fg_rollout_all_ready(generation, step->observed, step->now_ns)) {
		fg_step_enter(step, generation, FG_GENERATION_SHADOW);
		shadow->phase = FG_SHADOW_RUNNING;
		fg_rollout_new_watch(step->rollout);
	}
}
