/* Generations step by step: starts, cutovers, drains, deaths. Each test is one story. */
#include "tests/unit/rollout_story.h"

static void test_nothing_to_serve(void **state)
{
	(void)state;
	world_run(world, 100);
	assert_true(fg_rollout_empty(world_rollout(world)));
	assert_int_equal(world->actions.count, 0);
	assert_true(world->actions.again_ns >= FG_ROLLOUT_TICK_NS);
}

static void test_first_start(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "fraud", 7, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 7);
	assert_int_equal(world->flips, 1);
	assert_int_equal(world->packs, 2);
	assert_int_equal(world->spawns, 2);
	assert_int_equal(world->seen.table, 3);
	assert_int_equal(world_rollout(world)->flip.count, 1);
	assert_int_equal(world_rollout(world)->flip.from, 0);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
}

static void test_cutover_order(void **state)
{
	uint32_t from, flip;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	from = world->log_count;
	set_flows(5);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world->flips, 2);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	assert_int_equal(world->seen.table, 12);
	flip = done_at(from, FG_ROLLOUT_FLIP, 0, 0);
	for (uint32_t slot = 0; slot < 2; slot++) {
		uint32_t urgent = done_at(from, FG_ROLLOUT_PRIORITY, slot, 1);
		uint32_t doze = done_at(from, FG_ROLLOUT_ORDER, slot, FG_ORDER_DOZE);
		uint32_t drain = done_at(from, FG_ROLLOUT_ORDER, slot, FG_ORDER_DRAIN);
		uint32_t serve = done_at(from, FG_ROLLOUT_ORDER, slot + 2, FG_ORDER_SERVE);
		uint32_t serving = done_at(from, FG_ROLLOUT_SLOT_STATE, slot + 2, FG_SLOT_SERVING);
		uint32_t draining = done_at(from, FG_ROLLOUT_SLOT_STATE, slot, FG_SLOT_DRAINING);

		assert_true(doze < serve && urgent < serve && serve < serving);
		assert_true(serving < flip && flip < draining && flip < drain);
	}
	assert_int_equal(model("digits")->previous, 1);
}

static void test_drain_ends_without_flows(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	set_flows(5);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_non_null(in_phase(FG_GENERATION_DRAINING));
	set_flows(0);
	world_run(world, 5);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
	assert_int_equal(world->seen.slots[0].map_state, FG_SLOT_RETIRED);
	assert_int_equal(world->seen.slots[0].order, FG_ORDER_KEEP);
	assert_int_equal(world->fences, 0);
	world_run(world, 20500);
	assert_null(in_phase(FG_GENERATION_KEPT));
	assert_int_equal(world->fences, 1);
	assert_int_equal(world->seen.slots[0].pid, 0);
	assert_int_equal(world->seen.plans[0].phase, FG_PLAN_FREE);
	assert_int_equal(world->flips, 2);
}

static void test_drain_deadline(void **state)
{
	(void)state;
	world->config.keep_ms = 0;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	set_flows(5);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 5000);
	assert_non_null(in_phase(FG_GENERATION_DRAINING));
	world_run(world, 300);
	assert_null(in_phase(FG_GENERATION_DRAINING));
	assert_null(in_phase(FG_GENERATION_RETIRING));
	assert_int_equal(world->seen.slots[0].pid, 0);
	assert_int_equal(world->kills, 0);
}

static void test_worker_dies(void **state)
{
	uint32_t from;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 20000);
	from = world->log_count;
	world_end_worker(world, 1, false);
	world_step(world, UINT32_MAX);
	assert_int_equal(world->seen.table, 1);
	assert_true(done_at(from, FG_ROLLOUT_ORDER, 1, FG_ORDER_WAIT) <
		    done_at(from, FG_ROLLOUT_SPAWN, 1, 0));
	world_run(world, 200);
	assert_int_equal(world->seen.table, 3);
	assert_int_equal(world->seen.slots[1].generation, 1);
	assert_int_equal(world->spawns, 3);
	assert_int_equal(world->flips, 3);
	assert_int_equal(world_rollout(world)->flip.from, 1);
}

static void test_worker_keeps_dying(void **state)
{
	uint64_t began, pause_ns = 0;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 20000);
	for (int i = 0; i < 9; i++) {
		world_end_worker(world, 1, false);
		began = world->now_ns;
		while (!world->seen.slots[1].pid)
			world_run(world, 1);
		assert_true(world->now_ns - began >= pause_ns);
		pause_ns = world->now_ns - began;
		world_run(world, 100);
	}
	assert_in_range(pause_ns, 4900 * WORLD_MS, 5100 * WORLD_MS);
	world_run(world, 11000);
	world_end_worker(world, 1, false);
	world_run(world, 2);
	assert_true(world->seen.slots[1].pid);
}

static void test_all_workers_die(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 20000);
	world_end_worker(world, 0, false);
	world_end_worker(world, 1, false);
	world_step(world, UINT32_MAX);
	assert_int_equal(world->flips, 1); /* a table of nobody helps nobody */
	world_run(world, 200);
	assert_int_equal(world->seen.table, 3);
	assert_int_equal(world_live(world, "digits"), 1);
}

