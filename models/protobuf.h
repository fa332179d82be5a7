/*
 * protobuf.h: a bounded, zero-copy reader of the protobuf wire format.
 *
 * It reads fields one after the other from bytes that somebody else owns, copies nothing and
 * allocates nothing, and never looks outside [at, end). What a field number means is the
 * caller's business. Encoding: https://protobuf.dev/programming-guides/encoding. Groups (wire
 * types 3 and 4), which proto3 does not have, are malformed here.
 */
#ifndef FG_MODELS_PROTOBUF_H
#define FG_MODELS_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

#define FG_PB_MAX_DEPTH 32 /* messages inside messages */

enum fg_pb_wire {
	FG_PB_VARINT = 0,
	FG_PB_FIXED64 = 1,
	FG_PB_BYTES = 2, /* string, bytes, message, packed numbers */
	FG_PB_FIXED32 = 5,
};

/* What is left of one message. */
struct fg_pb {
	const uint8_t *at;
	const uint8_t *end;
	uint32_t depth; /* of this message; the outermost is 0 */
};

/* One field. `bytes` points into the message. */
struct fg_pb_field {
	uint32_t number; /* 1 .. 2^29 - 1 */
	enum fg_pb_wire wire;
	uint64_t value;	      /* VARINT, FIXED32, FIXED64 */
	const uint8_t *bytes; /* BYTES: `length` bytes, else NULL */
	size_t length;
};

/* Starts at the outermost message: `length` bytes at `bytes` (may be NULL when length is 0). */
void fg_pb_init(struct fg_pb *reader, const void *bytes, size_t length);

/* Reads the next field. 1: *field is filled; 0: end of the message; -EINVAL: malformed (a varint
 * longer than 10 bytes, a length beyond the end, a number of 0, an unknown wire type). */
int fg_pb_next(struct fg_pb *reader, struct fg_pb_field *field);

/* Opens the message inside `field`. -EINVAL: the field is not of wire type BYTES, or the message
 * is nested deeper than FG_PB_MAX_DEPTH. */
int fg_pb_enter(const struct fg_pb *reader, const struct fg_pb_field *field, struct fg_pb *child);

/*
 * The numbers of one field of a `repeated` numeric type, which a writer may send packed (all in
 * one BYTES field) or one by one. Several fields of the same number continue each other; the
 * caller sees each in turn.
 */
struct fg_pb_numbers {
	struct fg_pb packed;
	enum fg_pb_wire wire; /* of one number */
	uint64_t single;
	int has_single;
};

/* `wire`: how one number is written. -EINVAL: `field` is neither that nor BYTES. */
int fg_pb_numbers_init(struct fg_pb_numbers *numbers, const struct fg_pb_field *field,
		       enum fg_pb_wire wire);

/* 1: *value is the next number (raw bits); 0: no more; -EINVAL: cut in the middle of one. */
int fg_pb_numbers_next(struct fg_pb_numbers *numbers, uint64_t *value);

#endif
