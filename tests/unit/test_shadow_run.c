/* userspace/worker/shadow_run: records in rings, and what the shadow counts of them. */
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/unit/engine_fixture.h"
#include "userspace/shared/priority.h"
#include "userspace/worker/shadow_run.h"

enum { SINGLE, PAIR, ENTRIES };
#define EPOCH	 9
#define LIMIT_NS 10000000000ull

static const struct {
	const char *name;
	uint32_t in_cols, out_cols;
	float offset;
} models[ENTRIES] = {{"single", 4, 1, 100}, {"pair", 4, 2, 200}};

static struct fg_state_slot *slot;
static struct fg_shadow_area *area;
static struct fg_shadow_run run;

static void tell(const char *model, uint16_t epoch)
{
	atomic_store(&slot->watch, fg_state_watch(fg_wire_model(model), epoch, 0));
}

static int open_all(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof(stats));
	slot = mmap(NULL, sizeof(*slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	area = fg_shadow_map();
	assert_true(slot != MAP_FAILED);
	assert_non_null(area);
	for (uint32_t i = 0; i < ENTRIES; i++)
		set_entry(i, models[i].name, 3, 1,
			  make_plan(models[i].in_cols, models[i].out_cols, models[i].offset, 0));
	if (fg_engine_open(&engine, entries, ENTRIES, plans, GENERATION, MAX_BATCH, &stats,
			   &error) ||
	    fg_shadow_run_open(&run, &engine, slot, area, &error))
		fail_msg("%s", error.text);
	tell("single", EPOCH);
	return 0;
}

static int close_all(void **state)
{
	fg_shadow_run_close(&run);
	fg_shadow_unmap(area);
	munmap(slot, sizeof(*slot));
	return close_engine(state);
}

/* Leaves in ring `ring` what a live worker answered: what the model would, plus `off` in the
 * first column. */
static bool leave(uint32_t ring, uint32_t model, uint32_t rows, float base, float off)
{
	const struct fg_shadow_record record = {
		.epoch = EPOCH,
		.rows = rows,
		.in_cols = models[model].in_cols,
		.out_cols = models[model].out_cols,
		.compute_ns = 1000 * rows,
	};
	float in[64 * 4], out[64 * 2];

	assert_true(rows <= 64);
	for (uint32_t i = 0; i < rows * 4; i++)
		in[i] = base + (float)(i % 7);
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t c = 0; c < record.out_cols; c++)
			out[r * record.out_cols + c] =
				output_of(in + (size_t)r * 4, 4, c, models[model].offset) +
				(c ? 0 : off);
	return fg_shadow_put(&area->rings[ring], &record, in, out);
}

