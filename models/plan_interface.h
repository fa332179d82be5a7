/* plan_interface.h: what a client must know of a model, as one number. */
#ifndef FG_MODELS_PLAN_INTERFACE_H
#define FG_MODELS_PLAN_INTERFACE_H

#include <stdint.h>
#include "models/plan_format.h"

/* A hash of the names, columns, shapes and kinds (whole numbers or not) of `inputs` + `outputs`
 * ports as they lie in a plan; not of labels, nor of where anything lies. The ports may be
 * anybody's bytes: nothing is believed of them. Never 0. */
uint64_t fg_plan_interface(const struct fg_plan_port *ports, uint32_t inputs, uint32_t outputs);

#endif
