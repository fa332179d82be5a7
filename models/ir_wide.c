/* Values of more than float32: which numbers they may be, and the steps that compute them. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/ir_build.h"

#define TWO_63 0x1p63

/* ---- what is known of numbers ---- */

void fg_ir_integer_range(struct fg_integer integer, double *low, double *high)
{
	const int bits = integer.bits ? integer.bits : 64;

	if (bits == 1 || integer.is_unsigned) {
		*low = 0;
		*high = ldexp(1, bits);
	} else {
		*low = -ldexp(1, bits - 1);
		*high = ldexp(1, bits - 1);
	}
	if (bits < 64)
		*high -= 1;
}

void fg_ir_range(const struct fg_ir_value *value, double *low, double *high)
{
	const struct fg_tensor *constant = value->constant;

	if (!constant && value->bounded) {
		*low = value->low;
		*high = value->high;
		return;
	}
	if (!constant || !constant->count) {
		fg_ir_integer_range(value->integer, low, high);
		return;
	}
	*low = INFINITY;
	*high = -INFINITY;
	for (size_t i = 0; i < constant->count; i++) {
		const double number = (double)fg_tensor_i64(constant, i);

		*low = number < *low ? number : *low;
		*high = number > *high ? number : *high;
	}
}

/* (float)2^63 is no int64. */
static bool integer_fits(int64_t number)
{
	const float rounded = (float)number;

	return rounded < (float)TWO_63 && (int64_t)rounded == number;
}

bool fg_ir_fits_f32(const struct fg_ir_value *value)
{
	const struct fg_tensor *constant = value->constant;

	for (size_t i = 0; i < constant->count; i++) {
		if (constant->element == FG_ELEMENT_I64 &&
		    !integer_fits(fg_tensor_i64(constant, i)))
			return false;
		if (constant->element == FG_ELEMENT_F64) {
			const double number = fg_tensor_f64(constant, i);

			if (!isnan(number) && (double)(float)number != number)
				return false;
		}
	}
	return constant->element != FG_ELEMENT_TEXT;
}

enum fg_ir_form fg_ir_exact_form(const struct fg_ir_value *value)
{
	if (!value->constant)
		return value->form;
	if (fg_ir_is_text(value) || fg_ir_fits_f32(value))
		return FG_IR_F32;
	return value->constant->element == FG_ELEMENT_I64 ? FG_IR_I64 : FG_IR_F64;
}

/* ---- constants ---- */

static int integer_at(const struct fg_node *node, const struct fg_tensor *constant, size_t i,
		      int64_t *integer, struct fg_error *error)
{
	double number;

	if (constant->element == FG_ELEMENT_I64) {
		*integer = fg_tensor_i64(constant, i);
		if (*integer == FG_IR_BATCH)
			return fg_node_error(node, error,
					     "computes with the size of the batch, or with -2^63");
		return 0;
	}
	number = fg_tensor_number(constant, i);
	if (!(fabs(number) < TWO_63))
		return fg_node_error(node, error, "%g does not fit into an integer", number);
	*integer = (int64_t)number;
	return 0;
}

int fg_ir_elements(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *constant,
		   enum fg_ir_form form, const void **elements, struct fg_error *error)
{
	const struct fg_tensor *tensor = constant->constant;
	void *copy;
	int result;

	if (form == FG_IR_F32)
		return fg_ir_floats(ir, node, constant, (const float **)elements, error);
	result = fg_ir_need_numbers(node, constant, error);
	if (!result)
		result = fg_ir_alloc(ir, node, tensor->count, sizeof(int64_t), &copy, error);
	for (size_t i = 0; !result && i < tensor->count; i++) {
		if (form == FG_IR_I64)
			result = integer_at(node, tensor, i, (int64_t *)copy + i, error);
		else
			((double *)copy)[i] = fg_tensor_number(tensor, i);
	}
	*elements = result ? NULL : copy;
	return result;
}

/* ---- steps ---- */

static enum fg_ir_form taken_form(enum fg_wide_operation operation)
{
	if (fg_wide_shape(operation).in_cols == 1)
		return FG_IR_F32;
	if (operation >= FG_WIDE_F64_ADD || operation == FG_WIDE_I64_FROM_F64 ||
	    operation == FG_WIDE_I64_NEAR_F64 || operation == FG_WIDE_U64_FROM_F64 ||
	    operation == FG_WIDE_U32_FROM_F64 || operation == FG_WIDE_F32_FROM_F64)
		return FG_IR_F64;
	return FG_IR_I64;
}

static enum fg_ir_form given_form(enum fg_wide_operation operation)
{
	if (fg_wide_shape(operation).out_cols == 1)
		return FG_IR_F32;
	if ((operation >= FG_WIDE_F64_FROM_F32 && operation <= FG_WIDE_F64_FROM_U64) ||
	    (operation >= FG_WIDE_F64_ADD && operation <= FG_WIDE_F64_MAX) ||
	    operation == FG_WIDE_F64_ACTIVATION)
		return FG_IR_F64;
	return FG_IR_I64;
}

