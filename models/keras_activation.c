#include <errno.h>
#include <math.h>
#include "models/keras_layers.h"

/* ---- by name: https://keras.io/api/layers/activations ---- */

/* One operator, with up to two attributes. */
struct simple {
	const char *name;
	const char *op; /* NULL: nothing to do */
	const char *keys[FG_KERAS_MAX_ATTRIBUTES];
	double numbers[FG_KERAS_MAX_ATTRIBUTES];
};

static const struct simple simple[] = {
	{"linear", NULL, {NULL}, {0}},
	{"relu", "Relu", {NULL}, {0}},
	{"leaky_relu", "LeakyRelu", {"alpha"}, {0.2}},
	{"elu", "Elu", {NULL}, {0}},
	{"selu", "Selu", {NULL}, {0}},
	{"celu", "Celu", {NULL}, {0}},
	{"gelu", "Gelu", {NULL}, {0}},
	{"sigmoid", "Sigmoid", {NULL}, {0}},
	{"sparse_sigmoid", "HardSigmoid", {"alpha", "beta"}, {0.5, 0.5}},
	{"hard_silu", "HardSwish", {NULL}, {0}},
	{"hard_swish", "HardSwish", {NULL}, {0}},
	{"tanh", "Tanh", {NULL}, {0}},
	{"softmax", "Softmax", {NULL}, {0}},
	{"softmax_v2", "Softmax", {NULL}, {0}}, /* what TensorFlow calls it inside */
	{"log_softmax", "LogSoftmax", {NULL}, {0}},
	{"softplus", "Softplus", {NULL}, {0}},
	{"softsign", "Softsign", {NULL}, {0}},
	{"mish", "Mish", {NULL}, {0}},
	{"exponential", "Exp", {NULL}, {0}},
};

static int apply_simple(struct fg_keras_call *call, const struct simple *one)
{
	struct fg_attribute attributes[FG_KERAS_MAX_ATTRIBUTES];
	uint32_t count = 0;

	if (!one->op)
		return 0;
	for (; count < FG_KERAS_MAX_ATTRIBUTES && one->keys[count]; count++)
		attributes[count] = fg_keras_float(one->keys[count], one->numbers[count]);
	return fg_keras_node(call, one->op, &call->out->value, 1, attributes, count,
			     &call->out->value);
}

/* value = min(max(value, low), high) */
static int clip(struct fg_keras_call *call, double low, double high, uint32_t *value)
{
	uint32_t inputs[] = {*value, 0, 0};
	int result = fg_keras_number(call->keras, (float)low, &inputs[1]);

	if (!result)
		result = fg_keras_number(call->keras, (float)high, &inputs[2]);
	return result ? result : fg_keras_node(call, "Clip", inputs, 3, NULL, 0, value);
}

/* value = value op number */
static int with_number(struct fg_keras_call *call, const char *op, double number, uint32_t *value)
{
	uint32_t constant;
	int result = fg_keras_number(call->keras, (float)number, &constant);

	return result ? result : fg_keras_binary(call, op, *value, constant, value);
}

static int apply_relu6(struct fg_keras_call *call, uint32_t *value)
{
	return clip(call, 0, 6, value);
}

static int apply_hard_tanh(struct fg_keras_call *call, uint32_t *value)
{
	return clip(call, -1, 1, value);
}

/* Keras 2: x / 5 + 1 / 2 between 0 and 1; Keras 3: x / 6 + 1 / 2. */
static int apply_hard_sigmoid(struct fg_keras_call *call, uint32_t *value)
{
	const struct fg_attribute attributes[] = {
		fg_keras_float("alpha", call->keras->version < 3 ? 0.2 : 1.0 / 6),
		fg_keras_float("beta", 0.5),
	};

	return fg_keras_node(call, "HardSigmoid", value, 1, attributes, 2, value);
}

static int apply_silu(struct fg_keras_call *call, uint32_t *value)
{
	uint32_t gate;
	int result = fg_keras_unary(call, "Sigmoid", *value, &gate);

	return result ? result : fg_keras_binary(call, "Mul", *value, gate, value);
}

/* log(sigmoid(x)) = -softplus(-x), which keeps what is far below 0. */
static int apply_log_sigmoid(struct fg_keras_call *call, uint32_t *value)
{
	int result = fg_keras_unary(call, "Neg", *value, value);

	if (!result)
		result = fg_keras_unary(call, "Softplus", *value, value);
	return result ? result : fg_keras_unary(call, "Neg", *value, value);
}

