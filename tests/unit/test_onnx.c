/* models/onnx: what is read, and for each thing that is refused, that the reason names it. */
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
#include "models/onnx.h"
#include "tests/unit/onnx_writer.h"

static struct writer graph, model, attributes, tensor;

/* ---- helpers ---- */

/* Parses a copy of exactly the model's size. The graph is freed again. */
static int parse(int64_t opset, int dirfd, struct fg_error *error)
{
	struct fg_graph parsed;
	uint8_t *exact;
	int result;

	model.length = 0;
	put_model(&model, &graph, opset);
	exact = malloc(model.length);
	assert_non_null(exact);
	memcpy(exact, model.bytes, model.length);
	result = fg_onnx_parse(&parsed, exact, model.length, dirfd, error);
	if (!result)
		fg_graph_free(&parsed);
	free(exact);
	return result;
}

static void assert_text(const struct fg_error *error, const char *text)
{
	if (!strstr(error->text, text))
		fail_msg("'%s' does not say '%s'", error->text, text);
}

/* The graph is refused, and the reason says `one` and `two`. */
static void assert_refused_at(int64_t opset, int dirfd, const char *one, const char *two)
{
	struct fg_error error = {"(nothing said)"};

	assert_int_not_equal(parse(opset, dirfd, &error), 0);
	assert_text(&error, one);
	assert_text(&error, two);
	graph.length = 0;
}

static void assert_refused(const char *one, const char *two)
{
	assert_refused_at(13, -1, one, two);
}

static void assert_accepted(void)
{
	struct fg_error error = {""};

	if (parse(13, -1, &error))
		fail_msg("refused: %s", error.text);
	graph.length = 0;
}

/* Starts a graph: input x (N, 4), weights w (4, 3). */
static void start(void)
{
	graph.length = attributes.length = tensor.length = 0;
	put_input(&graph, "x", DIMS(0, 4));
	put_weights(&graph, "w", DIMS(4, 3), 1);
}

static void finish(const char *output)
{
	put_output(&graph, output, DIMS(0, 3));
}

/* ---- what is read ---- */

static void graph_is_read(void **state)
{
	struct fg_error error;
	struct fg_graph parsed;
	float expect[12];

	(void)state;
	start();
	attribute_float(&attributes, "alpha", 0.5f);
	attribute_int(&attributes, "transB", 0);
	put_node(&graph, "Gemm", "fc", "x w", "h", &attributes);
	put_node(&graph, "Relu", "", "h", "y", NULL);
	finish("y");
	put_model(&model, &graph, 13);
	assert_int_equal(fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error), 0);
	assert_int_equal(parsed.opset, 13);
	assert_int_equal(parsed.node_count, 2);
	assert_int_equal(parsed.value_count, 4);
	assert_true(fg_text_is(parsed.nodes[0].name, "fc"));
	assert_int_equal(parsed.nodes[0].input_count, 2);
	assert_int_equal(parsed.nodes[0].attribute_count, 2);
	assert_true(fg_node_attribute(&parsed.nodes[0], "alpha")->number == 0.5f);
	assert_null(fg_node_attribute(&parsed.nodes[0], "beta"));
	assert_int_equal(parsed.nodes[1].inputs[0], parsed.nodes[0].output);
	assert_int_equal(parsed.output, parsed.nodes[1].output);
	assert_int_equal(parsed.input_shape.rank, 2);
	assert_int_equal(parsed.input_shape.dims[0], FG_GRAPH_UNKNOWN);
	assert_int_equal(parsed.input_shape.dims[1], 4);
	fill_weights(expect, 12, 1);
	for (size_t i = 0; i < 12; i++)
		assert_true(fg_tensor_f32(parsed.values[parsed.nodes[0].inputs[1]].constant, i) ==
			    expect[i]);
	fg_graph_free(&parsed);
	graph.length = model.length = 0;
}

