/* inspect_step.h: what text, JSON and picture say of a step alike. Only for inspect*.c. */
#ifndef FG_MODELS_INSPECT_STEP_H
#define FG_MODELS_INSPECT_STEP_H

#include <stdint.h>
#include "models/plan_format.h"

const char *fg_inspect_kind(const struct fg_plan_step *step);
const char *fg_inspect_activation(const struct fg_plan_step *step);

/* "input", "buffer0[64]" (from column 64 on). Returns `text`. */
#define FG_INSPECT_PLACE 32
char *fg_inspect_place(struct fg_plan_span span, char text[FG_INSPECT_PLACE]);

/* "784 -> 64", "8 x (16 -> 16)". Returns `text`. */
#define FG_INSPECT_SHAPE 64
char *fg_inspect_shape(const struct fg_plan_step *step, char text[FG_INSPECT_SHAPE]);

/* "images 28x28 -> " and the like: name and dimensions of a port. Returns `text`. */
#define FG_INSPECT_PORT 192
char *fg_inspect_port(const struct fg_plan_port *port, char text[FG_INSPECT_PORT]);

uint64_t fg_inspect_flops(const struct fg_plan_step *step); /* of one row */
uint64_t fg_inspect_bytes(const struct fg_plan_step *step); /* of constants */

struct fg_inspect_total {
	uint64_t bytes;
	uint64_t flops;
};
struct fg_inspect_total fg_inspect_total(const struct fg_plan_step *steps, uint32_t count);

#endif
