/* Golden rows that are made up: inputs of the kind that the model's first steps ask for. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/compile_golden.h"

#define MADE_FLOATS (1u << 20) /* inputs, at most, so that wide models stay small */
#define MADE_WHOLE  8u	       /* whole numbers of a model without tables are 0 .. 7 */
#define DEVIATIONS  3.0f       /* on either side of a center */

/* ---- limits ------------------------------------------------------------------------------- */

/* For each column of some rows, how many whole numbers (0 and up) it may hold; 0: any number. */
struct limits {
	const struct fg_ir *ir;
	struct fg_arena *arena;
	uint32_t **of; /* of the ir's rows; NULL: no column of them has a limit */
};

static int lower_limit(struct limits *limits, struct fg_ir_span span, uint32_t col, uint32_t limit)
{
	uint32_t **of = &limits->of[span.rows];

	if (!*of)
		*of = fg_arena_alloc(limits->arena, limits->ir->rows[span.rows].cols, sizeof(**of));
	if (!*of)
		return -ENOMEM;
	if (!(*of)[span.first + col] || limit < (*of)[span.first + col])
		(*of)[span.first + col] = limit;
	return 0;
}

/* The column of `in` that a COLUMNS step copies to its column `i`. */
static uint32_t column_from(const struct fg_ir_step *step, uint32_t i)
{
	return i / step->out_cols * step->in_cols +
	       ((const uint32_t *)step->weights)[i % step->out_cols];
}

/* A limit of what ADD or SUB gives, as one of what it takes; at least 1. */
static uint32_t limit_before(const struct fg_ir_step *step, uint32_t col, uint32_t limit)
{
	const double shift = step->kind == FG_STEP_SUB ? -(double)step->constant[col]
						       : (double)step->constant[col];
	const double left = limit - shift;

	return left >= 1 && left < UINT32_MAX ? (uint32_t)left : 1;
}

/* What limits a step's outputs limits the inputs that they are made of. */
static int limit_inputs(struct limits *limits, const struct fg_ir_step *step)
{
	const bool is_sum =
		(step->kind == FG_STEP_ADD || step->kind == FG_STEP_SUB) && step->constant;
	const uint32_t cols = step->groups * step->out_cols;
	const uint32_t *out = limits->of[step->out.rows];
	int result = 0;

	if (step->kind == FG_STEP_EMBED) {
		for (uint32_t i = 0; i < step->groups && !result; i++)
			result = lower_limit(limits, step->in, i, step->entries);
		return result;
	}
	if (!out || (step->kind != FG_STEP_ACTIVATION && step->kind != FG_STEP_COLUMNS && !is_sum))
		return 0;
	for (uint32_t i = 0; i < cols && !result; i++) {
		uint32_t from = i, limit = out[step->out.first + i];

		if (step->kind == FG_STEP_COLUMNS)
			from = column_from(step, i);
		if (limit)
			result = lower_limit(limits, step->in, from,
					     is_sum ? limit_before(step, i, limit) : limit);
	}
	return result;
}

/* Rows are written once, so that one walk back over the steps sees every reader of a column before
 * its writer. *smallest: entries of the smallest table; 0: there is none. */
static int find_limits(struct limits *limits, uint32_t *smallest)
{
	const struct fg_ir *ir = limits->ir;
	int result = 0;

	*smallest = 0;
	limits->of = fg_arena_alloc(limits->arena, ir->rows_count, sizeof(*limits->of));
	if (!limits->of)
		return -ENOMEM;
	for (uint32_t i = ir->step_count; i-- > 0 && !result;) {
		const struct fg_ir_step *step = &ir->steps[i];

		result = limit_inputs(limits, step);
		if (step->kind == FG_STEP_EMBED && (!*smallest || step->entries < *smallest))
			*smallest = step->entries;
	}
	return result;
}

/* ---- centers ------------------------------------------------------------------------------ */

/*
 * Where the numbers of a column lie that a model is made for, as its first steps tell: around an
 * offset that is subtracted, as far as it scales to a few deviations. So a year is some year, and a
 * plan that loses digits there is seen to.
 */
struct center {
	float at;
	float spread; /* > 0; 0: nothing is known */
};

struct centers {
	const struct fg_ir *ir;
	struct fg_arena *arena;
	struct center **of; /* of the ir's rows; NULL: nothing is known of any column */
};

/* What two steps ask of one column: the one that is farther off, in its own deviations, counts. */
static int set_center(struct centers *centers, struct fg_ir_span span, uint32_t col,
		      struct center center)
{
	struct center **of = &centers->of[span.rows], *old;

	if (!isfinite(center.at) || !isnormal(center.spread) ||
	    !isfinite(fabsf(center.at) + DEVIATIONS * center.spread))
		return 0;
	if (!*of)
		*of = fg_arena_alloc(centers->arena, centers->ir->rows[span.rows].cols,
				     sizeof(**of));
	if (!*of)
		return -ENOMEM;
	old = &(*of)[span.first + col];
	if (!old->spread || fabsf(center.at) / center.spread > fabsf(old->at) / old->spread)
		*old = center;
	return 0;
}

