/* Operators that pick, repeat and join parts of rows: Slice, Split, Gather, Concat, Expand, ... */
#include <limits.h>
#include <string.h>
#include "models/ops.h"
#include "models/ops_lower.h"

static int lower_concat(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	int64_t axis = fg_lower_int(&at, "axis", 0);
	struct fg_ir_value *values = fg_lower_alloc(&at, node->input_count, sizeof(*values));
	uint32_t inner = 0;

	for (uint32_t i = 0; i < node->input_count && values; i++) {
		values[i] = fg_lower_input(&at, i);
		inner = fg_lower_inner_axis(&at, &values[i], axis);
	}
	return fg_lower_done(&at, fg_lower_concat(&at, values, node->input_count, inner));
}

/* ---- Split ---- */

/* How long part `i` of `count` is. */
static int64_t part_length(struct fg_lower_list sizes, int64_t all, uint32_t i, uint32_t count)
{
	int64_t each = (all + count - 1) / count, left = all - i * each;

	if (sizes.given)
		return sizes.at[i];
	return left < each ? left : each;
}

static int lower_split(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	uint32_t axis = fg_lower_inner_axis(&at, &x, fg_lower_int(&at, "axis", 0));
	uint32_t count = node->output_count;
	struct fg_lower_list sizes = fg_lower_list(&at, 1, "split");
	int64_t parts = fg_lower_int(&at, "num_outputs", 0), first = 0, all = x.dims[axis];

	if ((sizes.given && sizes.count != count) || (parts && parts != count))
		fg_lower_fail(&at, "splits into another number of parts than its %u outputs",
			      count);
	if (!sizes.given && !parts && all % count)
		fg_lower_fail(&at, "%lld elements do not go into %u equal parts", (long long)all,
			      count);
	for (uint32_t i = 0; i < count && !at.result; i++) {
		int64_t length = part_length(sizes, all, i, count);

		if (length < 1 || length > all - first)
			fg_lower_fail(&at, "part %u has %lld of %lld elements", i,
				      (long long)length, (long long)all);
		else if (fg_ir_wanted(ir, node, i))
			fg_lower_set(&at, i,
				     fg_lower_take_range(&at, x, axis, first, 1, (uint32_t)length));
		first += at.result ? 0 : length;
	}
	if (first != all)
		fg_lower_fail(&at, "the parts have %lld elements, there are %lld", (long long)first,
			      (long long)all);
	return at.result;
}

/* ---- Slice ---- */

static int64_t clamp(int64_t number, int64_t low, int64_t high)
{
	return number < low ? low : number > high ? high : number;
}

/* numpy's start:end:step of a dimension: how many elements, and *start is the first. */
static uint32_t slice_count(int64_t dim, int64_t *start, int64_t end, int64_t step)
{
	*start += *start < 0 ? dim : 0;
	end += end < 0 ? dim : 0;
	if (step > 0) {
		*start = clamp(*start, 0, dim);
		end = clamp(end, 0, dim);
		return end > *start ? (uint32_t)((end - *start - 1) / step + 1) : 0;
	}
	*start = clamp(*start, 0, dim - 1);
	end = clamp(end, -1, dim - 1);
	return end < *start ? (uint32_t)((*start - end - 1) / -step + 1) : 0;
}

/* True when the slice of the batch is all of it. */
static bool takes_batch(const struct fg_lower *at, int64_t start, int64_t end, int64_t step)
{
	int64_t batch = at->ir->batch;

	return start == 0 && step == 1 &&
	       (end >= INT_MAX || end == FG_IR_BATCH ||
		(batch != FG_GRAPH_UNKNOWN && end >= batch));
}

