/*
 * models/compile and models/plan on random steps of every kind (random_ir.h): sharing buffers,
 * taking groups together, batches, the order of rows, and folding change nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "models/compile_golden.h"
#include "models/cpu.h"
#include "models/optimize.h"
#include "models/pack.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/random_ir.h"

enum { MODELS = 300, ROWS = 64, MOST_OUT = 2 * RANDOM_COLS };

static const uint32_t batches[] = {1, 2, 3, 5, 8, 17, 47, 48, 49, 64};

/* `bytes` (a multiple of 4) that end where a page begins that must not be touched. */
struct guarded {
	void *map;
	size_t size;
	void *at;
};

static struct guarded guard(size_t bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct guarded guarded = {.size = (bytes + page - 1) / page * page + 2 * page};

	guarded.map = mmap(NULL, guarded.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	assert_true(guarded.map != MAP_FAILED);
	assert_int_equal(mprotect(guarded.map, page, PROT_NONE), 0);
	assert_int_equal(mprotect((char *)guarded.map + guarded.size - page, page, PROT_NONE), 0);
	guarded.at = (char *)guarded.map + guarded.size - page - bytes;
	memset(guarded.at, 0xff, bytes); /* NaN: must not be read */
	return guarded;
}

static void release(struct guarded guarded)
{
	munmap(guarded.map, guarded.size);
}

static void make(const struct random_ir *random, enum fg_weights format, void **bytes, size_t *size)
{
	struct fg_golden_rows golden;
	struct fg_error error;
	struct fg_arena arena = {0};

	assert_int_equal(fg_golden_rows_make(&random->ir, &arena, FG_GOLDEN_MADE_ROWS, &golden,
					     &error),
			 0);
	if (fg_plan_make(&random->ir, format, &golden, bytes, size, &error))
		fail_msg("%s", error.text);
	fg_arena_free(&arena);
}

/* One row of a step's input or output in its rows. */
static float *at(float **rows, struct fg_ir_span span)
{
	return span.rows == FG_IR_NONE ? NULL : rows[span.rows] + span.first;
}

static void *pack(const struct fg_ir_step *step, enum fg_weights format)
{
	void *packed = aligned_alloc(64, fg_pack_bytes(format, step->in_cols, step->out_cols));

	assert_non_null(packed);
	assert_int_equal(fg_pack_weights(format, step->weights, step->in_cols, step->out_cols,
					 packed),
			 0);
	return packed;
}

/* One group of one row: what a step means. */
static void run_alone(const struct fg_kernels *kernels, const struct fg_ir_step *step,
		      uint32_t group, float **rows, enum fg_weights format)
{
	const bool is_dense = step->kind == FG_STEP_DENSE;
	struct fg_kernel_args args = {
		.rows = 1,
		.in_stride = step->in_cols,
		.out_stride = step->out_cols,
		.in_cols = step->in_cols,
		.out_cols = step->out_cols,
		.entries = step->entries,
		.operation = step->operation,
		.format = step->out_cols < FG_PANEL_COLS ? FG_WEIGHTS_F32 : format,
		.activation = step->activation,
		.alpha = step->alpha,
		.beta = step->beta,
		.bias = step->bias,
		.in = at(rows, step->in),
		.other = step->constant ? step->constant : at(rows, step->other),
		.third = at(rows, step->third),
		.out = at(rows, step->out) + (size_t)group * step->out_cols,
	};
	void *packed = is_dense ? pack(step, args.format) : NULL;
	float *bias = is_dense ? aligned_alloc(64, sizeof(float) * 128) : NULL;

	if (is_dense) {
		memset(bias, 0, sizeof(float) * 128);
		memcpy(bias, step->bias, step->out_cols * sizeof(float));
		args.bias = bias;
	}
	args.weights = packed ? packed : step->weights;
	args.scratch = aligned_alloc(64, fg_pack_scratch_bytes(step->in_cols, 1) + 64);
	assert_non_null(args.scratch);
	if (args.in)
		args.in += (size_t)group * step->in_cols;
	if (args.other)
		args.other += (size_t)group * step->out_cols;
	if (args.third)
		args.third += (size_t)group * step->out_cols;
	kernels->run[step->kind](&args);
	free(args.scratch);
	free(packed);
	free(bias);
}

/* out = model(in), each of the ir's rows with memory of its own. */
static void run_plainly(const struct random_ir *random, const struct fg_kernels *kernels,
			enum fg_weights format, const float *in, float *out)
{
	const struct fg_ir *ir = &random->ir;
	float *rows[RANDOM_VALUES + 2] = {(float *)in, out};

	for (uint32_t i = 2; i < ir->rows_count; i++) {
		rows[i] = calloc(ir->rows[i].cols, sizeof(float));
		assert_non_null(rows[i]);
	}
	for (uint32_t i = 0; i < ir->step_count; i++)
		for (uint32_t group = 0; group < ir->steps[i].groups; group++)
			run_alone(kernels, &ir->steps[i], group, rows, format);
	for (uint32_t i = 2; i < ir->rows_count; i++)
		free(rows[i]);
}

static void random_rows(const struct random_ir *random, uint64_t state, float *in)
{
	for (uint32_t row = 0; row < ROWS; row++)
		random_input(random, &state, in + row * random->ir.rows[FG_IR_INPUT].cols);
}

/* Bit for bit, but any NaN is as good as another: which of two NaNs an operation gives is the
 * CPU's choice (IEEE 754-2019, 6.2.3). */
static void assert_same(const float *got, const float *want, size_t count, const char *isa,
			uint64_t seed)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(&got[i], &want[i], sizeof(float)) && !(isnan(got[i]) && isnan(want[i])))
			fail_msg("model %llu, %s: number %zu: got %a, wanted %a",
				 (unsigned long long)seed, isa, i, got[i], want[i]);
}

