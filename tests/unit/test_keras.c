/* models/keras*: which nodes each layer becomes, and for each thing that is refused, that the
 * reason names it. What the layers compute is held to Keras in test_compile_files.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/keras.h"
#include "models/ops.h"
#include "models/plan.h"
#include "tests/unit/keras_writer.h"

/* ---- helpers ---- */

/* Variables of layers by the names that the tests below use. */
static void put_variables(hid_t file)
{
	keras_dense(file, "fc", 4, 3);
	keras_weight_names(file, "alpha", "alpha/alpha");
	keras_weight(file, "alpha", "alpha", KERAS_DIMS(4));
	keras_weight_names(file, "table", "table/embeddings");
	keras_weight(file, "table", "embeddings", KERAS_DIMS(5, 2));
	keras_weight_names(file, "scale", "scale/gamma scale/beta");
	keras_weight(file, "scale", "gamma", KERAS_DIMS(4));
	keras_weight(file, "scale", "beta", KERAS_DIMS(4));
	keras_weight_names(file, "bn", "bn/moving_mean bn/moving_variance");
	keras_weight(file, "bn", "moving_mean", KERAS_DIMS(4));
	keras_weight(file, "bn", "moving_variance", KERAS_DIMS(4));
}

static int parse_config(const char *config, struct fg_graph *graph, struct fg_error *error)
{
	hid_t file = keras_start(config);
	struct keras_bytes bytes;
	int result;

	put_variables(file);
	bytes = keras_finish(file);
	result = fg_keras_parse_h5(graph, bytes.at, bytes.length, error);
	free(bytes.at);
	return result;
}

/* The operators that the model becomes, with a space behind each, but the Identity of each output
 * at the end. */
static void assert_nodes(const char *config, const char *wanted)
{
	struct fg_error error = {""};
	struct fg_graph graph;
	char found[512] = "";

	if (parse_config(config, &graph, &error))
		fail_msg("refused: %s", error.text);
	for (uint32_t i = 0; i + graph.output_count < graph.node_count; i++) {
		strcat(found, graph.nodes[i].op->name);
		strcat(found, " ");
	}
	assert_string_equal(found, wanted);
	fg_graph_free(&graph);
}

static void assert_refused(const char *config, const char *one, const char *two)
{
	struct fg_error error = {"(nothing said)"};
	struct fg_graph graph;

	if (!parse_config(config, &graph, &error))
		fail_msg("taken: %s", config);
	if (!strstr(error.text, one) || !strstr(error.text, two))
		fail_msg("'%s' does not say '%s' and '%s'", error.text, one, two);
	assert_null(graph.arena.chunks);
}

/* A Sequential model of an input of 4 columns and this layer. */
#define ONE(class, name, config)                                                                   \
	KERAS_SEQUENTIAL(KERAS_INPUT("4") ", " KERAS_LAYER(class, name, config))
#define ONE_OF(cols, class, name, config)                                                          \
	KERAS_SEQUENTIAL(KERAS_INPUT(cols) ", " KERAS_LAYER(class, name, config))
#define DENSE_4 ", \"units\": 3, \"use_bias\": true, \"activation\": "
#define NORM	", \"axis\": -1, \"epsilon\": 0.001, \"center\": true, \"scale\": true"

/* ---- what layers become ---- */

static void layers_become_nodes(void **state)
{
	(void)state;
	assert_nodes(ONE("Dense", "fc", DENSE_4 "\"relu\""), "Gemm Relu ");
	assert_nodes(ONE("Dense", "fc", DENSE_4 "null"), "Gemm ");
	assert_nodes(ONE_OF("2, 4", "Dense", "fc", DENSE_4 "\"linear\""), "MatMul Add ");
	assert_nodes(ONE("Embedding", "table", ", \"input_dim\": 5, \"output_dim\": 2"),
		     "Cast Gather ");
	assert_nodes(ONE("Dropout", "a", ""), "");
	assert_nodes(ONE("Flatten", "a", ""), "Flatten ");
	assert_nodes(ONE("Reshape", "a", ", \"target_shape\": [2, -1]"), "Reshape ");
	assert_nodes(ONE_OF("2, 3", "Permute", "a", ", \"dims\": [2, 1]"), "Transpose ");
	assert_nodes(ONE_OF("2, 3", "GlobalAveragePooling1D", "a", ""), "ReduceMean ");
	assert_nodes(ONE("LayerNormalization", "scale", NORM), "LayerNormalization ");
	assert_nodes(ONE("BatchNormalization", "bn",
			 ", \"axis\": [1], \"epsilon\": 0.1, \"center\": false, \"scale\": false"),
		     "BatchNormalization ");
	assert_nodes(
		ONE_OF("2, 4", "BatchNormalization", "bn",
		       ", \"axis\": -1, \"epsilon\": 0.1, \"center\": false, \"scale\": false"),
		"Sub Mul Add ");
	assert_nodes(ONE("Rescaling", "a", ", \"scale\": 0.5, \"offset\": [1, 2, 3, 4]"),
		     "Mul Add ");
	assert_nodes(ONE("Normalization", "a", ", \"axis\": -1, \"mean\": [1], \"variance\": 2"),
		     "Sub Div ");
}

