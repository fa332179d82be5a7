#include "userspace/daemon/served.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "sched/wanted.h"
#include "userspace/daemon/repository.h"
#include "userspace/shared/log.h"

#define MAX_BYTES 16384

static bool trusted(int fd)
{
	struct stat info;

	return !fstat(fd, &info) && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
	       !(info.st_mode & (S_IWGRP | S_IWOTH));
}

static void add(struct fg_rollout_served *list, const struct fg_rollout_served_model *model)
{
	if (!fg_rollout_served(list, model->model) && list->count < FG_ROLLOUT_MAX_MODELS)
		list->list[list->count++] = *model;
}

/* Lines that are none are left out. */
static void parse(struct fg_served *served, char *text)
{
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n"))) {
		struct fg_rollout_served_model model = {0};
		char state[8] = "";
		int fields =
			sscanf(line,
			       "%63s %" SCNu64 " %" SCNu64 " %" SCNu64 " %7s %" SCNx64 " %" SCNx64,
			       model.model, &model.version, &model.chosen, &model.seen, state,
			       &model.digest, &model.interface);

		if (fields == 3) /* a choice needs both */
			model.chosen = 0;
		model.away = !strcmp(state, "away");
		sscanf(line, "# pid %" SCNd32, &served->keeper);
		if (fields >= 2 && model.version && fg_repository_valid_model(model.model))
			add(&served->list, &model);
	}
}

void fg_served_open(struct fg_served *served, const char *folder, const char *name)
{
	memset(served, 0, sizeof(*served));
	snprintf(served->path, sizeof(served->path), "%.256s/%.32s.served", folder, name);
	fg_served_read(served);
	if (served->code && served->code != -ENOENT)
		fg_log(FG_LOG_WARN, "served.read path=\"%s\" reason=\"%s\"", served->path,
		       served->code == -EPERM ? "others may write it" : strerror(-served->code));
}

int fg_served_read(struct fg_served *served)
{
	char text[MAX_BYTES];
	ssize_t got;
	int fd;

	memset(&served->list, 0, sizeof(served->list));
	served->keeper = 0;
	served->code = -EPERM;
	fd = open(served->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return served->code = -errno;
	if (trusted(fd)) {
		got = read(fd, text, sizeof(text) - 1);
		served->code = got < 0 ? -errno : 0;
		text[got > 0 ? got : 0] = '\0';
		parse(served, text);
	}
	close(fd);
	return served->code;
}

static int write_list(const struct fg_served *served)
{
	const struct fg_rollout_served *list = &served->list;
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
	fprintf(file, "# pid %" PRId32 "\n", served->keeper);
	for (i = 0; i < list->count; i++)
		fprintf(file,
			"%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %s %016" PRIx64 " %016" PRIx64 "\n",
			list->list[i].model, list->list[i].version, list->list[i].chosen,
			list->list[i].seen, list->list[i].away ? "away" : "live",
			list->list[i].digest, list->list[i].interface);
	if (ferror(file))
		code = -EIO;
	if (fclose(file) && !code)
		code = -errno;
	if (!code && rename(path, served->path))
		code = -errno;
	return code;
}

/* A canary that is under way ends with this gateway: then what served before it is the choice. */
static struct fg_rollout_served_model describe(const struct fg_rollout *rollout,
					       const struct fg_rollout_entry *entry,
					       const struct fg_rollout_plan *plan)
{
	const struct fg_rollout_model *record =
		fg_wanted_model((struct fg_rollout *)rollout, entry->model);
	const struct fg_canary *canary = &rollout->canary;
	struct fg_rollout_served_model model = {.version = entry->version,
						.digest = plan->digest,
						.interface = plan->interface};

	memcpy(model.model, entry->model, sizeof(model.model));
	if (record && record->chosen) {
		model.chosen = record->chosen;
		model.seen = record->seen;
	}
	if (fg_canary_runs(canary, entry->model, 0)) {
		model.chosen = entry->version;
		if (model.seen < canary->version)
			model.seen = canary->version;
	}
	return model;
}

/* The number of a version says nothing of what is in it. */
static void compare(const struct fg_served *served, const struct fg_rollout_served_model *now)
{
	const struct fg_rollout_served_model *before = fg_rollout_served(&served->list, now->model);

	if (before && before->version == now->version && before->digest && now->digest &&
	    before->digest != now->digest)
		fg_log(FG_LOG_WARN,
		       "served.differs model=%s version=%" PRIu64 " before=%016" PRIx64
		       " now=%016" PRIx64 " reason=\"its files, or the packer, changed since it "
		       "served last\"",
		       now->model, now->version, before->digest, now->digest);
}

void fg_served_note(struct fg_served *served, const struct fg_rollout *rollout,
		    const struct fg_rollout_plan plans[FG_ROLLOUT_MAX_PLANS], int32_t keeper)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	struct fg_rollout_served_model model;
	struct fg_rollout_served list;
	uint32_t i;
	int code;

	if (!served->path[0])
		return;
	/* What may be there is not overwritten before there is something to say. */
	if (!live && served->code && served->code != -ENOENT && served->code != -EPERM)
		return;
	memset(&list, 0, sizeof(list));
	for (i = 0; live && i < live->entry_count; i++) {
		if (!live->entries[i].is_default)
			continue;
		model = describe(rollout, &live->entries[i], &plans[live->entries[i].plan]);
		compare(served, &model);
		add(&list, &model);
	}
	for (i = 0; i < served->list.count; i++) {
		model = served->list.list[i];
		model.away = live ? 1 : model.away;
		add(&list, &model);
	}
	if (served->keeper == keeper && !memcmp(&list, &served->list, sizeof(list)))
		return;
	served->list = list;
	served->keeper = keeper;
	code = write_list(served);
	if (code && !served->failing)
		fg_log(FG_LOG_WARN,
		       "served.write path=\"%s\" reason=\"%s\" next=\"the next start knows "
		       "neither an order nor choices\"",
		       served->path, strerror(-code));
	served->failing = code != 0;
}
