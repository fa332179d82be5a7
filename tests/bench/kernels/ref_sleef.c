/* SLEEF's functions of at most 1 ULP, of the vectors that this file's ISA has. */
#include <sleef.h>
#include "tests/bench/kernels/reference.h"

#if defined(__AVX512F__)
#define NAME  "SLEEF tanhf16, expf16 u10"
#define LOAD  _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define TANH  Sleef_tanhf16_u10avx512f
#define EXP   Sleef_expf16_u10avx512f
#define LANES 16
#elif defined(__AVX2__)
#define NAME  "SLEEF tanhf8, expf8 u10"
#define LOAD  _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define TANH  Sleef_tanhf8_u10avx2
#define EXP   Sleef_expf8_u10avx2
#define LANES 8
#elif defined(__SSE2__)
#define NAME  "SLEEF tanhf4, expf4 u10"
#define LOAD  _mm_loadu_ps
#define STORE _mm_storeu_ps
#define TANH  Sleef_tanhf4_u10sse2
#define EXP   Sleef_expf4_u10sse2
#define LANES 4
#elif defined(__aarch64__)
#define NAME  "SLEEF tanhf4, expf4 u10"
#define LOAD  vld1q_f32
#define STORE vst1q_f32
#define TANH  Sleef_tanhf4_u10advsimd
#define EXP   Sleef_expf4_u10advsimd
#define LANES 4
#endif

static void run_tanh(const float *in, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += LANES)
		STORE(out + i, TANH(LOAD(in + i)));
}

static void run_exp(const float *in, float *out, size_t count)
{
	for (size_t i = 0; i < count; i += LANES)
		STORE(out + i, EXP(LOAD(in + i)));
}

BENCH_EXPORT extern const struct bench_math bench_math;
const struct bench_math bench_math = {NAME, run_tanh, run_exp};
