#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "userspace/daemon/verbs.h"

/* ---- what exists, for errors that help ---- */

__attribute__((format(printf, 4, 5))) static void append(char *text, size_t size, size_t *used,
							 const char *format, ...)
{
	va_list args;
	int more;

	if (*used >= size)
		return;
	va_start(args, format);
	more = vsnprintf(text + *used, size - *used, format, args);
	va_end(args);
	*used += more > 0 ? (size_t)more : 0;
}

static const char *list_models(const struct fg_store *store, char *text, size_t size)
{
	size_t used = 0;
	uint32_t i;

	text[0] = '\0';
	for (i = 0; i < store->count; i++)
		if (store->models[i].count)
			append(text, size, &used, " %s", store->models[i].name);
	return used ? text : " none";
}

static const char *list_versions(const struct fg_store_model *model, char *text, size_t size)
{
	size_t used = 0;
	uint32_t i;

	text[0] = '\0';
	for (i = 0; model && i < model->count; i++)
		append(text, size, &used, " %" PRIu64 "%s", model->versions[i].version,
		       model->versions[i].complete ? "" : " (still being copied)");
	return used ? text : " none";
}

/* Where the model's versions are looked for. */
static const char *place(const struct fg_control *control, const char *model)
{
	const struct fg_rules *rules = fg_control_rules(control, &control->next);
	const struct fg_rules_model *rule = fg_rules_find(rules, model);

	if (rule && rule->path[0])
		return rule->path;
	return rules->repository[0] ? rules->repository : control->config->models_config;
}

json_t *fg_verb_not_found(const struct fg_control *control, const struct fg_admin_request *request)
{
	const struct fg_store *store = &control->repository.store;
	const struct fg_store_model *model = fg_store_find(store, request->model);
	char text[512], remark[FG_REMARK_TEXT_BYTES];
	const struct fg_remark *found =
		fg_remarks_find(&control->remarks, request->model, request->version);
	const bool none = !model || !model->count;

	if (found && none)
		return fg_admin_error("not_found", "model %s has no version to serve: %s",
				      request->model, fg_remark_text(found, remark));
	if (found && found->version == request->version)
		return fg_admin_error("not_found", "model %s has no version %" PRIu64 ": %s",
				      request->model, request->version,
				      fg_remark_text(found, remark));
	if (none)
		return fg_admin_error("not_found", "no model %s in %s; models there:%s",
				      request->model, place(control, request->model),
				      list_models(store, text, sizeof(text)));
	return fg_admin_error("not_found", "model %s has no version %" PRIu64 "; versions there:%s",
			      request->model, request->version,
			      list_versions(model, text, sizeof(text)));
}

static json_t *nothing_before(const struct fg_control *control,
			      const struct fg_admin_request *request)
{
	uint64_t live = fg_verb_live(&control->next, request);

	if (live)
		return fg_admin_error("not_found",
				      "no version of %s served before version %" PRIu64
				      " since flipgated started: promote one",
				      request->model, live);
	if (fg_store_find(&control->repository.store, request->model))
		return fg_admin_error("not_found", "model %s is not live: promote a version",
				      request->model);
	return fg_verb_not_found(control, request);
}

json_t *fg_verb_busy(const struct fg_rollout *rollout)
{
	const struct fg_canary *canary = &rollout->canary;

	if (fg_canary_active(canary))
		return fg_admin_error("busy",
				      "a canary of %s version %" PRIu64
				      " is %s: abort it, or promote that version",
				      canary->model, canary->version,
				      fg_canary_phase_name(canary->phase));
	if (fg_shadow_active(&rollout->shadow))
		return fg_admin_error("busy",
				      "version %" PRIu64 " of %s is a shadow: end it (share 0)",
				      rollout->shadow.version, rollout->shadow.model);
	return fg_admin_error("busy", "a reload is under way: it ends within two minutes");
}

/* ---- replies ---- */

static uint64_t live_version(const struct fg_rollout *rollout, const char *model)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? entry->version : 0;
}

uint64_t fg_verb_live(const struct fg_rollout *rollout, const struct fg_admin_request *request)
{
	return live_version(rollout, request->model);
}

