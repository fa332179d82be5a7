#include "userspace/worker/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/stats.h"

#define MAX_PAYLOAD (FG_WIRE_MAX_DATAGRAM - FG_WIRE_HEADER_BYTES)

_Static_assert(FG_BATCH_MAX_ENTRIES >= FG_ROLLOUT_MAX_MODELS, "every model version is an entry");

/* ---- replies ---- */

static uint32_t saturate_u32(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* from <= to but for a transport's bad guess. */
static uint32_t elapsed_ns(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? saturate_u32(to_ns - from_ns) : 0;
}

/* Writes the header over the request's; the payload is behind it already. `reply` comes with the
 * fields that the caller knows. */
static void finish(struct fg_engine *engine, const struct fg_engine_pending *pending,
		   struct fg_wire_header reply)
{
	struct fg_message *message = pending->message;

	reply.magic = FG_WIRE_MAGIC;
	reply.version = FG_WIRE_VERSION;
	reply.type = FG_WIRE_REPLY;
	reply.model = pending->header.model;
	reply.affinity = pending->header.affinity;
	reply.request_id = pending->header.request_id;
	reply.generation = engine->generation;
	memcpy(message->bytes, &reply, sizeof(reply));
	message->length = (uint32_t)sizeof(reply) + reply.payload_bytes;
	fg_stats_add(&engine->stats->status[reply.status], 1);
	engine->done[engine->done_count++] = message;
}

/*
 * Answers with a status and a text. A header and a text are never longer than a request, which
 * is a header at least, and FG_WIRE_AMPLIFICATION.
 */
_Static_assert(FG_ENGINE_TEXT_BYTES <= FG_WIRE_AMPLIFICATION, "errors need no padding");

__attribute__((format(printf, 4, 5))) static void refuse(struct fg_engine *engine,
							 const struct fg_engine_pending *pending,
							 uint8_t status, const char *format, ...)
{
	struct fg_message *message = pending->message;
	uint32_t room = message->capacity - (uint32_t)sizeof(struct fg_wire_header);
	char text[FG_ENGINE_TEXT_BYTES + 1];
	uint32_t length;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	length = (uint32_t)strlen(text);
	if (length > room)
		length = room;
	memcpy(message->bytes + sizeof(struct fg_wire_header), text, length);
	finish(engine, pending,
	       (struct fg_wire_header){
		       .status = status,
		       .dtype = FG_DTYPE_TEXT,
		       .payload_bytes = length,
		       .model_version = pending->header.model_version,
		       .queued_ns = elapsed_ns(message->arrived_ns, engine->now_ns),
	       });
}

static void refuse_late(struct fg_engine *engine, const struct fg_engine_pending *pending,
			uint64_t finish_ns)
{
	refuse(engine, pending, FG_STATUS_DEADLINE, "ready after %u us, deadline %u us",
	       saturate_u32((finish_ns - pending->message->arrived_ns) / 1000),
	       pending->header.deadline_us);
}

/* ---- parsing and checking ---- */

/* What fg_wire_parse_request found, with the numbers. */
static void refuse_parsed(struct fg_engine *engine, const struct fg_engine_pending *pending,
			  uint8_t status)
{
	const struct fg_wire_header *header = &pending->header;
	uint64_t bytes = (uint64_t)header->rows * header->cols;

	if (status == FG_STATUS_BAD_DTYPE)
		refuse(engine, pending, status, "no element type %u: f32 is %u, u8 is %u",
		       header->dtype, FG_DTYPE_F32, FG_DTYPE_U8);
	else if (status == FG_STATUS_BAD_SHAPE)
		refuse(engine, pending, status, "shape (%u, %u) has no elements", header->rows,
		       header->cols);
	else if (header->flags || header->status || header->reserved || header->generation ||
		 header->zero)
		refuse(engine, pending, status, "a reserved field is not zero");
	else if (__builtin_mul_overflow(bytes, fg_dtype_bytes(header->dtype), &bytes) ||
		 bytes != header->payload_bytes)
		refuse(engine, pending, status, "payload_bytes is %u, shape and type make %" PRIu64,
		       header->payload_bytes, bytes);
	else
		refuse(engine, pending, status, "payload_bytes is %u, the datagram has %zu",
		       header->payload_bytes, pending->message->length - sizeof(*header));
}

/* The entry that is asked for; or -1, and *served is a version that is there (NULL: none is). */
static int find_model(const struct fg_engine *engine, const struct fg_wire_header *header,
		      const struct fg_engine_model **served)
{
	uint32_t i;

	*served = NULL;
	for (i = 0; i < engine->model_count; i++) {
		const struct fg_engine_model *model = &engine->models[i];

		if (model->name != header->model)
			continue;
		if (header->model_version ? model->version == header->model_version
					  : model->is_default)
			return (int)i;
		if (!*served || model->is_default)
			*served = model;
	}
	return -1;
}

static bool resolve(struct fg_engine *engine, struct fg_engine_pending *pending)
{
	const struct fg_wire_header *header = &pending->header;
	const struct fg_engine_model *served;
	int entry = find_model(engine, header, &served);

	if (entry < 0 && !served)
		refuse(engine, pending, FG_STATUS_UNKNOWN_MODEL, "no model %08x (xxh32) here",
		       header->model);
	else if (entry < 0)
		refuse(engine, pending, FG_STATUS_UNKNOWN_VERSION,
		       "no version %" PRIu64 " (but %" PRIu64 ")", header->model_version,
		       served->version);
	if (entry < 0)
		return false;
	pending->entry = (uint32_t)entry;
	pending->header.model_version = engine->models[entry].version;
	return true;
}

static bool fits(struct fg_engine *engine, const struct fg_engine_pending *pending)
{
	const struct fg_wire_header *header = &pending->header;
	const struct fg_message *message = pending->message;
	const struct fg_plan *plan = &engine->models[pending->entry].plan;
	uint32_t max_rows = engine->costs[pending->entry].max_rows;
	uint32_t room =
		message->capacity < FG_WIRE_MAX_DATAGRAM ? message->capacity : FG_WIRE_MAX_DATAGRAM;
	uint32_t length;

	if (header->cols != plan->in_cols) {
		refuse(engine, pending, FG_STATUS_BAD_SHAPE, "got %u columns, the model takes %u",
		       header->cols, plan->in_cols);
		return false;
	}
	if (header->rows > max_rows) {
		refuse(engine, pending, FG_STATUS_TOO_MANY_ROWS, "got %u rows, a batch holds %u",
		       header->rows, max_rows);
		return false;
	}
	/* At most 1024 rows of MAX_PAYLOAD bytes: no overflow. */
	length = (uint32_t)(sizeof(*header) + header->rows * plan->out_cols * sizeof(float));
	if (length > room) {
		refuse(engine, pending, FG_STATUS_REPLY_TOO_LONG,
		       "reply of %u bytes, room for %u: send fewer rows", length, room);
		return false;
	}
	if (length > message->length + FG_WIRE_AMPLIFICATION) {
		refuse(engine, pending, FG_STATUS_REPLY_TOO_LONG, "pad the request to %u bytes",
		       length - FG_WIRE_AMPLIFICATION);
		return false;
	}
	return true;
}

/* Queues one message for a batch, or is done with it. */
static void take(struct fg_engine *engine, struct fg_message *message)
{
	struct fg_engine_pending *pending = &engine->pending[engine->pending_count];
	uint64_t timeout_ns;
	uint8_t status;
	int ret;

	pending->message = message;
	ret = fg_wire_parse_request(message->bytes, message->length, &pending->header, &status);
	if (ret == -EPROTO) {
		message->length = 0;
		engine->done[engine->done_count++] = message;
		fg_stats_add(&engine->stats->not_ours, 1);
		return;
	}
	fg_stats_add(&engine->stats->requests, 1);
	if (ret) {
		refuse_parsed(engine, pending, status);
		return;
	}
	if (!resolve(engine, pending) || !fits(engine, pending))
		return;
	timeout_ns = pending->header.deadline_us * 1000ull;
	engine->requests[engine->pending_count++] = (struct fg_batch_request){
		.entry = pending->entry,
		.rows = pending->header.rows,
		.deadline_ns = timeout_ns ? message->arrived_ns + timeout_ns : 0,
	};
}

void fg_engine_begin(struct fg_engine *engine, struct fg_message *messages, uint32_t count,
		     uint64_t now_ns)
{
	const struct fg_batch_schedule *schedule = &engine->schedule;
	uint32_t i;

	engine->pending_count = engine->done_count = engine->next_batch = 0;
	engine->now_ns = now_ns;
	for (i = 0; i < count; i++)
		take(engine, &messages[i]);
	fg_batch_form(&engine->schedule, engine->requests, engine->pending_count, engine->costs,
		      now_ns);
	for (i = 0; i < schedule->refused_count; i++)
		refuse_late(engine, &engine->pending[schedule->refused[i].request],
			    schedule->refused[i].finish_ns);
}

/* ---- running ---- */

/*
 * Copies the rows of a batch together: replies are then free to overwrite requests. Who has become
 * late since the schedule was made is refused now. Leaves in *batch and in the schedule's order
 * only those that run.
 */
static void gather(struct fg_engine *engine, struct fg_batch *batch)
{
	uint16_t *order = &engine->schedule.order[batch->first];
	uint64_t finish_ns =
		engine->now_ns + fg_batch_cost_ns(&engine->costs[batch->entry], batch->rows);
	uint32_t cols = engine->models[batch->entry].plan.in_cols, i, count = batch->count;

	batch->rows = batch->count = 0;
	for (i = 0; i < count; i++) {
		const struct fg_engine_pending *pending = &engine->pending[order[i]];
		const struct fg_batch_request *request = &engine->requests[order[i]];
		const struct fg_wire_header *header = &pending->header;

		if (request->deadline_ns && finish_ns > request->deadline_ns) {
			refuse_late(engine, pending, finish_ns);
			continue;
		}
		fg_wire_to_f32(engine->in + (size_t)batch->rows * cols,
			       pending->message->bytes + sizeof(*header), header->dtype,
			       (size_t)header->rows * cols);
		batch->rows += header->rows;
		order[batch->count++] = order[i];
	}
}

/* Writes each request's rows of the output into its reply. */
static void scatter(struct fg_engine *engine, const struct fg_batch *batch, uint64_t start_ns)
{
	uint32_t cols = engine->models[batch->entry].plan.out_cols, i;
	uint32_t compute_ns = elapsed_ns(start_ns, engine->now_ns);
	const float *out = engine->out;

	for (i = 0; i < batch->count; i++) {
		const struct fg_engine_pending *pending =
			&engine->pending[engine->schedule.order[batch->first + i]];
		struct fg_message *message = pending->message;
		uint32_t rows = pending->header.rows;
		uint32_t bytes = (uint32_t)(rows * cols * sizeof(*out));

		memcpy(message->bytes + sizeof(struct fg_wire_header), out, bytes);
		out += rows * cols;
		finish(engine, pending,
		       (struct fg_wire_header){
			       .status = FG_STATUS_OK,
			       .dtype = FG_DTYPE_F32,
			       .rows = rows,
			       .cols = cols,
			       .payload_bytes = bytes,
			       .model_version = pending->header.model_version,
			       .queued_ns = elapsed_ns(message->arrived_ns, start_ns),
			       .compute_ns = compute_ns,
		       });
	}
	fg_stats_add(&engine->stats->replies, batch->count);
	fg_stats_add(&engine->stats->rows, batch->rows);
	fg_stats_add(&engine->stats->batches, 1);
}

bool fg_engine_step(struct fg_engine *engine)
{
	struct fg_batch *batch = &engine->schedule.batches[engine->next_batch];
	uint64_t start_ns;

	if (engine->next_batch == engine->schedule.batch_count)
		return false;
	engine->next_batch++;
	engine->done_count = 0;
	engine->now_ns = start_ns = fg_clock_ns();
	gather(engine, batch);
	if (!batch->rows)
		return true;
	fg_plan_run(&engine->models[batch->entry].plan, engine->in, batch->rows, engine->out,
		    engine->scratch);
	engine->now_ns = fg_clock_ns();
	scatter(engine, batch, start_ns);
	return true;
}

/* ---- opening and closing ---- */

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
	return 0;
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
		return fg_error_set(error, ret, "model %s version %" PRIu64 ": %.160s",
				    entry->model, entry->version, why.text);
	return 0;
}

