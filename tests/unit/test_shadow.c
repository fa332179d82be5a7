/* userspace/shared/shadow: one process writes, another one reads, and neither believes the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/shadow.h"

#define HEAD	 sizeof(struct fg_shadow_record)
#define FLOATS	 FG_SHADOW_MAX_FLOATS
#define RECORDS	 20000
#define LIMIT_NS 20000000000ull

static struct fg_shadow_area *area;
static struct fg_shadow_ring *ring;
static float in[FLOATS], out[FLOATS]; /* of the writer */
static float got_in[FLOATS], got_out[FLOATS];

static int map(void **state)
{
	(void)state;
	area = fg_shadow_map();
	if (!area)
		return -1;
	ring = &area->rings[3];
	for (uint32_t i = 0; i < FLOATS; i++) {
		in[i] = (float)i;
		out[i] = -(float)i;
	}
	return 0;
}

static int unmap(void **state)
{
	(void)state;
	fg_shadow_unmap(area);
	return 0;
}

static int take(struct fg_shadow_record *record)
{
	return fg_shadow_take(ring, record, got_in, FLOATS, got_out, FLOATS);
}

static bool put(uint32_t rows, uint32_t in_cols, uint32_t out_cols)
{
	const struct fg_shadow_record record = {.epoch = 7,
						.rows = rows,
						.in_cols = in_cols,
						.out_cols = out_cols,
						.compute_ns = 1234};

	return fg_shadow_put(ring, &record, in, out);
}

static void what_was_put_is_taken(void **state)
{
	struct fg_shadow_record record;

	(void)state;
	assert_int_equal(take(&record), 0);
	assert_true(put(3, 5, 2));
	assert_true(put(1, 1, 1));
	assert_int_equal(take(&record), 1);
	assert_int_equal(record.bytes, HEAD + 4 * 3 * 7 + 4); /* to a multiple of 8 */
	assert_int_equal(record.epoch, 7);
	assert_int_equal(record.rows, 3);
	assert_int_equal(record.in_cols, 5);
	assert_int_equal(record.out_cols, 2);
	assert_int_equal(record.compute_ns, 1234);
	assert_memory_equal(got_in, in, 15 * sizeof(float));
	assert_memory_equal(got_out, out, 6 * sizeof(float));
	assert_int_equal(take(&record), 1);
	assert_int_equal(record.rows, 1);
	assert_int_equal(take(&record), 0);
}

static void a_full_ring_takes_no_more(void **state)
{
	struct fg_shadow_record record;
	uint32_t count = 0;

	(void)state;
	while (put(1, 100, 26)) /* 528 bytes */
		count++;
	assert_int_equal(count, FG_SHADOW_RING_BYTES / 528);
	assert_false(put(1, 100, 26));
	assert_int_equal(take(&record), 1);
	assert_true(put(1, 100, 26));
	assert_false(put(1, 100, 26));
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(take(&record), 1);
	assert_int_equal(take(&record), 0);
}

static void large_records(void **state)
{
	struct fg_shadow_record record;
	const uint32_t most = (FG_SHADOW_RECORD_BYTES - HEAD) / sizeof(float);

	(void)state;
	assert_true(put(1, most - 2, 2));
	assert_false(put(1, most - 1, 2));
	assert_false(put(most, 1, 1));
	assert_false(put(UINT32_MAX, UINT32_MAX, UINT32_MAX));
	assert_false(put(1u << 31, 1u << 30, 1u << 30)); /* 2^64 bytes, wraps to 0 */
	assert_false(put(0, 1, 1));
	assert_false(put(1, 0, 1));
	assert_false(put(1, 1, 0));
	assert_int_equal(take(&record), 1);
	assert_int_equal(record.bytes, FG_SHADOW_RECORD_BYTES);
	assert_memory_equal(got_in, in, (most - 2) * sizeof(float));
	assert_int_equal(take(&record), 0);
}

