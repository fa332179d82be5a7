/*
 * The dense kernel of every ISA that this CPU has, for every weight format: against sums in double
 * (8-bit weights: against integers, to the bit), with guard pages around every buffer; a row gives
 * the same bits alone, in any batch and at any place in it; activations fused are activations
 * after; NaN and infinity go where they should.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "models/pack.h"
#include "tests/unit/kernel_case.h"

#define MAX_ROWS 64u
#define IN_GAP	 5 /* floats between two input rows */

struct dense_case {
	enum fg_weights format;
	uint32_t in_cols;
	uint32_t out_cols;
	uint32_t rows;
	size_t odd;	/* bytes by which rows are off */
	bool residual;	/* with `other`, */
	bool broadcast; /* one row of it for all */
};

struct dense_batch {
	struct guarded in, other, packed, bias, out, scratch;
	float *weights; /* (in_cols, out_cols) as they were before packing */
	struct fg_kernel_args args;
};

static void make_dense(struct dense_batch *batch, const struct dense_case *test, uint32_t seed)
{
	const size_t in_stride = test->in_cols + IN_GAP, out_stride = test->out_cols + CASE_GAP;
	const size_t out_floats = test->rows * out_stride - CASE_GAP;
	const size_t count = (size_t)test->in_cols * test->out_cols;
	const size_t other_rows = test->broadcast ? 1 : test->rows;

	batch->weights = malloc(count * sizeof(float));
	for (size_t i = 0; i < count; i++)
		batch->weights[i] = case_number(&seed, false);
	batch->packed = guard(fg_pack_bytes(test->format, test->in_cols, test->out_cols), 0);
	assert_int_equal(fg_pack_weights(test->format, batch->weights, test->in_cols,
					 test->out_cols, batch->packed.at),
			 0);
	case_fill(&batch->in, test->rows * in_stride - IN_GAP, test->odd, &seed, false);
	case_fill(&batch->other, other_rows * test->out_cols, test->odd, &seed, false);
	case_fill(&batch->bias, (size_t)fg_panels(test->out_cols) * FG_PANEL_COLS, 0, &seed, false);
	batch->scratch = guard(fg_pack_scratch_bytes(test->in_cols, test->rows), 0);
	batch->out = guard(out_floats * sizeof(float), test->odd);
	for (size_t i = 0; i < out_floats; i++)
		memcpy((char *)batch->out.at + i * 4, &(uint32_t){CASE_CANARY}, 4);
	batch->args = (struct fg_kernel_args){
		.in = batch->in.at,
		.in_stride = in_stride,
		.other = test->residual ? batch->other.at : NULL,
		.other_stride = test->broadcast ? 0 : test->out_cols,
		.weights = batch->packed.at,
		.bias = batch->bias.at,
		.out = batch->out.at,
		.out_stride = out_stride,
		.scratch = batch->scratch.at,
		.rows = test->rows,
		.in_cols = test->in_cols,
		.out_cols = test->out_cols,
		.format = test->format,
	};
}

static void free_dense(struct dense_batch *batch)
{
	free(batch->weights);
	unguard(&batch->in);
	unguard(&batch->other);
	unguard(&batch->packed);
	unguard(&batch->bias);
	unguard(&batch->out);
	unguard(&batch->scratch);
}

static double input(const struct dense_batch *batch, uint32_t row, uint32_t k)
{
	return case_get(batch->args.in, row * batch->args.in_stride + k);
}

static double other(const struct dense_batch *batch, uint32_t row, uint32_t col)
{
	return batch->args.other ? case_get(batch->args.other, row * batch->args.other_stride + col)
				 : 0;
}

/* ---- F32 and BF16: the bound of models/kernels.h ---- */

/* Eight bits, ties to even. */
static double bf16(double weight)
{
	int exponent;
	double fraction = frexp(weight, &exponent);

	return ldexp(rint(ldexp(fraction, 8)), exponent - 8);
}

