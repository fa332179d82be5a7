/* What the workers of a canary's two sides saw, added up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "userspace/daemon/control.h"

#define MS 1000000ull

static struct fg_control *control;
static struct fg_state *page;
static struct fg_rollout *rollout;

/* Slots 0 and 1 are the stable side, 2 and 3 the canary, in epoch 7. */
static int open_sides(void **state)
{
	(void)state;
	control = calloc(1, sizeof(*control));
	rollout = calloc(1, sizeof(*rollout));
	page = aligned_alloc(_Alignof(struct fg_state), sizeof(*page));
	memset(page, 0, sizeof(*page));
	control->state = page;
	rollout->watch = 7;
	rollout->canary.phase = FG_CANARY_RUNNING;
	rollout->canary.plan.guards.min_requests = 10;
	for (uint32_t i = 0; i < 2; i++) {
		struct fg_rollout_generation *generation = &rollout->generations[i];

		generation->id = i + 1;
		generation->phase = i ? FG_GENERATION_CANARY : FG_GENERATION_LIVE;
		generation->worker_count = 2;
		generation->slots[0] = (uint16_t)(2 * i);
		generation->slots[1] = (uint16_t)(2 * i + 1);
	}
	for (uint32_t slot = 0; slot < 4; slot++)
		atomic_store(&page->slots[slot].seen.epoch, 7);
	return 0;
}

static int close_sides(void **state)
{
	(void)state;
	free(control);
	free(rollout);
	free(page);
	return 0;
}

static void answer(uint32_t slot, uint32_t times, float latency_ns, float score)
{
	struct fg_state_seen *seen = &page->slots[slot].seen;

	atomic_fetch_add(&seen->requests, times);
	for (uint32_t i = 0; i < times; i++) {
		fg_distribution_add(&seen->latency_ns, latency_ns);
		fg_distribution_add(&seen->scores[0], 0.5f);
		fg_distribution_add(&seen->scores[3], score);
	}
}

static const struct fg_comparison *compare(uint64_t now_ns)
{
	fg_control_compare(control, rollout, now_ns);
	return &control->observed.comparison;
}

static void test_sides_are_added_up(void **state)
{
	const struct fg_comparison *seen;

	(void)state;
	answer(0, 600, 1000, 1);
	answer(1, 400, 1000, 1);
	answer(2, 90, 5000, 1);
	answer(3, 10, 9000, 1);
	atomic_store(&page->slots[1].seen.errors, 5);
	atomic_store(&page->slots[3].seen.errors, 2);
	seen = compare(1000 * MS);
	assert_int_equal(seen->epoch, 7);
	assert_int_equal(seen->stable_requests, 1000);
	assert_int_equal(seen->canary_requests, 100);
	assert_int_equal(seen->stable_errors, 5);
	assert_int_equal(seen->canary_errors, 2);
	assert_true(seen->stable_p99_ns >= 1000 && seen->stable_p99_ns < 1070);
	assert_true(seen->canary_p99_ns >= 9000 && seen->canary_p99_ns < 9600);
	assert_true(seen->drift < 0.1);
}

/* The worst column counts. */
static void test_drift_of_one_column(void **state)
{
	(void)state;
	answer(0, 1000, 1000, 1);
	answer(2, 1000, 1000, 3);
	assert_true(compare(1000 * MS)->drift > 1);
}

/* A worker that has not begun the epoch yet, or that died, does not count with what it saw before.
 */
static void test_other_epochs_do_not_count(void **state)
{
	(void)state;
	answer(0, 100, 1000, 1);
	answer(2, 100, 1000, 1);
	answer(3, 50, 1000, 1);
	atomic_store(&page->slots[2].seen.epoch, 6);
	assert_int_equal(compare(1000 * MS)->canary_requests, 50);
	rollout->watch = 8;
	assert_int_equal(compare(1001 * MS)->epoch, 0);
	assert_int_equal(control->observed.comparison.stable_requests, 0);
	/* The operator goes on seeing what was judged. */
	assert_int_equal(control->shown.canary_requests, 50);
}

static void test_not_too_often(void **state)
{
	(void)state;
	answer(0, 100, 1000, 1);
	assert_int_equal(compare(1000 * MS)->stable_requests, 100);
	answer(0, 100, 1000, 1);
	assert_int_equal(compare(1049 * MS)->stable_requests, 100);
	assert_int_equal(compare(1050 * MS)->stable_requests, 200);
	rollout->canary.phase = FG_CANARY_DONE;
	assert_int_equal(compare(1051 * MS)->epoch, 0);
}

#define SIDES(name) cmocka_unit_test_setup_teardown(name, open_sides, close_sides)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SIDES(test_sides_are_added_up),
		SIDES(test_drift_of_one_column),
		SIDES(test_other_epochs_do_not_count),
		SIDES(test_not_too_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
