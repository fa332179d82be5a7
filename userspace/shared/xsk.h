/*
 * xsk.h: one slot's AF_XDP socket on one queue: its rx and tx ring, over the queue's shared frames.
 *
 * The keeper opens it the first time a slot is used and keeps it open until it exits; the
 * worker that stands in the slot inherits it by fork. So no socket closes under traffic, and what a
 * killed worker left in its rings is still there for fg_xsk_reclaim.
 */
#ifndef FG_SHARED_XSK_H
#define FG_SHARED_XSK_H

#include <stdint.h>
#include "models/error.h"
#include "userspace/shared/umem.h"

struct fg_xsk {
	struct fg_umem *umem; /* of the queue; the keeper's, same address in every child */
	struct fg_ring rx, tx;
	int fd; /* -1: closed */
	uint16_t slot;
};

/* One datagram of a batch. */
struct fg_xsk_frame {
	uint64_t address; /* of the first byte, in the UMEM */
	uint32_t length;  /* of the Ethernet frame without its checksum */
};

/* Opens, maps and binds next to umem's owner on the same queue. Keeper only. -errno with *error. */
int fg_xsk_open(struct fg_xsk *xsk, struct fg_umem *umem, int ifindex, uint32_t queue,
		uint16_t slot, uint32_t entries, struct fg_error *error);
/* Keeper only, when nothing is steered here any more. Safe on a struct with fd -1. */
void fg_xsk_close(struct fg_xsk *xsk);

static inline uint8_t *fg_xsk_bytes(const struct fg_xsk *xsk, uint64_t address)
{
	return xsk->umem->area + address;
}

/* Takes up to `max` received frames; the caller holds them until it sends or recycles them. */
uint32_t fg_xsk_receive(struct fg_xsk *xsk, struct fg_xsk_frame *frames, uint32_t max);

/* Queues `count` frames that the caller holds for sending and gives them away. Returns how many
 * the ring had room for; the caller still holds the rest. fg_xsk_kick sends. */
uint32_t fg_xsk_send(struct fg_xsk *xsk, const struct fg_xsk_frame *frames, uint32_t count);

/*
 * Makes the kernel send what is in the tx ring: one syscall per 32 frames where the driver copies,
 * none where it polls the ring. 0, or -errno when some must wait for the next call (-EAGAIN,
 * -EBUSY, -ENOBUFS: the driver's queue is full; they stay in the ring). -ENXIO: the interface went,
 * and with it what was in the ring, which is empty now.
 */
int fg_xsk_kick(struct fg_xsk *xsk);

/*
 * The keeper, after the slot's worker ended and nothing new is steered to the slot: replies that
 * were queued are sent, all other frames of the worker go back to the fill ring.
 * Returns how many datagrams were lost (received but not answered). What it cannot have because a
 * worker was stopped with the lock in its hands, or the driver takes nothing, a later call gets.
 */
uint32_t fg_xsk_reclaim(struct fg_xsk *xsk);

#endif
