/*
 * abi.h: the only contract between the BPF programs and user space.
 *
 * Every struct here is the key or the value of a map that is pinned under bpffs
 * (docs/maps.md says how to read them with bpftool). Sizes and offsets are asserted on both
 * sides. Nothing here may change meaning without a new FG_ABI_VERSION.
 */
#ifndef FG_BPF_ABI_H
#define FG_BPF_ABI_H

#include <linux/types.h>

#define FG_ABI_VERSION	 5

#define FG_MAX_SERVICES	 16 /* entries of `live` */
#define FG_MAX_SLOTS	 64 /* entries of `slots`; a worker stands in one */
#define FG_MAX_QUEUES	 16 /* interface queues; `xsks`: slot * FG_MAX_QUEUES + queue */
#define FG_MAX_LISTENERS 8  /* addresses of each protocol; `socks_*`: row * this + listener */
#define FG_SINK_ROW	 FG_MAX_SLOTS /* other rows are slots; here: sockets that drop everything */
#define FG_XSK_MAX_BYTES 3840	      /* of an Ethernet frame: a UMEM frame less XDP's headroom */
#define FG_MAX_ACL	 4096
#define FG_BUCKETS_LOG2	 18 /* default; the map is resized before load, see fg_bpf_config */
#define FG_SLOT_NONE	 0xffff

/*
 * Positions in a steering table: prime, as Maglev needs, and over 100 per worker with all slots
 * in use, so that no worker's share is more than 2 % off (Eisenbud et al., "Maglev", NSDI 2016,
 * section 3.4).
 */
#define FG_TABLE_PRIME 8191

/*
 * `services` ARRAY, an open-addressed hash table: the address a datagram is sent to, or a
 * connection opened to. An ARRAY, because its lookup is inlined, while the kernel's HASH costs as
 * much as the rest of the pick. IPv4 stands as ::ffff:a.b.c.d.
 *
 * A wildcard listener stands under ::ffff:0.0.0.0 (IPv4) or :: (IPv6, and IPv4 unless the socket is
 * IPV6_V6ONLY). Only the programs in the stack look there (exact, own family's wildcard, ::, as the
 * stack itself does), because only the stack knows which addresses are local.
 *
 * Each exact UDP address stands here a second time with port 0 and proto FG_PROTO_ANY: where the
 * ports of a packet cannot be read (fragments, extension headers), XDP still knows that it may be
 * ours. The programs for TCP run behind reassembly and need no such row.
 */
struct fg_service {
	__u32 addr[4];	/* network order */
	__u16 port;	/* network order */
	__u8 proto;	/* IPPROTO_UDP, IPPROTO_TCP or FG_PROTO_ANY; 0: the row is free */
	__u8 service;	/* < FG_MAX_SERVICES, index into `live` */
	__u32 listener; /* < FG_MAX_LISTENERS, counted for each protocol */
};
#define FG_PROTO_ANY 255

/* The row to look in first, then the next FG_SERVICE_PROBES - 1; a free row ends the search. Rows
 * are never removed; one that is being added matches nothing before its last word is written. */
#define FG_SERVICE_ROWS	  1024 /* a power of two, 4 times what can be in use */
#define FG_SERVICE_PROBES 8
static inline __u32 fg_service_row(const __u32 addr[4], __u16 port)
{
	return ((addr[0] ^ addr[1] ^ addr[2] ^ addr[3] ^ (__u32)port << 8) * 0x9e3779b1U) >> 22;
}

/* What a slot may do. A new flow needs SERVING; a flow in its bucket needs SERVING, or DRAINING
 * that does not last for flow_idle yet, or DRAINING and the bucket's print. */
enum fg_slot_state {
	FG_SLOT_FREE = 0,     /* nobody, or a worker that is not ready */
	FG_SLOT_SERVING = 1,  /* takes new flows where a table names it */
	FG_SLOT_DRAINING = 2, /* keeps its flows until they are idle, takes no new ones */
	FG_SLOT_RETIRED = 3,  /* its flows move at their next request; the worker finishes */
};

/* `slots` ARRAY (BPF_F_MMAPABLE): 8 bytes, read and written whole. */
union fg_slot {
	struct {
		__u16 generation; /* low 16 bits of the generation's number; never 0 for a worker */
		__u16 state;	  /* enum fg_slot_state */
		__u32 since;	  /* DRAINING: kernel tick when that began; else 0 */
	};
	__u64 word;
};

/*
 * The single element of the inner map that `live[service]` points at. Immutable once it is live.
 * A position holds FG_SLOT_NONE only where the table has no worker at all.
 */
