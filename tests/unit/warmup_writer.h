/*
 * warmup_writer.h: TFRecord files and the messages in them (models/warmup.h), right and wrong ones,
 * over the protobuf writer of onnx_writer.h.
 */
#ifndef FG_TESTS_WARMUP_WRITER_H
#define FG_TESTS_WARMUP_WRITER_H

#include "models/tfrecord.h"
#include "tests/unit/onnx_writer.h"

/* tensorflow.DataType */
enum {
	TF_FLOAT = 1,
	TF_DOUBLE,
	TF_INT32,
	TF_UINT8,
	TF_INT16,
	TF_INT8,
	TF_STRING,
	TF_COMPLEX64,
	TF_INT64,
	TF_BOOL,
};

static inline void put_checksum(struct writer *file, const void *bytes, size_t length)
{
	const uint32_t crc = fg_tfrecord_crc32c(bytes, length);
	const uint32_t masked = (crc >> 15 | crc << 17) + 0xa282ead8u;

	put_again(file, &masked, sizeof(masked));
}

/* A record of a TFRecord file. */
static inline void put_record(struct writer *file, const void *bytes, size_t length)
{
	const uint64_t size = length;

	put_again(file, &size, sizeof(size));
	put_checksum(file, &size, sizeof(size));
	put_again(file, bytes, length);
	put_checksum(file, bytes, length);
}

/* The type and the shape of a TensorProto. */
static inline void tf_tensor_head(struct writer *tensor, int type, struct dims dims)
{
	static struct writer shape, dim;

	shape.length = 0;
	for (uint32_t i = 0; i < dims.rank; i++) {
		dim.length = 0;
		put_int(&dim, 1, (uint64_t)dims.at[i]);
		put_text(&dim, 2, "name");
		put_message(&shape, 2, &dim);
	}
	put_int(tensor, 1, (uint64_t)type);
	put_message(tensor, 2, &shape);
}

/* A TensorProto of floats, in tensor_content; NULL: no content. */
static inline void tf_floats(struct writer *tensor, struct dims dims, const float *numbers,
			     size_t count)
{
	tensor->length = 0;
	tf_tensor_head(tensor, TF_FLOAT, dims);
	if (numbers)
		put_bytes(tensor, 4, numbers, count * sizeof(*numbers));
}

/* An entry of PredictRequest.inputs. */
static inline void put_tf_input(struct writer *request, const char *name,
				const struct writer *tensor)
{
	static struct writer entry;

	entry.length = 0;
	put_text(&entry, 1, name);
	put_message(&entry, 2, tensor);
	put_message(request, 2, &entry);
}

/* A record with the PredictionLog of `request`. */
static inline void put_request(struct writer *file, const struct writer *request)
{
	static struct writer predict, log;

	predict.length = log.length = 0;
	put_message(&predict, 1, request);
	put_message(&log, 6, &predict);
	put_record(file, log.bytes, log.length);
}

#endif
