/*
 * models/optimize: what steps are left of what exporters write, and that they compute the same as
 * without optimizing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile.h"
#include "models/inspect_step.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/onnx_writer.h"

#define ROWS 7

static struct writer graph, attributes;

/* ---- small graphs ---- */

static void begin(int64_t cols)
{
	graph.length = attributes.length = 0;
	put_input(&graph, "x", DIMS(0, cols));
}

static void number(const char *name, float value)
{
	put_raw(&graph, name, ONNX_FLOAT, SCALAR, &value, sizeof(value));
}

static void op(const char *type, const char *inputs, const char *output)
{
	put_node(&graph, type, output, inputs, output, &attributes);
	attributes.length = 0;
}

/* y = x W + b, weights of small whole numbers divided by 8 through alpha. */
static void dense(const char *in, const char *out, int64_t in_cols, int64_t out_cols)
{
	char weights[32], bias[32], inputs[80];

	snprintf(weights, sizeof(weights), "W%s", out);
	snprintf(bias, sizeof(bias), "b%s", out);
	snprintf(inputs, sizeof(inputs), "%s %s %s", in, weights, bias);
	put_weights(&graph, weights, DIMS(in_cols, out_cols), (uint32_t)(in_cols * 31 + out_cols));
	put_weights(&graph, bias, DIMS(out_cols), (uint32_t)out_cols);
	attribute_float(&attributes, "alpha", 0.125f);
	op("Gemm", inputs, out);
}

/* ---- compiling and comparing ---- */

struct compiled {
	struct fg_plan plan;
	void *bytes;
};

static struct compiled compile(bool plain)
{
	static struct writer model;
	const struct fg_compile_options options = {.plain = plain};
	struct compiled out = {.bytes = NULL};
	struct fg_graph parsed;
	struct fg_error error;
	size_t size;

	model.length = 0;
	put_model(&model, &graph, 13);
	if (fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error) ||
	    fg_compile(&parsed, NULL, &options, &out.bytes, &size, &error) ||
	    fg_plan_open(&out.plan, out.bytes, size, &error))
		fail_msg("%s", error.text);
	fg_graph_free(&parsed);
	return out;
}

static void run(const struct compiled *compiled, const float *in, float *out)
{
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(&compiled->plan, ROWS) + 64);

	fg_plan_run(&compiled->plan, in, ROWS, out, scratch);
	free(scratch);
}

/* "dense relu, softmax" and the like: kinds, and what is fused ("+" for a residual). */
static void describe(const struct fg_plan *plan, char *text, size_t size)
{
	size_t length = 0;

	text[0] = 0;
	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct fg_plan_step *step = &plan->steps[i];

		length += (size_t)
			snprintf(text + length, size - length, "%s%s%s%s%s", i ? ", " : "",
				 fg_inspect_kind(step),
				 step->kind == FG_STEP_DENSE && step->other.place ? " +" : "",
				 step->kind != FG_STEP_ACTIVATION && step->activation ? " " : "",
				 step->kind != FG_STEP_ACTIVATION && step->activation
					 ? fg_inspect_activation(step)
					 : "");
	}
}

/* The graph so far gives `steps` when optimized, and the same numbers as when not. */
static void assert_steps(const char *steps)
{
	struct compiled optimized, plain;
	float in[ROWS * 64], got[ROWS * 64], wanted[ROWS * 64];
	char text[512];

	put_output(&graph, "y", SCALAR);
	optimized = compile(false);
	plain = compile(true);
	describe(&optimized.plan, text, sizeof(text));
	assert_string_equal(text, steps);
	for (size_t i = 0; i < ROWS * optimized.plan.in_cols; i++)
		in[i] = (float)((i * 37) % 64) / 16.0f - 2.0f;
	run(&optimized, in, got);
	run(&plain, in, wanted);
	for (size_t i = 0; i < ROWS * optimized.plan.out_cols; i++)
		if (fabsf(got[i] - wanted[i]) > 2e-6f * (1 + fabsf(wanted[i])))
			fail_msg("%zu: %.9g, without optimizing %.9g", i, got[i], wanted[i]);
	free(optimized.bytes);
	free(plain.bytes);
}

/* ---- what is folded ---- */

