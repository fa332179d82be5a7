/* userspace/worker/watch under an engine: what is counted of which requests, and what is left. */
#include <math.h>
#include <stdio.h>
#include "tests/unit/engine_fixture.h"

enum { OLD, DEFAULT, OTHER, ENTRIES };
#define MS 1000000ull

static struct fg_state_slot *slot;
static struct fg_shadow_area *area;
static struct fg_watch watch;

static int open_all(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof(stats));
	slot = aligned_alloc(4096, sizeof(*slot));
	area = fg_shadow_map();
	assert_non_null(slot);
	assert_non_null(area);
	memset(slot, 0, sizeof(*slot));
	set_entry(OLD, "risk", 1, 0, make_plan(4, 2, 100, 0));
	set_entry(DEFAULT, "risk", 2, 1, make_plan(4, 2, 200, 0));
	set_entry(OTHER, "wide", 1, 1, make_plan(4, 10, 300, 0));
	strcpy(entries[DEFAULT].labels[0], "stable");
	if (fg_engine_open(&engine, entries, ENTRIES, plans, GENERATION, MAX_BATCH, &stats, &error))
		fail_msg("%s", error.text);
	fg_watch_open(&watch, slot, &area->rings[5]);
	engine.watch = &watch;
	return 0;
}

static int close_all(void **state)
{
	fg_shadow_unmap(area);
	free(slot);
	return close_engine(state);
}

static void tell(const char *model, uint16_t epoch, uint16_t share)
{
	atomic_store(&slot->watch, fg_state_watch(model ? fg_wire_model(model) : 0, epoch, share));
	fg_watch_look(&watch);
}

/* Serves one message that came `age_ns` ago. */
static void serve_one(struct fg_message message, uint64_t age_ns)
{
	message.arrived_ns = fg_clock_ns() - age_ns;
	serve(&message, 1);
	free(message.bytes);
}

static struct fg_message labelled(const char *label)
{
	struct fg_message message = request("risk", fg_wire_label(label), 1, 4, 0, 0);

	header_of(&message)->flags = FG_WIRE_LABEL;
	return message;
}

static void expect_seen(uint64_t requests, uint64_t errors)
{
	assert_int_equal(slot->seen.requests, requests);
	assert_int_equal(slot->seen.errors, errors);
	assert_int_equal(fg_distribution_count(&slot->seen.latency_ns), requests);
}

static void nothing_is_watched_at_first(void **state)
{
	static const struct fg_state_seen empty;

	(void)state;
	assert_false(fg_watch_look(&watch));
	serve_one(request("risk", 0, 1, 4, 0, 0), 0);
	serve_one(request("risk", 9, 1, 4, 0, 0), 0);
	assert_memory_equal(&slot->seen, &empty, sizeof(empty));
}

static void the_last_workers_counts_are_not_ours(void **state)
{
	(void)state;
	tell("risk", 3, 0);
	serve_one(request("risk", 0, 1, 4, 0, 0), 0);
	expect_seen(1, 0);
	fg_watch_open(&watch, slot, &area->rings[5]);
	assert_int_equal(slot->seen.epoch, 0);
	fg_watch_look(&watch);
	assert_int_equal(slot->seen.epoch, 3);
	expect_seen(0, 0);
}

/* By 0, by number, by label; not another version, nor another model. */
static void the_default_version_counts(void **state)
{
	(void)state;
	tell("risk", 3, 0);
	assert_int_equal(slot->seen.epoch, 3);
	serve_one(request("risk", 0, 2, 4, 0, 0), 0);
	serve_one(request("risk", 2, 1, 4, 0, 0), 0);
	serve_one(labelled("stable"), 0);
	expect_seen(3, 0);
	serve_one(request("risk", 1, 1, 4, 0, 0), 0);
	serve_one(request("wide", 0, 1, 4, 0, 100), 0);
	expect_seen(3, 0);
}

