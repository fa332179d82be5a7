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
#include "userspace/daemon/repository_remarks.h"
#include "userspace/protocol/wire.h"

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
	struct fg_remarks *remarks;
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

/* What a remark is on. */
static struct fg_remarks_on on(const struct look *look, const char *model, uint64_t version)
{
	return (struct fg_remarks_on){look->remarks, look->base, model, version};
}

/* A base that cannot be read; of one model, or of all of them (""). */
static void note_trouble(struct look *look, const char *model, int code)
{
	const struct fg_remarks_on its = on(look, model, 0);
	const uint64_t hash = fg_repository_place(look->base);

	fg_remarks_say(&its, look->base, "%s: %s", strerror(-code),
		       code == -ENOENT ? "make it, or change the configuration"
				       : "let flipgated read it");
	if (!contains(look->failing, look->failing_count, hash)) /* two models may share it */
		look->failing[look->failing_count++] = hash;
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

/* Who goes where there is no room: the oldest that the rules do not name. They name far fewer than
 * there is room for. */
static uint32_t oldest(const struct look *look, const struct fg_store_model *model)
{
	const struct fg_rules_model *rules = fg_rules_find(look->rules, model->name);
	uint32_t at = 0;

	while (at + 1 < model->count && is_named(rules, model->versions[at].version))
		at++;
	return at;
}

/* There is no room, and the version itself would be the one to go: so it is not even looked at,
 * however many such there are. */
static bool is_outdone(struct look *look, const struct fg_store_model *model, const char *base,
		       uint64_t version)
{
	const struct fg_remarks_on its = on(look, model->name, 0);

	if (model->count < FG_STORE_MAX_VERSIONS)
		return false;
	fg_remarks_say(&its, base,
		       "more versions than are looked at: only the newest %d, and those that the "
		       "configuration names, count: remove old ones",
		       FG_STORE_MAX_VERSIONS);
	return version < model->versions[oldest(look, model)].version &&
	       !is_named(fg_rules_find(look->rules, model->name), version);
}

/* Inserts by version, in the place of the oldest where there is no room. */
static void insert(const struct look *look, struct fg_store_model *model,
		   const struct fg_store_version *version)
{
	uint32_t at = 0, gone;

	if (model->count == FG_STORE_MAX_VERSIONS) {
		gone = oldest(look, model);
		model->count--;
		memmove(&model->versions[gone], &model->versions[gone + 1],
			(model->count - gone) * sizeof(*version));
	}
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
	const struct fg_remarks_on its = on(look, model->name, version.version);
	struct fg_fingerprint print;
	char path[PATH_MAX];
	uint32_t i;

	if (snprintf(path, sizeof(path), "%s/%s", base, name) >= (int)sizeof(path))
		return;
	if (!version.version) {
		if (strspn(name, "0123456789") == strlen(name))
			fg_remarks_say(&its, path,
				       "versions are numbers from 1 to 2^63-1: rename "
				       "it");
		else
			fg_remarks_no_name(&its, base, name);
		return;
	}
	for (i = 0; i < model->count; i++)
		if (model->versions[i].version == version.version) {
			fg_remarks_say(&its, path,
				       "another directory has the same version number: "
				       "remove one of them");
			return;
		}
	if (is_outdone(look, model, base, version.version))
		return;
	/* Without a model file it is not a version (yet). */
	if (!fg_fingerprint_read(&print, path, watch, look) || !print.model) {
		fg_remarks_no_version(&its, path);
		return;
	}
	version.fingerprint = print.sum;
	memcpy(version.directory, name, strlen(name) + 1);
	compare(look, model->name, &version, print.changed_ns);
	insert(look, model, &version);
}

/* The newest first, so that those which do not count cost no look. By name, so that of two
 * directories with one number it is always the same one. */
static int newest_first(const struct dirent **a, const struct dirent **b)
{
	uint64_t one = fg_repository_parse_version((*a)->d_name);
	uint64_t other = fg_repository_parse_version((*b)->d_name);

	if (one != other)
		return one < other ? 1 : -1;
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
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
	struct fg_remarks_on its;
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
	count = scandir(path, &entries, is_visible, newest_first);
	if (count < 0) {
		if (own_rules(look->rules, model->name))
			note_trouble(look, model->name, -errno);
		return;
	}
	for (i = 0; i < count; i++) {
		look_at_version(look, model, path, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	its = on(look, model->name, 0);
	fg_remarks_on_model(&its, model, fg_rules_find(look->rules, model->name), path);
}

/* ---- models ---- */

static void add_model(struct look *look, const char *name)
{
	struct fg_store *store = &look->repository->scratch;
	const struct fg_remarks_on its = on(look, name, 0), all = on(look, "", 0);
	char path[PATH_MAX];
	uint32_t i;

	if (fg_store_find(store, name))
		return;
	if (!model_path(look->rules, name, path, sizeof(path)))
		return;
	for (i = 0; i < store->count; i++) {
		if (fg_wire_model(store->models[i].name) != fg_wire_model(name))
			continue;
		fg_remarks_say(&its, path,
			       "its wire name (XXH32 %08x) is also that of model %s: rename it",
			       fg_wire_model(name), store->models[i].name);
		return;
	}
	if (store->count == FG_ROLLOUT_MAX_MODELS) {
		fg_remarks_say(&all, path,
			       "one service holds at most %d models, and there are more: serve it "
			       "by another flipgated",
			       FG_ROLLOUT_MAX_MODELS);
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

static void refuse_name(const struct fg_remarks_on *its, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", its->base, name);
	fg_remarks_say(its, path, "model names are 1 to 63 of A-Z a-z 0-9 _ . -: rename it");
}

/* The repository's folders; those seen before come before new ones. */
static void collect_folders(struct look *look)
{
	const char *base = look->rules->repository;
	struct fg_remarks_on its;
	struct dirent **entries;
	int i, count;

	if (!go_to(look, base)) {
		collect_known(look, false);
		return;
	}
	its = on(look, "", 0);
	watch(look, base);
	count = scandir(base, &entries, is_visible, alphasort);
	if (count < 0) {
		note_trouble(look, "", -errno);
		return;
	}
	if (!count)
		fg_remarks_say(&its, base,
			       "holds no models: put MODEL/VERSION/model.onnx there "
			       "(flipgate publish)");
	collect_known(look, true);
	for (i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (!is_directory(look, name))
			fg_remarks_no_model(&its, name);
		else if (fg_repository_valid_model(name))
			add_model(look, name);
		else
			refuse_name(&its, name);
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
	const struct fg_remarks_on its = on(look, "", 0);

	if (look->unwatched)
		fg_remarks_say(&its, "fs.inotify.max_user_watches",
			       "not all directories can be watched, changes are seen within a "
			       "second: raise it");
	look->repository->unwatched = look->unwatched;
}

/* What does not answer is what it was. */
static void keep_remarks(const struct look *look)
{
	const struct fg_repository *repository = look->repository;
	const struct fg_remark *one = repository->remarks.list;

	for (; one < repository->remarks.list + repository->remarks.count; one++)
		if (contains(repository->silent, repository->silent_count, one->place))
			fg_remarks_add(look->remarks, one);
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
			    .base = rules->repository,
			    .remarks = &repository->scratch_remarks,
			    .now_ns = now_ns};
	struct timespec wall;
	uint32_t i;

	clock_gettime(CLOCK_REALTIME, &wall);
	look.wall_ns = (uint64_t)wall.tv_sec * 1000000000ull + (uint64_t)wall.tv_nsec;
	memset(&repository->scratch, 0, sizeof(repository->scratch));
	memset(look.remarks, 0, sizeof(*look.remarks));
	keep_remarks(&look);
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
	repository->store.looked_ns = now_ns;
	repository->remarks = repository->scratch_remarks;
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
