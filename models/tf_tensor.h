/*
 * tf_tensor.h: TensorFlow's TensorProto as rows of numbers.
 *
 * tensorflow/core/framework/tensor.proto, tensor_shape.proto, types.proto. Types: DT_FLOAT, DOUBLE,
 * HALF, BFLOAT16, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, BOOL. Numbers stand in
 * tensor_content, or else in the list of their type; there, as TensorFlow has it, the last number
 * goes on for all that are missing, no number means zeros, and those beyond the shape are not
 * looked at.
 */
#ifndef FG_MODELS_TF_TENSOR_H
#define FG_MODELS_TF_TENSOR_H

#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "models/protobuf.h"

/* Points into the message. */
struct fg_tf_tensor {
	struct fg_pb message;
	uint32_t dtype;		/* tensorflow.DataType */
	uint64_t rows;		/* the first dimension, >= 1 */
	uint64_t cols;		/* the product of the others, >= 1 */
	const uint8_t *content; /* rows * cols numbers; NULL: in the list of their type */
	char shape[48];		/* "2 x 9", for people; cut where it is long */
};

/* Looks at type, shape and size. -ENOTSUP: texts (DT_STRING); -EINVAL: no such type, a shape
 * without rows, numbers that do not match the shape, malformed; both with *error. */
int fg_tf_tensor_open(struct fg_tf_tensor *tensor, const struct fg_pb *message,
		      struct fg_error *error);

/* Writes the first `rows` <= tensor->rows rows as f32 to `to`, `stride` >= tensor->cols floats from
 * one to the next. -EINVAL with *error: malformed. */
int fg_tf_tensor_read(const struct fg_tf_tensor *tensor, uint32_t rows, float *to, size_t stride,
		      struct fg_error *error);

#endif
