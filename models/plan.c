#include <errno.h>
#include <math.h>
#include <string.h>
#include "models/cpu.h"
#include "models/pack.h"
#include "models/plan.h"
#include "models/plan_check.h"
#include "models/plan_format.h"
#include "models/plan_refuse.h"

int fg_plan_open_with(struct fg_plan *plan, const struct fg_kernels *kernels, const void *bytes,
		      size_t size, struct fg_error *error)
{
	const struct fg_plan_header *header = bytes;
	int result = fg_plan_check(bytes, size, error);

	if (result)
		return result;
	*plan = (struct fg_plan){.header = header,
				 .kernels = kernels,
				 .steps = fg_plan_steps(header),
				 .step_count = header->step_count,
				 .in_cols = header->in_cols,
				 .out_cols = header->out_cols,
				 .golden_rows = header->golden_rows,
				 .warmup_count = header->warmup_count};
	for (uint32_t i = 0; i < plan->step_count; i++)
		plan->refuses |= fg_plan_may_refuse(&plan->steps[i]);
	return 0;
}

int fg_plan_open(struct fg_plan *plan, const void *bytes, size_t size, struct fg_error *error)
{
	return fg_plan_open_with(plan, fg_cpu_select(), bytes, size, error);
}

const struct fg_plan_port *fg_plan_port(const struct fg_plan *plan, uint32_t i)
{
	return &fg_plan_ports(plan->header)[i];
}

const struct fg_plan_port *fg_plan_output_of(const struct fg_plan *plan, uint32_t col)
{
	const struct fg_plan_port *port = fg_plan_port(plan, plan->header->input_count);

	while (col >= port->first + port->cols)
		port++;
	return port;
}

static uint32_t block_rows(uint32_t rows)
{
	return rows < FG_PLAN_BLOCK_ROWS ? rows : FG_PLAN_BLOCK_ROWS;
}

/* What the INT8 kernels need, behind the buffers. One call may take all groups of all rows. */
static size_t pack_scratch_bytes(const struct fg_plan *plan, uint32_t rows)
{
	size_t most = 0;

	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct fg_plan_step *step = &plan->steps[i];
		size_t bytes = 0;

		if (step->kind == FG_STEP_DENSE && step->format == FG_WEIGHTS_INT8)
			bytes = fg_pack_scratch_bytes(step->in_cols, rows * step->groups);
		if (bytes > most)
			most = bytes;
	}
	return most;
}

size_t fg_plan_scratch_bytes(const struct fg_plan *plan, uint32_t rows)
{
	size_t cols = 0;

	for (uint32_t i = 0; i < plan->header->buffer_count; i++)
		cols += plan->header->buffer_cols[i];
	return cols * block_rows(rows) * sizeof(float) + pack_scratch_bytes(plan, block_rows(rows));
}

static const void *constant(const struct fg_plan *plan, uint64_t offset)
{
	return (const char *)plan->header + offset;
}

struct place {
	float *at;
	size_t stride; /* floats from one row to the next */
};

/* One block of a batch. */
struct block {
	const struct fg_plan *plan;
	void *scratch; /* behind the buffers */
	uint32_t rows;
	struct fg_plan_refusal *refusals; /* (rows); NULL: nobody asks */
	struct place places[FG_PLACE_BUFFER + FG_PLAN_MAX_BUFFERS];
};

/* Finds the places once, so that a step need not. Buffers stand one after the other in scratch,
 * each (rows, its cols). Kernels that are given FG_PLACE_NONE do not look there. */
static void find_places(struct block *block, const float *in, float *out, float *scratch)
{
	const struct fg_plan_header *header = block->plan->header;

	block->places[FG_PLACE_NONE] = block->places[FG_PLACE_CONSTANT] = (struct place){out, 0};
	block->places[FG_PLACE_INPUT] = (struct place){(float *)in, header->in_cols};
	block->places[FG_PLACE_OUTPUT] = (struct place){out, header->out_cols};
	for (uint32_t i = 0; i < header->buffer_count; i++) {
		block->places[FG_PLACE_BUFFER + i] =
			(struct place){scratch, header->buffer_cols[i]};
		scratch += (size_t)header->buffer_cols[i] * block->rows;
	}
	block->scratch = scratch;
}

