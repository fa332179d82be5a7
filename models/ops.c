#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/ops.h"
#include "models/plan_format.h"

static int no_memory(const struct fg_node *node, struct fg_error *error)
{
	fg_node_error(node, error, "out of memory");
	return -ENOMEM;
}

/* Input `i` as f32 rows; refuses constants. */
static int need_rows(const struct fg_ir *ir, const struct fg_node *node, uint32_t i,
		     const struct fg_ir_value **value, struct fg_error *error)
{
	*value = fg_ir_input(ir, node, i);
	if (!*value)
		return fg_node_error(node, error, "input %u is left out", i);
	if ((*value)->constant)
		return fg_node_error(node, error,
				     "input %u is a constant: constants are not computed with", i);
	return 0;
}

/* Input `i` as an f32 constant; refuses rows. */
static int need_weights(const struct fg_ir *ir, const struct fg_node *node, uint32_t i,
			const struct fg_tensor **tensor, struct fg_error *error)
{
	const struct fg_ir_value *value = fg_ir_input(ir, node, i);

	if (!value)
		return fg_node_error(node, error, "input %u is left out", i);
	if (!value->constant)
		return fg_node_error(node, error, "input %u is computed, it must be a constant", i);
	if (value->constant->element != FG_ELEMENT_F32)
		return fg_node_error(node, error, "input %u is int64, it must be float32", i);
	*tensor = value->constant;
	return 0;
}

static int need_rank2(const struct fg_node *node, const struct fg_ir_value *rows,
		      struct fg_error *error)
{
	if (rows->rank != 2)
		return fg_node_error(node, error,
				     "input 0 has %u dimensions, only (batch, columns) is "
				     "supported: put a Flatten before it",
				     rows->rank);
	return 0;
}

/* True when the tensor has the shape of one row of `like`, so that it broadcasts over the batch. */
static bool is_row(const struct fg_tensor *tensor, const struct fg_ir_value *like)
{
	uint32_t missing = like->rank - tensor->rank; /* to the left; they count as 1 */

	if (tensor->rank > like->rank)
		return false;
	for (uint32_t i = 0; i < like->rank; i++) {
		int64_t have = i < missing ? 1 : tensor->dims[i - missing];

		if (have != (i == 0 ? 1 : like->dims[i]))
			return false;
	}
	return true;
}

/* row (like->cols) = scale * tensor, which is one row of `like` or a single number. */
static int broadcast_row(struct fg_ir *ir, const struct fg_node *node,
			 const struct fg_tensor *tensor, const struct fg_ir_value *like,
			 float scale, float **row, struct fg_error *error)
{
	bool single = tensor->count == 1 && tensor->rank <= like->rank;

	if (!single && !is_row(tensor, like))
		return fg_node_error(node, error,
				     "a constant of %zu numbers (rank %u) does not broadcast over "
				     "rows of %u columns",
				     tensor->count, tensor->rank, like->cols);
	*row = fg_arena_alloc(ir->arena, like->cols, sizeof(**row));
	if (!*row)
		return no_memory(node, error);
	for (uint32_t i = 0; i < like->cols; i++)
		(*row)[i] = scale * fg_tensor_f32(tensor, single ? 0 : i);
	return 0;
}

/*
 * A DENSE step with weights alpha * tensor, or its transpose, and a zero bias. The tensor is
 * (in, out), or (out, in) when transposed.
 */
static int add_dense(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *rows,
		     const struct fg_tensor *tensor, bool transposed, float alpha,
		     struct fg_ir_step **step, struct fg_error *error)
{
	size_t in, out;
	float *weights;

	if (tensor->rank != 2)
		return fg_node_error(node, error, "the weights have %u dimension(s), must have 2",
				     tensor->rank);
	in = tensor->dims[transposed];
	out = tensor->dims[!transposed];
	if (in != rows->cols)
		return fg_node_error(node, error, "weights for %zu columns, input 0 has %u", in,
				     rows->cols);
	if (out > FG_PLAN_MAX_COLS)
		return fg_node_error(node, error, "%zu output columns, at most %u are possible",
				     out, FG_PLAN_MAX_COLS);
	*step = fg_ir_add_step(ir, FG_STEP_DENSE, rows, (uint32_t)out, node);
	weights = fg_arena_alloc(ir->arena, tensor->count, sizeof(*weights));
	(*step)->weights = weights;
	(*step)->bias = fg_arena_alloc(ir->arena, out, sizeof(float));
	if (!weights || !(*step)->bias)
		return no_memory(node, error);
	for (size_t i = 0; i < in; i++)
		for (size_t o = 0; o < out; o++)
			weights[i * out + o] =
				alpha *
				fg_tensor_f32(tensor, transposed ? o * in + i : i * out + o);
	return 0;
}

