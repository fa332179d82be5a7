/*
 * rollout_flows.h: a few flows through rollout_world.h, steered as bpf/steer.h does it: a flow that
 * is not idle stays in its bucket's slot while that is SERVING or DRAINING for the same generation;
 * else the live table says where it goes. Checks that no flow is torn from what answers it.
 */
#ifndef FG_TESTS_ROLLOUT_FLOWS_H
#define FG_TESTS_ROLLOUT_FLOWS_H

#include "tests/unit/rollout_kernel.h"

#define FLOWS	     24
#define FLOW_IDLE_NS (2000 * WORLD_MS)

struct flow {
	uint32_t hash;	   /* chooses its worker within a side of the table */
	uint32_t rank;	   /* of its position: it goes to the canary before those above */
	uint32_t slot, id; /* where it is, and the generation there */
	int32_t pid;	   /* of the worker; 0: it never asked */
	bool by_table;	   /* it went where the table said, not to the next that served ... */
	bool by_weight;	   /* ... which was the canary's side */
	uint64_t steered_ns, seen_ns; /* when the table was last asked, and its last request */
	uint64_t version;	      /* that answered it by default, of model "a" */
};

struct flow_counts {
	uint64_t answered, moved, drained, in_canary;
	uint64_t lost; /* though a worker of LIVE was ready: control died before it could tell */
};

static inline void flows_init(struct flow flows[FLOWS], struct world *world)
{
	memset(flows, 0, FLOWS * sizeof(flows[0]));
	for (uint32_t i = 0; i < FLOWS; i++) {
		flows[i].hash = world_random(world, UINT32_MAX);
		/* Half of them among the first tenth, where canaries begin. */
		flows[i].rank = world_random(world, i % 2 ? FG_TABLE_PRIME : FG_TABLE_PRIME / 10);
	}
}

/* Of these slots the one that the flow prefers: one that goes moves only its own flows. */
static inline uint32_t flow_prefers(const struct flow *flow, uint64_t slots)
{
	uint32_t best = FG_SLOT_NONE, most = 0;

	for (; slots; slots &= slots - 1) {
		uint32_t slot = (uint32_t)__builtin_ctzll(slots);
		uint32_t score = (flow->hash ^ slot * 0x9e3779b9u) * 0x85ebca6bu;

		if (best == FG_SLOT_NONE || score > most) {
			best = slot;
			most = score;
		}
	}
	return best;
}

static inline uint64_t flow_serving(const struct world *world, uint64_t slots)
{
	uint64_t serving = 0;

	for (uint64_t left = slots; left; left &= left - 1)
		if (world->seen.slots[__builtin_ctzll(left)].map_state == FG_SLOT_SERVING)
			serving |= left & -left;
	return serving;
}

static inline uint32_t flow_steer(const struct world *world, struct flow *flow)
{
	bool in = world->canary && flow->rank < fg_maglev_share(world->weight);
	uint32_t slot = flow_prefers(flow, in ? world->canary : world->stable);

	flow->by_weight = in;
	flow->steered_ns = world->now_ns;
	flow->by_table = slot != FG_SLOT_NONE && flow_serving(world, 1ull << slot);
	if (flow->by_table)
		return slot;
	return flow_prefers(flow, flow_serving(world, world->stable | world->canary));
}

static inline const struct fg_rollout_generation *flow_generation(const struct world *world,
								  uint32_t id)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (world->rollout.generations[i].phase && world->rollout.generations[i].id == id)
			return &world->rollout.generations[i];
	return NULL;
}

/* A flow that is not idle leaves a generation only when that has ended, or was RETIRED in between,
 * or lost its worker. */
static inline void flow_check_left(const struct world *world, const struct flow *flow)
{
	const struct fg_rollout_generation *was = flow_generation(world, flow->id);

	if (!was || was->phase == FG_GENERATION_RETIRING || was->phase == FG_GENERATION_KEPT ||
	    world->seen.slots[flow->slot].map_state == FG_SLOT_RETIRED)
		return;
	for (uint32_t w = 0; w < was->worker_count; w++)
		if (was->slots[w] == flow->slot)
			assert_false(world->seen.slots[flow->slot].pid == flow->pid &&
				     fg_rollout_ready(was, w, &world->seen, world->now_ns));
}

/* One that the table sent to the canary is sent there again at any later step. */
static inline void flow_check_sticky(const struct world *world, const struct flow *flow,
				     const struct flow *next)
{
	const struct fg_rollout_generation *was = flow_generation(world, flow->id);

	if (was && was->phase == FG_GENERATION_CANARY && flow->steered_ns >= was->since_ns &&
	    flow->by_table && flow->by_weight && next->by_table && world->canary)
		assert_int_equal(next->id, flow->id);
}

static inline bool flow_has_hope(const struct world *world)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(&world->rollout, FG_GENERATION_LIVE);

	for (uint32_t w = 0; live && w < live->worker_count; w++)
		if (fg_rollout_ready(live, w, &world->seen, world->now_ns))
			return true;
	return false;
}

static inline void flow_request(const struct world *world, struct flow *flow,
				struct flow_counts *counts)
{
	const struct fg_rollout_slot *slot = &world->seen.slots[flow->slot];
	bool idle = !flow->pid || world->now_ns - flow->seen_ns >= FLOW_IDLE_NS;
	bool kept = slot->map_generation == (uint16_t)flow->id &&
		    (slot->map_state == FG_SLOT_SERVING || slot->map_state == FG_SLOT_DRAINING);
	const struct fg_rollout_entry *entry;
	struct flow next = *flow;

	if (idle || !kept)
		next.slot = flow_steer(world, &next);
	if (next.slot == FG_SLOT_NONE) {
		counts->lost += flow_has_hope(world);
		return;
	}
	slot = &world->seen.slots[next.slot];
	assert_true(slot->pid);
	assert_int_equal(slot->phase, FG_WORK_READY);
	next.id = slot->generation;
	next.pid = slot->pid;
	next.seen_ns = world->now_ns;
	assert_int_equal((uint16_t)next.id, slot->map_generation);
	assert_non_null(flow_generation(world, next.id));
	entry = fg_rollout_entry(flow_generation(world, next.id), "a");
	next.version = entry ? entry->version : 0;
	if (!idle && next.id != flow->id)
		flow_check_left(world, flow);
	if (flow->pid)
		flow_check_sticky(world, flow, &next);
	if (!idle && next.id == flow->id)
		assert_true(next.version == flow->version);
	counts->answered++;
	counts->moved += !idle && next.id != flow->id;
	counts->drained += slot->map_state == FG_SLOT_DRAINING;
	counts->in_canary += world->canary >> next.slot & 1;
	*flow = next;
}

#endif
