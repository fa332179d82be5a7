/*
 * graph.h: a model as it was read from its file. Nothing is decided here yet: shapes are
 * inferred and steps are chosen when the graph is compiled (models/ir.h, models/compile.h).
 *
 * The operators are ONNX's, whatever format the file has. A graph is in single-assignment form:
 * every value (a name) is an input of the model, a constant, or an output of exactly one node, and
 * nodes stand in an order in which each uses only what stands before it. The readers
 * (models/onnx.h, models/keras.h) promise this; the rest of models/ relies on it.
 */
#ifndef FG_MODELS_GRAPH_H
#define FG_MODELS_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"

#define FG_GRAPH_MAX_RANK 8
#define FG_GRAPH_NO_VALUE UINT32_MAX /* an optional input that is left out */
#define FG_GRAPH_UNKNOWN  (-1)	     /* a dimension that the file leaves open */

/* Text in the model file; not NUL-terminated, any bytes. */
struct fg_text {
	const char *at;
	size_t length;
};

/* How constants are held; readers turn other types into these: float16 and bfloat16 into F32, all
 * integers and bool into I64. */
enum fg_element {
	FG_ELEMENT_F32,
	FG_ELEMENT_I64,
	FG_ELEMENT_TEXT, /* struct fg_text, aligned; class labels and the like */
	FG_ELEMENT_F64,
};

/* Which integers of the model file are held as I64. All zero: int64. */
struct fg_integer {
	uint8_t bits; /* 8, 16, 32; 0: 64; 1: bool */
	bool is_unsigned;
};

/* Of one element of a tensor's data. */
size_t fg_element_bytes(enum fg_element element);

/* A constant array, row-major. */
struct fg_tensor {
	enum fg_element element;
	struct fg_integer integer;	 /* I64 */
	uint32_t rank;			 /* 0 (a scalar) .. FG_GRAPH_MAX_RANK */
	int64_t dims[FG_GRAPH_MAX_RANK]; /* each >= 1; a rank of 1 may have dims[0] == 0 */
	size_t count;			 /* the product of dims */
	const void *data;		 /* count elements, little-endian, any alignment */
};

enum fg_attribute_kind {
	FG_ATTRIBUTE_OTHER = 0, /* graphs, ...: only the name is kept */
	FG_ATTRIBUTE_FLOAT,	/* number */
	FG_ATTRIBUTE_INT,	/* integer */
	FG_ATTRIBUTE_TEXT,	/* text */
	FG_ATTRIBUTE_TENSOR,	/* tensor; lists of numbers and texts are tensors of rank 1 too */
};

struct fg_attribute {
	struct fg_text name;
	enum fg_attribute_kind kind;
	float number;
	int64_t integer;
	struct fg_text text;
	const struct fg_tensor *tensor;
};

struct fg_node {
	struct fg_text name;	/* may be empty */
	const struct fg_op *op; /* models/ops.h */
	uint32_t index;		/* in graph->nodes */
	uint32_t input_count;	/* op->min_inputs .. op->max_inputs */
	uint32_t *inputs;	/* values; FG_GRAPH_NO_VALUE where left out */
	uint32_t output_count;	/* 1 .. op->max_outputs */
	uint32_t *outputs;	/* values; FG_GRAPH_NO_VALUE where nobody wants it */
	uint32_t attribute_count;
	struct fg_attribute *attributes; /* names differ */
};

struct fg_value {
	struct fg_text name;
	const struct fg_tensor *constant; /* an initializer, else NULL */
};

/* Dimensions of a model's input or output as declared. dims[0] is the batch. */
struct fg_graph_shape {
	uint32_t rank;			 /* 0: not declared */
	int64_t dims[FG_GRAPH_MAX_RANK]; /* >= 1, or FG_GRAPH_UNKNOWN */
};

