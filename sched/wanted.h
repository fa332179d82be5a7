/*
 * wanted.h: which versions of each model should serve, and which of them by default: the rules of
 * the configuration (sched/rules.h), the operator, failures.
 *
 * The default. Policies latest, all, specific: the newest version that the policy names, that is
 * complete on disk and did not fail. An operator's choice (promote, rollback) holds until a version
 * appears that is newer than all that were wanted when it was made: so a version that was rolled
 * back from does not come back by itself.
 * Policy manual: until a first generation is live as latest, unless an operator's choice is known
 * from before, and nothing stands in for the newest while that is packed; from then on only the
 * operator's choice, and models that appear later wait for a promote.
 * Beside the default: what else the policy names, and what labels name, as far as it is on disk and
 * did not fail.
 * During a canary (sched/canary.h) its version is the default of its model, and all others stay as
 * they serve.
 * Always: what serves goes on serving when its files vanish, or change to what does not work, and a
 * choice that fails falls back to what is live. A model that the rules no longer name ends.
 */
#ifndef FG_SCHED_WANTED_H
#define FG_SCHED_WANTED_H

#include <stdbool.h>
#include <stdint.h>
#include "sched/rollout.h"

#define FG_STORE_MAX_VERSIONS 64 /* the newest of one model */

struct fg_store_version {
	uint64_t version;     /* never 0 */
	uint64_t fingerprint; /* of names, sizes, times, modes and inodes of its files */
	uint64_t since_ns;    /* when that fingerprint was first seen */
	bool complete;	      /* the fingerprint has stood still; may be packed */
	char directory[32];   /* its name below the model's directory ("007") */
};

struct fg_store_model {
	char name[FG_ROLLOUT_NAME_BYTES];
	uint32_t count; /* 0: its directory is gone or empty */
	struct fg_store_version versions[FG_STORE_MAX_VERSIONS]; /* by version, upward */
};

/* What the repository holds. Written by userspace/daemon/repository. */
struct fg_store {
	uint64_t looked_ns; /* when the look began that found all this */
	uint32_t count;
	struct fg_store_model models[FG_ROLLOUT_MAX_MODELS];
};

/* NULL when there is none. */
const struct fg_store_model *fg_store_find(const struct fg_store *store, const char *model);
const struct fg_store_version *fg_store_version(const struct fg_store *store, const char *model,
						uint64_t version);

/* The record of a model; NULL when there is none. */
struct fg_rollout_model *fg_wanted_model(struct fg_rollout *rollout, const char *name);

/* Gives each model with a complete version a record, with the operator's choice of the gateway's
 * last life (`served` may be NULL); frees those of models that are neither on disk nor in a
 * generation. */
void fg_wanted_sync(struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rollout_served *served);

/* `rules` everywhere: fg_rollout_rules(). The version of `model` (a record of `rollout`) that
 * should serve by default; 0: none. */
uint64_t fg_wanted_version(const struct fg_rollout *rollout, const struct fg_store *store,
			   const struct fg_rules *rules, const struct fg_rollout_model *model);

struct fg_wanted_item {
	uint32_t model; /* index into rollout->models */
	uint32_t is_default;
	uint64_t version;
};

/* What should be loaded of all models. */
struct fg_wanted {
	uint32_t count;
	struct fg_wanted_item items[FG_ROLLOUT_MAX_MODELS];
	uint32_t left_out[FG_ROLLOUT_MAX_MODELS]; /* versions of rollout->models[i] without room */
};

/* First the default of each model, then what is named, then all others, as far as there is room. */
void fg_wanted_all(const struct fg_rollout *rollout, const struct fg_store *store,
		   const struct fg_rules *rules, struct fg_wanted *wanted);
/* Is that version of the model among them? */
bool fg_wanted_has(const struct fg_rollout *rollout, const struct fg_wanted *wanted,
		   const char *model, uint64_t version);
/* Does the policy allow this version at all? */
bool fg_wanted_named(const struct fg_rules_model *rule, uint64_t version);

/* A newer default may let this version serve until it is packed. */
bool fg_wanted_stopgap(const struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rules *rules, const struct fg_rollout_model *model,
		       uint64_t version);

/* The generation that served, or serves, this version, and whose plan is still held; NULL: none.
 * Such a version needs neither files nor packing. */
