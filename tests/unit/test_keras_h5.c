/* models/keras_h5: what is read from HDF5 files, and that nothing leads out of them or makes them
 * larger than they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <unistd.h>
#include <zlib.h>
#include "models/keras.h"
#include "models/keras_h5.h"
#include "tests/unit/keras_writer.h"

/* ---- helpers ---- */

/* A file opened by the reader. */
struct opened {
	struct keras_bytes bytes;
	struct fg_arena arena;
	struct fg_keras_h5 h5;
	struct fg_error error;
};

static void open_bytes(struct opened *opened, struct keras_bytes bytes)
{
	memset(opened, 0, sizeof(*opened));
	opened->bytes = bytes;
	if (fg_keras_h5_open(&opened->h5, opened->bytes.at, opened->bytes.length, &opened->arena,
			     &opened->error))
		fail_msg("%s", opened->error.text);
}

static void open_made(struct opened *opened, hid_t file)
{
	open_bytes(opened, keras_finish(file));
}

static void close_made(struct opened *opened)
{
	fg_keras_h5_close(&opened->h5);
	fg_arena_free(&opened->arena);
	free(opened->bytes.at);
}

static void assert_says(const struct opened *opened, const char *text)
{
	if (!strstr(opened->error.text, text))
		fail_msg("'%s' does not say '%s'", opened->error.text, text);
}

static const int64_t four_three[] = {4, 3};

/* What reading "a/b", of the shape (4, 3), gives; closes the file. */
static void assert_set_refused(hid_t file, const char *text)
{
	struct opened opened;
	const float *floats;

	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "a/b", 2, four_three, &floats), -EINVAL);
	assert_says(&opened, text);
	close_made(&opened);
}

static void assert_set_read(hid_t file)
{
	struct opened opened;
	const float *floats;

	open_made(&opened, file);
	if (fg_keras_h5_floats(&opened.h5, "a/b", 2, four_three, &floats))
		fail_msg("refused: %s", opened.error.text);
	for (size_t i = 0; i < 12; i++)
		assert_true(floats[i] == keras_number(i));
	close_made(&opened);
}

/* A file whose "a/b" is of that type and stored so; closes `plist`. */
static hid_t made_as(hid_t type, hid_t plist, bool written)
{
	hid_t file = keras_create();

	keras_dataset_as(file, "a/b", KERAS_DIMS(4, 3), type, plist, written);
	if (plist != H5P_DEFAULT)
		H5Pclose(plist);
	return file;
}

/* Stored in chunks of (2, 2). */
static hid_t chunked(void)
{
	hid_t plist = H5Pcreate(H5P_DATASET_CREATE);

	H5Pset_chunk(plist, 2, (const hsize_t[]){2, 2});
	return plist;
}

/* ---- what is read ---- */

static void floats_of_all_sizes_are_read(void **state)
{
	const hid_t types[] = {H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_IEEE_F64BE};
	hid_t half = H5Tcopy(H5T_IEEE_F32LE), brain = H5Tcopy(H5T_IEEE_F32LE);

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_set_read(made_as(types[i], H5P_DEFAULT, true));
	H5Tset_fields(half, 15, 10, 5, 0, 10);
	H5Tset_size(half, 2);
	H5Tset_ebias(half, 15);
	assert_set_read(made_as(half, H5P_DEFAULT, true));
	H5Tset_fields(brain, 15, 7, 8, 0, 7);
	H5Tset_size(brain, 2);
	assert_set_read(made_as(brain, H5P_DEFAULT, true));
	H5Tclose(half);
	H5Tclose(brain);
}

