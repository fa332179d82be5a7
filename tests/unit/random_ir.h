/*
 * random_ir.h: steps of every kind at random, as lowering a model makes them, for tests of plans.
 *
 * The model has two inputs: "x", any numbers, and "ids", whole numbers below RANDOM_ENTRIES; its
 * outputs "y" and "z" are columns of what the steps have made. The same seed gives the same steps.
 */
#ifndef FG_TESTS_RANDOM_IR_H
#define FG_TESTS_RANDOM_IR_H

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "models/ir.h"
#include "models/plan_shape.h"

enum {
	RANDOM_STEPS = 40,
	RANDOM_VALUES = RANDOM_STEPS + 2,
	RANDOM_COLS = 72, /* of one value, at most */
	RANDOM_ENTRIES = 6,
	RANDOM_IDS = 4,
};

/* Columns that have been written. */
struct random_value {
	struct fg_ir_span at;
	uint32_t cols;
};

struct random_ir {
	struct fg_arena arena;
	struct fg_graph graph;
	struct fg_ir ir;
	uint64_t state;
	/* No step whose result jumps or is not finite where its input changes a little. */
	bool is_smooth;
	struct random_value values[RANDOM_VALUES];
	uint32_t value_count;
	struct fg_value names[4];
	struct fg_graph_port inputs[2], outputs[2];
	struct fg_ir_value ir_values[4];
	struct fg_ir_step steps[RANDOM_STEPS + 2];
	struct fg_ir_rows rows[RANDOM_VALUES + 2];
};

/* xorshift64*, Vigna 2016. */
static inline uint32_t random_below(uint64_t *state, uint32_t bound)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)((*state * 0x2545f4914f6cdd1d >> 32) % bound);
}

/* In [-1, 1). */
static inline float random_number(uint64_t *state)
{
	return (float)random_below(state, 1 << 24) * 0x1p-23f - 1.0f;
}

static inline float *random_numbers(struct random_ir *random, size_t count, float scale, float add)
{
	float *numbers = fg_arena_alloc(&random->arena, count, sizeof(*numbers));

	assert(numbers);
	for (size_t i = 0; i < count; i++)
		numbers[i] = random_number(&random->state) * scale + add;
	return numbers;
}

/* One row of the model's input. */
static inline void random_input(const struct random_ir *random, uint64_t *state, float *row)
{
	const uint32_t cols = random->ir.rows[FG_IR_INPUT].cols;

	for (uint32_t i = 0; i < cols - RANDOM_IDS; i++)
		row[i] = random_number(state);
	for (uint32_t i = cols - RANDOM_IDS; i < cols; i++)
		row[i] = (float)random_below(state, RANDOM_ENTRIES);
}

static inline uint32_t random_divisor(struct random_ir *random, uint32_t number)
{
	uint32_t divisor = 1 + random_below(&random->state, 8);

	while (number % divisor)
		divisor--;
	return divisor;
}

/* Often the newest, so that there are chains for the optimizer. */
static inline struct random_value random_value(struct random_ir *random)
{
	if (random_below(&random->state, 2))
		return random->values[random->value_count - 1];
	return random->values[random_below(&random->state, random->value_count)];
}

/* A run of `cols` columns that are there; false: none is as wide. */
static inline bool random_run(struct random_ir *random, uint32_t cols, struct fg_ir_span *span)
{
	const uint32_t first = random_below(&random->state, random->value_count);

	for (uint32_t i = 0; i < random->value_count; i++) {
		struct random_value value = random->values[(first + i) % random->value_count];

		if (value.cols < cols)
			continue;
		*span = value.at;
		span->first += random_below(&random->state, value.cols - cols + 1);
		return true;
	}
	return false;
}

static const int64_t random_keys[] = {-7, 0, 1, INT64_C(1) << 40};

