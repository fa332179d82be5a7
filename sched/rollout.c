#include <string.h>
#include "sched/rollout.h"
#include "sched/rollout_actions.h"
#include "sched/wanted.h"

#define REPLACE_LIMIT 3 /* a newer version every moment must not keep all of them from serving */

/* What one step works on. */
struct step {
	struct fg_rollout *rollout;
	const struct fg_rollout_observed *observed;
	const struct fg_rollout_config *config;
	uint64_t now_ns;
};

/* A set of model versions, each with its plan. */
struct set {
	uint32_t count;
	bool waiting; /* a wanted version is not packed yet; the set holds another instead */
	struct fg_rollout_entry entries[FG_ROLLOUT_MAX_MODELS];
};

/* ---- the record ---- */

const struct fg_rollout *fg_rollout_current(const struct fg_rollout_record *record)
{
	return &record->copies[__atomic_load_n(&record->current, __ATOMIC_ACQUIRE) & 1];
}

void fg_rollout_publish(struct fg_rollout_record *record, const struct fg_rollout *next)
{
	uint32_t other = !(__atomic_load_n(&record->current, __ATOMIC_RELAXED) & 1);

	memcpy(&record->copies[other], next, sizeof(*next));
	__atomic_store_n(&record->current, other, __ATOMIC_RELEASE);
}

/* ---- questions ---- */

const struct fg_rollout_generation *fg_rollout_find(const struct fg_rollout *rollout,
						    enum fg_generation_phase phase)
{
	const struct fg_rollout_generation *generation, *found = NULL;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &rollout->generations[i];
		if (generation->phase == phase && (!found || generation->id > found->id))
			found = generation;
	}
	return found;
}

static struct fg_rollout_generation *find(struct step *step, enum fg_generation_phase phase)
{
	return (struct fg_rollout_generation *)fg_rollout_find(step->rollout, phase);
}

const struct fg_rollout_entry *fg_rollout_entry(const struct fg_rollout_generation *generation,
						const char *model)
{
	uint32_t i;

	for (i = 0; i < generation->entry_count; i++)
		if (!strcmp(generation->entries[i].model, model))
			return &generation->entries[i];
	return NULL;
}

bool fg_rollout_empty(const struct fg_rollout *rollout)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (rollout->generations[i].phase != FG_GENERATION_NONE)
			return false;
	return true;
}

uint32_t fg_rollout_next_id(uint32_t id)
{
	do
		id++;
	while (!(id & 0xffff));
	return id;
}

const char *fg_generation_phase_name(uint32_t phase)
{
	static const char names[][10] = {"none",     "starting", "live",
					 "draining", "kept",	 "retiring"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

void fg_rollout_note_flip(struct fg_rollout *rollout, uint32_t serial, uint64_t at_ns,
			  uint64_t took_ns)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	struct fg_rollout_flip *flip = &rollout->flip;

	flip->count++;
	flip->serial = serial;
	flip->from = flip->generation;
	flip->generation = live ? live->id : 0;
	flip->at_ns = at_ns;
	flip->took_ns = took_ns;
}

/* ---- sets ---- */

static bool same_entry(const struct fg_rollout_entry *a, const struct fg_rollout_entry *b)
{
	return b && a->version == b->version && a->plan == b->plan;
}

static bool same_set(const struct set *set, const struct fg_rollout_generation *generation)
{
	uint32_t i;

	if (set->count != generation->entry_count)
		return false;
	for (i = 0; i < set->count; i++)
		if (!same_entry(&set->entries[i],
				fg_rollout_entry(generation, set->entries[i].model)))
			return false;
	return true;
}

/*
 * The plan to serve a model with, and its version: the wanted one, or while that is not packed the
 * newest one below it that is, so that neither a start that is under way is lost to each newer
 * version, nor are all of them when they come faster than they are packed. -1: none.
 */
static int usable_plan(struct step *step, const struct fg_rollout_model *model, uint64_t wanted,
		       uint64_t *version)
{
	const struct fg_store_model *found = fg_store_find(step->observed->store, model->name);
	int plan = fg_rollout_find_plan(step->rollout, step->observed, model->name, wanted);
	uint32_t i;

	*version = wanted;
	for (i = found ? found->count : 0; plan < 0 && i > 0; i--) {
		*version = found->versions[i - 1].version;
		if (*version < wanted && fg_wanted_stopgap(step->rollout, step->observed->store,
							   step->config->manual, model, *version))
			plan = fg_rollout_find_plan(step->rollout, step->observed, model->name,
						    *version);
	}
	return plan;
}

/* Each model's wanted version, or what is next best; else the live one. */
static void build_set(struct step *step, const struct fg_rollout_generation *live, struct set *set)
{
	const struct fg_rollout_model *model;
	const struct fg_rollout_entry *now;
	struct fg_rollout_entry *entry;
	uint64_t wanted, version;
	uint32_t i;
	int plan;

	memset(set, 0, sizeof(*set));
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		model = &step->rollout->models[i];
		if (!model->name[0])
			continue;
		now = live ? fg_rollout_entry(live, model->name) : NULL;
		wanted = fg_wanted_version(step->rollout, step->observed->store,
					   step->config->manual, model);
		plan = wanted ? usable_plan(step, model, wanted, &version) : -1;
		set->waiting |= wanted && (plan < 0 || version != wanted);
		entry = &set->entries[set->count];
		if (plan >= 0) {
			memcpy(entry->model, model->name, sizeof(entry->model));
			entry->version = version;
			entry->plan = (uint32_t)plan;
			entry->is_default = 1;
		} else if (now) {
			*entry = *now;
		} else {
			continue;
		}
		set->count++;
	}
}

