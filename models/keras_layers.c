#include <errno.h>
#include "models/keras_layers.h"
#include "models/ops.h"

static int nothing(struct fg_keras_call *call)
{
	(void)call;
	return 0;
}

/* ---- with a matrix or a table ---- */

static int call_dense(struct fg_keras_call *call)
{
	const struct fg_keras_tensor *in = &call->in[0];
	struct fg_keras_layer *layer = call->layer;
	uint32_t *out = &call->out->value;
	int64_t units;
	bool bias;
	int result = fg_keras_get_int(call, "units", &units);

	if (!result)
		result = fg_keras_get_bool(call, "use_bias", &bias);
	if (result)
		return result;
	if (in->rank < 2 || units < 1 || units > FG_KERAS_MAX_ELEMENTS)
		return fg_keras_error(call, "its \"units\" are %lld, its input has rank %u",
				      (long long)units, in->rank);
	const struct fg_keras_variable variables[] = {
		{"kernel", 2, {in->dims[in->rank - 1], units}, false},
		{"bias", 1, {units}, false},
	};
	result = fg_keras_load(call, variables, bias ? 2 : 1);
	if (result)
		return result;
	if (in->rank == 2) {
		const uint32_t inputs[] = {in->value, layer->variables[0], layer->variables[1]};

		result = fg_keras_node(call, "Gemm", inputs, bias ? 3 : 2, NULL, 0, out);
	} else {
		result = fg_keras_binary(call, "MatMul", in->value, layer->variables[0], out);
		if (!result && bias)
			result = fg_keras_binary(call, "Add", *out, layer->variables[1], out);
	}
	call->out->dims[in->rank - 1] = units;
	call->out->whole = false;
	return result ? result
		      : fg_keras_activate(call, json_object_get(layer->config, "activation"));
}

static int call_embedding(struct fg_keras_call *call)
{
	const struct fg_keras_tensor *in = &call->in[0];
	const json_t *masks = json_object_get(call->layer->config, "mask_zero");
	const struct fg_attribute rows[] = {fg_keras_int("axis", 0),
					    fg_keras_int(FG_OP_FROM_ZERO, 1)};
	/* TensorProto.DataType: int32, which Keras makes of other types. */
	const struct fg_attribute to = fg_keras_int("to", 6);
	uint32_t inputs[2] = {0, in->value};
	int64_t entries, cols;
	int result = fg_keras_get_int(call, "input_dim", &entries);

	if (!result)
		result = fg_keras_get_int(call, "output_dim", &cols);
	if (result)
		return result;
	if (entries < 1 || entries > INT32_MAX || cols < 1 || cols > FG_KERAS_MAX_ELEMENTS ||
	    in->rank == FG_GRAPH_MAX_RANK)
		return fg_keras_error(call, "a table of (%lld, %lld), its input has rank %u",
				      (long long)entries, (long long)cols, in->rank);
	const struct fg_keras_variable table = {"embeddings", 2, {entries, cols}, false};

	result = fg_keras_load(call, &table, 1);
	inputs[0] = call->layer->variables[0];
	if (!result && !in->whole)
		result = fg_keras_node(call, "Cast", &in->value, 1, &to, 1, &inputs[1]);
	call->out->dims[call->out->rank++] = cols;
	call->out->whole = false;
	call->out->masked = json_is_true(masks);
	return result ? result
		      : fg_keras_node(call, "Gather", inputs, 2, rows, 2, &call->out->value);
}

/* ---- shapes ---- */

static int call_flatten(struct fg_keras_call *call)
{
	const char *format = json_string_value(json_object_get(call->layer->config, "data_format"));
	struct fg_keras_tensor *out = call->out;
	const struct fg_attribute axis = fg_keras_int("axis", 1);
	int64_t cols = 1;

	if (format && strcmp(format, "channels_last") != 0 && out->rank > 2)
		return fg_keras_error(call, "data_format '%.40s' is not supported", format);
	for (uint32_t i = 1; i < out->rank; i++)
		cols *= out->dims[i];
	out->rank = 2;
	out->dims[1] = cols;
	out->masked = false;
	return fg_keras_node(call, "Flatten", &out->value, 1, &axis, 1, &out->value);
}

