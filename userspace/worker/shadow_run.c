#include "userspace/worker/shadow_run.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/stats.h"

#define PAUSE_NS 2000000

/* ---- opening and closing ---- */

static size_t live_floats(const struct fg_engine *engine)
{
	size_t most = 0;

	for (uint32_t i = 0; i < engine->model_count; i++) {
		size_t need = (size_t)engine->costs[i].max_rows * engine->models[i].plan.out_cols;

		most = need > most ? need : most;
	}
	return most;
}

int fg_shadow_run_open(struct fg_shadow_run *run, struct fg_engine *engine,
		       struct fg_state_slot *slot, struct fg_shadow_area *area,
		       struct fg_error *error)
{
	*run = (struct fg_shadow_run){
		.engine = engine,
		.slot = slot,
		.area = area,
		.entry = engine->model_count,
		.live = calloc(live_floats(engine), sizeof(float)),
		.in = calloc(FG_SHADOW_MAX_FLOATS, sizeof(float)),
		.out = calloc(FG_SHADOW_MAX_FLOATS, sizeof(float)),
	};
	fg_watch_open(&run->watch, slot, NULL);
	if (run->live && run->in && run->out)
		return 0;
	run->area = NULL;
	fg_shadow_run_close(run);
	return fg_error_set(error, -ENOMEM, "no memory for a shadow's batch");
}

void fg_shadow_run_close(struct fg_shadow_run *run)
{
	for (uint32_t i = 0; run->area && i < FG_MAX_SLOTS; i++)
		fg_shadow_release(&run->area->rings[i]);
	free(run->live);
	free(run->in);
	free(run->out);
	memset(run, 0, sizeof(*run));
}

/* ---- which model ---- */

/* The watched model's entry: its default one, if several versions are here. */
static void choose_entry(struct fg_shadow_run *run)
{
	const struct fg_engine *engine = run->engine;
	const struct fg_batch_cost *cost;

	run->entry = engine->model_count;
	for (uint32_t i = 0; i < engine->model_count; i++)
		if (engine->models[i].name == run->watch.model &&
		    (run->entry == engine->model_count || engine->models[i].is_default))
			run->entry = i;
	if (run->entry == engine->model_count)
		return;
	cost = &engine->costs[run->entry];
	run->slice_rows = cost->max_rows;
	while (run->slice_rows > 1 && fg_batch_cost_ns(cost, run->slice_rows) > FG_SHADOW_RUN_NS)
		run->slice_rows /= 2;
}

/* ---- running and comparing ---- */

static void beat(struct fg_shadow_run *run)
{
	atomic_store_explicit(&run->slot->work.heartbeat_ns, fg_clock_ns(), memory_order_relaxed);
}

/* Without the time in which others had the CPU. */
static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Runs the batch, in slices: a live worker on this CPU waits for one at most. Returns the run time.
 */
static uint64_t run_batch(struct fg_shadow_run *run)
{
	struct fg_engine *engine = run->engine;
	const struct fg_plan *plan = &engine->models[run->entry].plan;
	uint64_t spent_ns = 0;

	run->refused = 0;
	for (uint32_t row = 0; row < run->rows; row += run->slice_rows) {
		uint32_t left = run->rows - row;
		uint64_t start_ns = cpu_ns();

		run->refused += fg_plan_try(plan, engine->in + (size_t)row * plan->in_cols,
					    left < run->slice_rows ? left : run->slice_rows,
					    engine->out + (size_t)row * plan->out_cols,
					    engine->scratch, engine->refusals + row);
		spent_ns += cpu_ns() - start_ns;
		beat(run);
		sched_yield();
	}
	return spent_ns;
}

static uint32_t largest(const float *row, uint32_t cols)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < cols; i++)
		if (row[i] > row[best])
			best = i;
	return best;
}

static bool agrees(const float *live, const float *own, uint32_t cols)
{
	if (cols == 1)
		return fabsf(*live - *own) <= FG_SHADOW_CLOSE * (1 + fabsf(*live));
	return largest(live, cols) == largest(own, cols);
}

static void note_worst(struct fg_state_seen *seen, const float *live, const float *own,
		       uint32_t count)
{
	uint32_t bits = atomic_load_explicit(&seen->worst, memory_order_relaxed);
	float worst;

	memcpy(&worst, &bits, sizeof(worst));
	for (uint32_t i = 0; i < count; i++)
		worst = fmaxf(worst, fabsf(live[i] - own[i])); /* a NaN is passed over */
	memcpy(&bits, &worst, sizeof(bits));
	atomic_store_explicit(&seen->worst, bits, memory_order_relaxed);
}

