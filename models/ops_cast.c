/* Casts between types of numbers, and reductions of those that are no floats. */
#include <math.h>
#include <string.h>
#include "models/ops_number.h"

static struct fg_ir_value wide_unary(struct fg_lower *at, enum fg_wide_operation operation,
				     struct fg_ir_value in)
{
	return fg_number_operate(at, (struct fg_ir_wide){.operation = operation}, &in, NULL);
}

/* ---- casts ---- */

static struct fg_ir_value bring_back(struct fg_lower *at, struct fg_ir_value in,
				     struct fg_integer integer)
{
	return fg_number_settle(at, in, integer, fg_number_type_range(integer));
}

/* What C makes of a double on x86-64: narrow types get int32's lowest bits, and what does not fit
 * into that is its lowest number; unsigned types of 32 and 64 bits have rules of their own. */
static struct fg_ir_value integer_of_f64(struct fg_lower *at, struct fg_ir_value in,
					 struct fg_integer integer)
{
	const struct fg_range first =
		fg_number_type_range((struct fg_integer){.bits = integer.bits ? 32 : 0});

	if (fg_number_is_u64(integer))
		return bring_back(at, wide_unary(at, FG_WIDE_U64_FROM_F64, in), integer);
	if (fg_number_is_u32(integer))
		return bring_back(at, wide_unary(at, FG_WIDE_U32_FROM_F64, in), integer);
	in = wide_unary(at, FG_WIDE_I64_FROM_F64, in);
	if (integer.bits)
		in = fg_number_operate(at,
				       (struct fg_ir_wide){FG_WIDE_I64_LIMIT, FG_ACTIVATION_NONE,
							   (float)first.low, 0x1p32f},
				       &in, NULL);
	return fg_number_wrap(at, in, integer, first);
}

static struct fg_ir_value integer_of_f32(struct fg_lower *at, struct fg_ir_value in,
					 struct fg_integer integer)
{
	const struct fg_integer by = {.bits = integer.bits ? 32 : 0};
	const struct fg_range first = fg_number_type_range(by);

	if (fg_number_is_u64(integer) || fg_number_is_u32(integer))
		return integer_of_f64(at, fg_number_to_form(at, in, FG_IR_F64), integer);
	in = fg_lower_activation(at, FG_ACTIVATION_TO_INTEGER, (float)first.low, (float)-first.low,
				 in);
	in = fg_number_settle(at, in, by, first);
	return integer.bits ? fg_number_wrap(at, in, integer, first) : bring_back(at, in, integer);
}

static struct fg_ir_value to_integer(struct fg_lower *at, struct fg_ir_value in,
				     struct fg_integer integer)
{
	if (in.constant)
		return fg_number_wrap_constant(at, fg_lower_to_whole(at, in), integer);
	if (in.whole && in.integer.bits == integer.bits &&
	    in.integer.is_unsigned == integer.is_unsigned)
		return in;
	if (in.whole)
		return fg_number_wrap(at, in, integer, fg_number_range(&in));
	return in.form == FG_IR_F64 ? integer_of_f64(at, in, integer)
				    : integer_of_f32(at, in, integer);
}

static struct fg_ir_value to_truth(struct fg_lower *at, struct fg_ir_value in)
{
	if (!in.constant && in.form == FG_IR_F64)
		in = fg_number_truth(at, fg_lower_wide(at, FG_WIDE_F64_EQUAL, in,
						       fg_lower_number(at, 0)));
	else
		in = fg_lower_unary(at, FG_ACTIVATION_NOT, in);
	in = fg_lower_unary(at, FG_ACTIVATION_NOT, in);
	return fg_number_truth(at, fg_lower_to_whole(at, in));
}

/* A constant as floats of either size. Here a double may become an infinity: it is cast to one. */
static struct fg_ir_value constant_to_float(struct fg_lower *at, struct fg_ir_value in,
					    enum fg_element element)
{
	const size_t size = fg_element_bytes(element), count = in.constant->count;
	struct fg_tensor tensor = *in.constant;
	char *data = fg_lower_alloc(at, count, size);

	if (!at->result && in.constant->element == FG_ELEMENT_I64)
		fg_lower_floats(at, in); /* refuses the size of the batch */
	for (size_t i = 0; data && i < count; i++) {
		const bool whole = in.constant->element == FG_ELEMENT_I64;
		const int64_t integer = whole ? fg_tensor_i64(in.constant, i) : 0;
		double number = fg_tensor_number(in.constant, i);
		float rounded = whole ? (float)integer : (float)number;

		if (fg_number_is_u64(in.integer)) {
			number = (double)(uint64_t)integer;
			rounded = (float)(uint64_t)integer;
		}

		memcpy(data + i * size,
		       element == FG_ELEMENT_F64 ? (const void *)&number : (const void *)&rounded,
		       size);
	}
	tensor.element = element;
	tensor.integer = (struct fg_integer){0};
	tensor.data = data;
	tensor.rank = in.rank;
	memcpy(tensor.dims, in.dims, sizeof(tensor.dims));
	return fg_lower_tensor(at, &tensor);
}

