#include <string.h>
#include "sched/rollout.h"
#include "sched/rollout_actions.h"
#include "sched/rollout_step.h"

#define REPLACE_LIMIT 3 /* a newer version every moment must not keep all of them from serving */
#define RETRY_NS      5000000000ull

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

struct fg_rollout_generation *fg_step_find(struct fg_step *step, enum fg_generation_phase phase)
{
	return (struct fg_rollout_generation *)fg_rollout_find(step->rollout, phase);
}

struct fg_rollout_generation *fg_step_starting(struct fg_step *step, bool shadow)
{
	struct fg_rollout_generation *generation = step->rollout->generations;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++, generation++)
		if (generation->phase == FG_GENERATION_STARTING && !generation->shadow == !shadow)
			return generation;
	return NULL;
}

const struct fg_rollout_entry *fg_rollout_entry(const struct fg_rollout_generation *generation,
						const char *model)
{
	uint32_t i;

	for (i = 0; i < generation->entry_count; i++)
		if (generation->entries[i].is_default &&
		    !strcmp(generation->entries[i].model, model))
			return &generation->entries[i];
	return NULL;
}

const struct fg_rollout_entry *fg_rollout_version(const struct fg_rollout_generation *generation,
						  const char *model, uint64_t version)
{
	uint32_t i;

	for (i = 0; i < generation->entry_count; i++)
		if (generation->entries[i].version == version &&
		    !strcmp(generation->entries[i].model, model))
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
	static const char names[][10] = {"none", "starting", "live",   "draining",
					 "kept", "retiring", "canary", "shadow"};

	return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

void fg_rollout_note_flip(struct fg_rollout *rollout, uint32_t serial, uint32_t weight,
			  uint64_t at_ns, uint64_t took_ns)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_generation *canary = fg_rollout_find(rollout, FG_GENERATION_CANARY);
	struct fg_rollout_flip *flip = &rollout->flip;

	flip->count++;
	flip->serial = serial;
	flip->from = flip->generation;
	flip->generation = live ? live->id : 0;
	flip->canary = canary && weight ? canary->id : 0;
	flip->weight = weight;
	flip->at_ns = at_ns;
	flip->took_ns = took_ns;
}

/* ---- phases ---- */

void fg_step_enter(struct fg_step *step, struct fg_rollout_generation *generation,
		   enum fg_generation_phase phase)
{
	generation->phase = phase;
	generation->since_ns = step->now_ns;
}

/* STARTING, or a flip back to DRAINING or KEPT. */
void fg_step_cut_over(struct fg_step *step, struct fg_rollout_generation *next)
{
	struct fg_rollout_generation *last = fg_step_find(step, FG_GENERATION_LIVE);

	fg_wanted_cutover(step->rollout, last, next, fg_step_rules(step));
	if (last)
		fg_step_enter(step, last, FG_GENERATION_DRAINING);
	fg_step_enter(step, next, FG_GENERATION_LIVE);
	next->flip_ns = next->live_ns = step->now_ns;
	step->rollout->replaced = 0;
	step->rollout->gather_ns = 0;
}

/*
 * The version at fault is the one that changed; of several, nobody knows: next time one by one.
 * When nothing changed but names, it was the machine: next time is later.
 */
static void blame(struct fg_step *step, const struct fg_rollout_generation *generation,
		  const char *error, bool passing)
{
	const struct fg_rollout_entry *fault;
	uint32_t changes =
		fg_set_changes(generation, fg_step_find(step, FG_GENERATION_LIVE), &fault);

	if (changes == 1)
		fg_step_trial_failed(step, fault->model, fault->version, error);
	else if (step->rollout->trial.active &&
		 generation->since_ns >= step->rollout->trial.since_ns)
		fg_rollout_refuse(step->rollout, error);
	if (fg_canary_active(&step->rollout->canary) && !passing)
		fg_canary_end(step->rollout, FG_CANARY_FAILED, error, step->now_ns);
	if (changes == 1)
		fg_wanted_fail(step->rollout, fault->model, fault->version,
			       fg_step_files(step, fault->plan), error, passing ? step->now_ns : 0);
	else if (changes)
		step->rollout->solo = 1;
	else
		step->rollout->retry_ns = step->now_ns + RETRY_NS;
}

