#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "models/file.h"
#include "models/onnx.h"
#include "models/onnx_tensor.h"
#include "models/ops.h"
#include "models/protobuf.h"

/* onnx.proto. Fields that are not here (documentation, producers, ...) mean nothing to us. */
enum {
	MODEL_GRAPH = 7,
	MODEL_OPSET = 8,
	OPSET_DOMAIN = 1,
	OPSET_VERSION = 2,
	GRAPH_NODE = 1,
	GRAPH_INITIALIZER = 5,
	GRAPH_INPUT = 11,
	GRAPH_OUTPUT = 12,
	GRAPH_SPARSE = 15,
	NODE_INPUT = 1,
	NODE_OUTPUT = 2,
	NODE_NAME = 3,
	NODE_OP = 4,
	NODE_ATTRIBUTE = 5,
	NODE_DOMAIN = 7,
	ATTRIBUTE_NAME = 1,
	ATTRIBUTE_F = 2,
	ATTRIBUTE_I = 3,
	ATTRIBUTE_T = 5,
	ATTRIBUTE_FLOATS = 7,
	ATTRIBUTE_INTS = 8,
	ATTRIBUTE_TYPE = 20,
	ATTRIBUTE_REFERENCE = 21,
	VALUE_NAME = 1,
	VALUE_TYPE = 2,
	TYPE_TENSOR = 1,
	TENSOR_TYPE_ELEMENT = 1,
	TENSOR_TYPE_SHAPE = 2,
	SHAPE_DIM = 1,
	DIM_VALUE = 1,
};

/* AttributeProto.AttributeType */
enum { TYPE_FLOAT = 1, TYPE_INT = 2, TYPE_TENSOR_VALUE = 4, TYPE_FLOATS = 6, TYPE_INTS = 7 };

#define ELEMENT_FLOAT 1 /* TensorProto.DataType */

struct parser {
	struct fg_graph *graph;
	struct fg_pb message; /* GraphProto */
	int dirfd;
	struct fg_error *error;
};

static int malformed(struct parser *parser, const char *what)
{
	return fg_error_set(parser->error, -EINVAL, "%s: malformed protobuf (not an ONNX file?)",
			    what);
}

static int no_memory(struct parser *parser)
{
	return fg_error_set(parser->error, -ENOMEM, "out of memory for the graph");
}

static struct fg_text text_of(const struct fg_pb_field *field)
{
	return (struct fg_text){(const char *)field->bytes, field->length};
}

/*
 * Calls `each` for every field `number` of `message`, in file order, until it returns nonzero.
 * A field of another wire type than BYTES is malformed: all that we iterate over are messages.
 */
static int for_each(struct parser *parser, struct fg_pb message, uint32_t number, const char *what,
		    int (*each)(struct parser *, struct fg_pb))
{
	struct fg_pb_field field;
	struct fg_pb child;
	int more, result = 0;

	while (!result && (more = fg_pb_next(&message, &field)) > 0) {
		if (field.number != number)
			continue;
		if (fg_pb_enter(&message, &field, &child))
			return malformed(parser, what);
		result = each(parser, child);
	}
	if (!result && more < 0)
		return malformed(parser, what);
	return result;
}

/* ---- values ---- */

static int add_value(struct parser *parser, struct fg_text name, const char *what, uint32_t *value)
{
	int result = fg_graph_add(parser->graph, name, value);
	char printed[64];

	if (result == -EEXIST)
		return fg_error_set(parser->error, -EINVAL, "%s '%s': the name is defined twice",
				    what, fg_text_print(name, printed, sizeof(printed)));
	return result ? no_memory(parser) : 0;
}

static int read_initializer(struct parser *parser, struct fg_pb message)
{
	struct fg_onnx_tensor *tensor = fg_arena_alloc(&parser->graph->arena, 1, sizeof(*tensor));
	uint32_t value;
	int result;

	if (!tensor)
		return no_memory(parser);
	result = fg_onnx_read_tensor(message, "an initializer", parser->dirfd,
				     &parser->graph->arena, tensor, parser->error);
	if (!result)
		result = add_value(parser, tensor->name, "initializer", &value);
	if (!result)
		parser->graph->values[value].constant = &tensor->tensor;
	return result;
}

