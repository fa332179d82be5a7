/*
 * What steering costs per packet, by BPF_PROG_TEST_RUN, beside three references in the same run: a
 * program that parses the same headers and passes; one that also loads the flow's bucket, which
 * is what this machine's memory asks of any flow table; the same pick over an LRU_HASH. Rounds
 * are interleaved, so that a disturbance hits all; ratios are taken within a round.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "bpf/abi.h"
#include "sched/maglev.h"
#include "steering.skel.h"

#define ROUNDS	    11
#define SLOTS	    2
#define SADDR	    0x0a000002
#define DADDR	    0x0a000001
#define PORT	    9000
#define FRAME_BYTES (14 + 20 + 8 + FG_WIRE_HEADER_BYTES)

enum kind { PARSE, TOUCH, LRU, STEER, KINDS };
static const char *const kinds[KINDS] = {"parse", "touch", "lru", "steer"};

struct load {
	const char *name, *text;
	uint32_t idle_ticks;
	uint32_t packets;  /* per round */
	uint32_t warm;	   /* packets before the first round */
	double aim[KINDS]; /* STEER's ns at most this many times; 0: no aim */
	struct steering_bpf *skeleton;
	int programs[KINDS];
	uint8_t frames[KINDS][FRAME_BYTES]; /* the generator's state goes on from run to run */
	double ns[KINDS][ROUNDS];
};

/* Nothing goes idle in a run; but after one tick a bucket is free again, so nearly every packet of
 * "new" begins a flow. */
#define ESTABLISHED 1000000

