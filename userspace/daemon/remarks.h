/*
 * remarks.h: what is not served though somebody may have meant it to be, and why, from all that
 * knows: the look at the disk (repository.h) and the rollout. Log, status, promote and --check read
 * the same list.
 */
#ifndef FG_DAEMON_REMARKS_H
#define FG_DAEMON_REMARKS_H

#include <stdbool.h>
#include <stdint.h>
#include "models/error.h"
#include "sched/rollout.h"
#include "userspace/shared/findings.h"

#define FG_REMARKS_TELL_NS 1000000000ull /* in the log when it has stood for that long */

/* Which remarks the log has told: each once until it changes. Zeroed at first. */
struct fg_remarks_told {
	uint32_t count;
	struct {
		uint64_t hash, since_ns;
		bool told;
	} list[FG_REMARKS_MAX];
};

/* Adds what the rollout cannot do: versions that there is no room for, generations that wait for
 * drains. `rules`: fg_rollout_rules(). */
void fg_remarks_on_rollout(struct fg_remarks *remarks, const struct fg_rollout *rollout,
			   const struct fg_store *store, const struct fg_rules *rules);

/* Logs what is new, and has stood still. */
void fg_remarks_tell(struct fg_remarks_told *told, const struct fg_remarks *remarks,
		     uint64_t now_ns);

/* `flipgated --check`: looks at the disk once, and prints one line for each remark. */
int fg_remarks_check(const struct fg_rules *rules, struct fg_error *error);

#endif