json_t *fg_verb_ok(const struct fg_rollout *rollout, const struct fg_admin_request *request,
		   uint64_t version)
{
	return json_pack("{s:b,s:I,s:s,s:I,s:b}", "ok", 1, "generation",
			 (json_int_t)rollout->flip.generation, "model", request->model, "version",
			 (json_int_t)version, "changed", request->changed);
}

json_t *fg_verb_flipped(const struct fg_rollout *rollout, const struct fg_admin_request *request,
			uint64_t version)
{
	json_t *reply = fg_verb_ok(rollout, request, version);
	uint64_t end_ns = rollout->flip.at_ns + rollout->flip.took_ns;
	double took_ms = 0;

	if (request->changed && end_ns > request->arrived_ns)
		took_ms = (double)(end_ns - request->arrived_ns) / 1e6;
	json_object_set_new(reply, "from", json_integer((json_int_t)request->from));
	json_object_set_new(reply, "flip_us", json_real((double)rollout->flip.took_ns / 1000));
	json_object_set_new(reply, "took_ms", json_real(took_ms));
	return reply;
}

/* ---- promote and rollback ---- */

/* The version failed: NULL when it did not. */
static const struct fg_rollout_failure *failure_of(const struct fg_rollout *rollout,
						   const struct fg_admin_request *request)
{
	const struct fg_rollout_model *model =
		fg_wanted_model((struct fg_rollout *)rollout, request->model);

	return model ? fg_wanted_failure(model, request->version, 0) : NULL;
}

/* The version is live, as its files were when it was asked for, and the table that names it alone
 * was flipped in. */
static bool serves(const struct fg_control *control, const struct fg_rollout *rollout,
		   const struct fg_admin_request *request)
{
	return fg_verb_live(rollout, request) == request->version &&
	       !fg_wanted_asked(rollout, request->model, request->version) &&
	       !failure_of(rollout, request) && !fg_rollout_find(rollout, FG_GENERATION_CANARY) &&
	       fg_control_flipped(control, rollout);
}

/* Why the version will not be live any more; NULL: it may. */
static json_t *hopeless(struct fg_control *control, const struct fg_admin_request *request)
{
	const struct fg_rollout *rollout = &control->next;
	const struct fg_canary *canary = &rollout->canary;
	const struct fg_rollout_model *model = fg_wanted_model(&control->next, request->model);
	const struct fg_rollout_failure *failure = failure_of(rollout, request);
	uint64_t wanted;

	if (failure)
		return fg_admin_error("failed", "version %" PRIu64 " of %s: %s%s", request->version,
				      request->model, failure->error,
				      failure->passing ? "; it is tried again by itself" : "");
	wanted = model ? fg_wanted_version(rollout, &control->repository.store,
					   fg_control_rules(control, rollout), model)
		       : 0;
	if (wanted == request->version)
		return NULL;
	if (!strcmp(canary->model, request->model) && canary->version == request->version &&
	    canary->reason[0])
		return fg_admin_error("rolled_back", "version %" PRIu64 " of %s: %s",
				      request->version, request->model, canary->reason);
	return fg_admin_error("failed",
			      "version %" PRIu64 " of %s is not wanted any more; %" PRIu64
			      " is (newer, or chosen meanwhile)",
			      request->version, request->model, wanted);
}

static json_t *await_live(struct fg_control *control, struct fg_admin_request *request,
			  uint64_t now_ns)
{
	json_t *reply;

	if (serves(control, &control->next, request))
		return fg_verb_flipped(&control->next, request, request->version);
	reply = hopeless(control, request);
	if (!reply && now_ns >= request->until_ns)
		reply = fg_admin_error("timeout",
				       "version %" PRIu64 " of %s is not live yet; it goes on",
				       request->version, request->model);
	return reply;
}

/* It would have to be packed, from a store that does not answer: whoever asks learns that now, and
 * is not surprised by a flip in an hour. */
static json_t *out_of_reach(const struct fg_control *control,
			    const struct fg_admin_request *request)
{
	const char *base = fg_repository_base(&control->repository.rules, request->model);

	if (!base || !fg_scout_silent(&control->scout, base) ||
	    fg_wanted_holder(fg_rollout_current(&control->state->rollout), request->model,
			     request->version))
		return NULL;
	return fg_admin_error("failed",
			      "no worker holds version %" PRIu64
			      " of %s any more, and %s does not answer: its file system hangs",
			      request->version, request->model, base);
}

