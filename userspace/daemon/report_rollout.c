#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "sched/budget.h"
#include "userspace/daemon/control.h"
#include "userspace/shared/log.h"

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static uint64_t count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* json_pack() gives up all of an object for one text that is no UTF-8. */
json_t *fg_control_report_text(const char *text)
{
	json_t *report = json_string(text);
	char clean[PATH_MAX];

	if (report)
		return report;
	snprintf(clean, sizeof(clean), "%s", text);
	fg_log_clean(clean);
	return json_string(clean);
}

/* ---- generations ---- */

double fg_control_weight(const struct fg_rollout_flip *flip,
			 const struct fg_rollout_generation *generation)
{
	if (flip->canary && generation->id == flip->canary)
		return flip->weight / 100.0;
	if (generation->id == flip->generation)
		return flip->canary ? (FG_CANARY_WHOLE - flip->weight) / 100.0 : 100;
	return 0;
}

json_t *fg_control_report_labels(const struct fg_rollout_entry *entry)
{
	json_t *labels = json_array();
	uint32_t i;

	for (i = 0; entry && i < FG_RULES_MAX_LABELS; i++)
		if (entry->labels[i][0])
			json_array_append_new(labels, json_string(entry->labels[i]));
	return labels;
}

json_t *fg_control_report_entries(const struct fg_rollout_generation *generation)
{
	json_t *models = json_array();
	uint32_t i;

	for (i = 0; i < generation->entry_count; i++) {
		const struct fg_rollout_entry *entry = &generation->entries[i];

		json_array_append_new(models, json_pack("{s:s,s:I,s:b,s:o}", "model", entry->model,
							"version", (json_int_t)entry->version,
							"default", (int)entry->is_default, "labels",
							fg_control_report_labels(entry)));
	}
	return models;
}

/* ---- canary ---- */

static double left_s(const struct fg_canary *canary, uint64_t now_ns)
{
	uint64_t held_ns = canary->held_ns;

	if (canary->phase == FG_CANARY_RUNNING && canary->step_ns && now_ns > canary->step_ns)
		held_ns += now_ns - canary->step_ns;
	if (!fg_canary_active(canary) || held_ns > canary->plan.hold_ns)
		return 0;
	return (double)(canary->plan.hold_ns - held_ns) / 1e9;
}

static double weight_of(const struct fg_rollout *rollout)
{
	if (rollout->canary.phase == FG_CANARY_DONE)
		return 100;
	return fg_canary_active(&rollout->canary) && rollout->flip.canary
		       ? rollout->flip.weight / 100.0
		       : 0;
}

static json_t *report_guards(const struct fg_canary_guards *guards)
{
	return json_pack("{s:f,s:f,s:f,s:I}", "error_rate", guards->error_rate, "p99", guards->p99,
			 "drift", guards->drift, "min_requests", (json_int_t)guards->min_requests);
}

static json_t *report_comparison(const struct fg_comparison *seen)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:f,s:f,s:f}", "stable_requests",
			 (json_int_t)seen->stable_requests, "canary_requests",
			 (json_int_t)seen->canary_requests, "stable_errors",
			 (json_int_t)seen->stable_errors, "canary_errors",
			 (json_int_t)seen->canary_errors, "stable_p99_us",
			 seen->stable_p99_ns / 1e3, "canary_p99_us", seen->canary_p99_ns / 1e3,
			 "drift", seen->drift);
}

/* The present step has lasted its time, and the next one waits for something: an operator must not
 * have to guess for what. */
static json_t *report_waiting(const struct fg_control *control, const struct fg_rollout *rollout,
			      uint64_t now_ns)
{
	const struct fg_comparison *seen = &control->observed.comparison;
	const struct fg_canary *canary = &rollout->canary;
	const struct fg_canary_guards *guards = &canary->plan.guards;
	bool known = seen->epoch == rollout->watch;
	char text[160];

	if (canary->phase != FG_CANARY_RUNNING || !fg_canary_guarded(guards) ||
	    left_s(canary, now_ns) > 0 || canary->step + 1 >= canary->plan.step_count ||
	    (known && fg_canary_judged(guards, seen)))
		return json_null();
	snprintf(text, sizeof(text),
		 "requests: the guards need %u of each side, stable has %" PRIu64
		 ", the canary %" PRIu64,
		 guards->min_requests, known ? seen->stable_requests + seen->stable_errors : 0,
		 known ? seen->canary_requests + seen->canary_errors : 0);
	return json_string(text);
}

json_t *fg_control_report_canary(const struct fg_control *control, uint64_t now_ns)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_canary *canary = &rollout->canary;
	json_t *steps;
	uint32_t i;

	if (canary->phase == FG_CANARY_NONE)
		return json_null();
	steps = json_array();
	for (i = 0; i < canary->plan.step_count; i++)
		json_array_append_new(steps, json_real(canary->plan.steps[i] / 100.0));
	return json_pack("{s:s,s:I,s:I,s:s,s:I,s:o,s:f,s:f,s:f,s:o,s:o,s:o,s:o}", "model",
			 canary->model, "version", (json_int_t)canary->version, "from",
			 (json_int_t)canary->from, "phase", fg_canary_phase_name(canary->phase),
			 "step", (json_int_t)canary->step, "steps", steps, "weight",
			 weight_of(rollout), "hold_s", (double)canary->plan.hold_ns / 1e9,
			 "step_left_s", left_s(canary, now_ns), "guards",
			 report_guards(&canary->plan.guards), "seen",
			 report_comparison(fg_canary_active(canary) ? &control->shown
								    : &canary->seen),
			 "waiting_for", report_waiting(control, rollout, now_ns), "reason",
			 fg_control_report_text(canary->reason));
}

