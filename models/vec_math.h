/*
 * vec_math.h: exp, log, tanh, erf and their kin over models/vec.h, for the kernels.
 *
 * Every function takes all floats, NaN and infinities too; worst errors stand in models/kernels.h.
 * Polynomials are minimax for the relative error of the function they end up in, with their
 * coefficients rounded to float one after the other and the rest fitted again.
 *
 * fg_vec_min and fg_vec_max give their second operand when one is NaN, so what is clamped goes
 * second and NaN stays NaN.
 */
#ifndef FG_MODELS_VEC_MATH_H
#define FG_MODELS_VEC_MATH_H

#include <math.h>
#include "models/vec.h"

#define FG_VEC_INLINE static inline __attribute__((always_inline))

/* c[0] x^(n - 1) + ... + c[n - 1]; n is a constant, so the loop unrolls. */
FG_VEC_INLINE fg_vec fg_vec_poly(fg_vec x, const float *c, const int n)
{
	fg_vec p = fg_vec_set(c[0]);

	for (int i = 1; i < n; i++)
		p = fg_vec_fma(p, x, fg_vec_set(c[i]));
	return p;
}

#define FG_VEC_POLY(x, c) fg_vec_poly(x, c, sizeof(c) / sizeof((c)[0]))

/* ---- exponentials ---- */

/*
 * x = n ln 2 + r, |r| <= ln 2 / 2, hence e^x = 2^n (1 + p): gives p = e^r - 1 and n. ln 2 is
 * subtracted in two parts so that r keeps all its bits (Cody and Waite).
 */
FG_VEC_INLINE fg_vec fg_vec_exp_parts(fg_vec x, fg_vec *n)
{
	static const float c[] = {0x1.6c5494p-10f, 0x1.12247cp-7f, 0x1.5555bcp-5f, 0x1.5554b6p-3f,
				  0.5f};
	fg_vec r;

	*n = fg_vec_round(fg_vec_mul(x, fg_vec_set(0x1.715476p+0f)));
	r = fg_vec_fma(*n, fg_vec_set(-0x1.62e4p-1f), x);
	r = fg_vec_fma(*n, fg_vec_set(-0x1.7f7d1cp-20f), r);
	return fg_vec_fma(fg_vec_mul(r, r), FG_VEC_POLY(r, c), r);
}

/* Outside of -105 .. 90 the result is 0 or infinite anyway. */
FG_VEC_INLINE fg_vec fg_vec_exp(fg_vec x)
{
	fg_vec n, p;

	x = fg_vec_min(fg_vec_set(90.0f), fg_vec_max(fg_vec_set(-105.0f), x));
	p = fg_vec_exp_parts(x, &n);
	return fg_vec_scale(fg_vec_add(p, fg_vec_set(1.0f)), n);
}

/* e^x - 1 = 2 (h p + (h - 1/2)), h = 2^(n - 1): h is finite wherever e^x is. */
FG_VEC_INLINE fg_vec fg_vec_expm1(fg_vec x)
{
	fg_vec n, p, h;

	x = fg_vec_min(fg_vec_set(89.0f), fg_vec_max(fg_vec_set(-20.0f), x));
	p = fg_vec_exp_parts(x, &n);
	h = fg_vec_pow2(fg_vec_sub(n, fg_vec_set(1.0f)));
	p = fg_vec_fma(h, p, fg_vec_sub(h, fg_vec_set(0.5f)));
	return fg_vec_add(p, p);
}

/*
 * tanh |x| = q = t / (t + 2), t = e^2|x| - 1 = s p + (s - 1), s = 2^n. t is rounded once, so it has
 * its relative accuracy near 0 too. t / 2 - t / 2 q is the same; with a small q it rounds less, so
 * it stands in where q < 1 / 4. From 9.02 on the result is 1.
 */
FG_VEC_INLINE fg_vec fg_vec_tanh(fg_vec x)
{
	const fg_vec two = fg_vec_set(2.0f), half = fg_vec_set(0.5f);
	fg_vec a = fg_vec_min(fg_vec_set(9.25f), fg_vec_abs(x)), n, p, s, t, q;

	p = fg_vec_exp_parts(fg_vec_add(a, a), &n);
	s = fg_vec_pow2(n);
	t = fg_vec_fma(s, p, fg_vec_sub(s, fg_vec_set(1.0f)));
	q = fg_vec_div(t, fg_vec_add(t, two));
	t = fg_vec_mul(t, half);
	q = fg_vec_pick(fg_vec_less(q, fg_vec_set(0.25f)), fg_vec_fnma(t, q, t), q);
	return fg_vec_copysign(q, x);
}

