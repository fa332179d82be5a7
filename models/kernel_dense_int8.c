/* The dense kernel for INT8 weights in panels, and how inputs become bytes. */
#include "models/kernel_dense.h"

#ifndef FG_ISA_c

#include <string.h>

#define V		      FG_PANEL_VECS
#define ACCUMULATORS	      (FG_VEC_REGISTERS / 2 / FG_DOTS_REGISTERS)
#define FITS(format, S, M, P) ((M) * (P)*V <= ACCUMULATORS && (P) <= 4)

/* Of a row of inputs, in four parts: the smallest, the largest (0 counts as one), and whether one
 * is NaN or infinite: then poison is NaN, else 0. */
struct range {
	fg_vec low[4], high[4], poison[4];
};

/* Four vectors of inputs from k on. */
FG_INLINE void four_inputs(const float *in, uint32_t in_cols, uint32_t k, const bool whole,
			   fg_vec x[4])
{
	FG_UNROLL
	for (uint32_t i = 0; i < 4; i++, k += FG_VEC_LANES)
		x[i] = whole ? fg_vec_load(in + k) : fg_dense_inputs(in, in_cols, k);
}

FG_INLINE void widen(struct range *range, const float *in, uint32_t in_cols, uint32_t k,
		     const bool whole)
{
	fg_vec x[4];

	four_inputs(in, in_cols, k, whole, x);
	FG_UNROLL
	for (uint32_t i = 0; i < 4; i++) {
		range->low[i] = fg_vec_min(x[i], range->low[i]);
		range->high[i] = fg_vec_max(x[i], range->high[i]);
		range->poison[i] = fg_vec_fma(x[i], fg_vec_set(0.0f), range->poison[i]);
	}
}

/* Sets the row's step and zero; what to multiply its inputs with (0: all bytes are 0). */
FG_INLINE float scale_row(const float *in, uint32_t in_cols, struct fg_dense_row *to)
{
	const fg_vec zero = fg_vec_set(0.0f);
	struct range range;
	fg_vec low, high, poison;
	uint32_t k = 0;

	FG_UNROLL
	for (uint32_t i = 0; i < 4; i++)
		range.low[i] = range.high[i] = range.poison[i] = zero;
	for (; in_cols - k >= 4 * FG_VEC_LANES; k += 4 * FG_VEC_LANES)
		widen(&range, in, in_cols, k, true);
	if (k < in_cols)
		widen(&range, in, in_cols, k, false);
	low = fg_vec_min(fg_vec_min(range.low[0], range.low[1]),
			 fg_vec_min(range.low[2], range.low[3]));
	high = fg_vec_max(fg_vec_max(range.high[0], range.high[1]),
			  fg_vec_max(range.high[2], range.high[3]));
	poison = fg_vec_add(fg_vec_add(range.poison[0], range.poison[1]),
			    fg_vec_add(range.poison[2], range.poison[3]));
	return fg_dense_set_step(to, fg_vec_hmin(low), fg_vec_hmax(high),
				 !fg_mask_any(fg_mask_not(fg_vec_equal(poison, zero))));
}

FG_INLINE void write_bytes(const float *in, uint32_t in_cols, uint32_t k, const bool whole,
			   float inverse, struct fg_dense_row *to)
{
	fg_vec x[4];

	four_inputs(in, in_cols, k, whole, x);
	FG_UNROLL
	for (uint32_t i = 0; i < 4; i++)
		x[i] = fg_vec_mul(x[i], fg_vec_set(inverse));
	fg_bytes_store(to->bytes + k, x, to->zero);
}

static void row_to_bytes(const float *in, uint32_t in_cols, struct fg_dense_row *to)
{
	const float inverse = scale_row(in, in_cols, to);
	uint32_t k = 0;

	if (inverse == 0.0f) {
		memset(to->bytes, 0, (in_cols + 63) / 64 * 64);
		return;
	}
	for (; in_cols - k >= 4 * FG_VEC_LANES; k += 4 * FG_VEC_LANES)
		write_bytes(in, in_cols, k, true, inverse, to);
	if (k < in_cols)
		write_bytes(in, in_cols, k, false, inverse, to);
}