/* float_data and int64_data, packed and one by one. */
static void typed_data_is_read(void **state)
{
	static const float floats[] = {1.0f, 2.0f, 3.0f};
	static const uint8_t packed[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					 0xff, 0xff, 0xff, 1,	 3};
	struct fg_error error;
	struct fg_graph parsed;
	const struct fg_tensor *found;

	(void)state;
	start();
	tensor_head(&tensor, "packed", ONNX_FLOAT, DIMS(3));
	put_bytes(&tensor, 4, floats, sizeof(floats));
	put_message(&graph, 5, &tensor);
	tensor.length = 0;
	tensor_head(&tensor, "single", ONNX_FLOAT, DIMS(2));
	put_float(&tensor, 4, 5.0f);
	put_float(&tensor, 4, 6.0f);
	put_message(&graph, 5, &tensor);
	tensor.length = 0;
	tensor_head(&tensor, "shape", ONNX_INT64, DIMS(2));
	put_bytes(&tensor, 7, packed, sizeof(packed));
	put_message(&graph, 5, &tensor);
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y");
	model.length = 0;
	put_model(&model, &graph, 13);
	assert_int_equal(fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error), 0);
	found = parsed.values[fg_graph_find(&parsed, (struct fg_text){"packed", 6})].constant;
	assert_true(fg_tensor_f32(found, 2) == 3.0f);
	found = parsed.values[fg_graph_find(&parsed, (struct fg_text){"single", 6})].constant;
	assert_true(fg_tensor_f32(found, 1) == 6.0f);
	found = parsed.values[fg_graph_find(&parsed, (struct fg_text){"shape", 5})].constant;
	assert_true(fg_tensor_i64(found, 0) == -1 && fg_tensor_i64(found, 1) == 3);
	fg_graph_free(&parsed);
}

/* Before IR version 4, initializers were listed as inputs as well. */
static void initializers_among_inputs(void **state)
{
	(void)state;
	start();
	put_input(&graph, "w", DIMS(4, 3));
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y");
	assert_accepted();
}

static void many_values(void **state)
{
	char in[16] = "x", out[16];

	(void)state;
	start();
	for (int i = 0; i < 1500; i++) {
		snprintf(out, sizeof(out), "v%d", i);
		put_node(&graph, "Relu", "", in, out, NULL);
		memcpy(in, out, sizeof(in));
	}
	put_output(&graph, out, DIMS(0, 4));
	assert_accepted();
}

/* ---- graphs that are refused ---- */

static void not_onnx(void **state)
{
	struct fg_graph parsed;
	struct fg_error error;

	(void)state;
	assert_int_equal(fg_onnx_parse(&parsed, "", 0, -1, &error), -EINVAL);
	assert_text(&error, "no graph");
	assert_int_equal(fg_onnx_parse(&parsed, "{\"a\": 1}", 8, -1, &error), -EINVAL);
	assert_text(&error, "not an ONNX file");
}

static void wrong_opset(void **state)
{
	(void)state;
	start();
	assert_refused_at(6, -1, "opset 6", "7 to");
	start();
	assert_refused_at(1000, -1, "opset 1000", "7 to");
	start();
	assert_refused_at(-1, -1, "opset -1", "7 to");
}

static void wrong_inputs_and_outputs(void **state)
{
	(void)state;
	start();
	put_input(&graph, "x2", DIMS(0, 4));
	assert_refused("inputs 'x' and 'x2'", "only one input");
	graph.length = 0;
	put_node(&graph, "Constant", "", "", "y", NULL);
	assert_refused("no input", "");
	start();
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	assert_refused("no output", "");
	start();
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y");
	finish("x");
	assert_refused("output 'x'", "only one output");
	start();
	finish("nowhere");
	assert_refused("output 'nowhere'", "nothing computes it");
	put_value_info(&graph, 11, "d", ONNX_DOUBLE, DIMS(0, 4));
	assert_refused("input 'd' is float64", "float32");
	put_input(&graph, "x", DIMS(0, -4));
	assert_refused("input 'x': dimension 1 is -4", "");
	put_input(&graph, "x", DIMS(1, 2, 3, 4, 5, 6, 7, 8, 9));
	assert_refused("graph input", "malformed");
}

