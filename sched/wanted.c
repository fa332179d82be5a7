#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "sched/wanted.h"

const struct fg_store_model *fg_store_find(const struct fg_store *store, const char *model)
{
	uint32_t i;

	for (i = 0; i < store->count; i++)
		if (!strcmp(store->models[i].name, model))
			return &store->models[i];
	return NULL;
}

const struct fg_store_version *fg_store_version(const struct fg_store *store, const char *model,
						uint64_t version)
{
	const struct fg_store_model *found = fg_store_find(store, model);
	uint32_t i;

	for (i = 0; found && i < found->count; i++)
		if (found->versions[i].version == version)
			return &found->versions[i];
	return NULL;
}

struct fg_rollout_model *fg_wanted_model(struct fg_rollout *rollout, const char *name)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		if (rollout->models[i].name[0] && !strcmp(rollout->models[i].name, name))
			return &rollout->models[i];
	return NULL;
}

static bool in_generation(const struct fg_rollout *rollout, const char *model)
{
	const struct fg_rollout_generation *generation = rollout->generations;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++, generation++)
		for (k = 0; generation->phase && k < generation->entry_count; k++)
			if (!strcmp(generation->entries[k].model, model))
				return true;
	return false;
}

static bool any_complete(const struct fg_store_model *model)
{
	uint32_t i;

	for (i = 0; i < model->count; i++)
		if (model->versions[i].complete)
			return true;
	return false;
}

/* A choice outlives the gateway that it was told to, but not the version that it names: a model of
 * that name which comes later is another one. */
static void begin(struct fg_rollout_model *record, const char *name, const struct fg_store *store,
		  const struct fg_rollout_served *served)
{
	const struct fg_rollout_served_model *before = fg_rollout_served(served, name);

	snprintf(record->name, sizeof(record->name), "%s", name);
	if (before && fg_store_version(store, name, before->chosen)) {
		record->chosen = before->chosen;
		record->seen = before->seen;
	}
}

void fg_wanted_sync(struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rollout_served *served)
{
	const struct fg_store_model *found;
	struct fg_rollout_model *record;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		record = &rollout->models[i];
		if (!record->name[0])
			continue;
		if (!rollout->trial.active) /* the store is that of the rules on trial */
			fg_wanted_prune(record, store);
		found = fg_store_find(store, record->name);
		if (!(found && found->count) && !in_generation(rollout, record->name))
			memset(record, 0, sizeof(*record));
	}
	for (i = 0; i < store->count; i++) {
		if (!any_complete(&store->models[i]) ||
		    fg_wanted_model(rollout, store->models[i].name))
			continue;
		for (k = 0; k < FG_ROLLOUT_MAX_MODELS && rollout->models[k].name[0]; k++)
			;
		if (k < FG_ROLLOUT_MAX_MODELS)
			begin(&rollout->models[k], store->models[i].name, store, served);
	}
}

static bool holds_plans(const struct fg_rollout_generation *generation)
{
	switch (generation->phase) {
	case FG_GENERATION_LIVE:
	case FG_GENERATION_CANARY:
	case FG_GENERATION_SHADOW:
	case FG_GENERATION_DRAINING:
	case FG_GENERATION_KEPT:
		return !generation->bad;
	default:
		return false;
	}
}

const struct fg_rollout_generation *fg_wanted_holder(const struct fg_rollout *rollout,
						     const char *model, uint64_t version)
{
	const struct fg_rollout_generation *generation, *best = NULL;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &rollout->generations[i];
		if (holds_plans(generation) && fg_rollout_version(generation, model, version) &&
		    (!best || generation->flip_ns > best->flip_ns))
			best = generation;
	}
	return best;
}

int fg_wanted_held(const struct fg_rollout *rollout, const char *model, uint64_t version)
{
	const struct fg_rollout_generation *holder = fg_wanted_holder(rollout, model, version);

	return holder ? (int)fg_rollout_version(holder, model, version)->plan : -1;
}

bool fg_wanted_asked(const struct fg_rollout *rollout, const char *model, uint64_t version)
{
	int held = fg_wanted_held(rollout, model, version);

	return held >= 0 && rollout->contents[held].asked;
}

void fg_wanted_ask(struct fg_rollout *rollout, const struct fg_store *store, const char *model,
		   uint64_t version)
{
	const struct fg_store_version *found = fg_store_version(store, model, version);
	int held = fg_wanted_held(rollout, model, version);

	if (held >= 0 && found && rollout->contents[held].files != found->fingerprint)
		rollout->contents[held].asked = 1;
}

