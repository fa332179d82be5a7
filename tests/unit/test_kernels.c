/*
 * models/kernel_*: every kernel of every ISA that this CPU has, against arithmetic in double:
 * error bounds, batch invariance to the bit, unaligned rows, and guard pages around every buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "models/cpu.h"
#include "models/kernels.h"

#define MAX_ROWS 13
#define CANARY	 0x7fedcba9u /* a NaN that no kernel makes */

/* ---- memory between guard pages ---- */

struct guarded {
	char *map;
	size_t map_bytes;
	float *at; /* ends where the guard page begins */
};

/* `bytes` that end `slack` bytes before an inaccessible page; another one stands before them. */
static struct guarded guard(size_t bytes, size_t slack)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t inside = (bytes + slack + page - 1) / page * page;
	struct guarded memory = {.map_bytes = inside + 2 * page};

	memory.map = mmap(NULL, memory.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory.map, MAP_FAILED);
	assert_int_equal(mprotect(memory.map + page, inside, PROT_READ | PROT_WRITE), 0);
	memory.at = (float *)(memory.map + page + inside - slack - bytes);
	return memory;
}

static void unguard(struct guarded *memory)
{
	munmap(memory->map, memory->map_bytes);
}

static void set(float *at, size_t i, float value)
{
	memcpy((char *)at + i * sizeof(value), &value, sizeof(value));
}