static void assert_sum(const struct dense_batch *batch, uint32_t row, uint32_t col)
{
	const struct fg_kernel_args *args = &batch->args;
	const double got = case_get(args->out, row * args->out_stride + col);
	double sum = args->bias[col], size = fabs(sum), bound;

	for (uint32_t k = 0; k < args->in_cols; k++) {
		double weight = batch->weights[(size_t)k * args->out_cols + col];
		double x = input(batch, row, k);

		weight = args->format == FG_WEIGHTS_BF16 ? bf16(weight) : weight;
		sum += x * weight;
		size += fabs(x * weight);
	}
	sum += other(batch, row, col);
	size += fabs(other(batch, row, col));
	bound = (args->in_cols + 2) * 0x1p-23 * size;
	if (isnan(sum) ? !isnan(got) : isinf(sum) ? got != sum : !(fabs(got - sum) <= bound))
		fail_msg("row %u of %u, column %u of %u, %u inputs: got %.9g, wanted %.17g +- %g",
			 row, args->rows, col, args->out_cols, args->in_cols, got, sum, bound);
}

/* ---- INT8: the arithmetic of models/pack.h, spelt out ---- */

static int64_t weight_byte(const struct dense_batch *batch, uint32_t k, uint32_t col, float scale)
{
	double weight = batch->weights[(size_t)k * batch->args.out_cols + col];

	return scale > 0 ? llrint(fmin(fmax(weight / scale, -127), 127)) : 0;
}

static float column_scale(const struct dense_batch *batch, uint32_t col)
{
	float largest = 0;

	for (uint32_t k = 0; k < batch->args.in_cols; k++)
		largest = fmaxf(largest, fabsf(batch->weights[k * batch->args.out_cols + col]));
	return largest / 127;
}

static void row_step(const struct dense_batch *batch, uint32_t row, float *step, int64_t *zero)
{
	float low = 0, high = 0;
	bool finite = true;

	for (uint32_t k = 0; k < batch->args.in_cols; k++) {
		finite = finite && isfinite(input(batch, row, k));
		low = fminf(low, (float)input(batch, row, k));
		high = fmaxf(high, (float)input(batch, row, k));
	}
	*step = finite ? high * (1.0f / 127) - low * (1.0f / 127) : NAN;
	*zero = *step >= FG_PACK_INT8_MIN_STEP ? -llrintf(low * (1 / *step)) : 0;
}

static void assert_int8_row(const struct dense_batch *batch, uint32_t row)
{
	const struct fg_kernel_args *args = &batch->args;
	int64_t zero;
	float step;

	row_step(batch, row, &step, &zero);
	for (uint32_t col = 0; col < args->out_cols; col++) {
		const float scale = column_scale(batch, col);
		float wanted, got = case_get(args->out, row * args->out_stride + col);
		int64_t sum = 0;

		for (uint32_t k = 0; k < args->in_cols && step >= FG_PACK_INT8_MIN_STEP; k++) {
			int64_t u = llrintf((float)input(batch, row, k) * (1 / step)) + zero;

			u = u < 127 ? u : 127;
			assert_true(u >= 0);
			sum += (u - zero) * weight_byte(batch, k, col, scale);
		}
		wanted = step * scale * (float)sum + args->bias[col];
		if (args->other)
			wanted += (float)other(batch, row, col);
		if (isnan(wanted) ? !isnan(got) : memcmp(&got, &wanted, sizeof(got)) != 0)
			fail_msg("row %u of %u, column %u of %u, %u inputs: got %a, wanted %a", row,
				 args->rows, col, args->out_cols, args->in_cols, got, wanted);
	}
}

/* ---- properties ---- */

static void assert_outputs(const struct dense_batch *batch)
{
	for (uint32_t row = 0; row < batch->args.rows; row++) {
		if (batch->args.format == FG_WEIGHTS_INT8)
			assert_int8_row(batch, row);
		else
			for (uint32_t col = 0; col < batch->args.out_cols; col++)
				assert_sum(batch, row, col);
	}
}

