/* models/protobuf: every wire type, packed and single numbers, and what is malformed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "models/protobuf.h"
#include "tests/unit/onnx_writer.h"

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

/* Reads a copy of exactly that size, so that a sanitizer sees a read behind it, and returns the
 * first result that is not 1. */
static int read_all(const uint8_t *bytes, size_t length, struct fg_pb_field *last, int *count)
{
	uint8_t *exact = malloc(length ? length : 1);
	struct fg_pb reader;
	int result;

	assert_non_null(exact);
	memcpy(exact, bytes, length);
	fg_pb_init(&reader, exact, length);
	*count = 0;
	while ((result = fg_pb_next(&reader, last)) > 0)
		++*count;
	free(exact);
	return result;
}

static void assert_malformed(const uint8_t *bytes, size_t length)
{
	struct fg_pb_field field;
	int count;

	assert_int_equal(read_all(bytes, length, &field, &count), -EINVAL);
}

static void fields_are_read(void **state)
{
	static struct writer message;
	struct fg_pb reader;
	struct fg_pb_field field;

	(void)state;
	put_int(&message, 1, 300);
	put_float(&message, 2, 1.5f);
	put_text(&message, 3, "abc");
	put_int(&message, (1u << 29) - 1, UINT64_MAX);
	fg_pb_init(&reader, message.bytes, message.length);
	assert_int_equal(fg_pb_next(&reader, &field), 1);
	assert_int_equal(field.number, 1);
	assert_int_equal(field.wire, FG_PB_VARINT);
	assert_int_equal(field.value, 300);
	assert_int_equal(fg_pb_next(&reader, &field), 1);
	assert_int_equal(field.wire, FG_PB_FIXED32);
	assert_int_equal(field.value, 0x3fc00000);
	assert_int_equal(fg_pb_next(&reader, &field), 1);
	assert_int_equal(field.wire, FG_PB_BYTES);
	assert_int_equal(field.length, 3);
	assert_memory_equal(field.bytes, "abc", 3);
	assert_int_equal(fg_pb_next(&reader, &field), 1);
	assert_int_equal(field.number, (1u << 29) - 1);
	assert_true(field.value == UINT64_MAX);
	assert_int_equal(fg_pb_next(&reader, &field), 0);
	assert_int_equal(fg_pb_next(&reader, &field), 0);
}

static void fixed64_is_read(void **state)
{
	struct fg_pb_field field;
	int count;

	(void)state;
	assert_int_equal(read_all(BYTES(0x09, 1, 2, 3, 4, 5, 6, 7, 8), &field, &count), 0);
	assert_int_equal(count, 1);
	assert_true(field.value == 0x0807060504030201);
}

static void empty_message(void **state)
{
	struct fg_pb reader;
	struct fg_pb_field field;

	(void)state;
	fg_pb_init(&reader, NULL, 0);
	assert_int_equal(fg_pb_next(&reader, &field), 0);
}

static void malformed_is_refused(void **state)
{
	(void)state;
	assert_malformed(BYTES(0x08));	     /* a varint that is not there */
	assert_malformed(BYTES(0x08, 0x80)); /* cut in its middle */
	assert_malformed(BYTES(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02));
	assert_malformed(
		BYTES(0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0));
	assert_malformed(BYTES(0x0d, 1, 2, 3));		 /* fixed32 of three bytes */
	assert_malformed(BYTES(0x09, 1, 2, 3, 4, 5, 6)); /* fixed64 of six */
	assert_malformed(BYTES(0x0a, 2, 'a'));		 /* a length beyond the end */
	assert_malformed(BYTES(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1));
	assert_malformed(BYTES(0x02, 0)); /* field number 0 */
	assert_malformed(BYTES(0x0b));	  /* a group */
	assert_malformed(BYTES(0x0c));
	assert_malformed(BYTES(0x0e, 0)); /* wire types that do not exist */
	assert_malformed(BYTES(0x0f, 0));
	assert_malformed(
		BYTES(0xf8, 0xff, 0xff, 0xff, 0xff, 0x01, 0)); /* a number of 2^29 or more */
}

/* Whatever the bytes are, cut anywhere: the reader ends, and stays inside (ASan sees to that). */
static void every_cut_ends(void **state)
{
	static struct writer message;
	struct fg_pb_field field;
	int count;

	(void)state;
	message.length = 0;
	put_int(&message, 1, 1u << 20);
	put_float(&message, 2, 2.0f);
	put_text(&message, 3, "some text");
	for (size_t length = 0; length <= message.length; length++) {
		int result = read_all(message.bytes, length, &field, &count);

		assert_true(result == 0 || result == -EINVAL);
		assert_true(count <= 3);
	}
}

static void depth_is_bounded(void **state)
{
	struct fg_pb reader;
	struct fg_pb_field field = {.number = 1,
				    .wire = FG_PB_BYTES,
				    .bytes = (const uint8_t *)"",
				    .length = 0};

	(void)state;
	fg_pb_init(&reader, "", 0);
	for (int i = 0; i < FG_PB_MAX_DEPTH; i++)
		assert_int_equal(fg_pb_enter(&reader, &field, &reader), 0);
	assert_int_equal(fg_pb_enter(&reader, &field, &reader), -EINVAL);
	field.wire = FG_PB_VARINT;
	fg_pb_init(&reader, "", 0);
	assert_int_equal(fg_pb_enter(&reader, &field, &reader), -EINVAL);
}

static void sum_numbers(const struct fg_pb_field *field, enum fg_pb_wire wire, int expect,
			uint64_t sum)
{
	struct fg_pb_numbers numbers;
	uint64_t value, total = 0;
	int result;

	assert_int_equal(fg_pb_numbers_init(&numbers, field, wire), 0);
	while ((result = fg_pb_numbers_next(&numbers, &value)) > 0)
		total += value;
	assert_int_equal(result, expect);
	if (!expect)
		assert_int_equal(total, sum);
}

static void numbers_packed_or_single(void **state)
{
	static const uint8_t varints[] = {1, 0x80, 1, 3}, cut[] = {1, 0x80};
	struct fg_pb_field field = {.number = 1, .wire = FG_PB_VARINT, .value = 7};
	struct fg_pb_numbers numbers;

	(void)state;
	sum_numbers(&field, FG_PB_VARINT, 0, 7);
	field = (struct fg_pb_field){1, FG_PB_BYTES, 0, varints, sizeof(varints)};
	sum_numbers(&field, FG_PB_VARINT, 0, 1 + 128 + 3);
	field = (struct fg_pb_field){1, FG_PB_BYTES, 0, cut, sizeof(cut)};
	sum_numbers(&field, FG_PB_VARINT, -EINVAL, 0);
	field = (struct fg_pb_field){1, FG_PB_BYTES, 0, varints, 0};
	sum_numbers(&field, FG_PB_VARINT, 0, 0);
	field = (struct fg_pb_field){1, FG_PB_BYTES, 0, varints, 4};
	sum_numbers(&field, FG_PB_FIXED32, 0, 0x03018001);
	field.length = 3;
	sum_numbers(&field, FG_PB_FIXED32, -EINVAL, 0);
	field = (struct fg_pb_field){.number = 1, .wire = FG_PB_FIXED64, .value = 7};
	assert_int_equal(fg_pb_numbers_init(&numbers, &field, FG_PB_FIXED32), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_read),
		cmocka_unit_test(fixed64_is_read),
		cmocka_unit_test(empty_message),
		cmocka_unit_test(malformed_is_refused),
		cmocka_unit_test(every_cut_ends),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(numbers_packed_or_single),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
