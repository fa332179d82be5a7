#include "userspace/daemon/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/daemon/admin.h"
#include "userspace/daemon/control.h"
#include "userspace/daemon/dataplane.h"
#include "userspace/daemon/orders.h"
#include "userspace/daemon/packer.h"
#include "userspace/daemon/steering.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"
#include "userspace/shared/priority.h"
#include "userspace/worker/worker.h"

#define RESTART_PAUSE_NS 200000000ull  /* between two starts of control */
#define TIDY_NS		 1000000000ull /* reads every ledger and asks every socket */
#define STOP_GRACE_NS	 5000000000ull /* beyond the drain deadline */

/* What the keeper knows of a slot's worker. Its twin in the state page is for reading only: the
 * worker can write to that page, and a pid is a thing to kill. */
struct post {
	pid_t pid; /* 0: none */
	uint32_t generation;
};

struct keeper {
	const struct fg_config *config;
	struct fg_state *state;
	struct fg_steering steering;
	struct fg_dataplane dataplane;
	struct fg_packer packer;
	struct post posts[FG_MAX_SLOTS];
	pid_t control;	     /* 0: none */
	int signals;	     /* signalfd; -1: closed, as all below */
	int admin;	     /* listening control socket */
	int orders;	     /* our end of the pair with control */
	uint64_t control_ns; /* control's last start */
	uint64_t tidied_ns;
	uint64_t stop_by_ns; /* 0: not stopping */
};

/* ---- telling control -------------------------------------------------------------------- */

/* Control looks at the state page by itself every second; a lost poke costs that. */
static void poke(const struct keeper *keeper)
{
	const struct fg_orders_message message = {.verb = FG_ORDERS_POKE};

	if (keeper->orders >= 0)
		send(keeper->orders, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- children --------------------------------------------------------------------------- */

/* A child begins without the keeper's signals and the keeper's own descriptors. */
static void become_child(const struct keeper *keeper, const char *part)
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
	if (getppid() != keeper->state->boot.keeper_pid)
		_exit(1); /* the keeper died before prctl */
	fg_log_open(part, keeper->config->verbose);
}

static void run_control(struct keeper *keeper, int orders)
{
	become_child(keeper, "control");
	prctl(PR_SET_NAME, "flipgate-control");
	close(keeper->signals);
	close(keeper->orders);
	_exit(fg_control_run(keeper->config, keeper->state, &keeper->steering, orders,
			     keeper->admin));
}

static int start_control(struct keeper *keeper)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	keeper->orders = pair[0];
	keeper->control_ns = fg_clock_ns();
	pid = fork();
	if (!pid)
		run_control(keeper, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		close(keeper->orders);
		keeper->orders = -1;
		return -errno;
	}
	keeper->control = pid;
	atomic_store(&keeper->state->boot.control_pid, pid);
	return 0;
}

/* Control that died comes back at once, but not in a tight loop. */
static void keep_control(struct keeper *keeper)
{
	if (keeper->control || fg_clock_ns() - keeper->control_ns < RESTART_PAUSE_NS)
		return;
	if (start_control(keeper))
		fg_log(FG_LOG_ERROR, "control.restart reason=\"%s\"", strerror(errno));
	else
		atomic_fetch_add(&keeper->state->boot.control_restarts, 1);
}

static void fail_worker(struct keeper *keeper, uint16_t slot, const char *text)
{
	struct fg_state_work *work = &keeper->state->slots[slot].work;

	snprintf(work->error, sizeof(work->error), "%s", text);
	atomic_store_explicit(&work->phase, FG_WORK_FAILED, memory_order_release);
	atomic_fetch_add(&keeper->state->slots[slot].post.deaths, 1);
	fg_log(FG_LOG_ERROR, "worker.start slot=%u reason=\"%s\"", slot, text);
}

static void run_worker(struct keeper *keeper, const struct fg_orders_message *order)
{
	int plan_fds[FG_STATE_MAX_PLANS];
	const struct fg_worker_setup setup = {
		.config = keeper->config,
		.state = keeper->state,
		.dataplane = &keeper->dataplane,
		.generation = &fg_rollout_current(&keeper->state->rollout)
				       ->generations[order->generation],
		.plan_fds = plan_fds,
		.slot = order->slot,
		.cpu = order->cpu,
	};

	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++)
		plan_fds[i] = keeper->packer.jobs[i].memfd;
	become_child(keeper, "worker");
	_exit(fg_worker_run(&setup));
}

