/* Any bytes as a Keras model in a .keras archive: a graph, or refused with a reason. What compiling
 * makes of a graph is fuzz_onnx's. */
#include <stdint.h>
#include <stdlib.h>
#include "models/keras.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_error error = {""};
	struct fg_graph graph;
	int result = fg_keras_parse_zip(&graph, bytes, length, &error);

	if (result && !error.text[0])
		abort();
	fg_graph_free(&graph);
	return 0;
}
