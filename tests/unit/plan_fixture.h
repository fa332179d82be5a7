/*
 * plan_fixture.h: a plan with a step of each sort that is run or checked in its own way, for
 * test_plan*.c.
 *
 * x (20), ids (2) -> y (3, labelled), z (2, 3), with INT8 weights, and warm-up batches of 2 rows
 * and of 1, which are the first golden rows.
 */
#ifndef FG_TESTS_PLAN_FIXTURE_H
#define FG_TESTS_PLAN_FIXTURE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "models/compile_golden.h"
#include "models/cpu.h"
#include "models/plan.h"
#include "models/plan_format.h"

enum {
	DENSE,
	COLUMNS,
	EMBED,
	LOOKUP,
	AFFINE,
	ADD,
	MUL,
	SELECT,
	NORMALIZE,
	RESIDUAL,
	FILL,
	LAST_DENSE,
	SUM,
	SOFTMAX,
	Z_SUM,
	Z_FILL,
	STEPS
};
enum { X = 20, IDS = 2, Y = 3, Z = 6, IN = X + IDS, OUT = Y + Z };

static float fixture_numbers[32 * 32];
static const uint32_t fixture_columns[5] = {11, 0, 3, 3, 7};
static const float fixture_keys[3] = {0, 4, NAN};

#define NOWHERE                                                                                    \
	{                                                                                          \
		FG_IR_NONE, 0                                                                      \
	}
#define AT(r, first)                                                                               \
	{                                                                                          \
		r, first                                                                           \
	}
/* rows: 2 dense, 3 columns, 4 embed, 5 lookup, 6 affine, 7 add, 8 mul, 9 select, 10 normalize,
 * 11 residual, 12 fill, 13 last dense, 14 sum */
#define STEP(k, from, with, or_with, to, g, i, o)                                                  \
	.kind = FG_STEP_##k, .in = from, .other = with, .third = or_with, .out = to, .groups = g,  \
	.in_cols = i, .out_cols = o

static struct fg_ir_step ir_steps[STEPS] = {
	[DENSE] = {STEP(DENSE, AT(FG_IR_INPUT, 0), NOWHERE, NOWHERE, AT(2, 0), 1, X, 24),
		   .weights = fixture_numbers, .bias = fixture_numbers,
		   .activation = FG_ACTIVATION_RELU},
	[COLUMNS] = {STEP(COLUMNS, AT(2, 0), NOWHERE, NOWHERE, AT(3, 0), 2, 12, 5),
		     .weights = fixture_columns},
	[EMBED] = {STEP(EMBED, AT(FG_IR_INPUT, X), NOWHERE, NOWHERE, AT(4, 0), 2, 1, 8),
		   .weights = fixture_numbers, .entries = 5},
	[LOOKUP] = {STEP(LOOKUP, AT(FG_IR_INPUT, X), NOWHERE, NOWHERE, AT(5, 0), 1, 2, 2),
		    .weights = fixture_keys, .bias = fixture_numbers, .entries = 3, .alpha = NAN},
	[AFFINE] = {STEP(AFFINE, AT(2, 0), NOWHERE, NOWHERE, AT(6, 0), 1, 24, 24),
		    .weights = fixture_numbers, .bias = fixture_numbers + 24},
	[ADD] = {STEP(ADD, AT(6, 0), AT(2, 0), NOWHERE, AT(7, 0), 1, 24, 24)},
	[MUL] = {STEP(MUL, AT(7, 0), NOWHERE, NOWHERE, AT(8, 0), 1, 24, 24),
		 .constant = fixture_numbers + 9, .activation = FG_ACTIVATION_CLIP,
		 .alpha = -INFINITY, .beta = NAN},
	[SELECT] = {STEP(SELECT, AT(2, 0), AT(7, 0), AT(2, 0), AT(9, 0), 1, 24, 24)},
	[NORMALIZE] = {STEP(NORMALIZE, AT(9, 0), NOWHERE, NOWHERE, AT(10, 0), 2, 12, 12),
		       .weights = fixture_numbers, .bias = fixture_numbers, .alpha = 1e-5f},
	[RESIDUAL] = {STEP(DENSE, AT(10, 0), AT(4, 0), NOWHERE, AT(11, 0), 1, 24, 16),
		      .weights = fixture_numbers, .bias = fixture_numbers},
	[FILL] = {STEP(FILL, NOWHERE, NOWHERE, NOWHERE, AT(12, 0), 1, 0, 4),
		  .bias = fixture_numbers},
	[LAST_DENSE] = {STEP(DENSE, AT(11, 0), NOWHERE, NOWHERE, AT(13, 0), 1, 16, 3),
			.weights = fixture_numbers, .bias = fixture_numbers},
	[SUM] = {STEP(REDUCE_SUM, AT(3, 0), NOWHERE, NOWHERE, AT(14, 0), 2, 5, 1)},
	[SOFTMAX] = {STEP(SOFTMAX, AT(13, 0), NOWHERE, NOWHERE, AT(FG_IR_OUTPUT, 0), 1, 3, 3)},
	[Z_SUM] = {STEP(ACTIVATION, AT(14, 0), NOWHERE, NOWHERE, AT(FG_IR_OUTPUT, Y), 1, 2, 2)},
	[Z_FILL] = {STEP(ACTIVATION, AT(12, 0), NOWHERE, NOWHERE, AT(FG_IR_OUTPUT, Y + 2), 1, 4,
			 4)},
};
static struct fg_ir_rows ir_rows[] = {{IN}, {OUT}, {24}, {10}, {16}, {2}, {24}, {24},
				      {24}, {24},  {24}, {16}, {4},  {3}, {2}};
