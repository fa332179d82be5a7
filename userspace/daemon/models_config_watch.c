#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/models_config_watch.h"
#include "userspace/shared/log.h"

#define STABLE_NS 200000000ull
#define SETTLE_NS 20000000ull /* between two looks, however much is reported */
#define PERIOD_NS 1000000000ull
#define WATCHED                                                                                    \
	(IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB |                \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* Bytes of the content, hashed; what is beyond the bound makes the file bad anyhow. *hash 0: it
 * cannot be read; -errno. */
static int hash_content(const char *path, uint64_t *hash)
{
	int code = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	XXH64_state_t *state = XXH64_createState();
	size_t used = 0;
	ssize_t count = 0;
	char bytes[16384];

	*hash = 0;
	if (fd < 0 || !state) {
		code = fd < 0 ? -errno : -ENOMEM;
		goto out;
	}
	XXH64_reset(state, 0);
	while (used <= FG_MODELS_CONFIG_MAX_BYTES && (count = read(fd, bytes, sizeof(bytes))) > 0) {
		XXH64_update(state, bytes, (size_t)count);
		used += (size_t)count;
	}
	if (count < 0)
		code = -errno;
	else
		*hash = XXH64_digest(state) | 1; /* never 0 */
out:
	XXH64_freeState(state);
	if (fd >= 0)
		close(fd);
	return code;
}

/* Leaves `watched` for the directory of `path`; a watch of the same one is the same again. */
static int watch_directory(const struct fg_models_config_watch *watch, const char *path)
{
	char directory[PATH_MAX];
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (!slash)
		return -1;
	slash[slash == directory] = '\0';
	return inotify_add_watch(watch->inotify, directory, WATCHED);
}

static void set_watches(struct fg_models_config_watch *watch)
{
	int next[FG_MODELS_CONFIG_WATCHES] = {watch_directory(watch, watch->path), -1};
	char target[PATH_MAX];
	int i;

	if (realpath(watch->path, target))
		next[1] = watch_directory(watch, target);
	for (i = 0; i < FG_MODELS_CONFIG_WATCHES; i++)
		if (watch->watches[i] >= 0 && watch->watches[i] != next[0] &&
		    watch->watches[i] != next[1])
			inotify_rm_watch(watch->inotify, watch->watches[i]);
	memcpy(watch->watches, next, sizeof(next));
}

static void note_trouble(struct fg_models_config_watch *watch, int code)
{
	if (code && !watch->failing)
		fg_log(FG_LOG_WARN, "models_config.trouble path=\"%s\" reason=\"%s\"", watch->path,
		       strerror(-code));
	else if (!code && watch->failing)
		fg_log(FG_LOG_INFO, "models_config.well path=\"%s\"", watch->path);
	watch->failing = code != 0;
}

/* Watches come first, so that no change after the look is missed. */
static bool look(struct fg_models_config_watch *watch, uint64_t now_ns)
{
	uint64_t hash;

	set_watches(watch);
	note_trouble(watch, hash_content(watch->path, &hash));
	if (hash != watch->seen) {
		watch->seen = hash;
		watch->since_ns = now_ns;
	}
	watch->last_ns = now_ns;
	watch->due_ns = now_ns + PERIOD_NS;
	if (!hash || hash == watch->told)
		return false;
	if (now_ns < watch->since_ns + STABLE_NS) {
		watch->due_ns = watch->since_ns + STABLE_NS;
		return false;
	}
	watch->told = hash;
	return true;
}

bool fg_models_config_watch_update(struct fg_models_config_watch *watch, uint64_t now_ns)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool changed = false;

	while (read(watch->inotify, events, sizeof(events)) > 0)
		changed = true;
	if (changed && watch->last_ns + SETTLE_NS < watch->due_ns)
		watch->due_ns = watch->last_ns + SETTLE_NS;
	return now_ns >= watch->due_ns && look(watch, now_ns);
}

int fg_models_config_watch_open(struct fg_models_config_watch *watch, const char *path,
				struct fg_error *error)
{
	memset(watch, 0, sizeof(*watch));
	memset(watch->watches, 0xff, sizeof(watch->watches));
	watch->path = path;
	watch->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->inotify < 0)
		return fg_error_set(error, -errno, "inotify: %s (fs.inotify.max_user_instances?)",
				    strerror(errno));
	return 0;
}

void fg_models_config_watch_close(struct fg_models_config_watch *watch)
{
	close(watch->inotify);
	watch->inotify = -1;
}
