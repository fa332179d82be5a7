/*
 * models/ir and compile: what a graph becomes as a whole: inputs and outputs side by side, dead
 * nodes, shared values, what is declared, and rows that do not fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/op_program.h"

static const struct fg_plan_step *step(const struct fg_plan *plan, uint32_t i)
{
	assert_true(i < plan->step_count);
	return plan->steps + i;
}

static struct fg_plan compiled(const char *text)
{
	struct fg_error error = {""};
	struct fg_plan plan;

	if (op_compile(text, 18, 0, false, &plan, &error))
		fail_msg("%s: refused: %s", text, error.text);
	return plan;
}

/* A chain of dense layers is as many steps, with bias, activation and batch-norm inside. */
static void layers_are_single_steps(void **state)
{
	static const struct {
		const char *text;
		enum fg_activation activation;
	} layers[] = {
		{"a = MatMul x w; b = Identity a; c = Add b $1,2,3; y = Relu c",
		 FG_ACTIVATION_RELU},
		{"a = Gemm x w $1,2,3; y = LeakyRelu a", FG_ACTIVATION_LEAKY_RELU},
		{"a = MatMul x w; b = Add $1,2,3 a; s = Sigmoid b; y = Mul b s",
		 FG_ACTIVATION_SILU},
		{"b = BatchNormalization x $1,1,2,2 $0,0,1,1 $0,0,0,0 $1,1,1,1; a = Gemm b w; "
		 "y = Tanh a",
		 FG_ACTIVATION_TANH},
		{"a = MatMul x w; b = BatchNormalization a $1,2,3 $0,0,1 $0,1,0 $1,1,1; "
		 "y = Elu b",
		 FG_ACTIVATION_ELU},
		{"a = ml.Scaler x offset=[1.0] scale=[2.0]; b = Reshape a #0,2,2; c = Flatten b; "
		 "y = MatMul c w",
		 FG_ACTIVATION_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]); i++) {
		struct fg_plan plan = compiled(layers[i].text);

		if (plan.step_count != 1)
			fail_msg("%s: %u steps", layers[i].text, plan.step_count);
		assert_int_equal(step(&plan, 0)->kind, FG_STEP_DENSE);
		assert_int_equal(step(&plan, 0)->activation, layers[i].activation);
		assert_string_equal(step(&plan, 0)->label, "n");
		free((void *)plan.header);
	}
}

static void dead_nodes_are_dropped(void **state)
{
	struct fg_plan plan;

	(void)state;
	/* the second is not even looked at: it would be refused */
	plan = compiled("a = Softmax x; b = MatMul x k; m = MatMul x w; y = Relu m");
	assert_int_equal(plan.step_count, 1);
	free((void *)plan.header);
}

/* m is used three times: no use may change it for the others. */
static void shared_values_stay(void **state)
{
	(void)state;
	op_gives("m = MatMul x w; a = Identity m; b = Add a $1,2,3; r = Relu m; y = Sub b r; "
		 "y2 = Neg m",
		 "1 2 3 -19 -21.5 -24");
}

static void ports_stand_side_by_side(void **state)
{
	static const char *const names[] = {"x", "z", "v", "i", "y", "y2"};
	static const uint32_t first[] = {0, 4, 10, 11, 0, 3}, cols[] = {4, 6, 1, 2, 3, 6};
	struct fg_plan plan;

	(void)state;
	plan = compiled("y = MatMul x w; y2 = Relu z");
	assert_int_equal(plan.header->input_count, 4);
	assert_int_equal(plan.header->output_count, 2);
	assert_int_equal(plan.in_cols, OP_COLS);
	assert_int_equal(plan.out_cols, 9);
	for (uint32_t i = 0; i < 6; i++) {
		const struct fg_plan_port *port = fg_plan_port(&plan, i);

		assert_string_equal(port->name, names[i]);
		assert_int_equal(port->first, first[i]);
		assert_int_equal(port->cols, cols[i]);
		assert_int_equal(port->integer, i == 3);
	}
	assert_int_equal(fg_plan_port(&plan, 1)->rank, 2);
	assert_int_equal(fg_plan_port(&plan, 1)->dims[1], 3);
	free((void *)plan.header);
	op_gives("y = MatMul x w; y2 = Relu z", "19 21.5 24 1 2 3 4 5 6");
}

static void an_output_may_be_what_goes_in(void **state)
{
	(void)state;
	op_gives("y = Identity x; y2 = Identity y; y3 = Slice x #1 #3 #1",
		 "1 -2 3 0.5 1 -2 3 0.5 -2 3");
}

/* A model with only these ports and one node. */
static int compile_ports(struct dims in, const char *op, struct dims out, struct fg_error *error)
{
	static struct op_program program;
	struct fg_graph graph;
	void *bytes = NULL;
	size_t size;
	int result;

	memset(&program, 0, sizeof(program));
	put_input(&program.graph, "x", in);
	put_weights(&program.graph, "b", DIMS(3), 1);
	put_node(&program.graph, op, "", *op == 'C' ? "b b" : "x", "y", NULL);
	put_output(&program.graph, "y", out);
	put_model(&program.model, &program.graph, 9);
	assert_int_equal(fg_onnx_parse(&graph, program.model.bytes, program.model.length, -1,
				       error),
			 0);
	result = fg_compile(&graph, NULL, NULL, &bytes, &size, error);
	fg_graph_free(&graph);
	free(bytes);
	return result;
}

static void ports_that_do_not_fit_are_named(void **state)
{
	static const struct {
		struct dims in, out;
		const char *op, *text;
	} wrong[] = {
		{{1, {4}}, {1, {4}}, "Relu", "input 'x' has 1 dimension"},
		{{2, {0, 0}}, {0, {0}}, "Relu", "input 'x': dimension 1 is open"},
		{{3, {0, 1 << 20, 2}}, {0, {0}}, "Relu", "input 'x' has more than 1048576"},
		{{2, {0, 4}}, {1, {6}}, "Concat", "output 'y' does not depend on the model's"},
	};
	struct fg_error error = {""};

	(void)state;
	assert_int_equal(compile_ports(DIMS(0, 4), "Relu", DIMS(0, 4), &error), 0);
	assert_int_equal(compile_ports(DIMS(0), "Relu", DIMS(0), &error), 0);
	assert_int_equal(compile_ports(DIMS(7, 4), "Relu", DIMS(0, 4), &error), 0);
	assert_int_equal(compile_ports(DIMS(0, 4), "Relu", DIMS(0, 5, 1), &error), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(compile_ports(wrong[i].in, wrong[i].op, wrong[i].out, &error),
				 -EINVAL);
		if (!strstr(error.text, wrong[i].text))
			fail_msg("'%s' does not say '%s'", error.text, wrong[i].text);
	}
}

/* A small file cannot make the packer compute large constants. */
static void constants_have_a_limit(void **state)
{
	(void)state;
	op_refused("c = Expand $1 #1048576,1048576; s = ReduceSum c #0; y = Add x s",
		   "more than 2147483648 bytes");
	op_refused("c = ConstantOfShape #1048576,4096; s = ReduceSum c #0; y = Add x s",
		   "more than 2147483648 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_are_single_steps),
		cmocka_unit_test(dead_nodes_are_dropped),
		cmocka_unit_test(shared_values_stay),
		cmocka_unit_test(ports_stand_side_by_side),
		cmocka_unit_test(an_output_may_be_what_goes_in),
		cmocka_unit_test(ports_that_do_not_fit_are_named),
		cmocka_unit_test(constants_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
