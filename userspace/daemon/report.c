#include <string.h>
#include "userspace/daemon/control.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define MAX_SHOWN (FG_STORE_MAX_VERSIONS + FG_ROLLOUT_MAX_GENERATIONS * FG_ROLLOUT_MAX_MODELS)

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static uint64_t count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- generations ---- */

/* What the generation's workers count, added up. */
struct load {
	uint64_t requests, in_flight, connections;
};

/* Answers are read before requests: what is in flight is never below 0. With a worker that died
 * went what it had in flight, and its connections. */
static struct load load_of(const struct fg_control *control,
			   const struct fg_rollout_generation *generation)
{
	struct load load = {0, 0, 0};
	uint64_t requests, answered;
	uint32_t i, status;

	for (i = 0; i < generation->worker_count; i++) {
		const struct fg_state_slot *slot = &control->state->slots[generation->slots[i]];
		const struct fg_stats *stats = &slot->work.stats;

		for (answered = 0, status = 0; status < FG_STATUS_COUNT; status++)
			answered += count(&stats->status[status]);
		requests = count(&stats->requests);
		load.requests += requests;
		if (!atomic_load(&slot->post.pid))
			continue;
		load.in_flight += requests > answered ? requests - answered : 0;
		load.connections += control->observed.slots[generation->slots[i]].connections;
	}
	return load;
}

static json_t *report_drain(const struct fg_control *control, uint64_t since_ns, uint64_t now_ns)
{
	double deadline_s = control->pace.drain_deadline_ms / 1e3;
	double left_s = deadline_s - seconds(since_ns, now_ns);

	return json_pack("{s:f,s:f}", "deadline_s", deadline_s, "left_s", left_s > 0 ? left_s : 0);
}

static json_t *report_generation(const struct fg_control *control,
				 const struct fg_rollout_flip *flip,
				 const struct fg_rollout_generation *generation,
				 const uint32_t flows[FG_MAX_SLOTS], uint64_t now_ns)
{
	struct load load = load_of(control, generation);
	json_t *slots = json_array(), *report;
	json_int_t total = 0;
	uint32_t i;

	for (i = 0; i < generation->worker_count; i++) {
		json_array_append_new(slots, number(generation->slots[i]));
		total += flows[generation->slots[i]];
	}
	report = json_pack("{s:I,s:s,s:f,s:I,s:I,s:I,s:I,s:f,s:o,s:o}", "id",
			   (json_int_t)generation->id, "phase",
			   fg_generation_phase_name(generation->phase), "since_s",
			   seconds(generation->since_ns, now_ns), "flows", total, "connections",
			   (json_int_t)load.connections, "requests", (json_int_t)load.requests,
			   "in_flight", (json_int_t)load.in_flight, "weight",
			   fg_control_weight(flip, generation), "slots", slots, "models",
			   fg_control_report_entries(generation));
	if (generation->phase == FG_GENERATION_DRAINING)
		json_object_set_new(report, "drain",
				    report_drain(control, generation->since_ns, now_ns));
	return report;
}

static json_t *report_generations(const struct fg_control *control,
				  const struct fg_rollout *rollout, uint64_t now_ns)
{
	uint32_t flows[FG_MAX_SLOTS] = {0}, i;
	json_t *list = json_array();

	fg_steering_flows(control->steering, flows);
	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (rollout->generations[i].phase != FG_GENERATION_NONE)
			json_array_append_new(list, report_generation(control, &rollout->flip,
								      &rollout->generations[i],
								      flows, now_ns));
	return list;
}

/* ---- workers ---- */

