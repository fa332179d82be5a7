#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "userspace/daemon/control.h"
#include "userspace/shared/log.h"

/* ---- generations and versions ---- */

static void tell_generation(const struct fg_rollout_generation *generation, const char *phase,
			    const char *reason)
{
	char models[512];
	size_t used = 0;
	uint32_t i;

	models[0] = '\0';
	for (i = 0; i < generation->entry_count && used < sizeof(models) - 1; i++)
		used += (size_t)snprintf(models + used, sizeof(models) - used, "%s%s:%" PRIu64,
					 i ? "," : "", generation->entries[i].model,
					 generation->entries[i].version);
	fg_log(FG_LOG_INFO, "generation id=%u phase=%s models=%s%s%s%s", generation->id, phase,
	       models, reason[0] ? " reason=\"" : "", reason, reason[0] ? "\"" : "");
}

/* A KEPT one whose time is not over. */
static const char *why(const struct fg_control *control, const struct fg_rollout_generation *was,
		       const struct fg_rollout_generation *is)
{
	if (was->phase != FG_GENERATION_KEPT || is->phase != FG_GENERATION_RETIRING || is->bad ||
	    is->since_ns >= was->since_ns + control->pace.keep_ms * 1000000ull)
		return "";
	return "was kept for a rollback, gives way: its memory or its slots are needed";
}

static void tell_generations(const struct fg_control *control, const struct fg_rollout *before,
			     const struct fg_rollout *now)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *was = &before->generations[i];
		const struct fg_rollout_generation *is = &now->generations[i];

		if (was->phase && was->id != is->id)
			tell_generation(was, "ended", "");
		if (is->phase && (is->phase != was->phase || is->id != was->id))
			tell_generation(is, fg_generation_phase_name(is->phase),
					was->id == is->id ? why(control, was, is) : "");
	}
}

/* Packers that were stopped, and come again. */
static void tell_tries(const struct fg_rollout *before, const struct fg_rollout *now)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_TRIES; i++) {
		const struct fg_rollout_try *was = &before->tries[i], *is = &now->tries[i];

		if (is->version && is->at_ns != was->at_ns)
			fg_log(FG_LOG_WARN,
			       "pack.again model=%s version=%" PRIu64 " tries=%u reason=\"%s\"",
			       now->models[is->model].name, is->version, is->count,
			       is->hunger != (was->version == is->version ? was->hunger : 0)
				       ? "it lacked memory, and may have more"
				       : "it ran long, and others wait");
	}
}

static uint32_t live_id(const struct fg_rollout *rollout)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);

	return live ? live->id : 0;
}

/* Once, however often it is tried again and fails in the same way. */
static bool is_known(const struct fg_rollout_failure *before, const struct fg_rollout_failure *now)
{
	return before->version == now->version && before->fingerprint == now->fingerprint &&
	       !strcmp(before->error, now->error);
}

static void tell_failures(struct fg_control *control, const struct fg_rollout_model *before,
			  const struct fg_rollout_model *now, uint32_t live)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++) {
		const struct fg_rollout_failure *failure = &now->failures[i];
		const struct fg_audit_event event = {.what = "version",
						     .model = now->name,
						     .to = failure->version,
						     .generation = live,
						     .result = "failed",
						     .error = failure->error};

		if (!failure->version || is_known(&before->failures[i], failure))
			continue;
		fg_log(FG_LOG_ERROR, "version.failed model=%s version=%" PRIu64 " reason=\"%s\"%s",
		       now->name, failure->version, failure->error,
		       failure->passing ? " next=\"tries again, at least every minute\"" : "");
		fg_audit_add(&control->audit, &event);
	}
}

/* ---- versions whose files change ---- */

static void tell_differs(struct fg_control *control, const struct fg_rollout_plan *plan,
			 uint64_t disk, uint32_t live)
{
	char why[96] = "the files on disk do not work";
	const struct fg_audit_event event = {.what = "version",
					     .model = plan->model,
					     .to = plan->version,
					     .generation = live,
					     .result = "differs",
					     .why = why};

	if (disk)
		snprintf(why, sizeof(why), "serves plan %016" PRIx64 ", the files make %016" PRIx64,
			 plan->digest, disk);
	fg_log(FG_LOG_WARN,
	       "version.differs model=%s version=%" PRIu64
	       " reason=\"differs from disk: %s\" next=\"serves on as it is%s\"",
	       plan->model, plan->version, why, disk ? "; promote it to take the files" : "");
	fg_audit_add(&control->audit, &event);
}