/* float16 below its normal numbers, infinity and NaN, against their values. */
static void edges_of_float16_are_read(void **state)
{
	static const uint16_t bits[] = {0x0001, 0x03ff, 0x0400, 0x7bff,
					0x7c00, 0xfc00, 0x8000, 0x7e00};
	static const float values[] = {0x1p-24f, 0x1.ff8p-15f, 0x1p-14f, 65504.0f,
				       INFINITY, -INFINITY,    -0.0f,	 NAN};
	const int64_t dims[] = {8};
	hid_t half = H5Tcopy(H5T_IEEE_F32LE), file = keras_create(), set, space;
	struct opened opened;
	const float *floats;

	(void)state;
	H5Tset_fields(half, 15, 10, 5, 0, 10);
	H5Tset_size(half, 2);
	H5Tset_ebias(half, 15);
	space = H5Screate_simple(1, (const hsize_t[]){8}, NULL);
	set = H5Dcreate2(file, "b", half, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	H5Dwrite(set, half, H5S_ALL, H5S_ALL, H5P_DEFAULT, bits);
	H5Dclose(set);
	H5Sclose(space);
	H5Tclose(half);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "b", 1, dims, &floats), 0);
	for (size_t i = 0; i < 7; i++)
		assert_memory_equal(&floats[i], &values[i], sizeof(values[i]));
	assert_true(isnan(floats[7]));
	close_made(&opened);
}

static void chunks_and_filters_are_read(void **state)
{
	hid_t plist = chunked();

	(void)state;
	assert_set_read(made_as(H5T_IEEE_F32LE, plist, true));
	plist = chunked();
	H5Pset_shuffle(plist);
	H5Pset_deflate(plist, 9);
	H5Pset_fletcher32(plist);
	assert_set_read(made_as(H5T_IEEE_F32LE, plist, true));
	plist = chunked();
	H5Pset_fletcher32(plist);
	H5Pset_deflate(plist, 1);
	assert_set_read(made_as(H5T_IEEE_F64LE, plist, true));
	plist = H5Pcreate(H5P_DATASET_CREATE);
	H5Pset_layout(plist, H5D_COMPACT);
	assert_set_read(made_as(H5T_IEEE_F32LE, plist, true));
}

static void scalars_are_read(void **state)
{
	const float seven = 7;
	hid_t file = keras_create(), space = H5Screate(H5S_SCALAR), set;
	struct opened opened;
	const float *floats;

	(void)state;
	set = H5Dcreate2(file, "b", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &seven);
	H5Dclose(set);
	H5Sclose(space);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "b", 0, NULL, &floats), 0);
	assert_true(floats[0] == 7);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "b", 1, four_three, &floats), -EINVAL);
	assert_says(&opened, "shape (), the layer's config asks for (4)");
	close_made(&opened);
}

static void texts_are_read(void **state)
{
	hid_t file = keras_create(), root = H5Gopen2(file, "/", H5P_DEFAULT);
	struct opened opened;
	struct fg_text text;

	(void)state;
	keras_text(root, "fixed", "as long as it is", true);
	keras_text(root, "variable", "of any length", false);
	H5Gclose(root);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "fixed", &text), 0);
	assert_true(fg_text_is(text, "as long as it is"));
	assert_int_equal(text.at[text.length], 0);
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "variable", &text), 0);
	assert_true(fg_text_is(text, "of any length"));
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "other", &text), -ENOENT);
	assert_int_equal(fg_keras_h5_text(&opened.h5, "a", "fixed", &text), -ENOENT);
	close_made(&opened);
}

