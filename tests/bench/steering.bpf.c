/*
 * steering.bpf.c: the programs that bench_steering.c times.
 *
 * Each comes thrice: over one packet, over a million flows at random, over flows that are all new.
 * The packet itself carries the generator's state (in the request id), so choosing a flow costs two
 * loads, a multiplication and two stores, in the reference as in the measured program.
 */
#include "bpf/ingress.bpf.c"

/* Ethernet, IPv4 without options, UDP: the one packet that the benchmark sends. */
struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	__u8 wire[24];
	__u64 state; /* the request id */
} __attribute__((packed));

/* A flow table as one would make it with the kernel's LRU hash: a million flows. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, struct fg_flow_v4);
	__type(value, union fg_bucket);
} flows SEC(".maps");

static __always_inline struct frame *frame_of(struct xdp_md *ctx)
{
	struct frame *frame = (void *)(long)ctx->data;

	return (void *)(frame + 1) > (void *)(long)ctx->data_end ? NULL : frame;
}

/* The header's checksum follows its source (RFC 1624, equation 3). */
static __always_inline void set_source(struct frame *frame, __u32 saddr)
{
	__u32 old = ~frame->ip.saddr, sum = (__u16)~frame->ip.check;

	sum += (old & 0xffff) + (old >> 16) + (saddr & 0xffff) + (saddr >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	frame->ip.saddr = saddr;
	frame->ip.check = ~(sum + (sum >> 16));
}

/* One of 2^20 flows, from 10.0.0.0/8 (constants: Knuth, "MMIX"). */
static __always_inline void random_flow(struct xdp_md *ctx)
{
	struct frame *frame = frame_of(ctx);

	if (!frame)
		return;
	frame->state = frame->state * 6364136223846793005ULL + 1442695040888963407ULL;
	set_source(frame, (frame->state >> 44) << 8 | 10);
}

/* A flow that never was. */
static __always_inline void new_flow(struct xdp_md *ctx)
{
	struct frame *frame = frame_of(ctx);

	if (!frame)
		return;
	frame->state++;
	set_source(frame, frame->state << 8 | 10);
	frame->udp.source = frame->state >> 24 | 1;
}

/* What any such program must do at least: read the headers, and pass. */
static __always_inline int parse_only(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct fg_datagram datagram = {};
	struct fg_udp_part part = {};

	if (fg_parse((void *)(long)ctx->data, end, &datagram, &part) != FG_SHAPE_DATAGRAM)
		return XDP_DROP;
	if (fg_parse_request(&part, end, &datagram) != FG_REQUEST_OURS)
		return XDP_DROP;
	return XDP_PASS;
}

/* The least that a pick from a table of this size can cost: parse, hash, load one word. */
static __always_inline int touch(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct fg_datagram datagram = {};
	struct fg_udp_part part = {};
	union fg_bucket *bucket;
	__u32 index;

	if (fg_parse((void *)(long)ctx->data, end, &datagram, &part) != FG_SHAPE_DATAGRAM)
		return XDP_DROP;
	if (fg_parse_request(&part, end, &datagram) != FG_REQUEST_OURS)
		return XDP_DROP;
	index = (fg_flow_hash(&datagram, 0) >> 32) & fg_config.buckets_mask;
	bucket = bpf_map_lookup_elem(&buckets, &index);
	return bucket && FG_READ_WORD(bucket->word) != 1 ? XDP_PASS : XDP_DROP;
}

/* fg_pick over `flows` in place of `buckets`. */
static __always_inline __u32 pick_lru(const struct fg_datagram *datagram, __u32 service, __u64 hash)
{
	struct fg_flow_v4 key = {.saddr = datagram->saddr[3],
				 .daddr = datagram->daddr[3],
				 .sport = datagram->sport,
				 .dport = datagram->dport,
				 .service = service,
				 .kind = FG_FLOW_V4};
	union fg_bucket *flow = bpf_map_lookup_elem(&flows, &key), word;
	__u32 now = fg_now();

	if (flow) {
		word.word = FG_READ_WORD(flow->word);
		if (!fg_flow_is_idle(word.seen, now, fg_config.idle_ticks) &&
		    fg_bucket_use(word, hash, now) == FG_BUCKET_KEEPS) {
			if (fg_flow_is_idle(word.seen, now, fg_config.idle_ticks / 8))
				flow->seen = now;
			return word.slot;
		}
	}
	word.word = 0;
	if (!fg_find_slot(service, hash, &word))
		return FG_SLOT_NONE;
	word.seen = now;
	bpf_map_update_elem(&flows, &key, &word, BPF_ANY);
	fg_count(FG_COUNTER_FLOW_NEW);
	return word.slot;
}

static __always_inline int steer_lru(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	const struct fg_service *service;
	struct fg_datagram datagram = {};
	struct fg_udp_part part = {};

	if (fg_parse((void *)(long)ctx->data, end, &datagram, &part) != FG_SHAPE_DATAGRAM)
		return XDP_DROP;
	service = fg_find_service(datagram.daddr, datagram.dport, IPPROTO_UDP);
	if (!service || fg_parse_request(&part, end, &datagram) != FG_REQUEST_OURS)
		return XDP_DROP;
	return fg_redirect(ctx, pick_lru(&datagram, service->service,
					 fg_flow_hash(&datagram, service->service)));
}

#define PROGRAMS(name, prepare)                                                                    \
	SEC("xdp")                                                                                 \
	int parse_##name(struct xdp_md *ctx)                                                       \
	{                                                                                          \
		prepare;                                                                           \
		return parse_only(ctx);                                                            \
	}                                                                                          \
	SEC("xdp")                                                                                 \
	int touch_##name(struct xdp_md *ctx)                                                       \
	{                                                                                          \
		prepare;                                                                           \
		return touch(ctx);                                                                 \
	}                                                                                          \
	SEC("xdp")                                                                                 \
	int steer_##name(struct xdp_md *ctx)                                                       \
	{                                                                                          \
		prepare;                                                                           \
		return fg_ingress_steer(ctx);                                                      \
	}                                                                                          \
	SEC("xdp")                                                                                 \
	int lru_##name(struct xdp_md *ctx)                                                         \
	{                                                                                          \
		prepare;                                                                           \
		return steer_lru(ctx);                                                             \
	}

PROGRAMS(one, (void)0)
PROGRAMS(random, random_flow(ctx))
PROGRAMS(new, new_flow(ctx))
