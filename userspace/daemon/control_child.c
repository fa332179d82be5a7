#include "userspace/daemon/control_child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/daemon/child.h"
#include "userspace/daemon/takeover.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define RESTART_PAUSE_NS 200000000ull  /* between two starts */
#define PROVEN_NS	 2000000000ull /* another program must be in charge, and alive, by then */

/* ---- starting ---- */

/* In the child. The keeper's other descriptors are closed by control itself, or by execve. */
static void run(struct fg_control_child *child)
{
	const struct fg_control_setup *setup = &child->setup;
	int code;

	fg_child_begin(setup->state, "control", setup->config->verbose);
	if (child->program < 0)
		_exit(fg_control_run(setup));
	code = fg_takeover_exec(child->program, setup, child->state_fd);
	fg_log(FG_LOG_ERROR, "control.upgrade reason=\"%s\"", strerror(-code));
	_exit(1);
}

static int start(struct fg_control_child *child)
{
	struct fg_state_boot *boot = &child->setup.state->boot;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	atomic_fetch_add(&boot->control_starts, 1);
	child->started_ns = fg_clock_ns();
	child->setup.orders = pair[1];
	pid = fork();
	if (!pid)
		run(child);
	close(pair[1]);
	child->setup.orders = -1;
	if (pid < 0) {
		close(pair[0]);
		return -errno;
	}
	child->orders = pair[0];
	child->pid = pid;
	child->killed = false;
	atomic_store(&boot->control_pid, pid);
	return 0;
}

int fg_control_child_open(struct fg_control_child *child, const struct fg_control_setup *setup,
			  int state_fd)
{
	*child = (struct fg_control_child){.setup = *setup,
					   .state_fd = state_fd,
					   .orders = -1,
					   .program = -1};
	return start(child);
}

/* ---- ending ---- */

static void forget(struct fg_control_child *child)
{
	close(child->orders);
	child->orders = -1;
	child->pid = 0;
	atomic_store(&child->setup.state->boot.control_pid, 0);
}

static void end(struct fg_control_child *child)
{
	if (!child->pid)
		return;
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	forget(child);
}

static void use_program(struct fg_control_child *child, int program)
{
	if (child->program >= 0)
		close(child->program);
	child->program = program;
}

void fg_control_child_close(struct fg_control_child *child)
{
	if (!child->setup.state)
		return;
	end(child);
	use_program(child, -1);
	if (child->setup.audit >= 0)
		close(child->setup.audit);
}

/* ---- upgrades ---- */

static void judge(struct fg_control_child *child, const char *error)
{
	struct fg_state_boot *boot = &child->setup.state->boot;

	snprintf(boot->upgrade_error, sizeof(boot->upgrade_error), "%s", error);
	fg_log_clean(boot->upgrade_error);
	atomic_fetch_add_explicit(&boot->upgrades, 1, memory_order_release);
	child->judging = false;
	fg_log(error[0] ? FG_LOG_ERROR : FG_LOG_INFO, "control.upgrade %s%s%s",
	       error[0] ? "reason=\"" : "result=done", boot->upgrade_error, error[0] ? "\"" : "");
}

static bool in_charge(const struct fg_control_child *child)
{
	const struct fg_state *state = child->setup.state;

	return atomic_load(&state->control.in_charge) == atomic_load(&state->boot.control_starts);
}

/* The other program is not to be trusted: at once this one again. */
static void go_back(struct fg_control_child *child, const char *error)
{
	use_program(child, -1);
	child->started_ns = 0;
	judge(child, error);
}

void fg_control_child_upgrade(struct fg_control_child *child, const char *path)
{
	struct fg_error error = {""};
	int program;

	if (atomic_load(&child->setup.state->boot.stopping))
		fg_error_set(&error, -EBUSY, "flipgated is stopping");
	else
		fg_takeover_open(path, &program, &error);
	if (error.text[0]) {
		judge(child, error.text);
		fg_control_child_poke(child);
		return;
	}
	fg_log(FG_LOG_INFO, "control.upgrade path=\"%s\"", path);
	end(child);
	use_program(child, program);
	child->judging = true;
	child->setup.state->boot.upgrade_error[0] = '\0';
	if (start(child))
		go_back(child, strerror(errno));
}