const struct fg_rollout_generation *fg_wanted_holder(const struct fg_rollout *rollout,
						     const char *model, uint64_t version);
/* The plan that it holds; -1: none. */
int fg_wanted_held(const struct fg_rollout *rollout, const char *model, uint64_t version);
/* The operator asked for the files of a held version as they are on disk, and they were not
 * compared yet, or are about to serve. */
bool fg_wanted_asked(const struct fg_rollout *rollout, const char *model, uint64_t version);
/* Asks for that, where they may be others than those of the plan. */
void fg_wanted_ask(struct fg_rollout *rollout, const struct fg_store *store, const char *model,
		   uint64_t version);

/* ---- wanted_failures.c ---- */

/* Remembers that the version failed with these files. What holds the version, made of other files,
 * goes on; else an operator's choice of it is taken back. passing_ns: the time, where what stood in
 * the way may pass (a file that could not be read, an address that was away, memory): then the
 * choice stands, and the version is tried again after a pause that doubles each time; 0: the files
 * are at fault, and it is not tried before they change. */
void fg_wanted_fail(struct fg_rollout *rollout, const char *model, uint64_t version,
		    uint64_t fingerprint, const char *error, uint64_t passing_ns);
/* The failure of a version, NULL when it has none, or is being tried again. Of files that changed
 * since, it does not count: pass the present fingerprint, or 0 for any. */
const struct fg_rollout_failure *fg_wanted_failure(const struct fg_rollout_model *model,
						   uint64_t version, uint64_t fingerprint);
/* It failed, and will be tried again by itself. */
bool fg_wanted_waits(const struct fg_rollout_model *model, uint64_t version);
/* How often it was tried and failed for what may pass; also while it is being tried. */
uint32_t fg_wanted_tries(const struct fg_rollout_model *model, uint64_t version);
/* Begins the tries that are due. */
void fg_wanted_retry(struct fg_rollout *rollout, uint64_t now_ns);
/* Forgets failures of files that are gone or changed. */
void fg_wanted_prune(struct fg_rollout_model *model, const struct fg_store *store);
/* Versions below are not tried. */
uint64_t fg_wanted_floor(const struct fg_rollout_model *model);
/* It is to be tried once more. */
void fg_wanted_forget(struct fg_rollout *rollout, const char *model, uint64_t version);

/* ---- wanted.c ---- */

/* Complete on disk, or held: an operator may ask for it. */
bool fg_wanted_exists(const struct fg_rollout *rollout, const struct fg_store *store,
		      const char *model, uint64_t version);

/*
 * The operator's choice of a version, as its files are on disk: where those of a version that is
 * held have changed, what they make serves instead. A failure of it is forgotten: it is tried once
 * more.
 * -ENOENT: no such model, or no such complete version on disk or held; -EPERM: the policy names
 * others only; -EBUSY: a reload or a canary is under way (of this very version: all flows now).
 * Idempotent.
 */
int fg_wanted_promote(struct fg_rollout *rollout, const struct fg_store *store,
		      const struct fg_rules *rules, const char *model, uint64_t version);

/*
 * Back to the version that served before the live one, just as it served, if it is still held;
 * *version tells which. Again, before anything
 * newer went live: the same answer, nothing changes (two clicks must not bring the bad version
 * back). A reload that is under way is refused; `rules` are those in force, not those on trial.
 * -ENOENT: the model is not live, or nothing served before. -ESTALE: *version served before,
 * but is neither on disk nor held any more. -EBUSY: a canary of this very model is under way
 * (fg_canary_abort). One of another model, and a reload, are pushed aside.
 */
int fg_wanted_rollback(struct fg_rollout *rollout, const struct fg_store *store,
		       const struct fg_rules *rules, const char *model, uint64_t *version);

/* The choice after a canary: `chosen` stays until a version above `seen` appears. */
void fg_wanted_settle(struct fg_rollout *rollout, const char *model, uint64_t chosen,
		      uint64_t seen);

/* Bookkeeping of a cutover: `next` becomes live after `last` (NULL: the first). */
void fg_wanted_cutover(struct fg_rollout *rollout, const struct fg_rollout_generation *last,
		       const struct fg_rollout_generation *next, const struct fg_rules *rules);

#endif
