/* userspace/worker/tcp: how many connections there may be, how long they live, and the sandbox. */
#include "tests/unit/tcp_server.h"

/* ---- how many -------------------------------------------------------------------------- */

static void ask(int fd)
{
	send_request(fd, 1);
	expect_id(fd, 1);
}

static void a_full_pool_makes_room(void **state)
{
	int fds[7];

	fg_uring_close(&uring);
	fg_tcp_close(&tcp);
	open_server(4);
	(void)state;
	for (int i = 0; i < 4; i++) {
		fds[i] = client();
		ask(fds[i]);
		now += MILLISECOND;
	}
	ask(fds[0]); /* so the second one is idle longest */
	fds[4] = client();
	expect_end(fds[1], false);
	expect_open(fds[0]);
	ask(fds[4]);
	/* Half a message is no idleness, as long as there are others ... */
	send_all(fds[2], "\x54", 1);
	serve_a_while();
	fds[5] = client();
	expect_end(fds[3], false);
	/* ... but of who has never been answered. */
	send_all(fds[5], "\x54", 1);
	serve_a_while();
	fds[6] = client();
	expect_end(fds[5], false);
	ask(fds[0]);
	ask(fds[4]);
	ask(fds[6]);
	assert_int_equal(open_connections(), 4);
	assert_int_equal(stats.tcp_refused, 3);
	for (int i = 0; i < 7; i++)
		close(fds[i]);
}

/* Hundreds that say nothing, or half of something, do not shut out one that asks. */
static void a_flood_shuts_nobody_out(void **state)
{
	static int flood[400];

	(void)state;
	for (int i = 0; i < 400; i++) {
		flood[i] = client_at(i % 2);
		if (i % 3 == 0)
			send_all(flood[i], "\x54\0", 2);
		if (i % 100 == 99) {
			int fd;

			serve_a_while();
			fd = client();

			send_request(fd, i);
			expect_id(fd, i);
			close(fd);
		}
		serve();
	}
	assert_true(open_connections() <= 64);
	for (int i = 0; i < 400; i++)
		close(flood[i]);
	serve_a_while();
	assert_int_equal(open_connections(), 0);
	assert_int_equal(tcp.pool.used, 0);
}

/* Newcomers that say nothing drive out each other, but for a few seats of their own. */
static void a_silent_flood_drives_nobody_out(void **state)
{
	static int good[64], flood[400];
	const int lost = 1 + 64 / FG_TCP_NEWCOMERS + 400 / 50; /* to newcomers, to who asks */

	(void)state;
	for (int i = 0; i < 64; i++) {
		good[i] = client();
		send_request(good[i], i);
		expect_id(good[i], i);
		now += MILLISECOND;
	}
	for (int i = 0; i < 400; i++) {
		flood[i] = client();
		if (i % 2)
			send_all(flood[i], "\x54\0", 2);
		serve();
		if (i % 50 == 48) { /* who asks gets in, and is no newcomer then */
			send_request(flood[i], i);
			expect_id(flood[i], i);
		}
	}
	for (int i = 0; i < lost; i++)
		expect_end(good[i], true);
	for (int i = lost; i < 64; i++) {
		send_request(good[i], i);
		expect_id(good[i], i);
	}
	assert_int_equal(open_connections(), 64);
	for (int i = 0; i < 64; i++)
		close(good[i]);
	for (int i = 0; i < 400; i++)
		close(flood[i]);
}

/* Where ending ones hold every spare entry, nobody is driven out for one who cannot get in. */
static void no_victim_without_a_free_entry(void **state)
{
	static int ending[2 * 128], good[128];
	int late;

	(void)state;
	_Static_assert(FG_TCP_SPARE == 256, "as many as are ending");
	fg_uring_close(&uring);
	fg_tcp_close(&tcp);
	open_server(128);
	for (int i = 0; i < 256; i++) {
		ending[i] = client();
		if (i % 128 != 127)
			continue;
		fg_tcp_leave(&tcp, FG_TCP_PART);
		pass(FG_TCP_FIRST_NS + FG_TCP_TICK_NS);
		fg_tcp_leave(&tcp, FG_TCP_STAY);
	}
	assert_int_equal(tcp.open, 0);
	for (int i = 0; i < 128; i++) {
		good[i] = client();
		send_request(good[i], i);
		expect_id(good[i], i);
	}
	assert_int_equal(tcp.pool.used, tcp.pool.entries);
	late = client();
	expect_end(late, true);
	assert_int_equal(stats.tcp_refused, 1);
	for (int i = 0; i < 128; i++) {
		send_request(good[i], i);
		expect_id(good[i], i);
		close(good[i]);
	}
	for (int i = 0; i < 256; i++)
		close(ending[i]);
	close(late);
}