static int apply_tanh_shrink(struct fg_keras_call *call, uint32_t *value)
{
	uint32_t tanh_value;
	int result = fg_keras_unary(call, "Tanh", *value, &tanh_value);

	return result ? result : fg_keras_binary(call, "Sub", *value, tanh_value, value);
}

/* x - 1/2 above 1/2, x + 1/2 below -1/2, else 0. */
static int apply_soft_shrink(struct fg_keras_call *call, uint32_t *value)
{
	uint32_t middle = *value;
	int result = clip(call, -0.5, 0.5, &middle);

	return result ? result : fg_keras_binary(call, "Sub", *value, middle, value);
}

/* (x + sqrt(x^2 + 4)) / 2 */
static int apply_squareplus(struct fg_keras_call *call, uint32_t *value)
{
	uint32_t root;
	int result = fg_keras_binary(call, "Mul", *value, *value, &root);

	if (!result)
		result = with_number(call, "Add", 4, &root);
	if (!result)
		result = fg_keras_unary(call, "Sqrt", root, &root);
	if (!result)
		result = fg_keras_binary(call, "Add", *value, root, value);
	return result ? result : with_number(call, "Mul", 0.5, value);
}

static const struct {
	const char *name;
	int (*apply)(struct fg_keras_call *call, uint32_t *value);
} composed[] = {
	{"relu6", apply_relu6},
	{"hard_tanh", apply_hard_tanh},
	{"hard_sigmoid", apply_hard_sigmoid},
	{"silu", apply_silu},
	{"swish", apply_silu},
	{"log_sigmoid", apply_log_sigmoid},
	{"tanh_shrink", apply_tanh_shrink},
	{"soft_shrink", apply_soft_shrink},
	{"squareplus", apply_squareplus},
};

static int apply_named(struct fg_keras_call *call, const char *name)
{
	if (strstr(name, "softmax") && call->out->rank < 2)
		return fg_keras_error(call, "softmax of single numbers would mix rows");
	for (size_t i = 0; i < sizeof(simple) / sizeof(simple[0]); i++)
		if (strcmp(name, simple[i].name) == 0)
			return apply_simple(call, &simple[i]);
	for (size_t i = 0; i < sizeof(composed) / sizeof(composed[0]); i++)
		if (strcmp(name, composed[i].name) == 0)
			return composed[i].apply(call, &call->out->value);
	return fg_keras_error(call,
			      "the activation '%.40s' is not supported: use one of Keras's own "
			      "(docs/models.md), or export the model to ONNX",
			      name);
}

/* ---- as a config has it ---- */

/* A layer where an activation is asked for: LeakyReLU(0.1), say. */
static int apply_layer(struct fg_keras_call *call, const char *class_name, const json_t *config)
{
	const struct fg_keras_class *class = fg_keras_class_find(class_name);
	struct fg_keras_layer layer = *call->layer;
	struct fg_keras_tensor in = *call->out;
	struct fg_keras_call inner = {
		.keras = call->keras, .layer = &layer, .in = &in, .in_count = 1, .out = call->out};

	if (!class || !class->activation || !json_is_object(config))
		return fg_keras_error(call,
				      "its activation is a %.40s: make that a layer of its own",
				      class_name);
	layer.class_name = class_name;
	layer.class = class;
	layer.config = config;
	return class->call(&inner);
}

int fg_keras_activate(struct fg_keras_call *call, const json_t *activation)
{
	const char *class_name = json_string_value(json_object_get(activation, "class_name"));
	const json_t *config = json_object_get(activation, "config");

	if (json_is_null(activation))
		return 0;
	if (json_is_string(activation))
		return apply_named(call, json_string_value(activation));
	if (!class_name)
		return fg_keras_error(call, "its \"activation\" is missing or not a name");
	if (fg_keras_check_own(call, activation))
		return -EINVAL;
	if (strcmp(class_name, "function") == 0 && json_is_string(config))
		return apply_named(call, json_string_value(config));
	return apply_layer(call, class_name, config);
}

/* ---- as layers ---- */

static int call_activation(struct fg_keras_call *call)
{
	return fg_keras_activate(call, json_object_get(call->layer->config, "activation"));
}

/*
 * With slope s, threshold t and most m: m above m, x above t, s (x - t) below. Keras's defaults are
 * null for m and 0 for the others.
 */
