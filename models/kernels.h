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
 * - `in`, `other` and `out` may have any alignment, `weights` and `bias` are 64-byte aligned.
 */
#ifndef FG_MODELS_KERNELS_H
#define FG_MODELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* X(NAME, "name"): the kinds of steps, numbered as in a plan. Append only. */
#define FG_STEP_KINDS(X)                                                                           \
	X(DENSE, "dense")	    /* out = activation(in x weights + bias) */                    \
	X(ADD, "add")		    /* out = activation(in + other) */                             \
	X(ACTIVATION, "activation") /* out = activation(in); NONE copies */                        \
	X(SOFTMAX, "softmax")	    /* out = softmax of each row */

enum fg_step_kind {
#define FG_STEP_ENUM(name, label) FG_STEP_##name,
	FG_STEP_KINDS(FG_STEP_ENUM)
#undef FG_STEP_ENUM
		FG_STEP_KIND_COUNT
};

/* X(NAME, "name"): activations, numbered as in a plan. Append only. */
#define FG_ACTIVATIONS(X)                                                                          \
	X(NONE, "none")                                                                            \
	X(RELU, "relu")                                                                            \
	X(LEAKY_RELU, "leaky_relu") /* x >= 0 ? x : alpha * x */                                   \
	X(SIGMOID, "sigmoid")                                                                      \
	X(TANH, "tanh")

enum fg_activation {
#define FG_ACTIVATION_ENUM(name, label) FG_ACTIVATION_##name,
	FG_ACTIVATIONS(FG_ACTIVATION_ENUM)
#undef FG_ACTIVATION_ENUM
		FG_ACTIVATION_COUNT
};

/*
 * Weights (in_cols, out_cols) are packed in panels of FG_PANEL_COLS columns, one after the
 * other: panel p is (in_cols, FG_PANEL_COLS), row-major, columns p * FG_PANEL_COLS and up, with
 * zeros where there is no such column. The bias is padded with zeros in the same way.
 */
#define FG_PANEL_COLS 16u

static inline uint32_t fg_panels(uint32_t out_cols)
{
	return (out_cols + FG_PANEL_COLS - 1) / FG_PANEL_COLS;
}

struct fg_kernel_args {
	const float *in;      /* (rows, in_cols) */
	size_t in_stride;     /* floats from one row to the next */
	const float *other;   /* ADD: (rows, out_cols) */
	size_t other_stride;  /* 0: the same row for all */
	const float *weights; /* DENSE: packed */
	const float *bias;    /* DENSE: (fg_panels(out_cols) * FG_PANEL_COLS) */
	float *out;	      /* (rows, out_cols); overlaps nothing above */
	size_t out_stride;
	uint32_t rows;		       /* >= 1 */
	uint32_t in_cols;	       /* >= 1; == out_cols but for DENSE */
	uint32_t out_cols;	       /* >= 1 */
	enum fg_activation activation; /* not for SOFTMAX */
	float alpha;		       /* LEAKY_RELU */
};

/*
 * The kernels of one ISA.
 *
 * Worst error in units in the last place of the true value, measured over every third float
 * for tanh and sigmoid, and over random rows of up to 2000 columns for softmax (there e^d counts
 * as true for the difference d = x - max as it is rounded to float32). Tests hold every ISA to
 * it. A dense sum of n products is off by at most (n + 1) * 2^-23 * sum |product|.
 *
 * NaN in a row gives NaN in what depends on it. Softmax of a row that holds +infinity is the
 * limit: the infinite columns share 1 equally; -infinity gives 0; a row of -infinity alone is
 * uniform.
 */
#define FG_TANH_ULP    2.5
#define FG_SIGMOID_ULP 2.5
#define FG_SOFTMAX_ULP 8.0

struct fg_kernels {
	const char *isa; /* "c", "avx2" */
	void (*run[FG_STEP_KIND_COUNT])(const struct fg_kernel_args *args);
};

extern const struct fg_kernels fg_kernels_c;
extern const struct fg_kernels fg_kernels_avx2; /* x86-64 only */

#endif
