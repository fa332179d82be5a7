/*
 * tcp_pool.h: the connections of tcp.h: their memory, and the lists that they stand in.
 *
 * A fixed number of entries, mapped at once. Memory is resident only where it is used: an entry
 * from its first use on, buffers where bytes have come and until they are given back.
 */
#ifndef FG_WORKER_TCP_POOL_H
#define FG_WORKER_TCP_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_TCP_BUFFER_BYTES 65536 /* each way, of a connection: one message at least */
#define FG_TCP_NONE	    UINT32_MAX

enum fg_tcp_phase {
	FG_TCP_UNUSED = 0,
	FG_TCP_OPEN,
	FG_TCP_ENDING, /* our side is shut down: reads until the client's is too */
	FG_TCP_DEAD,   /* both sides are: waits for what the kernel still holds */
};

struct fg_tcp_connection {
	int fd;
	uint8_t phase;		 /* enum fg_tcp_phase */
	bool receiving, sending; /* in the kernel */
	bool queued;		 /* in pool.work */
	bool fresh;		 /* bytes came that have not been looked at */
	bool pending;		 /* a completion of it waits in the ring (tcp_end.h) */
	bool touched;		 /* its buffers have pages */
	bool eof;		 /* the client sends no more */
	bool stopped;		 /* nothing more is taken: ends when the replies are out */
	bool answered;		 /* at least one request */
	uint32_t start, end;	 /* of the bytes received and not taken */
	uint32_t sent, filled;	 /* of the replies: [sent, filled) are still to go */
	uint32_t asked;		 /* messages in the engine that it will answer at once ... */
	uint32_t kept;		 /* ... or later ... */
	uint32_t reserved;	 /* ... and bytes behind `filled` kept for their replies */
	uint32_t next;		 /* in pool.work, or of the free ones */
	uint32_t older, newer;	 /* in pool.newcomers or pool.idle */
	uint64_t active_ns;	 /* of the last request, or accepted; 0: not looked at yet */
	uint64_t arrived_ns;	 /* of the bytes last seen */
	uint64_t half_ns;	 /* since when a message is half there; 0: it is not */
	uint64_t send_ns;	 /* since when the send makes no progress; 0: none */
	uint64_t end_ns;	 /* ENDING: since when */
};

struct fg_tcp_list {
	uint32_t first, last; /* FG_TCP_NONE: empty */
};

struct fg_tcp_pool {
	struct fg_tcp_connection *connections; /* (entries) */
	uint8_t *buffers;		       /* (entries, 2, FG_TCP_BUFFER_BYTES): in, out */
	uint32_t entries, used;
	uint32_t begun;		 /* connections[begun ..] were never used */
	uint32_t free;		 /* the first that was used and is not now */
	struct fg_tcp_list work; /* to be looked at, first come first served */
	/* Those that are open: first the longest without a request, which newcomers never made. */
	struct fg_tcp_list newcomers, idle;
	uint32_t newcomer_count;
};

/* Maps memory for `entries` connections. 0 or -ENOMEM. */
int fg_tcp_pool_open(struct fg_tcp_pool *pool, uint32_t entries);
/* Safe on a zeroed struct. */
void fg_tcp_pool_close(struct fg_tcp_pool *pool);
/* Zeroed memory of its own, resident where it is touched; NULL: there is none. */
void *fg_tcp_pool_map(size_t bytes);

/* An entry for this socket, OPEN and zeroed; NULL when all are used. */
struct fg_tcp_connection *fg_tcp_pool_get(struct fg_tcp_pool *pool, int fd);
/* Gives it back, in no list any more. */
void fg_tcp_pool_put(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection);
/* Gives its pages back; its buffers must hold nothing of use, also nothing that the kernel put
 * there and whose completion waits in the ring. */
void fg_tcp_pool_give_back(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection);

/* The end of pool->work, unless it is in there; and its start (there must be one). */
void fg_tcp_pool_push(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection);
struct fg_tcp_connection *fg_tcp_pool_pop(struct fg_tcp_pool *pool);
/* Into pool->idle, or pool->newcomers if it is not `answered`, as the newest; and out of it. */
void fg_tcp_pool_list(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection);
void fg_tcp_pool_unlist(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection);

static inline uint32_t fg_tcp_pool_index(const struct fg_tcp_pool *pool,
					 const struct fg_tcp_connection *connection)
{
	return (uint32_t)(connection - pool->connections);
}

static inline uint8_t *fg_tcp_pool_in(const struct fg_tcp_pool *pool,
				      const struct fg_tcp_connection *connection)
{
	return pool->buffers +
	       (size_t)fg_tcp_pool_index(pool, connection) * 2 * FG_TCP_BUFFER_BYTES;
}

static inline uint8_t *fg_tcp_pool_out(const struct fg_tcp_pool *pool,
				       const struct fg_tcp_connection *connection)
{
	return fg_tcp_pool_in(pool, connection) + FG_TCP_BUFFER_BYTES;
}

#endif