static void activations_become_nodes(void **state)
{
	(void)state;
	assert_nodes(ONE("Activation", "a", ", \"activation\": \"swish\""), "Sigmoid Mul ");
	assert_nodes(ONE("Activation", "a",
			 ", \"activation\": {\"class_name\": \"function\", \"config\": \"tanh\", "
			 "\"module\": \"builtins\"}"),
		     "Tanh ");
	assert_nodes(ONE("Dense", "fc",
			 DENSE_4 "{\"class_name\": \"ELU\", \"config\": {\"alpha\": 0.5}}"),
		     "Gemm Elu ");
	assert_nodes(ONE("Softmax", "a", ", \"axis\": -1"), "Softmax ");
	assert_nodes(ONE("PReLU", "alpha", ", \"shared_axes\": null"), "PRelu ");
	assert_nodes(ONE("LeakyReLU", "a", ", \"alpha\": 0.1"), "LeakyRelu ");
	assert_nodes(ONE("ReLU", "a",
			 ", \"max_value\": 6, \"negative_slope\": 0, \"threshold\": 0"),
		     "Clip ");
	assert_nodes(ONE("ReLU", "a",
			 ", \"max_value\": null, \"negative_slope\": 1, \"threshold\": 2"),
		     "Greater Where Sub Clip Mul Add ");
}

#define X	  "[\"x\", 0, 0, {}]"
#define CALL_X	  "[" X "]"
#define OF(layer) "[\"" layer "\", 0, 0, {}]"
#define TENSOR(layer, call)                                                                        \
	"{\"class_name\": \"__keras_tensor__\", \"config\": {\"keras_history\": [\"" layer         \
	"\", " call ", 0]}}"
#define FUNCTIONAL(output, layers)                                                                 \
	KERAS_FUNCTIONAL("[[\"x\", 0, 0]]", "[[\"" output "\", 0, 0]]",                            \
			 KERAS_INPUT("4") ", " layers)

static void graphs_are_followed(void **state)
{
	(void)state;
	/* Both ways to write a call, and layers in the wrong order. */
	assert_nodes(
		FUNCTIONAL("sum",
			   KERAS_CALLED("Add", "sum", "", "[" X ", " OF("a") "]") ", " KERAS_CALLED(
				   "Activation", "a", ", \"activation\": \"relu\"", CALL_X)),
		"Relu Add ");
	assert_nodes(
		FUNCTIONAL("sum",
			   KERAS_CALLED("Add", "sum", "",
					"{\"args\": [[" TENSOR("x", "0") ", " TENSOR(
						"x",
						"0") "]], \"kwargs\": {\"mask\": [null, null]}}")),
		"Add ");
	assert_nodes(FUNCTIONAL("sum",
				KERAS_CALLED("Subtract", "sum", "",
					     "{\"args\": [1.5, " TENSOR("x",
									"0") "], \"kwargs\": {}}")),
		     "Sub ");
	/* A layer called with what it gave. */
	assert_nodes(KERAS_FUNCTIONAL("[\"x\", 0, 0]", "{\"y\": [\"a\", 1, 0]}",
				      KERAS_INPUT("4") ", " KERAS_CALLED(
					      "Activation", "a", ", \"activation\": \"tanh\"",
					      CALL_X ", [" OF("a") "]")),
		     "Tanh Tanh ");
	assert_nodes(FUNCTIONAL("all", KERAS_CALLED("Concatenate", "all", ", \"axis\": 1",
						    "[" X ", " X "]")),
		     "Concat ");
	assert_nodes(FUNCTIONAL("mean", KERAS_CALLED("Average", "mean", "", "[" X ", " X "]")),
		     "Mean ");
	assert_nodes(FUNCTIONAL("max", KERAS_CALLED("Maximum", "max", "", "[" X ", " X ", " X "]")),
		     "Max ");
}

