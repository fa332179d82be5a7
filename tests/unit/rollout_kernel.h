/*
 * rollout_kernel.h: what control does in rollout_world.h, each action checked when it is done: the
 * maps, tables, orders. And a whole step of control, after which what must always be true is
 * checked.
 */
#ifndef FG_TESTS_ROLLOUT_KERNEL_H
#define FG_TESTS_ROLLOUT_KERNEL_H

#include "tests/unit/rollout_world.h"

/* ---- tables ---- */

static inline uint32_t world_list_slots(uint64_t mask, uint16_t slots[FG_MAX_SLOTS])
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (mask & 1ull << slot)
			slots[count++] = (uint16_t)slot;
	return count;
}

/* The shares that a table has, without building it. */
static inline void world_share(struct world *world, uint64_t mask, uint32_t positions)
{
	uint32_t count = (uint32_t)__builtin_popcountll(mask), slot, i = 0;

	for (; mask; mask &= mask - 1, i++) {
		slot = (uint32_t)__builtin_ctzll(mask);
		world->seen.positions[slot] =
			(uint16_t)(positions / count + (i < positions % count));
	}
}

static inline void world_build(struct world *world)
{
	static struct fg_table canary;
	uint16_t slots[FG_MAX_SLOTS];

	fg_maglev_build(&world->table, world->table_serial, 4711, slots,
			world_list_slots(world->stable, slots));
	if (world->canary) {
		fg_maglev_build(&canary, world->table_serial, 4711, slots,
				world_list_slots(world->canary, slots));
		fg_maglev_mix(&world->table, &world->table, &canary, world->weight);
	}
	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++)
		world->seen.positions[world->table.slot[i]]++;
}

static inline void world_count_positions(struct world *world)
{
	uint32_t taken = world->canary ? fg_maglev_share(world->weight) : 0;

	memset(world->seen.positions, 0, sizeof(world->seen.positions));
	if (world->real_tables) {
		world_build(world);
		return;
	}
	world_share(world, world->stable, FG_TABLE_PRIME - taken);
	world_share(world, world->canary, taken);
}

/* Control starts again: all it knows of the live table is what that names. */
static inline void world_adopt(struct world *world)
{
	world->seen.table = 0;
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (world->seen.positions[slot])
			world->seen.table |= 1ull << slot;
}

/* ---- control's actions ---- */

/* Who takes new flows: ready, SERVING, and told to serve. */
static inline void world_check_flip(const struct world *world, uint64_t slots,
				    enum fg_generation_phase phase)
{
	const struct fg_rollout_generation *owner;

	for (; slots; slots &= slots - 1) {
		uint32_t slot = (uint32_t)__builtin_ctzll(slots);
		const struct fg_rollout_slot *seen = &world->seen.slots[slot];

		owner = world_owner(world, slot);
		assert_non_null(owner);
		assert_int_equal(owner->phase, phase);
		assert_int_equal(seen->map_state, FG_SLOT_SERVING);
		assert_int_equal(seen->map_generation, (uint16_t)owner->id);
		assert_int_equal(seen->generation, owner->id);
		assert_int_equal(seen->phase, FG_WORK_READY);
		assert_true(seen->order == FG_ORDER_SERVE || seen->order == FG_ORDER_DOZE);
		if (seen->urgent)
			assert_int_equal(seen->order, FG_ORDER_DOZE);
	}
}

static inline bool world_polls(const struct world *world, uint64_t slots)
{
	for (; slots; slots &= slots - 1)
		if (world->seen.slots[__builtin_ctzll(slots)].order == FG_ORDER_SERVE)
			return true;
	return false;
}

static inline void world_fence(struct world *world)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->workers[slot].fenced |= world->seen.slots[slot].map_state == FG_SLOT_RETIRED;
}