static json_t *go_live(struct fg_control *control, struct fg_admin_request *request,
		       uint64_t now_ns)
{
	bool already = serves(control, fg_rollout_current(&control->state->rollout), request);

	fg_verb_commit(control, request);
	request->changed = !already;
	return await_live(control, request, now_ns);
}

json_t *fg_verb_refused(const struct fg_control *control, const struct fg_admin_request *request,
			int code)
{
	if (code == -EBUSY)
		return fg_verb_busy(&control->next);
	if (code == -EPERM)
		return fg_admin_error("not_found",
				      "version %" PRIu64 " of %s is not one that its policy names: "
				      "change the configuration and reload",
				      request->version, request->model);
	return fg_verb_not_found(control, request);
}

static json_t *promote(struct fg_control *control, struct fg_admin_request *request,
		       uint64_t now_ns)
{
	int code = fg_wanted_promote(&control->next, &control->repository.store,
				     fg_control_rules(control, &control->next), request->model,
				     request->version);
	json_t *error;

	if (code)
		return fg_verb_refused(control, request, code);
	error = out_of_reach(control, request);
	return error ? error : go_live(control, request, now_ns);
}

json_t *fg_verb_aborting(const struct fg_control *control, const struct fg_rollout *rollout,
			 const struct fg_admin_request *request, uint64_t now_ns)
{
	if (!fg_rollout_find(rollout, FG_GENERATION_CANARY) && fg_control_flipped(control, rollout))
		return fg_verb_flipped(rollout, request, request->version);
	if (now_ns >= request->until_ns)
		return fg_admin_error("timeout", "the canary of %s still has flows; it goes on",
				      request->model);
	return NULL;
}

/* Said twice, or said when a guard has just done the same, "back" must not go back once more;
 * unless something else was chosen or went live since. */
#define SAID_AGAIN_NS 30000000000ull
static bool just_rolled_back(struct fg_rollout *rollout, const struct fg_admin_request *request,
			     uint64_t now_ns)
{
	const struct fg_canary *canary = &rollout->canary;
	const struct fg_rollout_model *record = fg_wanted_model(rollout, request->model);

	return !strcmp(canary->model, request->model) &&
	       (canary->phase == FG_CANARY_ABORTED || canary->phase == FG_CANARY_BROKEN) &&
	       now_ns < canary->ended_ns + SAID_AGAIN_NS && record &&
	       record->chosen == canary->from && fg_verb_live(rollout, request) == canary->from;
}

static bool is_canary(const struct fg_rollout *rollout, const struct fg_admin_request *request)
{
	return fg_canary_runs(&rollout->canary, request->model, 0);
}

static json_t *roll_back(struct fg_control *control, struct fg_admin_request *request,
			 uint64_t now_ns)
{
	/* Not those on trial, which a rollback ends. */
	const struct fg_rules *rules = &control->state->rules[control->next.rules];
	struct fg_rollout *next = &control->next;
	json_t *error;
	int code;

	request->aborts = is_canary(next, request);
	if (request->aborts || just_rolled_back(next, request, now_ns)) {
		request->from = next->canary.version;
		request->version = next->canary.from;
		if (request->aborts)
			fg_canary_abort(next, request->model,
					request->why[0] ? request->why : "rolled back", now_ns);
		fg_verb_commit(control, request);
		request->aborts = true;
		return fg_verb_aborting(control, next, request, now_ns);
	}
	code = fg_wanted_rollback(next, &control->repository.store, rules, request->model,
				  &request->version);
	if (code == -EBUSY)
		return fg_verb_busy(next);
	if (code == -ESTALE)
		return fg_admin_error("not_found",
				      "version %" PRIu64
				      " of %s served before, but is neither kept "
				      "alive nor in %s any more",
				      request->version, request->model,
				      place(control, request->model));
	if (code)
		return nothing_before(control, request);
	error = out_of_reach(control, request);
	return error ? error : go_live(control, request, now_ns);
}

