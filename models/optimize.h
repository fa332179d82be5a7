/*
 * optimize.h: fewer steps that give the same rows.
 *
 * - Patterns that exporters write out become one activation: GELU from Div, Erf, Add, Mul (or with
 *   Tanh); SiLU from Sigmoid, Mul; Mish from Softplus, Tanh, Mul; hard swish from Add, Clip, Div,
 *   Mul.
 * - Steps with constants (AFFINE, CENTER, ADD, SUB, MUL, DIV of a constant) become one AFFINE or
 *   CENTER, as long as no digits are lost (models/optimize_affine.c), and that becomes part of the
 *   weights and bias of the DENSE step before or behind it, where they have room for its offset.
 * - A DENSE, AFFINE or elementwise step takes over the activation that alone reads its result, and
 *   a DENSE step the sum (residual) that does.
 * - Copies (ACTIVATION steps of NONE) that only move what one step makes disappear: it writes there
 *   itself.
 * - Steps whose columns nobody reads are dropped.
 *
 * Folding changes roundings, never meaning: nothing is off by more than 1e-6 of the size that an
 * output has, beyond what it is off without.
 */
#ifndef FG_MODELS_OPTIMIZE_H
#define FG_MODELS_OPTIMIZE_H

#include "models/ir.h"

/* Steps that are not needed any more are removed; the order of the others stays. `format`: that
 * DENSE steps with FG_PANEL_COLS outputs or more will get; narrow ones have room for less. -ENOMEM.
 */
int fg_optimize(struct fg_ir *ir, enum fg_weights format, struct fg_error *error);

#endif
