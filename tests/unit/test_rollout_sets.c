/* Several versions of a model in a generation: policies, labels, defaults, room. Stories. */
#include <stdlib.h>
#include "tests/unit/rollout_story.h"

static bool loaded(const char *name, uint64_t version)
{
	return fg_rollout_version(in_phase(FG_GENERATION_LIVE), name, version);
}

/* Does LIVE answer that version when the label is asked for? */
static bool labelled(const char *name, uint64_t version, const char *label)
{
	const struct fg_rollout_entry *entry =
		fg_rollout_version(in_phase(FG_GENERATION_LIVE), name, version);

	for (uint32_t i = 0; entry && i < FG_RULES_MAX_LABELS; i++)
		if (!strcmp(entry->labels[i], label))
			return true;
	return false;
}

static uint32_t entries(void)
{
	return in_phase(FG_GENERATION_LIVE)->entry_count;
}

static void versions(const char *name, uint64_t from, uint64_t to, enum world_fault fault)
{
	for (uint64_t version = from; version <= to; version++)
		world_version(world, name, version, fault);
}

static void test_latest_two(void **state)
{
	uint64_t version;

	(void)state;
	world->rules[0].defaults.count = 2;
	versions("digits", 1, 3, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_true(entries() == 2 && loaded("digits", 2));
	assert_int_equal(world->flips, 1);
	world_version(world, "digits", 4, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 4);
	assert_true(entries() == 2 && loaded("digits", 3));
	assert_int_equal(world->packs, 3);
	/* One that fails leaves the two before it. */
	world_version(world, "digits", 5, WORLD_BAD_LOAD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 4);
	assert_true(entries() == 2 && loaded("digits", 3));
	/* The default goes back, what is loaded stays. */
	assert_int_equal(roll_back("digits", &version), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_true(entries() == 2 && loaded("digits", 4));
}

static void test_all(void **state)
{
	(void)state;
	world->rules[0].defaults.policy = FG_RULES_ALL;
	versions("digits", 1, 5, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(entries(), 5);
	assert_int_equal(world_live(world, "digits"), 5);
	/* Asked for by its number, or by default: the choice of a default needs no packing. */
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(entries(), 5);
	assert_int_equal(world->packs, 5);
	world_vanish(world, "digits", 4);
	world_run(world, 500);
	assert_true(entries() == 4 && !loaded("digits", 4));
	/* The whole store goes: what serves stays. */
	world->store.count = 0;
	world_run(world, 30000);
	assert_int_equal(entries(), 4);
	world_end_worker(world, in_phase(FG_GENERATION_LIVE)->slots[0], false);
	world_run(world, 500);
	assert_int_equal(entries(), 4);
}

static void test_specific(void **state)
{
	struct fg_rules_model *rule = add_rule(&world->rules[0], "digits", FG_RULES_SPECIFIC, 3);

	(void)state;
	rule->versions[0] = 2;
	rule->versions[1] = 4;
	rule->versions[2] = 9;
	versions("digits", 1, 5, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_true(loaded("digits", 2) && loaded("digits", 4) && loaded("fraud", 1));
	assert_int_equal(entries(), 3);
	assert_int_equal(world_live(world, "digits"), 4);
	assert_int_equal(promote("digits", 5), -EPERM);
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 2);
	world_version(world, "digits", 9, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 9);
	assert_int_equal(entries(), 4);
}

static void test_labels(void **state)
{
	struct fg_rules_model *rule = add_rule(&world->rules[0], "digits", FG_RULES_LATEST, 1);
	struct fg_rules *other;
	uint32_t packs;

	(void)state;
	add_label(rule, "stable", 1);
	add_label(rule, "canary", 3);
	add_label(rule, "best", 1);
	versions("digits", 1, 3, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_equal(entries(), 2); /* 1 for its label alone */
	assert_true(labelled("digits", 1, "stable") && labelled("digits", 1, "best"));
	assert_true(labelled("digits", 3, "canary") && !labelled("digits", 3, "stable"));
	/* Only the labels change: another generation, but nothing is packed. */
	packs = world->packs;
	other = other_rules();
	other->models[0].labels[0].version = 3;
	assert_int_equal(try_rules(), 0);
	world_run(world, 500);
	assert_int_equal(world_rollout(world)->trial.accepted, 1);
	assert_true(labelled("digits", 3, "stable") && !labelled("digits", 1, "stable"));
	assert_int_equal(world->packs, packs);
	assert_int_equal(entries(), 2);
}

/* One of several versions beside the default fails: the others serve. */
static void test_a_fault_beside_the_default(void **state)
{
	(void)state;
	world->rules[0].defaults.policy = FG_RULES_ALL;
	versions("digits", 1, 2, WORLD_GOOD);
	world_version(world, "digits", 3, WORLD_BAD_LOAD);
	versions("digits", 4, 5, WORLD_GOOD);
	world_run(world, 5000);
	assert_int_equal(world_live(world, "digits"), 5);
	assert_int_equal(entries(), 4);
	assert_non_null(fg_wanted_failure(model("digits"), 3, 0));
	for (uint64_t version = 1; version <= 5; version++)
		assert_true(version == 3 || !fg_wanted_failure(model("digits"), version, 0));
}

/* More versions fail than are remembered: it comes to an end with each policy. */
static void test_many_failures(void **state)
{
	uint32_t packs;

	(void)state;
	world->rules[0].defaults.policy = FG_RULES_ALL;
	versions("digits", 1, 30, WORLD_BAD_PACK);
	world_version(world, "digits", 31, WORLD_GOOD);
	world_run(world, 8000);
	assert_int_equal(world_live(world, "digits"), 31);
	packs = world->packs;
	world_run(world, 8000);
	assert_int_equal(world->packs, packs);
}

/* More versions than a generation has room for: each model has its default, the rest is cut. */
static void test_no_room_for_all(void **state)
{
	(void)state;
	world->rules[0].defaults.policy = FG_RULES_ALL;
	versions("a", 1, 40, WORLD_GOOD);
	versions("b", 1, 40, WORLD_GOOD);
	world_version(world, "c", 1, WORLD_GOOD);
	world_run(world, 5000);
	assert_int_equal(entries(), FG_ROLLOUT_MAX_MODELS);
	assert_int_equal(world_live(world, "a"), 40);
	assert_int_equal(world_live(world, "b"), 40);
	assert_int_equal(world_live(world, "c"), 1);
	world_version(world, "b", 41, WORLD_GOOD);
	world_version(world, "c", 2, WORLD_GOOD);
	world_run(world, 40000);
	assert_int_equal(world_live(world, "b"), 41);
	assert_int_equal(world_live(world, "c"), 2);
	for (uint32_t plan = 0, used = 0; plan < FG_ROLLOUT_MAX_PLANS; plan++) {
		used += world->seen.plans[plan].phase != FG_PLAN_FREE;
		assert_true(used <= FG_ROLLOUT_MAX_MODELS);
	}
}

/* A canary in between: the version is loaded already, only the default moves. */
static void test_canary_of_a_loaded_version(void **state)
{
	struct fg_canary_plan plan = steps(500, 1000, 10000, 0);
	uint32_t packs;

	(void)state;
	world->rules[0].defaults.count = 2;
	versions("digits", 1, 2, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 30000);
	packs = world->packs;
	assert_int_equal(canary("digits", 2, plan), 0);
	world_run(world, 300);
	assert_int_equal(world->weight, 1000);
	assert_int_equal(fg_rollout_entry(in_phase(FG_GENERATION_CANARY), "digits")->version, 2);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_true(loaded("digits", 2));
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_true(loaded("digits", 1));
	assert_int_equal(world->packs, packs);
}

/* A canary whose workers died must not be loaded beside the default. */
static void test_no_dead_canary_beside(void **state)
{
	(void)state;
	world->rules[0].defaults.policy = FG_RULES_MANUAL;
	versions("digits", 1, 1, WORLD_GOOD);
	world_run(world, 500);
	world_version(world, "digits", 2, WORLD_DIES);
	assert_int_equal(canary("digits", 2, steps(60000, 1000, 10000, 0)), 0);
	world_run(world, 20000);
	assert_int_equal(the_canary()->phase, FG_CANARY_FAILED);
	*other_rules() = world->rules[0];
	world->rules[1].defaults.policy = FG_RULES_ALL;
	assert_int_equal(try_rules(), 0);
	world_run(world, 20000);
	assert_int_equal(world_rollout(world)->trial.accepted, 1);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(entries(), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_latest_two),
		STORY(test_all),
		STORY(test_specific),
		STORY(test_labels),
		STORY(test_a_fault_beside_the_default),
		STORY(test_many_failures),
		STORY(test_no_room_for_all),
		STORY(test_canary_of_a_loaded_version),
		STORY(test_no_dead_canary_beside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