static void tell_contents(struct fg_control *control, uint32_t plan,
			  const struct fg_rollout *before, const struct fg_rollout *now)
{
	const struct fg_rollout_contents *was = &before->contents[plan];
	const struct fg_rollout_contents *is = &now->contents[plan];
	const struct fg_rollout_plan *seen = &control->observed.plans[plan];

	if (!was->files || !is->files ||
	    fg_wanted_held(now, seen->model, seen->version) != (int)plan)
		return;
	if (is->files != was->files)
		fg_log(FG_LOG_INFO,
		       "version.touched model=%s version=%" PRIu64 " digest=%016" PRIx64
		       " next=\"its files changed, what they make did not\"",
		       seen->model, seen->version, seen->digest);
	if (!is->other || (is->other == was->other && is->take == was->take))
		return;
	if (is->take)
		fg_log(FG_LOG_WARN,
		       "version.changed model=%s version=%" PRIu64 " digest=%016" PRIx64
		       " disk=%016" PRIx64 " next=\"a cutover to what is on disk\"",
		       seen->model, seen->version, seen->digest, is->other_digest);
	else
		tell_differs(control, seen, is->other_digest, live_id(now));
}

/* ---- canary, shadow, reload ---- */

/* What the audit log says of an end; a broken guard is flipgated's own doing and named so. */
static const struct {
	const char *what, *result;
} canary_ends[] = {
	[FG_CANARY_DONE] = {"rollout", "ok"},
	[FG_CANARY_ABORTED] = {"rollout", "rolled_back"},
	[FG_CANARY_BROKEN] = {"guard", "rolled_back"},
	[FG_CANARY_FAILED] = {"rollout", "failed"},
};

static void tell_canary(struct fg_control *control, const struct fg_rollout *before,
			const struct fg_rollout *now)
{
	const struct fg_canary *was = &before->canary, *is = &now->canary;
	struct fg_audit_event event = {.model = is->model,
				       .from = is->from,
				       .to = is->version,
				       .generation = live_id(now),
				       .why = is->reason};

	if (is->phase == was->phase || is->phase == FG_CANARY_NONE)
		return;
	fg_log(is->phase > FG_CANARY_ABORTED ? FG_LOG_ERROR : FG_LOG_INFO,
	       "canary model=%s version=%" PRIu64 " phase=%s%s%s%s", is->model, is->version,
	       fg_canary_phase_name(is->phase), is->reason[0] ? " reason=\"" : "", is->reason,
	       is->reason[0] ? "\"" : "");
	if (fg_canary_active(is) || is->phase >= sizeof(canary_ends) / sizeof(canary_ends[0]))
		return;
	event.what = canary_ends[is->phase].what;
	event.result = canary_ends[is->phase].result;
	fg_audit_add(&control->audit, &event);
}

static void tell_shadow(struct fg_control *control, const struct fg_rollout *before,
			const struct fg_rollout *now)
{
	const struct fg_shadow *was = &before->shadow, *is = &now->shadow;
	const struct fg_audit_event event = {.what = "shadow",
					     .model = is->model,
					     .to = is->version,
					     .generation = live_id(now),
					     .result = "ended",
					     .why = is->reason};

	if (is->phase == was->phase || is->phase == FG_SHADOW_NONE)
		return;
	fg_log(FG_LOG_INFO, "shadow model=%s version=%" PRIu64 " phase=%s%s%s%s", is->model,
	       is->version, fg_shadow_phase_name(is->phase), is->reason[0] ? " reason=\"" : "",
	       is->reason, is->reason[0] ? "\"" : "");
	if (is->phase == FG_SHADOW_ENDED)
		fg_audit_add(&control->audit, &event);
}

static void tell_trial(struct fg_control *control, const struct fg_rollout *before,
		       const struct fg_rollout *now)
{
	const struct fg_rollout_trial *was = &before->trial, *is = &now->trial;
	bool ended = !is->active && (was->active || was->serial != is->serial);
	bool accepted = is->accepted == is->serial;
	const struct fg_audit_event event = {.what = "reload",
					     .generation = live_id(now),
					     .result = accepted ? "ok" : "failed",
					     .error = accepted ? "" : is->error};

	if (!ended)
		return;
	if (accepted)
		fg_log(FG_LOG_INFO, "reload serial=%u result=ok", is->serial);
	else
		fg_log(FG_LOG_ERROR, "reload serial=%u result=refused reason=\"%s\"", is->serial,
		       is->error);
	fg_audit_add(&control->audit, &event);
}

