/*
 * userspace/worker/engine over small plans made here: one dense layer whose sums are exact, so that
 * every reply can be held against plain arithmetic.
 */
#include <errno.h>
#include <math.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/unit/engine_fixture.h"

/* ---- models ---- */

/* What the engine of most tests serves. */
static const struct model {
	const char *name;
	uint64_t version;
	uint32_t is_default, in_cols, out_cols;
	float offset;
} models[] = {
	{"risk", 1, 0, 4, 2, 100},
	{"risk", 2, 1, 4, 2, 200},
	{"wide", 5, 1, 1, 50, 300}, /* replies are longer than requests */
	{"solo", 9, 0, 3, 1, 400},  /* no default */
};
#define MODELS (sizeof(models) / sizeof(models[0]))

static int open_engine(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof(stats));
	for (uint32_t i = 0; i < MODELS; i++)
		set_entry(i, models[i].name, models[i].version, models[i].is_default,
			  make_plan(models[i].in_cols, models[i].out_cols, models[i].offset, 0));
	if (fg_engine_open(&engine, entries, MODELS, plans, GENERATION, MAX_BATCH, &stats, &error))
		fail_msg("%s", error.text);
	return 0;
}

/* Checks a reply to request(..., rows, cols, base, ...) by model i. */
static void check_answer(const struct fg_message *message, uint32_t i, uint32_t rows, float base)
{
	const struct model *model = &models[i];
	const float *out = (const float *)(message->bytes + sizeof(struct fg_wire_header));
	struct fg_wire_header header;

	assert_int_equal(fg_wire_parse_reply(message->bytes, message->length, &header), 0);
	assert_string_equal(fg_status_name(header.status), "ok");
	assert_int_equal(header.dtype, FG_DTYPE_F32);
	assert_int_equal(header.rows, rows);
	assert_int_equal(header.cols, model->out_cols);
	assert_int_equal(message->length, sizeof(header) + header.payload_bytes);
	assert_int_equal(header.model, fg_wire_model(model->name));
	assert_int_equal(header.model_version, model->version);
	assert_int_equal(header.generation, GENERATION);
	assert_int_equal(header.request_id, 0x1122334455667788);
	assert_int_equal(header.affinity, 42);
	assert_true(header.compute_ns > 0);
	for (uint32_t r = 0; r < rows; r++) {
		float row[8];

		for (uint32_t c = 0; c < model->in_cols; c++)
			row[c] = (float)(r * 8 + c) + base;
		for (uint32_t j = 0; j < model->out_cols; j++)
			assert_true(out[r * model->out_cols + j] ==
				    output_of(row, model->in_cols, j, model->offset));
	}
}

/* Serves one message, checks that it is refused, and frees it. */
static void expect_refusal(struct fg_message message, uint8_t status, const char *text)
{
	uint64_t before = stats.status[status];

	serve(&message, 1);
	check_refusal(&message, status, text);
	assert_int_equal(stats.status[status], before + 1);
	free(message.bytes);
}

/* ---- answers ---- */

static void answers_one_row(void **state)
{
	struct fg_message message = request("risk", 0, 1, 4, 0.5f, 0);

	(void)state;
	message.arrived_ns -= 5000;
	serve(&message, 1);
	check_answer(&message, 1, 1, 0.5f);
	assert_true(header_of(&message)->queued_ns >= 5000);
	assert_int_equal(message.bytes[80], MARK); /* behind the request: nothing written */
	free(message.bytes);
	assert_int_equal(stats.requests, 1);
	assert_int_equal(stats.replies, 1);
	assert_int_equal(stats.rows, 1);
	assert_int_equal(stats.batches, 1);
	assert_int_equal(stats.status[FG_STATUS_OK], 1);
	assert_int_equal(stats.not_ours, 0);
}