/* One row, 0 1 2 5, through the model. */
static void assert_gives(const char *config, const char *wanted)
{
	const float in[4] = {0, 1, 2, 5};
	struct fg_error error = {""};
	char found[128] = "";
	struct fg_graph graph;
	struct fg_plan plan;
	float out[4];
	void *bytes, *scratch;
	size_t size;

	if (parse_config(config, &graph, &error) ||
	    fg_compile(&graph, NULL, NULL, &bytes, &size, &error) ||
	    fg_plan_open(&plan, bytes, size, &error))
		fail_msg("refused: %s", error.text);
	assert_in_range(plan.out_cols, 1, 4);
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, 1) + 64);
	fg_plan_run(&plan, in, 1, out, scratch);
	for (uint32_t i = 0; i < plan.out_cols; i++)
		sprintf(found + strlen(found), "%g ", out[i]);
	assert_string_equal(found, wanted);
	assert_int_equal(graph.inputs[0].element, FG_ELEMENT_I64);
	free(scratch);
	free(bytes);
	fg_graph_free(&graph);
}

/* Keras computes with whole inputs as with floats: only ONNX rounds their quotients. */
static void whole_inputs_become_floats(void **state)
{
#define WHOLE(shape)                                                                               \
	"{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", \"batch_shape\": "         \
	"[null, " shape "], \"dtype\": \"int32\"}, \"name\": \"x\", \"inbound_nodes\": []}, "
	(void)state;
	assert_gives(KERAS_SEQUENTIAL(WHOLE("4") KERAS_LAYER("Normalization", "a",
							     ", \"axis\": -1, \"mean\": 1, "
							     "\"variance\": 4")),
		     "-0.5 0 0.5 2 ");
	assert_gives(KERAS_FUNCTIONAL("[[\"x\", 0, 0]]", "[[\"a\", 0, 0]]",
				      WHOLE("4") KERAS_CALLED(
					      "Divide", "a", "",
					      "{\"args\": [" TENSOR("x", "0") ", 4], "
									      "\"kwargs\": {}}")),
		     "0 0.25 0.5 1.25 ");
	assert_gives(KERAS_SEQUENTIAL(WHOLE("2, 2") KERAS_LAYER("GlobalAveragePooling1D", "a", "")),
		     "1 3 ");
	assert_gives(KERAS_SEQUENTIAL(WHOLE("4, 1") KERAS_LAYER("GlobalAveragePooling1D", "a", "")),
		     "2 ");
	assert_gives(
		KERAS_SEQUENTIAL(WHOLE("4") KERAS_LAYER(
			"Rescaling", "a",
			", \"scale\": 0.5, \"offset\": 0") ", " KERAS_LAYER("Normalization", "b",
									    ", \"axis\": -1, "
									    "\"mean\": 1, "
									    "\"variance\": 4")),
		"-0.5 -0.25 0 0.75 ");
}

/* Keras does not count ids from the end, as ONNX does. */
static void negative_ids_are_refused(void **state)
{
	const float in[4] = {0, -1, 2, 5};
	struct fg_plan_refusal refusal;
	struct fg_error error = {""};
	struct fg_graph graph;
	struct fg_plan plan;
	float out[8];
	void *bytes = NULL, *scratch;
	char why[64];
	size_t size;

	(void)state;
	if (parse_config(ONE("Embedding", "table", ", \"input_dim\": 5, \"output_dim\": 2"), &graph,
			 &error) ||
	    fg_compile(&graph, NULL, NULL, &bytes, &size, &error) ||
	    fg_plan_open(&plan, bytes, size, &error))
		fail_msg("refused: %s", error.text);
	scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, 1) + 64);
	assert_int_equal(fg_plan_try(&plan, in, 1, out, scratch, &refusal), 1);
	fg_plan_refusal_text(&plan, &refusal, in, why, sizeof(why));
	assert_string_equal(why, "input 'x', column 1: -1 is not in 0..4");
	free(scratch);
	free(bytes);
	fg_graph_free(&graph);
}

