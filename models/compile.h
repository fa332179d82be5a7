/* compile.h: from a graph to a plan's bytes. */
#ifndef FG_MODELS_COMPILE_H
#define FG_MODELS_COMPILE_H

#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "models/graph.h"

#define FG_GOLDEN_TOLERANCE 1e-4f /* when nobody says otherwise */
#define FG_GOLDEN_MADE_ROWS 16u	  /* that the packer makes; fewer for very wide models */

/* The golden rows that a version shipped. The caller owns them. */
struct fg_golden {
	uint32_t rows; /* 1 .. FG_PLAN_MAX_GOLDEN */
	uint32_t in_cols;
	uint32_t out_cols;
	const float *inputs;  /* (rows, in_cols) */
	const float *outputs; /* (rows, out_cols) */
	float tolerance;      /* > 0, <= 1 */
};

/*
 * Compiles `graph` to a plan (models/plan_format.h): folds biases and scales into the weights,
 * fuses activations, drops what the output does not depend on, packs the weights, plans the
 * buffers. `golden` is stored with it (it is not checked here: fg_plan_check_golden); NULL:
 * deterministic pseudo-random rows in [-1, 1) with what the C reference makes of them.
 *
 * *bytes (64-byte aligned, *size bytes) belongs to the caller: free(). -EINVAL with *error
 * naming the node or the golden row; -ENOMEM.
 */
int fg_compile(const struct fg_graph *graph, const struct fg_golden *golden, void **bytes,
	       size_t *size, struct fg_error *error);

#endif
