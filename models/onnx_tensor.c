#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "models/onnx_tensor.h"
#include "models/onnx_type.h"

/* onnx.proto: TensorProto and StringStringEntryProto */
enum {
	TENSOR_DIMS = 1,
	TENSOR_TYPE = 2,
	TENSOR_SEGMENT = 3,
	TENSOR_NAME = 8,
	TENSOR_RAW = 9,
	TENSOR_EXTERNAL = 13,
	TENSOR_LOCATION = 14,
	ENTRY_KEY = 1,
	ENTRY_VALUE = 2,
};

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

static int too_large(const struct raw_tensor *raw, struct fg_error *error)
{
	return tensor_error(raw, error, "holds a uint64 above the largest int64, 2^63 - 1");
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
		if (tensor->dims[i] < (tensor->rank == 1 ? 0 : 1))
			return fg_error_set(error, -EINVAL, "%s: dimension %u is %lld", raw->label,
					    i, (long long)tensor->dims[i]);
		if (__builtin_mul_overflow(tensor->count, (size_t)tensor->dims[i],
					   &tensor->count) ||
		    tensor->count > PTRDIFF_MAX / sizeof(struct fg_text))
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

/*
 * Goes through the elements of repeated field `number`, which has them packed or one by one, and
 * writes what they become to `to` (NULL: only counts), which has room for `room`. -EINVAL:
 * malformed, or more than that; -ERANGE: a number that does not fit.
 */
static int gather(struct fg_pb message, uint32_t number, uint64_t type, char *to, size_t room,
		  size_t *count)
{
	const struct fg_onnx_type *info = fg_onnx_type(type);
	size_t width = fg_element_bytes(info->element);
	struct fg_pb_numbers numbers;
	struct fg_pb_field field;
	uint64_t bits;
	int more, result;

	*count = 0;
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != number)
			continue;
		if (info->element == FG_ELEMENT_TEXT) {
			struct fg_text text = {(const char *)field.bytes, field.length};

			if (field.wire != FG_PB_BYTES || (to && *count == room))
				return -EINVAL;
			if (to)
				memcpy(to + *count * width, &text, width);
			++*count;
			continue;
		}
		if (fg_pb_numbers_init(&numbers, &field, info->wire))
			return -EINVAL;
		while ((more = fg_pb_numbers_next(&numbers, &bits)) > 0) {
			if (to && *count == room)
				return -EINVAL;
			result = to ? fg_onnx_convert(type, bits, to + *count * width) : 0;
			if (result)
				return result;
			++*count;
		}
		if (more < 0)
			return -EINVAL;
	}
	return more;
}

/* Raw data of these is what we hold. */
static bool is_as_stored(uint64_t type)
{
	return type == FG_ONNX_FLOAT || type == FG_ONNX_INT64 || type == FG_ONNX_DOUBLE;
}

/* Raw data at `bytes`, of the right size. */
static int take_raw(const struct raw_tensor *raw, const uint8_t *bytes, struct fg_arena *arena,
		    struct fg_tensor *tensor, struct fg_error *error)
{
	uint32_t width = fg_onnx_type(raw->type)->bytes;
	size_t to_width = fg_element_bytes(tensor->element);
	char *to;

	if (is_as_stored(raw->type)) {
		tensor->data = bytes;
		return 0;
	}
	to = fg_arena_alloc(arena, tensor->count, to_width);
	if (!to)
		return fg_error_set(error, -ENOMEM, "%s: out of memory", raw->label);
	tensor->data = to;
	for (size_t i = 0; i < tensor->count; i++) {
		uint64_t bits = 0;

		memcpy(&bits, bytes + i * width, width);
		if (fg_onnx_convert(raw->type, bits, to + i * to_width))
			return too_large(raw, error);
	}
	return 0;
}

