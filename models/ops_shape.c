/* Operators that change how the elements of a row are arranged, or ask for it. */
#include <string.h>
#include "models/ops.h"
#include "models/ops_lower.h"

static int lower_identity(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};

	return fg_lower_done(&at, fg_lower_any(&at, 0));
}

/* Output 1, the mask, is all true at inference. */
static int lower_dropout(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_input(&at, 0), training;
	const float *flag = NULL;

	if (fg_lower_has(&at, 2)) {
		training = fg_lower_constant(&at, 2, "training_mode");
		flag = fg_lower_floats(&at, training);
	}
	if (flag && *flag != 0)
		fg_lower_fail(&at, "is in training mode: export the model for inference");
	if (node->output_count > 1 && fg_ir_wanted(ir, node, 1))
		fg_lower_set(&at, 1,
			     fg_lower_expand(&at, fg_lower_number(&at, 1), in.rank, in.dims));
	return fg_lower_done(&at, in);
}

/* ---- Reshape, Flatten, Squeeze, Unsqueeze ---- */

static bool keeps_batch(const struct fg_lower *at, int64_t target, bool allow_zero)
{
	return target == -1 || target == FG_IR_BATCH || (target == 0 && !allow_zero) ||
	       (target == at->ir->batch && target != FG_GRAPH_UNKNOWN);
}

/* What `x` becomes; one number may be -1 and is then what is left. */
static void reshape_dims(struct fg_lower *at, const struct fg_ir_value *x,
			 struct fg_lower_list target, bool allow_zero, int64_t *dims)
{
	uint32_t first = x->constant ? 0 : 1, open = UINT32_MAX;
	uint64_t total = first ? x->cols : x->constant->count, known = 1;

	if (first && (!target.count || !keeps_batch(at, target.at[0], allow_zero))) {
		fg_lower_fail(at,
			      "the new shape starts with %lld, must start with the batch (-1, 0 or "
			      "its size): export the model with an open batch dimension",
			      target.count ? (long long)target.at[0] : 0);
		return;
	}
	if (first && target.at[0] == -1)
		open = 0;
	dims[0] = FG_GRAPH_UNKNOWN;
	for (uint32_t i = first; i < target.count; i++) {
		bool same = target.at[i] == 0 && !allow_zero && i < x->rank;

		dims[i] = same ? x->dims[i] : target.at[i];
		if (dims[i] == -1 && open == UINT32_MAX)
			open = i;
		else if (dims[i] < 1 || __builtin_mul_overflow(known, (uint64_t)dims[i], &known))
			known = 0;
	}
	if (open >= first && open != UINT32_MAX && known && total % known == 0) {
		dims[open] = (int64_t)(total / known);
		known = total;
	}
	if (known != total && !first)
		fg_lower_fail(at, "%llu numbers do not fill the new shape",
			      (unsigned long long)total);
	else if (known != total)
		fg_lower_fail(at,
			      "makes rows of %llu columns from %llu: rows of a batch would be "
			      "mixed",
			      (unsigned long long)known, (unsigned long long)total);
}

/* (batch, ..., k) becomes (-1, k). */
static bool merges(const struct fg_ir_value *x, struct fg_lower_list target)
{
	return !x->constant && x->rank > 2 && target.count == 2 && target.at[0] == -1 &&
	       target.at[1] == x->dims[x->rank - 1] && target.at[1] != x->cols;
}

/* Dimensions that are "as before" would be those of all rows together. */
static void check_parted(struct fg_lower *at, struct fg_lower_list target, bool allow_zero)
{
	for (uint32_t i = 0; i < target.count && !allow_zero; i++)
		if (target.at[i] == 0)
			fg_lower_fail(at, "takes a dimension over from rows that are mixed");
}

static int lower_reshape(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool allow_zero = fg_lower_int(&at, "allowzero", 0);
	struct fg_ir_value x = fg_lower_any(&at, 0);
	struct fg_lower_list target = fg_lower_list(&at, 1, NULL);
	int64_t dims[FG_GRAPH_MAX_RANK];

	if (target.count > FG_GRAPH_MAX_RANK)
		fg_lower_fail(&at, "%u dimensions, at most %d are possible", target.count,
			      FG_GRAPH_MAX_RANK);
	if (x.merged)
		check_parted(&at, target, allow_zero);
	if (!at.result && merges(&x, target)) {
		x.merged = true;
		return fg_lower_done(&at, x);
	}
	if (!at.result)
		reshape_dims(&at, &x, target, allow_zero, dims);
	return fg_lower_done(&at, fg_lower_reshape(&at, x, target.count, dims));
}

/* Two dimensions: those before `axis` together, and the others. */
static int lower_flatten(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	int64_t axis = fg_lower_int(&at, "axis", 1), dims[2] = {1, 1};
	struct fg_ir_value x = fg_lower_any(&at, 0);

	if (axis < -(int64_t)x.rank || axis > (int64_t)x.rank)
		fg_lower_fail(&at, "axis %lld is outside of %u dimension(s)", (long long)axis,
			      x.rank);
	if (at.result)
		return at.result;
	axis += axis < 0 ? x.rank : 0;
	for (uint32_t i = x.constant ? 0 : 1; i < x.rank; i++)
		dims[i >= axis] *= x.dims[i];
	if (!x.constant && (axis == 0 || dims[0] != 1))
		fg_lower_fail(&at,
			      "axis %lld makes one dimension of the batch and others: rows of a "
			      "batch would be mixed, only 1 keeps them apart",
			      (long long)axis);
	if (!x.constant)
		dims[0] = FG_GRAPH_UNKNOWN;
	return fg_lower_done(&at, fg_lower_reshape(&at, x, 2, dims));
}

