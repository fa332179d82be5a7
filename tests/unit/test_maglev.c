/* Balance, disruption, order independence and nesting of steering tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "sched/maglev.h"

#define SEEDS 20

static void count_slots(const struct fg_table *table, uint32_t counts[FG_MAX_SLOTS])
{
	memset(counts, 0, FG_MAX_SLOTS * sizeof(*counts));
	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++) {
		assert_in_range(table->slot[i], 0, FG_MAX_SLOTS - 1);
		counts[table->slot[i]]++;
	}
}

static void fill_slots(uint16_t slots[FG_MAX_SLOTS])
{
	for (uint16_t i = 0; i < FG_MAX_SLOTS; i++)
		slots[i] = i;
}

static void prime_is_prime(void **state)
{
	(void)state;
	for (uint32_t i = 2; i * i <= FG_TABLE_PRIME; i++)
		assert_int_not_equal(FG_TABLE_PRIME % i, 0);
}

static void shares_are_equal(void **state)
{
	uint16_t slots[FG_MAX_SLOTS];
	uint32_t counts[FG_MAX_SLOTS];
	struct fg_table table;

	(void)state;
	fill_slots(slots);
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		for (size_t count = 1; count <= FG_MAX_SLOTS; count++) {
			uint32_t least = FG_TABLE_PRIME / count;

			fg_maglev_build(&table, 7, seed, slots, count);
			assert_int_equal(table.serial, 7);
			assert_int_equal(table.seed, seed);
			count_slots(&table, counts);
			for (size_t i = 0; i < FG_MAX_SLOTS; i++)
				assert_in_range(counts[i], i < count ? least : 0,
						i < count ? least + 1 : 0);
		}
	}
}

static void no_slots_no_worker(void **state)
{
	struct fg_table table;

	(void)state;
	fg_maglev_build(&table, 1, 1, NULL, 0);
	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++)
		assert_int_equal(table.slot[i], FG_SLOT_NONE);
}

static void order_does_not_matter(void **state)
{
	uint16_t sorted[] = {2, 3, 5, 7, 11, 63}, mixed[] = {63, 3, 11, 2, 7, 5};
	struct fg_table a, b;

	(void)state;
	fg_maglev_build(&a, 1, 99, sorted, 6);
	fg_maglev_build(&b, 1, 99, mixed, 6);
	assert_memory_equal(&a, &b, sizeof(a));
}

static void seed_matters(void **state)
{
	uint16_t slots[] = {0, 1};
	uint32_t same = 0;
	struct fg_table a, b;

	(void)state;
	fg_maglev_build(&a, 1, 1, slots, 2);
	fg_maglev_build(&b, 1, 2, slots, 2);
	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++)
		same += a.slot[i] == b.slot[i];
	assert_in_range(same, FG_TABLE_PRIME * 4 / 10, FG_TABLE_PRIME * 6 / 10);
}

/* Positions of surviving slots that change hands when slots[gone] leaves. */
static uint32_t disruption(uint32_t seed, size_t count, size_t gone)
{
	uint16_t slots[FG_MAX_SLOTS];
	struct fg_table before, after;
	uint32_t moved = 0;

	fill_slots(slots);
	fg_maglev_build(&before, 1, seed, slots, count);
	slots[gone] = slots[count - 1];
	fg_maglev_build(&after, 2, seed, slots, count - 1);
	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++) {
		assert_int_not_equal(after.slot[i], gone);
		moved += before.slot[i] != gone && before.slot[i] != after.slot[i];
	}
	return moved;
}

/* Rehashing modulo the count would move (count - 1) / count of all: here well below a tenth. */
static void one_slot_less_moves_few(void **state)
{
	(void)state;
	for (size_t count = 2; count <= FG_MAX_SLOTS; count = count * 3 / 2 + 1) {
		uint64_t sum = 0;

		for (uint32_t seed = 0; seed < SEEDS; seed++) {
			uint32_t moved = disruption(seed, count, seed % count);

			assert_in_range(moved, 0, FG_TABLE_PRIME * 10 / 100);
			sum += moved;
		}
		print_message("# %zu slots: losing one moves %.2f %% of the others' positions\n",
			      count, 100.0 * sum / SEEDS / FG_TABLE_PRIME);
		assert_in_range(sum, 0, (uint64_t)SEEDS * FG_TABLE_PRIME * 5 / 100);
	}
}

