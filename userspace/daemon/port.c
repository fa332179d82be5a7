#include "userspace/daemon/port.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>
#include "userspace/daemon/config.h"

#define ATTEMPTS	10
#define PAUSE_US	100000
#define DATAGRAMS_BYTES (4 << 20)
#define RECEIVE_BYTES	65536
#define SEND_BYTES	32768

bool fg_port_wildcard(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return !((const struct sockaddr_in *)address)->sin_addr.s_addr;
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static void prepare_udp(int fd, bool ipv6, bool wildcard)
{
	int may_fragment = IP_PMTUDISC_DONT; /* routers too, as what AF_XDP sends (detour.h) */
	int one = 1, buffer = DATAGRAMS_BYTES;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	if (!ipv6)
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &may_fragment, sizeof(may_fragment));
	if (wildcard)
		setsockopt(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
			   ipv6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &one, sizeof(one));
}

/* Connections inherit all but the first. */
static void prepare_tcp(int fd)
{
	int one = 1, receive = RECEIVE_BYTES, send = SEND_BYTES;

	/* Connections of the gateway's last life may still be in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* Replies leave at once, and are batched already. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* Or the kernel would give many MiB to each client that pipelines and does not read. One
	 * message in, and half of one out, of which a worker has a whole one (tcp_pool.h); the
	 * kernel takes twice that, for its own. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send));
}

int fg_port_bind(int protocol, const struct sockaddr_storage *address, bool share, int *result)
{
	bool tcp = protocol == IPPROTO_TCP, ipv6 = address->ss_family == AF_INET6;
	int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, one = 1, code;
	int fd = socket(address->ss_family,
			(tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (share) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		/* The address was there at the start, and may be away just now. */
		setsockopt(fd, level, ipv6 ? IPV6_FREEBIND : IP_FREEBIND, &one, sizeof(one));
	}
	if (ipv6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (tcp)
		prepare_tcp(fd);
	else
		prepare_udp(fd, ipv6, fg_port_wildcard(address));
	if (bind(fd, (const struct sockaddr *)address,
		 ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in))) {
		code = -errno;
		close(fd);
		return code;
	}
	*result = fd;
	return 0;
}

int fg_port_explain(int protocol, const struct sockaddr_storage *address, int code,
		    struct fg_error *error)
{
	bool tcp = protocol == IPPROTO_TCP;
	char text[64];

	return fg_error_set(error, code, "listen%s %s: %s%s", tcp ? "-tcp" : "",
			    fg_config_format_address(address, text, sizeof(text)),
			    code == -EADDRINUSE	     ? "another program has this port (see: ss -l"
			    : code == -EADDRNOTAVAIL ? "no interface has this address (ip addr)"
						     : strerror(-code),
			    code != -EADDRINUSE ? ""
			    : tcp		? "tnp)"
						: "unp)");
}

/* A second program with SO_REUSEPORT and our uid would get into our group unseen; a bind without it
 * tells. */
static int try_alone(int protocol, const struct sockaddr_storage *address)
{
	int fd, code = fg_port_bind(protocol, address, false, &fd);

	if (!code)
		close(fd);
	return code;
}

int fg_port_check(int protocol, const struct sockaddr_storage *address,
		  const struct fg_predecessor *predecessor, struct fg_error *error)
{
	int code = try_alone(protocol, address), theirs = 0;

	if (code && predecessor->pid)
		theirs = fg_predecessor_listens(predecessor, protocol, address, error);
	if (theirs)
		return theirs > 0 ? 0 : theirs;
	/* The workers of a keeper that was killed a moment ago need one to die. */
	for (int attempt = 0; code == -EADDRINUSE && attempt < ATTEMPTS; attempt++) {
		usleep(PAUSE_US);
		code = try_alone(protocol, address);
	}
	return code ? fg_port_explain(protocol, address, code, error) : 0;
}
