/*
 * kernel_case.h: a kernel, a shape and a batch of rows for it, each buffer between guard pages.
 * For tests of models/kernel_* (all but DENSE).
 */
#ifndef FG_TESTS_KERNEL_CASE_H
#define FG_TESTS_KERNEL_CASE_H

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "models/cpu.h"
#include "models/kernels.h"

#define CASE_CANARY 0x7fedcba9u /* a NaN that no kernel makes */
#define CASE_GAP    3		/* floats between two output rows */

struct kernel_case {
	enum fg_step_kind kind;
	enum fg_wide_operation operation; /* WIDE, WIDE_REDUCE */
	enum fg_activation activation;
	uint32_t in_cols;
	uint32_t out_cols;
	uint32_t entries;
	bool broadcast; /* other and third: one row for all */
	bool special;	/* NaN, infinities, zeros, denormals and huge numbers among the inputs */
	float alpha;
	float beta;
};

struct guarded {
	char *map;
	size_t map_bytes;
	float *at;
};

struct kernel_batch {
	struct guarded in, other, third, weights, bias, out;
	struct fg_kernel_args args;
};

/* `bytes` that end `slack` bytes before an inaccessible page; another one stands before them. */
static inline struct guarded guard(size_t bytes, size_t slack)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t inside = (bytes + slack + page - 1) / page * page;
	struct guarded memory = {.map_bytes = inside + 2 * page};

	memory.map = mmap(NULL, memory.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory.map, MAP_FAILED);
	assert_int_equal(mprotect(memory.map + page, inside, PROT_READ | PROT_WRITE), 0);
	memory.at = (float *)(memory.map + page + inside - slack - bytes);
	return memory;
}

static inline void unguard(struct guarded *memory)
{
	munmap(memory->map, memory->map_bytes);
}

/* Rows may stand at any byte. */
static inline const float *case_row(const float *rows, size_t stride, size_t row)
{
	return (const float *)((const char *)rows + row * stride * sizeof(float));
}

static inline void case_set(float *at, size_t i, float value)
{
	memcpy((char *)at + i * sizeof(value), &value, sizeof(value));
}

