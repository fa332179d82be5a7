/*
 * models/kernel_*: what holds for every kernel of every ISA that this CPU has (but DENSE, which
 * test_dense.c holds to more): it reads and writes nothing outside its buffers, at any alignment;
 * a row gives the same bits alone, in a batch, and at another place in it. And the values of the
 * elementwise and moving ones; rows as a whole are in test_rows.c, wide numbers in test_wide.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/kernel_truth.h"

#define MAX_COLS 200
#define MAX_ROWS 64

static bool is_reduction(enum fg_step_kind kind)
{
	return kind >= FG_STEP_REDUCE_SUM && kind <= FG_STEP_ARG_MIN;
}

static bool works_on_rows(enum fg_step_kind kind)
{
	return kind == FG_STEP_SOFTMAX || kind == FG_STEP_LOG_SOFTMAX ||
	       kind == FG_STEP_NORMALIZE || is_reduction(kind);
}

static bool has_activation(enum fg_step_kind kind)
{
	return (kind >= FG_STEP_ACTIVATION && kind <= FG_STEP_EQUAL) || kind == FG_STEP_CENTER;
}

static struct kernel_case random_case(enum fg_step_kind kind, enum fg_activation activation,
				      uint32_t *seed)
{
	const uint32_t cols = 1 + case_random(seed) % MAX_COLS;
	struct kernel_case test = {
		.kind = kind,
		.activation = activation,
		.in_cols = cols,
		.out_cols = cols,
		.entries = 1 + case_random(seed) % 40,
		.broadcast = case_random(seed) % 2,
		.special = case_random(seed) % 4 != 0,
		.alpha = 0.125f,
		.beta = 0.75f,
	};

	if (activation == FG_ACTIVATION_WRAP) {
		test.alpha = -4;
		test.beta = 8;
	}

	if (kind == FG_STEP_EMBED) {
		test.in_cols = 1;
		test.alpha = test.broadcast ? -1 : 0; /* negative ids count from the end, or not */
	}
	if (kind == FG_STEP_COLUMNS)
		test.out_cols = 1 + case_random(seed) % MAX_COLS;
	if (is_reduction(kind))
		test.out_cols = 1;
	return test;
}

static void check_truth(const struct fg_kernels *kernels, const struct kernel_case *test,
			const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		for (uint32_t col = 0; col < args->out_cols; col++)
			if (!truth_holds(args, test->kind, row, col))
				fail_msg("%s: kind %d, activation %d, row %u of %u, column %u of "
					 "%u: "
					 "%a, %a gives %a",
					 kernels->isa, test->kind, test->activation, row,
					 args->rows, col, args->out_cols,
					 case_get(args->in, row * args->in_stride + col),
					 case_get(args->other, row * args->other_stride + col),
					 case_get(args->out, row * args->out_stride + col));
}

static void check_case(const struct fg_kernels *kernels, const struct kernel_case *test,
		       uint32_t rows, uint32_t seed)
{
	struct kernel_batch batch;

	make_batch(&batch, test, rows, seed % 4, seed);
	kernels->run[test->kind](&batch.args);
	assert_canaries(&batch.args);
	if (!works_on_rows(test->kind))
		check_truth(kernels, test, &batch.args);
	assert_rows_alone(kernels, test->kind, &batch.args);
	assert_rows_permute(kernels, test->kind, &batch.args);
	free_batch(&batch);
}

static void check_kind(enum fg_step_kind kind, enum fg_activation activation, int shapes)
{
	uint32_t seed = (uint32_t)kind * 100 + activation;

	for (int shape = 0; shape < shapes; shape++) {
		struct kernel_case test = random_case(kind, activation, &seed);
		uint32_t rows = 1 + case_random(&seed) % MAX_ROWS;

		for (size_t i = 0; fg_cpu_kernels(i); i++)
			check_case(fg_cpu_kernels(i), &test, rows, seed + shape);
	}
}

static void every_kind(void **state)
{
	(void)state;
	for (int kind = FG_STEP_DENSE + 1; kind < FG_STEP_WIDE; kind++)
		check_kind(kind, FG_ACTIVATION_NONE, 40);
}

static void every_activation_after_every_kind(void **state)
{
	(void)state;
	for (int kind = FG_STEP_DENSE + 1; kind < FG_STEP_WIDE; kind++)
		for (int activation = 0; activation < FG_ACTIVATION_COUNT; activation++)
			if (has_activation(kind))
				check_kind(kind, activation, 4);
}

/* Each number of columns around whole vectors, with few rows. */
static void every_width(void **state)
{
	(void)state;
	for (int kind = FG_STEP_DENSE + 1; kind < FG_STEP_WIDE; kind++)
		for (uint32_t cols = 1; cols <= 70; cols++)
			for (size_t i = 0; fg_cpu_kernels(i); i++) {
				uint32_t seed = cols;
				struct kernel_case test =
					random_case(kind, FG_ACTIVATION_NONE, &seed);

				if (kind != FG_STEP_EMBED)
					test.in_cols = cols;
				if (!is_reduction(kind))
					test.out_cols = cols;
				check_case(fg_cpu_kernels(i), &test, 1 + cols % 3, seed);
			}
}

/* ---- the choice of an ISA ---- */

static void isa_is_chosen(void **state)
{
	const struct fg_kernels *best = fg_cpu_kernels(0), *last = NULL;

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++) {
		last = fg_cpu_kernels(i);
		for (int kind = 0; kind < FG_STEP_KIND_COUNT; kind++)
			assert_non_null(last->run[kind]);
		setenv("FG_ISA", last->isa, 1);
		assert_ptr_equal(fg_cpu_select(), last);
	}
	assert_string_equal(last->isa, "c");
	setenv("FG_ISA", "mmx", 1);
	assert_ptr_equal(fg_cpu_select(), best);
	setenv("FG_ISA", "", 1);
	assert_ptr_equal(fg_cpu_select(), best);
	unsetenv("FG_ISA");
	assert_ptr_equal(fg_cpu_select(), best);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),
		cmocka_unit_test(every_activation_after_every_kind),
		cmocka_unit_test(every_width),
		cmocka_unit_test(isa_is_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
