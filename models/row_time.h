/*
 * row_time.h: does one row of a plan take longer than it may?
 *
 * A worker runs at least a whole row before it looks at other models' requests, so that a row's
 * time is what every other model of the gateway may have to wait.
 */
#ifndef FG_MODELS_ROW_TIME_H
#define FG_MODELS_ROW_TIME_H

#include <stdint.h>
#include "models/error.h"
#include "models/plan.h"

#define FG_ROW_TIME_DEFAULT_NS 10000000ull
#define FG_ROW_TIME_MOST_NS    1000000000ull /* no bound may be above it */

/* Checking the golden rows may take that long, or the packer would not end. */
#define FG_ROW_TIME_GOLDEN_NS 20000000000ull

/*
 * Runs the row `in` with the plan's kernels. What counts is the shortest of several runs, in this
 * thread's own CPU time: another process on the CPU does not make it longer, and a time just above
 * the bound is measured for seconds before it is believed. No run goes on after 5 s but for the
 * step that is under way.
 *
 * -ETIME with *error naming the time, the bound and the step that takes most, when a row takes
 * longer than most_ns; -EINVAL when shipped golden rows, which the C reference runs twice, would
 * take longer than FG_ROW_TIME_GOLDEN_NS; -ENOMEM.
 */
int fg_row_time_check(const struct fg_plan *plan, const float *in, uint64_t most_ns,
		      struct fg_error *error);

/* How many rows like `in`, 1 .. rows, the C reference can run `times` times each in
 * FG_ROW_TIME_GOLDEN_NS / 2. */
uint32_t fg_row_time_rows(const struct fg_plan *plan, const float *in, uint32_t rows,
			  uint32_t times);

#endif
