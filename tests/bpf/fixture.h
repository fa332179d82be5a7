/*
 * fixture.h: what the BPF tests share: an own network and mount namespace with loaded programs,
 * packets made byte by byte, and one run of the XDP program with its verdict and counters.
 */
#ifndef FG_TESTS_BPF_FIXTURE_H
#define FG_TESTS_BPF_FIXTURE_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/siphash_reference.h"
#include "userspace/daemon/steering.h"
#include "userspace/protocol/wire.h"
#include "ingress.skel.h"

#define FX_IDLE_MS    600000 /* so that a thousand ticks are well below an eighth */
#define FX_BUCKETS    12
#define FX_KEY_0      0x5eed5eed5eed5eed
#define FX_KEY_1      0xfeedfeedfeedfeed
#define FX_GENERATION 1
#define FX_PORT	      9000
#define FX_V4	      "10.0.0.1"
#define FX_V6	      "fd00::1"
#define FX_CLIENT_V4  "10.0.0.2"
#define FX_CLIENT_V6  "fd00::2"
#define FX_MAC                                                                                     \
	{                                                                                          \
		0x02, 0, 0, 0, 0, 0x01                                                             \
	}
#define FX_MAX_PACKET 1400
#define FX_PAYLOAD    16 /* bytes behind our header */

struct fx {
	struct fg_steering steering;
	int xsk[FG_MAX_SLOTS]; /* AF_XDP sockets, -1: none */
};

/* ---- set-up ---------------------------------------------------------------------------- */

static inline void fx_must(bool ok, const char *what)
{
	if (ok)
		return;
	print_error("%s: %s\n", what, strerror(errno));
	exit(1);
}

/* Nothing that a test does is seen outside, and nothing of it is left: the namespaces die with us.
 */
