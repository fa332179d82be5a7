/* tools/flipgate-pack as a program: versions with TensorFlow Serving's warm-up requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "models/plan_format.h"
#include "tests/unit/pack_case.h"
#include "tests/unit/warmup_writer.h"

static struct writer request, requests;

/* Adds a request with `rows` rows, of 1, 2, 3 and so on. */
static void add_request(const char *name, int64_t rows, int64_t cols)
{
	static struct writer tensor;
	float numbers[64];

	for (int i = 0; i < 64; i++)
		numbers[i] = (float)(i + 1);
	request.length = 0;
	tf_floats(&tensor, DIMS(rows, cols), numbers, (size_t)(rows * cols));
	put_tf_input(&request, name, &tensor);
	put_request(&requests, &request);
}

static void put_requests(const struct version *version)
{
	mkdirat(version->fd, "assets.extra", 0755);
	put_file(version, WARMUP, requests.bytes, requests.length);
}

static void warm_up_requests_are_taken(void **state)
{
	static const float one_to_six[] = {1, 2, 3, 4, 5, 6};
	const struct version *version = *state;
	struct fg_plan plan;
	uint32_t rows;
	void *bytes;
	int fd;

	requests.length = 0;
	add_request("any_name:0", 3, 2);
	add_request("x", 1, 2);
	put_record(&requests, "", 0);
	put_requests(version);
	assert_ended(pack(version), 0,
		     "flipgate-pack: warm-up: 2 requests, 4 rows; 1 skipped: record 3 is empty: "
		     "only predict_log is used\n");
	fd = open(version->plan, O_RDONLY);
	plan = open_plan(fd, &bytes);
	close(fd);
	assert_int_equal(plan.warmup_count, 2);
	assert_int_equal(plan.golden_rows, 16);
	assert_memory_equal(fg_plan_warmup(&plan, 0, &rows), one_to_six, sizeof(one_to_six));
	assert_int_equal(rows, 3);
	assert_memory_equal(fg_plan_warmup(&plan, 1, &rows), one_to_six, 2 * sizeof(float));
	assert_int_equal(rows, 1);
	free(bytes);
	/* The same beside golden rows and with other weights. */
	put_string(version, "golden.json", "{\"inputs\": [[0, 0]], \"outputs\": [[0, 0]]}");
	assert_ended(RUN(version->path, "-o", version->plan, "-w", "int8", "--name", "digits"), 0,
		     "flipgate-pack: digits: warm-up: 2 requests, 4 rows");
	fd = open(version->plan, O_RDONLY);
	plan = open_plan(fd, &bytes);
	close(fd);
	assert_int_equal(plan.warmup_count, 2);
	assert_int_equal(plan.header->golden_shipped, 1);
	free(bytes);
}

/* What is told of them has a line of its own, of a fixed length. */
static void a_long_name_is_cut(void **state)
{
	const struct version *version = *state;
	char name[2000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	requests.length = 0;
	add_request("x", 1, 2);
	put_record(&requests, "", 0);
	put_requests(version);
	assert_ended(RUN(version->path, "-o", version->plan, "--name", name), 0,
		     "nnn: warm-up: 1 requests, 1 rows; 1 skipped: record 2 is empty");
}

static void other_warm_up_files_are_refused(void **state)
{
	const struct version *version = *state;
	char path[128];

	requests.length = 0;
	add_request("x", 2, 2);
	add_request("x", 2, 3);
	put_requests(version);
	assert_ended(pack(version), 3,
		     "tf_serving_warmup_requests: record 2 input 'x' is 2 x 3, 3 columns in a row; "
		     "the model's input 'x' has 2");
	snprintf(path, sizeof(path), "%s/model.onnx", version->path);
	assert_ended(RUN(path, "-o", version->plan), 0, ""); /* is no version */
	put_string(version, WARMUP, "no records, but some text");
	assert_ended(pack(version), 3, "record 1: the checksum of its length does not match");
	unlinkat(version->fd, WARMUP, 0);
	assert_ended(pack(version), 0, "");
	unlinkat(version->fd, "assets.extra", AT_REMOVEDIR);
	put_string(version, "assets.extra", "a file");
	assert_ended(pack(version), 3, "assets.extra: Not a directory");
	unlinkat(version->fd, "assets.extra", 0);
}

static void unreadable_files_are_named(void **state)
{
	const struct version *version = *state;

	if (geteuid() != 0)
		skip();
	requests.length = 0;
	put_requests(version);
	assert_int_equal(fchmodat(version->fd, WARMUP, 0600, 0), 0);
	assert_ended(pack(version), 2, WARMUP ": user 65534 may not read it: chmod o+r");
	assert_int_equal(fchmodat(version->fd, "assets.extra", 0700, 0), 0);
	assert_ended(pack(version), 2, "assets.extra: user 65534 may not read it: chmod o+rx");
}

int main(void)
{
#define WITH_VERSION(test) cmocka_unit_test_setup_teardown(test, make_version, remove_version)
	const struct CMUnitTest tests[] = {
		WITH_VERSION(warm_up_requests_are_taken),
		WITH_VERSION(a_long_name_is_cut),
		WITH_VERSION(other_warm_up_files_are_refused),
		WITH_VERSION(unreadable_files_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
