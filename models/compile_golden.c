#include <errno.h>
#include <string.h>
#include "models/compile.h"
#include "models/compile_golden.h"

#define MADE_FLOATS (1u << 20) /* inputs, at most, so that wide models stay small */
#define MADE_WHOLE  8u	       /* whole numbers of a model without tables are 0 .. 7 */

/* ---- what a version ships ---------------------------------------------------------------- */

/* The model's inputs, or its outputs, and the parts that should be theirs. */
struct side {
	const struct fg_ir *ir;
	const char *what; /* "input", "output" */
	const struct fg_graph_port *ports;
	uint32_t port_count;
	uint32_t cols;
	const struct fg_golden_part *parts;
	uint32_t part_count;
};

static struct fg_text port_text(const struct side *side, uint32_t port)
{
	return side->ir->graph->values[side->ports[port].value].name;
}

static int check_width(const struct side *side, uint32_t got, uint32_t wanted, const char *name,
		       struct fg_error *error)
{
	if (got == wanted)
		return 0;
	return fg_error_set(error, -EINVAL, "golden %ss: %s has %u columns, the model's has %u",
			    side->what, name, got, wanted);
}

/* Port `port`'s part is the only one of its name; its rows go to column `first`. */
static int join_port(const struct side *side, uint32_t port, uint32_t first, uint32_t rows,
		     float *to, struct fg_error *error)
{
	const uint32_t cols = side->ir->values[side->ports[port].value].cols;
	const struct fg_golden_part *part = NULL;
	char name[64];
	int result;

	fg_text_print(port_text(side, port), name, sizeof(name));
	for (uint32_t i = 0; i < side->part_count; i++) {
		if (!side->parts[i].name || !fg_text_is(port_text(side, port), side->parts[i].name))
			continue;
		if (part)
			return fg_error_set(error, -EINVAL, "golden %ss: '%s' is there twice",
					    side->what, name);
		part = &side->parts[i];
	}
	if (!part)
		return fg_error_set(error, -EINVAL,
				    "golden %ss: the model's %s '%s' (%u columns) is missing",
				    side->what, side->what, name, cols);
	result = check_width(side, part->cols, cols, name, error);
	for (uint32_t row = 0; row < rows && !result; row++)
		memcpy(to + (size_t)row * side->cols + first, part->rows + (size_t)row * cols,
		       cols * sizeof(float));
	return result;
}

/* After all ports have found their part: a part that none has taken is unknown. */
static int check_names(const struct side *side, struct fg_error *error)
{
	for (uint32_t i = 0; i < side->part_count; i++) {
		const char *name = side->parts[i].name;
		struct fg_text text = {name, name ? strlen(name) : 0};
		uint32_t port = 0;
		char shown[64];

		while (name && port < side->port_count && !fg_text_is(port_text(side, port), name))
			port++;
		if (!name || port == side->port_count)
			return fg_error_set(
				error, -EINVAL,
				"golden %ss: the model has no %s '%s', its first is '%s'",
				side->what, side->what,
				name ? fg_text_print(text, shown, sizeof(shown)) : "",
				fg_text_print(port_text(side, 0), (char[64]){0}, 64));
	}
	return 0;
}

static int join(const struct side *side, uint32_t rows, struct fg_arena *arena, const float **to,
		struct fg_error *error)
{
	uint32_t first = 0;
	float *joined;
	int result = 0;

	if (side->part_count == 1 && !side->parts[0].name) {
		*to = side->parts[0].rows;
		return check_width(side, side->parts[0].cols, side->cols, "a row", error);
	}
	joined = fg_arena_alloc(arena, (size_t)rows * side->cols, sizeof(float));
	if (!joined)
		return fg_error_set(error, -ENOMEM, "out of memory for %u golden rows", rows);
	for (uint32_t i = 0; i < side->port_count && !result; i++) {
		result = join_port(side, i, first, rows, joined, error);
		first += side->ir->values[side->ports[i].value].cols;
	}
	*to = joined;
	return result ? result : check_names(side, error);
}

int fg_golden_rows_join(const struct fg_ir *ir, const struct fg_golden *golden,
			struct fg_arena *arena, struct fg_golden_rows *rows, struct fg_error *error)
{
	const struct fg_graph *graph = ir->graph;
	const struct side inputs = {ir,
				    "input",
				    graph->inputs,
				    graph->input_count,
				    ir->rows[FG_IR_INPUT].cols,
				    golden->inputs,
				    golden->input_count};
	const struct side outputs = {ir,
				     "output",
				     graph->outputs,
				     graph->output_count,
				     ir->rows[FG_IR_OUTPUT].cols,
				     golden->outputs,
				     golden->output_count};
	int result;

