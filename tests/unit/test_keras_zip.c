/* models/keras_zip: what is read from .keras archives, and that no entry leads out of them or
 * becomes larger than it says. The archives are written byte by byte, so that anything in them can
 * lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <zlib.h>
#include "models/keras.h"
#include "models/keras_zip.h"
#include "tests/unit/keras_writer.h"

/* ---- writing ---- */

#define MAX_ENTRIES 8

struct entry {
	const char *name;
	const void *data; /* as it is stored */
	size_t length;
	uint32_t claimed; /* bytes that it becomes */
	uint32_t checksum;
	uint16_t flags;
	uint16_t method;
};

static struct entry entries[MAX_ENTRIES];
static size_t entry_count;
static uint8_t archive[1 << 20];
static size_t archive_length;

static struct entry *add(const char *name, const void *data, size_t length)
{
	struct entry *entry = &entries[entry_count++];

	*entry = (struct entry){.name = name, .data = data, .length = length};
	entry->claimed = (uint32_t)length;
	entry->checksum = (uint32_t)crc32(0, data, (uInt)length);
	return entry;
}

static struct entry *add_text(const char *name, const char *text)
{
	return add(name, text, strlen(text));
}

static void put(const void *bytes, size_t length)
{
	memcpy(archive + archive_length, bytes, length);
	archive_length += length;
}

static void put_number(uint64_t number, size_t bytes)
{
	put(&number, bytes);
}

/* What a local and a central header share: from "version needed" to "extra field length". */
static void put_common(const struct entry *entry)
{
	put_number(20, 2);
	put_number(entry->flags, 2);
	put_number(entry->method, 2);
	put_number(0, 4); /* time and date */
	put_number(entry->checksum, 4);
	put_number(entry->length, 4);
	put_number(entry->claimed, 4);
	put_number(strlen(entry->name), 2);
	put_number(0, 2);
}

/* APPNOTE.TXT of PKWARE, 4.3 */
static void write_archive(void)
{
	uint32_t offsets[MAX_ENTRIES], directory;

	archive_length = 0;
	for (size_t i = 0; i < entry_count; i++) {
		offsets[i] = (uint32_t)archive_length;
		put_number(0x04034b50, 4);
		put_common(&entries[i]);
		put(entries[i].name, strlen(entries[i].name));
		put(entries[i].data, entries[i].length);
	}
	directory = (uint32_t)archive_length;
	for (size_t i = 0; i < entry_count; i++) {
		put_number(0x02014b50, 4);
		put_number(20, 2);
		put_common(&entries[i]);
		put_number(0, 2 + 2 + 2); /* comment, disk, attributes */
		put_number(0, 4);
		put_number(offsets[i], 4);
		put(entries[i].name, strlen(entries[i].name));
	}
	put_number(0x06054b50, 4);
	put_number(0, 4);
	put_number(entry_count, 2);
	put_number(entry_count, 2);
	put_number(archive_length - directory - 12, 4);
	put_number(directory, 4);
	put_number(0, 2);
	entry_count = 0;
}

/* ---- reading ---- */

/* What opening, or then reading "a", gives. */
static int read_a(struct fg_arena *arena, const void **bytes, size_t *size, struct fg_error *error)
{
	struct fg_keras_zip zip;
	uint8_t *exact;
	int result;

	write_archive();
	exact = malloc(archive_length);
	assert_non_null(exact);
	memcpy(exact, archive, archive_length);
	result = fg_keras_zip_open(&zip, exact, archive_length, error);
	if (!result) {
		result = fg_keras_zip_read(&zip, "a", 1000, arena, bytes, size);
		fg_keras_zip_close(&zip);
	}
	free(exact);
	return result;
}

static void assert_refused(int wanted, const char *text)
{
	struct fg_error error = {"(nothing said)"};
	struct fg_arena arena = {NULL};
	const void *bytes;
	size_t size;

	assert_int_equal(read_a(&arena, &bytes, &size, &error), wanted);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
	fg_arena_free(&arena);
}

static void assert_read(const char *text, size_t length)
{
	struct fg_error error = {""};
	struct fg_arena arena = {NULL};
	const void *bytes;
	size_t size;

	if (read_a(&arena, &bytes, &size, &error))
		fail_msg("refused: %s", error.text);
	assert_int_equal(size, length);
	assert_memory_equal(bytes, text, length);
	fg_arena_free(&arena);
}

