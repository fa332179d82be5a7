/*
 * onnx.h: ONNX files (https://onnx.ai, onnx.proto; IR version 3 and up, opset 7 to 28) to
 * models/graph.h.
 *
 * Refused, with the node or value and the reason: more than one input or output; element types
 * other than float32 (int64 for shapes); sparse and quantized tensors; data that does not match
 * its dimensions; names defined twice; inputs that nothing, or only a later node, defines (that
 * is, cycles too); operators that models/ops.c does not know; other operator domains.
 */
#ifndef FG_MODELS_ONNX_H
#define FG_MODELS_ONNX_H

#include <stddef.h>
#include "models/error.h"
#include "models/graph.h"

#define FG_ONNX_MIN_OPSET 7
#define FG_ONNX_MAX_OPSET 28
#define FG_ONNX_MAX_NODES 65536u
#define FG_ONNX_FILE	  "model.onnx" /* in a version's directory */

/*
 * Reads a ModelProto of `size` bytes. *graph points into `bytes`, which must stay as they are
 * for as long as it is used. External data is read from files below `dirfd` (plain names only,
 * models/file.h); -1: refused. On 0 the caller owns *graph (fg_graph_free); on an error nothing
 * is left. -EINVAL with *error; -ENOMEM; -errno of a data file.
 */
int fg_onnx_parse(struct fg_graph *graph, const void *bytes, size_t size, int dirfd,
		  struct fg_error *error);

/* The same from the file `name` below `dirfd`; the graph owns the bytes. */
int fg_onnx_load(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error);

#endif