/* A late order may name a generation that has gone on since, or a record that is another's by now.
 */
static bool wants_worker(const struct fg_rollout_generation *generation, uint32_t slot)
{
	bool named = false;

	if (generation->phase != FG_GENERATION_STARTING && generation->phase != FG_GENERATION_LIVE)
		return false;
	for (uint32_t i = 0; i < generation->worker_count; i++)
		named |= generation->slots[i] == slot;
	return named;
}

static void spawn(struct keeper *keeper, const struct fg_orders_message *order)
{
	struct fg_state_slot *slot = &keeper->state->slots[order->slot];
	struct post *post = &keeper->posts[order->slot];
	const struct fg_rollout_generation *generation =
		&fg_rollout_current(&keeper->state->rollout)->generations[order->generation];
	struct fg_error error = {""};
	pid_t pid;

	if (post->pid || !wants_worker(generation, order->slot))
		return;
	memset(&slot->work, 0, sizeof(slot->work));
	slot->post.cpu = order->cpu;
	slot->post.spawned_ns = fg_clock_ns();
	atomic_store(&slot->post.urgent, 0);
	post->generation = generation->id;
	atomic_store(&slot->post.generation, post->generation);
	if (fg_dataplane_open_slot(&keeper->dataplane, order->slot, &error)) {
		fail_worker(keeper, order->slot, error.text);
		return;
	}
	/* What was still on its way when the last worker of this slot was reaped. */
	fg_dataplane_reclaim_slot(&keeper->dataplane, order->slot);
	pid = fork();
	if (!pid)
		run_worker(keeper, order);
	if (pid < 0) {
		fail_worker(keeper, order->slot, strerror(errno));
		return;
	}
	post->pid = pid;
	atomic_store(&slot->post.pid, pid);
}

/* A child that ended. */
struct ended {
	pid_t pid;
	int status;
};

/*
 * First nobody is steered to the slot any more, then what the worker held is taken back. Control
 * makes a table without the slot; until then BPF programs probe past it (bpf/steer.h).
 */
static void reap_worker(struct keeper *keeper, uint16_t slot, int status)
{
	struct fg_state_slot *state = &keeper->state->slots[slot];
	struct post *post = &keeper->posts[slot];
	bool told = atomic_load(&state->order) == FG_ORDER_FINISH && WIFEXITED(status);
	uint32_t lost;

	fg_steering_set_slot(&keeper->steering, slot, post->generation, FG_SLOT_FREE);
	lost = fg_dataplane_reclaim_slot(&keeper->dataplane, slot);
	post->pid = 0;
	state->post.exit_status = status;
	if (!told)
		atomic_fetch_add(&state->post.deaths, 1);
	atomic_store(&state->post.pid, 0);
	fg_log(told && !lost ? FG_LOG_INFO : FG_LOG_WARN,
	       "worker.end slot=%u generation=%u status=%s%d lost=%u", slot, post->generation,
	       WIFSIGNALED(status) ? "signal " : "",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), lost);
}

static void reap_control(struct keeper *keeper, int status)
{
	close(keeper->orders);
	keeper->orders = -1;
	keeper->control = 0;
	atomic_store(&keeper->state->boot.control_pid, 0);
	if (!keeper->stop_by_ns)
		fg_log(FG_LOG_WARN, "control.end status=%#x", status);
}

