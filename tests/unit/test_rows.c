/*
 * models/kernel_{softmax,normalize,reduce}.c: the kernels that work on a row as a whole, of every
 * ISA, against sums in double with the bounds of models/kernels.h; infinities, NaN, ties, and rows
 * that lose digits when summed carelessly. (test_kernels.c holds them to what all kernels share.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/kernel_truth.h"

#define MAX_COLS 2000

static const uint32_t widths[] = {1,  2,  3,  7,  8,  9,   10,	15,  16,  17,  31,
				  32, 33, 63, 64, 65, 100, 127, 128, 200, 513, MAX_COLS};
#define WIDTHS (sizeof(widths) / sizeof(widths[0]))

/* One row; weights and bias where the kind has them. */
static void run_row(const struct fg_kernels *kernels, enum fg_step_kind kind, const float *in,
		    const float *weights, const float *bias, float alpha, float *out, uint32_t cols)
{
	struct fg_kernel_args args = {.in = in,
				      .in_stride = cols,
				      .weights = weights,
				      .bias = bias,
				      .alpha = alpha,
				      .out = out,
				      .out_stride = cols,
				      .rows = 1,
				      .in_cols = cols,
				      .out_cols = kind >= FG_STEP_REDUCE_SUM ? 1 : cols};

	kernels->run[kind](&args);
}

/* Runs check(kernels, row, cols) on rows of random numbers, mean + scale * (-8 .. 8). */
static void each_row(void (*check)(const struct fg_kernels *, const float *, uint32_t), float mean,
		     float scale)
{
	static float in[MAX_COLS];

	for (uint32_t seed = 1; seed <= 20; seed++)
		for (size_t n = 0; n < WIDTHS; n++) {
			uint32_t random = seed * 977 + widths[n];

			for (uint32_t col = 0; col < widths[n]; col++)
				in[col] = mean + scale * case_number(&random, false);
			for (size_t i = 0; fg_cpu_kernels(i); i++)
				check(fg_cpu_kernels(i), in, widths[n]);
		}
}

static void assert_off(const struct fg_kernels *kernels, uint32_t cols, uint32_t col, float got,
		       double wanted, double slack)
{
	if (!(fabs(got - wanted) <= slack))
		fail_msg("%s: column %u of %u: %.9g, wanted %.17g give or take %g", kernels->isa,
			 col, cols, got, wanted, slack);
}

/* ---- softmax ---- */

static float max_of(const float *in, uint32_t cols)
{
	float max = -INFINITY;

	for (uint32_t col = 0; col < cols; col++)
		max = fmaxf(max, in[col]);
	return max;
}

static double sum_of_exp(const float *in, uint32_t cols)
{
	const float max = max_of(in, cols);
	double sum = 0;

	for (uint32_t col = 0; col < cols; col++)
		sum += exp((double)in[col] - max);
	return sum;
}

static void check_softmax(const struct fg_kernels *kernels, const float *in, uint32_t cols)
{
	const float max = max_of(in, cols);
	const double sum = sum_of_exp(in, cols);
	float out[MAX_COLS];

	run_row(kernels, FG_STEP_SOFTMAX, in, NULL, NULL, 0, out, cols);
	for (uint32_t col = 0; col < cols; col++) {
		float difference = in[col] - max;
		double wanted = exp(difference) / sum;

		if (!(truth_ulps(out[col], wanted) <= FG_SOFTMAX_ULP))
			fail_msg("%s: column %u of %u: %a, wanted %a", kernels->isa, col, cols,
				 out[col], wanted);
	}
}

static void check_log_softmax(const struct fg_kernels *kernels, const float *in, uint32_t cols)
{
	const float max = max_of(in, cols);
	const double log_sum = log(sum_of_exp(in, cols));
	float out[MAX_COLS];

	run_row(kernels, FG_STEP_LOG_SOFTMAX, in, NULL, NULL, 0, out, cols);
	for (uint32_t col = 0; col < cols; col++) {
		double difference = (double)in[col] - max;

		assert_off(kernels, cols, col, out[col], difference - log_sum,
			   (fabs(difference) + log(cols) + 4) * 0x1p-22);
	}
}

