/* The ONNX file of a model: protobuf messages (onnx.proto), each written into a buffer of its own
 * and then put into the outer one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/bench/kernels/model.h"

enum { ONNX_FLOAT = 1, OPSET = 13, IR_VERSION = 8 };

struct message {
	uint8_t *bytes;
	size_t length, room;
};

static void put(struct message *to, const void *bytes, size_t length)
{
	if (to->length + length > to->room) {
		to->room = 2 * (to->length + length);
		to->bytes = realloc(to->bytes, to->room);
		if (!to->bytes) {
			perror("bench_kernels: no memory");
			exit(1);
		}
	}
	memcpy(to->bytes + to->length, bytes, length);
	to->length += length;
}

static void put_varint(struct message *to, uint64_t value)
{
	do {
		uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));

		put(to, &byte, 1);
		value >>= 7;
	} while (value);
}

static void put_int(struct message *to, uint32_t field, uint64_t value)
{
	put_varint(to, field << 3);
	put_varint(to, value);
}

static void put_bytes(struct message *to, uint32_t field, const void *bytes, size_t length)
{
	put_varint(to, field << 3 | 2);
	put_varint(to, length);
	put(to, bytes, length);
}

static void put_text(struct message *to, uint32_t field, const char *text)
{
	put_bytes(to, field, text, strlen(text));
}

/* Frees `message`. */
static void put_message(struct message *to, uint32_t field, struct message *message)
{
	put_bytes(to, field, message->bytes, message->length);
	free(message->bytes);
}

/* Initializer (rows, cols), or (cols) for rows == 0. */
static void put_tensor(struct message *graph, const char *name, const float *values, uint32_t rows,
		       uint32_t cols)
{
	struct message tensor = {0};

	if (rows)
		put_int(&tensor, 1, rows);
	put_int(&tensor, 1, cols);
	put_int(&tensor, 2, ONNX_FLOAT);
	put_text(&tensor, 8, name);
	put_bytes(&tensor, 9, values, (size_t)(rows ? rows : 1) * cols * sizeof(*values));
	put_message(graph, 5, &tensor);
}

/* Input (field 11) or output (12) (N, cols). */
static void put_value(struct message *graph, uint32_t field, const char *name, uint32_t cols)
{
	struct message batch = {0}, col = {0}, shape = {0}, tensor = {0}, type = {0}, value = {0};

	put_text(&batch, 2, "N");
	put_int(&col, 1, cols);
	put_message(&shape, 1, &batch);
	put_message(&shape, 1, &col);
	put_int(&tensor, 1, ONNX_FLOAT);
	put_message(&tensor, 2, &shape);
	put_message(&type, 1, &tensor);
	put_text(&value, 1, name);
	put_message(&value, 2, &type);
	put_message(graph, field, &value);
}

/* A node with up to three inputs, NULL behind the last. */
static void put_node(struct message *graph, const char *op, const char *const inputs[3],
		     const char *output)
{
	struct message node = {0};

	for (int i = 0; i < 3 && inputs[i]; i++)
		put_text(&node, 1, inputs[i]);
	put_text(&node, 2, output);
	put_text(&node, 4, op);
	put_message(graph, 1, &node);
}

static void put_layer(struct message *graph, const struct bench_model *model, uint32_t layer)
{
	int last = layer + 1 == BENCH_LAYERS;
	const char *op = !last ? "Relu" : model->end == BENCH_SOFTMAX ? "Softmax" : "Sigmoid";
	char in[8] = "x", weights[8], bias[8], sum[8], out[8] = "y";

	if (layer)
		snprintf(in, sizeof(in), "x%u", layer);
	if (!last)
		snprintf(out, sizeof(out), "x%u", layer + 1);
	snprintf(weights, sizeof(weights), "w%u", layer);
	snprintf(bias, sizeof(bias), "b%u", layer);
	snprintf(sum, sizeof(sum), "s%u", layer);
	put_tensor(graph, weights, model->weights[layer], model->cols[layer],
		   model->cols[layer + 1]);
	put_tensor(graph, bias, model->bias[layer], 0, model->cols[layer + 1]);
	put_node(graph, "Gemm", (const char *const[3]){in, weights, bias}, sum);
	put_node(graph, op, (const char *const[3]){sum}, out);
}

void bench_model_write_onnx(struct bench_model *model)
{
	struct message file = {0}, graph = {0}, import = {0};

	for (uint32_t layer = 0; layer < BENCH_LAYERS; layer++)
		put_layer(&graph, model, layer);
	put_text(&graph, 2, model->name);
	put_value(&graph, 11, "x", model->cols[0]);
	put_value(&graph, 12, "y", model->cols[BENCH_LAYERS]);
	put_text(&import, 1, "");
	put_int(&import, 2, OPSET);
	put_int(&file, 1, IR_VERSION);
	put_message(&file, 7, &graph);
	put_message(&file, 8, &import);
	model->onnx = file.bytes;
	model->onnx_bytes = file.length;
}
