/*
 * dataplane_tcp.h: the TCP half of dataplane.c: a listening socket for each slot and address.
 *
 * Unlike a slot's other sockets, a listener is not for ever: it is opened for a worker, and closed
 * after it, so that the connections that were not accepted move to workers that serve. A connection
 * is at any time in one of these states, and none of them is reset by a polite cutover:
 *
 *   - not begun: fg_lookup (bpf/lookup.bpf.c) gives it to a slot that serves;
 *   - handshake, with a request in the kernel: the last ACK moves it if its listener is closed by
 *     then (fg_migrate);
 *   - handshake, with a SYN cookie: the last ACK is looked up like a SYN;
 *   - in the accept queue: the worker accepts as long as it lives, also while it drains; what it
 *     leaves behind, or is left of it by SIGKILL, moves when the listener is closed (fg_migrate);
 *   - accepted: the worker's business (userspace/worker/tcp.h).
 *
 * Connections cannot move while no worker serves, so then the listeners stay open until one does,
 * or until the slot's next worker takes them over as they are.
 */
#ifndef FG_DAEMON_DATAPLANE_TCP_H
#define FG_DAEMON_DATAPLANE_TCP_H

#include "userspace/daemon/dataplane.h"

/* Checks that the ports are free (port.h), announces the addresses, opens the sinks. Nothing
 * without TCP listeners. On failure the caller calls close. */
int fg_dataplane_tcp_open(struct fg_dataplane *dataplane, const struct fg_predecessor *predecessor,
			  struct fg_error *error);
/* From now on fg_lookup chooses for new connections, and fg_migrate for those that are left over.
 * *taken: it does, in spite of a failure. */
int fg_dataplane_tcp_take(struct fg_dataplane *dataplane, bool *taken, struct fg_error *error);
void fg_dataplane_tcp_close(struct fg_dataplane *dataplane);

/* Opens the slot's listeners unless they are, and puts them into the map. */
int fg_dataplane_tcp_open_slot(struct fg_dataplane *dataplane, uint16_t slot,
			       struct fg_error *error);

/* The slot has no worker: closes its listeners if others serve. */
void fg_dataplane_tcp_leave_slot(struct fg_dataplane *dataplane, uint16_t slot);

#endif
