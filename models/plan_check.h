/* plan_check.h: the proof that running a plan stays inside its buffers. Used by plan.c. */
#ifndef FG_MODELS_PLAN_CHECK_H
#define FG_MODELS_PLAN_CHECK_H

#include <stddef.h>
#include "models/error.h"
#include "models/plan_format.h"

/*
 * Checks `size` bytes at `bytes` (hostile) and returns 0 when: magic, format version, size and
 * digest hold; every offset and extent lies inside; columns are within FG_PLAN_MAX_COLS and
 * agree along the steps; every step reads what an earlier one has written; no step reads the
 * place that it writes; the last step alone writes the output. Else -EINVAL with *error.
 */
int fg_plan_check(const void *bytes, size_t size, struct fg_error *error);

#endif
