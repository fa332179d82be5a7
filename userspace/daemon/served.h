/*
 * served.h: which models served last, for the next start: these are packed first
 * (sched/rollout_pack.h), and what an operator chose stays chosen (sched/wanted.h): a version that
 * was rolled back from does not come back with a restart.
 *
 * A text file NAME.served in the state directory, one line "MODEL VERSION CHOSEN SEEN" each (0 0:
 * nothing was chosen), and " away" where it does not serve any more, replaced whole when another
 * set serves or another choice is made. Without it, or when it is not to be trusted (not a plain
 * file of this user that nobody else may write), a start knows nothing and goes on.
 */
#ifndef FG_DAEMON_SERVED_H
#define FG_DAEMON_SERVED_H

#include <stdbool.h>
#include "sched/rollout.h"

struct fg_served {
	char path[320];
	bool failing; /* the last one could not be written; was logged */
	struct fg_rollout_served list;
};

/* Reads what the last one left. `folder` need not exist. */
void fg_served_open(struct fg_served *served, const char *folder, const char *name);
/* Keeps what the LIVE generation serves by default; models that served before, and do not yet
 * again, stay behind it. Cheap when nothing changes; nothing at all before it was opened. */
void fg_served_note(struct fg_served *served, const struct fg_rollout *rollout);

#endif
