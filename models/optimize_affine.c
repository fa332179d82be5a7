/*
 * Products and sums with constants: what a step is of them, and two such steps as one.
 *
 * x * s + t has lost the digits that (x - o) * s has, where x is near an o that is large next to
 * 1 / s: a difference of neighbours is exact (Sterbenz), a rounded product is not. So two steps
 * become one only where no digit is lost in between: offsets and shifts meet only if their sum is
 * exact, and only a scale that is a power of two, which rounds nothing, is moved past a sum.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include "models/optimize_steps.h"

/*
 * A product by a rounded scale is off by 2^-24 of itself, and by as much again where it is rounded;
 * so it is off by no more than 1e-6 next to a shift that is no larger than this, which is what is
 * left where the two cancel.
 */
#define MOST_SHIFT 8.0f

/* One column of it; no shift is -0, as + 0 would make 0 of a product that is -0. */
struct column {
	float offset;
	float scale;
	float shift;
};

static float *new_floats(const struct fg_optimizer *optimizer, size_t count)
{
	return fg_arena_alloc(optimizer->ir->arena, count, sizeof(float));
}

bool fg_all_finite(const float *numbers, size_t count)
{
	for (size_t i = 0; numbers && i < count; i++)
		if (!isfinite(numbers[i]))
			return false;
	return true;
}

/* -ENOMEM; 1: it has the scale of MUL or DIV, the shift of ADD or SUB; 0: an inverse has too few
 * digits. */
static int derive(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
		  struct fg_affine *affine)
{
	const bool inverse = step->kind == FG_STEP_DIV, minus = step->kind == FG_STEP_SUB;
	const size_t cols = fg_step_cols(step);
	const float *numbers = step->constant;

	if (inverse || minus) {
		float *changed = new_floats(optimizer, cols);

		if (!changed)
			return -ENOMEM;
		for (size_t i = 0; i < cols; i++) {
			changed[i] = minus ? -step->constant[i] : 1.0f / step->constant[i];
			if (inverse && !isnormal(changed[i]))
				return 0;
		}
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

	if (step->whole)
		return 0;
	*affine = (struct fg_affine){.is_rounded = step->kind >= FG_STEP_DIV};
	if (step->kind == FG_STEP_AFFINE) {
		affine->scale = step->weights;
		affine->shift = step->bias;
		affine->is_rounded = true;
	} else if (step->kind == FG_STEP_CENTER) {
		affine->offset = step->weights;
		affine->scale = affine->offset + cols;
		affine->shift = step->bias;
	} else if (step->kind >= FG_STEP_ADD && step->kind <= FG_STEP_DIV && step->constant) {
		result = derive(optimizer, step, affine);
	} else {
		return 0;
	}
	if (result <= 0)
		return result;
	return fg_all_finite(affine->offset, cols) && fg_all_finite(affine->scale, cols) &&
	       fg_all_finite(affine->shift, cols);
}

/* ---- two in one --------------------------------------------------------------------------- */

bool fg_is_power_of_two(float number)
{
	int exponent;

	return fabsf(frexpf(number, &exponent)) == 0.5f;
}

/* a + b in float, when that is exact. */
static bool exact_sum(double a, double b, float *sum)
{
	const double all = a + b;

	*sum = (float)all;
	return *sum == all && all - a == b && all - b == a;
}

/* A sum after a product by a power of two as the difference before it. */
static struct column early(struct column column)
{
	const double offset = -(double)column.shift / column.scale;

	if (column.offset == 0 && column.shift != 0 && fg_is_power_of_two(column.scale) &&
	    (float)offset == offset) {
		column.offset = (float)offset;
		column.shift = -0.0f;
	}
	return column;
}

/* And back: one product and sum is less than a difference and a product. */
static struct column late(struct column column)
{
	const double shift = -(double)column.offset * column.scale;

	if (column.shift == 0 && column.offset != 0 && fg_is_power_of_two(column.scale) &&
	    (float)shift == shift) {
		column.offset = 0;
		column.shift = (float)shift;
	}
	return column;
}

static struct column column_of(const struct fg_affine *affine, size_t i)
{
	return early((struct column){affine->offset ? affine->offset[i] : 0.0f,
				     affine->scale ? affine->scale[i] : 1.0f,
				     affine->shift ? affine->shift[i] : -0.0f});
}

bool fg_product_ok(float a, float b)
{
	const float product = a * b;

	return isfinite(product) && (fabsf(product) >= FLT_MIN || a == 0 || b == 0);
}

/* *both: second(first(x)). False where that would lose digits. `is_rounded`: first's scale is. */
static bool merge_column(struct column first, struct column second, bool is_rounded,
			 struct column *both)
{
	float between; /* what is added between the two scales */

	*both = (struct column){first.offset, first.scale * second.scale, second.shift};
	if (!fg_product_ok(first.scale, second.scale) ||
	    !exact_sum(first.shift, -(double)second.offset, &between))
		return false;
	is_rounded = (is_rounded && !fg_is_power_of_two(first.scale)) ||
		     both->scale != (double)first.scale * second.scale;
	if (between != 0 &&
	    !(fg_is_power_of_two(first.scale) &&
	      exact_sum(first.offset, -(double)between / first.scale, &both->offset))) {
		/* Behind the second scale, or not at all. */
		if (!fg_is_power_of_two(second.scale) ||
		    !exact_sum((double)between * second.scale, second.shift, &both->shift))
			return false;
		both->offset = first.offset;
	}
	return !is_rounded || fabsf(both->shift) <= MOST_SHIFT;
}

/* The arrays of a step that does `count` columns. */
static void store(struct fg_ir_step *step, const struct column *columns, size_t count,
		  float *offset, float *scale, float *shift)
{
	bool is_affine = true;

	for (size_t i = 0; i < count; i++)
		is_affine &= late(columns[i]).offset == 0;
	for (size_t i = 0; i < count; i++) {
		const struct column column = is_affine ? late(columns[i]) : columns[i];

		offset[i] = column.offset;
		scale[i] = column.scale;
		shift[i] = column.shift;
	}
	step->kind = is_affine ? FG_STEP_AFFINE : FG_STEP_CENTER;
	step->weights = is_affine ? scale : offset;
	step->bias = shift;
	step->constant = NULL;
}

int fg_merge_affine(const struct fg_optimizer *optimizer, const struct fg_ir_step *before,
		    const struct fg_affine *last, struct fg_ir_step *merged)
{
	const size_t cols = fg_step_cols(before);
	struct column *columns;
	struct fg_affine first;
	float *offset, *shift;
	int result = fg_step_affine(optimizer, before, &first);

	if (result <= 0)
		return result;
	columns = fg_arena_alloc(optimizer->ir->arena, cols, sizeof(*columns));
	offset = new_floats(optimizer, 2 * cols);
	shift = new_floats(optimizer, cols);
	if (!columns || !offset || !shift)
		return -ENOMEM;
	for (size_t i = 0; i < cols; i++)
		if (!merge_column(column_of(&first, i), column_of(last, i), first.is_rounded,
				  &columns[i]))
			return 0;
	store(merged, columns, cols, offset, offset + cols, shift);
	merged->in = before->in;
	return 1;
}
