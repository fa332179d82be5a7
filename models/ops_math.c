/* Elementwise operators: arithmetic, activations, comparisons, logic. */
#include <float.h>
#include <math.h>
#include "models/ops.h"
#include "models/ops_lower.h"

/* ---- of one value ---- */

/* fg_op.variant: an activation without parameters. */
static int lower_unary(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_input(&at, 0), out;

	if (at.result || !fg_lower_is_whole(&in))
		return fg_lower_done(&at, fg_lower_unary(&at, node->op->variant, in));
	switch (node->op->variant) {
	case FG_ACTIVATION_ABS:
		out = fg_lower_abs(&at, in);
		break;
	case FG_ACTIVATION_RELU:
		out = fg_lower_binary(&at, FG_STEP_MAX, in, fg_lower_number_like(&at, &in, 0));
		break;
	case FG_ACTIVATION_SIGN:
		out = fg_lower_unary(&at, FG_ACTIVATION_SIGN, in);
		out = fg_lower_as_integer(&at, out, in.integer, -1, 1);
		break;
	default:
		out = fg_lower_unary(&at, node->op->variant, in);
	}
	return fg_lower_done(&at, out);
}

static int lower_neg(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_input(&at, 0);

	/* Not 0 - x: that gives 0 for 0, not -0. */
	return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_MUL, in,
						  fg_lower_number_like(&at, &in, -1)));
}

/* fg_op.variant: an activation with the parameter alpha. */
static int lower_alpha(struct fg_ir *ir, const struct fg_node *node, float otherwise,
		       struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	float alpha = fg_lower_float(&at, "alpha", otherwise);

	if (node->op->variant == FG_ACTIVATION_CELU && alpha == 0)
		fg_lower_fail(&at, "alpha is 0, but x is divided by it");
	return fg_lower_done(&at, fg_lower_activation(&at, node->op->variant, alpha, 0,
						      fg_lower_input(&at, 0)));
}

static int lower_leaky_relu(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	return lower_alpha(ir, node, 0.01f, error);
}

/* Elu, Celu, Swish */
static int lower_alpha_1(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	return lower_alpha(ir, node, 1.0f, error);
}

static int lower_selu(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	float alpha = fg_lower_float(&at, "alpha", 1.67326319217681884765625f);
	float gamma = fg_lower_float(&at, "gamma", 1.05070102214813232421875f);

	return fg_lower_done(&at, fg_lower_activation(&at, FG_ACTIVATION_SELU, alpha, gamma,
						      fg_lower_input(&at, 0)));
}

static int lower_hard_sigmoid(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	float alpha = fg_lower_float(&at, "alpha", 0.2f), beta = fg_lower_float(&at, "beta", 0.5f);

	return fg_lower_done(&at, fg_lower_activation(&at, FG_ACTIVATION_HARD_SIGMOID, alpha, beta,
						      fg_lower_input(&at, 0)));
}

static int lower_gelu(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_text approximate = fg_lower_text(&at, "approximate", "none");
	bool tanh_form = fg_text_is(approximate, "tanh");

	if (!tanh_form && !fg_text_is(approximate, "none"))
		fg_lower_fail(&at, "approximate must be 'none' or 'tanh'");
	return fg_lower_done(&at, fg_lower_unary(&at,
						 tanh_form ? FG_ACTIVATION_GELU_TANH
							   : FG_ACTIVATION_GELU,
						 fg_lower_input(&at, 0)));
}

/* x > alpha ? x : 0 */
static int lower_thresholded_relu(struct fg_ir *ir, const struct fg_node *node,
				  struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value alpha = fg_lower_number(&at, fg_lower_float(&at, "alpha", 1.0f));
	struct fg_ir_value x = fg_lower_input(&at, 0);

	return fg_lower_done(&at, fg_lower_select(&at, fg_lower_binary(&at, FG_STEP_LESS, alpha, x),
						  x, fg_lower_number(&at, 0)));
}