static json_t *await_back(struct fg_control *control, struct fg_admin_request *request,
			  uint64_t now_ns)
{
	return request->aborts ? fg_verb_aborting(control, &control->next, request, now_ns)
			       : await_live(control, request, now_ns);
}

/* ---- status ---- */

static bool fits(const json_t *reply)
{
	char *text = json_dumps(reply, JSON_COMPACT);
	bool yes = text && strlen(text) < FG_ADMIN_LINE_BYTES;

	free(text);
	return yes;
}

/* A reply is one line of bounded length: with very many models and workers fewer versions of each
 * are shown, and in the end only what is most important. */
static json_t *status(struct fg_control *control, struct fg_admin_request *request, uint64_t now_ns)
{
	static const char *const heavy[] = {"workers", "models", "generations"};
	uint32_t versions = 16, i;
	json_t *reply;

	(void)request;
	for (;;) {
		reply = fg_control_report(control, versions, now_ns);
		if (!versions || fits(reply))
			break;
		versions /= 4;
		json_decref(reply);
	}
	for (i = 0; i < sizeof(heavy) / sizeof(heavy[0]) && !fits(reply); i++)
		json_object_set_new(reply, heavy[i], json_array());
	return reply;
}

/* ---- all verbs ---- */

static const struct fg_verb verb_status = {.begin = status};
static const struct fg_verb verb_promote = {promote, await_live, true};
static const struct fg_verb verb_rollback = {roll_back, await_back, true};

static const struct fg_verb *const verbs[FG_ADMIN_VERBS] = {
	[FG_ADMIN_STATUS] = &verb_status,      [FG_ADMIN_HISTORY] = &fg_verb_history,
	[FG_ADMIN_PROMOTE] = &verb_promote,    [FG_ADMIN_ROLLBACK] = &verb_rollback,
	[FG_ADMIN_ROLLOUT] = &fg_verb_rollout, [FG_ADMIN_PAUSE] = &fg_verb_pause,
	[FG_ADMIN_RESUME] = &fg_verb_resume,   [FG_ADMIN_ABORT] = &fg_verb_abort,
	[FG_ADMIN_SHADOW] = &fg_verb_shadow,   [FG_ADMIN_RELOAD] = &fg_verb_reload,
	[FG_ADMIN_UPGRADE] = &fg_verb_upgrade,
};

void fg_verb_commit(struct fg_control *control, struct fg_admin_request *request)
{
	if (!fg_control_publish(control))
		return;
	control->spoken = true;
	request->changed = true;
}

static uint32_t live_id(const struct fg_rollout *rollout)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);

	return live ? live->id : 0;
}

/* Who steers the canary that is under way knows of it. */
static bool steers_canary(const struct fg_rollout *rollout, const struct fg_admin_request *request)
{
	switch (request->verb) {
	case FG_ADMIN_PAUSE:
	case FG_ADMIN_RESUME:
	case FG_ADMIN_ABORT:
	case FG_ADMIN_ROLLBACK:
		return is_canary(rollout, request);
	case FG_ADMIN_PROMOTE:
	case FG_ADMIN_ROLLOUT:
		return is_canary(rollout, request) && rollout->canary.version == request->version;
	default:
		return false;
	}
}

/* A version of the model that was chosen and does not serve yet; 0: none. */
static uint64_t chosen_next(const struct fg_control *control, const struct fg_rollout_model *model)
{
	const struct fg_rollout *rollout = &control->next;
	const struct fg_rules *rules = fg_control_rules(control, rollout);

	if (!model->name[0] || !model->chosen ||
	    model->chosen == live_version(rollout, model->name) ||
	    model->chosen != fg_wanted_version(rollout, &control->repository.store, rules, model))
		return 0;
	return model->chosen;
}

static bool is_starting(const struct fg_rollout *rollout)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (rollout->generations[i].phase == FG_GENERATION_STARTING &&
		    !rollout->generations[i].shadow)
			return true;
	return false;
}

/* What somebody else has begun and no flip has shown yet, so that the live generation is still the
 * one that both expect; NULL: nothing. */
