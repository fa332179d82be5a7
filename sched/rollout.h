/*
 * rollout.h: which generation serves, which starts, which drains: pure state.
 *
 * Level-triggered: fg_rollout_step looks at the state, at what is observed and at the clock it is
 * given, changes the state by at most a few phases and lists what must be done next.
 *
 *   STARTING -> LIVE -> DRAINING -> [KEPT] -> RETIRING -> NONE
 *       |        ^_________|__________|          ^
 *       |________________________________________|   (abandoned, or replaced by a newer set)
 *
 * The caller publishes the changed state first, then does the actions in their order and stops at
 * the first that fails. It may die at any instruction; another one observes and steps again:
 *
 *  - before the state is published: nothing happened;
 *  - after that, with any prefix of the actions done: every action is listed anew for as long as
 *    what is observed (orders, slots map, live table, pids, plans) is not yet what the state asks
 *    for, and doing one twice does no harm. Nothing is remembered only in the list.
 *  - actions are in such an order that every prefix is safe: new slots serve before the table names
 *    them, and old ones lose SERVING only after no table names them.
 */
#ifndef FG_SCHED_ROLLOUT_H
#define FG_SCHED_ROLLOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "sched/canary.h"
#include "sched/rules.h"

struct fg_store; /* sched/wanted.h: the versions on disk */

#define FG_ROLLOUT_NAME_BYTES  FG_RULES_NAME_BYTES
#define FG_ROLLOUT_ERROR_BYTES 512 /* as models/error.h has */
#define FG_ROLLOUT_MAX_PLANS   64
#define FG_ROLLOUT_MAX_MODELS  32 /* model versions of one generation */
#define FG_ROLLOUT_MAX_WORKERS 16 /* workers of one generation */
#define FG_ROLLOUT_MAX_GENERATIONS                                                                 \
	5 /* live, starting or canary, draining or kept, retiring, shadow */
#define FG_ROLLOUT_MAX_FAILURES	  8 /* versions of one model remembered as failed */
#define FG_ROLLOUT_MAX_ACTIONS	  448
#define FG_ROLLOUT_MAX_PACKING	  4 /* packers at a time; retries leave one of them to others */
#define FG_ROLLOUT_MAX_TRIES	  40

#define FG_ROLLOUT_START_NS	  60000000000ull /* a worker not READY by then has failed */
#define FG_ROLLOUT_FINISH_NS	  7000000000ull	 /* RETIRING: then its workers are killed */
#define FG_ROLLOUT_HUNG_NS	  2000000000ull	 /* a heartbeat that old is suspect ... */
#define FG_ROLLOUT_SUSPECT_NS	  500000000ull	 /* ... and after that much longer, a hung worker */
#define FG_ROLLOUT_YOUNG_NS	  10000000000ull /* dead within that of its start: back off */
#define FG_ROLLOUT_BACKOFF_NS	  100000000ull	 /* the first back-off; doubles ... */
#define FG_ROLLOUT_BACKOFF_MAX_NS 5000000000ull	 /* ... up to this */
#define FG_ROLLOUT_LOOP_NS	  400000000ull	 /* backed off that long: dies in a loop */
#define FG_ROLLOUT_TRIAL_NS                                                                        \
	120000000000ull			      /* a reload, canary, shadow not ready by then failed \
					       */
#define FG_ROLLOUT_MISSING_NS	3000000000ull /* ... and one whose versions are not there */
#define FG_ROLLOUT_GATHER_NS	2000000000ull /* packed versions wait that long for others ... */
#define FG_ROLLOUT_FIRST_NS	5000000000ull /* ... and, before anything served, for the newest */
#define FG_ROLLOUT_STOP_NS	1000000000ull /* stopping: a drain's bound */
#define FG_ROLLOUT_AGAIN_NS	1000000000ull /* what failed and may pass: the first pause ... */
#define FG_ROLLOUT_AGAIN_MAX_NS 60000000000ull /* ... and the longest; each doubles */
#define FG_ROLLOUT_TICK_NS	1000000000ull  /* nothing going on: step again after that */
#define FG_ROLLOUT_PACK_NS                                                                         \
	2000000000ull /* then a packer gives way to versions that wait; four                       \
		       * times as much at the next try, and so on */

