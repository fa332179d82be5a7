/* What serves and what lies on disk under one number: files that change. Each test is one story. */
#include "tests/unit/rollout_story.h"

#define MINUTES 60000

static uint64_t answers(void)
{
	return world_answers(world, "digits");
}

static uint64_t on_disk(uint64_t version)
{
	return WORLD_CONTENTS(fg_store_version(&world->store, "digits", version)->fingerprint);
}

/* What is known of the plan that holds the version. */
static const struct fg_rollout_contents *contents(uint64_t version)
{
	int held = fg_wanted_held(world_rollout(world), "digits", version);

	assert_true(held >= 0);
	return &world_rollout(world)->contents[held];
}

/* The files that are there make another plan, or none, and that is known and stays so. */
static void check_differs(uint64_t version)
{
	uint64_t fingerprint = fg_store_version(&world->store, "digits", version)->fingerprint;
	uint32_t packs = world->packs, spawns = world->spawns;

	assert_true(contents(version)->other == fingerprint);
	assert_false(contents(version)->take);
	world_run(world, 5000);
	assert_true(contents(version)->other == fingerprint);
	assert_int_equal(world->packs, packs);
	assert_int_equal(world->spawns, spawns);
}

static void check_same(uint64_t version)
{
	const struct fg_store_version *found = fg_store_version(&world->store, "digits", version);

	assert_true(contents(version)->files == found->fingerprint);
	assert_int_equal(contents(version)->other, 0);
	assert_int_equal(contents(version)->asked, 0);
}

static void serve_one(void)
{
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	assert_true(answers() == on_disk(1));
}

/* A pause in a copy: the half was taken, and goes when the whole is there. */
static void test_a_half_copy_heals(void **state)
{
	(void)state;
	serve_one();
	world_run(world, 300);
	world_version(world, "digits", 1, WORLD_GOOD)->complete = false;
	world_run(world, 1000);
	assert_int_equal(world->packs, 1);
	assert_true(answers() != on_disk(1));
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_true(answers() == on_disk(1));
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world->flips, 2);
	check_same(1);
	world_run(world, 30000);
	assert_int_equal(world->packs, 2);
	assert_int_equal(world->drops, 1);
}

/* A touch, a chmod, the same file copied once more: packed, found the same, forgotten. */
static void test_touched_files_change_nothing(void **state)
{
	(void)state;
	serve_one();
	for (uint32_t i = 1; i <= 3; i++) {
		world_touch(world, "digits", 1);
		world_run(world, 30 * MINUTES);
		check_same(1);
		assert_int_equal(world->packs, 1 + i);
		assert_int_equal(world->drops, i);
	}
	assert_int_equal(world->flips, 1);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
}

/* Nobody copies for that long: answers must not change because somebody touched a file. */
static void test_an_old_version_is_told_of(void **state)
{
	(void)state;
	serve_one();
	world_run(world, 11 * MINUTES);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world->flips, 1);
	assert_true(answers() != on_disk(1));
	assert_true(contents(1)->other_digest == on_disk(1));
	check_differs(1);
	assert_int_equal(promote("digits", 1), 0);
	assert_true(fg_wanted_asked(&world->rollout, "digits", 1));
	world_run(world, 500);
	assert_true(answers() == on_disk(1));
	assert_false(fg_wanted_asked(&world->rollout, "digits", 1));
	check_same(1);
}

static void test_never_by_itself(void **state)
{
	(void)state;
	world->config.settle_ms = 0;
	serve_one();
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world->flips, 1);
	check_differs(1);
}

/* A copy with pauses is as old as its first half. */
static void test_age_counts_from_the_first(void **state)
{
	(void)state;
	serve_one();
	for (uint32_t i = 1; i <= 3; i++) {
		world_run(world, 3 * MINUTES);
		world_version(world, "digits", 1, WORLD_GOOD);
		world_run(world, 1000);
		assert_true(answers() == on_disk(1));
	}
	world_run(world, 3 * MINUTES);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world->flips, 4);
	check_differs(1);
}

static void test_the_old_files_come_back(void **state)
{
	struct fg_store_version before;

	(void)state;
	serve_one();
	world_run(world, 11 * MINUTES);
	before = *fg_store_version(&world->store, "digits", 1);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	check_differs(1);
	*world_version(world, "digits", 1, WORLD_GOOD) = before;
	world_run(world, 1000);
	check_same(1);
	assert_int_equal(world->flips, 1);
}

