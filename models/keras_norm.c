/* Layers that scale: by what was learnt, by what was measured, by what is given. */
#include <errno.h>
#include <math.h>
#include "models/keras_layers.h"

/* A constant of `count` equal numbers, of rank 1. */
static int repeat(struct fg_keras_call *call, float number, int64_t count, uint32_t *value)
{
	float *data = fg_arena_alloc(&call->keras->graph->arena, (size_t)count, sizeof(*data));

	if (!data)
		return fg_keras_no_memory(call->keras);
	for (int64_t i = 0; i < count; i++)
		data[i] = number;
	return fg_keras_constant(call->keras, FG_ELEMENT_F32, 1, &count, data, value);
}

/* The flags and variables "gamma" (scale) and "beta" (center) that normalizations share. */
static int read_scale_center(const struct fg_keras_call *call, bool *scale, bool *center)
{
	int result = fg_keras_get_bool(call, "scale", scale);

	return result ? result : fg_keras_get_bool(call, "center", center);
}

/*
 * Along another axis than 1 ONNX has no batch normalization: there it is a difference, a factor and
 * a sum, with as many dimensions as are behind the batch.
 */
static int scale_axis(struct fg_keras_call *call, uint32_t axis, double epsilon,
		      const uint32_t *inputs)
{
	static const char *const ops[] = {"Sub", "Mul", "Add"};
	struct fg_keras *keras = call->keras;
	const struct fg_value *values = keras->graph->values;
	uint32_t rank = call->in[0].rank - 1, constant, *out = &call->out->value;
	int64_t count = call->in[0].dims[axis], dims[FG_GRAPH_MAX_RANK];
	const struct fg_tensor *parts[5] = {NULL};
	float *numbers[3];
	int result = 0;

	for (size_t i = 0; i < 3; i++) {
		numbers[i] = fg_arena_alloc(&keras->graph->arena, (size_t)count, sizeof(float));
		if (!numbers[i])
			return fg_keras_no_memory(keras);
	}
	for (size_t i = 1; i < 5; i++)
		parts[i] = values[inputs[i]].constant;
	for (size_t i = 0; i < (size_t)count; i++) {
		numbers[0][i] = fg_tensor_f32(parts[3], i);
		numbers[1][i] =
			(float)(fg_tensor_f32(parts[1], i) /
				sqrt((double)fg_tensor_f32(parts[4], i) + (double)(float)epsilon));
		numbers[2][i] = fg_tensor_f32(parts[2], i);
	}
	for (uint32_t i = 0; i < rank; i++)
		dims[i] = i == axis - 1 ? count : 1;
	*out = inputs[0];
	for (size_t i = 0; i < 3 && !result; i++) {
		result =
			fg_keras_constant(keras, FG_ELEMENT_F32, rank, dims, numbers[i], &constant);
		if (!result)
			result = fg_keras_binary(call, ops[i], *out, constant, out);
	}
	return result;
}

static int call_batch_norm(struct fg_keras_call *call)
{
	struct fg_keras_variable variables[4];
	uint32_t axis, count = 0, inputs[5], *loaded = call->layer->variables;
	struct fg_attribute epsilon;
	bool scale, center;
	double number;
	int64_t cols;
	int result = fg_keras_get_axis(call, "axis", &axis);

	if (!result)
		result = read_scale_center(call, &scale, &center);
	if (!result)
		result = fg_keras_get_float(call, "epsilon", &number);
	if (!result && json_is_true(json_object_get(call->layer->config, "renorm")))
		result = fg_keras_error(call, "renorm=True is not supported");
	if (result)
		return result;
	cols = call->in[0].dims[axis];
	if (scale)
		variables[count++] = (struct fg_keras_variable){"gamma", 1, {cols}, false};
	if (center)
		variables[count++] = (struct fg_keras_variable){"beta", 1, {cols}, false};
	variables[count++] = (struct fg_keras_variable){"moving_mean", 1, {cols}, false};
	variables[count++] = (struct fg_keras_variable){"moving_variance", 1, {cols}, false};
	result = fg_keras_load(call, variables, count);
	if (result)
		return result;
	inputs[0] = call->in[0].value;
	inputs[3] = loaded[count - 2];
	inputs[4] = loaded[count - 1];
	inputs[1] = loaded[0];
	inputs[2] = loaded[scale];
	if (!scale)
		result = repeat(call, 1, cols, &inputs[1]);
	if (!result && !center)
		result = repeat(call, 0, cols, &inputs[2]);
	call->out->whole = false;
	if (result || axis != 1)
		return result ? result : scale_axis(call, axis, number, inputs);
	epsilon = fg_keras_float("epsilon", number);
	return fg_keras_node(call, "BatchNormalization", inputs, 5, &epsilon, 1, &call->out->value);
}

