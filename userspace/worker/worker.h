/*
 * worker.h: a worker process: set up with privileges, then serve without.
 */
#ifndef FG_WORKER_WORKER_H
#define FG_WORKER_WORKER_H

#include <stdint.h>
#include "sched/rollout.h"
#include "userspace/daemon/config.h"
#include "userspace/daemon/dataplane.h"
#include "userspace/shared/shadow.h"
#include "userspace/shared/state.h"

/* What the keeper hands over by fork. Nothing in it is written by the worker. */
struct fg_worker_setup {
	const struct fg_config *config;
	struct fg_state *state;
	struct fg_dataplane *dataplane;
	struct fg_shadow_area *shadow; /* a live worker keeps its own ring, a shadow all of them */
	const struct fg_rollout_generation *generation;
	const int *plan_fds; /* [FG_STATE_MAX_PLANS] sealed memfds, -1: none */
	uint16_t slot;
	int cpu;
	uint64_t memory_bytes; /* that it may take for its models; 0: any */
};

/*
 * The life of a worker, in the child right after fork: maps the plans, checks and warms them at low
 * priority, drops all privileges, reports READY in its slot's page, obeys orders until FINISH. That
 * of a shadow generation has no sockets, no CPU of its own, and low priority for good.
 * Returns the exit status: 0 after FINISH, 1 when it could not become ready (the page says why).
 */
int fg_worker_run(const struct fg_worker_setup *setup);

#endif
