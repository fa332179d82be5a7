/* keras_model.h: Sequential and functional models. Used by keras*.c. */
#ifndef FG_MODELS_KERAS_MODEL_H
#define FG_MODELS_KERAS_MODEL_H

#include "models/keras_build.h"

struct fg_keras_model {
	struct fg_keras_layer *layers;
	uint32_t layer_count;
	const struct fg_keras_layer **by_name; /* the same, sorted by name */
	const json_t *config;		       /* an object */
	bool sequential;
	const struct fg_keras_layer *layer; /* that it is, inside another model; NULL: the whole */
	unsigned int depth;		    /* models around it */
};

/* Values that are gathered from JSON; there is room for as many as there can be. */
struct fg_keras_gathered {
	struct fg_keras_tensor *tensors; /* NULL: they are only counted */
	uint32_t count;
};

/* Reads the whole model, {"class_name": ..., "config": ...}, into keras->graph. The JSON must stay
 * until then. models/keras_ports.c */
int fg_keras_read_model(struct fg_keras *keras, const json_t *json);

bool fg_keras_is_model(const char *class_name);
bool fg_keras_is_input(const struct fg_keras_layer *layer);

/* Reads the list of layers of a model of that class and config; model->layer and ->depth are set.
 */
int fg_keras_read_layers(struct fg_keras *keras, struct fg_keras_model *model,
			 const char *class_name, const json_t *config);

/* NULL: there is none of that name. */
struct fg_keras_layer *fg_keras_find_layer(const struct fg_keras_model *model, const char *name);

/* Makes the nodes of all layers for these inputs. *result is in the arena. */
int fg_keras_call_model(struct fg_keras *keras, struct fg_keras_model *model,
			struct fg_keras_tensor *in, uint32_t in_count,
			struct fg_keras_result *result);

/* call->out has at most FG_KERAS_MAX_ELEMENTS columns. */
int fg_keras_check_columns(const struct fg_keras_call *call);

/*
 * Walks "input_layers" or "output_layers": each(..., [name, call, output], context) for one of
 * those, a list of them, or a dict, which Keras takes in the order of its keys. `depth`: lists
 * around this one. Stops at the first result that is not 0, and returns it.
 */
typedef int fg_keras_walker(struct fg_keras *keras, struct fg_keras_model *model,
			    const json_t *reference, void *context);
int fg_keras_walk(struct fg_keras *keras, struct fg_keras_model *model, const json_t *json,
		  unsigned int depth, fg_keras_walker *each, void *context);

#endif
