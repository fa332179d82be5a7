#include "userspace/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/shared/clock.h"
#include "userspace/shared/priority.h"
#include "userspace/shared/sandbox.h"
#include "userspace/worker/engine.h"
#include "userspace/worker/queue.h"
#include "userspace/worker/shadow_run.h"
#include "userspace/worker/turn.h"
#include "userspace/worker/uring.h"

#define SLEEP_NS     50000000ull /* an order is obeyed within this */
#define HEARTBEAT_NS 10000000ull
#define RESEND_NS    200000ull
#define STALL_NS     1000000000ull
#define FINISH_NS    5000000000ull
#define NAP_NS	     1000000ull
#define URING_BATCH  64

/* A mapped plan, not yet looked into. */
struct mapped {
	const void *bytes;
	size_t size;
};

struct worker {
	const struct fg_config *config;
	struct fg_state_slot *slot;
	struct fg_rollout_generation generation;     /* a copy: the page is unmapped */
	struct mapped mapped[FG_ROLLOUT_MAX_MODELS]; /* [generation.entries] */
	struct fg_state_offer before;		     /* for the engine */
	struct fg_engine engine;
	struct fg_watch watch;
	struct fg_shadow_run shadow; /* of a shadow; it has no rings and no queues */
	struct fg_tcp tcp;	     /* if the gateway listens on TCP: then uring.tcp is set */
	struct fg_uring uring;
	struct fg_detour detour;
	uint32_t queue_count;
	struct fg_queue queues[FG_MAX_QUEUES];
	struct fg_message messages[URING_BATCH + FG_TCP_BATCH];
	uint64_t last_request_ns, last_heartbeat_ns;
	struct fg_turn turn;
};

/* ---- set-up ----------------------------------------------------------------------------- */

static int map_plan(struct mapped *plan, int fd, struct fg_error *error)
{
	struct stat info;
	void *bytes;

	if (fd < 0 || fstat(fd, &info))
		return fg_error_set(error, -EBADF, "a plan is not there");
	bytes = mmap(NULL, info.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		return fg_error_set(error, -errno, "mapping a plan: %s", strerror(errno));
	madvise(bytes, info.st_size, MADV_HUGEPAGE);
	*plan = (struct mapped){bytes, info.st_size};
	return 0;
}

/* A canary is measured by what the version takes that serves by default just now, all others by
 * themselves. The page is others', so this is copied while it is there. */
static void note_before(struct worker *worker, const struct fg_state *state)
{
	const struct fg_rollout *rollout = fg_rollout_current(&state->rollout);
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	uint32_t slot = live && live->worker_count ? live->slots[0] : FG_MAX_SLOTS;
	struct fg_canary canary = rollout->canary;
	const struct fg_rollout_entry *entry;
	const struct fg_state_offer *offer;

	canary.model[sizeof(canary.model) - 1] = '\0';
	entry = fg_rollout_version(&worker->generation, canary.model, canary.version);
	if (slot >= FG_MAX_SLOTS || !fg_canary_active(&canary) || !entry || !entry->is_default)
		return;
	offer = state->slots[slot].work.offers;
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++, offer++)
		if (offer->is_default && offer->model == fg_wire_model(canary.model))
			worker->before = *offer;
}

static int map_plans(struct worker *worker, const struct fg_worker_setup *setup,
		     struct fg_error *error)
{
	const struct fg_rollout_generation *generation = &worker->generation;
	int code = 0;

	worker->generation = *setup->generation;
	/* Control wrote it, and this process has all privileges still. */
	if (generation->entry_count > FG_ROLLOUT_MAX_MODELS)
		return fg_error_set(error, -EINVAL, "a generation of %u models",
				    generation->entry_count);
	for (uint32_t i = 0; !code && i < generation->entry_count; i++) {
		uint32_t plan = generation->entries[i].plan;

		worker->generation.entries[i].model[FG_ROLLOUT_NAME_BYTES - 1] = '\0';
		code = map_plan(&worker->mapped[i],
				plan < FG_STATE_MAX_PLANS ? setup->plan_fds[plan] : -1, error);
	}
	note_before(worker, setup->state);
	return code;
}

