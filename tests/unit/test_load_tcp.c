/* tools/cli_load over TCP: connections that leave, end, break, lie and stall, and what is counted.
 */
#include <math.h>
#include <time.h>

#include "tests/unit/load_case.h"
#include "tests/unit/stream_responder.h"

/* The generator asks once before it begins, on connection 0; its own connections follow. */
#define FIRST 1

/* 600 requests in 150 ms, on 10 connections; the address is still to come. */
static struct fg_load_config quick_config(void)
{
	struct fg_load_config config = config_for(NULL);

	config.rate = 4000;
	config.duration_ns = 150 * MS;
	return config;
}

/* Runs the load on a service of `handle`, with the settings of `config` but the address. */
static json_t *load(struct stream_responder *responder, struct fg_load_config config,
		    void (*handle)(struct stream_responder *, const struct stream_asked *))
{
	json_t *report;

	stream_start(responder, handle);
	config.address = responder->address;
	report = report_of(&config);
	stream_stop(responder);
	return report;
}

static void expect_connections(const json_t *report, int leaving, int ends, int resets,
			       int reconnects, int retried)
{
	assert_int_equal(at(report, "leaving"), leaving);
	assert_int_equal(at(report, "ends"), ends);
	assert_int_equal(at(report, "resets"), resets);
	assert_int_equal(at(report, "reconnects"), reconnects);
	assert_int_equal(at(report, "retried"), retried);
}

static void all_is_well(void **state)
{
	struct stream_responder responder;
	json_t *report;

	(void)state;
	report = load(&responder, quick_config(), stream_compute);
	expect_counts(report, 600, 0, 0, 0);
	expect_connections(report, 0, 0, 0, 0, 0);
	assert_int_equal(at(report, "checked_outputs"), 600);
	assert_int_equal(at(report, "versions.1.flows_only"), 10);
	assert_int_equal(at(report, "flows.total"), 10);
	assert_int_equal(at(report, "socket_errors"), 0);
	assert_int_equal(at(report, "strays"), 0);
	assert_true(at(report, "rate_sent") > 1000 && at(report, "rate_sent") < 4200);
	assert_int_equal(atomic_load(&responder.accepted), 11);
	assert_int_equal(atomic_load(&responder.received), 601);
	json_decref(report);
}

/* As a gateway should: from request 300 on, old connections say that they leave, and go on for as
 * long as they are asked; new ones get the new version. */
static void moves_on_at_300(struct stream_responder *responder, const struct stream_asked *asked)
{
	bool is_old = asked->accepted < 10 + FIRST;

	responder->version = responder->generation = is_old ? 1 : 2;
	responder->flags = is_old && asked->number > 300 ? FG_WIRE_LEAVING : 0;
	stream_compute(responder, asked);
}

static void connections_that_leave_are_left_without_loss(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	for (int sleeps = 0; sleeps < 2; sleeps++) {
		config.sleep = sleeps;
		report = load(&responder, config, moves_on_at_300);
		expect_counts(report, 600, 0, 0, 0);
		expect_connections(report, 10, 0, 0, 10, 0);
		assert_int_equal(at(report, "flows.total"), 20);
		assert_int_equal(at(report, "flows.began_on.2"), 10);
		assert_int_equal(at(report, "versions.1.flows_only"), 10);
		assert_int_equal(at(report, "versions.2.flows_only"), 10);
		assert_true(at(report, "versions.1.replies") >= 310);
		assert_int_equal(json_array_size(json_object_get(report, "flips")), 1);
		assert_int_equal(atomic_load(&responder.accepted), 21);
		json_decref(report);
	}
}

static void flips_in_place(struct stream_responder *responder, const struct stream_asked *asked)
{
	responder->version = responder->generation = asked->number <= 300 ? 1 : 2;
	stream_compute(responder, asked);
}

static void connections_that_see_two_versions_are_counted(void **state)
{
	struct stream_responder responder;
	json_t *report;

	(void)state;
	report = load(&responder, quick_config(), flips_in_place);
	expect_counts(report, 600, 0, 10, 0);
	json_decref(report);
}