static void answers_by_the_version_asked_for(void **state)
{
	(void)state;
	for (uint64_t version = 0; version <= 2; version++) {
		struct fg_message message = request("risk", version, 3, 4, -2, 0);

		serve(&message, 1);
		check_answer(&message, version == 1 ? 0 : 1, 3, -2);
		free(message.bytes);
	}
}

static struct fg_message typed_request(uint8_t dtype, const void *values)
{
	uint8_t bytes[128];
	struct fg_wire_header header;
	int64_t payload = fg_wire_request(&header, fg_wire_model("risk"), dtype, 1, 4);

	header.request_id = 0x1122334455667788;
	header.affinity = 42;
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), values, (size_t)payload);
	return message_of(bytes, (uint32_t)(sizeof(header) + (size_t)payload), 256);
}

static void takes_every_element_type(void **state)
{
	const float f32[] = {0, 1, 2, 3};
	const double f64[] = {0, 1, 2, 3};
	const uint16_t bf16[] = {0, 0x3f80, 0x4000, 0x4040}, f16[] = {0, 0x3c00, 0x4000, 0x4200};
	const uint8_t u8[] = {0, 1, 2, 3};
	const int8_t i8[] = {0, 1, 2, 3};
	struct fg_message messages[] = {
		typed_request(FG_DTYPE_F32, f32),   typed_request(FG_DTYPE_F64, f64),
		typed_request(FG_DTYPE_BF16, bf16), typed_request(FG_DTYPE_F16, f16),
		typed_request(FG_DTYPE_U8, u8),	    typed_request(FG_DTYPE_I8, i8),
	};

	(void)state;
	serve(messages, 6);
	assert_int_equal(stats.batches, 1);
	for (int i = 0; i < 6; i++) {
		check_answer(&messages[i], 1, 1, 0);
		free(messages[i].bytes);
	}
}

static void passes_nan_and_infinity_through(void **state)
{
	const float nan_row[] = {1, NAN, 1, 1}, infinite_row[] = {1, 1, -INFINITY, 1};
	struct fg_message messages[] = {typed_request(FG_DTYPE_F32, nan_row),
					typed_request(FG_DTYPE_F32, infinite_row),
					request("risk", 0, 1, 4, 0, 0)};
	const float *out[2];

	(void)state;
	serve(messages, 3);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(header_of(&messages[i])->status, FG_STATUS_OK);
		out[i] = (const float *)(messages[i].bytes + sizeof(struct fg_wire_header));
	}
	assert_true(isnan(out[0][0]) && isnan(out[0][1]));
	assert_true(isinf(out[1][0]) && out[1][0] < 0);
	check_answer(&messages[2], 1, 1, 0);
	for (int i = 0; i < 3; i++)
		free(messages[i].bytes);
}

/* ---- refusals ---- */

static void refuses_unknown_models_and_versions(void **state)
{
	(void)state;
	expect_refusal(request("nobody", 0, 1, 4, 0, 0), FG_STATUS_UNKNOWN_MODEL,
		       "no model ceedaab7 (xxh32) here");
	expect_refusal(request("risk", 3, 1, 4, 0, 0), FG_STATUS_UNKNOWN_VERSION,
		       "no version 3 (but 2)");
	expect_refusal(request("solo", 0, 1, 3, 0, 0), FG_STATUS_UNKNOWN_VERSION,
		       "no version 0 (but 9)");
	expect_refusal(request("solo", UINT64_MAX, 1, 3, 0, 0), FG_STATUS_UNKNOWN_VERSION,
		       "no version 18446744073709551615 (but 9)");
	assert_int_equal(stats.batches, 0);
	assert_int_equal(stats.replies, 0);
	assert_int_equal(stats.requests, 4);
}

