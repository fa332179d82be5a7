/* models/compile_plan and compile_golden: buffers, limits of a plan, golden rows by name or made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "tests/unit/plan_fixture.h"

enum { MOST_STEPS = FG_PLAN_MAX_STEPS + 1 };

static struct fg_ir_step chain_steps[MOST_STEPS];
static struct fg_ir_rows chain_rows[MOST_STEPS + 2];
static struct fg_ir_value chain_values[FG_PLAN_MAX_PORTS + 1];
static struct fg_value chain_names[FG_PLAN_MAX_PORTS + 1];
static struct fg_graph_port chain_ports[FG_PLAN_MAX_PORTS + 1];
static struct fg_graph chain_graph;
static const uint32_t swap[2] = {1, 0};

/* `steps` swaps of 2 columns, one behind the other, from the
 * first of some inputs to one output. */
static struct fg_ir make_chain(uint32_t steps, uint32_t input_count, struct fg_arena *arena)
{
	chain_graph = (struct fg_graph){.values = chain_names,
					.value_count = input_count + 1,
					.inputs = chain_ports,
					.input_count = input_count,
					.outputs = &chain_ports[input_count],
					.output_count = 1};
	for (uint32_t i = 0; i <= input_count; i++) {
		chain_names[i].name = (struct fg_text){"v", 1};
		chain_ports[i] = (struct fg_graph_port){.value = i};
		chain_values[i] = (struct fg_ir_value){.rank = 2, .dims = {-1, 2}, .cols = 2};
	}
	for (uint32_t i = 0; i < steps + 2; i++)
		chain_rows[i].cols = 2;
	chain_rows[FG_IR_INPUT].cols = 2 * input_count;
	for (uint32_t i = 0; i < steps; i++)
		chain_steps[i] = (struct fg_ir_step){
			.kind = FG_STEP_COLUMNS,
			.in = {i ? i + 1 : FG_IR_INPUT, 0},
			.other = NOWHERE,
			.third = NOWHERE,
			.out = {i + 1 < steps ? i + 2 : FG_IR_OUTPUT, 0},
			.groups = 1,
			.in_cols = 2,
			.out_cols = 2,
			.weights = swap,
		};
	return (struct fg_ir){.graph = &chain_graph,
			      .arena = arena,
			      .values = chain_values,
			      .steps = chain_steps,
			      .step_count = steps,
			      .rows = chain_rows,
			      .rows_count = steps + 2};
}

static int make(const struct fg_ir *ir, struct fg_plan *plan, void **bytes, struct fg_error *error)
{
	struct fg_golden_rows golden;
	size_t size;
	int result = fg_golden_rows_make(ir, ir->arena, FG_GOLDEN_MADE_ROWS, &golden, error);

	if (!result)
		result = fg_plan_make(ir, FG_WEIGHTS_F32, &golden, bytes, &size, error);
	if (!result && fg_plan_open(plan, *bytes, size, error))
		fail_msg("%s", error->text);
	return result;
}

static void a_chain_takes_two_buffers(void **state)
{
	struct fg_arena arena = {0};
	struct fg_ir ir = make_chain(100, 1, &arena);
	struct fg_error error;
	struct fg_plan plan;
	float in[2] = {3, 4}, out[2];
	void *bytes, *scratch;

	(void)state;
	assert_int_equal(make(&ir, &plan, &bytes, &error), 0);
	assert_int_equal(plan.header->buffer_count, 2);
	assert_int_equal(plan.header->buffer_cols[0], 16);
	assert_int_equal(fg_plan_scratch_bytes(&plan, 1), 2 * 16 * sizeof(float));
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, 1));
	assert_non_null(scratch);
	fg_plan_run(&plan, in, 1, out, scratch);
	assert_true(out[0] == 3 && out[1] == 4);
	free(scratch);
	free(bytes);
	fg_arena_free(&arena);
}

