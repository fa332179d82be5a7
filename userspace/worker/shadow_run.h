/*
 * shadow_run.h: the work of a shadow: takes what live workers left in their rings, runs its own
 * version of the watched model on it, compares, and counts in slots[].seen. Answers nobody.
 *
 * It yields: SCHED_IDLE (the caller's fg_priority_idle), runs of at most FG_SHADOW_RUN_NS in one
 * go, and a sleep whenever it has caught up. What it cannot keep up with, live workers skip.
 *
 * An answer agrees when its largest column is the same one; a single column, when it is within
 * FG_SHADOW_CLOSE x (1 + |live|). Run times are CPU times of the shadow's own batches, divided by
 * rows, as those in the records are; batches differ, so they are to be compared in the mean only.
 */
#ifndef FG_WORKER_SHADOW_RUN_H
#define FG_WORKER_SHADOW_RUN_H

#include <stdint.h>
#include "models/error.h"
#include "userspace/shared/shadow.h"
#include "userspace/shared/state.h"
#include "userspace/worker/engine.h"
#include "userspace/worker/watch.h"

#define FG_SHADOW_RUN_NS  200000u /* in one go, or one row */
#define FG_SHADOW_CLOSE	  1e-3f
#define FG_SHADOW_TURN	  64  /* records that are taken of one ring before the next */
#define FG_SHADOW_RECORDS 256 /* of one batch */

struct fg_shadow_run {
	struct fg_engine *engine;
	struct fg_state_slot *slot;
	struct fg_shadow_area *area; /* all rings */
	struct fg_watch watch;
	uint32_t entry;	     /* of the watched model; engine->model_count: it has none */
	uint32_t slice_rows; /* that FG_SHADOW_RUN_NS have room for, at least 1 */

	/* The batch: its inputs are in engine->in, its own outputs will be in engine->out. */
	uint32_t count, rows;
	uint32_t refused; /* rows that its plan has refused: engine->refusals */
	struct fg_shadow_record records[FG_SHADOW_RECORDS];
	float *live; /* (rows, out_cols): what was answered */

	float *in, *out; /* FG_SHADOW_MAX_FLOATS each: of the record that was just taken */
};

/* Gets ready to run what `slot` is told to watch, with an open engine. All three stay the caller's
 * and must outlive it. -ENOMEM. */
int fg_shadow_run_open(struct fg_shadow_run *run, struct fg_engine *engine,
		       struct fg_state_slot *slot, struct fg_shadow_area *area,
		       struct fg_error *error);
/* Gives the rings' memory back and frees its own. Safe on a zeroed struct. */
void fg_shadow_run_close(struct fg_shadow_run *run);

/* Goes round all rings once. True when one of them may hold more. */
bool fg_shadow_run_round(struct fg_shadow_run *run);

/* Obeys slot->order until it is FINISH: goes round under SHADOW, sleeps under all others. */
void fg_shadow_run_until_finish(struct fg_shadow_run *run);

#endif
