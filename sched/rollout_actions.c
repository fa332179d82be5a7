#include <string.h>
#include "sched/rollout_actions.h"

#define FOR_EACH_GENERATION(generation, rollout)                                                   \
	for ((generation) = (rollout)->generations;                                                \
	     (generation) < (rollout)->generations + FG_ROLLOUT_MAX_GENERATIONS; (generation)++)

/* What one call works on. */
struct list {
	const struct fg_rollout *rollout;
	const struct fg_rollout_observed *observed;
	const struct fg_rollout_config *config;
	uint64_t now_ns;
	struct fg_rollout_actions *actions;
	struct fg_rollout_action spill; /* where actions go that do not fit */
};

/* ---- questions about workers ---- */

bool fg_rollout_alive(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed)
{
	const struct fg_rollout_slot *slot = &observed->slots[generation->slots[w]];

	return slot->pid && slot->generation == generation->id;
}

/* Two looks at the same old heartbeat: when the whole machine slept, everybody's heartbeat is old
 * at the first look, and fresh at the second. */
static bool hangs(const struct fg_rollout_generation *generation, uint32_t w,
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
	       !hangs(generation, w, observed, now_ns);
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

uint64_t fg_rollout_slots(const struct fg_rollout_generation *generation)
{
	uint64_t slots = 0;
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		slots |= 1ull << generation->slots[w];
	return slots;
}

/* ---- actions ---- */

/* Every prefix of a list is safe, and the next step lists what did not fit. */
static struct fg_rollout_action *add(struct list *list, enum fg_rollout_verb verb, uint32_t slot)
{
	struct fg_rollout_actions *actions = list->actions;
	struct fg_rollout_action *action = &list->spill;

	if (actions->count < FG_ROLLOUT_MAX_ACTIONS)
		action = &actions->list[actions->count++];
	memset(action, 0, sizeof(*action));
	action->verb = verb;
	action->slot = slot;
	return action;
}

static void add_order(struct list *list, uint32_t slot, enum fg_order order)
{
	if (list->observed->slots[slot].order != order)
		add(list, FG_ROLLOUT_ORDER, slot)->value = order;
}

static void add_state(struct list *list, uint32_t slot, uint32_t generation,
		      enum fg_slot_state state)
{
	const struct fg_rollout_slot *seen = &list->observed->slots[slot];
	struct fg_rollout_action *action;

	if (seen->map_state == state && seen->map_generation == (uint16_t)generation)
		return;
	action = add(list, FG_ROLLOUT_SLOT_STATE, slot);
	action->generation = generation;
	action->value = state;
}

static void add_priority(struct list *list, uint32_t slot, uint32_t urgent)
{
	struct fg_rollout_action *action;

	if (list->observed->slots[slot].urgent == urgent)
		return;
	action = add(list, FG_ROLLOUT_PRIORITY, slot);
	action->value = urgent;
	action->deaths = list->observed->slots[slot].deaths;
}

static void add_kill(struct list *list, uint32_t slot)
{
	add(list, FG_ROLLOUT_KILL, slot)->deaths = list->observed->slots[slot].deaths;
}

/* Workers whose successors are about to spin on the same CPU get out of their way first. */
static void list_drain_orders(struct list *list)
{
	const struct fg_rollout_generation *generation;
	uint32_t w;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		if (generation->phase != FG_GENERATION_DRAINING &&
		    generation->phase != FG_GENERATION_KEPT)
			continue;
		for (w = 0; w < generation->worker_count; w++) {
			if (!fg_rollout_alive(generation, w, list->observed))
				continue;
			add_order(list, generation->slots[w], FG_ORDER_DRAIN);
			add_priority(list, generation->slots[w], 1);
		}
	}
}

/*
 * Workers that may be steered to, and those of LIVE that no longer may: those lose their state
 * before the flip, because a flow in a bucket goes on to a dead worker until then.
 */
static void list_serving(struct list *list)
{
	const struct fg_rollout_generation *generation;
	uint32_t w, slot;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		for (w = 0; w < generation->worker_count; w++) {
			slot = generation->slots[w];
			if (generation->phase == FG_GENERATION_STARTING) {
				add_order(list, slot, FG_ORDER_WAIT);
			} else if (generation->phase != FG_GENERATION_LIVE) {
				continue;
			} else if (fg_rollout_ready(generation, w, list->observed, list->now_ns)) {
				add_priority(list, slot, 0);
				add_order(list, slot,
					  list->observed->slots[slot].urgent ? FG_ORDER_DRAIN
									     : FG_ORDER_SERVE);
				add_state(list, slot, generation->id, FG_SLOT_SERVING);
			} else {
				add_order(list, slot, FG_ORDER_WAIT);
				add_state(list, slot, generation->id, FG_SLOT_FREE);
			}
		}
	}
}

/* Returns the slots that the live table names once the flip, if one is needed, is done. A table of
 * nobody helps nobody: while no LIVE worker is ready the old table stays. */
