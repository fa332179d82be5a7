#include "tools/cli_publish_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xxhash.h>
#include "models/model_files.h"

#define CHUNK (1 << 20)

/* ---- listing ---- */

static struct fg_tree_entry *add_entry(struct fg_tree *tree, const char *folder, const char *name)
{
	struct fg_tree_entry *entry;

	if (tree->count == tree->room) {
		size_t room = tree->room ? tree->room * 2 : 32;

		entry = realloc(tree->entries, room * sizeof(*entry));
		if (!entry)
			return NULL;
		tree->entries = entry;
		tree->room = room;
	}
	entry = &tree->entries[tree->count];
	memset(entry, 0, sizeof(*entry));
	if (asprintf(&entry->path, "%s%s%s", folder, *folder ? "/" : "", name) < 0)
		return NULL;
	tree->count++;
	return entry;
}

/* Notes that it is the source that is wrong. Returns code. */
static int blame(struct fg_tree *tree, int code)
{
	tree->at_fault = true;
	return code;
}

static int complain(struct fg_tree *tree, const char *path, int code, struct fg_error *error)
{
	return fg_error_set(error, blame(tree, code), "%.120s%s%.80s: %s", tree->source,
			    *path ? "/" : "", path, strerror(-code));
}

static int list_folder(struct fg_tree *tree, int fd, const char *path, int depth,
		       struct fg_error *error);

static int list_entry(struct fg_tree *tree, int fd, const char *folder, const char *name, int depth,
		      struct fg_error *error)
{
	struct fg_tree_entry *entry = add_entry(tree, folder, name);
	struct stat info;
	char *path;
	int below;

	if (!entry)
		return fg_error_set(error, -ENOMEM, "%.200s: out of memory", tree->source);
	path = entry->path; /* entries move when there are more */
	if (tree->count > FG_TREE_MAX_FILES)
		return fg_error_set(error, blame(tree, -E2BIG), "%.200s: more than %d files",
				    tree->source, FG_TREE_MAX_FILES);
	if (fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW))
		return complain(tree, path, -errno, error);
	if (S_ISLNK(info.st_mode))
		return fg_error_set(error, blame(tree, -ELOOP),
				    "%.120s/%.80s: is a symbolic link: put the file itself there",
				    tree->source, path);
	if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
		return fg_error_set(error, blame(tree, -EINVAL),
				    "%.120s/%.80s: is neither a file nor a folder", tree->source,
				    path);
	entry->is_folder = S_ISDIR(info.st_mode);
	if (!entry->is_folder) {
		entry->bytes = (uint64_t)info.st_size;
		tree->bytes += entry->bytes;
		return 0;
	}
	below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below < 0)
		return complain(tree, path, -errno, error);
	return list_folder(tree, below, path, depth + 1, error);
}

/* Closes fd. */
static int list_folder(struct fg_tree *tree, int fd, const char *path, int depth,
		       struct fg_error *error)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int result = 0;

	if (!dir) {
		result = complain(tree, path, -errno, error);
		close(fd);
		return result;
	}
	if (depth > FG_TREE_MAX_DEPTH)
		result = fg_error_set(error, blame(tree, -ELOOP),
				      "%.120s/%.80s: more than %d folders deep", tree->source, path,
				      FG_TREE_MAX_DEPTH);
	while (!result && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = list_entry(tree, fd, path, entry->d_name, depth, error);
	if (!result && errno)
		result = complain(tree, path, -errno, error);
	closedir(dir);
	return result;
}

static int by_path(const void *one, const void *other)
{
	return strcmp(((const struct fg_tree_entry *)one)->path,
		      ((const struct fg_tree_entry *)other)->path);
}

/* "model.onnx" for "/tmp/new.onnx"; NULL when no model ends like that. */
static const char *model_name(const char *source)
{
	static const char *const names[] = {
#define NAME(file) file,
		FG_MODEL_FILES(NAME)
#undef NAME
	};
	const char *ending = strrchr(source, '.');

	for (size_t i = 0; ending && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(strrchr(names[i], '.'), ending) == 0)
			return names[i];
	return NULL;
}

/* The tree holds the one file, under a model's name. */
static int list_file(struct fg_tree *tree, uint64_t bytes, struct fg_error *error)
{
	const char *name = model_name(tree->source);
	struct fg_tree_entry *entry;

	if (!name)
		return fg_error_set(error, blame(tree, -EINVAL),
				    "%.150s: is no model: want .onnx, .h5, .keras or a folder",
				    tree->source);
	entry = add_entry(tree, "", name);
	if (!entry)
		return fg_error_set(error, -ENOMEM, "%.200s: out of memory", tree->source);
	entry->bytes = tree->bytes = bytes;
	tree->single = true;
	return 0;
}

int fg_tree_open(struct fg_tree *tree, const char *source, const volatile sig_atomic_t *stop,
		 struct fg_error *error)
{
	struct stat info;
	int fd, result;

	*tree = (struct fg_tree){.fd = -1, .stop = stop, .source = strdup(source)};
	if (!tree->source)
		return fg_error_set(error, -ENOMEM, "out of memory");
	/* What the operator named may be a link; what lies in a folder not. */
	tree->fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (tree->fd < 0 || fstat(tree->fd, &info))
		return complain(tree, "", -errno, error);
	if (!S_ISDIR(info.st_mode))
		return S_ISREG(info.st_mode)
			       ? list_file(tree, (uint64_t)info.st_size, error)
			       : fg_error_set(error, blame(tree, -EINVAL),
					      "%.200s: is neither a file nor a folder", source);
	fd = fcntl(tree->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return complain(tree, "", -errno, error);
	result = list_folder(tree, fd, "", 1, error);
	if (!result && tree->count)
		qsort(tree->entries, tree->count, sizeof(*tree->entries), by_path);
	return result;
}

void fg_tree_close(struct fg_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++)
		free(tree->entries[i].path);
	free(tree->entries);
	free(tree->source);
	if (tree->fd >= 0)
		close(tree->fd);
	*tree = (struct fg_tree){.fd = -1};
}

/* ---- contents ---- */

/* What moves bytes: one buffer and one hash for file after file. */
struct mover {
	struct fg_tree *tree;
	const char *to_name;
	XXH3_state_t *hash;
	char *buffer;
};

static int open_mover(struct mover *mover, struct fg_tree *tree, const char *to_name,
		      struct fg_error *error)
{
	*mover = (struct mover){tree, to_name, XXH3_createState(), malloc(CHUNK)};
	return mover->hash && mover->buffer
		       ? 0
		       : fg_error_set(error, -ENOMEM, "%.200s: out of memory", tree->source);
}

static void close_mover(struct mover *mover)
{
	XXH3_freeState(mover->hash);
	free(mover->buffer);
}

static int write_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t done = write(fd, bytes, size);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			bytes += done;
			size -= (size_t)done;
		}
	}
	return 0;
}

static int complain_target(const struct mover *mover, const char *path, int code,
			   struct fg_error *error)
{
	return fg_error_set(error, code, "%.130s/%.60s: cannot be written: %s", mover->to_name,
			    path, strerror(-code));
}

/* Reads `from` to its end, hashes, and writes to `to` (-1: nowhere). */
static int pump(struct mover *mover, int from, int to, struct fg_tree_entry *entry, uint64_t *hash,
		struct fg_error *error)
{
	uint64_t bytes = 0;

	XXH3_64bits_reset(mover->hash);
	for (;;) {
		ssize_t got = read(from, mover->buffer, CHUNK);
		int code;

		if (*mover->tree->stop)
			return fg_error_set(error, -ECANCELED, "interrupted");
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return complain(mover->tree, entry->path, -errno, error);
		if (got == 0)
			break;
		bytes += (uint64_t)got;
		XXH3_64bits_update(mover->hash, mover->buffer, (size_t)got);
		code = to < 0 ? 0 : write_all(to, mover->buffer, (size_t)got);
		if (code)
			return complain_target(mover, entry->path, code, error);
	}
	*hash = XXH3_64bits_digest(mover->hash);
	if (bytes != entry->bytes)
		return fg_error_set(error, blame(mover->tree, -ESTALE),
				    "%.120s/%.80s: changed while it was read", mover->tree->source,
				    entry->path);
	return 0;
}

static bool same_time(struct timespec one, struct timespec other)
{
	return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

/* From its beginning. Through no link at all: a folder that became one since it was listed could
 * lead anywhere. */
static int open_listed(const struct fg_tree *tree, const char *path)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	if (tree->single)
		return lseek(tree->fd, 0, SEEK_SET) < 0 ? -1 : fcntl(tree->fd, F_DUPFD_CLOEXEC, 0);
	return (int)syscall(SYS_openat2, tree->fd, path, &how, sizeof(how));
}

/* Contents and times of a source file that stands still. */
static int read_source(struct mover *mover, struct fg_tree_entry *entry, int to,
		       struct fg_error *error)
{
	struct fg_tree *tree = mover->tree;
	int fd = open_listed(tree, entry->path);
	struct stat before, after;
	int result;

