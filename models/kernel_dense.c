/*
 * out (rows, out_cols) = activation(in (rows, in_cols) x weights (in_cols, out_cols) + bias).
 */
#include "models/kernel_isa.h"

#ifdef FG_ISA_c

/* Plain C arithmetic on four columns at once (GCC's vector extension), else compilers keep the
 * sums in memory. */
typedef float four __attribute__((vector_size(16)));

_Static_assert(FG_PANEL_COLS == 4 * 4, "panel_row below has four sums of four");

static void panel_row(const float *in, const four *weights, const four *bias, uint32_t in_cols,
		      four sum[4])
{
	four a = bias[0], b = bias[1], c = bias[2], d = bias[3];

	for (uint32_t k = 0; k < in_cols; k++, weights += 4) {
		float x = fg_get(in, k);

		a += x * weights[0];
		b += x * weights[1];
		c += x * weights[2];
		d += x * weights[3];
	}
	sum[0] = a;
	sum[1] = b;
	sum[2] = c;
	sum[3] = d;
}

void fg_kernel_dense(const struct fg_kernel_args *args)
{
	const float *weights = args->weights;

	for (uint32_t col = 0; col < args->out_cols; col += FG_PANEL_COLS) {
		uint32_t left = args->out_cols - col;
		uint32_t cols = left < FG_PANEL_COLS ? left : FG_PANEL_COLS;

		for (uint32_t row = 0; row < args->rows; row++) {
			four sum[4];

			panel_row(args->in + row * args->in_stride, (const four *)weights,
				  (const four *)(args->bias + col), args->in_cols, sum);
			fg_activate((const float *)sum, args->out + row * args->out_stride + col,
				    cols, args->activation, args->alpha);
		}
		weights += (size_t)args->in_cols * FG_PANEL_COLS;
	}
}

#else

#include "models/vec_math.h"

/*
 * A tile computes M rows by P panels with S partial sums for each output, all in registers:
 * M * P * V * S accumulators. Partial sum s takes k = s, s + S, s + 2S, ...; the bias starts
 * sum 0; at the end they are added pairwise. S depends on out_cols alone, and the order over k
 * on S alone, so whichever tile computes an output, it gives the same bits.
 *
 * Why S: an FMA's result is ready after 4 cycles while 2 can start in each, so one row of a
 * narrow layer (2 accumulators for one panel) would wait most of the time.
 */
#define V      (FG_PANEL_COLS / FG_VEC_LANES) /* vectors in a row of a panel */
#define TILES  (FG_VEC_ACCUMULATORS / V)      /* M * P * S of the largest tile */
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

_Static_assert(TILES >= 4, "a tile must have room for four partial sums");

/* sum (M, P * V) += x (M) w (P * V) for one k. Whichever of x and w has fewer vectors stays in
 * registers, the other passes through one at a time. */
INLINE void keep_x(fg_vec *sum, const float *in, size_t in_stride, const float *weights,
		   size_t panel_floats, const unsigned int M, const unsigned int P)
{
	fg_vec x[TILES];

	UNROLL
	for (unsigned int m = 0; m < M; m++)
		x[m] = fg_vec_one(in + m * in_stride);
	UNROLL
	for (unsigned int pv = 0; pv < P * V; pv++) {
		fg_vec w = fg_vec_load(weights + pv / V * panel_floats + pv % V * FG_VEC_LANES);

		UNROLL
		for (unsigned int m = 0; m < M; m++)
			sum[m * P * V + pv] = fg_vec_fma(x[m], w, sum[m * P * V + pv]);
	}
}

INLINE void keep_w(fg_vec *sum, const float *in, size_t in_stride, const float *weights,
		   size_t panel_floats, const unsigned int M, const unsigned int P)
{
	fg_vec w[TILES * V];

	UNROLL
	for (unsigned int pv = 0; pv < P * V; pv++)
		w[pv] = fg_vec_load(weights + pv / V * panel_floats + pv % V * FG_VEC_LANES);
	UNROLL
	for (unsigned int m = 0; m < M; m++) {
		fg_vec x = fg_vec_one(in + m * in_stride);

		UNROLL
		for (unsigned int pv = 0; pv < P * V; pv++)
			sum[m * P * V + pv] = fg_vec_fma(x, w[pv], sum[m * P * V + pv]);
	}
}

INLINE void tile_step(fg_vec *sum, const float *in, size_t in_stride, const float *weights,
		      size_t panel_floats, const unsigned int M, const unsigned int P)
{
	if (M < P * V)
		keep_x(sum, in, in_stride, weights, panel_floats, M, P);
	else
		keep_w(sum, in, in_stride, weights, panel_floats, M, P);
}

INLINE void tile_store(const struct fg_kernel_args *args, float *out, uint32_t cols, fg_vec *sum)
{
	UNROLL
	for (unsigned int v = 0; v < V; v++) {
		uint32_t first = v * FG_VEC_LANES;

		if (cols >= first + FG_VEC_LANES)
			fg_vec_store(out + first, sum[v]);
		else if (cols > first)
			fg_vec_store_n(out + first, sum[v], cols - first);
	}
	if (args->activation > FG_ACTIVATION_LEAKY_RELU)
		fg_activate(out, out, cols, args->activation, args->alpha);
}

