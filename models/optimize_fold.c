/* Constants into weights, activations and sums into the steps before them. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/optimize_steps.h"
#include "models/plan_shape.h"

/*
 * (x - o) s W as x (s W) - o s W: next to an x near o, both are rounded at their size, not at that
 * of their difference. `through` is the sum of the sizes that such an output goes through, `spread`
 * the root of the sum of its squared weights: the size that it has where what goes into the layer
 * is of size 1 and independent. Rounding twice by 2^-24 must stay below 1e-6 of that. A format that
 * rounds weights by more has no room at all.
 */
#define MOST_THROUGH 8.0

static bool has_room(double through, double square, enum fg_weights format)
{
	return format == FG_WEIGHTS_F32 ? through <= MOST_THROUGH * sqrt(square) : through == 0;
}

static float *new_floats(const struct fg_optimizer *optimizer, size_t count)
{
	return fg_arena_alloc(optimizer->ir->arena, count, sizeof(float));
}

static float offset_at(const struct fg_affine *affine, size_t i)
{
	return affine->offset ? affine->offset[i] : 0.0f;
}

static float scale_at(const struct fg_affine *affine, size_t i)
{
	return affine->scale ? affine->scale[i] : 1.0f;
}

static float shift_at(const struct fg_affine *affine, size_t i)
{
	return affine->shift ? affine->shift[i] : 0.0f;
}

/* The same numbers for each of `groups` groups of `cols` columns. */
static bool is_periodic(const float *numbers, size_t groups, size_t cols)
{
	for (size_t i = cols; numbers && i < groups * cols; i++)
		if (numbers[i] != numbers[i - cols])
			return false;
	return true;
}

/* `step` becomes `by`, which also does what `taken` did, and ends with the activation that it has.
 */
static int take_over(struct fg_optimizer *optimizer, struct fg_ir_step *step,
		     struct fg_ir_step *taken, struct fg_ir_step by)
{
	by.activation = step->activation;
	by.alpha = step->alpha;
	by.beta = step->beta;
	fg_step_kill(optimizer, taken);
	fg_step_replace(optimizer, step, &by);
	return 1;
}

/* Both are affine: step(before(x)) in one. */
static int merge_affine(struct fg_optimizer *optimizer, struct fg_ir_step *step,
			struct fg_ir_step *before, const struct fg_affine *last)
{
	struct fg_ir_step merged = *step;
	int result = fg_merge_affine(optimizer, before, last, &merged);

	if (result <= 0)
		return result;
	optimizer->ir->folded = true;
	return take_over(optimizer, step, before, merged);
}

/* The same numbers in each of `groups` groups of `cols` columns. */
static bool is_periodic_affine(const struct fg_affine *affine, size_t groups, size_t cols)
{
	return is_periodic(affine->offset, groups, cols) &&
	       is_periodic(affine->scale, groups, cols) && is_periodic(affine->shift, groups, cols);
}

static double square_of(const float *weights, size_t in, size_t out, size_t c)
{
	double square = 0;

	for (size_t k = 0; k < in; k++)
		square += (double)weights[k * out + c] * weights[k * out + c];
	return square;
}

/*
 * An affine step behind a dense one goes into its weights and bias, where what then stands against
 * the products leaves room, or nothing is rounded but the bias.
 */
static int fold_behind(struct fg_optimizer *optimizer, struct fg_ir_step *step,
		       struct fg_ir_step *dense, const struct fg_affine *affine)
{
	const size_t in = dense->in_cols, out = dense->out_cols;
	const float *from = dense->weights;
	struct fg_ir_step folded = *dense;
	float *weights, *bias;

	if (dense->other.rows != FG_IR_NONE || dense->constant ||
	    !is_periodic_affine(affine, dense->groups, out))
		return 0;
	weights = affine->scale ? new_floats(optimizer, in * out) : NULL;
	bias = new_floats(optimizer, out);
	if ((affine->scale && !weights) || !bias)
		return -ENOMEM;
	for (size_t c = 0; c < out; c++) {
		double left = (double)dense->bias[c] - offset_at(affine, c);

		if (!fg_is_power_of_two(scale_at(affine, c)) &&
		    !has_room(fabs(left), square_of(from, in, out, c), FG_WEIGHTS_F32))
			return 0;
		bias[c] = (float)(left * scale_at(affine, c) + shift_at(affine, c));
	}
	for (size_t i = 0; weights && i < in * out; i++) {
		if (!fg_product_ok(from[i], affine->scale[i % out]))
			return 0;
		weights[i] = from[i] * affine->scale[i % out];
	}
	if (!fg_all_finite(bias, out))
		return 0;
	folded.weights = weights ? weights : dense->weights;
	folded.bias = bias;
	optimizer->ir->folded |= weights != NULL;
	return take_over(optimizer, step, dense, folded);
}