/* Raw deflate, as zip has it. */
static size_t deflate_raw(const void *data, size_t length, void *to, size_t room)
{
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)data,
			   .avail_in = (uInt)length,
			   .next_out = to,
			   .avail_out = (uInt)room};

	deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return room - stream.avail_out;
}

static struct entry *add_deflated(const char *name, const char *data, size_t length, void *room)
{
	struct entry *entry = add(name, room, deflate_raw(data, length, room, 1 << 16));

	entry->claimed = (uint32_t)length;
	entry->checksum = (uint32_t)crc32(0, (const Bytef *)data, (uInt)length);
	entry->method = 8;
	return entry;
}

static void entries_are_read(void **state)
{
	static char room[1 << 16], zeros[900];

	(void)state;
	add_text("assets/", "");
	add_text("assets/b", "other");
	add_text("a", "hello");
	assert_read("hello", 5);
	add_text("a", "");
	assert_read("", 0);
	add_deflated("a", zeros, sizeof(zeros), room);
	assert_read(zeros, sizeof(zeros));
	add_text("b", "hello");
	assert_refused(-ENOENT, "holds no 'a'");
	assert_refused(-ENOENT, "holds no 'a'");
}

static void odd_names_are_refused(void **state)
{
	static const char *const names[] = {"../a", "/a",   "b/../a", "b//a",	"./a",
					    "..",   "b\\a", "b\na",   "b/\x7f", "b/.."};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		add_text("a", "hello");
		add_text(names[i], "other");
		assert_refused(-EINVAL, "a name that leads elsewhere");
	}
	add_text("a", "hello");
	add_text("b", "other");
	add_text("a", "again");
	assert_refused(-EINVAL, "an entry twice");
}

static void odd_storage_is_refused(void **state)
{
	(void)state;
	add_text("a", "hello")->flags = 1;
	assert_refused(-EINVAL, "'a' is encrypted");
	add_text("a", "hello");
	add_text("b", "other")->flags = 1;
	assert_refused(-EINVAL, "'b' is encrypted");
	add_text("a", "hello")->method = 12;
	assert_refused(-EINVAL, "method 12");
	add_text("a", "hello")->checksum ^= 1;
	assert_refused(-EINVAL, "'a' is damaged");
}

static void bombs_are_refused(void **state)
{
	static char room[1 << 16], zeros[1 << 20];
	struct entry *entry;

	(void)state;
	/* More than deflate can hold; more than we read; more, or less, than it becomes. */
	add_deflated("a", zeros, 100, room)->claimed = 1u << 31;
	assert_refused(-EINVAL, "'a' claims 2147483648 bytes");
	add_deflated("a", zeros, sizeof(zeros), room);
	assert_refused(-EINVAL, "at most 1000 are read");
	entry = add_deflated("a", zeros, sizeof(zeros), room);
	entry->claimed = 900;
	entry->checksum = (uint32_t)crc32(0, (const Bytef *)zeros, 900);
	assert_refused(-EINVAL, "'a' is damaged");
	add_deflated("a", zeros, 700, room)->claimed = 900;
	assert_refused(-EINVAL, "'a' is damaged");
	add_text("a", "not deflate")->method = 8;
	assert_refused(-EINVAL, "'a' is damaged");
}

/* ---- whole models ---- */

#define CONFIG KERAS_SEQUENTIAL(KERAS_INPUT("4") ", " KERAS_DENSE("fc", "3"))

static struct keras_bytes weights(const char *container)
{
	hid_t file = keras_create();
	struct keras_bytes bytes;
	char path[64];

	snprintf(path, sizeof(path), "%s/dense/vars/0", container);
	keras_dataset(file, path, KERAS_DIMS(4, 3));
	snprintf(path, sizeof(path), "%s/dense/vars/1", container);
	keras_dataset(file, path, KERAS_DIMS(3));
	bytes = keras_finish(file);
	return bytes;
}

static void assert_model_refused(const char *text)
{
	struct fg_error error = {"(nothing said)"};
	struct fg_graph graph;

	write_archive();
	assert_int_equal(fg_keras_parse_zip(&graph, archive, archive_length, &error), -EINVAL);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
	assert_null(graph.arena.chunks);
}

