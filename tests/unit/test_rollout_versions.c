/* Which version serves: failures, promote, rollback, policies. Each test is one story. */
#include "tests/unit/rollout_story.h"

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
	assert_int_equal(promote("digits", 1), 0);
	assert_int_equal(roll_back("digits", &version), -ENOENT);
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
	/* It was urgent while it drained: it may poll when it is not any more. */
	assert_int_equal(world->seen.slots[0].urgent, 1);
	assert_int_equal(world->seen.slots[0].order, FG_ORDER_DOZE);
	world_run(world, 1);
	assert_int_equal(world->seen.slots[0].urgent, 0);
	assert_int_equal(world->seen.slots[0].order, FG_ORDER_SERVE);
}

/* Flows that never end, a client's or an attacker's, keep the bad version for a second. After a
 * promote they have until the deadline. */
static void test_a_rollback_waits_for_nobody(void **state)
{
	uint64_t version;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	set_flows(9);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	world_run(world, FG_ROLLOUT_STOP_NS / WORLD_MS + 500);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	set_flows(9);
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, FG_ROLLOUT_STOP_NS / WORLD_MS - 200);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 2);
	world_run(world, 400);
	assert_null(in_phase(FG_GENERATION_DRAINING));
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 2);
}

/* Half a generation is not flipped back to. */
static void test_rollback_while_draining_with_a_dead_worker(void **state)
{
	uint64_t version;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	set_flows(9);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	world_end_worker(world, 1, false);
	assert_int_equal(roll_back("digits", &version), 0);
	world_step(world, UINT32_MAX);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 2);
	world_run(world, 300);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 3);
	assert_int_equal(world_live(world, "digits"), 1);
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
	world->rules[0].defaults.policy = FG_RULES_MANUAL;
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
	/* A choice that failed is over: other files do not bring it back by themselves. */
	world_version(world, "digits", 4, WORLD_BAD_LOAD);
	assert_int_equal(promote("digits", 4), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	world_version(world, "digits", 4, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
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
	world->start_ms = 200; /* always a newer one before it is ready */
	world_version(world, "digits", version, WORLD_GOOD);
	world_run(world, 300);
	while (version < 60) {
		world_version(world, "digits", ++version, WORLD_GOOD);
		world_run(world, 100);
	}
	assert_true(world_live(world, "digits") > 5);
	world_run(world, 40000);
	assert_int_equal(world_live(world, "digits"), version);
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
		if (world->seen.plans[i].phase == FG_PLAN_PACKING)
			world->plans[i].ready_ns = UINT64_MAX;
	world_version(world, "b", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "b"), 1); /* waits for a, so that one cutover does */
	world_run(world, 2000);
	assert_int_equal(world_live(world, "b"), 2);
	assert_int_equal(world_live(world, "a"), 1);
}

/* Clients send 20 columns. What takes 23 waits for somebody who says so, and is then what counts.
 */
static void test_another_interface_is_held(void **state)
{
	const struct fg_rollout_failure *failure;
	uint64_t version;

	(void)state;
	world->wider_from = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 1);
	failure = fg_wanted_failure(model("digits"), 2, 0);
	assert_non_null(failure);
	assert_non_null(strstr(failure->error, "takes 23 columns and gives 2, live takes 20"));
	assert_non_null(strstr(failure->error, "flipgate promote digits 2"));
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_equal(roll_back("digits", &version), 0);
	assert_int_equal(version, 2);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_another_interface_may_be_asked_for(void **state)
{
	(void)state;
	world->wider_from = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(canary("digits", 2, steps(300, 1000, 5000, 10000)), 0);
	world_run(world, 5000);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
	assert_int_equal(world_live(world, "digits"), 2);
	world->wider_from = 3;
	world->config.interface_may_change = true;
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
}

/* A restart is no promote. */
static void test_another_interface_after_a_restart(void **state)
{
	struct fg_rollout_served served = {
		.count = 1, .list = {{.model = "digits", .version = 1, .interface = 20}}};

	(void)state;
	world->seen.served = &served;
	world->wider_from = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_non_null(fg_wanted_failure(model("digits"), 2, 0));
}

/* Version 1 is asked for by its number: it does not become the default. */
static void test_another_interface_beside_the_default(void **state)
{
	struct fg_rollout_served served = {.count = 1,
					   .list = {{.model = "digits",
						     .version = 2,
						     .chosen = 2,
						     .seen = 2,
						     .interface = 23}}};

	(void)state;
	world->seen.served = &served;
	world->rules[0].defaults.count = 2;
	world->wider_from = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_null(fg_wanted_failure(model("digits"), 1, 0));
	assert_non_null(fg_rollout_version(in_phase(FG_GENERATION_LIVE), "digits", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_failed_load),
		STORY(test_failed_pack),
		STORY(test_many_failures),
		STORY(test_fault_among_several),
		STORY(test_first_start_with_a_fault),
		STORY(test_rollback_is_one_flip),
		STORY(test_rollback_while_draining),
		STORY(test_a_rollback_waits_for_nobody),
		STORY(test_rollback_while_draining_with_a_dead_worker),
		STORY(test_rollback_after_keep),
		STORY(test_kept_lost_a_worker),
		STORY(test_promote),
		STORY(test_manual),
		STORY(test_vanished_store_serves_on),
		STORY(test_newer_replaces_starting),
		STORY(test_flood_of_versions_goes_live),
		STORY(test_one_slow_pack_does_not_block),
		STORY(test_another_interface_is_held),
		STORY(test_another_interface_may_be_asked_for),
		STORY(test_another_interface_after_a_restart),
		STORY(test_another_interface_beside_the_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