static void lists_are_read(void **state)
{
	const hsize_t none = 0;
	hid_t file = keras_create(), root = H5Gopen2(file, "/", H5P_DEFAULT);
	const struct fg_text *names;
	struct opened opened;
	uint32_t count;

	(void)state;
	keras_names(root, "fixed", "a/b c", true);
	keras_names(root, "variable", "d e f", false);
	keras_attribute(root, "none", H5T_IEEE_F64LE, H5Screate_simple(1, &none, NULL), &none);
	keras_names(root, "parts0", "a b", true);
	keras_names(root, "parts1", "c", true);
	keras_names(root, "parts2", "d e", true);
	keras_names(root, "parts4", "f", true);
	H5Gclose(root);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "fixed", &names, &count), 0);
	assert_int_equal(count, 2);
	assert_true(fg_text_is(names[0], "a/b"));
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "variable", &names, &count), 0);
	assert_int_equal(count, 3);
	assert_true(fg_text_is(names[2], "f"));
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "none", &names, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "parts", &names, &count), 0);
	assert_int_equal(count, 5);
	assert_true(fg_text_is(names[1], "b"));
	assert_true(fg_text_is(names[2], "c"));
	assert_true(fg_text_is(names[4], "e"));
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "other", &names, &count), -ENOENT);
	close_made(&opened);
}

/* A whole model whose lists of names are cut into parts, and one that is frozen in another order.
 */
static void parts_make_a_model(void **state)
{
	hid_t file = keras_start(KERAS_SEQUENTIAL(KERAS_INPUT("4") ", " KERAS_DENSE("fc", "3")));
	hid_t group = keras_group(file, "model_weights/fc");
	struct keras_bytes bytes;
	struct fg_error error = {""};
	struct fg_graph graph;

	(void)state;
	keras_names(group, "weight_names0", "fc/kernel:0", true);
	keras_names(group, "weight_names1", "fc/bias:0", true);
	H5Gclose(group);
	keras_weight(file, "fc", "kernel:0", KERAS_DIMS(4, 3));
	keras_weight(file, "fc", "bias:0", KERAS_DIMS(3));
	bytes = keras_finish(file);
	if (fg_keras_parse_h5(&graph, bytes.at, bytes.length, &error))
		fail_msg("refused: %s", error.text);
	fg_graph_free(&graph);
	free(bytes.at);
}

/* ---- what leads elsewhere ---- */

static void links_are_refused(void **state)
{
	hid_t file = made_as(H5T_IEEE_F32LE, H5P_DEFAULT, true), group;

	(void)state;
	H5Lmove(file, "a/b", file, "c", H5P_DEFAULT, H5P_DEFAULT);
	H5Lcreate_soft("/c", file, "a/b", H5P_DEFAULT, H5P_DEFAULT);
	assert_set_refused(file, "soft or external link");
	file = made_as(H5T_IEEE_F32LE, H5P_DEFAULT, true);
	H5Lmove(file, "a", file, "c", H5P_DEFAULT, H5P_DEFAULT);
	H5Lcreate_soft("c", file, "a", H5P_DEFAULT, H5P_DEFAULT);
	assert_set_refused(file, "soft or external link");
	file = keras_create();
	group = keras_group(file, "a");
	H5Lcreate_external("/etc/passwd", "/b", group, "b", H5P_DEFAULT, H5P_DEFAULT);
	H5Gclose(group);
	assert_set_refused(file, "soft or external link");
	/* A hard link is the thing itself. */
	file = made_as(H5T_IEEE_F32LE, H5P_DEFAULT, true);
	H5Lmove(file, "a/b", file, "c", H5P_DEFAULT, H5P_DEFAULT);
	H5Lcreate_hard(file, "c", file, "a/b", H5P_DEFAULT, H5P_DEFAULT);
	assert_set_read(file);
}

static void odd_paths_are_refused(void **state)
{
	static const char *const paths[] = {"../a", "a/./b", "a//b", "/a", "."};
	struct opened opened;
	const float *floats;
	char path[2048];
	uint64_t count;

	(void)state;
	open_made(&opened, made_as(H5T_IEEE_F32LE, H5P_DEFAULT, true));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(fg_keras_h5_count(&opened.h5, paths[i], &count), -EINVAL);
		assert_says(&opened, "is not a plain path");
	}
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = 0;
	assert_int_equal(fg_keras_h5_count(&opened.h5, path, &count), -EINVAL);
	assert_says(&opened, "too long");
	assert_int_equal(fg_keras_h5_count(&opened.h5, "a/c", &count), -ENOENT);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "a", 2, four_three, &floats), -EINVAL);
	assert_says(&opened, "not a dataset");
	assert_int_equal(fg_keras_h5_count(&opened.h5, "a/b/c", &count), -EINVAL);
	assert_says(&opened, "through a dataset");
	assert_int_equal(fg_keras_h5_count(&opened.h5, "a", &count), 0);
	assert_int_equal(count, 1);
	close_made(&opened);
}

