/* The sk_reuseport program under real datagrams over lo: which worker's socket gets them, and that
 * the bucket is the one that XDP would take. */
#include "tests/bpf/fixture.h"

#include <linux/filter.h>
#include <poll.h>

#define WORKERS	   3
#define LARGE	   9000 /* six fragments at lo's 1,500 here */
#define PORT_EXACT FX_PORT
#define PORT_ANY   (FX_PORT + 1)

/* Listener 0 and 1: exact addresses; 2: 0.0.0.0; 3: [::] of both families. */
static const struct {
	const char *address;
	uint16_t port;
} listeners[] = {{"127.0.0.1", PORT_EXACT},
		 {"::1", PORT_EXACT},
		 {"0.0.0.0", PORT_ANY},
		 {"::", PORT_ANY + 1}};

#define LISTENERS ((int)(sizeof(listeners) / sizeof(listeners[0])))

static struct fx fx;
static int workers[WORKERS][4];
static int sinks[4]; /* what must get no answer ends here */

static socklen_t address_bytes(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in)
					     : sizeof(struct sockaddr_in6);
}

static int open_worker(int listener)
{
	struct sockaddr_storage address =
		fx_address(listeners[listener].address, listeners[listener].port);
	int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

	fx_must(fd >= 0, "socket");
	fx_must(!setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), "SO_REUSEPORT");
	fx_must(!bind(fd, (struct sockaddr *)&address, address_bytes(&address)), "bind");
	fx_must(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &fx.steering.reuseport,
			    sizeof(fx.steering.reuseport)),
		"SO_ATTACH_REUSEPORT_EBPF");
	return fd;
}

/* As the keeper's: its filter takes 0 bytes of each datagram. */
static int open_sink(int listener)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog filter = {.len = 1, .filter = &nothing};
	int fd = open_worker(listener);

	fx_must(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)),
		"SO_ATTACH_FILTER");
	assert_int_equal(fg_steering_set_udp(&fx.steering, FG_SINK_ROW, listener, fd), 0);
	return fd;
}

static void open_all(const struct fg_steering_config *config)
{
	static const uint16_t slots[] = {0, 1, 2};

	fx_open(&fx, config);
	for (int listener = 0; listener < LISTENERS; listener++) {
		fx_listen(&fx, listeners[listener].address, listeners[listener].port, listener);
		for (int slot = 0; slot < WORKERS; slot++) {
			workers[slot][listener] = open_worker(listener);
			assert_int_equal(fg_steering_set_udp(&fx.steering, slot, listener,
							     workers[slot][listener]),
					 0);
		}
		sinks[listener] = open_sink(listener);
	}
	for (uint16_t slot = 0; slot < WORKERS; slot++)
		fg_steering_set_slot(&fx.steering, slot, FX_GENERATION, FG_SLOT_SERVING);
	fx_flip(&fx, slots, WORKERS);
}

static int set_up(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	open_all(&config);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int slot = 0; slot < WORKERS; slot++)
		for (int listener = 0; listener < LISTENERS; listener++)
			close(workers[slot][listener]);
	for (int listener = 0; listener < LISTENERS; listener++)
		close(sinks[listener]);
	fx_close(&fx);
	return 0;
}

/* A client's socket: bound to the address that it sends to, connected, so that a refusal comes back
 * as an error. */
static int client(const char *to, uint16_t port)
{
	struct sockaddr_storage address = fx_address(to, port), own = fx_address(to, 0);
	int fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	fx_must(fd >= 0, "socket");
	fx_must(!bind(fd, (struct sockaddr *)&own, address_bytes(&own)), "bind");
	fx_must(!connect(fd, (struct sockaddr *)&address, address_bytes(&address)), "connect");
	return fd;
}

static void send_request(int fd, uint64_t affinity, size_t length)
{
	static uint8_t bytes[60000];
	struct fg_wire_header header = {.magic = FG_WIRE_MAGIC,
					.version = FG_WIRE_VERSION,
					.type = FG_WIRE_REQUEST,
					.affinity = affinity};

	memcpy(bytes, &header, sizeof(header));
	assert_int_equal(send(fd, bytes, length, 0), length);
}

/* The worker that got the one datagram of `length` bytes on `listener`; -1: nobody in `wait_ms`. */
static int receiver(int listener, size_t length, int wait_ms)
{
	static uint8_t bytes[65536];
	struct pollfd polls[WORKERS];
	int got = -1;

	for (int slot = 0; slot < WORKERS; slot++)
		polls[slot] = (struct pollfd){.fd = workers[slot][listener], .events = POLLIN};
	if (poll(polls, WORKERS, wait_ms) <= 0)
		return -1;
	for (int slot = 0; slot < WORKERS; slot++) {
		if (!(polls[slot].revents & POLLIN))
			continue;
		assert_int_equal(got, -1);
		assert_int_equal(recv(polls[slot].fd, bytes, sizeof(bytes), 0), length);
		got = slot;
	}
	return got;
}