static void refusals_of_it_are_errors(void **state)
{
	struct fg_message late = request("risk", 0, 1, 4, 0, 0);
	struct fg_message bad = request("risk", 0, 1, 4, 0, 0);
	/* Took all that this one refuses, and was as fast. */
	struct fg_state_offer before = {.model = fg_wire_model("risk"),
					.in_cols = 5,
					.max_rows = 2 * MAX_BATCH,
					.row_ns = 1000,
					.batch_ns = 1000};

	(void)state;
	tell("risk", 3, 0);
	engine.before = before;
	serve_one(request("risk", 0, 1, 5, 0, 0), 0); /* columns */
	expect_seen(0, 1);
	engine.before.in_cols = 4;
	serve_one(request("risk", 2, MAX_BATCH + 1, 4, 0, 0), 0);
	header_of(&late)->deadline_us = 200;
	serve_one(late, 10 * MS);
	expect_seen(0, 3);
	/* Nothing that the default version did, or would have done, or that any version would. */
	header_of(&bad)->reserved = 1;
	serve_one(bad, 0);
	serve_one(request("risk", 1, 1, 5, 0, 0), 0);
	serve_one(request("risk", 9, 1, 4, 0, 0), 0);
	serve_one(labelled("nobody"), 0);
	serve_one(request("wide", 0, 1, 5, 0, 100), 0);
	serve_one(request("nobody", 0, 1, 4, 0, 0), 0);
	expect_seen(0, 3);
}

static struct fg_message with_value(float value, uint32_t rows)
{
	struct fg_message message = request("risk", 0, rows, 4, 0, 0);

	memcpy(message.bytes + sizeof(struct fg_wire_header) + (rows * 4 - 1) * 4, &value, 4);
	return message;
}

/* What a client may send to the flows that a canary has, to break it. */
static void nonsense_is_no_error(void **state)
{
	struct fg_message hasty = request("risk", 0, 1, 4, 0, 0);
	struct fg_message heavy = request("risk", 0, MAX_BATCH, 4, 0, 0);
	struct fg_state_offer offers[FG_ROLLOUT_MAX_MODELS];

	(void)state;
	tell("risk", 3, 0);
	for (int known = 0; known < 2; known++) {
		serve_one(request("risk", 0, 1, 5, 0, 0), 0);
		serve_one(request("risk", 0, 4, 1, 0, 0), 0);
		serve_one(request("risk", 0, MAX_BATCH + 1, 4, 0, 0), 0);
		serve_one(with_value(NAN, 1), 0);
		serve_one(with_value(-INFINITY, 2), 0);
		fg_engine_offers(&engine, offers);
		engine.before = offers[DEFAULT];
	}
	/* Measured as so slow that no such deadline could be met. */
	engine.before.row_ns = MS;
	engine.before.batch_ns = MS * MAX_BATCH;
	header_of(&hasty)->deadline_us = 1050;
	serve_one(hasty, 10 * MS);
	header_of(&heavy)->deadline_us = 1000 * MAX_BATCH;
	serve_one(heavy, 1000 * MS);
	expect_seen(0, 0);
	serve_one(request("risk", 0, 1, 4, 0, 0), 0);
	expect_seen(1, 0);
}

static void a_model_without_a_default_fails_who_asks_for_it(void **state)
{
	(void)state;
	engine.models[DEFAULT].is_default = 0;
	tell("risk", 3, 0);
	serve_one(request("risk", 0, 1, 4, 0, 0), 0);
	serve_one(request("risk", 2, 1, 4, 0, 0), 0);
	expect_seen(0, 1);
}

static void durations_are_from_arrival_to_answer(void **state)
{
	float p50;

	(void)state;
	tell("risk", 3, 0);
	for (int i = 0; i < 9; i++)
		serve_one(request("risk", 0, 1, 4, 0, 0), 20 * MS);
	p50 = fg_distribution_quantile(&slot->seen.latency_ns, 0.5);
	assert_true(p50 >= 20e6f);
	assert_true(p50 < 40e6f); /* lenient: other processes */
}

static void every_row_of_every_request_in_a_batch_is_scored(void **state)
{
	struct fg_message messages[] = {request("risk", 0, 2, 4, 0, 0),
					request("risk", 0, 1, 4, 1000, 0),
					request("risk", 1, 3, 4, 0,
						0), /* another version's batch */
					request("risk", 2, 5, 4, -1000, 0)};

	(void)state;
	tell("risk", 3, 0);
	serve(messages, 4);
	expect_seen(3, 0);
	assert_int_equal(stats.batches, 2);
	for (int i = 0; i < FG_SEEN_SCORES; i++)
		assert_int_equal(fg_distribution_count(&slot->seen.scores[i]), i < 2 ? 8 : 0);
	/* 5 rows from -1000 on are below 0, the others above. */
	for (int i = 0; i < 2; i++) {
		assert_true(fg_distribution_quantile(&slot->seen.scores[i], 5.0 / 8) < 0);
		assert_true(fg_distribution_quantile(&slot->seen.scores[i], 6.0 / 8) > 0);
		assert_true(fabsf(fg_distribution_quantile(&slot->seen.scores[i], 1) / 7211 - 1) <
			    0.07f);
	}
	for (int i = 0; i < 4; i++)
		free(messages[i].bytes);
}

