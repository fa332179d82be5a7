/*
 * socket.bpf.c: sk_reuseport: the same pick, for datagrams that come up the stack.
 *
 * Runs once per datagram on each listener's SO_REUSEPORT group, after the stack has reassembled,
 * skipped options and extension headers, and cut to the UDP length. The data begins at the UDP
 * header and may be paged, so it is read through helpers. What must get no answer goes to the
 * listener's sink, a socket whose filter drops everything: SK_DROP would be answered by the stack
 * with an ICMP "port unreachable", and SK_PASS without a selected socket would let it choose one.
 */
#include "bpf/steer.h"

struct fg_udp_head {
	struct udphdr udp;
	__u64 wire[3]; /* our header up to the affinity key */
};
_Static_assert(sizeof(struct fg_udp_head) == 8 + FG_WIRE_AFFINITY_OFFSET + 8, "wire");

/* An IPv4 datagram may well arrive on an IPv6 socket: the packet says what it is. */
static __always_inline bool fg_load_addresses(struct sk_reuseport_md *reuse,
					      struct fg_datagram *datagram)
{
	__u32 v4[2];

	datagram->is_v6 = reuse->eth_protocol == bpf_htons(ETH_P_IPV6);
	if (datagram->is_v6)
		return !bpf_skb_load_bytes_relative(reuse,
						    __builtin_offsetof(struct ipv6hdr, saddr),
						    datagram, 32, BPF_HDR_START_NET); /* both */
	if (bpf_skb_load_bytes_relative(reuse, __builtin_offsetof(struct iphdr, saddr), v4,
					sizeof(v4), BPF_HDR_START_NET))
		return false;
	fg_map_v4(datagram->saddr, v4[0]);
	fg_map_v4(datagram->daddr, v4[1]);
	return true;
}

/* The stack delivers what no reply can reach: from port 0, and from ::, which a reply would take
 * for this host. */
static __always_inline bool fg_has_source(const struct fg_datagram *datagram)
{
	return datagram->sport &&
	       (datagram->saddr[0] | datagram->saddr[1] | datagram->saddr[2] | datagram->saddr[3]);
}

static __always_inline int fg_give(struct sk_reuseport_md *reuse, __u32 row, __u32 listener)
{
	__u32 index = row * FG_MAX_LISTENERS + listener;

	return bpf_sk_select_reuseport(reuse, &socks_udp, &index, 0) ? SK_DROP : SK_PASS;
}

static __always_inline int fg_sink(struct sk_reuseport_md *reuse, __u32 listener, __u32 counter)
{
	fg_count(counter);
	return fg_give(reuse, FG_SINK_ROW, listener);
}

SEC("sk_reuseport")
int fg_socket(struct sk_reuseport_md *reuse)
{
	const struct fg_service *service;
	struct fg_datagram datagram;
	struct fg_udp_head head;
	__u32 slot, listener;

	if (bpf_skb_load_bytes(reuse, 0, &head.udp, sizeof(head.udp)) ||
	    !fg_load_addresses(reuse, &datagram))
		return SK_DROP; /* never: the stack has read both */
	datagram.sport = head.udp.source;
	datagram.dport = head.udp.dest;
	service = fg_find_listener(&datagram, IPPROTO_UDP);
	if (!service)
		return SK_DROP; /* never: the group's sockets are bound to listeners */
	listener = service->listener;
	if (reuse->len < sizeof(struct udphdr) + FG_WIRE_HEADER_BYTES ||
	    bpf_skb_load_bytes(reuse, sizeof(head.udp), head.wire, sizeof(head.wire)))
		return fg_sink(reuse, listener, FG_COUNTER_SOCK_DROP_SHORT);
	if (!fg_is_request(head.wire[0]))
		return fg_sink(reuse, listener, FG_COUNTER_SOCK_DROP_MAGIC);
	if (!fg_has_source(&datagram))
		return fg_sink(reuse, listener, FG_COUNTER_SOCK_DROP_SOURCE);
	if (fg_is_denied(datagram.saddr))
		return fg_sink(reuse, listener, FG_COUNTER_SOCK_DROP_ACL);
	datagram.affinity = head.wire[2];
	slot = fg_pick(service->service, fg_flow_hash(&datagram, service->service));
	if (slot >= FG_MAX_SLOTS || fg_give(reuse, slot, listener) == SK_DROP)
		return fg_sink(reuse, listener, FG_COUNTER_SOCK_DROP_NO_SLOT);
	fg_count(FG_COUNTER_SOCK_STEERED);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
