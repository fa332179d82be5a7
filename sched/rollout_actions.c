#include <string.h>
#include "sched/budget.h"
#include "sched/maglev.h"
#include "sched/rollout_actions.h"
#include "sched/rollout_pack.h"

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
	bool pack_waits;		/* for a packer that gives way */
	struct fg_rollout_action spill; /* where actions go that do not fit */
};

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

/* LIVE and CANARY share their CPUs: the smaller side sleeps between requests, or they would take
 * whole time slices from each other. */
static bool dozes(const struct list *list, const struct fg_rollout_generation *generation)
{
	bool small = fg_canary_weight(&list->rollout->canary) <= FG_CANARY_WHOLE / 2;

	if (generation->phase == FG_GENERATION_CANARY)
		return small;
	return generation->phase == FG_GENERATION_LIVE && !small &&
	       fg_rollout_find(list->rollout, FG_GENERATION_CANARY);
}

/* Those that sleep between requests wake up at once. The order comes first: a worker that polls is
 * never urgent. */
static void add_sleeper(struct list *list, const struct fg_rollout_generation *generation,
			uint32_t w, enum fg_order order)
{
	if (!fg_rollout_alive(generation, w, list->observed))
		return;
	add_order(list, generation->slots[w], order);
	add_priority(list, generation->slots[w], 1);
}

/* While the table still names it, a worker must not send its clients away: they would come back.
 * KEPT is past the deadline: whoever has not left by himself is parted with. */
static enum fg_order drain_order(const struct list *list,
				 const struct fg_rollout_generation *generation, uint32_t slot)
{
	if (list->observed->table & 1ull << slot)
		return FG_ORDER_DOZE;
	return generation->phase == FG_GENERATION_KEPT ? FG_ORDER_KEEP : FG_ORDER_DRAIN;
}

/* Workers whose successors are about to spin on the same CPU get out of their way first. */
static void list_sleepers(struct list *list)
{
	const struct fg_rollout_generation *generation;
	uint32_t w;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		for (w = 0; w < generation->worker_count; w++) {
			if (generation->phase == FG_GENERATION_DRAINING ||
			    generation->phase == FG_GENERATION_KEPT)
				add_sleeper(list, generation, w,
					    drain_order(list, generation, generation->slots[w]));
			else if (dozes(list, generation) &&
				 fg_rollout_ready(generation, w, list->observed, list->now_ns))
				add_sleeper(list, generation, w, FG_ORDER_DOZE);
		}
	}
}

static void list_awake(struct list *list, const struct fg_rollout_generation *generation,
		       uint32_t slot)
{
	if (dozes(list, generation))
		return;
	add_priority(list, slot, 0);
	add_order(list, slot, list->observed->slots[slot].urgent ? FG_ORDER_DOZE : FG_ORDER_SERVE);
}