/* `cols` elements at `in` (and `other`), of one row each. */
static int add_wide(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_wide *wide,
		    const struct fg_ir_value *in, const struct fg_ir_value *other,
		    struct fg_ir_value *out, struct fg_error *error)
{
	const struct fg_wide_shape shape = fg_wide_shape(wide->operation);
	const void *constant = NULL;
	struct fg_ir_value made;
	struct fg_ir_step *step;
	int result = 0;

	if (other && other->constant)
		result = fg_ir_elements(ir, node, other, taken_form(wide->operation), &constant,
					error);
	if (!result)
		result = fg_ir_new_rows(ir, node, given_form(wide->operation), in->rank, in->dims,
					&made, error);
	if (!result)
		result = fg_ir_new_step(ir, node, FG_STEP_WIDE, &step, error);
	if (result)
		return result;
	step->operation = wide->operation;
	step->activation = wide->activation;
	step->alpha = wide->alpha;
	step->beta = wide->beta;
	step->in = in->at;
	if (other && !other->constant)
		step->other = other->at;
	step->constant = constant;
	step->out = made.at;
	step->in_cols = in->cols * shape.in_cols;
	step->out_cols = in->cols * shape.out_cols;
	*out = made;
	return 0;
}

static int compute_wide(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_wide *wide,
			const struct fg_ir_value *in, const struct fg_ir_value *other,
			struct fg_ir_value *out, struct fg_error *error)
{
	static const enum fg_element elements[] = {
		[FG_IR_F32] = FG_ELEMENT_F32,
		[FG_IR_I64] = FG_ELEMENT_I64,
		[FG_IR_F64] = FG_ELEMENT_F64,
	};
	const struct fg_wide_shape shape = fg_wide_shape(wide->operation);
	const uint32_t count = (uint32_t)in->constant->count;
	struct fg_kernel_args args = {.rows = 1,
				      .in_cols = count * shape.in_cols,
				      .out_cols = count * shape.out_cols,
				      .operation = wide->operation,
				      .activation = wide->activation,
				      .alpha = wide->alpha,
				      .beta = wide->beta};
	const enum fg_ir_form form = taken_form(wide->operation);
	void *data;
	int result = fg_ir_elements(ir, node, in, form, (const void **)&args.in, error);

	if (!result && other)
		result = fg_ir_elements(ir, node, other, form, (const void **)&args.other, error);
	if (!result)
		result = fg_ir_new_constant(ir, node, elements[given_form(wide->operation)],
					    in->rank, in->dims, out, &data, error);
	if (result || !count)
		return result;
	args.out = data;
	fg_kernels_c.run[FG_STEP_WIDE](&args);
	return 0;
}

static bool commutes(enum fg_wide_operation operation)
{
	switch (operation) {
	case FG_WIDE_I64_ADD:
	case FG_WIDE_I64_MUL:
	case FG_WIDE_I64_MIN:
	case FG_WIDE_I64_MAX:
	case FG_WIDE_I64_EQUAL:
	case FG_WIDE_I64_AND:
	case FG_WIDE_I64_OR:
	case FG_WIDE_I64_XOR:
	case FG_WIDE_U64_MIN:
	case FG_WIDE_U64_MAX:
	case FG_WIDE_F64_ADD:
	case FG_WIDE_F64_MUL:
	case FG_WIDE_F64_EQUAL:
		return true;
	default:
		return false;
	}
}

/* Both of one shape: those that are batched in the form that the operation takes, and the first is,
 * when one is. */
static int bring_operands(struct fg_ir *ir, const struct fg_node *node,
			  enum fg_wide_operation operation, struct fg_ir_value operands[2],
			  uint32_t count, struct fg_error *error)
{
	const enum fg_ir_form form = taken_form(operation);
	const struct fg_ir_value first = operands[0];
	int result = 0;

	if (count == 2 && first.constant && !operands[1].constant) {
		if (commutes(operation)) {
			operands[0] = operands[1];
			operands[1] = first;
		} else {
			result = fg_ir_batched(ir, node, &first, form, operands[1].rank,
					       operands[1].dims, &operands[0], error);
		}
	}
	for (uint32_t i = 0; i < count && !result; i++)
		result = fg_ir_to_form(ir, node, &operands[i], form, &operands[i], error);
	return result;
}

int fg_ir_wide(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_wide *wide,
	       const struct fg_ir_value *a, const struct fg_ir_value *b, struct fg_ir_value *out,
	       struct fg_error *error)
{
	struct fg_ir_value operands[2] = {*a}, *other = b ? &operands[1] : NULL;
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t rank;
	int result = fg_ir_need_numbers(node, a, error);