/* Shapes, types and names of inputs and outputs; variables are read. */
static void ports_are_read(void **state)
{
	struct fg_error error = {""};
	const struct fg_tensor *kernel;
	struct fg_graph graph;

	(void)state;
	if (parse_config(ONE("Dense", "fc", DENSE_4 "\"relu\""), &graph, &error))
		fail_msg("refused: %s", error.text);
	assert_int_equal(graph.opset, FG_KERAS_OPSET);
	assert_int_equal(graph.input_count, 1);
	assert_true(fg_text_is(graph.values[graph.inputs[0].value].name, "x"));
	assert_int_equal(graph.inputs[0].element, FG_ELEMENT_F32);
	assert_int_equal(graph.inputs[0].shape.rank, 2);
	assert_int_equal(graph.inputs[0].shape.dims[0], FG_GRAPH_UNKNOWN);
	assert_int_equal(graph.inputs[0].shape.dims[1], 4);
	assert_int_equal(graph.output_count, 1);
	assert_true(fg_text_is(graph.values[graph.outputs[0].value].name, "fc"));
	assert_int_equal(graph.outputs[0].shape.dims[1], 3);
	kernel = graph.values[graph.nodes[0].inputs[1]].constant;
	assert_int_equal(kernel->rank, 2);
	assert_int_equal(kernel->dims[0], 4);
	assert_int_equal(kernel->dims[1], 3);
	for (size_t i = 0; i < 12; i++)
		assert_true(fg_tensor_f32(kernel, i) == keras_number(i));
	fg_graph_free(&graph);
}

/* ---- what is refused ---- */

static void other_layers_are_refused(void **state)
{
	(void)state;
	assert_refused(ONE("Conv2D", "c", ""), "layer 'c' (Conv2D)", "only dense");
	assert_refused(ONE("LSTM", "c", ""), "(LSTM)", "only dense");
	assert_refused(ONE("Lambda", "c", ""), "(Lambda)", "Python code");
	assert_refused(ONE("TFOpLambda", "c", ""), "(TFOpLambda)", "use layers");
	assert_refused(ONE("StringLookup", "c", ""), "(StringLookup)", "before it is sent");
	assert_refused(ONE("Masking", "c", ""), "(Masking)", "leave it out");
	assert_refused(ONE("Dot", "c", ""), "(Dot)", "docs/models.md");
	assert_refused(KERAS_SEQUENTIAL("{\"class_name\": \"Dense\", \"module\": \"my.code\", "
					"\"config\": {\"name\": \"a\"}}"),
		       "'a' (Dense)", "my.code");
	assert_refused(KERAS_SEQUENTIAL("{\"class_name\": \"Dense\", \"registered_name\": "
					"\"my>Dense\", \"config\": {\"name\": \"a\"}}"),
		       "'a' (Dense)", "my>Dense");
}

static void odd_models_are_refused(void **state)
{
	(void)state;
	assert_refused("{", "model_config", "line 1");
	assert_refused("{\"class_name\": 1, \"class_name\": 2}", "model_config", "duplicate");
	assert_refused("[]", "the model's class is ''", "ONNX");
	assert_refused("{\"class_name\": \"Mine\"}", "'Mine'", "functional model");
	assert_refused(KERAS_SEQUENTIAL(""), "1 to 4096 layers", "");
	assert_refused(KERAS_SEQUENTIAL("7"), "layer #0", "no class");
	assert_refused(KERAS_SEQUENTIAL("{\"class_name\": \"Dense\", \"config\": {}}"), "layer #0",
		       "name");
	assert_refused(KERAS_SEQUENTIAL(KERAS_INPUT("4") ", " KERAS_LAYER("Dropout", "x", "")),
		       "two layers", "'x'");
}

static void odd_inputs_are_refused(void **state)
{
	(void)state;
	assert_refused(KERAS_SEQUENTIAL(KERAS_LAYER("Flatten", "a", "")), "'a'", "Input layer");
	assert_refused(ONE_OF("null", "Flatten", "a", ""), "layer 'x'", "dimension 1");
	assert_refused(ONE_OF("0", "Flatten", "a", ""), "layer 'x'", "dimension 1");
	assert_refused(ONE_OF("1048577", "Flatten", "a", ""), "layer 'x'", "columns");
	assert_refused(ONE_OF("1048576, 1048576, 1048576, 1048576", "Flatten", "a", ""),
		       "layer 'x'", "columns");
	assert_refused(ONE_OF("1, 1, 1, 1, 1, 1, 1, 1", "Flatten", "a", ""), "layer 'x'", "shape");
	assert_refused(KERAS_SEQUENTIAL(
			       KERAS_LAYER("InputLayer", "x",
					   ", \"batch_shape\": [null, 4], \"dtype\": \"string\"")),
		       "layer 'x'", "string");
	assert_refused(KERAS_SEQUENTIAL(
			       KERAS_LAYER("InputLayer", "x",
					   ", \"batch_shape\": [null, 4], \"sparse\": true")),
		       "layer 'x'", "sparse");
}

