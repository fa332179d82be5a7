/* Rollouts step by step: each test is one story. */
#include <errno.h>
#include <stdlib.h>
#include "tests/unit/rollout_world.h"

static struct world *world;

static int open_world(void **state)
{
	(void)state;
	world = malloc(sizeof(*world));
	world_init(world, 2);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	free(world);
	return 0;
}

static const struct fg_rollout_generation *in_phase(enum fg_generation_phase phase)
{
	return fg_rollout_find(world_rollout(world), phase);
}

static const struct fg_rollout_model *model(const char *name)
{
	return fg_wanted_model((struct fg_rollout *)world_rollout(world), name);
}

static int promote(const char *name, uint64_t version)
{
	int code;

	world->next = *world_rollout(world);
	code = fg_wanted_promote(&world->next, &world->store, world->config.manual, name, version);
	fg_rollout_publish(&world->record, &world->next);
	return code;
}

static int roll_back(const char *name, uint64_t *version)
{
	int code;

	world->next = *world_rollout(world);
	code = fg_wanted_rollback(&world->next, &world->store, world->config.manual, name, version);
	fg_rollout_publish(&world->record, &world->next);
	return code;
}

/* The place of the first done action like that since `from`; fails when there is none. */
static uint32_t done_at(uint32_t from, uint32_t verb, uint32_t slot, uint32_t value)
{
	for (uint32_t i = from; i < world->log_count; i++)
		if (world->log[i].verb == verb && world->log[i].slot == slot &&
		    world->log[i].value == value)
			return i;
	fail_msg("verb %u slot %u value %u was never done", verb, slot, value);
	return 0;
}

static void set_flows(uint32_t flows)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->seen.slots[slot].flows = flows;
}

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
		uint32_t drain = done_at(from, FG_ROLLOUT_ORDER, slot, FG_ORDER_DRAIN);
		uint32_t serve = done_at(from, FG_ROLLOUT_ORDER, slot + 2, FG_ORDER_SERVE);
		uint32_t serving = done_at(from, FG_ROLLOUT_SLOT_STATE, slot + 2, FG_SLOT_SERVING);
		uint32_t draining = done_at(from, FG_ROLLOUT_SLOT_STATE, slot, FG_SLOT_DRAINING);

		assert_true(drain < serve && urgent < serve && serve < serving);
		assert_true(serving < flip && flip < draining);
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
	assert_int_equal(world->seen.slots[0].order, FG_ORDER_DRAIN);
	assert_int_equal(world->fences, 0);
	world_run(world, 20500);
	assert_null(in_phase(FG_GENERATION_KEPT));
	assert_int_equal(world->fences, 1);
	assert_int_equal(world->seen.slots[0].pid, 0);
	assert_int_equal(world->plans[0].phase, FG_PLAN_FREE);
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
	int32_t pid;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	pid = world->seen.slots[0].pid;
	world->workers[0].hangs = true;
	world_run(world, 2300);
	assert_int_equal(world->kills, 0);
	world_run(world, 1000);
	assert_int_equal(world->kills, 1);
	assert_int_not_equal(world->seen.slots[0].pid, pid);
	assert_int_equal(world->seen.table, 3);
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

static void test_failed_load(void **state)
{
	const struct fg_rollout_failure *failure;
	uint32_t spawns;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_BAD_LOAD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_int_equal(world->flips, 1);
	failure = fg_wanted_failure(model("digits"), 2, 0);
	assert_string_equal(failure->error, "the worker says no");
	spawns = world->spawns;
	world_run(world, 30000);
	assert_int_equal(world->spawns, spawns); /* not again */
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_null(fg_wanted_failure(model("digits"), 2, 0));
}