static void refuses_wrong_shapes(void **state)
{
	struct fg_message none = request("risk", 0, 1, 4, 0, 0);

	(void)state;
	expect_refusal(request("risk", 0, 2, 5, 0, 0), FG_STATUS_BAD_SHAPE,
		       "got 5 columns, the model takes 4");
	expect_refusal(request("risk", 0, MAX_BATCH + 1, 4, 0, 0), FG_STATUS_TOO_MANY_ROWS,
		       "got 17 rows, a batch holds 16");
	header_of(&none)->rows = 0;
	expect_refusal(none, FG_STATUS_BAD_SHAPE, "shape (0, 4) has no elements");
}

/* A text costs as much as the rest of a refusal: the first thousand of a second have one. */
static void a_flood_of_refusals_gets_no_reasons(void **state)
{
	const char *name = "bad_shape";
	uint32_t explained = 0;

	(void)state;
	for (; explained < 20 * FG_ENGINE_TEXTS_PER_S; explained++) {
		struct fg_message message = request("risk", 0, 1, 5, 0, 0);
		bool short_text;

		serve(&message, 1);
		short_text =
			header_of(&message)->payload_bytes == strlen(name) &&
			!memcmp(message.bytes + sizeof(struct fg_wire_header), name, strlen(name));
		free(message.bytes);
		if (short_text)
			break;
	}
	assert_in_range(explained, FG_ENGINE_TEXTS_PER_S, 20 * FG_ENGINE_TEXTS_PER_S - 1);
	engine.texts_ns -= 1000000000ull;
	expect_refusal(request("risk", 0, 1, 5, 0, 0), FG_STATUS_BAD_SHAPE,
		       "got 5 columns, the model takes 4");
}

static void refuses_what_does_not_add_up(void **state)
{
	struct fg_message dtype = request("risk", 0, 1, 4, 0, 0);
	struct fg_message reserved = request("risk", 0, 1, 4, 0, 0);
	struct fg_message payload = request("risk", 0, 1, 4, 0, 0);
	struct fg_message cut = request("risk", 0, 1, 4, 0, 0);
	struct fg_message huge = request("risk", 0, 1, 4, 0, 0);

	(void)state;
	header_of(&dtype)->dtype = 9;
	expect_refusal(dtype, FG_STATUS_BAD_DTYPE, "no element type 9: f32 is 1, u8 is 5");
	header_of(&reserved)->reserved = 1;
	expect_refusal(reserved, FG_STATUS_BAD_REQUEST, "a reserved field is not zero");
	header_of(&payload)->payload_bytes = 15;
	expect_refusal(payload, FG_STATUS_BAD_REQUEST,
		       "payload_bytes is 15, shape and type make 16");
	cut.length--;
	expect_refusal(cut, FG_STATUS_BAD_REQUEST, "payload_bytes is 16, the datagram has 15");
	header_of(&huge)->rows = header_of(&huge)->cols = UINT32_MAX;
	header_of(&huge)->payload_bytes = UINT32_MAX;
	serve(&huge, 1);
	assert_int_equal(header_of(&huge)->status, FG_STATUS_BAD_REQUEST);
	free(huge.bytes);
}

static void asks_for_padding_where_the_reply_is_longer(void **state)
{
	/* 2 rows of 50 columns: 64 + 400 bytes, so the request must have 400. */
	struct fg_message enough = request("wide", 0, 2, 1, 7, 400);
	struct fg_message narrow = request("wide", 0, 2, 1, 7, 400);

	(void)state;
	expect_refusal(request("wide", 0, 2, 1, 7, 399), FG_STATUS_REPLY_TOO_LONG,
		       "pad the request to 400 bytes");
	serve(&enough, 1);
	check_answer(&enough, 2, 2, 7);
	assert_int_equal(enough.length, 464);
	narrow.capacity = 463;
	expect_refusal(narrow, FG_STATUS_REPLY_TOO_LONG,
		       "reply of 464 bytes, room for 463: send fewer rows");
	free(enough.bytes);
}