static void odd_configs_are_refused(void **state)
{
	(void)state;
	assert_refused(ONE("Dense", "fc", ""), "'fc' (Dense)", "units");
	assert_refused(ONE("Dense", "fc", ", \"units\": 3"), "'fc' (Dense)", "use_bias");
	assert_refused(ONE("Dense", "fc", ", \"units\": -1, \"use_bias\": true"), "'fc'", "-1");
	assert_refused(ONE("Dense", "fc", ", \"units\": 9999999, \"use_bias\": true"), "'fc'",
		       "9999999");
	assert_refused(ONE("Dense", "fc", ", \"units\": 3, \"use_bias\": true"), "'fc'",
		       "activation");
	assert_refused(ONE("Dense", "fc", DENSE_4 "\"mine\""), "'fc'", "'mine'");
	assert_refused(ONE("Dense", "fc", DENSE_4 "{\"class_name\": \"PReLU\", \"config\": {}}"),
		       "'fc'", "layer of its own");
	assert_refused(ONE("Dense", "fc",
			   DENSE_4 "{\"class_name\": \"ELU\", \"config\": {}, \"registered_name\": "
				   "\"my>ELU\"}"),
		       "'fc'", "my>ELU");
	assert_refused(ONE("Activation", "a",
			   ", \"activation\": {\"class_name\": \"Activation\", \"config\": "
			   "{\"activation\": {\"class_name\": \"Mine\", \"config\": {}}}}"),
		       "'a'", "Mine");
	assert_refused(ONE("ReLU", "a", ", \"negative_slope\": 0, \"threshold\": 0"), "'a' (ReLU)",
		       "max_value");
	assert_refused(ONE("ReLU", "a", ""), "'a' (ReLU)", "negative_slope");
	assert_refused(ONE("LeakyReLU", "a", ""), "'a' (LeakyReLU)", "alpha");
	assert_refused(ONE("ELU", "a", ", \"alpha\": \"x\""), "'a' (ELU)", "alpha");
	assert_refused(ONE("Softmax", "a", ", \"axis\": 0"), "'a' (Softmax)", "batch");
	assert_refused(ONE("Softmax", "a", ", \"axis\": [1, 2]"), "'a' (Softmax)", "axis");
	assert_refused(ONE("PReLU", "alpha", ", \"shared_axes\": [2]"), "(PReLU)", "shared_axes");
	assert_refused(ONE("Rescaling", "a", ", \"scale\": [1, 2], \"offset\": 0"), "(Rescaling)",
		       "scale");
	assert_refused(ONE("Rescaling", "a", ", \"scale\": {}, \"offset\": 0"), "(Rescaling)",
		       "scale");
	assert_refused(ONE("Normalization", "a", ", \"axis\": -1, \"mean\": [1, 2, 3]"),
		       "(Normalization)", "3 numbers");
	assert_refused(ONE("Normalization", "a", ", \"axis\": 5, \"mean\": null"),
		       "(Normalization)", "axis");
	assert_refused(ONE("Embedding", "table", ", \"input_dim\": 5"), "(Embedding)",
		       "output_dim");
	assert_refused(ONE("Embedding", "table", ", \"input_dim\": 0, \"output_dim\": 2"),
		       "(Embedding)", "(0, 2)");
}

