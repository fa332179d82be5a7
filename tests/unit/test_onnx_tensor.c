/* models/onnx: the data of tensors, of every element type and from every place, and the data that
 * is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "models/file.h"
#include "tests/unit/onnx_reader.h"

#define RAW 9 /* the field raw_data */

/* ---- element types ---- */

/* Three numbers as raw data or in their typed field, and what they become. */
static const struct {
	const char *name;
	int type;
	uint32_t width; /* of one element in `raw` */
	uint32_t field; /* of TensorProto */
	uint64_t bits[3];
	enum fg_element element;
	double expect[3];
	struct fg_integer integer;
} types[] = {
	{"float16",
	 ONNX_FLOAT16,
	 2,
	 5,
	 {0x3c00, 0xfc00, 1},
	 FG_ELEMENT_F32,
	 {1, -INFINITY, 0x1p-24},
	 {0, false}},
	{"half",
	 ONNX_FLOAT16,
	 2,
	 5,
	 {0xfbff, 0x8400, 0x83ff},
	 FG_ELEMENT_F32,
	 {-65504, -0x1p-14, -0x3ffp-24},
	 {0, false}},
	{"bfloat16",
	 ONNX_BFLOAT16,
	 2,
	 5,
	 {0x3f80, 0xc000, 0xff80},
	 FG_ELEMENT_F32,
	 {1, -2, -INFINITY},
	 {0, false}},
	{"float64",
	 ONNX_DOUBLE,
	 8,
	 10,
	 {0x3ff8000000000000, 0xffefffffffffffff, 0x3fb999999999999a},
	 FG_ELEMENT_F64,
	 {1.5, -0x1.fffffffffffffp1023, 0.1},
	 {0, false}},
	{"float32",
	 ONNX_FLOAT,
	 4,
	 4,
	 {0x3f800000, 0xc0000000, 0x7f800000},
	 FG_ELEMENT_F32,
	 {1, -2, INFINITY},
	 {0, false}},
	{"int8",
	 ONNX_INT8,
	 1,
	 5,
	 {0x7f, UINT64_MAX, 0x80},
	 FG_ELEMENT_I64,
	 {127, -1, -128},
	 {8, false}},
	{"uint8", ONNX_UINT8, 1, 5, {0, 0xff, 0x80}, FG_ELEMENT_I64, {0, 255, 128}, {8, true}},
	{"int16",
	 ONNX_INT16,
	 2,
	 5,
	 {0x7fff, UINT64_MAX, 0x8000},
	 FG_ELEMENT_I64,
	 {32767, -1, -32768},
	 {16, false}},
	{"uint16",
	 ONNX_UINT16,
	 2,
	 5,
	 {0, 0xffff, 0x8000},
	 FG_ELEMENT_I64,
	 {0, 65535, 32768},
	 {16, true}},
	{"int32",
	 ONNX_INT32,
	 4,
	 5,
	 {5, UINT64_MAX, 0x80000000},
	 FG_ELEMENT_I64,
	 {5, -1, -0x1p31},
	 {32, false}},
	{"uint32",
	 ONNX_UINT32,
	 4,
	 11,
	 {0, 0xffffffff, 7},
	 FG_ELEMENT_I64,
	 {0, 4294967295, 7},
	 {32, true}},
	{"int64",
	 ONNX_INT64,
	 8,
	 7,
	 {3, UINT64_MAX, 1ull << 63},
	 FG_ELEMENT_I64,
	 {3, -1, -0x1p63},
	 {0, false}},
	{"uint64",
	 ONNX_UINT64,
	 8,
	 11,
	 {0, 1ull << 62, 9},
	 FG_ELEMENT_I64,
	 {0, 0x1p62, 9},
	 {0, true}},
	{"bool", ONNX_BOOL, 1, 5, {0, 1, 2}, FG_ELEMENT_I64, {0, 1, 1}, {1, true}},
};

static void assert_numbers(size_t type, const struct fg_tensor *found, const char *where)
{
	assert_int_equal(found->element, types[type].element);
	assert_int_equal(found->integer.bits % 64, types[type].integer.bits);
	assert_int_equal(found->integer.is_unsigned, types[type].integer.is_unsigned);
	assert_int_equal(found->count, 3);
	for (size_t i = 0; i < 3; i++) {
		double number = fg_tensor_number(found, i);

		if (number != types[type].expect[i])
			fail_msg("%s %s: [%zu] is %g", types[type].name, where, i, number);
	}
}

