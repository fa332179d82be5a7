/*
 * ops_lower.h: how the operators (models/ops_*.c) are written: models/ir.h with values passed
 * around by value and failures kept aside, so that an operator reads like its formula.
 *
 * After the first failure nothing more happens: the functions below leave `result` and *error as
 * they are and give an empty value (rank 0). So only code that looks into a value asks for
 * `result` first.
 */
#ifndef FG_MODELS_OPS_LOWER_H
#define FG_MODELS_OPS_LOWER_H

#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "models/graph.h"
#include "models/ir.h"
#include "models/kernels.h"

/* One node that is being lowered. */
struct fg_lower {
	struct fg_ir *ir;
	const struct fg_node *node;
	struct fg_error *error;
	int result; /* 0, or the first failure: -EINVAL or -ENOMEM */
};

/* Whole numbers, in the arena. FG_IR_BATCH may be among those that come from an input. */
struct fg_lower_list {
	const int64_t *at;
	uint32_t count;
	bool given;
};

/* -EINVAL with "node 'fc1' (Gemm): ...". */
__attribute__((format(printf, 2, 3))) void fg_lower_fail(struct fg_lower *at, const char *format,
							 ...);

/* `count` zeroed elements of the arena (fg_ir_alloc); NULL after a failure. */
void *fg_lower_alloc(struct fg_lower *at, size_t count, size_t size);

/* ---- inputs and outputs ---- */

/* True when input `i` is not left out. */
bool fg_lower_has(const struct fg_lower *at, uint32_t i);
/* Input `i`; refused when it is left out, or is texts (text constants, class labels). */
struct fg_ir_value fg_lower_input(struct fg_lower *at, uint32_t i);
/* Input `i`, which may be texts. */
struct fg_ir_value fg_lower_any(struct fg_lower *at, uint32_t i);
/* Input `i`, a constant that may be texts; `what` names it in the refusal ("the axes"). */
struct fg_ir_value fg_lower_constant(struct fg_lower *at, uint32_t i, const char *what);
/* Whole numbers from the constant input `i`, or else from the attribute `name` (NULL: none). */
struct fg_lower_list fg_lower_list(struct fg_lower *at, uint32_t i, const char *name);

void fg_lower_set(struct fg_lower *at, uint32_t i, struct fg_ir_value value);
/* Output 0 is `value`, and the node is done: returns `result`. */
int fg_lower_done(struct fg_lower *at, struct fg_ir_value value);

/* ---- attributes, with what they are when they are not there ---- */

float fg_lower_float(struct fg_lower *at, const char *name, float otherwise);
int64_t fg_lower_int(struct fg_lower *at, const char *name, int64_t otherwise);
struct fg_text fg_lower_text(struct fg_lower *at, const char *name, const char *otherwise);
/* A list as a constant of rank 1; refused when `needed` and not there. Else count 0. */
struct fg_ir_value fg_lower_numbers(struct fg_lower *at, const char *name, enum fg_element element,
				    bool needed);

/* ---- facts about values ---- */

bool fg_lower_is_i64(const struct fg_ir_value *value);	 /* an I64 constant */
bool fg_lower_is_whole(const struct fg_ir_value *value); /* integers or truths in the model */
/* The numbers of a constant as f32; NULL after a failure. */
const float *fg_lower_floats(struct fg_lower *at, struct fg_ir_value constant);
/* A label or an id as f32, and the same of a constant: refused where a float would round it. */
float fg_lower_exact(struct fg_lower *at, int64_t number);
const float *fg_lower_exact_floats(struct fg_lower *at, struct fg_ir_value constant);
/* `axis` of a tensor of that rank, counted from 0; negative ones count from the end. */
uint32_t fg_lower_axis(struct fg_lower *at, int64_t axis, uint32_t rank);
/* The same, but refused where it is the batch of a batched value. */
uint32_t fg_lower_inner_axis(struct fg_lower *at, const struct fg_ir_value *value, int64_t axis);

/* ---- values from values: models/ir.h ---- */

struct fg_ir_value fg_lower_number(struct fg_lower *at, float number);
struct fg_ir_value fg_lower_whole_number(struct fg_lower *at, int64_t number); /* an int64 */
/* The number as an integer of the same type when `like` is whole, else as f32. */
struct fg_ir_value fg_lower_number_like(struct fg_lower *at, const struct fg_ir_value *like,
					int32_t number);
struct fg_ir_value fg_lower_tensor(struct fg_lower *at, const struct fg_tensor *tensor);
struct fg_ir_value fg_lower_unary(struct fg_lower *at, enum fg_activation activation,
				  struct fg_ir_value in);
/* alpha, beta: refused where they are NaN. */
struct fg_ir_value fg_lower_activation(struct fg_lower *at, enum fg_activation activation,
				       float alpha, float beta, struct fg_ir_value in);
struct fg_ir_value fg_lower_binary(struct fg_lower *at, enum fg_step_kind kind,
				   struct fg_ir_value a, struct fg_ir_value b);
struct fg_ir_value fg_lower_select(struct fg_lower *at, struct fg_ir_value condition,
				   struct fg_ir_value a, struct fg_ir_value b);
