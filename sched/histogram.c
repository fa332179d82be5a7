#include "sched/histogram.h"

#include <math.h>
#include <string.h>

#define SUB   (1u << FG_HISTOGRAM_SUB_LOG2)
#define LIMIT (1ull << FG_HISTOGRAM_MAX_LOG2)

/*
 * Row 0 holds 0 .. SUB-1, one value each. Row r >= 1 holds [SUB << (r-1), SUB << r) in SUB
 * buckets that are 1 << (r-1) wide, so a bucket's width is never more than 1/SUB of its values.
 */
static unsigned bucket_of(uint64_t value)
{
	unsigned row;

	if (value < SUB)
		return (unsigned)value;
	if (value >= LIMIT)
		return FG_HISTOGRAM_BUCKETS - 1;
	row = 64 - FG_HISTOGRAM_SUB_LOG2 - (unsigned)__builtin_clzll(value);
	return (row << FG_HISTOGRAM_SUB_LOG2) + (unsigned)(value >> (row - 1)) - SUB;
}

/* The largest value that a bucket holds. */
static uint64_t bucket_top(unsigned bucket)
{
	unsigned row = bucket >> FG_HISTOGRAM_SUB_LOG2;
	uint64_t sub = bucket & (SUB - 1);

	if (row == 0)
		return sub;
	if (bucket == FG_HISTOGRAM_BUCKETS - 1)
		return LIMIT;
	return ((sub + SUB + 1) << (row - 1)) - 1;
}

/* Relaxed, so that a reader in another process sees whole words; compiles to plain moves. */
static uint64_t peek(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void poke(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

void fg_histogram_reset(struct fg_histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	histogram->min_ns = UINT64_MAX;
}

void fg_histogram_record(struct fg_histogram *histogram, uint64_t value_ns)
{
	uint64_t value = value_ns < LIMIT ? value_ns : LIMIT;
	uint64_t *bucket = &histogram->buckets[bucket_of(value)];

	poke(bucket, *bucket + 1);
	poke(&histogram->count, histogram->count + 1);
	poke(&histogram->sum_ns, histogram->sum_ns + value);
	if (value < histogram->min_ns)
		poke(&histogram->min_ns, value);
	if (value > histogram->max_ns)
		poke(&histogram->max_ns, value);
}

void fg_histogram_merge(struct fg_histogram *into, const struct fg_histogram *from)
{
	uint64_t min = peek(&from->min_ns), max = peek(&from->max_ns);

	for (unsigned i = 0; i < FG_HISTOGRAM_BUCKETS; i++) {
		uint64_t seen = peek(&from->buckets[i]);

		into->buckets[i] += seen;
		into->count += seen;
	}
	into->sum_ns += peek(&from->sum_ns);
	if (min < into->min_ns)
		into->min_ns = min;
	if (max > into->max_ns)
		into->max_ns = max;
}

uint64_t fg_histogram_quantile(const struct fg_histogram *histogram, double quantile)
{
	double wanted = ceil(quantile * (double)histogram->count);
	uint64_t rank = 1, seen = 0;

	if (histogram->count == 0)
		return 0;
	if (wanted >= (double)histogram->count)
		rank = histogram->count;
	else if (wanted > 1)
		rank = (uint64_t)wanted;
	for (unsigned i = 0; i < FG_HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= rank) {
			uint64_t top = bucket_top(i);

			return top < histogram->max_ns ? top : histogram->max_ns;
		}
	}
	return histogram->max_ns;
}

double fg_histogram_mean(const struct fg_histogram *histogram)
{
	return histogram->count ? (double)histogram->sum_ns / (double)histogram->count : 0;
}
