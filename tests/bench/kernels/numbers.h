/* numbers.h: the seven ratios, each with what it is measured against, its aim, and what bounds it.
 */
#ifndef FG_TESTS_BENCH_KERNELS_NUMBERS_H
#define FG_TESTS_BENCH_KERNELS_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>
#include "tests/bench/kernels/field.h"
#include "tests/bench/kernels/functions.h"

struct bench_number {
	uint32_t row; /* 1 .. 7 */
	const char *what;
	const char *on; /* model or function */
	double value;	/* medians, both in `unit` */
	double reference;
	const char *unit;
	char against[64]; /* what `reference` is */
	struct bench_spread ratio;
	double aim;	/* NaN: none, it is only shown */
	double limit;	/* the best ratio that the CPU's peaks allow, in this run; NaN: unknown */
	bool at_least;	/* the ratio is good when it is large */
	char bound[96]; /* what keeps it from being better, as measured */
	char why[BENCH_WHY_BYTES]; /* why there is no ratio; "" */
};

#define BENCH_MAX_NUMBERS 32

/* Fills `numbers`, in order of rows; how many. `functions` are BENCH_FUNCTIONS, `fields`
 * BENCH_MODELS. */
uint32_t bench_numbers(const struct bench_field *fields,
		       const struct bench_function_field *functions,
		       const struct bench_plugins *plugins,
		       struct bench_number numbers[BENCH_MAX_NUMBERS]);

/* Is the aim met by the median? */
bool bench_number_met(const struct bench_number *number);

/* Where it is read from: "L1", "L2", "L3" or "memory". */
const char *bench_level(size_t bytes);

/* Is the aim beyond the limit, so that no kernel could meet it against this reference? */
bool bench_number_out_of_reach(const struct bench_number *number);

/* The shortest time that multiply-adds at their peak, or one reading of the weights, would take for
 * a batch of `rows` rows, in ns, in every repeat. INT8: the reading alone, since its arithmetic is
 * not the f32 loop's. */
void bench_roof(const struct bench_field *field, enum fg_weights format, uint32_t rows,
		double roof_ns[BENCH_REPEATS]);

/* The multiply-add peak of every repeat, in ns per flop. */
void bench_peak(const struct bench_contestant *peak, const struct bench_loops *loops,
		double ns_per_flop[BENCH_REPEATS]);

#endif
