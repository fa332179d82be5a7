/* tools/flipgate.h: time-outs, retries, late replies and padding, against a service on loopback. */
#include <errno.h>
#include <time.h>

#include "tests/unit/responder.h"
#include "tools/flipgate.h"

static const float rows[4] = {1, 2, 3, 4};

static struct fg_client_request request_of(uint32_t row_count)
{
	return (struct fg_client_request){
		.model = "sums",
		.affinity = 77,
		.dtype = FG_CLIENT_F32,
		.rows = row_count,
		.cols = 2,
		.data = rows,
	};
}

static struct fg_client *open_client(const char *address, uint32_t timeout_ms, uint32_t retries)
{
	struct fg_client_options options = {.timeout_ms = timeout_ms, .retries = retries};
	struct fg_client_error error;
	struct fg_client *client;

	if (fg_client_open(&client, address, &options, &error))
		fail_msg("%s", error.text);
	return client;
}

static double ms_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void answers(void **state)
{
	struct fg_client_request request = request_of(2);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[4] = {0};

	(void)state;
	responder_start(&responder, responder_compute);
	responder.version = 9;
	responder.generation = 3;
	client = open_client(responder.address, 2000, 0);
	assert_int_equal(fg_client_infer(client, &request, out, 4, &reply, &error), 0);
	assert_true(out[0] == 3 && out[1] == 9 && out[2] == 7 && out[3] == 9);
	assert_int_equal(reply.status, FG_CLIENT_OK);
	assert_int_equal(reply.version, 9);
	assert_int_equal(reply.generation, 3);
	assert_int_equal(reply.rows, 2);
	assert_int_equal(reply.cols, 2);
	assert_int_equal(reply.queued_ns, 1500);
	assert_int_equal(reply.compute_ns, 2500);
	assert_int_equal(reply.attempts, 1);
	assert_int_equal(reply.ignored, 0);
	assert_true(reply.round_trip_ns > 0 && reply.round_trip_ns < 2000000000);
	assert_int_equal(fg_client_infer(client, &request, out, 4, NULL, NULL), 0);
	fg_client_close(client);
	responder_stop(&responder);
}

static void silent(struct responder *responder, const struct asked *asked)
{
	(void)responder;
	(void)asked;
}

static void silence_times_out_after_all_retries(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];
	double began = ms_now(), took;

	(void)state;
	responder_start(&responder, silent);
	client = open_client(responder.address, 140, 2);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), -ETIMEDOUT);
	took = ms_now() - began;
	assert_true(took >= 140 && took < 1000);
	assert_int_equal(reply.attempts, 3);
	assert_non_null(strstr(error.text, "no answer from 127.0.0.1:"));
	fg_client_close(client);
	responder_stop(&responder);
	assert_int_equal(atomic_load(&responder.received), 3);
}

static void third_time_lucky(struct responder *responder, const struct asked *asked)
{
	if (asked->number >= 2)
		responder_compute(responder, asked);
}

static void retries_get_through_loss(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, third_time_lucky);
	client = open_client(responder.address, 700, 2);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), 0);
	assert_int_equal(reply.attempts, 3);
	assert_true(out[0] == 3);
	/* It answers the third datagram, sent 300 ms after the first: not counted from there. */
	assert_true(reply.round_trip_ns < 290000000);
	fg_client_close(client);
	responder_stop(&responder);
}

/* Answers a call's first request only when the second call asks, with another version. */
static void one_call_late(struct responder *responder, const struct asked *asked)
{
	static struct asked first;

	if (asked->number == 0) {
		first = *asked;
		return;
	}
	responder->version = 1;
	responder_compute(responder, &first);
	responder->version = 2;
	responder_compute(responder, asked);
}

static void a_reply_to_an_earlier_call_is_ignored(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, one_call_late);
	client = open_client(responder.address, 300, 0);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), -ETIMEDOUT);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), 0);
	assert_int_equal(reply.version, 2);
	assert_int_equal(reply.ignored, 1);
	assert_true(out[1] == 2);
	fg_client_close(client);
	responder_stop(&responder);
}

/* Answers a call's first datagram only after it was sent again. */
static void one_try_late(struct responder *responder, const struct asked *asked)
{
	static struct asked first;

	if (asked->number == 0)
		first = *asked;
	else if (asked->number == 1)
		responder_compute(responder, &first);
}

