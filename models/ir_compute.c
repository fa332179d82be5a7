/* The values that steps compute: at once, with the C reference kernels, where all is constant. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include "models/ir_build.h"

int fg_ir_need_numbers(const struct fg_node *node, const struct fg_ir_value *value,
		       struct fg_error *error)
{
	if (fg_ir_is_text(value))
		return fg_node_error(node, error,
				     "works on text: only numbers can be computed with, end the "
				     "model before it");
	return 0;
}

struct fg_ir_value fg_ir_constant(struct fg_ir *ir, enum fg_element element, uint32_t rank,
				  const int64_t *dims, const void *data, int *result)
{
	struct fg_tensor *tensor = fg_arena_alloc(ir->arena, 1, sizeof(*tensor));
	struct fg_ir_value value = {.rank = rank};

	*result = tensor ? 0 : -ENOMEM;
	if (!tensor)
		return value;
	*tensor = (struct fg_tensor){.element = element, .rank = rank, .count = 1, .data = data};
	for (uint32_t i = 0; i < rank; i++) {
		tensor->dims[i] = value.dims[i] = dims[i];
		tensor->count *= (size_t)dims[i];
	}
	value.constant = tensor;
	return value;
}

struct fg_ir_value fg_ir_number(struct fg_ir *ir, float number, int *result)
{
	float *data = fg_arena_alloc(ir->arena, 1, sizeof(*data));
	struct fg_ir_value value = {.rank = 0};

	*result = -ENOMEM;
	if (!data)
		return value;
	*data = number;
	return fg_ir_constant(ir, FG_ELEMENT_F32, 0, NULL, data, result);
}

int fg_ir_new_constant(struct fg_ir *ir, const struct fg_node *node, enum fg_element element,
		       uint32_t rank, const int64_t *dims, struct fg_ir_value *out, void **data,
		       struct fg_error *error)
{
	size_t count = 1;
	int result;

	for (uint32_t i = 0; i < rank; i++)
		if (__builtin_mul_overflow(count, (size_t)dims[i], &count))
			count = SIZE_MAX;
	result = fg_ir_alloc(ir, node, count, fg_element_bytes(element), data, error);
	if (result)
		return result;
	*out = fg_ir_constant(ir, element, rank, dims, *data, &result);
	return result ? fg_error_set(error, result, "out of memory") : 0;
}

/* True when floats would hold nothing of the constant: see fg_ir_floats. *number is one of those.
 */
static bool is_lost(const struct fg_tensor *constant, double *number)
{
	double largest = 0;

	for (size_t i = 0; i < constant->count; i++) {
		const double size = fabs(fg_tensor_f64(constant, i));

		if (isfinite(size) && isinf((float)size)) {
			*number = fg_tensor_f64(constant, i);
			return true;
		}
		largest = size > largest ? size : largest;
	}
	*number = largest;
	return largest > 0 && largest < (double)FLT_TRUE_MIN / 2;
}

int fg_ir_floats(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
		 const float **floats, struct fg_error *error)
{
	const struct fg_tensor *tensor = value->constant;
	double number;
	void *copy;
	int result = fg_ir_need_numbers(node, value, error);

	if (result)
		return result;
	if (tensor->element == FG_ELEMENT_F32 && (uintptr_t)tensor->data % sizeof(float) == 0) {
		*floats = tensor->data;
		return 0;
	}
	result = fg_ir_alloc(ir, node, tensor->count, sizeof(float), &copy, error);
	if (result)
		return result;
	if (tensor->element == FG_ELEMENT_F64 && is_lost(tensor, &number))
		return fg_node_error(node, error,
				     "the float64 constant %g is beyond float32, with which it "
				     "computes: scale the model's numbers before the export",
				     number);
	for (size_t i = 0; i < tensor->count; i++) {
		if (tensor->element == FG_ELEMENT_I64 && fg_tensor_i64(tensor, i) == FG_IR_BATCH)
			return fg_node_error(node, error,
					     "computes with the size of the batch, or with -2^63");
		((float *)copy)[i] = tensor->element == FG_ELEMENT_I64
					     ? (float)fg_tensor_i64(tensor, i)
					     : (float)fg_tensor_number(tensor, i);
	}
	*floats = copy;
	return 0;
}

/* ---- a step, or its result ---- */

#define OPERANDS 3

