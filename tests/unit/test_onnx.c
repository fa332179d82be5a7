/* models/onnx: graphs, nodes, inputs and outputs; what is read, and for each thing that is refused,
 * that the reason names it. Tensors: test_onnx_tensor.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "tests/unit/onnx_reader.h"

/* ---- what is read ---- */

static void graph_is_read(void **state)
{
	const struct fg_node *nodes;
	struct fg_graph parsed;
	float expect[12];

	(void)state;
	start();
	attribute_float(&attributes, "alpha", 0.5f);
	attribute_int(&attributes, "transB", 0);
	put_node(&graph, "Gemm", "fc", "x w", "h", &attributes);
	put_node(&graph, "Relu", "", "h", "y", NULL);
	finish("y");
	read_graph(&parsed);
	nodes = parsed.nodes;
	assert_int_equal(parsed.opset, 13);
	assert_int_equal(parsed.ml_opset, 3);
	assert_int_equal(parsed.node_count, 2);
	assert_int_equal(parsed.value_count, 4);
	assert_true(fg_text_is(nodes[0].name, "fc"));
	assert_int_equal(nodes[0].input_count, 2);
	assert_int_equal(nodes[0].attribute_count, 2);
	assert_true(fg_node_attribute(&nodes[0], "alpha")->number == 0.5f);
	assert_null(fg_node_attribute(&nodes[0], "beta"));
	assert_int_equal(nodes[1].index, 1);
	assert_int_equal(nodes[1].inputs[0], nodes[0].outputs[0]);
	assert_int_equal(parsed.input_count, 1);
	assert_int_equal(parsed.inputs[0].value, nodes[0].inputs[0]);
	assert_int_equal(parsed.inputs[0].shape.rank, 2);
	assert_int_equal(parsed.inputs[0].shape.dims[0], FG_GRAPH_UNKNOWN);
	assert_int_equal(parsed.inputs[0].shape.dims[1], 4);
	assert_int_equal(parsed.output_count, 1);
	assert_int_equal(parsed.outputs[0].value, nodes[1].outputs[0]);
	fill_weights(expect, 12, 1);
	for (size_t i = 0; i < 12; i++)
		assert_true(fg_tensor_f32(constant(&parsed, "w"), i) == expect[i]);
	fg_graph_free(&parsed);
}

static void inputs_and_outputs_are_read(void **state)
{
	static const struct {
		const char *name;
		int type;
		enum fg_element element;
	} inputs[] = {
		{"f4", ONNX_FLOAT, FG_ELEMENT_F32},  {"f2", ONNX_FLOAT16, FG_ELEMENT_F32},
		{"f8", ONNX_DOUBLE, FG_ELEMENT_F64}, {"bf", ONNX_BFLOAT16, FG_ELEMENT_F32},
		{"i8", ONNX_INT64, FG_ELEMENT_I64},  {"i4", ONNX_INT32, FG_ELEMENT_I64},
		{"u1", ONNX_UINT8, FG_ELEMENT_I64},  {"flag", ONNX_BOOL, FG_ELEMENT_I64},
		{"untyped", 0, FG_ELEMENT_F32},
	};
	struct fg_graph parsed;

	(void)state;
	start();
	for (size_t i = 0; i < COUNT(inputs); i++)
		put_value_info(&graph, 11, inputs[i].name, inputs[i].type, DIMS(0, 3, -1));
	put_input(&graph, "rank8", DIMS(0, 1, 2, 3, 4, 5, 6, 7));
	put_node(&graph, "Relu", "", "f4", "y", NULL);
	put_value_info(&graph, 12, "label", ONNX_STRING, DIMS(0));
	put_map_output(&graph, "scores");
	put_output(&graph, "y", DIMS(0, 3));
	put_output(&graph, "x", DIMS(0, 4)); /* an input and a constant as they are */
	put_output(&graph, "w", DIMS(4, 3));
	put_node_of(&graph, ONNX_ML, "ZipMap", "", "y", "scores", NULL);
	put_node(&graph, "Identity", "", "y", "label", NULL);
	read_graph(&parsed);
	assert_int_equal(parsed.input_count, COUNT(inputs) + 2);
	for (size_t i = 0; i < COUNT(inputs); i++) {
		const struct fg_graph_port *port = &parsed.inputs[i + 1];

		assert_int_equal(port->element, inputs[i].element);
		assert_int_equal(port->shape.rank, 3);
		assert_int_equal(port->shape.dims[2], FG_GRAPH_UNKNOWN);
		assert_string_equal(fg_text_print(parsed.values[port->value].name, (char[64]){""},
						  64),
				    inputs[i].name);
	}
	assert_int_equal(parsed.inputs[COUNT(inputs) + 1].shape.dims[7], 7);
	assert_int_equal(parsed.output_count, 5);
	assert_int_equal(parsed.outputs[0].element, FG_ELEMENT_TEXT);
	assert_int_equal(parsed.outputs[1].shape.rank, 0);
	assert_int_equal(parsed.outputs[2].value, parsed.nodes[0].outputs[0]);
	assert_int_equal(parsed.outputs[3].value, parsed.inputs[0].value);
	assert_non_null(parsed.values[parsed.outputs[4].value].constant);
	fg_graph_free(&parsed);
}