static void a_late_reply_to_this_call_counts(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, one_try_late);
	client = open_client(responder.address, 600, 1);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), 0);
	assert_int_equal(reply.attempts, 2);
	/* Measured from the first datagram, which waited 200 ms for its answer. */
	assert_true(reply.round_trip_ns > 190000000);
	fg_client_close(client);
	responder_stop(&responder);
}

static void garbage_first(struct responder *responder, const struct asked *asked)
{
	struct asked other = *asked;

	sendto(responder->fd, "hello", 5, 0, (const struct sockaddr *)&asked->from,
	       sizeof(asked->from));
	other.header.request_id ^= 1ull << 40;
	responder_compute(responder, &other);
	other.header.request_id = asked->header.request_id + 1; /* a datagram never sent */
	responder_compute(responder, &other);
	responder_answer(responder, asked, FG_STATUS_OK, 3, rows, 8); /* lengths disagree */
	responder_compute(responder, asked);
}

static void strays_are_ignored(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, garbage_first);
	client = open_client(responder.address, 2000, 0);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), 0);
	assert_int_equal(reply.ignored, 4);
	assert_true(out[0] == 3);
	fg_client_close(client);
	responder_stop(&responder);
}

static void refuse(struct responder *responder, const struct asked *asked)
{
	responder_answer(responder, asked, FG_STATUS_UNKNOWN_MODEL, 0, "no such thing", 13);
}

static void a_refusal_is_an_error_with_the_servers_words(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, refuse);
	client = open_client(responder.address, 2000, 3);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), -EREMOTEIO);
	assert_int_equal(reply.status, FG_CLIENT_UNKNOWN_MODEL);
	assert_int_equal(reply.attempts, 1);
	assert_int_equal(reply.rows, 0);
	assert_non_null(strstr(error.text, "unknown_model"));
	assert_non_null(strstr(error.text, "no such thing"));
	fg_client_close(client);
	responder_stop(&responder);
}

static void overloaded_twice(struct responder *responder, const struct asked *asked)
{
	if (asked->number < 2)
		responder_answer(responder, asked, FG_STATUS_OVERLOADED, 0, "", 0);
	else
		responder_compute(responder, asked);
}

static void overload_backs_off_and_asks_again(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];
	double began = ms_now();

	(void)state;
	responder_start(&responder, overloaded_twice);
	client = open_client(responder.address, 280, 2);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), 0);
	assert_true(ms_now() - began >= 119); /* 40 + 80 ms */
	assert_int_equal(reply.attempts, 3);
	fg_client_close(client);
	responder_stop(&responder);

	responder_start(&responder, overloaded_twice);
	client = open_client(responder.address, 280, 1);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), -EREMOTEIO);
	assert_int_equal(reply.status, FG_CLIENT_OVERLOADED);
	fg_client_close(client);
	responder_stop(&responder);
}

/* A model of 100 output columns per row, which keeps the rule for the length of replies. */
static void wide(struct responder *responder, const struct asked *asked)
{
	float out[400];
	uint32_t bytes = asked->header.rows * 400;

	for (int i = 0; i < 400; i++)
		out[i] = (float)i;
	if (FG_WIRE_HEADER_BYTES + bytes > asked->length + FG_WIRE_AMPLIFICATION)
		responder_answer(responder, asked, FG_STATUS_REPLY_TOO_LONG, 0, "pad", 3);
	else
		responder_answer(responder, asked, FG_STATUS_OK, 100, out, bytes);
}

static void pads_when_told_to_and_then_by_itself(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[300];

	(void)state;
	responder_start(&responder, wide);
	client = open_client(responder.address, 2000, 1);
	assert_int_equal(fg_client_infer(client, &request, out, 99, &reply, &error), -ENOBUFS);
	assert_non_null(strstr(error.text, "more than the 99 floats"));
	assert_int_equal(fg_client_infer(client, &request, out, 100, &reply, &error), 0);
	assert_int_equal(reply.attempts, 2);
	assert_true(out[99] == 99);
	request = request_of(2);
	assert_int_equal(fg_client_infer(client, &request, out, 300, &reply, &error), 0);
	assert_int_equal(reply.attempts, 1);
	assert_int_equal(reply.cols, 100);
	assert_true(out[199] == 199);
	assert_int_equal(fg_client_infer(client, &request, out, 199, &reply, &error), -ENOBUFS);
	assert_int_equal(reply.rows, 2);
	assert_int_equal(reply.cols, 100);
	fg_client_close(client);
	responder_stop(&responder);
}

