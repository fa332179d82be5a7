/* Canaries: steps, holds, the operator's verbs, deaths. Each test is one story. */
#include "tests/unit/rollout_story.h"

/* Runs until the table has that weight; returns when it got it. */
static uint64_t run_to_weight(uint32_t weight)
{
	for (uint32_t i = 0; i < 20000 && world->weight != weight; i++)
		world_run(world, 1);
	assert_int_equal(world->weight, weight);
	return world->now_ns;
}

static void run_to_end(enum fg_canary_phase phase)
{
	for (uint32_t i = 0; i < 20000 && fg_canary_active(the_canary()); i++)
		world_run(world, 1);
	assert_int_equal(the_canary()->phase, phase);
}

/* The canary is over, in one flip, and nothing else has changed. */
static void check_rolled_back(uint32_t live, uint32_t flips)
{
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, live);
	assert_int_equal(world->flips, flips + 1);
	assert_int_equal(world->canary, 0);
	assert_null(in_phase(FG_GENERATION_CANARY));
	world_run(world, 60000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, live);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(world->flips, flips + 1);
	assert_null(in_phase(FG_GENERATION_KEPT));
}

/* A flow that is in at one step is in at the next, in the same worker. */
static void check_nested(const struct fg_table *before, uint64_t canaries, uint32_t weight)
{
	uint32_t in = 0;

	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++) {
		in += canaries >> world->table.slot[i] & 1;
		if (canaries >> before->slot[i] & 1)
			assert_int_equal(world->table.slot[i], before->slot[i]);
	}
	assert_int_equal(in, fg_maglev_share(weight));
}

static void test_steps(void **state)
{
	static const uint32_t weights[] = {100, 500, 2500};
	struct fg_canary_plan plan = steps(1000, 100, 500, 2500);
	static struct fg_table before;
	uint64_t at_ns, last_ns = 0;
	uint32_t from;

	(void)state;
	plan.steps[plan.step_count++] = FG_CANARY_WHOLE;
	world->real_tables = true;
	serve_one_of_two();
	before = world->table;
	from = world->flips;
	set_flows(1);
	assert_int_equal(canary("digits", 2, plan), 0);
	assert_int_equal(the_canary()->phase, FG_CANARY_STARTING);
	for (uint32_t i = 0; i < 3; i++) {
		at_ns = run_to_weight(weights[i]);
		check_nested(&before, world->canary, weights[i]);
		before = world->table;
		assert_int_equal(the_canary()->step, i);
		assert_int_equal(world_rollout(world)->flip.weight, weights[i]);
		assert_int_equal(world_rollout(world)->flip.canary,
				 in_phase(FG_GENERATION_CANARY)->id);
		if (i)
			assert_in_range(at_ns - last_ns, 1000 * WORLD_MS, 1002 * WORLD_MS);
		last_ns = at_ns;
	}
	run_to_end(FG_CANARY_DONE);
	check_nested(&before, world->stable, FG_CANARY_WHOLE);
	assert_int_equal(world->flips, from + 4);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(model("digits")->previous, 1);
	assert_non_null(in_phase(FG_GENERATION_DRAINING));
	world_run(world, 40000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world->flips, from + 4);
}

static void test_from_memory(void **state)
{
	uint32_t spawns, packs;

	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 1000);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
	spawns = world->spawns;
	packs = world->packs;
	assert_int_equal(canary("digits", 2, steps(1000, 100, 10000, 0)), 0);
	world_run(world, 1);
	assert_int_equal(world->weight, 100);
	run_to_end(FG_CANARY_DONE);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	assert_true(world->spawns == spawns && world->packs == packs);
}

static void test_pause_keeps_the_time_held(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(1000, 100, 500, 10000)), 0);
	run_to_weight(100);
	world_run(world, 400);
	assert_int_equal(fg_canary_pause(&world->rollout, "digits", world->now_ns), 0);
	assert_int_equal(fg_canary_pause(&world->rollout, "fraud", world->now_ns), -ENOENT);
	world_run(world, 5000);
	assert_int_equal(fg_canary_pause(&world->rollout, "digits", world->now_ns), 0);
	assert_int_equal(the_canary()->phase, FG_CANARY_PAUSED);
	assert_int_equal(world->weight, 100);
	assert_int_equal(fg_canary_resume(&world->rollout, "digits", world->now_ns), 0);
	world_run(world, 300);
	assert_int_equal(fg_canary_resume(&world->rollout, "digits", world->now_ns), 0);
	world_run(world, 290);
	assert_int_equal(world->weight, 100);
	world_run(world, 15);
	assert_int_equal(world->weight, 500);
}

