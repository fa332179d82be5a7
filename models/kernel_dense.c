/* out (rows, out_cols) = activation(in (rows, in_cols) x weights (in_cols, out_cols) + bias). */
#include "models/kernel_dense.h"

#ifdef FG_ISA_c

#include <string.h>

/* A column that stands alone counts as a panel of width 1. */
struct panels {
	const char *at;
	size_t bytes;	/* of one */
	uint32_t width; /* columns of one */
};

static struct panels panels_of(const struct fg_kernel_args *args)
{
	return (struct panels){
		.at = args->weights,
		.bytes = fg_pack_panel_bytes(args->format, args->in_cols, args->out_cols),
		.width = args->out_cols > FG_PACK_NARROW_COLS ? FG_PANEL_COLS : 1,
	};
}

static float bf16_weight(const struct panels *panel, uint32_t k, uint32_t c)
{
	uint32_t word, bits;

	if (panel->width == 1) {
		word = ((const uint32_t *)panel->at)[k / 32 * 16 + k % 16];
		bits = k / 16 % 2 ? word & 0xffff0000 : word << 16;
	} else {
		word = ((const uint32_t *)panel->at)[k / 2 * FG_PANEL_COLS + c];
		bits = k % 2 ? word & 0xffff0000 : word << 16;
	}
	return fg_get((const float *)&bits, 0);
}

static void float_sums(const struct fg_kernel_args *args, const struct panels *panel,
		       const float *in, const float *bias, float *sum)
{
	memcpy(sum, bias, panel->width * sizeof(*sum));
	for (uint32_t k = 0; k < args->in_cols; k++) {
		const float *weights = (const float *)panel->at + k * panel->width;
		const float x = fg_get(in, k);

		for (uint32_t c = 0; c < panel->width; c++)
			sum[c] += x * (args->format == FG_WEIGHTS_F32 ? weights[c]
								      : bf16_weight(panel, k, c));
	}
}

static void to_bytes(const float *in, uint32_t in_cols, struct fg_dense_row *to)
{
	float low = 0.0f, high = 0.0f, inverse;
	bool finite = true;

	for (uint32_t k = 0; k < in_cols; k++) {
		float x = fg_get(in, k);

		finite = finite && isfinite(x);
		low = x < low ? x : low;
		high = x > high ? x : high;
	}
	inverse = fg_dense_set_step(to, low, high, finite);
	for (uint32_t k = 0; k < in_cols; k++) {
		int32_t u = inverse > 0 ? (int32_t)rintf(fg_get(in, k) * inverse) + to->zero : 0;

		to->bytes[k] = (uint8_t)(u < FG_PACK_INT8_MOST ? u : FG_PACK_INT8_MOST);
	}
}

static void int8_sums(const struct fg_kernel_args *args, const struct panels *panel,
		      const struct fg_dense_row *in, uint32_t col, float *sum)
{
	const uint32_t width = panel->width;
	int32_t products[FG_PANEL_COLS] = {0};

	for (uint32_t k = 0; k < args->in_cols; k++) {
		const int8_t *weights = (const int8_t *)panel->at +
					(width == 1 ? k : k / 4 * 4 * FG_PANEL_COLS + k % 4);

		for (uint32_t c = 0; c < width; c++)
			products[c] += in->bytes[k] * weights[4 * c];
	}
	for (uint32_t c = 0; c < width; c++) {
		int32_t exact = products[c] - in->zero * fg_dense_byte_sums(args)[col + c];

		sum[c] = in->step * fg_dense_scales(args)[col + c] * (float)exact +
			 args->bias[col + c];
	}
}

static void row_of_panel(const struct fg_kernel_args *args, const struct panels *panel,
			 uint32_t row, uint32_t col)
{
	const uint32_t left = args->out_cols - col;
	const uint32_t cols = left < panel->width ? left : panel->width;
	float *out = args->out + row * args->out_stride + col;
	float sum[FG_PANEL_COLS];

	if (args->format == FG_WEIGHTS_INT8)
		int8_sums(args, panel, fg_dense_row(args, row), col, sum);
	else
		float_sums(args, panel, args->in + row * args->in_stride, args->bias + col, sum);
	for (uint32_t c = 0; args->other && c < cols; c++)
		sum[c] += fg_get(args->other, row * args->other_stride + col + c);
	fg_activate(sum, out, cols, args->activation, args->alpha, args->beta);
}

