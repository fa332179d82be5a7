/* The verbs that steer a rollout: what they read, what they ask, what they make of the answers. */
#include <signal.h>

#include "tests/unit/cli_case.h"
#include "tools/cli_follow.h"
#include "tools/cli_rollout.h"

static struct printed printed;

/* ---- parsing ---- */

static void time_needs_a_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"250ms", 250},    {"30s", 30000}, {"1.5s", 1500}, {"2m", 120000},
		    {"0.5h", 1800000}, {"007s", 7000}, {"0.001s", 1}};
	static const char *const bad[] = {"",	   "30",
					  "s",	   "-1s",
					  "+1s",   " 1s",
					  "1 s",   "1s ",
					  "1e3ms", "0x10s",
					  "infs",  "nans",
					  "1.s",   ".5s",
					  "1.5ms", "0.0001s",
					  "1S",	   "1sec",
					  "3601s", "0ms",
					  "1,5s",  "99999999999999999999s"};
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(fg_cli_time(&fg_cli_promote, "--x", good[i].text, 1, 3600000, &ms),
				 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (fg_cli_time(&fg_cli_promote, "--x", bad[i], 1, 3600000, &ms) != FG_CLI_USAGE)
			fail_msg("'%s' was taken as %llu ms", bad[i], (unsigned long long)ms);
}

