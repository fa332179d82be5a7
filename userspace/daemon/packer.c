#include "userspace/daemon/packer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "models/plan_format.h"
#include "models/plan_interface.h"
#include "userspace/daemon/child.h"
#include "userspace/daemon/memory.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"
#include "userspace/shared/priority.h"

#define LIMIT_NS 60000000000ull
#define DEATH_NS 5000000000ull /* one that was killed and is not dead by then hangs */

/* Exit status, see flipgate-pack --help. */
enum { USAGE = 1, WRONG_MODEL = 3, WRONG_GOLDEN = 4, LACKS_MEMORY = 7, TOO_SLOW = 8 };

enum { CHILD_DIR = 3, CHILD_OUTPUT, CHILD_ERRORS, CHILD_FDS };

void fg_packer_init(struct fg_packer *packer, const struct fg_config *config,
		    struct fg_state *state, const struct fg_child_log *log)
{
	packer->log = log;
	packer->config = config;
	packer->state = state;
	packer->limit_ns = LIMIT_NS;
	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++)
		packer->jobs[i].memfd = packer->jobs[i].errors = -1;
}

static void forget(struct fg_packer *packer, uint32_t plan)
{
	if (packer->jobs[plan].memfd >= 0)
		close(packer->jobs[plan].memfd);
	if (packer->jobs[plan].errors >= 0)
		close(packer->jobs[plan].errors);
	packer->jobs[plan].memfd = packer->jobs[plan].errors = -1;
	packer->jobs[plan].pid = 0;
	packer->jobs[plan].hopeless = false;
}

static void fail(struct fg_packer *packer, uint32_t plan, const char *text, bool passing)
{
	struct fg_state_plan *record = &packer->state->plans[plan];

	forget(packer, plan);
	record->ready_ns = fg_clock_ns();
	record->passing = passing;
	snprintf(record->error, sizeof(record->error), "%s", text);
	atomic_store_explicit(&record->phase, FG_PLAN_FAILED, memory_order_release);
	fg_log(FG_LOG_WARN, "pack.failed model=%.*s version=%llu reason=\"%s\"",
	       (int)sizeof(record->model), record->model, (unsigned long long)record->version,
	       text);
}

/* Puts the three descriptors at their places and runs the packer. Does not return. */
static void run_child(const struct fg_packer *packer, const struct fg_orders_message *order,
		      int output, int errors)
{
	char name[FG_NAME_BYTES], memory[24], max_row_ms[16];
	char *argv[] = {"flipgate-pack",
			"--dir-fd",
			"3",
			"--output-fd",
			"4",
			"--error-fd",
			"5",
			"--name",
			name,
			"--user",
			(char *)packer->config->user,
			"--memory",
			memory,
			"--max-row-ms",
			max_row_ms,
			NULL};
	int dir;

	snprintf(name, sizeof(name), "%s", order->model);
	snprintf(memory, sizeof(memory), "%llu", (unsigned long long)order->memory_bytes);
	snprintf(max_row_ms, sizeof(max_row_ms), "%u", packer->config->max_row_ms);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (packer->log)
		fg_child_log_use(packer->log);
	fg_priority_background();
	fg_memory_kill_first();
	/* Above all targets first, so that no dup2 below closes a source. */
	output = fcntl(output, F_DUPFD, CHILD_FDS);
	errors = fcntl(errors, F_DUPFD, CHILD_FDS);
	if (dup2(output, CHILD_OUTPUT) < 0 || dup2(errors, CHILD_ERRORS) < 0)
		_exit(126);
	close(CHILD_DIR);
	close_range(CHILD_FDS, ~0u, 0);
	/* Here, because a store that does not answer must not keep the keeper waiting; and now,
	 * because who hangs keeps open what is open: a listener, for one, whose end moves its
	 * connections. */
	dir = open(order->path, O_RDONLY | O_DIRECTORY);
	if (dir < 0) {
		dprintf(CHILD_ERRORS, "cannot open %s: %s", order->path, strerror(errno));
		_exit(2);
	}
	if (dup2(dir, CHILD_DIR) < 0)
		_exit(126);
	if (dir != CHILD_DIR)
		close(dir);
	execv(packer->config->packer, argv);
	dprintf(CHILD_ERRORS, "cannot run %s: %s", packer->config->packer, strerror(errno));
	_exit(127);
}