	if (fd < 0)
		return complain(tree, entry->path, -errno, error);
	if (fstat(fd, &before) || !S_ISREG(before.st_mode)) {
		result = complain(tree, entry->path, -ESTALE, error);
	} else {
		result = pump(mover, fd, to, entry, &entry->hash, error);
		if (!result && (fstat(fd, &after) || !same_time(before.st_mtim, after.st_mtim) ||
				!same_time(before.st_ctim, after.st_ctim)))
			result = fg_error_set(error, blame(tree, -ESTALE),
					      "%.120s/%.80s: changed while it was read",
					      tree->source, entry->path);
	}
	close(fd);
	return result;
}

/* Reads a written file back. The kernel's clean pages of it are dropped first, so that it is the
 * disk's bytes that are compared. */
static int read_back(struct mover *mover, struct fg_tree_entry *entry, int to,
		     struct fg_error *error)
{
	uint64_t hash = 0;
	int fd = openat(to, entry->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), result;

	if (fd < 0)
		return complain_target(mover, entry->path, -errno, error);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	result = pump(mover, fd, -1, entry, &hash, error);
	if ((!result && hash != entry->hash) || result == -ESTALE)
		result = fg_error_set(error, -EIO,
				      "%.130s/%.60s: reads back other than it was written",
				      mover->to_name, entry->path);
	close(fd);
	return result;
}

static int copy_file(struct mover *mover, struct fg_tree_entry *entry, int to,
		     struct fg_error *error)
{
	int fd =
		openat(to, entry->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int result;

	if (fd < 0)
		return complain_target(mover, entry->path, -errno, error);
	result = read_source(mover, entry, fd, error);
	if (!result && fsync(fd))
		result = complain_target(mover, entry->path, -errno, error);
	if (close(fd) && !result)
		result = complain_target(mover, entry->path, -errno, error);
	return result ? result : read_back(mover, entry, to, error);
}

static int make_folders(struct mover *mover, int to, struct fg_error *error)
{
	struct fg_tree *tree = mover->tree;

	for (size_t i = 0; i < tree->count; i++)
		if (tree->entries[i].is_folder && mkdirat(to, tree->entries[i].path, 0755))
			return complain_target(mover, tree->entries[i].path, -errno, error);
	return 0;
}

static int sync_folders(struct mover *mover, int to, struct fg_error *error)
{
	struct fg_tree *tree = mover->tree;
	int result = fsync(to) ? complain_target(mover, "", -errno, error) : 0;

	for (size_t i = 0; i < tree->count && !result; i++) {
		int fd;

		if (!tree->entries[i].is_folder)
			continue;
		fd = openat(to, tree->entries[i].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fsync(fd))
			result = complain_target(mover, tree->entries[i].path, -errno, error);
		if (fd >= 0)
			close(fd);
	}
	return result;
}

int fg_tree_copy(struct fg_tree *tree, int to, const char *to_name, struct fg_error *error)
{
	struct mover mover;
	int result = open_mover(&mover, tree, to_name, error);

	if (!result)
		result = make_folders(&mover, to, error);
	for (size_t i = 0; i < tree->count && !result; i++)
		if (!tree->entries[i].is_folder)
			result = copy_file(&mover, &tree->entries[i], to, error);
	if (!result)
		result = sync_folders(&mover, to, error);
	close_mover(&mover);
	return result;
}

int fg_tree_hash(struct fg_tree *tree, struct fg_error *error)
{
	struct mover mover;
	int result = open_mover(&mover, tree, "", error);

	for (size_t i = 0; i < tree->count && !result; i++)
		if (!tree->entries[i].is_folder)
			result = read_source(&mover, &tree->entries[i], -1, error);
	close_mover(&mover);
	return result;
}

const char *fg_tree_difference(const struct fg_tree *one, const struct fg_tree *other)
{
	size_t i;

	for (i = 0; i < one->count && i < other->count; i++) {
		const struct fg_tree_entry *a = &one->entries[i], *b = &other->entries[i];
		int order = strcmp(a->path, b->path);

		if (order)
			return order < 0 ? a->path : b->path;
		if (a->is_folder != b->is_folder || a->bytes != b->bytes || a->hash != b->hash)
			return a->path;
	}
	if (i < one->count)
		return one->entries[i].path;
	return i < other->count ? other->entries[i].path : "";
}

/* ---- removing ---- */

static int remove_contents(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int result = 0;

	if (!dir) {
		result = -errno;
		close(fd);
		return result;
	}
	while ((errno = 0, entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, entry->d_name, 0) == 0)
			continue;
		if (errno == EISDIR || errno == EPERM)
			errno = -fg_tree_remove(fd, entry->d_name);
		if (errno && !result)
			result = -errno;
	}
	closedir(dir);
	return result;
}

int fg_tree_remove(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int result = fd < 0 ? -errno : remove_contents(fd);

	if (!result && unlinkat(parent, name, AT_REMOVEDIR))
		result = -errno;
	return result;
}
