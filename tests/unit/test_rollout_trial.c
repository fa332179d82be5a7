/* Reloads: all of the other rules goes live, or nothing changes. Each test is one story. */
#include <stdlib.h>
#include "tests/unit/rollout_story.h"

static const struct fg_rollout_trial *trial(void)
{
	return &world->rollout.trial;
}

static struct fg_rules_model *specific(struct fg_rules *rules, const char *name, uint64_t version)
{
	struct fg_rules_model *rule = add_rule(rules, name, FG_RULES_SPECIFIC, 1);

	rule->versions[0] = version;
	return rule;
}

static void serve_two_models(void)
{
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world_live(world, "fraud"), 1);
}

static void run_trial(void)
{
	assert_int_equal(try_rules(), 0);
	for (uint32_t i = 0; i < 130000 && trial()->active; i++)
		world_run(world, 1);
	assert_false(trial()->active);
}

/* Tries the other rules, which are refused for that reason; and then nothing has changed. */
static void check_refused(const char *why)
{
	struct fg_rollout_generation live = *in_phase(FG_GENERATION_LIVE);
	uint32_t rules = world->rollout.rules, accepted = trial()->accepted, flips = world->flips;
	struct fg_wanted before, after;

	fg_wanted_all(&world->rollout, &world->store, world_rules(world), &before);
	run_trial();
	assert_non_null(strstr(trial()->error, why));
	world_run(world, 30000);
	assert_int_equal(world->rollout.rules, rules);
	assert_int_equal(trial()->accepted, accepted);
	assert_memory_equal(in_phase(FG_GENERATION_LIVE), &live, sizeof(live));
	assert_int_equal(world->flips, flips);
	fg_wanted_all(&world->rollout, &world->store, world_rules(world), &after);
	assert_int_equal(before.count, after.count);
	assert_memory_equal(before.items, after.items, before.count * sizeof(before.items[0]));
	for (uint32_t phase = FG_GENERATION_STARTING; phase <= FG_GENERATION_SHADOW; phase++)
		if (phase != FG_GENERATION_LIVE)
			assert_null(in_phase(phase));
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		assert_true(world->seen.plans[i].phase == FG_PLAN_FREE ||
			    i == live.entries[0].plan || i == live.entries[1].plan);
}

static void test_accepted(void **state)
{
	(void)state;
	serve_two_models();
	specific(other_rules(), "digits", 1);
	run_trial();
	assert_string_equal(trial()->error, "");
	assert_int_equal(trial()->accepted, 1);
	assert_int_equal(world->rollout.rules, 1);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world_live(world, "fraud"), 1);
	assert_int_equal(world->flips, 2);
	/* The rules in force are these: */
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
}

/* The same rules again, or others that mean the same: accepted without a flip. */
static void test_nothing_new(void **state)
{
	(void)state;
	serve_two_models();
	add_rule(other_rules(), "digits", FG_RULES_LATEST, 1);
	assert_int_equal(try_rules(), 0);
	assert_int_equal(try_rules(), -EBUSY);
	world_run(world, 3);
	assert_int_equal(trial()->accepted, 1);
	assert_int_equal(world->flips, 1);
}

static void test_a_model_ends(void **state)
{
	struct fg_rules *rules;

	(void)state;
	serve_two_models();
	rules = other_rules();
	rules->repository[0] = '\0';
	add_rule(rules, "digits", FG_RULES_LATEST, 1);
	run_trial();
	assert_int_equal(trial()->accepted, 1);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world_live(world, "fraud"), 0);
	assert_int_equal(world->packs, 2);
	world_run(world, 40000);
	assert_int_equal(world->drops, 1);
	/* And comes back. */
	rules = other_rules();
	add_rule(rules, "fraud", FG_RULES_LATEST, 1);
	run_trial();
	assert_int_equal(trial()->accepted, 2);
	assert_int_equal(world_live(world, "fraud"), 1);
}

static void test_no_such_version(void **state)
{
	(void)state;
	serve_two_models();
	specific(other_rules(), "digits", 7);
	check_refused("model digits version 7: there is no such version");
}