static void share_is_exact(void **state)
{
	static const char *const bad[] = {"5",	     "%",    "5%%", "-5%",  "0%",    "0.001%",
					  "100.01%", "1e1%", "5 %", "nan%", "0.015%"};
	uint32_t share;

	(void)state;
	/* 0.29 * 100 is 28.999...: each hundredth of a percent must come out as itself. */
	for (uint32_t parts = 1; parts <= FG_CLI_WHOLE; parts++) {
		char text[16];

		snprintf(text, sizeof(text), "%u.%02u%%", parts / 100, parts % 100);
		assert_int_equal(fg_cli_share(&fg_cli_shadow, "--share", text, &share), 0);
		assert_int_equal(share, parts);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (fg_cli_share(&fg_cli_shadow, "--share", bad[i], &share) != FG_CLI_USAGE)
			fail_msg("'%s' was taken as %u", bad[i], share);
}

static void steps_go_upward(void **state)
{
	static const char *const bad[] = {
		"",	  ",",
		"1%,",	  ",1%",
		"1%,,5%", "5%,5%",
		"5%,1%",  "1%;5%",
		"1,5%",	  "1%,5%,100%,101%",
		"1% ,5%", "1%,2%,3%,4%,5%,6%,7%,8%,9%,10%,11%,12%,13%,14%,15%,16%,17%"};
	struct fg_cli_rollout rollout = fg_cli_rollout();

	(void)state;
	assert_int_equal(fg_cli_rollout_steps(&fg_cli_rollout_verb, "0.01%,2.5%,50%", &rollout), 0);
	assert_int_equal(rollout.step_count, 3);
	assert_int_equal(rollout.steps[0], 1);
	assert_int_equal(rollout.steps[1], 250);
	assert_int_equal(rollout.steps[2], 5000);
	assert_int_equal(fg_cli_rollout_steps(&fg_cli_rollout_verb,
					      "1%,2%,3%,4%,5%,6%,7%,8%,9%,10%,11%,12%,13%,14%,15%,"
					      "16%",
					      &rollout),
			 0);
	assert_int_equal(rollout.step_count, 16);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (fg_cli_rollout_steps(&fg_cli_rollout_verb, bad[i], &rollout) != FG_CLI_USAGE)
			fail_msg("'%s' was taken", bad[i]);
}

static void guards_have_bounds(void **state)
{
	static const char *const bad_rate[] = {"0%", "0.1", "101%", "-1%", "", "OFF", "1x"};
	static const char *const bad_p99[] = {"1x", "0.5x", "1.5", "1001x", "-2x", "", "2%"};
	static const char *const bad_drift[] = {"0", "0.25%", "-1", "101", "", "inf"};
	const struct fg_cli_verb *verb = &fg_cli_rollout_verb;
	struct fg_cli_rollout rollout = fg_cli_rollout();

	(void)state;
	assert_true(rollout.error_rate > 0 && rollout.p99 > 1 && rollout.drift > 0);
	assert_int_equal(fg_cli_rollout_error_rate(verb, "0.1%", &rollout), 0);
	assert_int_equal(fg_cli_rollout_p99(verb, "1.5x", &rollout), 0);
	assert_int_equal(fg_cli_rollout_drift(verb, "0.3", &rollout), 0);
	assert_true(rollout.error_rate > 0.000999 && rollout.error_rate < 0.001001);
	assert_true(rollout.p99 == 1.5 && rollout.drift == 0.3);
	for (size_t i = 0; i < sizeof(bad_rate) / sizeof(bad_rate[0]); i++)
		assert_int_equal(fg_cli_rollout_error_rate(verb, bad_rate[i], &rollout),
				 FG_CLI_USAGE);
	for (size_t i = 0; i < sizeof(bad_p99) / sizeof(bad_p99[0]); i++)
		assert_int_equal(fg_cli_rollout_p99(verb, bad_p99[i], &rollout), FG_CLI_USAGE);
	for (size_t i = 0; i < sizeof(bad_drift) / sizeof(bad_drift[0]); i++)
		assert_int_equal(fg_cli_rollout_drift(verb, bad_drift[i], &rollout), FG_CLI_USAGE);
	assert_int_equal(fg_cli_rollout_error_rate(verb, "off", &rollout), 0);
	assert_int_equal(fg_cli_rollout_p99(verb, "off", &rollout), 0);
	assert_int_equal(fg_cli_rollout_drift(verb, "off", &rollout), 0);
	assert_true(rollout.error_rate == 0 && rollout.p99 == 0 && rollout.drift == 0);
}

static void window_fits_a_step(void **state)
{
	struct fg_cli_rollout rollout = fg_cli_rollout();

	(void)state;
	assert_int_equal(fg_cli_rollout_finish(&fg_cli_rollout_verb, &rollout), 0);
	assert_int_equal(rollout.window_ms, 10000);
	rollout = fg_cli_rollout();
	rollout.hold_ms = 2000;
	assert_int_equal(fg_cli_rollout_finish(&fg_cli_rollout_verb, &rollout), 0);
	assert_int_equal(rollout.window_ms, 2000);
	rollout.window_ms = 2001;
	assert_int_equal(fg_cli_rollout_finish(&fg_cli_rollout_verb, &rollout), FG_CLI_USAGE);
}

static void printable_text_steers_no_terminal(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(fg_cli_printable(text, sizeof(text), "a\033[2Jb\n\x7f"), "a?[2Jb??");
	assert_string_equal(fg_cli_printable(text, sizeof(text),
					     "\xc2\x9b"
					     "1mgr\xc3\xbc\xc3\x9f"),
			    "?\x9b"
			    "1mgr\xc3\xbc\xc3\x9f");
	assert_string_equal(fg_cli_printable(text, 4, "abcdef"), "abc");
}

/* ---- what is asked ---- */

static const char *answer_ok(struct control *control, const json_t *request)
{
	(void)control;
	(void)request;
	return "{\"ok\":true,\"generation\":7,\"model\":\"digits\",\"version\":2,\"from\":1,"
	       "\"changed\":true,\"flip_us\":5100.0,\"took_ms\":7.3,\"weight\":1.0,\"step\":0,"
	       "\"models\":[{\"model\":\"digits\",\"version\":2},{\"model\":\"fraud\","
	       "\"version\":1}]}";
}

/* Runs a verb and holds the request to `wanted`, JSON. */
static void assert_asks(const struct fg_cli_verb *verb, const char *wanted,
			const char *const *arguments)
{
	struct control control;
	json_t *json = json_loads(wanted, 0, NULL);
	char *asked;
	int code;

	assert_non_null(json);
	control_start(&control, answer_ok);
	code = run_verb(verb, &control, &printed, arguments);
	asked = json_dumps(control.asked[0], JSON_COMPACT | JSON_SORT_KEYS);
	if (code || atomic_load(&control.count) != 1 || !json_equal(control.asked[0], json))
		fail_msg("code %d, asked %s, wanted %s; %s", code, asked ? asked : "nothing",
			 wanted, printed.err);
	free(asked);
	json_decref(json);
	control_stop(&control);
}

#define ASKS(verb, wanted, ...) assert_asks(verb, wanted, (const char *const[]){__VA_ARGS__, NULL})

static void verbs_ask_what_was_said(void **state)
{
	(void)state;
	ASKS(&fg_cli_promote,
	     "{\"verb\":\"promote\",\"model\":\"digits\",\"version\":2,\"wait_ms\":30000}",
	     "digits", "2");
	assert_contains(printed.out, "from the command to the last new flow on version 1: 7.30 ms");
	ASKS(&fg_cli_promote,
	     "{\"verb\":\"promote\",\"model\":\"digits\",\"version\":2,\"wait_ms\":1500,"
	     "\"expect\":6,\"why\":\"release 41\"}",
	     "digits", "2", "--wait", "1.5s", "--expect-current", "6", "--why", "release 41");
	ASKS(&fg_cli_rollback, "{\"verb\":\"rollback\",\"model\":\"digits\",\"wait_ms\":0}",
	     "digits", "--no-wait");
	ASKS(&fg_cli_pause, "{\"verb\":\"pause\",\"model\":\"digits\",\"wait_ms\":30000}",
	     "digits");
	ASKS(&fg_cli_resume, "{\"verb\":\"resume\",\"model\":\"digits\",\"wait_ms\":30000}",
	     "digits");
	ASKS(&fg_cli_abort,
	     "{\"verb\":\"abort\",\"model\":\"digits\",\"wait_ms\":30000,\"why\":\"w\"}", "digits",
	     "--why", "w");
	ASKS(&fg_cli_shadow,
	     "{\"verb\":\"shadow\",\"model\":\"digits\",\"version\":3,\"share\":2500,"
	     "\"wait_ms\":30000}",
	     "digits", "3", "--share", "25%");
	ASKS(&fg_cli_reload, "{\"verb\":\"reload\",\"wait_ms\":30000,\"expect\":3}",
	     "--expect-current", "3");
	assert_contains(printed.out, "digits 2, fraud 1");
	ASKS(&fg_cli_history, "{\"verb\":\"history\",\"limit\":5}", "--limit", "5");
}

static void rollout_asks_with_guards(void **state)
{
	(void)state;
	ASKS(&fg_cli_rollout_verb,
	     "{\"verb\":\"rollout\",\"model\":\"digits\",\"version\":2,"
	     "\"steps\":[100,500,2500,10000],\"hold_ms\":30000,\"window_ms\":10000,"
	     "\"guards\":{\"error_rate\":0.01,\"p99\":2.0,\"drift\":0.25,\"min_requests\":200},"
	     "\"wait_ms\":30000}",
	     "digits", "2", "--no-wait");
	assert_contains(printed.out, "gets 1% of new flows");
	assert_int_equal(RUN(&fg_cli_rollout_verb, NULL, &printed, "--help"), 0);
	assert_contains(printed.out, "default 0.25. A\n");
	assert_contains(printed.out, "worse: --max-drift off\n");
	ASKS(&fg_cli_rollout_verb,
	     "{\"verb\":\"rollout\",\"model\":\"digits\",\"version\":2,\"steps\":[1000],"
	     "\"hold_ms\":5000,\"window_ms\":1000,\"guards\":{\"error_rate\":0.0,\"p99\":1.5,"
	     "\"drift\":0.0,\"min_requests\":9},\"wait_ms\":10000,\"expect\":4,\"why\":\"x\"}",
	     "digits", "2", "--no-wait", "--steps", "10%", "--hold", "5s", "--window", "1s",
	     "--max-error-rate", "off", "--max-p99", "1.5x", "--max-drift", "off", "--min-requests",
	     "9", "--wait", "10s", "--expect-current", "4", "--why", "x");
}

static void wrong_lines_ask_nothing(void **state)
{
	char *why = malloc(300);

	(void)state;
	memset(why, 'x', 299);
	why[299] = 0;
	assert_int_equal(RUN(&fg_cli_promote, NULL, &printed, "digits"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_promote, NULL, &printed, "digits", "0"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_promote, NULL, &printed, "digits", "two"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_promote, NULL, &printed, "d\xff", "2"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_abort, NULL, &printed, "digits", "2"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_abort, NULL, &printed, "digits", "--why", why), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_abort, NULL, &printed, "digits", "--why", "\xff"),
			 FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_reload, NULL, &printed, "digits"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_reload, NULL, &printed, "--expect-current", "0"),
			 FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_reload, NULL, &printed, "--output", "xml"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_shadow, NULL, &printed, "digits", "2", "--stop"),
			 FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_rollout_verb, NULL, &printed, "digits", "2", "--hold", "1"),
			 FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_upgrade, NULL, &printed, "--program", "/nobody/here"),
			 FG_CLI_BAD_DATA);
	assert_int_equal(RUN(&fg_cli_promote, NULL, &printed, "d", "1", "--socket", "/nobody/here"),
			 FG_CLI_UNREACHABLE);
	free(why);
}

