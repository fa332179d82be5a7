/*
 * lookup.bpf.c: TCP: which worker's listener gets a new connection, and who inherits one that was
 * not accepted when its worker went.
 *
 * fg_lookup (sk_lookup) runs for each packet that belongs to no connection yet: SYNs, and ACKs that
 * answer a SYN cookie. It takes step 3 of the pick alone. REPLACE, because of several such programs
 * the last one's choice counts, and that is the gateway that is taking over (predecessor.h). All
 * listeners of an address, whatever their generation, are one SO_REUSEPORT group, because the stack
 * remembers for the whole group that it has sent cookies: the ACK of a cookie may reach another
 * listener than the SYN did, and is believed there. NO_REUSEPORT, because the group would choose
 * again otherwise.
 *
 * What must get no answer goes to the sink, a listener whose filter drops everything, as in
 * socket.bpf.c: SK_DROP would be answered with a RST. So a client that comes while no worker
 * serves (the only one died, say) is not refused: it repeats its SYN after a second, and then
 * somebody serves again. If it holds a cookie already, its repeated data brings it in.
 *
 * fg_migrate (sk_reuseport, of those groups) never chooses for a packet. The stack asks it when a
 * listener is closed, once for each connection in its accept queue, and when the last ACK of a
 * handshake or the time to repeat a SYN-ACK comes to a closed listener. Without an answer the
 * connection is reset.
 */
#include "bpf/steer.h"
#include <linux/errno.h>

#define AF_INET	 2 /* libc's header does not compile for this target */
#define AF_INET6 10

/* The verifier allows only loads at constant offsets from the context. Volatile loads on the
 * straight way keep the compiler from making one of two that stand in different branches. Where a
 * packet has no such address, the stack gives 0. */
#define FG_LOAD(field) (*(const volatile __u32 *)&(field))
#define FG_LOAD_ADDRESS(field)                                                                     \
	{                                                                                          \
		FG_LOAD((field)[0]), FG_LOAD((field)[1]), FG_LOAD((field)[2]), FG_LOAD((field)[3]) \
	}

static __always_inline void fg_read_tuple(const struct bpf_sk_lookup *lookup,
					  struct fg_datagram *datagram)
{
	__u32 saddr4 = FG_LOAD(lookup->remote_ip4), daddr4 = FG_LOAD(lookup->local_ip4);
	__u32 saddr6[4] = FG_LOAD_ADDRESS(lookup->remote_ip6);
	__u32 daddr6[4] = FG_LOAD_ADDRESS(lookup->local_ip6);

	datagram->is_v6 = lookup->family == AF_INET6;
	datagram->sport = lookup->remote_port;
	datagram->dport = bpf_htons(lookup->local_port);
	datagram->affinity = 0;
	if (datagram->is_v6) {
		__builtin_memcpy(datagram->saddr, saddr6, sizeof(saddr6));
		__builtin_memcpy(datagram->daddr, daddr6, sizeof(daddr6));
	} else {
		fg_map_v4(datagram->saddr, saddr4);
		fg_map_v4(datagram->daddr, daddr4);
	}
}

static __always_inline int fg_assign(struct bpf_sk_lookup *lookup, __u32 row, __u32 listener)
{
	__u32 index = row * FG_MAX_LISTENERS + listener;
	struct bpf_sock *sk = bpf_map_lookup_elem(&socks_tcp, &index);
	long err;

	if (!sk)
		return -ENOENT;
	err = bpf_sk_assign(lookup, sk, BPF_SK_LOOKUP_F_REPLACE | BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	return err;
}

static __always_inline int fg_sink(struct bpf_sk_lookup *lookup, __u32 listener, __u32 counter)
{
	fg_count(counter);
	return fg_assign(lookup, FG_SINK_ROW, listener) ? SK_DROP : SK_PASS;
}

SEC("sk_lookup")
int fg_lookup(struct bpf_sk_lookup *lookup)
{
	const struct fg_service *service;
	struct fg_datagram datagram;
	union fg_bucket found;
	__u32 listener, hash;
	int err = -ENOENT;

	if (lookup->protocol != IPPROTO_TCP)
		return SK_PASS;
	fg_read_tuple(lookup, &datagram);
	service = fg_find_listener(&datagram, IPPROTO_TCP);
	/* Our listeners of [::] are IPV6_V6ONLY: IPv4 at that port is another program's. */
	if (!service || (!datagram.is_v6 && !service->addr[2])) {
		fg_count(FG_COUNTER_TCP_PASS_OTHER);
		return SK_PASS;
	}
	listener = service->listener;
	if (fg_is_denied(datagram.saddr))
		return fg_sink(lookup, listener, FG_COUNTER_TCP_DROP_ACL);
	hash = fg_flow_hash(&datagram, service->service);
	if (fg_find_slot(service->service, hash, &found))
		err = fg_assign(lookup, found.slot, listener);
	if (err)
		return fg_sink(lookup, listener, FG_COUNTER_TCP_DROP_NO_SLOT);
	fg_count(FG_COUNTER_TCP_STEERED);
	return SK_PASS;
}

/* By the connection's own address: a listener that is closed has no port any more. */
static __always_inline const struct fg_service *fg_service_of(const struct bpf_sock *sk)
{
	__u32 daddr4 = FG_LOAD(sk->src_ip4), daddr6[4] = FG_LOAD_ADDRESS(sk->src_ip6);
	struct fg_datagram datagram;

	datagram.is_v6 = sk->family == AF_INET6;
	datagram.dport = bpf_htons(sk->src_port);
	if (datagram.is_v6)
		__builtin_memcpy(datagram.daddr, daddr6, sizeof(daddr6));
	else
		fg_map_v4(datagram.daddr, daddr4);
	return fg_find_listener(&datagram, IPPROTO_TCP);
}

SEC("sk_reuseport/migrate")
int fg_migrate(struct sk_reuseport_md *reuse)
{
	const struct bpf_sock *connection = reuse->migrating_sk;
	const struct fg_service *service;
	union fg_bucket found;
	__u32 index;

	if (!connection)
		return SK_DROP; /* never: fg_lookup has chosen, without the group */
	service = fg_service_of(connection);
	if (service && fg_find_slot(service->service, reuse->hash, &found)) {
		index = found.slot * FG_MAX_LISTENERS + service->listener;
		if (!bpf_sk_select_reuseport(reuse, &socks_tcp, &index, 0)) {
			fg_count(FG_COUNTER_TCP_MOVED);
			return SK_PASS;
		}
	}
	fg_count(FG_COUNTER_TCP_LOST);
	return SK_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
