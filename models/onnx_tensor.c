#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include "models/file.h"
#include "models/onnx_tensor.h"

/* onnx.proto: TensorProto and StringStringEntryProto */
enum {
	TENSOR_DIMS = 1,
	TENSOR_TYPE = 2,
	TENSOR_SEGMENT = 3,
	TENSOR_FLOATS = 4,
	TENSOR_INT64S = 7,
	TENSOR_NAME = 8,
	TENSOR_RAW = 9,
	TENSOR_EXTERNAL = 13,
	TENSOR_LOCATION = 14,
	ENTRY_KEY = 1,
	ENTRY_VALUE = 2,
};

#define TYPE_FLOAT 1
#define TYPE_INT64 7

const char *fg_onnx_type_name(uint64_t type)
{
	static const char *const names[] = {"undefined", "float32", "uint8",	 "int8",
					    "uint16",	 "int16",   "int32",	 "int64",
					    "string",	 "bool",    "float16",	 "float64",
					    "uint32",	 "uint64",  "complex64", "complex128",
					    "bfloat16"};

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "a type unknown here";
}

/* What was found in a TensorProto, before its data is looked at. */
struct raw_tensor {
	struct fg_pb message;
	char label[64]; /* "tensor 'w1'" */
	uint64_t type;
	struct fg_pb_field raw;	 /* raw_data; number 0: not there */
	struct fg_text file;	 /* external: location */
	uint64_t offset, length; /* external */
	bool has_length;
	bool external;
};

static int tensor_error(const struct raw_tensor *raw, struct fg_error *error, const char *reason)
{
	return fg_error_set(error, -EINVAL, "%s: %s", raw->label, reason);
}

static int read_dims(struct fg_tensor *tensor, const struct fg_pb_field *field,
		     const struct raw_tensor *raw, struct fg_error *error)
{
	struct fg_pb_numbers numbers;
	uint64_t dim;
	int more;

	if (fg_pb_numbers_init(&numbers, field, FG_PB_VARINT))
		return tensor_error(raw, error, "malformed dimensions");
	while ((more = fg_pb_numbers_next(&numbers, &dim)) > 0) {
		if (tensor->rank == FG_GRAPH_MAX_RANK)
			return tensor_error(raw, error, "has more than 8 dimensions");
		tensor->dims[tensor->rank++] = (int64_t)dim;
	}
	return more ? tensor_error(raw, error, "malformed dimensions") : 0;
}

static int count_elements(struct fg_tensor *tensor, const struct raw_tensor *raw,
			  struct fg_error *error)
{
	tensor->count = 1;
	for (uint32_t i = 0; i < tensor->rank; i++) {
		if (tensor->dims[i] < 1)
			return fg_error_set(error, -EINVAL, "%s: dimension %u is %lld", raw->label,
					    i, (long long)tensor->dims[i]);
		if (__builtin_mul_overflow(tensor->count, (size_t)tensor->dims[i],
					   &tensor->count) ||
		    tensor->count > PTRDIFF_MAX / sizeof(int64_t))
			return tensor_error(raw, error, "its dimensions overflow");
	}
	return 0;
}

/* Decimal digits only. -EINVAL otherwise. */
static int parse_decimal(struct fg_text text, uint64_t *value)
{
	*value = 0;
	for (size_t i = 0; i < text.length; i++)
		if (text.at[i] < '0' || text.at[i] > '9' ||
		    __builtin_mul_overflow(*value, (uint64_t)10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(text.at[i] - '0'), value))
			return -EINVAL;
	return text.length ? 0 : -EINVAL;
}

/* One entry of external_data; keys that are not known (checksum) mean nothing here. */
static int read_external(struct raw_tensor *raw, const struct fg_pb_field *field,
			 struct fg_error *error)
{
	struct fg_text key = {NULL, 0}, value = {NULL, 0};
	struct fg_pb entry;
	struct fg_pb_field part;
	int more, result = 0;

