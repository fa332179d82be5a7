/* tools/cli_load: does it count what happened? Against a service that misbehaves on purpose. */
#include <errno.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/unit/load_case.h"
#include "tests/unit/responder.h"

static void all_is_well(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, responder_compute);
	config = config_for(responder.address);
	config.labels =
		(struct fg_matrix){.rows = ROWS, .cols = 1, .dtype = FG_DTYPE_F64, .data = labels};
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(at(report, "checked_outputs"), 600);
	assert_true(at(report, "max_abs_error") == 0);
	assert_int_equal(at(report, "versions.1.replies"), 600);
	assert_int_equal(at(report, "versions.1.flows_only"), 10);
	assert_true(fabs(at(report, "versions.1.accuracy") - 514.0 / 600) < 1e-9);
	assert_int_equal(at(report, "flows.total"), 10);
	assert_int_equal(at(report, "flows.began_on.1"), 10);
	assert_int_equal(at(report, "flows.finished_on.1"), 10);
	assert_int_equal(json_array_size(json_object_get(report, "flips")), 0);
	assert_int_equal(json_object_size(json_object_get(report, "errors")), 0);
	assert_int_equal(at(report, "steady.count"), 600);
	assert_int_equal(at(report, "rtt_phases_us.before.count"), 600);
	assert_int_equal(at(report, "rtt_phases_us.after.count"), 0);
	assert_int_equal(json_array_size(json_object_get(report, "timeline")), 3);
	assert_int_equal(at(report, "timeline.1.count"), 200);
	assert_true(at(report, "rate_sent") > 1000 && at(report, "rate_sent") < 2100);
	assert_true(at(report, "rtt_us.p50") > 0);
	assert_true(at(report, "rtt_us.p50") <= at(report, "rtt_us.p90"));
	assert_true(at(report, "rtt_us.p99") <= at(report, "rtt_us.max"));
	assert_int_equal(atomic_load(&responder.received), 601); /* it asks once before */
	json_decref(report);
}

static void drops_each_tenth(struct responder *responder, const struct asked *asked)
{
	if (asked->number % 10 != 1)
		responder_compute(responder, asked);
}

static void lost_is_counted(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, drops_each_tenth);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 60, 0, 0);
	assert_int_equal(at(report, "late"), 0);
	assert_int_equal(at(report, "rtt_us.count"), 540);
	json_decref(report);
}

static void flips_at_300(struct responder *responder, const struct asked *asked)
{
	if (asked->number == 301) { /* the first was not of the load */
		responder->version = 2;
		responder->generation = 5;
	}
	responder_compute(responder, asked);
}

static void flows_that_see_two_versions_are_counted(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, flips_at_300);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 10, 0);
	assert_int_equal(at(report, "checked_outputs"), 600);
	assert_int_equal(at(report, "versions.1.replies"), 300);
	assert_int_equal(at(report, "versions.2.replies"), 300);
	assert_int_equal(at(report, "versions.1.flows_only"), 0);
	assert_int_equal(at(report, "flows.began_on.1"), 10);
	assert_int_equal(at(report, "flows.finished_on.2"), 10);
	json_decref(report);
}

static void a_flip_is_seen_where_it_was(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, flips_at_300);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	assert_int_equal(json_array_size(json_object_get(report, "flips")), 1);
	assert_true(at(report, "flips.0.at_s") == 0.15); /* request 300 at 2000/s */
	assert_int_equal(at(report, "flips.0.to_version"), 2);
	assert_int_equal(at(report, "flips.0.to_generation"), 5);
	assert_int_equal(at(report, "flips.0.around.count"), 41); /* 10 ms before and behind */
	assert_int_equal(at(report, "steady.count"), 559);
	assert_int_equal(at(report, "rtt_phases_us.before.count"), 280);
	assert_int_equal(at(report, "rtt_phases_us.during.count"), 41);
	assert_int_equal(at(report, "rtt_phases_us.after.count"), 279);
	assert_int_equal(at(report, "versions.1.first_ns"), 0);
	assert_int_equal(at(report, "versions.2.first_ns"), 150 * MS);
	json_decref(report);
}

