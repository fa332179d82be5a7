/* Elementwise kernels of two and three operands. */
#include <math.h>
#include "models/kernel_isa.h"

/* BINARY(KIND, value of x and y) makes the row function of a kind from what it does to two
 * numbers, or to two vectors; TERNARY to three, x, y and z. */
#ifdef FG_ISA_c

#define BINARY(kind, result)                                                                       \
	static void row_##kind(const float *in, const float *other, float *out, uint32_t count)    \
	{                                                                                          \
		for (uint32_t i = 0; i < count; i++) {                                             \
			float x = fg_get(in, i), y = fg_get(other, i);                             \
                                                                                                   \
			fg_put(out, i, result);                                                    \
		}                                                                                  \
	}

BINARY(ADD, x + y)
BINARY(SUB, x - y)
BINARY(MUL, (x * y))
BINARY(DIV, x / y)
BINARY(MIN, isnan(x) || x < y ? x : y)
BINARY(MAX, isnan(x) || x > y ? x : y)
BINARY(PRELU, x < 0 ? y * x : x)
BINARY(LESS, x < y ? 1 : 0)
BINARY(LESS_EQUAL, x <= y ? 1 : 0)
BINARY(EQUAL, x == y ? 1 : 0)

static void row_AFFINE(const float *in, const float *weights, const float *bias, float *out,
		       uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, fmaf(fg_get(in, i), weights[i], bias[i]));
}

static void row_CENTER(const float *in, const float *offset, const float *scale, const float *bias,
		       float *out, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, fmaf(fg_get(in, i) - offset[i], scale[i], bias[i]));
}

static void row_SELECT(const float *in, const float *other, const float *third, float *out,
		       uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, fg_get(in, i) != 0 ? fg_get(other, i) : fg_get(third, i));
}

#else

#include "models/vec_math.h"

#define BINARY(kind, result)                                                                       \
	FG_VEC_INLINE fg_vec do_##kind(fg_vec x, fg_vec y)                                         \
	{                                                                                          \
		return result;                                                                     \
	}                                                                                          \
                                                                                                   \
	static void row_##kind(const float *in, const float *other, float *out, uint32_t count)    \
	{                                                                                          \
		const fg_vec none = fg_vec_set(1.0f);                                              \
		uint32_t i = 0, rest;                                                              \
                                                                                                   \
		for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)                               \
			fg_vec_store(out + i,                                                      \
				     do_##kind(fg_vec_load(in + i), fg_vec_load(other + i)));      \
		rest = count - i;                                                                  \
		if (rest)                                                                          \
			fg_vec_store_n(out + i,                                                    \
				       do_##kind(fg_vec_load_n(in + i, rest, none),                \
						 fg_vec_load_n(other + i, rest, none)),            \
				       rest);                                                      \
	}

BINARY(ADD, fg_vec_add(x, y))
BINARY(SUB, fg_vec_sub(x, y))
BINARY(MUL, fg_vec_mul(x, y))
BINARY(DIV, fg_vec_div(x, y))
BINARY(MIN, fg_vec_min_nan(x, y))
BINARY(MAX, fg_vec_max_nan(x, y))
BINARY(PRELU, fg_vec_pick(fg_vec_less(x, fg_vec_set(0.0f)), fg_vec_mul(y, x), x))
BINARY(LESS, fg_vec_truth(fg_vec_less(x, y)))
BINARY(LESS_EQUAL, fg_vec_truth(fg_vec_less_equal(x, y)))
BINARY(EQUAL, fg_vec_truth(fg_vec_equal(x, y)))

