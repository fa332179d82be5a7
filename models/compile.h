/* compile.h: from a graph to a plan's bytes. */
#ifndef FG_MODELS_COMPILE_H
#define FG_MODELS_COMPILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "models/golden.h"
#include "models/graph.h"
#include "models/kernels.h"

#define FG_COMPILE_MAX_ERROR 0.02f /* of BF16 and INT8, when nobody says otherwise */

/* All zero: f32, optimized, the default bound. */
struct fg_compile_options {
	enum fg_weights weights; /* of the DENSE steps with FG_PANEL_COLS outputs or more */
	float max_error;	 /* BF16, INT8: 0 .. 1; 0: FG_COMPILE_MAX_ERROR */
	uint64_t max_row_ns;	 /* that a row may take (models/row_time.h); 0: not measured */
	bool plain;		 /* no folding and fusing (models/optimize.h); for tests */
};

/*
 * Compiles `graph` to a plan (models/plan_format.h): lowers (models/ir.h), optimizes
 * (models/optimize.h), packs the weights, plans the buffers. `golden` is stored with it (f32: it is
 * not checked here, see fg_plan_check_golden); NULL: deterministic pseudo-random rows of the kind
 * that the model's first steps ask for (models/compile_golden.h) with what the C reference makes of
 * them. Kernels round differently, so rows that stand at a step (Round, a comparison) are not
 * taken; where all do, the tolerance allows for it (models/compile_steady.h).
 *
 * Where optimizing folded constants, both models run made rows; if a result is off, the one that is
 * not optimized is kept.
 *
 * BF16 and INT8: the model is compiled to f32 too and both run the golden inputs with the C
 * reference; the plan's format_error is the difference, its golden outputs are the f32 model's (or
 * the shipped ones), and its golden tolerance is at least the bound. A difference above
 * options->max_error is refused, saying row, column and both numbers.
 *
 * *bytes (64-byte aligned, *size bytes) belongs to the caller: free(). -EINVAL with *error
 * naming the node or the golden row; -EDOM: the format's error is above the bound; -ETIME: a row
 * takes too long; -ENOMEM.
 * `options` NULL: all zero.
 */
int fg_compile(const struct fg_graph *graph, const struct fg_golden *golden,
	       const struct fg_compile_options *options, void **bytes, size_t *size,
	       struct fg_error *error);

#endif
