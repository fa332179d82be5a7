#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/stats.h"
#include "userspace/worker/describe.h"
#include "userspace/worker/engine_parts.h"

/* A deadline so close behind the run time is met by luck: waking up, others of the batch. */
#define HASTE_NS 100000ull

static uint32_t saturate_u32(uint64_t value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

uint32_t fg_engine_elapsed_ns(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? saturate_u32(to_ns - from_ns) : 0;
}

/* ---- which model ---- */

static bool has_label(const struct fg_engine_model *model, uint64_t label)
{
	uint32_t i;

	for (i = 0; i < model->label_count; i++)
		if (model->labels[i] == label)
			return true;
	return false;
}

static bool is_meant(const struct fg_engine_model *model, const struct fg_wire_header *header)
{
	if (header->flags & FG_WIRE_LABEL)
		return has_label(model, header->model_version);
	if (header->model_version)
		return model->version == header->model_version;
	return model->is_default;
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
		if (is_meant(model, header))
			return (int)i;
		if (!*served || model->is_default)
			*served = model;
	}
	return -1;
}

/* ---- what is watched ---- */

static bool is_watched(const struct fg_engine *engine, uint32_t name)
{
	return engine->watch && engine->watch->model && engine->watch->model == name;
}

static struct fg_state_offer offer_of(const struct fg_engine *engine, uint32_t entry)
{
	const struct fg_batch_cost *cost = &engine->costs[entry];

	return (struct fg_state_offer){
		.model = engine->models[entry].name,
		.is_default = engine->models[entry].is_default,
		.in_cols = engine->models[entry].plan.in_cols,
		.max_rows = cost->max_rows,
		.row_ns = fg_batch_cost_ns(cost, 1),
		.batch_ns = fg_batch_cost_ns(cost, cost->max_rows),
	};
}

void fg_engine_offers(const struct fg_engine *engine, struct fg_state_offer *offers)
{
	for (uint32_t i = 0; i < engine->model_count; i++)
		offers[i] = offer_of(engine, i);
}

/* Would the version before this one have answered? Not where shape or deadline were none for it
 * either; where there was none, this one's own measure counts. */
static bool was_served_before(const struct fg_engine *engine, uint32_t entry,
			      const struct fg_wire_header *header)
{
	const struct fg_state_offer before =
		engine->before.model == header->model ? engine->before : offer_of(engine, entry);
	uint64_t cost_ns;

	if (header->cols != before.in_cols || !header->rows || header->rows > before.max_rows)
		return false;
	cost_ns = before.row_ns + HASTE_NS;
	if (before.max_rows > 1 && before.batch_ns > before.row_ns)
		cost_ns += (before.batch_ns - before.row_ns) * (header->rows - 1) /
			   (before.max_rows - 1);
	return !header->deadline_us || header->deadline_us * 1000ull >= cost_ns;
}

/* Counts a refusal that the version before would not have made, if it is one of a request for the
 * watched model's default version. What is wrong with any version does not count: a client sees in
 * the replies which of its flows a canary answers, and must not be able to break it by nonsense. */
static void watch_refusal(struct fg_engine *engine, const struct fg_wire_header *header)
{
	const struct fg_engine_model *served;
	int entry;

	if (!is_watched(engine, header->model))
		return;
	entry = find_model(engine, header, &served);
	if (entry >= 0 ? engine->models[entry].is_default &&
				 was_served_before(engine, (uint32_t)entry, header)
		       : !header->model_version)
		fg_watch_error(engine->watch);
}

bool fg_engine_is_watched(const struct fg_engine *engine, uint32_t entry)
{
	return engine->models[entry].is_default && is_watched(engine, engine->models[entry].name);
}

/* Notes a batch that ran, for watch_batch. */
static void note_batch(struct fg_engine *engine, const struct fg_batch *batch, uint32_t compute_ns)
{
	if (!fg_engine_is_watched(engine, batch->entry))
		return;
	engine->watched = batch;
	engine->watched_ns = compute_ns;
}

/*
 * Shows a batch to the watch. Its replies were sent meanwhile, so that nobody waits for this; its
 * rows are still in `in` and `out`.
 */
static void watch_batch(struct fg_engine *engine)
{
	const struct fg_batch *batch = engine->watched;
	const struct fg_plan *plan = &engine->models[batch->entry].plan;
	const float *in = engine->in, *out = engine->out;
	uint32_t i;

	for (i = 0; i < batch->count; i++) {
		const struct fg_engine_pending *pending =
			&engine->pending[engine->schedule.order[batch->first + i]];
		uint32_t rows = pending->header.rows;
		const struct fg_watch_answer answer = {
			.rows = rows,
			.in_cols = plan->in_cols,
			.out_cols = plan->out_cols,
			.compute_ns = (uint32_t)((uint64_t)engine->watched_ns * rows / batch->rows),
			.latency_ns =
				fg_engine_elapsed_ns(pending->message->arrived_ns, engine->now_ns),
			.in = in,
			.out = out,
		};

		if (!pending->refused)
			fg_watch_answer(engine->watch, &answer);
		in += (size_t)rows * plan->in_cols;
		out += (size_t)rows * plan->out_cols;
	}
	engine->watched = NULL;
}