/* An input or output of the model. */
struct fg_graph_port {
	uint32_t value;
	enum fg_element element;   /* of an input, what its numbers are in the file: not TEXT */
	struct fg_integer integer; /* I64 */
	struct fg_graph_shape shape;
};

struct fg_graph {
	struct fg_arena arena; /* owns everything below, and the bytes of the model's files */
	int64_t opset;	       /* of ai.onnx; 0: not imported, no node is of it */
	int64_t ml_opset;      /* of ai.onnx.ml; the same */
	struct fg_node *nodes;
	uint32_t node_count;
	uint32_t node_capacity;
	struct fg_value *values;
	uint32_t value_count;
	uint32_t value_capacity;
	struct fg_graph_port *inputs;
	uint32_t input_count; /* >= 1 */
	struct fg_graph_port *outputs;
	uint32_t output_count; /* >= 1 */
	uint32_t *index;       /* open-addressing hash table: name -> value + 1 */
	uint32_t index_size;   /* a power of two, at most half full; 0 before the first value */
};

/* Frees what the graph owns. An all-zero graph may be freed too. */
void fg_graph_free(struct fg_graph *graph);

/* The value of that name, or FG_GRAPH_NO_VALUE. */
uint32_t fg_graph_find(const struct fg_graph *graph, struct fg_text name);

/* Adds a value. 0, -EEXIST (the name is taken) or -ENOMEM; *value is its number. */
int fg_graph_add(struct fg_graph *graph, struct fg_text name, uint32_t *value);

/*
 * Adds a node at the end, with room for what it uses and defines: `inputs` and `outputs` are all
 * FG_GRAPH_NO_VALUE, `attributes` is zeroed and attribute_count is 0. *node is good until the
 * next node is added. -ENOMEM.
 */
int fg_graph_add_node(struct fg_graph *graph, const struct fg_op *op, struct fg_text name,
		      uint32_t input_count, uint32_t output_count, uint32_t attribute_capacity,
		      struct fg_node **node);

/* Element `i` < tensor->count of a tensor of that element type. */
float fg_tensor_f32(const struct fg_tensor *tensor, size_t i);
int64_t fg_tensor_i64(const struct fg_tensor *tensor, size_t i);
double fg_tensor_f64(const struct fg_tensor *tensor, size_t i);
/* Element `i` < tensor->count of a tensor of any numbers. */
double fg_tensor_number(const struct fg_tensor *tensor, size_t i);
struct fg_text fg_tensor_text(const struct fg_tensor *tensor, size_t i);

/* The attribute of that name, or NULL. */
const struct fg_attribute *fg_node_attribute(const struct fg_node *node, const char *name);

/*
 * Attributes with a default. -EINVAL with *error when the attribute is there with another type
 * than asked for.
 */
int fg_node_float(const struct fg_node *node, const char *name, float *number,
		  struct fg_error *error);
int fg_node_int(const struct fg_node *node, const char *name, int64_t *integer,
		struct fg_error *error);
int fg_node_text(const struct fg_node *node, const char *name, struct fg_text *text,
		 struct fg_error *error);
/* *tensor is left alone when there is no such attribute. */
int fg_node_tensor(const struct fg_node *node, const char *name, enum fg_element element,
		   const struct fg_tensor **tensor, struct fg_error *error);

/* True when both hold the same bytes. */
int fg_text_equal(struct fg_text a, struct fg_text b);
int fg_text_is(struct fg_text text, const char *string);

/* For people: at most 40 bytes of `text`, what is not printable ASCII as '?'. Writes at most
 * `size` >= 1 bytes with the final NUL to `out`, and returns `out`. */
const char *fg_text_print(struct fg_text text, char *out, size_t size);

/* Sets "node 'fc1' (Gemm): ..." (or "node #3 (Gemm): ..." for one without a name) and returns
 * -EINVAL. */
__attribute__((format(printf, 3, 4))) int
fg_node_error(const struct fg_node *node, struct fg_error *error, const char *format, ...);

#endif