static void assert_same_bits(const struct fg_kernel_args *args, uint32_t row, const float *out)
{
	assert_memory_equal(out, case_row(args->out, args->out_stride, row),
			    args->out_cols * sizeof(float));
}

/* One row alone, and all in reverse order, give the bits of the batch. */
static void assert_invariant(const struct fg_kernels *kernels, const struct dense_batch *batch)
{
	const struct fg_kernel_args *args = &batch->args;
	struct guarded in = guard(args->in_cols * sizeof(float), 0);
	struct guarded out = guard(args->out_cols * sizeof(float), 0);
	float *reversed = malloc(args->rows * args->out_cols * sizeof(float));
	struct fg_kernel_args one = *args, back = *args;

	one.rows = 1;
	one.in = in.at;
	one.out = out.at;
	back.in = case_row(args->in, args->in_stride, args->rows - 1);
	back.in_stride = -args->in_stride;
	back.other = args->other ? case_row(args->other, args->other_stride, args->rows - 1) : NULL;
	back.other_stride = -args->other_stride;
	back.out = reversed;
	back.out_stride = args->out_cols;
	kernels->run[FG_STEP_DENSE](&back);
	for (uint32_t row = 0; row < args->rows; row++) {
		memcpy(in.at, case_row(args->in, args->in_stride, row),
		       args->in_cols * sizeof(float));
		one.other = args->other ? case_row(args->other, args->other_stride, row) : NULL;
		kernels->run[FG_STEP_DENSE](&one);
		assert_same_bits(args, row, out.at);
		assert_same_bits(args, row,
				 reversed + (size_t)(args->rows - 1 - row) * args->out_cols);
	}
	free(reversed);
	unguard(&in);
	unguard(&out);
}

static void check_case(const struct dense_case *test, uint32_t seed)
{
	struct dense_batch batch;

	make_dense(&batch, test, seed);
	for (size_t i = 0; fg_cpu_kernels(i); i++) {
		fg_cpu_kernels(i)->run[FG_STEP_DENSE](&batch.args);
		assert_canaries(&batch.args);
		assert_outputs(&batch);
		assert_invariant(fg_cpu_kernels(i), &batch);
	}
	free_dense(&batch);
}

static const uint32_t widths[] = {1,  2,  3,  4,  5,  8,  9,  15, 16,  17,  31,	 32,  33,
				  47, 48, 49, 63, 64, 65, 80, 96, 112, 113, 128, 129, 200};
#define WIDTHS (sizeof(widths) / sizeof(widths[0]))

/* Every width with every depth, in a few rows. */
static void check_shapes(enum fg_weights format)
{
	static const uint32_t depths[] = {1,  2,  3,  4,  5,  7,  8,   15,  16, 17,
					  31, 32, 33, 63, 64, 65, 100, 131, 257};
	uint32_t seed = 1;

	for (size_t k = 0; k < sizeof(depths) / sizeof(depths[0]); k++)
		for (size_t n = 0; n < WIDTHS; n++) {
			const uint32_t random = case_random(&seed);
			struct dense_case test = {
				.format = format,
				.in_cols = depths[k],
				.out_cols = widths[n],
				.rows = 1 + random % (depths[k] * widths[n] > 4000 ? 5 : 14),
				.odd = random / 16 % 4,
				.residual = random / 64 % 2,
				.broadcast = random / 128 % 2,
			};

			check_case(&test, seed);
		}
}

/* Every number of rows that a worker batches. */
static void check_rows(enum fg_weights format)
{
	static const uint32_t some[] = {1, 3, 10, 20, 40, 70, 150};

	for (uint32_t rows = 1; rows <= MAX_ROWS; rows++) {
		struct dense_case test = {
			.format = format,
			.in_cols = 1 + rows * 7 % 45,
			.out_cols = some[rows % 7],
			.rows = rows,
			.odd = rows % 4,
			.residual = rows % 3 == 0,
		};

		check_case(&test, rows);
		test.out_cols = some[(rows + 3) % 7];
		check_case(&test, rows);
	}
}

