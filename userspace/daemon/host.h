/*
 * host.h: what this host is on its interface: the facts that the XDP program needs (bpf/host.h).
 */
#ifndef FG_DAEMON_HOST_H
#define FG_DAEMON_HOST_H

#include "bpf/abi.h"

/*
 * Reads the interface's MAC, and of all interfaces of this network namespace the addresses and
 * broadcast addresses, as they are now; all else is 0. -ENODEV: no such interface, or it has no
 * Ethernet address.
 */
int fg_host_read(const char *interface, struct fg_host *host);

#endif
