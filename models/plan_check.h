/* plan_check.h: the proof that running a plan stays inside its buffers. Used by plan.c. */
#ifndef FG_MODELS_PLAN_CHECK_H
#define FG_MODELS_PLAN_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "models/plan_format.h"

/*
 * Checks `size` bytes at `bytes` (hostile) and returns 0 when: magic, format version, size and
 * digest hold; every offset and extent lies inside; inputs and outputs fill the columns of a row,
 * and their names and labels are texts; each step is of a known kind with the operands, weights
 * and shape of that kind (models/plan_shape.h); every column that a step reads is one of the input
 * or was written by an earlier step, and is not among those that it writes; every column of the
 * output is written; what kernels use to find memory (the indices of COLUMNS) or rely on (sorted
 * keys, the range of INT8 weights) holds. Else -EINVAL with *error.
 *
 * Allocates nothing. Time: that of the digest, at most that of running one row, and that of reading
 * the keys of all LOOKUP steps, which are no more than the plan has room for and 2^24.
 */
int fg_plan_check(const void *bytes, size_t size, struct fg_error *error);

/* True when `bytes` at `labels` are `count` NUL-terminated UTF-8 texts. */
bool fg_plan_labels_ok(const char *labels, size_t bytes, uint32_t count);

#endif