static void models_are_read(void **state)
{
	static const char *const containers[] = {"layers", "_layer_checkpoint_dependencies"};
	struct fg_error error = {""};
	struct fg_graph graph;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct keras_bytes bytes = weights(containers[i]);

		add_text("metadata.json", "{\"keras_version\": \"3.0.0\"}");
		add_text("config.json", CONFIG);
		add("model.weights.h5", bytes.at, bytes.length);
		write_archive();
		if (fg_keras_parse_zip(&graph, archive, archive_length, &error))
			fail_msg("refused: %s", error.text);
		assert_int_equal(graph.node_count, 2);
		fg_graph_free(&graph);
		free(bytes.at);
	}
}

static void odd_models_are_refused(void **state)
{
	struct keras_bytes bytes = weights("layers"), other = weights("other");

	(void)state;
	add_text("metadata.json", "{}");
	assert_model_refused("no 'config.json'");
	add_text("config.json", CONFIG);
	assert_model_refused("no 'metadata.json'");
	add_text("config.json", CONFIG);
	add_text("metadata.json", "{}");
	add_text("model.weights.npz", "");
	assert_model_refused("no 'model.weights.h5'");
	add_text("config.json", CONFIG);
	add_text("metadata.json", "{]");
	add("model.weights.h5", bytes.at, bytes.length);
	assert_model_refused("metadata.json: line 1");
	add_text("config.json", "");
	add_text("metadata.json", "{}");
	add("model.weights.h5", bytes.at, bytes.length);
	assert_model_refused("config.json: line 1");
	add_text("config.json", CONFIG);
	add_text("metadata.json", "{}");
	add_text("model.weights.h5", "zip in zip");
	assert_model_refused("damaged HDF5");
	add_text("config.json", CONFIG);
	add_text("metadata.json", "{}");
	add("model.weights.h5", other.at, other.length);
	assert_model_refused("layer 'fc' (Dense)");
	add_text("config.json",
		 KERAS_SEQUENTIAL(
			 KERAS_INPUT("4") ", " KERAS_DENSE("a", "3") ", " KERAS_DENSE("b", "3")));
	add_text("metadata.json", "{}");
	add("model.weights.h5", bytes.at, bytes.length);
	assert_model_refused("dense_1/vars' is not in the file");
	add_text("config.json",
		 KERAS_SEQUENTIAL(KERAS_INPUT("4") ", " KERAS_LAYER(
			 "Dense", "fc",
			 ", \"units\": 3, \"use_bias\": false, \"activation\": null")));
	add_text("metadata.json", "{}");
	add("model.weights.h5", bytes.at, bytes.length);
	assert_model_refused("holds 2 variables for it, its config asks for 1");
	free(bytes.at);
	free(other.at);
}

/* Any end is refused, and any byte changed leaves no memory behind (AddressSanitizer sees). */
static void damaged_archives_are_refused(void **state)
{
	struct keras_bytes bytes = weights("layers");
	struct fg_error error;
	struct fg_graph graph;

	(void)state;
	add_text("metadata.json", "{}");
	add_text("config.json", CONFIG);
	add("model.weights.h5", bytes.at, bytes.length);
	write_archive();
	for (size_t length = 0; length < archive_length; length += 29)
		assert_int_equal(fg_keras_parse_zip(&graph, archive, length, &error), -EINVAL);
	for (size_t i = 0; i < 600 && i < archive_length; i++) {
		archive[archive_length - 1 - i] ^= 0x41;
		if (!fg_keras_parse_zip(&graph, archive, archive_length, &error))
			fg_graph_free(&graph);
		archive[archive_length - 1 - i] ^= 0x41;
	}
	free(bytes.at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_read),
		cmocka_unit_test(odd_names_are_refused),
		cmocka_unit_test(odd_storage_is_refused),
		cmocka_unit_test(bombs_are_refused),
		cmocka_unit_test(models_are_read),
		cmocka_unit_test(odd_models_are_refused),
		cmocka_unit_test(damaged_archives_are_refused),
	};

	return cmocka_run_group_tests_name("keras_zip", tests, NULL, NULL);
}