static struct fg_ir_value to_float(struct fg_lower *at, struct fg_ir_value in,
				   enum fg_element element)
{
	if (at->result || (in.constant && in.constant->element == element))
		return in;
	if (in.constant)
		return constant_to_float(at, in, element);
	if (element == FG_ELEMENT_F32)
		in = fg_number_to_form(at, in, FG_IR_F32);
	else if (in.form == FG_IR_I64)
		in = fg_number_to_form(at, in, FG_IR_F64);
	in.whole = in.bounded = false;
	in.integer = (struct fg_integer){0};
	in.is_double = element == FG_ELEMENT_F64;
	return in;
}

struct fg_ir_value fg_lower_cast(struct fg_lower *at, struct fg_ir_value in,
				 enum fg_element element, struct fg_integer integer)
{
	if (at->result)
		return in;
	if (element != FG_ELEMENT_I64)
		return to_float(at, in, element);
	return integer.bits == 1 ? to_truth(at, in) : to_integer(at, in, integer);
}

struct fg_ir_value fg_lower_near_integer(struct fg_lower *at, struct fg_ir_value in,
					 struct fg_integer integer, bool saturate)
{
	const struct fg_range type = fg_number_type_range(integer);

	if (!saturate)
		return integer_of_f64(at, fg_number_to_form(at, in, FG_IR_F64), integer);
	in = wide_unary(at, FG_WIDE_I64_NEAR_F64, in);
	if (integer.bits) {
		in = fg_lower_wide(at, FG_WIDE_I64_MAX, in,
				   fg_lower_whole_number(at, (int64_t)type.low));
		in = fg_lower_wide(at, FG_WIDE_I64_MIN, in,
				   fg_lower_whole_number(at, (int64_t)type.high));
	}
	return bring_back(at, in, integer);
}

/* ---- reductions ---- */

static struct fg_ir_value reduce_wide(struct fg_lower *at, enum fg_wide_operation operation,
				      uint32_t axes, struct fg_ir_value in)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result =
			fg_ir_wide_reduce(at->ir, at->node, operation, &in, axes, &out, at->error);
	return out;
}

static struct fg_ir_value reduce_min_max(struct fg_lower *at, bool is_max, uint32_t axes,
					 struct fg_ir_value in)
{
	enum fg_wide_operation operation = is_max ? FG_WIDE_I64_MAX : FG_WIDE_I64_MIN;

	if (in.form == FG_IR_F64)
		return reduce_wide(at, is_max ? FG_WIDE_F64_MAX : FG_WIDE_F64_MIN, axes, in);
	if (fg_number_is_u64(in.integer))
		operation = is_max ? FG_WIDE_U64_MAX : FG_WIDE_U64_MIN;
	return fg_number_settle(at, reduce_wide(at, operation, axes, in), in.integer,
				fg_number_range(&in));
}

/* The first column that holds the maximum, or minimum, is the first that equals it. */
static struct fg_ir_value reduce_arg(struct fg_lower *at, bool is_max, uint32_t axes,
				     struct fg_ir_value in)
{
	struct fg_ir_value found = reduce_min_max(at, is_max, axes, in);

	return fg_lower_over_last(at, FG_STEP_ARG_MAX, axes,
				  fg_lower_binary(at, FG_STEP_EQUAL, in, found));
}

struct fg_ir_value fg_lower_wide_over_last(struct fg_lower *at, enum fg_step_kind kind,
					   uint32_t axes, struct fg_ir_value in)
{
	float count = 1;

	for (uint32_t i = in.rank - axes; i < in.rank; i++)
		count *= (float)in.dims[i];
	switch (kind) {
	case FG_STEP_REDUCE_MIN:
	case FG_STEP_REDUCE_MAX:
		return reduce_min_max(at, kind == FG_STEP_REDUCE_MAX, axes, in);
	case FG_STEP_ARG_MIN:
	case FG_STEP_ARG_MAX:
		return reduce_arg(at, kind == FG_STEP_ARG_MAX, axes, in);
	case FG_STEP_REDUCE_L1:
		in = fg_lower_unary(at, FG_ACTIVATION_ABS, in);
		return reduce_wide(at, FG_WIDE_F64_ADD, axes, in);
	case FG_STEP_REDUCE_L2:
		in = fg_lower_binary(at, FG_STEP_MUL, in, in);
		return fg_lower_unary(at, FG_ACTIVATION_SQRT,
				      reduce_wide(at, FG_WIDE_F64_ADD, axes, in));
	case FG_STEP_REDUCE_MEAN:
		in = reduce_wide(at, FG_WIDE_F64_ADD, axes, in);
		return fg_lower_binary(at, FG_STEP_DIV, in, fg_lower_number(at, count));
	default: /* REDUCE_SUM */
		return reduce_wide(at, FG_WIDE_F64_ADD, axes, in);
	}
}

struct fg_ir_value fg_lower_wrapping_sum(struct fg_lower *at, struct fg_ir_value in)
{
	const struct fg_range each = fg_number_range(&in);
	const struct fg_range all = {each.low * (double)in.dims[in.rank - 1],
				     each.high * (double)in.dims[in.rank - 1]};

	if (at->result)
		return in;
	if (in.form == FG_IR_F32 && fg_number_is_small(all))
		return fg_number_settle(at, fg_lower_over_last(at, FG_STEP_REDUCE_SUM, 1, in),
					in.integer, all);
	return fg_number_wrap(at, reduce_wide(at, FG_WIDE_I64_ADD, 1, in), in.integer, all);
}
