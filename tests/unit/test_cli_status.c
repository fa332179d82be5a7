/* tools/cli_status_text, cli_canary_text: replies to status, as people see them. */
#include "tests/unit/cli_case.h"
#include "tools/cli_canary_text.h"
#include "tools/cli_status_text.h"

static char *shown; /* of the last render */

static char *render(const char *json, const char *before)
{
	json_t *reply = json_loads(json, 0, NULL), *earlier = NULL;
	size_t length = 0;
	FILE *memory;

	free(shown);
	shown = NULL;
	memory = open_memstream(&shown, &length);
	assert_non_null(reply);
	if (before)
		earlier = json_loads(before, 0, NULL);
	fg_cli_status_print(reply, earlier, 2, memory);
	fclose(memory);
	json_decref(reply);
	json_decref(earlier);
	return shown;
}

#define CANARY                                                                                     \
	"{\"model\":\"digits\",\"version\":3,\"from\":2,\"phase\":\"running\",\"step\":1,"         \
	"\"steps\":[1.0,5.0,25.0,100.0],\"weight\":5.0,\"hold_s\":30.0,\"step_left_s\":15.0,"      \
	"\"guards\":{\"error_rate\":0.01,\"p99\":2.0,\"drift\":0.0,\"min_requests\":200},"         \
	"\"seen\":{\"stable_requests\":19000,\"canary_requests\":990,\"stable_errors\":0,"         \
	"\"canary_errors\":10,\"stable_p99_us\":400.0,\"canary_p99_us\":1000.0,\"drift\":0.031},"  \
	"\"reason\":\"\"}"

static const char full[] =
	"{\"ok\":true,\"version\":\"0.1.0\",\"service\":\"default\",\"ready\":true,"
	"\"uptime_s\":75.0,\"mode\":\"native\",\"mode_reason\":\"\",\"interface\":\"eth0\","
	"\"queues\":2,\"listen\":[\"10.0.0.1:9000\"],\"listen_tcp\":[\"10.0.0.1:9001\"],"
	"\"policy\":\"latest\",\"poll\":\"adaptive\",\"flow_idle_ms\":1000,\"keeper_pid\":10,"
	"\"control_pid\":11,\"control_restarts\":1,\"generations\":["
	"{\"id\":7,\"phase\":\"live\",\"since_s\":60.0,\"weight\":95.0,\"flows\":1200,"
	"\"connections\":4,\"requests\":90000,\"in_flight\":2,\"slots\":[0,1],\"models\":["
	"{\"model\":\"digits\",\"version\":2,\"default\":true}]},"
	"{\"id\":6,\"phase\":\"draining\",\"since_s\":1.2,\"weight\":0.0,\"flows\":12,"
	"\"connections\":3,\"requests\":5,\"in_flight\":0,\"slots\":[2],\"models\":[],"
	"\"drain\":{\"deadline_s\":30.0,\"left_s\":28.8}}],"
	"\"canary\":" CANARY ","
	"\"shadow\":{\"model\":\"fraud\",\"version\":9,\"phase\":\"running\",\"share\":1000,"
	"\"rows\":1000,\"agreed\":990,\"worst\":0.25,\"drift\":0.02,\"live_us\":20.0,"
	"\"own_us\":30.0,\"skipped\":5,\"errors\":1,\"reason\":\"\"},"
	"\"reload\":{\"serial\":4,\"accepted\":3,\"active\":false,\"error\":\"line 7: "
	"\\u001b[2Jx\"},"
	"\"audit\":{\"path\":\"/var/log/audit\",\"lost\":2},"
	"\"store\":{\"silent\":[{\"path\":\"/srv/models\",\"since_s\":95.0}],\"remarks\":["
	"{\"model\":\"x\",\"version\":0,\"path\":\"/srv/models/x/v1\",\"reason\":\"is no version\","
	"\"more\":2}]},\"not_ready\":\"its workers are starting\","
	"\"workers\":[{\"slot\":0,\"pid\":100,\"cpu\":1,\"generation\":7,\"phase\":\"ready\","
	"\"order\":\"serve\",\"requests\":90000,\"replies\":89990,\"rows\":90000,"
	"\"batches\":45000,\"own_bytes\":1048576,\"sleeps\":0,\"deaths\":0,"
	"\"statuses\":{\"ok\":89990,\"deadline\":10}}],"
	"\"models\":[{\"model\":\"digits\",\"live\":2,\"wanted\":3,\"versions\":["
	"{\"version\":2,\"state\":\"live\",\"error\":\"\",\"plan_bytes\":2048,\"pack_ms\":12.0,"
	"\"default\":true,\"labels\":[\"stable\",\"old\"]},"
	"{\"version\":3,\"state\":\"canary\",\"error\":\"\",\"plan_bytes\":2048,\"pack_ms\":12.0},"
	"{\"version\":4,\"state\":\"failed\",\"error\":\"golden row 3 is off\"},"
	"{\"version\":5,\"state\":\"failed\",\"error\":\"cannot be read\",\"retry_s\":4.0},"
	"{\"version\":6,\"state\":\"live\",\"error\":\"\",\"files\":\"differs\",\"retry_s\":null}]}"
	"],"
	"\"flips\":{\"count\":3,\"last\":{\"generation\":7,\"from\":6,\"took_us\":5100.0}},"
	"\"counters\":{\"steered\":10,\"drop_acl\":0}}";

static void shows_a_drain(void **state)
{
	(void)state;
	render(full, NULL);
	assert_contains(shown, "generation 6 draining: 12 flows, 3 connections, 1.2 of 30 s");
	assert_contains(shown, "new flows");
	assert_contains(shown, "95%");
	assert_contains(shown, "in flight");
	assert_contains(shown, "TCP 10.0.0.1:9001");
}

