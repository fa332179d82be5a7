/*
 * kernel_truth.h: what the kernels of models/kernels.h should give, in double, and how far from it
 * they may be. For tests.
 */
#ifndef FG_TESTS_KERNEL_TRUTH_H
#define FG_TESTS_KERNEL_TRUTH_H

#include "tests/unit/kernel_case.h"

/* The distance of `got` from the true value in units in the last place of a float there. A value
 * that rounds to infinity is infinity. */
static inline double truth_ulps(float got, double wanted)
{
	double size = fabs(wanted), ulp;
	uint64_t pattern;

	if (isnan(wanted) || isnan(got))
		return isnan(wanted) && isnan(got) ? 0.0 : INFINITY;
	if (isinf(got) || isinf(wanted))
		return got == (float)wanted ? 0.0 : INFINITY;
	size = size < 0x1p-126 ? 0x1p-126 : size;
	memcpy(&pattern, &size, sizeof(pattern));
	pattern &= UINT64_C(0x7ff) << 52;
	memcpy(&ulp, &pattern, sizeof(ulp));
	return fabs(got - wanted) / (ulp * 0x1p-23);
}

static inline double truth_clamp(double x, double low, double high)
{
	x = x < low ? low : x;
	return x > high ? high : x;
}

static inline double truth_softplus(double x)
{
	return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* The activations that are more than a comparison or one rounded operation. */
static inline double truth_curve(double x, enum fg_activation activation, double a, double b)
{
	switch (activation) {
	case FG_ACTIVATION_SIGMOID:
		return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
	case FG_ACTIVATION_TANH:
		return tanh(x);
	case FG_ACTIVATION_SILU:
		return x * (1 / (1 + exp(-a * x)));
	case FG_ACTIVATION_GELU:
		return x * (erfc(x * -sqrt(0.5)) / 2);
	case FG_ACTIVATION_GELU_TANH: /* 1 + tanh(u) = 2 / (1 + e^-2u) */
		return x * (1 / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3)))));
	case FG_ACTIVATION_ELU:
		return x < 0 ? a * expm1(x) : x;
	case FG_ACTIVATION_SELU:
		return b * (x < 0 ? a * expm1(x) : x);
	case FG_ACTIVATION_CELU:
		return x < 0 ? a * expm1(x / a) : x;
	case FG_ACTIVATION_SOFTPLUS:
		return truth_softplus(x);
	case FG_ACTIVATION_MISH:
		return x * tanh(truth_softplus(x));
	case FG_ACTIVATION_ERF:
		return erf(x);
	case FG_ACTIVATION_EXP:
		return exp(x);
	case FG_ACTIVATION_LOG:
		return log(x);
	default:
		fail_msg("activation %d has no truth", activation);
		return 0;
	}
}

static inline double truth_activation(double x, enum fg_activation activation, double a, double b)
{
	switch (activation) {
	case FG_ACTIVATION_NONE:
		return x;
	case FG_ACTIVATION_RELU:
		return x < 0 ? 0 : x;
	case FG_ACTIVATION_LEAKY_RELU:
		return x < 0 ? a * x : x;
	case FG_ACTIVATION_CLIP:
		return truth_clamp(x, a, b);
	case FG_ACTIVATION_HARD_SIGMOID:
		return truth_clamp(a * x + b, 0, 1);
	case FG_ACTIVATION_HARD_SWISH:
		return x * truth_clamp(x / 6 + 0.5, 0, 1);
	case FG_ACTIVATION_SOFTSIGN:
		return x / (1 + fabs(x));
	case FG_ACTIVATION_SQRT:
		return sqrt(x);
	case FG_ACTIVATION_RECIPROCAL:
		return 1 / x;
	case FG_ACTIVATION_ABS:
		return fabs(x);
	case FG_ACTIVATION_SIGN:
		return isnan(x) ? x : (x > 0) - (x < 0);
	case FG_ACTIVATION_FLOOR:
		return floor(x);
	case FG_ACTIVATION_CEIL:
		return ceil(x);
	case FG_ACTIVATION_ROUND:
		return nearbyint(x);
	case FG_ACTIVATION_TRUNC:
		return trunc(x);
	case FG_ACTIVATION_IS_NAN:
		return isnan(x);
	case FG_ACTIVATION_NOT:
		return x == 0;
	case FG_ACTIVATION_WRAP:
		x = fmod(x, b);
		return x < a ? x + b : x >= a + b ? x - b : x;
	case FG_ACTIVATION_TO_INTEGER:
		return trunc(x) >= a && trunc(x) < b ? trunc(x) : a;
	default:
		return truth_curve(x, activation, a, b);
	}
}