static void softmax(void **state)
{
	(void)state;
	each_row(check_softmax, 0, 1);
	each_row(check_softmax, 1000, 10);
	each_row(check_log_softmax, 0, 1);
	each_row(check_log_softmax, -1e6f, 100);
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
		{-3e38f, 3e38f, -INFINITY},
	};
	static const float wanted[][3] = {
		{0.5f, 0.0f, 0.5f},
		{1.0f / 3, 1.0f / 3, 1.0f / 3},
		{1.0f, 0.0f, 0.0f},
		{0.5f, 0.5f, 0.0f},
		{1.0f / 3, 1.0f / 3, 1.0f / 3},
		{0.0f, 1.0f, 0.0f},
		{1.0f, 0.0f, 0.0f},
		{0.0f, 1.0f, 0.0f},
	};
	float out[3], logs[3];

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
			run_row(fg_cpu_kernels(i), FG_STEP_SOFTMAX, rows[row], NULL, NULL, 0, out,
				3);
			run_row(fg_cpu_kernels(i), FG_STEP_LOG_SOFTMAX, rows[row], NULL, NULL, 0,
				logs, 3);
			for (size_t col = 0; col < 3; col++) {
				assert_true(truth_ulps(out[col], wanted[row][col]) <= 1);
				if (wanted[row][col] > 0)
					assert_true(fabs(logs[col] - log(wanted[row][col])) < 1e-6);
				else
					assert_true(logs[col] <= -1e4f);
			}
		}
}

static void nan_spreads_over_its_row_only(void **state)
{
	enum { COLS = 19 };
	static const enum fg_step_kind kinds[] = {FG_STEP_SOFTMAX, FG_STEP_LOG_SOFTMAX,
						  FG_STEP_NORMALIZE};
	float in[2 * COLS], out[2 * COLS], ones[COLS];

	(void)state;
	for (size_t col = 0; col < COLS; col++)
		ones[col] = 1;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t at = 0; at < 3 * COLS; at++) {
			struct fg_kernel_args args = {.in = in,
						      .in_stride = COLS,
						      .weights = ones,
						      .bias = ones,
						      .out = out,
						      .out_stride = COLS,
						      .rows = 2,
						      .in_cols = COLS,
						      .out_cols = COLS};

			for (size_t col = 0; col < 2 * COLS; col++)
				in[col] = (float)col;
			in[at % COLS] = NAN;
			fg_cpu_kernels(i)->run[kinds[at / COLS]](&args);
			for (size_t col = 0; col < COLS; col++) {
				assert_true(isnan(out[col]));
				assert_false(isnan(out[COLS + col]));
			}
		}
}

/* ---- layer normalization ---- */

static void check_normalize(const struct fg_kernels *kernels, const float *in, uint32_t cols)
{
	static float weights[MAX_COLS], bias[MAX_COLS], out[MAX_COLS];
	double mean = 0, variance = 0;
	uint32_t seed = cols;

	for (uint32_t col = 0; col < cols; col++) {
		weights[col] = case_number(&seed, false);
		bias[col] = case_number(&seed, false);
		mean += in[col];
	}
	mean /= cols;
	for (uint32_t col = 0; col < cols; col++)
		variance += (in[col] - mean) * (in[col] - mean) / cols;
	run_row(kernels, FG_STEP_NORMALIZE, in, weights, bias, 1e-5f, out, cols);
	for (uint32_t col = 0; col < cols; col++) {
		double y = (in[col] - mean) / sqrt(variance + 1e-5f);

		assert_off(kernels, cols, col, out[col], y * weights[col] + bias[col],
			   (fabs(y) + 1) * fabs(weights[col]) * (cols + 4) * 0x1p-23 +
				   fabs(bias[col]) * 0x1p-23);
	}
}

static void normalize(void **state)
{
	(void)state;
	each_row(check_normalize, 0, 1);
	each_row(check_normalize, 1e4f, 0.125f);
	each_row(check_normalize, -3e5f, 1);
	each_row(check_normalize, 0, 1e-3f);
	each_row(check_normalize, 0, 1e12f);
}

/* What rounding makes of no variance must be no less than 0, and not blow up. */
static void normalize_of_equal_columns(void **state)
{
	float in[37], ones[37], zeros[37] = {0}, out[37];

	(void)state;
	for (size_t col = 0; col < 37; col++) {
		in[col] = 0.1f;
		ones[col] = 1;
	}
	for (size_t i = 0; fg_cpu_kernels(i); i++) {
		run_row(fg_cpu_kernels(i), FG_STEP_NORMALIZE, in, ones, zeros, 1e-12f, out, 37);
		for (size_t col = 0; col < 37; col++)
			assert_true(fabsf(out[col]) < 1e-2f);
	}
}

/* ---- reductions ---- */

