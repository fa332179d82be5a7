/* Where the memory goes: each part, what is left, what packers get, and the sum in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "sched/budget.h"
#include "userspace/daemon/memory.h"

#define MIB 1048576ull

static struct fg_rollout rollout;
static struct fg_rollout_observed observed;
static const struct fg_rollout_config config = {.worker_count = 2};
static struct fg_budget budget;

static int reset(void **state)
{
	(void)state;
	memset(&rollout, 0, sizeof(rollout));
	memset(&observed, 0, sizeof(observed));
	observed.memory = (struct fg_rollout_memory){1000 * MIB, 100 * MIB, 20 * MIB};
	return 0;
}

static void add_plan(uint32_t plan, uint64_t mib)
{
	observed.plans[plan].phase = FG_PLAN_READY;
	observed.plans[plan].bytes = mib * MIB;
}

/* A generation of two workers and the plans `first` to `last`. */
static void add_generation(uint32_t at, enum fg_generation_phase phase, uint32_t first,
			   uint32_t last)
{
	struct fg_rollout_generation *generation = &rollout.generations[at];

	generation->phase = phase;
	generation->worker_count = 2;
	for (uint32_t plan = first; plan <= last; plan++)
		generation->entries[generation->entry_count++].plan = plan;
}

static void expect(uint64_t serving, uint64_t kept, uint64_t waiting, uint64_t start, uint64_t left)
{
	fg_budget_count(&rollout, &observed, &config, &budget);
	assert_int_equal(budget.base / MIB, 100);
	assert_int_equal(budget.serving / MIB, serving);
	assert_int_equal(budget.kept / MIB, kept);
	assert_int_equal(budget.waiting / MIB, waiting);
	assert_int_equal(budget.start / MIB, start);
	assert_int_equal(fg_budget_left(&budget) / MIB, left);
}

static void each_byte_counts_once(void **state)
{
	(void)state;
	expect(0, 0, 0, 40, 860);
	add_plan(0, 50);
	expect(0, 0, 50, 40, 810);
	add_generation(0, FG_GENERATION_STARTING, 0, 0);
	expect(90, 0, 0, 40, 770);
	rollout.generations[0].phase = FG_GENERATION_LIVE;
	expect(90, 0, 0, 40, 770);
	add_plan(1, 30);
	add_generation(1, FG_GENERATION_KEPT, 0, 1); /* shares a plan with what serves */
	expect(90, 70, 0, 40, 700);
	add_plan(2, 10);
	rollout.dropping = 1 << 2;
	expect(90, 80, 0, 40, 690);
}

static void packers_share_what_is_left(void **state)
{
	(void)state;
	expect(0, 0, 0, 40, 860);
	assert_int_equal(fg_budget_share(&budget, FG_HUNGER_NONE) / MIB, 107);
	assert_int_equal(fg_budget_share(&budget, FG_HUNGER_MORE) / MIB, 430);
	assert_int_equal(fg_budget_share(&budget, FG_HUNGER_ALL) / MIB, 860);
	observed.plans[7].phase = FG_PLAN_PACKING;
	observed.plans[7].memory_bytes = 107 * MIB;
	expect(0, 0, 0, 40, 860); /* of which it uses a part */
	assert_int_equal(budget.packing / MIB, 107);
	observed.memory.limit_bytes = 300 * MIB;
	expect(0, 0, 0, 40, 160);
	assert_int_equal(fg_budget_share(&budget, FG_HUNGER_NONE), FG_BUDGET_PACK_LEAST_BYTES);
	observed.memory.limit_bytes = 1 << 20;
	expect(0, 0, 0, 40, 0);
	observed.memory.limit_bytes = 0;
	fg_budget_count(&rollout, &observed, &config, &budget);
	assert_true(fg_budget_left(&budget) == UINT64_MAX);
	assert_true(fg_budget_share(&budget, FG_HUNGER_NONE) == FG_BUDGET_PACK_MOST_BYTES);
}