/* By an order that was sent when control had not seen this one's effect, with another free plan. */
static bool is_packing(const struct fg_packer *packer, const struct fg_orders_message *order)
{
	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++) {
		const struct fg_state_plan *record = &packer->state->plans[i];

		if (atomic_load(&record->phase) == FG_PLAN_PACKING &&
		    record->version == order->version &&
		    record->fingerprint == order->fingerprint &&
		    !strncmp(record->model, order->model, sizeof(record->model)))
			return true;
	}
	return false;
}

void fg_packer_start(struct fg_packer *packer, const struct fg_orders_message *order)
{
	struct fg_state_plan *record = &packer->state->plans[order->plan];
	uint32_t phase = atomic_load_explicit(&record->phase, memory_order_acquire);
	int output, pipes[2];
	pid_t pid;

	if (phase != FG_PLAN_FREE || packer->jobs[order->plan].memfd >= 0 ||
	    is_packing(packer, order))
		return;
	memcpy(record->model, order->model, sizeof(record->model));
	record->version = order->version;
	record->fingerprint = order->fingerprint;
	record->memory_bytes = order->memory_bytes;
	record->lacked = 0;
	record->error[0] = '\0';
	output = memfd_create("flipgate-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	packer->jobs[order->plan].memfd = output;
	if (output < 0 || pipe2(pipes, O_CLOEXEC | O_NONBLOCK)) {
		fail(packer, order->plan, strerror(errno), true);
		return;
	}
	packer->jobs[order->plan].errors = pipes[0];
	packer->jobs[order->plan].started_ns = record->started_ns = fg_clock_ns();
	pid = fork();
	if (!pid)
		run_child(packer, order, output, pipes[1]);
	close(pipes[1]);
	if (pid < 0) {
		fail(packer, order->plan, strerror(errno), true);
		return;
	}
	packer->jobs[order->plan].pid = pid;
	atomic_store_explicit(&record->phase, FG_PLAN_PACKING, memory_order_release);
}

void fg_packer_drop(struct fg_packer *packer, uint32_t plan)
{
	struct fg_state_plan *record = &packer->state->plans[plan];

	if (packer->jobs[plan].pid)
		kill(packer->jobs[plan].pid, SIGKILL);
	forget(packer, plan);
	atomic_store_explicit(&record->phase, FG_PLAN_FREE, memory_order_release);
}

/* Of a process, on CPUs. */
static uint64_t worked_ns(pid_t pid)
{
	struct timespec time;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &time))
		return 0;
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

uint32_t fg_packer_expire(struct fg_packer *packer, uint64_t now_ns)
{
	uint32_t running = 0;

	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++) {
		pid_t pid = packer->jobs[i].pid;
		uint64_t took_ns = now_ns - packer->jobs[i].started_ns;

		if (!pid)
			continue;
		running++;
		if (took_ns > FG_ROLLOUT_PACK_NS)
			fg_priority_last(pid);
		if (took_ns <= packer->limit_ns)
			continue;
		if (worked_ns(pid) > packer->limit_ns / 2)
			packer->jobs[i].hopeless = true;
		kill(pid, SIGKILL);
		if (took_ns > packer->limit_ns + DEATH_NS)
			fail(packer, i,
			     "the packer hangs in its file system, which does not answer: it took "
			     "over a minute, and cannot be killed",
			     true);
	}
	return running;
}

void fg_packer_close(struct fg_packer *packer)
{
	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++)
		fg_packer_drop(packer, i);
}

