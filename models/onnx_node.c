#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "models/onnx_parse.h"
#include "models/onnx_tensor.h"
#include "models/ops.h"

/* onnx.proto */
enum {
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
};

/* AttributeProto.AttributeType */
enum { TYPE_FLOAT = 1, TYPE_INT = 2, TYPE_TENSOR = 4, TYPE_FLOATS = 6, TYPE_INTS = 7 };

static int finish_attribute(struct fg_pb message, uint64_t type, struct fg_onnx_parser *parser,
			    struct fg_attribute *attribute, const struct fg_pb_field *tensor_field)
{
	struct fg_arena *arena = &parser->graph->arena;
	struct fg_onnx_tensor *tensor;
	struct fg_pb child;

	if (type == TYPE_FLOAT || type == TYPE_INT) {
		attribute->kind = type == TYPE_INT ? FG_ATTRIBUTE_INT : FG_ATTRIBUTE_FLOAT;
		return 0;
	}
	if (type != TYPE_TENSOR && type != TYPE_FLOATS && type != TYPE_INTS)
		return 0;
	tensor = fg_arena_alloc(arena, 1, sizeof(*tensor));
	if (!tensor)
		return fg_onnx_no_memory(parser);
	attribute->kind = FG_ATTRIBUTE_TENSOR;
	attribute->tensor = &tensor->tensor;
	if (type == TYPE_TENSOR) {
		if (!tensor_field->number || fg_pb_enter(&message, tensor_field, &child))
			return fg_onnx_malformed(parser, "a tensor attribute");
		return fg_onnx_read_tensor(child, "a constant", parser->dirfd, arena, tensor,
					   parser->error);
	}
	if (fg_onnx_read_list(message, type == TYPE_FLOATS ? ATTRIBUTE_FLOATS : ATTRIBUTE_INTS,
			      type == TYPE_FLOATS ? FG_ELEMENT_F32 : FG_ELEMENT_I64, arena,
			      &tensor->tensor))
		return fg_onnx_malformed(parser, "a list attribute");
	return 0;
}

static int read_attribute(struct fg_onnx_parser *parser, struct fg_pb message,
			  struct fg_attribute *attribute)
{
	struct fg_pb_field field, tensor = {0};
	struct fg_pb rest = message;
	uint64_t type = 0;
	int more;

	while ((more = fg_pb_next(&rest, &field)) > 0) {
		uint32_t bits = (uint32_t)field.value;

		if (field.number == ATTRIBUTE_NAME)
			attribute->name = fg_onnx_text(&field);
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
		return fg_onnx_malformed(parser, "an attribute");
	return finish_attribute(message, type, parser, attribute, &tensor);
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
			fields->name = fg_onnx_text(&field);
		else if (field.number == NODE_OP)
			fields->op = fg_onnx_text(&field);
		else if (field.number == NODE_DOMAIN)
			fields->domain = fg_onnx_text(&field);
	}
	return more;
}

static int find_op(struct fg_onnx_parser *parser, struct fg_node *node,
		   const struct node_fields *fields)
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

/* True when some node has an output of that name. */
static bool defined_later(const struct fg_onnx_parser *parser, struct fg_text name)
{
	struct fg_pb graph = parser->message, node;
	struct fg_pb_field field, part;

	while (fg_pb_next(&graph, &field) > 0) {
		if (field.number != FG_ONNX_GRAPH_NODE || fg_pb_enter(&graph, &field, &node))
			continue;
		while (fg_pb_next(&node, &part) > 0)
			if (part.number == NODE_OUTPUT && fg_text_equal(fg_onnx_text(&part), name))
				return true;
	}
	return false;
}

static int find_input(struct fg_onnx_parser *parser, const struct fg_node *node,
		      struct fg_text name, uint32_t *value)
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

static int check_counts(struct fg_onnx_parser *parser, const struct fg_node *node,
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

static int read_attributes(struct fg_onnx_parser *parser, struct fg_pb message,
			   struct fg_node *node)
{
	struct fg_pb_field field;
	struct fg_error reason;
	struct fg_pb child;
	int result;

	while (fg_pb_next(&message, &field) > 0) {
		struct fg_attribute *attribute = &node->attributes[node->attribute_count];
		struct fg_onnx_parser quiet = *parser;

		if (field.number != NODE_ATTRIBUTE)
			continue;
		if (fg_pb_enter(&message, &field, &child))
			return fg_onnx_malformed(parser, "an attribute");
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

int fg_onnx_read_node(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_graph *graph = parser->graph;
	struct fg_node *node = &graph->nodes[graph->node_count];
	struct node_fields fields;
	struct fg_pb_field field;
	struct fg_pb rest = message;
	int result;

	if (scan_node(message, &fields))
		return fg_onnx_malformed(parser, "a node");
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
		return fg_onnx_no_memory(parser);
	while (!result && fg_pb_next(&rest, &field) > 0)
		if (field.number == NODE_INPUT)
			result = find_input(parser, node, fg_onnx_text(&field),
					    &node->inputs[node->input_count++]);
	if (!result)
		result = read_attributes(parser, message, node);
	for (rest = message; !result && fg_pb_next(&rest, &field) > 0;)
		if (field.number == NODE_OUTPUT)
			result = fg_onnx_add_value(parser, fg_onnx_text(&field), "node output",
						   &node->output);
	graph->node_count++;
	return result;
}
