#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include "models/compile_plan.h"
#include "models/file.h"
#include "models/plan_format.h"
#include "models/protobuf.h"
#include "models/tf_tensor.h"
#include "models/tfrecord.h"
#include "models/warmup.h"

#define SKIPPED 1 /* what is not an error, and no rows either */

/* Fields of PredictionLog, PredictLog, PredictRequest, and of an entry of its map. */
enum {
	PREDICTION_LOG_FIRST = 2,
	PREDICTION_LOG_PREDICT = 6,
	PREDICTION_LOG_LAST = 7,
	PREDICT_LOG_REQUEST = 1,
	REQUEST_INPUTS = 2,
	ENTRY_NAME = 1,
	ENTRY_TENSOR = 2,
};

/* The rows of one request, on their way to the first row that is free. */
struct batch {
	const struct fg_plan *plan;
	float *to;	    /* (most_rows, in_cols) */
	uint32_t most_rows; /* that are still taken */
	uint64_t rows;	    /* that the request gives; 0: not known yet */
	bool seen[FG_PLAN_MAX_PORTS];
};

static int malformed(struct fg_error *error)
{
	return fg_error_set(error, -EINVAL, "is no PredictionLog, or malformed");
}

/* ---- inputs ------------------------------------------------------------------------------ */

/* Without the number of the output that TensorFlow puts behind a node's name. */
static size_t base_length(const char *name)
{
	size_t length = strlen(name);

	return length > 2 && strcmp(name + length - 2, ":0") == 0 ? length - 2 : length;
}

static bool is_same(const char *a, const char *b)
{
	return base_length(a) == base_length(b) && memcmp(a, b, base_length(a)) == 0;
}

/* The model's input of that name, or -1. */
static int find_input(const struct fg_plan *plan, const char *name)
{
	const uint32_t count = plan->header->input_count;

	for (uint32_t i = 0; i < count; i++)
		if (count == 1 || is_same(fg_plan_port(plan, i)->name, name))
			return (int)i;
	return -1;
}

static int check_shape(const struct batch *batch, const struct fg_plan_port *port,
		       const struct fg_tf_tensor *tensor, struct fg_error *error)
{
	if (tensor->cols != port->cols)
		return fg_error_set(
			error, -EINVAL,
			"is %s, %llu columns in a row; the model's input '%.40s' has %u",
			tensor->shape, (unsigned long long)tensor->cols, port->name, port->cols);
	if (batch->rows && tensor->rows != batch->rows)
		return fg_error_set(error, -EINVAL, "has %llu rows, another input has %llu",
				    (unsigned long long)tensor->rows,
				    (unsigned long long)batch->rows);
	return 0;
}

/* The tensor's rows go to the columns of input `name`. */
static int take_tensor(struct batch *batch, const char *name, const struct fg_pb *message,
		       struct fg_error *error)
{
	const struct fg_plan_port *port;
	struct fg_tf_tensor tensor;
	int input = find_input(batch->plan, name), result;

	if (input < 0)
		return fg_error_set(error, -EINVAL,
				    "is none of the model's %u; its first is '%.40s'",
				    batch->plan->header->input_count,
				    fg_plan_port(batch->plan, 0)->name);
	port = fg_plan_port(batch->plan, (uint32_t)input);
	if (batch->seen[input])
		return fg_error_set(error, -EINVAL, "is one too many: '%.40s' is there already",
				    port->name);
	result = fg_tf_tensor_open(&tensor, message, error);
	if (!result)
		result = check_shape(batch, port, &tensor, error);
	if (result)
		return result;
	batch->seen[input] = true;
	batch->rows = tensor.rows;
	return fg_tf_tensor_read(&tensor,
				 tensor.rows < batch->most_rows ? (uint32_t)tensor.rows
								: batch->most_rows,
				 batch->to + port->first, batch->plan->in_cols, error);
}

