/*
 * ring.h: the four AF_XDP rings, accessed by hand (Documentation/networking/af_xdp.rst and
 * net/xdp/xsk_queue.h of the kernel).
 *
 * A ring is a power of two of entries between a free-running producer and a free-running
 * consumer index, both 32 bits. The side that writes an index stores it with release; the other
 * side loads it with acquire. Indices are never cached here: a ring outlives the process that
 * used it last.
 */
#ifndef FG_SHARED_RING_H
#define FG_SHARED_RING_H

#include <linux/if_xdp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct fg_ring {
	_Atomic uint32_t *producer;
	_Atomic uint32_t *consumer;
	_Atomic uint32_t *flags;
	void *entries; /* uint64_t for fill and completion, struct xdp_desc for rx and tx */
	uint32_t mask; /* entries - 1 */
	void *map;     /* of the whole ring; NULL: not mapped */
	size_t map_bytes;
};

enum fg_ring_kind { FG_RING_FILL, FG_RING_COMPLETION, FG_RING_RX, FG_RING_TX };

/*
 * Gives socket `fd` a ring of `entries` (a power of two) and maps it. Must happen before bind():
 * kernel 6.1 refuses to map rings of a bound socket. 0 or -errno. The map is inherited by fork.
 */
int fg_ring_open(struct fg_ring *ring, int fd, enum fg_ring_kind kind, uint32_t entries);
/* Unmaps. Safe on a zeroed ring. */
void fg_ring_close(struct fg_ring *ring);

/* Entries that wait for the consumer. */
static inline uint32_t fg_ring_count(const struct fg_ring *ring)
{
	return atomic_load_explicit(ring->producer, memory_order_acquire) -
	       atomic_load_explicit(ring->consumer, memory_order_acquire);
}

static inline uint64_t *fg_ring_address(const struct fg_ring *ring, uint32_t index)
{
	return (uint64_t *)ring->entries + (index & ring->mask);
}

static inline struct xdp_desc *fg_ring_desc(const struct fg_ring *ring, uint32_t index)
{
	return (struct xdp_desc *)ring->entries + (index & ring->mask);
}

#endif