/* What control tells a worker; obeyed within one loop, or one sleep of 50 ms. */
enum fg_order {
	FG_ORDER_WAIT = 0, /* be ready: own CPU, sleeping */
	FG_ORDER_SERVE,	   /* poll as configured */
	FG_ORDER_DRAIN,	   /* serve, sleeping between requests */
	FG_ORDER_FINISH,   /* no more will come: answer what is in the rings, then exit 0 */
	FG_ORDER_DOZE,	   /* serve, sleeping between requests: the smaller side of a canary */
	FG_ORDER_KEEP, /* drained, may come back: as DRAIN, but every TCP connection ends after the
			* reply in flight */
	FG_ORDER_SHADOW, /* run again what the live workers left in their shadow rings */
};

enum fg_work_phase {
	FG_WORK_NONE = 0, /* the keeper resets to this before a fork */
	FG_WORK_STARTING,
	FG_WORK_READY,	/* warm, checked: may be steered to */
	FG_WORK_FAILED, /* will not become ready; error says why; it exits by itself */
	FG_WORK_DONE,	/* obeyed FINISH, about to exit */
};

enum fg_plan_phase { FG_PLAN_FREE = 0, FG_PLAN_PACKING, FG_PLAN_READY, FG_PLAN_FAILED };

enum fg_generation_phase {
	FG_GENERATION_NONE = 0, /* the record is free */
	FG_GENERATION_STARTING, /* workers are being started, warmed, checked */
	FG_GENERATION_LIVE,	/* the steering table names it, or is about to */
	FG_GENERATION_DRAINING, /* keeps its flows; new flows go elsewhere */
	FG_GENERATION_KEPT,	/* drained: asleep, for a rollback */
	FG_GENERATION_RETIRING, /* flows moved away; workers finish and exit */
	FG_GENERATION_CANARY,	/* the table names it beside LIVE, by weight */
	FG_GENERATION_SHADOW,	/* runs again what LIVE answers; the table never names it */
};

/* One model version of a generation. */
struct fg_rollout_entry {
	char model[FG_ROLLOUT_NAME_BYTES]; /* NUL-terminated */
	uint64_t version;
	uint32_t plan;	     /* index into fg_state.plans */
	uint32_t is_default; /* answers requests that want version 0 */
	char labels[FG_RULES_MAX_LABELS][FG_RULES_LABEL_BYTES]; /* "": none */
};

/* What is remembered of one worker of a generation, beside its slot. */
struct fg_rollout_health {
	uint32_t deaths;	    /* of its slot, as far as they were seen */
	uint64_t spawn_after_ns;    /* not to be started again before */
	uint64_t backoff_ns;	    /* the last one used; 0: none */
	uint64_t suspect_heartbeat; /* the heartbeat that was found old ... */
	uint64_t suspect_ns;	    /* ... and when */
};

struct fg_rollout_generation {
	uint32_t id; /* numbered upward from 1; its low 16 bits are never 0 */
	uint32_t phase;
	uint64_t since_ns; /* of this phase */
	uint64_t flip_ns;  /* when a table first named it, or it last became live; 0 never */
	uint64_t live_ns;  /* when it last became live; 0 never */
	uint32_t shadow;   /* 1: made to be a shadow */
	uint32_t bad;	   /* 1: failed while it served: not to be flipped back to */
	uint32_t entry_count, worker_count;
	struct fg_rollout_entry entries[FG_ROLLOUT_MAX_MODELS];
	uint16_t slots[FG_ROLLOUT_MAX_WORKERS];
	struct fg_rollout_health health[FG_ROLLOUT_MAX_WORKERS];
};

/*
 * How the files of a version compare with a plan that was made of them, for each plan that is
 * READY. The number of a version says nothing of what is in it; fingerprints of files and digests
 * of plans do, and they meet here. Rules: rollout_plans.c.
 */