static void data_elsewhere_is_refused(void **state)
{
	hid_t plist = H5Pcreate(H5P_DATASET_CREATE), whole, part;

	(void)state;
	H5Pset_external(plist, "/etc/passwd", 0, 48);
	assert_set_refused(made_as(H5T_IEEE_F32LE, plist, false), "in another file");
	plist = H5Pcreate(H5P_DATASET_CREATE);
	whole = H5Screate_simple(2, (const hsize_t[]){4, 3}, NULL);
	part = H5Screate_simple(2, (const hsize_t[]){4, 3}, NULL);
	H5Pset_virtual(plist, whole, "/tmp/other.h5", "b", part);
	H5Sclose(whole);
	H5Sclose(part);
	assert_set_refused(made_as(H5T_IEEE_F32LE, plist, false), "in another file");
}

/* ---- what is not there, or is something else ---- */

static void other_types_are_refused(void **state)
{
	hid_t odd = H5Tcopy(H5T_IEEE_F32LE), file = keras_create(), named = H5Tcopy(odd);
	hid_t pair = H5Tcreate(H5T_COMPOUND, 8), group;

	(void)state;
	assert_set_refused(made_as(H5T_STD_I8LE, H5P_DEFAULT, true), "does not hold floats");
	assert_set_refused(made_as(H5T_STD_REF_OBJ, H5P_DEFAULT, false), "does not hold floats");
	H5Tinsert(pair, "x", 0, H5T_IEEE_F32LE);
	H5Tinsert(pair, "y", 4, H5T_IEEE_F32LE);
	assert_set_refused(made_as(pair, H5P_DEFAULT, false), "does not hold floats");
	H5Tclose(pair);
	H5Tset_ebias(odd, 126);
	assert_set_refused(made_as(odd, H5P_DEFAULT, true), "does not hold floats");
	H5Tclose(odd);
	H5Tcommit2(file, "type", named, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	keras_dataset_as(file, "a/b", KERAS_DIMS(4, 3), named, H5P_DEFAULT, true);
	assert_set_refused(file, "named type");
	H5Tclose(named);
	file = keras_create();
	group = keras_group(file, "a");
	named = H5Tcopy(H5T_IEEE_F32LE);
	H5Tcommit2(group, "b", named, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	H5Tclose(named);
	H5Gclose(group);
	assert_set_refused(file, "neither a group nor a dataset");
}

static void float64_beyond_float32_is_refused(void **state)
{
	const double numbers[2] = {3e38, 1e300};
	const int64_t dims[] = {2};
	hid_t file = keras_create(), space = H5Screate_simple(1, (const hsize_t[]){2}, NULL), set;
	struct opened opened;
	const float *floats;

	(void)state;
	set = H5Dcreate2(file, "b", H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers);
	H5Dclose(set);
	H5Sclose(space);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "b", 1, dims, &floats), -EINVAL);
	assert_says(&opened, "number 1 is beyond float32");
	close_made(&opened);
}

