/* compile_constants.h: the constants of a plan; what is the same is stored once. */
#ifndef FG_MODELS_COMPILE_CONSTANTS_H
#define FG_MODELS_COMPILE_CONSTANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/plan_format.h"

struct fg_constant {
	const void *source;    /* the caller's, until fg_constants_write */
	uint64_t source_bytes; /* > 0 */
	uint64_t bytes;	       /* as stored: with zeros behind the source, or packed */
	bool is_packed;	       /* source: (in_cols, out_cols) floats, for models/pack.h */
	enum fg_weights format;
	uint32_t in_cols, out_cols;
	uint64_t hash;	 /* of the source */
	uint64_t offset; /* in the plan */
};

struct fg_constants {
	struct fg_constant *at;
	uint32_t count, capacity;
	uint64_t end; /* the offset behind the last; a multiple of FG_PLAN_ALIGN */
};

/* Room for `capacity` constants, the first at offset `begin`. -ENOMEM. */
int fg_constants_begin(struct fg_constants *constants, struct fg_arena *arena, size_t capacity,
		       uint64_t begin);

/* The offset at which `constant` (hash and offset are not looked at) will stand. At most
 * `capacity` calls. */
uint64_t fg_constants_add(struct fg_constants *constants, struct fg_constant constant);

/* Writes all to the plan's bytes, which are zero there. -EINVAL: weights that are not finite, for
 * INT8. */
int fg_constants_write(const struct fg_constants *constants, char *bytes);

#endif
