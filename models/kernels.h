/*
 * kernels.h: what a plan's steps can do, and one table of kernels per instruction set.
 *
 * models/kernel_*.c are compiled once per ISA (Makefile): with -DFG_ISA=c they give the plain C
 * reference, with any other ISA the vector code over models/vec.h. Every table has every kernel.
 *
 * Rules for every kernel:
 * - batch-invariant: the bits of an output row depend on that input row alone, not on `rows` or
 *   the row's position; so each output is accumulated in an order that depends on the step's
 *   shape only;
 * - reads no byte outside the rows, weights and bias given, and writes none outside the rows'
 *   out_cols columns;
 * - `in`, `other`, `third` and `out` may have any alignment, `weights` and `bias` are 64-byte
 *   aligned;
 * - NaN and infinity go through as IEEE 754 says. A comparison with NaN is false; MIN, MAX, CLIP
 *   and RELU of NaN are NaN.
 */
#ifndef FG_MODELS_KERNELS_H
#define FG_MODELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/*
 * X(NAME, "name"): the kinds of steps, numbered as in a plan. Append only.
 *
 * Elementwise kinds have in_cols == out_cols. All others work on each row as a whole; where a
 * model means the last axis of more than one dimension, the plan calls the kernel with one row
 * for each group (models/plan_format.h). Truth is 1.0f, falsehood 0.0f; a condition is true when
 * it is not 0 (NaN is true).
 */
#define FG_STEP_KINDS(X)                                                                           \
	X(DENSE, "dense")	    /* out = activation(in x weights + bias [+ other]) */          \
	X(ACTIVATION, "activation") /* out = activation(in); NONE copies */                        \
	X(AFFINE, "affine")	    /* out = activation(in * weights + bias), elementwise */       \
	X(ADD, "add")		    /* out = activation(in + other), and so on: */                 \
	X(SUB, "sub")                                                                              \
	X(MUL, "mul")                                                                              \
	X(DIV, "div")                                                                              \
	X(MIN, "min")                                                                              \
	X(MAX, "max")                                                                              \
	X(POW, "pow")		      /* as powf() */                                              \
	X(PRELU, "prelu")	      /* in < 0 ? other * in : in */                               \
	X(LESS, "less")		      /* in < other */                                             \
	X(LESS_EQUAL, "less_equal")   /* in <= other */                                            \
	X(EQUAL, "equal")	      /* in == other */                                            \
	X(SELECT, "select")	      /* in is true ? other : third */                             \
	X(SOFTMAX, "softmax")	      /* of the row */                                             \
	X(LOG_SOFTMAX, "log_softmax") /* of the row */                                             \
	X(NORMALIZE, "normalize")     /* (in - mean) / sqrt(variance + alpha) * weights + bias,    \
					 mean and variance (of the population) of the row */       \
	X(REDUCE_SUM, "reduce_sum")   /* out_cols == 1 for this and all up to ARG_MIN */           \
	X(REDUCE_MEAN, "reduce_mean")                                                              \
	X(REDUCE_MIN, "reduce_min")                                                                \
	X(REDUCE_MAX, "reduce_max")                                                                \
	X(REDUCE_L1, "reduce_l1") /* sum of |in| */                                                \
	X(REDUCE_L2, "reduce_l2") /* sqrt(sum of in * in) */                                       \
	X(ARG_MAX, "arg_max")	  /* the first column that holds the row's maximum */              \
	X(ARG_MIN, "arg_min")                                                                      \
	X(EMBED, "embed")	      /* in (1) is a number i: row i of weights                    \
					 (entries, out_cols); where alpha < 0,                     \
					 -entries <= i < 0 counts from the end; any other i        \
					 gives a row of NaN, and a plan refuses it */              \
	X(COLUMNS, "columns")	      /* out[c] = in[weights[c]], weights being uint32_t           \
					 (out_cols) < in_cols */                                   \
	X(FILL, "fill")		      /* out = bias (out_cols), whatever `in` */                   \
	X(LOOKUP, "lookup")	      /* elementwise: the bias of the entry whose weights          \
					 equals in, else alpha; weights are sorted upward;         \
					 a NaN key, when there is one, is the last and             \
					 matches NaN; where beta is 1, a plan refuses what         \
					 equals none */                                            \
	X(CENTER, "center")	      /* out = activation((in - offset) * scale + bias),           \
					 elementwise; weights (2, out_cols): the offsets, then     \
					 the scales. The difference is rounded by itself, so       \
					 it is exact where in is near its offset */                \
	X(WIDE, "wide")		      /* elementwise, as `operation` says (FG_WIDE_OPERATIONS) */  \
	X(WIDE_SELECT, "wide_select") /* of wide numbers: in (n) is true ? other (2n) : third */   \
	X(WIDE_REDUCE, "wide_reduce") /* all wide numbers of in (2n) to one, from the first on:    \
					 `operation` is an ADD, MIN or MAX */                      \
	X(WIDE_LOOKUP,                                                                             \
	  "wide_lookup") /* in (2n), wide integers: which of the weights (entries                  \
			    int64, sorted upward) each equals, else entries; a float */