static const struct fg_text texts[Y] = {{"cat", 3}, {"d\xc3\xb6g", 4}, {"", 0}};
static const struct fg_tensor labels = {
	.element = FG_ELEMENT_TEXT, .rank = 1, .dims = {Y}, .count = Y, .data = texts};
static struct fg_ir_value ir_values[] = {
	{.rank = 2, .dims = {-1, X}, .cols = X, .at = {FG_IR_INPUT, 0}},
	{.rank = 2, .dims = {-1, IDS}, .cols = IDS, .at = {FG_IR_INPUT, X}},
	{.rank = 2, .dims = {-1, Y}, .cols = Y, .labels = &labels},
	{.rank = 3, .dims = {-1, 2, 3}, .cols = Z},
};
static struct fg_value values[] = {{{"x", 1}, NULL},
				   {{"ids", 3}, NULL},
				   {{"y", 1}, NULL},
				   {{"z\n", 2}, NULL}};
static struct fg_graph_port inputs[] = {{.value = 0}, {.value = 1, .element = FG_ELEMENT_I64}};
static struct fg_graph_port outputs[] = {{.value = 2}, {.value = 3}};
static const struct fg_graph graph = {.values = values,
				      .value_count = 4,
				      .inputs = inputs,
				      .input_count = 2,
				      .outputs = outputs,
				      .output_count = 2};

struct fixture {
	char *bytes;
	char *pristine;
	size_t size;
};

static inline struct fg_ir fixture_ir(struct fg_arena *arena)
{
	return (struct fg_ir){.graph = &graph,
			      .arena = arena,
			      .values = ir_values,
			      .steps = ir_steps,
			      .step_count = STEPS,
			      .rows = ir_rows,
			      .rows_count = sizeof(ir_rows) / sizeof(ir_rows[0])};
}

static inline int set_up(void **state)
{
	static struct fixture fixture;
	struct fg_arena arena = {0};
	struct fg_ir ir = fixture_ir(&arena);
	uint32_t batches[] = {2, 1};
	struct fg_warmup warmup = {.count = 2, .rows = 3, .batches = batches};
	struct fg_golden_rows golden;
	struct fg_error error;
	struct fg_plan plan;
	void *bytes, *scratch;
	float *out;

	for (size_t i = 0; i < sizeof(fixture_numbers) / sizeof(fixture_numbers[0]); i++)
		fixture_numbers[i] = (float)(i * 37 % 64) / 64 - 0.5f;
	if (fg_golden_rows_make(&ir, &arena, FG_GOLDEN_MADE_ROWS, &golden, &error) ||
	    fg_plan_make(&ir, FG_WEIGHTS_INT8, &golden, &bytes, &fixture.size, &error) ||
	    fg_plan_open_with(&plan, &fg_kernels_c, bytes, fixture.size, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return -1;
	}
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, golden.rows));
	out = calloc(golden.rows, OUT * sizeof(float));
	fg_plan_run(&plan, golden.inputs, golden.rows, out, scratch);
	golden.outputs = out;
	fg_plan_amend(bytes, &golden, 0.001f);
	warmup.inputs = (float *)golden.inputs;
	if (fg_plan_add_warmup(&bytes, &fixture.size, &warmup, &error))
		return -1;
	free(scratch);
	free(out);
	fg_arena_free(&arena);
	fixture.bytes = bytes;
	fixture.pristine = malloc(fixture.size);
	memcpy(fixture.pristine, bytes, fixture.size);
	*state = &fixture;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *fixture = *state;

	free(fixture->bytes);
	free(fixture->pristine);
	return 0;
}

static inline struct fg_plan_header *header_of(const struct fixture *fixture)
{
	return (struct fg_plan_header *)fixture->bytes;
}

static inline struct fg_plan_step *steps(const struct fixture *fixture)
{
	return (struct fg_plan_step *)fg_plan_steps(header_of(fixture));
}

static inline struct fg_plan_port *ports(const struct fixture *fixture)
{
	return (struct fg_plan_port *)fg_plan_ports(header_of(fixture));
}

static inline void seal(struct fixture *fixture)
{
	size_t covered = offsetof(struct fg_plan_header, in_cols);

	header_of(fixture)->digest = XXH3_64bits(fixture->bytes + covered, fixture->size - covered);
}

#endif