static inline void world_flip(struct world *world, const struct fg_rollout_action *action)
{
	assert_true(action->slots);
	assert_false(action->slots & action->canary);
	assert_true(!action->canary == !action->value);
	world_fence(world);
	world_check_flip(world, action->slots, FG_GENERATION_LIVE);
	world_check_flip(world, action->canary, FG_GENERATION_CANARY);
	assert_false(world_polls(world, action->slots) && world_polls(world, action->canary));
	world->stable = action->slots;
	world->canary = action->canary;
	world->weight = action->value;
	world->table_serial++;
	world->seen.table = action->slots | action->canary;
	world_count_positions(world);
	world->flips++;
	fg_rollout_note_flip(&world->rollout, world->table_serial, action->value, world->now_ns,
			     1000);
}

static inline void world_order(struct world *world, const struct fg_rollout_action *action)
{
	const struct fg_rollout_generation *owner = world_owner(world, action->slot);
	const struct fg_rollout_slot *seen = &world->seen.slots[action->slot];

	/* Who polls, or answers the rest, must leave its CPU to others as well. */
	if (seen->pid && (action->value == FG_ORDER_SERVE || action->value == FG_ORDER_FINISH ||
			  action->value == FG_ORDER_SHADOW))
		assert_false(seen->urgent);
	if (action->value == FG_ORDER_SHADOW)
		assert_true(owner && owner->shadow);
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

/* New flows go where the table says: one that lives must not stop serving while it is named, and
 * one of a generation that takes flows must not give up those it has. */
static inline void world_slot_state(struct world *world, const struct fg_rollout_action *action)
{
	const struct fg_rollout_generation *owner = world_owner(world, action->slot);
	struct fg_rollout_slot *seen = &world->seen.slots[action->slot];
	struct world_worker *worker = &world->workers[action->slot];
	bool well = owner && seen->pid && seen->generation == owner->id &&
		    seen->phase == FG_WORK_READY && !worker->hangs &&
		    seen->heartbeat_ns == world->now_ns;

	if (action->value != FG_SLOT_SERVING && well && !world->seen.stopping) {
		assert_false(world->seen.table & 1ull << action->slot);
		assert_true(owner->phase != FG_GENERATION_LIVE &&
			    owner->phase != FG_GENERATION_CANARY);
		assert_true(action->value != FG_SLOT_RETIRED ||
			    owner->phase != FG_GENERATION_DRAINING);
	}
	if (action->value == FG_SLOT_SERVING)
		assert_true(owner && owner->id == action->generation && !owner->shadow);
	if (action->value != FG_SLOT_RETIRED || seen->map_state != FG_SLOT_RETIRED)
		worker->fenced = false;
	seen->map_state = (uint16_t)action->value;
	seen->map_generation = (uint16_t)action->generation;
}

static inline void world_watch(struct world *world, const struct fg_rollout_action *action)
{
	const struct fg_rollout_generation *owner = world_owner(world, action->slot);
	struct world_worker *worker = &world->workers[action->slot];

	if (action->value) {
		assert_non_null(owner);
		assert_true(fg_rollout_version(
			owner, action->model,
			owner->phase == FG_GENERATION_SHADOW
				? world->rollout.shadow.version
				: fg_rollout_entry(owner, action->model)->version));
	}
	world->seen.slots[action->slot].watch = action->value;
	memcpy(worker->watched, action->model, sizeof(worker->watched));
	worker->share = action->weight;
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
		world_flip(world, action);
		break;
	case FG_ROLLOUT_FENCE:
		world_fence(world);
		world->fences++;
		break;
	case FG_ROLLOUT_WATCH:
		world_watch(world, action);
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

/* ---- what must always be true ---- */

static inline void world_check_same(const struct world *world,
				    const struct fg_rollout_generation *generation,
				    const struct fg_rollout_generation *before)
{
	assert_false(memcmp(generation->slots, before->slots, sizeof(before->slots)));
	assert_int_equal(generation->entry_count, before->entry_count);
	assert_false(memcmp(generation->entries, before->entries,
			    before->entry_count * sizeof(before->entries[0])));
	for (uint32_t i = 0; i < generation->entry_count; i++)
		if (world->seen.plans[generation->entries[i].plan].phase != FG_PLAN_READY)
			fail_msg("a plan in use is gone");
}

static inline void world_check_entries(const struct world *world,
				       const struct fg_rollout_generation *generation)
{
	bool ready = generation->phase != FG_GENERATION_STARTING &&
		     generation->phase != FG_GENERATION_RETIRING;

	world_check_plans(world, generation);
	for (uint32_t i = 0; i < generation->entry_count; i++) {
		const struct fg_rollout_entry *entry = &generation->entries[i];
		uint64_t fingerprint = world->seen.plans[entry->plan].fingerprint;

		assert_ptr_equal(fg_rollout_version(generation, entry->model, entry->version),
				 entry);
		assert_non_null(fg_rollout_entry(generation, entry->model));
		if (entry->is_default)
			assert_ptr_equal(fg_rollout_entry(generation, entry->model), entry);
		if (ready)
			assert_true(world_fault_of(world, fingerprint) <= WORLD_DIES);
	}
}

static inline void world_check_phases(const uint32_t phases[], bool stopping)
{
	assert_true(phases[FG_GENERATION_LIVE] <= 1);
	assert_true(phases[FG_GENERATION_CANARY] <= phases[FG_GENERATION_LIVE]);
	assert_true(phases[FG_GENERATION_SHADOW] <= 1);
	assert_true(phases[FG_GENERATION_STARTING] <= 2);
	if (stopping)
		assert_int_equal(phases[FG_GENERATION_LIVE] + phases[FG_GENERATION_STARTING], 0);
}

/* What is there, and what packers may still take, is never more than the limit. */
static inline void world_check_memory(const struct world *world)
{
	const struct fg_rollout_memory *memory = &world->seen.memory;
	uint64_t bytes = memory->base_bytes;

	if (!memory->limit_bytes)
		return;
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		const struct fg_rollout_plan *plan = &world->seen.plans[i];

		if (plan->phase == FG_PLAN_READY)
			bytes += plan->bytes;
		else if (plan->phase == FG_PLAN_PACKING)
			bytes += plan->memory_bytes;
	}
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (world->seen.slots[slot].pid)
			bytes += memory->worker_bytes;
	if (bytes > memory->limit_bytes)
		fail_msg("%llu bytes of %llu", (unsigned long long)bytes,
			 (unsigned long long)memory->limit_bytes);
}

static inline void world_check(struct world *world)
{
	uint32_t phases[FG_GENERATION_SHADOW + 2] = {0};
	uint64_t slots = 0, one;

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &world->rollout.generations[i];

		phases[generation->phase]++;
		if (generation->phase == FG_GENERATION_NONE)
			continue;
		one = 0;
		for (uint32_t w = 0; w < generation->worker_count; w++)
			one |= 1ull << generation->slots[w];
		assert_int_equal(__builtin_popcountll(one), generation->worker_count);
		assert_int_equal(generation->worker_count,
				 generation->shadow ? 1 : world->config.worker_count);
		assert_false(slots & one);
		slots |= one;
		if (generation->shadow)
			assert_false(world->seen.table & one);
		if (generation->shadow)
			assert_true(generation->phase == FG_GENERATION_STARTING ||
				    generation->phase == FG_GENERATION_SHADOW ||
				    generation->phase == FG_GENERATION_RETIRING);
		if (generation->id == world->before.generations[i].id)
			world_check_same(world, generation, &world->before.generations[i]);
		if (generation->id != world->before.generations[i].id ||
		    generation->phase != world->before.generations[i].phase)
			world_check_entries(world, generation);
	}
	world_check_phases(phases, world->seen.stopping);
	world_check_memory(world);
	world->was_live |= phases[FG_GENERATION_LIVE];
	if (world->was_live && !world->seen.stopping)
		assert_int_equal(phases[FG_GENERATION_LIVE], 1);
}

