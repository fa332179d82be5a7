/* models/onnx: how much a file may hold. What is one too many is refused, what fits is read, and a
 * file cannot make the reader take much longer than it takes to read the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "models/onnx_external.h"
#include "tests/unit/onnx_reader.h"

/* A model larger than a struct writer. */
struct large {
	uint8_t *bytes;
	size_t length, room;
};

static void append(struct large *to, const void *bytes, size_t length)
{
	if (to->length + length > to->room) {
		to->room = 2 * (to->length + length);
		to->bytes = realloc(to->bytes, to->room);
		assert_non_null(to->bytes);
	}
	memcpy(to->bytes + to->length, bytes, length);
	to->length += length;
}

/* Moves what was written to `graph` to the end of `body`. */
static void flush(struct large *body)
{
	append(body, graph.bytes, graph.length);
	graph.length = 0;
}

/* Reads a model with the graph `body`, and frees `body`. */
static int parse_large(struct large *body, int dirfd, struct fg_error *error)
{
	struct large whole = {0};
	struct fg_graph parsed;
	int result;

	model.length = 0;
	put_int(&model, 1, 8);
	put_import(&model, "", 13);
	put_varint(&model, 7 << 3 | 2);
	put_varint(&model, body->length);
	append(&whole, model.bytes, model.length);
	append(&whole, body->bytes, body->length);
	free(body->bytes);
	*body = (struct large){0};
	result = fg_onnx_parse(&parsed, whole.bytes, whole.length, dirfd, error);
	if (!result)
		fg_graph_free(&parsed);
	free(whole.bytes);
	return result;
}

/* A chain of `count` nodes from `first` to v0, v1, ... */
static void put_chain(struct large *body, uint32_t count, const char *first)
{
	char in[16], out[16];

	snprintf(in, sizeof(in), "%s", first);
	start();
	for (uint32_t i = 0; i < count; i++) {
		snprintf(out, sizeof(out), "v%u", i);
		put_node(&graph, "Relu", "", in, out, NULL);
		memcpy(in, out, sizeof(in));
		flush(body);
	}
	put_output(&graph, out, DIMS(0, 4));
	flush(body);
}

static void number_of_nodes(void **state)
{
	struct large body = {0};
	struct fg_error error = {""};

	(void)state;
	put_chain(&body, FG_ONNX_MAX_NODES, "x");
	assert_int_equal(parse_large(&body, -1, &error), 0);
	put_chain(&body, FG_ONNX_MAX_NODES + 1, "x");
	assert_int_equal(parse_large(&body, -1, &error), -EINVAL);
	assert_text(&error, "more than 65536 nodes");
}

/* The reason is looked for once, in the whole graph, for the first node. */
static void long_cycle(void **state)
{
	struct large body = {0};
	struct fg_error error = {""};

	(void)state;
	put_chain(&body, FG_ONNX_MAX_NODES, "v65535");
	assert_int_equal(parse_large(&body, -1, &error), -EINVAL);
	assert_text(&error, "uses 'v65535' before it is computed");
}

static void number_of_values(void **state)
{
	struct fg_error error = {""};
	struct large body = {0};
	char name[16];

	(void)state;
	start(); /* two values */
	for (uint32_t i = 2; i < FG_ONNX_MAX_VALUES; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		put_raw(&graph, name, ONNX_UINT8, SCALAR, "", 1);
		flush(&body);
	}
	finish("x");
	flush(&body);
	assert_int_equal(parse_large(&body, -1, &error), 0);
	start();
	put_node(&graph, "Split", "", "x", "y z", NULL);
	flush(&body);
	for (uint32_t i = 3; i < FG_ONNX_MAX_VALUES; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		put_raw(&graph, name, ONNX_UINT8, SCALAR, "", 1);
		flush(&body);
	}
	assert_int_equal(parse_large(&body, -1, &error), -EINVAL);
	assert_text(&error, "more than 524288");
}

/* Tensors in files of their own, as some tools save them. */
static void number_of_external_files(void **state)
{
	enum { MAX = FG_ONNX_MAX_EXTERNAL_FILES };
	char path[] = "/tmp/fgt-onnx-XXXXXX", name[16];
	struct fg_error error = {""};
	struct large body = {0};
	int dirfd;

	(void)state;
	assert_non_null(mkdtemp(path));
	dirfd = open(path, O_RDONLY | O_DIRECTORY);
	for (uint32_t count = MAX; count <= MAX + 1; count++) {
		start();
		for (uint32_t i = 0; i < count; i++) {
			static struct writer entries;

			snprintf(name, sizeof(name), "w%u", i);
			close(openat(dirfd, name, O_WRONLY | O_CREAT, 0644));
			tensor.length = entries.length = 0;
			tensor_head(&tensor, name, ONNX_FLOAT, DIMS(0));
			put_text(&entries, 1, "location");
			put_text(&entries, 2, name);
			put_message(&tensor, 13, &entries);
			put_int(&tensor, 14, 1);
			put_message(&graph, 5, &tensor);
			flush(&body);
		}
		finish("x");
		flush(&body);
		assert_int_equal(parse_large(&body, dirfd, &error), count > MAX ? -EINVAL : 0);
	}
	for (uint32_t i = 0; i <= MAX; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		unlinkat(dirfd, name, 0);
	}
	close(dirfd);
	rmdir(path);
	assert_text(&error, "tensor 'w512': external data in more than 512 files");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number_of_nodes),
		cmocka_unit_test(long_cycle),
		cmocka_unit_test(number_of_values),
		cmocka_unit_test(number_of_external_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
