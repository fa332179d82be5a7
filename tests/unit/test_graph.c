/* models/graph and models/arena: names, values, nodes, attributes, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "models/arena.h"
#include "models/graph.h"
#include "models/ops.h"

#define TEXT(string) ((struct fg_text){string, sizeof(string) - 1})

static void arena_gives_aligned_zeros(void **state)
{
	struct fg_arena arena = {0};
	static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 65536, 65537, 1 << 20};

	(void)state;
	for (int round = 0; round < 50; round++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			unsigned char *at = fg_arena_alloc(&arena, sizes[i], 1);

			assert_non_null(at);
			assert_int_equal((uintptr_t)at % 64, 0);
			for (size_t j = 0; j < sizes[i]; j++)
				assert_int_equal(at[j], 0);
			memset(at, 0xff, sizes[i]);
		}
	fg_arena_free(&arena);
	assert_null(arena.chunks);
	fg_arena_free(&arena);
}

static void arena_refuses_overflow(void **state)
{
	struct fg_arena arena = {0};

	(void)state;
	assert_null(fg_arena_alloc(&arena, SIZE_MAX, 2));
	assert_null(fg_arena_alloc(&arena, SIZE_MAX / 2, 2));
	assert_null(fg_arena_alloc(&arena, SIZE_MAX, 1));
	fg_arena_free(&arena);
}

static void arenas_join(void **state)
{
	struct fg_arena one = {0}, two = {0};
	char *at = fg_arena_alloc(&two, 1, 5);

	(void)state;
	assert_non_null(fg_arena_alloc(&one, 1, 5));
	memcpy(at, "kept", 5);
	fg_arena_join(&one, &two);
	fg_arena_free(&two);
	assert_string_equal(at, "kept");
	fg_arena_free(&one);
}

static void values_are_found(void **state)
{
	enum { COUNT = 3000 };
	static char names[COUNT][8];
	struct fg_graph graph = {0};
	uint32_t value;

	(void)state;
	assert_int_equal(fg_graph_find(&graph, TEXT("n0")), FG_GRAPH_NO_VALUE);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct fg_text name = {names[i], (size_t)snprintf(names[i], 8, "n%u", i)};

		assert_int_equal(fg_graph_add(&graph, name, &value), 0);
		assert_int_equal(value, i);
		assert_int_equal(fg_graph_add(&graph, name, &value), -EEXIST);
	}
	for (uint32_t i = 0; i < COUNT; i++)
		assert_int_equal(fg_graph_find(&graph, graph.values[i].name), i);
	assert_int_equal(fg_graph_find(&graph, TEXT("n3000")), FG_GRAPH_NO_VALUE);
	assert_int_equal(fg_graph_find(&graph, TEXT("")), FG_GRAPH_NO_VALUE);
	fg_graph_free(&graph);
	assert_int_equal(graph.value_count, 0);
}

static void text_is_printed_safely(void **state)
{
	char out[64], small[4];
	char longer[100];

	(void)state;
	assert_string_equal(fg_text_print(TEXT("fc1"), out, sizeof(out)), "fc1");
	assert_string_equal(fg_text_print(TEXT("a\n\x1b\0\xff b"), out, sizeof(out)), "a???? b");
	assert_string_equal(fg_text_print((struct fg_text){NULL, 0}, out, sizeof(out)), "");
	assert_string_equal(fg_text_print(TEXT("abcdef"), small, sizeof(small)), "abc");
	memset(longer, 'x', sizeof(longer));
	fg_text_print((struct fg_text){longer, sizeof(longer)}, out, sizeof(out));
	assert_int_equal(strlen(out), 40);
}

/* Names that differ little, and long ones, as exporters write them. */
static void many_like_names(void **state)
{
	enum { COUNT = 20000, LENGTH = 300 };
	static char names[COUNT][LENGTH];
	struct fg_graph graph = {0};
	uint32_t value;

	(void)state;
	for (uint32_t i = 0; i < COUNT; i++) {
		memset(names[i], 'x', LENGTH);
		memcpy(names[i] + i % LENGTH, &i,
		       i % LENGTH > LENGTH - 4 ? LENGTH - i % LENGTH : 4);
		if (fg_graph_add(&graph, (struct fg_text){names[i], LENGTH}, &value) == 0)
			assert_int_equal(value, graph.value_count - 1);
		assert_int_equal(fg_graph_add(&graph, (struct fg_text){names[i], LENGTH}, &value),
				 -EEXIST);
	}
	assert_true(graph.value_count > COUNT / 2);
	for (uint32_t i = 0; i < graph.value_count; i++)
		assert_int_equal(fg_graph_find(&graph, graph.values[i].name), i);
	fg_graph_free(&graph);
}

