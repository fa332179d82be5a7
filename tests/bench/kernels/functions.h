/* functions.h: tanh and exp over arrays in L1, beside a vector math library's. */
#ifndef FG_TESTS_BENCH_KERNELS_FUNCTIONS_H
#define FG_TESTS_BENCH_KERNELS_FUNCTIONS_H

#include <stdint.h>
#include "models/kernels.h"
#include "tests/bench/kernels/contest.h"
#include "tests/bench/kernels/plugins.h"

#define BENCH_FUNCTION_COUNT 1024u /* numbers in an array */

enum bench_function { BENCH_TANH, BENCH_EXP, BENCH_FUNCTIONS };

extern const char *const bench_function_names[BENCH_FUNCTIONS];

/* Contestants: ours, theirs, and the multiply-add loop (BENCH_PEAK_COUNT vectors). */
enum { BENCH_FUNCTION_OURS, BENCH_FUNCTION_THEIRS, BENCH_FUNCTION_PEAK, BENCH_FUNCTION_ENTRIES };

/* The array that a contestant works on, and how. */
struct bench_function_batch {
	void (*run)(const float *in, float *out, size_t count); /* NULL: by `kernels` */
	const struct fg_kernels *kernels;
	enum fg_activation activation;
	const float *in;
	float *out;
	uint32_t count;
};

struct bench_function_field {
	_Alignas(64) float in[BENCH_FUNCTION_COUNT];
	_Alignas(64) float out[BENCH_FUNCTION_COUNT];
	struct bench_function_batch batches[BENCH_FUNCTION_PEAK]; /* ours, theirs */
	struct bench_contestant contestants[BENCH_FUNCTION_ENTRIES];
	double ulp[BENCH_FUNCTION_PEAK]; /* worst error of ours and theirs; NaN: absent */
};

/* Sets up the contestants and measures their errors: ready for BENCH_SLICES passes. `field`,
 * `kernels` and `plugins` stay where they are. */
void bench_function_open(struct bench_function_field *field, enum bench_function function,
			 const struct fg_kernels *kernels, const struct bench_plugins *plugins);

#endif
