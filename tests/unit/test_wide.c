/*
 * models/kernel_wide.c: what each operation on wide numbers gives, at the edges of its types, by
 * every ISA, between guard pages, at any alignment, in any batch.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/kernel_case.h"

#define MOST 40
#define I64  INT64_C

static const int64_t integers[] = {0,
				   1,
				   -1,
				   2,
				   -2,
				   3,
				   -7,
				   127,
				   128,
				   -129,
				   255,
				   256,
				   16777217,
				   -16777217,
				   123456789,
				   2147483647,
				   2147483648,
				   -2147483648,
				   -2147483649,
				   4294967296,
				   I64(1) << 53,
				   (I64(1) << 53) + 1,
				   INT64_MAX,
				   INT64_MAX - 1,
				   INT64_MIN,
				   INT64_MIN + 1,
				   63,
				   64,
				   65};
static const double doubles[] = {0.0,	 -0.0,	 0.1,	   -0.1,      1.5,     -1.5,	    2.5,
				 1e300,	 -1e300, 1e-300,   0x1p24,    0x1p31,  0x1p32,	    -0x1p31,
				 0x1p53, 0x1p63, -0x1p63,  0x1p64,    -0x1p64, 3e38,	    1e39,
				 7.0,	 -7.0,	 INFINITY, -INFINITY, NAN,     0x1p31 - 0.5};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool takes_doubles(enum fg_wide_operation operation)
{
	return operation >= FG_WIDE_F64_ADD || operation == FG_WIDE_I64_FROM_F64 ||
	       operation == FG_WIDE_I64_NEAR_F64 || operation == FG_WIDE_U64_FROM_F64 ||
	       operation == FG_WIDE_U32_FROM_F64 || operation == FG_WIDE_F32_FROM_F64;
}

static int64_t get_i64(const float *at, size_t i)
{
	int64_t value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static double get_f64(const float *at, size_t i)
{
	double value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static void set_numbers(float *at, size_t count, bool is_f64, uint32_t *seed)
{
	for (size_t i = 0; i < count; i++) {
		const int64_t integer = integers[case_random(seed) % COUNT(integers)];
		const double number = doubles[case_random(seed) % COUNT(doubles)];

		memcpy((char *)at + i * sizeof(integer),
		       is_f64 ? (const void *)&number : (const void *)&integer, sizeof(integer));
	}
}

/* ---- the truth, in 128 bits ---- */

/* The lowest 64 bits of what is exact. */
static int64_t low_bits(__int128 exact)
{
	return (int64_t)(uint64_t)(unsigned __int128)exact;
}

static __int128 truncated(double x, __int128 low, __int128 behind, __int128 otherwise)
{
	const double whole = trunc(x);

	return whole >= (double)low && whole < (double)behind ? (__int128)whole : otherwise;
}

static __int128 floor_mod(__int128 x, __int128 y)
{
	return y ? ((x % y) + y) % y : 0;
}

static __int128 true_conversion(enum fg_wide_operation operation, double x)
{
	const __int128 least = INT64_MIN, behind = (__int128)1 << 63, bit31 = I64(1) << 31;

	switch (operation) {
	case FG_WIDE_I64_NEAR_F64:
		return x >= 0x1p63 ? INT64_MAX : truncated(x, least, behind, least);
	case FG_WIDE_U64_FROM_F64:
		if (x >= 0x1p63)
			return truncated(x, behind, 2 * behind, 0);
		return truncated(x, least, behind, least);
	case FG_WIDE_U32_FROM_F64:
		if (x >= 0x1p31)
			return truncated(x, bit31, 2 * bit31, 0);
		return floor_mod(truncated(x, -bit31, bit31, bit31), 2 * bit31);
	default:
		return truncated(x, least, behind, least);
	}
}

