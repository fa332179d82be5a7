/* Activations of rows, alone and for the kernels that end in one. */
#include <math.h>
#include <string.h>
#include "models/kernel_isa.h"

/*
 * ACTIVATE(NAME, value of x, a, b) makes an activation of one number, or of one vector; below, a
 * row function of each goes into a table, so that no loop decides anything.
 */
#ifdef FG_ISA_c

/* In double and rounded once: off by hardly more than half a unit in the last place. */
#define ACTIVATE(name, result)                                                                     \
	static double activate_##name(double x, double a, double b)                                \
	{                                                                                          \
		(void)a;                                                                           \
		(void)b;                                                                           \
		return result;                                                                     \
	}

static double clamp(double x, double low, double high)
{
	x = x < low ? low : x;
	return x > high ? high : x;
}

static double wrap(double x, double low, double span)
{
	x = fmod(x, span);
	return x < low ? x + span : x >= low + span ? x - span : x;
}

ACTIVATE(NONE, x)
ACTIVATE(RELU, x < 0 ? 0 : x)
ACTIVATE(LEAKY_RELU, x < 0 ? a * x : x)
ACTIVATE(CLIP, clamp(x, a, b))
ACTIVATE(SIGMOID, 1 / (1 + exp(-x)))
ACTIVATE(TANH, tanh(x))
ACTIVATE(SILU, x / (1 + exp(-a * x)))
/* Both without the cancellation on the left: 1 + erf(x) = erfc(-x), 1 + tanh(u) as a sigmoid. */
ACTIVATE(GELU, (x * erfc(-x * M_SQRT1_2) / 2))
ACTIVATE(GELU_TANH, x / (1 + exp(-2 * M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x))))
ACTIVATE(ELU, x < 0 ? a * expm1(x) : x)
ACTIVATE(SELU, (b * (x < 0 ? a * expm1(x) : x)))
ACTIVATE(CELU, x < 0 ? a * expm1(x / a) : x)
ACTIVATE(HARD_SIGMOID, clamp((a * x) + b, 0, 1))
ACTIVATE(HARD_SWISH, (x * clamp(x + 3, 0, 6) / 6))
ACTIVATE(SOFTPLUS, x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)))
ACTIVATE(SOFTSIGN, x / (1 + fabs(x)))
ACTIVATE(MISH, (x * tanh(log1p(exp(x)))))
ACTIVATE(ERF, erf(x))
ACTIVATE(EXP, exp(x))
ACTIVATE(LOG, log(x))
ACTIVATE(SQRT, sqrt(x))
ACTIVATE(RECIPROCAL, 1 / x)
ACTIVATE(ABS, fabs(x))
ACTIVATE(SIGN, x > 0 ? 1 : x < 0 ? -1 : x)
ACTIVATE(FLOOR, floor(x))
ACTIVATE(CEIL, ceil(x))
ACTIVATE(ROUND, nearbyint(x))
ACTIVATE(TRUNC, trunc(x))
ACTIVATE(IS_NAN, isnan(x) ? 1 : 0)
ACTIVATE(NOT, x == 0 ? 1 : 0)
ACTIVATE(WRAP, wrap(x, a, b))
ACTIVATE(TO_INTEGER, trunc(x) >= a && trunc(x) < b ? trunc(x) : a)

double fg_activate_f64(double x, enum fg_activation activation, double alpha, double beta)
{
#define ENTRY(name, label) [FG_ACTIVATION_##name] = activate_##name,
	static double (*const functions[])(double, double, double) = {FG_ACTIVATIONS(ENTRY)};
#undef ENTRY

	return functions[activation](x, alpha, beta);
}

