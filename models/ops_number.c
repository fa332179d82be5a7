/*
 * What the types of numbers mean: integers that wrap, large ones, float64, and casts.
 *
 * A plan computes with floats. Integers stay floats where that is exact: what came in or out of a
 * table is, whatever its size, and so is arithmetic up to 2^24. All else goes by wide numbers
 * (models/kernels.h) and comes back to floats where it is small again.
 */
#include <math.h>
#include <string.h>
#include "models/ops_number.h"

#define TWO_63 0x1p63

struct fg_range fg_number_range(const struct fg_ir_value *value)
{
	struct fg_range range;

	fg_ir_range(value, &range.low, &range.high);
	return range;
}

struct fg_range fg_number_type_range(struct fg_integer integer)
{
	struct fg_range range;

	fg_ir_integer_range(integer, &range.low, &range.high);
	return range;
}

/* 2^63 as an end stands for 2^63 - 1 as well, and may have been rounded. */
static bool is_inside(struct fg_range inner, struct fg_range outer)
{
	const bool rounded = outer.high >= TWO_63;

	return inner.low >= outer.low &&
	       (rounded ? inner.high < outer.high : inner.high <= outer.high);
}

static void set_range(struct fg_ir_value *value, struct fg_range range)
{
	value->bounded = true;
	value->low = range.low;
	value->high = range.high;
}

/* The type of both: that of a batched one, as constants that we made have none. */
static struct fg_integer type_of(const struct fg_ir_value *a, const struct fg_ir_value *b)
{
	if (a->constant && (!b->constant || (!a->integer.bits && !a->integer.is_unsigned)))
		return b->integer;
	return a->integer;
}

/* ---- wide numbers ---- */

struct fg_ir_value fg_number_to_form(struct fg_lower *at, struct fg_ir_value in,
				     enum fg_ir_form form)
{
	if (!at->result)
		at->result = fg_ir_to_form(at->ir, at->node, &in, form, &in, at->error);
	return in;
}