static struct fg_ir_value slice_axis(struct fg_lower *at, struct fg_ir_value x, uint32_t axis,
				     int64_t start, int64_t end, int64_t step)
{
	static const struct fg_tensor empty = {.element = FG_ELEMENT_I64, .rank = 1, .data = ""};
	uint32_t count;

	if (at->result)
		return x;
	if (!axis && !x.constant) {
		if (!takes_batch(at, start, end, step))
			fg_lower_fail(at, "takes some rows of the batch: rows would be mixed; "
					  "slice other dimensions only");
		return x;
	}
	if (!step || start == FG_IR_BATCH || (end == FG_IR_BATCH && step > 0)) {
		fg_lower_fail(at, step ? "slices by the size of the batch" : "the step is 0");
		return x;
	}
	/* A longer step takes one element as well, and -step does not overflow. */
	step = clamp(step, -x.dims[axis] - 1, x.dims[axis] + 1);
	count = slice_count(x.dims[axis], &start, end, step);
	if (!count && fg_lower_is_i64(&x) && x.rank == 1)
		return fg_lower_tensor(at, &empty); /* a shape without dimensions */
	if (!count)
		fg_lower_fail(at, "takes nothing of dimension %u", axis);
	return fg_lower_take_range(at, x, axis, start, step, count);
}

static int lower_slice(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	struct fg_lower_list starts = fg_lower_list(&at, 1, "starts");
	struct fg_lower_list ends = fg_lower_list(&at, 2, "ends");
	struct fg_lower_list axes = fg_lower_list(&at, 3, "axes");
	struct fg_lower_list steps = fg_lower_list(&at, 4, NULL);

	if (starts.count != ends.count || (axes.given && axes.count != starts.count) ||
	    (steps.given && steps.count != starts.count))
		fg_lower_fail(&at, "starts, ends, axes and steps have different lengths");
	for (uint32_t i = 0; i < starts.count && !at.result; i++) {
		uint32_t axis = fg_lower_axis(&at, axes.given ? axes.at[i] : i, x.rank);

		x = slice_axis(&at, x, axis, starts.at[i], ends.at[i],
			       steps.given ? steps.at[i] : 1);
	}
	return fg_lower_done(&at, x);
}

/* ---- Gather, OneHot ---- */

/* In `x`, dimension `axis` becomes those of `indices`. */
static struct fg_ir_value put_dims(struct fg_lower *at, struct fg_ir_value x,
				   const struct fg_ir_value *indices,
				   const struct fg_ir_value *data, uint32_t axis)
{
	int64_t dims[2 * FG_GRAPH_MAX_RANK];
	uint32_t rest = data->rank - axis - 1, rank = axis + indices->rank + rest;

	if (rank > FG_GRAPH_MAX_RANK)
		fg_lower_fail(at, "more than %d dimensions", FG_GRAPH_MAX_RANK);
	if (at->result)
		return x;
	memcpy(dims, data->dims, axis * sizeof(*dims));
	memcpy(dims + axis, indices->dims, indices->rank * sizeof(*dims));
	memcpy(dims + axis + indices->rank, data->dims + axis + 1, rest * sizeof(*dims));
	return fg_lower_reshape(at, x, rank, dims);
}

/* Computed indices: an embedding, or texts. */
static struct fg_ir_value gather_computed(struct fg_lower *at, struct fg_ir_value table,
					  struct fg_ir_value indices, uint32_t axis)
{
	const bool from_end = !fg_lower_int(at, FG_OP_FROM_ZERO, 0);
	struct fg_ir_value out;
	uint64_t cols = 1;

	if (axis || table.dims[0] > INT_MAX)
		fg_lower_fail(at,
			      "computed indices pick along axis %u of a constant, only 0 is "
			      "done: the batch would not stay first",
			      axis);
	if (at->result)
		return table;
	if (table.constant->element == FG_ELEMENT_TEXT && table.rank == 1)
		return fg_lower_label(at, indices, table.constant, from_end);
	for (uint32_t i = 1; i < table.rank; i++)
		cols *= (uint64_t)table.dims[i];
	if (cols > FG_IR_MAX_COLS)
		fg_lower_fail(at, "%llu columns for each index, at most %u are possible",
			      (unsigned long long)cols, FG_IR_MAX_COLS);
	out = fg_lower_embed(at, indices, fg_lower_exact_floats(at, table), (uint32_t)table.dims[0],
			     (uint32_t)cols, from_end);
	out = fg_lower_like_table(at, out, &table);
	return put_dims(at, out, &indices, &table, 0);
}