/* Without privileges: a plan was made by a process that had read what a stranger wrote. */
static int open_models(struct worker *worker, struct fg_error *error)
{
	const struct fg_rollout_generation *generation = &worker->generation;
	struct fg_plan plans[FG_ROLLOUT_MAX_MODELS];
	struct fg_error why = {""};
	int code;

	for (uint32_t i = 0; i < generation->entry_count; i++) {
		const struct fg_rollout_entry *entry = &generation->entries[i];

		code = fg_plan_open(&plans[i], worker->mapped[i].bytes, worker->mapped[i].size,
				    &why);
		if (code)
			return fg_error_set(error, code, "%s version %llu: %s", entry->model,
					    (unsigned long long)entry->version, why.text);
	}
	code = fg_engine_open(&worker->engine, generation->entries, generation->entry_count, plans,
			      generation->id, worker->config->max_batch, &worker->slot->work.stats,
			      error);
	if (code)
		return code;
	worker->engine.before = worker->before;
	fg_engine_offers(&worker->engine, worker->slot->work.offers);
	return 0;
}

static int open_tcp(struct worker *worker, const struct fg_worker_setup *setup,
		    struct fg_error *error)
{
	const struct fg_tcp_config config = {
		.listeners = setup->dataplane->slots[setup->slot].tcp,
		.listener_count = setup->config->listen_tcp_count,
		.connections = setup->config->connections,
		.leave_ms = setup->config->flow_idle_ms,
		.stats = &worker->slot->work.stats,
	};

	return config.listener_count ? fg_tcp_open(&worker->tcp, &config, error) : 0;
}

static int open_uring(struct worker *worker, const struct fg_worker_setup *setup,
		      struct fg_error *error)
{
	const struct fg_dataplane_slot *sockets = &setup->dataplane->slots[setup->slot];
	int polls[FG_MAX_QUEUES];
	const struct fg_uring_config config = {
		.sockets = sockets->udp,
		.socket_count = setup->config->listen_count,
		.polls = polls,
		.poll_count = worker->queue_count,
		.buffers = FG_URING_BUFFERS,
		.datagram_bytes = FG_URING_DATAGRAM_BYTES,
		.tcp = setup->config->listen_tcp_count ? &worker->tcp : NULL,
		.stats = &worker->slot->work.stats,
	};

	for (uint32_t queue = 0; queue < worker->queue_count; queue++)
		polls[queue] = sockets->xsks[queue].fd;
	return fg_uring_open(&worker->uring, &config, error);
}