static inline void random_activation(struct random_ir *random, struct fg_ir_step *step)
{
	static const enum fg_activation smooth[] = {
		FG_ACTIVATION_NONE,	    FG_ACTIVATION_RELU,	      FG_ACTIVATION_LEAKY_RELU,
		FG_ACTIVATION_CLIP,	    FG_ACTIVATION_SIGMOID,    FG_ACTIVATION_TANH,
		FG_ACTIVATION_SILU,	    FG_ACTIVATION_GELU,	      FG_ACTIVATION_GELU_TANH,
		FG_ACTIVATION_ELU,	    FG_ACTIVATION_SELU,	      FG_ACTIVATION_CELU,
		FG_ACTIVATION_HARD_SIGMOID, FG_ACTIVATION_HARD_SWISH, FG_ACTIVATION_SOFTPLUS,
		FG_ACTIVATION_SOFTSIGN,	    FG_ACTIVATION_MISH,	      FG_ACTIVATION_ERF,
		FG_ACTIVATION_ABS,
	};

	step->activation =
		random->is_smooth
			? smooth[random_below(&random->state, sizeof(smooth) / sizeof(smooth[0]))]
			: random_below(&random->state, FG_ACTIVATION_COUNT);
	step->alpha = 0.25f + 0.25f * random_number(&random->state);
	step->beta = 1 + 0.25f * random_number(&random->state);
}

/* Wide numbers are any two columns next to each other; where there are no two, the step copies. */
static inline void random_wide(struct random_ir *random, struct fg_ir_step *step)
{
	static const enum fg_wide_operation reductions[] = {FG_WIDE_I64_ADD, FG_WIDE_I64_MAX,
							    FG_WIDE_F64_ADD, FG_WIDE_U64_MIN};
	const bool reduces = step->kind == FG_STEP_WIDE_REDUCE;
	const bool selects = step->kind == FG_STEP_WIDE_SELECT;
	struct fg_wide_shape shape = {selects ? 1 : 2, selects ? 2 : 1, selects};
	const uint32_t cols = step->groups * step->in_cols, count = step->in_cols / 2;

	if (step->kind == FG_STEP_WIDE) {
		step->operation = 1 + random_below(&random->state, FG_WIDE_OPERATION_COUNT - 1);
		shape = fg_wide_shape(step->operation);
		step->alpha = -128;
		step->beta = 256;
	}
	if (!count) {
		step->kind = FG_STEP_ACTIVATION;
		step->in_cols = step->out_cols = cols;
		step->groups = 1;
		step->operation = FG_WIDE_NONE;
		step->alpha = step->beta = 0;
		return;
	}
	step->in_cols = count * shape.in_cols;
	step->out_cols = reduces ? 2 : count * shape.out_cols;
	if (reduces)
		step->operation = reductions[random_below(&random->state, 4)];
	if (step->kind == FG_STEP_WIDE_LOOKUP) {
		step->entries = sizeof(random_keys) / sizeof(random_keys[0]);
		step->weights = random_keys;
	}
	if (!selects && shape.others && !reduces)
		step->constant = random_numbers(random, step->out_cols, 2, 1);
	if (selects) {
		step->other = step->third = step->in;
		random_run(random, step->out_cols, &step->other);
		random_run(random, step->out_cols, &step->third);
	}
}

/* The shape of each kind, and what it reads besides `in`. The weights must not make numbers grow.
 */
