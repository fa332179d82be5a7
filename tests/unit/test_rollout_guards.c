/* What ends a canary, or must not: guards, failures, deaths, a control that dies. */
#include <stdlib.h>
#include "tests/unit/rollout_story.h"

static struct fg_canary_plan guarded(void)
{
	struct fg_canary_plan plan = steps(1000, 100, 1000, 10000);

	plan.guards = (struct fg_canary_guards){.error_rate = 0.01,
						.p99 = 2,
						.drift = 0.25,
						.min_requests = 1000};
	return plan;
}

static void run_to_end(enum fg_canary_phase phase)
{
	for (uint32_t i = 0; i < 20000 && fg_canary_active(the_canary()); i++)
		world_run(world, 1);
	assert_int_equal(the_canary()->phase, phase);
}

/* The canary of 2 is over, and version 1 serves as if it had never been. */
static void check_nothing_changed(uint32_t live, uint32_t flips)
{
	world_run(world, 1);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, live);
	assert_int_equal(world->flips, flips);
	assert_null(in_phase(FG_GENERATION_CANARY));
	assert_int_equal(world->canary, 0);
	world_run(world, 60000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, live);
	assert_int_equal(world->flips, flips);
	for (uint32_t phase = FG_GENERATION_STARTING; phase <= FG_GENERATION_SHADOW; phase++)
		if (phase != FG_GENERATION_LIVE)
			assert_null(in_phase(phase));
}

static void check_guard(struct world_traffic traffic, const char *why)
{
	uint32_t live, flips;

	serve_one_of_two();
	live = in_phase(FG_GENERATION_LIVE)->id;
	world->traffic = (struct world_traffic){.per_second = 5000, .canary_p99 = 1};
	assert_int_equal(canary("digits", 2, guarded()), 0);
	while (world->weight != 1000)
		world_run(world, 1);
	world_run(world, 500);
	assert_int_equal(the_canary()->phase, FG_CANARY_RUNNING);
	flips = world->flips;
	world->traffic = traffic;
	set_flows(5);
	run_to_end(FG_CANARY_BROKEN);
	assert_non_null(strstr(the_canary()->reason, why));
	/* Its flows may stay for a second, and it is not kept. */
	world_run(world, 900);
	assert_non_null(in_phase(FG_GENERATION_DRAINING));
	world_run(world, 200);
	assert_null(in_phase(FG_GENERATION_DRAINING));
	assert_null(in_phase(FG_GENERATION_KEPT));
	check_nothing_changed(live, flips + 1);
	assert_null(fg_wanted_failure(model("digits"), 2, 0));
}

static void test_error_rate(void **state)
{
	(void)state;
	check_guard((struct world_traffic){.per_second = 5000,
					   .canary_p99 = 1,
					   .canary_errors = 0.1},
		    "error rate");
}

static void test_p99(void **state)
{
	(void)state;
	check_guard((struct world_traffic){.per_second = 5000, .canary_p99 = 2.1},
		    "p99 210.0 us against 100.0 us");
}

static void test_drift(void **state)
{
	(void)state;
	check_guard((struct world_traffic){.per_second = 5000, .canary_p99 = 1, .drift = 0.3},
		    "population stability index 0.300");
}

/* Paused: guards go on. */
static void test_breaks_while_paused(void **state)
{
	(void)state;
	serve_one_of_two();
	world->traffic = (struct world_traffic){.per_second = 5000, .canary_p99 = 3};
	assert_int_equal(canary("digits", 2, guarded()), 0);
	run_until(FG_GENERATION_CANARY);
	assert_int_equal(fg_canary_pause(&world->rollout, "digits", world->now_ns), 0);
	run_to_end(FG_CANARY_BROKEN);
	assert_int_equal(fg_canary_resume(&world->rollout, "digits", world->now_ns), -ENOENT);
}

static void test_min_requests_hold_a_step(void **state)
{
	struct fg_canary_plan plan = guarded();

	(void)state;
	serve_one_of_two();
	plan.window_ns = 300 * WORLD_MS;
	world->traffic = (struct world_traffic){.per_second = 100, .canary_p99 = 1};
	assert_int_equal(canary("digits", 2, plan), 0);
	run_until(FG_GENERATION_CANARY);
	world_run(world, 9900);
	assert_int_equal(world->weight, 100);
	assert_int_equal(the_canary()->phase, FG_CANARY_RUNNING);
	world_run(world, 200);
	assert_int_equal(world->weight, 1000);
	world->traffic.canary_p99 = 5;
	world_run(world, 9000);
	assert_int_equal(the_canary()->phase, FG_CANARY_RUNNING);
	run_to_end(FG_CANARY_BROKEN);
}

