/*
 * models/ops, ir and compile: what becomes of each operator, what is refused and why, and that a
 * compiled model computes what the graph says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/onnx_writer.h"

static struct writer graph, model, attributes;

struct compiled {
	struct fg_plan plan;
	void *bytes;
};

static void assert_text(const struct fg_error *error, const char *text)
{
	if (!strstr(error->text, text))
		fail_msg("'%s' does not say '%s'", error->text, text);
}

static int compile(struct compiled *out, int64_t opset, struct fg_error *error)
{
	struct fg_graph parsed;
	size_t size;
	int result;

	model.length = 0;
	put_model(&model, &graph, opset);
	graph.length = attributes.length = 0;
	result = fg_onnx_parse(&parsed, model.bytes, model.length, -1, error);
	if (result)
		return result;
	result = fg_compile(&parsed, NULL, &out->bytes, &size, error);
	fg_graph_free(&parsed);
	if (!result)
		assert_int_equal(fg_plan_open(&out->plan, out->bytes, size, error), 0);
	return result;
}

static struct compiled compiled(void)
{
	struct compiled out;
	struct fg_error error;

	if (compile(&out, 13, &error))
		fail_msg("refused: %s", error.text);
	return out;
}

static void assert_refused_at(int64_t opset, const char *one, const char *two)
{
	struct compiled out;
	struct fg_error error = {"(nothing said)"};

	assert_int_equal(compile(&out, opset, &error), -EINVAL);
	assert_text(&error, one);
	assert_text(&error, two);
}

static void assert_refused(const char *one, const char *two)
{
	assert_refused_at(13, one, two);
}

static const struct fg_plan_step *step(const struct compiled *compiled, uint32_t i)
{
	assert_true(i < compiled->plan.header->step_count);
	return (const struct fg_plan_step *)(compiled->plan.header + 1) + i;
}

static void assert_step(const struct compiled *compiled, uint32_t i, enum fg_step_kind kind,
			enum fg_activation activation)
{
	assert_int_equal(step(compiled, i)->kind, kind);
	assert_int_equal(step(compiled, i)->activation, activation);
}

static void run(const struct compiled *compiled, const float *in, uint32_t rows, float *out)
{
	size_t bytes = fg_plan_scratch_bytes(&compiled->plan, rows);
	void *scratch = aligned_alloc(64, bytes + 64);

	assert_non_null(scratch);
	fg_plan_run(&compiled->plan, in, rows, out, scratch);
	free(scratch);
}

/* Input x (N, 4); constants: w (4, 3), its transpose's shape t (3, 4), b (3). */
static void start(void)
{
	graph.length = attributes.length = 0;
	put_input(&graph, "x", DIMS(0, 4));
	put_weights(&graph, "w", DIMS(4, 3), 1);
	put_weights(&graph, "t", DIMS(3, 4), 2);
	put_weights(&graph, "b", DIMS(3), 3);
}

static void finish(const char *output, struct dims dims)
{
	put_output(&graph, output, dims);
}

/* ---- folding and fusing ---- */

static void gemm_computes(void **state)
{
	const float in[4] = {1, -2, 3, 0.5f};
	struct compiled out;
	float weights[12], bias[3], got[3];

	(void)state;
	start();
	attribute_float(&attributes, "alpha", 0.5f);
	attribute_float(&attributes, "beta", 2.0f);
	attribute_int(&attributes, "transB", 1);
	put_node(&graph, "Gemm", "fc", "x t b", "y", &attributes);
	finish("y", DIMS(0, 3));
	out = compiled();
	assert_int_equal(out.plan.header->step_count, 1);
	assert_step(&out, 0, FG_STEP_DENSE, FG_ACTIVATION_NONE);
	assert_string_equal(step(&out, 0)->label, "fc");
	fill_weights(weights, 12, 2);
	fill_weights(bias, 3, 3);
	run(&out, in, 1, got);
	for (int col = 0; col < 3; col++) {
		float want = 2 * bias[col];

		for (int k = 0; k < 4; k++)
			want += 0.5f * in[k] * weights[col * 4 + k];
		assert_true(got[col] == want);
	}
	free(out.bytes);
}

