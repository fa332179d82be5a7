/* softmax(x)[i] = e^(x[i] - max) / sum over j of e^(x[j] - max), and its logarithm. */
#include <math.h>
#include "models/kernel_isa.h"

/* A column that equals the maximum has the difference 0, also where both are infinite and the
 * subtraction would give NaN (the limits that kernels.h promises). */
#ifdef FG_ISA_c

static float row_max(const float *in, uint32_t count)
{
	float max = -INFINITY;

	for (uint32_t i = 0; i < count; i++)
		max = fg_get(in, i) > max ? fg_get(in, i) : max;
	return max;
}

static float below_max(float x, float max)
{
	return x == max ? 0.0f : x - max;
}

static double row_sum(const float *in, uint32_t count, float max)
{
	double sum = 0.0;

	for (uint32_t i = 0; i < count; i++)
		sum += exp(below_max(fg_get(in, i), max));
	return sum;
}

static void softmax_row(const float *in, float *out, uint32_t count)
{
	const float max = row_max(in, count);
	const double sum = row_sum(in, count, max);

	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, (float)(exp(below_max(fg_get(in, i), max)) / sum));
}

static void log_softmax_row(const float *in, float *out, uint32_t count)
{
	const float max = row_max(in, count);
	const double log_sum = log(row_sum(in, count, max));

	for (uint32_t i = 0; i < count; i++)
		fg_put(out, i, (float)(below_max(fg_get(in, i), max) - log_sum));
}

#else

#include "models/vec_row.h"

static fg_vec row_max(const float *in, uint32_t count)
{
	const fg_vec lowest = fg_vec_set(-INFINITY);
	fg_vec max = lowest;
	uint32_t i = 0;

	for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)
		max = fg_vec_max(fg_vec_load(in + i), max);
	if (i < count)
		max = fg_vec_max(fg_vec_load_n(in + i, count - i, lowest), max);
	return fg_vec_set(fg_vec_hmax(max));
}

FG_VEC_INLINE fg_vec below_max(fg_vec x, fg_vec max)
{
	return fg_vec_pick(fg_vec_equal(x, max), fg_vec_set(0.0f), fg_vec_sub(x, max));
}

/* e^(x - max) of the last `rest` < FG_VEC_LANES columns; the other lanes 0. */
FG_VEC_INLINE fg_vec exp_rest(const float *in, uint32_t rest, fg_vec max)
{
	const fg_vec zero = fg_vec_set(0.0f);
	fg_vec e = fg_vec_exp(below_max(fg_vec_load_n(in, rest, zero), max));

	return fg_vec_pick(fg_vec_less(fg_vec_index(), fg_vec_set((float)rest)), e, zero);
}

static void softmax_row(const float *in, float *out, uint32_t count)
{
	const uint32_t rest = count % FG_VEC_LANES, whole = count - rest;
	const fg_vec max = row_max(in, count);
	struct fg_vec_sum sum = fg_vec_sum_zero();
	fg_vec last = sum.a, factor;

	if (rest)
		sum.d = last = exp_rest(in + whole, rest, max);
	for (uint32_t i = 0; i < whole; i += FG_VEC_LANES) {
		fg_vec e = fg_vec_exp(below_max(fg_vec_load(in + i), max));

		fg_vec_store(out + i, e);
		fg_vec_sum_turn(&sum, fg_vec_add(sum.a, e));
	}
	factor = fg_vec_set(1.0f / fg_vec_sum_all(&sum));
	for (uint32_t i = 0; i < whole; i += FG_VEC_LANES)
		fg_vec_store(out + i, fg_vec_mul(fg_vec_load(out + i), factor));
	if (rest)
		fg_vec_store_n(out + whole, fg_vec_mul(last, factor), rest);
}

static void log_softmax_row(const float *in, float *out, uint32_t count)
{
	const uint32_t rest = count % FG_VEC_LANES, whole = count - rest;
	const fg_vec max = row_max(in, count), zero = fg_vec_set(0.0f);
	struct fg_vec_sum sum = fg_vec_sum_zero();
	fg_vec log_sum;

	if (rest)
		sum.d = exp_rest(in + whole, rest, max);
	for (uint32_t i = 0; i < whole; i += FG_VEC_LANES) {
		fg_vec e = fg_vec_exp(below_max(fg_vec_load(in + i), max));

		fg_vec_sum_turn(&sum, fg_vec_add(sum.a, e));
	}
	log_sum = fg_vec_log(fg_vec_set(fg_vec_sum_all(&sum)));
	for (uint32_t i = 0; i < whole; i += FG_VEC_LANES)
		fg_vec_store(out + i, fg_vec_sub(below_max(fg_vec_load(in + i), max), log_sum));
	if (rest) {
		fg_vec x = below_max(fg_vec_load_n(in + whole, rest, zero), max);

		fg_vec_store_n(out + whole, fg_vec_sub(x, log_sum), rest);
	}
}

#endif

void FG_KERNEL(SOFTMAX)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		softmax_row(args->in + row * args->in_stride, args->out + row * args->out_stride,
			    args->out_cols);
}

void FG_KERNEL(LOG_SOFTMAX)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		log_softmax_row(args->in + row * args->in_stride,
				args->out + row * args->out_stride, args->out_cols);
}
