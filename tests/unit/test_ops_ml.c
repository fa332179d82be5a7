/* models/ops_ml*: the operators of ai.onnx.ml on one row, and class labels that are texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/op_program.h"

#define TWO_CLASSES "coefficients=[1.0,0.0,0.0,0.0,0.0,1.0,0.0,0.0] intercepts=[0.5,0.0] "
#define ONE_CLASS   "coefficients=[1.0,0.0,0.0,1.0] intercepts=[-1.0] "

static void columns(void **state)
{
	(void)state;
	op_gives("y = ml.Scaler x offset=[1.0,0.0,1.0,0.0] scale=[2.0,3.0,4.0,5.0]", "0 -6 8 2.5");
	op_gives("y = ml.Scaler x offset=[1.0] scale=[2.0]", "0 -6 4 -1");
	op_gives("y = ml.Scaler i offset=[1.0] scale=[0.25]", "0.25 -0.25");
	op_gives("y = ml.Imputer x imputed_value_floats=[1.0,2.0,3.0,4.0] "
		 "replaced_value_float=-2.0",
		 "1 2 3 0.5");
	op_gives("a = Log x; y = ml.Imputer a imputed_value_floats=[9.0] replaced_value_float=nan",
		 "0 9 1.09861229 -0.69314718");
	op_gives("y = ml.Imputer i imputed_value_int64s=[5]", "2 5");
	op_gives("y = ml.Binarizer x threshold=0.5", "1 0 1 0");
	op_gives("y = ml.FeatureVectorizer x i inputdimensions=[4,2]", "1 -2 3 0.5 2 0");
	op_gives("y = ml.ArrayFeatureExtractor x #3,0", "0.5 1");
	op_gives("y = ml.ZipMap x classlabels_int64s=[4,3,2,1]", "1 -2 3 0.5");
	op_gives("y = ml.OneHotEncoder i cats_int64s=[2,3]", "1 0 0 0");
}

/* The largest number counts, whatever its sign; a norm of 0 divides nothing. */
static void rows(void **state)
{
	(void)state;
	op_gives("y = ml.Normalizer x", "0.33333333 -0.66666667 1 0.16666667");
	op_gives("y = ml.Normalizer x norm='L1'", "0.15384615 -0.30769231 0.46153846 0.076923077");
	op_gives("y = ml.Normalizer x norm='L2'", "0.26490647 -0.52981294 0.79471941 0.13245324");
	op_gives("a = Sub x $$4; y = ml.Normalizer a", "3 6 1 3.5");
	op_gives("a = Mul x $$0; y = ml.Normalizer a norm='L2'", "0 0 0 0");
}

static void linear_models(void **state)
{
	(void)state;
	op_gives("y = ml.LinearRegressor x coefficients=[1.0,1.0,1.0,2.0]", "3");
	/* a single result is not transformed */
	op_gives("y = ml.LinearRegressor x coefficients=[1.0,1.0,1.0,2.0] intercepts=[0.5] "
		 "post_transform='LOGISTIC'",
		 "3.5");
	op_gives("y = ml.LinearRegressor x targets=2 " TWO_CLASSES "post_transform='SOFTMAX'",
		 "0.97068777 0.029312231");
	op_gives("y y2 = ml.LinearClassifier x " TWO_CLASSES "classlabels_ints=[7,9]", "7 1.5 -2");
	op_gives("y y2 = ml.LinearClassifier x " TWO_CLASSES "post_transform='LOGISTIC'",
		 "0 0.81757448 0.11920292");
	op_gives("y y2 = ml.LinearClassifier x " ONE_CLASS, "1 0.5");
	op_gives("y y2 = ml.LinearClassifier x " ONE_CLASS "classlabels_ints=[-1,1]", "1 0.5 0.5");
	op_gives("y y2 = ml.LinearClassifier x " ONE_CLASS
		 "classlabels_ints=[3,8] post_transform='LOGISTIC'",
		 "8 0.37754067 0.62245933");
	op_gives("y = ml.LinearRegressor x targets=3 coefficients=[1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,"
		 "0.0,0.0,0.0,2.0] post_transform='SOFTMAX_ZERO'",
		 "0.5 0 0.5");
}

