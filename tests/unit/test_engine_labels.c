/* userspace/worker/engine: requests that name a label instead of a version. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "tests/unit/engine_fixture.h"

enum { OLD, NEW, OTHER, ENTRIES };
static const float offsets[ENTRIES] = {100, 200, 300};

static int open_engine(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof(stats));
	set_entry(OLD, "risk", 4, 0, make_plan(4, 1, offsets[OLD], 0));
	set_entry(NEW, "risk", 7, 1, make_plan(4, 1, offsets[NEW], 0));
	set_entry(OTHER, "fraud", 1, 1, make_plan(4, 1, offsets[OTHER], 0));
	strcpy(entries[OLD].labels[0], "stable");
	strcpy(entries[OLD].labels[2], "last-year.2025_rc"); /* gaps are no ends */
	strcpy(entries[NEW].labels[0], "canary");
	strcpy(entries[OTHER].labels[3], "stable"); /* another model's */
	if (fg_engine_open(&engine, entries, ENTRIES, plans, GENERATION, MAX_BATCH, &stats, &error))
		fail_msg("%s", error.text);
	return 0;
}

static struct fg_message labelled(const char *model, const char *label)
{
	struct fg_message message = request(model, fg_wire_label(label), 1, 4, 0, 0);

	header_of(&message)->flags = FG_WIRE_LABEL;
	return message;
}

static void expect_answer(struct fg_message message, uint32_t entry)
{
	struct fg_wire_header header;

	serve(&message, 1);
	assert_int_equal(fg_wire_parse_reply(message.bytes, message.length, &header), 0);
	assert_string_equal(fg_status_name(header.status), "ok");
	assert_int_equal(header.flags, 0);
	assert_true(header.model_version == entries[entry].version);
	assert_true(*(float *)(message.bytes + sizeof(header)) ==
		    output_of((float[]){0, 1, 2, 3}, 4, 0, offsets[entry]));
	free(message.bytes);
}

static void expect_refusal(struct fg_message message, uint8_t status, const char *text)
{
	uint64_t asked = header_of(&message)->model_version;

	serve(&message, 1);
	check_refusal(&message, status, text);
	assert_true(header_of(&message)->model_version == asked);
	free(message.bytes);
}

static void a_label_is_as_good_as_a_version(void **state)
{
	(void)state;
	expect_answer(labelled("risk", "stable"), OLD);
	expect_answer(labelled("risk", "last-year.2025_rc"), OLD);
	expect_answer(labelled("risk", "canary"), NEW);
	expect_answer(labelled("fraud", "stable"), OTHER);
	expect_answer(request("risk", 4, 1, 4, 0, 0), OLD);
	expect_answer(request("risk", 0, 1, 4, 0, 0), NEW);
	assert_int_equal(stats.replies, 6);
}

static void labels_and_versions_run_together(void **state)
{
	struct fg_message messages[] = {labelled("risk", "stable"), request("risk", 4, 2, 4, 0, 0),
					labelled("risk", "last-year.2025_rc")};

	(void)state;
	serve(messages, 3);
	assert_int_equal(stats.batches, 1);
	for (int i = 0; i < 3; i++) {
		assert_true(header_of(&messages[i])->model_version == 4);
		free(messages[i].bytes);
	}
}

static void names_a_label_that_is_not_there(void **state)
{
	char text[128];

	(void)state;
	snprintf(text, sizeof(text), "no label %016" PRIx64 " (xxh64) (but 7)",
		 fg_wire_label("beta"));
	expect_refusal(labelled("risk", "beta"), FG_STATUS_UNKNOWN_VERSION, text);
	snprintf(text, sizeof(text), "no label %016" PRIx64 " (xxh64) (but 1)",
		 fg_wire_label("canary"));
	expect_refusal(labelled("fraud", "canary"), FG_STATUS_UNKNOWN_VERSION, text);
	expect_refusal(labelled("nobody", "stable"), FG_STATUS_UNKNOWN_MODEL,
		       "no model ceedaab7 (xxh32) here");
}

static void a_number_is_no_label_and_a_label_no_number(void **state)
{
	struct fg_message number = request("risk", 4, 1, 4, 0, 0);
	struct fg_message none = request("risk", 0, 1, 4, 0, 0);
	char text[128];

	(void)state;
	header_of(&number)->flags = FG_WIRE_LABEL;
	expect_refusal(number, FG_STATUS_UNKNOWN_VERSION,
		       "no label 0000000000000004 (xxh64) (but 7)");
	header_of(&none)->flags = FG_WIRE_LABEL;
	expect_refusal(none, FG_STATUS_BAD_REQUEST, "a label is asked for, but model_version is 0");
	snprintf(text, sizeof(text), "no version %" PRIu64 " (but 7)", fg_wire_label("stable"));
	expect_refusal(request("risk", fg_wire_label("stable"), 1, 4, 0, 0),
		       FG_STATUS_UNKNOWN_VERSION, text);
}

static void the_longest_text_fits(void **state)
{
	struct fg_message message = request("risk", UINT64_MAX, 1, 4, 0, 0);

	(void)state;
	header_of(&message)->flags = FG_WIRE_LABEL;
	engine.models[NEW].version = UINT64_MAX;
	expect_refusal(message, FG_STATUS_UNKNOWN_VERSION,
		       "no label ffffffffffffffff (xxh64) (but 18446744073709551615)");
}

static void two_versions_cannot_have_one_label(void **state)
{
	struct fg_engine other_engine;

	(void)state;
	strcpy(entries[NEW].labels[1], "stable");
	assert_int_equal(fg_engine_open(&other_engine, entries, ENTRIES, plans, GENERATION,
					MAX_BATCH, &stats, &error),
			 -EINVAL);
	assert_string_equal(error.text, "model risk has two versions labelled stable, 4 and 7");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_engine, close_engine)
	const struct CMUnitTest tests[] = {
		TEST(a_label_is_as_good_as_a_version),
		TEST(labels_and_versions_run_together),
		TEST(names_a_label_that_is_not_there),
		TEST(a_number_is_no_label_and_a_label_no_number),
		TEST(the_longest_text_fits),
		TEST(two_versions_cannot_have_one_label),
	};

	return cmocka_run_group_tests_name("engine_labels", tests, NULL, NULL);
}