static int compute_constant(struct fg_ir *ir, const struct fg_node *node,
			    const struct fg_ir_step *like,
			    const struct fg_ir_value operands[OPERANDS], uint32_t operand_count,
			    uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
			    struct fg_error *error)
{
	const float *in[OPERANDS] = {NULL, NULL, NULL};
	struct fg_kernel_args args = {.in_stride = like->in_cols,
				      .other_stride = like->out_cols,
				      .third_stride = like->out_cols,
				      .weights = like->weights,
				      .bias = like->bias,
				      .out_stride = like->out_cols,
				      .rows = like->groups,
				      .in_cols = like->in_cols,
				      .out_cols = like->out_cols,
				      .entries = like->entries,
				      .operation = like->operation,
				      .activation = like->activation,
				      .alpha = like->alpha,
				      .beta = like->beta};
	void *data;
	int result = 0;

	for (uint32_t i = 0; i < operand_count && !result; i++)
		result = fg_ir_floats(ir, node, &operands[i], &in[i], error);
	if (!result)
		result =
			fg_ir_new_constant(ir, node, FG_ELEMENT_F32, rank, dims, out, &data, error);
	if (result || !out->constant->count)
		return result;
	args.in = in[0];
	args.other = in[1];
	args.third = in[2];
	args.out = data;
	fg_kernels_c.run[like->kind](&args);
	return 0;
}

static int add_step(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_step *like,
		    struct fg_ir_value operands[OPERANDS], uint32_t operand_count, uint32_t rank,
		    const int64_t *dims, struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_span spans[OPERANDS] = {{FG_IR_NONE, 0}, {FG_IR_NONE, 0}, {FG_IR_NONE, 0}};
	const float *constant = NULL;
	struct fg_ir_value made;
	struct fg_ir_step *step;
	int result = 0;

	for (uint32_t i = 0; i < operand_count && !result; i++) {
		/* Only the second operand of a step may be a constant. */
		if (operands[i].constant && i == 1)
			result = fg_ir_floats(ir, node, &operands[i], &constant, error);
		else
			result = fg_ir_batched(ir, node, &operands[i], FG_IR_F32, operands[i].rank,
					       operands[i].dims, &operands[i], error);
		spans[i] = operands[i].constant ? spans[i] : operands[i].at;
	}
	if (!result)
		result = fg_ir_new_rows(ir, node, FG_IR_F32, rank, dims, &made, error);
	if (!result)
		result = fg_ir_new_step(ir, node, like->kind, &step, error);
	if (result)
		return result;
	*step = *like;
	step->node = node;
	step->in = spans[0];
	step->other = spans[1];
	step->third = spans[2];
	step->constant = constant;
	step->out = made.at;
	*out = made;
	return 0;
}

/*
 * `like` says kind, groups, columns, constants and activation; operands are in, other and third as
 * the kind takes them, spread to the columns that it wants. The result has these dims.
 */
static int compute(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_step *like,
		   const struct fg_ir_value *given, uint32_t operand_count, uint32_t rank,
		   const int64_t *dims, struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_value operands[OPERANDS];
	bool batched = false;

	for (uint32_t i = 0; i < operand_count; i++) {
		int result = fg_ir_need_numbers(node, &given[i], error);

		if (result)
			return result;
		operands[i] = given[i];
		batched |= !given[i].constant;
	}
	if (batched)
		return add_step(ir, node, like, operands, operand_count, rank, dims, out, error);
	return compute_constant(ir, node, like, operands, operand_count, rank, dims, out, error);
}

/* ---- elementwise ---- */

static struct fg_ir_step elementwise(enum fg_step_kind kind, size_t cols)
{
	return (struct fg_ir_step){.kind = kind,
				   .groups = 1,
				   .in_cols = (uint32_t)cols,
				   .out_cols = (uint32_t)cols};
}

int fg_ir_unary(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		enum fg_activation activation, float alpha, float beta, struct fg_ir_value *out,
		struct fg_error *error)
{
	struct fg_ir_step like = elementwise(FG_STEP_ACTIVATION, fg_ir_count(in));

	if (activation == FG_ACTIVATION_NONE) {
		*out = *in;
		return 0;
	}
	like.activation = activation;
	like.alpha = alpha;
	like.beta = beta;
	return compute(ir, node, &like, in, 1, in->rank, in->dims, out, error);
}

