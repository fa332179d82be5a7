#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>
#include "models/model_files.h"
#include "userspace/daemon/fingerprint.h"

struct walk {
	struct fg_fingerprint *print;
	void (*enter)(void *context, const char *path);
	void *context;
	uint32_t entries; /* so far */
	uint32_t depth;
	char path[PATH_MAX]; /* of the directory that is being read */
};

static uint64_t file_ns(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

/* `seed` stands for the folders above. */
static uint64_t hash_name(const char *name, uint64_t seed)
{
	return XXH64(name, strlen(name), seed);
}

static uint64_t hash_file(const struct stat *info, uint64_t name)
{
	const uint64_t words[] = {info->st_ino, (uint64_t)info->st_size, file_ns(info->st_mtim),
				  info->st_mode, file_ns(info->st_ctim)};

	return XXH64(words, sizeof(words), name);
}

/* Of the version's directory itself: who may look into it. */
static uint64_t hash_place(const struct stat *info)
{
	const uint64_t words[] = {info->st_ino, info->st_mode, info->st_uid, info->st_gid};

	return XXH64(words, sizeof(words), 0);
}

static bool is_model(const char *name)
{
#define IS_NAME(file) || !strcmp(name, file)
	return false FG_MODEL_FILES(IS_NAME);
#undef IS_NAME
}

static void note_change(struct fg_fingerprint *print, struct timespec time)
{
	if (file_ns(time) > print->changed_ns)
		print->changed_ns = file_ns(time);
}

static bool read_directory(struct walk *walk, uint64_t seed);

static void read_entry(struct walk *walk, int dir, const char *name, uint64_t seed)
{
	const uint64_t hash = hash_name(name, seed);
	const size_t length = strlen(walk->path);
	struct stat info;

	if (fstatat(dir, name, &info, 0))
		return;
	walk->print->sum += hash_file(&info, hash);
	note_change(walk->print, info.st_ctim);
	walk->print->model |= !walk->depth && is_model(name) && S_ISREG(info.st_mode);
	if (!S_ISDIR(info.st_mode) || walk->depth == FG_FINGERPRINT_MAX_DEPTH ||
	    length + strlen(name) + 2 > sizeof(walk->path))
		return;
	snprintf(walk->path + length, sizeof(walk->path) - length, "/%s", name);
	walk->depth++;
	read_directory(walk, hash);
	walk->depth--;
	walk->path[length] = '\0';
}

/* Sums a hash over the entries, so that their order does not matter. */
static bool read_directory(struct walk *walk, uint64_t seed)
{
	struct dirent *entry;
	DIR *dir;

	walk->enter(walk->context, walk->path);
	dir = opendir(walk->path);
	if (!dir)
		return false;
	while (walk->entries < FG_FINGERPRINT_MAX_ENTRIES && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		walk->entries++;
		read_entry(walk, dirfd(dir), entry->d_name, seed);
	}
	closedir(dir);
	return true;
}

bool fg_fingerprint_read(struct fg_fingerprint *print, const char *path,
			 void (*enter)(void *context, const char *path), void *context)
{
	struct walk walk = {.print = print, .enter = enter, .context = context};
	struct stat info;

	memset(print, 0, sizeof(*print));
	if (snprintf(walk.path, sizeof(walk.path), "%s", path) >= (int)sizeof(walk.path))
		return false;
	if (!read_directory(&walk, 0) || stat(path, &info))
		return false;
	/* Not the time of its own change: a rename into place would make old files look new. */
	print->sum += hash_place(&info);
	note_change(print, info.st_mtim);
	return true;
}