static void open_queues(struct worker *worker, const struct fg_worker_setup *setup)
{
	worker->queue_count = setup->dataplane->slots[setup->slot].queues;
	worker->detour = (struct fg_detour){
		.mtu = &worker->slot->post.mtu,
		.listeners = worker->config->listen,
		.sockets = setup->dataplane->slots[setup->slot].udp,
		.listener_count = worker->config->listen_count,
		.ifindex = setup->dataplane->ifindex,
	};
	for (uint32_t i = 0; i < worker->queue_count; i++) {
		struct fg_queue *queue = &worker->queues[i];

		queue->xsk = &setup->dataplane->slots[setup->slot].xsks[i];
		queue->engine = &worker->engine;
		queue->stats = &worker->slot->work.stats;
		queue->detour = &worker->detour;
		queue->ip_id = (setup->slot * FG_MAX_QUEUES + i) << 6; /* apart from others' */
	}
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Of all that was inherited, only this worker's own sockets stay open. */
static void close_others(const struct worker *worker, const struct fg_worker_setup *setup)
{
	int keep[FG_MAX_QUEUES * 2 + FG_MAX_LISTENERS * 2 + 1];
	const struct fg_dataplane_slot *sockets = &setup->dataplane->slots[setup->slot];
	unsigned int next = STDERR_FILENO + 1;
	size_t count = 0;

	for (uint32_t i = 0; i < worker->queue_count; i++) {
		keep[count++] = sockets->xsks[i].fd;
		keep[count++] = setup->dataplane->umems[i].owner;
	}
	for (uint32_t i = 0; !setup->generation->shadow && i < setup->config->listen_count; i++)
		keep[count++] = sockets->udp[i];
	for (uint32_t i = 0; !setup->generation->shadow && i < setup->config->listen_tcp_count; i++)
		keep[count++] = sockets->tcp[i];
	if (!setup->generation->shadow)
		keep[count++] = worker->uring.ring.ring_fd;
	qsort(keep, count, sizeof(keep[0]), by_number);
	for (size_t i = 0; i < count; i++) {
		if ((unsigned int)keep[i] > next)
			close_range(next, keep[i] - 1, 0);
		next = keep[i] + 1;
	}
	close_range(next, ~0u, 0);
}

static void unmap_ring(const struct fg_ring *ring)
{
	if (ring->map)
		munmap(ring->map, ring->map_bytes);
}

static void unmap_rings(const struct fg_worker_setup *setup)
{
	for (uint32_t queue = 0; queue < setup->dataplane->queues; queue++) {
		unmap_ring(&setup->dataplane->umems[queue].idle_rx);
		for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
			const struct fg_dataplane_slot *other = &setup->dataplane->slots[slot];

			if (queue >= other->queues ||
			    (slot == setup->slot && !setup->generation->shadow))
				continue;
			unmap_ring(&other->xsks[queue].rx);
			unmap_ring(&other->xsks[queue].tx);
		}
	}
}

/* A shadow answers nobody: frames are none of its business. */
static void unmap_frames(const struct fg_worker_setup *setup)
{
	for (uint32_t queue = 0; queue < setup->dataplane->queues; queue++) {
		const struct fg_umem *umem = &setup->dataplane->umems[queue];

		unmap_ring(&umem->fill);
		unmap_ring(&umem->completion);
		munmap(umem->area, umem->map_bytes);
	}
}

/* A worker that is broken into must not be able to write what others believe: it keeps its own page
 * and rings, and what all workers of a queue share by design (frames, fill and completion ring). */
static void unmap_others(const struct fg_worker_setup *setup)
{
	char *start = (char *)setup->state, *own = (char *)&setup->state->slots[setup->slot];
	char *end = start + sizeof(*setup->state), *after = own + sizeof(struct fg_state_slot);

	if (!setup->generation->shadow)
		fg_shadow_keep(setup->shadow, setup->slot);
	unmap_rings(setup);
	if (setup->generation->shadow)
		unmap_frames(setup);
	fg_steering_unmap(setup->dataplane->steering);
	munmap(start, own - start);
	if (end > after)
		munmap(after, end - after);
}

/* Anonymous memory in bytes: plans and frames are shared mappings and do not count. `file` is
 * smaps_rollup, opened while that was allowed. */
static uint64_t own_bytes(FILE *file)
{
	unsigned long long kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Anonymous: %llu kB", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib << 10;
}

/* A plan of some KB may ask for much memory to run in: that must fail here, not wake the kernel's
 * killer. What is mapped by now (`data` of statm, in pages) is not counted. */
static int bound_memory(const struct fg_worker_setup *setup, struct fg_error *error)
{
	FILE *file = setup->memory_bytes ? fopen("/proc/self/statm", "re") : NULL;
	unsigned long long pages;
	struct rlimit limit;
	int got = file ? fscanf(file, "%*u %*u %*u %*u %*u %llu", &pages) : 0;

	if (file)
		fclose(file);
	if (got != 1)
		return 0;
	limit.rlim_cur = limit.rlim_max =
		pages * (unsigned long long)sysconf(_SC_PAGESIZE) + setup->memory_bytes;
	return setrlimit(RLIMIT_DATA, &limit)
		       ? fg_error_set(error, -errno, "memory limit: %s", strerror(errno))
		       : 0;
}

