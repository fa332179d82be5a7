/*
 * The values that are other values' columns in another order or shape.
 *
 * All of them are an index map: element i of the result is element index[i] of the input. When the
 * map is a run (index[i] = index[0] + i) a batched result is a view, else a COLUMNS step.
 */
#include <errno.h>
#include <string.h>
#include "models/ir_build.h"

static int64_t count_of(bool batched, uint32_t rank, const int64_t *dims)
{
	int64_t count = 1;

	for (uint32_t i = batched; i < rank; i++)
		if (__builtin_mul_overflow(count, dims[i], &count))
			return -1;
	return count;
}

void fg_ir_keep_type(struct fg_ir_value *out, const struct fg_ir_value *in)
{
	out->whole = in->whole;
	out->integer = in->integer;
	out->is_double = in->is_double;
	out->bounded = in->bounded;
	out->low = in->low;
	out->high = in->high;
}

int fg_ir_reshape(const struct fg_node *node, const struct fg_ir_value *in, uint32_t rank,
		  const int64_t *dims, struct fg_ir_value *out, struct fg_error *error)
{
	struct fg_ir_value value = *in;

	if (count_of(!in->constant, rank, dims) != (int64_t)fg_ir_count(in) ||
	    (!in->constant && (rank < 1 || dims[0] != FG_GRAPH_UNKNOWN)))
		return fg_node_error(node, error,
				     "changes rows of %zu columns into another number of columns, "
				     "or mixes the rows of a batch",
				     fg_ir_count(in));
	value.rank = rank;
	for (uint32_t i = 0; i < rank; i++)
		value.dims[i] = dims[i];
	value.columns = NULL;
	value.merged = false;
	*out = value;
	return 0;
}

static bool is_run(const uint32_t *index, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (index[i] != index[0] + i)
			return false;
	return true;
}

static int map_constant(struct fg_ir *ir, const struct fg_node *node, const struct fg_tensor *in,
			uint32_t rank, const int64_t *dims, const uint32_t *index,
			struct fg_ir_value *out, struct fg_error *error)
{
	const size_t size = fg_element_bytes(in->element);
	void *data;
	int result = fg_ir_new_constant(ir, node, in->element, rank, dims, out, &data, error);

	for (size_t i = 0; !result && i < out->constant->count; i++)
		memcpy((char *)data + i * size, (const char *)in->data + index[i] * size, size);
	return result;
}

/* The same map of numbers of two columns each. */
static int widen_index(struct fg_ir *ir, const struct fg_node *node, uint32_t count,
		       const uint32_t **index, struct fg_error *error)
{
	uint32_t *wide;
	void *map;
	int result = fg_ir_alloc(ir, node, count, 2 * sizeof(*wide), &map, error);

	if (result)
		return result;
	wide = map;
	for (uint32_t i = 0; i < 2 * count; i++)
		wide[i] = 2 * (*index)[i / 2] + i % 2;
	*index = wide;
	return 0;
}

static int map_batched(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		       uint32_t rank, const int64_t *dims, const uint32_t *index,
		       struct fg_ir_value *out, struct fg_error *error)
{
	const uint32_t width = fg_ir_width(in->form);
	struct fg_ir_value made = *in;
	struct fg_ir_step *step;
	int64_t cols = count_of(true, rank, dims);
	int result;

	if (cols >= 1 && cols <= in->cols && is_run(index, (size_t)cols)) {
		made.at.first += index[0] * width;
		made.has_rounded = false;
		made.cols = (uint32_t)cols;
		made.rank = rank;
		memcpy(made.dims, dims, rank * sizeof(*dims));
		made.columns = NULL;
		*out = made;
		return 0;
	}
	result = fg_ir_new_rows(ir, node, in->form, rank, dims, &made, error);
	if (!result && width == 2)
		result = widen_index(ir, node, made.cols, &index, error);
	if (!result)
		result = fg_ir_new_step(ir, node, FG_STEP_COLUMNS, &step, error);
	if (result)
		return result;
	step->in = in->at;
	step->out = made.at;
	step->in_cols = in->cols * width;
	step->out_cols = made.cols * width;
	step->weights = index;
	made.labels = in->labels;
	fg_ir_keep_type(&made, in);
	*out = made;
	return 0;
}

int fg_ir_map(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
	      uint32_t rank, const int64_t *dims, const uint32_t *index, struct fg_ir_value *out,
	      struct fg_error *error)
{
	const struct fg_integer integer = in->integer;
	int result;

	if (in->constant) {
		result = map_constant(ir, node, in->constant, rank, dims, index, out, error);
		out->integer = integer;
		return result;
	}
	return map_batched(ir, node, in, rank, dims, index, out, error);
}

