/*
 * rollout_stream.h: the random events of test_rollout_streams.c: files, operators, readings,
 * deaths. What happened is remembered, so that a stream that fails tells its story.
 */
#ifndef FG_TESTS_ROLLOUT_STREAM_H
#define FG_TESTS_ROLLOUT_STREAM_H

#include <inttypes.h>
#include <stdlib.h>
#include "tests/unit/rollout_flows.h"

#define STREAM_MODELS	  3
#define STREAM_MAX_EVENTS 64

static const char *const stream_names[STREAM_MODELS] = {"a", "b", "c"};

struct stream_event {
	uint64_t at_ns;
	const char *what, *model;
	uint64_t number;
	int code; /* what an operator was told */
};

/* How often each thing happened, in all streams. */
#define STREAM_COUNTS(X)                                                                           \
	X(events)                                                                                  \
	X(steps)                                                                                   \
	X(partial_steps)                                                                           \
	X(flips)                                                                                   \
	X(cutovers)                                                                                \
	X(flips_from_memory)                                                                       \
	X(flipped_out)                                                                             \
	X(failures)                                                                                \
	X(promotes)                                                                                \
	X(rollbacks)                                                                               \
	X(canaries)                                                                                \
	X(canary_steps)                                                                            \
	X(canaries_done)                                                                           \
	X(canaries_aborted)                                                                        \
	X(canaries_broken)                                                                         \
	X(canaries_failed)                                                                         \
	X(pauses)                                                                                  \
	X(resumes)                                                                                 \
	X(finishes)                                                                                \
	X(shadows)                                                                                 \
	X(shadows_running)                                                                         \
	X(shadows_ended)                                                                           \
	X(trials)                                                                                  \
	X(trials_accepted)                                                                         \
	X(trials_refused)                                                                          \
	X(deaths)                                                                                  \
	X(hangs)                                                                                   \
	X(dooms)                                                                                   \
	X(gave_way)                                                                                \
	X(refused_for_memory)                                                                      \
	X(lost_orders)                                                                             \
	X(touches)                                                                                 \
	X(changes)                                                                                 \
	X(taken)                                                                                   \
	X(same_after_all)                                                                          \
	X(told_of)                                                                                 \
	X(troubles)                                                                                \
	X(retries)                                                                                 \
	X(vanished_stores)                                                                         \
	X(adoptions)                                                                               \
	X(several_versions)                                                                        \
	X(stops)                                                                                   \
	X(refusals)

struct stream_counts {
#define STREAM_COUNT_FIELD(name) uint64_t name;
	STREAM_COUNTS(STREAM_COUNT_FIELD)
#undef STREAM_COUNT_FIELD
	struct flow_counts flows;
};

struct stream {
	struct world *world;
	struct stream_counts *counts;
	struct flow flows[FLOWS];
	uint32_t keeper_limit; /* orders that it does at a time */
	uint32_t partial;      /* of 100 steps, after so many control dies */
	uint32_t canary_floor; /* weights of one canary go upward */
	uint64_t canary_ns;    /* when it began */
	uint32_t event_count;
	struct stream_event events[STREAM_MAX_EVENTS];
};

static inline void stream_note(struct stream *stream, const char *what, const char *model,
			       uint64_t number, int code)
{
	for (uint32_t i = 0; i < STREAM_MODELS; i++)
		if (!strcmp(model, stream_names[i]))
			model = stream_names[i]; /* lasts longer than that of a canary */
	if (stream->event_count < STREAM_MAX_EVENTS)
		stream->events[stream->event_count++] =
			(struct stream_event){stream->world->now_ns, what, model, number, code};
	stream->counts->events++;
	stream->counts->refusals += code != 0;
}

static inline uint32_t stream_random(struct stream *stream, uint32_t below)
{
	return world_random(stream->world, below);
}

static inline const char *stream_model(struct stream *stream)
{
	return stream_names[stream_random(stream, STREAM_MODELS)];
}

/* A version on disk; 0: there is none. */
static inline uint64_t stream_version(struct stream *stream, const char *name)
{
	const struct fg_store_model *model = fg_store_find(&stream->world->store, name);

	if (!model || !model->count)
		return 0;
	return model->versions[stream_random(stream, model->count)].version;
}