/* A worker that starts has its own part of what is left, beside what any worker takes. */
static void starting_workers_share(void **state)
{
	(void)state;
	add_plan(0, 50);
	add_generation(0, FG_GENERATION_STARTING, 0, 0);
	expect(90, 0, 0, 40, 770);
	assert_int_equal(fg_budget_worker(&budget, &observed, &config) / MIB, 400);
	budget.packing = 800 * MIB;
	assert_int_equal(fg_budget_worker(&budget, &observed, &config) / MIB, 16);
	budget.limit = 0;
	assert_int_equal(fg_budget_worker(&budget, &observed, &config), 0);
}

static void only_what_waits_can_be_too_much(void **state)
{
	(void)state;
	add_plan(0, 900);
	add_generation(0, FG_GENERATION_LIVE, 0, 0);
	fg_budget_count(&rollout, &observed, &config, &budget);
	assert_int_equal(fg_budget_left(&budget), 0);
	assert_false(fg_budget_exceeded(&budget));
	add_plan(1, 1);
	fg_budget_count(&rollout, &observed, &config, &budget);
	assert_true(fg_budget_exceeded(&budget));
}

static void the_sum_fits_into_a_reason(void **state)
{
	char text[FG_ROLLOUT_ERROR_BYTES];

	(void)state;
	budget = (struct fg_budget){.limit = 123456 * MIB,
				    .base = 12345 * MIB,
				    .serving = 123455 * MIB + 1,
				    .kept = 12345 * MIB,
				    .waiting = 1,
				    .start = 1234 * MIB};
	assert_string_equal(
		fg_budget_explain(&budget, "its plan takes 1234", text, sizeof(text)),
		"out of memory: its plan takes 1234 of 123456 MiB, beside 12345 (base) + 123456 "
		"(serving) + 12345 (kept) + 1 (waiting) + 1234 (workers): raise --memory or the "
		"cgroup's limit");
}

/* ---- the limit ---- */

static char root[] = "/tmp/fgt-cgroup-XXXXXX";

static void write_limit(const char *path, const char *text)
{
	char name[256];
	FILE *file;

	snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *at = strchr(name + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(name, 0755);
		*at = '/';
	}
	file = fopen(name, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void the_least_limit_above_counts(void **state)
{
	char command[64];

	(void)state;
	assert_non_null(mkdtemp(root));
	write_limit("/memory.max", "max\n");
	write_limit("/a/memory.max", "3000000000\n");
	write_limit("/a/b/memory.max", "max\n");
	write_limit("/memory/c/memory.limit_in_bytes", "9223372036854771712\n");
	write_limit("/memory/c/d/memory.limit_in_bytes", "500000000\n");
	assert_true(fg_memory_cgroup_limit("0::/a/b\n", root) == 3000000000ull);
	assert_true(fg_memory_cgroup_limit("0::/\n", root) == UINT64_MAX);
	assert_true(fg_memory_cgroup_limit("0::/../a\n", root) == UINT64_MAX);
	assert_true(fg_memory_cgroup_limit("4:cpu,memory:/c/d\n0::/a\n", root) == 500000000);
	assert_true(fg_memory_cgroup_limit("4:memory:/c\n", root) == 9223372036854771712ull);
	assert_true(fg_memory_cgroup_limit("4:memoryless:/c/d", root) == UINT64_MAX);
	assert_true(fg_memory_cgroup_limit("", root) == UINT64_MAX);
	snprintf(command, sizeof(command), "rm -r %s", root);
	assert_int_equal(system(command), 0);
}

static void there_is_a_limit(void **state)
{
	struct fg_rollout_memory memory;

	(void)state;
	fg_memory_look(0, getpid(), &memory);
	assert_in_range(memory.limit_bytes, 64 * MIB, UINT64_MAX / 2);
	assert_in_range(memory.base_bytes, memory.limit_bytes / 8, memory.limit_bytes);
	fg_memory_look(64 * MIB, getpid(), &memory);
	assert_int_equal(memory.limit_bytes, 64 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_byte_counts_once, reset),
		cmocka_unit_test_setup(packers_share_what_is_left, reset),
		cmocka_unit_test_setup(starting_workers_share, reset),
		cmocka_unit_test_setup(only_what_waits_can_be_too_much, reset),
		cmocka_unit_test(the_sum_fits_into_a_reason),
		cmocka_unit_test(the_least_limit_above_counts),
		cmocka_unit_test(there_is_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