static float get(const float *at, size_t i)
{
	float value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static uint32_t bits(const float *at, size_t i)
{
	uint32_t value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static float next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (float)(int32_t)*seed * 0x1p-30f; /* [-2, 2) */
}

/* ---- error bounds ---- */

/* The distance of `got` from the true value in units in the last place of a float there. */
static double ulps(float got, double wanted)
{
	int exponent;

	if (isnan(wanted) || isnan(got))
		return isnan(wanted) && isnan(got) ? 0.0 : INFINITY;
	if (isinf(got) || isinf(wanted))
		return (double)got == wanted ? 0.0 : INFINITY;
	frexp(wanted, &exponent);
	return fabs(got - wanted) / ldexp(1.0, exponent - 24 < -149 ? -149 : exponent - 24);
}

static double activate(double x, enum fg_activation activation, float alpha)
{
	switch (activation) {
	case FG_ACTIVATION_RELU:
		return x < 0 ? 0 : x;
	case FG_ACTIVATION_LEAKY_RELU:
		return x < 0 ? alpha * x : x;
	case FG_ACTIVATION_SIGMOID:
		return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
	case FG_ACTIVATION_TANH:
		return tanh(x);
	default:
		return x;
	}
}

static double activation_ulps(enum fg_activation activation)
{
	static const double bounds[FG_ACTIVATION_COUNT] = {
		[FG_ACTIVATION_NONE] = 0,	    [FG_ACTIVATION_RELU] = 0,
		[FG_ACTIVATION_LEAKY_RELU] = 0.5,   [FG_ACTIVATION_SIGMOID] = FG_SIGMOID_ULP,
		[FG_ACTIVATION_TANH] = FG_TANH_ULP,
	};

	return bounds[activation];
}

/* ---- one case: a kernel, a shape, a batch ---- */

struct shape {
	uint32_t in_cols;
	uint32_t out_cols;
	enum fg_activation activation;
	enum fg_step_kind kind;
	bool broadcast; /* ADD: one row for all */
};

struct batch {
	struct guarded in, other, weights, bias, out;
	struct fg_kernel_args args;
};

static size_t padded(uint32_t cols)
{
	return (size_t)fg_panels(cols) * FG_PANEL_COLS;
}

static void fill_weights(struct batch *batch, const struct shape *shape, uint32_t *seed)
{
	size_t cols = padded(shape->out_cols);

	for (uint32_t panel = 0; panel < cols / FG_PANEL_COLS; panel++)
		for (uint32_t k = 0; k < shape->in_cols; k++)
			for (uint32_t c = 0; c < FG_PANEL_COLS; c++) {
				uint32_t col = panel * FG_PANEL_COLS + c;
				size_t at =
					((size_t)panel * shape->in_cols + k) * FG_PANEL_COLS + c;

				batch->weights.at[at] =
					col < shape->out_cols ? next_random(seed) : 0.0f;
			}
	for (size_t col = 0; col < cols; col++)
		batch->bias.at[col] = col < shape->out_cols ? next_random(seed) : 0.0f;
}

/*
 * Rows that end at a guard page (in and other), or `odd` bytes before it so that no float is
 * aligned; out rows are three floats apart, each gap a canary.
 */
static void make_batch(struct batch *batch, const struct shape *shape, uint32_t rows, size_t odd,
		       uint32_t seed)
{
	const size_t gap = 3, other_rows = shape->broadcast ? 1 : rows;
	size_t in_floats = (size_t)rows * shape->in_cols;
	size_t out_floats = rows * (shape->out_cols + gap) - gap;
	size_t weight_floats = padded(shape->out_cols) * shape->in_cols;

	batch->in = guard(in_floats * sizeof(float), odd);
	batch->other = guard(other_rows * shape->out_cols * sizeof(float), odd);
	batch->weights = guard(weight_floats * sizeof(float), 0);
	batch->bias = guard(padded(shape->out_cols) * sizeof(float), 0);
	batch->out = guard(out_floats * sizeof(float), odd);
	for (size_t i = 0; i < in_floats; i++)
		set(batch->in.at, i, next_random(&seed));
	for (size_t i = 0; i < other_rows * shape->out_cols; i++)
		set(batch->other.at, i, next_random(&seed));
	if (shape->kind == FG_STEP_DENSE)
		fill_weights(batch, shape, &seed);
	for (size_t i = 0; i < out_floats; i++)
		memcpy((char *)batch->out.at + i * sizeof(float), &(uint32_t){CANARY},
		       sizeof(float));
	batch->args = (struct fg_kernel_args){
		.in = batch->in.at,
		.in_stride = shape->in_cols,
		.other = batch->other.at,
		.other_stride = shape->broadcast ? 0 : shape->out_cols,
		.weights = batch->weights.at,
		.bias = batch->bias.at,
		.out = batch->out.at,
		.out_stride = shape->out_cols + gap,
		.rows = rows,
		.in_cols = shape->in_cols,
		.out_cols = shape->out_cols,
		.activation = shape->activation,
		.alpha = 0.125f,
	};
}

static void free_batch(struct batch *batch)
{
	unguard(&batch->in);
	unguard(&batch->other);
	unguard(&batch->weights);
	unguard(&batch->bias);
	unguard(&batch->out);
}

static void assert_canaries(const struct batch *batch)
{
	const struct fg_kernel_args *args = &batch->args;

	for (uint32_t row = 0; row + 1 < args->rows; row++)
		for (size_t i = args->out_cols; i < args->out_stride; i++)
			assert_int_equal(bits(args->out, row * args->out_stride + i), CANARY);
}

/* What a dense or sum output should be before its activation, and by how much it may be off. */
static double true_sum(const struct fg_kernel_args *args, enum fg_step_kind kind, uint32_t row,
		       uint32_t col, double *slack)
{
	const size_t panel = col / FG_PANEL_COLS;
	const float *in =
		(const float *)((const char *)args->in + row * args->in_stride * sizeof(float));
	double sum, size;

	if (kind == FG_STEP_ADD) {
		sum = (double)get(in, col) + get(args->other, row * args->other_stride + col);
		*slack = fabs(sum) * 0x1p-24;
		return sum;
	}
	if (kind != FG_STEP_DENSE) {
		*slack = 0;
		return get(in, col);
	}
	sum = args->bias[col];
	size = fabs(sum);
	for (uint32_t k = 0; k < args->in_cols; k++) {
		double product = (double)get(in, k) *
				 args->weights[(panel * args->in_cols + k) * FG_PANEL_COLS +
					       col % FG_PANEL_COLS];

		sum += product;
		size += fabs(product);
	}
	*slack = (args->in_cols + 1) * 0x1p-23 * size;
	return sum;
}

/* All activations here have a slope of at most 1, so an error before them is no larger after. */
static void assert_close(const struct fg_kernel_args *args, enum fg_step_kind kind)
{
	for (uint32_t row = 0; row < args->rows; row++)
		for (uint32_t col = 0; col < args->out_cols; col++) {
			float got = get(args->out, row * args->out_stride + col);
			double slack, sum = true_sum(args, kind, row, col, &slack);
			double wanted = activate(sum, args->activation, args->alpha);
			double over = fabs(got - wanted) - slack;

			if (!(over <= 0) && !(ulps((float)(wanted + over), wanted) <=
					      activation_ulps(args->activation) + 0.5))
				fail_msg("row %u of %u, column %u of %u, %u inputs: got %.9g, "
					 "wanted %.17g",
					 row, args->rows, col, args->out_cols, args->in_cols, got,
					 wanted);
		}
}

static void assert_softmax(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++) {
		const size_t in = row * args->in_stride, out = row * args->out_stride;
		float max = -INFINITY;
		double sum = 0;

		for (uint32_t col = 0; col < args->in_cols; col++)
			max = fmaxf(max, get(args->in, in + col));
		for (uint32_t col = 0; col < args->in_cols; col++)
			sum += exp(get(args->in, in + col) - max);
		for (uint32_t col = 0; col < args->in_cols; col++) {
			float difference = get(args->in, in + col) - max;

			assert_true(ulps(get(args->out, out + col), exp(difference) / sum) <=
				    FG_SOFTMAX_ULP);
		}
	}
}

