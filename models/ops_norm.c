/* Normalizations over some dimensions of a row: batch, layer, RMS and Lp norm, softmax. */
#include <math.h>
#include "models/ops.h"
#include "models/ops_lower.h"

/* `in` without a shape that the batch could get into: (channels, 1, ..) next to x (N, channels,
 * ..), or all of a row's dimensions (`spatial` = 0, before opset 9). */
static struct fg_ir_value per_channel(struct fg_lower *at, uint32_t i, const struct fg_ir_value *x)
{
	static const char *const names[] = {"", "the scale", "the bias", "the mean",
					    "the variance"};
	struct fg_ir_value in = fg_lower_constant(at, i, names[i]);
	int64_t channels = x->rank > 1 ? x->dims[1] : 1, dims[FG_GRAPH_MAX_RANK] = {0};
	int64_t all = 1;

	if (at->result)
		return in;
	for (uint32_t d = 1; d < x->rank; d++) {
		dims[d - 1] = d == 1 ? channels : 1;
		all *= x->dims[d];
	}
	if (in.constant->count == (size_t)channels)
		return fg_lower_reshape(at, in, x->rank - 1, dims);
	if (in.constant->count == (size_t)all)
		return fg_lower_reshape(at, in, x->rank - 1, x->dims + 1);
	fg_lower_fail(at, "%s has %zu numbers, input 0 has %lld channels", names[i],
		      in.constant->count, (long long)channels);
	return in;
}

/* (x - mean) / sqrt(variance + epsilon) * scale + bias: the mean comes off first, as what is near a
 * mean far from 0 has no digits to lose. */
static int lower_batch_norm(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_input(&at, 0), epsilon, scale;

	if (fg_lower_int(&at, "training_mode", 0))
		fg_lower_fail(&at, "is in training mode: export the model for inference");
	for (uint32_t i = 1; i < node->output_count; i++)
		if (fg_ir_wanted(ir, node, i))
			fg_lower_fail(&at,
				      "output %u is of training: export the model for inference",
				      i);
	if (!at.result && !x.rank)
		fg_lower_fail(&at, "input 0 is a single number");
	if (at.result)
		return at.result;
	epsilon = fg_lower_number(&at, fg_lower_float(&at, "epsilon", 1e-5f));
	scale = fg_lower_binary(&at, FG_STEP_ADD, per_channel(&at, 4, &x), epsilon);
	scale = fg_lower_binary(&at, FG_STEP_DIV, per_channel(&at, 1, &x),
				fg_lower_unary(&at, FG_ACTIVATION_SQRT, scale));
	x = fg_lower_binary(&at, FG_STEP_SUB, x, per_channel(&at, 3, &x));
	x = fg_lower_binary(&at, FG_STEP_MUL, x, scale);
	return fg_lower_done(&at, fg_lower_binary(&at, FG_STEP_ADD, x, per_channel(&at, 2, &x)));
}

/* The last `axes` dimensions that are normalized together, from the attribute `axis`. */
static uint32_t last_axes(struct fg_lower *at, const struct fg_ir_value *x, int64_t otherwise)
{
	int64_t axis = fg_lower_int(at, "axis", otherwise);

	return x->rank - fg_lower_inner_axis(at, x, axis);
}

/* x * scale + shift (inputs 1 and 2), as far as they are there. */
static struct fg_ir_value scale_and_shift(struct fg_lower *at, struct fg_ir_value x)
{
	if (fg_lower_has(at, 1))
		x = fg_lower_binary(at, FG_STEP_MUL, x, fg_lower_input(at, 1));
	if (fg_lower_has(at, 2))
		x = fg_lower_binary(at, FG_STEP_ADD, x, fg_lower_input(at, 2));
	return x;
}

/* Constant input `i` with one number for each column that is normalized; NULL: not like that. */
static const float *column_numbers(struct fg_lower *at, uint32_t i, const struct fg_ir_value *x,
				   uint32_t axes)
{
	const struct fg_ir_value *value = fg_ir_input(at->ir, at->node, i);

	if (at->result || !value->constant || value->rank > axes)
		return NULL;
	return fg_lower_floats(at, fg_lower_expand(at, *value, axes, x->dims + x->rank - axes));
}

/* Outputs 1 and 2: the mean, and 1 / sqrt(variance + epsilon). */
static void set_statistics(struct fg_lower *at, struct fg_ir_value x, uint32_t axes,
			   struct fg_ir_value epsilon)
{
	struct fg_ir_value mean, d;

