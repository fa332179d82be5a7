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

/* Bytes as they are, such as fields that were written before. */
static inline void put_again(struct writer *to, const void *bytes, size_t length)
{
	assert(to->length + length <= sizeof(to->bytes));
	if (length)
		memcpy(to->bytes + to->length, bytes, length);
	to->length += length;
}

static inline void put_float(struct writer *to, uint32_t field, float value)
{
	put_varint(to, (uint64_t)field << 3 | 5);
	put_again(to, &value, sizeof(value));
}

static inline void put_double(struct writer *to, uint32_t field, double value)
{
	put_varint(to, (uint64_t)field << 3 | 1);
	put_again(to, &value, sizeof(value));
}

static inline void put_bytes(struct writer *to, uint32_t field, const void *bytes, size_t length)
{
	put_varint(to, (uint64_t)field << 3 | 2);
	put_varint(to, length);
	put_again(to, bytes, length);
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

/* TensorProto.DataType */
enum {
	ONNX_FLOAT = 1,
	ONNX_UINT8,
	ONNX_INT8,
	ONNX_UINT16,
	ONNX_INT16,
	ONNX_INT32,
	ONNX_INT64,
	ONNX_STRING,
	ONNX_BOOL,
	ONNX_FLOAT16,
	ONNX_DOUBLE,
	ONNX_UINT32,
	ONNX_UINT64,
	ONNX_COMPLEX64,
	ONNX_COMPLEX128,
	ONNX_BFLOAT16,
	ONNX_INT4 = 22,
};

#define ONNX_ML "ai.onnx.ml"

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
static inline void put_attribute(struct writer *attributes, const char *name, uint64_t type,
				 const struct writer *fields)
{
	static struct writer attribute;

	attribute.length = 0;
	put_text(&attribute, 1, name);
	put_again(&attribute, fields->bytes, fields->length);
	put_int(&attribute, 20, type);
	put_message(attributes, 5, &attribute);
}

static inline void attribute_float(struct writer *attributes, const char *name, float value)
{
	static struct writer fields;

	fields.length = 0;
	put_float(&fields, 2, value);
	put_attribute(attributes, name, 1, &fields);
}

static inline void attribute_int(struct writer *attributes, const char *name, int64_t value)
{
	static struct writer fields;

	fields.length = 0;
	put_int(&fields, 3, (uint64_t)value);
	put_attribute(attributes, name, 2, &fields);
}

static inline void attribute_text(struct writer *attributes, const char *name, const char *value)
{
	static struct writer fields;

	fields.length = 0;
	put_text(&fields, 4, value);
	put_attribute(attributes, name, 3, &fields);
}

static inline void attribute_tensor(struct writer *attributes, const char *name,
				    const struct writer *tensor)
{
	static struct writer fields;

	fields.length = 0;
	put_message(&fields, 5, tensor);
	put_attribute(attributes, name, 4, &fields);
}

static inline void attribute_floats(struct writer *attributes, const char *name,
				    const float *values, size_t count)
{
	static struct writer fields;

	fields.length = 0;
	for (size_t i = 0; i < count; i++)
		put_float(&fields, 7, values[i]);
	put_attribute(attributes, name, 6, &fields);
}

static inline void attribute_ints(struct writer *attributes, const char *name, struct dims values)
{
	static struct writer fields;

	fields.length = 0;
	for (uint32_t i = 0; i < values.rank; i++)
		put_int(&fields, 8, (uint64_t)values.at[i]);
	put_attribute(attributes, name, 7, &fields);
}

/* Words separated by spaces into `field`, each as a text; "-" is an empty one. */
static inline void put_words(struct writer *to, uint32_t field, const char *words)
{
	while (*words) {
		size_t length = strcspn(words, " ");

		put_bytes(to, field, words, *words == '-' ? 0 : length);
		words += length + (words[length] == ' ');
	}
}

/* `values` separated by spaces. */
static inline void attribute_texts(struct writer *attributes, const char *name, const char *values)
{
	static struct writer fields;

	fields.length = 0;
	put_words(&fields, 9, values);
	put_attribute(attributes, name, 8, &fields);
}

/* A node of any domain: `inputs` and `outputs` separated by spaces ("-": left out), `attributes`
 * may be NULL. */
static inline void put_node_of(struct writer *graph, const char *domain, const char *op,
			       const char *name, const char *inputs, const char *outputs,
			       const struct writer *attributes)
{
	static struct writer node;

	node.length = 0;
	put_words(&node, 1, inputs);
	put_words(&node, 2, outputs);
	if (*name)
		put_text(&node, 3, name);
	put_text(&node, 4, op);
	if (attributes)
		put_again(&node, attributes->bytes, attributes->length);
	if (*domain)
		put_text(&node, 7, domain);
	put_message(graph, 1, &node);
}

static inline void put_node(struct writer *graph, const char *op, const char *name,
			    const char *inputs, const char *outputs,
			    const struct writer *attributes)
{
	put_node_of(graph, "", op, name, inputs, outputs, attributes);
}

/* An output of type seq(map(int64, float)), as ZipMap has. */
static inline void put_map_output(struct writer *graph, const char *name)
{
	static const uint8_t type[] = {0x22, 6, 0x0a, 4, 0x2a, 2, 0x08, ONNX_INT64};
	static struct writer info;

	info.length = 0;
	put_text(&info, 1, name);
	put_bytes(&info, 2, type, sizeof(type));
	put_message(graph, 12, &info);
}

/* OperatorSetIdProto into a model. */
static inline void put_import(struct writer *model, const char *domain, int64_t version)
{
	static struct writer import;

	import.length = 0;
	put_text(&import, 1, domain);
	put_int(&import, 2, (uint64_t)version);
	put_message(model, 8, &import);
}

/* ModelProto around the graph; put_import(model, ONNX_ML, 3) may follow. */
static inline void put_model(struct writer *model, const struct writer *graph, int64_t opset)
{
	put_int(model, 1, 8);
	put_message(model, 7, graph);
	put_import(model, "", opset);
}

#endif
