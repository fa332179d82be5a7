/*
 * models/optimize*: features far from 0 keep their digits, however a model writes its scaler, also
 * with a layer before or behind it, in every format of weights and with every kernel set. What is
 * right is computed in double from the constants as the file has them.
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
#include "models/cpu.h"
#include "models/onnx.h"
#include "models/pack.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/onnx_writer.h"

enum { COLS = 8, UNITS = 16, ROWS = 40 };

/* A year, a price, a latitude twice, a pressure in Pa, a unix time, an exchange rate, a small one.
 */
static const float offsets[COLS] = {2015, 30000, 52.52f, 52.52f, 101325, 1.7e9f, 1.0842f, 0.01f};
static const float spreads[COLS] = {8, 40, 0.01f, 0.0005f, 80, 86400, 0.00005f, 2};
static const float gains[COLS] = {1.5f, 0.25f, 1, -0.75f, 0.3f, 1.1f, 0.9f, 2};
static const float shifts[COLS] = {0.5f, -1, 0, 2.5f, 0.125f, -0.3f, 3, 0.1f};

static struct writer graph, attributes;
static float inputs[ROWS][COLS], matrix[COLS][UNITS];
static double scaled[ROWS][COLS]; /* what the scaler should give */

static void column(const char *name, const float *values)
{
	put_raw(&graph, name, ONNX_FLOAT, DIMS(COLS), values, COLS * sizeof(*values));
}

static void op(const char *type, const char *in, const char *out)
{
	put_node(&graph, type, out, in, out, &attributes);
	attributes.length = 0;
}

static float random_number(void)
{
	static uint32_t seed = 7;

	seed = seed * 1664525u + 1013904223u;
	return (float)(seed >> 8) * 0x1p-23f - 1;
}

/* ---- the scalers: from "x" to "z" ---- */

static void sub_mul(void)
{
	float scales[COLS];

	for (int c = 0; c < COLS; c++)
		scales[c] = 1 / spreads[c];
	column("o", offsets);
	column("s", scales);
	op("Sub", "x o", "a");
	op("Mul", "a s", "z");
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			scaled[r][c] = ((double)inputs[r][c] - offsets[c]) * scales[c];
}

static void scaler(void)
{
	float scales[COLS];

	sub_mul(); /* for what is right */
	graph.length = 0;
	put_input(&graph, "x", DIMS(0, COLS));
	for (int c = 0; c < COLS; c++)
		scales[c] = 1 / spreads[c];
	attribute_floats(&attributes, "offset", offsets, COLS);
	attribute_floats(&attributes, "scale", scales, COLS);
	put_node_of(&graph, ONNX_ML, "Scaler", "z", "x", "z", &attributes);
	attributes.length = 0;
}

static void expect_quotient(void)
{
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			scaled[r][c] = ((double)inputs[r][c] - offsets[c]) / spreads[c];
}

static void sub_div(void)
{
	column("o", offsets);
	column("d", spreads);
	op("Sub", "x o", "a");
	op("Div", "a d", "z");
	expect_quotient();
}

static void add_div(void)
{
	float minus[COLS];

	for (int c = 0; c < COLS; c++)
		minus[c] = -offsets[c];
	column("o", minus);
	column("d", spreads);
	op("Add", "x o", "a");
	op("Div", "a d", "z");
	expect_quotient();
}

/* The offset minus x, and a minus sign. */
static void swapped(void)
{
	column("o", offsets);
	column("d", spreads);
	op("Sub", "o x", "a");
	op("Neg", "a", "b");
	op("Div", "b d", "z");
	expect_quotient();
}

/* Two offsets whose sum is no float. */
static void two_offsets(void)
{
	float first[COLS], second[COLS];

	for (int c = 0; c < COLS; c++) {
		first[c] = floorf(offsets[c] * 0.75f);
		second[c] = offsets[c] - first[c] + spreads[c] * 0x1.234p-9f;
	}
	column("o", first);
	column("p", second);
	column("d", spreads);
	op("Sub", "x o", "a");
	op("Sub", "a p", "b");
	op("Div", "b d", "z");
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			scaled[r][c] = ((double)(inputs[r][c] - first[c]) - second[c]) / spreads[c];
}

/* The product is exact in float: 12 months a year. */
static void months(void)
{
	float twelve[COLS], months_off[COLS], years[COLS];

	for (int c = 0; c < COLS; c++) {
		twelve[c] = 12;
		months_off[c] = 24180;
		years[c] = 96;
	}
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++) {
			inputs[r][c] = roundf(2015 + 20 * random_number());
			scaled[r][c] = ((double)inputs[r][c] * 12 - 24180) / 96;
		}
	column("m", twelve);
	column("o", months_off);
	column("d", years);
	op("Mul", "x m", "a");
	op("Sub", "a o", "b");
	op("Div", "b d", "z");
}

static void batch_norm(void)
{
	float variances[COLS];

	for (int c = 0; c < COLS; c++)
		variances[c] = spreads[c] * spreads[c];
	column("g", gains);
	column("b", shifts);
	column("m", offsets);
	column("v", variances);
	attribute_float(&attributes, "epsilon", 1e-12f);
	op("BatchNormalization", "x g b m v", "z");
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			scaled[r][c] = ((double)inputs[r][c] - offsets[c]) /
					       sqrt((double)variances[c] + 1e-12f) * gains[c] +
				       shifts[c];
}

