/* tools/cli_matrix: .npy and text files, good, odd and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tools/cli_matrix.h"

struct file {
	unsigned char bytes[512];
	size_t length;
};

/* A .npy file of version `major` with this dictionary and these elements. */
static struct file npy(unsigned char major, const char *dictionary, const void *data, size_t length)
{
	struct file file = {.length = 0};
	size_t text = strlen(dictionary), prefix = major == 1 ? 10 : 12;

	memcpy(file.bytes, "\x93NUMPY", 6);
	file.bytes[6] = major;
	file.bytes[8] = (unsigned char)text;
	file.bytes[9] = (unsigned char)(text >> 8);
	memcpy(file.bytes + prefix, dictionary, text);
	memcpy(file.bytes + prefix + text, data, length);
	file.length = prefix + text + length;
	return file;
}

/* Parses a copy of exactly that size, so that a sanitizer sees a read behind it. */
static int parse(struct fg_matrix *matrix, const struct file *file, struct fg_error *error)
{
	unsigned char *exact = malloc(file->length ? file->length : 1);
	int code;

	assert_non_null(exact);
	memcpy(exact, file->bytes, file->length);
	code = fg_npy_parse(matrix, exact, file->length, error);
	free(exact);
	return code;
}

static void f32_as_numpy_writes_it(void **state)
{
	static const float data[6] = {1, 2, 3, 4, 5, 6};
	struct file file =
		npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n",
		    data, sizeof(data));
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	assert_int_equal(parse(&matrix, &file, &error), 0);
	assert_int_equal(matrix.rows, 2);
	assert_int_equal(matrix.cols, 3);
	assert_int_equal(matrix.dims, 2);
	assert_int_equal(matrix.dtype, FG_DTYPE_F32);
	assert_int_equal(fg_matrix_row_bytes(&matrix), 12);
	assert_memory_equal(matrix.data, data, sizeof(data));
	assert_true(fg_matrix_at(&matrix, 1, 2) == 6);
	fg_matrix_free(&matrix);
}

static void other_types_orders_and_versions(void **state)
{
	static const int64_t labels[3] = {7, -1, 9};
	static const unsigned char bytes[8] = {0, 1, 2, 255, 4, 5, 6, 7};
	static const uint16_t words[2] = {40000, 1};
	struct fg_matrix matrix;
	struct fg_error error;
	struct file file;

	(void)state;
	file = npy(2, "{\"shape\":(3,),\"fortran_order\":True,\"descr\":\"<i8\"}", labels, 24);
	assert_int_equal(parse(&matrix, &file, &error), 0);
	assert_int_equal(matrix.rows, 3);
	assert_int_equal(matrix.cols, 1);
	assert_int_equal(matrix.dims, 1);
	assert_int_equal(matrix.dtype, FG_DTYPE_F64);
	assert_true(fg_matrix_at(&matrix, 1, 0) == -1 && fg_matrix_at(&matrix, 2, 0) == 9);
	fg_matrix_free(&matrix);

	file = npy(3, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2)}", bytes, 8);
	assert_int_equal(parse(&matrix, &file, &error), 0);
	assert_int_equal(matrix.cols, 4);
	assert_int_equal(matrix.dtype, FG_DTYPE_U8);
	assert_true(fg_matrix_at(&matrix, 0, 3) == 255);
	assert_int_equal(fg_matrix_convert(&matrix, FG_DTYPE_F64, &error), -EINVAL);
	assert_int_equal(fg_matrix_convert(&matrix, FG_DTYPE_U8, &error), 0);
	assert_int_equal(fg_matrix_convert(&matrix, FG_DTYPE_F32, &error), 0);
	assert_int_equal(matrix.dtype, FG_DTYPE_F32);
	assert_true(fg_matrix_at(&matrix, 0, 3) == 255 && fg_matrix_at(&matrix, 1, 3) == 7);
	fg_matrix_free(&matrix);

	file = npy(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 2)}", words, 4);
	assert_int_equal(parse(&matrix, &file, &error), 0);
	assert_true(fg_matrix_at(&matrix, 0, 0) == 40000);
	fg_matrix_free(&matrix);

	file = npy(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2, 1)}", bytes, 2);
	assert_int_equal(parse(&matrix, &file, &error), 0);
	assert_true(fg_matrix_at(&matrix, 1, 0) == 1);
	fg_matrix_free(&matrix);
}

