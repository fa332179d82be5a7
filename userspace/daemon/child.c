#include "userspace/daemon/child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/shared/log.h"

void fg_child_begin(const struct fg_state *state, const char *part, bool verbose)
{
	sigset_t none;

	/* A terminal's ^C and a service manager signal the whole group: the keeper drains, its
	 * children wait for orders. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != state->boot.keeper_pid)
		_exit(1); /* the keeper died before prctl */
	fg_log_open(part, verbose);
}

bool fg_child_passing(int status)
{
	if (!WIFSIGNALED(status))
		return true;
	switch (WTERMSIG(status)) {
	case SIGKILL:
	case SIGTERM:
	case SIGINT:
	case SIGHUP:
	case SIGQUIT:
		return true;
	default:
		return false;
	}
}
