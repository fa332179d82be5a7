/* The flow hash: SipHash-1-3, and what whoever sees where flows go can make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <xxhash.h>
#include "bpf/abi.h"
#include "bpf/siphash.h"
#include "tests/siphash_reference.h"

static const __u64 paper_key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

/* Appendix A of the paper: SipHash-2-4 of the bytes 00 .. 0e under the key 00 .. 0f. */
static void the_reference_is_siphash(void **state)
{
	uint8_t bytes[15];

	(void)state;
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	assert_true(siphash_reference(bytes, sizeof(bytes), paper_key, 2, 4) == 0xa129ca6149be45e5);
}

static void words_are_hashed_as_bytes_are(void **state)
{
	__u64 words[5], key[2] = {1, 2};

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		for (uint64_t k = 0; k < 5; k++)
			words[k] = XXH64(&i, sizeof(i), k);
		key[0] = words[0] * 3;
		key[1] ^= words[1];
		assert_true(fg_siphash(words, 2, key) == siphash_reference(words, 16, key, 1, 3));
		assert_true(fg_siphash(words, 5, key) == siphash_reference(words, 40, key, 1, 3));
	}
}

/* ---- an attack ---- */

#define KEYS	300 /* that the attacker asks during a canary */
#define GUESSES 400 /* further ones that it wants to foretell */
#define SEEDS	(1u << 14)

/* Of the real seed all but so many bits are known here, or the test would take minutes: the attack
 * is linear in them. What is tried is the same for both hashes. */
static uint64_t weak(uint64_t key, uint64_t seed)
{
	const struct fg_flow_affinity flow = {.key = key, .kind = FG_FLOW_AFFINITY};

	return XXH64(&flow, sizeof(flow), seed);
}

static uint64_t strong(uint64_t key, uint64_t seed)
{
	const __u64 words[2] = {key, (uint64_t)FG_FLOW_AFFINITY << 32};
	const __u64 secret[2] = {seed, 0x243f6a8885a308d3};

	return fg_siphash(words, 2, secret);
}

/* A quarter of the positions is the canary's. */
static bool meets_canary(uint64_t hash)
{
	return (uint32_t)hash < UINT32_MAX / 4;
}

/* Tries each seed with the weak hash; returns how many further keys the one that explains all
 * answers foretells, of those that meet the canary and those that do not; -1: none explains them.
 */
static int attack(uint64_t (*hash)(uint64_t, uint64_t), uint64_t seed)
{
	uint32_t guess, key;
	int right = 0;

	for (guess = 0; guess < SEEDS; guess++) {
		for (key = 0; key < KEYS; key++)
			if (meets_canary(weak(key, guess)) != meets_canary(hash(key, seed)))
				break;
		if (key == KEYS)
			break;
	}
	if (guess == SEEDS)
		return -1;
	for (key = KEYS; key < KEYS + GUESSES; key++)
		right += meets_canary(weak(key, guess)) == meets_canary(hash(key, seed));
	return right;
}

static void answers_give_no_seed_away(void **state)
{
	(void)state;
	assert_int_equal(attack(weak, 12345), GUESSES); /* the attack is one */
	for (uint64_t seed = 0; seed < 8; seed++)
		assert_int_equal(attack(strong, seed * 1777), -1);
}

/* All that differs between two keys is one bit: nothing of that shows in where they go. */
static void each_bit_of_the_key_counts(void **state)
{
	const __u64 words[2] = {5, (uint64_t)FG_FLOW_AFFINITY << 32};
	uint64_t same = fg_siphash(words, 2, paper_key);
	uint32_t flipped = 0;

	(void)state;
	for (int bit = 0; bit < 128; bit++) {
		__u64 key[2] = {paper_key[0], paper_key[1]};

		key[bit / 64] ^= 1ull << bit % 64;
		flipped += (uint32_t)__builtin_popcountll(fg_siphash(words, 2, key) ^ same);
	}
	assert_in_range(flipped, 128 * 32 - 256, 128 * 32 + 256); /* five standard deviations */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reference_is_siphash),
		cmocka_unit_test(words_are_hashed_as_bytes_are),
		cmocka_unit_test(answers_give_no_seed_away),
		cmocka_unit_test(each_bit_of_the_key_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
