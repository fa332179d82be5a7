/*
 * Layer normalization, in passes over each row, so that a large mean takes no digits from a small
 * variance: first the mean; then, with the differences d from it, the sums of d and of d * d. The
 * mean is rounded, so the sum of d is not quite 0; it corrects both mean and variance (Chan, Golub
 * and LeVeque, 1983).
 */
#include <math.h>
#include "models/kernel_isa.h"

#ifdef FG_ISA_c

static double row_sum(const float *in, uint32_t count)
{
	double sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += fg_get(in, i);
	return sum;
}

static double row_differences(const float *in, uint32_t count, float mean)
{
	double sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += (double)fg_get(in, i) - mean;
	return sum;
}

static double row_squares(const float *in, uint32_t count, float mean)
{
	double sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		double d = (double)fg_get(in, i) - mean;

		sum += d * d;
	}
	return sum;
}

static void write_row(const struct fg_kernel_args *args, const float *in, float *out, float mean,
		      double factor, double shift)
{
	const float *weights = args->weights;

	for (uint32_t i = 0; i < args->out_cols; i++) {
		double d = (double)fg_get(in, i) - mean;

		fg_put(out, i, (float)((d * factor + shift) * weights[i] + args->bias[i]));
	}
}

#else

#include "models/vec_row.h"

FG_VEC_INLINE fg_vec add_difference(fg_vec sum, fg_vec x, fg_vec mean)
{
	return fg_vec_add(sum, fg_vec_sub(x, mean));
}

FG_VEC_INLINE fg_vec add_square(fg_vec sum, fg_vec x, fg_vec mean)
{
	fg_vec d = fg_vec_sub(x, mean);

	return fg_vec_fma(d, d, sum);
}

static double row_differences(const float *in, uint32_t count, float mean)
{
	const fg_vec m = fg_vec_set(mean);

	return fg_vec_row_sum(in, count, add_difference, m, m);
}

static double row_sum(const float *in, uint32_t count)
{
	return row_differences(in, count, 0.0f);
}

static double row_squares(const float *in, uint32_t count, float mean)
{
	const fg_vec m = fg_vec_set(mean);

	return fg_vec_row_sum(in, count, add_square, m, m);
}

static void write_row(const struct fg_kernel_args *args, const float *in, float *out, float mean,
		      double factor, double shift)
{
	const fg_vec m = fg_vec_set(mean), f = fg_vec_set((float)factor);
	const fg_vec s = fg_vec_set((float)shift), zero = fg_vec_set(0.0f);
	const float *weights = args->weights, *bias = args->bias;
	uint32_t i = 0, rest;

	for (; args->out_cols - i >= FG_VEC_LANES; i += FG_VEC_LANES) {
		fg_vec y = fg_vec_fma(fg_vec_sub(fg_vec_load(in + i), m), f, s);

		fg_vec_store(out + i,
			     fg_vec_fma(y, fg_vec_load(weights + i), fg_vec_load(bias + i)));
	}
	rest = args->out_cols - i;
	if (rest) {
		fg_vec y = fg_vec_fma(fg_vec_sub(fg_vec_load_n(in + i, rest, zero), m), f, s);

		y = fg_vec_fma(y, fg_vec_load_n(weights + i, rest, zero),
			       fg_vec_load_n(bias + i, rest, zero));
		fg_vec_store_n(out + i, y, rest);
	}
}

#endif

/* out = ((in - mean) * factor + shift) * weights + bias */
static void normalize_row(const struct fg_kernel_args *args, const float *in, float *out)
{
	const uint32_t count = args->out_cols;
	const float mean = (float)(row_sum(in, count) / count);
	const double sum = row_differences(in, count, mean);
	const double squares = row_squares(in, count, mean);
	double variance = (squares - sum * sum / count) / count, factor;

	variance = variance < 0 ? 0 : variance; /* by rounding */
	factor = 1 / sqrt(variance + args->alpha);
	write_row(args, in, out, mean, factor, -sum / count * factor);
}

void FG_KERNEL(NORMALIZE)(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		normalize_row(args, args->in + row * args->in_stride,
			      args->out + row * args->out_stride);
}