/*
 * The index map of a result whose element at (i0, i1, ...) is the input's at offset
 * i0 * stride[0] + i1 * stride[1] + ...; dimension 0 of a batched value counts as 1.
 */
static int strided_index(struct fg_ir *ir, const struct fg_node *node, bool batched, uint32_t rank,
			 const int64_t *dims, const size_t *stride, uint32_t **index,
			 struct fg_error *error)
{
	int64_t at[FG_GRAPH_MAX_RANK] = {0}, count = count_of(batched, rank, dims);
	size_t offset = 0;
	void *map;
	int result;

	if (count < 0 || (batched && count > FG_IR_MAX_COLS))
		return fg_node_error(node, error, "gives more than %u columns", FG_IR_MAX_COLS);
	result = fg_ir_alloc(ir, node, (size_t)count, sizeof(**index), &map, error);
	if (result)
		return result;
	*index = map;
	for (int64_t i = 0; i < count; i++) {
		(*index)[i] = (uint32_t)offset;
		for (uint32_t d = rank; d-- > batched;) {
			offset += stride[d];
			if (++at[d] < dims[d])
				break;
			offset -= (size_t)dims[d] * stride[d];
			at[d] = 0;
		}
	}
	return 0;
}

/* Elements from one to the next along each dimension. */
static void strides_of(const struct fg_ir_value *value, size_t stride[FG_GRAPH_MAX_RANK])
{
	size_t step = 1;

	for (uint32_t d = value->rank; d-- > 0;) {
		stride[d] = step;
		step *= (size_t)(value->dims[d] > 0 ? value->dims[d] : 1);
	}
}

int fg_ir_transpose(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		    const uint32_t *order, struct fg_ir_value *out, struct fg_error *error)
{
	size_t stride[FG_GRAPH_MAX_RANK], moved[FG_GRAPH_MAX_RANK];
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t *index;
	int result;

	if (!in->constant && order[0] != 0)
		return fg_node_error(node, error, "moves the batch: dimension 0 must stay first");
	strides_of(in, stride);
	for (uint32_t i = 0; i < in->rank; i++) {
		dims[i] = in->dims[order[i]];
		moved[i] = stride[order[i]];
	}
	result = strided_index(ir, node, !in->constant, in->rank, dims, moved, &index, error);
	return result ? result : fg_ir_map(ir, node, in, in->rank, dims, index, out, error);
}

int fg_ir_take(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
	       uint32_t axis, const uint32_t *taken, uint32_t count, struct fg_ir_value *out,
	       struct fg_error *error)
{
	size_t stride[FG_GRAPH_MAX_RANK];
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t *index;
	size_t total;
	int result;

	if (!in->constant && axis == 0)
		return fg_node_error(node, error, "takes some rows of the batch out of it");
	strides_of(in, stride);
	memcpy(dims, in->dims, sizeof(dims));
	dims[axis] = count;
	total = stride[axis];
	stride[axis] = 0;
	result = strided_index(ir, node, !in->constant, in->rank, dims, stride, &index, error);
	if (result)
		return result;
	/* The map repeats the first element along the axis; move each to the one that is taken. */
	for (int64_t i = 0, n = count_of(!in->constant, in->rank, dims); i < n; i++)
		index[i] += taken[(size_t)i / total % count] * (uint32_t)total;
	return fg_ir_map(ir, node, in, in->rank, dims, index, out, error);
}

/* ---- broadcasting ---- */

int fg_ir_broadcast(const struct fg_node *node, const struct fg_ir_value *a,
		    const struct fg_ir_value *b, uint32_t *rank, int64_t *dims,
		    struct fg_error *error)
{
	const struct fg_ir_value *both[2] = {a, b};
	bool batched = !a->constant || !b->constant;

	*rank = a->rank > b->rank ? a->rank : b->rank;
	for (uint32_t i = 0; i < *rank; i++)
		dims[i] = 1;
	for (uint32_t v = 0; v < 2; v++) {
		uint32_t missing = *rank - both[v]->rank;

		if (!both[v]->constant && missing)
			return fg_node_error(node, error,
					     "rows of %u dimensions meet %u: the batch would be "
					     "broadcast, give both the same rank",
					     both[v]->rank, *rank);
		for (uint32_t i = 0; i < both[v]->rank; i++) {
			int64_t dim = both[v]->dims[i], *to = &dims[i + missing];

			if (batched && i + missing == 0 ? !both[v]->constant : *to == 1)
				*to = dim;
			else if (dim != 1 && dim != *to)
				return fg_node_error(node, error,
						     batched && i + missing == 0
							     ? "a constant differs from row to row "
							       "of the batch"
							     : "dimension %u is %lld in one input "
							       "and %lld in the other",
						     i + missing, (long long)*to, (long long)dim);
		}
	}
	if (batched)
		dims[0] = FG_GRAPH_UNKNOWN;
	return 0;
}

