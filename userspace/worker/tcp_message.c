#include "userspace/worker/tcp_message.h"

#include <errno.h>
#include <string.h>
#include "userspace/protocol/stream.h"
#include "userspace/protocol/wire.h"
#include "userspace/worker/engine.h"

_Static_assert(FG_STREAM_PREFIX_BYTES + FG_WIRE_MAX_DATAGRAM <= FG_TCP_BUFFER_BYTES,
	       "a buffer holds a message");

static uint32_t reply_bound(const struct fg_wire_header *header, uint32_t row_bytes)
{
	const uint64_t most = FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES;
	uint64_t payload = (uint64_t)header->rows * row_bytes;

	if (payload < FG_ENGINE_TEXT_BYTES)
		payload = FG_ENGINE_TEXT_BYTES;
	if (payload > most)
		payload = most;
	return (uint32_t)(FG_STREAM_PREFIX_BYTES + FG_WIRE_HEADER_BYTES + payload);
}

int fg_tcp_message_peek(const struct fg_tcp_pool *pool, const struct fg_tcp_connection *connection,
			uint32_t row_bytes, struct fg_tcp_next *next)
{
	const uint8_t *bytes = fg_tcp_pool_in(pool, connection) + connection->start;
	struct fg_wire_header header;
	int ret = fg_stream_next(bytes, connection->end - connection->start, &next->length);

	if (ret)
		return ret;
	memcpy(&header, bytes + FG_STREAM_PREFIX_BYTES, sizeof(header));
	if (header.magic != FG_WIRE_MAGIC || header.version != FG_WIRE_VERSION ||
	    header.type != FG_WIRE_REQUEST)
		return -EPROTO;
	next->bound = reply_bound(&header, row_bytes);
	return next->bound > FG_TCP_BUFFER_BYTES - connection->filled - connection->reserved
		       ? -ENOBUFS
		       : 0;
}

void fg_tcp_message_take(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection,
			 const struct fg_tcp_next *next, uint8_t *bytes, struct fg_message *message)
{
	memcpy(bytes, fg_tcp_pool_in(pool, connection) + connection->start + FG_STREAM_PREFIX_BYTES,
	       next->length);
	*message = (struct fg_message){
		.bytes = bytes,
		.length = next->length,
		.capacity = FG_TCP_BUFFER_BYTES,
		.arrived_ns = connection->arrived_ns,
		.tag = fg_tcp_pool_index(pool, connection),
		.proven = true,
	};
	connection->start += FG_STREAM_PREFIX_BYTES + next->length;
	connection->reserved += next->bound;
	connection->asked++;
}

void fg_tcp_message_put(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection,
			const struct fg_message *message, uint16_t flags)
{
	uint8_t *to = fg_tcp_pool_out(pool, connection) + connection->filled;
	uint16_t own;

	fg_stream_prefix(to, message->length);
	to += FG_STREAM_PREFIX_BYTES;
	memcpy(to, message->bytes, message->length);
	connection->filled += FG_STREAM_PREFIX_BYTES + message->length;
	connection->touched = true;
	to += offsetof(struct fg_wire_header, flags);
	memcpy(&own, to, sizeof(own));
	flags |= own;
	memcpy(to, &flags, sizeof(flags));
}
