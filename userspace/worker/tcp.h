/*
 * tcp.h: FGP over TCP (userspace/protocol/stream.h) on the worker's one io_uring (uring.h).
 *
 * A multishot accept stands on each listener; a receive into the connection's own buffer on each
 * connection that is waited for. Whole messages are copied out into one area, where the engine
 * turns them into replies, batched with whatever else is there; the replies are copied behind each
 * other into the connection's other buffer and sent together. One send of a connection is in the
 * kernel at a time, so bytes keep their order. The copies are of some hundred bytes, beside two
 * system calls; they leave pipelined requests alone, whose replies may be longer than they are.
 *
 * Bounds, so that no client can take from another:
 *   - a request is taken only when the largest reply that it can have fits in its connection's
 *     buffer: who does not read is not read from, and is closed after FG_TCP_STUCK_NS;
 *   - a message must be whole FG_TCP_STUCK_NS after its first byte;
 *   - of one connection at most FG_TCP_TURN messages are taken at a time, then it is others' turn;
 *   - when all connections are in use, a new one takes another's place: of a newcomer, which never
 *     made a request, the oldest first, when there are more than 1 + connections /
 *     FG_TCP_NEWCOMERS of these, so that newcomers that say nothing drive out each other; else of
 *     the one that has been idle longest.
 * A length out of range and bytes that are not FGP close the connection, after the replies that it
 * was owed before.
 *
 * A connection ends without anything being reset: the worker shuts down its sending side, reads
 * and forgets until the client closes too, for FG_TCP_LINGER_NS at most. A request that crosses
 * with that is not answered: the client sees the end between two replies, and asks again on another
 * connection.
 *
 * Parting (FG_TCP_PART) ends every connection, also one whose client never pauses. Requests that
 * have been received whole are answered; nothing more is read for an answer. A message that is half
 * there is not waited for, however slow its upload: the connection ends as above, and what still
 * comes of it is read and forgotten. Only who has not been answered at all has FG_TCP_FIRST_NS,
 * from its being accepted, for a first request to be whole.
 *
 * All buffers are mapped by fg_tcp_open; pages become resident when bytes come and are given back
 * when the connection ends or sleeps. Time is what the caller says it is. One thread only.
 */
#ifndef FG_WORKER_TCP_H
#define FG_WORKER_TCP_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "models/error.h"
#include "sched/share.h"
#include "userspace/shared/state.h"
#include "userspace/worker/message.h"
#include "userspace/worker/tcp_pool.h"

#define FG_TCP_BATCH	 64				  /* messages taken at once */
#define FG_TCP_MESSAGES	 (FG_TCP_BATCH + FG_SHARE_PLACES) /* and those that the engine keeps */
#define FG_TCP_TURN	 16				  /* of them, of one connection */
#define FG_TCP_SPARE	 256 /* connections that are ending, or for which room is made */
#define FG_TCP_SQES	 256 /* room in the ring; more is submitted in between */
#define FG_TCP_KINDS	 16  /* user_data >> 32 of our completions is this or more */
#define FG_TCP_NEWCOMERS 16  /* that part of the connections is newcomers' */

#define FG_TCP_IDLE_NS	 300000000000ull /* then an idle connection is closed */
#define FG_TCP_STUCK_NS	 10000000000ull
#define FG_TCP_LINGER_NS 1000000000ull
#define FG_TCP_FIRST_NS	 20000000ull
#define FG_TCP_SLEEP_NS	 5000000000ull /* idle that long: its pages go back */
#define FG_TCP_TICK_NS	 100000000ull  /* timers are looked at that often */

/* What becomes of connections; each does what those before it do. */
enum fg_tcp_leaving {
	FG_TCP_STAY = 0, /* they live */
	FG_TCP_LEAVE,	 /* replies carry FG_WIRE_LEAVING; idle for leave_ms: ended */
	FG_TCP_PART,	 /* each ends after the reply in flight, as above */
};

/* Of a completion: user_data is kind << 32 | index. */
enum fg_tcp_kind {
	FG_TCP_ACCEPT = FG_TCP_KINDS, /* of a listener */
	FG_TCP_RECEIVE,		      /* of a connection */
	FG_TCP_SEND,		      /* of a connection */
	FG_TCP_CANCEL,
};

