#include <errno.h>
#include <string.h>
#include "models/tfrecord.h"

#define HEAD_BYTES (sizeof(uint64_t) + sizeof(uint32_t))
#define TAIL_BYTES sizeof(uint32_t)
#define MASK_DELTA 0xa282ead8u

/* Four bits at a time: the remainders of 0 .. 15 by the polynomial 0x1edc6f41, reflected. */
static const uint32_t remainders[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t fg_tfrecord_crc32c(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint32_t crc = UINT32_MAX;

	for (; size; size--) {
		crc ^= *at++;
		crc = crc >> 4 ^ remainders[crc & 15];
		crc = crc >> 4 ^ remainders[crc & 15];
	}
	return ~crc;
}

/* True when the four bytes behind `size` bytes at `bytes` are their masked checksum. */
static int is_intact(const uint8_t *bytes, size_t size)
{
	const uint32_t crc = fg_tfrecord_crc32c(bytes, size);
	uint32_t stored;

	memcpy(&stored, bytes + size, sizeof(stored));
	return stored == (crc >> 15 | crc << 17) + MASK_DELTA;
}

void fg_tfrecord_init(struct fg_tfrecord *file, const void *bytes, size_t size)
{
	file->at = bytes;
	file->end = file->at + size;
	file->number = 0;
}

int fg_tfrecord_next(struct fg_tfrecord *file, const uint8_t **bytes, size_t *length,
		     struct fg_error *error)
{
	const size_t left = (size_t)(file->end - file->at);
	uint64_t size;

	if (!left)
		return 0;
	file->number++;
	if (left < HEAD_BYTES)
		return fg_error_set(error, -EINVAL, "record %u is cut short after %zu bytes",
				    file->number, left);
	if (!is_intact(file->at, sizeof(size)))
		return fg_error_set(error, -EINVAL,
				    "record %u: the checksum of its length does not match: no "
				    "TFRecord file, a compressed one, or damaged",
				    file->number);
	memcpy(&size, file->at, sizeof(size));
	if (left - HEAD_BYTES < TAIL_BYTES || size > left - HEAD_BYTES - TAIL_BYTES)
		return fg_error_set(error, -EINVAL,
				    "record %u of %llu bytes is cut short: the file ends before",
				    file->number, (unsigned long long)size);
	*bytes = file->at + HEAD_BYTES;
	*length = (size_t)size;
	if (!is_intact(*bytes, *length))
		return fg_error_set(error, -EINVAL,
				    "record %u: the checksum of its %zu bytes does not match: "
				    "damaged",
				    file->number, *length);
	file->at = *bytes + *length + TAIL_BYTES;
	return 1;
}
