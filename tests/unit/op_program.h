/*
 * op_program.h: small models written as text, for tests of operators.
 *
 *   "n = Shape x; y = Reshape z #0,-1; y2 = Softmax x axis=1"
 *
 * Each statement is a node: its outputs, its operator ("ml.Scaler": of ai.onnx.ml), its inputs and
 * attributes. Inputs are names; "#1,2" is a constant list of integers, "#1" a list of one, "##1" a
 * single integer; "$1,2.5" and "$$2.5" are the same in float; "%0.1" is a single double; "'a','b'"
 * is a list of texts; "-" is left out. Attributes: axis=1, alpha=0.5 (float for the '.'),
 * perm=[0,1], norm='L1', keys_strings=['a','b'], default_tensor=#-1. Outputs of the model are the
 * names that start with y.
 *
 * Inputs of the model and one row of it: x (N, 4) = 1 -2 3 0.5; z (N, 2, 3) = 1 2 3 4 5 6; v (N) =
 * 7; i (N, 2), integers = 2 0. Constants: w (4, 3) = 1 .. 12; k (2, 2, 3) = 1 .. 12.
 */
#ifndef FG_TESTS_OP_PROGRAM_H
#define FG_TESTS_OP_PROGRAM_H

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include "models/compile.h"
#include "models/kernels.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/onnx_writer.h"

static const float op_row[] = {1, -2, 3, 0.5f, 1, 2, 3, 4, 5, 6, 7, 2, 0};

enum { OP_COLS = sizeof(op_row) / sizeof(op_row[0]), OP_LIST = 16, OP_BATCH = 3 };

struct op_program {
	struct writer graph, model;
	char constants[64][64]; /* that are there already */
	uint32_t constant_count;
};

/* Numbers separated by commas. */
static inline uint32_t op_numbers(const char *text, float *floats, struct dims *integers)
{
	uint32_t count = 0;

	for (char *end = (char *)text; *text && *text != ']'; text = *end == ',' ? end + 1 : end) {
		assert(count < OP_LIST);
		floats[count] = strtof(text, &end);
		if (count < 8)
			integers->at[count] = strtoll(text, NULL, 10);
		count++;
		assert(end > text);
	}
	integers->rank = count;
	return count;
}

/* 'a','b' as words: a b */
static inline void op_words(const char *text, char *words)
{
	for (; *text && *text != ']'; text++)
		if (*text == ',')
			*words++ = ' ';
		else if (*text != '\'')
			*words++ = *text;
	*words = 0;
}

static inline void op_texts(struct op_program *program, const char *name)
{
	static struct writer tensor;
	char words[128];
	int64_t count = 1;

	op_words(name, words);
	for (const char *at = words; *at; at++)
		count += *at == ' ';
	tensor.length = 0;
	tensor_head(&tensor, name, ONNX_STRING, DIMS(count));
	put_words(&tensor, 6, words);
	put_message(&program->graph, 5, &tensor);
}

/* Makes the constant that the name spells, once. */
static inline void op_constant(struct op_program *program, const char *name)
{
	bool single = name[0] && name[1] == name[0];
	struct dims integers = {0};
	float floats[OP_LIST];
	uint32_t count;

	for (uint32_t i = 0; i < program->constant_count; i++)
		if (!strcmp(program->constants[i], name))
			return;
	if (!strchr("#$%'", *name))
		return;
	snprintf(program->constants[program->constant_count++], 64, "%s", name);
	if (*name == '\'') {
		op_texts(program, name);
		return;
	}
	count = op_numbers(name + 1 + single, floats, &integers);
	if (*name == '%') {
		const double number = strtod(name + 1, NULL);

		put_raw(&program->graph, name, ONNX_DOUBLE, SCALAR, &number, sizeof(number));
	} else if (*name == '#')
		put_raw(&program->graph, name, ONNX_INT64, single ? SCALAR : DIMS(count),
			integers.at, count * sizeof(int64_t));
	else
		put_raw(&program->graph, name, ONNX_FLOAT, single ? SCALAR : DIMS(count), floats,
			count * sizeof(float));
}

/* One integer as a tensor. */
static inline void op_tensor(struct writer *attributes, const char *name, int64_t number)
{
	static struct writer tensor;

	tensor.length = 0;
	tensor_head(&tensor, NULL, ONNX_INT64, DIMS(1));
	put_int(&tensor, 7, (uint64_t)number);
	attribute_tensor(attributes, name, &tensor);
}

static inline void op_attribute(struct writer *attributes, const char *name, const char *value)
{
	bool list = *value == '[', real = strpbrk(value, ".n") != NULL;
	struct dims integers = {0};
	float floats[OP_LIST];
	char words[128];

	if (*value == '#') {
		op_tensor(attributes, name, strtoll(value + 1, NULL, 10));
		return;
	}
	value += list;
	if (*value == '\'') {
		op_words(value, words);
		if (list)
			attribute_texts(attributes, name, words);
		else
			attribute_text(attributes, name, words);
		return;
	}
	op_numbers(value, floats, &integers);
	if (list && real)
		attribute_floats(attributes, name, floats, integers.rank);
	else if (list)
		attribute_ints(attributes, name, integers);
	else if (real)
		attribute_float(attributes, name, floats[0]);
	else
		attribute_int(attributes, name, integers.at[0]);
}