static void cuts_texts_to_the_room_there_is(void **state)
{
	struct fg_message message = request("nobody", 0, 1, 1, 0, 0);

	(void)state;
	message.capacity = message.length; /* 68 */
	serve(&message, 1);
	check_refusal(&message, FG_STATUS_UNKNOWN_MODEL, "no m");
	assert_int_equal(message.bytes[68], MARK);
	free(message.bytes);
}

static void refuses_what_would_be_late(void **state)
{
	struct fg_message late = request("risk", 0, 1, 4, 0, 0);
	struct fg_message in_time = request("risk", 0, 1, 4, 0, 0);
	uint64_t now_ns = fg_clock_ns();

	(void)state;
	late.arrived_ns = in_time.arrived_ns = now_ns;
	header_of(&late)->deadline_us = 100;
	header_of(&in_time)->deadline_us = 5000000;
	for (int point = 0; point < FG_BATCH_COST_POINTS; point++)
		engine.costs[1].ns[point] = 200000;

	fg_engine_begin(&engine, &late, 1, now_ns);
	assert_int_equal(engine.done_count, 1); /* before anything runs */
	check_refusal(&late, FG_STATUS_DEADLINE, "ready after 200 us, deadline 100 us");
	assert_false(fg_engine_step(&engine));
	serve(&in_time, 1);
	check_answer(&in_time, 1, 1, 0);
	free(late.bytes);
	free(in_time.bytes);
}

static void refuses_what_became_late_in_the_queue(void **state)
{
	struct fg_message messages[] = {request("risk", 0, 1, 4, 0, 0),
					request("risk", 0, 2, 4, 1, 0),
					request("risk", 0, 1, 4, 2, 0)};
	uint64_t now_ns = fg_clock_ns() - 1000000000;

	(void)state;
	/* A second ago all three had time; the middle one has none any more. */
	for (int i = 0; i < 3; i++)
		messages[i].arrived_ns = now_ns;
	header_of(&messages[1])->deadline_us = 900000;
	fg_engine_begin(&engine, messages, 3, now_ns);
	assert_int_equal(engine.done_count, 0);
	while (fg_engine_step(&engine))
		;
	check_answer(&messages[0], 1, 1, 0);
	assert_int_equal(header_of(&messages[1])->status, FG_STATUS_DEADLINE);
	check_answer(&messages[2], 1, 1, 2);
	assert_int_equal(stats.rows, 2);
	assert_int_equal(stats.status[FG_STATUS_DEADLINE], 1);
	for (int i = 0; i < 3; i++)
		free(messages[i].bytes);
}

static void expect_silence(struct fg_message message)
{
	uint8_t before[4096];
	uint64_t count = stats.not_ours;

	memcpy(before, message.bytes, message.capacity);
	serve(&message, 1);
	assert_int_equal(message.length, 0);
	assert_memory_equal(message.bytes, before, message.capacity);
	assert_int_equal(stats.not_ours, count + 1);
	assert_int_equal(engine.done_count, 1);
	free(message.bytes);
}

static void does_not_answer_what_is_not_ours(void **state)
{
	struct fg_message magic = request("risk", 0, 1, 4, 0, 0);
	struct fg_message version = request("risk", 0, 1, 4, 0, 0);
	struct fg_message type = request("risk", 0, 1, 4, 0, 0);
	struct fg_message short_one = request("risk", 0, 1, 4, 0, 0);

	(void)state;
	header_of(&magic)->magic++;
	expect_silence(magic);
	header_of(&version)->version++;
	expect_silence(version);
	header_of(&type)->type = FG_WIRE_REPLY; /* two services must not talk to each other */
	expect_silence(type);
	short_one.length = FG_WIRE_HEADER_BYTES - 1;
	expect_silence(short_one);
	short_one = message_of("", 0, 16);
	expect_silence(short_one);
	assert_int_equal(stats.requests, 0);
}

/* ---- batches ---- */

