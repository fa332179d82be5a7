/*
 * packer.h: runs flipgate-pack, one child per new model version, and keeps the sealed plans.
 *
 * The keeper never reads a model: it hands the packer the version's directory, an empty memfd and
 * a pipe for one line of error text, and seals the memfd when the packer says it is done.
 */
#ifndef FG_DAEMON_PACKER_H
#define FG_DAEMON_PACKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "userspace/daemon/child_log.h"
#include "userspace/daemon/config.h"
#include "userspace/daemon/orders.h"
#include "userspace/shared/state.h"

struct fg_packer {
	const struct fg_config *config;
	struct fg_state *state;
	const struct fg_child_log *log;
	uint64_t limit_ns; /* that one may take: a minute */
	struct {
		int memfd;  /* the plan, -1: none; sealed once the state page says READY */
		int errors; /* read end of the pipe, -1: not packing */
		pid_t pid;  /* while packing. Not in the state page, which control can write: a pid
			     * is a thing to kill */
		uint64_t started_ns; /* while packing */
		bool hopeless; /* it was killed for its time, of which it worked for the most */
	} jobs[FG_STATE_MAX_PLANS];
};

/* `log`: where packers write what they say beside their error; NULL: to stderr. */
void fg_packer_init(struct fg_packer *packer, const struct fg_config *config,
		    struct fg_state *state, const struct fg_child_log *log);
/* Closes all plans, kills running children. */
void fg_packer_close(struct fg_packer *packer);

/* Starts packing as FG_ORDERS_PACK says; does nothing unless plans[plan] is FREE, or where the same
 * files are being packed already. A failure to
 * start is a FAILED plan with its reason. The page's word that it is FREE is not enough: control
 * can write that, and what is packed or held here is not. */
void fg_packer_start(struct fg_packer *packer, const struct fg_orders_message *order);
/* Forgets a plan. A running packer is killed; its end is then nobody's. */
void fg_packer_drop(struct fg_packer *packer, uint32_t plan);
/* Kills packers that run for over a minute, and gives up on those that do not even die of that:
 * their end is then nobody's. What waited for most of that minute, for its store or for a CPU, may
 * pass another time; what worked will not. Those that run long run last. Returns how many run. */
uint32_t fg_packer_expire(struct fg_packer *packer, uint64_t now_ns);

/* A child ended. true when it was a packer's: the state page now says READY or FAILED. */
bool fg_packer_reap(struct fg_packer *packer, pid_t pid, int status);

#endif
