/*
 * stream.h: FGP over a byte stream (TCP): every message stands behind its length.
 *
 *	length  u32, little-endian: of the message that follows, FG_WIRE_HEADER_BYTES ..
 *		FG_WIRE_MAX_DATAGRAM
 *	message header and payload, as in a datagram (wire.h); no padding is needed, and the bound
 *on replies (FG_WIRE_AMPLIFICATION) does not hold: a connection proves its address
 *
 * Requests may follow each other without waiting; replies come in any order and are told apart by
 * request_id. A length out of range, or a message that is not ours, ends the connection: nothing
 * after it can be told apart.
 */
#ifndef FG_PROTOCOL_STREAM_H
#define FG_PROTOCOL_STREAM_H

#include <stddef.h>
#include <stdint.h>

#define FG_STREAM_PREFIX_BYTES 4

/* The whole message at the start of `bytes`: its length (the prefix not counted) in *length.
 * 0: it is there; -EAGAIN: more bytes are needed; -EPROTO: no such length. */
int fg_stream_next(const void *bytes, size_t count, uint32_t *length);

/* Writes the prefix of a message of `length` bytes. */
void fg_stream_prefix(void *prefix, uint32_t length);

#endif
