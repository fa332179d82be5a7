/* Operators that make constants, and Cast. */
#include <math.h>
#include <string.h>
#include "models/onnx_type.h"
#include "models/ops.h"
#include "models/ops_lower.h"

/* ---- Constant, ConstantOfShape, Range ---- */

/* A number, or a list or tensor of numbers or texts, as an attribute gives it. */
static struct fg_ir_value attribute_value(struct fg_lower *at, const struct fg_attribute *attribute)
{
	struct fg_tensor number = {.element = FG_ELEMENT_F32, .count = 1};

	switch (attribute->kind) {
	case FG_ATTRIBUTE_TENSOR:
		return fg_lower_tensor(at, attribute->tensor);
	case FG_ATTRIBUTE_FLOAT:
		number.data = &attribute->number;
		return fg_lower_tensor(at, &number);
	case FG_ATTRIBUTE_INT:
		number.element = FG_ELEMENT_I64;
		number.data = &attribute->integer;
		return fg_lower_tensor(at, &number);
	case FG_ATTRIBUTE_TEXT:
		number.element = FG_ELEMENT_TEXT;
		number.data = &attribute->text;
		return fg_lower_tensor(at, &number);
	default:
		fg_lower_fail(at, "its value is neither a number nor a tensor");
		return (struct fg_ir_value){0};
	}
}

static int lower_constant(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	static const char *const names[] = {"value",	    "value_float", "value_floats",
					    "value_int",    "value_ints",  "value_string",
					    "value_strings"};
	struct fg_lower at = {ir, node, error, 0};
	const struct fg_attribute *attribute = NULL;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !attribute; i++)
		attribute = fg_node_attribute(node, names[i]);
	if (!attribute)
		return fg_node_error(node, error,
				     "has no dense value: sparse constants are not supported");
	return fg_lower_done(&at, attribute_value(&at, attribute));
}

static int lower_constant_of_shape(struct fg_ir *ir, const struct fg_node *node,
				   struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_lower_list shape = fg_lower_list(&at, 0, NULL);
	const struct fg_attribute *attribute = fg_node_attribute(node, "value");
	struct fg_ir_value value =
		attribute ? attribute_value(&at, attribute) : fg_lower_number(&at, 0);
	int64_t dims[FG_GRAPH_MAX_RANK] = {0};
	struct fg_tensor empty = {.rank = 1, .data = ""};

	if (shape.count > FG_GRAPH_MAX_RANK)
		fg_lower_fail(&at, "%u dimensions, at most %d are possible", shape.count,
			      FG_GRAPH_MAX_RANK);
	if (!at.result && (!value.constant || value.constant->count != 1))
		fg_lower_fail(&at, "its value must be one number");
	for (uint32_t i = 0; i < shape.count && !at.result; i++) {
		bool batch = shape.at[i] == FG_IR_BATCH;

		dims[i] = batch ? FG_GRAPH_UNKNOWN : shape.at[i];
		if ((batch && i) || (!batch && dims[i] < (shape.count > 1)))
			fg_lower_fail(&at, "cannot make a dimension %u of %lld", i,
				      batch ? 0 : (long long)dims[i]);
	}
	if (at.result)
		return at.result;
	if (shape.count == 1 && dims[0] == 0) {
		empty.element = value.constant->element;
		return fg_lower_done(&at, fg_lower_tensor(&at, &empty));
	}
	value = fg_lower_reshape(&at, value, 0, NULL);
	return fg_lower_done(&at, fg_lower_expand(&at, value, shape.count, dims));
}

/* How many of start, start + delta, ... lie before `limit`. */
static size_t range_count(struct fg_lower *at, double start, double limit, double delta)
{
	double count = ceil((limit - start) / delta);

	if (delta == 0 || isnan(count) || count > FG_IR_MAX_COLS)
		fg_lower_fail(at, "from %g to %g by %g: gives no range, or more than %u numbers",
			      start, limit, delta, FG_IR_MAX_COLS);
	return at->result || count < 0 ? 0 : (size_t)count;
}

