#include "tests/bench/kernels/loops.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define CHAINS	     16
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define CHAINS	     12
#else
#define VECTOR_BYTES 16
#define CHAINS	     14
#endif

#if defined(__aarch64__)
#define REGISTER "w"
#elif defined(__AVX512F__)
#define REGISTER "v"
#else
#define REGISTER "x"
#endif

#define LANES	 (VECTOR_BYTES / sizeof(float))
#define PER_LINE (64 / VECTOR_BYTES)
#define INLINE	 static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));

/* The compiler must hold `v` in a register here and cannot know what it becomes. */
INLINE vector opaque(vector v)
{
	__asm__ volatile("" : "+" REGISTER(v));
	return v;
}

/* Makefile.bench: -ffp-contract=fast for this file, so that this is one instruction where there is
 * one. */
INLINE vector multiply_add_one(vector a, vector b, vector c)
{
	return a * b + c;
}

static void multiply_add(uint64_t count)
{
	vector sum[CHAINS], a = opaque((vector){0} + 0.5f), b = opaque((vector){0} + 0.25f);

	UNROLL
	for (int chain = 0; chain < CHAINS; chain++)
		sum[chain] = opaque((vector){0});
	for (; count >= CHAINS; count -= CHAINS) {
		UNROLL
		for (int chain = 0; chain < CHAINS; chain++)
			sum[chain] = opaque(multiply_add_one(sum[chain], a, b));
	}
}

/* One line into its own PER_LINE sums. */
INLINE void add_line(vector *sum, const char *at)
{
	UNROLL
	for (int i = 0; i < PER_LINE; i++)
		sum[i] = opaque(sum[i] + ((const vector *)at)[i]);
}

/* Two lines of each run in a turn, each with sums of its own: enough chains to hide an add. */
INLINE void load_runs(const char *at, size_t bytes, const size_t runs)
{
	const size_t run_bytes = bytes / runs / 128 * 128, sums = 2 * PER_LINE;
	vector sum[2 * 2 * PER_LINE];

	UNROLL
	for (size_t i = 0; i < runs * sums; i++)
		sum[i] = opaque((vector){0});
	for (const char *end = at + run_bytes; at < end; at += 128) {
		UNROLL
		for (size_t run = 0; run < runs; run++) {
			add_line(sum + run * sums, at + run * run_bytes);
			add_line(sum + run * sums + PER_LINE, at + run * run_bytes + 64);
		}
	}
	at += (runs - 1) * run_bytes;
	for (bytes -= runs * run_bytes; bytes; bytes -= 64, at += 64)
		add_line(sum, at);
}

static void load_one_run(const void *at, size_t bytes)
{
	load_runs(at, bytes, 1);
}

static void load_two_runs(const void *at, size_t bytes)
{
	load_runs(at, bytes, 2);
}

__attribute__((visibility("default"))) extern const struct bench_loops bench_loops;
const struct bench_loops bench_loops = {
	.lanes = LANES,
	.multiply_add = multiply_add,
	.chains = CHAINS,
	.load = {load_one_run, load_two_runs},
};
