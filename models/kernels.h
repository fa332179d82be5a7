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
	X(EMBED, "embed")     /* in (1) is a number i: row i of weights                            \
				 (entries, out_cols); where alpha < 0,                             \
				 -entries <= i < 0 counts from the end; any other i                \
				 gives a row of NaN, and a plan refuses it */                      \
	X(COLUMNS, "columns") /* out[c] = in[weights[c]], weights being uint32_t                   \
				 (out_cols) < in_cols */                                           \
	X(FILL, "fill")	      /* out = bias (out_cols), whatever `in` */                           \
	X(LOOKUP, "lookup")   /* elementwise: the bias of the entry whose weights                  \
				 equals in, else alpha; weights are sorted upward;                 \
				 a NaN key, when there is one, is the last and                     \
				 matches NaN; where beta is 1, a plan refuses what                 \
				 equals none */                                                    \
	X(CENTER, "center")   /* out = activation((in - offset) * scale + bias),                   \
				 elementwise; weights (2, out_cols): the offsets, then             \
				 the scales. The difference is rounded by itself, so               \
				 it is exact where in is near its offset */

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
	X(NOT, "not") /* x == 0 */

enum fg_activation {
#define FG_ACTIVATION_ENUM(name, label) FG_ACTIVATION_##name,
	FG_ACTIVATIONS(FG_ACTIVATION_ENUM)
#undef FG_ACTIVATION_ENUM
		FG_ACTIVATION_COUNT
};

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
	uint32_t entries;  /* EMBED, LOOKUP: >= 1 */
	enum fg_weights format;	       /* DENSE */
	enum fg_activation activation; /* DENSE .. EQUAL, CENTER; else NONE */
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
