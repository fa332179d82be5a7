/*
 * userspace/worker/engine with models of which a row takes long: requests wait in lines, run in
 * pieces, and leave time and room to others.
 */
#include "tests/unit/engine_fixture.h"

enum { QUICK, SLOW, SLOW_TOO, ENTRIES };
#define ROW_NS	1000000ull
#define BATCH	64
#define OFFSETS 100

/* The C kernels, but every row of a DENSE step takes ROW_NS longer. */
static struct fg_kernels slow_kernels;

static void slow_dense(const struct fg_kernel_args *args)
{
	uint64_t end_ns = fg_clock_ns() + args->rows * ROW_NS;

	fg_kernels_c.run[FG_STEP_DENSE](args);
	while (fg_clock_ns() < end_ns)
		;
}

static int open_engine(void **state)
{
	static const char *const names[] = {"quick", "slow", "slow_too"};

	(void)state;
	memset(&stats, 0, sizeof(stats));
	slow_kernels = fg_kernels_c;
	slow_kernels.run[FG_STEP_DENSE] = slow_dense;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		set_entry(i, names[i], 1, 1, make_plan(4, 2, OFFSETS * (float)i, 0));
		if (i != QUICK)
			plans[i].kernels = &slow_kernels;
	}
	if (fg_engine_open(&engine, entries, ENTRIES, plans, GENERATION, BATCH, &stats, &error))
		fail_msg("%s", error.text);
	return 0;
}

static struct fg_message ask(uint32_t entry, uint32_t rows, float base)
{
	return request(entries[entry].model, 0, rows, 4, base, 0);
}

/* The reply to ask(entry, rows, base); frees it. */
static void check_answer(const struct fg_message *message, uint32_t entry, uint32_t rows,
			 float base)
{
	const float *out = (const float *)(message->bytes + sizeof(struct fg_wire_header));
	struct fg_wire_header header;

	assert_int_equal(fg_wire_parse_reply(message->bytes, message->length, &header), 0);
	assert_string_equal(fg_status_name(header.status), "ok");
	assert_int_equal(header.rows, rows);
	for (uint32_t r = 0; r < rows; r++) {
		float row[4];

		for (uint32_t c = 0; c < 4; c++)
			row[c] = (float)(r * 8 + c) + base;
		for (uint32_t j = 0; j < 2; j++)
			assert_true(out[r * 2 + j] == output_of(row, 4, j, OFFSETS * (float)entry));
	}
	free(message->bytes);
}

/* One begin and all its steps; what is kept stays kept. */
static void begin(struct fg_message *messages, uint32_t count)
{
	fg_engine_begin(&engine, messages, count, fg_clock_ns());
}

/* Pieces until something is done. Returns how many. */
static uint32_t pieces_until_done(void)
{
	uint32_t pieces = 0;

	engine.others_ran = false;
	do {
		assert_true(fg_engine_piece(&engine));
		pieces++;
	} while (!engine.done_count);
	return pieces;
}

static void a_long_request_runs_in_pieces(void **state)
{
	struct fg_message message = ask(SLOW, 16, 0.5f);

	(void)state;
	begin(&message, 1);
	assert_int_equal(engine.done_count, 0);
	assert_int_equal(engine.kept_count, 1);
	assert_false(fg_engine_step(&engine));
	assert_int_equal(fg_share_waiting(&engine.share), 1);
	assert_true(pieces_until_done() >= 8); /* of 2 ms */
	assert_int_equal(engine.done_count, 1);
	assert_ptr_equal(engine.done[0], fg_engine_kept(&engine, engine.kept[0]));
	assert_true(header_of(engine.done[0])->compute_ns >= 16 * ROW_NS);
	check_answer(engine.done[0], SLOW, 16, 0.5f);
	assert_int_equal(fg_share_waiting(&engine.share), 0);
	assert_false(fg_engine_piece(&engine));
	assert_int_equal(stats.replies, 1);
	assert_int_equal(stats.rows, 16);
}

static void short_ones_of_a_slow_model_run_together(void **state)
{
	struct fg_message messages[4];

	(void)state;
	engine.costs[SLOW].batch_rows = 3;
	for (int i = 0; i < 4; i++)
		messages[i] = ask(SLOW, 1, (float)i);
	begin(messages, 4);
	assert_int_equal(engine.kept_count, 4);
	assert_int_equal(pieces_until_done(), 1);
	assert_int_equal(engine.done_count, 3);
	for (int i = 0; i < 3; i++)
		check_answer(engine.done[i], SLOW, 1, (float)i);
	assert_int_equal(pieces_until_done(), 1);
	check_answer(engine.done[0], SLOW, 1, 3);
	assert_int_equal(stats.batches, 2);
}