static void odd_norms_and_shapes_are_refused(void **state)
{
	(void)state;
	assert_refused(ONE("BatchNormalization", "bn", NORM ", \"renorm\": true"), "'bn'",
		       "renorm");
	assert_refused(ONE("BatchNormalization", "bn", ", \"axis\": 0"), "'bn'", "batch");
	assert_refused(ONE("BatchNormalization", "bn", ", \"axis\": [1, 2]"), "'bn'", "axis");
	assert_refused(ONE("LayerNormalization", "scale", NORM ", \"rms_scaling\": true"),
		       "'scale'", "rms_scaling");
	assert_refused(ONE_OF("2, 4", "LayerNormalization", "scale", ", \"axis\": 1"), "'scale'",
		       "last");
	assert_refused(ONE_OF("2, 4", "LayerNormalization", "scale", ", \"axis\": [2, 2]"),
		       "'scale'", "last");
	assert_refused(ONE("LayerNormalization", "scale", ", \"axis\": []"), "'scale'", "last");
	assert_refused(ONE("Reshape", "a", ", \"target_shape\": [3]"), "'a'", "4 columns");
	assert_refused(ONE("Reshape", "a", ", \"target_shape\": [3, -1]"), "'a'", "4 columns");
	assert_refused(ONE("Reshape", "a", ", \"target_shape\": [-1, -1]"), "'a'", "-1");
	assert_refused(ONE("Reshape", "a", ", \"target_shape\": [4294967296, 4294967296]"), "'a'",
		       "dimension");
	assert_refused(ONE("Reshape", "a", ""), "'a'", "target_shape");
	assert_refused(ONE_OF("2, 2", "Permute", "a", ", \"dims\": [1, 1]"), "'a'", "twice");
	assert_refused(ONE("Permute", "a", ", \"dims\": [1, 2]"), "'a'", "dims");
	assert_refused(ONE_OF("2, 2", "Flatten", "a", ", \"data_format\": \"channels_first\""),
		       "'a'", "channels_first");
	assert_refused(ONE("GlobalAveragePooling1D", "a", ""), "'a'", "rank 2");
	assert_refused(ONE_OF("600, 600", "Embedding", "table",
			      ", \"input_dim\": 5, \"output_dim\": 900000"),
		       "'table'", "asks for (5, 900000)");
}

static void wrong_variables_are_refused(void **state)
{
	(void)state;
	assert_refused(ONE("Dense", "other", DENSE_4 "null"), "'other' (Dense)",
		       "'model_weights/other' is not in the file");
	assert_refused(ONE("Dense", "fc", ", \"units\": 3, \"use_bias\": false"), "'fc' (Dense)",
		       "2 variables for it, its config asks for 1");
	assert_refused(ONE_OF("5", "Dense", "fc", DENSE_4 "null"), "shape (4, 3)",
		       "asks for (5, 3)");
	assert_refused(ONE("Dense", "fc",
			   ", \"units\": 12, \"use_bias\": true, \"activation\": null"),
		       "shape (4, 3)", "asks for (4, 12)");
	assert_refused(ONE_OF("4, 4, 4", "PReLU", "alpha", ""), "shape (4)", "asks for (4, 4, 4)");
	assert_refused(ONE("Normalization", "alpha", ", \"axis\": -1"), "'alpha' (Normalization)",
		       "asks for 3");
}

/* A layer's variables fit its first call, and so must its others. */
static void calls_of_other_shapes_are_refused(void **state)
{
#define SHARED(class, name, config)                                                                \
	KERAS_FUNCTIONAL("[[\"x\", 0, 0]]", "[[\"" name "\", 1, 0]]",                              \
			 KERAS_INPUT("2, 4") ", " KERAS_CALLED(                                    \
				 "Reshape", "r", ", \"target_shape\": [1, 8]",                     \
				 CALL_X) ", " KERAS_CALLED(class, name, config,                    \
							   CALL_X ", [" OF("r") "]"))
	(void)state;
	assert_refused(SHARED("BatchNormalization", "bn",
			      ", \"axis\": 2, \"epsilon\": 0.001, \"scale\": false, "
			      "\"center\": false"),
		       "'bn' (BatchNormalization)", "another shape");
	assert_refused(SHARED("Dense", "fc", DENSE_4 "null"), "'fc' (Dense)", "another shape");
}

/* What a mask would change cannot be served; what drops it can. */
static void masks_are_refused(void **state)
{
#define MASKED                                                                                     \
	KERAS_INPUT("4")                                                                           \
	", " KERAS_LAYER("Embedding", "table",                                                     \
			 ", \"input_dim\": 5, \"output_dim\": 2, \"mask_zero\": true")
	(void)state;
	assert_refused(KERAS_SEQUENTIAL(MASKED ", " KERAS_LAYER("Softmax", "a", ", \"axis\": -1")),
		       "'a' (Softmax)", "mask_zero");
	assert_refused(KERAS_SEQUENTIAL(MASKED
					", " KERAS_LAYER("Dropout", "d", "") ", " KERAS_LAYER(
						"GlobalAveragePooling1D", "a", "")),
		       "'a' (GlobalAveragePooling1D)", "mask_zero");
	assert_nodes(KERAS_SEQUENTIAL(MASKED ", " KERAS_LAYER("Flatten", "f", "") ", " KERAS_LAYER(
			     "Softmax", "a", ", \"axis\": -1")),
		     "Cast Gather Flatten Softmax ");
}

