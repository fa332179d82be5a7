/*
 * kernel_dense.h: what the files of the dense kernel share. Only for kernel_dense*.c.
 *
 * Every weight format has its own way to the sums of products; what follows them (other,
 * activation, store) is the same for all.
 */
#ifndef FG_MODELS_KERNEL_DENSE_H
#define FG_MODELS_KERNEL_DENSE_H

#include <math.h>
#include <stdbool.h>
#include "models/kernel_isa.h"
#include "models/pack.h"

/* ---- INT8: what stands behind the packed bytes, and a row of inputs in scratch ---- */

struct fg_dense_row {
	float step;				      /* NaN: the row holds NaN or infinity */
	int32_t zero;				      /* the byte that means 0 */
	uint8_t bytes[] __attribute__((aligned(64))); /* (in_cols), and zeros up to 64 */
};

static inline struct fg_dense_row *fg_dense_row(const struct fg_kernel_args *args, uint32_t row)
{
	return (void *)((char *)args->scratch + fg_pack_scratch_bytes(args->in_cols, row));
}

static inline const float *fg_dense_scales(const struct fg_kernel_args *args)
{
	return (const void *)((const char *)args->weights +
			      fg_pack_panels_bytes(FG_WEIGHTS_INT8, args->in_cols, args->out_cols));
}

static inline const int32_t *fg_dense_byte_sums(const struct fg_kernel_args *args)
{
	return (const int32_t *)fg_dense_scales(args) + fg_panels(args->out_cols) * FG_PANEL_COLS;
}

/* Sets step and zero from the smallest and the largest input (0 counts as one) of a row; returns
 * by how much to multiply inputs (0: all bytes are 0). */
static inline float fg_dense_set_step(struct fg_dense_row *row, float low, float high, bool finite)
{
	float inverse;

	row->step =
		finite ? high * (1.0f / FG_PACK_INT8_MOST) - low * (1.0f / FG_PACK_INT8_MOST) : NAN;
	row->zero = 0;
	if (!(row->step >= FG_PACK_INT8_MIN_STEP))
		return 0.0f;
	inverse = 1.0f / row->step;
	row->zero = -(int32_t)rintf(low * inverse);
	return inverse;
}

#ifndef FG_ISA_c

#include "models/vec.h"

#define FG_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define FG_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FG_UNROLL _Pragma("GCC unroll 32")
#endif

#define FG_PANEL_VECS	(FG_PANEL_COLS / FG_VEC_LANES) /* vectors in a row of a panel */

#define fg_dense_float	FG_ISA_NAME(fg_dense_float)
#define fg_dense_int8	FG_ISA_NAME(fg_dense_int8)
#define fg_dense_narrow FG_ISA_NAME(fg_dense_narrow)
#define fg_dense_bytes	FG_ISA_NAME(fg_dense_bytes)
#define fg_dense_finish FG_ISA_NAME(fg_dense_finish)

/* The step but for the activations that fg_dense_finish() leaves out. */
void fg_dense_float(const struct fg_kernel_args *args);	 /* F32 and BF16 in panels */
void fg_dense_int8(const struct fg_kernel_args *args);	 /* INT8 in panels */
void fg_dense_narrow(const struct fg_kernel_args *args); /* up to FG_PACK_NARROW_COLS columns */

/* INT8: all rows of inputs as bytes, in scratch. */
void fg_dense_bytes(const struct fg_kernel_args *args);

/*
 * What follows the sums: out (M, P * FG_PANEL_COLS), at `row` and the first column of `panel`,
 * from the partial sums (S, M, P, FG_PANEL_COLS), S being 1, 2 or 4, which it adds pairwise.
 */
void fg_dense_finish(const struct fg_kernel_args *args, uint32_t row, uint32_t panel,
		     unsigned int M, unsigned int P, unsigned int S, const float *sums);

/* The inputs k .. k + FG_VEC_LANES - 1 of a row, 0 beyond it. */
FG_INLINE fg_vec fg_dense_inputs(const float *in, uint32_t in_cols, uint32_t k)
{
	if (k + FG_VEC_LANES <= in_cols)
		return fg_vec_load(in + k);
	return fg_vec_load_n(in + k, k < in_cols ? in_cols - k : 0, fg_vec_set(0.0f));
}

/* ---- tiles of M rows by P panels: P a power of two, so that few tiles do the panels left ---- */

#define FG_TILE_MAX_M 8
#define FG_TILE_MAX_P 8

typedef void fg_tile(const struct fg_kernel_args *args, uint32_t row, uint32_t panel);

/*
 * FG_TILES(format, S) makes what fg_tile_all() needs to run a format with S partial sums from what
 * the file defines: FITS(format, S, M, P), whether a tile is of use and fits into the registers,
 * and TILE(format, S, M, P), the function tile_<format>_<S>_<M>_<P>, which may be empty when not.
 */
#define FG_TILES(format, S)                                                                        \
	FG_TILE_EACH_M(FG_TILE_EACH_P, TILE, format, S)                                            \
	static fg_tile *const tiles_##format##_##S[][4] = {                                        \
		FG_TILE_EACH_M(FG_TILE_NAMES, FG_TILE_NAME, format, S)};                           \
	static bool fits_##format##_##S(unsigned int M, unsigned int P)                            \
	{                                                                                          \
		return FITS(format, S, M, P);                                                      \
	}

#define FG_TILE_NAME(format, S, M, P)  tile_##format##_##S##_##M##_##P,
#define FG_TILE_NAMES(X, format, S, M) {FG_TILE_EACH_P(X, format, S, M)},
#define FG_TILE_EACH_P(X, format, S, M)                                                            \
	X(format, S, M, 1) X(format, S, M, 2) X(format, S, M, 4) X(format, S, M, 8)
#define FG_TILE_EACH_M(EACH, X, format, S)                                                         \
	EACH(X, format, S, 1)                                                                      \
	EACH(X, format, S, 2)                                                                      \
	EACH(X, format, S, 3)                                                                      \
	EACH(X, format, S, 4)                                                                      \
	EACH(X, format, S, 5) EACH(X, format, S, 6) EACH(X, format, S, 7) EACH(X, format, S, 8)

/*
 * Runs tiles[M - 1][log2 P] over all rows and panels. Rows go in blocks as even as can be: 9 rows
 * are 5 and 4, not 8 and 1. Some panels go through all blocks before the next ones, so that weights
 * are read from memory once, and from L1 or L2 for the other blocks.
 */
FG_INLINE void fg_tile_all(const struct fg_kernel_args *args, fg_tile *const tiles[][4],
			   bool (*fits)(unsigned int M, unsigned int P))
{
	const uint32_t panels = fg_panels(args->out_cols);
	unsigned int max_m = FG_TILE_MAX_M, P = FG_TILE_MAX_P;
	uint32_t blocks, height, higher;

	while (!fits(max_m, 1))
		max_m--;
	blocks = (args->rows + max_m - 1) / max_m;
	height = args->rows / blocks;
	higher = args->rows % blocks; /* so many blocks have one row more */
	while (!fits(height, P) || !fits(height + (higher > 0), P))
		P /= 2;
	for (uint32_t panel = 0; panel < panels; panel += P) {
		while (P > panels - panel)
			P /= 2;
		for (uint32_t block = 0, row = 0; block < blocks; block++) {
			unsigned int M = height + (block < higher);

			tiles[M - 1][__builtin_ctz(P)](args, row, panel);
			row += M;
		}
	}
}

#endif

#endif
