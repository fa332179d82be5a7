#include <stddef.h>
#include <string.h>
#include "sched/rollout_actions.h"
#include "sched/rollout_step.h"

const struct fg_rules *fg_rollout_rules(const struct fg_rollout *rollout,
					const struct fg_rules *const rules[2])
{
	return rules[(rollout->rules ^ rollout->trial.active) & 1];
}

const struct fg_rules *fg_step_rules(const struct fg_step *step)
{
	return fg_rollout_rules(step->rollout, step->observed->rules);
}

/* ---- comparing ---- */

static bool same_plan(const struct fg_rollout_entry *a, const struct fg_rollout_entry *b)
{
	return b && a->version == b->version && a->plan == b->plan;
}

static bool same_entry(const struct fg_rollout_entry *a, const struct fg_rollout_entry *b)
{
	return same_plan(a, b) && a->is_default == b->is_default &&
	       !memcmp(a->labels, b->labels, sizeof(a->labels));
}

static bool same_entries(const struct fg_rollout_entry *entries, uint32_t count,
			 const struct fg_rollout_generation *generation)
{
	uint32_t i;

	if (count != generation->entry_count)
		return false;
	for (i = 0; i < count; i++)
		if (!same_entry(&entries[i], fg_rollout_version(generation, entries[i].model,
								entries[i].version)))
			return false;
	return true;
}

bool fg_set_same(const struct fg_set *set, const struct fg_rollout_generation *generation)
{
	return same_entries(set->entries, set->count, generation);
}

bool fg_set_twins(const struct fg_rollout_generation *a, const struct fg_rollout_generation *b)
{
	return same_entries(a->entries, a->entry_count, b);
}

bool fg_set_holds(const struct fg_rollout_generation *generation,
		  const struct fg_rollout_entry *entry)
{
	return generation &&
	       same_plan(entry, fg_rollout_version(generation, entry->model, entry->version));
}

uint32_t fg_set_changes(const struct fg_rollout_generation *generation,
			const struct fg_rollout_generation *live,
			const struct fg_rollout_entry **fault)
{
	uint32_t i, changes = 0;

	*fault = NULL;
	for (i = 0; i < generation->entry_count; i++) {
		if (fg_set_holds(live, &generation->entries[i]))
			continue;
		*fault = &generation->entries[i];
		changes++;
	}
	return changes;
}

/* ---- building ---- */

static struct fg_rollout_entry *add(struct fg_set *set, const char *model, uint64_t version,
				    int plan)
{
	struct fg_rollout_entry *entry;

	if (set->count == FG_ROLLOUT_MAX_MODELS)
		return NULL;
	entry = &set->entries[set->count++];
	memset(entry, 0, sizeof(*entry));
	strcpy(entry->model, model);
	entry->version = version;
	entry->plan = (uint32_t)plan;
	return entry;
}

bool fg_set_has(const struct fg_set *set, const char *model, uint64_t version)
{
	uint32_t i;

	for (i = 0; i < set->count; i++)
		if (set->entries[i].version == version && !strcmp(set->entries[i].model, model))
			return true;
	return false;
}

static void add_labels(struct fg_rollout_entry *entry, const struct fg_rules_model *rule)
{
	uint32_t i, count = 0;

	for (i = 0; i < rule->label_count; i++)
		if (rule->labels[i].version == entry->version)
			memcpy(entry->labels[count++], rule->labels[i].name,
			       sizeof(entry->labels[0]));
}

/*
 * The plan to serve a model with, and its version: the wanted one, or while that is not packed the
 * newest one below it that is, so that neither a start that is under way is lost to each newer
 * version, nor are all of them when they come faster than they are packed. -1: none.
 */
