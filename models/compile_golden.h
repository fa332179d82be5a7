/* compile_golden.h: golden rows as a plan holds them, from those that a version ships, or made. */
#ifndef FG_MODELS_COMPILE_GOLDEN_H
#define FG_MODELS_COMPILE_GOLDEN_H

#include "models/arena.h"
#include "models/compile_plan.h"
#include "models/error.h"
#include "models/golden.h"
#include "models/ir.h"

/* The parts of `golden`, by their names, side by side in the model's order; in `arena`. -EINVAL
 * with *error naming the input or output that is missing, unknown, there twice or of another
 * width; -ENOMEM. */
int fg_golden_rows_join(const struct fg_ir *ir, const struct fg_golden *golden,
			struct fg_arena *arena, struct fg_golden_rows *rows,
			struct fg_error *error);

/* FG_GOLDEN_MADE_ROWS rows (fewer for very wide models) of inputs, the same ones each time; in
 * `arena`. The outputs are NULL. -ENOMEM. */
int fg_golden_rows_make(const struct fg_ir *ir, struct fg_arena *arena, struct fg_golden_rows *rows,
			struct fg_error *error);

#endif
