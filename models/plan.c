#include <errno.h>
#include <math.h>
#include "models/cpu.h"
#include "models/plan.h"
#include "models/plan_check.h"
#include "models/plan_format.h"

int fg_plan_open_with(struct fg_plan *plan, const struct fg_kernels *kernels, const void *bytes,
		      size_t size, struct fg_error *error)
{
	const struct fg_plan_header *header = bytes;
	int result = fg_plan_check(bytes, size, error);

	if (result)
		return result;
	*plan = (struct fg_plan){.header = header,
				 .kernels = kernels,
				 .in_cols = header->in_cols,
				 .out_cols = header->out_cols,
				 .golden_rows = header->golden_rows};
	return 0;
}

int fg_plan_open(struct fg_plan *plan, const void *bytes, size_t size, struct fg_error *error)
{
	return fg_plan_open_with(plan, fg_cpu_select(), bytes, size, error);
}

static size_t block_rows(uint32_t rows)
{
	return rows < FG_PLAN_BLOCK_ROWS ? rows : FG_PLAN_BLOCK_ROWS;
}

size_t fg_plan_scratch_bytes(const struct fg_plan *plan, uint32_t rows)
{
	size_t cols = 0;

	for (uint32_t i = 0; i < plan->header->buffer_count; i++)
		cols += plan->header->buffer_cols[i];
	return cols * block_rows(rows) * sizeof(float);
}

static const float *constant(const struct fg_plan *plan, uint64_t offset)
{
	return (const float *)((const char *)plan->header + offset);
}

/* One block of a batch. Buffers stand one after the other in scratch, each (rows, its cols). */
struct block {
	const struct fg_plan *plan;
	const float *in;
	float *out;
	float *scratch;
	uint32_t rows;
};

static float *buffer(const struct block *block, uint32_t place, size_t *stride)
{
	const uint32_t *cols = block->plan->header->buffer_cols;
	size_t before = 0;

	for (uint32_t i = 0; i < place - FG_PLACE_BUFFER; i++)
		before += cols[i];
	*stride = cols[place - FG_PLACE_BUFFER];
	return block->scratch + before * block->rows;
}

static const float *readable(const struct block *block, uint32_t place, size_t *stride)
{
	if (place != FG_PLACE_INPUT)
		return buffer(block, place, stride);
	*stride = block->plan->in_cols;
	return block->in;
}

static float *writable(const struct block *block, uint32_t place, size_t *stride)
{
	if (place != FG_PLACE_OUTPUT)
		return buffer(block, place, stride);
	*stride = block->plan->out_cols;
	return block->out;
}

static void run_step(const struct block *block, const struct fg_plan_step *step)
{
	struct fg_kernel_args args = {.weights = constant(block->plan, step->weights),
				      .bias = constant(block->plan, step->bias),
				      .rows = block->rows,
				      .in_cols = step->in_cols,
				      .out_cols = step->out_cols,
				      .activation = step->activation,
				      .alpha = step->alpha};

	args.in = readable(block, step->in, &args.in_stride);
	args.out = writable(block, step->out, &args.out_stride);
	if (step->other == FG_PLACE_NONE)
		args.other = args.bias;
	else
		args.other = readable(block, step->other, &args.other_stride);
	block->plan->kernels->run[step->kind](&args);
}

void fg_plan_run(const struct fg_plan *plan, const float *in, uint32_t rows, float *out,
		 void *scratch)
{
	const struct fg_plan_step *steps = (const struct fg_plan_step *)(plan->header + 1);

	for (uint32_t row = 0; row < rows; row += FG_PLAN_BLOCK_ROWS) {
		struct block block = {.plan = plan,
				      .in = in + (size_t)row * plan->in_cols,
				      .out = out + (size_t)row * plan->out_cols,
				      .scratch = scratch,
				      .rows = block_rows(rows - row)};

		for (uint32_t i = 0; i < plan->header->step_count; i++)
			run_step(&block, &steps[i]);
	}
}

size_t fg_plan_golden_scratch_bytes(const struct fg_plan *plan)
{
	return fg_plan_scratch_bytes(plan, plan->golden_rows) +
	       (size_t)plan->golden_rows * plan->out_cols * sizeof(float);
}

/* Equal infinities, and NaN where NaN is wanted, are matches too. */
static bool matches(float got, float wanted, float tolerance)
{
	if (!isfinite(wanted))
		return got == wanted || (isnan(got) && isnan(wanted));
	return fabsf(got - wanted) <= tolerance * (1.0f + fabsf(wanted));
}

int fg_plan_check_golden(const struct fg_plan *plan, void *scratch, struct fg_error *error)
{
	const struct fg_plan_header *header = plan->header;
	const float *wanted = constant(plan, header->golden_outputs);
	float *got = (float *)((char *)scratch + fg_plan_scratch_bytes(plan, plan->golden_rows));
	const size_t count = (size_t)plan->golden_rows * plan->out_cols;

	fg_plan_run(plan, constant(plan, header->golden_inputs), plan->golden_rows, got, scratch);
	for (size_t i = 0; i < count; i++)
		if (!matches(got[i], wanted[i], header->golden_tolerance))
			return fg_error_set(error, -EILSEQ,
					    "golden row %zu, column %zu: got %.9g, wanted %.9g "
					    "(tolerance %g, %s kernels)",
					    i / plan->out_cols, i % plan->out_cols, got[i],
					    wanted[i], header->golden_tolerance,
					    plan->kernels->isa);
	return 0;
}