/* A bound of Clip: input `i`, or the attribute `name` (before opset 11), or none. */
static struct fg_ir_value clip_bound(struct fg_lower *at, uint32_t i, const char *name,
				     float otherwise)
{
	struct fg_ir_value bound;

	if (!fg_lower_has(at, i))
		return fg_lower_number(at, fg_lower_float(at, name, otherwise));
	bound = fg_lower_constant(at, i, name);
	if (!at->result && bound.constant->count != 1)
		fg_lower_fail(at, "%s has %zu numbers, must have 1", name, bound.constant->count);
	return fg_lower_reshape(at, bound, 0, NULL);
}

/* Floats, also when they stand for integers, and bounds that are. Integers have both: without one
 * the range of floats would not be theirs. */
static bool is_plain(const struct fg_ir_value *in, const struct fg_ir_value *low,
		     const struct fg_ir_value *high)
{
	if (fg_lower_is_whole(in) && !(fg_lower_is_i64(low) && fg_lower_is_i64(high)))
		return false;
	return fg_ir_exact_form(in) == FG_IR_F32 && !fg_lower_is_i64(in) && fg_ir_fits_f32(low) &&
	       fg_ir_fits_f32(high);
}

static int lower_clip(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_input(&at, 0);
	struct fg_ir_value low = clip_bound(&at, 1, "min", -FLT_MAX);
	struct fg_ir_value high = clip_bound(&at, 2, "max", FLT_MAX);
	struct fg_ir_value out;
	const float *a, *b;

	if (!at.result && !is_plain(&in, &low, &high)) {
		in = fg_lower_has(&at, 1) ? fg_lower_binary(&at, FG_STEP_MAX, in, low) : in;
		in = fg_lower_has(&at, 2) ? fg_lower_binary(&at, FG_STEP_MIN, in, high) : in;
		return fg_lower_done(&at, in);
	}
	a = fg_lower_floats(&at, low);
	b = fg_lower_floats(&at, high);
	if (at.result)
		return at.result;
	out = fg_lower_activation(&at, FG_ACTIVATION_CLIP, *a, *b, in);
	if (fg_lower_is_whole(&in))
		out = fg_lower_as_integer(&at, out, in.integer, fmin(*a, *b), *b);
	return fg_lower_done(&at, out);
}

/* Infinite, of the signs that are asked for. */
static int lower_is_inf(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool negative = fg_lower_int(&at, "detect_negative", 1);
	bool positive = fg_lower_int(&at, "detect_positive", 1);
	struct fg_ir_value in = fg_lower_input(&at, 0);

	if (negative && positive)
		in = fg_lower_unary(&at, FG_ACTIVATION_ABS, in);
	if (negative || positive)
		in = fg_lower_binary(&at, FG_STEP_EQUAL, in,
				     fg_lower_number(&at, positive ? INFINITY : -INFINITY));
	else
		in = fg_lower_binary(&at, FG_STEP_LESS, in, fg_lower_number(&at, -INFINITY));
	return fg_lower_done(&at, in);
}

/* ---- of two values, numpy's broadcasting ---- */

/* fg_op.variant: ADD .. EQUAL of input 0 and input 1. */
static int lower_binary(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1);

	return fg_lower_done(&at, fg_lower_binary(&at, node->op->variant, a, b));
}

/* fg_op.variant: of input 1 and input 0. */
static int lower_swapped(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1);

	return fg_lower_done(&at, fg_lower_binary(&at, node->op->variant, b, a));
}

/* Integers by way of float64, but squares and cubes, which wrap: as in onnxruntime. */
static struct fg_ir_value integer_power(struct fg_lower *at, struct fg_ir_value base,
					struct fg_ir_value power, double single)
{
	const struct fg_integer none = {0};