static json_t *pending(const struct fg_control *control, const struct fg_admin_request *request)
{
	const struct fg_rollout *rollout = &control->next;
	const struct fg_canary *canary = &rollout->canary;
	uint64_t version;
	uint32_t i;

	if (steers_canary(rollout, request))
		return NULL;
	if (fg_canary_active(canary))
		return fg_admin_error("conflict", "a canary of %s version %" PRIu64 " is %s",
				      canary->model, canary->version,
				      fg_canary_phase_name(canary->phase));
	if (rollout->trial.active)
		return fg_admin_error("conflict", "a reload is under way");
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		version = chosen_next(control, &rollout->models[i]);
		if (version)
			return fg_admin_error("conflict",
					      "version %" PRIu64
					      " of %s was chosen meanwhile and is about to serve",
					      version, rollout->models[i].name);
	}
	return is_starting(rollout)
		       ? fg_admin_error("conflict", "another generation is about to serve")
		       : NULL;
}

/* "expect" is compare and set: the expected generation is live, and nothing is on its way. */
static json_t *unexpected(const struct fg_control *control, const struct fg_admin_request *request)
{
	uint32_t live = live_id(&control->next);
	json_t *reply;

	if (request->expect != live)
		reply = fg_admin_error("conflict", "generation %u is live, not %u as was expected",
				       live, request->expect);
	else
		reply = pending(control, request);
	if (reply)
		json_object_set_new(reply, "generation", json_integer(live));
	return reply;
}

/* Why it must not even begin. */
static json_t *refuse(const struct fg_control *control, const struct fg_admin_request *request)
{
	if (request->verb == FG_ADMIN_UPGRADE && request->who.uid != 0)
		return fg_admin_error("denied", "only root may upgrade flipgated");
	if (atomic_load(&control->state->boot.stopping))
		return fg_admin_error("busy", "flipgated is stopping");
	return request->expects ? unexpected(control, request) : NULL;
}

void fg_verb_audit(struct fg_control *control, const struct fg_admin_request *request,
		   const json_t *reply)
{
	const char *code = json_string_value(json_object_get(reply, "code"));
	const struct fg_audit_event event = {
		.who = &request->who,
		.what = fg_admin_verb_name(request->verb),
		.model = request->model,
		.from = request->from,
		.to = request->version,
		.generation = live_id(fg_rollout_current(&control->state->rollout)),
		.result = !reply ? "begun"
			  : code ? code
				 : "ok",
		.why = request->why,
		.error = json_string_value(json_object_get(reply, "error")),
	};

	fg_audit_add(&control->audit, &event);
	if (reply) /* what it tells of is done: whoever reads the reply finds the line */
		fg_audit_flush(&control->audit);
}

static json_t *begin(void *context, struct fg_admin_request *request, uint64_t now_ns)
{
	struct fg_control *control = context;
	const struct fg_verb *verb = verbs[request->verb];
	json_t *reply = NULL;

	control->next = *fg_rollout_current(&control->state->rollout);
	request->from = fg_verb_live(&control->next, request);
	fg_wanted_sync(&control->next, &control->repository.store, &control->served.list);
	fg_control_publish(control); /* so that what the verb changes is the verb's */
	if (verb->changes)
		reply = refuse(control, request);
	if (!reply)
		reply = verb->begin(control, request, now_ns);
	if (reply && verb->changes)
		fg_verb_audit(control, request, reply);
	return reply;
}

static void note_begun(struct fg_control *control, struct fg_admin_request *request)
{
	if (!request->noted)
		fg_verb_audit(control, request, NULL);
	request->noted = true;
}

/* What the step that followed the verb did not end takes longer: who asked for it is put down then,
 * should the client or this process not live to see its end. */
static json_t *progress(void *context, struct fg_admin_request *request, uint64_t now_ns)
{
	struct fg_control *control = context;
	json_t *reply;

	control->next = *fg_rollout_current(&control->state->rollout);
	reply = verbs[request->verb]->progress(control, request, now_ns);
	if (!reply && atomic_load(&control->state->boot.stopping))
		reply = fg_admin_error("busy", "flipgated is stopping");
	if (reply)
		fg_verb_audit(control, request, reply);
	else if (!control->spoken)
		note_begun(control, request);
	return reply;
}

static void leave(void *context, struct fg_admin_request *request)
{
	note_begun(context, request);
}

const struct fg_admin_ops fg_control_verbs = {begin, progress, leave};
