#include "userspace/worker/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include "userspace/shared/clock.h"

#define MAX_PAYLOAD (FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES)

_Static_assert(FG_BATCH_MAX_ENTRIES >= FG_ROLLOUT_MAX_MODELS, "every model version is an entry");

static int check_entry(const struct fg_rollout_entry *entry, const struct fg_plan *plan,
		       struct fg_error *error)
{
	if (plan->in_cols > MAX_PAYLOAD)
		return fg_error_set(error, -EINVAL,
				    "model %s version %" PRIu64 " takes %u columns, "
				    "one datagram carries at most %u (u8)",
				    entry->model, entry->version, plan->in_cols, MAX_PAYLOAD);
	if (plan->out_cols > MAX_PAYLOAD / sizeof(float))
		return fg_error_set(error, -EINVAL,
				    "model %s version %" PRIu64 " gives %u columns, "
				    "one datagram carries at most %zu (f32)",
				    entry->model, entry->version, plan->out_cols,
				    MAX_PAYLOAD / sizeof(float));
	return 0;
}

/* Two versions of one model. */
static int check_labels(const struct fg_rollout_entry *a, const struct fg_rollout_entry *b,
			struct fg_error *error)
{
	uint32_t i, j;

	for (i = 0; i < FG_RULES_MAX_LABELS; i++)
		for (j = 0; j < FG_RULES_MAX_LABELS; j++)
			if (a->labels[i][0] && b->labels[j][0] &&
			    fg_wire_label(a->labels[i]) == fg_wire_label(b->labels[j]))
				return fg_error_set(
					error, -EINVAL,
					"model %s has two versions labelled %s, %" PRIu64
					" and %" PRIu64,
					a->model, a->labels[i], a->version, b->version);
	return 0;
}

static int check_pair(const struct fg_rollout_entry *a, const struct fg_rollout_entry *b,
		      struct fg_error *error)
{
	if (fg_wire_model(a->model) != fg_wire_model(b->model))
		return 0;
	if (strcmp(a->model, b->model))
		return fg_error_set(error, -EINVAL,
				    "models %s and %s have the same XXH32, %08x: rename one",
				    a->model, b->model, fg_wire_model(a->model));
	if (a->version == b->version)
		return fg_error_set(error, -EINVAL, "model %s version %" PRIu64 " is there twice",
				    a->model, a->version);
	if (a->is_default && b->is_default)
		return fg_error_set(error, -EINVAL,
				    "model %s has two defaults, %" PRIu64 " and %" PRIu64, a->model,
				    a->version, b->version);
	return check_labels(a, b, error);
}

static int check_entries(const struct fg_rollout_entry *entries, uint32_t entry_count,
			 const struct fg_plan *plans, uint32_t max_batch, struct fg_error *error)
{
	uint32_t i, j;
	int ret = 0;

	if (!entry_count || entry_count > FG_ROLLOUT_MAX_MODELS)
		return fg_error_set(error, -EINVAL, "%u model versions, must be 1 to %u",
				    entry_count, FG_ROLLOUT_MAX_MODELS);
	if (!max_batch || max_batch > FG_BATCH_MAX_ROWS)
		return fg_error_set(error, -EINVAL, "max_batch is %u, must be 1 to %u", max_batch,
				    FG_BATCH_MAX_ROWS);
	for (i = 0; !ret && i < entry_count; i++) {
		ret = check_entry(&entries[i], &plans[i], error);
		for (j = 0; !ret && j < i; j++)
			ret = check_pair(&entries[j], &entries[i], error);
	}
	return ret;
}

struct footprint {
	size_t in, out, scratch; /* bytes, multiples of 64 */
};

static size_t cache_lines(size_t bytes)
{
	return (bytes + 63) & ~(size_t)63;
}

static struct footprint footprint_of(const struct fg_plan *plan, uint32_t rows)
{
	return (struct footprint){
		.in = cache_lines((size_t)rows * plan->in_cols * sizeof(float)),
		.out = cache_lines((size_t)rows * plan->out_cols * sizeof(float)),
		.scratch = cache_lines(fg_plan_scratch_bytes(plan, rows)),
	};
}

/* The most rows, up to max_batch, that FG_ENGINE_MEMORY_BYTES have room for; 1 always is. */
static uint32_t rows_of(const struct fg_plan *plan, uint32_t max_batch)
{
	uint32_t rows;

	for (rows = max_batch; rows > 1; rows--) {
		struct footprint need = footprint_of(plan, rows);

		if (need.in + need.out + need.scratch <= FG_ENGINE_MEMORY_BYTES)
			break;
	}
	return rows;
}

static void *map_zeroed(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	madvise(map, bytes, MADV_HUGEPAGE);
	memset(map, 0, bytes); /* so that no page faults later */
	return map;
}