/* The cheap activations, in registers. The others follow in tile_store, while the line is hot. */
INLINE void tile_activate(const struct fg_kernel_args *args, fg_vec *sum, const unsigned int count)
{
	if (args->activation == FG_ACTIVATION_RELU) {
		UNROLL
		for (unsigned int i = 0; i < count; i++)
			sum[i] = fg_vec_relu(sum[i]);
	} else if (args->activation == FG_ACTIVATION_LEAKY_RELU) {
		fg_vec alpha = fg_vec_set(args->alpha);

		UNROLL
		for (unsigned int i = 0; i < count; i++)
			sum[i] = fg_vec_leaky_relu(sum[i], alpha);
	}
}

INLINE void tile(const struct fg_kernel_args *args, uint32_t row, uint32_t panel,
		 const unsigned int M, const unsigned int P, const unsigned int S)
{
	const unsigned int count = M * P * V; /* of one partial sum */
	const size_t panel_floats = (size_t)args->in_cols * FG_PANEL_COLS;
	const float *in = args->in + row * args->in_stride;
	const float *weights = args->weights + panel * panel_floats;
	const float *bias = args->bias + panel * FG_PANEL_COLS;
	fg_vec sum[FG_VEC_ACCUMULATORS];
	uint32_t k = 0;

	UNROLL
	for (unsigned int i = 0; i < count * S; i++)
		sum[i] = i < count ? fg_vec_load(bias + i % (P * V) * FG_VEC_LANES)
				   : fg_vec_set(0.0f);
	for (; args->in_cols - k >= S; k += S) {
		UNROLL
		for (unsigned int s = 0; s < S; s++)
			tile_step(sum + s * count, in + k + s, args->in_stride,
				  weights + (k + s) * (size_t)FG_PANEL_COLS, panel_floats, M, P);
	}
	UNROLL
	for (unsigned int s = 0; s + 1 < S; s++)
		if (k + s < args->in_cols)
			tile_step(sum + s * count, in + k + s, args->in_stride,
				  weights + (k + s) * (size_t)FG_PANEL_COLS, panel_floats, M, P);
	UNROLL
	for (unsigned int step = 1; step < S; step *= 2) {
		UNROLL
		for (unsigned int i = 0; i < count * S; i++)
			if (i / count % (2 * step) == 0)
				sum[i] = fg_vec_add(sum[i], sum[i + step * count]);
	}
	tile_activate(args, sum, count);
	UNROLL
	for (unsigned int i = 0; i < M * P; i++) {
		uint32_t col = (panel + i % P) * FG_PANEL_COLS;
		float *out = args->out + (row + i / P) * args->out_stride + col;

		tile_store(args, out, args->out_cols - col, sum + i * V);
	}
}

/* Panels in one tile: all that a layer with S > 1 has; for S == 1, more than 6 gain nothing. */
#define MAX_PANELS(S)	((S) > 1 ? 4 / (S) : 6)
#define MIN(a, b)	((a) < (b) ? (a) : (b))
#define IF_LEFT(n, max) if ((n) < (max) && left == (n))

/* M rows, all panels. Constant conditions leave only the tiles that fit. */
INLINE void some_rows(const struct fg_kernel_args *args, uint32_t row, const unsigned int M,
		      const unsigned int S)
{
	const unsigned int P = MIN(TILES / (M * S), MAX_PANELS(S));
	const uint32_t panels = fg_panels(args->out_cols), left = panels % P;
	uint32_t panel = 0;

	for (; panels - panel >= P; panel += P)
		tile(args, row, panel, M, P, S);
	IF_LEFT(1, P) tile(args, row, panel, M, 1, S);
	IF_LEFT(2, P) tile(args, row, panel, M, 2, S);
	IF_LEFT(3, P) tile(args, row, panel, M, 3, S);
	IF_LEFT(4, P) tile(args, row, panel, M, 4, S);
	IF_LEFT(5, P) tile(args, row, panel, M, 5, S);
}

/*
 * Blocks of M rows (as many as registers allow) go panel by panel, so that a panel is read from
 * memory once and from L1 or L2 for the other blocks. The rows left over take tiles that are
 * wider instead of higher.
 */
INLINE void all_rows(const struct fg_kernel_args *args, const unsigned int S)
{
	const unsigned int M = MIN(TILES / S, 6);
	const uint32_t panels = fg_panels(args->out_cols), left = args->rows % M;
	const uint32_t blocks = args->rows - left;

	for (uint32_t panel = 0; blocks && panel < panels; panel++)
		for (uint32_t row = 0; row < blocks; row += M)
			tile(args, row, panel, M, 1, S);
	IF_LEFT(1, M) some_rows(args, blocks, 1, S);
	IF_LEFT(2, M) some_rows(args, blocks, 2, S);
	IF_LEFT(3, M) some_rows(args, blocks, 3, S);
	IF_LEFT(4, M) some_rows(args, blocks, 4, S);
	IF_LEFT(5, M) some_rows(args, blocks, 5, S);
}

void fg_kernel_dense(const struct fg_kernel_args *args)
{
	switch (fg_panels(args->out_cols)) {
	case 1:
		all_rows(args, 4);
		break;
	case 2:
		all_rows(args, 2);
		break;
	default:
		all_rows(args, 1);
	}
}

#endif
