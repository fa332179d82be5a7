#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "models/onnx.h"
#include "models/onnx_parse.h"
#include "models/onnx_type.h"

/* onnx.proto: ValueInfoProto, TypeProto, TensorShapeProto */
enum {
	VALUE_NAME = 1,
	VALUE_TYPE = 2,
	TYPE_TENSOR = 1,
	TYPE_SEQUENCE = 4,
	TYPE_MAP = 5,
	TYPE_DENOTATION = 6,
	TENSOR_TYPE_ELEMENT = 1,
	TENSOR_TYPE_SHAPE = 2,
	SHAPE_DIM = 1,
	DIM_VALUE = 1,
};

/* What a ValueInfoProto says. */
struct declared {
	struct fg_text name;
	uint32_t kind; /* TYPE_TENSOR, ...; 0: not said */
	uint64_t type; /* TensorProto.DataType; 0: not said */
	bool has_shape;
	uint32_t rank; /* as said; shape.rank is at most FG_GRAPH_MAX_RANK */
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

	declared->has_shape = true;
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != SHAPE_DIM || declared->rank++ >= FG_GRAPH_MAX_RANK)
			continue;
		if (fg_pb_enter(&message, &field, &dim) ||
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
			declared->type = field.value;
		if (field.number == TENSOR_TYPE_SHAPE &&
		    (fg_pb_enter(&message, &field, &shape) || read_shape(shape, declared)))
			return -EINVAL;
	}
	return more;
}

static int read_type(struct fg_pb message, struct declared *declared)
{
	struct fg_pb_field field;
	struct fg_pb tensor;
	int more;

	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != TYPE_DENOTATION)
			declared->kind = field.number;
		if (field.number == TYPE_TENSOR &&
		    (fg_pb_enter(&message, &field, &tensor) || read_tensor_type(tensor, declared)))
			return -EINVAL;
	}
	return more;
}

static int read_declared(struct fg_pb message, struct declared *declared)
{
	struct fg_pb_field field;
	struct fg_pb type;
	int more;

	memset(declared, 0, sizeof(*declared));
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number == VALUE_NAME)
			declared->name = fg_onnx_text(&field);
		if (field.number == VALUE_TYPE &&
		    (fg_pb_enter(&message, &field, &type) || read_type(type, declared)))
			return -EINVAL;
	}
	return more;
}

/* The shape as declared: dimensions positive or open. */
static int check_shape(struct fg_onnx_parser *parser, const struct declared *declared,
		       const char *what)
{
	char name[64];

	fg_text_print(declared->name, name, sizeof(name));
	if (declared->rank > FG_GRAPH_MAX_RANK)
		return fg_error_set(parser->error, -EINVAL,
				    "%s '%s' has %u dimensions, at most %d are supported", what,
				    name, declared->rank, FG_GRAPH_MAX_RANK);
	for (uint32_t i = 0; i < declared->shape.rank; i++)
		if (declared->shape.dims[i] < 1 && declared->shape.dims[i] != FG_GRAPH_UNKNOWN)
			return fg_error_set(parser->error, -EINVAL, "%s '%s': dimension %u is %lld",
					    what, name, i, (long long)declared->shape.dims[i]);
	return 0;
}

static int fill_port(struct fg_onnx_parser *parser, const struct declared *declared,
		     const char *what, struct fg_graph_port *port)
{
	const struct fg_onnx_type *type = fg_onnx_type(declared->type);
	char name[64];

	if (declared->type && !type->field)
		return fg_error_set(parser->error, -EINVAL,
				    "%s '%s' is %s, which is not supported: export the model as "
				    "float32",
				    what, fg_text_print(declared->name, name, sizeof(name)),
				    type->name);
	port->element = declared->type ? type->element : FG_ELEMENT_F32;
	port->integer = type->integer;
	port->shape = declared->shape;
	return check_shape(parser, declared, what);
}

static int check_input(struct fg_onnx_parser *parser, const struct declared *declared,
		       const struct fg_graph_port *port)
{
	const char *reason = NULL;
	char name[64];

	if (declared->kind && declared->kind != TYPE_TENSOR)
		reason = "is no tensor: export the model with tensors as inputs";
	else if (port->element == FG_ELEMENT_TEXT)
		reason = "is text, and only numbers are supported: turn the text into numbers "
			 "before the model (scikit-learn: export the pipeline without its text "
			 "encoders)";
	else if (declared->has_shape && !declared->rank)
		reason = "is a single number: its first dimension must be the batch";
	if (!reason)
		return 0;
	return fg_error_set(parser->error, -EINVAL, "input '%s' %s",
			    fg_text_print(declared->name, name, sizeof(name)), reason);
}

/* Room for FG_ONNX_MAX_PORTS, once. */
static int next_port(struct fg_onnx_parser *parser, const char *what, struct fg_graph_port **ports,
		     uint32_t count)
{
	if (count == FG_ONNX_MAX_PORTS)
		return fg_error_set(parser->error, -EINVAL, "the graph has more than %u %ss", count,
				    what);
	if (!*ports)
		*ports = fg_arena_alloc(&parser->graph->arena, FG_ONNX_MAX_PORTS, sizeof(**ports));
	return *ports ? 0 : fg_onnx_no_memory(parser);
}

int fg_onnx_read_input(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct fg_graph_port *port;
	struct declared declared;
	uint32_t value;
	int result;

	if (read_declared(message, &declared))
		return fg_onnx_malformed(parser, "a graph input");
	value = fg_graph_find(graph, declared.name);
	if (value != FG_GRAPH_NO_VALUE && graph->values[value].constant)
		return 0;
	result = next_port(parser, "input", &graph->inputs, graph->input_count);
	if (result)
		return result;
	port = &graph->inputs[graph->input_count];
	result = fill_port(parser, &declared, "input", port);
	if (!result)
		result = check_input(parser, &declared, port);
	if (!result)
		result = fg_onnx_add_value(parser, declared.name, "input", &port->value);
	graph->input_count++;
	return result;
}

static int check_output(struct fg_onnx_parser *parser, const struct declared *declared,
			uint32_t value)
{
	const struct fg_graph *graph = parser->graph;
	const char *reason = NULL;
	char name[64];

	if (value == FG_GRAPH_NO_VALUE)
		reason = "nothing computes it";
	else if (declared->kind && declared->kind != TYPE_TENSOR &&
		 declared->kind != TYPE_SEQUENCE && declared->kind != TYPE_MAP)
		reason = "it is neither a tensor nor a ZipMap's: export the model with tensors as "
			 "outputs";
	for (uint32_t i = 0; i < graph->output_count; i++)
		if (graph->outputs[i].value == value)
			reason = "the graph has it twice";
	if (!reason)
		return 0;
	return fg_error_set(parser->error, -EINVAL, "output '%s': %s",
			    fg_text_print(declared->name, name, sizeof(name)), reason);
}

int fg_onnx_read_output(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct fg_graph_port *port;
	struct declared declared;
	int result;

	if (read_declared(message, &declared))
		return fg_onnx_malformed(parser, "a graph output");
	result = next_port(parser, "output", &graph->outputs, graph->output_count);
	if (result)
		return result;
	port = &graph->outputs[graph->output_count];
	port->value = fg_graph_find(graph, declared.name);
	result = check_output(parser, &declared, port->value);
	if (!result)
		result = fill_port(parser, &declared, "output", port);
	graph->output_count++;
	return result;
}