/* ---- what is answered ---- */

static const char *present; /* the next answer */

static const char *answer_present(struct control *control, const json_t *request)
{
	(void)control;
	(void)request;
	return present;
}

static void codes_become_exit_codes(void **state)
{
	static const struct {
		const char *reply;
		int code;
	} cases[] = {
		{"{\"ok\":false,\"code\":\"not_found\",\"error\":\"none\"}", FG_CLI_REFUSED},
		{"{\"ok\":false,\"code\":\"failed\",\"error\":\"bad\"}", FG_CLI_REFUSED},
		{"{\"ok\":false,\"code\":\"busy\",\"error\":\"bad\"}", FG_CLI_REFUSED},
		{"{\"ok\":false,\"code\":\"denied\",\"error\":\"bad\"}", FG_CLI_REFUSED},
		{"{\"ok\":false,\"code\":\"bad_request\",\"error\":\"bad\"}", FG_CLI_REFUSED},
		{"{\"ok\":false,\"code\":\"timeout\",\"error\":\"late\"}", FG_CLI_TIMEOUT},
		{"{\"ok\":false,\"code\":\"rolled_back\",\"error\":\"p99\"}", FG_CLI_ROLLED_BACK},
		{"{\"ok\":false,\"code\":\"conflict\",\"error\":\"g\",\"generation\":9}",
		 FG_CLI_CONFLICT},
		{"{}", FG_CLI_REFUSED},
		{"[]", FG_CLI_UNREACHABLE},
		{"not json", FG_CLI_UNREACHABLE},
		{NULL, FG_CLI_UNREACHABLE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct control control;

		present = cases[i].reply;
		control_start(&control, answer_present);
		assert_int_equal(RUN(&fg_cli_promote, &control, &printed, "digits", "2"),
				 cases[i].code);
		assert_int_not_equal(printed.err[0], 0);
		assert_int_equal(printed.out[0], 0);
		assert_int_equal(RUN(&fg_cli_promote, &control, &printed, "d", "2", "--output",
				     "json"),
				 cases[i].code);
		if (cases[i].code != FG_CLI_UNREACHABLE)
			assert_memory_equal(printed.out, cases[i].reply, strlen(cases[i].reply));
		control_stop(&control);
	}
}

static void no_wait_is_no_timeout(void **state)
{
	struct control control;

	(void)state;
	present = "{\"ok\":false,\"code\":\"timeout\",\"error\":\"not live yet\"}";
	control_start(&control, answer_present);
	assert_int_equal(RUN(&fg_cli_promote, &control, &printed, "digits", "2", "--no-wait"), 0);
	assert_contains(printed.out, "asked for");
	assert_int_equal(RUN(&fg_cli_promote, &control, &printed, "digits", "2", "--no-wait",
			     "--output", "json"),
			 0);
	assert_string_equal(printed.out, "{\"ok\":true,\"pending\":true}\n");
	control_stop(&control);
}

/* Which version it is, status knows. */
static const char *answer_shadow(struct control *control, const json_t *request)
{
	(void)control;
	if (strcmp(json_string_value(json_object_get(request, "verb")), "status") == 0)
		return "{\"ok\":true,\"shadow\":{\"model\":\"digits\",\"version\":3},\"models\":["
		       "{\"model\":\"digits\"},{\"model\":\"fraud\"}]}";
	return "{\"ok\":true,\"model\":\"digits\",\"version\":3,\"changed\":true}";
}

static void a_shadow_is_stopped_by_its_model(void **state)
{
	struct control control;
	const json_t *asked;

	(void)state;
	control_start(&control, answer_shadow);
	assert_int_equal(RUN(&fg_cli_shadow, &control, &printed, "digits", "--stop"), 0);
	assert_string_equal(printed.out, "the shadow has ended\n");
	asked = control.asked[1];
	assert_int_equal(json_integer_value(json_object_get(asked, "version")), 3);
	assert_true(json_is_integer(json_object_get(asked, "share")));
	assert_int_equal(json_integer_value(json_object_get(asked, "share")), 0);
	control_stop(&control);
}

static void a_shadow_that_ended_is_ended(void **state)
{
	struct control control;

	(void)state;
	control_start(&control, answer_shadow);
	assert_int_equal(RUN(&fg_cli_shadow, &control, &printed, "fraud", "--stop"), 0);
	assert_string_equal(printed.out, "there was no shadow to end\n");
	assert_int_equal(RUN(&fg_cli_shadow, &control, &printed, "fraud", "--stop", "--output",
			     "json"),
			 0);
	assert_string_equal(printed.out, "{\"ok\":true,\"changed\":false}\n");
	assert_int_equal(RUN(&fg_cli_shadow, &control, &printed, "digit", "--stop"),
			 FG_CLI_REFUSED);
	assert_contains(printed.err, "there is no model digit");
	assert_int_equal(atomic_load(&control.count), 3);
	control_stop(&control);
}

static void history_is_a_table(void **state)
{
	struct control control;

	(void)state;
	present = "{\"ok\":true,\"path\":\"/var/log/a\",\"lines\":["
		  "{\"time\":\"2026-01-02T03:04:05.678Z\",\"who\":{\"uid\":0,\"pid\":77,\"user\":"
		  "\"root\"},\"what\":\"promote\",\"model\":\"digits\",\"from\":1,\"to\":2,"
		  "\"generation\":7,\"result\":\"ok\",\"why\":\"release \\u001b[31m41\"},"
		  "{\"time\":\"2026-01-02T03:04:06.000Z\",\"who\":\"flipgated\",\"what\":\"guard\","
		  "\"model\":\"digits\",\"from\":2,\"to\":1,\"generation\":8,\"result\":"
		  "\"rolled_back\",\"why\":\"p99\"}]}";
	control_start(&control, answer_present);
	assert_int_equal(RUN(&fg_cli_history, &control, &printed, "--limit", "2"), 0);
	assert_contains(printed.out, "root (77)");
	assert_contains(printed.out, "1 > 2");
	assert_contains(printed.out, "release ?[31m41");
	assert_contains(printed.out, "flipgated");
	assert_contains(printed.out, "rolled_back");
	control_stop(&control);
}

/* ---- following ---- */

#define CANARY(phase, step, weight, left, reason)                                                  \
	"{\"ok\":true,\"models\":[{\"model\":\"digits\",\"live\":1,\"wanted\":1,\"versions\":[]}]" \
	","                                                                                        \
	"\"canary\":{\"model\":\"digits\",\"version\":2,\"from\":1,\"phase\":\"" phase             \
	"\",\"step\":" #step ",\"steps\":[1.0,100.0],\"weight\":" #weight                          \
	",\"hold_s\":1.0,\"step_left_s\":" #left ",\"guards\":{\"error_rate\":0.01,\"p99\":2.0,"   \
	"\"drift\":0.25,\"min_requests\":200},\"seen\":{\"stable_requests\":900,"                  \
	"\"canary_requests\":10,\"stable_errors\":0,\"canary_errors\":0,\"stable_p99_us\":100.0,"  \
	"\"canary_p99_us\":120.0,\"drift\":0.01},\"reason\":\"" reason "\"}}"
#define STARTED "{\"ok\":false,\"code\":\"timeout\",\"error\":\"not yet\"}"

static const char *const
	*story; /* the answers to status, one after the other; the last one stays */
static const char *follow_for = "5s";
static int interrupt_at; /* before that answer, SIGINT comes; -1: never */

static const char *answer_story(struct control *control, const json_t *request)
{
	unsigned number = atomic_load(&control->count), line;
	const char *verb = json_string_value(json_object_get(request, "verb"));

	if (strcmp(verb, "rollout") == 0)
		return STARTED;
	if (strcmp(verb, "status") != 0)
		return "{\"ok\":false,\"code\":\"failed\",\"error\":\"nobody should ask that\"}";
	if ((int)number == interrupt_at)
		kill(getpid(), SIGINT);
	for (line = 0; line + 1 < number && story[line + 1];)
		line++;
	return *story[line] ? story[line] : NULL;
}

static int follow_story(const char *const *lines, int interrupted_at, const char *output)
{
	struct control control;
	int code;

	story = lines;
	interrupt_at = interrupted_at;
	control_start(&control, answer_story);
	code = RUN(&fg_cli_rollout_verb, &control, &printed, "digits", "2", "--steps", "1%,100%",
		   "--hold", "1s", "--wait", follow_for, "--output", output);
	for (unsigned i = 1; i < atomic_load(&control.count); i++)
		assert_string_equal(json_string_value(json_object_get(control.asked[i], "verb")),
				    "status");
	control_stop(&control);
	return code;
}

#define FOLLOW(...) follow_story((const char *const[]){__VA_ARGS__, NULL}, -1, "text")

static void follows_to_the_end(void **state)
{
	(void)state;
	assert_int_equal(FOLLOW(CANARY("starting", 0, 0, 1, ""), CANARY("running", 0, 1, 0.5, ""),
				CANARY("running", 1, 100, 1, ""), CANARY("done", 1, 100, 0, "")),
			 0);
	assert_contains(printed.out, "digits 2: starting\n");
	assert_contains(printed.out, "digits 2: step 1 of 2, 1% of new flows, for 1.00 s\n");
	assert_contains(printed.out, "digits 2: step 2 of 2, 100% of new flows, for 1.00 s\n");
	assert_contains(printed.out, "digits version 2 serves all new flows\n");
	assert_int_equal(printed.err[0], 0);
}

static void a_broken_guard_is_6(void **state)
{
	(void)state;
	assert_int_equal(FOLLOW(CANARY("running", 0, 1, 0.5, ""),
				CANARY("broken", 0, 0, 0, "p99 3.1x of stable")),
			 FG_CLI_ROLLED_BACK);
	assert_contains(printed.err, "rolled back to version 1: p99 3.1x of stable");
	assert_int_equal(FOLLOW(CANARY("aborted", 0, 0, 0, "by root")), FG_CLI_ROLLED_BACK);
	assert_int_equal(FOLLOW(CANARY("failed", 0, 0, 0, "golden rows")), FG_CLI_REFUSED);
	assert_contains(printed.err, "golden rows");
}

static void follows_over_a_restart_of_control(void **state)
{
	(void)state;
	assert_int_equal(FOLLOW(CANARY("running", 0, 1, 0.5, ""), "", "not json",
				"{\"ok\":false,\"code\":\"busy\",\"error\":\"x\"}",
				CANARY("done", 1, 100, 0, "")),
			 0);
}

static void an_interrupt_leaves_the_canary(void **state)
{
	static const char *const lines[] = {CANARY("running", 0, 1, 0.5, ""), NULL};

	(void)state;
	assert_int_equal(follow_story(lines, 2, "text"), FG_CLI_TIMEOUT);
	assert_contains(printed.err, "goes on");
	assert_contains(printed.err, "flipgate abort digits");
}

static void waits_no_longer_than_it_shall(void **state)
{
	(void)state;
	follow_for = "300ms";
	assert_int_equal(FOLLOW(CANARY("running", 0, 1, 0.5, "")), FG_CLI_TIMEOUT);
	follow_for = "5s";
	assert_contains(printed.err, "not over yet");
}

static void json_is_a_line_for_each_step(void **state)
{
	static const char *const lines[] = {CANARY("running", 0, 1, 0.5, ""),
					    CANARY("running", 0, 1, 0.3, ""),
					    CANARY("done", 1, 100, 0, ""), NULL};
	char *newline;
	json_t *line;

	(void)state;
	assert_int_equal(follow_story(lines, -1, "json"), 0);
	newline = strchr(printed.out, '\n');
	assert_non_null(newline);
	*newline = 0;
	line = json_loads(printed.out, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(line, "phase")), "running");
	json_decref(line);
	line = json_loads(newline + 1, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(line, "phase")), "done");
	json_decref(line);
}