/* One arena for whichever model runs, as large as the largest needs. */
static int map_arena(struct fg_engine *engine, struct fg_error *error)
{
	struct footprint most = {0};
	uint32_t i;

	for (i = 0; i < engine->model_count; i++) {
		struct footprint need =
			footprint_of(&engine->models[i].plan, engine->costs[i].max_rows);

		most.in = need.in > most.in ? need.in : most.in;
		most.out = need.out > most.out ? need.out : most.out;
		most.scratch = need.scratch > most.scratch ? need.scratch : most.scratch;
	}
	engine->arena_bytes = most.in + most.out + most.scratch;
	engine->arena = map_zeroed(engine->arena_bytes);
	if (!engine->arena)
		return fg_error_set(error, -ENOMEM, "no memory for a batch: %zu bytes",
				    engine->arena_bytes);
	engine->in = engine->arena;
	engine->out = (float *)((uint8_t *)engine->arena + most.in);
	engine->scratch = (uint8_t *)engine->arena + most.in + most.out;
	return 0;
}

static int check_golden(const struct fg_rollout_entry *entry, const struct fg_plan *plan,
			struct fg_error *error)
{
	size_t bytes = fg_plan_golden_scratch_bytes(plan);
	struct fg_error why = {""};
	void *scratch;
	int ret;

	if (!plan->golden_rows)
		return 0;
	scratch = map_zeroed(bytes);
	if (!scratch)
		return fg_error_set(error, -ENOMEM, "no memory for golden rows: %zu bytes", bytes);
	ret = fg_plan_check_golden(plan, scratch, &why);
	munmap(scratch, bytes);
	if (ret)
		return fg_error_set(error, ret, "model %s version %" PRIu64 ": %s", entry->model,
				    entry->version, why.text);
	return 0;
}

/* Runs what the version ships to be warmed up with, in batches no longer than they will come. */
static void warm(struct fg_engine *engine, uint32_t entry)
{
	const struct fg_plan *plan = &engine->models[entry].plan;
	const uint32_t most = engine->costs[entry].max_rows;
	const uint64_t end_ns = fg_clock_ns() + FG_ENGINE_WARM_NS / engine->model_count;

	for (uint32_t i = 0; i < plan->warmup_count; i++) {
		uint32_t left, rows;
		const float *in = fg_plan_warmup(plan, i, &left);

		for (; left && fg_clock_ns() < end_ns; left -= rows) {
			rows = left < most ? left : most;
			fg_plan_run(plan, in, rows, engine->out, engine->scratch);
			in += (size_t)rows * plan->in_cols;
		}
	}
}

#define MEASURED_NS 20000000ull /* after that no more than two runs */

/* The shortest of a few runs: what disturbs a run only makes it longer. */
static uint64_t measure_run(struct fg_engine *engine, const struct fg_plan *plan, uint32_t rows)
{
	uint64_t best_ns = UINT64_MAX, spent_ns = 0;
	int run;

	for (run = 0; run < 2 || (run < 6 && spent_ns < MEASURED_NS); run++) {
		uint64_t start_ns = fg_clock_ns(), run_ns;

		fg_plan_run(plan, engine->in, rows, engine->out, engine->scratch);
		run_ns = fg_clock_ns() - start_ns;
		spent_ns += run_ns;
		best_ns = run_ns < best_ns ? run_ns : best_ns;
	}
	return best_ns;
}

/*
 * A row more costs no more than those before it. So what there is no time to measure is reckoned
 * from the point before, and so is what was measured to be longer in two runs, both of which
 * something else on the CPU may have stretched.
 */
static uint64_t measure_point(struct fg_engine *engine, uint32_t entry, uint32_t point,
			      uint64_t end_ns)
{
	const struct fg_plan *plan = &engine->models[entry].plan;
	const struct fg_batch_cost *cost = &engine->costs[entry];
	uint32_t rows = fg_batch_cost_rows(cost->max_rows, point);
	uint64_t ns, reckoned_ns;

	if (!point)
		return measure_run(engine, plan, rows);
	reckoned_ns = cost->ns[point - 1] * rows / fg_batch_cost_rows(cost->max_rows, point - 1);
	if (fg_clock_ns() >= end_ns)
		return reckoned_ns;
	ns = measure_run(engine, plan, rows);
	return ns >= MEASURED_NS && ns > reckoned_ns ? reckoned_ns : ns;
}

static void measure(struct fg_engine *engine, uint32_t entry)
{
	const uint64_t end_ns = fg_clock_ns() + FG_ENGINE_MEASURE_NS / engine->model_count;
	const struct fg_plan *plan = &engine->models[entry].plan;
	struct fg_batch_cost *cost = &engine->costs[entry];
	uint32_t point;
	size_t i;

	for (i = 0; i < (size_t)cost->max_rows * plan->in_cols; i++)
		engine->in[i] = (float)(i % 17) / 16 - 0.5f;
	for (point = 0; point < fg_batch_cost_points(cost->max_rows); point++) {
		uint64_t floor_ns = point ? cost->ns[point - 1] : 0;
		uint64_t ns = measure_point(engine, entry, point, end_ns);

		cost->ns[point] = ns > floor_ns ? ns : floor_ns;
	}
}

