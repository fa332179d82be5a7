#include <errno.h>
#include <string.h>
#include "models/optimize.h"
#include "models/optimize_steps.h"

#define NONE FG_IR_NONE

struct fg_ir_span *fg_step_operand(struct fg_ir_step *step, uint32_t operand)
{
	return operand == 0 ? &step->in : operand == 1 ? &step->other : &step->third;
}

uint32_t fg_step_operand_cols(const struct fg_ir_step *step, uint32_t operand)
{
	return step->groups * (operand ? step->out_cols : step->in_cols);
}

uint32_t fg_step_cols(const struct fg_ir_step *step)
{
	return step->groups * step->out_cols;
}

/* ---- the lists ---- */

static uint32_t number_of(const struct fg_optimizer *optimizer, const struct fg_ir_step *step)
{
	return (uint32_t)(step - optimizer->ir->steps);
}

static void link_step(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	uint32_t number = number_of(optimizer, step);

	for (uint32_t i = 0; i < 3; i++) {
		uint32_t rows = fg_step_operand(step, i)->rows;

		if (rows == NONE)
			continue;
		optimizer->next_read[3 * number + i] = optimizer->first_read[rows];
		optimizer->first_read[rows] = 3 * number + i;
	}
	optimizer->next_write[number] = optimizer->first_write[step->out.rows];
	optimizer->first_write[step->out.rows] = number;
}

static void unlink_one(uint32_t *first, uint32_t *next, uint32_t what)
{
	while (*first != what)
		first = &next[*first];
	*first = next[what];
}

static void unlink_step(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	uint32_t number = number_of(optimizer, step);

	for (uint32_t i = 0; i < 3; i++) {
		uint32_t rows = fg_step_operand(step, i)->rows;

		if (rows != NONE)
			unlink_one(&optimizer->first_read[rows], optimizer->next_read,
				   3 * number + i);
	}
	unlink_one(&optimizer->first_write[step->out.rows], optimizer->next_write, number);
}

static int build_lists(struct fg_optimizer *optimizer)
{
	struct fg_ir *ir = optimizer->ir;

	optimizer->first_read = fg_arena_alloc(ir->arena, ir->rows_count, sizeof(uint32_t));
	optimizer->first_write = fg_arena_alloc(ir->arena, ir->rows_count, sizeof(uint32_t));
	optimizer->next_read =
		fg_arena_alloc(ir->arena, 3 * (size_t)ir->step_count, sizeof(uint32_t));
	optimizer->next_write = fg_arena_alloc(ir->arena, ir->step_count, sizeof(uint32_t));
	if (!optimizer->first_read || !optimizer->first_write || !optimizer->next_read ||
	    !optimizer->next_write)
		return -ENOMEM;
	for (uint32_t i = 0; i < ir->rows_count; i++)
		optimizer->first_read[i] = optimizer->first_write[i] = NONE;
	for (uint32_t i = 0; i < ir->step_count; i++)
		link_step(optimizer, &ir->steps[i]);
	return 0;
}

struct fg_ir_step *fg_step_writer(const struct fg_optimizer *optimizer, struct fg_ir_span span,
				  uint32_t cols)
{
	uint32_t i = span.rows == NONE ? NONE : optimizer->first_write[span.rows];

	for (; i != NONE; i = optimizer->next_write[i]) {
		struct fg_ir_step *step = &optimizer->ir->steps[i];

		if (step->out.first == span.first && fg_step_cols(step) == cols)
			return step;
	}
	return NULL;
}

static bool overlap(uint32_t a, uint32_t a_cols, uint32_t b, uint32_t b_cols)
{
	return a < b + b_cols && b < a + a_cols;
}

bool fg_step_sole_reader(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
			 struct fg_ir_step **reader)
{
	uint32_t i = optimizer->first_read[step->out.rows], found = 0;

	if (step->out.rows == FG_IR_OUTPUT)
		return false;
	for (; i != NONE; i = optimizer->next_read[i]) {
		struct fg_ir_step *by = &optimizer->ir->steps[i / 3];
		uint32_t first = fg_step_operand(by, i % 3)->first;
		uint32_t cols = fg_step_operand_cols(by, i % 3);

		if (!overlap(first, cols, step->out.first, fg_step_cols(step)))
			continue;
		if (found++ || first != step->out.first || cols != fg_step_cols(step))
			return false;
		*reader = by;
	}
	return found == 1;
}

struct fg_ir_step *fg_step_only_for(const struct fg_optimizer *optimizer, struct fg_ir_span span,
				    uint32_t cols)
{
	struct fg_ir_step *writer = fg_step_writer(optimizer, span, cols), *reader;

	return writer && fg_step_sole_reader(optimizer, writer, &reader) ? writer : NULL;
}

void fg_step_replace(struct fg_optimizer *optimizer, struct fg_ir_step *step,
		     const struct fg_ir_step *by)
{
	struct fg_ir_span out = step->out;

	unlink_step(optimizer, step);
	*step = *by;
	step->out = out;
	link_step(optimizer, step);
}

void fg_step_kill(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	unlink_step(optimizer, step);
	step->dead = true;
}

