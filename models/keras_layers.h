/* keras_layers.h: the classes of layers that are understood. Used by keras*.c.
 *
 * To add one: a line in a table at the end of keras_layers.c or of the keras_*.c where its
 * relatives are, and the function that makes its nodes. */
#ifndef FG_MODELS_KERAS_LAYERS_H
#define FG_MODELS_KERAS_LAYERS_H

#include "models/keras_build.h"

struct fg_keras_class {
	const char *name;
	const char *folder; /* of its variables in a .keras file; NULL: it has none */
	uint32_t min_inputs;
	uint32_t max_inputs;
	bool numbers;	 /* plain numbers may be among the inputs: tensors of rank 0 */
	bool activation; /* may stand where an activation is asked for */
	/*
	 * Makes the nodes. *call->out is the first input, to be changed to what the layer gives.
	 * -EINVAL with *error naming the layer; -ENOMEM.
	 */
	int (*call)(struct fg_keras_call *call);
};

/* NULL: no such class here. */
const struct fg_keras_class *fg_keras_class_find(const char *name);

/* What to do instead of a class that is not understood, for errors: one phrase. */
const char *fg_keras_advice(const char *class_name);

/* The tables of the other files; they end with a name of NULL. */
extern const struct fg_keras_class fg_keras_merge_classes[];
extern const struct fg_keras_class fg_keras_norm_classes[];
extern const struct fg_keras_class fg_keras_activation_classes[];

/*
 * Applies what a config calls an activation to call->out: null, a name, or a serialized function or
 * layer.
 */
int fg_keras_activate(struct fg_keras_call *call, const json_t *activation);

/* "module" and "registered_name" of a serialized object: -EINVAL when it is not Keras's own. */
int fg_keras_check_own(const struct fg_keras_call *call, const json_t *object);

#endif
