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

/*
 * `count` rows of inputs (fewer for very wide models), the same ones each time, a longer run
 * beginning with the shorter; in `arena`. `ir` is best as lowered: then it tells where the numbers
 * lie that the model is made for (within three deviations of a scaler's offset, whole numbers below
 * the smallest table for ids, else [-1, 1)). The outputs are NULL. -ENOMEM.
 */
int fg_golden_rows_make(const struct fg_ir *ir, struct fg_arena *arena, uint32_t count,
			struct fg_golden_rows *rows, struct fg_error *error);

#endif
