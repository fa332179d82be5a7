#include "models/plan_refuse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "models/plan_shape.h"

static float get(const float *at, size_t i)
{
	float value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

/* As the kernel counts them. */
static bool has_id(const struct fg_plan_step *step, float id)
{
	const float entries = (float)step->entries;

	return id == truncf(id) && id < entries && id >= (step->alpha < 0 ? -entries : 0);
}

/* Keys go upward, NaN last. */
static bool has_key(const struct fg_plan *plan, const struct fg_plan_step *step, float value)
{
	const float *keys = (const float *)((const char *)plan->header + step->weights);
	uint32_t low = 0, high = step->entries;

	if (isnan(value))
		return isnan(keys[high - 1]);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (keys[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low < step->entries && keys[low] == value;
}

void fg_plan_refuse(const struct fg_plan *plan, uint32_t i, const float *in, size_t stride,
		    uint32_t rows, struct fg_plan_refusal *refusals)
{
	const struct fg_plan_step *step = &plan->steps[i];
	const uint32_t cols = step->groups * step->in_cols;

	for (uint32_t row = 0; row < rows; row++)
		for (uint32_t col = 0; col < cols && !refusals[row].step; col++) {
			float value = get(in, row * stride + col);

			if (!(step->kind == FG_STEP_EMBED ? has_id(step, value)
							  : has_key(plan, step, value)))
				refusals[row] = (struct fg_plan_refusal){i + 1, col};
		}
}

/* ---- what to say ---- */

/* Where column `col` of what `step` writes comes from, of what it reads; false: from several. */
static bool source(const struct fg_plan *plan, const struct fg_plan_step *step, uint32_t col,
		   struct fg_plan_span *at)
{
	const uint32_t *columns = (const uint32_t *)((const char *)plan->header + step->weights);
	const struct fg_plan_shape shape = fg_plan_shape_of(step->kind, step->operation);

	*at = step->in;
	if (step->kind == FG_STEP_COLUMNS) {
		at->first += col / step->out_cols * step->in_cols + columns[col % step->out_cols];
		return true;
	}
	if (step->kind == FG_STEP_SELECT)
		*at = step->third;
	at->first += shape.cols == FG_PLAN_COLS_WIDE ? col / shape.out_width * shape.in_width : col;
	return shape.elementwise;
}

/* Follows a column back to one of the input. False: it is made of several. *is_copy: it is that
 * number, or what is whole of it. */
static bool find_input(const struct fg_plan *plan, uint32_t before, struct fg_plan_span at,
		       uint32_t *col, bool *is_copy)
{
	*is_copy = true;
	for (uint32_t i = before; i-- > 0 && at.place != FG_PLACE_INPUT;) {
		const struct fg_plan_step *step = &plan->steps[i];
		const uint32_t cols = step->groups * step->out_cols;

		if (step->out.place != at.place || at.first < step->out.first ||
		    at.first >= step->out.first + cols)
			continue;
		if (!source(plan, step, at.first - step->out.first, &at))
			return false;
		*is_copy &= step->kind == FG_STEP_COLUMNS ||
			    (step->kind == FG_STEP_ACTIVATION &&
			     (step->activation == FG_ACTIVATION_NONE ||
			      step->activation == FG_ACTIVATION_TRUNC ||
			      step->activation == FG_ACTIVATION_TO_INTEGER));
	}
	*col = at.first;
	return at.place == FG_PLACE_INPUT;
}

void fg_plan_refusal_text(const struct fg_plan *plan, const struct fg_plan_refusal *refusal,
			  const float *in, char *text, size_t size)
{
	const struct fg_plan_step *step = &plan->steps[refusal->step - 1];
	struct fg_plan_span at = step->in;
	const struct fg_plan_port *port = fg_plan_port(plan, 0);
	uint32_t col = 0;
	bool is_copy;
	int length;

	at.first += refusal->col;
	if (!find_input(plan, refusal->step - 1, at, &col, &is_copy)) {
		snprintf(text, size, "step '%.16s' has no such %s", step->label,
			 step->kind == FG_STEP_EMBED ? "id" : "category");
		return;
	}
	while (col >= port->first + port->cols)
		port++;
	length = snprintf(text, size, "input '%.14s', column %u: %.7g is ", port->name,
			  col - port->first, get(in, col));
	if (length < 0 || (size_t)length >= size)
		return;
	if (is_copy && step->kind == FG_STEP_EMBED)
		snprintf(text + length, size - length, "not in %lld..%lld",
			 step->alpha < 0 ? -(long long)step->entries : 0LL,
			 (long long)step->entries - 1);
	else
		snprintf(text + length, size - length, "no %s of '%.12s'",
			 step->kind == FG_STEP_EMBED ? "id" : "category", step->label);
}