/* An entry of PredictRequest.inputs. */
static int take_input(struct batch *batch, const struct fg_pb *request,
		      const struct fg_pb_field *field, struct fg_error *error)
{
	struct fg_error reason;
	struct fg_text text = {"", 0};
	struct fg_pb entry, tensor;
	struct fg_pb_field inner;
	char name[FG_PLAN_NAME_BYTES] = "";
	int got, result;

	if (fg_pb_enter(request, field, &entry))
		return malformed(error);
	fg_pb_init(&tensor, NULL, 0);
	while ((got = fg_pb_next(&entry, &inner)) > 0) {
		if (inner.number == ENTRY_NAME && inner.wire == FG_PB_BYTES)
			text = (struct fg_text){(const char *)inner.bytes, inner.length};
		if (inner.number == ENTRY_TENSOR && fg_pb_enter(&entry, &inner, &tensor))
			return malformed(error);
	}
	if (got)
		return malformed(error);
	fg_plan_name(name, text);
	result = take_tensor(batch, name, &tensor, &reason);
	if (!result)
		return 0;
	fg_error_set(error, result, "input '%.40s' %.160s", name, reason.text);
	return result == -ENOTSUP ? SKIPPED : result;
}

static int check_all_seen(const struct batch *batch, struct fg_error *error)
{
	for (uint32_t i = 0; i < batch->plan->header->input_count; i++) {
		const struct fg_plan_port *port = fg_plan_port(batch->plan, i);

		if (!batch->seen[i])
			return fg_error_set(error, -EINVAL,
					    "lacks the model's input '%.40s' (%u columns)",
					    port->name, port->cols);
	}
	return 0;
}

/* ---- records ----------------------------------------------------------------------------- */

/* The last message of that number; an empty one where there is none. */
static int find_message(const struct fg_pb *in, uint32_t number, struct fg_pb *found)
{
	struct fg_pb fields = *in;
	struct fg_pb_field field;
	int got;

	fg_pb_init(found, NULL, 0);
	while ((got = fg_pb_next(&fields, &field)) > 0)
		if (field.number == number && fg_pb_enter(in, &field, found))
			return -EINVAL;
	return got;
}

/* SKIPPED when the record is of another kind. Of a oneof the last field counts. */
static int check_kind(const struct fg_pb *log, struct fg_error *error)
{
	static const char *const kinds[PREDICTION_LOG_LAST + 1] = {"empty",
								   "",
								   "a classify_log",
								   "a regress_log",
								   "a multi_inference_log",
								   "a session_run_log",
								   "",
								   "a predict_streamed_log"};
	struct fg_pb fields = *log;
	struct fg_pb_field field;
	uint32_t kind = 0;
	int got;

	while ((got = fg_pb_next(&fields, &field)) > 0)
		if (field.number >= PREDICTION_LOG_FIRST && field.number <= PREDICTION_LOG_LAST)
			kind = field.number;
	if (got)
		return malformed(error);
	if (kind == PREDICTION_LOG_PREDICT)
		return 0;
	return fg_error_set(error, SKIPPED, "is %s: only predict_log is used", kinds[kind]);
}

/* 0: batch->rows rows are at batch->to; SKIPPED and -EINVAL with *error. */
static int take_record(struct batch *batch, const uint8_t *bytes, size_t length,
		       struct fg_error *error)
{
	struct fg_pb log, predict, request;
	struct fg_pb_field field;
	int got = 1, result;

	fg_pb_init(&log, bytes, length);
	result = check_kind(&log, error);
	if (result)
		return result;
	if (find_message(&log, PREDICTION_LOG_PREDICT, &predict) ||
	    find_message(&predict, PREDICT_LOG_REQUEST, &request))
		return malformed(error);
	while (!result && (got = fg_pb_next(&request, &field)) > 0)
		if (field.number == REQUEST_INPUTS)
			result = take_input(batch, &request, &field, error);
	if (!result && got)
		result = malformed(error);
	return result ? result : check_all_seen(batch, error);
}

static void skip(struct fg_warmup *warmup, uint32_t record, const struct fg_error *reason)
{
	if (warmup->skipped++ == 0)
		fg_error_set(&warmup->note, 0, "record %u %s", record, reason->text);
}