/* ---- shadow ---- */

/* What one side's workers saw in the present epoch, added up. */
struct seen {
	uint64_t requests, errors, skipped, rows, agreed, live_ns, own_ns;
	float worst;
	struct fg_distribution scores[FG_SEEN_SCORES];
};

static void add(struct seen *sum, const struct fg_state_seen *seen)
{
	uint32_t bits = atomic_load_explicit(&seen->worst, memory_order_relaxed), i;
	float worst;

	memcpy(&worst, &bits, sizeof(worst));
	if (worst > sum->worst)
		sum->worst = worst;
	sum->requests += count(&seen->requests);
	sum->errors += count(&seen->errors);
	sum->skipped += count(&seen->skipped);
	sum->rows += count(&seen->rows);
	sum->agreed += count(&seen->agreed);
	sum->live_ns += count(&seen->live_ns);
	sum->own_ns += count(&seen->own_ns);
	for (i = 0; i < FG_SEEN_SCORES; i++)
		fg_distribution_merge(&sum->scores[i], &seen->scores[i]);
}

static void add_up(const struct fg_control *control, const struct fg_rollout *rollout,
		   enum fg_generation_phase phase, struct seen *sum)
{
	const struct fg_rollout_generation *generation = fg_rollout_find(rollout, phase);
	const struct fg_state_seen *seen;
	uint32_t i;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; generation && i < generation->worker_count; i++) {
		seen = &control->state->slots[generation->slots[i]].seen;
		if (atomic_load_explicit(&seen->epoch, memory_order_acquire) == rollout->watch)
			add(sum, seen);
	}
}

static double drift(const struct seen *live, const struct seen *own)
{
	double largest = 0;
	uint32_t i;

	for (i = 0; i < FG_SEEN_SCORES; i++)
		largest = fmax(largest, fg_distribution_psi(&live->scores[i], &own->scores[i]));
	return largest;
}

json_t *fg_control_report_shadow(const struct fg_control *control)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_shadow *shadow = &rollout->shadow;
	struct seen live, own;
	double requests;

	if (shadow->phase == FG_SHADOW_NONE)
		return json_null();
	add_up(control, rollout, FG_GENERATION_LIVE, &live);
	add_up(control, rollout, FG_GENERATION_SHADOW, &own);
	requests = own.requests ? (double)own.requests : 1;
	return json_pack("{s:s,s:I,s:s,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:I,s:I,s:o}", "model",
			 shadow->model, "version", (json_int_t)shadow->version, "phase",
			 fg_shadow_phase_name(shadow->phase), "share", (json_int_t)shadow->share,
			 "rows", (json_int_t)own.rows, "agreed", (json_int_t)own.agreed, "worst",
			 isfinite(own.worst) ? (double)own.worst : 1e38, "drift",
			 drift(&live, &own), "live_us", (double)own.live_ns / requests / 1e3,
			 "own_us", (double)own.own_ns / requests / 1e3, "skipped",
			 (json_int_t)live.skipped, "errors", (json_int_t)own.errors, "reason",
			 fg_control_report_text(shadow->reason));
}

/* ---- reload and rules ---- */

json_t *fg_control_report_reload(const struct fg_rollout_trial *trial)
{
	return json_pack("{s:I,s:I,s:b,s:o}", "serial", (json_int_t)trial->serial, "accepted",
			 (json_int_t)trial->accepted, "active", (int)trial->active, "error",
			 fg_control_report_text(trial->error));
}

static json_t *report_rule(const struct fg_rules_model *rule)
{
	static const char *const policies[] = {"latest", "manual", "all", "specific"};
	json_t *versions = json_array(), *labels = json_object();
	uint32_t i;

	for (i = 0; rule->policy == FG_RULES_SPECIFIC && i < rule->count; i++)
		json_array_append_new(versions, number(rule->versions[i]));
	for (i = 0; i < rule->label_count; i++)
		json_object_set_new(labels, rule->labels[i].name, number(rule->labels[i].version));
	return json_pack("{s:s,s:o,s:s,s:I,s:o,s:o}", "model", rule->name, "path",
			 fg_control_report_text(rule->path), "policy", policies[rule->policy % 4],
			 "count", (json_int_t)rule->count, "versions", versions, "labels", labels);
}

json_t *fg_control_report_rules(const struct fg_rules *rules)
{
	json_t *models = json_array();
	uint32_t i;

	for (i = 0; i < rules->model_count; i++)
		json_array_append_new(models, report_rule(&rules->models[i]));
	return json_pack("{s:o,s:o,s:o}", "repository", fg_control_report_text(rules->repository),
			 "defaults", report_rule(&rules->defaults), "models", models);
}

/* What sched/budget.h counts. */
json_t *fg_control_report_memory(const struct fg_control *control)
{
	struct fg_budget budget;

	fg_budget_count(fg_rollout_current(&control->state->rollout), &control->observed,
			&control->pace, &budget);
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "limit_bytes", (json_int_t)budget.limit,
			 "base_bytes", (json_int_t)budget.base, "serving_bytes",
			 (json_int_t)budget.serving, "kept_bytes", (json_int_t)budget.kept,
			 "waiting_bytes", (json_int_t)budget.waiting, "packing_bytes",
			 (json_int_t)budget.packing);
}