/* Keeps of the set's differences from what is live only the first. */
static void keep_one_change(struct set *set, const struct fg_rollout_generation *live)
{
	const struct fg_rollout_entry *now;
	struct set kept = {.waiting = set->waiting};
	bool changed = false;
	uint32_t i;

	for (i = 0; i < set->count; i++) {
		now = live ? fg_rollout_entry(live, set->entries[i].model) : NULL;
		if (same_entry(&set->entries[i], now) || !changed)
			kept.entries[kept.count++] = set->entries[i];
		else if (now)
			kept.entries[kept.count++] = *now;
		changed |= !same_entry(&set->entries[i], now);
	}
	*set = kept;
}

/* ---- phases ---- */

static void enter(struct step *step, struct fg_rollout_generation *generation,
		  enum fg_generation_phase phase)
{
	generation->phase = phase;
	generation->since_ns = step->now_ns;
}

/* STARTING, or a flip back to DRAINING or KEPT. */
static void cut_over(struct step *step, struct fg_rollout_generation *next)
{
	struct fg_rollout_generation *last = find(step, FG_GENERATION_LIVE);

	fg_wanted_cutover(step->rollout, last, next, step->config->manual);
	if (last)
		enter(step, last, FG_GENERATION_DRAINING);
	enter(step, next, FG_GENERATION_LIVE);
	next->flip_ns = step->now_ns;
	step->rollout->replaced = 0;
	step->rollout->gather_ns = 0;
}

/* The version at fault is the one that changed; of several, nobody knows: next time one by one. */
static void abandon(struct step *step, struct fg_rollout_generation *generation, const char *error)
{
	const struct fg_rollout_generation *live = find(step, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry, *fault = NULL;
	uint32_t i, changed = 0;

	for (i = 0; i < generation->entry_count; i++) {
		entry = &generation->entries[i];
		if (live && same_entry(entry, fg_rollout_entry(live, entry->model)))
			continue;
		fault = entry;
		changed++;
	}
	if (changed == 1)
		fg_wanted_fail(step->rollout, fault->model, fault->version,
			       step->observed->plans[fault->plan].fingerprint, error);
	else
		step->rollout->solo = 1;
	enter(step, generation, FG_GENERATION_RETIRING);
}

static void check_starting(struct step *step)
{
	struct fg_rollout_generation *generation = find(step, FG_GENERATION_STARTING);
	const struct fg_rollout_slot *slot;
	uint32_t w;

	for (w = 0; generation && w < generation->worker_count; w++) {
		slot = &step->observed->slots[generation->slots[w]];
		if ((slot->generation == generation->id &&
		     slot->deaths != generation->health[w].deaths) ||
		    (fg_rollout_alive(generation, w, step->observed) &&
		     slot->phase == FG_WORK_FAILED)) {
			abandon(step, generation, slot->error);
			return;
		}
	}
	if (generation && step->now_ns >= generation->since_ns + FG_ROLLOUT_START_NS)
		abandon(step, generation, "its workers were not ready after 60 s");
}

static void note_death(struct step *step, struct fg_rollout_health *health,
		       const struct fg_rollout_slot *slot)
{
	health->deaths = slot->deaths;
	if (step->now_ns >= slot->spawned_ns + FG_ROLLOUT_YOUNG_NS)
		health->backoff_ns = 0;
	else if (!health->backoff_ns)
		health->backoff_ns = FG_ROLLOUT_BACKOFF_NS;
	else if (health->backoff_ns < FG_ROLLOUT_BACKOFF_MAX_NS / 2)
		health->backoff_ns *= 2;
	else
		health->backoff_ns = FG_ROLLOUT_BACKOFF_MAX_NS;
	health->spawn_after_ns = step->now_ns + health->backoff_ns;
}

static void note_workers(struct step *step)
{
	struct fg_rollout_generation *generation;
	struct fg_rollout_health *health;
	const struct fg_rollout_slot *slot;
	uint32_t i, w;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		for (w = 0; w < generation->worker_count; w++) {
			slot = &step->observed->slots[generation->slots[w]];
			health = &generation->health[w];
			if (slot->deaths != health->deaths)
				note_death(step, health, slot);
			if (fg_rollout_alive(generation, w, step->observed) &&
			    slot->phase == FG_WORK_READY &&
			    slot->heartbeat_ns + FG_ROLLOUT_HUNG_NS < step->now_ns &&
			    health->suspect_heartbeat != slot->heartbeat_ns) {
				health->suspect_heartbeat = slot->heartbeat_ns;
				health->suspect_ns = step->now_ns;
			}
		}
	}
}

