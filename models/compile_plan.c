#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "models/compile_buffers.h"
#include "models/compile_constants.h"
#include "models/compile_plan.h"
#include "models/ops.h"
#include "models/pack.h"
#include "models/plan_check.h"
#include "models/plan_format.h"
#include "models/plan_shape.h"

struct maker {
	const struct fg_ir *ir;
	struct fg_arena arena;
	struct fg_plan_header header;
	struct fg_plan_port *ports; /* inputs, then outputs */
	struct fg_plan_step *steps;
	uint32_t *places; /* of the ir's rows */
	struct fg_constants constants;
};

/* ---- inputs and outputs ------------------------------------------------------------------ */

/* What does not fit, or is not printable, is not needed to tell ports apart for people. */
void fg_plan_name(char to[FG_PLAN_NAME_BYTES], struct fg_text name)
{
	for (size_t i = 0; i < name.length && i < FG_PLAN_NAME_BYTES - 1; i++)
		to[i] = name.at[i] >= ' ' && name.at[i] <= '~' ? name.at[i] : '?';
}

static int set_labels(struct maker *maker, struct fg_plan_port *port,
		      const struct fg_tensor *labels, struct fg_error *error)
{
	size_t bytes = labels->count;
	char *texts, *at;

	for (size_t i = 0; i < labels->count; i++)
		bytes += fg_tensor_text(labels, i).length;
	texts = at = fg_arena_alloc(&maker->arena, bytes, 1);
	if (!texts)
		return fg_error_set(error, -ENOMEM, "out of memory");
	for (size_t i = 0; i < labels->count; i++) {
		struct fg_text text = fg_tensor_text(labels, i);

		if (text.length)
			memcpy(at, text.at, text.length);
		at += text.length + 1;
	}
	if (labels->count > UINT32_MAX || !fg_plan_labels_ok(texts, bytes, (uint32_t)labels->count))
		return fg_error_set(error, -EINVAL,
				    "output '%s': its class labels are not UTF-8 texts",
				    port->name);
	port->label_count = (uint32_t)labels->count;
	port->labels_bytes = bytes;
	if (bytes)
		port->labels = fg_constants_add(&maker->constants,
						(struct fg_constant){.source = texts,
								     .source_bytes = bytes,
								     .bytes = bytes});
	return 0;
}

/* Ports stand side by side; *next is the column behind the last one. */
static int make_port(struct maker *maker, const struct fg_graph_port *from,
		     struct fg_plan_port *port, uint32_t *next, struct fg_error *error)
{
	const struct fg_ir_value *value = &maker->ir->values[from->value];

	fg_plan_name(port->name, maker->ir->graph->values[from->value].name);
	port->first = *next;
	port->cols = value->cols;
	port->rank = value->rank - 1;
	for (uint32_t i = 0; i < port->rank; i++)
		port->dims[i] = (uint32_t)value->dims[i + 1];
	port->integer = from->element == FG_ELEMENT_I64 || from->element == FG_ELEMENT_TEXT ||
			value->labels;
	*next += port->cols;
	port->named_columns = value->columns != NULL;
	if (value->columns)
		return set_labels(maker, port, value->columns, error);
	return value->labels ? set_labels(maker, port, value->labels, error) : 0;
}

static int make_ports(struct maker *maker, struct fg_error *error)
{
	const struct fg_graph *graph = maker->ir->graph;
	struct fg_plan_port *port = maker->ports;
	uint32_t in_cols = 0, out_cols = 0;
	int result = 0;

	for (uint32_t i = 0; i < graph->input_count && !result; i++)
		result = make_port(maker, &graph->inputs[i], port++, &in_cols, error);
	for (uint32_t i = 0; i < graph->output_count && !result; i++)
		result = make_port(maker, &graph->outputs[i], port++, &out_cols, error);
	return result;
}

/* ---- steps ------------------------------------------------------------------------------- */

static void set_label(struct fg_plan_step *step, const struct fg_node *node)
{
	struct fg_text name = {"copy", 4};

	if (node)
		name = node->name.length ? node->name
					 : (struct fg_text){node->op->name, strlen(node->op->name)};
	fg_text_print(name, step->label, sizeof(step->label));
}

static bool all_finite(const float *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!isfinite(numbers[i]))
			return false;
	return true;
}

/* The format that the weights of a DENSE step get when `wanted` is asked for. A narrow layer is
 * too small to be worth an error, and is most often the last. */
static enum fg_weights format_of(const struct fg_ir_step *step, enum fg_weights wanted)
{
	if (step->kind != FG_STEP_DENSE || step->out_cols < FG_PANEL_COLS)
		return FG_WEIGHTS_F32;
	if (wanted == FG_WEIGHTS_INT8 &&
	    (step->in_cols > FG_PACK_INT8_MAX_COLS ||
	     !all_finite(step->weights, (size_t)step->in_cols * step->out_cols)))
		return FG_WEIGHTS_F32;
	return wanted;
}

