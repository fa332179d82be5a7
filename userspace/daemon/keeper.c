#include "userspace/daemon/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/daemon/admin.h"
#include "userspace/daemon/audit.h"
#include "userspace/daemon/child.h"
#include "userspace/daemon/child_log.h"
#include "userspace/daemon/control_child.h"
#include "userspace/daemon/dataplane.h"
#include "userspace/daemon/memory.h"
#include "userspace/daemon/orders.h"
#include "userspace/daemon/packer.h"
#include "userspace/daemon/predecessor.h"
#include "userspace/daemon/steering.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"
#include "userspace/shared/priority.h"
#include "userspace/worker/worker.h"

#define TIDY_NS	      1000000000ull   /* reads every ledger and asks every socket */
#define STOP_GRACE_NS 5000000000ull   /* beyond the drain deadline */
#define TAKE_NS	      120000000000ull /* not ready by then: the other gateway serves on */

/* What the keeper knows of a slot's worker. Its twin in the state page is for reading only: the
 * worker can write to that page, and a pid is a thing to kill. */
struct post {
	pid_t pid; /* 0: none */
	uint32_t generation;
	bool shadow; /* reads the shadow rings */
};

struct keeper {
	const struct fg_config *config;
	const struct fg_rules *rules; /* at the start; from then on control's */
	struct fg_state *state;
	struct fg_steering steering;
	struct fg_dataplane dataplane;
	struct fg_packer packer;
	struct fg_shadow_area *shadow;
	struct post posts[FG_MAX_SLOTS];
	struct fg_control_child control;
	struct fg_child_log worker_log, packer_log;
	struct fg_predecessor predecessor;	/* the gateway to replace, until it has ended */
	int signals;				/* signalfd; -1: closed, as all below */
	int admin;				/* listening control socket */
	char admin_path[FG_ADMIN_SOCKET_BYTES]; /* where that is now */
	int audit;				/* the audit log, until control has it */
	int state_fd;				/* memfd of the state page */
	uint64_t tidied_ns;
	bool beside;	       /* the predecessor serves still */
	uint64_t take_by_ns;   /* when it goes on for good; beside */
	uint64_t late_ns;      /* when the predecessor should have ended; 0: it was not told to */
	bool pins_fail;	       /* the directory of pins could not be made again; was logged */
	uint64_t stop_by_ns;   /* 0: not stopping */
	struct fg_error unfit; /* why the other gateway is not replaced; "": it may be */
};

/* ---- the interface ---------------------------------------------------------------------- */

static void publish_interface(struct keeper *keeper)
{
	const struct fg_dataplane *dataplane = &keeper->dataplane;
	struct fg_state_boot *boot = &keeper->state->boot;
	bool by_xdp = dataplane->mode != FG_MODE_SOCKETS;

	boot->mode = dataplane->mode;
	boot->queues = by_xdp ? dataplane->queues : 0;
	boot->mtu = dataplane->interface.mtu;
	memcpy(boot->interface,
	       dataplane->interface.index ? dataplane->interface.name : keeper->config->interface,
	       sizeof(boot->interface));
	memcpy(boot->mode_reason, dataplane->mode_reason, sizeof(boot->mode_reason));
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		atomic_store_explicit(&keeper->state->slots[slot].post.mtu, by_xdp ? boot->mtu : 0,
				      memory_order_relaxed);
	atomic_store(&boot->mode_lost, dataplane->lost);
	atomic_store(&boot->attachment, by_xdp ? dataplane->attachment : 0);
}

/* Control replaces the workers that a new attachment needs anew. */
static void look_at_interface(struct keeper *keeper)
{
	uint32_t before = atomic_load(&keeper->state->boot.attachment);

	if (keeper->stop_by_ns)
		return;
	fg_dataplane_look(&keeper->dataplane);
	publish_interface(keeper);
	if (atomic_load(&keeper->state->boot.attachment) != before)
		fg_control_child_poke(&keeper->control);
}

/* ---- workers ---------------------------------------------------------------------------- */