/* ---- files ---- */

static inline void stream_new_version(struct stream *stream)
{
	static const enum world_fault faults[] = {WORLD_GOOD,	     WORLD_GOOD, WORLD_GOOD,
						  WORLD_GOOD,	     WORLD_GOOD, WORLD_GOOD,
						  WORLD_BAD_PACK,    WORLD_DIES, WORLD_BAD_LOAD,
						  WORLD_NEVER_READY, WORLD_HANGS};
	enum world_fault fault = faults[stream_random(stream, 11)];
	const char *name = stream_model(stream);
	struct fg_store_model *model = world_model(stream->world, name);
	uint64_t version = model->count ? model->versions[model->count - 1].version + 1 : 1;
	struct fg_store_version *added;

	if (stream_random(stream, 4) == 0 && model->count)
		version = stream_version(stream, name);
	stream_note(stream, fault == WORLD_GOOD ? "good version" : "bad version", name, version, 0);
	added = world_version(stream->world, name, version, fault);
	added->complete = stream_random(stream, 12) != 0;
	if (stream->world->seen.memory.limit_bytes)
		world_size(stream->world, added, (uint64_t)stream_random(stream, 120) << 20);
}

/* Other files under the number of a version that some generation holds, or the same once more. */
static inline void stream_change(struct stream *stream)
{
	struct world *world = stream->world;
	const struct fg_rollout_generation *generation =
		&world->rollout.generations[stream_random(stream, FG_ROLLOUT_MAX_GENERATIONS)];
	const struct fg_rollout_entry *entry;
	const char *name = NULL;

	if (!generation->phase || !generation->entry_count)
		return;
	entry = &generation->entries[stream_random(stream, generation->entry_count)];
	for (uint32_t i = 0; i < STREAM_MODELS; i++)
		if (!strcmp(stream_names[i], entry->model))
			name = stream_names[i];
	if (!fg_store_version(&world->store, name, entry->version))
		return;
	if (stream_random(stream, 3) == 0) {
		stream->counts->touches++;
		stream_note(stream, "touched files", name, entry->version, 0);
		world_touch(world, name, entry->version);
		return;
	}
	stream->counts->changes++;
	stream_note(stream, "changed files", name, entry->version, 0);
	world_version(world, name, entry->version,
		      stream_random(stream, 4) ? WORLD_GOOD
					       : WORLD_BAD_PACK + stream_random(stream, 4))
		->complete = stream_random(stream, 6) != 0;
}

static inline void stream_vanish(struct stream *stream)
{
	struct world *world = stream->world;
	const char *name = stream_model(stream);
	uint64_t version = stream_version(stream, name);

	if (stream_random(stream, 2)) {
		stream_note(stream, "version vanishes", name, version, 0);
		world_vanish(world, name, version);
	} else if (world->store.count) {
		stream_note(stream, "store vanishes", "", 0, 0);
		stream->counts->vanished_stores++;
		world->saved = world->store;
		world->store.count = 0;
	}
}

/* The whole store is back, and what was being copied is complete. */
static inline void stream_restore(struct stream *stream)
{
	struct world *world = stream->world;

	if (!world->store.count && world->saved.count)
		world->store = world->saved;
	for (uint32_t i = 0; i < world->store.count; i++)
		for (uint32_t k = 0; k < world->store.models[i].count; k++)
			world->store.models[i].versions[k].complete = true;
	stream_note(stream, "store is complete", "", 0, 0);
}

/* ---- operators ---- */

static inline void stream_promote(struct stream *stream)
{
	struct world *world = stream->world;
	const char *name = stream_model(stream);
	uint64_t version = stream_version(stream, name);
	int code = fg_wanted_promote(&world->rollout, &world->store, world_rules(world), name,
				     version);

	stream_note(stream, "promote", name, version, code);
	stream->counts->promotes += !code;
}

