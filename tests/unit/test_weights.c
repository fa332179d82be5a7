/* models/pack.h: where every weight stands in a packed block, as its numbers say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "models/pack.h"

struct packed {
	size_t bytes;
	void *at;
};

/* Packs weights (in_cols, out_cols) into memory that was full of ones. */
static struct packed pack(enum fg_weights format, const float *weights, uint32_t in_cols,
			  uint32_t out_cols)
{
	struct packed packed = {.bytes = fg_pack_bytes(format, in_cols, out_cols)};

	assert_int_equal(packed.bytes % 64, 0);
	packed.at = aligned_alloc(64, packed.bytes);
	memset(packed.at, 0xff, packed.bytes);
	assert_int_equal(fg_pack_weights(format, weights, in_cols, out_cols, packed.at), 0);
	return packed;
}

/* Weight (row, col) is row * 64 + col + 1: exact in f32. */
static float *numbered(uint32_t in_cols, uint32_t out_cols)
{
	float *weights = malloc((size_t)in_cols * out_cols * sizeof(float));

	for (uint32_t i = 0; i < in_cols * out_cols; i++)
		weights[i] = (float)(i / out_cols * 64 + i % out_cols + 1);
	return weights;
}

static void f32_panels(void **state)
{
	float *weights = numbered(3, 20);
	struct packed packed = pack(FG_WEIGHTS_F32, weights, 3, 20);
	const float *at = packed.at;

	(void)state;
	assert_int_equal(packed.bytes, 2 * 3 * 16 * sizeof(float));
	for (uint32_t i = 0; i < 2 * 3 * 16; i++) {
		uint32_t row = i / 16 % 3, col = i / 48 * 16 + i % 16;

		assert_true(at[i] == (col < 20 ? weights[row * 20 + col] : 0));
	}
	free(packed.at);
	free(weights);
}

static void f32_columns(void **state)
{
	float *weights = numbered(17, 4);
	struct packed packed = pack(FG_WEIGHTS_F32, weights, 17, 4);
	const float *at = packed.at;

	(void)state;
	assert_int_equal(packed.bytes, 4 * 32 * sizeof(float));
	for (uint32_t i = 0; i < 4 * 32; i++)
		assert_true(at[i] == (i % 32 < 17 ? weights[i % 32 * 4 + i / 32] : 0));
	free(packed.at);
	free(weights);
}

static uint32_t bits(float value)
{
	uint32_t pattern;

	memcpy(&pattern, &value, sizeof(pattern));
	return pattern;
}

static void bf16_panels(void **state)
{
	const float weights[3 * 5] = {1, 2, 3, 4, 5, -1, -2, -3, -4, -5, 0.5f, 0.25f, 7, 8, 9};
	struct packed packed = pack(FG_WEIGHTS_BF16, weights, 3, 5);
	const uint32_t *words = packed.at;

	(void)state;
	assert_int_equal(packed.bytes, 2 * 16 * sizeof(uint32_t));
	for (uint32_t col = 0; col < 16; col++) {
		uint32_t first = col < 5 ? bits(weights[col]) >> 16 | bits(weights[5 + col]) : 0;
		uint32_t second = col < 5 ? bits(weights[10 + col]) >> 16 : 0;

		assert_int_equal(words[col], first);
		assert_int_equal(words[16 + col], second);
	}
	free(packed.at);
}

static void bf16_columns(void **state)
{
	float weights[49 * 2];
	struct packed packed;
	const uint32_t *words;

	(void)state;
	for (uint32_t i = 0; i < 49 * 2; i++)
		weights[i] = (float)i + 1; /* up to 98: exact in 8 bits */
	packed = pack(FG_WEIGHTS_BF16, weights, 49, 2);
	words = packed.at;
	assert_int_equal(packed.bytes, 2 * 2 * 16 * sizeof(uint32_t));
	for (uint32_t i = 0; i < 2 * 2 * 16; i++) {
		uint32_t low = i / 16 % 2 * 32 + i % 16, high = low + 16, col = i / 32;
		uint32_t wanted = low < 49 ? bits(weights[low * 2 + col]) >> 16 : 0;

		wanted |= high < 49 ? bits(weights[high * 2 + col]) : 0;
		assert_int_equal(words[i], wanted);
	}
	free(packed.at);
}

/* To nearest, ties to even; overflow is infinity; NaN stays NaN, also one whose bits are all in
 * the half that goes. */
