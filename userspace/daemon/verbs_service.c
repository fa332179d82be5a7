#include <errno.h>
#include <string.h>
#include "userspace/daemon/orders.h"
#include "userspace/daemon/verbs.h"

/* ---- history ---- */

/* Room that is left in a reply's line for what is not history. */
#define HISTORY_BYTES (FG_ADMIN_LINE_BYTES - 4096 - FG_AUDIT_LINE_BYTES)

static json_t *history(struct fg_control *control, struct fg_admin_request *request,
		       uint64_t now_ns)
{
	struct fg_error error = {""};
	json_t *lines;

	(void)now_ns;
	if (control->audit.fd < 0)
		return fg_admin_error(
			"not_found",
			"no history is kept: flipgated could not open an audit log, or "
			"runs with --audit-log none");
	fg_audit_flush(&control->audit);
	lines = fg_audit_tail(&control->audit, request->limit, HISTORY_BYTES, &error);
	if (!lines)
		return fg_admin_error("failed", "%s", error.text);
	return json_pack("{s:b,s:o,s:o}", "ok", 1, "lines", lines, "path",
			 fg_control_report_text(control->config->audit_log));
}

/* ---- reload ---- */

static json_t *await_reload(struct fg_control *control, struct fg_admin_request *request,
			    uint64_t now_ns)
{
	const struct fg_rollout *rollout = &control->next;
	const struct fg_rollout_trial *trial = &rollout->trial;
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	bool ended = trial->serial > request->serial ||
		     (trial->serial == request->serial && !trial->active);

	if (ended && trial->accepted < request->serial)
		return fg_admin_error("failed", "nothing changed: %s", trial->error);
	if (ended && (!live || fg_control_flipped(control, rollout)))
		return json_pack("{s:b,s:I,s:b,s:o}", "ok", 1, "generation",
				 (json_int_t)rollout->flip.generation, "changed",
				 control->reload.same != request->serial, "models",
				 live ? fg_control_report_entries(live) : json_array());
	if (now_ns >= request->until_ns)
		return fg_admin_error("timeout", "the reload is not live yet; it goes on");
	return NULL;
}

static json_t *reload(struct fg_control *control, struct fg_admin_request *request, uint64_t now_ns)
{
	if (fg_control_reload_ask(control, &request->serial))
		return fg_verb_busy(&control->next);
	control->spoken = true;
	control->next = *fg_rollout_current(&control->state->rollout);
	return await_reload(control, request, now_ns);
}

/* ---- upgrade ---- */

static json_t *await_upgrade(struct fg_control *control, struct fg_admin_request *request,
			     uint64_t now_ns)
{
	const struct fg_state_boot *boot = &control->state->boot;
	uint32_t upgrades = atomic_load_explicit(&boot->upgrades, memory_order_acquire);

	/* An upgrade that is done ends this process: what comes back is a refusal. */
	if (upgrades != request->serial) {
		control->state->control.upgrades_told = upgrades;
		return fg_admin_error("failed", "%s", boot->upgrade_error);
	}
	if (now_ns >= request->until_ns)
		return fg_admin_error("timeout", "the keeper did not answer");
	return NULL;
}

static json_t *upgrade(struct fg_control *control, struct fg_admin_request *request,
		       uint64_t now_ns)
{
	struct fg_orders_message message = {.verb = FG_ORDERS_UPGRADE};

	(void)now_ns;
	request->serial = atomic_load(&control->state->boot.upgrades);
	memcpy(message.path, request->path, sizeof(message.path));
	/* The keeper may end this process at once. */
	fg_verb_audit(control, request, NULL);
	fg_audit_flush(&control->audit);
	request->noted = true;
	if (fg_orders_send(control->orders, &message, -1))
		return fg_admin_error("failed", "the keeper does not listen");
	return NULL;
}

const struct fg_verb fg_verb_history = {.begin = history};
const struct fg_verb fg_verb_reload = {reload, await_reload, true};
const struct fg_verb fg_verb_upgrade = {upgrade, await_upgrade, true};
