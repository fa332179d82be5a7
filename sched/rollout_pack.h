/*
 * rollout_pack.h: which versions are packed next.
 *
 * FG_ROLLOUT_MAX_PACKING packers at a time. First come versions of models that serve, or served
 * before this start; then what was never tried; then retries, those that were tried least first.
 * Among equals the model with fewer packers, then who was stopped longest ago. A packer that runs
 * longer than its allowance (FG_ROLLOUT_PACK_NS, four times as much at each try) gives way as soon
 * as another version waits: it is stopped, and its turn comes again. Retries never hold all
 * packers. Each packer may use a part of the memory that is left (sched/budget.h).
 *
 * While nothing of a model serves and its wanted version is packed, the one that served before this
 * start is packed as well.
 */
#ifndef FG_SCHED_ROLLOUT_PACK_H
#define FG_SCHED_ROLLOUT_PACK_H

#include <stdbool.h>
#include <stdint.h>
#include "sched/rollout.h"
#include "sched/wanted.h"

struct fg_pack {
	const char *model;
	const struct fg_store_version *version;
	uint64_t memory_bytes; /* that it may use; 0: any */
};

struct fg_packs {
	uint32_t count;
	uint32_t waiting; /* others that could start if fewer packers ran */
	bool hurry;	  /* one of them was never tried */
	struct fg_pack
		starved; /* one that could not even then, for lack of memory; model NULL: none */
	struct fg_pack list[FG_ROLLOUT_MAX_PACKING];
};

/* What is to be started now. Pure. */
void fg_pack_choose(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		    const struct fg_rollout_config *config, uint64_t now_ns,
		    struct fg_packs *packs);

#endif
