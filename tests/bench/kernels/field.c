#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "tests/bench/kernels/field.h"
#include "tests/bench/kernels/ours.h"

/* What an answer may differ by and still be the same computation. */
#define F32_BOUND  2e-5
#define BF16_BOUND 0.02
#define INT8_BOUND 0.05

static const struct {
	enum bench_entry entry;
	enum fg_weights format;
	uint32_t rows;
	double bound;
} ours[] = {
	{BENCH_F32_1, FG_WEIGHTS_F32, 1, F32_BOUND},
	{BENCH_F32_2, FG_WEIGHTS_F32, 2, F32_BOUND},
	{BENCH_F32_3, FG_WEIGHTS_F32, 3, F32_BOUND},
	{BENCH_F32_32, FG_WEIGHTS_F32, 32, F32_BOUND},
	{BENCH_BF16_1, FG_WEIGHTS_BF16, 1, BF16_BOUND},
	{BENCH_INT8_1, FG_WEIGHTS_INT8, 1, INT8_BOUND},
};
#define OURS (sizeof(ours) / sizeof(ours[0]))

/* The state of the loops' contestants. */
struct loop {
	const struct bench_loops *loops;
	const void *at;
	size_t bytes;
};

static void run_peak(void *at)
{
	const struct loop *loop = at;

	loop->loops->multiply_add(BENCH_PEAK_COUNT / loop->loops->chains * loop->loops->chains);
}

static void run_load(void *at)
{
	const struct loop *loop = at;

	loop->loops->load[0](loop->at, loop->bytes);
}

static void run_load_two(void *at)
{
	const struct loop *loop = at;

	loop->loops->load[1](loop->at, loop->bytes);
}

static struct loop *new_loop(const struct bench_loops *loops, const void *at, size_t bytes)
{
	struct loop *loop = malloc(sizeof(*loop));

	if (!loop) {
		perror("bench_kernels: no memory");
		exit(1);
	}
	*loop = (struct loop){loops, at, bytes};
	return loop;
}

size_t bench_weight_bytes(const struct bench_model *model, enum fg_weights format)
{
	static const size_t bytes[FG_WEIGHTS_COUNT] = {
		[FG_WEIGHTS_F32] = 4, [FG_WEIGHTS_BF16] = 2, [FG_WEIGHTS_INT8] = 1};

	return bench_model_weights(model) * bytes[format];
}

/* `entry` reads in one run, `entry_two` in two. */
static void add_loads(struct bench_field *field, uint32_t entry, uint32_t entry_two, size_t bytes)
{
	const struct bench_loops *loops = field->loops;

	bytes = bytes / 64 * 64;
	field->contestants[entry] =
		(struct bench_contestant){.run = run_load,
					  .state = new_loop(loops, field->weights, bytes)};
	field->contestants[entry_two] =
		(struct bench_contestant){.run = run_load_two,
					  .state = new_loop(loops, field->weights, bytes)};
}

static void add_loops(struct bench_field *field)
{
	size_t most = bench_weight_bytes(&field->model, FG_WEIGHTS_F32);

	field->weights = bench_pages(most);
	memset(field->weights, 0, most);
	field->contestants[BENCH_PEAK] =
		(struct bench_contestant){.run = run_peak,
					  .state = new_loop(field->loops, NULL, 0)};
	for (uint32_t format = 0; format < FG_WEIGHTS_COUNT; format++)
		add_loads(field, BENCH_LOAD + format, BENCH_LOAD_TWO + format,
			  bench_weight_bytes(&field->model, format));
	add_loads(field, BENCH_LOAD_L1, BENCH_LOAD_L1_TWO, BENCH_L1_BYTES);
}

/* Takes the contestant in when `state` was opened (else the reason is there already); it runs when
 * its first answer is right. */
static void add(struct bench_field *field, uint32_t entry, void (*run)(void *), void *state,
		uint32_t rows, double bound)
{
	if (!state)
		return;
	field->why[entry][0] = 0;
	run(state);
	field->difference[entry] = bench_model_difference(&field->model, field->out[entry], rows);
	field->contestants[entry].state = state;
	if (field->difference[entry] <= bound) {
		field->contestants[entry].run = run;
		return;
	}
	snprintf(field->why[entry], BENCH_WHY_BYTES, "wrong: off by %.2g, more than %.2g",
		 field->difference[entry], bound);
	field->wrong++;
}

static void add_ours(struct bench_field *field, const struct fg_kernels *kernels)
{
	for (size_t i = 0; i < OURS; i++) {
		enum bench_entry entry = ours[i].entry;
		void *state =
			bench_ours_open(kernels, ours[i].format, &field->model, ours[i].rows,
					field->model.in, field->out[entry], field->why[entry]);

		add(field, entry, bench_ours_run, state, ours[i].rows, ours[i].bound);
	}
}

static void add_way(struct bench_field *field, struct bench_way *way, uint32_t entry, uint32_t rows)
{
	const struct bench_reference *reference = way->reference;
	void *state;

	if (!reference) {
		memcpy(field->why[entry], way->why, BENCH_WHY_BYTES);
		return;
	}
	state = reference->open(&field->model, rows, field->model.in, field->out[entry],
				field->why[entry]);
	add(field, entry, reference->run, state, rows, F32_BOUND);
	if (state)
		way->version = reference->version();
}

void bench_field_close(struct bench_field *field, const struct bench_plugins *plugins)
{
	for (uint32_t entry = 0; entry < BENCH_ENTRIES; entry++) {
		void *state = field->contestants[entry].state;
		uint32_t way = (entry - BENCH_WAY_1) % BENCH_REFERENCES;

		if (entry < BENCH_F32_1)
			free(state);
		else if (state && entry < BENCH_WAY_1)
			bench_ours_close(state);
		else if (state)
			plugins->ways[way].reference->close(state);
		free(field->out[entry]);
	}
	munmap(field->weights, bench_weight_bytes(&field->model, FG_WEIGHTS_F32));
	bench_model_free(&field->model);
}

void bench_field_open(struct bench_field *field, uint32_t i, const struct fg_kernels *kernels,
		      struct bench_plugins *plugins)
{
	memset(field, 0, sizeof(*field));
	bench_model_make(&field->model, i);
	field->loops = plugins->loops;
	for (uint32_t entry = 0; entry < BENCH_ENTRIES; entry++) {
		size_t count = (size_t)BENCH_MAX_ROWS * field->model.cols[BENCH_LAYERS];

		field->difference[entry] = NAN;
		field->out[entry] = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
		if (!field->out[entry]) {
			perror("bench_kernels: no memory");
			exit(1);
		}
	}
	add_loops(field);
	add_ours(field, kernels);
	for (uint32_t way = 0; way < BENCH_REFERENCES; way++) {
		add_way(field, &plugins->ways[way], BENCH_WAY_1 + way, 1);
		add_way(field, &plugins->ways[way], BENCH_WAY_32 + way, BENCH_MAX_ROWS);
	}
	bench_contest_begin(field->contestants, BENCH_ENTRIES);
}