struct fg_rollout_contents {
	uint64_t since_ns; /* when the version was first packed, if by another plan */
	uint64_t files; /* fingerprint of the last files that made just this plan; 0: not READY */
	uint64_t other; /* fingerprint of files that make another plan, or none; 0: not met */
	uint64_t other_digest; /* of that plan; 0: they make none */
	uint32_t take;	       /* 1: it is to serve instead; 0: not by itself */
	uint32_t asked;	       /* 1: the operator asked for the files as they are on disk */
};

/* A version that could not be packed, or whose workers did not become ready. Version 0: free. */
struct fg_rollout_failure {
	uint64_t version;
	uint64_t fingerprint; /* of the files that failed */
	uint64_t retry_ns;    /* passing: not tried again before; 0: it is being tried */
	uint32_t passing;     /* 1: the files need not be at fault */
	uint32_t tries;	      /* passing: how often it failed */
	char error[FG_ROLLOUT_ERROR_BYTES];
};

/* What is remembered of a model; sched/wanted.h gives the rules. An empty name: free. */
struct fg_rollout_model {
	char name[FG_ROLLOUT_NAME_BYTES];
	uint64_t chosen;      /* by the operator (or the first one, policy manual); 0: none */
	uint64_t seen;	      /* policy latest takes over again with a version above this one */
	uint64_t previous;    /* what was live before the present version; 0: nothing */
	uint64_t rolled_back; /* the version that was rolled back from; 0: it was no rollback */
	struct fg_rollout_failure failures[FG_ROLLOUT_MAX_FAILURES];
};

/* What may still be had of memory for a version that lacked it when it was packed. */
enum fg_rollout_hunger {
	FG_HUNGER_NONE = 0,
	FG_HUNGER_MORE, /* it had its part: half of what is left */
	FG_HUNGER_ALL,	/* that was too little: all, alone, once no KEPT generation is left */
};

/* A version whose packer was stopped, and whose turn comes again. Version 0: free. */
struct fg_rollout_try {
	uint64_t version, fingerprint;
	uint64_t at_ns; /* when it was stopped */
	uint32_t model; /* index into models */
	uint32_t count;
	uint32_t hunger; /* enum fg_rollout_hunger */
	uint32_t zero;
};

/* The last flip. */
struct fg_rollout_flip {
	uint64_t count;
	uint32_t serial;     /* of the table */
	uint32_t generation; /* id of the generation it names */
	uint32_t from;	     /* id of the generation that the table before named; 0: none */
	uint32_t canary;     /* id of the one it names beside; 0: none */
	uint32_t weight;     /* of that one */
	uint64_t at_ns;	     /* visible from then on; 0: control died before it could note it */
	uint64_t took_ns;    /* from the syscall to its return (a grace period) */
};

/* A reload: the other rules are tried. All of it goes live, or nothing changes. */
struct fg_rollout_trial {
	uint32_t active;
	uint32_t serial;   /* of the last one begun, upward */
	uint32_t accepted; /* serial of the last one that went live */
	uint32_t zero;
	uint64_t since_ns;
	char error[FG_ROLLOUT_ERROR_BYTES]; /* why the last one was refused; "" after a good one */
};

struct fg_rollout {
	uint32_t next_id;   /* 0 in fresh memory, means 1 */
	uint32_t solo;	    /* a set with several changes failed: one change at a time */
	uint32_t replaced;  /* STARTING generations replaced by newer ones since the last cutover */
	uint64_t gather_ns; /* since when something packed waits for something unpacked; 0: not */
	uint64_t retry_ns;  /* nothing is started before: it failed, and nobody knows why */
	uint64_t dropping;  /* one bit for each plan that is on its way to FREE */
	uint32_t rules;	    /* which of observed.rules is in force */
	uint32_t watch;	    /* epoch of the last watch: 1 .. 65535, goes round; 0: none yet */
	struct fg_rollout_try tries[FG_ROLLOUT_MAX_TRIES];
	struct fg_rollout_trial trial;
	struct fg_canary canary;
	struct fg_shadow shadow;
	struct fg_rollout_flip flip;
	struct fg_rollout_contents contents[FG_ROLLOUT_MAX_PLANS];
	struct fg_rollout_generation generations[FG_ROLLOUT_MAX_GENERATIONS];
	struct fg_rollout_model models[FG_ROLLOUT_MAX_MODELS];
};

