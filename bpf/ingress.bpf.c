/*
 * ingress.bpf.c: XDP: requests go straight to the AF_XDP socket of the worker that steer.h picks.
 *
 * Every packet raises exactly one xdp_* counter. What is not ours, and what of ours needs the
 * stack's help, passes; what is addressed to a service but is no request of our protocol is dropped
 * here.
 */
#include "bpf/host.h"
#include "bpf/steer.h"

static __always_inline int fg_verdict(__u32 counter, int action)
{
	fg_count(counter);
	return action;
}

static __always_inline int fg_redirect(struct xdp_md *ctx, __u32 slot)
{
	__u32 queue = ctx->rx_queue_index;
	int action;

	if (slot >= FG_MAX_SLOTS)
		return fg_verdict(FG_COUNTER_XDP_DROP_NO_SLOT, XDP_DROP);
	if (queue >= FG_MAX_QUEUES)
		return fg_verdict(FG_COUNTER_XDP_PASS_NO_XSK, XDP_PASS);
	action = bpf_redirect_map(&xsks, slot * FG_MAX_QUEUES + queue, XDP_PASS);
	return fg_verdict(action == XDP_REDIRECT ? FG_COUNTER_XDP_STEERED
						 : FG_COUNTER_XDP_PASS_NO_XSK,
			  action);
}

static __always_inline int fg_ingress_steer(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct fg_service *service;
	struct fg_datagram datagram = {};
	struct fg_udp_part part = {};
	enum fg_shape shape;

	shape = fg_parse(frame, end, &datagram, &part);
	if (shape == FG_SHAPE_OTHER)
		return fg_verdict(FG_COUNTER_XDP_PASS_OTHER, XDP_PASS);
	service = shape == FG_SHAPE_DATAGRAM
			  ? fg_find_service(datagram.daddr, datagram.dport, IPPROTO_UDP)
			  : fg_find_service(datagram.daddr, 0, FG_PROTO_ANY);
	if (!service)
		return fg_verdict(FG_COUNTER_XDP_PASS_OTHER, XDP_PASS);
	if (part.tagged || !fg_is_to_us(frame))
		return fg_verdict(FG_COUNTER_XDP_PASS_FRAME, XDP_PASS);
	if (fg_is_denied(datagram.saddr))
		return fg_verdict(FG_COUNTER_XDP_DROP_ACL, XDP_DROP);
	if (shape == FG_SHAPE_STACK || end - frame > FG_XSK_MAX_BYTES)
		return fg_verdict(FG_COUNTER_XDP_PASS_STACK, XDP_PASS);
	if (!datagram.is_v6 && !fg_is_header_sound((struct iphdr *)part.header - 1))
		return fg_verdict(FG_COUNTER_XDP_DROP_CHECKSUM, XDP_DROP);
	if (datagram.is_v6 ? fg_is_from_nobody_v6(&datagram) : fg_is_from_nobody_v4(&datagram))
		return fg_verdict(FG_COUNTER_XDP_PASS_SOURCE, XDP_PASS);
	switch (fg_parse_request(&part, end, &datagram)) {
	case FG_REQUEST_SHORT:
		return fg_verdict(FG_COUNTER_XDP_DROP_SHORT, XDP_DROP);
	case FG_REQUEST_FOREIGN:
		return fg_verdict(FG_COUNTER_XDP_DROP_MAGIC, XDP_DROP);
	case FG_REQUEST_PADDED:
		/* Or the first of several datagrams that the stack would take apart (UDP_SEGMENT,
		 * GRO); lengths and headers look the same. */
		if (fg_host.generic)
			return fg_verdict(FG_COUNTER_XDP_PASS_STACK, XDP_PASS);
		break;
	case FG_REQUEST_OURS:
		break;
	}
	return fg_redirect(ctx,
			   fg_pick(service->service, fg_flow_hash(&datagram, service->service)));
}

SEC("xdp")
int fg_ingress(struct xdp_md *ctx)
{
	return fg_ingress_steer(ctx);
}

/* For user space, by BPF_PROG_TEST_RUN: the tick that buckets are stamped with. */
SEC("xdp")
int fg_clock(struct xdp_md *ctx)
{
	(void)ctx;
	return fg_now();
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
