/*
 * served.h: which models served last, for the next start: these are packed first
 * (sched/rollout_pack.h), and what an operator chose stays chosen (sched/wanted.h): a version that
 * was rolled back from does not come back with a restart.
 *
 * A text file NAME.served in the state directory, replaced whole when another set serves or another
 * choice is made: "# pid PID" of the keeper whose word it is, then one line each
 *
 *   MODEL VERSION CHOSEN SEEN live|away DIGEST INTERFACE
 *
 * CHOSEN and SEEN 0: nothing was chosen; away: it does not serve any more; DIGEST of its plan and
 * INTERFACE of that (models/plan_interface.h), hex.
 * Without it, or when it is not to be trusted (not a plain file of this user that nobody else may
 * write), a start knows nothing and goes on, and a gateway that is to replace another one does not.
 */
#ifndef FG_DAEMON_SERVED_H
#define FG_DAEMON_SERVED_H

#include <stdbool.h>
#include "sched/rollout.h"

struct fg_served {
	char path[320];
	int32_t keeper; /* pid, of whose file it is; 0: there is none */
	int code;	/* of the last read: 0, -ENOENT, -EPERM; another -errno: it may be there */
	bool failing;	/* the last one could not be written; was logged */
	struct fg_rollout_served list;
};

/* Reads what the last one left. `folder` need not exist. */
void fg_served_open(struct fg_served *served, const char *folder, const char *name);
/* Reads again what is there by now. -errno: nothing, or nothing that is to be trusted (-EPERM). */
int fg_served_read(struct fg_served *served);
/*
 * Keeps what the LIVE generation serves by default, as the word of `keeper`; models that served
 * before, and do not yet again, stay behind it. `plans`: those that its entries name. Says in the
 * log where a version serves again and is not made of the same files. Cheap when nothing changes;
 * nothing at all before it was opened.
 */
void fg_served_note(struct fg_served *served, const struct fg_rollout *rollout,
		    const struct fg_rollout_plan plans[FG_ROLLOUT_MAX_PLANS], int32_t keeper);

#endif
