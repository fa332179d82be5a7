/*
 * model.h: the three models of the benchmark, with fixed random weights and inputs, and what they
 * answer, computed in double precision.
 */
#ifndef FG_TESTS_BENCH_KERNELS_MODEL_H
#define FG_TESTS_BENCH_KERNELS_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_MODELS   3
#define BENCH_LAYERS   3
#define BENCH_MAX_ROWS 32u

enum bench_end { BENCH_SOFTMAX, BENCH_SIGMOID };

/* Dense layers; relu behind each but the last, which ends in `end`. All memory is the model's and
 * 64-byte aligned. */
struct bench_model {
	const char *name;
	uint32_t cols[BENCH_LAYERS + 1]; /* layer i makes cols[i + 1] of cols[i] */
	enum bench_end end;
	float *weights[BENCH_LAYERS]; /* (cols[i], cols[i + 1]), row-major */
	float *bias[BENCH_LAYERS];
	float *in;	  /* (BENCH_MAX_ROWS, cols[0]) */
	double *expected; /* (BENCH_MAX_ROWS, cols[BENCH_LAYERS]) */
	void *onnx;	  /* the same model as an ONNX file; input "x", output "y", any batch */
	size_t onnx_bytes;
};

/* Model `i` < BENCH_MODELS. The caller frees it. Exits when there is no memory. */
void bench_model_make(struct bench_model *model, uint32_t i);
void bench_model_free(struct bench_model *model);

/* Of all layers together, without biases. */
uint64_t bench_model_weights(const struct bench_model *model);

/* Largest |got - expected| of `rows` rows (rows, cols[BENCH_LAYERS]); NaN counts as infinite. */
double bench_model_difference(const struct bench_model *model, const float *got, uint32_t rows);

/* `bytes` bytes (rounded up to whole pages), zeroed, in memory like that in which a worker finds
 * its plan: shared pages of a memfd. The caller munmap()s them. Exits when there is none. */
void *bench_pages(size_t bytes);

/* Model as an ONNX file (opset 13), for bench_model_make. */
void bench_model_write_onnx(struct bench_model *model);

#endif
