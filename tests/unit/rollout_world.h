/*
 * rollout_world.h: a keeper, packers, workers and a repository, small enough to simulate, around
 * the real fg_rollout_step. rollout_kernel.h does control's actions and checks each of them.
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
#include "sched/maglev.h"
#include "sched/rollout.h"
#include "sched/rollout_actions.h"
#include "sched/wanted.h"

#define WORLD_MS	 1000000ull
#define WORLD_PACK_MS	 60000 /* then the keeper ends a packer */
#define WORLD_MAX_ORDERS 1024
#define WORLD_MAX_BAD	 4096
#define WORLD_MAX_LOG	 4096

/* WORLD_HANGS: its packer does not end by itself. WORLD_DIES: becomes ready, and dies soon after.
 */
enum world_fault {
	WORLD_GOOD = 0,
	WORLD_BAD_PACK,
	WORLD_HANGS,
	WORLD_DIES,
	WORLD_BAD_LOAD,
	WORLD_NEVER_READY
};

struct world_plan {
	char model[FG_ROLLOUT_NAME_BYTES];
	uint64_t ready_ns;
};

struct world_worker {
	uint64_t ready_ns;  /* of the present process */
	uint64_t dies_ns;   /* 0: it does not */
	bool hangs, fenced; /* fenced: a grace period has passed since the slot was RETIRED */
	char watched[FG_ROLLOUT_NAME_BYTES];
	uint32_t share;
};

/* Fingerprints: what is in the files, and how often they were touched since. What is in them is the
 * digest of the plan that they make. */
#define WORLD_CONTENTS(fingerprint) ((fingerprint) >> 16)

/* Versions whose files, by what is in them, do not work. */
struct world_bad {
	uint64_t contents;
	enum world_fault fault;
};

/* What versions take, by fingerprint. */
struct world_size {
	uint64_t contents, plan_bytes;
};

/* What the workers see of a canary: answers a second on each side, and how bad they are. */
struct world_traffic {
	uint64_t per_second;
	double canary_errors, canary_p99, drift; /* share, times the stable one's, PSI */
};

struct world {
	uint64_t now_ns, seed;
	uint32_t start_ms; /* a worker takes that long, and up to 60 ms more */
	struct fg_rollout_config config;
	struct fg_rollout rollout;
	struct fg_rollout_observed seen; /* the truth: what is observed is what is */
	struct fg_store store, saved;	 /* saved: before it vanished as a whole */
	struct fg_rules rules[2];
	struct world_plan plans[FG_ROLLOUT_MAX_PLANS];
	struct world_worker workers[FG_MAX_SLOTS];
	struct world_traffic traffic;
	uint64_t compared_ns;		 /* until when the comparison was counted */
	uint32_t order_head, order_tail; /* of orders */
	uint32_t bad_count;		 /* of bad */
	uint32_t size_count;		 /* of sizes */
	uint64_t contents;		 /* the last ones used */
	int32_t pids;			 /* the last one used */
	uint32_t doomed;		 /* workers of that generation die soon; 0: none */
	uint32_t table_serial;
	uint64_t stable, canary; /* slots that the live table was made of ... */
	uint32_t weight;	 /* ... by that weight */
	bool real_tables;	 /* `table` is built at each flip; else its shares are computed */
	bool was_live;		 /* a generation was live before */
	bool blind;		 /* nobody looks at the disk */
	bool unreadable, away;	 /* no packer can read, no worker can be started: that may pass */
	uint64_t wider_from; /* versions from this one on take 23 columns, the others 20; 0: all 20
			      */
	/* what happened, for tests to look at */
	uint32_t attachments; /* so far */
	uint32_t flips, fences, spawns, kills, packs, drops;
	uint32_t log_count;
	/* The rest needs no zeroes. */
	struct fg_rollout_action orders[WORLD_MAX_ORDERS]; /* a ring: the socket to the keeper */
	struct world_bad bad[WORLD_MAX_BAD];
	struct world_size sizes[WORLD_MAX_BAD];
	struct fg_rollout_action log[WORLD_MAX_LOG]; /* of done actions */
	struct fg_rollout before;
	struct fg_rollout_actions actions;
	struct fg_table table;
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
	memset(world, 0, offsetof(struct world, orders));
	world->seed = 0x9e3779b97f4a7c15ull;
	world->now_ns = 1000000 * WORLD_MS;
	world->config.worker_count = workers;
	world->config.drain_deadline_ms = 5000;
	world->config.keep_ms = 20000;
	world->config.settle_ms = 600000;
	world->start_ms = 20;
	world->seen.flows_known = true;
	world->seen.store = &world->store;
	for (uint32_t i = 0; i < 2; i++) {
		strcpy(world->rules[i].repository, "/models");
		world->rules[i].defaults.count = 1;
		world->seen.rules[i] = &world->rules[i];
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		world->seen.plans[i].model = world->plans[i].model;
		world->seen.plans[i].error = "the packer says no";
	}
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->seen.slots[slot].error = "the worker says no";
}

static inline const struct fg_rollout *world_rollout(const struct world *world)
{
	return &world->rollout;
}

