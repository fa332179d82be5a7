/*
 * rollout_actions.h: from a state and what is observed to the list of what must be done. The second
 * half of fg_rollout_step; not for others. Questions about workers: rollout_workers.c.
 */
#ifndef FG_SCHED_ROLLOUT_ACTIONS_H
#define FG_SCHED_ROLLOUT_ACTIONS_H

#include "sched/rollout.h"
#include "sched/wanted.h"

/* Worker `w` of the generation has a process, started for this generation. */
bool fg_rollout_alive(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed);
/* It is not getting ready, or its heartbeat is old. */
bool fg_rollout_hangs(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed, uint64_t now_ns);
/* It lives, is READY, and does not hang. */
bool fg_rollout_ready(const struct fg_rollout_generation *generation, uint32_t w,
		      const struct fg_rollout_observed *observed, uint64_t now_ns);
bool fg_rollout_all_ready(const struct fg_rollout_generation *generation,
			  const struct fg_rollout_observed *observed, uint64_t now_ns);
/* One of its workers was started before the present attachment, and has no socket of it. */
bool fg_rollout_lacks_sockets(const struct fg_rollout_generation *generation,
			      const struct fg_rollout_observed *observed);
/* Bit s: a worker of the generation stands in slot s. */
uint64_t fg_rollout_slots(const struct fg_rollout_generation *generation);
/* The plan of a version: held by a generation that served, or packed from the files as they are
 * where nobody holds one or what is held is to be replaced. -1: none (yet). */
int fg_rollout_find_plan(const struct fg_rollout *rollout,
			 const struct fg_rollout_observed *observed, const char *model,
			 uint64_t version);
/* The plan made, or being made, from those files; -1: none. */
int fg_rollout_packed(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		      const char *model, uint64_t version, uint64_t fingerprint);
/* The version's files are complete, make no plan that is known, and may be packed: because nobody
 * holds the version, or to be compared with what is held. */
bool fg_rollout_unpacked(const struct fg_rollout *rollout,
			 const struct fg_rollout_observed *observed, const char *model,
			 uint64_t version);

/* Fills *actions; changes nothing else. */
void fg_rollout_list(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		     const struct fg_rollout_config *config, uint64_t now_ns,
		     struct fg_rollout_actions *actions);

#endif
