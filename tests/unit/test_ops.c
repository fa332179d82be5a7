/*
 * models/ops*: what the operators of ai.onnx make of one row, computed by hand. All of them against
 * onnxruntime: tests/models/check_operators.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "models/ops.h"
#include "tests/unit/op_program.h"

static void elementwise(void **state)
{
	(void)state;
	op_gives("y = Neg x", "-1 2 -3 -0.5");
	op_gives("y = Add x $10,20,30,40", "11 18 33 40.5");
	op_gives("y = Sub $$1 x", "0 3 -2 0.5");
	op_gives("y = Div $$6 x", "6 -3 2 12");
	op_gives("y = Add z $1,2,3", "2 4 6 5 7 9");
	op_gives("a b = Split z axis=1 num_outputs=2; y = Mul z a", "1 4 9 4 10 18");
	op_gives("y = Pow x $$2", "1 4 9 0.25");
	op_gives("y = Pow $$2 x", "2 0.25 8 1.41421356");
	op_gives("y = Max x $$0 $2,-9,1,1", "2 0 3 1");
	op_gives("y = Mean x $$3 $$2", "2 1 2.66666667 1.83333333");
	op_gives("y = Sum x", "1 -2 3 0.5");
	op_gives("y = PRelu x $10,10,10,10", "1 -20 3 0.5");
	op_gives("y = LeakyRelu x alpha=0.5", "1 -1 3 0.5");
	op_gives("y = ThresholdedRelu x", "0 0 3 0");
	op_gives("y = HardSigmoid x", "0.7 0.1 1 0.6");
	op_gives("y = Round x", "1 -2 3 0");
	op_gives_at("y = Clip x min=-1.0 max=2.0", 7, 0, "1 -1 2 0.5");
	op_gives("y = Clip x - $$2", "1 -2 2 0.5");
	op_gives_at("y = Swish x alpha=0.0", 24, 0, "0.5 -1 1.5 0.25");
}

static void truths(void **state)
{
	(void)state;
	op_gives("y = Greater x $$0.5", "1 0 1 0");
	op_gives("y = GreaterOrEqual x $$0.5", "1 0 1 1");
	op_gives("a = Greater x $$0; b = Less x $$2; y = And a b; y2 = Or a b; y3 = Xor a b",
		 "1 0 0 1 1 1 1 1 0 1 1 0");
	op_gives("a = Greater x $$0; y = Where a x $$-1", "1 -1 3 0.5");
	op_gives("a = Greater x $$0; y = Not a", "0 1 0 0");
	op_gives("a = Div x $$0; y = IsInf a; y2 = IsInf a detect_positive=0; y3 = IsNaN a",
		 "1 1 1 1 0 1 0 0 0 0 0 0");
}

/* i = 2 0 are integers: their quotients are rounded towards 0, and so are casts. */
static void integers(void **state)
{
	(void)state;
	op_gives("a = Sub i #7; y = Div a #2", "-2 -3");
	op_gives("a = Add i #5; b = Add i #2; y = Div a b", "1 2");
	op_gives("a = Div i #2; y = ReduceMean a axes=[1]", "0");
	op_gives("y = Pow i $$0.5; a = Add i #2; y2 = Pow a $$-1", "1 0 0 0");
	op_gives("y = Cast x to=7", "1 -2 3 0");
	op_gives("a = Mul x $$1.9; y = Cast a to=6", "1 -3 5 0");
	op_gives("y = Cast x to=9", "1 1 1 1");
	op_gives("a = Cast i to=1; y = Div a $$4", "0.5 0");
	op_gives("a = Add i #1; y = ReduceMean a axes=[1]", "2");
	op_gives("a = CastLike x i; y = Div a #2", "0 -1 1 0");
	op_gives("a = CastLike i x; y = Div a $$4", "0.5 0");
}