static void groups_by_model_and_version(void **state)
{
	static const struct {
		const char *name;
		uint64_t version;
		uint32_t model, rows;
	} asked[] = {
		{"risk", 0, 1, 3}, {"solo", 9, 3, 1}, {"risk", 1, 0, 2}, {"risk", 2, 1, 4},
		{"solo", 9, 3, 5}, {"risk", 0, 1, 9}, {"risk", 0, 1, 1}, {"risk", 1, 0, 1},
	};
	struct fg_message messages[8];

	(void)state;
	for (int i = 0; i < 8; i++)
		messages[i] = request(asked[i].name, asked[i].version, asked[i].rows,
				      models[asked[i].model].in_cols, (float)i, 0);
	serve(messages, 8);
	for (int i = 0; i < 8; i++)
		check_answer(&messages[i], asked[i].model, asked[i].rows, (float)i);
	/* risk 2 in two (3 + 4 + 9 rows, 1), solo, risk 1 */
	assert_int_equal(stats.batches, 4);
	assert_int_equal(stats.rows, 26);
	assert_int_equal(header_of(&messages[0])->compute_ns, header_of(&messages[5])->compute_ns);
	for (int i = 0; i < 8; i++)
		free(messages[i].bytes);
}

static void finishes_replies_batch_by_batch(void **state)
{
	struct fg_message messages[] = {
		request("risk", 1, 1, 4, 0, 0), request("nobody", 0, 1, 4, 0, 0),
		request("risk", 2, 1, 4, 0, 0), request("risk", 1, 1, 4, 0, 0),
		message_of("?", 1, 16),
	};

	(void)state;
	fg_engine_begin(&engine, messages, 5, fg_clock_ns());
	assert_int_equal(engine.done_count, 2);
	assert_ptr_equal(engine.done[0], &messages[1]);
	assert_ptr_equal(engine.done[1], &messages[4]);
	assert_true(fg_engine_step(&engine));
	assert_int_equal(engine.done_count, 2);
	assert_ptr_equal(engine.done[0], &messages[0]);
	assert_ptr_equal(engine.done[1], &messages[3]);
	assert_true(fg_engine_step(&engine));
	assert_int_equal(engine.done_count, 1);
	assert_ptr_equal(engine.done[0], &messages[2]);
	assert_false(fg_engine_step(&engine));
	fg_engine_begin(&engine, messages, 0, fg_clock_ns());
	assert_int_equal(engine.done_count, 0);
	assert_false(fg_engine_step(&engine));
	for (int i = 0; i < 5; i++)
		free(messages[i].bytes);
}

static void takes_as_many_as_it_says(void **state)
{
	static struct fg_message messages[FG_ENGINE_MAX_MESSAGES];

	(void)state;
	for (int i = 0; i < FG_ENGINE_MAX_MESSAGES; i++)
		messages[i] = request("risk", (uint64_t)i % 3, 1, 4, (float)i, 0);
	serve(messages, FG_ENGINE_MAX_MESSAGES);
	for (int i = 0; i < FG_ENGINE_MAX_MESSAGES; i++) {
		check_answer(&messages[i], i % 3 == 1 ? 0 : 1, 1, (float)i);
		free(messages[i].bytes);
	}
	/* 171 rows of version 2 and 85 of version 1, 16 at a time */
	assert_int_equal(stats.batches, 11 + 6);
}

/* ---- whatever comes ---- */

/* A request with up to four random bytes of its header changed, any length, any room. */
static struct fg_message random_message(unsigned int *seed)
{
	static const uint64_t versions[] = {0, 0, 1, 2, 5, 9};
	const struct model *model = &models[(uint32_t)rand_r(seed) % MODELS];
	struct fg_message message =
		request(model->name, versions[rand_r(seed) % 6], 1 + (uint32_t)rand_r(seed) % 20,
			model->in_cols, 0, (uint32_t)rand_r(seed) % 1200);
	struct fg_message cut;
	uint32_t length = message.length;