static void test_deleted_and_put_back(void **state)
{
	(void)state;
	serve_one();
	world_vanish(world, "digits", 1);
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 1);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_true(answers() == on_disk(1));
	world_run(world, 11 * MINUTES);
	world_vanish(world, "digits", 1);
	world_run(world, 3000);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_true(answers() != on_disk(1));
	check_differs(1);
}

static void test_what_cannot_be_packed_is_told_of(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 1, WORLD_BAD_PACK);
	world_run(world, 1000);
	assert_int_equal(world->flips, 1);
	assert_int_equal(contents(1)->other_digest, 0);
	assert_string_equal(fg_wanted_failure(model("digits"), 1, 0)->error, "the packer says no");
	check_differs(1);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_true(answers() == on_disk(1));
	assert_null(fg_wanted_failure(model("digits"), 1, 0));
	check_same(1);
}

static void test_what_does_not_start_is_told_of(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 1, WORLD_BAD_LOAD);
	world_run(world, 1000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_int_equal(world->flips, 1);
	assert_non_null(fg_wanted_failure(model("digits"), 1, 0));
	check_differs(1);
}

/* It became live and its workers die: back to the same number, with what served before. */
static void test_what_dies_is_flipped_out(void **state)
{
	uint64_t before;

	(void)state;
	serve_one();
	before = answers();
	set_flows(9);
	world_version(world, "digits", 1, WORLD_DIES);
	world_run(world, 3000);
	assert_true(answers() == before);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_non_null(fg_wanted_failure(model("digits"), 1, 0));
	set_flows(0);
	check_differs(1);
}

/* What is live of others must not suffer from it. */
static void test_a_choice_of_changed_files_that_fail(void **state)
{
	uint64_t version;

	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 2, WORLD_BAD_PACK);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2); /* not 3 */
	assert_int_equal(model("digits")->chosen, 2);
	check_differs(2);
}

/* Back is back to what served. */
static void test_rollback_to_changed_files(void **state)
{
	uint64_t version, before;

	(void)state;
	serve_one();
	before = answers();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 5000);
	assert_true(answers() == before);
	check_differs(1);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 500);
	assert_true(answers() == on_disk(1));
}

/* A promote is of what is on disk: what is kept of it does not even serve for a moment. */
static void test_promote_of_changed_files(void **state)
{
	uint64_t before;

	(void)state;
	serve_one();
	before = answers();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 1, WORLD_GOOD);
	assert_int_equal(promote("digits", 1), 0);
	for (uint32_t i = 0; i < 500; i++) {
		world_run(world, 1);
		assert_true(answers() != before);
	}
	assert_true(answers() == on_disk(1));
	assert_int_equal(world_live(world, "digits"), 1);
}

static void test_promote_of_changed_files_that_fail(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 1, WORLD_BAD_PACK);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_non_null(fg_wanted_failure(model("digits"), 1, 0));
	assert_int_equal(model("digits")->chosen, 2);
}

/* What guards judge is one thing, from its first step to its last. */
static void test_a_canary_stays_what_it_is(void **state)
{
	uint64_t before;

	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(300, 1000, 5000, 10000)), 0);
	run_until(FG_GENERATION_CANARY);
	before = on_disk(2);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 2000);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
	assert_true(answers() == before);
	check_differs(2); /* young as it is: no guard has seen what is there now */
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 500);
	assert_true(answers() == on_disk(2));
}

/* One that is kept, and whose files changed: the canary is of those, before anybody gets answers.
 */
static void test_a_canary_of_changed_files(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	assert_non_null(in_phase(FG_GENERATION_KEPT));
	world_version(world, "digits", 1, WORLD_GOOD);
	assert_int_equal(canary("digits", 1, steps(300, 1000, 5000, 10000)), 0);
	run_until(FG_GENERATION_CANARY);
	assert_true(world->seen.plans[fg_wanted_held(world_rollout(world), "digits", 1)].digest ==
		    on_disk(1));
	world_run(world, 2000);
	assert_true(answers() == on_disk(1));
	check_same(1);
}

static void test_a_canary_of_changed_files_that_fail(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 1, WORLD_BAD_PACK);
	assert_int_equal(canary("digits", 1, steps(300, 1000, 5000, 10000)), 0);
	world_run(world, 1000);
	assert_int_equal(the_canary()->phase, FG_CANARY_FAILED);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* Every other model stays as it serves, until the canary's end. */
