/* Requests that take long: they wait in lines (sched/share.h) and run in pieces. */
#include <string.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/stats.h"
#include "userspace/worker/engine_parts.h"

#define NONE UINT16_MAX

/* ---- lines ---- */

static void join(struct fg_engine *engine, const struct fg_engine_pending *pending,
		 uint64_t deadline_ns, uint64_t cost_ns)
{
	struct fg_engine_line *line = &engine->lines[pending->entry];
	uint16_t place = engine->free_places[--engine->free_count];
	struct fg_engine_waiting *waiting = &engine->waiting[place];

	*waiting = (struct fg_engine_waiting){
		.message = *pending->message,
		.pending = *pending,
		.deadline_ns = deadline_ns,
		.cost_ns = cost_ns,
		.next = NONE,
	};
	waiting->pending.message = &waiting->message;
	if (engine->share.lines[pending->entry].count)
		engine->waiting[line->last].next = place;
	else
		line->first = place;
	line->last = place;
	fg_share_join(&engine->share, pending->entry, cost_ns);
	engine->kept[engine->kept_count++] = place;
}

/* The first of the line has been answered. Its message stays as it is until the next begin. */
static void leave(struct fg_engine *engine, uint32_t entry)
{
	uint16_t place = engine->lines[entry].first;

	engine->lines[entry].first = engine->waiting[place].next;
	engine->free_places[engine->free_count++] = place;
	fg_share_leave(&engine->share, entry, engine->waiting[place].cost_ns);
}

void fg_engine_wait(struct fg_engine *engine, const struct fg_engine_pending *pending,
		    uint64_t deadline_ns, uint64_t cost_ns)
{
	uint64_t finish_ns =
		engine->now_ns + fg_share_wait_ns(&engine->share, pending->entry) + cost_ns;

	if (deadline_ns && finish_ns > deadline_ns) {
		fg_engine_refuse_late(engine, pending, finish_ns);
	} else if (!fg_share_has_room(&engine->share, pending->entry, cost_ns)) {
		fg_engine_refuse_load(engine, pending);
	} else {
		join(engine, pending, deadline_ns, cost_ns);
	}
}

/* ---- pieces ---- */

/* The first of the line that can still be answered in time, with its rest alone; NULL: none. */
static struct fg_engine_waiting *first_in_time(struct fg_engine *engine, uint32_t entry)
{
	while (engine->share.lines[entry].count) {
		struct fg_engine_waiting *waiting = &engine->waiting[engine->lines[entry].first];
		uint32_t rest = waiting->pending.header.rows - waiting->rows_done;
		uint64_t finish_ns = engine->now_ns + fg_batch_cost_ns(&engine->costs[entry], rest);

		if (!waiting->deadline_ns || finish_ns <= waiting->deadline_ns)
			return waiting;
		fg_engine_refuse_late(engine, &waiting->pending, finish_ns);
		leave(engine, entry);
	}
	return NULL;
}

static void watch(struct fg_engine *engine, const struct fg_engine_waiting *waiting,
		  const float *in, const float *out)
{
	const struct fg_plan *plan = &engine->models[waiting->pending.entry].plan;

	fg_watch_answer(engine->watch,
			&(struct fg_watch_answer){
				.rows = waiting->pending.header.rows,
				.in_cols = plan->in_cols,
				.out_cols = plan->out_cols,
				.compute_ns = waiting->compute_ns,
				.latency_ns = fg_engine_elapsed_ns(waiting->message.arrived_ns,
								   engine->now_ns),
				.in = in,
				.out = out,
			});
}

static void run(struct fg_engine *engine, uint32_t entry, uint32_t rows, float *out)
{
	uint64_t start_ns = engine->now_ns;

	fg_engine_run(engine, entry, rows, out);
	fg_share_ran(&engine->share, entry, engine->now_ns - start_ns);
}

/* Some more rows of a request that is longer than a piece. Its outputs are gathered aside: the
 * message still holds the rows that are to come. */