static __int128 true_integer(enum fg_wide_operation operation, int64_t left, int64_t right,
			     float alpha, float beta)
{
	const __int128 x = left, y = right;
	const unsigned __int128 ux = (uint64_t)left, uy = (uint64_t)right;
	const __int128 low = (__int128)alpha, span = (__int128)beta;

	switch (operation) {
	case FG_WIDE_I64_WRAP:
		return floor_mod(x - low, span) + low;
	case FG_WIDE_I64_LIMIT:
		return x >= low && x < low + span ? x : low;
	case FG_WIDE_I64_ADD:
		return x + y;
	case FG_WIDE_I64_SUB:
		return x - y;
	case FG_WIDE_I64_MUL:
		return x * y;
	case FG_WIDE_I64_DIV:
		return y ? x / y : 0;
	case FG_WIDE_I64_MOD:
		return floor_mod(x, y);
	case FG_WIDE_I64_REM:
		return y ? x % y : 0;
	case FG_WIDE_I64_MIN:
		return x < y ? x : y;
	case FG_WIDE_I64_MAX:
		return x < y ? y : x;
	case FG_WIDE_I64_LESS:
		return x < y;
	case FG_WIDE_I64_LESS_EQUAL:
		return x <= y;
	case FG_WIDE_I64_EQUAL:
		return x == y;
	case FG_WIDE_I64_AND:
		return x & y;
	case FG_WIDE_I64_OR:
		return x | y;
	case FG_WIDE_I64_XOR:
		return x ^ y;
	case FG_WIDE_U64_LEFT:
		return uy < 64 ? (__int128)(ux << uy) : 0;
	case FG_WIDE_U64_RIGHT:
		return uy < 64 ? (__int128)(ux >> uy) : 0;
	case FG_WIDE_U64_DIV:
		return uy ? (__int128)(ux / uy) : 0;
	case FG_WIDE_U64_REM:
		return uy ? (__int128)(ux % uy) : 0;
	case FG_WIDE_U64_MIN:
		return (__int128)(ux < uy ? ux : uy);
	case FG_WIDE_U64_MAX:
		return (__int128)(ux < uy ? uy : ux);
	case FG_WIDE_U64_LESS:
		return ux < uy;
	case FG_WIDE_U64_LESS_EQUAL:
		return ux <= uy;
	default:
		fail_msg("operation %d has no truth", operation);
		return 0;
	}
}

static double true_double(enum fg_wide_operation operation, double x, double y)
{
	switch (operation) {
	case FG_WIDE_F64_ADD:
		return x + y;
	case FG_WIDE_F64_SUB:
		return x - y;
	case FG_WIDE_F64_MUL:
		return x * y;
	case FG_WIDE_F64_DIV:
		return x / y;
	case FG_WIDE_F64_REM:
		return fmod(x, y);
	case FG_WIDE_F64_POW:
		return pow(x, y);
	case FG_WIDE_F64_MIN:
		return isnan(x) || isnan(y) ? NAN : fmin(x, y);
	case FG_WIDE_F64_MAX:
		return isnan(x) || isnan(y) ? NAN : fmax(x, y);
	case FG_WIDE_F64_ACTIVATION:
		return tanh(x);
	default:
		fail_msg("operation %d has no truth", operation);
		return 0;
	}
}

static bool same(double got, double wanted)
{
	return got == wanted || (isnan(got) && isnan(wanted));
}

static bool holds(const struct fg_kernel_args *args, const float *in, const float *other,
		  const float *out, size_t i)
{
	const enum fg_wide_operation operation = args->operation;

	switch (operation) {
	case FG_WIDE_I64_FROM_F32:
		return get_i64(out, i) == low_bits(true_conversion(operation, case_get(in, i)));
	case FG_WIDE_I64_FROM_F64:
	case FG_WIDE_I64_NEAR_F64:
	case FG_WIDE_U64_FROM_F64:
	case FG_WIDE_U32_FROM_F64:
		return get_i64(out, i) == low_bits(true_conversion(operation, get_f64(in, i)));
	case FG_WIDE_F32_FROM_I64:
		return case_get(out, i) == (float)(__int128)get_i64(in, i);
	case FG_WIDE_F32_FROM_U64:
		return case_get(out, i) == (float)(__int128)(uint64_t)get_i64(in, i);
	case FG_WIDE_F32_FROM_F64:
		return same(case_get(out, i), (float)get_f64(in, i));
	case FG_WIDE_F64_FROM_F32:
		return same(get_f64(out, i), case_get(in, i));
	case FG_WIDE_F64_FROM_I64:
		return get_f64(out, i) == (double)(__int128)get_i64(in, i);
	case FG_WIDE_F64_FROM_U64:
		return get_f64(out, i) == (double)(__int128)(uint64_t)get_i64(in, i);
	case FG_WIDE_F64_LESS:
		return get_i64(out, i) == (get_f64(in, i) < get_f64(other, i));
	case FG_WIDE_F64_LESS_EQUAL:
		return get_i64(out, i) == (get_f64(in, i) <= get_f64(other, i));
	case FG_WIDE_F64_EQUAL:
		return get_i64(out, i) == (get_f64(in, i) == get_f64(other, i));
	case FG_WIDE_F64_ADD ... FG_WIDE_F64_MAX:
		return same(get_f64(out, i),
			    true_double(operation, get_f64(in, i), get_f64(other, i)));
	case FG_WIDE_F64_ACTIVATION:
		return same(get_f64(out, i), true_double(operation, get_f64(in, i), 0));
	default:
		return get_i64(out, i) == low_bits(true_integer(operation, get_i64(in, i),
								args->other ? get_i64(other, i) : 0,
								args->alpha, args->beta));
	}
}