#define ROW(name, label)                                                                           \
	static void row_##name(const float *in, float *out, uint32_t count, float alpha,           \
			       float beta)                                                         \
	{                                                                                          \
		for (uint32_t i = 0; i < count; i++)                                               \
			fg_put(out, i, (float)activate_##name(fg_get(in, i), alpha, beta));        \
	}

#else

#include "models/vec_math.h"

#define ACTIVATE(name, result)                                                                     \
	FG_VEC_INLINE fg_vec activate_##name(fg_vec x, fg_vec a, fg_vec b)                         \
	{                                                                                          \
		const fg_vec zero = fg_vec_set(0.0f), one = fg_vec_set(1.0f);                      \
                                                                                                   \
		(void)a, (void)b, (void)zero, (void)one;                                           \
		return result;                                                                     \
	}

FG_VEC_INLINE fg_vec clamp(fg_vec x, fg_vec low, fg_vec high)
{
	return fg_vec_min(high, fg_vec_max(low, x));
}

/* yes where x < 0, else x. */
FG_VEC_INLINE fg_vec below(fg_vec x, fg_vec yes)
{
	return fg_vec_pick(fg_vec_less(x, fg_vec_set(0.0f)), yes, x);
}

/* Exact up to the last line: span is a power of two. */
FG_VEC_INLINE fg_vec wrap(fg_vec x, fg_vec low, fg_vec span)
{
	const fg_vec end = fg_vec_add(low, span);

	x = fg_vec_sub(x, fg_vec_mul(span, fg_vec_trunc(fg_vec_div(x, span))));
	x = fg_vec_pick(fg_vec_less(x, low), fg_vec_add(x, span), x);
	return fg_vec_pick(fg_vec_less(x, end), x, fg_vec_sub(x, span));
}

FG_VEC_INLINE fg_vec to_integer(fg_vec x, fg_vec low, fg_vec end)
{
	x = fg_vec_pick(fg_vec_less(x, end), x, low);
	return fg_vec_pick(fg_vec_less(x, low), low, x);
}

ACTIVATE(NONE, x)
ACTIVATE(RELU, fg_vec_max(zero, x))
ACTIVATE(LEAKY_RELU, below(x, fg_vec_mul(a, x)))
ACTIVATE(CLIP, clamp(x, a, b))
ACTIVATE(SIGMOID, fg_vec_sigmoid(x))
ACTIVATE(TANH, fg_vec_tanh(x))
ACTIVATE(SILU, fg_vec_mul(x, fg_vec_sigmoid(fg_vec_mul(a, x))))
ACTIVATE(GELU, fg_vec_gelu(x))
ACTIVATE(GELU_TANH, fg_vec_gelu_tanh(x))
ACTIVATE(ELU, below(x, fg_vec_mul(a, fg_vec_expm1(x))))
ACTIVATE(SELU, fg_vec_mul(b, below(x, fg_vec_mul(a, fg_vec_expm1(x)))))
ACTIVATE(CELU, below(x, fg_vec_mul(a, fg_vec_expm1(fg_vec_div(x, a)))))
ACTIVATE(HARD_SIGMOID, clamp(fg_vec_fma(a, x, b), zero, one))
/* x + 3 loses nothing where it is small; 6 times the rounded 1 / 6 is 1. */
ACTIVATE(HARD_SWISH,
	 fg_vec_mul(x, fg_vec_mul(clamp(fg_vec_add(x, fg_vec_set(3.0f)), zero, fg_vec_set(6.0f)),
				  fg_vec_set(1.0f / 6))))
ACTIVATE(SOFTPLUS, fg_vec_softplus(x))
ACTIVATE(SOFTSIGN, fg_vec_div(x, fg_vec_add(one, fg_vec_abs(x))))
ACTIVATE(MISH, fg_vec_mish(x))
ACTIVATE(ERF, fg_vec_erf(x))
ACTIVATE(EXP, fg_vec_exp(x))
ACTIVATE(LOG, fg_vec_log(x))
ACTIVATE(SQRT, fg_vec_sqrt(x))
ACTIVATE(RECIPROCAL, fg_vec_div(one, x))
ACTIVATE(ABS, fg_vec_abs(x))
ACTIVATE(SIGN, fg_vec_pick(fg_vec_less(zero, x), one, below(x, fg_vec_set(-1.0f))))
ACTIVATE(FLOOR, fg_vec_floor(x))
ACTIVATE(CEIL, fg_vec_ceil(x))
ACTIVATE(ROUND, fg_vec_round(x))
ACTIVATE(TRUNC, fg_vec_trunc(x))
ACTIVATE(IS_NAN, fg_vec_pick(fg_vec_equal(x, x), zero, one))
ACTIVATE(NOT, fg_vec_pick(fg_vec_equal(x, zero), one, zero))
ACTIVATE(WRAP, wrap(x, a, b))
ACTIVATE(TO_INTEGER, to_integer(fg_vec_trunc(x), a, b))

#define ROW(name, label)                                                                           \
	static void row_##name(const float *in, float *out, uint32_t count, float alpha,           \
			       float beta)                                                         \
	{                                                                                          \
		const fg_vec a = fg_vec_set(alpha), b = fg_vec_set(beta);                          \
		uint32_t i = 0;                                                                    \
                                                                                                   \
		for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)                               \
			fg_vec_store(out + i, activate_##name(fg_vec_load(in + i), a, b));         \
		if (i < count) {                                                                   \
			fg_vec x = fg_vec_load_n(in + i, count - i, fg_vec_set(0.0f));             \
                                                                                                   \
			fg_vec_store_n(out + i, activate_##name(x, a, b), count - i);              \
		}                                                                                  \
	}

#endif

FG_ACTIVATIONS(ROW)

void fg_activate(const float *in, float *out, uint32_t count, enum fg_activation activation,
		 float alpha, float beta)
{
#define ENTRY(name, label) [FG_ACTIVATION_##name] = row_##name,
	static void (*const rows[FG_ACTIVATION_COUNT])(const float *, float *, uint32_t, float,
						       float) = {FG_ACTIVATIONS(ENTRY)};
#undef ENTRY

	/* To the bit, as parts of wide numbers may look like any NaN. */
	if (activation == FG_ACTIVATION_NONE)
		memmove((void *)out, in, count * sizeof(*out));
	else
		rows[activation](in, out, count, alpha, beta);
}

void FG_KERNEL(ACTIVATION)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		fg_activate(args->in + row * args->in_stride, args->out + row * args->out_stride,
			    args->out_cols, args->activation, args->alpha, args->beta);
}
