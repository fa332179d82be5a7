#include <errno.h>
#include "models/ir.h"
#include "models/ops.h"
#include "models/plan_format.h"

const struct fg_ir_value *fg_ir_input(const struct fg_ir *ir, const struct fg_node *node,
				      uint32_t i)
{
	if (i >= node->input_count || node->inputs[i] == FG_GRAPH_NO_VALUE)
		return NULL;
	return &ir->values[node->inputs[i]];
}

struct fg_ir_step *fg_ir_add_step(struct fg_ir *ir, enum fg_step_kind kind,
				  const struct fg_ir_value *in, uint32_t out_cols,
				  const struct fg_node *node)
{
	struct fg_ir_step *step = &ir->steps[ir->step_count++];

	*step = (struct fg_ir_step){.kind = kind,
				    .in = in->source,
				    .other = FG_IR_NONE,
				    .in_cols = in->cols,
				    .out_cols = out_cols,
				    .node = node};
	return step;
}

struct fg_ir_step *fg_ir_own_step(const struct fg_ir *ir, const struct fg_ir_value *value)
{
	if (value->constant || value->source == FG_IR_INPUT || ir->values[value->root].uses != 1)
		return NULL;
	return &ir->steps[value->source];
}

void fg_ir_set_step(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_step *step,
		    const struct fg_ir_value *like)
{
	struct fg_ir_value *out = &ir->values[node->output];
	uint32_t uses = out->uses;

	*out = *like;
	out->uses = uses;
	out->root = node->output;
	out->source = (int)(step - ir->steps);
	if (out->cols != step->out_cols)
		out->dims[out->rank - 1] = step->out_cols;
	out->cols = step->out_cols;
}

void fg_ir_set_alias(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value)
{
	struct fg_ir_value *out = &ir->values[node->output];
	uint32_t uses = out->uses;

	*out = *value;
	out->uses = uses;
}

/*
 * Backwards, a node is reached after all its users: it is live when its output has a use. An
 * alias passes its own uses on, so that a value's count is that of its rows.
 */
static void count_uses(struct fg_ir *ir)
{
	const struct fg_graph *graph = ir->graph;

	ir->values[graph->output].uses = 1;
	for (uint32_t i = graph->node_count; i-- > 0;) {
		const struct fg_node *node = &graph->nodes[i];
		uint32_t uses = ir->values[node->output].uses;

		for (uint32_t j = 0; uses && j < node->input_count; j++)
			if (node->inputs[j] != FG_GRAPH_NO_VALUE)
				ir->values[node->inputs[j]].uses +=
					node->op->alias && j == 0 ? uses : 1;
	}
}

static int set_input(struct fg_ir *ir, struct fg_error *error)
{
	const struct fg_graph_shape *shape = &ir->graph->input_shape;
	struct fg_ir_value *input = &ir->values[ir->graph->input];
	uint64_t cols = 1;
	char name[64];

	fg_text_print(ir->graph->values[ir->graph->input].name, name, sizeof(name));
	if (shape->rank < 2)
		return fg_error_set(error, -EINVAL,
				    "input '%s' has %u dimension(s): needs (batch, columns, ...)",
				    name, shape->rank);
	input->rank = shape->rank;
	for (uint32_t i = 0; i < shape->rank; i++) {
		input->dims[i] = shape->dims[i];
		if (i && shape->dims[i] == FG_GRAPH_UNKNOWN)
			return fg_error_set(error, -EINVAL,
					    "input '%s': dimension %u is open, only the batch "
					    "(dimension 0) may be",
					    name, i);
		if (i && (__builtin_mul_overflow(cols, (uint64_t)shape->dims[i], &cols) ||
			  cols > FG_PLAN_MAX_COLS))
			return fg_error_set(error, -EINVAL, "input '%s' has more than %u columns",
					    name, FG_PLAN_MAX_COLS);
	}
	input->cols = (uint32_t)cols;
	input->source = FG_IR_INPUT;
	return 0;
}

static int check_output(struct fg_ir *ir, struct fg_error *error)
{
	const struct fg_graph_shape *shape = &ir->graph->output_shape;
	const struct fg_ir_value *output = &ir->values[ir->graph->output];
	char name[64];

	fg_text_print(ir->graph->values[ir->graph->output].name, name, sizeof(name));
	if (output->constant)
		return fg_error_set(error, -EINVAL,
				    "output '%s' does not depend on the model's input", name);
	if (shape->rank && shape->rank != output->rank)
		return fg_error_set(error, -EINVAL,
				    "output '%s' is declared with %u dimensions, the nodes give %u",
				    name, shape->rank, output->rank);
	for (uint32_t i = 1; i < shape->rank; i++)
		if (shape->dims[i] != FG_GRAPH_UNKNOWN && shape->dims[i] != output->dims[i])
			return fg_error_set(error, -EINVAL,
					    "output '%s' is declared with dimension %u = %lld, "
					    "the nodes give %lld",
					    name, i, (long long)shape->dims[i],
					    (long long)output->dims[i]);
	return 0;
}

int fg_ir_lower(struct fg_ir *ir, const struct fg_graph *graph, struct fg_arena *arena,
		struct fg_error *error)
{
	int result;

	*ir = (struct fg_ir){.graph = graph, .arena = arena};
	ir->values = fg_arena_alloc(arena, graph->value_count, sizeof(*ir->values));
	ir->steps = fg_arena_alloc(arena, (size_t)graph->node_count + 1, sizeof(*ir->steps));
	if (!ir->values || !ir->steps)
		return fg_error_set(error, -ENOMEM, "out of memory for %u nodes",
				    graph->node_count);
	for (uint32_t i = 0; i < graph->value_count; i++) {
		ir->values[i].constant = graph->values[i].constant;
		ir->values[i].source = FG_IR_NONE;
		ir->values[i].root = i;
	}
	count_uses(ir);
	result = set_input(ir, error);
	for (uint32_t i = 0; i < graph->node_count && !result; i++)
		if (ir->values[graph->nodes[i].output].uses)
			result = graph->nodes[i].op->lower(ir, &graph->nodes[i], error);
	if (!result)
		result = check_output(ir, error);
	/* All live steps lead to the output, so the last one makes it. When there is none, the
	 * output is the input: a copy. */
	if (!result && ir->step_count == 0)
		fg_ir_add_step(ir, FG_STEP_ACTIVATION, &ir->values[graph->output],
			       ir->values[graph->output].cols, NULL);
	return result;
}
