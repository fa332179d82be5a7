/* One number from each row: sums, norms, extremes and where they stand. */
#include <math.h>
#include "models/kernel_isa.h"

#ifdef FG_ISA_c

#define SUM(name, worth)                                                                           \
	static double name(const float *in, uint32_t count)                                        \
	{                                                                                          \
		double sum = 0;                                                                    \
                                                                                                   \
		for (uint32_t i = 0; i < count; i++) {                                             \
			double x = fg_get(in, i);                                                  \
                                                                                                   \
			sum += worth;                                                              \
		}                                                                                  \
		return sum;                                                                        \
	}

SUM(row_sum, x)
SUM(row_l1, fabs(x))
SUM(row_squares, (x * x))

/* The first column that holds NaN or, when none does, the extreme. */
#define EXTREME(name, beats)                                                                       \
	static uint32_t name(const float *in, uint32_t count)                                      \
	{                                                                                          \
		uint32_t best = 0;                                                                 \
                                                                                                   \
		for (uint32_t i = 0; i < count; i++) {                                             \
			if (isnan(fg_get(in, i)))                                                  \
				return i;                                                          \
			if (fg_get(in, i) beats fg_get(in, best))                                  \
				best = i;                                                          \
		}                                                                                  \
		return best;                                                                       \
	}

EXTREME(row_arg_max, >)
EXTREME(row_arg_min, <)

static float row_max(const float *in, uint32_t count)
{
	return fg_get(in, row_arg_max(in, count));
}

static float row_min(const float *in, uint32_t count)
{
	return fg_get(in, row_arg_min(in, count));
}

#else

#include "models/vec_row.h"

#define SUM(name, plus)                                                                            \
	FG_VEC_INLINE fg_vec add_##name(fg_vec sum, fg_vec x, fg_vec about)                        \
	{                                                                                          \
		(void)about;                                                                       \
		return plus;                                                                       \
	}                                                                                          \
                                                                                                   \
	static float name(const float *in, uint32_t count)                                         \
	{                                                                                          \
		const fg_vec zero = fg_vec_set(0.0f);                                              \
                                                                                                   \
		return fg_vec_row_sum(in, count, add_##name, zero, zero);                          \
	}

SUM(row_sum, fg_vec_add(sum, x))
SUM(row_l1, fg_vec_add(sum, fg_vec_abs(x)))
SUM(row_squares, fg_vec_fma(x, x, sum))

#define EXTREME(name, step, across, lowest)                                                        \
	static float name(const float *in, uint32_t count)                                         \
	{                                                                                          \
		const fg_vec start = fg_vec_set(lowest);                                           \
		fg_vec best = start;                                                               \
		uint32_t i = 0;                                                                    \
                                                                                                   \
		for (; count - i >= FG_VEC_LANES; i += FG_VEC_LANES)                               \
			best = step(fg_vec_load(in + i), best);                                    \
		if (i < count)                                                                     \
			best = step(fg_vec_load_n(in + i, count - i, start), best);                \
		if (fg_mask_any(fg_mask_not(fg_vec_equal(best, best))))                            \
			return NAN;                                                                \
		return across(best);                                                               \
	}

EXTREME(row_max, fg_vec_max_nan, fg_vec_hmax, -INFINITY)
EXTREME(row_min, fg_vec_min_nan, fg_vec_hmin, INFINITY)

/* The first column that holds `value`, which one does: so it is found before any lane behind the
 * row. NaN is found too. */
static uint32_t row_find(const float *in, uint32_t count, float value)
{
	const fg_vec wanted = fg_vec_set(value);

	for (uint32_t i = 0;; i += FG_VEC_LANES) {
		const bool whole = count - i >= FG_VEC_LANES;
		fg_vec x = whole ? fg_vec_load(in + i) : fg_vec_load_n(in + i, count - i, wanted);
		fg_mask holds =
			isnan(value) ? fg_mask_not(fg_vec_equal(x, x)) : fg_vec_equal(x, wanted);
		fg_vec at = fg_vec_pick(holds, fg_vec_index(), fg_vec_set(FG_VEC_LANES));

		if (fg_mask_any(holds))
			return i + (uint32_t)fg_vec_hmin(at);
	}
}

static uint32_t row_arg_max(const float *in, uint32_t count)
{
	return row_find(in, count, row_max(in, count));
}

static uint32_t row_arg_min(const float *in, uint32_t count)
{
	return row_find(in, count, row_min(in, count));
}

#endif

#define REDUCE(kind, value)                                                                        \
	void FG_KERNEL(kind)(const struct fg_kernel_args *args)                                    \
	{                                                                                          \
		const uint32_t count = args->in_cols;                                              \
                                                                                                   \
		for (uint32_t row = 0; row < args->rows; row++) {                                  \
			const float *in = args->in + row * args->in_stride;                        \
                                                                                                   \
			fg_put(args->out, row * args->out_stride, (float)(value));                 \
		}                                                                                  \
	}

REDUCE(REDUCE_SUM, row_sum(in, count))
REDUCE(REDUCE_MEAN, row_sum(in, count) / count)
REDUCE(REDUCE_MIN, row_min(in, count))
REDUCE(REDUCE_MAX, row_max(in, count))
REDUCE(REDUCE_L1, row_l1(in, count))
REDUCE(REDUCE_L2, sqrt(row_squares(in, count)))
REDUCE(ARG_MAX, row_arg_max(in, count))
REDUCE(ARG_MIN, row_arg_min(in, count))
