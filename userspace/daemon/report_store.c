#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "userspace/daemon/control.h"

/* ---- the store ---- */

static double seconds_since(uint64_t since_ns, uint64_t now_ns)
{
	return now_ns > since_ns ? (double)(now_ns - since_ns) / 1e9 : 0;
}

/* What of the operator's files does not answer. */
static json_t *report_silent(const struct fg_control *control, uint64_t now_ns)
{
	json_t *silent = json_array();
	const char *place;
	uint64_t since_ns;
	uint32_t i;

	for (i = 0; (place = fg_scout_place(&control->scout, i, &since_ns)); i++)
		json_array_append_new(silent,
				      json_pack("{s:o,s:f}", "path", fg_control_report_text(place),
						"since_s", seconds_since(since_ns, now_ns)));
	return silent;
}

static json_t *report_remarks(const struct fg_remarks *remarks)
{
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < remarks->count; i++) {
		const struct fg_remark *one = &remarks->list[i];

		json_array_append_new(list, json_pack("{s:s,s:I,s:o,s:o,s:I}", "model", one->model,
						      "version", (json_int_t)one->version, "path",
						      fg_control_report_text(one->path), "reason",
						      fg_control_report_text(one->reason), "more",
						      (json_int_t)one->more));
	}
	return list;
}

json_t *fg_control_report_store(const struct fg_control *control, uint64_t now_ns)
{
	return json_pack("{s:o,s:o}", "silent", report_silent(control, now_ns), "remarks",
			 report_remarks(&control->remarks));
}

/* ---- why nothing serves ---- */

#define WHY_BYTES (FG_REMARK_TEXT_BYTES + FG_ROLLOUT_ERROR_BYTES)

static bool say_packing(const struct fg_control *control, char text[WHY_BYTES])
{
	const struct fg_state_plan *plan = control->state->plans;
	uint32_t i;

	for (i = 0; i < FG_STATE_MAX_PLANS; i++, plan++)
		if (atomic_load_explicit(&plan->phase, memory_order_acquire) == FG_PLAN_PACKING) {
			snprintf(text, WHY_BYTES, "version %" PRIu64 " of %s is being packed",
				 plan->version, plan->model);
			return true;
		}
	return false;
}

static bool say_copying(const struct fg_control *control, char text[WHY_BYTES])
{
	const struct fg_store *store = &control->repository.store;
	uint32_t i, k;

	for (i = 0; i < store->count; i++)
		for (k = 0; k < store->models[i].count; k++)
			if (!store->models[i].versions[k].complete) {
				snprintf(text, WHY_BYTES,
					 "version %" PRIu64 " of %s is still being copied",
					 store->models[i].versions[k].version,
					 store->models[i].name);
				return true;
			}
	return false;
}

static bool say_failed(const struct fg_rollout *rollout, char text[WHY_BYTES])
{
	const struct fg_rollout_failure *failure;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		for (k = 0; k < FG_ROLLOUT_MAX_FAILURES; k++) {
			failure = &rollout->models[i].failures[k];
			if (!failure->version)
				continue;
			snprintf(text, WHY_BYTES, "version %" PRIu64 " of %s failed: %s",
				 failure->version, rollout->models[i].name, failure->error);
			return true;
		}
	return false;
}

/* What is under way comes first, then what somebody has to mend. */
json_t *fg_control_report_waiting(const struct fg_control *control)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	char text[WHY_BYTES];
	uint64_t since_ns;
	const char *place;

	if (atomic_load(&control->state->boot.stopping))
		return json_string("it is stopping");
	if (atomic_load(&control->state->boot.ready_ns))
		return json_string("");
	place = fg_scout_place(&control->scout, 0, &since_ns);
	if (fg_rollout_find(rollout, FG_GENERATION_STARTING))
		snprintf(text, sizeof(text), "its workers are starting");
	else if (place)
		snprintf(text, sizeof(text), "%s does not answer: its file system hangs", place);
	else if (!say_packing(control, text) && !say_copying(control, text) &&
		 !say_failed(rollout, text)) {
		if (control->remarks.count)
			fg_remark_text(&control->remarks.list[0], text);
		else
			snprintf(text, sizeof(text), "there is no model version to serve");
	}
	return fg_control_report_text(text);
}