	if (rand_r(seed) % 4 == 0)
		header_of(&message)->deadline_us = (uint32_t)rand_r(seed) % 100;
	if (rand_r(seed) % 2)
		for (int i = rand_r(seed) % 4; i >= 0; i--)
			message.bytes[rand_r(seed) % FG_WIRE_HEADER_BYTES] = (uint8_t)rand_r(seed);
	if (rand_r(seed) % 4 == 0)
		length = (uint32_t)rand_r(seed) % (length + 1);
	cut = message_of(message.bytes, length, length + (uint32_t)rand_r(seed) % 300);
	free(message.bytes);
	return cut;
}

static void check_random_reply(const struct fg_message *message, uint32_t asked_length)
{
	struct fg_wire_header header;

	if (!message->length)
		return;
	assert_true(message->length <= asked_length + FG_WIRE_AMPLIFICATION);
	assert_true(message->length <= message->capacity);
	assert_int_equal(fg_wire_parse_reply(message->bytes, message->length, &header), 0);
	assert_int_equal(header.payload_bytes + sizeof(header), message->length);
	assert_int_equal(header.generation, GENERATION);
}

static void never_amplifies_and_answers_each_once(void **state)
{
	struct fg_message messages[64];
	uint32_t lengths[64];
	unsigned int seed = 3;
	uint64_t total = 0, answered = 0;

	(void)state;
	for (int round = 0; round < 500; round++) {
		uint32_t count = (uint32_t)rand_r(&seed) % 65, done = 0;

		for (uint32_t i = 0; i < count; i++) {
			messages[i] = random_message(&seed);
			lengths[i] = messages[i].length;
			messages[i].tag = 0;
		}
		fg_engine_begin(&engine, messages, count, fg_clock_ns());
		do
			for (uint32_t i = 0; i < engine.done_count; i++, done++)
				assert_int_equal(engine.done[i]->tag++, 0);
		while (fg_engine_step(&engine));
		assert_int_equal(done, count);
		for (uint32_t i = 0; i < count; i++) {
			check_random_reply(&messages[i], lengths[i]);
			free(messages[i].bytes);
		}
		total += count;
	}
	for (int status = 0; status < FG_STATUS_COUNT; status++)
		answered += stats.status[status];
	assert_int_equal(stats.requests, answered);
	assert_int_equal(stats.requests + stats.not_ours, total);
	assert_int_equal(stats.replies, stats.status[FG_STATUS_OK]);
	assert_true(stats.replies > total / 20); /* the rounds did reach the good path */
	assert_int_equal(stats.status[FG_STATUS_INTERNAL], 0);
}

static void serving_needs_no_syscall_but_the_clock(void **state)
{
	struct fg_message messages[] = {request("risk", 0, 3, 4, 0, 0),
					request("nobody", 0, 1, 4, 0, 0),
					request("solo", 9, 2, 3, 0, 0)};
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (!child) {
		scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);

		/* The vDSO makes the real call where the clock cannot be read in user space. */
		if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clock_gettime), 0) ||
		    seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(exit_group), 0) ||
		    seccomp_load(filter))
			syscall(SYS_exit_group, 100);
		serve(messages, 3);
		syscall(SYS_exit_group, header_of(&messages[2])->status == FG_STATUS_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	for (int i = 0; i < 3; i++)
		free(messages[i].bytes);
}

/* ---- opening ---- */

static void measures_every_model(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < MODELS; i++) {
		assert_int_equal(engine.costs[i].max_rows, MAX_BATCH);
		assert_true(engine.costs[i].ns[0] > 0);
		for (uint32_t point = 1; point < fg_batch_cost_points(MAX_BATCH); point++)
			assert_true(engine.costs[i].ns[point] >= engine.costs[i].ns[point - 1]);
	}
}