	if (fg_pb_enter(&raw->message, field, &entry))
		return tensor_error(raw, error, "malformed external data");
	while ((more = fg_pb_next(&entry, &part)) > 0) {
		struct fg_text text = {(const char *)part.bytes, part.length};

		if (part.number == ENTRY_KEY)
			key = text;
		else if (part.number == ENTRY_VALUE)
			value = text;
	}
	if (fg_text_is(key, "location"))
		raw->file = value;
	else if (fg_text_is(key, "offset"))
		result = parse_decimal(value, &raw->offset);
	else if (fg_text_is(key, "length"))
		result = parse_decimal(value, &raw->length);
	raw->has_length |= fg_text_is(key, "length");
	if (more < 0 || result)
		return tensor_error(raw, error, "malformed external data");
	return 0;
}

static int scan_tensor(struct raw_tensor *raw, struct fg_onnx_tensor *out, struct fg_error *error)
{
	struct fg_pb message = raw->message;
	struct fg_pb_field field;
	char name[48];
	int more, result = 0;

	while (!result && (more = fg_pb_next(&message, &field)) > 0) {
		switch (field.number) {
		case TENSOR_NAME:
			out->name = (struct fg_text){(const char *)field.bytes, field.length};
			snprintf(raw->label, sizeof(raw->label), "tensor '%s'",
				 fg_text_print(out->name, name, sizeof(name)));
			break;
		case TENSOR_DIMS:
			result = read_dims(&out->tensor, &field, raw, error);
			break;
		case TENSOR_TYPE:
			raw->type = field.value;
			break;
		case TENSOR_RAW:
			raw->raw = field;
			break;
		case TENSOR_EXTERNAL:
			result = read_external(raw, &field, error);
			break;
		case TENSOR_LOCATION:
			raw->external = field.value == 1;
			break;
		case TENSOR_SEGMENT:
			result = tensor_error(raw, error,
					      "is split into segments, which nothing "
					      "writes any more");
			break;
		}
	}
	if (!result && more < 0)
		result = tensor_error(raw, error, "malformed protobuf");
	return result;
}

/* Collects the numbers of repeated field `number` into *data. -EINVAL: malformed, or not exactly
 * `count`; -ENOMEM. */
static int collect(struct fg_pb message, uint32_t number, enum fg_element element, size_t count,
		   struct fg_arena *arena, const void **data)
{
	enum fg_pb_wire wire = element == FG_ELEMENT_F32 ? FG_PB_FIXED32 : FG_PB_VARINT;
	size_t width = element == FG_ELEMENT_F32 ? sizeof(float) : sizeof(int64_t), got = 0;
	struct fg_pb_numbers numbers;
	struct fg_pb_field field;
	uint64_t value;
	char *to;
	int more;

	/* Each number takes at least one byte of the message, so a lie about `count` cannot make
	 * us ask for much more memory than the file is long. */
	if (count > (size_t)(message.end - message.at))
		return -EINVAL;
	to = fg_arena_alloc(arena, count, width);
	if (!to)
		return -ENOMEM;
	*data = to;
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != number)
			continue;
		if (fg_pb_numbers_init(&numbers, &field, wire))
			return -EINVAL;
		while ((more = fg_pb_numbers_next(&numbers, &value)) > 0) {
			if (got == count)
				return -EINVAL;
			memcpy(to + got++ * width, &value, width);
		}
		if (more < 0)
			return -EINVAL;
	}
	return more < 0 || got != count ? -EINVAL : 0;
}

static int load_external(const struct raw_tensor *raw, int dirfd, size_t bytes,
			 struct fg_arena *arena, struct fg_tensor *tensor, struct fg_error *error)
{
	char name[256], reason[sizeof(error->text)];
	struct fg_error inner;
	uint64_t size;
	int fd, result;

