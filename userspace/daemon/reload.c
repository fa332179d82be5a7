#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "userspace/daemon/control.h"
#include "userspace/shared/log.h"

#define NEVER	  UINT64_MAX
#define ANSWER_NS 2000000000ull /* the configuration is read by then, or does not answer */
#define AGAIN_NS  100000000ull

const struct fg_rules *fg_control_rules(const struct fg_control *control,
					const struct fg_rollout *rollout)
{
	const struct fg_rules *const rules[2] = {&control->state->rules[0],
						 &control->state->rules[1]};

	return fg_rollout_rules(rollout, rules);
}

uint64_t fg_control_reload_hash(const struct fg_rules *rules, const struct fg_error *error)
{
	return error->text[0] ? XXH64(error->text, strlen(error->text), 0)
			      : XXH64(rules, sizeof(*rules), 0);
}

/* By SIGHUP. */
static bool told(const struct fg_control *control)
{
	return atomic_load(&control->state->boot.reloads) !=
	       atomic_load(&control->state->control.reloads_done);
}

/* Nothing would change: the trial ends well before it began. */
static void accept_same(struct fg_control *control)
{
	struct fg_rollout_trial *trial = &control->next.trial;

	trial->active = 0;
	trial->accepted = trial->serial;
	trial->error[0] = '\0';
	control->reload.same = trial->serial;
}

/* Whatever asked for it before the file was read is served by this one. */
static void forget_triggers(struct fg_control *control)
{
	struct fg_control_reload *reload = &control->reload;

	reload->asked = reload->waits = false;
	reload->read = 0;
	reload->changes = reload->seen;
	atomic_store(&control->state->control.reloads_done, reload->signals);
}

/*
 * The rules are written where nobody looks, then the trial begins by one publication. Control that
 * dies before that leaves bytes that nobody looks at; dead after it and before the triggers are
 * forgotten, it leaves one more reload to do, which finds nothing to change.
 */
static void begin(struct fg_control *control, uint64_t now_ns)
{
	struct fg_state *state = control->state;
	const struct fg_scout_config *read = &control->scout.read;
	uint64_t hash = fg_control_reload_hash(&read->rules, &read->error);
	bool forced = control->reload.asked || told(control);
	uint32_t other;

	if (forced || hash != state->control.config_hash) {
		control->next = *fg_rollout_current(&state->rollout);
		fg_rollout_try(&control->next, now_ns);
		other = !control->next.rules;
		if (read->error.text[0])
			fg_rollout_refuse(&control->next, read->error.text);
		else if (!memcmp(&read->rules, &state->rules[!other], sizeof(read->rules)))
			accept_same(control);
		else
			state->rules[other] = read->rules;
		fg_control_publish(control);
	}
	state->control.config_hash = hash;
	forget_triggers(control);
}

/* The file does not answer: whoever asked is told so, and a change is found when it does again. */
static void give_up(struct fg_control *control, uint64_t now_ns)
{
	struct fg_error error;

	fg_error_set(&error, 0, "%.160s does not answer: its file system hangs",
		     control->config->models_config);
	if (control->reload.asked || told(control)) {
		control->next = *fg_rollout_current(&control->state->rollout);
		fg_rollout_try(&control->next, now_ns);
		fg_rollout_refuse(&control->next, error.text);
		fg_control_publish(control);
	}
	forget_triggers(control);
}

static void tell_waits(struct fg_control *control)
{
	const struct fg_canary *canary = &fg_rollout_current(&control->state->rollout)->canary;

	if (control->reload.waits || !fg_canary_active(canary))
		return;
	control->reload.waits = true;
	fg_log(FG_LOG_INFO,
	       "reload.waits reason=\"a canary of %s is under way\" next=\"begins when it ends\"",
	       canary->model);
}

/* A place that keeps the rules on trial from being held against the disk; NULL: none does. */
static const char *unseen(const struct fg_control *control, const struct fg_rules *rules)
{
	const struct fg_store *store = &control->repository.store;
	uint64_t since_ns;
	uint32_t i;

	if (control->carried)
		return fg_scout_place(&control->scout, 0, &since_ns);
	for (i = 0; i < rules->model_count; i++)
		if (fg_scout_silent(&control->scout, rules->models[i].path) &&
		    !fg_store_find(store, rules->models[i].name)->count)
			return rules->models[i].path;
	return NULL;
}

static void refuse_unseen(struct fg_control *control, uint64_t now_ns)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	struct fg_error error;
	const char *place;

	if (!rollout->trial.active || now_ns < rollout->trial.since_ns + ANSWER_NS)
		return;
	place = unseen(control, fg_control_rules(control, rollout));
	if (!place)
		return;
	fg_error_set(&error, 0, "%.120s does not answer: its file system hangs", place);
	control->next = *rollout;
	fg_rollout_refuse(&control->next, error.text);
	fg_control_publish(control);
}

/* What is asked for while something is under way is read when that has ended, not before. */
static bool must_wait(struct fg_control *control)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);

	if (!rollout->trial.active && !fg_canary_active(&rollout->canary))
		return false;
	control->reload.read = 0;
	tell_waits(control);
	return true;
}

uint64_t fg_control_reload_update(struct fg_control *control, uint64_t now_ns)
{
	struct fg_control_reload *reload = &control->reload;
	bool changed = control->scout.read.changes != reload->changes;

	refuse_unseen(control, now_ns);
	if (atomic_load(&control->state->boot.stopping) ||
	    !(reload->asked || changed || told(control)) || must_wait(control))
		return NEVER;
	if (!reload->read) {
		reload->read = fg_scout_ask(&control->scout);
		reload->since_ns = now_ns;
		reload->signals = atomic_load(&control->state->boot.reloads);
		reload->seen = control->scout.read.changes;
	} else if (control->scout.read.read == reload->read) {
		begin(control, now_ns);
	} else if (now_ns > reload->since_ns + ANSWER_NS &&
		   fg_scout_silent(&control->scout, control->config->models_config)) {
		give_up(control, now_ns);
	}
	return now_ns + AGAIN_NS;
}

int fg_control_reload_ask(struct fg_control *control, uint32_t *serial)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);

	if (fg_canary_active(&rollout->canary))
		return -EBUSY;
	*serial = rollout->trial.serial + 1;
	control->reload.asked = true;
	/* What is being read, or on trial, may be what was there before: it is read once more. */
	control->reload.read = 0;
	return 0;
}
