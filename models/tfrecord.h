/*
 * tfrecord.h: TensorFlow's file of records, and its checksum.
 *
 * A record is its length (u64), the masked CRC-32C of these eight bytes (u32), the bytes, and their
 * masked CRC-32C (u32), all little-endian; a file is nothing but records
 * (https://www.tensorflow.org/tutorials/load_data/tfrecord). Masked: rotated right by 15 bits, plus
 * 0xa282ead8. Compressed files, which TensorFlow Serving does not read either, are refused.
 */
#ifndef FG_MODELS_TFRECORD_H
#define FG_MODELS_TFRECORD_H

#include <stddef.h>
#include <stdint.h>
#include "models/error.h"

/* What is left of a file in memory, which the caller owns. */
struct fg_tfrecord {
	const uint8_t *at;
	const uint8_t *end;
	uint32_t number; /* of the record that was read last; the first is 1 */
};

/* Starts at the first record of `size` bytes at `bytes`. */
void fg_tfrecord_init(struct fg_tfrecord *file, const void *bytes, size_t size);

/* The next record. 1: `*length` bytes at `*bytes`, in the file; 0: no more; -EINVAL with *error
 * naming the record: cut short, or a checksum does not match. */
int fg_tfrecord_next(struct fg_tfrecord *file, const uint8_t **bytes, size_t *length,
		     struct fg_error *error);

/* CRC-32C (Castagnoli; RFC 3720, section 12.1 and B.4), not masked. */
uint32_t fg_tfrecord_crc32c(const void *bytes, size_t size);

#endif