static uint64_t live_version(const struct fg_rollout *rollout, const char *model)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? entry->version : 0;
}

/* On disk, or held by workers that serve or served it; and not known to fail: also where others
 * still hold it, or it would be started from there again and again. What other files than those
 * that are held do is no matter. */
static bool offered(const struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rollout_model *model, uint64_t version)
{
	const struct fg_rollout_failure *failure = fg_wanted_failure(model, version, 0);
	int held = fg_wanted_held(rollout, model->name, version);
	const struct fg_store_version *found;

	if (failure && (held < 0 || rollout->contents[held].files == failure->fingerprint))
		return false;
	if (held >= 0)
		return true;
	found = fg_store_version(store, model->name, version);
	return found && found->complete;
}

bool fg_wanted_named(const struct fg_rules_model *rule, uint64_t version)
{
	uint32_t i;

	if (rule->policy != FG_RULES_SPECIFIC)
		return true;
	for (i = 0; i < rule->count; i++)
		if (rule->versions[i] == version)
			return true;
	return false;
}

static uint64_t newest(const struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rules_model *rule, const struct fg_rollout_model *model,
		       uint64_t above)
{
	const struct fg_store_model *found = fg_store_find(store, model->name);
	uint64_t best = live_version(rollout, model->name), floor = fg_wanted_floor(model);
	uint32_t i;

	if (best <= above || !fg_wanted_named(rule, best))
		best = 0;
	for (i = 0; found && i < found->count; i++) {
		const struct fg_store_version *version = &found->versions[i];

		if (version->version > above && version->version > best &&
		    version->version > floor && fg_wanted_named(rule, version->version) &&
		    offered(rollout, store, model, version->version))
			best = version->version;
	}
	return best;
}

/* The operator's choice alone counts; `chosen`: there is one that can be had. */
static bool is_manual(const struct fg_rollout *rollout, const struct fg_rules_model *rule,
		      bool chosen)
{
	return rule->policy == FG_RULES_MANUAL &&
	       (chosen || fg_rollout_find(rollout, FG_GENERATION_LIVE));
}

/* A canary decides for all models while it is under way: its own gets its version, the others keep
 * theirs. */
static bool canary_decides(const struct fg_rollout *rollout, const struct fg_store *store,
			   const struct fg_rollout_model *model, uint64_t *version)
{
	const struct fg_canary *canary = &rollout->canary;

	if (!fg_canary_active(canary))
		return false;
	*version = live_version(rollout, model->name);
	if (!strcmp(canary->model, model->name) && offered(rollout, store, model, canary->version))
		*version = canary->version;
	return true;
}

uint64_t fg_wanted_version(const struct fg_rollout *rollout, const struct fg_store *store,
			   const struct fg_rules *rules, const struct fg_rollout_model *model)
{
	const struct fg_rules_model *rule = fg_rules_find(rules, model->name);
	uint64_t live = live_version(rollout, model->name), version;
	bool chosen;

	if (!rule)
		return 0;
	if (canary_decides(rollout, store, model, &version))
		return version;
	chosen = model->chosen && fg_wanted_named(rule, model->chosen) &&
		 offered(rollout, store, model, model->chosen);
	if (is_manual(rollout, rule, chosen))
		return chosen ? model->chosen : live;
	version = newest(rollout, store, rule, model, model->chosen ? model->seen : 0);
	if (version)
		return version;
	if (chosen)
		return model->chosen;
	if (live && model->chosen && fg_wanted_waits(model, model->chosen))
		return live; /* the choice stands; meanwhile nothing else is chosen for it */
	version = newest(rollout, store, rule, model, 0);
	return live && (fg_wanted_named(rule, live) || !version) ? live : version;
}

/* ---- all that should be loaded ---- */

/* What one list is made from. */
struct lister {
	const struct fg_rollout *rollout;
	const struct fg_store *store;
	const struct fg_rules *rules;
	const struct fg_rollout_generation *live;
	struct fg_wanted *wanted;
};

bool fg_wanted_has(const struct fg_rollout *rollout, const struct fg_wanted *wanted,
		   const char *model, uint64_t version)
{
	uint32_t i;

	for (i = 0; i < wanted->count; i++)
		if (wanted->items[i].version == version &&
		    !strcmp(rollout->models[wanted->items[i].model].name, model))
			return true;
	return false;
}

