/*
 * vec.h: the vector vocabulary of the kernels. One section per ISA; the same words in each.
 *
 *   fg_vec, fg_mask        FG_VEC_LANES floats; as many truth values
 *   FG_VEC_REGISTERS       how many vectors the CPU holds
 *   fg_vec_load(p)         any alignment
 *   fg_vec_load_n(p, n, f) the first n lanes (0 .. FG_VEC_LANES); reads no byte beyond them; the
 *                          other lanes are those of f
 *   fg_vec_store(p, v), fg_vec_store_n(p, v, n)
 *   fg_vec_one(p)          all lanes = *p, any alignment
 *   fg_vec_set(x)          all lanes = x
 *   fg_vec_hold(v)         v, in a register: the compiler does not load it again for every use
 *   fg_vec_index()         0, 1, 2, ...
 *   fg_vec_add, _sub, _mul, _div (a, b), fg_vec_sqrt(v)
 *   fg_vec_fma(a, b, c)    a * b + c, rounded once
 *   fg_vec_fnma(a, b, c)   c - a * b, rounded once
 *   fg_vec_max(a, b), fg_vec_min(a, b)  b where either is NaN or both are 0
 *   fg_vec_round(v)        to the nearest integer, ties to even
 *   fg_vec_floor, _ceil, _trunc (v)
 *   fg_vec_abs(v), fg_vec_copysign(v, sign)
 *   fg_vec_less, _less_equal, _equal (a, b)  a mask; false where either is NaN
 *   fg_mask_and, _or (a, b), fg_mask_not(m), fg_mask_any(m)
 *   fg_vec_pick(mask, yes, no)
 *   fg_vec_pow2(n)         2^n for integer-valued n in -126 .. 127; any other n: some value
 *   fg_vec_scale(v, n)     v * 2^n, rounded once, for |v| in 0.5 .. 2 and integer-valued n in
 *                          -200 .. 200; NaN where v is NaN; any other: some value
 *   fg_vec_exponent(v), fg_vec_mantissa(v)  e and m with v = m * 2^e, 1 <= m < 2, for finite
 *                          v >= 2^-126; any other v: some value
 *   fg_vec_hmax(v), fg_vec_hmin(v)  over lanes that are not NaN; any other: some value
 *   fg_vec_hsum(v)         in a fixed order
 *   fg_vec_bf16_low(v), fg_vec_bf16_high(v)  the bf16 in the low or the high half of each lane
 *
 * For 8-bit weights (models/pack.h):
 *
 *   fg_bytes               4 * FG_VEC_LANES bytes of inputs, each four in one of the lanes
 *   fg_bytes_load(p), fg_bytes_four(p)  so many, or the four at p in every lane; any alignment
 *   fg_bytes_store(p, v, zero)  4 * FG_VEC_LANES bytes min(round(v) + zero, 127), for v (4) of
 *                          lanes with |v| < 2^14, zero in 0 .. 127, round(v) + zero >= 0
 *   fg_bytes_weights(p)    4 * FG_VEC_LANES signed bytes; fg_bytes_hold(b) as fg_vec_hold
 *   fg_dots                FG_VEC_LANES sums of products, in FG_DOTS_REGISTERS registers
 *   fg_dots_zero(), fg_dots_sum(a, b)
 *   fg_dots_add(sum, x, w) lane i += x[4i] w[4i] + ... + x[4i + 3] w[4i + 3], for inputs x in
 *                          0 .. 127 and weights w in -127 .. 127
 *   fg_dots_float(sum, zero, sums)  lane i: sum - zero * sums[i], as a float
 *   fg_dots_hsum(sum)      over all lanes
 */
#ifndef FG_MODELS_VEC_H
#define FG_MODELS_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FG_WORD(type, name, params, value)                                                         \
	static inline type name params                                                             \
	{                                                                                          \
		return value;                                                                      \
	}

#if defined(FG_ISA_avx2) || defined(FG_ISA_avx512)

#include <immintrin.h>