struct fg_tcp_config {
	const int *listeners;	 /* listening sockets, nonblocking; stay the caller's */
	uint32_t listener_count; /* 0 .. FG_MAX_LISTENERS */
	uint32_t connections;	 /* in use at most, 1 .. 65536 */
	uint32_t leave_ms;	 /* leaving: a connection idle that long is closed */
	struct fg_stats *stats;	 /* tcp_* */
};

struct fg_tcp_listener {
	int fd;
	bool armed;  /* an accept is in the kernel */
	bool paused; /* the last one failed (no descriptors): until the next tick */
};

struct fg_tcp {
	struct io_uring *ring; /* the worker's */
	uint32_t others_sqes;  /* room in it that is not ours */
	struct fg_stats *stats;
	struct fg_tcp_listener listeners[FG_MAX_LISTENERS];
	uint32_t listener_count;
	struct fg_tcp_pool pool;
	uint8_t *area;			  /* (FG_TCP_MESSAGES, FG_TCP_BUFFER_BYTES) */
	uint32_t bounds[FG_TCP_MESSAGES]; /* [message]: bytes kept free for its reply */
	uint32_t max_open, open;	  /* connections in use, not ending */
	uint32_t taken;			  /* messages in the area */
	uint32_t looked_ahead;		  /* completions in the ring that are noted as `pending` */
	uint32_t row_bytes;		  /* of the widest output row */
	uint64_t leave_ns, tick_ns;
	enum fg_tcp_leaving leaving;
	bool started, finishing;
};

/*
 * Maps the buffers (2 * FG_TCP_BUFFER_BYTES for each connection, not resident). *tcp then goes into
 * fg_uring_config, which gives it the ring. -EINVAL, -ENOMEM with *error.
 */
int fg_tcp_open(struct fg_tcp *tcp, const struct fg_tcp_config *config, struct fg_error *error);
/* For fg_uring_open: the ring, and how many of its SQEs must stay for others. */
void fg_tcp_attach(struct fg_tcp *tcp, struct io_uring *ring, uint32_t others_sqes);
/* From now on connections are accepted. row_bytes: of the widest row that any model answers. */
void fg_tcp_start(struct fg_tcp *tcp, uint32_t row_bytes);
/* Closes all connections; after fg_uring_close. Safe on a zeroed struct. */
void fg_tcp_close(struct fg_tcp *tcp);

/* For the ring's owner: a completion whose user_data >> 32 is FG_TCP_KINDS or more. */
void fg_tcp_complete(struct fg_tcp *tcp, const struct io_uring_cqe *cqe);
/* Is there something that fg_tcp_receive would do at once? Then do not sleep. */
bool fg_tcp_has_work(const struct fg_tcp *tcp);

/*
 * Takes up to `max` (at most FG_TCP_BATCH) requests from what has been received, and does what
 * timers ask for. Call it after fg_uring_receive, in every loop; what it queues, the next call of
 * uring.h submits. All messages must have come back through fg_tcp_reply before the next call, or
 * have been moved by fg_tcp_keep. Each has `proven` set. Returns how many.
 */
uint32_t fg_tcp_receive(struct fg_tcp *tcp, struct fg_message *messages, uint32_t max,
			uint64_t now_ns);
/* The engine keeps this message in `place` (< FG_SHARE_PLACES): its bytes move to where they may
 * stay until its reply. Meanwhile its connection goes on. */
void fg_tcp_keep(struct fg_tcp *tcp, struct fg_message *message, uint32_t place);
/* Queues the replies of `count` messages, in any order; length 0: what was no request after all
 * ends its connection. */
void fg_tcp_reply(struct fg_tcp *tcp, struct fg_message *const *messages, uint32_t count,
		  uint64_t now_ns);

/* From now on `leaving`, in either direction: connections that have not ended live on when it is
 * FG_TCP_STAY again. Accepts stand all the time. Cheap when nothing changes. */
void fg_tcp_leave(struct fg_tcp *tcp, enum fg_tcp_leaving leaving);
/* The end: FG_TCP_PART, and accepts no more. Go on calling receive and reply, until
 * fg_tcp_finished, or for as long as there is patience. */
void fg_tcp_finish(struct fg_tcp *tcp);
bool fg_tcp_finished(const struct fg_tcp *tcp);

#endif
