/* Operators of ai.onnx.ml on numbers: what scikit-learn's models become. Where the specification is
 * silent or onnxruntime differs from it, onnxruntime's answer is given. */
#include <float.h>
#include <math.h>
#include "models/ops.h"
#include "models/ops_lower.h"

/* ---- one number for each column ---- */

/* A list with one number, or one for each column of x (batched, rank 2). */
static struct fg_ir_value column_list(struct fg_lower *at, const char *name,
				      enum fg_element element, const struct fg_ir_value *x)
{
	struct fg_ir_value list = fg_lower_numbers(at, name, element, true);

	if (!at->result && list.dims[0] != 1 && (x->rank != 2 || list.dims[0] != x->dims[1]))
		fg_lower_fail(at, "%s has %lld numbers for %u columns", name,
			      (long long)list.dims[0], x->cols);
	if (!at->result && list.dims[0] == 1)
		return fg_lower_reshape(at, list, 0, NULL);
	return list;
}

/* (x - offset) * scale */
static int lower_scaler(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_input(&at, 0);
	struct fg_ir_value offset = column_list(&at, "offset", FG_ELEMENT_F32, &x);
	struct fg_ir_value scale = column_list(&at, "scale", FG_ELEMENT_F32, &x);

	x = fg_lower_binary(&at, FG_STEP_SUB, x, offset);
	x = fg_lower_binary(&at, FG_STEP_MUL, x, scale);
	x.whole = false;
	return fg_lower_done(&at, x);
}

static int lower_imputer(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool whole = fg_node_attribute(node, "imputed_value_int64s");
	bool real = fg_node_attribute(node, "imputed_value_floats");
	struct fg_ir_value x = fg_lower_input(&at, 0), imputed, missing;
	float replaced = fg_lower_float(&at, "replaced_value_float", 0);

	if (whole == real)
		fg_lower_fail(&at,
			      "needs imputed_value_floats or imputed_value_int64s, one of them");
	imputed = column_list(&at, whole ? "imputed_value_int64s" : "imputed_value_floats",
			      whole ? FG_ELEMENT_I64 : FG_ELEMENT_F32, &x);
	if (whole)
		missing = fg_lower_binary(
			&at, FG_STEP_EQUAL, x,
			fg_lower_whole_number(&at, fg_lower_int(&at, "replaced_value_int64", 0)));
	else if (isnan(replaced))
		missing = fg_lower_unary(&at, FG_ACTIVATION_IS_NAN, x);
	else
		missing = fg_lower_binary(&at, FG_STEP_EQUAL, x, fg_lower_number(&at, replaced));
	return fg_lower_done(&at, fg_lower_select(&at, missing, imputed, x));
}

/* x > threshold */
static int lower_binarizer(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value limit = fg_lower_number(&at, fg_lower_float(&at, "threshold", 0));
	struct fg_ir_value out = fg_lower_binary(&at, FG_STEP_LESS, limit, fg_lower_input(&at, 0));

	out.whole = false;
	return fg_lower_done(&at, out);
}

/* ---- rows ---- */

/* x / the norm of its row; as it is where that is 0. MAX is the maximum, whatever its sign. */
static int lower_normalizer(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_text name = fg_lower_text(&at, "norm", "MAX");
	struct fg_ir_value x = fg_lower_input(&at, 0), norm = {0}, out;

	if (!at.result && x.rank != 2)
		fg_lower_fail(&at, "input 0 has %u dimension(s), must have 2", x.rank);
	x.whole = false;
	if (fg_text_is(name, "MAX")) {
		norm = fg_lower_over_last(&at, FG_STEP_REDUCE_MAX, 1, x);
	} else if (fg_text_is(name, "L1")) {
		norm = fg_lower_over_last(&at, FG_STEP_REDUCE_L1, 1, x);
	} else if (fg_text_is(name, "L2")) { /* not REDUCE_L2: squares that vanish count as 0 */
		norm = fg_lower_binary(&at, FG_STEP_MUL, x, x);
		norm = fg_lower_over_last(&at, FG_STEP_REDUCE_SUM, 1, norm);
		norm = fg_lower_unary(&at, FG_ACTIVATION_SQRT, norm);
	} else {
		fg_lower_fail(&at, "norm must be MAX, L1 or L2");
	}
	out = fg_lower_binary(&at, FG_STEP_DIV, x, norm);
	return fg_lower_done(&at, fg_lower_select(&at, norm, out, x));
}

static int lower_feature_vectorizer(struct fg_ir *ir, const struct fg_node *node,
				    struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_lower_list sizes = fg_lower_list(&at, UINT32_MAX, "inputdimensions");
	struct fg_ir_value *values = fg_lower_alloc(&at, node->input_count, sizeof(*values)), out;

	if (sizes.count != node->input_count)
		fg_lower_fail(&at, "inputdimensions has %u numbers for %u inputs", sizes.count,
			      node->input_count);
	for (uint32_t i = 0; i < node->input_count && values && !at.result; i++) {
		values[i] = fg_lower_input(&at, i);
		if (!at.result && (values[i].rank != 2 || values[i].dims[1] != sizes.at[i]))
			fg_lower_fail(&at, "input %u must be rows of %lld columns", i,
				      (long long)sizes.at[i]);
	}
	out = fg_lower_concat(&at, values, node->input_count, 1);
	out.whole = false;
	return fg_lower_done(&at, out);
}