/* No flow is left, or time is up. Not before the table names others, or new flows would be lost. */
static bool drained(struct step *step, const struct fg_rollout_generation *generation)
{
	uint64_t bound_ns = step->config->drain_deadline_ms * 1000000ull, flows = 0;
	uint32_t w;

	if (step->observed->stopping && bound_ns > FG_ROLLOUT_STOP_NS)
		bound_ns = FG_ROLLOUT_STOP_NS;
	if (!step->observed->stopping && (step->observed->table & fg_rollout_slots(generation)))
		return false;
	for (w = 0; w < generation->worker_count; w++)
		if (fg_rollout_ready(generation, w, step->observed, step->now_ns))
			flows += step->observed->slots[generation->slots[w]].flows;
	return (step->observed->flows_known && !flows) ||
	       step->now_ns >= generation->since_ns + bound_ns;
}

static bool gone(struct step *step, const struct fg_rollout_generation *generation)
{
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		if (fg_rollout_alive(generation, w, step->observed))
			return false;
	return true;
}

/* The way down: DRAINING -> KEPT -> RETIRING -> NONE. One that is KEPT and lost a worker is of no
 * use for a rollback. */
static void wind_down(struct step *step, struct fg_rollout_generation *generation)
{
	bool keep = step->config->keep_ms && !step->observed->stopping &&
		    fg_rollout_all_ready(generation, step->observed, step->now_ns);

	switch (generation->phase) {
	case FG_GENERATION_DRAINING:
		if (drained(step, generation))
			enter(step, generation, keep ? FG_GENERATION_KEPT : FG_GENERATION_RETIRING);
		break;
	case FG_GENERATION_KEPT:
		if (!keep ||
		    step->now_ns >= generation->since_ns + step->config->keep_ms * 1000000ull)
			enter(step, generation, FG_GENERATION_RETIRING);
		break;
	case FG_GENERATION_RETIRING:
		if (gone(step, generation))
			memset(generation, 0, sizeof(*generation));
		break;
	default:
		break;
	}
}

static void stop(struct step *step)
{
	struct fg_rollout_generation *generation;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if (generation->phase == FG_GENERATION_LIVE)
			enter(step, generation, FG_GENERATION_DRAINING);
		else if (generation->phase == FG_GENERATION_STARTING)
			enter(step, generation, FG_GENERATION_RETIRING);
	}
}

/* ---- a new set ---- */

static struct fg_rollout_generation *find_held(struct step *step, const struct set *set)
{
	struct fg_rollout_generation *generation;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if ((generation->phase == FG_GENERATION_DRAINING ||
		     generation->phase == FG_GENERATION_KEPT) &&
		    same_set(set, generation) &&
		    fg_rollout_all_ready(generation, step->observed, step->now_ns))
			return generation;
	}
	return NULL;
}

/* The lowest free slots, so that the keeper opens no more sockets than it must. */
static uint32_t choose_slots(struct step *step, uint16_t slots[FG_ROLLOUT_MAX_WORKERS])
{
	uint64_t taken = 0;
	uint32_t i, count = 0;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		taken |= fg_rollout_slots(&step->rollout->generations[i]);
	for (i = 0; i < FG_MAX_SLOTS && count < step->config->worker_count; i++)
		if (!step->observed->slots[i].pid && !(taken & 1ull << i))
			slots[count++] = (uint16_t)i;
	return count;
}

static void make_room(struct step *step)
{
	struct fg_rollout_generation *generation, *oldest = NULL;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if (generation->phase == FG_GENERATION_KEPT &&
		    (!oldest || generation->since_ns < oldest->since_ns))
			oldest = generation;
		if (generation->phase == FG_GENERATION_RETIRING)
			return; /* that makes room soon */
	}
	if (oldest)
		enter(step, oldest, FG_GENERATION_RETIRING);
}

