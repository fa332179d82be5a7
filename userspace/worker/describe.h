/* describe.h: what a model's inputs and outputs are, as a client is told (docs/protocol.md,
 * "Describing a model"). */
#ifndef FG_WORKER_DESCRIBE_H
#define FG_WORKER_DESCRIBE_H

#include <stddef.h>
#include "models/plan.h"

/*
 * Writes one line for each port, inputs first: "input" or "output", first column, columns, "f32" or
 * "integer", name; tabs between, a newline behind. No NUL. Returns the bytes of all of it, however
 * much `room` there is; writes nothing when that is less.
 */
size_t fg_describe_ports(const struct fg_plan *plan, char *text, size_t room);

#endif
