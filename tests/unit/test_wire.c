/* userspace/protocol/wire: what is ours, what is wrong inside it, and the element types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <cmocka.h>

#include "userspace/protocol/wire.h"

struct message {
	struct fg_wire_header header;
	unsigned char payload[256];
};

static struct message good_request(void)
{
	struct message message;

	memset(&message, 0, sizeof(message));
	assert_int_equal(fg_wire_request(&message.header, fg_wire_model("digits"), FG_DTYPE_F32, 2,
					 3),
			 24);
	message.header.request_id = 7;
	return message;
}

static struct message good_reply(void)
{
	struct message message = good_request();

	message.header.type = FG_WIRE_REPLY;
	message.header.generation = 4;
	message.header.queued_ns = 10;
	message.header.compute_ns = 20;
	return message;
}

/* Parses from an odd address: frames are not aligned. */
static int parse(const struct message *message, size_t length, uint8_t *status)
{
	unsigned char bytes[1 + sizeof(*message)];
	struct fg_wire_header header;

	memcpy(bytes + 1, message, sizeof(*message));
	*status = 0xee;
	return fg_wire_parse_request(bytes + 1, length, &header, status);
}

static void golden_bytes(void **state)
{
	static const unsigned char expected[64] = {
		'F',  'G',  'P',  '1',	1, 1, 0, 0, /* magic, version, type, flags */
		0x60, 0xec, 0x87, 0xf6, 1, 0, 0, 0, /* model, dtype, status, reserved */
		8,    7,    6,	  5,	4, 3, 2, 1, /* affinity */
		0x2a, 0,    0,	  0,	0, 0, 0, 0, /* request id */
		3,    0,    0,	  0,	0, 0, 0, 0, /* version */
		2,    0,    0,	  0,	3, 0, 0, 0, /* rows, cols */
		24,   0,    0,	  0,	0, 0, 0, 0, /* payload bytes, generation */
		0xe8, 3,    0,	  0,	0, 0, 0, 0, /* deadline, zero */
	};
	struct fg_wire_header header, read;
	unsigned char bytes[64 + 24] = {0};
	uint8_t status;

	(void)state;
	assert_int_equal(fg_wire_request(&header, fg_wire_model("digits"), FG_DTYPE_F32, 2, 3), 24);
	header.affinity = 0x0102030405060708;
	header.request_id = 42;
	header.model_version = 3;
	header.deadline_us = 1000;
	memcpy(bytes, expected, 64);
	assert_memory_equal(&header, expected, 64);
	assert_int_equal(fg_wire_parse_request(bytes, sizeof(bytes), &read, &status), 0);
	assert_memory_equal(&read, &header, 64);
}

static void model_names_hash_as_xxh32(void **state)
{
	(void)state;
	/* The xxhash specification's own test vectors for seed 0. */
	assert_int_equal(fg_wire_model(""), 0x02cc5d05);
	assert_int_equal(fg_wire_model("a"), 0x550d7456);
	assert_int_equal(fg_wire_model("abc"), 0x32d153ff);
}

static void labels_hash_as_xxh64(void **state)
{
	(void)state;
	/* The xxhash specification's own test vectors for seed 0. */
	assert_true(fg_wire_label("") == 0xef46db3751d8e999);
	assert_true(fg_wire_label("a") == 0xd24ec4f1a98c6e5b);
	assert_true(fg_wire_label("abc") == 0x44bc2cf5ad770999);
}

static void padding_is_allowed(void **state)
{
	struct message message = good_request();
	uint8_t status;

	(void)state;
	assert_int_equal(parse(&message, 64 + 24, &status), 0);
	assert_int_equal(status, FG_STATUS_OK);
	assert_int_equal(parse(&message, 64 + 200, &status), 0);
}

static void what_is_not_ours(void **state)
{
	struct message message = good_request();
	uint8_t status;

	(void)state;
	for (size_t length = 0; length < 64; length++)
		assert_int_equal(parse(&message, length, &status), -EPROTO);
	message.header.magic ^= 1;
	assert_int_equal(parse(&message, 88, &status), -EPROTO);
	message = good_request();
	message.header.version = 2;
	assert_int_equal(parse(&message, 88, &status), -EPROTO);
	message = good_request();
	message.header.type = FG_WIRE_REPLY;
	assert_int_equal(parse(&message, 88, &status), -EPROTO);
	message.header.type = 0;
	assert_int_equal(parse(&message, 88, &status), -EPROTO);
}

