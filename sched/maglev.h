/*
 * maglev.h: steering tables by Maglev's permutation filling (Eisenbud et al., "Maglev: A Fast and
 * Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
 */
#ifndef FG_SCHED_MAGLEV_H
#define FG_SCHED_MAGLEV_H

#include <stddef.h>
#include <stdint.h>
#include "bpf/abi.h"

/*
 * Fills table->slot from the `count` slots (distinct, < FG_MAX_SLOTS, any order: the result does
 * not depend on it). The shares of two slots differ by one position at most; taking one slot away
 * moves few positions of the others. count 0 fills with FG_SLOT_NONE. serial and seed are stored.
 * Uses no memory but a few hundred bytes of stack beside the table.
 */
void fg_maglev_build(struct fg_table *table, uint32_t serial, uint32_t seed, const uint16_t *slots,
		     size_t count);

/* Positions that a canary of that weight holds. */
uint32_t fg_maglev_share(uint32_t weight);

/*
 * A canary: `table` becomes `stable` (serial and seed too) with `weight` parts in 10,000 of the
 * positions, rounded, taken from `canary`; more than 10,000 is all. Nested: a position that is in
 * at one weight is in at every larger one, whatever the two tables hold, while stable's seed is the
 * same. A canary position that holds FG_SLOT_NONE stays stable's. `table` may be `stable`.
 */
void fg_maglev_mix(struct fg_table *table, const struct fg_table *stable,
		   const struct fg_table *canary, uint32_t weight);

#endif
