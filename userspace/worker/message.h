/* message.h: one FGP message on its way through a worker: a request in, its reply out, in place. */
#ifndef FG_WORKER_MESSAGE_H
#define FG_WORKER_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A transport (queue.h, uring.h, tcp.h) fills it, the engine turns request into reply, the same
 * transport sends it and takes the memory back. In between the bytes belong to whoever holds the
 * message; no two messages overlap.
 */
struct fg_queue;

struct fg_message {
	uint8_t *bytes;		/* the FGP message, without any packet headers; any alignment */
	uint32_t length;	/* in: of the message; out: of the reply, 0 to send nothing */
	uint32_t capacity;	/* bytes that may be written at `bytes`; >= length */
	uint64_t arrived_ns;	/* CLOCK_MONOTONIC, the transport's best estimate */
	uint64_t tag;		/* the transport's own: frame address, buffer number, connection */
	struct fg_queue *queue; /* that it came by; NULL: by the ring of uring.h */
	bool proven;		/* the sender's address is (TCP): capacity alone bounds the reply */
};

#endif
