/*
 * watch.h: what a worker keeps of the one model it is told to watch, for a canary or a shadow:
 * slots[].watch says which, slots[].seen is where it goes. A worker that watches nothing pays one
 * load a loop and one comparison a batch.
 *
 * What counts are requests for the model's default version, whether they asked for 0, for its
 * number or for its label; those for another version say nothing about the one that is to take
 * over. Nor does what any version would do with nonsense: an answer that is no number where
 * the request held one such, a refusal of a shape that the version before does not take either, or
 * of a deadline that is too short for that one as well.
 */
#ifndef FG_WORKER_WATCH_H
#define FG_WORKER_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "userspace/shared/shadow.h"
#include "userspace/shared/state.h"

struct fg_watch {
	const _Atomic uint64_t *told; /* slots[].watch */
	struct fg_state_seen *seen;
	struct fg_shadow_ring *ring; /* of this slot; NULL: leaves nothing for a shadow */
	uint64_t word;		     /* what it was told when it last looked */
	uint32_t model;		     /* fg_wire_model; 0: nothing is watched */
	uint32_t epoch;
	uint32_t share; /* of requests left for a shadow, parts of FG_CANARY_WHOLE */
	uint32_t dice;
};

/* An answer with status OK. */
struct fg_watch_answer {
	uint32_t rows, in_cols, out_cols;
	uint32_t compute_ns; /* these rows' part of their batch */
	uint64_t latency_ns;
	const float *in, *out; /* (rows, in_cols), (rows, out_cols) */
};

/* Watches what `slot` is told. Empties what the slot's last worker saw, which also brings in the
 * pages: none faults later. Nothing to close. */
void fg_watch_open(struct fg_watch *watch, struct fg_state_slot *slot, struct fg_shadow_ring *ring);

/* True when it is told something else than before: *watch is what it is told now, and `seen` is
 * empty if the epoch is another one. Once a loop, never while an engine is between begin and the
 * last step. */
bool fg_watch_change(struct fg_watch *watch);
static inline bool fg_watch_look(struct fg_watch *watch)
{
	return atomic_load_explicit(watch->told, memory_order_relaxed) != watch->word &&
	       fg_watch_change(watch);
}

/* A request that counts was answered: with OK, or otherwise. Only while a model is watched. */
void fg_watch_answer(struct fg_watch *watch, const struct fg_watch_answer *answer);
void fg_watch_error(struct fg_watch *watch);

/* What fg_watch_answer and a shadow have in common: is no value a NaN or an infinity? Counts a good
 * answer, its duration and its scores. */
bool fg_watch_finite(const float *values, uint32_t count);
void fg_watch_count(struct fg_state_seen *seen, const float *out, uint32_t rows, uint32_t cols,
		    uint64_t duration_ns);

#endif
