/*
 * optimize.h: fewer steps that give the same rows.
 *
 * - Patterns that exporters write out become one activation: GELU from Div, Erf, Add, Mul (or with
 *   Tanh); SiLU from Sigmoid, Mul; Mish from Softplus, Tanh, Mul; hard swish from Add, Clip, Div,
 *   Mul.
 * - Steps with constants (AFFINE, ADD, SUB, MUL, DIV of a constant) become one AFFINE, and that
 *   becomes part of the weights and bias of the DENSE step before or behind it.
 * - A DENSE, AFFINE or elementwise step takes over the activation that alone reads its result, and
 *   a DENSE step the sum (residual) that does.
 * - Copies (ACTIVATION steps of NONE) that only move what one step makes disappear: it writes there
 *   itself.
 * - Steps whose columns nobody reads are dropped.
 *
 * Folding changes roundings, never meaning.
 */
#ifndef FG_MODELS_OPTIMIZE_H
#define FG_MODELS_OPTIMIZE_H

#include "models/ir.h"

/* Steps that are not needed any more are removed; the order of the others stays. -ENOMEM. */
int fg_optimize(struct fg_ir *ir, struct fg_error *error);

#endif
