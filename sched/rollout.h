/*
 * rollout.h: which generation serves, which starts, which drains: pure state.
 *
 * Level-triggered: fg_rollout_step looks at the state, at what is observed and at the clock it is
 * given, changes the state by at most a few phases and lists what must be done next. Doing an
 * action twice does no harm, so a caller that died between a step and its actions simply steps
 * again. Plain memory without pointers: it lives in the state page that outlives control.
 */
#ifndef FG_SCHED_ROLLOUT_H
#define FG_SCHED_ROLLOUT_H

#include <stdbool.h>
#include <stdint.h>

#define FG_ROLLOUT_NAME_BYTES	   64
#define FG_ROLLOUT_MAX_PLANS	   64
#define FG_ROLLOUT_MAX_MODELS	   32 /* model versions of one generation */
#define FG_ROLLOUT_MAX_WORKERS	   16 /* workers of one generation */
#define FG_ROLLOUT_MAX_GENERATIONS 4  /* live, starting or kept, draining, retiring */

/* One model version of a generation. */
struct fg_rollout_entry {
	char model[FG_ROLLOUT_NAME_BYTES]; /* NUL-terminated */
	uint64_t version;
	uint32_t plan;	     /* index into fg_state.plans */
	uint32_t is_default; /* answers requests that want version 0 */
};

enum fg_generation_phase {
	FG_GENERATION_NONE = 0,	 /* the record is free */
	FG_GENERATION_STARTING,	 /* workers are being started, warmed, checked */
	FG_GENERATION_LIVE,	 /* the steering table names it */
	FG_GENERATION_DRAINING,	 /* keeps its flows; new flows go elsewhere */
	FG_GENERATION_KEPT,	 /* drained or not: asleep, for a rollback */
	FG_GENERATION_RETIRING,	 /* flows moved away; workers finish and exit */
};

struct fg_rollout_generation {
	uint32_t id; /* numbered upward from 1; its low 16 bits are never 0 */
	uint32_t phase;
	uint64_t since_ns; /* of this phase */
	uint64_t flip_ns;  /* when it last became live; 0 never */
	uint32_t entry_count, worker_count;
	struct fg_rollout_entry entries[FG_ROLLOUT_MAX_MODELS];
	uint16_t slots[FG_ROLLOUT_MAX_WORKERS];
};

struct fg_rollout {
	uint32_t next_id;
	uint32_t table_serial;
	struct fg_rollout_generation generations[FG_ROLLOUT_MAX_GENERATIONS];
};

#endif
