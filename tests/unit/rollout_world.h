/*
 * rollout_world.h: a keeper, packers, workers, a kernel and a repository, small enough to simulate,
 * around the real fg_rollout_step. Every action is checked as it is done.
 */
#ifndef FG_TESTS_ROLLOUT_WORLD_H
#define FG_TESTS_ROLLOUT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "sched/rollout.h"
#include "sched/wanted.h"

#define WORLD_MS	 1000000ull
#define WORLD_MAX_ORDERS 4096
#define WORLD_MAX_BAD	 4096
#define WORLD_MAX_LOG	 4096

enum world_fault { WORLD_GOOD = 0, WORLD_BAD_PACK, WORLD_BAD_LOAD, WORLD_NEVER_READY };

struct world_plan {
	uint32_t phase;
	char model[FG_ROLLOUT_NAME_BYTES];
	uint64_t version, fingerprint, ready_ns;
};

struct world_worker {
	uint64_t ready_ns;  /* of the present process */
	bool hangs, fenced; /* fenced: a grace period has passed since the slot was RETIRED */
};

/* Versions whose files, by fingerprint, do not work. */
struct world_bad {
	uint64_t fingerprint;
	enum world_fault fault;
};

struct world {
	uint64_t now_ns, seed;
	uint32_t start_ms; /* a worker takes that long, and up to 60 ms more */
	struct fg_rollout_config config;
	struct fg_rollout_record record;
	struct fg_rollout_observed seen; /* the slots here are the truth; plans are filled in */
	struct fg_store store;
	struct world_plan plans[FG_ROLLOUT_MAX_PLANS];
	struct world_worker workers[FG_MAX_SLOTS];
	struct fg_rollout_action orders[WORLD_MAX_ORDERS]; /* a ring: the socket to the keeper */
	uint32_t order_head, order_tail;
	struct world_bad bad[WORLD_MAX_BAD];
	uint32_t bad_count;
	uint64_t fingerprints; /* the last one used */
	int32_t pids;	       /* the last one used */
	uint32_t table_serial;
	bool was_live; /* a generation was live before */
	/* what happened, for tests to look at */
	uint32_t flips, fences, spawns, kills, packs, drops;
	struct fg_rollout_action log[WORLD_MAX_LOG]; /* of done actions */
	uint32_t log_count;
	struct fg_rollout next;
	struct fg_rollout_actions actions;
};

/* xorshift64*: the same events for the same seed, everywhere. */
static inline uint32_t world_random(struct world *world, uint32_t below)
{
	world->seed ^= world->seed >> 12;
	world->seed ^= world->seed << 25;
	world->seed ^= world->seed >> 27;
	return (uint32_t)((world->seed * 2685821657736338717ull) >> 33) % below;
}

static inline void world_init(struct world *world, uint32_t workers)
{
	memset(world, 0, sizeof(*world));
	world->seed = 0x9e3779b97f4a7c15ull;
	world->now_ns = 1000000 * WORLD_MS;
	world->config.worker_count = workers;
	world->config.drain_deadline_ms = 5000;
	world->config.keep_ms = 20000;
	world->start_ms = 20;
}

static inline const struct fg_rollout *world_rollout(const struct world *world)
{
	return fg_rollout_current(&world->record);
}

/* ---- the repository ---- */

static inline struct fg_store_model *world_model(struct world *world, const char *name)
{
	struct fg_store_model *model;

	for (uint32_t i = 0; i < world->store.count; i++)
		if (!strcmp(world->store.models[i].name, name))
			return &world->store.models[i];
	model = &world->store.models[world->store.count++];
	snprintf(model->name, sizeof(model->name), "%s", name);
	return model;
}

/* Adds a version, or puts other files into it. */
static inline void world_version(struct world *world, const char *name, uint64_t version,
				 enum world_fault fault)
{
	struct fg_store_model *model = world_model(world, name);
	uint32_t at = 0;

	while (at < model->count && model->versions[at].version < version)
		at++;
	if (at == model->count || model->versions[at].version != version) {
		assert_true(model->count < FG_STORE_MAX_VERSIONS);
		memmove(&model->versions[at + 1], &model->versions[at],
			(model->count - at) * sizeof(model->versions[0]));
		model->count++;
	}
	model->versions[at] = (struct fg_store_version){.version = version,
							.fingerprint = ++world->fingerprints,
							.complete = true};
	if (fault == WORLD_GOOD)
		return;
	assert_true(world->bad_count < WORLD_MAX_BAD);
	world->bad[world->bad_count++] = (struct world_bad){world->fingerprints, fault};
}

