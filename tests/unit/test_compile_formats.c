/* models/compile: weights as bf16 and int8, on the digits models: what the error is measured
 * against, what is stored with the plan, and when it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"

#define BOUND 0.05f /* int8 on made-up digits: about 0.02 */

struct compiled {
	struct fg_plan plan;
	void *bytes;
	size_t size;
};

static int load(void **state)
{
	static struct fg_graph graph;
	struct fg_error error;
	int dirfd = open("tests/data/digits/2", O_RDONLY | O_DIRECTORY);

	if (dirfd < 0 || fg_onnx_load(&graph, dirfd, "model.onnx", &error))
		return -1;
	close(dirfd);
	*state = &graph;
	return 0;
}

static int unload(void **state)
{
	fg_graph_free(*state);
	return 0;
}

static struct compiled compile(const struct fg_graph *graph, const struct fg_golden *golden,
			       enum fg_weights weights)
{
	const struct fg_compile_options options = {.weights = weights, .max_error = BOUND};
	struct compiled compiled;
	struct fg_error error;

	if (fg_compile(graph, golden, &options, &compiled.bytes, &compiled.size, &error) ||
	    fg_plan_open(&compiled.plan, compiled.bytes, compiled.size, &error))
		fail_msg("%s", error.text);
	return compiled;
}

static const float *golden_inputs(const struct compiled *compiled)
{
	return (const float *)((char *)compiled->bytes + compiled->plan.header->golden_inputs);
}

static const float *golden_outputs(const struct compiled *compiled)
{
	return (const float *)((char *)compiled->bytes + compiled->plan.header->golden_outputs);
}

static size_t golden_output_bytes(const struct compiled *compiled)
{
	return (size_t)compiled->plan.golden_rows * compiled->plan.out_cols * sizeof(float);
}

static void assert_golden(const struct compiled *compiled)
{
	struct fg_error error;
	struct fg_plan plan;

	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		void *scratch;

		assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(isa), compiled->bytes,
						   compiled->size, &error),
				 0);
		scratch = aligned_alloc(64, fg_plan_golden_scratch_bytes(&plan) / 64 * 64 + 64);
		assert_non_null(scratch);
		if (fg_plan_check_golden(&plan, scratch, &error))
			fail_msg("%s", error.text);
		free(scratch);
	}
}

/* What the reference makes of the plan's golden inputs, against f32: the error the plan claims. */
static float measure(const struct compiled *compiled, const float *f32)
{
	const uint32_t rows = compiled->plan.golden_rows;
	float *got = malloc(golden_output_bytes(compiled)), worst = 0;
	struct fg_error error;
	struct fg_plan plan;
	void *scratch;

	assert_int_equal(fg_plan_open_with(&plan, &fg_kernels_c, compiled->bytes, compiled->size,
					   &error),
			 0);
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, rows) + 64);
	assert_true(got && scratch);
	fg_plan_run(&plan, golden_inputs(compiled), rows, got, scratch);
	for (size_t i = 0; i < (size_t)rows * plan.out_cols; i++)
		worst = fmaxf(worst, fabsf(got[i] - f32[i]) / (1 + fabsf(f32[i])));
	free(scratch);
	free(got);
	return worst;
}

static void f32_is_the_default(void **state)
{
	struct compiled compiled;
	struct fg_error error;

	assert_int_equal(fg_compile(*state, NULL, NULL, &compiled.bytes, &compiled.size, &error),
			 0);
	assert_int_equal(fg_plan_open(&compiled.plan, compiled.bytes, compiled.size, &error), 0);
	assert_int_equal(compiled.plan.header->format, FG_WEIGHTS_F32);
	assert_true(compiled.plan.header->format_error == 0);
	assert_true(compiled.plan.header->golden_tolerance == FG_GOLDEN_TOLERANCE);
	assert_int_equal(compiled.plan.header->golden_shipped, 0);
	assert_golden(&compiled);
	free(compiled.bytes);
}

