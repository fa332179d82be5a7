/*
 * canary.h: a cutover by steps: first a few flows go to the new version, then more, unless a guard
 * says no. And its quiet sister, the shadow, that answers nobody. Pure state, part of fg_rollout.
 *
 *   STARTING -> RUNNING <-> PAUSED -> DONE | ABORTED | BROKEN | FAILED
 *
 * A canary is a choice of version (sched/wanted.h) whose generation is flipped in by weights: each
 * step is a table that mixes LIVE and CANARY, tables nest (sched/maglev.h), so a flow that is in
 * stays in. While one is under way every other model stays at the version that serves.
 */
#ifndef FG_SCHED_CANARY_H
#define FG_SCHED_CANARY_H

#include <stdbool.h>
#include <stdint.h>

#define FG_CANARY_MAX_STEPS    16
#define FG_CANARY_REASON_BYTES 256
#define FG_CANARY_WHOLE	       10000 /* weights are parts of this */

enum fg_canary_phase {
	FG_CANARY_NONE = 0,
	FG_CANARY_STARTING, /* is packed, warmed, checked; no flow yet */
	FG_CANARY_RUNNING,
	FG_CANARY_PAUSED,  /* stays at its weight; guards go on */
	FG_CANARY_DONE,	   /* serves all: the rest are ends, and stay until the next begin */
	FG_CANARY_ABORTED, /* by the operator */
	FG_CANARY_BROKEN,  /* a guard broke */
	FG_CANARY_FAILED,  /* did not become ready, or its workers died */
};

/* Bounds; 0: not guarded. Judged when both sides answered at least min_requests in the window, and
 * broken by more than chance makes (canary.c). */
struct fg_canary_guards {
	double error_rate; /* the canary's share of errors may exceed the stable one's by this */
	double p99;	   /* the canary's p99 may be that many times the stable one's, >= 1.1;
			    * needs 1000 answers of both */
	double drift;	   /* the largest PSI of an output column */
	uint32_t min_requests;
	uint32_t zero;
};

/* What the operator asks for. */
struct fg_canary_plan {
	uint32_t step_count;
	uint32_t steps[FG_CANARY_MAX_STEPS]; /* weights, upward, 1 .. FG_CANARY_WHOLE; one that does
					      * not end at WHOLE stays at its last step */
	uint64_t hold_ns;		     /* each step lasts that long */
	uint64_t window_ns; /* guards look at that much, and until they had enough to judge by, then
			     * begin anew; 0: at whole steps */
	struct fg_canary_guards guards;
};

/* Two sides of a watched model in the present epoch, as control adds them up from the workers. */
struct fg_comparison {
	uint32_t epoch; /* of the watch; 0: nothing was seen */
	uint32_t zero;
	uint64_t stable_requests, canary_requests; /* answered with OK */
	uint64_t stable_errors, canary_errors; /* refused, or answered with NaN or infinity, as far
						* as that is the version's fault */
	double stable_p99_ns, canary_p99_ns;   /* from arrival to answer */
	double drift;			       /* the largest PSI of an output column */
};

struct fg_canary {
	char model[64]; /* empty: there was none yet */
	uint64_t version;
	uint64_t from;	    /* what served before */
	uint32_t phase;	    /* enum fg_canary_phase */
	uint32_t step;	    /* index into plan.steps */
	uint64_t began_ns;  /* when a step first saw it, or saw it again after a pause */
	uint64_t step_ns;   /* since when, or since the last resume; 0: not yet */
	uint64_t held_ns;   /* of this step before the last pause */
	uint64_t window_ns; /* since when the guards look */
	uint64_t ended_ns;
	struct fg_canary_plan plan;
	struct fg_comparison seen;	     /* at the end of the last step that ended */
	char reason[FG_CANARY_REASON_BYTES]; /* why it ended, "" while it runs */
};

enum fg_shadow_phase { FG_SHADOW_NONE = 0, FG_SHADOW_STARTING, FG_SHADOW_RUNNING, FG_SHADOW_ENDED };

struct fg_shadow {
	char model[64]; /* empty: there was none yet */
	uint64_t version;
	uint32_t phase; /* enum fg_shadow_phase */
	uint32_t share; /* of requests that are run again, parts of FG_CANARY_WHOLE */
	uint64_t since_ns;
	char reason[FG_CANARY_REASON_BYTES]; /* why it ended */
};

/* "running" and the like. Static strings. */
const char *fg_canary_phase_name(uint32_t phase);
const char *fg_shadow_phase_name(uint32_t phase);

/* Under way: STARTING, RUNNING or PAUSED. */
bool fg_canary_active(const struct fg_canary *canary);
bool fg_shadow_active(const struct fg_shadow *shadow);

/* Under way, and of this model; of this version, unless that is 0. */
bool fg_canary_runs(const struct fg_canary *canary, const char *model, uint64_t version);
bool fg_shadow_runs(const struct fg_shadow *shadow, const char *model, uint64_t version);

/* 0, or -EINVAL with a text that names what is wrong: no steps, not upward, above WHOLE, guards. */
int fg_canary_check(const struct fg_canary_plan *plan, const char **why);

/* Any guard is set. */
bool fg_canary_guarded(const struct fg_canary_guards *guards);
/* Both sides answered enough to be judged. */
bool fg_canary_judged(const struct fg_canary_guards *guards, const struct fg_comparison *seen);
/* The weight of the present step. */
uint32_t fg_canary_weight(const struct fg_canary *canary);
/* The text of the guard that is broken, "" when none is. `text` has room for `size`. */
bool fg_canary_broken(const struct fg_canary_guards *guards, const struct fg_comparison *seen,
		      char *text, uint32_t size);

struct fg_rollout;
struct fg_store;
struct fg_rules;

/*
 * Begins a canary of `version`. Idempotent: 0 and no change when the same one is under way.
 * -ENOENT: no such model live, or no such complete version; -EPERM: the policy names others only;
 * -EALREADY: it serves; -EBUSY: another canary or a reload is under way. A shadow ends. Check the
 * plan before.
 */
int fg_canary_begin(struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rules *rules, const char *model, uint64_t version,
		    const struct fg_canary_plan *plan);
/* The model's canary; all -ENOENT when it has none under way. Each may be said twice. */
int fg_canary_pause(struct fg_rollout *rollout, const char *model, uint64_t now_ns);
int fg_canary_resume(struct fg_rollout *rollout, const char *model, uint64_t now_ns);
int fg_canary_abort(struct fg_rollout *rollout, const char *model, const char *reason,
		    uint64_t now_ns);
/* All flows now, as soon as it is ready. */
int fg_canary_finish(struct fg_rollout *rollout, const char *model);
/* For sched/rollout.c: the end, whatever it is. DONE: the canary, else the version that served
 * before, is the operator's choice, until one newer than both appears. */
void fg_canary_end(struct fg_rollout *rollout, enum fg_canary_phase phase, const char *reason,
		   uint64_t now_ns);

/* Begins a shadow; the same again changes its share. The version is not rolled out by itself.
 * -ENOENT, -EALREADY as fg_canary_begin; -EBUSY: a canary or another shadow is under way. */
int fg_shadow_begin(struct fg_rollout *rollout, const struct fg_store *store,
		    const struct fg_rules *rules, const char *model, uint64_t version,
		    uint32_t share, uint64_t now_ns);
int fg_shadow_end(struct fg_rollout *rollout, const char *model, const char *reason);

#endif