static void put_element(struct writer *to, size_t type, size_t i, uint32_t field)
{
	uint64_t bits = types[type].bits[i];

	if (field == 4)
		put_varint(to, field << 3 | 5);
	else if (field == 10)
		put_varint(to, field << 3 | 1);
	else
		put_int(to, field, bits);
	if (field == 4 || field == 10)
		put_again(to, &bits, types[type].width);
}

/* Raw, in the typed field one by one, and packed there. */
static void numbers_of_every_type(void **state)
{
	static struct writer packed;
	struct fg_graph parsed;

	(void)state;
	for (size_t t = 0; t < COUNT(types); t++) {
		uint32_t field = types[t].field, width = types[t].width;

		start();
		packed.length = 0;
		for (size_t i = 0; i < 3; i++)
			put_again(&packed, &types[t].bits[i], width);
		put_raw(&graph, "raw", types[t].type, DIMS(3), packed.bytes, packed.length);
		tensor_head(&tensor, "listed", types[t].type, DIMS(3));
		for (size_t i = 0; i < 3; i++)
			put_element(&tensor, t, i, field);
		put_message(&graph, 5, &tensor);
		if (field != 4 && field != 10) {
			packed.length = 0;
			for (size_t i = 0; i < 3; i++)
				put_varint(&packed, types[t].bits[i]);
		}
		tensor.length = 0;
		tensor_head(&tensor, "packed", types[t].type, DIMS(3));
		put_message(&tensor, field, &packed);
		put_message(&graph, 5, &tensor);
		finish("x");
		read_graph(&parsed);
		assert_numbers(t, constant(&parsed, "raw"), "raw");
		assert_numbers(t, constant(&parsed, "listed"), "one by one");
		assert_numbers(t, constant(&parsed, "packed"), "packed");
		fg_graph_free(&parsed);
	}
}

/* Every float16 and bfloat16, against how a float is put together. */
static void every_half(void **state)
{
	static uint16_t all[16384];
	struct fg_graph parsed;

	(void)state;
	for (uint32_t first = 0; first < 65536; first += COUNT(all)) {
		for (uint32_t i = 0; i < COUNT(all); i++)
			all[i] = (uint16_t)(first + i);
		start();
		put_raw(&graph, "half", ONNX_FLOAT16, DIMS(COUNT(all)), all, sizeof(all));
		finish("x");
		read_graph(&parsed);
		for (uint32_t i = 0; i < COUNT(all); i++) {
			uint32_t bits = first + i, exponent = bits >> 10 & 31;
			double fraction = (bits & 1023) / 1024.0, sign = bits & 0x8000 ? -1 : 1;
			float found = fg_tensor_f32(constant(&parsed, "half"), i);

			if (exponent == 31 && fraction > 0)
				assert_true(isnan(found));
			else if (exponent == 31)
				assert_true(found == sign * INFINITY);
			else if (exponent == 0)
				assert_true(found == sign * fraction / 16384);
			else
				assert_true(found ==
					    sign * (1 + fraction) * pow(2, (int)exponent - 15));
			assert_int_equal(!!signbit(found), bits >> 15);
		}
		fg_graph_free(&parsed);
	}
}

static void texts_are_read(void **state)
{
	const struct fg_tensor *found;
	struct fg_graph parsed;

	(void)state;
	start();
	tensor_head(&tensor, "labels", ONNX_STRING, DIMS(2, 2));
	put_words(&tensor, 6, "setosa - virginica v");
	put_message(&graph, 5, &tensor);
	finish("x");
	read_graph(&parsed);
	found = constant(&parsed, "labels");
	assert_int_equal(found->element, FG_ELEMENT_TEXT);
	assert_int_equal(found->rank, 2);
	assert_true(fg_text_is(fg_tensor_text(found, 0), "setosa"));
	assert_true(fg_text_is(fg_tensor_text(found, 1), ""));
	assert_true(fg_text_is(fg_tensor_text(found, 3), "v"));
	fg_graph_free(&parsed);
}