static void fail_worker(struct keeper *keeper, uint16_t slot, const char *text)
{
	struct fg_state_work *work = &keeper->state->slots[slot].work;

	snprintf(work->error, sizeof(work->error), "%s", text);
	work->passing = 1; /* no plan was looked at yet */
	atomic_store_explicit(&work->phase, FG_WORK_FAILED, memory_order_release);
	atomic_fetch_add(&keeper->state->slots[slot].post.deaths, 1);
	fg_log(FG_LOG_ERROR, "worker.start slot=%u reason=\"%s\"", slot, text);
}

static void run_worker(struct keeper *keeper, const struct fg_orders_message *order,
		       const struct fg_rollout_generation *generation)
{
	int plan_fds[FG_STATE_MAX_PLANS];
	const struct fg_worker_setup setup = {
		.config = keeper->config,
		.state = keeper->state,
		.dataplane = &keeper->dataplane,
		.shadow = keeper->shadow,
		.generation = generation,
		.plan_fds = plan_fds,
		.slot = order->slot,
		.cpu = order->cpu,
		.memory_bytes = order->memory_bytes,
	};

	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++)
		plan_fds[i] = keeper->packer.jobs[i].memfd;
	fg_child_begin(keeper->state, "worker", keeper->config->verbose);
	fg_child_log_use(&keeper->worker_log);
	_exit(fg_worker_run(&setup));
}

/* A late order may name a generation that has gone on since, or a record that is another's by now.
 */
static bool wants_worker(const struct fg_rollout_generation *generation, uint32_t slot)
{
	bool named = false;

	if (generation->phase != FG_GENERATION_STARTING &&
	    generation->phase != FG_GENERATION_LIVE && generation->phase != FG_GENERATION_CANARY &&
	    generation->phase != FG_GENERATION_SHADOW)
		return false;
	for (uint32_t i = 0; i < generation->worker_count && i < FG_ROLLOUT_MAX_WORKERS; i++)
		named |= generation->slots[i] == slot;
	return named;
}

static void spawn(struct keeper *keeper, const struct fg_orders_message *order)
{
	struct fg_state_slot *slot = &keeper->state->slots[order->slot];
	struct post *post = &keeper->posts[order->slot];
	/* Control may write to it meanwhile. */
	const struct fg_rollout_generation generation =
		fg_rollout_current(&keeper->state->rollout)->generations[order->generation];
	struct fg_error error = {""};
	pid_t pid;

	if (post->pid || !wants_worker(&generation, order->slot))
		return;
	memset(&slot->work, 0, sizeof(slot->work));
	atomic_store(&slot->seen.epoch, 0); /* what the last one saw is not this one's */
	slot->post.cpu = order->cpu;
	slot->post.spawned_ns = fg_clock_ns();
	atomic_store(&slot->post.urgent, 0);
	post->generation = generation.id;
	post->shadow = generation.shadow;
	atomic_store(&slot->post.generation, post->generation);
	if (fg_dataplane_open_slot(&keeper->dataplane, order->slot, &error)) {
		fail_worker(keeper, order->slot, error.text);
		return;
	}
	publish_interface(keeper); /* sockets that could not be made are a loss */
	atomic_store(&slot->post.attachment,
		     fg_dataplane_attachment(&keeper->dataplane, order->slot));
	/* What was still on its way when the last worker of this slot was reaped. */
	fg_dataplane_reclaim_slot(&keeper->dataplane, order->slot);
	pid = fork();
	if (!pid)
		run_worker(keeper, order, &generation);
	if (pid < 0) {
		/* Nobody will end here: vacant again, or its listeners would stay open. */
		fg_dataplane_unlock_slot(&keeper->dataplane, order->slot);
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

/* A shadow that was killed left what it had not read yet, and the memory of that. */
static void release_rings(struct keeper *keeper)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		fg_shadow_release(&keeper->shadow->rings[slot]);
}

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
	if (post->shadow && WIFSIGNALED(status))
		release_rings(keeper);
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
	else if (ended->pid == keeper->control.pid)
		fg_control_child_ended(&keeper->control, ended->status);
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
	       (ended[count].pid = waitpid(-1, &ended[count].status, WNOHANG | WUNTRACED)) > 0) {
		if (WIFSTOPPED(ended[count].status)) {
			/* A stopped worker is for control to judge, by its heartbeat. */
			if (ended[count].pid == keeper->control.pid)
				fg_control_child_stopped(&keeper->control);
			continue;
		}
		slot = slot_of(keeper, ended[count++].pid);
		if (slot >= 0)
			fg_dataplane_unlock_slot(&keeper->dataplane, slot);
	}
	for (size_t i = 0; i < count; i++)
		reap_child(keeper, &ended[i]);
	if (count)
		fg_control_child_poke(&keeper->control);
}

