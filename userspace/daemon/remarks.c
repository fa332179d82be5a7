#include "userspace/daemon/remarks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "sched/wanted.h"
#include "userspace/daemon/repository.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

/* ---- the rollout ---- */

static void say(struct fg_remarks *remarks, const struct fg_rules *rules, const char *model,
		const char *reason)
{
	const char *base = fg_repository_base(rules, model);
	struct fg_remark remark = {.place = base ? fg_repository_place(base) : 0};

	snprintf(remark.model, sizeof(remark.model), "%s", model);
	snprintf(remark.path, sizeof(remark.path), "%s%s%s", base ? base : "",
		 base == rules->repository ? "/" : "", base == rules->repository ? model : "");
	snprintf(remark.reason, sizeof(remark.reason), "%s", reason);
	fg_remarks_add(remarks, &remark);
}

static void say_left_out(struct fg_remarks *remarks, const struct fg_rollout *rollout,
			 const struct fg_rules *rules, const struct fg_wanted *wanted)
{
	char reason[sizeof(remarks->list[0].reason)];
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		if (!wanted->left_out[i])
			continue;
		snprintf(reason, sizeof(reason),
			 "%u of its versions are not served: a service holds at most %d model "
			 "versions: let its policy name fewer, or remove old ones",
			 wanted->left_out[i], FG_ROLLOUT_MAX_MODELS);
		say(remarks, rules, rollout->models[i].name, reason);
	}
}

/* A record and slots for one more generation. */
static bool has_room(const struct fg_rollout *rollout, uint32_t workers)
{
	uint32_t i, used = 0;
	bool record = false;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		record |= rollout->generations[i].phase == FG_GENERATION_NONE;
		if (rollout->generations[i].phase != FG_GENERATION_NONE)
			used += rollout->generations[i].worker_count;
	}
	return record && used + workers <= FG_MAX_SLOTS;
}

/* The wanted version of a model is about to go live, and nothing can be started for it. */
static void say_waiting(struct fg_remarks *remarks, const struct fg_rollout *rollout,
			const struct fg_rules *rules, const struct fg_wanted *wanted)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	uint32_t i;

	if (!live || has_room(rollout, live->worker_count) ||
	    fg_rollout_find(rollout, FG_GENERATION_STARTING) ||
	    !fg_rollout_find(rollout, FG_GENERATION_DRAINING))
		return;
	for (i = 0; i < wanted->count; i++) {
		const char *model = rollout->models[wanted->items[i].model].name;

		if (!fg_rollout_version(live, model, wanted->items[i].version))
			say(remarks, rules, model,
			    "its wanted version waits: so many generations drain that there is no "
			    "room for another: it comes when one ends, after drain-deadline at the "
			    "latest");
	}
}

void fg_remarks_on_rollout(struct fg_remarks *remarks, const struct fg_rollout *rollout,
			   const struct fg_store *store, const struct fg_rules *rules)
{
	struct fg_wanted wanted;

	fg_wanted_all(rollout, store, rules, &wanted);
	say_left_out(remarks, rollout, rules, &wanted);
	say_waiting(remarks, rollout, rules, &wanted);
}

/* ---- the log ---- */

static uint64_t hash_of(const struct fg_remark *remark)
{
	uint64_t hash = XXH64(remark->path, strlen(remark->path), remark->more);

	hash = XXH64(remark->model, strlen(remark->model), hash);
	return XXH64(remark->reason, strlen(remark->reason), hash);
}

static void tell(const struct fg_remark *remark)
{
	char path[sizeof(remark->path)], reason[FG_REMARK_TEXT_BYTES];
	struct fg_remark bare = *remark;

	snprintf(path, sizeof(path), "%s", remark->path);
	fg_log_clean(path);
	bare.path[0] = '\0';
	fg_log(FG_LOG_WARN, "store.remark%s%s path=\"%s\" reason=\"%s\"",
	       remark->model[0] ? " model=" : "", remark->model, path,
	       fg_remark_text(&bare, reason));
}

void fg_remarks_tell(struct fg_remarks_told *told, const struct fg_remarks *remarks,
		     uint64_t now_ns)
{
	struct fg_remarks_told next = {.count = remarks->count};
	uint32_t i, k;

	for (i = 0; i < remarks->count; i++) {
		next.list[i].hash = hash_of(&remarks->list[i]);
		next.list[i].since_ns = now_ns;
		for (k = 0; k < told->count; k++)
			if (told->list[k].hash == next.list[i].hash)
				next.list[i] = told->list[k];
		if (next.list[i].told || now_ns < next.list[i].since_ns + FG_REMARKS_TELL_NS)
			continue;
		next.list[i].told = true;
		tell(&remarks->list[i]);
	}
	*told = next;
}

/* ---- the check ---- */

int fg_remarks_check(const struct fg_rules *rules, struct fg_error *error)
{
	struct fg_repository *repository = calloc(1, sizeof(*repository));
	struct fg_rollout *rollout = calloc(1, sizeof(*rollout));
	char text[FG_REMARK_TEXT_BYTES];
	struct fg_store *store;
	int code = repository && rollout ? fg_repository_open(repository, error) : -ENOMEM;

	if (code) {
		free(repository);
		free(rollout);
		return code;
	}
	fg_repository_update(repository, rules, rollout, fg_clock_ns());
	store = &repository->store;
	for (uint32_t i = 0; i < store->count; i++) /* as if all of it stood still */
		for (uint32_t k = 0; k < store->models[i].count; k++)
			store->models[i].versions[k].complete = true;
	fg_wanted_sync(rollout, store, NULL);
	fg_remarks_on_rollout(&repository->remarks, rollout, store, rules);
	for (uint32_t i = 0; i < repository->remarks.count; i++)
		printf("not served: %s\n", fg_remark_text(&repository->remarks.list[i], text));
	fg_repository_close(repository);
	free(repository);
	free(rollout);
	return 0;
}
