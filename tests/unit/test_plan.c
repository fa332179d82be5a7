/* models/plan: running in any batch, golden rows, and plans that were tampered with. */
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
#include <xxhash.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/onnx_writer.h"

/* A residual network with every kind of step: x (N, 20) -> y (N, 3). */
static void make_model(struct writer *model)
{
	static struct writer graph;

	graph.length = 0;
	put_input(&graph, "x", DIMS(0, 20));
	put_weights(&graph, "w1", DIMS(20, 20), 1);
	put_weights(&graph, "b1", DIMS(20), 2);
	put_weights(&graph, "w2", DIMS(20, 40), 3);
	put_weights(&graph, "w3", DIMS(40, 3), 4);
	put_node(&graph, "Gemm", "one", "x w1 b1", "h1", NULL);
	put_node(&graph, "Sigmoid", "", "h1", "a1", NULL);
	put_node(&graph, "Add", "residual", "a1 x", "s", NULL);
	put_node(&graph, "Tanh", "", "s", "t", NULL);
	put_node(&graph, "Tanh", "again", "t", "t2", NULL);
	put_node(&graph, "Add", "shift", "t2 b1", "t3", NULL);
	put_node(&graph, "Gemm", "two", "t3 w2", "h2", NULL);
	put_node(&graph, "Tanh", "", "h2", "a2", NULL);
	put_node(&graph, "MatMul", "three", "a2 w3", "h3", NULL);
	put_node(&graph, "Softmax", "out", "h3", "y", NULL);
	put_output(&graph, "y", DIMS(0, 3));
	model->length = 0;
	put_model(model, &graph, 17);
}

struct fixture {
	char *bytes;
	char *pristine;
	size_t size;
};

static int set_up(void **state)
{
	static struct writer model;
	static struct fixture fixture;
	struct fg_graph graph;
	struct fg_error error;
	void *bytes;

	make_model(&model);
	if (fg_onnx_parse(&graph, model.bytes, model.length, -1, &error) ||
	    fg_compile(&graph, NULL, &bytes, &fixture.size, &error))
		return -1;
	fg_graph_free(&graph);
	fixture.bytes = bytes;
	fixture.pristine = malloc(fixture.size);
	memcpy(fixture.pristine, bytes, fixture.size);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	free(fixture->bytes);
	free(fixture->pristine);
	return 0;
}

static void seal(struct fixture *fixture)
{
	struct fg_plan_header *header = (struct fg_plan_header *)fixture->bytes;
	size_t covered = offsetof(struct fg_plan_header, in_cols);

	header->digest = XXH3_64bits(fixture->bytes + covered, fixture->size - covered);
}

static struct fg_plan_step *steps(struct fixture *fixture)
{
	return (struct fg_plan_step *)(fixture->bytes + sizeof(struct fg_plan_header));
}

static void *scratch_for(const struct fg_plan *plan, uint32_t rows)
{
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, rows) + 64);

	assert_non_null(scratch);
	memset(scratch, 0xff, fg_plan_scratch_bytes(plan, rows)); /* NaN: must not be read */
	return scratch;
}

static void every_kind_of_step(void **state)
{
	struct fixture *fixture = *state;
	bool seen[FG_STEP_KIND_COUNT] = {false};

	for (uint32_t i = 0; i < ((struct fg_plan_header *)fixture->bytes)->step_count; i++)
		seen[steps(fixture)[i].kind] = true;
	for (int kind = 0; kind < FG_STEP_KIND_COUNT; kind++)
		assert_true(seen[kind]);
}

/* Any batch size, any position, any alignment: the same bits for the same row. */
static void batches_do_not_matter(void **state)
{
	static const uint32_t sizes[] = {1, 2, 5, 6, 7, 47, 48, 49, 96, 101, 300};
	enum { MOST = 300, IN = 20, OUT = 3 };
	static float in[MOST * IN], alone[MOST * OUT], got[MOST * OUT];
	static char odd_in[MOST * IN * 4 + 1], odd_out[MOST * OUT * 4 + 1];
	struct fixture *fixture = *state;
	struct fg_plan plan;
	struct fg_error error;
	uint32_t seed = 1;

	for (size_t i = 0; i < MOST * IN; i++) {
		seed = seed * 1664525u + 1013904223u;
		in[i] = (float)(int32_t)seed * 0x1p-31f;
	}
	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(isa), fixture->bytes,
						   fixture->size, &error),
				 0);
		for (uint32_t row = 0; row < MOST; row++) {
			void *scratch = scratch_for(&plan, 1);

			fg_plan_run(&plan, in + row * IN, 1, alone + row * OUT, scratch);
			free(scratch);
		}
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			uint32_t rows = sizes[i], first = MOST - rows;
			void *scratch = scratch_for(&plan, rows);

			fg_plan_run(&plan, in + first * IN, rows, got, scratch);
			assert_memory_equal(got, alone + first * OUT, rows * OUT * sizeof(float));
			memcpy(odd_in + 1, in + first * IN, rows * IN * sizeof(float));
			fg_plan_run(&plan, (float *)(odd_in + 1), rows, (float *)(odd_out + 1),
				    scratch);
			assert_memory_equal(odd_out + 1, alone + first * OUT,
					    rows * OUT * sizeof(float));
			free(scratch);
		}
		for (size_t i = 0; i < MOST * OUT; i += OUT) /* softmax: a distribution */
			assert_true(fabsf(alone[i] + alone[i + 1] + alone[i + 2] - 1) < 1e-6f);
	}
}