struct fg_ir_value fg_lower_over_last(struct fg_lower *at, enum fg_step_kind kind, uint32_t axes,
				      struct fg_ir_value in);
struct fg_ir_value fg_lower_reshape(struct fg_lower *at, struct fg_ir_value in, uint32_t rank,
				    const int64_t *dims);
/* With a dimension of 1 put in at `axis` (batched: not 0). */
struct fg_ir_value fg_lower_unsqueeze(struct fg_lower *at, struct fg_ir_value in, uint32_t axis);
struct fg_ir_value fg_lower_transpose(struct fg_lower *at, struct fg_ir_value in,
				      const uint32_t *order);
/* Dimension `from` moves to `to`; the others keep their order. */
struct fg_ir_value fg_lower_move_axis(struct fg_lower *at, struct fg_ir_value in, uint32_t from,
				      uint32_t to);
struct fg_ir_value fg_lower_take(struct fg_lower *at, struct fg_ir_value in, uint32_t axis,
				 const uint32_t *index, uint32_t count);
/* first, first + step, ...: `count` of them. */
struct fg_ir_value fg_lower_take_range(struct fg_lower *at, struct fg_ir_value in, uint32_t axis,
				       int64_t first, int64_t step, uint32_t count);
struct fg_ir_value fg_lower_expand(struct fg_lower *at, struct fg_ir_value in, uint32_t rank,
				   const int64_t *dims);
struct fg_ir_value fg_lower_concat(struct fg_lower *at, const struct fg_ir_value *values,
				   uint32_t count, uint32_t axis);
/* in (..., inner) x matrix (inner, cols), a constant. */
struct fg_ir_value fg_lower_dense(struct fg_lower *at, struct fg_ir_value in,
				  struct fg_ir_value matrix);
/* Along `axis`, the elements that the constant `indices` (any shape, negative from the end) name,
 * in a row. */
struct fg_ir_value fg_lower_pick(struct fg_lower *at, struct fg_ir_value in,
				 struct fg_ir_value indices, uint32_t axis);
/* `value` was taken out of that constant: its integers are of the same type and range. */
struct fg_ir_value fg_lower_like_table(struct fg_lower *at, struct fg_ir_value value,
				       const struct fg_ir_value *table);
/* table (entries, cols) in the arena; `from_end`: fg_ir_embed. */
struct fg_ir_value fg_lower_embed(struct fg_lower *at, struct fg_ir_value indices,
				  const float *table, uint32_t entries, uint32_t cols,
				  bool from_end);
/* texts[indices], which stay numbers: places in `texts`. A step that refuses others is made where
 * they do not come from a comparison or ARG_MAX. */
struct fg_ir_value fg_lower_label(struct fg_lower *at, struct fg_ir_value indices,
				  const struct fg_tensor *texts, bool from_end);
/* A constant as I64 (towards 0); batched values towards 0. */
struct fg_ir_value fg_lower_to_whole(struct fg_lower *at, struct fg_ir_value in);

/* ---- integers that wrap, large ones, float64: models/ops_number.c ---- */

/* fg_lower_binary for integers, and for float64 where floats would lose something: false where they
 * do, and *out is not set. */
bool fg_lower_binary_exact(struct fg_lower *at, enum fg_step_kind kind, struct fg_ir_value a,
			   struct fg_ir_value b, struct fg_ir_value *out);
struct fg_ir_value fg_lower_f64_activation(struct fg_lower *at, enum fg_activation activation,
					   float alpha, float beta, struct fg_ir_value in);
/* fg_lower_over_last of kinds REDUCE_SUM .. ARG_MIN, for batched values that are no floats. */
struct fg_ir_value fg_lower_wide_over_last(struct fg_lower *at, enum fg_step_kind kind,
					   uint32_t axes, struct fg_ir_value in);
/* As numbers of that type (`integer`: of I64), as Cast does it in onnxruntime: integers wrap. */
struct fg_ir_value fg_lower_cast(struct fg_lower *at, struct fg_ir_value in,
				 enum fg_element element, struct fg_integer integer);
/* float64 as integers towards 0: what does not fit becomes the nearest that does (`saturate`), or
 * what Cast makes of it. */
struct fg_ir_value fg_lower_near_integer(struct fg_lower *at, struct fg_ir_value in,
					 struct fg_integer integer, bool saturate);
/* An operation on wide numbers, or on what is brought to them. */
struct fg_ir_value fg_lower_wide(struct fg_lower *at, enum fg_wide_operation operation,
				 struct fg_ir_value a, struct fg_ir_value b);
/* `value` holds integers of that type, between low and high: as floats where those are exact. */
struct fg_ir_value fg_lower_as_integer(struct fg_lower *at, struct fg_ir_value value,
				       struct fg_integer integer, double low, double high);
/* |in| of integers. */
struct fg_ir_value fg_lower_abs(struct fg_lower *at, struct fg_ir_value in);
/* Over the last dimension, of batched integers, which wrap. */
struct fg_ir_value fg_lower_wrapping_sum(struct fg_lower *at, struct fg_ir_value in);
/* True when as many times the largest of these integers (or its square) is exact as a float. */
bool fg_lower_is_small(const struct fg_ir_value *whole, double times, bool squared);

#endif
