/*
 * models/compile_steady and compile: golden rows that the packer makes up never refuse a valid
 * model, however many steps it has: every kernel set passes them. And a wrong plan does not pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/onnx_writer.h"

enum { MODELS = 150, WIDTH = 56 };

static struct writer graph, attributes;
static uint32_t seed;

static uint32_t random_below(uint32_t bound)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % bound;
}

static float random_number(void)
{
	return (float)random_below(1 << 24) * 0x1p-23f - 1;
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

static void dense(const char *in, const char *out)
{
	static float weights[WIDTH * WIDTH], bias[WIDTH];
	char name[32], bias_name[32], inputs[256];

	for (size_t i = 0; i < WIDTH * WIDTH; i++)
		weights[i] = random_number() * 0.35f;
	for (size_t i = 0; i < WIDTH; i++)
		bias[i] = random_number() * 0.1f;
	snprintf(name, sizeof(name), "W%s", out);
	snprintf(bias_name, sizeof(bias_name), "b%s", out);
	snprintf(inputs, sizeof(inputs), "%s %s %s", in, name, bias_name);
	put_raw(&graph, name, ONNX_FLOAT, DIMS(WIDTH, WIDTH), weights, sizeof(weights));
	put_raw(&graph, bias_name, ONNX_FLOAT, DIMS(WIDTH), bias, sizeof(bias));
	op("Gemm", inputs, out);
}

/* round(clip(x / scale)) * scale, as training for quantized inference writes it. */
static void fake_quantize(const char *in, const char *out, int layer)
{
	static const char *const steps[] = {"Round", "Floor", "Ceil"};
	char a[16], b[16], c[16], scale[16], inputs[64];

	snprintf(a, sizeof(a), "a%d", layer);
	snprintf(b, sizeof(b), "c%d", layer);
	snprintf(c, sizeof(c), "r%d", layer);
	snprintf(scale, sizeof(scale), "s%d", layer);
	number(scale, 0.004f + 0.02f * (float)random_below(100) / 100);
	snprintf(inputs, sizeof(inputs), "%s %s", in, scale);
	op("Div", inputs, a);
	snprintf(inputs, sizeof(inputs), "%s low high", a);
	op("Clip", inputs, b);
	op(steps[random_below(3)], b, c);
	snprintf(inputs, sizeof(inputs), "%s %s", c, scale);
	op("Mul", inputs, out);
}

/* Three layers between fake quantizers, and at times a class or a truth at the end. */
static void make_graph(void)
{
	static const char *const ends[] = {"Softmax", "Sign", "ArgMax", "Tanh"};
	const char *in = "x";
	char names[6][16];

	graph.length = attributes.length = 0;
	put_input(&graph, "x", DIMS(0, WIDTH));
	number("low", -128);
	number("high", 127);
	for (int layer = 0; layer < 3; layer++) {
		snprintf(names[2 * layer], sizeof(names[0]), "q%d", layer);
		snprintf(names[2 * layer + 1], sizeof(names[0]), "h%d", layer);
		fake_quantize(in, names[2 * layer], layer);
		dense(names[2 * layer], names[2 * layer + 1]);
		in = names[2 * layer + 1];
	}
	fake_quantize(in, "q", 3);
	if (random_below(2)) {
		uint32_t end = random_below(4);

		if (end == 2)
			attribute_int(&attributes, "axis", 1);
		op(ends[end], "q", "y");
		put_output(&graph, "y", SCALAR);
	} else {
		put_output(&graph, "q", SCALAR);
	}
}

static void *compile(size_t *size)
{
	static struct writer model;
	struct fg_graph parsed;
	struct fg_error error;
	void *bytes = NULL;

	model.length = 0;
	put_model(&model, &graph, 13);
	if (fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error) ||
	    fg_compile(&parsed, NULL, NULL, &bytes, size, &error))
		fail_msg("%s", error.text);
	fg_graph_free(&parsed);
	return bytes;
}

static int check(const void *bytes, size_t size, const struct fg_kernels *kernels,
		 struct fg_error *error)
{
	struct fg_plan plan;
	void *scratch;
	int result = fg_plan_open_with(&plan, kernels, bytes, size, error);

	if (result)
		return result;
	scratch = aligned_alloc(64, (fg_plan_golden_scratch_bytes(&plan) + 64) / 64 * 64);
	result = fg_plan_check_golden(&plan, scratch, error);
	free(scratch);
	return result;
}

static void quantized_models_pass_everywhere(void **state)
{
	uint32_t rows = 0, strict = 0;

	(void)state;
	for (seed = 1; seed <= MODELS; seed++) {
		const uint32_t model = seed;
		const struct fg_plan_header *header;
		struct fg_error error;
		size_t size;

		make_graph();
		header = compile(&size);
		for (size_t k = 0; fg_cpu_kernels(k); k++)
			if (check(header, size, fg_cpu_kernels(k), &error))
				fail_msg("model %u: %s", model, error.text);
		rows += header->golden_rows;
		strict += header->golden_tolerance == FG_GOLDEN_TOLERANCE;
		free((void *)header);
		seed = model;
	}
	/* Rows are still taken, and held to the tolerance that others are. */
	print_message("# %u golden rows of %u models, %u of them with the default tolerance\n",
		      rows, MODELS, strict);
	assert_true(rows >= 8 * MODELS);
	assert_true(strict >= MODELS * 9 / 10);
}

/* The sign of what two ways of computing the same are apart: every row stands at a step. */
static const struct fg_plan_header *compile_noise(float jump)
{
	const struct fg_plan_header *header;
	struct fg_error error;
	size_t size;

	graph.length = attributes.length = 0;
	put_input(&graph, "x", DIMS(0, WIDTH));
	number("tenth", 0.1f);
	number("three", 3);
	number("thirds", 0.3f);
	number("jump", jump);
	op("Mul", "x tenth", "a");
	op("Sigmoid", "a", "s");
	op("Mul", "s three", "b");
	op("Mul", "s thirds", "c");
	op("Mul", "b tenth", "d");
	op("Sub", "c d", "e");
	op("Sign", "e", "f");
	op("Mul", "f jump", "y");
	put_output(&graph, "y", SCALAR);
	header = compile(&size);
	for (size_t k = 0; fg_cpu_kernels(k); k++)
		assert_int_equal(check(header, size, fg_cpu_kernels(k), &error), 0);
	return header;
}

/* Where no row is steady, the tolerance allows for the step; where that would allow all, there are
 * no rows. */
static void noise_has_loose_rows_or_none(void **state)
{
	const struct fg_plan_header *header = compile_noise(0.05f);

	(void)state;
	assert_true(header->golden_rows > 0);
	assert_true(header->golden_tolerance > 0.1f && header->golden_tolerance <= 1);
	free((void *)header);
	header = compile_noise(1);
	assert_int_equal(header->golden_rows, 0);
	free((void *)header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quantized_models_pass_everywhere),
		cmocka_unit_test(noise_has_loose_rows_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
