#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "userspace/daemon/models_config.h"
#include "userspace/daemon/models_config_watch.h"
#include "userspace/daemon/scout.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"
#include "userspace/shared/sandbox.h"

#define WAIT_NS 1000000000ull

struct run {
	struct fg_scout_page *page;
	const struct fg_config *config;
	int socket;
	struct fg_scout_order order; /* serial 0: none yet */
	struct fg_rollout rollout;   /* the order's names; nothing else of it counts */
	struct fg_findings findings; /* as they stand in the page */
	struct fg_scout_config read; /* likewise */
	bool watched;		     /* there is a configuration */
	struct fg_models_config_watch watch;
	struct fg_repository repository;
};

/* ---- what control sees ---- */

/* Something that may hang begins at `place`. */
static void step(void *context, const char *place)
{
	struct run *run = context;
	struct fg_scout_page *page = run->page;

	if (atomic_load(&page->leave))
		_exit(0);
	if (strncmp(page->place, place, sizeof(page->place)))
		snprintf(page->place, sizeof(page->place), "%s", place);
	atomic_store(&page->busy, 1);
	atomic_fetch_add(&page->steps, 1);
}

static void rest(struct run *run)
{
	if (atomic_load(&run->page->leave))
		_exit(0);
	atomic_store(&run->page->busy, 0);
	atomic_fetch_add(&run->page->steps, 1);
}

static void put(struct run *run, _Atomic uint32_t *number, void *to, const void *from, size_t bytes)
{
	atomic_fetch_add_explicit(number, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy(to, from, bytes);
	atomic_fetch_add_explicit(number, 1, memory_order_release);
	/* Where there is no room for it, there is one already that control has not read. */
	send(run->socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- looking ---- */

static void look(struct run *run, bool again, uint64_t now_ns)
{
	struct fg_repository *repository = &run->repository;

	if (again)
		repository->due_ns = now_ns;
	if (!fg_repository_update(repository, &run->order.rules, &run->rollout, now_ns))
		return;
	run->findings.store.looked_ns = repository->store.looked_ns; /* nothing new by itself */
	if (!again &&
	    !memcmp(&repository->store, &run->findings.store, sizeof(repository->store)) &&
	    !memcmp(&repository->remarks, &run->findings.remarks, sizeof(repository->remarks)))
		return;
	run->findings.rules = repository->rules;
	run->findings.store = repository->store;
	run->findings.remarks = repository->remarks;
	put(run, &run->page->findings_number, &run->page->findings, &run->findings,
	    sizeof(run->findings));
}

static bool is_silent(const struct run *run, const char *path)
{
	uint32_t i;

	for (i = 0; i < run->order.silent_count; i++)
		if (run->order.silent[i] == fg_repository_place(path))
			return true;
	return false;
}

/* Without a file it is said at once, from the options alone. */
static void read_config(struct run *run, uint64_t now_ns)
{
	const char *path = run->config->models_config;
	struct fg_scout_config *read = &run->read;
	uint32_t changes = read->changes;
	int code;

	if (run->watched && is_silent(run, path))
		return;
	if (run->watched)
		step(run, path);
	if (run->watched && fg_models_config_watch_update(&run->watch, now_ns))
		changes++;
	if (changes == read->changes && read->read == run->order.read)
		return;
	if (read->read != run->order.read) {
		memset(read, 0, sizeof(*read));
		code = fg_models_config_read(&read->rules, run->config, &read->error);
		if (code && !read->error.text[0])
			fg_error_set(&read->error, code, "%s", strerror(-code));
		read->read = run->order.read;
	}
	read->changes = changes;
	put(run, &run->page->config_number, &run->page->config, read, sizeof(*read));
}

/* ---- orders ---- */

static void obey(struct run *run)
{
	struct fg_scout_order *order = &run->order;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		memcpy(run->rollout.models[i].name, order->names[i], sizeof(order->names[i]));
	run->repository.silent_count = order->silent_count;
	memcpy(run->repository.silent, order->silent, sizeof(order->silent));
}

/* The last of those that came counts. Returns whether there was one. */
static bool take_orders(struct run *run)
{
	bool any = false;
	ssize_t got;

	while ((got = recv(run->socket, &run->order, sizeof(run->order), MSG_DONTWAIT)) ==
	       sizeof(run->order))
		any = true;
	if (!got)
		_exit(0); /* control is gone */
	if (any)
		obey(run);
	return any;
}

static void wait_for(const struct run *run)
{
	struct pollfd fds[] = {
		{.fd = run->socket, .events = POLLIN},
		{.fd = run->repository.inotify, .events = POLLIN},
		{.fd = run->watched ? run->watch.inotify : -1, .events = POLLIN},
	};
	uint64_t now_ns = fg_clock_ns(), due_ns = now_ns + WAIT_NS;

	if (run->order.serial && run->repository.due_ns < due_ns)
		due_ns = run->repository.due_ns;
	if (run->order.serial && run->watched && !is_silent(run, run->config->models_config) &&
	    run->watch.due_ns < due_ns)
		due_ns = run->watch.due_ns;
	poll(fds, 3, due_ns > now_ns ? (int)((due_ns - now_ns + 999999) / 1000000) : 0);
}

/* ---- the start ---- */

/* What control kept for this: the right to read what only its owner may. */
static int keep_reading(struct fg_error *error)
{
	bool have;

	if (capng_get_caps_process())
		return fg_error_set(error, -EPERM, "capabilities cannot be read");
	have = capng_have_capability(CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	capng_clear(CAPNG_SELECT_CAPS);
	if (have)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_READ_SEARCH);
	if (capng_apply(CAPNG_SELECT_CAPS))
		return fg_error_set(error, -EPERM, "capabilities cannot be dropped");
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL)
		       ? fg_error_set(error, -errno, "prctl: %s", strerror(errno))
		       : 0;
}

static int confine(struct fg_error *error)
{
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int code = keep_reading(error);

	if (!code && root >= 0)
		code = fg_sandbox_landlock_read(root, error);
	if (root >= 0)
		close(root);
	return code ? code : fg_sandbox_seccomp(FG_SANDBOX_SCOUT, error);
}

static int open_all(struct run *run, const struct fg_findings *known, struct fg_error *error)
{
	int code = fg_repository_open(&run->repository, error);

	run->repository.store = known->store;
	run->repository.rules = known->rules;
	run->repository.remarks = known->remarks;
	run->repository.enter = step;
	run->repository.context = run;
	if (!code && run->config->models_config[0]) {
		code = fg_models_config_watch_open(&run->watch, run->config->models_config, error);
		run->watched = !code;
	}
	return code ? code : confine(error);
}

void fg_scout_run(struct fg_scout_page *page, int socket, const struct fg_config *config,
		  const struct fg_findings *known)
{
	struct run *run = calloc(1, sizeof(*run));
	struct fg_error error = {"no memory"};
	uint64_t now_ns;
	bool again;

	prctl(PR_SET_NAME, "flipgate-scout");
	if (!run)
		_exit(1);
	*run = (struct run){.page = page, .config = config, .socket = socket};
	if (open_all(run, known, &error)) {
		fg_log(FG_LOG_ERROR, "scout.start reason=\"%s\"", error.text);
		_exit(1);
	}
	for (;;) {
		again = take_orders(run);
		now_ns = fg_clock_ns();
		if (run->order.serial) {
			read_config(run, now_ns);
			look(run, again, now_ns);
		}
		rest(run);
		wait_for(run);
	}
}
