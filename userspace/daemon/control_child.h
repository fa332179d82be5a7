/*
 * control_child.h: the control process as the keeper sees it: started, started again when it died,
 * replaced by another program and back.
 */
#ifndef FG_DAEMON_CONTROL_CHILD_H
#define FG_DAEMON_CONTROL_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "userspace/daemon/control.h"
#include "userspace/daemon/orders.h"

#define FG_CONTROL_CHILD_HUNG_NS  2000000000ull	 /* without a heartbeat for that long: killed */
#define FG_CONTROL_CHILD_START_NS 10000000000ull /* or not in charge that long after its start */

struct fg_control_child {
	struct fg_control_setup
		setup;	     /* what it is given; orders: the child's end, while forking */
	int state_fd;	     /* memfd of the state page; the caller's */
	pid_t pid;	     /* 0: none */
	int orders;	     /* our end of the pair; -1: none */
	uint64_t started_ns; /* the last one */
	int program;	     /* of an upgrade (takeover.h), -1: this program itself */
	bool killed;	     /* it hung: it is about to end */
	bool judging;	     /* an upgrade is under way: the program must take charge */
};

/* Starts it the first time. `setup` is copied, what it points at stays the caller's; but
 * setup->audit is taken over, also when it fails. */
int fg_control_child_open(struct fg_control_child *child, const struct fg_control_setup *setup,
			  int state_fd);
/* Kills it. Safe on a zeroed struct that was never opened. */
void fg_control_child_close(struct fg_control_child *child);

/* Tells it that the state page changed. A lost one costs a second: it looks by itself then. */
void fg_control_child_poke(const struct fg_control_child *child);
/* The next order; false: there is none. */
bool fg_control_child_order(const struct fg_control_child *child, struct fg_orders_message *order);

/* It ended, as from waitpid. */
void fg_control_child_ended(struct fg_control_child *child, int status);
/* It was stopped (SIGSTOP), as from waitpid: it goes on at once. */
void fg_control_child_stopped(const struct fg_control_child *child);
/* Now and then, at least every 500 ms: kills it when it hangs; starts it again when it is dead, but
 * not in a tight loop; goes back to this program when another one did not take charge. Returns true
 * when it wants to be called again soon. */
bool fg_control_child_keep(struct fg_control_child *child);
/* FG_ORDERS_UPGRADE. What came of it is in the state page: boot.upgrades. */
void fg_control_child_upgrade(struct fg_control_child *child, const char *path);
/* The audit log was opened anew: passes it on. The old descriptor is closed. */
void fg_control_child_audit(struct fg_control_child *child, int audit);

#endif