	if (at->result || single == 2)
		return fg_lower_binary(at, FG_STEP_MUL, base, base);
	if (single == 3)
		return fg_lower_binary(at, FG_STEP_MUL, base,
				       fg_lower_binary(at, FG_STEP_MUL, base, base));
	return fg_lower_near_integer(at,
				     fg_lower_wide(at, FG_WIDE_F64_POW,
						   fg_lower_cast(at, base, FG_ELEMENT_F64, none),
						   fg_lower_cast(at, power, FG_ELEMENT_F64, none)),
				     base.integer, false);
}

static int lower_pow(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value base = fg_lower_input(&at, 0), power = fg_lower_input(&at, 1);
	bool same = power.constant && power.constant->count == 1 && power.rank <= base.rank;
	double single = !at.result && same ? fg_tensor_number(power.constant, 0) : 0;

	if (fg_lower_is_whole(&base))
		return fg_lower_done(&at, integer_power(&at, base, power, single));
	if (single == 2)
		return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_MUL, base, base));
	if (fg_lower_is_whole(&power)) /* of any type; the result is of the base's */
		power = fg_lower_cast(&at, power, FG_ELEMENT_F32, power.integer);
	return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_POW, base, power));
}

/* slope is broadcast to x, not the other way round. */
static int lower_prelu(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_input(&at, 0), slope = fg_lower_input(&at, 1), below;

	if (slope.rank > x.rank)
		fg_lower_fail(&at, "the slope has %u dimensions, x has %u", slope.rank, x.rank);
	if (fg_lower_is_whole(&x) && fg_lower_is_whole(&slope)) {
		below = fg_lower_binary(&at, FG_STEP_LESS, x, fg_lower_number_like(&at, &x, 0));
		slope = fg_lower_binary(&at, FG_STEP_MUL, x, slope);
		return fg_lower_done(&at, fg_lower_select(&at, below, slope, x));
	}
	return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_PRELU, x, slope));
}

static int lower_xor(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1);

	return fg_lower_done(&at, fg_lower_unary(&at, FG_ACTIVATION_NOT,
						 fg_lower_binary(&at, FG_STEP_EQUAL, a, b)));
}

/* ---- of any number of values ---- */

static struct fg_ir_value fold(struct fg_lower *at, enum fg_step_kind kind)
{
	struct fg_ir_value out = fg_lower_input(at, 0);

	for (uint32_t i = 1; i < at->node->input_count; i++)
		out = fg_lower_binary(at, kind, out, fg_lower_input(at, i));
	return out;
}

/* fg_op.variant: MIN, MAX, ADD. */
static int lower_variadic(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};

	return fg_lower_done(&at, fold(&at, node->op->variant));
}

static int lower_mean(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value sum = fold(&at, FG_STEP_ADD);

	return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_DIV, sum,
						  fg_lower_number(&at, (float)node->input_count)));
}

static int lower_where(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value condition = fg_lower_input(&at, 0), a = fg_lower_input(&at, 1);

	return fg_lower_done(&at, fg_lower_select(&at, condition, a, fg_lower_input(&at, 2)));
}

