/* plan_shape.h: what each kind of step takes. Used by the compiler, the check and inspect. */
#ifndef FG_MODELS_PLAN_SHAPE_H
#define FG_MODELS_PLAN_SHAPE_H

#include <stdbool.h>
#include <stdint.h>
#include "models/plan_format.h"

/* How many columns a step gives for those of one group that it takes. */
enum fg_plan_cols {
	FG_PLAN_COLS_FREE, /* DENSE, EMBED, COLUMNS: the weights say */
	FG_PLAN_COLS_SAME, /* in_cols == out_cols */
	FG_PLAN_COLS_ONE,  /* out_cols == 1 */
	FG_PLAN_COLS_WIDE, /* elements of `in_width` columns become as many of `out_width` */
};

struct fg_plan_shape {
	enum fg_plan_cols cols;
	bool elementwise;	      /* groups == 1 */
	bool in;		      /* reads `in`: all but FILL */
	bool other;		      /* needs `other` (DENSE may have it) */
	bool third;		      /* needs `third` */
	bool activation;	      /* may have one */
	uint32_t in_width, out_width; /* FG_PLAN_COLS_WIDE: 1 or 2 */
};

/* Kind and operation are in their ranges. */
struct fg_plan_shape fg_plan_shape_of(enum fg_step_kind kind, enum fg_wide_operation operation);

/* True when the step's kind may have its operation: WIDE has one, WIDE_REDUCE one that can be
 * repeated, all others none. Bounds of I64_WRAP and I64_LIMIT are such as kernels take. */
bool fg_plan_operation_ok(const struct fg_plan_step *step);

/* Bytes at `weights` and at `bias`, 0 where the kind has none. Kind, format, in_cols, out_cols and
 * entries are set and in their ranges. */
uint64_t fg_plan_weights_bytes(const struct fg_plan_step *step);
uint64_t fg_plan_bias_bytes(const struct fg_plan_step *step);

#endif