static void limits_are_named(void **state)
{
	struct fg_arena arena = {0};
	struct fg_error error = {""};
	struct fg_plan plan;
	struct fg_ir ir = make_chain(MOST_STEPS, 1, &arena);
	void *bytes;

	(void)state;
	assert_int_equal(make(&ir, &plan, &bytes, &error), -EINVAL);
	assert_non_null(strstr(error.text, "4097 steps, a plan holds at most 4096"));
	ir = make_chain(2, FG_PLAN_MAX_PORTS, &arena);
	assert_int_equal(make(&ir, &plan, &bytes, &error), -EINVAL);
	assert_non_null(strstr(error.text, "256 inputs and 1 outputs, a plan holds at most 256"));
	ir = make_chain(2, FG_PLAN_MAX_PORTS - 1, &arena);
	assert_int_equal(make(&ir, &plan, &bytes, &error), 0);
	free(bytes);
	/* each step reads the input, and one at the end reads all that they have made */
	ir = make_chain(2 * FG_PLAN_MAX_BUFFERS + 2, 1, &arena);
	for (uint32_t i = 1; i <= FG_PLAN_MAX_BUFFERS; i++)
		chain_steps[i].in.rows = FG_IR_INPUT;
	for (uint32_t i = 0; i <= FG_PLAN_MAX_BUFFERS; i++)
		chain_steps[FG_PLAN_MAX_BUFFERS + 1 + i].in.rows = i + 2;
	assert_int_equal(make(&ir, &plan, &bytes, &error), -EINVAL);
	assert_non_null(strstr(error.text, "more than 64 intermediate results"));
	fg_arena_free(&arena);
}

static void weights_that_int8_cannot_hold_stay_f32(void **state)
{
	struct fixture *fixture = *state;
	struct fg_arena arena = {0};
	struct fg_ir ir = fixture_ir(&arena);
	struct fg_golden_rows golden;
	struct fg_error error;
	struct fg_plan plan;
	void *bytes;
	size_t size;

	assert_int_equal(steps(fixture)[DENSE].format, FG_WEIGHTS_INT8);
	fixture_numbers[77] = INFINITY; /* of both */
	assert_int_equal(fg_golden_rows_make(&ir, &arena, FG_GOLDEN_MADE_ROWS, &golden, &error), 0);
	assert_int_equal(fg_plan_make(&ir, FG_WEIGHTS_INT8, &golden, &bytes, &size, &error), 0);
	assert_int_equal(fg_plan_open(&plan, bytes, size, &error), 0);
	assert_int_equal(plan.steps[DENSE].format, FG_WEIGHTS_F32);
	assert_int_equal(plan.steps[RESIDUAL].format, FG_WEIGHTS_F32);
	free(bytes);
	assert_int_equal(fg_plan_make(&ir, FG_WEIGHTS_BF16, &golden, &bytes, &size, &error), 0);
	assert_int_equal(fg_plan_open(&plan, bytes, size, &error), 0);
	assert_int_equal(plan.steps[DENSE].format, FG_WEIGHTS_BF16);
	assert_int_equal(plan.steps[LAST_DENSE].format, FG_WEIGHTS_F32);
	free(bytes);
	fg_arena_free(&arena);
}

static void labels_must_be_texts(void **state)
{
	static const struct fg_text broken[Y] = {{"cat", 3}, {"d\xff", 2}, {"a\0b", 3}};
	struct fg_tensor wrong = {
		.element = FG_ELEMENT_TEXT, .rank = 1, .dims = {2}, .count = 2, .data = broken};
	struct fg_arena arena = {0};
	struct fg_ir ir = fixture_ir(&arena);
	struct fg_error error = {""};
	struct fg_plan plan;
	void *bytes;

	(void)state;
	for (int i = 0; i < 2; i++) {
		ir_values[2].labels = &wrong;
		assert_int_equal(make(&ir, &plan, &bytes, &error), -EINVAL);
		assert_string_equal(error.text, "output 'y': its class labels are not UTF-8 texts");
		wrong.data = broken + 1; /* a text that would end at its NUL */
	}
	ir_values[2].labels = &labels;
	fg_arena_free(&arena);
}

/* ---- golden rows ------------------------------------------------------------------------- */

/* ids reach a table of 5, x none. */
static void made_rows_fit_the_inputs(void **state)
{
	struct fixture *fixture = *state;
	const struct fg_plan_header *header = header_of(fixture);
	const float *row = (const float *)(fixture->bytes + header->golden_inputs);
	bool seen[5] = {false};

	assert_int_equal(header->golden_rows, 16);
	for (uint32_t i = 0; i < header->golden_rows; i++, row += IN) {
		for (uint32_t col = 0; col < X; col++)
			assert_true(row[col] >= -1 && row[col] < 1);
		for (uint32_t col = X; col < IN; col++) {
			assert_true(row[col] >= 0 && row[col] < 5);
			assert_true(row[col] == floorf(row[col]));
			seen[(int)row[col]] = true;
		}
	}
	for (int i = 0; i < 5; i++)
		assert_true(seen[i]);
}

