#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "models/arena.h"

#define ALIGN	    64
#define CHUNK_BYTES (64 * 1024)

struct fg_arena_chunk {
	struct fg_arena_chunk *next;
	size_t used; /* of size, behind the header */
	size_t size;
	char pad[ALIGN - 3 * sizeof(size_t)];
	char bytes[];
};

_Static_assert(sizeof(struct fg_arena_chunk) == ALIGN, "bytes[] must stay aligned");

static struct fg_arena_chunk *add_chunk(struct fg_arena *arena, size_t need)
{
	size_t size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
	struct fg_arena_chunk *chunk;

	if (size > SIZE_MAX / 2)
		return NULL;
	chunk = aligned_alloc(ALIGN, sizeof(*chunk) + size);
	if (!chunk)
		return NULL;
	chunk->used = 0;
	chunk->size = size;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return chunk;
}

void *fg_arena_alloc(struct fg_arena *arena, size_t count, size_t size)
{
	struct fg_arena_chunk *chunk = arena->chunks;
	size_t need;
	void *at;

	if (__builtin_mul_overflow(count, size, &need) || need > SIZE_MAX - ALIGN)
		return NULL;
	need = (need + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (!chunk || chunk->size - chunk->used < need)
		chunk = add_chunk(arena, need);
	if (!chunk)
		return NULL;
	at = chunk->bytes + chunk->used;
	chunk->used += need;
	return memset(at, 0, need);
}

void fg_arena_join(struct fg_arena *arena, struct fg_arena *from)
{
	struct fg_arena_chunk **end = &arena->chunks;

	while (*end)
		end = &(*end)->next;
	*end = from->chunks;
	from->chunks = NULL;
}

void fg_arena_free(struct fg_arena *arena)
{
	struct fg_arena_chunk *chunk = arena->chunks;

	while (chunk) {
		struct fg_arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	arena->chunks = NULL;
}
