/* models/plan: what a plan holds, places and scratch, golden rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "tests/unit/plan_fixture.h"

static void open_plan(struct fixture *fixture, size_t isa, struct fg_plan *plan)
{
	struct fg_error error;

	if (fg_plan_open_with(plan, fg_cpu_kernels(isa), fixture->bytes, fixture->size, &error))
		fail_msg("%s", error.text);
}

static void ports_say_what_a_row_holds(void **state)
{
	struct fixture *fixture = *state;
	const struct fg_plan_port *port;
	struct fg_plan plan;

	open_plan(fixture, 0, &plan);
	assert_int_equal(plan.in_cols, IN);
	assert_int_equal(plan.out_cols, OUT);
	assert_string_equal(fg_plan_port(&plan, 0)->name, "x");
	assert_int_equal(fg_plan_port(&plan, 0)->integer, 0);
	port = fg_plan_port(&plan, 1);
	assert_string_equal(port->name, "ids");
	assert_int_equal(port->first, X);
	assert_int_equal(port->cols, IDS);
	assert_int_equal(port->integer, 1);
	port = fg_plan_port(&plan, 2);
	assert_string_equal(port->name, "y");
	assert_int_equal(port->label_count, Y);
	assert_int_equal(port->labels_bytes, 4 + 5 + 1);
	assert_memory_equal(fixture->bytes + port->labels, "cat\0d\xc3\xb6g\0", 10);
	port = fg_plan_port(&plan, 3);
	assert_string_equal(port->name, "z?");
	assert_int_equal(port->first, Y);
	assert_int_equal(port->rank, 2);
	assert_int_equal(port->dims[0], 2);
	assert_int_equal(port->dims[1], 3);
	assert_ptr_equal(fg_plan_output_of(&plan, Y - 1), fg_plan_port(&plan, 2));
	assert_ptr_equal(fg_plan_output_of(&plan, Y), port);
}

static void constants_are_stored_once(void **state)
{
	struct fixture *fixture = *state;
	const struct fg_plan_step *at = steps(fixture);

	assert_int_equal(at[NORMALIZE].weights, at[NORMALIZE].bias);
	assert_int_not_equal(at[DENSE].weights, at[RESIDUAL].weights); /* other shapes */
	assert_int_not_equal(at[DENSE].bias, at[RESIDUAL].bias);
	assert_int_equal(at[LAST_DENSE].format, FG_WEIGHTS_F32); /* narrow */
	assert_int_equal(at[RESIDUAL].format, FG_WEIGHTS_INT8);
}

/* Steps alone, one after the other, are the plan. */
static void steps_can_be_run_alone(void **state)
{
	struct fixture *fixture = *state;
	const struct fg_plan_header *header = header_of(fixture);
	const float *in = (const float *)(fixture->bytes + header->golden_inputs);
	float got[16 * OUT], want[16 * OUT];
	struct fg_plan plan;
	void *scratch;

	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		open_plan(fixture, isa, &plan);
		scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, 16));
		assert_non_null(scratch);
		fg_plan_run(&plan, in, 16, want, scratch);
		for (uint32_t i = 0; i < plan.step_count; i++)
			fg_plan_run_step(&plan, i, in, 16, got, scratch);
		assert_memory_equal(got, want, sizeof(want));
		free(scratch);
	}
}

/* Rows may stand anywhere in memory. */
static void alignment_does_not_matter(void **state)
{
	static char odd_in[FG_PLAN_BLOCK_ROWS * IN * 4 + 1],
		odd_out[FG_PLAN_BLOCK_ROWS * OUT * 4 + 1];
	struct fixture *fixture = *state;
	const float *in = (const float *)(fixture->bytes + header_of(fixture)->golden_inputs);
	float want[16 * OUT];
	struct fg_plan plan;
	void *scratch;

	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		open_plan(fixture, isa, &plan);
		scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, 16));
		assert_non_null(scratch);
		fg_plan_run(&plan, in, 16, want, scratch);
		memcpy(odd_in + 1, in, 16 * IN * sizeof(float));
		fg_plan_run(&plan, (float *)(odd_in + 1), 16, (float *)(odd_out + 1), scratch);
		assert_memory_equal(odd_out + 1, want, sizeof(want));
		free(scratch);
	}
}

