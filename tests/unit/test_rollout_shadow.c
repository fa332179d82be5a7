/* Shadows: they run again what LIVE answers, and answer nobody. Each test is one story. */
#include <stdlib.h>
#include "tests/unit/rollout_story.h"

static const struct fg_shadow *the_shadow(void)
{
	return &world->rollout.shadow;
}

/* Which slot the shadow's worker stands in. */
static uint32_t shadow_slot(void)
{
	assert_non_null(in_phase(FG_GENERATION_SHADOW));
	assert_int_equal(in_phase(FG_GENERATION_SHADOW)->worker_count, 1);
	return in_phase(FG_GENERATION_SHADOW)->slots[0];
}

/* Ended, for that reason; nothing of it is left, and nothing else has changed. */
static void check_ended(const char *why, uint32_t flips)
{
	for (uint32_t i = 0; i < 130000 && the_shadow()->phase != FG_SHADOW_ENDED; i++)
		world_run(world, 1);
	assert_string_equal(the_shadow()->reason, why);
	world_run(world, 3000);
	assert_null(in_phase(FG_GENERATION_SHADOW));
	assert_null(in_phase(FG_GENERATION_STARTING));
	assert_null(in_phase(FG_GENERATION_RETIRING));
	assert_int_equal(world->flips, flips);
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		assert_int_equal(world->seen.slots[slot].watch, 0);
}

static void test_begin_and_end(void **state)
{
	uint32_t flips, slot, watch;

	(void)state;
	serve_one_of_two();
	flips = world->flips;
	assert_int_equal(shadow("digits", 2, 1000), 0);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_STARTING);
	run_until(FG_GENERATION_SHADOW);
	world_run(world, 10);
	slot = shadow_slot();
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	assert_int_equal(world->seen.slots[slot].order, FG_ORDER_SHADOW);
	assert_int_equal(world->seen.slots[slot].urgent, 0);
	assert_int_equal(world->seen.slots[slot].map_state, FG_SLOT_FREE);
	assert_int_equal(world->seen.table, 3 << 2);
	/* Who watches what, and how much of it. */
	watch = world->rollout.watch;
	for (uint32_t i = 2; i < 4; i++) {
		assert_int_equal(world->seen.slots[i].watch, watch);
		assert_string_equal(world->workers[i].watched, "digits");
		assert_int_equal(world->workers[i].share, 1000);
	}
	assert_int_equal(world->seen.slots[slot].watch, watch);
	assert_int_equal(world->workers[slot].share, 0);
	/* Another share: it begins to count anew. */
	assert_int_equal(shadow("digits", 2, 1000), 0);
	world_run(world, 10);
	assert_int_equal(world->rollout.watch, watch);
	assert_int_equal(shadow("digits", 2, 50), 0);
	world_run(world, 10);
	assert_int_equal(world->rollout.watch, watch + 1);
	assert_int_equal(world->workers[2].share, 50);
	world_run(world, 30000);
	assert_int_equal(shadow_slot(), slot);
	assert_int_equal(fg_shadow_end(&world->rollout, "fraud", ""), -ENOENT);
	assert_int_equal(fg_shadow_end(&world->rollout, "digits", "by the operator"), 0);
	assert_int_equal(fg_shadow_end(&world->rollout, "digits", "again"), 0);
	check_ended("by the operator", flips);
	assert_int_equal(world->fences, 1); /* that of the first cutover alone */
}

static void test_refusals(void **state)
{
	(void)state;
	assert_int_equal(shadow("digits", 2, 1000), -ENOENT);
	assert_int_equal(fg_shadow_end(&world->rollout, "digits", ""), -ENOENT);
	serve_one_of_two();
	assert_int_equal(shadow("digits", 1, 1000), -EALREADY);
	assert_int_equal(shadow("digits", 9, 1000), -ENOENT);
	assert_int_equal(shadow("nobody", 1, 1000), -ENOENT);
	world_version(world, "digits", 3, WORLD_GOOD)->complete = false;
	assert_int_equal(shadow("digits", 2, 1000), 0);
	assert_int_equal(shadow("digits", 3, 1000), -ENOENT);
	world_vanish(world, "digits", 3);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(shadow("fraud", 1, 1000), -EBUSY);
}

static void test_pack_fails(void **state)
{
	(void)state;
	serve_one_of_two();
	world_version(world, "digits", 2, WORLD_BAD_PACK);
	assert_int_equal(shadow("digits", 2, 1000), 0);
	check_ended("the packer says no", world->flips);
}

static void test_load_fails(void **state)
{
	(void)state;
	serve_one_of_two();
	world_version(world, "digits", 2, WORLD_BAD_LOAD);
	assert_int_equal(shadow("digits", 2, 1000), 0);
	check_ended("the worker says no", world->flips);
	assert_null(fg_wanted_failure(model("digits"), 2, 0)); /* it may have been the machine */
}

static void test_worker_dies(void **state)
{
	uint32_t slot;

	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	slot = shadow_slot();
	world_run(world, 11000);
	world_end_worker(world, slot, false);
	world_run(world, 500);
	assert_int_equal(shadow_slot(), slot);
	assert_int_equal(world->seen.slots[slot].phase, FG_WORK_READY);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	world->doomed = in_phase(FG_GENERATION_SHADOW)->id;
	world_end_worker(world, slot, false);
	check_ended("its worker dies", world->flips);
}

