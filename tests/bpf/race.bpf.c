/*
 * race.bpf.c: two CPUs claim the same buckets at the same time.
 *
 * The packet is this program's memory: how many runs there were, and which rival it is. Run i picks
 * for bucket i, with a hash whose position lies in the rival's half of the table. Then the bucket
 * must name the slot that was picked.
 */
#include "bpf/steer.h"

struct race {
	__u64 runs, rival;
};

__u64 strayed = 0; /* runs that followed another slot than the bucket's */

SEC("xdp")
int race(struct xdp_md *ctx)
{
	struct race *race = (void *)(long)ctx->data;
	union fg_bucket *bucket;
	__u32 index, slot;

	if ((void *)(race + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	index = race->runs++;
	slot = fg_pick(0, (__u64)index << 32 | race->rival << 31);
	bucket = bpf_map_lookup_elem(&buckets, &index);
	if (!bucket || bucket->slot != slot)
		__sync_fetch_and_add(&strayed, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