/* ---- every operation ---- */

static void check_operation(const struct fg_kernels *kernels, enum fg_wide_operation operation,
			    uint32_t count, uint32_t rows, uint32_t seed)
{
	const struct fg_wide_shape shape = fg_wide_shape(operation);
	struct kernel_case test = {
		.kind = FG_STEP_WIDE,
		.operation = operation,
		.activation = operation == FG_WIDE_F64_ACTIVATION ? FG_ACTIVATION_TANH
								  : FG_ACTIVATION_NONE,
		.in_cols = count * shape.in_cols,
		.out_cols = count * shape.out_cols,
		.broadcast = seed % 2,
		.special = true,
		.alpha = seed % 3 ? -128 : 0,
		.beta = 256,
	};
	struct kernel_batch batch;

	make_batch(&batch, &test, rows, seed % 4, seed);
	if (shape.in_cols == 2)
		set_numbers(batch.in.at, (size_t)rows * count, takes_doubles(operation), &seed);
	if (shape.others)
		set_numbers(batch.other.at, (test.broadcast ? 1 : rows) * (size_t)count,
			    takes_doubles(operation), &seed);
	kernels->run[FG_STEP_WIDE](&batch.args);
	assert_canaries(&batch.args);
	for (uint32_t row = 0; row < rows; row++)
		for (uint32_t i = 0; i < count; i++)
			if (!holds(&batch.args, case_row(batch.args.in, test.in_cols, row),
				   case_row(batch.args.other, batch.args.other_stride, row),
				   case_row(batch.args.out, batch.args.out_stride, row), i))
				fail_msg("%s: operation %d, row %u, number %u of %u (seed %u)",
					 kernels->isa, operation, row, i, count, seed);
	assert_rows_alone(kernels, FG_STEP_WIDE, &batch.args);
	assert_rows_permute(kernels, FG_STEP_WIDE, &batch.args);
	free_batch(&batch);
}

static void every_operation(void **state)
{
	(void)state;
	for (int operation = FG_WIDE_NONE + 1; operation < FG_WIDE_OPERATION_COUNT; operation++)
		for (size_t isa = 0; fg_cpu_kernels(isa); isa++)
			for (uint32_t count = 1; count <= MOST; count++)
				check_operation(fg_cpu_kernels(isa), operation, count,
						1 + count % 9, 1000 * operation + count);
}

/* ---- the other kinds ---- */

static void wide_select(void **state)
{
	struct kernel_case test = {.kind = FG_STEP_WIDE_SELECT, .special = true};

	(void)state;
	for (size_t isa = 0; fg_cpu_kernels(isa); isa++)
		for (uint32_t count = 1; count <= MOST; count++) {
			const struct fg_kernels *kernels = fg_cpu_kernels(isa);
			struct kernel_batch batch;

			test.in_cols = count;
			test.out_cols = 2 * count;
			make_batch(&batch, &test, 5, count % 4, count);
			kernels->run[test.kind](&batch.args);
			assert_canaries(&batch.args);
			for (uint32_t i = 0; i < count; i++) {
				const bool truth = case_get(batch.in.at, i) != 0;
				const float *from = truth ? batch.other.at : batch.third.at;

				assert_true(get_i64(batch.out.at, i) == get_i64(from, i));
			}
			assert_rows_alone(kernels, test.kind, &batch.args);
			assert_rows_permute(kernels, test.kind, &batch.args);
			free_batch(&batch);
		}
}