static void odd_graphs_are_refused(void **state)
{
	(void)state;
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "", "[" OF("b") "]")), "'b'",
		       "does not have");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "", "[[\"x\", 1, 0, {}]]")),
		       "call 1", "'x'");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "", "[[\"x\", 0, 1, {}]]")),
		       "output 1", "'x'");
	assert_refused(
		FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "",
					     "[" OF("b") "]") ", " KERAS_CALLED("Dropout", "b", "",
										"[" OF("a") "]")),
		"wait for one another", "cycle");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "",
						    "[[\"x\", 0, 0, {\"training\": true}]]")),
		       "'a' (Dropout)", "training=True");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "",
						    "[[\"x\", 0, 0, {\"y\": [\"x\", 0, 0]}]]")),
		       "'a' (Dropout)", "'y'");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "",
						    "{\"args\": [{}], \"kwargs\": {}}")),
		       "'a' (Dropout)", "something else");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "",
						    "{\"args\": [1], \"kwargs\": {}}")),
		       "'a' (Dropout)", "plain number");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "",
						    "{\"args\": [[[[[[[[[[1]]]]]]]]]], "
						    "\"kwargs\": {}}")),
		       "'a' (Dropout)", "something else");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "", "[" X ", " X "]")),
		       "'a' (Dropout)", "2 tensors");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Add", "a", "", CALL_X)), "'a' (Add)",
		       "1 tensors");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Add", "a", "",
						    "{\"args\": [1, 2], \"kwargs\": {}}")),
		       "'a' (Add)", "plain numbers");
	assert_refused(FUNCTIONAL("a", KERAS_CALLED("Dropout", "a", "", "")), "'a' (Dropout)",
		       "not called");
	assert_refused(FUNCTIONAL("a",
				  KERAS_CALLED("Reshape", "r", ", \"target_shape\": [2, 2]",
					       CALL_X) ", " KERAS_CALLED("Add", "a", "",
									 "[" X ", " OF("r") "]")),
		       "'a' (Add)", "(-1, 4) and (-1, 2, 2)");
	assert_refused(FUNCTIONAL("a",
				  KERAS_CALLED("Reshape", "r", ", \"target_shape\": [2, 2]",
					       CALL_X) ", " KERAS_CALLED("Concatenate", "a",
									 ", \"axis\": -1",
									 "[" X ", " OF("r") "]")),
		       "'a' (Concatenate)", "(-1, 4) and (-1, 2, 2)");
}

static void odd_ends_are_refused(void **state)
{
	(void)state;
#define ENDS(in, out)                                                                              \
	KERAS_FUNCTIONAL(in, out, KERAS_INPUT("4") ", " KERAS_CALLED("Dropout", "a", "", CALL_X))
	assert_nodes(ENDS("[[\"x\", 0, 0]]", "[[\"a\", 0, 0], [\"x\", 0, 0]]"), "");
	assert_refused(ENDS("[[\"a\", 0, 0]]", "[[\"a\", 0, 0]]"), "'a'", "InputLayer");
	assert_refused(ENDS("[[\"q\", 0, 0]]", "[[\"a\", 0, 0]]"), "'q'", "InputLayer");
	assert_refused(ENDS("null", "[[\"a\", 0, 0]]"), "known way", "");
	assert_refused(ENDS("[]", "[[\"a\", 0, 0]]"), "wait for one another", "not listed");
	assert_refused(ENDS("[[\"x\", 0, 0], [\"x\", 0, 0], [\"x\", 0, 0]]", "[[\"a\", 0, 0]]"),
		       "twice", "");
	assert_refused(ENDS("[[\"x\", 0, 0]]", "[]"), "no outputs", "");
	assert_refused(ENDS("[[\"x\", 0, 0]]", "[[\"q\", 0, 0]]"), "'q'", "does not have");
	assert_refused(ENDS("[[\"x\", 0, 0]]", "[[\"a\", 1, 0]]"), "call 1", "'a'");
	assert_refused(ENDS("[[\"x\", 0, 0]]", "[[[[[[[[[[[[\"a\", 0, 0]]]]]]]]]]]]"), "known way",
		       "");
}

/* ---- bombs ---- */

