#include "userspace/daemon/scout.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define PAUSE_NS     100000000ull   /* before one that ended is started again; doubles ... */
#define PAUSE_MAX_NS 10000000000ull /* ... up to this */
#define AWAY_NS	     3000000000ull  /* control looks after its scout every second */

/* ---- one process ---- */

/* What a process shares with others it has mapped: state, frames, rings, maps. False: it may. */
static bool unmap_shared(const struct fg_scout_page *page)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], mode[8];
	uintptr_t from, to;

	if (!maps)
		return false;
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, mode) != 3 ||
		    mode[3] != 's')
			continue;
		if ((uintptr_t)page < from || (uintptr_t)page >= to)
			munmap((void *)from, to - from);
	}
	fclose(maps);
	return true;
}

/* Nothing that another process waits for, or believes, may stay within its reach. */
static _Noreturn void run_child(const struct fg_scout *scout, int socket,
				const struct fg_findings *known, pid_t control)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != control)
		_exit(1);
	if (socket != STDERR_FILENO + 1 && dup2(socket, STDERR_FILENO + 1) < 0)
		_exit(1);
	close_range(STDERR_FILENO + 2, ~0u, 0);
	if (!unmap_shared(scout->child.page))
		_exit(1);
	fg_log_open("scout", scout->config->verbose);
	fg_scout_run(scout->child.page, STDERR_FILENO + 1, scout->config, known);
}

static int listen_to(const struct fg_scout *scout, int socket)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = scout->event};

	return epoll_ctl(scout->epoll, EPOLL_CTL_ADD, socket, &event) ? -errno : 0;
}

static void release(struct fg_scout_child *child)
{
	if (child->socket >= 0)
		close(child->socket);
	if (child->page)
		munmap(child->page, sizeof(*child->page));
	memset(child, 0, sizeof(*child));
	child->socket = -1;
}

