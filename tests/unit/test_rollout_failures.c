/* Failures that are no fault of a version's files: they are tried again, and pass. One story each.
 */
#include "tests/unit/rollout_story.h"

static const struct fg_rollout_failure *failure(uint64_t version)
{
	return fg_wanted_failure(model("digits"), version, 0);
}

static void serve_one(void)
{
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 1);
}

static void test_unreadable_files_are_tried_again(void **state)
{
	uint64_t pause_ns, last_ns = 0;

	(void)state;
	serve_one();
	world->unreadable = true;
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 100);
	for (uint32_t tries = 1; tries <= 9; tries++) {
		assert_non_null(failure(2));
		assert_true(failure(2)->passing);
		assert_int_equal(failure(2)->tries, tries);
		assert_int_equal(world->packs, 1 + tries);
		pause_ns = failure(2)->retry_ns - world->now_ns;
		assert_true(pause_ns <= FG_ROLLOUT_AGAIN_MAX_NS);
		assert_true(last_ns >= FG_ROLLOUT_AGAIN_MAX_NS / 2 || pause_ns > last_ns);
		last_ns = pause_ns;
		world_run(world, (uint32_t)(pause_ns / WORLD_MS) + 200);
	}
	assert_int_equal(world_live(world, "digits"), 1);
	world->unreadable = false;
	world_run(world, 61000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_null(failure(2));
	assert_int_equal(fg_wanted_tries(model("digits"), 2), 0);
}

/* A chmod is a change of the files: nobody waits for the next try. */
static void test_a_change_is_tried_at_once(void **state)
{
	(void)state;
	serve_one();
	world->unreadable = true;
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 40000);
	assert_true(failure(2)->retry_ns > world->now_ns + 5000 * WORLD_MS);
	world->unreadable = false;
	world_touch(world, "digits", 2);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_an_address_that_was_away(void **state)
{
	(void)state;
	serve_one();
	world->away = true;
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_true(failure(2)->passing);
	assert_string_equal(failure(2)->error, "the worker says no");
	world->away = false;
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_several_models_at_the_first_start(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d"};

	(void)state;
	world->away = true;
	for (uint32_t i = 0; i < 4; i++)
		world_version(world, names[i], 1, WORLD_GOOD);
	world_run(world, 30000);
	world->away = false;
	world_run(world, 70000);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(world_live(world, names[i]), 1);
	assert_int_equal(world_rollout(world)->solo, 0);
}

/* What the operator said is not taken back by what passes. */
static void test_a_choice_stands(void **state)
{
	(void)state;
	world->rules[0].defaults.policy = FG_RULES_MANUAL;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world->away = true;
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(model("digits")->chosen, 2);
	world->away = false;
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* While the choice waits nothing else is chosen for it, least of all what was rolled back from. */
static void test_nothing_else_is_chosen(void **state)
{
	uint64_t version;

	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 30000);
	assert_int_equal(world_live(world, "digits"), 2);
	world->unreadable = true;
	assert_int_equal(promote("digits", 1), 0);
	for (uint32_t i = 0; i < 100; i++) {
		world_run(world, 100);
		assert_int_equal(world_live(world, "digits"), 2);
	}
	world->unreadable = false;
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 1);
}

/* But what is newer than all that was known then overrules the choice, as it does any. */
static void test_what_is_newer_does_not_wait_for_it(void **state)
{
	uint64_t version;

	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world->unreadable = true;
	world_run(world, 30000); /* what is held of 1 ends */
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 40000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(model("digits")->chosen, 1);
	world->unreadable = false;
	assert_true(failure(1)->retry_ns > world->now_ns + 3000 * WORLD_MS);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 2000);
	assert_int_equal(world_live(world, "digits"), 3);
}

static void test_a_canary_waits(void **state)
{
	(void)state;
	serve_one_of_two();
	world->away = true;
	assert_int_equal(canary("digits", 2, steps(300, 1000, 5000, 10000)), 0);
	world_run(world, 10000);
	assert_int_equal(the_canary()->phase, FG_CANARY_STARTING);
	world->away = false;
	world_run(world, 20000);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* Nothing in it is new, so nothing can be blamed: it is the host, and looked at later. */
static void test_a_canary_of_what_serves_beside_waits(void **state)
{
	uint32_t spawns;

	(void)state;
	world->rules[0].defaults.count = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 500);
	world->away = true;
	spawns = world->log_count;
	assert_int_equal(canary("digits", 1, steps(300, 1000, 5000, 10000)), 0);
	world_run(world, 20000);
	assert_int_equal(the_canary()->phase, FG_CANARY_STARTING);
	assert_in_range(world->log_count - spawns, 1, 200);
	world->away = false;
	world_run(world, 20000);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
}

static void test_a_canary_does_not_wait_for_ever(void **state)
{
	(void)state;
	serve_one_of_two();
	world->unreadable = true;
	assert_int_equal(canary("digits", 2, steps(300, 1000, 5000, 10000)), 0);
	world_run(world, 125000);
	assert_int_equal(the_canary()->phase, FG_CANARY_FAILED);
}

/* Its workers die and cannot be started again: what served before serves, and it comes back. */
static void test_live_cannot_be_started_again(void **state)
{
	(void)state;
	world->config.keep_ms = 600000;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 12000);
	assert_int_equal(world_live(world, "digits"), 2);
	world->away = true;
	for (uint32_t slot = 2; slot < 4; slot++)
		world_end_worker(world, slot, false);
	world_run(world, 5000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_true(failure(2)->passing);
	world->away = false;
	world_run(world, 60000);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_what_is_wrong_is_not_tried_again(void **state)
{
	uint32_t packs;

	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_BAD_PACK);
	world_run(world, 1000);
	assert_false(failure(2)->passing);
	packs = world->packs;
	world_run(world, 200000);
	assert_int_equal(world->packs, packs);
}

/* What serves goes on, whatever its changed files are, and is compared when they can be read. */
static void test_changed_files_that_cannot_be_read(void **state)
{
	(void)state;
	serve_one();
	world->unreadable = true;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 10000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_true(failure(1)->passing);
	world->unreadable = false;
	world_run(world, 20000);
	assert_int_equal(world->flips, 2);
	assert_true(world_answers(world, "digits") ==
		    WORLD_CONTENTS(fg_store_version(&world->store, "digits", 1)->fingerprint));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_unreadable_files_are_tried_again),
		STORY(test_a_change_is_tried_at_once),
		STORY(test_an_address_that_was_away),
		STORY(test_several_models_at_the_first_start),
		STORY(test_a_choice_stands),
		STORY(test_nothing_else_is_chosen),
		STORY(test_what_is_newer_does_not_wait_for_it),
		STORY(test_a_canary_waits),
		STORY(test_a_canary_of_what_serves_beside_waits),
		STORY(test_a_canary_does_not_wait_for_ever),
		STORY(test_live_cannot_be_started_again),
		STORY(test_what_is_wrong_is_not_tried_again),
		STORY(test_changed_files_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