/* Spelt out, so that the order does not depend on the compiler. */
#define FG_M256_FOLD(name, op)                                                                     \
	static inline float name(__m256 v)                                                         \
	{                                                                                          \
		__m128 m = op##_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));        \
                                                                                                   \
		m = op##_ps(m, _mm_movehl_ps(m, m));                                               \
		return _mm_cvtss_f32(op##_ss(m, _mm_movehdup_ps(m)));                              \
	}

FG_M256_FOLD(fg_m256_hmax, _mm_max)
FG_M256_FOLD(fg_m256_hmin, _mm_min)
FG_M256_FOLD(fg_m256_hsum, _mm_add)

static inline int32_t fg_m256i_hsum(__m256i v)
{
	__m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	m = _mm_add_epi32(m, _mm_unpackhi_epi64(m, m));
	return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 1)));
}

#endif

#if defined(FG_ISA_avx2)

#define FG_VEC_LANES	 8
#define FG_VEC_REGISTERS 16

typedef __m256 fg_vec;
typedef __m256 fg_mask;

static inline __m256i fg_vec_first(uint32_t n)
{
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

static inline fg_vec fg_vec_hold(fg_vec v)
{
	__asm__("" : "+x"(v));
	return v;
}

static inline fg_vec fg_vec_load_n(const float *p, uint32_t n, fg_vec fill)
{
	__m256i mask = fg_vec_first(n);

	return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}

static inline void fg_vec_store(float *p, fg_vec v)
{
	_mm256_storeu_ps(p, v);
}

static inline void fg_vec_store_n(float *p, fg_vec v, uint32_t n)
{
	_mm256_maskstore_ps(p, fg_vec_first(n), v);
}

FG_WORD(fg_vec, fg_vec_load, (const float *p), _mm256_loadu_ps(p))
FG_WORD(fg_vec, fg_vec_one, (const float *p), _mm256_broadcast_ss(p))
FG_WORD(fg_vec, fg_vec_set, (float x), _mm256_set1_ps(x))
FG_WORD(fg_vec, fg_vec_index, (void), _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7))
FG_WORD(fg_vec, fg_vec_add, (fg_vec a, fg_vec b), _mm256_add_ps(a, b))
FG_WORD(fg_vec, fg_vec_sub, (fg_vec a, fg_vec b), _mm256_sub_ps(a, b))
FG_WORD(fg_vec, fg_vec_mul, (fg_vec a, fg_vec b), _mm256_mul_ps(a, b))
FG_WORD(fg_vec, fg_vec_div, (fg_vec a, fg_vec b), _mm256_div_ps(a, b))
FG_WORD(fg_vec, fg_vec_sqrt, (fg_vec v), _mm256_sqrt_ps(v))
FG_WORD(fg_vec, fg_vec_fma, (fg_vec a, fg_vec b, fg_vec c), _mm256_fmadd_ps(a, b, c))
FG_WORD(fg_vec, fg_vec_fnma, (fg_vec a, fg_vec b, fg_vec c), _mm256_fnmadd_ps(a, b, c))
FG_WORD(fg_vec, fg_vec_max, (fg_vec a, fg_vec b), _mm256_max_ps(a, b))
FG_WORD(fg_vec, fg_vec_min, (fg_vec a, fg_vec b), _mm256_min_ps(a, b))
FG_WORD(fg_vec, fg_vec_round, (fg_vec v),
	_mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_floor, (fg_vec v),
	_mm256_round_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_ceil, (fg_vec v),
	_mm256_round_ps(v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_trunc, (fg_vec v),
	_mm256_round_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_abs, (fg_vec v), _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v))
FG_WORD(fg_vec, fg_vec_copysign, (fg_vec v, fg_vec sign),
	_mm256_or_ps(fg_vec_abs(v), _mm256_and_ps(_mm256_set1_ps(-0.0f), sign)))
FG_WORD(fg_mask, fg_vec_less, (fg_vec a, fg_vec b), _mm256_cmp_ps(a, b, _CMP_LT_OQ))
FG_WORD(fg_mask, fg_vec_less_equal, (fg_vec a, fg_vec b), _mm256_cmp_ps(a, b, _CMP_LE_OQ))
FG_WORD(fg_mask, fg_vec_equal, (fg_vec a, fg_vec b), _mm256_cmp_ps(a, b, _CMP_EQ_OQ))
FG_WORD(fg_mask, fg_mask_and, (fg_mask a, fg_mask b), _mm256_and_ps(a, b))
FG_WORD(fg_mask, fg_mask_or, (fg_mask a, fg_mask b), _mm256_or_ps(a, b))
FG_WORD(fg_mask, fg_mask_not, (fg_mask m),
	_mm256_xor_ps(m, _mm256_castsi256_ps(_mm256_set1_epi32(-1))))
