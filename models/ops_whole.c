/* Operators of integers alone: Mod, shifts, bits. All but small sums of theirs take wide numbers.
 */
#include <math.h>
#include "models/ops.h"
#include "models/ops_lower.h"

enum bits { AND, OR, XOR };

static bool is_u64(const struct fg_ir_value *value)
{
	return value->integer.is_unsigned && !value->integer.bits;
}

/* The remainder has the sign of the divisor, or (fmod) of what is divided. */
static struct fg_ir_value integer_mod(struct fg_lower *at, struct fg_ir_value a,
				      struct fg_ir_value b, bool fmod_like)
{
	const struct fg_ir_value *typed = a.constant ? &b : &a;
	enum fg_wide_operation operation = fmod_like ? FG_WIDE_I64_REM : FG_WIDE_I64_MOD;
	double low, high, first, most;

	for (size_t i = 0; b.constant && i < b.constant->count; i++)
		if (fg_tensor_i64(b.constant, i) == 0)
			fg_lower_fail(at, "divides integers by 0");
	if (at->result)
		return a;
	if (is_u64(typed))
		operation = FG_WIDE_U64_REM;
	fg_ir_range(&a, &first, &most);
	fg_ir_range(&b, &low, &high);
	most = fmax(fabs(low), fabs(high)) - 1;
	if (fmod_like)
		low = first;
	return fg_lower_as_integer(at, fg_lower_wide(at, operation, a, b), typed->integer,
				   low >= 0 ? 0 : -most, most);
}

static int lower_mod(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool fmod_like = fg_lower_int(&at, "fmod", 0);
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1), out;
	bool doubles = a.is_double || b.is_double;

	if (fg_lower_is_whole(&a) && fg_lower_is_whole(&b))
		return fg_lower_done(&at, integer_mod(&at, a, b, fmod_like));
	if (!fmod_like)
		fg_lower_fail(&at, "fmod = 0 is for integers: export it with fmod = 1");
	out = fg_lower_wide(&at, FG_WIDE_F64_REM, a, b);
	if (!doubles)
		out = fg_lower_cast(&at, out, FG_ELEMENT_F32, (struct fg_integer){0});
	return fg_lower_done(&at, out);
}

static int lower_bit_shift(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_text direction = fg_lower_text(&at, "direction", "");
	struct fg_ir_value x = fg_lower_input(&at, 0), by = fg_lower_input(&at, 1), out;
	const struct fg_integer integer = x.constant ? by.integer : x.integer;
	bool left = fg_text_is(direction, "LEFT");
	double low, high;

	if (!left && !fg_text_is(direction, "RIGHT"))
		fg_lower_fail(&at, "direction must be LEFT or RIGHT");
	if (!integer.is_unsigned)
		fg_lower_fail(&at, "shifts signed integers: cast them to unsigned ones");
	out = fg_lower_wide(&at, left ? FG_WIDE_U64_LEFT : FG_WIDE_U64_RIGHT, x, by);
	if (left)
		return fg_lower_done(&at, fg_lower_cast(&at, out, FG_ELEMENT_I64, integer));
	fg_ir_range(&x, &low, &high);
	return fg_lower_done(&at, fg_lower_as_integer(&at, out, integer, 0, high));
}

/* fg_op.variant: enum bits. */
static int lower_bits(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	static const enum fg_wide_operation operations[] = {FG_WIDE_I64_AND, FG_WIDE_I64_OR,
							    FG_WIDE_I64_XOR};
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1), out;
	const struct fg_integer integer = a.constant ? b.integer : a.integer;
	double low[2], high[2], most;

	if (at.result)
		return at.result;
	out = fg_lower_wide(&at, operations[node->op->variant], a, b);
	fg_ir_range(&a, &low[0], &high[0]);
	fg_ir_range(&b, &low[1], &high[1]);
	most = fmax(high[0], high[1]);
	if (node->op->variant == AND && low[0] >= 0 && (low[1] < 0 || high[0] < high[1]))
		most = high[0];
	else if (node->op->variant == AND && low[1] >= 0)
		most = high[1];
	else if (low[0] >= 0 && low[1] >= 0) /* no bit above the highest of both */
		most = exp2(ceil(log2(most + 1))) - 1;
	else
		return fg_lower_done(&at, fg_lower_cast(&at, out, FG_ELEMENT_I64, integer));
	return fg_lower_done(&at, fg_lower_as_integer(&at, out, integer, 0, most));
}

/* -1 - x, where -1 of unsigned integers is their highest. */
static int lower_bitwise_not(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_input(&at, 0), ones;
	double low, high;

	fg_ir_integer_range(x.integer, &low, &high);
	ones = fg_lower_whole_number(&at,
				     x.integer.is_unsigned && x.integer.bits ? (int64_t)high : -1);
	ones.integer = x.integer;
	return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_SUB, ones, x));
}

const struct fg_op fg_ops_whole[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "BitShift", 2, 2, 1, lower_bit_shift, 0},
	{"", "BitwiseAnd", 2, 2, 1, lower_bits, AND},
	{"", "BitwiseNot", 1, 1, 1, lower_bitwise_not, 0},
	{"", "BitwiseOr", 2, 2, 1, lower_bits, OR},
	{"", "BitwiseXor", 2, 2, 1, lower_bits, XOR},
	{"", "Mod", 2, 2, 1, lower_mod, 0},
	{0},
};