static void broken_npy_files(void **state)
{
	static const float data[6];
	static const struct {
		const char *dictionary, *says;
	} cases[] = {
		{"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}", "little-endian"},
		{"{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3)}", "element type"},
		{"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", "element type"},
		{"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", "Fortran"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}", "cut short"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3)}", "has none"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0)}", "has none"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': ()}", "has none"},
		{"{'descr': '<f4', 'fortran_order': False}", "header"},
		{"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 3)}", "header"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}", "header"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", "header"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
		 "header"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
		 "header"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905, 4)}",
		 "overflow"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 65536, 65536)}",
		 "cut short"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)", "header"},
		{"", "header"},
	};
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct file file = npy(1, cases[i].dictionary, data, sizeof(data));

		error.text[0] = 0;
		assert_int_equal(parse(&matrix, &file, &error), -EINVAL);
		if (!strstr(error.text, cases[i].says))
			fail_msg("%s: %s", cases[i].dictionary, error.text);
	}
}

static void every_cut_of_a_good_file_is_an_error(void **state)
{
	static const float data[6];
	struct file file =
		npy(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", data, 24);
	size_t whole = file.length;
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	for (file.length = 0; file.length < whole; file.length++)
		assert_int_equal(parse(&matrix, &file, &error), -EINVAL);
	file.length = whole;
	file.bytes[6] = 4;
	assert_int_equal(parse(&matrix, &file, &error), -EINVAL);
}

static void text_of_many_habits(void **state)
{
	static const char *const texts[] = {
		"1,2,3\n4,5,6\n",
		"1,2,3\n4,5,6",
		"a,b,c\r\n1,2,3\r\n4,5,6\r\n",
		"# about\n\n  1 2\t3 \n4 , 5 ; 6\n\n",
		"info;nana;x\n1;2;3\n4;5;6\n",
		"1e0,0x2,+3\n4.0,5.,6\n",
	};
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (fg_csv_parse(&matrix, texts[i], strlen(texts[i]), FG_CSV_HEADER_AUTO, &error))
			fail_msg("%s: %s", texts[i], error.text);
		assert_int_equal(matrix.rows, 2);
		assert_int_equal(matrix.cols, 3);
		for (size_t j = 0; j < 6; j++)
			assert_true(fg_matrix_at(&matrix, j / 3, j % 3) == (double)j + 1);
		fg_matrix_free(&matrix);
	}
}

static void broken_text(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "has none"},
		{"\n\n# only\n", "has none"},
		{"a,b\n", "has none"},
		{"1,2\n3\n", "line 2: 1 numbers, the rows before have 2"},
		{"1,2\n3,x\n", "line 2, column 2: not a number"},
		{"1,2\n3,4x\n", "line 2, column 2: not a number"},
		{"1,,2\n", "line 1, column 2: empty: write nan"},
		{",2,3\n4,5,6\n", "line 1, column 1: empty: write nan"},
		{" ;2\n3;4\n", "line 1, column 1: empty: write nan"},
		{"1.2.3,4\n5,6\n", "line 1, column 1: not a number"},
		{"id,1\n5,6\n", "line 1, column 1: not a number"},
		{",,\n4,5,6\n", "line 1, column 1: empty: write nan"},
		{"1,2,\n", "line 1: ends in a separator"},
		{"1,2\nname,name\n", "line 2, column 1"},
	};
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		error.text[0] = 0;
		assert_int_equal(fg_csv_parse(&matrix, cases[i].text, strlen(cases[i].text),
					      FG_CSV_HEADER_AUTO, &error),
				 -EINVAL);
		if (!strstr(error.text, cases[i].says))
			fail_msg("%s: %s", cases[i].text, error.text);
	}
}