static void wrong_edges(void **state)
{
	(void)state;
	start();
	put_node(&graph, "MatMul", "mm", "x nothing", "y", NULL);
	finish("y");
	assert_refused("node 'mm' (MatMul)", "'nothing', which nothing defines");
	start();
	put_node(&graph, "Relu", "early", "late", "y", NULL);
	put_node(&graph, "MatMul", "", "x w", "late", NULL);
	finish("y");
	assert_refused("node 'early' (Relu)", "before it is computed");
	start();
	put_node(&graph, "Add", "a", "x b", "y", NULL);
	put_node(&graph, "Add", "b", "y x", "b", NULL);
	finish("y");
	assert_refused("node 'a' (Add)", "cycle");
	start();
	put_node(&graph, "Relu", "self", "y", "y", NULL);
	finish("y");
	assert_refused("node 'self' (Relu)", "cycle");
}

static void names_twice(void **state)
{
	(void)state;
	start();
	put_weights(&graph, "w", DIMS(4, 3), 2);
	assert_refused("initializer 'w'", "twice");
	start();
	put_node(&graph, "Relu", "", "x", "y", NULL);
	put_node(&graph, "Relu", "", "x", "y", NULL);
	finish("y");
	assert_refused("node output 'y'", "twice");
	start();
	put_node(&graph, "Relu", "", "x", "w", NULL);
	finish("w");
	assert_refused("node output 'w'", "twice");
	start();
	attribute_int(&attributes, "axis", 1);
	attribute_int(&attributes, "axis", 0);
	put_node(&graph, "Flatten", "f", "x", "y", &attributes);
	finish("y");
	assert_refused("node 'f' (Flatten)", "twice");
}

static void unknown_operators(void **state)
{
	static struct writer node;

	(void)state;
	start();
	put_node(&graph, "Conv", "c1", "x w", "y", NULL);
	finish("y");
	assert_refused("'c1'", "operator Conv is not supported");
	start();
	node.length = 0;
	put_text(&node, 1, "x");
	put_text(&node, 2, "y");
	put_text(&node, 4, "Relu");
	put_text(&node, 7, "ai.onnx.ml");
	put_message(&graph, 1, &node);
	finish("y");
	assert_refused("#0", "operator ai.onnx.ml.Relu");
	/* Names are printed, but not what a terminal would obey. */
	start();
	put_node(&graph, "R\x1b[2Jlu", "", "x", "y", NULL);
	assert_refused("R?[2Jlu", "not supported");
}

static void wrong_counts(void **state)
{
	static struct writer node;

	(void)state;
	start();
	put_node(&graph, "Gemm", "g", "x", "y", NULL);
	assert_refused("node 'g' (Gemm)", "has 1 inputs, takes 2 to 3");
	start();
	put_node(&graph, "Relu", "", "x w", "y", NULL);
	assert_refused("node #0 (Relu)", "has 2 inputs, takes 1 to 1");
	start();
	node.length = 0;
	put_text(&node, 1, "x");
	put_text(&node, 2, "y");
	put_text(&node, 2, "z");
	put_text(&node, 4, "Relu");
	put_message(&graph, 1, &node);
	assert_refused("node #0 (Relu)", "has 2 outputs");
}

/* ---- tensors that are refused ---- */

static void refuse_tensor(const char *one, const char *two)
{
	graph.length = 0;
	put_input(&graph, "x", DIMS(0, 4));
	put_message(&graph, 5, &tensor);
	assert_refused(one, two);
	tensor.length = 0;
}

