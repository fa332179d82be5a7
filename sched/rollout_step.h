/*
 * rollout_step.h: what the files of one step share; not for others.
 *
 *   file              does
 *   rollout.c         phases: starting, flipping in, draining, ending
 *   rollout_set.c     the set of model versions that should serve
 *   rollout_plans.c   plans, and how they compare with the files on disk
 *   rollout_canary.c  canaries and shadows
 *   rollout_trial.c   reloads
 *   rollout_pack.c    who is packed next, and who gives way
 *   rollout_memory.c  what does not fit
 *   rollout_actions.c from the state to the list of what must be done
 *   rollout_workers.c questions about workers
 *   rollout_served.c  questions about what served before this start
 */
#ifndef FG_SCHED_ROLLOUT_STEP_H
#define FG_SCHED_ROLLOUT_STEP_H

#include "sched/rollout.h"
#include "sched/wanted.h"

/* What one step works on. */
struct fg_step {
	struct fg_rollout *rollout;
	const struct fg_rollout_observed *observed;
	const struct fg_rollout_config *config;
	uint64_t now_ns;
	bool blocked; /* something packed could not start: packers use the memory for it */
};

/* A set of model versions, each with its plan. */
struct fg_set {
	uint32_t count;
	/* A wanted version is not packed yet, or at the first start not even complete; the set may
	 * hold another instead. */
	bool waiting;
	bool soon;  /* one of these may be any moment */
	bool early; /* nothing has served yet, and it would be an older version, or without one that
		     * is being copied */
	struct fg_rollout_entry entries[FG_ROLLOUT_MAX_MODELS];
};

/* ---- rollout_set.c ---- */

const struct fg_rules *fg_step_rules(const struct fg_step *step);
/* Each model's wanted versions, or what is next best; else the live ones. */
void fg_set_build(const struct fg_step *step, const struct fg_rollout_generation *live,
		  struct fg_set *set);
bool fg_set_has(const struct fg_set *set, const char *model, uint64_t version);
/* The operator asked for the files of a held version as they are on disk, and what is held, if it
 * is not live anyway, must not serve before it is known what they make. */
bool fg_set_pending(const struct fg_step *step, const char *model, uint64_t version);
/* The same versions, plans, defaults and labels? */
bool fg_set_same(const struct fg_set *set, const struct fg_rollout_generation *generation);
/* The same of two generations. */
bool fg_set_twins(const struct fg_rollout_generation *a, const struct fg_rollout_generation *b);
/* Keeps of the plans that are not live yet only the first. */
void fg_set_keep_one_change(struct fg_set *set, const struct fg_rollout_generation *live);
/* The generation (may be NULL: no) holds that version with the same plan. */
bool fg_set_holds(const struct fg_rollout_generation *generation,
		  const struct fg_rollout_entry *entry);
/* Entries whose plan `live` (may be NULL) does not hold; *fault: the last of them. */
uint32_t fg_set_changes(const struct fg_rollout_generation *generation,
			const struct fg_rollout_generation *live,
			const struct fg_rollout_entry **fault);
/* The plan is in the wanted set, or will be when more is packed. */
bool fg_set_wants_plan(const struct fg_step *step, const struct fg_wanted *wanted, uint32_t plan);

/* ---- rollout.c ---- */

struct fg_rollout_generation *fg_step_find(struct fg_step *step, enum fg_generation_phase phase);
/* The STARTING one that is to serve, or that is to be a shadow. */
struct fg_rollout_generation *fg_step_starting(struct fg_step *step, bool shadow);
void fg_step_enter(struct fg_step *step, struct fg_rollout_generation *generation,
		   enum fg_generation_phase phase);
/* A DRAINING or KEPT generation of just this set that could serve at once; NULL: none. */
struct fg_rollout_generation *fg_step_held(struct fg_step *step, const struct fg_set *set);
/* Starts a generation, or makes room for it. */
void fg_step_begin(struct fg_step *step, const struct fg_set *set, bool shadow);
/* It becomes LIVE, and what was LIVE drains. */
void fg_step_cut_over(struct fg_step *step, struct fg_rollout_generation *next);
/* Its workers die as soon as they are started. */
bool fg_step_dies(const struct fg_rollout_generation *generation);
/* Of one that does: for what may pass, which is no fault of its plans. */
bool fg_step_passes(const struct fg_step *step, const struct fg_rollout_generation *generation);
/* The oldest KEPT generation ends, unless one is RETIRING already. Returns whether slots, a record
 * and memory come free soon, without a word from anybody. */
bool fg_step_make_room(struct fg_step *step);

/* ---- rollout_memory.c ---- */

/* Makes packed versions fit, or refuses the largest of them. */
void fg_step_memory(struct fg_step *step);
/* There is no memory (yet) to start a generation: packers use it, of which one gives way, or one
 * that is kept for a rollback does, which then ends. */
bool fg_step_lacks_memory(struct fg_step *step);
/* A FAILED plan lacked memory: its version is packed again with more, or refused. False: something
 * else is wrong with it. */
bool fg_step_feeds(struct fg_step *step, uint32_t plan);

/* ---- rollout_pack.c ---- */

/* Forgets tries of what is packed, gone or changed; packers that run long give way to others; what
 * cannot be packed for lack of memory is refused. */
void fg_step_packers(struct fg_step *step);
/* The try of a version; NULL: it was not stopped. */
const struct fg_rollout_try *fg_pack_try(const struct fg_rollout *rollout, const char *model,
					 uint64_t version);
/* It takes long to pack: its packer was stopped, or runs for as long as others are waited for. */
bool fg_pack_slow(const struct fg_step *step, const char *model, uint64_t version);
/* Its packer was stopped. */
void fg_pack_note(struct fg_step *step, const char *model, uint64_t version, uint64_t fingerprint,
		  uint32_t hunger);

/* ---- rollout_plans.c ---- */

/* Compares all plans with the files that are there now. */
void fg_step_compare(struct fg_step *step);
/* Notes failures, and which plans are on their way to FREE. */
void fg_step_plans(struct fg_step *step);
/* A plan that is not to serve: its version has failed, perhaps for what may pass. */
void fg_step_fail_plan(struct fg_step *step, uint32_t plan, const char *error, bool passing);
/* Fingerprint of the last files that made this plan. */
uint64_t fg_step_files(const struct fg_step *step, uint32_t plan);

/* ---- rollout_canary.c ---- */

/* Takes the canary one phase on. True: it alone decides what starts and flips now. */
bool fg_step_canary(struct fg_step *step);
void fg_step_shadow(struct fg_step *step);

/* ---- rollout_trial.c ---- */

/* True: the set must not be started now; the trial waits, or was just refused or accepted. */
bool fg_step_trial(struct fg_step *step, const struct fg_set *set);
/* A version failed: one that the rules on trial want refuses them. */
void fg_step_trial_failed(struct fg_step *step, const char *model, uint64_t version,
			  const char *error);
/* The set of the rules on trial is live. */
void fg_step_trial_accepted(struct fg_step *step);

#endif
