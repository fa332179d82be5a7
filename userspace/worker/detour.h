/*
 * detour.h: replies to requests from AF_XDP that the path may not take in one packet leave through
 * the slot's UDP socket: the stack knows the path's MTU and fragments.
 *
 * AF_XDP sends a reply without DF over IPv4, so any router may fragment it, and only the
 * interface's own MTU bounds it (RFC 791). Routers never fragment IPv6, but every link takes 1280
 * bytes (RFC 8200, section 5). What is longer goes this way; "packet too big" that comes back for
 * it makes the stack fragment the next one to that client (RFC 8201).
 */
#ifndef FG_WORKER_DETOUR_H
#define FG_WORKER_DETOUR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "userspace/worker/frame.h"

struct fg_detour {
	const _Atomic uint32_t *mtu; /* of the interface, bytes of IP; may change at any time */
	const struct sockaddr_storage *listeners; /* their addresses; the owner's, as below */
	const int *sockets;			  /* of the slot, bound to them; non-blocking */
	uint32_t listener_count;
	int ifindex; /* the scope of link-local addresses */
};

/* Must a reply of payload_bytes to the request in the frame go this way? */
bool fg_detour_is_needed(const struct fg_detour *detour, const struct fg_frame *frame,
			 uint16_t payload_bytes);

/*
 * Sends payload_bytes of payload that lie in the frame in place of the request's, to who asked,
 * from the address that was asked: one syscall. The headers of the frame stay the request's. 0;
 * -EADDRNOTAVAIL when no listener has that address; another -errno of sendmsg.
 */
int fg_detour_send(const struct fg_detour *detour, const struct fg_frame *frame,
		   uint16_t payload_bytes);

#endif
