/*
 * models/warmup and models/tf_tensor: files that TensorFlow wrote (tests/data/warmup), and requests
 * that fit a model and that do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/compile_plan.h"
#include "models/cpu.h"
#include "models/file.h"
#include "models/model.h"
#include "models/npy.h"
#include "models/onnx.h"
#include "models/plan_format.h"
#include "models/warmup.h"
#include "tests/unit/warmup_writer.h"

/* A model with its plan, and what was read for it. */
struct place {
	struct fg_plan plan;
	void *bytes;
	size_t size;
	struct fg_arena arena;
	struct fg_warmup warmup;
	struct fg_error error;
};

static void compile(struct place *place, struct fg_graph *read)
{
	if (fg_compile(read, NULL, NULL, &place->bytes, &place->size, &place->error) ||
	    fg_plan_open(&place->plan, place->bytes, place->size, &place->error))
		fail_msg("%s", place->error.text);
	fg_graph_free(read);
}

/* A model of x (2, 3) and ids (2), which adds the first of each. */
static int make_place(void **state)
{
	static struct writer graph, model, attributes;
	static struct place place;
	static struct fg_graph read;

	memset(&place, 0, sizeof(place));
	graph.length = model.length = attributes.length = 0;
	put_input(&graph, "x:0", DIMS(0, 2, 3));
	put_input(&graph, "ids", DIMS(0, 2));
	put_node(&graph, "Flatten", "flatten", "x:0", "flat", NULL);
	attribute_int(&attributes, "axis", 1);
	put_node(&graph, "Concat", "join", "flat ids", "all", &attributes);
	put_weights(&graph, "w", DIMS(8, 1), 5);
	put_node(&graph, "MatMul", "layer", "all w", "y", NULL);
	put_output(&graph, "y", DIMS(0, 1));
	put_model(&model, &graph, 13);
	if (fg_onnx_parse(&read, model.bytes, model.length, -1, &place.error)) {
		fprintf(stderr, "%s\n", place.error.text);
		return -1;
	}
	compile(&place, &read);
	*state = &place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;

	free(place->bytes);
	fg_arena_free(&place->arena);
	return 0;
}

/* Of a copy whose memory ends where it does. */
static int read_copy(struct place *place, const struct writer *file)
{
	void *copy = malloc(file->length ? file->length : 1);
	int result;

	memcpy(copy, file->bytes, file->length);
	strcpy(place->error.text, "(nothing said)");
	result = fg_warmup_read(&place->warmup, &place->plan, copy, file->length, &place->arena,
				&place->error);
	free(copy);
	return result;
}

static void assert_read(struct place *place, const struct writer *file, uint32_t count,
			uint32_t rows)
{
	if (read_copy(place, file))
		fail_msg("%s", place->error.text);
	assert_int_equal(place->warmup.count, count);
	assert_int_equal(place->warmup.rows, rows);
}

static void assert_refused(struct place *place, const struct writer *file, const char *text)
{
	int result = read_copy(place, file);

	if (result != -EINVAL || !strstr(place->error.text, text))
		fail_msg("%d, '%s' does not say '%s'", result, place->error.text, text);
}

/* ---- files of TensorFlow ---- */

