/* tools/flipgate.h over TCP: connections that split, leave, end, lie and say nothing. */
#include <time.h>

#include "tests/unit/stream_responder.h"
#include "tools/client_stream.h"
#include "tools/client_wait.h"
#include "tools/flipgate.h"

#define MOST_COLS ((FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES) / sizeof(float))

static const float rows[4] = {1, 2, 3, 4};

static struct fg_client_request request_of(uint32_t row_count)
{
	return (struct fg_client_request){
		.model = "sums",
		.dtype = FG_CLIENT_F32,
		.rows = row_count,
		.cols = 2,
		.data = rows,
	};
}

static double ms_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* A service and a client of it. */
struct pair {
	struct stream_responder responder;
	struct fg_client *client;
	struct fg_client_reply reply;
	struct fg_client_error error;
	float out[4];
};

static void begin(struct pair *pair, uint32_t timeout_ms, uint32_t retries,
		  void (*handle)(struct stream_responder *, const struct stream_asked *))
{
	struct fg_client_options options = {.timeout_ms = timeout_ms, .retries = retries};

	memset(pair, 0, sizeof(*pair));
	stream_start(&pair->responder, handle);
	if (fg_client_open(&pair->client, pair->responder.address, &options, &pair->error))
		fail_msg("%s", pair->error.text);
}

static void end(struct pair *pair)
{
	fg_client_close(pair->client);
	stream_stop(&pair->responder);
}

/* Asks for the sums of (1, 2) and (3, 4). */
static int ask(struct pair *pair)
{
	struct fg_client_request request = request_of(2);

	memset(pair->out, 0, sizeof(pair->out));
	return fg_client_infer(pair->client, &request, pair->out, 4, &pair->reply, &pair->error);
}

static void expect_answer(struct pair *pair, uint32_t attempts, uint32_t connections)
{
	if (ask(pair))
		fail_msg("%s", pair->error.text);
	assert_true(pair->out[0] == 3 && pair->out[2] == 7);
	assert_int_equal(pair->reply.attempts, attempts);
	assert_int_equal(pair->reply.ignored, 0);
	assert_int_equal(atomic_load(&pair->responder.accepted), connections);
}

static void one_connection_for_all_requests(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, stream_compute);
	assert_int_equal(atomic_load(&pair.responder.accepted), 0); /* nothing before it is asked */
	pair.responder.version = 9;
	pair.responder.generation = 3;
	expect_answer(&pair, 1, 1);
	assert_true(pair.out[1] == 9 && pair.out[3] == 9);
	assert_int_equal(pair.reply.version, 9);
	assert_int_equal(pair.reply.generation, 3);
	assert_int_equal(pair.reply.queued_ns, 1500);
	assert_int_equal(pair.reply.compute_ns, 2500);
	assert_true(pair.reply.round_trip_ns > 0 && pair.reply.round_trip_ns < 2000000000);
	for (int i = 0; i < 20; i++)
		expect_answer(&pair, 1, 1);
	end(&pair);
	assert_int_equal(atomic_load(&pair.responder.received), 21);
}

static void in_pieces(struct stream_responder *responder, const struct stream_asked *asked)
{
	static const size_t cuts[] = {1, 3, 4, 5, 67, 68, 69, 83};
	const float sums[4] = {3, 1, 7, 1};
	unsigned char bytes[256];
	size_t count = stream_reply(responder, asked, FG_STATUS_OK, 2, sums, 16, bytes), from = 0;

	for (size_t c = 0; c < sizeof(cuts) / sizeof(cuts[0]); c++) {
		stream_write(asked->connection, bytes + from, cuts[c] - from);
		from = cuts[c];
		sleep_ms(2);
	}
	stream_write(asked->connection, bytes + from, count - from);
}

static void replies_come_in_pieces(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, in_pieces);
	expect_answer(&pair, 1, 1);
	expect_answer(&pair, 1, 1);
	end(&pair);
}

static void leaves_after_two(struct stream_responder *responder, const struct stream_asked *asked)
{
	responder->flags = asked->number == 1 ? FG_WIRE_LEAVING : 0;
	stream_compute(responder, asked);
}

