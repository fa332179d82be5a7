/* keras_build.h: what the Keras readers share: the model being read, its layers, and how nodes and
 * constants get into the graph. Used by keras*.c. */
#ifndef FG_MODELS_KERAS_BUILD_H
#define FG_MODELS_KERAS_BUILD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "models/graph.h"
#include "models/keras_h5.h"

#define FG_KERAS_MAX_VARIABLES	4u	  /* of one layer */
#define FG_KERAS_MAX_ATTRIBUTES 2u	  /* of one node that is made */
#define FG_KERAS_MAX_ELEMENTS	(1 << 20) /* columns that a value of the model may have */
#define FG_KERAS_MAX_NAME	255u	  /* bytes of a layer's name */

struct fg_keras {
	struct fg_graph *graph;
	struct fg_keras_h5 *h5;
	bool zipped;	  /* the variables lie as in .keras, not as in .h5 */
	unsigned version; /* of Keras, major: 1, 2, 3 */
	uint32_t calls;	  /* of layers so far */
	uint32_t names;	  /* of values made so far, to keep them different */
	struct fg_error *error;
};

struct fg_keras_model;
struct fg_keras_class;
struct fg_keras_layer;

/* A value of the model while it is being called: batched, of a known shape. */
struct fg_keras_tensor {
	const struct fg_keras_layer *layer; /* that gave it; NULL: an input */
	uint32_t value;
	uint32_t rank;
	int64_t dims[FG_GRAPH_MAX_RANK]; /* dims[0]: the batch, FG_GRAPH_UNKNOWN or >= 1 */
	bool whole;  /* whole numbers by type: an integer input, only moved since */
	bool masked; /* an Embedding with mask_zero is behind it */
};

/* What one call of a layer gave. */
struct fg_keras_result {
	struct fg_keras_tensor *tensors; /* NULL: not called yet */
	uint32_t count;
};

/* What one layer of a model is. Its JSON outlives it. */
struct fg_keras_layer {
	const char *name;	/* unique in its model */
	const char *class_name; /* as in the file */
	const json_t *config;	/* an object */
	const json_t *calls;	/* inbound_nodes, of a functional model's layers */
	char *path;		/* names of the models around it and its own, with '/' */
	const struct fg_keras_class *class; /* models/keras_layers.h; NULL: a model */
	const struct fg_keras_model *parent;
	struct fg_keras_model *model;	 /* of a layer that is a model, once called */
	struct fg_keras_result *results; /* of each call in a functional model */
	uint32_t result_count;
	bool loaded;				    /* the two below */
	uint32_t variables[FG_KERAS_MAX_VARIABLES]; /* values in the graph */
};

/* One call of a layer. */
struct fg_keras_call {
	struct fg_keras *keras;
	struct fg_keras_layer *layer;
	const struct fg_keras_tensor *in;
	uint32_t in_count;
	struct fg_keras_tensor *out; /* to be filled in */
};

/* Sets "layer 'fc1' (Dense): ..." and returns -EINVAL. */
__attribute__((format(printf, 2, 3))) int fg_keras_error(const struct fg_keras_call *call,
							 const char *format, ...);
int fg_keras_no_memory(const struct fg_keras *keras);

/*
 * Adds a node for the call, named like its layer. `inputs` are values; `attributes` (up to
 * FG_KERAS_MAX_ATTRIBUTES) are copied. *output is a new value and may be one of the inputs.
 */
int fg_keras_node(struct fg_keras_call *call, const char *op, const uint32_t *inputs,
		  uint32_t input_count, const struct fg_attribute *attributes,
		  uint32_t attribute_count, uint32_t *output);

/* The same with one or two inputs and no attributes. */
int fg_keras_unary(struct fg_keras_call *call, const char *op, uint32_t in, uint32_t *out);
int fg_keras_binary(struct fg_keras_call *call, const char *op, uint32_t a, uint32_t b,
		    uint32_t *out);

/* Adds a constant; `data` (floats or int64s) must be in the graph's arena. */
int fg_keras_constant(struct fg_keras *keras, enum fg_element element, uint32_t rank,
		      const int64_t *dims, const void *data, uint32_t *value);
int fg_keras_number(struct fg_keras *keras, float number, uint32_t *value);
int fg_keras_int64s(struct fg_keras *keras, uint32_t count, const int64_t *numbers,
		    uint32_t *value);

/* A new value whose name is made of `base` and a number, or is `name` unless that is taken. */
int fg_keras_value(struct fg_keras *keras, const char *base, uint32_t *value);
int fg_keras_named(struct fg_keras *keras, const char *name, uint32_t *value);

static inline struct fg_attribute fg_keras_int(const char *name, int64_t integer)
{
	return (struct fg_attribute){.name = {name, strlen(name)},
				     .kind = FG_ATTRIBUTE_INT,
				     .integer = integer};
}

static inline struct fg_attribute fg_keras_float(const char *name, double number)
{
	return (struct fg_attribute){.name = {name, strlen(name)},
				     .kind = FG_ATTRIBUTE_FLOAT,
				     .number = (float)number};
}

/*
 * The layer's config: the value of `key`, which must be there and of that type. Numbers may be
 * written as integers. -EINVAL with *error naming the layer and the key.
 */
int fg_keras_get_int(const struct fg_keras_call *call, const char *key, int64_t *integer);
int fg_keras_get_float(const struct fg_keras_call *call, const char *key, double *number);
int fg_keras_get_bool(const struct fg_keras_call *call, const char *key, bool *truth);

/* config[key], an axis of the first input that is not the batch, or a list of one, as 1 .. rank
 * - 1.
 */
int fg_keras_get_axis(const struct fg_keras_call *call, const char *key, uint32_t *axis);

/* One such axis, of any JSON value. */
int fg_keras_axis(const struct fg_keras_call *call, const char *key, const json_t *json,
		  uint32_t *axis);

/*
 * config[key] as floats in the arena: a number, a list (of lists), or what Keras writes for an
 * array of numpy. *count is at most FG_KERAS_MAX_ELEMENTS.
 */
int fg_keras_get_floats(const struct fg_keras_call *call, const char *key, const float **floats,
			size_t *count);

/* What a layer stores: in the file's order, with the shape that its config asks for. */
struct fg_keras_variable {
	const char *name; /* as Keras calls it: "kernel" */
	uint32_t rank;
	int64_t dims[FG_GRAPH_MAX_RANK];
	bool unread; /* is there, but not needed: only counted */
};

/* Reads the variables of the call's layer, at its first call; layer->variables are their values. */
int fg_keras_load(struct fg_keras_call *call, const struct fg_keras_variable *variables,
		  uint32_t count);

#endif