/* What the bytes of INT8's inputs hold depends on how large the columns are next to each other. */
static bool keeps_sizes(const struct fg_affine *affine, size_t cols, enum fg_weights format)
{
	for (size_t i = 1; format == FG_WEIGHTS_INT8 && affine->scale && i < cols; i++)
		if (affine->scale[i] != affine->scale[0])
			return false;
	return true;
}

/* Column `c` of the layer's weights and bias with `affine` before it. False: there is no room. */
static bool fold_column(const struct fg_ir_step *dense, const struct fg_affine *affine,
			enum fg_weights format, size_t c, float *weights, float *bias)
{
	const size_t in = dense->in_cols, out = dense->out_cols;
	const float *from = dense->weights;
	double sum = dense->bias[c], through = 0;

	for (size_t k = 0; k < in; k++) {
		const float weight = from[k * out + c], scale = scale_at(affine, k);
		double first = (double)offset_at(affine, k) * scale;
		double left = shift_at(affine, k) - first;

		if (!fg_product_ok(scale, weight))
			return false;
		sum += left * weight;
		through += fmax(fabs(first), fabs(left)) * fabs(weight);
		weights[k * out + c] = scale * weight;
	}
	bias[c] = (float)sum;
	return isfinite(bias[c]) && has_room(through, square_of(from, in, out, c), format);
}

/* An affine step before a dense one: ((x - o) s + t) W + b = x (s W) + ((t - o s) W + b). */
static int fold_before(struct fg_optimizer *optimizer, struct fg_ir_step *dense)
{
	const size_t in = dense->in_cols, out = dense->out_cols;
	const enum fg_weights format = out < FG_PANEL_COLS ? FG_WEIGHTS_F32 : optimizer->format;
	struct fg_ir_step *before =
		fg_step_only_for(optimizer, dense->in, fg_step_operand_cols(dense, 0));
	struct fg_ir_step folded = *dense;
	struct fg_affine affine;
	float *weights, *bias;
	int result;

	if (!before || before->activation != FG_ACTIVATION_NONE)
		return 0;
	result = fg_step_affine(optimizer, before, &affine);
	if (result <= 0)
		return result;
	if (!is_periodic_affine(&affine, dense->groups, in) || !keeps_sizes(&affine, in, format))
		return 0;
	weights = new_floats(optimizer, in * out);
	bias = new_floats(optimizer, out);
	if (!weights || !bias)
		return -ENOMEM;
	for (size_t c = 0; c < out; c++)
		if (!fold_column(dense, &affine, format, c, weights, bias))
			return 0;
	folded.in = before->in;
	folded.weights = weights;
	folded.bias = bias;
	optimizer->ir->folded = true;
	return take_over(optimizer, dense, before, folded);
}

static int fold_affine(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	struct fg_ir_step *before = fg_step_only_for(optimizer, step->in, fg_step_cols(step));
	struct fg_affine affine;
	int result;

	if (!before || before->activation != FG_ACTIVATION_NONE)
		return 0;
	result = fg_step_affine(optimizer, step, &affine);
	if (result <= 0)
		return result;
	if (before->kind == FG_STEP_DENSE)
		return fold_behind(optimizer, step, before, &affine);
	return merge_affine(optimizer, step, before, &affine);
}

/* The kinds that apply an activation to what they compute (models/kernels.h). */
static bool can_activate(const struct fg_ir_step *step)
{
	return fg_plan_shape_of(step->kind, step->operation).activation &&
	       step->activation == FG_ACTIVATION_NONE && step->kind != FG_STEP_ACTIVATION;
}

static int fuse_activation(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	struct fg_ir_step *before = fg_step_only_for(optimizer, step->in, fg_step_cols(step));

	if (step->activation == FG_ACTIVATION_NONE || !before || !can_activate(before))
		return 0;
	return take_over(optimizer, step, before, *before);
}

/* x W + b and then + other: a residual connection. */
static int fuse_sum(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	for (uint32_t operand = 0; operand < 2; operand++) {
		struct fg_ir_span span = *fg_step_operand(step, operand);
		struct fg_ir_step *dense = fg_step_only_for(optimizer, span, fg_step_cols(step));
		struct fg_ir_step fused;

		if (!dense || dense->kind != FG_STEP_DENSE ||
		    dense->activation != FG_ACTIVATION_NONE || dense->other.rows != FG_IR_NONE)
			continue;
		fused = *dense;
		fused.other = *fg_step_operand(step, !operand);
		return take_over(optimizer, step, dense, fused);
	}
	return 0;
}

int fg_optimize_fold(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	if (step->kind == FG_STEP_DENSE)
		return fold_before(optimizer, step);
	if (step->kind == FG_STEP_ACTIVATION)
		return fuse_activation(optimizer, step);
	if (step->kind == FG_STEP_ADD && !step->constant)
		return fuse_sum(optimizer, step);
	if (step->kind == FG_STEP_CENTER ||
	    (step->kind >= FG_STEP_AFFINE && step->kind <= FG_STEP_DIV))
		return fold_affine(optimizer, step);
	return 0;
}