/* ---- the gateway that this one replaces --------------------------------------------------- */

/* While the other one serves. When it has died there is no better one than this. */
static void give_up(struct keeper *keeper, const char *why)
{
	if (!keeper->beside || keeper->stop_by_ns || !fg_predecessor_lives(&keeper->predecessor))
		return;
	fg_error_set(&keeper->unfit, -ECANCELED, "not replaced, pid %d serves on: %s",
		     keeper->predecessor.pid, why);
}

/* Each step by itself leaves all that comes to somebody who serves. */
static void take(struct keeper *keeper)
{
	const struct fg_config *config = keeper->config;
	struct fg_error error = {""};
	int link, code;

	if (!keeper->beside || keeper->stop_by_ns)
		return;
	link = fg_predecessor_link(&keeper->predecessor, keeper->dataplane.interface.index);
	if (fg_dataplane_take(&keeper->dataplane, link, &error)) {
		keeper->unfit = error;
		return;
	}
	fg_log(FG_LOG_INFO, "replace.take pid=%d link=%s", keeper->predecessor.pid,
	       keeper->dataplane.taken ? "taken" : "none");
	if (fg_admin_move(keeper->admin_path, config->socket, &error))
		fg_log(FG_LOG_ERROR, "replace.socket reason=\"%s\"", error.text);
	code = fg_predecessor_dismiss(&keeper->predecessor);
	if (code)
		fg_log(FG_LOG_ERROR, "replace.dismiss reason=\"%s\" next=\"stop pid %d\"",
		       strerror(-code), keeper->predecessor.pid);
	keeper->late_ns =
		fg_clock_ns() + config->drain_deadline_ms * 1000000ull + 2 * STOP_GRACE_NS;
	keeper->beside = false;
	atomic_store(&keeper->state->boot.beside, 0);
	fg_control_child_poke(&keeper->control);
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
	uint32_t obeys = atomic_load(&slot->order);

	if (!pid || (order->urgent && obeys != FG_ORDER_DRAIN && obeys != FG_ORDER_DOZE &&
		     obeys != FG_ORDER_KEEP))
		return;
	fg_priority_urgent(pid, order->urgent);
	atomic_store(&slot->post.urgent, order->urgent);
	fg_control_child_poke(&keeper->control);
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
		fg_control_child_poke(&keeper->control);
		break;
	case FG_ORDERS_DROP:
		fg_packer_drop(&keeper->packer, order->plan);
		break;
	case FG_ORDERS_SPAWN:
		spawn(keeper, order);
		fg_control_child_poke(&keeper->control);
		break;
	case FG_ORDERS_KILL:
		if (pid)
			kill(pid, SIGKILL);
		break;
	case FG_ORDERS_PRIORITY:
		set_priority(keeper, order, pid);
		break;
	case FG_ORDERS_UPGRADE:
		fg_control_child_upgrade(&keeper->control, order->path);
		break;
	case FG_ORDERS_TAKE:
		take(keeper);
		break;
	case FG_ORDERS_GIVE_UP:
		give_up(keeper, order->path);
		break;
	default:
		fg_log(FG_LOG_ERROR, "order.unknown verb=%u", order->verb);
	}
}

static void read_orders(struct keeper *keeper)
{
	struct fg_orders_message order;

	while (fg_control_child_order(&keeper->control, &order))
		obey(keeper, &order);
}

/* ---- start and stop --------------------------------------------------------------------- */

