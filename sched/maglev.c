#include "sched/maglev.h"

/* A full-period mixer (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
 */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* A slot's walk over all positions: start + i * skip, mod a prime, meets each of them once. */
struct walk {
	uint16_t slot;
	uint16_t position; /* next to try */
	uint16_t skip;	   /* 1 .. FG_TABLE_PRIME - 1 */
};

static void walk_begin(struct walk *walk, uint32_t seed, uint16_t slot)
{
	uint64_t random = mix((uint64_t)seed << 32 | slot);

	walk->slot = slot;
	walk->position = (uint32_t)random % FG_TABLE_PRIME;
	walk->skip = 1 + (random >> 32) % (FG_TABLE_PRIME - 1);
}

static void walk_next(struct walk *walk)
{
	walk->position = (walk->position + walk->skip) % FG_TABLE_PRIME;
}

/* In order of slot, so that turns do not depend on the order of the caller's list. */
static void begin_sorted(struct walk *walks, uint32_t seed, const uint16_t *slots, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t at = i;

		for (; at > 0 && walks[at - 1].slot > slots[i]; at--)
			walks[at] = walks[at - 1];
		walk_begin(&walks[at], seed, slots[i]);
	}
}

void fg_maglev_build(struct fg_table *table, uint32_t serial, uint32_t seed, const uint16_t *slots,
		     size_t count)
{
	struct walk walks[FG_MAX_SLOTS];

	table->serial = serial;
	table->seed = seed;
	table->pad = 0;
	for (uint32_t position = 0; position < FG_TABLE_PRIME; position++)
		table->slot[position] = FG_SLOT_NONE;
	if (!count)
		return;
	begin_sorted(walks, seed, slots, count);
	/* In turn each slot takes the next position of its walk that is still free. */
	for (uint32_t filled = 0; filled < FG_TABLE_PRIME; filled++) {
		struct walk *walk = &walks[filled % count];

		while (table->slot[walk->position] != FG_SLOT_NONE)
			walk_next(walk);
		table->slot[walk->position] = walk->slot;
	}
}

/*
 * Every position's place in the queue to become canary: a permutation of 0 .. PRIME - 1. x -> x^11
 * is one because 11 and PRIME - 1 = 2 * 3^2 * 5 * 7 * 13 share no factor; unlike x -> a * x + b it
 * keeps no arithmetic progression, which is what each slot's walk is, so all slots give alike.
 */
static uint32_t canary_rank(uint32_t position, uint32_t seed)
{
	uint32_t x = (position + (uint32_t)(mix(seed) >> 34)) % FG_TABLE_PRIME;
	uint32_t x2 = x * x % FG_TABLE_PRIME, x4 = x2 * x2 % FG_TABLE_PRIME;
	uint32_t x8 = x4 * x4 % FG_TABLE_PRIME;

	return x8 * x2 % FG_TABLE_PRIME * x % FG_TABLE_PRIME;
}

uint32_t fg_maglev_share(uint32_t weight)
{
	return weight >= 10000 ? FG_TABLE_PRIME : (weight * FG_TABLE_PRIME + 5000) / 10000;
}

/* The first `taken` ranks: a larger weight adds positions and takes none back. */
void fg_maglev_mix(struct fg_table *table, const struct fg_table *stable,
		   const struct fg_table *canary, uint32_t weight)
{
	uint32_t taken = fg_maglev_share(weight);

	table->serial = stable->serial;
	table->seed = stable->seed;
	table->pad = 0;
	for (uint32_t position = 0; position < FG_TABLE_PRIME; position++) {
		uint16_t slot = canary->slot[position];

		if (slot == FG_SLOT_NONE || canary_rank(position, table->seed) >= taken)
			slot = stable->slot[position];
		table->slot[position] = slot;
	}
}