static void f32(void **state)
{
	(void)state;
	check_shapes(FG_WEIGHTS_F32);
	check_rows(FG_WEIGHTS_F32);
}

static void bf16_weights(void **state)
{
	(void)state;
	check_shapes(FG_WEIGHTS_BF16);
	check_rows(FG_WEIGHTS_BF16);
}

static void int8_weights(void **state)
{
	(void)state;
	check_shapes(FG_WEIGHTS_INT8);
	check_rows(FG_WEIGHTS_INT8);
}

/* Every activation, fused, gives the bits that it gives as a step of its own. */
static void activations(void **state)
{
	(void)state;
	for (int activation = 0; activation < FG_ACTIVATION_COUNT; activation++)
		for (size_t n = 0; n < 2 * WIDTHS; n++) {
			struct dense_case test = {
				.format = (activation + n) % FG_WEIGHTS_COUNT,
				.in_cols = 1 + (uint32_t)n % 9,
				.out_cols = widths[n % WIDTHS],
				.rows = 1 + (uint32_t)n % 10,
				.residual = n % 2,
			};
			struct dense_batch batch;
			struct fg_kernel_args after;
			float *sums;

			make_dense(&batch, &test, (uint32_t)n);
			sums = malloc(test.rows * test.out_cols * sizeof(float));
			for (size_t i = 0; fg_cpu_kernels(i); i++) {
				after = batch.args;
				after.out = sums;
				after.out_stride = test.out_cols;
				fg_cpu_kernels(i)->run[FG_STEP_DENSE](&after);
				after.in = sums;
				after.in_stride = test.out_cols;
				after.in_cols = test.out_cols;
				after.out = batch.args.out;
				after.out_stride = batch.args.out_stride;
				after.activation = batch.args.activation = activation;
				after.alpha = batch.args.alpha = -1.5f;
				after.beta = batch.args.beta = 2.25f;
				fg_cpu_kernels(i)->run[FG_STEP_ACTIVATION](&after);
				after.out = sums;
				after.out_stride = test.out_cols;
				for (uint32_t row = 0; row < test.rows; row++)
					memcpy(sums + (size_t)row * test.out_cols,
					       case_row(batch.args.out, batch.args.out_stride, row),
					       test.out_cols * sizeof(float));
				fg_cpu_kernels(i)->run[FG_STEP_DENSE](&batch.args);
				assert_canaries(&batch.args);
				for (uint32_t row = 0; row < test.rows; row++)
					assert_same_bits(&batch.args, row,
							 sums + (size_t)row * test.out_cols);
				batch.args.activation = FG_ACTIVATION_NONE;
			}
			free(sums);
			free_dense(&batch);
		}
}

/* ---- NaN, infinity and the edges of 8 bits ---- */

/* Special numbers at one place of one row change that row as IEEE 754 says, and no other. */
static void nan_and_infinity(void **state)
{
	static const float specials[] = {NAN, INFINITY, -INFINITY};
	uint32_t seed = 1;

	(void)state;
	for (uint32_t n = 0; n < 300; n++) {
		struct dense_case test = {
			.format = n % FG_WEIGHTS_COUNT,
			.in_cols = 1 + case_random(&seed) % 80,
			.out_cols = widths[case_random(&seed) % WIDTHS],
			.rows = 1 + case_random(&seed) % 9,
		};
		struct dense_batch batch;

		make_dense(&batch, &test, seed);
		for (uint32_t times = 1 + case_random(&seed) % 2; times; times--) {
			uint32_t row = case_random(&seed) % test.rows;
			uint32_t k = case_random(&seed) % test.in_cols;

			case_set(batch.in.at, row * batch.args.in_stride + k,
				 specials[case_random(&seed) % 3]);
		}
		for (size_t i = 0; fg_cpu_kernels(i); i++) {
			fg_cpu_kernels(i)->run[FG_STEP_DENSE](&batch.args);
			assert_canaries(&batch.args);
			assert_outputs(&batch);
		}
		free_dense(&batch);
	}
}

