#include <errno.h>
#include <string.h>
#include "models/onnx_type.h"
#include "models/tf_tensor.h"

/* Fields of TensorProto and of what is in it. */
enum {
	TENSOR_DTYPE = 1,
	TENSOR_SHAPE = 2,
	TENSOR_CONTENT = 4,
	SHAPE_DIM = 2,
	DIM_SIZE = 1,
};

enum { DT_STRING = 7 };

/* Each DataType that is read: the field of TensorProto that lists such numbers, and ONNX's number
 * for the same type, as which it is converted. */
static const struct {
	uint32_t field;
	uint32_t onnx;
} types[] = {
	[1] = {5, 1},	 /* FLOAT, float_val */
	[2] = {6, 11},	 /* DOUBLE, double_val */
	[3] = {7, 6},	 /* INT32, int_val */
	[4] = {7, 2},	 /* UINT8 */
	[5] = {7, 5},	 /* INT16 */
	[6] = {7, 3},	 /* INT8 */
	[9] = {10, 7},	 /* INT64, int64_val */
	[10] = {11, 9},	 /* BOOL, bool_val */
	[14] = {13, 16}, /* BFLOAT16, half_val */
	[17] = {7, 4},	 /* UINT16 */
	[19] = {13, 10}, /* HALF, half_val */
	[22] = {16, 12}, /* UINT32, uint32_val */
};

static int malformed(struct fg_error *error)
{
	return fg_error_set(error, -EINVAL, "has a malformed TensorProto");
}

/* ---- the shape --------------------------------------------------------------------------- */

/* A Dim: its size, 0 when it is not there. */
static int read_dim(const struct fg_pb *shape, const struct fg_pb_field *field, uint64_t *size)
{
	struct fg_pb dim;
	struct fg_pb_field inner;
	int got;

	*size = 0;
	if (fg_pb_enter(shape, field, &dim))
		return -EINVAL;
	while ((got = fg_pb_next(&dim, &inner)) > 0)
		if (inner.number == DIM_SIZE && inner.wire == FG_PB_VARINT)
			*size = inner.value;
	return got;
}

/* Adds a dimension: the first is the rows. An unknown one (-1) is too large as well. */
static int add_dim(struct fg_tf_tensor *tensor, uint32_t rank, uint64_t size,
		   struct fg_error *error)
{
	const size_t length = strlen(tensor->shape);
	uint64_t count;

	snprintf(tensor->shape + length, sizeof(tensor->shape) - length, "%s%llu",
		 rank ? " x " : "", (unsigned long long)size);
	if (rank)
		size = __builtin_mul_overflow(tensor->cols, size, &tensor->cols) ? 0 : tensor->cols;
	else
		tensor->rows = size;
	if (!size || size > INT64_MAX || __builtin_mul_overflow(tensor->rows, tensor->cols, &count))
		return fg_error_set(error, -EINVAL, "has the shape %s: no rows, or too many",
				    tensor->shape);
	return 0;
}

static int read_shape(struct fg_tf_tensor *tensor, const struct fg_pb_field *field,
		      struct fg_error *error)
{
	struct fg_pb shape;
	struct fg_pb_field dim;
	uint32_t rank = 0;
	uint64_t size;
	int got, result = 0;

	if (fg_pb_enter(&tensor->message, field, &shape))
		return malformed(error);
	while (!result && (got = fg_pb_next(&shape, &dim)) != 0) {
		if (got < 0 || (dim.number == SHAPE_DIM && read_dim(&shape, &dim, &size)))
			return malformed(error);
		if (dim.number == SHAPE_DIM)
			result = add_dim(tensor, rank++, size, error);
	}
	return result;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int check_type(const struct fg_tf_tensor *tensor, struct fg_error *error)
{
	if (tensor->dtype == DT_STRING)
		return fg_error_set(error, -ENOTSUP, "holds texts (DT_STRING)");
	if (tensor->dtype < sizeof(types) / sizeof(types[0]) && types[tensor->dtype].field)
		return 0;
	return fg_error_set(error, -EINVAL,
			    "is of data type %u: float, double, half, bfloat16, int8 to int64, "
			    "uint8 to uint32 and bool are read",
			    tensor->dtype);
}

/* tensor_content holds all numbers, or none. */
static int check_content(struct fg_tf_tensor *tensor, size_t length, struct fg_error *error)
{
	const uint32_t bytes = fg_onnx_type(types[tensor->dtype].onnx)->bytes;

	if (!length)
		tensor->content = NULL;
	if (length % bytes == 0 && (!length || length / bytes == tensor->rows * tensor->cols))
		return 0;
	return fg_error_set(error, -EINVAL,
			    "has %zu bytes of tensor_content, which do not make the shape %s",
			    length, tensor->shape);
}

int fg_tf_tensor_open(struct fg_tf_tensor *tensor, const struct fg_pb *message,
		      struct fg_error *error)
{
	struct fg_pb fields = *message;
	struct fg_pb_field field;
	size_t length = 0;
	int got, result = 0;

