#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "sched/rollout.h"
#include "sched/wanted.h"

const struct fg_rollout_served_model *fg_rollout_served(const struct fg_rollout_served *served,
							const char *model)
{
	uint32_t i;

	for (i = 0; served && i < served->count; i++)
		if (!strcmp(served->list[i].model, model))
			return &served->list[i];
	return NULL;
}

bool fg_rollout_follow(struct fg_rollout *rollout, const struct fg_rollout_served *before,
		       const struct fg_rollout_served *served)
{
	const struct fg_rollout_served_model *old, *now;
	struct fg_rollout_model *record;
	bool any = false;
	uint32_t i;

	for (i = 0; i < served->count; i++) {
		now = &served->list[i];
		old = fg_rollout_served(before, now->model);
		record = fg_wanted_model(rollout, now->model);
		if (!record || (old && old->chosen == now->chosen && old->seen == now->seen))
			continue;
		record->chosen = now->chosen;
		record->seen = now->seen;
		any = true;
	}
	return any;
}

/* What the questions below are about. */
struct heir {
	const struct fg_rollout *rollout;
	const struct fg_store *store;
	const struct fg_rules *rules;
	const struct fg_rollout_generation *live; /* NULL: none yet */
};

static bool serves_all_wanted(const struct heir *heir)
{
	struct fg_wanted wanted;
	uint32_t i;

	if (!heir->live)
		return false;
	fg_wanted_all(heir->rollout, heir->store, heir->rules, &wanted);
	for (i = 0; i < wanted.count; i++)
		if (!fg_rollout_version(heir->live,
					heir->rollout->models[wanted.items[i].model].name,
					wanted.items[i].version))
			return false;
	return true;
}

/* An older version than the one that served is good enough only where that one is not to serve. */
static bool makes_good(const struct heir *heir, const struct fg_rollout_served_model *before,
		       const struct fg_rollout_model *record)
{
	const struct fg_rules_model *rule = fg_rules_find(heir->rules, before->model);
	const struct fg_rollout_entry *entry =
		heir->live ? fg_rollout_entry(heir->live, before->model) : NULL;

	if (!rule)
		return true;
	if (!entry)
		return false;
	if (record && record->chosen == entry->version)
		return true;
	/* What was rolled back from does not come back because the choice cannot be had any more.
	 */
	if (before->chosen && entry->version != before->chosen && entry->version <= before->seen &&
	    fg_wanted_named(rule, before->chosen))
		return false;
	return entry->version >= before->version || !fg_wanted_named(rule, before->version);
}

/* NULL: it may come yet. */
static const char *why_never(const struct heir *heir, const struct fg_rollout_served_model *before,
			     const struct fg_rollout_model *record)
{
	const struct fg_rollout_failure *failure =
		record ? fg_wanted_failure(record, before->version, 0) : NULL;

	if (failure && !failure->passing)
		return failure->error;
	if (heir->store->looked_ns &&
	    !fg_store_version(heir->store, before->model, before->version))
		return "it is not on disk any more";
	return NULL;
}

int fg_rollout_succeeds(const struct fg_rollout *rollout, const struct fg_store *store,
			const struct fg_rules *rules, const struct fg_rollout_served *served,
			char *why, size_t size)
{
	const struct heir heir = {rollout, store, rules,
				  fg_rollout_find(rollout, FG_GENERATION_LIVE)};
	bool all = serves_all_wanted(&heir);
	uint32_t i;

	for (i = 0; i < served->count; i++) {
		const struct fg_rollout_served_model *before = &served->list[i];
		const struct fg_rollout_model *record =
			fg_wanted_model((struct fg_rollout *)rollout, before->model);
		const char *reason;

		if (before->away || makes_good(&heir, before, record))
			continue;
		all = false;
		reason = why_never(&heir, before, record);
		if (reason) {
			snprintf(why, size, "model %s, version %llu, which serves now: %s",
				 before->model, (unsigned long long)before->version, reason);
			return -ENOENT;
		}
	}
	return all ? 0 : -EAGAIN;
}
