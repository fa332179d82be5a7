#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/pack.h"

const char *fg_weights_name(enum fg_weights format)
{
#define NAME(name, label) label,
	static const char *const names[] = {FG_WEIGHTS(NAME)};
#undef NAME

	return names[format];
}

size_t fg_pack_bytes(enum fg_weights format, uint32_t in_cols, uint32_t out_cols)
{
	const size_t cols = (size_t)fg_panels(out_cols) * FG_PANEL_COLS;
	const size_t bytes = fg_pack_panels_bytes(format, in_cols, out_cols);

	return format == FG_WEIGHTS_INT8 ? bytes + cols * (sizeof(float) + sizeof(int32_t)) : bytes;
}

size_t fg_pack_scratch_bytes(uint32_t in_cols, uint32_t rows)
{
	return rows * (((size_t)in_cols + 63) / 64 + 1) * 64;
}

/* Of weight (row, col), in elements of the format. */
static size_t place(enum fg_weights format, uint32_t in_cols, uint32_t out_cols, uint32_t row,
		    uint32_t col)
{
	const size_t each = format == FG_WEIGHTS_F32 ? 1 : format == FG_WEIGHTS_BF16 ? 2 : 4;
	const size_t panel = fg_pack_panel_bytes(format, in_cols, out_cols) / 4 * each;

	if (out_cols > FG_PACK_NARROW_COLS)
		return col / FG_PANEL_COLS * panel +
		       (row / each * FG_PANEL_COLS + col % FG_PANEL_COLS) * each + row % each;
	if (format == FG_WEIGHTS_BF16)
		return col * panel + row / 32 * 32 + row % 16 * 2 + row / 16 % 2;
	return col * panel + row;
}

/* To the nearest, ties to even. The carry of the rounding goes into the exponent as it should; NaN
 * is kept from becoming infinity. */
static uint16_t bf16(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if (isnan(value))
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* One column of INT8: its bytes, scale and sum. */
static int quantise(const float *weights, uint32_t in_cols, uint32_t out_cols, uint32_t col,
		    int8_t *bytes, float *scale, int32_t *sum)
{
	float largest = 0.0f;

	for (uint32_t row = 0; row < in_cols; row++) {
		float weight = weights[(size_t)row * out_cols + col];

		if (!isfinite(weight))
			return -EINVAL;
		largest = fmaxf(largest, fabsf(weight));
	}
	*scale = largest / FG_PACK_INT8_MOST;
	*sum = 0;
	for (uint32_t row = 0; *scale > 0 && row < in_cols; row++) {
		double exact = (double)weights[(size_t)row * out_cols + col] / *scale;
		long byte = lrint(fmin(fmax(exact, -FG_PACK_INT8_MOST), FG_PACK_INT8_MOST));

		bytes[place(FG_WEIGHTS_INT8, in_cols, out_cols, row, col)] = (int8_t)byte;
		*sum += (int32_t)byte;
	}
	return 0;
}

int fg_pack_weights(enum fg_weights format, const float *weights, uint32_t in_cols,
		    uint32_t out_cols, void *to)
{
	char *tail = (char *)to + fg_pack_panels_bytes(format, in_cols, out_cols);
	float *scales = (float *)tail;
	int32_t *sums = (int32_t *)(scales + (size_t)fg_panels(out_cols) * FG_PANEL_COLS);
	int error = 0;

	if (format == FG_WEIGHTS_INT8 && in_cols > FG_PACK_INT8_MAX_COLS)
		return -EINVAL;
	memset(to, 0, fg_pack_bytes(format, in_cols, out_cols));
	for (uint32_t col = 0; col < out_cols && !error; col++) {
		if (format == FG_WEIGHTS_INT8) {
			error = quantise(weights, in_cols, out_cols, col, to, &scales[col],
					 &sums[col]);
			continue;
		}
		for (uint32_t row = 0; row < in_cols; row++) {
			float weight = weights[(size_t)row * out_cols + col];
			size_t at = place(format, in_cols, out_cols, row, col);

			if (format == FG_WEIGHTS_F32)
				((float *)to)[at] = weight;
			else
				((uint16_t *)to)[at] = bf16(weight);
		}
	}
	return error;
}