FG_WORD(bool, fg_mask_any, (fg_mask m), _mm256_movemask_ps(m) != 0)
FG_WORD(fg_vec, fg_vec_pick, (fg_mask m, fg_vec yes, fg_vec no), _mm256_blendv_ps(no, yes, m))

/* The sum's last bits are n + 127. */
static inline fg_vec fg_vec_pow2(fg_vec n)
{
	fg_vec biased = _mm256_add_ps(n, _mm256_set1_ps(0x1.8p23f + 127));

	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(biased), 23));
}

static inline fg_vec fg_vec_exponent(fg_vec v)
{
	__m256i biased = _mm256_srli_epi32(_mm256_castps_si256(v), 23);

	return _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)));
}

static inline fg_vec fg_vec_mantissa(fg_vec v)
{
	fg_vec fraction = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffff));

	return _mm256_or_ps(_mm256_and_ps(v, fraction), _mm256_set1_ps(1.0f));
}

static inline fg_vec fg_vec_scale(fg_vec v, fg_vec n)
{
	fg_vec half = fg_vec_round(fg_vec_mul(n, fg_vec_set(0.5f)));

	return fg_vec_mul(fg_vec_mul(v, fg_vec_pow2(half)), fg_vec_pow2(fg_vec_sub(n, half)));
}

FG_WORD(fg_vec, fg_vec_bf16_low, (fg_vec v),
	_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16)))
FG_WORD(fg_vec, fg_vec_bf16_high, (fg_vec v),
	_mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000u))))
FG_WORD(float, fg_vec_hmax, (fg_vec v), fg_m256_hmax(v))
FG_WORD(float, fg_vec_hmin, (fg_vec v), fg_m256_hmin(v))
FG_WORD(float, fg_vec_hsum, (fg_vec v), fg_m256_hsum(v))

#define FG_DOTS_REGISTERS 1

typedef __m256i fg_bytes;
typedef __m256i fg_dots;

static inline fg_bytes fg_bytes_four(const uint8_t *p)
{
	int32_t four;

	__builtin_memcpy(&four, p, sizeof(four));
	return _mm256_set1_epi32(four);
}

static inline void fg_bytes_store(uint8_t *p, const fg_vec *v, int32_t zero)
{
	const __m256i shift = _mm256_set1_epi16((int16_t)zero);
	__m256i a = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
	__m256i b = _mm256_packs_epi32(_mm256_cvtps_epi32(v[2]), _mm256_cvtps_epi32(v[3]));
	__m256i u = _mm256_packs_epi16(_mm256_add_epi16(a, shift), _mm256_add_epi16(b, shift));

	/* Packing went by halves of 16 bytes: v[0] low, v[1] low, ..., v[0] high, ... */
	u = _mm256_permutevar8x32_epi32(u, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
	_mm256_storeu_si256((__m256i *)p, u);
}

/* vpmaddubsw's sums of two fit in 16 bits: 2 * 127 * 127. */
static inline fg_dots fg_dots_add(fg_dots sum, fg_bytes x, fg_bytes w)
{
	__m256i twos = _mm256_maddubs_epi16(x, w);

	return _mm256_add_epi32(sum, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));
}

static inline fg_vec fg_dots_float(fg_dots sum, int32_t zero, const int32_t *sums)
{
	__m256i all = _mm256_loadu_si256((const __m256i *)sums);

	all = _mm256_mullo_epi32(all, _mm256_set1_epi32(zero));
	return _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, all));
}

static inline fg_bytes fg_bytes_hold(fg_bytes b)
{
	__asm__("" : "+x"(b));
	return b;
}

FG_WORD(fg_bytes, fg_bytes_load, (const uint8_t *p), _mm256_loadu_si256((const __m256i *)p))
FG_WORD(fg_bytes, fg_bytes_weights, (const int8_t *p), _mm256_loadu_si256((const __m256i *)p))
FG_WORD(fg_dots, fg_dots_zero, (void), _mm256_setzero_si256())
FG_WORD(fg_dots, fg_dots_sum, (fg_dots a, fg_dots b), _mm256_add_epi32(a, b))
FG_WORD(int32_t, fg_dots_hsum, (fg_dots sum), fg_m256i_hsum(sum))