struct fg_ir_value fg_number_operate(struct fg_lower *at, struct fg_ir_wide wide,
				     const struct fg_ir_value *a, const struct fg_ir_value *b)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_wide(at->ir, at->node, &wide, a, b, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_wide(struct fg_lower *at, enum fg_wide_operation operation,
				 struct fg_ir_value a, struct fg_ir_value b)
{
	return fg_number_operate(at, (struct fg_ir_wide){.operation = operation}, &a, &b);
}

/* Integers of that type in that range, as floats where those are exact. */
struct fg_ir_value fg_number_settle(struct fg_lower *at, struct fg_ir_value value,
				    struct fg_integer integer, struct fg_range range)
{
	if (at->result || value.constant) {
		value.integer = integer;
		return value;
	}
	value.whole = true;
	value.is_double = false;
	value.integer = integer;
	set_range(&value, range);
	return fg_number_is_small(range) ? fg_number_to_form(at, value, FG_IR_F32) : value;
}

struct fg_ir_value fg_lower_as_integer(struct fg_lower *at, struct fg_ir_value value,
				       struct fg_integer integer, double low, double high)
{
	return fg_number_settle(at, value, integer, (struct fg_range){low, high});
}

/* ---- integers that wrap ---- */

/* What of a type's range WRAP takes: it begins at `low` and holds `span` integers. */
static void wrap_bounds(struct fg_integer integer, float *low, float *span)
{
	*low = (float)fg_number_type_range(integer).low;
	*span = ldexpf(1, integer.bits ? integer.bits : 64);
}

struct fg_ir_value fg_number_wrap_constant(struct fg_lower *at, struct fg_ir_value in,
					   struct fg_integer integer)
{
	const struct fg_tensor *from = in.constant;
	const struct fg_range type = fg_number_type_range(integer);
	const uint64_t low = (uint64_t)(int64_t)type.low, mask = (uint64_t)(type.high - type.low);
	struct fg_ir_value kept = in;
	struct fg_tensor tensor = *from;
	int64_t *numbers;

	kept.integer = integer;
	if (!integer.bits || is_inside(fg_number_range(&in), type))
		return kept;
	numbers = fg_lower_alloc(at, from->count, sizeof(*numbers));
	for (size_t i = 0; numbers && i < from->count; i++) {
		numbers[i] = fg_tensor_i64(from, i);
		if (numbers[i] != FG_IR_BATCH)
			numbers[i] = (int64_t)((((uint64_t)numbers[i] - low) & mask) + low);
	}
	tensor.data = numbers;
	tensor.integer = integer;
	tensor.rank = in.rank;
	memcpy(tensor.dims, in.dims, sizeof(tensor.dims));
	return fg_lower_tensor(at, &tensor);
}

/* Whole numbers in `range`, as integers of that type. */
struct fg_ir_value fg_number_wrap(struct fg_lower *at, struct fg_ir_value in,
				  struct fg_integer integer, struct fg_range range)
{
	struct fg_ir_wide wide = {.operation = FG_WIDE_I64_WRAP};
	const struct fg_range type = fg_number_type_range(integer);

	if (at->result)
		return in;
	if (is_inside(range, type))
		return fg_number_settle(at, in, integer, range);
	if (!integer.bits) { /* wide numbers wrap by themselves */
		in = fg_number_to_form(at, in, FG_IR_I64);
		return fg_number_settle(at, in, integer, type);
	}
	wrap_bounds(integer, &wide.alpha, &wide.beta);
	/* A float holds -1, but not 2^32 - 1. */
	if (in.form == FG_IR_F32 && (fg_number_is_small(type) || type.low < 0 || range.low >= 0))
		in = fg_lower_activation(at, FG_ACTIVATION_WRAP, wide.alpha, wide.beta, in);
	else
		in = fg_number_operate(at, wide, &in, NULL);
	return fg_number_settle(at, in, integer, type);
}

/* ---- arithmetic ---- */

static struct fg_range hull(const double *numbers, uint32_t count)
{
	struct fg_range range = {numbers[0], numbers[0]};

	for (uint32_t i = 1; i < count; i++) {
		range.low = fmin(range.low, numbers[i]);
		range.high = fmax(range.high, numbers[i]);
	}
	return range;
}

static struct fg_range result_range(enum fg_step_kind kind, struct fg_range a, struct fg_range b)
{
	const double products[] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
	const double most = fmax(fabs(a.low), fabs(a.high));

	switch (kind) {
	case FG_STEP_ADD:
		return (struct fg_range){a.low + b.low, a.high + b.high};
	case FG_STEP_SUB:
		return (struct fg_range){a.low - b.high, a.high - b.low};
	case FG_STEP_MUL:
		return hull(products, 4);
	case FG_STEP_MIN:
		return (struct fg_range){fmin(a.low, b.low), fmin(a.high, b.high)};
	case FG_STEP_MAX:
		return (struct fg_range){fmax(a.low, b.low), fmax(a.high, b.high)};
	default: /* DIV: no quotient is larger than what is divided */
		return (struct fg_range){a.low >= 0 && b.low >= 0 ? 0 : -most, most};
	}
}

static enum fg_wide_operation wide_kind(enum fg_step_kind kind, bool is_unsigned)
{
	switch (kind) {
	case FG_STEP_ADD:
		return FG_WIDE_I64_ADD;
	case FG_STEP_SUB:
		return FG_WIDE_I64_SUB;
	case FG_STEP_MUL:
		return FG_WIDE_I64_MUL;
	case FG_STEP_DIV:
		return is_unsigned ? FG_WIDE_U64_DIV : FG_WIDE_I64_DIV;
	case FG_STEP_MIN:
		return is_unsigned ? FG_WIDE_U64_MIN : FG_WIDE_I64_MIN;
	case FG_STEP_MAX:
		return is_unsigned ? FG_WIDE_U64_MAX : FG_WIDE_I64_MAX;
	case FG_STEP_LESS:
		return is_unsigned ? FG_WIDE_U64_LESS : FG_WIDE_I64_LESS;
	case FG_STEP_LESS_EQUAL:
		return is_unsigned ? FG_WIDE_U64_LESS_EQUAL : FG_WIDE_I64_LESS_EQUAL;
	default:
		return FG_WIDE_I64_EQUAL;
	}
}

static struct fg_ir_value plain_binary(struct fg_lower *at, enum fg_step_kind kind,
				       struct fg_ir_value a, struct fg_ir_value b)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_binary(at->ir, at->node, kind, &a, &b, &out, at->error);
	return out;
}

