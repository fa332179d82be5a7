#include "sched/rollout_actions.h"

bool fg_rollout_alive(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed)
{
	const struct fg_rollout_slot *slot = &observed->slots[generation->slots[w]];

	return slot->pid && slot->generation == generation->id;
}

/* Two looks at the same old heartbeat: when the whole machine slept, everybody's heartbeat is old
 * at the first look, and fresh at the second. */
bool fg_rollout_hangs(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed, uint64_t now_ns)
{
	const struct fg_rollout_slot *slot = &observed->slots[generation->slots[w]];
	const struct fg_rollout_health *health = &generation->health[w];

	if (slot->phase != FG_WORK_READY)
		return slot->spawned_ns + FG_ROLLOUT_START_NS < now_ns;
	return slot->heartbeat_ns + FG_ROLLOUT_HUNG_NS < now_ns &&
	       health->suspect_ns + FG_ROLLOUT_SUSPECT_NS <= now_ns;
}

bool fg_rollout_ready(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed, uint64_t now_ns)
{
	const struct fg_rollout_slot *slot = &observed->slots[generation->slots[w]];

	return fg_rollout_alive(generation, w, observed) && slot->phase == FG_WORK_READY &&
	       !fg_rollout_hangs(generation, w, observed, now_ns);
}

bool fg_rollout_all_ready(const struct fg_rollout_generation *generation,
			  const struct fg_rollout_observed *observed, uint64_t now_ns)
{
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		if (!fg_rollout_ready(generation, w, observed, now_ns))
			return false;
	return true;
}

bool fg_rollout_lacks_sockets(const struct fg_rollout_generation *generation,
			      const struct fg_rollout_observed *observed)
{
	uint32_t w;

	for (w = 0; observed->attachment && w < generation->worker_count; w++)
		if (fg_rollout_alive(generation, w, observed) &&
		    observed->slots[generation->slots[w]].attachment != observed->attachment)
			return true;
	return false;
}

uint64_t fg_rollout_slots(const struct fg_rollout_generation *generation)
{
	uint64_t slots = 0;
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		slots |= 1ull << generation->slots[w];
	return slots;
}
