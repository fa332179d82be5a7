#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "models/keras.h"
#include "models/keras_layers.h"
#include "models/keras_model.h"

#define MAX_LAYERS 4096u /* of one model */
#define MAX_DEPTH  8u	 /* of models inside models, and of lists inside lists */

#define NOT_YET	   1 /* a value that is asked for is not there yet */

static int call_layer(struct fg_keras_call *call, struct fg_keras_result *result);

/* ---- the list of layers ---- */

bool fg_keras_is_model(const char *name)
{
	return strcmp(name, "Sequential") == 0 || strcmp(name, "Functional") == 0 ||
	       strcmp(name, "Model") == 0;
}

bool fg_keras_is_input(const struct fg_keras_layer *layer)
{
	return strcmp(layer->class_name, "InputLayer") == 0;
}

/* "outer/inner/name". */
static char *make_path(struct fg_keras *keras, const struct fg_keras_model *model, const char *name)
{
	const char *outer = model->layer ? model->layer->path : NULL;
	size_t room = strlen(name) + (outer ? strlen(outer) : 0) + 2;
	char *path = fg_arena_alloc(&keras->graph->arena, room, 1);

	if (path)
		snprintf(path, room, "%s%s%s", outer ? outer : "", outer ? "/" : "", name);
	return path;
}

static int read_layer(struct fg_keras *keras, const struct fg_keras_model *model,
		      const json_t *json, struct fg_keras_layer *layer)
{
	struct fg_keras_call call = {.keras = keras, .layer = layer};

	layer->class_name = json_string_value(json_object_get(json, "class_name"));
	layer->config = json_object_get(json, "config");
	layer->calls = json_object_get(json, "inbound_nodes");
	layer->name = json_string_value(json_object_get(json, "name"));
	if (!layer->name)
		layer->name = json_string_value(json_object_get(layer->config, "name"));
	layer->parent = model;
	if (!layer->class_name || !json_is_object(layer->config) || !layer->name || !*layer->name ||
	    strlen(layer->name) > FG_KERAS_MAX_NAME)
		return fg_error_set(keras->error, -EINVAL,
				    "layer #%zu has no class, no config, or no name of 1 to %u "
				    "bytes",
				    (size_t)(layer - model->layers), FG_KERAS_MAX_NAME);
	layer->path = make_path(keras, model, layer->name);
	if (!layer->path)
		return fg_keras_no_memory(keras);
	if (fg_keras_check_own(&call, json))
		return -EINVAL;
	if (fg_keras_is_model(layer->class_name))
		return 0;
	layer->class = fg_keras_class_find(layer->class_name);
	if (!layer->class)
		return fg_keras_error(&call, "such layers are not supported: %s",
				      fg_keras_advice(layer->class_name));
	return 0;
}

static int compare_layers(const void *a, const void *b)
{
	return strcmp((*(const struct fg_keras_layer *const *)a)->name,
		      (*(const struct fg_keras_layer *const *)b)->name);
}

struct fg_keras_layer *fg_keras_find_layer(const struct fg_keras_model *model, const char *name)
{
	const struct fg_keras_layer wanted = {.name = name}, *key = &wanted;
	struct fg_keras_layer **found = bsearch(&key, model->by_name, model->layer_count,
						sizeof(*model->by_name), compare_layers);

	return found ? *found : NULL;
}

static int index_layers(struct fg_keras *keras, struct fg_keras_model *model)
{
	for (uint32_t i = 0; i < model->layer_count; i++)
		model->by_name[i] = &model->layers[i];
	qsort(model->by_name, model->layer_count, sizeof(*model->by_name), compare_layers);
	for (uint32_t i = 1; i < model->layer_count; i++)
		if (compare_layers(&model->by_name[i - 1], &model->by_name[i]) == 0)
			return fg_error_set(keras->error, -EINVAL,
					    "two layers have the name '%.40s'",
					    model->by_name[i]->name);
	return 0;
}

