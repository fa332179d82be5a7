/*
 * vec.h: the vector vocabulary of the kernels. One section per ISA; the same words in each.
 *
 *   fg_vec                 FG_VEC_LANES floats
 *   FG_VEC_ACCUMULATORS    how many a tile of the dense kernel may hold without spilling
 *   fg_vec_load(p)         any alignment
 *   fg_vec_load_n(p, n, f) the first n lanes (0 .. FG_VEC_LANES); reads no byte beyond them; the
 *                          other lanes are those of f
 *   fg_vec_store(p, v), fg_vec_store_n(p, v, n)
 *   fg_vec_one(p)          all lanes = *p
 *   fg_vec_set(x)          all lanes = x
 *   fg_vec_add, _sub, _mul, _div
 *   fg_vec_fma(a, b, c)    a * b + c, rounded once
 *   fg_vec_max(a, b), fg_vec_min(a, b)  b where either is NaN
 *   fg_vec_round(v)        to the nearest integer, ties to even
 *   fg_vec_abs(v), fg_vec_copysign(v, sign)
 *   fg_vec_less(a, b), fg_vec_equal(a, b)  a mask; false where either is NaN
 *   fg_vec_pick(mask, yes, no)
 *   fg_vec_pow2(n)         2^n for integer-valued n in -126 .. 127; any other n: some value
 *   fg_vec_hmax(v), fg_vec_hsum(v)  over the lanes, in a fixed order
 */
#ifndef FG_MODELS_VEC_H
#define FG_MODELS_VEC_H

#include <stddef.h>
#include <stdint.h>

#if defined(FG_ISA_avx2)

#include <immintrin.h>

#define FG_VEC_LANES	    8
#define FG_VEC_ACCUMULATORS 12 /* of 16 registers */

typedef __m256 fg_vec;

static inline __m256i fg_vec_mask_n(uint32_t n)
{
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

static inline fg_vec fg_vec_load(const float *p)
{
	return _mm256_loadu_ps(p);
}

static inline fg_vec fg_vec_load_n(const float *p, uint32_t n, fg_vec fill)
{
	__m256i mask = fg_vec_mask_n(n);

	return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}

static inline void fg_vec_store(float *p, fg_vec v)
{
	_mm256_storeu_ps(p, v);
}

static inline void fg_vec_store_n(float *p, fg_vec v, uint32_t n)
{
	_mm256_maskstore_ps(p, fg_vec_mask_n(n), v);
}

static inline fg_vec fg_vec_one(const float *p)
{
	return _mm256_broadcast_ss(p);
}

static inline fg_vec fg_vec_set(float x)
{
	return _mm256_set1_ps(x);
}

static inline fg_vec fg_vec_add(fg_vec a, fg_vec b)
{
	return _mm256_add_ps(a, b);
}

static inline fg_vec fg_vec_sub(fg_vec a, fg_vec b)
{
	return _mm256_sub_ps(a, b);
}

static inline fg_vec fg_vec_mul(fg_vec a, fg_vec b)
{
	return _mm256_mul_ps(a, b);
}

static inline fg_vec fg_vec_div(fg_vec a, fg_vec b)
{
	return _mm256_div_ps(a, b);
}

static inline fg_vec fg_vec_fma(fg_vec a, fg_vec b, fg_vec c)
{
	return _mm256_fmadd_ps(a, b, c);
}

static inline fg_vec fg_vec_max(fg_vec a, fg_vec b)
{
	return _mm256_max_ps(a, b);
}

static inline fg_vec fg_vec_min(fg_vec a, fg_vec b)
{
	return _mm256_min_ps(a, b);
}

static inline fg_vec fg_vec_round(fg_vec v)
{
	return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline fg_vec fg_vec_abs(fg_vec v)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}

static inline fg_vec fg_vec_copysign(fg_vec v, fg_vec sign)
{
	return _mm256_or_ps(fg_vec_abs(v), _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}

static inline fg_vec fg_vec_less(fg_vec a, fg_vec b)
{
	return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

static inline fg_vec fg_vec_equal(fg_vec a, fg_vec b)
{
	return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}

static inline fg_vec fg_vec_pick(fg_vec mask, fg_vec yes, fg_vec no)
{
	return _mm256_blendv_ps(no, yes, mask);
}

static inline fg_vec fg_vec_pow2(fg_vec n)
{
	__m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));

	return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

static inline float fg_vec_hmax(fg_vec v)
{
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline float fg_vec_hsum(fg_vec v)
{
	__m128 m = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	m = _mm_add_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
}

#endif

#endif