static void load_case(struct place *place, const char *name, const char *model)
{
	static struct fg_graph read;
	const void *bytes;
	char path[256];
	size_t size;
	int dir;

	memset(place, 0, sizeof(*place));
	snprintf(path, sizeof(path), "tests/data/tf/%s", model);
	dir = open(path, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	if (fg_model_load(&read, dir, NULL, &place->error))
		fail_msg("%s", place->error.text);
	close(dir);
	compile(place, &read);
	snprintf(path, sizeof(path), "tests/data/warmup/%s", name);
	dir = open(path, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	if (fg_warmup_load(dir, &place->arena, &bytes, &size, &place->error) ||
	    fg_warmup_read(&place->warmup, &place->plan, bytes, size, &place->arena, &place->error))
		fail_msg("%s", place->error.text);
	close(dir);
}

/* rows.npy of the case is what was read. */
static void check_rows(struct place *place, const char *name)
{
	char path[256];
	const void *bytes;
	struct fg_npy npy;
	size_t size;
	int dir;

	snprintf(path, sizeof(path), "tests/data/warmup/%s", name);
	dir = open(path, O_RDONLY | O_DIRECTORY);
	if (fg_file_load(dir, "rows.npy", 1 << 20, &place->arena, &bytes, &size, &place->error) ||
	    fg_npy_open(&npy, bytes, size, &place->error))
		fail_msg("%s", place->error.text);
	close(dir);
	assert_int_equal(npy.count, (size_t)place->warmup.rows * place->plan.in_cols);
	for (size_t i = 0; i < npy.count; i++)
		if (place->warmup.inputs[i] != (float)fg_npy_number(&npy, i))
			fail_msg("%s: row %zu, column %zu: got %.9g, wanted %.9g", name,
				 i / place->plan.in_cols, i % place->plan.in_cols,
				 place->warmup.inputs[i], fg_npy_number(&npy, i));
}

static void files_of_tensorflow_are_read(void **state)
{
	static const struct {
		const char *name, *model;
		uint32_t count, last, skipped;
	} cases[] = {
		{"dense_softmax", "dense_softmax_keras", 3, 7, 0},
		{"types", "dense_softmax_keras", 36, 2, 0},
		{"wide_and_deep", "wide_and_deep_keras", 3, 5, 0},
		{"kinds", "dense_softmax_keras", 1, 2, 6},
	};
	struct place place;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		load_case(&place, cases[i].name, cases[i].model);
		check_rows(&place, cases[i].name);
		assert_int_equal(place.warmup.count, cases[i].count);
		assert_int_equal(place.warmup.batches[cases[i].count - 1], cases[i].last);
		assert_int_equal(place.warmup.skipped, cases[i].skipped);
		assert_int_equal(place.warmup.rows_left, 0);
		if (cases[i].skipped)
			assert_string_equal(place.warmup.note.text,
					    "record 1 is a classify_log: only predict_log is used");
		free(place.bytes);
		fg_arena_free(&place.arena);
	}
}

/* A plan gives back what was put in. */
static void a_plan_holds_the_batches(void **state)
{
	const size_t in_row = 6;
	struct fg_plan plan;
	struct place place;
	uint32_t rows, row = 0;

	(void)state;
	load_case(&place, "wide_and_deep", "wide_and_deep_keras");
	assert_int_equal(place.plan.warmup_count, 0);
	assert_int_equal(fg_plan_add_warmup(&place.bytes, &place.size, &place.warmup, &place.error),
			 0);
	if (fg_plan_open(&plan, place.bytes, place.size, &place.error))
		fail_msg("%s", place.error.text);
	assert_int_equal(plan.warmup_count, 3);
	assert_int_equal(plan.header->warmup_rows, 10);
	for (uint32_t i = 0; i < 3; i++) {
		const float *in = fg_plan_warmup(&plan, i, &rows);

		assert_int_equal(rows, place.warmup.batches[i]);
		assert_memory_equal(in, place.warmup.inputs + row * in_row,
				    rows * in_row * sizeof(float));
		row += rows;
	}
	assert_int_equal(row, 10);
	free(place.bytes);
	fg_arena_free(&place.arena);
}

/* ---- requests that fit, and that do not ---- */

static const float numbers[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static struct writer tensor, request, file;

/* A file of one request: x and ids, as those two tensors. */
static void begin_request(void)
{
	request.length = file.length = 0;
}

static void add_floats(const char *name, struct dims dims, size_t count)
{
	tf_floats(&tensor, dims, numbers, count);
	put_tf_input(&request, name, &tensor);
}

static void inputs_are_found_by_name(void **state)
{
	static const float wanted[16] = {1, 2, 3, 4, 5, 6, 1, 2, 7, 8, 9, 10, 11, 12, 3, 4};
	struct place *place = *state;

	begin_request();
	add_floats("ids:0", DIMS(2, 2), 4);
	add_floats("x", DIMS(2, 2, 3), 12);
	put_request(&file, &request);
	assert_read(place, &file, 1, 2);
	assert_memory_equal(place->warmup.inputs, wanted, sizeof(wanted));
	begin_request();
	add_floats("x:0", DIMS(2, 3, 1, 2), 12); /* another way to write 6 columns */
	add_floats("ids", DIMS(2, 2), 4);
	put_request(&file, &request);
	put_request(&file, &request);
	assert_read(place, &file, 2, 4);
	assert_memory_equal(place->warmup.inputs + 16, wanted, sizeof(wanted));
}

/* TensorFlow: the last number goes on; no number is zeros; those beyond the shape do not count. */
static void lists_may_be_short(void **state)
{
	static const float wanted[16] = {1,    2.5f, 2.5f, 2.5f, 2.5f, 2.5f, 0, 0,
					 2.5f, 2.5f, 2.5f, 2.5f, 2.5f, 2.5f, 0, 0};
	struct place *place = *state;

	begin_request();
	tf_floats(&tensor, DIMS(2, 6), NULL, 0);
	put_float(&tensor, 5, 1);
	put_float(&tensor, 5, 2.5f);
	put_tf_input(&request, "x", &tensor);
	tf_floats(&tensor, DIMS(2, 2), NULL, 0);
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	assert_read(place, &file, 1, 2);
	assert_memory_equal(place->warmup.inputs, wanted, sizeof(wanted));
	begin_request();
	tf_floats(&tensor, DIMS(1, 6), NULL, 0);
	put_bytes(&tensor, 5, numbers, 4 * sizeof(float)); /* packed, and one by one */
	for (int i = 4; i < 12; i++)
		put_float(&tensor, 5, numbers[i]);
	put_tf_input(&request, "x", &tensor);
	tensor.length = 0;
	tf_tensor_head(&tensor, TF_INT32, DIMS(1, 2));
	put_int(&tensor, 7, (uint64_t)-5);
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	assert_read(place, &file, 1, 1);
	assert_memory_equal(place->warmup.inputs, numbers, 6 * sizeof(float));
	assert_true(place->warmup.inputs[6] == -5 && place->warmup.inputs[7] == -5);
}

static void names_and_shapes_are_checked(void **state)
{
	static const struct {
		const char *name;
		struct dims dims;
		size_t count;
		const char *text;
	} cases[] = {
		{"y", DIMS(2, 2, 3), 12,
		 "record 2 input 'y' is none of the model's 2; its first is 'x:0'"},
		{"", DIMS(2, 2, 3), 12, "input '' is none of"},
		{"x:1", DIMS(2, 2, 3), 12, "input 'x:1' is none of"},
		{"ids", DIMS(2, 2), 4, "input 'ids' is one too many: 'ids' is there already"},
		{"ids:0", DIMS(2, 2), 4, "input 'ids:0' is one too many"},
		{"x", DIMS(2, 5), 10,
		 "input 'x' is 2 x 5, 5 columns in a row; the model's input 'x:0' has 6"},
		{"x", DIMS(6), 6, "input 'x' is 6, 1 columns in a row"},
		{"x", DIMS(1, 6), 6, "input 'x' has 1 rows, another input has 2"},
		{"x", SCALAR, 1, "input 'x' has no dimensions"},
		{"x", DIMS(0, 6), 0, "input 'x' has the shape 0: no rows"},
		{"x", DIMS(2, 0), 0, "has the shape 2 x 0: no rows"},
		{"x", DIMS(-1, 6), 12, ": no rows, or too many"},
		{"x", DIMS(2, INT64_MAX, 3), 12, ": no rows, or too many"},
		{"x", DIMS(INT64_MAX, 2, 2), 12, ": no rows, or too many"},
		{"x", DIMS(2, 2, 3), 11,
		 "has 44 bytes of tensor_content, which do not make the shape 2 x 2 x 3"},
		{"x", DIMS(1, 2, 3), 12, "has 48 bytes of tensor_content, which do not"},
	};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin_request();
		add_floats("x", DIMS(2, 6), 12);
		add_floats("ids", DIMS(2, 2), 4);
		put_request(&file, &request);
		request.length = 0;
		add_floats("ids", DIMS(2, 2), 4);
		add_floats(cases[i].name, cases[i].dims, cases[i].count);
		put_request(&file, &request);
		assert_refused(place, &file, cases[i].text);
	}
	begin_request();
	add_floats("ids", DIMS(2, 2), 4);
	put_request(&file, &request);
	assert_refused(place, &file,
		       "tf_serving_warmup_requests: record 1 lacks the model's input "
		       "'x:0' (6 columns)");
	begin_request();
	put_request(&file, &request); /* no inputs at all */
	assert_refused(place, &file, "record 1 lacks the model's input 'x:0'");
}

static void types_are_checked(void **state)
{
	static const int wrong[] = {0, TF_COMPLEX64, 11, 18, 20, 21, 23, 24, 101, 1000};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		begin_request();
		tensor.length = 0;
		tf_tensor_head(&tensor, wrong[i], DIMS(2, 2));
		put_tf_input(&request, "ids", &tensor);
		put_request(&file, &request);
		assert_refused(place, &file, "record 1 input 'ids' is of data type ");
	}
}