static inline void random_details(struct random_ir *random, struct fg_ir_step *step)
{
	const uint32_t cols = step->groups * step->in_cols;
	uint32_t *columns;

	step->out_cols = step->in_cols;
	switch (step->kind) {
	case FG_STEP_DENSE:
		step->out_cols = 1 + random_below(&random->state, RANDOM_COLS / step->groups);
		step->weights = random_numbers(random, (size_t)step->in_cols * step->out_cols,
					       1.5f / sqrtf((float)step->in_cols), 0);
		step->bias = random_numbers(random, step->out_cols, 0.5f, 0);
		if (random_below(&random->state, 4) == 0)
			random_run(random, step->groups * step->out_cols, &step->other);
		random_activation(random, step);
		break;
	case FG_STEP_ACTIVATION:
		random_activation(random, step);
		break;
	case FG_STEP_AFFINE:
	case FG_STEP_NORMALIZE:
		step->weights = random_numbers(random, step->in_cols, 0.5f, 1);
		step->bias = random_numbers(random, step->in_cols, 0.5f, 0);
		if (step->kind == FG_STEP_AFFINE)
			random_activation(random, step);
		else
			step->alpha = 0.125f;
		break;
	case FG_STEP_CENTER:
		step->weights = random_numbers(random, 2 * step->in_cols, 0.5f, 1);
		step->bias = random_numbers(random, step->in_cols, 0.5f, 0);
		random_activation(random, step);
		break;
	case FG_STEP_ADD ... FG_STEP_EQUAL:
		if (!random_below(&random->state, 2) || !random_run(random, cols, &step->other))
			step->constant = random_numbers(random, cols, 0.5f, 1);
		if (random_below(&random->state, 2))
			random_activation(random, step);
		break;
	case FG_STEP_SELECT:
		step->other = step->third = step->in;
		random_run(random, cols, &step->other);
		random_run(random, cols, &step->third);
		break;
	case FG_STEP_REDUCE_SUM ... FG_STEP_ARG_MIN:
		step->out_cols = 1;
		break;
	case FG_STEP_COLUMNS:
		step->out_cols = 1 + random_below(&random->state, RANDOM_COLS / step->groups);
		columns = fg_arena_alloc(&random->arena, step->out_cols, sizeof(*columns));
		assert(columns);
		for (uint32_t i = 0; i < step->out_cols; i++)
			columns[i] = random_below(&random->state, step->in_cols);
		step->weights = columns;
		break;
	case FG_STEP_FILL:
		step->in = (struct fg_ir_span){FG_IR_NONE, 0};
		step->bias = random_numbers(random, step->out_cols, 1, 0);
		break;
	case FG_STEP_WIDE ... FG_STEP_WIDE_LOOKUP:
		random_wide(random, step);
		break;
	default: /* SOFTMAX, LOG_SOFTMAX */
		break;
	}
}

/* EMBED and LOOKUP read ids. */
static inline void random_ids(struct random_ir *random, struct fg_ir_step *step)
{
	static const float keys[] = {0, 2, 3, 4, NAN}; /* not 1 and 5 */
	const struct random_value ids = random->values[1];

	step->in = ids.at;
	if (step->kind == FG_STEP_EMBED) {
		step->groups = 1 + random_below(&random->state, RANDOM_IDS);
		step->in_cols = 1;
		step->out_cols = 1 + random_below(&random->state, RANDOM_COLS / step->groups);
		step->entries = RANDOM_ENTRIES;
		step->weights =
			random_numbers(random, (size_t)RANDOM_ENTRIES * step->out_cols, 1, 0);
	} else {
		step->groups = 1;
		step->in_cols = step->out_cols = ids.cols;
		step->entries = sizeof(keys) / sizeof(keys[0]);
		step->weights = keys;
		step->bias = random_numbers(random, step->entries, 1, 0);
		step->alpha = random->is_smooth ? -1 : NAN;
	}
}

/* Division and powers only of what stays away from 0; comparisons and choices jump. */
static inline bool random_is_smooth(const struct fg_ir_step *step)
{
	switch (step->kind) {
	case FG_STEP_DIV:
		return step->constant != NULL;
	case FG_STEP_POW:
	case FG_STEP_LESS:
	case FG_STEP_LESS_EQUAL:
	case FG_STEP_EQUAL:
	case FG_STEP_SELECT:
	case FG_STEP_ARG_MAX:
	case FG_STEP_ARG_MIN:
	case FG_STEP_WIDE ... FG_STEP_WIDE_LOOKUP:
		return false;
	default:
		return true;
	}
}

/* A step of that kind, with what it writes; the same number of columns of new rows, or of rows that
 * hold something else already. */
