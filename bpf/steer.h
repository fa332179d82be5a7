/*
 * steer.h: the pick: which worker's slot gets a datagram or a connection. The same code in every
 * program.
 *
 *   admit:  datagram -> service (services), source address -> allowed (acl)
 *   pick:   1. hash the flow: the affinity key if there is one, else the 5-tuple;
 *           2. its bucket holds a slot that still keeps its flows, and is not idle: that slot;
 *           3. else the slot at the hash's position in the live table, put into the bucket by
 *              compare-and-swap; who loses the race follows the winner.
 *
 * Nothing is inserted or evicted, so memory is fixed and a flood of new flows can push nobody out.
 * Flows that share a bucket stay together, but for this: a slot that has drained for flow_idle
 * keeps only the flow that claimed the bucket, and others that meet it get what the live table
 * says, without the bucket. So whoever keeps buckets warm keeps nobody else from a new version for
 * longer, and moves nobody. A TCP connection takes step 3 alone: the stack itself keeps it where it
 * is.
 */
#ifndef FG_BPF_STEER_H
#define FG_BPF_STEER_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include "bpf/abi.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/siphash.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "hashed words and the wire are little-endian");

/* Written by user space before load; the verifier sees constants. */
const volatile struct fg_bpf_config fg_config;

/* How many table positions are tried for a slot that serves. With half of all workers dead, and no
 * new table yet, one flow in 65,536 finds none. */
#define FG_PROBES     16
#define FG_PROBE_STEP 3571 /* < FG_TABLE_PRIME: an own position for each probe */

/* One aligned 8-byte access, which cannot tear. */
#define FG_READ_WORD(from)	 (*(const volatile __u64 *)&(from))
#define FG_WRITE_WORD(to, value) (*(volatile __u64 *)&(to) = (value))

static __always_inline void fg_count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		(*value)++;
}

static __always_inline __u32 fg_now(void)
{
	return bpf_jiffies64();
}

/* Who listens at this address; `port` 0 with FG_PROTO_ANY: anybody there? */
static __always_inline const struct fg_service *fg_find_service(const __u32 addr[4], __u16 port,
								__u8 proto)
{
	__u32 row = fg_service_row(addr, port);

	for (int probe = 0; probe < FG_SERVICE_PROBES; probe++) {
		__u32 index = (row + probe) & (FG_SERVICE_ROWS - 1);
		const struct fg_service *service = bpf_map_lookup_elem(&services, &index);

		if (!service || !service->proto)
			return NULL;
		if (service->addr[3] == addr[3] && service->port == port &&
		    service->proto == proto && service->addr[2] == addr[2] &&
		    service->addr[1] == addr[1] && service->addr[0] == addr[0])
			return service;
	}
	return NULL;
}

/* The same for a packet that the stack takes for its own: exact address, own family's wildcard,
 * any, as the stack looks sockets up. */
static __always_inline const struct fg_service *fg_find_listener(const struct fg_datagram *datagram,
								 __u8 proto)
{
	__u32 any[4] = {0, 0, 0, 0};
	const struct fg_service *service;

	service = fg_find_service(datagram->daddr, datagram->dport, proto);
	if (!service && !datagram->is_v6) {
		any[2] = bpf_htonl(0xffff);
		service = fg_find_service(any, datagram->dport, proto);
		any[2] = 0;
	}
	return service ?: fg_find_service(any, datagram->dport, proto);
}

static __always_inline bool fg_is_denied(const __u32 saddr[4])
{
	struct fg_acl_key key = {.prefix_bits = 128};
	__u32 *action;

	if (!fg_config.acl_enabled)
		return false;
	__builtin_memcpy(key.addr, saddr, 16);
	action = bpf_map_lookup_elem(&acl, &key);
	return action && *action == FG_ACL_DENY;
}

/* SipHash-1-3 of one of abi.h's fg_flow_* structs, built as 64-bit words. */
static __always_inline __u64 fg_flow_hash(const struct fg_datagram *datagram, __u16 service)
{
	__u64 ports = datagram->sport | (__u32)datagram->dport << 16 | (__u64)service << 32;
	__u64 words[5];

	if (datagram->affinity || !datagram->is_v6) {
		words[0] = datagram->affinity;
		words[1] = service | (__u64)FG_FLOW_AFFINITY << 32;
		if (!datagram->affinity) {
			words[0] = datagram->saddr[3] | (__u64)datagram->daddr[3] << 32;
			words[1] = ports | (__u64)FG_FLOW_V4 << 48;
		}
		return fg_siphash(words, 2, fg_config.hash_key);
	}
	words[0] = datagram->saddr[0] | (__u64)datagram->saddr[1] << 32;
	words[1] = datagram->saddr[2] | (__u64)datagram->saddr[3] << 32;
	words[2] = datagram->daddr[0] | (__u64)datagram->daddr[1] << 32;
	words[3] = datagram->daddr[2] | (__u64)datagram->daddr[3] << 32;
	words[4] = ports | (__u64)FG_FLOW_V6 << 48;
	return fg_siphash(words, 5, fg_config.hash_key);
}

