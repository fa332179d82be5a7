/*
 * libxsmm: its JIT-compiled small GEMMs over packed blocks of the weights. The library leaves the
 * blocking to the caller: every block size of a short list is timed once, the fastest stays.
 *
 * libxsmm's matrices are column-major, ours row-major: each is the other's transpose, so a call
 * computes out^T (n, rows) = weights^T (n, k) x in^T (k, rows).
 */
#include <libxsmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/bench/kernels/finish.h"
#include "tests/bench/kernels/reference.h"

/* Of at most n columns and k rows of the weights. */
struct blocks {
	uint32_t n, k;
};

static const struct blocks choices[] = {{16, 1024}, {32, 1024}, {48, 1024}, {64, 1024}, {128, 1024},
					{32, 256},  {64, 256},	{128, 256}, {64, 128},	{64, 64}};
#define CHOICES (sizeof(choices) / sizeof(choices[0]))

/* A kernel for a shape: whole or last block in n and in k; the first block in k overwrites, the
 * others add. */
struct layer {
	struct blocks blocks;
	float *packed;			      /* blocks of n columns, each (k, its columns) */
	libxsmm_smmfunction kernels[2][2][2]; /* [last n][last k][adds] */
};

struct state {
	const struct bench_model *model;
	uint32_t rows;
	const float *in;
	float *out;
	float *between[BENCH_LAYERS - 1];
	struct layer layers[BENCH_LAYERS];
};

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t rest(uint32_t total, uint32_t block)
{
	return total % block ? total % block : block;
}

static void *aligned(size_t floats)
{
	return aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64);
}

static void pack(struct layer *layer, const float *weights, uint32_t in_cols, uint32_t out_cols)
{
	float *to = layer->packed;

	for (uint32_t n = 0; n < out_cols; n += layer->blocks.n) {
		uint32_t cols = least(layer->blocks.n, out_cols - n);

		for (uint32_t k = 0; k < in_cols; k++, to += cols)
			memcpy(to, weights + (size_t)k * out_cols + n, cols * sizeof(*to));
	}
}

static int open_layer(struct state *state, uint32_t i, struct blocks choice)
{
	struct layer *layer = &state->layers[i];
	uint32_t in_cols = state->model->cols[i], out_cols = state->model->cols[i + 1];
	struct blocks blocks = {least(choice.n, out_cols), least(choice.k, in_cols)};
	const int ldb = (int)in_cols, ldc = (int)out_cols;

	layer->blocks = blocks;
	for (int which = 0; which < 8; which++) {
		const int m = (int)(which & 4 ? rest(out_cols, blocks.n) : blocks.n);
		const int k = (int)(which & 2 ? rest(in_cols, blocks.k) : blocks.k);
		const float one = 1, beta = which & 1;

		layer->kernels[which >> 2][which >> 1 & 1][which & 1] =
			libxsmm_smmdispatch(m, (int)state->rows, k, &m, &ldb, &ldc, &one, &beta,
					    NULL, NULL);
		if (!layer->kernels[which >> 2][which >> 1 & 1][which & 1])
			return -1;
	}
	pack(layer, state->model->weights[i], in_cols, out_cols);
	return 0;
}

static void run_layer(const struct state *state, uint32_t i, const float *in, float *out)
{
	const struct layer *layer = &state->layers[i];
	const struct bench_model *model = state->model;
	uint32_t in_cols = model->cols[i], out_cols = model->cols[i + 1];
	const float *weights = layer->packed;

	for (uint32_t n = 0; n < out_cols; n += layer->blocks.n) {
		uint32_t cols = least(layer->blocks.n, out_cols - n);

		for (uint32_t k = 0; k < in_cols; k += layer->blocks.k) {
			uint32_t depth = least(layer->blocks.k, in_cols - k);

			layer->kernels[n + cols == out_cols][k + depth == in_cols][k > 0](weights,
											  in + k,
											  out + n);
			weights += (size_t)depth * cols;
		}
		if (i + 1 < BENCH_LAYERS)
			bench_add_bias_relu(out + n, state->rows, out_cols, cols,
					    model->bias[i] + n);
	}
	if (i + 1 == BENCH_LAYERS)
		bench_finish(out, state->rows, out_cols, model->bias[i], model->end);
}

