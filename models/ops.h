/*
 * ops.h: the operators that are understood, each with the function that lowers it.
 *
 * To add one: a function and a line in the table of the ops_*.c where its relatives are. Domains:
 * "" is ai.onnx (https://onnx.ai/onnx/operators), "ai.onnx.ml" the traditional models'. Attributes
 * that became inputs at some opset are taken from either.
 */
#ifndef FG_MODELS_OPS_H
#define FG_MODELS_OPS_H

#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "models/graph.h"
#include "models/ir.h"

/* Gather has this attribute from a reader whose format does not count from the end. 1: negative ids
 * are refused. */
#define FG_OP_FROM_ZERO "flipgate_from_zero"

#define FG_OP_MANY	4096u /* inputs or outputs of operators that take any number */

struct fg_op {
	const char *domain; /* "" or "ai.onnx.ml" */
	const char *name;   /* op_type */
	uint32_t min_inputs;
	uint32_t max_inputs;
	uint32_t max_outputs;
	/*
	 * Says what each wanted output of the node is (fg_ir_set_output). Inputs are known by then.
	 * -EINVAL with *error naming the node when it asks for something that cannot be done;
	 * -ENOMEM.
	 */
	int (*lower)(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error);
	uint32_t variant; /* tells operators with the same `lower` apart: an enum of its file */
};

/* The tables, one in each ops_*.c; each ends with an entry without a name. */
extern const struct fg_op fg_ops_constant[];
extern const struct fg_op fg_ops_dense[];
extern const struct fg_op fg_ops_math[];
extern const struct fg_op fg_ops_ml[];
extern const struct fg_op fg_ops_ml_labels[];
extern const struct fg_op fg_ops_norm[];
extern const struct fg_op fg_ops_pick[];
extern const struct fg_op fg_ops_reduce[];
extern const struct fg_op fg_ops_shape[];
extern const struct fg_op fg_ops_whole[];

/* NULL: no such operator here. An empty domain and "ai.onnx" are the same. */
const struct fg_op *fg_op_find(struct fg_text domain, struct fg_text name);

/* True when the operator only looks at its inputs' last dimension (struct fg_ir_value, merged). */
bool fg_op_takes_merged(const struct fg_op *op);

/* What to do instead of an operator that is not understood, for errors: one phrase. */
const char *fg_op_advice(struct fg_text domain, struct fg_text name);

#endif
