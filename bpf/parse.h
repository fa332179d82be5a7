/*
 * parse.h: from the bytes of a frame to a datagram, for XDP.
 *
 * Understood in XDP: Ethernet, up to two VLAN tags (802.1Q, 802.1ad), IPv4 without options, IPv6
 * without extension headers, not fragmented, UDP. All else is left to the stack, which reads every
 * form of IP; the socket program sees the datagram there, whole.
 *
 * VLAN tags are skipped and noted. Who the frame is for and from is host.h's; the UDP checksum is
 * the worker's.
 */
#ifndef FG_BPF_PARSE_H
#define FG_BPF_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include "bpf/abi.h"

/* What steering must know of a datagram. Both programs fill this, so both pick alike. */
struct fg_datagram {
	__u32 saddr[4], daddr[4]; /* network order; IPv4 as ::ffff:a.b.c.d */
	__u16 sport, dport;	  /* network order */
	bool is_v6;
	__u64 affinity; /* 0: none */
};

enum fg_shape {
	FG_SHAPE_OTHER,	   /* not UDP over IP: nothing is filled */
	FG_SHAPE_STACK,	   /* may be UDP, in a form that only the stack reads: daddr, saddr */
	FG_SHAPE_DATAGRAM, /* UDP header inside the frame: all but the affinity */
};

/* Where the UDP part stands in a frame. */
struct fg_udp_part {
	struct udphdr *header;
	__s32 room;  /* bytes of it that IP announces, header included; may be negative */
	bool tagged; /* the frame has VLAN tags */
};

enum fg_request {
	FG_REQUEST_OURS,
	FG_REQUEST_PADDED, /* ours, and more behind its payload */
	FG_REQUEST_SHORT,
	FG_REQUEST_FOREIGN,
};

struct fg_vlan {
	__be16 tci, type;
};

#define FG_IPV4_FRAGMENT 0x3fff /* more fragments | offset */

static __always_inline void fg_map_v4(__u32 out[4], __u32 addr)
{
	out[0] = 0;
	out[1] = 0;
	out[2] = bpf_htonl(0xffff);
	out[3] = addr;
}

static __always_inline enum fg_shape fg_parse_ports(struct udphdr *udp, void *end,
						    struct fg_datagram *datagram)
{
	if ((void *)(udp + 1) > end)
		return FG_SHAPE_STACK;
	datagram->sport = udp->source;
	datagram->dport = udp->dest;
	return FG_SHAPE_DATAGRAM;
}

static __always_inline enum fg_shape fg_parse_v4(void *at, void *end, struct fg_datagram *datagram,
						 struct fg_udp_part *part)
{
	struct iphdr *ip = at;

	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP)
		return FG_SHAPE_OTHER;
	datagram->is_v6 = false;
	fg_map_v4(datagram->saddr, ip->saddr);
	fg_map_v4(datagram->daddr, ip->daddr);
	if (*(__u8 *)at != 0x45 || ip->frag_off & bpf_htons(FG_IPV4_FRAGMENT))
		return FG_SHAPE_STACK;
	part->header = (void *)(ip + 1);
	part->room = (__s32)bpf_ntohs(ip->tot_len) - (__s32)sizeof(*ip);
	return fg_parse_ports(part->header, end, datagram);
}

/* The extension headers of RFC 8200 and their like, behind which UDP may stand. */
static __always_inline bool fg_is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_AH || next == IPPROTO_MH;
}

static __always_inline enum fg_shape fg_parse_v6(void *at, void *end, struct fg_datagram *datagram,
						 struct fg_udp_part *part)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > end)
		return FG_SHAPE_OTHER;
	datagram->is_v6 = true;
	__builtin_memcpy(datagram->saddr, &ip->saddr, 16);
	__builtin_memcpy(datagram->daddr, &ip->daddr, 16);
	if (ip->nexthdr != IPPROTO_UDP)
		return fg_is_extension(ip->nexthdr) ? FG_SHAPE_STACK : FG_SHAPE_OTHER;
	part->header = (void *)(ip + 1);
	part->room = bpf_ntohs(ip->payload_len);
	return fg_parse_ports(part->header, end, datagram);
}

/* Reads the headers of the frame [at, end). */
static __always_inline enum fg_shape fg_parse(void *at, void *end, struct fg_datagram *datagram,
					      struct fg_udp_part *part)
{
	struct ethhdr *ethernet = at;
	__be16 type;

	if ((void *)(ethernet + 1) > end)
		return FG_SHAPE_OTHER;
	type = ethernet->h_proto;
	at = ethernet + 1;
#pragma clang loop unroll(full)
	for (int tags = 0; tags < 2; tags++) {
		struct fg_vlan *vlan = at;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > end)
			return FG_SHAPE_OTHER;
		type = vlan->type;
		at = vlan + 1;
		part->tagged = true;
	}
	if (type == bpf_htons(ETH_P_IP))
		return fg_parse_v4(at, end, datagram, part);
	if (type == bpf_htons(ETH_P_IPV6))
		return fg_parse_v6(at, end, datagram, part);
	return FG_SHAPE_OTHER;
}

/* Is this the start of a request: magic, version and type, the first 6 of these 8 bytes? */
static __always_inline bool fg_is_request(__u64 head)
{
	return (head & 0xffffffffffff) ==
	       (FG_WIRE_MAGIC | (__u64)FG_WIRE_VERSION << 32 | (__u64)FG_WIRE_REQUEST << 40);
}

/*
 * Reads our header behind the UDP header; fills datagram->affinity when it is ours. The UDP length
 * must lie within the frame and within what IP announces, and hold our header; bytes behind it are
 * Ethernet's padding.
 */
static __always_inline enum fg_request fg_parse_request(const struct fg_udp_part *part, void *end,
							struct fg_datagram *datagram)
{
	void *header = part->header + 1;
	__s64 payload;
	__s32 length;

	if (header + FG_WIRE_HEADER_BYTES > end)
		return FG_REQUEST_SHORT;
	length = bpf_ntohs(part->header->len);
	if (length < (__s32)sizeof(struct udphdr) + FG_WIRE_HEADER_BYTES || length > part->room ||
	    (void *)part->header + length > end)
		return FG_REQUEST_SHORT;
	if (!fg_is_request(*(__u64 *)header))
		return FG_REQUEST_FOREIGN;
	datagram->affinity = *(__u64 *)(header + FG_WIRE_AFFINITY_OFFSET);
	payload = *(__u32 *)(header + FG_WIRE_PAYLOAD_OFFSET);
	return length > payload + (__s64)sizeof(struct udphdr) + FG_WIRE_HEADER_BYTES
		       ? FG_REQUEST_PADDED
		       : FG_REQUEST_OURS;
}

#endif