/* Exact above 2^24, where no float is. */
static void large_integers(void **state)
{
	(void)state;
	op_gives("y = Equal i #16777217; y2 = Less i #16777217", "0 0 1 1");
	op_gives("a = Add i #16777217; y = Equal a #16777219,16777217", "1 1");
	op_gives("a = Mul i #9007199254740993; y = Mod a #1000", "986 0");
	op_gives("a = Mul i #123456789; b = Div a #1000; c = Mul b #1000; y = Sub a c", "578 0");
	op_gives("a = Sub i #3; y = Mod a #5; y2 = Mod a #5 fmod=1", "4 2 -1 -3");
	op_gives("a = Add i #123456789; y = ml.LabelEncoder a keys_int64s=[123456789,123456791] "
		 "values_int64s=[7,8]",
		 "8 7");
	op_gives("a = Add i #300; y = Cast a to=2; y2 = Cast a to=3", "46 44 46 44");
	op_gives("y = BitwiseXor i #5; y2 = BitwiseNot i", "7 5 -3 -1");
}

/* Beyond what floats are. */
static void float64(void **state)
{
	(void)state;
	op_gives("d = Cast x to=11; a = Mul d %1e300; y = Div a %1e300", "1 -2 3 0.5");
	op_gives("d = Cast x to=11; a = Add d %1e10; y = Sub a %1e10", "1 -2 3 0.5");
	op_gives("d = Cast x to=11; y = Less d %0.50000000001; y2 = Less d %0.5",
		 "0 1 0 1 0 1 0 0");
}

static void products(void **state)
{
	(void)state;
	op_gives("y = MatMul x w", "19 21.5 24");
	op_gives("y = Gemm x w $1,2,3 alpha=2.0 beta=-1.0", "37 41 45");
	op_gives("t = Transpose w; y = Gemm x t $1,2,3 transB=1", "20 23.5 27");
	op_gives("y = Gemm x w $nan,nan,nan beta=0.0", "19 21.5 24");
	op_gives("y = MatMul z $1,0,2", "7 16");
	op_gives("y = MatMul $1,10 z", "41 52 63");
	op_gives("t = Transpose z perm=[0,2,1]; y = MatMul z t", "14 32 32 77");
	op_gives("a = MatMul k $1,0,0; b = MatMul z $1,1,1; y = MatMul b a", "111 174");
	op_gives("a = Gemm w w transA=1; y = MatMul z a", "1172 1336 1500 2864 3262 3660");
}

static void normalizations(void **state)
{
	(void)state;
	op_gives("y = BatchNormalization z $2,1 $1,0 $1,4 $3,0 epsilon=1.0", "1 2 3 0 1 2");
	op_gives("y = LayerNormalization z $1,1,1 $0,10,0 epsilon=0.0",
		 "-1.2247449 10 1.2247449 -1.2247449 10 1.2247449");
	op_gives("y = LayerNormalization x $$2 epsilon=2.0",
		 "0.32978983 -2.3085288 2.0886689 -0.10992994");
	op_gives("a y y2 = LayerNormalization z $1,1,1 - epsilon=0.0", "2 5 1.2247449 1.2247449");
	op_gives("a = Reshape z #0,6; y = LpNormalization a p=1",
		 "0.047619048 0.095238095 0.14285714 "
		 "0.19047619 0.23809524 0.28571429");
	op_gives("a = Mul z $$0; y = LpNormalization a axis=1", "0 0 0 0 0 0");
	op_gives_at("y = RMSNormalization z $1,1,2 epsilon=0.0", 23, 0,
		    "0.46291005 0.9258201 2.77746033 0.78954203 0.98692754 2.36862611");
}

