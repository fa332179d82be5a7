#include <errno.h>
#include "models/compile_buffers.h"

static void note_use(uint32_t *last_use, struct fg_ir_span span, uint32_t step)
{
	if (span.rows != FG_IR_NONE)
		last_use[span.rows] = step;
}

/* The last step that reads or writes each of the rows; their writers stand before their readers,
 * and what nobody reads must stay out of other rows' way too. */
static uint32_t *find_last_uses(const struct fg_ir *ir, struct fg_arena *arena)
{
	uint32_t *last_use = fg_arena_alloc(arena, ir->rows_count, sizeof(*last_use));

	for (uint32_t i = 0; last_use && i < ir->step_count; i++) {
		note_use(last_use, ir->steps[i].in, i);
		note_use(last_use, ir->steps[i].other, i);
		note_use(last_use, ir->steps[i].third, i);
		note_use(last_use, ir->steps[i].out, i);
	}
	return last_use;
}

/* The widest buffer that nobody uses any more at step `step`, so that a wide layer widens no
 * second one; else a new one. FG_PLAN_MAX_BUFFERS: there is none. */
static uint32_t find_free(struct fg_plan_header *header, const uint32_t *busy_until, uint32_t step)
{
	uint32_t best = FG_PLAN_MAX_BUFFERS;

	for (uint32_t i = 0; i < header->buffer_count; i++)
		if (busy_until[i] < step && (best == FG_PLAN_MAX_BUFFERS ||
					     header->buffer_cols[i] > header->buffer_cols[best]))
			best = i;
	if (best == FG_PLAN_MAX_BUFFERS && header->buffer_count < FG_PLAN_MAX_BUFFERS)
		best = header->buffer_count++;
	return best;
}

/* Rows of a multiple of 1 KiB would all lie in the same few sets of an L1 cache, and drive each
 * other and the weights out of it: a cache line more moves each row by one set. Not where a step
 * writes groups: without padding one kernel call does those of all rows. */
static uint32_t padded_cols(uint32_t cols, uint32_t groups)
{
	uint32_t padded = fg_panels(cols) * FG_PANEL_COLS;

	return groups > 1 || padded % 256 || padded == FG_PLAN_MAX_COLS ? padded
									: padded + FG_PANEL_COLS;
}

int fg_compile_buffers(const struct fg_ir *ir, struct fg_arena *arena,
		       struct fg_plan_header *header, uint32_t **places, struct fg_error *error)
{
	uint32_t *place = fg_arena_alloc(arena, ir->rows_count, sizeof(*place));
	uint32_t *last_use = find_last_uses(ir, arena);
	uint32_t busy_until[FG_PLAN_MAX_BUFFERS]; /* of buffer_count; the last step that uses it */

	if (!place || !last_use)
		return fg_error_set(error, -ENOMEM, "out of memory");
	place[FG_IR_INPUT] = FG_PLACE_INPUT;
	place[FG_IR_OUTPUT] = FG_PLACE_OUTPUT;
	for (uint32_t i = 0; i < ir->step_count; i++) {
		const uint32_t rows = ir->steps[i].out.rows;
		const uint32_t cols = padded_cols(ir->rows[rows].cols, ir->steps[i].groups);
		uint32_t buffer;

		if (place[rows] != FG_PLACE_NONE)
			continue;
		buffer = find_free(header, busy_until, i);
		if (buffer == FG_PLAN_MAX_BUFFERS)
			return fg_error_set(error, -EINVAL,
					    "more than %u intermediate results are needed at once, "
					    "at step %u of %u",
					    FG_PLAN_MAX_BUFFERS, i, ir->step_count);
		if (header->buffer_cols[buffer] < cols)
			header->buffer_cols[buffer] = cols;
		busy_until[buffer] = last_use[rows];
		place[rows] = FG_PLACE_BUFFER + buffer;
	}
	*places = place;
	return 0;
}