static int call_reshape(struct fg_keras_call *call)
{
	const json_t *shape = json_object_get(call->layer->config, "target_shape");
	size_t rank = json_array_size(shape) + 1, open = 0;
	struct fg_keras_tensor *out = call->out;
	int64_t cols = 1, known = 1, dims[FG_GRAPH_MAX_RANK] = {0}; /* 0: the batch stays */
	uint32_t inputs[2] = {out->value, 0};
	int result;

	if (!json_is_array(shape) || rank > FG_GRAPH_MAX_RANK)
		return fg_keras_error(call, "its \"target_shape\" is not a list of dimensions");
	for (uint32_t i = 1; i < out->rank; i++)
		cols *= out->dims[i];
	for (size_t i = 1; i < rank; i++) {
		dims[i] = json_integer_value(json_array_get(shape, i - 1));
		if (dims[i] == -1 && !open)
			open = i;
		else if (dims[i] < 1 || __builtin_mul_overflow(known, dims[i], &known))
			return fg_keras_error(call, "its \"target_shape\" has dimension %lld",
					      (long long)dims[i]);
	}
	if (open && cols % known == 0)
		dims[open] = cols / known;
	if (open ? cols % known != 0 : cols != known)
		return fg_keras_error(call, "its \"target_shape\" does not hold %lld columns",
				      (long long)cols);
	result = fg_keras_int64s(call->keras, (uint32_t)rank, dims, &inputs[1]);
	dims[0] = out->dims[0];
	out->rank = (uint32_t)rank;
	memcpy(out->dims, dims, sizeof(dims));
	out->masked = false;
	return result ? result : fg_keras_node(call, "Reshape", inputs, 2, NULL, 0, &out->value);
}

/* A list attribute: "perm". */
static int call_permute(struct fg_keras_call *call)
{
	const json_t *list = json_object_get(call->layer->config, "dims");
	const struct fg_keras_tensor *in = &call->in[0];
	struct fg_tensor *order = fg_arena_alloc(&call->keras->graph->arena, 1, sizeof(*order));
	int64_t *axes = fg_arena_alloc(&call->keras->graph->arena, in->rank, sizeof(*axes));
	struct fg_attribute perm = {.name = {"perm", 4}, .kind = FG_ATTRIBUTE_TENSOR};
	uint32_t seen = 1;

	if (!order || !axes)
		return fg_keras_no_memory(call->keras);
	if (json_array_size(list) + 1 != in->rank)
		return fg_keras_error(call, "its \"dims\" are not those of its input");
	for (uint32_t i = 1; i < in->rank; i++) {
		uint32_t axis;
		int result = fg_keras_axis(call, "dims", json_array_get(list, i - 1), &axis);

		if (result)
			return result;
		seen |= 1u << axis;
		axes[i] = axis;
		call->out->dims[i] = in->dims[axis];
	}
	if (seen != (1u << in->rank) - 1)
		return fg_keras_error(call, "its \"dims\" name an axis twice");
	*order = (struct fg_tensor){.element = FG_ELEMENT_I64,
				    .rank = 1,
				    .dims = {in->rank},
				    .count = in->rank,
				    .data = axes};
	perm.tensor = order;
	call->out->masked = false;
	return fg_keras_node(call, "Transpose", &in->value, 1, &perm, 1, &call->out->value);
}

static int call_average_pooling(struct fg_keras_call *call)
{
	const char *format = json_string_value(json_object_get(call->layer->config, "data_format"));
	bool keep = json_is_true(json_object_get(call->layer->config, "keepdims"));
	const struct fg_attribute keepdims = fg_keras_int("keepdims", keep);
	struct fg_keras_tensor *out = call->out;
	uint32_t inputs[2] = {out->value, 0};
	int64_t axis = format && strcmp(format, "channels_first") == 0 ? 2 : 1;
	int result;

	if (out->rank != 3)
		return fg_keras_error(call, "its input has rank %u, not 3", out->rank);
	if (out->masked)
		return fg_keras_error(call, "it would use the mask of an Embedding with "
					    "mask_zero=True: masks are not supported");
	result = fg_keras_int64s(call->keras, 1, &axis, &inputs[1]);
	out->dims[axis] = 1;
	if (!keep) {
		out->dims[1] = out->dims[axis == 1 ? 2 : 1];
		out->rank = 2;
	}
	out->whole = false;
	return result ? result
		      : fg_keras_node(call, "ReduceMean", inputs, 2, &keepdims, 1, &out->value);
}

