#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#include "userspace/daemon/fingerprint.h"
#include "userspace/daemon/repository.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/log.h"

#define STABLE_NS 200000000ull	/* a fingerprint stands still that long: complete */
#define OLD_NS	  1000000000ull /* files last changed before that: complete at first sight */
#define SETTLE_NS 20000000ull	/* between two looks, however much is reported */
#define RETRY_NS  1000000000ull
#define PERIOD_NS 5000000000ull
#define WATCHED                                                                                    \
	(IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB |                \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* One look at the disk. */
struct look {
	struct fg_repository *repository;
	const struct fg_rules *rules;
	const struct fg_rollout *rollout;
	const char *base; /* that is being looked at */
	uint64_t now_ns;  /* CLOCK_MONOTONIC */
	uint64_t wall_ns; /* CLOCK_REALTIME, as in file times */
	uint32_t failing_count;
	uint64_t failing[FG_REPOSITORY_MAX_BASES];
	uint32_t watch_count;
	bool unwatched; /* a watch could not be set */
	int watches[FG_REPOSITORY_MAX_WATCHES];
};

/* ---- names ---- */

uint64_t fg_repository_parse_version(const char *name)
{
	uint64_t version = 0;
	size_t length = strlen(name);

	if (!length || length >= sizeof(((struct fg_store_version *)0)->directory) ||
	    strspn(name, "0123456789") != length)
		return 0;
	for (; *name; name++)
		if (__builtin_mul_overflow(version, 10, &version) ||
		    __builtin_add_overflow(version, (uint64_t)(*name - '0'), &version))
			return 0;
	return version <= INT64_MAX ? version : 0;
}

bool fg_repository_valid_model(const char *name)
{
	size_t length = strlen(name);

	return length && length < FG_ROLLOUT_NAME_BYTES && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
		       length;
}

/* True the first time. When very much is wrong, the rest of it is not told. */
static bool tell_once(struct fg_repository *repository, const char *name, const char *what)
{
	uint64_t hash = XXH64(name, strlen(name), XXH64(what, strlen(what), 0));
	uint32_t i;

	for (i = 0; i < repository->told_count; i++)
		if (repository->told[i] == hash)
			return false;
	if (repository->told_count == FG_REPOSITORY_MAX_TOLD)
		return false;
	repository->told[repository->told_count++] = hash;
	return true;
}

static void refuse(struct fg_repository *repository, const char *model, const char *name,
		   const char *why)
{
	char path[2 * NAME_MAX + 2];

	snprintf(path, sizeof(path), "%s%s%s", model, model[0] && name[0] ? "/" : "", name);
	if (tell_once(repository, path, why))
		fg_log(FG_LOG_WARN, "repository.ignored name=\"%s\" reason=\"%s\"", path, why);
}

/* ---- places ---- */

/* The model's own rules; NULL: it is one of the repository's folders, if anything. */
static const struct fg_rules_model *own_rules(const struct fg_rules *rules, const char *model)
{
	const struct fg_rules_model *found = fg_rules_find(rules, model);

	return found == &rules->defaults ? NULL : found;
}

/* Where the model's versions lie. False: nowhere, the rules do not know it. */
static bool model_path(const struct fg_rules *rules, const char *model, char *path, size_t size)
{
	const struct fg_rules_model *own = own_rules(rules, model);

	if (own)
		return snprintf(path, size, "%s", own->path) < (int)size;
	return rules->repository[0] &&
	       snprintf(path, size, "%s/%s", rules->repository, model) < (int)size;
}

const char *fg_repository_base(const struct fg_rules *rules, const char *model)
{
	const struct fg_rules_model *own = own_rules(rules, model);

	if (own)
		return own->path;
	return rules->repository[0] ? rules->repository : NULL;
}

uint64_t fg_repository_place(const char *base)
{
	return XXH64(base, strlen(base), 0);
}

/* Does the model lie in one place under both? */
static bool same_place(const struct fg_rules *a, const struct fg_rules *b, const char *model)
{
	char first[PATH_MAX], second[PATH_MAX];

	return model_path(a, model, first, sizeof(first)) &&
	       model_path(b, model, second, sizeof(second)) && !strcmp(first, second);
}

static bool contains(const uint64_t *hashes, uint32_t count, uint64_t hash)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (hashes[i] == hash)
			return true;
	return false;
}

/* A base was read, or not (-errno): only what changed is logged. */
static void note_base(struct look *look, const char *path, int code)
{
	const struct fg_repository *repository = look->repository;
	const uint64_t hash = fg_repository_place(path);
	const bool was = contains(repository->failing, repository->failing_count, hash);

	if (contains(look->failing, look->failing_count, hash))
		return; /* two models share it */
	if (code)
		look->failing[look->failing_count++] = hash;
	if (code && !was)
		fg_log(FG_LOG_WARN, "repository.trouble path=\"%s\" reason=\"%s\"", path,
		       strerror(-code));
	else if (!code && was)
		fg_log(FG_LOG_INFO, "repository.well path=\"%s\"", path);
}