static uint64_t resident_pages(void)
{
	static unsigned char pages[(64 + FG_TCP_SPARE) * 2 * FG_TCP_BUFFER_BYTES / 4096];
	uint64_t count = 0;

	assert_int_equal(mincore(tcp.pool.buffers, sizeof(pages) * 4096, pages), 0);
	for (size_t i = 0; i < sizeof(pages); i++)
		count += pages[i] & 1;
	return count;
}

static void memory_follows_use(void **state)
{
	static uint8_t bytes[70000];
	int fds[16];

	(void)state;
	assert_int_equal(resident_pages(), 0);
	for (int i = 0; i < 16; i++)
		fds[i] = client();
	assert_int_equal(resident_pages(), 0);
	for (int i = 0; i < 16; i++) {
		send_all(fds[i], bytes, put_request(bytes, i, 1000, 60000));
		expect_id(fds[i], i);
	}
	assert_in_range(resident_pages(), 16 * 20, 16 * 32);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	serve_a_while();
	assert_in_range(resident_pages(), 8 * 20, 8 * 32);
	pass(FG_TCP_SLEEP_NS + SECOND);
	assert_int_equal(resident_pages(), 0);
	for (int i = 8; i < 16; i++) { /* asleep, but there */
		send_request(fds[i], i);
		expect_id(fds[i], i);
		close(fds[i]);
	}
}

/* The kernel reads a request into the buffer; its completion stays in the ring for now. */
static void receive_unseen(int fd, uint64_t id)
{
	send_request(fd, id);
	usleep(1000);
	assert_int_equal(io_uring_get_events(&uring.ring), 0);
	assert_true(io_uring_cq_ready(&uring.ring) > 0);
}

/* All that time may ask for, while a request is there that nobody knows of. */
static void nothing_is_done_to_who_has_just_asked(void **state)
{
	int fd = client();

	(void)state;
	send_request(fd, 1);
	expect_id(fd, 1);
	now += FG_TCP_SLEEP_NS + SECOND; /* its pages would go back */
	receive_unseen(fd, 2);
	assert_int_equal(fg_tcp_receive(&tcp, messages, FG_TCP_BATCH, now), 0);
	expect_id(fd, 2);
	now += FG_TCP_IDLE_NS;
	receive_unseen(fd, 3);
	assert_int_equal(fg_tcp_receive(&tcp, messages, FG_TCP_BATCH, now), 0);
	expect_id(fd, 3);
	receive_unseen(fd, 4);
	fg_tcp_leave(&tcp, FG_TCP_PART);
	assert_int_equal(fg_tcp_receive(&tcp, messages, FG_TCP_BATCH, now), 0);
	expect_id(fd, 4);
	expect_end(fd, false);
	assert_int_equal(stats.tcp_refused, 0);
	close(fd);
}

static void nobody_is_driven_out_who_has_just_asked(void **state)
{
	int asks, idle, late;

	(void)state;
	fg_uring_close(&uring);
	fg_tcp_close(&tcp);
	open_server(2);
	asks = client();
	idle = client();
	send_request(asks, 1);
	expect_id(asks, 1);
	send_request(idle, 1);
	expect_id(idle, 1);
	late = client_at(0);
	usleep(1000);
	assert_int_equal(fg_uring_receive(&uring, NULL, 0, now), 0); /* accepts it ... */
	receive_unseen(asks, 2);
	fg_tcp_receive(&tcp, messages, FG_TCP_BATCH, now); /* ... and makes room */
	expect_end(idle, false);
	expect_id(asks, 2);
	expect_open(late);
	close(asks);
	close(idle);
	close(late);
}

static void idle_connections_stay_for_minutes(void **state)
{
	int idle = client(), busy = client();

	(void)state;
	for (int i = 0; i < 29; i++) {
		pass(10 * SECOND);
		send_request(busy, i);
		expect_id(busy, i);
	}
	expect_open(idle);
	pass(11 * SECOND);
	expect_end(idle, false);
	expect_open(busy);
	assert_int_equal(stats.tcp_refused, 0);
	close(idle);
	close(busy);
	serve_a_while();
	assert_int_equal(open_connections(), 0);
}