static void a_record_without_room_empties_the_ring(void **state)
{
	struct fg_shadow_record record;

	(void)state;
	for (int which = 0; which < 2; which++) {
		assert_true(put(2, 5, 3));
		assert_true(put(1, 1, 1));
		assert_int_equal(fg_shadow_take(ring, &record, got_in, which ? 10 : 9, got_out,
						which ? 5 : 6),
				 -EPROTO);
		assert_int_equal(take(&record), 0);
	}
	assert_true(put(2, 5, 3));
	assert_int_equal(fg_shadow_take(ring, &record, got_in, 10, got_out, 6), 1);
}

/* ---- two processes ---- */

struct shape {
	uint32_t rows, in_cols, out_cols;
};

/* Mostly small, sometimes a tenth of the ring. */
static struct shape shape_of(unsigned int *seed)
{
	uint32_t most = rand_r(seed) % 50 ? 40 : 12000;

	return (struct shape){1 + (uint32_t)rand_r(seed) % 4, 1 + (uint32_t)rand_r(seed) % most,
			      1 + (uint32_t)rand_r(seed) % most / 2};
}

/* Rows whose every number says which record it is of. */
static void write_records(void)
{
	unsigned int seed = 1;

	for (uint32_t i = 0; i < RECORDS; i++) {
		struct shape shape = shape_of(&seed);
		const struct fg_shadow_record record = {
			.epoch = i,
			.rows = shape.rows,
			.in_cols = shape.in_cols,
			.out_cols = shape.out_cols,
			.compute_ns = i * 3,
		};

		for (uint32_t j = 0; j < shape.rows * shape.in_cols; j++)
			in[j] = (float)(i + j);
		for (uint32_t j = 0; j < shape.rows * shape.out_cols; j++)
			out[j] = (float)(i + j) + 0.5f;
		while (!fg_shadow_put(ring, &record, in, out))
			sched_yield();
	}
	_exit(0);
}

static void check_record(const struct fg_shadow_record *record, uint32_t i, unsigned int *seed)
{
	struct shape shape = shape_of(seed);

	assert_int_equal(record->epoch, i);
	assert_int_equal(record->compute_ns, i * 3);
	assert_int_equal(record->rows, shape.rows);
	assert_int_equal(record->in_cols, shape.in_cols);
	assert_int_equal(record->out_cols, shape.out_cols);
	for (uint32_t j = 0; j < shape.rows * shape.in_cols; j++)
		assert_true(got_in[j] == (float)(i + j));
	for (uint32_t j = 0; j < shape.rows * shape.out_cols; j++)
		assert_true(got_out[j] == (float)(i + j) + 0.5f);
}

static void every_record_arrives_whole_and_in_order(void **state)
{
	uint64_t end_ns = fg_clock_ns() + LIMIT_NS;
	unsigned int seed = 1;
	uint32_t count = 0;
	pid_t writer = fork();
	int status;

	(void)state;
	assert_true(writer >= 0);
	if (!writer)
		write_records();
	while (count < RECORDS && fg_clock_ns() < end_ns) {
		struct fg_shadow_record record;
		int ret = take(&record);

		assert_true(ret >= 0);
		if (ret)
			check_record(&record, count++, &seed);
		else
			sched_yield();
	}
	if (count < RECORDS)
		kill(writer, SIGKILL);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(count, RECORDS);
	assert_int_equal(status, 0);
	/* many times round, and at every offset of the end */
	assert_true(atomic_load(&ring->written) > 10ull * FG_SHADOW_RING_BYTES);
}

/* ---- whoever was broken into ---- */

