/*
 * models/kernel_activation.c: every activation of every ISA over the whole range of floats against
 * libm in double, with the bounds that models/kernels.h states, and by name on special values.
 *
 * FG_FLOAT_STRIDE is the distance of the floats that are tried for the functions with a promised
 * bound (exp, log, tanh, sigmoid, erf): 31 unless said otherwise, every 4093rd where sanitizers or
 * an emulator make a float cost much more. The bounds were measured with 3, which takes minutes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include "tests/unit/kernel_truth.h"
#include "userspace/shared/sanitized.h"

#define CHUNK	     1021
#define SPARSE	     4093
#define MAX_ISAS     8
#define THREADS	     2
#define ALL_PATTERNS (UINT64_C(1) << 32)

#if FG_SANITIZED || !defined(__x86_64__)
#define DEFAULT_STRIDE SPARSE
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DEFAULT_STRIDE SPARSE
#endif
#endif
#ifndef DEFAULT_STRIDE
#define DEFAULT_STRIDE 31
#endif

/* What fg_cpu_kernels() gives, asked once: asking the CPU costs more than a row. */
static const struct fg_kernels *isas[MAX_ISAS];
static size_t isa_count;

static int find_isas(void **state)
{
	(void)state;
	while (isa_count < MAX_ISAS && fg_cpu_kernels(isa_count)) {
		isas[isa_count] = fg_cpu_kernels(isa_count);
		isa_count++;
	}
	return 0;
}

static void run_row(const struct fg_kernels *kernels, enum fg_activation activation, float alpha,
		    float beta, const float *in, float *out, uint32_t cols)
{
	struct fg_kernel_args args = {.in = in,
				      .in_stride = cols,
				      .out = out,
				      .out_stride = cols,
				      .rows = 1,
				      .in_cols = cols,
				      .out_cols = cols,
				      .activation = activation,
				      .alpha = alpha,
				      .beta = beta};

	kernels->run[FG_STEP_ACTIVATION](&args);
}

/* ---- over the whole range ---- */

/* Fills `in` with the floats of the patterns from *pattern on; their number. */
static uint32_t next_chunk(float in[CHUNK], uint64_t *pattern, uint64_t end, uint32_t stride)
{
	uint32_t count = 0;

	for (; count < CHUNK && *pattern < end; count++, *pattern += stride)
		memcpy(&in[count], &(uint32_t){(uint32_t)*pattern}, sizeof(float));
	return count;
}

static void sample(enum fg_activation activation, float alpha, float beta, uint32_t stride)
{
	float in[CHUNK], out[CHUNK];

	for (uint64_t pattern = 0; pattern < ALL_PATTERNS;) {
		uint32_t count = next_chunk(in, &pattern, ALL_PATTERNS, stride);

		for (size_t i = 0; i < isa_count; i++) {
			run_row(isas[i], activation, alpha, beta, in, out, count);
			for (uint32_t at = 0; at < count; at++)
				if (!truth_activation_holds(out[at], in[at], activation, alpha,
							    beta))
					fail_msg(
						"%s: activation %d (%g, %g) of %a gives %a, not %a",
						isas[i]->isa, activation, alpha, beta, in[at],
						out[at],
						truth_activation(in[at], activation, alpha, beta));
		}
	}
}

static bool has_parameters(enum fg_activation activation)
{
	return activation == FG_ACTIVATION_LEAKY_RELU || activation == FG_ACTIVATION_CLIP ||
	       activation == FG_ACTIVATION_SILU || activation == FG_ACTIVATION_ELU ||
	       activation == FG_ACTIVATION_SELU || activation == FG_ACTIVATION_CELU ||
	       activation == FG_ACTIVATION_HARD_SIGMOID;
}

static void all_activations_sparsely(void **state)
{
	enum { SETS = 4 };
	static const float parameters[SETS][2] = {{1.0f, 1.0f},
						  {0.125f, 0.75f},
						  {1.67326319f, 1.05070102f},
						  {-0.5f, 6.0f}};

	(void)state;
	for (int activation = 0; activation < FG_ACTIVATION_WRAP; activation++)
		for (size_t i = 0; i < (has_parameters(activation) ? SETS : 1); i++)
			sample(activation, parameters[i][0], parameters[i][1], SPARSE);
	sample(FG_ACTIVATION_WRAP, -0x1p31f, 0x1p32f, SPARSE);
	sample(FG_ACTIVATION_TO_INTEGER, -0x1p31f, 0x1p31f, SPARSE);
}

/* A part of the floats for one function: the worst error of each ISA in it, but for "c", which is
 * libm in double itself, and so slow that the sparse sample must do. */
struct sweep {
	enum fg_activation activation;
	uint64_t from, to;
	uint32_t stride;
	double worst[MAX_ISAS];
	float at[MAX_ISAS];
};

