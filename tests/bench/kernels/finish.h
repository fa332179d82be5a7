/* finish.h: what GEMM libraries leave to their callers: bias and activation, in loops that the
 * compiler makes vectors of (-O3 -march=native -ffast-math, expf from libmvec). */
#ifndef FG_TESTS_BENCH_KERNELS_FINISH_H
#define FG_TESTS_BENCH_KERNELS_FINISH_H

#include <math.h>
#include <stdint.h>
#include "tests/bench/kernels/model.h"

static inline void bench_add_bias_relu(float *out, uint32_t rows, uint32_t stride, uint32_t cols,
				       const float *bias)
{
	for (uint32_t row = 0; row < rows; row++, out += stride)
		for (uint32_t c = 0; c < cols; c++) {
			float sum = out[c] + bias[c];

			out[c] = sum > 0 ? sum : 0;
		}
}

/* The last layer's bias and activation. */
static inline void bench_finish(float *out, uint32_t rows, uint32_t cols, const float *bias,
				enum bench_end end)
{
	for (uint32_t row = 0; row < rows; row++)
		for (uint32_t c = 0; c < cols; c++)
			out[row * cols + c] += bias[c];
	if (end == BENCH_SIGMOID) {
		for (uint32_t i = 0; i < rows * cols; i++)
			out[i] = 1 / (1 + expf(-out[i]));
		return;
	}
	for (uint32_t row = 0; row < rows; row++, out += cols) {
		float most = out[0], sum = 0;

		for (uint32_t c = 1; c < cols; c++)
			most = out[c] > most ? out[c] : most;
		for (uint32_t c = 0; c < cols; c++)
			sum += out[c] = expf(out[c] - most);
		for (uint32_t c = 0; c < cols; c++)
			out[c] /= sum;
	}
}

#endif