enum fg_step_kind {
#define FG_STEP_ENUM(name, label) FG_STEP_##name,
	FG_STEP_KINDS(FG_STEP_ENUM)
#undef FG_STEP_ENUM
		FG_STEP_KIND_COUNT
};

/* X(NAME, "name"): activations, numbered as in a plan. Append only. a: alpha, b: beta. */
#define FG_ACTIVATIONS(X)                                                                          \
	X(NONE, "none")                                                                            \
	X(RELU, "relu")                                                                            \
	X(LEAKY_RELU, "leaky_relu") /* x < 0 ? a x : x */                                          \
	X(CLIP, "clip")		    /* min(max(x, a), b) */                                        \
	X(SIGMOID, "sigmoid")                                                                      \
	X(TANH, "tanh")                                                                            \
	X(SILU, "silu")			/* x sigmoid(a x) */                                       \
	X(GELU, "gelu")			/* x (1 + erf(x / sqrt 2)) / 2 */                          \
	X(GELU_TANH, "gelu_tanh")	/* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */    \
	X(ELU, "elu")			/* x < 0 ? a (e^x - 1) : x */                              \
	X(SELU, "selu")			/* b (x < 0 ? a (e^x - 1) : x) */                          \
	X(CELU, "celu")			/* x < 0 ? a (e^(x / a) - 1) : x; a != 0 */                \
	X(HARD_SIGMOID, "hard_sigmoid") /* min(max(a x + b, 0), 1) */                              \
	X(HARD_SWISH, "hard_swish")	/* x min(max(x / 6 + 1 / 2, 0), 1) */                      \
	X(SOFTPLUS, "softplus")		/* log(1 + e^x) */                                         \
	X(SOFTSIGN, "softsign")		/* x / (1 + |x|) */                                        \
	X(MISH, "mish")			/* x tanh(softplus(x)) */                                  \
	X(ERF, "erf")                                                                              \
	X(EXP, "exp")                                                                              \
	X(LOG, "log")                                                                              \
	X(SQRT, "sqrt")                                                                            \
	X(RECIPROCAL, "reciprocal")                                                                \
	X(ABS, "abs")                                                                              \
	X(SIGN, "sign") /* -1, 0 or 1; NaN stays */                                                \
	X(FLOOR, "floor")                                                                          \
	X(CEIL, "ceil")                                                                            \
	X(ROUND, "round") /* to the nearest integer, ties to even */                               \
	X(TRUNC, "trunc") /* towards 0 */                                                          \
	X(IS_NAN, "is_nan")                                                                        \
	X(NOT, "not")	/* x == 0 */                                                               \
	X(WRAP, "wrap") /* x modulo b, a power of two, in [a, a + b); a is 0 or -b / 2; exact for  \
			   whole x but those below 0 where a is 0 and b is above 2^24 */           \
	X(TO_INTEGER, "to_integer") /* x towards 0; a where that is not in [a, b), and for NaN */