static void other_shapes_are_refused(void **state)
{
	hid_t file = keras_create(), space = H5Screate(H5S_NULL), group, set;

	(void)state;
	keras_dataset(file, "a/b", KERAS_DIMS(3, 4));
	assert_set_refused(file, "shape (3, 4), the layer's config asks for (4, 3)");
	file = keras_create();
	keras_dataset(file, "a/b", KERAS_DIMS(12));
	assert_set_refused(file, "shape (12), the layer's config asks for (4, 3)");
	file = keras_create();
	keras_dataset(file, "a/b", KERAS_DIMS(1, 1, 1, 1, 1, 1, 1, 1, 12));
	assert_set_refused(file, "is not an array");
	file = keras_create();
	group = keras_group(file, "a");
	set = H5Dcreate2(group, "b", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
	H5Dclose(set);
	H5Sclose(space);
	H5Gclose(group);
	assert_set_refused(file, "the layer's config asks for (4, 3)");
}

static void missing_data_is_refused(void **state)
{
	(void)state;
	assert_set_refused(made_as(H5T_IEEE_F32LE, H5P_DEFAULT, false), "data is missing");
	assert_set_refused(made_as(H5T_IEEE_F32LE, chunked(), false), "data is missing");
}

static void other_filters_are_refused(void **state)
{
	hid_t plist = chunked();

	(void)state;
	H5Pset_nbit(plist);
	assert_set_refused(made_as(H5T_IEEE_F32LE, plist, false), "filter 5");
	plist = chunked();
	H5Pset_scaleoffset(plist, H5Z_SO_FLOAT_DSCALE, 2);
	assert_set_refused(made_as(H5T_IEEE_F32LE, plist, false), "filter 6");
	plist = chunked();
	H5Pset_deflate(plist, 1);
	H5Pset_deflate(plist, 1);
	assert_set_refused(made_as(H5T_IEEE_F32LE, plist, true), "filter 1");
}

/* ---- bombs ---- */

/* 2^30 elements, of which the file holds none, and the same in chunks. */
static void claims_of_size_are_refused(void **state)
{
	const int64_t large[] = {1 << 15, 1 << 15}, larger[] = {1 << 20, 1 << 20};
	hid_t file = keras_create(), plist = chunked(), wide = H5Pcreate(H5P_DATASET_CREATE);
	struct opened opened;
	const float *floats;

	(void)state;
	keras_dataset_as(file, "large", KERAS_DIMS(1 << 15, 1 << 15), H5T_IEEE_F32LE, H5P_DEFAULT,
			 false);
	keras_dataset_as(file, "larger", KERAS_DIMS(1 << 20, 1 << 20), H5T_IEEE_F32LE, H5P_DEFAULT,
			 false);
	keras_dataset_as(file, "cut", KERAS_DIMS(1 << 10, 1 << 10), H5T_IEEE_F32LE, plist, false);
	H5Pset_chunk(wide, 2, (const hsize_t[]){1 << 10, 1 << 15});
	keras_dataset_as(file, "wide", KERAS_DIMS(1 << 10, 1 << 15), H5T_IEEE_F32LE, wide, false);
	H5Pclose(plist);
	H5Pclose(wide);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "large", 2, large, &floats), -EINVAL);
	assert_says(&opened, "more than 2147483648 bytes");
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "larger", 2, larger, &floats), -EINVAL);
	assert_says(&opened, "more than 2147483648 bytes");
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "cut", 2, (const int64_t[]){1024, 1024},
					    &floats),
			 -EINVAL);
	assert_says(&opened, "more than 4096 chunks");
	assert_int_equal(fg_keras_h5_floats(&opened.h5, "wide", 2, (const int64_t[]){1024, 32768},
					    &floats),
			 -EINVAL);
	assert_says(&opened, "chunks of more than 64 MiB");
	close_made(&opened);
}

/* The same variable a thousand times counts a thousand times. */
static void repeated_data_is_bounded(void **state)
{
	struct opened opened;
	const float *floats;
	unsigned int times;

	(void)state;
	open_made(&opened, made_as(H5T_IEEE_F32LE, H5P_DEFAULT, true));
	opened.h5.left_bytes = 1000;
	for (times = 0; times < 100; times++)
		if (fg_keras_h5_floats(&opened.h5, "a/b", 2, four_three, &floats))
			break;
	assert_int_equal(times, 1000 / 48);
	close_made(&opened);
}

