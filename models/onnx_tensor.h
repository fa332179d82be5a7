/* onnx_tensor.h: TensorProto to struct fg_tensor. Used by onnx*.c. */
#ifndef FG_MODELS_ONNX_TENSOR_H
#define FG_MODELS_ONNX_TENSOR_H

#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/graph.h"
#include "models/onnx_external.h"
#include "models/protobuf.h"

/* What TensorProto holds besides the data: its name (which initializers have). */
struct fg_onnx_tensor {
	struct fg_text name;
	struct fg_tensor tensor;
};

/*
 * Reads the TensorProto `message`. Data stays in the model's bytes or the external file where it
 * needs no conversion, else it goes into the arena of `external`. `what` names the tensor in
 * *error until its own name is known.
 */
int fg_onnx_read_tensor(struct fg_pb message, const char *what, struct fg_onnx_external *external,
			struct fg_onnx_tensor *out, struct fg_error *error);

/* A list attribute as a tensor of rank 1, maybe empty: field `number` of `message`, of `type`
 * FG_ONNX_FLOAT, FG_ONNX_INT64 or FG_ONNX_STRING. -EINVAL: it is malformed; -ENOMEM. */
int fg_onnx_read_list(struct fg_pb message, uint32_t number, uint64_t type, struct fg_arena *arena,
		      struct fg_tensor *out);

#endif
