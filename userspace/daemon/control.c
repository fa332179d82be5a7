#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "userspace/daemon/control.h"
#include "userspace/daemon/orders.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define HEARTBEAT_MS 500

enum { EVENT_ORDERS, EVENT_SCOUT, EVENT_ADMIN };

/* ---- privileges ---- */

/* The keeper's sockets, frames, plans and XDP link are none of control's business; above all a plan
 * that the keeper drops must not stay in memory because control still holds it. BPF maps stay. */
static void close_foreign(const struct fg_control_setup *setup)
{
	static const char *const foreign[] = {"socket:", "/memfd:", "pipe:", "anon_inode:bpf_link",
					      "anon_inode:[signalfd]"};
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	char target[32];
	ssize_t length;
	size_t i;
	int fd;

	while (dir && (entry = readdir(dir))) {
		fd = atoi(entry->d_name);
		if (fd <= STDERR_FILENO || fd == dirfd(dir) || fd == setup->orders ||
		    fd == setup->admin)
			continue;
		length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
			if (!strncmp(target, foreign[i], strlen(foreign[i]))) {
				close(fd);
				break;
			}
	}
	if (dir)
		closedir(dir);
}

/* Flips take CAP_BPF; the repository may belong to anybody, in directories that only they may read,
 * and the scout gets its rights from here. */
