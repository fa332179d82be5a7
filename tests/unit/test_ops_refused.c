/* models/ops*: what is refused, and that the message names the node and says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/op_program.h"

/* Whatever would let one row of a batch see another. */
static void the_batch_is_not_mixed(void **state)
{
	(void)state;
	op_refused("y = Gemm x w transA=1", "transA = 1 would mix the rows");
	op_refused("y = Softmax x axis=0", "axis 0 is the batch");
	op_refused_at("y = Softmax x axis=0", 11, 0, "axis 0 is the batch");
	op_refused("y = ReduceSum x", "reduces all dimensions, the batch too");
	op_refused("y = ReduceMean x axes=[0,1]", "axis 0 is the batch");
	op_refused("y = ReduceMax x axes=[-2]", "axis -2 is the batch");
	op_refused("y = ArgMax x", "axis 0 is the batch");
	op_refused("y = Concat x x axis=0", "axis 0 is the batch");
	op_refused("y y2 = Split x", "axis 0 is the batch");
	op_refused("y = Slice x #0 #1", "takes some rows of the batch");
	op_refused("y = Slice x #1 #9223372036854775807 #0", "takes some rows of the batch");
	op_refused("y = Gather x ##0", "picks rows of the batch");
	op_refused("y = Gather x i axis=1", "both the data and the indices are computed");
	op_refused("y = Gather w i axis=1", "along axis 1");
	op_refused("y = Transpose x", "moves the batch");
	op_refused("y = Flatten z axis=2", "makes one dimension of the batch and others");
	op_refused("y = Flatten z axis=0", "makes one dimension of the batch and others");
	op_refused("y = Squeeze x #0", "axis 0 is the batch");
	op_refused("y = Unsqueeze x #0", "puts a dimension before the batch");
	op_refused("y = Tile x #2,1", "repeats the batch");
	op_refused("y = Expand x #2,1,4", "puts dimensions before the batch");
	op_refused("y = Expand x #5,4", "expands the batch");
	op_refused("y = LayerNormalization x w axis=0", "axis 0 is the batch");
	op_refused("y = MatMul v x", "rows would be mixed");
	op_refused("y = MatMul w x", "goes over the batch");
	op_refused("y = MatMul x x", "goes over the batch");
	op_refused("y = Add x v", "batch");
	op_refused("y = Add x w", "a constant differs from row to row");
	op_refused("y = OneHot i ##3 $0,1 axis=0", "axis 0 is the batch");
	op_refused("y = ml.ArrayFeatureExtractor v #0", "axis -1 is the batch");
	op_refused("y = ml.ArrayFeatureExtractor x v", "rows of a batch would be mixed");
}

/* The size of the batch is not known before a request comes. */
static void the_batch_is_not_computed_with(void **state)
{
	(void)state;
	op_refused("n = Size x; y = Reshape x n", "counts the elements of the whole batch");
	op_refused("n = Shape x; m = Mul n #2,2; y = Reshape x m", "size of the batch");
	op_refused("n = Shape x; f = Cast n to=1; y = Mul x f", "size of the batch");
	op_refused("n = Shape x; b = Gather n ##0; r = Range ##0 b ##1; y = Add x r",
		   "counts the rows of the batch");
	op_refused("n = Shape x; b = Gather n #0; y = Slice x #0 b #1", "by the size of the batch");
	op_refused("n = Shape x; b = Gather n #0; y = Slice x b #3 #1", "by the size of the batch");
	op_refused("n = Shape x; c = Concat #4 n axis=0; k2 = ConstantOfShape c; y = Add x k2",
		   "cannot make a dimension 1");
}

/* What has no answer, or one that floats cannot hold. */
static void numbers(void **state)
{
	(void)state;
	op_refused("y = Div i #0", "divides integers by 0");
	op_refused("y = Mod i #0", "divides integers by 0");
	op_refused("y = Mod x $2,2,2,2", "fmod = 0 is for integers");
	op_refused("y = BitShift i #1 direction='LEFT'", "shifts signed integers");
	op_refused("y = PRelu x %1e300", "the float64 constant 1e+300 is beyond float32");
	op_refused("y = PRelu x %1e-300", "the float64 constant 1e-300 is beyond float32");
}