static void run_part(struct fg_engine *engine, struct fg_engine_waiting *waiting)
{
	const struct fg_engine_pending *pending = &waiting->pending;
	const uint32_t entry = pending->entry, all = pending->header.rows;
	const uint32_t most = engine->costs[entry].batch_rows, left = all - waiting->rows_done;
	const uint32_t rows = left < most ? left : most;
	float *out = engine->lines[entry].part;
	uint64_t start_ns = engine->now_ns;

	if (!waiting->rows_done)
		waiting->start_ns = start_ns;
	fg_engine_rows(engine, pending, waiting->rows_done, rows, engine->in);
	run(engine, entry, rows,
	    out + (size_t)waiting->rows_done * engine->models[entry].plan.out_cols);
	if (fg_engine_refuse_value(engine, pending, 0, rows, waiting->rows_done)) {
		leave(engine, entry);
		return;
	}
	waiting->rows_done += rows;
	waiting->compute_ns += fg_engine_elapsed_ns(start_ns, engine->now_ns);
	if (waiting->rows_done < all)
		return;
	if (fg_engine_is_watched(engine, entry)) {
		fg_engine_rows(engine, pending, 0, all, engine->in);
		watch(engine, waiting, engine->in, out);
	}
	fg_engine_answer(engine, pending, out, waiting->start_ns, waiting->compute_ns);
	leave(engine, entry);
}

/* As many whole requests as make a piece, and there is one at least; those that follow a late one
 * are for the next. */
static uint32_t gather(struct fg_engine *engine, uint32_t entry, uint32_t *rows)
{
	const struct fg_plan *plan = &engine->models[entry].plan;
	uint16_t place = engine->lines[entry].first;
	uint32_t count = 0;

	for (*rows = 0; place != NONE; place = engine->waiting[place].next) {
		const struct fg_engine_waiting *waiting = &engine->waiting[place];
		uint32_t together = *rows + waiting->pending.header.rows;

		if (together > engine->costs[entry].batch_rows)
			break;
		if (count && waiting->deadline_ns &&
		    engine->now_ns + fg_batch_cost_ns(&engine->costs[entry], together) >
			    waiting->deadline_ns)
			break;
		fg_engine_rows(engine, &waiting->pending, 0, waiting->pending.header.rows,
			       engine->in + (size_t)*rows * plan->in_cols);
		*rows = together;
		count++;
	}
	return count;
}

static void run_together(struct fg_engine *engine, uint32_t entry)
{
	const struct fg_plan *plan = &engine->models[entry].plan;
	const float *in = engine->in, *out = engine->out;
	uint64_t start_ns = engine->now_ns;
	uint32_t row = 0, rows, compute_ns, count = gather(engine, entry, &rows);

	run(engine, entry, rows, engine->out);
	compute_ns = fg_engine_elapsed_ns(start_ns, engine->now_ns);
	for (; count; count--) {
		struct fg_engine_waiting *waiting = &engine->waiting[engine->lines[entry].first];
		uint32_t own = waiting->pending.header.rows;

		waiting->compute_ns = (uint32_t)((uint64_t)compute_ns * own / rows);
		if (!fg_engine_refuse_value(engine, &waiting->pending, row, own, 0)) {
			if (fg_engine_is_watched(engine, entry))
				watch(engine, waiting, in, out);
			fg_engine_answer(engine, &waiting->pending, out, start_ns, compute_ns);
		}
		row += own;
		in += (size_t)own * plan->in_cols;
		out += (size_t)own * plan->out_cols;
		leave(engine, entry);
	}
}

bool fg_engine_piece(struct fg_engine *engine)
{
	struct fg_engine_waiting *waiting;
	int entry = fg_share_turn(&engine->share, !engine->others_ran);

	engine->others_ran = false;
	if (entry < 0)
		return false;
	engine->done_count = 0;
	engine->now_ns = fg_clock_ns();
	waiting = first_in_time(engine, (uint32_t)entry);
	if (!waiting)
		return true;
	if (waiting->pending.header.rows > engine->costs[entry].batch_rows)
		run_part(engine, waiting);
	else
		run_together(engine, (uint32_t)entry);
	return true;
}

/* ---- opening ---- */

void fg_engine_open_lines(struct fg_engine *engine)
{
	engine->share.places = FG_SHARE_PLACES;
	engine->free_count = FG_SHARE_PLACES;
	for (uint32_t i = 0; i < FG_SHARE_PLACES; i++)
		engine->free_places[i] = (uint16_t)i;
}