static int usable_plan(const struct fg_step *step, const struct fg_rollout_model *model,
		       uint64_t wanted, uint64_t *version)
{
	const struct fg_store_model *found = fg_store_find(step->observed->store, model->name);
	int plan = fg_rollout_find_plan(step->rollout, step->observed, model->name, wanted);
	uint32_t i;

	*version = wanted;
	for (i = found ? found->count : 0; plan < 0 && i > 0; i--) {
		*version = found->versions[i - 1].version;
		if (*version < wanted && fg_wanted_stopgap(step->rollout, step->observed->store,
							   fg_step_rules(step), model, *version))
			plan = fg_rollout_find_plan(step->rollout, step->observed, model->name,
						    *version);
	}
	return plan;
}

/* A model whose new default cannot serve yet stays as it is, but for files that changed. */
static void add_live(const struct fg_step *step, struct fg_set *set,
		     const struct fg_rollout_generation *live, const char *model, bool by_default)
{
	struct fg_rollout_entry *entry;
	uint32_t i;
	int plan;

	for (i = 0; live && i < live->entry_count; i++) {
		if (strcmp(live->entries[i].model, model) || set->count == FG_ROLLOUT_MAX_MODELS ||
		    by_default != live->entries[i].is_default)
			continue;
		entry = &set->entries[set->count++];
		*entry = live->entries[i];
		plan = fg_rollout_find_plan(step->rollout, step->observed, model, entry->version);
		if (plan >= 0)
			entry->plan = (uint32_t)plan;
	}
}

static void wait_for(const struct fg_step *step, struct fg_set *set,
		     const struct fg_rollout_model *model, uint64_t version)
{
	set->waiting = true;
	set->soon |= !fg_pack_slow(step, model->name, version);
}

bool fg_set_pending(const struct fg_step *step, const char *model, uint64_t version)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(step->rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *now = live ? fg_rollout_entry(live, model) : NULL;

	return fg_wanted_asked(step->rollout, model, version) &&
	       !(now && now->version == version) &&
	       fg_rollout_find_plan(step->rollout, step->observed, model, version) ==
		       fg_wanted_held(step->rollout, model, version);
}

/* False: it is not packed. */
static bool add_default(const struct fg_step *step, struct fg_set *set,
			const struct fg_rollout_model *model, uint64_t wanted)
{
	uint64_t version = wanted;
	int plan = fg_set_pending(step, model->name, wanted)
			   ? -1
			   : usable_plan(step, model, wanted, &version);
	struct fg_rollout_entry *entry;

	if (plan < 0 || version != wanted)
		wait_for(step, set, model, wanted);
	if (plan < 0)
		return false;
	set->early |= !step->rollout->flip.count && version != wanted;
	entry = add(set, model->name, version, plan);
	entry->is_default = 1;
	add_labels(entry, fg_rules_find(fg_step_rules(step), model->name));
	return true;
}

static void add_beside(const struct fg_step *step, struct fg_set *set,
		       const struct fg_rollout_model *model, uint64_t version)
{
	int plan = fg_rollout_find_plan(step->rollout, step->observed, model->name, version);
	struct fg_rollout_entry *entry = NULL;

	if (plan < 0)
		wait_for(step, set, model, version);
	if (plan >= 0 && !fg_set_has(set, model->name, version))
		entry = add(set, model->name, version, plan);
	if (entry)
		add_labels(entry, fg_rules_find(fg_step_rules(step), model->name));
}

/* Before anything served: a version that an older one would only stand in for is being copied
 * still, or looks as if (its files are fresh, or have times of the future). */
static bool newer_is_copied(const struct fg_step *step, const struct fg_wanted *wanted)
{
	const struct fg_store *store = step->observed->store;
	const struct fg_rules_model *rule;
	uint64_t version;
	uint32_t i, k;

	for (i = 0; i < store->count; i++) {
		const struct fg_store_model *model = &store->models[i];

		rule = fg_rules_find(fg_step_rules(step), model->name);
		version = 0;
		for (k = 0; k < wanted->count && wanted->items[k].is_default; k++)
			if (!strcmp(step->rollout->models[wanted->items[k].model].name,
				    model->name))
				version = wanted->items[k].version;
		for (k = 0; rule && k < model->count; k++)
			if (!model->versions[k].complete && model->versions[k].version > version &&
			    fg_wanted_named(rule, model->versions[k].version))
				return true;
	}
	return false;
}