static inline void world_vanish(struct world *world, const char *name, uint64_t version)
{
	struct fg_store_model *model = world_model(world, name);

	for (uint32_t i = 0; i < model->count; i++) {
		if (model->versions[i].version != version)
			continue;
		memmove(&model->versions[i], &model->versions[i + 1],
			(model->count - i - 1) * sizeof(model->versions[0]));
		model->count--;
	}
}

static inline enum world_fault world_fault_of(const struct world *world, uint64_t fingerprint)
{
	for (uint32_t i = 0; i < world->bad_count; i++)
		if (world->bad[i].fingerprint == fingerprint)
			return world->bad[i].fault;
	return WORLD_GOOD;
}

/* ---- the keeper and its children ---- */

static inline void world_end_worker(struct world *world, uint32_t slot, bool told)
{
	struct fg_rollout_slot *seen = &world->seen.slots[slot];

	seen->map_state = FG_SLOT_FREE; /* as the keeper does when it reaps */
	seen->deaths += !told;
	seen->pid = 0;
}

static inline bool world_names(const struct fg_rollout_generation *generation, uint32_t slot)
{
	for (uint32_t w = 0; w < generation->worker_count; w++)
		if (generation->slots[w] == slot)
			return true;
	return false;
}

static inline void world_spawn(struct world *world, const struct fg_rollout_action *order)
{
	const struct fg_rollout_generation *generation =
		&world_rollout(world)->generations[order->index];
	struct fg_rollout_slot *seen = &world->seen.slots[order->slot];

	if (seen->pid || (generation->phase != FG_GENERATION_STARTING &&
			  generation->phase != FG_GENERATION_LIVE))
		return;
	if (!world_names(generation, order->slot))
		return;
	for (uint32_t i = 0; i < generation->entry_count; i++) {
		const struct world_plan *plan = &world->plans[generation->entries[i].plan];

		assert_int_equal(plan->phase, FG_PLAN_READY);
		assert_string_equal(plan->model, generation->entries[i].model);
		assert_true(plan->version == generation->entries[i].version);
	}
	assert_int_not_equal(seen->order, FG_ORDER_FINISH);
	seen->generation = generation->id;
	seen->phase = FG_WORK_STARTING;
	seen->spawned_ns = world->now_ns;
	seen->heartbeat_ns = world->now_ns;
	seen->flows = 0;
	seen->urgent = 0;
	seen->pid = ++world->pids;
	world->workers[order->slot] = (struct world_worker){
		.ready_ns = world->now_ns + (world->start_ms + world_random(world, 60)) * WORLD_MS};
	world->spawns++;
}

static inline void world_drop(struct world *world, uint32_t plan)
{
	const struct fg_rollout *rollout = world_rollout(world);

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		for (uint32_t k = 0; k < rollout->generations[i].entry_count; k++)
			assert_int_not_equal(rollout->generations[i].entries[k].plan, plan);
	world->plans[plan].phase = FG_PLAN_FREE;
	world->drops++;
}

static inline void world_pack(struct world *world, const struct fg_rollout_action *order)
{
	struct world_plan *plan = &world->plans[order->index];

	if (plan->phase != FG_PLAN_FREE)
		return;
	plan->phase = FG_PLAN_PACKING;
	memcpy(plan->model, order->model, sizeof(plan->model));
	plan->version = order->version;
	plan->fingerprint = order->fingerprint;
	plan->ready_ns = world->now_ns + (5 + world_random(world, 40)) * WORLD_MS;
	world->packs++;
}

static inline void world_obey(struct world *world, const struct fg_rollout_action *order)
{
	switch (order->verb) {
	case FG_ROLLOUT_SPAWN:
		world_spawn(world, order);
		break;
	case FG_ROLLOUT_KILL:
		if (world->seen.slots[order->slot].pid) {
			world_end_worker(world, order->slot, false);
			world->kills++;
		}
		break;
	case FG_ROLLOUT_PACK:
		world_pack(world, order);
		break;
	case FG_ROLLOUT_DROP:
		world_drop(world, order->index);
		break;
	case FG_ROLLOUT_PRIORITY:
		if (world->seen.slots[order->slot].pid &&
		    (!order->value || world->seen.slots[order->slot].order == FG_ORDER_DRAIN))
			world->seen.slots[order->slot].urgent = order->value;
		break;
	default:
		break;
	}
}

