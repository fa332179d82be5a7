/* keras_zip.h: the files in a .keras archive, read from memory with libzip. Used by keras.c. */
#ifndef FG_MODELS_KERAS_ZIP_H
#define FG_MODELS_KERAS_ZIP_H

#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"

struct zip;

struct fg_keras_zip {
	struct zip *archive;
	struct fg_error *error;
};

/*
 * Opens the archive whose bytes these are; they must stay until fg_keras_zip_close. -EINVAL with
 * *error: it is no zip archive, or damaged, or an entry (also one that nobody reads) is encrypted,
 * compressed with something else than deflate, a bomb, or has a name that is not a relative path or
 * is there twice. -ENOMEM.
 */
int fg_keras_zip_open(struct fg_keras_zip *zip, const void *bytes, size_t size,
		      struct fg_error *error);
void fg_keras_zip_close(struct fg_keras_zip *zip);

/* Reads an entry of at most `max` bytes into `arena`. -ENOENT: there is none of that name; -EINVAL:
 * it is longer, not as long as it says, or its checksum is wrong; -ENOMEM; all with *error. */
int fg_keras_zip_read(struct fg_keras_zip *zip, const char *name, uint64_t max,
		      struct fg_arena *arena, const void **bytes, size_t *size);

#endif
