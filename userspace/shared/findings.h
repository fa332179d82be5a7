/*
 * findings.h: what is known of the operator's store: plain data, written by the scout
 * (userspace/daemon/scout.h), and by control into its own memory and the state page.
 */
#ifndef FG_SHARED_FINDINGS_H
#define FG_SHARED_FINDINGS_H

#include "sched/rules.h"
#include "sched/wanted.h"

struct fg_findings {
	struct fg_rules rules; /* that it was looked at under */
	struct fg_store store;
};

#endif