static uint16_t local_port(int fd)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* By the reference over the addresses as the packet carries them. */
static uint64_t hash_of(const char *address, uint16_t sport, uint16_t dport)
{
	struct fg_flow_v4 v4 = {.sport = htons(sport), .dport = htons(dport), .kind = FG_FLOW_V4};
	struct fg_flow_v6 v6 = {.sport = htons(sport), .dport = htons(dport), .kind = FG_FLOW_V6};

	if (inet_pton(AF_INET, address, &v4.saddr) == 1) {
		v4.daddr = v4.saddr;
		return fx_flow_hash(&v4, sizeof(v4));
	}
	inet_pton(AF_INET6, address, v6.saddr);
	memcpy(v6.daddr, v6.saddr, 16);
	return fx_flow_hash(&v6, sizeof(v6));
}

/* One request over lo to `address`: it reaches the worker that the table names for this tuple, and
 * the bucket says so. */
static void check_tuple(int fd, const char *address, uint16_t port, int listener, size_t length)
{
	uint64_t hash = hash_of(address, local_port(fd), port);
	struct fg_table table;
	int expected;

	assert_int_equal(fg_steering_table(&fx.steering, 0, &table), 0);
	expected = table.slot[fx_position_of(hash)];
	if (fx_bucket(&fx, fx_bucket_of(hash)).word)
		expected = fx_bucket(&fx, fx_bucket_of(hash)).slot;
	send_request(fd, 0, length);
	assert_int_equal(receiver(listener, length, 1000), expected);
	assert_int_equal(fx_bucket(&fx, fx_bucket_of(hash)).slot, expected);
	assert_int_equal(fx_bucket(&fx, fx_bucket_of(hash)).generation, FX_GENERATION);
}

static void check_tuples(const char *address, uint16_t port, int listener, size_t length, int count)
{
	uint64_t before[FG_COUNTER_COUNT], after[FG_COUNTER_COUNT];

	assert_int_equal(fg_steering_counters(&fx.steering, before), 0);
	for (int i = 0; i < count; i++) {
		int fd = client(address, port);

		check_tuple(fd, address, port, listener, length);
		close(fd);
	}
	assert_int_equal(fg_steering_counters(&fx.steering, after), 0);
	fx_check_counters(before, after, FG_COUNTER_SOCK_STEERED, count);
}

static void exact_v4(void **state)
{
	(void)state;
	check_tuples("127.0.0.1", PORT_EXACT, 0, 100, 100);
}

static void exact_v6(void **state)
{
	(void)state;
	check_tuples("::1", PORT_EXACT, 1, 100, 100);
}

static void wildcard_v4(void **state)
{
	(void)state;
	check_tuples("127.0.0.1", PORT_ANY, 2, 100, 20);
	check_tuples("127.9.8.7", PORT_ANY, 2, 100, 1);
}

/* One [::] socket takes both families; an IPv4 datagram there is hashed as what it is. */
static void wildcard_of_both_families(void **state)
{
	(void)state;
	check_tuples("::1", PORT_ANY + 1, 3, 100, 20);
	check_tuples("127.0.0.1", PORT_ANY + 1, 3, 100, 20);
}

static void reassembled_fragments(void **state)
{
	(void)state;
	check_tuples("127.0.0.1", PORT_EXACT, 0, LARGE, 20);
	check_tuples("::1", PORT_EXACT, 1, LARGE, 20);
	check_tuples("127.0.0.1", PORT_EXACT, 0, 50000, 3);
	check_tuples("::1", PORT_EXACT, 1, 50000, 3);
}

static void ipv4_options(void **state)
{
	uint8_t nops[40];

	(void)state;
	memset(nops, 1, sizeof(nops));
	for (size_t bytes = 4; bytes <= sizeof(nops); bytes += 12) {
		int fd = client("127.0.0.1", PORT_EXACT);

		assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, nops, bytes), 0);
		check_tuple(fd, "127.0.0.1", PORT_EXACT, 0, 100);
		check_tuple(fd, "127.0.0.1", PORT_EXACT, 0, LARGE);
		close(fd);
	}
}

/* Destination options and hop-by-hop options, each alone and both, small and fragmented. */
static void ipv6_extension_headers(void **state)
{
	static const uint8_t padding[8] = {0, 0, 1, 4}; /* one PadN */

	(void)state;
	for (int which = 1; which <= 3; which++) {
		int fd = client("::1", PORT_EXACT);

		if (which & 1)
			assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, padding,
						    sizeof(padding)),
					 0);
		if (which & 2)
			assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_HOPOPTS, padding,
						    sizeof(padding)),
					 0);
		check_tuple(fd, "::1", PORT_EXACT, 1, 100);
		check_tuple(fd, "::1", PORT_EXACT, 1, LARGE);
		close(fd);
	}
}

