#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include "models/ops_lower.h"

void fg_lower_fail(struct fg_lower *at, const char *format, ...)
{
	char text[sizeof(at->error->text)];
	va_list args;

	if (at->result)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	at->result = fg_node_error(at->node, at->error, "%s", text);
}

void *fg_lower_alloc(struct fg_lower *at, size_t count, size_t size)
{
	void *memory = NULL;

	if (!at->result)
		at->result = fg_ir_alloc(at->ir, at->node, count, size, &memory, at->error);
	return memory;
}

/* ---- inputs and outputs ---- */

bool fg_lower_has(const struct fg_lower *at, uint32_t i)
{
	return fg_ir_input(at->ir, at->node, i) != NULL;
}

struct fg_ir_value fg_lower_any(struct fg_lower *at, uint32_t i)
{
	const struct fg_ir_value *value = at->result ? NULL : fg_ir_input(at->ir, at->node, i);

	if (!value)
		fg_lower_fail(at, "input %u is left out", i);
	return value ? *value : (struct fg_ir_value){0};
}

struct fg_ir_value fg_lower_input(struct fg_lower *at, uint32_t i)
{
	struct fg_ir_value value = fg_lower_any(at, i);

	if (!at->result && fg_ir_is_text(&value))
		fg_lower_fail(at,
			      "input %u is text (class labels), which cannot be computed with: "
			      "make it a numeric class at export",
			      i);
	return value;
}

struct fg_ir_value fg_lower_constant(struct fg_lower *at, uint32_t i, const char *what)
{
	struct fg_ir_value value = fg_lower_any(at, i);

	if (!at->result && !value.constant)
		fg_lower_fail(at, "%s (input %u) is computed, must be a constant", what, i);
	return value;
}

static struct fg_lower_list list_of(struct fg_lower *at, const struct fg_tensor *tensor,
				    uint32_t rank, const char *what)
{
	struct fg_lower_list list = {.given = true};
	int64_t *numbers;

	if (tensor->element != FG_ELEMENT_I64 || rank > 1) {
		fg_lower_fail(at, "%s must be a list of integers", what);
		return list;
	}
	numbers = fg_lower_alloc(at, tensor->count, sizeof(*numbers));
	if (!numbers)
		return list;
	for (size_t i = 0; i < tensor->count; i++)
		numbers[i] = fg_tensor_i64(tensor, i);
	list.at = numbers;
	list.count = (uint32_t)tensor->count;
	return list;
}

struct fg_lower_list fg_lower_list(struct fg_lower *at, uint32_t i, const char *name)
{
	const struct fg_tensor *tensor = NULL;
	struct fg_ir_value value;
	char what[32];

	if (at->result)
		return (struct fg_lower_list){0};
	if (fg_lower_has(at, i)) {
		snprintf(what, sizeof(what), "input %u", i);
		value = fg_lower_constant(at, i, "a list of integers");
		return at->result ? (struct fg_lower_list){0}
				  : list_of(at, value.constant, value.rank, what);
	}
	if (name)
		at->result = fg_node_tensor(at->node, name, FG_ELEMENT_I64, &tensor, at->error);
	snprintf(what, sizeof(what), "'%s'", name ? name : "");
	return at->result || !tensor ? (struct fg_lower_list){0} : list_of(at, tensor, 1, what);
}

void fg_lower_set(struct fg_lower *at, uint32_t i, struct fg_ir_value value)
{
	if (!at->result)
		fg_ir_set_output(at->ir, at->node, i, &value);
}

int fg_lower_done(struct fg_lower *at, struct fg_ir_value value)
{
	fg_lower_set(at, 0, value);
	return at->result;
}

/* ---- attributes ---- */

float fg_lower_float(struct fg_lower *at, const char *name, float otherwise)
{
	float number = otherwise;

	if (!at->result)
		at->result = fg_node_float(at->node, name, &number, at->error);
	return number;
}

int64_t fg_lower_int(struct fg_lower *at, const char *name, int64_t otherwise)
{
	int64_t integer = otherwise;

	if (!at->result)
		at->result = fg_node_int(at->node, name, &integer, at->error);
	return integer;
}

struct fg_text fg_lower_text(struct fg_lower *at, const char *name, const char *otherwise)
{
	struct fg_text text = {otherwise, strlen(otherwise)};

	if (!at->result)
		at->result = fg_node_text(at->node, name, &text, at->error);
	return text;
}