static int lower_gather(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	int64_t wanted = fg_lower_int(&at, "axis", 0);
	struct fg_ir_value data = fg_lower_any(&at, 0), indices = fg_lower_input(&at, 1);
	uint32_t axis = fg_lower_axis(&at, wanted, data.rank);

	if (!indices.constant && !data.constant)
		fg_lower_fail(&at, "both the data and the indices are computed: only a constant "
				   "table, or constant indices, are done");
	if (at.result)
		return at.result;
	if (!indices.constant)
		return fg_lower_done(&at, gather_computed(&at, data, indices, axis));
	if (!data.constant && !axis)
		fg_lower_fail(&at, "picks rows of the batch: rows would be mixed");
	return fg_lower_done(&at, put_dims(&at, fg_lower_pick(&at, data, indices, axis), &indices,
					   &data, axis));
}

/* 0, 1, ... count - 1 */
static struct fg_ir_value counting(struct fg_lower *at, uint32_t count)
{
	float *numbers = fg_lower_alloc(at, count, sizeof(*numbers));
	struct fg_tensor tensor = {.element = FG_ELEMENT_F32,
				   .rank = 1,
				   .dims = {count},
				   .count = count,
				   .data = numbers};

	for (uint32_t i = 0; numbers && i < count; i++)
		numbers[i] = (float)i;
	return fg_lower_tensor(at, &tensor);
}

/* values[1] where the (last) new dimension's place equals the index, else values[0]. */
static struct fg_ir_value one_hot(struct fg_lower *at, struct fg_ir_value indices, uint32_t depth,
				  struct fg_ir_value off, struct fg_ir_value on)
{
	struct fg_ir_value from_end =
		fg_lower_binary(at, FG_STEP_ADD, indices, fg_lower_number(at, (float)depth));
	struct fg_ir_value negative =
		fg_lower_binary(at, FG_STEP_LESS, indices, fg_lower_number(at, 0));

	indices = fg_lower_select(at, negative, from_end, indices);
	indices = fg_lower_unsqueeze(at, indices, indices.rank);
	indices = fg_lower_binary(at, FG_STEP_EQUAL, indices, counting(at, depth));
	return fg_lower_select(at, indices, on, off);
}

static int lower_one_hot(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value indices = fg_lower_to_whole(&at, fg_lower_input(&at, 0)), out;
	struct fg_ir_value depth = fg_lower_constant(&at, 1, "the depth");
	struct fg_ir_value values = fg_lower_constant(&at, 2, "the values");
	uint32_t axis = fg_lower_axis(&at, fg_lower_int(&at, "axis", -1), indices.rank + 1);
	const float *number = fg_lower_floats(&at, depth);

	if (!at.result &&
	    (depth.constant->count != 1 || !(*number >= 1) || *number > (float)FG_IR_MAX_COLS))
		fg_lower_fail(&at, "the depth must be 1 to %u", FG_IR_MAX_COLS);
	if (!at.result && (values.rank != 1 || values.dims[0] != 2))
		fg_lower_fail(&at, "needs two values, for off and on");
	if (!axis && !indices.constant)
		fg_lower_fail(&at, "axis 0 is the batch, which must stay first");
	if (at.result)
		return at.result;
	out = one_hot(&at, indices, (uint32_t)*number,
		      fg_lower_reshape(&at, fg_lower_take_range(&at, values, 0, 0, 1, 1), 0, NULL),
		      fg_lower_reshape(&at, fg_lower_take_range(&at, values, 0, 1, 1, 1), 0, NULL));
	return fg_lower_done(&at, fg_lower_move_axis(&at, out, indices.rank, axis));
}

