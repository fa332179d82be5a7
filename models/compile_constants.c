#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "models/compile_constants.h"
#include "models/pack.h"

int fg_constants_begin(struct fg_constants *constants, struct fg_arena *arena, size_t capacity,
		       uint64_t begin)
{
	*constants = (struct fg_constants){.capacity = (uint32_t)capacity, .end = begin};
	constants->at = fg_arena_alloc(arena, capacity, sizeof(*constants->at));
	return constants->at ? 0 : -ENOMEM;
}

static bool is_same(const struct fg_constant *a, const struct fg_constant *b)
{
	return a->hash == b->hash && a->source_bytes == b->source_bytes && a->bytes == b->bytes &&
	       a->is_packed == b->is_packed && a->format == b->format && a->in_cols == b->in_cols &&
	       a->out_cols == b->out_cols && memcmp(a->source, b->source, a->source_bytes) == 0;
}

uint64_t fg_constants_add(struct fg_constants *constants, struct fg_constant constant)
{
	constant.hash = XXH3_64bits(constant.source, constant.source_bytes);
	for (uint32_t i = 0; i < constants->count; i++)
		if (is_same(&constants->at[i], &constant))
			return constants->at[i].offset;
	constant.offset = constants->end;
	constants->end += (constant.bytes + FG_PLAN_ALIGN - 1) / FG_PLAN_ALIGN * FG_PLAN_ALIGN;
	constants->at[constants->count++] = constant;
	return constant.offset;
}

int fg_constants_write(const struct fg_constants *constants, char *bytes)
{
	int result = 0;

	for (uint32_t i = 0; i < constants->count && !result; i++) {
		const struct fg_constant *constant = &constants->at[i];

		if (constant->is_packed)
			result = fg_pack_weights(constant->format, constant->source,
						 constant->in_cols, constant->out_cols,
						 bytes + constant->offset);
		else
			memcpy(bytes + constant->offset, constant->source, constant->source_bytes);
	}
	return result;
}