enum fg_activation {
#define FG_ACTIVATION_ENUM(name, label) FG_ACTIVATION_##name,
	FG_ACTIVATIONS(FG_ACTIVATION_ENUM)
#undef FG_ACTIVATION_ENUM
		FG_ACTIVATION_COUNT
};

/*
 * Wide numbers, for what a float does not hold exactly: int64 (also for uint64) or double, each in
 * two columns next to each other, any alignment. X(NAME, "name", columns of an element that is
 * taken, of one that is given, operands besides `in`, what it is): numbered as in a plan. Append
 * only. x is of `in`, y of `other`. Integers wrap at 64 bits; x / 0 and x mod 0 are 0; shifts of 64
 * and more give 0. Truths are 1 and 0. The same bits on every ISA.
 */
#define FG_WIDE_OPERATIONS(X)                                                                      \
	X(NONE, "none", 1, 1, 0)		 /* of the other kinds of steps */                 \
	X(I64_FROM_F32, "i64_from_f32", 1, 2, 0) /* towards 0; -2^63 where that does not fit */    \
	X(I64_FROM_F64, "i64_from_f64", 2, 2, 0) /* the same */                                    \
	X(I64_NEAR_F64, "i64_near_f64", 2, 2, 0) /* towards 0; the nearest where that does not     \
						    fit; NaN as above */                           \
	X(U64_FROM_F64, "u64_from_f64", 2, 2, 0) /* towards 0; x < 2^63 as I64_FROM_F64, modulo    \
						    2^64; 0 beyond */                              \
	X(U32_FROM_F64, "u32_from_f64", 2, 2, 0) /* the same of 32 bits, -2^31 and 2^31 */         \
	X(F32_FROM_I64, "f32_from_i64", 2, 1, 0) /* to the nearest, ties to even, as all below */  \
	X(F32_FROM_U64, "f32_from_u64", 2, 1, 0)                                                   \
	X(F32_FROM_F64, "f32_from_f64", 2, 1, 0)                                                   \
	X(F64_FROM_F32, "f64_from_f32", 1, 2, 0)                                                   \
	X(F64_FROM_I64, "f64_from_i64", 2, 2, 0)                                                   \
	X(F64_FROM_U64, "f64_from_u64", 2, 2, 0)                                                   \
	X(I64_WRAP, "i64_wrap", 2, 2, 0)   /* modulo beta, a power of two, in [alpha, alpha +      \
					      beta) */                                             \
	X(I64_LIMIT, "i64_limit", 2, 2, 0) /* alpha where not in [alpha, alpha + beta) */          \
	X(I64_ADD, "i64_add", 2, 2, 1)                                                             \
	X(I64_SUB, "i64_sub", 2, 2, 1)                                                             \
	X(I64_MUL, "i64_mul", 2, 2, 1)                                                             \
	X(I64_DIV, "i64_div", 2, 2, 1) /* towards 0 */                                             \
	X(I64_MOD, "i64_mod", 2, 2, 1) /* x - y floor(x / y): has the sign of y */                 \
	X(I64_REM, "i64_rem", 2, 2, 1) /* has the sign of x */                                     \
	X(I64_MIN, "i64_min", 2, 2, 1)                                                             \
	X(I64_MAX, "i64_max", 2, 2, 1)                                                             \
	X(I64_LESS, "i64_less", 2, 2, 1)                                                           \
	X(I64_LESS_EQUAL, "i64_less_equal", 2, 2, 1)                                               \
	X(I64_EQUAL, "i64_equal", 2, 2, 1)                                                         \
	X(I64_AND, "i64_and", 2, 2, 1)                                                             \
	X(I64_OR, "i64_or", 2, 2, 1)                                                               \
	X(I64_XOR, "i64_xor", 2, 2, 1)                                                             \
	X(U64_LEFT, "u64_left", 2, 2, 1)   /* x 2^y */                                             \
	X(U64_RIGHT, "u64_right", 2, 2, 1) /* floor(x / 2^y) */                                    \
	X(U64_DIV, "u64_div", 2, 2, 1)                                                             \
	X(U64_REM, "u64_rem", 2, 2, 1)                                                             \
	X(U64_MIN, "u64_min", 2, 2, 1)                                                             \
	X(U64_MAX, "u64_max", 2, 2, 1)                                                             \
	X(U64_LESS, "u64_less", 2, 2, 1)                                                           \
	X(U64_LESS_EQUAL, "u64_less_equal", 2, 2, 1)                                               \
	X(F64_ADD, "f64_add", 2, 2, 1)                                                             \
	X(F64_SUB, "f64_sub", 2, 2, 1)                                                             \
	X(F64_MUL, "f64_mul", 2, 2, 1)                                                             \
	X(F64_DIV, "f64_div", 2, 2, 1)                                                             \
	X(F64_REM, "f64_rem", 2, 2, 1) /* as fmod() */                                             \
	X(F64_POW, "f64_pow", 2, 2, 1) /* as pow() */                                              \
	X(F64_MIN, "f64_min", 2, 2, 1)                                                             \
	X(F64_MAX, "f64_max", 2, 2, 1)                                                             \
	X(F64_LESS, "f64_less", 2, 2, 1) /* here and below truths are integers */                  \
	X(F64_LESS_EQUAL, "f64_less_equal", 2, 2, 1)                                               \
	X(F64_EQUAL, "f64_equal", 2, 2, 1)                                                         \
	X(F64_ACTIVATION, "f64_activation", 2, 2, 0) /* activation(x), as a double */