static void build_pair(struct fg_table *stable, struct fg_table *canary, uint32_t seed)
{
	static const uint16_t old[] = {0, 1, 2, 3}, new[] = {4, 5, 6, 7};

	fg_maglev_build(stable, 5, seed, old, 4);
	fg_maglev_build(canary, 6, seed, new, 4);
}

static void canary_has_its_weight(void **state)
{
	static const uint32_t weights[] = {0, 1, 100, 500, 2500, 5000, 9999, 10000, 20000};
	struct fg_table stable, canary, table;
	uint32_t counts[FG_MAX_SLOTS];

	(void)state;
	build_pair(&stable, &canary, 42);
	for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++) {
		uint32_t weight = weights[i] < 10000 ? weights[i] : 10000, got;

		fg_maglev_mix(&table, &stable, &canary, weights[i]);
		count_slots(&table, counts);
		got = counts[4] + counts[5] + counts[6] + counts[7];
		assert_int_equal(got, (weight * FG_TABLE_PRIME + 5000) / 10000);
		assert_int_equal(table.serial, 5);
		assert_int_equal(table.seed, 42);
	}
	assert_memory_equal(table.slot, canary.slot, sizeof(table.slot));
}

/* At 5 %, each canary worker has about a quarter of 410 positions (5 standard deviations: 44), and
 * each stable worker gives about as many. */
static void canary_is_fair(void **state)
{
	struct fg_table stable, canary, table;
	uint32_t counts[FG_MAX_SLOTS];

	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		build_pair(&stable, &canary, seed);
		fg_maglev_mix(&table, &stable, &canary, 500);
		count_slots(&table, counts);
		for (int slot = 0; slot < 4; slot++)
			assert_in_range(counts[slot], 2047 - 102 - 44, 2048 - 102 + 44);
		for (int slot = 4; slot < 8; slot++)
			assert_in_range(counts[slot], 102 - 44, 102 + 44);
	}
}

static void canaries_nest(void **state)
{
	struct fg_table stable, canary, less, more;

	(void)state;
	build_pair(&stable, &canary, 3);
	fg_maglev_mix(&less, &stable, &canary, 0);
	assert_memory_equal(less.slot, stable.slot, sizeof(less.slot));
	for (uint32_t weight = 250; weight <= 10000; weight += 250) {
		fg_maglev_mix(&more, &stable, &canary, weight);
		for (uint32_t i = 0; i < FG_TABLE_PRIME; i++)
			if (less.slot[i] >= 4)
				assert_int_equal(more.slot[i], less.slot[i]);
		less = more;
	}
}

static void mix_in_place(void **state)
{
	struct fg_table stable, canary, table;

	(void)state;
	build_pair(&stable, &canary, 8);
	fg_maglev_mix(&table, &stable, &canary, 1234);
	fg_maglev_mix(&stable, &stable, &canary, 1234);
	assert_memory_equal(&table, &stable, sizeof(table));
}

static void empty_canary_takes_nothing(void **state)
{
	struct fg_table stable, canary, table;

	(void)state;
	build_pair(&stable, &canary, 8);
	fg_maglev_build(&canary, 9, 8, NULL, 0);
	fg_maglev_mix(&table, &stable, &canary, 10000);
	assert_memory_equal(&table, &stable, sizeof(table));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prime_is_prime),
		cmocka_unit_test(shares_are_equal),
		cmocka_unit_test(no_slots_no_worker),
		cmocka_unit_test(order_does_not_matter),
		cmocka_unit_test(seed_matters),
		cmocka_unit_test(one_slot_less_moves_few),
		cmocka_unit_test(canary_has_its_weight),
		cmocka_unit_test(canary_is_fair),
		cmocka_unit_test(canaries_nest),
		cmocka_unit_test(mix_in_place),
		cmocka_unit_test(empty_canary_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
