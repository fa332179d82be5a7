/*
 * turn.h: how long an urgent worker holds its CPU.
 *
 * A worker that drains or dozes runs before its successor on their CPU (fg_priority_urgent), which
 * is right for the odd request of an old flow. Whatever keeps it busy, requests or not, it serves
 * for FG_TURN_RUN_NS without having slept, or until the batch that runs then is done, and leaves
 * the CPU for as long, up to FG_TURN_MOST_NS: half of it remains the successor's.
 */
#ifndef FG_WORKER_TURN_H
#define FG_WORKER_TURN_H

#include <stdbool.h>
#include <stdint.h>
#include "userspace/worker/uring.h"

#define FG_TURN_RUN_NS	1000000ull
#define FG_TURN_MOST_NS 20000000ull

struct fg_turn {
	uint64_t began_ns; /* it has not slept since; 0: it was not urgent */
};

/* fg_uring_wait. If the thread slept in it, a turn begins: not if it returned at once, or worked
 * the whole time on what it submitted. That takes two more syscalls of who is urgent. */
void fg_turn_wait(struct fg_turn *turn, bool urgent, struct fg_uring *uring, uint64_t timeout_ns);
/* In every loop, and between batches: sleeps if it is urgent and the turn is over. */
void fg_turn_give_way(struct fg_turn *turn, bool urgent);

#endif