/* Elements of the last dimension. With computed indices, one for each row, the result (1, N) counts
 * as (N): what follows is a Reshape to that. */
static int lower_feature_extractor(struct fg_ir *ir, const struct fg_node *node,
				   struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value x = fg_lower_any(&at, 0), out;
	struct fg_ir_value indices = fg_lower_to_whole(&at, fg_lower_input(&at, 1));
	const int64_t batch = FG_GRAPH_UNKNOWN;

	if (!at.result && indices.constant) {
		out = fg_lower_pick(&at, x, indices, fg_lower_inner_axis(&at, &x, -1));
		return fg_lower_done(&at, out.rank > 1 ? out : fg_lower_unsqueeze(&at, out, 0));
	}
	if (!at.result &&
	    (!x.constant || indices.cols != 1 || x.constant->count != (size_t)x.dims[x.rank - 1]))
		fg_lower_fail(&at, "computed indices pick from more than one constant row: rows "
				   "of a batch would be mixed");
	out = fg_lower_reshape(&at, indices, 1, &batch);
	if (!at.result && x.constant->element == FG_ELEMENT_TEXT)
		return fg_lower_done(&at, fg_lower_label(&at, out, x.constant, false));
	out = fg_lower_embed(&at, out, fg_lower_exact_floats(&at, x),
			     at.result ? 0 : x.constant->count, 1, false);
	out = fg_lower_like_table(&at, out, &x);
	return fg_lower_done(&at, fg_lower_reshape(&at, out, 1, &batch));
}

/* ---- linear models ---- */

/* x (N, features) times coefficients (targets, features), plus the intercepts (targets), if any. */
static struct fg_ir_value linear(struct fg_lower *at, int64_t targets)
{
	struct fg_ir_value x = fg_lower_input(at, 0), out;
	struct fg_ir_value coefficients =
		fg_lower_numbers(at, "coefficients", FG_ELEMENT_F32, true);
	struct fg_ir_value intercepts = fg_lower_numbers(at, "intercepts", FG_ELEMENT_F32, false);
	int64_t shape[2] = {targets, 0};

	if (!at->result && (x.rank != 2 || x.constant))
		fg_lower_fail(at, "input 0 must be rows of columns, (batch, columns)");
	shape[1] = x.dims[1];
	if (!at->result && (targets < 1 || shape[1] > FG_IR_MAX_COLS || targets > FG_IR_MAX_COLS ||
			    coefficients.dims[0] != targets * shape[1]))
		fg_lower_fail(at, "has %lld coefficients for %lld times %lld columns",
			      (long long)coefficients.dims[0], (long long)targets,
			      (long long)shape[1]);
	if (!at->result && intercepts.dims[0] && intercepts.dims[0] != targets)
		fg_lower_fail(at, "has %lld intercepts for %lld results",
			      (long long)intercepts.dims[0], (long long)targets);
	if (at->result)
		return x;
	coefficients = fg_lower_reshape(at, coefficients, 2, shape);
	out = fg_lower_dense(at, x, fg_lower_move_axis(at, coefficients, 0, 1));
	return intercepts.dims[0] ? fg_lower_binary(at, FG_STEP_ADD, out, intercepts) : out;
}

/* softmax without the columns that are (nearly) 0: they become x exp(-max) / sum. */
static struct fg_ir_value softmax_zero(struct fg_lower *at, struct fg_ir_value x)
{
	struct fg_ir_value max = fg_lower_over_last(at, FG_STEP_REDUCE_MAX, 1, x), used, e, sum;

	used = fg_lower_binary(at, FG_STEP_LESS, fg_lower_number(at, 1e-7f),
			       fg_lower_unary(at, FG_ACTIVATION_ABS, x));
	e = fg_lower_unary(at, FG_ACTIVATION_EXP, fg_lower_binary(at, FG_STEP_SUB, x, max));
	sum = fg_lower_over_last(at, FG_STEP_REDUCE_SUM, 1,
				 fg_lower_select(at, used, e, fg_lower_number(at, 0)));
	max = fg_lower_binary(at, FG_STEP_MUL, max, fg_lower_number(at, -1));
	x = fg_lower_binary(at, FG_STEP_MUL, x, fg_lower_unary(at, FG_ACTIVATION_EXP, max));
	return fg_lower_binary(at, FG_STEP_DIV, fg_lower_select(at, used, e, x), sum);
}

enum transform { NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO };

static enum transform transform_of(struct fg_lower *at)
{
	static const char *const names[] = {"NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"};
	struct fg_text name = fg_lower_text(at, "post_transform", "NONE");