	*rows = (struct fg_golden_rows){.rows = golden->rows,
					.tolerance = golden->tolerance,
					.shipped = true};
	result = join(&inputs, golden->rows, arena, &rows->inputs, error);
	return result ? result : join(&outputs, golden->rows, arena, &rows->outputs, error);
}

/* ---- rows that are made up --------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

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

/* What limits a step's outputs limits the inputs that they are made of. */
static int limit_inputs(struct limits *limits, const struct fg_ir_step *step)
{
	const uint32_t cols = step->groups * step->out_cols;
	const uint32_t *out = limits->of[step->out.rows];
	int result = 0;

	if (step->kind == FG_STEP_EMBED) {
		for (uint32_t i = 0; i < step->groups && !result; i++)
			result = lower_limit(limits, step->in, i, step->entries);
		return result;
	}
	if (!out || (step->kind != FG_STEP_ACTIVATION && step->kind != FG_STEP_COLUMNS))
		return 0;
	for (uint32_t i = 0; i < cols && !result; i++) {
		uint32_t from = i, limit = out[step->out.first + i];

		if (step->kind == FG_STEP_COLUMNS)
			from = i / step->out_cols * step->in_cols +
			       ((const uint32_t *)step->weights)[i % step->out_cols];
		if (limit)
			result = lower_limit(limits, step->in, from, limit);
	}
	return result;
}

/* Inputs that are whole numbers in the model file, and reach no table that can be seen, go for
 * ids of any table. */
static int limit_whole(struct limits *limits, uint32_t smallest_table)
{
	const struct fg_graph *graph = limits->ir->graph;
	int result = 0;

	for (uint32_t i = 0; i < graph->input_count; i++) {
		const struct fg_ir_value *value = &limits->ir->values[graph->inputs[i].value];

		for (uint32_t col = 0; col < value->cols && !result; col++)
			if (graph->inputs[i].element != FG_ELEMENT_F32 &&
			    !(limits->of[FG_IR_INPUT] &&
			      limits->of[FG_IR_INPUT][value->at.first + col]))
				result = lower_limit(limits, value->at, col, smallest_table);
	}
	return result;
}

/* *of: for each column of the input, NULL when all may hold any number. Rows are written once, so
 * that one walk back over the steps sees every reader of a column before its writer. */
static int find_limits(const struct fg_ir *ir, struct fg_arena *arena, const uint32_t **of)
{
	struct limits limits = {ir, arena, NULL};
	uint32_t smallest_table = UINT32_MAX;
	int result = 0;

	limits.of = fg_arena_alloc(arena, ir->rows_count, sizeof(*limits.of));
	if (!limits.of)
		return -ENOMEM;
	for (uint32_t i = ir->step_count; i-- > 0 && !result;) {
		result = limit_inputs(&limits, &ir->steps[i]);
		if (ir->steps[i].kind == FG_STEP_EMBED && ir->steps[i].entries < smallest_table)
			smallest_table = ir->steps[i].entries;
	}
	if (!result)
		result = limit_whole(&limits,
				     smallest_table == UINT32_MAX ? MADE_WHOLE : smallest_table);
	*of = limits.of[FG_IR_INPUT];
	return result;
}

int fg_golden_rows_make(const struct fg_ir *ir, struct fg_arena *arena, struct fg_golden_rows *rows,
			struct fg_error *error)
{
	const uint32_t cols = ir->rows[FG_IR_INPUT].cols;
	const uint32_t most = MADE_FLOATS / cols;
	const uint32_t *limits;
	uint64_t state = 0;
	float *inputs;

	*rows = (struct fg_golden_rows){.rows = most < FG_GOLDEN_MADE_ROWS ? most
									   : FG_GOLDEN_MADE_ROWS,
					.tolerance = FG_GOLDEN_TOLERANCE};
	inputs = fg_arena_alloc(arena, (size_t)rows->rows * cols, sizeof(float));
	if (!inputs || find_limits(ir, arena, &limits))
		return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	for (uint32_t row = 0; row < rows->rows; row++)
		for (uint32_t col = 0; col < cols; col++) {
			uint64_t random = next_random(&state);

			/* The upper 24 bits as a float in [-1, 1); whole numbers are exact to 2^24.
			 */
			inputs[(size_t)row * cols + col] =
				limits && limits[col]
					? (float)((random >> 32) % limits[col] % (1u << 24))
					: (float)(random >> 40) * 0x1p-23f - 1.0f;
		}
	rows->inputs = inputs;
	return 0;
}
