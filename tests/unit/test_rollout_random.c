/*
 * Rollouts under random events, seeded: versions that appear, fail, vanish and change, an operator,
 * workers that die and hang, a slow keeper, and a control that dies between any two of its actions.
 * rollout_kernel.h checks every action; here are the events, and what must be true once it is calm.
 *
 * FG_SEED and FG_STEPS (environment) choose another run.
 */
#include <inttypes.h>
#include <stdlib.h>
#include "tests/unit/rollout_kernel.h"

#define STEPS	      30000
#define CALM_EVERY    2500
#define MAX_PHASE_MS  (70000)
#define MODELS	      4
#define CALM_MS	      65000 /* longer than a start may take */
#define SETTLE_ROUNDS 12

static const char *const names[MODELS] = {"a", "b", "c", "d"};

struct ages {
	uint32_t id, phase;
	uint64_t since_ns;
};

static void random_version(struct world *world)
{
	const char *name = names[world_random(world, MODELS)];
	struct fg_store_model *model = world_model(world, name);
	static const enum world_fault faults[] = {WORLD_GOOD,	    WORLD_GOOD,	    WORLD_GOOD,
						  WORLD_BAD_PACK,   WORLD_BAD_LOAD, WORLD_BAD_LOAD,
						  WORLD_NEVER_READY};
	enum world_fault fault = faults[world_random(world, 7)];
	uint64_t version;

	if (world->bad_count == WORLD_MAX_BAD)
		fault = WORLD_GOOD;
	version = model->count ? model->versions[model->count - 1].version : 0;
	if (model->count && world_random(world, 3) == 0)
		version = model->versions[world_random(world, model->count)].version;
	else
		version += 1 + world_random(world, 2);
	if (model->count > 20)
		world_vanish(world, name, model->versions[0].version);
	world_version(world, name, version, fault);
}

static void random_vanish(struct world *world)
{
	struct fg_store_model *model = world_model(world, names[world_random(world, MODELS)]);

	if (model->count)
		world_vanish(world, model->name,
			     model->versions[world_random(world, model->count)].version);
}

static void random_operator(struct world *world)
{
	const char *name = names[world_random(world, MODELS)];
	struct fg_store_model *model = world_model(world, name);
	uint64_t version;

	fg_wanted_sync(&world->rollout, &world->store, NULL);
	if (world_random(world, 2)) {
		fg_wanted_rollback(&world->rollout, &world->store, world_rules(world), name,
				   &version);
	} else if (model->count) {
		version = model->versions[world_random(world, model->count)].version;
		fg_wanted_promote(&world->rollout, &world->store, world_rules(world), name,
				  version);
	}
}

static void random_trouble(struct world *world)
{
	uint32_t slot = world_random(world, 16);

	if (!world->seen.slots[slot].pid)
		return;
	if (world_random(world, 4))
		world_end_worker(world, slot, false);
	else
		world->workers[slot].hangs = true;
}

static void random_flows(struct world *world)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->seen.slots[slot].flows = world_random(world, 2) * world_random(world, 9);
}

static void random_event(struct world *world)
{
	switch (world_random(world, 60)) {
	case 0:
		random_version(world);
		break;
	case 1:
		if (world_random(world, 3) == 0)
			random_vanish(world);
		break;
	case 2:
		random_operator(world);
		break;
	case 3:
		random_trouble(world);
		break;
	case 4:
	case 5:
		random_flows(world);
		break;
	case 6:
		if (world_random(world, 10) == 0)
			world->seen.table = 0; /* control died in a flip: nobody knows the table */
		break;
	case 7:
		if (world_random(world, 10) == 0) /* the interface went, or came back */
			world->seen.attachment = world->seen.attachment ? 0 : ++world->attachments;
		break;
	default:
		break;
	}
	world->now_ns += (1 + world_random(world, 40)) * WORLD_MS;
	if (world_random(world, 300) == 0)
		world->now_ns += 3000 * WORLD_MS;
}

/* No phase but LIVE and KEPT lasts for ever. DRAINING waits for a LIVE worker to take over. */
static void check_ages(struct world *world, struct ages ages[FG_ROLLOUT_MAX_GENERATIONS])
{
	const struct fg_rollout *rollout = world_rollout(world);

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &rollout->generations[i];

		if (ages[i].id != generation->id || ages[i].phase != generation->phase)
			ages[i] = (struct ages){generation->id, generation->phase, world->now_ns};
		if (generation->phase == FG_GENERATION_STARTING ||
		    generation->phase == FG_GENERATION_DRAINING ||
		    generation->phase == FG_GENERATION_RETIRING)
			assert_true(world->now_ns - ages[i].since_ns < MAX_PHASE_MS * WORLD_MS);
	}
}