static void scratch_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	const struct fg_plan_header *header = header_of(fixture);
	struct fg_plan plan;
	size_t cols = 0;

	open_plan(fixture, 0, &plan);
	for (uint32_t i = 0; i < FG_PLAN_MAX_BUFFERS; i++)
		cols += header->buffer_cols[i];
	assert_int_equal(fg_plan_scratch_bytes(&plan, 1) % 64, 0);
	assert_true(fg_plan_scratch_bytes(&plan, 5) > 5 * cols * sizeof(float)); /* INT8 inputs */
	assert_int_equal(fg_plan_scratch_bytes(&plan, 1 << 20),
			 fg_plan_scratch_bytes(&plan, FG_PLAN_BLOCK_ROWS));
}

static void golden_rows_come_out(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *header = header_of(fixture);
	float *wanted = (float *)(fixture->bytes + header->golden_outputs);
	struct fg_error error;
	struct fg_plan plan;
	void *scratch;

	header->golden_tolerance = 1e-2f; /* INT8 inputs are rounded differently now and then */
	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		wanted[OUT + 1] = ((float *)(fixture->pristine + header->golden_outputs))[OUT + 1];
		seal(fixture);
		open_plan(fixture, isa, &plan);
		scratch = aligned_alloc(64, (fg_plan_golden_scratch_bytes(&plan) + 63) / 64 * 64);
		assert_non_null(scratch);
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), 0);
		wanted[OUT + 1] += 0.1f;
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), -EILSEQ);
		assert_non_null(
			strstr(error.text, "made-up golden row 1, column 1 (of output 'y'): got"));
		wanted[OUT + 1] = NAN;
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), -EILSEQ);
		wanted[OUT + 1] = INFINITY;
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), -EILSEQ);
		free(scratch);
	}
}

static void warm_up_batches_are_there(void **state)
{
	struct fixture *fixture = *state;
	const float *golden = (const float *)(fixture->bytes + header_of(fixture)->golden_inputs);
	struct fg_plan plan;
	uint32_t rows;

	open_plan(fixture, 0, &plan);
	assert_int_equal(plan.warmup_count, 2);
	assert_memory_equal(fg_plan_warmup(&plan, 0, &rows), golden, 2 * IN * sizeof(float));
	assert_int_equal(rows, 2);
	assert_memory_equal(fg_plan_warmup(&plan, 1, &rows), golden + 2 * IN, IN * sizeof(float));
	assert_int_equal(rows, 1);
}

static void count_call(void *watcher)
{
	++*(uint32_t *)watcher;
}

/* After each step of each block of rows. */
static void a_long_run_shows_its_progress(void **state)
{
	static float in[(FG_PLAN_BLOCK_ROWS + 1) * IN], out[(FG_PLAN_BLOCK_ROWS + 1) * OUT];
	struct fixture *fixture = *state;
	uint32_t calls = 0;
	struct fg_plan plan;
	void *scratch;

	open_plan(fixture, 0, &plan);
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, FG_PLAN_BLOCK_ROWS));
	assert_non_null(scratch);
	plan.progress = count_call;
	plan.watcher = &calls;
	fg_plan_run(&plan, in, FG_PLAN_BLOCK_ROWS, out, scratch);
	assert_int_equal(calls, STEPS);
	fg_plan_run(&plan, in, FG_PLAN_BLOCK_ROWS + 1, out, scratch);
	assert_int_equal(calls, 3 * STEPS);
	free(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports_say_what_a_row_holds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(constants_are_stored_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(steps_can_be_run_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(alignment_does_not_matter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scratch_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(golden_rows_come_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(warm_up_batches_are_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_long_run_shows_its_progress, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