static void wrong_tensors(void **state)
{
	static const float two[2] = {1, 2};

	(void)state;
	tensor.length = 0;
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(3));
	put_bytes(&tensor, 9, two, sizeof(two));
	refuse_tensor("tensor 't'", "has 8 bytes of data, its dimensions need 12");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(1));
	put_bytes(&tensor, 9, two, sizeof(two));
	refuse_tensor("tensor 't'", "has 8 bytes of data, its dimensions need 4");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(3));
	put_bytes(&tensor, 4, two, sizeof(two));
	refuse_tensor("tensor 't'", "has not the 3 numbers");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(1));
	put_bytes(&tensor, 4, two, sizeof(two));
	refuse_tensor("tensor 't'", "has not the 1 numbers");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(2));
	refuse_tensor("tensor 't'", "has not the 2 numbers");
	tensor_head(&tensor, "t", ONNX_DOUBLE, DIMS(1));
	put_bytes(&tensor, 9, two, sizeof(two));
	refuse_tensor("tensor 't'", "is float64");
	tensor_head(&tensor, "t", 10, DIMS(2));
	put_bytes(&tensor, 9, two, 4);
	refuse_tensor("tensor 't'", "is float16");
	tensor_head(&tensor, "t", 99, DIMS(2));
	refuse_tensor("tensor 't'", "a type unknown here");
}

static void wrong_dimensions(void **state)
{
	static const float two[2] = {1, 2};

	(void)state;
	tensor.length = 0;
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(-2));
	put_bytes(&tensor, 9, two, sizeof(two));
	refuse_tensor("tensor 't'", "dimension 0 is -2");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(2, 0));
	refuse_tensor("tensor 't'", "dimension 1 is 0");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(INT64_C(1) << 40, INT64_C(1) << 40));
	refuse_tensor("tensor 't'", "dimensions overflow");
	/* 2^62 elements fit in 64 bits, their bytes would not: 2^62 * 4 = 0 = no data. */
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(INT64_C(1) << 31, INT64_C(1) << 31));
	put_bytes(&tensor, 9, "", 0);
	refuse_tensor("tensor 't'", "dimensions overflow");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(INT64_C(1) << 50));
	refuse_tensor("tensor 't'", "has not the 1125899906842624 numbers");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(1, 1, 1, 1, 1, 1, 1, 1, 1));
	refuse_tensor("more than 8 dimensions", "");
	tensor_head(&tensor, "t", ONNX_FLOAT, DIMS(1));
	put_text(&tensor, 3, "");
	refuse_tensor("segments", "");
	graph.length = 0;
	put_text(&graph, 15, "");
	assert_refused("sparse", "");
}

