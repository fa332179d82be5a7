/*
 * repository.h: which model versions lie on disk, as they come and go: in MODEL/VERSION below
 * rules->repository for models that have no rules of their own, and in PATH/VERSION for those that
 * have (sched/rules.h).
 *
 * MODEL: 1 to 63 of A-Z a-z 0-9 _ . - and not a leading dot. VERSION: digits, 1 .. 2^63-1 (what
 * JSON can say), leading zeros allowed ("007" is 7; of "7" and "007" the first by name counts), a
 * directory or a link to one, with a model file in it. Everything else is left alone, so that a
 * version can be prepared beside them (".new", "3.tmp") and renamed into place; what looks as if it
 * was meant to be served gets a remark (findings.h).
 *
 * A version is complete when its files (names, sizes, times, inodes; those in its folders too, see
 * fingerprint.h) have stood still for 200 ms, or were last changed over a second ago. inotify
 * reports changes at once; a look every few seconds finds those that inotify cannot see (network
 * file systems, too few watches).
 *
 * A look may hang, where the store does: it is for a process that may (scout.h).
 */
#ifndef FG_DAEMON_REPOSITORY_H
#define FG_DAEMON_REPOSITORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "sched/wanted.h"
#include "userspace/shared/findings.h"

#define FG_REPOSITORY_MAX_WATCHES 8192
#define FG_REPOSITORY_MAX_BASES	  (1 + FG_RULES_MAX_MODELS)
#define FG_REPOSITORY_MAX_SILENT  8

struct fg_repository {
	int inotify;	  /* readable: call update */
	uint64_t due_ns;  /* call update by then, whatever happens */
	uint64_t last_ns; /* of the last look at the disk; 0: none yet */
	bool changed;	  /* something was reported since */
	bool unwatched;	  /* not every directory is watched */
	uint32_t failing_count;
	uint64_t failing[FG_REPOSITORY_MAX_BASES]; /* hashes of bases that could not be read */
	uint32_t watch_count;
	int watches[FG_REPOSITORY_MAX_WATCHES];
	/* Hashes (fg_repository_place) of bases that do not answer, for the caller to set: they are
	 * not touched, and what is known of their versions stays. */
	uint32_t silent_count;
	uint64_t silent[FG_REPOSITORY_MAX_SILENT];
	/* Called before each directory that is looked at, with its base. NULL: not. */
	void (*enter)(void *context, const char *base);
	void *context;
	struct fg_rules rules; /* of the last look */
	struct fg_store store; /* what is there; read-only for callers, but `complete` may be set */
	struct fg_remarks remarks; /* on what is there and is not served */
	struct fg_store scratch;
	struct fg_remarks scratch_remarks;
};

/* Nothing is looked at before the first update. -errno with *error. The struct is large: not for a
 * stack. */
int fg_repository_open(struct fg_repository *repository, struct fg_error *error);
void fg_repository_close(struct fg_repository *repository);

/*
 * Reads what was reported and, if something is due, looks at the disk; at once when `rules` (those
 * in effect, fg_rollout_rules()) are not those of the last call. Returns true when it looked.
 * The store then holds every model with rules of its own, also without versions, every folder of
 * rules->repository, and what `rollout` knows of models with rules. The names that `rollout` knows
 * stay: another one whose wire name (XXH32) is the same is left out with a remark. A base
 * (rules->repository, or a model's path) that cannot be read gets a remark and is looked at again
 * every second; its models then have no versions, the others theirs.
 */
bool fg_repository_update(struct fg_repository *repository, const struct fg_rules *rules,
			  const struct fg_rollout *rollout, uint64_t now_ns);

/* The directory of a version in `store`, which was looked at under `rules`. False when it is not
 * there, or does not fit. */
bool fg_repository_path(const struct fg_rules *rules, const struct fg_store *store,
			const char *model, uint64_t version, char *path, size_t size);
/* The base that a model lies in: its own path, or rules->repository. NULL: the rules do not know
 * it. */
const char *fg_repository_base(const struct fg_rules *rules, const char *model);
uint64_t fg_repository_place(const char *base);

/*
 * What a store that was looked at under other rules, `before`, says under `rules` before anybody
 * looked: models that lie where they lay have the same versions, others none yet. In place.
 */
void fg_repository_carry(struct fg_store *store, const struct fg_rules *before,
			 const struct fg_rules *rules);

/* 1 .. 2^63-1 for a version's directory name, 0 for any other name. */
uint64_t fg_repository_parse_version(const char *name);
bool fg_repository_valid_model(const char *name);

#endif