static inline const struct fg_rules *world_rules(const struct world *world)
{
	return fg_rollout_rules(&world->rollout, world->seen.rules);
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
	model->count = 0;
	return model;
}

/* Adds a version, or puts other files into it. */
static inline struct fg_store_version *world_version(struct world *world, const char *name,
						     uint64_t version, enum world_fault fault)
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
							.fingerprint = ++world->contents << 16,
							.complete = true};
	if (fault != WORLD_GOOD) {
		assert_true(world->bad_count < WORLD_MAX_BAD);
		world->bad[world->bad_count++] = (struct world_bad){world->contents, fault};
	}
	return &model->versions[at];
}

/* The plan of a version's present files is that large; a packer needs three times as much beside.
 */
static inline void world_size(struct world *world, const struct fg_store_version *version,
			      uint64_t plan_bytes)
{
	assert_true(world->size_count < WORLD_MAX_BAD);
	world->sizes[world->size_count++] =
		(struct world_size){WORLD_CONTENTS(version->fingerprint), plan_bytes};
}

static inline uint64_t world_size_of(const struct world *world, uint64_t fingerprint)
{
	for (uint32_t i = 0; i < world->size_count; i++)
		if (world->sizes[i].contents == WORLD_CONTENTS(fingerprint))
			return world->sizes[i].plan_bytes;
	return 0;
}

/* The same contents, but the files do not look the same. */
static inline void world_touch(struct world *world, const char *name, uint64_t version)
{
	struct fg_store_model *model = world_model(world, name);

	for (uint32_t i = 0; i < model->count; i++)
		model->versions[i].fingerprint += model->versions[i].version == version;
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
		if (world->bad[i].contents == WORLD_CONTENTS(fingerprint))
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

static inline void world_check_plans(const struct world *world,
				     const struct fg_rollout_generation *generation)
{
	for (uint32_t i = 0; i < generation->entry_count; i++) {
		const struct fg_rollout_entry *entry = &generation->entries[i];
		const struct fg_rollout_plan *plan = &world->seen.plans[entry->plan];

		assert_int_equal(plan->phase, FG_PLAN_READY);
		assert_string_equal(plan->model, entry->model);
		assert_true(plan->version == entry->version);
	}
}

static inline void world_spawn(struct world *world, const struct fg_rollout_action *order)
{
	const struct fg_rollout_generation *generation = &world->rollout.generations[order->index];
	struct fg_rollout_slot *seen = &world->seen.slots[order->slot];

	if (seen->pid || generation->phase == FG_GENERATION_NONE ||
	    generation->phase == FG_GENERATION_DRAINING ||
	    generation->phase == FG_GENERATION_KEPT || generation->phase == FG_GENERATION_RETIRING)
		return;
	if (!world_names(generation, order->slot))
		return;
	world_check_plans(world, generation);
	assert_int_not_equal(seen->order, FG_ORDER_FINISH);
	seen->generation = generation->id;
	seen->attachment = world->seen.attachment;
	seen->passing = world->away;
	seen->phase = world->away ? FG_WORK_FAILED : FG_WORK_STARTING;
	seen->spawned_ns = world->now_ns;
	if (world->away) {
		seen->deaths++;
		return;
	}
	seen->heartbeat_ns = world->now_ns;
	seen->flows = seen->connections = seen->urgent = 0;
	seen->pid = ++world->pids;
	world->workers[order->slot].hangs = world->workers[order->slot].fenced = false;
	world->workers[order->slot].dies_ns = 0;
	world->workers[order->slot].ready_ns =
		world->now_ns + (world->start_ms + world_random(world, 60)) * WORLD_MS;
	world->spawns++;
}

static inline void world_drop(struct world *world, uint32_t plan)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		for (uint32_t k = 0; k < world->rollout.generations[i].entry_count; k++)
			assert_int_not_equal(world->rollout.generations[i].entries[k].plan, plan);
	world->seen.plans[plan].phase = FG_PLAN_FREE;
	world->drops++;
}

static inline bool world_packs(const struct world *world, const struct fg_rollout_action *order)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		const struct fg_rollout_plan *plan = &world->seen.plans[i];

		if (plan->phase == FG_PLAN_PACKING && plan->version == order->version &&
		    plan->fingerprint == order->fingerprint && !strcmp(plan->model, order->model))
			return true;
	}
	return false;
}

static inline void world_pack(struct world *world, const struct fg_rollout_action *order)
{
	struct fg_rollout_plan *plan = &world->seen.plans[order->index];

	if (plan->phase != FG_PLAN_FREE || world_packs(world, order))
		return;
	plan->phase = FG_PLAN_PACKING;
	memcpy(world->plans[order->index].model, order->model, sizeof(order->model));
	plan->version = order->version;
	plan->fingerprint = order->fingerprint;
	plan->memory_bytes = order->memory;
	plan->since_ns = world->now_ns;
	world->plans[order->index].ready_ns =
		world->now_ns + (5 + world_random(world, 40)) * WORLD_MS;
	if (world_fault_of(world, order->fingerprint) == WORLD_HANGS)
		world->plans[order->index].ready_ns = world->now_ns + WORLD_PACK_MS * WORLD_MS;
	world->packs++;
}

