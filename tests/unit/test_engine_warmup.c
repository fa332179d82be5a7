/* userspace/worker/engine: the warm-up requests that a plan holds are run before it serves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>
#include "tests/unit/plan_fixture.h"
#include "userspace/worker/engine.h"

#define MODELS 16

/* The C kernels, but DENSE notes when it is given rows of a warm-up batch. */
static struct fg_kernels kernels;
static const char *warmup_begin, *warmup_end;
static struct {
	const void *in;
	uint32_t rows;
} seen[64];
static uint32_t seen_count;
static bool golden_first, slow;

static void note_dense(const struct fg_kernel_args *args)
{
	const struct timespec longer = {.tv_nsec = FG_ENGINE_WARM_NS / MODELS};
	const char *in = (const char *)args->in;

	if (in >= warmup_begin && in < warmup_end && seen_count < 64) {
		seen[seen_count].in = args->in;
		seen[seen_count++].rows = args->rows;
		if (slow && seen_count == 1)
			nanosleep(&longer, NULL);
	}
	if (!seen_count)
		golden_first = true;
	fg_kernels_c.run[FG_STEP_DENSE](args);
}

static void open_engine(struct fixture *fixture, uint32_t models, uint32_t max_batch)
{
	static struct fg_rollout_entry entries[MODELS];
	static struct fg_plan plans[MODELS];
	static struct fg_engine engine;
	static struct fg_stats stats;
	struct fg_error error;

	kernels = fg_kernels_c;
	kernels.run[FG_STEP_DENSE] = note_dense;
	header_of(fixture)->golden_tolerance = 1e-2f;
	seal(fixture);
	seen_count = 0;
	golden_first = false;
	for (uint32_t i = 0; i < models; i++) {
		assert_int_equal(fg_plan_open_with(&plans[i], &kernels, fixture->bytes,
						   fixture->size, &error),
				 0);
		snprintf(entries[i].model, sizeof(entries[i].model), "model%u", i);
		entries[i].version = 1;
		entries[i].is_default = 1;
	}
	warmup_begin = fixture->bytes + header_of(fixture)->warmup_inputs;
	warmup_end = fixture->bytes + fixture->size;
	if (fg_engine_open(&engine, entries, models, plans, 1, max_batch, &stats, &error))
		fail_msg("%s", error.text);
	fg_engine_close(&engine);
}

static void batches_are_run_as_they_came(void **state)
{
	struct fixture *fixture = *state;

	open_engine(fixture, 1, 8);
	assert_true(golden_first);
	assert_int_equal(seen_count, 2);
	assert_ptr_equal(seen[0].in, warmup_begin);
	assert_int_equal(seen[0].rows, 2);
	assert_ptr_equal(seen[1].in, warmup_begin + 2 * IN * sizeof(float));
	assert_int_equal(seen[1].rows, 1);
}

static void batches_are_cut_to_what_a_worker_takes(void **state)
{
	struct fixture *fixture = *state;

	open_engine(fixture, 1, 1);
	assert_int_equal(seen_count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_ptr_equal(seen[i].in, warmup_begin + i * IN * sizeof(float));
		assert_int_equal(seen[i].rows, 1);
	}
}

/* Models share the time: the first is done with its first batch, the others have theirs. */
static void it_ends_when_the_time_is_over(void **state)
{
	struct fixture *fixture = *state;

	slow = true;
	open_engine(fixture, MODELS, 8);
	slow = false;
	assert_int_equal(seen_count, 1 + 2 * (MODELS - 1));
	assert_ptr_equal(seen[0].in, warmup_begin);
	assert_ptr_equal(seen[1].in, warmup_begin);
	assert_ptr_not_equal(seen[2].in, warmup_begin);
}

int main(void)
{
#define WITH_PLAN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_PLAN(batches_are_run_as_they_came),
		WITH_PLAN(batches_are_cut_to_what_a_worker_takes),
		WITH_PLAN(it_ends_when_the_time_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
