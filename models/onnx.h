/*
 * onnx.h: ONNX files (https://onnx.ai, onnx.proto; IR version 3 to 14, opset 7 to 28 of ai.onnx, 1
 * to 5 of ai.onnx.ml) to models/graph.h, as PyTorch, tf2onnx, skl2onnx and Keras write them.
 *
 * float16, bfloat16, float32 and float64 become F32 (what is beyond float32 becomes an infinity),
 * integers of 8 to 64 bits and bool become I64, strings TEXT. A constant of rank 1 may be empty.
 * An output that is a sequence or a map (ZipMap) is read as one of unknown shape, and an output may
 * be an input or an initializer itself. Training, documentation, declared shapes of what lies
 * between and functions that nothing calls are passed over; attributes that are graphs or sparse
 * keep their name only.
 *
 * Refused, with the node or value, the reason and what to do: operators that models/ops.h does not
 * know, other domains, calls of the model's own functions; inputs of text, sequences and maps;
 * numbers that are complex, of 8-bit floating point, or of less than 8 bits, and a uint64 above
 * 2^63 - 1; sparse initializers; data that does not match its dimensions; dimensions of 0 in other
 * constants; names defined twice; inputs that nothing, or only a later node, defines (that is,
 * cycles too). Time and memory are linear in the size of the files.
 */
#ifndef FG_MODELS_ONNX_H
#define FG_MODELS_ONNX_H

#include <stddef.h>
#include "models/error.h"
#include "models/graph.h"

#define FG_ONNX_MIN_OPSET    7
#define FG_ONNX_MAX_OPSET    28
#define FG_ONNX_MIN_ML_OPSET 1
#define FG_ONNX_MAX_ML_OPSET 5
#define FG_ONNX_ML_DOMAIN    "ai.onnx.ml"
#define FG_ONNX_MAX_NODES    65536u
#define FG_ONNX_MAX_VALUES   (1u << 19) /* named ones */
#define FG_ONNX_MAX_PORTS    256u	/* inputs; outputs */

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