static void the_end_is_seen(void **state)
{
	static const struct {
		const char *status;
		int code;
	} cases[] = {
		{"{\"canary\":null,\"models\":[{\"model\":\"digits\",\"live\":2}]}", FG_CLI_OK},
		{"{\"canary\":null,\"models\":[{\"model\":\"digits\",\"live\":1}]}",
		 FG_CLI_REFUSED},
		{"{\"canary\":{\"model\":\"digits\",\"version\":3,\"phase\":\"running\"},"
		 "\"models\":[{\"model\":\"digits\",\"live\":2}]}",
		 FG_CLI_OK},
		{"{\"canary\":{\"model\":\"other\",\"version\":2,\"phase\":\"done\"}}",
		 FG_CLI_REFUSED},
		{"{}", FG_CLI_REFUSED},
		{"{\"canary\":{\"model\":\"digits\",\"version\":2,\"phase\":\"running\",\"step\":1,"
		 "\"steps\":[1.0,25.0],\"step_left_s\":0.0}}",
		 FG_CLI_OK},
		{"{\"canary\":{\"model\":\"digits\",\"version\":2,\"phase\":\"running\",\"step\":1,"
		 "\"steps\":[1.0,25.0],\"step_left_s\":0.1}}",
		 -1},
		{"{\"canary\":{\"model\":\"digits\",\"version\":2,\"phase\":\"running\",\"step\":0,"
		 "\"steps\":[25.0],\"step_left_s\":0.0,\"guards\":{\"p99\":2.0,\"min_requests\":9},"
		 "\"seen\":{\"stable_requests\":90,\"canary_requests\":7,\"canary_errors\":1}}}",
		 -1},
		{"{\"canary\":{\"model\":\"digits\",\"version\":2,\"phase\":\"running\",\"step\":0,"
		 "\"steps\":[25.0],\"step_left_s\":0.0,\"guards\":{\"p99\":2.0,\"min_requests\":9},"
		 "\"seen\":{\"stable_requests\":90,\"canary_requests\":8,\"canary_errors\":1}}}",
		 FG_CLI_OK},
		{"{\"canary\":{\"model\":\"digits\",\"version\":2,\"phase\":\"paused\",\"step\":1,"
		 "\"steps\":[1.0,25.0],\"step_left_s\":0.0}}",
		 -1},
		{"{\"canary\":{\"model\":\"digits\",\"version\":2,\"phase\":\"running\",\"step\":1,"
		 "\"steps\":[1.0,100.0],\"step_left_s\":0.0}}",
		 -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *status = json_loads(cases[i].status, 0, NULL);
		struct fg_error end;

		assert_non_null(status);
		assert_int_equal(fg_cli_follow_end(status, "digits", 2, &end), cases[i].code);
		json_decref(status);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_needs_a_unit),
		cmocka_unit_test(share_is_exact),
		cmocka_unit_test(steps_go_upward),
		cmocka_unit_test(guards_have_bounds),
		cmocka_unit_test(window_fits_a_step),
		cmocka_unit_test(printable_text_steers_no_terminal),
		cmocka_unit_test(verbs_ask_what_was_said),
		cmocka_unit_test(rollout_asks_with_guards),
		cmocka_unit_test(wrong_lines_ask_nothing),
		cmocka_unit_test(codes_become_exit_codes),
		cmocka_unit_test(no_wait_is_no_timeout),
		cmocka_unit_test(a_shadow_is_stopped_by_its_model),
		cmocka_unit_test(a_shadow_that_ended_is_ended),
		cmocka_unit_test(history_is_a_table),
		cmocka_unit_test(follows_to_the_end),
		cmocka_unit_test(a_broken_guard_is_6),
		cmocka_unit_test(follows_over_a_restart_of_control),
		cmocka_unit_test(an_interrupt_leaves_the_canary),
		cmocka_unit_test(waits_no_longer_than_it_shall),
		cmocka_unit_test(json_is_a_line_for_each_step),
		cmocka_unit_test(the_end_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
