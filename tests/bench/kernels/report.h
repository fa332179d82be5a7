/* report.h: the benchmark's result, for people and for programs. */
#ifndef FG_TESTS_BENCH_KERNELS_REPORT_H
#define FG_TESTS_BENCH_KERNELS_REPORT_H

#include <stdint.h>
#include "tests/bench/kernels/numbers.h"

struct bench_report {
	const char *isa;
	const struct bench_plugins *plugins;
	const struct bench_field *fields; /* BENCH_MODELS */
	const struct bench_number *numbers;
	uint32_t count;
};

/* To standard output: what the machine can do, the times, the numbers. */
void bench_report_print(const struct bench_report *report);

/* $BUILD/bench/kernels.json: rows as tests/bench/report.py describes them, and in each also isa,
 * worst_ratio, against and bound. First the numbers, then every contestant's time and the
 * load sweep. 0 or -errno. */
int bench_report_write(const struct bench_report *report);

#endif
