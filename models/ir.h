/*
 * ir.h: a graph lowered to steps, before weights are packed.
 *
 * Every value of the graph is either a constant, or batched: one tensor for each row of the batch,
 * kept flat as `cols` columns of some rows. The first dimension of a batched value is always the
 * batch; what would move or mix it is refused.
 *
 * Rows (struct fg_ir_rows) are written once, column by column or in parts, by steps; a value is a
 * run of their columns. So Split, Slice, Reshape and Flatten cost nothing where columns stay
 * together, and Concat where its inputs can be computed in place.
 *
 * The functions that make values do so at once, with the C reference kernels, when all that they
 * work on is constant; so nothing after lowering knows about constant expressions.
 */
#ifndef FG_MODELS_IR_H
#define FG_MODELS_IR_H

#include <stdbool.h>
#include <stdint.h>
#include "models/arena.h"
#include "models/error.h"
#include "models/graph.h"
#include "models/kernels.h"

#define FG_IR_NONE		 UINT32_MAX
#define FG_IR_INPUT		 0u /* the rows that the model is given: all inputs side by side */
#define FG_IR_OUTPUT		 1u /* the rows that it gives: all outputs side by side */
#define FG_IR_BATCH		 INT64_MIN /* in an I64 constant: "the size of the batch" (Shape) */
#define FG_IR_MAX_STEPS		 (1u << 16)
#define FG_IR_MAX_COLS		 (1u << 20)
#define FG_IR_MAX_CONSTANT_BYTES (UINT64_C(2) << 30) /* computed while lowering */

/* Columns `first` and up of `rows`. How many, the owner knows. */
struct fg_ir_span {
	uint32_t rows; /* index in ir->rows; FG_IR_NONE: not there */
	uint32_t first;
};

/* How the columns of a batched value hold its numbers. */
enum fg_ir_form {
	FG_IR_F32, /* a float each; integers are exact, whatever their size: none is rounded */
	FG_IR_I64, /* wide numbers (models/kernels.h), two columns each */
	FG_IR_F64,
};

struct fg_ir_value {
	const struct fg_tensor *constant; /* NULL: batched */
	uint32_t rank;
	int64_t dims[FG_GRAPH_MAX_RANK]; /* batched: dims[0] is FG_GRAPH_UNKNOWN, rank >= 1 */
	uint32_t cols;			 /* batched: dims[1] * dims[2] * ...: elements */
	struct fg_ir_span at;		 /* batched */
	enum fg_ir_form form;		 /* batched */
	bool whole;			 /* batched: integers or truths in the model file */
	struct fg_integer integer;	 /* whole, and constants of I64: which integers */
	/* Batched: float64 in the model file, and not rounded so far: arithmetic goes on in F64. */
	bool is_double;
	/* Batched, whole: all numbers are in low .. high. Else they are what `integer` can be. Ends
	 * beyond 2^53 may be off by a rounding. */
	bool bounded;
	double low, high;
	/* Batched, wide: what fg_ir_to_form would make of them as F32 is there already, as a step
	 * on floats gives it with the same rounding. Who reads that needs no wide number. */
	bool has_rounded;
	struct fg_ir_span rounded;
	/* Batched: in the model file all dimensions but the last are one. That mixes the rows of
	 * the batch, but exporters do it around a MatMul and part them again: what works on the
	 * last dimension alone need not care (fg_op_takes_merged), all else is refused. */
	bool merged;
	/* TEXT (count): the numbers are indices of these texts (class labels). NULL: numbers. */
	const struct fg_tensor *labels;
	/* TEXT (cols): what each column is called (ZipMap's classes). NULL: they have no names. */
	const struct fg_tensor *columns;
};

/* One kernel call (models/kernels.h), `groups` times for each row of the batch. */
struct fg_ir_step {
	enum fg_step_kind kind;
	struct fg_ir_span in;	 /* (groups, in_cols); FILL: not there */
	struct fg_ir_span other; /* (groups, out_cols); not there: none, or `constant` */
	struct fg_ir_span third; /* (groups, out_cols) */
	struct fg_ir_span out;	 /* (groups, out_cols) */
	uint32_t groups;	 /* >= 1 */
	uint32_t in_cols;
	uint32_t out_cols;
	uint32_t entries; /* EMBED, LOOKUP, WIDE_LOOKUP */
	enum fg_wide_operation operation;
	bool whole; /* arithmetic of integers: constants must not be merged, that would round */
	enum fg_activation activation;
	float alpha;
	float beta;
	/* In the arena; as kernels.h says, but not packed. */
	const void *weights;   /* DENSE: (in_cols, out_cols), row-major */
	const float *bias;     /* DENSE: (out_cols); never NULL there */
	const float *constant; /* (groups * out_cols): `other`, where it is constant; else NULL */
	const struct fg_node *node; /* that it was made for; NULL: none */
	bool dead;		    /* dropped by models/optimize.h; means nothing any more */
};

struct fg_ir_rows {
	uint32_t cols;
};