static void abandon(struct fg_step *step, struct fg_rollout_generation *generation,
		    const char *error, bool passing)
{
	const struct fg_shadow *shadow = &step->rollout->shadow;

	if (!generation->shadow)
		blame(step, generation, error, passing);
	else if (fg_rollout_version(generation, shadow->model, shadow->version))
		fg_shadow_end(step->rollout, shadow->model, error);
	fg_step_enter(step, generation, FG_GENERATION_RETIRING);
}

static void check_starting(struct fg_step *step, struct fg_rollout_generation *generation)
{
	const struct fg_rollout_slot *slot;
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++) {
		slot = &step->observed->slots[generation->slots[w]];
		if ((slot->generation == generation->id &&
		     slot->deaths != generation->health[w].deaths) ||
		    (fg_rollout_alive(generation, w, step->observed) &&
		     slot->phase == FG_WORK_FAILED)) {
			abandon(step, generation, slot->error, slot->passing);
			return;
		}
	}
	/* Ready, it may wait for something else: a reload, an operator. */
	if (step->now_ns >= generation->since_ns + FG_ROLLOUT_START_NS &&
	    !fg_rollout_all_ready(generation, step->observed, step->now_ns))
		abandon(step, generation, "its workers were not ready after 60 s", false);
}

static void check_all_starting(struct fg_step *step)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (step->rollout->generations[i].phase == FG_GENERATION_STARTING)
			check_starting(step, &step->rollout->generations[i]);
}

static void note_death(struct fg_step *step, struct fg_rollout_health *health,
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

/* One that grows old has left its back-off behind, and its heartbeat is looked at. */
static void note_life(struct fg_step *step, struct fg_rollout_health *health,
		      const struct fg_rollout_slot *slot)
{
	if (slot->phase != FG_WORK_READY)
		return;
	if (slot->heartbeat_ns >= slot->spawned_ns + FG_ROLLOUT_YOUNG_NS)
		health->backoff_ns = 0;
	if (slot->heartbeat_ns + FG_ROLLOUT_HUNG_NS < step->now_ns &&
	    health->suspect_heartbeat != slot->heartbeat_ns) {
		health->suspect_heartbeat = slot->heartbeat_ns;
		health->suspect_ns = step->now_ns;
	}
}

static void note_workers(struct fg_step *step)
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
			if (fg_rollout_alive(generation, w, step->observed))
				note_life(step, health, slot);
		}
	}
}

bool fg_step_dies(const struct fg_rollout_generation *generation)
{
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		if (generation->health[w].backoff_ns >= FG_ROLLOUT_LOOP_NS)
			return true;
	return false;
}

/* Those that die do so for what may pass: workers that were killed or could not be started. */
bool fg_step_passes(const struct fg_step *step, const struct fg_rollout_generation *generation)
{
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		if (generation->health[w].backoff_ns >= FG_ROLLOUT_LOOP_NS &&
		    !step->observed->slots[generation->slots[w]].passing)
			return false;
	return true;
}

/* The one that was live last and could serve at once. A canary that was ended was never live. */
static struct fg_rollout_generation *last_good(struct fg_step *step)
{
	struct fg_rollout_generation *generation, *best = NULL;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if ((generation->phase == FG_GENERATION_DRAINING ||
		     generation->phase == FG_GENERATION_KEPT) &&
		    !generation->bad && generation->live_ns &&
		    (!best || generation->live_ns > best->live_ns) &&
		    fg_rollout_all_ready(generation, step->observed, step->now_ns))
			best = generation;
	}
	return best;
}

