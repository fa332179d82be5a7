/* The first start: the newest version is waited for, up to a bound. Each test is one story. */
#include "tests/unit/rollout_story.h"

/* A version whose files are there, but do not stand still yet. */
static struct fg_store_version *copying(const char *name, uint64_t version)
{
	struct fg_store_version *found = world_version(world, name, version, WORLD_GOOD);

	found->complete = false;
	return found;
}

static void set_policy(enum fg_rules_policy policy)
{
	world->rules[0].defaults.policy = world->rules[1].defaults.policy = policy;
}

static void test_the_newest_is_waited_for(void **state)
{
	struct fg_store_version *newest;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	newest = copying("digits", 2);
	world_run(world, 1000);
	assert_int_equal(world->flips, 0);
	newest->complete = true;
	world_run(world, 300);
	assert_int_equal(world->flips, 1);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_another_model_is_waited_for(void **state)
{
	struct fg_store_version *only;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	only = copying("fraud", 1);
	world_run(world, 1000);
	assert_int_equal(world->flips, 0);
	only->complete = true;
	world_run(world, 300);
	assert_int_equal(world->flips, 1);
	assert_int_equal(world_live(world, "fraud"), 1);
}

static void test_not_for_ever(void **state)
{
	struct fg_store_version *newest;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	newest = copying("digits", 2);
	world_run(world, FG_ROLLOUT_FIRST_NS / WORLD_MS - 500);
	assert_int_equal(world->flips, 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	newest->complete = true;
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* Nobody waits for what the policy does not name, nor for an older one. */
static void test_only_for_what_counts(void **state)
{
	(void)state;
	add_rule(&world->rules[0], "digits", FG_RULES_SPECIFIC, 1)->versions[0] = 2;
	copying("digits", 1);
	world_version(world, "digits", 2, WORLD_GOOD);
	copying("digits", 3);
	copying("fraud", 1);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world_live(world, "fraud"), 2);
}

/* What serves first is what it stays at, so nothing may stand in for the newest: not while it is
 * copied, nor while it is packed. */
static void test_manual_stays_at_the_newest(void **state)
{
	struct fg_store_version *newest;

	(void)state;
	set_policy(FG_RULES_MANUAL);
	world_version(world, "digits", 1, WORLD_GOOD);
	newest = copying("digits", 2);
	world_run(world, 1000);
	newest->complete = true;
	for (uint32_t ms = 0; ms < 8000; ms++) { /* packers are busy elsewhere */
		world->now_ns += WORLD_MS;
		world_step(world, 0);
	}
	assert_int_equal(world->flips, 0);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_manual_with_a_newest_that_fails(void **state)
{
	(void)state;
	set_policy(FG_RULES_MANUAL);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_BAD_PACK);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
}

/* Later on, nothing waits for a copy. */
static void test_only_at_first(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	copying("digits", 3);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 2);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_the_newest_is_waited_for),
		STORY(test_another_model_is_waited_for),
		STORY(test_not_for_ever),
		STORY(test_only_for_what_counts),
		STORY(test_manual_stays_at_the_newest),
		STORY(test_manual_with_a_newest_that_fails),
		STORY(test_only_at_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
