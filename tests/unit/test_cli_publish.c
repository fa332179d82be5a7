/* flipgate publish as a verb: what it reads, where it publishes to, how it waits. */
#include "tests/unit/publish_case.h"
#include "tools/cli_publish_wait.h"

static struct printed printed;

static const char *status_line;

static const char *answer(struct control *control, const json_t *request)
{
	(void)control;
	(void)request;
	return status_line;
}

/* "CODE" of the printed JSON, and its exit code. */
static void assert_refused(int code, int wanted, const char *name)
{
	json_t *reply = json_loads(printed.out, 0, NULL);

	assert_int_equal(code, wanted);
	assert_string_equal(json_string_value(json_object_get(reply, "code")), name);
	assert_int_not_equal(printed.err[0], 0);
	json_decref(reply);
}

static void the_verb_publishes(void **state)
{
	char other[128];
	json_t *reply, *list;
	int code;

	(void)state;
	snprintf(other, sizeof(other), "%s/in=other/12", base);
	code = RUN(&fg_cli_publish, NULL, &printed, path_of("in"), "digits", "--no-check",
		   "--repository", path_of("repository"), "--also", other, "--output", "json");
	reply = json_loads(printed.out, 0, NULL);
	list = json_object_get(reply, "published");
	assert_int_equal(code, 0);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "model")),
			    "digits");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "files")), 3);
	assert_true(json_is_true(json_object_get(json_array_get(list, 0), "changed")));
	json_decref(reply);
	assert_holds("repository/digits/1/model.onnx", "the model");
	assert_holds("repository/other/12/model.onnx", "the model");
	code = RUN(&fg_cli_publish, NULL, &printed, path_of("in"), "digits", "1", "--no-check",
		   "--repository", path_of("repository"));
	assert_int_equal(code, 0);
	assert_contains(printed.out, "was there already, the same");
}

static void assert_mode(const char *name, mode_t mode)
{
	struct stat info;

	assert_return_code(stat(path_of(name), &info), errno);
	assert_int_equal(info.st_mode & 07777, mode);
}

/* The packer reads as another user. */
static void the_umask_hides_nothing(void **state)
{
	mode_t before = umask(077);
	int code;

	(void)state;
	code = RUN(&fg_cli_publish, NULL, &printed, path_of("in"), "digits", "--no-check",
		   "--repository", path_of("repository"));
	umask(before);
	assert_int_equal(code, 0);
	assert_mode("repository/digits", 0755);
	assert_mode("repository/digits/1", 0755);
	assert_mode("repository/digits/1/model.onnx", 0644);
	assert_mode("repository/digits/1/assets.extra", 0755);
	assert_mode("repository/digits/1/assets.extra/warmup", 0644);
}

static void the_verb_refuses_nonsense(void **state)
{
	const char *in = path_of("in");

	(void)state;
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a/b"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, ".a"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, ""), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "0"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "1x"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "1", "2"), FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "--also", "x"),
			 FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "--also", "x=a"),
			 FG_CLI_USAGE);
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "--wait=5"), FG_CLI_USAGE);
	assert_refused(RUN(&fg_cli_publish, NULL, &printed, in, "a", "--output", "json",
			   "--repository", path_of("nowhere")),
		       FG_CLI_REFUSED, "failed");
	assert_refused(RUN(&fg_cli_publish, NULL, &printed, path_of("nowhere"), "a", "--output",
			   "json", "--repository", path_of("repository")),
		       FG_CLI_BAD_DATA, "bad_data");
	assert_int_equal(RUN(&fg_cli_publish, NULL, &printed, in, "a", "--socket", path_of("none")),
			 FG_CLI_UNREACHABLE);
	assert_contains(printed.err, "--repository");
	assert_int_equal(count_names("repository"), 0);
}

static char line[2048];

static void tell(const char *state_name, const char *why)
{
	snprintf(line, sizeof(line),
		 "{\"ok\":true,\"rules\":{\"repository\":\"%s\",\"models\":[{\"model\":\"fixed\","
		 "\"path\":\"%s\"}]},\"generations\":[{\"id\":7,\"phase\":\"live\"}],"
		 "\"models\":[{\"model\":\"fixed\",\"versions\":[{\"version\":4,\"state\":\"new\"}]"
		 "},"
		 "{\"model\":\"digits\",\"live\":1,\"wanted\":1,\"versions\":["
		 "{\"version\":1,\"state\":\"%s\",\"error\":\"%s\"},"
		 "{\"version\":2,\"state\":\"new\"}]}]}",
		 path_of("repository"), path_of("fixed"), state_name, why);
	status_line = line;
}