static int map_state(struct keeper *keeper)
{
	const struct fg_error none = {""};
	int fd = memfd_create("flipgate-state", MFD_CLOEXEC);
	void *map;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(struct fg_state))) {
		close(fd);
		return -errno;
	}
	map = mmap(NULL, sizeof(struct fg_state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		close(fd);
		return -errno;
	}
	keeper->state_fd = fd;
	keeper->state = map;
	keeper->state->boot.layout = FG_STATE_LAYOUT;
	keeper->state->boot.started_ns = fg_clock_ns();
	keeper->state->boot.keeper_pid = getpid();
	keeper->state->rules[0] = *keeper->rules;
	keeper->state->control.config_hash = fg_control_reload_hash(keeper->rules, &none);
	return 0;
}

static int open_signals(struct keeper *keeper)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);  /* reload */
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
		.pins_later = keeper->predecessor.pid,
	};

	memcpy(steering.pin_dir, keeper->config->pin_dir, sizeof(steering.pin_dir));
	if (getrandom(steering.hash_key, sizeof(steering.hash_key), 0) < 0 ||
	    getrandom(&steering.table_seed, sizeof(steering.table_seed), 0) < 0)
		return fg_error_set(error, -errno, "random keys: %s", strerror(errno));
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

static int listen_for_operators(struct keeper *keeper, struct fg_error *error)
{
	const struct fg_config *config = keeper->config;
	int code;

	if (snprintf(keeper->admin_path, sizeof(keeper->admin_path), "%s%s", config->socket,
		     keeper->predecessor.pid ? ".next" : "") >= (int)sizeof(keeper->admin_path))
		return fg_error_set(error, -ENAMETOOLONG, "control socket %s: too long for %s.next",
				    config->socket, config->socket);
	code = fg_admin_listen(keeper->admin_path, config->socket_group, &keeper->admin, error);
	if (code == -EADDRINUSE && keeper->predecessor.pid)
		return fg_error_set(error, code,
				    "control socket %s: another flipgated is about to replace "
				    "pid %d already",
				    keeper->admin_path, keeper->predecessor.pid);
	return code;
}

/* The default's directory may be one that cannot be written: then nobody asked for a log. */
static int open_audit(struct keeper *keeper, struct fg_error *error)
{
	int code = fg_audit_file(keeper->config->audit_log, &keeper->audit, error);

	if (!code || keeper->config->audit_named)
		return code;
	fg_log(FG_LOG_WARN, "audit.none reason=\"%s\" next=\"no history\"", error->text);
	error->text[0] = '\0';
	return 0;
}

static int start_control(struct keeper *keeper)
{
	const struct fg_control_setup setup = {.config = keeper->config,
					       .state = keeper->state,
					       .steering = &keeper->steering,
					       .admin = keeper->admin,
					       .audit = keeper->audit};

	keeper->audit = -1; /* the child's record owns it now */
	return fg_control_child_open(&keeper->control, &setup, keeper->state_fd);
}

