#include <stdio.h>
#include <string.h>
#include "sched/rollout_actions.h"
#include "sched/rollout_step.h"

/*
 * A version is a number, and what is in it may change: a copy goes on after a pause, golden rows
 * come late, a file is replaced, a version is deleted and put back. So the files of every version
 * that is held are compared with its plan whenever their fingerprint changes:
 *
 *   the same plan once more      the new fingerprint is noted, nothing else happens
 *   another one, and it is soon  it serves instead, by a cutover like any other: a copy that was
 *   after the first              taken too early heals by itself
 *   another one, later           is only told of: what answers must not change under one number
 *                                because somebody touched a file. The operator says promote.
 *
 * A canary and a shadow are compared with something and stay what they are. What was rolled back to
 * is what served before, whatever its files are by now.
 */

/* ---- what is packed ---- */

/* A look at the disk that began after the packer had read the files found them as they were before
 * it did: or the plan may be half of one copy and half of another. */
static bool is_ready(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     uint32_t plan)
{
	const struct fg_rollout_plan *seen = &observed->plans[plan];

	return seen->phase == FG_PLAN_READY && !(rollout->dropping & 1ull << plan) &&
	       observed->store->looked_ns >= seen->ready_ns;
}

int fg_rollout_packed(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		      const char *model, uint64_t version, uint64_t fingerprint)
{
	const struct fg_rollout_plan *plan;
	int i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		plan = &observed->plans[i];
		if (plan->phase != FG_PLAN_FREE && !(rollout->dropping & 1ull << i) &&
		    plan->version == version && plan->fingerprint == fingerprint &&
		    !strcmp(plan->model, model))
			return i;
	}
	return -1;
}

static int find_ready(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		      const char *model, const struct fg_store_version *version)
{
	int plan =
		fg_rollout_packed(rollout, observed, model, version->version, version->fingerprint);

	return plan >= 0 && is_ready(rollout, observed, (uint32_t)plan) ? plan : -1;
}

/* ---- what is held, and what is on disk ---- */

/* A reload looks at a store of its own, and a canary leaves all versions as they serve: only its
 * own may still become another one, before anybody gets its answers. */
static bool comparable(const struct fg_rollout *rollout, const char *model, uint64_t version)
{
	const struct fg_canary *canary = &rollout->canary;

	if (rollout->trial.active)
		return false;
	return !fg_canary_active(canary) ||
	       (!canary->step_ns && canary->version == version && !strcmp(canary->model, model));
}

/* Also for what may pass: until it is tried again. */
static bool has_failed(const struct fg_rollout *rollout, const char *model,
		       const struct fg_store_version *version)
{
	const struct fg_rollout_model *record =
		fg_wanted_model((struct fg_rollout *)rollout, model);

	return record && fg_wanted_failure(record, version->version, version->fingerprint);
}

int fg_rollout_find_plan(const struct fg_rollout *rollout,
			 const struct fg_rollout_observed *observed, const char *model,
			 uint64_t version)
{
	const struct fg_store_version *found = fg_store_version(observed->store, model, version);
	int held = fg_wanted_held(rollout, model, version), plan;
	const struct fg_rollout_contents *contents = &rollout->contents[held < 0 ? 0 : held];

	if (held < 0)
		return found ? find_ready(rollout, observed, model, found) : -1;
	if (!found || !contents->take || contents->other != found->fingerprint ||
	    !comparable(rollout, model, version) || has_failed(rollout, model, found))
		return held;
	plan = find_ready(rollout, observed, model, found);
	return plan < 0 ? held : plan;
}

bool fg_rollout_unpacked(const struct fg_rollout *rollout,
			 const struct fg_rollout_observed *observed, const char *model,
			 uint64_t version)
{
	const struct fg_store_version *found = fg_store_version(observed->store, model, version);
	int held = fg_wanted_held(rollout, model, version);
	const struct fg_rollout_contents *contents = &rollout->contents[held < 0 ? 0 : held];

	if (!found || !found->complete ||
	    fg_rollout_packed(rollout, observed, model, version, found->fingerprint) >= 0)
		return false;
	if (has_failed(rollout, model, found))
		return false;
	if (held < 0)
		return true;
	return comparable(rollout, model, version) && contents->files != found->fingerprint &&
	       (contents->other != found->fingerprint || contents->take || contents->asked);
}

/* ---- comparing ---- */

uint64_t fg_step_files(const struct fg_step *step, uint32_t plan)
{
	return step->rollout->contents[plan].files;
}