/* Six requests of six flows are unlucky, but only when they come for the first time. */
static bool is_unlucky(const struct stream_asked *asked)
{
	static bool had[6];
	uint64_t i = asked->header.request_id & ((1ull << 40) - 1), which = i / 101;

	if (asked->number == 0)
		memset(had, 0, sizeof(had));
	if (asked->number == 0 || i % 101 != 50 || had[which])
		return false;
	return had[which] = true;
}

static void ends_some(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (is_unlucky(asked))
		stream_end(asked->connection);
	else
		stream_compute(responder, asked);
}

static void resets_some(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (is_unlucky(asked))
		stream_reset(asked->connection);
	else
		stream_compute(responder, asked);
}

static void garbles_some(struct stream_responder *responder, const struct stream_asked *asked)
{
	const uint32_t length = asked->number % 2 ? 63 : UINT32_MAX;

	if (is_unlucky(asked))
		stream_write(asked->connection, &length, sizeof(length));
	else
		stream_compute(responder, asked);
}

/* Six connections were made again. Where requests came in a heap, because somebody was not running,
 * an end turns into a reset, and more than one request was on the connection. */
static void expect_broken(const json_t *report, int ends, int resets)
{
	assert_int_equal(at(report, "leaving"), 0);
	assert_int_equal(at(report, "reconnects"), 6);
	assert_int_equal(at(report, "ends") + at(report, "resets"), ends + resets);
	assert_true(at(report, "resets") >= resets);
	assert_true(at(report, "retried") >= 6 && at(report, "retried") < 100);
}

static void lost_connections_are_made_again(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	report = load(&responder, config, ends_some);
	expect_counts(report, 600, 0, 0, 0);
	expect_broken(report, 6, 0);
	assert_int_equal(at(report, "flows.total"), 16);
	assert_int_equal(at(report, "socket_errors"), 0);
	assert_true(atomic_load(&responder.received) <= 601 + at(report, "retried"));
	json_decref(report);

	report = load(&responder, config, resets_some);
	expect_counts(report, 600, 0, 0, 0);
	expect_broken(report, 0, 6);
	json_decref(report);

	report = load(&responder, config, garbles_some);
	expect_counts(report, 600, 0, 0, 0);
	expect_broken(report, 0, 0);
	assert_int_equal(at(report, "socket_errors"), 6);
	assert_string_equal(json_string_value(json_object_get(report, "last_socket_error")),
			    strerror(EPROTO));
	json_decref(report);
}

static void ends_one(struct stream_responder *responder, const struct stream_asked *asked)
{
	stream_compute(responder, asked);
	if (asked->number == 300)
		stream_end(asked->connection);
}

static void a_connection_that_ends_after_an_answer_is_made_again(void **state)
{
	struct stream_responder responder;
	json_t *report;

	(void)state;
	report = load(&responder, quick_config(), ends_one);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(at(report, "ends") + at(report, "resets"), 1);
	assert_int_equal(at(report, "reconnects"), 1);
	json_decref(report);
}

static void ends_all(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->number == 0)
		stream_compute(responder, asked);
	else
		stream_end(asked->connection);
}

static void nothing_is_asked_a_third_time(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	config.duration_ns = 25 * MS;
	config.timeout_ns = 100 * MS;
	report = load(&responder, config, ends_all);
	expect_counts(report, 100, 100, 0, 0);
	assert_true(at(report, "retried") > 0 && at(report, "retried") <= 100);
	assert_true(at(report, "ends") + at(report, "resets") >= 10);
	assert_true(atomic_load(&responder.received) <= 201);
	json_decref(report);
}

/* The service goes away after request 50. */
static void stops_listening(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->number == 50)
		shutdown(responder->fd, SHUT_RDWR);
	if (asked->number >= 50)
		stream_end(asked->connection);
	else
		stream_compute(responder, asked);
}