/* Reads and writes of these columns go on inside them; at most `most_reads` are reads. */
static bool is_closed(const struct fg_optimizer *optimizer, struct fg_ir_span span, uint32_t cols,
		      uint32_t most_reads)
{
	uint32_t reads = 0;

	for (uint32_t i = optimizer->first_read[span.rows]; i != NONE;
	     i = optimizer->next_read[i]) {
		struct fg_ir_step *by = &optimizer->ir->steps[i / 3];
		uint32_t first = fg_step_operand(by, i % 3)->first;
		uint32_t read = fg_step_operand_cols(by, i % 3);

		if (!overlap(first, read, span.first, cols))
			continue;
		if (++reads > most_reads || first < span.first || first + read > span.first + cols)
			return false;
	}
	for (uint32_t i = optimizer->first_write[span.rows]; i != NONE;
	     i = optimizer->next_write[i]) {
		const struct fg_ir_step *by = &optimizer->ir->steps[i];

		if (overlap(by->out.first, fg_step_cols(by), span.first, cols) &&
		    (by->out.first < span.first ||
		     by->out.first + fg_step_cols(by) > span.first + cols))
			return false;
	}
	return true;
}

/* All that reads or writes these columns does so at `to` instead. */
static void move_columns(struct fg_optimizer *optimizer, struct fg_ir_span from, uint32_t cols,
			 struct fg_ir_span to)
{
	struct fg_ir_step *steps = optimizer->ir->steps;
	uint32_t i, next;

	for (i = optimizer->first_read[from.rows]; i != NONE; i = next) {
		struct fg_ir_span *span = fg_step_operand(&steps[i / 3], i % 3);

		next = optimizer->next_read[i];
		if (!overlap(span->first, fg_step_operand_cols(&steps[i / 3], i % 3), from.first,
			     cols))
			continue;
		unlink_one(&optimizer->first_read[from.rows], optimizer->next_read, i);
		*span = (struct fg_ir_span){to.rows, span->first - from.first + to.first};
		optimizer->next_read[i] = optimizer->first_read[to.rows];
		optimizer->first_read[to.rows] = i;
	}
	for (i = optimizer->first_write[from.rows]; i != NONE; i = next) {
		struct fg_ir_span *span = &steps[i].out;

		next = optimizer->next_write[i];
		if (!overlap(span->first, fg_step_cols(&steps[i]), from.first, cols))
			continue;
		unlink_one(&optimizer->first_write[from.rows], optimizer->next_write, i);
		*span = (struct fg_ir_span){to.rows, span->first - from.first + to.first};
		optimizer->next_write[i] = optimizer->first_write[to.rows];
		optimizer->first_write[to.rows] = i;
	}
}

/* ---- passes ---- */

/*
 * A copy: who writes what it reads writes to the copy's place at once, and others who read that
 * read it there. Where the copy is the model's output, which nobody may read, only when there are
 * no others.
 */
static int drop_copy(struct fg_optimizer *optimizer, struct fg_ir_step *step)
{
	const struct fg_ir_span from = step->in, to = step->out;
	const uint32_t cols = step->in_cols;

	if (step->kind != FG_STEP_ACTIVATION || step->activation != FG_ACTIVATION_NONE ||
	    from.rows == FG_IR_INPUT ||
	    !is_closed(optimizer, from, cols, to.rows == FG_IR_OUTPUT ? 1 : UINT32_MAX))
		return 0;
	fg_step_kill(optimizer, step);
	move_columns(optimizer, from, cols, to);
	return 1;
}

static int for_each_step(struct fg_optimizer *optimizer,
			 int (*pass)(struct fg_optimizer *, struct fg_ir_step *))
{
	struct fg_ir *ir = optimizer->ir;

	for (uint32_t i = 0; i < ir->step_count; i++) {
		int result = 1;

		while (result > 0 && !ir->steps[i].dead)
			result = pass(optimizer, &ir->steps[i]);
		if (result < 0)
			return result;
	}
	return 0;
}

/* Backwards, a step is reached after all who read what it writes. */
static void drop_unread(struct fg_optimizer *optimizer)
{
	struct fg_ir *ir = optimizer->ir;

	for (uint32_t i = ir->step_count; i-- > 0;) {
		struct fg_ir_step *step = &ir->steps[i];
		bool read = step->out.rows == FG_IR_OUTPUT;

		if (step->dead)
			continue;
		for (uint32_t r = optimizer->first_read[step->out.rows]; r != NONE && !read;
		     r = optimizer->next_read[r])
			read = overlap(fg_step_operand(&ir->steps[r / 3], r % 3)->first,
				       fg_step_operand_cols(&ir->steps[r / 3], r % 3),
				       step->out.first, fg_step_cols(step));
		if (!read)
			fg_step_kill(optimizer, step);
	}
}

static void compact(struct fg_ir *ir)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < ir->step_count; i++)
		if (!ir->steps[i].dead)
			ir->steps[kept++] = ir->steps[i];
	ir->step_count = kept;
}

int fg_optimize(struct fg_ir *ir, enum fg_weights format, struct fg_error *error)
{
	struct fg_optimizer optimizer = {.ir = ir, .format = format};
	int result = build_lists(&optimizer);

	if (!result) {
		drop_unread(&optimizer);
		result = for_each_step(&optimizer, fg_optimize_pattern);
	}
	if (!result) {
		drop_unread(&optimizer); /* what a pattern has taken the place of reads no more */
		result = for_each_step(&optimizer, fg_optimize_fold);
	}
	if (!result)
		result = for_each_step(&optimizer, drop_copy);
	if (result)
		return fg_error_set(error, result, "out of memory for optimizing");
	drop_unread(&optimizer);
	compact(ir);
	return 0;
}
