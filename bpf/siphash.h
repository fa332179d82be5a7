/*
 * siphash.h: SipHash-1-3 over whole 64-bit words, for BPF (Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF", 2012; one round a word and three at the end, as in the hash tables of Rust and
 * Python).
 *
 * Whoever does not know the key cannot tell, from the hashes of some flows, or from what they led
 * to, where another flow goes. Equal to SipHash-1-3 of the same bytes on a little-endian host. The
 * loops unroll, so the compiler keeps it all in registers.
 */
#ifndef FG_BPF_SIPHASH_H
#define FG_BPF_SIPHASH_H

#include <linux/types.h>

#define FG_SIPHASH_INLINE static inline __attribute__((always_inline))

struct fg_siphash {
	__u64 v0, v1, v2, v3;
};

FG_SIPHASH_INLINE __u64 fg_siphash_rotl(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

FG_SIPHASH_INLINE void fg_siphash_round(struct fg_siphash *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = fg_siphash_rotl(s->v1, 13) ^ s->v0;
	s->v3 = fg_siphash_rotl(s->v3, 16) ^ s->v2;
	s->v0 = fg_siphash_rotl(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = fg_siphash_rotl(s->v1, 17) ^ s->v2;
	s->v3 = fg_siphash_rotl(s->v3, 21) ^ s->v0;
	s->v2 = fg_siphash_rotl(s->v2, 32);
}

/* Of the 8 * count bytes at `words`, (count), count < 32 a constant, under the 128 bits at `key`,
 * (2). */
FG_SIPHASH_INLINE __u64 fg_siphash(const __u64 *words, __u32 count, const volatile __u64 *key)
{
	__u64 k0 = key[0], k1 = key[1], last = (__u64)count << 59; /* the length's low byte */
	struct fg_siphash s = {
		.v0 = k0 ^ 0x736f6d6570736575ULL,
		.v1 = k1 ^ 0x646f72616e646f6dULL,
		.v2 = k0 ^ 0x6c7967656e657261ULL,
		.v3 = k1 ^ 0x7465646279746573ULL,
	};

#pragma GCC unroll 32
	for (__u32 i = 0; i < count; i++) {
		s.v3 ^= words[i];
		fg_siphash_round(&s);
		s.v0 ^= words[i];
	}
	s.v3 ^= last;
	fg_siphash_round(&s);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	fg_siphash_round(&s);
	fg_siphash_round(&s);
	fg_siphash_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif
