/* onnx_reader.h: what the tests of the ONNX reader share: a graph that is being written, and
 * whether it is read or refused, and why. */
#ifndef FG_TESTS_ONNX_READER_H
#define FG_TESTS_ONNX_READER_H

#include <stdlib.h>
#include <string.h>
#include "models/onnx.h"
#include "tests/unit/onnx_writer.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEXT(string) ((struct fg_text){string, sizeof(string) - 1})

static struct writer graph, model, attributes, tensor;

/* Parses a copy of exactly the size of `model`, so that a sanitizer sees a read behind it. The
 * graph is freed again. */
static inline int parse_model(int dirfd, struct fg_error *error)
{
	struct fg_graph parsed;
	uint8_t *exact = malloc(model.length ? model.length : 1);
	int result;

	assert_non_null(exact);
	memcpy(exact, model.bytes, model.length);
	result = fg_onnx_parse(&parsed, exact, model.length, dirfd, error);
	if (!result)
		fg_graph_free(&parsed);
	free(exact);
	return result;
}

static inline void assert_text(const struct fg_error *error, const char *text)
{
	if (!strstr(error->text, text))
		fail_msg("'%s' does not say '%s'", error->text, text);
}

/* `model` is refused, and the reason says `one` and `two`. */
static inline void assert_model_refused(int dirfd, const char *one, const char *two)
{
	struct fg_error error = {"(nothing said)"};

	assert_int_not_equal(parse_model(dirfd, &error), 0);
	assert_text(&error, one);
	assert_text(&error, two);
	graph.length = 0;
}

static inline void finish_model(void)
{
	model.length = 0;
	put_model(&model, &graph, 13);
	put_import(&model, ONNX_ML, 3);
}

static inline void assert_refused_at(int dirfd, const char *one, const char *two)
{
	finish_model();
	assert_model_refused(dirfd, one, two);
}

static inline void assert_refused(const char *one, const char *two)
{
	assert_refused_at(-1, one, two);
}

static inline void assert_accepted(void)
{
	struct fg_error error = {""};

	finish_model();
	if (parse_model(-1, &error))
		fail_msg("refused: %s", error.text);
	graph.length = 0;
}

/* Reads `graph` into *parsed, which points into `model`; the caller frees it. */
static inline void read_graph_at(struct fg_graph *parsed, int dirfd)
{
	struct fg_error error = {""};

	finish_model();
	if (fg_onnx_parse(parsed, model.bytes, model.length, dirfd, &error))
		fail_msg("refused: %s", error.text);
	graph.length = 0;
}

static inline void read_graph(struct fg_graph *parsed)
{
	read_graph_at(parsed, -1);
}

static inline const struct fg_tensor *constant(const struct fg_graph *parsed, const char *name)
{
	uint32_t value = fg_graph_find(parsed, (struct fg_text){name, strlen(name)});

	assert_int_not_equal(value, FG_GRAPH_NO_VALUE);
	assert_non_null(parsed->values[value].constant);
	return parsed->values[value].constant;
}

/* Starts a graph: input x (N, 4), weights w (4, 3). */
static inline void start(void)
{
	graph.length = attributes.length = tensor.length = 0;
	put_input(&graph, "x", DIMS(0, 4));
	put_weights(&graph, "w", DIMS(4, 3), 1);
}

static inline void finish(const char *output)
{
	put_output(&graph, output, DIMS(0, 3));
}

#endif
