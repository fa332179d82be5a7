/* Layers that put several values together. */
#include <errno.h>
#include "models/keras_layers.h"

static int wrong_shapes(const struct fg_keras_call *call, const struct fg_keras_tensor *one,
			const struct fg_keras_tensor *other)
{
	char a[96], b[96];

	return fg_keras_error(call,
			      "its inputs have the shapes %s and %s, which do not go together",
			      fg_keras_h5_shape(one->rank, one->dims, a, sizeof(a)),
			      fg_keras_h5_shape(other->rank, other->dims, b, sizeof(b)));
}

/* call->out: the shape that `out` and `in` have together, as numpy has it. Ranks must be equal:
 * Keras's rule for others is its own. */
static int broadcast(const struct fg_keras_call *call, const struct fg_keras_tensor *in)
{
	struct fg_keras_tensor *out = call->out;

	out->masked |= in->masked;
	if (in->rank == 0)
		return 0;
	if (out->rank == 0) {
		out->rank = in->rank;
		memcpy(out->dims, in->dims, sizeof(out->dims));
		return 0;
	}
	if (out->rank != in->rank)
		return wrong_shapes(call, out, in);
	for (uint32_t i = 1; i < out->rank; i++) {
		if (out->dims[i] != in->dims[i] && out->dims[i] != 1 && in->dims[i] != 1)
			return wrong_shapes(call, out, in);
		if (out->dims[i] == 1)
			out->dims[i] = in->dims[i];
	}
	return 0;
}

/* All inputs with `op`, one after the other, or (`all`) at once. */
static int merge(struct fg_keras_call *call, const char *op, bool all)
{
	uint32_t *inputs, *out = &call->out->value;
	int result = 0;

	for (uint32_t i = 1; !result && i < call->in_count; i++)
		result = broadcast(call, &call->in[i]);
	if (result)
		return result;
	if (call->out->rank == 0)
		return fg_keras_error(call, "it is called with plain numbers alone");
	call->out->whole = false;
	if (!all) {
		for (uint32_t i = 1; !result && i < call->in_count; i++)
			result = fg_keras_binary(call, op, *out, call->in[i].value, out);
		return result;
	}
	inputs = fg_arena_alloc(&call->keras->graph->arena, call->in_count, sizeof(*inputs));
	if (!inputs)
		return fg_keras_no_memory(call->keras);
	for (uint32_t i = 0; i < call->in_count; i++)
		inputs[i] = call->in[i].value;
	return fg_keras_node(call, op, inputs, call->in_count, NULL, 0, out);
}

static int call_add(struct fg_keras_call *call)
{
	return merge(call, "Add", false);
}

static int call_subtract(struct fg_keras_call *call)
{
	return merge(call, "Sub", false);
}

static int call_multiply(struct fg_keras_call *call)
{
	return merge(call, "Mul", false);
}

static int call_divide(struct fg_keras_call *call)
{
	return merge(call, "Div", false);
}

static int call_average(struct fg_keras_call *call)
{
	return merge(call, "Mean", true);
}

static int call_maximum(struct fg_keras_call *call)
{
	return merge(call, "Max", true);
}

static int call_minimum(struct fg_keras_call *call)
{
	return merge(call, "Min", true);
}

static int call_concatenate(struct fg_keras_call *call)
{
	struct fg_attribute along;
	uint32_t axis, *inputs;
	int result = fg_keras_get_axis(call, "axis", &axis);

	if (result)
		return result;
	inputs = fg_arena_alloc(&call->keras->graph->arena, call->in_count, sizeof(*inputs));
	if (!inputs)
		return fg_keras_no_memory(call->keras);
	inputs[0] = call->in[0].value;
	for (uint32_t i = 1; i < call->in_count; i++) {
		const struct fg_keras_tensor *in = &call->in[i];

		inputs[i] = in->value;
		call->out->whole &= in->whole;
		call->out->masked |= in->masked;
		if (in->rank != call->out->rank)
			return wrong_shapes(call, call->out, in);
		for (uint32_t j = 1; j < in->rank; j++)
			if (j != axis && in->dims[j] != call->out->dims[j])
				return wrong_shapes(call, call->out, in);
		call->out->dims[axis] += in->dims[axis];
	}
	along = fg_keras_int("axis", axis);
	return fg_keras_node(call, "Concat", inputs, call->in_count, &along, 1, &call->out->value);
}

const struct fg_keras_class fg_keras_merge_classes[] = {
	{"Add", NULL, 2, UINT32_MAX, true, false, call_add},
	{"Average", NULL, 2, UINT32_MAX, false, false, call_average},
	{"Concatenate", NULL, 1, UINT32_MAX, false, false, call_concatenate},
	{"Divide", NULL, 2, 2, true, false, call_divide},
	{"Maximum", NULL, 2, UINT32_MAX, true, false, call_maximum},
	{"Minimum", NULL, 2, UINT32_MAX, true, false, call_minimum},
	{"Multiply", NULL, 2, UINT32_MAX, true, false, call_multiply},
	{"Subtract", NULL, 2, 2, true, false, call_subtract},
	{"TrueDivide", NULL, 2, 2, true, false, call_divide},
	{NULL, NULL, 0, 0, false, false, NULL},
};