static void nobody_there_any_more(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	config.duration_ns = 25 * MS;
	config.timeout_ns = 100 * MS;
	report = load(&responder, config, stops_listening);
	assert_int_equal(at(report, "requests"), 100);
	assert_int_equal(at(report, "replies"), 49);
	assert_int_equal(at(report, "lost"), 51);
	assert_int_equal(at(report, "not_sent"), 0);
	assert_true(at(report, "socket_errors") > 0);
	assert_string_equal(json_string_value(json_object_get(report, "last_socket_error")),
			    strerror(ECONNREFUSED));
	json_decref(report);
}

/* Says nothing on the connection of request 100, from then on. */
static void falls_silent(struct stream_responder *responder, const struct stream_asked *asked)
{
	static uint32_t silent;

	if (asked->number == 0)
		silent = UINT32_MAX;
	if (asked->number == 100)
		silent = asked->accepted;
	if (asked->accepted != silent)
		stream_compute(responder, asked);
}

static void a_silent_connection_is_given_up(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;
	double lost;

	(void)state;
	config.timeout_ns = 100 * MS;
	report = load(&responder, config, falls_silent);
	/* What was asked before it was given up is lost, but not what was asked last. */
	lost = at(report, "lost");
	assert_true(lost < 300);
	assert_true(at(report, "retried") >= 1);
	expect_counts(report, 600, (int)lost, 0, 0);
	assert_true(at(report, "reconnects") >= 1);
	assert_string_equal(json_string_value(json_object_get(report, "last_socket_error")),
			    strerror(ETIMEDOUT));
	json_decref(report);
}

static void flows_begin_and_end(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;
	double total;

	(void)state;
	config.flow_requests = 8;
	report = load(&responder, config, stream_compute);
	expect_counts(report, 600, 0, 0, 0);
	expect_connections(report, 0, 0, 0, 0, 0);
	total = at(report, "flows.total");
	assert_true(total >= 75 && total <= 85); /* 600 / 8, and those cut by begin and end */
	assert_int_equal(atomic_load(&responder.accepted), total + FIRST);
	json_decref(report);
}

static void in_pieces(struct stream_responder *responder, const struct stream_asked *asked)
{
	const float sums[2] = {0, 1};
	unsigned char bytes[256];
	size_t count = stream_reply(responder, asked, FG_STATUS_OK, 2, sums, 8, bytes);
	size_t cut = asked->number % count;

	stream_write(asked->connection, bytes, cut);
	stream_write(asked->connection, bytes + cut, count - cut);
}

static void replies_come_in_pieces(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	config.expect_count = 0;
	report = load(&responder, config, in_pieces);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(at(report, "strays"), 0);
	json_decref(report);
}

static void stalls(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->number == 20)
		nanosleep(&(struct timespec){.tv_nsec = 60 * (long)MS}, NULL);
	stream_compute(responder, asked);
}

#define BIG_ROWS 5000

static void stalls_and_leaves(struct stream_responder *responder, const struct stream_asked *asked)
{
	responder->flags = asked->number >= 20 && asked->accepted == FIRST ? FG_WIRE_LEAVING : 0;
	stalls(responder, asked);
}

/* 60 KB a request, 2,000 a second on one connection: 7.2 MB are due while nobody reads. */
static void what_the_kernel_does_not_take_waits(void **state)
{
	static float many[BIG_ROWS * COLS];
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	config.input.rows = config.rows_per_request = BIG_ROWS;
	config.input.data = many;
	config.expect_count = 0;
	config.flows = 1;
	config.rate = 2000;
	config.timeout_ns = 5000 * MS;
	report = load(&responder, config, stalls);
	expect_counts(report, 300, 0, 0, 0);
	assert_true(at(report, "rtt_us.max") >= 60000);
	json_decref(report);
	/* What waits when the connection leaves goes by the next one. */
	report = load(&responder, config, stalls_and_leaves);
	expect_counts(report, 300, 0, 0, 0);
	expect_connections(report, 1, 0, 0, 1, 0);
	assert_int_equal(at(report, "flows.total"), 2);
	json_decref(report);
}

