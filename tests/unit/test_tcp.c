/* userspace/worker/tcp: what good clients get, and what bad ones. */
#include "tests/unit/tcp_server.h"

/* ---- serving --------------------------------------------------------------------------- */

static void answers_on_all_listeners(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		int fd = client_at(i % 2);

		for (uint64_t id = 1; id <= 10; id++) {
			send_request(fd, id);
			expect_id(fd, id);
		}
		close(fd);
	}
	serve_a_while();
	assert_int_equal(stats.tcp_accepted, 20);
	assert_int_equal(stats.tcp_received, 200);
	assert_int_equal(stats.tcp_closed, 20);
	assert_int_equal(stats.tcp_refused, 0);
	assert_int_equal(tcp.pool.used, 0);
}

/* 100 requests in writes that end at odd places. Each is answered once. */
static void takes_pipelined_requests_cut_anywhere(void **state)
{
	static uint8_t bytes[100 * 400];
	const size_t steps[] = {1, 3, 67, 68, 69, 1000, sizeof(bytes)};

	(void)state;
	for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
		bool seen[100] = {false};
		size_t total = 0;
		int fd = client();

		for (uint64_t id = 0; id < 100; id++)
			total += put_request(bytes + total, id, id % 5, (uint32_t)(id * 3));
		for (size_t at = 0; at < total; at += steps[s]) {
			send_all(fd, bytes + at, total - at < steps[s] ? total - at : steps[s]);
			serve();
		}
		for (int i = 0; i < 100; i++) {
			struct fg_wire_header header = expect_reply(fd);

			assert_true(header.request_id < 100 && !seen[header.request_id]);
			assert_int_equal(header.rows, header.request_id % 5);
			assert_int_equal(header.flags, 0);
			seen[header.request_id] = true;
		}
		expect_open(fd);
		close(fd);
	}
	assert_true(most <= FG_TCP_TURN);
}

/* A client that pipelines does not hold up another one. */
static void everyone_has_a_turn(void **state)
{
	static uint8_t bytes[400 * 100];
	int greedy = client(), modest = client();
	size_t total = 0;

	(void)state;
	for (uint64_t id = 0; id < 400; id++)
		total += put_request(bytes + total, id, 1, 20);
	send_all(greedy, bytes, total);
	send_request(modest, 7);
	usleep(1000);
	serve_max(FG_TCP_TURN + 1);
	serve_max(FG_TCP_TURN + 1);
	serve_max(FG_TCP_TURN + 1);
	assert_true(stats.tcp_received < 100);
	expect_id(modest, 7);
	for (int i = 0; i < 400; i++)
		expect_reply(greedy);
	close(greedy);
	close(modest);
}

static void carries_the_largest_messages(void **state)
{
	static uint8_t bytes[70000];
	const uint32_t rows = (FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES) / ROW_BYTES;
	int fd = client();

	(void)state;
	for (int i = 0; i < 5; i++) {
		send_all(fd, bytes,
			 put_request(bytes, i, rows, FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES));
		assert_int_equal(expect_reply(fd).rows, rows);
		/* A short request for a long reply: no bound as over UDP. */
		send_all(fd, bytes, put_request(bytes, i, rows, 0));
		assert_int_equal(expect_reply(fd).rows, rows);
	}
	close(fd);
}

static void serves_many_connections_at_once(void **state)
{
	int fds[64];

	(void)state;
	for (int i = 0; i < 64; i++)
		fds[i] = client();
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 64; i++)
			send_request(fds[i], round * 64 + i);
		for (int i = 0; i < 64; i++)
			expect_id(fds[i], round * 64 + i);
	}
	assert_int_equal(open_connections(), 64);
	assert_true(most > FG_TCP_TURN);
	for (int i = 0; i < 64; i++)
		close(fds[i]);
	serve_a_while();
	assert_int_equal(open_connections(), 0);
}

static void answers_after_a_half_close(void **state)
{
	int fd = client();

	(void)state;
	for (uint64_t id = 0; id < 40; id++)
		send_request(fd, id);
	shutdown(fd, SHUT_WR);
	for (uint64_t id = 0; id < 40; id++)
		expect_reply(fd);
	expect_end(fd, false);
	assert_int_equal(stats.tcp_refused, 0);
	assert_int_equal(open_connections(), 0);
	close(fd);
}

/* ---- bad clients ----------------------------------------------------------------------- */

/* After a good request, which is answered, bytes that end the connection. */
static void expect_refusal(const void *bytes, size_t count)
{
	uint64_t before = stats.tcp_refused;
	int fd = client();

	send_request(fd, 1);
	send_all(fd, bytes, count);
	expect_id(fd, 1);
	expect_end(fd, true);
	serve_a_while();
	assert_int_equal(stats.tcp_refused, before + 1);
	assert_int_equal(open_connections(), 0);
	assert_int_equal(stats.tcp_received, stats.tcp_accepted);
	close(fd);
}