/*
 * With e = e^-|x| and t = e / (1 + e): 1 - t on the right. On the left it is t, to the last
 * denormal; e - e t is the same with less rounding.
 */
FG_VEC_INLINE fg_vec fg_vec_sigmoid(fg_vec x)
{
	const fg_vec zero = fg_vec_set(0.0f), one = fg_vec_set(1.0f);
	fg_vec minus = fg_vec_sub(zero, fg_vec_abs(x)), e = fg_vec_exp(minus);
	fg_vec t = fg_vec_div(e, fg_vec_add(e, one));
	fg_mask left = fg_vec_less(x, zero);

	/* One subtraction for both: e - e t, 1 - 1 t. */
	e = fg_vec_pick(left, e, one);
	return fg_vec_fnma(e, t, e);
}

/* ---- logarithms ---- */

/*
 * x = m 2^e, m in sqrt(1/2) .. sqrt(2): log x = e ln 2 + log(1 + f), f = m - 1, and
 * log(1 + f) = f - f^2 / 2 + f^3 c(f).
 */
FG_VEC_INLINE fg_vec fg_vec_log(fg_vec x)
{
	static const float c[] = {-0x1.38dcf8p-4f, 0x1.056c48p-3f, -0x1.0d8548p-3f, 0x1.22d79p-3f,
				  -0x1.54720cp-3f, 0x1.99a028p-3f, -0x1.000228p-2f, 0x1.555554p-2f};
	const fg_vec zero = fg_vec_set(0.0f), one = fg_vec_set(1.0f), half = fg_vec_set(0.5f);
	const fg_vec infinity = fg_vec_set(INFINITY);
	fg_mask tiny = fg_vec_less(x, fg_vec_set(0x1p-126f)), high;
	fg_vec normal = fg_vec_pick(tiny, fg_vec_mul(x, fg_vec_set(0x1p23f)), x);
	fg_vec e = fg_vec_sub(fg_vec_exponent(normal), fg_vec_pick(tiny, fg_vec_set(23.0f), zero));
	fg_vec m = fg_vec_mantissa(normal), f, ff, y;

	high = fg_vec_less(fg_vec_set(0x1.6a09e6p+0f), m);
	e = fg_vec_pick(high, fg_vec_add(e, one), e);
	f = fg_vec_sub(fg_vec_pick(high, fg_vec_mul(m, half), m), one);
	ff = fg_vec_mul(f, f);
	y = fg_vec_mul(fg_vec_mul(ff, f), FG_VEC_POLY(f, c));
	y = fg_vec_fma(e, fg_vec_set(-0x1.bd0106p-13f), y);
	y = fg_vec_add(f, fg_vec_fnma(ff, half, y));
	y = fg_vec_fma(e, fg_vec_set(0x1.63p-1f), y);
	y = fg_vec_pick(fg_vec_less(x, infinity), y, x);
	y = fg_vec_pick(fg_vec_equal(x, zero), fg_vec_set(-INFINITY), y);
	return fg_vec_pick(fg_vec_less(x, zero), fg_vec_set(NAN), y);
}

/*
 * log(1 + e^x) = max(x, 0) + log(1 + u), u = e^-|x|. With t = 2 u / (2 + u), log(1 + u) =
 * 2 artanh(t / 2) = t + t^3 c(t^2), which keeps its relative accuracy as u goes to 0.
 */
FG_VEC_INLINE fg_vec fg_vec_softplus(fg_vec x)
{
	static const float c[] = {0x1.e11728p-14f, 0x1.bb32f8p-12f, 0x1.24d764p-9f, 0x1.999866p-7f,
				  0x1.555556p-4f};
	const fg_vec zero = fg_vec_set(0.0f);
	fg_vec u = fg_vec_exp(fg_vec_sub(zero, fg_vec_abs(x)));
	fg_vec t = fg_vec_div(fg_vec_add(u, u), fg_vec_add(u, fg_vec_set(2.0f)));
	fg_vec tt = fg_vec_mul(t, t);

	t = fg_vec_fma(fg_vec_mul(t, tt), FG_VEC_POLY(tt, c), t);
	return fg_vec_add(fg_vec_max(zero, x), t);
}

/* ---- the error function ---- */

