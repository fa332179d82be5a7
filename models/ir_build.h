/* ir_build.h: what the files of the lowering share: rows, steps, shapes and constants. Only for
 * ir.c, ir_compute.c and ir_move.c; operators use ir.h. */
#ifndef FG_MODELS_IR_BUILD_H
#define FG_MODELS_IR_BUILD_H

#include "models/ir.h"

/* Text values (labels, TEXT constants) cannot be computed with: -EINVAL. */
int fg_ir_need_numbers(const struct fg_node *node, const struct fg_ir_value *value,
		       struct fg_error *error);

/* A new constant of that shape with room for its elements (*data). */
int fg_ir_new_constant(struct fg_ir *ir, const struct fg_node *node, enum fg_element element,
		       uint32_t rank, const int64_t *dims, struct fg_ir_value *out, void **data,
		       struct fg_error *error);

/* New rows that hold one value of that form and shape; dims[0] is the batch. Steps must write them.
 */
int fg_ir_new_rows(struct fg_ir *ir, const struct fg_node *node, enum fg_ir_form form,
		   uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		   struct fg_error *error);

/* Appends a step for the node: all zero but `groups` (1), `node`, and spans that are not there. */
int fg_ir_new_step(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		   struct fg_ir_step **step, struct fg_error *error);

/* Elements of a value, without the batch. */
static inline size_t fg_ir_count(const struct fg_ir_value *value)
{
	return value->constant ? value->constant->count : value->cols;
}

/* out (shape) = in[index[i]], i counting the elements without the batch; `out` has the batch when
 * `in` has it. `index` must live as long as the arena. */
int fg_ir_map(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
	      uint32_t rank, const int64_t *dims, const uint32_t *index, struct fg_ir_value *out,
	      struct fg_error *error);

/* The dimensions of a op b (numpy's rules). dims[0] is FG_GRAPH_UNKNOWN when either is batched. */
int fg_ir_broadcast(const struct fg_node *node, const struct fg_ir_value *a,
		    const struct fg_ir_value *b, uint32_t *rank, int64_t *dims,
		    struct fg_error *error);

/* `value` broadcast to the shape: a batched value stays batched; a constant becomes one of the
 * whole shape, or for a batched shape of one row (dims[0] = 1). */
int fg_ir_spread(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
		 uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		 struct fg_error *error);

/* The same as a batched value of that form, whatever it was: constants take a FILL step. */
int fg_ir_batched(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
		  enum fg_ir_form form, uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		  struct fg_error *error);

/* Copies `value` (batched, or a constant of one row), as `form`, to the columns from `to` on. */
int fg_ir_copy(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
	       enum fg_ir_form form, struct fg_ir_span to, struct fg_error *error);

/* `out` holds the numbers of `in`, or some of them: what is known of those. */
void fg_ir_keep_type(struct fg_ir_value *out, const struct fg_ir_value *in);

/* The constant's elements as `form` wants them, in the arena. */
int fg_ir_elements(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *constant,
		   enum fg_ir_form form, const void **elements, struct fg_error *error);

#endif
