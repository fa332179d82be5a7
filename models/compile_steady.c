#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile_steady.h"
#include "models/plan_format.h"
#include "models/plan_shape.h"

/* A rounded result is off by this part of itself: 16 units, more than kernels differ by. What goes
 * into a sum, by a quarter of that times the root of how many do: so sums wander. */
#define RESULT_OFF  0x1p-20f
#define SUMMAND_OFF 0x1p-22f

struct shaker {
	const struct fg_plan *plan;
	const float *inputs;
	float *shaken_inputs; /* for sums over them; what else reads inputs reads them as they are
			       */
	float *out;
	char *scratch;
	uint32_t rows;
	uint64_t random;
};

static bool activation_jumps(uint32_t activation)
{
	switch (activation) {
	case FG_ACTIVATION_SIGN:
	case FG_ACTIVATION_FLOOR:
	case FG_ACTIVATION_CEIL:
	case FG_ACTIVATION_ROUND:
	case FG_ACTIVATION_TRUNC:
	case FG_ACTIVATION_NOT:
	case FG_ACTIVATION_WRAP:
	case FG_ACTIVATION_TO_INTEGER:
		return true;
	default:
		return false;
	}
}

bool fg_steady_has_jumps(const struct fg_plan *plan)
{
	for (uint32_t i = 0; i < plan->step_count; i++)
		switch (plan->steps[i].kind) {
		case FG_STEP_LESS:
		case FG_STEP_LESS_EQUAL:
		case FG_STEP_EQUAL:
		case FG_STEP_ARG_MAX:
		case FG_STEP_ARG_MIN:
		case FG_STEP_LOOKUP:
		case FG_STEP_WIDE:
		case FG_STEP_WIDE_LOOKUP:
			return true;
		default:
			if (activation_jumps(plan->steps[i].activation))
				return true;
		}
	return false;
}

static bool sums_up(const struct fg_plan_step *step)
{
	return step->kind == FG_STEP_DENSE ||
	       (step->kind >= FG_STEP_SOFTMAX && step->kind <= FG_STEP_REDUCE_L2);
}

/* True for a step whose results are not rounded: some of its operands, or table entries; and for
 * wide numbers, of which every column is only a half. */
static bool is_exact(const struct fg_plan_step *step)
{
	switch (step->kind) {
	case FG_STEP_ACTIVATION:
		return step->activation == FG_ACTIVATION_NONE ||
		       step->activation == FG_ACTIVATION_RELU ||
		       step->activation == FG_ACTIVATION_CLIP ||
		       step->activation == FG_ACTIVATION_ABS;
	case FG_STEP_MIN:
	case FG_STEP_MAX:
		return step->activation == FG_ACTIVATION_NONE;
	case FG_STEP_SELECT:
	case FG_STEP_REDUCE_MAX:
	case FG_STEP_EMBED:
	case FG_STEP_COLUMNS:
	case FG_STEP_FILL:
	case FG_STEP_LOOKUP:
	case FG_STEP_WIDE ... FG_STEP_WIDE_LOOKUP:
		return true;
	default:
		return false;
	}
}

/* splitmix64 (Steele, Lea, Flood 2014), in [-1, 1). */
static float next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (float)((z ^ z >> 31) >> 40) * 0x1p-23f - 1.0f;
}

/* Whole numbers are most often counted, not rounded, and a bound of CLIP is what it is. `made_by`:
 * the step whose results these are; NULL: nobody knows. */
static void shake(struct shaker *shaker, float *at, size_t stride, size_t cols, float off,
		  const struct fg_plan_step *made_by)
{
	for (uint32_t row = 0; row < shaker->rows; row++)
		for (size_t col = 0; col < cols; col++) {
			float *number = at + row * stride + col;
			bool is_bound = made_by && made_by->activation == FG_ACTIVATION_CLIP &&
					(*number == made_by->alpha || *number == made_by->beta);

			if (isfinite(*number) && *number != truncf(*number) && !is_bound)
				*number *= 1 + off * next_random(&shaker->random);
		}
}

