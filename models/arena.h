/*
 * arena.h: memory that is given back all at once.
 *
 * Reading and compiling a model makes thousands of small pieces that die together. The owner of
 * the arena frees them with one call; nothing inside an arena is freed by itself.
 */
#ifndef FG_MODELS_ARENA_H
#define FG_MODELS_ARENA_H

#include <stddef.h>

struct fg_arena {
	struct fg_arena_chunk *chunks; /* NULL: empty; an all-zero arena is ready for use */
};

/* `count` elements of `size` bytes, zeroed, 64-byte aligned. NULL: no memory, or count * size
 * overflows. A count of 0 gives a valid pointer. */
void *fg_arena_alloc(struct fg_arena *arena, size_t count, size_t size);

/* Moves all that `from` holds to `arena`; `from` is empty afterwards. */
void fg_arena_join(struct fg_arena *arena, struct fg_arena *from);

/* Frees everything; the arena is empty and may be used again. */
void fg_arena_free(struct fg_arena *arena);

#endif