static void left_out_values(void **state)
{
	const struct fg_node *split, *clip;
	struct fg_graph parsed;

	(void)state;
	start();
	put_node(&graph, "Split", "", "x", "- b -", NULL);
	put_node(&graph, "Clip", "", "b - w", "y", NULL);
	finish("y");
	read_graph(&parsed);
	split = &parsed.nodes[0];
	clip = &parsed.nodes[1];
	assert_int_equal(split->output_count, 3);
	assert_int_equal(split->outputs[0], FG_GRAPH_NO_VALUE);
	assert_int_equal(split->outputs[2], FG_GRAPH_NO_VALUE);
	assert_int_equal(clip->inputs[0], split->outputs[1]);
	assert_int_equal(clip->inputs[1], FG_GRAPH_NO_VALUE);
	assert_int_equal(clip->inputs[2], fg_graph_find(&parsed, TEXT("w")));
	fg_graph_free(&parsed);
}

static void attributes_are_read(void **state)
{
	static const float floats[] = {1.5f, -2.0f};
	const struct fg_tensor *list = NULL;
	struct fg_graph parsed;
	struct fg_error error;
	const struct fg_node *node;
	struct fg_text text;

	(void)state;
	start();
	tensor_head(&tensor, NULL, ONNX_INT32, DIMS(1));
	put_int(&tensor, 5, 7);
	attribute_text(&attributes, "post_transform", "SOFTMAX");
	attribute_tensor(&attributes, "tensor", &tensor);
	attribute_floats(&attributes, "floats", floats, 2);
	attribute_ints(&attributes, "ints", DIMS(3, -1));
	attribute_texts(&attributes, "strings", "cat dog -");
	attribute_floats(&attributes, "none", NULL, 0);
	attribute_texts(&attributes, "no_strings", "");
	put_attribute(&attributes, "graph", 5, &(struct writer){.length = 0});
	put_node_of(&graph, ONNX_ML, "LinearClassifier", "c", "x", "y z", &attributes);
	finish("z");
	read_graph(&parsed);
	node = &parsed.nodes[0];
	assert_int_equal(node->attribute_count, 8);
	assert_int_equal(fg_node_text(node, "post_transform", &text, &error), 0);
	assert_true(fg_text_is(text, "SOFTMAX"));
	assert_int_equal(fg_node_tensor(node, "tensor", FG_ELEMENT_I64, &list, &error), 0);
	assert_int_equal(fg_tensor_i64(list, 0), 7);
	assert_int_equal(fg_node_tensor(node, "floats", FG_ELEMENT_F32, &list, &error), 0);
	assert_true(list->count == 2 && fg_tensor_f32(list, 1) == -2.0f);
	assert_int_equal(fg_node_tensor(node, "ints", FG_ELEMENT_I64, &list, &error), 0);
	assert_true(list->rank == 1 && list->dims[0] == 2 && fg_tensor_i64(list, 1) == -1);
	assert_int_equal(fg_node_tensor(node, "strings", FG_ELEMENT_TEXT, &list, &error), 0);
	assert_int_equal(list->count, 3);
	assert_true(fg_text_is(fg_tensor_text(list, 1), "dog"));
	assert_true(fg_text_is(fg_tensor_text(list, 2), ""));
	assert_int_equal(fg_node_tensor(node, "none", FG_ELEMENT_F32, &list, &error), 0);
	assert_true(list->rank == 1 && list->dims[0] == 0 && list->count == 0);
	assert_int_equal(fg_node_tensor(node, "no_strings", FG_ELEMENT_TEXT, &list, &error), 0);
	assert_int_equal(list->count, 0);
	assert_int_equal(fg_node_attribute(node, "graph")->kind, FG_ATTRIBUTE_OTHER);
	fg_graph_free(&parsed);
}

