#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/onnx_type.h"

/* onnx.proto: TensorProto.DataType, and the fields of TensorProto. */
enum {
	FLOAT = FG_ONNX_FLOAT,
	UINT8,
	INT8,
	UINT16,
	INT16,
	INT32,
	INT64 = FG_ONNX_INT64,
	STRING = FG_ONNX_STRING,
	BOOL,
	FLOAT16,
	DOUBLE = FG_ONNX_DOUBLE,
	UINT32,
	UINT64,
	COMPLEX64,
	COMPLEX128,
	BFLOAT16,
	FLOAT8E4M3FN,
	FLOAT8E4M3FNUZ,
	FLOAT8E5M2,
	FLOAT8E5M2FNUZ,
	UINT4,
	INT4,
	FLOAT4E2M1,
	FLOAT8E8M0,
	UINT2,
	INT2,
	FLOAT_DATA = 4,
	INT32_DATA = 5,
	STRING_DATA = 6,
	INT64_DATA = 7,
	DOUBLE_DATA = 10,
	UINT64_DATA = 11,
};

const struct fg_onnx_type *fg_onnx_type(uint64_t type)
{
	static const struct fg_onnx_type unknown = {.name = "a type unknown here"};
	static const struct fg_onnx_type types[] = {
		{.name = "of no type"},
		[FLOAT] = {"float32", FG_ELEMENT_F32, 4, FLOAT_DATA, FG_PB_FIXED32, {0, false}},
		[UINT8] = {"uint8", FG_ELEMENT_I64, 1, INT32_DATA, FG_PB_VARINT, {8, true}},
		[INT8] = {"int8", FG_ELEMENT_I64, 1, INT32_DATA, FG_PB_VARINT, {8, false}},
		[UINT16] = {"uint16", FG_ELEMENT_I64, 2, INT32_DATA, FG_PB_VARINT, {16, true}},
		[INT16] = {"int16", FG_ELEMENT_I64, 2, INT32_DATA, FG_PB_VARINT, {16, false}},
		[INT32] = {"int32", FG_ELEMENT_I64, 4, INT32_DATA, FG_PB_VARINT, {32, false}},
		[INT64] = {"int64", FG_ELEMENT_I64, 8, INT64_DATA, FG_PB_VARINT, {0, false}},
		[STRING] = {"string", FG_ELEMENT_TEXT, 0, STRING_DATA, FG_PB_BYTES, {0, false}},
		[BOOL] = {"bool", FG_ELEMENT_I64, 1, INT32_DATA, FG_PB_VARINT, {1, true}},
		[FLOAT16] = {"float16", FG_ELEMENT_F32, 2, INT32_DATA, FG_PB_VARINT, {0, false}},
		[DOUBLE] = {"float64", FG_ELEMENT_F64, 8, DOUBLE_DATA, FG_PB_FIXED64, {0, false}},
		[UINT32] = {"uint32", FG_ELEMENT_I64, 4, UINT64_DATA, FG_PB_VARINT, {32, true}},
		[UINT64] = {"uint64", FG_ELEMENT_I64, 8, UINT64_DATA, FG_PB_VARINT, {0, true}},
		[COMPLEX64] = {.name = "complex64"},
		[COMPLEX128] = {.name = "complex128"},
		[BFLOAT16] = {"bfloat16", FG_ELEMENT_F32, 2, INT32_DATA, FG_PB_VARINT, {0, false}},
		[FLOAT8E4M3FN] = {.name = "float8e4m3fn"},
		[FLOAT8E4M3FNUZ] = {.name = "float8e4m3fnuz"},
		[FLOAT8E5M2] = {.name = "float8e5m2"},
		[FLOAT8E5M2FNUZ] = {.name = "float8e5m2fnuz"},
		[UINT4] = {.name = "uint4"},
		[INT4] = {.name = "int4"},
		[FLOAT4E2M1] = {.name = "float4e2m1"},
		[FLOAT8E8M0] = {.name = "float8e8m0"},
		[UINT2] = {.name = "uint2"},
		[INT2] = {.name = "int2"},
	};

	return type < sizeof(types) / sizeof(types[0]) ? &types[type] : &unknown;
}

static float from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. */
static float from_half(uint16_t bits)
{
	int exponent = bits >> 10 & 31, fraction = bits & 1023;
	float value;

	if (exponent == 31)
		value = fraction ? NAN : INFINITY;
	else if (exponent == 0)
		value = ldexpf((float)fraction, -24);
	else
		value = ldexpf((float)(1024 + fraction), exponent - 25);
	return bits >> 15 ? -value : value;
}

static float to_f32(uint64_t type, uint64_t bits)
{
	switch (type) {
	case FLOAT16:
		return from_half((uint16_t)bits);
	case BFLOAT16:
		return from_bits((uint32_t)bits << 16);
	default:
		return from_bits((uint32_t)bits);
	}
}

static int64_t to_i64(uint64_t type, uint64_t bits)
{
	switch (type) {
	case UINT8:
		return (uint8_t)bits;
	case INT8:
		return (int8_t)bits;
	case UINT16:
		return (uint16_t)bits;
	case INT16:
		return (int16_t)bits;
	case INT32:
		return (int32_t)bits;
	case UINT32:
		return (uint32_t)bits;
	case BOOL:
		return bits != 0;
	default:
		return (int64_t)bits;
	}
}

int fg_onnx_convert(uint64_t type, uint64_t bits, void *to)
{
	if (fg_onnx_type(type)->element == FG_ELEMENT_F32) {
		float number = to_f32(type, bits);

		memcpy(to, &number, sizeof(number));
	} else if (type == DOUBLE) {
		memcpy(to, &bits, sizeof(bits));
	} else {
		int64_t integer = to_i64(type, bits);

		if (type == UINT64 && integer < 0)
			return -ERANGE;
		memcpy(to, &integer, sizeof(integer));
	}
	return 0;
}