static int slot_of(const struct keeper *keeper, pid_t pid)
{
	for (int slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (keeper->posts[slot].pid == pid)
			return slot;
	return -1;
}

static void reap_child(struct keeper *keeper, const struct ended *ended)
{
	int slot = slot_of(keeper, ended->pid);

	if (slot >= 0)
		reap_worker(keeper, slot, ended->status);
	else if (ended->pid == keeper->control)
		reap_control(keeper, ended->status);
	else
		fg_packer_reap(&keeper->packer, ended->pid, ended->status);
}

/* All that ended are known, and the locks they held are free, before the frames of any are taken
 * back: that needs the locks. */
static void reap_children(struct keeper *keeper)
{
	struct ended ended[FG_MAX_SLOTS + FG_STATE_MAX_PLANS + 1];
	size_t count = 0;
	int slot;

	while (count < sizeof(ended) / sizeof(ended[0]) &&
	       (ended[count].pid = waitpid(-1, &ended[count].status, WNOHANG)) > 0) {
		slot = slot_of(keeper, ended[count++].pid);
		if (slot >= 0)
			fg_dataplane_unlock_slot(&keeper->dataplane, slot);
	}
	for (size_t i = 0; i < count; i++)
		reap_child(keeper, &ended[i]);
	if (count)
		poke(keeper);
}

/* ---- orders ----------------------------------------------------------------------------- */

static bool sane(const struct fg_orders_message *order)
{
	return order->plan < FG_STATE_MAX_PLANS && order->slot < FG_MAX_SLOTS &&
	       order->generation < FG_ROLLOUT_MAX_GENERATIONS &&
	       memchr(order->model, 0, sizeof(order->model)) &&
	       memchr(order->path, 0, sizeof(order->path));
}

/* A worker that polls must not be urgent: it would let nobody else run on its CPU. So an order that
 * comes late, when the worker serves again, is void. */
static void set_priority(struct keeper *keeper, const struct fg_orders_message *order, pid_t pid)
{
	struct fg_state_slot *slot = &keeper->state->slots[order->slot];

	if (!pid || (order->urgent && atomic_load(&slot->order) != FG_ORDER_DRAIN))
		return;
	fg_priority_urgent(pid, order->urgent);
	atomic_store(&slot->post.urgent, order->urgent);
	poke(keeper);
}

static void obey(struct keeper *keeper, const struct fg_orders_message *order)
{
	pid_t pid;

	if (!sane(order)) {
		fg_log(FG_LOG_ERROR, "order.bad verb=%u", order->verb);
		return;
	}
	pid = keeper->posts[order->slot].pid;
	switch (order->verb) {
	case FG_ORDERS_PACK:
		fg_packer_start(&keeper->packer, order);
		poke(keeper);
		break;
	case FG_ORDERS_DROP:
		fg_packer_drop(&keeper->packer, order->plan);
		break;
	case FG_ORDERS_SPAWN:
		spawn(keeper, order);
		poke(keeper);
		break;
	case FG_ORDERS_KILL:
		if (pid)
			kill(pid, SIGKILL);
		break;
	case FG_ORDERS_PRIORITY:
		set_priority(keeper, order, pid);
		break;
	default:
		fg_log(FG_LOG_ERROR, "order.unknown verb=%u", order->verb);
	}
}

static void read_orders(struct keeper *keeper)
{
	struct fg_orders_message order;

	while (keeper->orders >= 0 &&
	       recv(keeper->orders, &order, sizeof(order), MSG_DONTWAIT) == sizeof(order))
		obey(keeper, &order);
}

/* ---- start and stop --------------------------------------------------------------------- */

static int map_state(struct keeper *keeper)
{
	int fd = memfd_create("flipgate-state", MFD_CLOEXEC);
	void *map;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(struct fg_state))) {
		close(fd);
		return -errno;
	}
	map = mmap(NULL, sizeof(struct fg_state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return -errno;
	keeper->state = map;
	keeper->state->boot.started_ns = fg_clock_ns();
	keeper->state->boot.keeper_pid = getpid();
	return 0;
}

static int open_signals(struct keeper *keeper)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);  /* a terminal that goes away */
	signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	keeper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return keeper->signals < 0 ? -errno : 0;
}

static int open_steering(struct keeper *keeper, struct fg_error *error)
{
	struct fg_steering_config steering = {
		.buckets_log2 = keeper->config->buckets_log2,
		.flow_idle_ms = keeper->config->flow_idle_ms,
		.acl_enabled = keeper->config->acl_count > 0,
	};

	memcpy(steering.pin_dir, keeper->config->pin_dir, sizeof(steering.pin_dir));
	if (getrandom(&steering.hash_seed, sizeof(steering.hash_seed), 0) < 0)
		return fg_error_set(error, -errno, "random seed: %s", strerror(errno));
	return fg_steering_open(&keeper->steering, &steering, error);
}

