/* Packers and memory, a few at a time: who is packed next, who gives way, what does not fit. */
#include "tests/unit/rollout_story.h"

#define MIB 1048576ull

static struct fg_rollout_served served;

static bool packs(const char *name, uint64_t version)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING &&
		    world->seen.plans[i].version == version &&
		    !strcmp(world->seen.plans[i].model, name))
			return true;
	return false;
}

static uint32_t packers(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		count += world->seen.plans[i].phase == FG_PLAN_PACKING;
	return count;
}

/* Models whose packers do not end, before others by name. */
static void add_hostile(uint32_t count)
{
	char name[16];

	for (uint32_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "hang%u", i);
		world_version(world, name, 1, WORLD_HANGS);
	}
}

/* How long until that version serves; fails after a minute. */
static uint32_t ms_until_live(const char *name, uint64_t version)
{
	for (uint32_t ms = 0; ms < 60000; ms += 10) {
		if (world_live(world, name) == version)
			return ms;
		world_run(world, 10);
	}
	fail_msg("%s %u does not serve", name, (unsigned)version);
	return 0;
}

static const char *error_of(const char *name, uint64_t version)
{
	const struct fg_rollout_failure *failure = fg_wanted_failure(model(name), version, 0);

	return failure ? failure->error : "";
}

static void set_memory(uint64_t limit_mib, uint64_t base_mib, uint64_t worker_mib)
{
	world->seen.memory =
		(struct fg_rollout_memory){limit_mib * MIB, base_mib * MIB, worker_mib * MIB};
}

static void add_sized(const char *name, uint64_t version, uint64_t plan_mib)
{
	world_size(world, world_version(world, name, version, WORLD_GOOD), plan_mib * MIB);
}

/* ---- fairness ---- */

static void four_that_hang_delay_nobody(void **state)
{
	(void)state;
	add_hostile(4);
	world_version(world, "good", 1, WORLD_GOOD);
	assert_in_range(ms_until_live("good", 1), 0, 5000);
	world_run(world, 10000);
	world_version(world, "good", 2, WORLD_GOOD);
	assert_in_range(ms_until_live("good", 2), 0, 500); /* nor is gathered for them */
}

/* However many hang, and however often they were tried. */
static void many_that_hang_delay_nobody(void **state)
{
	(void)state;
	add_hostile(20);
	world_version(world, "good", 1, WORLD_GOOD);
	assert_in_range(ms_until_live("good", 1), 0, 15000);
	for (uint64_t version = 2; version < 6; version++) {
		world_run(world, 20000);
		world_version(world, "good", version, WORLD_GOOD);
		assert_in_range(ms_until_live("good", version), 0,
				500 + (FG_ROLLOUT_PACK_NS + FG_ROLLOUT_GATHER_NS) / WORLD_MS);
	}
}

static void retries_leave_a_packer_free(void **state)
{
	(void)state;
	add_hostile(10);
	world_run(world, 10000);
	for (uint32_t ms = 0; ms < 60000; ms += 100) {
		world_run(world, 100);
		assert_in_range(packers(), 0, FG_ROLLOUT_MAX_PACKING - 1);
	}
}

/* Time grows until a minute is over: then it has failed, and nobody waits for it any more. */
static void one_that_hangs_fails_in_the_end(void **state)
{
	(void)state;
	add_hostile(6);
	world_run(world, 420000);
	for (uint32_t i = 0; i < 6; i++) {
		char name[16];

		snprintf(name, sizeof(name), "hang%u", i);
		assert_string_equal(error_of(name, 1), "the packer says no");
	}
	assert_int_equal(packers(), 0);
}

static void alone_it_has_its_minute(void **state)
{
	(void)state;
	add_hostile(4);
	world_run(world, 59000);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING)
			assert_true(world->now_ns - world->seen.plans[i].since_ns >
				    58000 * WORLD_MS);
	assert_int_equal(packers(), 4);
}

/* A model with many versions has no more of the packers than others. */
static void models_share(void **state)
{
	(void)state;
	add_rule(&world->rules[0], "hang", FG_RULES_ALL, 0);
	for (uint64_t version = 1; version <= 20; version++)
		world_version(world, "hang", version, WORLD_HANGS);
	world_run(world, 1000);
	world_version(world, "good", 1, WORLD_GOOD);
	assert_in_range(ms_until_live("good", 1), 0,
			500 + (FG_ROLLOUT_PACK_NS + FG_ROLLOUT_GATHER_NS) / WORLD_MS);
}

/* ---- a start ---- */

static void remember(const char *name, uint64_t version)
{
	snprintf(served.list[served.count].model, sizeof(served.list[0].model), "%s", name);
	served.list[served.count++].version = version;
	world->seen.served = &served;
}

