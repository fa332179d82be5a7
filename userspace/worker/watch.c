#include "userspace/worker/watch.h"

#include <string.h>
#include "userspace/shared/stats.h"

/* Who reads the epoch, then the rest, then the same epoch again has read what is of that epoch. */
static void begin_epoch(struct fg_state_seen *seen, uint32_t epoch)
{
	atomic_store_explicit(&seen->epoch, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memset(seen, 0, sizeof(*seen));
	atomic_store_explicit(&seen->epoch, epoch, memory_order_release);
}

void fg_watch_open(struct fg_watch *watch, struct fg_state_slot *slot, struct fg_shadow_ring *ring)
{
	*watch = (struct fg_watch){.told = &slot->watch, .seen = &slot->seen, .ring = ring};
	begin_epoch(watch->seen, 0);
}

bool fg_watch_change(struct fg_watch *watch)
{
	uint64_t word = atomic_load_explicit(watch->told, memory_order_relaxed);
	uint32_t epoch = (uint16_t)(word >> 32);

	watch->word = word;
	watch->model = (uint32_t)word;
	watch->share = (uint16_t)(word >> 48);
	if (watch->model && epoch != watch->epoch) {
		begin_epoch(watch->seen, epoch);
		watch->epoch = epoch;
	}
	return true;
}

/*
 * Fractions of n * golden ratio are spread as evenly as can be, also those of every k-th n: clients
 * that send by turns have no request that is always, or never, taken.
 */
static bool is_shadowed(struct fg_watch *watch)
{
	watch->dice += 0x9e3779b9;
	return ((uint64_t)watch->dice * FG_CANARY_WHOLE) >> 32 < watch->share;
}

static void leave_for_shadow(struct fg_watch *watch, const struct fg_watch_answer *answer)
{
	const struct fg_shadow_record record = {
		.epoch = watch->epoch,
		.rows = answer->rows,
		.in_cols = answer->in_cols,
		.out_cols = answer->out_cols,
		.compute_ns = answer->compute_ns,
	};

	if (!fg_shadow_put(watch->ring, &record, answer->in, answer->out))
		fg_stats_add(&watch->seen->skipped, 1);
}

/* What is no number has all bits of the exponent set: one more there carries into the sign's bit.
 */
static uint32_t carry(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return (bits & 0x7fffffff) + 0x00800000;
}

bool fg_watch_finite(const float *values, uint32_t count)
{
	uint32_t lanes[8] = {0}, bad = 0, i, lane; /* lanes: so that compilers use vectors */

	for (i = 0; i + 8 <= count; i += 8)
		for (lane = 0; lane < 8; lane++)
			lanes[lane] |= carry(values[i + lane]);
	for (; i < count; i++)
		bad |= carry(values[i]);
	for (lane = 0; lane < 8; lane++)
		bad |= lanes[lane];
	return !(bad >> 31);
}

void fg_watch_count(struct fg_state_seen *seen, const float *out, uint32_t rows, uint32_t cols,
		    uint64_t duration_ns)
{
	uint32_t scores = cols < FG_SEEN_SCORES ? cols : FG_SEEN_SCORES;

	fg_stats_add(&seen->requests, 1);
	fg_distribution_add(&seen->latency_ns, (float)duration_ns);
	for (uint32_t row = 0; row < rows; row++, out += cols)
		for (uint32_t i = 0; i < scores; i++)
			fg_distribution_add(&seen->scores[i], out[i]);
}

void fg_watch_answer(struct fg_watch *watch, const struct fg_watch_answer *answer)
{
	if (!fg_watch_finite(answer->out, answer->rows * answer->out_cols)) {
		if (fg_watch_finite(answer->in, answer->rows * answer->in_cols))
			fg_watch_error(watch);
		return;
	}
	fg_watch_count(watch->seen, answer->out, answer->rows, answer->out_cols,
		       answer->latency_ns);
	if (watch->share && watch->ring && is_shadowed(watch))
		leave_for_shadow(watch, answer);
}

void fg_watch_error(struct fg_watch *watch)
{
	fg_stats_add(&watch->seen->errors, 1);
}