/* Slots x (queues + addresses) sockets may be open at once. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int start(struct keeper *keeper, struct fg_error *error)
{
	const struct fg_config *config = keeper->config;
	struct fg_state_boot *boot;
	int code = map_state(keeper);

	if (code)
		return fg_error_set(error, code, "state page: %s", strerror(-code));
	fg_packer_init(&keeper->packer, config, keeper->state);
	raise_descriptors();
	code = open_signals(keeper);
	if (code)
		return fg_error_set(error, code, "signals: %s", strerror(-code));
	code = fg_admin_listen(config->socket, &keeper->admin, error);
	if (!code)
		code = open_steering(keeper, error);
	if (!code)
		code = fg_dataplane_open(&keeper->dataplane, config, &keeper->steering, error);
	if (code)
		return code;
	boot = &keeper->state->boot;
	boot->mode = keeper->dataplane.mode;
	boot->queues = keeper->dataplane.queues;
	boot->frames = config->frames;
	memcpy(boot->interface, config->interface, sizeof(boot->interface));
	memcpy(boot->mode_reason, keeper->dataplane.mode_reason, sizeof(boot->mode_reason));
	fg_log(FG_LOG_INFO, "start mode=%s interface=%s queues=%u mtu=%u%s%s%s",
	       fg_mode_name(boot->mode), boot->interface, boot->queues, keeper->dataplane.mtu,
	       boot->mode_reason[0] ? " reason=\"" : "", boot->mode_reason,
	       boot->mode_reason[0] ? "\"" : "");
	code = start_control(keeper);
	return code ? fg_error_set(error, code, "control: %s", strerror(-code)) : 0;
}

static void kill_child(pid_t pid)
{
	if (!pid)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void stop(struct keeper *keeper)
{
	if (keeper->state) {
		kill_child(keeper->control);
		for (uint16_t slot = 0; slot < FG_MAX_SLOTS; slot++)
			kill_child(keeper->posts[slot].pid);
		fg_packer_close(&keeper->packer);
	}
	fg_steering_close(&keeper->steering);
	fg_dataplane_close(&keeper->dataplane);
	if (keeper->admin >= 0)
		unlink(keeper->config->socket);
	close_fd(keeper->admin);
	close_fd(keeper->orders);
	close_fd(keeper->signals);
	if (keeper->state)
		munmap(keeper->state, sizeof(*keeper->state));
}

/* ---- the loop --------------------------------------------------------------------------- */

static void read_signals(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	while (read(keeper->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue; /* all children are looked at below */
		fg_log(FG_LOG_INFO, "stop signal=%s", strsignal(info.ssi_signo));
		keeper->stop_by_ns =
			keeper->stop_by_ns ? 1
					   : fg_clock_ns() + STOP_GRACE_NS +
						     keeper->config->drain_deadline_ms * 1000000ull;
		atomic_store(&keeper->state->boot.stopping, 1);
		poke(keeper);
	}
	reap_children(keeper);
}

static bool any_worker(const struct keeper *keeper)
{
	for (uint16_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (keeper->posts[slot].pid)
			return true;
	return false;
}

static bool finished(const struct keeper *keeper)
{
	return keeper->stop_by_ns && (!any_worker(keeper) || fg_clock_ns() > keeper->stop_by_ns);
}

/* What could not be taken back at once from a worker that ended, and the drops that only the
 * keeper's sockets know of. */
static void tidy(struct keeper *keeper)
{
	uint64_t now_ns = fg_clock_ns();

	if (now_ns - keeper->tidied_ns < TIDY_NS)
		return;
	keeper->tidied_ns = now_ns;
	for (uint16_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (!keeper->posts[slot].pid)
			fg_dataplane_reclaim_slot(&keeper->dataplane, slot);
	fg_dataplane_count_drops(&keeper->dataplane, &keeper->state->boot.drops);
}

static void loop(struct keeper *keeper)
{
	while (!finished(keeper)) {
		struct pollfd polls[] = {
			{.fd = keeper->signals, .events = POLLIN},
			{.fd = keeper->orders, .events = POLLIN}, /* -1 is skipped by poll */
		};
		bool soon = keeper->orders < 0 || keeper->stop_by_ns;

		poll(polls, 2, soon ? 50 : 1000);
		read_signals(keeper);
		read_orders(keeper);
		keep_control(keeper);
		fg_packer_expire(&keeper->packer, fg_clock_ns());
		tidy(keeper);
	}
}

int fg_keeper_run(const struct fg_config *config, struct fg_error *error)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	int code;

	if (!keeper)
		return fg_error_set(error, -ENOMEM, "no memory");
	keeper->config = config;
	keeper->signals = keeper->admin = keeper->orders = -1;
	code = start(keeper, error);
	if (!code)
		loop(keeper);
	stop(keeper);
	free(keeper);
	return code;
}