static inline void world_set_priority(struct world *world, const struct fg_rollout_action *order)
{
	struct fg_rollout_slot *seen = &world->seen.slots[order->slot];
	bool sleeps = seen->order == FG_ORDER_DRAIN || seen->order == FG_ORDER_DOZE ||
		      seen->order == FG_ORDER_KEEP;

	if (seen->pid && (sleeps || !order->value))
		seen->urgent = order->value;
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
	default:
		assert_int_equal(order->verb, FG_ROLLOUT_PRIORITY);
		world_set_priority(world, order);
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
	enum world_fault worst = WORLD_GOOD;

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &world->rollout.generations[i];

		if (generation->id != world->seen.slots[slot].generation)
			continue;
		for (uint32_t k = 0; k < generation->entry_count; k++) {
			uint32_t plan = generation->entries[k].plan;
			enum world_fault fault =
				world_fault_of(world, world->seen.plans[plan].fingerprint);

			worst = fault > worst ? fault : worst;
		}
	}
	return worst;
}

static inline void world_loaded(struct world *world, uint32_t slot)
{
	struct fg_rollout_slot *seen = &world->seen.slots[slot];
	enum world_fault fault = world_load(world, slot);

	if (fault == WORLD_NEVER_READY) {
		world->workers[slot].ready_ns = UINT64_MAX;
		return;
	}
	seen->phase = fault == WORLD_BAD_LOAD ? FG_WORK_FAILED : FG_WORK_READY;
	if (fault == WORLD_DIES || (world->doomed && seen->generation == world->doomed))
		world->workers[slot].dies_ns = world->now_ns + 80 * WORLD_MS;
}

static inline void world_packed(struct world *world, struct fg_rollout_plan *plan)
{
	enum world_fault fault = world_fault_of(world, plan->fingerprint);

	plan->digest = WORLD_CONTENTS(plan->fingerprint);
	plan->interface = plan->in_cols =
		world->wider_from && plan->version >= world->wider_from ? 23 : 20;
	plan->out_cols = 2;
	plan->ready_ns = world->now_ns;
	plan->bytes = world_size_of(world, plan->fingerprint);
	plan->lacked = plan->memory_bytes && plan->memory_bytes < 4 * plan->bytes;
	plan->passing = world->unreadable;
	plan->phase =
		world->unreadable || fault == WORLD_BAD_PACK || fault == WORLD_HANGS || plan->lacked
			? FG_PLAN_FAILED
			: FG_PLAN_READY;
}

static inline void world_children(struct world *world)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		struct fg_rollout_slot *seen = &world->seen.slots[slot];
		const struct world_worker *worker = &world->workers[slot];

		if (!seen->pid || worker->hangs)
			continue;
		seen->heartbeat_ns = world->now_ns;
		if (worker->dies_ns && world->now_ns >= worker->dies_ns)
			world_end_worker(world, slot, false);
		else if (seen->phase == FG_WORK_FAILED || seen->phase == FG_WORK_DONE)
			world_end_worker(world, slot, seen->phase == FG_WORK_DONE);
		else if (seen->order == FG_ORDER_FINISH)
			seen->phase = FG_WORK_DONE;
		else if (seen->phase == FG_WORK_STARTING && world->now_ns >= worker->ready_ns)
			world_loaded(world, slot);
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING &&
		    world->now_ns >= world->plans[i].ready_ns)
			world_packed(world, &world->seen.plans[i]);
}

/* What both sides of a canary answered since the epoch began. */
static inline void world_compare(struct world *world)
{
	struct fg_comparison *seen = &world->seen.comparison;
	uint64_t answers;

	if (seen->epoch != world->rollout.watch) {
		memset(seen, 0, sizeof(*seen));
		seen->epoch = world->rollout.watch;
		world->compared_ns = world->now_ns;
	}
	answers = world->traffic.per_second * ((world->now_ns - world->compared_ns) / WORLD_MS) /
		  1000;
	if (answers < 100)
		return;
	world->compared_ns = world->now_ns;
	seen->stable_requests += answers;
	seen->canary_errors += (uint64_t)((double)answers * world->traffic.canary_errors);
	seen->canary_requests +=
		answers - (uint64_t)((double)answers * world->traffic.canary_errors);
	seen->stable_p99_ns = 100000;
	seen->canary_p99_ns = 100000 * world->traffic.canary_p99;
	seen->drift = world->traffic.drift;
}

/* ---- questions ---- */

static inline const struct fg_rollout_generation *world_owner(const struct world *world,
							      uint32_t slot)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (world_names(&world->rollout.generations[i], slot))
			return &world->rollout.generations[i];
	return NULL;
}

/* What answers requests for the model's default version. */
static inline uint64_t world_answers(const struct world *world, const char *model)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(&world->rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? world->seen.plans[entry->plan].digest : 0;
}

static inline uint64_t world_live(const struct world *world, const char *model)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(&world->rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? entry->version : 0;
}

#endif
