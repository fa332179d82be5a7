#include <errno.h>
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
		if (name[0] && !strcmp(rollout->models[i].name, name))
			return &rollout->models[i];
	return NULL;
}

static bool in_generation(const struct fg_rollout *rollout, const char *model)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (rollout->generations[i].phase != FG_GENERATION_NONE &&
		    fg_rollout_entry(&rollout->generations[i], model))
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

/* Failures of files that are gone or changed: they say nothing about what is there now. */
static void prune_failures(struct fg_rollout_model *model, const struct fg_store *store)
{
	const struct fg_store_version *found;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++) {
		if (!model->failures[i].version)
			continue;
		found = fg_store_version(store, model->name, model->failures[i].version);
		if (!found || found->fingerprint != model->failures[i].fingerprint)
			memset(&model->failures[i], 0, sizeof(model->failures[i]));
	}
}

void fg_wanted_sync(struct fg_rollout *rollout, const struct fg_store *store)
{
	const struct fg_store_model *found;
	struct fg_rollout_model *record;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		record = &rollout->models[i];
		if (!record->name[0])
			continue;
		prune_failures(record, store);
		if (in_generation(rollout, record->name))
			continue;
		found = fg_store_find(store, record->name);
		if (!found || !found->count)
			memset(record, 0, sizeof(*record));
	}
	for (i = 0; i < store->count; i++) {
		if (!any_complete(&store->models[i]) ||
		    fg_wanted_model(rollout, store->models[i].name))
			continue;
		for (k = 0; k < FG_ROLLOUT_MAX_MODELS && rollout->models[k].name[0]; k++)
			;
		if (k < FG_ROLLOUT_MAX_MODELS)
			memcpy(rollout->models[k].name, store->models[i].name,
			       sizeof(rollout->models[k].name));
	}
}

const struct fg_rollout_generation *fg_wanted_holder(const struct fg_rollout *rollout,
						     const char *model, uint64_t version)
{
	const struct fg_rollout_generation *generation, *best = NULL;
	const struct fg_rollout_entry *entry;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		generation = &rollout->generations[i];
		if (generation->phase != FG_GENERATION_LIVE &&
		    generation->phase != FG_GENERATION_DRAINING &&
		    generation->phase != FG_GENERATION_KEPT)
			continue;
		entry = fg_rollout_entry(generation, model);
		if (entry && entry->version == version &&
		    (!best || generation->flip_ns > best->flip_ns))
			best = generation;
	}
	return best;
}

static uint64_t live_version(const struct fg_rollout *rollout, const char *model)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? entry->version : 0;
}

const struct fg_rollout_failure *fg_wanted_failure(const struct fg_rollout_model *model,
						   uint64_t version, uint64_t fingerprint)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (version && model->failures[i].version == version &&
		    (!fingerprint || model->failures[i].fingerprint == fingerprint))
			return &model->failures[i];
	return NULL;
}

/* On disk and not known to fail, or held by workers that serve or served it. */
static bool offered(const struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rollout_model *model, uint64_t version)
{
	const struct fg_store_version *found;

	if (fg_wanted_holder(rollout, model->name, version))
		return true;
	found = fg_store_version(store, model->name, version);
	return found && found->complete && !fg_wanted_failure(model, version, found->fingerprint);
}

/* When the list of failures is full, versions below all of them are not tried: they may be ones
 * that it has forgotten, and trying those again and again would never end. */
static uint64_t failure_floor(const struct fg_rollout_model *model)
{
	uint64_t lowest = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (model->failures[i].version < lowest)
			lowest = model->failures[i].version;
	return lowest;
}

static uint64_t newest(const struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rollout_model *model, uint64_t above)
{
	const struct fg_store_model *found = fg_store_find(store, model->name);
	uint64_t best = live_version(rollout, model->name), floor = failure_floor(model);
	uint32_t i;

	if (best <= above)
		best = 0;
	for (i = 0; found && i < found->count; i++) {
		const struct fg_store_version *version = &found->versions[i];

		if (version->version > above && version->version > best &&
		    version->version > floor && offered(rollout, store, model, version->version))
			best = version->version;
	}
	return best;
}

