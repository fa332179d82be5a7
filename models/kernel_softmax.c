/* softmax(x)[i] = e^(x[i] - max) / sum over j of e^(x[j] - max). */
#include <math.h>
#include "models/kernel_isa.h"

/* A column that equals the maximum has the difference 0, also where both are infinite and the
 * subtraction would give NaN (the limits that kernels.h promises). */
#ifdef FG_ISA_c

static void softmax_row(const float *in, float *out, uint32_t count)
{
	float max = -INFINITY;
	double sum = 0.0;

	for (uint32_t i = 0; i < count; i++)
		max = fg_get(in, i) > max ? fg_get(in, i) : max;
	for (uint32_t i = 0; i < count; i++) {
		float x = fg_get(in, i);
		float e = x == max ? 1.0f : expf(x - max);

		fg_put(out, i, e);
		sum += e;
	}
	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, (float)(fg_get(out, i) / sum));
}

#else

#include "models/vec_math.h"

static float row_max(const float *in, uint32_t count)
{
	const fg_vec lowest = fg_vec_set(-INFINITY);
	fg_vec max = lowest;
	uint32_t i = 0;

	for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)
		max = fg_vec_max(fg_vec_load(in + i), max);
	if (i < count)
		max = fg_vec_max(fg_vec_load_n(in + i, count - i, lowest), max);
	return fg_vec_hmax(max);
}

static inline fg_vec exp_below(fg_vec x, fg_vec max)
{
	fg_vec difference = fg_vec_sub(x, max);

	return fg_vec_exp(fg_vec_pick(fg_vec_equal(x, max), fg_vec_set(0.0f), difference));
}

static void softmax_row(const float *in, float *out, uint32_t count)
{
	const uint32_t whole = count / FG_VEC_LANES * FG_VEC_LANES, rest = count - whole;
	const fg_vec zero = fg_vec_set(0.0f), max = fg_vec_set(row_max(in, count));
	fg_vec sum = zero;

	for (uint32_t i = 0; i < whole; i += FG_VEC_LANES) {
		fg_vec e = exp_below(fg_vec_load(in + i), max);

		fg_vec_store(out + i, e);
		sum = fg_vec_add(sum, e);
	}
	if (rest) {
		fg_vec e = exp_below(fg_vec_load_n(in + whole, rest, zero), max);

		/* Read back, so that the lanes that are no columns add 0 to the sum. */
		fg_vec_store_n(out + whole, e, rest);
		sum = fg_vec_add(sum, fg_vec_load_n(out + whole, rest, zero));
	}
	sum = fg_vec_set(fg_vec_hsum(sum));
	for (uint32_t i = 0; i < whole; i += FG_VEC_LANES)
		fg_vec_store(out + i, fg_vec_div(fg_vec_load(out + i), sum));
	if (rest)
		fg_vec_store_n(out + whole, fg_vec_div(fg_vec_load_n(out + whole, rest, zero), sum),
			       rest);
}

#endif

void fg_kernel_softmax(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		softmax_row(args->in + row * args->in_stride, args->out + row * args->out_stride,
			    args->out_cols);
}