struct fg_table {
	__u32 serial; /* number of this table, upward per service */
	__u32 seed;   /* of the Maglev permutations, the same for all tables of a service */
	__u16 slot[FG_TABLE_PRIME];
	__u16 pad;
};

/*
 * `buckets` ARRAY (BPF_F_MMAPABLE): 8 bytes, read and written whole. All zero: never used.
 *
 * The print tells the flow that began on this generation from one in 256 others that meet its
 * bucket, by the highest bits of the hash, which choose neither bucket nor position. Who began
 * after a flip is not kept by a bucket that others keep warm, and does not take it from them.
 */
union fg_bucket {
	struct {
		__u8 slot;
		__u8 print;	  /* of the flow that claimed the bucket */
		__u16 generation; /* fg_slot.generation of that slot when the flow began */
		__u32 seen;	  /* kernel tick of the last request, low 32 bits; wraps */
	};
	__u64 word;
};

/*
 * Time is counted in kernel ticks (jiffies): the program reads them with one load, where even the
 * coarse clock is a call. Is a flow idle at `now` that was last seen at `seen`? Another CPU may
 * see the next tick a moment earlier, so a flow seen "in the future" is fresh, not 2^32 ticks old.
 */
#define FG_TICK_SLACK 16
static inline int fg_flow_is_idle(__u32 seen, __u32 now, __u32 idle_ticks)
{
	return now - seen + FG_TICK_SLACK >= idle_ticks + FG_TICK_SLACK;
}

/* `acl` LPM_TRIE, longest prefix of the source address wins; no match: allow. */
struct fg_acl_key {
	__u32 prefix_bits; /* 0..128, over the 16 bytes; IPv4 as ::ffff:a.b.c.d, so 96 + bits */
	__u8 addr[16];
};

enum fg_acl_action {
	FG_ACL_ALLOW = 0,
	FG_ACL_DENY = 1,
};

/*
 * `counters` PERCPU_ARRAY of u64. X(NAME, "name in status and metrics", "what it counts").
 * Every packet that XDP sees raises exactly one of the xdp_* counters that are not xdp_flow_*;
 * every datagram that the socket program sees raises exactly one sock_* counter likewise; every
 * TCP packet that belongs to no connection (a SYN, the ACK of a SYN cookie) exactly one of
 * tcp_steered, tcp_pass_other, tcp_drop_*; every connection that lost its listener one of
 * tcp_moved, tcp_lost.
 */
#define FG_COUNTERS(X)                                                                             \
	X(XDP_STEERED, "xdp_steered", "datagrams redirected to a worker's AF_XDP socket")          \
	X(XDP_PASS_OTHER, "xdp_pass_other", "packets that are not for a service of ours")          \
	X(XDP_PASS_STACK, "xdp_pass_stack", "ours, but in parts, with options, several in one")    \
	X(XDP_PASS_FRAME, "xdp_pass_frame", "ours, but to another MAC or in a VLAN: the stack's")  \
	X(XDP_PASS_SOURCE, "xdp_pass_source", "ours, but from nobody or this host: the stack's")   \
	X(XDP_PASS_NO_XSK, "xdp_pass_no_xsk", "ours, but the worker has no AF_XDP socket here")    \
	X(XDP_DROP_SHORT, "xdp_drop_short", "shorter than our header, or than they say")           \
	X(XDP_DROP_MAGIC, "xdp_drop_magic", "wrong magic, version or type")                        \
	X(XDP_DROP_CHECKSUM, "xdp_drop_checksum", "wrong checksum of the IPv4 header")             \
	X(XDP_DROP_ACL, "xdp_drop_acl", "source address denied")                                   \
	X(XDP_DROP_NO_SLOT, "xdp_drop_no_slot", "no serving worker")                               \
	X(SOCK_STEERED, "sock_steered", "datagrams given to a worker's UDP socket")                \
	X(SOCK_DROP_SHORT, "sock_drop_short", "shorter than our header")                           \
	X(SOCK_DROP_MAGIC, "sock_drop_magic", "wrong magic, version or type")                      \
	X(SOCK_DROP_SOURCE, "sock_drop_source", "from port 0 or ::, which no reply can reach")     \
	X(SOCK_DROP_ACL, "sock_drop_acl", "source address denied")                                 \
	X(SOCK_DROP_NO_SLOT, "sock_drop_no_slot", "no serving worker")                             \
	X(TCP_STEERED, "tcp_steered", "beginnings of connections given to a worker's listener")    \
	X(TCP_PASS_OTHER, "tcp_pass_other", "beginnings that are not for a service of ours")       \
	X(TCP_DROP_ACL, "tcp_drop_acl", "source address denied")                                   \
	X(TCP_DROP_NO_SLOT, "tcp_drop_no_slot", "no serving worker")                               \
	X(TCP_MOVED, "tcp_moved", "connections moved, not yet accepted, when their worker went")   \
	X(TCP_LOST, "tcp_lost", "the same, but no worker served: reset")                           \
	X(FLOW_NEW, "flow_new", "flows begun or begun again after flow_idle (in either program)")  \
	X(FLOW_MOVED, "flow_moved", "flows moved before they were idle: worker gone or deadline")

