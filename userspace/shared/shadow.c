#include "userspace/shared/shadow.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert((FG_SHADOW_RING_BYTES & (FG_SHADOW_RING_BYTES - 1)) == 0, "positions are masked");

struct fg_shadow_area *fg_shadow_map(void)
{
	void *map = mmap(NULL, sizeof(struct fg_shadow_area), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

void fg_shadow_unmap(struct fg_shadow_area *area)
{
	munmap(area, sizeof(*area));
}

void fg_shadow_keep(struct fg_shadow_area *area, uint16_t slot)
{
	uint8_t *own = (uint8_t *)&area->rings[slot], *end = (uint8_t *)(area + 1);
	uint8_t *after = own + sizeof(struct fg_shadow_ring);

	if (slot)
		munmap(area, own - (uint8_t *)area);
	if (end > after)
		munmap(after, end - after);
}

/* What the record takes of a ring; 0 for one that cannot be. */
static uint32_t bytes_of(const struct fg_shadow_record *record)
{
	uint64_t cols = (uint64_t)record->in_cols + record->out_cols, bytes;

	if (!record->rows || !record->in_cols || !record->out_cols ||
	    record->rows > FG_SHADOW_MAX_FLOATS || cols > FG_SHADOW_MAX_FLOATS)
		return 0;
	bytes = (sizeof(*record) + record->rows * cols * sizeof(float) + 7) & ~7ull;
	return bytes <= FG_SHADOW_RECORD_BYTES ? (uint32_t)bytes : 0;
}

/* Bytes from `position` on, up to the end of the ring. */
static size_t until_wrap(uint64_t position, size_t size)
{
	size_t left = FG_SHADOW_RING_BYTES - position % FG_SHADOW_RING_BYTES;

	return size < left ? size : left;
}

static uint64_t copy_in(struct fg_shadow_ring *ring, uint64_t position, const void *from,
			size_t size)
{
	size_t first = until_wrap(position, size);

	memcpy(ring->bytes + position % FG_SHADOW_RING_BYTES, from, first);
	memcpy(ring->bytes, (const uint8_t *)from + first, size - first);
	return position + size;
}

static uint64_t copy_out(const struct fg_shadow_ring *ring, uint64_t position, void *to,
			 size_t size)
{
	size_t first = until_wrap(position, size);

	memcpy(to, ring->bytes + position % FG_SHADOW_RING_BYTES, first);
	memcpy((uint8_t *)to + first, ring->bytes, size - first);
	return position + size;
}

bool fg_shadow_put(struct fg_shadow_ring *ring, const struct fg_shadow_record *record,
		   const float *in, const float *out)
{
	uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed), at;
	/* Acquire: the reader has read what is written over now. */
	uint64_t used = written - atomic_load_explicit(&ring->read, memory_order_acquire);
	struct fg_shadow_record head = *record;

	head.bytes = bytes_of(record);
	if (!head.bytes || used > FG_SHADOW_RING_BYTES || FG_SHADOW_RING_BYTES - used < head.bytes)
		return false;
	at = copy_in(ring, written, &head, sizeof(head));
	at = copy_in(ring, at, in, (size_t)head.rows * head.in_cols * sizeof(*in));
	copy_in(ring, at, out, (size_t)head.rows * head.out_cols * sizeof(*out));
	atomic_store_explicit(&ring->written, written + head.bytes, memory_order_release);
	return true;
}

/* Is this record whole, within `held` bytes, and is there room for its rows? */
static bool sane(const struct fg_shadow_record *record, uint64_t held, uint32_t in_count,
		 uint32_t out_count)
{
	uint32_t bytes = bytes_of(record);

	return bytes && record->bytes == bytes && bytes <= held &&
	       record->rows * record->in_cols <= in_count &&
	       record->rows * record->out_cols <= out_count;
}

int fg_shadow_take(struct fg_shadow_ring *ring, struct fg_shadow_record *record, float *in,
		   uint32_t in_count, float *out, uint32_t out_count)
{
	uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
	uint64_t read = atomic_load_explicit(&ring->read, memory_order_relaxed), at = read;
	uint64_t held = written - read;
	bool whole = held >= sizeof(*record) && held <= FG_SHADOW_RING_BYTES;

	if (!held)
		return 0;
	if (whole) {
		at = copy_out(ring, at, record, sizeof(*record));
		whole = sane(record, held, in_count, out_count);
	}
	if (!whole) {
		atomic_store_explicit(&ring->read, written, memory_order_release);
		return -EPROTO;
	}
	at = copy_out(ring, at, in, (size_t)record->rows * record->in_cols * sizeof(*in));
	copy_out(ring, at, out, (size_t)record->rows * record->out_cols * sizeof(*out));
	atomic_store_explicit(&ring->read, read + record->bytes, memory_order_release);
	return 1;
}

void fg_shadow_release(struct fg_shadow_ring *ring)
{
	atomic_store_explicit(&ring->read,
			      atomic_load_explicit(&ring->written, memory_order_acquire),
			      memory_order_release);
	madvise(ring->bytes, sizeof(ring->bytes), MADV_REMOVE);
}
