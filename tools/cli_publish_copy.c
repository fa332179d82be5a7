#include "tools/cli_publish_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "tools/cli_common.h"

#define SPARE_BYTES (1 << 20) /* what a copy may need beside the contents */

/* ---- names ---- */

bool fg_publish_valid_model(const char *model)
{
	size_t length = strlen(model);

	return length && length < FG_PUBLISH_NAME_BYTES && model[0] != '.' &&
	       strspn(model, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
		       length;
}

/* The version that a folder's name stands for, leading zeros allowed; 0: none. */
static uint64_t parse_version(const char *name)
{
	uint64_t version = 0;

	if (!*name || strspn(name, "0123456789") != strlen(name))
		return 0;
	for (; *name; name++)
		if (__builtin_mul_overflow(version, 10, &version) ||
		    __builtin_add_overflow(version, (uint64_t)(*name - '0'), &version))
			return 0;
	return version;
}

/* The publisher's pid of ".VERSION.tmp-PID"; 0 for any other name. */
static pid_t parse_temporary(const char *name)
{
	static const char middle[] = ".tmp-";
	size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
	const char *pid = name + 1 + digits + sizeof(middle) - 1;
	long number;

	if (!digits || strncmp(name + 1 + digits, middle, sizeof(middle) - 1) != 0 || !*pid ||
	    strspn(pid, "0123456789") != strlen(pid))
		return 0;
	errno = 0;
	number = strtol(pid, NULL, 10);
	return errno || number > INT_MAX ? 0 : (pid_t)number;
}

static int complain(const char *path, int code, struct fg_error *error)
{
	return fg_error_set(error, code, "%.200s: %s", path, strerror(-code));
}

/* ---- what lies there ---- */

/* Removes a temporary folder whose publisher is dead: its pid is free (or ours, used again), and
 * nobody holds its lock: a pid tells nothing of a publisher in another container. */
static void clean_temporary(int folder_fd, const char *name)
{
	pid_t pid = parse_temporary(name);
	int fd;

	if (!pid || (pid != getpid() && (kill(pid, 0) == 0 || errno != ESRCH)))
		return;
	fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		fg_tree_remove(folder_fd, name);
	close(fd);
}

/* What a look at the model's folder finds. */
struct found {
	uint64_t highest;
	char top[NAME_MAX + 1];	   /* its folder */
	char wanted[NAME_MAX + 1]; /* the folder of the version that was asked for; "": none */
};

static int look(const struct fg_publish *publish, struct found *found, struct fg_error *error)
{
	int fd = openat(publish->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	*found = (struct found){.highest = 0};
	if (!dir) {
		int code = complain(publish->folder, -errno, error);

		if (fd >= 0)
			close(fd);
		return code;
	}
	while ((entry = readdir(dir))) {
		uint64_t version = parse_version(entry->d_name);

		if (version > found->highest) {
			found->highest = version;
			snprintf(found->top, sizeof(found->top), "%s", entry->d_name);
		}
		if (version && version == publish->version)
			snprintf(found->wanted, sizeof(found->wanted), "%s", entry->d_name);
		clean_temporary(publish->folder_fd, entry->d_name);
	}
	closedir(dir);
	return 0;
}

/* One above the highest. The numbers end where the control socket's do. */
static int choose(struct fg_publish *publish, const struct found *found, struct fg_error *error)
{
	if (found->highest >= INT64_MAX)
		return fg_error_set(error, -ERANGE,
				    "%.150s: version %" PRIu64 " is there: no higher one can be",
				    publish->folder, found->highest);
	publish->version = found->highest + 1;
	return 0;
}

/* ---- prepare ---- */

static int open_folder(struct fg_publish *publish, struct fg_error *error)
{
	publish->made_folder = mkdir(publish->folder, 0755) == 0;
	if (!publish->made_folder && errno != EEXIST)
		return complain(publish->folder, -errno, error);
	publish->folder_fd = open(publish->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return publish->folder_fd < 0 ? complain(publish->folder, -errno, error) : 0;
}

/* Whether the folder `name` holds the same files: publish->exists; else `different` names one that
 * is another (a path of 60 bytes, cut). */
static int compare(struct fg_publish *publish, const char *name, char different[64],
		   struct fg_error *error)
{
	struct fg_tree there;
	char path[PATH_MAX];
	int result;

	if (snprintf(path, sizeof(path), "%s/%s", publish->folder, name) >= (int)sizeof(path))
		return complain(publish->folder, -ENAMETOOLONG, error);
	result = fg_tree_open(&there, path, publish->tree.stop, error);
	if (!result)
		snprintf(different, 64, "%.60s", fg_tree_difference(&publish->tree, &there));
	if (!result && !*different) { /* by names and sizes, that is */
		result = fg_tree_hash(&publish->tree, error);
		if (!result)
			result = fg_tree_hash(&there, error);
		if (!result)
			snprintf(different, 64, "%.60s",
				 fg_tree_difference(&publish->tree, &there));
		publish->exists = !result && !*different;
	}
	fg_tree_close(&there);
	return result;
}

/* The version is there: fine when it holds the same files. */
static int keep(struct fg_publish *publish, const char *name, struct fg_error *error)
{
	char different[64];
	int result = compare(publish, name, different, error);

	if (result || publish->exists)
		return result;
	return fg_error_set(error, -EEXIST,
			    "%.120s/%.60s: is there already and differs in %s; a version never "
			    "changes: publish under a new number",
			    publish->folder, name, different);
}

/* The newest holds the same files already: another number for them would be packed, checked and
 * flipped in for nothing. One that cannot be read is another. */
static bool is_newest(struct fg_publish *publish, const struct found *found)
{
	char different[64];
	struct fg_error why;

	if (!publish->chosen || publish->force || !found->highest ||
	    compare(publish, found->top, different, &why) || !publish->exists)
		return false;
	publish->version = found->highest;
	return true;
}

/* A copy that cannot fit is not begun: a full disk would hurt others meanwhile. */
static int check_room(const struct fg_publish *publish, struct fg_error *error)
{
	struct statvfs disk;
	char needed[16], there[16];
	uint64_t free_bytes;

	if (fstatvfs(publish->folder_fd, &disk))
		return complain(publish->folder, -errno, error);
	free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
	if (publish->tree.bytes + SPARE_BYTES <= free_bytes)
		return 0;
	return fg_error_set(error, -ENOSPC, "%.150s: no space: %s are needed, %s are free",
			    publish->folder,
			    fg_cli_bytes(needed, (double)publish->tree.bytes + SPARE_BYTES),
			    fg_cli_bytes(there, (double)free_bytes));
}

static int copy(struct fg_publish *publish, struct fg_error *error)
{
	const char *name;
	int length =
		snprintf(publish->temporary, sizeof(publish->temporary), "%s/.%" PRIu64 ".tmp-%d",
			 publish->folder, publish->version, (int)getpid());

	if (length >= (int)sizeof(publish->temporary)) {
		publish->temporary[0] = 0;
		return complain(publish->folder, -ENAMETOOLONG, error);
	}
	name = strrchr(publish->temporary, '/') + 1;
	if (mkdirat(publish->folder_fd, name, 0755)) {
		length = complain(publish->temporary, -errno, error);
		publish->temporary[0] = 0;
		return length;
	}
	publish->lock_fd = openat(publish->folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (publish->lock_fd < 0)
		return complain(publish->temporary, -errno, error);
	/* Where there are no locks (some network file systems), the pid alone must do. */
	if (flock(publish->lock_fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return complain(publish->temporary, -errno, error);
	return fg_tree_copy(&publish->tree, publish->lock_fd, publish->temporary, error);
}

int fg_publish_prepare(struct fg_publish *publish, const volatile sig_atomic_t *stop,
		       struct fg_error *error)
{
	struct found found;
	int result;

	publish->chosen = !publish->version;
	publish->exists = publish->done = publish->made_folder = false;
	publish->temporary[0] = 0;
	publish->folder_fd = publish->lock_fd = -1;
	result = fg_tree_open(&publish->tree, publish->source, stop, error);
	if (!result)
		result = open_folder(publish, error);
	if (!result)
		result = look(publish, &found, error);
	if (result)
		return result;
	if (found.wanted[0])
		return keep(publish, found.wanted, error);
	if (is_newest(publish, &found))
		return 0;
	if (publish->chosen)
		result = choose(publish, &found, error);
	if (!result)
		result = check_room(publish, error);
	return result ? result : copy(publish, error);
}

/* ---- commit ---- */

/* Never over something that is there. File systems without RENAME_NOREPLACE refuse at least to
 * rename over a folder that is not empty. */
static int rename_to(int fd, const char *from, const char *to)
{
	if (renameat2(fd, from, fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EINVAL && renameat(fd, from, fd, to) == 0)
		return 0;
	return errno == ENOTEMPTY ? -EEXIST : -errno;
}

static void version_name(const struct fg_publish *publish, char name[32])
{
	snprintf(name, 32, "%" PRIu64, publish->version);
}

static int commit_one(struct fg_publish *publish, struct fg_error *error)
{
	const char *temporary = strrchr(publish->temporary, '/') + 1;
	struct found found;
	char name[32];
	int code;

	for (;;) {
		version_name(publish, name);
		code = rename_to(publish->folder_fd, temporary, name);
		if (code != -EEXIST || !publish->chosen)
			break;
		code = look(publish, &found, error);
		if (!code)
			code = choose(publish, &found, error);
		if (code)
			return code;
	}
	publish->done = !code;
	return code ? fg_error_set(error, code, "%.180s/%s: %s", publish->folder, name,
				   code == -EEXIST ? "somebody published it just now"
						   : strerror(-code))
		    : 0;
}

/* Puts what stays in place all the same before the error that is there. */
static void take_back(struct fg_publish *publish, struct fg_error *error)
{
	const struct fg_error why = *error;
	char name[32];
	int code;

	if (!publish->done)
		return;
	version_name(publish, name);
	code = rename_to(publish->folder_fd, name, strrchr(publish->temporary, '/') + 1);
	publish->done = code;
	if (code)
		fg_error_set(error, 0,
			     "%s version %s stays in place, it cannot be taken back (%s); %s",
			     publish->model, name, strerror(-code), why.text);
}

/* The new names, and that of the model where it is new. */
static int sync_one(const struct fg_publish *publish, struct fg_error *error)
{
	int parent = -1, result = 0;

	if (fsync(publish->folder_fd))
		result = -errno;
	if (!result && publish->made_folder) {
		parent = openat(publish->folder_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0 || fsync(parent))
			result = -errno;
		if (parent >= 0)
			close(parent);
	}
	return result ? fg_error_set(error, result,
				     "%.150s: version %" PRIu64 " is in place, but fsync failed "
				     "(%s): it may not outlive a power cut",
				     publish->folder, publish->version, strerror(-result))
		      : 0;
}

int fg_publish_commit(struct fg_publish *list, unsigned count, struct fg_error *error)
{
	int result = 0;

	for (unsigned i = 0; i < count && !result; i++)
		if (!list[i].exists)
			result = commit_one(&list[i], error);
	for (unsigned i = 0; i < count && result; i++)
		take_back(&list[i], error);
	for (unsigned i = 0; i < count && !result; i++)
		if (list[i].done)
			result = sync_one(&list[i], error);
	return result;
}

void fg_publish_drop(struct fg_publish *publish)
{
	if (publish->temporary[0] && !publish->done)
		fg_tree_remove(publish->folder_fd, strrchr(publish->temporary, '/') + 1);
	if (publish->made_folder && !publish->done)
		rmdir(publish->folder); /* unless somebody else put something into it */
	if (publish->lock_fd >= 0)
		close(publish->lock_fd);
	if (publish->folder_fd >= 0)
		close(publish->folder_fd);
	publish->lock_fd = publish->folder_fd = -1;
	publish->temporary[0] = 0;
	fg_tree_close(&publish->tree);
}