/* The first of the axes, which must be the last ones. */
static int read_last_axes(const struct fg_keras_call *call, uint32_t *first)
{
	const json_t *json = json_object_get(call->layer->config, "axis");
	uint32_t rank = call->in[0].rank, seen = 0, axis;
	size_t count = json_is_array(json) ? json_array_size(json) : 1;
	int result = 0;

	for (size_t i = 0; !result && i < count; i++) {
		const json_t *one = json_is_array(json) ? json_array_get(json, i) : json;

		result = fg_keras_axis(call, "axis", one, &axis);
		if (!result)
			seen |= 1u << axis;
	}
	*first = rank - (uint32_t)count;
	if (!result && (count == 0 || count >= rank || seen != (1u << rank) - (1u << *first)))
		result = fg_keras_error(call, "its \"axis\" is not the last one, or last ones");
	return result;
}

static int call_layer_norm(struct fg_keras_call *call)
{
	struct fg_keras_variable variables[2] = {{.name = NULL}};
	struct fg_attribute attributes[2];
	uint32_t first, count = 0, inputs[3], *loaded = call->layer->variables;
	bool scale, center;
	double number;
	int result = read_last_axes(call, &first);

	if (!result)
		result = read_scale_center(call, &scale, &center);
	if (!result)
		result = fg_keras_get_float(call, "epsilon", &number);
	if (!result && json_is_true(json_object_get(call->layer->config, "rms_scaling")))
		result = fg_keras_error(call, "rms_scaling=True is not supported");
	if (result)
		return result;
	count = (uint32_t)scale + (uint32_t)center;
	for (uint32_t i = 0; i < count; i++) {
		variables[i].name = i == 0 && scale ? "gamma" : "beta";
		variables[i].rank = call->in[0].rank - first;
		memcpy(variables[i].dims, &call->in[0].dims[first],
		       variables[i].rank * sizeof(variables[i].dims[0]));
	}
	result = fg_keras_load(call, variables, count);
	inputs[0] = call->in[0].value;
	inputs[1] = loaded[0];
	inputs[2] = loaded[scale];
	if (!result && !scale)
		result = repeat(call, 1, call->in[0].dims[call->in[0].rank - 1], &inputs[1]);
	attributes[0] = fg_keras_int("axis", first);
	attributes[1] = fg_keras_float("epsilon", number);
	call->out->whole = false;
	return result ? result
		      : fg_keras_node(call, "LayerNormalization", inputs, center ? 3 : 2,
				      attributes, 2, &call->out->value);
}

/* What Normalization works with: dimensions behind the batch, those that are not kept being 1, and
 * mean and variance with the product of them elements. */
struct moments {
	uint32_t rank;
	int64_t dims[FG_GRAPH_MAX_RANK];
	int64_t count;
	const float *mean;
	const float *variance;
};

static int read_kept_axes(const struct fg_keras_call *call, struct moments *moments,
			  struct fg_keras_variable *stored)
{
	const json_t *json = json_object_get(call->layer->config, "axis");
	size_t count = json_is_array(json) ? json_array_size(json) : !json_is_null(json);
	uint32_t axis;

	moments->rank = call->in[0].rank - 1;
	moments->count = 1;
	for (uint32_t i = 0; i < moments->rank; i++)
		moments->dims[i] = 1;
	for (size_t i = 0; i < count; i++) {
		const json_t *one = json_is_array(json) ? json_array_get(json, i) : json;
		int result = fg_keras_axis(call, "axis", one, &axis);

		if (result)
			return result;
		moments->dims[axis - 1] = call->in[0].dims[axis];
	}
	/* Stored with the kept axes alone, in the order of the input's. */
	for (uint32_t i = 0; i < moments->rank; i++) {
		bool kept = false;

		for (size_t j = 0; j < count; j++) {
			const json_t *one = json_is_array(json) ? json_array_get(json, j) : json;

			kept |= fg_keras_axis(call, "axis", one, &axis) == 0 && axis - 1 == i;
		}
		if (kept)
			stored->dims[stored->rank++] = moments->dims[i];
		moments->count *= moments->dims[i];
	}
	return 0;
}