static void test_still_copied(void **state)
{
	(void)state;
	serve_two_models();
	world_version(world, "digits", 3, WORLD_GOOD)->complete = false;
	specific(other_rules(), "digits", 3);
	check_refused("model digits version 3: is still being copied");
}

/* It appears while the trial waits. */
static void test_copied_in_time(void **state)
{
	(void)state;
	serve_two_models();
	specific(other_rules(), "digits", 7);
	assert_int_equal(try_rules(), 0);
	world_run(world, 2000);
	world_version(world, "digits", 7, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(trial()->accepted, 1);
	assert_int_equal(world_live(world, "digits"), 7);
}

static void test_no_such_label(void **state)
{
	(void)state;
	serve_two_models();
	add_label(add_rule(other_rules(), "digits", FG_RULES_LATEST, 1), "best", 9);
	check_refused("model digits version 9: there is no such version");
}

static void test_no_such_model(void **state)
{
	(void)state;
	serve_two_models();
	add_rule(other_rules(), "nobody", FG_RULES_LATEST, 1);
	check_refused("model nobody: no complete version that works in its folder");
}

static void test_nothing_at_all(void **state)
{
	(void)state;
	serve_two_models();
	other_rules()->repository[0] = '\0';
	check_refused("no model of this configuration has a complete version");
}

static void test_pack_fails(void **state)
{
	(void)state;
	serve_two_models();
	world_version(world, "digits", 1, WORLD_BAD_PACK);
	specific(other_rules(), "digits", 1);
	check_refused("model digits version 1: the packer says no");
}

static void test_load_fails(void **state)
{
	(void)state;
	serve_two_models();
	world_version(world, "digits", 1, WORLD_BAD_LOAD);
	specific(other_rules(), "digits", 1);
	check_refused("model digits version 1: the worker says no");
}

/* Two models change and one fails: neither goes live. */
static void test_one_of_two_fails(void **state)
{
	struct fg_rules *rules;

	(void)state;
	serve_two_models();
	world_version(world, "digits", 1, WORLD_GOOD);
	world->rules[0].defaults.policy = FG_RULES_MANUAL;
	world_version(world, "fraud", 2, WORLD_BAD_LOAD);
	rules = other_rules();
	specific(rules, "digits", 1);
	specific(rules, "fraud", 2);
	check_refused("the worker says no");
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_never_ready(void **state)
{
	(void)state;
	serve_two_models();
	world_version(world, "digits", 1, WORLD_NEVER_READY);
	specific(other_rules(), "digits", 1);
	check_refused("model digits version 1: its workers were not ready after 60 s");
}

static void test_never_packed(void **state)
{
	(void)state;
	serve_two_models();
	specific(other_rules(), "digits", 1);
	assert_int_equal(try_rules(), 0);
	world_run(world, 2);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING)
			world->plans[i].ready_ns = world->now_ns + 130000 * WORLD_MS;
	world_run(world, 119000);
	assert_true(trial()->active);
	world_run(world, 2000);
	assert_string_equal(trial()->error, "it was not live after 120 s");
	world_run(world, 30000);
	assert_int_equal(world->flips, 1);
	assert_int_equal(world_live(world, "digits"), 2);
}

/* The failure of a version that these rules do not name does not matter to them. */
static void test_another_fails_meanwhile(void **state)
{
	(void)state;
	serve_two_models();
	world_version(world, "digits", 3, WORLD_BAD_LOAD);
	run_until(FG_GENERATION_STARTING);
	specific(other_rules(), "digits", 1);
	run_trial();
	assert_string_equal(trial()->error, "");
	assert_int_equal(world_live(world, "digits"), 1);
}

/* What was started before, by the old rules, must not stand for the trial. */
static void test_start_before(void **state)
{
	(void)state;
	serve_two_models();
	world->start_ms = 200;
	for (uint64_t version = 3; version < 7; version++) {
		world_version(world, "digits", version, WORLD_GOOD);
		world_run(world, 100);
	}
	assert_non_null(in_phase(FG_GENERATION_STARTING));
	specific(other_rules(), "digits", 1);
	run_trial();
	assert_string_equal(trial()->error, "");
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world->rollout.rules, 1);
}

