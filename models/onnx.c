#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "models/file.h"
#include "models/onnx.h"
#include "models/onnx_parse.h"
#include "models/onnx_tensor.h"

/* onnx.proto. Fields that are not here (documentation, producers, ...) mean nothing to us. */
enum {
	MODEL_GRAPH = 7,
	MODEL_OPSET = 8,
	OPSET_DOMAIN = 1,
	OPSET_VERSION = 2,
	GRAPH_INITIALIZER = 5,
	GRAPH_INPUT = 11,
	GRAPH_OUTPUT = 12,
	GRAPH_SPARSE = 15,
	VALUE_NAME = 1,
	VALUE_TYPE = 2,
	TYPE_TENSOR = 1,
	TENSOR_TYPE_ELEMENT = 1,
	TENSOR_TYPE_SHAPE = 2,
	SHAPE_DIM = 1,
	DIM_VALUE = 1,
};

#define ELEMENT_FLOAT 1 /* TensorProto.DataType */

int fg_onnx_malformed(struct fg_onnx_parser *parser, const char *what)
{
	return fg_error_set(parser->error, -EINVAL, "%s: malformed protobuf (not an ONNX file?)",
			    what);
}

int fg_onnx_no_memory(struct fg_onnx_parser *parser)
{
	return fg_error_set(parser->error, -ENOMEM, "out of memory for the graph");
}

int fg_onnx_add_value(struct fg_onnx_parser *parser, struct fg_text name, const char *what,
		      uint32_t *value)
{
	int result = fg_graph_add(parser->graph, name, value);
	char printed[64];

	if (result == -EEXIST)
		return fg_error_set(parser->error, -EINVAL, "%s '%s': the name is defined twice",
				    what, fg_text_print(name, printed, sizeof(printed)));
	return result ? fg_onnx_no_memory(parser) : 0;
}

/*
 * Calls `each` for every field `number` of `message`, in file order, until it returns nonzero.
 * A field of another wire type than BYTES is malformed: all that we iterate over are messages.
 */
static int for_each(struct fg_onnx_parser *parser, struct fg_pb message, uint32_t number,
		    const char *what, int (*each)(struct fg_onnx_parser *, struct fg_pb))
{
	struct fg_pb_field field;
	struct fg_pb child;
	int more, result = 0;

	while (!result && (more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != number)
			continue;
		if (fg_pb_enter(&message, &field, &child))
			return fg_onnx_malformed(parser, what);
		result = each(parser, child);
	}
	if (!result && more < 0)
		return fg_onnx_malformed(parser, what);
	return result;
}

/* ---- values ---- */

static int read_initializer(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_onnx_tensor *tensor = fg_arena_alloc(&parser->graph->arena, 1, sizeof(*tensor));
	uint32_t value;
	int result;

	if (!tensor)
		return fg_onnx_no_memory(parser);
	result = fg_onnx_read_tensor(message, "an initializer", parser->dirfd,
				     &parser->graph->arena, tensor, parser->error);
	if (!result)
		result = fg_onnx_add_value(parser, tensor->name, "initializer", &value);
	if (!result)
		parser->graph->values[value].constant = &tensor->tensor;
	return result;
}

static int refuse_sparse(struct fg_onnx_parser *parser, struct fg_pb message)
{
	(void)message;
	return fg_error_set(parser->error, -EINVAL,
			    "sparse initializers are not supported: export dense weights");
}

/* What a ValueInfoProto says. */
struct declared {
	struct fg_text name;
	uint64_t element; /* TensorProto.DataType; 0: not said */
	struct fg_graph_shape shape;
};

static int read_dim(struct fg_pb message, int64_t *dim)
{
	struct fg_pb_field field;
	int more;

	*dim = FG_GRAPH_UNKNOWN;
	while ((more = fg_pb_next(&message, &field)) > 0)
		if (field.number == DIM_VALUE && field.wire == FG_PB_VARINT)
			*dim = (int64_t)field.value;
	return more;
}

static int read_shape(struct fg_pb message, struct declared *declared)
{
	struct fg_pb_field field;
	struct fg_pb dim;
	int more;

	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != SHAPE_DIM)
			continue;
		if (declared->shape.rank == FG_GRAPH_MAX_RANK ||
		    fg_pb_enter(&message, &field, &dim) ||
		    read_dim(dim, &declared->shape.dims[declared->shape.rank++]))
			return -EINVAL;
	}
	return more;
}