static void nodes_are_added(void **state)
{
	const struct fg_op *op = fg_op_find(TEXT(""), TEXT("Split"));
	struct fg_graph graph = {0};
	struct fg_node *node;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(fg_graph_add_node(&graph, op, TEXT("n"), i % 3, i % 5, 2, &node),
				 0);
		assert_ptr_equal(node, &graph.nodes[i]);
		assert_int_equal(node->attribute_count, 0);
		node->attributes[1].integer = i;
		for (uint32_t in = 0; in < i % 3; in++)
			assert_int_equal(node->inputs[in], FG_GRAPH_NO_VALUE);
		for (uint32_t out = 0; out < i % 5; out++) {
			assert_int_equal(node->outputs[out], FG_GRAPH_NO_VALUE);
			node->outputs[out] = i;
		}
	}
	assert_int_equal(graph.node_count, 1000);
	for (uint32_t i = 0; i < 1000; i++) {
		node = &graph.nodes[i];
		assert_ptr_equal(node->op, op);
		assert_true(fg_text_is(node->name, "n"));
		assert_int_equal(node->index, i);
		assert_int_equal(node->input_count, i % 3);
		assert_int_equal(node->output_count, i % 5);
		assert_int_equal(node->attributes[1].integer, i);
		for (uint32_t out = 0; out < i % 5; out++)
			assert_int_equal(node->outputs[out], i);
	}
	fg_graph_free(&graph);
}

static void tensors_have_elements(void **state)
{
	const float numbers[] = {1.5f, -2.0f};
	const int64_t integers[] = {INT64_MIN, 7};
	const struct fg_text texts[] = {TEXT("one"), TEXT("")};
	char anywhere[sizeof(numbers) + 1];
	struct fg_tensor tensor = {.element = FG_ELEMENT_F32, .count = 2};

	(void)state;
	memcpy(anywhere + 1, numbers, sizeof(numbers));
	tensor.data = anywhere + 1;
	assert_true(fg_tensor_f32(&tensor, 1) == -2.0f);
	tensor.data = integers;
	assert_true(fg_tensor_i64(&tensor, 0) == INT64_MIN);
	tensor.data = texts;
	assert_true(fg_text_is(fg_tensor_text(&tensor, 0), "one"));
	assert_true(fg_text_is(fg_tensor_text(&tensor, 1), ""));
}

static const struct fg_tensor two_integers = {.element = FG_ELEMENT_I64, .rank = 1};
static struct fg_attribute typed[] = {
	{.name = TEXT("alpha"), .kind = FG_ATTRIBUTE_FLOAT, .number = 2.0f},
	{.name = TEXT("axis"), .kind = FG_ATTRIBUTE_INT, .integer = -1},
	{.name = TEXT("mode"), .kind = FG_ATTRIBUTE_TEXT, .text = TEXT("linear")},
	{.name = TEXT("axes"), .kind = FG_ATTRIBUTE_TENSOR, .tensor = &two_integers},
	{.name = TEXT("body"), .kind = FG_ATTRIBUTE_OTHER},
};

static struct fg_node node_with_attributes(void)
{
	return (struct fg_node){.op = fg_op_find(TEXT(""), TEXT("Gemm")),
				.index = 3,
				.attributes = typed,
				.attribute_count = sizeof(typed) / sizeof(typed[0])};
}