static void check_sums(const struct fg_kernels *kernels, const float *in, uint32_t cols)
{
	double sum = 0, size = 0, squares = 0;
	float out;

	for (uint32_t col = 0; col < cols; col++) {
		sum += in[col];
		size += fabs(in[col]);
		squares += (double)in[col] * in[col];
	}
	run_row(kernels, FG_STEP_REDUCE_SUM, in, NULL, NULL, 0, &out, cols);
	assert_off(kernels, cols, 0, out, sum, (cols + 1) * 0x1p-23 * size);
	run_row(kernels, FG_STEP_REDUCE_MEAN, in, NULL, NULL, 0, &out, cols);
	assert_off(kernels, cols, 0, out, sum / cols, (cols + 1) * 0x1p-23 * size / cols);
	run_row(kernels, FG_STEP_REDUCE_L1, in, NULL, NULL, 0, &out, cols);
	assert_off(kernels, cols, 0, out, size, (cols + 1) * 0x1p-23 * size);
	run_row(kernels, FG_STEP_REDUCE_L2, in, NULL, NULL, 0, &out, cols);
	assert_off(kernels, cols, 0, out, sqrt(squares), (cols + 1) * 0x1p-23 * sqrt(squares));
}

/* The column that should win: NaN before all, the first of equals. */
static uint32_t winner(const float *in, uint32_t cols, float sign)
{
	uint32_t best = 0;

	for (uint32_t col = cols; col-- > 0;)
		if (isnan(in[col]) || (!isnan(in[best]) && sign * in[col] >= sign * in[best]) ||
		    col == cols - 1)
			best = col;
	return best;
}

static void check_extremes(const struct fg_kernels *kernels, const float *in, uint32_t cols)
{
	const uint32_t max = winner(in, cols, 1), min = winner(in, cols, -1);
	float out;

	run_row(kernels, FG_STEP_ARG_MAX, in, NULL, NULL, 0, &out, cols);
	assert_true(out == (float)max);
	run_row(kernels, FG_STEP_ARG_MIN, in, NULL, NULL, 0, &out, cols);
	assert_true(out == (float)min);
	run_row(kernels, FG_STEP_REDUCE_MAX, in, NULL, NULL, 0, &out, cols);
	assert_true(truth_same(out, in[max]));
	run_row(kernels, FG_STEP_REDUCE_MIN, in, NULL, NULL, 0, &out, cols);
	assert_true(truth_same(out, in[min]));
}

static void reductions(void **state)
{
	(void)state;
	each_row(check_sums, 0, 1);
	each_row(check_sums, 1000, 0.1f);
	each_row(check_extremes, 0, 1);
	each_row(check_extremes, 16777216.0f, 0.1f); /* many equal columns */
}

/* NaN and infinities in every column of every width that a vector or two can have. */
static void extremes_with_specials(void **state)
{
	static const float specials[] = {NAN, INFINITY, -INFINITY};
	float in[40];

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (uint32_t cols = 1; cols <= 40; cols++)
			for (uint32_t at = 0; at < 3 * cols; at++) {
				for (uint32_t col = 0; col < cols; col++)
					in[col] = (float)(col % 5);
				in[at / 3] = specials[at % 3];
				check_extremes(fg_cpu_kernels(i), in, cols);
				in[cols - 1] = specials[(at + 1) % 3];
				check_extremes(fg_cpu_kernels(i), in, cols);
				for (uint32_t col = 0; col < cols; col++)
					in[col] = specials[at % 3];
				check_extremes(fg_cpu_kernels(i), in, cols);
			}
}

static void sums_with_specials(void **state)
{
	float in[21] = {0}, out;

	(void)state;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t at = 0; at < 21; at++) {
			in[at] = -INFINITY;
			run_row(fg_cpu_kernels(i), FG_STEP_REDUCE_SUM, in, NULL, NULL, 0, &out, 21);
			assert_true(out == -INFINITY);
			run_row(fg_cpu_kernels(i), FG_STEP_REDUCE_L2, in, NULL, NULL, 0, &out, 21);
			assert_true(out == INFINITY);
			in[20 - at] = at == 10 ? NAN : INFINITY;
			run_row(fg_cpu_kernels(i), FG_STEP_REDUCE_MEAN, in, NULL, NULL, 0, &out,
				21);
			assert_true(isnan(out));
			in[at] = in[20 - at] = 0;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(softmax),
		cmocka_unit_test(softmax_survives_extremes),
		cmocka_unit_test(nan_spreads_over_its_row_only),
		cmocka_unit_test(normalize),
		cmocka_unit_test(normalize_of_equal_columns),
		cmocka_unit_test(reductions),
		cmocka_unit_test(extremes_with_specials),
		cmocka_unit_test(sums_with_specials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
