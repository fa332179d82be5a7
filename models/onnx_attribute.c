#include <errno.h>
#include <string.h>
#include "models/onnx_parse.h"
#include "models/onnx_tensor.h"
#include "models/onnx_type.h"

/* onnx.proto: AttributeProto */
enum {
	ATTRIBUTE_NAME = 1,
	ATTRIBUTE_F = 2,
	ATTRIBUTE_I = 3,
	ATTRIBUTE_S = 4,
	ATTRIBUTE_T = 5,
	ATTRIBUTE_FLOATS = 7,
	ATTRIBUTE_INTS = 8,
	ATTRIBUTE_STRINGS = 9,
	ATTRIBUTE_TYPE = 20,
	ATTRIBUTE_REFERENCE = 21,
};

/* AttributeProto.AttributeType */
enum {
	TYPE_FLOAT = 1,
	TYPE_INT = 2,
	TYPE_STRING = 3,
	TYPE_TENSOR = 4,
	TYPE_FLOATS = 6,
	TYPE_INTS = 7,
	TYPE_STRINGS = 8,
};

/* What was found in an AttributeProto. */
struct fields {
	uint64_t type;
	struct fg_pb_field tensor; /* number 0: not there */
};

static int scan_attribute(struct fg_pb message, struct fg_attribute *attribute,
			  struct fields *fields)
{
	struct fg_pb_field field;
	int more;

	while ((more = fg_pb_next(&message, &field)) > 0) {
		uint32_t bits = (uint32_t)field.value;

		if (field.number == ATTRIBUTE_NAME)
			attribute->name = fg_onnx_text(&field);
		else if (field.number == ATTRIBUTE_F && field.wire == FG_PB_FIXED32)
			memcpy(&attribute->number, &bits, sizeof(bits));
		else if (field.number == ATTRIBUTE_I && field.wire == FG_PB_VARINT)
			attribute->integer = (int64_t)field.value;
		else if (field.number == ATTRIBUTE_S)
			attribute->text = fg_onnx_text(&field);
		else if (field.number == ATTRIBUTE_T)
			fields->tensor = field;
		else if (field.number == ATTRIBUTE_TYPE)
			fields->type = field.value;
		else if (field.number == ATTRIBUTE_REFERENCE)
			return -ENOTSUP;
	}
	return more;
}

static int read_tensor(struct fg_onnx_parser *parser, struct fg_pb message,
		       const struct fg_pb_field *field, struct fg_onnx_tensor *tensor)
{
	struct fg_pb child;

	if (!field->number || fg_pb_enter(&message, field, &child))
		return fg_onnx_malformed(parser, "a tensor attribute");
	return fg_onnx_read_tensor(child, "a constant", &parser->external, tensor, parser->error);
}

static int read_list(struct fg_onnx_parser *parser, struct fg_pb message, uint32_t number,
		     uint64_t type, struct fg_tensor *tensor)
{
	int result = fg_onnx_read_list(message, number, type, &parser->graph->arena, tensor);

	if (result == -ENOMEM)
		return fg_onnx_no_memory(parser);
	return result ? fg_onnx_malformed(parser, "a list attribute") : 0;
}

static int read_array(struct fg_onnx_parser *parser, struct fg_pb message,
		      const struct fields *fields, struct fg_attribute *attribute)
{
	struct fg_onnx_tensor *out = fg_arena_alloc(&parser->graph->arena, 1, sizeof(*out));

	if (!out)
		return fg_onnx_no_memory(parser);
	attribute->kind = FG_ATTRIBUTE_TENSOR;
	attribute->tensor = &out->tensor;
	switch (fields->type) {
	case TYPE_FLOATS:
		return read_list(parser, message, ATTRIBUTE_FLOATS, FG_ONNX_FLOAT, &out->tensor);
	case TYPE_INTS:
		return read_list(parser, message, ATTRIBUTE_INTS, FG_ONNX_INT64, &out->tensor);
	case TYPE_STRINGS:
		return read_list(parser, message, ATTRIBUTE_STRINGS, FG_ONNX_STRING, &out->tensor);
	default:
		return read_tensor(parser, message, &fields->tensor, out);
	}
}

int fg_onnx_read_attribute(struct fg_onnx_parser *parser, struct fg_pb message,
			   struct fg_attribute *attribute)
{
	struct fields fields = {0};
	int result = scan_attribute(message, attribute, &fields);

	if (result == -ENOTSUP)
		return fg_error_set(parser->error, -EINVAL,
				    "an attribute refers to a function's: not supported");
	if (result)
		return fg_onnx_malformed(parser, "an attribute");
	switch (fields.type) {
	case TYPE_FLOAT:
		attribute->kind = FG_ATTRIBUTE_FLOAT;
		return 0;
	case TYPE_INT:
		attribute->kind = FG_ATTRIBUTE_INT;
		return 0;
	case TYPE_STRING:
		attribute->kind = FG_ATTRIBUTE_TEXT;
		return 0;
	case TYPE_TENSOR:
	case TYPE_FLOATS:
	case TYPE_INTS:
	case TYPE_STRINGS:
		return read_array(parser, message, &fields, attribute);
	default:
		return 0;
	}
}