static void *sweep(void *context)
{
	struct sweep *part = context;
	float in[CHUNK], out[CHUNK];
	double wanted[CHUNK];

	for (uint64_t pattern = part->from; pattern < part->to;) {
		uint32_t count = next_chunk(in, &pattern, part->to, part->stride);

		for (uint32_t at = 0; at < count; at++)
			wanted[at] = truth_activation(in[at], part->activation, 0, 0);
		for (size_t i = 0; i + 1 < isa_count; i++) {
			run_row(isas[i], part->activation, 0, 0, in, out, count);
			for (uint32_t at = 0; at < count; at++) {
				double off = truth_ulps(out[at], wanted[at]);

				if (!(off <= part->worst[i])) {
					part->worst[i] = off;
					part->at[i] = in[at];
				}
			}
		}
	}
	return NULL;
}

static uint32_t float_stride(void)
{
	const char *text = getenv("FG_FLOAT_STRIDE");
	long stride = text ? strtol(text, NULL, 10) : DEFAULT_STRIDE;

	return stride > 0 && stride <= 1 << 20 ? (uint32_t)stride : DEFAULT_STRIDE;
}

static void check_sweep(enum fg_activation activation, const char *name)
{
	const uint64_t each = ALL_PATTERNS / THREADS;
	struct sweep parts[THREADS];
	pthread_t threads[THREADS];

	for (size_t part = 0; part < THREADS; part++) {
		parts[part] = (struct sweep){.activation = activation,
					     .from = part * each,
					     .to = (part + 1) * each,
					     .stride = float_stride()};
		assert_int_equal(pthread_create(&threads[part], NULL, sweep, &parts[part]), 0);
	}
	for (size_t part = 0; part < THREADS; part++)
		assert_int_equal(pthread_join(threads[part], NULL), 0);
	for (size_t i = 0; i + 1 < isa_count; i++) {
		size_t worst = parts[1].worst[i] > parts[0].worst[i];

		printf("# %s, %s: at most %.3f ULP off, at %a\n", name, isas[i]->isa,
		       parts[worst].worst[i], parts[worst].at[i]);
		assert_true(parts[worst].worst[i] <= truth_activation_ulps(activation));
	}
}

static void promised_functions_densely(void **state)
{
	(void)state;
	check_sweep(FG_ACTIVATION_EXP, "exp");
	check_sweep(FG_ACTIVATION_LOG, "log");
	check_sweep(FG_ACTIVATION_TANH, "tanh");
	check_sweep(FG_ACTIVATION_SIGMOID, "sigmoid");
	check_sweep(FG_ACTIVATION_ERF, "erf");
}

/* All floats that are integers of 64 bits, as integers of fewer: what a cast of C does. */
static void whole_numbers_wrap(void **state)
{
	float in[1], as_i8[1], as_u16[1], as_i32[1];

	(void)state;
	for (uint64_t pattern = 0; pattern < ALL_PATTERNS; pattern += 9973) {
		memcpy(in, &(uint32_t){(uint32_t)pattern}, sizeof(in));
		if (!(fabsf(in[0]) < 0x1p63f))
			continue;
		in[0] = truncf(in[0]);
		for (size_t i = 0; i < isa_count; i++) {
			run_row(isas[i], FG_ACTIVATION_WRAP, -128, 256, in, as_i8, 1);
			run_row(isas[i], FG_ACTIVATION_WRAP, 0, 65536, in, as_u16, 1);
			run_row(isas[i], FG_ACTIVATION_WRAP, -0x1p31f, 0x1p32f, in, as_i32, 1);
			assert_true(as_i8[0] == (float)(int8_t)(int64_t)in[0]);
			assert_true(as_u16[0] == (float)(uint16_t)(int64_t)in[0]);
			assert_true(as_i32[0] == (float)(int32_t)(int64_t)in[0]);
		}
	}
}

/* ---- special values ---- */

#define SPECIALS 5

/* What each gives for -infinity, -0, 0, infinity, NaN, with alpha = 1 / 2, beta = 2. NaN where
 * the formula of models/kernels.h has no limit of its own: 0 times infinity. */
