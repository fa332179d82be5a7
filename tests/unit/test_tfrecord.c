/* models/tfrecord: checksums, records, and files that are damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "models/error.h"
#include "tests/unit/warmup_writer.h"

/* RFC 3720, B.4; the last is the check value of the catalogue of CRCs (CRC-32/ISCSI). */
static void checksums_are_those_of_the_rfc(void **state)
{
	/* an iSCSI SCSI read command */
	static const uint8_t command[48] = {[0] = 0x01,	 [1] = 0xc0,  [16] = 0x14, [22] = 0x04,
					    [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
	uint8_t bytes[32] = {0};

	(void)state;
	assert_int_equal(fg_tfrecord_crc32c(bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(fg_tfrecord_crc32c(bytes, 32), 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = i;
	assert_int_equal(fg_tfrecord_crc32c(bytes, 32), 0x46dd794e);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = 31 - i;
	assert_int_equal(fg_tfrecord_crc32c(bytes, 32), 0x113fdb5c);
	assert_int_equal(fg_tfrecord_crc32c(command, 48), 0xd9963a56);
	assert_int_equal(fg_tfrecord_crc32c("123456789", 9), 0xe3069283);
	assert_int_equal(fg_tfrecord_crc32c(NULL, 0), 0);
}

/* What TensorFlow's TFRecordWriter makes of b"flipgate" and b"". */
static const uint8_t written[] = {0x08, 0,    0,    0,	  0,	0,    0,    0,	  0xff, 0x86,
				  0x24, 0x0f, 'f',  'l',  'i',	'p',  'g',  'a',  't',	'e',
				  0xc4, 0xab, 0xfd, 0x82, 0,	0,    0,    0,	  0,	0,
				  0,	0,    0x29, 0x03, 0x98, 0x07, 0xd8, 0xea, 0x82, 0xa2};

static void records_are_read_as_tensorflow_writes_them(void **state)
{
	struct fg_tfrecord file;
	struct fg_error error = {""};
	const uint8_t *bytes;
	size_t length;

	(void)state;
	fg_tfrecord_init(&file, written, sizeof(written));
	if (fg_tfrecord_next(&file, &bytes, &length, &error) != 1)
		fail_msg("%s", error.text);
	assert_int_equal(length, 8);
	assert_memory_equal(bytes, "flipgate", 8);
	assert_int_equal(fg_tfrecord_next(&file, &bytes, &length, &error), 1);
	assert_int_equal(length, 0);
	assert_int_equal(file.number, 2);
	assert_int_equal(fg_tfrecord_next(&file, &bytes, &length, &error), 0);
}

/* Of a copy whose memory ends where it does. */
static void assert_refused(const void *from, size_t size, const char *text)
{
	void *copy = malloc(size);
	struct fg_error error = {"(nothing said)"};
	struct fg_tfrecord file;
	const uint8_t *bytes;
	size_t length;
	int got;

	memcpy(copy, from, size);
	fg_tfrecord_init(&file, copy, size);
	while ((got = fg_tfrecord_next(&file, &bytes, &length, &error)) > 0)
		;
	if (got != -EINVAL || !strstr(error.text, text))
		fail_msg("%zu bytes: %d, '%s' does not say '%s'", size, got, error.text, text);
	free(copy);
}

static void every_cut_is_noticed(void **state)
{
	static struct writer file;

	(void)state;
	file.length = 0;
	put_record(&file, "flipgate", 8);
	put_record(&file, "", 0);
	assert_memory_equal(file.bytes, written, sizeof(written));
	for (size_t size = 1; size < file.length; size++)
		if (size != 24) /* between the two */
			assert_refused(file.bytes, size, "is cut short");
	assert_refused(file.bytes, 5, "record 1 is cut short after 5 bytes");
	assert_refused(file.bytes, 23, "record 1 of 8 bytes is cut short");
	assert_refused(file.bytes, 39, "record 2 of 0 bytes is cut short");
}

static void every_bit_counts(void **state)
{
	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof(written); bit++) {
		uint8_t damaged[sizeof(written)];

		memcpy(damaged, written, sizeof(written));
		damaged[bit / 8] ^= 1 << bit % 8;
		assert_refused(damaged, sizeof(damaged),
			       bit / 8 < 24 ? "record 1: the checksum" : "record 2: the checksum");
	}
	assert_refused("\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, "a compressed one");
}

/* A length whose checksum is right, but that no memory holds. */
static void a_length_beyond_all_is_refused(void **state)
{
	static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 3, UINT64_MAX - 15, 1u << 20};
	static struct writer file;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		file.length = 0;
		put_again(&file, &lengths[i], sizeof(lengths[i]));
		put_checksum(&file, &lengths[i], sizeof(lengths[i]));
		put_again(&file, "some bytes", 10);
		assert_refused(file.bytes, file.length, "is cut short");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums_are_those_of_the_rfc),
		cmocka_unit_test(records_are_read_as_tensorflow_writes_them),
		cmocka_unit_test(every_cut_is_noticed),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(a_length_beyond_all_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