static int call_relu(struct fg_keras_call *call)
{
	const json_t *most = json_object_get(call->layer->config, "max_value");
	uint32_t x = call->out->value, *out = &call->out->value, above, zero, below;
	double slope, threshold;
	int result = fg_keras_get_float(call, "negative_slope", &slope);

	if (!result)
		result = fg_keras_get_float(call, "threshold", &threshold);
	if (!result && !json_is_null(most) && !json_is_number(most))
		result = fg_keras_error(call, "its \"max_value\" is missing or not a number");
	if (result)
		return result;
	if (threshold == 0 && json_is_null(most)) {
		const struct fg_attribute alpha = fg_keras_float("alpha", slope);

		return slope == 0 ? fg_keras_unary(call, "Relu", x, out)
				  : fg_keras_node(call, "LeakyRelu", &x, 1, &alpha, 1, out);
	}
	if (threshold == 0) {
		result = clip(call, 0, json_number_value(most), out);
	} else {
		above = x;
		result = with_number(call, "Greater", threshold, &above);
		if (!result)
			result = fg_keras_number(call->keras, 0, &zero);
		if (!result) {
			const uint32_t inputs[] = {above, x, zero};

			result = fg_keras_node(call, "Where", inputs, 3, NULL, 0, out);
		}
		if (!result && json_is_number(most))
			result = clip(call, 0, json_number_value(most), out);
	}
	if (result || slope == 0)
		return result;
	below = x; /* min(x - t, 0) s is what there is below t */
	result = with_number(call, "Sub", threshold, &below);
	if (!result)
		result = clip(call, -INFINITY, 0, &below);
	if (!result)
		result = with_number(call, "Mul", slope, &below);
	return result ? result : fg_keras_binary(call, "Add", *out, below, out);
}

static int call_leaky_relu(struct fg_keras_call *call)
{
	const json_t *config = call->layer->config;
	/* Keras 3's name, and Keras 2's. */
	const char *key = json_object_get(config, "negative_slope") ? "negative_slope" : "alpha";
	double slope;
	struct fg_attribute alpha;
	int result = fg_keras_get_float(call, key, &slope);

	alpha = fg_keras_float("alpha", result ? 0 : slope);
	return result ? result
		      : fg_keras_node(call, "LeakyRelu", &call->out->value, 1, &alpha, 1,
				      &call->out->value);
}

static int call_elu(struct fg_keras_call *call)
{
	struct fg_attribute alpha;
	double number;
	int result = fg_keras_get_float(call, "alpha", &number);

	alpha = fg_keras_float("alpha", result ? 0 : number);
	return result ? result
		      : fg_keras_node(call, "Elu", &call->out->value, 1, &alpha, 1,
				      &call->out->value);
}

static int call_softmax(struct fg_keras_call *call)
{
	struct fg_attribute along;
	uint32_t axis;
	int result = fg_keras_get_axis(call, "axis", &axis);

	if (result)
		return result;
	if (call->in[0].masked)
		return fg_keras_error(call, "it would use the mask of an Embedding with "
					    "mask_zero=True: masks are not supported");
	along = fg_keras_int("axis", axis);
	return fg_keras_node(call, "Softmax", &call->out->value, 1, &along, 1, &call->out->value);
}

static int call_prelu(struct fg_keras_call *call)
{
	const json_t *shared = json_object_get(call->layer->config, "shared_axes");
	struct fg_keras_variable alpha = {.name = "alpha", .rank = call->in[0].rank - 1};
	int result = 0;

	for (uint32_t i = 0; i < alpha.rank; i++)
		alpha.dims[i] = call->in[0].dims[i + 1];
	for (size_t i = 0; !result && i < json_array_size(shared); i++) {
		uint32_t axis;

		result = fg_keras_axis(call, "shared_axes", json_array_get(shared, i), &axis);
		if (!result)
			alpha.dims[axis - 1] = 1;
	}
	if (!result)
		result = fg_keras_load(call, &alpha, 1);
	return result ? result
		      : fg_keras_binary(call, "PRelu", call->out->value, call->layer->variables[0],
					&call->out->value);
}

const struct fg_keras_class fg_keras_activation_classes[] = {
	{"Activation", NULL, 1, 1, false, true, call_activation},
	{"ELU", NULL, 1, 1, false, true, call_elu},
	{"LeakyReLU", NULL, 1, 1, false, true, call_leaky_relu},
	{"PReLU", "p_re_lu", 1, 1, false, false, call_prelu},
	{"ReLU", NULL, 1, 1, false, true, call_relu},
	{"Softmax", NULL, 1, 1, false, true, call_softmax},
	{NULL, NULL, 0, 0, false, false, NULL},
};
