/* file.h: reading the files of a model version, which are hostile: only plain regular files
 * directly inside the version's directory, never through a link. */
#ifndef FG_MODELS_FILE_H
#define FG_MODELS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/graph.h"

#define FG_FILE_MAX_BYTES (INT64_C(1) << 31) /* of model.onnx: protobuf's own limit */

/* True for a name without '/' that is neither empty, "." nor "..", of at most 255 bytes. */
bool fg_file_plain_name(struct fg_text name);

/*
 * Opens `name` below `dirfd` for reading. 0 with *fd (the caller closes it) and *size; -EINVAL:
 * not a plain name, a link, or not a regular file; -ENOENT; -EACCES with *error saying which
 * user may not read it and what to do; other -errno.
 */
int fg_file_open(int dirfd, const char *name, int *fd, uint64_t *size, struct fg_error *error);

/* Reads `size` bytes at `offset` of `fd` into memory of `arena`. -EIO when the file is shorter;
 * -ENOMEM; other -errno. `name` is for *error. */
int fg_file_read(int fd, const char *name, uint64_t offset, size_t size, struct fg_arena *arena,
		 const void **bytes, struct fg_error *error);

/* Opens, reads and closes a whole file of at most `max` bytes (-EFBIG beyond). */
int fg_file_load(int dirfd, const char *name, uint64_t max, struct fg_arena *arena,
		 const void **bytes, size_t *size, struct fg_error *error);

#endif