static void scratch_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan plan;
	struct fg_error error;

	assert_int_equal(fg_plan_open(&plan, fixture->bytes, fixture->size, &error), 0);
	assert_int_equal(plan.in_cols, 20);
	assert_int_equal(plan.out_cols, 3);
	assert_int_equal(fg_plan_scratch_bytes(&plan, 1) % 64, 0);
	assert_int_equal(fg_plan_scratch_bytes(&plan, 5), 5 * fg_plan_scratch_bytes(&plan, 1));
	assert_int_equal(fg_plan_scratch_bytes(&plan, 1 << 20),
			 fg_plan_scratch_bytes(&plan, FG_PLAN_BLOCK_ROWS));
}

static void golden_rows_come_out(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *header = (struct fg_plan_header *)fixture->bytes;
	float *outputs = (float *)(fixture->bytes + header->golden_outputs);
	struct fg_plan plan;
	struct fg_error error;
	void *scratch;

	for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
		outputs[7] = ((float *)(fixture->pristine + header->golden_outputs))[7];
		seal(fixture);
		assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(isa), fixture->bytes,
						   fixture->size, &error),
				 0);
		scratch = aligned_alloc(64, (fg_plan_golden_scratch_bytes(&plan) + 63) / 64 * 64);
		assert_non_null(scratch);
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), 0);
		outputs[7] += 1e-3f;
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), -EILSEQ);
		assert_non_null(strstr(error.text, "golden row 2, column 1: got"));
		outputs[7] = NAN;
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), -EILSEQ);
		outputs[7] = INFINITY;
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), -EILSEQ);
		free(scratch);
	}
}

/* ---- tampering ---- */

static void restore(struct fixture *fixture)
{
	memcpy(fixture->bytes, fixture->pristine, fixture->size);
}

static void assert_refused(struct fixture *fixture, const char *text)
{
	struct fg_plan plan;
	struct fg_error error = {"(nothing said)"};

	assert_int_equal(fg_plan_open(&plan, fixture->bytes, fixture->size, &error), -EINVAL);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
	restore(fixture);
}

static void identity_is_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *header = (struct fg_plan_header *)fixture->bytes;
	struct fg_plan plan;
	struct fg_error error;

	for (size_t i = 0; i < fixture->size; i += 61) {
		fixture->bytes[i] ^= 4;
		assert_refused(fixture, "plan: ");
	}
	header->magic++;
	assert_refused(fixture, "magic");
	header->version++;
	assert_refused(fixture, "pack again");
	header->digest++;
	assert_refused(fixture, "digest");
	header->size--;
	assert_refused(fixture, "its header says");
	for (size_t size = 0; size < fixture->size; size += 97)
		assert_int_equal(fg_plan_open(&plan, fixture->bytes, size, &error), -EINVAL);
	assert_int_equal(fg_plan_open(&plan, fixture->bytes + 4, fixture->size - 4, &error),
			 -EINVAL);
	assert_non_null(strstr(error.text, "multiple of 64"));
}

/* Sets a header field to a value that must not be, with a digest that is right. */
#define REFUSE_HEADER(field, value, text)                                                          \
	do {                                                                                       \
		((struct fg_plan_header *)fixture->bytes)->field = (value);                        \
		seal(fixture);                                                                     \
		assert_refused(fixture, text);                                                     \
	} while (0)

static void headers_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *header = (struct fg_plan_header *)fixture->bytes;

	REFUSE_HEADER(in_cols, 0, "columns must be");
	REFUSE_HEADER(out_cols, (1 << 20) + 1, "columns must be");
	REFUSE_HEADER(in_cols, 21, "step 0");
	REFUSE_HEADER(out_cols, 2, "writes where it must not");
	REFUSE_HEADER(step_count, 0, "steps do not fit");
	REFUSE_HEADER(step_count, UINT32_MAX, "steps do not fit");
	REFUSE_HEADER(step_count, 4096, "steps do not fit");
	REFUSE_HEADER(step_count, header->step_count - 1, "writes where it must not");
	REFUSE_HEADER(step_count, header->step_count + 1, "");
	REFUSE_HEADER(buffer_count, 17, "17 buffers");
	REFUSE_HEADER(buffer_count, 1, "step");
	REFUSE_HEADER(buffer_cols[0], 0, "buffer 0");
	REFUSE_HEADER(buffer_cols[0], 17, "buffer 0");
	REFUSE_HEADER(buffer_cols[0], 16, "writes where it must not");
	REFUSE_HEADER(golden_rows, 4097, "golden rows");
	REFUSE_HEADER(golden_rows, 4096, "golden rows");
	REFUSE_HEADER(golden_inputs, header->golden_inputs + 4, "golden rows");
	REFUSE_HEADER(golden_inputs, 0, "golden rows");
	REFUSE_HEADER(golden_outputs, fixture->size, "golden rows");
	REFUSE_HEADER(golden_outputs, UINT64_MAX - 63, "golden rows");
	REFUSE_HEADER(golden_tolerance, 0, "no meaning");
	REFUSE_HEADER(golden_tolerance, NAN, "no meaning");
	REFUSE_HEADER(golden_tolerance, 2, "no meaning");
	REFUSE_HEADER(golden_shipped, 2, "no meaning");
	REFUSE_HEADER(zero[3], 1, "no meaning");
}

