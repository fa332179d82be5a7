/* userspace/worker/tcp: how connections end, of a worker that leaves. */
#include "tests/unit/tcp_server.h"

static void a_leaving_worker_says_so(void **state)
{
	int idle = client(), busy = client(), fresh;

	(void)state;
	fg_tcp_leave(&tcp, FG_TCP_LEAVE);
	send_request(busy, 1);
	assert_int_equal(expect_reply(busy).flags, FG_WIRE_LEAVING);
	pass(LEAVE_MS * MILLISECOND);
	expect_end(idle, false);
	expect_end(busy, false);
	/* What was in the accept queue is served all the same. */
	fresh = client();
	send_request(fresh, 2);
	assert_int_equal(expect_reply(fresh).flags, FG_WIRE_LEAVING);
	/* It may be told to stay. */
	fg_tcp_leave(&tcp, FG_TCP_STAY);
	pass(10 * LEAVE_MS * MILLISECOND);
	send_request(fresh, 3);
	assert_int_equal(expect_reply(fresh).flags, 0);
	assert_int_equal(stats.tcp_refused, 0);
	close(idle);
	close(busy);
	close(fresh);
}

/* A request that crosses with the end is not answered, and nothing is reset for it. */
static void the_end_resets_nothing(void **state)
{
	int fd = client(), code = -1;
	socklen_t size = sizeof(code);

	(void)state;
	fg_tcp_leave(&tcp, FG_TCP_LEAVE);
	pass(LEAVE_MS * MILLISECOND + 200 * MILLISECOND);
	for (uint64_t id = 0; id < 10; id++) {
		send_request(fd, id);
		serve_a_while();
	}
	expect_end(fd, false);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size), 0);
	assert_int_equal(code, 0);
	assert_int_equal(stats.tcp_received, 0);
	assert_int_equal(open_connections(), 1);
	close(fd);
	serve_a_while();
	assert_int_equal(open_connections(), 0);
}

static void the_end_does_not_wait_for_ever(void **state)
{
	int fd = client();

	(void)state;
	fg_tcp_leave(&tcp, FG_TCP_LEAVE);
	pass(LEAVE_MS * MILLISECOND + 200 * MILLISECOND);
	expect_end(fd, false);
	assert_int_equal(open_connections(), 1);
	pass(FG_TCP_LINGER_NS);
	assert_int_equal(open_connections(), 0);
	close(fd);
}

/* A connection ends when it has been answered, however busy it is; the next one likewise. */
static void parting_ends_all_after_a_reply(void **state)
{
	int idle = client(), busy = client(), silent = client(), fresh;

	(void)state;
	send_request(idle, 1);
	expect_id(idle, 1);
	send_request(busy, 1);
	expect_id(busy, 1);
	pass(SECOND);
	fg_tcp_leave(&tcp, FG_TCP_LEAVE);
	for (uint64_t id = 0; id < 10; id++) { /* deaf to LEAVING, and never idle */
		send_request(busy, id);
		assert_int_equal(expect_reply(busy).flags, FG_WIRE_LEAVING);
		pass(LEAVE_MS * MILLISECOND / 2);
	}
	send_request(busy, 10);
	usleep(1000);
	fg_tcp_leave(&tcp, FG_TCP_PART);
	assert_int_equal(expect_reply(busy).flags, FG_WIRE_LEAVING);
	expect_end(busy, false);
	expect_end(idle, false);
	expect_end(silent, false);
	fresh = client();
	expect_open(fresh);
	send_request(fresh, 1);
	assert_int_equal(expect_reply(fresh).flags, FG_WIRE_LEAVING);
	expect_end(fresh, false);
	assert_int_equal(stats.tcp_refused, 0);
	close(idle);
	close(busy);
	close(silent);
	close(fresh);
}

/* The worker serves again: who is not ending yet lives on. */
static void parting_may_be_taken_back(void **state)
{
	static uint8_t bytes[100 * 100];
	int fd = client(), half = client(), fresh;
	size_t total = 0;

	(void)state;
	for (uint64_t id = 0; id < 100; id++)
		total += put_request(bytes + total, id, 1, 20);
	send_all(fd, bytes, total);
	send_all(half, bytes, 50);
	usleep(1000);
	fg_tcp_leave(&tcp, FG_TCP_PART);
	assert_int_equal(serve_max(4), 4);
	fg_tcp_leave(&tcp, FG_TCP_STAY);
	for (int i = 0; i < 100; i++)
		expect_reply(fd);
	pass(10 * LEAVE_MS * MILLISECOND);
	fresh = client();
	send_all(half, bytes + 50, 88 - 50);
	send_request(fd, 7);
	send_request(fresh, 8);
	expect_id(half, 0);
	assert_int_equal(expect_reply(fd).flags, 0);
	assert_int_equal(expect_reply(fresh).flags, 0);
	expect_open(fd);
	expect_open(fresh);
	close(fd);
	close(half);
	close(fresh);
}

