/* sched/distribution: bounds of the quantiles, and the stability index against one made slowly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>

#include "sched/distribution.h"

#define SAMPLES	 20000
#define SMALLEST 0x1.08p-24 /* what is nearer to 0 counts as 0 */
#define LARGEST	 0x1.f8p39  /* what is larger reads back as this */

static struct fg_distribution one, other;

static int empty_both(void **state)
{
	(void)state;
	memset(&one, 0, sizeof(one));
	memset(&other, 0, sizeof(other));
	return 0;
}

static uint64_t random_u64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static double random_unit(uint64_t *state)
{
	return ((double)(random_u64(state) >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller. */
static double random_normal(uint64_t *state)
{
	return sqrt(-2 * log(random_unit(state))) * cos(2 * M_PI * random_unit(state));
}

static float random_float(uint64_t *state)
{
	uint32_t bits = (uint32_t)random_u64(state);
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The bin that a value alone lies in. */
static uint32_t bin_of(float value)
{
	struct fg_distribution alone = {{0}};

	fg_distribution_add(&alone, value);
	for (uint32_t i = 0; i < FG_DISTRIBUTION_BINS; i++)
		if (alone.bins[i])
			return i;
	return FG_DISTRIBUTION_BINS;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

/* ---- bins ---- */

static void empty_is_zero(void **state)
{
	(void)state;
	assert_int_equal(fg_distribution_count(&one), 0);
	assert_true(fg_distribution_quantile(&one, 0.5) == 0);
	assert_true(fg_distribution_psi(&one, &other) == 0);
	fg_distribution_add(&one, 1);
	assert_true(fg_distribution_psi(&one, &other) == 0);
	assert_true(fg_distribution_psi(&other, &one) == 0);
}

static void bins_are_in_the_order_of_the_values(void **state)
{
	static float values[SAMPLES];
	uint64_t seed = 88172645463325252ull;
	uint32_t last = 0;

	(void)state;
	for (int i = 0; i < SAMPLES; i++)
		do
			values[i] = random_float(&seed);
		while (isnan(values[i]));
	qsort(values, SAMPLES, sizeof(values[0]), by_value);
	for (int i = 0; i < SAMPLES; i++) {
		uint32_t bin = bin_of(values[i]);

		assert_true(bin >= last && bin < FG_DISTRIBUTION_BINS);
		last = bin;
	}
	assert_true(bin_of(-1) < bin_of(-0.5f) && bin_of(-0.5f) < bin_of(0));
	assert_true(bin_of(0) < bin_of(0.5f) && bin_of(0.5f) < bin_of(0.5625f));
}

/* Every edge of a bin and the floats beside it. */
static void a_value_reads_back_within_the_bound(void **state)
{
	(void)state;
	for (int exponent = -24; exponent < 40; exponent++) {
		for (int half = 0; half < 32; half++) {
			float edge = ldexpf(1 + (float)half / 32, exponent);
			const float values[] = {nextafterf(edge, 0), edge,
						nextafterf(edge, INFINITY)};

			for (int i = 0; i < 6; i++) {
				float value = i < 3 ? values[i] : -values[i - 3], read;

				empty_both(NULL);
				fg_distribution_add(&one, value);
				read = fg_distribution_quantile(&one, 0.5);
				if (fabsf(value) < (float)SMALLEST) {
					assert_true(read == 0);
					continue;
				}
				if (fabsf(value) > (float)LARGEST)
					continue;
				assert_true(read >= value);
				assert_true(read - value <= fabsf(value) / 16);
			}
		}
	}
}

static void quantiles_of_random_floats_are_within_the_bound(void **state)
{
	static float samples[SAMPLES];
	uint64_t seed = 4711;

	(void)state;
	for (int round = 0; round < 10; round++) {
		empty_both(NULL);
		for (int i = 0; i < SAMPLES; i++) {
			double size = exp2(random_unit(&seed) * 6 * (round + 1) - 20);

			samples[i] = (float)(random_u64(&seed) % 3 ? size : -size);
			fg_distribution_add(&one, samples[i]);
		}
		qsort(samples, SAMPLES, sizeof(samples[0]), by_value);
		for (int q = 0; q <= 1000; q++) {
			double rank = ceil(q / 1000.0 * SAMPLES);
			float exact = samples[rank < 1 ? 0 : (size_t)rank - 1];
			float read = fg_distribution_quantile(&one, q / 1000.0);

			if (exact > (float)LARGEST)
				continue;
			assert_true(read >= exact - (float)SMALLEST);
			assert_true(read - exact <= fabsf(exact) / 16 + (float)SMALLEST);
		}
		assert_true(fg_distribution_quantile(&one, -1) ==
			    fg_distribution_quantile(&one, 0));
		assert_true(fg_distribution_quantile(&one, 7) == fg_distribution_quantile(&one, 1));
	}
}

static void what_is_not_a_common_number(void **state)
{
	(void)state;
	fg_distribution_add(&one, NAN);
	fg_distribution_add(&one, -NAN);
	assert_int_equal(fg_distribution_count(&one), 0);
	assert_int_equal(bin_of(INFINITY), bin_of(0x1p60f));
	assert_int_equal(bin_of(-INFINITY), bin_of(-0x1p60f));
	assert_int_equal(bin_of(0x1p60f), FG_DISTRIBUTION_BINS - 1);
	assert_int_equal(bin_of(-0.0f), bin_of(0));
	assert_int_equal(bin_of(1e-42f), bin_of(0));
	assert_int_equal(bin_of(-1e-42f), bin_of(0));
	assert_int_equal(bin_of(0x1p-25f), bin_of(0));
	fg_distribution_add(&one, 1e-42f);
	assert_true(fg_distribution_quantile(&one, 1) == 0);
	fg_distribution_add(&one, INFINITY);
	assert_true(fg_distribution_quantile(&one, 1) == (float)LARGEST);
}

/* Rounding errors of a model that answers 1 must not look like another answer. */
static void round_values_lie_inside_their_bins(void **state)
{
	static const float round[] = {0.125f, 0.25f, 0.5f, 0.75f, 1, 2, 3, 10, 16, 100, -1, -0.5f};

	(void)state;
	for (size_t i = 0; i < sizeof(round) / sizeof(round[0]); i++)
		for (int step = -3; step <= 3; step++)
			assert_int_equal(bin_of(round[i] * (1 + (float)step * 1e-3f)),
					 bin_of(round[i]));
}

static void merging_is_adding_both_and_bins_saturate(void **state)
{
	static struct fg_distribution both;
	uint64_t seed = 42;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		float value = (float)random_normal(&seed);

		fg_distribution_add(i % 3 ? &one : &other, value);
		fg_distribution_add(&both, value);
	}
	fg_distribution_merge(&one, &other);
	assert_memory_equal(&one, &both, sizeof(both));
	assert_int_equal(fg_distribution_count(&one), 5000);

	one.bins[bin_of(1)] = UINT32_MAX - 1;
	for (int i = 0; i < 3; i++)
		fg_distribution_add(&one, 1);
	assert_int_equal(one.bins[bin_of(1)], UINT32_MAX);
	fg_distribution_merge(&both, &one);
	assert_int_equal(both.bins[bin_of(1)], UINT32_MAX);
}

/* ---- the stability index ---- */

/* By the book: ten groups by the reference's deciles (values, not bins), no counts raised. */
static double psi_of(float *reference, float *compared, int count)
{
	double psi = 0;
	int from = 0, to = 0;

	qsort(reference, count, sizeof(*reference), by_value);
	qsort(compared, count, sizeof(*compared), by_value);
	for (int tenth = 1; tenth <= 10; tenth++) {
		double r, o;

		while (to < count && (tenth == 10 || compared[to] < reference[tenth * count / 10]))
			to++;
		r = 0.1;
		o = (double)(to - from) / count;
		from = to;
		psi += (o - r) * log(o / r);
	}
	return psi;
}

/* Normal values, the other ones moved and widened. */
static void compare_normals(uint64_t *seed, double move, double widen, double *fast, double *slow)
{
	static float reference[SAMPLES], compared[SAMPLES];

	empty_both(NULL);
	for (int i = 0; i < SAMPLES; i++) {
		reference[i] = (float)random_normal(seed);
		compared[i] = (float)(random_normal(seed) * widen + move);
		fg_distribution_add(&one, reference[i]);
		fg_distribution_add(&other, compared[i]);
	}
	*fast = fg_distribution_psi(&one, &other);
	*slow = psi_of(reference, compared, SAMPLES);
}

static void the_index_is_that_of_the_book(void **state)
{
	static const struct {
		double move, widen;
	} cases[] = {{0, 1}, {0.1, 1}, {0.3, 1}, {0.5, 1}, {1, 1}, {0, 1.3}, {0, 0.7}, {-0.4, 1.2}};
	uint64_t seed = 99;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double fast, slow;

		compare_normals(&seed, cases[i].move, cases[i].widen, &fast, &slow);
		/* Groups end at the bins' edges, not just at the tenths. */
		assert_true(fabs(fast - slow) <= 0.08 * slow + 0.002);
	}
}

static void the_same_and_the_moved(void **state)
{
	uint64_t seed = 5;
	double fast, slow;

	(void)state;
	compare_normals(&seed, 0, 1, &fast, &slow);
	assert_true(fast >= 0 && fast < 5 * 9 * 2.0 / SAMPLES);
	assert_true(fg_distribution_psi(&one, &one) == 0);
	compare_normals(&seed, 0.6, 1, &fast, &slow);
	assert_true(fast > 0.25);
}

/* A canary sees far less than what is stable. */
static void few_against_many_is_no_drift(void **state)
{
	uint64_t seed = 31;

	(void)state;
	for (int i = 0; i < 100000; i++)
		fg_distribution_add(&one, (float)random_normal(&seed));
	for (int round = 0; round < 100; round++) {
		memset(&other, 0, sizeof(other));
		for (int i = 0; i < 500; i++)
			fg_distribution_add(&other, (float)random_normal(&seed));
		assert_true(fg_distribution_psi(&one, &other) < 0.1);
	}
}

/* What ten tenths alone would not see. */
static void scores_of_a_few_values(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		fg_distribution_add(&one, 0.5f);
		fg_distribution_add(&other, 0.7f);
	}
	assert_true(fg_distribution_psi(&one, &other) > 1);
	assert_true(fg_distribution_psi(&one, &one) == 0);

	empty_both(NULL);
	for (int i = 0; i < 1000; i++) {
		fg_distribution_add(&one, i % 2 ? 0 : 1);
		fg_distribution_add(&other, i % 2 ? 0 : i % 4 ? 1 : 0.5f); /* between the two */
	}
	assert_true(fg_distribution_psi(&one, &other) > 0.25);

	empty_both(NULL);
	for (int i = 0; i < 1000; i++) {
		fg_distribution_add(&one, i % 2 ? 0 : 1);
		fg_distribution_add(&other, i % 10 < 6 ? 0 : 1); /* 60 : 40 for 50 : 50 */
	}
	/* (0.1 ln 1.2 - 0.1 ln 0.8) */
	assert_true(fabs(fg_distribution_psi(&one, &other) - 0.0405) < 0.001);
}

static void any_counts_give_a_finite_index(void **state)
{
	uint64_t seed = 77;

	(void)state;
	for (int round = 0; round < 300; round++) {
		double psi;

		empty_both(NULL);
		for (uint64_t i = random_u64(&seed) % 40; i > 0; i--)
			one.bins[random_u64(&seed) % FG_DISTRIBUTION_BINS] =
				(uint32_t)(random_u64(&seed) >> (32 + random_u64(&seed) % 32));
		for (uint64_t i = random_u64(&seed) % 40; i > 0; i--)
			other.bins[random_u64(&seed) % FG_DISTRIBUTION_BINS] =
				(uint32_t)(random_u64(&seed) >> (32 + random_u64(&seed) % 32));
		psi = fg_distribution_psi(&one, &other);
		assert_true(isfinite(psi) && psi >= 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, empty_both)
	const struct CMUnitTest tests[] = {
		TEST(empty_is_zero),
		TEST(bins_are_in_the_order_of_the_values),
		TEST(a_value_reads_back_within_the_bound),
		TEST(quantiles_of_random_floats_are_within_the_bound),
		TEST(what_is_not_a_common_number),
		TEST(round_values_lie_inside_their_bins),
		TEST(merging_is_adding_both_and_bins_saturate),
		TEST(the_index_is_that_of_the_book),
		TEST(the_same_and_the_moved),
		TEST(few_against_many_is_no_drift),
		TEST(scores_of_a_few_values),
		TEST(any_counts_give_a_finite_index),
	};

	return cmocka_run_group_tests_name("distribution", tests, NULL, NULL);
}
