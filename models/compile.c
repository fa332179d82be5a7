#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "models/compile.h"
#include "models/ir.h"
#include "models/ops.h"
#include "models/plan.h"
#include "models/plan_format.h"

#define MADE_GOLDEN_FLOATS (1u << 20) /* inputs, at most, so that wide models stay small */

struct compile {
	struct fg_arena arena; /* of ir */
	struct fg_ir ir;
	struct fg_plan_header header;
	struct fg_plan_step steps[FG_PLAN_MAX_STEPS];
};

static uint64_t padded_cols(uint32_t cols)
{
	return (uint64_t)fg_panels(cols) * FG_PANEL_COLS;
}

/* Gives `floats` floats the next place behind all others. */
static uint64_t reserve(struct compile *compile, uint64_t floats)
{
	uint64_t offset = compile->header.size;
	uint64_t bytes = floats * sizeof(float) + FG_PLAN_ALIGN - 1;

	compile->header.size += bytes / FG_PLAN_ALIGN * FG_PLAN_ALIGN;
	return offset;
}

/* The last step that reads what `source` makes. */
static uint32_t last_reader(const struct fg_ir *ir, uint32_t source)
{
	uint32_t last = source;

	for (uint32_t i = source + 1; i < ir->step_count; i++)
		if (ir->steps[i].in == (int)source || ir->steps[i].other == (int)source)
			last = i;
	return last;
}

/*
 * Gives each step but the last a buffer whose former rows nobody reads any more. A step's own
 * inputs are still read while it writes, so a chain takes two buffers in turn. Among free ones
 * the widest is taken, so that a wide layer widens no second buffer.
 */
static int plan_buffers(struct compile *compile, struct fg_error *error)
{
	struct fg_plan_header *header = &compile->header;
	uint32_t busy_until[FG_PLAN_MAX_BUFFERS] = {0}; /* the last step that reads it */
	const struct fg_ir *ir = &compile->ir;

	for (uint32_t i = 0; i + 1 < ir->step_count; i++) {
		uint32_t best = FG_PLAN_MAX_BUFFERS, cols = padded_cols(ir->steps[i].out_cols);

		for (uint32_t b = 0; b < header->buffer_count; b++)
			if (busy_until[b] < i &&
			    (best == FG_PLAN_MAX_BUFFERS ||
			     header->buffer_cols[b] > header->buffer_cols[best]))
				best = b;
		if (best == FG_PLAN_MAX_BUFFERS)
			best = header->buffer_count;
		if (best == FG_PLAN_MAX_BUFFERS)
			return fg_error_set(error, -EINVAL,
					    "more than %u intermediate results are needed at "
					    "once, at step %u of %u",
					    FG_PLAN_MAX_BUFFERS, i, ir->step_count);
		if (best == header->buffer_count)
			header->buffer_count++;
		if (header->buffer_cols[best] < cols)
			header->buffer_cols[best] = cols;
		busy_until[best] = last_reader(ir, i);
		compile->steps[i].out = FG_PLACE_BUFFER + best;
	}
	compile->steps[ir->step_count - 1].out = FG_PLACE_OUTPUT;
	return 0;
}

static uint32_t place_of(const struct compile *compile, int source)
{
	if (source == FG_IR_NONE)
		return FG_PLACE_NONE;
	return source == FG_IR_INPUT ? FG_PLACE_INPUT : compile->steps[source].out;
}

static void set_label(struct fg_plan_step *step, const struct fg_node *node)
{
	struct fg_text name = {"copy", 4};

	if (node)
		name = node->name.length ? node->name
					 : (struct fg_text){node->op->name, strlen(node->op->name)};
	fg_text_print(name, step->label, sizeof(step->label));
}

static void plan_step(struct compile *compile, uint32_t i)
{
	const struct fg_ir_step *from = &compile->ir.steps[i];
	struct fg_plan_step *step = &compile->steps[i];
	uint64_t cols = padded_cols(from->out_cols);

	step->kind = from->kind;
	step->activation = from->activation;
	step->in = place_of(compile, from->in);
	step->other = place_of(compile, from->other);
	step->in_cols = from->in_cols;
	step->out_cols = from->out_cols;
	step->alpha = from->alpha;
	if (from->weights)
		step->weights = reserve(compile, cols * from->in_cols);
	if (from->bias)
		step->bias = reserve(compile, cols);
	set_label(step, from->node);
}

static int plan_golden(struct compile *compile, const struct fg_golden *golden,
		       struct fg_error *error)
{
	struct fg_plan_header *header = &compile->header;
	uint32_t rows = MADE_GOLDEN_FLOATS / header->in_cols;

	if (golden && (golden->in_cols != header->in_cols || golden->out_cols != header->out_cols))
		return fg_error_set(error, -EINVAL,
				    "golden rows take %u columns to %u, the model takes %u to %u",
				    golden->in_cols, golden->out_cols, header->in_cols,
				    header->out_cols);
	header->golden_rows = rows < FG_GOLDEN_MADE_ROWS ? rows : FG_GOLDEN_MADE_ROWS;
	header->golden_tolerance = FG_GOLDEN_TOLERANCE;
	if (golden) {
		header->golden_rows = golden->rows;
		header->golden_tolerance = golden->tolerance;
		header->golden_shipped = 1;
	}
	header->golden_inputs = reserve(compile, (uint64_t)header->golden_rows * header->in_cols);
	header->golden_outputs = reserve(compile, (uint64_t)header->golden_rows * header->out_cols);
	return 0;
}

