/*
 * The ledger and the journal: a holder that dies at any step of any operation loses no frame and
 * doubles none. The rings are plain memory here; the kernel's side is played by the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "userspace/shared/umem.h"
#include "userspace/shared/xsk.h"

#define FRAMES 16
#define SLOT   3

struct fixture {
	struct fg_umem umem;
	struct fg_xsk xsk;
	uint32_t indices[4][2], flags;
	uint64_t fill[FRAMES], completion[FRAMES];
	struct xdp_desc rx[FRAMES], tx[FRAMES];
};

static struct fg_ring ring_of(uint32_t *indices, uint32_t *flags, void *entries)
{
	return (struct fg_ring){.producer = (_Atomic uint32_t *)&indices[0],
				.consumer = (_Atomic uint32_t *)&indices[1],
				.flags = (_Atomic uint32_t *)flags,
				.entries = entries,
				.mask = FRAMES - 1};
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->umem.owner = -1;
	f->umem.frames = FRAMES;
	f->umem.shared = calloc(1, sizeof(struct fg_umem_shared) + FRAMES);
	f->umem.fill = ring_of(f->indices[0], &f->flags, f->fill);
	f->umem.completion = ring_of(f->indices[1], &f->flags, f->completion);
	f->xsk = (struct fg_xsk){.umem = &f->umem, .fd = -1, .slot = SLOT};
	f->xsk.rx = ring_of(f->indices[2], &f->flags, f->rx);
	f->xsk.tx = ring_of(f->indices[3], &f->flags, f->tx);
	/* Indices near their wrap, so that it happens in every test. */
	for (int i = 0; i < 4; i++)
		f->indices[i][0] = f->indices[i][1] = UINT32_MAX - 5;
	f->umem.shared->sending[SLOT] = UINT32_MAX - 5;
	for (uint32_t i = 0; i < FRAMES; i++)
		*fg_ring_address(&f->umem.fill, f->indices[0][0] + i) = i * FG_FRAME_BYTES;
	f->indices[0][0] += FRAMES;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	free(f->umem.shared);
	free(f);
	return 0;
}

/* ---- the kernel's side ---- */

static void kernel_receives(struct fixture *f, uint32_t count)
{
	while (count--) {
		uint64_t address = *fg_ring_address(&f->umem.fill, f->indices[0][1]++);

		*fg_ring_desc(&f->xsk.rx, f->indices[2][0]++) =
			(struct xdp_desc){.addr = address + 256, .len = 100};
	}
}

static void kernel_sends(struct fixture *f, uint32_t count)
{
	while (count--)
		*fg_ring_address(&f->umem.completion, f->indices[1][0]++) =
			fg_ring_desc(&f->xsk.tx, f->indices[3][1]++)->addr;
}

/* Every frame is in exactly one place, and a frame in somebody's hands bears the mark. */
static void assert_conserved(const struct fixture *f)
{
	uint32_t places[FRAMES] = {0};

	for (uint32_t i = f->indices[0][1]; i != f->indices[0][0]; i++)
		places[*fg_ring_address(&f->umem.fill, i) / FG_FRAME_BYTES]++;
	for (uint32_t i = f->indices[1][1]; i != f->indices[1][0]; i++)
		places[*fg_ring_address(&f->umem.completion, i) / FG_FRAME_BYTES]++;
	for (uint32_t i = f->indices[2][1]; i != f->indices[2][0]; i++)
		places[fg_ring_desc(&f->xsk.rx, i)->addr / FG_FRAME_BYTES]++;
	for (uint32_t i = f->indices[3][1]; i != f->indices[3][0]; i++)
		places[fg_ring_desc(&f->xsk.tx, i)->addr / FG_FRAME_BYTES]++;
	for (uint32_t i = 0; i < FRAMES; i++) {
		places[i] += f->umem.shared->ledger[i] == SLOT + 1;
		assert_int_equal(places[i], 1);
	}
}

/* All frames are in the fill ring once the kernel has sent what was queued. */
static void assert_all_home(struct fixture *f)
{
	kernel_sends(f, f->indices[3][0] - f->indices[3][1]);
	assert_true(fg_umem_recycle(&f->umem, FG_UMEM_KEEPER, NULL, 0));
	assert_int_equal(f->indices[0][0] - f->indices[0][1], FRAMES);
	assert_int_equal(fg_umem_count(&f->umem, FG_FRAME_KERNEL), FRAMES);
	assert_conserved(f);
}