static void reshapes(void **state)
{
	(void)state;
	op_refused("y = Reshape x #1,4", "must start with the batch");
	op_refused("y = Reshape x #2,-1", "must start with the batch");
	op_refused_at("y = Reshape x #4,-1", 18, 5, "must start with the batch");
	op_refused("y = Reshape x #0,2,2 allowzero=1", "must start with the batch");
	op_refused("y = Reshape x #-1", "rows of a batch would be mixed");
	op_refused("r = Reshape z #-1,3; y = Softmax r", "rows of a batch would be mixed");
	op_refused("r = Reshape z #-1,3; y = MatMul r $1,0,2", "rows of a batch would be mixed");
	op_refused("r = Reshape z #-1,3; y = Reshape r #0,6", "rows that are mixed");
	op_refused("y = Reshape z #-1,2", "makes rows of 2 columns from 6");
	op_refused("y = Reshape x #-1,5", "makes rows of 5 columns from 4");
	op_refused("y = Reshape x #0,-1,-1", "makes rows of 0 columns");
	op_refused("y = Reshape x #0,-1,3", "makes rows of 3 columns");
	op_refused("y = Reshape x #0,-4,-1", "makes rows of 0 columns");
	op_refused("y = Reshape x #0,9223372036854775807,9223372036854775807",
		   "makes rows of 0 columns");
	op_refused("y = Reshape x i", "computed, must be a constant");
	op_refused("y = Reshape x $1,4", "must be a list of integers");
	op_refused("c = Reshape w #5,2; y = Add x c", "12 numbers do not fill");
	op_refused("y = Squeeze z #1", "dimension 1 is 2, not 1");
	op_refused_at("y = Squeeze x", 18, 1, "may drop the batch");
	op_refused("y = Unsqueeze x #1,1", "axis 1 is there twice");
	op_refused("y = Unsqueeze x #1,2,3,4,5,6,7", "more than 8 dimensions");
	op_refused("y = Transpose z perm=[0,1,1]", "each dimension once");
	op_refused("y = Transpose z perm=[0,1]", "perm has 2 numbers");
	op_refused("y = Flatten x axis=3", "outside of 2 dimension(s)");
	op_refused("y = Softmax x axis=2", "axis 2 is outside of 2 dimension(s)");
}

static void products(void **state)
{
	(void)state;
	op_refused("y = Gemm x x", "the second matrix is computed");
	op_refused("y = Gemm z w", "3 and 2 dimensions, must have 2");
	op_refused("y = Gemm x w transB=1", "a matrix for 3 columns, but input 0 has 4");
	op_refused("y = Gemm x w w", "a constant differs from row to row");
	op_refused("y = Gemm x w alpha=1", "'alpha'");
	op_refused("y = Gemm - w", "input 0 is left out");
	op_refused("y = MatMul x -", "input 1 is left out");
	op_refused("y = MatMul x k", "holds several matrices");
	op_refused("y = MatMul z w", "a matrix for 4 columns, but input 0 has 3");
	op_refused("y = MatMul x $$2", "a single number");
	op_refused("a = MatMul z z; y = Relu a", "3 columns times 2 rows");
}

static void picks(void **state)
{
	(void)state;
	op_refused("y = Slice x #0 #0 #1", "takes nothing of dimension 1");
	op_refused("y = Slice x #0 #4 #1 #0", "the step is 0");
	op_refused("y = Slice x #0,0 #4 #1", "different lengths");
	op_refused("y = Slice x i #4 #1", "computed, must be a constant");
	op_refused("y y2 = Split x #3,2 axis=1", "part 1 has 2 of 4 elements");
	op_refused("y y2 = Split x #3,-1 axis=1", "part 1 has -1 of 4 elements");
	op_refused("y y2 = Split x #1,2 axis=1", "the parts have 3 elements, there are 4");
	op_refused("y y2 y3 = Split x axis=1", "do not go into 3 equal parts");
	op_refused("y y2 y3 = Split x axis=1 num_outputs=3", "part 2 has 0 of 4");
	op_refused("y y2 = Split x axis=1 num_outputs=3", "another number of parts");
	op_refused("y = Gather x #4 axis=1", "index 4 is outside of dimension 1 (4)");
	op_refused("y = Gather x #-5 axis=1", "index -5 is outside");
	op_refused("y = Gather x $1 axis=1", "indices must be integers");
	op_refused("y = Concat x z axis=1", "2 and 3 dimensions");
	op_refused("y = Concat z k axis=2", "dimension 0 differs");
	op_refused("y = Tile x #1", "repeats 1 dimensions");
	op_refused("y = Tile x #1,9223372036854775807", "times");
	op_refused("y = Expand x #1,5", "expands dimension 1 from 4 to 5");
	op_refused("y = OneHot i ##0 $0,1", "the depth must be");
	op_refused("y = OneHot i ##3 $0,1,2", "needs two values");
	op_refused("r = Range ##0 ##1 ##0; y = Add x r", "gives no range");
	op_refused("r = Range ##0 ##9223372036854775807 ##1; y = Add x r", "more than");
	op_refused("c = ConstantOfShape #0,4; y = Add x c", "cannot make a dimension");
}