static void what_served_last_comes_first(void **state)
{
	(void)state;
	served.count = 0;
	add_hostile(20);
	world_version(world, "served", 1, WORLD_GOOD);
	remember("served", 1);
	world_run(world, 2);
	assert_true(packs("served", 1));
	assert_in_range(ms_until_live("served", 1), 0, 500 + FG_ROLLOUT_GATHER_NS / WORLD_MS);
}

/* Its newest version hangs: until that is known, what served serves. */
static void the_version_that_served_bridges(void **state)
{
	(void)state;
	served.count = 0;
	world_version(world, "digits", 3, WORLD_GOOD);
	world_version(world, "digits", 4, WORLD_HANGS);
	remember("digits", 3);
	assert_in_range(ms_until_live("digits", 3), 0, 500 + FG_ROLLOUT_GATHER_NS / WORLD_MS);
	world_run(world, 1000);
	assert_true(packs("digits", 4));
	world_version(world, "digits", 4, WORLD_GOOD);
	world_run(world, 65000);
	assert_int_equal(world_live(world, "digits"), 4);
}

/* ---- memory ---- */

/* What does not fit is refused with the sum, whatever order it came in; what serves goes on. */
static void what_does_not_fit_is_refused(void **state)
{
	char name[16];
	uint32_t live = 0, refused = 0;

	(void)state;
	set_memory(1536, 200, 24);
	add_sized("good", 1, 1);
	for (uint32_t i = 0; i < 14; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		add_sized(name, 1, 104);
	}
	world_run(world, 60000);
	for (uint32_t i = 0; i < 14; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		live += world_live(world, name) == 1;
		refused += strstr(error_of(name, 1), "out of memory: ") != NULL;
	}
	assert_int_equal(world_live(world, "good"), 1);
	assert_int_equal(live + refused, 14);
	assert_in_range(live, 8, 12);
}

/* One that would be too large is not even packed to its end. */
static void too_large_to_pack(void **state)
{
	(void)state;
	set_memory(1024, 100, 24);
	add_sized("good", 1, 10);
	add_sized("huge", 1, 800);
	world_run(world, 20000);
	assert_int_equal(world_live(world, "good"), 1);
	assert_int_equal(world_live(world, "huge"), 0);
	assert_non_null(strstr(error_of("huge", 1), "out of memory: to pack it takes more than"));
	assert_int_equal(world->packs, 4); /* with its part, with half of all, with all */
}

/* One that needs more than its part gets more, but not at the cost of others' turn. */
static void a_large_one_is_packed_at_the_second_try(void **state)
{
	(void)state;
	set_memory(1024, 100, 24);
	add_sized("large", 1, 90);
	world_run(world, 10000);
	assert_int_equal(world_live(world, "large"), 1);
	assert_int_equal(world->packs, 2);
}

static void kept_plans_give_way(void **state)
{
	(void)state;
	set_memory(700, 100, 24);
	world->config.keep_ms = 600000;
	add_sized("digits", 1, 40);
	world_run(world, 5000);
	add_sized("digits", 2, 40);
	world_run(world, 20000);
	assert_int_equal(world_live(world, "digits"), 2);
	assert_non_null(in_phase(FG_GENERATION_KEPT));
	for (uint64_t version = 3; version < 9; version++) {
		add_sized("digits", version, 40);
		world_run(world, 20000);
		assert_int_equal(world_live(world, "digits"), version);
	}
	add_sized("digits", 9, 100);
	world_run(world, 40000);
	assert_string_equal(error_of("digits", 9), "");
	assert_int_equal(world_live(world, "digits"), 9);
}

/* Nothing is left for a packer: refused before it is packed, and what serves goes on. */
static void nothing_left_to_pack_with(void **state)
{
	(void)state;
	set_memory(400, 100, 24);
	add_sized("digits", 1, 15);
	world_run(world, 5000);
	assert_int_equal(world_live(world, "digits"), 1);
	world->seen.memory.base_bytes = 240 * MIB;
	add_sized("digits", 2, 15);
	world_run(world, 10000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_non_null(strstr(error_of("digits", 2), "to pack it takes"));
	assert_int_equal(world->packs, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(four_that_hang_delay_nobody),
		STORY(many_that_hang_delay_nobody),
		STORY(retries_leave_a_packer_free),
		STORY(one_that_hangs_fails_in_the_end),
		STORY(alone_it_has_its_minute),
		STORY(models_share),
		STORY(what_served_last_comes_first),
		STORY(the_version_that_served_bridges),
		STORY(what_does_not_fit_is_refused),
		STORY(too_large_to_pack),
		STORY(a_large_one_is_packed_at_the_second_try),
		STORY(kept_plans_give_way),
		STORY(nothing_left_to_pack_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