static float worst(void)
{
	uint32_t bits = slot->seen.worst;
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void expect_seen(uint64_t requests, uint64_t rows, uint64_t agreed, uint64_t errors)
{
	assert_int_equal(slot->seen.epoch, EPOCH);
	assert_int_equal(slot->seen.requests, requests);
	assert_int_equal(slot->seen.rows, rows);
	assert_int_equal(slot->seen.agreed, agreed);
	assert_int_equal(slot->seen.errors, errors);
	assert_int_equal(fg_distribution_count(&slot->seen.latency_ns), requests);
	assert_int_equal(fg_distribution_count(&slot->seen.scores[0]), rows);
}

static void the_same_answers_agree(void **state)
{
	(void)state;
	assert_false(fg_shadow_run_round(&run));
	expect_seen(0, 0, 0, 0);
	leave(0, SINGLE, 2, 1, 0);
	leave(FG_MAX_SLOTS - 1, SINGLE, 1, -5, 0);
	leave(7, SINGLE, 5, 100, 0);
	assert_false(fg_shadow_run_round(&run));
	expect_seen(3, 8, 8, 0);
	assert_true(worst() == 0);
	assert_int_equal(slot->seen.live_ns, 8000);
	assert_true(slot->seen.own_ns > 0);
	assert_true(fg_distribution_quantile(&slot->seen.latency_ns, 1) > 0);
}

static void single_columns_agree_when_close(void **state)
{
	float live = output_of((float[]){0, 1, 2, 3}, 4, 0, 100); /* 112 */

	(void)state;
	leave(0, SINGLE, 1, 0, live * 0.9e-3f);
	leave(0, SINGLE, 1, 0, -live * 0.9e-3f);
	leave(0, SINGLE, 1, 0, live * 1.1e-3f);
	leave(0, SINGLE, 1, 0, -live);
	leave(0, SINGLE, 1, 0, NAN);
	fg_shadow_run_round(&run);
	expect_seen(5, 5, 2, 0);
	assert_true(worst() == live);
}

static void several_columns_agree_when_the_largest_is_the_same(void **state)
{
	(void)state;
	tell("pair", EPOCH); /* its second column is 1 above the first */
	leave(3, PAIR, 2, 0, 0.9f);
	leave(3, PAIR, 3, 0, 1.5f);
	leave(3, PAIR, 1, 0, -30);
	fg_shadow_run_round(&run);
	expect_seen(3, 6, 3, 0);
	assert_true(worst() == 30);
	assert_int_equal(fg_distribution_count(&slot->seen.scores[1]), 6);
}

/* What a client of the new version would not have got an answer to. */
static void what_it_could_not_answer_is_an_error(void **state)
{
	(void)state;
	leave(0, SINGLE, 2, 1, 0);
	leave(0, SINGLE, MAX_BATCH + 1, 1, 0); /* rows */
	leave(0, PAIR, 1, 1, 0);	       /* columns */
	leave(0, SINGLE, 1, INFINITY, 0);
	leave(0, SINGLE, 1, NAN, 0);
	leave(0, SINGLE, MAX_BATCH, 1, 0);
	fg_shadow_run_round(&run);
	expect_seen(2, 2 + MAX_BATCH, 2 + MAX_BATCH, 4);
}

static void records_of_other_epochs_are_thrown_away(void **state)
{
	(void)state;
	tell("single", EPOCH - 1);
	leave(0, SINGLE, 2, 1, 0);
	fg_shadow_run_round(&run);
	assert_int_equal(slot->seen.requests, 0);
	leave(0, SINGLE, 1, 1, 0);
	tell("single", EPOCH);
	fg_shadow_run_round(&run);
	expect_seen(1, 1, 1, 0);
	tell("single", EPOCH + 1);
	fg_shadow_run_round(&run);
	assert_int_equal(slot->seen.epoch, EPOCH + 1);
	assert_int_equal(slot->seen.requests, 0);
	atomic_store(&slot->watch, 0);
	leave(0, SINGLE, 1, 1, 0);
	fg_shadow_run_round(&run);
	assert_int_equal(atomic_load(&area->rings[0].read), atomic_load(&area->rings[0].written));
}

static void a_model_that_is_not_here_is_run_by_nobody(void **state)
{
	(void)state;
	tell("another", EPOCH);
	leave(0, SINGLE, 1, 1, 0);
	fg_shadow_run_round(&run);
	expect_seen(0, 0, 0, 0);
}

static void the_default_version_is_run(void **state)
{
	(void)state;
	engine.models[PAIR].name = engine.models[SINGLE].name;
	engine.models[SINGLE].is_default = 0;
	leave(0, PAIR, 1, 1, 0);
	fg_shadow_run_round(&run);
	expect_seen(1, 1, 1, 0);
}

/* More than one batch, and than one ring's turn; slices of one row. */
static void backlogs_are_worked_off_in_turns(void **state)
{
	uint32_t rounds = 0;

	(void)state;
	for (uint32_t point = 0; point < FG_BATCH_COST_POINTS; point++)
		engine.costs[SINGLE].ns[point] = FG_SHADOW_RUN_NS + 1;
	for (uint32_t i = 0; i < 3 * FG_SHADOW_TURN; i++)
		assert_true(leave(2, SINGLE, 1 + i % 3, (float)i, i % 4 ? 0 : 1000));
	leave(9, SINGLE, 1, 0, 0);
	while (fg_shadow_run_round(&run)) {
		assert_int_equal(run.slice_rows, 1);
		assert_int_equal(slot->seen.requests, (rounds + 1) * FG_SHADOW_TURN + 1);
		rounds++;
	}
	assert_int_equal(rounds, 3);
	expect_seen(3 * FG_SHADOW_TURN + 1, 6 * FG_SHADOW_TURN + 1, 289, 0);
}

static void nonsense_in_one_ring_hurts_no_other(void **state)
{
	unsigned int seed = 4;

	(void)state;
	for (int round = 0; round < 200; round++) {
		struct fg_shadow_ring *ring = &area->rings[1];

		for (uint32_t i = 0; i < 4096; i++)
			ring->bytes[i] = (uint8_t)rand_r(&seed);
		atomic_store(&ring->written, (uint64_t)rand_r(&seed) % 8192);
		atomic_store(&ring->read, (uint64_t)rand_r(&seed) % 8192);
		leave(0, SINGLE, 1, 1, 0);
		leave(2, SINGLE, 1, 1, 0);
		while (fg_shadow_run_round(&run))
			;
	}
	assert_int_equal(slot->seen.requests, 400);
	assert_int_equal(slot->seen.agreed, 400);
}

/* ---- the process ---- */

static pid_t start(void)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		fg_priority_background();
		fg_priority_idle();
		fg_shadow_run_until_finish(&run);
		fg_shadow_run_close(&run);
		_exit(sched_getscheduler(0) == SCHED_IDLE ? 0 : 9);
	}
	return child;
}

static bool wait_for(uint64_t requests)
{
	uint64_t end_ns = fg_clock_ns() + LIMIT_NS;

	while (atomic_load(&slot->seen.requests) < requests && fg_clock_ns() < end_ns)
		usleep(1000);
	return atomic_load(&slot->seen.requests) == requests;
}

static void obeys_orders(void **state)
{
	pid_t child = start();
	uint64_t beat_ns;
	int status;

	(void)state;
	leave(0, SINGLE, 1, 1, 0);
	usleep(30000);
	assert_int_equal(slot->seen.requests, 0); /* order WAIT */
	beat_ns = atomic_load(&slot->work.heartbeat_ns);
	assert_true(beat_ns > 0);
	atomic_store(&slot->order, FG_ORDER_SHADOW);
	assert_true(wait_for(1));
	for (int i = 0; i < 1000; i++)
		assert_true(leave((uint32_t)i % 5, SINGLE, 1, (float)i, 0));
	assert_true(wait_for(1001));
	expect_seen(1001, 1001, 1001, 0);
	assert_true(atomic_load(&slot->work.heartbeat_ns) > beat_ns);
	atomic_store(&slot->order, FG_ORDER_FINISH);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(leave(0, SINGLE, 1, 1, 0)); /* into rings that are empty again */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	const struct CMUnitTest tests[] = {
		TEST(the_same_answers_agree),
		TEST(single_columns_agree_when_close),
		TEST(several_columns_agree_when_the_largest_is_the_same),
		TEST(what_it_could_not_answer_is_an_error),
		TEST(records_of_other_epochs_are_thrown_away),
		TEST(a_model_that_is_not_here_is_run_by_nobody),
		TEST(the_default_version_is_run),
		TEST(backlogs_are_worked_off_in_turns),
		TEST(nonsense_in_one_ring_hurts_no_other),
		TEST(obeys_orders),
	};

	return cmocka_run_group_tests_name("shadow_run", tests, NULL, NULL);
}
