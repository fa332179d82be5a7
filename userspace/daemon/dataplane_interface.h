/*
 * dataplane_interface.h: the interface's half of dataplane.c: its XDP program, its frames, the
 * slots' AF_XDP sockets, and what becomes of them when the interface changes.
 *
 * An attachment is the program on an interface and frames bound to its queues. It is looked at
 * again and again, and compared with what the kernel says:
 *
 *   - the interface is gone, another one bears its name, or its sockets were unbound (it was in
 *     another network namespace): lost. The program is taken off, mode sockets in the open (log,
 *     status, a counter), frames and AF_XDP sockets closed; attached anew as soon as there is one;
 *   - somebody took the program off: lost; attached again with the same sockets;
 *   - it has more queues: they get frames;
 *   - it has another name: nothing, it is the same one.
 *
 * Meanwhile all that arrives goes up the stack, to the same workers. AF_XDP rings cannot be given
 * to a worker that runs: a new attachment, and more queues, are for the workers that start from
 * then on, so control replaces those that serve (rollout.h, `attachment`); what comes for a worker
 * without such a socket still goes up the stack.
 */
#ifndef FG_DAEMON_DATAPLANE_INTERFACE_H
#define FG_DAEMON_DATAPLANE_INTERFACE_H

#include "userspace/daemon/dataplane.h"

/* Attaches in the fastest mode that an answer can leave in: native, generic, sockets; or in
 * config->mode alone. Beside another gateway: sockets, until it is inherited. -errno with *error;
 * then the caller calls close. */
int fg_dataplane_interface_open(struct fg_dataplane *dataplane, struct fg_error *error);
/* The link of another gateway (taken over; -1: none): if it is to the interface that frames will
 * be bound to, it runs our program from now on. */
void fg_dataplane_interface_take(struct fg_dataplane *dataplane, int link);
/* Closes frames and AF_XDP sockets; taking the program off is the steering's. */
void fg_dataplane_interface_close(struct fg_dataplane *dataplane);

/* Gives the slot the AF_XDP sockets that it has not. A failure is a loss of the attachment: the
 * worker serves by the stack. */
void fg_dataplane_interface_open_slot(struct fg_dataplane *dataplane, uint16_t slot);

#endif
