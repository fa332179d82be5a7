#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/bench/kernels/model.h"

static const struct bench_model models[BENCH_MODELS] = {
	{.name = "A", .cols = {784, 64, 64, 10}, .end = BENCH_SOFTMAX},
	{.name = "B", .cols = {64, 256, 256, 1}, .end = BENCH_SIGMOID},
	{.name = "C", .cols = {512, 1024, 1024, 1}, .end = BENCH_SIGMOID},
};

static void *must(void *at)
{
	if (at && at != MAP_FAILED)
		return at;
	perror("bench_kernels: no memory");
	exit(1);
}

void *bench_pages(size_t bytes)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);
	void *at = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, (off_t)bytes))
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	must(at);
	close(fd);
	return at;
}

static void *make(size_t count, size_t size)
{
	return must(aligned_alloc(64, (count * size + 63) / 64 * 64));
}

/* Uniform in [-bound, bound); Knuth's MMIX generator. */
static float *make_random(size_t count, double bound, uint64_t *seed)
{
	float *values = make(count, sizeof(*values));

	for (size_t i = 0; i < count; i++) {
		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		values[i] = (float)(((double)(*seed >> 32) * 0x1p-31 - 1) * bound);
	}
	return values;
}

static void end_row(enum bench_end end, double *row, uint32_t cols)
{
	double sum = 0;

	if (end == BENCH_SIGMOID) {
		for (uint32_t c = 0; c < cols; c++)
			row[c] = 1 / (1 + exp(-row[c]));
		return;
	}
	for (uint32_t c = 0; c < cols; c++)
		sum += row[c] = exp(row[c]);
	for (uint32_t c = 0; c < cols; c++)
		row[c] /= sum;
}

/* expected (rows, cols[BENCH_LAYERS]), by loops that are simple enough to be believed. */
static void compute_expected(struct bench_model *model)
{
	uint32_t out_cols = model->cols[BENCH_LAYERS];

	for (uint32_t row = 0; row < BENCH_MAX_ROWS; row++) {
		double x[1024], y[1024];

		for (uint32_t k = 0; k < model->cols[0]; k++)
			x[k] = model->in[row * model->cols[0] + k];
		for (uint32_t layer = 0; layer < BENCH_LAYERS; layer++) {
			uint32_t cols = model->cols[layer + 1];

			for (uint32_t c = 0; c < cols; c++)
				y[c] = model->bias[layer][c];
			for (uint32_t k = 0; k < model->cols[layer]; k++)
				for (uint32_t c = 0; c < cols; c++)
					y[c] += x[k] * model->weights[layer][k * cols + c];
			for (uint32_t c = 0; c < cols; c++)
				x[c] = layer + 1 < BENCH_LAYERS ? fmax(y[c], 0) : y[c];
		}
		end_row(model->end, x, out_cols);
		memcpy(model->expected + row * out_cols, x, out_cols * sizeof(*x));
	}
}

void bench_model_make(struct bench_model *model, uint32_t i)
{
	uint64_t seed = i + 1;

	*model = models[i];
	for (uint32_t layer = 0; layer < BENCH_LAYERS; layer++) {
		uint32_t in_cols = model->cols[layer], out_cols = model->cols[layer + 1];

		/* So that a layer's outputs are as large as its inputs: no denormals, nothing flat.
		 */
		model->weights[layer] =
			make_random((size_t)in_cols * out_cols, sqrt(6.0 / in_cols), &seed);
		model->bias[layer] = make_random(out_cols, 0.1, &seed);
	}
	model->in = make_random((size_t)BENCH_MAX_ROWS * model->cols[0], 1, &seed);
	model->expected = make((size_t)BENCH_MAX_ROWS * model->cols[BENCH_LAYERS], sizeof(double));
	compute_expected(model);
	bench_model_write_onnx(model);
}

void bench_model_free(struct bench_model *model)
{
	for (uint32_t layer = 0; layer < BENCH_LAYERS; layer++) {
		free(model->weights[layer]);
		free(model->bias[layer]);
	}
	free(model->in);
	free(model->expected);
	free(model->onnx);
}

uint64_t bench_model_weights(const struct bench_model *model)
{
	uint64_t count = 0;

	for (uint32_t layer = 0; layer < BENCH_LAYERS; layer++)
		count += (uint64_t)model->cols[layer] * model->cols[layer + 1];
	return count;
}

double bench_model_difference(const struct bench_model *model, const float *got, uint32_t rows)
{
	double worst = 0;

	for (size_t i = 0; i < (size_t)rows * model->cols[BENCH_LAYERS]; i++) {
		double difference = fabs(got[i] - model->expected[i]);

		if (isnan(difference))
			return INFINITY;
		worst = fmax(worst, difference);
	}
	return worst;
}