static void test_files_vanish(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	world_vanish(world, "digits", 2);
	check_ended("its files are gone", world->flips);
}

static void test_files_never_complete(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	world_version(world, "digits", 2, WORLD_GOOD)->complete = false;
	check_ended("it was not ready after 120 s", world->flips);
}

/* Once it runs it needs no files. */
static void test_store_vanishes(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	world->store.count = 0;
	world_run(world, 30000);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
}

/* It is promoted: its plan is there already. */
static void test_promoted(void **state)
{
	uint32_t packs;

	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	packs = world->packs;
	assert_int_equal(promote("digits", 2), 0);
	check_ended("it serves now", world->flips + 1);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world->packs, packs);
}

static void test_canary_of_it(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	assert_int_equal(canary("digits", 2, steps(500, 100, 10000, 0)), 0);
	assert_string_equal(the_shadow()->reason, "a canary begins");
	world_run(world, 2000);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
	assert_null(in_phase(FG_GENERATION_SHADOW));
}

/* Another version goes live beside it: the new workers watch as well. */
static void test_live_changes(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	for (uint32_t w = 0; w < 2; w++) {
		uint32_t slot = in_phase(FG_GENERATION_LIVE)->slots[w];

		assert_int_equal(world->seen.slots[slot].watch, world->rollout.watch);
		assert_int_equal(world->workers[slot].share, 1000);
	}
}

static void test_its_model_ends(void **state)
{
	struct fg_rules *rules;

	(void)state;
	serve_one_of_two();
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	rules = other_rules();
	rules->repository[0] = '\0';
	add_rule(rules, "fraud", FG_RULES_LATEST, 1);
	assert_int_equal(try_rules(), 0);
	check_ended("its model is not served any more", world->flips + 1);
}

/* The one that was started is not the one that is asked for now. */
static void test_another_at_once(void **state)
{
	(void)state;
	serve_one_of_two();
	world_version(world, "digits", 2, WORLD_BAD_LOAD);
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_STARTING);
	while (world->seen.slots[0].phase != FG_WORK_FAILED) {
		world->now_ns += WORLD_MS;
		world_children(world);
		world_keeper(world, UINT32_MAX);
	}
	assert_int_equal(fg_shadow_end(&world->rollout, "digits", "no"), 0);
	world->rules[0].defaults.policy = FG_RULES_MANUAL;
	world_version(world, "digits", 3, WORLD_GOOD);
	assert_int_equal(shadow("digits", 3, 1000), 0);
	world_run(world, 1000);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	assert_int_equal(fg_rollout_entry(in_phase(FG_GENERATION_SHADOW), "digits")->version, 3);
	/* The same again. */
	assert_int_equal(fg_shadow_end(&world->rollout, "digits", "no"), 0);
	assert_int_equal(shadow("digits", 3, 1000), 0);
	world_run(world, 1000);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
}

static void test_stop(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	world->seen.stopping = true;
	world_run(world, 2000);
	assert_true(fg_rollout_empty(world_rollout(world)));
	assert_int_equal(world->kills, 0);
}

/* Canary or start, shadow, kept and retiring at once, all slots and records in use: each gets room
 * in the end. */
static void test_no_room(void **state)
{
	(void)state;
	world->config.worker_count = FG_ROLLOUT_MAX_WORKERS;
	world->config.keep_ms = 3600000;
	for (uint64_t version = 1; version <= 4; version++) {
		world_version(world, "digits", version, WORLD_GOOD);
		world_run(world, 500);
		assert_int_equal(world_live(world, "digits"), version);
	}
	world->rules[0].defaults.policy = FG_RULES_MANUAL;
	world_version(world, "digits", 5, WORLD_GOOD);
	world_version(world, "digits", 6, WORLD_GOOD);
	assert_int_equal(shadow("digits", 5, 1000), 0);
	world_run(world, 3000);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	set_flows(1);
	assert_int_equal(promote("digits", 3), 0); /* DRAINING beside it */
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	world_version(world, "digits", 7, WORLD_GOOD);
	assert_int_equal(promote("digits", 7), 0);
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 7);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	assert_int_equal(canary("digits", 6, steps(500, 100, 10000, 0)), 0);
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 6);
	assert_int_equal(shadow("digits", 2, 1000), 0);
	world_run(world, 20000);
	assert_int_equal(the_shadow()->phase, FG_SHADOW_RUNNING);
	assert_int_equal(world->kills, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_begin_and_end),
		STORY(test_refusals),
		STORY(test_pack_fails),
		STORY(test_load_fails),
		STORY(test_worker_dies),
		STORY(test_files_vanish),
		STORY(test_files_never_complete),
		STORY(test_store_vanishes),
		STORY(test_promoted),
		STORY(test_canary_of_it),
		STORY(test_live_changes),
		STORY(test_its_model_ends),
		STORY(test_another_at_once),
		STORY(test_stop),
		STORY(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
