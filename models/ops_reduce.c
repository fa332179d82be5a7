/* Reductions over dimensions of a row: Reduce*, ArgMax, ArgMin. */
#include <math.h>
#include <string.h>
#include "models/ops.h"
#include "models/ops_lower.h"

/* fg_op.variant: a step kind, or one of these, which are made of several. */
enum {
	PRODUCT = FG_STEP_KIND_COUNT,
	SUM_SQUARE,
	LOG_SUM,
	LOG_SUM_EXP,
};

/* Halves the last dimension until it is 1. I64 stays I64, for the sizes of shapes. */
static struct fg_ir_value product(struct fg_lower *at, struct fg_ir_value x)
{
	uint32_t last = x.rank - 1, half;
	struct fg_ir_value parts[2];

	while (!at->result && x.dims[last] > 1) {
		uint32_t cols = (uint32_t)x.dims[last];

		half = cols / 2;
		parts[0] = fg_lower_binary(at, FG_STEP_MUL,
					   fg_lower_take_range(at, x, last, 0, 1, half),
					   fg_lower_take_range(at, x, last, half, 1, half));
		if (cols % 2)
			parts[1] = fg_lower_take_range(at, x, last, cols - 1, 1, 1);
		x = cols % 2 ? fg_lower_concat(at, parts, 2, last) : parts[0];
	}
	return x;
}

/* max + log(sum(exp(x - max))), with 0 for a maximum that is infinite. */
static struct fg_ir_value log_sum_exp(struct fg_lower *at, struct fg_ir_value x, uint32_t axes)
{
	struct fg_ir_value max = fg_lower_over_last(at, FG_STEP_REDUCE_MAX, axes, x), infinite;

	infinite = fg_lower_binary(at, FG_STEP_EQUAL, fg_lower_unary(at, FG_ACTIVATION_ABS, max),
				   fg_lower_number(at, INFINITY));
	max = fg_lower_select(at, infinite, fg_lower_number(at, 0), max);
	x = fg_lower_unary(at, FG_ACTIVATION_EXP, fg_lower_binary(at, FG_STEP_SUB, x, max));
	x = fg_lower_over_last(at, FG_STEP_REDUCE_SUM, axes, x);
	return fg_lower_binary(at, FG_STEP_ADD, fg_lower_unary(at, FG_ACTIVATION_LOG, x), max);
}

static struct fg_ir_value reduce_last(struct fg_lower *at, uint32_t variant, struct fg_ir_value x,
				      uint32_t axes)
{
	int64_t dims[FG_GRAPH_MAX_RANK];

	switch (variant) {
	case PRODUCT:
		if (at->result)
			return x;
		memcpy(dims, x.dims, sizeof(dims));
		for (uint32_t i = x.rank - axes + 1; i < x.rank; i++)
			dims[x.rank - axes] *= x.dims[i];
		return product(at, fg_lower_reshape(at, x, x.rank - axes + 1, dims));
	case SUM_SQUARE:
		return fg_lower_over_last(at, FG_STEP_REDUCE_SUM, axes,
					  fg_lower_binary(at, FG_STEP_MUL, x, x));
	case LOG_SUM:
		return fg_lower_unary(at, FG_ACTIVATION_LOG,
				      fg_lower_over_last(at, FG_STEP_REDUCE_SUM, axes, x));
	case LOG_SUM_EXP:
		return log_sum_exp(at, x, axes);
	default:
		return fg_lower_over_last(at, variant, axes, x);
	}
}

/* Over no dimension at all, what else there is to do is still done. */
static struct fg_ir_value reduce_nothing(struct fg_lower *at, uint32_t variant,
					 struct fg_ir_value x)
{
	switch (variant) {
	case FG_STEP_REDUCE_L1:
	case FG_STEP_REDUCE_L2:
		return fg_lower_unary(at, FG_ACTIVATION_ABS, x);
	case SUM_SQUARE:
		return fg_lower_binary(at, FG_STEP_MUL, x, x);
	case LOG_SUM:
		return fg_lower_unary(at, FG_ACTIVATION_LOG, x);
	default:
		return x;
	}
}

/* Which dimensions of x go away; the batch is refused. */
static uint32_t reduced_axes(struct fg_lower *at, const struct fg_ir_value *x,
			     struct fg_lower_list axes, bool *reduced)
{
	uint32_t count = 0;

	if (!axes.count && !x->constant)
		fg_lower_fail(at, "reduces all dimensions, the batch too: rows of a batch would be "
				  "mixed; name the axes at export");
	for (uint32_t i = 0; i < axes.count && !at->result; i++)
		reduced[fg_lower_inner_axis(at, x, axes.at[i])] = true;
	for (uint32_t i = 0; i < x->rank && !at->result; i++) {
		reduced[i] |= !axes.count;
		count += reduced[i];
	}
	return count;
}

/* Those dimensions go last, are reduced together, and stay as 1 or not at all. */
static struct fg_ir_value reduce(struct fg_lower *at, uint32_t variant, struct fg_ir_value x,
				 const bool *reduced, uint32_t count, bool keep)
{
	uint32_t order[FG_GRAPH_MAX_RANK], kept = 0, gone = x.rank - count, rank = 0;
	int64_t dims[FG_GRAPH_MAX_RANK];
	struct fg_ir_value out;

	if (at->result)
		return x;
	for (uint32_t i = 0; i < x.rank; i++) {
		order[reduced[i] ? gone++ : kept++] = i;
		if (!reduced[i] || keep)
			dims[rank++] = reduced[i] ? 1 : x.dims[i];
	}
	out = count ? reduce_last(at, variant, fg_lower_transpose(at, x, order), count)
		    : reduce_nothing(at, variant, x);
	return fg_lower_reshape(at, out, rank, dims);
}

