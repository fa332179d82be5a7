#include <errno.h>
#include <string.h>
#include "models/ir_build.h"
#include "models/ops.h"

int fg_ir_alloc(struct fg_ir *ir, const struct fg_node *node, size_t count, size_t size,
		void **bytes, struct fg_error *error)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total) ||
	    total > FG_IR_MAX_CONSTANT_BYTES - ir->constant_bytes)
		return fg_node_error(node, error,
				     "its constants would take more than %llu bytes with those "
				     "before it",
				     (unsigned long long)FG_IR_MAX_CONSTANT_BYTES);
	ir->constant_bytes += total;
	*bytes = fg_arena_alloc(ir->arena, count, size);
	if (*bytes)
		return 0;
	fg_node_error(node, error, "out of memory");
	return -ENOMEM;
}

/* Doubles an array of the arena when it is full; what it held before stays there unused. */
static int grow(struct fg_ir *ir, void **array, uint32_t count, uint32_t *capacity, size_t size)
{
	uint32_t wanted = *capacity ? *capacity * 2 : 64;
	void *larger;

	if (count < *capacity)
		return 0;
	larger = fg_arena_alloc(ir->arena, wanted, size);
	if (!larger)
		return -ENOMEM;
	if (count)
		memcpy(larger, *array, count * size);
	*array = larger;
	*capacity = wanted;
	return 0;
}

int fg_ir_new_step(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		   struct fg_ir_step **step, struct fg_error *error)
{
	const struct fg_ir_span none = {FG_IR_NONE, 0};
	void *steps = ir->steps;

	if (ir->step_count == FG_IR_MAX_STEPS)
		return fg_error_set(error, -EINVAL, "the model takes more than %u steps",
				    FG_IR_MAX_STEPS);
	if (grow(ir, &steps, ir->step_count, &ir->step_capacity, sizeof(*ir->steps)))
		return fg_error_set(error, -ENOMEM, "out of memory for the steps");
	ir->steps = steps;
	*step = &ir->steps[ir->step_count++];
	**step = (struct fg_ir_step){.kind = kind,
				     .in = none,
				     .other = none,
				     .third = none,
				     .out = none,
				     .groups = 1,
				     .node = node};
	return 0;
}

static int add_rows(struct fg_ir *ir, uint32_t cols, uint32_t *rows, struct fg_error *error)
{
	void *array = ir->rows;

	if (grow(ir, &array, ir->rows_count, &ir->rows_capacity, sizeof(*ir->rows)))
		return fg_error_set(error, -ENOMEM, "out of memory for the rows");
	ir->rows = array;
	*rows = ir->rows_count++;
	ir->rows[*rows].cols = cols;
	return 0;
}

int fg_ir_new_rows(struct fg_ir *ir, const struct fg_node *node, enum fg_ir_form form,
		   uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		   struct fg_error *error)
{
	struct fg_ir_value value = {.rank = rank, .form = form};
	const uint32_t width = fg_ir_width(form);
	uint64_t cols = 1;
	int result;

	memcpy(value.dims, dims, rank * sizeof(*dims));
	value.dims[0] = FG_GRAPH_UNKNOWN;
	for (uint32_t i = 1; i < rank; i++)
		if (dims[i] < 1 || __builtin_mul_overflow(cols, (uint64_t)dims[i], &cols) ||
		    cols > FG_IR_MAX_COLS / width)
			return fg_node_error(node, error,
					     "gives no columns, or more than %u in a row",
					     FG_IR_MAX_COLS);
	value.cols = (uint32_t)cols;
	result = add_rows(ir, value.cols * width, &value.at.rows, error);
	if (!result)
		*out = value;
	return result;
}

const struct fg_ir_value *fg_ir_input(const struct fg_ir *ir, const struct fg_node *node,
				      uint32_t i)
{
	if (i >= node->input_count || node->inputs[i] == FG_GRAPH_NO_VALUE)
		return NULL;
	return &ir->values[node->inputs[i]];
}