static bool is_silent(const struct fg_repository *repository, const char *base)
{
	return contains(repository->silent, repository->silent_count, fg_repository_place(base));
}

/* From here on it is `base` that may keep us waiting. False: it does not answer. */
static bool go_to(struct look *look, const char *base)
{
	look->base = base;
	return !is_silent(look->repository, base);
}

static void enter(const struct look *look)
{
	if (look->repository->enter)
		look->repository->enter(look->repository->context, look->base);
}

static void watch(void *context, const char *path)
{
	struct look *look = context;
	int wd;

	enter(look);
	if (look->watch_count == FG_REPOSITORY_MAX_WATCHES) {
		look->unwatched = true;
		return;
	}
	wd = inotify_add_watch(look->repository->inotify, path, WATCHED);
	if (wd < 0) /* what is not there, or may not be read, is not watched either */
		look->unwatched |= errno == ENOSPC || errno == ENOMEM;
	else
		look->watches[look->watch_count++] = wd;
}

/* ---- versions ---- */

/* Before this look: the same files, seen since when, complete or not. */
static void compare(struct look *look, const char *model, struct fg_store_version *version,
		    uint64_t changed_ns)
{
	const struct fg_store_version *old =
		fg_store_version(&look->repository->store, model, version->version);

	version->since_ns = look->now_ns;
	if (old && old->fingerprint == version->fingerprint) {
		version->since_ns = old->since_ns;
		version->complete = old->complete;
	}
	if (look->now_ns >= version->since_ns + STABLE_NS || changed_ns + OLD_NS <= look->wall_ns)
		version->complete = true;
}

/* Does the configuration speak of this very version? */
static bool is_named(const struct fg_rules_model *rules, uint64_t version)
{
	uint32_t i;

	for (i = 0; rules->policy == FG_RULES_SPECIFIC && i < rules->count; i++)
		if (rules->versions[i] == version)
			return true;
	for (i = 0; i < rules->label_count; i++)
		if (rules->labels[i].version == version)
			return true;
	return false;
}

/* Makes room for `version` where there is none. The newest stay, and those that the rules name,
 * which are far fewer than there is room for. False: `version` itself is the one to go. */
static bool make_room(struct look *look, struct fg_store_model *model, uint64_t version)
{
	const struct fg_rules_model *rules = fg_rules_find(look->rules, model->name);
	uint32_t at = 0;

	if (model->count < FG_STORE_MAX_VERSIONS)
		return true;
	refuse(look->repository, model->name, "",
	       "more versions than are looked at: only the newest 64, and those that the "
	       "configuration names, count");
	while (at + 1 < model->count && is_named(rules, model->versions[at].version))
		at++;
	if (version < model->versions[at].version && !is_named(rules, version))
		return false;
	model->count--;
	memmove(&model->versions[at], &model->versions[at + 1],
		(model->count - at) * sizeof(model->versions[0]));
	return true;
}

/* Inserts by version. */
static void insert(struct look *look, struct fg_store_model *model,
		   const struct fg_store_version *version)
{
	uint32_t at = 0;

	if (!make_room(look, model, version->version))
		return;
	while (at < model->count && model->versions[at].version < version->version)
		at++;
	memmove(&model->versions[at + 1], &model->versions[at],
		(model->count - at) * sizeof(*version));
	model->count++;
	model->versions[at] = *version;
}

static void look_at_version(struct look *look, struct fg_store_model *model, const char *base,
			    const char *name)
{
	struct fg_store_version version = {.version = fg_repository_parse_version(name)};
	struct fg_fingerprint print;
	char path[PATH_MAX];
	uint32_t i;

	if (!version.version) {
		if (strspn(name, "0123456789") == strlen(name))
			refuse(look->repository, model->name, name,
			       "versions are numbers from 1 to 2^63-1");
		return;
	}
	for (i = 0; i < model->count; i++)
		if (model->versions[i].version == version.version) {
			refuse(look->repository, model->name, name,
			       "another directory has the same version number");
			return;
		}
	if (snprintf(path, sizeof(path), "%s/%s", base, name) >= (int)sizeof(path))
		return;
	/* Without a model file it is not a version (yet). */
	if (!fg_fingerprint_read(&print, path, watch, look) || !print.model)
		return;
	version.fingerprint = print.sum;
	memcpy(version.directory, name, strlen(name) + 1);
	compare(look, model->name, &version, print.changed_ns);
	insert(look, model, &version);
}