/* Before opset 13, all dimensions from the axis on are one. */
static void softmaxes(void **state)
{
	(void)state;
	op_gives("a = Mul z $$0; y = Softmax a", "0.33333333 0.33333333 0.33333333 0.33333333 "
						 "0.33333333 0.33333333");
	op_gives("a = Mul z $$0; y = Softmax a axis=1", "0.5 0.5 0.5 0.5 0.5 0.5");
	op_gives_at("a = Mul z $$0; y = Softmax a", 12, 0,
		    "0.16666667 0.16666667 0.16666667 0.16666667 0.16666667 0.16666667");
	op_gives("a = Mul z $$0; y = LogSoftmax a axis=-2",
		 "-0.69314718 -0.69314718 -0.69314718 -0.69314718 -0.69314718 -0.69314718");
}

static void shapes(void **state)
{
	(void)state;
	op_gives("a = Reshape z #0,3,-1; y = Slice a #1 #2 #1", "3 4");
	op_gives("a = Reshape z #-1,6; y = Gather a #0 axis=1", "1");
	op_gives_at("a = Reshape x #5,2,2; y = Gather a ##1 axis=2", 18, 5, "-2 0.5");
	op_gives("r = Reshape z #-1,3; m = Reshape $1,0,2 #3,1; p = MatMul r m; "
		 "y = Reshape p #-1,2",
		 "7 16");
	op_gives("a = Reshape v #-1,1; y = Concat a x axis=1", "7 1 -2 3 0.5");
	op_gives("a = Unsqueeze v #1; y = Mul a x", "7 -14 21 3.5");
	op_gives("a = Unsqueeze x axes=[-1]; b = Squeeze a axes=[2]; y = Relu b", "1 0 3 0.5");
	op_gives("a = Flatten z; y = Gather a #5,0 axis=-1", "6 1");
	op_gives("y = Transpose z perm=[0,2,1]", "1 4 2 5 3 6");
	op_gives("a = Tile x #1,262144; b = Abs a; y = ReduceMax b axes=[1]", "3");
	op_gives("y = Tile z #1,2,1", "1 2 3 4 5 6 1 2 3 4 5 6");
	op_gives("a = Reshape x #0,4,1; y = Expand a #1,1,2", "1 1 -2 -2 3 3 0.5 0.5");
	op_gives("y y2 = Dropout x; y3 = Identity v", "1 -2 3 0.5 1 1 1 1 7");
}

/* Shapes are computed with, as exporters do, and the batch is carried along. */
static void computed_shapes(void **state)
{
	(void)state;
	op_gives("n = Shape z; b = Gather n ##0; c = Unsqueeze b #0; t = Concat c #-1 axis=0; "
		 "a = Reshape z t; y = Slice a #-2 #9223372036854775807 #1",
		 "5 6");
	op_gives("n = Shape z start=1; p = ReduceProd n axes=[0] keepdims=1; "
		 "t = Concat #-1 p axis=0; a = Reshape z t; y = Gather a ##3 axis=1",
		 "4");
	op_gives("n = Shape x; c = ConstantOfShape n; y = Add x c", "1 -2 3 0.5");
	op_gives("n = Shape x; e = Equal n #-1,-1; o = Where e #1,1 n; y = Expand $9,9,9,9 o",
		 "9 9 9 9");
	op_gives("c = Cast $1,0 to=9; n = Shape x; t = Where c n #1,4; y = Reshape x t",
		 "1 -2 3 0.5");
	op_gives("n = Size w; f = Cast n to=1; y = Div x f", "0.083333333 -0.16666667 0.25 "
							     "0.041666667");
	op_gives("r = Range ##3 ##-1 ##-1; y = Gather x r axis=1", "0.5 3 -2 1");
	op_gives("n = Shape x; e = Slice n #0 #0; c = ConstantOfShape e; y = Add x c",
		 "1 -2 3 0.5");
}

