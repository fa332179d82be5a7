/* What is known of the gateway that served before this start: the operator's choices hold, and when
 * this one may take the place of that one. Each test is one story. */
#include "tests/unit/rollout_story.h"

static struct fg_rollout_served served;

static int open_story(void **state)
{
	open_world(state);
	memset(&served, 0, sizeof(served));
	world->seen.served = &served;
	return 0;
}

static struct fg_rollout_served_model *before(const char *name, uint64_t version)
{
	struct fg_rollout_served_model *model = &served.list[served.count++];

	strcpy(model->model, name);
	model->version = version;
	return model;
}

static void choose_before(const char *name, uint64_t version, uint64_t seen)
{
	struct fg_rollout_served_model *model = before(name, version);

	model->chosen = version;
	model->seen = seen;
}

static void set_policy(enum fg_rules_policy policy)
{
	world->rules[0].defaults.policy = world->rules[1].defaults.policy = policy;
}

static char why[256];

static int succeeds(void)
{
	why[0] = 0;
	return fg_rollout_succeeds(&world->rollout, &world->store, world_rules(world), &served, why,
				   sizeof(why));
}

static void expect_never(const char *text)
{
	assert_int_equal(succeeds(), -ENOENT);
	if (!strstr(why, text))
		fail_msg("\"%s\" is not in \"%s\"", text, why);
}

/* ---- choices ---- */

static void test_what_was_rolled_back_stays_away(void **state)
{
	(void)state;
	choose_before("digits", 1, 2);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world->flips, 1);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
}

static void test_a_choice_that_is_gone_is_none(void **state)
{
	(void)state;
	choose_before("digits", 1, 2);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* Versions of a model that was taken away, and is made anew under its name, count from 1 again. */
static void test_a_choice_ends_with_its_version(void **state)
{
	(void)state;
	choose_before("digits", 8, 9);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_manual_goes_on_with_its_choice(void **state)
{
	(void)state;
	set_policy(FG_RULES_MANUAL);
	choose_before("digits", 1, 1);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD); /* nobody promoted it */
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 2);
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* While this one prepares, the other one obeys: a rollback, a promote. */
static void test_a_choice_made_meanwhile(void **state)
{
	struct fg_rollout_served old;

	(void)state;
	choose_before("digits", 2, 2);
	before("fraud", 1);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(succeeds(), 0);
	old = served;
	assert_false(fg_rollout_follow(&world->rollout, &old, &served));
	served.list[0].version = served.list[0].chosen = 1;
	assert_true(fg_rollout_follow(&world->rollout, &old, &served));
	world_run(world, 20);
	assert_int_equal(succeeds(), -EAGAIN);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(model("fraud")->chosen, 0);
	assert_int_equal(succeeds(), 0);
}

/* ---- taking its place ---- */

static void test_not_before_all_serve(void **state)
{
	(void)state;
	before("digits", 1);
	before("fraud", 1);
	before("old", 4)->away = true;
	assert_int_equal(succeeds(), -EAGAIN);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	world->store.looked_ns = 0;
	assert_int_equal(succeeds(), -EAGAIN);
	world_version(world, "fraud", 1, WORLD_GOOD);
	assert_int_equal(succeeds(), -EAGAIN);
	world_run(world, 1000);
	assert_int_equal(succeeds(), 0);
}

/* Nothing is known of before: then all that is wanted must serve. */
static void test_all_that_is_wanted(void **state)
{
	(void)state;
	assert_int_equal(succeeds(), -EAGAIN);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(succeeds(), 0);
	world_version(world, "digits", 2, WORLD_GOOD);
	fg_wanted_sync(&world->rollout, &world->store, &served);
	assert_int_equal(succeeds(), -EAGAIN);
	world_run(world, 1000);
	assert_int_equal(succeeds(), 0);
}

static void test_never_what_does_not_load(void **state)
{
	(void)state;
	before("digits", 2);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_BAD_PACK);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 1);
	expect_never("model digits, version 2, which serves now: the packer says no");
}

/* What may pass is waited for. */
static void test_perhaps_what_cannot_be_read(void **state)
{
	(void)state;
	before("digits", 1);
	world_version(world, "digits", 1, WORLD_GOOD);
	world->unreadable = true;
	world_run(world, 10000);
	assert_int_equal(succeeds(), -EAGAIN);
	world->unreadable = false;
	world_run(world, 61000);
	assert_int_equal(succeeds(), 0);
}

static void test_never_what_is_gone(void **state)
{
	(void)state;
	before("digits", 2);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	expect_never("it is not on disk any more");
}

/* An older version than before, because somebody wants it so. */
/* The choice is gone from disk, or cannot be packed any more: then what was rolled back from would
 * serve. */
static void test_never_what_was_rolled_back_from(void **state)
{
	(void)state;
	choose_before("digits", 1, 2);
	choose_before("fraud", 1, 2);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_BAD_PACK);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 2);
	expect_never("model digits, version 1, which serves now: it is not on disk any more");
	world_version(world, "digits", 1, WORLD_GOOD);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "fraud"), 2);
	expect_never("model fraud, version 1, which serves now: the packer says no");
	/* What is newer than all that was known then may well serve. */
	served.list[1].seen = 1;
	assert_int_equal(succeeds(), 0);
}

static void test_older_ones_that_are_wanted(void **state)
{
	(void)state;
	before("digits", 2);
	choose_before("fraud", 1, 7);
	before("gone", 1);
	world->rules[0].defaults.policy = FG_RULES_SPECIFIC; /* without versions: nothing */
	add_rule(&world->rules[0], "digits", FG_RULES_SPECIFIC, 1)->versions[0] = 1;
	add_rule(&world->rules[0], "fraud", FG_RULES_LATEST, 1);
	served.list[1].version = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 1);
	expect_never("model gone");
	served.count = 2;
	assert_int_equal(succeeds(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_story, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_rolled_back_stays_away),
		TEST(test_a_choice_that_is_gone_is_none),
		TEST(test_a_choice_ends_with_its_version),
		TEST(test_manual_goes_on_with_its_choice),
		TEST(test_a_choice_made_meanwhile),
		TEST(test_not_before_all_serve),
		TEST(test_all_that_is_wanted),
		TEST(test_never_what_does_not_load),
		TEST(test_perhaps_what_cannot_be_read),
		TEST(test_never_what_is_gone),
		TEST(test_never_what_was_rolled_back_from),
		TEST(test_older_ones_that_are_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