static inline void random_step(struct random_ir *random, enum fg_step_kind kind)
{
	struct fg_ir_step *step = &random->steps[random->ir.step_count];
	const struct random_value in = random_value(random);
	uint32_t cols, rows;

	*step = (struct fg_ir_step){.kind = kind, .in = in.at, .groups = 1};
	step->other.rows = step->third.rows = FG_IR_NONE;
	if (kind == FG_STEP_EMBED || kind == FG_STEP_LOOKUP) {
		random_ids(random, step);
	} else {
		if (!fg_plan_shape_of(kind, FG_WIDE_NONE).elementwise)
			step->groups = random_divisor(random, in.cols);
		step->in_cols = in.cols / step->groups;
		random_details(random, step);
	}
	if (random->is_smooth && !random_is_smooth(step))
		return;
	cols = step->groups * step->out_cols;
	rows = random->ir.rows_count - 1;
	if (rows <= FG_IR_OUTPUT || random_below(&random->state, 3))
		rows = random->ir.rows_count++;
	step->out = (struct fg_ir_span){rows, random->rows[rows].cols};
	random->rows[rows].cols += cols;
	random->values[random->value_count++] = (struct random_value){step->out, cols};
	random->ir.step_count++;
}

static inline void random_port(struct random_ir *random, uint32_t value, const char *name,
			       enum fg_element element, struct fg_ir_span at, uint32_t cols,
			       struct fg_graph_port *port)
{
	random->names[value].name = (struct fg_text){name, strlen(name)};
	*port = (struct fg_graph_port){.value = value, .element = element};
	random->ir_values[value] = (struct fg_ir_value){.rank = 2,
							.dims = {FG_GRAPH_UNKNOWN, cols},
							.cols = cols,
							.at = at};
	random->rows[at.rows].cols += cols;
}

/* The newest value becomes output "y", any of them "z". */
static inline void random_output(struct random_ir *random, uint32_t i, struct random_value value)
{
	struct fg_ir_span at = {FG_IR_OUTPUT, random->rows[FG_IR_OUTPUT].cols};

	random_port(random, 2 + i, i ? "z" : "y", FG_ELEMENT_F32, at, value.cols,
		    &random->outputs[i]);
	random->steps[random->ir.step_count++] = (struct fg_ir_step){.kind = FG_STEP_ACTIVATION,
								     .in = value.at,
								     .other = {FG_IR_NONE, 0},
								     .third = {FG_IR_NONE, 0},
								     .out = at,
								     .groups = 1,
								     .in_cols = value.cols,
								     .out_cols = value.cols};
}

/* Free random->arena afterwards. */
static inline void random_ir_make(struct random_ir *random, uint64_t seed, bool is_smooth)
{
	const uint32_t steps = 3 + (uint32_t)(seed * 7 % (RANDOM_STEPS - 2));
	struct fg_ir_span x = {FG_IR_INPUT, 0}, ids = {FG_IR_INPUT, 0};

	memset(random, 0, sizeof(*random));
	random->state = seed * 0x9e3779b97f4a7c15 + 1;
	random->is_smooth = is_smooth;
	random->graph = (struct fg_graph){.values = random->names,
					  .value_count = 4,
					  .inputs = random->inputs,
					  .input_count = 2,
					  .outputs = random->outputs,
					  .output_count = 2};
	random->ir = (struct fg_ir){.graph = &random->graph,
				    .arena = &random->arena,
				    .batch = FG_GRAPH_UNKNOWN,
				    .values = random->ir_values,
				    .steps = random->steps,
				    .step_capacity = RANDOM_STEPS + 2,
				    .rows = random->rows,
				    .rows_count = 2,
				    .rows_capacity = RANDOM_VALUES + 2};
	ids.first = 1 + random_below(&random->state, RANDOM_COLS - RANDOM_IDS);
	random_port(random, 0, "x", FG_ELEMENT_F32, x, ids.first, &random->inputs[0]);
	random_port(random, 1, "ids", FG_ELEMENT_I64, ids, RANDOM_IDS, &random->inputs[1]);
	random->values[random->value_count++] = (struct random_value){x, ids.first};
	random->values[random->value_count++] = (struct random_value){ids, RANDOM_IDS};
	for (uint32_t i = 0; i < steps; i++)
		random_step(random, random_below(&random->state, FG_STEP_KIND_COUNT));
	random_output(random, 0, random->values[random->value_count - 1]);
	random_output(random, 1, random_value(random));
}

#endif
