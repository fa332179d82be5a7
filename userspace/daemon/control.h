/*
 * control.h: the process that chooses versions, drives rollouts and answers the operator.
 *
 *   file               does
 *   control.c          the process: privileges, event loop
 *   reconcile.c        observe, step (sched/rollout), publish, act
 *   compare.c          what the workers of a canary's two sides saw, added up
 *   events.c           what a change of the state says in the log and in the audit log
 *   reload.c           the models' configuration: at the start, and again
 *   verbs.c            what an operator may ask: the table, promote and rollback
 *   verbs_rollout.c    canaries and shadows
 *   verbs_service.c    reload, history, upgrade
 *   succession.c       whether this gateway may take the place of another (predecessor.h)
 *   report.c           the status reply; report_rollout.c its part on canary, shadow, reload;
 *                      report_store.c on the store, and on why nothing serves
 *   remarks.h          what is not served, and why
 *   admin.h            the control socket: clients and lines
 *   audit.h            who changed what
 *   scout.h            its child, which looks at the operator's files: the models' configuration
 *                      (models_config.h) and the versions on disk (repository.h)
 *
 * It may die at any instruction. All it must remember is in the state page (state->rollout, which
 * changes by one atomic store, state->control and state->known); everything else is observed anew:
 * live table and slots map in the kernel, workers and plans in the state page.
 * sched/rollout.h says why every point between a published state and its actions is safe. What dies
 * with it: the clients of the control socket, who see their connection end, and the memory of
 * orders sent a moment ago, which are then sent again.
 *
 * It waits for nobody but the kernel's maps: a rollback must not depend on a disk. What is on disk
 * it knows from the scout alone; the keeper packs.
 */
#ifndef FG_DAEMON_CONTROL_H
#define FG_DAEMON_CONTROL_H

#include <limits.h>
#include "sched/rollout.h"
#include "userspace/daemon/admin.h"
#include "userspace/daemon/audit.h"
#include "userspace/daemon/config.h"
#include "userspace/daemon/remarks.h"
#include "userspace/daemon/scout.h"
#include "userspace/daemon/served.h"
#include "userspace/daemon/steering.h"
#include "userspace/shared/state.h"

#define FG_CONTROL_SERVICE 0 /* the one service of this daemon, as BPF numbers it */

/* What the keeper gives; all of it stays the keeper's. */
struct fg_control_setup {
	const struct fg_config *config;
	struct fg_state *state;
	const struct fg_steering *steering;
	int orders; /* SOCK_SEQPACKET to the keeper (orders.h) */
	int admin;  /* the listening control socket, nonblocking */
	int audit;  /* the audit log (audit.h); -1: none */
};

/* An order that was sent: not to be repeated at once. */
struct fg_control_sent {
	uint64_t hash; /* of the action; 0: none */
	uint64_t at_ns;
};

/* What reloads need beside the state page. */
struct fg_control_reload {
	uint32_t read;	   /* what the scout was asked for (fg_scout_ask); 0: nothing */
	uint64_t since_ns; /* when it was */
	uint32_t signals;  /* boot.reloads at that moment */
	uint32_t seen;	   /* of the scout's changes, at that moment */
	uint32_t changes;  /* of these: those that were acted on */
	bool asked;	   /* by a client */
	bool waits;	   /* for a canary to end; was logged */
	uint32_t same;	   /* serial of the last one that found nothing to change; 0: none */
};

/* Of this process, private. Large: on the heap. */
struct fg_control {
	const struct fg_config *config;
	struct fg_state *state;
	const struct fg_steering *steering;
	int orders;
	struct fg_rollout_config pace;
	struct fg_table live;	    /* the live table; serial 0: none, or nobody knows */
	uint64_t table;		    /* bit s: it is made of slot s */
	uint32_t pins;		    /* boot.pins, when the live table was last pinned */
	uint64_t flows_ns;	    /* when flows were last counted for a drain */
	uint64_t memory_ns;	    /* when observed.memory was last looked at */
	uint64_t comparison_ns;	    /* when observed.comparison was last added up */
	struct fg_comparison shown; /* the last one that the canary could be judged by, or the
				     * first; for status */
	bool judged;		    /* the keeper was told to take another's place, or to give up */
	bool spoken;		    /* the operator chose something since the last reconcile */
	bool acting_fails;	    /* the last list was not done to its end; was logged */
	struct fg_rollout_observed observed;
	struct fg_rollout_actions actions;
	struct fg_rollout next; /* the state that a step or a verb prepares */
	struct fg_control_sent sent[FG_ROLLOUT_DROP + 1][FG_MAX_SLOTS];
	char ends[FG_MAX_SLOTS][FG_ROLLOUT_ERROR_BYTES]; /* how the slots' workers failed */
	char program[PATH_MAX];				 /* of this process */
	struct fg_control_reload reload;
	struct fg_scout scout;
	struct fg_findings
		repository;	   /* what is known of the store under the rules that count now */
	struct fg_remarks remarks; /* on the store and on the rollout, of this round */
	struct fg_remarks_told told;
	bool carried; /* ... which was not looked at under these yet */
	struct fg_served served;
	struct fg_admin admin;
	struct fg_audit audit;
};