/* The shortest of a few runs: what disturbs a run only makes it longer. */
static uint64_t measure_run(struct fg_engine *engine, const struct fg_plan *plan, uint32_t rows)
{
	uint64_t best_ns = UINT64_MAX, spent_ns = 0;
	int run;

	for (run = 0; run < 2 || (run < 6 && spent_ns < 20000000); run++) {
		uint64_t start_ns = fg_clock_ns(), run_ns;

		fg_plan_run(plan, engine->in, rows, engine->out, engine->scratch);
		run_ns = fg_clock_ns() - start_ns;
		spent_ns += run_ns;
		best_ns = run_ns < best_ns ? run_ns : best_ns;
	}
	return best_ns;
}

static void measure(struct fg_engine *engine, uint32_t entry)
{
	const struct fg_plan *plan = &engine->models[entry].plan;
	struct fg_batch_cost *cost = &engine->costs[entry];
	uint32_t point;
	size_t i;

	for (i = 0; i < (size_t)cost->max_rows * plan->in_cols; i++)
		engine->in[i] = (float)(i % 17) / 16 - 0.5f;
	for (point = 0; point < fg_batch_cost_points(cost->max_rows); point++) {
		uint32_t rows = fg_batch_cost_rows(cost->max_rows, point);
		uint64_t floor_ns = point ? cost->ns[point - 1] : 0;
		uint64_t ns = measure_run(engine, plan, rows);

		cost->ns[point] = ns > floor_ns ? ns : floor_ns;
	}
}

int fg_engine_open(struct fg_engine *engine, const struct fg_rollout_entry *entries,
		   uint32_t entry_count, const struct fg_plan *plans, uint32_t generation,
		   uint32_t max_batch, struct fg_stats *stats, struct fg_error *error)
{
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
		engine->models[i] = (struct fg_engine_model){
			.name = fg_wire_model(entries[i].model),
			.is_default = entries[i].is_default,
			.version = entries[i].version,
			.plan = plans[i],
		};
		engine->costs[i].max_rows = rows_of(&plans[i], max_batch);
	}
	ret = map_arena(engine, error);
	for (i = 0; !ret && i < entry_count; i++) {
		ret = check_golden(&entries[i], &plans[i], error);
		if (!ret)
			measure(engine, i);
	}
	if (ret)
		fg_engine_close(engine);
	return ret;
}

void fg_engine_close(struct fg_engine *engine)
{
	if (engine->arena)
		munmap(engine->arena, engine->arena_bytes);
	memset(engine, 0, sizeof(*engine));
}