enum fg_counter {
#define FG_COUNTER_ENUM(name, label, help) FG_COUNTER_##name,
	FG_COUNTERS(FG_COUNTER_ENUM)
#undef FG_COUNTER_ENUM
		FG_COUNTER_COUNT
};

/* Set in read-only data before load, the same in both programs. */
struct fg_bpf_config {
	__u32 buckets_mask; /* number of buckets - 1, a power of two - 1 */
	__u32 idle_ticks;   /* flow_idle in kernel ticks, 1 .. 2^30 */
	__u32 acl_enabled;  /* 0 or 1; 0 skips the lookup */
	__u32 pad;
	__u64 hash_key[2]; /* of the flow hash; random with each start */
};

/*
 * `host` ARRAY, one element (the ingress program's `.bss`: read without a lookup): what XDP knows
 * of this host. Where the keeper is late, or a bit stands for two addresses, frames go up the
 * stack.
 */
#define FG_HOST_BITS                                                                               \
	32768 /* with ten addresses, one stranger in 3,277 is taken for one of them                \
	       */
struct fg_host {
	__u64 mac;     /* the interface's, as the first 6 bytes of a frame, in the word's upper 6 */
	__u64 generic; /* 1: XDP runs on skbs, and one of them may hold several datagrams */
	__u64 addresses[FG_HOST_BITS / 64]; /* fg_host_bit() of own and broadcast addresses: set */
};
static inline __u32 fg_host_bit(__u32 folded) /* the address's four words, xor-ed */
{
	return folded * 0x9e3779b1U >> 17;
}

/*
 * What is hashed, with SipHash-1-3 (siphash.h; fg_bpf_config.hash_key): exactly one of these, by
 * length, whole struct, no padding. `service` tells services apart, `kind` keeps an affinity key
 * from colliding with a tuple by design. The low 32 bits of the hash choose the table position,
 * ((u64)low * FG_TABLE_PRIME) >> 32; the high 32 bits, masked, the bucket.
 */
struct fg_flow_affinity { /* 16 bytes */
	__u64 key;	  /* as on the wire, little-endian */
	__u32 service;
	__u32 kind; /* FG_FLOW_AFFINITY */
};
struct fg_flow_v4 {	    /* 16 bytes */
	__u32 saddr, daddr; /* network order */
	__u16 sport, dport; /* network order */
	__u16 service;
	__u16 kind; /* FG_FLOW_V4 */
};
struct fg_flow_v6 { /* 40 bytes */
	__u8 saddr[16], daddr[16];
	__u16 sport, dport;
	__u16 service;
	__u16 kind; /* FG_FLOW_V6 */
};
enum { FG_FLOW_AFFINITY = 1, FG_FLOW_V4 = 2, FG_FLOW_V6 = 3 };

/* The part of our wire header (userspace/protocol/wire.h) that steering reads. */
#define FG_WIRE_MAGIC		0x31504746 /* "FGP1" */
#define FG_WIRE_VERSION		1
#define FG_WIRE_REQUEST		1
#define FG_WIRE_HEADER_BYTES	64
#define FG_WIRE_AFFINITY_OFFSET 16
#define FG_WIRE_PAYLOAD_OFFSET	48 /* of payload_bytes */

_Static_assert(sizeof(struct fg_service) == 24, "abi");
_Static_assert(FG_SERVICE_ROWS == 1 << (32 - 22), "abi: fg_service_row");
_Static_assert(FG_HOST_BITS == 1 << (32 - 17), "abi: fg_host_bit");
_Static_assert(sizeof(union fg_slot) == 8, "abi");
_Static_assert(sizeof(union fg_bucket) == 8, "abi");
_Static_assert(sizeof(struct fg_table) == 8 + 2 * (FG_TABLE_PRIME + 1), "abi");
_Static_assert(sizeof(struct fg_acl_key) == 20, "abi");
_Static_assert(sizeof(struct fg_flow_affinity) == 16, "abi");
_Static_assert(sizeof(struct fg_flow_v4) == 16, "abi");
_Static_assert(sizeof(struct fg_flow_v6) == 40, "abi");

#endif