#define REFUSE_STEP(i, field, value, text)                                                         \
	do {                                                                                       \
		steps(fixture)[i].field = (value);                                                 \
		seal(fixture);                                                                     \
		assert_refused(fixture, text);                                                     \
	} while (0)

static void steps_are_checked(void **state)
{
	struct fixture *fixture = *state;
	const uint32_t last = ((struct fg_plan_header *)fixture->bytes)->step_count - 1;

	/* 0 dense "one", 1 sum of two, 2 activation, 3 sum with a row, 4 dense, 5 dense, 6 softmax
	 */
	assert_int_equal(last, 6);
	REFUSE_STEP(0, kind, FG_STEP_KIND_COUNT, "unknown kind");
	REFUSE_STEP(0, kind, UINT32_MAX, "unknown kind");
	REFUSE_STEP(0, activation, FG_ACTIVATION_COUNT, "unknown kind");
	REFUSE_STEP(0, alpha, NAN, "without meaning");
	REFUSE_STEP(0, label[0], '\n', "without meaning");
	REFUSE_STEP(0, label[31], 'x', "without meaning");
	REFUSE_STEP(0, zero[0], 1, "without meaning");
	REFUSE_STEP(0, in_cols, 0, "too many columns, or none");
	REFUSE_STEP(0, out_cols, (1 << 20) + 1, "too many columns");
	REFUSE_STEP(0, in, FG_PLACE_NONE, "reads what no step has written");
	REFUSE_STEP(0, in, FG_PLACE_OUTPUT, "reads what no step has written");
	REFUSE_STEP(0, in, FG_PLACE_BUFFER, "reads what no step has written");
	REFUSE_STEP(0, in, UINT32_MAX, "reads what no step has written");
	REFUSE_STEP(0, in_cols, 19, "reads what no step has written");
	REFUSE_STEP(0, weights, 64, "do not fit");
	REFUSE_STEP(0, weights, steps(fixture)[0].weights + 4, "do not fit");
	REFUSE_STEP(0, weights, fixture->size - 64, "do not fit");
	REFUSE_STEP(0, weights, UINT64_MAX - 63, "do not fit");
	REFUSE_STEP(0, bias, 0, "do not fit");
	REFUSE_STEP(0, bias, fixture->size / 64 * 64, "do not fit");
	REFUSE_STEP(0, other, FG_PLACE_INPUT, "do not fit");
	REFUSE_STEP(0, out, FG_PLACE_OUTPUT, "writes where it must not");
	REFUSE_STEP(0, out, FG_PLACE_INPUT, "writes where it must not");
	REFUSE_STEP(0, out, FG_PLACE_NONE, "writes where it must not");
	REFUSE_STEP(0, out, FG_PLACE_BUFFER + 5, "writes where it must not");
	REFUSE_STEP(0, out, UINT32_MAX, "writes where it must not");
	REFUSE_STEP(1, out, steps(fixture)[1].in, "writes where it must not");
	REFUSE_STEP(1, other, UINT32_MAX, "do not fit");
	REFUSE_STEP(1, other, FG_PLACE_NONE, "do not fit");
	REFUSE_STEP(1, out_cols, 16, "do not fit");
	REFUSE_STEP(1, bias, steps(fixture)[0].bias, "do not fit");
	REFUSE_STEP(2, weights, steps(fixture)[0].weights, "do not fit");
	REFUSE_STEP(2, other, FG_PLACE_INPUT, "do not fit");
	REFUSE_STEP(3, bias, 0, "do not fit");
	REFUSE_STEP(5, out_cols, 4, "reads what no step has written");
	REFUSE_STEP(last, activation, FG_ACTIVATION_RELU, "do not fit");
	REFUSE_STEP(last, out, FG_PLACE_BUFFER, "writes where it must not");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_kind_of_step, set_up, tear_down),
		cmocka_unit_test_setup_teardown(batches_do_not_matter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scratch_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(golden_rows_come_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(identity_is_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(headers_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(steps_are_checked, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
