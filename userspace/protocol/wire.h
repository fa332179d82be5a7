/*
 * wire.h: FGP, flipgate's request/reply protocol (docs/protocol.md is the same for strangers).
 *
 * Little-endian. A message is a 64-byte header and a payload; a datagram may be longer than
 * header + payload (a client pads a request that expects a reply longer than its request plus
 * 64 bytes; no reply is longer than that, so nobody can be flooded by reflection).
 * Over UDP a message is one datagram; over TCP it follows its length (stream.h).
 */
#ifndef FG_PROTOCOL_WIRE_H
#define FG_PROTOCOL_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include "bpf/abi.h"

#define FG_WIRE_REPLY	      2
#define FG_WIRE_MAX_DATAGRAM  65507
#define FG_WIRE_AMPLIFICATION 64 /* a reply's length <= its request's datagram length + this */

/* Flags. */
#define FG_WIRE_LABEL 1 /* request: model_version is fg_wire_label() of a label */
#define FG_WIRE_DESCRIBE                                                                           \
	4 /* request: no rows; the reply says what the model's inputs and outputs are */
#define FG_WIRE_LEAVING                                                                            \
	2 /* reply, TCP: open a new connection for what comes next, close this one */

enum fg_dtype {
	FG_DTYPE_NONE = 0, /* no payload: FG_WIRE_DESCRIBE */
	FG_DTYPE_F32 = 1,
	FG_DTYPE_F64 = 2,
	FG_DTYPE_BF16 = 3,
	FG_DTYPE_F16 = 4,
	FG_DTYPE_U8 = 5,
	FG_DTYPE_I8 = 6,
	FG_DTYPE_TEXT = 7, /* replies only: UTF-8, no final NUL */
};

/* X(NAME, "name", "what it means") */
#define FG_STATUSES(X)                                                                             \
	X(OK, "ok", "the payload is what was asked for")                                           \
	X(BAD_REQUEST, "bad_request", "lengths do not add up, or a reserved field is not zero")    \
	X(UNKNOWN_MODEL, "unknown_model", "no model of that name is served here")                  \
	X(UNKNOWN_VERSION, "unknown_version", "the model is served, that version is not")          \
	X(BAD_SHAPE, "bad_shape", "the model takes another number of columns, or rows are 0")      \
	X(BAD_DTYPE, "bad_dtype", "no such element type")                                          \
	X(TOO_MANY_ROWS, "too_many_rows", "more rows than one batch holds: split the request")     \
	X(DEADLINE, "deadline", "could not be answered within deadline_us")                        \
	X(REPLY_TOO_LONG, "reply_too_long", "the reply would exceed request + 64 bytes: pad")      \
	X(OVERLOADED, "overloaded", "the worker refuses work: try again later")                    \
	X(INTERNAL, "internal", "a defect of the server")                                          \
	X(BAD_VALUE, "bad_value", "the model refuses a value: an id that it does not have")

enum fg_status {
#define FG_STATUS_ENUM(name, label, help) FG_STATUS_##name,
	FG_STATUSES(FG_STATUS_ENUM)
#undef FG_STATUS_ENUM
		FG_STATUS_COUNT
};

/*
 * The header as it stands on the wire. All hosts we build for are little-endian (asserted in
 * wire.c), so it is read with one memcpy, never through a cast: frames are not aligned.
 */