/* One key from many ports, over both families and all listeners, small and large: one worker. */
static void affinity_is_one_flow(void **state)
{
	static const char *const to[] = {"127.0.0.1", "::1", "127.0.0.1", "::1"};
	int chosen = -1;

	(void)state;
	for (int i = 0; i < 40; i++) {
		int listener = i % LISTENERS, got;
		int fd = client(to[listener], listeners[listener].port);
		size_t length = i % 8 < 4 ? 100 : LARGE;

		send_request(fd, 0xabcdef, length);
		got = receiver(listener, length, 1000);
		if (chosen < 0)
			chosen = got;
		assert_in_range(got, 0, WORKERS - 1);
		assert_int_equal(got, chosen);
		close(fd);
	}
	assert_int_equal(fx_counter(&fx, FG_COUNTER_FLOW_NEW), 1);
}

/* What XDP began, the socket program carries on, and the other way round. */
static void same_bucket_as_xdp(void **state)
{
	(void)state;
	for (uint64_t key = 1; key <= 20; key++) {
		struct fx_flow flow = {.affinity = key, .v6 = key % 2};
		struct fx_packet packet = fx_request(&flow);
		int fd = client("127.0.0.1", PORT_EXACT);
		uint64_t begun;

		if (key % 3)
			fx_run(&fx, &packet);
		else
			send_request(fd, key, 100);
		begun = fx_counter(&fx, FG_COUNTER_FLOW_NEW);
		if (!(key % 3)) {
			assert_in_range(receiver(0, 100, 1000), 0, WORKERS - 1);
			fx_run(&fx, &packet);
		} else {
			send_request(fd, key, 100);
			assert_int_equal(receiver(0, 100, 1000),
					 fx_bucket(&fx, fx_bucket_of(fx_hash(&packet))).slot);
		}
		assert_int_equal(fx_counter(&fx, FG_COUNTER_FLOW_NEW), begun);
		close(fd);
	}
}

static void flip_moves_new_flows_only(void **state)
{
	static const uint16_t last[] = {2};
	int fds[60], before[60];

	(void)state;
	for (int i = 0; i < 60; i++) {
		fds[i] = client("127.0.0.1", PORT_EXACT);
		send_request(fds[i], 0, 100);
		before[i] = receiver(0, 100, 1000);
		assert_in_range(before[i], 0, WORKERS - 1);
	}
	fx_flip(&fx, last, 1);
	fg_steering_set_slot(&fx.steering, 0, FX_GENERATION, FG_SLOT_DRAINING);
	fg_steering_set_slot(&fx.steering, 1, FX_GENERATION, FG_SLOT_RETIRED);
	for (int i = 0; i < 60; i++) {
		send_request(fds[i], 0, 100);
		assert_int_equal(receiver(0, 100, 1000), before[i] == 1 ? 2 : before[i]);
		close(fds[i]);
	}
	for (uint64_t key = 1; key <= 20; key++) {
		struct fx_flow flow = {.affinity = key};
		struct fx_packet packet = fx_request(&flow);
		bool fresh = !fx_bucket(&fx, fx_bucket_of(fx_hash(&packet))).word;
		int fd = client("127.0.0.1", PORT_EXACT);

		send_request(fd, key, 100);
		if (fresh)
			assert_int_equal(receiver(0, 100, 1000), 2);
		else
			receiver(0, 100, 1000);
		close(fd);
	}
}

/* ---- refusals -------------------------------------------------------------------------- */

/* Nobody gets it, one counter says why, and the client hears `heard` (an errno of recv). */
static void check_dropped(const void *bytes, size_t length, enum fg_counter counter, int heard)
{
	uint64_t before[FG_COUNTER_COUNT], after[FG_COUNTER_COUNT];
	struct timeval patience = {.tv_sec = heard != EAGAIN, .tv_usec = 30000};

	for (int listener = 0; listener < 2; listener++) {
		int fd = client(listeners[listener].address, PORT_EXACT);
		char reply;

		assert_int_equal(fg_steering_counters(&fx.steering, before), 0);
		assert_int_equal(send(fd, bytes, length, 0), length);
		assert_int_equal(receiver(listener, length, 20), -1);
		assert_int_equal(recv(sinks[listener], &reply, 1, MSG_DONTWAIT), -1);
		assert_int_equal(fg_steering_counters(&fx.steering, after), 0);
		fx_check_counters(before, after, counter, 1);
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
					    sizeof(patience)),
				 0);
		assert_int_equal(recv(fd, &reply, 1, 0), -1);
		assert_int_equal(errno, heard);
		close(fd);
	}
}