/* `depth` functional models in one another, each calling the next `calls` times in turn. */
static char *nest(unsigned int depth, unsigned int calls)
{
	char *inner = strdup(KERAS_CALLED("Dropout", "y", "", CALL_X)), *model = NULL;

	for (unsigned int level = 0; level < depth; level++) {
		/* As Keras 3 counts: a functional model from 1, but only among the outputs. */
		unsigned int last = level ? calls : 0;
		char nodes[1024] = CALL_X;
		size_t length = strlen(nodes);

		free(model);
		assert_true(asprintf(&model,
				     KERAS_FUNCTIONAL("[[\"x\", 0, 0]]", "[[\"y\", %u, 0]]",
						      KERAS_INPUT("4") ", %s"),
				     inner, last) > 0);
		free(inner);
		for (unsigned int i = 1; i < calls; i++)
			length += (size_t)snprintf(nodes + length, sizeof(nodes) - length,
						   ", [[\"y\", %u, 0, {}]]", i - 1);
		/* The model again, as a layer "y" of the next. */
		assert_true(asprintf(&inner, "%.*s, \"name\": \"y\", \"inbound_nodes\": [%s]}",
				     (int)strlen(model) - 1, model, nodes) > 0);
	}
	free(inner);
	return model;
}

static void bombs_are_refused(void **state)
{
	const size_t brackets = 200000;
	char *text = malloc(brackets + 1), *models;

	(void)state;
	assert_non_null(text);
	memset(text, '[', brackets);
	text[brackets] = 0;
	assert_refused(text, "model_config", "depth");
	free(text);
	models = nest(4, 3);
	assert_nodes(models, "");
	free(models);
	models = nest(10, 1);
	assert_refused(models, "deep in one another", "");
	free(models);
	models = nest(6, 12);
	assert_refused(models, "65536 times", "");
	free(models);
}

/* ---- files ---- */

static void files_are_read(void **state)
{
	char folder[] = "/tmp/fgt-keras-XXXXXX";
	struct fg_error error = {""};
	struct keras_bytes bytes;
	struct fg_graph graph;
	hid_t file;
	int dirfd, fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dirfd, "model.h5", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	file = keras_start(ONE("Dense", "fc", DENSE_4 "null"));
	put_variables(file);
	bytes = keras_finish(file);
	assert_int_equal(write(fd, bytes.at, bytes.length), bytes.length);
	free(bytes.at);
	assert_int_equal(fg_keras_load_h5(&graph, dirfd, "model.h5", &error), 0);
	fg_graph_free(&graph);
	assert_int_equal(fg_keras_load_zip(&graph, dirfd, "model.h5", &error), -EINVAL);
	assert_non_null(strstr(error.text, "model.h5: not a .keras archive"));
	assert_int_equal(ftruncate(fd, 512), 0);
	assert_int_equal(fg_keras_load_h5(&graph, dirfd, "model.h5", &error), -EINVAL);
	assert_non_null(strstr(error.text, "model.h5: the file: damaged HDF5"));
	assert_int_equal(fg_keras_load_h5(&graph, dirfd, "other.h5", &error), -ENOENT);
	assert_int_equal(symlinkat("model.h5", dirfd, "link.h5"), 0);
	assert_int_equal(fg_keras_load_h5(&graph, dirfd, "link.h5", &error), -EINVAL);
	assert_int_equal(unlinkat(dirfd, "link.h5", 0) | unlinkat(dirfd, "model.h5", 0), 0);
	close(fd);
	close(dirfd);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_become_nodes),
		cmocka_unit_test(activations_become_nodes),
		cmocka_unit_test(graphs_are_followed),
		cmocka_unit_test(whole_inputs_become_floats),
		cmocka_unit_test(negative_ids_are_refused),
		cmocka_unit_test(ports_are_read),
		cmocka_unit_test(other_layers_are_refused),
		cmocka_unit_test(odd_models_are_refused),
		cmocka_unit_test(odd_inputs_are_refused),
		cmocka_unit_test(odd_configs_are_refused),
		cmocka_unit_test(odd_norms_and_shapes_are_refused),
		cmocka_unit_test(wrong_variables_are_refused),
		cmocka_unit_test(calls_of_other_shapes_are_refused),
		cmocka_unit_test(masks_are_refused),
		cmocka_unit_test(odd_graphs_are_refused),
		cmocka_unit_test(odd_ends_are_refused),
		cmocka_unit_test(bombs_are_refused),
		cmocka_unit_test(files_are_read),
	};

	return cmocka_run_group_tests_name("keras", tests, NULL, NULL);
}