void fg_control_tell(struct fg_control *control, const struct fg_rollout *before,
		     const struct fg_rollout *now)
{
	uint32_t i;

	tell_generations(control, before, now);
	tell_tries(before, now);
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		tell_failures(control, &before->models[i], &now->models[i], live_id(now));
	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		tell_contents(control, i, before, now);
	tell_canary(control, before, now);
	tell_shadow(control, before, now);
	tell_trial(control, before, now);
}

/* ---- flips ---- */

static const struct fg_rollout_generation *by_id(const struct fg_rollout *rollout, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (rollout->generations[i].phase && rollout->generations[i].id == id)
			return &rollout->generations[i];
	return NULL;
}

/* One line for each model that another version serves by default, or other contents of it. */
static void audit_cutover(struct fg_control *control, const struct fg_rollout_generation *from,
			  const struct fg_rollout_generation *to)
{
	struct fg_audit_event event = {.what = "cutover", .generation = to->id, .result = "ok"};
	uint32_t i;

	for (i = 0; i < to->entry_count; i++) {
		const struct fg_rollout_entry *entry = &to->entries[i];
		const struct fg_rollout_entry *old =
			from ? fg_rollout_entry(from, entry->model) : NULL;

		event.model = entry->model;
		event.from = old ? old->version : 0;
		event.to = entry->version;
		event.why = event.from == event.to ? "its files changed on disk" : NULL;
		if (entry->is_default && (event.from != event.to || old->plan != entry->plan))
			fg_audit_add(&control->audit, &event);
	}
	event.to = 0;
	event.why = NULL;
	for (i = 0; from && i < from->entry_count; i++) {
		event.model = from->entries[i].model;
		event.from = from->entries[i].version;
		if (from->entries[i].is_default && !fg_rollout_entry(to, event.model))
			fg_audit_add(&control->audit, &event);
	}
}

static void audit_step(struct fg_control *control, const struct fg_rollout *now)
{
	const struct fg_canary *canary = &now->canary;
	char why[32];
	const struct fg_audit_event event = {.what = "step",
					     .model = canary->model,
					     .from = canary->from,
					     .to = canary->version,
					     .generation = now->flip.generation,
					     .result = "ok",
					     .why = why};

	snprintf(why, sizeof(why), "%g %% of new flows", now->flip.weight / 100.0);
	fg_audit_add(&control->audit, &event);
}

void fg_control_tell_flip(struct fg_control *control, const struct fg_rollout_flip *before,
			  const struct fg_rollout *now)
{
	const struct fg_rollout_flip *flip = &now->flip;
	const struct fg_rollout_generation *live = by_id(now, flip->generation);

	fg_log(FG_LOG_INFO,
	       "flip serial=%u generation=%u from=%u canary=%u weight=%u workers=%u took_us=%.1f",
	       flip->serial, flip->generation, flip->from, flip->canary, flip->weight,
	       (uint32_t)__builtin_popcountll(control->table), (double)flip->took_ns / 1000);
	if (live && before->generation != flip->generation)
		audit_cutover(control, by_id(now, before->generation), live);
	if (flip->canary && (flip->canary != before->canary || flip->weight != before->weight))
		audit_step(control, now);
}

/* An upgrade that failed ended with the start of this process, too. */
static void audit_upgrade(struct fg_control *control)
{
	const struct fg_state_boot *boot = &control->state->boot;
	uint32_t upgrades = atomic_load_explicit(&boot->upgrades, memory_order_acquire);
	const struct fg_audit_event event = {.what = "upgrade",
					     .result = "failed",
					     .error = boot->upgrade_error};

	if (upgrades != control->state->control.upgrades_told && boot->upgrade_error[0])
		fg_audit_add(&control->audit, &event);
	control->state->control.upgrades_told = upgrades;
}

void fg_control_tell_replaced(struct fg_control *control)
{
	const struct fg_audit_event event = {.what = "replace",
					     .generation = live_id(
						     fg_rollout_current(&control->state->rollout)),
					     .result = "ok",
					     .why = control->program};

	fg_audit_add(&control->audit, &event);
}

void fg_control_tell_start(struct fg_control *control)
{
	const struct fg_audit_event event = {.what = "control",
					     .generation = live_id(
						     fg_rollout_current(&control->state->rollout)),
					     .result = "ok",
					     .why = control->program};

	audit_upgrade(control);
	if (atomic_load(&control->state->boot.control_starts) > 1)
		fg_audit_add(&control->audit, &event);
}
