#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "userspace/daemon/control.h"

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

static json_t *not_found(const struct fg_control *control, const struct fg_admin_request *request)
{
	const struct fg_store *store = &control->repository.store;
	const struct fg_store_model *model = fg_store_find(store, request->model);
	char text[512];

	if (!model || !model->count)
		return fg_admin_error("not_found", "no model %s in %s; models there:%s",
				      request->model, control->config->repository,
				      list_models(store, text, sizeof(text)));
	return fg_admin_error("not_found", "model %s has no version %" PRIu64 "; versions there:%s",
			      request->model, request->version,
			      list_versions(model, text, sizeof(text)));
}

static json_t *nothing_before(const struct fg_control *control,
			      const struct fg_admin_request *request)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(&control->next, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, request->model) : NULL;

	if (entry)
		return fg_admin_error("not_found",
				      "no version of %s served before version %" PRIu64
				      " since flipgated started: promote one",
				      request->model, entry->version);
	if (fg_store_find(&control->repository.store, request->model))
		return fg_admin_error("not_found", "model %s is not live: promote a version",
				      request->model);
	return not_found(control, request);
}

/* ---- replies ---- */

static json_t *done(const struct fg_rollout *rollout, const struct fg_admin_request *request,
		    bool changed)
{
	return json_pack("{s:b,s:I,s:s,s:I,s:f,s:b}", "ok", 1, "generation",
			 (json_int_t)rollout->flip.generation, "model", request->model, "version",
			 (json_int_t)request->version, "flip_us",
			 (double)rollout->flip.took_ns / 1000, "changed", changed);
}

/* The version is live, and the table that names it was flipped in. */
static bool serves(const struct fg_control *control, const struct fg_rollout *rollout,
		   const struct fg_admin_request *request)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, request->model) : NULL;

	return entry && entry->version == request->version &&
	       rollout->flip.generation == live->id && control->table;
}

static json_t *progress(void *context, const struct fg_admin_request *request, uint64_t now_ns)
{
	struct fg_control *control = context;
	const struct fg_store *store = &control->repository.store;
	const struct fg_rollout_failure *failure;
	struct fg_rollout_model *model;
	uint64_t wanted;

	control->next = *fg_rollout_current(&control->state->rollout);
	if (serves(control, &control->next, request))
		return done(&control->next, request, true);
	if (atomic_load(&control->state->boot.stopping))
		return fg_admin_error("busy", "flipgated is stopping");
	model = fg_wanted_model(&control->next, request->model);
	failure = model ? fg_wanted_failure(model, request->version, 0) : NULL;
	if (failure)
		return fg_admin_error("failed", "version %" PRIu64 " of %s: %s", request->version,
				      request->model, failure->error);
	wanted = model ? fg_wanted_version(&control->next, store, control->rules.manual, model) : 0;
	if (wanted != request->version)
		return fg_admin_error("failed",
				      "version %" PRIu64 " of %s is not wanted any more; %" PRIu64
				      " is (newer, or chosen meanwhile)",
				      request->version, request->model, wanted);
	if (now_ns >= request->until_ns)
		return fg_admin_error("timeout",
				      "version %" PRIu64 " of %s is not live yet; it goes on",
				      request->version, request->model);
	return NULL;
}

/* ---- verbs ---- */

/* The choice is published before anything is done for it: from then on it is what every step, of
 * this process or the next, works towards. */
static json_t *commit(struct fg_control *control, const struct fg_admin_request *request,
		      uint64_t now_ns)
{
	bool already = serves(control, fg_rollout_current(&control->state->rollout), request);

	control->spoken |= fg_control_publish(control);
	return already ? done(fg_rollout_current(&control->state->rollout), request, false)
		       : progress(control, request, now_ns);
}

static json_t *promote(struct fg_control *control, const struct fg_admin_request *request,
		       uint64_t now_ns)
{
	if (fg_wanted_promote(&control->next, &control->repository.store, control->rules.manual,
			      request->model, request->version))
		return not_found(control, request);
	return commit(control, request, now_ns);
}

static json_t *roll_back(struct fg_control *control, struct fg_admin_request *request,
			 uint64_t now_ns)
{
	int code = fg_wanted_rollback(&control->next, &control->repository.store,
				      control->rules.manual, request->model, &request->version);

	if (code == -ESTALE)
		return fg_admin_error("not_found",
				      "version %" PRIu64
				      " of %s served before, but is neither kept "
				      "alive nor in %s any more",
				      request->version, request->model,
				      control->config->repository);
	if (code)
		return nothing_before(control, request);
	return commit(control, request, now_ns);
}

/* A reply is one line of bounded length: with very many models, fewer versions of each are shown.
 */
static json_t *status(struct fg_control *control, uint64_t now_ns)
{
	uint32_t versions = 16;
	json_t *reply;
	char *text;
	bool fits;

	for (;;) {
		reply = fg_control_report(control, versions, now_ns);
		text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
		fits = text && strlen(text) < FG_ADMIN_LINE_BYTES;
		free(text);
		if (fits || versions == 0)
			return reply;
		versions /= 4;
		json_decref(reply);
	}
}

static json_t *begin(void *context, struct fg_admin_request *request, uint64_t now_ns)
{
	struct fg_control *control = context;

	if (request->verb == FG_ADMIN_STATUS)
		return status(control, now_ns);
	if (atomic_load(&control->state->boot.stopping))
		return fg_admin_error("busy", "flipgated is stopping");
	control->next = *fg_rollout_current(&control->state->rollout);
	fg_wanted_sync(&control->next, &control->repository.store);
	return request->verb == FG_ADMIN_PROMOTE ? promote(control, request, now_ns)
						 : roll_back(control, request, now_ns);
}

const struct fg_admin_ops fg_control_verbs = {.begin = begin, .progress = progress};