/* Keeps the batch, or what there is room for. */
static void keep(struct fg_warmup *warmup, const struct batch *batch)
{
	const uint32_t kept =
		batch->rows < batch->most_rows ? (uint32_t)batch->rows : batch->most_rows;

	warmup->rows_left += batch->rows - kept;
	warmup->rows += kept;
	if (kept)
		warmup->batches[warmup->count++] = kept;
}

static int allocate(struct fg_warmup *warmup, const struct fg_plan *plan, struct fg_arena *arena,
		    uint32_t *most_rows, struct fg_error *error)
{
	*most_rows = FG_WARMUP_MAX_FLOATS / plan->in_cols;
	if (*most_rows > FG_PLAN_MAX_WARMUP_ROWS)
		*most_rows = FG_PLAN_MAX_WARMUP_ROWS;
	*warmup = (struct fg_warmup){0};
	warmup->batches = fg_arena_alloc(arena, FG_PLAN_MAX_WARMUP, sizeof(*warmup->batches));
	warmup->inputs = fg_arena_alloc(arena, *most_rows, plan->in_cols * sizeof(float));
	if (warmup->batches && warmup->inputs)
		return 0;
	return fg_error_set(error, -ENOMEM, "out of memory for rows to warm up with");
}

int fg_warmup_read(struct fg_warmup *warmup, const struct fg_plan *plan, const void *bytes,
		   size_t size, struct fg_arena *arena, struct fg_error *error)
{
	struct fg_error reason;
	struct fg_tfrecord file;
	const uint8_t *record;
	uint32_t most_rows;
	size_t length;
	int got, result = allocate(warmup, plan, arena, &most_rows, error);

	if (result)
		return result;
	fg_tfrecord_init(&file, bytes, size);
	while ((got = fg_tfrecord_next(&file, &record, &length, &reason)) > 0) {
		struct batch batch = {.plan = plan,
				      .to = warmup->inputs + (size_t)warmup->rows * plan->in_cols,
				      .most_rows = most_rows - warmup->rows};

		if (file.number > FG_PLAN_MAX_WARMUP)
			return fg_error_set(error, -EINVAL, FG_WARMUP_FILE ": more than %u records",
					    FG_PLAN_MAX_WARMUP);
		result = take_record(&batch, record, length, &reason);
		if (result < 0)
			return fg_error_set(error, result, FG_WARMUP_FILE ": record %u %s",
					    file.number, reason.text);
		if (result)
			skip(warmup, file.number, &reason);
		else
			keep(warmup, &batch);
	}
	return got ? fg_error_set(error, got, FG_WARMUP_FILE ": %s", reason.text) : 0;
}

/* ---- the file ---------------------------------------------------------------------------- */

static int open_folder(int dirfd, int *folder, struct fg_error *error)
{
	*folder = openat(dirfd, FG_WARMUP_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*folder >= 0 || errno == ENOENT)
		return *folder >= 0 ? 0 : -ENOENT;
	if (errno == EACCES)
		return fg_error_set(error, -EACCES,
				    FG_WARMUP_FOLDER ": user %u may not read it: chmod o+rx, or "
						     "give it to that user",
				    geteuid());
	return fg_error_set(error, errno == ENOTDIR ? -EINVAL : -errno,
			    FG_WARMUP_FOLDER ": %s (links are not followed)", strerror(errno));
}

int fg_warmup_load(int dirfd, struct fg_arena *arena, const void **bytes, size_t *size,
		   struct fg_error *error)
{
	struct fg_error reason;
	int folder, result = open_folder(dirfd, &folder, error);

	if (result)
		return result;
	result = fg_file_load(folder, FG_WARMUP_FILE, FG_WARMUP_MAX_BYTES, arena, bytes, size,
			      &reason);
	close(folder);
	return result ? fg_error_set(error, result, FG_WARMUP_FOLDER "/%s", reason.text) : 0;
}