static bool is_i64(const struct fg_ir_value *value)
{
	return value->constant && value->constant->element == FG_ELEMENT_I64;
}

/* Shapes are computed with these. The size of the batch may only be multiplied or divided by 1, and
 * is unequal to what no size is. */
static int integer_op(const struct fg_node *node, enum fg_step_kind kind, int64_t a, int64_t b,
		      int64_t *out, struct fg_error *error)
{
	bool overflow = false;

	if (a == FG_IR_BATCH || b == FG_IR_BATCH) {
		*out = FG_IR_BATCH;
		if ((kind == FG_STEP_MUL && (a == 1 || b == 1)) || (kind == FG_STEP_DIV && b == 1))
			return 0;
		*out = a == b;
		if (kind == FG_STEP_EQUAL && (a == b || (a < 1 && b < 1)))
			return 0;
		return fg_node_error(node, error, "computes with the size of the batch");
	}
	switch (kind) {
	case FG_STEP_ADD:
		overflow = __builtin_add_overflow(a, b, out);
		break;
	case FG_STEP_SUB:
		overflow = __builtin_sub_overflow(a, b, out);
		break;
	case FG_STEP_MUL:
		overflow = __builtin_mul_overflow(a, b, out);
		break;
	case FG_STEP_DIV:
		overflow = b == 0 || (a == INT64_MIN && b == -1);
		*out = overflow ? 0 : a / b;
		break;
	case FG_STEP_MIN:
		*out = a < b ? a : b;
		break;
	case FG_STEP_MAX:
		*out = a > b ? a : b;
		break;
	case FG_STEP_LESS:
		*out = a < b;
		break;
	case FG_STEP_LESS_EQUAL:
		*out = a <= b;
		break;
	default: /* EQUAL */
		*out = a == b;
	}
	return overflow ? fg_node_error(node, error, "overflows int64, or divides by 0") : 0;
}

static int integers(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		    const struct fg_ir_value *a, const struct fg_ir_value *b,
		    struct fg_ir_value *out, struct fg_error *error)
{
	void *data;
	int result =
		fg_ir_new_constant(ir, node, FG_ELEMENT_I64, a->rank, a->dims, out, &data, error);

	for (size_t i = 0; !result && i < out->constant->count; i++)
		result = integer_op(node, kind, fg_tensor_i64(a->constant, i),
				    fg_tensor_i64(b->constant, i), (int64_t *)data + i, error);
	return result;
}

static bool commutes(enum fg_step_kind kind)
{
	return kind == FG_STEP_ADD || kind == FG_STEP_MUL || kind == FG_STEP_MIN ||
	       kind == FG_STEP_MAX || kind == FG_STEP_EQUAL;
}

/* `count` times the number, in the arena. */
static int repeat(struct fg_ir *ir, const struct fg_node *node, float number, size_t count,
		  const float **floats, struct fg_error *error)
{
	void *data;
	int result = fg_ir_alloc(ir, node, count, sizeof(float), &data, error);

	for (size_t i = 0; !result && i < count; i++)
		((float *)data)[i] = number;
	*floats = result ? NULL : data;
	return result;
}

/* constant - x as x * -1 + constant, which rounds alike. */
static int subtract_from(struct fg_ir *ir, const struct fg_node *node,
			 const struct fg_ir_value *constant, const struct fg_ir_value *in,
			 struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_step like = elementwise(FG_STEP_AFFINE, in->cols);
	const float *minus;
	int result = fg_ir_floats(ir, node, constant, &like.bias, error);

	if (!result)
		result = repeat(ir, node, -1.0f, in->cols, &minus, error);
	if (result)
		return result;
	like.weights = minus;
	like.whole = fg_ir_is_whole(constant) && fg_ir_is_whole(in);
	return compute(ir, node, &like, in, 1, in->rank, in->dims, out, error);
}

int fg_ir_binary(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		 const struct fg_ir_value *a, const struct fg_ir_value *b, struct fg_ir_value *out,
		 struct fg_error *error)
{
	bool integral = is_i64(a) && is_i64(b) && kind != FG_STEP_POW && kind != FG_STEP_PRELU;
	struct fg_ir_value operands[2], first;
	int64_t dims[FG_GRAPH_MAX_RANK];
	struct fg_ir_step like;
	uint32_t rank;
	int result = fg_ir_broadcast(node, a, b, &rank, dims, error);

