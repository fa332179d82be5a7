/* Operators of ai.onnx.ml on classes and categories: LabelEncoder, OneHotEncoder, ZipMap. A text
 * value holds numbers at run time, which are places in its list of labels (models/ir.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "models/ops.h"
#include "models/ops_lower.h"

#define MAX_DIGITS 24 /* of an int64 */

/* ---- LabelEncoder ---- */

static bool is_text(const struct fg_ir_value *list)
{
	return list->constant->element == FG_ELEMENT_TEXT;
}

/* One of prefix_floats, _int64s, _strings, _tensor. */
static struct fg_ir_value side(struct fg_lower *at, const char *prefix)
{
	static const struct {
		const char *suffix;
		enum fg_element element;
	} kinds[] = {{"floats", FG_ELEMENT_F32},
		     {"int64s", FG_ELEMENT_I64},
		     {"strings", FG_ELEMENT_TEXT}};
	const struct fg_attribute *tensor;
	char name[24];

	for (uint32_t i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "%s_%s", prefix, kinds[i].suffix);
		if (fg_node_attribute(at->node, name))
			return fg_lower_numbers(at, name, kinds[i].element, true);
	}
	snprintf(name, sizeof(name), "%s_tensor", prefix);
	tensor = fg_node_attribute(at->node, name);
	if (!tensor || tensor->kind != FG_ATTRIBUTE_TENSOR) {
		fg_lower_fail(at, "has no %s", prefix);
		return (struct fg_ir_value){0};
	}
	return fg_lower_tensor(at, tensor->tensor);
}

/* What becomes of what is not among the keys; number for numbers, text for texts. */
struct otherwise {
	float number;
	struct fg_text text;
};

static struct otherwise otherwise_of(struct fg_lower *at, struct fg_ir_value values)
{
	const struct fg_attribute *tensor = fg_node_attribute(at->node, "default_tensor");
	struct otherwise out = {0};
	struct fg_ir_value value;
	const float *number;

	if (tensor && tensor->kind == FG_ATTRIBUTE_TENSOR) {
		value = fg_lower_tensor(at, tensor->tensor);
		if (!at->result && (value.constant->count != 1 ||
				    value.constant->element != values.constant->element))
			fg_lower_fail(at, "default_tensor must be one value of the others' type");
		else if (!at->result && is_text(&value))
			out.text = fg_tensor_text(value.constant, 0);
		else if ((number = fg_lower_exact_floats(at, value)))
			out.number = *number;
		return out;
	}
	out.text = fg_lower_text(at, "default_string", "_Unused");
	if (fg_lower_is_i64(&values))
		out.number = fg_lower_exact(at, fg_lower_int(at, "default_int64", -1));
	else
		out.number = fg_lower_float(at, "default_float", -0.0f);
	return out;
}

/* 0, 1, ... as a list, next to the texts of opset 1. */
static struct fg_ir_value places(struct fg_lower *at, size_t count)
{
	int64_t *numbers = fg_lower_alloc(at, count, sizeof(*numbers));
	struct fg_tensor tensor = {.element = FG_ELEMENT_I64,
				   .rank = 1,
				   .dims = {(int64_t)count},
				   .count = count,
				   .data = numbers};

	for (size_t i = 0; numbers && i < count; i++)
		numbers[i] = (int64_t)i;
	return fg_lower_tensor(at, &tensor);
}

/* The texts and one more at the end. */
static const struct fg_tensor *texts_and(struct fg_lower *at, const struct fg_tensor *texts,
					 struct fg_text last)
{
	struct fg_tensor *out = fg_lower_alloc(at, 1, sizeof(*out));
	struct fg_text *all = fg_lower_alloc(at, texts->count + 1, sizeof(*all));

	if (!all)
		return NULL;
	for (size_t i = 0; i < texts->count; i++)
		all[i] = fg_tensor_text(texts, i);
	all[texts->count] = last;
	*out = (struct fg_tensor){.element = FG_ELEMENT_TEXT,
				  .rank = 1,
				  .dims = {(int64_t)texts->count + 1},
				  .count = texts->count + 1,
				  .data = all};
	return out;
}

struct pair {
	float key, value;
	size_t place; /* in the file */
};

