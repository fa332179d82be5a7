/*
 * contest.h: times several functions so that they can be compared on a machine that others use too.
 *
 * Each of BENCH_REPEATS repeats has BENCH_SLICES rounds. In a round every contestant runs for a
 * slice of at least BENCH_SLICE_NS, in random order, after some untimed runs of its own that bring
 * what it needs into the caches. Its time in the repeat is that of its fastest slice: whatever else
 * the machine does only ever makes a slice longer. Others disturb for seconds (a neighbour on the
 * same core, say), so the rounds of one repeat do not follow each other: pass s runs round s of all
 * repeats. Compare within a repeat, then take the median over the repeats.
 */
#ifndef FG_TESTS_BENCH_KERNELS_CONTEST_H
#define FG_TESTS_BENCH_KERNELS_CONTEST_H

#include <stdint.h>

#define BENCH_REPEATS	  21
#define BENCH_SLICES	  15
#define BENCH_SLICE_NS	  60000
#define BENCH_CONTESTANTS 32

struct bench_contestant {
	void (*run)(void *state); /* NULL: absent; its times are NaN */
	void *state;
	uint32_t runs;		  /* in a slice */
	double ns[BENCH_REPEATS]; /* of one run */
};

/* Over the repeats. */
struct bench_spread {
	double median, least, most; /* NaN when a value is */
};

/* Before the first pass: how many runs make a slice. At most BENCH_CONTESTANTS. */
void bench_contest_begin(struct bench_contestant *contestants, uint32_t count);

/* One of the BENCH_SLICES passes. */
void bench_contest_pass(struct bench_contestant *contestants, uint32_t count);

struct bench_spread bench_spread(const double values[BENCH_REPEATS]);

/* Of numerator[i] / denominator[i]. */
struct bench_spread bench_ratio(const double numerator[BENCH_REPEATS],
				const double denominator[BENCH_REPEATS]);

/* The smaller of the two in each repeat, which may be `a` again; NaN loses. */
void bench_fastest(const double a[BENCH_REPEATS], const double b[BENCH_REPEATS],
		   double fastest[BENCH_REPEATS]);

#endif