static void expect_bad(const struct message *message, size_t length, uint8_t wanted)
{
	uint8_t status;

	assert_int_equal(parse(message, length, &status), -EBADMSG);
	assert_int_equal(status, wanted);
}

static void every_field_that_must_be_zero(void **state)
{
	struct message message;

	(void)state;
	for (int bit = 0; bit < 16; bit++) {
		message = good_request();
		message = good_request();
		message.header.reserved = (uint16_t)(1 << bit);
		expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
	}
	for (int bit = 0; bit < 32; bit++) {
		message = good_request();
		message.header.generation = 1u << bit;
		expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
		message = good_request();
		message.header.zero = 1u << bit;
		expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
	}
	message = good_request();
	message.header.status = FG_STATUS_INTERNAL;
	expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
}

static void flags(void **state)
{
	struct message message = good_request();
	uint8_t status;

	(void)state;
	for (uint32_t bits = 1; bits <= UINT16_MAX; bits++) {
		message.header.flags = (uint16_t)bits;
		message.header.model_version = 0; /* no label */
		expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
		message.header.model_version = fg_wire_label("stable");
		if (bits == FG_WIRE_LABEL)
			assert_int_equal(parse(&message, 88, &status), 0);
		else
			expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
	}
}

static void bad_dtypes(void **state)
{
	(void)state;
	for (int dtype = 0; dtype < 256; dtype++) {
		struct message message = good_request();

		message.header.dtype = (uint8_t)dtype;
		message.header.payload_bytes = (uint32_t)(6 * fg_dtype_bytes((uint8_t)dtype));
		if (dtype >= FG_DTYPE_F32 && dtype <= FG_DTYPE_I8) {
			uint8_t status;

			assert_int_equal(parse(&message, sizeof(message), &status), 0);
		} else {
			expect_bad(&message, sizeof(message), FG_STATUS_BAD_DTYPE);
		}
	}
}

static void bad_shapes(void **state)
{
	struct message message = good_request();

	(void)state;
	message.header.rows = 0;
	message.header.payload_bytes = 0;
	expect_bad(&message, 64, FG_STATUS_BAD_SHAPE);
	message = good_request();
	message.header.cols = 0;
	expect_bad(&message, 88, FG_STATUS_BAD_SHAPE);
}

static void lengths_that_do_not_add_up(void **state)
{
	struct message message = good_request();

	(void)state;
	for (size_t length = 64; length < 88; length++)
		expect_bad(&message, length, FG_STATUS_BAD_REQUEST);
	message.header.payload_bytes = 23;
	expect_bad(&message, 88, FG_STATUS_BAD_REQUEST);
	message.header.payload_bytes = 25;
	expect_bad(&message, 200, FG_STATUS_BAD_REQUEST);
	message.header.payload_bytes = UINT32_MAX;
	expect_bad(&message, 200, FG_STATUS_BAD_REQUEST);
}

/* Products that wrap to the stated payload in 32 or 64 bits must not pass. */
static void products_that_overflow(void **state)
{
	static const struct {
		uint8_t dtype;
		uint32_t rows, cols, payload_bytes;
	} cases[] = {
		{FG_DTYPE_F32, 0x40000000, 1, 0},	   {FG_DTYPE_U8, 0x10000, 0x10000, 0},
		{FG_DTYPE_F64, 0x80000000, 0x40000000, 0}, {FG_DTYPE_F32, 0x40000001, 1, 4},
		{FG_DTYPE_F64, UINT32_MAX, UINT32_MAX, 8}, {FG_DTYPE_U8, UINT32_MAX, 1, UINT32_MAX},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct message message = good_request();

		message.header.dtype = cases[i].dtype;
		message.header.rows = cases[i].rows;
		message.header.cols = cases[i].cols;
		message.header.payload_bytes = cases[i].payload_bytes;
		expect_bad(&message, sizeof(message), FG_STATUS_BAD_REQUEST);
	}
}

