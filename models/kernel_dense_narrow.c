/* The dense kernel for few columns, each of which stands alone: dot products along the inputs. */
#include "models/kernel_dense.h"

#ifndef FG_ISA_c

/* Vectors of inputs that one round of the loop takes: a fixed number of partial sums, so that the
 * order of accumulation depends on in_cols alone. */
#define CHAINS 4u

FG_INLINE fg_vec weights(const float *words, uint32_t k, const enum fg_weights format)
{
	fg_vec pairs;

	if (format == FG_WEIGHTS_F32)
		return fg_vec_load(words + k);
	pairs = fg_vec_load(words + k / 32 * 16 + k % 16);
	return k / 16 % 2 ? fg_vec_bf16_high(pairs) : fg_vec_bf16_low(pairs);
}

/* A vector of weights at k is there up to the next multiple of 32 (16 for F32) inputs only, so k
 * must be below in_cols; its lanes beyond the row meet inputs of 0. */
FG_INLINE float dot(const float *in, const float *words, uint32_t in_cols,
		    const enum fg_weights format)
{
	fg_vec sum[CHAINS];
	uint32_t k = 0;

	FG_UNROLL
	for (uint32_t i = 0; i < CHAINS; i++)
		sum[i] = fg_vec_set(0.0f);
	for (; k + CHAINS * FG_VEC_LANES <= in_cols; k += CHAINS * FG_VEC_LANES) {
		FG_UNROLL
		for (uint32_t i = 0; i < CHAINS; i++)
			sum[i] = fg_vec_fma(fg_vec_load(in + k + i * FG_VEC_LANES),
					    weights(words, k + i * FG_VEC_LANES, format), sum[i]);
	}
	FG_UNROLL
	for (uint32_t i = 0; i < CHAINS; i++, k += FG_VEC_LANES)
		if (k < in_cols)
			sum[i] = fg_vec_fma(fg_dense_inputs(in, in_cols, k),
					    weights(words, k, format), sum[i]);
	return fg_vec_hsum(fg_vec_add(fg_vec_add(sum[0], sum[1]), fg_vec_add(sum[2], sum[3])));
}

static float int8_dot(const struct fg_kernel_args *args, const struct fg_dense_row *in,
		      const int8_t *weights, uint32_t col)
{
	fg_dots sum = fg_dots_zero();
	int32_t exact;

	for (uint32_t k = 0; k < args->in_cols; k += 4 * FG_VEC_LANES)
		sum = fg_dots_add(sum, fg_bytes_load(in->bytes + k), fg_bytes_weights(weights + k));
	exact = fg_dots_hsum(sum) - in->zero * fg_dense_byte_sums(args)[col];
	return in->step * fg_dense_scales(args)[col] * (float)exact + args->bias[col];
}

void fg_dense_narrow(const struct fg_kernel_args *args)
{
	const size_t bytes = fg_pack_panel_bytes(args->format, args->in_cols, args->out_cols);

	for (uint32_t row = 0; row < args->rows; row++) {
		const float *in = args->in + row * args->in_stride;
		float sums[FG_PANEL_COLS] = {0};

		for (uint32_t col = 0; col < args->out_cols; col++) {
			const void *column = (const char *)args->weights + col * bytes;

			if (args->format == FG_WEIGHTS_INT8)
				sums[col] = int8_dot(args, fg_dense_row(args, row), column, col);
			else if (args->format == FG_WEIGHTS_BF16)
				sums[col] = args->bias[col] +
					    dot(in, column, args->in_cols, FG_WEIGHTS_BF16);
			else
				sums[col] = args->bias[col] +
					    dot(in, column, args->in_cols, FG_WEIGHTS_F32);
		}
		fg_dense_finish(args, row, 0, 1, 1, 1, sums);
	}
}

#endif