static int plan_all(struct compile *compile, const struct fg_golden *golden, struct fg_error *error)
{
	const struct fg_ir *ir = &compile->ir;
	struct fg_plan_header *header = &compile->header;
	int result;

	if (ir->step_count > FG_PLAN_MAX_STEPS)
		return fg_error_set(error, -EINVAL, "%u steps, a plan holds at most %u",
				    ir->step_count, FG_PLAN_MAX_STEPS);
	header->magic = FG_PLAN_MAGIC;
	header->version = FG_PLAN_VERSION;
	header->in_cols = ir->values[ir->graph->input].cols;
	header->out_cols = ir->steps[ir->step_count - 1].out_cols;
	header->step_count = ir->step_count;
	header->size = sizeof(*header) + ir->step_count * sizeof(struct fg_plan_step);
	header->size = (header->size + FG_PLAN_ALIGN - 1) / FG_PLAN_ALIGN * FG_PLAN_ALIGN;
	result = plan_buffers(compile, error);
	for (uint32_t i = 0; i < ir->step_count && !result; i++)
		plan_step(compile, i);
	return result ? result : plan_golden(compile, golden, error);
}

/* (in_cols, out_cols) row-major to panels. The padding is zero already. */
static void pack_weights(const struct fg_ir_step *step, float *panels)
{
	for (uint32_t k = 0; k < step->in_cols; k++)
		for (uint32_t col = 0; col < step->out_cols; col++) {
			size_t panel = col / FG_PANEL_COLS;
			size_t at = (panel * step->in_cols + k) * FG_PANEL_COLS;

			panels[at + col % FG_PANEL_COLS] =
				step->weights[(size_t)k * step->out_cols + col];
		}
}

static void write_steps(const struct compile *compile, char *bytes)
{
	const struct fg_ir *ir = &compile->ir;

	memcpy(bytes, &compile->header, sizeof(compile->header));
	memcpy(bytes + sizeof(compile->header), compile->steps,
	       ir->step_count * sizeof(compile->steps[0]));
	for (uint32_t i = 0; i < ir->step_count; i++) {
		const struct fg_ir_step *step = &ir->steps[i];

		if (step->weights)
			pack_weights(step, (float *)(bytes + compile->steps[i].weights));
		if (step->bias)
			memcpy(bytes + compile->steps[i].bias, step->bias,
			       step->out_cols * sizeof(float));
	}
}

/* splitmix64 (Steele, Lea, Flood 2014), its upper 24 bits as a float in [-1, 1). */
static float next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	z ^= z >> 31;
	return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

static void seal(char *bytes)
{
	struct fg_plan_header *header = (struct fg_plan_header *)bytes;
	const size_t covered = offsetof(struct fg_plan_header, digest) + sizeof(header->digest);

	header->digest = XXH3_64bits(bytes + covered, header->size - covered);
}

/* Runs the made rows through the C reference, in the plan's own bytes. */
static int make_golden(char *bytes, struct fg_error *error)
{
	const struct fg_plan_header *header = (const struct fg_plan_header *)bytes;
	float *inputs = (float *)(bytes + header->golden_inputs);
	uint64_t state = 0;
	struct fg_plan plan;
	void *scratch;
	int result;

	for (size_t i = 0; i < (size_t)header->golden_rows * header->in_cols; i++)
		inputs[i] = next_random(&state);
	seal(bytes);
	result = fg_plan_open_with(&plan, &fg_kernels_c, bytes, header->size, error);
	if (result)
		return result;
	scratch = aligned_alloc(FG_PLAN_ALIGN,
				fg_plan_scratch_bytes(&plan, plan.golden_rows) + FG_PLAN_ALIGN);
	if (!scratch)
		return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	fg_plan_run(&plan, inputs, plan.golden_rows, (float *)(bytes + header->golden_outputs),
		    scratch);
	free(scratch);
	return 0;
}

static int write_golden(char *bytes, const struct fg_golden *golden, struct fg_error *error)
{
	const struct fg_plan_header *header = (const struct fg_plan_header *)bytes;
	int result = 0;

	if (golden) {
		memcpy(bytes + header->golden_inputs, golden->inputs,
		       (size_t)golden->rows * golden->in_cols * sizeof(float));
		memcpy(bytes + header->golden_outputs, golden->outputs,
		       (size_t)golden->rows * golden->out_cols * sizeof(float));
	} else {
		result = make_golden(bytes, error);
	}
	if (!result)
		seal(bytes);
	return result;
}

int fg_compile(const struct fg_graph *graph, const struct fg_golden *golden, void **bytes,
	       size_t *size, struct fg_error *error)
{
	struct compile *compile = calloc(1, sizeof(*compile));
	char *plan = NULL;
	int result;

	if (!compile)
		return fg_error_set(error, -ENOMEM, "out of memory");
	result = fg_ir_lower(&compile->ir, graph, &compile->arena, error);
	if (!result)
		result = plan_all(compile, golden, error);
	if (result)
		goto out;
	plan = aligned_alloc(FG_PLAN_ALIGN, compile->header.size);
	if (!plan) {
		result = fg_error_set(error, -ENOMEM, "out of memory for a plan of %llu bytes",
				      (unsigned long long)compile->header.size);
		goto out;
	}
	memset(plan, 0, compile->header.size);
	write_steps(compile, plan);
	result = write_golden(plan, golden, error);
	if (result) {
		free(plan);
		goto out;
	}
	*bytes = plan;
	*size = compile->header.size;
out:
	fg_arena_free(&compile->arena);
	free(compile);
	return result;
}