static int start(struct keeper *keeper, struct fg_error *error)
{
	const struct fg_config *config = keeper->config;
	enum fg_log_level level = FG_LOG_INFO;
	struct fg_state_boot *boot;
	char cpus[128];
	int code = map_state(keeper);

	if (code)
		return fg_error_set(error, code, "state page: %s", strerror(-code));
	fg_packer_init(&keeper->packer, config, keeper->state, &keeper->packer_log);
	keeper->shadow = fg_shadow_map();
	if (!keeper->shadow)
		return fg_error_set(error, -ENOMEM, "no memory for shadow rings");
	code = fg_child_log_open(&keeper->worker_log, "worker");
	if (!code)
		code = fg_child_log_open(&keeper->packer_log, "packer");
	if (code)
		return fg_error_set(error, code, "pipes for logs: %s", strerror(-code));
	raise_descriptors();
	fg_memory_kill_last();
	code = open_signals(keeper);
	if (code)
		return fg_error_set(error, code, "signals: %s", strerror(-code));
	if (config->replace)
		code = fg_predecessor_find(&keeper->predecessor, config->socket, error);
	if (!code)
		code = listen_for_operators(keeper, error);
	if (!code)
		code = open_audit(keeper, error);
	if (!code)
		code = open_steering(keeper, error);
	if (!code)
		code = fg_dataplane_open(&keeper->dataplane, config, &keeper->steering,
					 &keeper->predecessor, error);
	if (code)
		return code;
	boot = &keeper->state->boot;
	keeper->beside = keeper->predecessor.pid;
	keeper->take_by_ns = boot->started_ns + TAKE_NS;
	boot->beside = keeper->predecessor.pid;
	boot->frames = config->frames;
	publish_interface(keeper);
	/* Whoever named an interface, and no mode, expects XDP on it. */
	if (boot->mode == FG_MODE_SOCKETS && config->interface[0] && !config->mode && !boot->beside)
		level = FG_LOG_WARN;
	fg_log(level, "start mode=%s interface=%s queues=%u mtu=%u workers=%u cpus=%s%s%s%s",
	       fg_mode_name(boot->mode), boot->interface, boot->queues, boot->mtu,
	       config->worker_count, fg_config_format_cpus(config, cpus, sizeof(cpus)),
	       boot->mode_reason[0] ? " reason=\"" : "", boot->mode_reason,
	       boot->mode_reason[0] ? "\"" : "");
	if (config->replace)
		fg_log(FG_LOG_INFO, "replace.begin pid=%d%s", keeper->predecessor.pid,
		       boot->beside ? "" : " reason=\"nobody is there: an ordinary start\"");
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
		fg_control_child_close(&keeper->control);
		for (uint16_t slot = 0; slot < FG_MAX_SLOTS; slot++)
			kill_child(keeper->posts[slot].pid);
		fg_packer_close(&keeper->packer);
	}
	fg_child_log_close(&keeper->worker_log);
	fg_child_log_close(&keeper->packer_log);
	fg_steering_close(&keeper->steering);
	fg_dataplane_close(&keeper->dataplane);
	if (keeper->admin >= 0)
		fg_admin_unlisten(keeper->admin_path);
	close_fd(keeper->admin);
	fg_predecessor_close(&keeper->predecessor);
	close_fd(keeper->audit);
	close_fd(keeper->signals);
	if (keeper->shadow)
		fg_shadow_unmap(keeper->shadow);
	if (keeper->state)
		munmap(keeper->state, sizeof(*keeper->state));
	close_fd(keeper->state_fd);
}

/* ---- the loop --------------------------------------------------------------------------- */

/* The audit log was rotated, perhaps: what is at its path counts from now on. */
static void reopen_audit(struct keeper *keeper)
{
	struct fg_error error = {""};
	int audit;

	if (!keeper->config->audit_log[0])
		return;
	if (fg_audit_file(keeper->config->audit_log, &audit, &error))
		fg_log(FG_LOG_ERROR, "audit.reopen reason=\"%s\" next=\"goes on with the old one\"",
		       error.text);
	else
		fg_control_child_audit(&keeper->control, audit);
}

static void hang_up(struct keeper *keeper)
{
	fg_log(FG_LOG_INFO, "reload signal=SIGHUP");
	reopen_audit(keeper);
	atomic_fetch_add(&keeper->state->boot.reloads, 1);
	fg_control_child_poke(&keeper->control);
}

static void stop_soon(struct keeper *keeper, uint32_t signo)
{
	fg_log(FG_LOG_INFO, "stop signal=%s", strsignal((int)signo));
	fg_dataplane_withdraw(&keeper->dataplane);
	keeper->stop_by_ns = keeper->stop_by_ns
				     ? 1
				     : fg_clock_ns() + STOP_GRACE_NS +
					       keeper->config->drain_deadline_ms * 1000000ull;
	atomic_store(&keeper->state->boot.stopping, 1);
	fg_control_child_poke(&keeper->control);
}

