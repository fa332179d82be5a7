/*
 * histogram.h: HDR-style histogram of durations: log-linear buckets, fixed memory, no allocation.
 *
 * Values below 128 ns are exact; above, 128 linear sub-buckets per power of two, so that a value
 * read back is never more than 0.8 % above the recorded one and never below it. Values above
 * 2^40 ns (18 minutes) count as that.
 * One writer; merging may read a histogram that another thread or process is writing: each bucket
 * is then as new as its load, and the merged count is that of the buckets that were seen.
 */
#ifndef FG_SCHED_HISTOGRAM_H
#define FG_SCHED_HISTOGRAM_H

#include <stdint.h>

#define FG_HISTOGRAM_SUB_LOG2 7
#define FG_HISTOGRAM_MAX_LOG2 40
#define FG_HISTOGRAM_BUCKETS                                                                       \
	(((FG_HISTOGRAM_MAX_LOG2 - FG_HISTOGRAM_SUB_LOG2) + 1) << FG_HISTOGRAM_SUB_LOG2)

struct fg_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t min_ns, max_ns; /* exact; min is UINT64_MAX while empty */
	uint64_t buckets[FG_HISTOGRAM_BUCKETS];
};

/* Empties it. Memory that is all zero is not yet a histogram: min_ns must be UINT64_MAX. */
void fg_histogram_reset(struct fg_histogram *histogram);

void fg_histogram_record(struct fg_histogram *histogram, uint64_t value_ns);

/* Adds all of `from` to `into`; `from` is only read. */
void fg_histogram_merge(struct fg_histogram *into, const struct fg_histogram *from);

/*
 * The smallest value that at least `quantile` (0..1, cut to that) of the values do not exceed, at
 * most 0.8 % above it and never above max_ns; 0 when empty. quantile 0 is the smallest value.
 */
uint64_t fg_histogram_quantile(const struct fg_histogram *histogram, double quantile);

/* Exact, up to the rounding of a double; 0 when empty. */
double fg_histogram_mean(const struct fg_histogram *histogram);

#endif
