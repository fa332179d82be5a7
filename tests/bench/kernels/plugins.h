/* plugins.h: the loops and references of this run, opened from $BUILD/bench/kernels/. */
#ifndef FG_TESTS_BENCH_KERNELS_PLUGINS_H
#define FG_TESTS_BENCH_KERNELS_PLUGINS_H

#include <stdint.h>
#include "tests/bench/kernels/loops.h"
#include "tests/bench/kernels/reference.h"

#define BENCH_REFERENCES 5 /* ways to run a model: oneDNN has two */

/* A reference, or why there is none. */
struct bench_way {
	const char *name;
	const char *version;			 /* "" when absent */
	const struct bench_reference *reference; /* NULL: absent */
	char why[BENCH_WHY_BYTES];
};

struct bench_plugins {
	const struct bench_loops *loops;
	struct bench_way ways[BENCH_REFERENCES];
	const struct bench_math *math; /* NULL: absent */
	char math_why[BENCH_WHY_BYTES];
};

#define BENCH_ONNXRUNTIME 0 /* its way */

/*
 * Opens those for kernels of the ISA `isa`. Libraries that can be told are held to one thread and
 * to instructions that the ISA "avx2" has too; onnxruntime always takes the widest that there are.
 * What is missing has its reason; without the loops there is nothing to measure: exits.
 */
void bench_plugins_open(struct bench_plugins *plugins, const char *isa);

#endif