/* Requests with texts and other records are passed over; what is behind them is read. */
static void other_records_are_skipped(void **state)
{
	static struct writer log, empty;
	struct place *place = *state;

	begin_request();
	tensor.length = log.length = 0;
	tf_tensor_head(&tensor, TF_STRING, DIMS(1));
	put_text(&tensor, 8, "an example");
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	put_message(&log, 2, &empty);
	put_record(&file, log.bytes, log.length);
	put_record(&file, "", 0);
	request.length = 0;
	add_floats("x", DIMS(1, 6), 6);
	add_floats("ids", DIMS(1, 2), 2);
	put_request(&file, &request);
	assert_read(place, &file, 1, 1);
	assert_int_equal(place->warmup.skipped, 3);
	assert_string_equal(place->warmup.note.text,
			    "record 1 input 'ids' holds texts (DT_STRING)");
	assert_memory_equal(place->warmup.inputs, numbers, 6 * sizeof(float));
	file.length = 0;
	assert_read(place, &file, 0, 0);
}

static void damaged_files_are_refused(void **state)
{
	struct place *place = *state;
	static struct writer cut;

	begin_request();
	add_floats("x", DIMS(1, 6), 6);
	add_floats("ids", DIMS(1, 2), 2);
	put_request(&file, &request);
	for (size_t length = 1; length < file.length; length++) {
		memcpy(&cut, &file, sizeof(cut));
		cut.length = length;
		assert_refused(place, &cut, "tf_serving_warmup_requests: record 1 ");
		memcpy(&cut, &file, sizeof(cut));
		cut.bytes[length] ^= 1;
		assert_refused(place, &cut, "tf_serving_warmup_requests: record 1: the checksum");
	}
	/* A message that ends early, with the right checksum around it. */
	for (size_t length = 1; length < request.length; length++) {
		memcpy(&cut, &request, sizeof(cut));
		cut.length = length;
		file.length = 0;
		put_request(&file, &cut);
		assert_int_equal(read_copy(place, &file), -EINVAL);
		assert_non_null(strstr(place->error.text, "record 1 "));
	}
	file.length = 0;
	put_record(&file, "no protobuf", 11);
	assert_refused(place, &file, "record 1 is no PredictionLog, or malformed");
}