static void bf16_rounds(void **state)
{
	static const uint32_t cases[][2] = {
		{0x3f800000, 0x3f80}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80},
		{0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0xbf818000, 0xbf82},
		{0x3fffffff, 0x4000}, {0x7f7fffff, 0x7f80}, {0xff7fffff, 0xff80},
		{0x7f800000, 0x7f80}, {0x00000000, 0x0000}, {0x80000000, 0x8000},
		{0x00008001, 0x0001}, {0x7f800001, 0x7fc0}, {0x7fffffff, 0x7fff},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct packed packed;
		float weight;

		memcpy(&weight, &cases[i][0], sizeof(weight));
		packed = pack(FG_WEIGHTS_BF16, &weight, 1, 1);
		assert_int_equal(*(uint32_t *)packed.at, cases[i][1]);
		free(packed.at);
	}
}

static void int8_panels(void **state)
{
	/* Columns: largest 254 (scale 2), 127 (scale 1), all zero, ties to even, negative, 6th. */
	const float weights[5 * 6] = {254, 127,	  0, 127, -3, 1,    -254, -1, 0,    2.5f,
				      2,   1,	  3, 7,	  0,  3.5f, 1,	  1,  1,    63.4f,
				      0,   -2.5f, 0, 1,	  64, 0,    0,	  0,  1.5f, 1};
	static const int8_t first[4][4] = {{127, -127, 2, 0},
					   {127, -1, 7, 63},
					   {0, 0, 0, 0},
					   {127, 2, 4, -2}};
	struct packed packed = pack(FG_WEIGHTS_INT8, weights, 5, 6);
	const int8_t *at = packed.at;
	const float *scales = (const float *)(at + 2 * 16 * 4);
	const int32_t *sums = (const int32_t *)(scales + 16);

	(void)state;
	assert_int_equal(packed.bytes, 2 * 16 * 4 + 16 * 4 + 16 * 4);
	for (uint32_t col = 0; col < 4; col++)
		assert_memory_equal(at + 4 * col, first[col], 4);
	assert_memory_equal(at + 64, ((int8_t[4]){32, 0, 0, 0}), 4);
	assert_true(scales[0] == 2 && scales[1] == 1 && scales[2] == 0 && scales[3] == 1);
	assert_true(scales[4] == 3.0f / 127 && scales[5] == 1.0f / 127 && scales[6] == 0);
	assert_int_equal(sums[0], 127 - 127 + 2 + 0 + 32);
	assert_int_equal(sums[1], 127 - 1 + 7 + 63);
	assert_int_equal(sums[2], 0);
	assert_int_equal(sums[5], 5 * 127);
	assert_int_equal(sums[15], 0);
	free(packed.at);
}

static void int8_columns(void **state)
{
	float weights[70 * 3];
	struct packed packed;
	const int8_t *at;

	(void)state;
	for (int i = 0; i < 70 * 3; i++)
		weights[i] = (float)(i / 3 - 6); /* -6 .. 63; with 127 below, scale 1 */
	weights[69 * 3] = weights[69 * 3 + 1] = weights[69 * 3 + 2] = -127;
	packed = pack(FG_WEIGHTS_INT8, weights, 70, 3);
	at = packed.at;
	assert_int_equal(packed.bytes, 3 * 128 + 16 * 4 + 16 * 4);
	for (int i = 0; i < 3 * 128; i++) {
		int row = i % 128;

		assert_int_equal(at[i], row < 69 ? row - 6 : row == 69 ? -127 : 0);
	}
	assert_true(((const float *)(at + 3 * 128))[2] == 1.0f);
	free(packed.at);
}

static void int8_refuses(void **state)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY};
	const uint32_t rows = FG_PACK_INT8_MAX_COLS + 1;
	float *many = calloc(rows, sizeof(float));
	char to[256];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		float weights[4] = {1, 2, bad[i], 3};

		assert_int_equal(fg_pack_weights(FG_WEIGHTS_INT8, weights, 2, 2, to), -EINVAL);
	}
	assert_int_equal(fg_pack_weights(FG_WEIGHTS_INT8, many, rows, 1, to), -EINVAL);
	free(many);
}

static void scratch(void **state)
{
	(void)state;
	for (uint32_t cols = 1; cols < 200; cols++)
		for (uint32_t rows = 1; rows < 5; rows++) {
			size_t bytes = fg_pack_scratch_bytes(cols, rows);

			assert_true(bytes % 64 == 0 && bytes >= (size_t)rows * (cols + 8));
			assert_true(bytes == rows * fg_pack_scratch_bytes(cols, 1));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(f32_panels),	cmocka_unit_test(f32_columns),
		cmocka_unit_test(bf16_panels),	cmocka_unit_test(bf16_columns),
		cmocka_unit_test(bf16_rounds),	cmocka_unit_test(int8_panels),
		cmocka_unit_test(int8_columns), cmocka_unit_test(int8_refuses),
		cmocka_unit_test(scratch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