/*
 * Workers that may be steered to, and those of LIVE and CANARY that no longer may: those lose their
 * state before the flip, because a flow in a bucket goes on to a dead worker until then.
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
			} else if (generation->phase == FG_GENERATION_SHADOW) {
				add_order(list, slot, FG_ORDER_SHADOW);
			} else if (generation->phase != FG_GENERATION_LIVE &&
				   generation->phase != FG_GENERATION_CANARY) {
				continue;
			} else if (fg_rollout_ready(generation, w, list->observed, list->now_ns)) {
				list_awake(list, generation, slot);
				add_state(list, slot, generation->id, FG_SLOT_SERVING);
			} else {
				add_order(list, slot, FG_ORDER_WAIT);
				add_state(list, slot, generation->id, FG_SLOT_FREE);
			}
		}
	}
}

static uint64_t ready_slots(const struct list *list, enum fg_generation_phase phase)
{
	const struct fg_rollout_generation *generation = fg_rollout_find(list->rollout, phase);
	uint64_t slots = 0;
	uint32_t w;

	for (w = 0; generation && w < generation->worker_count; w++)
		if (fg_rollout_ready(generation, w, list->observed, list->now_ns))
			slots |= 1ull << generation->slots[w];
	return slots;
}

/* Is the live table one of these slots, mixed by that weight? */
static bool is_live(const struct list *list, uint64_t stable, uint64_t canary, uint32_t weight)
{
	uint32_t slot, positions = 0;

	for (slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (canary & 1ull << slot)
			positions += list->observed->positions[slot];
	return list->observed->table == (stable | canary) &&
	       (!canary || positions == fg_maglev_share(weight));
}

/* Returns the slots that the live table names once the flip, if one is needed, is done. A table of
 * nobody helps nobody: while no LIVE worker is ready the old table stays. */
static uint64_t list_flip(struct list *list)
{
	uint64_t stable = ready_slots(list, FG_GENERATION_LIVE);
	uint64_t canary = ready_slots(list, FG_GENERATION_CANARY);
	uint32_t weight = canary ? fg_canary_weight(&list->rollout->canary) : 0;
	struct fg_rollout_action *action;

	if (!weight)
		canary = 0;
	if (!stable || is_live(list, stable, canary, weight))
		return list->observed->table;
	action = add(list, FG_ROLLOUT_FLIP, 0);
	action->slots = stable;
	action->canary = canary;
	action->value = weight;
	return stable | canary;
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
			    (generation->phase == FG_GENERATION_RETIRING && !generation->shadow) ||
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

/* The generation that names a slot (its place in the rollout, from 1; 0: nobody's), and which of
 * its workers stands there. */
struct owner {
	uint8_t generation, w;
};

static void find_owners(const struct fg_rollout *rollout, struct owner owners[FG_MAX_SLOTS])
{
	const struct fg_rollout_generation *generation;
	uint32_t w;

	memset(owners, 0, FG_MAX_SLOTS * sizeof(owners[0]));
	FOR_EACH_GENERATION(generation, rollout)
	{
		for (w = 0; w < generation->worker_count; w++)
			owners[generation->slots[w]] =
				(struct owner){(uint8_t)(generation - rollout->generations + 1),
					       (uint8_t)w};
	}
}

/* Workers without an owner come from a SPAWN that was under way when its generation ended. */
static void list_strays(struct list *list)
{
	const struct fg_rollout_generation *generation;
	struct owner owners[FG_MAX_SLOTS];
	uint32_t slot, w;

	find_owners(list->rollout, owners);
	for (slot = 0; slot < FG_MAX_SLOTS; slot++) {
		generation = owners[slot].generation
				     ? &list->rollout->generations[owners[slot].generation - 1]
				     : NULL;
		w = owners[slot].w;
		if (!generation || generation->phase == FG_GENERATION_STARTING ||
		    generation->shadow)
			add_state(list, slot, 0, FG_SLOT_FREE);
		if (!list->observed->slots[slot].pid)
			continue;
		if (!generation || !fg_rollout_alive(generation, w, list->observed))
			add_kill(list, slot);
		else if (generation->phase != FG_GENERATION_RETIRING &&
			 fg_rollout_hangs(generation, w, list->observed, list->now_ns))
			add_kill(list, slot);
	}
}

static void list_spawns(struct list *list)
{
	const struct fg_rollout_generation *generation;
	const struct fg_rollout_slot *slot;
	struct fg_rollout_action *action;
	struct fg_budget budget;
	uint32_t w;

	fg_budget_count(list->rollout, list->observed, list->config, &budget);
	FOR_EACH_GENERATION(generation, list->rollout)
	{
		if (generation->phase != FG_GENERATION_STARTING &&
		    generation->phase != FG_GENERATION_LIVE &&
		    generation->phase != FG_GENERATION_CANARY &&
		    generation->phase != FG_GENERATION_SHADOW)
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
			if (generation->phase == FG_GENERATION_STARTING)
				action->memory =
					fg_budget_worker(&budget, list->observed, list->config);
		}
	}
}

/* ---- plans ---- */

static void add_pack(struct list *list, const struct fg_pack *pack, uint64_t *taken)
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
	action->version = pack->version->version;
	action->fingerprint = pack->version->fingerprint;
	action->memory = pack->memory_bytes;
	memcpy(action->model, pack->model, sizeof(action->model));
}