/* Refused when its generation is ready: it does not go live, also not because several starts were
 * lost before. */
static void test_refused_when_ready(void **state)
{
	struct fg_rules *rules;

	(void)state;
	serve_two_models();
	world->start_ms = 200;
	for (uint64_t version = 3; version < 9; version++) {
		world_version(world, "digits", version, WORLD_GOOD);
		world_run(world, 60);
	}
	rules = other_rules();
	specific(rules, "digits", 1);
	add_rule(rules, "fraud", FG_RULES_LATEST, 1);
	world_version(world, "words", 1, WORLD_GOOD); /* wanted by both */
	assert_int_equal(try_rules(), 0);
	world_run(world, 200);
	assert_non_null(fg_rollout_version(in_phase(FG_GENERATION_STARTING), "digits", 1));
	world_version(world, "fraud", 2, WORLD_BAD_PACK);
	world_run(world, 2);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING)
			world->plans[i].ready_ns = world->now_ns + 500 * WORLD_MS;
	for (uint32_t i = 0; i < 2000; i++) {
		world_run(world, 1);
		assert_int_not_equal(world_live(world, "digits"), 1);
	}
	assert_non_null(strstr(trial()->error, "model fraud version 2: the packer says no"));
	assert_int_equal(world_live(world, "digits"), 8);
}

static void test_rollback_comes_first(void **state)
{
	uint64_t version;

	(void)state;
	serve_two_models();
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 500);
	specific(other_rules(), "digits", 2);
	world->rules[1].repository[0] = '\0';
	world->start_ms = 500;
	world_end_worker(world, in_phase(FG_GENERATION_KEPT)->slots[0], false);
	assert_int_equal(try_rules(), 0);
	run_until(FG_GENERATION_STARTING);
	assert_int_equal(promote("digits", 1), -EPERM);
	assert_int_equal(promote("digits", 2), -EBUSY);
	assert_int_equal(canary("digits", 2, steps(100, 100, 10000, 0)), -EBUSY);
	assert_int_equal(fg_wanted_rollback(&world->rollout, &world->store,
					    &world->rules[world->rollout.rules], "digits",
					    &version),
			 0);
	assert_int_equal(version, 2);
	assert_string_equal(trial()->error, "a rollback came first");
	world_run(world, 2000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world_live(world, "fraud"), 1);
	assert_int_equal(world->rollout.rules, 0);
	assert_int_equal(trial()->accepted, 0);
}

/* LIVE dies in a loop meanwhile, and is flipped out: that is not what was tried. */
static void test_flipped_out_meanwhile(void **state)
{
	(void)state;
	world->config.keep_ms = 600000;
	serve_two_models();
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 500);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
	world_version(world, "digits", 1, WORLD_NEVER_READY);
	specific(other_rules(), "digits", 1);
	assert_int_equal(try_rules(), 0);
	world->doomed = in_phase(FG_GENERATION_LIVE)->id;
	for (uint32_t w = 0; w < 2; w++)
		world->workers[in_phase(FG_GENERATION_LIVE)->slots[w]].dies_ns = world->now_ns;
	world_run(world, 3000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_int_equal(trial()->accepted, 0);
	assert_int_equal(world->rollout.rules, 0);
	world_run(world, 130000);
	assert_false(trial()->active);
	assert_int_equal(trial()->accepted, 0);
	assert_int_equal(world_live(world, "digits"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_accepted),
		STORY(test_nothing_new),
		STORY(test_a_model_ends),
		STORY(test_no_such_version),
		STORY(test_still_copied),
		STORY(test_copied_in_time),
		STORY(test_no_such_label),
		STORY(test_no_such_model),
		STORY(test_nothing_at_all),
		STORY(test_pack_fails),
		STORY(test_load_fails),
		STORY(test_one_of_two_fails),
		STORY(test_never_ready),
		STORY(test_never_packed),
		STORY(test_another_fails_meanwhile),
		STORY(test_start_before),
		STORY(test_refused_when_ready),
		STORY(test_rollback_comes_first),
		STORY(test_flipped_out_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
