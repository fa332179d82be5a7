/* The sk_lookup program by BPF_PROG_TEST_RUN: whose listener it assigns, and its one counter. Its
 * listeners stand on other ports than the addresses that are asked for: the program never looks. */
#include "tests/bpf/fixture.h"

#include <linux/bpf.h>
#include "lookup.skel.h"

#define WORKERS 3

static struct fx fx;
static int workers[WORKERS][2], sinks[2]; /* [slot][listener]: IPv4, IPv6 */

/* A socket that listens, on any port. */
static int open_listener(int family)
{
	struct sockaddr_storage address = {.ss_family = family};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	fx_must(fd >= 0, "socket");
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	fx_must(!bind(fd, (struct sockaddr *)&address,
		      family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)),
		"bind");
	fx_must(!listen(fd, 1), "listen");
	return fd;
}

static void listen_tcp(const char *text, uint16_t port, uint16_t listener)
{
	struct sockaddr_storage address = fx_address(text, port);

	assert_int_equal(fg_steering_listen_tcp(&fx.steering, &address, 0, listener), 0);
}

static void open_all(const struct fg_steering_config *config)
{
	static const uint16_t slots[] = {0, 1, 2};
	struct fg_error error = {""};

	fx_open(&fx, config); /* which announces UDP at the same addresses and port */
	listen_tcp(FX_V4, FX_PORT, 0);
	listen_tcp(FX_V6, FX_PORT, 1);
	listen_tcp("0.0.0.0", FX_PORT + 1, 0);
	listen_tcp("::", FX_PORT + 1, 1);
	listen_tcp("::", FX_PORT + 2, 1);
	if (fg_steering_load_tcp(&fx.steering, &error) ||
	    fg_steering_attach_tcp(&fx.steering, &error))
		fail_msg("%s", error.text);
	for (int listener = 0; listener < 2; listener++) {
		int family = listener ? AF_INET6 : AF_INET;

		sinks[listener] = open_listener(family);
		assert_int_equal(fg_steering_set_tcp(&fx.steering, FG_SINK_ROW, listener,
						     sinks[listener]),
				 0);
		for (int slot = 0; slot < WORKERS; slot++) {
			workers[slot][listener] = open_listener(family);
			assert_int_equal(fg_steering_set_tcp(&fx.steering, slot, listener,
							     workers[slot][listener]),
					 0);
		}
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
	for (int listener = 0; listener < 2; listener++) {
		close(sinks[listener]);
		for (int slot = 0; slot < WORKERS; slot++)
			close(workers[slot][listener]);
	}
	fx_close(&fx);
	return 0;
}

static struct bpf_sk_lookup context(const char *from, const char *to, uint16_t sport,
				    uint16_t dport, uint32_t protocol)
{
	struct bpf_sk_lookup lookup = {.protocol = protocol, .local_port = dport};

	lookup.remote_port = htons(sport);
	if (strchr(to, ':')) {
		lookup.family = AF_INET6;
		inet_pton(AF_INET6, from, lookup.remote_ip6);
		inet_pton(AF_INET6, to, lookup.local_ip6);
	} else {
		lookup.family = AF_INET;
		inet_pton(AF_INET, from, &lookup.remote_ip4);
		inet_pton(AF_INET, to, &lookup.local_ip4);
	}
	return lookup;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
	return cookie;
}

/* Runs once: this verdict, this one counter (FG_COUNTER_COUNT: none). Returns the cookie of the
 * socket that was assigned, 0 for none. */
static uint64_t run(struct bpf_sk_lookup lookup, int verdict, enum fg_counter counter)
{
	uint64_t before[FG_COUNTER_COUNT], after[FG_COUNTER_COUNT];
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &lookup, .ctx_size_in = sizeof(lookup),
		    .ctx_out = &lookup, .ctx_size_out = sizeof(lookup), .repeat = 1);
	int fd = bpf_program__fd(fx.steering.lookup->progs.fg_lookup);

	assert_int_equal(fg_steering_counters(&fx.steering, before), 0);
	assert_int_equal(bpf_prog_test_run_opts(fd, &options), 0);
	assert_int_equal(fg_steering_counters(&fx.steering, after), 0);
	assert_int_equal(options.retval, verdict);
	fx_check_counters(before, after, counter, 1);
	assert_int_equal(after[FG_COUNTER_FLOW_NEW], 0); /* no bucket */
	return lookup.cookie;
}