static const char *work_phase_name(uint32_t phase)
{
	static const char *const names[] = {"starting", "starting", "ready", "failed", "done"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

static const char *order_name(uint32_t order)
{
	static const char *const names[] = {"wait", "serve", "drain", "finish",
					    "doze", "keep",  "shadow"};

	return order < sizeof(names) / sizeof(names[0]) ? names[order] : "?";
}

/* `brief`: those that were ever answered. */
static json_t *report_statuses(const struct fg_stats *stats, bool brief)
{
	json_t *statuses = json_object();
	uint32_t i;

	for (i = 0; i < FG_STATUS_COUNT; i++)
		if (!brief || count(&stats->status[i]))
			json_object_set_new(statuses, fg_status_name((uint8_t)i),
					    number(count(&stats->status[i])));
	return statuses;
}

static json_t *report_worker(const struct fg_state_slot *state, uint32_t slot, bool brief)
{
	const struct fg_stats *stats = &state->work.stats;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"requests", count(&stats->requests)},
		{"replies", count(&stats->replies)},
		{"rows", count(&stats->rows)},
		{"batches", count(&stats->batches)},
		{"xsk_received", count(&stats->xsk_received)},
		{"udp_received", count(&stats->udp_received)},
		{"tcp_received", count(&stats->tcp_received)},
		{"tcp_accepted", count(&stats->tcp_accepted)},
		{"tcp_closed", count(&stats->tcp_closed)},
		{"tcp_refused", count(&stats->tcp_refused)},
		{"not_ours", count(&stats->not_ours)},
		{"detoured", count(&stats->detoured)},
		{"send_failed", count(&stats->send_failed)},
		{"sleeps", count(&stats->sleeps)},
		{"own_bytes", state->work.own_bytes},
		{"deaths", atomic_load_explicit(&state->post.deaths, memory_order_relaxed)},
	};
	json_t *worker;
	uint32_t i;

	worker = json_pack("{s:I,s:I,s:I,s:I,s:s,s:s}", "slot", (json_int_t)slot, "pid",
			   (json_int_t)atomic_load(&state->post.pid), "cpu",
			   (json_int_t)state->post.cpu, "generation",
			   (json_int_t)atomic_load(&state->post.generation), "phase",
			   work_phase_name(atomic_load(&state->work.phase)), "order",
			   order_name(atomic_load(&state->order)));
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(worker, numbers[i].name, number(numbers[i].value));
	json_object_set_new(worker, "statuses", report_statuses(stats, brief));
	return worker;
}

static json_t *report_workers(const struct fg_state *state, bool brief)
{
	json_t *list = json_array();
	uint32_t slot;

	for (slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (atomic_load(&state->slots[slot].post.pid))
			json_array_append_new(list,
					      report_worker(&state->slots[slot], slot, brief));
	return list;
}

/* ---- models ---- */

/* The plan that is held, else any of that version. */
static const struct fg_state_plan *find_plan(const struct fg_control *control,
					     const struct fg_rollout *rollout, const char *model,
					     uint64_t version)
{
	const struct fg_state_plan *plan;
	int held = fg_wanted_held(rollout, model, version);
	uint32_t i;

	if (held >= 0)
		return &control->state->plans[held];
	for (i = 0; i < FG_STATE_MAX_PLANS; i++) {
		plan = &control->state->plans[i];
		if (atomic_load(&plan->phase) != FG_PLAN_FREE && plan->version == version &&
		    !strcmp(plan->model, model))
			return plan;
	}
	return NULL;
}

/*
 * What a version does for its model, if a generation holds it; NULL: none does. Several may: during
 * a canary of one model, and while a drain lasts, the others' versions stand in two generations,
 * and what counts is the one that serves.
 */
static const char *held_state(const struct fg_rollout *rollout, const char *model, uint64_t version)
{
	static const struct {
		enum fg_generation_phase phase;
		const char *state;
	} states[] = {
		{FG_GENERATION_LIVE, "live"},
		{FG_GENERATION_CANARY, "canary"},
		{FG_GENERATION_SHADOW, "shadow"},
	};
	const struct fg_rollout_generation *generation;
	uint32_t i;

	for (i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		generation = fg_rollout_find(rollout, states[i].phase);
		if (generation && fg_rollout_version(generation, model, version))
			return states[i].state;
	}
	return fg_wanted_holder(rollout, model, version) ? "kept" : NULL;
}

/* What the live generation says of a version: is it the default, and its labels. */
static void add_names(json_t *report, const struct fg_rollout_generation *live, const char *model,
		      uint64_t version)
{
	const struct fg_rollout_entry *entry =
		live ? fg_rollout_version(live, model, version) : NULL;

	json_object_set_new(report, "default", json_boolean(entry && entry->is_default));
	json_object_set_new(report, "labels", fg_control_report_labels(entry));
}

static json_t *report_version(const struct fg_control *control, const char *model, uint64_t version)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const char *held = held_state(rollout, model, version);
	const struct fg_state_plan *plan = find_plan(control, rollout, model, version);
	const struct fg_store_version *found =
		fg_store_version(&control->repository.store, model, version);
	const struct fg_rollout_failure *failure = NULL;
	uint32_t phase = plan ? atomic_load(&plan->phase) : (uint32_t)FG_PLAN_FREE;
	const char *state = "new";
	json_t *report;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS && !failure; i++)
		if (!strcmp(rollout->models[i].name, model))
			failure = fg_wanted_failure(&rollout->models[i], version, 0);
	if (held)
		state = held;
	else if (failure)
		state = "failed";
	else if (phase == FG_PLAN_PACKING)
		state = "packing";
	else if (phase == FG_PLAN_READY)
		state = "packed";
	else if (found && !found->complete)
		state = "copying";
	report = json_pack("{s:I,s:s,s:o,s:I,s:f}", "version", (json_int_t)version, "state", state,
			   "error", fg_control_report_text(failure ? failure->error : ""),
			   "plan_bytes", (json_int_t)(phase == FG_PLAN_READY ? plan->bytes : 0),
			   "pack_ms", phase == FG_PLAN_READY ? (double)plan->pack_ns / 1e6 : 0.0);
	fg_control_report_files(control, report, model, version,
				phase == FG_PLAN_READY ? plan->digest : 0);
	fg_control_report_retry(report, failure);
	add_names(report, fg_rollout_find(rollout, FG_GENERATION_LIVE), model, version);
	return report;
}