static void strays_and_duplicates(struct stream_responder *responder,
				  const struct stream_asked *asked)
{
	struct stream_asked other = *asked;

	stream_compute(responder, asked);
	if (asked->number % 10 == 1)
		stream_compute(responder, asked);
	if (asked->number % 10 == 2) {
		other.header.request_id ^= 1ull << 50; /* of another run */
		stream_compute(responder, &other);
	}
}

static void duplicates_and_strays_change_nothing_else(void **state)
{
	struct stream_responder responder;
	json_t *report;

	(void)state;
	report = load(&responder, quick_config(), strays_and_duplicates);
	expect_counts(report, 600, 0, 0, 0);
	expect_connections(report, 0, 0, 0, 0, 0);
	/* What follows the last answer may no longer be read. */
	assert_true(at(report, "duplicates") >= 59 && at(report, "duplicates") <= 60);
	assert_true(at(report, "strays") >= 59 && at(report, "strays") <= 60);
	json_decref(report);
}

static uint64_t keys_seen[600];

static void notes_keys(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->number > 0 && asked->number <= 600)
		keys_seen[asked->number - 1] =
			(asked->header.affinity - (1ull << 60)) << 32 | asked->accepted;
	stream_compute(responder, asked);
}

/* Half of an answer, and the end. */
static void cuts_one(struct stream_responder *responder, const struct stream_asked *asked)
{
	unsigned char bytes[256];

	if (asked->number != 300) {
		stream_compute(responder, asked);
		return;
	}
	stream_reply(responder, asked, FG_STATUS_OK, 2, input, 8, bytes);
	stream_write(asked->connection, bytes, 50);
	stream_end(asked->connection);
}

static void affinity_keys_over_few_connections(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	config.sockets = 2;
	config.first_key = 1ull << 60;
	report = load(&responder, config, notes_keys);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(at(report, "flows.total"), 2);
	for (int i = 0; i < 600; i++) {
		uint64_t key = keys_seen[i] >> 32, accepted = keys_seen[i] & UINT32_MAX;

		assert_true(key < 10);
		assert_int_equal(accepted, key < 5 ? FIRST : FIRST + 1);
	}
	json_decref(report);
	report = load(&responder, config, cuts_one);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(at(report, "ends") + at(report, "resets"), 1);
	assert_int_equal(at(report, "reconnects"), 1);
	assert_true(at(report, "retried") >= 1);
	json_decref(report);
}

static void wants_label(struct stream_responder *responder, const struct stream_asked *asked)
{
	if (asked->header.flags == FG_WIRE_LABEL &&
	    asked->header.model_version == fg_wire_label("canary"))
		stream_compute(responder, asked);
	else
		stream_answer(responder, asked, FG_STATUS_UNKNOWN_VERSION, 0, "", 0);
}

static void labels_are_asked_for(void **state)
{
	struct fg_load_config config = quick_config();
	struct stream_responder responder;
	json_t *report;

	(void)state;
	config.label = "canary";
	config.duration_ns = 10 * MS;
	report = load(&responder, config, wants_label);
	expect_counts(report, 40, 0, 0, 0);
	assert_int_equal(json_object_size(json_object_get(report, "errors")), 0);
	json_decref(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well),
		cmocka_unit_test(connections_that_leave_are_left_without_loss),
		cmocka_unit_test(connections_that_see_two_versions_are_counted),
		cmocka_unit_test(lost_connections_are_made_again),
		cmocka_unit_test(a_connection_that_ends_after_an_answer_is_made_again),
		cmocka_unit_test(nothing_is_asked_a_third_time),
		cmocka_unit_test(nobody_there_any_more),
		cmocka_unit_test(a_silent_connection_is_given_up),
		cmocka_unit_test(flows_begin_and_end),
		cmocka_unit_test(replies_come_in_pieces),
		cmocka_unit_test(what_the_kernel_does_not_take_waits),
		cmocka_unit_test(duplicates_and_strays_change_nothing_else),
		cmocka_unit_test(affinity_keys_over_few_connections),
		cmocka_unit_test(labels_are_asked_for),
	};

	return cmocka_run_group_tests_name("load_tcp", tests, fill, NULL);
}
