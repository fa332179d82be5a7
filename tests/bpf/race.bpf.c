/*
 * race.bpf.c: two CPUs claim the same buckets at the same time.
 *
 * The packet is this program's memory: how many runs there were, and which rival it is. Run i waits
 * a moment for the other rival's run i, then picks for bucket i, with a hash whose position lies in
 * the rival's half of the table. Then the bucket must name the slot that was picked.
 */
#include "bpf/steer.h"

#define SPINS 2000

struct race {
	__u64 runs, rival;
};

/* By rival, each in cache lines of its own: runs begun, and runs that followed another slot than
 * the bucket's. */
volatile __u64 begun[2][16];
__u64 strayed[2][16];

SEC("xdp")
int race(struct xdp_md *ctx)
{
	struct race *race = (void *)(long)ctx->data;
	union fg_bucket *bucket;
	__u32 index, slot, rival;

	if ((void *)(race + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	rival = race->rival & 1;
	index = race->runs++;
	begun[rival][0] = race->runs;
	for (int spin = 0; spin < SPINS && begun[!rival][0] <= index; spin++)
		;
	slot = fg_pick(0, (__u64)index << 32 | (__u64)rival << 31);
	bucket = bpf_map_lookup_elem(&buckets, &index);
	if (!bucket || bucket->slot != slot)
		strayed[rival][0]++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
