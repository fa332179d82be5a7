/*
 * engine_fixture.h: small plans made here, an engine that serves them, requests and refusals, for
 * test_engine*.c, test_watch.c and test_shadow_run.c.
 *
 * A plan is one dense layer whose sums are exact: every reply can be held against plain arithmetic.
 */
#ifndef FG_TESTS_ENGINE_FIXTURE_H
#define FG_TESTS_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <xxhash.h>
#include "models/pack.h"
#include "models/plan_format.h"
#include "userspace/shared/clock.h"
#include "userspace/worker/engine.h"

#define GENERATION 7
#define MAX_BATCH  16
#define MARK	   0xa5 /* in memory that the engine must not touch */

/* Output column j of a row is offset + j + the sum over i of (i % 3 + 1) * row[i].
 */
static inline float output_of(const float *row, uint32_t in_cols, uint32_t j, float offset)
{
	float sum = offset + (float)j;

	for (uint32_t i = 0; i < in_cols; i++)
		sum += (float)(i % 3 + 1) * row[i];
	return sum;
}

static inline size_t align64(size_t bytes)
{
	return (bytes + 63) & ~(size_t)63;
}

static const float golden_row[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/* A plan's bytes; the caller frees them. With one golden row where in_cols is 8 or less, off by
 * golden_error. */
static inline void *make_plan(uint32_t in_cols, uint32_t out_cols, float offset, float golden_error)
{
	const size_t padded = fg_panels(out_cols) * FG_PANEL_COLS;
	const size_t weights_bytes = fg_pack_bytes(FG_WEIGHTS_F32, in_cols, out_cols);
	const size_t weights =
		align64(sizeof(struct fg_plan_header) + 2 * sizeof(struct fg_plan_port) +
			sizeof(struct fg_plan_step));
	const size_t bias = weights + weights_bytes;
	const size_t golden_in = bias + align64(padded * sizeof(float));
	const size_t golden_out = golden_in + align64(8 * sizeof(float));
	const size_t size = golden_out + align64(out_cols * sizeof(float));
	const size_t covered = offsetof(struct fg_plan_header, digest) + sizeof(uint64_t);
	char *bytes = aligned_alloc(64, size);
	struct fg_plan_header *header = (void *)bytes;
	struct fg_plan_port *ports = (void *)(header + 1);
	struct fg_plan_step *step = (void *)(ports + 2);
	float *matrix = calloc((size_t)in_cols * out_cols, sizeof(*matrix));

	assert_non_null(bytes);
	memset(bytes, 0, size);
	*header = (struct fg_plan_header){.magic = FG_PLAN_MAGIC,
					  .version = FG_PLAN_VERSION,
					  .size = size,
					  .in_cols = in_cols,
					  .out_cols = out_cols,
					  .input_count = 1,
					  .output_count = 1,
					  .step_count = 1,
					  .golden_inputs = golden_in,
					  .golden_outputs = golden_out,
					  .golden_rows = in_cols <= 8,
					  .golden_tolerance = 1e-4f};
	ports[0] =
		(struct fg_plan_port){.name = "x", .cols = in_cols, .rank = 1, .dims = {in_cols}};
	ports[1] =
		(struct fg_plan_port){.name = "y", .cols = out_cols, .rank = 1, .dims = {out_cols}};
	*step = (struct fg_plan_step){.kind = FG_STEP_DENSE,
				      .in = {FG_PLACE_INPUT, 0},
				      .out = {FG_PLACE_OUTPUT, 0},
				      .groups = 1,
				      .in_cols = in_cols,
				      .out_cols = out_cols,
				      .weights = weights,
				      .weights_bytes = weights_bytes,
				      .bias = bias,
				      .label = "sums"};
	memcpy(bytes + golden_in, golden_row, sizeof(golden_row));
	for (uint32_t j = 0; j < out_cols; j++) {
		for (uint32_t i = 0; i < in_cols; i++)
			matrix[(size_t)i * out_cols + j] = (float)(i % 3 + 1);
		((float *)(bytes + bias))[j] = offset + (float)j;
		if (in_cols <= 8)
			((float *)(bytes + golden_out))[j] =
				output_of(golden_row, in_cols, j, offset) + golden_error;
	}
	fg_pack_weights(FG_WEIGHTS_F32, matrix, in_cols, out_cols, bytes + weights);
	free(matrix);
	header->digest = XXH3_64bits(bytes + covered, size - covered);
	return bytes;
}

static struct fg_engine engine;
static struct fg_stats stats;
static struct fg_error error;
static void *plan_bytes[FG_ROLLOUT_MAX_MODELS];
static struct fg_plan plans[FG_ROLLOUT_MAX_MODELS];
static struct fg_rollout_entry entries[FG_ROLLOUT_MAX_MODELS];

static inline void set_entry(uint32_t i, const char *name, uint64_t version, uint32_t is_default,
			     void *bytes)
{
	struct fg_plan_header *header = bytes;

	free(plan_bytes[i]);
	plan_bytes[i] = bytes;
	entries[i] = (struct fg_rollout_entry){.version = version, .is_default = is_default};
	strcpy(entries[i].model, name);
	if (fg_plan_open(&plans[i], bytes, header->size, &error))
		fail_msg("%s", error.text);
}

static inline int close_engine(void **state)
{
	(void)state;
	fg_engine_close(&engine);
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++) {
		free(plan_bytes[i]);
		plan_bytes[i] = NULL;
	}
	return 0;
}

