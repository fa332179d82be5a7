/* client_address.h: "host:port" to a socket address, for the library and the load generator. */
#ifndef FG_TOOLS_CLIENT_ADDRESS_H
#define FG_TOOLS_CLIENT_ADDRESS_H

#include <sys/socket.h>
#include "tools/flipgate.h"

struct fg_client_address {
	struct sockaddr_storage storage;
	socklen_t length;
};

/*
 * Parses "host:port", "10.0.0.1:9000" or "[::1]:9000" and looks the host up. Returns 0, or
 * -EINVAL when the text is no such thing, -ENOENT when the host is not known.
 */
int fg_client_resolve(struct fg_client_address *address, const char *text,
		      struct fg_client_error *error);

/* A UDP socket connected to `address`: 0 or more, or -errno. The caller closes it. */
int fg_client_connect(const struct fg_client_address *address);

/* vsnprintf into error->text unless error is NULL; returns `code`. */
__attribute__((format(printf, 3, 4))) int fg_client_fail(struct fg_client_error *error, int code,
							 const char *format, ...);

#endif