static int read_tensor_type(struct fg_pb message, struct declared *declared)
{
	struct fg_pb_field field;
	struct fg_pb shape;
	int more;

	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number == TENSOR_TYPE_ELEMENT)
			declared->element = field.value;
		if (field.number == TENSOR_TYPE_SHAPE &&
		    (fg_pb_enter(&message, &field, &shape) || read_shape(shape, declared)))
			return -EINVAL;
	}
	return more;
}

static int read_declared(struct fg_pb message, struct declared *declared)
{
	struct fg_pb_field field, inner;
	struct fg_pb type, tensor;
	int more, type_more;

	memset(declared, 0, sizeof(*declared));
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number == VALUE_NAME)
			declared->name = fg_onnx_text(&field);
		if (field.number != VALUE_TYPE)
			continue;
		if (fg_pb_enter(&message, &field, &type))
			return -EINVAL;
		while ((type_more = fg_pb_next(&type, &inner)) > 0)
			if (inner.number == TYPE_TENSOR && (fg_pb_enter(&type, &inner, &tensor) ||
							    read_tensor_type(tensor, declared)))
				return -EINVAL;
		if (type_more < 0)
			return -EINVAL;
	}
	return more;
}

/* The model's input or output as declared: float32, dimensions positive or open. */
static int check_declared(struct fg_onnx_parser *parser, const struct declared *declared,
			  const char *what)
{
	char name[64];

	fg_text_print(declared->name, name, sizeof(name));
	if (declared->element && declared->element != ELEMENT_FLOAT)
		return fg_error_set(parser->error, -EINVAL,
				    "%s '%s' is %s, only float32 is supported: export the model as "
				    "float32",
				    what, name, fg_onnx_type_name(declared->element));
	for (uint32_t i = 0; i < declared->shape.rank; i++)
		if (declared->shape.dims[i] < 1 && declared->shape.dims[i] != FG_GRAPH_UNKNOWN)
			return fg_error_set(parser->error, -EINVAL, "%s '%s': dimension %u is %lld",
					    what, name, i, (long long)declared->shape.dims[i]);
	return 0;
}

/* Before IR version 4 initializers stood among the inputs too; those are not the model's. */
static int read_input(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct declared declared;
	uint32_t value;
	int result;

	if (read_declared(message, &declared))
		return fg_onnx_malformed(parser, "a graph input");
	value = fg_graph_find(graph, declared.name);
	if (value != FG_GRAPH_NO_VALUE && graph->values[value].constant)
		return 0;
	if (graph->input != FG_GRAPH_NO_VALUE) {
		char one[64], two[64];

		fg_text_print(graph->values[graph->input].name, one, sizeof(one));
		fg_text_print(declared.name, two, sizeof(two));
		return fg_error_set(parser->error, -EINVAL,
				    "inputs '%s' and '%s': only one input is supported", one, two);
	}
	result = check_declared(parser, &declared, "input");
	if (!result)
		result = fg_onnx_add_value(parser, declared.name, "input", &graph->input);
	graph->input_shape = declared.shape;
	return result;
}

static int read_output(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct declared declared;
	char name[64];

	if (read_declared(message, &declared))
		return fg_onnx_malformed(parser, "a graph output");
	fg_text_print(declared.name, name, sizeof(name));
	if (graph->output != FG_GRAPH_NO_VALUE)
		return fg_error_set(parser->error, -EINVAL,
				    "output '%s' is a second one: only one output is supported "
				    "(scikit-learn: export the probabilities alone)",
				    name);
	graph->output = fg_graph_find(graph, declared.name);
	if (graph->output == FG_GRAPH_NO_VALUE)
		return fg_error_set(parser->error, -EINVAL, "output '%s': nothing computes it",
				    name);
	graph->output_shape = declared.shape;
	return check_declared(parser, &declared, "output");
}

/* ---- graph and model ---- */

static int count_node(struct fg_onnx_parser *parser, struct fg_pb message)
{
	(void)message;
	if (parser->graph->node_count++ == FG_ONNX_MAX_NODES)
		return fg_error_set(parser->error, -EINVAL, "more than %u nodes",
				    FG_ONNX_MAX_NODES);
	return 0;
}