struct fg_ir {
	const struct fg_graph *graph;
	struct fg_arena *arena;	    /* owns everything below */
	int64_t batch;		    /* as declared; FG_GRAPH_UNKNOWN: open */
	struct fg_ir_value *values; /* graph->value_count */
	struct fg_ir_step *steps;
	uint32_t step_count, step_capacity;
	struct fg_ir_rows *rows; /* [FG_IR_INPUT], [FG_IR_OUTPUT], ... */
	uint32_t rows_count, rows_capacity;
	bool *needed;		 /* graph->value_count: an output of the model depends on it */
	bool folded;		 /* models/optimize.h has changed weights or scales */
	uint64_t constant_bytes; /* made while lowering; bounded, so that no file is a bomb */
};

/*
 * Lowers the nodes that the model's outputs depend on, and copies the outputs side by side into
 * FG_IR_OUTPUT. Allocates from `arena`; `ir` lives as long as `arena` and `graph`. -EINVAL with
 * *error naming the node or the value; -ENOMEM.
 */
int fg_ir_lower(struct fg_ir *ir, const struct fg_graph *graph, struct fg_arena *arena,
		struct fg_error *error);

/*
 * ---- for the operators (models/ops_*.c) ----
 *
 * All of these set *out to the new value and return 0, or return -EINVAL with *error naming the
 * node (shapes that do not fit, the batch mixed, too many columns) or -ENOMEM. `out` may be one of
 * the inputs. Values are small and passed around by value; `in` may be constant unless said.
 */

/* The value of input `i`, or NULL when it is left out. */
const struct fg_ir_value *fg_ir_input(const struct fg_ir *ir, const struct fg_node *node,
				      uint32_t i);

/* The node's output `i` is `value`. Outputs that nobody wants may be set or not. */
void fg_ir_set_output(struct fg_ir *ir, const struct fg_node *node, uint32_t i,
		      const struct fg_ir_value *value);

/* True when output `i` is used by something live. */
bool fg_ir_wanted(const struct fg_ir *ir, const struct fg_node *node, uint32_t i);

/* `size` bytes times `count` in the arena, counted against FG_IR_MAX_CONSTANT_BYTES. */
int fg_ir_alloc(struct fg_ir *ir, const struct fg_node *node, size_t count, size_t size,
		void **bytes, struct fg_error *error);

/* A constant of `count` elements with these dims; `data` must live as long as the arena. */
struct fg_ir_value fg_ir_constant(struct fg_ir *ir, enum fg_element element, uint32_t rank,
				  const int64_t *dims, const void *data, int *result);
/* A single number, rank 0, f32. */
struct fg_ir_value fg_ir_number(struct fg_ir *ir, float number, int *result);

/* True for texts: class labels, and TEXT constants. */
static inline bool fg_ir_is_text(const struct fg_ir_value *value)
{
	return value->labels || (value->constant && value->constant->element == FG_ELEMENT_TEXT);
}

/* The constant's elements as f32, in the arena: I64 and F64 are rounded. Refused: TEXT,
 * FG_IR_BATCH, and F64 that float32 cannot hold at all: a number above its range, or nothing but
 * such as are too small and would all become 0. */
int fg_ir_floats(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
		 const float **floats, struct fg_error *error);

/* The same elements with other dimensions (their product must be equal). For batched values
 * dims[0] must be FG_GRAPH_UNKNOWN. */
int fg_ir_reshape(const struct fg_node *node, const struct fg_ir_value *in, uint32_t rank,
		  const int64_t *dims, struct fg_ir_value *out, struct fg_error *error);

/* out = activation(in). I64 constants are converted to f32, but NONE leaves them. */
int fg_ir_unary(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		enum fg_activation activation, float alpha, float beta, struct fg_ir_value *out,
		struct fg_error *error);

/*
 * out = a op b, ADD .. EQUAL, with numpy's broadcasting (dimensions aligned at the right; the batch
 * only with the batch, or with 1 of a constant). Two I64 constants stay I64 for ADD, SUB, MUL, DIV
 * (towards 0), MIN and MAX, and give I64 for LESS, LESS_EQUAL and EQUAL.
 */
int fg_ir_binary(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		 const struct fg_ir_value *a, const struct fg_ir_value *b, struct fg_ir_value *out,
		 struct fg_error *error);

/* out = condition ? a : b, all three broadcast. */
int fg_ir_select(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *condition,
		 const struct fg_ir_value *a, const struct fg_ir_value *b, struct fg_ir_value *out,
		 struct fg_error *error);

/* out (..., out_cols) = in (..., in_cols) x weights (in_cols, out_cols) + bias (out_cols; NULL: 0);
 * `in` batched with rank >= 2, weights and bias in the arena. */
int fg_ir_dense(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		const float *weights, uint32_t in_cols, uint32_t out_cols, const float *bias,
		struct fg_ir_value *out, struct fg_error *error);