static void missing_values(void)
{
	column("o", offsets);
	column("d", spreads);
	op("IsNaN", "x", "n");
	op("Where", "n o x", "w");
	op("Sub", "w o", "a");
	op("Div", "a d", "z");
	expect_quotient();
}

/* A layer that only picks columns is exact, so nothing may be lost behind it. */
static void behind_a_choice(void)
{
	float one[COLS][COLS] = {{0}};

	for (int c = 0; c < COLS; c++)
		one[c][c] = 1;
	put_raw(&graph, "I", ONNX_FLOAT, DIMS(COLS, COLS), one, sizeof(one));
	column("o", offsets);
	column("d", spreads);
	op("MatMul", "x I", "p");
	op("Sub", "p o", "a");
	op("Div", "a d", "z");
	expect_quotient();
}

static const struct {
	const char *name;
	void (*build)(void);
} kinds[] = {
	{"Sub, Mul", sub_mul},		{"Scaler", scaler},
	{"Sub, Div", sub_div},		{"Add, Div", add_div},
	{"Sub, Neg, Div", swapped},	{"Sub, Sub, Div", two_offsets},
	{"Mul, Sub, Div", months},	{"BatchNormalization", batch_norm},
	{"Where, Sub", missing_values}, {"MatMul, Sub, Div", behind_a_choice},
};

/* ---- compiling and comparing ---- */

static void *compile(enum fg_weights weights, size_t *size)
{
	static struct writer model;
	const struct fg_compile_options options = {.weights = weights, .max_error = 1};
	struct fg_graph parsed;
	struct fg_error error;
	void *bytes = NULL;

	model.length = 0;
	put_model(&model, &graph, 13);
	put_import(&model, ONNX_ML, 3);
	if (fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error) ||
	    fg_compile(&parsed, NULL, &options, &bytes, size, &error))
		fail_msg("%s", error.text);
	fg_graph_free(&parsed);
	return bytes;
}

/* Every output is within `bound` of `wanted` (ROWS, cols), on every kernel set. */
static void check(const char *name, enum fg_weights weights, const double *wanted, double bound)
{
	float out[ROWS * UNITS];
	struct fg_error error;
	struct fg_plan plan;
	size_t size;
	void *bytes = compile(weights, &size);

	for (size_t k = 0; fg_cpu_kernels(k); k++) {
		void *scratch;

		assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(k), bytes, size, &error),
				 0);
		scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, ROWS) + 64);
		fg_plan_run(&plan, inputs[0], ROWS, out, scratch);
		free(scratch);
		for (size_t i = 0; i < ROWS * plan.out_cols; i++)
			if (fabs(out[i] - wanted[i]) > bound * (1 + fabs(wanted[i])))
				fail_msg("%s, %s weights, %s: row %zu, column %zu: %.9g, not %.9g",
					 name, fg_weights_name(weights), fg_cpu_kernels(k)->isa,
					 i / plan.out_cols, i % plan.out_cols, out[i], wanted[i]);
	}
	free(bytes);
}

static void begin(size_t kind)
{
	for (int r = 0; r < ROWS; r++)
		for (int c = 0; c < COLS; c++)
			inputs[r][c] = offsets[c] + 3 * random_number() * spreads[c];
	graph.length = attributes.length = 0;
	put_input(&graph, "x", DIMS(0, COLS));
	kinds[kind].build();
}

static void scalers_keep_digits(void **state)
{
	(void)state;
	for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		begin(kind);
		put_output(&graph, "z", SCALAR);
		check(kinds[kind].name, FG_WEIGHTS_F32, scaled[0], 5e-7);
	}
}

/* A layer behind it, whose outputs are of size 1. */
static void layers_behind_keep_digits(void **state)
{
	static const double bounds[FG_WEIGHTS_COUNT] = {1e-6, 0.02, 0.06};
	static double wanted[ROWS][UNITS];

	(void)state;
	for (int c = 0; c < COLS; c++)
		for (int u = 0; u < UNITS; u++)
			matrix[c][u] = random_number() * 0.6f;
	for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
		for (int weights = 0; weights < FG_WEIGHTS_COUNT; weights++) {
			if (weights != FG_WEIGHTS_F32 && kinds[kind].build == behind_a_choice)
				continue; /* that layer's inputs would be narrow */
			begin(kind);
			put_raw(&graph, "W", ONNX_FLOAT, DIMS(COLS, UNITS), matrix, sizeof(matrix));
			op("MatMul", "z W", "y");
			put_output(&graph, "y", SCALAR);
			memset(wanted, 0, sizeof(wanted));
			for (int r = 0; r < ROWS; r++)
				for (int u = 0; u < UNITS; u++)
					for (int c = 0; c < COLS; c++)
						wanted[r][u] += scaled[r][c] * matrix[c][u];
			check(kinds[kind].name, weights, wanted[0], bounds[weights]);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scalers_keep_digits),
		cmocka_unit_test(layers_behind_keep_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
