#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "userspace/daemon/verbs.h"

/* ---- errors ---- */

static json_t *no_canary(const struct fg_rollout *rollout, const struct fg_admin_request *request)
{
	const struct fg_canary *canary = &rollout->canary;

	if (strcmp(canary->model, request->model))
		return fg_admin_error("not_found", "no canary of %s is under way", request->model);
	return fg_admin_error("not_found",
			      "no canary of %s is under way; that of version %" PRIu64 " is %s%s%s",
			      request->model, canary->version, fg_canary_phase_name(canary->phase),
			      canary->reason[0] ? ": " : "", canary->reason);
}

static json_t *why_not(const struct fg_control *control, const struct fg_admin_request *request,
		       int code)
{
	if (code != -EBUSY && code != -EPERM &&
	    fg_store_find(&control->repository.store, request->model) &&
	    !fg_verb_live(&control->next, request))
		return fg_admin_error("not_found", "model %s is not live: promote a version",
				      request->model);
	return fg_verb_refused(control, request, code);
}

/* ---- rollout ---- */

static json_t *with_step(json_t *reply, const struct fg_canary *canary)
{
	json_object_set_new(reply, "from", json_integer((json_int_t)canary->from));
	json_object_set_new(reply, "phase", json_string(fg_canary_phase_name(canary->phase)));
	json_object_set_new(reply, "step", json_integer(canary->step));
	json_object_set_new(reply, "weight", json_real(fg_canary_weight(canary) / 100.0));
	return reply;
}

/* It serves already: all steps are behind it. */
static json_t *is_whole(const struct fg_rollout *rollout, const struct fg_admin_request *request)
{
	json_t *reply = fg_verb_ok(rollout, request, request->version);

	json_object_set_new(reply, "from", json_integer((json_int_t)request->version));
	json_object_set_new(reply, "phase", json_string("done"));
	json_object_set_new(reply, "step", json_integer(request->plan.step_count - 1));
	json_object_set_new(reply, "weight", json_real(100));
	return reply;
}

/* The present step's table was flipped in. */
static bool has_flows(const struct fg_control *control, const struct fg_rollout *rollout)
{
	const struct fg_rollout_generation *canary = fg_rollout_find(rollout, FG_GENERATION_CANARY);

	return canary && rollout->flip.canary == canary->id &&
	       rollout->flip.weight == fg_canary_weight(&rollout->canary) &&
	       fg_control_flipped(control, rollout);
}

static json_t *await_step(struct fg_control *control, struct fg_admin_request *request,
			  uint64_t now_ns)
{
	const struct fg_rollout *rollout = &control->next;
	const struct fg_canary *canary = &rollout->canary;

	if (strcmp(canary->model, request->model) || canary->version != request->version)
		return fg_admin_error("failed", "another canary took its place");
	if (canary->phase == FG_CANARY_FAILED)
		return fg_admin_error("failed", "version %" PRIu64 " of %s: %s", canary->version,
				      canary->model, canary->reason);
	if (canary->phase == FG_CANARY_ABORTED || canary->phase == FG_CANARY_BROKEN)
		return fg_admin_error("rolled_back", "version %" PRIu64 " of %s: %s",
				      canary->version, canary->model, canary->reason);
	if (canary->phase == FG_CANARY_DONE ? fg_control_flipped(control, rollout)
					    : has_flows(control, rollout))
		return with_step(fg_verb_ok(rollout, request, request->version), canary);
	if (now_ns >= request->until_ns)
		return fg_admin_error("timeout",
				      "version %" PRIu64 " of %s has no flows yet; it goes on",
				      request->version, request->model);
	return NULL;
}

static json_t *roll_out(struct fg_control *control, struct fg_admin_request *request,
			uint64_t now_ns)
{
	int code = fg_canary_begin(&control->next, &control->repository.store,
				   fg_control_rules(control, &control->next), request->model,
				   request->version, &request->plan);

	if (code == -EALREADY)
		return is_whole(&control->next, request);
	if (code)
		return why_not(control, request, code);
	fg_verb_commit(control, request);
	return await_step(control, request, now_ns);
}

/* ---- pause, resume, abort ---- */