static int lower_matmul(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	const struct fg_ir_value *rows;
	const struct fg_tensor *tensor;
	struct fg_ir_step *step;
	int result = need_rows(ir, node, 0, &rows, error);

	if (!result)
		result = need_rank2(node, rows, error);
	if (!result)
		result = need_weights(ir, node, 1, &tensor, error);
	if (!result)
		result = add_dense(ir, node, rows, tensor, false, 1.0f, &step, error);
	if (!result)
		fg_ir_set_step(ir, node, step, rows);
	return result;
}

/* Y = alpha * A * B + beta * C, with A the rows, B transposed when transB is set. */
static int lower_gemm(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	const struct fg_ir_value *rows;
	const struct fg_tensor *b, *c;
	struct fg_ir_step *step;
	float alpha = 1.0f, beta = 1.0f;
	int64_t trans_a = 0, trans_b = 0;
	int result = fg_node_float(node, "alpha", &alpha, error);

	if (!result)
		result = fg_node_float(node, "beta", &beta, error);
	if (!result)
		result = fg_node_int(node, "transA", &trans_a, error);
	if (!result)
		result = fg_node_int(node, "transB", &trans_b, error);
	if (!result && trans_a)
		return fg_node_error(node, error, "transA = 1 would mix the rows of a batch");
	if (!result)
		result = need_rows(ir, node, 0, &rows, error);
	if (!result)
		result = need_rank2(node, rows, error);
	if (!result)
		result = need_weights(ir, node, 1, &b, error);
	if (!result)
		result = add_dense(ir, node, rows, b, trans_b != 0, alpha, &step, error);
	if (result)
		return result;
	fg_ir_set_step(ir, node, step, rows);
	if (fg_ir_input(ir, node, 2))
		result = need_weights(ir, node, 2, &c, error);
	if (!result && fg_ir_input(ir, node, 2))
		result = broadcast_row(ir, node, c, &ir->values[node->output], beta, &step->bias,
				       error);
	return result;
}

static int add_constant(struct fg_ir *ir, const struct fg_node *node,
			const struct fg_ir_value *rows, const struct fg_tensor *tensor,
			struct fg_error *error)
{
	struct fg_ir_step *step = fg_ir_own_step(ir, rows);
	float *row = NULL;
	int result;

	if (tensor->element != FG_ELEMENT_F32)
		return fg_node_error(node, error, "a constant input is int64, must be float32");
	result = broadcast_row(ir, node, tensor, rows, 1.0f, &row, error);
	if (result)
		return result;
	if (step && step->kind == FG_STEP_DENSE && step->activation == FG_ACTIVATION_NONE) {
		for (uint32_t i = 0; i < rows->cols; i++)
			step->bias[i] += row[i];
	} else {
		step = fg_ir_add_step(ir, FG_STEP_ADD, rows, rows->cols, node);
		step->bias = row;
	}
	fg_ir_set_step(ir, node, step, rows);
	return 0;
}

static int lower_add(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	const struct fg_ir_value *a = fg_ir_input(ir, node, 0), *b = fg_ir_input(ir, node, 1);
	struct fg_ir_step *step;

	if (!a || !b)
		return fg_node_error(node, error, "an input is left out");
	if (a->constant && b->constant)
		return fg_node_error(node, error, "adds two constants: fold them before export");
	if (a->constant || b->constant)
		return add_constant(ir, node, a->constant ? b : a,
				    a->constant ? a->constant : b->constant, error);
	if (a->rank != b->rank ||
	    memcmp(a->dims + 1, b->dims + 1, (a->rank - 1) * sizeof(*a->dims)))
		return fg_node_error(node, error,
				     "adds rows of %u and of %u columns: shapes must be equal",
				     a->cols, b->cols);
	step = fg_ir_add_step(ir, FG_STEP_ADD, a, a->cols, node);
	step->other = b->source;
	fg_ir_set_step(ir, node, step, a);
	return 0;
}

