#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "models/inspect.h"
#include "models/inspect_step.h"

#define REPEATS	   15
#define REPEAT_NS  100000u /* long enough for the clock, short enough not to wait for */
#define MAX_REPEAT 1000u

const uint32_t fg_inspect_batch[FG_INSPECT_BATCHES] = {1, 8, 32};

#define NAME(name, label, ...) label,

const char *fg_inspect_kind(const struct fg_plan_step *step)
{
	static const char *const names[] = {FG_STEP_KINDS(NAME)};
	static const char *const operations[] = {FG_WIDE_OPERATIONS(NAME)};

	if (step->kind == FG_STEP_ACTIVATION && step->activation == FG_ACTIVATION_NONE)
		return "copy";
	return step->kind == FG_STEP_WIDE ? operations[step->operation] : names[step->kind];
}

const char *fg_inspect_activation(const struct fg_plan_step *step)
{
	static const char *const names[] = {FG_ACTIVATIONS(NAME)};

	return names[step->activation];
}

char *fg_inspect_place(struct fg_plan_span span, char text[FG_INSPECT_PLACE])
{
	char first[16] = "", name[16];

	if (span.first)
		snprintf(first, sizeof(first), "[%u]", span.first);
	snprintf(name, sizeof(name), "buffer%u", span.place - FG_PLACE_BUFFER);
	snprintf(text, FG_INSPECT_PLACE, "%s%s",
		 span.place == FG_PLACE_NONE	   ? "-"
		 : span.place == FG_PLACE_INPUT	   ? "input"
		 : span.place == FG_PLACE_OUTPUT   ? "output"
		 : span.place == FG_PLACE_CONSTANT ? "constant"
						   : name,
		 first);
	return text;
}

char *fg_inspect_shape(const struct fg_plan_step *step, char text[FG_INSPECT_SHAPE])
{
	if (step->groups == 1)
		snprintf(text, FG_INSPECT_SHAPE, "%u -> %u", step->in_cols, step->out_cols);
	else
		snprintf(text, FG_INSPECT_SHAPE, "%u x (%u -> %u)", step->groups, step->in_cols,
			 step->out_cols);
	return text;
}

char *fg_inspect_port(const struct fg_plan_port *port, char text[FG_INSPECT_PORT])
{
	int length = snprintf(text, FG_INSPECT_PORT, "%s (rows", port->name);

	for (uint32_t i = 0; i < port->rank; i++)
		length += snprintf(text + length, FG_INSPECT_PORT - length, ", %u", port->dims[i]);
	snprintf(text + length, FG_INSPECT_PORT - length, ")%s", port->integer ? " integers" : "");
	return text;
}

uint64_t fg_inspect_bytes(const struct fg_plan_step *step)
{
	uint64_t row = (uint64_t)step->groups * step->out_cols * sizeof(float);
	uint64_t bias = 0;

	if (step->kind == FG_STEP_DENSE)
		bias = (uint64_t)fg_panels(step->out_cols) * FG_PANEL_COLS * sizeof(float);
	else if (step->kind == FG_STEP_LOOKUP)
		bias = (uint64_t)step->entries * sizeof(float);
	else if (step->bias)
		bias = (uint64_t)step->out_cols * sizeof(float);
	return step->weights_bytes + bias + (step->constant ? row : 0);
}

uint64_t fg_inspect_flops(const struct fg_plan_step *step)
{
	uint64_t each = 1;

	if (step->kind == FG_STEP_COLUMNS || step->kind == FG_STEP_FILL ||
	    step->kind == FG_STEP_EMBED)
		return 0;
	if (step->kind == FG_STEP_WIDE || step->kind == FG_STEP_WIDE_REDUCE)
		return (uint64_t)step->groups * step->in_cols / 2;
	if (step->kind >= FG_STEP_REDUCE_SUM && step->kind <= FG_STEP_ARG_MIN)
		return (uint64_t)step->groups * step->in_cols;
	if (step->kind == FG_STEP_DENSE)
		each = 2 * (uint64_t)step->in_cols + (step->other.place != FG_PLACE_NONE);
	else if (step->kind == FG_STEP_AFFINE)
		each = 2;
	else if (step->kind == FG_STEP_CENTER)
		each = 3;
	if (step->kind != FG_STEP_ACTIVATION && step->activation != FG_ACTIVATION_NONE)
		each++;
	return each * step->groups * step->out_cols;
}