static void of_wide_answers_the_first_columns_are_scored(void **state)
{
	(void)state;
	tell("wide", 3, 0);
	serve_one(request("wide", 0, 2, 4, 0, 400), 0);
	expect_seen(1, 0);
	for (int i = 0; i < FG_SEEN_SCORES; i++)
		assert_int_equal(fg_distribution_count(&slot->seen.scores[i]), 2);
}

/* Numbers, whose sum is none any more. */
static struct fg_message with_values(float value, uint32_t rows)
{
	struct fg_message message = with_value(value, rows);
	unsigned char *row = message.bytes + sizeof(struct fg_wire_header) + (rows - 1) * 16;

	for (int i = 0; i < 4; i++)
		memcpy(row + i * 4, &value, 4);
	return message;
}

static void answers_that_are_no_numbers_are_errors(void **state)
{
	struct fg_message messages[] = {with_value(1, 2), with_values(3e38f, 3),
					with_values(3e38f, 1), with_values(-3e38f, 2),
					with_value(3e38f, 1)}; /* large, but a number */

	(void)state;
	tell("risk", 3, FG_CANARY_WHOLE);
	serve(messages, 5);
	assert_int_equal(stats.batches, 1);
	expect_seen(2, 3);
	assert_int_equal(fg_distribution_count(&slot->seen.scores[0]), 3);
	for (int i = 0; i < 5; i++)
		free(messages[i].bytes);
}

static void an_epoch_begins_empty(void **state)
{
	static struct fg_state_seen empty;

	(void)state;
	engine.before = (struct fg_state_offer){.model = fg_wire_model("risk"),
						.in_cols = 5,
						.max_rows = 1};
	tell("risk", 65535, FG_CANARY_WHOLE);
	for (int i = 0; i < 5; i++)
		serve_one(request("risk", 0, 2, 4, (float)i, 0), 0);
	serve_one(request("risk", 0, 1, 5, 0, 0), 0);
	atomic_store(&slot->seen.skipped, 7);
	expect_seen(5, 1);
	/* Another share is no other epoch, and neither is a pause. */
	tell("risk", 65535, 5);
	expect_seen(5, 1);
	tell(NULL, 0, 0);
	serve_one(request("risk", 0, 2, 4, 0, 0), 0);
	tell("risk", 65535, 5);
	expect_seen(5, 1);
	tell("risk", 1, 0);
	empty.epoch = 1;
	assert_memory_equal(&slot->seen, &empty, sizeof(empty));
	assert_false(fg_watch_look(&watch));
	tell("wide", 2, 0);
	serve_one(request("risk", 0, 2, 4, 0, 0), 0);
	expect_seen(0, 0);
	assert_int_equal(slot->seen.epoch, 2);
}

/* ---- what is left for a shadow ---- */

static float got_in[FG_SHADOW_MAX_FLOATS], got_out[FG_SHADOW_MAX_FLOATS];

static int take(struct fg_shadow_record *record)
{
	return fg_shadow_take(&area->rings[5], record, got_in, FG_SHADOW_MAX_FLOATS, got_out,
			      FG_SHADOW_MAX_FLOATS);
}

static void requests_are_left_with_their_answers(void **state)
{
	struct fg_message messages[] = {request("risk", 0, 2, 4, 0, 0),
					request("risk", 1, 3, 4, 0, 0),
					request("risk", 2, 1, 4, 50, 0)};
	struct fg_shadow_record record;
	uint64_t compute_ns = 0;

	(void)state;
	tell("risk", 77, FG_CANARY_WHOLE);
	serve(messages, 3);
	for (int i = 0; i < 3; i += 2) {
		uint32_t rows = i ? 1 : 2;

		assert_int_equal(take(&record), 1);
		assert_int_equal(record.epoch, 77);
		assert_int_equal(record.rows, rows);
		assert_int_equal(record.in_cols, 4);
		assert_int_equal(record.out_cols, 2);
		compute_ns += record.compute_ns;
		for (uint32_t r = 0; r < rows; r++)
			for (uint32_t c = 0; c < 4; c++)
				assert_true(got_in[r * 4 + c] == (float)(r * 8 + c + (i ? 50 : 0)));
		for (uint32_t r = 0; r < rows; r++)
			for (uint32_t c = 0; c < 2; c++)
				assert_true(got_out[r * 2 + c] ==
					    output_of(got_in + (size_t)r * 4, 4, c, 200));
		assert_memory_equal(messages[i].bytes + sizeof(struct fg_wire_header), got_out,
				    (size_t)rows * 2 * 4);
	}
	assert_int_equal(take(&record), 0);
	/* their parts of the batch, each rounded down */
	assert_in_range(compute_ns, header_of(&messages[0])->compute_ns - 2,
			header_of(&messages[0])->compute_ns);
	for (int i = 0; i < 3; i++)
		free(messages[i].bytes);
}

