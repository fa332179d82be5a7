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
#include "models/model_files.h"
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
	const struct fg_rollout *rollout;
	uint64_t now_ns;  /* CLOCK_MONOTONIC */
	uint64_t wall_ns; /* CLOCK_REALTIME, as in file times */
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
	return version;
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

/* ---- versions ---- */

static void watch(struct look *look, const char *path)
{
	int wd = inotify_add_watch(look->repository->inotify, path, WATCHED);

	if (wd < 0)
		look->unwatched |= errno != ENOENT && errno != ENOTDIR;
	else if (look->watch_count < FG_REPOSITORY_MAX_WATCHES)
		look->watches[look->watch_count++] = wd;
}

static uint64_t file_ns(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static uint64_t hash_file(const char *name, const struct stat *info)
{
	const uint64_t words[] = {info->st_ino, (uint64_t)info->st_size, file_ns(info->st_mtim),
				  info->st_mode & S_IFMT};

	return XXH64(words, sizeof(words), XXH64(name, strlen(name), 0));
}

static bool is_model(const char *name)
{
#define IS_NAME(file) || !strcmp(name, file)
	return false FG_MODEL_FILES(IS_NAME);
#undef IS_NAME
}

/*
 * Sums a hash over the files, so that their order does not matter. Returns false when there is no
 * model file: such a directory is not a version (yet). *changed_ns: the newest change, wall clock.
 */
static bool fingerprint(const char *path, uint64_t *sum, uint64_t *changed_ns)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	struct stat info;
	bool model = false;

	if (!dir)
		return false;
	if (fstat(dirfd(dir), &info)) {
		closedir(dir);
		return false;
	}
	*sum = info.st_ino;
	*changed_ns = file_ns(info.st_mtim);
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    fstatat(dirfd(dir), entry->d_name, &info, 0))
			continue;
		*sum += hash_file(entry->d_name, &info);
		if (file_ns(info.st_ctim) > *changed_ns)
			*changed_ns = file_ns(info.st_ctim);
		model |= is_model(entry->d_name) && S_ISREG(info.st_mode);
	}
	closedir(dir);
	return model;
}

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

/* Inserts by version; where there is no room, the lowest goes. */
static void insert(struct look *look, struct fg_store_model *model,
		   const struct fg_store_version *version)
{
	uint32_t at = 0;

	while (at < model->count && model->versions[at].version < version->version)
		at++;
	if (model->count == FG_STORE_MAX_VERSIONS) {
		refuse(look->repository, model->name, "",
		       "more versions than are looked at: only the newest 64 count");
		if (!at--)
			return;
		memmove(&model->versions[0], &model->versions[1], at * sizeof(*version));
	} else {
		memmove(&model->versions[at + 1], &model->versions[at],
			(model->count - at) * sizeof(*version));
		model->count++;
	}
	model->versions[at] = *version;
}

static void look_at_version(struct look *look, struct fg_store_model *model, const char *name)
{
	struct fg_store_version version = {.version = fg_repository_parse_version(name)};
	char path[PATH_MAX];
	uint64_t changed_ns;
	uint32_t i;

	if (!version.version) {
		if (strspn(name, "0123456789") == strlen(name))
			refuse(look->repository, model->name, name,
			       "versions are numbers from 1 to 2^64-1");
		return;
	}
	for (i = 0; i < model->count; i++)
		if (model->versions[i].version == version.version) {
			refuse(look->repository, model->name, name,
			       "another directory has the same version number");
			return;
		}
	if (snprintf(path, sizeof(path), "%s/%s/%s", look->repository->base, model->name, name) >=
	    (int)sizeof(path))
		return;
	watch(look, path);
	if (!fingerprint(path, &version.fingerprint, &changed_ns))
		return;
	memcpy(version.directory, name, strlen(name) + 1);
	compare(look, model->name, &version, changed_ns);
	insert(look, model, &version);
}

static int is_version(const struct dirent *entry)
{
	return entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
}

static void look_at_model(struct look *look, struct fg_store_model *model)
{
	struct dirent **entries;
	char path[PATH_MAX];
	int i, count;

	if (snprintf(path, sizeof(path), "%s/%s", look->repository->base, model->name) >=
	    (int)sizeof(path))
		return;
	watch(look, path);
	/* By name, so that of two directories with one number it is always the same one. */
	count = scandir(path, &entries, is_version, alphasort);
	for (i = 0; i < count; i++) {
		look_at_version(look, model, entries[i]->d_name);
		free(entries[i]);
	}
	if (count >= 0)
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
		refuse(look->repository, "", look->repository->base,
		       "one service holds at most 32 models: the rest is not served");
		return;
	}
	snprintf(store->models[store->count++].name, sizeof(store->models[0].name), "%s", name);
}