static int lower_activation(struct fg_ir *ir, const struct fg_node *node,
			    enum fg_activation activation, float alpha, struct fg_error *error)
{
	const struct fg_ir_value *rows;
	struct fg_ir_step *step;
	int result = need_rows(ir, node, 0, &rows, error);

	if (result)
		return result;
	step = fg_ir_own_step(ir, rows);
	if (!step || step->activation != FG_ACTIVATION_NONE || step->kind == FG_STEP_SOFTMAX)
		step = fg_ir_add_step(ir, FG_STEP_ACTIVATION, rows, rows->cols, node);
	step->activation = activation;
	step->alpha = alpha;
	fg_ir_set_step(ir, node, step, rows);
	return 0;
}

static int lower_relu(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	return lower_activation(ir, node, FG_ACTIVATION_RELU, 0.0f, error);
}

static int lower_leaky_relu(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	float alpha = 0.01f;
	int result = fg_node_float(node, "alpha", &alpha, error);

	if (!result && !isfinite(alpha))
		return fg_node_error(node, error, "alpha is not finite");
	return result ? result : lower_activation(ir, node, FG_ACTIVATION_LEAKY_RELU, alpha, error);
}

static int lower_sigmoid(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	return lower_activation(ir, node, FG_ACTIVATION_SIGMOID, 0.0f, error);
}

static int lower_tanh(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	return lower_activation(ir, node, FG_ACTIVATION_TANH, 0.0f, error);
}

static int lower_softmax(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	/* Before opset 13 the default was 1, with all later dimensions taken together. */
	int64_t axis = ir->graph->opset < 13 ? 1 : -1;
	const struct fg_ir_value *rows;
	int result = need_rows(ir, node, 0, &rows, error);

	if (!result)
		result = need_rank2(node, rows, error);
	if (!result)
		result = fg_node_int(node, "axis", &axis, error);
	if (result)
		return result;
	if (axis != 1 && axis != -1)
		return fg_node_error(node, error, "axis is %lld, only the last (1 or -1) is done",
				     (long long)axis);
	fg_ir_set_step(ir, node, fg_ir_add_step(ir, FG_STEP_SOFTMAX, rows, rows->cols, node), rows);
	return 0;
}

static int lower_identity(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	const struct fg_ir_value *value = fg_ir_input(ir, node, 0);

	if (!value)
		return fg_node_error(node, error, "input 0 is left out");
	fg_ir_set_alias(ir, node, value);
	return 0;
}

static int lower_flatten(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	const struct fg_ir_value *rows;
	struct fg_ir_value *out = &ir->values[node->output];
	int64_t axis = 1;
	int result = need_rows(ir, node, 0, &rows, error);

	if (!result)
		result = fg_node_int(node, "axis", &axis, error);
	if (result)
		return result;
	if (axis != 1 && axis != 1 - (int64_t)rows->rank)
		return fg_node_error(node, error, "axis is %lld, only 1 keeps the batch apart",
				     (long long)axis);
	fg_ir_set_alias(ir, node, rows);
	out->rank = 2;
	out->dims[1] = rows->cols;
	return 0;
}

/* True when the first number of a Reshape's target keeps the batch dimension as it is. */
static bool keeps_batch(int64_t target, int64_t allow_zero, int64_t batch)
{
	if (target == 0)
		return !allow_zero;
	return target == -1 || (target == batch && batch != FG_GRAPH_UNKNOWN);
}

/*
 * Tolerated where it only regroups the columns of a row: (batch, a, b, ..) with a * b * .. equal
 * to the columns there are. One number may be -1; when it is not the first, it is what is left.
 */
static int reshape_dims(const struct fg_node *node, const struct fg_tensor *shape,
			const struct fg_ir_value *rows, int64_t allow_zero, struct fg_ir_value *out,
			struct fg_error *error)
{
	int64_t first = fg_tensor_i64(shape, 0);
	uint64_t cols = 1;
	uint32_t open = 0;