/* Weights are not copied, and an empty list (a shape, regions of interest) may be a constant. */
static void data_stays_where_it_is(void **state)
{
	struct fg_graph parsed;
	const char *data;

	(void)state;
	start();
	put_raw(&graph, "empty", ONNX_FLOAT, DIMS(0), "", 0);
	tensor_head(&tensor, "none", ONNX_INT64, DIMS(0));
	put_message(&graph, 5, &tensor);
	tensor.length = 0;
	tensor_head(&tensor, "scalar", ONNX_FLOAT, SCALAR);
	put_float(&tensor, 4, 3.0f);
	put_message(&graph, 5, &tensor);
	finish("x");
	read_graph(&parsed);
	data = constant(&parsed, "w")->data;
	assert_true(data > (char *)model.bytes && data < (char *)model.bytes + model.length);
	assert_int_equal(constant(&parsed, "empty")->rank, 1);
	assert_int_equal(constant(&parsed, "empty")->count, 0);
	assert_int_equal(constant(&parsed, "none")->dims[0], 0);
	assert_int_equal(constant(&parsed, "scalar")->rank, 0);
	assert_true(fg_tensor_f32(constant(&parsed, "scalar"), 0) == 3.0f);
	fg_graph_free(&parsed);
}

/* ---- tensors that are refused ---- */

static void wrong_tensors(void **state)
{
	static const uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0xff};
	static const struct {
		int type;
		struct dims dims;
		uint32_t field; /* with `length` of the bytes; 0: no data */
		size_t length;
		const char *says;
	} cases[] = {
		{ONNX_FLOAT, {1, {3}}, RAW, 8, "has 8 bytes of data, its dimensions need 12"},
		{ONNX_FLOAT, {1, {1}}, RAW, 8, "has 8 bytes of data, its dimensions need 4"},
		{ONNX_FLOAT16, {1, {3}}, RAW, 8, "has 8 bytes of data, its dimensions need 6"},
		{ONNX_FLOAT, {1, {0}}, RAW, 4, "has 4 bytes of data, its dimensions need 0"},
		{ONNX_FLOAT, {1, {3}}, 4, 8, "has not the 3 numbers"},
		{ONNX_FLOAT, {1, {1}}, 4, 8, "has not the 1 numbers"},
		{ONNX_FLOAT, {1, {0}}, 4, 8, "has not the 0 numbers"},
		{ONNX_FLOAT, {1, {2}}, 4, 7, "has not the 2 numbers"},
		{ONNX_FLOAT, {1, {2}}, 0, 0, "has not the 2 numbers"},
		{ONNX_DOUBLE, {1, {1}}, 4, 8, "has not the 1 numbers"}, /* another type's field */
		{ONNX_UINT8, {1, {2}}, 7, 2, "has not the 2 numbers"},
		{ONNX_STRING, {1, {2}}, 6, 2, "has not the 2 texts"},
		{ONNX_STRING, {1, {2}}, RAW, 2, "texts must be in string_data"},
		{ONNX_UINT64, {1, {1}}, RAW, 8, "above the largest int64"},
		{ONNX_COMPLEX64, {1, {1}}, RAW, 8, "is complex64"},
		{ONNX_INT4, {1, {2}}, RAW, 1, "is int4, which is not supported"},
		{0, {1, {2}}, RAW, 8, "is of no type"},
		{99, {1, {2}}, RAW, 8, "a type unknown here"},
		{ONNX_FLOAT, {1, {-2}}, RAW, 8, "dimension 0 is -2"},
		{ONNX_FLOAT, {2, {2, 0}}, RAW, 0, "dimension 1 is 0"},
		{ONNX_FLOAT, {2, {1ll << 40, 1ll << 40}}, 0, 0, "dimensions overflow"},
		/* 2^62 elements fit in 64 bits, their bytes would not: 2^62 * 4 = 0 = no data. */
		{ONNX_FLOAT, {2, {1ll << 31, 1ll << 31}}, RAW, 0, "dimensions overflow"},
		{ONNX_FLOAT, {1, {1ll << 50}}, 0, 0, "has not the 1125899906842624 numbers"},
		{ONNX_INT8, {1, {1ll << 50}}, RAW, 8, "its dimensions need 1125899906842624"},
		{ONNX_FLOAT, {1, {2}}, 3, 0, "segments"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		start();
		put_text(&tensor, 8, "t");
		tensor_head(&tensor, NULL, cases[i].type, cases[i].dims);
		if (cases[i].field)
			put_bytes(&tensor, cases[i].field, bytes, cases[i].length);
		put_message(&graph, 5, &tensor);
		assert_refused("tensor 't'", cases[i].says);
	}
	start();
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(1, 1, 1, 1, 1, 1, 1, 1, 1));
	put_message(&graph, 5, &tensor);
	assert_refused("more than 8 dimensions", "");
	start();
	tensor_head(&tensor, "t", ONNX_UINT64, DIMS(1));
	put_int(&tensor, 11, 1ull << 63);
	put_message(&graph, 5, &tensor);
	assert_refused("tensor 't'", "above the largest int64");
	graph.length = 0;
	put_text(&graph, 15, "");
	assert_refused("sparse", "");
}