/* ---- the keeper's loop ---- */

void fg_control_child_ended(struct fg_control_child *child, int status)
{
	bool young = fg_clock_ns() - child->started_ns < PROVEN_NS;
	char text[160];

	forget(child);
	if (!atomic_load(&child->setup.state->boot.stopping))
		fg_log(FG_LOG_WARN, "control.end status=%#x", status);
	if (child->program < 0 || (!young && in_charge(child)))
		return;
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "the program was killed by signal %d (%s)%s",
			 WTERMSIG(status), strsignal(WTERMSIG(status)),
			 young ? "" : ": it took over 2 s to take charge");
	else if (WEXITSTATUS(status) == FG_TAKEOVER_UNFIT)
		snprintf(text, sizeof(text),
			 "the program does not fit the running one: restart flipgated to change");
	else
		snprintf(text, sizeof(text), "the program ended with status %d before %s",
			 WEXITSTATUS(status),
			 in_charge(child) ? "2 s were over" : "it was in charge");
	go_back(child, text);
}

void fg_control_child_stopped(const struct fg_control_child *child)
{
	fg_log(FG_LOG_WARN, "control.stopped next=\"goes on\"");
	kill(child->pid, SIGCONT);
}

/* In its loop it hangs for nothing but a flip's grace period. Before that it reads files. */
static bool hangs(const struct fg_control_child *child, uint64_t now_ns)
{
	uint64_t beat_ns = atomic_load(&child->setup.state->control.heartbeat_ns);

	if (!in_charge(child))
		return now_ns >
		       child->started_ns +
			       (child->program >= 0 ? PROVEN_NS : FG_CONTROL_CHILD_START_NS);
	return now_ns > beat_ns + FG_CONTROL_CHILD_HUNG_NS &&
	       now_ns > child->started_ns + FG_CONTROL_CHILD_HUNG_NS;
}

bool fg_control_child_keep(struct fg_control_child *child)
{
	uint64_t now_ns = fg_clock_ns(), age_ns = now_ns - child->started_ns;

	if (child->judging && in_charge(child))
		judge(child, "");
	if (child->pid && !child->killed && hangs(child, now_ns)) {
		fg_log(FG_LOG_WARN, "control.kill reason=\"it hangs\"");
		kill(child->pid, SIGKILL);
		child->killed = true;
	}
	if (!child->pid && age_ns >= RESTART_PAUSE_NS) {
		if (start(child))
			fg_log(FG_LOG_ERROR, "control.restart reason=\"%s\"", strerror(errno));
		else
			atomic_fetch_add(&child->setup.state->boot.control_restarts, 1);
	}
	return !child->pid || !in_charge(child);
}

/* ---- messages ---- */

void fg_control_child_poke(const struct fg_control_child *child)
{
	const struct fg_orders_message message = {.verb = FG_ORDERS_POKE};

	if (child->orders >= 0)
		fg_orders_send(child->orders, &message, -1);
}

bool fg_control_child_order(const struct fg_control_child *child, struct fg_orders_message *order)
{
	int fd, code;

	if (child->orders < 0)
		return false;
	do {
		code = fg_orders_receive(child->orders, order, &fd);
		if (fd >= 0)
			close(fd);
	} while (code == -EBADMSG);
	return !code;
}

/* One that does not get it goes on with the old file, which it holds; the next one gets this. */
void fg_control_child_audit(struct fg_control_child *child, int audit)
{
	const struct fg_orders_message message = {.verb = FG_ORDERS_AUDIT};

	if (child->setup.audit >= 0)
		close(child->setup.audit);
	child->setup.audit = audit;
	if (child->orders >= 0 && fg_orders_send(child->orders, &message, audit))
		fg_log(FG_LOG_WARN, "audit.reopen reason=\"control does not listen\"");
}