/*
 * LIVE dies in a loop, and what served before is still there: back to it. What is new in LIVE is
 * remembered as failed, and is nothing to roll back to.
 */
static void flip_out(struct fg_step *step)
{
	struct fg_rollout_generation *live = fg_step_find(step, FG_GENERATION_LIVE);
	const char *why = "its workers died again and again";
	struct fg_rollout_generation *good;
	const struct fg_rollout_entry *entry;
	struct fg_rollout_model *model;
	uint32_t i;

	if (!live || !fg_step_dies(live))
		return;
	good = last_good(step);
	if (!good || !fg_set_changes(live, good, &entry))
		return;
	live->bad = 1;
	if (fg_canary_active(&step->rollout->canary))
		fg_canary_end(step->rollout, FG_CANARY_FAILED,
			      "the workers that it was compared with died", step->now_ns);
	fg_step_cut_over(step, good);
	for (i = 0; i < live->entry_count; i++) {
		entry = &live->entries[i];
		model = fg_wanted_model(step->rollout, entry->model);
		if (!model || fg_set_holds(good, entry))
			continue;
		fg_wanted_fail(step->rollout, entry->model, entry->version,
			       fg_step_files(step, entry->plan), why,
			       fg_step_passes(step, live) ? step->now_ns : 0);
		if (model->previous == entry->version)
			model->previous = 0;
	}
}

/* An operator went back from what it serves by default: nobody should go on getting that. */
static bool is_disowned(const struct fg_step *step, const struct fg_rollout_generation *generation)
{
	const struct fg_rollout_entry *entry = generation->entries;
	const struct fg_rollout_model *model;
	uint32_t i;

	for (i = 0; i < generation->entry_count; i++, entry++) {
		model = entry->is_default ? fg_wanted_model(step->rollout, entry->model) : NULL;
		if (model && model->rolled_back == entry->version)
			return true;
	}
	return false;
}

/* No flow is left, or time is up. Not before the table names others, or new flows would be lost. */
static bool drained(struct fg_step *step, const struct fg_rollout_generation *generation)
{
	uint64_t bound_ns = step->config->drain_deadline_ms * 1000000ull, flows = 0;
	const struct fg_rollout_slot *slot;
	uint32_t w;

	/* Nobody should go on getting a bad version's answers because his flow began on it, or
	 * because somebody keeps its bucket warm with flows of his own. */
	if ((step->observed->stopping || generation->bad || is_disowned(step, generation)) &&
	    bound_ns > FG_ROLLOUT_STOP_NS)
		bound_ns = FG_ROLLOUT_STOP_NS;
	if (!step->observed->stopping && (step->observed->table & fg_rollout_slots(generation)))
		return false;
	for (w = 0; w < generation->worker_count; w++) {
		slot = &step->observed->slots[generation->slots[w]];
		if (fg_rollout_ready(generation, w, step->observed, step->now_ns))
			flows += (uint64_t)slot->flows + slot->connections;
	}
	return (step->observed->flows_known && !flows) ||
	       step->now_ns >= generation->since_ns + bound_ns;
}

static bool gone(struct fg_step *step, const struct fg_rollout_generation *generation)
{
	uint32_t w;

	for (w = 0; w < generation->worker_count; w++)
		if (fg_rollout_alive(generation, w, step->observed))
			return false;
	return true;
}

/* The way down: DRAINING -> KEPT -> RETIRING -> NONE. One that is KEPT and lost a worker is of no
 * use for a rollback, nor is one that LIVE replaced by its like. */