static inline void fx_isolate(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd;

	fx_must(!unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare (are you root?)");
	fx_must(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount private");
	fx_must(!mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), "mount a bpffs");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	fx_must(fd >= 0, "socket");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	fx_must(!ioctl(fd, SIOCSIFFLAGS, &request), "lo up");
	close(fd);
}

static inline struct fg_steering_config fx_config(void)
{
	struct fg_steering_config config = {.buckets_log2 = FX_BUCKETS,
					    .flow_idle_ms = FX_IDLE_MS,
					    .hash_key = {FX_KEY_0, FX_KEY_1}};

	snprintf(config.pin_dir, sizeof(config.pin_dir), "/sys/fs/bpf/fgt-%d", getpid());
	return config;
}

static inline struct sockaddr_storage fx_address(const char *text, uint16_t port)
{
	struct sockaddr_storage address = {};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	else
		fail_msg("no address: %s", text);
	v4->sin_port = htons(port);
	return address;
}

static inline void fx_listen(struct fx *fx, const char *text, uint16_t port, uint16_t listener)
{
	struct sockaddr_storage address = fx_address(text, port);

	assert_int_equal(fg_steering_listen(&fx->steering, &address, 0, listener), 0);
}

/* Tells XDP the MAC that fx_request() sends to, and own addresses. */
static inline void fx_host(struct fx *fx, const char *const *own, size_t count)
{
	static const uint8_t mac[6] = FX_MAC;
	struct fg_host host = {0};

	memcpy((uint8_t *)&host.mac + 2, mac, sizeof(mac));
	for (size_t i = 0; i < count; i++) {
		uint32_t addr[4] = {0, 0, htonl(0xffff)}, bit;

		if (inet_pton(AF_INET, own[i], addr + 3) != 1)
			assert_int_equal(inet_pton(AF_INET6, own[i], addr), 1);
		bit = fg_host_bit(addr[0] ^ addr[1] ^ addr[2] ^ addr[3]);
		host.addresses[bit / 64] |= 1ull << bit % 64;
	}
	assert_int_equal(fg_steering_set_host(&fx->steering, &host), 0);
}

static inline void fx_open(struct fx *fx, const struct fg_steering_config *config)
{
	struct fg_error error = {""};

	if (fg_steering_open(&fx->steering, config, &error))
		fail_msg("fg_steering_open: %s", error.text);
	for (int slot = 0; slot < FG_MAX_SLOTS; slot++)
		fx->xsk[slot] = -1;
	fx_listen(fx, FX_V4, FX_PORT, 0);
	fx_listen(fx, FX_V6, FX_PORT, 1);
	fx_host(fx, NULL, 0);
}

static inline void fx_close(struct fx *fx)
{
	fg_steering_close(&fx->steering);
	for (int slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (fx->xsk[slot] >= 0)
			close(fx->xsk[slot]);
}

/* A worker stands in `slot`: an unbound AF_XDP socket on queue 0 makes the program redirect. */
static inline void fx_worker(struct fx *fx, uint16_t slot, uint32_t generation)
{
	fx->xsk[slot] = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(fx->xsk[slot] >= 0);
	assert_int_equal(fg_steering_set_xsk(&fx->steering, slot, 0, fx->xsk[slot]), 0);
	assert_int_equal(fg_steering_set_slot(&fx->steering, slot, generation, FG_SLOT_SERVING), 0);
}

static inline void fx_flip(struct fx *fx, const uint16_t *slots, size_t count)
{
	static uint32_t serial;
	struct fg_table table;

	fg_maglev_build(&table, ++serial, 1, slots, count);
	assert_int_equal(fg_steering_flip(&fx->steering, 0, &table, NULL, NULL), 0);
}

/* ---- packets --------------------------------------------------------------------------- */

struct fx_flow {
	bool v6;
	const char *source; /* NULL: FX_CLIENT_* */
	uint16_t sport;
	uint64_t affinity;
	int tags; /* VLAN tags */
};

struct fx_packet {
	uint8_t bytes[FX_MAX_PACKET];
	size_t length;
	size_t ip, udp, wire; /* offsets */
	bool unsound;	      /* its IPv4 checksum goes out as it stands */
};

static inline void fx_put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value & 0xff;
}

static inline void fx_put_ip(struct fx_packet *packet, const struct fx_flow *flow, size_t room)
{
	uint8_t *ip = packet->bytes + packet->ip;

	if (flow->v6) {
		ip[0] = 0x60;
		fx_put16(ip + 4, room);
		ip[6] = IPPROTO_UDP;
		ip[7] = 64;
		inet_pton(AF_INET6, flow->source ?: FX_CLIENT_V6, ip + 8);
		inet_pton(AF_INET6, FX_V6, ip + 24);
		return;
	}
	ip[0] = 0x45;
	fx_put16(ip + 2, 20 + room);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	inet_pton(AF_INET, flow->source ?: FX_CLIENT_V4, ip + 12);
	inet_pton(AF_INET, FX_V4, ip + 16);
}

/* RFC 1071, of an IPv4 header without options. */
static inline void fx_put_sum(uint8_t *ip)
{
	uint32_t sum = 0;

	fx_put16(ip + 10, 0);
	for (int i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	fx_put16(ip + 10, ~sum);
}

/* A well-formed request of that flow to our service; tests then bend its bytes. */
static inline struct fx_packet fx_request(const struct fx_flow *flow)
{
	struct fg_wire_header header = {.magic = FG_WIRE_MAGIC,
					.version = FG_WIRE_VERSION,
					.type = FG_WIRE_REQUEST,
					.affinity = flow->affinity,
					.payload_bytes = FX_PAYLOAD};
	size_t room = 8 + FG_WIRE_HEADER_BYTES + FX_PAYLOAD;
	struct fx_packet packet = {.bytes = FX_MAC};
	uint8_t *type = packet.bytes + 12;

	packet.bytes[11] = 2;
	for (int tag = 0; tag < flow->tags; tag++, type += 4) {
		fx_put16(type, tag + 1 < flow->tags ? ETH_P_8021AD : ETH_P_8021Q);
		fx_put16(type + 2, 100 + tag);
	}
	fx_put16(type, flow->v6 ? ETH_P_IPV6 : ETH_P_IP);
	packet.ip = type + 2 - packet.bytes;
	packet.udp = packet.ip + (flow->v6 ? 40 : 20);
	packet.wire = packet.udp + 8;
	packet.length = packet.udp + room;
	fx_put_ip(&packet, flow, room);
	fx_put16(packet.bytes + packet.udp, flow->sport ?: 40000);
	fx_put16(packet.bytes + packet.udp + 2, FX_PORT);
	fx_put16(packet.bytes + packet.udp + 4, room);
	memcpy(packet.bytes + packet.wire, &header, sizeof(header));
	return packet;
}

/* Makes room for `count` zero bytes at offset `at`. */
static inline uint8_t *fx_insert(struct fx_packet *packet, size_t at, size_t count)
{
	uint8_t *place = packet->bytes + at;

	assert_true(packet->length + count <= sizeof(packet->bytes));
	memmove(place + count, place, packet->length - at);
	memset(place, 0, count);
	packet->length += count;
	return place;
}

/* ---- running --------------------------------------------------------------------------- */

static inline int fx_run_as(struct fx *fx, const struct fx_packet *bent, uint32_t ifindex,
			    uint32_t queue)
{
	struct fx_packet packet = *bent;
	struct xdp_md context = {.data_end = packet.length,
				 .ingress_ifindex = ifindex,
				 .rx_queue_index = queue};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.bytes,
		    .data_size_in = packet.length, .repeat = 1);
	int fd = bpf_program__fd(fx->steering.ingress->progs.fg_ingress);

	if (!packet.unsound && packet.bytes[packet.ip] >> 4 == 4)
		fx_put_sum(packet.bytes + packet.ip);
	if (ifindex) {
		options.ctx_in = &context;
		options.ctx_size_in = sizeof(context);
	}
	assert_int_equal(bpf_prog_test_run_opts(fd, &options), 0);
	return options.retval;
}

static inline int fx_run(struct fx *fx, const struct fx_packet *packet)
{
	return fx_run_as(fx, packet, 0, 0);
}

static inline uint64_t fx_counter(struct fx *fx, enum fg_counter counter)
{
	uint64_t totals[FG_COUNTER_COUNT];

	assert_int_equal(fg_steering_counters(&fx->steering, totals), 0);
	return totals[counter];
}

static inline const char *fx_verdict_name(int action)
{
	static const char *const names[] = {"aborted", "drop", "pass", "tx", "redirect"};

	return action >= 0 && action <= XDP_REDIRECT ? names[action] : "?";
}

/* Every counter but flow_*: only `expected` rises, by `times`. */
static inline void fx_check_counters(const uint64_t before[FG_COUNTER_COUNT],
				     const uint64_t after[FG_COUNTER_COUNT],
				     enum fg_counter expected, uint64_t times)
{
	for (int i = 0; i < FG_COUNTER_FLOW_NEW; i++)
		if (after[i] - before[i] != (i == (int)expected ? times : 0))
			fail_msg("counter %s rose by %llu, %s was expected to rise by %llu",
				 fg_counter_name(i), (unsigned long long)(after[i] - before[i]),
				 fg_counter_name(expected), (unsigned long long)times);
}

/* Runs the packet once: this verdict, and exactly this one counter. */
static inline void fx_expect(struct fx *fx, const struct fx_packet *packet, int verdict,
			     enum fg_counter counter)
{
	uint64_t before[FG_COUNTER_COUNT], after[FG_COUNTER_COUNT];
	int got;

	assert_int_equal(fg_steering_counters(&fx->steering, before), 0);
	got = fx_run(fx, packet);
	assert_int_equal(fg_steering_counters(&fx->steering, after), 0);
	if (got != verdict)
		fail_msg("verdict %s, expected %s", fx_verdict_name(got), fx_verdict_name(verdict));
	fx_check_counters(before, after, counter, 1);
}

/* ---- buckets --------------------------------------------------------------------------- */

/* The flow hash of one of abi.h's structs, by the reference. */
static inline uint64_t fx_flow_hash(const void *flow, size_t length)
{
	static const __u64 key[2] = {FX_KEY_0, FX_KEY_1};

	return siphash_reference(flow, length, key, 1, 3);
}

/* Of the packet's flow, whatever the programs compute. */
static inline uint64_t fx_hash(const struct fx_packet *packet)
{
	const uint8_t *ip = packet->bytes + packet->ip, *udp = packet->bytes + packet->udp;
	struct fg_flow_affinity key = {.service = 0, .kind = FG_FLOW_AFFINITY};
	struct fg_flow_v4 v4 = {.kind = FG_FLOW_V4};
	struct fg_flow_v6 v6 = {.kind = FG_FLOW_V6};

	memcpy(&key.key, packet->bytes + packet->wire + FG_WIRE_AFFINITY_OFFSET, 8);
	if (key.key)
		return fx_flow_hash(&key, sizeof(key));
	if (ip[0] >> 4 == 4) {
		memcpy(&v4.saddr, ip + 12, 8);
		memcpy(&v4.sport, udp, 4);
		return fx_flow_hash(&v4, sizeof(v4));
	}
	memcpy(v6.saddr, ip + 8, 32);
	memcpy(&v6.sport, udp, 4);
	return fx_flow_hash(&v6, sizeof(v6));
}

static inline uint32_t fx_bucket_of(uint64_t hash)
{
	return (hash >> 32) & ((1U << FX_BUCKETS) - 1);
}

static inline uint32_t fx_position_of(uint64_t hash)
{
	return (uint64_t)(uint32_t)hash * FG_TABLE_PRIME >> 32;
}

static inline union fg_bucket fx_bucket(struct fx *fx, uint32_t index)
{
	return (union fg_bucket){.word = fx->steering.bucket_words[index].word};
}

static inline void fx_set_bucket(struct fx *fx, uint32_t index, union fg_bucket value)
{
	assert_int_equal(bpf_map_update_elem(fx->steering.buckets, &index, &value, BPF_ANY), 0);
}

static inline uint32_t fx_now(struct fx *fx)
{
	uint32_t tick;

	assert_int_equal(fg_steering_now(&fx->steering, &tick), 0);
	return tick;
}

#endif
