/*
 * tcp_message.h: between the two buffers of a connection (tcp_pool.h) and messages (message.h).
 *
 * No I/O. A request is taken only when the longest reply that it can have fits behind those that
 * wait to be sent; that room is kept for it (connection->reserved) until its reply is put there.
 */
#ifndef FG_WORKER_TCP_MESSAGE_H
#define FG_WORKER_TCP_MESSAGE_H

#include <stdint.h>
#include "userspace/worker/message.h"
#include "userspace/worker/tcp_pool.h"

struct fg_tcp_next {
	uint32_t length; /* of the request, without its prefix */
	uint32_t bound;	 /* of its reply, with its prefix */
};

/*
 * The next request, where row_bytes is of the widest row that any model answers. 0: it can be
 * taken. -EAGAIN: it is not whole yet; -ENOBUFS: there is no room for its reply now; -EPROTO: what
 * is there is no request, and nothing behind it can be told apart.
 */
int fg_tcp_message_peek(const struct fg_tcp_pool *pool, const struct fg_tcp_connection *connection,
			uint32_t row_bytes, struct fg_tcp_next *next);
/* Takes it: copies it to `bytes` (FG_TCP_BUFFER_BYTES), into *message with the connection's index
 * as tag. */
void fg_tcp_message_take(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection,
			 const struct fg_tcp_next *next, uint8_t *bytes,
			 struct fg_message *message);
/* Puts its reply behind the others, with `flags` added to the header's. The caller has given back
 * what was reserved. */
void fg_tcp_message_put(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection,
			const struct fg_message *message, uint16_t flags);

#endif