/* `class_name` and `config` are those of the model. */
int fg_keras_read_layers(struct fg_keras *keras, struct fg_keras_model *model,
			 const char *class_name, const json_t *config)
{
	/* The first Keras 2 wrote a Sequential model as the list alone. */
	const json_t *list = json_is_array(config) ? config : json_object_get(config, "layers");
	size_t count = json_array_size(list);
	int result = 0;

	model->config = config;
	model->sequential = strcmp(class_name, "Sequential") == 0;
	if (count == 0 || count > MAX_LAYERS)
		return fg_error_set(keras->error, -EINVAL, "a model must have 1 to %u layers",
				    MAX_LAYERS);
	model->layer_count = (uint32_t)count;
	model->layers = fg_arena_alloc(&keras->graph->arena, count, sizeof(*model->layers));
	model->by_name = fg_arena_alloc(&keras->graph->arena, count, sizeof(*model->by_name));
	if (!model->layers || !model->by_name)
		return fg_keras_no_memory(keras);
	for (size_t i = 0; !result && i < count; i++)
		result = read_layer(keras, model, json_array_get(list, i), &model->layers[i]);
	return result ? result : index_layers(keras, model);
}

/* ---- references to what layers give ---- */

/*
 * How far the calls of this layer are counted above 0. A model that starts with its inputs has, for
 * Keras 2, been called once when it was made; Keras 3 still counts so, but only where a functional
 * model is named among the outputs.
 */
static int64_t first_call(const struct fg_keras *keras, const struct fg_keras_layer *layer,
			  bool among_outputs)
{
	const json_t *layers = json_object_get(layer->config, "layers");
	const char *first =
		json_string_value(json_object_get(json_array_get(layers, 0), "class_name"));

	if (layer->class)
		return 0;
	if (keras->version >= 3)
		return among_outputs && strcmp(layer->class_name, "Sequential") != 0;
	return first && strcmp(first, "InputLayer") == 0;
}

/* reference: [name, call, number of the output]. NOT_YET, or a negative errno. */
static int find_tensor(struct fg_keras *keras, const struct fg_keras_model *model,
		       const json_t *reference, bool among_outputs,
		       const struct fg_keras_tensor **tensor)
{
	const char *name = json_string_value(json_array_get(reference, 0));
	const json_t *call = json_array_get(reference, 1), *output = json_array_get(reference, 2);
	const struct fg_keras_layer *layer = name ? fg_keras_find_layer(model, name) : NULL;
	const struct fg_keras_result *result;
	int64_t index;

	if (!layer || !json_is_integer(call) || !json_is_integer(output))
		return fg_error_set(keras->error, -EINVAL,
				    "the model's config refers to a layer '%.40s' that it does not "
				    "have, or not in a known way",
				    name ? name : "");
	index = json_integer_value(call) - first_call(keras, layer, among_outputs);
	if (index < 0 || index >= layer->result_count)
		return fg_error_set(
			keras->error, -EINVAL,
			"the model's config refers to call %lld of layer '%.40s', which "
			"is called %u times",
			(long long)index, name, layer->result_count);
	result = &layer->results[index];
	if (!result->tensors)
		return NOT_YET;
	if (json_integer_value(output) < 0 || json_integer_value(output) >= result->count)
		return fg_error_set(keras->error, -EINVAL,
				    "the model's config refers to output %lld of layer '%.40s', "
				    "which has %u",
				    (long long)json_integer_value(output), name, result->count);
	*tensor = &result->tensors[json_integer_value(output)];
	return 0;
}

static int gather_one(struct fg_keras *keras, const struct fg_keras_model *model,
		      const json_t *reference, bool among_outputs, struct fg_keras_gathered *to)
{
	const struct fg_keras_tensor *tensor;
	int result = find_tensor(keras, model, reference, among_outputs, &tensor);

	if (!result && to->tensors)
		to->tensors[to->count] = *tensor;
	to->count += !result;
	return result;
}

static int gather_number(struct fg_keras *keras, const json_t *number, struct fg_keras_gathered *to)
{
	struct fg_keras_tensor tensor = {0};
	int result = 0;

	if (to->tensors) {
		result = fg_keras_number(keras, (float)json_number_value(number), &tensor.value);
		to->tensors[to->count] = tensor;
	}
	to->count++;
	return result;
}

/* The arguments of a call as Keras 3 writes them: tensors, lists of them, numbers. */
static int gather_arguments(const struct fg_keras_call *call, const json_t *json,
			    unsigned int depth, struct fg_keras_gathered *to)
{
	const char *class_name = json_string_value(json_object_get(json, "class_name"));
	int result = 0;

	if (json_is_number(json))
		return gather_number(call->keras, json, to);
	if (class_name && strcmp(class_name, "__keras_tensor__") == 0)
		return gather_one(call->keras, call->layer->parent,
				  json_object_get(json_object_get(json, "config"), "keras_history"),
				  false, to);
	if (!json_is_array(json) || depth == MAX_DEPTH)
		return fg_keras_error(call, "it is called with something else than tensors and "
					    "numbers: build the model from layers");
	for (size_t i = 0; !result && i < json_array_size(json); i++)
		result = gather_arguments(call, json_array_get(json, i), depth + 1, to);
	return result;
}