static inline void stream_rollback(struct stream *stream)
{
	struct world *world = stream->world;
	const char *name = stream_model(stream);
	bool tried = world->rollout.trial.active;
	uint64_t version = 0;
	int code = fg_wanted_rollback(&world->rollout, &world->store,
				      world->seen.rules[world->rollout.rules], name, &version);

	stream_note(stream, "rollback", name, version, code);
	stream->counts->rollbacks += !code;
	stream->counts->trials_refused += tried && !world->rollout.trial.active;
}

static inline struct fg_canary_plan stream_plan(struct stream *stream)
{
	struct fg_canary_plan plan = {.step_count = 1 + stream_random(stream, 4)};
	uint32_t weight = 0;
	const char *why;

	for (uint32_t i = 0; i < plan.step_count; i++) {
		weight += 1 + stream_random(stream, 2500);
		plan.steps[i] = weight;
	}
	if (stream_random(stream, 4))
		plan.steps[plan.step_count - 1] = FG_CANARY_WHOLE;
	plan.hold_ns = stream_random(stream, 400) * WORLD_MS;
	if (stream_random(stream, 2))
		plan.window_ns = (50 + stream_random(stream, 300)) * WORLD_MS;
	if (stream_random(stream, 3))
		plan.guards = (struct fg_canary_guards){.error_rate = 0.05,
							.p99 = 2,
							.drift = 0.3,
							.min_requests = stream_random(stream, 500)};
	assert_int_equal(fg_canary_check(&plan, &why), 0);
	return plan;
}

static inline void stream_canary(struct stream *stream)
{
	struct world *world = stream->world;
	const char *name = stream_model(stream);
	uint64_t version = stream_version(stream, name);
	bool active = fg_canary_active(&world->rollout.canary);
	struct fg_canary_plan plan = stream_plan(stream);
	int code = fg_canary_begin(&world->rollout, &world->store, world_rules(world), name,
				   version, &plan);

	stream_note(stream, "canary", name, version, code);
	stream->counts->canaries += !code && !active;
}

/* What is said of a canary is said of the one under way, mostly. */
static inline void stream_steer_canary(struct stream *stream)
{
	struct world *world = stream->world;
	struct fg_rollout *rollout = &world->rollout;
	bool active = fg_canary_active(&rollout->canary);
	const char *name = active ? rollout->canary.model : stream_model(stream);
	int code;

	switch (stream_random(stream, 5)) {
	case 0:
		code = fg_canary_pause(rollout, name, world->now_ns);
		stream_note(stream, "pause", name, 0, code);
		stream->counts->pauses += !code;
		break;
	case 1:
	case 2:
		code = fg_canary_resume(rollout, name, world->now_ns);
		stream_note(stream, "resume", name, 0, code);
		stream->counts->resumes += !code;
		break;
	case 3:
		code = fg_canary_abort(rollout, name, "by the operator", world->now_ns);
		stream_note(stream, "abort", name, 0, code);
		stream->counts->canaries_aborted += active && !code;
		break;
	default:
		code = fg_canary_finish(rollout, name);
		stream_note(stream, "finish", name, 0, code);
		stream->counts->finishes += !code;
	}
}

static inline void stream_shadow(struct stream *stream)
{
	struct world *world = stream->world;
	const char *name = stream_model(stream);
	uint64_t version = stream_version(stream, name);
	uint32_t share = 1 + stream_random(stream, FG_CANARY_WHOLE);
	int code;

	if (fg_shadow_active(&world->rollout.shadow) && stream_random(stream, 2)) {
		name = world->rollout.shadow.model;
		code = fg_shadow_end(&world->rollout, name, "by the operator");
		stream_note(stream, "shadow ends", name, 0, code);
		return;
	}
	if (fg_shadow_active(&world->rollout.shadow) && stream_random(stream, 2)) {
		name = world->rollout.shadow.model;
		version = world->rollout.shadow.version;
	}
	code = fg_shadow_begin(&world->rollout, &world->store, world_rules(world), name, version,
			       share, world->now_ns);
	stream_note(stream, "shadow", name, version, code);
	stream->counts->shadows += !code;
}

/* ---- reloads ---- */

static inline uint64_t stream_any_version(struct stream *stream, const char *name)
{
	uint64_t version = stream_version(stream, name);

	return version && stream_random(stream, 5) ? version : 1 + stream_random(stream, 9);
}

