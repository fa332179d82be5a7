/* compile_plan.h: from steps (models/ir.h) and golden rows to a plan's bytes. */
#ifndef FG_MODELS_COMPILE_PLAN_H
#define FG_MODELS_COMPILE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "models/ir.h"
#include "models/plan_format.h"
#include "models/warmup.h"

/* The golden rows of a plan. The caller owns what it points to. */
struct fg_golden_rows {
	uint32_t rows;
	float tolerance;
	uint32_t shipped;     /* golden_shipped of the plan */
	const float *inputs;  /* (rows, in_cols) */
	const float *outputs; /* (rows, out_cols); NULL: zeros, until they are known */
};

/*
 * *bytes, *size: the plan with its digest, the caller's to free(). DENSE steps with at least
 * FG_PANEL_COLS columns get weights of this `format`; those that INT8 cannot hold (too many rows,
 * numbers that are not finite) stay f32. format_error is 0. -EINVAL with *error when the model has
 * too many steps, inputs, outputs or intermediate results, or labels that are not texts; -ENOMEM.
 */
int fg_plan_make(const struct fg_ir *ir, enum fg_weights format,
		 const struct fg_golden_rows *golden, void **bytes, size_t *size,
		 struct fg_error *error);

/* Puts other golden rows (no more of them than it was made with), a tolerance and a format_error
 * into a plan's bytes, and a new digest. */
void fg_plan_amend(void *bytes, const struct fg_golden_rows *golden, float format_error);

/* Puts `warmup` (count >= 1) behind the `*size` bytes of a plan that has none, which then stand
 * elsewhere: *bytes was allocated and belongs to the caller as before. -ENOMEM with *error: the
 * plan is as it was. */
int fg_plan_add_warmup(void **bytes, size_t *size, const struct fg_warmup *warmup,
		       struct fg_error *error);

/* What the port of that name is called in a plan: cut where it is too long, '?' for what is not
 * printable ASCII. `to` is all zero. */
void fg_plan_name(char to[FG_PLAN_NAME_BYTES], struct fg_text name);

#endif