enum fg_wide_operation {
#define FG_WIDE_ENUM(name, label, in, out, others) FG_WIDE_##name,
	FG_WIDE_OPERATIONS(FG_WIDE_ENUM)
#undef FG_WIDE_ENUM
		FG_WIDE_OPERATION_COUNT
};

struct fg_wide_shape {
	uint8_t in_cols; /* of an element */
	uint8_t out_cols;
	uint8_t others;
};

static inline struct fg_wide_shape fg_wide_shape(enum fg_wide_operation operation)
{
#define FG_WIDE_SHAPE(name, label, in, out, others) {in, out, others},
	static const struct fg_wide_shape shapes[] = {FG_WIDE_OPERATIONS(FG_WIDE_SHAPE)};
#undef FG_WIDE_SHAPE

	return shapes[operation];
}

/* X(NAME, "name"): how a DENSE step's weights are stored. Numbered as in a plan. Append only. */
#define FG_WEIGHTS(X)                                                                              \
	X(F32, "f32")                                                                              \
	X(BF16, "bf16") /* rounded to nearest even; inputs and sums stay f32 */                    \
	X(INT8, "int8") /* a scale per column; inputs become bytes with a scale per row */

enum fg_weights {
#define FG_WEIGHTS_ENUM(name, label) FG_WEIGHTS_##name,
	FG_WEIGHTS(FG_WEIGHTS_ENUM)
#undef FG_WEIGHTS_ENUM
		FG_WEIGHTS_COUNT
};

/* DENSE biases are padded with zeros to a whole number of these columns; weights as models/pack.h
 * says. */
#define FG_PANEL_COLS 16u

static inline uint32_t fg_panels(uint32_t out_cols)
{
	return (out_cols + FG_PANEL_COLS - 1) / FG_PANEL_COLS;
}

