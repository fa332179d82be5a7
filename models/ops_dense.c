/* Products of matrices: MatMul, Gemm. */
#include "models/ops.h"
#include "models/ops_lower.h"

#define MAX_CONSTANT_PRODUCTS (1ull << 32) /* multiplications while lowering; some seconds */

/* (rows, cols) = a (rows, inner) x b (inner, cols), constants; sums in f64. */
static struct fg_ir_value multiply_constants(struct fg_lower *at, struct fg_ir_value a,
					     struct fg_ir_value b)
{
	uint64_t inner = (uint64_t)b.dims[0], cols = (uint64_t)b.dims[1], rows = 1;
	struct fg_tensor tensor = {.element = FG_ELEMENT_F32, .rank = a.rank};
	const float *left = fg_lower_floats(at, a), *right = fg_lower_floats(at, b);
	float *out;

	for (uint32_t i = 0; i < a.rank; i++)
		tensor.dims[i] = a.dims[i];
	tensor.dims[a.rank - 1] = b.dims[1];
	for (uint32_t i = 0; i + 1 < a.rank; i++)
		rows *= (uint64_t)a.dims[i];
	if ((double)rows * (double)inner * (double)cols > (double)MAX_CONSTANT_PRODUCTS)
		fg_lower_fail(at, "a product of two constants is too large: fold it at export");
	out = fg_lower_alloc(at, rows * cols, sizeof(*out));
	for (uint64_t i = 0; out && i < rows * cols; i++) {
		double sum = 0;

		for (uint64_t k = 0; k < inner; k++)
			sum += (double)left[i / cols * inner + k] * right[k * cols + i % cols];
		out[i] = (float)sum;
	}
	tensor.count = rows * cols;
	tensor.data = out;
	return fg_lower_tensor(at, &tensor);
}

static struct fg_ir_value swap_last(struct fg_lower *at, struct fg_ir_value in)
{
	return at->result ? in : fg_lower_move_axis(at, in, in.rank - 1, in.rank - 2);
}

/* The sum over the last dimension of a (..., m, 1, k) * b^T (..., 1, n, k). */
static struct fg_ir_value sum_products(struct fg_lower *at, struct fg_ir_value a,
				       struct fg_ir_value b)
{
	struct fg_ir_value out;

	a = fg_lower_unsqueeze(at, a, a.rank - 1);
	b = fg_lower_unsqueeze(at, swap_last(at, b), b.rank - 2);
	out = fg_lower_binary(at, FG_STEP_MUL, a, b);
	if (fg_lower_is_whole(&out))
		out = fg_lower_wrapping_sum(at, out);
	else
		out = fg_lower_over_last(at, FG_STEP_REDUCE_SUM, 1, out);
	return fg_lower_reshape(at, out, out.rank - 1, out.dims);
}

/* Integers, as floats where all sums are exact, else one by one: they wrap. */
static struct fg_ir_value multiply_integers(struct fg_lower *at, struct fg_ir_value a,
					    struct fg_ir_value b)
{
	double low, high, most, inner = (double)b.dims[0];
	struct fg_ir_value out;

	fg_ir_range(&b, &low, &high);
	most = inner * (high > -low ? high : -low);
	if (a.constant)
		fg_lower_fail(at, "a product of constant integers: fold it at export");
	if (at->result)
		return a;
	if (a.form != FG_IR_F32 || !fg_lower_is_small(&a, most, false) ||
	    !fg_lower_is_small(&b, 1, false))
		return sum_products(at, a, b);
	out = fg_lower_dense(at, a, b);
	fg_ir_range(&a, &low, &high);
	most *= high > -low ? high : -low;
	return fg_lower_as_integer(at, out, a.integer, -most, most);
}

/* a (..., inner) x b (inner, cols), the latter constant. */
static struct fg_ir_value times_matrix(struct fg_lower *at, struct fg_ir_value a,
				       struct fg_ir_value b)
{
	if (!at->result && a.dims[a.rank - 1] != b.dims[0])
		fg_lower_fail(at, "a matrix for %lld columns, but input 0 has %lld",
			      (long long)b.dims[0], (long long)a.dims[a.rank - 1]);
	if (at->result)
		return a;
	if (fg_lower_is_whole(&a) && fg_lower_is_whole(&b))
		return multiply_integers(at, a, b);
	return a.constant ? multiply_constants(at, a, b) : fg_lower_dense(at, a, b);
}

/* `matrix` with rank 2, when its dimensions before the last two are 1 and not more than `rank`'s.
 */
static struct fg_ir_value flat_matrix(struct fg_lower *at, struct fg_ir_value matrix, uint32_t rank)
{
	for (uint32_t i = 0; i + 2 < matrix.rank; i++)
		if (matrix.dims[i] != 1 || matrix.rank > rank) {
			fg_lower_fail(at,
				      "a constant of %u dimensions holds several matrices: "
				      "only one, (rows, columns), is done",
				      matrix.rank);
			return matrix;
		}
	return fg_lower_reshape(at, matrix, 2, matrix.dims + matrix.rank - 2);
}

