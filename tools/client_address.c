#include "tools/client_address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tools/client_wait.h"

#define STREAM "tcp://"

int fg_client_fail(struct fg_client_error *error, int code, const char *format, ...)
{
	va_list args;

	if (!error)
		return code;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}

/* Cuts "host:port" in two; an IPv6 host stands in brackets, because its colons are no ports. */
static int split(const char *text, char *host, size_t host_bytes, const char **port)
{
	const char *colon = strrchr(text, ':'), *end = colon;
	long number;
	char *rest;

	if (!colon)
		return -EINVAL;
	if (*text == '[') {
		text++;
		if (end == text || *--end != ']')
			return -EINVAL;
	} else if (memchr(text, ':', (size_t)(colon - text))) {
		return -EINVAL;
	}
	number = strtol(colon + 1, &rest, 10);
	if (colon[1] < '0' || colon[1] > '9' || *rest || number < 1 || number > 65535)
		return -EINVAL;
	if (end <= text || (size_t)(end - text) >= host_bytes)
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = 0;
	*port = colon + 1;
	return 0;
}

int fg_client_resolve(struct fg_client_address *address, const char *text,
		      struct fg_client_error *error)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
	bool is_stream = strncmp(text, STREAM, strlen(STREAM)) == 0;
	struct addrinfo *found;
	char host[256];
	const char *port;
	int code;

	if (split(is_stream ? text + strlen(STREAM) : text, host, sizeof(host), &port))
		return fg_client_fail(error, -EINVAL,
				      "address '%s': want HOST:PORT, like 10.0.0.1:9000 or "
				      "[::1]:9000, for TCP tcp://HOST:PORT",
				      text);
	code = getaddrinfo(host, port, &hints, &found);
	if (code)
		return fg_client_fail(error, -ENOENT, "host '%s': %s", host, gai_strerror(code));
	memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
	address->length = found->ai_addrlen;
	address->is_stream = is_stream;
	freeaddrinfo(found);
	return 0;
}

int fg_client_connect(const struct fg_client_address *address)
{
	int type = address->is_stream ? SOCK_STREAM | SOCK_NONBLOCK : SOCK_DGRAM, on = 1;
	int fd = socket(address->storage.ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (address->is_stream)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const struct sockaddr *)&address->storage, address->length) &&
	    errno != EINPROGRESS) {
		int code = -errno;

		close(fd);
		return code;
	}
	return fd;
}

int fg_client_await_connection(int fd, const struct fg_client_address *address, uint64_t until_ns)
{
	/* Asked again, connect says what became of it. */
	while (connect(fd, (const struct sockaddr *)&address->storage, address->length)) {
		bool is_under_way = errno == EINPROGRESS || errno == EALREADY || errno == EINTR;
		int code = is_under_way ? fg_client_wait(fd, POLLOUT, until_ns, false) : -errno;

		if (code == -EISCONN)
			return 0;
		if (code)
			return code;
	}
	return 0;
}