struct fg_kernel_args {
	const float *in;     /* (rows, in_cols); not for FILL */
	size_t in_stride;    /* floats from one row to the next */
	const float *other;  /* (rows, out_cols); DENSE: NULL when there is none */
	size_t other_stride; /* 0: the same row for all */
	const float *third;  /* SELECT: (rows, out_cols) */
	size_t third_stride; /* 0: the same row for all */
	const void *weights; /* as the kind says; DENSE: packed (models/pack.h) */
	const float *bias;   /* as the kind says; DENSE: (fg_panels(out_cols) * FG_PANEL_COLS) */
	float *out;	     /* (rows, out_cols); overlaps nothing above */
	size_t out_stride;
	void *scratch;	   /* DENSE of INT8: fg_pack_scratch_bytes(in_cols, rows) bytes, 64-byte
			      aligned */
	uint32_t rows;	   /* >= 1 */
	uint32_t in_cols;  /* >= 1 */
	uint32_t out_cols; /* >= 1 */
	uint32_t entries;  /* EMBED, LOOKUP, WIDE_LOOKUP: >= 1 */
	enum fg_wide_operation operation; /* WIDE, WIDE_REDUCE; else NONE */
	enum fg_weights format;		  /* DENSE */
	enum fg_activation activation;	  /* DENSE .. EQUAL, CENTER, WIDE of F64_ACTIVATION;
					     else NONE */
	float alpha;
	float beta;
};

/*
 * The kernels of one ISA.
 *
 * Worst error in units in the last place of the true value, over every third float for the
 * functions of one number, and over random rows of up to 2000 columns for softmax (there e^d
 * counts as true for the difference d = x - max as it is rounded to float32). Tests hold every ISA
 * to it (FG_FLOAT_STRIDE=3 test_activation for every third float; make check tries fewer).
 * Activations that are not listed are rounded once. Besides:
 * - SILU and MISH add |x| * 2^-149, the rounding of a denormal e^x; SILU adds |alpha x| units when
 *   alpha is not 1, CELU x / alpha when alpha < 0 and as long as e^(x / alpha) is finite;
 * - GELU_TANH is as good as its rounded exponent: it is worst where the result is below 1e-15;
 * - a dense sum of n products is off by at most (n + 1) * 2^-23 * sum |product|, and so are sums,
 *   means and norms of n columns;
 * - LOG_SOFTMAX of n columns is off by at most (|x - max| + log n + 4) * 2^-22;
 * - NORMALIZE of n columns is off by at most (|y| + 1) * |weight| * (n + 4) * 2^-23 + |bias| *
 *   2^-23, y being the normalized input; a large mean makes it no worse.
 *
 * NaN in a row gives NaN in what depends on it; ARG_MAX and ARG_MIN give the first column that
 * holds NaN. Softmax of a row that holds +infinity is the limit: the infinite columns share 1
 * equally; -infinity gives 0; a row of -infinity alone is uniform. LOG_SOFTMAX is its logarithm.
 */
#define FG_EXP_ULP	  2.0
#define FG_TANH_ULP	  2.0
#define FG_SIGMOID_ULP	  2.0
#define FG_ERF_ULP	  2.0
#define FG_LOG_ULP	  2.0
#define FG_SILU_ULP	  3.0
#define FG_GELU_ULP	  10.0
#define FG_GELU_TANH_ULP  256.0
#define FG_ELU_ULP	  3.0 /* and SELU, CELU */
#define FG_SOFTPLUS_ULP	  3.0
#define FG_MISH_ULP	  4.0
#define FG_SOFTSIGN_ULP	  2.0
#define FG_HARD_SWISH_ULP 3.0
#define FG_SOFTMAX_ULP	  8.0

struct fg_kernels {
	const char *isa; /* "c", "avx2", "avx512", "neon" */
	void (*run[FG_STEP_KIND_COUNT])(const struct fg_kernel_args *args);
};

extern const struct fg_kernels fg_kernels_c;
extern const struct fg_kernels fg_kernels_avx2;	  /* x86-64 only */
extern const struct fg_kernels fg_kernels_avx512; /* x86-64 only */
extern const struct fg_kernels fg_kernels_neon;	  /* aarch64 only */

#endif