const struct fg_op fg_ops_math[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "Abs", 1, 1, 1, lower_unary, FG_ACTIVATION_ABS},
	{"", "Add", 2, 2, 1, lower_binary, FG_STEP_ADD},
	{"", "And", 2, 2, 1, lower_binary, FG_STEP_MIN},
	{"", "Ceil", 1, 1, 1, lower_unary, FG_ACTIVATION_CEIL},
	{"", "Celu", 1, 1, 1, lower_alpha_1, FG_ACTIVATION_CELU},
	{"", "Clip", 1, 3, 1, lower_clip, 0},
	{"", "Div", 2, 2, 1, lower_binary, FG_STEP_DIV},
	{"", "Elu", 1, 1, 1, lower_alpha_1, FG_ACTIVATION_ELU},
	{"", "Equal", 2, 2, 1, lower_binary, FG_STEP_EQUAL},
	{"", "Erf", 1, 1, 1, lower_unary, FG_ACTIVATION_ERF},
	{"", "Exp", 1, 1, 1, lower_unary, FG_ACTIVATION_EXP},
	{"", "Floor", 1, 1, 1, lower_unary, FG_ACTIVATION_FLOOR},
	{"", "Gelu", 1, 1, 1, lower_gelu, 0},
	{"", "Greater", 2, 2, 1, lower_swapped, FG_STEP_LESS},
	{"", "GreaterOrEqual", 2, 2, 1, lower_swapped, FG_STEP_LESS_EQUAL},
	{"", "HardSigmoid", 1, 1, 1, lower_hard_sigmoid, 0},
	{"", "HardSwish", 1, 1, 1, lower_unary, FG_ACTIVATION_HARD_SWISH},
	{"", "IsInf", 1, 1, 1, lower_is_inf, 0},
	{"", "IsNaN", 1, 1, 1, lower_unary, FG_ACTIVATION_IS_NAN},
	{"", "LeakyRelu", 1, 1, 1, lower_leaky_relu, FG_ACTIVATION_LEAKY_RELU},
	{"", "Less", 2, 2, 1, lower_binary, FG_STEP_LESS},
	{"", "LessOrEqual", 2, 2, 1, lower_binary, FG_STEP_LESS_EQUAL},
	{"", "Log", 1, 1, 1, lower_unary, FG_ACTIVATION_LOG},
	{"", "Max", 1, FG_OP_MANY, 1, lower_variadic, FG_STEP_MAX},
	{"", "Mean", 1, FG_OP_MANY, 1, lower_mean, 0},
	{"", "Min", 1, FG_OP_MANY, 1, lower_variadic, FG_STEP_MIN},
	{"", "Mish", 1, 1, 1, lower_unary, FG_ACTIVATION_MISH},
	{"", "Mul", 2, 2, 1, lower_binary, FG_STEP_MUL},
	{"", "Neg", 1, 1, 1, lower_neg, 0},
	{"", "Not", 1, 1, 1, lower_unary, FG_ACTIVATION_NOT},
	{"", "Or", 2, 2, 1, lower_binary, FG_STEP_MAX},
	{"", "PRelu", 2, 2, 1, lower_prelu, 0},
	{"", "Pow", 2, 2, 1, lower_pow, 0},
	{"", "Reciprocal", 1, 1, 1, lower_unary, FG_ACTIVATION_RECIPROCAL},
	{"", "Relu", 1, 1, 1, lower_unary, FG_ACTIVATION_RELU},
	{"", "Round", 1, 1, 1, lower_unary, FG_ACTIVATION_ROUND},
	{"", "Selu", 1, 1, 1, lower_selu, 0},
	{"", "Sigmoid", 1, 1, 1, lower_unary, FG_ACTIVATION_SIGMOID},
	{"", "Sign", 1, 1, 1, lower_unary, FG_ACTIVATION_SIGN},
	{"", "Softplus", 1, 1, 1, lower_unary, FG_ACTIVATION_SOFTPLUS},
	{"", "Softsign", 1, 1, 1, lower_unary, FG_ACTIVATION_SOFTSIGN},
	{"", "Sqrt", 1, 1, 1, lower_unary, FG_ACTIVATION_SQRT},
	{"", "Sub", 2, 2, 1, lower_binary, FG_STEP_SUB},
	{"", "Sum", 1, FG_OP_MANY, 1, lower_variadic, FG_STEP_ADD},
	{"", "Swish", 1, 1, 1, lower_alpha_1, FG_ACTIVATION_SILU},
	{"", "Tanh", 1, 1, 1, lower_unary, FG_ACTIVATION_TANH},
	{"", "ThresholdedRelu", 1, 1, 1, lower_thresholded_relu, 0},
	{"", "Where", 3, 3, 1, lower_where, 0},
	{"", "Xor", 2, 2, 1, lower_xor, 0},
	{0},
};
