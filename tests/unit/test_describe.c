/* What a model's inputs and outputs are: asked of an engine, and used by the command line tool. */
#include "tests/unit/engine_fixture.h"

#include <errno.h>
#include <math.h>
#include "tools/cli_ports.h"

static int open_engine(void **state)
{
	const struct fg_rollout_entry *first = &entries[0];

	(void)state;
	memset(&stats, 0, sizeof(stats));
	set_entry(0, "risk", 3, 1, make_plan(4, 6, 0, 0));
	set_entry(1, "risk", 2, 0, make_plan(4, 5, 0, 0));
	strcpy(entries[1].labels[0], "stable");
	assert_int_equal(fg_engine_open(&engine, first, 2, plans, GENERATION, MAX_BATCH, &stats,
					&error),
			 0);
	return 0;
}

static struct fg_message question(uint64_t version, uint16_t flags, uint32_t length)
{
	struct fg_message message = request("risk", version, 1, 1, 0, length);
	struct fg_wire_header *header = header_of(&message);

	header->flags = FG_WIRE_DESCRIBE | flags;
	header->dtype = 0;
	header->rows = header->cols = header->payload_bytes = 0;
	message.length = length;
	return message;
}

static void expect_text(struct fg_message message, uint64_t version, const char *text)
{
	struct fg_wire_header header;

	serve(&message, 1);
	assert_int_equal(fg_wire_parse_reply(message.bytes, message.length, &header), 0);
	assert_int_equal(header.status, FG_STATUS_OK);
	assert_int_equal(header.dtype, FG_DTYPE_TEXT);
	assert_int_equal(header.flags, 0);
	assert_int_equal(header.model_version, version);
	assert_int_equal(header.payload_bytes, strlen(text));
	assert_memory_equal(message.bytes + sizeof(header), text, strlen(text));
	free(message.bytes);
}

static void an_engine_says_what_it_takes_and_gives(void **state)
{
	struct fg_message message = question(0, 0, 64);
	static const char text[] = "input\t0\t4\tf32\tx\noutput\t0\t6\tf32\ty\n";

	(void)state;
	expect_text(question(0, 0, 64), 3, text);
	expect_text(question(2, 0, 64), 2, "input\t0\t4\tf32\tx\noutput\t0\t5\tf32\ty\n");
	expect_text(question(fg_wire_label("stable"), FG_WIRE_LABEL, 64), 2,
		    "input\t0\t4\tf32\tx\noutput\t0\t5\tf32\ty\n");
	assert_int_equal(stats.requests, 3);
	assert_int_equal(stats.replies, 3);
	assert_int_equal(stats.batches, 0);
	/* Where the message stands there is no room for it. */
	message.capacity = 64 + sizeof(text) - 2;
	serve(&message, 1);
	check_refusal(&message, FG_STATUS_REPLY_TOO_LONG, "pad the request to 33 bytes");
	free(message.bytes);
}

static void what_is_no_question_is_refused(void **state)
{
	struct fg_message message = question(0, 0, 64);

	(void)state;
	header_of(&message)->rows = 1;
	serve(&message, 1);
	check_refusal(&message, FG_STATUS_BAD_REQUEST,
		      "to describe takes no rows: dtype, shape are 0");
	free(message.bytes);
	message = question(9, 0, 64);
	serve(&message, 1);
	check_refusal(&message, FG_STATUS_UNKNOWN_VERSION, "no version 9 (but 3)");
	free(message.bytes);
}

/* ---- which output tells the class ---- */

static const struct fg_client_port label = {"label", 1, 0, 1, 1}, scores = {"scores", 1, 1, 3, 0},
				   hidden = {"hidden", 1, 4, 2, 0}, risk = {"risk", 1, 0, 1, 0};

static const char *chosen(const char *name, uint32_t count, const struct fg_client_port *outputs)
{
	static struct fg_cli_ports ports;
	const struct fg_client_port *port = NULL;

	ports.count = count;
	memcpy(ports.outputs, outputs, count * sizeof(*outputs));
	return fg_cli_ports_class(&ports, name, &port, &error) ? error.text : port->name;
}

static void the_obvious_output_tells_the_class(void **state)
{
	(void)state;
	assert_string_equal(chosen(NULL, 2, (struct fg_client_port[]){label, scores}), "label");
	assert_string_equal(chosen(NULL, 1, &scores), "scores");
	assert_string_equal(chosen("scores", 2, (struct fg_client_port[]){label, scores}),
			    "scores");
	assert_string_equal(chosen("risk", 1, &risk), "risk");
	assert_string_equal(chosen("rsk", 1, &risk),
			    "no output is called rsk: there is risk (1 column)");
	assert_string_equal(chosen(NULL, 2, (struct fg_client_port[]){scores, hidden}),
			    "which output tells the class? Say --labels-output NAME: there is "
			    "scores (3 columns), hidden (2 columns)");
}

static void classes_of_rows(void **state)
{
	const float row[] = {-1, 0.1f, 0.7f, 0.2f, NAN, 3};

	(void)state;
	assert_true(fg_cli_class_of(&label, row) == -1);
	assert_true(fg_cli_class_of(&scores, row) == 1);
	assert_true(fg_cli_class_of(&hidden, row) == 1);
	assert_true(fg_cli_class_of(&risk, row) == 0);
	assert_true(fg_cli_class_of(&risk, row + 2) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_engine_says_what_it_takes_and_gives, open_engine,
						close_engine),
		cmocka_unit_test_setup_teardown(what_is_no_question_is_refused, open_engine,
						close_engine),
		cmocka_unit_test(the_obvious_output_tells_the_class),
		cmocka_unit_test(classes_of_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