static int refuse_sparse(struct parser *parser, struct fg_pb message)
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
			declared->name = text_of(&field);
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
static int check_declared(struct parser *parser, const struct declared *declared, const char *what)
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
static int read_input(struct parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct declared declared;
	uint32_t value;
	int result;

	if (read_declared(message, &declared))
		return malformed(parser, "a graph input");
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
		result = add_value(parser, declared.name, "input", &graph->input);
	graph->input_shape = declared.shape;
	return result;
}

static int read_output(struct parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct declared declared;
	char name[64];

	if (read_declared(message, &declared))
		return malformed(parser, "a graph output");
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

/* ---- nodes ---- */

static int attribute_kind(struct fg_pb message, uint64_t type, struct parser *parser,
			  struct fg_attribute *attribute, const struct fg_pb_field *tensor_field)
{
	struct fg_arena *arena = &parser->graph->arena;
	struct fg_onnx_tensor *tensor;
	struct fg_pb child;

	if (type == TYPE_FLOAT || type == TYPE_INT) {
		attribute->kind = type == TYPE_INT ? FG_ATTRIBUTE_INT : FG_ATTRIBUTE_FLOAT;
		return 0;
	}
	if (type != TYPE_TENSOR_VALUE && type != TYPE_FLOATS && type != TYPE_INTS)
		return 0;
	tensor = fg_arena_alloc(arena, 1, sizeof(*tensor));
	if (!tensor)
		return no_memory(parser);
	attribute->kind = FG_ATTRIBUTE_TENSOR;
	attribute->tensor = &tensor->tensor;
	if (type == TYPE_TENSOR_VALUE) {
		if (!tensor_field->number || fg_pb_enter(&message, tensor_field, &child))
			return malformed(parser, "a tensor attribute");
		return fg_onnx_read_tensor(child, "a constant", parser->dirfd, arena, tensor,
					   parser->error);
	}
	if (fg_onnx_read_list(message, type == TYPE_FLOATS ? ATTRIBUTE_FLOATS : ATTRIBUTE_INTS,
			      type == TYPE_FLOATS ? FG_ELEMENT_F32 : FG_ELEMENT_I64, arena,
			      &tensor->tensor))
		return malformed(parser, "a list attribute");
	return 0;
}

static int read_attribute(struct parser *parser, struct fg_pb message,
			  struct fg_attribute *attribute)
{
	struct fg_pb_field field, tensor = {0};
	struct fg_pb rest = message;
	uint64_t type = 0;
	int more;

	while ((more = fg_pb_next(&rest, &field)) > 0) {
		uint32_t bits = (uint32_t)field.value;

		if (field.number == ATTRIBUTE_NAME)
			attribute->name = text_of(&field);
		else if (field.number == ATTRIBUTE_F && field.wire == FG_PB_FIXED32)
			memcpy(&attribute->number, &bits, sizeof(bits));
		else if (field.number == ATTRIBUTE_I)
			attribute->integer = (int64_t)field.value;
		else if (field.number == ATTRIBUTE_T)
			tensor = field;
		else if (field.number == ATTRIBUTE_TYPE)
			type = field.value;
		else if (field.number == ATTRIBUTE_REFERENCE)
			return fg_error_set(parser->error, -EINVAL,
					    "an attribute refers to a function's: not supported");
	}
	if (more < 0)
		return malformed(parser, "an attribute");
	return attribute_kind(message, type, parser, attribute, &tensor);
}

/* The number of inputs, outputs and attributes, and where the plain fields are. */
struct node_fields {
	uint32_t inputs, outputs, attributes;
	struct fg_text name, op, domain;
};

static int scan_node(struct fg_pb message, struct node_fields *fields)
{
	struct fg_pb_field field;
	int more;

	memset(fields, 0, sizeof(*fields));
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number <= NODE_DOMAIN && field.wire != FG_PB_BYTES)
			return -EINVAL;
		fields->inputs += field.number == NODE_INPUT;
		fields->outputs += field.number == NODE_OUTPUT;
		fields->attributes += field.number == NODE_ATTRIBUTE;
		if (field.number == NODE_NAME)
			fields->name = text_of(&field);
		else if (field.number == NODE_OP)
			fields->op = text_of(&field);
		else if (field.number == NODE_DOMAIN)
			fields->domain = text_of(&field);
	}
	return more;
}