	if (at->result || at->node->output_count < 2 ||
	    !(fg_ir_wanted(at->ir, at->node, 1) ||
	      (at->node->output_count > 2 && fg_ir_wanted(at->ir, at->node, 2))))
		return;
	mean = fg_lower_over_last(at, FG_STEP_REDUCE_MEAN, axes, x);
	fg_lower_set(at, 1, mean);
	if (at->node->output_count < 3)
		return;
	d = fg_lower_binary(at, FG_STEP_SUB, x, mean);
	d = fg_lower_over_last(at, FG_STEP_REDUCE_MEAN, axes,
			       fg_lower_binary(at, FG_STEP_MUL, d, d));
	d = fg_lower_unary(at, FG_ACTIVATION_SQRT, fg_lower_binary(at, FG_STEP_ADD, d, epsilon));
	fg_lower_set(at, 2, fg_lower_unary(at, FG_ACTIVATION_RECIPROCAL, d));
}

static int lower_layer_norm(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	float epsilon = fg_lower_float(&at, "epsilon", 1e-5f);
	struct fg_ir_value x = fg_lower_input(&at, 0), out = {0};
	uint32_t axes = last_axes(&at, &x, -1);
	const float *scale = NULL, *shift = NULL;
	bool fused;

	if (at.result)
		return at.result;
	scale = column_numbers(&at, 1, &x, axes);
	if (fg_lower_has(&at, 2))
		shift = column_numbers(&at, 2, &x, axes);
	fused = scale && (shift || !fg_lower_has(&at, 2));
	if (!at.result)
		at.result =
			fg_ir_over_last(ir, node, FG_STEP_NORMALIZE, &x, axes, epsilon,
					fused ? scale : NULL, fused ? shift : NULL, &out, error);
	set_statistics(&at, x, axes, fg_lower_number(&at, epsilon));
	return fg_lower_done(&at, fused ? out : scale_and_shift(&at, out));
}

/* x / sqrt(mean(x * x) + epsilon) * scale */
static int lower_rms_norm(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value epsilon = fg_lower_number(&at, fg_lower_float(&at, "epsilon", 1e-5f));
	struct fg_ir_value x = fg_lower_input(&at, 0), square;
	uint32_t axes = last_axes(&at, &x, -1);

	square = fg_lower_over_last(&at, FG_STEP_REDUCE_MEAN, axes,
				    fg_lower_binary(&at, FG_STEP_MUL, x, x));
	square = fg_lower_binary(&at, FG_STEP_ADD, square, epsilon);
	x = fg_lower_binary(&at, FG_STEP_DIV, x, fg_lower_unary(&at, FG_ACTIVATION_SQRT, square));
	return fg_lower_done(&at, scale_and_shift(&at, x));
}

/* x / norm, and 0 where the norm is 0. */
static int lower_lp_norm(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	int64_t p = fg_lower_int(&at, "p", 2), axis = fg_lower_int(&at, "axis", -1);
	struct fg_ir_value x = fg_lower_input(&at, 0), norm;
	uint32_t inner = fg_lower_inner_axis(&at, &x, axis), last = x.rank - 1;

	if (p != 1 && p != 2)
		fg_lower_fail(&at, "p is %lld, must be 1 or 2", (long long)p);
	norm = fg_lower_over_last(&at, p == 1 ? FG_STEP_REDUCE_L1 : FG_STEP_REDUCE_L2, 1,
				  fg_lower_move_axis(&at, x, inner, last));
	norm = fg_lower_move_axis(&at, norm, last, inner);
	x = fg_lower_binary(&at, FG_STEP_DIV, x, norm);
	return fg_lower_done(&at, fg_lower_select(&at, norm, x, fg_lower_number(&at, 0)));
}

/* fg_op.variant: SOFTMAX, LOG_SOFTMAX. Before opset 13 all dimensions from `axis` on count as one;
 * since then it is that one dimension. */
static int lower_softmax(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool together = ir->graph->opset < 13;
	struct fg_ir_value x = fg_lower_input(&at, 0);
	uint32_t axes = last_axes(&at, &x, together ? 1 : -1), last = x.rank - 1;

	if (together)
		return fg_lower_done(&at, fg_lower_over_last(&at, node->op->variant, axes, x));
	x = fg_lower_over_last(&at, node->op->variant, 1,
			       fg_lower_move_axis(&at, x, last + 1 - axes, last));
	return fg_lower_done(&at, fg_lower_move_axis(&at, x, last, last + 1 - axes));
}

const struct fg_op fg_ops_norm[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "BatchNormalization", 5, 5, 5, lower_batch_norm, 0},
	{"", "LayerNormalization", 2, 3, 3, lower_layer_norm, 0},
	{"", "LogSoftmax", 1, 1, 1, lower_softmax, FG_STEP_LOG_SOFTMAX},
	{"", "LpNormalization", 1, 1, 1, lower_lp_norm, 0},
	{"", "RMSNormalization", 2, 2, 1, lower_rms_norm, 0},
	{"", "Softmax", 1, 1, 1, lower_softmax, FG_STEP_SOFTMAX},
	{0},
};