static void bias_shapes(void **state)
{
	static const struct dims shapes[] = {
		{1, {3}}, {2, {1, 3}}, {0, {0}}, {1, {1}}, {2, {1, 1}}};
	struct compiled out;
	float got[3], bias[3];
	const float zero[4] = {0};

	(void)state;
	for (size_t i = 0; i < 5; i++)
		for (int gemm = 0; gemm < 2; gemm++) {
			start();
			put_weights(&graph, "c", shapes[i], 7);
			put_node(&graph, gemm ? "Gemm" : "MatMul", "", gemm ? "x w c" : "x w",
				 gemm ? "y" : "m", NULL);
			if (!gemm)
				put_node(&graph, "Add", "", i % 2 ? "c m" : "m c", "y", NULL);
			finish("y", DIMS(0, 3));
			out = compiled();
			assert_int_equal(out.plan.header->step_count, 1);
			run(&out, zero, 1, got);
			fill_weights(bias, 3, 7);
			assert_true(got[0] == bias[0]);
			assert_true(got[2] == bias[i < 2 ? 2 : 0]);
			free(out.bytes);
		}
}

static void activations_are_fused(void **state)
{
	static const char *const ops[] = {"Relu", "LeakyRelu", "Sigmoid", "Tanh"};
	static const enum fg_activation activations[] = {FG_ACTIVATION_RELU,
							 FG_ACTIVATION_LEAKY_RELU,
							 FG_ACTIVATION_SIGMOID, FG_ACTIVATION_TANH};
	struct compiled out;

	(void)state;
	for (int i = 0; i < 4; i++) {
		start();
		put_node(&graph, "MatMul", "", "x w", "m", NULL);
		put_node(&graph, "Identity", "", "m", "i", NULL);
		put_node(&graph, "Add", "", "i b", "h", NULL);
		put_node(&graph, ops[i], "", "h", "a", NULL);
		put_node(&graph, "Softmax", "", "a", "y", NULL);
		finish("y", DIMS(0, 3));
		out = compiled();
		assert_int_equal(out.plan.header->step_count, 2);
		assert_step(&out, 0, FG_STEP_DENSE, activations[i]);
		assert_step(&out, 1, FG_STEP_SOFTMAX, FG_ACTIVATION_NONE);
		if (i == 1)
			assert_true(step(&out, 0)->alpha == 0.01f);
		free(out.bytes);
	}
}

/* m is used twice: neither use may change it. */
static void shared_rows_are_not_changed(void **state)
{
	const float in[4] = {1, 2, 3, 4};
	struct compiled out;
	float got[3], weights[12], bias[3];

	(void)state;
	start();
	put_node(&graph, "MatMul", "", "x w", "m", NULL);
	put_node(&graph, "Identity", "", "m", "alias", NULL);
	put_node(&graph, "Add", "", "alias b", "h", NULL);
	put_node(&graph, "Relu", "", "m", "r", NULL);
	put_node(&graph, "Add", "sum", "h r", "y", NULL);
	finish("y", DIMS(0, 3));
	out = compiled();
	assert_int_equal(out.plan.header->step_count, 4);
	assert_step(&out, 0, FG_STEP_DENSE, FG_ACTIVATION_NONE);
	assert_step(&out, 1, FG_STEP_ADD, FG_ACTIVATION_NONE);
	assert_step(&out, 2, FG_STEP_ACTIVATION, FG_ACTIVATION_RELU);
	assert_step(&out, 3, FG_STEP_ADD, FG_ACTIVATION_NONE);
	run(&out, in, 1, got);
	fill_weights(weights, 12, 1);
	fill_weights(bias, 3, 3);
	for (int col = 0; col < 3; col++) {
		float m = 0;

		for (int k = 0; k < 4; k++)
			m += in[k] * weights[k * 3 + col];
		assert_true(got[col] == m + bias[col] + (m > 0 ? m : 0));
	}
	free(out.bytes);
}

static void dead_nodes_are_dropped(void **state)
{
	struct compiled out;

	(void)state;
	start();
	put_node(&graph, "MatMul", "", "x w", "m", NULL);
	put_node(&graph, "Softmax", "", "m", "unused", NULL);
	put_node(&graph, "MatMul", "never checked", "x b", "unused2", NULL);
	put_node(&graph, "Relu", "", "m", "y", NULL);
	finish("y", DIMS(0, 3));
	out = compiled();
	assert_int_equal(out.plan.header->step_count, 1);
	assert_step(&out, 0, FG_STEP_DENSE, FG_ACTIVATION_RELU);
	free(out.bytes);
}

static void chain_takes_two_buffers(void **state)
{
	char in[8] = "x", name[8];
	struct compiled out;

	(void)state;
	start();
	for (int i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "h%d", i);
		put_node(&graph, "Softmax", "", in, name, NULL);
		memcpy(in, name, sizeof(in));
	}
	finish(in, DIMS(0, 4));
	out = compiled();
	assert_int_equal(out.plan.header->buffer_count, 2);
	assert_int_equal(fg_plan_scratch_bytes(&out.plan, 3), 3 * 2 * 16 * sizeof(float));
	free(out.bytes);
}