static void a_list_that_is_no_list_is_refused(void **state)
{
	struct place *place = *state;

	begin_request();
	tf_floats(&tensor, DIMS(1, 2), NULL, 0);
	put_bytes(&tensor, 5, "abcde", 5); /* a float and a quarter */
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	assert_refused(place, &file, "record 1 input 'ids' has a malformed TensorProto");
	begin_request();
	tf_floats(&tensor, DIMS(1, 2), NULL, 0);
	put_int(&tensor, 5, 3); /* a varint */
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	assert_refused(place, &file, "has a malformed TensorProto");
	begin_request();
	tensor.length = 0;
	put_int(&tensor, 1, TF_FLOAT);
	put_bytes(&tensor, 2, "\x12\x02\x08", 3); /* a Dim that ends early */
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	assert_refused(place, &file, "has a malformed TensorProto");
}

/* ---- limits ---- */

/* 3000 rows a request, of a number each: the second does not fit whole, the third not at all. */
static void rows_beyond_the_limit_are_left_out(void **state)
{
	struct place *place = *state;

	begin_request();
	tf_floats(&tensor, DIMS(3000, 6), NULL, 0);
	put_float(&tensor, 5, 2);
	put_tf_input(&request, "x", &tensor);
	tf_floats(&tensor, DIMS(3000, 2), NULL, 0);
	put_float(&tensor, 5, 3);
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	put_request(&file, &request);
	put_request(&file, &request);
	assert_read(place, &file, 2, FG_PLAN_MAX_WARMUP_ROWS);
	assert_int_equal(place->warmup.batches[0], 3000);
	assert_int_equal(place->warmup.batches[1], 1096);
	assert_int_equal(place->warmup.rows_left, 9000 - 4096);
	for (size_t i = 0; i < 8 * (size_t)FG_PLAN_MAX_WARMUP_ROWS; i++)
		assert_true(place->warmup.inputs[i] == (i % 8 < 6 ? 2 : 3));
	/* Behind the limit they are checked all the same. */
	request.length = 0;
	add_floats("ids", DIMS(2, 2), 4);
	put_request(&file, &request);
	assert_refused(place, &file, "record 4 lacks");
	begin_request();
	tf_floats(&tensor, DIMS(INT64_MAX / 8, 6), NULL, 0);
	put_tf_input(&request, "x", &tensor);
	tf_floats(&tensor, DIMS(INT64_MAX / 8, 2), NULL, 0);
	put_tf_input(&request, "ids", &tensor);
	put_request(&file, &request);
	assert_read(place, &file, 1, FG_PLAN_MAX_WARMUP_ROWS);
	assert_int_equal(place->warmup.rows_left, INT64_MAX / 8 - 4096);
}