static json_t *answer_step(struct fg_control *control, struct fg_admin_request *request)
{
	const struct fg_canary *canary = &control->next.canary;

	request->version = canary->version;
	fg_verb_commit(control, request);
	return with_step(fg_verb_ok(&control->next, request, canary->version), canary);
}

static json_t *pause_canary(struct fg_control *control, struct fg_admin_request *request,
			    uint64_t now_ns)
{
	if (fg_canary_pause(&control->next, request->model, now_ns))
		return no_canary(&control->next, request);
	return answer_step(control, request);
}

static json_t *resume_canary(struct fg_control *control, struct fg_admin_request *request,
			     uint64_t now_ns)
{
	if (fg_canary_resume(&control->next, request->model, now_ns))
		return no_canary(&control->next, request);
	return answer_step(control, request);
}

static json_t *await_abort(struct fg_control *control, struct fg_admin_request *request,
			   uint64_t now_ns)
{
	return fg_verb_aborting(control, &control->next, request, now_ns);
}

static json_t *abort_canary(struct fg_control *control, struct fg_admin_request *request,
			    uint64_t now_ns)
{
	struct fg_rollout *next = &control->next;

	if (fg_canary_abort(next, request->model, request->why[0] ? request->why : "aborted",
			    now_ns))
		return no_canary(next, request);
	request->from = next->canary.version;
	request->version = next->canary.from;
	fg_verb_commit(control, request);
	return await_abort(control, request, now_ns);
}

/* ---- shadow ---- */

static json_t *with_share(json_t *reply, const struct fg_shadow *shadow)
{
	json_object_set_new(reply, "share",
			    json_integer(fg_shadow_active(shadow) ? shadow->share : 0));
	json_object_set_new(reply, "phase", json_string(fg_shadow_phase_name(shadow->phase)));
	return reply;
}

static json_t *await_shadow(struct fg_control *control, struct fg_admin_request *request,
			    uint64_t now_ns)
{
	const struct fg_rollout *rollout = &control->next;
	const struct fg_shadow *shadow = &rollout->shadow;

	if (strcmp(shadow->model, request->model) || shadow->version != request->version)
		return fg_admin_error("failed", "another shadow took its place");
	if (shadow->phase == FG_SHADOW_RUNNING || (!request->share && !fg_shadow_active(shadow)))
		return with_share(fg_verb_ok(rollout, request, request->version), shadow);
	if (shadow->phase == FG_SHADOW_ENDED)
		return fg_admin_error("failed", "version %" PRIu64 " of %s: %s", request->version,
				      request->model, shadow->reason);
	if (now_ns >= request->until_ns)
		return fg_admin_error("timeout",
				      "version %" PRIu64 " of %s does not run yet; it goes on",
				      request->version, request->model);
	return NULL;
}

static json_t *end_shadow(struct fg_control *control, struct fg_admin_request *request,
			  uint64_t now_ns)
{
	struct fg_rollout *next = &control->next;

	if (next->shadow.version != request->version ||
	    fg_shadow_end(next, request->model, request->why[0] ? request->why : "ended"))
		return fg_admin_error("not_found", "version %" PRIu64 " of %s is no shadow",
				      request->version, request->model);
	fg_verb_commit(control, request);
	return await_shadow(control, request, now_ns);
}

static json_t *shadow(struct fg_control *control, struct fg_admin_request *request, uint64_t now_ns)
{
	int code;

	if (!request->share)
		return end_shadow(control, request, now_ns);
	code = fg_shadow_begin(&control->next, &control->repository.store,
			       fg_control_rules(control, &control->next), request->model,
			       request->version, request->share, now_ns);
	if (code == -EALREADY)
		return fg_admin_error("failed",
				      "version %" PRIu64 " of %s serves by default: "
				      "a shadow is another version",
				      request->version, request->model);
	if (code)
		return why_not(control, request, code);
	fg_verb_commit(control, request);
	return await_shadow(control, request, now_ns);
}

const struct fg_verb fg_verb_rollout = {roll_out, await_step, true};
const struct fg_verb fg_verb_pause = {pause_canary, NULL, true};
const struct fg_verb fg_verb_resume = {resume_canary, NULL, true};
const struct fg_verb fg_verb_abort = {abort_canary, await_abort, true};
const struct fg_verb fg_verb_shadow = {shadow, await_shadow, true};