/* With nothing new to see, steps come to rest, and then ask only for what is still on its way. */
static void check_rest(struct world *world)
{
	for (uint32_t i = 0; i < SETTLE_ROUNDS; i++)
		world_step(world, UINT32_MAX);
	assert_false(world_step(world, UINT32_MAX));
	for (uint32_t i = 0; i < world->actions.count; i++) {
		uint32_t verb = world->actions.list[i].verb;

		assert_true(verb == FG_ROLLOUT_PRIORITY || verb == FG_ROLLOUT_SPAWN ||
			    verb == FG_ROLLOUT_KILL || verb == FG_ROLLOUT_PACK ||
			    verb == FG_ROLLOUT_DROP);
	}
}

static void check_live(struct world *world)
{
	const struct fg_rollout *rollout = world_rollout(world);
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	uint64_t slots = 0;

	assert_non_null(live);
	for (uint32_t w = 0; w < live->worker_count; w++) {
		slots |= 1ull << live->slots[w];
		assert_int_equal(world->seen.slots[live->slots[w]].map_state, FG_SLOT_SERVING);
		if (world->seen.attachment)
			assert_int_equal(world->seen.slots[live->slots[w]].attachment,
					 world->seen.attachment);
	}
	assert_true(world->seen.table == slots);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		const struct fg_rollout_model *model = &rollout->models[i];
		uint64_t wanted =
			fg_wanted_version(rollout, &world->store, world_rules(world), model);

		if (model->name[0])
			assert_true(world_live(world, model->name) == wanted);
	}
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (!(slots & 1ull << slot))
			assert_int_equal(world->seen.slots[slot].pid, 0);
}

/* Left alone, every rollout comes to its end: one generation, all wanted, nothing left over. */
static void check_calm(struct world *world)
{
	struct fg_rollout before;
	uint32_t plans = 0;

	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->seen.slots[slot].flows = 0;
	for (uint32_t i = 0; i < 60; i++) {
		before = *world_rollout(world);
		world_run(world, CALM_MS);
		if (!memcmp(&before, world_rollout(world), sizeof(before)))
			break;
	}
	assert_false(memcmp(&before, world_rollout(world), sizeof(before)));
	if (!fg_rollout_empty(world_rollout(world)))
		check_live(world);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		plans += world->seen.plans[i].phase != FG_PLAN_FREE;
	assert_in_range(plans, 0, MODELS);
}

static void run(uint64_t seed, uint32_t steps, uint32_t workers, bool manual)
{
	struct ages ages[FG_ROLLOUT_MAX_GENERATIONS] = {{0}};
	struct world *world = malloc(sizeof(*world));

	world_init(world, workers);
	world->seed = seed;
	world->rules[0].defaults.policy = manual ? FG_RULES_MANUAL : FG_RULES_LATEST;
	world_version(world, "a", 1, WORLD_GOOD);
	for (uint32_t i = 1; i <= steps; i++) {
		random_event(world);
		world_children(world);
		if (world_random(world, 4))
			world_keeper(world, 1 + world_random(world, 20));
		world_step(world, world_random(world, 3) ? UINT32_MAX : world_random(world, 12));
		if (world_random(world, 50) == 0)
			check_rest(world);
		check_ages(world, ages);
		if (i % CALM_EVERY == 0) {
			check_calm(world);
			memset(ages, 0, sizeof(ages));
		}
	}
	world->seen.stopping = true;
	world_run(world, 8000);
	assert_true(fg_rollout_empty(world_rollout(world)));
	print_message("# seed %" PRIu64 ": %u steps, %u flips, %u spawns, %u packs, %u kills\n",
		      seed, steps, world->flips, world->spawns, world->packs, world->kills);
	assert_true(world->flips > steps / 400);
	free(world);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_policy_latest(void **state)
{
	(void)state;
	run(from_environment("FG_SEED", 1), (uint32_t)from_environment("FG_STEPS", STEPS), 2,
	    false);
}

static void test_policy_manual(void **state)
{
	(void)state;
	run(from_environment("FG_SEED", 2), (uint32_t)from_environment("FG_STEPS", STEPS), 1, true);
}

static void test_all_slots_in_use(void **state)
{
	(void)state;
	run(from_environment("FG_SEED", 3), (uint32_t)from_environment("FG_STEPS", STEPS) / 3,
	    FG_ROLLOUT_MAX_WORKERS, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy_latest),
		cmocka_unit_test(test_policy_manual),
		cmocka_unit_test(test_all_slots_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
