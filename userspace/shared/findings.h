/*
 * findings.h: what is known of the operator's store: plain data, written by the scout
 * (userspace/daemon/scout.h), and by control into its own memory and the state page.
 */
#ifndef FG_SHARED_FINDINGS_H
#define FG_SHARED_FINDINGS_H

#include <stddef.h>
#include "sched/rules.h"
#include "sched/wanted.h"

#define FG_REMARKS_MAX	     64
#define FG_REMARK_PATH_BYTES (FG_RULES_PATH_BYTES + FG_RULES_NAME_BYTES + 64)

/* Something that is not served though somebody may have meant it to be: a folder named v1, a
 * version that the configuration names and that is not there. For log, status, --check and errors.
 */
struct fg_remark {
	char model[FG_ROLLOUT_NAME_BYTES]; /* ""; of none, or of one whose name is at fault */
	uint64_t version;		   /* 0: of none in particular */
	uint32_t more;			   /* that many like it were not listed */
	uint64_t place;			   /* fg_repository_place() of its base */
	char path[FG_REMARK_PATH_BYTES];   /* what is meant; cut where it is longer */
	char reason[224];		   /* what is wrong, and what to do */
};

struct fg_remarks {
	uint32_t count;
	struct fg_remark list[FG_REMARKS_MAX];
};

struct fg_findings {
	struct fg_rules rules; /* that it was looked at under */
	struct fg_store store;
	struct fg_remarks remarks;
};

/* Adds one; `like` it (the same model, place and reason) there is one line only. Those beyond
 * FG_REMARKS_MAX are left out. */
void fg_remarks_add(struct fg_remarks *remarks, const struct fg_remark *remark);
#define FG_REMARK_TEXT_BYTES (FG_REMARK_PATH_BYTES + 288)
/* "PATH: REASON (and 3 more like it)", in plain ASCII without '"'. Returns text. */
const char *fg_remark_text(const struct fg_remark *remark, char text[FG_REMARK_TEXT_BYTES]);
/* The one that tells most about a model, or a version of it; NULL: there is none. */
const struct fg_remark *fg_remarks_find(const struct fg_remarks *remarks, const char *model,
					uint64_t version);

#endif