/* With privileges: what needs them, and nothing that looks into a plan. */
static int set_up_privileged(struct worker *worker, const struct fg_worker_setup *setup,
			     struct fg_error *error)
{
	struct rlimit nice = {.rlim_cur = 20, .rlim_max = 20}; /* nice 0 and above, setrlimit(2) */
	int code;

	/* Only who may come back (the limit takes CAP_SYS_RESOURCE, which containers often lack)
	 * makes room: a worker that served at low priority would starve on a busy host. */
	if (!setrlimit(RLIMIT_NICE, &nice))
		fg_priority_background();
	fg_priority_avoid_cpus(setup->config->worker_cpus, setup->config->worker_count);
	if (!setup->generation->shadow)
		open_queues(worker, setup);
	code = map_plans(worker, setup, error);
	if (!code && !setup->generation->shadow)
		code = open_tcp(worker, setup, error);
	if (!code && !setup->generation->shadow)
		code = open_uring(worker, setup, error);
	if (code)
		return code;
	close_others(worker, setup);
	unmap_others(setup);
	return 0;
}

/* Bytes of the longest row that any model answers. */
static uint32_t widest_row(const struct fg_engine *engine)
{
	uint32_t cols = 0;

	for (uint32_t i = 0; i < engine->model_count; i++)
		if (engine->models[i].plan.out_cols > cols)
			cols = engine->models[i].plan.out_cols;
	return cols * (uint32_t)sizeof(float);
}

/* Requests that wait hold frames, which all workers of two generations share: half of the frames
 * are never theirs. */
static void limit_places(struct worker *worker)
{
	uint32_t places = worker->config->frames / (4 * worker->config->worker_count);

	if (worker->queue_count && places < FG_SHARE_PLACES)
		worker->engine.share.places = places ? places : 1;
}

/* What a worker does once its models are warm: takes its CPU ... */
static int become_server(struct worker *worker, const struct fg_worker_setup *setup,
			 struct fg_error *error)
{
	int code;

	worker->engine.heartbeat_ns = &worker->slot->work.heartbeat_ns;
	limit_places(worker);
	if (worker->uring.tcp)
		fg_tcp_start(&worker->tcp, widest_row(&worker->engine));
	fg_watch_open(&worker->watch, worker->slot, &setup->shadow->rings[setup->slot]);
	worker->engine.watch = &worker->watch;
	fg_priority_normal();
	code = fg_priority_pin(setup->cpu);
	if (code)
		return fg_error_set(error, code, "CPU %d: %s", setup->cpu, strerror(-code));
	return 0;
}

/* ... or keeps off the others'. */
static int become_shadow(struct worker *worker, const struct fg_worker_setup *setup,
			 struct fg_error *error)
{
	worker->engine.heartbeat_ns = &worker->slot->work.heartbeat_ns;
	fg_priority_idle();
	return fg_shadow_run_open(&worker->shadow, &worker->engine, worker->slot, setup->shadow,
				  error);
}

static int set_up(struct worker *worker, const struct fg_worker_setup *setup,
		  struct fg_error *error)
{
	FILE *memory;
	int code = set_up_privileged(worker, setup, error);

	if (code)
		return code;
	memory = fopen("/proc/self/smaps_rollup", "re");
	code = bound_memory(setup, error);
	if (!code)
		code = fg_sandbox_drop(setup->config->user, error);
	if (!code)
		code = fg_sandbox_seccomp(FG_SANDBOX_WORKER, error);
	if (!code)
		code = open_models(worker, error);
	if (!code && worker->generation.shadow)
		code = become_shadow(worker, setup, error);
	else if (!code)
		code = become_server(worker, setup, error);
	if (code)
		return code;
	worker->slot->work.own_bytes = own_bytes(memory);
	return 0;
}

/* ---- serving ---------------------------------------------------------------------------- */

static void beat(struct worker *worker, uint64_t now_ns)
{
	if (now_ns - worker->last_heartbeat_ns < HEARTBEAT_NS)
		return;
	worker->last_heartbeat_ns = now_ns;
	atomic_store_explicit(&worker->slot->work.heartbeat_ns, now_ns, memory_order_relaxed);
}