static void wind_down(struct fg_step *step, struct fg_rollout_generation *generation)
{
	const struct fg_rollout_generation *live = fg_step_find(step, FG_GENERATION_LIVE);
	bool keep = step->config->keep_ms && !step->observed->stopping && !generation->bad &&
		    !(live && fg_set_twins(generation, live)) &&
		    fg_rollout_all_ready(generation, step->observed, step->now_ns);

	switch (generation->phase) {
	case FG_GENERATION_DRAINING:
		if (drained(step, generation))
			fg_step_enter(step, generation,
				      keep ? FG_GENERATION_KEPT : FG_GENERATION_RETIRING);
		break;
	case FG_GENERATION_KEPT:
		if (!keep ||
		    step->now_ns >= generation->since_ns + step->config->keep_ms * 1000000ull)
			fg_step_enter(step, generation, FG_GENERATION_RETIRING);
		break;
	case FG_GENERATION_RETIRING:
		if (gone(step, generation))
			memset(generation, 0, sizeof(*generation));
		break;
	default:
		break;
	}
}

static void stop(struct fg_step *step)
{
	struct fg_rollout_generation *generation;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if (generation->phase == FG_GENERATION_LIVE ||
		    generation->phase == FG_GENERATION_CANARY)
			fg_step_enter(step, generation, FG_GENERATION_DRAINING);
		else if (generation->phase == FG_GENERATION_STARTING ||
			 generation->phase == FG_GENERATION_SHADOW)
			fg_step_enter(step, generation, FG_GENERATION_RETIRING);
	}
}

/* ---- a new set ---- */

struct fg_rollout_generation *fg_step_held(struct fg_step *step, const struct fg_set *set)
{
	struct fg_rollout_generation *generation;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if ((generation->phase == FG_GENERATION_DRAINING ||
		     generation->phase == FG_GENERATION_KEPT) &&
		    !generation->bad && fg_set_same(set, generation) &&
		    fg_rollout_all_ready(generation, step->observed, step->now_ns))
			return generation;
	}
	return NULL;
}

/* The lowest free slots, so that the keeper opens no more sockets than it must. */
static bool choose_slots(struct fg_step *step, uint32_t wanted,
			 uint16_t slots[FG_ROLLOUT_MAX_WORKERS])
{
	uint64_t taken = 0;
	uint32_t i, count = 0;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		taken |= fg_rollout_slots(&step->rollout->generations[i]);
	for (i = 0; i < FG_MAX_SLOTS && count < wanted; i++)
		if (!step->observed->slots[i].pid && !(taken & 1ull << i))
			slots[count++] = (uint16_t)i;
	return count == wanted;
}

bool fg_step_make_room(struct fg_step *step)
{
	struct fg_rollout_generation *generation, *oldest = NULL;
	bool soon = step->rollout->dropping != 0;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &step->rollout->generations[i];
		if (generation->phase == FG_GENERATION_KEPT &&
		    (!oldest || generation->since_ns < oldest->since_ns))
			oldest = generation;
		if (generation->phase == FG_GENERATION_RETIRING)
			return true;
		soon |= generation->phase == FG_GENERATION_DRAINING ||
			generation->phase ==
				FG_GENERATION_STARTING; /* LIVE drains then, or this ends */
	}
	if (oldest)
		fg_step_enter(step, oldest, FG_GENERATION_RETIRING);
	return soon || oldest;
}

/* One shadow's worker runs again what all LIVE workers leave. */
void fg_step_begin(struct fg_step *step, const struct fg_set *set, bool shadow)
{
	struct fg_rollout_generation *generation = fg_step_find(step, FG_GENERATION_NONE);
	uint32_t w, workers = shadow ? 1 : step->config->worker_count;
	uint16_t slots[FG_ROLLOUT_MAX_WORKERS];

	if (!shadow && step->now_ns < step->rollout->retry_ns)
		return;
	step->blocked = fg_step_lacks_memory(step);
	if (step->blocked)
		return; /* it waits for memory that comes free */
	if (!generation || !choose_slots(step, workers, slots)) {
		fg_step_make_room(step);
		return;
	}
	memset(generation, 0, sizeof(*generation));
	step->rollout->next_id = step->rollout->next_id ? step->rollout->next_id : 1;
	generation->id = step->rollout->next_id;
	step->rollout->next_id = fg_rollout_next_id(generation->id);
	generation->entry_count = set->count;
	memcpy(generation->entries, set->entries, set->count * sizeof(set->entries[0]));
	generation->shadow = shadow;
	generation->worker_count = workers;
	for (w = 0; w < generation->worker_count; w++) {
		generation->slots[w] = slots[w];
		generation->health[w].deaths = step->observed->slots[slots[w]].deaths;
	}
	step->rollout->gather_ns = 0;
	fg_step_enter(step, generation, FG_GENERATION_STARTING);
}