static void attributes_have_types(void **state)
{
	const struct fg_node node = node_with_attributes();
	const struct fg_tensor *tensor = NULL;
	struct fg_text text = TEXT("before");
	struct fg_error error;
	float number = 1.0f;
	int64_t integer = 5;

	(void)state;
	assert_int_equal(fg_node_float(&node, "alpha", &number, &error), 0);
	assert_true(number == 2.0f);
	assert_int_equal(fg_node_int(&node, "axis", &integer, &error), 0);
	assert_int_equal(integer, -1);
	assert_int_equal(fg_node_text(&node, "mode", &text, &error), 0);
	assert_true(fg_text_is(text, "linear"));
	assert_int_equal(fg_node_tensor(&node, "axes", FG_ELEMENT_I64, &tensor, &error), 0);
	assert_ptr_equal(tensor, &two_integers);
	/* What is not there leaves things alone. */
	assert_int_equal(fg_node_float(&node, "beta", &number, &error), 0);
	assert_int_equal(fg_node_int(&node, "beta", &integer, &error), 0);
	assert_int_equal(fg_node_text(&node, "beta", &text, &error), 0);
	assert_int_equal(fg_node_tensor(&node, "beta", FG_ELEMENT_F32, &tensor, &error), 0);
	assert_true(number == 2.0f && integer == -1 && fg_text_is(text, "linear"));
	assert_ptr_equal(tensor, &two_integers);
}

static void wrong_attributes_are_named(void **state)
{
	struct fg_node node = node_with_attributes();
	const struct fg_tensor *tensor;
	struct fg_error error;
	struct fg_text text;
	int64_t integer;
	float number;

	(void)state;
	assert_int_equal(fg_node_float(&node, "axis", &number, &error), -EINVAL);
	assert_string_equal(error.text, "node #3 (Gemm): attribute 'axis' is not a float");
	node.name = TEXT("fc");
	assert_int_equal(fg_node_int(&node, "alpha", &integer, &error), -EINVAL);
	assert_string_equal(error.text, "node 'fc' (Gemm): attribute 'alpha' is not an integer");
	assert_int_equal(fg_node_text(&node, "body", &text, &error), -EINVAL);
	assert_string_equal(error.text, "node 'fc' (Gemm): attribute 'body' is not a text");
	assert_int_equal(fg_node_tensor(&node, "axis", FG_ELEMENT_I64, &tensor, &error), -EINVAL);
	assert_int_equal(fg_node_tensor(&node, "axes", FG_ELEMENT_F32, &tensor, &error), -EINVAL);
	assert_string_equal(error.text,
			    "node 'fc' (Gemm): attribute 'axes' is not a list of floats");
}

static void operators_are_found(void **state)
{
	(void)state;
	assert_string_equal(fg_op_find(TEXT(""), TEXT("Softmax"))->name, "Softmax");
	assert_ptr_equal(fg_op_find(TEXT("ai.onnx"), TEXT("Softmax")),
			 fg_op_find(TEXT(""), TEXT("Softmax")));
	assert_string_equal(fg_op_find(TEXT("ai.onnx.ml"), TEXT("Scaler"))->domain, "ai.onnx.ml");
	assert_null(fg_op_find(TEXT(""), TEXT("softmax")));
	assert_null(fg_op_find(TEXT(""), TEXT("Softma")));
	assert_null(fg_op_find(TEXT(""), TEXT("Scaler")));
	assert_null(fg_op_find(TEXT("ai.onnx.ml"), TEXT("Softmax")));
	assert_null(fg_op_find(TEXT("ai"), TEXT("Softmax")));
	assert_null(fg_op_find(TEXT(""), TEXT("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_gives_aligned_zeros),
		cmocka_unit_test(arena_refuses_overflow),
		cmocka_unit_test(arenas_join),
		cmocka_unit_test(values_are_found),
		cmocka_unit_test(text_is_printed_safely),
		cmocka_unit_test(many_like_names),
		cmocka_unit_test(nodes_are_added),
		cmocka_unit_test(tensors_have_elements),
		cmocka_unit_test(attributes_have_types),
		cmocka_unit_test(wrong_attributes_are_named),
		cmocka_unit_test(operators_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