	if (!keeps_batch(first, allow_zero, rows->dims[0]))
		return fg_node_error(node, error,
				     "the new shape's first number is %lld: it must keep the batch "
				     "(0, -1, or its fixed size)",
				     (long long)first);
	for (uint32_t i = 1; i < shape->count; i++) {
		int64_t dim = fg_tensor_i64(shape, i);

		if (dim == 0 && !allow_zero && i < rows->rank)
			dim = rows->dims[i];
		if (dim == -1 && first != -1 && !open)
			open = i;
		else if (dim < 1 || __builtin_mul_overflow(cols, (uint64_t)dim, &cols))
			cols = 0;
		out->dims[i] = dim;
	}
	if (open && cols && rows->cols % cols == 0) {
		out->dims[open] = (int64_t)(rows->cols / cols);
		cols = rows->cols;
	}
	if (cols != rows->cols)
		return fg_node_error(node, error,
				     "changes rows of %u columns into another number of columns",
				     rows->cols);
	return 0;
}

static int lower_reshape(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	const struct fg_ir_value *shape = fg_ir_input(ir, node, 1), *rows;
	struct fg_ir_value out;
	int64_t allow_zero = 0;
	int result = need_rows(ir, node, 0, &rows, error);

	if (!result)
		result = fg_node_int(node, "allowzero", &allow_zero, error);
	if (result)
		return result;
	if (!shape || !shape->constant || shape->constant->element != FG_ELEMENT_I64 ||
	    shape->constant->rank != 1 || shape->constant->count < 2 ||
	    shape->constant->count > FG_GRAPH_MAX_RANK)
		return fg_node_error(node, error,
				     "input 1 must be a constant int64 list of 2 to %u numbers",
				     FG_GRAPH_MAX_RANK);
	out = *rows;
	result = reshape_dims(node, shape->constant, rows, allow_zero, &out, error);
	if (result)
		return result;
	out.rank = (uint32_t)shape->constant->count;
	fg_ir_set_alias(ir, node, &out);
	return 0;
}

static int lower_constant(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	static const char *const names[] = {"value", "value_float", "value_floats", "value_int",
					    "value_ints"};
	const struct fg_attribute *attribute = NULL;
	struct fg_tensor *scalar;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !attribute; i++)
		attribute = fg_node_attribute(node, names[i]);
	if (!attribute || attribute->kind == FG_ATTRIBUTE_OTHER)
		return fg_node_error(node, error, "has no number or tensor as its value");
	if (attribute->kind == FG_ATTRIBUTE_TENSOR) {
		ir->values[node->output].constant = attribute->tensor;
		return 0;
	}
	scalar = fg_arena_alloc(ir->arena, 1, sizeof(*scalar));
	if (!scalar)
		return no_memory(node, error);
	scalar->count = 1;
	scalar->element = attribute->kind == FG_ATTRIBUTE_FLOAT ? FG_ELEMENT_F32 : FG_ELEMENT_I64;
	scalar->data = attribute->kind == FG_ATTRIBUTE_FLOAT ? (const void *)&attribute->number
							     : &attribute->integer;
	ir->values[node->output].constant = scalar;
	return 0;
}

static const struct fg_op ops[] = {
	/* name, inputs: least and most, alias, lower */
	{"Add", 2, 2, false, lower_add},	  {"Constant", 0, 0, false, lower_constant},
	{"Flatten", 1, 1, true, lower_flatten},	  {"Gemm", 2, 3, false, lower_gemm},
	{"Identity", 1, 1, true, lower_identity}, {"LeakyRelu", 1, 1, false, lower_leaky_relu},
	{"MatMul", 2, 2, false, lower_matmul},	  {"Relu", 1, 1, false, lower_relu},
	{"Reshape", 2, 2, true, lower_reshape},	  {"Sigmoid", 1, 1, false, lower_sigmoid},
	{"Softmax", 1, 1, false, lower_softmax},  {"Tanh", 1, 1, false, lower_tanh},
};

const struct fg_op *fg_op_find(struct fg_text name)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (fg_text_is(name, ops[i].name))
			return &ops[i];
	return NULL;
}