/* Keras 3 notes a mask for each tensor of a list: [null, null]. */
static bool is_nothing(const json_t *json)
{
	for (size_t i = 0; i < json_array_size(json); i++)
		if (!json_is_null(json_array_get(json, i)))
			return false;
	return !json_is_object(json);
}

static int check_keywords(const struct fg_keras_call *call, const json_t *keywords)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)keywords, key, value)
	{
		if (json_is_true(value) && strcmp(key, "training") == 0)
			return fg_keras_error(call, "it is called with training=True: call it "
						    "without");
		if (!is_nothing(value))
			return fg_keras_error(call,
					      "it is called with a tensor as '%.40s': only "
					      "plain arguments are supported",
					      key);
	}
	return 0;
}

/* The arguments of a call as Keras 2 writes them: [[name, call, output, keywords], ...]. */
static int gather_list(const struct fg_keras_call *call, const json_t *list,
		       struct fg_keras_gathered *to)
{
	int result = 0;

	for (size_t i = 0; !result && i < json_array_size(list); i++) {
		const json_t *reference = json_array_get(list, i);

		result = check_keywords(call, json_array_get(reference, 3));
		if (!result)
			result = gather_one(call->keras, call->layer->parent, reference, false, to);
	}
	return result;
}

static int gather(const struct fg_keras_call *call, const json_t *json,
		  struct fg_keras_gathered *to)
{
	int result;

	to->count = 0;
	if (json_is_array(json))
		return gather_list(call, json, to);
	result = check_keywords(call, json_object_get(json, "kwargs"));
	return result ? result : gather_arguments(call, json_object_get(json, "args"), 0, to);
}

/* ---- calling ---- */

/* Calls `layer` with the arguments that `json` names. NOT_YET, or a negative errno. */
static int call_with(struct fg_keras *keras, struct fg_keras_layer *layer, const json_t *json,
		     struct fg_keras_result *result)
{
	struct fg_keras_call call = {.keras = keras, .layer = layer};
	struct fg_keras_gathered inputs = {0};
	int status = gather(&call, json, &inputs);

	if (status)
		return status;
	inputs.tensors =
		fg_arena_alloc(&keras->graph->arena, inputs.count, sizeof(*inputs.tensors));
	if (!inputs.tensors)
		return fg_keras_no_memory(keras);
	status = gather(&call, json, &inputs);
	call.in = inputs.tensors;
	call.in_count = inputs.count;
	return status ? status : call_layer(&call, result);
}

/* Calls of this layer whose arguments are there. *called: there were some; *left: others wait. */
static int call_ready(struct fg_keras *keras, struct fg_keras_layer *layer, bool *called,
		      bool *left)
{
	for (uint32_t i = 0; i < layer->result_count; i++) {
		int status;

		if (layer->results[i].tensors)
			continue;
		status = call_with(keras, layer, json_array_get(layer->calls, i),
				   &layer->results[i]);
		if (status < 0)
			return status;
		/* Later calls may use earlier ones, and are counted in order. */
		if (status == NOT_YET) {
			*left = true;
			return 0;
		}
		*called = true;
	}
	return 0;
}