	if (!result)
		result = fg_ir_spread(ir, node, a, rank, dims, &operands[0], error);
	if (!result)
		result = fg_ir_spread(ir, node, b, rank, dims, &operands[1], error);
	if (result)
		return result;
	if (integral)
		return integers(ir, node, kind, &operands[0], &operands[1], out, error);
	first = operands[0];
	if (first.constant && !operands[1].constant && commutes(kind)) {
		operands[0] = operands[1];
		operands[1] = first;
	} else if (first.constant && !operands[1].constant && kind == FG_STEP_SUB) {
		return subtract_from(ir, node, &first, &operands[1], out, error);
	}
	like = elementwise(kind, fg_ir_count(&operands[0]));
	like.whole = fg_ir_is_whole(a) && fg_ir_is_whole(b);
	return compute(ir, node, &like, operands, 2, rank, dims, out, error);
}

/* Element by element, of integers or of doubles. */
static int select_constants(struct fg_ir *ir, const struct fg_node *node,
			    const struct fg_ir_value operands[3], struct fg_ir_value *out,
			    struct fg_error *error)
{
	const float *truths;
	void *data;
	int result = fg_ir_new_constant(ir, node, operands[1].constant->element, operands[0].rank,
					operands[0].dims, out, &data, error);

	if (!result)
		result = fg_ir_floats(ir, node, &operands[0], &truths, error);
	for (size_t i = 0; !result && i < out->constant->count; i++)
		((int64_t *)data)[i] = fg_tensor_i64(operands[truths[i] != 0 ? 1 : 2].constant, i);
	return result;
}

/* The form of the wide one of a and b; both are of one type in the model file. */
static int select_wide(struct fg_ir *ir, const struct fg_node *node, struct fg_ir_value operands[3],
		       uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		       struct fg_error *error)
{
	enum fg_ir_form form = fg_ir_exact_form(&operands[1]);
	struct fg_ir_value made;
	struct fg_ir_step *step;
	int result = 0;

	if (form == FG_IR_F32)
		form = fg_ir_exact_form(&operands[2]);
	for (uint32_t i = 0; i < 3 && !result; i++)
		result = fg_ir_batched(ir, node, &operands[i], i ? form : FG_IR_F32, rank, dims,
				       &operands[i], error);
	if (!result)
		result = fg_ir_new_rows(ir, node, form, rank, dims, &made, error);
	if (!result)
		result = fg_ir_new_step(ir, node, FG_STEP_WIDE_SELECT, &step, error);
	if (result)
		return result;
	step->in = operands[0].at;
	step->other = operands[1].at;
	step->third = operands[2].at;
	step->out = made.at;
	step->in_cols = made.cols;
	step->out_cols = 2 * made.cols;
	*out = made;
	return 0;
}

int fg_ir_select(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *condition,
		 const struct fg_ir_value *a, const struct fg_ir_value *b, struct fg_ir_value *out,
		 struct fg_error *error)
{
	const struct fg_ir_value *given[3] = {condition, a, b};
	struct fg_ir_value operands[3], shape = *condition;
	int64_t dims[FG_GRAPH_MAX_RANK];
	struct fg_ir_step like;
	uint32_t rank;
	int result = 0;

	for (uint32_t i = 1; i < 3 && !result; i++) {
		result = fg_ir_broadcast(node, &shape, given[i], &rank, dims, error);
		if (!given[i]->constant)
			shape.constant = NULL;
		shape.rank = rank;
		memcpy(shape.dims, dims, sizeof(dims));
	}
	for (uint32_t i = 0; i < 3 && !result; i++)
		result = fg_ir_spread(ir, node, given[i], rank, dims, &operands[i], error);
	if (result)
		return result;
	if (condition->constant && a->constant && b->constant &&
	    a->constant->element == b->constant->element &&
	    (is_i64(a) || a->constant->element == FG_ELEMENT_F64))
		return select_constants(ir, node, operands, out, error);
	if (fg_ir_exact_form(a) != FG_IR_F32 || fg_ir_exact_form(b) != FG_IR_F32)
		return select_wide(ir, node, operands, rank, dims, out, error);
	like = elementwise(FG_STEP_SELECT, fg_ir_count(&operands[0]));
	return compute(ir, node, &like, operands, 3, rank, dims, out, error);
}