/* True when the plan refuses a row that the live one has answered. */
static bool is_refused(const struct fg_shadow_run *run, uint32_t first_row, uint32_t rows)
{
	for (uint32_t row = first_row; run->refused && row < first_row + rows; row++)
		if (run->engine->refusals[row].step)
			return true;
	return false;
}

/* Counts one record's answers, live and own (rows, out_cols). */
static void compare(struct fg_shadow_run *run, const struct fg_shadow_record *record,
		    const float *live, const float *own, uint64_t own_ns)
{
	struct fg_state_seen *seen = run->watch.seen;
	uint32_t cols = record->out_cols, agreed = 0;

	if (!fg_watch_finite(own, record->rows * cols)) {
		fg_watch_error(&run->watch);
		return;
	}
	for (uint32_t row = 0; row < record->rows; row++)
		agreed += agrees(live + (size_t)row * cols, own + (size_t)row * cols, cols);
	note_worst(seen, live, own, record->rows * cols);
	fg_stats_add(&seen->rows, record->rows);
	fg_stats_add(&seen->agreed, agreed);
	fg_stats_add(&seen->live_ns, record->compute_ns);
	fg_stats_add(&seen->own_ns, own_ns);
	fg_watch_count(seen, own, record->rows, cols, own_ns);
}

/* Runs and compares what was gathered, if anything. */
static void flush(struct fg_shadow_run *run)
{
	const float *live = run->live, *own = run->engine->out;
	uint64_t spent_ns;
	uint32_t row = 0;

	if (!run->count)
		return;
	spent_ns = run_batch(run);
	for (uint32_t i = 0; i < run->count; i++) {
		const struct fg_shadow_record *record = &run->records[i];
		size_t floats = (size_t)record->rows * record->out_cols;

		if (is_refused(run, row, record->rows))
			fg_watch_error(&run->watch);
		else
			compare(run, record, live, own, spent_ns * record->rows / run->rows);
		row += record->rows;
		live += floats;
		own += floats;
	}
	run->count = run->rows = 0;
}

/* ---- gathering ---- */

/* Puts the record that was just taken into the batch. */
static void gather(struct fg_shadow_run *run, const struct fg_shadow_record *record)
{
	const struct fg_engine *engine = run->engine;
	const struct fg_plan *plan;
	uint32_t max_rows;

	if (run->entry == engine->model_count || record->epoch != run->watch.epoch)
		return;
	plan = &engine->models[run->entry].plan;
	max_rows = engine->costs[run->entry].max_rows;
	/* A live client would have been refused. */
	if (record->in_cols != plan->in_cols || record->out_cols != plan->out_cols ||
	    record->rows > max_rows) {
		fg_watch_error(&run->watch);
		return;
	}
	if (run->count == FG_SHADOW_RECORDS || run->rows + record->rows > max_rows)
		flush(run);
	memcpy(engine->in + (size_t)run->rows * plan->in_cols, run->in,
	       (size_t)record->rows * plan->in_cols * sizeof(float));
	memcpy(run->live + (size_t)run->rows * plan->out_cols, run->out,
	       (size_t)record->rows * plan->out_cols * sizeof(float));
	run->records[run->count++] = *record;
	run->rows += record->rows;
}

/* Takes one ring's turn. True when it used up all of it. */
static bool take_turn(struct fg_shadow_run *run, struct fg_shadow_ring *ring)
{
	struct fg_shadow_record record;

	for (uint32_t i = 0; i < FG_SHADOW_TURN; i++) {
		if (fg_shadow_take(ring, &record, run->in, FG_SHADOW_MAX_FLOATS, run->out,
				   FG_SHADOW_MAX_FLOATS) != 1)
			return false;
		gather(run, &record);
	}
	return true;
}

bool fg_shadow_run_round(struct fg_shadow_run *run)
{
	bool more = false;

	if (fg_watch_look(&run->watch))
		choose_entry(run);
	for (uint32_t i = 0; i < FG_MAX_SLOTS; i++)
		more |= take_turn(run, &run->area->rings[i]);
	flush(run);
	return more;
}

void fg_shadow_run_until_finish(struct fg_shadow_run *run)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	enum fg_order order;

	while ((order = atomic_load_explicit(&run->slot->order, memory_order_acquire)) !=
	       FG_ORDER_FINISH) {
		beat(run);
		if (order != FG_ORDER_SHADOW || !fg_shadow_run_round(run))
			nanosleep(&pause, NULL);
	}
}
