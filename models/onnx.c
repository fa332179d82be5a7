#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "models/file.h"
#include "models/onnx.h"
#include "models/onnx_parse.h"
#include "models/onnx_tensor.h"
#include "models/ops.h"

/* onnx.proto. Fields that are not here (documentation, producers, training, ...) mean nothing to
 * us. */
enum {
	MODEL_IR_VERSION = 1,
	MODEL_GRAPH = 7,
	MODEL_OPSET = 8,
	OPSET_DOMAIN = 1,
	OPSET_VERSION = 2,
	GRAPH_INITIALIZER = 5,
	GRAPH_INPUT = 11,
	GRAPH_OUTPUT = 12,
	GRAPH_SPARSE = 15,
};

#define MIN_IR_VERSION 3
#define MAX_IR_VERSION 14

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
	char printed[64];
	int result;

	if (!name.length)
		return fg_error_set(parser->error, -EINVAL, "an %s has no name", what);
	if (parser->graph->value_count == FG_ONNX_MAX_VALUES)
		return fg_error_set(parser->error, -EINVAL,
				    "more than %u inputs, initializers and outputs of nodes",
				    FG_ONNX_MAX_VALUES);
	result = fg_graph_add(parser->graph, name, value);
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

/* ---- graph ---- */

static int read_initializer(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_onnx_tensor *tensor = fg_arena_alloc(&parser->graph->arena, 1, sizeof(*tensor));
	uint32_t value;
	int result;

	if (!tensor)
		return fg_onnx_no_memory(parser);
	result = fg_onnx_read_tensor(message, "an initializer", &parser->external, tensor,
				     parser->error);
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

/* Constants first, then inputs, then nodes in order: whatever a node uses is known by then. */
static int read_graph(struct fg_onnx_parser *parser)
{
	static const struct {
		uint32_t field;
		int (*each)(struct fg_onnx_parser *, struct fg_pb);
	} passes[] = {
		{GRAPH_SPARSE, refuse_sparse},	     {GRAPH_INITIALIZER, read_initializer},
		{GRAPH_INPUT, fg_onnx_read_input},   {FG_ONNX_GRAPH_NODE, fg_onnx_read_node},
		{GRAPH_OUTPUT, fg_onnx_read_output},
	};
	const struct fg_graph *graph = parser->graph;
	int result = 0;

	for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]) && !result; i++) {
		result =
			for_each(parser, parser->message, passes[i].field, "graph", passes[i].each);
		if (!result && passes[i].field == GRAPH_INPUT && !graph->input_count)
			result = fg_error_set(parser->error, -EINVAL, "the graph has no input");
	}
	if (!result && !graph->output_count)
		result = fg_error_set(parser->error, -EINVAL, "the graph has no output");
	return result;
}

/* ---- model ---- */

static int take_opset(struct fg_onnx_parser *parser, struct fg_text domain, int64_t version)
{
	bool standard = !domain.length || fg_text_is(domain, "ai.onnx");
	int64_t *opset = standard ? &parser->graph->opset : &parser->graph->ml_opset;
	const char *name = standard ? "ai.onnx" : FG_ONNX_ML_DOMAIN;
	int min = standard ? FG_ONNX_MIN_OPSET : FG_ONNX_MIN_ML_OPSET;
	int max = standard ? FG_ONNX_MAX_OPSET : FG_ONNX_MAX_ML_OPSET;

	if (!standard && !fg_text_is(domain, FG_ONNX_ML_DOMAIN))
		return 0;
	if (version < min || version > max)
		return fg_error_set(parser->error, -EINVAL,
				    "opset %lld of %s: %d to %d are supported: export the model "
				    "with one of these",
				    (long long)version, name, min, max);
	if (*opset && *opset != version)
		return fg_error_set(parser->error, -EINVAL,
				    "the model imports two opsets of %s, %lld and %lld", name,
				    (long long)*opset, (long long)version);
	*opset = version;
	return 0;
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
		else if (field.number == OPSET_VERSION && field.wire == FG_PB_VARINT)
			version = (int64_t)field.value;
	}
	if (more < 0)
		return fg_onnx_malformed(parser, "opset_import");
	return take_opset(parser, domain, version);
}

static int take_graph(struct fg_onnx_parser *parser, struct fg_pb message)
{
	if (parser->message.at)
		return fg_error_set(parser->error, -EINVAL, "the file holds two graphs");
	parser->message = message;
	return 0;
}

int fg_onnx_read_function(struct fg_pb message, struct fg_text *domain, struct fg_text *name)
{
	struct fg_pb_field field;
	int more;

	*domain = *name = (struct fg_text){NULL, 0};
	while ((more = fg_pb_next(&message, &field)) > 0) {
		if (field.number == FG_ONNX_FUNCTION_NAME)
			*name = fg_onnx_text(&field);
		else if (field.number == FG_ONNX_FUNCTION_DOMAIN)
			*domain = fg_onnx_text(&field);
	}
	return more;
}

/* Exporters leave functions behind that nothing calls. One under the name of an operator would
 * change what that means. */
static int check_function(struct fg_onnx_parser *parser, struct fg_pb message)
{
	struct fg_text domain, name;
	char printed[64];

	if (fg_onnx_read_function(message, &domain, &name))
		return fg_onnx_malformed(parser, "a function");
	if (!fg_op_find(domain, name))
		return 0;
	return fg_error_set(parser->error, -EINVAL,
			    "the model has a function of its own under the name of the operator "
			    "%s: inline it (onnx.inliner.inline_local_functions)",
			    fg_text_print(name, printed, sizeof(printed)));
}

static int check_ir_version(struct fg_onnx_parser *parser)
{
	struct fg_pb model = parser->model;
	struct fg_pb_field field;
	uint64_t version = 0;

	while (fg_pb_next(&model, &field) > 0)
		if (field.number == MODEL_IR_VERSION && field.wire == FG_PB_VARINT)
			version = field.value;
	if (version < MIN_IR_VERSION || version > MAX_IR_VERSION)
		return fg_error_set(parser->error, -EINVAL,
				    "IR version %llu: %d to %d are supported: save the model with "
				    "one of these",
				    (unsigned long long)version, MIN_IR_VERSION, MAX_IR_VERSION);
	return 0;
}

static int read_model(struct fg_onnx_parser *parser)
{
	int result = for_each(parser, parser->model, MODEL_GRAPH, "model", take_graph);

	if (result)
		return result;
	if (!parser->message.at)
		return fg_error_set(parser->error, -EINVAL,
				    "the file holds no graph (not an ONNX file?)");
	result = check_ir_version(parser);
	if (!result)
		result = for_each(parser, parser->model, MODEL_OPSET, "model", read_opset);
	if (!result)
		result = for_each(parser, parser->model, FG_ONNX_MODEL_FUNCTION, "model",
				  check_function);
	return result ? result : read_graph(parser);
}

int fg_onnx_parse(struct fg_graph *graph, const void *bytes, size_t size, int dirfd,
		  struct fg_error *error)
{
	struct fg_onnx_parser parser = {
		.graph = graph,
		.external = {.dirfd = dirfd, .arena = &graph->arena},
		.error = error,
	};
	int result;

	memset(graph, 0, sizeof(*graph));
	fg_pb_init(&parser.model, bytes, size);
	result = read_model(&parser);
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
			fg_error_set(error, result, "%.60s: %s", name, reason.text);
	}
	if (result)
		fg_arena_free(&file);
	else
		fg_arena_join(&graph->arena, &file);
	return result;
}