/* One chunk of 48 bytes, stored as `bytes`, and the filters as they would be. */
static hid_t with_chunk(const void *bytes, size_t size)
{
	hid_t file = keras_create(), plist = H5Pcreate(H5P_DATASET_CREATE), set;
	const hsize_t origin[] = {0, 0};

	H5Pset_chunk(plist, 2, (const hsize_t[]){4, 3});
	H5Pset_deflate(plist, 9);
	keras_dataset_as(file, "a/b", KERAS_DIMS(4, 3), H5T_IEEE_F32LE, plist, false);
	set = H5Dopen2(file, "a/b", H5P_DEFAULT);
	H5Dwrite_chunk(set, H5P_DEFAULT, 0, origin, size, bytes);
	H5Dclose(set);
	H5Pclose(plist);
	return file;
}

static void deflate_bombs_are_refused(void **state)
{
	static uint8_t zeros[1 << 20], packed[1 << 16];
	uLongf length = sizeof(packed);

	(void)state;
	compress2(packed, &length, zeros, 10000, 9);
	assert_true(length < 100);
	assert_set_refused(with_chunk(packed, length), "not as much as it should be");
	length = sizeof(packed);
	compress2(packed, &length, zeros, sizeof(zeros), 9);
	assert_set_refused(with_chunk(packed, length), "a chunk has");
	assert_set_refused(with_chunk("not deflate at all", 18), "compressed data is damaged");
	length = sizeof(packed);
	compress2(packed, &length, zeros, 48, 9);
	assert_set_refused(with_chunk(packed, length - 6), "compressed data is damaged");
	length = sizeof(packed);
	compress2(packed, &length, zeros, 47, 9);
	assert_set_refused(with_chunk(packed, length), "not as much as it should be");
}

static void odd_attributes_are_refused(void **state)
{
	const hsize_t many = 70000;
	hid_t file = keras_create(), root = H5Gopen2(file, "/", H5P_DEFAULT), type;
	char *zeros = calloc(many, 1);
	const struct fg_text *names;
	struct opened opened;
	struct fg_text text;
	uint32_t count;

	(void)state;
	assert_non_null(zeros);
	keras_attribute(root, "number", H5T_STD_I32LE, H5Screate(H5S_SCALAR), &many);
	keras_names(root, "list", "a b", true);
	type = keras_string(1);
	keras_attribute(root, "none", type, H5Screate(H5S_NULL), NULL);
	H5Tclose(type);
	H5Gclose(root);
	open_made(&opened, file);
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "number", &text), -EINVAL);
	assert_says(&opened, "number is not text");
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "list", &text), -EINVAL);
	assert_says(&opened, "list is not one text");
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "none", &text), -EINVAL);
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "number", &names, &count), -EINVAL);
	close_made(&opened);
	free(zeros);
}

/* Attributes of more than 64 KiB need a newer format, whose checksum H5Fget_file_image gets wrong:
 * so this one is a file for a while. */
static struct keras_bytes with_long_attributes(const char *text)
{
	const hsize_t many = 70000;
	hid_t access = H5Pcreate(H5P_FILE_ACCESS), type = keras_string(1), file, root;
	char path[] = "/tmp/fgt-keras-XXXXXX";
	struct keras_bytes bytes;
	int fd = mkstemp(path);

	H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
	file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
	H5Pclose(access);
	root = H5Gopen2(file, "/", H5P_DEFAULT);
	keras_text(root, "variable", text, false);
	keras_text(root, "fixed", text, true);
	keras_attribute(root, "many", type, H5Screate_simple(1, &many, NULL), text);
	H5Tclose(type);
	H5Gclose(root);
	H5Fclose(file);
	bytes.length = (size_t)lseek(fd, 0, SEEK_END);
	bytes.at = malloc(bytes.length);
	assert_int_equal(pread(fd, bytes.at, bytes.length, 0), bytes.length);
	assert_int_equal(unlink(path), 0);
	close(fd);
	return bytes;
}

