#include "userspace/daemon/served.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/daemon/repository.h"
#include "userspace/shared/log.h"

#define MAX_BYTES 4096

static bool trusted(int fd)
{
	struct stat info;

	return !fstat(fd, &info) && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
	       !(info.st_mode & (S_IWGRP | S_IWOTH));
}

static void add(struct fg_rollout_served *list, const char *model, uint64_t version)
{
	uint32_t i;

	for (i = 0; i < list->count; i++)
		if (!strcmp(list->list[i].model, model))
			return;
	if (list->count == FG_ROLLOUT_MAX_MODELS)
		return;
	snprintf(list->list[list->count].model, sizeof(list->list[0].model), "%s", model);
	list->list[list->count++].version = version;
}

/* Lines that are none are left out. */
static void parse(struct fg_rollout_served *list, char *text)
{
	char model[FG_ROLLOUT_NAME_BYTES], *line, *rest = text;
	uint64_t version;

	while ((line = strsep(&rest, "\n")))
		if (sscanf(line, "%63s %" SCNu64, model, &version) == 2 && version &&
		    fg_repository_valid_model(model))
			add(list, model, version);
}

void fg_served_open(struct fg_served *served, const char *folder, const char *name)
{
	char text[MAX_BYTES];
	ssize_t got;
	int fd;

	memset(served, 0, sizeof(*served));
	snprintf(served->path, sizeof(served->path), "%.256s/%.32s.served", folder, name);
	fd = open(served->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return;
	if (trusted(fd)) {
		got = read(fd, text, sizeof(text) - 1);
		text[got > 0 ? got : 0] = '\0';
		parse(&served->list, text);
	} else {
		fg_log(FG_LOG_WARN, "served.read path=\"%s\" reason=\"others may write it\"",
		       served->path);
	}
	close(fd);
}

static int write_list(const struct fg_served *served, const struct fg_rollout_served *list)
{
	char path[sizeof(served->path) + 8];
	uint32_t i;
	FILE *file;
	int fd, code = 0;

	snprintf(path, sizeof(path), "%s.new", served->path);
	unlink(path); /* whatever is left there */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	file = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!file)
		return -errno;
	for (i = 0; i < list->count; i++)
		fprintf(file, "%s %" PRIu64 "\n", list->list[i].model, list->list[i].version);
	if (ferror(file))
		code = -EIO;
	if (fclose(file) && !code)
		code = -errno;
	if (!code && rename(path, served->path))
		code = -errno;
	return code;
}

void fg_served_note(struct fg_served *served, const struct fg_rollout *rollout)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	struct fg_rollout_served list;
	uint32_t i;
	int code;

	if (!live || !served->path[0])
		return;
	memset(&list, 0, sizeof(list));
	for (i = 0; i < live->entry_count; i++)
		if (live->entries[i].is_default)
			add(&list, live->entries[i].model, live->entries[i].version);
	for (i = 0; i < served->list.count; i++)
		add(&list, served->list.list[i].model, served->list.list[i].version);
	if (!memcmp(&list, &served->list, sizeof(list)))
		return;
	served->list = list;
	code = write_list(served, &list);
	if (code && !served->failing)
		fg_log(FG_LOG_WARN,
		       "served.write path=\"%s\" reason=\"%s\" next=\"the next start packs in any "
		       "order\"",
		       served->path, strerror(-code));
	served->failing = code != 0;
}
