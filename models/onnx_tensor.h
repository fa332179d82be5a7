/* onnx_tensor.h: TensorProto to struct fg_tensor. Used by onnx.c. */
#ifndef FG_MODELS_ONNX_TENSOR_H
#define FG_MODELS_ONNX_TENSOR_H

#include "models/error.h"
#include "models/graph.h"
#include "models/protobuf.h"

/* What TensorProto holds besides the data: its name (which initializers have). */
struct fg_onnx_tensor {
	struct fg_text name;
	struct fg_tensor tensor;
};

/*
 * Reads the TensorProto `message`. Data stays in the model's bytes where it can, else it goes
 * into `arena`. `what` names it in *error until its own name is known. `dirfd` as for
 * fg_onnx_parse.
 */
int fg_onnx_read_tensor(struct fg_pb message, const char *what, int dirfd, struct fg_arena *arena,
			struct fg_onnx_tensor *out, struct fg_error *error);

/* A list attribute (floats or ints) as a tensor of rank 1. -EINVAL: it is empty or malformed. */
int fg_onnx_read_list(struct fg_pb message, uint32_t field, enum fg_element element,
		      struct fg_arena *arena, struct fg_tensor *out);

/* ONNX's name of an element type, for errors. */
const char *fg_onnx_type_name(uint64_t type);

#endif
