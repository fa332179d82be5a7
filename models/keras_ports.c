#include <errno.h>
#include <string.h>
#include "models/keras.h"
#include "models/keras_model.h"
#include "models/ops.h"

static int read_shape(const struct fg_keras_call *call, const json_t *shape,
		      struct fg_keras_tensor *tensor)
{
	size_t rank = json_array_size(shape);
	char dims[96];

	if (!json_is_array(shape) || rank == 0 || rank > FG_GRAPH_MAX_RANK)
		return fg_keras_error(call, "the shape of the input is not in the file: build the "
					    "model with an Input layer before saving it");
	tensor->rank = (uint32_t)rank;
	for (size_t i = 0; i < rank; i++) {
		const json_t *dim = json_array_get(shape, i);

		tensor->dims[i] = json_is_integer(dim) ? json_integer_value(dim) : FG_GRAPH_UNKNOWN;
	}
	for (size_t i = 0; i < rank; i++)
		if (tensor->dims[i] < 1 && !(i == 0 && tensor->dims[i] == FG_GRAPH_UNKNOWN))
			return fg_keras_error(
				call, "dimension %zu of the input %s is open: give it a size", i,
				fg_keras_h5_shape(tensor->rank, tensor->dims, dims, sizeof(dims)));
	return 0;
}

static int read_type(const struct fg_keras_call *call, const json_t *json,
		     struct fg_keras_tensor *tensor)
{
	const char *type = json_is_string(json) ? json_string_value(json) : "float32";

	tensor->whole = strncmp(type, "int", 3) == 0 || strncmp(type, "uint", 4) == 0 ||
			strcmp(type, "bool") == 0;
	if (!tensor->whole && strncmp(type, "float", 5) != 0 && strcmp(type, "bfloat16") != 0)
		return fg_keras_error(call, "inputs of type %.20s are not supported", type);
	if (json_is_true(json_object_get(call->layer->config, "sparse")) ||
	    json_is_true(json_object_get(call->layer->config, "ragged")))
		return fg_keras_error(call, "sparse and ragged inputs are not supported");
	return 0;
}

/* For ONNX, what is made of whole numbers is whole: a quotient is rounded. Keras computes with
 * floats. */
static int make_float(struct fg_keras_call *call, struct fg_keras_tensor *tensor)
{
	const struct fg_attribute to = fg_keras_int("to", 1); /* TensorProto.DataType: float */

	return fg_keras_node(call, "Cast", &tensor->value, 1, &to, 1, &tensor->value);
}

/* An input of the whole model; `layer` is its InputLayer, or the first layer of a Sequential model
 * that has none. */
static int add_input(struct fg_keras *keras, struct fg_keras_layer *layer,
		     const struct fg_keras_model *model, struct fg_keras_gathered *to)
{
	static const char *const keys[] = {"batch_shape", "batch_input_shape"};
	struct fg_keras_call call = {.keras = keras, .layer = layer};
	struct fg_keras_tensor *tensor = &to->tensors[to->count++];
	struct fg_graph_port *port = &keras->graph->inputs[keras->graph->input_count++];
	const json_t *shape = NULL;
	int result;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !shape; i++)
		shape = json_object_get(layer->config, keys[i]);
	if (!shape)
		shape = json_object_get(model->config, "build_input_shape");
	call.out = tensor;
	result = read_shape(&call, shape, tensor);
	if (!result && fg_keras_is_input(layer))
		result = read_type(&call, json_object_get(layer->config, "dtype"), tensor);
	if (!result)
		result = fg_keras_check_columns(&call);
	if (!result)
		result = fg_keras_named(keras, fg_keras_is_input(layer) ? layer->name : "input",
					&tensor->value);
	port->value = tensor->value;
	port->element = tensor->whole ? FG_ELEMENT_I64 : FG_ELEMENT_F32;
	port->shape.rank = tensor->rank;
	memcpy(port->shape.dims, tensor->dims, sizeof(port->shape.dims));
	return result || !tensor->whole ? result : make_float(&call, tensor);
}