static bool is_directory(const char *base, const char *name)
{
	char path[PATH_MAX];
	struct stat info;

	return snprintf(path, sizeof(path), "%s/%s", base, name) < (int)sizeof(path) &&
	       !stat(path, &info) && S_ISDIR(info.st_mode);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Names in use come first: those of the rollout, then those seen before, then new ones. */
static int collect_models(struct look *look)
{
	struct fg_repository *repository = look->repository;
	struct dirent **entries;
	int i, count;

	memset(&repository->scratch, 0, sizeof(repository->scratch));
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		if (look->rollout->models[i].name[0])
			add_model(look, look->rollout->models[i].name);
	count = scandir(repository->base, &entries, is_visible, alphasort);
	if (count < 0)
		return -errno;
	for (i = 0; i < (int)repository->store.count; i++)
		if (is_directory(repository->base, repository->store.models[i].name))
			add_model(look, repository->store.models[i].name);
	for (i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (!is_directory(repository->base, name))
			;
		else if (fg_repository_valid_model(name))
			add_model(look, name);
		else
			refuse(repository, "", name,
			       "model names are 1 to 63 of A-Z a-z 0-9 _ . -");
		free(entries[i]);
	}
	free(entries);
	return 0;
}

/* ---- looking ---- */

static bool contains(const int *watches, uint32_t count, int wd)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (watches[i] == wd)
			return true;
	return false;
}

/* Directories that were moved away keep their watches; those that were deleted lost them. */
static void replace_watches(struct look *look)
{
	struct fg_repository *repository = look->repository;
	uint32_t i;

	for (i = 0; i < repository->watch_count; i++)
		if (!contains(look->watches, look->watch_count, repository->watches[i]))
			inotify_rm_watch(repository->inotify, repository->watches[i]);
	memcpy(repository->watches, look->watches, look->watch_count * sizeof(look->watches[0]));
	repository->watch_count = look->watch_count;
}

static void note_trouble(struct look *look, int code)
{
	struct fg_repository *repository = look->repository;
	bool failing = code || look->unwatched;

	if (failing && !repository->failing)
		fg_log(FG_LOG_WARN, "repository.trouble path=\"%s\" reason=\"%s\"",
		       repository->base,
		       code ? strerror(-code)
			    : "not all directories can be watched (fs.inotify.max_user_watches): "
			      "changes are seen within a second");
	else if (!failing && repository->failing)
		fg_log(FG_LOG_INFO, "repository.well path=\"%s\"", repository->base);
	repository->failing = failing;
}

static uint64_t next_look(const struct fg_repository *repository, uint64_t now_ns)
{
	const struct fg_store_model *model;
	uint64_t due = now_ns + (repository->failing ? RETRY_NS : PERIOD_NS);
	uint32_t i, k;

	for (i = 0; i < repository->store.count; i++) {
		model = &repository->store.models[i];
		for (k = 0; k < model->count; k++)
			if (!model->versions[k].complete &&
			    model->versions[k].since_ns + STABLE_NS < due)
				due = model->versions[k].since_ns + STABLE_NS;
	}
	return due;
}

static void look_at_disk(struct fg_repository *repository, const struct fg_rollout *rollout,
			 uint64_t now_ns)
{
	struct look look = {.repository = repository, .rollout = rollout, .now_ns = now_ns};
	struct timespec wall;
	uint32_t i;
	int code;

	clock_gettime(CLOCK_REALTIME, &wall);
	look.wall_ns = file_ns(wall);
	watch(&look, repository->base);
	code = collect_models(&look);
	for (i = 0; !code && i < repository->scratch.count; i++)
		look_at_model(&look, &repository->scratch.models[i]);
	replace_watches(&look);
	note_trouble(&look, code);
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

bool fg_repository_update(struct fg_repository *repository, const struct fg_rollout *rollout,
			  uint64_t now_ns)
{
	drain_events(repository);
	if (repository->last_ns && repository->changed &&
	    repository->last_ns + SETTLE_NS < repository->due_ns)
		repository->due_ns = repository->last_ns + SETTLE_NS;
	if (now_ns < repository->due_ns)
		return false;
	look_at_disk(repository, rollout, now_ns);
	return true;
}

bool fg_repository_path(const struct fg_repository *repository, const char *model, uint64_t version,
			char *path, size_t size)
{
	const struct fg_store_version *found = fg_store_version(&repository->store, model, version);

	return found && snprintf(path, size, "%s/%s/%s", repository->base, model,
				 found->directory) < (int)size;
}

int fg_repository_open(struct fg_repository *repository, const char *base, struct fg_error *error)
{
	memset(repository, 0, sizeof(*repository));
	repository->base = base;
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