/* "nan" is a name and a number: what the line is, is the user's to say. */
static void a_line_of_names_is_skipped_when_told(void **state)
{
	static const struct {
		const char *text;
		enum fg_csv_header header;
		size_t rows, names;
	} cases[] = {
		{"a,b\n1,2\n", FG_CSV_HEADER_AUTO, 1, 1},
		{"# about\n,b\n1,2\n", FG_CSV_HEADER_AUTO, 1, 2},
		{"area 1,area 2 \r\n1,2\n", FG_CSV_HEADER_AUTO, 1, 1},
		{"area floor\n1 2\n", FG_CSV_HEADER_AUTO, 1, 1},
		{"nan,inf\n1,2\n", FG_CSV_HEADER_AUTO, 2, 0},
		{"nan,inf\n1,2\n", FG_CSV_HEADER_YES, 1, 1},
		{"2019,2020\n1,2\n", FG_CSV_HEADER_YES, 1, 1},
		{"2019,2020\n1,2\n", FG_CSV_HEADER_NO, 2, 0},
	};
	enum fg_csv_header header = FG_CSV_HEADER_AUTO;
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (fg_csv_parse(&matrix, cases[i].text, strlen(cases[i].text), cases[i].header,
				 &error))
			fail_msg("%s: %s", cases[i].text, error.text);
		assert_int_equal(matrix.rows, cases[i].rows);
		assert_int_equal(matrix.names, cases[i].names);
		fg_matrix_free(&matrix);
	}
	assert_int_equal(fg_csv_parse(&matrix, "a,b\n1,2\n", 8, FG_CSV_HEADER_NO, &error), -EINVAL);
	assert_true(fg_csv_parse_header("no", &header));
	assert_int_equal(header, FG_CSV_HEADER_NO);
	assert_false(fg_csv_parse_header("maybe", &header));
}

static void files_are_told_apart_by_content(void **state)
{
	static const float data[2] = {8, 9};
	struct file file =
		npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", data, 8);
	char path[] = "/tmp/test_npy.XXXXXX";
	int fd = mkstemp(path);
	struct fg_matrix matrix;
	struct fg_error error;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, file.bytes, file.length), file.length);
	assert_int_equal(fg_matrix_read(&matrix, path, FG_CSV_HEADER_AUTO, &error), 0);
	assert_true(fg_matrix_at(&matrix, 0, 1) == 9);
	fg_matrix_free(&matrix);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "1 2 3", 5, 0), 5);
	assert_int_equal(fg_matrix_read(&matrix, path, FG_CSV_HEADER_AUTO, &error), 0);
	assert_int_equal(matrix.cols, 3);
	fg_matrix_free(&matrix);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(fg_matrix_read(&matrix, path, FG_CSV_HEADER_AUTO, &error), -EINVAL);
	assert_non_null(strstr(error.text, path));
	close(fd);
	unlink(path);
	assert_int_equal(fg_matrix_read(&matrix, path, FG_CSV_HEADER_AUTO, &error), -ENOENT);
	assert_non_null(strstr(error.text, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(f32_as_numpy_writes_it),
		cmocka_unit_test(other_types_orders_and_versions),
		cmocka_unit_test(broken_npy_files),
		cmocka_unit_test(every_cut_of_a_good_file_is_an_error),
		cmocka_unit_test(text_of_many_habits),
		cmocka_unit_test(broken_text),
		cmocka_unit_test(a_line_of_names_is_skipped_when_told),
		cmocka_unit_test(files_are_told_apart_by_content),
	};

	return cmocka_run_group_tests_name("npy", tests, NULL, NULL);
}