/*
 * A kind that works on the last `axes` >= 1 dimensions together (not the batch): SOFTMAX,
 * LOG_SOFTMAX (same shape), NORMALIZE (`scale`, `shift`: one for each of those columns; NULL: 1 and
 * 0; alpha: epsilon), REDUCE_* and ARG_* (those dimensions become 1 each).
 */
int fg_ir_over_last(struct fg_ir *ir, const struct fg_node *node, enum fg_step_kind kind,
		    const struct fg_ir_value *in, uint32_t axes, float alpha, const float *scale,
		    const float *shift, struct fg_ir_value *out, struct fg_error *error);

/* Dimension i of `out` is dimension order[i] of `in`; order[0] of a batched value is 0. */
int fg_ir_transpose(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		    const uint32_t *order, struct fg_ir_value *out, struct fg_error *error);

/* Along `axis` (not the batch), the elements index[0 .. count - 1], each below the dimension; any
 * element type. Slice, Split, Gather of constants, ArrayFeatureExtractor. */
int fg_ir_take(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
	       uint32_t axis, const uint32_t *index, uint32_t count, struct fg_ir_value *out,
	       struct fg_error *error);

/* Side by side along `axis` (not the batch); other dimensions equal. Constants next to batched
 * values are repeated over the batch (their dims[0] is 1). I64 with FG_IR_BATCH inside works. */
int fg_ir_concat(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *values,
		 uint32_t count, uint32_t axis, struct fg_ir_value *out, struct fg_error *error);

/* Broadcasts to these dims (numpy's rules; dims[0] FG_GRAPH_UNKNOWN: batched, also when `in` is
 * constant). */
int fg_ir_expand(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		 uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		 struct fg_error *error);

/* out (dims of indices..., cols) = table (entries, cols)[indices], f32 in the arena; indices
 * batched, or constant. `from_end`: negative ones count from the end; else, and beyond the table, a
 * row is refused. */
int fg_ir_embed(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *indices,
		const float *table, uint32_t entries, uint32_t cols, bool from_end,
		struct fg_ir_value *out, struct fg_error *error);

/* out = values[i] where in == keys[i]; keys sorted as LOOKUP wants them. Anything else gives
 * *otherwise; NULL: the row is refused. */
int fg_ir_lookup(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		 const float *keys, const float *values, uint32_t entries, const float *otherwise,
		 struct fg_ir_value *out, struct fg_error *error);

/*
 * ---- numbers of more than float32 (models/ir_wide.c) ----
 */

/* Columns of an element. */
static inline uint32_t fg_ir_width(enum fg_ir_form form)
{
	return form == FG_IR_F32 ? 1 : 2;
}

/* True for integers and truths of the model file. */
static inline bool fg_ir_is_whole(const struct fg_ir_value *value)
{
	return value->constant ? value->constant->element == FG_ELEMENT_I64 : value->whole;
}

/* What integers of that type can be: both ends are in it, but 2^63 and 2^64 are not. */
void fg_ir_integer_range(struct fg_integer integer, double *low, double *high);
/* Between what all numbers of a whole value lie. */
void fg_ir_range(const struct fg_ir_value *value, double *low, double *high);
/* True when floats hold each number of the constant exactly (TEXT: false). */
bool fg_ir_fits_f32(const struct fg_ir_value *constant);
/* The form in which the value is exact: its own, or that of the constant. */
enum fg_ir_form fg_ir_exact_form(const struct fg_ir_value *value);

/* The same numbers as `form`: integers that F64 or F32 cannot hold are rounded to the nearest, what
 * becomes I64 goes towards 0. A constant stays what it is. */
int fg_ir_to_form(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		  enum fg_ir_form form, struct fg_ir_value *out, struct fg_error *error);

/* An operation on wide numbers, with what it takes. */
struct fg_ir_wide {
	enum fg_wide_operation operation;
	enum fg_activation activation;
	float alpha, beta;
};

/* out = operation(a, b), broadcast; a and b are brought to the form that it takes. `b` NULL: it
 * takes one. The result is whole (I64) or is_double (F64); its integers may be any int64. */
int fg_ir_wide(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_wide *wide,
	       const struct fg_ir_value *a, const struct fg_ir_value *b, struct fg_ir_value *out,
	       struct fg_error *error);

/* One wide number of the last `axes` dimensions together, which become 1 each; `operation` as
 * WIDE_REDUCE takes it. `in` batched, in that form. */
int fg_ir_wide_reduce(struct fg_ir *ir, const struct fg_node *node,
		      enum fg_wide_operation operation, const struct fg_ir_value *in, uint32_t axes,
		      struct fg_ir_value *out, struct fg_error *error);

/* The place of each of `in` (batched, I64) among the keys, sorted upward; else `entries`. */
int fg_ir_wide_lookup(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		      const int64_t *keys, uint32_t entries, struct fg_ir_value *out,
		      struct fg_error *error);

/* "rows of a batch would be mixed: ..." and the like come from fg_node_error (models/graph.h). */

#endif
