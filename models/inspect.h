/* inspect.h: a plan in words, for people and for scripts, and as a picture. */
#ifndef FG_MODELS_INSPECT_H
#define FG_MODELS_INSPECT_H

#include <stdint.h>
#include <stdio.h>
#include "models/error.h"
#include "models/plan.h"

#define FG_INSPECT_BATCHES 3 /* 1, 8 and 32 rows */
extern const uint32_t fg_inspect_batch[FG_INSPECT_BATCHES];

/* Run times on this CPU with the plan's kernels, medians of many runs in a row: everything is in
 * cache, so a first request takes longer. Microseconds. */
struct fg_inspect_times {
	double plan_us[FG_INSPECT_BATCHES];    /* of all steps together */
	double (*step_us)[FG_INSPECT_BATCHES]; /* (step_count) */
};

/* Runs the plan on its golden rows for some milliseconds a step. 0 with *times for the caller to
 * free, or -ENOMEM. */
int fg_inspect_measure(const struct fg_plan *plan, struct fg_inspect_times *times,
		       struct fg_error *error);
void fg_inspect_times_free(struct fg_inspect_times *times);

/* A table, one object on one line, or a drawing (SVG 1.1). `flops` counts a multiplication and an
 * addition as two, per row; a column of an activation or softmax counts one. `name` is for the
 * title. */
void fg_inspect_text(const struct fg_plan *plan, const struct fg_inspect_times *times, FILE *out);
void fg_inspect_json(const struct fg_plan *plan, const struct fg_inspect_times *times, FILE *out);
void fg_inspect_svg(const struct fg_plan *plan, const struct fg_inspect_times *times,
		    const char *name, FILE *out);

#endif
