/*
 * control.h: the process that watches the repository, drives rollouts and answers the operator.
 *
 *   file           does
 *   control.c      the process: privileges, event loop
 *   reconcile.c    observe, step (sched/rollout), publish, act
 *   verbs.c        promote and rollback: from a request to its reply
 *   report.c       the status reply
 *   admin.c        the control socket: clients and lines
 *   repository.c   the versions on disk
 *
 * It may die at any instruction. All it must remember is in the state page (state->rollout), which
 * changes by one atomic store; everything else is observed anew: live table and slots map in the
 * kernel, workers and plans in the state page, versions on disk. sched/rollout.h says why every
 * point between a published state and its actions is safe. What dies with it: the clients of the
 * control socket, who see their connection end, and the memory of orders sent a moment ago, which
 * are then sent again.
 */
#ifndef FG_DAEMON_CONTROL_H
#define FG_DAEMON_CONTROL_H

#include "sched/rollout.h"
#include "userspace/daemon/admin.h"
#include "userspace/daemon/config.h"
#include "userspace/daemon/repository.h"
#include "userspace/daemon/steering.h"
#include "userspace/shared/state.h"

#define FG_CONTROL_SERVICE 0 /* the one service of this daemon, as BPF numbers it */

/* An order that was sent: not to be repeated at once. */
struct fg_control_sent {
	uint64_t hash; /* of the action; 0: none */
	uint64_t at_ns;
};

/* Of this process, private. Large: on the heap. */
struct fg_control {
	const struct fg_config *config;
	struct fg_state *state;
	const struct fg_steering *steering;
	int orders; /* SOCK_SEQPACKET to the keeper; the caller's */
	struct fg_rollout_config rules;
	uint64_t table;	       /* bit s: the live table names slot s */
	uint32_t table_serial; /* of the live table; 0: none, or unknown */
	uint64_t flows_ns;     /* when flows were last counted for a drain */
	bool spoken;	       /* the operator chose something since the last reconcile */
	bool acting_fails;     /* the last list was not done to its end; was logged */
	struct fg_rollout_observed observed;
	struct fg_rollout_actions actions;
	struct fg_rollout next; /* the state that a step or a verb prepares */
	struct fg_control_sent sent[FG_ROLLOUT_DROP + 1][FG_MAX_SLOTS];
	char ends[FG_MAX_SLOTS][FG_ROLLOUT_ERROR_BYTES]; /* how the slots' workers failed */
	struct fg_repository repository;
	struct fg_admin admin;
};

/*
 * The life of control, in a child that the keeper forked: drops what privileges it does not need
 * (keeps CAP_BPF to flip, CAP_DAC_READ_SEARCH to see the repository) and runs until the keeper is
 * gone or, when state->boot.stopping is set, no generation is left. `orders_fd`: its end of the
 * pair of orders.h; `admin_fd`: the listening control socket, nonblocking. Returns an exit status:
 * 0 when there is nothing left to do, 1 when it could not start (logged).
 */
int fg_control_run(const struct fg_config *config, struct fg_state *state,
		   const struct fg_steering *steering, int orders_fd, int admin_fd);

/* ---- reconcile.c ---- */

/* Reads from the kernel which table is live. Once, before the first reconcile. */
void fg_control_adopt(struct fg_control *control);
/* Steps and acts until nothing changes any more. Returns after how many ns to do it again at the
 * latest. */
uint64_t fg_control_reconcile(struct fg_control *control);
/* Publishes control->next, if it differs from what is current. Returns whether it did. */
bool fg_control_publish(struct fg_control *control);

/* ---- verbs.c ---- */

/* What the control socket calls; context is the struct fg_control. */
extern const struct fg_admin_ops fg_control_verbs;

/* ---- report.c ---- */

/* The reply to "status"; a new reference. At most `versions` versions of each model, the newest. */
json_t *fg_control_report(struct fg_control *control, uint32_t versions, uint64_t now_ns);

#endif