static inline void world_keeper(struct world *world, uint32_t limit)
{
	while (world->order_head != world->order_tail && limit--)
		world_obey(world, &world->orders[world->order_head++ % WORLD_MAX_ORDERS]);
}

/* What the worker's plans do to it. */
static inline enum world_fault world_load(const struct world *world, uint32_t slot)
{
	const struct fg_rollout *rollout = world_rollout(world);

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &rollout->generations[i];

		if (generation->id != world->seen.slots[slot].generation)
			continue;
		for (uint32_t k = 0; k < generation->entry_count; k++) {
			enum world_fault fault = world_fault_of(
				world, world->plans[generation->entries[k].plan].fingerprint);

			if (fault >= WORLD_BAD_LOAD)
				return fault;
		}
	}
	return WORLD_GOOD;
}

static inline void world_children(struct world *world)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		struct fg_rollout_slot *seen = &world->seen.slots[slot];

		if (!seen->pid || world->workers[slot].hangs)
			continue;
		seen->heartbeat_ns = world->now_ns;
		if (seen->phase == FG_WORK_FAILED || seen->phase == FG_WORK_DONE)
			world_end_worker(world, slot, seen->phase == FG_WORK_DONE);
		else if (seen->order == FG_ORDER_FINISH)
			seen->phase = FG_WORK_DONE;
		else if (seen->phase == FG_WORK_STARTING &&
			 world->now_ns >= world->workers[slot].ready_ns) {
			enum world_fault fault = world_load(world, slot);

			if (fault != WORLD_NEVER_READY)
				seen->phase = fault == WORLD_GOOD ? FG_WORK_READY : FG_WORK_FAILED;
		}
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		struct world_plan *plan = &world->plans[i];

		if (plan->phase == FG_PLAN_PACKING && world->now_ns >= plan->ready_ns)
			plan->phase = world_fault_of(world, plan->fingerprint) == WORLD_BAD_PACK
					      ? FG_PLAN_FAILED
					      : FG_PLAN_READY;
	}
}

/* ---- control's actions, each checked when it is done ---- */

static inline const struct fg_rollout_generation *world_owner(const struct world *world,
							      uint32_t slot)
{
	const struct fg_rollout *rollout = world_rollout(world);

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (world_names(&rollout->generations[i], slot))
			return &rollout->generations[i];
	return NULL;
}

static inline void world_flip(struct world *world, uint64_t slots)
{
	const struct fg_rollout_generation *owner;
	struct fg_rollout next;

	assert_true(slots);
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		world->workers[slot].fenced |= world->seen.slots[slot].map_state == FG_SLOT_RETIRED;
		if (!(slots & 1ull << slot))
			continue;
		owner = world_owner(world, slot);
		assert_non_null(owner);
		assert_int_equal(owner->phase, FG_GENERATION_LIVE);
		assert_int_equal(world->seen.slots[slot].map_state, FG_SLOT_SERVING);
		assert_int_equal(world->seen.slots[slot].map_generation, (uint16_t)owner->id);
		assert_int_equal(world->seen.slots[slot].order,
				 world->seen.slots[slot].urgent ? FG_ORDER_DRAIN : FG_ORDER_SERVE);
	}
	world->seen.table = slots;
	world->flips++;
	next = *world_rollout(world);
	fg_rollout_note_flip(&next, ++world->table_serial, world->now_ns, 1000);
	fg_rollout_publish(&world->record, &next);
}

static inline void world_order(struct world *world, const struct fg_rollout_action *action)
{
	const struct fg_rollout_generation *owner = world_owner(world, action->slot);
	const struct fg_rollout_slot *seen = &world->seen.slots[action->slot];

	/* Who polls, or answers the rest, must leave its CPU to others as well. */
	if (seen->pid && (action->value == FG_ORDER_SERVE || action->value == FG_ORDER_FINISH))
		assert_false(seen->urgent);
	if (action->value == FG_ORDER_FINISH) {
		/* Nobody is steered to it any more, and nobody still is who began before. */
		assert_non_null(owner);
		assert_int_equal(owner->phase, FG_GENERATION_RETIRING);
		assert_true(seen->map_state == FG_SLOT_RETIRED || seen->map_state == FG_SLOT_FREE);
		if (owner->flip_ns && seen->map_state == FG_SLOT_RETIRED)
			assert_true(world->workers[action->slot].fenced);
	}
	world->seen.slots[action->slot].order = action->value;
}