#elif defined(FG_ISA_avx512)

#define FG_VEC_LANES	  16
#define FG_VEC_REGISTERS  32

typedef __m512 fg_vec;
typedef __mmask16 fg_mask;

FG_WORD(fg_mask, fg_vec_first, (uint32_t n), (fg_mask)((1u << n) - 1))
FG_WORD(__m256, fg_vec_low, (fg_vec v), _mm512_castps512_ps256(v))
FG_WORD(__m256, fg_vec_high, (fg_vec v), _mm512_extractf32x8_ps(v, 1))

static inline void fg_vec_store(float *p, fg_vec v)
{
	_mm512_storeu_ps(p, v);
}

static inline void fg_vec_store_n(float *p, fg_vec v, uint32_t n)
{
	_mm512_mask_storeu_ps(p, fg_vec_first(n), v);
}

static inline fg_vec fg_vec_hold(fg_vec v)
{
	__asm__("" : "+v"(v));
	return v;
}

static inline fg_vec fg_vec_one(const float *p)
{
	float x;

	__builtin_memcpy(&x, p, sizeof(x));
	return _mm512_set1_ps(x);
}

FG_WORD(fg_vec, fg_vec_load, (const float *p), _mm512_loadu_ps(p))
FG_WORD(fg_vec, fg_vec_load_n, (const float *p, uint32_t n, fg_vec fill),
	_mm512_mask_loadu_ps(fill, fg_vec_first(n), p))
FG_WORD(fg_vec, fg_vec_set, (float x), _mm512_set1_ps(x))
FG_WORD(fg_vec, fg_vec_index, (void),
	_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
FG_WORD(fg_vec, fg_vec_add, (fg_vec a, fg_vec b), _mm512_add_ps(a, b))
FG_WORD(fg_vec, fg_vec_sub, (fg_vec a, fg_vec b), _mm512_sub_ps(a, b))
FG_WORD(fg_vec, fg_vec_mul, (fg_vec a, fg_vec b), _mm512_mul_ps(a, b))
FG_WORD(fg_vec, fg_vec_div, (fg_vec a, fg_vec b), _mm512_div_ps(a, b))
FG_WORD(fg_vec, fg_vec_sqrt, (fg_vec v), _mm512_sqrt_ps(v))
FG_WORD(fg_vec, fg_vec_fma, (fg_vec a, fg_vec b, fg_vec c), _mm512_fmadd_ps(a, b, c))
FG_WORD(fg_vec, fg_vec_fnma, (fg_vec a, fg_vec b, fg_vec c), _mm512_fnmadd_ps(a, b, c))
FG_WORD(fg_vec, fg_vec_max, (fg_vec a, fg_vec b), _mm512_max_ps(a, b))
FG_WORD(fg_vec, fg_vec_min, (fg_vec a, fg_vec b), _mm512_min_ps(a, b))
FG_WORD(fg_vec, fg_vec_round, (fg_vec v),
	_mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_floor, (fg_vec v),
	_mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_ceil, (fg_vec v),
	_mm512_roundscale_ps(v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_trunc, (fg_vec v),
	_mm512_roundscale_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC))
FG_WORD(fg_vec, fg_vec_abs, (fg_vec v), _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v))
FG_WORD(fg_vec, fg_vec_copysign, (fg_vec v, fg_vec sign),
	_mm512_or_ps(fg_vec_abs(v), _mm512_and_ps(_mm512_set1_ps(-0.0f), sign)))
