/*
 * plan_refuse.h: the steps that may refuse a row, and what to say of one. Only for plan.c.
 *
 * EMBED refuses an id that its table does not have (models/kernels.h says which), LOOKUP with a
 * beta of 1 a value that is not among its keys: the model's own runtime fails there.
 */
#ifndef FG_MODELS_PLAN_REFUSE_H
#define FG_MODELS_PLAN_REFUSE_H

#include <stdbool.h>
#include "models/plan.h"
#include "models/plan_format.h"

static inline bool fg_plan_may_refuse(const struct fg_plan_step *step)
{
	return step->kind == FG_STEP_EMBED || (step->kind == FG_STEP_LOOKUP && step->beta == 1.0f);
}

/* Notes in refusals[row] each of `rows` rows whose columns at `in` step `i` refuses, and which none
 * has refused before. Any alignment; `stride` floats from row to row. */
void fg_plan_refuse(const struct fg_plan *plan, uint32_t i, const float *in, size_t stride,
		    uint32_t rows, struct fg_plan_refusal *refusals);

#endif
