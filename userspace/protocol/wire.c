#include "userspace/protocol/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are read as they stand");

static const struct {
	const char *name;
	size_t bytes;
} dtypes[] = {
	[FG_DTYPE_NONE] = {"none", 0}, [FG_DTYPE_F32] = {"f32", 4},   [FG_DTYPE_F64] = {"f64", 8},
	[FG_DTYPE_BF16] = {"bf16", 2}, [FG_DTYPE_F16] = {"f16", 2},   [FG_DTYPE_U8] = {"u8", 1},
	[FG_DTYPE_I8] = {"i8", 1},     [FG_DTYPE_TEXT] = {"text", 0},
};
#define DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

static const struct {
	const char *name, *help;
} statuses[FG_STATUS_COUNT] = {
#define STATUS_ROW(name, label, help) [FG_STATUS_##name] = {label, help},
	FG_STATUSES(STATUS_ROW)
#undef STATUS_ROW
};

size_t fg_dtype_bytes(uint8_t dtype)
{
	return dtype < DTYPES ? dtypes[dtype].bytes : 0;
}

const char *fg_dtype_name(uint8_t dtype)
{
	return dtype < DTYPES ? dtypes[dtype].name : "?";
}

uint8_t fg_dtype_find(const char *name)
{
	for (uint8_t i = 0; i < DTYPES; i++)
		if (strcmp(dtypes[i].name, name) == 0)
			return i;
	return FG_DTYPE_NONE;
}

const char *fg_status_name(uint8_t status)
{
	return status < FG_STATUS_COUNT ? statuses[status].name : "?";
}

const char *fg_status_help(uint8_t status)
{
	return status < FG_STATUS_COUNT ? statuses[status].help : "?";
}

uint32_t fg_wire_model(const char *name)
{
	return XXH32(name, strlen(name), 0);
}

uint64_t fg_wire_label(const char *name)
{
	return XXH64(name, strlen(name), 0);
}

/* rows * cols * element size; UINT64_MAX when that overflows, so that it equals no payload. */
static uint64_t payload_of(uint8_t dtype, uint32_t rows, uint32_t cols)
{
	uint64_t bytes;

	if (__builtin_mul_overflow((uint64_t)rows * cols, fg_dtype_bytes(dtype), &bytes))
		return UINT64_MAX;
	return bytes;
}

static int parse_header(const void *bytes, size_t length, uint8_t type,
			struct fg_wire_header *header)
{
	if (length < sizeof(*header))
		return -EPROTO;
	memcpy(header, bytes, sizeof(*header));
	if (header->magic != FG_WIRE_MAGIC || header->version != FG_WIRE_VERSION ||
	    header->type != type)
		return -EPROTO;
	return 0;
}

int fg_wire_parse_request(const void *bytes, size_t length, struct fg_wire_header *header,
			  uint8_t *status)
{
	if (parse_header(bytes, length, FG_WIRE_REQUEST, header))
		return -EPROTO;
	*status = FG_STATUS_OK;
	if (header->flags & ~(FG_WIRE_LABEL | FG_WIRE_DESCRIBE) || header->status ||
	    header->reserved || header->generation || header->zero)
		*status = FG_STATUS_BAD_REQUEST;
	else if (header->flags & FG_WIRE_LABEL && !header->model_version)
		*status = FG_STATUS_BAD_REQUEST;
	else if (header->flags & FG_WIRE_DESCRIBE)
		*status = header->dtype || header->rows || header->cols || header->payload_bytes
				  ? FG_STATUS_BAD_REQUEST
				  : FG_STATUS_OK;
	else if (fg_dtype_bytes(header->dtype) == 0)
		*status = FG_STATUS_BAD_DTYPE;
	else if (header->rows == 0 || header->cols == 0)
		*status = FG_STATUS_BAD_SHAPE;
	else if (header->payload_bytes != payload_of(header->dtype, header->rows, header->cols) ||
		 header->payload_bytes > length - sizeof(*header))
		*status = FG_STATUS_BAD_REQUEST;
	return *status == FG_STATUS_OK ? 0 : -EBADMSG;
}