/* The table's size is seen through what only moves ids. */
static void ids_are_found_behind_copies(void **state)
{
	struct fg_arena arena = {0};
	struct fg_ir ir = make_chain(3, 1, &arena);
	struct fg_golden_rows golden;
	struct fg_error error;

	(void)state;
	/* columns 0, 1 -> 1, 0 -> a table of 3 for the first of them, which is column 1 */
	chain_steps[1] = (struct fg_ir_step){.kind = FG_STEP_ACTIVATION,
					     .activation = FG_ACTIVATION_TRUNC,
					     .in = {2, 0},
					     .other = NOWHERE,
					     .third = NOWHERE,
					     .out = {3, 0},
					     .groups = 1,
					     .in_cols = 2,
					     .out_cols = 2};
	chain_steps[2].kind = FG_STEP_EMBED;
	chain_steps[2].in_cols = 1;
	chain_steps[2].entries = 3;
	chain_steps[2].weights = fixture_numbers;
	assert_int_equal(fg_golden_rows_make(&ir, &arena, FG_GOLDEN_MADE_ROWS, &golden, &error), 0);
	for (uint32_t i = 0; i < golden.rows; i++) {
		const float *row = golden.inputs + 2 * (size_t)i;

		assert_true(row[0] != floorf(row[0]));
		assert_true(row[1] == 0 || row[1] == 1 || row[1] == 2);
	}
	fg_arena_free(&arena);
}

static const float xs[2 * X] = {[0] = 1, [X] = 2}, ids[2 * IDS] = {3, 4, 5, 6};
static const float ys[2 * Y] = {7, 8, 9, 10, 11, 12}, zs[2 * Z] = {13, [Z] = 14};

static void parts_are_joined_by_name(void **state)
{
	struct fg_golden golden = {.rows = 2,
				   .tolerance = 0.5f,
				   .input_count = 2,
				   .output_count = 2,
				   .inputs = {{"ids", IDS, ids}, {"x", X, xs}},
				   .outputs = {{"z\n", Z, zs}, {"y", Y, ys}}};
	struct fg_arena arena = {0};
	struct fg_ir ir = fixture_ir(&arena);
	struct fg_golden_rows rows;
	struct fg_error error;

	(void)state;
	assert_int_equal(fg_golden_rows_join(&ir, &golden, &arena, &rows, &error), 0);
	assert_int_equal(rows.rows, 2);
	assert_true(rows.shipped == 1 && rows.tolerance == 0.5f);
	for (uint32_t row = 0; row < 2; row++) {
		assert_memory_equal(rows.inputs + row * IN, xs + row * X, sizeof(xs) / 2);
		assert_memory_equal(rows.inputs + row * IN + X, ids + row * IDS, sizeof(ids) / 2);
		assert_memory_equal(rows.outputs + row * OUT, ys + row * Y, sizeof(ys) / 2);
		assert_memory_equal(rows.outputs + row * OUT + Y, zs + row * Z, sizeof(zs) / 2);
	}
	fg_arena_free(&arena);
}

static void assert_not_joined(struct fg_golden_part *in, uint32_t count, const char *text)
{
	struct fg_golden golden = {.rows = 1,
				   .tolerance = 0.5f,
				   .input_count = count,
				   .output_count = 1,
				   .outputs = {{NULL, OUT, zs}}};
	struct fg_arena arena = {0};
	struct fg_ir ir = fixture_ir(&arena);
	struct fg_golden_rows rows;
	struct fg_error error = {""};

	memcpy(golden.inputs, in, count * sizeof(*in));
	assert_int_equal(fg_golden_rows_join(&ir, &golden, &arena, &rows, &error), -EINVAL);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
	fg_arena_free(&arena);
}

static void parts_that_do_not_fit_are_named(void **state)
{
	struct fg_golden_part in[] = {{"x", X, xs}, {"ids", IDS, ids}, {"more", 1, xs}};

	(void)state;
	assert_not_joined(in, 1, "golden inputs: the model's input 'ids' (2 columns) is missing");
	assert_not_joined(in, 3, "golden inputs: the model has no input 'more'");
	in[1].cols = 3;
	assert_not_joined(in, 2, "golden inputs: ids has 3 columns, the model's has 2");
	in[1] = in[0];
	assert_not_joined(in, 2, "golden inputs: 'x' is there twice");
	in[0] = (struct fg_golden_part){NULL, IN + 1, xs};
	assert_not_joined(in, 1, "golden inputs: a row has 23 columns, the model's has 22");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_takes_two_buffers),
		cmocka_unit_test(limits_are_named),
		cmocka_unit_test_setup_teardown(weights_that_int8_cannot_hold_stay_f32, set_up,
						tear_down),
		cmocka_unit_test(labels_must_be_texts),
		cmocka_unit_test_setup_teardown(made_rows_fit_the_inputs, set_up, tear_down),
		cmocka_unit_test(ids_are_found_behind_copies),
		cmocka_unit_test(parts_are_joined_by_name),
		cmocka_unit_test(parts_that_do_not_fit_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