	if (!result && b)
		result = fg_ir_need_numbers(node, b, error);
	if (!result && b)
		result = fg_ir_broadcast(node, a, b, &rank, dims, error);
	if (!result && b)
		result = fg_ir_spread(ir, node, a, rank, dims, &operands[0], error);
	if (!result && b)
		result = fg_ir_spread(ir, node, b, rank, dims, &operands[1], error);
	if (!result)
		result = bring_operands(ir, node, wide->operation, operands, b ? 2 : 1, error);
	if (result)
		return result;
	if (operands[0].constant)
		return compute_wide(ir, node, wide, &operands[0], other, out, error);
	result = add_wide(ir, node, wide, &operands[0], other, out, error);
	if (result)
		return result;
	out->whole = out->form == FG_IR_I64;
	out->is_double = out->form == FG_IR_F64;
	return 0;
}

/* Floats above 2^63 go by double. */
static bool exceeds_i64(const struct fg_ir_value *value)
{
	double low, high;

	fg_ir_range(value, &low, &high);
	return value->whole && value->integer.is_unsigned && high >= TWO_63;
}

static enum fg_wide_operation conversion(const struct fg_ir_value *in, enum fg_ir_form form)
{
	const bool is_unsigned = in->integer.is_unsigned;

	if (in->form == FG_IR_F32)
		return form == FG_IR_I64 ? FG_WIDE_I64_FROM_F32 : FG_WIDE_F64_FROM_F32;
	if (in->form == FG_IR_F64)
		return form == FG_IR_I64 ? FG_WIDE_I64_FROM_F64 : FG_WIDE_F32_FROM_F64;
	if (form == FG_IR_F64)
		return is_unsigned ? FG_WIDE_F64_FROM_U64 : FG_WIDE_F64_FROM_I64;
	return is_unsigned ? FG_WIDE_F32_FROM_U64 : FG_WIDE_F32_FROM_I64;
}

int fg_ir_to_form(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		  enum fg_ir_form form, struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_wide wide = {FG_WIDE_U64_FROM_F64, FG_ACTIVATION_NONE, 0, 0};
	struct fg_ir_value value = *in;
	int result = 0;

	if (in->constant || in->form == form) {
		*out = value;
		return 0;
	}
	if (form == FG_IR_F32 && in->has_rounded) {
		value.at = in->rounded;
		value.form = FG_IR_F32;
		value.has_rounded = false;
		*out = value;
		return 0;
	}
	if (in->form == FG_IR_F32 && form == FG_IR_I64 && exceeds_i64(in))
		result = fg_ir_to_form(ir, node, in, FG_IR_F64, &value, error);
	else
		wide.operation = conversion(in, form);
	if (!result)
		result = add_wide(ir, node, &wide, &value, NULL, &value, error);
	if (result)
		return result;
	fg_ir_keep_type(&value, in);
	value.labels = in->labels;
	value.merged = in->merged;
	*out = value;
	return 0;
}

int fg_ir_wide_reduce(struct fg_ir *ir, const struct fg_node *node,
		      enum fg_wide_operation operation, const struct fg_ir_value *in, uint32_t axes,
		      struct fg_ir_value *out, struct fg_error *error)
{
	int64_t dims[FG_GRAPH_MAX_RANK];
	struct fg_ir_value made, wide;
	struct fg_ir_step *step;
	uint32_t cols = 1;
	int result;

	if (axes < 1 || axes > in->rank - 1)
		return fg_node_error(node, error, "works over the batch, or on no dimension");
	memcpy(dims, in->dims, sizeof(dims));
	for (uint32_t i = in->rank - axes; i < in->rank; i++) {
		cols *= (uint32_t)dims[i];
		dims[i] = 1;
	}
	result = fg_ir_to_form(ir, node, in, taken_form(operation), &wide, error);
	if (!result)
		result = fg_ir_new_rows(ir, node, given_form(operation), in->rank, dims, &made,
					error);
	if (!result)
		result = fg_ir_new_step(ir, node, FG_STEP_WIDE_REDUCE, &step, error);
	if (result)
		return result;
	step->operation = operation;
	step->in = wide.at;
	step->out = made.at;
	step->groups = in->cols / cols;
	step->in_cols = 2 * cols;
	step->out_cols = 2;
	made.whole = made.form == FG_IR_I64;
	made.is_double = made.form == FG_IR_F64;
	*out = made;
	return 0;
}

int fg_ir_wide_lookup(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		      const int64_t *keys, uint32_t entries, struct fg_ir_value *out,
		      struct fg_error *error)
{
	struct fg_ir_value made;
	struct fg_ir_step *step;
	int result = fg_ir_new_rows(ir, node, FG_IR_F32, in->rank, in->dims, &made, error);

	if (!result)
		result = fg_ir_new_step(ir, node, FG_STEP_WIDE_LOOKUP, &step, error);
	if (result)
		return result;
	step->in = in->at;
	step->out = made.at;
	step->in_cols = 2 * in->cols;
	step->out_cols = in->cols;
	step->weights = keys;
	step->entries = entries;
	made.whole = made.bounded = true;
	made.high = entries;
	*out = made;
	return 0;
}