/* ---- tests ---- */

static void a_frame_goes_round(void **state)
{
	struct fixture *f = *state;
	struct fg_xsk_frame frames[8];
	uint64_t dropped;

	for (int round = 0; round < 100; round++) {
		kernel_receives(f, 5);
		assert_int_equal(fg_xsk_receive(&f->xsk, frames, 3), 3);
		assert_conserved(f);
		assert_int_equal(fg_xsk_receive(&f->xsk, frames + 3, 8), 2);
		assert_int_equal(fg_umem_count(&f->umem, SLOT + 1), 5);
		assert_int_equal(fg_xsk_send(&f->xsk, frames, 4), 4);
		assert_int_equal(fg_umem_count(&f->umem, FG_FRAME_SENT), 4);
		dropped = frames[4].address;
		kernel_sends(f, 4);
		assert_true(fg_umem_recycle(&f->umem, SLOT + 1, &dropped, 1));
		assert_all_home(f);
	}
}

static void nobody_waits_for_the_lock(void **state)
{
	struct fixture *f = *state;
	struct fg_xsk_frame frame;

	kernel_receives(f, 1);
	fg_xsk_receive(&f->xsk, &frame, 1);
	f->umem.shared->lock = 9;
	assert_false(fg_umem_recycle(&f->umem, SLOT + 1, &frame.address, 1));
	assert_conserved(f);
	fg_umem_recover(&f->umem, SLOT + 1); /* not the holder: no business of ours */
	assert_int_equal(f->umem.shared->lock, 9);
	fg_umem_recover(&f->umem, 9);
	assert_true(fg_umem_recycle(&f->umem, SLOT + 1, &frame.address, 1));
	assert_all_home(f);
}

static void a_full_tx_ring_gives_frames_back(void **state)
{
	struct fixture *f = *state;
	struct fg_xsk_frame frames[4];

	f->indices[3][0] += FRAMES - 1; /* as if FRAMES - 1 sends were waiting */
	f->umem.shared->sending[SLOT] = f->indices[3][0];
	kernel_receives(f, 4);
	fg_xsk_receive(&f->xsk, frames, 4);
	assert_int_equal(fg_xsk_send(&f->xsk, frames, 4), 1);
	assert_int_equal(fg_umem_count(&f->umem, SLOT + 1), 3);
}

/* Dies while receiving: frames are marked, the consumer has not moved. */
static void death_while_receiving(void **state)
{
	struct fixture *f = *state;

	for (uint32_t marked = 0; marked <= 4; marked++) {
		kernel_receives(f, 4);
		for (uint32_t i = 0; i < marked; i++)
			fg_umem_mark(&f->umem, fg_ring_desc(&f->xsk.rx, f->indices[2][1] + i)->addr,
				     SLOT + 1);
		fg_xsk_reclaim(&f->xsk);
		assert_all_home(f);
	}
}

/* Dies after step `step` of fg_xsk_send (xsk.c), with `marked` of 3 marks made in step 3. */
static void die_sending(struct fixture *f, int step, uint32_t marked)
{
	uint32_t producer = f->indices[3][0];
	struct fg_xsk_frame frames[5];

	kernel_receives(f, 5);
	fg_xsk_receive(&f->xsk, frames, 5);
	for (uint32_t i = 0; i < 3; i++)
		*fg_ring_desc(&f->xsk.tx, producer + i) =
			(struct xdp_desc){.addr = frames[i].address, .len = 1};
	if (step >= 2)
		f->umem.shared->sending[SLOT] = producer + 3;
	for (uint32_t i = 0; step >= 3 && i < marked; i++)
		fg_umem_mark(&f->umem, frames[i].address, FG_FRAME_SENT);
	if (step >= 4)
		f->indices[3][0] += 3;
}

static void death_while_sending(void **state)
{
	struct fixture *f = *state;

	for (int step = 1; step <= 4; step++) {
		for (uint32_t marked = step < 4 ? 0 : 3; marked <= 3; marked++) {
			uint32_t before = f->indices[3][0];

			die_sending(f, step, marked);
			assert_int_equal(fg_xsk_reclaim(&f->xsk), step == 1 ? 5 : 2);
			assert_int_equal(f->indices[3][0] - before, step == 1 ? 0 : 3);
			assert_conserved(f);
			assert_all_home(f);
		}
	}
}