static float *operand(const struct block *block, struct fg_plan_span span, size_t *stride)
{
	const struct place *place = &block->places[span.place];

	*stride = place->stride;
	return place->at + span.first;
}

/* True when the groups of all rows follow each other: one row of (groups, cols) behind the other.
 */
static bool is_even(size_t stride, uint32_t groups, uint32_t cols)
{
	return stride == (size_t)groups * cols;
}

/* Calls the kernel with one row for each group: for the whole block at once where one stride leads
 * from each group to the next, else for each row. */
static void run_groups(const struct fg_plan_step *step, struct fg_kernel_args *args,
		       void (*run)(const struct fg_kernel_args *args))
{
	const size_t in = args->in_stride, other = args->other_stride;
	const size_t third = args->third_stride, out = args->out_stride;
	const uint32_t groups = step->groups;
	uint32_t calls = args->rows;

	args->rows = groups;
	if (is_even(in, groups, args->in_cols) && is_even(out, groups, args->out_cols) &&
	    (!args->other || is_even(other, groups, args->out_cols)) &&
	    (!args->third || is_even(third, groups, args->out_cols))) {
		args->rows = calls * groups;
		calls = 1;
	}
	args->in_stride = args->in_cols;
	args->other_stride = args->third_stride = args->out_stride = args->out_cols;
	for (;;) {
		run(args);
		if (--calls == 0)
			break;
		args->in += in;
		args->out += out;
		if (args->other)
			args->other += other;
		if (args->third)
			args->third += third;
	}
}

static void run_step(const struct block *block, const struct fg_plan_step *step)
{
	struct fg_kernel_args args = {.weights = constant(block->plan, step->weights),
				      .bias = constant(block->plan, step->bias),
				      .scratch = block->scratch,
				      .rows = block->rows,
				      .in_cols = step->in_cols,
				      .out_cols = step->out_cols,
				      .entries = step->entries,
				      .operation = step->operation,
				      .format = step->format,
				      .activation = step->activation,
				      .alpha = step->alpha,
				      .beta = step->beta};

	args.in = operand(block, step->in, &args.in_stride);
	if (block->refusals && fg_plan_may_refuse(step))
		fg_plan_refuse(block->plan, (uint32_t)(step - block->plan->steps), args.in,
			       args.in_stride, block->rows, block->refusals);
	args.out = operand(block, step->out, &args.out_stride);
	if (step->other.place == FG_PLACE_CONSTANT)
		args.other = constant(block->plan, step->constant);
	else if (step->other.place != FG_PLACE_NONE)
		args.other = operand(block, step->other, &args.other_stride);
	if (step->third.place != FG_PLACE_NONE)
		args.third = operand(block, step->third, &args.third_stride);
	if (step->groups == 1)
		block->plan->kernels->run[step->kind](&args);
	else
		run_groups(step, &args, block->plan->kernels->run[step->kind]);
}

/* refusals NULL: nobody asks. */
static void run_blocks(const struct fg_plan *plan, const float *in, uint32_t rows, float *out,
		       void *scratch, struct fg_plan_refusal *refusals)
{
	struct block block;

	block.plan = plan;
	for (uint32_t row = 0; row < rows; row += block.rows) {
		block.rows = block_rows(rows - row);
		find_places(&block, in + (size_t)row * plan->in_cols,
			    out + (size_t)row * plan->out_cols, scratch);
		block.refusals = refusals ? refusals + row : NULL;
		for (uint32_t i = 0; i < plan->step_count; i++) {
			run_step(&block, &plan->steps[i]);
			if (plan->progress)
				plan->progress(plan->watcher);
		}
	}
}

void fg_plan_run(const struct fg_plan *plan, const float *in, uint32_t rows, float *out,
		 void *scratch)
{
	run_blocks(plan, in, rows, out, scratch, NULL);
}

