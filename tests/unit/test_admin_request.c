/* From a line of the control socket to a request: what is taken, what is refused and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "userspace/daemon/admin.h"

#define S  1000000000ull
#define MS 1000000ull

static struct fg_admin_request request;

static json_t *parse(const char *text)
{
	json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *refused;

	if (!object)
		fail_msg("no JSON: %s", text);
	memset(&request, 0, sizeof(request));
	refused = fg_admin_parse(object, &request, 5 * S);
	json_decref(object);
	return refused;
}

static void take(const char *text, enum fg_admin_verb verb)
{
	json_t *refused = parse(text);

	if (refused)
		fail_msg("%s: %s", text, json_string_value(json_object_get(refused, "error")));
	assert_int_equal(request.verb, verb);
	assert_true(request.arrived_ns == 5 * S);
}

static void refuse(const char *text, const char *part)
{
	json_t *refused = parse(text);
	const char *error = json_string_value(json_object_get(refused, "error"));

	assert_non_null(refused);
	assert_string_equal(json_string_value(json_object_get(refused, "code")), "bad_request");
	if (!strstr(error, part))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, error, part);
	json_decref(refused);
}

static void test_versions(void **state)
{
	(void)state;
	take("{\"verb\":\"promote\",\"model\":\"a.b\",\"version\":9007199254740993,"
	     "\"wait_ms\":5,\"expect\":7,\"why\":\"ticket 4711\"}",
	     FG_ADMIN_PROMOTE);
	assert_string_equal(request.model, "a.b");
	assert_true(request.version == 9007199254740993ull);
	assert_true(request.until_ns == 5 * S + 5 * MS);
	assert_true(request.expects);
	assert_int_equal(request.expect, 7);
	assert_string_equal(request.why, "ticket 4711");
	take("{\"verb\":\"rollback\",\"model\":\"m\"}", FG_ADMIN_ROLLBACK);
	assert_false(request.expects);
	assert_true(request.until_ns == 5 * S + FG_ADMIN_WAIT_MS * MS);
	refuse("{\"verb\":\"promote\",\"version\":1}", "\"model\" is missing");
	refuse("{\"verb\":\"promote\",\"model\":\"d\"}", "\"version\" is missing");
	refuse("{\"verb\":\"promote\",\"model\":\"d\",\"version\":\"1\"}", "integer");
	refuse("{\"verb\":\"promote\",\"model\":\"d\",\"version\":1.5}", "integer");
	refuse("{\"verb\":\"promote\",\"model\":\"d\",\"version\":0}", "from 1");
	refuse("{\"verb\":\"promote\",\"model\":\"d\",\"version\":-4}", "from 1");
	refuse("{\"verb\":\"promote\",\"model\":\"../x\",\"version\":1}", "not a model name");
	refuse("{\"verb\":\"promote\",\"model\":\"\",\"version\":1}", "not a model name");
	refuse("{\"verb\":\"promote\",\"model\":7,\"version\":1}", "not a model name");
	refuse("{\"verb\":\"rollback\",\"model\":\"d\",\"version\":1}", "takes no \"version\"");
	refuse("{\"verb\":\"rollback\"}", "\"model\" is missing");
}

static void test_what_all_changes_take(void **state)
{
	char text[400], why[202];

	(void)state;
	refuse("{\"verb\":\"rollback\",\"model\":\"d\",\"wait_ms\":-1}", "wait_ms");
	refuse("{\"verb\":\"rollback\",\"model\":\"d\",\"wait_ms\":600001}", "wait_ms");
	refuse("{\"verb\":\"rollback\",\"model\":\"d\",\"expect\":4294967296}", "generation");
	refuse("{\"verb\":\"rollback\",\"model\":\"d\",\"expect\":\"3\"}", "generation");
	refuse("{\"verb\":\"status\",\"expect\":3}", "takes no \"expect\"");
	refuse("{\"verb\":\"status\",\"wait_ms\":3}", "takes no \"wait_ms\"");
	memset(why, 'x', sizeof(why) - 1);
	why[201] = '\0';
	snprintf(text, sizeof(text), "{\"verb\":\"reload\",\"why\":\"%s\"}", why);
	refuse(text, "200 bytes");
	why[200] = '\0';
	snprintf(text, sizeof(text), "{\"verb\":\"reload\",\"why\":\"%s\"}", why);
	take(text, FG_ADMIN_RELOAD);
	assert_string_equal(request.why, why);
}

static void test_rollouts(void **state)
{
	(void)state;
	take("{\"verb\":\"rollout\",\"model\":\"d\",\"version\":2,\"steps\":[100,500,10000],"
	     "\"hold_ms\":1500,\"window_ms\":700,"
	     "\"guards\":{\"error_rate\":0.01,\"p99\":2,\"drift\":0.25,\"min_requests\":50}}",
	     FG_ADMIN_ROLLOUT);
	assert_int_equal(request.plan.step_count, 3);
	assert_int_equal(request.plan.steps[1], 500);
	assert_true(request.plan.hold_ns == 1500 * MS);
	assert_true(request.plan.window_ns == 700 * MS);
	assert_true(request.plan.guards.error_rate == 0.01);
	assert_true(request.plan.guards.p99 == 2);
	assert_true(request.plan.guards.drift == 0.25);
	assert_int_equal(request.plan.guards.min_requests, 50);
	take("{\"verb\":\"rollout\",\"model\":\"d\",\"version\":2,\"steps\":[10000]}",
	     FG_ADMIN_ROLLOUT);
	assert_true(request.plan.hold_ns == FG_ADMIN_HOLD_MS * MS);
	assert_int_equal(request.plan.guards.min_requests, FG_ADMIN_MIN_REQUESTS);
	assert_true(request.plan.guards.p99 == 0);
}

#define ROLLOUT(rest) "{\"verb\":\"rollout\",\"model\":\"d\",\"version\":2," rest "}"

static void test_bad_rollouts(void **state)
{
	(void)state;
	refuse("{\"verb\":\"rollout\",\"model\":\"d\",\"version\":2}", "\"steps\" is missing");
	refuse(ROLLOUT("\"steps\":[]"), "1 to 16");
	refuse(ROLLOUT("\"steps\":100"), "1 to 16");
	refuse(ROLLOUT("\"steps\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), "1 to 16");
	refuse(ROLLOUT("\"steps\":[1.5]"), "integers");
	refuse(ROLLOUT("\"steps\":[0,100]"), "parts of 10000");
	refuse(ROLLOUT("\"steps\":[100,10001]"), "parts of 10000");
	refuse(ROLLOUT("\"steps\":[500,100]"), "upward");
	refuse(ROLLOUT("\"steps\":[100],\"hold_ms\":-1"), "hold_ms");
	refuse(ROLLOUT("\"steps\":[100],\"hold_ms\":86400001"), "hold_ms");
	refuse(ROLLOUT("\"steps\":[100],\"window_ms\":\"1s\""), "window_ms");
	refuse(ROLLOUT("\"steps\":[100],\"guards\":7"), "guards");
	refuse(ROLLOUT("\"steps\":[100],\"guards\":{\"p98\":2}"), "guards");
	refuse(ROLLOUT("\"steps\":[100],\"guards\":{\"p99\":0.5}"), "factor from 1.1");
	refuse(ROLLOUT("\"steps\":[100],\"guards\":{\"error_rate\":2}"), "share from 0 to 1");
	refuse(ROLLOUT("\"steps\":[100],\"guards\":{\"min_requests\":0}"), "min_requests");
	refuse(ROLLOUT("\"steps\":[100],\"share\":5"), "takes no \"share\"");
}

static void test_the_others(void **state)
{
	static const struct {
		const char *text;
		enum fg_admin_verb verb;
	} good[] = {
		{"{\"verb\":\"status\"}", FG_ADMIN_STATUS},
		{"{\"verb\":\"pause\",\"model\":\"d\"}", FG_ADMIN_PAUSE},
		{"{\"verb\":\"resume\",\"model\":\"d\"}", FG_ADMIN_RESUME},
		{"{\"verb\":\"abort\",\"model\":\"d\",\"why\":\"no\"}", FG_ADMIN_ABORT},
		{"{\"verb\":\"shadow\",\"model\":\"d\",\"version\":3,\"share\":0}",
		 FG_ADMIN_SHADOW},
		{"{\"verb\":\"reload\",\"wait_ms\":0}", FG_ADMIN_RELOAD},
		{"{\"verb\":\"history\",\"limit\":5}", FG_ADMIN_HISTORY},
		{"{\"verb\":\"upgrade\",\"path\":\"/usr/sbin/flipgated\"}", FG_ADMIN_UPGRADE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		take(good[i].text, good[i].verb);
	assert_string_equal(request.path, "/usr/sbin/flipgated");
	assert_string_equal(fg_admin_verb_name(request.verb), "upgrade");
	refuse("{\"verb\":\"upgrade\",\"path\":\"flipgated\"}", "absolute");
	refuse("{\"verb\":\"upgrade\"}", "\"path\" is missing");
	refuse("{\"verb\":\"shadow\",\"model\":\"d\",\"version\":3}", "\"share\" is missing");
	refuse("{\"verb\":\"shadow\",\"model\":\"d\",\"version\":3,\"share\":10001}", "10000");
	refuse("{\"verb\":\"history\",\"limit\":0}", "1 to 1000");
	refuse("{\"verb\":\"history\",\"limit\":1001}", "1 to 1000");
	refuse("{\"verb\":\"pause\"}", "\"model\" is missing");
	refuse("{\"verb\":7}", "verb");
	refuse("{\"verb\":\"reboot\"}", "status, history, promote");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),   cmocka_unit_test(test_what_all_changes_take),
		cmocka_unit_test(test_rollouts),   cmocka_unit_test(test_bad_rollouts),
		cmocka_unit_test(test_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