static inline void stream_rule(struct stream *stream, struct fg_rules_model *rule, const char *name)
{
	memset(rule, 0, sizeof(*rule));
	strcpy(rule->name, name);
	rule->policy = stream_random(stream, 4);
	rule->count = 1 + stream_random(stream, 3);
	for (uint32_t i = 0; rule->policy == FG_RULES_SPECIFIC && i < rule->count; i++)
		rule->versions[i] = stream_any_version(stream, name);
	if (!name[0] && rule->policy == FG_RULES_SPECIFIC)
		rule->policy = FG_RULES_ALL;
	if (name[0] && stream_random(stream, 3) == 0) {
		rule->label_count = 1;
		strcpy(rule->labels[0].name, "stable");
		rule->labels[0].version = stream_any_version(stream, name);
	}
}

static inline void stream_reload(struct stream *stream)
{
	struct world *world = stream->world;
	struct fg_rules *rules = &world->rules[!world->rollout.rules];
	int code = fg_rollout_try(&world->rollout, world->now_ns);

	stream_note(stream, "reload", "", 0, code);
	if (code)
		return;
	stream->counts->trials++;
	strcpy(rules->repository, stream_random(stream, 5) ? "/models" : "");
	stream_rule(stream, &rules->defaults, "");
	rules->model_count = 0;
	for (uint32_t i = 0; i < STREAM_MODELS; i++)
		if (stream_random(stream, 2))
			stream_rule(stream, &rules->models[rules->model_count++], stream_names[i]);
}

/* ---- readings, deaths, a keeper that is slow, a control that dies ---- */

static inline void stream_readings(struct stream *stream)
{
	struct world_traffic *traffic = &stream->world->traffic;

	*traffic = (struct world_traffic){.per_second = 10000, .canary_p99 = 1};
	switch (stream_random(stream, 6)) {
	case 0:
		traffic->canary_errors = 0.2;
		break;
	case 1:
		traffic->canary_p99 = 4;
		break;
	case 2:
		traffic->drift = 0.5;
		break;
	case 3:
		traffic->per_second = stream_random(stream, 300);
		break;
	default:
		break;
	}
	stream_note(stream, "readings", "", traffic->per_second, 0);
}

static inline void stream_trouble(struct stream *stream)
{
	struct world *world = stream->world;
	const struct fg_rollout_generation *generation =
		&world->rollout.generations[stream_random(stream, FG_ROLLOUT_MAX_GENERATIONS)];
	uint32_t slot;

	if (!generation->worker_count)
		return;
	slot = generation->slots[stream_random(stream, generation->worker_count)];
	if (!world->seen.slots[slot].pid)
		return;
	switch (stream_random(stream, 8)) {
	case 0:
		world->workers[slot].hangs = true;
		stream->counts->hangs++;
		stream_note(stream, "worker hangs", "", slot, 0);
		break;
	case 1:
	case 2:
		world->doomed = generation->id;
		for (uint32_t w = 0; w < generation->worker_count; w++)
			world->workers[generation->slots[w]].dies_ns = world->now_ns;
		stream->counts->dooms++;
		stream_note(stream, "generation is doomed", "", generation->id, 0);
		break;
	default:
		world_end_worker(world, slot, false);
		stream->counts->deaths++;
		stream_note(stream, "worker dies", "", slot, 0);
	}
}

/* What may pass, and passes. */
static inline void stream_host(struct stream *stream)
{
	struct world *world = stream->world;

	world->unreadable = stream_random(stream, 3) == 0;
	world->away = stream_random(stream, 3) == 0;
	stream->counts->troubles += world->unreadable || world->away;
	stream_note(stream, "files that cannot be read, an address that is away", "",
		    (uint64_t)(world->unreadable * 10 + world->away), 0);
}