static struct load loads[] = {
	{.name = "hot",
	 .text = "one flow, again and again",
	 .idle_ticks = ESTABLISHED,
	 .packets = 2000000,
	 .warm = 100000,
	 .aim = {[PARSE] = 2.75}},
	{.name = "million",
	 .text = "a million flows at random",
	 .idle_ticks = ESTABLISHED,
	 .packets = 2000000,
	 .warm = 8000000,
	 .aim = {[PARSE] = 4.5, [LRU] = 0.35}},
	{.name = "new",
	 .text = "nothing but new flows",
	 .idle_ticks = 1,
	 .packets = 1000000,
	 .warm = 2000000,
	 .aim = {[PARSE] = 5.0, [LRU] = 0.35}},
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_steering: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* RFC 1071, in host order. */
static uint16_t checksum(const uint8_t *ip)
{
	uint32_t sum = 0;
	uint16_t word;

	for (int i = 0; i < 20; i += 2) {
		memcpy(&word, ip + i, 2);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* A request from SADDR:PORT to DADDR:PORT, to the MAC of a fg_host that nobody has filled. */
static void make_frame(uint8_t frame[FRAME_BYTES])
{
	uint16_t type = htons(ETH_P_IP), ip_bytes = htons(FRAME_BYTES - 14);
	uint16_t udp_bytes = htons(8 + FG_WIRE_HEADER_BYTES), port = htons(PORT), check;
	uint32_t saddr = htonl(SADDR), daddr = htonl(DADDR), magic = FG_WIRE_MAGIC;

	memset(frame, 0, FRAME_BYTES);
	memcpy(frame + 12, &type, 2);
	frame[14] = 0x45;
	memcpy(frame + 16, &ip_bytes, 2);
	frame[23] = IPPROTO_UDP;
	memcpy(frame + 26, &saddr, 4);
	memcpy(frame + 30, &daddr, 4);
	check = checksum(frame + 14);
	memcpy(frame + 24, &check, 2);
	memcpy(frame + 34, &port, 2);
	memcpy(frame + 36, &port, 2);
	memcpy(frame + 38, &udp_bytes, 2);
	memcpy(frame + 42, &magic, 4);
	frame[46] = FG_WIRE_VERSION;
	frame[47] = FG_WIRE_REQUEST;
}

static void fill_maps(const struct steering_bpf *skeleton)
{
	struct fg_service service = {.addr = {[2] = htonl(0xffff), [3] = htonl(DADDR)},
				     .port = htons(PORT),
				     .proto = IPPROTO_UDP};
	uint32_t row = fg_service_row(service.addr, service.port);
	static const uint16_t slots[SLOTS] = {0, 1};
	static struct fg_table table;
	uint32_t zero = 0;
	int inner;

	must(!bpf_map_update_elem(bpf_map__fd(skeleton->maps.services), &row, &service, BPF_ANY),
	     "services");
	fg_maglev_build(&table, 1, 1, slots, SLOTS);
	inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, 4, sizeof(table), 1, NULL);
	must(inner >= 0 && !bpf_map_update_elem(inner, &zero, &table, BPF_ANY), "table");
	must(!bpf_map_update_elem(bpf_map__fd(skeleton->maps.live), &zero, &inner, BPF_ANY),
	     "live");
	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		union fg_slot value = {.generation = 1, .state = FG_SLOT_SERVING};
		uint32_t xsk_key = slot * FG_MAX_QUEUES;
		int xsk = socket(AF_XDP, SOCK_RAW, 0);

		must(!bpf_map_update_elem(bpf_map__fd(skeleton->maps.slots), &slot, &value,
					  BPF_ANY),
		     "slots");
		must(xsk >= 0 && !bpf_map_update_elem(bpf_map__fd(skeleton->maps.xsks), &xsk_key,
						      &xsk, BPF_ANY),
		     "xsks");
	}
}

/* BUCKETS_LOG2=20 in the environment shows what a table costs that no core's own cache holds. */
static unsigned int buckets_log2(void)
{
	const char *text = getenv("BUCKETS_LOG2");
	unsigned long value = text ? strtoul(text, NULL, 10) : FG_BUCKETS_LOG2;

	errno = ERANGE;
	must(value >= 10 && value <= 24, "BUCKETS_LOG2 (10 to 24)");
	return value;
}

static void open_load(struct load *load)
{
	struct fg_bpf_config config = {.buckets_mask = (1U << buckets_log2()) - 1,
				       .idle_ticks = load->idle_ticks,
				       .hash_key = {1, 2}};
	static const char *const suffixes[LOADS] = {"one", "random", "new"};

	load->skeleton = steering_bpf__open();
	must(load->skeleton != NULL, "open");
	memcpy((void *)&load->skeleton->rodata->fg_config, &config, sizeof(config));
	must(!bpf_map__set_max_entries(load->skeleton->maps.buckets, 1U << buckets_log2()),
	     "buckets");
	must(!steering_bpf__load(load->skeleton), "load (root?)");
	fill_maps(load->skeleton);
	for (int kind = 0; kind < KINDS; kind++) {
		char name[32];

		snprintf(name, sizeof(name), "%s_%s", kinds[kind], suffixes[load - loads]);
		load->programs[kind] = bpf_program__fd(
			bpf_object__find_program_by_name(load->skeleton->obj, name));
		must(load->programs[kind] >= 0, name);
		make_frame(load->frames[kind]);
	}
}

static uint64_t flows_begun(const struct load *load)
{
	int cpus = libbpf_num_possible_cpus();
	uint32_t key = FG_COUNTER_FLOW_NEW;
	uint64_t values[cpus], sum = 0;

	must(!bpf_map_lookup_elem(bpf_map__fd(load->skeleton->maps.counters), &key, values),
	     "counters");
	for (int cpu = 0; cpu < cpus; cpu++)
		sum += values[cpu];
	return sum;
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* CPU time of one packet, without what other processes took. */
static double run(struct load *load, int kind, uint32_t packets)
{
	uint8_t out[FRAME_BYTES];
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = load->frames[kind],
		    .data_size_in = FRAME_BYTES, .data_out = out, .data_size_out = sizeof(out),
		    .repeat = packets);
	double started = cpu_ns();

	must(!bpf_prog_test_run_opts(load->programs[kind], &options), "test run");
	started = cpu_ns() - started;
	errno = EPROTO;
	must(options.retval == (kind < LRU ? XDP_PASS : XDP_REDIRECT), "wrong verdict");
	memcpy(load->frames[kind], out, FRAME_BYTES);
	return started / packets;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *values, double *worst)
{
	double sorted[ROUNDS];

	memcpy(sorted, values, sizeof(sorted));
	qsort(sorted, ROUNDS, sizeof(*sorted), by_value);
	if (worst)
		*worst = sorted[ROUNDS - 1];
	return sorted[ROUNDS / 2];
}

static double ratio(const struct load *load, int kind, double *worst)
{
	double ratios[ROUNDS];

	for (int round = 0; round < ROUNDS; round++)
		ratios[round] = load->ns[STEER][round] / load->ns[kind][round];
	return median(ratios, worst);
}

static void measure(void)
{
	for (struct load *load = loads; load < loads + LOADS; load++)
		for (int kind = 0; kind < KINDS; kind++)
			run(load, kind, load->warm);
	for (int round = 0; round < ROUNDS; round++)
		for (struct load *load = loads; load < loads + LOADS; load++)
			for (int kind = 0; kind < KINDS; kind++)
				load->ns[kind][round] = run(load, kind, load->packets);
}

/* Of the steered packets of load `new`, the share that began a flow. */
static double share_new(struct load *load)
{
	uint64_t before = flows_begun(load);

	run(load, STEER, load->packets);
	return (double)(flows_begun(load) - before) / load->packets;
}

static void print_table(void)
{
	printf("ns of CPU per packet, median of %d rounds, 2^%u buckets\n%-28s", ROUNDS,
	       buckets_log2(), "");
	for (int kind = 0; kind < KINDS; kind++)
		printf(" %9s", kinds[kind]);
	printf("\n");
	for (const struct load *load = loads; load < loads + LOADS; load++) {
		printf("%-28s", load->text);
		for (int kind = 0; kind < KINDS; kind++)
			printf(" %9.1f", median(load->ns[kind], NULL));
		printf("\n");
	}
	for (const struct load *load = loads; load < loads + LOADS; load++) {
		for (int kind = 0; kind < STEER; kind++) {
			double worst, value = ratio(load, kind, &worst), aim = load->aim[kind];

			printf("%-28s %5.2f x %-6s (worst round %.2f)", load->text, value,
			       kinds[kind], worst);
			if (aim > 0)
				printf(" aim %.2f %s", aim, value <= aim ? "met" : "MISSED");
			printf("\n");
		}
	}
	printf("%.1f %% of the packets of \"%s\" began a flow\n",
	       100 * share_new(&loads[LOADS - 1]), loads[LOADS - 1].text);
}

static void print_metric(FILE *file, const struct load *load, int kind, bool first)
{
	static const char *const names[KINDS] = {"parse and pass", "parse and load one bucket",
						 "the same over LRU_HASH"};
	double worst, value = ratio(load, kind, &worst), aim = load->aim[kind];

	fprintf(file,
		"%s\n  {\"metric\": \"steer / %s, %s\", \"value\": %.1f, \"unit\": \"ns\", "
		"\"reference\": %.1f, \"ratio\": %.3f, \"worst_ratio\": %.3f, ",
		first ? "" : ",", names[kind], load->text, median(load->ns[STEER], NULL),
		median(load->ns[kind], NULL), value, worst);
	if (aim > 0)
		fprintf(file, "\"aim\": %.2f, \"met\": %s}", aim, value <= aim ? "true" : "false");
	else
		fprintf(file, "\"aim\": null, \"met\": null}");
}

static void write_json(void)
{
	const char *build = getenv("BUILD") ?: "build";
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/bench", build);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/bench/steering.json", build);
	file = fopen(path, "w");
	must(file != NULL, path);
	fprintf(file, "[");
	for (const struct load *load = loads; load < loads + LOADS; load++)
		for (int kind = 0; kind < STEER; kind++)
			print_metric(file, load, kind, load == loads && !kind);
	fprintf(file, "\n]\n");
	must(!fclose(file), path);
	printf("written to %s\n", path);
}

static void stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

int main(void)
{
	stay_on_this_cpu();
	for (struct load *load = loads; load < loads + LOADS; load++)
		open_load(load);
	measure();
	print_table();
	write_json();
	for (struct load *load = loads; load < loads + LOADS; load++)
		steering_bpf__destroy(load->skeleton);
	return 0;
}
