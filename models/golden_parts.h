/* golden_parts.h: what golden.c and its two readers share. Only for them. */
#ifndef FG_MODELS_GOLDEN_PARTS_H
#define FG_MODELS_GOLDEN_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include "models/golden.h"

/* Adds a part with room for its rows (*to, rows * cols floats). All parts must have equally many
 * rows, and names only where there are several. `name` is copied. -EINVAL with *error, -ENOMEM. */
int fg_golden_add(struct fg_golden *golden, struct fg_arena *arena, bool is_input, const char *name,
		  size_t rows, size_t cols, float **to, struct fg_error *error);

int fg_golden_set_tolerance(struct fg_golden *golden, double tolerance, struct fg_error *error);

/* Read the bytes of one file. */
int fg_golden_read_json(struct fg_golden *golden, const void *bytes, size_t size,
			struct fg_arena *arena, struct fg_error *error);
int fg_golden_read_npz(struct fg_golden *golden, const void *bytes, size_t size,
		       struct fg_arena *arena, struct fg_error *error);

#endif