/* Accepting stops while there are no descriptors, without spinning, and goes on by itself. */
static void goes_on_after_descriptors_ran_out(void **state)
{
	struct rlimit old, low;
	int fds[3], first = client();

	(void)state;
	for (int i = 0; i < 3; i++)
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	pass(SECOND); /* an accept in the kernel goes by the limit when it was armed */
	for (int i = 0; i < 3; i++)
		connect_to(fds[i], 0);
	pass(SECOND);
	send_request(first, 5);
	expect_id(first, 5);
	assert_int_equal(stats.tcp_accepted, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	pass(SECOND);
	assert_int_equal(stats.tcp_accepted, 4);
	for (int i = 0; i < 3; i++) {
		send_request(fds[i], i);
		expect_id(fds[i], i);
		close(fds[i]);
	}
	close(first);
}

/* ---- sleeping, the sandbox ------------------------------------------------------------- */

static void wakes_for_connections_and_requests(void **state)
{
	uint64_t start_ns = fg_clock_ns();
	pid_t child;
	int status;

	(void)state;
	serve();
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		uint8_t bytes[300];
		int fd;

		usleep(20000);
		fd = client_at(1);
		usleep(20000);
		send_all(fd, bytes, put_request(bytes, 3, 1, 20));
		_exit(recv(fd, bytes, 300, 0) == 4 + 64 + ROW_BYTES ? 0 : 1);
	}
	while (stats.tcp_received < 1 && fg_clock_ns() - start_ns < PATIENCE) {
		assert_int_equal(fg_uring_wait(&uring, PATIENCE), 0);
		serve();
	}
	assert_true(fg_clock_ns() - start_ns < PATIENCE / 2);
	serve_a_while();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int in_child(int (*act)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		open_server(4);
		syscall(SYS_exit_group, act());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int allow_only(const int *calls, size_t count)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(exit_group), 0);

	for (size_t i = 0; i < count; i++)
		ret |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return ret | seccomp_load(filter);
}

static int serve_in_sandbox(void)
{
	const int calls[] = {SCMP_SYS(io_uring_enter), SCMP_SYS(shutdown), SCMP_SYS(close),
			     SCMP_SYS(madvise)};

	if (allow_only(calls, 4))
		return 100;
	while (stats.tcp_closed < 2)
		if (!serve() && stats.tcp_closed < 2 && fg_uring_wait(&uring, PATIENCE))
			return 101;
	return (int)stats.tcp_received;
}

static void serving_needs_four_system_calls(void **state)
{
	int good, bad;

	(void)state;
	fg_uring_close(&uring); /* a ring is only for the thread that made it */
	fg_tcp_close(&tcp);
	good = client_at(0);
	bad = client_at(1);
	send_request(good, 1);
	send_request(good, 2);
	shutdown(good, SHUT_WR);
	send_all(bad, "garbage!", 8);
	assert_int_equal(in_child(serve_in_sandbox), 2);
	assert_int_equal(recv(good, messages, sizeof(messages), MSG_WAITALL), 2 * (68 + ROW_BYTES));
	close(good);
	close(bad);
}

static int look_in_vain(void)
{
	serve();
	if (allow_only(NULL, 0))
		return 100;
	for (int i = 0; i < 1000; i++)
		if (serve())
			return 101;
	return 0;
}

static void looking_in_vain_makes_no_syscall(void **state)
{
	(void)state;
	fg_uring_close(&uring);
	fg_tcp_close(&tcp);
	assert_int_equal(in_child(look_in_vain), 0);
}

static void refuses_a_bad_config(void **state)
{
	struct fg_tcp other;
	struct fg_tcp_config config = {.connections = 0, .stats = &stats};

	(void)state;
	assert_int_equal(fg_tcp_open(&other, &config, &error), -EINVAL);
	config.connections = 65537;
	assert_int_equal(fg_tcp_open(&other, &config, &error), -EINVAL);
	assert_non_null(strstr(error.text, "65537 connections"));
	config.connections = 65536; /* the most: 8 GiB of addresses, no memory */
	config.listener_count = FG_MAX_LISTENERS + 1;
	assert_int_equal(fg_tcp_open(&other, &config, &error), -EINVAL);
	config.listener_count = 0;
	assert_int_equal(fg_tcp_open(&other, &config, &error), 0);
	fg_tcp_close(&other);
	fg_tcp_close(&other);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_full_pool_makes_room),
		TEST(a_flood_shuts_nobody_out),
		TEST(a_silent_flood_drives_nobody_out),
		TEST(no_victim_without_a_free_entry),
		TEST(memory_follows_use),
		TEST(nothing_is_done_to_who_has_just_asked),
		TEST(nobody_is_driven_out_who_has_just_asked),
		TEST(idle_connections_stay_for_minutes),
		TEST(goes_on_after_descriptors_ran_out),
		TEST(wakes_for_connections_and_requests),
		TEST(serving_needs_four_system_calls),
		TEST(looking_in_vain_makes_no_syscall),
		TEST(refuses_a_bad_config),
	};

	return cmocka_run_group_tests_name("tcp_life", tests, NULL, NULL);
}