static void errors_are_measured_against_f32(void **state)
{
	struct compiled f32 = compile(*state, NULL, FG_WEIGHTS_F32);

	for (int weights = FG_WEIGHTS_BF16; weights < FG_WEIGHTS_COUNT; weights++) {
		struct compiled narrow = compile(*state, NULL, weights);
		const struct fg_plan_header *header = narrow.plan.header;

		assert_int_equal(header->format, weights);
		assert_true(header->size < f32.plan.header->size);
		assert_memory_equal(golden_inputs(&narrow), golden_inputs(&f32),
				    (size_t)f32.plan.golden_rows * f32.plan.in_cols *
					    sizeof(float));
		assert_memory_equal(golden_outputs(&narrow), golden_outputs(&f32),
				    golden_output_bytes(&f32));
		assert_true(header->format_error > 0);
		assert_true(header->format_error == measure(&narrow, golden_outputs(&f32)));
		assert_true(header->format_error <= BOUND);
		assert_true(header->golden_tolerance >= BOUND);
		assert_golden(&narrow);
		free(narrow.bytes);
	}
	free(f32.bytes);
}

static void errors_above_the_bound_are_refused(void **state)
{
	for (int weights = FG_WEIGHTS_BF16; weights < FG_WEIGHTS_COUNT; weights++) {
		struct compiled narrow = compile(*state, NULL, weights);
		const float measured = narrow.plan.header->format_error;
		struct fg_compile_options options = {.weights = weights, .max_error = measured};
		struct fg_error error = {""};
		void *bytes = NULL;
		size_t size;

		assert_int_equal(fg_compile(*state, NULL, &options, &bytes, &size, &error), 0);
		free(bytes);
		bytes = NULL;
		options.max_error = nextafterf(measured, 0);
		assert_int_equal(fg_compile(*state, NULL, &options, &bytes, &size, &error), -EDOM);
		assert_null(bytes);
		assert_non_null(strstr(error.text, weights == FG_WEIGHTS_INT8
							   ? "int8 weights give"
							   : "bf16 weights give"));
		assert_non_null(strstr(error.text, "golden row "));
		assert_non_null(strstr(error.text, "above the bound"));
		free(narrow.bytes);
	}
}

/* Shipped rows stay as they are, whatever the model makes of them; the bound is added to their
 * tolerance. */
static void shipped_rows_are_kept(void **state)
{
	struct compiled f32 = compile(*state, NULL, FG_WEIGHTS_F32);
	static struct fg_golden golden;
	float *outputs = malloc(golden_output_bytes(&f32));

	assert_non_null(outputs);
	memcpy(outputs, golden_outputs(&f32), golden_output_bytes(&f32));
	outputs[3] += 0.001f;
	golden = (struct fg_golden){.rows = 5,
				    .tolerance = 0.002f,
				    .input_count = 1,
				    .output_count = 1};
	golden.inputs[0].cols = f32.plan.in_cols;
	golden.inputs[0].rows = golden_inputs(&f32);
	golden.outputs[0].cols = f32.plan.out_cols;
	golden.outputs[0].rows = outputs;
	for (int weights = 0; weights < FG_WEIGHTS_COUNT; weights++) {
		struct compiled shipped = compile(*state, &golden, weights);
		const struct fg_plan_header *header = shipped.plan.header;

		assert_int_equal(header->golden_shipped, 1);
		assert_int_equal(header->golden_rows, 5);
		assert_memory_equal(golden_outputs(&shipped), outputs,
				    golden_output_bytes(&shipped));
		assert_true(header->golden_tolerance == (weights ? 0.002f + BOUND : 0.002f));
		assert_golden(&shipped);
		free(shipped.bytes);
	}
	free(outputs);
	free(f32.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(f32_is_the_default, load, unload),
		cmocka_unit_test_setup_teardown(errors_are_measured_against_f32, load, unload),
		cmocka_unit_test_setup_teardown(errors_above_the_bound_are_refused, load, unload),
		cmocka_unit_test_setup_teardown(shipped_rows_are_kept, load, unload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
