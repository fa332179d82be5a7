/*
 * queue.h: requests that come through AF_XDP: from one queue's rx ring, through the engine, into
 * its tx ring, in the frames they came in.
 */
#ifndef FG_WORKER_QUEUE_H
#define FG_WORKER_QUEUE_H

#include <stdint.h>
#include "userspace/shared/xsk.h"
#include "userspace/worker/detour.h"
#include "userspace/worker/engine.h"
#include "userspace/worker/frame.h"

#define FG_QUEUE_BATCH 64  /* frames taken at a time */
#define FG_QUEUE_HELD  512 /* frames that wait to be recycled */

struct fg_queue {
	struct fg_xsk *xsk;
	struct fg_engine *engine;
	struct fg_stats *stats;
	const struct fg_detour *detour; /* for what the path may not take in one packet */
	uint16_t ip_id;			/* of the next reply over IPv4 */
	uint64_t looked_ns;		/* of the last look at the ring */
	uint64_t backlog_ns; /* of the look that found more than it could take; 0: none */
	uint32_t held_count;
	/* Addresses of frames with nothing to send; nothing is taken with FG_QUEUE_HELD of them. */
	uint64_t held[FG_QUEUE_HELD + FG_SHARE_PLACES];
	/* Those that were just taken, and behind them those that the engine keeps: [FG_QUEUE_BATCH
	 * + place]. */
	struct fg_xsk_frame received[FG_QUEUE_BATCH + FG_SHARE_PLACES];
	struct fg_frame frames[FG_QUEUE_BATCH + FG_SHARE_PLACES]; /* [received] */
	struct fg_message messages[FG_QUEUE_BATCH];
};

/*
 * Takes what is in the rx ring, up to FG_QUEUE_BATCH, and answers it: replies are sent batch by
 * batch as the engine finishes them. Returns how many frames were taken. Hot path: one syscall per
 * engine batch (the send; copy mode has no other way) and one for each reply that takes the detour,
 * none when the ring is empty.
 */
uint32_t fg_queue_serve(struct fg_queue *queue, uint64_t now_ns);

/* Sends what came by this queue of the replies that the engine just finished. */
void fg_queue_reply(struct fg_queue *queue);

/*
 * Housekeeping, each loop: sends what the driver had no room for, recycles completed and unanswered
 * frames. No syscall when there is nothing to do.
 */
void fg_queue_tidy(struct fg_queue *queue);

/* The worker slept with the ring empty: what is found now came at `now_ns`, not after the last
 * look. The time that waking up took is nobody's. */
void fg_queue_woke(struct fg_queue *queue, uint64_t now_ns);

/* Nothing received, nothing to send, nothing held: a worker may leave. */
bool fg_queue_idle(const struct fg_queue *queue);

#endif
