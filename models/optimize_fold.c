/* Constants into weights, activations and sums into the steps before them. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/optimize_steps.h"

/*
 * (x + shift) W as x W + shift W loses what is small beside shift W: with |shift| <= 8 no more than
 * the 3 last bits. Scalers of data far from 0 (a year, a price) stay a step of their own.
 */
#define MOST_SHIFT 8.0f

static float *new_floats(const struct fg_optimizer *optimizer, size_t count)
{
	return fg_arena_alloc(optimizer->ir->arena, count, sizeof(float));
}

static bool all_finite(const float *numbers, size_t count)
{
	for (size_t i = 0; numbers && i < count; i++)
		if (!isfinite(numbers[i]))
			return false;
	return true;
}

/* -ENOMEM; 1: `changed` (scale of MUL and DIV, shift of ADD and SUB) is filled; 0: does not fit. */
static int derive(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
		  struct fg_affine *affine)
{
	const bool inverse = step->kind == FG_STEP_DIV, minus = step->kind == FG_STEP_SUB;
	const size_t cols = fg_step_cols(step);
	const float *numbers = step->constant;

	*affine = (struct fg_affine){NULL, NULL};
	if (inverse || minus) {
		float *changed = new_floats(optimizer, cols);

		if (!changed)
			return -ENOMEM;
		for (size_t i = 0; i < cols; i++)
			changed[i] = minus ? -step->constant[i] : 1.0f / step->constant[i];
		numbers = changed;
	}
	if (step->kind == FG_STEP_MUL || inverse)
		affine->scale = numbers;
	else
		affine->shift = numbers;
	return 1;
}

int fg_step_affine(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
		   struct fg_affine *affine)
{
	const size_t cols = fg_step_cols(step);
	int result = 1;

	if (step->kind == FG_STEP_AFFINE)
		*affine = (struct fg_affine){step->weights, step->bias};
	else if (step->kind >= FG_STEP_ADD && step->kind <= FG_STEP_DIV && step->constant)
		result = derive(optimizer, step, affine);
	else
		return 0;
	if (result < 0)
		return result;
	return all_finite(affine->scale, cols) && all_finite(affine->shift, cols);
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
	const size_t cols = fg_step_cols(step);
	struct fg_ir_step merged = *step;
	struct fg_affine first;
	float *scale, *shift;
	int result = fg_step_affine(optimizer, before, &first);

	if (result <= 0)
		return result;
	scale = new_floats(optimizer, cols);
	shift = new_floats(optimizer, cols);
	if (!scale || !shift)
		return -ENOMEM;
	for (size_t i = 0; i < cols; i++) {
		scale[i] = scale_at(&first, i) * scale_at(last, i);
		shift[i] = fmaf(shift_at(&first, i), scale_at(last, i), shift_at(last, i));
		/* + 0 would make 0 of a product that is -0. */
		if (!first.shift && !last->shift)
			shift[i] = -0.0f;
	}
	if (!all_finite(scale, cols) || !all_finite(shift, cols))
		return 0;
	merged.kind = FG_STEP_AFFINE;
	merged.in = before->in;
	merged.weights = scale;
	merged.bias = shift;
	merged.constant = NULL;
	return take_over(optimizer, step, before, merged);
}

/* An affine step behind a dense one goes into its weights and bias. */
static int fold_behind(struct fg_optimizer *optimizer, struct fg_ir_step *step,
		       struct fg_ir_step *dense, const struct fg_affine *affine)
{
	const size_t in = dense->in_cols, out = dense->out_cols;
	const float *from = dense->weights;
	struct fg_ir_step folded = *dense;
	float *weights, *bias;

	if (dense->other.rows != FG_IR_NONE || dense->constant ||
	    !is_periodic(affine->scale, dense->groups, out) ||
	    !is_periodic(affine->shift, dense->groups, out))
		return 0;
	weights = affine->scale ? new_floats(optimizer, in * out) : NULL;
	bias = new_floats(optimizer, out);
	if ((affine->scale && !weights) || !bias)
		return -ENOMEM;
	for (size_t c = 0; c < out; c++)
		bias[c] = fmaf(dense->bias[c], scale_at(affine, c), shift_at(affine, c));
	for (size_t i = 0; weights && i < in * out; i++)
		weights[i] = from[i] * affine->scale[i % out];
	if (!all_finite(bias, out) || !all_finite(weights, in * out))
		return 0;
	folded.weights = weights ? weights : dense->weights;
	folded.bias = bias;
	return take_over(optimizer, step, dense, folded);
}

/* An affine step before a dense one: (x s + t) W + b = x (s W) + (t W + b). */
static int fold_before(struct fg_optimizer *optimizer, struct fg_ir_step *dense)
{
	const size_t in = dense->in_cols, out = dense->out_cols;
	struct fg_ir_step *before =
		fg_step_only_for(optimizer, dense->in, fg_step_operand_cols(dense, 0));
	const float *from = dense->weights;
	struct fg_ir_step folded = *dense;
	struct fg_affine affine;
	float *weights, *bias;
	int result;

	if (!before || before->activation != FG_ACTIVATION_NONE)
		return 0;
	result = fg_step_affine(optimizer, before, &affine);
	if (result <= 0)
		return result;
	for (size_t k = 0; k < in; k++)
		if (fabsf(shift_at(&affine, k)) > MOST_SHIFT)
			return 0;
	if (!is_periodic(affine.scale, dense->groups, in) ||
	    !is_periodic(affine.shift, dense->groups, in))
		return 0;
	weights = new_floats(optimizer, in * out);
	bias = new_floats(optimizer, out);
	if (!weights || !bias)
		return -ENOMEM;
	for (size_t c = 0; c < out; c++) {
		double sum = dense->bias[c];

		for (size_t k = 0; k < in; k++) {
			sum += (double)shift_at(&affine, k) * from[k * out + c];
			weights[k * out + c] = scale_at(&affine, k) * from[k * out + c];
		}
		bias[c] = (float)sum;
	}
	if (!all_finite(bias, out) || !all_finite(weights, in * out))
		return 0;
	folded.in = before->in;
	folded.weights = weights;
	folded.bias = bias;
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
	return step->kind <= FG_STEP_EQUAL && step->activation == FG_ACTIVATION_NONE &&
	       step->kind != FG_STEP_ACTIVATION;
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
	if (step->kind >= FG_STEP_AFFINE && step->kind <= FG_STEP_DIV)
		return fold_affine(optimizer, step);
	return 0;
}