int fg_ir_spread(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
		 uint32_t rank, const int64_t *wanted, struct fg_ir_value *out,
		 struct fg_error *error)
{
	size_t own[FG_GRAPH_MAX_RANK], stride[FG_GRAPH_MAX_RANK] = {0};
	const uint32_t missing = rank - value->rank;
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t *index;
	bool same = true;
	int result;

	memcpy(dims, wanted, rank * sizeof(*dims));
	if (value->constant && rank && dims[0] == FG_GRAPH_UNKNOWN)
		dims[0] = 1;
	strides_of(value, own);
	for (uint32_t i = 0; i < rank; i++) {
		int64_t have = i < missing ? 1 : value->dims[i - missing];

		if (have == dims[i] && i >= missing)
			stride[i] = own[i - missing];
		else if (have != dims[i])
			same = false;
		if (have != 1 && have != dims[i])
			return fg_node_error(node, error, "dimension %u of %lld cannot become %lld",
					     i, (long long)have, (long long)dims[i]);
	}
	if (same)
		return fg_ir_reshape(node, value, rank, dims, out, error);
	result = strided_index(ir, node, !value->constant, rank, dims, stride, &index, error);
	return result ? result : fg_ir_map(ir, node, value, rank, dims, index, out, error);
}

int fg_ir_copy(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
	       enum fg_ir_form form, struct fg_ir_span to, struct fg_error *error)
{
	const void *elements = NULL;
	struct fg_ir_value formed;
	struct fg_ir_step *step;
	int result;

	if (value->constant)
		result = fg_ir_elements(ir, node, value, form, &elements, error);
	else
		result = fg_ir_to_form(ir, node, value, form, &formed, error);
	if (!result)
		result = fg_ir_new_step(ir, node,
					value->constant ? FG_STEP_FILL : FG_STEP_ACTIVATION, &step,
					error);
	if (result)
		return result;
	if (!value->constant)
		step->in = formed.at;
	step->bias = elements;
	step->out = to;
	step->out_cols = (uint32_t)fg_ir_count(value) * fg_ir_width(form);
	step->in_cols = step->out_cols;
	return 0;
}

int fg_ir_batched(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *value,
		  enum fg_ir_form form, uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		  struct fg_error *error)
{
	struct fg_ir_value spread, made;
	int result = fg_ir_spread(ir, node, value, rank, dims, &spread, error);

	if (result)
		return result;
	if (!spread.constant)
		return fg_ir_to_form(ir, node, &spread, form, out, error);
	result = fg_ir_new_rows(ir, node, form, rank, dims, &made, error);
	if (!result)
		result = fg_ir_copy(ir, node, &spread, form, made.at, error);
	if (result)
		return result;
	made.whole = fg_ir_is_whole(&spread);
	made.integer = spread.integer;
	made.is_double = spread.constant->element == FG_ELEMENT_F64;
	made.bounded = made.whole;
	if (made.whole)
		fg_ir_range(&spread, &made.low, &made.high);
	*out = made;
	return 0;
}

int fg_ir_expand(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *in,
		 uint32_t rank, const int64_t *dims, struct fg_ir_value *out,
		 struct fg_error *error)
{
	if (rank < in->rank)
		return fg_node_error(node, error, "takes %u dimensions to %u", in->rank, rank);
	if (rank && dims[0] == FG_GRAPH_UNKNOWN)
		return fg_ir_batched(ir, node, in, fg_ir_exact_form(in), rank, dims, out, error);
	if (!in->constant)
		return fg_node_error(node, error, "would broadcast the batch");
	return fg_ir_spread(ir, node, in, rank, dims, out, error);
}

/* ---- side by side ---- */

static int check_concat(const struct fg_node *node, const struct fg_ir_value *values,
			uint32_t count, uint32_t axis, bool batched, struct fg_error *error)
{
	for (uint32_t v = 0; v < count; v++) {
		if (values[v].rank != values[0].rank)
			return fg_node_error(node, error, "joins inputs of %u and %u dimensions",
					     values[0].rank, values[v].rank);
		for (uint32_t i = 0; i < values[v].rank; i++) {
			bool fits = i == axis || values[v].dims[i] == values[0].dims[i];

			if (i == 0 && batched)
				fits = !values[v].constant || values[v].dims[0] == 1;
			if (!fits)
				return fg_node_error(node, error,
						     "joins inputs whose dimension %u differs", i);
		}
	}
	return 0;
}