int fg_ir_lookup(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		 const float *keys, const float *values, uint32_t entries, const float *otherwise,
		 struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_step like = elementwise(FG_STEP_LOOKUP, fg_ir_count(in));

	like.weights = keys;
	like.bias = values;
	like.entries = entries;
	like.alpha = otherwise ? *otherwise : 0;
	like.beta = otherwise ? 0 : 1;
	return compute(ir, node, &like, in, 1, in->rank, in->dims, out, error);
}

/* ---- whole rows ---- */

int fg_ir_dense(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		const float *weights, uint32_t in_cols, uint32_t out_cols, const float *bias,
		struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_step like = {.kind = FG_STEP_DENSE,
				  .in_cols = in_cols,
				  .out_cols = out_cols,
				  .weights = weights,
				  .bias = bias};
	int64_t dims[FG_GRAPH_MAX_RANK];
	int result = 0;

	if (in->constant || in->rank < 2)
		return fg_node_error(node, error, "input 0 must be rows of columns");
	if (in->dims[in->rank - 1] != in_cols)
		return fg_node_error(node, error,
				     "weights for %u columns, input 0 has %lld in its last "
				     "dimension",
				     in_cols, (long long)in->dims[in->rank - 1]);
	if (!bias)
		result = repeat(ir, node, 0.0f, out_cols, &like.bias, error);
	if (result)
		return result;
	memcpy(dims, in->dims, sizeof(dims));
	dims[in->rank - 1] = out_cols;
	like.groups = in->cols / in_cols;
	return compute(ir, node, &like, in, 1, in->rank, dims, out, error);
}

int fg_ir_over_last(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		    const struct fg_ir_value *in, uint32_t axes, float alpha, const float *scale,
		    const float *shift, struct fg_ir_value *out, struct fg_error *error)
{
	bool reduces = kind >= FG_STEP_REDUCE_SUM && kind <= FG_STEP_ARG_MIN;
	struct fg_ir_step like = {.kind = kind, .alpha = alpha, .weights = scale, .bias = shift};
	int64_t dims[FG_GRAPH_MAX_RANK];
	size_t cols = 1, count = fg_ir_count(in);
	int result = 0;

	if (axes < 1 || axes > in->rank - (in->constant ? 0 : 1))
		return fg_node_error(node, error, "works over the batch, or on no dimension");
	if (!count)
		return fg_node_error(node, error, "works on nothing: a dimension is 0");
	memcpy(dims, in->dims, sizeof(dims));
	for (uint32_t i = in->rank - axes; i < in->rank; i++) {
		cols *= (size_t)dims[i];
		dims[i] = reduces ? 1 : dims[i];
	}
	like.groups = (uint32_t)(count / cols);
	like.in_cols = (uint32_t)cols;
	like.out_cols = reduces ? 1 : (uint32_t)cols;
	if (kind == FG_STEP_NORMALIZE && !scale)
		result = repeat(ir, node, 1.0f, cols, (const float **)&like.weights, error);
	if (!result && kind == FG_STEP_NORMALIZE && !shift)
		result = repeat(ir, node, 0.0f, cols, &like.bias, error);
	return result ? result : compute(ir, node, &like, in, 1, in->rank, dims, out, error);
}

int fg_ir_embed(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *indices,
		const float *table, uint32_t entries, uint32_t cols, bool from_end,
		struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_step like = {.kind = FG_STEP_EMBED,
				  .alpha = from_end ? -1 : 0,
				  .in_cols = 1,
				  .out_cols = cols,
				  .weights = table,
				  .entries = entries,
				  .groups = (uint32_t)fg_ir_count(indices)};
	int64_t dims[FG_GRAPH_MAX_RANK];

	if (indices->rank == FG_GRAPH_MAX_RANK)
		return fg_node_error(node, error, "gives more than %u dimensions",
				     FG_GRAPH_MAX_RANK);
	if (entries > 1u << 24)
		return fg_node_error(node, error,
				     "a table of %u rows: at most 2^24 can be told apart by a "
				     "float32 index",
				     entries);
	memcpy(dims, indices->dims, sizeof(dims));
	dims[indices->rank] = cols;
	return compute(ir, node, &like, indices, 1, indices->rank + 1, dims, out, error);
}