static int drop_privileges(void)
{
	static const unsigned int kept[] = {CAP_BPF, CAP_DAC_READ_SEARCH};
	unsigned int i;
	bool have[2];

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (capng_get_caps_process())
		return -EPERM;
	for (i = 0; i < 2; i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	capng_clear(CAPNG_SELECT_BOTH);
	for (i = 0; i < 2; i++)
		if (have[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
	if (capng_apply(CAPNG_SELECT_BOTH))
		return -EPERM;
	/* The kernel forgot it with the capabilities. A keeper that is gone already shows at its
	 * socket. */
	return prctl(PR_SET_PDEATHSIG, SIGKILL) ? -errno : 0;
}

/* ---- the loop ---- */

static int watch(int epoll, int fd, uint32_t what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Reads away all pokes, and takes what comes with them. False: the keeper is gone. */
static bool drain_pokes(struct fg_control *control)
{
	struct fg_orders_message message;
	int code, fd;

	while (!(code = fg_orders_receive(control->orders, &message, &fd)) || code == -EBADMSG)
		if (fd >= 0)
			close(fg_audit_reopen(&control->audit, fd));
	return code == -EAGAIN;
}

static int timeout_ms(uint64_t due_ns, uint64_t now_ns)
{
	uint64_t ms = due_ns > now_ns ? (due_ns - now_ns + 999999) / 1000000 : 0;

	return ms < HEARTBEAT_MS ? (int)ms : HEARTBEAT_MS;
}

static bool done(struct fg_control *control)
{
	return atomic_load(&control->state->boot.stopping) &&
	       fg_rollout_empty(fg_rollout_current(&control->state->rollout));
}

/* The next control goes on with this. One that finds it half written knows nothing yet. */
static void remember(struct fg_control *control)
{
	struct fg_state_known *known = &control->state->known;

	atomic_store(&known->valid, 0);
	known->findings = control->repository;
	atomic_store(&known->valid, 1);
}

static void recall(struct fg_control *control)
{
	const struct fg_state_known *known = &control->state->known;

	if (atomic_load(&known->valid))
		control->repository = known->findings;
}

/* Which versions there are depends on the rules, so this comes again after whatever may have begun
 * or ended a reload: no step may judge new rules by what is known of other places. */
static void look_at_repository(struct fg_control *control, uint64_t now_ns)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_rules *rules = fg_control_rules(control, rollout);
	struct fg_findings *known = &control->repository;

	if (fg_scout_update(&control->scout, rules, rollout, known, now_ns)) {
		*known = control->scout.found;
		control->carried = false;
	} else if (memcmp(&known->rules, rules, sizeof(*rules))) {
		fg_repository_carry(&known->store, &known->rules, rules);
		known->rules = *rules;
		control->carried = true;
	} else {
		return;
	}
	remember(control);
}

static void remark(struct fg_control *control, uint64_t now_ns)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	const struct fg_findings *known = &control->repository;

	control->remarks = known->remarks;
	fg_remarks_on_rollout(&control->remarks, rollout, &known->store, &known->rules);
	fg_remarks_tell(&control->told, &control->remarks, now_ns);
}

/*
 * Everything is looked at in each round; what woke it up does not matter. Clients are looked after
 * once more after the step, so that a promote that ends with it is answered at once; what they say
 * then is for the next round, which comes at once.
 */
static uint64_t round_once(struct fg_control *control)
{
	uint64_t now_ns = fg_clock_ns(), due_ns, admin_ns, reload_ns, scout_ns;

	look_at_repository(control, now_ns);
	fg_admin_update(&control->admin, now_ns);
	reload_ns = fg_control_reload_update(control, now_ns);
	look_at_repository(control, now_ns);
	due_ns = fg_control_reconcile(control);
	now_ns = fg_clock_ns();
	due_ns += now_ns;
	fg_control_succeed(control);
	remark(control, now_ns);
	admin_ns = fg_admin_update(&control->admin, now_ns);
	fg_audit_flush(&control->audit);
	if (control->spoken)
		return now_ns;
	if (admin_ns < due_ns)
		due_ns = admin_ns;
	if (reload_ns < due_ns)
		due_ns = reload_ns;
	scout_ns = fg_scout_due(&control->scout);
	return scout_ns < due_ns ? scout_ns : due_ns;
}

static void loop(struct fg_control *control, int epoll)
{
	struct epoll_event events[4];
	uint64_t due_ns;

	while (!done(control)) {
		atomic_store(&control->state->control.heartbeat_ns, fg_clock_ns());
		due_ns = round_once(control);
		epoll_wait(epoll, events, 4, timeout_ms(due_ns, fg_clock_ns()));
		if (!drain_pokes(control)) {
			fg_log(FG_LOG_INFO, "control.end reason=\"the keeper is gone\"");
			break;
		}
	}
}

static int watch_all(struct fg_control *control, int epoll)
{
	int code = watch(epoll, control->orders, EVENT_ORDERS);

	if (!code)
		code = watch(epoll, control->admin.epoll, EVENT_ADMIN);
	return code;
}

static int open_all(struct fg_control *control, const struct fg_control_setup *setup, int epoll)
{
	int code = fg_admin_open(&control->admin, setup->admin, &fg_control_verbs, control);

	if (!code)
		code = drop_privileges();
	if (!code)
		code = watch_all(control, epoll);
	if (code)
		fg_log(FG_LOG_ERROR, "control.start reason=\"%s\"", strerror(-code));
	return code;
}

static void fill(struct fg_control *control, const struct fg_control_setup *setup, int epoll)
{
	ssize_t length = readlink("/proc/self/exe", control->program, sizeof(control->program) - 1);

	control->program[length > 0 ? length : 0] = '\0';
	control->config = setup->config;
	control->state = setup->state;
	control->steering = setup->steering;
	control->orders = setup->orders;
	control->pace.worker_count = setup->config->worker_count;
	control->pace.drain_deadline_ms = setup->config->drain_deadline_ms;
	control->pace.keep_ms = setup->config->keep_ms;
	fg_served_open(&control->served, setup->config->state_dir, setup->config->name);
	control->observed.served = &control->served.list;
	fg_scout_open(&control->scout, setup->config, epoll, EVENT_SCOUT);
	recall(control);
	control->pace.settle_ms = setup->config->settle_ms;
	control->pace.interface_may_change = setup->config->interface_may_change;
	fg_audit_open(&control->audit, setup->audit, &setup->state->control.audit_lost);
}

/* From here on this process is the one: the keeper may wait for that. */
static void take_charge(struct fg_control *control)
{
	fg_control_adopt(control);
	fg_control_tell_start(control);
	atomic_store(&control->state->control.in_charge,
		     atomic_load(&control->state->boot.control_starts));
}

int fg_control_run(const struct fg_control_setup *setup)
{
	struct fg_control *control = calloc(1, sizeof(*control));
	int code, epoll = epoll_create1(EPOLL_CLOEXEC);

	prctl(PR_SET_NAME, "flipgate-control");
	if (!control || epoll < 0) {
		fg_log(FG_LOG_ERROR, "control.start reason=\"%s\"", strerror(errno));
		return 1;
	}
	close_foreign(setup);
	fill(control, setup, epoll);
	code = open_all(control, setup, epoll);
	if (!code) {
		take_charge(control);
		loop(control, epoll);
		fg_admin_close(&control->admin);
		fg_scout_close(&control->scout);
		fg_audit_close(&control->audit);
	}
	close(epoll);
	free(control);
	return code ? 1 : 0;
}