static void add_version(uint64_t versions[MAX_SHOWN], uint32_t *used, uint64_t version)
{
	uint32_t at = *used;

	for (uint32_t i = 0; i < *used; i++)
		if (versions[i] == version)
			return;
	for (; at > 0 && versions[at - 1] > version; at--)
		versions[at] = versions[at - 1];
	versions[at] = version;
	(*used)++;
}

/* Those on disk (the newest `limit`) and those that a generation holds, upward. */
static json_t *report_versions(const struct fg_control *control, const char *model, uint32_t limit)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_store_model *found = fg_store_find(&control->repository.store, model);
	uint64_t versions[MAX_SHOWN];
	uint32_t i, k, used = 0;
	json_t *list = json_array();

	for (i = 0; found && i < found->count; i++)
		if (i + limit >= found->count)
			add_version(versions, &used, found->versions[i].version);
	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &rollout->generations[i];

		for (k = 0; generation->phase && k < generation->entry_count; k++)
			if (!strcmp(generation->entries[k].model, model))
				add_version(versions, &used, generation->entries[k].version);
	}
	for (i = 0; i < used; i++)
		json_array_append_new(list, report_version(control, model, versions[i]));
	return list;
}

json_t *fg_control_report_models(const struct fg_control *control, uint32_t limit)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rules *rules = fg_control_rules(control, rollout);
	const struct fg_rollout_entry *entry;
	json_t *list = json_array();
	uint64_t wanted;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		const struct fg_rollout_model *model = &rollout->models[i];

		if (!model->name[0])
			continue;
		entry = live ? fg_rollout_entry(live, model->name) : NULL;
		wanted = fg_wanted_version(rollout, &control->repository.store, rules, model);
		json_array_append_new(list,
				      json_pack("{s:s,s:I,s:I,s:o}", "model", model->name, "live",
						(json_int_t)(entry ? entry->version : 0), "wanted",
						(json_int_t)wanted, "versions",
						report_versions(control, model->name, limit)));
	}
	return list;
}

/* ---- the rest ---- */

static json_t *report_flips(const struct fg_rollout_flip *flip)
{
	json_t *last = json_null();

	if (flip->count)
		last = json_pack("{s:I,s:I,s:f,s:I,s:I}", "serial", (json_int_t)flip->serial,
				 "generation", (json_int_t)flip->generation, "took_us",
				 (double)flip->took_ns / 1000, "at_ns", (json_int_t)flip->at_ns,
				 "from", (json_int_t)flip->from);
	return json_pack("{s:I,s:o}", "count", (json_int_t)flip->count, "last", last);
}

/* What BPF counts, and what the kernel drops between BPF and a worker. */
static json_t *report_counters(const struct fg_steering *steering, const struct fg_state_boot *boot)
{
	const struct fg_state_drops *drops = &boot->drops;
	uint64_t totals[FG_COUNTER_COUNT];
	json_t *counters = json_object();
	uint32_t i;

	if (fg_steering_counters(steering, totals))
		return counters;
	for (i = 0; i < FG_COUNTER_COUNT; i++)
		json_object_set_new(counters, fg_counter_name(i), number(totals[i]));
	json_object_set_new(counters, "xsk_drop_ring_full", number(drops->ring_full));
	json_object_set_new(counters, "xsk_drop_no_frame", number(drops->no_frame));
	json_object_set_new(counters, "udp_drop_full", number(drops->socket_full));
	json_object_set_new(counters, "mode_lost", number(atomic_load(&boot->mode_lost)));
	return counters;
}