static void too_many_at_once(void **state)
{
	char name[16], sum[16], last[16] = "h0";

	(void)state;
	start();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "h%d", i);
		put_node(&graph, "Softmax", "", "x", name, NULL);
	}
	for (int i = 1; i < 20; i++) {
		char inputs[40];

		snprintf(inputs, sizeof(inputs), "%s h%d", last, i);
		snprintf(sum, sizeof(sum), "s%d", i);
		put_node(&graph, "Add", "", inputs, sum, NULL);
		memcpy(last, sum, sizeof(last));
	}
	finish(last, DIMS(0, 4));
	assert_refused("more than 16 intermediate results", "");
}

static void output_is_input(void **state)
{
	const float in[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct compiled out;
	float got[8];

	(void)state;
	start();
	put_node(&graph, "Identity", "", "x", "y", NULL);
	finish("y", DIMS(0, 4));
	out = compiled();
	assert_step(&out, 0, FG_STEP_ACTIVATION, FG_ACTIVATION_NONE);
	run(&out, in, 2, got);
	assert_memory_equal(in, got, sizeof(in));
	free(out.bytes);
	graph.length = 0;
	put_input(&graph, "x", DIMS(0, 4));
	put_output(&graph, "x", DIMS(0, 4));
	out = compiled();
	assert_int_equal(out.plan.out_cols, 4);
	free(out.bytes);
}

/* ---- shapes ---- */

static void flatten_and_reshape(void **state)
{
	static const struct dims targets[] = {{2, {-1, 12}},  {2, {0, -1}},	  {2, {0, 12}},
					      {3, {0, 3, 4}}, {4, {-1, 2, 3, 2}}, {3, {0, 0, 0}}};
	struct compiled out;

	(void)state;
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		graph.length = attributes.length = 0;
		put_input(&graph, "x", DIMS(0, 3, 4));
		put_shape(&graph, "shape", targets[i]);
		put_weights(&graph, "w", DIMS(12, 2), 1);
		put_node(&graph, "Reshape", "", "x shape", "r", NULL);
		attribute_int(&attributes, "axis", 1);
		put_node(&graph, "Flatten", "", "r", "f", &attributes);
		put_node(&graph, "MatMul", "", "f w", "y", NULL);
		finish("y", DIMS(0, 2));
		out = compiled();
		assert_int_equal(out.plan.in_cols, 12);
		assert_int_equal(out.plan.header->step_count, 1);
		free(out.bytes);
	}
}

static void fixed_batch(void **state)
{
	struct compiled out;

	(void)state;
	graph.length = 0;
	put_input(&graph, "x", DIMS(5, 4));
	put_shape(&graph, "shape", DIMS(5, 2, 2));
	put_weights(&graph, "row", DIMS(2, 2), 1);
	put_node(&graph, "Reshape", "", "x shape", "r", NULL);
	put_node(&graph, "Add", "", "r row", "y", NULL);
	finish("y", DIMS(5, 2, 2));
	out = compiled();
	assert_step(&out, 0, FG_STEP_ADD, FG_ACTIVATION_NONE);
	free(out.bytes);
}

static void constants_from_nodes(void **state)
{
	static struct writer tensor;
	const float in[4] = {1, 1, 1, 1}, weights[4] = {1, 2, 3, 4};
	struct compiled out;
	float got;

	(void)state;
	start();
	tensor.length = 0;
	tensor_head(&tensor, NULL, ONNX_FLOAT, DIMS(4, 1));
	put_bytes(&tensor, 9, weights, sizeof(weights));
	attribute_tensor(&attributes, "value", &tensor);
	put_node(&graph, "Constant", "", "", "k", &attributes);
	attributes.length = 0;
	attribute_float(&attributes, "value_float", 0.5f);
	put_node(&graph, "Constant", "", "", "half", &attributes);
	put_node(&graph, "Identity", "", "k", "k2", NULL);
	put_node(&graph, "MatMul", "", "x k2", "m", NULL);
	put_node(&graph, "Add", "", "half m", "y", NULL);
	finish("y", DIMS(0, 1));
	out = compiled();
	assert_int_equal(out.plan.header->step_count, 1);
	run(&out, in, 1, &got);
	assert_true(got == 10.5f);
	free(out.bytes);
}

/* ---- refusals ---- */

