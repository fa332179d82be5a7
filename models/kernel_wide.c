/* Kernels of wide numbers, int64 and double, each in two columns. The same code for every ISA: such
 * steps are rare and short. */
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "models/kernel_isa.h"

#define TWO_63 0x1p63

static int64_t i64_at(const float *at, size_t i)
{
	int64_t value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static uint64_t u64_at(const float *at, size_t i)
{
	return (uint64_t)i64_at(at, i);
}

static double f64_at(const float *at, size_t i)
{
	double value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static void put_i64(float *at, size_t i, int64_t value)
{
	memcpy((char *)at + i * sizeof(value), &value, sizeof(value));
}

static void put_u64(float *at, size_t i, uint64_t value)
{
	put_i64(at, i, (int64_t)value);
}

static void put_f64(float *at, size_t i, double value)
{
	memcpy((char *)at + i * sizeof(value), &value, sizeof(value));
}

/* ---- what the operations do to one number ---- */

static int64_t i64_from(double x)
{
	return x >= -TWO_63 && x < TWO_63 ? (int64_t)x : INT64_MIN;
}

static int64_t i64_near(double x)
{
	return x >= TWO_63 ? INT64_MAX : i64_from(x);
}

static uint64_t u64_from(double x)
{
	if (x >= TWO_63)
		return x < 2 * TWO_63 ? (uint64_t)x : 0;
	return (uint64_t)i64_from(x);
}

static uint64_t u32_from(double x)
{
	if (x >= 0x1p31)
		return x < 0x1p32 ? (uint64_t)x : 0;
	return x >= -0x1p31 ? (uint32_t)(int64_t)x : UINT64_C(1) << 31;
}

static int64_t wrap(int64_t x, float low, float span)
{
	const uint64_t start = (uint64_t)(int64_t)low, mask = (uint64_t)span - 1;

	return (int64_t)((((uint64_t)x - start) & mask) + start);
}

static int64_t limit(int64_t x, float low, float span)
{
	const int64_t first = (int64_t)low, count = (int64_t)span;

	return x >= first && x < first + count ? x : first;
}

static int64_t divide(int64_t x, int64_t y)
{
	if (y == -1)
		return (int64_t)(0 - (uint64_t)x);
	return y ? x / y : 0;
}

static int64_t remainder_of(int64_t x, int64_t y)
{
	return y && y != -1 ? x % y : 0;
}

static int64_t modulo(int64_t x, int64_t y)
{
	const int64_t rest = remainder_of(x, y);

	return rest && (rest < 0) != (y < 0) ? rest + y : rest;
}

static uint64_t shift(uint64_t x, uint64_t by, bool left)
{
	if (by >= 64)
		return 0;
	return left ? x << by : x >> by;
}

static double f64_min(double x, double y)
{
	return isnan(x) || x < y ? x : y;
}

static double f64_max(double x, double y)
{
	return isnan(x) || x > y ? x : y;
}

/* ---- rows of them ---- */

typedef void wide_row(const struct fg_kernel_args *args, const float *in, const float *other,
		      float *out, uint32_t count);

/* UNARY(NAME, how x is read, how the result is written, result); BINARY: y is read like x. */
#define UNARY(name, get, put, result)                                                              \
	static void row_##name(const struct fg_kernel_args *args, const float *in,                 \
			       const float *other, float *out, uint32_t count)                     \
	{                                                                                          \
		(void)args, (void)other;                                                           \
		for (uint32_t i = 0; i < count; i++) {                                             \
			const __typeof__(get(in, i)) x = get(in, i);                               \
                                                                                                   \
			put(out, i, result);                                                       \
		}                                                                                  \
	}

#define BINARY(name, get, put, result)                                                             \
	static void row_##name(const struct fg_kernel_args *args, const float *in,                 \
			       const float *other, float *out, uint32_t count)                     \
	{                                                                                          \
		(void)args;                                                                        \
		for (uint32_t i = 0; i < count; i++) {                                             \
			const __typeof__(get(in, i)) x = get(in, i), y = get(other, i);            \
                                                                                                   \
			put(out, i, result);                                                       \
		}                                                                                  \
	}

