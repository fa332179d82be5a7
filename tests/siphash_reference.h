/* siphash_reference.h: SipHash-c-d byte by byte, as the paper describes it ("SipHash: a fast
 * short-input PRF", section 2), to hold bpf/siphash.h to. */
#ifndef FG_TESTS_SIPHASH_REFERENCE_H
#define FG_TESTS_SIPHASH_REFERENCE_H

#include <linux/types.h>
#include <stddef.h>

#include <stdint.h>
#include <string.h>

static inline void siphash_reference_rounds(uint64_t v[4], int rounds)
{
#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
	while (rounds--) {
		v[0] += v[1];
		v[1] = ROTL(v[1], 13);
		v[1] ^= v[0];
		v[0] = ROTL(v[0], 32);
		v[2] += v[3];
		v[3] = ROTL(v[3], 16);
		v[3] ^= v[2];
		v[0] += v[3];
		v[3] = ROTL(v[3], 21);
		v[3] ^= v[0];
		v[2] += v[1];
		v[1] = ROTL(v[1], 17);
		v[1] ^= v[2];
		v[2] = ROTL(v[2], 32);
	}
#undef ROTL
}

static inline uint64_t siphash_reference(const void *bytes, size_t length, const __u64 key[2],
					 int c, int d)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
			 key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};

	for (size_t at = 0; at <= length; at += 8) {
		uint64_t word = 0;

		memcpy(&word, (const char *)bytes + at, length - at < 8 ? length - at : 8);
		if (length - at < 8)
			word |= (uint64_t)length << 56;
		v[3] ^= word;
		siphash_reference_rounds(v, c);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	siphash_reference_rounds(v, d);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