static inline float case_get(const float *at, size_t i)
{
	float value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static inline uint32_t case_bits(const float *at, size_t i)
{
	uint32_t value;

	memcpy(&value, (const char *)at + i * sizeof(value), sizeof(value));
	return value;
}

static inline uint32_t case_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* In [-8, 8); when `special`, one in eight is a number that kernels may trip over. */
static inline float case_number(uint32_t *seed, bool special)
{
	static const float specials[] = {NAN,	  INFINITY, -INFINITY,	0.0f,	   -0.0f,
					 1e-45f,  -1e-45f,  1e-39f,	-1e-39f,   3e38f,
					 -3e38f,  1e30f,    -1e30f,	88.72f,	   -88.72f,
					 -103.9f, 103.9f,   1.0f,	0x1p-126f, 0.5f,
					 2.5f,	  -0x1p31f, 16777216.0f};
	uint32_t random = case_random(seed);

	if (special && random % 8 == 0)
		return specials[case_random(seed) % (sizeof(specials) / sizeof(specials[0]))];
	return (float)(int32_t)(random - (1u << 23)) * 0x1p-20f;
}

static inline void case_fill(struct guarded *to, size_t floats, size_t slack, uint32_t *seed,
			     bool special)
{
	*to = guard((floats ? floats : 1) * sizeof(float), slack);
	for (size_t i = 0; i < floats; i++)
		case_set(to->at, i, case_number(seed, special));
}

static inline int case_compare(const void *a, const void *b)
{
	float x = case_get(a, 0), y = case_get(b, 0);

	return x < y ? -1 : x > y;
}

/* Weights as the kind wants them, and the inputs that select among them. */
static inline void case_weights(struct kernel_batch *batch, const struct kernel_case *test,
				uint32_t *seed)
{
	const uint32_t in_count = batch->args.rows * test->in_cols;
	float *weights = batch->weights.at;

	if (test->kind == FG_STEP_COLUMNS)
		for (uint32_t col = 0; col < test->out_cols; col++)
			memcpy(&weights[col], &(uint32_t){case_random(seed) % test->in_cols}, 4);
	if (test->kind == FG_STEP_EMBED)
		for (uint32_t i = 0; i < in_count; i++)
			if (case_random(seed) % 8)
				case_set(batch->in.at, i,
					 (float)(case_random(seed) % (2 * test->entries + 2)) -
						 (float)test->entries - 1);
	if (test->kind != FG_STEP_LOOKUP)
		return;
	for (uint32_t i = 0; i < test->entries; i++)
		weights[i] = case_number(seed, false);
	qsort(weights, test->entries, sizeof(float), case_compare);
	if (case_random(seed) % 2)
		weights[test->entries - 1] = NAN;
	for (uint32_t i = 0; i < in_count; i++)
		if (case_random(seed) % 2)
			case_set(batch->in.at, i, weights[case_random(seed) % test->entries]);
}

/*
 * Rows that end at a guard page, or `odd` bytes before it so that no float is aligned. Weights and
 * bias end at one too, though then they are not 64-byte aligned: no kernel here needs that.
 */
static inline void make_batch(struct kernel_batch *batch, const struct kernel_case *test,
			      uint32_t rows, size_t odd, uint32_t seed)
{
	const size_t other_rows = test->broadcast ? 1 : rows;
	const size_t out_floats = rows * (test->out_cols + CASE_GAP) - CASE_GAP;
	size_t weights = test->out_cols, bias = test->out_cols;

	if (test->kind == FG_STEP_EMBED)
		weights = (size_t)test->entries * test->out_cols;
	if (test->kind == FG_STEP_LOOKUP)
		weights = bias = test->entries;
	if (test->kind == FG_STEP_CENTER)
		weights = 2 * (size_t)test->out_cols;
	if (test->kind == FG_STEP_WIDE_LOOKUP)
		weights = 2 * (size_t)test->entries;
	case_fill(&batch->in, (size_t)rows * test->in_cols, odd, &seed, test->special);
	case_fill(&batch->other, other_rows * test->out_cols, odd, &seed, test->special);
	case_fill(&batch->third, other_rows * test->out_cols, odd, &seed, test->special);
	case_fill(&batch->weights, weights, 0, &seed, test->special);
	case_fill(&batch->bias, bias, 0, &seed, test->special);
	case_fill(&batch->out, out_floats, odd, &seed, false);
	for (size_t i = 0; i < out_floats; i++)
		memcpy((char *)batch->out.at + i * 4, &(uint32_t){CASE_CANARY}, 4);
	batch->args = (struct fg_kernel_args){
		.in = batch->in.at,
		.in_stride = test->in_cols,
		.other = batch->other.at,
		.other_stride = test->broadcast ? 0 : test->out_cols,
		.third = batch->third.at,
		.third_stride = test->broadcast ? 0 : test->out_cols,
		.weights = batch->weights.at,
		.bias = batch->bias.at,
		.out = batch->out.at,
		.out_stride = test->out_cols + CASE_GAP,
		.rows = rows,
		.in_cols = test->in_cols,
		.out_cols = test->out_cols,
		.entries = test->entries,
		.operation = test->operation,
		.activation = test->activation,
		.alpha = test->alpha,
		.beta = test->beta,
	};
	case_weights(batch, test, &seed);
}

static inline void free_batch(struct kernel_batch *batch)
{
	unguard(&batch->in);
	unguard(&batch->other);
	unguard(&batch->third);
	unguard(&batch->weights);
	unguard(&batch->bias);
	unguard(&batch->out);
}

static inline void assert_canaries(const struct fg_kernel_args *args)
{
	for (uint32_t row = 0; row + 1 < args->rows; row++)
		for (size_t i = args->out_cols; i < args->out_stride; i++)
			assert_int_equal(case_bits(args->out, row * args->out_stride + i),
					 CASE_CANARY);
}

/* Every row alone, at another alignment, gives the bits that it gave in the batch. */
static inline void assert_rows_alone(const struct fg_kernels *kernels, enum fg_step_kind kind,
				     const struct fg_kernel_args *args)
{
	struct guarded in = guard(args->in_cols * sizeof(float), 0);
	struct guarded out = guard(args->out_cols * sizeof(float), 0);
	struct fg_kernel_args one = *args;

	one.in = in.at;
	one.out = out.at;
	one.rows = 1;
	for (uint32_t row = 0; row < args->rows; row++) {
		memcpy(in.at, case_row(args->in, args->in_stride, row),
		       args->in_cols * sizeof(float));
		one.other = case_row(args->other, args->other_stride, row);
		one.third = case_row(args->third, args->third_stride, row);
		kernels->run[kind](&one);
		for (uint32_t col = 0; col < args->out_cols; col++)
			assert_int_equal(case_bits(out.at, col),
					 case_bits(args->out, row * args->out_stride + col));
	}
	unguard(&in);
	unguard(&out);
}

/* The rows in reverse order give the same rows, to the bit, in reverse order. */
static inline void assert_rows_permute(const struct fg_kernels *kernels, enum fg_step_kind kind,
				       const struct fg_kernel_args *args)
{
	const size_t last = args->rows - 1, in_bytes = args->in_cols * sizeof(float);
	const size_t out_bytes = args->out_cols * sizeof(float);
	float *in = malloc(args->rows * in_bytes), *other = malloc(args->rows * out_bytes);
	float *third = malloc(args->rows * out_bytes), *out = malloc(args->rows * out_bytes);
	struct fg_kernel_args reversed = *args;

	for (size_t row = 0; row <= last; row++) {
		memcpy((char *)in + (last - row) * in_bytes,
		       case_row(args->in, args->in_stride, row), in_bytes);
		memcpy((char *)other + (last - row) * out_bytes,
		       case_row(args->other, args->other_stride, row), out_bytes);
		memcpy((char *)third + (last - row) * out_bytes,
		       case_row(args->third, args->third_stride, row), out_bytes);
	}
	reversed.in = in;
	reversed.other = other;
	reversed.third = third;
	reversed.out = out;
	reversed.in_stride = args->in_cols;
	reversed.other_stride = reversed.third_stride = reversed.out_stride = args->out_cols;
	kernels->run[kind](&reversed);
	for (size_t row = 0; row <= last; row++)
		assert_memory_equal((char *)out + (last - row) * out_bytes,
				    case_row(args->out, args->out_stride, row), out_bytes);
	free(in);
	free(other);
	free(third);
	free(out);
}

#endif