static __always_inline union fg_slot fg_read_slot(__u32 index)
{
	union fg_slot *entry = bpf_map_lookup_elem(&slots, &index), slot = {.word = 0};

	if (entry)
		slot.word = FG_READ_WORD(entry->word);
	return slot;
}

static __always_inline __u8 fg_print_of(__u64 hash)
{
	return hash >> 56;
}

/* What a bucket that is not idle is to a flow that meets it. */
enum fg_bucket_use {
	FG_BUCKET_FREE,	   /* its slot is another generation's by now, or keeps no flows */
	FG_BUCKET_KEEPS,   /* the flow stays at its slot */
	FG_BUCKET_FOREIGN, /* its slot drains, for another flow */
};

static __always_inline enum fg_bucket_use fg_bucket_use(union fg_bucket bucket, __u64 hash,
							__u32 now)
{
	union fg_slot slot = fg_read_slot(bucket.slot);

	if (slot.generation != bucket.generation)
		return FG_BUCKET_FREE;
	if (slot.state == FG_SLOT_SERVING)
		return FG_BUCKET_KEEPS;
	if (slot.state != FG_SLOT_DRAINING)
		return FG_BUCKET_FREE;
	return bucket.print == fg_print_of(hash) ||
			       !fg_flow_is_idle(slot.since, now, fg_config.idle_ticks)
		       ? FG_BUCKET_KEEPS
		       : FG_BUCKET_FOREIGN;
}

/*
 * Step 3 without the bucket: a serving slot from the live table, as a bucket's word. Positions
 * after the flow's own are tried only while a dead worker is still in the table.
 */
static __always_inline bool fg_find_slot(__u32 service, __u32 hash, union fg_bucket *found)
{
	__u64 position = (__u64)hash * FG_TABLE_PRIME >> 32;
	__u32 zero = 0;
	const struct fg_table *table;
	void *inner = bpf_map_lookup_elem(&live, &service);

	table = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
	if (!table)
		return false;
	for (int probe = 0; probe < FG_PROBES; probe++) {
		union fg_slot slot;

		if (position >= FG_TABLE_PRIME)
			position -= FG_TABLE_PRIME;
		/* Never true. The verifier forgets the sum's bound, and Linux 6.1 believes a check
		 * only of the very register that is used: the barrier keeps the compiler from
		 * checking a copy. */
		barrier_var(position);
		if (position >= FG_TABLE_PRIME)
			return false;
		found->slot = table->slot[position];
		slot = fg_read_slot(found->slot);
		if (slot.state == FG_SLOT_SERVING) {
			found->generation = slot.generation;
			return true;
		}
		position += FG_PROBE_STEP;
	}
	return false;
}

/* Step 3. `seen` is the bucket's word as step 2 read it, and `use` what that is to the flow. Where
 * no worker serves, one that drains is better than none. */
static __always_inline __u32 fg_claim(union fg_bucket *bucket, union fg_bucket seen,
				      enum fg_bucket_use use, __u32 service, __u64 hash, __u32 now)
{
	union fg_bucket mine = {.print = fg_print_of(hash), .seen = now}, winner;

	if (!fg_find_slot(service, hash, &mine))
		return use == FG_BUCKET_FOREIGN ? seen.slot : FG_SLOT_NONE;
	if (use == FG_BUCKET_FOREIGN)
		return mine.slot;
	winner.word = __sync_val_compare_and_swap(&bucket->word, seen.word, mine.word);
	if (winner.word != seen.word)
		return fg_bucket_use(winner, hash, now) == FG_BUCKET_KEEPS ? winner.slot
									   : mine.slot;
	if (!seen.generation || fg_flow_is_idle(seen.seen, now, fg_config.idle_ticks))
		fg_count(FG_COUNTER_FLOW_NEW);
	else
		fg_count(FG_COUNTER_FLOW_MOVED);
	return mine.slot;
}

/* The slot for a flow of this hash, or FG_SLOT_NONE where no worker serves. */
static __always_inline __u32 fg_pick(__u32 service, __u64 hash)
{
	__u32 index = (hash >> 32) & fg_config.buckets_mask, now;
	union fg_bucket *bucket = bpf_map_lookup_elem(&buckets, &index), seen;
	enum fg_bucket_use use = FG_BUCKET_FREE;

	if (!bucket)
		return FG_SLOT_NONE;
	seen.word = FG_READ_WORD(bucket->word);
	now = fg_now();
	if (!fg_flow_is_idle(seen.seen, now, fg_config.idle_ticks))
		use = fg_bucket_use(seen, hash, now);
	if (use != FG_BUCKET_KEEPS)
		return fg_claim(bucket, seen, use, service, hash, now);
	/* Hot buckets are written eight times per flow_idle, not per packet: their cache line stays
	 * shared between CPUs. A plain store may undo another CPU's claim only where that CPU found
	 * the slot no longer kept (then the next request moves the flow again) or the flow idle. */
	if (fg_flow_is_idle(seen.seen, now, fg_config.idle_ticks / 8)) {
		seen.seen = now;
		FG_WRITE_WORD(bucket->word, seen.word);
	}
	return seen.slot;
}

#endif
