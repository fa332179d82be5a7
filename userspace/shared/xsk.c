#include "userspace/shared/xsk.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOCK_ATTEMPTS 1000

int fg_xsk_open(struct fg_xsk *xsk, struct fg_umem *umem, int ifindex, uint32_t queue,
		uint16_t slot, uint32_t entries, struct fg_error *error)
{
	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_SHARED_UMEM,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
		.sxdp_shared_umem_fd = umem->owner,
	};
	int code;

	*xsk = (struct fg_xsk){.umem = umem, .fd = -1, .slot = slot};
	xsk->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	code = xsk->fd < 0 ? -errno : 0;
	if (!code)
		code = fg_ring_open(&xsk->rx, xsk->fd, FG_RING_RX, entries);
	if (!code)
		code = fg_ring_open(&xsk->tx, xsk->fd, FG_RING_TX, entries);
	if (!code && bind(xsk->fd, (struct sockaddr *)&address, sizeof(address)))
		code = -errno;
	if (code) {
		fg_xsk_close(xsk);
		return fg_error_set(error, code, "AF_XDP socket of slot %u on queue %u: %s", slot,
				    queue, strerror(-code));
	}
	return 0;
}

void fg_xsk_close(struct fg_xsk *xsk)
{
	fg_ring_close(&xsk->tx);
	fg_ring_close(&xsk->rx);
	if (xsk->fd >= 0)
		close(xsk->fd);
	*xsk = (struct fg_xsk){.fd = -1};
}

static uint8_t holder(const struct fg_xsk *xsk)
{
	return xsk->slot + 1;
}

uint32_t fg_xsk_receive(struct fg_xsk *xsk, struct fg_xsk_frame *frames, uint32_t max)
{
	uint32_t consumer = atomic_load_explicit(xsk->rx.consumer, memory_order_relaxed);
	uint32_t count = atomic_load_explicit(xsk->rx.producer, memory_order_acquire) - consumer;

	if (!count)
		return 0;
	if (count > max)
		count = max;
	for (uint32_t i = 0; i < count; i++) {
		const struct xdp_desc *desc = fg_ring_desc(&xsk->rx, consumer + i);

		frames[i] = (struct fg_xsk_frame){.address = desc->addr, .length = desc->len};
		fg_umem_mark(xsk->umem, desc->addr, holder(xsk));
	}
	/* Marked first: a frame behind the consumer is known by its mark alone. */
	atomic_store_explicit(xsk->rx.consumer, consumer + count, memory_order_release);
	return count;
}

/*
 * Sending, step by step:
 *   1. write the entries into the tx ring behind its producer     (invisible)
 *   2. sending = where the producer will be
 *   3. ledger = SENT for each of them
 *   4. producer = sending                                         (visible to the kernel)
 * The ledger must change before 4: after it the frame may be sent, completed, recycled by another
 * worker and filled again. Whoever finds sending ahead of the producer with the worker dead does 3
 * and 4, and the replies go out.
 */
static void finish_send(struct fg_xsk *xsk)
{
	uint32_t producer = atomic_load_explicit(xsk->tx.producer, memory_order_relaxed);
	uint32_t end =
		atomic_load_explicit(&xsk->umem->shared->sending[xsk->slot], memory_order_acquire);

	if (end - producer > xsk->tx.mask + 1)
		return; /* only a worker that was broken into writes that */
	for (uint32_t i = producer; i != end; i++)
		fg_umem_mark(xsk->umem, fg_ring_desc(&xsk->tx, i)->addr, FG_FRAME_SENT);
	atomic_store_explicit(xsk->tx.producer, end, memory_order_release);
}

uint32_t fg_xsk_send(struct fg_xsk *xsk, const struct fg_xsk_frame *frames, uint32_t count)
{
	uint32_t producer = atomic_load_explicit(xsk->tx.producer, memory_order_relaxed);
	uint32_t room = xsk->tx.mask + 1 - fg_ring_count(&xsk->tx);

	if (count > room)
		count = room;
	for (uint32_t i = 0; i < count; i++)
		*fg_ring_desc(&xsk->tx, producer + i) =
			(struct xdp_desc){.addr = frames[i].address, .len = frames[i].length};
	atomic_store_explicit(&xsk->umem->shared->sending[xsk->slot], producer + count,
			      memory_order_release);
	finish_send(xsk);
	return count;
}

/* Its interface went, so the kernel's side of the ring is nobody's any more. */
static int give_up(struct fg_xsk *xsk)
{
	atomic_store_explicit(xsk->tx.consumer,
			      atomic_load_explicit(xsk->tx.producer, memory_order_relaxed),
			      memory_order_relaxed);
	return -ENXIO;
}

int fg_xsk_kick(struct fg_xsk *xsk)
{
	uint32_t waiting, kicks = 0;

	/* A ring that is full takes fewer calls than it has entries; where a broken producer says
	 * that there is more, the kernel would send the same entries for hours. */
	while ((waiting = fg_ring_count(&xsk->tx)) && kicks++ <= xsk->tx.mask &&
	       atomic_load_explicit(xsk->tx.flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP) {
		/* In copy mode the kernel sends up to 32 a call and says EAGAIN for the rest; with
		 * zero copy it only wakes the driver, and nothing is gone when the call returns. */
		if (sendto(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN)
			return errno == ENXIO ? give_up(xsk) : -errno;
		if (fg_ring_count(&xsk->tx) == waiting)
			return -EAGAIN;
	}
	return 0;
}

/* The lock's holder is another process that runs on, unless it was stopped: not to be waited for.
 */
static bool recycle_patiently(struct fg_umem *umem, const uint64_t *addresses, uint32_t count)
{
	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
		if (fg_umem_recycle(umem, FG_UMEM_KEEPER, addresses, count))
			return true;
		sched_yield();
	}
	return false;
}

uint32_t fg_xsk_reclaim(struct fg_xsk *xsk)
{
	struct fg_umem *umem = xsk->umem;
	struct fg_xsk_frame frames[64];
	uint64_t addresses[64];
	uint32_t count = 0, lost = 0, frame = 0;

	fg_umem_recover(umem, holder(xsk));
	finish_send(xsk);
	fg_xsk_kick(xsk);
	for (uint32_t taken = 0; taken <= xsk->rx.mask; taken += 64)
		fg_xsk_receive(xsk, frames, 64);
	do {
		count = 0;
		for (; frame < umem->frames && count < 64; frame++)
			if (atomic_load_explicit(&umem->shared->ledger[frame],
						 memory_order_relaxed) == holder(xsk))
				addresses[count++] = (uint64_t)frame * FG_FRAME_BYTES;
		if (!recycle_patiently(umem, addresses, count))
			return lost;
		lost += count;
	} while (frame < umem->frames);
	return lost;
}
