/* ours.h: flipgate's side, by the way that a model takes in the product: ONNX bytes, compiled to a
 * plan, opened, run. */
#ifndef FG_TESTS_BENCH_KERNELS_OURS_H
#define FG_TESTS_BENCH_KERNELS_OURS_H

#include <stdint.h>
#include "models/kernels.h"
#include "tests/bench/kernels/model.h"
#include "tests/bench/kernels/reference.h"

/* As the functions of struct bench_reference, with these kernels and weights in this format. */
void *bench_ours_open(const struct fg_kernels *kernels, enum fg_weights format,
		      const struct bench_model *model, uint32_t rows, const float *in, float *out,
		      char why[BENCH_WHY_BYTES]);
void bench_ours_run(void *state);
void bench_ours_close(void *state);

#endif