/* A plan that is new here; one of a version that is held goes on with that version's age. */
static void begin(struct fg_step *step, uint32_t plan)
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	struct fg_rollout_contents *contents = &step->rollout->contents[plan];
	int held = fg_wanted_held(step->rollout, seen->model, seen->version);

	memset(contents, 0, sizeof(*contents));
	contents->files = seen->fingerprint;
	contents->since_ns = held < 0 ? step->now_ns : step->rollout->contents[held].since_ns;
}

/* It is being compared with what is live, or went live because guards found it good: what is found
 * under its number later is not what they saw. */
static bool is_measured(const struct fg_step *step, const char *model, uint64_t version)
{
	const struct fg_canary *canary = &step->rollout->canary;

	return (canary->step_ns && canary->version == version && !strcmp(canary->model, model)) ||
	       fg_shadow_runs(&step->rollout->shadow, model, version);
}

/* May other contents serve under the number of this plan's version? */
static bool takes(const struct fg_step *step, uint32_t plan)
{
	const struct fg_rollout_contents *contents = &step->rollout->contents[plan];
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	const struct fg_rollout_model *model = fg_wanted_model(step->rollout, seen->model);

	if (contents->asked)
		return true;
	if (is_measured(step, seen->model, seen->version) ||
	    (model && model->rolled_back && model->chosen == seen->version))
		return false;
	return step->now_ns < contents->since_ns + step->config->settle_ms * 1000000ull;
}

/* The files that are there now make `other`: does `plan`? */
static void judge(struct fg_step *step, uint32_t plan, uint32_t other)
{
	struct fg_rollout_contents *contents = &step->rollout->contents[plan];
	const struct fg_rollout_plan *seen = &step->observed->plans[other];

	if (step->observed->plans[plan].digest == seen->digest) {
		contents->files = seen->fingerprint;
		return;
	}
	if (contents->other == seen->fingerprint && (contents->take || !contents->asked))
		return; /* decided: age must not end a cutover that is under way */
	contents->other = seen->fingerprint;
	contents->other_digest = seen->digest;
	contents->take = takes(step, plan);
}

static void compare(struct fg_step *step, uint32_t plan)
{
	struct fg_rollout_contents *contents = &step->rollout->contents[plan];
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	const struct fg_store_version *found =
		fg_store_version(step->observed->store, seen->model, seen->version);
	const struct fg_rollout_model *model = fg_wanted_model(step->rollout, seen->model);
	bool waits = model && fg_wanted_waits(model, seen->version);
	int other;

	if (!comparable(step->rollout, seen->model, seen->version))
		return;
	if (!found && contents->asked) /* what is held is all that there is */
		contents->take = contents->asked = 0;
	if (!found || !found->complete)
		return;
	other = find_ready(step->rollout, step->observed, seen->model, found);
	if (found->fingerprint != contents->files &&
	    has_failed(step->rollout, seen->model, found)) {
		contents->other_digest = contents->take = 0;
		contents->other = waits ? 0 : found->fingerprint;
		contents->asked &= waits;
	} else if (found->fingerprint != contents->files && other >= 0) {
		judge(step, plan, (uint32_t)other);
	}
	if (found->fingerprint == contents->files)
		contents->other = contents->other_digest = contents->take = contents->asked = 0;
}

void fg_step_compare(struct fg_step *step)
{
	struct fg_rollout_contents *contents = step->rollout->contents;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		if (step->observed->plans[i].phase != FG_PLAN_READY)
			memset(&contents[i], 0, sizeof(contents[i]));
		else if (!contents[i].files)
			begin(step, i);
	}
	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (contents[i].files)
			compare(step, i);
}

/* ---- what is not needed any more ---- */

static bool plan_used(struct fg_step *step, uint32_t plan)
{
	const struct fg_rollout_generation *generation;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		for (k = 0; k < generation->entry_count; k++)
			if (generation->entries[k].plan == plan)
				return true;
	}
	return false;
}

/* Its version is there as it was when it was packed, for all that is known; the next look tells. */
static bool waits_for_look(const struct fg_step *step, uint32_t plan)
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	const struct fg_store_version *found =
		fg_store_version(step->observed->store, seen->model, seen->version);

	return seen->phase == FG_PLAN_READY && found && found->fingerprint == seen->fingerprint &&
	       step->observed->store->looked_ns < seen->ready_ns;
}