static int start(struct fg_scout *scout, const struct fg_findings *known)
{
	struct fg_scout_child *child = &scout->child;
	const pid_t control = getpid();
	int pair[2], code = 0;

	child->page = mmap(NULL, sizeof(*child->page), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (child->page == MAP_FAILED) {
		child->page = NULL;
		return -errno;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		code = -errno;
		goto release_child;
	}
	child->socket = pair[0];
	code = listen_to(scout, child->socket);
	if (code)
		goto close_other;
	child->pid = fork();
	if (!child->pid)
		run_child(scout, pair[1], known, control);
	if (child->pid < 0)
		code = -errno;
close_other:
	close(pair[1]);
release_child:
	if (code)
		release(child);
	return code;
}

/* The pauses are for one that dies at once, again and again; not for one that worked for long. */
static void put_off(struct fg_scout *scout, uint64_t now_ns)
{
	bool young = now_ns < scout->start_ns + PAUSE_MAX_NS;

	scout->pause_ns = young && scout->pause_ns ? 2 * scout->pause_ns : PAUSE_NS;
	if (scout->pause_ns > PAUSE_MAX_NS)
		scout->pause_ns = PAUSE_MAX_NS;
	scout->start_ns = now_ns + scout->pause_ns;
}

static void begin(struct fg_scout *scout, const struct fg_findings *known, uint64_t now_ns)
{
	int code = start(scout, known);

	if (code) {
		fg_log(FG_LOG_ERROR, "scout.start reason=\"%s\" next=\"tries again\"",
		       strerror(-code));
		put_off(scout, now_ns);
		return;
	}
	scout->child.since_ns = scout->start_ns = scout->seen_ns = now_ns;
	scout->steps = 0;
	scout->findings_number = scout->config_number = 0;
	scout->sent = false;
	memset(&scout->read, 0, sizeof(scout->read));
}

static void tell_end(const struct fg_scout_child *child, int status)
{
	if (child->place[0])
		fg_log(FG_LOG_INFO, "store.answers path=\"%s\"", child->place);
	else
		fg_log(FG_LOG_WARN, "scout.end status=%#x%s", status,
		       WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS
			       ? " reason=\"a forbidden system call\""
			       : "");
}

/* Never waits: one that hangs in the kernel ends when it can. */
static bool ended(struct fg_scout_child *child)
{
	int status = 0;
	pid_t pid = child->pid ? waitpid(child->pid, &status, WNOHANG) : 0;

	if (!pid || (pid < 0 && errno == EINTR))
		return false;
	tell_end(child, status);
	release(child);
	return true;
}

/* ---- those that hang ---- */

static bool is_left(const struct fg_scout *scout, const char *place)
{
	uint32_t i;

	for (i = 0; i < FG_REPOSITORY_MAX_SILENT; i++)
		if (scout->left[i].pid && !strcmp(scout->left[i].place, place))
			return true;
	return false;
}

/* Does the present order send anybody there? */
static bool is_wanted(const struct fg_scout *scout, const char *place)
{
	const struct fg_rules *rules = &scout->order.rules;
	uint32_t i;

	if (!place[0])
		return false;
	if (!strcmp(place, rules->repository) || !strcmp(place, scout->config->models_config))
		return true;
	for (i = 0; i < rules->model_count; i++)
		if (!strcmp(place, rules->models[i].path))
			return true;
	return false;
}

/* It stays where it is, without anybody who waits for it. */
static void leave(struct fg_scout *scout)
{
	struct fg_scout_child *child = &scout->child;
	uint32_t i;

	for (i = 0; i < FG_REPOSITORY_MAX_SILENT && scout->left[i].pid; i++)
		;
	if (i == FG_REPOSITORY_MAX_SILENT)
		return; /* it remains the one that is asked, until it or another ends */
	atomic_store(&child->page->leave, 1);
	scout->left[i] = *child;
	memset(child, 0, sizeof(*child));
	child->socket = -1;
	scout->start_ns = 0;
}

/* One that hangs at no place, and makes no step either (it was stopped): of no use. */
static void discard(struct fg_scout *scout)
{
	fg_log(FG_LOG_WARN, "scout.kill reason=\"makes no step\"");
	kill(scout->child.pid, SIGKILL);
	scout->child.since_ns = fg_clock_ns(); /* once more after that much time */
}

static void note_place(struct fg_scout_child *child, const char *place)
{
	if (!child->place[0] && place[0])
		fg_log(FG_LOG_WARN,
		       "store.silent path=\"%s\" reason=\"does not answer\" next=\"what is known "
		       "of it "
		       "stays valid; looks again when it answers\"",
		       place);
	else if (child->place[0] && !place[0])
		fg_log(FG_LOG_INFO, "store.answers path=\"%s\"", child->place);
	memcpy(child->place, place, sizeof(child->place));
}

static void look_after(struct fg_scout *scout, uint64_t now_ns)
{
	struct fg_scout_child *child = &scout->child;
	uint64_t steps = atomic_load(&child->page->steps);
	char place[FG_RULES_PATH_BYTES] = "";

	/* Who was not here for a while (a virtual machine was halted) cannot tell. */
	if (steps != scout->steps || now_ns > scout->seen_ns + AWAY_NS) {
		scout->steps = steps;
		child->since_ns = now_ns;
	} else if (now_ns > child->since_ns + FG_SCOUT_SILENT_NS &&
		   atomic_load(&child->page->busy)) {
		/* Its own words count only where they name a place that it was sent to. */
		memcpy(place, child->page->place, sizeof(place) - 1);
		if (!is_wanted(scout, place) || is_left(scout, place))
			memset(place, 0, sizeof(place));
	}
	scout->seen_ns = now_ns;
	note_place(child, place);
	if (now_ns <= child->since_ns + FG_SCOUT_PATIENCE_NS)
		return;
	if (place[0])
		leave(scout);
	else
		discard(scout);
}

/* ---- orders ---- */

static void list_silent(const struct fg_scout *scout, struct fg_scout_order *order)
{
	uint32_t i;

	for (i = 0; i < FG_REPOSITORY_MAX_SILENT; i++)
		if (scout->left[i].pid)
			order->silent[order->silent_count++] =
				fg_repository_place(scout->left[i].place);
}

/* One that was not sent is tried again in the next round. */
static void give_orders(struct fg_scout *scout, const struct fg_rules *rules,
			const struct fg_rollout *rollout)
{
	struct fg_scout_order *next = &scout->next;
	uint32_t i;

	memset(next, 0, sizeof(*next));
	next->serial = scout->order.serial;
	next->read = scout->order.read;
	next->since_ns = scout->since_ns;
	list_silent(scout, next);
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		memcpy(next->names[i], rollout->models[i].name, sizeof(next->names[i]));
	next->rules = *rules;
	if (memcmp(next, &scout->order, sizeof(*next))) {
		next->serial++;
		scout->order = *next;
		scout->sent = false;
	}
	if (!scout->sent && scout->child.pid)
		scout->sent = send(scout->child.socket, &scout->order, sizeof(scout->order),
				   MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(scout->order);
}

uint32_t fg_scout_ask(struct fg_scout *scout)
{
	scout->order.read++;
	scout->order.serial++;
	scout->sent = false;
	return scout->order.read;
}

/* ---- findings ---- */

/* Copies what stands still. False: nothing new, or it is being written. */
static bool copy(const _Atomic uint32_t *number, uint32_t *taken, void *to, const void *from,
		 size_t bytes)
{
	uint32_t before = atomic_load_explicit(number, memory_order_acquire);

	if (before == *taken || before % 2)
		return false;
	memcpy(to, from, bytes);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(number, memory_order_relaxed) != before)
		return false;
	*taken = before;
	return true;
}

static void refuse(const char *what)
{
	fg_log(FG_LOG_ERROR,
	       "scout.bad reason=\"%s make no sense\" next=\"goes on with what was known\"", what);
}

static bool take(struct fg_scout *scout, const struct fg_rules *rules)
{
	const struct fg_scout_page *page = scout->child.page;

	if (copy(&page->config_number, &scout->config_number, &scout->scratch, &page->config,
		 sizeof(page->config))) {
		if (fg_scout_check_config(&scout->scratch))
			scout->read = scout->scratch;
		else
			refuse("rules");
	}
	if (!copy(&page->findings_number, &scout->findings_number, &scout->found, &page->findings,
		  sizeof(page->findings)))
		return false;
	if (memcmp(&scout->found.rules, rules, sizeof(*rules)))
		return false; /* of other rules; those of these are on their way */
	if (fg_scout_check_findings(&scout->found))
		return true;
	refuse("findings");
	return false;
}

/* ---- all of it ---- */

/* The messages are empty: all that they say is that there is something. */
static void drain(const struct fg_scout_child *child)
{
	char byte;

	while (recv(child->socket, &byte, sizeof(byte), MSG_DONTWAIT) > 0)
		;
}

bool fg_scout_update(struct fg_scout *scout, const struct fg_rules *rules,
		     const struct fg_rollout *rollout, const struct fg_findings *known,
		     uint64_t now_ns)
{
	uint32_t i;
	bool found = false;

	for (i = 0; i < FG_REPOSITORY_MAX_SILENT; i++)
		ended(&scout->left[i]);
	if (scout->child.pid) {
		drain(&scout->child);
		found = take(scout, rules);
		look_after(scout, now_ns);
		if (ended(&scout->child))
			put_off(scout, now_ns);
	}
	if (!scout->child.pid && now_ns >= scout->start_ns)
		begin(scout, known, now_ns);
	give_orders(scout, rules, rollout);
	return found;
}

uint64_t fg_scout_due(const struct fg_scout *scout)
{
	const struct fg_scout_child *child = &scout->child;

	if (!child->pid)
		return scout->start_ns;
	if (scout->since_ns != scout->order.since_ns)
		return 0;
	return child->since_ns + (child->place[0] ? FG_SCOUT_PATIENCE_NS : FG_SCOUT_SILENT_NS) +
	       1000000;
}

const char *fg_scout_place(const struct fg_scout *scout, uint32_t index, uint64_t *since_ns)
{
	const struct fg_scout_child *child = &scout->child;
	uint32_t i;

	for (i = 0; i <= FG_REPOSITORY_MAX_SILENT; child = &scout->left[i++])
		if (child->pid && is_wanted(scout, child->place) && !index--) {
			*since_ns = child->since_ns;
			return child->place;
		}
	return NULL;
}

uint64_t fg_scout_silent(const struct fg_scout *scout, const char *path)
{
	const char *place;
	uint64_t since_ns;
	uint32_t i;

	for (i = 0; (place = fg_scout_place(scout, i, &since_ns)); i++)
		if (!strcmp(place, path))
			return since_ns;
	return 0;
}

void fg_scout_look_since(struct fg_scout *scout, uint64_t since_ns)
{
	if (scout->since_ns < since_ns)
		scout->since_ns = since_ns;
}

void fg_scout_open(struct fg_scout *scout, const struct fg_config *config, int epoll,
		   uint32_t event)
{
	uint32_t i;

	memset(scout, 0, sizeof(*scout));
	scout->config = config;
	scout->epoll = epoll;
	scout->event = event;
	scout->child.socket = -1;
	for (i = 0; i < FG_REPOSITORY_MAX_SILENT; i++)
		scout->left[i].socket = -1;
}

static void end(struct fg_scout_child *child)
{
	if (child->pid)
		kill(child->pid, SIGKILL);
	release(child);
}

void fg_scout_close(struct fg_scout *scout)
{
	uint32_t i;

	end(&scout->child);
	for (i = 0; i < FG_REPOSITORY_MAX_SILENT; i++)
		end(&scout->left[i]);
}