/* As a gateway should: a source that is new after request 300 gets the new version, and keeps it.
 */
static void flips_for_new_flows(struct responder *responder, const struct asked *asked)
{
	static uint16_t old_ports[1024];
	static unsigned old_count;
	bool is_old = false;

	if (asked->number == 0)
		old_count = 0;
	for (unsigned i = 0; i < old_count; i++)
		is_old |= old_ports[i] == asked->from.sin_port;
	if (asked->number <= 300 && !is_old) {
		old_ports[old_count++] = asked->from.sin_port;
		is_old = true;
	}
	responder->version = responder->generation = is_old ? 1 : 2;
	responder_compute(responder, asked);
}

static void flows_begin_and_end(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;
	double total;

	(void)state;
	responder_start(&responder, flips_for_new_flows);
	config = config_for(responder.address);
	config.flow_requests = 8;
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	total = at(report, "flows.total");
	assert_true(total >= 75 && total <= 85); /* 600 / 8, and those cut by begin and end */
	assert_true(at(report, "flows.began_on.1") + at(report, "flows.began_on.2") == total);
	assert_true(at(report, "flows.began_on.1") > 35 && at(report, "flows.began_on.2") > 35);
	assert_true(at(report, "versions.1.flows_only") == at(report, "flows.began_on.1"));
	/* The last of the old ones lives on for up to 8 turns of 10 flows. */
	assert_true(at(report, "versions.1.last_ns") > at(report, "versions.2.first_ns"));
	json_decref(report);
}

static void flows_partition_the_requests(void **state)
{
	struct fg_load_config config = {.flows = 10, .flow_requests = 8};
	uint32_t counts[200] = {0}, ends[200] = {0}, begins_in_turn[100] = {0};

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t flow = fg_load_flow(&config, i);

		assert_int_equal(flow % 10, i % 10);
		assert_true(flow < 200);
		if (counts[flow]++ == 0 && i >= 10)
			begins_in_turn[i / 10]++;
		else if (counts[flow] > 1)
			assert_int_equal(i - ends[flow], 10); /* every turn, without a gap */
		ends[flow] = i;
	}
	for (uint32_t flow = 10; flow < 110; flow++)
		assert_int_equal(counts[flow], 8);
	for (uint32_t turn = 1; turn < 100; turn++) /* not all at once */
		assert_true(begins_in_turn[turn] >= 1 && begins_in_turn[turn] <= 2);
	config.flow_requests = 0;
	assert_int_equal(fg_load_flow(&config, 999), 9);
}

static void wrong_each_hundredth(struct responder *responder, const struct asked *asked)
{
	static const float wrong[2] = {0.5f, 1}, cut[3] = {0};

	if (asked->number % 100 == 1)
		responder_answer(responder, asked, FG_STATUS_OK, 2, wrong, 8);
	else if (asked->number % 100 == 2)
		responder_answer(responder, asked, FG_STATUS_OK, 3, cut, 12);
	else
		responder_compute(responder, asked);
}

static void wrong_outputs_are_counted(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, wrong_each_hundredth);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 12);
	assert_int_equal(at(report, "checked_outputs"), 600);
	assert_true(json_is_null(json_object_get(report, "max_abs_error")));
	json_decref(report);
}

static void slow_once(struct responder *responder, const struct asked *asked)
{
	struct timespec pause = {.tv_nsec = 150 * (long)MS};

	if (asked->number == 301)
		nanosleep(&pause, NULL);
	responder_compute(responder, asked);
}

static void replies_after_the_timeout_are_late_and_lost(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, slow_once);
	config = config_for(responder.address);
	config.timeout_ns = 100 * MS;
	report = report_of(&config);
	responder_stop(&responder);
	/* Those due in the first 50 ms of the stall wait 150 to 100 ms. */
	assert_true(at(report, "lost") >= 80 && at(report, "lost") < 600);
	assert_int_equal(at(report, "late"), at(report, "lost"));
	json_decref(report);
}

static void a_stall_is_felt_by_all_that_were_due(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, slow_once);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	/* 300 of 600 requests were due in the 150 ms: half of them waited 75 ms and more. */
	assert_true(at(report, "rtt_us.p90") > 80000);
	assert_true(at(report, "rtt_us.max") >= 150000);
	json_decref(report);
}