	*tensor = (struct fg_tf_tensor){.message = *message, .cols = 1};
	while (!result && (got = fg_pb_next(&fields, &field)) > 0) {
		if (field.number == TENSOR_DTYPE && field.wire == FG_PB_VARINT)
			tensor->dtype = (uint32_t)field.value;
		if (field.number == TENSOR_SHAPE && !tensor->shape[0])
			result = read_shape(tensor, &field, error);
		if (field.number == TENSOR_CONTENT && field.wire == FG_PB_BYTES) {
			tensor->content = field.bytes;
			length = field.length;
		}
	}
	if (!result && got)
		result = malformed(error);
	if (!result)
		result = check_type(tensor, error);
	if (!result && !tensor->rows)
		result = fg_error_set(error, -EINVAL,
				      "has no dimensions: the first is the batch of rows");
	return result ? result : check_content(tensor, length, error);
}

/* ---- numbers ----------------------------------------------------------------------------- */

/* Where the numbers go, in their order. */
struct sink {
	uint32_t onnx;
	uint64_t next, count;
	uint64_t cols;
	size_t stride;
	float *to;
	float last;
};

static void put(struct sink *sink, float number)
{
	sink->to[sink->next / sink->cols * sink->stride + sink->next % sink->cols] = number;
	sink->last = number;
	sink->next++;
}

static float convert(uint32_t onnx, uint64_t bits)
{
	int64_t integer = 0;
	double wide;
	float number = 0;

	if (onnx == FG_ONNX_DOUBLE) {
		fg_onnx_convert(onnx, bits, &wide);
		return (float)wide;
	}
	if (fg_onnx_type(onnx)->element == FG_ELEMENT_F32) {
		fg_onnx_convert(onnx, bits, &number);
		return number;
	}
	fg_onnx_convert(onnx, bits, &integer);
	return (float)integer;
}

static void read_content(struct sink *sink, const uint8_t *content)
{
	const uint32_t bytes = fg_onnx_type(sink->onnx)->bytes;

	for (uint64_t bits = 0; sink->next < sink->count; content += bytes) {
		memcpy(&bits, content, bytes);
		put(sink, convert(sink->onnx, bits));
	}
}

static int read_list(struct sink *sink, const struct fg_pb_field *field)
{
	struct fg_pb_numbers numbers;
	uint64_t bits;
	int got = 1;

	if (fg_pb_numbers_init(&numbers, field, fg_onnx_type(sink->onnx)->wire))
		return -EINVAL;
	while (sink->next < sink->count && (got = fg_pb_numbers_next(&numbers, &bits)) > 0)
		put(sink, convert(sink->onnx, bits));
	return got < 0 ? got : 0;
}

int fg_tf_tensor_read(const struct fg_tf_tensor *tensor, uint32_t rows, float *to, size_t stride,
		      struct fg_error *error)
{
	struct sink sink = {.onnx = types[tensor->dtype].onnx,
			    .count = rows * tensor->cols,
			    .cols = tensor->cols,
			    .stride = stride,
			    .to = to};
	struct fg_pb fields = tensor->message;
	struct fg_pb_field field;

	if (tensor->content)
		read_content(&sink, tensor->content);
	while (sink.next < sink.count && fg_pb_next(&fields, &field) > 0)
		if (field.number == types[tensor->dtype].field && read_list(&sink, &field))
			return malformed(error);
	while (sink.next < sink.count)
		put(&sink, sink.last);
	return 0;
}