FG_WORD(fg_mask, fg_vec_less, (fg_vec a, fg_vec b), _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ))
FG_WORD(fg_mask, fg_vec_less_equal, (fg_vec a, fg_vec b), _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ))
FG_WORD(fg_mask, fg_vec_equal, (fg_vec a, fg_vec b), _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ))
FG_WORD(fg_mask, fg_mask_and, (fg_mask a, fg_mask b), _kand_mask16(a, b))
FG_WORD(fg_mask, fg_mask_or, (fg_mask a, fg_mask b), _kor_mask16(a, b))
FG_WORD(fg_mask, fg_mask_not, (fg_mask m), _knot_mask16(m))
FG_WORD(bool, fg_mask_any, (fg_mask m), m != 0)
FG_WORD(fg_vec, fg_vec_pick, (fg_mask m, fg_vec yes, fg_vec no), _mm512_mask_blend_ps(m, no, yes))
FG_WORD(fg_vec, fg_vec_pow2, (fg_vec n), _mm512_scalef_ps(_mm512_set1_ps(1.0f), n))
FG_WORD(fg_vec, fg_vec_scale, (fg_vec v, fg_vec n), _mm512_scalef_ps(v, n))
FG_WORD(fg_vec, fg_vec_exponent, (fg_vec v), _mm512_getexp_ps(v))
FG_WORD(fg_vec, fg_vec_mantissa, (fg_vec v),
	_mm512_getmant_ps(v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src))

FG_WORD(fg_vec, fg_vec_bf16_low, (fg_vec v),
	_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16)))
FG_WORD(fg_vec, fg_vec_bf16_high, (fg_vec v),
	_mm512_and_ps(v, _mm512_castsi512_ps(_mm512_set1_epi32((int)0xffff0000u))))

static inline float fg_vec_hmax(fg_vec v)
{
	return fg_m256_hmax(_mm256_max_ps(fg_vec_low(v), fg_vec_high(v)));
}

static inline float fg_vec_hmin(fg_vec v)
{
	return fg_m256_hmin(_mm256_min_ps(fg_vec_low(v), fg_vec_high(v)));
}

static inline float fg_vec_hsum(fg_vec v)
{
	return fg_m256_hsum(_mm256_add_ps(fg_vec_low(v), fg_vec_high(v)));
}

#define FG_DOTS_REGISTERS 1

typedef __m512i fg_bytes;
typedef __m512i fg_dots;

static inline fg_bytes fg_bytes_four(const uint8_t *p)
{
	int32_t four;

	__builtin_memcpy(&four, p, sizeof(four));
	return _mm512_set1_epi32(four);
}

static inline void fg_bytes_store(uint8_t *p, const fg_vec *v, int32_t zero)
{
	const __m512i shift = _mm512_set1_epi16((int16_t)zero);
	const __m512i order =
		_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	__m512i a = _mm512_packs_epi32(_mm512_cvtps_epi32(v[0]), _mm512_cvtps_epi32(v[1]));
	__m512i b = _mm512_packs_epi32(_mm512_cvtps_epi32(v[2]), _mm512_cvtps_epi32(v[3]));
	__m512i u = _mm512_packs_epi16(_mm512_add_epi16(a, shift), _mm512_add_epi16(b, shift));

	/* Packing went by quarters of 16 bytes: the first ones of v[0] .. v[3], the second ... */
	_mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, u));
}

static inline fg_vec fg_dots_float(fg_dots sum, int32_t zero, const int32_t *sums)
{
	__m512i all = _mm512_mullo_epi32(_mm512_loadu_si512(sums), _mm512_set1_epi32(zero));

	return _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, all));
}

static inline fg_bytes fg_bytes_hold(fg_bytes b)
{
	__asm__("" : "+v"(b));
	return b;
}

FG_WORD(fg_bytes, fg_bytes_load, (const uint8_t *p), _mm512_loadu_si512(p))
FG_WORD(fg_bytes, fg_bytes_weights, (const int8_t *p), _mm512_loadu_si512(p))
FG_WORD(fg_dots, fg_dots_zero, (void), _mm512_setzero_si512())
FG_WORD(fg_dots, fg_dots_sum, (fg_dots a, fg_dots b), _mm512_add_epi32(a, b))
FG_WORD(fg_dots, fg_dots_add, (fg_dots sum, fg_bytes x, fg_bytes w), _mm512_dpbusd_epi32(sum, x, w))
FG_WORD(int32_t, fg_dots_hsum, (fg_dots sum),
	fg_m256i_hsum(_mm256_add_epi32(_mm512_castsi512_si256(sum),
				       _mm512_extracti64x4_epi64(sum, 1))))

#elif defined(FG_ISA_neon)

#include <arm_neon.h>

#define FG_VEC_LANES	  4
#define FG_VEC_REGISTERS  32