static inline void stream_machinery(struct stream *stream)
{
	struct world *world = stream->world;

	switch (stream_random(stream, 6)) {
	case 0:
		stream->keeper_limit = 1 + stream_random(stream, 6);
		stream_note(stream, "keeper is slow", "", stream->keeper_limit, 0);
		break;
	case 1:
		stream->keeper_limit = UINT32_MAX;
		stream_note(stream, "keeper is quick", "", 0, 0);
		break;
	case 2:
		world->order_head = world->order_tail;
		stream->counts->lost_orders++;
		stream_note(stream, "orders are lost", "", 0, 0);
		break;
	case 3:
		stream->partial = stream_random(stream, 60);
		stream_note(stream, "control dies often", "", stream->partial, 0);
		break;
	default:
		/* It starts again: within a flip nobody knows the table. */
		world_adopt(world);
		if (stream_random(stream, 4) == 0)
			world->seen.table = 0;
		stream->counts->adoptions++;
		stream_note(stream, "control starts again", "", 0, 0);
	}
}

static inline void stream_flows(struct stream *stream)
{
	struct world *world = stream->world;

	for (uint32_t slot = 0; slot < 16; slot++) {
		world->seen.slots[slot].flows = stream_random(stream, 2) * 5;
		world->seen.slots[slot].connections = stream_random(stream, 8) == 0;
	}
	world->seen.flows_known = stream_random(stream, 4) != 0;
	stream_note(stream, "other flows", "", 0, 0);
}

static inline void stream_event(struct stream *stream)
{
	static void (*const events[])(struct stream *) = {
		stream_new_version, stream_new_version, stream_new_version,  stream_new_version,
		stream_new_version, stream_vanish,	stream_restore,	     stream_promote,
		stream_change,	    stream_change,	stream_change,	     stream_promote,
		stream_rollback,    stream_rollback,	stream_canary,	     stream_canary,
		stream_canary,	    stream_canary,	stream_steer_canary, stream_steer_canary,
		stream_shadow,	    stream_shadow,	stream_reload,	     stream_reload,
		stream_readings,    stream_readings,	stream_trouble,	     stream_trouble,
		stream_trouble,	    stream_machinery,	stream_machinery,    stream_flows,
		stream_host,
	};

	events[stream_random(stream, sizeof(events) / sizeof(events[0]))](stream);
}

/* For whoever reads a failure. */
static inline void stream_tell(const struct stream *stream, uint64_t seed)
{
	static const char *const slot_states[] = {"free", "serving", "draining", "retired"};
	const struct world *world = stream->world;

	fprintf(stderr,
		"stream failed: FG_SEED=%" PRIu64 " FG_STREAMS=1 tells it alone; %u workers\n",
		seed, world->config.worker_count);
	for (uint32_t i = 0; i < stream->event_count; i++) {
		const struct stream_event *event = &stream->events[i];

		fprintf(stderr, "%10.3f s  %s %s %" PRIu64 "%s%s\n",
			(double)(event->at_ns - 1000000 * WORLD_MS) / 1e9, event->what,
			event->model, event->number, event->code ? ": refused, " : "",
			event->code ? strerror(-event->code) : "");
	}
	fprintf(stderr, "%10.3f s  here\n", (double)(world->now_ns - 1000000 * WORLD_MS) / 1e9);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &world->rollout.generations[i];

		if (!generation->phase)
			continue;
		fprintf(stderr, "generation %u %s since %.3f s:", generation->id,
			fg_generation_phase_name(generation->phase),
			(double)(generation->since_ns - 1000000 * WORLD_MS) / 1e9);
		for (uint32_t w = 0; w < generation->worker_count; w++)
			fprintf(stderr, " slot %u %s%s", generation->slots[w],
				world->seen.slots[generation->slots[w]].pid ? "" : "dead ",
				slot_states[world->seen.slots[generation->slots[w]].map_state]);
		for (uint32_t k = 0; k < generation->entry_count; k++)
			fprintf(stderr, " %s:%" PRIu64 "%s", generation->entries[k].model,
				generation->entries[k].version,
				generation->entries[k].is_default ? "*" : "");
		fprintf(stderr, "\n");
	}
	fprintf(stderr, "canary %s:%" PRIu64 " %s; trial %s; table %" PRIx64 "\n",
		world->rollout.canary.model, world->rollout.canary.version,
		fg_canary_phase_name(world->rollout.canary.phase),
		world->rollout.trial.active ? "active" : world->rollout.trial.error,
		world->seen.table);
}

#endif