/* ---- replies ---- */

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

/* Formatting a text costs as much as refusing does. Who reads texts sees the first ones. */
static bool may_explain(struct fg_engine *engine)
{
	if (engine->now_ns - engine->texts_ns >= 1000000000ull) {
		engine->texts_ns = engine->now_ns;
		engine->texts_left = FG_ENGINE_TEXTS_PER_S;
	}
	if (!engine->texts_left)
		return false;
	engine->texts_left--;
	return true;
}

__attribute__((format(printf, 4, 5))) static void refuse(struct fg_engine *engine,
							 const struct fg_engine_pending *pending,
							 uint8_t status, const char *format, ...)
{
	struct fg_message *message = pending->message;
	uint32_t room = message->capacity - (uint32_t)sizeof(struct fg_wire_header);
	const char *words = fg_status_name(status);
	char text[FG_ENGINE_TEXT_BYTES + 1];
	uint32_t length;
	va_list args;

	if (may_explain(engine)) {
		va_start(args, format);
		vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		words = text;
	}
	length = (uint32_t)strlen(words);
	if (length > room)
		length = room;
	memcpy(message->bytes + sizeof(struct fg_wire_header), words, length);
	finish(engine, pending,
	       (struct fg_wire_header){
		       .status = status,
		       .dtype = FG_DTYPE_TEXT,
		       .payload_bytes = length,
		       .model_version = pending->header.model_version,
		       .queued_ns = fg_engine_elapsed_ns(message->arrived_ns, engine->now_ns),
	       });
}

void fg_engine_refuse_late(struct fg_engine *engine, const struct fg_engine_pending *pending,
			   uint64_t finish_ns)
{
	refuse(engine, pending, FG_STATUS_DEADLINE, "ready after %u us, deadline %u us",
	       saturate_u32((finish_ns - pending->message->arrived_ns) / 1000),
	       pending->header.deadline_us);
	watch_refusal(engine, &pending->header);
}

void fg_engine_refuse_load(struct fg_engine *engine, const struct fg_engine_pending *pending)
{
	refuse(engine, pending, FG_STATUS_OVERLOADED,
	       "%u requests that take long wait: try again later",
	       fg_share_waiting(&engine->share));
	watch_refusal(engine, &pending->header);
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
	else if (header->flags & ~(FG_WIRE_LABEL | FG_WIRE_DESCRIBE) || header->status ||
		 header->reserved || header->generation || header->zero)
		refuse(engine, pending, status, "a reserved field is not zero");
	else if (header->flags & FG_WIRE_LABEL && !header->model_version)
		refuse(engine, pending, status, "a label is asked for, but model_version is 0");
	else if (header->flags & FG_WIRE_DESCRIBE)
		refuse(engine, pending, status, "to describe takes no rows: dtype, shape are 0");
	else if (__builtin_mul_overflow(bytes, fg_dtype_bytes(header->dtype), &bytes) ||
		 bytes != header->payload_bytes)
		refuse(engine, pending, status, "payload_bytes is %u, shape and type make %" PRIu64,
		       header->payload_bytes, bytes);
	else
		refuse(engine, pending, status, "payload_bytes is %u, the datagram has %zu",
		       header->payload_bytes, pending->message->length - sizeof(*header));
}

static bool resolve(struct fg_engine *engine, struct fg_engine_pending *pending)
{
	const struct fg_wire_header *header = &pending->header;
	const struct fg_engine_model *served;
	int entry = find_model(engine, header, &served);

	if (entry < 0 && !served)
		refuse(engine, pending, FG_STATUS_UNKNOWN_MODEL, "no model %08x (xxh32) here",
		       header->model);
	else if (entry < 0 && header->flags & FG_WIRE_LABEL)
		refuse(engine, pending, FG_STATUS_UNKNOWN_VERSION,
		       "no label %016" PRIx64 " (xxh64) (but %" PRIu64 ")", header->model_version,
		       served->version);
	else if (entry < 0)
		refuse(engine, pending, FG_STATUS_UNKNOWN_VERSION,
		       "no version %" PRIu64 " (but %" PRIu64 ")", header->model_version,
		       served->version);
	if (entry < 0) {
		watch_refusal(engine, header);
		return false;
	}
	pending->entry = (uint32_t)entry;
	pending->header.flags &= FG_WIRE_DESCRIBE;
	pending->header.model_version = engine->models[entry].version;
	return true;
}