static void read_signals(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	while (read(keeper->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			hang_up(keeper);
		else if (info.ssi_signo != SIGCHLD) /* all children are looked at below */
			stop_soon(keeper, info.ssi_signo);
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
	return keeper->unfit.text[0] ||
	       (keeper->stop_by_ns && (!any_worker(keeper) || fg_clock_ns() > keeper->stop_by_ns));
}

/* Somebody may have removed the directory. Flips do without it; people and tools that look do not.
 */
static void keep_pins(struct keeper *keeper)
{
	struct fg_error error = {""};
	int code = fg_steering_keep_pins(&keeper->steering, &error);

	if (code > 0) {
		fg_log(FG_LOG_WARN, "pins.again path=\"%s\"", keeper->config->pin_dir);
		atomic_fetch_add(&keeper->state->boot.pins, 1);
		fg_control_child_poke(&keeper->control);
	} else if (code < 0 && !keeper->pins_fail) {
		fg_log(FG_LOG_WARN, "pins.gone reason=\"%s\" next=\"tries again\"", error.text);
	}
	keeper->pins_fail = code < 0;
}

static void look_at_living(struct keeper *keeper)
{
	uint64_t now_ns = fg_clock_ns();

	if (keeper->beside && now_ns > keeper->take_by_ns)
		give_up(keeper, "not ready to serve all that it serves after 120 s (see the log)");
	if (!keeper->late_ns || now_ns < keeper->late_ns)
		return;
	fg_log(FG_LOG_WARN,
	       "replace.late pid=%d reason=\"was told to stop, does not end, has the interface\" "
	       "next=\"kill it\"",
	       keeper->predecessor.pid);
	keeper->late_ns = 0;
}

/* What it leaves behind is for whoever has its traffic. One that ended before its time leaves that,
 * too: however much of this one is ready, there is nobody better. */
static void look_at_predecessor(struct keeper *keeper)
{
	if (fg_predecessor_lives(&keeper->predecessor)) {
		look_at_living(keeper);
		return;
	}
	take(keeper);
	if (keeper->beside)
		return;
	fg_log(FG_LOG_INFO, "replace.done");
	fg_dataplane_inherit(&keeper->dataplane);
	keep_pins(keeper);
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
	atomic_store(&keeper->state->boot.log_lost, fg_log_lost());
	if (keeper->dataplane.beside)
		look_at_predecessor(keeper);
	else
		keep_pins(keeper);
	look_at_interface(keeper);
}

static void loop(struct keeper *keeper)
{
	bool soon = true;

	while (!finished(keeper)) {
		struct pollfd polls[] = {
			{.fd = keeper->signals, .events = POLLIN},
			{.fd = keeper->control.orders, .events = POLLIN}, /* poll skips -1 */
			{.fd = keeper->dataplane.watch, .events = POLLIN},
			{.fd = keeper->predecessor.pidfd, .events = POLLIN},
			{.fd = fg_child_log_fd(&keeper->worker_log, fg_clock_ns()),
			 .events = POLLIN},
			{.fd = fg_child_log_fd(&keeper->packer_log, fg_clock_ns()),
			 .events = POLLIN},
		};

		poll(polls, 6, soon || keeper->stop_by_ns ? 50 : 500);
		if (polls[2].revents)
			look_at_interface(keeper);
		if (polls[3].revents)
			keeper->tidied_ns = 0; /* it ended */
		fg_child_log_read(&keeper->worker_log, fg_clock_ns());
		fg_child_log_read(&keeper->packer_log, fg_clock_ns());
		read_signals(keeper);
		read_orders(keeper);
		soon = fg_control_child_keep(&keeper->control);
		fg_packer_expire(&keeper->packer, fg_clock_ns());
		tidy(keeper);
	}
}

int fg_keeper_run(const struct fg_config *config, const struct fg_rules *rules,
		  struct fg_error *error)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	int code;

	if (!keeper)
		return fg_error_set(error, -ENOMEM, "no memory");
	keeper->config = config;
	keeper->rules = rules;
	keeper->signals = keeper->admin = keeper->audit = keeper->state_fd = -1;
	keeper->predecessor.pidfd = -1;
	keeper->worker_log.read = keeper->packer_log.read = -1;
	code = start(keeper, error);
	if (!code)
		loop(keeper);
	if (keeper->unfit.text[0])
		code = fg_error_set(error, -ECANCELED, "%s", keeper->unfit.text);
	stop(keeper);
	free(keeper);
	return code;
}