/* Returns how many versions of the model there are now: one more, unless it was there. */
static uint32_t add(const struct lister *lister, uint32_t model, uint64_t version, bool is_default)
{
	struct fg_wanted *wanted = lister->wanted;
	uint32_t i, count = 0;
	bool known = false;

	for (i = 0; i < wanted->count; i++) {
		if (wanted->items[i].model != model)
			continue;
		known |= wanted->items[i].version == version;
		count++;
	}
	if (known)
		return count;
	if (wanted->count == FG_ROLLOUT_MAX_MODELS) {
		wanted->left_out[model]++;
		return count;
	}
	wanted->items[wanted->count++] = (struct fg_wanted_item){model, is_default, version};
	return count + 1;
}

/* A version beside the default; those that may be forgotten failures are not tried. */
static bool loadable(const struct lister *lister, const struct fg_rollout_model *model,
		     uint64_t version)
{
	return offered(lister->rollout, lister->store, model, version) &&
	       (version > fg_wanted_floor(model) ||
		fg_wanted_holder(lister->rollout, model->name, version));
}

/* A store that shows no version at all has vanished: then what serves counts as being there. */
static void add_newest(const struct lister *lister, uint32_t index, uint32_t most)
{
	const struct fg_rollout_model *model = &lister->rollout->models[index];
	const struct fg_store_model *found = fg_store_find(lister->store, model->name);
	const struct fg_rollout_generation *live = lister->live;
	uint32_t i, count = 1;

	for (i = found ? found->count : 0; i > 0 && count < most; i--)
		if (loadable(lister, model, found->versions[i - 1].version))
			count = add(lister, index, found->versions[i - 1].version, false);
	for (i = 0; live && (!found || !found->count) && i < live->entry_count; i++)
		if (!strcmp(live->entries[i].model, model->name) && count < most)
			count = add(lister, index, live->entries[i].version, false);
}

static void add_labelled(const struct lister *lister, uint32_t index,
			 const struct fg_rules_model *rule)
{
	const struct fg_rollout_model *model = &lister->rollout->models[index];
	uint32_t i;

	for (i = 0; rule->policy == FG_RULES_SPECIFIC && i < rule->count; i++)
		if (loadable(lister, model, rule->versions[i]))
			add(lister, index, rule->versions[i], false);
	for (i = 0; i < rule->label_count; i++)
		if (loadable(lister, model, rule->labels[i].version))
			add(lister, index, rule->labels[i].version, false);
}

static void add_live(const struct lister *lister, uint32_t index)
{
	const struct fg_rollout_generation *live = lister->live;
	uint32_t i;

	for (i = 0; live && i < live->entry_count; i++)
		if (!strcmp(live->entries[i].model, lister->rollout->models[index].name))
			add(lister, index, live->entries[i].version, false);
}

/* What is loaded of a model beside its default. */
static void add_beside(const struct lister *lister, uint32_t index)
{
	const struct fg_rollout_model *model = &lister->rollout->models[index];
	const struct fg_rules_model *rule = fg_rules_find(lister->rules, model->name);
	const struct fg_canary *canary = &lister->rollout->canary;

	if (fg_canary_active(canary) && strcmp(canary->model, model->name)) {
		add_live(lister, index);
		return;
	}
	if (rule->policy == FG_RULES_LATEST)
		add_newest(lister, index, rule->count);
	add_labelled(lister, index, rule);
	if (rule->policy == FG_RULES_ALL)
		add_newest(lister, index, UINT32_MAX);
}

void fg_wanted_all(const struct fg_rollout *rollout, const struct fg_store *store,
		   const struct fg_rules *rules, struct fg_wanted *wanted)
{
	const struct lister lister = {rollout, store, rules,
				      fg_rollout_find(rollout, FG_GENERATION_LIVE), wanted};
	uint64_t version;
	uint32_t i, defaults;

	memset(wanted, 0, sizeof(*wanted));
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		if (!rollout->models[i].name[0])
			continue;
		version = fg_wanted_version(rollout, store, rules, &rollout->models[i]);
		if (version)
			add(&lister, i, version, true);
	}
	defaults = wanted->count;
	for (i = 0; i < defaults; i++)
		add_beside(&lister, wanted->items[i].model);
}

bool fg_wanted_stopgap(const struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rules *rules, const struct fg_rollout_model *model,
		       uint64_t version)
{
	const struct fg_rules_model *rule = fg_rules_find(rules, model->name);

	/* Where it stays at what serves first, nothing may stand in for that. */
	if (!rule || rule->policy == FG_RULES_MANUAL || fg_canary_active(&rollout->canary))
		return false;
	return version > (model->chosen ? model->seen : 0) &&
	       version > live_version(rollout, model->name) && fg_wanted_named(rule, version) &&
	       offered(rollout, store, model, version);
}

