/*
 * predecessor.h: the gateway that runs, for one that is to serve instead (`flipgated --replace`).
 *
 * Both share nothing but the kernel and NAME.served (served.h), so nearly anything may differ
 * between them: options, models, the program itself. Who does what:
 *
 *   the new one     checks that its addresses are free or just the other one's (port.h); opens
 *                   sockets there, in the same SO_REUSEPORT groups, which give it nothing yet;
 *                   loads, warms and checks all models; by the stack alone, because the queues of
 *                   an interface have room for the frames of one
 *   its control     follows what is chosen on the other one meanwhile (succession.c); finds that
 *                   all serves which should, and what serves there above all (sched/rollout.h,
 *                   fg_rollout_succeeds); asks its keeper (FG_ORDERS_TAKE)
 *   its keeper      makes the groups, sk_lookup and the XDP link run its own programs
 *                   (dataplane.h, fg_dataplane_take), puts its control socket at the path, and
 *                   sends the old one a SIGTERM
 *   the old one     goes off the interface, drains, answers what it holds, and ends
 *   the new keeper  sees that, takes the directory of pins, and the interface's queues: from
 *                   there on it is as if the interface had come back (dataplane_interface.h)
 *
 * At each moment a datagram or a SYN finds a program that gives it to somebody who serves. What the
 * old one had not accepted of TCP when it ended is moved to the new one by the group's program.
 */
#ifndef FG_DAEMON_PREDECESSOR_H
#define FG_DAEMON_PREDECESSOR_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include "models/error.h"

struct fg_predecessor {
	pid_t pid; /* of its keeper; 0: there is none, or it has ended */
	int pidfd; /* -1 then */
};

/*
 * Finds the keeper that listens at the control socket `path`. That there is none is no error.
 * -EXDEV: it is in another network namespace; -EPERM: it is another user's, or another program.
 */
int fg_predecessor_find(struct fg_predecessor *predecessor, const char *path,
			struct fg_error *error);

/*
 * Does it listen at `address` of `protocol` (IPPROTO_UDP, IPPROTO_TCP)? 1: at just this one; 0: no.
 * -EADDRINUSE with *error: at the same port, but by a wildcard where this is a single address, or
 * the other way round. Those are two groups, and the kernel gives all that is for the single one to
 * that as soon as it is there, ready or not. Another -errno with *error: that cannot be known.
 */
int fg_predecessor_listens(const struct fg_predecessor *predecessor, int protocol,
			   const struct sockaddr_storage *address, struct fg_error *error);

/* It has not ended yet. When it has, this closes what there is of it. */
bool fg_predecessor_lives(struct fg_predecessor *predecessor);

/* A copy of its XDP link to the interface `ifindex`, the caller's; -1: it has none there, or it is
 * not to be had. */
int fg_predecessor_link(const struct fg_predecessor *predecessor, int ifindex);

/* Tells it to drain and stop. */
int fg_predecessor_dismiss(const struct fg_predecessor *predecessor);

/* Lets it be. Safe on one that was never found, and on { 0, -1 }. */
void fg_predecessor_close(struct fg_predecessor *predecessor);

#endif