static bool is_f32(const struct fg_ir_value *value)
{
	return fg_ir_exact_form(value) == FG_IR_F32;
}

static void refuse_zero(struct fg_lower *at, const struct fg_ir_value *divisor)
{
	for (size_t i = 0; divisor->constant && i < divisor->constant->count; i++)
		if (fg_tensor_i64(divisor->constant, i) == 0)
			fg_lower_fail(at, "divides integers by 0");
}

/* x * 0, x * 1 and x * -1 are floats if x is. */
static bool is_choice(enum fg_step_kind kind, struct fg_range a, struct fg_range b)
{
	return kind == FG_STEP_MUL &&
	       ((a.low >= -1 && a.high <= 1) || (b.low >= -1 && b.high <= 1));
}

/* An int64 that is a float, and offsets that are: their sum does not wrap, as floats just below
 * 2^63 are 2^39 apart, so that float's addition rounds it as a conversion of the exact sum would.
 * Ids become rows of a table of many fields so. */
static bool is_offset(const struct fg_ir_value *ids, const struct fg_ir_value *offsets)
{
	const struct fg_range range = fg_number_range(offsets);

	return offsets->constant && !ids->constant && ids->form == FG_IR_F32 &&
	       !ids->integer.bits && !ids->integer.is_unsigned && is_f32(offsets) &&
	       range.low >= 0 && range.high < 0x1p39;
}

static struct fg_ir_value arithmetic(struct fg_lower *at, enum fg_step_kind kind,
				     struct fg_ir_value a, struct fg_ir_value b)
{
	const struct fg_integer integer = type_of(&a, &b);
	const struct fg_range from_a = fg_number_range(&a), from_b = fg_number_range(&b);
	const struct fg_range range = result_range(kind, from_a, from_b);
	const bool picks = kind == FG_STEP_MIN || kind == FG_STEP_MAX;
	struct fg_ir_value out;

	if (kind == FG_STEP_DIV)
		refuse_zero(at, &b);
	if (at->result)
		return a;
	if (a.constant && b.constant)
		return fg_number_wrap_constant(at, plain_binary(at, kind, a, b), integer);
	if (is_f32(&a) && is_f32(&b) &&
	    (picks || is_choice(kind, from_a, from_b) ||
	     (fg_number_is_small(from_a) && fg_number_is_small(from_b) &&
	      fg_number_is_small(range)))) {
		out = plain_binary(at, kind, a, b);
		/* Quotients of whole numbers below 2^24 that are not whole are not rounded to
		 * whole ones. */
		if (kind == FG_STEP_DIV)
			out = fg_lower_unary(at, FG_ACTIVATION_TRUNC, out);
	} else {
		out = fg_lower_wide(at, wide_kind(kind, fg_number_is_u64(integer)), a, b);
		if (kind == FG_STEP_ADD && (is_offset(&a, &b) || is_offset(&b, &a))) {
			out.rounded = plain_binary(at, kind, a, b).at;
			out.has_rounded = true;
		}
	}
	return picks ? fg_number_settle(at, out, integer, range)
		     : fg_number_wrap(at, out, integer, range);
}