static void activations_fuse(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 16);
	op("Relu", "h", "r");
	dense("r", "t", 16, 4);
	op("Tanh", "t", "u");
	op("Softmax", "u", "y");
	assert_steps("dense relu, dense tanh, softmax");
}

static void constants_fold_into_the_layer_before(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	put_weights(&graph, "s", DIMS(4), 3);
	put_weights(&graph, "t", DIMS(1, 4), 4);
	number("two", 2.0f);
	op("Mul", "h s", "hs");
	op("Add", "t hs", "hst");
	op("Sub", "two hst", "m");
	op("Div", "m two", "d");
	op("Sigmoid", "d", "y");
	assert_steps("dense sigmoid");
}

static void constants_fold_into_the_layer_behind(void **state)
{
	(void)state;
	begin(8);
	put_weights(&graph, "mean", DIMS(8), 5);
	number("four", 4.0f);
	op("Sub", "x mean", "c");
	op("Div", "c four", "n");
	dense("n", "y", 8, 4);
	assert_steps("dense");
}

/* A mean far from 0 would cost the digits that matter: it stays a step of its own. */
static void far_means_stay(void **state)
{
	(void)state;
	begin(8);
	number("year", 2020.0f);
	op("Sub", "x year", "c");
	dense("c", "y", 8, 4);
	assert_steps("sub, dense");
}

/* Something else needs the unscaled values too. */
static void shared_values_stay(void **state)
{
	(void)state;
	begin(8);
	number("two", 2.0f);
	dense("x", "h", 8, 4);
	op("Mul", "h two", "m");
	op("Relu", "h", "r");
	op("Add", "m r", "y");
	assert_steps("dense, mul, activation, add");
}

/* 0 * -2 * 3 is -0, and its reciprocal -infinity. */
static void zeros_keep_their_sign(void **state)
{
	(void)state;
	begin(8);
	number("minus_two", -2.0f);
	number("three", 3.0f);
	op("Mul", "x minus_two", "a");
	op("Mul", "a three", "b");
	op("Reciprocal", "b", "r");
	op("Sign", "r", "y");
	assert_steps("affine reciprocal, activation");
}

static void infinite_constants_stay(void **state)
{
	(void)state;
	begin(8);
	number("zero", 0.0f);
	dense("x", "h", 8, 4);
	op("Relu", "h", "r");
	op("Div", "r zero", "d");
	op("Relu", "d", "q");
	op("IsNaN", "q", "b");
	attribute_int(&attributes, "to", ONNX_FLOAT);
	op("Cast", "b", "y");
	assert_steps("dense relu, div relu, activation");
}

static void residuals_fuse(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 8);
	op("Relu", "h", "r");
	dense("r", "g", 8, 8);
	op("Add", "x g", "s");
	op("Relu", "s", "y");
	assert_steps("dense relu, dense + relu");
}

static void two_layers_add_up(void **state)
{
	(void)state;
	begin(8);
	dense("x", "a", 8, 4);
	op("Relu", "x", "r");
	dense("r", "b", 8, 4);
	op("Add", "a b", "s");
	op("Sigmoid", "s", "y");
	assert_steps("activation, dense, dense + sigmoid");
}

/* ---- what is written out ---- */

static void gelu_with_erf(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	number("sqrt2", 1.41421356f);
	number("one", 1.0f);
	number("half", 0.5f);
	op("Div", "h sqrt2", "d");
	op("Erf", "d", "e");
	op("Add", "e one", "a");
	op("Mul", "h a", "m");
	op("Mul", "m half", "y");
	assert_steps("dense gelu");
}

static void gelu_with_half_first(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	number("inverse", 0.70710678f);
	number("one", 1.0f);
	number("half", 0.5f);
	op("Mul", "h half", "g");
	op("Mul", "h inverse", "d");
	op("Erf", "d", "e");
	op("Add", "one e", "a");
	op("Mul", "g a", "y");
	assert_steps("dense gelu");
}

static void gelu_with_tanh(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	number("three", 3.0f);
	number("small", 0.044715f);
	number("root", 0.79788456f);
	number("one", 1.0f);
	number("half", 0.5f);
	op("Pow", "h three", "p");
	op("Mul", "p small", "c");
	op("Add", "h c", "i");
	op("Mul", "i root", "r");
	op("Tanh", "r", "t");
	op("Add", "t one", "a");
	op("Mul", "h half", "g");
	op("Mul", "g a", "y");
	assert_steps("dense gelu_tanh");
}

