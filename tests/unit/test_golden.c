/* models/golden: golden.json and golden.npz, as they should be and as they should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>
#include "models/golden.h"

struct place {
	char path[64];
	int fd;
	struct fg_arena arena;
	struct fg_golden golden;
	struct fg_error error;
};

static int make_place(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->path, "/tmp/fgt-golden-XXXXXX");
	if (!mkdtemp(place->path))
		return -1;
	place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = place;
	return place->fd < 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;
	int result;

	unlinkat(place->fd, FG_GOLDEN_JSON, 0);
	unlinkat(place->fd, FG_GOLDEN_NPZ, 0);
	close(place->fd);
	fg_arena_free(&place->arena);
	result = rmdir(place->path); /* fails, and so does the test, when a file was left */
	free(place);
	return result;
}

static int load(struct place *place)
{
	place->error.text[0] = 0;
	return fg_golden_load(&place->golden, place->fd, &place->arena, &place->error);
}

static void put_json(struct place *place, const char *text)
{
	int fd = openat(place->fd, FG_GOLDEN_JSON, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void assert_refused(struct place *place, const char *text)
{
	assert_int_equal(load(place), -EINVAL);
	if (!strstr(place->error.text, text))
		fail_msg("want '%s' in '%s'", text, place->error.text);
}

/* ---- golden.npz ---- */

/* One entry: the dictionary of a .npy file and its data. `claimed` dimensions may lie. */
static void add_array(zip_t *zip, const char *name, const char *type, const char *shape,
		      const void *data, size_t bytes)
{
	char *npy = calloc(1, 128 + bytes);
	zip_source_t *source;

	memcpy(npy, "\x93NUMPY\x01\x00\x76\x00", 10);
	snprintf(npy + 10, 118, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type,
		 shape);
	memset(npy + 10 + strlen(npy + 10), ' ', 118 - strlen(npy + 10));
	memcpy(npy + 128, data, bytes);
	source = zip_source_buffer(zip, npy, 128 + bytes, 1);
	assert_non_null(source);
	assert_true(zip_file_add(zip, name, source, 0) >= 0);
}

static zip_t *begin_npz(struct place *place)
{
	char path[96];
	zip_t *zip;

	snprintf(path, sizeof(path), "%s/%s", place->path, FG_GOLDEN_NPZ);
	zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
	assert_non_null(zip);
	return zip;
}

static const float ones[64] = {1, 2, 3, 4, 5, 6};

static void json_is_read(void **state)
{
	struct place *place = *state;

	put_json(place, "{\"inputs\": [[1, 2], [3, 4], [5, 6]], \"outputs\": [[1], [2], [3]],"
			" \"tolerance\": 0.01}");
	assert_int_equal(load(place), 0);
	assert_int_equal(place->golden.rows, 3);
	assert_true(place->golden.tolerance == 0.01f);
	assert_int_equal(place->golden.input_count, 1);
	assert_null(place->golden.inputs[0].name);
	assert_int_equal(place->golden.inputs[0].cols, 2);
	assert_memory_equal(place->golden.inputs[0].rows, ones, 6 * sizeof(float));
	assert_true(place->golden.outputs[0].rows[2] == 3);
}

static void json_may_name_its_ports(void **state)
{
	struct place *place = *state;

	put_json(place, "{\"inputs\": {\"wide\": [[1, 2]], \"deep\": [[3]]},"
			" \"outputs\": {\"y\": [[9]]}}");
	assert_int_equal(load(place), 0);
	assert_int_equal(place->golden.input_count, 2);
	assert_string_equal(place->golden.inputs[0].name, "wide");
	assert_string_equal(place->golden.inputs[1].name, "deep");
	assert_int_equal(place->golden.inputs[1].cols, 1);
	assert_true(place->golden.tolerance == FG_GOLDEN_TOLERANCE);
}

static void bad_json_is_refused(void **state)
{
	static const struct {
		const char *json, *error;
	} cases[] = {
		{"", "golden.json: line"},
		{"[]", "\"inputs\": must hold 1 to"},
		{"{\"inputs\": [[1]]}", "\"outputs\": must hold 1 to"},
		{"{\"inputs\": [], \"outputs\": [[1]]}", "\"inputs\": must hold 1 to"},
		{"{\"inputs\": [[]], \"outputs\": [[1]]}", "1 to 1048576 numbers"},
		{"{\"inputs\": [[1, 2], [3]], \"outputs\": [[1], [1]]}",
		 "row 1 is not a list of 2 numbers"},
		{"{\"inputs\": [[1, \"2\"]], \"outputs\": [[1]]}", "row 0, column 1 is no number"},
		{"{\"inputs\": [[1], [2]], \"outputs\": [[1]]}", "1 rows, another has 2"},
		{"{\"inputs\": {}, \"outputs\": [[1]]}", "must hold \"inputs\" and \"outputs\""},
		{"{\"inputs\": [[1]], \"outputs\": [[1]], \"tolerance\": 2}", "\"tolerance\""},
		{"{\"inputs\": [[1]], \"outputs\": [[1]], \"tolerance\": 0}", "\"tolerance\""},
		{"{\"inputs\": [[1]], \"inputs\": [[1]], \"outputs\": [[1]]}", "line 1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_json(*state, cases[i].json);
		assert_refused(*state, cases[i].error);
	}
}

static void npz_is_read(void **state)
{
	static const int64_t whole[] = {-7, 1 << 20};
	static const double tolerance = 0.05;
	struct place *place = *state;
	zip_t *zip = begin_npz(place);

	add_array(zip, "inputs/a.npy", "<f4", "(2, 3)", ones, 6 * sizeof(float));
	add_array(zip, "inputs/b.npy", "<i8", "(2,)", whole, sizeof(whole));
	add_array(zip, "outputs.npy", "<f4", "(2, 2, 1)", ones, 4 * sizeof(float));
	add_array(zip, "tolerance.npy", "<f8", "()", &tolerance, sizeof(tolerance));
	assert_int_equal(zip_close(zip), 0);
	assert_int_equal(load(place), 0);
	assert_int_equal(place->golden.rows, 2);
	assert_int_equal(place->golden.input_count, 2);
	assert_string_equal(place->golden.inputs[1].name, "b");
	assert_true(place->golden.inputs[1].rows[0] == -7.0f);
	assert_true(place->golden.inputs[1].rows[1] == 0x1p20f);
	assert_int_equal(place->golden.outputs[0].cols, 2);
	assert_true(place->golden.tolerance == 0.05f);
}

static void bad_npz_is_refused(void **state)
{
	static const struct {
		const char *name, *type, *shape, *error;
		size_t bytes;
	} cases[] = {
		{"inputs.npy", "<f4", "(2, 3)", "must hold \"inputs\" and \"outputs\"", 24},
		{"inputs.npy", "<f4", "(2, 3)", "cut short", 20},
		{"inputs.npy", ">f4", "(2, 3)", "element type '>f4'", 24},
		{"inputs.npy", "<f2", "(2, 3)", "float16", 24},
		{"tolerance.npy", "<f2", "()", "float16", 2},
		{"inputs.npy", "|O", "(2, 3)", "element type '|O'", 24},
		{"inputs.npy", "<f4", "()", "must hold 1 to", 4},
		{"inputs.npy", "<f4", "(99999999999, 99999999999)", "overflow", 4},
		{"inputs.npy", "<f4", "(5000, 1)", "cut short", 24},
		{"weights.npy", "<f4", "(2, 3)", "is neither", 24},
		{"inputs/.npy", "<f4", "(2, 3)", "is neither", 24},
		{"inputs.txt", "<f4", "(2, 3)", "is no array", 24},
		{"../inputs.npy", "<f4", "(2, 3)", "is neither", 24},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		zip_t *zip = begin_npz(*state);

		add_array(zip, cases[i].name, cases[i].type, cases[i].shape, ones, cases[i].bytes);
		assert_int_equal(zip_close(zip), 0);
		assert_refused(*state, cases[i].error);
	}
}

/* Gigabytes of zeros in a file of some kilobytes. */
static void a_bomb_is_refused(void **state)
{
	const size_t bytes = 90u << 20;
	char *zeros = calloc(1, bytes);
	struct place *place = *state;
	zip_t *zip = begin_npz(place);

	add_array(zip, "inputs/a.npy", "<f4", "(4096, 5760)", zeros, bytes);
	add_array(zip, "inputs/b.npy", "<f4", "(4096, 5760)", zeros, bytes);
	add_array(zip, "inputs/c.npy", "<f4", "(4096, 5760)", zeros, bytes);
	assert_int_equal(zip_close(zip), 0);
	free(zeros);
	assert_int_equal(load(place), -EFBIG);
	assert_non_null(strstr(place->error.text, "holds more than"));
}

static void no_zip_is_refused(void **state)
{
	struct place *place = *state;
	int fd = openat(place->fd, FG_GOLDEN_NPZ, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_int_equal(write(fd, "PK\3\4 but nothing else", 21), 21);
	close(fd);
	assert_refused(place, "golden.npz: ");
}

static void one_of_them_or_none(void **state)
{
	struct place *place = *state;
	zip_t *zip;

	assert_int_equal(load(place), -ENOENT);
	put_json(place, "{\"inputs\": [[1]], \"outputs\": [[1]]}");
	zip = begin_npz(place);
	add_array(zip, "inputs.npy", "<f4", "(1, 1)", ones, 4);
	assert_int_equal(zip_close(zip), 0);
	assert_refused(place, "ship one of them");
}

int main(void)
{
#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		WITH_PLACE(json_is_read),	 WITH_PLACE(json_may_name_its_ports),
		WITH_PLACE(bad_json_is_refused), WITH_PLACE(npz_is_read),
		WITH_PLACE(bad_npz_is_refused),	 WITH_PLACE(a_bomb_is_refused),
		WITH_PLACE(no_zip_is_refused),	 WITH_PLACE(one_of_them_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
