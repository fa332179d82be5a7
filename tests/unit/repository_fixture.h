/* repository_fixture.h: a repository on a real directory with real inotify, for its tests. */
#ifndef FG_TEST_REPOSITORY_FIXTURE_H
#define FG_TEST_REPOSITORY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "userspace/daemon/repository.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/clock.h"

#define MS 1000000ull

static char base[64];
static struct fg_repository *repository;
static struct fg_rollout *rollout;
static struct fg_rules *rules;

/* ---- files ---- */

static inline void path_of(char *path, size_t size, const char *name)
{
	assert_true(snprintf(path, size, "%s/%s", base, name) < (int)size);
}

static inline void make_dir(const char *name)
{
	char path[256];

	path_of(path, sizeof(path), name);
	assert_false(mkdir(path, 0755) && errno != EEXIST);
}

static inline void make_file(const char *name, const char *content)
{
	char path[256];
	FILE *file;

	path_of(path, sizeof(path), name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(content, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* MODEL/VERSION with a model file; both as given. */
static inline void make_version(const char *model, const char *version)
{
	char name[128];

	make_dir(model);
	snprintf(name, sizeof(name), "%s/%s", model, version);
	make_dir(name);
	snprintf(name, sizeof(name), "%s/%s/model.onnx", model, version);
	make_file(name, "some bytes");
}

static inline void move(const char *from, const char *to)
{
	char old[256], new[256];

	path_of(old, sizeof(old), from);
	path_of(new, sizeof(new), to);
	assert_int_equal(rename(old, new), 0);
}

static inline int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

static inline void remove_tree(const char *name)
{
	char path[256];

	path_of(path, sizeof(path), name);
	assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline int open_repository(void **state)
{
	struct fg_error error;

	(void)state;
	snprintf(base, sizeof(base), "/tmp/fgt-repository-XXXXXX");
	assert_non_null(mkdtemp(base));
	repository = calloc(1, sizeof(*repository));
	rollout = calloc(1, sizeof(*rollout));
	rules = calloc(1, sizeof(*rules));
	strcpy(rules->repository, base);
	return fg_repository_open(repository, &error);
}

static inline int close_repository(void **state)
{
	(void)state;
	fg_repository_close(repository);
	free(repository);
	free(rollout);
	free(rules);
	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* ---- looking ---- */

/* As control's loop: waits for inotify or the due time, for `ms`, and looks once more then. Returns
 * how often it looked. */
static inline uint32_t watch(uint32_t ms)
{
	uint64_t now_ns = fg_clock_ns(), end_ns = now_ns + ms * MS, until_ns;
	struct pollfd poll_fd = {.fd = repository->inotify, .events = POLLIN};
	uint32_t looks = 0;

	for (;; now_ns = fg_clock_ns()) {
		looks += fg_repository_update(repository, rules, rollout, now_ns);
		if (now_ns >= end_ns)
			return looks;
		until_ns = repository->due_ns < end_ns ? repository->due_ns : end_ns;
		if (until_ns > now_ns)
			poll(&poll_fd, 1, (int)((until_ns - now_ns + MS - 1) / MS));
	}
}

static inline const struct fg_store_version *find(const char *model, uint64_t version)
{
	return fg_store_version(&repository->store, model, version);
}

/* Ms until the version is complete; fails after 3 s. */
static inline uint32_t wait_complete(const char *model, uint64_t version)
{
	uint64_t began_ns = fg_clock_ns();

	while (!find(model, version) || !find(model, version)->complete) {
		watch(2);
		assert_true(fg_clock_ns() < began_ns + 3000 * MS);
	}
	return (uint32_t)((fg_clock_ns() - began_ns) / MS);
}

#endif
