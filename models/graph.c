#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "models/graph.h"
#include "models/ops.h"

#define MAX_PRINTED 40

void fg_graph_free(struct fg_graph *graph)
{
	fg_arena_free(&graph->arena);
	memset(graph, 0, sizeof(*graph));
}

int fg_text_equal(struct fg_text a, struct fg_text b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

int fg_text_is(struct fg_text text, const char *string)
{
	return fg_text_equal(text, (struct fg_text){string, strlen(string)});
}

const char *fg_text_print(struct fg_text text, char *out, size_t size)
{
	size_t length = text.length < MAX_PRINTED ? text.length : MAX_PRINTED;

	if (length > size - 1)
		length = size - 1;
	for (size_t i = 0; i < length; i++)
		out[i] = text.at[i] >= ' ' && text.at[i] <= '~' ? text.at[i] : '?';
	out[length] = 0;
	return out;
}

/*
 * The entry that holds `name`, or the free one where it belongs. The seed is where the table lies,
 * which no file can know: so none can hold names that all want the same entry.
 */
static uint32_t *index_entry(const struct fg_graph *graph, struct fg_text name)
{
	uint32_t mask = graph->index_size - 1;
	uint64_t seed = (uintptr_t)graph->index;
	uint32_t at = (uint32_t)XXH3_64bits_withSeed(name.at, name.length, seed) & mask;

	while (graph->index[at] && !fg_text_equal(graph->values[graph->index[at] - 1].name, name))
		at = (at + 1) & mask;
	return &graph->index[at];
}

uint32_t fg_graph_find(const struct fg_graph *graph, struct fg_text name)
{
	return graph->index_size ? *index_entry(graph, name) - 1 : FG_GRAPH_NO_VALUE;
}

/* Doubles values and index; what they held before stays in the arena until the graph dies. */
static int grow_values(struct fg_graph *graph)
{
	uint32_t capacity = graph->value_capacity ? graph->value_capacity * 2 : 256;
	struct fg_value *values = fg_arena_alloc(&graph->arena, capacity, sizeof(*values));
	uint32_t *index = fg_arena_alloc(&graph->arena, (size_t)capacity * 2, sizeof(*index));

	if (!values || !index)
		return -ENOMEM;
	if (graph->value_count)
		memcpy(values, graph->values, graph->value_count * sizeof(*values));
	graph->values = values;
	graph->value_capacity = capacity;
	graph->index = index;
	graph->index_size = capacity * 2;
	for (uint32_t i = 0; i < graph->value_count; i++)
		*index_entry(graph, values[i].name) = i + 1;
	return 0;
}

int fg_graph_add(struct fg_graph *graph, struct fg_text name, uint32_t *value)
{
	uint32_t *entry;

	if (graph->value_count == graph->value_capacity && grow_values(graph))
		return -ENOMEM;
	entry = index_entry(graph, name);
	if (*entry)
		return -EEXIST;
	*value = graph->value_count++;
	*entry = *value + 1;
	graph->values[*value] = (struct fg_value){.name = name};
	return 0;
}

static int grow_nodes(struct fg_graph *graph)
{
	uint32_t capacity = graph->node_capacity ? graph->node_capacity * 2 : 64;
	struct fg_node *nodes = fg_arena_alloc(&graph->arena, capacity, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	if (graph->node_count)
		memcpy(nodes, graph->nodes, graph->node_count * sizeof(*nodes));
	graph->nodes = nodes;
	graph->node_capacity = capacity;
	return 0;
}

int fg_graph_add_node(struct fg_graph *graph, const struct fg_op *op, struct fg_text name,
		      uint32_t input_count, uint32_t output_count, uint32_t attribute_capacity,
		      struct fg_node **node)
{
	struct fg_arena *arena = &graph->arena;
	struct fg_node new = {.name = name,
			      .op = op,
			      .index = graph->node_count,
			      .input_count = input_count,
			      .output_count = output_count};

	new.inputs = fg_arena_alloc(arena, input_count, sizeof(*new.inputs));
	new.outputs = fg_arena_alloc(arena, output_count, sizeof(*new.outputs));
	new.attributes = fg_arena_alloc(arena, attribute_capacity, sizeof(*new.attributes));
	if (!new.inputs || !new.outputs || !new.attributes ||
	    (graph->node_count == graph->node_capacity && grow_nodes(graph)))
		return -ENOMEM;
	for (uint32_t i = 0; i < input_count; i++)
		new.inputs[i] = FG_GRAPH_NO_VALUE;
	for (uint32_t i = 0; i < output_count; i++)
		new.outputs[i] = FG_GRAPH_NO_VALUE;
	*node = &graph->nodes[graph->node_count++];
	**node = new;
	return 0;
}

size_t fg_element_bytes(enum fg_element element)
{
	static const size_t bytes[] = {
		[FG_ELEMENT_F32] = sizeof(float),
		[FG_ELEMENT_I64] = sizeof(int64_t),
		[FG_ELEMENT_TEXT] = sizeof(struct fg_text),
		[FG_ELEMENT_F64] = sizeof(double),
	};

	return bytes[element];
}

float fg_tensor_f32(const struct fg_tensor *tensor, size_t i)
{
	float value;

	memcpy(&value, (const char *)tensor->data + i * sizeof(value), sizeof(value));
	return value;
}

int64_t fg_tensor_i64(const struct fg_tensor *tensor, size_t i)
{
	int64_t value;

	memcpy(&value, (const char *)tensor->data + i * sizeof(value), sizeof(value));
	return value;
}

double fg_tensor_f64(const struct fg_tensor *tensor, size_t i)
{
	double value;

	memcpy(&value, (const char *)tensor->data + i * sizeof(value), sizeof(value));
	return value;
}

double fg_tensor_number(const struct fg_tensor *tensor, size_t i)
{
	if (tensor->element == FG_ELEMENT_I64)
		return (double)fg_tensor_i64(tensor, i);
	return tensor->element == FG_ELEMENT_F64 ? fg_tensor_f64(tensor, i)
						 : (double)fg_tensor_f32(tensor, i);
}

struct fg_text fg_tensor_text(const struct fg_tensor *tensor, size_t i)
{
	return ((const struct fg_text *)tensor->data)[i];
}

const struct fg_attribute *fg_node_attribute(const struct fg_node *node, const char *name)
{
	for (uint32_t i = 0; i < node->attribute_count; i++)
		if (fg_text_is(node->attributes[i].name, name))
			return &node->attributes[i];
	return NULL;
}

/* The attribute of that name and kind; NULL when there is none. */
static int typed_attribute(const struct fg_node *node, const char *name,
			   enum fg_attribute_kind kind, const char *type,
			   const struct fg_attribute **attribute, struct fg_error *error)
{
	*attribute = fg_node_attribute(node, name);
	if (*attribute && (*attribute)->kind != kind)
		return fg_node_error(node, error, "attribute '%s' is not %s", name, type);
	return 0;
}

int fg_node_float(const struct fg_node *node, const char *name, float *number,
		  struct fg_error *error)
{
	const struct fg_attribute *attribute;
	int result = typed_attribute(node, name, FG_ATTRIBUTE_FLOAT, "a float", &attribute, error);

	if (!result && attribute)
		*number = attribute->number;
	return result;
}

int fg_node_int(const struct fg_node *node, const char *name, int64_t *integer,
		struct fg_error *error)
{
	const struct fg_attribute *attribute;
	int result = typed_attribute(node, name, FG_ATTRIBUTE_INT, "an integer", &attribute, error);

	if (!result && attribute)
		*integer = attribute->integer;
	return result;
}

int fg_node_text(const struct fg_node *node, const char *name, struct fg_text *text,
		 struct fg_error *error)
{
	const struct fg_attribute *attribute;
	int result = typed_attribute(node, name, FG_ATTRIBUTE_TEXT, "a text", &attribute, error);

	if (!result && attribute)
		*text = attribute->text;
	return result;
}

int fg_node_tensor(const struct fg_node *node, const char *name, enum fg_element element,
		   const struct fg_tensor **tensor, struct fg_error *error)
{
	static const char *const types[] = {"a list of floats", "a list of integers",
					    "a list of texts", "a list of doubles"};
	const struct fg_attribute *attribute;
	int result =
		typed_attribute(node, name, FG_ATTRIBUTE_TENSOR, types[element], &attribute, error);

	if (result || !attribute)
		return result;
	if (attribute->tensor->element != element)
		return fg_node_error(node, error, "attribute '%s' is not %s", name, types[element]);
	*tensor = attribute->tensor;
	return 0;
}

int fg_node_error(const struct fg_node *node, struct fg_error *error, const char *format, ...)
{
	char name[64], reason[sizeof(error->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	if (node->name.length)
		return fg_error_set(error, -EINVAL, "node '%s' (%s): %s",
				    fg_text_print(node->name, name, sizeof(name)), node->op->name,
				    reason);
	return fg_error_set(error, -EINVAL, "node #%u (%s): %s", node->index, node->op->name,
			    reason);
}