static int add_listed_input(struct fg_keras *keras, struct fg_keras_model *model,
			    const json_t *json, void *context)
{
	const char *name = json_string_value(json_array_get(json, 0));
	struct fg_keras_layer *layer = fg_keras_find_layer(model, name);
	struct fg_keras_gathered *to = context;

	if (!layer || !fg_keras_is_input(layer))
		return fg_error_set(keras->error, -EINVAL, "input '%.40s' is no InputLayer", name);
	if (to->count == model->layer_count)
		return fg_error_set(keras->error, -EINVAL, "an input is listed twice");
	return add_input(keras, layer, model, to);
}

static int add_inputs(struct fg_keras *keras, struct fg_keras_model *model,
		      struct fg_keras_gathered *to)
{
	to->tensors =
		fg_arena_alloc(&keras->graph->arena, model->layer_count, sizeof(*to->tensors));
	keras->graph->inputs = fg_arena_alloc(&keras->graph->arena, model->layer_count,
					      sizeof(*keras->graph->inputs));
	if (!to->tensors || !keras->graph->inputs)
		return fg_keras_no_memory(keras);
	if (model->sequential)
		return add_input(keras, &model->layers[0], model, to);
	return fg_keras_walk(keras, model, json_object_get(model->config, "input_layers"), 0,
			     add_listed_input, to);
}

/* A node that does nothing, so that the output has the name of the layer that it comes from. */
static int add_output(struct fg_keras *keras, const struct fg_keras_tensor *tensor,
		      struct fg_graph_port *port)
{
	static const struct fg_text identity = {"Identity", 8};
	const char *name = tensor->layer ? tensor->layer->name : "output";
	const struct fg_op *op = fg_op_find((struct fg_text){NULL, 0}, identity);
	struct fg_node *node;
	int result = fg_keras_named(keras, name, &port->value);

	if (!result && fg_graph_add_node(keras->graph, op, keras->graph->values[port->value].name,
					 1, 1, 0, &node))
		result = fg_keras_no_memory(keras);
	if (result)
		return result;
	node->inputs[0] = tensor->value;
	node->outputs[0] = port->value;
	port->element = FG_ELEMENT_F32;
	port->shape.rank = tensor->rank;
	memcpy(port->shape.dims, tensor->dims, sizeof(port->shape.dims));
	return 0;
}

static int add_outputs(struct fg_keras *keras, const struct fg_keras_result *result)
{
	struct fg_graph *graph = keras->graph;
	int status = 0;

	graph->outputs = fg_arena_alloc(&graph->arena, result->count, sizeof(*graph->outputs));
	if (!graph->outputs)
		return fg_keras_no_memory(keras);
	for (uint32_t i = 0; !status && i < result->count; i++)
		status = add_output(keras, &result->tensors[i],
				    &graph->outputs[graph->output_count++]);
	return status;
}

int fg_keras_read_model(struct fg_keras *keras, const json_t *json)
{
	const char *class_name = json_string_value(json_object_get(json, "class_name"));
	struct fg_keras_model model = {0};
	struct fg_keras_result result = {0};
	struct fg_keras_gathered inputs = {0};
	int status;

	if (!class_name || !fg_keras_is_model(class_name))
		return fg_error_set(keras->error, -EINVAL,
				    "the model's class is '%.40s', which is Python code that the "
				    "file does not hold: build it as a Sequential or functional "
				    "model, or export it to ONNX",
				    class_name ? class_name : "");
	status = fg_keras_read_layers(keras, &model, class_name, json_object_get(json, "config"));
	if (!status)
		status = add_inputs(keras, &model, &inputs);
	if (!status)
		status = fg_keras_call_model(keras, &model, inputs.tensors, inputs.count, &result);
	return status ? status : add_outputs(keras, &result);
}