static void others_are_answered_between_pieces(void **state)
{
	struct fg_message slow = ask(SLOW, 32, 0), quick;

	(void)state;
	begin(&slow, 1);
	for (int i = 0; i < 5; i++) {
		while (!fg_engine_piece(&engine))
			;
		assert_int_equal(engine.done_count, 0);
		quick = ask(QUICK, 3, (float)i);
		begin(&quick, 1);
		assert_true(fg_engine_step(&engine));
		assert_int_equal(engine.done_count, 1);
		assert_ptr_equal(engine.done[0], &quick);
		check_answer(&quick, QUICK, 3, (float)i);
		assert_false(fg_engine_step(&engine));
	}
	pieces_until_done();
	check_answer(engine.done[0], SLOW, 32, 0);
}

/* While others come, a piece is followed by as much time of theirs. */
static void a_piece_is_owed_to_others(void **state)
{
	struct fg_message slow = ask(SLOW, 32, 0), quick;
	uint32_t batches = 0;

	(void)state;
	begin(&slow, 1);
	assert_true(fg_engine_piece(&engine));
	do {
		quick = ask(QUICK, 16, 0);
		begin(&quick, 1);
		while (fg_engine_step(&engine))
			;
		free(quick.bytes);
		batches++;
	} while (!fg_engine_piece(&engine) && batches < 1000000);
	assert_true(batches > 2);
	assert_true(batches < 1000000);
	quick = request("nobody", 0, 1, 4, 0, 0);
	begin(&quick, 1); /* nothing is owed to what did not run */
	assert_true(fg_engine_piece(&engine));
	free(quick.bytes);
	pieces_until_done();
	free(engine.done[0]->bytes);
}

static void slow_models_take_turns(void **state)
{
	struct fg_message messages[] = {ask(SLOW, 20, 0), ask(SLOW, 20, 1), ask(SLOW_TOO, 4, 2)};
	uint32_t pieces = 0;

	(void)state;
	begin(messages, 3);
	do {
		pieces += pieces_until_done();
		if (engine.done[0]->bytes == messages[2].bytes)
			break;
		free(engine.done[0]->bytes);
	} while (pieces < 100);
	assert_true(pieces < 20); /* not after all of the other's */
	check_answer(engine.done[0], SLOW_TOO, 4, 2);
	pieces_until_done();
	check_answer(engine.done[0], SLOW, 20, 0);
	pieces_until_done();
	check_answer(engine.done[0], SLOW, 20, 1);
}

static void a_line_has_an_end(void **state)
{
	static struct fg_message messages[FG_SHARE_PLACES];
	struct fg_message other = ask(SLOW_TOO, 1, 0);
	uint32_t kept;

	(void)state;
	for (uint32_t i = 0; i < FG_SHARE_PLACES; i++)
		messages[i] = ask(SLOW, 1, 0);
	begin(messages, FG_SHARE_PLACES);
	kept = engine.kept_count;
	assert_int_equal(kept, FG_SHARE_PLACES / 2);
	assert_int_equal(engine.done_count, FG_SHARE_PLACES - kept);
	check_refusal(engine.done[0], FG_STATUS_OVERLOADED,
		      "96 requests that take long wait: try again later");
	begin(&other, 1);
	assert_int_equal(engine.kept_count, 1); /* it is not its line */
	assert_int_equal(engine.done_count, 0);
	while (fg_engine_piece(&engine))
		for (uint32_t i = 0; i < engine.done_count; i++)
			assert_int_equal(header_of(engine.done[i])->status, FG_STATUS_OK);
	assert_int_equal(stats.replies, kept + 1);
	for (uint32_t i = 0; i < FG_SHARE_PLACES; i++)
		free(messages[i].bytes);
	free(other.bytes);
}

static void places_can_be_fewer(void **state)
{
	struct fg_message messages[8];

	(void)state;
	engine.share.places = 4;
	for (uint32_t i = 0; i < 8; i++)
		messages[i] = ask(SLOW, 1, 0);
	begin(messages, 8);
	assert_int_equal(engine.kept_count, 2);
	while (fg_engine_piece(&engine))
		;
	for (uint32_t i = 0; i < 8; i++)
		free(messages[i].bytes);
}

static void late_ones_are_refused_when_they_come(void **state)
{
	struct fg_message messages[] = {ask(SLOW, 60, 0), ask(SLOW, 1, 1), ask(SLOW, 1, 2)};

	(void)state;
	header_of(&messages[1])->deadline_us = 30000;
	header_of(&messages[2])->deadline_us = 10000000;
	begin(messages, 3);
	assert_int_equal(engine.done_count, 1);
	assert_ptr_equal(engine.done[0], &messages[1]);
	assert_int_equal(header_of(&messages[1])->status, FG_STATUS_DEADLINE);
	pieces_until_done();
	check_answer(engine.done[0], SLOW, 60, 0);
	pieces_until_done();
	check_answer(engine.done[0], SLOW, 1, 2);
	free(messages[1].bytes);
}