static void begin(struct step *step, const struct set *set)
{
	struct fg_rollout_generation *generation = find(step, FG_GENERATION_NONE);
	uint16_t slots[FG_ROLLOUT_MAX_WORKERS];
	uint32_t w;

	if (!generation || choose_slots(step, slots) < step->config->worker_count) {
		make_room(step);
		return;
	}
	memset(generation, 0, sizeof(*generation));
	step->rollout->next_id = step->rollout->next_id ? step->rollout->next_id : 1;
	generation->id = step->rollout->next_id;
	step->rollout->next_id = fg_rollout_next_id(generation->id);
	generation->entry_count = set->count;
	memcpy(generation->entries, set->entries, set->count * sizeof(set->entries[0]));
	generation->worker_count = step->config->worker_count;
	for (w = 0; w < generation->worker_count; w++) {
		generation->slots[w] = slots[w];
		generation->health[w].deaths = step->observed->slots[slots[w]].deaths;
	}
	step->rollout->gather_ns = 0;
	enter(step, generation, FG_GENERATION_STARTING);
}

/* Packed versions wait a moment for others that are being packed, so that one cutover does; not
 * for long, or a model that never gets packed would block the rest. */
static bool gathering(struct step *step, const struct set *set)
{
	if (!set->waiting)
		return false;
	if (!step->rollout->gather_ns)
		step->rollout->gather_ns = step->now_ns;
	return step->now_ns < step->rollout->gather_ns + FG_ROLLOUT_GATHER_NS;
}

static void follow_starting(struct step *step, struct fg_rollout_generation *starting,
			    const struct fg_rollout_generation *live, const struct set *set)
{
	bool back = live && same_set(set, live); /* what was started is not wanted at all now */

	if (!same_set(set, starting) && (back || step->rollout->replaced < REPLACE_LIMIT)) {
		step->rollout->replaced += !back;
		enter(step, starting, FG_GENERATION_RETIRING);
	} else if (fg_rollout_all_ready(starting, step->observed, step->now_ns)) {
		cut_over(step, starting);
	}
}

static void choose(struct step *step)
{
	struct fg_rollout_generation *live = find(step, FG_GENERATION_LIVE);
	struct fg_rollout_generation *starting = find(step, FG_GENERATION_STARTING);
	struct fg_rollout_generation *held;
	struct set set;

	build_set(step, live, &set);
	if (live && same_set(&set, live) && !set.waiting)
		step->rollout->solo = 0;
	if (step->rollout->solo)
		keep_one_change(&set, live);
	if (starting) {
		follow_starting(step, starting, live, &set);
		return;
	}
	if (!set.count || (live && same_set(&set, live))) {
		step->rollout->gather_ns = 0;
		return;
	}
	held = find_held(step, &set);
	if (held)
		cut_over(step, held);
	else if (!gathering(step, &set))
		begin(step, &set);
}

/* ---- plans ---- */

static bool plan_used(struct step *step, uint32_t plan)
{
	const struct fg_rollout_generation *generation;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		for (k = 0; k < generation->entry_count; k++)
			if (generation->entries[k].plan == plan)
				return true;
	}
	return false;
}

static bool plan_wanted(struct step *step, uint32_t plan)
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	struct fg_rollout_model *model = fg_wanted_model(step->rollout, seen->model);
	uint64_t wanted, version;

	if (!model)
		return false;
	wanted = fg_wanted_version(step->rollout, step->observed->store, step->config->manual,
				   model);
	return wanted && usable_plan(step, model, wanted, &version) == (int)plan;
}

/* A plan that is on its way to FREE is never used again, whoever steps: otherwise a DROP that is
 * already sent could take it from under a new generation. */
static void note_plans(struct step *step)
{
	const struct fg_rollout_plan *plan;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		plan = &step->observed->plans[i];
		if (plan->phase == FG_PLAN_FREE)
			step->rollout->dropping &= ~(1ull << i);
		if (plan->phase == FG_PLAN_FREE || plan->phase == FG_PLAN_PACKING ||
		    (step->rollout->dropping & 1ull << i) || plan_used(step, i))
			continue;
		if (plan->phase == FG_PLAN_FAILED)
			fg_wanted_fail(step->rollout, plan->model, plan->version, plan->fingerprint,
				       plan->error);
		if (plan->phase == FG_PLAN_FAILED || !plan_wanted(step, i))
			step->rollout->dropping |= 1ull << i;
	}
}

void fg_rollout_step(struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, uint64_t now_ns,
		     struct fg_rollout_actions *actions)
{
	struct step step = {rollout, observed, config, now_ns};
	uint32_t i;

	fg_wanted_sync(rollout, observed->store);
	note_plans(&step);
	check_starting(&step);
	note_workers(&step);
	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		wind_down(&step, &rollout->generations[i]);
	if (observed->stopping)
		stop(&step);
	else
		choose(&step);
	fg_rollout_list(rollout, observed, config, now_ns, actions);
}