static void picks(void **state)
{
	(void)state;
	op_gives("y2 y = Split x #3,1 axis=1", "1 -2 3 0.5");
	op_gives("y2 y = Split z axis=2 num_outputs=2", "1 2 4 5 3 6");
	op_gives("y = Slice x #3 #-9223372036854775808 #1 #-2", "0.5 -2");
	op_gives("y = Slice x #0,1 #9223372036854775807,3 #0,1", "-2 3");
	op_gives("y = Gather $10,20,30 i", "30 10");
	op_gives("a = Sub i #1; y = Gather w a", "4 5 6 10 11 12");
	op_gives("a = Add i #9; y = Gather $10,20,30 a", "nan nan");
	op_gives("y = Gather z #1,-1 axis=2", "2 3 5 6");
	op_gives("a = Sub i #1; y = OneHot a ##3 $5,6", "5 6 5 5 5 6");
	op_gives("a = Add i #2; y = OneHot a ##3 #0,1 axis=1", "0 0 0 0 0 1");
	op_gives("c = Reshape $8,9 #1,2; y = Concat x c axis=-1", "1 -2 3 0.5 8 9");
}

static void reductions(void **state)
{
	(void)state;
	op_gives("y = ReduceSum z #1; y2 = ReduceSum z #-1,1 keepdims=0", "5 7 9 21");
	op_gives("y = ReduceMax z #1; y2 = ReduceMin x #1; y3 = ReduceL1 x #1", "4 5 6 -2 6.5");
	op_gives("y = ReduceProd z axes=[2]; y2 = ReduceSumSquare z axes=[1]", "6 120 17 29 45");
	op_gives("y = ReduceLogSumExp z axes=[2]", "3.40760596 6.40760596");
	op_gives("a = Mul x $$1000; y = ReduceLogSumExp a axes=[1]", "3000");
	op_gives("s = ReduceSum w keepdims=0; y = Sub x s", "-77 -80 -75 -77.5");
	op_gives("y = ReduceL2 x noop_with_empty_axes=1", "1 2 3 0.5");
	op_gives("y = ArgMax x axis=1; y2 = ArgMin z axis=1 keepdims=0", "2 0 0 0");
	op_gives("a = Mul x $$0; y = ArgMax a axis=1 select_last_index=1", "3");
}

static void names_and_domains(void **state)
{
	const struct fg_text empty = {"", 0}, standard = {"ai.onnx", 7}, ml = {"ai.onnx.ml", 10};
	const struct fg_text other = {"com.microsoft", 13}, gemm = {"Gemm", 4}, conv = {"Conv", 4};
	const struct fg_text scaler = {"Scaler", 6}, lstm = {"LSTM", 4}, no = {"Nothing", 7};
	const struct fg_text tree = {"TreeEnsembleClassifier", 22};

	(void)state;
	assert_non_null(fg_op_find(empty, gemm));
	assert_ptr_equal(fg_op_find(empty, gemm), fg_op_find(standard, gemm));
	assert_null(fg_op_find(ml, gemm));
	assert_null(fg_op_find(other, gemm));
	assert_non_null(fg_op_find(ml, scaler));
	assert_null(fg_op_find(empty, scaler));
	assert_null(fg_op_find(empty, conv));
	assert_non_null(strstr(fg_op_advice(empty, conv), "images"));
	assert_non_null(strstr(fg_op_advice(standard, lstm), "loops"));
	assert_non_null(strstr(fg_op_advice(ml, tree), "trees"));
	assert_non_null(strstr(fg_op_advice(other, gemm), "ai.onnx"));
	assert_non_null(strstr(fg_op_advice(empty, no), "dense"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elementwise),
		cmocka_unit_test(truths),
		cmocka_unit_test(integers),
		cmocka_unit_test(large_integers),
		cmocka_unit_test(float64),
		cmocka_unit_test(products),
		cmocka_unit_test(normalizations),
		cmocka_unit_test(softmaxes),
		cmocka_unit_test(shapes),
		cmocka_unit_test(computed_shapes),
		cmocka_unit_test(picks),
		cmocka_unit_test(reductions),
		cmocka_unit_test(names_and_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