/* ---- the tests --------------------------------------------------------------------------- */

static void every_kind_is_there(void **state)
{
	bool seen[FG_STEP_KIND_COUNT] = {false}, grouped[FG_STEP_KIND_COUNT] = {false};
	static struct random_ir random;

	(void)state;
	for (uint64_t seed = 0; seed < MODELS; seed++) {
		random_ir_make(&random, seed, false);
		for (uint32_t i = 0; i < random.ir.step_count; i++) {
			seen[random.steps[i].kind] = true;
			grouped[random.steps[i].kind] |= random.steps[i].groups > 1;
		}
		fg_arena_free(&random.arena);
	}
	for (int kind = 0; kind < FG_STEP_KIND_COUNT; kind++)
		assert_true(seen[kind]);
	assert_true(grouped[FG_STEP_DENSE] && grouped[FG_STEP_SOFTMAX] && grouped[FG_STEP_EMBED]);
}

/* Buffers, groups and constants of a plan are those of the steps. */
static void plans_do_what_the_steps_say(void **state)
{
	static struct random_ir random;
	static float want[ROWS * MOST_OUT];

	(void)state;
	for (uint64_t seed = 0; seed < MODELS; seed++) {
		const enum fg_weights format = seed % FG_WEIGHTS_COUNT;
		struct fg_error error;
		void *bytes;
		size_t size;

		random_ir_make(&random, seed, false);
		make(&random, format, &bytes, &size);
		for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
			const struct fg_kernels *kernels = fg_cpu_kernels(isa);
			struct fg_plan plan;
			float *in, *out;
			void *scratch;

			if (fg_plan_open_with(&plan, kernels, bytes, size, &error))
				fail_msg("model %llu: %s", (unsigned long long)seed, error.text);
			in = calloc(ROWS, plan.in_cols * sizeof(float));
			out = calloc(ROWS, plan.out_cols * sizeof(float));
			scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, ROWS) + 64);
			assert_true(in && out && scratch);
			random_rows(&random, seed + 1, in);
			for (uint32_t row = 0; row < 3; row++)
				run_plainly(&random, kernels, format, in + row * plan.in_cols,
					    want + row * plan.out_cols);
			fg_plan_run(&plan, in, 3, out, scratch);
			assert_same(out, want, 3 * plan.out_cols, kernels->isa, seed);
			free(in);
			free(out);
			free(scratch);
		}
		free(bytes);
		fg_arena_free(&random.arena);
	}
}

/* `plan` on `rows` rows of `in` from `first` on, in memory of just that size. */
static void run_guarded(const struct fg_plan *plan, const float *in, uint32_t rows, float *got)
{
	const size_t in_bytes = rows * plan->in_cols * sizeof(float);
	const size_t out_bytes = rows * plan->out_cols * sizeof(float);
	struct guarded from = guard(in_bytes), to = guard(out_bytes);
	struct guarded scratch = guard(fg_plan_scratch_bytes(plan, rows));

	memcpy(from.at, in, in_bytes);
	fg_plan_run(plan, from.at, rows, to.at, scratch.at);
	memcpy(got, to.at, out_bytes);
	release(from);
	release(to);
	release(scratch);
}