void fg_ir_set_output(struct fg_ir *ir, const struct fg_node *node, uint32_t i,
		      const struct fg_ir_value *value)
{
	if (i < node->output_count && node->outputs[i] != FG_GRAPH_NO_VALUE)
		ir->values[node->outputs[i]] = *value;
}

bool fg_ir_wanted(const struct fg_ir *ir, const struct fg_node *node, uint32_t i)
{
	return i < node->output_count && node->outputs[i] != FG_GRAPH_NO_VALUE &&
	       ir->needed[node->outputs[i]];
}

static bool node_needed(const struct fg_ir *ir, const struct fg_node *node)
{
	for (uint32_t i = 0; i < node->output_count; i++)
		if (fg_ir_wanted(ir, node, i))
			return true;
	return false;
}

/* Backwards, a node is reached after all its users. */
static void mark_needed(struct fg_ir *ir)
{
	const struct fg_graph *graph = ir->graph;

	for (uint32_t i = 0; i < graph->output_count; i++)
		ir->needed[graph->outputs[i].value] = true;
	for (uint32_t i = graph->node_count; i-- > 0;) {
		const struct fg_node *node = &graph->nodes[i];

		if (!node_needed(ir, node))
			continue;
		for (uint32_t j = 0; j < node->input_count; j++)
			if (node->inputs[j] != FG_GRAPH_NO_VALUE)
				ir->needed[node->inputs[j]] = true;
	}
}

/* ---- inputs and outputs ---- */

static int set_batch(struct fg_ir *ir, const char *name, int64_t batch, struct fg_error *error)
{
	if (batch == FG_GRAPH_UNKNOWN || batch == ir->batch)
		return 0;
	if (ir->batch != FG_GRAPH_UNKNOWN)
		return fg_error_set(error, -EINVAL,
				    "input '%s' has a batch of %lld rows, an input before it one "
				    "of %lld",
				    name, (long long)batch, (long long)ir->batch);
	ir->batch = batch;
	return 0;
}

static int set_input(struct fg_ir *ir, const struct fg_graph_port *port, struct fg_error *error)
{
	const struct fg_graph_shape *shape = &port->shape;
	struct fg_ir_value *input = &ir->values[port->value];
	uint64_t cols = 1;
	char name[64];

	fg_text_print(ir->graph->values[port->value].name, name, sizeof(name));
	if (!shape->rank || (shape->rank == 1 && shape->dims[0] > 1))
		return fg_error_set(error, -EINVAL,
				    "input '%s' has %u dimension(s): needs (batch, columns, ...), "
				    "export it with a batch",
				    name, shape->rank);
	input->rank = shape->rank;
	input->whole = port->element == FG_ELEMENT_I64;
	input->integer = port->integer;
	input->is_double = port->element == FG_ELEMENT_F64;
	input->dims[0] = FG_GRAPH_UNKNOWN;
	for (uint32_t i = 1; i < shape->rank; i++) {
		input->dims[i] = shape->dims[i];
		if (shape->dims[i] == FG_GRAPH_UNKNOWN)
			return fg_error_set(error, -EINVAL,
					    "input '%s': dimension %u is open, only the batch "
					    "(dimension 0) may be",
					    name, i);
		if (__builtin_mul_overflow(cols, (uint64_t)shape->dims[i], &cols) ||
		    cols > FG_IR_MAX_COLS)
			return fg_error_set(error, -EINVAL, "input '%s' has more than %u columns",
					    name, FG_IR_MAX_COLS);
	}
	input->cols = (uint32_t)cols;
	input->at = (struct fg_ir_span){FG_IR_INPUT, ir->rows[FG_IR_INPUT].cols};
	ir->rows[FG_IR_INPUT].cols += input->cols;
	if (ir->rows[FG_IR_INPUT].cols > FG_IR_MAX_COLS)
		return fg_error_set(error, -EINVAL, "the inputs have more than %u columns together",
				    FG_IR_MAX_COLS);
	return set_batch(ir, name, shape->dims[0], error);
}