static int is_version(const struct dirent *entry)
{
	return entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
}

static void keep_known(const struct look *look, struct fg_store_model *model)
{
	const struct fg_repository *repository = look->repository;
	const struct fg_store_model *known = fg_store_find(&repository->store, model->name);

	if (known && same_place(&repository->rules, look->rules, model->name))
		*model = *known;
}

/* A folder of the repository that is gone is no trouble; the place of a model with its own is. */
static void look_at_model(struct look *look, struct fg_store_model *model)
{
	const char *base = fg_repository_base(look->rules, model->name);
	struct dirent **entries;
	char path[PATH_MAX];
	int i, count;

	if (!base || !model_path(look->rules, model->name, path, sizeof(path)))
		return;
	if (!go_to(look, base)) {
		keep_known(look, model);
		return;
	}
	watch(look, path);
	/* By name, so that of two directories with one number it is always the same one. */
	count = scandir(path, &entries, is_version, alphasort);
	if (own_rules(look->rules, model->name))
		note_base(look, path, count < 0 ? -errno : 0);
	if (count < 0)
		return;
	for (i = 0; i < count; i++) {
		look_at_version(look, model, path, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

/* ---- models ---- */

static void add_model(struct look *look, const char *name)
{
	struct fg_store *store = &look->repository->scratch;
	char why[192];
	uint32_t i;

	if (fg_store_find(store, name))
		return;
	for (i = 0; i < store->count; i++) {
		if (fg_wire_model(store->models[i].name) != fg_wire_model(name))
			continue;
		snprintf(why, sizeof(why),
			 "its wire name (XXH32 %08x) is also that of model %s: rename it",
			 fg_wire_model(name), store->models[i].name);
		refuse(look->repository, "", name, why);
		return;
	}
	if (store->count == FG_ROLLOUT_MAX_MODELS) {
		refuse(look->repository, "", look->rules->repository,
		       "one service holds at most 32 models: the rest is not served");
		return;
	}
	snprintf(store->models[store->count++].name, sizeof(store->models[0].name), "%s", name);
}

static bool is_directory(const struct look *look, const char *name)
{
	char path[PATH_MAX];
	struct stat info;

	enter(look);
	return snprintf(path, sizeof(path), "%s/%s", look->base, name) < (int)sizeof(path) &&
	       !stat(path, &info) && S_ISDIR(info.st_mode);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Names in use come first, then those that the configuration names. */
static void collect_named(struct look *look)
{
	const struct fg_rules *rules = look->rules;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		if (look->rollout->models[i].name[0] &&
		    fg_rules_find(rules, look->rollout->models[i].name))
			add_model(look, look->rollout->models[i].name);
	for (i = 0; i < rules->model_count; i++)
		add_model(look, rules->models[i].name);
}

/* The folders of the repository as it was seen last. */
static void collect_known(struct look *look, bool answers)
{
	const struct fg_repository *repository = look->repository;
	uint32_t i;

	for (i = 0; i < repository->store.count; i++) {
		const char *name = repository->store.models[i].name;

		if (answers ? is_directory(look, name)
			    : same_place(&repository->rules, look->rules, name))
			add_model(look, name);
	}
}

/* The repository's folders; those seen before come before new ones. */
static void collect_folders(struct look *look)
{
	struct fg_repository *repository = look->repository;
	const char *base = look->rules->repository;
	struct dirent **entries;
	int i, count;

	if (!go_to(look, base)) {
		collect_known(look, false);
		return;
	}
	watch(look, base);
	count = scandir(base, &entries, is_visible, alphasort);
	note_base(look, base, count < 0 ? -errno : 0);
	if (count < 0)
		return;
	collect_known(look, true);
	for (i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (!is_directory(look, name))
			;
		else if (fg_repository_valid_model(name))
			add_model(look, name);
		else
			refuse(repository, "", name,
			       "model names are 1 to 63 of A-Z a-z 0-9 _ . -");
		free(entries[i]);
	}
	free(entries);
}

/* ---- looking ---- */

static bool is_listed(const int *list, uint32_t count, int wd)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (list[i] == wd)
			return true;
	return false;
}

/* Directories that were moved away keep their watches; those that were deleted lost them. */
static void replace_watches(struct look *look)
{
	struct fg_repository *repository = look->repository;
	uint32_t i;

	for (i = 0; i < repository->watch_count; i++)
		if (!is_listed(look->watches, look->watch_count, repository->watches[i]))
			inotify_rm_watch(repository->inotify, repository->watches[i]);
	memcpy(repository->watches, look->watches, look->watch_count * sizeof(look->watches[0]));
	repository->watch_count = look->watch_count;
}

static void note_watches(struct look *look)
{
	struct fg_repository *repository = look->repository;

	if (look->unwatched && !repository->unwatched)
		fg_log(FG_LOG_WARN, "repository.unwatched reason=\"not all directories can be "
				    "watched (fs.inotify.max_user_watches): changes are seen "
				    "within a second\"");
	repository->unwatched = look->unwatched;
}

static void keep_failing(struct look *look)
{
	struct fg_repository *repository = look->repository;

	memcpy(repository->failing, look->failing, look->failing_count * sizeof(look->failing[0]));
	repository->failing_count = look->failing_count;
}

static uint64_t next_look(const struct fg_repository *repository, uint64_t now_ns)
{
	const struct fg_store_model *model;
	bool soon = repository->failing_count || repository->unwatched;
	uint64_t due = now_ns + (soon ? RETRY_NS : PERIOD_NS);
	uint32_t i, k;

	for (i = 0; i < repository->store.count; i++) {
		const char *base;

		model = &repository->store.models[i];
		base = fg_repository_base(&repository->rules, model->name);
		for (k = 0; base && !is_silent(repository, base) && k < model->count; k++)
			if (!model->versions[k].complete &&
			    model->versions[k].since_ns + STABLE_NS < due)
				due = model->versions[k].since_ns + STABLE_NS;
	}
	return due;
}

static void look_at_disk(struct fg_repository *repository, const struct fg_rules *rules,
			 const struct fg_rollout *rollout, uint64_t now_ns)
{
	struct look look = {.repository = repository,
			    .rules = rules,
			    .rollout = rollout,
			    .now_ns = now_ns};
	struct timespec wall;
	uint32_t i;

	clock_gettime(CLOCK_REALTIME, &wall);
	look.wall_ns = (uint64_t)wall.tv_sec * 1000000000ull + (uint64_t)wall.tv_nsec;
	memset(&repository->scratch, 0, sizeof(repository->scratch));
	collect_named(&look);
	if (rules->repository[0])
		collect_folders(&look);
	for (i = 0; i < repository->scratch.count; i++)
		look_at_model(&look, &repository->scratch.models[i]);
	replace_watches(&look);
	note_watches(&look);
	keep_failing(&look);
	repository->rules = *rules;
	repository->store = repository->scratch;
	repository->last_ns = now_ns;
	repository->changed = false;
	repository->due_ns = next_look(repository, now_ns);
}

/* What was reported does not matter, only that something was: a look finds out. */
static void drain_events(struct fg_repository *repository)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	while (read(repository->inotify, events, sizeof(events)) > 0)
		repository->changed = true;
}

bool fg_repository_update(struct fg_repository *repository, const struct fg_rules *rules,
			  const struct fg_rollout *rollout, uint64_t now_ns)
{
	drain_events(repository);
	if (memcmp(&repository->rules, rules, sizeof(*rules)))
		repository->due_ns = now_ns;
	if (repository->last_ns && repository->changed &&
	    repository->last_ns + SETTLE_NS < repository->due_ns)
		repository->due_ns = repository->last_ns + SETTLE_NS;
	if (now_ns < repository->due_ns)
		return false;
	look_at_disk(repository, rules, rollout, now_ns);
	return true;
}

bool fg_repository_path(const struct fg_rules *rules, const struct fg_store *store,
			const char *model, uint64_t version, char *path, size_t size)
{
	const struct fg_store_version *found = fg_store_version(store, model, version);
	size_t used;

	if (!found || !model_path(rules, model, path, size))
		return false;
	used = strlen(path);
	return snprintf(path + used, size - used, "/%s", found->directory) < (int)(size - used);
}

void fg_repository_carry(struct fg_store *store, const struct fg_rules *before,
			 const struct fg_rules *rules)
{
	uint32_t i, kept = 0;

	for (i = 0; i < store->count; i++)
		if (same_place(before, rules, store->models[i].name))
			store->models[kept++] = store->models[i];
	memset(&store->models[kept], 0, (store->count - kept) * sizeof(store->models[0]));
	store->count = kept;
	for (i = 0; i < rules->model_count && store->count < FG_ROLLOUT_MAX_MODELS; i++)
		if (!fg_store_find(store, rules->models[i].name))
			memcpy(store->models[store->count++].name, rules->models[i].name,
			       sizeof(rules->models[i].name));
}

int fg_repository_open(struct fg_repository *repository, struct fg_error *error)
{
	memset(repository, 0, sizeof(*repository));
	repository->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (repository->inotify < 0)
		return fg_error_set(error, -errno, "inotify: %s (fs.inotify.max_user_instances?)",
				    strerror(errno));
	return 0;
}

void fg_repository_close(struct fg_repository *repository)
{
	close(repository->inotify);
	repository->inotify = -1;
}