uint64_t fg_wanted_version(const struct fg_rollout *rollout, const struct fg_store *store,
			   bool manual, const struct fg_rollout_model *model)
{
	uint64_t live = live_version(rollout, model->name);
	bool chosen = model->chosen && offered(rollout, store, model, model->chosen);
	uint64_t version;

	if (manual && fg_rollout_find(rollout, FG_GENERATION_LIVE))
		return chosen ? model->chosen : live;
	version = newest(rollout, store, model, model->chosen ? model->seen : 0);
	if (version)
		return version;
	if (chosen)
		return model->chosen;
	return live ? live : newest(rollout, store, model, 0);
}

bool fg_wanted_stopgap(const struct fg_rollout *rollout, const struct fg_store *store, bool manual,
		       const struct fg_rollout_model *model, uint64_t version)
{
	if (manual && fg_rollout_find(rollout, FG_GENERATION_LIVE))
		return false;
	return version > (model->chosen ? model->seen : 0) &&
	       version > live_version(rollout, model->name) &&
	       offered(rollout, store, model, version);
}

static void forget_failure(struct fg_rollout_model *model, uint64_t version)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (model->failures[i].version == version)
			memset(&model->failures[i], 0, sizeof(model->failures[i]));
}

void fg_wanted_fail(struct fg_rollout *rollout, const char *model, uint64_t version,
		    uint64_t fingerprint, const char *error)
{
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);
	struct fg_rollout_failure *slot;
	size_t length = strlen(error);
	uint32_t i;

	if (!record)
		return;
	forget_failure(record, version);
	/* A free one has version 0, so the lowest is free or the one that matters least. */
	slot = &record->failures[0];
	for (i = 1; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (record->failures[i].version < slot->version)
			slot = &record->failures[i];
	memset(slot, 0, sizeof(*slot));
	slot->version = version;
	slot->fingerprint = fingerprint;
	if (length >= sizeof(slot->error))
		length = sizeof(slot->error) - 1;
	memcpy(slot->error, error, length);
	if (record->chosen == version) {
		record->chosen = live_version(rollout, model);
		record->rolled_back = 0;
	}
}

static bool exists(const struct fg_rollout *rollout, const struct fg_store *store,
		   const char *model, uint64_t version)
{
	const struct fg_store_version *found = fg_store_version(store, model, version);

	return (found && found->complete) || fg_wanted_holder(rollout, model, version);
}

/* From now on only versions above all that are wanted or served today overrule the operator. */
static void raise_seen(const struct fg_rollout *rollout, const struct fg_store *store, bool manual,
		       struct fg_rollout_model *record, uint64_t chosen)
{
	uint64_t wanted = fg_wanted_version(rollout, store, manual, record);
	uint64_t live = live_version(rollout, record->name);

	if (record->seen < wanted)
		record->seen = wanted;
	if (record->seen < live)
		record->seen = live;
	if (record->seen < chosen)
		record->seen = chosen;
}

int fg_wanted_promote(struct fg_rollout *rollout, const struct fg_store *store, bool manual,
		      const char *model, uint64_t version)
{
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);

	if (!record || !exists(rollout, store, model, version))
		return -ENOENT;
	raise_seen(rollout, store, manual, record, version);
	forget_failure(record, version);
	record->chosen = version;
	record->rolled_back = 0;
	return 0;
}

int fg_wanted_rollback(struct fg_rollout *rollout, const struct fg_store *store, bool manual,
		       const char *model, uint64_t *version)
{
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);
	uint64_t live = live_version(rollout, model);
	uint64_t target;

	if (!record || !live)
		return -ENOENT;
	target = record->rolled_back ? record->chosen : record->previous;
	if (!target)
		return -ENOENT;
	*version = target;
	if (!exists(rollout, store, model, target))
		return -ESTALE;
	raise_seen(rollout, store, manual, record, target);
	forget_failure(record, target);
	if (!record->rolled_back)
		record->rolled_back = live;
	record->chosen = target;
	return 0;
}

void fg_wanted_cutover(struct fg_rollout *rollout, const struct fg_rollout_generation *last,
		       const struct fg_rollout_generation *next, bool manual)
{
	const struct fg_rollout_entry *entry, *old;
	struct fg_rollout_model *record;
	uint32_t i;

	for (i = 0; i < next->entry_count; i++) {
		entry = &next->entries[i];
		record = fg_wanted_model(rollout, entry->model);
		old = last ? fg_rollout_entry(last, entry->model) : NULL;
		if (!record)
			continue;
		if (manual && !record->chosen)
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