bool fg_wanted_exists(const struct fg_rollout *rollout, const struct fg_store *store,
		      const char *model, uint64_t version)
{
	const struct fg_store_version *found = fg_store_version(store, model, version);

	return (found && found->complete) || fg_wanted_holder(rollout, model, version);
}

/* From now on only versions above all that are wanted or served today overrule the operator. */
static void raise_seen(const struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rules *rules, struct fg_rollout_model *record,
		       uint64_t chosen)
{
	uint64_t wanted = fg_wanted_version(rollout, store, rules, record);
	uint64_t live = live_version(rollout, record->name);

	if (record->seen < wanted)
		record->seen = wanted;
	if (record->seen < live)
		record->seen = live;
	if (record->seen < chosen)
		record->seen = chosen;
}

int fg_wanted_promote(struct fg_rollout *rollout, const struct fg_store *store,
		      const struct fg_rules *rules, const char *model, uint64_t version)
{
	const struct fg_rules_model *rule = fg_rules_find(rules, model);
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);

	if (fg_canary_runs(&rollout->canary, model, version))
		return fg_canary_finish(rollout, model);
	if (!record || !rule || !fg_wanted_exists(rollout, store, model, version))
		return -ENOENT;
	if (!fg_wanted_named(rule, version))
		return -EPERM;
	if (fg_canary_active(&rollout->canary) || rollout->trial.active)
		return -EBUSY;
	raise_seen(rollout, store, rules, record, version);
	fg_wanted_forget(rollout, model, version);
	fg_wanted_ask(rollout, store, model, version);
	record->chosen = version;
	record->rolled_back = 0;
	rollout->replaced = 0;
	return 0;
}

/* What else is under way may take long, or for ever; a rollback cannot wait. */
static void make_way(struct fg_rollout *rollout, const char *model)
{
	char text[FG_CANARY_REASON_BYTES];

	rollout->replaced = 0;
	if (rollout->trial.active)
		fg_rollout_refuse(rollout, "a rollback came first");
	if (!fg_canary_active(&rollout->canary))
		return;
	snprintf(text, sizeof(text), "a rollback of %s came first", model);
	fg_canary_end(rollout, FG_CANARY_ABORTED, text, 0);
}

int fg_wanted_rollback(struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rules *rules, const char *model, uint64_t *version)
{
	const struct fg_rules_model *rule = fg_rules_find(rules, model);
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);
	uint64_t live = live_version(rollout, model);
	uint64_t target;
	int held;

	if (!record || !live || !rule)
		return -ENOENT;
	if (fg_canary_runs(&rollout->canary, model, 0))
		return -EBUSY;
	target = record->rolled_back ? record->chosen : record->previous;
	if (!target)
		return -ENOENT;
	*version = target;
	if (!fg_wanted_exists(rollout, store, model, target) || !fg_wanted_named(rule, target))
		return -ESTALE;
	make_way(rollout, model);
	raise_seen(rollout, store, rules, record, target);
	fg_wanted_forget(rollout, model, target);
	held = fg_wanted_held(rollout, model, target);
	if (held >= 0)
		rollout->contents[held].take = rollout->contents[held].asked = 0;
	if (!record->rolled_back)
		record->rolled_back = live;
	record->chosen = target;
	return 0;
}

void fg_wanted_settle(struct fg_rollout *rollout, const char *model, uint64_t chosen, uint64_t seen)
{
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);

	if (!record)
		return;
	record->chosen = chosen;
	if (record->seen < seen)
		record->seen = seen;
	if (record->seen < chosen)
		record->seen = chosen;
}

void fg_wanted_cutover(struct fg_rollout *rollout, const struct fg_rollout_generation *last,
		       const struct fg_rollout_generation *next, const struct fg_rules *rules)
{
	const struct fg_rollout_entry *entry, *old;
	struct fg_rollout_model *record;
	uint32_t i;

	for (i = 0; i < next->entry_count; i++) {
		entry = &next->entries[i];
		record = fg_wanted_model(rollout, entry->model);
		old = last ? fg_rollout_entry(last, entry->model) : NULL;
		if (record && !fg_wanted_failure(record, entry->version, 0))
			fg_wanted_forget(rollout, entry->model, entry->version); /* it passed */
		if (!record || !entry->is_default)
			continue;
		if (fg_rules_manual(rules, entry->model) && !record->chosen)
			record->chosen = record->seen = entry->version;
		if (!old || old->version == entry->version)
			continue;
		if (record->rolled_back == old->version && record->chosen == entry->version) {
			record->previous = 0;
		} else {
			record->previous = old->version;
			record->rolled_back = 0;
		}
	}
}
