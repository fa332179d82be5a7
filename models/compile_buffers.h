/* compile_buffers.h: which buffer holds which rows, and when. */
#ifndef FG_MODELS_COMPILE_BUFFERS_H
#define FG_MODELS_COMPILE_BUFFERS_H

#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/ir.h"
#include "models/plan_format.h"

/*
 * Gives each of the ir's rows its place: (*places)[rows], ir->rows_count of them in `arena`. Rows
 * other than the model's input and output get a buffer from the first step that writes them to the
 * last that uses them; afterwards others take it over. Fills in buffer_count and buffer_cols of
 * `header`, which are zero. -EINVAL with *error when FG_PLAN_MAX_BUFFERS are not enough; -ENOMEM.
 */
int fg_compile_buffers(const struct fg_ir *ir, struct fg_arena *arena,
		       struct fg_plan_header *header, uint32_t **places, struct fg_error *error);

#endif