static int take_external(const struct raw_tensor *raw, struct fg_onnx_external *external,
			 size_t bytes, struct fg_tensor *tensor, struct fg_error *error)
{
	struct fg_error reason;
	const uint8_t *file;
	size_t size;
	int result = fg_onnx_external_read(external, raw->file, &file, &size, &reason);

	if (result)
		return fg_error_set(error, result, "%.60s: %s", raw->label, reason.text);
	if (raw->has_length && raw->length != bytes)
		return fg_error_set(error, -EINVAL,
				    "%s: has %llu bytes of external data, its dimensions need %zu",
				    raw->label, (unsigned long long)raw->length, bytes);
	if (raw->offset > size || bytes > size - raw->offset) {
		char name[64];

		return fg_error_set(error, -EINVAL,
				    "%s: needs %zu bytes at %llu of '%s', which has %zu",
				    raw->label, bytes, (unsigned long long)raw->offset,
				    fg_text_print(raw->file, name, sizeof(name)), size);
	}
	if (!is_as_stored(raw->type)) {
		if (bytes > external->convertible)
			return tensor_error(raw, error,
					    "its external data is that of other tensors as well");
		external->convertible -= bytes;
	}
	return take_raw(raw, file + raw->offset, external->arena, tensor, error);
}

/* Numbers in a field of their own type, and texts. */
static int take_listed(const struct raw_tensor *raw, struct fg_arena *arena,
		       struct fg_tensor *tensor, struct fg_error *error)
{
	/* Each element takes at least one byte of the message, so a lie about `count` cannot make
	 * us ask for much more memory than the file is long. */
	bool plausible = tensor->count <= (size_t)(raw->message.end - raw->message.at);
	size_t got = 0;
	char *to = NULL;
	int result = 0;

	if (plausible) {
		to = fg_arena_alloc(arena, tensor->count, fg_element_bytes(tensor->element));
		if (!to)
			return fg_error_set(error, -ENOMEM, "%s: out of memory", raw->label);
		result = gather(raw->message, fg_onnx_type(raw->type)->field, raw->type, to,
				tensor->count, &got);
	}
	if (result == -ERANGE)
		return too_large(raw, error);
	if (result || got != tensor->count)
		return fg_error_set(error, -EINVAL,
				    "%s: has not the %zu %s that its dimensions need", raw->label,
				    tensor->count,
				    tensor->element == FG_ELEMENT_TEXT ? "texts" : "numbers");
	tensor->data = to;
	return 0;
}

static int load_data(const struct raw_tensor *raw, struct fg_onnx_external *external,
		     struct fg_tensor *tensor, struct fg_error *error)
{
	uint32_t width = fg_onnx_type(raw->type)->bytes;
	size_t bytes = tensor->count * width;

	if (!width && (raw->external || raw->raw.number))
		return tensor_error(raw, error, "texts must be in string_data");
	if (raw->external)
		return take_external(raw, external, bytes, tensor, error);
	if (!raw->raw.number)
		return take_listed(raw, external->arena, tensor, error);
	if (raw->raw.wire != FG_PB_BYTES || raw->raw.length != bytes)
		return fg_error_set(error, -EINVAL,
				    "%s: has %zu bytes of data, its dimensions need %zu",
				    raw->label, raw->raw.length, bytes);
	return take_raw(raw, raw->raw.bytes, external->arena, tensor, error);
}

int fg_onnx_read_tensor(struct fg_pb message, const char *what, struct fg_onnx_external *external,
			struct fg_onnx_tensor *out, struct fg_error *error)
{
	struct raw_tensor raw = {.message = message};
	const struct fg_onnx_type *type;
	int result;

	memset(out, 0, sizeof(*out));
	snprintf(raw.label, sizeof(raw.label), "%s", what);
	result = scan_tensor(&raw, out, error);
	if (result)
		return result;
	type = fg_onnx_type(raw.type);
	if (!type->field)
		return fg_error_set(error, -EINVAL,
				    "%s: is %s, which is not supported: export the model as "
				    "float32",
				    raw.label, type->name);
	out->tensor.element = type->element;
	out->tensor.integer = type->integer;
	result = count_elements(&out->tensor, &raw, error);
	return result ? result : load_data(&raw, external, &out->tensor, error);
}

int fg_onnx_read_list(struct fg_pb message, uint32_t number, uint64_t type, struct fg_arena *arena,
		      struct fg_tensor *out)
{
	size_t count;
	char *to;
	int result = gather(message, number, type, NULL, 0, &count);

	if (result)
		return result;
	memset(out, 0, sizeof(*out));
	out->element = fg_onnx_type(type)->element;
	out->rank = 1;
	out->dims[0] = (int64_t)count;
	out->count = count;
	to = fg_arena_alloc(arena, count, fg_element_bytes(out->element));
	if (!to)
		return -ENOMEM;
	out->data = to;
	return gather(message, number, type, to, count, &count);
}
