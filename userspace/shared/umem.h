/*
 * umem.h: the frames of one interface queue and who holds each.
 *
 * One memfd of frames, one fill and one completion ring for all workers on the queue. A frame is
 * always in exactly one place:
 *
 *   fill ring / kernel / an rx ring   ledger FG_FRAME_KERNEL
 *   a worker's hands                  ledger slot + 1
 *   a tx ring / the driver / the      ledger FG_FRAME_SENT
 *     completion ring
 *
 * The ledger is what a dead worker leaves behind: its frames are those that bear its mark.
 *
 * The completion and the fill ring have several user-space writers, so one lock word guards the
 * one thing done with them: moving a batch of frames to the fill ring. Nobody ever waits for the
 * lock in a worker (a holder that was preempted by a real-time worker on its CPU would never run
 * again): who does not get it comes back in the next loop. The move is journalled in shared memory
 * so that the keeper can finish it for a holder that died; see umem.c.
 */
#ifndef FG_SHARED_UMEM_H
#define FG_SHARED_UMEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "models/error.h"
#include "userspace/shared/ring.h"

#define FG_FRAME_BYTES 4096 /* so that a row of 784 f32 fits with a 3,500-byte MTU */
_Static_assert(FG_FRAME_BYTES - 256 == FG_XSK_MAX_BYTES, "XDP_PACKET_HEADROOM is 256");
#define FG_FRAME_KERNEL 0
#define FG_FRAME_SENT	0xff
#define FG_UMEM_KEEPER	0xfe /* holder id of the keeper; workers use slot + 1 */

_Static_assert(FG_MAX_SLOTS < FG_UMEM_KEEPER, "holder ids fit a ledger byte");

/* In shared memory, behind the frames. */
struct fg_umem_shared {
	_Atomic uint32_t lock; /* 0: free; else the holder's id */
	struct {
		_Atomic uint32_t busy;	   /* 1: the three below say what is being done */
		uint32_t fill_before;	   /* fill producer before the move */
		uint32_t count;		   /* entries moved */
		uint32_t completion_after; /* completion consumer after the move */
	} journal;
	_Atomic uint32_t sending[FG_MAX_SLOTS]; /* tx producer after the send being made; xsk.c */
	_Atomic uint8_t ledger[];		/* [frames] */
};

struct fg_umem {
	uint8_t *area; /* frames * FG_FRAME_BYTES */
	struct fg_umem_shared *shared;
	uint32_t frames; /* power of two */
	int owner;	 /* the socket that owns the rings; -1: closed */
	struct fg_ring fill, completion, idle_rx;
	size_t map_bytes;
};

/*
 * Makes the frames and binds the owner socket to a queue. All frames go to the fill ring.
 * `copy`: force copy mode (needed with XDP on skbs). Keeper only. The maps are inherited by fork.
 * -errno with *error: interface down, no AF_XDP, RLIMIT_MEMLOCK.
 */
int fg_umem_open(struct fg_umem *umem, int ifindex, uint32_t queue, uint32_t frames, bool copy,
		 struct fg_error *error);
/* Keeper only, after all sockets that share it are closed. Safe on a struct with owner -1. */
void fg_umem_close(struct fg_umem *umem);

/* False after the interface went, to nowhere or to another namespace: the sockets are of no use any
 * more, also when it comes back. Keeper only. */
bool fg_umem_is_bound(const struct fg_umem *umem);

static inline uint32_t fg_umem_frame(uint64_t address)
{
	return (uint32_t)(address / FG_FRAME_BYTES);
}

static inline void fg_umem_mark(struct fg_umem *umem, uint64_t address, uint8_t mark)
{
	uint32_t frame = fg_umem_frame(address);

	/* The keeper marks what it reads from rings that a worker can write to. */
	if (frame < umem->frames)
		atomic_store_explicit(&umem->shared->ledger[frame], mark, memory_order_relaxed);
}

/* Wakes the driver where it waits for frames to fill: one load in each loop, a syscall if so. */
void fg_umem_wake(const struct fg_umem *umem);

/*
 * Moves every completed frame and the `count` frames at `addresses` (held by `holder`) to the
 * fill ring. false: somebody else is at it, nothing was done, the caller keeps its frames and
 * comes back. No syscall.
 */
bool fg_umem_recycle(struct fg_umem *umem, uint8_t holder, const uint64_t *addresses,
		     uint32_t count);

/* The keeper, after the worker in `slot` ended: finishes a move that it left half done. */
void fg_umem_recover(struct fg_umem *umem, uint8_t holder);

/* Frames with that mark; for tests, status and reclaiming. */
uint32_t fg_umem_count(const struct fg_umem *umem, uint8_t mark);

#endif