static void test_hung_worker(void **state)
{
	uint32_t from;
	int32_t pid;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	from = world->log_count;
	pid = world->seen.slots[0].pid;
	world->workers[0].hangs = true;
	world_run(world, 2300);
	assert_int_equal(world->kills, 0);
	world_run(world, 1000);
	assert_int_equal(world->kills, 1);
	assert_true(done_at(from, FG_ROLLOUT_SLOT_STATE, 0, FG_SLOT_FREE) <
		    done_at(from, FG_ROLLOUT_FLIP, 0, 0));
	assert_int_not_equal(world->seen.slots[0].pid, pid);
	assert_int_equal(world->seen.table, 3);
}

/* Control dies between the state and the flip, and then all new workers die. What the table still
 * names goes on taking new flows until the new generation has a worker again. */
static void test_dies_before_flip_with_all_workers(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	while (world_live(world, "digits") != 2) {
		world->now_ns += WORLD_MS;
		world_children(world);
		world_keeper(world, UINT32_MAX);
		world_step(world, in_phase(FG_GENERATION_STARTING) ? 0 : UINT32_MAX);
		for (uint32_t i = 0; i < world->actions.count; i++)
			if (world->actions.list[i].verb == FG_ROLLOUT_SPAWN)
				world_act(world, &world->actions.list[i]);
	}
	assert_int_equal(world->seen.table, 3);
	for (uint32_t slot = 2; slot < 4; slot++)
		world_end_worker(world, slot, false);
	world_step(world, UINT32_MAX);
	world_step(world, UINT32_MAX);
	assert_int_equal(world->seen.table, 3);
	for (uint32_t slot = 0; slot < 2; slot++)
		assert_int_equal(world->seen.slots[slot].map_state, FG_SLOT_SERVING);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	world_run(world, 500);
	assert_int_equal(world->seen.table, 12);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
}

/* The machine was suspended: all heartbeats are old at the first look. */
static void test_long_sleep_kills_nobody(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world->now_ns += 3600000 * WORLD_MS;
	world_step(world, UINT32_MAX);
	world_run(world, 2000);
	assert_int_equal(world->kills, 0);
	assert_int_equal(world->flips, 1);
}

static void test_room_comes_from_the_oldest_kept(void **state)
{
	(void)state;
	world->config.keep_ms = 3600000;
	for (uint64_t version = 1; version <= 6; version++) {
		world_version(world, "digits", version, WORLD_GOOD);
		world_run(world, 500);
		assert_int_equal(world_live(world, "digits"), version);
	}
	assert_int_equal(promote("digits", 4), 0);
	world_step(world, UINT32_MAX);
	assert_int_equal(world_live(world, "digits"), 4); /* kept: 4 and 5, not 1 to 3 */
	assert_int_equal(world->kills, 0);
}

static void test_stop(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	set_flows(5);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 60);
	world->seen.stopping = true;
	world_run(world, 1500);
	assert_true(fg_rollout_empty(world_rollout(world)));
	assert_int_equal(world->kills, 0);
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		assert_int_equal(world->seen.slots[slot].pid, 0);
}

static void test_stray_worker(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world->seen.slots[9].pid = 4711;
	world->seen.slots[9].generation = 99;
	world_run(world, 10);
	assert_int_equal(world->seen.slots[9].pid, 0);
	assert_int_equal(world->kills, 1);
	assert_int_equal(world->seen.table, 3);
	/* A slot is not given away before its last worker is gone. */
	world_version(world, "digits", 2, WORLD_GOOD);
	while (!in_phase(FG_GENERATION_STARTING)) {
		world->now_ns += WORLD_MS;
		world_keeper(world, UINT32_MAX);
		world_children(world);
		world->seen.slots[2].pid = 4712;
		world->seen.slots[2].generation = 99;
		world_step(world, UINT32_MAX);
	}
	assert_int_equal(in_phase(FG_GENERATION_STARTING)->slots[0], 3);
}

static void test_ids_skip_zero(void **state)
{
	(void)state;
	assert_int_equal(fg_rollout_next_id(1), 2);
	assert_int_equal(fg_rollout_next_id(0xffff), 0x10001);
	assert_int_equal(fg_rollout_next_id(0xffffffff), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_nothing_to_serve),
		STORY(test_first_start),
		STORY(test_cutover_order),
		STORY(test_drain_ends_without_flows),
		STORY(test_drain_deadline),
		STORY(test_worker_dies),
		STORY(test_worker_keeps_dying),
		STORY(test_all_workers_die),
		STORY(test_hung_worker),
		STORY(test_dies_before_flip_with_all_workers),
		STORY(test_long_sleep_kills_nobody),
		STORY(test_room_comes_from_the_oldest_kept),
		STORY(test_stop),
		STORY(test_stray_worker),
		STORY(test_ids_skip_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