static void a_connection_that_leaves_is_left(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, leaves_after_two);
	expect_answer(&pair, 1, 1);
	expect_answer(&pair, 1, 1);
	expect_answer(&pair, 1, 2);
	expect_answer(&pair, 1, 2);
	/* The client has closed the first: the service has seen its end. */
	assert_int_equal(pair.responder.connections[0].fd, -1);
	end(&pair);
}

static void ends_the_first(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->accepted == 0)
		stream_end(asked->connection);
	else
		stream_compute(responder, asked);
}

static void resets_the_first(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->accepted == 0)
		stream_reset(asked->connection);
	else
		stream_compute(responder, asked);
}

/* Half of a reply, then the end. */
static void cuts_the_first(struct stream_responder *responder, const struct stream_asked *asked)
{
	unsigned char bytes[256];

	if (asked->accepted) {
		stream_compute(responder, asked);
		return;
	}
	stream_reply(responder, asked, FG_STATUS_OK, 2, rows, 16, bytes);
	stream_write(asked->connection, bytes, 80);
	stream_end(asked->connection);
}

static void a_lost_connection_is_worth_one_more_try(void **state)
{
	void (*const losses[])(struct stream_responder *,
			       const struct stream_asked *) = {ends_the_first, resets_the_first,
							       cuts_the_first};
	struct pair pair;

	(void)state;
	for (int i = 0; i < 3; i++) {
		double began = ms_now();

		begin(&pair, 2000, 0, losses[i]);
		expect_answer(&pair, 2, 2);
		assert_true(ms_now() - began < 1000); /* at once */
		expect_answer(&pair, 1, 2);
		end(&pair);
	}
}

static void ends_after_each(struct stream_responder *responder, const struct stream_asked *asked)
{
	stream_compute(responder, asked);
	stream_end(asked->connection);
}

static void a_connection_that_ended_meanwhile_is_no_error(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, ends_after_each);
	expect_answer(&pair, 1, 1);
	for (uint32_t i = 2; i < 6; i++) {
		sleep_ms(2); /* its end is here */
		expect_answer(&pair, 2, i);
	}
	end(&pair);
}

static void ends_all(struct stream_responder *responder, const struct stream_asked *asked)
{
	(void)responder;
	stream_end(asked->connection);
}

static void a_service_that_always_ends_is_an_error(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 140, 0, ends_all);
	assert_int_equal(ask(&pair), -ECONNRESET);
	assert_int_equal(pair.reply.attempts, 2);
	assert_non_null(strstr(pair.error.text, "ended the connection before it answered"));
	assert_non_null(strstr(pair.error.text, pair.responder.address));
	end(&pair);

	begin(&pair, 140, 2, ends_all);
	assert_int_equal(ask(&pair), -ECONNRESET);
	assert_int_equal(pair.reply.attempts, 4); /* three, and one for the first loss */
	end(&pair);
	assert_int_equal(atomic_load(&pair.responder.received), 4);
}

static void nonsense(struct stream_responder *responder, const struct stream_asked *asked)
{
	static const uint32_t lengths[] = {0, 63, FG_WIRE_MAX_DATAGRAM + 1, UINT32_MAX};
	struct stream_asked other = *asked;
	unsigned char bytes[256] = {0};

	switch (asked->number) {
	case 0 ... 3:
		fg_stream_prefix(bytes, lengths[asked->number]);
		stream_write(asked->connection, bytes, 100);
		break;
	case 4: /* a message, but not ours */
		fg_stream_prefix(bytes, 64);
		stream_write(asked->connection, bytes, 68);
		break;
	case 5: /* nobody asked that */
		other.header.request_id ^= 1ull << 40;
		stream_compute(responder, &other);
		break;
	case 6: /* rows, columns and length disagree */
		stream_answer(responder, asked, FG_STATUS_OK, 3, rows, 8);
		break;
	default: /* fewer rows than asked */
		other.header.rows = 1;
		stream_answer(responder, &other, FG_STATUS_OK, 2, rows, 8);
	}
}