static uint64_t list_flip(struct list *list)
{
	const struct fg_rollout_generation *live;
	uint64_t slots = 0;
	uint32_t w;

	live = fg_rollout_find(list->rollout, FG_GENERATION_LIVE);
	for (w = 0; live && w < live->worker_count; w++)
		if (fg_rollout_ready(live, w, list->observed, list->now_ns))
			slots |= 1ull << live->slots[w];
	if (!slots || slots == list->observed->table)
		return list->observed->table;
	add(list, FG_ROLLOUT_FLIP, 0)->slots = slots;
	return slots;
}

/* Slots that take no new flows (any more). `table` is what the live table names by now: those keep
 * SERVING until it is another, or new flows would find nobody. */
static void list_not_serving(struct list *list, uint64_t table)
{
	const struct fg_rollout_generation *generation;
	uint32_t w, slot;
	bool ready;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		for (w = 0; w < generation->worker_count; w++) {
			slot = generation->slots[w];
			ready = fg_rollout_ready(generation, w, list->observed, list->now_ns);
			if (generation->phase == FG_GENERATION_KEPT ||
			    generation->phase == FG_GENERATION_RETIRING ||
			    (generation->phase == FG_GENERATION_DRAINING && !ready))
				add_state(list, slot, generation->id, FG_SLOT_RETIRED);
			else if (generation->phase == FG_GENERATION_DRAINING &&
				 !(table & 1ull << slot))
				add_state(list, slot, generation->id, FG_SLOT_DRAINING);
		}
	}
}

static bool needs_fence(struct list *list)
{
	const struct fg_rollout_generation *generation;
	const struct fg_rollout_slot *slot;
	uint32_t w;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		if (generation->phase != FG_GENERATION_RETIRING || !generation->flip_ns)
			continue;
		for (w = 0; w < generation->worker_count; w++) {
			slot = &list->observed->slots[generation->slots[w]];
			if (fg_rollout_alive(generation, w, list->observed) &&
			    slot->order != FG_ORDER_FINISH && !slot->urgent)
				return true;
		}
	}
	return false;
}

/*
 * A program that read the slot before it was RETIRED may still put a datagram into its ring: FINISH
 * is ordered only after a grace period. Whether one has passed is not remembered: where FINISH is
 * not yet ordered, there is one more.
 */
static void list_retiring(struct list *list)
{
	const struct fg_rollout_generation *generation;
	uint32_t w, slot;

	if (needs_fence(list))
		add(list, FG_ROLLOUT_FENCE, 0);
	FOR_EACH_GENERATION(generation, list->rollout)
	{
		if (generation->phase != FG_GENERATION_RETIRING)
			continue;
		for (w = 0; w < generation->worker_count; w++) {
			slot = generation->slots[w];
			if (!fg_rollout_alive(generation, w, list->observed))
				continue;
			add_priority(list, slot, 0);
			if (!list->observed->slots[slot].urgent)
				add_order(list, slot, FG_ORDER_FINISH);
			if (list->now_ns >= generation->since_ns + FG_ROLLOUT_FINISH_NS)
				add_kill(list, slot);
		}
	}
}

/* The generation that names the slot, and which of its workers stands there. NULL: nobody's. */
static const struct fg_rollout_generation *owner(const struct fg_rollout *rollout, uint32_t slot,
						 uint32_t *w)
{
	const struct fg_rollout_generation *generation;

	FOR_EACH_GENERATION(generation, rollout)
	for (*w = 0; *w < generation->worker_count; (*w)++)
		if (generation->slots[*w] == slot)
			return generation;
	return NULL;
}

/* Workers without an owner come from a SPAWN that was under way when its generation ended. */
static void list_strays(struct list *list)
{
	const struct fg_rollout_generation *generation;
	uint32_t slot, w;

	for (slot = 0; slot < FG_MAX_SLOTS; slot++) {
		generation = owner(list->rollout, slot, &w);
		if (!generation || generation->phase == FG_GENERATION_STARTING)
			add_state(list, slot, 0, FG_SLOT_FREE);
		if (!list->observed->slots[slot].pid)
			continue;
		if (!generation || !fg_rollout_alive(generation, w, list->observed))
			add_kill(list, slot);
		else if (generation->phase != FG_GENERATION_RETIRING &&
			 hangs(generation, w, list->observed, list->now_ns))
			add_kill(list, slot);
	}
}

static void list_spawns(struct list *list)
{
	const struct fg_rollout_generation *generation;
	const struct fg_rollout_slot *slot;
	struct fg_rollout_action *action;
	uint32_t w;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		if (generation->phase != FG_GENERATION_STARTING &&
		    generation->phase != FG_GENERATION_LIVE)
			continue;
		for (w = 0; w < generation->worker_count; w++) {
			slot = &list->observed->slots[generation->slots[w]];
			if (slot->pid || list->now_ns < generation->health[w].spawn_after_ns)
				continue;
			action = add(list, FG_ROLLOUT_SPAWN, generation->slots[w]);
			action->index = (uint32_t)(generation - list->rollout->generations);
			action->generation = generation->id;
			action->worker = w;
			action->deaths = slot->deaths;
		}
	}
}