static void stammers(struct responder *responder, const struct asked *asked)
{
	struct asked other = *asked;

	responder_compute(responder, asked);
	if (asked->number % 10 == 1)
		responder_compute(responder, asked);
	if (asked->number % 10 == 2) {
		other.header.request_id ^= 1ull << 50; /* of another run */
		responder_compute(responder, &other);
		other.header.request_id = asked->header.request_id + 100000; /* never sent */
		responder_compute(responder, &other);
	}
}

static void duplicates_and_strays_change_nothing_else(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, stammers);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	/* What follows the last answer is no longer read. */
	assert_true(at(report, "duplicates") >= 59 && at(report, "duplicates") <= 60);
	assert_true(at(report, "strays") >= 118 && at(report, "strays") <= 120);
	json_decref(report);
}

static void refuses_some(struct responder *responder, const struct asked *asked)
{
	if (asked->number % 4 == 1)
		responder_answer(responder, asked, FG_STATUS_OVERLOADED, 0, "busy", 4);
	else if (asked->number % 4 == 2)
		responder_answer(responder, asked, FG_STATUS_DEADLINE, 0, "", 0);
	else
		responder_compute(responder, asked);
}

static void refusals_are_counted_by_status(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, refuses_some);
	config = config_for(responder.address);
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(at(report, "errors.overloaded"), 150);
	assert_int_equal(at(report, "errors.deadline"), 150);
	assert_int_equal(at(report, "rtt_us.count"), 300);
	assert_int_equal(at(report, "checked_outputs"), 300);
	json_decref(report);
}

static uint64_t keys_seen[700];
static uint16_t ports_seen[700];
static uint32_t keys_count;

static void notes_keys(struct responder *responder, const struct asked *asked)
{
	if (asked->number > 0 && keys_count < 700) {
		ports_seen[keys_count] = asked->from.sin_port;
		keys_seen[keys_count++] = asked->header.affinity;
	}
	responder_compute(responder, asked);
}

static void affinity_keys_over_few_sockets(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	uint16_t ports[2] = {0};
	json_t *report;

	(void)state;
	keys_count = 0;
	responder_start(&responder, notes_keys);
	config = config_for(responder.address);
	config.flow_requests = 30;
	config.sockets = 2;
	config.first_key = 1ull << 60;
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	assert_int_equal(keys_count, 600);
	for (uint32_t i = 0; i < keys_count; i++) {
		uint64_t flow = keys_seen[i] - (1ull << 60);
		uint16_t *port = &ports[flow % 10 >= 5];

		assert_true(flow < 40);
		if (!*port)
			*port = ports_seen[i];
		assert_int_equal(ports_seen[i], *port);
	}
	assert_true(ports[0] != ports[1]);
	json_decref(report);
}

static void several_rows_wrap_round_the_input(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, responder_compute);
	config = config_for(responder.address);
	config.rows_per_request = 5;
	config.duration_ns = 50 * MS;
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 100, 0, 0, 0);
	assert_int_equal(at(report, "checked_outputs"), 500);
	json_decref(report);
}

static void warmup_is_checked_but_not_measured(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, flips_at_300);
	config = config_for(responder.address);
	config.warmup_ns = 100 * MS;
	config.duration_ns = 200 * MS;
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 400, 0, 10, 0);
	assert_int_equal(at(report, "checked_outputs"), 600);
	assert_int_equal(at(report, "rtt_us.count"), 400);
	assert_true(fabs(at(report, "flips.0.at_s") - 0.05) < 1e-9);
	assert_int_equal(at(report, "versions.1.replies"), 100);
	assert_true(fabs(at(report, "duration_s") - 0.2) < 1e-3);
	json_decref(report);
}

static void sleeping_counts_the_same(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, responder_compute);
	config = config_for(responder.address);
	config.sleep = true;
	config.flows = 3;
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 600, 0, 0, 0);
	json_decref(report);
}