void FG_KERNEL(DENSE)(const struct fg_kernel_args *args)
{
	struct panels panel = panels_of(args);

	for (uint32_t row = 0; args->format == FG_WEIGHTS_INT8 && row < args->rows; row++)
		to_bytes(args->in + row * args->in_stride, args->in_cols, fg_dense_row(args, row));
	for (uint32_t col = 0; col < args->out_cols; col += panel.width, panel.at += panel.bytes)
		for (uint32_t row = 0; row < args->rows; row++)
			row_of_panel(args, &panel, row, col);
}

#else

/* Every activation that costs next to nothing is one of these; the others follow. NaN stays, as
 * the constants stand first. */
struct end {
	bool leaky;	  /* x < 0 ? slope x : x, else */
	fg_vec low, high; /* min(high, max(low, x)) */
	fg_vec slope;
};

static bool is_end(enum fg_activation activation)
{
	return activation == FG_ACTIVATION_NONE || activation == FG_ACTIVATION_RELU ||
	       activation == FG_ACTIVATION_LEAKY_RELU || activation == FG_ACTIVATION_CLIP;
}

static struct end end_of(const struct fg_kernel_args *args)
{
	const bool clip = args->activation == FG_ACTIVATION_CLIP;
	const bool relu = args->activation == FG_ACTIVATION_RELU;

	return (struct end){
		.leaky = args->activation == FG_ACTIVATION_LEAKY_RELU,
		.low = fg_vec_set(clip	 ? args->alpha
				  : relu ? 0.0f
					 : -INFINITY),
		.high = fg_vec_set(clip ? args->beta : INFINITY),
		.slope = fg_vec_set(args->alpha),
	};
}

FG_INLINE fg_vec fold(const float *sums, size_t count, unsigned int S)
{
	fg_vec sum = fg_vec_load(sums);

	if (S > 1)
		sum = fg_vec_add(sum, fg_vec_load(sums + count));
	if (S > 2)
		sum = fg_vec_add(sum, fg_vec_add(fg_vec_load(sums + 2 * count),
						 fg_vec_load(sums + 3 * count)));
	return sum;
}

/* The first n lanes of `sum` become columns col.. of a row; n >= FG_VEC_LANES: all lanes. */
FG_INLINE void store(const struct fg_kernel_args *args, const struct end *end, uint32_t row,
		     uint32_t col, uint32_t n, fg_vec sum)
{
	const float *other = args->other ? args->other + row * args->other_stride + col : NULL;
	const fg_vec zero = fg_vec_set(0.0f);
	float *out = args->out + row * args->out_stride + col;

	if (other)
		sum = fg_vec_add(sum, n >= FG_VEC_LANES ? fg_vec_load(other)
							: fg_vec_load_n(other, n, zero));
	if (end->leaky)
		sum = fg_vec_pick(fg_vec_less(sum, zero), fg_vec_mul(end->slope, sum), sum);
	else
		sum = fg_vec_min(end->high, fg_vec_max(end->low, sum));
	if (n >= FG_VEC_LANES)
		fg_vec_store(out, sum);
	else
		fg_vec_store_n(out, sum, n);
}

void fg_dense_finish(const struct fg_kernel_args *args, uint32_t row, uint32_t panel,
		     unsigned int M, unsigned int P, unsigned int S, const float *sums)
{
	const uint32_t first = panel * FG_PANEL_COLS, left = args->out_cols - first;
	const uint32_t width = P * FG_PANEL_COLS, cols = left < width ? left : width;
	const struct end end = end_of(args);

	for (unsigned int m = 0; m < M; m++, row++, sums += width)
		for (uint32_t col = 0; col < cols; col += FG_VEC_LANES)
			store(args, &end, row, first + col, cols - col,
			      fold(sums + col, M * width, S));
}

void FG_KERNEL(DENSE)(const struct fg_kernel_args *args)
{
	if (args->format == FG_WEIGHTS_INT8)
		fg_dense_bytes(args);
	if (args->out_cols <= FG_PACK_NARROW_COLS)
		fg_dense_narrow(args);
	else if (args->format == FG_WEIGHTS_INT8)
		fg_dense_int8(args);
	else
		fg_dense_float(args);
	if (is_end(args->activation))
		return;
	/* Rows of few columns that follow each other are as good as one long row. */
	if (args->out_stride == args->out_cols) {
		fg_activate(args->out, args->out, args->rows * args->out_cols, args->activation,
			    args->alpha, args->beta);
		return;
	}
	for (uint32_t row = 0; row < args->rows; row++) {
		float *out = args->out + row * args->out_stride;

		fg_activate(out, out, args->out_cols, args->activation, args->alpha, args->beta);
	}
}

#endif