static void what_became_late_is_refused_at_its_turn(void **state)
{
	struct fg_message message = ask(SLOW, 8, 0);
	uint64_t now_ns = fg_clock_ns() - 1000000000;

	(void)state;
	message.arrived_ns = now_ns;
	header_of(&message)->deadline_us = 500000;
	fg_engine_begin(&engine, &message, 1, now_ns); /* half a second before its deadline */
	assert_int_equal(engine.kept_count, 1);
	assert_int_equal(pieces_until_done(), 1);
	assert_int_equal(header_of(engine.done[0])->status, FG_STATUS_DEADLINE);
	assert_int_equal(stats.rows, 0);
	free(message.bytes);
}

static void the_heart_beats_inside_a_slow_plan(void **state)
{
	struct fg_message message = ask(SLOW, 2, 0);
	_Atomic uint64_t heartbeat_ns = 0;
	const struct fg_plan *plan = &engine.models[SLOW].plan;
	uint64_t start_ns = fg_clock_ns();

	(void)state;
	assert_null(engine.models[QUICK].plan.progress);
	engine.heartbeat_ns = &heartbeat_ns;
	fg_plan_run(plan, engine.in, 1, engine.out, engine.scratch);
	assert_true(heartbeat_ns >= start_ns + ROW_NS);
	heartbeat_ns = 0;
	begin(&message, 1);
	pieces_until_done();
	assert_true(heartbeat_ns == engine.now_ns);
	check_answer(engine.done[0], SLOW, 2, 0);
}

static void long_answers_and_refusals_are_watched(void **state)
{
	struct fg_state_slot *slot = aligned_alloc(4096, sizeof(*slot));
	struct fg_message messages[] = {ask(SLOW, 32, 0), ask(SLOW, 1, 1), ask(SLOW, 1, 1),
					ask(QUICK, 1, 0)};
	struct fg_watch watch;

	(void)state;
	memset(slot, 0, sizeof(*slot));
	fg_watch_open(&watch, slot, NULL);
	atomic_store(&slot->watch, fg_state_watch(fg_wire_model("slow"), 1, 0));
	fg_watch_look(&watch);
	engine.watch = &watch;
	engine.share.places = 4;
	serve(messages, 4);
	assert_int_equal(stats.status[FG_STATUS_OVERLOADED], 1);
	assert_int_equal(slot->seen.requests, 2);
	assert_int_equal(slot->seen.errors, 1);
	for (int i = 0; i < 4; i++)
		free(messages[i].bytes);
	free(slot);
}

/* Whatever comes in whatever order is answered once, with the right numbers. */
static void random_requests_are_answered_once(void **state)
{
	enum { ROUNDS = 60, MOST = 8 };
	struct fg_message messages[ROUNDS][MOST];
	uint32_t sent = 0, done = 0;
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < ROUNDS || done < sent; round++) {
		uint32_t count = round < ROUNDS ? (uint32_t)rand_r(&seed) % (MOST + 1) : 0;
		bool more;

		for (uint32_t i = 0; i < count; i++) {
			messages[round][i] = ask((uint32_t)rand_r(&seed) % ENTRIES,
						 1 + (uint32_t)rand_r(&seed) % 5, 1);
			header_of(&messages[round][i])->request_id = sent++;
		}
		fg_engine_begin(&engine, round < ROUNDS ? messages[round] : NULL, count,
				fg_clock_ns());
		do {
			for (uint32_t i = 0; i < engine.done_count; i++, done++) {
				const struct fg_wire_header header = *header_of(engine.done[i]);
				uint32_t entry = header.model == fg_wire_model("quick")	 ? QUICK
						 : header.model == fg_wire_model("slow") ? SLOW
											 : SLOW_TOO;

				if (header.status == FG_STATUS_OVERLOADED)
					free(engine.done[i]->bytes);
				else
					check_answer(engine.done[i], entry, header.rows, 1);
			}
			more = fg_engine_step(&engine);
		} while (more);
		if (fg_engine_piece(&engine))
			for (uint32_t i = 0; i < engine.done_count; i++, done++)
				free(engine.done[i]->bytes);
	}
	assert_int_equal(done, sent);
	assert_int_equal(stats.requests, sent);
	assert_int_equal(stats.replies + stats.status[FG_STATUS_OVERLOADED], sent);
	assert_int_equal(engine.free_count, FG_SHARE_PLACES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_engine, close_engine)
	const struct CMUnitTest tests[] = {
		TEST(a_long_request_runs_in_pieces),
		TEST(short_ones_of_a_slow_model_run_together),
		TEST(others_are_answered_between_pieces),
		TEST(a_piece_is_owed_to_others),
		TEST(slow_models_take_turns),
		TEST(a_line_has_an_end),
		TEST(places_can_be_fewer),
		TEST(late_ones_are_refused_when_they_come),
		TEST(what_became_late_is_refused_at_its_turn),
		TEST(the_heart_beats_inside_a_slow_plan),
		TEST(long_answers_and_refusals_are_watched),
		TEST(random_requests_are_answered_once),
	};

	return cmocka_run_group_tests_name("engine_lines", tests, NULL, NULL);
}