/* True when floats reduce these integers exactly, or I64 does (products of shapes). */
static bool is_exact(const struct fg_ir_value *x, uint32_t variant, const bool *reduced)
{
	double times = 1;

	for (uint32_t i = 0; i < x->rank; i++)
		times *= reduced[i] ? (double)x->dims[i] : 1;
	switch (variant) {
	case FG_STEP_REDUCE_MIN:
	case FG_STEP_REDUCE_MAX:
		return !x->constant || fg_ir_fits_f32(x);
	case FG_STEP_REDUCE_SUM:
	case FG_STEP_REDUCE_MEAN:
	case FG_STEP_REDUCE_L1:
		return fg_lower_is_small(x, times, false);
	case SUM_SQUARE:
		return fg_lower_is_small(x, times, true);
	default:
		return variant == PRODUCT && x->constant;
	}
}

/* Where floats do not do by float64, and what does not fit the type is its nearest end, as in
 * onnxruntime. */
static struct fg_ir_value reduce_integers(struct fg_lower *at, uint32_t variant,
					  struct fg_ir_value x, const bool *reduced, uint32_t count,
					  bool keep)
{
	const struct fg_integer none = {0}, integer = x.integer;
	struct fg_ir_value out;

	if (is_exact(&x, variant, reduced)) {
		out = fg_lower_to_whole(at, reduce(at, variant, x, reduced, count, keep));
		out.integer = integer;
		return out;
	}
	if (x.constant)
		fg_lower_fail(at, "reduces constant integers that are too large for floats: fold "
				  "it at export");
	x = fg_lower_cast(at, x, FG_ELEMENT_F64, none);
	if (!at->result)
		at->result = fg_ir_to_form(at->ir, at->node, &x, FG_IR_F64, &x, at->error);
	return fg_lower_near_integer(at, reduce(at, variant, x, reduced, count, keep), integer,
				     true);
}

static int lower_reduce(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_lower_list axes = fg_lower_list(&at, 1, "axes");
	bool keep = fg_lower_int(&at, "keepdims", 1);
	bool nothing = fg_lower_int(&at, "noop_with_empty_axes", 0) && !axes.count;
	struct fg_ir_value x = fg_lower_input(&at, 0), out;
	bool reduced[FG_GRAPH_MAX_RANK] = {false};
	uint32_t count = nothing ? 0 : reduced_axes(&at, &x, axes, reduced);

	if (!at.result && fg_lower_is_whole(&x))
		out = reduce_integers(&at, node->op->variant, x, reduced, count, keep);
	else
		out = reduce(&at, node->op->variant, x, reduced, count, keep);
	return fg_lower_done(&at, out);
}

/* fg_op.variant: ARG_MAX, ARG_MIN. The last of equals is the first from behind. */
static int lower_arg(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool keep = fg_lower_int(&at, "keepdims", 1);
	bool from_behind = fg_lower_int(&at, "select_last_index", 0);
	struct fg_ir_value x = fg_lower_input(&at, 0), out;
	uint32_t axis = fg_lower_inner_axis(&at, &x, fg_lower_int(&at, "axis", 0));
	bool reduced[FG_GRAPH_MAX_RANK] = {false};
	int64_t last;

	if (at.result)
		return at.result;
	reduced[axis] = true;
	last = x.dims[axis] - 1;
	if (from_behind)
		x = fg_lower_take_range(&at, x, axis, last, -1, (uint32_t)last + 1);
	out = reduce(&at, node->op->variant, x, reduced, 1, keep);
	if (from_behind)
		out = fg_lower_binary(&at, FG_STEP_SUB,
				      fg_lower_number_like(&at, &out, (int32_t)last), out);
	return fg_lower_done(&at, fg_lower_to_whole(&at, out));
}

const struct fg_op fg_ops_reduce[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "ArgMax", 1, 1, 1, lower_arg, FG_STEP_ARG_MAX},
	{"", "ArgMin", 1, 1, 1, lower_arg, FG_STEP_ARG_MIN},
	{"", "ReduceL1", 1, 2, 1, lower_reduce, FG_STEP_REDUCE_L1},
	{"", "ReduceL2", 1, 2, 1, lower_reduce, FG_STEP_REDUCE_L2},
	{"", "ReduceLogSum", 1, 2, 1, lower_reduce, LOG_SUM},
	{"", "ReduceLogSumExp", 1, 2, 1, lower_reduce, LOG_SUM_EXP},
	{"", "ReduceMax", 1, 2, 1, lower_reduce, FG_STEP_REDUCE_MAX},
	{"", "ReduceMean", 1, 2, 1, lower_reduce, FG_STEP_REDUCE_MEAN},
	{"", "ReduceMin", 1, 2, 1, lower_reduce, FG_STEP_REDUCE_MIN},
	{"", "ReduceProd", 1, 2, 1, lower_reduce, PRODUCT},
	{"", "ReduceSum", 1, 2, 1, lower_reduce, FG_STEP_REDUCE_SUM},
	{"", "ReduceSumSquare", 1, 2, 1, lower_reduce, SUM_SQUARE},
	{0},
};