void fg_set_build(const struct fg_step *step, const struct fg_rollout_generation *live,
		  struct fg_set *set)
{
	const struct fg_rollout_model *model;
	struct fg_wanted wanted;
	uint64_t stay = 0; /* bit i: models[i] */
	uint32_t i;

	memset(set, 0, offsetof(struct fg_set, entries));
	fg_wanted_all(step->rollout, step->observed->store, fg_step_rules(step), &wanted);
	set->early = !step->rollout->flip.count && !live && newer_is_copied(step, &wanted);
	set->waiting = set->soon = set->early;
	for (i = 0; i < wanted.count && wanted.items[i].is_default; i++) {
		model = &step->rollout->models[wanted.items[i].model];
		if (add_default(step, set, model, wanted.items[i].version))
			continue;
		stay |= 1ull << wanted.items[i].model;
		add_live(step, set, live, model->name, true);
	}
	for (; i < wanted.count; i++)
		if (!(stay >> wanted.items[i].model & 1))
			add_beside(step, set, &step->rollout->models[wanted.items[i].model],
				   wanted.items[i].version);
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		if (stay >> i & 1)
			add_live(step, set, live, step->rollout->models[i].name, false);
}

static bool in_set(const struct fg_set *set, const struct fg_rollout_entry *entry)
{
	uint32_t i;

	for (i = 0; i < set->count; i++)
		if (!strcmp(set->entries[i].model, entry->model) &&
		    same_plan(entry, &set->entries[i]))
			return true;
	return false;
}

void fg_set_keep_one_change(struct fg_set *set, const struct fg_rollout_generation *live)
{
	struct fg_set kept = {.waiting = set->waiting, .soon = set->soon, .early = set->early};
	const struct fg_rollout_entry *new = NULL, *now;
	uint32_t i;

	for (i = 0; i < set->count && !new; i++)
		if (!fg_set_holds(live, &set->entries[i]))
			new = &set->entries[i];
	if (!new)
		return; /* nothing that could be at fault */
	for (i = 0; live && i < live->entry_count; i++) {
		now = &live->entries[i];
		if (!strcmp(now->model, new->model) && !in_set(set, now) &&
		    (new->is_default || now->version == new->version))
			continue;
		if (kept.count == FG_ROLLOUT_MAX_MODELS - 1)
			break;
		kept.entries[kept.count] = *now;
		if (!strcmp(now->model, new->model) && new->is_default)
			kept.entries[kept.count].is_default = 0;
		kept.count++;
	}
	kept.entries[kept.count] = *new;
	now = live ? fg_rollout_entry(live, new->model) : NULL;
	if (!now || now->version == new->version)
		kept.entries[kept.count].is_default = 1;
	kept.count++;
	*set = kept;
}

bool fg_set_wants_plan(const struct fg_step *step, const struct fg_wanted *wanted, uint32_t plan)
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	uint64_t version;
	uint32_t i;
	bool named = fg_wanted_has(step->rollout, wanted, seen->model, seen->version) ||
		     fg_shadow_runs(&step->rollout->shadow, seen->model, seen->version);

	if (named && fg_rollout_find_plan(step->rollout, step->observed, seen->model,
					  seen->version) == (int)plan)
		return true;
	for (i = 0; i < wanted->count && wanted->items[i].is_default; i++) {
		const struct fg_rollout_model *model =
			&step->rollout->models[wanted->items[i].model];

		if (!strcmp(model->name, seen->model))
			return usable_plan(step, model, wanted->items[i].version, &version) ==
			       (int)plan;
	}
	return false;
}
