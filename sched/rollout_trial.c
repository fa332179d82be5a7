#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "sched/rollout_step.h"

int fg_rollout_try(struct fg_rollout *rollout, uint64_t now_ns)
{
	if (rollout->trial.active || fg_canary_active(&rollout->canary))
		return -EBUSY;
	rollout->trial.active = 1;
	rollout->trial.serial++;
	rollout->trial.since_ns = now_ns;
	rollout->trial.error[0] = '\0';
	return 0;
}

void fg_rollout_refuse(struct fg_rollout *rollout, const char *error)
{
	rollout->trial.active = 0;
	rollout->replaced = 0; /* or what was started for it could still go live */
	snprintf(rollout->trial.error, sizeof(rollout->trial.error), "%s", error);
}

void fg_step_trial_failed(struct fg_step *step, const char *model, uint64_t version,
			  const char *error)
{
	char text[FG_ROLLOUT_ERROR_BYTES];
	struct fg_wanted wanted;

	if (!step->rollout->trial.active)
		return;
	fg_wanted_all(step->rollout, step->observed->store, fg_step_rules(step), &wanted);
	if (!fg_wanted_has(step->rollout, &wanted, model, version))
		return;
	snprintf(text, sizeof(text), "model %s version %llu: %.400s", model,
		 (unsigned long long)version, error);
	fg_rollout_refuse(step->rollout, text);
}

void fg_step_trial_accepted(struct fg_step *step)
{
	struct fg_rollout *rollout = step->rollout;

	if (!rollout->trial.active)
		return;
	rollout->trial.active = 0;
	rollout->trial.accepted = rollout->trial.serial;
	rollout->rules ^= 1;
}

/* ---- what the rules name must be there ---- */

/* A version that the rules name and that cannot be served: why, in `text`. */
static bool lacks(const struct fg_step *step, const struct fg_rules_model *rule, uint64_t version,
		  char *text, size_t size)
{
	const struct fg_rollout *rollout = step->rollout;
	const struct fg_store_version *found =
		fg_store_version(step->observed->store, rule->name, version);
	const struct fg_rollout_model *model =
		fg_wanted_model((struct fg_rollout *)rollout, rule->name);
	const struct fg_rollout_failure *failure = NULL;

	if (model && found)
		failure = fg_wanted_failure(model, version, found->fingerprint);
	if (found && found->complete && !failure)
		return false;
	snprintf(text, size, "model %s version %llu: %.400s", rule->name,
		 (unsigned long long)version,
		 failure ? failure->error
		 : found ? "is still being copied"
			 : "there is no such version");
	return true;
}

/* Any version that could be packed from where the rules say; that one serves already from elsewhere
 * does not make a wrong path right. */
static bool offers(const struct fg_step *step, const struct fg_rules_model *rule)
{
	const struct fg_store_model *found = fg_store_find(step->observed->store, rule->name);
	const struct fg_rollout_model *model = fg_wanted_model(step->rollout, rule->name);
	uint32_t i;

	for (i = 0; found && i < found->count; i++)
		if (found->versions[i].complete &&
		    !(model && fg_wanted_failure(model, found->versions[i].version,
						 found->versions[i].fingerprint)))
			return true;
	return false;
}

static bool model_lacks(const struct fg_step *step, const struct fg_rules_model *rule, char *text,
			size_t size)
{
	uint32_t i;

	for (i = 0; rule->policy == FG_RULES_SPECIFIC && i < rule->count; i++)
		if (lacks(step, rule, rule->versions[i], text, size))
			return true;
	for (i = 0; i < rule->label_count; i++)
		if (lacks(step, rule, rule->labels[i].version, text, size))
			return true;
	if (offers(step, rule))
		return false;
	snprintf(text, size, "model %s: no complete version that works in its folder", rule->name);
	return true;
}

static bool anything_lacks(const struct fg_step *step, const struct fg_set *set, char *text,
			   size_t size)
{
	const struct fg_rules *rules = fg_step_rules(step);
	uint32_t i;

	for (i = 0; i < rules->model_count; i++)
		if (model_lacks(step, &rules->models[i], text, size))
			return true;
	if (set->count || set->waiting)
		return false;
	snprintf(text, size, "no model of this configuration has a complete version");
	return true;
}

/* The disk may not have been looked at yet under these rules, so what lacks gets a moment. */
bool fg_step_trial(struct fg_step *step, const struct fg_set *set)
{
	struct fg_rollout *rollout = step->rollout;
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	char text[FG_ROLLOUT_ERROR_BYTES];
	uint64_t age_ns = step->now_ns - rollout->trial.since_ns;

	if (!rollout->trial.active)
		return false;
	if (age_ns >= FG_ROLLOUT_TRIAL_NS) {
		fg_rollout_refuse(rollout, "it was not live after 120 s");
		return true;
	}
	if (anything_lacks(step, set, text, sizeof(text))) {
		if (age_ns >= FG_ROLLOUT_MISSING_NS)
			fg_rollout_refuse(rollout, text);
		return true;
	}
	if (live && !set->waiting && fg_set_same(set, live) && !fg_step_starting(step, false)) {
		fg_step_trial_accepted(step);
		return true;
	}
	return set->waiting;
}