static void refuses_what_is_not_the_protocol(void **state)
{
	static const uint32_t lengths[] = {0, 63, FG_WIRE_MAX_DATAGRAM + 1, UINT32_MAX};
	uint8_t bytes[200];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		put_request(bytes, 2, 1, 20);
		fg_stream_prefix(bytes, lengths[i]);
		expect_refusal(bytes, 4);
		expect_refusal(bytes, 88);
	}
	for (int i = 4; i < 10; i++) { /* magic, version, type */
		size_t count = put_request(bytes, 2, 1, 20);

		bytes[i] ^= 0x40;
		count += put_request(bytes + count, 3, 1, 20); /* lost with it */
		expect_refusal(bytes, count);
	}
	expect_refusal("GET / HTTP/1.1\r\nHost: example\r\n\r\n", 33);
}

static void refuses_half_messages_at_the_end(void **state)
{
	uint8_t bytes[200];
	size_t count = put_request(bytes, 2, 1, 20);

	(void)state;
	for (size_t cut = 1; cut < count; cut += 29) {
		int fd = client();

		send_all(fd, bytes, cut);
		shutdown(fd, SHUT_WR);
		expect_end(fd, true);
		close(fd);
	}
	assert_int_equal(stats.tcp_refused, stats.tcp_accepted);
	assert_int_equal(stats.tcp_received, 0);
}

/* A byte a second does not help: the message must be whole in time. */
static void a_message_must_be_whole_in_time(void **state)
{
	uint8_t bytes[200];
	int slow = client(), good = client();

	(void)state;
	put_request(bytes, 2, 1, 20);
	for (int i = 0; i < 9; i++) {
		send_all(slow, bytes + i, 1);
		pass(SECOND);
		send_request(good, i);
		expect_id(good, i);
	}
	assert_int_equal(stats.tcp_refused, 0);
	pass(2 * SECOND);
	expect_end(slow, true);
	assert_int_equal(stats.tcp_refused, 1);
	expect_open(good);
	close(slow);
	close(good);
}

static void who_does_not_read_is_not_read_from(void **state)
{
	static uint8_t bytes[100];
	const uint32_t rows = 1000;
	int deaf = client(), good = client(), small = 4096;
	size_t sent = 0, one = put_request(bytes, 1, rows, 20);
	uint64_t received;
	ssize_t got = 0;

	(void)state;
	setsockopt(deaf, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(deaf, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	/* Until its own requests are stuck as well. */
	for (int i = 0; i < 100000 && got >= 0; i++) {
		got = send(deaf, bytes, one, MSG_DONTWAIT);
		serve();
		if (got > 0)
			sent += (size_t)got;
		if (got < 0)
			usleep(1000), serve_a_while(), got = send(deaf, bytes, one, MSG_DONTWAIT);
	}
	assert_int_equal(got, -1);
	received = stats.tcp_received;
	assert_true(received < sent / one);
	for (int i = 0; i < 9; i++) {
		pass(SECOND);
		send_request(good, i);
		expect_id(good, i);
	}
	assert_int_equal(stats.tcp_received, received + 9);
	assert_int_equal(open_connections(), 2);
	pass(2 * SECOND);
	assert_int_equal(open_connections(), 1);
	assert_int_equal(stats.tcp_refused, 1);
	close(deaf);
	close(good);
}

/* Slow, but it reads: bytes come out in order, whatever the sizes of sends were. */
static void a_slow_reader_gets_all(void **state)
{
	static uint8_t bytes[20 * 100];
	int fd = client(), small = 16384;
	size_t total = 0;

	(void)state;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (uint64_t id = 0; id < 20; id++)
		total += put_request(bytes + total, id, 200 + id, 20);
	send_all(fd, bytes, total);
	for (uint64_t id = 0; id < 20; id++) {
		struct fg_wire_header header;

		pass(SECOND);
		header = expect_reply(fd);
		assert_int_equal(header.rows, 200 + header.request_id);
	}
	assert_int_equal(stats.tcp_refused, 0);
	close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(answers_on_all_listeners),
		TEST(takes_pipelined_requests_cut_anywhere),
		TEST(everyone_has_a_turn),
		TEST(carries_the_largest_messages),
		TEST(serves_many_connections_at_once),
		TEST(answers_after_a_half_close),
		TEST(refuses_what_is_not_the_protocol),
		TEST(refuses_half_messages_at_the_end),
		TEST(a_message_must_be_whole_in_time),
		TEST(who_does_not_read_is_not_read_from),
		TEST(a_slow_reader_gets_all),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