struct fg_inspect_total fg_inspect_total(const struct fg_plan_step *steps, uint32_t count)
{
	struct fg_inspect_total total = {0};

	for (uint32_t i = 0; i < count; i++) {
		total.bytes += fg_inspect_bytes(&steps[i]);
		total.flops += fg_inspect_flops(&steps[i]);
	}
	return total;
}

/* ---- times ---- */

/* What one run works on. */
struct bench {
	const struct fg_plan *plan;
	float *in;
	float *out;
	void *scratch;
	uint32_t rows;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Step `step`, or all of them when it is step_count, `count` times. */
static uint64_t time_runs(const struct bench *bench, uint32_t step, uint32_t count)
{
	uint64_t start = now_ns();

	for (uint32_t i = 0; i < count; i++) {
		if (step == bench->plan->step_count)
			fg_plan_run(bench->plan, bench->in, bench->rows, bench->out,
				    bench->scratch);
		else
			fg_plan_run_step(bench->plan, step, bench->in, bench->rows, bench->out,
					 bench->scratch);
	}
	return now_ns() - start;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Median of some repeats, each as many runs as fill REPEAT_NS. */
static double measure_one(const struct bench *bench, uint32_t step)
{
	uint64_t once_ns = time_runs(bench, step, 1) + 1;
	uint32_t count = once_ns < REPEAT_NS ? (uint32_t)(REPEAT_NS / once_ns) : 1;
	double us[REPEATS];

	count = count > MAX_REPEAT ? MAX_REPEAT : count;
	for (uint32_t i = 0; i < REPEATS; i++)
		us[i] = (double)time_runs(bench, step, count) / count / 1000;
	qsort(us, REPEATS, sizeof(us[0]), compare);
	return us[REPEATS / 2];
}

static void fill_inputs(const struct bench *bench)
{
	const struct fg_plan_header *header = bench->plan->header;
	const float *golden = (const float *)((const char *)header + header->golden_inputs);
	size_t cols = bench->plan->in_cols;

	for (uint32_t row = 0; row < bench->rows && header->golden_rows; row++)
		memcpy(bench->in + row * cols, golden + row % header->golden_rows * cols,
		       cols * sizeof(*golden));
}

int fg_inspect_measure(const struct fg_plan *plan, struct fg_inspect_times *times,
		       struct fg_error *error)
{
	const uint32_t most = fg_inspect_batch[FG_INSPECT_BATCHES - 1];
	struct bench bench = {.plan = plan};
	int result = 0;

	bench.in = calloc(most, plan->in_cols * sizeof(float));
	bench.out = calloc(most, plan->out_cols * sizeof(float));
	bench.scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, most) + 64);
	times->step_us = calloc(plan->step_count, sizeof(*times->step_us));
	if (!bench.in || !bench.out || !bench.scratch || !times->step_us) {
		fg_inspect_times_free(times);
		result = fg_error_set(error, -ENOMEM, "out of memory for measuring");
		goto out;
	}
	for (uint32_t b = 0; b < FG_INSPECT_BATCHES; b++) {
		bench.rows = fg_inspect_batch[b];
		fill_inputs(&bench);
		times->plan_us[b] = measure_one(&bench, plan->step_count);
		for (uint32_t i = 0; i < plan->step_count; i++)
			times->step_us[i][b] = measure_one(&bench, i);
	}
out:
	free(bench.in);
	free(bench.out);
	free(bench.scratch);
	return result;
}

void fg_inspect_times_free(struct fg_inspect_times *times)
{
	free(times->step_us);
	times->step_us = NULL;
}
