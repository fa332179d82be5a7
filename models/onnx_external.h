/*
 * onnx_external.h: data of tensors that lies in files beside the model, as `x.onnx.data`, where
 * many tensors share one. Used by onnx*.c.
 *
 * Each file is read once, whole, and tensors point into it.
 */
#ifndef FG_MODELS_ONNX_EXTERNAL_H
#define FG_MODELS_ONNX_EXTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/file.h"
#include "models/graph.h"

#define FG_ONNX_MAX_EXTERNAL_FILES 512u
#define FG_ONNX_MAX_EXTERNAL_BYTES FG_FILE_MAX_BYTES /* of all of them together */

struct fg_onnx_external {
	int dirfd;		/* where the files are; -1: external data is refused */
	struct fg_arena *arena; /* of the bytes */
	struct fg_onnx_file *files;
	uint32_t file_count;
	uint64_t file_bytes; /* of all */
	/*
	 * Bytes of the files that may still be converted to other types. Tensors that lie over each
	 * other cost nothing while they point into the file, but converted they would be a bomb:
	 * so no more is converted than there is.
	 */
	uint64_t convertible;
};

/* All bytes of the file `name`. -EINVAL with *error (not a plain name, a link, too many files),
 * -EFBIG, -ENOMEM, -ENOENT and others of models/file.h. */
int fg_onnx_external_read(struct fg_onnx_external *external, struct fg_text name,
			  const uint8_t **bytes, size_t *size, struct fg_error *error);

#endif