static uint32_t count_left(void)
{
	struct fg_shadow_record record;
	uint32_t count = 0;

	while (take(&record) == 1)
		count++;
	return count;
}

/* Any share, from the first request on; and of clients that send by turns each gets its share. */
static void the_share_is_spread_evenly(void **state)
{
	static const uint16_t shares[] = {1, 10, 100, 500, 2500, 5000, 9999, 10000};
	const struct fg_watch_answer answer = {
		.rows = 1, .in_cols = 1, .out_cols = 1, .in = (float[]){1}, .out = (float[]){1}};

	(void)state;
	for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++) {
		double part = shares[s] / 10000.0;

		for (uint32_t turns = 1; turns <= 12; turns++) {
			uint32_t of_first = 0;

			tell("risk", 1, shares[s]);
			for (uint32_t i = 0; i < 20000; i++) {
				fg_watch_answer(&watch, &answer);
				if (i % turns)
					count_left();
				else
					of_first += count_left();
			}
			assert_true(fabs(of_first - part * 20000 / turns) <= 12);
		}
	}
	assert_int_equal(slot->seen.skipped, 0);
}

static void no_share_leaves_nothing(void **state)
{
	(void)state;
	tell("risk", 1, 0);
	serve_one(request("risk", 0, 2, 4, 0, 0), 0);
	assert_int_equal(count_left(), 0);
	watch.ring = NULL;
	tell("risk", 1, FG_CANARY_WHOLE);
	serve_one(request("risk", 0, 2, 4, 0, 0), 0);
	assert_int_equal(slot->seen.requests, 2);
	assert_int_equal(slot->seen.skipped, 0);
}

static void who_finds_the_ring_full_skips(void **state)
{
	const uint32_t bytes = sizeof(struct fg_shadow_record) + 4 * (4 + 2);
	const uint32_t room = FG_SHADOW_RING_BYTES / bytes;

	(void)state;
	tell("risk", 1, FG_CANARY_WHOLE);
	for (uint32_t i = 0; i < room + 10; i++)
		serve_one(request("risk", 0, 1, 4, 0, 0), 0);
	assert_int_equal(slot->seen.requests, room + 10);
	assert_int_equal(slot->seen.skipped, 10);
	assert_int_equal(count_left(), room);
	serve_one(request("risk", 0, 1, 4, 0, 0), 0);
	assert_int_equal(count_left(), 1);
}

static void finds_every_value_that_is_no_number(void **state)
{
	float values[67];

	(void)state;
	for (int i = 0; i < 67; i++)
		values[i] = i % 2 ? 3.4e38f : -1e-45f;
	assert_true(fg_watch_finite(values, 67));
	assert_true(fg_watch_finite(values, 0));
	for (int i = 0; i < 67; i++) {
		static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
		float was = values[i];

		values[i] = bad[i % 4];
		assert_false(fg_watch_finite(values, 67));
		assert_true(fg_watch_finite(values, (uint32_t)i));
		values[i] = was;
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_watched_at_first),
		TEST(the_last_workers_counts_are_not_ours),
		TEST(the_default_version_counts),
		TEST(refusals_of_it_are_errors),
		TEST(nonsense_is_no_error),
		TEST(a_model_without_a_default_fails_who_asks_for_it),
		TEST(durations_are_from_arrival_to_answer),
		TEST(every_row_of_every_request_in_a_batch_is_scored),
		TEST(of_wide_answers_the_first_columns_are_scored),
		TEST(answers_that_are_no_numbers_are_errors),
		TEST(an_epoch_begins_empty),
		TEST(requests_are_left_with_their_answers),
		TEST(the_share_is_spread_evenly),
		TEST(no_share_leaves_nothing),
		TEST(who_finds_the_ring_full_skips),
		TEST(finds_every_value_that_is_no_number),
	};

	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
