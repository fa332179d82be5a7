/* cli_plan.h: a model of any kind as a plan, for the verbs that look at models. */
#ifndef FG_TOOLS_CLI_PLAN_H
#define FG_TOOLS_CLI_PLAN_H

#include <stddef.h>
#include "models/error.h"

/* A plan's bytes, mapped read-only. */
struct fg_cli_plan {
	void *bytes;
	size_t size;
};

/*
 * Maps the plan at `path`; or, where that is a model (a file, or a version's directory), has
 * flipgate-pack (beside this program, else in PATH) compile it without rights, with these weights
 * (NULL: as the version says). -EINVAL: not a model, or not supported; -ENOENT, -EACCES, another
 * -errno; with *error. fg_cli_plan_close ends it.
 */
int fg_cli_plan_open(struct fg_cli_plan *plan, const char *path, const char *weights,
		     struct fg_error *error);
void fg_cli_plan_close(struct fg_cli_plan *plan);

/* The same for a model alone, that *error shall call `name`. -EINTR: a signal came; the packer was
 * killed. */
int fg_cli_plan_pack(struct fg_cli_plan *plan, const char *path, const char *name,
		     const char *weights, struct fg_error *error);

#endif
