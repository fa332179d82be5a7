/* port.h: sockets at the addresses of listeners, and why there is none. */
#ifndef FG_DAEMON_PORT_H
#define FG_DAEMON_PORT_H

#include <stdbool.h>
#include <sys/socket.h>
#include "models/error.h"
#include "userspace/daemon/predecessor.h"

/* 0.0.0.0 or [::]. */
bool fg_port_wildcard(const struct sockaddr_storage *address);

/*
 * A socket of the gateway's at `address` (IPv4 or IPv6), not yet listening; `protocol` is
 * IPPROTO_UDP or IPPROTO_TCP. `share`: in a group of SO_REUSEPORT, also where the host has no such
 * address just now. *result is the caller's. -errno.
 */
int fg_port_bind(int protocol, const struct sockaddr_storage *address, bool share, int *result);

/*
 * May the gateway listen there? Waits a second for one that was killed a moment ago. -EADDRINUSE,
 * -EADDRNOTAVAIL, ... with *error. What `predecessor` (pid 0: none) listens at is no obstacle, if
 * it is just this address.
 */
int fg_port_check(int protocol, const struct sockaddr_storage *address,
		  const struct fg_predecessor *predecessor, struct fg_error *error);

/* Writes to *error why no socket could be had there; returns `code`. */
int fg_port_explain(int protocol, const struct sockaddr_storage *address, int code,
		    struct fg_error *error);

#endif