/* Paused while it starts: it gets ready, and no flow until it is resumed, however late. */
static void test_paused_while_starting(void **state)
{
	uint32_t flips;

	(void)state;
	serve_one_of_two();
	flips = world->flips;
	assert_int_equal(canary("digits", 2, steps(1000, 100, 10000, 0)), 0);
	run_until(FG_GENERATION_STARTING);
	assert_int_equal(fg_canary_pause(&world->rollout, "digits", world->now_ns), 0);
	world_run(world, 300000);
	assert_int_equal(the_canary()->phase, FG_CANARY_PAUSED);
	assert_int_equal(world->flips, flips);
	assert_non_null(in_phase(FG_GENERATION_STARTING));
	assert_int_equal(fg_canary_resume(&world->rollout, "digits", world->now_ns), 0);
	world_run(world, 1);
	assert_int_equal(world->weight, 100);
	run_to_end(FG_CANARY_DONE);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_last_step_below_all_stays(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(100, 100, 3000, 0)), 0);
	run_to_weight(3000);
	world_run(world, 100000);
	assert_int_equal(the_canary()->phase, FG_CANARY_RUNNING);
	assert_int_equal(world->weight, 3000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(fg_canary_finish(&world->rollout, "digits"), 0);
	world_run(world, 1);
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_abort(void **state)
{
	uint32_t live, flips;

	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(1000, 100, 500, 10000)), 0);
	run_to_weight(500);
	live = in_phase(FG_GENERATION_LIVE)->id;
	flips = world->flips;
	assert_int_equal(fg_canary_abort(&world->rollout, "fraud", "", world->now_ns), -ENOENT);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "enough", world->now_ns), 0);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "again", world->now_ns), 0);
	assert_string_equal(the_canary()->reason, "enough");
	assert_int_equal(the_canary()->phase, FG_CANARY_ABORTED);
	world_run(world, 1);
	check_rolled_back(live, flips);
	/* Until there is a newer one. */
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
}

/* Another one is begun in the moment that it is aborted: it must not get the first one's flows. */
static void test_another_at_once(void **state)
{
	struct fg_canary_plan plan = steps(1000, 100, 10000, 0);
	uint32_t first;

	(void)state;
	serve_one_of_two();
	world_version(world, "digits", 3, WORLD_GOOD)->complete = false;
	assert_int_equal(canary("digits", 2, plan), 0);
	run_to_weight(100);
	first = in_phase(FG_GENERATION_CANARY)->id;
	world_version(world, "digits", 3, WORLD_GOOD);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "", world->now_ns), 0);
	assert_int_equal(canary("digits", 3, plan), 0);
	world_run(world, 1);
	assert_null(in_phase(FG_GENERATION_CANARY));
	run_to_end(FG_CANARY_DONE);
	assert_int_equal(world_live(world, "digits"), 3);
	assert_int_not_equal(in_phase(FG_GENERATION_LIVE)->id, first);
	/* The same again: from memory, and from its first step. */
	assert_int_equal(canary("digits", 1, steps(100000, 50, 60, 0)), 0);
	run_to_weight(50);
	first = in_phase(FG_GENERATION_CANARY)->id;
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "", world->now_ns), 0);
	assert_int_equal(canary("digits", 1, steps(100000, 70, 80, 0)), 0);
	world_run(world, 1);
	assert_int_equal(in_phase(FG_GENERATION_CANARY)->id, first);
	assert_int_equal(world->weight, 70);
}

/* Aborted before a table named it: it just ends. */
static void test_abort_while_starting(void **state)
{
	uint32_t flips;

	(void)state;
	serve_one_of_two();
	flips = world->flips;
	assert_int_equal(canary("digits", 2, steps(1000, 100, 0, 0)), 0);
	run_until(FG_GENERATION_STARTING);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "no", world->now_ns), 0);
	world_run(world, 10000);
	assert_int_equal(world->flips, flips);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_null(in_phase(FG_GENERATION_STARTING));
	assert_null(in_phase(FG_GENERATION_RETIRING));
}

static void test_finish(void **state)
{
	uint32_t flips;

	(void)state;
	serve_one_of_two();
	assert_int_equal(fg_canary_finish(&world->rollout, "digits"), -ENOENT);
	assert_int_equal(canary("digits", 2, steps(100000, 100, 500, 10000)), 0);
	run_to_weight(100);
	flips = world->flips;
	assert_int_equal(fg_canary_pause(&world->rollout, "digits", world->now_ns), 0);
	assert_int_equal(promote("digits", 2), 0);
	world_run(world, 1);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world->flips, flips + 1);
}

static void test_finish_while_starting(void **state)
{
	uint32_t flips;

	(void)state;
	serve_one_of_two();
	flips = world->flips;
	assert_int_equal(canary("digits", 2, steps(100000, 100, 500, 10000)), 0);
	run_until(FG_GENERATION_STARTING);
	assert_int_equal(fg_canary_pause(&world->rollout, "digits", world->now_ns), 0);
	assert_int_equal(fg_canary_finish(&world->rollout, "digits"), 0);
	run_to_end(FG_CANARY_DONE);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(world->flips, flips + 1);
}