/* Before IR version 4, initializers were listed as inputs as well. */
static void initializers_among_inputs(void **state)
{
	struct fg_graph parsed;

	(void)state;
	start();
	put_input(&graph, "w", DIMS(4, 3));
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y");
	read_graph(&parsed);
	assert_int_equal(parsed.input_count, 1);
	fg_graph_free(&parsed);
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

/* What other messages hold: nodes that are not in any graph, functions that nothing calls. */
static void leftovers_are_passed_over(void **state)
{
	static struct writer function;
	struct fg_error error;

	(void)state;
	start();
	put_text(&graph, 10, "documentation");
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	finish("y");
	finish_model();
	function.length = 0;
	put_text(&function, 1, "Rank");
	put_text(&function, 10, "pkg.common");
	put_message(&model, 25, &function);
	put_text(&model, 20, "not even a message");
	put_import(&model, "pkg.common", 1);
	put_import(&model, "com.example", 4711);
	assert_int_equal(parse_model(-1, &error), 0);
}

/* ---- models that are refused ---- */

static void not_onnx(void **state)
{
	struct fg_graph parsed;
	struct fg_error error;

	(void)state;
	assert_int_equal(fg_onnx_parse(&parsed, "", 0, -1, &error), -EINVAL);
	assert_text(&error, "no graph");
	assert_int_equal(fg_onnx_parse(&parsed, "{\"a\": 1}", 8, -1, &error), -EINVAL);
	assert_text(&error, "not an ONNX file");
	graph.length = model.length = 0;
	put_model(&model, &graph, 13);
	put_message(&model, 7, &graph);
	assert_model_refused(-1, "two graphs", "");
}

static void wrong_versions(void **state)
{
	static const struct {
		int64_t ir, opset, ml_opset;
		const char *one, *two;
	} cases[] = {
		{8, 6, 3, "opset 6 of ai.onnx", "7 to 28"},
		{8, 29, 3, "opset 29 of ai.onnx", "7 to 28"},
		{8, -1, 3, "opset -1", "7 to 28"},
		{8, 0, 3, "opset 0", "7 to 28"},
		{8, 13, 6, "opset 6 of ai.onnx.ml", "1 to 5"},
		{8, 13, 0, "opset 0 of ai.onnx.ml", "1 to 5"},
		{2, 13, 3, "IR version 2", "3 to 14"},
		{15, 13, 3, "IR version 15", "3 to 14"},
		{-1, 13, 3, "IR version 18446744073709551615", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		start();
		model.length = 0;
		put_model(&model, &graph, cases[i].opset);
		put_import(&model, ONNX_ML, cases[i].ml_opset);
		put_int(&model, 1, (uint64_t)cases[i].ir);
		assert_model_refused(-1, cases[i].one, cases[i].two);
	}
	start();
	finish_model();
	put_import(&model, "ai.onnx", 14);
	assert_model_refused(-1, "two opsets of ai.onnx", "13 and 14");
}

/* scikit-learn's scalers alone need ai.onnx.ml only. */
static void domains_must_be_imported(void **state)
{
	struct fg_error error;

	(void)state;
	for (int i = 0; i < 2; i++) {
		start();
		put_node_of(&graph, ONNX_ML, "Scaler", "s", "x", "y", NULL);
		if (i)
			put_node(&graph, "Relu", "r", "y", "z", NULL);
		finish("y");
		model.length = 0;
		put_int(&model, 1, 8);
		put_message(&model, 7, &graph);
		put_import(&model, ONNX_ML, 1);
		if (i)
			assert_model_refused(-1, "node 'r' (Relu)", "does not import");
		else
			assert_int_equal(parse_model(-1, &error), 0);
	}
	start();
	put_node_of(&graph, ONNX_ML, "Scaler", "s", "x", "y", NULL);
	model.length = 0;
	put_model(&model, &graph, 13);
	assert_model_refused(-1, "node 's' (Scaler)", "the operators of ai.onnx.ml");
}

static void functions_are_refused(void **state)
{
	static struct writer function;

	(void)state;
	start();
	put_node_of(&graph, "pkg.torch", "Linear", "fc", "x", "y", NULL);
	finish_model();
	function.length = 0;
	put_text(&function, 1, "Linear");
	put_text(&function, 10, "pkg.torch");
	put_message(&model, 25, &function);
	assert_model_refused(-1, "node 'fc' calls", "function pkg.torch.Linear");
	start();
	put_node(&graph, "Relu", "", "x", "y", NULL);
	finish_model();
	function.length = 0;
	put_text(&function, 1, "Relu");
	put_message(&model, 25, &function);
	assert_model_refused(-1, "a function of its own", "Relu");
	start();
	attributes.length = tensor.length = 0;
	put_text(&tensor, 21, "alpha");
	put_attribute(&attributes, "alpha", 1, &tensor);
	put_node(&graph, "Relu", "r", "x", "y", &attributes);
	assert_refused("node 'r' (Relu)", "refers to a function's");
}

/* ---- inputs and outputs that are refused ---- */

static void wrong_ports(void **state)
{
	enum { IN = 11, OUT = 12 };
	static const struct {
		uint32_t field;
		const char *name;
		int type;
		struct dims dims;
		const char *one, *two;
	} cases[] = {
		{IN, "s", ONNX_STRING, {2, {0, 4}}, "input 's' is text", "before the model"},
		{IN, "c", ONNX_COMPLEX64, {2, {0, 4}}, "input 'c' is complex64", "float32"},
		{IN, "i", ONNX_INT4, {2, {0, 4}}, "input 'i' is int4", ""},
		{IN, "t", 99, {2, {0, 4}}, "input 't' is a type unknown here", ""},
		{IN, "n", ONNX_FLOAT, {2, {0, -4}}, "input 'n': dimension 1 is -4", ""},
		{IN, "r", ONNX_FLOAT, {9, {1, 2, 3, 4, 5, 6, 7, 8, 9}}, "'r' has 9 dimensions", ""},
		{IN, "o", ONNX_FLOAT, {0, {0}}, "input 'o' is a single number", "the batch"},
		{IN, "x", ONNX_FLOAT, {1, {0}}, "input 'x'", "defined twice"},
		{IN, "", ONNX_FLOAT, {1, {0}}, "an input has no name", ""},
		{OUT, "nowhere", ONNX_FLOAT, {1, {0}}, "output 'nowhere'", "nothing computes it"},
		{OUT, "w", ONNX_COMPLEX64, {1, {0}}, "output 'w' is complex64", ""},
		{OUT, "y", ONNX_FLOAT, {1, {0}}, "output 'y'", "twice"},
		{OUT, "w", ONNX_FLOAT, {1, {-3}}, "output 'w': dimension 0 is -3", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		start();
		put_node(&graph, "Relu", "", "x", "y", NULL);
		finish("y");
		put_value_info(&graph, cases[i].field, cases[i].name, cases[i].type, cases[i].dims);
		assert_refused(cases[i].one, cases[i].two);
	}
}

/* Ports of type Optional(tensor) and Sequence(tensor). */
static void ports_that_are_no_tensors(void **state)
{
	static const uint8_t optional[] = {9 << 3 | 2, 0}, sequence[] = {4 << 3 | 2, 0};
	static const struct {
		uint32_t field;
		const uint8_t *type;
		const char *one;
	} cases[] = {
		{11, optional, "input 'p' is no tensor"},
		{11, sequence, "input 'p' is no tensor"},
		{12, optional, "output 'p'"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		start();
		if (cases[i].field == 12)
			put_node(&graph, "Relu", "", "x", "p", NULL);
		tensor.length = 0;
		put_text(&tensor, 1, "p");
		put_bytes(&tensor, 2, cases[i].type, 2);
		put_message(&graph, cases[i].field, &tensor);
		assert_refused(cases[i].one, "tensor");
	}
}

static void number_of_ports(void **state)
{
	char name[16];

	(void)state;
	graph.length = 0;
	put_node(&graph, "Constant", "", "", "y", NULL);
	assert_refused("no input", "");
	start();
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	assert_refused("no output", "");
	start();
	for (uint32_t i = 0; i < FG_ONNX_MAX_PORTS; i++) {
		snprintf(name, sizeof(name), "in%u", i);
		put_input(&graph, name, DIMS(0, 1));
	}
	assert_refused("more than 256 inputs", "");
	start();
	for (uint32_t i = 0; i <= FG_ONNX_MAX_PORTS; i++) {
		snprintf(name, sizeof(name), "out%u", i);
		put_node(&graph, "Relu", "", "x", name, NULL);
		put_output(&graph, name, DIMS(0, 1));
	}
	assert_refused("more than 256 outputs", "");
}

/* ---- nodes that are refused ---- */

static void wrong_edges(void **state)
{
	(void)state;
	start();
	put_node(&graph, "MatMul", "mm", "x nothing", "y", NULL);
	finish("y");
	assert_refused("node 'mm' (MatMul)", "'nothing', which nothing defines");
	start();
	put_node(&graph, "Relu", "early", "late", "y", NULL);
	put_node(&graph, "Split", "", "x", "other late", NULL);
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
	put_weights(&graph, "", DIMS(4, 3), 2);
	assert_refused("an initializer has no name", "");
	start();
	put_node(&graph, "Relu", "", "x", "y", NULL);
	put_node(&graph, "Relu", "", "x", "y", NULL);
	finish("y");
	assert_refused("node output 'y'", "twice");
	start();
	put_node(&graph, "Split", "", "x", "y y", NULL);
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

static void wrong_nodes(void **state)
{
	static const struct {
		const char *domain, *op, *name, *inputs, *outputs, *one, *two;
	} cases[] = {
		{"", "Conv", "c1", "x w", "y", "node 'c1'", "operator Conv is not supported: "},
		{"", "If", "", "x", "y", "node #0:", "operator If is not supported: "},
		{"ai.onnx", "Loop", "", "x", "y", "node #0:", "operator Loop is not"},
		{ONNX_ML, "Relu", "", "x", "y", "node #0:", "operator ai.onnx.ml.Relu is not"},
		{"", "Scaler", "", "x", "y", "node #0:", "operator Scaler is not"},
		{"com.microsoft", "Gelu", "", "x", "y", "#0", "operator com.microsoft.Gelu is not"},
		/* Names are printed, but not what a terminal would obey. */
		{"", "R\x1b[2Jlu", "", "x", "y", "R?[2Jlu", "not supported"},
		{"", "Gemm", "g", "x", "y", "node 'g' (Gemm)", "has 1 inputs, needs 2"},
		{"", "Relu", "", "x w", "y", "node #0 (Relu)", "2 inputs, takes 1 at most"},
		{"", "Relu", "", "x", "y z", "node #0 (Relu)", "has 2 outputs, must have 1 to 1"},
		{"", "Relu", "", "x", "", "node #0 (Relu)", "has 0 outputs"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		start();
		put_node_of(&graph, cases[i].domain, cases[i].op, cases[i].name, cases[i].inputs,
			    cases[i].outputs, NULL);
		finish("y");
		assert_refused(cases[i].one, cases[i].two);
	}
	start();
	for (char i = 0; i < 65; i++)
		attribute_int(&attributes, (char[]){'a', '!' + i, 0}, i);
	put_node(&graph, "Flatten", "f", "x", "y", &attributes);
	assert_refused("node 'f' (Flatten)", "has 65 attributes");
}

/* Fields that hold one thing inside the other, deeper than any reader should go. */
static void deep_nesting(void **state)
{
	static struct writer outer, inner;

	(void)state;
	inner.length = 0;
	for (int i = 0; i < 1000; i++) {
		outer.length = 0;
		put_message(&outer, 6, &inner); /* AttributeProto.g, and so on inside */
		inner = outer;
	}
	start();
	put_attribute(&attributes, "body", 5, &inner);
	put_node(&graph, "Relu", "", "x", "y", &attributes);
	finish("y");
	assert_accepted();
}

/* Every prefix of a good model is refused or read, and nothing crashes (ASan watches). */
static void every_cut(void **state)
{
	struct fg_error error;
	size_t whole;

	(void)state;
	start();
	attribute_float(&attributes, "alpha", 0.5f);
	attribute_texts(&attributes, "labels", "a b");
	attribute_ints(&attributes, "axes", DIMS(1, 2));
	put_node(&graph, "Gemm", "fc", "x w", "y", &attributes);
	finish("y");
	put_map_output(&graph, "x");
	finish_model();
	assert_int_equal(parse_model(-1, &error), 0);
	whole = model.length;
	for (model.length = 0; model.length < whole; model.length++)
		parse_model(-1, &error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(graph_is_read),
		cmocka_unit_test(inputs_and_outputs_are_read),
		cmocka_unit_test(left_out_values),
		cmocka_unit_test(attributes_are_read),
		cmocka_unit_test(initializers_among_inputs),
		cmocka_unit_test(many_values),
		cmocka_unit_test(leftovers_are_passed_over),
		cmocka_unit_test(not_onnx),
		cmocka_unit_test(wrong_versions),
		cmocka_unit_test(domains_must_be_imported),
		cmocka_unit_test(functions_are_refused),
		cmocka_unit_test(wrong_ports),
		cmocka_unit_test(ports_that_are_no_tensors),
		cmocka_unit_test(number_of_ports),
		cmocka_unit_test(wrong_edges),
		cmocka_unit_test(names_twice),
		cmocka_unit_test(wrong_nodes),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