struct fg_wire_header {
	uint32_t magic;		/*  0: FG_WIRE_MAGIC */
	uint8_t version;	/*  4: FG_WIRE_VERSION */
	uint8_t type;		/*  5: FG_WIRE_REQUEST or FG_WIRE_REPLY */
	uint16_t flags;		/*  6: FG_WIRE_LABEL, FG_WIRE_DESCRIBE; reply: FG_WIRE_LEAVING */
	uint32_t model;		/*  8: XXH32 of the model's name, seed 0 */
	uint8_t dtype;		/* 12: enum fg_dtype of the payload */
	uint8_t status;		/* 13: enum fg_status; 0 in a request */
	uint16_t reserved;	/* 14: 0 */
	uint64_t affinity;	/* 16: requests of one key are one flow; 0: the 5-tuple is */
	uint64_t request_id;	/* 24: the client's, returned untouched */
	uint64_t model_version; /* 32: wanted (0: the default), a label, or the one that answered */
	uint32_t rows;		/* 40 */
	uint32_t cols;		/* 44 */
	uint32_t payload_bytes; /* 48: rows * cols * element size, or the length of the text */
	uint32_t generation;	/* 52: of the answering worker; 0 in a request */
	union {
		uint32_t deadline_us; /* 56: request: from arrival; 0: none */
		uint32_t queued_ns;   /* 56: reply: waited at the server; saturates */
	};
	union {
		uint32_t zero;	     /* 60: request: 0 */
		uint32_t compute_ns; /* 60: reply: run time of the batch; saturates */
	};
};
_Static_assert(sizeof(struct fg_wire_header) == FG_WIRE_HEADER_BYTES, "wire");
_Static_assert(offsetof(struct fg_wire_header, affinity) == FG_WIRE_AFFINITY_OFFSET, "wire");
_Static_assert(offsetof(struct fg_wire_header, payload_bytes) == FG_WIRE_PAYLOAD_OFFSET, "wire");

/* Bytes of one element, 0 for NONE, TEXT and unknown values. */
size_t fg_dtype_bytes(uint8_t dtype);
/* "f32" and the like, "?" for unknown values. Static strings. */
const char *fg_dtype_name(uint8_t dtype);
/* Finds a dtype by name; FG_DTYPE_NONE when there is none such. */
uint8_t fg_dtype_find(const char *name);
/* "ok" and the like, "?" for unknown values; and what it means. Static strings. */
const char *fg_status_name(uint8_t status);
const char *fg_status_help(uint8_t status);

/* The wire's name of a model: XXH32(name, strlen(name), 0). */
uint32_t fg_wire_model(const char *name);
/* The wire's name of a label: XXH64(name, strlen(name), 0). */
uint64_t fg_wire_label(const char *name);

/*
 * Reads the header of a datagram of `length` bytes at `bytes` (any alignment).
 * 0: a request of ours, in *header, payload wholly inside the datagram, lengths checked against
 *    rows, cols and dtype.
 * -EPROTO: not ours (short, magic, version, type): must not be answered.
 * -EBADMSG: ours, but wrong inside; *header is filled and *status says what to answer. The first
 *    that holds: BAD_REQUEST (a field that must be 0 is not, an unknown flag, FG_WIRE_LABEL with
 *    model_version 0), BAD_DTYPE, BAD_SHAPE (rows or cols are 0), BAD_REQUEST (payload_bytes is not
 *    rows * cols * element, or not in the datagram).
 * With FG_WIRE_DESCRIBE dtype, rows, cols and payload_bytes must be 0 (else BAD_REQUEST).
 * Bytes after the payload are padding and are not looked at.
 */
int fg_wire_parse_request(const void *bytes, size_t length, struct fg_wire_header *header,
			  uint8_t *status);

/*
 * The client's side of the same: 0 with *header filled when it is a reply whose payload is wholly
 * inside `length` and adds up (OK: rows * cols elements, or a text where both are 0; any other
 * status, known or not: a text or nothing); -EPROTO otherwise. Flags and the reserved field are not
 * looked at: a later server may set them.
 */
int fg_wire_parse_reply(const void *bytes, size_t length, struct fg_wire_header *header);

/*
 * Writes a request header for a payload of rows x cols elements of dtype into header (all
 * other fields zero). Returns the payload's bytes, or -EMSGSIZE when it does not fit one
 * datagram, -EINVAL for a dtype without elements or a payload of none.
 */
int64_t fg_wire_request(struct fg_wire_header *header, uint32_t model, uint8_t dtype, uint32_t rows,
			uint32_t cols);

/*
 * Converts `count` elements of dtype at `from` (any alignment) to f32 at `to`. f64 rounds to
 * nearest, u8 and i8 become their numbers (no scaling). dtype must have elements.
 */
void fg_wire_to_f32(float *to, const void *from, uint8_t dtype, size_t count);

#endif
