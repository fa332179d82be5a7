/*
 * xxh64.h: XXH64 over whole 64-bit words, for BPF (xxhash spec, "XXH64 algorithm description").
 *
 * Equal to libxxhash's XXH64 over the same bytes on a little-endian host. Only the two lengths that
 * abi.h hashes are here: 2 words (16 bytes) and 5 words (40 bytes). No memory is touched beyond
 * the words, so the compiler keeps it all in registers.
 */
#ifndef FG_BPF_XXH64_H
#define FG_BPF_XXH64_H

#include <linux/types.h>

#define FG_XXH64_P1	0x9E3779B185EBCA87ULL
#define FG_XXH64_P2	0xC2B2AE3D27D4EB4FULL
#define FG_XXH64_P3	0x165667B19E3779F9ULL
#define FG_XXH64_P4	0x85EBCA77C2B2AE63ULL
#define FG_XXH64_P5	0x27D4EB2F165667C5ULL

#define FG_XXH64_INLINE static inline __attribute__((always_inline))

FG_XXH64_INLINE __u64 fg_xxh64_rotl(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

FG_XXH64_INLINE __u64 fg_xxh64_round(__u64 lane, __u64 word)
{
	return fg_xxh64_rotl(lane + word * FG_XXH64_P2, 31) * FG_XXH64_P1;
}

FG_XXH64_INLINE __u64 fg_xxh64_merge(__u64 hash, __u64 lane)
{
	return (hash ^ fg_xxh64_round(0, lane)) * FG_XXH64_P1 + FG_XXH64_P4;
}

FG_XXH64_INLINE __u64 fg_xxh64_tail(__u64 hash, __u64 word)
{
	return fg_xxh64_rotl(hash ^ fg_xxh64_round(0, word), 27) * FG_XXH64_P1 + FG_XXH64_P4;
}

FG_XXH64_INLINE __u64 fg_xxh64_avalanche(__u64 hash)
{
	hash = (hash ^ hash >> 33) * FG_XXH64_P2;
	hash = (hash ^ hash >> 29) * FG_XXH64_P3;
	return hash ^ hash >> 32;
}

/* XXH64 of the 16 bytes a, b. */
FG_XXH64_INLINE __u64 fg_xxh64_16(__u64 a, __u64 b, __u64 seed)
{
	return fg_xxh64_avalanche(fg_xxh64_tail(fg_xxh64_tail(seed + FG_XXH64_P5 + 16, a), b));
}

/* XXH64 of the 40 bytes at `words`, (5). */
FG_XXH64_INLINE __u64 fg_xxh64_40(const __u64 *words, __u64 seed)
{
	__u64 v1 = fg_xxh64_round(seed + FG_XXH64_P1 + FG_XXH64_P2, words[0]);
	__u64 v2 = fg_xxh64_round(seed + FG_XXH64_P2, words[1]);
	__u64 v3 = fg_xxh64_round(seed, words[2]);
	__u64 v4 = fg_xxh64_round(seed - FG_XXH64_P1, words[3]);
	__u64 hash = fg_xxh64_rotl(v1, 1) + fg_xxh64_rotl(v2, 7) + fg_xxh64_rotl(v3, 12) +
		     fg_xxh64_rotl(v4, 18);

	hash = fg_xxh64_merge(hash, v1);
	hash = fg_xxh64_merge(hash, v2);
	hash = fg_xxh64_merge(hash, v3);
	hash = fg_xxh64_merge(hash, v4);
	return fg_xxh64_avalanche(fg_xxh64_tail(hash + 40, words[4]));
}

#endif