/* The longest reply that has room where its request stands. */
static uint32_t capacity_of(const struct fg_message *message)
{
	return message->capacity < FG_WIRE_MAX_DATAGRAM ? message->capacity : FG_WIRE_MAX_DATAGRAM;
}

/* The same, and no longer than its sender has proven that it wants. */
static uint32_t room_of(const struct fg_message *message)
{
	uint32_t capacity = capacity_of(message);
	uint32_t allowed = message->length + FG_WIRE_AMPLIFICATION;

	return message->proven || capacity < allowed ? capacity : allowed;
}

/* Rare, and short beside a batch: so it needs no place in the schedule. */
static void describe(struct fg_engine *engine, const struct fg_engine_pending *pending)
{
	struct fg_message *message = pending->message;
	uint32_t room = room_of(message) - (uint32_t)sizeof(struct fg_wire_header);
	size_t bytes =
		fg_describe_ports(&engine->models[pending->entry].plan,
				  (char *)message->bytes + sizeof(struct fg_wire_header), room);

	if (bytes > room) {
		refuse(engine, pending, FG_STATUS_REPLY_TOO_LONG, "pad the request to %zu bytes",
		       bytes);
		return;
	}
	finish(engine, pending,
	       (struct fg_wire_header){
		       .status = FG_STATUS_OK,
		       .dtype = FG_DTYPE_TEXT,
		       .payload_bytes = (uint32_t)bytes,
		       .model_version = pending->header.model_version,
		       .queued_ns = fg_engine_elapsed_ns(message->arrived_ns, engine->now_ns),
	       });
	fg_stats_add(&engine->stats->replies, 1);
}

static bool fits(struct fg_engine *engine, const struct fg_engine_pending *pending)
{
	const struct fg_wire_header *header = &pending->header;
	const struct fg_message *message = pending->message;
	const struct fg_plan *plan = &engine->models[pending->entry].plan;
	uint32_t max_rows = engine->costs[pending->entry].max_rows;
	uint32_t room = capacity_of(message);
	uint32_t length;

	if (header->cols != plan->in_cols) {
		refuse(engine, pending, FG_STATUS_BAD_SHAPE, "got %u columns, the model takes %u",
		       header->cols, plan->in_cols);
		watch_refusal(engine, header);
		return false;
	}
	if (header->rows > max_rows) {
		refuse(engine, pending, FG_STATUS_TOO_MANY_ROWS, "got %u rows, a batch holds %u",
		       header->rows, max_rows);
		watch_refusal(engine, header);
		return false;
	}
	/* At most 1024 rows of MAX_PAYLOAD bytes: no overflow. */
	length = (uint32_t)(sizeof(*header) + header->rows * plan->out_cols * sizeof(float));
	if (length > room) {
		refuse(engine, pending, FG_STATUS_REPLY_TOO_LONG,
		       "reply of %u bytes, room for %u: send fewer rows", length, room);
		return false;
	}
	if (length > room_of(message)) {
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
	uint64_t timeout_ns, deadline_ns, cost_ns;
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
	if (!resolve(engine, pending))
		return;
	if (pending->header.flags & FG_WIRE_DESCRIBE) {
		describe(engine, pending);
		return;
	}
	if (!fits(engine, pending))
		return;
	timeout_ns = pending->header.deadline_us * 1000ull;
	deadline_ns = timeout_ns ? message->arrived_ns + timeout_ns : 0;
	cost_ns = fg_batch_cost_ns(&engine->costs[pending->entry], pending->header.rows);
	if (cost_ns > engine->long_ns) {
		fg_engine_wait(engine, pending, deadline_ns, cost_ns);
		return;
	}
	engine->requests[engine->pending_count++] = (struct fg_batch_request){
		.entry = pending->entry,
		.rows = pending->header.rows,
		.deadline_ns = deadline_ns,
	};
}

void fg_engine_begin(struct fg_engine *engine, struct fg_message *messages, uint32_t count,
		     uint64_t now_ns)
{
	const struct fg_batch_schedule *schedule = &engine->schedule;
	uint32_t i;

	engine->pending_count = engine->done_count = engine->kept_count = engine->next_batch = 0;
	engine->watched = NULL;
	engine->now_ns = now_ns;
	for (i = 0; i < count; i++)
		take(engine, &messages[i]);
	fg_batch_form(&engine->schedule, engine->requests, engine->pending_count, engine->costs,
		      now_ns);
	for (i = 0; i < schedule->refused_count; i++)
		fg_engine_refuse_late(engine, &engine->pending[schedule->refused[i].request],
				      schedule->refused[i].finish_ns);
}

/* ---- running ---- */

void fg_engine_rows(const struct fg_engine *engine, const struct fg_engine_pending *pending,
		    uint32_t first, uint32_t rows, float *to)
{
	const uint32_t cols = engine->models[pending->entry].plan.in_cols;
	const uint8_t dtype = pending->header.dtype;
	const uint8_t *from = pending->message->bytes + sizeof(pending->header);

	fg_wire_to_f32(to, from + (size_t)first * cols * fg_dtype_bytes(dtype), dtype,
		       (size_t)rows * cols);
}

void fg_engine_answer(struct fg_engine *engine, const struct fg_engine_pending *pending,
		      const float *out, uint64_t start_ns, uint32_t compute_ns)
{
	const uint32_t rows = pending->header.rows;
	const uint32_t cols = engine->models[pending->entry].plan.out_cols;
	const uint32_t bytes = (uint32_t)(rows * cols * sizeof(*out));
	struct fg_message *message = pending->message;

	memcpy(message->bytes + sizeof(struct fg_wire_header), out, bytes);
	finish(engine, pending,
	       (struct fg_wire_header){
		       .status = FG_STATUS_OK,
		       .dtype = FG_DTYPE_F32,
		       .rows = rows,
		       .cols = cols,
		       .payload_bytes = bytes,
		       .model_version = pending->header.model_version,
		       .queued_ns = fg_engine_elapsed_ns(message->arrived_ns, start_ns),
		       .compute_ns = compute_ns,
	       });
	fg_stats_add(&engine->stats->replies, 1);
	fg_stats_add(&engine->stats->rows, rows);
}

void fg_engine_beat(struct fg_engine *engine)
{
	engine->now_ns = fg_clock_ns();
	if (engine->heartbeat_ns)
		atomic_store_explicit(engine->heartbeat_ns, engine->now_ns, memory_order_relaxed);
}

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
			fg_engine_refuse_late(engine, pending, finish_ns);
			continue;
		}
		fg_engine_rows(engine, pending, 0, header->rows,
			       engine->in + (size_t)batch->rows * cols);
		batch->rows += header->rows;
		order[batch->count++] = order[i];
	}
}

