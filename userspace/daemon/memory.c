#include "userspace/daemon/memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESERVE	    8 /* that part of the limit is for sockets, the kernel, control */
#define KILL_LAST   (-900)
#define KILL_FIRST  1000
#define CGROUP_ROOT "/sys/fs/cgroup"

/* At most size - 1 bytes of a small file, as text; "" when there is none. */
static void read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, text, size - 1) : -1;

	text[got > 0 ? got : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* "max", and what is no number, is no limit. */
static uint64_t read_limit(const char *path)
{
	char text[32], *end;
	unsigned long long bytes;

	read_text(path, text, sizeof(text));
	bytes = strtoull(text, &end, 10);
	return end != text && bytes ? bytes : UINT64_MAX;
}

/* The least limit in `path` and above it, up to where the file system is mounted. */
static uint64_t least_above(const char *root, const char *kind, const char *path, const char *file)
{
	char name[PATH_MAX], folder[PATH_MAX];
	uint64_t least = UINT64_MAX, limit;

	snprintf(folder, sizeof(folder), "%s", path);
	if (strstr(folder, "/.."))
		return UINT64_MAX; /* of another namespace */
	for (;;) {
		char *slash = strrchr(folder, '/');

		if (snprintf(name, sizeof(name), "%s%s%s/%s", root, kind, folder, file) <
		    (int)sizeof(name)) {
			limit = read_limit(name);
			least = limit < least ? limit : least;
		}
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* v1's controllers are a list with commas. */
static bool names_memory(const char *controllers)
{
	const char *at = strstr(controllers, "memory");

	return at && (at == controllers || at[-1] == ',') && (at[6] == '\0' || at[6] == ',');
}

uint64_t fg_memory_cgroup_limit(const char *text, const char *root)
{
	char line[PATH_MAX], controllers[128], path[PATH_MAX];
	uint64_t least = UINT64_MAX, limit = UINT64_MAX;
	const char *end;

	for (; *text; text = *end ? end + 1 : end) {
		end = text + strcspn(text, "\n");
		snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
		if (sscanf(line, "0::%4095s", path) == 1)
			limit = least_above(root, "", path, "memory.max");
		else if (sscanf(line, "%*u:%127[^:]:%4095s", controllers, path) == 2 &&
			 names_memory(controllers))
			limit = least_above(root, "/memory", path, "memory.limit_in_bytes");
		least = limit < least ? limit : least;
	}
	return least;
}

/* Anonymous and shared memory of a process; files' pages can be dropped. */
static uint64_t resident(pid_t pid)
{
	unsigned long long anonymous = 0, shared = 0;
	char path[32], text[4096];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	read_text(path, text, sizeof(text));
	at = strstr(text, "RssAnon:");
	if (at)
		sscanf(at, "RssAnon: %llu", &anonymous);
	at = strstr(text, "RssShmem:");
	if (at)
		sscanf(at, "RssShmem: %llu", &shared);
	return (anonymous + shared) << 10;
}

void fg_memory_look(uint64_t most, pid_t keeper, struct fg_rollout_memory *memory)
{
	uint64_t limit = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t cgroup;
	char text[PATH_MAX];

	read_text("/proc/self/cgroup", text, sizeof(text));
	cgroup = fg_memory_cgroup_limit(text, CGROUP_ROOT);
	limit = cgroup < limit ? cgroup : limit;
	memory->limit_bytes = most && most < limit ? most : limit;
	memory->base_bytes = resident(keeper) + memory->limit_bytes / RESERVE;
}

static void set_score(int score)
{
	char text[16];
	int fd, length;

	read_text("/proc/self/oom_score_adj", text, sizeof(text));
	if (score < 0 && atoi(text) <= score)
		return; /* whoever started us protects us better */
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	length = snprintf(text, sizeof(text), "%d", score);
	if (write(fd, text, (size_t)length) < 0)
		length = 0; /* not allowed: all are killed alike, packers still first */
	close(fd);
}

void fg_memory_kill_last(void)
{
	set_score(KILL_LAST);
}

void fg_memory_kill_first(void)
{
	set_score(KILL_FIRST);
}
