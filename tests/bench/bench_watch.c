/*
 * What watching a model costs the worker that serves it, in ns per request, and what a shadow does
 * to the latency of live requests: one every 20 us, served by a loop that polls on one CPU, timed
 * from when it was due. The shadow runs on another CPU, or, which it must not when there is one, on
 * the same; what it then gets of that CPU says how far it yields, whatever else runs on this
 * machine. Rounds are interleaved, so that a disturbance hits all.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sched/histogram.h"
#include "tests/unit/engine_fixture.h"
#include "userspace/shared/priority.h"
#include "userspace/worker/shadow_run.h"

#define ROUNDS	  15
#define COLS	  64
#define OUT_COLS  64
#define BATCH	  16
#define LOOPS	  20000 /* of BATCH requests, for the cost of a request */
#define ARRIVALS  10000 /* for the latency */
#define PERIOD_NS 20000
#define PAUSE_US  50000
#define SHARE	  1000 /* a tenth */

enum kind { NOTHING, WATCHED, SHADOWED, ALL_SHADOWED, KINDS };
static const struct {
	const char *name;
	uint16_t share;
} kinds[KINDS] = {[NOTHING] = {"nothing watched", 0},
		  [WATCHED] = {"watched", 0},
		  [SHADOWED] = {"a tenth left for a shadow", SHARE},
		  [ALL_SHADOWED] = {"all left for a shadow", FG_CANARY_WHOLE}};

enum where { NOWHERE, ELSEWHERE, HERE, PLACES };
static const char *const places[PLACES] = {"no shadow", "shadow on another CPU",
					   "shadow on the same CPU"};

static struct fg_state_slot *live, *shadow;
static struct fg_shadow_area *area;
static struct fg_watch watch;
static struct fg_message messages[BATCH];
static uint8_t pristine[4096];
static struct fg_histogram latencies[PLACES];
static int cpus[2]; /* two that we may use, or one twice */