/* Where a step has written, or will read, what was written. */
static float *place_of(const struct shaker *shaker, struct fg_plan_span span, size_t *stride)
{
	const struct fg_plan_header *header = shaker->plan->header;
	float *at = (float *)shaker->scratch;

	if (span.place == FG_PLACE_OUTPUT) {
		*stride = header->out_cols;
		return shaker->out + span.first;
	}
	for (uint32_t i = 0; i < span.place - FG_PLACE_BUFFER; i++)
		at += (size_t)header->buffer_cols[i] * shaker->rows;
	*stride = header->buffer_cols[span.place - FG_PLACE_BUFFER];
	return at + span.first;
}

static void run_step(struct shaker *shaker, uint32_t i)
{
	const struct fg_plan_step *step = &shaker->plan->steps[i];
	const size_t in_cols = (size_t)step->groups * step->in_cols;
	const bool shakes_inputs = sums_up(step) && step->in.place == FG_PLACE_INPUT;
	size_t stride;
	float *at;

	if (sums_up(step) && !shakes_inputs) {
		at = place_of(shaker, step->in, &stride);
		shake(shaker, at, stride, in_cols, SUMMAND_OFF * sqrtf((float)step->in_cols), NULL);
	}
	fg_plan_run_step(shaker->plan, i, shakes_inputs ? shaker->shaken_inputs : shaker->inputs,
			 shaker->rows, shaker->out, shaker->scratch);
	if (is_exact(step))
		return;
	at = place_of(shaker, step->out, &stride);
	shake(shaker, at, stride, (size_t)step->groups * step->out_cols, RESULT_OFF, step);
}

static void run(struct shaker *shaker)
{
	const size_t cols = shaker->plan->in_cols;

	memcpy(shaker->shaken_inputs, shaker->inputs, shaker->rows * cols * sizeof(float));
	shake(shaker, shaker->shaken_inputs, cols, cols, SUMMAND_OFF * sqrtf((float)cols), NULL);
	for (uint32_t i = 0; i < shaker->plan->step_count; i++)
		run_step(shaker, i);
}

float fg_steady_difference(float a, float b)
{
	if (a == b || (isnan(a) && isnan(b)))
		return 0;
	if (!isfinite(a) || !isfinite(b))
		return INFINITY;
	return fabsf(a - b) / (1 + fabsf(b));
}

int fg_steady_measure(const struct fg_plan *plan, const float *inputs, uint32_t rows,
		      const float *outputs, struct fg_arena *arena, float **shaken)
{
	struct shaker shaker = {.plan = plan, .inputs = inputs, .rows = rows};
	float *worst = fg_arena_alloc(arena, rows, sizeof(*worst));
	int result = -ENOMEM;

	*shaken = worst;
	if (!worst || !fg_steady_has_jumps(plan))
		return worst ? 0 : -ENOMEM;
	shaker.shaken_inputs = malloc((size_t)rows * plan->in_cols * sizeof(float));
	shaker.out = malloc((size_t)rows * plan->out_cols * sizeof(float));
	shaker.scratch =
		aligned_alloc(FG_PLAN_ALIGN, fg_plan_scratch_bytes(plan, rows) + FG_PLAN_ALIGN);
	if (!shaker.shaken_inputs || !shaker.out || !shaker.scratch)
		goto out;
	for (int i = 0; i < FG_STEADY_RUNS; i++) {
		run(&shaker);
		for (size_t j = 0; j < (size_t)rows * plan->out_cols; j++)
			worst[j / plan->out_cols] =
				fmaxf(worst[j / plan->out_cols],
				      fg_steady_difference(shaker.out[j], outputs[j]));
	}
	result = 0;
out:
	free(shaker.shaken_inputs);
	free(shaker.out);
	free(shaker.scratch);
	return result;
}
