/* userspace/worker/turn: what an urgent worker leaves of its CPU, whatever keeps it busy. */
#include "tests/unit/tcp_server.h"

#include <time.h>
#include "userspace/worker/turn.h"

#define SPAN_NS (40 * MILLISECOND)

static uint64_t ran_ns(void)
{
	struct timespec run;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &run);
	return (uint64_t)run.tv_sec * SECOND + (uint64_t)run.tv_nsec;
}

static void work_for(uint64_t duration_ns)
{
	uint64_t end_ns = fg_clock_ns() + duration_ns;

	while (fg_clock_ns() < end_ns)
		;
}

/* Loops of `work_ns` and a wait of `wait_ns`, for SPAN_NS. Returns how often the turn ended
 * between waits. */
static uint32_t loop(bool urgent, uint64_t work_ns, uint64_t wait_ns)
{
	struct fg_turn turn = {fg_clock_ns()};
	uint64_t end_ns = turn.began_ns + SPAN_NS;
	uint32_t naps = 0;

	while (fg_clock_ns() < end_ns) {
		uint64_t began_ns;

		work_for(work_ns);
		if (wait_ns)
			fg_turn_wait(&turn, urgent, &uring, wait_ns);
		began_ns = turn.began_ns;
		fg_turn_give_way(&turn, urgent);
		naps += turn.began_ns > began_ns;
	}
	return naps;
}

/* Half of the CPU, and some for what else runs on this machine. */
static void expect_half(uint64_t work_ns, uint64_t wait_ns)
{
	uint64_t since_ns = fg_clock_ns(), ran = ran_ns(), took_ns;
	uint32_t naps = loop(true, work_ns, wait_ns);

	ran = ran_ns() - ran;
	took_ns = fg_clock_ns() - since_ns;
	assert_true(naps > 0);
	assert_true(took_ns >= naps * FG_TURN_RUN_NS);
	assert_true(ran <= took_ns / 4 * 3);
}

static void who_never_waits_gives_way(void **state)
{
	(void)state;
	expect_half(100000, 0);
}

/* A piece of a slow model is longer than a turn. */
static void who_works_for_long_leaves_as_much(void **state)
{
	(void)state;
	expect_half(5 * FG_TURN_RUN_NS, 0);
}

/* fg_uring_wait returns at once while TCP has work: that is no sleep. */
static void a_wait_that_returns_at_once_is_no_sleep(void **state)
{
	int fd = client();

	(void)state;
	fg_tcp_leave(&tcp, FG_TCP_LEAVE); /* it is to be looked at, and nobody does */
	assert_true(fg_tcp_has_work(&tcp));
	expect_half(50000, SECOND);
	close(fd);
}

/* With a short sleep in every loop nothing else is taken from it: but where others took its CPU for
 * long just before it looked at the clock. */
static void who_sleeps_is_left_alone(void **state)
{
	(void)state;
	serve_a_while();
	assert_in_range(loop(true, 50000, 100000), 0, 3);
}

static void who_is_not_urgent_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(loop(false, 50000, 0), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(who_never_waits_gives_way),
		TEST(who_works_for_long_leaves_as_much),
		TEST(a_wait_that_returns_at_once_is_no_sleep),
		TEST(who_sleeps_is_left_alone),
		TEST(who_is_not_urgent_is_left_alone),
	};

	return cmocka_run_group_tests_name("turn", tests, NULL, NULL);
}
