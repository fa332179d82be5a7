/* The dense kernel for F32 and BF16 weights in panels. */
#include "models/kernel_dense.h"

#ifndef FG_ISA_c

/*
 * A tile computes M rows by P panels with S partial sums for each output. Partial sum s takes the
 * words s, s + S, s + 2S, ... of a column (a word is a float, or two bf16: models/pack.h); the
 * bias starts sum 0; at the end they are added pairwise. S depends on out_cols alone, and the
 * order over the inputs on S and the format alone, so whichever tile computes an output, it gives
 * the same bits.
 *
 * Why S: an FMA's result is ready after 4 cycles while one or two can start in each, so one row of
 * a narrow layer would wait most of the time. A tile with rows enough to keep the CPU busy, but
 * not registers for M * P * S accumulators, takes the partial sums one after the other.
 *
 * Per word, P weight vectors and M inputs are loaded for M * P products: high tiles need fewest
 * loads, low and wide ones serve batches of few rows.
 */
#define V	     FG_PANEL_VECS
#define ACCUMULATORS (FG_VEC_REGISTERS / 4 * 3)
#define MAX_S	     4u
#define FITS(format, S, M, P)                                                                      \
	((M) * (P)*V <= ACCUMULATORS && (P) <= MAX_PANELS(FG_WEIGHTS_##format, S, M))

/* One or two rows of F32 wait for memory, which gives most when it is read in few places. */
#define MAX_PANELS(format, S, M)                                                                   \
	((S) > 1 ? 4 / (S) : (format) == FG_WEIGHTS_F32 && (M) <= 2 ? 4 : 8)

struct tile_in {
	const float *in;
	size_t in_stride;
	const float *words;
	size_t panel_words;
};

/* Vector pv of the P * V that one word of each column makes. */
FG_INLINE fg_vec words_at(const struct tile_in *at, size_t word, const unsigned int pv)
{
	return fg_vec_load(at->words + pv / V * at->panel_words + word * FG_PANEL_COLS +
			   pv % V * FG_VEC_LANES);
}

FG_INLINE void multiply(fg_vec *sum, const fg_vec *x, fg_vec w, const unsigned int pv,
			const unsigned int M, const unsigned int P)
{
	FG_UNROLL
	for (unsigned int m = 0; m < M; m++)
		sum[m * P * V + pv] = fg_vec_fma(x[m], w, sum[m * P * V + pv]);
}

/* sum (M, P * V) += x (M) w (P * V) for the n (1 or 2) weights of a word. The inputs stay in
 * registers, the weights pass through one vector at a time. */
FG_INLINE void keep_inputs(fg_vec *sum, const struct tile_in *at, size_t word, const unsigned int n,
			   const enum fg_weights format, const unsigned int M, const unsigned int P)
{
	const float *in = at->in + (format == FG_WEIGHTS_BF16 ? 2 * word : word);
	fg_vec x[2 * FG_TILE_MAX_M];

	FG_UNROLL
	for (unsigned int i = 0; i < M * n; i++)
		x[i] = fg_vec_one(in + i % M * at->in_stride + i / M);
	FG_UNROLL
	for (unsigned int pv = 0; pv < P * V; pv++) {
		fg_vec w = words_at(at, word, pv);

		if (M > 1 || format == FG_WEIGHTS_BF16)
			w = fg_vec_hold(w);
		if (format == FG_WEIGHTS_F32)
			multiply(sum, x, w, pv, M, P);
		else
			multiply(sum, x, fg_vec_bf16_low(w), pv, M, P);
		if (n == 2)
			multiply(sum, x + M, fg_vec_bf16_high(w), pv, M, P);
	}
}

/* The same; the weights stay, the inputs pass through. */
FG_INLINE void keep_weights(fg_vec *sum, const struct tile_in *at, size_t word,
			    const unsigned int n, const enum fg_weights format,
			    const unsigned int M, const unsigned int P)
{
	const float *in = at->in + (format == FG_WEIGHTS_BF16 ? 2 * word : word);

	FG_UNROLL
	for (unsigned int half = 0; half < n; half++) {
		fg_vec w[ACCUMULATORS];

		FG_UNROLL
		for (unsigned int pv = 0; pv < P * V; pv++) {
			w[pv] = words_at(at, word, pv);
			if (format == FG_WEIGHTS_BF16)
				w[pv] = half ? fg_vec_bf16_high(w[pv]) : fg_vec_bf16_low(w[pv]);
		}
		FG_UNROLL
		for (unsigned int m = 0; m < M; m++) {
			fg_vec x = fg_vec_one(in + m * at->in_stride + half);

			FG_UNROLL
			for (unsigned int pv = 0; pv < P * V; pv++)
				sum[m * P * V + pv] = fg_vec_fma(x, w[pv], sum[m * P * V + pv]);
		}
	}
}

/* Whichever has fewer vectors stays. */
FG_INLINE void step(fg_vec *sum, const struct tile_in *at, size_t word, const unsigned int n,
		    const enum fg_weights format, const unsigned int M, const unsigned int P)
{
	if (M < P * V)
		keep_inputs(sum, at, word, n, format, M, P);
	else
		keep_weights(sum, at, word, n, format, M, P);
}

/* sum (T, M, P * V): the partial sums first .. first + T - 1 of S, T being 1 or S. */
FG_INLINE void accumulate(fg_vec *sum, const struct tile_in *at, uint32_t in_cols, size_t first,
			  const enum fg_weights format, const unsigned int M, const unsigned int P,
			  const unsigned int S, const unsigned int T)
{
	const unsigned int each = format == FG_WEIGHTS_BF16 ? 2 : 1, count = M * P * V;
	const size_t whole = in_cols / each, words = (in_cols + each - 1) / each;
	size_t word = first;

	for (; word + T <= whole; word += S) {
		FG_UNROLL
		for (unsigned int t = 0; t < T; t++)
			step(sum + t * count, at, word + t, each, format, M, P);
	}
	FG_UNROLL
	for (unsigned int t = 0; t < T; t++) {
		if (word + t < whole)
			step(sum + t * count, at, word + t, each, format, M, P);
		else if (word + t < words)
			step(sum + t * count, at, word + t, 1, format, M, P);
	}
}

FG_INLINE void tile(const struct fg_kernel_args *args, uint32_t row, uint32_t panel,
		    const enum fg_weights format, const unsigned int M, const unsigned int P,
		    const unsigned int S)
{
	const unsigned int count = M * P * V, T = count * S <= ACCUMULATORS ? S : 1;
	const unsigned int each = format == FG_WEIGHTS_BF16 ? 2 : 1;
	const size_t panel_words = (size_t)((args->in_cols + each - 1) / each) * FG_PANEL_COLS;
	const float *bias = args->bias + panel * FG_PANEL_COLS;
	const struct tile_in at = {
		.in = args->in + row * args->in_stride,
		.in_stride = args->in_stride,
		.words = (const float *)args->weights + panel * panel_words,
		.panel_words = panel_words,
	};
	float sums[MAX_S * ACCUMULATORS * FG_VEC_LANES];

	for (unsigned int s = 0; s < S; s += T) {
		fg_vec sum[ACCUMULATORS];

		FG_UNROLL
		for (unsigned int i = 0; i < count * T; i++)
			sum[i] = s + i / count == 0 ? fg_vec_load(bias + i % (P * V) * FG_VEC_LANES)
						    : fg_vec_set(0.0f);
		accumulate(sum, &at, args->in_cols, s, format, M, P, S, T);
		FG_UNROLL
		for (unsigned int i = 0; i < count * T; i++)
			fg_vec_store(sums + (s * count + i) * FG_VEC_LANES, sum[i]);
	}
	fg_dense_finish(args, row, panel, M, P, S, sums);
}

#define TILE(format, S, M, P)                                                                      \
	static void tile_##format##_##S##_##M##_##P(const struct fg_kernel_args *args,             \
						    uint32_t row, uint32_t panel)                  \
	{                                                                                          \
		if (FITS(format, S, M, P))                                                         \
			tile(args, row, panel, FG_WEIGHTS_##format, M, P, S);                      \
	}

FG_TILES(F32, 1)
FG_TILES(F32, 2)
FG_TILES(F32, 4)
FG_TILES(BF16, 1)
FG_TILES(BF16, 2)
FG_TILES(BF16, 4)

void fg_dense_float(const struct fg_kernel_args *args)
{
	const bool bf16 = args->format == FG_WEIGHTS_BF16;
	const uint32_t panels = fg_panels(args->out_cols);

	if (panels == 1 && bf16)
		fg_tile_all(args, tiles_BF16_4, fits_BF16_4);
	else if (panels == 1)
		fg_tile_all(args, tiles_F32_4, fits_F32_4);
	else if (panels <= 3 && bf16)
		fg_tile_all(args, tiles_BF16_2, fits_BF16_2);
	else if (panels <= 3)
		fg_tile_all(args, tiles_F32_2, fits_F32_2);
	else if (bf16)
		fg_tile_all(args, tiles_BF16_1, fits_BF16_1);
	else
		fg_tile_all(args, tiles_F32_1, fits_F32_1);
}

#endif
