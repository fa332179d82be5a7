/* models/graph and models/arena: names, values, attributes, memory. */
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

static void attributes_have_types(void **state)
{
	struct fg_attribute attributes[] = {
		{.name = TEXT("alpha"), .kind = FG_ATTRIBUTE_FLOAT, .number = 2.0f},
		{.name = TEXT("axis"), .kind = FG_ATTRIBUTE_INT, .integer = -1},
	};
	struct fg_node node = {.op = fg_op_find(TEXT("Gemm")),
			       .index = 3,
			       .attributes = attributes,
			       .attribute_count = 2};
	struct fg_error error;
	float number = 1.0f;
	int64_t integer = 5;

	(void)state;
	assert_int_equal(fg_node_float(&node, "alpha", &number, &error), 0);
	assert_true(number == 2.0f);
	assert_int_equal(fg_node_float(&node, "beta", &number, &error), 0);
	assert_true(number == 2.0f);
	assert_int_equal(fg_node_int(&node, "axis", &integer, &error), 0);
	assert_int_equal(integer, -1);
	assert_int_equal(fg_node_float(&node, "axis", &number, &error), -EINVAL);
	assert_string_equal(error.text, "node #3 (Gemm): attribute 'axis' is not a float");
	node.name = TEXT("fc");
	assert_int_equal(fg_node_int(&node, "alpha", &integer, &error), -EINVAL);
	assert_string_equal(error.text, "node 'fc' (Gemm): attribute 'alpha' is not an integer");
}

static void operators_are_found(void **state)
{
	(void)state;
	assert_string_equal(fg_op_find(TEXT("Softmax"))->name, "Softmax");
	assert_null(fg_op_find(TEXT("softmax")));
	assert_null(fg_op_find(TEXT("Softma")));
	assert_null(fg_op_find(TEXT("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_gives_aligned_zeros),
		cmocka_unit_test(arena_refuses_overflow),
		cmocka_unit_test(arenas_join),
		cmocka_unit_test(values_are_found),
		cmocka_unit_test(text_is_printed_safely),
		cmocka_unit_test(attributes_have_types),
		cmocka_unit_test(operators_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