/* Both from the config, each one number or one for each element. */
static int read_given_moments(const struct fg_keras_call *call, struct moments *moments)
{
	static const char *const keys[] = {"mean", "variance"};
	const float **to[] = {&moments->mean, &moments->variance};

	for (size_t i = 0; i < 2; i++) {
		float *all;
		size_t count;
		const float *found;
		int result = fg_keras_get_floats(call, keys[i], &found, &count);

		if (result)
			return result;
		if (count != 1 && count != (size_t)moments->count)
			return fg_keras_error(call, "its \"%s\" has %zu numbers, not %lld", keys[i],
					      count, (long long)moments->count);
		all = fg_arena_alloc(&call->keras->graph->arena, (size_t)moments->count,
				     sizeof(*all));
		if (!all)
			return fg_keras_no_memory(call->keras);
		for (size_t j = 0; j < (size_t)moments->count; j++)
			all[j] = found[count == 1 ? 0 : j];
		*to[i] = all;
	}
	return 0;
}

static int read_moments(struct fg_keras_call *call, struct moments *moments)
{
	struct fg_keras_variable stored = {.rank = 0};
	const json_t *given = json_object_get(call->layer->config, "mean");
	const struct fg_value *values;
	int result = read_kept_axes(call, moments, &stored);

	if (result)
		return result;
	if (given && !json_is_null(given))
		return read_given_moments(call, moments);
	struct fg_keras_variable variables[] = {stored, stored, {.name = "count", .unread = true}};

	variables[0].name = "mean";
	variables[1].name = "variance";
	result = fg_keras_load(call, variables, 3);
	if (result)
		return result;
	values = call->keras->graph->values;
	moments->mean = values[call->layer->variables[0]].constant->data;
	moments->variance = values[call->layer->variables[1]].constant->data;
	return 0;
}

/* (x - mean) / max(sqrt(variance), 1e-7), or (invert) the other way around. */
static int call_normalization(struct fg_keras_call *call)
{
	struct fg_keras *keras = call->keras;
	struct moments moments = {0};
	uint32_t mean, deviation, *out = &call->out->value;
	bool invert;
	float *roots;
	int result = read_moments(call, &moments);

	if (result)
		return result;
	invert = json_is_true(json_object_get(call->layer->config, "invert"));
	roots = fg_arena_alloc(&keras->graph->arena, (size_t)moments.count, sizeof(*roots));
	if (!roots)
		return fg_keras_no_memory(keras);
	for (int64_t i = 0; i < moments.count; i++)
		roots[i] = fmaxf(sqrtf(moments.variance[i]), 1e-7f);
	result = fg_keras_constant(keras, FG_ELEMENT_F32, moments.rank, moments.dims, moments.mean,
				   &mean);
	if (!result)
		result = fg_keras_constant(keras, FG_ELEMENT_F32, moments.rank, moments.dims, roots,
					   &deviation);
	if (!result)
		result = fg_keras_binary(call, invert ? "Mul" : "Sub", *out,
					 invert ? deviation : mean, out);
	call->out->whole = false;
	return result ? result
		      : fg_keras_binary(call, invert ? "Add" : "Div", *out,
					invert ? mean : deviation, out);
}

static int call_rescaling(struct fg_keras_call *call)
{
	static const char *const keys[] = {"scale", "offset"}, *const ops[] = {"Mul", "Add"};
	uint32_t *out = &call->out->value;
	int result = 0;

	call->out->whole = false;
	for (size_t i = 0; !result && i < 2; i++) {
		const float *numbers;
		uint32_t constant;
		size_t count;
		int64_t dims[1];

		result = fg_keras_get_floats(call, keys[i], &numbers, &count);
		if (result)
			return result;
		dims[0] = (int64_t)count;
		if (count != 1 &&
		    (call->out->rank < 2 || dims[0] != call->out->dims[call->out->rank - 1]))
			return fg_keras_error(call,
					      "its \"%s\" has %zu numbers, its input %lld "
					      "columns",
					      keys[i], count,
					      (long long)call->out->dims[call->out->rank - 1]);
		result = fg_keras_constant(call->keras, FG_ELEMENT_F32, count != 1, dims, numbers,
					   &constant);
		if (!result)
			result = fg_keras_binary(call, ops[i], *out, constant, out);
	}
	return result;
}

const struct fg_keras_class fg_keras_norm_classes[] = {
	{"BatchNormalization", "batch_normalization", 1, 1, false, false, call_batch_norm},
	{"LayerNormalization", "layer_normalization", 1, 1, false, false, call_layer_norm},
	{"Normalization", "normalization", 1, 1, false, false, call_normalization},
	{"Rescaling", NULL, 1, 1, false, false, call_rescaling},
	{NULL, NULL, 0, 0, false, false, NULL},
};