uint32_t fg_plan_try(const struct fg_plan *plan, const float *in, uint32_t rows, float *out,
		     void *scratch, struct fg_plan_refusal *refusals)
{
	uint32_t refused = 0;

	if (!plan->refuses) {
		run_blocks(plan, in, rows, out, scratch, NULL);
		return 0;
	}
	memset(refusals, 0, rows * sizeof(*refusals));
	run_blocks(plan, in, rows, out, scratch, refusals);
	for (uint32_t row = 0; row < rows; row++)
		refused += refusals[row].step != 0;
	return refused;
}

void fg_plan_run_step(const struct fg_plan *plan, uint32_t i, const float *in, uint32_t rows,
		      float *out, void *scratch)
{
	struct block block;

	block.plan = plan;
	block.rows = rows;
	block.refusals = NULL;
	find_places(&block, in, out, scratch);
	run_step(&block, &plan->steps[i]);
}

size_t fg_plan_golden_scratch_bytes(const struct fg_plan *plan)
{
	return fg_plan_scratch_bytes(plan, plan->golden_rows) +
	       (size_t)plan->golden_rows *
		       (plan->out_cols * sizeof(float) + sizeof(struct fg_plan_refusal));
}

/* Equal infinities, and NaN where NaN is wanted, are matches too. */
static bool matches(float got, float wanted, float tolerance)
{
	if (!isfinite(wanted))
		return got == wanted || (isnan(got) && isnan(wanted));
	return fabsf(got - wanted) <= tolerance * (1.0f + fabsf(wanted));
}

/* Whose rows they are: a version's author looks elsewhere than who made kernels. */
static const char *golden_source(const struct fg_plan_header *header)
{
	static const char *const sources[] = {"made-up ", "golden.json: ", "golden.npz: "};

	return sources[header->golden_shipped];
}

/* The first of the rows that are refused. */
static int refused_golden(const struct fg_plan *plan, const struct fg_plan_refusal *refusals,
			  struct fg_error *error)
{
	const float *in = constant(plan, plan->header->golden_inputs);
	char why[128];
	size_t row = 0;

	while (!refusals[row].step)
		row++;
	fg_plan_refusal_text(plan, &refusals[row], in + row * plan->in_cols, why, sizeof(why));
	return fg_error_set(error, -EILSEQ, "%sgolden row %zu: the model refuses it: %s",
			    golden_source(plan->header), row, why);
}

int fg_plan_check_golden(const struct fg_plan *plan, void *scratch, struct fg_error *error)
{
	const struct fg_plan_header *header = plan->header;
	const float *wanted = constant(plan, header->golden_outputs);
	float *got = (float *)((char *)scratch + fg_plan_scratch_bytes(plan, plan->golden_rows));
	const size_t count = (size_t)plan->golden_rows * plan->out_cols;
	struct fg_plan_refusal *refusals = (struct fg_plan_refusal *)(got + count);

	if (fg_plan_try(plan, constant(plan, header->golden_inputs), plan->golden_rows, got,
			scratch, refusals))
		return refused_golden(plan, refusals, error);
	for (size_t i = 0; i < count; i++) {
		uint32_t col = (uint32_t)(i % plan->out_cols);

		if (!matches(got[i], wanted[i], header->golden_tolerance))
			return fg_error_set(error, -EILSEQ,
					    "%sgolden row %zu, column %u (of output '%s'): got "
					    "%.9g, wanted %.9g (tolerance %g, %s kernels)",
					    golden_source(header), i / plan->out_cols, col,
					    fg_plan_output_of(plan, col)->name, got[i], wanted[i],
					    header->golden_tolerance, plan->kernels->isa);
	}
	return 0;
}

const float *fg_plan_warmup(const struct fg_plan *plan, uint32_t i, uint32_t *rows)
{
	const uint32_t *batches = constant(plan, plan->header->warmup_batches);
	const float *inputs = constant(plan, plan->header->warmup_inputs);
	size_t before = 0;

	*rows = batches[i];
	while (i-- > 0)
		before += batches[i];
	return inputs + before * plan->in_cols;
}
