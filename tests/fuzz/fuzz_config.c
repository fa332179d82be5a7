/* Any text as the config of a Keras model, around the variables that a few layers have: a graph,
 * or refused with a reason. */
#include <hdf5.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "models/keras.h"
#include "tests/unit/keras_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* The corpus's layers, by name. */
static void put_variables(hid_t file)
{
	keras_dense(file, "fc", 3, 3);
	keras_weight_names(file, "bn", "bn/gamma bn/beta bn/moving_mean bn/moving_variance");
	keras_weight(file, "bn", "gamma", KERAS_DIMS(3));
	keras_weight(file, "bn", "beta", KERAS_DIMS(3));
	keras_weight(file, "bn", "moving_mean", KERAS_DIMS(3));
	keras_weight(file, "bn", "moving_variance", KERAS_DIMS(3));
	keras_weight_names(file, "table", "table/embeddings");
	keras_weight(file, "table", "embeddings", KERAS_DIMS(4, 3));
	keras_weight_names(file, "n", "n/mean n/variance n/count");
	keras_weight(file, "n", "mean", KERAS_DIMS(3));
	keras_weight(file, "n", "variance", KERAS_DIMS(3));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *config = malloc(length + 1);
	struct fg_error error = {""};
	struct keras_bytes made;
	struct fg_graph graph;
	hid_t file;
	int result;

	if (!config)
		return 0;
	memcpy(config, bytes, length);
	config[length] = 0;
	file = keras_start(config);
	put_variables(file);
	made = keras_finish(file);
	result = fg_keras_parse_h5(&graph, made.at, made.length, &error);
	if (result && !error.text[0])
		abort();
	fg_graph_free(&graph);
	free(made.at);
	free(config);
	return 0;
}