static inline void op_statement(struct op_program *program, char *text)
{
	static struct writer attributes;
	char inputs[256] = "", outputs[128] = "", *save, *word, *value, *op = NULL;
	bool left = true;

	attributes.length = 0;
	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		value = strchr(word, '=');
		if (left && value == word) {
			left = false;
		} else if (left) {
			strcat(strcat(outputs, *outputs ? " " : ""), word);
			if (*word == 'y')
				put_output(&program->graph, word, SCALAR);
		} else if (!op) {
			op = word;
		} else if (value) {
			*value = 0;
			op_attribute(&attributes, word, value + 1);
		} else {
			op_constant(program, word);
			strcat(strcat(inputs, *inputs ? " " : ""), word);
		}
	}
	put_node_of(&program->graph, strncmp(op, "ml.", 3) ? "" : ONNX_ML,
		    strncmp(op, "ml.", 3) ? op : op + 3, "n", inputs, outputs, &attributes);
}

static inline void op_write(struct op_program *program, const char *text, int64_t opset,
			    int64_t batch)
{
	struct writer *graph = &program->graph;
	char copy[1024], *save, *statement;
	float numbers[12];

	memset(program, 0, sizeof(*program));
	assert(strlen(text) < sizeof(copy));
	strcpy(copy, text);
	for (int i = 0; i < 12; i++)
		numbers[i] = (float)(i + 1);
	put_input(graph, "x", DIMS(batch, 4));
	put_input(graph, "z", DIMS(batch, 2, 3));
	put_input(graph, "v", DIMS(0));
	put_value_info(graph, 11, "i", ONNX_INT64, DIMS(batch, 2));
	put_raw(graph, "w", ONNX_FLOAT, DIMS(4, 3), numbers, sizeof(numbers));
	put_raw(graph, "k", ONNX_FLOAT, DIMS(2, 2, 3), numbers, sizeof(numbers));
	for (statement = strtok_r(copy, ";", &save); statement;
	     statement = strtok_r(NULL, ";", &save))
		op_statement(program, statement);
	put_model(&program->model, graph, opset);
	put_import(&program->model, ONNX_ML, 3);
}

/* Compiles the text; *plan's bytes (plan->header) belong to the caller: free(). */
static inline int op_compile(const char *text, int64_t opset, int64_t batch, bool plain,
			     struct fg_plan *plan, struct fg_error *error)
{
	const struct fg_compile_options options = {.plain = plain};
	static struct op_program program;
	struct fg_graph graph;
	void *bytes;
	size_t size;
	int result;

	op_write(&program, text, opset, batch);
	result = fg_onnx_parse(&graph, program.model.bytes, program.model.length, -1, error);
	if (result)
		return result;
	result = fg_compile(&graph, NULL, &options, &bytes, &size, error);
	fg_graph_free(&graph);
	if (!result)
		result = fg_plan_open(plan, bytes, size, error);
	return result;
}

/* Runs OP_BATCH equal rows; `out` has room for as many times out_cols. */
static inline void op_run(const struct fg_plan *plan, float *out)
{
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, OP_BATCH) + 64);
	float in[OP_BATCH * OP_COLS];

	assert(scratch && plan->in_cols == OP_COLS);
	for (size_t i = 0; i < OP_BATCH; i++)
		memcpy(in + i * OP_COLS, op_row, sizeof(op_row));
	fg_plan_run(plan, in, OP_BATCH, out, scratch);
	free(scratch);
}

/* Fails unless the model gives these numbers for each row, optimized and not. */
static inline void op_gives_at(const char *text, int64_t opset, int64_t batch, const char *numbers)
{
	struct fg_error error = {""};
	struct fg_plan plan;

	for (int plain = 0; plain < 2; plain++) {
		char *at = (char *)numbers;
		float *out;

		if (op_compile(text, opset, batch, plain, &plan, &error))
			fail_msg("%s: refused: %s", text, error.text);
		out = malloc(OP_BATCH * plan.out_cols * sizeof(*out));
		assert_non_null(out);
		op_run(&plan, out);
		for (uint32_t i = 0; i < plan.out_cols; i++) {
			float want = strtof(at, &at), got = out[i];

			if (!(got == want || (isnan(got) && isnan(want)) ||
			      fabsf(got - want) < 2e-6f * (1 + fabsf(want))))
				fail_msg("%s: column %u is %.9g, not %.9g", text, i, got, want);
		}
		if (strspn(at, " ") != strlen(at))
			fail_msg("%s: gives only %u columns", text, plan.out_cols);
		assert_memory_equal(out, out + (OP_BATCH - 1) * plan.out_cols,
				    plan.out_cols * sizeof(*out));
		free(out);
		free((void *)plan.header);
	}
}

static inline void op_gives(const char *text, const char *numbers)
{
	op_gives_at(text, 18, 0, numbers);
}

/* Fails unless the model is refused with words that hold `reason`, naming the node. */
static inline void op_refused_at(const char *text, int64_t opset, int64_t batch, const char *reason)
{
	struct fg_error error = {"(nothing said)"};
	struct fg_plan plan;

	if (op_compile(text, opset, batch, false, &plan, &error) != -EINVAL)
		fail_msg("%s: not refused: %s", text, error.text);
	if (!strstr(error.text, reason) || !strstr(error.text, "node 'n' ("))
		fail_msg("%s: '%s' does not name the node and '%s'", text, error.text, reason);
}

static inline void op_refused(const char *text, const char *reason)
{
	op_refused_at(text, 18, 0, reason);
}

#endif