/* What the file declares of an output's shape is not looked at: exporters get it wrong (skl2onnx,
 * for classifiers of two classes), and the nodes decide anyway. */
static int set_output(struct fg_ir *ir, const struct fg_graph_port *port, struct fg_error *error)
{
	const struct fg_ir_value *value = &ir->values[port->value];
	struct fg_ir_rows *output = &ir->rows[FG_IR_OUTPUT];
	struct fg_ir_span to = {FG_IR_OUTPUT, output->cols};
	char name[64];

	fg_text_print(ir->graph->values[port->value].name, name, sizeof(name));
	if (value->constant)
		return fg_error_set(error, -EINVAL,
				    "output '%s' does not depend on the model's inputs", name);
	if (value->merged)
		return fg_error_set(error, -EINVAL,
				    "output '%s': rows of a batch would be mixed with another "
				    "dimension",
				    name);
	output->cols += value->cols;
	if (output->cols > FG_IR_MAX_COLS)
		return fg_error_set(error, -EINVAL,
				    "the outputs have more than %u columns together",
				    FG_IR_MAX_COLS);
	return fg_ir_copy(ir, NULL, value, FG_IR_F32, to, error);
}

/* Inputs are known by now. */
static int check_merged(const struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	for (uint32_t i = 0; i < node->input_count && !fg_op_takes_merged(node->op); i++) {
		const struct fg_ir_value *value = fg_ir_input(ir, node, i);

		if (value && value->merged)
			return fg_node_error(node, error,
					     "its rows are those of the batch and of other "
					     "dimensions together: rows of a batch would be mixed");
	}
	return 0;
}

static int lower_nodes(struct fg_ir *ir, struct fg_error *error)
{
	const struct fg_graph *graph = ir->graph;
	int result = 0;

	for (uint32_t i = 0; i < graph->node_count && !result; i++) {
		const struct fg_node *node = &graph->nodes[i];

		if (!node_needed(ir, node))
			continue;
		result = check_merged(ir, node, error);
		if (!result)
			result = node->op->lower(ir, node, error);
	}
	return result;
}

int fg_ir_lower(struct fg_ir *ir, const struct fg_graph *graph, struct fg_arena *arena,
		struct fg_error *error)
{
	uint32_t rows;
	int result;

	*ir = (struct fg_ir){.graph = graph, .arena = arena, .batch = FG_GRAPH_UNKNOWN};
	ir->values = fg_arena_alloc(arena, graph->value_count, sizeof(*ir->values));
	ir->needed = fg_arena_alloc(arena, graph->value_count, sizeof(*ir->needed));
	if (!ir->values || !ir->needed)
		return fg_error_set(error, -ENOMEM, "out of memory for %u values",
				    graph->value_count);
	for (uint32_t i = 0; i < graph->value_count; i++) {
		const struct fg_tensor *constant = graph->values[i].constant;

		if (!constant)
			continue;
		ir->values[i].constant = constant;
		ir->values[i].rank = constant->rank;
		ir->values[i].integer = constant->integer;
		memcpy(ir->values[i].dims, constant->dims, sizeof(constant->dims));
	}
	mark_needed(ir);
	result = add_rows(ir, 0, &rows, error); /* FG_IR_INPUT */
	if (!result)
		result = add_rows(ir, 0, &rows, error); /* FG_IR_OUTPUT */
	for (uint32_t i = 0; i < graph->input_count && !result; i++)
		result = set_input(ir, &graph->inputs[i], error);
	if (!result)
		result = lower_nodes(ir, error);
	for (uint32_t i = 0; i < graph->output_count && !result; i++)
		result = set_output(ir, &graph->outputs[i], error);
	return result;
}
