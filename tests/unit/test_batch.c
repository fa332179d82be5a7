/* sched/batch: cost tables, grouping, deadlines, and the promises that hold for any input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "sched/batch.h"

static struct fg_batch_schedule schedule;

/* 100 ns, and 10 ns a row. */
static struct fg_batch_cost linear(uint32_t max_rows)
{
	struct fg_batch_cost cost = {.max_rows = max_rows, .batch_rows = max_rows};

	for (uint32_t point = 0; point < fg_batch_cost_points(max_rows); point++)
		cost.ns[point] = 100 + 10 * fg_batch_cost_rows(max_rows, point);
	return cost;
}

static void check_batch(uint32_t index, uint32_t entry, uint32_t rows, uint32_t count,
			const uint16_t *requests)
{
	const struct fg_batch *batch = &schedule.batches[index];

	assert_int_equal(batch->entry, entry);
	assert_int_equal(batch->rows, rows);
	assert_int_equal(batch->count, count);
	assert_memory_equal(&schedule.order[batch->first], requests, count * sizeof(*requests));
}
#define CHECK_BATCH(index, entry, rows, ...)                                                       \
	check_batch(index, entry, rows, sizeof((uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t),      \
		    (uint16_t[]){__VA_ARGS__})

static void test_cost_points(void **state)
{
	(void)state;
	assert_int_equal(fg_batch_cost_points(1), 1);
	assert_int_equal(fg_batch_cost_points(2), 2);
	assert_int_equal(fg_batch_cost_points(3), 3);
	assert_int_equal(fg_batch_cost_points(48), 7);
	assert_int_equal(fg_batch_cost_points(1024), FG_BATCH_COST_POINTS);
	assert_int_equal(fg_batch_cost_rows(48, 0), 1);
	assert_int_equal(fg_batch_cost_rows(48, 5), 32);
	assert_int_equal(fg_batch_cost_rows(48, 6), 48);
	assert_int_equal(fg_batch_cost_rows(1024, 10), 1024);
}

static void test_cost_is_linear_between_points(void **state)
{
	(void)state;
	for (uint32_t max_rows = 1; max_rows <= FG_BATCH_MAX_ROWS; max_rows++) {
		struct fg_batch_cost cost = linear(max_rows);

		for (uint32_t rows = 1; rows <= max_rows; rows++)
			assert_int_equal(fg_batch_cost_ns(&cost, rows), 100 + 10 * rows);
	}
}

static void test_rows_within_a_time(void **state)
{
	struct fg_batch_cost cost = linear(100);

	(void)state;
	assert_int_equal(fg_batch_cost_within(&cost, 5000), 100);
	assert_int_equal(fg_batch_cost_within(&cost, 1100), 100);
	assert_int_equal(fg_batch_cost_within(&cost, 1099), 99);
	assert_int_equal(fg_batch_cost_within(&cost, 150), 5);
	assert_int_equal(fg_batch_cost_within(&cost, 1), 1);
	fg_batch_cost_cut(&cost, 5000);
	assert_int_equal(cost.max_rows, 100);
	fg_batch_cost_cut(&cost, 805);
	assert_int_equal(cost.max_rows, 70);
	for (uint32_t rows = 1; rows <= 70; rows++)
		assert_int_equal(fg_batch_cost_ns(&cost, rows), 100 + 10 * rows);
	fg_batch_cost_cut(&cost, 1);
	assert_int_equal(cost.max_rows, 1);
}

static void test_batches_are_cut_by_their_cost(void **state)
{
	struct fg_batch_cost cost = linear(8);
	struct fg_batch_request requests[] = {{0, 2, 0}, {0, 2, 0}, {0, 7, 0}, {0, 1, 0}};

	(void)state;
	cost.batch_rows = 3;
	fg_batch_form(&schedule, requests, 4, &cost, 1000);
	assert_int_equal(schedule.batch_count, 4);
	CHECK_BATCH(0, 0, 2, 0);
	CHECK_BATCH(2, 0, 7, 2); /* alone it may be longer */
	cost.batch_rows = 4;
	fg_batch_form(&schedule, requests, 4, &cost, 1000);
	assert_int_equal(schedule.batch_count, 3);
	CHECK_BATCH(0, 0, 4, 0, 1);
}

static void test_groups_by_entry_in_arrival_order(void **state)
{
	struct fg_batch_cost costs[] = {linear(8), linear(8)};
	struct fg_batch_request requests[] = {{0, 3, 0}, {1, 2, 0}, {0, 4, 0},
					      {0, 2, 0}, {1, 6, 0}, {0, 1, 0}};

	(void)state;
	fg_batch_form(&schedule, requests, 6, costs, 1000);
	assert_int_equal(schedule.refused_count, 0);
	assert_int_equal(schedule.batch_count, 3);
	CHECK_BATCH(0, 0, 7, 0, 2); /* request 3 does not fit, and 5 must not overtake it */
	CHECK_BATCH(1, 1, 8, 1, 4);
	CHECK_BATCH(2, 0, 3, 3, 5);
}

static void test_nothing_to_do(void **state)
{
	struct fg_batch_cost cost = linear(8);

	(void)state;
	fg_batch_form(&schedule, NULL, 0, &cost, 1000);
	assert_int_equal(schedule.batch_count, 0);
	assert_int_equal(schedule.refused_count, 0);
}

static void test_refuses_what_would_be_late(void **state)
{
	struct fg_batch_cost costs[] = {linear(8), linear(8)};
	/* Entry 0's batch takes 180 ns. Then entry 1: 110 ns more. */
	struct fg_batch_request requests[] = {
		{0, 8, 1180}, {1, 1, 1289}, {1, 1, 1290}, {1, 1, 1290}, {1, 1, 0}};

	(void)state;
	fg_batch_form(&schedule, requests, 5, costs, 1000);
	assert_int_equal(schedule.refused_count, 2);
	assert_int_equal(schedule.refused[0].request, 1);
	assert_int_equal(schedule.refused[0].finish_ns, 1290);
	assert_int_equal(schedule.refused[1].request, 3);
	assert_int_equal(schedule.refused[1].finish_ns, 1300);
	assert_int_equal(schedule.batch_count, 3);
	CHECK_BATCH(0, 0, 8, 0);
	CHECK_BATCH(1, 1, 1, 2); /* request 4 has time, and would make 2 late */
	CHECK_BATCH(2, 1, 1, 4);
}

static void test_a_refused_head_does_not_pull_its_entry_forward(void **state)
{
	struct fg_batch_cost costs[] = {linear(8), linear(8)};
	struct fg_batch_request requests[] = {{0, 1, 1001}, {1, 1, 0}, {0, 1, 0}};

	(void)state;
	fg_batch_form(&schedule, requests, 3, costs, 1000);
	assert_int_equal(schedule.refused_count, 1);
	assert_int_equal(schedule.refused[0].request, 0);
	CHECK_BATCH(0, 1, 1, 1);
	CHECK_BATCH(1, 0, 1, 2);
}

static void test_a_deadline_that_is_over(void **state)
{
	struct fg_batch_cost cost = linear(8);
	struct fg_batch_request request = {0, 1, 1};

	(void)state;
	fg_batch_form(&schedule, &request, 1, &cost, 1000);
	assert_int_equal(schedule.batch_count, 0);
	assert_int_equal(schedule.refused_count, 1);
}

/* Every request once, batches within their limits, nobody late, arrival order per entry. */
static void check_promises(const struct fg_batch_request *requests, uint32_t count,
			   const struct fg_batch_cost *costs, uint64_t now_ns)
{
	uint8_t seen[FG_BATCH_MAX_REQUESTS] = {0};
	int last[FG_BATCH_MAX_ENTRIES], first_of_last_batch = -1;
	uint32_t placed = 0;

	memset(last, -1, sizeof(last));
	for (uint32_t b = 0; b < schedule.batch_count; b++) {
		const struct fg_batch *batch = &schedule.batches[b];
		uint32_t rows = 0;

		now_ns += fg_batch_cost_ns(&costs[batch->entry], batch->rows);
		assert_int_equal(batch->first, placed);
		assert_true(batch->count > 0);
		assert_true(schedule.order[batch->first] > first_of_last_batch);
		first_of_last_batch = schedule.order[batch->first];
		for (uint32_t i = 0; i < batch->count; i++, placed++) {
			uint32_t request = schedule.order[placed];
			uint64_t deadline_ns = requests[request].deadline_ns;

			assert_false(seen[request]++);
			assert_int_equal(requests[request].entry, batch->entry);
			assert_true(last[batch->entry] < (int)request);
			last[batch->entry] = (int)request;
			assert_true(!deadline_ns || now_ns <= deadline_ns);
			rows += requests[request].rows;
		}
		assert_int_equal(rows, batch->rows);
		assert_true(rows <= costs[batch->entry].max_rows);
	}
	for (uint32_t i = 0; i < schedule.refused_count; i++) {
		const struct fg_batch_refusal *refusal = &schedule.refused[i];

		assert_false(seen[refusal->request]++);
		assert_true(requests[refusal->request].deadline_ns);
		assert_true(refusal->finish_ns > requests[refusal->request].deadline_ns);
	}
	assert_int_equal(placed + schedule.refused_count, count);
}

static void test_promises_hold_for_random_requests(void **state)
{
	struct fg_batch_request requests[FG_BATCH_MAX_REQUESTS];
	struct fg_batch_cost costs[FG_BATCH_MAX_ENTRIES];
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		uint32_t count = (uint32_t)rand_r(&seed) % (FG_BATCH_MAX_REQUESTS + 1);
		uint32_t entries = 1 + (uint32_t)rand_r(&seed) % FG_BATCH_MAX_ENTRIES;

		for (uint32_t i = 0; i < entries; i++)
			costs[i] = linear(1 + (uint32_t)rand_r(&seed) % FG_BATCH_MAX_ROWS);
		for (uint32_t i = 0; i < count; i++) {
			uint32_t entry = (uint32_t)rand_r(&seed) % entries;

			requests[i] = (struct fg_batch_request){
				entry, 1 + (uint32_t)rand_r(&seed) % costs[entry].max_rows,
				rand_r(&seed) % 2 ? 1 + (uint64_t)rand_r(&seed) % 200000 : 0};
		}
		fg_batch_form(&schedule, requests, count, costs, 5000);
		check_promises(requests, count, costs, 5000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cost_points),
		cmocka_unit_test(test_cost_is_linear_between_points),
		cmocka_unit_test(test_rows_within_a_time),
		cmocka_unit_test(test_batches_are_cut_by_their_cost),
		cmocka_unit_test(test_groups_by_entry_in_arrival_order),
		cmocka_unit_test(test_nothing_to_do),
		cmocka_unit_test(test_refuses_what_would_be_late),
		cmocka_unit_test(test_a_refused_head_does_not_pull_its_entry_forward),
		cmocka_unit_test(test_a_deadline_that_is_over),
		cmocka_unit_test(test_promises_hold_for_random_requests),
	};

	return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