static bool is_urgent(const struct worker *worker)
{
	return atomic_load_explicit(&worker->slot->post.urgent, memory_order_relaxed);
}

/* Each to the transport it came by; one io_uring_enter sends all. */
static void reply_uring(struct worker *worker)
{
	const struct fg_engine *engine = &worker->engine;
	struct fg_message *udp[FG_ENGINE_MAX_MESSAGES], *tcp[FG_ENGINE_MAX_MESSAGES];
	uint32_t udp_count = 0, tcp_count = 0;

	for (uint32_t i = 0; i < engine->done_count; i++)
		if (engine->done[i]->proven)
			tcp[tcp_count++] = engine->done[i];
		else if (!engine->done[i]->queue)
			udp[udp_count++] = engine->done[i];
	if (tcp_count)
		fg_tcp_reply(&worker->tcp, tcp, tcp_count, engine->now_ns);
	fg_uring_reply(&worker->uring, udp, udp_count);
}

/* What the engine keeps gives its place to the next that are taken. Datagrams have their buffers.
 */
static void move_kept(struct worker *worker)
{
	struct fg_engine *engine = &worker->engine;

	for (uint32_t i = 0; i < engine->kept_count; i++) {
		struct fg_message *message = fg_engine_kept(engine, engine->kept[i]);

		if (message->proven)
			fg_tcp_keep(&worker->tcp, message, engine->kept[i]);
	}
}

static uint32_t serve_uring(struct worker *worker, uint64_t now_ns)
{
	uint32_t count = fg_uring_receive(&worker->uring, worker->messages, URING_BATCH, now_ns);

	if (worker->uring.tcp)
		count += fg_tcp_receive(&worker->tcp, worker->messages + count, FG_TCP_BATCH,
					now_ns);
	if (!count)
		return 0;
	fg_engine_begin(&worker->engine, worker->messages, count, now_ns);
	move_kept(worker);
	do {
		reply_uring(worker);
		fg_turn_give_way(&worker->turn, is_urgent(worker));
	} while (fg_engine_step(&worker->engine));
	return count;
}

/* A piece of the requests that wait in the engine, between two looks at the rings. */
static bool serve_piece(struct worker *worker)
{
	if (!fg_engine_piece(&worker->engine))
		return false;
	for (uint32_t i = 0; i < worker->queue_count; i++)
		fg_queue_reply(&worker->queues[i]);
	reply_uring(worker);
	return true;
}

/* One look at everything. Returns how many datagrams were taken, at least 1 when something was
 * worked on. */
static uint32_t serve(struct worker *worker, uint64_t now_ns)
{
	uint32_t taken = 0;

	for (uint32_t i = 0; i < worker->queue_count; i++) {
		taken += fg_queue_serve(&worker->queues[i], now_ns);
		fg_queue_tidy(&worker->queues[i]);
	}
	taken += serve_uring(worker, now_ns);
	if (serve_piece(worker) && !taken)
		taken = 1;
	if (taken)
		worker->last_request_ns = now_ns;
	return taken;
}

static bool may_sleep(const struct worker *worker, enum fg_order order, uint64_t now_ns)
{
	if (order != FG_ORDER_SERVE || worker->config->poll == FG_POLL_SLEEP)
		return true;
	return worker->config->poll == FG_POLL_ADAPTIVE &&
	       now_ns - worker->last_request_ns > worker->config->spin_us * 1000ull;
}

/* Leaves the core's resources to its sibling thread for a moment. */
static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Replies that the driver had no room for wait in the tx ring, and nothing tells when there is. */
static bool must_send(const struct worker *worker)
{
	for (uint32_t i = 0; i < worker->queue_count; i++)
		if (fg_ring_count(&worker->queues[i].xsk->tx))
			return true;
	return false;
}

static void sleep_until_woken(struct worker *worker)
{
	uint64_t now_ns;

	fg_turn_wait(&worker->turn, is_urgent(worker), &worker->uring,
		     must_send(worker) ? RESEND_NS : SLEEP_NS);
	now_ns = fg_clock_ns();
	for (uint32_t i = 0; i < worker->queue_count; i++)
		fg_queue_woke(&worker->queues[i], now_ns);
}

