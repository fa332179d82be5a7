/* flipgate upgrade: what it takes for the end of an upgrade, and what for its failure. */
#include "tests/unit/cli_case.h"

static struct printed printed;

/* The control process that is asked ends without an answer; a later one knows what came of it. */
static const char *upgrade_error;

static const char *answer_upgrade(struct control *control, const json_t *request)
{
	static char line[256];
	unsigned number = atomic_load(&control->count);

	if (strcmp(json_string_value(json_object_get(request, "verb")), "upgrade") == 0 ||
	    number == 3)
		return NULL;
	snprintf(line, sizeof(line),
		 "{\"ok\":true,\"control_pid\":9,\"control\":{\"version\":\"0.2.0\",\"program\":"
		 "\"/usr/bin/env\",\"upgrades\":%d,\"upgrade_error\":\"%s\"}}",
		 number > 4, number > 4 ? upgrade_error : "");
	return line;
}

static void an_upgrade_is_seen_by_the_next_control(void **state)
{
	struct control control;

	(void)state;
	upgrade_error = "";
	control_start(&control, answer_upgrade);
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program",
			     "/usr/bin/../bin/env", "--why", "new"),
			 0);
	assert_contains(printed.out, "flipgated 0.2.0 is in control, process 9");
	assert_string_equal(json_string_value(json_object_get(control.asked[1], "path")),
			    "/usr/bin/env");
	assert_string_equal(json_string_value(json_object_get(control.asked[1], "why")), "new");
	control_stop(&control);
	upgrade_error = "does not fit";
	control_start(&control, answer_upgrade);
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env",
			     "--output", "json"),
			 FG_CLI_REFUSED);
	assert_contains(printed.err, "does not fit");
	assert_contains(printed.out, "\"ok\":false");
	control_stop(&control);
}

/* The answers of a control process that is not ready yet say nothing of the upgrade. */
static const char *answer_not_ready(struct control *control, const json_t *request)
{
	static const char *const lines[] = {
		"{\"ok\":true,\"control\":{\"upgrades\":4}}",
		NULL, /* the upgrade's */
		"{\"ok\":false,\"code\":\"busy\",\"error\":\"starting\"}",
		"{\"ok\":false,\"control\":{\"upgrades\":5}}",
		"{\"ok\":true}",
		"{\"ok\":true,\"control_pid\":9,\"control\":{\"version\":\"0.2.0\",\"upgrades\":5}"
		"}",
	};
	unsigned number = atomic_load(&control->count);

	(void)request;
	return lines[number < 5 ? number : 5];
}

static const char *present; /* the answer to everything */

static const char *answer_present(struct control *control, const json_t *request)
{
	(void)control;
	(void)request;
	return present;
}

static void an_upgrade_is_not_seen_in_a_refusal(void **state)
{
	struct control control;

	(void)state;
	control_start(&control, answer_not_ready);
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env"), 0);
	assert_contains(printed.out, "flipgated 0.2.0 is in control, process 9");
	assert_int_equal(atomic_load(&control.count), 6);
	control_stop(&control);
	present = "{\"ok\":false,\"code\":\"busy\",\"error\":\"starting\"}";
	control_start(&control, answer_present);
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env"),
			 FG_CLI_REFUSED);
	assert_contains(printed.err, "starting");
	present = "{\"ok\":true}";
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env"),
			 FG_CLI_REFUSED);
	assert_contains(printed.err, "too old");
	assert_int_equal(atomic_load(&control.count), 2);
	control_stop(&control);
}

static const char *upgrade_reply;

static const char *answer_upgrade_with(struct control *control, const json_t *request)
{
	(void)control;
	if (strcmp(json_string_value(json_object_get(request, "verb")), "upgrade") == 0)
		return upgrade_reply;
	return "{\"ok\":true,\"control\":{\"upgrades\":0}}";
}

static void an_upgrade_need_not_be_waited_for(void **state)
{
	struct control control;

	(void)state;
	upgrade_reply = NULL;
	control_start(&control, answer_upgrade_with);
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env",
			     "--no-wait"),
			 0);
	assert_contains(printed.out, "asked for");
	upgrade_reply = "{\"ok\":false,\"code\":\"timeout\",\"error\":\"not yet\"}";
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env",
			     "--no-wait", "--output", "json"),
			 0);
	assert_string_equal(printed.out, "{\"ok\":true,\"pending\":true}\n");
	upgrade_reply = "{\"ok\":false,\"code\":\"denied\",\"error\":\"root only\"}";
	assert_int_equal(RUN(&fg_cli_upgrade, &control, &printed, "--program", "/usr/bin/env",
			     "--no-wait"),
			 FG_CLI_REFUSED);
	assert_contains(printed.err, "root only");
	control_stop(&control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_upgrade_is_seen_by_the_next_control),
		cmocka_unit_test(an_upgrade_is_not_seen_in_a_refusal),
		cmocka_unit_test(an_upgrade_need_not_be_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