#define TERNARY(kind, result)                                                                      \
	FG_VEC_INLINE fg_vec do_##kind(fg_vec x, fg_vec y, fg_vec z)                               \
	{                                                                                          \
		return result;                                                                     \
	}                                                                                          \
                                                                                                   \
	static void row_##kind(const float *in, const float *other, const float *third,            \
			       float *out, uint32_t count)                                         \
	{                                                                                          \
		const fg_vec none = fg_vec_set(1.0f);                                              \
		uint32_t i = 0, rest;                                                              \
                                                                                                   \
		for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)                               \
			fg_vec_store(out + i,                                                      \
				     do_##kind(fg_vec_load(in + i), fg_vec_load(other + i),        \
					       fg_vec_load(third + i)));                           \
		rest = count - i;                                                                  \
		if (rest)                                                                          \
			fg_vec_store_n(out + i,                                                    \
				       do_##kind(fg_vec_load_n(in + i, rest, none),                \
						 fg_vec_load_n(other + i, rest, none),             \
						 fg_vec_load_n(third + i, rest, none)),            \
				       rest);                                                      \
	}

TERNARY(AFFINE, fg_vec_fma(x, y, z))
TERNARY(SELECT, fg_vec_pick(fg_vec_equal(x, fg_vec_set(0.0f)), z, y))

static void row_CENTER(const float *in, const float *offset, const float *scale, const float *bias,
		       float *out, uint32_t count)
{
	const fg_vec none = fg_vec_set(1.0f);
	uint32_t i = 0, rest;

	for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)
		fg_vec_store(out + i,
			     fg_vec_fma(fg_vec_sub(fg_vec_load(in + i), fg_vec_load(offset + i)),
					fg_vec_load(scale + i), fg_vec_load(bias + i)));
	rest = count - i;
	if (rest)
		fg_vec_store_n(out + i,
			       fg_vec_fma(fg_vec_sub(fg_vec_load_n(in + i, rest, none),
						     fg_vec_load_n(offset + i, rest, none)),
					  fg_vec_load_n(scale + i, rest, none),
					  fg_vec_load_n(bias + i, rest, none)),
			       rest);
}

#endif

/* A power costs what it costs: libm's, one by one, for every ISA. */
static void row_POW(const float *in, const float *other, float *out, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, powf(fg_get(in, i), fg_get(other, i)));
}

static void end_row(const struct fg_kernel_args *args, float *out)
{
	if (args->activation != FG_ACTIVATION_NONE)
		fg_activate(out, out, args->out_cols, args->activation, args->alpha, args->beta);
}

#define KERNEL(kind)                                                                               \
	void FG_KERNEL(kind)(const struct fg_kernel_args *args)                                    \
	{                                                                                          \
		for (uint32_t row = 0; row < args->rows; row++) {                                  \
			float *out = args->out + row * args->out_stride;                           \
                                                                                                   \
			row_##kind(args->in + row * args->in_stride,                               \
				   args->other + row * args->other_stride, out, args->out_cols);   \
			end_row(args, out);                                                        \
		}                                                                                  \
	}

KERNEL(ADD)
KERNEL(SUB)
KERNEL(MUL)
KERNEL(DIV)
KERNEL(MIN)
KERNEL(MAX)
KERNEL(POW)
KERNEL(PRELU)
KERNEL(LESS)
KERNEL(LESS_EQUAL)
KERNEL(EQUAL)

void FG_KERNEL(AFFINE)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++) {
		float *out = args->out + row * args->out_stride;

		row_AFFINE(args->in + row * args->in_stride, args->weights, args->bias, out,
			   args->out_cols);
		end_row(args, out);
	}
}

void FG_KERNEL(CENTER)(const struct fg_kernel_args *args)
{
	const float *offset = args->weights, *scale = offset + args->out_cols;

	for (uint32_t row = 0; row < args->rows; row++) {
		float *out = args->out + row * args->out_stride;

		row_CENTER(args->in + row * args->in_stride, offset, scale, args->bias, out,
			   args->out_cols);
		end_row(args, out);
	}
}

void FG_KERNEL(SELECT)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		row_SELECT(args->in + row * args->in_stride, args->other + row * args->other_stride,
			   args->third + row * args->third_stride,
			   args->out + row * args->out_stride, args->out_cols);
}
