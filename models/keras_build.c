#include <errno.h>
#include <string.h>
#include "models/keras.h"
#include "models/keras_build.h"
#include "models/ops.h"

#define MAX_LIST_DEPTH FG_GRAPH_MAX_RANK /* of numbers */

int fg_keras_error(const struct fg_keras_call *call, const char *format, ...)
{
	struct fg_text name = {call->layer->path, strlen(call->layer->path)};
	char printed[48], reason[sizeof(call->keras->error->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return fg_error_set(call->keras->error, -EINVAL, "layer '%s' (%.40s): %s",
			    fg_text_print(name, printed, sizeof(printed)), call->layer->class_name,
			    reason);
}

int fg_keras_no_memory(const struct fg_keras *keras)
{
	return fg_error_set(keras->error, -ENOMEM, "out of memory for the model");
}

/* ---- values, constants, nodes ---- */

int fg_keras_value(struct fg_keras *keras, const char *base, uint32_t *value)
{
	size_t room = strlen(base) + 16;
	char *name = fg_arena_alloc(&keras->graph->arena, room, 1);
	int result;

	if (!name)
		return fg_keras_no_memory(keras);
	/* A layer may have a name like those made here: so the number grows until nobody has it. */
	do {
		snprintf(name, room, "%s:%u", base, keras->names++);
		result = fg_graph_add(keras->graph, (struct fg_text){name, strlen(name)}, value);
	} while (result == -EEXIST);
	return result ? fg_keras_no_memory(keras) : 0;
}

int fg_keras_named(struct fg_keras *keras, const char *name, uint32_t *value)
{
	size_t length = strlen(name);
	char *copy = fg_arena_alloc(&keras->graph->arena, length + 1, 1);
	int result;

	if (!copy)
		return fg_keras_no_memory(keras);
	memcpy(copy, name, length);
	result = fg_graph_add(keras->graph, (struct fg_text){copy, length}, value);
	if (result == -EEXIST)
		return fg_keras_value(keras, name, value);
	return result ? fg_keras_no_memory(keras) : 0;
}

int fg_keras_constant(struct fg_keras *keras, enum fg_element element, uint32_t rank,
		      const int64_t *dims, const void *data, uint32_t *value)
{
	struct fg_tensor *tensor = fg_arena_alloc(&keras->graph->arena, 1, sizeof(*tensor));
	int result;

	if (!tensor)
		return fg_keras_no_memory(keras);
	tensor->element = element;
	tensor->rank = rank;
	tensor->count = 1;
	tensor->data = data;
	for (uint32_t i = 0; i < rank; i++) {
		tensor->dims[i] = dims[i];
		tensor->count *= (size_t)dims[i];
	}
	result = fg_keras_value(keras, "constant", value);
	if (!result)
		keras->graph->values[*value].constant = tensor;
	return result;
}

int fg_keras_number(struct fg_keras *keras, float number, uint32_t *value)
{
	float *data = fg_arena_alloc(&keras->graph->arena, 1, sizeof(*data));

	if (!data)
		return fg_keras_no_memory(keras);
	*data = number;
	return fg_keras_constant(keras, FG_ELEMENT_F32, 0, NULL, data, value);
}

int fg_keras_int64s(struct fg_keras *keras, uint32_t count, const int64_t *numbers, uint32_t *value)
{
	const int64_t dims[] = {count};
	int64_t *data = fg_arena_alloc(&keras->graph->arena, count, sizeof(*data));

	if (!data)
		return fg_keras_no_memory(keras);
	memcpy(data, numbers, count * sizeof(*data));
	return fg_keras_constant(keras, FG_ELEMENT_I64, 1, dims, data, value);
}

int fg_keras_node(struct fg_keras_call *call, const char *op, const uint32_t *inputs,
		  uint32_t input_count, const struct fg_attribute *attributes,
		  uint32_t attribute_count, uint32_t *output)
{
	struct fg_keras *keras = call->keras;
	struct fg_text name = {call->layer->path, strlen(call->layer->path)};
	const struct fg_op *found =
		fg_op_find((struct fg_text){NULL, 0}, (struct fg_text){op, strlen(op)});
	struct fg_node *node;
	uint32_t value;
	int result;

	if (!found || input_count < found->min_inputs || input_count > found->max_inputs)
		return fg_keras_error(call, "the operator %s of %u inputs is not known", op,
				      input_count);
	if (keras->graph->node_count >= FG_KERAS_MAX_NODES)
		return fg_keras_error(call, "the model has more than %u nodes", FG_KERAS_MAX_NODES);
	result = fg_keras_value(keras, call->layer->path, &value);
	if (!result &&
	    fg_graph_add_node(keras->graph, found, name, input_count, 1, attribute_count, &node))
		result = fg_keras_no_memory(keras);
	if (result)
		return result;
	memcpy(node->inputs, inputs, input_count * sizeof(*inputs));
	node->outputs[0] = value;
	if (attribute_count)
		memcpy(node->attributes, attributes, attribute_count * sizeof(*attributes));
	node->attribute_count = attribute_count;
	*output = value;
	return 0;
}

int fg_keras_unary(struct fg_keras_call *call, const char *op, uint32_t in, uint32_t *out)
{
	return fg_keras_node(call, op, &in, 1, NULL, 0, out);
}

int fg_keras_binary(struct fg_keras_call *call, const char *op, uint32_t a, uint32_t b,
		    uint32_t *out)
{
	const uint32_t inputs[] = {a, b};

	return fg_keras_node(call, op, inputs, 2, NULL, 0, out);
}

/* ---- the config ---- */

int fg_keras_get_int(const struct fg_keras_call *call, const char *key, int64_t *integer)
{
	const json_t *json = json_object_get(call->layer->config, key);

	if (!json_is_integer(json))
		return fg_keras_error(call, "its \"%s\" is missing or not an integer", key);
	*integer = json_integer_value(json);
	return 0;
}

int fg_keras_get_float(const struct fg_keras_call *call, const char *key, double *number)
{
	const json_t *json = json_object_get(call->layer->config, key);

	if (!json_is_number(json))
		return fg_keras_error(call, "its \"%s\" is missing or not a number", key);
	*number = json_number_value(json);
	return 0;
}

int fg_keras_get_bool(const struct fg_keras_call *call, const char *key, bool *truth)
{
	const json_t *json = json_object_get(call->layer->config, key);

	if (!json_is_boolean(json))
		return fg_keras_error(call, "its \"%s\" is missing or neither true nor false", key);
	*truth = json_is_true(json);
	return 0;
}

int fg_keras_axis(const struct fg_keras_call *call, const char *key, const json_t *json,
		  uint32_t *axis)
{
	int64_t rank = call->in[0].rank, found = json_integer_value(json);

	if (!json_is_integer(json) || found < -rank || found >= rank)
		return fg_keras_error(call, "its \"%s\" is not an axis of %d dimensions", key,
				      (int)rank);
	found += found < 0 ? rank : 0;
	if (found == 0)
		return fg_keras_error(call, "its \"%s\" is the batch: rows would be mixed", key);
	*axis = (uint32_t)found;
	return 0;
}

int fg_keras_get_axis(const struct fg_keras_call *call, const char *key, uint32_t *axis)
{
	const json_t *json = json_object_get(call->layer->config, key);

	if (json_is_array(json) && json_array_size(json) == 1)
		json = json_array_get(json, 0);
	return fg_keras_axis(call, key, json, axis);
}

/* Counts the numbers in lists of lists; writes them to `to` unless that is NULL. False: something
 * else is in there. */
static bool list_floats(const json_t *json, unsigned int depth, float *to, size_t *count)
{
	if (json_is_number(json)) {
		if (to)
			to[*count] = (float)json_number_value(json);
		++*count;
		return true;
	}
	if (!json_is_array(json) || depth == MAX_LIST_DEPTH)
		return false;
	for (size_t i = 0; i < json_array_size(json); i++)
		if (!list_floats(json_array_get(json, i), depth + 1, to, count))
			return false;
	return true;
}

int fg_keras_get_floats(const struct fg_keras_call *call, const char *key, const float **floats,
			size_t *count)
{
	const json_t *json = json_object_get(call->layer->config, key);
	float *to;

	if (json_is_object(json)) /* {"class_name": "__numpy__", "config": {"value": [...]}} */
		json = json_object_get(json_object_get(json, "config"), "value");
	*count = 0;
	if (!list_floats(json, 0, NULL, count) || *count == 0 || *count > FG_KERAS_MAX_ELEMENTS)
		return fg_keras_error(call, "its \"%s\" is not a number or a list of numbers", key);
	to = fg_arena_alloc(&call->keras->graph->arena, *count, sizeof(*to));
	if (!to)
		return fg_keras_no_memory(call->keras);
	*count = 0;
	list_floats(json, 0, to, count);
	*floats = to;
	return 0;
}
