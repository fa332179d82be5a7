#include <string.h>
#include "sched/wanted.h"

/* One that is being tried again does not count: it says nothing of this try. */
static bool stands(const struct fg_rollout_failure *failure)
{
	return failure->version && (!failure->passing || failure->retry_ns);
}

static struct fg_rollout_failure *find(const struct fg_rollout_model *model, uint64_t version)
{
	uint32_t i;

	for (i = 0; version && i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (model->failures[i].version == version)
			return (struct fg_rollout_failure *)&model->failures[i];
	return NULL;
}

/* Failures of files that are gone or changed: they say nothing about what is there now. A model
 * without any version is a store that is away for a moment. */
void fg_wanted_prune(struct fg_rollout_model *model, const struct fg_store *store)
{
	const struct fg_store_model *shown = fg_store_find(store, model->name);
	const struct fg_store_version *found;
	uint32_t i;

	if (!shown || !shown->count)
		return;
	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++) {
		if (!model->failures[i].version)
			continue;
		found = fg_store_version(store, model->name, model->failures[i].version);
		if (!found || found->fingerprint != model->failures[i].fingerprint)
			memset(&model->failures[i], 0, sizeof(model->failures[i]));
	}
}

const struct fg_rollout_failure *fg_wanted_failure(const struct fg_rollout_model *model,
						   uint64_t version, uint64_t fingerprint)
{
	const struct fg_rollout_failure *failure = find(model, version);

	if (!failure || !stands(failure) || (fingerprint && failure->fingerprint != fingerprint))
		return NULL;
	return failure;
}

bool fg_wanted_waits(const struct fg_rollout_model *model, uint64_t version)
{
	const struct fg_rollout_failure *failure = fg_wanted_failure(model, version, 0);

	return failure && failure->passing;
}

uint32_t fg_wanted_tries(const struct fg_rollout_model *model, uint64_t version)
{
	const struct fg_rollout_failure *failure = find(model, version);

	return failure ? failure->tries : 0;
}

/* When the list of failures is full, versions below all of them are not tried: they may be ones
 * that it has forgotten, and trying those again and again would never end. */
uint64_t fg_wanted_floor(const struct fg_rollout_model *model)
{
	uint64_t lowest = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (model->failures[i].version < lowest)
			lowest = model->failures[i].version;
	return lowest;
}

/* A free one has version 0, so the lowest is free or the one that matters least. */
static struct fg_rollout_failure *make_room(struct fg_rollout_model *model)
{
	struct fg_rollout_failure *lowest = &model->failures[0];
	uint32_t i;

	for (i = 1; i < FG_ROLLOUT_MAX_FAILURES; i++)
		if (model->failures[i].version < lowest->version)
			lowest = &model->failures[i];
	return lowest;
}

static uint64_t pause_ns(uint32_t tries)
{
	uint64_t pause = FG_ROLLOUT_AGAIN_NS << (tries < 8 ? tries - 1 : 7);

	return pause < FG_ROLLOUT_AGAIN_MAX_NS ? pause : FG_ROLLOUT_AGAIN_MAX_NS;
}

static void take_back(struct fg_rollout *rollout, struct fg_rollout_model *model, uint64_t version)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model->name) : NULL;

	if (model->chosen != version || (entry && entry->version == version))
		return;
	model->chosen = entry ? entry->version : 0;
	model->rolled_back = 0;
}

void fg_wanted_fail(struct fg_rollout *rollout, const char *model, uint64_t version,
		    uint64_t fingerprint, const char *error, uint64_t passing_ns)
{
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);
	struct fg_rollout_failure *failure;
	uint32_t tries = 1;

	if (!record)
		return;
	failure = find(record, version);
	if (failure && failure->fingerprint == fingerprint && failure->passing)
		tries = failure->tries + 1;
	if (!failure)
		failure = make_room(record);
	memset(failure, 0, sizeof(*failure));
	failure->version = version;
	failure->fingerprint = fingerprint;
	memcpy(failure->error, error, strnlen(error, sizeof(failure->error) - 1));
	if (!passing_ns) {
		take_back(rollout, record, version);
		return;
	}
	failure->passing = 1;
	failure->tries = tries;
	failure->retry_ns = passing_ns + pause_ns(tries);
}

void fg_wanted_retry(struct fg_rollout *rollout, uint64_t now_ns)
{
	struct fg_rollout_failure *failure;
	uint32_t i, k;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		for (k = 0; k < FG_ROLLOUT_MAX_FAILURES; k++) {
			failure = &rollout->models[i].failures[k];
			if (failure->passing && failure->retry_ns <= now_ns)
				failure->retry_ns = 0;
		}
	}
}

void fg_wanted_forget(struct fg_rollout *rollout, const char *model, uint64_t version)
{
	struct fg_rollout_model *record = fg_wanted_model(rollout, model);
	struct fg_rollout_failure *failure = record ? find(record, version) : NULL;

	if (failure)
		memset(failure, 0, sizeof(*failure));
}