/* Dies after step `step` of a move (umem.c) of 2 completed and 2 dropped frames. */
static void die_moving(struct fixture *f, int step, uint32_t marked)
{
	struct fg_umem_shared *shared = f->umem.shared;
	uint32_t fill = f->indices[0][0];
	struct fg_xsk_frame frames[4];

	kernel_receives(f, 4);
	fg_xsk_receive(&f->xsk, frames, 4);
	fg_xsk_send(&f->xsk, frames, 2);
	kernel_sends(f, 2);
	shared->lock = SLOT + 1;
	for (uint32_t i = 0; i < 4; i++)
		*fg_ring_address(&f->umem.fill, fill + i) =
			frames[i].address & ~(uint64_t)(FG_FRAME_BYTES - 1);
	if (step < 2)
		return;
	shared->journal.fill_before = fill;
	shared->journal.count = 4;
	shared->journal.completion_after = f->indices[1][0];
	shared->journal.busy = 1;
	for (uint32_t i = 0; step >= 3 && i < marked; i++)
		fg_umem_mark(&f->umem, frames[i].address, FG_FRAME_KERNEL);
	if (step >= 4)
		f->indices[0][0] += 4;
	if (step >= 5)
		f->indices[1][1] = shared->journal.completion_after;
	if (step >= 6)
		shared->journal.busy = 0;
}

static void death_while_moving(void **state)
{
	struct fixture *f = *state;

	for (int step = 1; step <= 6; step++) {
		for (uint32_t marked = step == 3 ? 0 : 4; marked <= 4; marked++) {
			die_moving(f, step, marked);
			fg_xsk_reclaim(&f->xsk);
			assert_int_equal(f->umem.shared->lock, 0);
			assert_int_equal(f->umem.shared->journal.busy, 0);
			assert_all_home(f);
		}
	}
}

/* ---- hostile words ---- */

static uint64_t elapsed_ns(struct timespec since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)(now.tv_sec - since.tv_sec) * 1000000000 + now.tv_nsec - since.tv_nsec;
}

/* Each word of the shared memory that a worker can write, with values that no honest one writes:
 * whoever cleans up behind it is done in a moment, and the area's bounds hold. */
static void broken_words_stall_nobody(void **state)
{
	static const uint32_t values[] = {0, 1, FRAMES + 1, 1u << 31, UINT32_MAX - 1, UINT32_MAX};
	struct fixture *f = *state;
	struct fg_umem_shared *shared = f->umem.shared;
	_Atomic uint32_t *words[] = {
		f->umem.fill.producer,
		f->umem.fill.consumer,
		f->umem.completion.producer,
		f->umem.completion.consumer,
		f->xsk.rx.producer,
		f->xsk.rx.consumer,
		f->xsk.tx.producer,
		f->xsk.tx.consumer,
		&shared->sending[SLOT],
		&shared->journal.busy,
		(_Atomic uint32_t *)&shared->journal.fill_before,
		(_Atomic uint32_t *)&shared->journal.count,
		(_Atomic uint32_t *)&shared->journal.completion_after,
	};
	uint32_t indices[4][2];
	struct timespec since;

	memcpy(indices, f->indices, sizeof(indices));
	for (size_t word = 0; word < sizeof(words) / sizeof(words[0]); word++)
		for (size_t value = 0; value < sizeof(values) / sizeof(values[0]); value++) {
			memcpy(f->indices, indices, sizeof(indices));
			memset(shared, 0, sizeof(*shared) + FRAMES);
			shared->sending[SLOT] = f->indices[3][0];
			shared->lock = SLOT + 1;
			shared->journal.busy = 1;
			*words[word] = values[value];
			clock_gettime(CLOCK_MONOTONIC, &since);
			fg_xsk_reclaim(&f->xsk);
			if (elapsed_ns(since) > 500000000)
				fail_msg("word %zu = %#x takes %llu ms", word, values[value],
					 (unsigned long long)elapsed_ns(since) / 1000000);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_frame_goes_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_waits_for_the_lock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_tx_ring_gives_frames_back, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(death_while_receiving, set_up, tear_down),
		cmocka_unit_test_setup_teardown(death_while_sending, set_up, tear_down),
		cmocka_unit_test_setup_teardown(death_while_moving, set_up, tear_down),
		cmocka_unit_test_setup_teardown(broken_words_stall_nobody, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("umem", tests, NULL, NULL);
}