void fg_step_fail_plan(struct fg_step *step, uint32_t plan, const char *error, bool passing)
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];

	fg_step_trial_failed(step, seen->model, seen->version, error);
	fg_wanted_fail(step->rollout, seen->model, seen->version, seen->fingerprint, error,
		       passing ? step->now_ns : 0);
	step->rollout->dropping |= 1ull << plan;
}

/* What clients of the model are written for: of what is live, else of what was before this start,
 * as long as that can serve again. 0: nobody knows. *plan: of what is live; NULL: nothing is. */
static uint64_t present_interface(const struct fg_step *step, const char *model,
				  const struct fg_rollout_plan **plan)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(step->rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;
	const struct fg_rollout_served_model *before =
		fg_rollout_served(step->observed->served, model);
	const struct fg_rollout_model *record = fg_wanted_model(step->rollout, model);

	*plan = entry ? &step->observed->plans[entry->plan] : NULL;
	if (entry)
		return (*plan)->interface;
	if (!before || !record || fg_wanted_failure(record, before->version, 0) ||
	    !fg_store_version(step->observed->store, model, before->version))
		return 0;
	return before->interface;
}

/* Somebody asked for this version: by name, or by a reload, whose rules are his. */
static bool is_asked_for(const struct fg_step *step, const struct fg_rollout_plan *seen)
{
	const struct fg_rollout *rollout = step->rollout;
	const struct fg_rollout_model *record = fg_wanted_model(step->rollout, seen->model);
	const struct fg_rules *rules = fg_step_rules(step);
	const struct fg_rules_model *rule = fg_rules_find(rules, seen->model);

	/* Beside the default serves who is asked for by number or label. */
	if (record &&
	    fg_wanted_version(rollout, step->observed->store, rules, record) != seen->version)
		return true;
	return rollout->trial.active || !rule || rule->policy == FG_RULES_MANUAL ||
	       rule->policy == FG_RULES_SPECIFIC || !record || record->chosen == seen->version ||
	       fg_wanted_asked(rollout, seen->model, seen->version) ||
	       fg_canary_runs(&rollout->canary, seen->model, seen->version) ||
	       fg_shadow_runs(&rollout->shadow, seen->model, seen->version);
}

/* A policy alone must not bring in a version that takes or gives something else than what clients
 * send and expect. `text` says what. */
static bool changes_interface(const struct fg_step *step, uint32_t plan, char text[256])
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan], *present;
	uint64_t interface = present_interface(step, seen->model, &present);
	size_t used;

	if (step->config->interface_may_change || !interface || !seen->interface ||
	    interface == seen->interface || is_asked_for(step, seen))
		return false;
	if (present && (present->in_cols != seen->in_cols || present->out_cols != seen->out_cols))
		used = (size_t)snprintf(text, 256,
					"takes %u columns and gives %u, live takes %u and gives %u",
					seen->in_cols, seen->out_cols, present->in_cols,
					present->out_cols);
	else
		used = (size_t)snprintf(text, 256,
					"its inputs or outputs have other names, shapes or types "
					"than those of what served");
	snprintf(text + used, 256 - used,
		 ": held, because clients are written for that; flipgate promote %s %llu takes it",
		 seen->model, (unsigned long long)seen->version);
	return true;
}

/* A plan that is on its way to FREE is never used again, whoever steps: otherwise a DROP that is
 * already sent could take it from under a new generation. */
void fg_step_plans(struct fg_step *step)
{
	const struct fg_rollout_plan *plan;
	struct fg_wanted wanted;
	bool listed = false;
	char text[256];
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		plan = &step->observed->plans[i];
		if (plan->phase == FG_PLAN_FREE)
			step->rollout->dropping &= ~(1ull << i);
		if (plan->phase == FG_PLAN_FREE || plan->phase == FG_PLAN_PACKING ||
		    (step->rollout->dropping & 1ull << i) || plan_used(step, i) ||
		    waits_for_look(step, i))
			continue;
		if (plan->phase == FG_PLAN_FAILED) {
			if (!fg_step_feeds(step, i))
				fg_step_fail_plan(step, i, plan->error, plan->passing);
			continue;
		}
		if (changes_interface(step, i, text)) {
			fg_step_fail_plan(step, i, text, false);
			continue;
		}
		if (!listed)
			fg_wanted_all(step->rollout, step->observed->store, fg_step_rules(step),
				      &wanted);
		listed = true;
		if (!fg_set_wants_plan(step, &wanted, i))
			step->rollout->dropping |= 1ull << i;
	}
}