static void a_reader_survives_any_contents(void **state)
{
	unsigned int seed = 9;
	uint32_t refused = 0, taken = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint64_t written = atomic_load(&ring->written);
		/* Just what it may write, so that sanitizers see every step aside. */
		uint32_t in_count = (uint32_t)rand_r(&seed) % 64 + 1;
		uint32_t out_count = (uint32_t)rand_r(&seed) % 64 + 1;
		float *small_in = malloc(in_count * sizeof(float));
		float *small_out = malloc(out_count * sizeof(float));
		struct fg_shadow_record record;
		int ret;

		put(1 + (uint32_t)rand_r(&seed) % 3, 1 + (uint32_t)rand_r(&seed) % 9,
		    1 + (uint32_t)rand_r(&seed) % 9);
		for (int i = rand_r(&seed) % 4; i > 0; i--)
			ring->bytes[(written + (uint64_t)rand_r(&seed) % HEAD) %
				    FG_SHADOW_RING_BYTES] = (uint8_t)(rand_r(&seed) >> 3);
		if (rand_r(&seed) % 16 == 0)
			atomic_store(&ring->written, (uint64_t)rand_r(&seed) * rand_r(&seed));
		if (rand_r(&seed) % 16 == 0)
			atomic_store(&ring->read,
				     atomic_load(&ring->written) - (uint64_t)rand_r(&seed) % 4096);
		ret = fg_shadow_take(ring, &record, small_in, in_count, small_out, out_count);
		assert_true(ret == 1 || ret == 0 || ret == -EPROTO);
		if (ret == -EPROTO)
			assert_true(atomic_load(&ring->read) == atomic_load(&ring->written));
		refused += ret == -EPROTO;
		taken += ret == 1;
		free(small_in);
		free(small_out);
	}
	assert_true(refused > 1000 && taken > 1000);
}

static void a_writer_survives_any_position(void **state)
{
	unsigned int seed = 11;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint64_t start = (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed);

		atomic_store(&ring->written, start);
		atomic_store(&ring->read, rand_r(&seed) % 2 ? start : start + (uint64_t)round * 97);
		put(1, 1 + (uint32_t)rand_r(&seed) % 300, 3);
	}
	atomic_store(&ring->written, 0);
	atomic_store(&ring->read, 8); /* more was read than written */
	assert_false(put(1, 1, 1));
}

/* ---- memory ---- */

static size_t resident_pages(const void *start, size_t bytes)
{
	size_t pages = bytes / 4096, resident = 0;
	unsigned char *map_of = malloc(pages);

	assert_int_equal(mincore((void *)start, bytes, map_of), 0);
	for (size_t i = 0; i < pages; i++)
		resident += map_of[i] & 1;
	free(map_of);
	return resident;
}

static void only_rings_in_use_cost_memory(void **state)
{
	struct fg_shadow_record record;

	(void)state;
	assert_int_equal(resident_pages(area, sizeof(*area)), 0);
	for (int i = 0; i < 100; i++)
		assert_true(put(1, 500, 500));
	assert_in_range(resident_pages(area, sizeof(*area)), 90, 110);
	fg_shadow_release(ring);
	assert_true(resident_pages(area, sizeof(*area)) <= 1);
	assert_int_equal(take(&record), 0);
	assert_true(put(1, 500, 500));
	assert_int_equal(take(&record), 1);
	assert_memory_equal(got_in, in, 500 * sizeof(float));
}

static bool mapped(const void *page)
{
	unsigned char resident;

	return mincore((void *)page, 4096, &resident) == 0;
}

static void a_worker_keeps_its_own_ring_and_no_other(void **state)
{
	static const uint16_t slots[] = {0, 3, FG_MAX_SLOTS - 1};

	(void)state;
	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (!child) {
			int wrong = 0;

			fg_shadow_keep(area, slots[i]);
			for (uint16_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
				const struct fg_shadow_ring *other = &area->rings[slot];
				const uint8_t *last = (const uint8_t *)(other + 1) - 4096;

				wrong += mapped(other) != (slot == slots[i]);
				wrong += mapped(last) != (slot == slots[i]);
			}
			ring = &area->rings[slots[i]];
			wrong += !put(1, 2, 3);
			_exit(wrong);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		ring = &area->rings[slots[i]];
		assert_int_equal(take(&(struct fg_shadow_record){0}), 1);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, map, unmap)
	const struct CMUnitTest tests[] = {
		TEST(what_was_put_is_taken),
		TEST(a_full_ring_takes_no_more),
		TEST(large_records),
		TEST(a_record_without_room_empties_the_ring),
		TEST(every_record_arrives_whole_and_in_order),
		TEST(a_reader_survives_any_contents),
		TEST(a_writer_survives_any_position),
		TEST(only_rings_in_use_cost_memory),
		TEST(a_worker_keeps_its_own_ring_and_no_other),
	};

	return cmocka_run_group_tests_name("shadow", tests, NULL, NULL);
}
