/*
 * keras_h5.h: what Keras puts into HDF5 files, read from memory with libhdf5. Used by keras*.c.
 *
 * Nothing in the file is trusted: only groups and datasets that hard links lead to are opened, and
 * what a dataset or attribute claims is checked before memory is taken for it.
 *
 * A path is names with '/' between them, from the root; "" is the root itself.
 */
#ifndef FG_MODELS_KERAS_H5_H
#define FG_MODELS_KERAS_H5_H

#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/graph.h"

struct fg_keras_h5 {
	int64_t file;		/* libhdf5's handle */
	struct fg_arena *arena; /* what is read goes there */
	uint64_t left_bytes;	/* that datasets may still become */
	struct fg_error *error;
};

/* Opens the file whose bytes these are; they must stay until fg_keras_h5_close. -EINVAL with
 * *error: it is not HDF5, or damaged. */
int fg_keras_h5_open(struct fg_keras_h5 *h5, const void *bytes, size_t size, struct fg_arena *arena,
		     struct fg_error *error);
void fg_keras_h5_close(struct fg_keras_h5 *h5);

/*
 * All of these return -ENOENT, with *error, when there is nothing of that name; -EINVAL with *error
 * for what is refused; -ENOMEM.
 */

/* An attribute that is one string. */
int fg_keras_h5_text(struct fg_keras_h5 *h5, const char *path, const char *attribute,
		     struct fg_text *text);

/* An attribute that is a list of strings, or its parts ATTRIBUTE0, ATTRIBUTE1, ... Each name is
 * NUL-terminated as well. */
int fg_keras_h5_names(struct fg_keras_h5 *h5, const char *path, const char *attribute,
		      const struct fg_text **names, uint32_t *count);

/* How many objects a group holds. */
int fg_keras_h5_count(struct fg_keras_h5 *h5, const char *path, uint64_t *count);

/* A dataset of floats of these dimensions, none of them 0; refused when it has others. */
int fg_keras_h5_floats(struct fg_keras_h5 *h5, const char *path, uint32_t rank, const int64_t *dims,
		       const float **floats);

/* "(64, 10)", for errors. Returns `out`. */
const char *fg_keras_h5_shape(uint32_t rank, const int64_t *dims, char *out, size_t size);

#endif
