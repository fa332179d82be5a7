/*
 * loops.h: what the machine can do at most, as loops without any work of a model.
 *
 * loops.c is compiled once per ISA to a shared object of its own, loops.ISA.so, with the flags of
 * that ISA's kernels, so that its vectors are as wide as theirs.
 */
#ifndef FG_TESTS_BENCH_KERNELS_LOOPS_H
#define FG_TESTS_BENCH_KERNELS_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_LOOPS_SYMBOL "bench_loops"

struct bench_loops {
	uint32_t lanes; /* floats in a vector */

	/* Multiply-adds of whole vectors in independent chains, `count` vectors (a multiple of
	 * `chains`); fused where the ISA has it. Flops: 2 * lanes * count. */
	void (*multiply_add)(uint64_t count);
	uint32_t chains;

	/*
	 * Reads `bytes` bytes (a multiple of 64) at `at` (64-byte aligned) once and adds them up,
	 * as one run from the first to the last, or as two equal runs side by side, as a kernel
	 * reads two panels. What does not divide evenly is read at the end.
	 */
	void (*load[2])(const void *at, size_t bytes);
};

#endif