static void shows_a_canary_against_its_bounds(void **state)
{
	(void)state;
	render(full, NULL);
	assert_contains(shown,
			"digits 3 beside 2  running  step 2 of 4, 5% of new flows, 15.0 s of "
			"30.0 s left");
	assert_contains(shown, "1% ########## 5% #####..... 25% .......... 100% ..........");
	assert_contains(shown, "19,000");
	assert_contains(shown, "errors     1% more, bound 1% more");
	assert_contains(shown, "p99        2.5x, bound 2x");
	assert_contains(shown, "drift      0.031, not guarded");
	assert_null(strstr(shown, "judged from"));
}

static void shows_a_shadow(void **state)
{
	(void)state;
	render(full, NULL);
	assert_contains(shown, "fraud 9  running  10% of requests");
	assert_contains(shown,
			"1,000 rows compared, 99.00% agree, worst difference 0.25, drift 0.02");
	assert_contains(shown, "a request runs 30.0 us, live 20.0 us; skipped 5, errors 1");
}

static void shows_versions_with_labels(void **state)
{
	(void)state;
	render(full, NULL);
	assert_contains(shown, "2*");
	assert_contains(shown, "stable old");
	assert_contains(shown, "canary (wanted)");
	assert_contains(shown, "golden row 3 is off");
	assert_contains(shown, "cannot be read; tried again in 4");
	assert_contains(shown, "live, differs from disk");
}

static void shows_what_needs_somebody(void **state)
{
	(void)state;
	render(full, NULL);
	assert_contains(shown, "the last reload was refused: line 7: ?[2Jx");
	assert_contains(shown, "audit log /var/log/audit: 2 lines could not be written");
	assert_contains(shown, "/srv/models does not answer for 95.0 s");
	assert_contains(shown, "/srv/models/x/v1: is no version (and 2 more like it)");
	assert_contains(shown, "not ready: its workers are starting");
	assert_contains(shown, "refused: deadline 10");
	assert_contains(shown, "restarts: 1");
	assert_null(strchr(shown, '\033'));
}

static void shows_rates_between_two_looks(void **state)
{
	(void)state;
	render(full, "{\"workers\":[{\"slot\":0,\"pid\":100,\"requests\":80000}]}");
	assert_contains(shown, "5,000");
	render(full, "{\"workers\":[{\"slot\":0,\"pid\":99,\"requests\":80000}]}");
	assert_null(strstr(shown, "5,000"));
}

/* An older or a newer service: what is not there is left out, and nothing is assumed. */
static void shows_what_there_is(void **state)
{
	static const char *const replies[] = {
		"{}",
		"{\"ok\":true,\"canary\":null,\"shadow\":null,\"reload\":{}}",
		"{\"canary\":{},\"shadow\":{},\"generations\":[{}],\"workers\":[{}],"
		"\"models\":[{\"versions\":[{}]}]}",
		"{\"canary\":{\"phase\":\"running\",\"steps\":[],\"seen\":{}},\"generations\":7,"
		"\"models\":\"x\",\"reload\":{\"active\":true}}",
		"{\"canary\":{\"phase\":\"running\",\"step\":-3,\"steps\":[\"a\",1],"
		"\"hold_s\":0,\"step_left_s\":-5}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
		assert_contains(render(replies[i], NULL), "Generations");
	assert_null(strstr(render(replies[1], NULL), "Canary"));
	assert_contains(render(replies[3], NULL), "a new configuration is being tried");
}

static void a_canary_in_a_line(void **state)
{
	json_t *canary = json_loads(CANARY, 0, NULL);
	char line[128];

	(void)state;
	assert_string_equal(fg_cli_canary_line(canary, line, sizeof(line)),
			    "digits 3: step 2 of 4, 5% of new flows, for 30.0 s");
	json_object_set_new(canary, "phase", json_string("paused"));
	assert_string_equal(fg_cli_canary_line(canary, line, sizeof(line)),
			    "digits 3: paused at 5% of new flows");
	json_object_set_new(canary, "phase", json_string("broken"));
	json_object_set_new(canary, "reason", json_string("p99\n3x"));
	assert_string_equal(fg_cli_canary_line(canary, line, sizeof(line)),
			    "digits 3: broken: p99?3x");
	json_decref(canary);
}

static void few_requests_are_not_judged(void **state)
{
	json_t *reply = json_loads(full, 0, NULL);
	json_t *seen = json_object_get(json_object_get(reply, "canary"), "seen");
	char *text;

	(void)state;
	json_object_set_new(seen, "canary_requests", json_integer(150));
	text = json_dumps(reply, 0);
	assert_contains(render(text, NULL), "judged from 200 requests on each side on");
	free(text);
	json_decref(reply);
}

static int tidy(void **state)
{
	(void)state;
	free(shown);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_a_drain),
		cmocka_unit_test(shows_a_canary_against_its_bounds),
		cmocka_unit_test(shows_a_shadow),
		cmocka_unit_test(shows_versions_with_labels),
		cmocka_unit_test(shows_what_needs_somebody),
		cmocka_unit_test(shows_rates_between_two_looks),
		cmocka_unit_test(shows_what_there_is),
		cmocka_unit_test(a_canary_in_a_line),
		cmocka_unit_test(few_requests_are_not_judged),
	};

	setenv("NO_COLOR", "1", 1); /* also when somebody runs this on a terminal */
	return cmocka_run_group_tests(tests, NULL, tidy);
}
