/* onnx_type.h: the element types of ONNX, and how they become ours. Used by onnx*.c and
 * tf_tensor.c. */
#ifndef FG_MODELS_ONNX_TYPE_H
#define FG_MODELS_ONNX_TYPE_H

#include <stdint.h>
#include "models/graph.h"
#include "models/protobuf.h"

/* TensorProto.DataType, those that are asked for by name. */
enum { FG_ONNX_FLOAT = 1, FG_ONNX_INT64 = 7, FG_ONNX_STRING = 8, FG_ONNX_DOUBLE = 11 };

struct fg_onnx_type {
	const char *name;	   /* numpy's, for people */
	enum fg_element element;   /* that it is read as */
	uint32_t bytes;		   /* of an element in raw data; 0: a string, or not read at all */
	uint32_t field;		   /* of TensorProto that lists such elements; 0: not read at all */
	enum fg_pb_wire wire;	   /* of an element there */
	struct fg_integer integer; /* of I64 */
};

/* What `type` (TensorProto.DataType, any number) means. Never NULL. */
const struct fg_onnx_type *fg_onnx_type(uint64_t type);

/*
 * Writes the element whose bits (of raw data, or a number of the type's field) are the lowest of
 * `bits` to `to`: a float, a double or an int64_t, any alignment. -ERANGE: a uint64 above
 * INT64_MAX. `type` is one with bytes > 0.
 */
int fg_onnx_convert(uint64_t type, uint64_t bits, void *to);

#endif
