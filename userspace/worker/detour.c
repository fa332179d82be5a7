#include "userspace/worker/detour.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#define UDP_BYTES      8
#define IPV6_LEAST_MTU 1280
#define IPV4_ADDRESSES 12 /* offset in the header: source, then destination */
#define IPV6_ADDRESSES 8

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

bool fg_detour_is_needed(const struct fg_detour *detour, const struct fg_frame *frame,
			 uint16_t payload_bytes)
{
	uint32_t bytes = frame->transport - ETH_HLEN + UDP_BYTES + payload_bytes;

	return (frame->ipv6 && bytes > IPV6_LEAST_MTU) ||
	       bytes > atomic_load_explicit(detour->mtu, memory_order_relaxed);
}

/* The client's address, and the one of ours that it asked. */
static void read_addresses(const struct fg_detour *detour, const struct fg_frame *frame,
			   union address *client, union address *own)
{
	const uint8_t *ip = frame->bytes + ETH_HLEN, *udp = frame->bytes + frame->transport;

	memset(client, 0, sizeof(*client));
	memset(own, 0, sizeof(*own));
	client->any.sa_family = own->any.sa_family = frame->ipv6 ? AF_INET6 : AF_INET;
	memcpy(&client->v4.sin_port, udp, 2); /* at the same place in both families */
	memcpy(&own->v4.sin_port, udp + 2, 2);
	if (!frame->ipv6) {
		memcpy(&client->v4.sin_addr, ip + IPV4_ADDRESSES, 4);
		memcpy(&own->v4.sin_addr, ip + IPV4_ADDRESSES + 4, 4);
		return;
	}
	memcpy(&client->v6.sin6_addr, ip + IPV6_ADDRESSES, 16);
	memcpy(&own->v6.sin6_addr, ip + IPV6_ADDRESSES + 16, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&client->v6.sin6_addr))
		client->v6.sin6_scope_id = detour->ifindex;
}

static bool is_listener(const struct sockaddr_storage *listener, const union address *own)
{
	const union address *there = (const union address *)listener;

	if (listener->ss_family != own->any.sa_family || there->v4.sin_port != own->v4.sin_port)
		return false;
	if (own->any.sa_family == AF_INET)
		return !there->v4.sin_addr.s_addr ||
		       there->v4.sin_addr.s_addr == own->v4.sin_addr.s_addr;
	return IN6_IS_ADDR_UNSPECIFIED(&there->v6.sin6_addr) ||
	       IN6_ARE_ADDR_EQUAL(&there->v6.sin6_addr, &own->v6.sin6_addr);
}

/* Any socket that may send from there: what matters is the port and, by pktinfo, the address. */
static int find_socket(const struct fg_detour *detour, const union address *own)
{
	for (uint32_t i = 0; i < detour->listener_count; i++)
		if (is_listener(&detour->listeners[i], own))
			return detour->sockets[i];
	return -1;
}

/* A wildcard's socket must be told which address to send from. */
static void put_source(struct msghdr *header, const union address *own)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(header);

	if (own->any.sa_family == AF_INET6) {
		struct in6_pktinfo info = {.ipi6_addr = own->v6.sin6_addr};

		cmsg->cmsg_level = IPPROTO_IPV6;
		cmsg->cmsg_type = IPV6_PKTINFO;
		cmsg->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
	} else {
		struct in_pktinfo info = {.ipi_spec_dst = own->v4.sin_addr};

		cmsg->cmsg_level = IPPROTO_IP;
		cmsg->cmsg_type = IP_PKTINFO;
		cmsg->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
	}
	header->msg_controllen = CMSG_ALIGN(cmsg->cmsg_len);
}

int fg_detour_send(const struct fg_detour *detour, const struct fg_frame *frame,
		   uint16_t payload_bytes)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};
	struct iovec payload = {.iov_base = frame->bytes + frame->transport + UDP_BYTES,
				.iov_len = payload_bytes};
	union address client, own;
	struct msghdr header = {.msg_name = &client,
				.msg_namelen = frame->ipv6 ? sizeof(client.v6) : sizeof(client.v4),
				.msg_iov = &payload,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = sizeof(control)};
	int fd;

	read_addresses(detour, frame, &client, &own);
	fd = find_socket(detour, &own);
	if (fd < 0)
		return -EADDRNOTAVAIL;
	put_source(&header, &own);
	return sendmsg(fd, &header, MSG_DONTWAIT) < 0 ? -errno : 0;
}
