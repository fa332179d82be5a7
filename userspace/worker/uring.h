/*
 * uring.h: datagrams that come up the kernel's stack: one io_uring per worker. TCP (tcp.h) uses the
 * same ring; this file gives it its completions, and submits what it queues.
 *
 * On each UDP socket stands a multishot recvmsg that fills buffers from one ring of provided
 * buffers; the reply is written in place, sent with sendmsg, and the buffer goes back to the ring
 * when the send has completed. Replies leave from the address the request was sent to (pktinfo),
 * also on wildcard sockets.
 *
 * Needs Linux 6.1 (DEFER_TASKRUN): completions are made only when this thread enters the kernel,
 * never by an interrupt in the middle of a batch, and a flag in shared memory says when that is
 * worth while. After fg_uring_open the only syscall made here is io_uring_enter.
 *
 * Sleeping. The AF_XDP sockets of the worker are watched by one-shot polls that fg_uring_wait
 * arms in the same io_uring_enter that sleeps. One-shot, because an armed poll costs the kernel a
 * wake-up per packet and this thread an io_uring_enter: a busy worker must have none standing. No
 * wake-up can be lost: poll looks at the RX ring after it has put itself in the wait queue, so a
 * descriptor that came after the caller last looked is seen by one or the other. A poll that
 * is still armed from an earlier wait fires for it likewise, once, and is then armed again by
 * the next wait. So the caller's order is: look at all rings, find nothing, fg_uring_wait.
 *
 * One thread only: the one that called fg_uring_open.
 */
#ifndef FG_WORKER_URING_H
#define FG_WORKER_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "models/error.h"
#include "userspace/shared/state.h"
#include "userspace/worker/message.h"
#include "userspace/worker/tcp.h"

#define FG_URING_BUFFERS	256   /* FG_SHARE_PLACES of them may wait in the engine */
#define FG_URING_DATAGRAM_BYTES 65536 /* the largest UDP payload is 65527 (IPv6) */

struct fg_uring_config {
	const int *sockets;	 /* bound UDP sockets, IPv4 or IPv6; stay the caller's */
	uint32_t socket_count;	 /* 0 .. FG_MAX_LISTENERS */
	const int *polls;	 /* AF_XDP sockets that end a wait when readable */
	uint32_t poll_count;	 /* 0 .. FG_MAX_QUEUES */
	uint32_t buffers;	 /* datagrams held at once, a power of two, 2 .. 1024 */
	uint32_t datagram_bytes; /* longer datagrams are dropped and counted as not ours */
	struct fg_tcp *tcp;	 /* opened, gets the ring; NULL: none */
	struct fg_stats *stats;	 /* udp_received, not_ours, send_failed, sleeps */
};

struct fg_uring_socket {
	int fd;
	bool armed; /* a recvmsg is in the kernel */
	bool empty; /* draining: was seen empty */
};

struct fg_uring_poll {
	int fd;
	bool armed; /* a poll is in the kernel */
};

/* What a sendmsg needs until it completes; one per buffer. */
struct fg_uring_reply {
	struct msghdr header;
	struct iovec vector;
	uint32_t socket;
};

struct fg_uring {
	struct io_uring ring;
	struct io_uring_buf_ring *buffer_ring; /* (buffer_count); the start of the mapping */
	size_t map_bytes;
	struct fg_uring_reply *replies; /* (buffer_count) */
	uint8_t *buffers;		/* (buffer_count, stride) */
	uint32_t buffer_count, stride, datagram_bytes;
	uint32_t available;   /* buffers that the kernel may fill */
	struct msghdr layout; /* sizes of name and control data in every buffer */
	struct fg_tcp *tcp;   /* NULL: none */
	struct fg_stats *stats;
	struct fg_uring_socket sockets[FG_MAX_LISTENERS];
	struct fg_uring_poll polls[FG_MAX_QUEUES];
	uint32_t socket_count, poll_count;
	bool draining;
};

/*
 * Maps buffers * (datagram_bytes + 192) bytes (4.2 MiB by default, resident only as far as
 * datagrams reach), asks the sockets for pktinfo and arms them. Call it after fork, in the thread
 * that serves, before the sandbox. -EOPNOTSUPP with *error naming the missing feature or the
 * setting that forbids it; -EINVAL for a bad config, a descriptor that is no UDP socket; -ENOMEM.
 */
int fg_uring_open(struct fg_uring *uring, const struct fg_uring_config *config,
		  struct fg_error *error);
/* Closes the ring. Datagrams not yet received stay in the sockets. Safe on a zeroed struct. */
void fg_uring_close(struct fg_uring *uring);

/*
 * Takes up to `max` datagrams that are there; arrived_ns = now_ns. Never blocks; no syscall
 * when nothing has happened. Each message must come back through fg_uring_reply. Returns how many.
 */
uint32_t fg_uring_receive(struct fg_uring *uring, struct fg_message *messages, uint32_t max,
			  uint64_t now_ns);
/*
 * Gives `count` messages from fg_uring_receive back, in any order: sends `length` bytes at
 * `bytes` to who asked, or nothing if it is 0. One io_uring_enter for all. What the kernel
 * refuses is counted.
 */
void fg_uring_reply(struct fg_uring *uring, struct fg_message *const *messages, uint32_t count);
/*
 * Sleeps until a datagram came, TCP has work, a poll is readable, a signal came or timeout_ns are
 * over. 0: look at the rings; -ETIME: nothing came; another -errno: the ring is unusable.
 */
int fg_uring_wait(struct fg_uring *uring, uint64_t timeout_ns);

/*
 * The end: takes the standing receives back and reads each socket until it is empty. After it,
 * fg_uring_receive and fg_uring_reply go on as before, with a syscall each, until
 * fg_uring_drained says that every socket was seen empty and every reply is sent. What arrives at a
 * socket after that stays in it.
 */
void fg_uring_drain(struct fg_uring *uring);
bool fg_uring_drained(const struct fg_uring *uring);

#endif
