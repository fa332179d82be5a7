/*
 * optimize_steps.h: who writes and who reads which columns, while steps are taken away. Only for
 * optimize*.c.
 *
 * A rewrite always replaces a step by one that writes the same columns, and kills the steps that it
 * took over; so nobody else has to know. The new step stands where the last of them stood: all that
 * they read is there by then, because rows are written once.
 */
#ifndef FG_MODELS_OPTIMIZE_STEPS_H
#define FG_MODELS_OPTIMIZE_STEPS_H

#include "models/ir.h"

struct fg_optimizer {
	struct fg_ir *ir;
	enum fg_weights format; /* that DENSE steps with FG_PANEL_COLS outputs or more will get */
	/* Lists of reads and of writing steps for each rows; a read is 3 * step + operand. */
	uint32_t *first_read;
	uint32_t *next_read;
	uint32_t *first_write;
	uint32_t *next_write;
};

/* Operand 0 .. 2 of a step: in, other, third; and how many columns it spans. */
struct fg_ir_span *fg_step_operand(struct fg_ir_step *step, uint32_t operand);
uint32_t fg_step_operand_cols(const struct fg_ir_step *step, uint32_t operand);
uint32_t fg_step_cols(const struct fg_ir_step *step); /* that it writes */

/* The step that writes exactly these columns, or NULL. */
struct fg_ir_step *fg_step_writer(const struct fg_optimizer *optimizer, struct fg_ir_span span,
				  uint32_t cols);

/* The same when nothing but that one operand reads any of the columns: the step may be taken
 * over. */
struct fg_ir_step *fg_step_only_for(const struct fg_optimizer *optimizer, struct fg_ir_span span,
				    uint32_t cols);

/* True when exactly one operand of one step reads `step`'s columns, all of them; it is *reader. */
bool fg_step_sole_reader(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
			 struct fg_ir_step **reader);

/* `step` becomes `by`, in its place, with its own `out`. */
void fg_step_replace(struct fg_optimizer *optimizer, struct fg_ir_step *step,
		     const struct fg_ir_step *by);
void fg_step_kill(struct fg_optimizer *optimizer, struct fg_ir_step *step);

/*
 * (x - offset) * scale + shift: an AFFINE or CENTER step, or ADD, SUB, MUL or DIV of a constant.
 * The arrays are (columns), in the arena; NULL: 0, 1, nothing (-0). Returns 1; 0 for anything else,
 * for arithmetic of integers, and for numbers that are not finite; -ENOMEM.
 */
struct fg_affine {
	const float *offset;
	const float *scale;
	const float *shift;
	bool is_rounded; /* the scale may be: a quotient, or a product of two */
};
int fg_step_affine(const struct fg_optimizer *optimizer, const struct fg_ir_step *step,
		   struct fg_affine *affine);

/* *merged becomes the AFFINE or CENTER step that does what `before` and then `last` (as many
 * columns) do; its activation and `out` are left alone. 1; 0: `before` is not affine, or digits
 * would be lost; -ENOMEM. */
int fg_merge_affine(const struct fg_optimizer *optimizer, const struct fg_ir_step *before,
		    const struct fg_affine *last, struct fg_ir_step *merged);

bool fg_all_finite(const float *numbers, size_t count); /* NULL: true */
bool fg_is_power_of_two(float number);			/* a product by it rounds nothing */
/* a * b is finite, and has not lost digits by being tiny. */
bool fg_product_ok(float a, float b);

/* The passes; each tries to improve `step` together with those before it. 1: it did, 0: no,
 * -ENOMEM. */
int fg_optimize_pattern(struct fg_optimizer *optimizer, struct fg_ir_step *step);
int fg_optimize_fold(struct fg_optimizer *optimizer, struct fg_ir_step *step);

#endif
