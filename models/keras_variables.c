#include <errno.h>
#include <string.h>
#include "models/keras_layers.h"
#include "models/keras_model.h"

#define MAX_PATH 4096

/* libhdf5 and the file say what is wrong; this says where. Shapes are wrong, say, or a dataset is a
 * link. -ENOENT is malformed as well by the time it comes here. */
static int in_layer(const struct fg_keras_call *call, int result)
{
	struct fg_error reason = *call->keras->error;

	if (result == -ENOENT)
		result = -EINVAL;
	if (result == -EINVAL)
		fg_keras_error(call, "%s", reason.text);
	return result;
}

static int too_deep(const struct fg_keras_call *call)
{
	return fg_keras_error(call, "the names of the models around it are too long");
}

static int wrong_count(const struct fg_keras_call *call, uint64_t found, uint32_t wanted)
{
	return fg_keras_error(call, "the file holds %llu variables for it, its config asks for %u",
			      (unsigned long long)found, wanted);
}

static int read_variable(struct fg_keras_call *call, const char *path,
			 const struct fg_keras_variable *wanted, uint32_t *value)
{
	const float *floats;
	int result = fg_keras_h5_floats(call->keras->h5, path, wanted->rank, wanted->dims, &floats);

	if (result)
		return in_layer(call, result);
	return fg_keras_constant(call->keras, FG_ELEMENT_F32, wanted->rank, wanted->dims, floats,
				 value);
}

/* ---- .keras: layers/CLASS_N/layers/CLASS_N/vars/0 ---- */

/* Appends "/FOLDER_N" of the layer, behind those of the models that it is in. False: no room. */
static bool put_folders(const struct fg_keras_layer *layer, const char *container, char *path)
{
	const struct fg_keras_model *model = layer->parent;
	const char *folder = layer->class ? layer->class->folder : NULL;
	uint32_t before = 0;
	size_t at;

	if (model->layer && !put_folders(model->layer, container, path))
		return false;
	if (!folder)
		folder = model->layers && strcmp(layer->class_name, "Sequential") == 0
				 ? "sequential"
				 : "functional";
	for (const struct fg_keras_layer *other = model->layers; other < layer; other++)
		before += strcmp(other->class_name, layer->class_name) == 0;
	at = strlen(path);
	if (before)
		snprintf(path + at, MAX_PATH - at, "%s/%s_%u/", container, folder, before);
	else
		snprintf(path + at, MAX_PATH - at, "%s/%s/", container, folder);
	return strlen(path) < MAX_PATH - 64;
}

static int find_vars(struct fg_keras_call *call, char *path, uint64_t *count)
{
	/* The second is how TensorFlow 2.12 called it. */
	static const char *const containers[] = {"layers", "_layer_checkpoint_dependencies"};
	int result = -ENOENT;

	for (size_t i = 0; result == -ENOENT && i < 2; i++) {
		path[0] = 0;
		if (!put_folders(call->layer, containers[i], path))
			return too_deep(call);
		strcat(path, "vars");
		result = fg_keras_h5_count(call->keras->h5, path, count);
	}
	return result ? in_layer(call, result) : 0;
}

static int load_zipped(struct fg_keras_call *call, const struct fg_keras_variable *wanted,
		       uint32_t count)
{
	char path[MAX_PATH];
	uint64_t found;
	size_t end;
	int result = find_vars(call, path, &found);

	if (result)
		return result;
	if (found != count)
		return wrong_count(call, found, count);
	end = strlen(path);
	for (uint32_t i = 0; !result && i < count; i++) {
		snprintf(path + end, MAX_PATH - end, "/%u", i);
		if (!wanted[i].unread)
			result = read_variable(call, path, &wanted[i], &call->layer->variables[i]);
	}
	return result;
}

/* ---- .h5: model_weights/LAYER/NAME, the names listed ---- */

