/* LIVE dies in a loop: what served before is flipped back to, where it is still there. And drains
 * that wait for connections. Each test is one story. */
#include <stdlib.h>
#include "tests/unit/rollout_story.h"

/* From now on all workers of LIVE die young. */
static void doom(void)
{
	const struct fg_rollout_generation *live = in_phase(FG_GENERATION_LIVE);

	world->doomed = live->id;
	for (uint32_t w = 0; w < live->worker_count; w++)
		world->workers[live->slots[w]].dies_ns = world->now_ns;
}

static void serve_two_after_one(void)
{
	world->config.keep_ms = 600000;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 12000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
}

static void test_flipped_out(void **state)
{
	uint32_t spawns;
	uint64_t version;

	(void)state;
	serve_two_after_one();
	doom();
	world_run(world, 5000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_string_equal(fg_wanted_failure(model("digits"), 2, 0)->error,
			    "its workers died again and again");
	assert_int_equal(world->seen.table, 3);
	/* Not again, although it is the newest, and there is nothing to roll back to. */
	spawns = world->spawns;
	world_run(world, 60000);
	assert_int_equal(world->spawns, spawns);
	assert_int_equal(roll_back("digits", &version), -ENOENT);
	/* Other files are another thing. */
	world->doomed = 0;
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* A version that becomes ready and dies: it is live for a moment. */
static void test_dies_as_soon_as_live(void **state)
{
	(void)state;
	world->config.keep_ms = 600000;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_DIES);
	world_run(world, 30000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_non_null(fg_wanted_failure(model("digits"), 2, 0));
	/* Asked for by name it is tried once more. */
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 30000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_non_null(fg_wanted_failure(model("digits"), 2, 0));
}

/* While the one before still drains. */
static void test_flipped_out_while_draining(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world->config.drain_deadline_ms = 60000;
	set_flows(7);
	world_version(world, "digits", 2, WORLD_DIES);
	world_run(world, 5000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_null(in_phase(FG_GENERATION_KEPT));
}

static void test_nothing_to_flip_to(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	doom();
	world_run(world, 30000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_null(fg_wanted_failure(model("digits"), 1, 0));
	world->doomed = 0;
	world_run(world, 6000);
	assert_int_equal(world->seen.table, 3);
}

/* The same versions: they would die there as well. */
static void test_only_labels_differ(void **state)
{
	(void)state;
	world->config.keep_ms = 600000;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	add_label(add_rule(other_rules(), "digits", FG_RULES_LATEST, 1), "best", 1);
	assert_int_equal(try_rules(), 0);
	world_run(world, 300);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 2);
	doom();
	world_run(world, 10000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 2);
	assert_null(fg_wanted_failure(model("digits"), 1, 0));
}

/* What the operator aborted is not what served before. */
static void test_not_to_an_aborted_canary(void **state)
{
	(void)state;
	serve_one_of_two();
	world->config.keep_ms = 600000;
	assert_int_equal(canary("digits", 2, steps(60000, 100, 10000, 0)), 0);
	run_until(FG_GENERATION_CANARY);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "", world->now_ns), 0);
	world_run(world, 1000);
	assert_non_null(in_phase(FG_GENERATION_KEPT));
	doom();
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_null(fg_wanted_failure(model("digits"), 1, 0));
}

/* It died in a loop long ago, and is well since. */
static void test_long_ago(void **state)
{
	uint64_t version;

	(void)state;
	world->config.keep_ms = 600000;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	doom();
	world_run(world, 5000);
	world->doomed = 0;
	world_run(world, 30000);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_null(fg_wanted_failure(model("digits"), 1, 0));
}

/* Only what is new in LIVE is at fault. */
static void test_others_are_spared(void **state)
{
	(void)state;
	world->config.keep_ms = 600000;
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_DIES);
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 1);
	assert_null(fg_wanted_failure(model("fraud"), 1, 0));
}

static void test_drain_waits_for_connections(void **state)
{
	(void)state;
	world->config.drain_deadline_ms = 30000;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world->seen.slots[1].connections = 1;
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 20000);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	world->seen.slots[1].connections = 0;
	world->seen.flows_known = false;
	world_run(world, 100);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	world->seen.flows_known = true;
	world_run(world, 100);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
}

/* ... but not longer than its deadline; and those of a dead worker are gone. */
static void test_connections_that_stay(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world->seen.slots[0].connections = world->seen.slots[1].connections = 9;
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 4000);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	world_run(world, 2000);
	assert_null(in_phase(FG_GENERATION_DRAINING));
	for (uint32_t slot = 0; slot < 4; slot++)
		world->seen.slots[slot].connections = 9;
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 2);
	for (uint32_t w = 0; w < 2; w++)
		world_end_worker(world, in_phase(FG_GENERATION_DRAINING)->slots[w], false);
	world_run(world, 10);
	assert_null(in_phase(FG_GENERATION_DRAINING));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_flipped_out),
		STORY(test_dies_as_soon_as_live),
		STORY(test_flipped_out_while_draining),
		STORY(test_nothing_to_flip_to),
		STORY(test_only_labels_differ),
		STORY(test_not_to_an_aborted_canary),
		STORY(test_long_ago),
		STORY(test_others_are_spared),
		STORY(test_drain_waits_for_connections),
		STORY(test_connections_that_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