static void test_windows_begin_anew(void **state)
{
	struct fg_canary_plan plan = guarded();
	uint32_t watch, epochs = 0;

	(void)state;
	serve_one_of_two();
	plan.window_ns = 250 * WORLD_MS;
	plan.hold_ns = 5000 * WORLD_MS;
	world->traffic = (struct world_traffic){.per_second = 50000, .canary_p99 = 1};
	assert_int_equal(canary("digits", 2, plan), 0);
	run_until(FG_GENERATION_CANARY);
	watch = world->rollout.watch;
	for (uint32_t i = 0; i < 4900; i++) {
		world_run(world, 1);
		epochs += world->rollout.watch != watch;
		watch = world->rollout.watch;
		for (uint32_t slot = 0; slot < 4; slot++)
			assert_int_equal(world->seen.slots[slot].watch, watch);
		assert_string_equal(world->workers[0].watched, "digits");
	}
	assert_in_range(epochs, 18, 20);
	assert_int_equal(world->weight, 100);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "", world->now_ns), 0);
	world_run(world, 10);
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		assert_int_equal(world->seen.slots[slot].watch, 0);
}

/* ---- failures ---- */

static void check_failure(enum world_fault fault, const char *why, uint32_t flips)
{
	const struct fg_rollout_failure *failure;
	uint32_t live;

	serve_one_of_two();
	live = in_phase(FG_GENERATION_LIVE)->id;
	flips += world->flips;
	world_version(world, "digits", 2, fault);
	assert_int_equal(canary("digits", 2, steps(30000, 100, 10000, 0)), 0);
	run_to_end(FG_CANARY_FAILED);
	assert_string_equal(the_canary()->reason, why);
	failure = fg_wanted_failure(model("digits"), 2, 0);
	assert_string_equal(failure->error, why);
	if (flips == world->flips)
		check_nothing_changed(live, flips);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, live);
}

static void test_pack_fails(void **state)
{
	(void)state;
	check_failure(WORLD_BAD_PACK, "the packer says no", 0);
}

static void test_load_fails(void **state)
{
	(void)state;
	check_failure(WORLD_BAD_LOAD, "the worker says no", 0);
}

/* Its workers become ready and die, again and again. */
static void test_death_loop(void **state)
{
	uint32_t flips;

	(void)state;
	check_failure(WORLD_DIES, "its workers died again and again", 1);
	world_run(world, 20000);
	flips = world->flips;
	world_run(world, 20000);
	assert_int_equal(world->flips, flips);
	assert_int_equal(world->canary, 0);
}

static void test_files_vanish(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(30000, 100, 10000, 0)), 0);
	world_vanish(world, "digits", 2);
	run_to_end(FG_CANARY_FAILED);
	assert_string_equal(the_canary()->reason, "its files are gone");
	assert_int_equal(world_live(world, "digits"), 1);
}

/* Files that never stand still cannot be packed: the canary does not wait for ever. */
static void test_files_never_complete(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(30000, 100, 10000, 0)), 0);
	world_version(world, "digits", 2, WORLD_GOOD)->complete = false;
	world_run(world, 200000);
	assert_int_equal(the_canary()->phase, FG_CANARY_FAILED);
	assert_int_equal(world_live(world, "digits"), 1);
}

/* Other versions come and go meanwhile: what becomes live is the canary's, or nothing. */
static void test_files_change_among_others(void **state)
{
	(void)state;
	world->rules[0].defaults.policy = FG_RULES_ALL;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 300);
	world_version(world, "digits", 3, WORLD_GOOD);
	assert_int_equal(canary("digits", 3, steps(1000, 10000, 0, 0)), 0);
	world_run(world, 1);
	world_version(world, "digits", 3, WORLD_GOOD)->complete = false;
	world_version(world, "digits", 4, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(the_canary()->phase, FG_CANARY_STARTING);
	assert_int_equal(world_live(world, "digits"), 1);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 4);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
}

