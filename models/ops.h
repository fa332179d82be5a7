/* ops.h: the operators of ONNX that are understood. The table is in ops.c; to add one, add a
 * line there and the function that lowers it. */
#ifndef FG_MODELS_OPS_H
#define FG_MODELS_OPS_H

#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "models/graph.h"
#include "models/ir.h"

struct fg_op {
	const char *name; /* op_type in the domain ai.onnx */
	uint32_t min_inputs;
	uint32_t max_inputs;
	/* Input 0 is handed on: the output is the same rows under another name. */
	bool alias;
	/*
	 * Says what the node's output is (ir->values[node->output]), adding a step when there is
	 * something to compute. Inputs are known by then. -EINVAL with *error naming the node
	 * when it asks for something that cannot be done; -ENOMEM.
	 */
	int (*lower)(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error);
};

/* NULL: no such operator here. */
const struct fg_op *fg_op_find(struct fg_text name);

#endif
