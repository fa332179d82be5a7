/*
 * reference.h: what flipgate's kernels are measured against.
 *
 * A reference is a shared object of its own, ref_NAME.so below $(BUILD)/bench/kernels, that the
 * benchmark opens at run time: a library that cannot be had leaves a gap in the table, with the
 * reason, and nothing else. The product links none of them.
 */
#ifndef FG_TESTS_BENCH_KERNELS_REFERENCE_H
#define FG_TESTS_BENCH_KERNELS_REFERENCE_H

#include <stddef.h>
#include <stdint.h>
#include "tests/bench/kernels/model.h"

#define BENCH_EXPORT	__attribute__((visibility("default")))
#define BENCH_WHY_BYTES 160

/* One way to run whole models on one thread. `run` allocates nothing where the library allows. */
struct bench_reference {
	const char *name;

	/*
	 * Prepares batches of `rows` rows from in (rows, cols[0]) to out (rows,
	 * cols[BENCH_LAYERS]); both and the model stay where they are until `close`. Weights are
	 * packed here. NULL with the reason in `why`.
	 */
	void *(*open)(const struct bench_model *model, uint32_t rows, const float *in, float *out,
		      char why[BENCH_WHY_BYTES]);
	void (*run)(void *state);
	void (*close)(void *state);

	/* Version, and the instruction set that the library chose where it says; static. */
	const char *(*version)(void);
};

/* The exported symbol of ref_NAME.so: its ways, name == NULL behind the last. */
#define BENCH_REFERENCES_SYMBOL "bench_references"

/* A vector math library's functions over arrays, ref_NAME.ISA.so. */
struct bench_math {
	const char *name;
	void (*tanh)(const float *in, float *out, size_t count); /* count: a multiple of 16 */
	void (*exp)(const float *in, float *out, size_t count);
};

#define BENCH_MATH_SYMBOL "bench_math"

#endif