int fg_wire_parse_reply(const void *bytes, size_t length, struct fg_wire_header *header)
{
	uint64_t expected;

	if (parse_header(bytes, length, FG_WIRE_REPLY, header) ||
	    header->payload_bytes > length - sizeof(*header))
		return -EPROTO;
	if (header->status != FG_STATUS_OK)
		return header->dtype == FG_DTYPE_TEXT || header->payload_bytes == 0 ? 0 : -EPROTO;
	if (header->dtype == FG_DTYPE_TEXT)
		return header->rows || header->cols ? -EPROTO : 0;
	expected = payload_of(header->dtype, header->rows, header->cols);
	return expected != 0 && expected == header->payload_bytes ? 0 : -EPROTO;
}

int64_t fg_wire_request(struct fg_wire_header *header, uint32_t model, uint8_t dtype, uint32_t rows,
			uint32_t cols)
{
	uint64_t bytes = payload_of(dtype, rows, cols);

	if (bytes == 0)
		return -EINVAL;
	if (bytes > FG_WIRE_MAX_DATAGRAM - sizeof(*header))
		return -EMSGSIZE;
	*header = (struct fg_wire_header){
		.magic = FG_WIRE_MAGIC,
		.version = FG_WIRE_VERSION,
		.type = FG_WIRE_REQUEST,
		.model = model,
		.dtype = dtype,
		.rows = rows,
		.cols = cols,
		.payload_bytes = (uint32_t)bytes,
	};
	return (int64_t)bytes;
}

static float float_of_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/*
 * IEEE binary16 -> binary32, exact. Half's exponent bias is 15 and single's 127, so the exponent
 * moves up by 112; infinities and NaNs move by 112 once more. A subnormal half has no implicit
 * one: give it one (exponent 113) and take the same amount, 2^-14, off again. No subnormal single
 * arises on the way, so the result does not depend on the FPU's flush-to-zero mode.
 */
static float float_of_half(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16;
	uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
	uint32_t exponent = bits & 0x0f800000;
	uint32_t magnitude = bits + (112u << 23);

	if (exponent == 0x0f800000) {
		magnitude += 112u << 23;
	} else if (exponent == 0) {
		float value = float_of_bits(bits + (113u << 23)) - 0x1p-14f;

		memcpy(&magnitude, &value, sizeof(magnitude));
	}
	return float_of_bits(sign | magnitude);
}

static void halves_to_f32(float *to, const unsigned char *from, bool bf16, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint16_t half;

		memcpy(&half, from + i * sizeof(half), sizeof(half));
		to[i] = bf16 ? float_of_bits((uint32_t)half << 16) : float_of_half(half);
	}
}

static void doubles_to_f32(float *to, const unsigned char *from, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		double value;

		memcpy(&value, from + i * sizeof(value), sizeof(value));
		to[i] = (float)value;
	}
}

void fg_wire_to_f32(float *to, const void *from, uint8_t dtype, size_t count)
{
	const unsigned char *bytes = from;
	const signed char *signed_bytes = from;

	switch (dtype) {
	case FG_DTYPE_F32:
		memcpy(to, from, count * sizeof(*to));
		break;
	case FG_DTYPE_F64:
		doubles_to_f32(to, bytes, count);
		break;
	case FG_DTYPE_BF16:
	case FG_DTYPE_F16:
		halves_to_f32(to, bytes, dtype == FG_DTYPE_BF16, count);
		break;
	case FG_DTYPE_U8:
		for (size_t i = 0; i < count; i++)
			to[i] = bytes[i];
		break;
	case FG_DTYPE_I8:
		for (size_t i = 0; i < count; i++)
			to[i] = signed_bytes[i];
		break;
	}
}