static void test_failed_pack(void **state)
{
	uint32_t packs;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_BAD_PACK);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 500);
	packs = world->packs;
	world_run(world, 10000);
	assert_int_equal(world->packs, packs);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 1);
	assert_string_equal(fg_wanted_failure(model("digits"), 2, 0)->error, "the packer says no");
	/* Asked for by name it is tried once more, and what is live stays wanted. */
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 1000);
	assert_int_equal(world->packs, packs + 1);
	assert_non_null(fg_wanted_failure(model("digits"), 2, 0));
	assert_int_equal(world_live(world, "digits"), 1);
}

/* Many versions fail, more than are remembered: it must come to an end. */
static void test_many_failures(void **state)
{
	uint32_t packs;

	(void)state;
	for (uint64_t version = 1; version <= 40; version++)
		world_version(world, "digits", version, WORLD_BAD_PACK);
	world_run(world, 5000);
	packs = world->packs;
	assert_in_range(packs, FG_ROLLOUT_MAX_FAILURES, 40);
	world_run(world, 5000);
	assert_int_equal(world->packs, packs);
	world_version(world, "digits", 41, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 41);
}

static void test_fault_among_several(void **state)
{
	(void)state;
	world_version(world, "a", 1, WORLD_GOOD);
	world_version(world, "b", 1, WORLD_GOOD);
	world_version(world, "c", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "a", 2, WORLD_GOOD);
	world_version(world, "b", 2, WORLD_BAD_LOAD);
	world_version(world, "c", 2, WORLD_GOOD);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "a"), 2);
	assert_int_equal(world_live(world, "b"), 1);
	assert_int_equal(world_live(world, "c"), 2);
	assert_null(fg_wanted_failure(model("a"), 2, 0));
	assert_non_null(fg_wanted_failure(model("b"), 2, 0));
	assert_int_equal(world_rollout(world)->solo, 0);
}

static void test_first_start_with_a_fault(void **state)
{
	(void)state;
	world_version(world, "a", 1, WORLD_GOOD);
	world_version(world, "b", 1, WORLD_BAD_LOAD);
	world_version(world, "c", 1, WORLD_NEVER_READY);
	world_run(world, 200000);
	assert_int_equal(world_live(world, "a"), 1);
	assert_int_equal(world_live(world, "b"), 0);
	assert_int_equal(world_live(world, "c"), 0);
	assert_non_null(strstr(fg_wanted_failure(model("c"), 1, 0)->error, "60 s"));
}

static void test_rollback_is_one_flip(void **state)
{
	uint32_t packs, spawns;
	uint64_t version;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
	packs = world->packs;
	spawns = world->spawns;
	assert_int_equal(roll_back("digits", &version), 0);
	assert_int_equal(version, 1);
	world_step(world, UINT32_MAX);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world->seen.table, 3);
	assert_int_equal(world->seen.slots[0].map_state, FG_SLOT_SERVING);
	assert_int_equal(world->flips, 3);
	assert_int_equal(world->packs, packs);
	assert_int_equal(world->spawns, spawns);
	/* Twice is once, and the bad version stays away. */
	assert_int_equal(roll_back("digits", &version), 0);
	assert_int_equal(version, 1);
	world_run(world, 40000);
	assert_int_equal(world_live(world, "digits"), 1);
	/* Until there is a newer one. */
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_equal(roll_back("digits", &version), 0);
	assert_int_equal(version, 1);
}

static void test_rollback_while_draining(void **state)
{
	uint64_t version;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	set_flows(9);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_non_null(in_phase(FG_GENERATION_DRAINING));
	assert_int_equal(roll_back("digits", &version), 0);
	world_step(world, UINT32_MAX);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 2);
	assert_int_equal(world->seen.slots[0].order, FG_ORDER_SERVE);
}

static void test_rollback_after_keep(void **state)
{
	uint64_t version;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(roll_back("digits", &version), -ENOENT);
	assert_int_equal(roll_back("nobody", &version), -ENOENT);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 30000);
	assert_null(in_phase(FG_GENERATION_KEPT));
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	world_vanish(world, "digits", 1);
	world_run(world, 30000);
	assert_int_equal(roll_back("digits", &version), -ESTALE);
	assert_int_equal(version, 1);
}