static void check_silence(const void *bytes, size_t length, enum fg_counter counter)
{
	check_dropped(bytes, length, counter, EAGAIN);
}

static struct fg_wire_header good_header(void)
{
	return (struct fg_wire_header){.magic = FG_WIRE_MAGIC,
				       .version = FG_WIRE_VERSION,
				       .type = FG_WIRE_REQUEST};
}

static void short_datagrams(void **state)
{
	struct fg_wire_header header = good_header();

	(void)state;
	for (size_t length = 0; length < sizeof(header); length += 9)
		check_silence(&header, length, FG_COUNTER_SOCK_DROP_SHORT);
	check_silence(&header, sizeof(header) - 1, FG_COUNTER_SOCK_DROP_SHORT);
}

static void foreign_protocols(void **state)
{
	(void)state;
	for (size_t i = 0; i < 6; i++) {
		struct fg_wire_header header = good_header();

		((uint8_t *)&header)[i] ^= 0x80;
		check_silence(&header, sizeof(header), FG_COUNTER_SOCK_DROP_MAGIC);
	}
}

static void no_serving_worker(void **state)
{
	struct fg_wire_header header = good_header();

	(void)state;
	for (uint16_t slot = 0; slot < WORKERS; slot++)
		fg_steering_set_slot(&fx.steering, slot, FX_GENERATION, FG_SLOT_FREE);
	check_silence(&header, sizeof(header), FG_COUNTER_SOCK_DROP_NO_SLOT);
}

static void worker_without_socket(void **state)
{
	struct fg_wire_header header = good_header();
	static const uint16_t lonely[] = {9};

	(void)state;
	fg_steering_set_slot(&fx.steering, 9, FX_GENERATION, FG_SLOT_SERVING);
	fx_flip(&fx, lonely, 1);
	check_silence(&header, sizeof(header), FG_COUNTER_SOCK_DROP_NO_SLOT);
}

static void denied_source(void **state)
{
	struct sockaddr_storage v4 = fx_address("127.0.0.0", 0), v6 = fx_address("::1", 0);
	struct fg_steering_config config = fx_config();
	struct fg_wire_header header = good_header();

	tear_down(state);
	config.acl_enabled = true;
	open_all(&config);
	check_tuples("127.0.0.1", PORT_EXACT, 0, 100, 5);
	assert_int_equal(fg_steering_acl(&fx.steering, &v4, 8, FG_ACL_DENY), 0);
	assert_int_equal(fg_steering_acl(&fx.steering, &v6, 128, FG_ACL_DENY), 0);
	check_silence(&header, sizeof(header), FG_COUNTER_SOCK_DROP_ACL);
}

/* The map lets go of a socket by itself when it is closed. */
static void closed_socket_is_no_target(void **state)
{
	struct fg_wire_header header = good_header();
	static const uint16_t first[] = {0};

	(void)state;
	fx_flip(&fx, first, 1);
	for (int listener = 0; listener < 2; listener++)
		close(workers[0][listener]);
	check_silence(&header, sizeof(header), FG_COUNTER_SOCK_DROP_NO_SLOT);
	for (int listener = 0; listener < 2; listener++)
		workers[0][listener] = open_worker(listener);
}

/* Were there no sink, the stack would tell the client: dropped and counted all the same. */
static void without_a_sink(void **state)
{
	struct fg_wire_header header = good_header();

	(void)state;
	for (int listener = 0; listener < 2; listener++) {
		close(sinks[listener]);
		sinks[listener] = -1;
	}
	header.version++;
	check_dropped(&header, sizeof(header), FG_COUNTER_SOCK_DROP_MAGIC, ECONNREFUSED);
	for (int listener = 0; listener < 2; listener++)
		sinks[listener] = open_sink(listener);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exact_v4),
		TEST(exact_v6),
		TEST(wildcard_v4),
		TEST(wildcard_of_both_families),
		TEST(reassembled_fragments),
		TEST(ipv4_options),
		TEST(ipv6_extension_headers),
		TEST(affinity_is_one_flow),
		TEST(same_bucket_as_xdp),
		TEST(flip_moves_new_flows_only),
		TEST(short_datagrams),
		TEST(foreign_protocols),
		TEST(no_serving_worker),
		TEST(worker_without_socket),
		TEST(denied_source),
		TEST(closed_socket_is_no_target),
		TEST(without_a_sink),
	};

	fx_isolate();
	/* So that large datagrams are fragmented; and no limit on what the stack tells clients. */
	fx_must(!system("/sbin/ip link set lo mtu 1500 && "
			"echo 0 >/proc/sys/net/ipv4/icmp_ratelimit && "
			"echo 0 >/proc/sys/net/ipv6/icmp/ratelimit"),
		"lo");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