static void nonsense_ends_the_connection(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 2, nonsense);
	for (uint32_t i = 0; i < 8; i++) {
		assert_int_equal(ask(&pair), -EPROTO);
		assert_int_equal(pair.reply.attempts, 1);
		assert_int_equal(atomic_load(&pair.responder.accepted), i + 1);
		assert_non_null(strstr(pair.error.text, "does not speak our protocol"));
	}
	end(&pair);
}

static void slow(struct stream_responder *responder, const struct stream_asked *asked)
{
	sleep_ms(80);
	stream_compute(responder, asked);
}

static void slow_is_not_silent(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, slow);
	expect_answer(&pair, 1, 1);
	assert_true(pair.reply.round_trip_ns >= 80000000);
	end(&pair);
}

static void silent_first(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->accepted)
		stream_compute(responder, asked);
}

static void a_silent_connection_is_not_asked_again(void **state)
{
	double began = ms_now(), took;
	struct pair pair;

	(void)state;
	begin(&pair, 100, 0, silent_first);
	assert_int_equal(ask(&pair), -ETIMEDOUT);
	took = ms_now() - began;
	assert_true(took >= 100 && took < 1000);
	assert_int_equal(pair.reply.attempts, 1);
	assert_non_null(strstr(pair.error.text, "no answer from tcp://127.0.0.1:"));
	expect_answer(&pair, 1, 2);
	end(&pair);

	began = ms_now();
	begin(&pair, 700, 2, silent_first);
	expect_answer(&pair, 2, 2);
	assert_true(ms_now() - began >= 99); /* a seventh of the time-out */
	end(&pair);
}

static void answers_the_one_before(struct stream_responder *responder,
				   const struct stream_asked *asked)
{
	static struct stream_asked first;

	if (asked->number == 0) {
		first = *asked;
		first.payload = (const unsigned char *)rows;
		return;
	}
	if (first.connection->fd >= 0)
		stream_compute(responder, &first);
	stream_compute(responder, asked);
}

static void a_late_reply_reaches_nobody(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 100, 0, answers_the_one_before);
	assert_int_equal(ask(&pair), -ETIMEDOUT);
	expect_answer(&pair, 1, 2);
	expect_answer(&pair, 1, 2);
	end(&pair);
}

static void nobody_there(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 200, 1, stream_compute);
	stream_stop(&pair.responder); /* its port is free now */
	assert_int_equal(ask(&pair), -ECONNREFUSED);
	assert_int_equal(pair.reply.attempts, 0);
	assert_non_null(strstr(pair.error.text, pair.responder.address));
	fg_client_close(pair.client);
}

/* Connections to a full queue wait for ever: the SYN gets no answer. */
static void connecting_times_out(void **state)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct fg_client_options options = {.timeout_ms = 100};
	struct fg_client_request request = request_of(2);
	socklen_t length = sizeof(name);
	struct fg_client *clients[3];
	struct fg_client_reply reply;
	char address[40];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	float out[4];

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &length), 0);
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", ntohs(name.sin_port));
	for (int i = 0; i < 3; i++) {
		double began = ms_now(), took;

		assert_int_equal(fg_client_open(&clients[i], address, &options, NULL), 0);
		assert_int_equal(fg_client_infer(clients[i], &request, out, 4, &reply, NULL),
				 -ETIMEDOUT);
		took = ms_now() - began;
		assert_true(took >= 100 && took < 1000);
	}
	assert_int_equal(reply.attempts, 0); /* it never came to sending */
	for (int i = 0; i < 3; i++)
		fg_client_close(clients[i]);
	close(fd);
}

static void overloaded_twice(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->number < 2)
		stream_answer(responder, asked, FG_STATUS_OVERLOADED, 0, "", 0);
	else
		stream_compute(responder, asked);
}

static void overload_waits_on_the_same_connection(void **state)
{
	double began = ms_now();
	struct pair pair;

	(void)state;
	begin(&pair, 280, 2, overloaded_twice);
	expect_answer(&pair, 3, 1);
	assert_true(ms_now() - began >= 119); /* 40 + 80 ms */
	end(&pair);
}

