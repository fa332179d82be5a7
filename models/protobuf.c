#include <errno.h>
#include <string.h>
#include "models/protobuf.h"

#define MAX_FIELD_NUMBER ((1u << 29) - 1)

void fg_pb_init(struct fg_pb *reader, const void *bytes, size_t length)
{
	static const uint8_t nothing[1];

	reader->at = bytes ? bytes : nothing;
	reader->end = reader->at + length;
	reader->depth = 0;
}

static int read_varint(struct fg_pb *reader, uint64_t *value)
{
	uint64_t result = 0;

	for (unsigned int shift = 0; shift < 64; shift += 7) {
		uint8_t byte;

		if (reader->at == reader->end)
			return -EINVAL;
		byte = *reader->at++;
		/* The tenth byte has room for the 64th bit only. */
		if (shift == 63 && byte > 1)
			return -EINVAL;
		result |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value = result;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_fixed(struct fg_pb *reader, size_t width, uint64_t *value)
{
	if ((size_t)(reader->end - reader->at) < width)
		return -EINVAL;
	*value = 0;
	memcpy(value, reader->at, width); /* little-endian, as all hosts we build for */
	reader->at += width;
	return 0;
}

static int read_number(struct fg_pb *reader, enum fg_pb_wire wire, uint64_t *value)
{
	switch (wire) {
	case FG_PB_VARINT:
		return read_varint(reader, value);
	case FG_PB_FIXED32:
		return read_fixed(reader, 4, value);
	case FG_PB_FIXED64:
		return read_fixed(reader, 8, value);
	default:
		return -EINVAL;
	}
}

int fg_pb_next(struct fg_pb *reader, struct fg_pb_field *field)
{
	uint64_t tag;

	if (reader->at == reader->end)
		return 0;
	if (read_varint(reader, &tag) || tag >> 3 == 0 || tag >> 3 > MAX_FIELD_NUMBER)
		return -EINVAL;
	*field = (struct fg_pb_field){.number = tag >> 3, .wire = tag & 7};
	if (field->wire != FG_PB_BYTES)
		return read_number(reader, field->wire, &field->value) ? -EINVAL : 1;
	if (read_varint(reader, &field->value) ||
	    field->value > (uint64_t)(reader->end - reader->at))
		return -EINVAL;
	field->bytes = reader->at;
	field->length = field->value;
	reader->at += field->length;
	return 1;
}

int fg_pb_enter(const struct fg_pb *reader, const struct fg_pb_field *field, struct fg_pb *child)
{
	if (field->wire != FG_PB_BYTES || reader->depth >= FG_PB_MAX_DEPTH)
		return -EINVAL;
	child->at = field->bytes;
	child->end = field->bytes + field->length;
	child->depth = reader->depth + 1;
	return 0;
}

int fg_pb_numbers_init(struct fg_pb_numbers *numbers, const struct fg_pb_field *field,
		       enum fg_pb_wire wire)
{
	memset(numbers, 0, sizeof(*numbers));
	numbers->wire = wire;
	if (field->wire == FG_PB_BYTES) {
		fg_pb_init(&numbers->packed, field->bytes, field->length);
		return 0;
	}
	if (field->wire != wire)
		return -EINVAL;
	fg_pb_init(&numbers->packed, NULL, 0);
	numbers->single = field->value;
	numbers->has_single = 1;
	return 0;
}

int fg_pb_numbers_next(struct fg_pb_numbers *numbers, uint64_t *value)
{
	if (numbers->has_single) {
		*value = numbers->single;
		numbers->has_single = 0;
		return 1;
	}
	if (numbers->packed.at == numbers->packed.end)
		return 0;
	return read_number(&numbers->packed, numbers->wire, value) ? -EINVAL : 1;
}
