/*
 * client_stream.h: a TCP connection that carries one message at a time (protocol/stream.h), for
 * libflipgate.
 *
 * Every call waits until `until_ns` (CLOCK_MONOTONIC) at the longest and then returns -ETIMEDOUT.
 * -ECONNRESET stands for every way in which the other side ends a connection. After an error the
 * connection cannot be used any more: close it.
 */
#ifndef FG_TOOLS_CLIENT_STREAM_H
#define FG_TOOLS_CLIENT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tools/client_address.h"
#include "userspace/protocol/stream.h"
#include "userspace/protocol/wire.h"

struct fg_client_stream {
	int fd;	     /* -1: closed */
	size_t here; /* bytes read */
	size_t used; /* of them, of messages that were given out */
	unsigned char bytes[FG_STREAM_PREFIX_BYTES + FG_WIRE_MAX_DATAGRAM];
};

/* Connects a closed stream. 0, or -errno, and it is closed. */
int fg_client_stream_open(struct fg_client_stream *stream, const struct fg_client_address *address,
			  uint64_t until_ns);

/* Closing a closed one is allowed. */
void fg_client_stream_close(struct fg_client_stream *stream);

/* Sends a message of `length` bytes, its prefix before it. */
int fg_client_stream_send(struct fg_client_stream *stream, const void *message, uint32_t length,
			  uint64_t until_ns);

/*
 * Reads the next message whole. 0: *message lies in `stream`, *length bytes, until the next call.
 * -EPROTO: what came has a length that no message has.
 */
int fg_client_stream_receive(struct fg_client_stream *stream, uint64_t until_ns, bool spin,
			     const unsigned char **message, uint32_t *length);

#endif
