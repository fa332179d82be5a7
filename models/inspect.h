/* inspect.h: a plan in words, for people and for scripts. */
#ifndef FG_MODELS_INSPECT_H
#define FG_MODELS_INSPECT_H

#include <stdbool.h>
#include <stdio.h>
#include "models/error.h"

/*
 * Prints to `out` what the plan at `path` does: shapes, steps, bytes, operations, golden rows.
 * `path` is a plan (flipgate-pack's output), an ONNX file, or a version's directory with
 * model.onnx; the latter two are compiled in this process, with golden rows made up (golden.json
 * is not read). `json`: one object on one line, else a table. `flops` counts a multiplication
 * and an addition as two, per row; a column of an activation or softmax counts one.
 *
 * 0, or -errno with *error when it cannot be read (nothing is printed then), is no model, or not
 * supported (-EINVAL).
 */
int fg_inspect_file(const char *path, bool json, FILE *out, struct fg_error *error);

#endif