static void long_attributes_are_refused(void **state)
{
	const size_t length = 17 << 20;
	char *text = malloc(length + 1);
	const struct fg_text *names;
	struct opened opened;
	struct fg_text found;
	uint32_t count;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', length);
	text[length] = 0;
	open_bytes(&opened, with_long_attributes(text));
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "variable", &found), -EINVAL);
	assert_says(&opened, "more than 16 MiB");
	assert_int_equal(fg_keras_h5_text(&opened.h5, "", "fixed", &found), -EINVAL);
	assert_says(&opened, "more than 16 MiB");
	assert_int_equal(fg_keras_h5_names(&opened.h5, "", "many", &names, &count), -EINVAL);
	assert_says(&opened, "more than 65536 names");
	close_made(&opened);
	free(text);
}

/* ---- no HDF5, or half of it ---- */

static void damaged_files_are_refused(void **state)
{
	hid_t file = keras_start(KERAS_SEQUENTIAL(KERAS_INPUT("4") ", " KERAS_DENSE("fc", "3")));
	struct fg_error error = {""};
	struct keras_bytes bytes;
	struct fg_graph graph;

	(void)state;
	assert_int_equal(fg_keras_parse_h5(&graph, "", 0, &error), -EINVAL);
	assert_non_null(strstr(error.text, "empty"));
	assert_int_equal(fg_keras_parse_h5(&graph, "not HDF5", 8, &error), -EINVAL);
	assert_non_null(strstr(error.text, "damaged HDF5"));
	keras_dense(file, "fc", 4, 3);
	bytes = keras_finish(file);
	assert_int_equal(fg_keras_parse_h5(&graph, bytes.at, bytes.length, &error), 0);
	fg_graph_free(&graph);
	for (size_t length = 0; length < bytes.length; length += 37) {
		uint8_t *exact = malloc(length + 1);

		assert_non_null(exact);
		memcpy(exact, bytes.at, length);
		error.text[0] = 0;
		assert_int_not_equal(fg_keras_parse_h5(&graph, exact, length, &error), 0);
		assert_int_not_equal(error.text[0], 0);
		free(exact);
	}
	free(bytes.at);
	bytes = keras_finish(keras_create());
	assert_int_equal(fg_keras_parse_h5(&graph, bytes.at, bytes.length, &error), -EINVAL);
	assert_non_null(strstr(error.text, "model.save"));
	free(bytes.at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(floats_of_all_sizes_are_read),
		cmocka_unit_test(edges_of_float16_are_read),
		cmocka_unit_test(chunks_and_filters_are_read),
		cmocka_unit_test(scalars_are_read),
		cmocka_unit_test(texts_are_read),
		cmocka_unit_test(lists_are_read),
		cmocka_unit_test(parts_make_a_model),
		cmocka_unit_test(links_are_refused),
		cmocka_unit_test(odd_paths_are_refused),
		cmocka_unit_test(data_elsewhere_is_refused),
		cmocka_unit_test(other_types_are_refused),
		cmocka_unit_test(float64_beyond_float32_is_refused),
		cmocka_unit_test(other_shapes_are_refused),
		cmocka_unit_test(missing_data_is_refused),
		cmocka_unit_test(other_filters_are_refused),
		cmocka_unit_test(claims_of_size_are_refused),
		cmocka_unit_test(repeated_data_is_bounded),
		cmocka_unit_test(deflate_bombs_are_refused),
		cmocka_unit_test(odd_attributes_are_refused),
		cmocka_unit_test(long_attributes_are_refused),
		cmocka_unit_test(damaged_files_are_refused),
	};

	return cmocka_run_group_tests_name("keras_h5", tests, NULL, NULL);
}
