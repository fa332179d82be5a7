/*
 * keeper.h: the main process. Owns what must outlive everything else (BPF programs, frames,
 * sockets, plans, the state page, the control socket), forks control, packers and workers, reaps
 * them.
 *
 * Single-threaded and event-driven; parses nothing but control's fixed-size orders, and touches no
 * file of the operator's store.
 */
#ifndef FG_DAEMON_KEEPER_H
#define FG_DAEMON_KEEPER_H

#include "sched/rules.h"
#include "userspace/daemon/config.h"

/*
 * Opens everything, serves models by `rules` until a reload, runs until SIGTERM or SIGINT, drains,
 * closes everything. A second signal does not wait for drains. With config->replace first takes the
 * place of the gateway at config->socket (predecessor.h). 0: stopped politely; -errno with *error:
 * could not start, and nothing is left behind, or could not replace, and the other one serves on.
 */
int fg_keeper_run(const struct fg_config *config, const struct fg_rules *rules,
		  struct fg_error *error);

#endif