static void test_kept_lost_a_worker(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_end_worker(world, 0, false);
	world_run(world, 100);
	assert_null(in_phase(FG_GENERATION_KEPT));
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 3);
}

static void test_promote(void **state)
{
	(void)state;
	for (uint64_t version = 1; version <= 3; version++)
		world_version(world, "digits", version, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_equal(promote("digits", 9), -ENOENT);
	assert_int_equal(promote("nobody", 1), -ENOENT);
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 30000);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 4, WORLD_BAD_LOAD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 5, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 5);
}

static void test_manual(void **state)
{
	(void)state;
	world->config.manual = true;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world_live(world, "fraud"), 0);
	assert_int_equal(promote("fraud", 1), 0);
	assert_int_equal(promote("digits", 3), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_equal(world_live(world, "fraud"), 1);
}

static void test_vanished_store_serves_on(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 300);
	world->store.count = 0;
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	world_end_worker(world, 0, false);
	world_run(world, 200);
	assert_int_equal(world->seen.table, 3);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 2);
}

/* Files of a live version that change are another thing under the same number: not loaded. */
static void test_changed_live_files(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 1, WORLD_BAD_PACK);
	world_run(world, 1000);
	assert_int_equal(world->packs, 1);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
}

static void test_newer_replaces_starting(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_NEVER_READY);
	world_run(world, 500);
	assert_int_equal(in_phase(FG_GENERATION_STARTING)->id, 2);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_null(fg_wanted_failure(model("digits"), 2, 0));
	assert_int_equal(world->flips, 2);
}

static void test_flood_of_versions_goes_live(void **state)
{
	uint64_t version = 1;

	(void)state;
	world_version(world, "digits", version, WORLD_GOOD);
	world_run(world, 300);
	while (version < 60) {
		world_version(world, "digits", ++version, WORLD_GOOD);
		world_run(world, 50);
	}
	assert_true(world_live(world, "digits") > 10);
	world_run(world, 40000);
	assert_int_equal(world_live(world, "digits"), version);
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

static void test_one_slow_pack_does_not_block(void **state)
{
	(void)state;
	world_version(world, "a", 1, WORLD_GOOD);
	world_version(world, "b", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "a", 2, WORLD_GOOD);
	world_step(world, UINT32_MAX);
	world_keeper(world, UINT32_MAX);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->plans[i].phase == FG_PLAN_PACKING)
			world->plans[i].ready_ns = UINT64_MAX;
	world_version(world, "b", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "b"), 1); /* waits for a, so that one cutover does */
	world_run(world, 2000);
	assert_int_equal(world_live(world, "b"), 2);
	assert_int_equal(world_live(world, "a"), 1);
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
}

static void test_ids_skip_zero(void **state)
{
	(void)state;
	assert_int_equal(fg_rollout_next_id(1), 2);
	assert_int_equal(fg_rollout_next_id(0xffff), 0x10001);
	assert_int_equal(fg_rollout_next_id(0xffffffff), 1);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

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
		STORY(test_long_sleep_kills_nobody),
		STORY(test_failed_load),
		STORY(test_failed_pack),
		STORY(test_many_failures),
		STORY(test_fault_among_several),
		STORY(test_first_start_with_a_fault),
		STORY(test_rollback_is_one_flip),
		STORY(test_rollback_while_draining),
		STORY(test_rollback_after_keep),
		STORY(test_kept_lost_a_worker),
		STORY(test_promote),
		STORY(test_manual),
		STORY(test_vanished_store_serves_on),
		STORY(test_changed_live_files),
		STORY(test_newer_replaces_starting),
		STORY(test_flood_of_versions_goes_live),
		STORY(test_room_comes_from_the_oldest_kept),
		STORY(test_one_slow_pack_does_not_block),
		STORY(test_stop),
		STORY(test_stray_worker),
		STORY(test_ids_skip_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
