/*
 * shadow.h: how a live worker leaves requests, with the answers it gave, for a shadow to run again.
 *
 * One ring of bytes for each slot: its worker writes, the one shadow worker reads all of them.
 * Nobody waits: where there is no room the writer skips, so a slow shadow costs a live worker
 * nothing but a copy of each record. Neither side believes what it finds: positions and lengths are
 * read once and bounded.
 *
 * Made by the keeper before the first fork. Rings that are not used cost no memory.
 */
#ifndef FG_SHARED_SHADOW_H
#define FG_SHARED_SHADOW_H

#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"

#define FG_SHADOW_RING_BYTES   (1u << 20)
#define FG_SHADOW_RECORD_BYTES (FG_SHADOW_RING_BYTES / 4)		/* the largest record */
#define FG_SHADOW_MAX_FLOATS   (FG_SHADOW_RECORD_BYTES / sizeof(float)) /* more than it can hold */

/* In front of (rows, in_cols) inputs and (rows, out_cols) outputs, f32; none of the three is 0. */
struct fg_shadow_record {
	uint32_t bytes; /* of the record, a multiple of 8 */
	uint32_t epoch;
	uint32_t rows, in_cols, out_cols;
	uint32_t compute_ns; /* of the batch, divided by its rows and times these rows */
};

struct fg_shadow_ring {
	_Atomic uint64_t written __attribute__((aligned(64))); /* bytes ever; the slot's worker's */
	_Atomic uint64_t read __attribute__((aligned(64)));    /* bytes ever; the shadow's */
	uint8_t bytes[FG_SHADOW_RING_BYTES] __attribute__((aligned(4096)));
};

struct fg_shadow_area {
	struct fg_shadow_ring rings[FG_MAX_SLOTS];
};

/* Maps a fresh area, shared with all children. NULL: no memory. */
struct fg_shadow_area *fg_shadow_map(void);
void fg_shadow_unmap(struct fg_shadow_area *area);
/* For a worker: unmaps all but the ring of `slot`. */
void fg_shadow_keep(struct fg_shadow_area *area, uint16_t slot);

/* Writer: leaves a record (record->bytes is not looked at). False: there was no room, or it is
 * larger than FG_SHADOW_RECORD_BYTES. */
bool fg_shadow_put(struct fg_shadow_ring *ring, const struct fg_shadow_record *record,
		   const float *in, const float *out);

/*
 * Reader: the oldest record: copies its head and rows to *record, in (in_count floats of room) and
 * out (out_count). 1: there was one; 0: none; -EPROTO: the ring holds nonsense, or the record does
 * not fit: it was emptied.
 */
int fg_shadow_take(struct fg_shadow_ring *ring, struct fg_shadow_record *record, float *in,
		   uint32_t in_count, float *out, uint32_t out_count);

/* Reader: throws away what is there, and gives the ring's memory back to the kernel. */
void fg_shadow_release(struct fg_shadow_ring *ring);

#endif