/* Why the packer failed: its own words, else how it ended. */
static void explain(int errors, int status, bool hopeless, char *text, size_t size)
{
	ssize_t got = read(errors, text, size - 1);

	if (got > 0) {
		text[got] = '\0';
		text[strcspn(text, "\n")] = '\0';
		fg_log_clean(text);
		return;
	}
	if (hopeless)
		snprintf(text, size,
			 "the packer was killed: it worked for over a minute, for which the model "
			 "is too large");
	else if (WIFSIGNALED(status))
		snprintf(text, size, "the packer was killed by signal %d (%s)%s", WTERMSIG(status),
			 strsignal(WTERMSIG(status)),
			 WTERMSIG(status) == SIGSYS ? ": a forbidden system call"
			 : WTERMSIG(status) == SIGKILL
				 ? ": it took over a minute, or memory ran out"
				 : "");
	else
		snprintf(text, size, "the packer ended with status %d", WEXITSTATUS(status));
}

/* Anything but what a version's files do to it. A file that cannot be read may be a store that is
 * away, or the right to read it; that it is not there is one as well, which costs little to ask. */
static bool is_passing(int status)
{
	if (!WIFEXITED(status))
		return fg_child_passing(status);
	switch (WEXITSTATUS(status)) {
	case USAGE:
	case WRONG_MODEL:
	case WRONG_GOLDEN:
	case TOO_SLOW:
		return false;
	default:
		return true;
	}
}

/* Numbers of fixed places, for status and to compare: workers check the plan before they believe
 * it. All 0 where there is no plan, which no worker will take. */
static void read_facts(int memfd, struct fg_state_plan *record)
{
	struct fg_plan_port ports[FG_PLAN_MAX_PORTS];
	struct fg_plan_header header = {0};
	uint32_t count;

	record->digest = record->interface = record->in_cols = record->out_cols = 0;
	if (pread(memfd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return;
	record->digest = header.digest;
	record->in_cols = header.in_cols;
	record->out_cols = header.out_cols;
	if (header.input_count > FG_PLAN_MAX_PORTS || header.output_count > FG_PLAN_MAX_PORTS)
		return;
	count = header.input_count + header.output_count;
	if (count <= FG_PLAN_MAX_PORTS &&
	    pread(memfd, ports, count * sizeof(ports[0]), sizeof(header)) ==
		    (ssize_t)(count * sizeof(ports[0])))
		record->interface =
			fg_plan_interface(ports, header.input_count, header.output_count);
}

static void finish(struct fg_packer *packer, uint32_t plan, int status)
{
	struct fg_state_plan *record = &packer->state->plans[plan];
	bool hopeless = packer->jobs[plan].hopeless;
	int memfd = packer->jobs[plan].memfd;
	char text[FG_ERROR_BYTES];
	struct stat info;

	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		explain(packer->jobs[plan].errors, status, hopeless, text, sizeof(text));
		record->lacked = WIFEXITED(status) && WEXITSTATUS(status) == LACKS_MEMORY;
		fail(packer, plan, text, !hopeless && is_passing(status));
		return;
	}
	if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) ||
	    fstat(memfd, &info)) {
		snprintf(text, sizeof(text), "the plan cannot be sealed: %s", strerror(errno));
		fail(packer, plan, text, true);
		return;
	}
	close(packer->jobs[plan].errors);
	packer->jobs[plan].errors = -1;
	packer->jobs[plan].pid = 0;
	record->bytes = info.st_size;
	read_facts(memfd, record);
	record->ready_ns = fg_clock_ns();
	record->pack_ns = record->ready_ns - packer->jobs[plan].started_ns;
	atomic_store_explicit(&record->phase, FG_PLAN_READY, memory_order_release);
	fg_log(FG_LOG_INFO,
	       "pack.done model=%.*s version=%llu digest=%016llx bytes=%llu took_ms=%.1f",
	       (int)sizeof(record->model), record->model, (unsigned long long)record->version,
	       (unsigned long long)record->digest, (unsigned long long)record->bytes,
	       record->pack_ns / 1e6);
}

bool fg_packer_reap(struct fg_packer *packer, pid_t pid, int status)
{
	for (uint32_t i = 0; i < FG_STATE_MAX_PLANS; i++) {
		if (packer->jobs[i].pid == pid) {
			finish(packer, i, status);
			return true;
		}
	}
	return false;
}
