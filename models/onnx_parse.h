/* onnx_parse.h: what onnx.c, onnx_port.c, onnx_node.c and onnx_attribute.c share while they read
 * one file. Only for them. */
#ifndef FG_MODELS_ONNX_PARSE_H
#define FG_MODELS_ONNX_PARSE_H

#include "models/error.h"
#include "models/graph.h"
#include "models/onnx_external.h"
#include "models/protobuf.h"

struct fg_onnx_parser {
	struct fg_graph *graph;
	struct fg_pb model;   /* ModelProto */
	struct fg_pb message; /* GraphProto */
	struct fg_onnx_external external;
	struct fg_error *error;
};

/* onnx.proto: fields that more than one of them looks at. */
enum {
	FG_ONNX_MODEL_FUNCTION = 25,
	FG_ONNX_FUNCTION_NAME = 1,
	FG_ONNX_FUNCTION_DOMAIN = 10,
	FG_ONNX_GRAPH_NODE = 1,
};

/* Adds what the ValueInfoProto `message` declares to graph->inputs (but for an initializer, which
 * before IR version 4 stood there too), or to graph->outputs. -EINVAL or -ENOMEM with
 * *parser->error. */
int fg_onnx_read_input(struct fg_onnx_parser *parser, struct fg_pb message);
int fg_onnx_read_output(struct fg_onnx_parser *parser, struct fg_pb message);

/* Adds the NodeProto `message` to the graph and defines its outputs. What it uses must be defined
 * already. -EINVAL or -ENOMEM with *parser->error. */
int fg_onnx_read_node(struct fg_onnx_parser *parser, struct fg_pb message);

/* Reads the AttributeProto `message` into `attribute`, which is zeroed. */
int fg_onnx_read_attribute(struct fg_onnx_parser *parser, struct fg_pb message,
			   struct fg_attribute *attribute);

/* Name and domain of a FunctionProto. -EINVAL: malformed. */
int fg_onnx_read_function(struct fg_pb message, struct fg_text *domain, struct fg_text *name);

/* Adds a value to the graph. `what` and the name are in *parser->error when it is there already. */
int fg_onnx_add_value(struct fg_onnx_parser *parser, struct fg_text name, const char *what,
		      uint32_t *value);

/* Set *parser->error, and return -EINVAL and -ENOMEM. */
int fg_onnx_malformed(struct fg_onnx_parser *parser, const char *what);
int fg_onnx_no_memory(struct fg_onnx_parser *parser);

/* Empty for a field that is not of wire type BYTES. */
static inline struct fg_text fg_onnx_text(const struct fg_pb_field *field)
{
	return (struct fg_text){(const char *)field->bytes, field->length};
}

#endif
