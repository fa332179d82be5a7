/*
 * verbs.h: what the operator's verbs have in common. Inside verbs*.c only.
 *
 * A verb changes control->next, publishes that, and is done when what was published shows. The
 * choice is published before anything is done for it: from then on it is what every step, of this
 * process or the next, works towards.
 */
#ifndef FG_DAEMON_VERBS_H
#define FG_DAEMON_VERBS_H

#include "userspace/daemon/control.h"

_Static_assert(FG_CANARY_REASON_BYTES >= FG_ADMIN_WHY_BYTES, "a reason is a whole why");

/* Both return the reply, or NULL: not yet, ask progress. control->next is a fresh copy of the
 * state. */
struct fg_verb {
	json_t *(*begin)(struct fg_control *control, struct fg_admin_request *request,
			 uint64_t now_ns);
	json_t *(*progress)(struct fg_control *control, struct fg_admin_request *request,
			    uint64_t now_ns); /* NULL: begin always answers */
	bool changes; /* is audited; obeys "expect"; is refused while stopping */
};

/* verbs_rollout.c */
extern const struct fg_verb fg_verb_rollout, fg_verb_pause, fg_verb_resume, fg_verb_abort,
	fg_verb_shadow;
/* verbs_service.c */
extern const struct fg_verb fg_verb_history, fg_verb_reload, fg_verb_upgrade;

/* ---- verbs.c: what several of them need ---- */

/* Publishes control->next, and has the next step done at once. */
void fg_verb_commit(struct fg_control *control, struct fg_admin_request *request);
/* The live version of request->model; 0: none. */
uint64_t fg_verb_live(const struct fg_rollout *rollout, const struct fg_admin_request *request);
/* {"ok":true,"generation","model","version","changed"}: more may be added. */
json_t *fg_verb_ok(const struct fg_rollout *rollout, const struct fg_admin_request *request,
		   uint64_t version);
/* The same with "flip_us" and "took_ms", of a verb that ends with a flip. */
json_t *fg_verb_flipped(const struct fg_rollout *rollout, const struct fg_admin_request *request,
			uint64_t version);
/* No such model, or no such version: what there is instead. */
json_t *fg_verb_not_found(const struct fg_control *control, const struct fg_admin_request *request);
/* What is under way, and how to end it. */
json_t *fg_verb_busy(const struct fg_rollout *rollout);
/* Why sched refused a choice of request's version: -EBUSY, -EPERM, else that it is not there. */
json_t *fg_verb_refused(const struct fg_control *control, const struct fg_admin_request *request,
			int code);
/* The canary of request->model aborts: the reply once no table names it any more. */
json_t *fg_verb_aborting(const struct fg_control *control, const struct fg_rollout *rollout,
			 const struct fg_admin_request *request, uint64_t now_ns);
/* A line for the audit log; without a reply: it was begun, and will take a while. */
void fg_verb_audit(struct fg_control *control, const struct fg_admin_request *request,
		   const json_t *reply);

#endif