static void refuses(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->number == 0)
		stream_answer(responder, asked, FG_STATUS_UNKNOWN_MODEL, 0, "no such thing", 13);
	else
		stream_answer(responder, asked, FG_STATUS_REPLY_TOO_LONG, 0, "", 0);
}

static void refusals_are_final(void **state)
{
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 3, refuses);
	assert_int_equal(ask(&pair), -EREMOTEIO);
	assert_int_equal(pair.reply.status, FG_CLIENT_UNKNOWN_MODEL);
	assert_non_null(strstr(pair.error.text, "unknown_model: no such thing"));
	assert_int_equal(ask(&pair), -EMSGSIZE); /* longer than a message: padding is no help */
	assert_int_equal(pair.reply.status, FG_CLIENT_REPLY_TOO_LONG);
	assert_int_equal(pair.reply.attempts, 1);
	end(&pair);
}

/* As many columns as a message holds, whatever was asked. */
static void widest(struct stream_responder *responder, const struct stream_asked *asked)
{
	static float out[MOST_COLS];

	for (uint32_t i = 0; i < MOST_COLS; i++)
		out[i] = (float)i;
	stream_answer(responder, asked, FG_STATUS_OK, MOST_COLS, out, sizeof(out));
}

static void long_messages_need_no_padding(void **state)
{
	struct fg_client_request request = request_of(1);
	static float in[MOST_COLS], out[MOST_COLS];
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, widest);
	for (int i = 0; i < 3; i++) {
		memset(out, 0, sizeof(out));
		assert_int_equal(fg_client_infer(pair.client, &request, out, MOST_COLS, &pair.reply,
						 &pair.error),
				 0);
		assert_int_equal(pair.reply.attempts, 1);
		assert_int_equal(pair.reply.cols, MOST_COLS);
		assert_true(out[1] == 1 && out[MOST_COLS - 1] == MOST_COLS - 1);
		request.cols = MOST_COLS; /* now as long as can be in both directions */
		request.data = in;
	}
	assert_int_equal(fg_client_infer(pair.client, &request, out, 4, &pair.reply, NULL),
			 -ENOBUFS);
	assert_int_equal(pair.reply.cols, MOST_COLS);
	request.cols = MOST_COLS + 1;
	assert_int_equal(fg_client_infer(pair.client, &request, out, MOST_COLS, NULL, &pair.error),
			 -EMSGSIZE);
	end(&pair);
	assert_int_equal(atomic_load(&pair.responder.accepted), 1);
}

static void wants_label(struct stream_responder *responder, const struct stream_asked *asked)
{
	bool is_label = asked->header.flags == FG_WIRE_LABEL &&
			asked->header.model_version == fg_wire_label("canary");
	bool is_version = asked->header.flags == 0 && asked->header.model_version == 7;

	if (asked->number == 0 ? is_label : is_version)
		stream_compute(responder, asked);
	else
		stream_answer(responder, asked, FG_STATUS_UNKNOWN_VERSION, 0, "", 0);
}

static void labels_stand_where_versions_do(void **state)
{
	struct fg_client_request request = request_of(1);
	struct pair pair;

	(void)state;
	begin(&pair, 2000, 0, wants_label);
	request.label = "canary";
	assert_int_equal(fg_client_infer(pair.client, &request, pair.out, 4, NULL, NULL), 0);
	request.version = 7;
	assert_int_equal(fg_client_infer(pair.client, &request, pair.out, 4, &pair.reply,
					 &pair.error),
			 -EINVAL);
	assert_non_null(strstr(pair.error.text, "not both"));
	request.label = NULL;
	assert_int_equal(fg_client_infer(pair.client, &request, pair.out, 4, NULL, NULL), 0);
	end(&pair);
	assert_int_equal(atomic_load(&pair.responder.received), 2);
}