struct fg_ir_value fg_lower_abs(struct fg_lower *at, struct fg_ir_value in)
{
	const struct fg_range range = fg_number_range(&in);
	const double most = fmax(-range.low, range.high);

	if (at->result)
		return in;
	if (in.constant || in.form != FG_IR_F32)
		return fg_lower_binary(at, FG_STEP_MAX, in,
				       fg_lower_binary(at, FG_STEP_MUL, in,
						       fg_lower_number_like(at, &in, -1)));
	return fg_number_wrap(at, fg_lower_unary(at, FG_ACTIVATION_ABS, in), in.integer,
			      (struct fg_range){range.low > 0 ? range.low : 0, most});
}

/* ---- comparisons ---- */

/* The nearest float that is not below (`up`), or not above, the constant's element; *same: it is
 * that. */
static float float_beside(const struct fg_tensor *constant, size_t i, bool up, bool *same)
{
	double above; /* of the float over the number */
	float near;

	if (constant->element == FG_ELEMENT_I64) {
		const int64_t number = fg_tensor_i64(constant, i);

		near = (float)number;
		above = near >= (float)TWO_63 ? 1 : (double)((int64_t)near - number);
	} else {
		const double number = fg_tensor_f64(constant, i);

		near = (float)number;
		above = (double)near == number ? 0 : (double)near - number;
	}
	*same = above == 0;
	if (up ? above < 0 : above > 0)
		near = nextafterf(near, up ? INFINITY : -INFINITY);
	return near;
}

/* A constant that stands for `constant` in a comparison with floats: x < c is x < the next float
 * above c, no float equals c, and so on. */
static struct fg_ir_value beside(struct fg_lower *at, struct fg_ir_value constant,
				 enum fg_step_kind kind, bool is_second)
{
	const struct fg_tensor *from = constant.constant;
	const bool up = (kind == FG_STEP_LESS) == is_second;
	struct fg_tensor tensor = *from;
	float *numbers;
	bool same;

	if (at->result || from->element == FG_ELEMENT_F32 || fg_ir_fits_f32(&constant))
		return constant;
	numbers = fg_lower_alloc(at, from->count, sizeof(*numbers));
	for (size_t i = 0; numbers && i < from->count; i++) {
		numbers[i] = float_beside(from, i, up, &same);
		if (kind == FG_STEP_EQUAL && !same)
			numbers[i] = NAN;
	}
	tensor.element = FG_ELEMENT_F32;
	tensor.data = numbers;
	tensor.rank = constant.rank;
	memcpy(tensor.dims, constant.dims, sizeof(tensor.dims));
	return fg_lower_tensor(at, &tensor);
}

struct fg_ir_value fg_number_truth(struct fg_lower *at, struct fg_ir_value value)
{
	return fg_number_settle(at, value, (struct fg_integer){.bits = 1}, (struct fg_range){0, 1});
}

/* `wide` where floats do not do. */
static struct fg_ir_value compare(struct fg_lower *at, enum fg_step_kind kind,
				  enum fg_wide_operation wide, struct fg_ir_value a,
				  struct fg_ir_value b)
{
	const bool floats = (a.constant || a.form == FG_IR_F32) &&
			    (b.constant || b.form == FG_IR_F32) && (!a.constant || !b.constant);

	if (!floats)
		return fg_number_truth(at, fg_lower_wide(at, wide, a, b));
	if (a.constant)
		a = beside(at, a, kind, false);
	if (b.constant)
		b = beside(at, b, kind, true);
	return fg_number_truth(at, plain_binary(at, kind, a, b));
}

/* ---- float64 ---- */

static bool is_f64(const struct fg_ir_value *value)
{
	return value->constant ? value->constant->element == FG_ELEMENT_F64 : value->is_double;
}