/* ---- requests ---- */

/* A message in memory of its own, exactly its capacity, so that sanitizers see every step aside. */
static inline struct fg_message message_of(const void *bytes, uint32_t length, uint32_t capacity)
{
	struct fg_message message = {.bytes = malloc(capacity),
				     .length = length,
				     .capacity = capacity,
				     .arrived_ns = fg_clock_ns()};

	assert_non_null(message.bytes);
	memset(message.bytes, MARK, capacity);
	memcpy(message.bytes, bytes, length);
	return message;
}

/* An f32 request, row r column c is r * 8 + c + base; padded to at least `length` bytes. */
static inline struct fg_message request(const char *name, uint64_t version, uint32_t rows,
					uint32_t cols, float base, uint32_t length)
{
	uint8_t bytes[4096] = {0};
	struct fg_wire_header header;
	int64_t payload = fg_wire_request(&header, fg_wire_model(name), FG_DTYPE_F32, rows, cols);
	float *values = (float *)(bytes + sizeof(header));
	uint32_t used = (uint32_t)(sizeof(header) + (size_t)payload);

	assert_true(payload > 0 && used <= sizeof(bytes) && length <= sizeof(bytes));
	header.model_version = version;
	header.request_id = 0x1122334455667788;
	header.affinity = 42;
	memcpy(bytes, &header, sizeof(header));
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t c = 0; c < cols; c++)
			values[r * cols + c] = (float)(r * 8 + c) + base;
	return message_of(bytes, used > length ? used : length, 4096);
}

static inline struct fg_wire_header *header_of(const struct fg_message *message)
{
	return (struct fg_wire_header *)message->bytes; /* malloc'd: aligned */
}

static inline void serve(struct fg_message *messages, uint32_t count)
{
	fg_engine_begin(&engine, messages, count, fg_clock_ns());
	while (fg_engine_step(&engine))
		;
	while (fg_engine_piece(&engine) || fg_share_waiting(&engine.share))
		;
}

static inline void check_refusal(const struct fg_message *message, uint8_t status, const char *text)
{
	struct fg_wire_header header;
	char got[FG_ENGINE_TEXT_BYTES + 1] = "";

	assert_int_equal(fg_wire_parse_reply(message->bytes, message->length, &header), 0);
	assert_string_equal(fg_status_name(header.status), fg_status_name(status));
	assert_int_equal(header.dtype, FG_DTYPE_TEXT);
	assert_int_equal(header.rows + header.cols, 0);
	assert_int_equal(header.generation, GENERATION);
	assert_int_equal(header.request_id, 0x1122334455667788);
	assert_int_equal(header.affinity, 42);
	assert_true(header.payload_bytes <= FG_ENGINE_TEXT_BYTES);
	assert_int_equal(message->length, sizeof(header) + header.payload_bytes);
	memcpy(got, message->bytes + sizeof(header), header.payload_bytes);
	assert_string_equal(got, text);
}

#endif