static void silu_and_swish(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	op("Sigmoid", "h", "s");
	op("Mul", "h s", "a");
	number("beta", 1.5f);
	op("Mul", "a beta", "b");
	op("Sigmoid", "b", "t");
	op("Mul", "t a", "y");
	assert_steps("dense silu, activation");
}

static void hard_swish(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	number("three", 3.0f);
	number("six", 6.0f);
	number("zero", 0.0f);
	op("Add", "h three", "a");
	op("Clip", "a zero six", "c");
	op("Div", "c six", "d");
	op("Mul", "h d", "y");
	assert_steps("dense hard_swish");
}

/* x * clip(x + 3, 0, infinity) * 0, and a factor of 0 inside: no swish at all. */
static void swish_of_nothing_stays(void **state)
{
	(void)state;
	begin(8);
	number("three", 3.0f);
	number("infinity", INFINITY);
	number("zero", 0.0f);
	op("Add", "x three", "a");
	op("Clip", "a zero infinity", "c");
	op("Mul", "x c", "m");
	op("Mul", "m zero", "y");
	assert_steps("add clip, mul, mul");
	begin(8);
	number("three", 3.0f);
	number("six", 6.0f);
	number("zero", 0.0f);
	op("Add", "x three", "a");
	op("Clip", "a zero six", "c");
	op("Mul", "c zero", "d");
	op("Mul", "x d", "m");
	op("Mul", "m three", "y");
	assert_steps("add clip, mul, mul, mul");
}

static void mish(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	op("Softplus", "h", "s");
	op("Tanh", "s", "t");
	op("Mul", "h t", "y");
	assert_steps("dense mish");
}

/* A product that only looks like one. */
static void other_products_stay(void **state)
{
	(void)state;
	begin(8);
	dense("x", "h", 8, 4);
	number("two", 2.0f);
	op("Add", "h two", "a");
	op("Sigmoid", "a", "s");
	op("Mul", "h s", "y");
	assert_steps("dense, add sigmoid, mul");
}

/* ---- where things lie ---- */

static void concat_costs_nothing(void **state)
{
	(void)state;
	begin(8);
	dense("x", "a", 8, 4);
	op("Relu", "a", "p");
	dense("x", "b", 8, 3);
	op("Tanh", "b", "q");
	attribute_int(&attributes, "axis", 1);
	op("Concat", "p q", "c");
	dense("c", "y", 7, 2);
	assert_steps("dense relu, dense tanh, dense");
}

static void concat_of_what_others_read_too(void **state)
{
	(void)state;
	begin(8);
	dense("x", "a", 8, 4);
	op("Relu", "a", "p");
	dense("p", "q", 4, 3);
	attribute_int(&attributes, "axis", 1);
	op("Concat", "q p", "c");
	op("Softmax", "c", "y");
	assert_steps("dense relu, dense, softmax");
}

static void an_output_that_is_an_input_is_copied(void **state)
{
	(void)state;
	begin(8);
	op("Identity", "x", "y");
	assert_steps("copy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(activations_fuse),
		cmocka_unit_test(constants_fold_into_the_layer_before),
		cmocka_unit_test(constants_fold_into_the_layer_behind),
		cmocka_unit_test(far_means_stay),
		cmocka_unit_test(shared_values_stay),
		cmocka_unit_test(zeros_keep_their_sign),
		cmocka_unit_test(infinite_constants_stay),
		cmocka_unit_test(residuals_fuse),
		cmocka_unit_test(two_layers_add_up),
		cmocka_unit_test(gelu_with_erf),
		cmocka_unit_test(gelu_with_half_first),
		cmocka_unit_test(gelu_with_tanh),
		cmocka_unit_test(silu_and_swish),
		cmocka_unit_test(hard_swish),
		cmocka_unit_test(swish_of_nothing_stays),
		cmocka_unit_test(mish),
		cmocka_unit_test(other_products_stay),
		cmocka_unit_test(concat_costs_nothing),
		cmocka_unit_test(concat_of_what_others_read_too),
		cmocka_unit_test(an_output_that_is_an_input_is_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