/* What is measured decides what runs together. Half as long again as one row may be worth it:
 * a batch of a large model waits for its weights, not for its rows. */
static void cut(struct fg_engine *engine)
{
	const uint64_t piece_ns =
		engine->model_count > 1 ? FG_ENGINE_PIECE_NS : FG_ENGINE_PIECE_ALONE_NS;

	engine->long_ns = piece_ns / FG_ENGINE_LONG_PART;
	for (uint32_t i = 0; i < engine->model_count; i++) {
		struct fg_batch_cost *cost = &engine->costs[i];
		uint64_t row_ns = cost->ns[0] + cost->ns[0] / 2;

		fg_batch_cost_cut(cost, FG_ENGINE_REQUEST_NS);
		cost->batch_rows =
			fg_batch_cost_within(cost, row_ns > piece_ns ? row_ns : piece_ns);
	}
}

static size_t part_bytes(const struct fg_engine *engine, uint32_t entry)
{
	const struct fg_batch_cost *cost = &engine->costs[entry];
	size_t bytes = (size_t)cost->max_rows * engine->models[entry].plan.out_cols * sizeof(float);

	if (cost->batch_rows == cost->max_rows)
		return 0;
	return cache_lines(bytes < MAX_PAYLOAD ? bytes : MAX_PAYLOAD);
}

/* Room for the outputs of requests that are longer than a piece; no reply is longer than a
 * datagram. */
static int map_parts(struct fg_engine *engine, struct fg_error *error)
{
	uint8_t *part;

	for (uint32_t i = 0; i < engine->model_count; i++)
		engine->parts_bytes += part_bytes(engine, i);
	if (!engine->parts_bytes)
		return 0;
	part = engine->parts = map_zeroed(engine->parts_bytes);
	if (!part)
		return fg_error_set(error, -ENOMEM, "no memory for long requests: %zu bytes",
				    engine->parts_bytes);
	for (uint32_t i = 0; i < engine->model_count; i++) {
		engine->lines[i].part = (float *)part;
		part += part_bytes(engine, i);
	}
	return 0;
}

/* Serving may run this plan for longer than a worker may be silent. */
static void show_progress(void *watcher)
{
	const struct fg_engine *engine = watcher;

	if (engine->heartbeat_ns)
		atomic_store_explicit(engine->heartbeat_ns, fg_clock_ns(), memory_order_relaxed);
}

static struct fg_engine_model model_of(const struct fg_rollout_entry *entry,
				       const struct fg_plan *plan)
{
	struct fg_engine_model model = {
		.name = fg_wire_model(entry->model),
		.is_default = entry->is_default,
		.version = entry->version,
		.plan = *plan,
	};
	uint32_t i;

	for (i = 0; i < FG_RULES_MAX_LABELS; i++)
		if (entry->labels[i][0])
			model.labels[model.label_count++] = fg_wire_label(entry->labels[i]);
	return model;
}

int fg_engine_open(struct fg_engine *engine, const struct fg_rollout_entry *entries,
		   uint32_t entry_count, const struct fg_plan *plans, uint32_t generation,
		   uint32_t max_batch, struct fg_stats *stats, struct fg_error *error)
{
	const uint64_t golden_end_ns = fg_clock_ns() + FG_ENGINE_GOLDEN_NS;
	uint32_t i;
	int ret;

	memset(engine, 0, sizeof(*engine));
	ret = check_entries(entries, entry_count, plans, max_batch, error);
	if (ret)
		return ret;
	engine->generation = generation;
	engine->stats = stats;
	engine->model_count = entry_count;
	for (i = 0; i < entry_count; i++) {
		engine->models[i] = model_of(&entries[i], &plans[i]);
		engine->costs[i].max_rows = rows_of(&plans[i], max_batch);
	}
	ret = map_arena(engine, error);
	for (i = 0; !ret && i < entry_count; i++) {
		if (fg_clock_ns() < golden_end_ns)
			ret = check_golden(&entries[i], &plans[i], error);
		if (ret)
			break;
		warm(engine, i);
		measure(engine, i);
		if (engine->costs[i].ns[0] >= FG_ENGINE_BEAT_NS) {
			engine->models[i].plan.progress = show_progress;
			engine->models[i].plan.watcher = engine;
		}
	}
	if (!ret) {
		fg_engine_open_lines(engine);
		cut(engine);
		ret = map_parts(engine, error);
	}
	if (ret)
		fg_engine_close(engine);
	return ret;
}

void fg_engine_close(struct fg_engine *engine)
{
	if (engine->arena)
		munmap(engine->arena, engine->arena_bytes);
	if (engine->parts)
		munmap(engine->parts, engine->parts_bytes);
	memset(engine, 0, sizeof(*engine));
}