/*
 * Where it lives: two copies, of which one counts. A writer prepares the other one and names it
 * with one atomic store, so that whoever is killed meanwhile leaves the old state or the new one.
 * One writer. Readers in other processes: a generation's id, entries and slots are the same in both
 * copies for as long as it has a phase, so reading them needs no lock.
 */
struct fg_rollout_record {
	uint32_t current; /* 0 or 1, atomic */
	struct fg_rollout copies[2];
};

const struct fg_rollout *fg_rollout_current(const struct fg_rollout_record *record);
/* Makes `next` current. `next` must not be inside `record`. */
void fg_rollout_publish(struct fg_rollout_record *record, const struct fg_rollout *next);

/* ---- what a step looks at ---- */

struct fg_rollout_config {
	uint32_t worker_count; /* 1 .. FG_ROLLOUT_MAX_WORKERS */
	uint32_t drain_deadline_ms;
	uint32_t keep_ms;
	bool interface_may_change; /* policies may bring in what other clients were written for */
	uint32_t settle_ms; /* files that change so soon after a version was first packed are its
			     * copy that goes on: what they make serves instead */
};

/* One slot as it is now. `generation`, `phase`, `order` are of its worker, or the last one's. */
struct fg_rollout_slot {
	int32_t pid; /* 0: no worker */
	uint32_t generation;
	uint32_t deaths; /* counted by the keeper, upward */
	uint32_t phase;	 /* enum fg_work_phase */
	uint32_t order;	 /* enum fg_order */
	uint32_t urgent; /* 1: it preempts whatever runs on its CPU */
	uint64_t spawned_ns;
	uint64_t heartbeat_ns;
	uint16_t map_generation, map_state; /* its element of the `slots` map */
	uint32_t flows;			    /* see flows_known */
	uint32_t connections;		    /* TCP, open now */
	uint32_t watch;			    /* epoch of the watch it is told; 0: none */
	uint32_t attachment;		    /* whose sockets its worker has; 0: none */
	bool passing;			    /* that may pass, and is no fault of its plans */
	const char *error;		    /* why it failed or how it ended; may be "" */
};

struct fg_rollout_plan {
	uint32_t phase;	   /* enum fg_plan_phase; the rest is valid unless FREE */
	const char *model; /* NUL-terminated */
	uint64_t version;
	uint64_t fingerprint; /* of the files that it was to be packed from */
	uint64_t digest;      /* READY: what it was packed to */
	uint64_t interface;   /* READY: of its inputs and outputs; 0: unknown */
	uint32_t in_cols, out_cols;
	uint64_t ready_ns;     /* the packer read no file after that */
	uint64_t since_ns;     /* PACKING */
	uint64_t bytes;	       /* READY: of the plan */
	uint64_t memory_bytes; /* that its packer may use, or might; 0: any */
	bool lacked;	       /* FAILED: that was too little, or the kernel had none left */
	bool passing;	       /* FAILED: what stood in the way may pass */
	const char *error;
};

/* Of the machine, or of the cgroup that this runs in. Bytes. */
struct fg_rollout_memory {
	uint64_t limit_bytes;  /* 0: there is none */
	uint64_t base_bytes;   /* taken whatever serves */
	uint64_t worker_bytes; /* of one worker, beside plans */
};

/* What served when the gateway ran last, before this start. No padding: it is compared as bytes. */
struct fg_rollout_served_model {
	char model[FG_ROLLOUT_NAME_BYTES];
	uint64_t version;
	uint64_t chosen, seen; /* as in fg_rollout_model; 0: there was no choice */
	uint64_t digest;       /* of its plan; 0: nobody knows */
	uint64_t interface;    /* likewise */
	uint64_t away;	       /* 1: it did not serve any more in the end */
};

