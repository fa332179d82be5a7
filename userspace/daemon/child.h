/* child.h: what every child that the keeper forked does first. */
#ifndef FG_DAEMON_CHILD_H
#define FG_DAEMON_CHILD_H

#include <stdbool.h>
#include "userspace/shared/state.h"

/*
 * The child `part` ("worker"; in its log lines) begins without the keeper's signals and dies with
 * the keeper; exits when that is dead already. Kept over execve: that signals are ignored, and its
 * death with the keeper.
 */
void fg_child_begin(const struct fg_state *state, const char *part, bool verbose);

/* A child that ended so (waitpid's status) was stopped, by the kernel for memory or by somebody, or
 * gave up before it did anything; what it worked on did not crash it. */
bool fg_child_passing(int status);

#endif