/* Every prefix of a good model is refused or read, and nothing crashes (ASan watches). */
static void every_cut(void **state)
{
	struct fg_graph parsed;
	struct fg_error error;

	(void)state;
	start();
	attribute_float(&attributes, "alpha", 0.5f);
	put_node(&graph, "Gemm", "fc", "x w", "y", &attributes);
	finish("y");
	model.length = 0;
	put_model(&model, &graph, 13);
	for (size_t length = 0; length < model.length; length++) {
		uint8_t *exact = malloc(length ? length : 1);

		assert_non_null(exact);
		memcpy(exact, model.bytes, length);
		if (fg_onnx_parse(&parsed, exact, length, -1, &error) == 0)
			fg_graph_free(&parsed);
		free(exact);
	}
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
	struct folder *folder = *state;

	unlinkat(folder->fd, "w.bin", 0);
	unlinkat(folder->fd, "link", 0);
	unlinkat(folder->fd, "pipe", 0);
	unlinkat(folder->fd, "model.onnx", 0);
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

/* x (N, 4) times external weights e (4, 3). */
static void start_external(const char *location, const char *offset, const char *length)
{
	graph.length = tensor.length = 0;
	put_input(&graph, "x", DIMS(0, 4));
	tensor_head(&tensor, "e", ONNX_FLOAT, DIMS(4, 3));
	put_entry(&tensor, "location", location);
	put_entry(&tensor, "offset", offset);
	put_entry(&tensor, "length", length);
	put_int(&tensor, 14, 1);
	put_message(&graph, 5, &tensor);
	put_node(&graph, "MatMul", "", "x e", "y", NULL);
	put_output(&graph, "y", DIMS(0, 3));
}

static void external_is_read(void **state)
{
	const struct folder *folder = *state;
	const char *const offsets[] = {NULL, "0", "16"};
	struct fg_graph parsed;
	struct fg_error error;

	for (size_t i = 0; i < 3; i++) {
		start_external("w.bin", offsets[i], i ? "48" : NULL);
		model.length = 0;
		put_model(&model, &graph, 13);
		assert_int_equal(fg_onnx_parse(&parsed, model.bytes, model.length, folder->fd,
					       &error),
				 0);
		assert_true(fg_tensor_f32(parsed.values[0].constant, 11) == (i == 2 ? 15 : 11));
		fg_graph_free(&parsed);
	}
}

static void external_is_refused(void **state)
{
	int fd = ((struct folder *)*state)->fd;

	start_external("w.bin", NULL, NULL);
	assert_refused_at(13, -1, "tensor 'e'", "there is no directory");
	start_external("../w.bin", NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "plain file name");
	start_external("sub/w.bin", NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "plain file name");
	start_external("/etc/passwd", NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "plain file name");
	start_external("..", NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "plain file name");
	start_external("", NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "plain file name");
	start_external(NULL, NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "plain file name");
	start_external("link", NULL, NULL);
	assert_refused_at(13, fd, "tensor 'e'", "symbolic link");
	start_external("sub", NULL, NULL);
	assert_refused_at(13, fd, "sub", "not a regular file");
	start_external("pipe", NULL, NULL);
	assert_refused_at(13, fd, "pipe", "not a regular file");
	start_external("missing", NULL, NULL);
	assert_refused_at(13, fd, "missing", "No such file");
	start_external("w.bin", "20", NULL);
	assert_refused_at(13, fd, "needs 48 bytes at 20", "which has 64");
	start_external("w.bin", "18446744073709551615", NULL);
	assert_refused_at(13, fd, "needs 48 bytes at 18446744073709551615", "");
	start_external("w.bin", "18446744073709551616", NULL);
	assert_refused_at(13, fd, "tensor 'e'", "malformed external data");
	start_external("w.bin", "-1", NULL);
	assert_refused_at(13, fd, "tensor 'e'", "malformed external data");
	start_external("w.bin", NULL, "44");
	assert_refused_at(13, fd, "tensor 'e'", "its length says otherwise");
}

static void files_are_loaded(void **state)
{
	const struct folder *folder = *state;
	struct fg_graph parsed;
	struct fg_error error;
	int fd;

	start_external("w.bin", NULL, NULL);
	model.length = 0;
	put_model(&model, &graph, 13);
	fd = openat(folder->fd, "model.onnx", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_int_equal(write(fd, model.bytes, model.length), model.length);
	close(fd);
	assert_int_equal(fg_onnx_load(&parsed, folder->fd, "model.onnx", &error), 0);
	assert_true(fg_text_is(parsed.values[0].name, "e"));
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
		cmocka_unit_test(graph_is_read),
		cmocka_unit_test(typed_data_is_read),
		cmocka_unit_test(initializers_among_inputs),
		cmocka_unit_test(many_values),
		cmocka_unit_test(not_onnx),
		cmocka_unit_test(wrong_opset),
		cmocka_unit_test(wrong_inputs_and_outputs),
		cmocka_unit_test(wrong_edges),
		cmocka_unit_test(names_twice),
		cmocka_unit_test(unknown_operators),
		cmocka_unit_test(wrong_counts),
		cmocka_unit_test(wrong_tensors),
		cmocka_unit_test(wrong_dimensions),
		cmocka_unit_test(every_cut),
		cmocka_unit_test_setup_teardown(external_is_read, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(external_is_refused, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(files_are_loaded, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