/* ---- plans ---- */

static int find_packed(const struct list *list, const char *model, uint64_t version,
		       uint64_t fingerprint)
{
	const struct fg_rollout_plan *plan;
	int i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		plan = &list->observed->plans[i];
		if (plan->phase != FG_PLAN_FREE && !(list->rollout->dropping & 1ull << i) &&
		    plan->version == version && plan->fingerprint == fingerprint &&
		    !strcmp(plan->model, model))
			return i;
	}
	return -1;
}

int fg_rollout_find_plan(const struct fg_rollout *rollout,
			 const struct fg_rollout_observed *observed, const char *model,
			 uint64_t version)
{
	const struct fg_rollout_generation *holder = fg_wanted_holder(rollout, model, version);
	const struct fg_store_version *found = fg_store_version(observed->store, model, version);
	const struct list list = {.rollout = rollout, .observed = observed};
	int plan;

	if (holder)
		return (int)fg_rollout_entry(holder, model)->plan;
	if (!found)
		return -1;
	plan = find_packed(&list, model, version, found->fingerprint);
	return plan >= 0 && observed->plans[plan].phase == FG_PLAN_READY ? plan : -1;
}

static void add_pack(struct list *list, const struct fg_rollout_model *model,
		     const struct fg_store_version *version, uint64_t *taken)
{
	struct fg_rollout_action *action;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (list->observed->plans[i].phase == FG_PLAN_FREE &&
		    !((*taken | list->rollout->dropping) & 1ull << i))
			break;
	if (i == FG_ROLLOUT_MAX_PLANS)
		return;
	*taken |= 1ull << i;
	action = add(list, FG_ROLLOUT_PACK, 0);
	action->index = i;
	action->version = version->version;
	action->fingerprint = version->fingerprint;
	memcpy(action->model, model->name, sizeof(action->model));
}

/* Until the keeper has begun, the same PACK for the same free plan is listed in every step, so a
 * repetition is recognised; the keeper leaves a plan that is not FREE alone. */
static void list_packs(struct list *list)
{
	const struct fg_rollout_model *model;
	const struct fg_store_version *version;
	uint32_t i, packing = 0;
	uint64_t wanted, taken = 0;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		packing += list->observed->plans[i].phase == FG_PLAN_PACKING;
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS && packing < FG_ROLLOUT_MAX_PACKING; i++) {
		model = &list->rollout->models[i];
		if (!model->name[0])
			continue;
		wanted = fg_wanted_version(list->rollout, list->observed->store,
					   list->config->manual, model);
		version = fg_store_version(list->observed->store, model->name, wanted);
		if (!version || fg_wanted_holder(list->rollout, model->name, wanted) ||
		    find_packed(list, model->name, wanted, version->fingerprint) >= 0)
			continue;
		add_pack(list, model, version, &taken);
		packing++;
	}
}

static void list_drops(struct list *list)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (list->rollout->dropping & 1ull << i)
			add(list, FG_ROLLOUT_DROP, 0)->index = i;
}

/* ---- when to look again ---- */

static uint64_t generation_again_ns(const struct list *list,
				    const struct fg_rollout_generation *generation)
{
	uint64_t again = FG_ROLLOUT_TICK_NS, end;
	uint32_t w;

	switch (generation->phase) {
	case FG_GENERATION_STARTING:
	case FG_GENERATION_RETIRING:
		return 2000000;
	case FG_GENERATION_DRAINING:
		return 100000000;
	case FG_GENERATION_KEPT:
		end = generation->since_ns + list->config->keep_ms * 1000000ull;
		return end > list->now_ns ? end - list->now_ns : 0;
	case FG_GENERATION_LIVE:
		for (w = 0; w < generation->worker_count; w++) {
			if (fg_rollout_ready(generation, w, list->observed, list->now_ns))
				continue;
			end = generation->health[w].spawn_after_ns;
			if (end <= list->now_ns)
				end = list->now_ns + 2000000;
			if (again > end - list->now_ns)
				again = end - list->now_ns;
		}
		return again;
	default:
		return again;
	}
}

static void list_again(struct list *list)
{
	const struct fg_rollout_generation *generation;
	uint64_t again = FG_ROLLOUT_TICK_NS, one;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		one = generation_again_ns(list, generation);
		again = one < again ? one : again;
	}
	if (list->rollout->gather_ns || list->rollout->dropping)
		again = again < 20000000 ? again : 20000000;
	list->actions->again_ns = again > 1000000 ? again : 1000000;
}

void fg_rollout_list(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, uint64_t now_ns,
		     struct fg_rollout_actions *actions)
{
	struct list list = {rollout, observed, config, now_ns, actions, {0}};

	actions->count = 0;
	list_drain_orders(&list);
	list_serving(&list);
	list_not_serving(&list, list_flip(&list));
	list_retiring(&list);
	list_strays(&list);
	list_spawns(&list);
	if (!observed->stopping)
		list_packs(&list);
	list_drops(&list);
	list_again(&list);
}
