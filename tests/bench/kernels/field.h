/* field.h: all that runs one model, checked against each other and timed together. */
#ifndef FG_TESTS_BENCH_KERNELS_FIELD_H
#define FG_TESTS_BENCH_KERNELS_FIELD_H

#include <stddef.h>
#include <stdint.h>
#include "models/kernels.h"
#include "tests/bench/kernels/contest.h"
#include "tests/bench/kernels/model.h"
#include "tests/bench/kernels/plugins.h"

/* The contestants. F32_n: flipgate with f32 weights and a batch of n rows. */
enum bench_entry {
	BENCH_PEAK, /* BENCH_PEAK_COUNT multiply-adds of vectors */
	BENCH_LOAD, /* one reading of the weights in each format, one run */
	BENCH_LOAD_TWO = BENCH_LOAD + FG_WEIGHTS_COUNT,	   /* two runs side by side */
	BENCH_LOAD_L1 = BENCH_LOAD_TWO + FG_WEIGHTS_COUNT, /* BENCH_L1_BYTES, one run */
	BENCH_LOAD_L1_TWO,				   /* two runs */
	BENCH_F32_1,
	BENCH_F32_2,
	BENCH_F32_3,
	BENCH_F32_32,
	BENCH_BF16_1,
	BENCH_INT8_1,
	BENCH_WAY_1,				       /* the references, one row */
	BENCH_WAY_32 = BENCH_WAY_1 + BENCH_REFERENCES, /* 32 rows */
	BENCH_ENTRIES = BENCH_WAY_32 + BENCH_REFERENCES,
};

#define BENCH_PEAK_COUNT 480000u /* takes some 100 us */
#define BENCH_L1_BYTES	 16384u	 /* half of the smallest first-level cache that is common */

struct bench_field {
	struct bench_model model;
	const struct bench_loops *loops;
	struct bench_contestant contestants[BENCH_ENTRIES];
	char why[BENCH_ENTRIES][BENCH_WHY_BYTES]; /* why one is absent */
	double difference[BENCH_ENTRIES];	  /* largest, to double precision; NaN: none */
	float *out[BENCH_ENTRIES];
	void *weights;	/* what BENCH_LOAD reads */
	uint32_t wrong; /* contestants that were left out because they computed something else */
};

/* Sets up all contestants of model `i` and compares what they compute: those that are right are
 * ready for BENCH_SLICES passes of `contestants`. `kernels` and `plugins` stay where they are. */
void bench_field_open(struct bench_field *field, uint32_t i, const struct fg_kernels *kernels,
		      struct bench_plugins *plugins);

/* Times and differences stay. */
void bench_field_close(struct bench_field *field, const struct bench_plugins *plugins);

/* Bytes of all weights in a format, without padding. */
size_t bench_weight_bytes(const struct bench_model *model, enum fg_weights format);

#endif