/* RELU, LEAKY_RELU and CLIP keep NaN and the infinities. */
static void activations_keep_nan(void **state)
{
	static const enum fg_activation kept[] = {FG_ACTIVATION_NONE, FG_ACTIVATION_RELU,
						  FG_ACTIVATION_LEAKY_RELU, FG_ACTIVATION_CLIP};
	struct dense_case test = {.in_cols = 3, .out_cols = 21, .rows = 2};
	struct dense_batch batch;

	(void)state;
	make_dense(&batch, &test, 1);
	case_set(batch.in.at, 1, NAN);
	batch.args.alpha = 0;
	batch.args.beta = 6;
	for (size_t i = 0; fg_cpu_kernels(i); i++)
		for (size_t a = 0; a < sizeof(kept) / sizeof(kept[0]); a++) {
			batch.args.activation = kept[a];
			fg_cpu_kernels(i)->run[FG_STEP_DENSE](&batch.args);
			for (uint32_t col = 0; col < test.out_cols; col++) {
				assert_true(isnan(case_get(batch.args.out, col)));
				assert_false(isnan(
					case_get(batch.args.out, batch.args.out_stride + col)));
			}
		}
	free_dense(&batch);
}

/* Rows whose bytes are all extreme, all equal, of one sign, tiny or huge. */
static void int8_edges(void **state)
{
	static const float rows[][2] = {{0, 0},		{1, 1},		  {-1, -1},
					{127, 0},	{-127, 0},	  {1e-45f, 0},
					{-1e-38f, 0},	{1e-28f, 1e-29f}, {3e38f, -3e38f},
					{3e38f, 3e38f}, {63.5f, -63.5f}};
	const uint32_t in_cols = 70;

	(void)state;
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
		for (size_t n = 0; n < WIDTHS; n++) {
			struct dense_case test = {FG_WEIGHTS_INT8, in_cols, widths[n], 3, 0, 0, 0};
			struct dense_batch batch;

			make_dense(&batch, &test, (uint32_t)n);
			for (uint32_t k = 0; k < in_cols; k++)
				case_set(batch.in.at, batch.args.in_stride + k, rows[r][k % 2]);
			for (size_t i = 0; fg_cpu_kernels(i); i++) {
				fg_cpu_kernels(i)->run[FG_STEP_DENSE](&batch.args);
				assert_outputs(&batch);
			}
			free_dense(&batch);
		}
}

/* The largest sums of bytes that there can be fit in 32 bits, and pairs of products in 16. */
static void int8_does_not_overflow(void **state)
{
	static const uint32_t some[] = {1, 16};

	(void)state;
	for (size_t n = 0; n < 2; n++)
		for (int sign = -1; sign <= 1; sign += 2) {
			struct dense_case test = {
				FG_WEIGHTS_INT8, FG_PACK_INT8_MAX_COLS, some[n], 1, 0, 0, 0};
			struct dense_batch batch;
			size_t count = (size_t)test.in_cols * test.out_cols;

			make_dense(&batch, &test, 1);
			for (size_t i = 0; i < count; i++)
				batch.weights[i] = (float)sign;
			for (uint32_t k = 0; k < test.in_cols; k++)
				case_set(batch.in.at, k, 1.0f);
			assert_int_equal(fg_pack_weights(FG_WEIGHTS_INT8, batch.weights,
							 test.in_cols, test.out_cols,
							 batch.packed.at),
					 0);
			for (size_t i = 0; fg_cpu_kernels(i); i++) {
				fg_cpu_kernels(i)->run[FG_STEP_DENSE](&batch.args);
				assert_outputs(&batch);
			}
			free_dense(&batch);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(f32),
		cmocka_unit_test(bf16_weights),
		cmocka_unit_test(int8_weights),
		cmocka_unit_test(activations),
		cmocka_unit_test(nan_and_infinity),
		cmocka_unit_test(activations_keep_nan),
		cmocka_unit_test(int8_edges),
		cmocka_unit_test(int8_does_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