static void types_and_parameters(void **state)
{
	(void)state;
	op_refused("y = Cast x to=8", "makes texts of numbers");
	op_refused("y = Cast x to=14", "type 14");
	op_refused("y = Celu x alpha=0.0", "alpha is 0");
	op_refused("y = Elu x alpha=nan", "not a number");
	op_refused("y = Gelu x approximate='fast'", "'none' or 'tanh'");
	op_refused("y = Clip x v", "computed, must be a constant");
	op_refused("y = Clip x $1,2", "has 2 numbers, must have 1");
	op_refused("y = PRelu x k", "the slope has 3 dimensions");
	op_refused("y = LpNormalization x p=3", "p is 3");
	op_refused("y = LayerNormalization x k", "rows of 2 dimensions meet 3");
	op_refused("y = BatchNormalization z $1,1 $1,1 $1,1 $1,1 training_mode=1", "training");
	op_refused("y = BatchNormalization z $1,1,1 $1,1 $1,1 $1,1", "2 channels");
	op_refused("y y2 = BatchNormalization z $1,1 $1,1 $1,1 $1,1", "output 1 is of training");
	op_refused("y = Dropout x - #1", "training mode");
	op_refused("c = Constant; y = Add x c", "no dense value");
	op_refused("y = Add x 'a','b'", "text");
}

static void labels(void **state)
{
	const char *encode = "t = ml.LabelEncoder i keys_int64s=[0,1] values_strings=['a','b']; %s";
	char text[256];

	(void)state;
	snprintf(text, sizeof(text), encode, "y = Add t #1");
	op_refused(text, "class labels");
	snprintf(text, sizeof(text), encode, "y = Cast t to=1");
	op_refused(text, "class labels");
	snprintf(text, sizeof(text), encode, "y = Concat t t axis=1");
	op_refused(text, "class labels");
	snprintf(text, sizeof(text), encode,
		 "y = ml.LabelEncoder t keys_int64s=[1] "
		 "values_int64s=[2]");
	op_refused(text, "keys do not fit");
}

static void traditional_models(void **state)
{
	(void)state;
	op_refused("y = ml.Scaler x offset=[1.0,2.0] scale=[1.0]", "offset has 2 numbers for 4");
	op_refused("y = ml.Scaler x offset=[1.0]", "no attribute 'scale'");
	op_refused("y = ml.Normalizer x norm='L3'", "norm must be");
	op_refused("y = ml.Normalizer v", "must have 2");
	op_refused("y = ml.Imputer x", "one of them");
	op_refused("y = ml.LinearRegressor x coefficients=[1.0,2.0,3.0]", "3 coefficients");
	op_refused(
		"y = ml.LinearRegressor x coefficients=[1.0,2.0,3.0,4.0] post_transform='PROBIT'",
		"PROBIT is not supported");
	op_refused("y = ml.LinearRegressor x coefficients=[1.0,2.0,3.0,4.0] intercepts=[1.0,2.0]",
		   "2 intercepts");
	op_refused("y = ml.LinearRegressor z coefficients=[1.0,2.0,3.0,4.0]", "(batch, columns)");
	op_refused("y y2 = ml.LinearClassifier x coefficients=[1.0,2.0,3.0,4.0]", "'intercepts'");
	op_refused("y y2 = ml.LinearClassifier x coefficients=[1.0,2.0,3.0,4.0] intercepts=[0.0] "
		   "classlabels_ints=[1,2,3]",
		   "3 labels for 2 classes");
	op_refused("y = ml.LabelEncoder i keys_int64s=[1,2] values_floats=[1.0]",
		   "keys do not fit");
	op_refused("y = ml.LabelEncoder i keys_int64s=[1]", "has no values");
	op_refused("y = ml.LabelEncoder i keys_strings=['a'] values_floats=[1.0]",
		   "keys do not fit");
	op_refused("y = ml.LabelEncoder i keys_int64s=[1] values_int64s=[2] default_int64=16777217",
		   "16777217 is too large");
	op_refused("y = ml.LabelEncoder i keys_int64s=[1] values_int64s=[2] "
		   "default_tensor=#-9223372036854775807",
		   "-9223372036854775807 is too large");
	op_refused("y y2 = ml.LinearClassifier x coefficients=[1.0,2.0,3.0,4.0] intercepts=[0.0] "
		   "classlabels_ints=[1,20260131]",
		   "20260131 is too large");
	op_refused("m = ArgMax x axis=1; y = ml.ArrayFeatureExtractor #-16777217,2,3,4 m",
		   "-16777217 is too large");
	op_refused("m = ArgMax x axis=1; y = Gather #1,2,3,16777217 m", "16777217 is too large");
	op_refused("y = ml.ZipMap x classlabels_strings=['a','b']", "2 classes");
	op_refused("y = ml.FeatureVectorizer x inputdimensions=[3]", "rows of 3 columns");
	op_refused("y = ml.ArrayFeatureExtractor x #4", "index 4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_batch_is_not_mixed),
		cmocka_unit_test(the_batch_is_not_computed_with),
		cmocka_unit_test(numbers),
		cmocka_unit_test(reshapes),
		cmocka_unit_test(products),
		cmocka_unit_test(picks),
		cmocka_unit_test(types_and_parameters),
		cmocka_unit_test(labels),
		cmocka_unit_test(traditional_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