/* In units in the last place. A hair above half of one: truth itself is rounded to double. */
static inline double truth_activation_ulps(enum fg_activation activation)
{
	static const double bounds[FG_ACTIVATION_COUNT] = {
		[FG_ACTIVATION_LEAKY_RELU] = 0.5001,
		[FG_ACTIVATION_SIGMOID] = FG_SIGMOID_ULP,
		[FG_ACTIVATION_TANH] = FG_TANH_ULP,
		[FG_ACTIVATION_SILU] = FG_SILU_ULP,
		[FG_ACTIVATION_GELU] = FG_GELU_ULP,
		[FG_ACTIVATION_GELU_TANH] = FG_GELU_TANH_ULP,
		[FG_ACTIVATION_ELU] = FG_ELU_ULP,
		[FG_ACTIVATION_SELU] = FG_ELU_ULP,
		[FG_ACTIVATION_CELU] = FG_ELU_ULP,
		[FG_ACTIVATION_HARD_SIGMOID] = 0.5001,
		[FG_ACTIVATION_HARD_SWISH] = FG_HARD_SWISH_ULP,
		[FG_ACTIVATION_SOFTPLUS] = FG_SOFTPLUS_ULP,
		[FG_ACTIVATION_SOFTSIGN] = FG_SOFTSIGN_ULP,
		[FG_ACTIVATION_MISH] = FG_MISH_ULP,
		[FG_ACTIVATION_ERF] = FG_ERF_ULP,
		[FG_ACTIVATION_EXP] = FG_EXP_ULP,
		[FG_ACTIVATION_LOG] = FG_LOG_ULP,
		[FG_ACTIVATION_SQRT] = 0.5001,
		[FG_ACTIVATION_RECIPROCAL] = 0.5001,
		[FG_ACTIVATION_WRAP] = 0.5001,
	};

	return bounds[activation];
}

static inline bool truth_activation_holds(float got, double x, enum fg_activation activation,
					  float alpha, float beta)
{
	const double wanted = truth_activation(x, activation, alpha, beta);
	double bound = truth_activation_ulps(activation), slack = 0;

	if (activation == FG_ACTIVATION_SILU || activation == FG_ACTIVATION_MISH)
		slack = fabs(x) * 0x1p-149;
	if (activation == FG_ACTIVATION_SILU && alpha != 1.0f)
		bound += fmin(fabs(alpha * x), 104);
	if (activation == FG_ACTIVATION_CELU && alpha < 0 && x < 0)
		bound = x / alpha > 88.7 ? INFINITY
					 : bound + x / alpha; /* e^(x / alpha) overflows */
	return truth_ulps(got, wanted) <= bound || fabs(got - wanted) <= slack;
}

/* An elementwise kind before its activation: all are rounded once (CENTER: where it subtracts, and
 * at the end), so to the bit. */
static inline float truth_element(const struct fg_kernel_args *args, enum fg_step_kind kind,
				  size_t row, size_t col)
{
	const float x = case_get(args->in, row * args->in_stride + col);
	const float y = case_get(args->other, row * args->other_stride + col);

	switch (kind) {
	case FG_STEP_ACTIVATION:
		return x;
	case FG_STEP_AFFINE:
		return fmaf(x, ((const float *)args->weights)[col], args->bias[col]);
	case FG_STEP_CENTER:
		return fmaf(x - ((const float *)args->weights)[col],
			    ((const float *)args->weights)[args->out_cols + col], args->bias[col]);
	case FG_STEP_ADD:
		return x + y;
	case FG_STEP_SUB:
		return x - y;
	case FG_STEP_MUL:
		return x * y;
	case FG_STEP_DIV:
		return x / y;
	case FG_STEP_MIN:
		return isnan(x) || isnan(y) ? NAN : x < y ? x : y;
	case FG_STEP_MAX:
		return isnan(x) || isnan(y) ? NAN : x > y ? x : y;
	case FG_STEP_POW:
		return powf(x, y);
	case FG_STEP_PRELU:
		return x < 0 ? y * x : x;
	case FG_STEP_LESS:
		return x < y;
	case FG_STEP_LESS_EQUAL:
		return x <= y;
	case FG_STEP_EQUAL:
		return x == y;
	case FG_STEP_SELECT:
		return x != 0 ? y : case_get(args->third, row * args->third_stride + col);
	default:
		fail_msg("kind %d has no truth", kind);
		return 0;
	}
}

/* The kinds that move floats. */
static inline float truth_moved(const struct fg_kernel_args *args, enum fg_step_kind kind,
				size_t row, size_t col)
{
	const float *weights = args->weights;
	const float x = case_get(args->in, row * args->in_stride);
	uint32_t from;

	switch (kind) {
	case FG_STEP_FILL:
		return args->bias[col];
	case FG_STEP_COLUMNS:
		memcpy(&from, &weights[col], sizeof(from));
		return case_get(args->in, row * args->in_stride + from);
	case FG_STEP_EMBED:
		for (int i = 0; i < (int)args->entries; i++)
			if (x == (float)i ||
			    (args->alpha < 0 && x == (float)(i - (int)args->entries)))
				return weights[(size_t)i * args->out_cols + col];
		return NAN;
	default:
		for (uint32_t i = 0; i < args->entries; i++) {
			float wanted = case_get(args->in, row * args->in_stride + col);

			if (wanted == weights[i] || (isnan(wanted) && isnan(weights[i])))
				return args->bias[i];
		}
		return args->alpha;
	}
}

static inline bool truth_same(float got, float wanted)
{
	return got == wanted || (isnan(got) && isnan(wanted));
}

/* Whether row, column holds what an elementwise or moving kind should give. */
static inline bool truth_holds(const struct fg_kernel_args *args, enum fg_step_kind kind,
			       size_t row, size_t col)
{
	const float got = case_get(args->out, row * args->out_stride + col);

	if (kind >= FG_STEP_EMBED && kind != FG_STEP_CENTER)
		return truth_same(got, truth_moved(args, kind, row, col));
	return truth_activation_holds(got, truth_element(args, kind, row, col), args->activation,
				      args->alpha, args->beta);
}

#endif