static enum fg_tcp_leaving tcp_leaving(enum fg_order order)
{
	switch (order) {
	case FG_ORDER_DRAIN:
		return FG_TCP_LEAVE;
	case FG_ORDER_KEEP:
		return FG_TCP_PART;
	default:
		return FG_TCP_STAY;
	}
}

/* Serves until the order is FINISH. */
static void serve_until_finish(struct worker *worker)
{
	enum fg_order order;

	while ((order = atomic_load_explicit(&worker->slot->order, memory_order_acquire)) !=
	       FG_ORDER_FINISH) {
		uint64_t now_ns = fg_clock_ns();

		beat(worker, now_ns);
		fg_watch_look(&worker->watch);
		fg_tcp_leave(&worker->tcp, tcp_leaving(order));
		if (!serve(worker, now_ns)) {
			if (may_sleep(worker, order, now_ns))
				sleep_until_woken(worker);
			else
				relax();
		}
		fg_turn_give_way(&worker->turn, is_urgent(worker));
	}
}

static bool drained(const struct worker *worker)
{
	for (uint32_t i = 0; i < worker->queue_count; i++)
		if (!fg_queue_idle(&worker->queues[i]))
			return false;
	return !fg_share_waiting(&worker->engine.share) && fg_uring_drained(&worker->uring) &&
	       (!worker->uring.tcp || fg_tcp_finished(&worker->tcp));
}

/* Nothing more is steered here: control has waited for that. What is in the rings is answered, TCP
 * connections end. A second without progress (a driver that does not send, a client that does not
 * close), or five in all, end it: the frames are then the keeper's to take back, and so are the
 * connections that were not accepted (userspace/daemon/dataplane_tcp.h). */
static void finish(struct worker *worker)
{
	uint64_t now_ns = fg_clock_ns();
	uint64_t end_ns = now_ns + FINISH_NS, stall_ns = now_ns + STALL_NS;

	fg_uring_drain(&worker->uring);
	if (worker->uring.tcp)
		fg_tcp_finish(&worker->tcp);
	do {
		now_ns = fg_clock_ns();
		beat(worker, now_ns);
		if (serve(worker, now_ns))
			stall_ns = now_ns + STALL_NS;
		else if (worker->uring.tcp) /* clients have a second to close */
			fg_turn_wait(&worker->turn, is_urgent(worker), &worker->uring, NAP_NS);
		fg_turn_give_way(&worker->turn, is_urgent(worker));
	} while (!drained(worker) && now_ns < stall_ns && now_ns < end_ns);
}

static void announce(struct worker *worker, enum fg_work_phase phase)
{
	atomic_store_explicit(&worker->slot->work.phase, phase, memory_order_release);
}

int fg_worker_run(const struct fg_worker_setup *setup)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct fg_error error = {""};
	int code;

	if (!worker)
		return 1;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "flipgate-worker");
	worker->config = setup->config;
	worker->slot = &setup->state->slots[setup->slot];
	announce(worker, FG_WORK_STARTING);
	code = set_up(worker, setup, &error);
	if (code) {
		/* What the plans hold is wrong, or a row comes out wrong; the rest is the host. */
		worker->slot->work.passing = code != -EINVAL && code != -EILSEQ;
		memcpy(worker->slot->work.error, error.text, sizeof(error.text));
		announce(worker, FG_WORK_FAILED);
		return 1;
	}
	worker->slot->work.ready_ns = fg_clock_ns();
	beat(worker, worker->slot->work.ready_ns);
	announce(worker, FG_WORK_READY);
	if (worker->generation.shadow) {
		fg_shadow_run_until_finish(&worker->shadow);
		fg_shadow_run_close(&worker->shadow);
	} else {
		serve_until_finish(worker);
		finish(worker);
	}
	announce(worker, FG_WORK_DONE);
	return 0;
}