/* Any batch, any position in it, any order: the same bits for the same row. */
static void check_batches(const struct fg_plan *plan, float *in, uint64_t seed)
{
	static float alone[ROWS * MOST_OUT], got[ROWS * MOST_OUT];
	static float shuffled[ROWS * RANDOM_COLS];
	const uint32_t in_cols = plan->in_cols, out_cols = plan->out_cols;

	for (uint32_t row = 0; row < ROWS; row++)
		run_guarded(plan, in + row * in_cols, 1, alone + row * out_cols);
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		const uint32_t rows = batches[i], first = ROWS - rows;

		run_guarded(plan, in + first * in_cols, rows, got);
		assert_same(got, alone + first * out_cols, rows * out_cols, plan->kernels->isa,
			    seed);
	}
	for (uint32_t row = 0; row < ROWS; row++) /* 29 and 64 have no common divisor */
		memcpy(shuffled + row * in_cols, in + row * 29 % ROWS * in_cols,
		       in_cols * sizeof(float));
	run_guarded(plan, shuffled, ROWS, got);
	for (uint32_t row = 0; row < ROWS; row++)
		assert_same(got + row * out_cols, alone + row * 29 % ROWS * out_cols, out_cols,
			    plan->kernels->isa, seed);
}

static void batches_do_not_matter(void **state)
{
	static struct random_ir random;
	static float in[ROWS * RANDOM_COLS];

	(void)state;
	for (uint64_t seed = 0; seed < MODELS / 2; seed++) {
		struct guarded copy;
		struct fg_plan plan;
		struct fg_error error;
		void *bytes;
		size_t size;

		random_ir_make(&random, seed, false);
		make(&random, seed % FG_WEIGHTS_COUNT, &bytes, &size);
		copy = guard(size);
		memcpy(copy.at, bytes, size);
		random_rows(&random, seed + 1, in);
		for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
			assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(isa), copy.at,
							   size, &error),
					 0);
			check_batches(&plan, in, seed);
		}
		release(copy);
		free(bytes);
		fg_arena_free(&random.arena);
	}
}

static void run_reference(const void *bytes, size_t size, const float *in, float *out)
{
	struct fg_plan plan;
	struct fg_error error;
	void *scratch;

	if (fg_plan_open_with(&plan, &fg_kernels_c, bytes, size, &error))
		fail_msg("%s", error.text);
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, ROWS) + 64);
	assert_non_null(scratch);
	fg_plan_run(&plan, in, ROWS, out, scratch);
	free(scratch);
}

/* Steps that the output depends on: those that are dropped without any folding do not count. */
static uint32_t count_live(const struct fg_ir *ir)
{
	bool live[RANDOM_VALUES + 2] = {[FG_IR_OUTPUT] = true};
	uint32_t count = 0;

	for (uint32_t i = ir->step_count; i-- > 0;) {
		const struct fg_ir_step *step = &ir->steps[i];
		const struct fg_ir_span read[] = {step->in, step->other, step->third};

		if (!live[step->out.rows])
			continue;
		count++;
		for (size_t k = 0; k < 3; k++)
			if (read[k].rows != FG_IR_NONE)
				live[read[k].rows] = true;
	}
	return count;
}

/* Folded and plain models agree within the bound that golden rows are held to, and folding does
 * something. */
static void folding_changes_roundings_only(void **state)
{
	static struct random_ir plain, folded;
	static float in[ROWS * RANDOM_COLS], want[ROWS * MOST_OUT], got[ROWS * MOST_OUT];
	uint32_t steps_before = 0, steps_after = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 2 * MODELS; seed++) {
		void *plain_bytes, *bytes;
		size_t plain_size, size;
		struct fg_error error;

		random_ir_make(&plain, seed, true);
		random_ir_make(&folded, seed, true);
		assert_int_equal(fg_optimize(&folded.ir, FG_WEIGHTS_F32, &error), 0);
		steps_before += count_live(&plain.ir);
		steps_after += folded.ir.step_count;
		make(&plain, FG_WEIGHTS_F32, &plain_bytes, &plain_size);
		make(&folded, FG_WEIGHTS_F32, &bytes, &size);
		random_rows(&plain, seed + 1, in);
		run_reference(plain_bytes, plain_size, in, want);
		run_reference(bytes, size, in, got);
		for (size_t i = 0; i < ROWS * plain.ir.rows[FG_IR_OUTPUT].cols; i++)
			if (!(fabsf(got[i] - want[i]) <= 1e-4f * (1 + fabsf(want[i]))))
				fail_msg("model %llu: number %zu: folded %.9g, plain %.9g",
					 (unsigned long long)seed, i, got[i], want[i]);
		free(plain_bytes);
		free(bytes);
		fg_arena_free(&plain.arena);
		fg_arena_free(&folded.arena);
	}
	print_message("# %u steps became %u\n", steps_before, steps_after);
	assert_true(steps_after < steps_before * 4 / 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_is_there),
		cmocka_unit_test(plans_do_what_the_steps_say),
		cmocka_unit_test(batches_do_not_matter),
		cmocka_unit_test(folding_changes_roundings_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