static int table_slot(uint64_t hash)
{
	struct fg_table table;

	assert_int_equal(fg_steering_table(&fx.steering, 0, &table), 0);
	return table.slot[fx_position_of(hash)];
}

/* By the reference over abi.h's structs. */
static uint64_t hash_of(const char *from, const char *to, uint16_t sport, uint16_t dport)
{
	struct fg_flow_v4 v4 = {.sport = htons(sport), .dport = htons(dport), .kind = FG_FLOW_V4};
	struct fg_flow_v6 v6 = {.sport = htons(sport), .dport = htons(dport), .kind = FG_FLOW_V6};

	if (inet_pton(AF_INET, from, &v4.saddr) == 1) {
		inet_pton(AF_INET, to, &v4.daddr);
		return fx_flow_hash(&v4, sizeof(v4));
	}
	inet_pton(AF_INET6, from, v6.saddr);
	inet_pton(AF_INET6, to, v6.daddr);
	return fx_flow_hash(&v6, sizeof(v6));
}

static void check_steered(const char *from, const char *to, uint16_t dport, int listener)
{
	bool seen[WORKERS] = {false};

	for (uint16_t sport = 1024; sport < 1124; sport++) {
		struct bpf_sk_lookup lookup = context(from, to, sport, dport, IPPROTO_TCP);
		int slot = table_slot(hash_of(from, to, sport, dport));

		seen[slot] = true;
		assert_int_equal(run(lookup, SK_PASS, FG_COUNTER_TCP_STEERED),
				 cookie_of(workers[slot][listener]));
	}
	for (int slot = 0; slot < WORKERS; slot++)
		assert_true(seen[slot]);
}

static void steers_by_the_tuple(void **state)
{
	(void)state;
	check_steered(FX_CLIENT_V4, FX_V4, FX_PORT, 0);
	check_steered(FX_CLIENT_V6, FX_V6, FX_PORT, 1);
}

static void wildcards_by_family(void **state)
{
	(void)state;
	check_steered("192.0.2.7", "192.0.2.1", FX_PORT + 1, 0);
	check_steered("2001:db8::7", "2001:db8::1", FX_PORT + 1, 1);
	/* A listener of [::] alone that is IPV6_V6ONLY: IPv4 is not ours, whoever serves or not. */
	assert_int_equal(run(context("192.0.2.7", "192.0.2.1", 1, FX_PORT + 2, IPPROTO_TCP),
			     SK_PASS, FG_COUNTER_TCP_PASS_OTHER),
			 0);
}

static void passes_what_is_not_ours(void **state)
{
	(void)state;
	assert_int_equal(run(context(FX_CLIENT_V4, FX_V4, 1, FX_PORT + 9, IPPROTO_TCP), SK_PASS,
			     FG_COUNTER_TCP_PASS_OTHER),
			 0);
	assert_int_equal(run(context(FX_CLIENT_V6, "fd00::9", 1, FX_PORT, IPPROTO_TCP), SK_PASS,
			     FG_COUNTER_TCP_PASS_OTHER),
			 0);
	/* UDP is the socket program's. */
	assert_int_equal(run(context(FX_CLIENT_V4, FX_V4, 1, FX_PORT, IPPROTO_UDP), SK_PASS,
			     FG_COUNTER_COUNT),
			 0);
}

static void probes_past_the_dead(void **state)
{
	(void)state;
	fg_steering_set_slot(&fx.steering, 0, FX_GENERATION, FG_SLOT_FREE);
	fg_steering_set_slot(&fx.steering, 1, FX_GENERATION, FG_SLOT_DRAINING);
	for (uint16_t sport = 1; sport < 200; sport++)
		assert_int_equal(run(context(FX_CLIENT_V4, FX_V4, sport, FX_PORT, IPPROTO_TCP),
				     SK_PASS, FG_COUNTER_TCP_STEERED),
				 cookie_of(workers[2][0]));
}