typedef float32x4_t fg_vec;
typedef uint32x4_t fg_mask;

static inline fg_vec fg_vec_load(const float *p)
{
	fg_vec v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline fg_vec fg_vec_hold(fg_vec v)
{
	__asm__("" : "+w"(v));
	return v;
}

static inline fg_vec fg_vec_load_n(const float *p, uint32_t n, fg_vec fill)
{
	float lanes[4];

	vst1q_f32(lanes, fill);
	__builtin_memcpy(lanes, p, n * sizeof(float));
	return vld1q_f32(lanes);
}

static inline void fg_vec_store(float *p, fg_vec v)
{
	__builtin_memcpy(p, &v, sizeof(v));
}

static inline void fg_vec_store_n(float *p, fg_vec v, uint32_t n)
{
	float lanes[4];

	vst1q_f32(lanes, v);
	__builtin_memcpy(p, lanes, n * sizeof(float));
}

static inline fg_vec fg_vec_one(const float *p)
{
	float x;

	__builtin_memcpy(&x, p, sizeof(x));
	return vdupq_n_f32(x);
}

static inline fg_vec fg_vec_index(void)
{
	const float lanes[4] = {0, 1, 2, 3};

	return vld1q_f32(lanes);
}

FG_WORD(fg_vec, fg_vec_set, (float x), vdupq_n_f32(x))
FG_WORD(fg_vec, fg_vec_add, (fg_vec a, fg_vec b), vaddq_f32(a, b))
FG_WORD(fg_vec, fg_vec_sub, (fg_vec a, fg_vec b), vsubq_f32(a, b))
FG_WORD(fg_vec, fg_vec_mul, (fg_vec a, fg_vec b), vmulq_f32(a, b))
FG_WORD(fg_vec, fg_vec_div, (fg_vec a, fg_vec b), vdivq_f32(a, b))
FG_WORD(fg_vec, fg_vec_sqrt, (fg_vec v), vsqrtq_f32(v))
FG_WORD(fg_vec, fg_vec_fma, (fg_vec a, fg_vec b, fg_vec c), vfmaq_f32(c, a, b))
FG_WORD(fg_vec, fg_vec_fnma, (fg_vec a, fg_vec b, fg_vec c), vfmsq_f32(c, a, b))
/* Not vmaxq and vminq, which give NaN where either is NaN. */
FG_WORD(fg_vec, fg_vec_max, (fg_vec a, fg_vec b), vbslq_f32(vcgtq_f32(a, b), a, b))
FG_WORD(fg_vec, fg_vec_min, (fg_vec a, fg_vec b), vbslq_f32(vcltq_f32(a, b), a, b))
FG_WORD(fg_vec, fg_vec_round, (fg_vec v), vrndnq_f32(v))
FG_WORD(fg_vec, fg_vec_floor, (fg_vec v), vrndmq_f32(v))
FG_WORD(fg_vec, fg_vec_ceil, (fg_vec v), vrndpq_f32(v))
FG_WORD(fg_vec, fg_vec_trunc, (fg_vec v), vrndq_f32(v))
FG_WORD(fg_vec, fg_vec_abs, (fg_vec v), vabsq_f32(v))
FG_WORD(fg_vec, fg_vec_copysign, (fg_vec v, fg_vec sign),
	vbslq_f32(vdupq_n_u32(0x80000000u), sign, v))
FG_WORD(fg_mask, fg_vec_less, (fg_vec a, fg_vec b), vcltq_f32(a, b))
FG_WORD(fg_mask, fg_vec_less_equal, (fg_vec a, fg_vec b), vcleq_f32(a, b))
FG_WORD(fg_mask, fg_vec_equal, (fg_vec a, fg_vec b), vceqq_f32(a, b))
FG_WORD(fg_mask, fg_mask_and, (fg_mask a, fg_mask b), vandq_u32(a, b))
FG_WORD(fg_mask, fg_mask_or, (fg_mask a, fg_mask b), vorrq_u32(a, b))
FG_WORD(fg_mask, fg_mask_not, (fg_mask m), vmvnq_u32(m))
FG_WORD(bool, fg_mask_any, (fg_mask m), vmaxvq_u32(m) != 0)
FG_WORD(fg_vec, fg_vec_pick, (fg_mask m, fg_vec yes, fg_vec no), vbslq_f32(m, yes, no))

/* The sum's last bits are n + 127. */
static inline fg_vec fg_vec_pow2(fg_vec n)
{
	fg_vec biased = vaddq_f32(n, vdupq_n_f32(0x1.8p23f + 127));

	return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(biased), 23));
}

