#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "models/onnx.h"
#include "models/onnx_parse.h"
#include "models/ops.h"

/* onnx.proto: NodeProto */
enum {
	NODE_INPUT = 1,
	NODE_OUTPUT = 2,
	NODE_NAME = 3,
	NODE_OP = 4,
	NODE_ATTRIBUTE = 5,
	NODE_DOMAIN = 7,
};

#define MAX_ATTRIBUTES 64u /* ONNX's richest operators have about 15 */

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

/* ---- which operator ---- */

/* True when the model brings a function of that domain and name. */
static bool is_function(const struct fg_onnx_parser *parser, struct fg_text domain,
			struct fg_text name)
{
	struct fg_pb model = parser->model, function;
	struct fg_text its_domain, its_name;
	struct fg_pb_field field;

	while (fg_pb_next(&model, &field) > 0)
		if (field.number == FG_ONNX_MODEL_FUNCTION &&
		    !fg_pb_enter(&model, &field, &function) &&
		    !fg_onnx_read_function(function, &its_domain, &its_name) &&
		    fg_text_equal(its_domain, domain) && fg_text_equal(its_name, name))
			return true;
	return false;
}

/* "node 'c1': " or "node #3: ", and why its operator cannot be. */
static int refuse_op(struct fg_onnx_parser *parser, const struct node_fields *fields)
{
	bool standard = !fields->domain.length || fg_text_is(fields->domain, "ai.onnx");
	char label[64], name[48], op[48], domain[48];

	if (fields->name.length)
		snprintf(label, sizeof(label), "node '%s'",
			 fg_text_print(fields->name, name, sizeof(name)));
	else
		snprintf(label, sizeof(label), "node #%u", parser->graph->node_count);
	fg_text_print(fields->op, op, sizeof(op));
	fg_text_print(fields->domain, domain, sizeof(domain));
	if (is_function(parser, fields->domain, fields->op))
		return fg_error_set(parser->error, -EINVAL,
				    "%s calls the model's function %s%s%s: functions are not "
				    "supported: inline them (onnx.inliner.inline_local_functions, "
				    "or a newer exporter)",
				    label, domain, *domain ? "." : "", op);
	return fg_error_set(parser->error, -EINVAL, "%s: operator %s%s%s is not supported: %s",
			    label, standard ? "" : domain, standard ? "" : ".", op,
			    fg_op_advice(fields->domain, fields->op));
}

/* Fills name, op and index of `node`. */
static int find_op(struct fg_onnx_parser *parser, const struct node_fields *fields,
		   struct fg_node *node)
{
	const struct fg_graph *graph = parser->graph;

	node->name = fields->name;
	node->index = graph->node_count;
	node->op = fg_op_find(fields->domain, fields->op);
	if (!node->op)
		return refuse_op(parser, fields);
	if (!(*node->op->domain ? graph->ml_opset : graph->opset))
		return fg_node_error(node, parser->error,
				     "the model does not import the operators of %s: export it "
				     "again",
				     *node->op->domain ? node->op->domain : "ai.onnx");
	return 0;
}

static int check_counts(struct fg_onnx_parser *parser, const struct fg_node *node,
			const struct node_fields *fields)
{
	if (fields->inputs < node->op->min_inputs)
		return fg_node_error(node, parser->error, "has %u inputs, needs %u", fields->inputs,
				     node->op->min_inputs);
	if (fields->inputs > node->op->max_inputs)
		return fg_node_error(node, parser->error, "has %u inputs, takes %u at most",
				     fields->inputs, node->op->max_inputs);
	if (!fields->outputs || fields->outputs > node->op->max_outputs)
		return fg_node_error(node, parser->error, "has %u outputs, must have 1 to %u",
				     fields->outputs, node->op->max_outputs);
	if (fields->attributes > MAX_ATTRIBUTES)
		return fg_node_error(node, parser->error, "has %u attributes", fields->attributes);
	return 0;
}

/* ---- what it uses and defines ---- */

/* True when some node has an output of that name. Slow, and only for the error that ends it all. */
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

static int read_edges(struct fg_onnx_parser *parser, struct fg_pb message,
		      const struct fg_node *node)
{
	struct fg_pb rest = message;
	struct fg_pb_field field;
	uint32_t at = 0;
	int result = 0;

	while (!result && fg_pb_next(&rest, &field) > 0)
		if (field.number == NODE_INPUT)
			result =
				find_input(parser, node, fg_onnx_text(&field), &node->inputs[at++]);
	at = 0;
	while (!result && fg_pb_next(&message, &field) > 0) {
		if (field.number != NODE_OUTPUT)
			continue;
		if (field.length)
			result = fg_onnx_add_value(parser, fg_onnx_text(&field), "node output",
						   &node->outputs[at]);
		at++;
	}
	return result;
}

static int read_attributes(struct fg_onnx_parser *parser, struct fg_pb message,
			   struct fg_node *node)
{
	struct fg_error *error = parser->error;
	struct fg_pb_field field;
	struct fg_error reason;
	struct fg_pb child;
	int result;

	while (fg_pb_next(&message, &field) > 0) {
		struct fg_attribute *attribute = &node->attributes[node->attribute_count];

		if (field.number != NODE_ATTRIBUTE)
			continue;
		if (fg_pb_enter(&message, &field, &child))
			return fg_onnx_malformed(parser, "an attribute");
		parser->error = &reason;
		result = fg_onnx_read_attribute(parser, child, attribute);
		parser->error = error;
		if (result) {
			fg_node_error(node, error, "%s", reason.text);
			return result;
		}
		for (uint32_t i = 0; i < node->attribute_count; i++)
			if (fg_text_equal(node->attributes[i].name, attribute->name))
				return fg_node_error(node, error, "has an attribute twice");
		node->attribute_count++;
	}
	return 0;
}

int fg_onnx_read_node(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_node found = {0}, *node;
	struct node_fields fields;
	int result;

	if (scan_node(message, &fields))
		return fg_onnx_malformed(parser, "a node");
	if (parser->graph->node_count == FG_ONNX_MAX_NODES)
		return fg_error_set(parser->error, -EINVAL, "the graph has more than %u nodes",
				    FG_ONNX_MAX_NODES);
	result = find_op(parser, &fields, &found);
	if (!result)
		result = check_counts(parser, &found, &fields);
	if (result)
		return result;
	if (fg_graph_add_node(parser->graph, found.op, fields.name, fields.inputs, fields.outputs,
			      fields.attributes, &node))
		return fg_onnx_no_memory(parser);
	result = read_attributes(parser, message, node);
	return result ? result : read_edges(parser, message, node);
}
