/* OpenBLAS: sgemm, and a loop for bias and activation. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/bench/kernels/finish.h"
#include "tests/bench/kernels/reference.h"

struct state {
	const struct bench_model *model;
	uint32_t rows;
	const float *in;
	float *out;
	float *between[BENCH_LAYERS - 1]; /* what layer i makes */
};

static void close_batch(void *at)
{
	struct state *state = at;

	for (uint32_t i = 0; i < BENCH_LAYERS - 1; i++)
		free(state->between[i]);
	free(state);
}

static void *open_batch(const struct bench_model *model, uint32_t rows, const float *in, float *out,
			char why[BENCH_WHY_BYTES])
{
	struct state *state = calloc(1, sizeof(*state));

	if (!state)
		goto no_memory;
	*state = (struct state){.model = model, .rows = rows, .in = in, .out = out};
	for (uint32_t i = 0; i < BENCH_LAYERS - 1; i++) {
		size_t bytes = (size_t)rows * model->cols[i + 1] * sizeof(float);

		state->between[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
		if (!state->between[i])
			goto no_memory;
	}
	openblas_set_num_threads(1);
	return state;

no_memory:
	if (state)
		close_batch(state);
	snprintf(why, BENCH_WHY_BYTES, "no memory");
	return NULL;
}

/* out (rows, n) = in (rows, k) x weights (k, n). A single column is a matrix times a vector. */
static void multiply(const float *in, const float *weights, float *out, int rows, int k, int n)
{
	if (n == 1)
		cblas_sgemv(CblasRowMajor, CblasNoTrans, rows, k, 1, in, k, weights, 1, 0, out, 1);
	else if (rows == 1)
		cblas_sgemv(CblasRowMajor, CblasTrans, k, n, 1, weights, n, in, 1, 0, out, 1);
	else
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, n, k, 1, in, k,
			    weights, n, 0, out, n);
}

static void run_batch(void *at)
{
	struct state *state = at;
	const struct bench_model *model = state->model;
	const float *in = state->in;

	for (uint32_t layer = 0; layer < BENCH_LAYERS; layer++) {
		int last = layer + 1 == BENCH_LAYERS;
		uint32_t cols = model->cols[layer + 1];
		float *out = last ? state->out : state->between[layer];

		multiply(in, model->weights[layer], out, (int)state->rows, (int)model->cols[layer],
			 (int)cols);
		if (last)
			bench_finish(out, state->rows, cols, model->bias[layer], model->end);
		else
			bench_add_bias_relu(out, state->rows, cols, cols, model->bias[layer]);
		in = out;
	}
}

static const char *version(void)
{
	static char text[64];

	/* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..." */
	snprintf(text, sizeof(text), "%.*s, %s",
		 (int)strcspn(openblas_get_config() + strlen("OpenBLAS "), " "),
		 openblas_get_config() + strlen("OpenBLAS "), openblas_get_corename());
	return text;
}

BENCH_EXPORT extern const struct bench_reference bench_references[];
const struct bench_reference bench_references[] = {
	{"OpenBLAS", open_batch, run_batch, close_batch, version},
	{0},
};