/* Until the keeper has begun, the same PACK for the same free plan is listed in every step, so a
 * repetition is recognised; the keeper leaves a plan that is not FREE alone. */
static void list_packs(struct list *list)
{
	struct fg_packs packs;
	uint64_t taken = 0;
	uint32_t i;

	fg_pack_choose(list->rollout, list->observed, list->config, list->now_ns, &packs);
	for (i = 0; i < packs.count; i++)
		add_pack(list, &packs.list[i], &taken);
	list->pack_waits = packs.waiting;
}

static void list_drops(struct list *list)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (list->rollout->dropping & 1ull << i)
			add(list, FG_ROLLOUT_DROP, 0)->index = i;
}

/* ---- watching ---- */

static void add_watch(struct list *list, const struct fg_rollout_generation *generation,
		      const char *model, uint32_t share, uint64_t *told)
{
	struct fg_rollout_action *action;
	uint32_t w, slot;

	for (w = 0; generation && w < generation->worker_count; w++) {
		slot = generation->slots[w];
		*told |= 1ull << slot;
		if (list->observed->slots[slot].watch == list->rollout->watch)
			continue;
		action = add(list, FG_ROLLOUT_WATCH, slot);
		action->value = list->rollout->watch;
		action->weight = share;
		memcpy(action->model, model, sizeof(action->model));
	}
}

/* Both sides of a canary, or of a shadow, count what they answer; nobody else does. */
static void list_watches(struct list *list)
{
	const struct fg_rollout_generation *live, *canary, *shadow;
	uint64_t told = 0;
	uint32_t slot;

	live = fg_rollout_find(list->rollout, FG_GENERATION_LIVE);
	canary = fg_rollout_find(list->rollout, FG_GENERATION_CANARY);
	shadow = fg_rollout_find(list->rollout, FG_GENERATION_SHADOW);
	if (canary) {
		add_watch(list, live, list->rollout->canary.model, 0, &told);
		add_watch(list, canary, list->rollout->canary.model, 0, &told);
	} else if (shadow) {
		add_watch(list, shadow, list->rollout->shadow.model, 0, &told);
		add_watch(list, live, list->rollout->shadow.model, list->rollout->shadow.share,
			  &told);
	}
	for (slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (list->observed->slots[slot].watch && !(told & 1ull << slot))
			add(list, FG_ROLLOUT_WATCH, slot);
}

/* ---- when to look again ---- */

/* Guards are looked at often: flows go to a bad canary until they are. */
static uint64_t canary_again_ns(const struct list *list)
{
	return fg_canary_active(&list->rollout->canary) ? 50000000 : FG_ROLLOUT_TICK_NS;
}

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
	case FG_GENERATION_CANARY:
	case FG_GENERATION_SHADOW:
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
	uint64_t again = canary_again_ns(list), one;

	FOR_EACH_GENERATION(generation, list->rollout)
	{
		one = generation_again_ns(list, generation);
		again = one < again ? one : again;
	}
	if (list->pack_waits)
		again = again < 100000000 ? again : 100000000;
	if (list->rollout->gather_ns || list->rollout->dropping || list->rollout->trial.active)
		again = again < 20000000 ? again : 20000000;
	list->actions->again_ns = again > 1000000 ? again : 1000000;
}

void fg_rollout_list(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, uint64_t now_ns,
		     struct fg_rollout_actions *actions)
{
	struct list list = {rollout, observed, config, now_ns, actions, false, {0}};

	actions->count = 0;
	list_sleepers(&list);
	list_serving(&list);
	list_not_serving(&list, list_flip(&list));
	list_retiring(&list);
	list_strays(&list);
	list_spawns(&list);
	list_watches(&list);
	if (!observed->stopping)
		list_packs(&list);
	list_drops(&list);
	list_again(&list);
}
