/*
 * budget.h: where the memory goes, and what still fits. Pure arithmetic.
 *
 * Counted is what grows with models: plans, the workers of each generation, and what running
 * packers may use at most. What serves all of it is `base_bytes`: the keeper, frames, and a part of
 * the limit for sockets and the kernel. All in bytes.
 */
#ifndef FG_SCHED_BUDGET_H
#define FG_SCHED_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "sched/rollout.h"

#define FG_BUDGET_WORKER_BYTES	   (24ull << 20) /* a worker's own, until one has shown more */
#define FG_BUDGET_PACK_LEAST_BYTES (64ull << 20) /* with less no packer is started */
#define FG_BUDGET_PACK_MOST_BYTES  (6ull << 30)

/* What each part takes, or may take. */
struct fg_budget {
	uint64_t limit; /* 0: there is none */
	uint64_t base;
	uint64_t serving; /* plans and workers that serve, or start to */
	uint64_t kept; /* plans and workers that only KEPT, DRAINING, RETIRING generations hold */
	uint64_t waiting; /* plans that no generation holds yet */
	uint64_t start;	  /* workers of the next generation, also while one is starting */
	uint64_t packing; /* what running packers may use */
};

void fg_budget_count(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, struct fg_budget *budget);
/* What waits does not fit, even if no packer ran. */
bool fg_budget_exceeded(const struct fg_budget *budget);
/* What packers may use in all; UINT64_MAX: any. */
uint64_t fg_budget_left(const struct fg_budget *budget);
/* What one packer gets: a part, so that others can work beside it; more where that was too little
 * (enum fg_rollout_hunger). */
uint64_t fg_budget_share(const struct fg_budget *budget, uint32_t hunger);
/* What a worker of the STARTING generation may take for its models; 0: any. In steps of 16 MiB. */
uint64_t fg_budget_worker(const struct fg_budget *budget,
			  const struct fg_rollout_observed *observed,
			  const struct fg_rollout_config *config);
/* No generation holds that plan. */
bool fg_budget_waits(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     uint32_t plan);
/* The sum, as a reason: `what` ("the plan's 104 MiB") does not fit beside it. Returns text. */
char *fg_budget_explain(const struct fg_budget *budget, const char *what, char *text, size_t size);

#endif
