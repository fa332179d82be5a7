/*
 * pack.h: the weights of a dense step as its kernels read them.
 *
 * Weights come as (in_cols, out_cols), row-major, f32. They are packed once, by flipgate-pack, and
 * read by every ISA alike. All packed blocks start 64-byte aligned.
 *
 * More than FG_PACK_NARROW_COLS columns: panels, one behind the other. Panel p holds the columns
 * p * FG_PANEL_COLS and up, with zeros where there is no such column.
 *
 *   F32   panel (in_cols, FG_PANEL_COLS) floats.
 *   BF16  panel of 32-bit words (ceil(in_cols / 2), FG_PANEL_COLS): the low half of a word is row
 *         2k, the high half row 2k + 1 (0 beyond in_cols), so that a shift or a mask makes a float.
 *   INT8  panel (ceil(in_cols / 4), FG_PANEL_COLS, 4) bytes, four rows of a column together, as
 *         vpdpbusd and vpmaddubsw take them.
 *
 * Up to FG_PACK_NARROW_COLS columns, a panel would be mostly zeros: here each column stands alone,
 * padded with zeros to a multiple of 64 bytes.
 *
 *   F32   (out_cols, in_cols) floats.
 *   BF16  (out_cols, ceil(in_cols / 32), 16) 32-bit words: word w of group g holds row 32g + w in
 *         its low half and row 32g + 16 + w in its high half.
 *   INT8  (out_cols, in_cols) bytes.
 *
 * INT8, either way: behind the bytes, for every column of every panel (padded too) its scale
 * (f32), and then the sum of its bytes (i32). weight = scale[col] * byte, with bytes in -127 ..
 * 127. At most FG_PACK_INT8_MAX_COLS rows (in_cols), so that no sum overflows 32 bits.
 *
 * INT8, the inputs. A row x becomes bytes u = min(round(x * (1 / step)) + zero, 127) with
 * step = max(x, 0) * (1 / 127) - min(x, 0) * (1 / 127) and zero = -round(min(x, 0) * (1 / step)),
 * so that 0 is exact; every operation is one of f32, so that all ISAs find the same bytes. Inputs
 * have 7 bits because 2 * 127 * 127 fits in the 16 bits that vpmaddubsw has. The result is
 * (step * scale[col]) * (sum of u * byte - zero * sum[col]) + bias[col]. The sums are exact
 * integers: every ISA gives the same bits up to the activation. A row whose step is below
 * FG_PACK_INT8_MIN_STEP counts as zeros. One that holds NaN or infinity gives NaN in every column.
 */
#ifndef FG_MODELS_PACK_H
#define FG_MODELS_PACK_H

#include <stddef.h>
#include <stdint.h>
#include "models/kernels.h"

#define FG_PACK_NARROW_COLS   4u	 /* of out_cols */
#define FG_PACK_INT8_MOST     127	 /* bytes of weights are -127 .. 127, of inputs 0 .. 127 */
#define FG_PACK_INT8_MAX_COLS (1u << 16) /* of in_cols */
#define FG_PACK_INT8_MIN_STEP 0x1p-100f

/* "f32", "bf16", "int8". */
const char *fg_weights_name(enum fg_weights format);

/* Bytes of a packed block, a multiple of 64. in_cols and out_cols 1 .. 2^20. */
size_t fg_pack_bytes(enum fg_weights format, uint32_t in_cols, uint32_t out_cols);

/* Packs into `to`, fg_pack_bytes(...) bytes, which are all written. 0, or -EINVAL for INT8 when a
 * weight is not finite or in_cols is above FG_PACK_INT8_MAX_COLS. */
int fg_pack_weights(enum fg_weights format, const float *weights, uint32_t in_cols,
		    uint32_t out_cols, void *to);

/* What the INT8 kernel needs in fg_kernel_args.scratch for a batch of `rows`; a multiple of 64. */
size_t fg_pack_scratch_bytes(uint32_t in_cols, uint32_t rows);

/* ---- where things stand in a packed block, for the kernels ---- */

/* Bytes of one panel, or of one column where columns stand alone. */
static inline size_t fg_pack_panel_bytes(enum fg_weights format, uint32_t in_cols,
					 uint32_t out_cols)
{
	const size_t each = format == FG_WEIGHTS_F32 ? 1 : format == FG_WEIGHTS_BF16 ? 2 : 4;
	const size_t words = (in_cols + each - 1) / each; /* of 32 bits, in a column */

	if (out_cols > FG_PACK_NARROW_COLS)
		return words * FG_PANEL_COLS * sizeof(uint32_t);
	return (words + 15) / 16 * 64;
}

/* Bytes of all panels or columns: behind them stand INT8's scales and then its sums. */
static inline size_t fg_pack_panels_bytes(enum fg_weights format, uint32_t in_cols,
					  uint32_t out_cols)
{
	return fg_pack_panel_bytes(format, in_cols, out_cols) *
	       (out_cols > FG_PACK_NARROW_COLS ? fg_panels(out_cols) : out_cols);
}

#endif