/* The center of what a step reads in column `col`, from that of what it writes there. */
static struct center before(const struct fg_ir_step *step, uint32_t col, struct center after)
{
	const float number = step->constant ? step->constant[col] : 0;
	float scale = 1, shift = 0;

	if (step->kind == FG_STEP_AFFINE) {
		scale = ((const float *)step->weights)[col];
		shift = step->bias[col];
	} else if (step->kind == FG_STEP_MUL || step->kind == FG_STEP_DIV) {
		scale = step->kind == FG_STEP_MUL ? number : 1 / number;
	} else {
		shift = step->kind == FG_STEP_SUB ? -number : number;
	}
	if (!after.spread)
		after = (struct center){0, 1};
	return (struct center){(after.at - shift) / scale, fabsf(after.spread / scale)};
}

static int center_inputs(struct centers *centers, const struct fg_ir_step *step)
{
	const struct center *out = centers->of[step->out.rows];
	const uint32_t cols = step->groups * step->out_cols;
	const bool is_affine =
		step->kind == FG_STEP_AFFINE ||
		(step->kind >= FG_STEP_ADD && step->kind <= FG_STEP_DIV && step->constant);
	const bool is_copy =
		step->kind == FG_STEP_ACTIVATION && step->activation == FG_ACTIVATION_NONE;
	int result = 0;

	for (uint32_t i = 0; i < cols && !result; i++) {
		const struct center after = out ? out[step->out.first + i] : (struct center){0};

		if (is_affine)
			result = set_center(centers, step->in, i, before(step, i, after));
		else if (is_copy)
			result = set_center(centers, step->in, i, after);
		else if (step->kind == FG_STEP_COLUMNS)
			result = set_center(centers, step->in, column_from(step, i), after);
		else if (step->kind == FG_STEP_SELECT && !step->constant)
			result = set_center(centers, step->other, i, after);
		if (step->kind == FG_STEP_SELECT && !result)
			result = set_center(centers, step->third, i, after);
	}
	return result;
}

/* As find_limits. */
static int find_centers(struct centers *centers)
{
	int result = 0;

	centers->of = fg_arena_alloc(centers->arena, centers->ir->rows_count, sizeof(*centers->of));
	if (!centers->of)
		return -ENOMEM;
	for (uint32_t i = centers->ir->step_count; i-- > 0 && !result;)
		result = center_inputs(centers, &centers->ir->steps[i]);
	return result;
}

/* ---- rows --------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* What a column of the input may hold. */
struct column {
	uint32_t limit; /* whole numbers below it; 0: none */
	struct center center;
	bool is_whole;
};

/* Columns that are whole numbers in the model file, and of which nothing is known, go for ids of
 * any table. */
static int describe(const struct fg_ir *ir, struct fg_arena *arena, struct column *columns)
{
	struct centers centers = {ir, arena, NULL};
	struct limits limits = {ir, arena, NULL};
	const struct fg_graph *graph = ir->graph;
	uint32_t smallest;

	if (find_limits(&limits, &smallest) || find_centers(&centers))
		return -ENOMEM;
	for (uint32_t i = 0; i < graph->input_count; i++) {
		const struct fg_ir_value *value = &ir->values[graph->inputs[i].value];

		for (uint32_t col = value->at.first; col < value->at.first + value->cols; col++) {
			struct column *column = &columns[col];

			column->is_whole = graph->inputs[i].element == FG_ELEMENT_I64;
			if (limits.of[FG_IR_INPUT])
				column->limit = limits.of[FG_IR_INPUT][col];
			if (centers.of[FG_IR_INPUT])
				column->center = centers.of[FG_IR_INPUT][col];
			if (column->is_whole && !column->limit && !column->center.spread)
				column->limit = smallest ? smallest : MADE_WHOLE;
		}
	}
	return 0;
}

static float number_for(const struct column *column, uint64_t random)
{
	/* The upper 24 bits as a float in [-1, 1); whole numbers are exact to 2^24. */
	const float anywhere = (float)(random >> 40) * 0x1p-23f - 1.0f;
	float number;

	if (column->limit)
		return (float)((random >> 32) % column->limit % (1u << 24));
	if (!column->center.spread)
		return anywhere;
	number = column->center.at + DEVIATIONS * column->center.spread * anywhere;
	return column->is_whole ? roundf(number) : number;
}

int fg_golden_rows_make(const struct fg_ir *ir, struct fg_arena *arena, uint32_t count,
			struct fg_golden_rows *rows, struct fg_error *error)
{
	const uint32_t cols = ir->rows[FG_IR_INPUT].cols;
	const uint32_t most = MADE_FLOATS / cols;
	struct column *columns = fg_arena_alloc(arena, cols, sizeof(*columns));
	uint64_t state = 0;
	float *inputs;

	*rows = (struct fg_golden_rows){.rows = most < count ? most : count,
					.tolerance = FG_GOLDEN_TOLERANCE};
	inputs = fg_arena_alloc(arena, (size_t)rows->rows * cols, sizeof(float));
	if (!inputs || !columns || describe(ir, arena, columns))
		return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	for (size_t i = 0; i < (size_t)rows->rows * cols; i++)
		inputs[i] = number_for(&columns[i % cols], next_random(&state));
	rows->inputs = inputs;
	return 0;
}