static void node_refused(const char *op, const char *inputs, const char *one, const char *two)
{
	put_node(&graph, op, "n", inputs, "y", attributes.length ? &attributes : NULL);
	finish("y", DIMS(0, 3));
	assert_refused(one, two);
	start();
}

static void operators_refuse(void **state)
{
	(void)state;
	start();
	attribute_int(&attributes, "transA", 1);
	node_refused("Gemm", "x w", "node 'n' (Gemm)", "transA");
	attribute_float(&attributes, "transB", 1);
	node_refused("Gemm", "x w", "node 'n' (Gemm)", "'transB' is not an integer");
	node_refused("Gemm", "x t", "node 'n' (Gemm)", "weights for 3 columns, input 0 has 4");
	node_refused("Gemm", "x b", "node 'n' (Gemm)", "1 dimension(s), must have 2");
	node_refused("Gemm", "w t", "node 'n' (Gemm)", "input 0 is a constant");
	node_refused("Gemm", "x x", "node 'n' (Gemm)", "input 1 is computed");
	node_refused("Gemm", "x w x", "node 'n' (Gemm)", "input 2 is computed");
	node_refused("Gemm", "x w w", "node 'n' (Gemm)", "does not broadcast");
	node_refused("Gemm", "- w", "node 'n' (Gemm)", "input 0 is left out");
	node_refused("MatMul", "w x", "node 'n' (MatMul)", "input 0 is a constant");
	node_refused("MatMul", "x -", "node 'n' (MatMul)", "input 1 is left out");
	node_refused("Add", "w w", "node 'n' (Add)", "two constants");
	node_refused("Add", "x b", "node 'n' (Add)", "does not broadcast over rows of 4");
	node_refused("Add", "x w", "node 'n' (Add)", "does not broadcast");
	node_refused("Relu", "w", "node 'n' (Relu)", "input 0 is a constant");
	attribute_int(&attributes, "axis", 0);
	node_refused("Softmax", "x", "node 'n' (Softmax)", "axis is 0");
	attribute_int(&attributes, "axis", 0);
	node_refused("Flatten", "x", "node 'n' (Flatten)", "axis is 0");
	attribute_float(&attributes, "alpha", INFINITY);
	node_refused("LeakyRelu", "x", "node 'n' (LeakyRelu)", "alpha is not finite");
	node_refused("Constant", "", "node 'n' (Constant)", "no number or tensor");
	put_shape(&graph, "s", DIMS(-1, 4));
	node_refused("Gemm", "x s", "node 'n' (Gemm)", "input 1 is int64");
	put_shape(&graph, "s", DIMS(0));
	node_refused("Add", "x s", "node 'n' (Add)", "int64");
}

static void adding_rows_of_different_shape(void **state)
{
	(void)state;
	start();
	put_node(&graph, "MatMul", "", "x w", "m", NULL);
	node_refused("Add", "x m", "node 'n' (Add)", "rows of 4 and of 3 columns");
}

static void reshape_refused(struct dims target, const char *reason)
{
	start();
	put_shape(&graph, "s", target);
	node_refused("Reshape", "x s", "node 'n' (Reshape)", reason);
}

static void reshapes_refuse(void **state)
{
	(void)state;
	reshape_refused(DIMS(1, 4), "must keep the batch");
	reshape_refused(DIMS(2, -1), "must keep the batch");
	reshape_refused(DIMS(-1), "2 to 8 numbers");
	reshape_refused(DIMS(-1, 5), "another number of columns");
	reshape_refused(DIMS(-1, -1), "another number of columns");
	reshape_refused(DIMS(0, -1, -1), "another number of columns");
	reshape_refused(DIMS(0, -1, 3), "another number of columns");
	reshape_refused(DIMS(0, -4, -1), "another number of columns");
	reshape_refused(DIMS(0, INT64_MAX, INT64_MAX), "another number of columns");
	start();
	node_refused("Reshape", "x x", "node 'n' (Reshape)", "must be a constant int64 list");
	node_refused("Reshape", "x b", "node 'n' (Reshape)", "must be a constant int64 list");
}