static int find_op(struct parser *parser, struct fg_node *node, const struct node_fields *fields)
{
	char name[64], op[64], domain[64];
	bool standard = !fields->domain.length || fg_text_is(fields->domain, "ai.onnx");

	if (standard)
		node->op = fg_op_find(fields->op);
	if (node->op)
		return 0;
	fg_text_print(fields->op, op, sizeof(op));
	fg_text_print(fields->domain, domain, sizeof(domain));
	return fg_error_set(parser->error, -EINVAL,
			    "node #%u '%s': operator %s%s%s is not supported", node->index,
			    fg_text_print(fields->name, name, sizeof(name)), standard ? "" : domain,
			    standard ? "" : ".", op);
}

/* True when a node that stands behind the first `done` ones has an output of that name. */
static bool defined_later(const struct parser *parser, struct fg_text name)
{
	struct fg_pb graph = parser->message, node;
	struct fg_pb_field field, part;

	while (fg_pb_next(&graph, &field) > 0) {
		if (field.number != GRAPH_NODE || fg_pb_enter(&graph, &field, &node))
			continue;
		while (fg_pb_next(&node, &part) > 0)
			if (part.number == NODE_OUTPUT && fg_text_equal(text_of(&part), name))
				return true;
	}
	return false;
}

static int find_input(struct parser *parser, const struct fg_node *node, struct fg_text name,
		      uint32_t *value)
{
	char printed[64];

	*value = FG_GRAPH_NO_VALUE;
	if (!name.length)
		return 0;
	*value = fg_graph_find(parser->graph, name);
	if (*value != FG_GRAPH_NO_VALUE)
		return 0;
	fg_text_print(name, printed, sizeof(printed));
	if (defined_later(parser, name))
		return fg_node_error(node, parser->error,
				     "uses '%s' before it is computed: the nodes are out of order, "
				     "or go in a cycle",
				     printed);
	return fg_node_error(node, parser->error, "uses '%s', which nothing defines", printed);
}

static int check_counts(struct parser *parser, const struct fg_node *node,
			const struct node_fields *fields)
{
	if (fields->outputs != 1)
		return fg_node_error(node, parser->error, "has %u outputs, must have 1",
				     fields->outputs);
	if (fields->inputs < node->op->min_inputs || fields->inputs > node->op->max_inputs)
		return fg_node_error(node, parser->error, "has %u inputs, takes %u to %u",
				     fields->inputs, node->op->min_inputs, node->op->max_inputs);
	return 0;
}

static int read_attributes(struct parser *parser, struct fg_pb message, struct fg_node *node)
{
	struct fg_pb_field field;
	struct fg_error reason;
	struct fg_pb child;
	int result;

	while (fg_pb_next(&message, &field) > 0) {
		struct fg_attribute *attribute = &node->attributes[node->attribute_count];
		struct parser quiet = *parser;

		if (field.number != NODE_ATTRIBUTE)
			continue;
		if (fg_pb_enter(&message, &field, &child))
			return malformed(parser, "an attribute");
		quiet.error = &reason;
		result = read_attribute(&quiet, child, attribute);
		if (result) {
			fg_node_error(node, parser->error, "%.180s", reason.text);
			return result;
		}
		for (uint32_t i = 0; i < node->attribute_count; i++)
			if (fg_text_equal(node->attributes[i].name, attribute->name))
				return fg_node_error(node, parser->error, "has an attribute twice");
		node->attribute_count++;
	}
	return 0;
}

#define MAX_ATTRIBUTES 64u /* ONNX's richest operators have about 15 */