static inline void world_slot_state(struct world *world, const struct fg_rollout_action *action)
{
	struct fg_rollout_slot *seen = &world->seen.slots[action->slot];

	/* New flows go where the table says: that must not stop serving while it lives. */
	if (action->value == FG_SLOT_DRAINING)
		assert_false(world->seen.table & 1ull << action->slot);
	if (action->value != FG_SLOT_RETIRED || seen->map_state != FG_SLOT_RETIRED)
		world->workers[action->slot].fenced = false;
	seen->map_state = (uint16_t)action->value;
	seen->map_generation = (uint16_t)action->generation;
}

static inline void world_act(struct world *world, const struct fg_rollout_action *action)
{
	world->log[world->log_count++ % WORLD_MAX_LOG] = *action;
	switch (action->verb) {
	case FG_ROLLOUT_ORDER:
		world_order(world, action);
		break;
	case FG_ROLLOUT_SLOT_STATE:
		world_slot_state(world, action);
		break;
	case FG_ROLLOUT_FLIP:
		world_flip(world, action->slots);
		break;
	case FG_ROLLOUT_FENCE:
		for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
			world->workers[slot].fenced |=
				world->seen.slots[slot].map_state == FG_SLOT_RETIRED;
		world->fences++;
		break;
	default:
		assert_true(world->order_tail - world->order_head < WORLD_MAX_ORDERS);
		world->orders[world->order_tail++ % WORLD_MAX_ORDERS] = *action;
	}
}

static inline bool world_queued(const struct world *world, const struct fg_rollout_action *action)
{
	for (uint32_t i = world->order_head; i != world->order_tail; i++)
		if (!memcmp(&world->orders[i % WORLD_MAX_ORDERS], action, sizeof(*action)))
			return true;
	return false;
}

static inline void world_check(struct world *world)
{
	const struct fg_rollout *rollout = world_rollout(world);
	uint32_t starting = 0, live = 0;
	uint64_t slots = 0, one;

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &rollout->generations[i];

		one = 0;
		for (uint32_t w = 0; w < generation->worker_count; w++)
			one |= 1ull << generation->slots[w];
		assert_int_equal(__builtin_popcountll(one), generation->worker_count);
		assert_false(slots & one);
		slots |= one;
		starting += generation->phase == FG_GENERATION_STARTING;
		live += generation->phase == FG_GENERATION_LIVE;
		if (generation->phase != FG_GENERATION_LIVE)
			continue;
		for (uint32_t k = 0; k < generation->entry_count; k++) {
			const struct world_plan *plan = &world->plans[generation->entries[k].plan];

			assert_int_equal(plan->phase, FG_PLAN_READY);
			assert_int_equal(world_fault_of(world, plan->fingerprint), WORLD_GOOD);
		}
	}
	assert_true(starting <= 1 && live <= 1);
	world->was_live |= live;
	if (world->was_live && !world->seen.stopping)
		assert_int_equal(live, 1);
}

static inline void world_observe(struct world *world)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		world->seen.plans[i] = (struct fg_rollout_plan){
			.phase = world->plans[i].phase,
			.model = world->plans[i].model,
			.version = world->plans[i].version,
			.fingerprint = world->plans[i].fingerprint,
			.error = "the packer says no",
		};
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->seen.slots[slot].error = "the worker says no";
	world->seen.flows_known = true;
	world->seen.store = &world->store;
}

/* One step, of which only the first `limit` actions are done, as if control died then. Returns
 * whether the state changed. */
static inline bool world_step(struct world *world, uint32_t limit)
{
	bool changed;

	world_observe(world);
	world->next = *world_rollout(world);
	fg_rollout_step(&world->next, &world->seen, &world->config, world->now_ns, &world->actions);
	changed = memcmp(&world->next, world_rollout(world), sizeof(world->next));
	if (changed)
		fg_rollout_publish(&world->record, &world->next);
	world_check(world);
	for (uint32_t i = 0; i < world->actions.count && i < limit; i++)
		if (!world_queued(world, &world->actions.list[i]))
			world_act(world, &world->actions.list[i]);
	return changed;
}

/* Everybody does what there is to do, `ms` long; long times in larger steps. */
static inline void world_run(struct world *world, uint32_t ms)
{
	uint32_t step = ms >= 60000 ? 25 : ms >= 5000 ? 10 : 1;

	for (uint32_t i = 0; i < ms; i += step) {
		world->now_ns += step * WORLD_MS;
		world_children(world);
		world_keeper(world, UINT32_MAX);
		while (world_step(world, UINT32_MAX))
			;
	}
}

static inline uint64_t world_live(const struct world *world, const char *model)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(world_rollout(world), FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? entry->version : 0;
}

#endif
