#include <math.h>
#include <string.h>
#include "tests/bench/kernels/field.h"
#include "tests/bench/kernels/functions.h"

#define CHECKED 65536u /* evenly spaced arguments whose results are held to double precision */

const char *const bench_function_names[BENCH_FUNCTIONS] = {"tanh", "exp"};

static const struct {
	enum fg_activation activation;
	double (*exact)(double x);
	float bound; /* timed and checked on -bound .. bound */
} functions[BENCH_FUNCTIONS] = {
	{FG_ACTIVATION_TANH, tanh, 5},
	{FG_ACTIVATION_EXP, exp, 10},
};

static void run_batch(void *at)
{
	const struct bench_function_batch *batch = at;
	const struct fg_kernel_args args = {.in = batch->in,
					    .in_stride = batch->count,
					    .out = batch->out,
					    .out_stride = batch->count,
					    .rows = 1,
					    .in_cols = batch->count,
					    .out_cols = batch->count,
					    .activation = batch->activation};

	if (batch->run)
		batch->run(batch->in, batch->out, batch->count);
	else
		batch->kernels->run[FG_STEP_ACTIVATION](&args);
}

static void run_peak(void *at)
{
	const struct bench_loops *loops = at;

	loops->multiply_add(BENCH_PEAK_COUNT / loops->chains * loops->chains);
}

/* In units in the last place of the true value. */
static double worst_ulp(struct bench_function_batch batch, double (*exact)(double x), float bound)
{
	static float in[CHECKED], out[CHECKED];
	double worst = 0;

	for (uint32_t i = 0; i < CHECKED; i++)
		in[i] = bound * ((float)i - CHECKED / 2.0f) / (CHECKED / 2.0f);
	batch.in = in;
	batch.out = out;
	batch.count = CHECKED;
	run_batch(&batch);
	for (uint32_t i = 0; i < CHECKED; i++) {
		double wanted = exact(in[i]),
		       ulp = wanted == 0 ? 0x1p-149 : ldexp(1, ilogb(wanted) - 23);
		double error = fabs(out[i] - wanted) / ulp;

		worst = isnan(error) ? INFINITY : fmax(worst, error);
	}
	return worst;
}

static void add(struct bench_function_field *field, uint32_t entry, enum bench_function function,
		struct bench_function_batch batch)
{
	field->batches[entry] = batch;
	field->ulp[entry] = worst_ulp(batch, functions[function].exact, functions[function].bound);
	field->contestants[entry] =
		(struct bench_contestant){.run = run_batch, .state = &field->batches[entry]};
}

void bench_function_open(struct bench_function_field *field, enum bench_function function,
			 const struct fg_kernels *kernels, const struct bench_plugins *plugins)
{
	const struct bench_math *math = plugins->math;
	struct bench_function_batch batch = {.kernels = kernels,
					     .activation = functions[function].activation,
					     .in = field->in,
					     .out = field->out,
					     .count = BENCH_FUNCTION_COUNT};
	uint32_t seed = 1;

	memset(field, 0, sizeof(*field));
	for (uint32_t i = 0; i < BENCH_FUNCTION_COUNT; i++) {
		seed = seed * 1664525u + 1013904223u;
		field->in[i] = functions[function].bound * ((float)seed * 0x1p-31f - 1);
	}
	field->ulp[BENCH_FUNCTION_THEIRS] = NAN;
	add(field, BENCH_FUNCTION_OURS, function, batch);
	if (math) {
		batch.run = function == BENCH_TANH ? math->tanh : math->exp;
		add(field, BENCH_FUNCTION_THEIRS, function, batch);
	}
	field->contestants[BENCH_FUNCTION_PEAK] =
		(struct bench_contestant){.run = run_peak,
					  .state = (void *)(uintptr_t)plugins->loops};
	bench_contest_begin(field->contestants, BENCH_FUNCTION_ENTRIES);
}