static void wide_reduce(void **state)
{
	static const enum fg_wide_operation operations[] = {FG_WIDE_I64_ADD, FG_WIDE_I64_MIN,
							    FG_WIDE_I64_MAX, FG_WIDE_U64_MAX,
							    FG_WIDE_F64_ADD};
	struct kernel_case test = {.kind = FG_STEP_WIDE_REDUCE, .out_cols = 2};

	(void)state;
	for (size_t isa = 0; fg_cpu_kernels(isa); isa++)
		for (uint32_t count = 1; count <= MOST; count++) {
			const struct fg_kernels *kernels = fg_cpu_kernels(isa);
			uint32_t seed = count;
			struct kernel_batch batch;
			int64_t wanted;
			double sum;

			test.operation = operations[count % COUNT(operations)];
			test.in_cols = 2 * count;
			make_batch(&batch, &test, 5, count % 4, count);
			set_numbers(batch.in.at, 5 * (size_t)count, takes_doubles(test.operation),
				    &seed);
			kernels->run[test.kind](&batch.args);
			assert_canaries(&batch.args);
			wanted = get_i64(batch.in.at, 0);
			sum = get_f64(batch.in.at, 0);
			for (uint32_t i = 1; i < count; i++) {
				sum += get_f64(batch.in.at, i);
				if (test.operation != FG_WIDE_F64_ADD)
					wanted = low_bits(true_integer(test.operation, wanted,
								       get_i64(batch.in.at, i), 0,
								       0));
			}
			if (test.operation == FG_WIDE_F64_ADD)
				assert_true(same(get_f64(batch.out.at, 0), sum));
			else
				assert_true(get_i64(batch.out.at, 0) == wanted);
			assert_rows_alone(kernels, test.kind, &batch.args);
			assert_rows_permute(kernels, test.kind, &batch.args);
			free_batch(&batch);
		}
}

static void wide_lookup(void **state)
{
	static const int64_t keys[] = {INT64_MIN + 1, -7, 0, 16777217, 123456789, INT64_MAX};
	struct kernel_case test = {.kind = FG_STEP_WIDE_LOOKUP, .entries = COUNT(keys)};

	(void)state;
	for (size_t isa = 0; fg_cpu_kernels(isa); isa++)
		for (uint32_t count = 1; count <= MOST; count++) {
			const struct fg_kernels *kernels = fg_cpu_kernels(isa);
			uint32_t seed = count;
			struct kernel_batch batch;

			test.in_cols = 2 * count;
			test.out_cols = count;
			make_batch(&batch, &test, 5, count % 4, count);
			memcpy(batch.weights.at, keys, sizeof(keys));
			set_numbers(batch.in.at, 5 * (size_t)count, false, &seed);
			kernels->run[test.kind](&batch.args);
			assert_canaries(&batch.args);
			for (uint32_t i = 0; i < count; i++) {
				uint32_t place = 0;

				while (place < COUNT(keys) &&
				       keys[place] != get_i64(batch.in.at, i))
					place++;
				assert_true(case_get(batch.out.at, i) == (float)place);
			}
			assert_rows_alone(kernels, test.kind, &batch.args);
			assert_rows_permute(kernels, test.kind, &batch.args);
			free_batch(&batch);
		}
}

/* Wide numbers are copied as floats: no bit of them may change. */
static void copies_keep_every_bit(void **state)
{
	(void)state;
	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		const uint32_t bits[2] = {0x7f800001, 0xffa00000}; /* NaNs that signal */
		uint32_t copied[2] = {0};
		struct fg_kernel_args args = {.in = (const float *)bits,
					      .in_stride = 2,
					      .out = (float *)copied,
					      .out_stride = 2,
					      .rows = 1,
					      .in_cols = 2,
					      .out_cols = 2};

		fg_cpu_kernels(isa)->run[FG_STEP_ACTIVATION](&args);
		assert_memory_equal(copied, bits, sizeof(bits));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation),	 cmocka_unit_test(wide_select),
		cmocka_unit_test(wide_reduce),		 cmocka_unit_test(wide_lookup),
		cmocka_unit_test(copies_keep_every_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