/* Upward; NaN last; equal keys as in the file. */
static int compare_pairs(const void *left, const void *right)
{
	const struct pair *a = left, *b = right;

	if (isnan(a->key) != isnan(b->key))
		return isnan(a->key) ? 1 : -1;
	if (a->key < b->key || a->key > b->key)
		return a->key < b->key ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* `otherwise`: fg_ir_lookup. Before opset 4 of ai.onnx.ml, a NaN key matches nothing. Of equal keys
 * the first counts, as in onnxruntime. */
static struct fg_ir_value lookup(struct fg_lower *at, struct fg_ir_value in, struct pair *pairs,
				 size_t count, const float *otherwise)
{
	float *keys = fg_lower_alloc(at, count, sizeof(*keys));
	float *values = fg_lower_alloc(at, count, sizeof(*values));
	struct fg_ir_value out = in;
	uint32_t used = 0;

	if (at->result)
		return in;
	qsort(pairs, count, sizeof(*pairs), compare_pairs);
	for (size_t i = 0; i < count; i++) {
		bool nan = isnan(pairs[i].key);

		if (nan && at->ir->graph->ml_opset < 4)
			continue;
		if (used && (keys[used - 1] == pairs[i].key || (nan && isnan(keys[used - 1]))))
			continue;
		keys[used] = pairs[i].key;
		values[used++] = pairs[i].value;
	}
	if (!used)
		fg_lower_fail(at, "has no keys");
	if (!at->result)
		at->result = fg_ir_lookup(at->ir, at->node, &in, keys, values, used, otherwise,
					  &out, at->error);
	return out;
}

/* `to` NULL: the places of the keys. */
static struct fg_ir_value encode_floats(struct fg_lower *at, struct fg_ir_value in,
					const float *from, const float *to, size_t count,
					float otherwise)
{
	struct pair *pairs = fg_lower_alloc(at, count, sizeof(*pairs));

	for (size_t i = 0; pairs && i < count; i++)
		pairs[i] = (struct pair){from[i], to ? to[i] : (float)i, i};
	return lookup(at, in, pairs, count, &otherwise);
}

/* ---- integers that floats do not tell apart ---- */

struct wide_pair {
	int64_t key;
	float value;
	size_t place; /* in the file */
};

/* Upward; equal keys as in the file. */
static int compare_wide_pairs(const void *left, const void *right)
{
	const struct wide_pair *a = left, *b = right;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* The place among the keys, and then the value at that place; the last one is `otherwise`. */
static struct fg_ir_value lookup_wide(struct fg_lower *at, struct fg_ir_value in,
				      const struct fg_tensor *from, const float *to,
				      float otherwise)
{
	const size_t count = from->count;
	struct wide_pair *pairs = fg_lower_alloc(at, count, sizeof(*pairs));
	int64_t *keys = fg_lower_alloc(at, count, sizeof(*keys));
	float *values = fg_lower_alloc(at, count + 1, sizeof(*values));
	struct fg_ir_value out = in;
	uint32_t used = 0;

	for (size_t i = 0; values && i < count; i++)
		pairs[i] = (struct wide_pair){fg_tensor_i64(from, i), to ? to[i] : (float)i, i};
	if (!at->result)
		qsort(pairs, count, sizeof(*pairs), compare_wide_pairs);
	for (size_t i = 0; !at->result && i < count; i++) {
		if (used && keys[used - 1] == pairs[i].key)
			continue;
		keys[used] = pairs[i].key;
		values[used++] = pairs[i].value;
	}
	if (!at->result)
		values[used] = otherwise;
	if (!at->result)
		at->result = fg_ir_wide_lookup(at->ir, at->node, &in, keys, used, &out, at->error);
	out = fg_lower_embed(at, out, values, used + 1, 1, false);
	return fg_lower_reshape(at, out, in.rank, in.dims);
}

/* Of integers that are floats, keys that no float is match none. */
static struct fg_ir_value encode_integers(struct fg_lower *at, struct fg_ir_value in,
					  const struct fg_tensor *from, const float *to,
					  float otherwise)
{
	struct pair *pairs = fg_lower_alloc(at, from->count, sizeof(*pairs));
	size_t used = 0;

	for (size_t i = 0; pairs && i < from->count; i++) {
		const int64_t key = fg_tensor_i64(from, i);
		const float rounded = (float)key;

		if (rounded < 0x1p63f && (int64_t)rounded == key)
			pairs[used++] = (struct pair){rounded, to ? to[i] : (float)i, i};
	}
	if (!at->result && !used) /* one that matches nothing, as lookups have keys */
		pairs[used++] = (struct pair){INFINITY, otherwise, 0};
	return lookup(at, in, pairs, used, &otherwise);
}

/* Numbers in. Texts out are their places in the list of values, which has the default at its end.
 */
static struct fg_ir_value encode_numbers(struct fg_lower *at, struct fg_ir_value in,
					 struct fg_ir_value keys, struct fg_ir_value values,
					 struct otherwise otherwise)
{
	const size_t count = values.constant->count;
	const bool texts = is_text(&values);
	const float *to = texts ? NULL : fg_lower_exact_floats(at, values);
	const float last = texts ? (float)count : otherwise.number;
	struct fg_ir_value out = in;

	if (at->result)
		return in;
	if (!fg_lower_is_i64(&keys))
		out = encode_floats(at, in, fg_lower_floats(at, keys), to, count, last);
	else if (in.constant || in.form == FG_IR_F32)
		out = encode_integers(at, in, keys.constant, to, last);
	else
		out = lookup_wide(at, in, keys.constant, to, last);
	out.whole = fg_lower_is_i64(&values);
	if (texts)
		out.labels = texts_and(at, values.constant, otherwise.text);
	return out;
}

/* The place of the text among the keys, or their count. */
static size_t find_text(const struct fg_tensor *keys, struct fg_text text)
{
	size_t i = 0;

	while (i < keys->count && !fg_text_equal(fg_tensor_text(keys, i), text))
		i++;
	return i;
}

/* Labels in: each label is a key or not, so texts become other texts without any step. */
static struct fg_ir_value encode_texts(struct fg_lower *at, struct fg_ir_value in,
				       struct fg_ir_value keys, struct fg_ir_value values,
				       struct otherwise otherwise)
{
	const struct fg_tensor *labels = in.labels;
	const bool texts = is_text(&values);
	const float *to = texts ? NULL : fg_lower_exact_floats(at, values);
	struct fg_tensor *renamed = fg_lower_alloc(at, 1, sizeof(*renamed));
	struct fg_text *names = fg_lower_alloc(at, labels->count, sizeof(*names));
	float *table = fg_lower_alloc(at, labels->count, sizeof(*table));
	struct fg_ir_value out;

	for (size_t i = 0; table && i < labels->count; i++) {
		size_t place = find_text(keys.constant, fg_tensor_text(labels, i));
		bool known = place < keys.constant->count;

		if (texts)
			names[i] = known ? fg_tensor_text(values.constant, place) : otherwise.text;
		else
			table[i] = known ? to[place] : otherwise.number;
	}
	if (at->result)
		return in;
	if (texts) {
		*renamed = *labels;
		renamed->data = names;
		in.labels = renamed;
		return in;
	}
	in.labels = NULL;
	out = fg_lower_embed(at, in, table, (uint32_t)labels->count, 1, false);
	out.whole = fg_lower_is_i64(&values);
	return fg_lower_reshape(at, out, in.rank, in.dims);
}

static int lower_label_encoder(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_any(&at, 0), keys, values;
	struct otherwise otherwise;

	if (!at.result && in.constant && is_text(&in))
		fg_lower_fail(&at, "encodes constant texts: fold it at export");
	if (fg_node_attribute(node, "classes_strings")) { /* opset 1: both ways */
		values = fg_lower_numbers(&at, "classes_strings", FG_ELEMENT_TEXT, true);
		keys = places(&at, at.result ? 0 : values.constant->count);
		if (in.labels) {
			struct fg_ir_value texts = values;

			values = keys;
			keys = texts;
		}
	} else {
		keys = side(&at, "keys");
		values = side(&at, "values");
	}
	if (!at.result && (keys.constant->count != values.constant->count ||
			   is_text(&keys) != (in.labels != NULL)))
		fg_lower_fail(&at, "its keys do not fit its values, or its input's type (texts are "
				   "only known from labels made before)");
	if (at.result)
		return at.result;
	otherwise = otherwise_of(&at, values);
	if (!at.result && in.labels)
		return fg_lower_done(&at, encode_texts(&at, in, keys, values, otherwise));
	return fg_lower_done(&at, encode_numbers(&at, in, keys, values, otherwise));
}

/* ---- OneHotEncoder, ZipMap ---- */

/* The categories as the numbers that the input has at run time; -1, which is no label's, for texts
 * that cannot come. */
static struct fg_ir_value categories(struct fg_lower *at, const struct fg_tensor *labels)
{
	struct fg_ir_value cats;
	float *numbers;
	struct fg_tensor out;

	if (!labels)
		return fg_lower_numbers(at, "cats_int64s", FG_ELEMENT_I64, true);
	cats = fg_lower_numbers(at, "cats_strings", FG_ELEMENT_TEXT, true);
	numbers = fg_lower_alloc(at, at->result ? 0 : cats.constant->count, sizeof(*numbers));
	if (!numbers)
		return cats;
	for (size_t i = 0; i < cats.constant->count; i++) {
		size_t place = find_text(labels, fg_tensor_text(cats.constant, i));

		numbers[i] = place < labels->count ? (float)place : -1.0f;
	}
	out = *cats.constant;
	out.element = FG_ELEMENT_F32;
	out.data = numbers;
	return fg_lower_tensor(at, &out);
}

/* What is none of the categories refuses the row. */
static struct fg_ir_value only_known(struct fg_lower *at, struct fg_ir_value in,
				     struct fg_ir_value cats)
{
	const float *keys = fg_lower_exact_floats(at, cats);
	const size_t count = keys ? cats.constant->count : 0;
	struct pair *pairs = fg_lower_alloc(at, count, sizeof(*pairs));

	if (!at->result && !in.constant && in.form != FG_IR_F32)
		fg_lower_fail(at, "zeros is 0, and its input is computed with integers of 64 bits: "
				  "cast that to float first");
	for (size_t i = 0; pairs && i < count; i++)
		pairs[i] = (struct pair){keys[i], keys[i], i};
	return lookup(at, in, pairs, count, NULL);
}

/* A new last dimension, 1 where the category is. One that is not known gives zeros, if the
 * attribute 'zeros' says so. */
static int lower_one_hot_encoder(struct fg_ir *ir, const struct fg_node *node,
				 struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	struct fg_ir_value in = fg_lower_any(&at, 0), cats = categories(&at, in.labels), out;

	if (in.labels)
		in.labels = NULL;
	else if (!at.result)
		in = fg_lower_to_whole(&at, fg_lower_input(&at, 0));
	if (!fg_lower_int(&at, "zeros", 1))
		in = only_known(&at, in, cats);
	out = fg_lower_binary(&at, FG_STEP_EQUAL, fg_lower_unsqueeze(&at, in, in.rank), cats);
	out.whole = false;
	return fg_lower_done(&at, out);
}

/* Class labels as texts. */
static const struct fg_tensor *texts_of(struct fg_lower *at, const struct fg_tensor *classes)
{
	struct fg_tensor *texts = fg_lower_alloc(at, 1, sizeof(*texts));
	struct fg_text *text = fg_lower_alloc(at, classes->count, sizeof(*text));
	char *digits = fg_lower_alloc(at, classes->count, MAX_DIGITS);

	if (classes->element == FG_ELEMENT_TEXT || at->result)
		return classes;
	*texts = *classes;
	texts->element = FG_ELEMENT_TEXT;
	texts->data = text;
	for (size_t i = 0; i < classes->count; i++, digits += MAX_DIGITS)
		text[i] = (struct fg_text){digits,
					   (size_t)snprintf(digits, MAX_DIGITS, "%lld",
							    (long long)fg_tensor_i64(classes, i))};
	return texts;
}

/* The scores as they are: their classes are the columns, in this order. */
static int lower_zip_map(struct fg_ir *ir, const struct fg_node *node, struct fg_error *error)
{
	struct fg_lower at = {ir, node, error, 0};
	bool texts = fg_node_attribute(node, "classlabels_strings");
	struct fg_ir_value classes =
		fg_lower_numbers(&at, texts ? "classlabels_strings" : "classlabels_int64s",
				 texts ? FG_ELEMENT_TEXT : FG_ELEMENT_I64, true);
	struct fg_ir_value scores = fg_lower_input(&at, 0);

	if (!at.result && (scores.rank < 1 || scores.dims[scores.rank - 1] != classes.dims[0]))
		fg_lower_fail(&at, "has %lld classes, but not as many scores",
			      (long long)classes.dims[0]);
	if (!at.result && scores.cols == classes.constant->count)
		scores.columns = texts_of(&at, classes.constant);
	return fg_lower_done(&at, scores);
}

const struct fg_op fg_ops_ml_labels[] = {
	/* domain, name, inputs: least and most, outputs, lower, variant */
	{"ai.onnx.ml", "LabelEncoder", 1, 1, 1, lower_label_encoder, 0},
	{"ai.onnx.ml", "OneHotEncoder", 1, 1, 1, lower_one_hot_encoder, 0},
	{"ai.onnx.ml", "ZipMap", 1, 1, 1, lower_zip_map, 0},
	{0},
};