/* Constants first, then the input, then nodes in order: whatever a node uses is known by then. */
static int read_graph(struct fg_onnx_parser *parser)
{
	struct fg_graph *graph = parser->graph;
	struct fg_pb message = parser->message;
	int result = for_each(parser, message, FG_ONNX_GRAPH_NODE, "graph", count_node);

	if (result)
		return result;
	graph->nodes = fg_arena_alloc(&graph->arena, graph->node_count, sizeof(*graph->nodes));
	graph->node_count = 0;
	if (!graph->nodes)
		return fg_onnx_no_memory(parser);
	result = for_each(parser, message, GRAPH_SPARSE, "graph", refuse_sparse);
	if (!result)
		result = for_each(parser, message, GRAPH_INITIALIZER, "graph", read_initializer);
	if (!result)
		result = for_each(parser, message, GRAPH_INPUT, "graph", read_input);
	if (!result && graph->input == FG_GRAPH_NO_VALUE)
		return fg_error_set(parser->error, -EINVAL, "the graph has no input");
	if (!result)
		result = for_each(parser, message, FG_ONNX_GRAPH_NODE, "graph", fg_onnx_read_node);
	if (!result)
		result = for_each(parser, message, GRAPH_OUTPUT, "graph", read_output);
	if (!result && graph->output == FG_GRAPH_NO_VALUE)
		return fg_error_set(parser->error, -EINVAL, "the graph has no output");
	return result;
}

static int read_opset(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_text domain = {NULL, 0};
	struct fg_pb_field field;
	int64_t version = 0;
	int more;

	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number == OPSET_DOMAIN)
			domain = fg_onnx_text(&field);
		else if (field.number == OPSET_VERSION)
			version = (int64_t)field.value;
	}
	if (more < 0)
		return fg_onnx_malformed(parser, "opset_import");
	if (!domain.length || fg_text_is(domain, "ai.onnx"))
		parser->graph->opset = version;
	return 0;
}

static int take_graph(struct fg_onnx_parser *parser, struct fg_pb message)
{
	if (parser->message.at)
		return fg_error_set(parser->error, -EINVAL, "the file holds two graphs");
	parser->message = message;
	return 0;
}

static int read_model(struct fg_onnx_parser *parser, struct fg_pb model)
{
	int result = for_each(parser, model, MODEL_OPSET, "model", read_opset);

	if (!result)
		result = for_each(parser, model, MODEL_GRAPH, "model", take_graph);
	if (result)
		return result;
	if (!parser->message.at)
		return fg_error_set(parser->error, -EINVAL,
				    "the file holds no graph (not an ONNX file?)");
	if (parser->graph->opset < FG_ONNX_MIN_OPSET || parser->graph->opset > FG_ONNX_MAX_OPSET)
		return fg_error_set(parser->error, -EINVAL,
				    "opset %lld of ai.onnx: %d to %d are supported",
				    (long long)parser->graph->opset, FG_ONNX_MIN_OPSET,
				    FG_ONNX_MAX_OPSET);
	return read_graph(parser);
}

int fg_onnx_parse(struct fg_graph *graph, const void *bytes, size_t size, int dirfd,
		  struct fg_error *error)
{
	struct fg_onnx_parser parser = {.graph = graph, .dirfd = dirfd, .error = error};
	struct fg_pb model;
	int result;

	memset(graph, 0, sizeof(*graph));
	graph->input = FG_GRAPH_NO_VALUE;
	graph->output = FG_GRAPH_NO_VALUE;
	fg_pb_init(&model, bytes, size);
	result = read_model(&parser, model);
	if (result)
		fg_graph_free(graph);
	return result;
}

int fg_onnx_load(struct fg_graph *graph, int dirfd, const char *name, struct fg_error *error)
{
	struct fg_arena file = {0};
	struct fg_error reason;
	const void *bytes;
	size_t size;
	int result = fg_file_load(dirfd, name, FG_FILE_MAX_BYTES, &file, &bytes, &size, error);

	if (!result) {
		result = fg_onnx_parse(graph, bytes, size, dirfd, &reason);
		if (result)
			fg_error_set(error, result, "%.60s: %.190s", name, reason.text);
	}
	if (result)
		fg_arena_free(&file);
	else
		fg_arena_join(&graph->arena, &file);
	return result;
}
