#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tests/bench/kernels/contest.h"

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double run_ns(const struct bench_contestant *one, uint32_t runs)
{
	double started_ns = now_ns();

	for (uint32_t i = 0; i < runs; i++)
		one->run(one->state);
	return now_ns() - started_ns;
}

/* How many runs make a slice. The last of the doublings is the one that ran in warm caches. */
static uint32_t slice_runs(const struct bench_contestant *one)
{
	uint32_t runs = 1;
	double ns = run_ns(one, runs);

	for (ns = run_ns(one, runs); ns < BENCH_SLICE_NS / 2.0; ns = run_ns(one, runs))
		runs *= 2;
	return (uint32_t)ceil(fmax(1, BENCH_SLICE_NS / ns) * runs);
}

static void shuffle(uint32_t *order, uint32_t count)
{
	for (uint32_t i = count; i > 1; i--) {
		uint32_t other = (uint32_t)random() % i, kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
}

static void time_slice(struct bench_contestant *one, uint32_t repeat)
{
	run_ns(one, one->runs / 3 > 2 ? one->runs / 3 : 2);
	one->ns[repeat] = fmin(one->ns[repeat], run_ns(one, one->runs) / one->runs);
}

void bench_contest_begin(struct bench_contestant *contestants, uint32_t count)
{
	assert(count <= BENCH_CONTESTANTS);
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t repeat = 0; repeat < BENCH_REPEATS; repeat++)
			contestants[i].ns[repeat] = NAN;
		if (contestants[i].run)
			contestants[i].runs = slice_runs(&contestants[i]);
	}
}

void bench_contest_pass(struct bench_contestant *contestants, uint32_t count)
{
	uint32_t order[BENCH_CONTESTANTS], present = 0;

	for (uint32_t i = 0; i < count; i++)
		if (contestants[i].run)
			order[present++] = i;
	for (uint32_t repeat = 0; repeat < BENCH_REPEATS; repeat++) {
		shuffle(order, present);
		for (uint32_t i = 0; i < present; i++)
			time_slice(&contestants[order[i]], repeat);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct bench_spread bench_spread(const double values[BENCH_REPEATS])
{
	double sorted[BENCH_REPEATS];

	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		if (isnan(values[i]))
			return (struct bench_spread){NAN, NAN, NAN};
	memcpy(sorted, values, sizeof(sorted));
	qsort(sorted, BENCH_REPEATS, sizeof(*sorted), by_value);
	return (struct bench_spread){sorted[BENCH_REPEATS / 2], sorted[0],
				     sorted[BENCH_REPEATS - 1]};
}

struct bench_spread bench_ratio(const double numerator[BENCH_REPEATS],
				const double denominator[BENCH_REPEATS])
{
	double ratios[BENCH_REPEATS];

	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		ratios[i] = numerator[i] / denominator[i];
	return bench_spread(ratios);
}

void bench_fastest(const double a[BENCH_REPEATS], const double b[BENCH_REPEATS],
		   double fastest[BENCH_REPEATS])
{
	for (uint32_t i = 0; i < BENCH_REPEATS; i++)
		fastest[i] = fmin(a[i], b[i]);
}