struct fg_ir_value fg_lower_numbers(struct fg_lower *at, const char *name, enum fg_element element,
				    bool needed)
{
	static const struct fg_tensor none = {.rank = 1, .data = ""};
	const struct fg_tensor *tensor = NULL;

	if (!at->result)
		at->result = fg_node_tensor(at->node, name, element, &tensor, at->error);
	if (!tensor && needed)
		fg_lower_fail(at, "has no attribute '%s'", name);
	return fg_lower_tensor(at, tensor ? tensor : &none);
}

/* ---- facts ---- */

bool fg_lower_is_i64(const struct fg_ir_value *value)
{
	return value->constant && value->constant->element == FG_ELEMENT_I64;
}

bool fg_lower_is_whole(const struct fg_ir_value *value)
{
	return fg_ir_is_whole(value);
}

const float *fg_lower_floats(struct fg_lower *at, struct fg_ir_value constant)
{
	const float *floats = NULL;

	if (!at->result)
		at->result = fg_ir_floats(at->ir, at->node, &constant, &floats, at->error);
	return at->result ? NULL : floats;
}

float fg_lower_exact(struct fg_lower *at, int64_t number)
{
	const float rounded = (float)number;

	if (rounded >= 0x1p63f || (int64_t)rounded != number)
		fg_lower_fail(at,
			      "%lld is too large: float32 holds whole numbers up to 2^24, and not "
			      "all above",
			      (long long)number);
	return (float)number;
}

const float *fg_lower_exact_floats(struct fg_lower *at, struct fg_ir_value constant)
{
	for (size_t i = 0;
	     !at->result && fg_lower_is_i64(&constant) && i < constant.constant->count; i++)
		fg_lower_exact(at, fg_tensor_i64(constant.constant, i));
	return fg_lower_floats(at, constant);
}

uint32_t fg_lower_axis(struct fg_lower *at, int64_t axis, uint32_t rank)
{
	if (axis >= -(int64_t)rank && axis < (int64_t)rank)
		return (uint32_t)(axis < 0 ? axis + rank : axis);
	fg_lower_fail(at, "axis %lld is outside of %u dimension(s)", (long long)axis, rank);
	return 0;
}

uint32_t fg_lower_inner_axis(struct fg_lower *at, const struct fg_ir_value *value, int64_t axis)
{
	uint32_t inner = fg_lower_axis(at, axis, value->rank);

	if (!inner && !value->constant)
		fg_lower_fail(at,
			      "axis %lld is the batch: rows of a batch would be mixed; choose "
			      "another axis at export",
			      (long long)axis);
	return inner;
}

/* ---- values from values ---- */

/* `value`, which was made with at->result. */
static struct fg_ir_value made(struct fg_lower *at, struct fg_ir_value value)
{
	if (at->result == -ENOMEM)
		fg_node_error(at->node, at->error, "out of memory");
	return value;
}

struct fg_ir_value fg_lower_tensor(struct fg_lower *at, const struct fg_tensor *tensor)
{
	struct fg_ir_value value;

	if (at->result)
		return (struct fg_ir_value){0};
	value = made(at, fg_ir_constant(at->ir, tensor->element, tensor->rank, tensor->dims,
					tensor->data, &at->result));
	value.integer = tensor->integer;
	return value;
}

struct fg_ir_value fg_lower_number(struct fg_lower *at, float number)
{
	if (at->result)
		return (struct fg_ir_value){0};
	return made(at, fg_ir_number(at->ir, number, &at->result));
}

struct fg_ir_value fg_lower_number_like(struct fg_lower *at, const struct fg_ir_value *like,
					int32_t number)
{
	struct fg_ir_value value;

	if (!fg_lower_is_whole(like))
		return fg_lower_number(at, (float)number);
	value = fg_lower_whole_number(at, number);
	value.integer = like->integer;
	return value;
}

struct fg_ir_value fg_lower_whole_number(struct fg_lower *at, int64_t number)
{
	struct fg_tensor tensor = {.element = FG_ELEMENT_I64, .count = 1};
	int64_t *data;

	data = fg_lower_alloc(at, 1, sizeof(*data));
	if (data)
		*data = number;
	tensor.data = data;
	return fg_lower_tensor(at, &tensor);
}

/* Of those that ONNX has for integers. */
static bool keeps_whole(enum fg_activation activation)
{
	return activation == FG_ACTIVATION_ABS || activation == FG_ACTIVATION_SIGN ||
	       activation == FG_ACTIVATION_RELU || activation == FG_ACTIVATION_CLIP ||
	       activation == FG_ACTIVATION_NOT;
}