/* Sends of the `count` bytes, over and over, until it would block; *sent so far. */
static void stuff(int fd, const uint8_t *bytes, size_t count, size_t *sent)
{
	ssize_t got;

	do {
		got = send(fd, bytes + *sent % count, count - *sent % count,
			   MSG_DONTWAIT | MSG_NOSIGNAL);
		*sent += got > 0 ? (size_t)got : 0;
	} while (got > 0);
}

/* A client that pipelines without pause, reads all replies, and does not look for the end. */
static void finishing_ends_who_never_pauses(void **state)
{
	static uint8_t bytes[400 * 88], replies[65536];
	size_t total = 0, sent = 0, read = 0;
	uint64_t received = 0;
	int fd = client();
	ssize_t got;

	(void)state;
	for (uint64_t id = 0; id < 400; id++)
		total += put_request(bytes + total, id, 1, 20);
	assert_int_equal(total, sizeof(bytes));
	for (int i = 0; i < 300; i++) {
		if (i == 200) {
			received = stats.tcp_received;
			fg_tcp_finish(&tcp);
		}
		stuff(fd, bytes, total, &sent);
		serve();
		while ((got = recv(fd, replies, sizeof(replies), MSG_DONTWAIT)) > 0)
			read += (size_t)got;
	}
	assert_int_equal(got, 0); /* the end, though it has not paused */
	assert_true(received > 1000);
	assert_true(stats.tcp_received - received <= 2 * FG_TCP_BUFFER_BYTES / 88);
	assert_int_equal(read, stats.tcp_received * (68 + ROW_BYTES));
	for (int i = 0; i < 20; i++) { /* it lingers for its bound, no longer */
		now += FG_TCP_TICK_NS;
		stuff(fd, bytes, total, &sent);
		serve_a_while();
	}
	assert_true(fg_tcp_finished(&tcp));
	assert_int_equal(stats.tcp_refused, 0);
	close(fd);
}

/* Half a message is not waited for: the end comes at once, its rest is read and forgotten. */
static void finishing_waits_for_no_upload(void **state)
{
	static uint8_t bytes[60100];
	size_t total = put_request(bytes, 2, 1, 60000);
	int slow = client(), fresh = client(), code = -1;
	socklen_t size = sizeof(code);

	(void)state;
	send_request(slow, 1);
	expect_id(slow, 1);
	send_all(slow, bytes, 1000);
	send_all(fresh, bytes, 1000); /* its first request: that has a little time */
	serve_a_while();
	fg_tcp_finish(&tcp);
	expect_end(slow, false);
	expect_open(fresh);
	for (size_t at = 1000; at < total; at += 10000) {
		send_all(slow, bytes + at, total - at < 10000 ? total - at : 10000);
		serve_a_while();
	}
	assert_int_equal(getsockopt(slow, SOL_SOCKET, SO_ERROR, &code, &size), 0);
	assert_int_equal(code, 0);
	pass(FG_TCP_FIRST_NS + FG_TCP_TICK_NS);
	expect_end(fresh, false);
	close(slow);
	close(fresh);
	serve_a_while();
	assert_true(fg_tcp_finished(&tcp));
	assert_int_equal(stats.tcp_received, 1);
	assert_int_equal(stats.tcp_refused, 0);
}

/* Finishing: requests that are there are answered, a first one waited for a little, all end. */
static void finishing_ends_all(void **state)
{
	uint8_t bytes[200], many[40 * 88];
	size_t count = put_request(bytes, 9, 1, 20);
	int idle = client(), asks = client(), half = client(), queued;

	(void)state;
	for (uint64_t id = 0; id < 40; id++)
		put_request(many + id * 88, id, 1, 20);
	send_all(asks, many, sizeof(many));
	send_all(half, bytes, 50);
	serve_max(4);
	queued = client_at(0);
	usleep(1000);
	fg_tcp_finish(&tcp);
	assert_false(fg_tcp_finished(&tcp));
	for (uint64_t id = 0; id < 40; id++)
		expect_reply(asks);
	expect_end(asks, false);
	assert_false(fg_tcp_finished(&tcp));
	send_all(half, bytes + 50, count - 50);
	assert_int_equal(expect_reply(half).flags, FG_WIRE_LEAVING);
	expect_end(half, false);
	pass(SECOND);
	expect_end(idle, false);
	close(idle);
	close(asks);
	close(half);
	close(queued);
	pass(FG_TCP_LINGER_NS + SECOND);
	assert_true(fg_tcp_finished(&tcp));
	assert_int_equal(open_connections(), 0);
	assert_int_equal(stats.tcp_refused, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_leaving_worker_says_so),	      TEST(the_end_resets_nothing),
		TEST(the_end_does_not_wait_for_ever), TEST(parting_ends_all_after_a_reply),
		TEST(parting_may_be_taken_back),      TEST(finishing_ends_who_never_pauses),
		TEST(finishing_waits_for_no_upload),  TEST(finishing_ends_all),
	};

	return cmocka_run_group_tests_name("tcp_leave", tests, NULL, NULL);
}
