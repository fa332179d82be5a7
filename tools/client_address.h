/* client_address.h: text to a socket address, for the library and the load generator. */
#ifndef FG_TOOLS_CLIENT_ADDRESS_H
#define FG_TOOLS_CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "tools/flipgate.h"

struct fg_client_address {
	struct sockaddr_storage storage;
	socklen_t length;
	bool is_stream; /* TCP, else UDP */
};

/*
 * Parses "host:port", "10.0.0.1:9000" or "[::1]:9000", behind "tcp://" for TCP, and looks the host
 * up. Returns 0, or -EINVAL when the text is no such thing, -ENOENT when the host is not known.
 */
int fg_client_resolve(struct fg_client_address *address, const char *text,
		      struct fg_client_error *error);

/*
 * A socket for `address`: 0 or more, or -errno. The caller closes it. UDP: connected. TCP: it does
 * not block, small messages leave at once (TCP_NODELAY), and it is being connected, if not refused
 * already: writable when that is over.
 */
int fg_client_connect(const struct fg_client_address *address);

/* Waits until a TCP socket of fg_client_connect is connected, at the longest until `until_ns`
 * (CLOCK_MONOTONIC). 0, -ETIMEDOUT, or why it is not. */
int fg_client_await_connection(int fd, const struct fg_client_address *address, uint64_t until_ns);

/* vsnprintf into error->text unless error is NULL; returns `code`. */
__attribute__((format(printf, 3, 4))) int fg_client_fail(struct fg_client_error *error, int code,
							 const char *format, ...);

#endif