static void stops_when_told(void **state)
{
	static volatile sig_atomic_t stop = 1;
	struct fg_load_config config;
	struct responder responder;
	json_t *report;

	(void)state;
	responder_start(&responder, responder_compute);
	config = config_for(responder.address);
	config.duration_ns = 3600 * 1000 * MS;
	config.stop = &stop;
	report = report_of(&config);
	responder_stop(&responder);
	expect_counts(report, 0, 0, 0, 0);
	json_decref(report);
}

static void refuse(struct responder *responder, const struct asked *asked)
{
	responder_answer(responder, asked, FG_STATUS_UNKNOWN_MODEL, 0, "no such model", 13);
}

static void what_cannot_work_is_said_before_the_start(void **state)
{
	struct fg_load_config config;
	struct responder responder;
	struct fg_error error;
	struct fg_load load;

	(void)state;
	responder_start(&responder, refuse);
	config = config_for(responder.address);
	assert_int_equal(fg_load_run(&load, &config, &error), -EREMOTEIO);
	assert_non_null(strstr(error.text, "no such model"));
	responder_stop(&responder);
	assert_int_equal(fg_load_run(&load, &config, &error), -ECONNREFUSED);

	responder_start(&responder, responder_compute);
	config = config_for(responder.address);
	config.expects[1].outputs.cols = 1;
	assert_int_equal(fg_load_run(&load, &config, &error), -EINVAL);
	assert_non_null(strstr(error.text, "--expect of version 2 is (7, 1), want (7, 2)"));
	config = config_for(responder.address);
	config.labels = (struct fg_matrix){.rows = ROWS - 1,
					   .cols = 1,
					   .dtype = FG_DTYPE_F64,
					   .data = labels};
	assert_int_equal(fg_load_run(&load, &config, &error), -EINVAL);
	config = config_for(responder.address);
	config.rows_per_request = 6000;
	assert_int_equal(fg_load_run(&load, &config, &error), -EMSGSIZE);
	config.rows_per_request = ROWS + 1;
	assert_int_equal(fg_load_run(&load, &config, &error), -EINVAL);
	assert_non_null(strstr(error.text, "only 7 rows"));
	config = config_for(responder.address);
	config.rate = 1e6;
	config.duration_ns = 1000000 * 1000 * MS;
	assert_int_equal(fg_load_run(&load, &config, &error), -EINVAL);
	assert_non_null(strstr(error.text, "lower --rate"));
	responder_stop(&responder);
}

static void too_many_sockets_are_refused(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) { /* a lowered hard limit cannot be raised again by everybody */
		struct rlimit limit = {64, 64};
		struct responder responder = {.address = "127.0.0.1:9"};
		struct fg_load_config config = config_for(responder.address);
		struct fg_error error;
		struct fg_load load;

		setrlimit(RLIMIT_NOFILE, &limit);
		config.flows = 33;
		_exit(fg_load_run(&load, &config, &error) == -EMFILE &&
				      strstr(error.text, "up to 65 sockets")
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well),
		cmocka_unit_test(lost_is_counted),
		cmocka_unit_test(flows_that_see_two_versions_are_counted),
		cmocka_unit_test(a_flip_is_seen_where_it_was),
		cmocka_unit_test(flows_begin_and_end),
		cmocka_unit_test(flows_partition_the_requests),
		cmocka_unit_test(wrong_outputs_are_counted),
		cmocka_unit_test(replies_after_the_timeout_are_late_and_lost),
		cmocka_unit_test(a_stall_is_felt_by_all_that_were_due),
		cmocka_unit_test(duplicates_and_strays_change_nothing_else),
		cmocka_unit_test(refusals_are_counted_by_status),
		cmocka_unit_test(affinity_keys_over_few_sockets),
		cmocka_unit_test(several_rows_wrap_round_the_input),
		cmocka_unit_test(warmup_is_checked_but_not_measured),
		cmocka_unit_test(sleeping_counts_the_same),
		cmocka_unit_test(stops_when_told),
		cmocka_unit_test(what_cannot_work_is_said_before_the_start),
		cmocka_unit_test(too_many_sockets_are_refused),
	};

	return cmocka_run_group_tests_name("load", tests, fill, NULL);
}