static const struct {
	enum fg_activation activation;
	float wanted[SPECIALS];
} specials[] = {
	{FG_ACTIVATION_NONE, {-INFINITY, -0.0f, 0, INFINITY, NAN}},
	{FG_ACTIVATION_RELU, {0, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_LEAKY_RELU, {-INFINITY, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_CLIP, {0.5f, 0.5f, 0.5f, 2, NAN}},
	{FG_ACTIVATION_SIGMOID, {0, 0.5f, 0.5f, 1, NAN}},
	{FG_ACTIVATION_TANH, {-1, 0, 0, 1, NAN}},
	{FG_ACTIVATION_SILU, {NAN, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_GELU, {NAN, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_GELU_TANH, {NAN, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_ELU, {-0.5f, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_SELU, {-1, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_CELU, {-0.5f, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_HARD_SIGMOID, {0, 1, 1, 1, NAN}},
	{FG_ACTIVATION_HARD_SWISH, {NAN, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_SOFTPLUS, {0, 0.693147182f, 0.693147182f, INFINITY, NAN}},
	{FG_ACTIVATION_SOFTSIGN, {NAN, 0, 0, NAN, NAN}},
	{FG_ACTIVATION_MISH, {NAN, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_ERF, {-1, 0, 0, 1, NAN}},
	{FG_ACTIVATION_EXP, {0, 1, 1, INFINITY, NAN}},
	{FG_ACTIVATION_LOG, {NAN, -INFINITY, -INFINITY, INFINITY, NAN}},
	{FG_ACTIVATION_SQRT, {NAN, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_RECIPROCAL, {0, -INFINITY, INFINITY, 0, NAN}},
	{FG_ACTIVATION_ABS, {INFINITY, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_SIGN, {-1, 0, 0, 1, NAN}},
	{FG_ACTIVATION_FLOOR, {-INFINITY, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_CEIL, {-INFINITY, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_ROUND, {-INFINITY, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_TRUNC, {-INFINITY, 0, 0, INFINITY, NAN}},
	{FG_ACTIVATION_IS_NAN, {0, 0, 0, 0, 1}},
	{FG_ACTIVATION_NOT, {0, 1, 1, 0, 0}},
	{FG_ACTIVATION_WRAP, {NAN, 2, 2, NAN, NAN}},
	{FG_ACTIVATION_TO_INTEGER, {0.5f, 0.5f, 0.5f, 0.5f, 0.5f}},
};

static void special_values(void **state)
{
	const float in[SPECIALS] = {-INFINITY, -0.0f, 0.0f, INFINITY, NAN};
	float out[SPECIALS];

	(void)state;
	assert_int_equal(sizeof(specials) / sizeof(specials[0]), FG_ACTIVATION_COUNT);
	for (size_t i = 0; i < isa_count; i++)
		for (int which = 0; which < FG_ACTIVATION_COUNT; which++) {
			assert_int_equal(specials[which].activation, which);
			run_row(isas[i], which, 0.5f, 2.0f, in, out, SPECIALS);
			for (size_t at = 0; at < SPECIALS; at++)
				if (!truth_same(out[at], specials[which].wanted[at]))
					fail_msg("%s: activation %d of %g gives %g", isas[i]->isa,
						 which, in[at], out[at]);
		}
}

/* Odd functions and roundings keep the sign of zero. */
static void sign_of_zero(void **state)
{
	static const enum fg_activation keepers[] = {FG_ACTIVATION_NONE,  FG_ACTIVATION_TANH,
						     FG_ACTIVATION_ERF,	  FG_ACTIVATION_FLOOR,
						     FG_ACTIVATION_TRUNC, FG_ACTIVATION_ROUND,
						     FG_ACTIVATION_CEIL,  FG_ACTIVATION_SQRT,
						     FG_ACTIVATION_ELU};
	const float in[2] = {-0.0f, 0.0f};
	float out[2];

	(void)state;
	for (size_t i = 0; i < isa_count; i++)
		for (size_t which = 0; which < sizeof(keepers) / sizeof(keepers[0]); which++) {
			run_row(isas[i], keepers[which], 1.0f, 1.0f, in, out, 2);
			assert_true(out[0] == 0 && signbit(out[0]));
			assert_true(out[1] == 0 && !signbit(out[1]));
		}
}

/* The tails end in denormals, not in 0 or infinity too early. */
static void tails(void **state)
{
	const float low[] = {-88.8f, -103.9f, -104.1f}, high[] = {88.72f, 88.73f};
	float out[3];

	(void)state;
	for (size_t i = 0; i < isa_count; i++) {
		run_row(isas[i], FG_ACTIVATION_SIGMOID, 0, 0, low, out, 3);
		assert_true(out[0] > 0x1p-129f && out[1] == 0x1p-149f && out[2] == 0);
		run_row(isas[i], FG_ACTIVATION_EXP, 0, 0, low, out, 3);
		assert_true(out[0] > 0x1p-129f && out[1] == 0x1p-149f && out[2] == 0);
		run_row(isas[i], FG_ACTIVATION_EXP, 0, 0, high, out, 2);
		assert_true(out[0] < INFINITY && out[1] == INFINITY);
	}
}

/* NaN limits mean no limit, and low > high gives high, as ONNX says. */
static void odd_clips(void **state)
{
	const float in[3] = {-9.0f, 0.25f, 9.0f};
	float out[3];

	(void)state;
	for (size_t i = 0; i < isa_count; i++) {
		run_row(isas[i], FG_ACTIVATION_CLIP, NAN, 1.0f, in, out, 3);
		assert_true(out[0] == -9.0f && out[1] == 0.25f && out[2] == 1.0f);
		run_row(isas[i], FG_ACTIVATION_CLIP, 2.0f, 1.0f, in, out, 3);
		assert_true(out[0] == 1.0f && out[1] == 1.0f && out[2] == 1.0f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_activations_sparsely),
		cmocka_unit_test(whole_numbers_wrap),
		cmocka_unit_test(special_values),
		cmocka_unit_test(sign_of_zero),
		cmocka_unit_test(tails),
		cmocka_unit_test(odd_clips),
		cmocka_unit_test(promised_functions_densely),
	};

	return cmocka_run_group_tests(tests, find_isas, NULL);
}
