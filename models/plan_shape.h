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
};

struct fg_plan_shape {
	enum fg_plan_cols cols;
	bool elementwise; /* groups == 1 */
	bool in;	  /* reads `in`: all but FILL */
	bool other;	  /* needs `other` (DENSE may have it) */
	bool third;	  /* needs `third` */
	bool activation;  /* may have one */
};

/* `kind` < FG_STEP_KIND_COUNT. */
struct fg_plan_shape fg_plan_shape_of(enum fg_step_kind kind);

/* Bytes at `weights` and at `bias`, 0 where the kind has none. Kind, format, in_cols, out_cols and
 * entries are set and in their ranges. */
uint64_t fg_plan_weights_bytes(const struct fg_plan_step *step);
uint64_t fg_plan_bias_bytes(const struct fg_plan_step *step);

#endif