/* Both of one row. */
static struct fg_ir_value multiply_computed(struct fg_lower *at, struct fg_ir_value a,
					    struct fg_ir_value b)
{
	struct fg_ir_value out = {0};
	uint32_t rank = a.rank;

	if (a.rank < 3 || b.rank != a.rank) {
		fg_lower_fail(at,
			      "both matrices are computed and one goes over the batch (%u and "
			      "%u dimensions): rows of a batch would be mixed",
			      a.rank, b.rank);
		return out;
	}
	if (a.dims[rank - 1] != b.dims[rank - 2]) {
		fg_lower_fail(at, "%lld columns times %lld rows", (long long)a.dims[rank - 1],
			      (long long)b.dims[rank - 2]);
		return out;
	}
	return sum_products(at, a, b);
}

/* Neither is of rank 0 or 1. */
static struct fg_ir_value multiply(struct fg_lower *at, struct fg_ir_value a, struct fg_ir_value b)
{
	if (b.constant)
		return times_matrix(at, a, flat_matrix(at, b, a.rank));
	if (!a.constant)
		return multiply_computed(at, a, b);
	if (b.rank == 2) {
		fg_lower_fail(at, "the second matrix goes over the batch: rows of a batch would be "
				  "mixed");
		return b;
	}
	/* a x b = (b^T x a^T)^T */
	a = swap_last(at, flat_matrix(at, a, b.rank));
	return swap_last(at, times_matrix(at, swap_last(at, b), a));
}

/* Without dimension `axis`, which is 1. */
static struct fg_ir_value drop_axis(struct fg_lower *at, struct fg_ir_value in, uint32_t axis)
{
	int64_t dims[FG_GRAPH_MAX_RANK];
	uint32_t rank = 0;

	for (uint32_t i = 0; i < in.rank; i++)
		if (i != axis)
			dims[rank++] = in.dims[i];
	return at->result ? in : fg_lower_reshape(at, in, rank, dims);
}

/* A vector on the left is a row, on the right a column; that dimension is dropped again. */
static int lower_matmul(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1), out;
	bool row = a.rank == 1, column = b.rank == 1;

	if (!at.result && (!a.rank || !b.rank))
		fg_lower_fail(&at, "an input is a single number: use Mul");
	if ((row && !a.constant) || (column && !b.constant))
		fg_lower_fail(&at, "an input is one number for each row of the batch: rows would "
				   "be mixed");
	if (b.merged || (a.merged && (!b.constant || b.rank != 2)))
		fg_lower_fail(&at, "rows of a batch would be mixed");
	if (row)
		a = fg_lower_unsqueeze(&at, a, 0);
	if (column)
		b = fg_lower_unsqueeze(&at, b, 1);
	if (at.result)
		return at.result;
	out = multiply(&at, a, b);
	if (column)
		out = drop_axis(&at, out, out.rank - 1);
	if (row)
		out = drop_axis(&at, out, out.rank - 1 - !column);
	out.merged = a.merged;
	return fg_lower_done(&at, out);
}

/* alpha a x b + beta c, with a and b transposed where transA and transB are set. */
static int lower_gemm(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	float alpha = fg_lower_float(&at, "alpha", 1), beta = fg_lower_float(&at, "beta", 1);
	bool trans_a = fg_lower_int(&at, "transA", 0), trans_b = fg_lower_int(&at, "transB", 0);
	struct fg_ir_value a = fg_lower_input(&at, 0), b = fg_lower_input(&at, 1), c, out;

	if (!at.result && (a.rank != 2 || b.rank != 2))
		fg_lower_fail(&at,
			      "its matrices have %u and %u dimensions, must have 2: put a "
			      "Flatten before it",
			      a.rank, b.rank);
	if (trans_a && !a.constant)
		fg_lower_fail(&at, "transA = 1 would mix the rows of a batch");
	if (!b.constant)
		fg_lower_fail(&at, "the second matrix is computed, must be a constant");
	if (trans_a)
		a = swap_last(&at, a);
	if (trans_b)
		b = swap_last(&at, b);
	if (alpha != 1)
		b = fg_lower_binary(&at, FG_STEP_MUL, b, fg_lower_number(&at, alpha));
	out = times_matrix(&at, a, b);
	if (fg_lower_has(&at, 2) && beta != 0) {
		c = fg_lower_input(&at, 2);
		if (c.rank > 2)
			fg_lower_fail(&at, "C has %u dimensions, at most 2 are possible", c.rank);
		if (beta != 1)
			c = fg_lower_binary(&at, FG_STEP_MUL, c, fg_lower_number(&at, beta));
		out = fg_lower_binary(&at, FG_STEP_ADD, out, c);
	}
	return fg_lower_done(&at, out);
}

const struct fg_op fg_ops_dense[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"", "Gemm", 2, 3, 1, lower_gemm, 0},
	{"", "MatMul", 2, 2, 1, lower_matmul, 0},
	{0},
};