static void rank_surprises(void **state)
{
	(void)state;
	graph.length = attributes.length = 0;
	put_input(&graph, "x", DIMS(4));
	put_node(&graph, "Relu", "", "x", "y", NULL);
	finish("y", DIMS(4));
	assert_refused("input 'x' has 1 dimension", "");
	put_input(&graph, "x", DIMS(0, 2, 4));
	put_weights(&graph, "w", DIMS(4, 3), 1);
	put_node(&graph, "MatMul", "mm", "x w", "y", NULL);
	finish("y", DIMS(0, 2, 3));
	assert_refused("node 'mm' (MatMul)", "put a Flatten before it");
	put_input(&graph, "x", DIMS(0, 2, 4));
	put_node(&graph, "Softmax", "sm", "x", "y", NULL);
	finish("y", DIMS(0, 2, 4));
	assert_refused("node 'sm' (Softmax)", "3 dimensions");
	put_input(&graph, "x", DIMS(0, 0));
	put_node(&graph, "Relu", "", "x", "y", NULL);
	finish("y", DIMS(0, 0));
	assert_refused("input 'x': dimension 1 is open", "");
	put_input(&graph, "x", DIMS(0, 1 << 20, 2));
	put_node(&graph, "Relu", "", "x", "y", NULL);
	finish("y", DIMS(0, 1 << 20, 2));
	assert_refused("input 'x' has more than 1048576 columns", "");
}

static void outputs_must_agree(void **state)
{
	(void)state;
	start();
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y", DIMS(0, 5));
	assert_refused("output 'y' is declared with dimension 1 = 5", "give 3");
	start();
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y", DIMS(0, 3, 1));
	assert_refused("output 'y' is declared with 3 dimensions", "give 2");
	start();
	put_node(&graph, "Identity", "", "b", "y", NULL);
	finish("y", DIMS(3));
	assert_refused("output 'y' does not depend on the model's input", "");
}

static void old_softmax(void **state)
{
	struct compiled out;
	struct fg_error error;

	(void)state;
	start();
	put_node(&graph, "Softmax", "", "x", "y", NULL);
	finish("y", DIMS(0, 4));
	assert_int_equal(compile(&out, 7, &error), 0);
	free(out.bytes);
}

/* ---- golden rows ---- */

static void golden_rows_are_made(void **state)
{
	struct compiled one, two;

	(void)state;
	for (int i = 0; i < 2; i++) {
		start();
		put_node(&graph, "Gemm", "", "x w b", "h", NULL);
		put_node(&graph, "Softmax", "", "h", "y", NULL);
		finish("y", DIMS(0, 3));
		*(i ? &two : &one) = compiled();
	}
	assert_int_equal(one.plan.golden_rows, FG_GOLDEN_MADE_ROWS);
	assert_int_equal(one.plan.header->golden_shipped, 0);
	assert_int_equal(one.plan.header->size, two.plan.header->size);
	assert_memory_equal(one.bytes, two.bytes, one.plan.header->size);
	free(one.bytes);
	free(two.bytes);
}

static void golden_rows_must_fit(void **state)
{
	const float rows[8] = {0};
	struct fg_golden golden = {2, 4, 3, rows, rows, 0.1f};
	struct fg_graph parsed;
	struct fg_error error;
	void *bytes;
	size_t size;

	(void)state;
	start();
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y", DIMS(0, 3));
	model.length = 0;
	put_model(&model, &graph, 13);
	assert_int_equal(fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error), 0);
	assert_int_equal(fg_compile(&parsed, &golden, &bytes, &size, &error), 0);
	assert_int_equal(((struct fg_plan_header *)bytes)->golden_rows, 2);
	assert_true(((struct fg_plan_header *)bytes)->golden_tolerance == 0.1f);
	free(bytes);
	golden.in_cols = 3;
	assert_int_equal(fg_compile(&parsed, &golden, &bytes, &size, &error), -EINVAL);
	assert_text(&error, "golden rows take 3 columns to 3, the model takes 4 to 3");
	fg_graph_free(&parsed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gemm_computes),
		cmocka_unit_test(bias_shapes),
		cmocka_unit_test(activations_are_fused),
		cmocka_unit_test(shared_rows_are_not_changed),
		cmocka_unit_test(dead_nodes_are_dropped),
		cmocka_unit_test(chain_takes_two_buffers),
		cmocka_unit_test(too_many_at_once),
		cmocka_unit_test(output_is_input),
		cmocka_unit_test(flatten_and_reshape),
		cmocka_unit_test(fixed_batch),
		cmocka_unit_test(constants_from_nodes),
		cmocka_unit_test(operators_refuse),
		cmocka_unit_test(adding_rows_of_different_shape),
		cmocka_unit_test(reshapes_refuse),
		cmocka_unit_test(rank_surprises),
		cmocka_unit_test(outputs_must_agree),
		cmocka_unit_test(old_softmax),
		cmocka_unit_test(golden_rows_are_made),
		cmocka_unit_test(golden_rows_must_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