static struct fg_state_slot *map_slot(void)
{
	return mmap(NULL, sizeof(struct fg_state_slot), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void set_up(void)
{
	live = map_slot();
	shadow = map_slot();
	area = fg_shadow_map();
	if (live == MAP_FAILED || shadow == MAP_FAILED || !area)
		exit(1);
	set_entry(0, "bench", 1, 1, make_plan(COLS, OUT_COLS, 0, 0));
	if (fg_engine_open(&engine, entries, 1, plans, GENERATION, MAX_BATCH, &stats, &error)) {
		fprintf(stderr, "%s\n", error.text);
		exit(1);
	}
	fg_watch_open(&watch, live, &area->rings[0]);
	engine.watch = &watch;
	for (int i = 0; i < BATCH; i++)
		messages[i] = request("bench", 0, 1, COLS, (float)i, 0);
	memcpy(pristine, messages[0].bytes, sizeof(struct fg_wire_header) + COLS * sizeof(float));
}

static void find_cpus(void)
{
	int found = 0;
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[found++] = cpu;
	if (found == 1)
		cpus[1] = cpus[0];
}

static void place(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

static pid_t start_shadow(void)
{
	struct fg_shadow_run run;
	pid_t child = fork();

	if (child)
		return child;
	fg_priority_background();
	fg_priority_idle();
	if (fg_shadow_run_open(&run, &engine, shadow, area, &error))
		_exit(1);
	fg_shadow_run_until_finish(&run);
	fg_shadow_run_close(&run);
	_exit(0);
}

/* Requests are overwritten by their replies. */
static void renew(struct fg_message *message)
{
	message->length = sizeof(struct fg_wire_header) + COLS * sizeof(float);
	memcpy(message->bytes, pristine, message->length);
	message->arrived_ns = engine.now_ns;
}

static void tell(uint16_t epoch, uint16_t share)
{
	uint64_t word = epoch ? fg_state_watch(fg_wire_model("bench"), epoch, share) : 0;

	atomic_store(&live->watch, word);
	atomic_store(&shadow->watch, word);
	fg_watch_look(&watch);
}

static double cost_ns(enum kind kind)
{
	uint64_t start_ns;

	tell(kind == NOTHING ? 0 : 1, kinds[kind].share);
	start_ns = fg_clock_ns();
	for (int loop = 0; loop < LOOPS; loop++) {
		for (int i = 0; i < BATCH; i++)
			renew(&messages[i]);
		serve(messages, BATCH);
		/* As a shadow that keeps up. */
		atomic_store(&area->rings[0].read, atomic_load(&area->rings[0].written));
	}
	return (double)(fg_clock_ns() - start_ns) / LOOPS / BATCH;
}

static void time_arrivals(enum where where, pid_t child)
{
	uint64_t due_ns = fg_clock_ns() + 1000000;

	atomic_store(&shadow->order, where == NOWHERE ? FG_ORDER_WAIT : FG_ORDER_SHADOW);
	place(child, where == HERE ? cpus[0] : cpus[1]);
	tell(2, where == NOWHERE ? 0 : SHARE);
	for (int i = 0; i < ARRIVALS; i++, due_ns += PERIOD_NS) {
		renew(&messages[0]);
		while (fg_clock_ns() < due_ns)
			;
		messages[0].arrived_ns = due_ns;
		fg_engine_begin(&engine, messages, 1, due_ns);
		fg_engine_step(&engine);
		fg_histogram_record(&latencies[where], fg_clock_ns() - due_ns);
		while (fg_engine_step(&engine))
			;
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void bench_cost(void)
{
	static double ns[KINDS][ROUNDS];

	for (int round = 0; round < ROUNDS; round++)
		for (int kind = 0; kind < KINDS; kind++)
			ns[kind][round] = cost_ns((enum kind)kind);
	printf("%-28s %10s %10s\n", "ns per request", "median", "least");
	for (int kind = 0; kind < KINDS; kind++) {
		qsort(ns[kind], ROUNDS, sizeof(ns[kind][0]), by_value);
		printf("%-28s %10.1f %10.1f\n", kinds[kind].name, ns[kind][ROUNDS / 2],
		       ns[kind][0]);
	}
}

/* CPU time that the shadow has had. */
static double cpu_ms(pid_t pid)
{
	struct timespec time = {0};
	clockid_t clock;

	if (!clock_getcpuclockid(pid, &clock))
		clock_gettime(clock, &time);
	return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void bench_latency(void)
{
	uint64_t ran[PLACES] = {0};
	double had_ms[PLACES] = {0};
	pid_t child = start_shadow();

	for (int where = 0; where < PLACES; where++)
		fg_histogram_reset(&latencies[where]);
	for (int round = 0; round < ROUNDS; round++)
		for (int where = 0; where < PLACES; where++) {
			uint64_t before = atomic_load(&shadow->seen.requests);
			double before_ms = cpu_ms(child);

			if (where == ELSEWHERE && cpus[0] == cpus[1])
				continue;
			time_arrivals((enum where)where, child);
			had_ms[where] += cpu_ms(child) - before_ms;
			ran[where] += atomic_load(&shadow->seen.requests) - before;
			place(child, cpus[1]); /* to work off what is left, and let others run */
			usleep(PAUSE_US);
		}
	atomic_store(&shadow->order, FG_ORDER_FINISH);
	waitpid(child, NULL, 0);
	printf("\n%-28s %8s %8s %8s %8s %10s %8s\n", "live latency, us", "p50", "p99", "p99.9",
	       "max", "shadowed", "CPU, %");
	for (int where = 0; where < PLACES; where++) {
		const struct fg_histogram *latency = &latencies[where];

		printf("%-28s %8.2f %8.2f %8.2f %8.1f %10llu %8.3f\n", places[where],
		       (double)fg_histogram_quantile(latency, 0.5) / 1e3,
		       (double)fg_histogram_quantile(latency, 0.99) / 1e3,
		       (double)fg_histogram_quantile(latency, 0.999) / 1e3,
		       (double)latency->max_ns / 1e3, (unsigned long long)ran[where],
		       had_ms[where] * 100 / (1e-6 * ROUNDS * ARRIVALS * PERIOD_NS));
	}
}

int main(void)
{
	set_up();
	find_cpus();
	place(0, cpus[0]);
	bench_cost();
	bench_latency();
	return 0;
}
