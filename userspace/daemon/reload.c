#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "userspace/daemon/control.h"
#include "userspace/daemon/models_config.h"
#include "userspace/shared/log.h"

#define NEVER UINT64_MAX

const struct fg_rules *fg_control_rules(const struct fg_control *control,
					const struct fg_rollout *rollout)
{
	const struct fg_rules *const rules[2] = {&control->state->rules[0],
						 &control->state->rules[1]};

	return fg_rollout_rules(rollout, rules);
}

/* What a file says: its rules, or why it has none. Another control must not try again by itself
 * what this one had refused. */
static uint64_t hash_of(const struct fg_rules *rules, const struct fg_error *error)
{
	return error->text[0] ? XXH64(error->text, strlen(error->text), 0)
			      : XXH64(rules, sizeof(*rules), 0);
}

/* ---- the start ---- */

/* Once in the keeper's life. A file that became bad since the keeper's own check leaves nothing to
 * serve, but control, which can be told to read it again. */
static void read_first(struct fg_control *control)
{
	struct fg_state *state = control->state;
	struct fg_error error = {""};

	if (fg_models_config_read(&state->rules[0], control->config, &error)) {
		fg_log(FG_LOG_ERROR, "reload reason=\"%s\"", error.text);
		memset(&state->rules[0], 0, sizeof(state->rules[0]));
	}
	state->control.config_hash = hash_of(&state->rules[0], &error);
	atomic_store_explicit(&state->control.rules_read, 1, memory_order_release);
}

int fg_control_reload_open(struct fg_control *control, struct fg_error *error)
{
	struct fg_control_reload *reload = &control->reload;
	int code;

	if (!atomic_load_explicit(&control->state->control.rules_read, memory_order_acquire))
		read_first(control);
	if (!control->config->models_config[0])
		return 0;
	code = fg_models_config_watch_open(&reload->watch, control->config->models_config, error);
	reload->watched = !code;
	return code;
}

void fg_control_reload_close(struct fg_control *control)
{
	if (control->reload.watched)
		fg_models_config_watch_close(&control->reload.watch);
	control->reload.watched = false;
}

/* ---- again ---- */

/* Nothing would change: the trial ends well before it began. */
static void accept_same(struct fg_control *control)
{
	struct fg_rollout_trial *trial = &control->next.trial;

	trial->active = 0;
	trial->accepted = trial->serial;
	trial->error[0] = '\0';
	control->reload.same = trial->serial;
}

/* Whatever asked for it is served by this one. `reloads`: as it was before the file was read. */
static void forget_triggers(struct fg_control *control, uint32_t reloads, uint64_t hash)
{
	control->reload.asked = control->reload.changed = control->reload.waits = false;
	control->state->control.config_hash = hash;
	atomic_store(&control->state->control.reloads_done, reloads);
}

/*
 * The rules are written where nobody looks, then the trial begins by one publication. Control that
 * dies before that leaves bytes that nobody looks at; dead after it and before the triggers are
 * forgotten, it leaves one more reload to do, which finds nothing to change.
 */
static int begin(struct fg_control *control, bool forced, uint64_t now_ns)
{
	struct fg_state *state = control->state;
	struct fg_control_reload *reload = &control->reload;
	struct fg_error error = {""};
	uint32_t reloads = atomic_load(&state->boot.reloads), other;
	uint64_t hash;
	int code;

	control->next = *fg_rollout_current(&state->rollout);
	if (fg_rollout_try(&control->next, now_ns))
		return -EBUSY;
	other = !control->next.rules;
	code = fg_models_config_read(&reload->scratch, control->config, &error);
	if (code && !error.text[0])
		fg_error_set(&error, code, "%s", strerror(-code));
	hash = hash_of(&reload->scratch, &error);
	if (!forced && hash == state->control.config_hash) {
		forget_triggers(control, reloads, hash);
		return 0;
	}
	if (code)
		fg_rollout_refuse(&control->next, error.text);
	else if (!memcmp(&reload->scratch, &state->rules[control->next.rules],
			 sizeof(reload->scratch)))
		accept_same(control);
	else
		state->rules[other] = reload->scratch;
	fg_control_publish(control);
	forget_triggers(control, reloads, hash);
	return 0;
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

uint64_t fg_control_reload_update(struct fg_control *control, uint64_t now_ns)
{
	struct fg_control_reload *reload = &control->reload;
	const struct fg_state *state = control->state;
	bool told = atomic_load(&state->boot.reloads) != atomic_load(&state->control.reloads_done);

	if (reload->watched)
		reload->changed |= fg_models_config_watch_update(&reload->watch, now_ns);
	if ((reload->asked || reload->changed || told) && !atomic_load(&state->boot.stopping) &&
	    begin(control, reload->asked || told, now_ns))
		tell_waits(control); /* in a later round */
	return reload->watched ? reload->watch.due_ns : NEVER;
}

int fg_control_reload_ask(struct fg_control *control, uint32_t *serial, uint64_t now_ns)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);

	*serial = rollout->trial.serial + 1;
	if (!rollout->trial.active)
		return begin(control, true, now_ns);
	/* A trial is under way, of a file that may have changed since: one more follows it. */
	control->reload.asked = true;
	return 0;
}
