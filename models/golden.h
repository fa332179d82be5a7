/*
 * golden.h: inputs and outputs that a model version ships, to be held to.
 *
 * golden.json: {"inputs": [[row], ...], "outputs": [[row], ...], "tolerance": 1e-4}, rows flat, as
 * a request and a reply carry them: all inputs side by side. A model with several inputs or outputs
 * may name them: {"inputs": {"NAME": [[row], ...], ...}, ...}.
 *
 * golden.npz (numpy.savez): arrays "inputs" and "outputs" (rows, ...), or one each named
 * "inputs/NAME" and "outputs/NAME"; "tolerance", optional. Little-endian numbers but f2; C order;
 * stored or deflated.
 *
 * A version ships one of the two, or none. Links libjansson and libzip: for flipgate-pack and
 * tests.
 */
#ifndef FG_MODELS_GOLDEN_H
#define FG_MODELS_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"

#define FG_GOLDEN_JSON	    "golden.json"
#define FG_GOLDEN_NPZ	    "golden.npz"
#define FG_GOLDEN_TOLERANCE 1e-4f	 /* when nobody says otherwise */
#define FG_GOLDEN_MADE_ROWS 16u		 /* that the packer makes; fewer for very wide models */
#define FG_GOLDEN_MAX_PARTS 256u	 /* of inputs, and of outputs */
#define FG_GOLDEN_MAX_BYTES (256u << 20) /* of the file, and of all that it holds */

/* The columns of one input or output. */
struct fg_golden_part {
	const char *name; /* NUL-terminated; NULL: all of them, side by side; then alone */
	uint32_t cols;
	const float *rows; /* (golden.rows, cols) */
};

/* An arena owns what it points to. */
struct fg_golden {
	uint32_t rows;	 /* 1 .. FG_PLAN_MAX_GOLDEN */
	float tolerance; /* > 0, <= 1: |got - wanted| <= tolerance * (1 + |wanted|) */
	bool from_npz;	 /* else from the JSON file */
	uint32_t input_count;
	uint32_t output_count;
	struct fg_golden_part inputs[FG_GOLDEN_MAX_PARTS];
	struct fg_golden_part outputs[FG_GOLDEN_MAX_PARTS];
};

/*
 * Reads what lies below `dirfd` into *golden, with all memory in `arena`. 0; -ENOENT: neither file
 * is there; -EINVAL with *error naming the file, and the row and column or the array; another
 * -errno.
 */
int fg_golden_load(struct fg_golden *golden, int dirfd, struct fg_arena *arena,
		   struct fg_error *error);

#endif
