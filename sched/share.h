/*
 * share.h: how requests that take long share a worker with all others, and with each other: pure.
 *
 * A request that would keep others waiting does not run when it comes: it waits in its entry's
 * line, and runs piece by piece, between looks at the rings. Three rules keep it from taking more:
 *
 * - Half of the time. What a piece took is owed to the requests that do not wait in a line; while
 *   something is owed and such requests come, no piece runs.
 * - Between lines, the one that has had least runs next. Who was away has no claim to the past.
 * - A line may have as much as is left free by all lines, places and time (Choudhury and Hahne,
 *   "Dynamic queue length thresholds", IEEE/ACM ToN 1998): one alone gets half, two a third each,
 *   and there is always room for one more model.
 */
#ifndef FG_SCHED_SHARE_H
#define FG_SCHED_SHARE_H

#include <stdbool.h>
#include <stdint.h>
#include "sched/batch.h"

#define FG_SHARE_PLACES 192	      /* requests that wait, in all lines together */
#define FG_SHARE_NS	2000000000ull /* and the time that they will take */

struct fg_share_line {
	uint32_t count;	     /* requests in it */
	uint64_t waiting_ns; /* that these will take */
	uint64_t had_ns;     /* time it has had, as far as it counts; 0 where nobody waits */
};

/* All zero but `places`: nobody waits, nothing is owed. */
struct fg_share {
	uint32_t places; /* 1 .. FG_SHARE_PLACES */
	uint64_t owed_ns;
	struct fg_share_line lines[FG_BATCH_MAX_ENTRIES]; /* [entry] */
};

uint32_t fg_share_waiting(const struct fg_share *share);
/* Is there room in `entry`'s line for a request of cost_ns? An empty line has it while any place is
 * free, whatever the cost. */
bool fg_share_has_room(const struct fg_share *share, uint32_t entry, uint64_t cost_ns);
/* How long a request that joined `entry`'s line now would wait, were all lines to stay as they are
 * and nothing else to come. */
uint64_t fg_share_wait_ns(const struct fg_share *share, uint32_t entry);
void fg_share_join(struct fg_share *share, uint32_t entry, uint64_t cost_ns);
void fg_share_leave(struct fg_share *share, uint32_t entry, uint64_t cost_ns);

/* The entry whose line a piece shall be run of, or -1: nobody waits, or it is others' turn. idle:
 * nothing else came since the last call, so nothing is owed to it. */
int fg_share_turn(struct fg_share *share, bool idle);
/* A piece of `entry`'s line took that long; before what it finished leaves. */
void fg_share_ran(struct fg_share *share, uint32_t entry, uint64_t ns);
/* A batch of requests that did not wait took that long. */
static inline void fg_share_repay(struct fg_share *share, uint64_t ns)
{
	share->owed_ns -= ns < share->owed_ns ? ns : share->owed_ns;
}

#endif