static void nobody_serves(void **state)
{
	struct bpf_sk_lookup lookup = context(FX_CLIENT_V4, FX_V4, 1, FX_PORT, IPPROTO_TCP);

	(void)state;
	for (uint16_t slot = 0; slot < WORKERS; slot++)
		fg_steering_set_slot(&fx.steering, slot, FX_GENERATION, FG_SLOT_RETIRED);
	assert_int_equal(run(lookup, SK_PASS, FG_COUNTER_TCP_DROP_NO_SLOT), cookie_of(sinks[0]));
	lookup = context(FX_CLIENT_V6, FX_V6, 1, FX_PORT, IPPROTO_TCP);
	assert_int_equal(run(lookup, SK_PASS, FG_COUNTER_TCP_DROP_NO_SLOT), cookie_of(sinks[1]));
	/* Were there no sink, the client would be told. */
	shutdown(sinks[1], SHUT_RD);
	assert_int_equal(run(lookup, SK_DROP, FG_COUNTER_TCP_DROP_NO_SLOT), 0);
}

/* The map lets go of a listener that stops to listen; nobody gets its connections then. */
static void a_closed_listener_is_no_target(void **state)
{
	static const uint16_t first[] = {0};

	(void)state;
	fx_flip(&fx, first, 1);
	shutdown(workers[0][0], SHUT_RD);
	assert_int_equal(run(context(FX_CLIENT_V4, FX_V4, 1, FX_PORT, IPPROTO_TCP), SK_PASS,
			     FG_COUNTER_TCP_DROP_NO_SLOT),
			 cookie_of(sinks[0]));
}

static void denied_sources(void **state)
{
	struct sockaddr_storage v4 = fx_address("10.0.0.0", 0), v6 = fx_address("fd00::", 0);
	struct fg_steering_config config = fx_config();

	tear_down(state);
	config.acl_enabled = true;
	open_all(&config);
	assert_int_equal(fg_steering_acl(&fx.steering, &v4, 8, FG_ACL_DENY), 0);
	assert_int_equal(fg_steering_acl(&fx.steering, &v6, 16, FG_ACL_DENY), 0);
	assert_int_equal(run(context(FX_CLIENT_V4, FX_V4, 1, FX_PORT, IPPROTO_TCP), SK_PASS,
			     FG_COUNTER_TCP_DROP_ACL),
			 cookie_of(sinks[0]));
	assert_int_equal(run(context(FX_CLIENT_V6, FX_V6, 1, FX_PORT, IPPROTO_TCP), SK_PASS,
			     FG_COUNTER_TCP_DROP_ACL),
			 cookie_of(sinks[1]));
	run(context("192.0.2.7", FX_V4, 1, FX_PORT, IPPROTO_TCP), SK_PASS, FG_COUNTER_TCP_STEERED);
}

static void checks_what_it_is_given(void **state)
{
	struct sockaddr_storage address = fx_address(FX_V4, 0);
	int udp = socket(AF_INET, SOCK_DGRAM, 0), closed = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(fg_steering_listen_tcp(&fx.steering, &address, 0, 0), -EINVAL);
	address = fx_address(FX_V4, 1);
	assert_int_equal(fg_steering_listen_tcp(&fx.steering, &address, 0, FG_MAX_LISTENERS),
			 -EINVAL);
	assert_int_equal(fg_steering_listen_tcp(&fx.steering, &address, FG_MAX_SERVICES, 0),
			 -EINVAL);
	assert_int_equal(fg_steering_set_tcp(&fx.steering, 0, 0, -1), -EINVAL);
	assert_int_equal(fg_steering_set_tcp(&fx.steering, FG_SINK_ROW + 1, 0, udp), -EINVAL);
	assert_int_equal(fg_steering_set_tcp(&fx.steering, 0, FG_MAX_LISTENERS, udp), -EINVAL);
	assert_int_equal(fg_steering_set_tcp(&fx.steering, 0, 0, closed), -EOPNOTSUPP);
	close(udp);
	close(closed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(steers_by_the_tuple),     TEST(wildcards_by_family),
		TEST(passes_what_is_not_ours), TEST(probes_past_the_dead),
		TEST(nobody_serves),	       TEST(a_closed_listener_is_no_target),
		TEST(denied_sources),	       TEST(checks_what_it_is_given),
	};

	fx_isolate();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