/* ---- the classes ---- */

static const struct fg_keras_class classes[] = {
	{"ActivityRegularization", NULL, 1, 1, false, false, nothing},
	{"AlphaDropout", NULL, 1, 1, false, false, nothing},
	{"Dense", "dense", 1, 1, false, false, call_dense},
	{"Dropout", NULL, 1, 1, false, false, nothing},
	{"Embedding", "embedding", 1, 1, false, false, call_embedding},
	{"Flatten", NULL, 1, 1, false, false, call_flatten},
	{"GaussianDropout", NULL, 1, 1, false, false, nothing},
	{"GaussianNoise", NULL, 1, 1, false, false, nothing},
	{"GlobalAveragePooling1D", NULL, 1, 1, false, false, call_average_pooling},
	{"Identity", NULL, 1, 1, false, false, nothing},
	{"InputLayer", NULL, 1, 1, false, false, nothing},
	{"Permute", NULL, 1, 1, false, false, call_permute},
	{"Reshape", NULL, 1, 1, false, false, call_reshape},
	{"SpatialDropout1D", NULL, 1, 1, false, false, nothing},
	{"SpatialDropout2D", NULL, 1, 1, false, false, nothing},
	{"SpatialDropout3D", NULL, 1, 1, false, false, nothing},
	{NULL, NULL, 0, 0, false, false, NULL},
};

const struct fg_keras_class *fg_keras_class_find(const char *name)
{
	static const struct fg_keras_class *const tables[] = {classes, fg_keras_merge_classes,
							      fg_keras_norm_classes,
							      fg_keras_activation_classes};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct fg_keras_class *class = tables[i]; class->name; class ++)
			if (strcmp(class->name, name) == 0)
				return class;
	return NULL;
}

const char *fg_keras_advice(const char *class_name)
{
	static const struct {
		const char *part;
		const char *advice;
	} known[] = {
		{"Lambda", "it holds Python code: use layers instead"},
		{"Op", "it is a TensorFlow operation: use layers instead"},
		{"Conv", "only dense models are served"},
		{"Pool", "only dense models are served"},
		{"LSTM", "only dense models are served"},
		{"GRU", "only dense models are served"},
		{"RNN", "only dense models are served"},
		{"Attention", "only dense models are served"},
		{"Lookup", "do this to the data before it is sent"},
		{"Encoding", "do this to the data before it is sent"},
		{"Hashing", "do this to the data before it is sent"},
		{"Discretization", "do this to the data before it is sent"},
		{"Vectorization", "do this to the data before it is sent"},
		{"Masking", "masks are not supported: leave it out"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(class_name, known[i].part))
			return known[i].advice;
	return "use the layers that docs/models.md lists, or export the model to ONNX";
}

int fg_keras_check_own(const struct fg_keras_call *call, const json_t *object)
{
	const char *module = json_string_value(json_object_get(object, "module"));
	const char *registered = json_string_value(json_object_get(object, "registered_name"));

	if (module && strcmp(module, "keras") != 0 && strncmp(module, "keras.", 6) != 0 &&
	    strncmp(module, "tf_keras.", 9) != 0 && strcmp(module, "builtins") != 0)
		return fg_keras_error(call,
				      "it comes from '%.40s', whose code is not in the file: use "
				      "Keras's own layers",
				      module);
	if (registered && strchr(registered, '>'))
		return fg_keras_error(call,
				      "'%.40s' is registered by your code, which is not in the "
				      "file: use Keras's own layers",
				      registered);
	return 0;
}