/* The operator wants an old version: the newer one on disk must not take over at once. */
static void test_back_by_canary(void **state)
{
	(void)state;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(canary("digits", 1, steps(100, 1000, 10000, 0)), 0);
	run_to_end(FG_CANARY_DONE);
	world_run(world, 60000);
	assert_int_equal(world_live(world, "digits"), 1);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
}

static void test_refusals(void **state)
{
	struct fg_canary_plan plan = steps(100000, 100, 10000, 0);
	uint64_t version;

	(void)state;
	assert_int_equal(canary("digits", 2, plan), -ENOENT);
	serve_one_of_two();
	world_version(world, "digits", 3, WORLD_GOOD)->complete = false;
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(canary("digits", 1, plan), -EALREADY);
	assert_int_equal(canary("digits", 3, plan), -ENOENT);
	assert_int_equal(canary("digits", 9, plan), -ENOENT);
	assert_int_equal(canary("nobody", 1, plan), -ENOENT);
	assert_int_equal(canary("digits", 2, plan), 0);
	run_to_weight(100);
	world_version(world, "fraud", 2, WORLD_GOOD);
	assert_int_equal(canary("digits", 2, plan), 0);
	assert_int_equal(canary("digits", 2, steps(1, 9999, 0, 0)), -EBUSY);
	assert_int_equal(the_canary()->plan.steps[0], 100);
	assert_int_equal(canary("fraud", 2, plan), -EBUSY);
	assert_int_equal(shadow("fraud", 2, 100), -EBUSY);
	assert_int_equal(promote("fraud", 2), -EBUSY);
	assert_int_equal(promote("digits", 1), -EBUSY);
	assert_int_equal(roll_back("digits", &version), -EBUSY);
	assert_int_equal(try_rules(), -EBUSY);
	/* Others wait for its end. */
	world_run(world, 30000);
	assert_int_equal(world_live(world, "fraud"), 1);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "", world->now_ns), 0);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "fraud"), 2);
	assert_int_equal(world_live(world, "digits"), 1);
}

/* A rollback of another model cannot wait for its end. */
static void test_rollback_of_another(void **state)
{
	uint64_t version;

	(void)state;
	serve_one_of_two();
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 300);
	world_version(world, "fraud", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "fraud"), 2);
	assert_int_equal(canary("digits", 2, steps(100000, 100, 10000, 0)), 0);
	run_to_weight(100);
	assert_int_equal(roll_back("fraud", &version), 0);
	assert_int_equal(the_canary()->phase, FG_CANARY_ABORTED);
	assert_string_equal(the_canary()->reason, "a rollback of fraud came first");
	world_run(world, 1);
	assert_int_equal(world_live(world, "fraud"), 1);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 1);
}

/* What the policy does not name could not stay. */
static void test_refused_by_policy(void **state)
{
	struct fg_rules_model *rule = add_rule(&world->rules[0], "digits", FG_RULES_SPECIFIC, 1);

	(void)state;
	rule->versions[0] = 1;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(promote("digits", 2), -EPERM);
	assert_int_equal(canary("digits", 2, steps(100, 100, 10000, 0)), -EPERM);
}

static void test_smaller_side_dozes(void **state)
{
	(void)state;
	serve_one_of_two();
	assert_int_equal(canary("digits", 2, steps(1000, 5000, 5010, 10000)), 0);
	run_to_weight(5000);
	world_run(world, 10);
	assert_int_equal(world->stable, 3 << 2);
	for (uint32_t slot = 0; slot < 2; slot++) {
		assert_int_equal(world->seen.slots[slot].order, FG_ORDER_DOZE);
		assert_int_equal(world->seen.slots[slot].urgent, 1);
		assert_int_equal(world->seen.slots[slot + 2].order, FG_ORDER_SERVE);
	}
	run_to_weight(5010);
	world_run(world, 10);
	for (uint32_t slot = 0; slot < 2; slot++) {
		assert_int_equal(world->seen.slots[slot].order, FG_ORDER_SERVE);
		assert_int_equal(world->seen.slots[slot].urgent, 0);
		assert_int_equal(world->seen.slots[slot + 2].order, FG_ORDER_DOZE);
	}
	set_flows(1);
	run_to_end(FG_CANARY_DONE);
	world_run(world, 10);
	for (uint32_t slot = 0; slot < 2; slot++) {
		assert_int_equal(world->seen.slots[slot].order, FG_ORDER_SERVE);
		assert_int_equal(world->seen.slots[slot + 2].order, FG_ORDER_DRAIN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_steps),
		STORY(test_from_memory),
		STORY(test_pause_keeps_the_time_held),
		STORY(test_paused_while_starting),
		STORY(test_last_step_below_all_stays),
		STORY(test_abort),
		STORY(test_another_at_once),
		STORY(test_abort_while_starting),
		STORY(test_finish),
		STORY(test_finish_while_starting),
		STORY(test_back_by_canary),
		STORY(test_refusals),
		STORY(test_rollback_of_another),
		STORY(test_refused_by_policy),
		STORY(test_smaller_side_dozes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