static int parse_reply(const struct message *message, size_t length)
{
	struct fg_wire_header header;
	int error = fg_wire_parse_reply(message, length, &header);

	if (!error)
		assert_memory_equal(&header, &message->header, sizeof(header));
	return error;
}

static void replies(void **state)
{
	struct message message = good_reply();

	(void)state;
	assert_int_equal(parse_reply(&message, 88), 0);
	assert_int_equal(parse_reply(&message, 89), 0);
	assert_int_equal(parse_reply(&message, 87), -EPROTO);
	assert_int_equal(parse_reply(&message, 63), -EPROTO);
	message.header.flags = 1;
	message.header.reserved = 1;
	assert_int_equal(parse_reply(&message, 88), 0);
	message.header.rows = 3;
	assert_int_equal(parse_reply(&message, 88), -EPROTO);
	message = good_reply();
	message.header.type = FG_WIRE_REQUEST;
	assert_int_equal(parse_reply(&message, 88), -EPROTO);
	message = good_reply();
	message.header.dtype = FG_DTYPE_NONE;
	message.header.payload_bytes = 0;
	assert_int_equal(parse_reply(&message, 88), -EPROTO);
}

/* No rows: what the model takes and gives is asked. */
static void questions(void **state)
{
	struct message message = good_request(), good;
	uint8_t status;

	(void)state;
	message.header.flags = FG_WIRE_DESCRIBE;
	message.header.dtype = 0;
	message.header.rows = message.header.cols = message.header.payload_bytes = 0;
	good = message;
	assert_int_equal(parse(&message, FG_WIRE_HEADER_BYTES, &status), 0);
	message.header.dtype = FG_DTYPE_F32;
	expect_bad(&message, sizeof(message), FG_STATUS_BAD_REQUEST);
	message = good;
	message.header.rows = 1;
	expect_bad(&message, sizeof(message), FG_STATUS_BAD_REQUEST);
	message = good;
	message.header.cols = 1;
	expect_bad(&message, sizeof(message), FG_STATUS_BAD_REQUEST);
	message = good;
	message.header.payload_bytes = 4;
	expect_bad(&message, sizeof(message), FG_STATUS_BAD_REQUEST);
	message = good;
	message.header.flags |= FG_WIRE_LABEL;
	expect_bad(&message, sizeof(message), FG_STATUS_BAD_REQUEST);
	message.header.model_version = 5;
	assert_int_equal(parse(&message, sizeof(message), &status), 0);
	message = good_reply();
	message.header.dtype = FG_DTYPE_TEXT;
	message.header.rows = message.header.cols = 0;
	assert_int_equal(parse_reply(&message, 88), 0);
	message.header.rows = 1;
	assert_int_equal(parse_reply(&message, 88), -EPROTO);
}

static void error_replies(void **state)
{
	struct message message = good_reply();

	(void)state;
	message.header.status = FG_STATUS_OVERLOADED;
	assert_int_equal(parse_reply(&message, 88), -EPROTO); /* elements, not a text */
	message.header.dtype = FG_DTYPE_TEXT;
	message.header.rows = message.header.cols = 0;
	message.header.payload_bytes = 5;
	assert_int_equal(parse_reply(&message, 69), 0);
	assert_int_equal(parse_reply(&message, 68), -EPROTO);
	message.header.payload_bytes = 0;
	message.header.dtype = FG_DTYPE_NONE;
	assert_int_equal(parse_reply(&message, 64), 0);
	message.header.status = 200; /* of a later server */
	assert_int_equal(parse_reply(&message, 64), 0);
}

static void requests_that_cannot_be_written(void **state)
{
	struct fg_wire_header header;

	(void)state;
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_NONE, 1, 1), -EINVAL);
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_TEXT, 1, 1), -EINVAL);
	assert_int_equal(fg_wire_request(&header, 1, 99, 1, 1), -EINVAL);
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_U8, 0, 9), -EINVAL);
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_U8, 9, 0), -EINVAL);
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_U8, 1, 65443), 65443);
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_U8, 1, 65444), -EMSGSIZE);
	assert_int_equal(fg_wire_request(&header, 1, FG_DTYPE_F64, UINT32_MAX, UINT32_MAX),
			 -EMSGSIZE);
}