/* Up to 1: x + x near(x^2). Beyond: 1 - e^-far(|x|); from 4 on that is 1. */
FG_VEC_INLINE fg_vec fg_vec_erf(fg_vec x)
{
	static const float near[] = {0x1.4c5cb4p-14f, -0x1.a5197ap-11f, 0x1.542fecp-8f,
				     -0x1.b7fec4p-6f, 0x1.ce2d52p-4f,	-0x1.81274p-2f,
				     0x1.06eba8p-3f};
	static const float far[] = {0x1.89760cp-13f, -0x1.83fffp-9f, 0x1.66a4e6p-6f,
				    -0x1.a6c886p-4f, -0x1.46a98p-1f, -0x1.208e54p+0f,
				    -0x1.50219ap-12f};
	fg_vec a = fg_vec_min(fg_vec_set(4.0f), fg_vec_abs(x)), n, p, e, y;

	p = fg_vec_exp_parts(FG_VEC_POLY(a, far), &n);
	e = fg_vec_pow2(n);
	y = fg_vec_copysign(fg_vec_sub(fg_vec_set(1.0f), fg_vec_fma(e, p, e)), x);
	e = fg_vec_fma(x, FG_VEC_POLY(fg_vec_mul(x, x), near), x);
	return fg_vec_pick(fg_vec_less(a, fg_vec_set(1.0f)), e, y);
}

/*
 * x Phi(x), Phi being the normal distribution, without the cancellation of 1 + erf(x): with
 * a = |x| and its tail Q = 1 - Phi(a), x < 0 gives x Q and x >= 0 gives x - x Q.
 * Q e^(a^2 / 2) (a + 4) is smooth in t = (a - 4) / (a + 4), and a polynomial does it. What
 * rounding takes from a^2 goes back in as a factor: e^-d ~ 1 - d. Beyond 15, Q is 0.
 */
FG_VEC_INLINE fg_vec fg_vec_gelu(fg_vec x)
{
	static const float c[] = {-0x1.0743ep-13f, 0x1.91808cp-13f, 0x1.9bb068p-10f, -0x1.cd973p-9f,
				  -0x1.ed553ep-8f, 0x1.eed91ap-5f,  -0x1.7dffaep-3f, 0x1.8c6d8cp-2f,
				  -0x1.373e3ap-1f, 0x1.82b4bcp-1f};
	const fg_vec zero = fg_vec_set(0.0f), four = fg_vec_set(4.0f), half = fg_vec_set(0.5f);
	fg_vec a = fg_vec_min(fg_vec_set(15.0f), fg_vec_abs(x)), square = fg_vec_mul(a, a);
	fg_vec r = fg_vec_div(fg_vec_set(1.0f), fg_vec_add(a, four)), q, lost;

	lost = fg_vec_mul(half, fg_vec_fma(a, a, fg_vec_sub(zero, square)));
	q = fg_vec_mul(FG_VEC_POLY(fg_vec_mul(fg_vec_sub(a, four), r), c), r);
	q = fg_vec_fnma(q, lost, q);
	q = fg_vec_mul(q, fg_vec_exp(fg_vec_mul(square, fg_vec_set(-0.5f))));
	return fg_vec_pick(fg_vec_less(x, zero), fg_vec_mul(x, q), fg_vec_fnma(a, q, x));
}

/* As x sigmoid(2 u), which has the same tails and one exponential. */
FG_VEC_INLINE fg_vec fg_vec_gelu_tanh(fg_vec x)
{
	const fg_vec linear = fg_vec_set(0x1.988454p+0f), cubic = fg_vec_set(0x1.2444f2p-4f);
	fg_vec u = fg_vec_mul(x, fg_vec_fma(fg_vec_mul(x, x), cubic, linear));

	return fg_vec_mul(x, fg_vec_sigmoid(u));
}

/* tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2), e = e^x; from 20 on it is 1. */
FG_VEC_INLINE fg_vec fg_vec_mish(fg_vec x)
{
	const fg_vec two = fg_vec_set(2.0f);
	fg_vec e = fg_vec_exp(fg_vec_min(fg_vec_set(20.0f), x));
	fg_vec top = fg_vec_mul(e, fg_vec_add(e, two));

	return fg_vec_mul(x, fg_vec_div(top, fg_vec_add(top, two)));
}

/* ---- small ones ---- */

/* Of each lane, NaN where either is NaN. */
FG_VEC_INLINE fg_vec fg_vec_max_nan(fg_vec a, fg_vec b)
{
	return fg_vec_pick(fg_vec_equal(a, a), fg_vec_max(a, b), a);
}

FG_VEC_INLINE fg_vec fg_vec_min_nan(fg_vec a, fg_vec b)
{
	return fg_vec_pick(fg_vec_equal(a, a), fg_vec_min(a, b), a);
}

/* 1 where the mask is, else 0. */
FG_VEC_INLINE fg_vec fg_vec_truth(fg_mask mask)
{
	return fg_vec_pick(mask, fg_vec_set(1.0f), fg_vec_set(0.0f));
}

#endif