static void expect_no_open(uint32_t count, uint32_t max_batch, int code, const char *text)
{
	struct fg_engine other;

	error.text[0] = 0;
	assert_int_equal(fg_engine_open(&other, entries, count, plans, GENERATION, max_batch,
					&stats, &error),
			 code);
	if (!strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
	fg_engine_close(&other);
}

static void names_what_cannot_be_served(void **state)
{
	(void)state;
	expect_no_open(0, 16, -EINVAL, "0 model versions, must be 1 to 32");
	expect_no_open(33, 16, -EINVAL, "33 model versions");
	expect_no_open(4, 0, -EINVAL, "max_batch is 0, must be 1 to 1024");
	expect_no_open(4, 1025, -EINVAL, "max_batch is 1025");

	entries[1].version = 1;
	expect_no_open(4, 16, -EINVAL, "model risk version 1 is there twice");
	entries[1].version = 2;
	entries[0].is_default = 1;
	expect_no_open(4, 16, -EINVAL, "model risk has two defaults, 1 and 2");
	entries[0].is_default = 0;
	strcpy(entries[0].model, "model_82366");
	strcpy(entries[3].model, "model_199201");
	expect_no_open(4, 16, -EINVAL, "models model_82366 and model_199201 have the same XXH32");

	set_entry(0, "long", 1, 1, make_plan(65444, 1, 0, 0));
	expect_no_open(1, 16, -EINVAL,
		       "model long version 1 takes 65444 columns, one datagram carries at most "
		       "65443");
	set_entry(0, "wide", 1, 1, make_plan(1, 16361, 0, 0));
	expect_no_open(1, 16, -EINVAL,
		       "model wide version 1 gives 16361 columns, one datagram carries at most "
		       "16360");
	set_entry(0, "wrong", 6, 1, make_plan(4, 2, 0, 0.5f));
	expect_no_open(
		1, 16, -EILSEQ,
		"model wrong version 6: made-up golden row 0, column 0 (of output 'y'): got ");
}

static void wide_models_get_smaller_batches(void **state)
{
	struct fg_engine other;
	uint32_t max_rows = FG_ENGINE_MEMORY_BYTES / (60000 + 16) / sizeof(float);

	(void)state;
	set_entry(0, "wide", 1, 1, make_plan(60000, 1, 0, 0));
	assert_int_equal(fg_engine_open(&other, entries, 1, plans, GENERATION, 1024, &stats,
					&error),
			 0);
	assert_true(other.arena_bytes <= FG_ENGINE_MEMORY_BYTES);
	assert_int_equal(other.costs[0].max_rows, max_rows);
	fg_engine_close(&other);
}

static void closing_what_was_never_open_is_safe(void **state)
{
	static struct fg_engine never;

	(void)state;
	fg_engine_close(&never);
	fg_engine_close(&never);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_engine, close_engine)
	const struct CMUnitTest tests[] = {
		TEST(answers_one_row),
		TEST(answers_by_the_version_asked_for),
		TEST(takes_every_element_type),
		TEST(passes_nan_and_infinity_through),
		TEST(refuses_unknown_models_and_versions),
		TEST(refuses_wrong_shapes),
		TEST(a_flood_of_refusals_gets_no_reasons),
		TEST(refuses_what_does_not_add_up),
		TEST(asks_for_padding_where_the_reply_is_longer),
		TEST(cuts_texts_to_the_room_there_is),
		TEST(refuses_what_would_be_late),
		TEST(refuses_what_became_late_in_the_queue),
		TEST(does_not_answer_what_is_not_ours),
		TEST(groups_by_model_and_version),
		TEST(finishes_replies_batch_by_batch),
		TEST(takes_as_many_as_it_says),
		TEST(never_amplifies_and_answers_each_once),
		TEST(serving_needs_no_syscall_but_the_clock),
		TEST(measures_every_model),
		TEST(names_what_cannot_be_served),
		TEST(wide_models_get_smaller_batches),
		cmocka_unit_test(closing_what_was_never_open_is_safe),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