static void lookups(void **state)
{
	(void)state;
	op_gives("y = ml.LabelEncoder i keys_int64s=[2,1] values_floats=[0.25,1.0]", "0.25 -0.0");
	op_gives("y = ml.LabelEncoder i keys_int64s=[2,1] values_int64s=[5,6]", "5 -1");
	/* No float is 2^24 + 1, so that none of these inputs is. */
	op_gives("y = ml.LabelEncoder i keys_int64s=[16777217] values_floats=[1.0]", "-0.0 -0.0");
	/* the first of equal keys, as in onnxruntime */
	op_gives("y = ml.LabelEncoder x keys_floats=[3.0,1.0,3.0] values_floats=[5.0,6.0,7.0] "
		 "default_float=9.0",
		 "6 9 5 9");
	op_gives("t = ml.LabelEncoder i keys_int64s=[0,1] values_strings=['a','b']; "
		 "y = ml.LabelEncoder t keys_strings=['b','a'] values_floats=[0.5,1.5] "
		 "default_float=7.0",
		 "7 1.5");
	op_gives("t = ml.LabelEncoder i classes_strings=['a','b','c']; "
		 "y = ml.LabelEncoder t classes_strings=['c','d'] default_int64=-5",
		 "0 -5");
	op_gives("t = ml.LabelEncoder i classes_strings=['a','b','c']; "
		 "y = ml.OneHotEncoder t cats_strings=['zz','c','a']",
		 "0 1 0 0 0 1");
}

/* Fails unless output 0 of the model stands for the text. */
static void assert_label(const char *text, const char *label)
{
	struct fg_error error = {""};
	const struct fg_plan_port *port;
	const char *at;
	struct fg_plan plan;
	float out[OP_BATCH * 8];

	if (op_compile(text, 18, 0, false, &plan, &error))
		fail_msg("%s: refused: %s", text, error.text);
	op_run(&plan, out);
	port = fg_plan_port(&plan, plan.header->input_count);
	assert_true(out[0] >= 0 && out[0] < (float)port->label_count);
	at = (const char *)plan.header + port->labels;
	for (int i = 0; i < (int)out[0]; i++)
		at += strlen(at) + 1;
	assert_string_equal(at, label);
	free((void *)plan.header);
}

static void texts_are_labels(void **state)
{
	(void)state;
	assert_label("y y2 = ml.LinearClassifier x " TWO_CLASSES
		     "classlabels_strings=['cat','dog']",
		     "cat");
	assert_label("y y2 = ml.LinearClassifier x " ONE_CLASS "classlabels_strings=['no','yes']",
		     "yes");
	/* as skl2onnx writes it */
	assert_label("m = ArgMax x axis=1; l = ml.ArrayFeatureExtractor 'a','b','c','d' m; "
		     "s = Cast l to=8; y = Reshape s #-1",
		     "c");
	assert_label("m = ArgMax x axis=1 keepdims=0; y = Gather 'a','b','c','d' m", "c");
	assert_label("y = ml.LabelEncoder i keys_int64s=[2,1] values_strings=['two','one']", "two");
	assert_label("j = Add i #7; y = ml.LabelEncoder j keys_int64s=[1] values_strings=['one'] "
		     "default_string='other'",
		     "other");
	assert_label("t = ml.LabelEncoder i classes_strings=['a','b','c']; u = Identity t; "
		     "y = ml.LabelEncoder u keys_strings=['c'] values_strings=['Z']",
		     "Z");
}

/* (1, N) of computed indices counts as (N). */
static void classes_by_number(void **state)
{
	(void)state;
	op_gives("m = ArgMax x axis=1; l = ml.ArrayFeatureExtractor #10,20,30,40 m; "
		 "y = Reshape l #-1",
		 "30");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns),	    cmocka_unit_test(rows),
		cmocka_unit_test(linear_models),    cmocka_unit_test(lookups),
		cmocka_unit_test(texts_are_labels), cmocka_unit_test(classes_by_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