static void inputs_and_outputs_are_told(void **state)
{
	static const struct fg_client_request request = {.model = "digits"};
	struct fg_client_port ports[3];
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	size_t count = 9;

	(void)state;
	responder_start(&responder, wide);
	client = open_client(responder.address, 2000, 1);
	assert_int_equal(fg_client_describe(client, &request, ports, 3, &count, &reply, &error),
			 -EREMOTEIO);
	responder.description = "input\t0\t64\tf32\tpixel values\n"
				"output\t0\t1\tinteger\tlabel\tof a later server\n";
	assert_int_equal(fg_client_describe(client, &request, ports, 3, &count, &reply, &error), 0);
	assert_int_equal(count, 2);
	assert_int_equal(reply.version, 1);
	assert_string_equal(ports[0].name, "pixel values");
	assert_int_equal(ports[0].cols, 64);
	assert_false(ports[0].is_output || ports[0].is_integer);
	assert_string_equal(ports[1].name, "label");
	assert_true(ports[1].is_output && ports[1].is_integer);
	assert_int_equal(fg_client_describe(client, &request, ports, 1, &count, &reply, &error),
			 -ENOBUFS);
	assert_int_equal(count, 2);
	responder.description = "output\t0\t1\n";
	assert_int_equal(fg_client_describe(client, &request, ports, 3, &count, &reply, &error),
			 -EPROTO);
	responder.description = "output\t0\t1\tf32\ty";
	assert_int_equal(fg_client_describe(client, &request, ports, 3, &count, &reply, &error),
			 -EPROTO);
	fg_client_close(client);
	responder_stop(&responder);
}

static void long_then_overloaded(struct responder *responder, const struct asked *asked)
{
	responder_answer(responder, asked,
			 asked->number % 2 ? FG_STATUS_OVERLOADED : FG_STATUS_REPLY_TOO_LONG, 0, "",
			 0);
}

static void overloaded_once_padded(struct responder *responder, const struct asked *asked)
{
	bool padded = asked->length > 400;

	responder_answer(responder, asked, padded ? FG_STATUS_OVERLOADED : FG_STATUS_REPLY_TOO_LONG,
			 0, "", 0);
}

/* However the answers alternate, padding costs one sending more. */
static void pads_once_in_a_call(void **state)
{
	static float all[FG_WIRE_MAX_DATAGRAM / sizeof(float)];
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;

	(void)state;
	responder_start(&responder, long_then_overloaded);
	client = open_client(responder.address, 2000, FG_CLIENT_MAX_RETRIES);
	assert_int_equal(fg_client_infer(client, &request, all, 9, &reply, &error), -ENOBUFS);
	/* Three, and more where an answer took longer than the first waits, of a millisecond. */
	assert_in_range(reply.attempts, 3, FG_CLIENT_MAX_RETRIES + 2);
	assert_non_null(strstr(error.text, "more than the 9 floats"));
	fg_client_close(client);
	responder_stop(&responder);

	responder_start(&responder, long_then_overloaded);
	client = open_client(responder.address, 2000, FG_CLIENT_MAX_RETRIES);
	assert_int_equal(fg_client_infer(client, &request, all, sizeof(all) / sizeof(all[0]),
					 &reply, &error),
			 -EMSGSIZE);
	fg_client_close(client);
	responder_stop(&responder);

	responder_start(&responder, overloaded_once_padded);
	client = open_client(responder.address, 500, FG_CLIENT_MAX_RETRIES);
	assert_int_equal(fg_client_infer(client, &request, all, 200, &reply, &error), -EREMOTEIO);
	assert_int_equal(reply.attempts, FG_CLIENT_MAX_RETRIES + 2);
	assert_int_equal(reply.status, FG_CLIENT_OVERLOADED);
	fg_client_close(client);
	responder_stop(&responder);
}

