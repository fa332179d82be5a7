/* onnx_parse.h: what onnx.c and onnx_node.c share while they read one file. Only for them. */
#ifndef FG_MODELS_ONNX_PARSE_H
#define FG_MODELS_ONNX_PARSE_H

#include "models/error.h"
#include "models/graph.h"
#include "models/protobuf.h"

struct fg_onnx_parser {
	struct fg_graph *graph;
	struct fg_pb message; /* GraphProto */
	int dirfd;	      /* of external data; -1: none */
	struct fg_error *error;
};

#define FG_ONNX_GRAPH_NODE 1 /* the field of GraphProto that holds nodes */

/* Reads the NodeProto `message` into graph->nodes[graph->node_count], defines its output, and
 * counts it. What it uses must be defined already. -EINVAL or -ENOMEM with *parser->error. */
int fg_onnx_read_node(struct fg_onnx_parser *parser, struct fg_pb message);

/* Adds a value to the graph. `what` and the name are in *parser->error when it is there already. */
int fg_onnx_add_value(struct fg_onnx_parser *parser, struct fg_text name, const char *what,
		      uint32_t *value);

/* Set *parser->error, and return -EINVAL and -ENOMEM. */
int fg_onnx_malformed(struct fg_onnx_parser *parser, const char *what);
int fg_onnx_no_memory(struct fg_onnx_parser *parser);

static inline struct fg_text fg_onnx_text(const struct fg_pb_field *field)
{
	return (struct fg_text){(const char *)field->bytes, field->length};
}

#endif