/* Forgets what an earlier call of the model gave, and makes room for this one. */
static int start_calls(struct fg_keras *keras, struct fg_keras_model *model)
{
	for (uint32_t i = 0; i < model->layer_count; i++) {
		struct fg_keras_layer *layer = &model->layers[i];
		const struct fg_keras_call call = {.keras = keras, .layer = layer};
		size_t count = fg_keras_is_input(layer) ? 1 : json_array_size(layer->calls);

		if (count == 0 || count > MAX_LAYERS)
			return fg_keras_error(&call, "it is not called, or more than %u times",
					      MAX_LAYERS);
		layer->result_count = (uint32_t)count;
		layer->results =
			fg_arena_alloc(&keras->graph->arena, count, sizeof(*layer->results));
		if (!layer->results)
			return fg_keras_no_memory(keras);
	}
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int walk_object(struct fg_keras *keras, struct fg_keras_model *model, const json_t *json,
		       unsigned int depth, fg_keras_walker *each, void *context)
{
	size_t count = json_object_size(json), i = 0;
	const char **keys = fg_arena_alloc(&keras->graph->arena, count, sizeof(*keys)), *key;
	json_t *value;
	int result = 0;

	if (!keys)
		return fg_keras_no_memory(keras);
	json_object_foreach((json_t *)(uintptr_t)json, key, value) keys[i++] = key;
	qsort(keys, count, sizeof(*keys), compare_keys);
	for (i = 0; !result && i < count; i++)
		result = fg_keras_walk(keras, model, json_object_get(json, keys[i]), depth + 1,
				       each, context);
	return result;
}

int fg_keras_walk(struct fg_keras *keras, struct fg_keras_model *model, const json_t *json,
		  unsigned int depth, fg_keras_walker *each, void *context)
{
	int result = 0;

	if (json_is_string(json_array_get(json, 0)))
		return each(keras, model, json, context);
	if (depth == MAX_DEPTH || !(json_is_array(json) || json_is_object(json)))
		return fg_error_set(keras->error, -EINVAL,
				    "the model's inputs or outputs are not written in a known way");
	if (json_is_object(json))
		return walk_object(keras, model, json, depth, each, context);
	for (size_t i = 0; !result && i < json_array_size(json); i++)
		result = fg_keras_walk(keras, model, json_array_get(json, i), depth + 1, each,
				       context);
	return result;
}

/* The next of the given values is what this InputLayer gives. */
static int give_input(struct fg_keras *keras, struct fg_keras_model *model, const json_t *json,
		      void *context)
{
	struct fg_keras_layer *layer =
		fg_keras_find_layer(model, json_string_value(json_array_get(json, 0)));
	struct fg_keras_gathered *inputs = context;
	struct fg_keras_tensor *tensor;

	if (!layer || !fg_keras_is_input(layer))
		return fg_error_set(keras->error, -EINVAL, "input '%.40s' is no InputLayer",
				    json_string_value(json_array_get(json, 0)));
	if (inputs->count == 0)
		return fg_error_set(keras->error, -EINVAL,
				    "a model is called with fewer values than it has inputs");
	tensor = inputs->tensors++;
	inputs->count--;
	layer->results[0] = (struct fg_keras_result){tensor, 1};
	return 0;
}

static int take_output(struct fg_keras *keras, struct fg_keras_model *model, const json_t *json,
		       void *context)
{
	int result = gather_one(keras, model, json, true, context);

	return result == NOT_YET
		       ? fg_error_set(keras->error, -EINVAL,
				      "the model gives out an input that it does not list")
		       : result;
}

static int take_outputs(struct fg_keras *keras, struct fg_keras_model *model,
			struct fg_keras_result *result)
{
	const json_t *outputs = json_object_get(model->config, "output_layers");
	struct fg_keras_gathered found = {0};
	int status = fg_keras_walk(keras, model, outputs, 0, take_output, &found);

	if (status)
		return status;
	if (found.count == 0)
		return fg_error_set(keras->error, -EINVAL, "a model has no outputs");
	found.tensors = fg_arena_alloc(&keras->graph->arena, found.count, sizeof(*found.tensors));
	if (!found.tensors)
		return fg_keras_no_memory(keras);
	found.count = 0;
	status = fg_keras_walk(keras, model, outputs, 0, take_output, &found);
	*result = (struct fg_keras_result){found.tensors, found.count};
	return status;
}

/*
 * Layers stand in any order, and a call may use a later call of a layer that comes before: so this
 * goes through them until nothing is left, as Keras does.
 */
static int call_functional(struct fg_keras *keras, struct fg_keras_model *model,
			   struct fg_keras_tensor *in, uint32_t in_count,
			   struct fg_keras_result *result)
{
	struct fg_keras_gathered inputs = {in, in_count};
	bool called, left;
	int status = start_calls(keras, model);

	if (!status)
		status = fg_keras_walk(keras, model, json_object_get(model->config, "input_layers"),
				       0, give_input, &inputs);
	if (status)
		return status;
	if (inputs.count)
		return fg_error_set(keras->error, -EINVAL,
				    "a model is called with more values than it has inputs");
	do {
		called = left = false;
		for (uint32_t i = 0; !status && i < model->layer_count; i++)
			if (!fg_keras_is_input(&model->layers[i]))
				status = call_ready(keras, &model->layers[i], &called, &left);
	} while (!status && called && left);
	if (!status && left)
		return fg_error_set(keras->error, -EINVAL,
				    "layers of the model wait for one another: it has a cycle, or "
				    "an input that is not listed");
	return status ? status : take_outputs(keras, model, result);
}

static int call_sequential(struct fg_keras *keras, struct fg_keras_model *model,
			   const struct fg_keras_tensor *in, uint32_t in_count,
			   struct fg_keras_result *result)
{
	struct fg_keras_result now = {(struct fg_keras_tensor *)(uintptr_t)in, in_count};

	for (uint32_t i = 0; i < model->layer_count; i++) {
		struct fg_keras_call call = {.keras = keras,
					     .layer = &model->layers[i],
					     .in = now.tensors,
					     .in_count = now.count};
		int status;

		if (fg_keras_is_input(call.layer))
			continue;
		status = call_layer(&call, &now);
		if (status)
			return status;
	}
	*result = now;
	return 0;
}

int fg_keras_call_model(struct fg_keras *keras, struct fg_keras_model *model,
			struct fg_keras_tensor *in, uint32_t in_count,
			struct fg_keras_result *result)
{
	return model->sequential ? call_sequential(keras, model, in, in_count, result)
				 : call_functional(keras, model, in, in_count, result);
}

/* A layer that is a model. */
static int call_inner(struct fg_keras_call *call, struct fg_keras_result *result)
{
	struct fg_keras *keras = call->keras;
	struct fg_keras_layer *layer = call->layer;
	struct fg_keras_tensor *in;
	int status;

	if (layer->parent->depth + 1 == MAX_DEPTH)
		return fg_keras_error(call, "models lie more than %u deep in one another",
				      MAX_DEPTH);
	if (!layer->model) {
		struct fg_keras_model *model =
			fg_arena_alloc(&keras->graph->arena, 1, sizeof(*model));

		if (!model)
			return fg_keras_no_memory(keras);
		model->layer = layer;
		model->depth = layer->parent->depth + 1;
		status = fg_keras_read_layers(keras, model, layer->class_name, layer->config);
		if (status)
			return status;
		layer->model = model;
	}
	in = fg_arena_alloc(&keras->graph->arena, call->in_count, sizeof(*in));
	if (!in)
		return fg_keras_no_memory(keras);
	memcpy(in, call->in, call->in_count * sizeof(*in));
	status = fg_keras_call_model(keras, layer->model, in, call->in_count, result);
	for (uint32_t i = 0; !status && i < result->count; i++)
		result->tensors[i].layer = layer;
	return status;
}

int fg_keras_check_columns(const struct fg_keras_call *call)
{
	int64_t cols = 1;

	for (uint32_t i = 1; i < call->out->rank; i++)
		if (__builtin_mul_overflow(cols, call->out->dims[i], &cols) ||
		    cols > FG_KERAS_MAX_ELEMENTS)
			return fg_keras_error(call, "it gives more than %d columns",
					      FG_KERAS_MAX_ELEMENTS);
	return 0;
}

static int call_layer(struct fg_keras_call *call, struct fg_keras_result *result)
{
	const struct fg_keras_class *class = call->layer->class;
	int status;

	if (call->keras->calls++ == FG_KERAS_MAX_NODES)
		return fg_keras_error(call, "layers are called more than %u times",
				      FG_KERAS_MAX_NODES);
	for (uint32_t i = 0; i < call->in_count; i++)
		if (call->in[i].rank == 0 && !(class && class->numbers))
			return fg_keras_error(call, "it is called with a plain number");
	if (!class)
		return call_inner(call, result);
	if (call->in_count < class->min_inputs || call->in_count > class->max_inputs)
		return fg_keras_error(call, "it is called with %u tensors", call->in_count);
	call->out = fg_arena_alloc(&call->keras->graph->arena, 1, sizeof(*call->out));
	if (!call->out)
		return fg_keras_no_memory(call->keras);
	*call->out = call->in[0];
	status = class->call(call);
	call->out->layer = call->layer;
	*result = (struct fg_keras_result){call->out, 1};
	return status ? status : fg_keras_check_columns(call);
}