static inline fg_vec fg_vec_scale(fg_vec v, fg_vec n)
{
	fg_vec half = fg_vec_round(fg_vec_mul(n, fg_vec_set(0.5f)));

	return fg_vec_mul(fg_vec_mul(v, fg_vec_pow2(half)), fg_vec_pow2(fg_vec_sub(n, half)));
}

static inline fg_vec fg_vec_exponent(fg_vec v)
{
	uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(v), 23);

	return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(biased), vdupq_n_s32(127)));
}

static inline fg_vec fg_vec_mantissa(fg_vec v)
{
	return vbslq_f32(vdupq_n_u32(0x7fffff), v, vdupq_n_f32(1.0f));
}

FG_WORD(fg_vec, fg_vec_bf16_low, (fg_vec v),
	vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v), 16)))
FG_WORD(fg_vec, fg_vec_bf16_high, (fg_vec v),
	vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0xffff0000u))))
FG_WORD(float, fg_vec_hmax, (fg_vec v), vmaxvq_f32(v))
FG_WORD(float, fg_vec_hmin, (fg_vec v), vminvq_f32(v))
/* (v0 + v1) + (v2 + v3) */
FG_WORD(float, fg_vec_hsum, (fg_vec v), vaddvq_f32(v))

/* Without the dot product instructions, which ARMv8-A need not have: products of signed bytes fit
 * in 16 bits and are added in pairs, so that each column has two sums in a vector. */
#define FG_DOTS_REGISTERS 2

typedef int8x16_t fg_bytes;
typedef struct {
	int32x4_t low, high; /* columns 0, 0, 1, 1 and 2, 2, 3, 3 */
} fg_dots;

static inline fg_bytes fg_bytes_hold(fg_bytes b)
{
	__asm__("" : "+w"(b));
	return b;
}

static inline fg_bytes fg_bytes_load(const uint8_t *p)
{
	return vreinterpretq_s8_u8(vld1q_u8(p));
}

static inline fg_bytes fg_bytes_four(const uint8_t *p)
{
	uint32_t four;

	__builtin_memcpy(&four, p, sizeof(four));
	return vreinterpretq_s8_u32(vdupq_n_u32(four));
}

static inline void fg_bytes_store(uint8_t *p, const fg_vec *v, int32_t zero)
{
	const int16x8_t shift = vdupq_n_s16((int16_t)zero);
	int16x8_t a =
		vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(v[0])), vqmovn_s32(vcvtnq_s32_f32(v[1])));
	int16x8_t b =
		vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(v[2])), vqmovn_s32(vcvtnq_s32_f32(v[3])));

	vst1_s8((int8_t *)p, vqmovn_s16(vaddq_s16(a, shift)));
	vst1_s8((int8_t *)p + 8, vqmovn_s16(vaddq_s16(b, shift)));
}

static inline fg_dots fg_dots_zero(void)
{
	return (fg_dots){vdupq_n_s32(0), vdupq_n_s32(0)};
}

static inline fg_dots fg_dots_sum(fg_dots a, fg_dots b)
{
	return (fg_dots){vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)};
}

static inline fg_dots fg_dots_add(fg_dots sum, fg_bytes x, fg_bytes w)
{
	sum.low = vpadalq_s16(sum.low, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
	sum.high = vpadalq_s16(sum.high, vmull_high_s8(x, w));
	return sum;
}

static inline fg_vec fg_dots_float(fg_dots sum, int32_t zero, const int32_t *sums)
{
	int32x4_t lanes = vpaddq_s32(sum.low, sum.high);

	return vcvtq_f32_s32(vmlsq_n_s32(lanes, vld1q_s32(sums), zero));
}

FG_WORD(fg_bytes, fg_bytes_weights, (const int8_t *p), vld1q_s8(p))
FG_WORD(int32_t, fg_dots_hsum, (fg_dots sum), vaddvq_s32(vaddq_s32(sum.low, sum.high)))

#endif

#endif