bool fg_engine_refuse_value(struct fg_engine *engine, const struct fg_engine_pending *pending,
			    uint32_t first, uint32_t rows, uint32_t done)
{
	const struct fg_plan *plan = &engine->models[pending->entry].plan;
	char why[FG_ENGINE_TEXT_BYTES + 1];
	uint32_t row = first;

	if (!engine->refused_rows)
		return false;
	while (row < first + rows && !engine->refusals[row].step)
		row++;
	if (row == first + rows)
		return false;
	fg_plan_refusal_text(plan, &engine->refusals[row], engine->in + (size_t)row * plan->in_cols,
			     why, sizeof(why));
	refuse(engine, pending, FG_STATUS_BAD_VALUE, "row %u: %s", done + row - first, why);
	return true;
}

void fg_engine_run(struct fg_engine *engine, uint32_t entry, uint32_t rows, float *out)
{
	engine->refused_rows = fg_plan_try(&engine->models[entry].plan, engine->in, rows, out,
					   engine->scratch, engine->refusals);
	fg_stats_add(&engine->stats->batches, 1);
	fg_engine_beat(engine);
}

/* Writes each request's rows of the output into its reply. */
static void scatter(struct fg_engine *engine, const struct fg_batch *batch, uint64_t start_ns)
{
	uint32_t cols = engine->models[batch->entry].plan.out_cols, i;
	uint32_t compute_ns = fg_engine_elapsed_ns(start_ns, engine->now_ns);
	uint32_t row = 0;

	for (i = 0; i < batch->count; i++) {
		struct fg_engine_pending *pending =
			&engine->pending[engine->schedule.order[batch->first + i]];

		pending->refused =
			fg_engine_refuse_value(engine, pending, row, pending->header.rows, 0);
		if (!pending->refused)
			fg_engine_answer(engine, pending, engine->out + (size_t)row * cols,
					 start_ns, compute_ns);
		row += pending->header.rows;
	}
}

bool fg_engine_step(struct fg_engine *engine)
{
	struct fg_batch *batch = &engine->schedule.batches[engine->next_batch];
	uint64_t start_ns;

	if (engine->watched)
		watch_batch(engine);
	if (engine->next_batch == engine->schedule.batch_count)
		return false;
	engine->next_batch++;
	engine->done_count = 0;
	engine->now_ns = start_ns = fg_clock_ns();
	gather(engine, batch);
	if (!batch->rows)
		return true;
	fg_engine_run(engine, batch->entry, batch->rows, engine->out);
	engine->others_ran = true;
	fg_share_repay(&engine->share, engine->now_ns - start_ns);
	scatter(engine, batch, start_ns);
	note_batch(engine, batch, fg_engine_elapsed_ns(start_ns, engine->now_ns));
	return true;
}
