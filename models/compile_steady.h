/*
 * compile_steady.h: which rows a plan answers alike, however it rounds.
 *
 * Kernel sets differ in the last bits. Next to a step of the model (Round, Floor, a comparison, the
 * largest column) that is a whole step in what follows: such a row says nothing about a plan.
 */
#ifndef FG_MODELS_COMPILE_STEADY_H
#define FG_MODELS_COMPILE_STEADY_H

#include <stdbool.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/plan.h"

#define FG_STEADY_RUNS 12 /* of fg_steady_measure, where there are steps that jump */

/* True when some step's result can jump where its input changes a little. */
bool fg_steady_has_jumps(const struct fg_plan *plan);

/* |a - b| / (1 + |b|); 0 where both are the same, also when that is NaN or an infinity. */
float fg_steady_difference(float a, float b);

/*
 * *shaken: (rows) in `arena`: the largest fg_steady_difference that shaking the plan makes in a
 * row's outputs, next to `outputs` (rows, out_cols): all results that are rounded, and all that go
 * into sums, are off at random by some units in the last place, in several runs. 0 for a plan
 * without steps that jump. `rows` is at most FG_PLAN_BLOCK_ROWS. -ENOMEM.
 */
int fg_steady_measure(const struct fg_plan *plan, const float *inputs, uint32_t rows,
		      const float *outputs, struct fg_arena *arena, float **shaken);

#endif