struct fg_rollout_served {
	uint32_t count;
	struct fg_rollout_served_model list[FG_ROLLOUT_MAX_MODELS];
};

struct fg_rollout_observed {
	bool stopping;
	bool flows_known;		  /* flows were counted after the other fields were read */
	uint32_t attachment;		  /* whose sockets workers should have; 0: none is needed */
	uint64_t table;			  /* bit s: the live table names slot s, or was flipped in
					   * with it: a small part leaves some without position */
	uint16_t positions[FG_MAX_SLOTS]; /* of the live table that name the slot */
	struct fg_rollout_slot slots[FG_MAX_SLOTS];
	struct fg_rollout_plan plans[FG_ROLLOUT_MAX_PLANS];
	const struct fg_store *store;
	const struct fg_rules *rules[2];
	struct fg_comparison comparison; /* of LIVE and CANARY */
	struct fg_rollout_memory memory;
	const struct fg_rollout_served *served; /* NULL: nothing is known */
};

/* ---- what a step asks for ---- */

enum fg_rollout_verb {
	FG_ROLLOUT_ORDER = 1,  /* slot, value: enum fg_order */
	FG_ROLLOUT_PRIORITY,   /* slot, value: 1 urgent, 0 normal */
	FG_ROLLOUT_SLOT_STATE, /* slot, generation (its id), value: enum fg_slot_state */
	FG_ROLLOUT_FLIP,  /* slots: a table of these becomes live; canary, value: of these beside
			   * them, by that weight (parts of FG_CANARY_WHOLE) */
	FG_ROLLOUT_FENCE, /* wait until no program runs that began before */
	FG_ROLLOUT_SPAWN, /* slot, index (of the generation's record), worker (0 ..), memory */
	FG_ROLLOUT_KILL,  /* slot */
	FG_ROLLOUT_PACK,  /* index (of the plan), model, version, fingerprint, memory */
	FG_ROLLOUT_DROP,  /* index (of the plan) */
	FG_ROLLOUT_WATCH, /* slot, value: epoch (0: none), model, weight: share for a shadow */
};

/* Fields that a verb does not use are 0, so that equal actions are equal bytes. PRIORITY, SPAWN,
 * KILL, PACK and DROP cannot be observed at once and are listed again in every step until they
 * show; the caller may hold back one that it did a moment ago. */
struct fg_rollout_action {
	uint32_t verb; /* enum fg_rollout_verb */
	uint32_t slot, index, worker, value, generation;
	uint32_t deaths; /* of the slot so far: tells one SPAWN, KILL or PRIORITY from the next */
	uint32_t weight;
	uint64_t slots, canary, version, fingerprint;
	uint64_t memory; /* bytes that the packer (its plan included), or the worker for its models,
			  * may use; 0: any */
	char model[FG_ROLLOUT_NAME_BYTES];
};

struct fg_rollout_actions {
	uint32_t count;
	uint64_t again_ns; /* step again after this much, even if nothing is reported */
	struct fg_rollout_action list[FG_ROLLOUT_MAX_ACTIONS];
};