static struct fg_ir_value integer_range(struct fg_lower *at, const struct fg_ir_value *bounds)
{
	int64_t start = fg_tensor_i64(bounds[0].constant, 0);
	int64_t limit = fg_tensor_i64(bounds[1].constant, 0);
	int64_t delta = fg_tensor_i64(bounds[2].constant, 0), *numbers;
	struct fg_tensor out = {.element = FG_ELEMENT_I64, .rank = 1};

	if (start == FG_IR_BATCH || limit == FG_IR_BATCH || delta == FG_IR_BATCH)
		fg_lower_fail(at, "counts the rows of the batch: rows would be mixed");
	out.count = range_count(at, (double)start, (double)limit, (double)delta);
	out.dims[0] = (int64_t)out.count;
	out.data = numbers = fg_lower_alloc(at, out.count, sizeof(*numbers));
	for (size_t i = 0; numbers && i < out.count; i++)
		numbers[i] = start + (int64_t)i * delta;
	return fg_lower_tensor(at, &out);
}

static struct fg_ir_value float_range(struct fg_lower *at, const struct fg_ir_value *bounds)
{
	double start = fg_tensor_number(bounds[0].constant, 0);
	double limit = fg_tensor_number(bounds[1].constant, 0);
	double delta = fg_tensor_number(bounds[2].constant, 0);
	float *numbers;
	struct fg_tensor out = {.element = FG_ELEMENT_F32, .rank = 1};

	out.count = range_count(at, start, limit, delta);
	out.dims[0] = (int64_t)out.count;
	out.data = numbers = fg_lower_alloc(at, out.count, sizeof(*numbers));
	for (size_t i = 0; numbers && i < out.count; i++)
		numbers[i] = (float)start + (float)i * (float)delta;
	return fg_lower_tensor(at, &out);
}

static int lower_range(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	static const char *const names[] = {"the start", "the limit", "the delta"};
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value bounds[3];
	uint32_t integers = 0;

	for (uint32_t i = 0; i < 3; i++) {
		bounds[i] = fg_lower_constant(&at, i, names[i]);
		if (!at.result && (bounds[i].constant->count != 1 ||
				   bounds[i].constant->element == FG_ELEMENT_TEXT))
			fg_lower_fail(&at, "%s must be one number", names[i]);
		integers += !at.result && fg_lower_is_i64(&bounds[i]);
	}
	if (integers % 3)
		fg_lower_fail(&at, "its numbers have different types");
	if (at.result)
		return at.result;
	return fg_lower_done(&at, integers ? integer_range(&at, bounds) : float_range(&at, bounds));
}

/* ---- Cast ---- */

#define STRING 8 /* TensorProto.DataType of onnx.proto */

/* float16 and bfloat16 are f32: nothing is rounded to them. */
static int lower_cast(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	int64_t to = fg_lower_int(&at, "to", 0);
	const struct fg_onnx_type *type = fg_onnx_type((uint64_t)to);
	struct fg_ir_value in = fg_lower_any(&at, 0);

	if (to == STRING) {
		if (!at.result && !in.labels &&
		    !(in.constant && in.constant->element == FG_ELEMENT_TEXT))
			fg_lower_fail(&at,
				      "makes texts of numbers: only class labels can be texts");
		return fg_lower_done(&at, in);
	}
	in = fg_lower_input(&at, 0);
	if (!type->field)
		fg_lower_fail(&at, "type %lld (of onnx.proto) is not supported: cast to float",
			      (long long)to);
	return fg_lower_done(&at, fg_lower_cast(&at, in, type->element, type->integer));
}

static int lower_cast_like(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_input(&at, 0), like = fg_lower_input(&at, 1);
	enum fg_element element = like.is_double ? FG_ELEMENT_F64 : FG_ELEMENT_F32;

	if (like.constant)
		element = like.constant->element;
	else if (like.whole)
		element = FG_ELEMENT_I64;
	return fg_lower_done(&at, fg_lower_cast(&at, in, element, like.integer));
}

const struct fg_op fg_ops_constant[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "Cast", 1, 1, 1, lower_cast, 0},
	{"", "CastLike", 2, 2, 1, lower_cast_like, 0},
	{"", "Constant", 0, 0, 1, lower_constant, 0},
	{"", "ConstantOfShape", 1, 1, 1, lower_constant_of_shape, 0},
	{"", "Range", 3, 3, 1, lower_range, 0},
	{0},
};