/* ---- Tile, Expand ---- */

static int lower_tile(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	struct fg_lower_list repeats = fg_lower_list(&at, 1, NULL);

	if (repeats.count != x.rank)
		fg_lower_fail(&at, "repeats %u dimensions, input 0 has %u", repeats.count, x.rank);
	for (uint32_t i = 0; i < x.rank && !at.result; i++) {
		int64_t times = repeats.at[i], dim = x.dims[i], all = 0;
		uint32_t *index;

		if (times == 1)
			continue;
		if (!i && !x.constant)
			fg_lower_fail(&at, "repeats the batch: only other dimensions can be");
		if (times < 1 || __builtin_mul_overflow(dim, times, &all) || all > FG_IR_MAX_COLS)
			fg_lower_fail(&at, "repeats dimension %u %lld times", i, (long long)times);
		if (at.result)
			return at.result;
		index = fg_lower_alloc(&at, (size_t)all, sizeof(*index));
		for (int64_t j = 0; index && j < all; j++)
			index[j] = (uint32_t)(j % dim);
		x = fg_lower_take(&at, x, i, index, (uint32_t)all);
	}
	return fg_lower_done(&at, x);
}

/* Dimension `i` of x next to `target`, both broadcast. */
static int64_t expand_dim(struct fg_lower *at, const struct fg_ir_value *x, int64_t dim, uint32_t i,
			  int64_t target)
{
	bool batch = target == FG_IR_BATCH || (!x->constant && target == at->ir->batch);

	if (dim == FG_GRAPH_UNKNOWN && (target == 1 || batch))
		return dim;
	if (dim == 1 && batch && !i)
		return FG_GRAPH_UNKNOWN;
	if (dim != FG_GRAPH_UNKNOWN && target >= 1 && (dim == target || dim == 1 || target == 1))
		return target == 1 ? dim : target;
	if (target == FG_IR_BATCH || dim == FG_GRAPH_UNKNOWN)
		fg_lower_fail(at, "expands the batch, or something to it that does not stand in "
				  "its place: rows of a batch would be mixed");
	else
		fg_lower_fail(at, "expands dimension %u from %lld to %lld", i, (long long)dim,
			      (long long)target);
	return 1;
}

static int lower_expand(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_input(&at, 0);
	struct fg_lower_list shape = fg_lower_list(&at, 1, NULL);
	uint32_t rank = shape.count > x.rank ? shape.count : x.rank;
	int64_t dims[FG_GRAPH_MAX_RANK];

	if (rank > FG_GRAPH_MAX_RANK)
		fg_lower_fail(&at, "more than %d dimensions", FG_GRAPH_MAX_RANK);
	if (rank > x.rank && !x.constant)
		fg_lower_fail(&at, "puts dimensions before the batch, which must stay the first");
	for (uint32_t i = 0; i < rank && !at.result; i++) {
		uint32_t new = rank - x.rank, left = rank - shape.count;

		dims[i] = expand_dim(&at, &x, i < new ? 1 : x.dims[i - new], i,
				     i < left ? 1 : shape.at[i - left]);
	}
	return fg_lower_done(&at, fg_lower_expand(&at, x, rank, dims));
}

const struct fg_op fg_ops_pick[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "Concat", 1, FG_OP_MANY, 1, lower_concat, 0},
	{"", "Expand", 2, 2, 1, lower_expand, 0},
	{"", "Gather", 2, 2, 1, lower_gather, 0},
	{"", "OneHot", 3, 3, 1, lower_one_hot, 0},
	{"", "Slice", 1, 5, 1, lower_slice, 0},
	{"", "Split", 1, 2, FG_OP_MANY, lower_split, 0},
	{"", "Tile", 2, 2, 1, lower_tile, 0},
	{0},
};