static struct fg_plan_span place_of(const struct maker *maker, struct fg_ir_span span)
{
	if (span.rows == FG_IR_NONE)
		return (struct fg_plan_span){FG_PLACE_NONE, 0};
	return (struct fg_plan_span){maker->places[span.rows], span.first};
}

static void add_weights(struct maker *maker, const struct fg_ir_step *from,
			struct fg_plan_step *step)
{
	const bool is_dense = from->kind == FG_STEP_DENSE;
	struct fg_constant constant = {
		.source = from->weights,
		.bytes = fg_plan_weights_bytes(step),
		.is_packed = is_dense,
		.format = step->format,
		.in_cols = is_dense ? step->in_cols : 0,
		.out_cols = is_dense ? step->out_cols : 0,
	};

	constant.source_bytes = is_dense ? (uint64_t)step->in_cols * step->out_cols * sizeof(float)
					 : constant.bytes;
	step->weights_bytes = constant.bytes;
	if (constant.bytes)
		step->weights = fg_constants_add(&maker->constants, constant);
}

/* `used` bytes at `source`, and zeros up to `bytes`. */
static uint64_t add_floats(struct maker *maker, const float *source, uint64_t used, uint64_t bytes)
{
	return fg_constants_add(&maker->constants, (struct fg_constant){.source = source,
									.source_bytes = used,
									.bytes = bytes});
}

static void make_step(struct maker *maker, const struct fg_ir_step *from, struct fg_plan_step *step,
		      enum fg_weights format)
{
	const uint64_t out_bytes = (uint64_t)from->out_cols * sizeof(float);
	uint64_t bias_bytes;

	step->kind = from->kind;
	step->activation = from->activation;
	step->in = place_of(maker, from->in);
	step->other = place_of(maker, from->other);
	step->third = place_of(maker, from->third);
	step->out = place_of(maker, from->out);
	step->groups = from->groups;
	step->in_cols = from->kind == FG_STEP_FILL ? from->out_cols : from->in_cols;
	step->out_cols = from->out_cols;
	step->entries = from->entries;
	step->operation = from->operation;
	step->alpha = from->alpha;
	step->beta = from->beta;
	step->format = format_of(from, format);
	add_weights(maker, from, step);
	bias_bytes = fg_plan_bias_bytes(step);
	if (bias_bytes)
		step->bias = add_floats(maker, from->bias,
					from->kind == FG_STEP_DENSE ? out_bytes : bias_bytes,
					bias_bytes);
	if (from->constant) {
		step->other = (struct fg_plan_span){FG_PLACE_CONSTANT, 0};
		step->constant = add_floats(maker, from->constant, from->groups * out_bytes,
					    from->groups * out_bytes);
	}
	set_label(step, from->node);
}

/* ---- the whole --------------------------------------------------------------------------- */

static uint64_t align(uint64_t offset)
{
	return (offset + FG_PLAN_ALIGN - 1) / FG_PLAN_ALIGN * FG_PLAN_ALIGN;
}

static int make_header(struct maker *maker, enum fg_weights format, struct fg_error *error)
{
	struct fg_plan_header *header = &maker->header;
	const struct fg_ir *ir = maker->ir;
	const uint64_t ports = (uint64_t)ir->graph->input_count + ir->graph->output_count;
	uint64_t end;

	if (ir->step_count > FG_PLAN_MAX_STEPS)
		return fg_error_set(error, -EINVAL, "%u steps, a plan holds at most %u",
				    ir->step_count, FG_PLAN_MAX_STEPS);
	if (ports > FG_PLAN_MAX_PORTS)
		return fg_error_set(error, -EINVAL,
				    "%u inputs and %u outputs, a plan holds at most "
				    "%u together",
				    ir->graph->input_count, ir->graph->output_count,
				    FG_PLAN_MAX_PORTS);
	header->magic = FG_PLAN_MAGIC;
	header->version = FG_PLAN_VERSION;
	header->in_cols = ir->rows[FG_IR_INPUT].cols;
	header->out_cols = ir->rows[FG_IR_OUTPUT].cols;
	header->input_count = ir->graph->input_count;
	header->output_count = ir->graph->output_count;
	header->step_count = ir->step_count;
	header->format = format;
	maker->ports = fg_arena_alloc(&maker->arena, ports, sizeof(*maker->ports));
	maker->steps = fg_arena_alloc(&maker->arena, ir->step_count, sizeof(*maker->steps));
	end = align(sizeof(*header) + ports * sizeof(*maker->ports) +
		    ir->step_count * sizeof(*maker->steps));
	/* A step has weights, a bias and a constant, an output labels, golden rows two sides. */
	if (!maker->ports || !maker->steps ||
	    fg_constants_begin(&maker->constants, &maker->arena, 3 * ir->step_count + ports + 2,
			       end))
		return fg_error_set(error, -ENOMEM, "out of memory");
	return 0;
}

