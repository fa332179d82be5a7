/* sched/histogram: bounds of the quantiles, held against sorted samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <math.h>
#include <cmocka.h>

#include "sched/histogram.h"

#define SAMPLES 20000

static struct fg_histogram histogram, other;

static uint64_t random_u64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void empty_is_zero(void **state)
{
	(void)state;
	fg_histogram_reset(&histogram);
	assert_int_equal(histogram.count, 0);
	assert_true(histogram.min_ns == UINT64_MAX);
	assert_int_equal(fg_histogram_quantile(&histogram, 0.5), 0);
	assert_true(fg_histogram_mean(&histogram) == 0);
}

static void one_value_is_every_quantile(void **state)
{
	static const uint64_t values[] = {0, 1, 127, 128, 129, 255, 256, 1000003, (1ull << 40) - 1};
	static const double quantiles[] = {-1, 0, 0.5, 0.999, 1, 2};

	(void)state;
	for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
		fg_histogram_reset(&histogram);
		fg_histogram_record(&histogram, values[v]);
		for (size_t q = 0; q < sizeof(quantiles) / sizeof(quantiles[0]); q++)
			assert_int_equal(fg_histogram_quantile(&histogram, quantiles[q]),
					 values[v]);
	}
}

static void values_beyond_the_limit_count_as_it(void **state)
{
	(void)state;
	fg_histogram_reset(&histogram);
	fg_histogram_record(&histogram, UINT64_MAX);
	fg_histogram_record(&histogram, 1ull << 40);
	fg_histogram_record(&histogram, (1ull << 40) + 1);
	assert_int_equal(histogram.max_ns, 1ull << 40);
	assert_int_equal(histogram.min_ns, 1ull << 40);
	assert_int_equal(histogram.sum_ns, 3 * (1ull << 40));
	assert_int_equal(fg_histogram_quantile(&histogram, 0.5), 1ull << 40);
}

/* Every bucket edge and its neighbours: never below the value, never more than 1/128 above. */
static void every_edge_reads_back_within_the_bound(void **state)
{
	(void)state;
	for (int e = 0; e <= 40; e++) {
		for (uint64_t sub = 0; sub <= 128; sub++) {
			uint64_t edge = (1ull << e) + (e >= 7 ? sub << (e - 7) : sub);

			for (uint64_t v = edge ? edge - 1 : 0; v <= edge + 1; v++) {
				uint64_t low = v < 1ull << 40 ? v : 1ull << 40, read;

				fg_histogram_reset(&histogram);
				fg_histogram_record(&histogram, v);
				fg_histogram_record(&histogram, 1ull << 40);
				read = fg_histogram_quantile(&histogram, 0.5);
				assert_true(read >= low);
				assert_true((double)(read - low) <= (double)low / 128);
			}
		}
	}
}

/* Random values of all magnitudes, against the exact order statistic. */
static void quantiles_of_random_samples_are_within_the_bound(void **state)
{
	static uint64_t samples[SAMPLES];
	uint64_t seed = 88172645463325252ull;

	(void)state;
	for (int round = 0; round < 20; round++) {
		int bits = 4 + round * 2;

		fg_histogram_reset(&histogram);
		for (int i = 0; i < SAMPLES; i++) {
			samples[i] = random_u64(&seed) >> (64 - bits) >>
				     (random_u64(&seed) % (uint64_t)bits);
			if (samples[i] > 1ull << 40)
				samples[i] = 1ull << 40;
			fg_histogram_record(&histogram, samples[i]);
		}
		qsort(samples, SAMPLES, sizeof(samples[0]), by_value);
		for (int q = 0; q <= 1000; q++) {
			double quantile = q / 1000.0;
			double rank = ceil(quantile * SAMPLES);
			uint64_t exact = samples[rank < 1 ? 0 : (size_t)rank - 1];
			uint64_t read = fg_histogram_quantile(&histogram, quantile);

			assert_true(read >= exact);
			assert_true((double)(read - exact) <= (double)exact / 128);
		}
		assert_int_equal(histogram.min_ns, samples[0]);
		assert_int_equal(histogram.max_ns, samples[SAMPLES - 1]);
	}
}

static void mean_is_exact(void **state)
{
	(void)state;
	fg_histogram_reset(&histogram);
	for (uint64_t i = 1; i <= 1000; i++)
		fg_histogram_record(&histogram, i * 1001);
	assert_true(fg_histogram_mean(&histogram) == 500.5 * 1001);
}

static void merging_is_recording_both(void **state)
{
	static struct fg_histogram both;
	uint64_t seed = 42;

	(void)state;
	fg_histogram_reset(&histogram);
	fg_histogram_reset(&other);
	fg_histogram_reset(&both);
	for (int i = 0; i < 5000; i++) {
		uint64_t v = random_u64(&seed) >> (24 + random_u64(&seed) % 40);

		fg_histogram_record(i % 3 ? &histogram : &other, v);
		fg_histogram_record(&both, v);
	}
	fg_histogram_merge(&histogram, &other);
	assert_memory_equal(&histogram, &both, sizeof(both));
}

static void merging_an_empty_one_changes_nothing(void **state)
{
	(void)state;
	fg_histogram_reset(&histogram);
	fg_histogram_reset(&other);
	fg_histogram_record(&histogram, 77);
	fg_histogram_merge(&histogram, &other);
	assert_int_equal(histogram.count, 1);
	assert_int_equal(histogram.min_ns, 77);
	assert_int_equal(histogram.max_ns, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_is_zero),
		cmocka_unit_test(one_value_is_every_quantile),
		cmocka_unit_test(values_beyond_the_limit_count_as_it),
		cmocka_unit_test(every_edge_reads_back_within_the_bound),
		cmocka_unit_test(quantiles_of_random_samples_are_within_the_bound),
		cmocka_unit_test(mean_is_exact),
		cmocka_unit_test(merging_is_recording_both),
		cmocka_unit_test(merging_an_empty_one_changes_nothing),
	};

	return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