/* All actions were done: whoever is ready in LIVE takes new flows, and all that the table names
 * serves. Only where nobody is ready the table may name the dead. */
static inline void world_check_table(const struct world *world)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(&world->rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_generation *canary =
		fg_rollout_find(&world->rollout, FG_GENERATION_CANARY);
	bool ready = false;

	for (uint32_t w = 0; live && w < live->worker_count; w++) {
		if (!fg_rollout_ready(live, w, &world->seen, world->now_ns))
			continue;
		ready = true;
		assert_true(world->seen.table >> live->slots[w] & 1);
	}
	if (!ready)
		return;
	for (uint64_t left = world->seen.table; left; left &= left - 1) {
		uint32_t slot = (uint32_t)__builtin_ctzll(left);

		assert_true(world_names(live, slot) || (canary && world_names(canary, slot)));
		assert_int_equal(world->seen.slots[slot].map_state, FG_SLOT_SERVING);
	}
}

/* ---- a step ---- */

static inline bool world_same_model(const struct fg_rollout_model *a,
				    const struct fg_rollout_model *b)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (a->failures[i].version != b->failures[i].version ||
		    a->failures[i].fingerprint != b->failures[i].fingerprint ||
		    a->failures[i].retry_ns != b->failures[i].retry_ns)
			return false;
	return !memcmp(a, b, offsetof(struct fg_rollout_model, failures));
}