static bool gives_float(enum fg_activation activation)
{
	return activation != FG_ACTIVATION_IS_NAN && activation != FG_ACTIVATION_NOT;
}

/* Of those that give floats: nothing is rounded to one. */
static bool is_exact(enum fg_activation activation)
{
	return activation == FG_ACTIVATION_NONE || activation == FG_ACTIVATION_RELU ||
	       activation == FG_ACTIVATION_ABS ||
	       (activation >= FG_ACTIVATION_SIGN && activation <= FG_ACTIVATION_TRUNC);
}

/* Doubles that no float stands for. */
static bool is_wide_float(const struct fg_ir_value *value)
{
	return value->constant ? value->constant->element == FG_ELEMENT_F64
			       : value->form == FG_IR_F64;
}

struct fg_ir_value fg_lower_activation(struct fg_lower *at, enum fg_activation activation,
				       float alpha, float beta, struct fg_ir_value in)
{
	struct fg_ir_value out = {0};

	if (isnan(alpha) || isnan(beta))
		fg_lower_fail(at, "a parameter is not a number");
	if (activation != FG_ACTIVATION_NONE && gives_float(activation) && is_wide_float(&in))
		return fg_lower_f64_activation(at, activation, alpha, beta, in);
	if (!at->result)
		at->result = fg_ir_unary(at->ir, at->node, &in, activation, alpha, beta, &out,
					 at->error);
	out.whole = !gives_float(activation) || (in.whole && keeps_whole(activation));
	out.is_double = in.is_double && is_exact(activation);
	if (!gives_float(activation)) {
		out.integer.bits = 1;
		out.bounded = true;
		out.high = 1;
	}
	if (fg_lower_is_i64(&in) && keeps_whole(activation))
		return fg_lower_to_whole(at, out);
	return out;
}

struct fg_ir_value fg_lower_unary(struct fg_lower *at, enum fg_activation activation,
				  struct fg_ir_value in)
{
	return fg_lower_activation(at, activation, 0, 0, in);
}

struct fg_ir_value fg_lower_binary(struct fg_lower *at, enum fg_step_kind kind,
				   struct fg_ir_value a, struct fg_ir_value b)
{
	bool truth = kind >= FG_STEP_LESS && kind <= FG_STEP_EQUAL;
	struct fg_ir_value out = {0};

	if (fg_lower_binary_exact(at, kind, a, b, &out))
		return out;
	if (!at->result)
		at->result = fg_ir_binary(at->ir, at->node, kind, &a, &b, &out, at->error);
	out.whole = truth;
	if (truth) {
		out.integer.bits = 1;
		out.bounded = true;
		out.high = 1;
	}
	return out;
}

struct fg_ir_value fg_lower_select(struct fg_lower *at, struct fg_ir_value condition,
				   struct fg_ir_value a, struct fg_ir_value b)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_select(at->ir, at->node, &condition, &a, &b, &out, at->error);
	out.whole = fg_lower_is_whole(&a) && fg_lower_is_whole(&b);
	out.is_double = a.is_double || b.is_double || out.form == FG_IR_F64;
	out.integer = a.constant ? b.integer : a.integer;
	if (!out.constant && out.whole) {
		double low, high;

		fg_ir_range(&a, &out.low, &out.high);
		fg_ir_range(&b, &low, &high);
		out.low = low < out.low ? low : out.low;
		out.high = high > out.high ? high : out.high;
		out.bounded = true;
	}
	return out;
}

static void keep_range(struct fg_ir_value *out, const struct fg_ir_value *in)
{
	out->integer = in->integer;
	out->bounded = in->bounded;
	out->low = in->low;
	out->high = in->high;
	out->is_double = in->is_double;
}

struct fg_ir_value fg_lower_over_last(struct fg_lower *at, enum fg_step_kind kind, uint32_t axes,
				      struct fg_ir_value in)
{
	struct fg_ir_value out = {0};