/* A constant that a float can only stand for as an infinity or as 0. */
static bool is_beyond_f32(const struct fg_ir_value *value)
{
	const struct fg_tensor *constant = value->constant;

	for (size_t i = 0; constant && constant->element == FG_ELEMENT_F64 && i < constant->count;
	     i++) {
		const double number = fg_tensor_f64(constant, i);

		if (isfinite(number) && number != 0 &&
		    (isinf((float)number) || fpclassify((float)number) == FP_ZERO))
			return true;
	}
	return false;
}

static enum fg_wide_operation double_kind(enum fg_step_kind kind)
{
	switch (kind) {
	case FG_STEP_ADD:
		return FG_WIDE_F64_ADD;
	case FG_STEP_SUB:
		return FG_WIDE_F64_SUB;
	case FG_STEP_MUL:
		return FG_WIDE_F64_MUL;
	case FG_STEP_DIV:
		return FG_WIDE_F64_DIV;
	case FG_STEP_MIN:
		return FG_WIDE_F64_MIN;
	case FG_STEP_MAX:
		return FG_WIDE_F64_MAX;
	case FG_STEP_POW:
		return FG_WIDE_F64_POW;
	case FG_STEP_LESS:
		return FG_WIDE_F64_LESS;
	case FG_STEP_LESS_EQUAL:
		return FG_WIDE_F64_LESS_EQUAL;
	case FG_STEP_EQUAL:
		return FG_WIDE_F64_EQUAL;
	default:
		return FG_WIDE_NONE;
	}
}

static bool compares(enum fg_step_kind kind)
{
	return kind >= FG_STEP_LESS && kind <= FG_STEP_EQUAL;
}

bool fg_lower_binary_exact(struct fg_lower *at, enum fg_step_kind kind, struct fg_ir_value a,
			   struct fg_ir_value b, struct fg_ir_value *out)
{
	const bool doubles = is_f64(&a) || is_f64(&b);

	if (at->result || kind == FG_STEP_PRELU || fg_ir_is_text(&a) || fg_ir_is_text(&b))
		return false;
	if (fg_ir_is_whole(&a) && fg_ir_is_whole(&b)) {
		if (kind == FG_STEP_POW)
			return false;
		if (compares(kind) && !(a.constant && b.constant))
			*out = compare(at, kind, wide_kind(kind, fg_number_is_u64(type_of(&a, &b))),
				       a, b);
		else if (compares(kind))
			*out = plain_binary(at, kind, a, b);
		else
			*out = arithmetic(at, kind, a, b);
		return true;
	}
	if (!doubles)
		return false;
	if (compares(kind)) {
		*out = compare(at, kind, double_kind(kind), a, b);
		return true;
	}
	/* What was rounded to float32 before gains nothing. */
	if ((!a.constant || !b.constant) && !a.is_double && !b.is_double && !is_beyond_f32(&a) &&
	    !is_beyond_f32(&b))
		return false;
	if ((kind == FG_STEP_MIN || kind == FG_STEP_MAX) && is_f32(&a) && is_f32(&b) &&
	    (!a.constant || !b.constant)) {
		*out = plain_binary(at, kind, a, b);
		out->is_double = true;
		return true;
	}
	*out = fg_lower_wide(at, double_kind(kind), a, b);
	return true;
}

struct fg_ir_value fg_lower_f64_activation(struct fg_lower *at, enum fg_activation activation,
					   float alpha, float beta, struct fg_ir_value in)
{
	return fg_number_operate(at,
				 (struct fg_ir_wide){FG_WIDE_F64_ACTIVATION, activation, alpha,
						     beta},
				 &in, NULL);
}

bool fg_lower_is_small(const struct fg_ir_value *whole, double times, bool squared)
{
	const struct fg_range range = fg_number_range(whole);
	double most = fmax(fabs(range.low), fabs(range.high));

	most = squared ? most * most : most;
	return most * times <= FG_NUMBER_EXACT;
}