/* All inputs one after the other, each whole: constants of one type. */
static int join_constants(struct fg_ir *ir, const struct fg_node *node,
			  const struct fg_ir_value *values, uint32_t count, int64_t total,
			  struct fg_ir_value *out, struct fg_error *error)
{
	const enum fg_element element = values[0].constant->element;
	const size_t size = fg_element_bytes(element);
	void *data;
	int result = fg_ir_new_constant(ir, node, element, 1, &total, out, &data, error);

	for (uint32_t v = 0; v < count && !result; v++) {
		if (values[v].constant->element != element)
			return fg_node_error(node, error, "joins constants of different types");
		memcpy(data, values[v].constant->data, values[v].constant->count * size);
		data = (char *)data + values[v].constant->count * size;
	}
	return result;
}

/* What is known of all the values. */
static void join_types(struct fg_ir_value *out, const struct fg_ir_value *values, uint32_t count)
{
	double low, high;

	out->whole = fg_ir_is_whole(&values[0]);
	out->integer = values[0].integer;
	for (uint32_t v = 0; v < count; v++) {
		out->is_double |= values[v].is_double;
		if (!fg_ir_is_whole(&values[v]))
			return;
		fg_ir_range(&values[v], &low, &high);
		out->low = !v || low < out->low ? low : out->low;
		out->high = !v || high > out->high ? high : out->high;
	}
	out->bounded = true;
}

static int join_batched(struct fg_ir *ir, const struct fg_node *node,
			const struct fg_ir_value *values, uint32_t count, int64_t total,
			struct fg_ir_value *out, struct fg_error *error)
{
	const int64_t dims[2] = {FG_GRAPH_UNKNOWN, total};
	enum fg_ir_form form = FG_IR_F32;
	struct fg_ir_span to;
	int result;

	for (uint32_t v = 0; v < count; v++)
		if (fg_ir_exact_form(&values[v]) != FG_IR_F32)
			form = fg_ir_exact_form(&values[v]);
	result = fg_ir_new_rows(ir, node, form, 2, dims, out, error);
	to = out->at;
	for (uint32_t v = 0; v < count && !result; v++) {
		result = fg_ir_need_numbers(node, &values[v], error);
		if (!result)
			result = fg_ir_copy(ir, node, &values[v], form, to, error);
		to.first += (uint32_t)fg_ir_count(&values[v]) * fg_ir_width(form);
	}
	join_types(out, values, count);
	return result;
}

/* Where the elements of the result stand when all inputs stand one after the other. */
static void concat_index(const struct fg_ir_value *values, uint32_t count, size_t outer,
			 uint32_t *index)
{
	for (size_t o = 0; o < outer; o++) {
		uint32_t start = 0;

		for (uint32_t v = 0; v < count; v++) {
			uint32_t all = (uint32_t)fg_ir_count(&values[v]);
			uint32_t run = all / (uint32_t)outer;

			for (uint32_t i = 0; i < run; i++)
				*index++ = start + (uint32_t)o * run + i;
			start += all;
		}
	}
}

int fg_ir_concat(struct fg_ir *ir, const struct fg_node *node, const struct fg_ir_value *values,
		 uint32_t count, uint32_t axis, struct fg_ir_value *out, struct fg_error *error)
{
	int64_t dims[FG_GRAPH_MAX_RANK], total = 0;
	struct fg_ir_value joined;
	bool batched = false;
	size_t outer = 1;
	void *index;
	int result;

	for (uint32_t v = 0; v < count; v++)
		batched |= !values[v].constant;
	if (axis >= values[0].rank || (batched && axis == 0))
		return fg_node_error(node, error, "joins along the batch, or no dimension");
	result = check_concat(node, values, count, axis, batched, error);
	if (result)
		return result;
	memcpy(dims, values[0].dims, sizeof(dims));
	dims[axis] = 0;
	for (uint32_t v = 0; v < count; v++) {
		dims[axis] += values[v].dims[axis];
		total += (int64_t)fg_ir_count(&values[v]);
	}
	if (batched)
		dims[0] = FG_GRAPH_UNKNOWN;
	for (uint32_t i = batched; i < axis; i++)
		outer *= (size_t)dims[i];
	result = (batched ? join_batched : join_constants)(ir, node, values, count, total, &joined,
							   error);
	if (result)
		return result;
	if (outer == 1)
		return fg_ir_reshape(node, &joined, values[0].rank, dims, out, error);
	result = fg_ir_alloc(ir, node, (size_t)total, sizeof(uint32_t), &index, error);
	if (result)
		return result;
	concat_index(values, count, outer, index);
	return fg_ir_map(ir, node, &joined, values[0].rank, dims, index, out, error);
}