static inline void world_copy_model(struct fg_rollout_model *to,
				    const struct fg_rollout_model *from)
{
	memcpy(to, from, offsetof(struct fg_rollout_model, failures));
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++) {
		to->failures[i].version = from->failures[i].version;
		to->failures[i].fingerprint = from->failures[i].fingerprint;
		to->failures[i].retry_ns = from->failures[i].retry_ns;
	}
}

/* What is in use of a state; the rest is zero or never read, or follows from it. */
static inline bool world_same(const struct fg_rollout *a, const struct fg_rollout *b)
{
	if (memcmp(a, b, offsetof(struct fg_rollout, generations)))
		return false;
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *x = &a->generations[i];
		const struct fg_rollout_generation *y = &b->generations[i];

		if (memcmp(x, y, offsetof(struct fg_rollout_generation, entries)) ||
		    memcmp(x->entries, y->entries, x->entry_count * sizeof(x->entries[0])) ||
		    memcmp(x->slots, y->slots, sizeof(x->slots)) ||
		    memcmp(x->health, y->health, x->worker_count * sizeof(x->health[0])))
			return false;
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		if (a->models[i].name[0] != b->models[i].name[0] ||
		    (a->models[i].name[0] && !world_same_model(&a->models[i], &b->models[i])))
			return false;
	return true;
}

static inline void world_copy(struct fg_rollout *to, const struct fg_rollout *from)
{
	memcpy(to, from, offsetof(struct fg_rollout, generations));
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *x = &from->generations[i];
		struct fg_rollout_generation *y = &to->generations[i];

		memcpy(y, x, offsetof(struct fg_rollout_generation, entries));
		memcpy(y->entries, x->entries, x->entry_count * sizeof(x->entries[0]));
		memcpy(y->slots, x->slots, sizeof(x->slots));
		memcpy(y->health, x->health, x->worker_count * sizeof(x->health[0]));
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		to->models[i].name[0] = '\0';
		if (from->models[i].name[0])
			world_copy_model(&to->models[i], &from->models[i]);
	}
}

/* One step, of which only the first `limit` actions are done, as if control died then. Returns
 * whether the state changed. */
static inline bool world_step(struct world *world, uint32_t limit)
{
	bool changed;

	world_compare(world);
	if (!world->blind)
		world->store.looked_ns = world->now_ns;
	world_copy(&world->before, &world->rollout);
	fg_rollout_step(&world->rollout, &world->seen, &world->config, world->now_ns,
			&world->actions);
	changed = !world_same(&world->before, &world->rollout);
	world_check(world);
	for (uint32_t i = 0; i < world->actions.count && i < limit; i++)
		if (!world_queued(world, &world->actions.list[i]))
			world_act(world, &world->actions.list[i]);
	if (limit >= world->actions.count)
		world_check_table(world);
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

#endif
