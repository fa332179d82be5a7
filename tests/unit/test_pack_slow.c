/* flipgate-pack and models of which one row takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <time.h>
#include "tests/unit/pack_case.h"

#define COLUMNS (1 << 20) /* the widest that a plan has */

/* y (N, 1) = the largest of x (N, 1) to the power of itself, `powers` times over, in a million
 * columns: a file of some kilobytes, a row of some milliseconds for each. */
static void put_slow(const struct version *version, int powers)
{
	char from[16] = "wide", to[16], inputs[40], name[24];

	graph.length = model.length = 0;
	put_input(&graph, "x", DIMS(0, 1));
	put_shape(&graph, "shape", DIMS(1, COLUMNS));
	put_node(&graph, "Expand", "widen", "x shape", "wide", NULL);
	for (int i = 0; i < powers; i++) {
		snprintf(to, sizeof(to), "p%d", i);
		snprintf(name, sizeof(name), "power_%d", i);
		snprintf(inputs, sizeof(inputs), "%s wide", from);
		put_node(&graph, "Pow", name, inputs, to, NULL);
		strcpy(from, to);
	}
	put_shape(&graph, "axes", DIMS(1));
	snprintf(inputs, sizeof(inputs), "%s axes", from);
	put_node(&graph, "ReduceMax", "", inputs, "y", NULL);
	put_output(&graph, "y", DIMS(0, 1));
	put_model(&model, &graph, 18);
	put_file(version, "model.onnx", model.bytes, model.length);
}

static void a_row_that_takes_seconds_is_refused(void **state)
{
	const struct version *version = *state;
	const time_t start = time(NULL);
	struct ended ended;
	double ms = 0;

	put_slow(version, 300);
	assert_true(model.length < 12000);
	ended = pack(version);
	assert_ended(ended, 8, "a row takes ");
	assert_ended(ended, 8, "at most 10 ms are allowed (max-row)");
	assert_ended(ended, 8, "\"power_");
	assert_ended(ended, 8, "(pow, 1048576 -> 1048576), takes most: ");
	ms = atof(strstr(ended.text, "a row takes ") + (strstr(ended.text, "more than")
								? strlen("a row takes more than ")
								: strlen("a row takes ")));
	assert_true(ms > 100);
	assert_true(time(NULL) - start < 30);
	assert_int_equal(access(version->plan, F_OK), -1);
}

static void the_bound_is_an_option(void **state)
{
	const struct version *version = *state;

	put_slow(version, 1);
	assert_ended(RUN(version->path, "-o", version->plan, "--max-row-ms", "0.01"), 8,
		     "at most 0.01 ms are allowed");
	assert_ended(RUN(version->path, "-o", version->plan, "--max-row-ms", "1000"), 0, "");
	assert_ended(RUN(version->path, "-o", version->plan, "--max-row-ms", "0"), 1,
		     "--max-row-ms");
	assert_ended(RUN(version->path, "-o", version->plan, "-r", "1001"), 1, "--max-row-ms");
	assert_ended(RUN(version->path, "-o", version->plan, "-r", "9x"), 1, "--max-row-ms");
}

/* A row is quick enough, all of them are not. */
static void golden_rows_may_not_take_minutes(void **state)
{
	static char golden[1 << 16];
	const struct version *version = *state;
	size_t length = (size_t)sprintf(golden, "{\"inputs\": [[1]");

	for (int i = 1; i < 4096; i++)
		length += (size_t)sprintf(golden + length, ",[1]");
	length += (size_t)sprintf(golden + length, "], \"outputs\": [[1]");
	for (int i = 1; i < 4096; i++)
		length += (size_t)sprintf(golden + length, ",[1]");
	sprintf(golden + length, "]}");
	put_slow(version, 1);
	put_string(version, "golden.json", golden);
	assert_ended(RUN(version->path, "-o", version->plan, "--max-row-ms", "1000"), 3,
		     "checking 4096 golden rows would take");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_version, remove_version)
	const struct CMUnitTest tests[] = {
		TEST(a_row_that_takes_seconds_is_refused),
		TEST(the_bound_is_an_option),
		TEST(golden_rows_may_not_take_minutes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