/* Dead once: it is replaced in its slot, by a table change. */
static void test_worker_dies_once(void **state)
{
	uint32_t spawns;

	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(30000, 3000, 10000, 0)), 0);
	run_until(FG_GENERATION_CANARY);
	world_run(world, 15000);
	assert_int_equal(world->canary, 3);
	spawns = world->spawns;
	world_end_worker(world, 1, false);
	world_run(world, 1);
	assert_int_equal(world->canary, 1);
	assert_int_equal(world->weight, 3000);
	world_run(world, 200);
	assert_int_equal(world->canary, 3);
	assert_int_equal(world->spawns, spawns + 1);
	assert_int_equal(the_canary()->phase, FG_CANARY_RUNNING);
	/* Both: all flows go to the stable side until one is back. */
	world_end_worker(world, 0, false);
	world_end_worker(world, 1, false);
	world_run(world, 1);
	assert_int_equal(world->canary, 0);
	assert_int_equal(world->weight, 0);
	world_run(world, 300);
	assert_int_equal(world->canary, 3);
	run_to_end(FG_CANARY_DONE);
}

/* What the canary is compared with dies in a loop, and its predecessor is still there. */
static void test_live_dies_beside_it(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world->config.keep_ms = 600000;
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 3, WORLD_GOOD);
	assert_int_equal(canary("digits", 3, steps(100000, 3000, 10000, 0)), 0);
	run_until(FG_GENERATION_CANARY);
	world->doomed = in_phase(FG_GENERATION_LIVE)->id;
	for (uint32_t slot = 0; slot < 2; slot++)
		world->workers[in_phase(FG_GENERATION_LIVE)->slots[slot]].dies_ns = world->now_ns;
	run_to_end(FG_CANARY_FAILED);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_non_null(fg_wanted_failure(model("digits"), 2, 0));
	assert_null(fg_wanted_failure(model("digits"), 3, 0));
}

/* ---- control ---- */

/* Control dies after so many actions of each step, and starts again. */
static void test_control_dies(void **state)
{
	uint64_t end_ns;

	(void)state;
	world->real_tables = true;
	serve_one_of_two();
	for (uint32_t limit = 1; limit < 16; limit++) {
		uint64_t next = limit % 2 ? 2 : 1;

		set_flows(0);
		assert_int_equal(canary("digits", next, steps(100, 100, 6000, 10000)), 0);
		end_ns = world->now_ns + 10000 * WORLD_MS;
		while (world->now_ns < end_ns && fg_canary_active(the_canary())) {
			world->now_ns += WORLD_MS;
			world_children(world);
			world_keeper(world, UINT32_MAX);
			world_step(world, limit);
			world_adopt(world);
		}
		assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
		world_run(world, 1000);
		assert_int_equal(world_live(world, "digits"), next);
		assert_int_equal(world->seen.table,
				 fg_rollout_empty(&world->rollout) ? 0 : world->stable);
	}
}

/* So small a part that not every worker has a position: no flip after flip, also when a control
 * that starts again sees only what the table names. */
static void test_tiny_weight(void **state)
{
	uint32_t flips;

	(void)state;
	world->real_tables = true;
	world->config.worker_count = FG_ROLLOUT_MAX_WORKERS;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(3600000, 5, 9995, 0)), 0);
	run_until(FG_GENERATION_CANARY);
	world_run(world, 100);
	for (uint32_t step = 0; step < 2; step++) {
		flips = world->flips;
		world_run(world, 1000);
		assert_int_equal(world->flips, flips);
		world_adopt(world);
		assert_true(__builtin_popcountll(world->seen.table) < 32);
		world_run(world, 1000);
		assert_true(world->flips <= flips + 1);
		the_canary();
		world->rollout.canary.plan.hold_ns = 1000;
		world_run(world, 100);
		assert_int_equal(world->weight, 9995);
	}
}

static void test_stop(void **state)
{
	(void)state;
	serve_one_of_two();
	set_flows(3);
	assert_int_equal(canary("digits", 2, steps(30000, 3000, 10000, 0)), 0);
	run_until(FG_GENERATION_CANARY);
	world->seen.stopping = true;
	world_run(world, 1500);
	assert_true(fg_rollout_empty(world_rollout(world)));
	assert_int_equal(world->kills, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_error_rate),
		STORY(test_p99),
		STORY(test_drift),
		STORY(test_breaks_while_paused),
		STORY(test_min_requests_hold_a_step),
		STORY(test_windows_begin_anew),
		STORY(test_pack_fails),
		STORY(test_load_fails),
		STORY(test_death_loop),
		STORY(test_files_vanish),
		STORY(test_files_never_complete),
		STORY(test_files_change_among_others),
		STORY(test_worker_dies_once),
		STORY(test_live_dies_beside_it),
		STORY(test_control_dies),
		STORY(test_tiny_weight),
		STORY(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
