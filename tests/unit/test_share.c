/* sched/share: whose turn it is, how long a line may be, and what is owed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "sched/share.h"

#define MS 1000000ull

static struct fg_share share;

static int empty(void **state)
{
	(void)state;
	share = (struct fg_share){.places = 12};
	return 0;
}

static uint32_t fill(uint32_t entry, uint64_t cost_ns)
{
	uint32_t count = 0;

	for (; fg_share_has_room(&share, entry, cost_ns); count++)
		fg_share_join(&share, entry, cost_ns);
	return count;
}

static void nobody_waits_at_first(void **state)
{
	(void)state;
	assert_int_equal(fg_share_waiting(&share), 0);
	assert_int_equal(fg_share_turn(&share, true), -1);
	assert_int_equal(fg_share_wait_ns(&share, 3), 0);
}

static void a_line_may_have_what_is_left_free(void **state)
{
	(void)state;
	assert_int_equal(fill(0, MS), 6); /* as many as are free then */
	assert_int_equal(fill(1, MS), 3);
	assert_int_equal(fill(2, MS), 2);
	assert_int_equal(fill(3, MS), 1);
	assert_int_equal(fill(4, MS), 0); /* none is free */
	fg_share_leave(&share, 0, MS);
	assert_false(fg_share_has_room(&share, 0, MS));
	assert_true(fg_share_has_room(&share, 4, MS));
}

static void a_line_may_have_half_of_the_time(void **state)
{
	(void)state;
	assert_int_equal(fill(0, FG_SHARE_NS / 6), 3);
	assert_int_equal(fill(1, FG_SHARE_NS / 4), 1);
	assert_int_equal(fill(2, 3 * FG_SHARE_NS), 1); /* an empty line has room for any one */
	assert_int_equal(fill(3, MS), 1);
}

static void who_had_least_is_next(void **state)
{
	(void)state;
	fg_share_join(&share, 5, 9 * MS);
	assert_int_equal(fg_share_turn(&share, true), 5);
	fg_share_ran(&share, 5, 4 * MS);
	fg_share_join(&share, 7, 9 * MS);
	fg_share_ran(&share, 5, 1 * MS);
	assert_int_equal(fg_share_turn(&share, true),
			 7); /* began where the other stood: 4, not 0 */
	fg_share_ran(&share, 7, 2 * MS);
	assert_int_equal(fg_share_turn(&share, true), 5);
	fg_share_leave(&share, 5, 9 * MS);
	assert_int_equal(fg_share_turn(&share, true), 7);
}

static void what_a_piece_took_is_owed(void **state)
{
	(void)state;
	fg_share_join(&share, 0, 9 * MS);
	assert_int_equal(fg_share_turn(&share, false), 0);
	fg_share_ran(&share, 0, 2 * MS);
	assert_int_equal(fg_share_turn(&share, false), -1);
	fg_share_repay(&share, MS);
	assert_int_equal(fg_share_turn(&share, false), -1);
	fg_share_repay(&share, 5 * MS); /* nothing is saved up */
	assert_int_equal(fg_share_turn(&share, false), 0);
	fg_share_ran(&share, 0, 2 * MS);
	assert_int_equal(fg_share_turn(&share, true), 0);
}

static void waiting_counts_what_runs_meanwhile(void **state)
{
	(void)state;
	fg_share_join(&share, 0, 10 * MS);
	fg_share_join(&share, 1, 4 * MS);
	fg_share_join(&share, 2, 30 * MS);
	assert_int_equal(fg_share_wait_ns(&share, 0), (10 + 4 + 10) * MS);
	assert_int_equal(fg_share_wait_ns(&share, 1), (4 + 4 + 4) * MS);
	assert_int_equal(fg_share_wait_ns(&share, 3), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, empty)
	const struct CMUnitTest tests[] = {
		TEST(nobody_waits_at_first),
		TEST(a_line_may_have_what_is_left_free),
		TEST(a_line_may_have_half_of_the_time),
		TEST(who_had_least_is_next),
		TEST(what_a_piece_took_is_owed),
		TEST(waiting_counts_what_runs_meanwhile),
	};

	return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
