/* An interface that comes back: those that serve are replaced by their like, with its sockets. Each
 * test is one story. */
#include "tests/unit/rollout_story.h"

static uint32_t attachment_of(const struct fg_rollout_generation *generation)
{
	return world->seen.slots[generation->slots[0]].attachment;
}

static void serve(void)
{
	world->seen.attachment = 1;
	world->config.keep_ms = 600000;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 1);
}

static void test_loss_replaces_nobody(void **state)
{
	(void)state;
	serve();
	world->seen.attachment = 0;
	world_run(world, 30000);
	assert_int_equal(world->spawns, 2);
	/* The same sockets again: they took the program off, no more. */
	world->seen.attachment = 1;
	world_run(world, 30000);
	assert_int_equal(world->spawns, 2);
}

static void test_renewal(void **state)
{
	(void)state;
	serve();
	set_flows(5);
	world->seen.attachment = 2;
	world_run(world, 300);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 2);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 2);
	assert_int_equal(in_phase(FG_GENERATION_DRAINING)->id, 1);
	assert_int_equal(world->packs, 1);
	assert_int_equal(model("digits")->previous, 0);
	/* What was replaced by its like is no use for a rollback. */
	set_flows(0);
	world_run(world, 8000);
	assert_null(in_phase(FG_GENERATION_DRAINING));
	assert_null(in_phase(FG_GENERATION_KEPT));
	assert_int_equal(world->spawns, 4);
	assert_int_equal(world->kills, 0);
}

static void test_renewal_keeps_the_way_back(void **state)
{
	uint64_t version;

	(void)state;
	serve();
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 12000);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
	world->seen.attachment = 2;
	world_run(world, 12000);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 3);
	assert_int_equal(in_phase(FG_GENERATION_KEPT)->id, 1);
	/* At once, by what is there; and then by workers that have sockets. */
	assert_int_equal(roll_back("digits", &version), 0);
	world_step(world, UINT32_MAX);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, 1);
	world_run(world, 12000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 2);
	assert_int_equal(world->packs, 2);
}

static void test_comes_during_a_start(void **state)
{
	(void)state;
	serve();
	world_version(world, "digits", 2, WORLD_GOOD);
	while (!in_phase(FG_GENERATION_STARTING) || !world->seen.slots[3].pid)
		world_run(world, 1);
	world->seen.attachment = 2;
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 2);
	assert_int_equal(model("digits")->previous, 1);
}

/* It went again: nobody waits for sockets that nobody can have. */
static void test_goes_during_a_renewal(void **state)
{
	(void)state;
	serve();
	world->seen.attachment = 2;
	while (!in_phase(FG_GENERATION_STARTING))
		world_run(world, 1);
	world->seen.attachment = 0;
	world_run(world, 8000);
	assert_null(in_phase(FG_GENERATION_STARTING));
	assert_null(in_phase(FG_GENERATION_DRAINING));
	world->seen.attachment = 3;
	world_run(world, 8000);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 3);
	assert_null(in_phase(FG_GENERATION_DRAINING));
}

static void test_waits_for_a_canary(void **state)
{
	(void)state;
	serve();
	world_version(world, "digits", 2, WORLD_GOOD);
	assert_int_equal(canary("digits", 2, steps(20000, 1000, 10000, 0)), 0);
	world_run(world, 2000);
	assert_non_null(in_phase(FG_GENERATION_CANARY));
	world->seen.attachment = 2;
	world_run(world, 2000);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 1);
	world_run(world, 60000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_int_equal(attachment_of(in_phase(FG_GENERATION_LIVE)), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(test_loss_replaces_nobody),	STORY(test_renewal),
		STORY(test_renewal_keeps_the_way_back), STORY(test_comes_during_a_start),
		STORY(test_goes_during_a_renewal),	STORY(test_waits_for_a_canary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