static void test_files_that_change_beside_a_canary(void **state)
{
	uint64_t before;

	(void)state;
	serve_one_of_two();
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 500);
	before = world_answers(world, "fraud");
	assert_int_equal(canary("digits", 2, steps(1000, 1000, 5000, 10000)), 0);
	world_version(world, "fraud", 1, WORLD_GOOD);
	run_until(FG_GENERATION_CANARY);
	while (fg_canary_active(the_canary())) {
		assert_true(world_answers(world, "fraud") == before);
		world_run(world, 1);
	}
	world_run(world, 1000);
	assert_true(world_answers(world, "fraud") != before);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_a_shadow_stays_what_it_is(void **state)
{
	uint64_t before;
	int held;

	(void)state;
	serve_one_of_two();
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	before = on_disk(2);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 2000);
	held = fg_wanted_held(world_rollout(world), "digits", 2);
	assert_true(world->seen.plans[held].digest == before);
	/* Begun anew it is of the files as they are. */
	assert_int_equal(fg_shadow_end(&world->rollout, "digits", "enough"), 0);
	world_run(world, 500);
	assert_int_equal(shadow("digits", 2, 1000), 0);
	run_until(FG_GENERATION_SHADOW);
	held = fg_wanted_held(world_rollout(world), "digits", 2);
	assert_true(world->seen.plans[held].digest == on_disk(2));
}

/* What the packer read may be half of one copy: no plan is used before another look. */
static void test_packed_while_files_changed(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_step(world, UINT32_MAX);
	world->blind = true;
	world_run(world, 3000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world->packs, 2);
	assert_null(in_phase(FG_GENERATION_STARTING));
	world_version(world, "digits", 2, WORLD_GOOD); /* as the look finds out */
	world->blind = false;
	world_run(world, 500);
	assert_true(answers() == on_disk(2));
	assert_int_equal(world->packs, 3);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_a_version_beside_the_default(void **state)
{
	const struct fg_rollout_generation *live;
	const struct fg_rollout_entry *entry;

	(void)state;
	world->rules[0].defaults.count = 2;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 1000);
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 1000);
	live = in_phase(FG_GENERATION_LIVE);
	entry = fg_rollout_version(live, "digits", 1);
	assert_int_equal(live->entry_count, 2);
	assert_true(world->seen.plans[entry->plan].digest == on_disk(1));
	assert_int_equal(world_live(world, "digits"), 2);
}

/* What is live heals also while something newer is still being packed. */
static void test_a_half_copy_heals_beside_a_slow_pack(void **state)
{
	(void)state;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_step(world, UINT32_MAX);
	world_keeper(world, UINT32_MAX);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING)
			world->plans[i].ready_ns = UINT64_MAX;
	world->rules[0].defaults.count = 2;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 5000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_true(answers() == on_disk(1));
}

/* One of several changes is at fault: found one by one, also where the number stays. */
static void test_fault_among_several(void **state)
{
	uint64_t before;

	(void)state;
	world->rules[0].defaults.count = 2;
	serve_one();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 1000);
	before = world_answers(world, "fraud");
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_BAD_LOAD);
	world_run(world, 5000);
	assert_true(world_answers(world, "fraud") == before);
	assert_non_null(fg_wanted_failure(model("fraud"), 1, 0));
	check_same(1);
	check_same(2);
	assert_int_equal(world_rollout(world)->solo, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_a_half_copy_heals),
		STORY(test_touched_files_change_nothing),
		STORY(test_an_old_version_is_told_of),
		STORY(test_never_by_itself),
		STORY(test_age_counts_from_the_first),
		STORY(test_the_old_files_come_back),
		STORY(test_deleted_and_put_back),
		STORY(test_what_cannot_be_packed_is_told_of),
		STORY(test_what_does_not_start_is_told_of),
		STORY(test_what_dies_is_flipped_out),
		STORY(test_a_choice_of_changed_files_that_fail),
		STORY(test_rollback_to_changed_files),
		STORY(test_promote_of_changed_files),
		STORY(test_promote_of_changed_files_that_fail),
		STORY(test_a_canary_stays_what_it_is),
		STORY(test_a_canary_of_changed_files),
		STORY(test_a_canary_of_changed_files_that_fail),
		STORY(test_files_that_change_beside_a_canary),
		STORY(test_a_shadow_stays_what_it_is),
		STORY(test_packed_while_files_changed),
		STORY(test_a_version_beside_the_default),
		STORY(test_a_half_copy_heals_beside_a_slow_pack),
		STORY(test_fault_among_several),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
