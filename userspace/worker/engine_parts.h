/* engine_parts.h: what engine.c and engine_lines.c have in common. Only for these two. */
#ifndef FG_WORKER_ENGINE_PARTS_H
#define FG_WORKER_ENGINE_PARTS_H

#include "userspace/worker/engine.h"

/* from_ns <= to_ns but for a transport's bad guess; saturates. */
uint32_t fg_engine_elapsed_ns(uint64_t from_ns, uint64_t to_ns);

/* The rows of `pending` from `first` on, `rows` of them, as f32 at `to`. */
void fg_engine_rows(const struct fg_engine *engine, const struct fg_engine_pending *pending,
		    uint32_t first, uint32_t rows, float *to);
/* Answers with OK and `out` (rows, out_cols), which is none of the message's bytes. The request's
 * run began at start_ns. */
void fg_engine_answer(struct fg_engine *engine, const struct fg_engine_pending *pending,
		      const float *out, uint64_t start_ns, uint32_t compute_ns);
/* Runs the rows in engine->in, and notes which the model refuses. */
void fg_engine_run(struct fg_engine *engine, uint32_t entry, uint32_t rows, float *out);
/*
 * True: of those rows the model refused one of first .. first + rows - 1, which are this request's
 * (from its row `done` on), so it is answered with BAD_VALUE. The watch does not count that: an id
 * that a client makes up is no fault of a version.
 */
bool fg_engine_refuse_value(struct fg_engine *engine, const struct fg_engine_pending *pending,
			    uint32_t first, uint32_t rows, uint32_t done);
/* Answers with DEADLINE: the run would end at finish_ns; or with OVERLOADED. */
void fg_engine_refuse_late(struct fg_engine *engine, const struct fg_engine_pending *pending,
			   uint64_t finish_ns);
void fg_engine_refuse_load(struct fg_engine *engine, const struct fg_engine_pending *pending);
bool fg_engine_is_watched(const struct fg_engine *engine, uint32_t entry);
/* Notes a run's end as now, and shows it to control. */
void fg_engine_beat(struct fg_engine *engine);

/* A request that would keep others waiting: it joins its model's line, or is refused. */
void fg_engine_wait(struct fg_engine *engine, const struct fg_engine_pending *pending,
		    uint64_t deadline_ns, uint64_t cost_ns);

#endif