/* True for ".../LAYER/VARIABLE", perhaps with Keras 2's ":0" behind it. */
static bool is_named(struct fg_text name, const char *layer, const char *variable)
{
	const char *colon = memrchr(name.at, ':', name.length);
	size_t length = colon ? (size_t)(colon - name.at) : name.length;
	size_t outer = strlen(layer), own = strlen(variable), both = outer + 1 + own;

	return length >= both && memcmp(name.at + length - own, variable, own) == 0 &&
	       name.at[length - own - 1] == '/' &&
	       memcmp(name.at + length - both, layer, outer) == 0 &&
	       (length == both || name.at[length - both - 1] == '/');
}

static int read_listed(struct fg_keras_call *call, const char *group, struct fg_text name,
		       const struct fg_keras_variable *wanted, uint32_t *value)
{
	char path[MAX_PATH];

	if (snprintf(path, sizeof(path), "model_weights/%s/%s", group, name.at) >=
	    (int)sizeof(path))
		return fg_keras_error(call, "a name of its variables is too long");
	return read_variable(call, path, wanted, value);
}

/* A layer inside an inner model: all variables of that model are in one list, sorted in a way that
 * depends on which of them were trainable; but they have names. */
static int load_inner(struct fg_keras_call *call, const char *group, const struct fg_text *names,
		      uint32_t name_count, const struct fg_keras_variable *wanted, uint32_t count)
{
	int result = 0;

	for (uint32_t i = 0; !result && i < count; i++) {
		uint32_t found = 0, which = 0;

		for (uint32_t j = 0; j < name_count; j++)
			if (is_named(names[j], call->layer->name, wanted[i].name)) {
				found++;
				which = j;
			}
		if (found != 1)
			return fg_keras_error(call,
					      "%u of the variables of '%.40s' are called "
					      "'%.40s/%s': save the model as .keras, or with other "
					      "names",
					      found, group, call->layer->name, wanted[i].name);
		if (!wanted[i].unread)
			result = read_listed(call, group, names[which], &wanted[i],
					     &call->layer->variables[i]);
	}
	return result;
}

static int load_listed(struct fg_keras_call *call, const struct fg_keras_variable *wanted,
		       uint32_t count)
{
	const struct fg_keras_layer *top = call->layer;
	const struct fg_text *names;
	uint32_t name_count;
	char path[MAX_PATH];
	int result;

	while (top->parent->layer)
		top = top->parent->layer;
	snprintf(path, sizeof(path), "model_weights/%s", top->name);
	result = fg_keras_h5_names(call->keras->h5, path, "weight_names", &names, &name_count);
	if (result)
		return in_layer(call, result);
	if (top != call->layer)
		return load_inner(call, top->name, names, name_count, wanted, count);
	if (name_count != count)
		return wrong_count(call, name_count, count);
	for (uint32_t i = 0; !result && i < count; i++)
		if (!wanted[i].unread)
			result = read_listed(call, top->name, names[i], &wanted[i],
					     &call->layer->variables[i]);
	return result;
}

/* Later calls of a layer use what the first one has read: it must be of the shape that they want
 * too. */
static int check_loaded(const struct fg_keras_call *call, const struct fg_keras_variable *wanted,
			uint32_t count)
{
	const struct fg_value *values = call->keras->graph->values;

	for (uint32_t i = 0; i < count; i++) {
		const struct fg_tensor *loaded = values[call->layer->variables[i]].constant;

		if (!wanted[i].unread &&
		    (loaded->rank != wanted[i].rank ||
		     memcmp(loaded->dims, wanted[i].dims, loaded->rank * sizeof(*loaded->dims))))
			return fg_keras_error(call, "it is called with inputs of another shape "
						    "than its first ones, which its variables fit");
	}
	return 0;
}

int fg_keras_load(struct fg_keras_call *call, const struct fg_keras_variable *wanted,
		  uint32_t count)
{
	int result;

	if (call->layer->loaded || count == 0)
		return check_loaded(call, wanted, count);
	result = call->keras->zipped ? load_zipped(call, wanted, count)
				     : load_listed(call, wanted, count);
	call->layer->loaded = !result;
	return result;
}
