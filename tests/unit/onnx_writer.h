/*
 * onnx_writer.h: just enough of protobuf and ONNX to make models in tests, right and wrong ones.
 *
 * A message is written into a struct writer; a message inside a message is written into one of
 * its own and then put into the outer one.
 */
#ifndef FG_TESTS_ONNX_WRITER_H
#define FG_TESTS_ONNX_WRITER_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

struct writer {
	uint8_t bytes[1 << 16];
	size_t length;
};

static inline void put_varint(struct writer *to, uint64_t value)
{
	assert(to->length + 10 <= sizeof(to->bytes));
	do {
		to->bytes[to->length++] = (uint8_t)(value | 0x80);
		value >>= 7;
	} while (value);
	to->bytes[to->length - 1] &= 0x7f;
}

static inline void put_int(struct writer *to, uint32_t field, uint64_t value)
{
	put_varint(to, (uint64_t)field << 3);
	put_varint(to, value);
}

static inline void put_float(struct writer *to, uint32_t field, float value)
{
	put_varint(to, (uint64_t)field << 3 | 5);
	assert(to->length + 4 <= sizeof(to->bytes));
	memcpy(to->bytes + to->length, &value, sizeof(value));
	to->length += sizeof(value);
}

static inline void put_bytes(struct writer *to, uint32_t field, const void *bytes, size_t length)
{
	put_varint(to, (uint64_t)field << 3 | 2);
	put_varint(to, length);
	assert(to->length + length <= sizeof(to->bytes));
	if (length)
		memcpy(to->bytes + to->length, bytes, length);
	to->length += length;
}

static inline void put_text(struct writer *to, uint32_t field, const char *text)
{
	put_bytes(to, field, text, strlen(text));
}

static inline void put_message(struct writer *to, uint32_t field, const struct writer *message)
{
	put_bytes(to, field, message->bytes, message->length);
}

/* ---- ONNX ---- */

enum { ONNX_FLOAT = 1, ONNX_INT64 = 7, ONNX_DOUBLE = 11 };

/* `count` numbers of a list, at most 8: dims(2, 4, 3). A dimension of 0 is left open. */
struct dims {
	uint32_t rank;
	int64_t at[9];
};

#define DIMS(...) ((struct dims){sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}})
#define SCALAR	  ((struct dims){0, {0}})

/* TensorProto without data. */
static inline void tensor_head(struct writer *tensor, const char *name, int type, struct dims dims)
{
	for (uint32_t i = 0; i < dims.rank; i++)
		put_int(tensor, 1, (uint64_t)dims.at[i]);
	put_int(tensor, 2, (uint64_t)type);
	if (name)
		put_text(tensor, 8, name);
}

/* ValueInfoProto into `field` of a graph. */
static inline void put_value_info(struct writer *graph, uint32_t field, const char *name, int type,
				  struct dims dims)
{
	static struct writer shape, tensor, type_proto, info, dim;

	shape.length = tensor.length = type_proto.length = info.length = 0;
	for (uint32_t i = 0; i < dims.rank; i++) {
		dim.length = 0;
		if (dims.at[i])
			put_int(&dim, 1, (uint64_t)dims.at[i]);
		else
			put_text(&dim, 2, "N");
		put_message(&shape, 1, &dim);
	}
	put_int(&tensor, 1, (uint64_t)type);
	put_message(&tensor, 2, &shape);
	put_message(&type_proto, 1, &tensor);
	put_text(&info, 1, name);
	put_message(&info, 2, &type_proto);
	put_message(graph, field, &info);
}

static inline void put_input(struct writer *graph, const char *name, struct dims dims)
{
	put_value_info(graph, 11, name, ONNX_FLOAT, dims);
}

static inline void put_output(struct writer *graph, const char *name, struct dims dims)
{
	put_value_info(graph, 12, name, ONNX_FLOAT, dims);
}

/* An initializer with raw data. */
static inline void put_raw(struct writer *graph, const char *name, int type, struct dims dims,
			   const void *data, size_t length)
{
	static struct writer tensor;

	tensor.length = 0;
	tensor_head(&tensor, name, type, dims);
	put_bytes(&tensor, 9, data, length);
	put_message(graph, 5, &tensor);
}

/* A float initializer of small whole numbers that depend on `seed`, and those numbers. */
static inline void fill_weights(float *values, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++) {
		seed = seed * 1664525u + 1013904223u;
		values[i] = (float)(int)(seed >> 28) - 8.0f;
	}
}

static inline void put_weights(struct writer *graph, const char *name, struct dims dims,
			       uint32_t seed)
{
	static float values[8192];
	size_t count = 1;

	for (uint32_t i = 0; i < dims.rank; i++)
		count *= (size_t)dims.at[i];
	assert(count <= sizeof(values) / sizeof(values[0]));
	fill_weights(values, count, seed);
	put_raw(graph, name, ONNX_FLOAT, dims, values, count * sizeof(float));
}

static inline void put_shape(struct writer *graph, const char *name, struct dims numbers)
{
	put_raw(graph, name, ONNX_INT64, DIMS(numbers.rank), numbers.at,
		numbers.rank * sizeof(int64_t));
}

/* Attributes, into a writer that put_node takes. */
static inline void attribute_float(struct writer *attributes, const char *name, float value)
{
	static struct writer attribute;

	attribute.length = 0;
	put_text(&attribute, 1, name);
	put_float(&attribute, 2, value);
	put_int(&attribute, 20, 1);
	put_message(attributes, 5, &attribute);
}

static inline void attribute_int(struct writer *attributes, const char *name, int64_t value)
{
	static struct writer attribute;

	attribute.length = 0;
	put_text(&attribute, 1, name);
	put_int(&attribute, 3, (uint64_t)value);
	put_int(&attribute, 20, 2);
	put_message(attributes, 5, &attribute);
}

static inline void attribute_tensor(struct writer *attributes, const char *name,
				    const struct writer *tensor)
{
	static struct writer attribute;

	attribute.length = 0;
	put_text(&attribute, 1, name);
	put_message(&attribute, 5, tensor);
	put_int(&attribute, 20, 4);
	put_message(attributes, 5, &attribute);
}

/* A node: `inputs` separated by spaces ("-": left out), `attributes` may be NULL. */
static inline void put_node(struct writer *graph, const char *op, const char *name,
			    const char *inputs, const char *output, const struct writer *attributes)
{
	static struct writer node;

	node.length = 0;
	while (*inputs) {
		size_t length = strcspn(inputs, " ");

		put_bytes(&node, 1, inputs, *inputs == '-' ? 0 : length);
		inputs += length + (inputs[length] == ' ');
	}
	put_text(&node, 2, output);
	if (*name)
		put_text(&node, 3, name);
	put_text(&node, 4, op);
	if (attributes) {
		assert(node.length + attributes->length <= sizeof(node.bytes));
		memcpy(node.bytes + node.length, attributes->bytes, attributes->length);
		node.length += attributes->length;
	}
	put_message(graph, 1, &node);
}

/* ModelProto around the graph. */
static inline void put_model(struct writer *model, const struct writer *graph, int64_t opset)
{
	static struct writer import;

	import.length = 0;
	put_text(&import, 1, "");
	put_int(&import, 2, (uint64_t)opset);
	put_int(model, 1, 8);
	put_message(model, 7, graph);
	put_message(model, 8, &import);
}

#endif