/* Packed versions wait a moment for others that are being packed, so that one cutover does; not
 * for long, or a model that never gets packed would block the rest. */
static bool gathering(struct fg_step *step, const struct fg_set *set)
{
	if (!set->soon)
		return false;
	if (!step->rollout->gather_ns)
		step->rollout->gather_ns = step->now_ns;
	return step->now_ns <
	       step->rollout->gather_ns + (set->early ? FG_ROLLOUT_FIRST_NS : FG_ROLLOUT_GATHER_NS);
}

/* `back`: what was started is not wanted at all now. */
static void follow_starting(struct fg_step *step, struct fg_rollout_generation *starting, bool back,
			    const struct fg_set *set)
{
	bool always = back || step->rollout->trial.active; /* what is tried must be all of it */

	if (!fg_set_same(set, starting) && (always || step->rollout->replaced < REPLACE_LIMIT)) {
		step->rollout->replaced += !always;
		fg_step_enter(step, starting, FG_GENERATION_RETIRING);
	} else if (fg_rollout_all_ready(starting, step->observed, step->now_ns)) {
		fg_step_cut_over(step, starting);
		fg_step_trial_accepted(step);
	}
}

static void choose(struct fg_step *step)
{
	struct fg_rollout_generation *live = fg_step_find(step, FG_GENERATION_LIVE);
	struct fg_rollout_generation *starting = fg_step_starting(step, false);
	struct fg_rollout_generation *held;
	struct fg_set set;
	bool same, done;

	fg_set_build(step, live, &set);
	if (fg_step_trial(step, &set))
		return;
	if (live && fg_set_same(&set, live) && !set.waiting)
		step->rollout->solo = 0;
	if (step->rollout->solo && !step->rollout->trial.active)
		fg_set_keep_one_change(&set, live);
	same = live && fg_set_same(&set, live);
	done = same && !fg_rollout_lacks_sockets(live, step->observed);
	held = same ? NULL : fg_step_held(step, &set);
	if (starting && !held) {
		follow_starting(step, starting, done, &set);
		return;
	}
	if (!set.count || done) {
		step->rollout->gather_ns = 0;
		return;
	}
	if (held) {
		if (starting) /* what is there already waits for nobody */
			fg_step_enter(step, starting, FG_GENERATION_RETIRING);
		fg_step_cut_over(step, held);
		fg_step_trial_accepted(step);
	} else if (!gathering(step, &set)) {
		fg_step_begin(step, &set, false);
	}
}

void fg_rollout_step(struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, uint64_t now_ns,
		     struct fg_rollout_actions *actions)
{
	struct fg_step step = {rollout, observed, config, now_ns, false};
	uint32_t i;

	fg_wanted_sync(rollout, observed->store, observed->served);
	fg_wanted_retry(rollout, now_ns);
	fg_step_compare(&step);
	fg_step_plans(&step);
	check_all_starting(&step);
	note_workers(&step);
	flip_out(&step);
	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		wind_down(&step, &rollout->generations[i]);
	if (!observed->stopping)
		fg_step_memory(&step);
	if (observed->stopping) {
		stop(&step);
	} else if (!fg_step_canary(&step)) {
		choose(&step);
	}
	if (!observed->stopping) {
		fg_step_shadow(&step);
		fg_step_packers(&step);
	}
	fg_rollout_list(rollout, observed, config, now_ns, actions);
}