/*
 * The life of control, in a child that the keeper forked: drops what privileges it does not need
 * (keeps CAP_BPF to flip, CAP_DAC_READ_SEARCH for its scout) and runs until the keeper is
 * gone or, when state->boot.stopping is set, no generation is left. Returns an exit status: 0 when
 * there is nothing left to do, 1 when it could not start (logged).
 */
int fg_control_run(const struct fg_control_setup *setup);

/* ---- reconcile.c ---- */

/* Reads from the kernel which table is live. Once, before the first reconcile. */
void fg_control_adopt(struct fg_control *control);
/* Steps and acts until nothing changes any more. Returns after how many ns to do it again at the
 * latest; 0: at once, after the repository was looked at under the rules that count now. */
uint64_t fg_control_reconcile(struct fg_control *control);
/* Publishes control->next, if it differs from what is current. Returns whether it did. */
bool fg_control_publish(struct fg_control *control);
/* Keeps `table`, which was made of `slots`, as the live one, and how many of its positions name
 * each slot in control->observed. */
void fg_control_note_table(struct fg_control *control, const struct fg_table *table,
			   uint64_t slots);
/* The table of the LIVE generation, and of no other but CANARY, was flipped in. */
bool fg_control_flipped(const struct fg_control *control, const struct fg_rollout *rollout);

/* ---- compare.c ---- */

/* Fills control->observed.comparison while a canary is under way, at most every 50 ms anew; and
 * control->shown. */
void fg_control_compare(struct fg_control *control, const struct fg_rollout *rollout,
			uint64_t now_ns);

/* ---- events.c ---- */

/* Logs and audits what differs. */
void fg_control_tell(struct fg_control *control, const struct fg_rollout *before,
		     const struct fg_rollout *now);
/* Logs and audits a flip that was done: from what served before to what serves now. */
void fg_control_tell_flip(struct fg_control *control, const struct fg_rollout_flip *before,
			  const struct fg_rollout *now);
/* Audits that this process took over from one that died or was replaced. */
void fg_control_tell_start(struct fg_control *control);
/* Audits that this gateway took the place of another. */
void fg_control_tell_replaced(struct fg_control *control);

/* ---- reload.c ---- */

/* The rules by which versions are chosen now. */
const struct fg_rules *fg_control_rules(const struct fg_control *control,
					const struct fg_rollout *rollout);
/* What the configuration said, as a number: control does not try again by itself what another one
 * had refused. `error`: "" or why it has no rules. */
uint64_t fg_control_reload_hash(const struct fg_rules *rules, const struct fg_error *error);
/* Begins a reload when one was asked for, by SIGHUP, by a client or by the file, and can be, once
 * the scout has read the file. Returns when to look again at the latest. */
uint64_t fg_control_reload_update(struct fg_control *control, uint64_t now_ns);
/* The serial of the reload that a client's request waits for. -EBUSY: a canary is under way. */
int fg_control_reload_ask(struct fg_control *control, uint32_t *serial);

/* ---- succession.c ---- */

/* Beside another gateway: tells the keeper to take its place when all serves that should, or to
 * give up. */
void fg_control_succeed(struct fg_control *control);

/* ---- verbs.c ---- */

/* What the control socket calls; context is the struct fg_control. */
extern const struct fg_admin_ops fg_control_verbs;

/* ---- report.c ---- */

/* The reply to "status"; a new reference. At most `versions` versions of each model, the newest; 0:
 * also without the rules and the statuses that were never answered. */
json_t *fg_control_report(struct fg_control *control, uint32_t versions, uint64_t now_ns);
/* Its part on models: [{"model","live","wanted","versions":[{"version","state",...}]}]. */
json_t *fg_control_report_models(const struct fg_control *control, uint32_t versions);

/* ---- report_store.c ---- */

/* {"silent":[{"path","since_s"}],"remarks":[{"model","version","path","reason","more"}]} */
json_t *fg_control_report_store(const struct fg_control *control, uint64_t now_ns);
/* Why it is not ready, one line; "" when it is. */
json_t *fg_control_report_waiting(const struct fg_control *control);

/* ---- report_rollout.c ---- */

json_t *fg_control_report_canary(const struct fg_control *control, uint64_t now_ns);
json_t *fg_control_report_shadow(const struct fg_control *control);
json_t *fg_control_report_reload(const struct fg_rollout_trial *trial);
json_t *fg_control_report_memory(const struct fg_control *control);
json_t *fg_control_report_rules(const struct fg_rules *rules);
/* Percent of new flows that the last flip gave to a generation. */
double fg_control_weight(const struct fg_rollout_flip *flip,
			 const struct fg_rollout_generation *generation);
/* A text from outside (a reason, a path): as it is if it is UTF-8, else plain ASCII; not NULL. */
json_t *fg_control_report_text(const char *text);
/* ["stable", ...] of an entry, which may be NULL. */
json_t *fg_control_report_labels(const struct fg_rollout_entry *entry);
/* [{"model","version","default","labels"}] of a generation. */
json_t *fg_control_report_entries(const struct fg_rollout_generation *generation);

/* ---- report_files.c ---- */

/* Adds how the version, whose plan has that digest (0: none), compares with its files on disk. */
void fg_control_report_files(const struct fg_control *control, json_t *report, const char *model,
			     uint64_t version, uint64_t digest);
/* Adds when a failure (NULL: there is none) that may pass is tried again. */
void fg_control_report_retry(json_t *report, const struct fg_rollout_failure *failure);

#endif