static int read_node(struct parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct fg_node *node = &graph->nodes[graph->node_count];
	struct node_fields fields;
	struct fg_pb_field field;
	struct fg_pb rest = message;
	int result;

	if (scan_node(message, &fields))
		return malformed(parser, "a node");
	node->index = graph->node_count;
	node->name = fields.name;
	result = find_op(parser, node, &fields);
	if (!result)
		result = check_counts(parser, node, &fields);
	if (result)
		return result;
	if (fields.attributes > MAX_ATTRIBUTES)
		return fg_node_error(node, parser->error, "has %u attributes", fields.attributes);
	node->inputs = fg_arena_alloc(&graph->arena, fields.inputs, sizeof(*node->inputs));
	node->attributes =
		fg_arena_alloc(&graph->arena, fields.attributes, sizeof(*node->attributes));
	if (!node->inputs || !node->attributes)
		return no_memory(parser);
	while (!result && fg_pb_next(&rest, &field) > 0)
		if (field.number == NODE_INPUT)
			result = find_input(parser, node, text_of(&field),
					    &node->inputs[node->input_count++]);
	if (!result)
		result = read_attributes(parser, message, node);
	for (rest = message; !result && fg_pb_next(&rest, &field) > 0;)
		if (field.number == NODE_OUTPUT)
			result = add_value(parser, text_of(&field), "node output", &node->output);
	graph->node_count++;
	return result;
}

/* ---- graph and model ---- */

static int count_node(struct parser *parser, struct fg_pb message)
{
	(void)message;
	if (parser->graph->node_count++ == FG_ONNX_MAX_NODES)
		return fg_error_set(parser->error, -EINVAL, "more than %u nodes",
				    FG_ONNX_MAX_NODES);
	return 0;
}

/* Constants first, then the input, then nodes in order: whatever a node uses is known by then. */
static int read_graph(struct parser *parser)
{
	struct fg_graph *graph = parser->graph;
	struct fg_pb message = parser->message;
	int result = for_each(parser, message, GRAPH_NODE, "graph", count_node);

	if (result)
		return result;
	graph->nodes = fg_arena_alloc(&graph->arena, graph->node_count, sizeof(*graph->nodes));
	graph->node_count = 0;
	if (!graph->nodes)
		return no_memory(parser);
	result = for_each(parser, message, GRAPH_SPARSE, "graph", refuse_sparse);
	if (!result)
		result = for_each(parser, message, GRAPH_INITIALIZER, "graph", read_initializer);
	if (!result)
		result = for_each(parser, message, GRAPH_INPUT, "graph", read_input);
	if (!result && graph->input == FG_GRAPH_NO_VALUE)
		return fg_error_set(parser->error, -EINVAL, "the graph has no input");
	if (!result)
		result = for_each(parser, message, GRAPH_NODE, "graph", read_node);
	if (!result)
		result = for_each(parser, message, GRAPH_OUTPUT, "graph", read_output);
	if (!result && graph->output == FG_GRAPH_NO_VALUE)
		return fg_error_set(parser->error, -EINVAL, "the graph has no output");
	return result;
}

static int read_opset(struct parser *parser, struct fg_pb message)
{
	struct fg_text domain = {NULL, 0};
	struct fg_pb_field field;
	int64_t version = 0;
	int more;

	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number == OPSET_DOMAIN)
			domain = text_of(&field);
		else if (field.number == OPSET_VERSION)
			version = (int64_t)field.value;
	}
	if (more < 0)
		return malformed(parser, "opset_import");
	if (!domain.length || fg_text_is(domain, "ai.onnx"))
		parser->graph->opset = version;
	return 0;
}

static int take_graph(struct parser *parser, struct fg_pb message)
{
	if (parser->message.at)
		return fg_error_set(parser->error, -EINVAL, "the file holds two graphs");
	parser->message = message;
	return 0;
}

static int read_model(struct parser *parser, struct fg_pb model)
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
	struct parser parser = {.graph = graph, .dirfd = dirfd, .error = error};
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