void fg_dense_bytes(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row < args->rows; row++)
		row_to_bytes(args->in + row * args->in_stride, args->in_cols,
			     fg_dense_row(args, row));
}

struct tile_in {
	const struct fg_dense_row *rows[FG_TILE_MAX_M];
	const int8_t *weights;
	size_t panel_bytes;
	uint32_t words;
};

/* sum (M, P * V) += the products of four rows of weights. As for floats, what is less stays in
 * registers. */
FG_INLINE void step(fg_dots *sum, const struct tile_in *at, uint32_t word, const unsigned int M,
		    const unsigned int P)
{
	fg_bytes x[FG_TILE_MAX_M];

	FG_UNROLL
	for (unsigned int m = 0; m < M; m++)
		x[m] = fg_bytes_four(at->rows[m]->bytes + 4 * word);
	FG_UNROLL
	for (unsigned int pv = 0; pv < P * V; pv++) {
		const int8_t *from = at->weights + pv / V * at->panel_bytes +
				     ((size_t)word * FG_PANEL_COLS + pv % V * FG_VEC_LANES) * 4;

		fg_bytes w = fg_bytes_weights(from);

		if (M > 1)
			w = fg_bytes_hold(w);
		FG_UNROLL
		for (unsigned int m = 0; m < M; m++)
			sum[m * P * V + pv] = fg_dots_add(sum[m * P * V + pv], x[m], w);
	}
}

FG_INLINE void tile(const struct fg_kernel_args *args, uint32_t row, uint32_t panel,
		    const unsigned int M, const unsigned int P)
{
	const unsigned int count = M * P * V, T = count < 4 ? 4 / count : 1; /* for latency */
	const float *scales = fg_dense_scales(args) + panel * FG_PANEL_COLS;
	const int32_t *byte_sums = fg_dense_byte_sums(args) + panel * FG_PANEL_COLS;
	const float *bias = args->bias + panel * FG_PANEL_COLS;
	float sums[ACCUMULATORS * FG_VEC_LANES];
	fg_dots sum[ACCUMULATORS];
	struct tile_in at = {.words = (args->in_cols + 3) / 4};
	uint32_t word = 0;

	at.panel_bytes = (size_t)at.words * FG_PANEL_COLS * 4;
	at.weights = (const int8_t *)args->weights + panel * at.panel_bytes;
	FG_UNROLL
	for (unsigned int m = 0; m < M; m++)
		at.rows[m] = fg_dense_row(args, row + m);
	FG_UNROLL
	for (unsigned int i = 0; i < count * T; i++)
		sum[i] = fg_dots_zero();
	for (; word + T <= at.words; word += T) {
		FG_UNROLL
		for (unsigned int t = 0; t < T; t++)
			step(sum + t * count, &at, word + t, M, P);
	}
	for (; T > 1 && word < at.words; word++)
		step(sum, &at, word, M, P);
	FG_UNROLL
	for (unsigned int i = count; i < count * T; i++)
		sum[i % count] = fg_dots_sum(sum[i % count], sum[i]);
	FG_UNROLL
	for (unsigned int i = 0; i < count; i++) {
		const struct fg_dense_row *in = at.rows[i / (P * V)];
		const unsigned int col = i % (P * V) * FG_VEC_LANES;
		fg_vec scale = fg_vec_mul(fg_vec_set(in->step), fg_vec_load(scales + col));
		fg_vec exact = fg_dots_float(sum[i], in->zero, byte_sums + col);

		fg_vec_store(sums + i * FG_VEC_LANES,
			     fg_vec_add(fg_vec_mul(scale, exact), fg_vec_load(bias + col)));
	}
	fg_dense_finish(args, row, panel, M, P, 1, sums);
}

#define TILE(format, S, M, P)                                                                      \
	static void tile_##format##_##S##_##M##_##P(const struct fg_kernel_args *args,             \
						    uint32_t row, uint32_t panel)                  \
	{                                                                                          \
		if (FITS(format, S, M, P))                                                         \
			tile(args, row, panel, M, P);                                              \
	}

FG_TILES(INT8, 1)

void fg_dense_int8(const struct fg_kernel_args *args)
{
	fg_tile_all(args, tiles_INT8_1, fits_INT8_1);
}

#endif