static void more_records_than_tensorflow_takes_are_refused(void **state)
{
	struct place *place = *state;

	file.length = 0;
	for (int i = 0; i < 1000; i++)
		put_record(&file, "", 0);
	assert_read(place, &file, 0, 0);
	assert_int_equal(place->warmup.skipped, 1000);
	put_record(&file, "", 0);
	assert_refused(place, &file, "more than 1000 records");
}

/* ---- the file ---- */

static int load(int dir, struct place *place)
{
	const void *bytes;
	size_t size;

	return fg_warmup_load(dir, &place->arena, &bytes, &size, &place->error);
}

static void the_file_is_found(void **state)
{
	char path[] = "/tmp/fgt-warmup-XXXXXX";
	struct place place = {.bytes = NULL};
	int dir, big;

	(void)state;
	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(load(dir, &place), -ENOENT);
	assert_int_equal(mkdirat(dir, "assets.extra", 0755), 0);
	assert_int_equal(load(dir, &place), -ENOENT);
	big = openat(dir, "assets.extra/tf_serving_warmup_requests", O_WRONLY | O_CREAT, 0644);
	assert_int_equal(ftruncate(big, (64 << 20) + 1), 0);
	assert_int_equal(load(dir, &place), -EFBIG);
	assert_non_null(strstr(place.error.text, "assets.extra/tf_serving_warmup_requests has "));
	close(big);
	unlinkat(dir, "assets.extra/tf_serving_warmup_requests", 0);
	assert_int_equal(symlinkat("/etc/passwd", dir, "assets.extra/tf_serving_warmup_requests"),
			 0);
	assert_int_equal(load(dir, &place), -EINVAL);
	assert_non_null(strstr(place.error.text, "symbolic link"));
	unlinkat(dir, "assets.extra/tf_serving_warmup_requests", 0);
	unlinkat(dir, "assets.extra", AT_REMOVEDIR);
	assert_int_equal(symlinkat("/etc", dir, "assets.extra"), 0);
	assert_int_equal(load(dir, &place), -EINVAL);
	assert_non_null(strstr(place.error.text, "assets.extra: Not a directory"));
	unlinkat(dir, "assets.extra", 0);
	close(dir);
	assert_int_equal(rmdir(path), 0);
	fg_arena_free(&place.arena);
}

int main(void)
{
#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_tensorflow_are_read),
		cmocka_unit_test(a_plan_holds_the_batches),
		WITH_PLACE(inputs_are_found_by_name),
		WITH_PLACE(lists_may_be_short),
		WITH_PLACE(names_and_shapes_are_checked),
		WITH_PLACE(types_are_checked),
		WITH_PLACE(other_records_are_skipped),
		WITH_PLACE(damaged_files_are_refused),
		WITH_PLACE(a_list_that_is_no_list_is_refused),
		WITH_PLACE(rows_beyond_the_limit_are_left_out),
		WITH_PLACE(more_records_than_tensorflow_takes_are_refused),
		cmocka_unit_test(the_file_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