static void spinning_gives_the_same_answers(void **state)
{
	struct fg_client_options options = {.timeout_ms = 100, .spin = 1};
	struct pair pair;

	(void)state;
	begin(&pair, 100, 0, silent_first);
	fg_client_close(pair.client);
	assert_int_equal(fg_client_open(&pair.client, pair.responder.address, &options, NULL), 0);
	assert_int_equal(ask(&pair), -ETIMEDOUT);
	expect_answer(&pair, 1, 2);
	end(&pair);
}

/* Reads what is sent, slowly. */
static void *read_all(void *argument)
{
	int fd = *(int *)argument;
	static unsigned char bytes[FG_STREAM_PREFIX_BYTES + FG_WIRE_MAX_DATAGRAM];
	size_t here = 0;
	ssize_t got;

	while (here < sizeof(bytes) && (got = recv(fd, bytes + here, 7001, 0)) > 0) {
		here += (size_t)got;
		sleep_ms(1);
	}
	return here == sizeof(bytes) ? bytes : NULL;
}

static void requests_go_out_in_pieces(void **state)
{
	static unsigned char message[FG_WIRE_MAX_DATAGRAM];
	static struct fg_client_stream stream;
	uint32_t length = sizeof(message);
	int fds[2], bytes = 8192;
	pthread_t reader;
	void *read;

	(void)state;
	for (uint32_t i = 0; i < length; i++)
		message[i] = (unsigned char)(i * 2654435761u >> 24);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	stream.fd = fds[0];
	assert_int_equal(pthread_create(&reader, NULL, read_all, &fds[1]), 0);
	assert_int_equal(fg_client_stream_send(&stream, message, length,
					       fg_client_now_ns() + 5000000000ull),
			 0);
	pthread_join(reader, &read);
	assert_non_null(read);
	assert_memory_equal(read, &length, sizeof(length));
	assert_memory_equal((unsigned char *)read + sizeof(length), message, length);
	assert_int_equal(fg_client_stream_send(&stream, message, length,
					       fg_client_now_ns() + 50000000),
			 -ETIMEDOUT); /* nobody reads */
	close(fds[1]);
	assert_int_equal(fg_client_stream_send(&stream, message, length,
					       fg_client_now_ns() + 50000000),
			 -ECONNRESET);
	fg_client_stream_close(&stream);
}

static void bad_addresses(void **state)
{
	static const char *const texts[] = {
		"tcp://",	   "tcp://host",	"tcp://:9000",
		"http://[::1]:90", "tcp:10.0.0.1:9000", "tcp://::1:9000"};
	struct fg_client_error error;
	struct fg_client *client;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		error.text[0] = 0;
		assert_int_equal(fg_client_open(&client, texts[i], NULL, &error), -EINVAL);
		assert_non_null(strstr(error.text, "tcp://HOST:PORT"));
	}
	assert_int_equal(fg_client_open(&client, "tcp://[::1]:9", NULL, &error), 0);
	fg_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_for_all_requests),
		cmocka_unit_test(replies_come_in_pieces),
		cmocka_unit_test(a_connection_that_leaves_is_left),
		cmocka_unit_test(a_lost_connection_is_worth_one_more_try),
		cmocka_unit_test(a_connection_that_ended_meanwhile_is_no_error),
		cmocka_unit_test(a_service_that_always_ends_is_an_error),
		cmocka_unit_test(nonsense_ends_the_connection),
		cmocka_unit_test(slow_is_not_silent),
		cmocka_unit_test(a_silent_connection_is_not_asked_again),
		cmocka_unit_test(a_late_reply_reaches_nobody),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(connecting_times_out),
		cmocka_unit_test(overload_waits_on_the_same_connection),
		cmocka_unit_test(refusals_are_final),
		cmocka_unit_test(long_messages_need_no_padding),
		cmocka_unit_test(labels_stand_where_versions_do),
		cmocka_unit_test(spinning_gives_the_same_answers),
		cmocka_unit_test(requests_go_out_in_pieces),
		cmocka_unit_test(bad_addresses),
	};

	return cmocka_run_group_tests_name("client_tcp", tests, NULL, NULL);
}