static void make_golden(struct maker *maker, const struct fg_golden_rows *golden)
{
	struct fg_plan_header *header = &maker->header;
	const uint64_t in_bytes = (uint64_t)golden->rows * header->in_cols * sizeof(float);
	const uint64_t out_bytes = (uint64_t)golden->rows * header->out_cols * sizeof(float);

	header->golden_rows = golden->rows;
	header->golden_tolerance = golden->tolerance;
	header->golden_shipped = golden->shipped;
	/* Not among the constants that are shared: fg_plan_amend writes there. */
	header->golden_inputs = maker->constants.end;
	header->golden_outputs = align(header->golden_inputs + in_bytes);
	header->size = align(header->golden_outputs + out_bytes);
}

static void seal(void *bytes)
{
	struct fg_plan_header *header = bytes;
	const size_t covered = offsetof(struct fg_plan_header, digest) + sizeof(header->digest);

	header->digest = XXH3_64bits((const char *)bytes + covered, header->size - covered);
}

static int write_plan(const struct maker *maker, const struct fg_golden_rows *golden, void **bytes,
		      struct fg_error *error)
{
	const struct fg_plan_header *header = &maker->header;
	char *plan = aligned_alloc(FG_PLAN_ALIGN, header->size);

	if (!plan)
		return fg_error_set(error, -ENOMEM, "out of memory for a plan of %llu bytes",
				    (unsigned long long)header->size);
	memset(plan, 0, header->size);
	memcpy(plan, header, sizeof(*header));
	memcpy((void *)fg_plan_ports((struct fg_plan_header *)plan), maker->ports,
	       (header->input_count + header->output_count) * sizeof(*maker->ports));
	memcpy((void *)fg_plan_steps((struct fg_plan_header *)plan), maker->steps,
	       header->step_count * sizeof(*maker->steps));
	if (fg_constants_write(&maker->constants, plan)) {
		free(plan);
		return fg_error_set(error, -EINVAL, "weights that cannot be packed");
	}
	fg_plan_amend(plan, golden, 0);
	*bytes = plan;
	return 0;
}

int fg_plan_make(const struct fg_ir *ir, enum fg_weights format,
		 const struct fg_golden_rows *golden, void **bytes, size_t *size,
		 struct fg_error *error)
{
	struct maker maker = {.ir = ir};
	int result = make_header(&maker, format, error);

	if (!result)
		result = make_ports(&maker, error);
	if (!result)
		result = fg_compile_buffers(ir, &maker.arena, &maker.header, &maker.places, error);
	for (uint32_t i = 0; i < ir->step_count && !result; i++)
		make_step(&maker, &ir->steps[i], &maker.steps[i], format);
	if (!result) {
		make_golden(&maker, golden);
		result = write_plan(&maker, golden, bytes, error);
	}
	*size = maker.header.size;
	fg_arena_free(&maker.arena);
	return result;
}

void fg_plan_amend(void *bytes, const struct fg_golden_rows *golden, float format_error)
{
	struct fg_plan_header *header = bytes;

	header->golden_rows = golden->rows;
	header->golden_tolerance = golden->tolerance;
	header->format_error = format_error;
	memcpy((char *)bytes + header->golden_inputs, golden->inputs,
	       (size_t)golden->rows * header->in_cols * sizeof(float));
	if (golden->outputs)
		memcpy((char *)bytes + header->golden_outputs, golden->outputs,
		       (size_t)golden->rows * header->out_cols * sizeof(float));
	seal(bytes);
}

int fg_plan_add_warmup(void **bytes, size_t *size, const struct fg_warmup *warmup,
		       struct fg_error *error)
{
	const struct fg_plan_header *old = *bytes;
	const size_t batches_bytes = warmup->count * sizeof(*warmup->batches);
	const size_t inputs_bytes = (size_t)warmup->rows * old->in_cols * sizeof(float);
	const uint64_t inputs = align(old->size + batches_bytes);
	const uint64_t end = align(inputs + inputs_bytes);
	char *plan = aligned_alloc(FG_PLAN_ALIGN, end);
	struct fg_plan_header *header = (struct fg_plan_header *)plan;

	if (!plan)
		return fg_error_set(error, -ENOMEM, "out of memory for a plan of %llu bytes",
				    (unsigned long long)end);
	memcpy(plan, old, old->size);
	memset(plan + old->size, 0, end - old->size);
	memcpy(plan + old->size, warmup->batches, batches_bytes);
	memcpy(plan + inputs, warmup->inputs, inputs_bytes);
	header->warmup_count = warmup->count;
	header->warmup_rows = warmup->rows;
	header->warmup_batches = old->size;
	header->warmup_inputs = inputs;
	header->size = *size = end;
	seal(plan);
	free(*bytes);
	*bytes = plan;
	return 0;
}
