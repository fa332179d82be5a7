/*
 * takeover.h: another flipgated program becomes control, and the data plane does not notice.
 *
 * What `flipgated --upgrade` replaces is control alone: choosing versions, rollouts, guards, the
 * control socket, status. The keeper, the workers and the BPF programs stay those of the program
 * that was started; a new one of these takes a restart.
 *
 *   who            does
 *   flipgated      (run by the operator) asks the old control: {"verb":"upgrade","path":itself}
 *   old control    uid 0 alone may ask; passes the path to the keeper (FG_ORDERS_UPGRADE)
 *   keeper         opens the file, checks that it is root's; ends the old control; runs the file as
 *                  `flipgated --take-over FD`, where FD holds a struct fg_takeover
 *   new control    checks that it means the same by all of it, maps the state page, goes on where
 *                  the old one was (control.h), and says so: fg_state.control.in_charge
 *   keeper         sees that within 2 s, or runs its own program as control again
 *
 * Nothing parses the file; what is run is the very file that was checked (execveat of its
 * descriptor). One control at a time: the old one is dead before the new one is started.
 */
#ifndef FG_DAEMON_TAKEOVER_H
#define FG_DAEMON_TAKEOVER_H

#include <stdint.h>
#include "models/error.h"
#include "userspace/daemon/config.h"
#include "userspace/daemon/control.h"
#include "userspace/daemon/steering.h"
#include "userspace/shared/state.h"

#define FG_TAKEOVER_FLAG "--take-over"
/* Raised with any change of what struct fg_takeover's fields mean that their size does not show. */
#define FG_TAKEOVER_VERSION 1

enum { FG_TAKEOVER_UNFIT = 3 }; /* exit status: this program and the keeper's do not fit */

/* What the new program is given, in a memfd. Descriptors are inherited under the same numbers. */
struct fg_takeover {
	uint32_t version; /* FG_TAKEOVER_VERSION */
	uint32_t bytes;	  /* of this struct */
	uint32_t abi;	  /* FG_ABI_VERSION */
	uint32_t layout;  /* FG_STATE_LAYOUT */
	int32_t state;	  /* the memfd of the state page */
	int32_t orders, admin, audit;
	struct fg_config config;
	struct fg_steering steering; /* descriptors and numbers; pointers are NULL */
};

/* Opens a program for fg_takeover_exec: -EACCES unless it is a regular, executable file of root's
 * that nobody else may write. *program is the caller's. */
int fg_takeover_open(const char *path, int *program, struct fg_error *error);

/*
 * In a child of the keeper: becomes `program` as control. Of its descriptors only what `setup` and
 * `state_fd` name stay open. Returns when it could not: -errno.
 */
int fg_takeover_exec(int program, const struct fg_control_setup *setup, int state_fd);

/* The life of a control process that was started so: `text` is FD. Returns an exit status. */
int fg_takeover_run(const char *text);

/*
 * `flipgated --upgrade`: asks the gateway at config->socket to run this very program as its
 * control, waits until that has answered, prints what came of it. Returns an exit status: 0, 2.
 */
int fg_takeover_ask(const struct fg_config *config);

#endif
