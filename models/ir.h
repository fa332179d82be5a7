/*
 * ir.h: a graph lowered to the steps that a plan can hold, before weights are packed.
 *
 * Every value of the graph is either a constant, or rows: one row for each row of the batch.
 * Rows are kept flat, (batch, cols), whatever rank the file gives them, so that Flatten and the
 * like cost nothing; the shape is remembered for the operators that ask for it.
 */
#ifndef FG_MODELS_IR_H
#define FG_MODELS_IR_H

#include <stdbool.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/graph.h"
#include "models/kernels.h"

/* Where rows come from: the number of the step that makes them, or: */
#define FG_IR_INPUT (-1) /* the model's input */
#define FG_IR_NONE  (-2) /* nowhere: a constant, or an operand that is not there */

struct fg_ir_step {
	enum fg_step_kind kind;
	int in;	   /* source */
	int other; /* ADD: source, or FG_IR_NONE: bias is the second operand */
	uint32_t in_cols;
	uint32_t out_cols;
	float *weights; /* DENSE: (in_cols, out_cols), row-major */
	float *bias;	/* DENSE, ADD of a constant: (out_cols) */
	enum fg_activation activation;
	float alpha;
	const struct fg_node *node; /* that it was made for; NULL: none */
};

struct fg_ir_value {
	const struct fg_tensor *constant; /* NULL: rows */
	int source;			  /* of rows */
	uint32_t root; /* the value whose rows these are: itself, or what an alias names */
	uint32_t uses; /* by live nodes that are no aliases, and by the model's output */
	uint32_t rank; /* of rows: >= 2 */
	int64_t dims[FG_GRAPH_MAX_RANK]; /* dims[0]: the batch, or FG_GRAPH_UNKNOWN */
	uint32_t cols;			 /* dims[1] * dims[2] * ... */
};

struct fg_ir {
	const struct fg_graph *graph;
	struct fg_arena *arena;	    /* owns everything below */
	struct fg_ir_value *values; /* graph->value_count */
	struct fg_ir_step *steps;
	uint32_t step_count; /* at most one a node, and one */
};

/*
 * Lowers the nodes that the model's output depends on. Allocates from `arena`; `ir` lives as
 * long as `arena` and `graph`. -EINVAL with *error naming the node or the value; -ENOMEM.
 */
int fg_ir_lower(struct fg_ir *ir, const struct fg_graph *graph, struct fg_arena *arena,
		struct fg_error *error);

/* For the operators (models/ops.c): */

/* The value of input `i`, or NULL when it is left out. */
const struct fg_ir_value *fg_ir_input(const struct fg_ir *ir, const struct fg_node *node,
				      uint32_t i);

/* Adds a step; its activation is NONE, it has no weights yet. Never fails. */
struct fg_ir_step *fg_ir_add_step(struct fg_ir *ir, enum fg_step_kind kind,
				  const struct fg_ir_value *in, uint32_t out_cols,
				  const struct fg_node *node);

/* The step that makes `value`'s rows, when the node that asks is its only use, so that the step
 * may be changed; else NULL. */
struct fg_ir_step *fg_ir_own_step(const struct fg_ir *ir, const struct fg_ir_value *value);

/* The node's output is the rows of `step`, with the shape of `like` but for `out_cols` columns
 * in its last dimension. */
void fg_ir_set_step(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_step *step,
		    const struct fg_ir_value *like);

/* The node's output is `value` itself. */
void fg_ir_set_alias(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value);

#endif