static const float *layer_in(const struct state *state, uint32_t i)
{
	return i ? state->between[i - 1] : state->in;
}

static float *layer_out(const struct state *state, uint32_t i)
{
	return i + 1 < BENCH_LAYERS ? state->between[i] : state->out;
}

static double time_layer_ns(const struct state *state, uint32_t i)
{
	double best_ns = 1e18;

	for (int repeat = 0; repeat < 20; repeat++) {
		struct timespec from, to;
		double ns;

		clock_gettime(CLOCK_MONOTONIC, &from);
		run_layer(state, i, layer_in(state, i), layer_out(state, i));
		clock_gettime(CLOCK_MONOTONIC, &to);
		ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
		best_ns = ns < best_ns ? ns : best_ns;
	}
	return best_ns;
}

static int choose_blocks(struct state *state, uint32_t i)
{
	double best_ns = 1e18;
	size_t best = CHOICES;

	for (size_t choice = 0; choice < CHOICES; choice++) {
		double ns;

		if (open_layer(state, i, choices[choice]))
			continue;
		ns = time_layer_ns(state, i);
		if (ns < best_ns) {
			best_ns = ns;
			best = choice;
		}
	}
	return best == CHOICES ? -1 : open_layer(state, i, choices[best]);
}

static void close_batch(void *at)
{
	struct state *state = at;

	for (uint32_t i = 0; i < BENCH_LAYERS; i++)
		free(state->layers[i].packed);
	for (uint32_t i = 0; i < BENCH_LAYERS - 1; i++)
		free(state->between[i]);
	free(state);
}

static void *open_batch(const struct bench_model *model, uint32_t rows, const float *in, float *out,
			char why[BENCH_WHY_BYTES])
{
	struct state *state = calloc(1, sizeof(*state));
	uint32_t i;

	snprintf(why, BENCH_WHY_BYTES, "no memory");
	if (!state)
		return NULL;
	*state = (struct state){.model = model, .rows = rows, .in = in, .out = out};
	libxsmm_init();
	for (i = 0; i < BENCH_LAYERS - 1; i++) {
		state->between[i] = aligned((size_t)rows * model->cols[i + 1]);
		if (!state->between[i])
			goto failed;
		memset(state->between[i], 0, (size_t)rows * model->cols[i + 1] * sizeof(float));
	}
	for (i = 0; i < BENCH_LAYERS; i++) {
		state->layers[i].packed = aligned((size_t)model->cols[i] * model->cols[i + 1]);
		if (!state->layers[i].packed)
			goto failed;
		if (choose_blocks(state, i)) {
			snprintf(why, BENCH_WHY_BYTES, "libxsmm has no kernel for layer %u", i);
			goto failed;
		}
	}
	return state;

failed:
	close_batch(state);
	return NULL;
}

static void run_batch(void *at)
{
	const struct state *state = at;

	for (uint32_t i = 0; i < BENCH_LAYERS; i++)
		run_layer(state, i, layer_in(state, i), layer_out(state, i));
}

static const char *version(void)
{
	static char text[64];

	libxsmm_init();
	snprintf(text, sizeof(text), "%d.%d, %s", LIBXSMM_VERSION_MAJOR, LIBXSMM_VERSION_MINOR,
		 libxsmm_get_target_arch());
	return text;
}

BENCH_EXPORT extern const struct bench_reference bench_references[];
const struct bench_reference bench_references[] = {
	{"libxsmm", open_batch, run_batch, close_batch, version},
	{0},
};