/* Row `row` of the batch alone, at another alignment, gives the same bits. */
static void assert_invariant(const struct fg_kernels *kernels, const struct batch *batch,
			     const struct shape *shape, uint32_t row)
{
	struct fg_kernel_args one = batch->args;
	struct guarded in = guard(shape->in_cols * sizeof(float), 0);
	struct guarded out = guard(shape->out_cols * sizeof(float), 0);
	char *from = (char *)batch->args.in + row * batch->args.in_stride * sizeof(float);

	memcpy(in.at, from, shape->in_cols * sizeof(float));
	one.in = in.at;
	one.other =
		(const float *)((const char *)one.other + row * one.other_stride * sizeof(float));
	one.out = out.at;
	one.rows = 1;
	kernels->run[shape->kind](&one);
	for (uint32_t col = 0; col < shape->out_cols; col++)
		assert_int_equal(bits(out.at, col),
				 bits(batch->args.out, row * batch->args.out_stride + col));
	unguard(&in);
	unguard(&out);
}

static void check_shape(const struct fg_kernels *kernels, const struct shape *shape, uint32_t seed)
{
	static const uint32_t batches[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, MAX_ROWS};

	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		struct batch batch;

		make_batch(&batch, shape, batches[i], i % 4, seed + (uint32_t)i);
		kernels->run[shape->kind](&batch.args);
		assert_canaries(&batch);
		if (shape->kind == FG_STEP_SOFTMAX)
			assert_softmax(&batch.args);
		else
			assert_close(&batch.args, shape->kind);
		for (uint32_t row = 0; row < batches[i]; row++)
			assert_invariant(kernels, &batch, shape, row);
		free_batch(&batch);
	}
}

static const uint32_t widths[] = {1,  2,  3,  7,  8,  9,  10, 15, 16, 17,  24,	31,  32,
				  33, 47, 48, 49, 64, 80, 95, 96, 97, 112, 113, 129, 200};
#define WIDTHS (sizeof(widths) / sizeof(widths[0]))

static void dense(void **state)
{
	static const uint32_t depths[] = {1, 2, 3, 4, 5, 7, 8, 31, 64, 131};

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t k = 0; k < sizeof(depths) / sizeof(depths[0]); k++)
			for (size_t n = 0; n < WIDTHS; n++) {
				struct shape shape = {depths[k], widths[n],
						      (k + n) % FG_ACTIVATION_COUNT, FG_STEP_DENSE,
						      false};

				check_shape(fg_cpu_kernels(i), &shape, (uint32_t)(k * 31 + n));
			}
}

static void add_and_activation(void **state)
{
	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t n = 0; n < WIDTHS; n++)
			for (int activation = 0; activation < FG_ACTIVATION_COUNT; activation++) {
				struct shape shape = {widths[n], widths[n], activation, FG_STEP_ADD,
						      false};

				check_shape(fg_cpu_kernels(i), &shape, (uint32_t)n);
				shape.broadcast = true;
				check_shape(fg_cpu_kernels(i), &shape, (uint32_t)n + 100);
				shape = (struct shape){widths[n], widths[n], activation,
						       FG_STEP_ACTIVATION, false};
				check_shape(fg_cpu_kernels(i), &shape, (uint32_t)n + 200);
			}
}

static void softmax(void **state)
{
	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t n = 0; n < WIDTHS; n++) {
			struct shape shape = {widths[n], widths[n], FG_ACTIVATION_NONE,
					      FG_STEP_SOFTMAX, false};

			check_shape(fg_cpu_kernels(i), &shape, (uint32_t)n);
		}
}

/* ---- single values ---- */

static void run_row(const struct fg_kernels *kernels, enum fg_step_kind kind,
		    enum fg_activation activation, const float *in, float *out, uint32_t cols)
{
	struct fg_kernel_args args = {.in = in,
				      .in_stride = cols,
				      .out = out,
				      .out_stride = cols,
				      .rows = 1,
				      .in_cols = cols,
				      .out_cols = cols,
				      .activation = activation,
				      .alpha = 0.125f};