static void names(void **state)
{
	(void)state;
	for (uint8_t dtype = FG_DTYPE_F32; dtype <= FG_DTYPE_I8; dtype++)
		assert_int_equal(fg_dtype_find(fg_dtype_name(dtype)), dtype);
	assert_int_equal(fg_dtype_find("f31"), FG_DTYPE_NONE);
	assert_string_equal(fg_dtype_name(200), "?");
	assert_int_equal(fg_dtype_bytes(200), 0);
	assert_string_equal(fg_status_name(FG_STATUS_OK), "ok");
	assert_string_equal(fg_status_name(FG_STATUS_INTERNAL), "internal");
	assert_string_equal(fg_status_name(FG_STATUS_COUNT), "?");
	assert_string_equal(fg_status_help(255), "?");
	for (uint8_t status = 0; status < FG_STATUS_COUNT; status++)
		assert_true(strlen(fg_status_help(status)) > 10);
}

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* All 65,536 halves, against the definition of binary16: (-1)^s 2^(e-15) 1.m, and e = 0, 31. */
static void every_f16(void **state)
{
	(void)state;
	for (uint32_t half = 0; half <= 0xffff; half++) {
		int exponent = (half >> 10) & 31, mantissa = half & 1023;
		float sign = half & 0x8000 ? -1 : 1, expected, read;
		uint16_t word = (uint16_t)half;

		fg_wire_to_f32(&read, &word, FG_DTYPE_F16, 1);
		if (exponent == 31 && mantissa) {
			assert_true(isnan(read));
			continue;
		}
		if (exponent == 31)
			expected = sign * INFINITY;
		else if (exponent == 0)
			expected = sign * ldexpf((float)mantissa, -24);
		else
			expected = sign * ldexpf((float)(mantissa + 1024), exponent - 25);
		assert_int_equal(bits_of(read), bits_of(expected));
	}
}

static void other_dtypes(void **state)
{
	static const double doubles[3] = {1.1, -2.5, 1e300};
	static const unsigned char bytes[3] = {0, 127, 255};
	unsigned char odd[1 + sizeof(doubles)];
	float to[3];

	(void)state;
	memcpy(odd + 1, doubles, sizeof(doubles));
	fg_wire_to_f32(to, odd + 1, FG_DTYPE_F64, 3);
	assert_true(to[0] == 1.1f && to[1] == -2.5f && isinf(to[2]));
	fg_wire_to_f32(to, bytes, FG_DTYPE_U8, 3);
	assert_true(to[0] == 0 && to[1] == 127 && to[2] == 255);
	fg_wire_to_f32(to, bytes, FG_DTYPE_I8, 3);
	assert_true(to[0] == 0 && to[1] == 127 && to[2] == -1);
	memcpy(odd + 1, "\x80\x3f\x20\xc0\x80\x7f", 6); /* 1, -2.5, infinity in bf16 */
	fg_wire_to_f32(to, odd + 1, FG_DTYPE_BF16, 3);
	assert_true(to[0] == 1 && to[1] == -2.5f && isinf(to[2]));
	memcpy(odd + 1, (float[]){1.5f, -0.0f, 3e38f}, 12);
	fg_wire_to_f32(to, odd + 1, FG_DTYPE_F32, 3);
	assert_true(to[0] == 1.5f && bits_of(to[1]) == 0x80000000 && to[2] == 3e38f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(model_names_hash_as_xxh32),
		cmocka_unit_test(labels_hash_as_xxh64),
		cmocka_unit_test(padding_is_allowed),
		cmocka_unit_test(what_is_not_ours),
		cmocka_unit_test(every_field_that_must_be_zero),
		cmocka_unit_test(flags),
		cmocka_unit_test(bad_dtypes),
		cmocka_unit_test(bad_shapes),
		cmocka_unit_test(lengths_that_do_not_add_up),
		cmocka_unit_test(products_that_overflow),
		cmocka_unit_test(replies),
		cmocka_unit_test(questions),
		cmocka_unit_test(error_replies),
		cmocka_unit_test(requests_that_cannot_be_written),
		cmocka_unit_test(names),
		cmocka_unit_test(every_f16),
		cmocka_unit_test(other_dtypes),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