static json_t *report_listen(const struct sockaddr_storage *listen, uint32_t listen_count)
{
	json_t *list = json_array();
	char text[64];
	uint32_t i;

	for (i = 0; i < listen_count; i++)
		json_array_append_new(list, json_string(fg_config_format_address(&listen[i], text,
										 sizeof(text))));
	return list;
}

/* Which program control is, and what came of the last attempt to make it another. */
static json_t *report_control(const struct fg_control *control)
{
	const struct fg_state_boot *boot = &control->state->boot;
	uint32_t upgrades = atomic_load_explicit(&boot->upgrades, memory_order_acquire);

	return json_pack("{s:o,s:s,s:I,s:o}", "program", fg_control_report_text(control->program),
			 "version", FG_VERSION, "upgrades", (json_int_t)upgrades, "upgrade_error",
			 fg_control_report_text(boot->upgrade_error));
}

static json_t *report_service(const struct fg_control *control, uint64_t now_ns)
{
	static const char *const polls[] = {"busy", "adaptive", "sleep"};
	const struct fg_config *config = control->config;
	struct fg_state_boot *boot = &control->state->boot;
	uint64_t ready_ns = atomic_load(&boot->ready_ns);

	return json_pack(
		"{s:b,s:s,s:o,s:b,s:f,s:f,s:s,s:o,s:o,s:I,s:I,s:o,s:o,s:s,s:s,s:I,s:I,s:I,s:I}",
		"ok", 1, "version", FG_VERSION, "service", fg_control_report_text(config->name),
		"ready", ready_ns && !atomic_load(&boot->stopping), "uptime_s",
		seconds(boot->started_ns, now_ns), "ready_after_ms",
		seconds(boot->started_ns, ready_ns) * 1e3, "mode", fg_mode_name(boot->mode),
		"mode_reason", fg_control_report_text(boot->mode_reason), "interface",
		fg_control_report_text(boot->interface), "queues", (json_int_t)boot->queues, "mtu",
		(json_int_t)boot->mtu, "listen",
		report_listen(config->listen, config->listen_count), "listen_tcp",
		report_listen(config->listen_tcp, config->listen_tcp_count), "policy",
		config->policy == FG_POLICY_MANUAL ? "manual" : "latest", "poll",
		polls[config->poll % 3], "flow_idle_ms", (json_int_t)config->flow_idle_ms,
		"keeper_pid", (json_int_t)boot->keeper_pid, "control_pid",
		(json_int_t)atomic_load(&boot->control_pid), "control_restarts",
		(json_int_t)atomic_load(&boot->control_restarts));
}

json_t *fg_control_report(struct fg_control *control, uint32_t versions, uint64_t now_ns)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	json_t *report = report_service(control, now_ns);
	const struct {
		const char *name;
		json_t *value;
	} parts[] = {
		{"control", report_control(control)},
		{"generations", report_generations(control, rollout, now_ns)},
		{"workers", report_workers(control->state, !versions)},
		{"models", fg_control_report_models(control, versions)},
		{"not_ready", fg_control_report_waiting(control)},
		{"store", fg_control_report_store(control, now_ns)},
		{"canary", fg_control_report_canary(control, now_ns)},
		{"shadow", fg_control_report_shadow(control)},
		{"reload", fg_control_report_reload(&rollout->trial)},
		{"rules", versions ? fg_control_report_rules(fg_control_rules(control, rollout))
				   : json_null()},
		{"memory", fg_control_report_memory(control)},
		{"flips", report_flips(&rollout->flip)},
		{"counters", report_counters(control->steering, &control->state->boot)},
		{"log",
		 json_pack("{s:I}", "lost",
			   (json_int_t)(count(&control->state->boot.log_lost) + fg_log_lost()))},
		{"audit",
		 json_pack("{s:o,s:I}", "path", fg_control_report_text(control->config->audit_log),
			   "lost", (json_int_t)count(&control->state->control.audit_lost))},
	};

	for (uint32_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		json_object_set_new(report, parts[i].name,
				    parts[i].value ? parts[i].value : json_null());
	return report;
}