/*
 * One step. *rollout is a private copy: the caller compares, publishes, then acts. Rules:
 *  - a set (each model's wanted version, sched/wanted.h) that differs from the live one and whose
 *    plans are READY is started, one STARTING generation at a time; a newer set replaces it;
 *  - it is flipped in when all its workers are READY; when one fails, dies or takes too long, it is
 *    abandoned and the version at fault is remembered as failed. When several versions changed at
 *    once, the fault is found by starting them one at a time;
 *  - where a LIVE worker lacks the sockets of the present attachment, the same set is started anew
 * and flipped in; what it replaces is not kept;
 *  - a DRAINING or KEPT generation that holds just the wanted set is flipped back to, unpacked;
 *  - a worker may poll or finish only at normal priority: one that is still urgent from a drain
 * goes on sleeping between requests until the keeper has made it normal, or it would starve its
 * CPU;
 *  - a LIVE or CANARY worker that dies leaves the table at once and is started again in its slot;
 *    where that happens in a loop, the generation before is flipped back to, or the canary broken;
 *  - while LIVE and CANARY share their CPUs, the smaller side sleeps between requests;
 *  - a drain ends when no flow is left, or at drain_deadline_ms; that of a version which was rolled
 *    back from, or a canary that broke, after a second at most; when stopping, after a second at
 *    most, and until then new flows are served as well, because nobody else would;
 *  - a record, slots or memory that a start needs come from the oldest KEPT generation; what does
 * not fit without any is refused, with the sum (sched/budget.h);
 *  - who is packed next: sched/rollout_pack.h;
 *  - a plan is used when a look at the disk that began after it was packed still finds the files it
 *    was packed from;
 *  - where the files of a version that serves change, they are packed again and compared: the same
 *    plan is nothing new; another one serves instead, or is only told of (rollout_plans.c).
 */
void fg_rollout_step(struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, uint64_t now_ns,
		     struct fg_rollout_actions *actions);

/* Notes a flip that was done: the table `serial` names the LIVE generation, and CANARY, if there is
 * one, by `weight`. */
void fg_rollout_note_flip(struct fg_rollout *rollout, uint32_t serial, uint32_t weight,
			  uint64_t at_ns, uint64_t took_ns);

/* ---- questions ---- */

/* The one in `phase`, the newest if there are several; NULL when there is none. */
const struct fg_rollout_generation *fg_rollout_find(const struct fg_rollout *rollout,
						    enum fg_generation_phase phase);
/* Its default entry of that model; NULL when it has none. */
const struct fg_rollout_entry *fg_rollout_entry(const struct fg_rollout_generation *generation,
						const char *model);
/* Its entry of that version of the model; NULL when it has none. */
const struct fg_rollout_entry *fg_rollout_version(const struct fg_rollout_generation *generation,
						  const char *model, uint64_t version);
/* What is known of a model there; NULL: nothing. `served` may be NULL. */
const struct fg_rollout_served_model *fg_rollout_served(const struct fg_rollout_served *served,
							const char *model);
/*
 * May this gateway take the place of the one that serves `served`? 0: LIVE has all versions that
 * are wanted, and of each model there that the rules still name the same version, or a newer one,
 * or one that the rules or an operator chose instead. -EAGAIN: not yet. -ENOENT: never, and `why`
 * says it.
 */
int fg_rollout_succeeds(const struct fg_rollout *rollout, const struct fg_store *store,
			const struct fg_rules *rules, const struct fg_rollout_served *served,
			char *why, size_t size);
/* That other gateway went on serving: takes over what operators chose there since `before` was
 * read. Returns whether they chose anything. */
bool fg_rollout_follow(struct fg_rollout *rollout, const struct fg_rollout_served *before,
		       const struct fg_rollout_served *served);
/* The rules that versions are chosen by now: those on trial, or those in force. */
const struct fg_rules *fg_rollout_rules(const struct fg_rollout *rollout,
					const struct fg_rules *const rules[2]);
/* Tries the other rules, which must have been written before. -EBUSY: a trial or a canary is under
 * way. */
int fg_rollout_try(struct fg_rollout *rollout, uint64_t now_ns);
/* Ends a trial: nothing changes, and the trial says why. */
void fg_rollout_refuse(struct fg_rollout *rollout, const char *error);
/* A new epoch for all watches. */
void fg_rollout_new_watch(struct fg_rollout *rollout);
/* No generation is left: stopping is done. */
bool fg_rollout_empty(const struct fg_rollout *rollout);
/* The number that a new generation gets after `id`. */
uint32_t fg_rollout_next_id(uint32_t id);
/* "live" and the like. Static string. */
const char *fg_generation_phase_name(uint32_t phase);

#endif