UNARY(NONE, fg_get, fg_put, x)
UNARY(I64_FROM_F32, fg_get, put_i64, i64_from(x))
UNARY(I64_FROM_F64, f64_at, put_i64, i64_from(x))
UNARY(I64_NEAR_F64, f64_at, put_i64, i64_near(x))
UNARY(U64_FROM_F64, f64_at, put_u64, u64_from(x))
UNARY(U32_FROM_F64, f64_at, put_u64, u32_from(x))
UNARY(F32_FROM_I64, i64_at, fg_put, (float)x)
UNARY(F32_FROM_U64, u64_at, fg_put, (float)x)
UNARY(F32_FROM_F64, f64_at, fg_put, (float)x)
UNARY(F64_FROM_F32, fg_get, put_f64, (double)x)
UNARY(F64_FROM_I64, i64_at, put_f64, (double)x)
UNARY(F64_FROM_U64, u64_at, put_f64, (double)x)
UNARY(I64_WRAP, i64_at, put_i64, wrap(x, args->alpha, args->beta))
UNARY(I64_LIMIT, i64_at, put_i64, limit(x, args->alpha, args->beta))
BINARY(I64_ADD, u64_at, put_u64, x + y)
BINARY(I64_SUB, u64_at, put_u64, x - y)
BINARY(I64_MUL, u64_at, put_u64, (x * y))
BINARY(I64_DIV, i64_at, put_i64, divide(x, y))
BINARY(I64_MOD, i64_at, put_i64, modulo(x, y))
BINARY(I64_REM, i64_at, put_i64, remainder_of(x, y))
BINARY(I64_MIN, i64_at, put_i64, x < y ? x : y)
BINARY(I64_MAX, i64_at, put_i64, x > y ? x : y)
BINARY(I64_LESS, i64_at, put_i64, x < y)
BINARY(I64_LESS_EQUAL, i64_at, put_i64, x <= y)
BINARY(I64_EQUAL, i64_at, put_i64, x == y)
BINARY(I64_AND, u64_at, put_u64, (x & y))
BINARY(I64_OR, u64_at, put_u64, x | y)
BINARY(I64_XOR, u64_at, put_u64, x ^ y)
BINARY(U64_LEFT, u64_at, put_u64, shift(x, y, true))
BINARY(U64_RIGHT, u64_at, put_u64, shift(x, y, false))
BINARY(U64_DIV, u64_at, put_u64, y ? x / y : 0)
BINARY(U64_REM, u64_at, put_u64, y ? x % y : 0)
BINARY(U64_MIN, u64_at, put_u64, x < y ? x : y)
BINARY(U64_MAX, u64_at, put_u64, x > y ? x : y)
BINARY(U64_LESS, u64_at, put_u64, x < y)
BINARY(U64_LESS_EQUAL, u64_at, put_u64, x <= y)
BINARY(F64_ADD, f64_at, put_f64, x + y)
BINARY(F64_SUB, f64_at, put_f64, x - y)
BINARY(F64_MUL, f64_at, put_f64, (x * y))
BINARY(F64_DIV, f64_at, put_f64, x / y)
BINARY(F64_REM, f64_at, put_f64, fmod(x, y))
BINARY(F64_POW, f64_at, put_f64, pow(x, y))
BINARY(F64_MIN, f64_at, put_f64, f64_min(x, y))
BINARY(F64_MAX, f64_at, put_f64, f64_max(x, y))
BINARY(F64_LESS, f64_at, put_i64, x < y)
BINARY(F64_LESS_EQUAL, f64_at, put_i64, x <= y)
BINARY(F64_EQUAL, f64_at, put_i64, x == y)
UNARY(F64_ACTIVATION, f64_at, put_f64,
      fg_activate_f64(x, args->activation, args->alpha, args->beta))

static wide_row *row_of(enum fg_wide_operation operation)
{
#define ENTRY(name, label, in, out, others) [FG_WIDE_##name] = row_##name,
	static wide_row *const rows[] = {FG_WIDE_OPERATIONS(ENTRY)};
#undef ENTRY

	return rows[operation];
}

void FG_KERNEL(WIDE)(const struct fg_kernel_args *args)
{
	wide_row *const run = row_of(args->operation);
	const uint32_t count = args->out_cols / fg_wide_shape(args->operation).out_cols;

	for (uint32_t row = 0; row < args->rows; row++)
		run(args, args->in + row * args->in_stride,
		    args->other ? args->other + row * args->other_stride : NULL,
		    args->out + row * args->out_stride, count);
}

void FG_KERNEL(WIDE_SELECT)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		for (uint32_t i = 0; i < args->in_cols; i++) {
			const float *yes = args->other + row * args->other_stride;
			const float *no = args->third + row * args->third_stride;
			const bool truth = fg_get(args->in + row * args->in_stride, i) != 0;

			put_i64(args->out + row * args->out_stride, i, i64_at(truth ? yes : no, i));
		}
}

void FG_KERNEL(WIDE_REDUCE)(const struct fg_kernel_args *args)
{
	wide_row *const run = row_of(args->operation);

	for (uint32_t row = 0; row < args->rows; row++) {
		const float *in = args->in + row * args->in_stride;
		float *out = args->out + row * args->out_stride;

		put_i64(out, 0, i64_at(in, 0));
		for (uint32_t col = 2; col < args->in_cols; col += 2)
			run(args, out, in + col, out, 1);
	}
}

/* The entry whose key is x, or `entries`. */
static uint32_t find(const float *keys, uint32_t entries, int64_t x)
{
	uint32_t low = 0, high = entries;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (i64_at(keys, middle) < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low < entries && i64_at(keys, low) == x ? low : entries;
}

void FG_KERNEL(WIDE_LOOKUP)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		for (uint32_t col = 0; col < args->out_cols; col++) {
			int64_t x = i64_at(args->in + row * args->in_stride, col);

			fg_put(args->out + row * args->out_stride, col,
			       (float)find(args->weights, args->entries, x));
		}
}
