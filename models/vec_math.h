/*
 * vec_math.h: exp, sigmoid, tanh and the activations over models/vec.h.
 *
 * Worst errors are stated in models/kernels.h. All keep NaN: fg_vec_min and fg_vec_max give
 * their second operand when one is NaN, so the clamped value goes second.
 */
#ifndef FG_MODELS_VEC_MATH_H
#define FG_MODELS_VEC_MATH_H

#include "models/kernels.h"
#include "models/vec.h"

/*
 * e^x = 2^n * e^r with n = round(x / ln 2) and r = x - n ln 2, |r| <= ln 2 / 2; ln 2 is
 * subtracted in two parts so that r keeps all its bits (Cody and Waite). e^r is a polynomial of
 * degree 7 (Taylor's; the next term is below 2^-27 of the sum). 2^n is multiplied in two halves,
 * so that overflow goes to infinity and underflow through the denormals.
 */
static inline fg_vec fg_vec_exp(fg_vec x)
{
	fg_vec n, r, p, half;

	x = fg_vec_min(fg_vec_set(90.0f), fg_vec_max(fg_vec_set(-105.0f), x));
	n = fg_vec_round(fg_vec_mul(x, fg_vec_set(0x1.715476p+0f)));
	r = fg_vec_fma(n, fg_vec_set(-0x1.62e4p-1f), x);
	r = fg_vec_fma(n, fg_vec_set(-0x1.7f7d1cp-20f), r);
	p = fg_vec_set(1.0f / 5040);
	p = fg_vec_fma(p, r, fg_vec_set(1.0f / 720));
	p = fg_vec_fma(p, r, fg_vec_set(1.0f / 120));
	p = fg_vec_fma(p, r, fg_vec_set(1.0f / 24));
	p = fg_vec_fma(p, r, fg_vec_set(1.0f / 6));
	p = fg_vec_fma(p, r, fg_vec_set(0.5f));
	p = fg_vec_fma(p, r, fg_vec_set(1.0f));
	p = fg_vec_fma(p, r, fg_vec_set(1.0f));
	half = fg_vec_round(fg_vec_mul(n, fg_vec_set(0.5f)));
	return fg_vec_mul(fg_vec_mul(p, fg_vec_pow2(half)), fg_vec_pow2(fg_vec_sub(n, half)));
}

/* 1 / (1 + e^-x), from e^-|x| so that neither tail overflows. */
static inline fg_vec fg_vec_sigmoid(fg_vec x)
{
	const fg_vec one = fg_vec_set(1.0f);
	fg_vec e = fg_vec_exp(fg_vec_sub(fg_vec_set(0.0f), fg_vec_abs(x)));
	fg_vec top = fg_vec_pick(fg_vec_less(x, fg_vec_set(0.0f)), e, one);

	return fg_vec_div(top, fg_vec_add(one, e));
}

/*
 * |x| < 0.625: x + x^3 P(x^2), an odd polynomial (the coefficients of Cephes' tanhf); beyond:
 * 1 - 2 / (e^2|x| + 1) with the sign of x. The exponential form alone would cancel near 0.
 */
static inline fg_vec fg_vec_tanh(fg_vec x)
{
	const fg_vec one = fg_vec_set(1.0f);
	fg_vec a = fg_vec_abs(x), xx = fg_vec_mul(x, x), near, far;

	near = fg_vec_set(-5.70498872745e-3f);
	near = fg_vec_fma(near, xx, fg_vec_set(2.06390887954e-2f));
	near = fg_vec_fma(near, xx, fg_vec_set(-5.37397155531e-2f));
	near = fg_vec_fma(near, xx, fg_vec_set(1.33314422036e-1f));
	near = fg_vec_fma(near, xx, fg_vec_set(-3.33332819422e-1f));
	near = fg_vec_fma(fg_vec_mul(near, xx), x, x);
	far = fg_vec_add(fg_vec_exp(fg_vec_add(a, a)), one);
	far = fg_vec_sub(one, fg_vec_div(fg_vec_set(2.0f), far));
	return fg_vec_pick(fg_vec_less(a, fg_vec_set(0.625f)), near, fg_vec_copysign(far, x));
}

static inline fg_vec fg_vec_relu(fg_vec x)
{
	return fg_vec_max(fg_vec_set(0.0f), x);
}

static inline fg_vec fg_vec_leaky_relu(fg_vec x, fg_vec alpha)
{
	return fg_vec_pick(fg_vec_less(x, fg_vec_set(0.0f)), fg_vec_mul(alpha, x), x);
}

#endif