/* ---- external data ---- */

struct folder {
	char path[64];
	int fd;
};

static int make_folder(void **state)
{
	static struct folder folder;
	static const float data[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	int fd;

	strcpy(folder.path, "/tmp/fgt-onnx-XXXXXX");
	if (!mkdtemp(folder.path))
		return -1;
	folder.fd = open(folder.path, O_RDONLY | O_DIRECTORY);
	fd = openat(folder.fd, "w.bin", O_WRONLY | O_CREAT, 0644);
	if (write(fd, data, sizeof(data)) != sizeof(data))
		return -1;
	close(fd);
	symlinkat("w.bin", folder.fd, "link");
	mkdirat(folder.fd, "sub", 0755);
	mkfifoat(folder.fd, "pipe", 0644);
	*state = &folder;
	return 0;
}

static int remove_folder(void **state)
{
	static const char *const files[] = {"w.bin", "link", "pipe", "huge", "model.onnx"};
	struct folder *folder = *state;

	for (size_t i = 0; i < COUNT(files); i++)
		unlinkat(folder->fd, files[i], 0);
	unlinkat(folder->fd, "sub", AT_REMOVEDIR);
	close(folder->fd);
	return rmdir(folder->path);
}

static void put_entry(struct writer *to, const char *key, const char *value)
{
	static struct writer entry;

	if (!value)
		return;
	entry.length = 0;
	put_text(&entry, 1, key);
	put_text(&entry, 2, value);
	put_message(to, 13, &entry);
}

static void put_external(const char *name, int type, struct dims dims, const char *location,
			 const char *offset, const char *length)
{
	tensor.length = 0;
	tensor_head(&tensor, name, type, dims);
	put_entry(&tensor, "location", location);
	put_entry(&tensor, "offset", offset);
	put_entry(&tensor, "length", length);
	put_entry(&tensor, "checksum", "4711");
	put_int(&tensor, 14, 1);
	put_message(&graph, 5, &tensor);
}

/* x (N, 4) times external weights e (4, 3). */
static void start_external(const char *location, const char *offset, const char *length)
{
	start();
	put_external("e", ONNX_FLOAT, DIMS(4, 3), location, offset, length);
	put_node(&graph, "MatMul", "", "x e", "y", NULL);
	put_output(&graph, "y", DIMS(0, 3));
}

static void external_is_read(void **state)
{
	const struct folder *folder = *state;
	const char *const offsets[] = {NULL, "0", "16"};
	struct fg_graph parsed;

	for (size_t i = 0; i < 3; i++) {
		start_external("w.bin", offsets[i], i ? "48" : NULL);
		read_graph_at(&parsed, folder->fd);
		assert_true(fg_tensor_f32(constant(&parsed, "e"), 11) == (i == 2 ? 15 : 11));
		fg_graph_free(&parsed);
	}
}

/* Several tensors in one file, as PyTorch writes them; the file is read once. */
static void external_is_shared(void **state)
{
	const struct folder *folder = *state;
	const struct fg_tensor *a, *b;
	struct fg_graph parsed;

	start_external("w.bin", NULL, NULL);
	put_external("f", ONNX_FLOAT, DIMS(2), "w.bin", "8", "8");
	put_external("u", ONNX_UINT8, DIMS(4), "w.bin", "4", NULL);
	put_external("nothing", ONNX_FLOAT, DIMS(0), "w.bin", "64", "0");
	read_graph_at(&parsed, folder->fd);
	a = constant(&parsed, "e");
	b = constant(&parsed, "f");
	assert_ptr_equal((const char *)a->data + 8, b->data);
	assert_true(fg_tensor_f32(b, 1) == 3);
	assert_int_equal(fg_tensor_i64(constant(&parsed, "u"), 2), 0x80); /* 1.0f: 00 00 80 3f */
	assert_int_equal(constant(&parsed, "nothing")->count, 0);
	fg_graph_free(&parsed);
}

/* Over each other they may lie, but not be converted again and again: that would be a bomb. */
static void external_is_no_bomb(void **state)
{
	const struct folder *folder = *state;
	char name[8] = "t0";

	start();
	for (int i = 0; i < 3; i++, name[1]++)
		put_external(name, ONNX_INT8, DIMS(31), "w.bin", "3", NULL);
	assert_refused_at(folder->fd, "tensor 't2'", "that of other tensors as well");
}

/* A file that says it is large, and takes no room. */
static int truncate_huge(int dirfd, int64_t size)
{
	int fd = openat(dirfd, "huge", O_WRONLY | O_CREAT, 0644);
	int result = ftruncate(fd, size);

	close(fd);
	return result;
}

static void external_is_refused(void **state)
{
	static const char not_plain[] = "plain file name";
	static const struct {
		const char *location, *offset, *length;
		const char *one, *two;
	} cases[] = {
		{"../w.bin", NULL, NULL, "tensor 'e'", not_plain},
		{"sub/w.bin", NULL, NULL, "tensor 'e'", not_plain},
		{"/etc/passwd", NULL, NULL, "tensor 'e'", not_plain},
		{"..", NULL, NULL, "tensor 'e'", not_plain},
		{"", NULL, NULL, "tensor 'e'", not_plain},
		{NULL, NULL, NULL, "tensor 'e'", not_plain},
		{"link", NULL, NULL, "tensor 'e'", "symbolic link"},
		{"sub", NULL, NULL, "sub", "not a regular file"},
		{"pipe", NULL, NULL, "pipe", "not a regular file"},
		{"huge", NULL, NULL, "huge", "at most 2147483648 are read"},
		{"missing", NULL, NULL, "its data is in 'missing'", "ship that file"},
		{"w.bin", "20", NULL, "needs 48 bytes at 20", "which has 64"},
		{"w.bin", "18446744073709551615", NULL, "48 bytes at 18446744073709551615", ""},
		{"w.bin", "18446744073709551616", NULL, "tensor 'e'", "malformed external data"},
		{"w.bin", "-1", NULL, "tensor 'e'", "malformed external data"},
		{"w.bin", NULL, "44", "has 44 bytes of external data", "need 48"},
	};
	int dirfd = ((struct folder *)*state)->fd;

	assert_int_equal(truncate_huge(dirfd, FG_FILE_MAX_BYTES + 1), 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		start_external(cases[i].location, cases[i].offset, cases[i].length);
		assert_refused_at(dirfd, cases[i].one, cases[i].two);
	}
	start_external("w.bin", NULL, NULL);
	assert_refused_at(-1, "tensor 'e'", "there is no directory");
	/* All files together may not be larger than one. */
	assert_int_equal(truncate_huge(dirfd, FG_FILE_MAX_BYTES - 1), 0);
	start_external("w.bin", NULL, NULL);
	put_external("t", ONNX_FLOAT, DIMS(1), "huge", NULL, NULL);
	assert_refused_at(dirfd, "tensor 't'", "at most 2147483584 are read");
	start();
	put_external("s", ONNX_STRING, DIMS(1), "w.bin", NULL, NULL);
	assert_refused_at(dirfd, "tensor 's'", "string_data");
}

static void files_are_loaded(void **state)
{
	const struct folder *folder = *state;
	struct fg_graph parsed;
	struct fg_error error;
	int fd;

	start_external("w.bin", NULL, NULL);
	finish_model();
	fd = openat(folder->fd, "model.onnx", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_int_equal(write(fd, model.bytes, model.length), model.length);
	close(fd);
	assert_int_equal(fg_onnx_load(&parsed, folder->fd, "model.onnx", &error), 0);
	assert_true(fg_tensor_f32(constant(&parsed, "e"), 3) == 3);
	fg_graph_free(&parsed);
	assert_int_equal(fg_onnx_load(&parsed, folder->fd, "w.bin", &error), -EINVAL);
	assert_text(&error, "w.bin: ");
	assert_int_equal(fg_onnx_load(&parsed, folder->fd, "other.onnx", &error), -ENOENT);
	assert_text(&error, "other.onnx: No such file");
	assert_int_equal(fg_onnx_load(&parsed, folder->fd, "link", &error), -EINVAL);
	assert_text(&error, "symbolic link");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_of_every_type),
		cmocka_unit_test(every_half),
		cmocka_unit_test(texts_are_read),
		cmocka_unit_test(data_stays_where_it_is),
		cmocka_unit_test(wrong_tensors),
		cmocka_unit_test_setup_teardown(external_is_read, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(external_is_shared, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(external_is_no_bomb, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(external_is_refused, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(files_are_loaded, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