/* Those of libflipgate.so.1: when one grows, so must the number (Makefile, SONAME). */
static void structs_are_those_of_the_soname(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct fg_client_error), 256);
	assert_int_equal(sizeof(struct fg_client_options), 12);
	assert_int_equal(sizeof(struct fg_client_request), 64);
	assert_int_equal(sizeof(struct fg_client_reply), 48);
}

static void nobody_there(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, silent);
	responder_stop(&responder); /* its port is free now */
	client = open_client(responder.address, 200, 1);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, &error), -ECONNREFUSED);
	assert_int_equal(reply.attempts, 2);
	assert_non_null(strstr(error.text, responder.address));
	fg_client_close(client);
}

static void spinning_gives_the_same_answers(void **state)
{
	struct fg_client_options options = {.timeout_ms = 100, .spin = 1};
	struct fg_client_request request = request_of(1);
	struct fg_client_reply reply;
	struct responder responder;
	struct fg_client *client;
	float out[2];

	(void)state;
	responder_start(&responder, responder_compute);
	assert_int_equal(fg_client_open(&client, responder.address, &options, NULL), 0);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, NULL), 0);
	assert_true(out[0] == 3);
	fg_client_close(client);
	responder_stop(&responder);

	responder_start(&responder, silent);
	assert_int_equal(fg_client_open(&client, responder.address, &options, NULL), 0);
	assert_int_equal(fg_client_infer(client, &request, out, 2, &reply, NULL), -ETIMEDOUT);
	fg_client_close(client);
	responder_stop(&responder);
}

static void bad_requests_are_not_sent(void **state)
{
	struct fg_client_request request = request_of(1);
	struct fg_client_error error;
	struct responder responder;
	struct fg_client *client;
	static float big[20000];
	float out[2];

	(void)state;
	responder_start(&responder, responder_compute);
	client = open_client(responder.address, 1000, 0);
	request.rows = 0;
	assert_int_equal(fg_client_infer(client, &request, out, 2, NULL, &error), -EINVAL);
	request = request_of(1);
	request.dtype = 7;
	assert_int_equal(fg_client_infer(client, &request, out, 2, NULL, &error), -EINVAL);
	request = request_of(1);
	request.model = NULL;
	assert_int_equal(fg_client_infer(client, &request, out, 2, NULL, &error), -EINVAL);
	request = request_of(1);
	request.data = big;
	request.cols = 20000;
	assert_int_equal(fg_client_infer(client, &request, out, 2, NULL, &error), -EMSGSIZE);
	assert_non_null(strstr(error.text, "send fewer rows"));
	fg_client_close(client);
	responder_stop(&responder);
	assert_int_equal(atomic_load(&responder.received), 0);
}

static void bad_addresses(void **state)
{
	static const char *const texts[] = {
		"",
		"host",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"::1:9000",
		"[::1]",
		"[::1:9000",
		":9000",
		"10.0.0.1:9x",
		"10.0.0.1:-1",
		"[]:9000",
		"10.0.0.1: 90",
	};
	struct fg_client_options options = {.retries = 11};
	struct fg_client_error error;
	struct fg_client *client;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		error.text[0] = 0;
		assert_int_equal(fg_client_open(&client, texts[i], NULL, &error), -EINVAL);
		assert_non_null(strstr(error.text, "want HOST:PORT"));
	}
	assert_int_equal(fg_client_open(&client, "127.0.0.1:9", &options, &error), -EINVAL);
	assert_int_equal(fg_client_open(&client, "[::1]:9", NULL, &error), 0);
	fg_client_close(client);
	fg_client_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(silence_times_out_after_all_retries),
		cmocka_unit_test(retries_get_through_loss),
		cmocka_unit_test(a_reply_to_an_earlier_call_is_ignored),
		cmocka_unit_test(a_late_reply_to_this_call_counts),
		cmocka_unit_test(strays_are_ignored),
		cmocka_unit_test(a_refusal_is_an_error_with_the_servers_words),
		cmocka_unit_test(overload_backs_off_and_asks_again),
		cmocka_unit_test(pads_when_told_to_and_then_by_itself),
		cmocka_unit_test(inputs_and_outputs_are_told),
		cmocka_unit_test(pads_once_in_a_call),
		cmocka_unit_test(structs_are_those_of_the_soname),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(spinning_gives_the_same_answers),
		cmocka_unit_test(bad_requests_are_not_sent),
		cmocka_unit_test(bad_addresses),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