static void the_gateway_says_where_to(void **state)
{
	struct control control;

	(void)state;
	control_start(&control, answer);
	tell("live", "");
	assert_int_equal(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits",
			     "--no-check", "--wait=2s"),
			 0);
	assert_contains(printed.out, "live in generation 7");
	assert_true(is_there("repository/digits/1/model.onnx"));
	assert_int_equal(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "fixed", "4",
			     "--no-check"),
			 0);
	assert_true(is_there("fixed/4/model.onnx"));
	assert_refused(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits",
			   "--no-check", "--expect-current", "6", "--output", "json"),
		       FG_CLI_CONFLICT, "conflict");
	assert_false(is_there("repository/digits/2"));
	assert_int_equal(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits",
			     "--no-check", "--expect-current", "7"),
			 0);
	status_line = "{\"ok\":true,\"rules\":{\"repository\":\"\",\"models\":[]}}";
	assert_int_equal(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits",
			     "--no-check"),
			 FG_CLI_REFUSED);
	control_stop(&control);
}

static void a_failure_is_told_in_the_gateways_words(void **state)
{
	struct control control;

	(void)state;
	control_start(&control, answer);
	tell("failed", "golden row 3 is off");
	assert_int_equal(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits",
			     "--no-check", "--wait=5s"),
			 FG_CLI_REFUSED);
	assert_contains(printed.err, "golden row 3 is off");
	assert_refused(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits", "1",
			   "--no-check", "--wait=5s", "--output", "json"),
		       FG_CLI_REFUSED, "failed");
	assert_contains(printed.out, "\"ok\":false");
	assert_contains(printed.out, "but not live: golden row 3 is off\"");
	tell("packing", "");
	assert_refused(RUN(&fg_cli_publish, &control, &printed, path_of("in"), "digits", "1",
			   "--no-check", "--wait=100ms", "--output", "json"),
		       FG_CLI_TIMEOUT, "timeout");
	assert_contains(printed.out, "the wait is over");
	assert_contains(printed.err, "the wait is over");
	control_stop(&control);
}

static void states_are_told_apart(void **state)
{
	static const struct {
		const char *status;
		enum fg_publish_state wanted;
	} cases[] = {
		{"{}", FG_PUBLISH_UNSEEN},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":1,\"versions\":[{\"version\":2,"
		 "\"state\":\"copying\"}]}]}",
		 FG_PUBLISH_UNSEEN},
		{"{\"rules\":{\"models\":[{\"model\":\"d\",\"policy\":\"specific\",\"versions\":"
		 "[1]}],\"defaults\":{\"policy\":\"latest\"}}}",
		 FG_PUBLISH_EXCLUDED},
		{"{\"rules\":{\"models\":[],\"defaults\":{\"policy\":\"specific\",\"versions\":[2]}"
		 "},"
		 "\"models\":[{\"model\":\"d\",\"wanted\":2,\"versions\":[{\"version\":2,"
		 "\"state\":\"packing\"}]}]}",
		 FG_PUBLISH_ON_ITS_WAY},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":2,\"versions\":[{\"version\":2,"
		 "\"state\":\"new\"}]}]}",
		 FG_PUBLISH_ON_ITS_WAY},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":1,\"versions\":[{\"version\":2,"
		 "\"state\":\"new\"}]}]}",
		 FG_PUBLISH_READY},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":1,\"versions\":[{\"version\":2,"
		 "\"state\":\"new\"}]},{\"model\":\"e\",\"versions\":[{\"version\":1,\"state\":"
		 "\"packing\"}]}]}",
		 FG_PUBLISH_ON_ITS_WAY},
		{"{\"canary\":{\"phase\":\"running\"},\"models\":[{\"model\":\"d\",\"wanted\":1,"
		 "\"versions\":[{\"version\":2,\"state\":\"new\"}]}]}",
		 FG_PUBLISH_ON_ITS_WAY},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":1,\"versions\":[{\"version\":2,"
		 "\"state\":\"live\"}]}]}",
		 FG_PUBLISH_LIVE},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":1,\"versions\":[{\"version\":2,"
		 "\"state\":\"failed\",\"error\":\"x\"}]}]}",
		 FG_PUBLISH_FAILED},
		{"{\"models\":[{\"model\":\"d\",\"wanted\":1,\"versions\":[{\"version\":3,"
		 "\"state\":\"live\"}]}]}",
		 FG_PUBLISH_UNSEEN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *status = json_loads(cases[i].status, 0, NULL);

		assert_non_null(status);
		assert_int_equal(fg_publish_state(status, "d", 2, &error), cases[i].wanted);
		json_decref(status);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_verb_publishes),
		TEST(the_umask_hides_nothing),
		TEST(the_verb_refuses_nonsense),
		TEST(the_gateway_says_where_to),
		TEST(a_failure_is_told_in_the_gateways_words),
		TEST(states_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