static int lower_squeeze(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	struct fg_lower_list axes = fg_lower_list(&at, 1, "axes");
	bool gone[FG_GRAPH_MAX_RANK] = {false};
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t rank = 0;

	for (uint32_t i = 0; i < axes.count && !at.result; i++)
		gone[fg_lower_inner_axis(&at, &x, axes.at[i])] = true;
	if (!axes.count && !x.constant && ir->batch == 1)
		fg_lower_fail(&at, "may drop the batch, which is 1 in the file: name the axes, or "
				   "export the model with an open batch dimension");
	for (uint32_t i = 0; i < x.rank && !at.result; i++) {
		if (gone[i] && x.dims[i] != 1)
			fg_lower_fail(&at, "dimension %u is %lld, not 1", i, (long long)x.dims[i]);
		gone[i] |= !axes.count && x.dims[i] == 1;
		if (!gone[i])
			dims[rank++] = x.dims[i];
	}
	return fg_lower_done(&at, fg_lower_reshape(&at, x, rank, dims));
}

static int lower_unsqueeze(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	struct fg_lower_list axes = fg_lower_list(&at, 1, "axes");
	bool added[FG_GRAPH_MAX_RANK] = {false};
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t rank = x.rank + axes.count;

	if (rank > FG_GRAPH_MAX_RANK || rank < x.rank)
		fg_lower_fail(&at, "more than %d dimensions", FG_GRAPH_MAX_RANK);
	for (uint32_t i = 0; i < axes.count && !at.result; i++) {
		uint32_t axis = fg_lower_axis(&at, axes.at[i], rank);

		if (added[axis])
			fg_lower_fail(&at, "axis %u is there twice", axis);
		added[axis] = true;
	}
	if (added[0] && !x.constant)
		fg_lower_fail(&at, "puts a dimension before the batch, which must stay the first");
	for (uint32_t i = 0, from = 0; i < rank && !at.result; i++)
		dims[i] = added[i] ? 1 : x.dims[from++];
	return fg_lower_done(&at, fg_lower_reshape(&at, x, rank, dims));
}

/* ---- Transpose ---- */

static int lower_transpose(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	struct fg_lower_list perm = fg_lower_list(&at, UINT32_MAX, "perm");
	uint32_t order[FG_GRAPH_MAX_RANK], seen = 0;

	if (perm.given && perm.count != x.rank)
		fg_lower_fail(&at, "perm has %u numbers, input 0 has %u dimensions", perm.count,
			      x.rank);
	for (uint32_t i = 0; i < x.rank && !at.result; i++) {
		order[i] = perm.given ? fg_lower_axis(&at, perm.at[i], x.rank) : x.rank - 1 - i;
		seen |= 1u << order[i];
	}
	if (seen != (1u << x.rank) - 1)
		fg_lower_fail(&at, "perm does not hold each dimension once");
	if (!at.result && !x.constant && order[0] != 0)
		fg_lower_fail(&at, "moves the batch, which must stay dimension 0: rows of a batch "
				   "would be mixed");
	return fg_lower_done(&at, fg_lower_transpose(&at, x, order));
}

/* ---- Shape, Size ---- */

/* A list of integers as a constant. */
static struct fg_ir_value integers(struct fg_lower *at, uint32_t rank, const int64_t *numbers,
				   uint32_t count)
{
	struct fg_tensor tensor = {.element = FG_ELEMENT_I64,
				   .rank = rank,
				   .dims = {count},
				   .count = count};
	int64_t *copy = fg_lower_alloc(at, count, sizeof(*copy));

	if (copy)
		memcpy(copy, numbers, count * sizeof(*copy));
	tensor.data = copy;
	return fg_lower_tensor(at, &tensor);
}

static uint32_t clamp_axis(int64_t axis, uint32_t rank)
{
	axis += axis < 0 ? rank : 0;
	return axis < 0 ? 0 : axis > rank ? rank : (uint32_t)axis;
}

static int lower_shape(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	uint32_t start = clamp_axis(fg_lower_int(&at, "start", 0), x.rank);
	uint32_t end = clamp_axis(fg_lower_int(&at, "end", x.rank), x.rank);

	if (!x.constant)
		x.dims[0] = FG_IR_BATCH;
	return fg_lower_done(&at, integers(&at, 1, x.dims + start, end > start ? end - start : 0));
}

static int lower_size(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0);
	int64_t size = FG_IR_BATCH;

	if (x.constant)
		size = (int64_t)x.constant->count;
	else if (x.cols != 1)
		fg_lower_fail(&at, "counts the elements of the whole batch: rows of a batch would "
				   "be mixed");
	return fg_lower_done(&at, integers(&at, 0, &size, 1));
}

const struct fg_op fg_ops_shape[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "Dropout", 1, 3, 2, lower_dropout, 0},
	{"", "Flatten", 1, 1, 1, lower_flatten, 0},
	{"", "Identity", 1, 1, 1, lower_identity, 0},
	{"", "Reshape", 2, 2, 1, lower_reshape, 0},
	{"", "Shape", 1, 1, 1, lower_shape, 0},
	{"", "Size", 1, 1, 1, lower_size, 0},
	{"", "Squeeze", 1, 2, 1, lower_squeeze, 0},
	{"", "Transpose", 1, 1, 1, lower_transpose, 0},
	{"", "Unsqueeze", 1, 2, 1, lower_unsqueeze, 0},
	{0},
};