	if (dirfd < 0)
		return tensor_error(raw, error, "has external data, and there is no directory");
	if (!fg_file_plain_name(raw->file))
		return tensor_error(raw, error,
				    "its external data must be a plain file name in the model's "
				    "own directory (no '/', no '..')");
	memcpy(name, raw->file.at, raw->file.length);
	name[raw->file.length] = 0;
	result = fg_file_open(dirfd, name, &fd, &size, &inner);
	if (result)
		goto fail;
	if (raw->offset > size || bytes > size - raw->offset ||
	    (raw->has_length && raw->length != bytes)) {
		snprintf(reason, sizeof(reason),
			 "needs %zu bytes at %llu of '%.40s', which has %llu%s", bytes,
			 (unsigned long long)raw->offset, name, (unsigned long long)size,
			 raw->has_length && raw->length != bytes ? "; its length says otherwise"
								 : "");
		close(fd);
		return tensor_error(raw, error, reason);
	}
	result = fg_file_read(fd, name, raw->offset, bytes, arena, &tensor->data, &inner);
	close(fd);
fail:
	if (result)
		fg_error_set(error, result, "%.60s: %.180s", raw->label, inner.text);
	return result;
}

static int load_data(const struct raw_tensor *raw, int dirfd, struct fg_arena *arena,
		     struct fg_tensor *tensor, struct fg_error *error)
{
	size_t width = tensor->element == FG_ELEMENT_F32 ? sizeof(float) : sizeof(int64_t);
	int result;

	if (raw->external)
		return load_external(raw, dirfd, tensor->count * width, arena, tensor, error);
	if (raw->raw.number) {
		if (raw->raw.wire != FG_PB_BYTES || raw->raw.length != tensor->count * width)
			return fg_error_set(error, -EINVAL,
					    "%s: has %zu bytes of data, its dimensions need %zu",
					    raw->label, raw->raw.length, tensor->count * width);
		tensor->data = raw->raw.bytes;
		return 0;
	}
	result = collect(raw->message,
			 tensor->element == FG_ELEMENT_F32 ? TENSOR_FLOATS : TENSOR_INT64S,
			 tensor->element, tensor->count, arena, &tensor->data);
	if (result)
		fg_error_set(error, result,
			     "%s: has not the %zu numbers that its dimensions need%s", raw->label,
			     tensor->count, result == -ENOMEM ? " (out of memory)" : "");
	return result;
}

int fg_onnx_read_tensor(struct fg_pb message, const char *what, int dirfd, struct fg_arena *arena,
			struct fg_onnx_tensor *out, struct fg_error *error)
{
	struct raw_tensor raw = {.message = message};
	int result;

	memset(out, 0, sizeof(*out));
	snprintf(raw.label, sizeof(raw.label), "%s", what);
	result = scan_tensor(&raw, out, error);
	if (result)
		return result;
	if (raw.type != TYPE_FLOAT && raw.type != TYPE_INT64)
		return fg_error_set(error, -EINVAL,
				    "%s: is %s, only float32 is supported (and int64 for shapes): "
				    "export the model as float32",
				    raw.label, fg_onnx_type_name(raw.type));
	out->tensor.element = raw.type == TYPE_FLOAT ? FG_ELEMENT_F32 : FG_ELEMENT_I64;
	result = count_elements(&out->tensor, &raw, error);
	return result ? result : load_data(&raw, dirfd, arena, &out->tensor, error);
}

/* Each number is one step of the reader, so counting first is cheap and bounded. */
static int count_list(struct fg_pb message, uint32_t number, enum fg_pb_wire wire, size_t *count)
{
	struct fg_pb_numbers numbers;
	struct fg_pb_field field;
	uint64_t value;
	int more;

	*count = 0;
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != number)
			continue;
		if (fg_pb_numbers_init(&numbers, &field, wire))
			return -EINVAL;
		while ((more = fg_pb_numbers_next(&numbers, &value)) > 0)
			++*count;
		if (more < 0)
			return -EINVAL;
	}
	return more < 0 || !*count ? -EINVAL : 0;
}

int fg_onnx_read_list(struct fg_pb message, uint32_t field, enum fg_element element,
		      struct fg_arena *arena, struct fg_tensor *out)
{
	int result;

	memset(out, 0, sizeof(*out));
	result = count_list(message, field,
			    element == FG_ELEMENT_F32 ? FG_PB_FIXED32 : FG_PB_VARINT, &out->count);
	if (result)
		return result;
	out->element = element;
	out->rank = 1;
	out->dims[0] = (int64_t)out->count;
	return collect(message, field, element, out->count, arena, &out->data);
}
