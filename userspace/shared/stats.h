/* stats.h: how a worker counts. */
#ifndef FG_SHARED_STATS_H
#define FG_SHARED_STATS_H

#include <stdatomic.h>
#include <stdint.h>

/* Adds to a counter that only this thread writes: a load and a store, no locked instruction. */
static inline void fg_stats_add(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value,
			      memory_order_relaxed);
}

#endif
