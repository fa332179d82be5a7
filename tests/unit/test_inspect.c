/*
 * flipgate inspect and verify as programs (from $BUILD/bin), on models that are there and on files
 * that are none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "models/inspect.h"
#include "tests/unit/plan_fixture.h"

#define DIGITS "tests/data/digits/2"

/* What `flipgate ARGUMENTS` prints, both streams; the caller frees it. */
static char *flipgate(const char *arguments, int want)
{
	const char *build = getenv("BUILD");
	char command[1024], *text = calloc(1, 1 << 20);
	size_t length;
	FILE *out;
	int status;

	snprintf(command, sizeof(command), "%s/bin/flipgate %s 2>&1", build ? build : "build",
		 arguments);
	out = popen(command, "r");
	assert_non_null(out);
	length = fread(text, 1, (1 << 20) - 1, out);
	text[length] = 0;
	status = pclose(out);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != want)
		fail_msg("%s: ended with %d, not %d: %s", command, status, want, text);
	return text;
}

static void assert_prints(const char *arguments, int want, const char *wanted)
{
	char *text = flipgate(arguments, want);

	if (!strstr(text, wanted))
		fail_msg("'%s' does not say '%s'", text, wanted);
	free(text);
}

static json_t *parse(const char *arguments, int want)
{
	char *text = flipgate(arguments, want);
	json_error_t where;
	json_t *root = json_loads(text, 0, &where);

	if (!root)
		fail_msg("%s: %s", where.text, text);
	free(text);
	return root;
}

static void text_says_what_is_done(void **state)
{
	(void)state;
	assert_prints("inspect " DIGITS, 0, "(rows, 64) -> (rows, 10)");
	assert_prints("inspect " DIGITS, 0, "probabilities (rows, 10), columns 0 to 9");
	assert_prints("inspect " DIGITS, 0, "softmax");
	assert_prints("inspect " DIGITS "/model.onnx --weights bf16", 0, "weights  bf16, off from");
}

static void json_says_the_same(void **state)
{
	json_t *root = parse("inspect " DIGITS " --output json", 0), *step, *us;

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(root, "in_cols")), 64);
	assert_int_equal(json_integer_value(
				 json_object_get(json_object_get(root, "warmup"), "rows")),
			 0);
	assert_int_equal(json_array_size(json_object_get(root, "steps")), 4);
	step = json_array_get(json_object_get(root, "steps"), 0);
	assert_string_equal(json_string_value(json_object_get(step, "kind")), "dense");
	assert_string_equal(json_string_value(json_object_get(step, "activation")), "relu");
	assert_int_equal(json_integer_value(json_object_get(step, "flops")), 2 * 64 * 64 + 64);
	us = json_object_get(root, "us");
	assert_true(json_real_value(json_object_get(us, "1")) > 0);
	assert_true(json_real_value(json_object_get(us, "32")) >
		    json_real_value(json_object_get(us, "1")));
	json_decref(root);
}

static void classes_have_names(void **state)
{
	(void)state;
	assert_prints("inspect tests/data/sklearn/logistic_words_zipmap", 0,
		      "output_label (rows) integers, column 0: fair, great, low");
	assert_prints("inspect tests/data/sklearn/logistic_words_zipmap", 0,
		      "output_probability (rows, 3), columns 1 to 3, named fair, great, low");
	assert_prints("inspect tests/data/sklearn/logistic_zipmap --output json", 0,
		      "\"named_columns\":true,\"labels\":[\"-1\",\"1\",\"3\"]");
}

/* Class labels come from the model file: they must not command the terminal. */
static void labels_are_only_text(void **state)
{
	struct fixture *fixture = *state;
	char *label = fixture->bytes + ports(fixture)[2].labels, *text = NULL;
	struct fg_inspect_times times = {.step_us = calloc(STEPS, sizeof(*times.step_us))};
	struct fg_error error;
	struct fg_plan plan;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_non_null(times.step_us);
	memcpy(label, "a\x1bt", 3);	       /* was "cat" */
	memcpy(label + 4, "\xc2\x9b\x7fg", 4); /* was "dog", the o of two bytes */
	seal(fixture);
	if (fg_plan_open(&plan, fixture->bytes, fixture->size, &error))
		fail_msg("%s", error.text);
	fg_inspect_text(&plan, &times, out);
	fclose(out);
	if (!strstr(text, ": a?t, ??g, \n") || !strstr(text, "\nwarm-up  2 requests, 3 rows\n"))
		fail_msg("%s", text);
	free(text);
	fg_inspect_times_free(&times);
}

static void pictures_are_drawn(void **state)
{
	char *text = flipgate("inspect " DIGITS " --output svg", 0);

	(void)state;
	assert_memory_equal(text, "<svg ", 5);
	assert_non_null(strstr(text, "dense  64 -&gt; 64"));
	assert_string_equal(text + strlen(text) - 7, "</svg>\n");
	free(text);
}

static void others_are_refused(void **state)
{
	(void)state;
	assert_prints("inspect /nonexistent", 5, "/nonexistent: No such file");
	assert_prints("inspect README.md", 5, "not a model by its name");
	assert_prints("inspect tests/data", 5, "no model.onnx, model.h5 or model.keras");
	assert_prints("inspect " DIGITS " --output xml", 1, "json");
	assert_prints("inspect", 1, "want one MODEL");
}

static void rows_are_verified(void **state)
{
	const char *good = "verify " DIGITS " tests/data/digits/inputs.npy "
			   "tests/data/digits/reference_2.npy";
	json_t *root;
	char bad[512];

	(void)state;
	assert_prints(good, 0, "360 rows, ok");
	snprintf(bad, sizeof(bad), "%s --tolerance 1e-12", good);
	assert_prints(bad, 2, "off: worst");
	root = parse("verify " DIGITS " --output json", 0);
	assert_true(json_is_true(json_object_get(root, "ok")));
	json_decref(root);
	assert_prints("verify " DIGITS " tests/data/digits/inputs.npy tests/data/digits/labels.npy",
		      5, "the model takes (rows, 64) to (rows, 10)");
	assert_prints("verify " DIGITS " tests/data/digits/inputs.npy", 1, "MODEL INPUTS OUTPUTS");
	assert_prints("verify " DIGITS " a b", 5, "a: No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_says_what_is_done),
		cmocka_unit_test(json_says_the_same),
		cmocka_unit_test(classes_have_names),
		cmocka_unit_test(pictures_are_drawn),
		cmocka_unit_test_setup_teardown(labels_are_only_text, set_up, tear_down),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(rows_are_verified),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