	kernels->run[kind](&args);
}

/* A sample of all bit patterns: every exponent, NaN, infinities, denormals, both signs. */
static void activations_over_all_floats(void **state)
{
	enum { CHUNK = 1021 };
	float in[CHUNK], out[CHUNK];

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (int activation = 0; activation < FG_ACTIVATION_COUNT; activation++)
			for (uint64_t pattern = 0; pattern <= UINT32_MAX;) {
				for (size_t at = 0; at < CHUNK; at++, pattern += 4093) {
					uint32_t value = (uint32_t)pattern;

					memcpy(&in[at], &value, sizeof(value));
				}
				run_row(fg_cpu_kernels(i), FG_STEP_ACTIVATION, activation, in, out,
					CHUNK);
				for (size_t at = 0; at < CHUNK; at++)
					if (!(ulps(out[at], activate(in[at], activation, 0.125f)) <=
					      activation_ulps(activation)))
						fail_msg("%s: activation %d of %a gives %a",
							 fg_cpu_kernels(i)->isa, activation, in[at],
							 out[at]);
			}
}

static void edges_of_activations(void **state)
{
	const float in[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f, 88.8f, -88.8f};
	enum { COUNT = sizeof(in) / sizeof(in[0]) };
	float out[COUNT];

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++) {
		run_row(fg_cpu_kernels(i), FG_STEP_ACTIVATION, FG_ACTIVATION_SIGMOID, in, out,
			COUNT);
		assert_true(out[0] == 0.5f && out[2] == 1.0f && out[3] == 0.0f && isnan(out[4]));
		assert_true(out[8] > 0.0f); /* below e^-88.7, a denormal, not 0 */
		run_row(fg_cpu_kernels(i), FG_STEP_ACTIVATION, FG_ACTIVATION_TANH, in, out, COUNT);
		assert_true(out[2] == 1.0f && out[3] == -1.0f && isnan(out[4]) && out[5] == in[5]);
		run_row(fg_cpu_kernels(i), FG_STEP_ACTIVATION, FG_ACTIVATION_RELU, in, out, COUNT);
		assert_true(out[2] == INFINITY && out[3] == 0.0f && isnan(out[4]));
	}
}

static void softmax_survives_extremes(void **state)
{
	static const float rows[][3] = {
		{1e38f, -1e38f, 1e38f},
		{3e38f, 3e38f, 3e38f},
		{INFINITY, 0.0f, -INFINITY},
		{INFINITY, INFINITY, 5.0f},
		{-INFINITY, -INFINITY, -INFINITY},
		{-INFINITY, 2.0f, -INFINITY},
		{1e4f, 0.0f, -1e4f},
	};
	static const float wanted[][3] = {
		{0.5f, 0.0f, 0.5f}, {1.0f / 3, 1.0f / 3, 1.0f / 3}, {1.0f, 0.0f, 0.0f},
		{0.5f, 0.5f, 0.0f}, {1.0f / 3, 1.0f / 3, 1.0f / 3}, {0.0f, 1.0f, 0.0f},
		{1.0f, 0.0f, 0.0f},
	};
	float out[3];

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
			run_row(fg_cpu_kernels(i), FG_STEP_SOFTMAX, FG_ACTIVATION_NONE, rows[row],
				out, 3);
			for (size_t col = 0; col < 3; col++)
				assert_true(ulps(out[col], wanted[row][col]) <= 1);
		}
}

static void nan_spreads_over_its_row_only(void **state)
{
	enum { COLS = 19 };
	float in[2 * COLS], out[2 * COLS];

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t at = 0; at < COLS; at++) {
			struct fg_kernel_args args = {.in = in,
						      .in_stride = COLS,
						      .out = out,
						      .out_stride = COLS,
						      .rows = 2,
						      .in_cols = COLS,
						      .out_cols = COLS};

			for (size_t col = 0; col < 2 * COLS; col++)
				in[col] = (float)col;
			in[at] = NAN;
			fg_cpu_kernels(i)->run[FG_STEP_SOFTMAX](&args);
			for (size_t col = 0; col < COLS; col++) {
				assert_true(isnan(out[col]));
				assert_false(isnan(out[COLS + col]));
			}
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
		cmocka_unit_test(dense),
		cmocka_unit_test(add_and_activation),
		cmocka_unit_test(softmax),
		cmocka_unit_test(activations_over_all_floats),
		cmocka_unit_test(edges_of_activations),
		cmocka_unit_test(softmax_survives_extremes),
		cmocka_unit_test(nan_spreads_over_its_row_only),
		cmocka_unit_test(isa_is_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