	for (enum transform i = NONE; i <= SOFTMAX_ZERO; i++)
		if (fg_text_is(name, names[i]))
			return i;
	fg_lower_fail(at, "post_transform must be NONE, LOGISTIC, SOFTMAX or SOFTMAX_ZERO (PROBIT "
			  "is not supported)");
	return NONE;
}

/* A single score is not transformed: so does onnxruntime. */
static struct fg_ir_value transformed(struct fg_lower *at, struct fg_ir_value scores)
{
	enum transform transform = transform_of(at);

	if (scores.cols == 1 || transform == NONE)
		return scores;
	if (transform == LOGISTIC)
		return fg_lower_unary(at, FG_ACTIVATION_SIGMOID, scores);
	if (transform == SOFTMAX)
		return fg_lower_over_last(at, FG_STEP_SOFTMAX, 1, scores);
	return softmax_zero(at, scores);
}

static int lower_linear_regressor(struct fg_ir *ir, const struct fg_node *node,
				  struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};

	return fg_lower_done(&at, transformed(&at, linear(&at, fg_lower_int(&at, "targets", 1))));
}

/* One score for two classes: the first class has 1 - score, or the other side of the logistic. */
static struct fg_ir_value second_class(struct fg_lower *at, struct fg_ir_value score)
{
	struct fg_ir_value both[2];

	if (transform_of(at) == LOGISTIC) {
		both[0] = fg_lower_binary(at, FG_STEP_MUL, score, fg_lower_number(at, -1));
		both[0] = fg_lower_unary(at, FG_ACTIVATION_SIGMOID, both[0]);
		both[1] = fg_lower_unary(at, FG_ACTIVATION_SIGMOID, score);
	} else {
		both[0] = fg_lower_binary(at, FG_STEP_SUB, fg_lower_number(at, 1), score);
		both[1] = score;
	}
	return fg_lower_concat(at, both, 2, 1);
}

/* Class numbers 0, 1, ... (N) as the file's labels. */
static struct fg_ir_value label_of(struct fg_lower *at, struct fg_ir_value number,
				   struct fg_ir_value labels)
{
	const int64_t batch = FG_GRAPH_UNKNOWN;

	if (at->result || !labels.dims[0])
		return number;
	if (labels.constant->element == FG_ELEMENT_TEXT) {
		number.labels = labels.constant;
		return number;
	}
	number = fg_lower_embed(at, number, fg_lower_exact_floats(at, labels),
				(uint32_t)labels.dims[0], 1, false);
	number = fg_lower_like_table(at, number, &labels);
	return fg_lower_reshape(at, number, 1, &batch);
}

/* Output 0: the class with the highest score, or whether the one score is above 0; 1: the scores.
 */
static int lower_linear_classifier(struct fg_ir *ir, const struct fg_node *node,
				   struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool texts = fg_node_attribute(node, "classlabels_strings");
	struct fg_ir_value labels =
		fg_lower_numbers(&at, texts ? "classlabels_strings" : "classlabels_ints",
				 texts ? FG_ELEMENT_TEXT : FG_ELEMENT_I64, false);
	int64_t classes = fg_lower_numbers(&at, "intercepts", FG_ELEMENT_F32, true).dims[0];
	int64_t named = labels.dims[0], needed = classes == 1 ? 2 : classes;
	struct fg_ir_value scores = linear(&at, classes), number;
	const int64_t batch = FG_GRAPH_UNKNOWN;

	if (named && named != needed)
		fg_lower_fail(&at, "has %lld labels for %lld classes", (long long)named,
			      (long long)needed);
	if (classes == 1)
		number = fg_lower_binary(&at, FG_STEP_LESS, fg_lower_number(&at, 0), scores);
	else
		number = fg_lower_over_last(&at, FG_STEP_ARG_MAX, 1, scores);
	number = fg_lower_reshape(&at, number, 1, &batch);
	fg_lower_set(&at, 0, label_of(&at, number, labels));
	fg_lower_set(&at, 1,
		     classes == 1 && named ? second_class(&at, scores) : transformed(&at, scores));
	return at.result;
}

const struct fg_op fg_ops_ml[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"ai.onnx.ml", "ArrayFeatureExtractor", 2, 2, 1, lower_feature_extractor, 0},
	{"ai.onnx.ml", "Binarizer", 1, 1, 1, lower_binarizer, 0},
	{"ai.onnx.ml", "FeatureVectorizer", 1, FG_OP_MANY, 1, lower_feature_vectorizer, 0},
	{"ai.onnx.ml", "Imputer", 1, 1, 1, lower_imputer, 0},
	{"ai.onnx.ml", "LinearClassifier", 1, 1, 2, lower_linear_classifier, 0},
	{"ai.onnx.ml", "LinearRegressor", 1, 1, 1, lower_linear_regressor, 0},
	{"ai.onnx.ml", "Normalizer", 1, 1, 1, lower_normalizer, 0},
	{"ai.onnx.ml", "Scaler", 1, 1, 1, lower_scaler, 0},
	{0},
};