	if (!at->result && !in.constant && in.form != FG_IR_F32 && kind >= FG_STEP_REDUCE_SUM &&
	    kind <= FG_STEP_ARG_MIN)
		return fg_lower_wide_over_last(at, kind, axes, in);
	if (!at->result)
		at->result = fg_ir_over_last(at->ir, at->node, kind, &in, axes, 0, NULL, NULL, &out,
					     at->error);
	out.whole = kind == FG_STEP_ARG_MAX || kind == FG_STEP_ARG_MIN ||
		    (in.whole && (kind == FG_STEP_REDUCE_SUM || kind == FG_STEP_REDUCE_MIN ||
				  kind == FG_STEP_REDUCE_MAX || kind == FG_STEP_REDUCE_L1));
	if (kind == FG_STEP_REDUCE_MIN || kind == FG_STEP_REDUCE_MAX)
		keep_range(&out, &in);
	if (kind == FG_STEP_ARG_MAX || kind == FG_STEP_ARG_MIN) {
		out.bounded = true;
		out.high = FG_IR_MAX_COLS;
	}
	return out;
}

struct fg_ir_value fg_lower_reshape(struct fg_lower *at, struct fg_ir_value in, uint32_t rank,
				    const int64_t *dims)
{
	struct fg_ir_value out = in;

	if (!at->result)
		at->result = fg_ir_reshape(at->node, &in, rank, dims, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_unsqueeze(struct fg_lower *at, struct fg_ir_value in, uint32_t axis)
{
	int64_t dims[FG_GRAPH_MAX_RANK + 1];

	if (in.rank >= FG_GRAPH_MAX_RANK)
		fg_lower_fail(at, "more than %d dimensions", FG_GRAPH_MAX_RANK);
	if (at->result)
		return in;
	memcpy(dims, in.dims, axis * sizeof(*dims));
	dims[axis] = 1;
	memcpy(dims + axis + 1, in.dims + axis, (in.rank - axis) * sizeof(*dims));
	return fg_lower_reshape(at, in, in.rank + 1, dims);
}

struct fg_ir_value fg_lower_transpose(struct fg_lower *at, struct fg_ir_value in,
				      const uint32_t *order)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_transpose(at->ir, at->node, &in, order, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_move_axis(struct fg_lower *at, struct fg_ir_value in, uint32_t from,
				      uint32_t to)
{
	uint32_t order[FG_GRAPH_MAX_RANK];

	if (at->result || from == to)
		return in;
	for (uint32_t i = 0, next = 0; i < in.rank; i++) {
		next += next == from;
		order[i] = i == to ? from : next++;
	}
	return fg_lower_transpose(at, in, order);
}

struct fg_ir_value fg_lower_take(struct fg_lower *at, struct fg_ir_value in, uint32_t axis,
				 const uint32_t *index, uint32_t count)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_take(at->ir, at->node, &in, axis, index, count, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_take_range(struct fg_lower *at, struct fg_ir_value in, uint32_t axis,
				       int64_t first, int64_t step, uint32_t count)
{
	uint32_t *index = fg_lower_alloc(at, count, sizeof(*index));

	if (!index || (count == in.dims[axis] && step == 1))
		return in;
	for (uint32_t i = 0; i < count; i++)
		index[i] = (uint32_t)(first + i * step);
	return fg_lower_take(at, in, axis, index, count);
}

struct fg_ir_value fg_lower_expand(struct fg_lower *at, struct fg_ir_value in, uint32_t rank,
				   const int64_t *dims)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_expand(at->ir, at->node, &in, rank, dims, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_concat(struct fg_lower *at, const struct fg_ir_value *values,
				   uint32_t count, uint32_t axis)
{
	struct fg_ir_value out = {0};

	if (at->result)
		return out;
	at->result = fg_ir_concat(at->ir, at->node, values, count, axis, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_dense(struct fg_lower *at, struct fg_ir_value in,
				  struct fg_ir_value matrix)
{
	const float *weights = fg_lower_floats(at, matrix);
	struct fg_ir_value out = {0};

	if (matrix.dims[0] > FG_IR_MAX_COLS || matrix.dims[1] > FG_IR_MAX_COLS)
		fg_lower_fail(at, "a matrix (%lld, %lld): at most %u rows and columns are possible",
			      (long long)matrix.dims[0], (long long)matrix.dims[1], FG_IR_MAX_COLS);
	if (!at->result)
		at->result = fg_ir_dense(at->ir, at->node, &in, weights, (uint32_t)matrix.dims[0],
					 (uint32_t)matrix.dims[1], NULL, &out, at->error);
	return out;
}

struct fg_ir_value fg_lower_pick(struct fg_lower *at, struct fg_ir_value in,
				 struct fg_ir_value indices, uint32_t axis)
{
	const struct fg_tensor *tensor = indices.constant;
	uint32_t *index = fg_lower_alloc(at, at->result ? 0 : tensor->count, sizeof(*index));

	if (!at->result && (!fg_lower_is_i64(&indices) || !tensor->count))
		fg_lower_fail(at, "the indices must be integers, and at least one");
	for (size_t i = 0; !at->result && i < tensor->count; i++) {
		int64_t dim = in.dims[axis], number = fg_tensor_i64(tensor, i);

		if (number < -dim || number >= dim)
			fg_lower_fail(at, "index %lld is outside of dimension %u (%lld)",
				      (long long)number, axis, (long long)dim);
		else
			index[i] = (uint32_t)(number < 0 ? number + dim : number);
	}
	if (at->result)
		return in;
	return fg_lower_take(at, in, axis, index, (uint32_t)tensor->count);
}

struct fg_ir_value fg_lower_like_table(struct fg_lower *at, struct fg_ir_value value,
				       const struct fg_ir_value *table)
{
	double low, high;

	if (at->result || !fg_lower_is_i64(table))
		return value;
	fg_ir_range(table, &low, &high);
	return fg_lower_as_integer(at, value, table->integer, low, high);
}

struct fg_ir_value fg_lower_embed(struct fg_lower *at, struct fg_ir_value indices,
				  const float *table, uint32_t entries, uint32_t cols,
				  bool from_end)
{
	struct fg_ir_value out = {0};

	if (!at->result)
		at->result = fg_ir_embed(at->ir, at->node, &indices, table, entries, cols, from_end,
					 &out, at->error);
	return out;
}

/* True when a step makes all of the value's columns that gives whole numbers below `count` only. */
static bool is_below(const struct fg_ir *ir, const struct fg_ir_value *value, size_t count)
{
	for (uint32_t i = ir->step_count; i-- > 0;) {
		const struct fg_ir_step *step = &ir->steps[i];

		if (step->out.rows != value->at.rows || step->out.first != value->at.first ||
		    step->groups * step->out_cols != value->cols)
			continue;
		if (step->kind == FG_STEP_ARG_MAX || step->kind == FG_STEP_ARG_MIN)
			return step->in_cols <= count;
		return step->kind >= FG_STEP_LESS && step->kind <= FG_STEP_EQUAL && count >= 2;
	}
	return false;
}

struct fg_ir_value fg_lower_label(struct fg_lower *at, struct fg_ir_value indices,
				  const struct fg_tensor *texts, bool from_end)
{
	const uint32_t rank = indices.rank;
	int64_t dims[FG_GRAPH_MAX_RANK];
	float *places;

	if (at->result)
		return indices;
	if (!is_below(at->ir, &indices, texts->count)) {
		memcpy(dims, indices.dims, sizeof(dims));
		places = fg_lower_alloc(at, texts->count, sizeof(*places));
		for (size_t i = 0; places && i < texts->count; i++)
			places[i] = (float)i;
		indices = fg_lower_embed(at, indices, places, (uint32_t)texts->count, 1, from_end);
		indices = fg_lower_reshape(at, indices, rank, dims);
		indices.whole = true;
	}
	indices.labels = texts;
	return indices;
}

struct fg_ir_value fg_lower_to_whole(struct fg_lower *at, struct fg_ir_value in)
{
	struct fg_tensor tensor;
	int64_t *whole;

	if (at->result || fg_lower_is_whole(&in))
		return in;
	if (!in.constant && in.form == FG_IR_F64)
		return fg_lower_near_integer(at, in, (struct fg_integer){0}, false);
	if (!in.constant) {
		in = fg_lower_unary(at, FG_ACTIVATION_TRUNC, in);
		in.whole = true;
		in.is_double = false;
		return in;
	}
	tensor = *in.constant;
	whole = fg_lower_alloc(at, tensor.count, sizeof(*whole));
	for (size_t i = 0; whole && i < tensor.count; i++) {
		double number = fg_tensor_number(in.constant, i);

		if (!(fabs(number) < 0x1p63))
			fg_lower_fail(at, "a constant does not fit into an integer");
		else
			whole[i] = (int64_t)number;
	}
	tensor.element = FG_ELEMENT_I64;
	tensor.data = whole;
	tensor.rank = in.rank;
	memcpy(tensor.dims, in.dims, sizeof(tensor.dims));
	return fg_lower_tensor(at, &tensor);
}
