#include <errno.h>
#include <string.h>
#include "models/compile.h"
#include "models/compile_golden.h"

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
					.shipped = golden->from_npz ? 2 : 1};
	result = join(&inputs, golden->rows, arena, &rows->inputs, error);
	return result ? result : join(&outputs, golden->rows, arena, &rows->outputs, error);
}
