/* User space's side: open and close, pins, flip, fence, counters, attach; and what goes wrong. */
#include "tests/bpf/fixture.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct fx fx;

static int set_up(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	fx_open(&fx, &config);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fx_close(&fx);
	return 0;
}

static int pin(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", fx.steering.config.pin_dir, name);
	return bpf_obj_get(path);
}

/* ---- open ------------------------------------------------------------------------------ */

static void open_expect(const struct fg_steering_config *config, int err, const char *text)
{
	struct fg_error error = {""};
	struct fg_steering steering;

	assert_int_equal(fg_steering_open(&steering, config, &error), err);
	if (!strstr(error.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, error.text);
	fg_steering_close(&steering); /* harmless */
}

static void bad_configurations(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	config.buckets_log2 = 9;
	open_expect(&config, -EINVAL, "buckets_log2 is 9");
	config.buckets_log2 = 25;
	open_expect(&config, -EINVAL, "buckets_log2 is 25");
	config = fx_config();
	config.flow_idle_ms = 0;
	open_expect(&config, -EINVAL, "flow_idle_ms is 0");
}

static void bad_pin_dirs(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	snprintf(config.pin_dir, sizeof(config.pin_dir), "relative");
	open_expect(&config, -EINVAL, "not an absolute path");
	snprintf(config.pin_dir, sizeof(config.pin_dir), "/tmp/fgt-no-bpffs-%d", getpid());
	open_expect(&config, -EINVAL, "not on a bpffs");
	rmdir(config.pin_dir);
	snprintf(config.pin_dir, sizeof(config.pin_dir), "/sys/fs/bpf/a.b");
	open_expect(&config, -EPERM, "no '.' in names");
}

static void one_keeper_per_directory(void **state)
{
	struct fg_steering_config config = fx.steering.config;
	int fd;

	(void)state;
	open_expect(&config, -EBUSY, "in use");
	fd = pin("slots"); /* and the living keeper's pins are untouched */
	assert_true(fd >= 0);
	close(fd);
}

static void pins_of_a_dead_keeper_are_cleared(void **state)
{
	struct fg_steering_config config = fx_config();
	struct fx dead;
	int status;
	pid_t pid;

	(void)state;
	snprintf(config.pin_dir, sizeof(config.pin_dir), "/sys/fs/bpf/fgt-dead-%d", getpid());
	pid = fork();
	if (!pid) {
		fx_open(&dead, &config);
		_exit(0); /* without a word */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(access(config.pin_dir, F_OK), 0);
	fx_open(&dead, &config);
	fx_close(&dead);
	assert_int_equal(access(config.pin_dir, F_OK), -1);
}

static void bpffs_is_mounted_where_there_is_none(void **state)
{
	struct fg_steering_config config = fx_config();
	struct fg_error error = {""};
	struct fg_steering steering;

	(void)state;
	assert_int_equal(umount("/sys/fs/bpf"), 0);
	if (fg_steering_open(&steering, &config, &error))
		fail_msg("%s", error.text);
	fg_steering_close(&steering);
	assert_int_equal(umount("/sys/fs/bpf"), 0);
	fx_must(!mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), "mount a bpffs");
}

/* Keeps only the capabilities in `mask`. */
static void keep_capabilities(uint64_t mask)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = mask, .permitted = mask},
		{.effective = mask >> 32, .permitted = mask >> 32},
	};

	fx_must(!syscall(SYS_capset, &header, data), "capset");
}

#define CAP(name) (1ULL << CAP_##name)

/* In a child that has only these capabilities: 0 and all functions work, or the text. */
static void open_with(uint64_t capabilities, const char *text)
{
	struct fg_steering_config config = fx_config();
	static const uint16_t slots[] = {0};
	uint32_t flows[FG_MAX_SLOTS];
	int status;
	pid_t pid;

	snprintf(config.pin_dir, sizeof(config.pin_dir), "/sys/fs/bpf/fgt-caps-%d", getpid());
	pid = fork();
	if (!pid) {
		keep_capabilities(capabilities);
		if (text) {
			open_expect(&config, -EPERM, text);
			_exit(0);
		}
		fx_open(&fx, &config);
		fx_flip(&fx, slots, 1);
		fx_flip(&fx, slots, 1);
		assert_int_equal(fg_steering_flows(&fx.steering, flows), 0);
		assert_int_equal(fg_steering_fence(&fx.steering, 0), 0);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void missing_capabilities_are_named(void **state)
{
	(void)state;
	open_with(0, "CAP_BPF is missing");
	open_with(CAP(BPF), "CAP_PERFMON is missing");
	open_with(CAP(BPF) | CAP(PERFMON), "CAP_NET_ADMIN is missing");
	open_with(CAP(BPF) | CAP(PERFMON) | CAP(NET_ADMIN), NULL);
}

static void closing_twice(void **state)
{
	struct fg_steering zero = {};

	(void)state;
	fg_steering_close(&zero);
	fg_steering_close(&fx.steering);
	fg_steering_close(&fx.steering);
}

/* ---- maps ------------------------------------------------------------------------------ */

static void all_maps_are_pinned(void **state)
{
	static const char *const names[] = {"live",	 "services", "slots", "xsks",
					    "socks_udp", "buckets",  "acl",   "counters"};
	char dir[256];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct bpf_map_info info = {};
		uint32_t size = sizeof(info);
		int fd = pin(names[i]);

		assert_true(fd >= 0);
		assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
		assert_string_equal(info.name, names[i]);
		close(fd);
	}
	snprintf(dir, sizeof(dir), "%s", fx.steering.config.pin_dir);
	fg_steering_close(&fx.steering);
	assert_int_equal(access(dir, F_OK), -1);
}

static void tables_come_back(void **state)
{
	static const uint16_t slots[] = {3, 4};
	struct fg_table table, got;
	uint64_t flip_ns = 0, at_ns = 0;

	(void)state;
	for (uint16_t service = 0; service < FG_MAX_SERVICES; service += 5) {
		assert_int_equal(fg_steering_table(&fx.steering, service, &got), -ENOENT);
		assert_int_equal(fg_steering_fence(&fx.steering, service), -ENOENT);
		for (uint32_t serial = 1; serial <= 3; serial++) {
			fg_maglev_build(&table, serial, service, slots, 2);
			assert_int_equal(fg_steering_flip(&fx.steering, service, &table, &flip_ns,
							  &at_ns),
					 0);
			assert_int_equal(fg_steering_table(&fx.steering, service, &got), 0);
			assert_memory_equal(&got, &table, sizeof(table));
		}
		assert_int_equal(fg_steering_fence(&fx.steering, service), 0);
		assert_int_equal(fg_steering_table(&fx.steering, service, &got), 0);
	}
	assert_int_not_equal(flip_ns, 0);
	assert_int_not_equal(at_ns, 0);
	assert_int_equal(fg_steering_flip(&fx.steering, FG_MAX_SERVICES, &table, NULL, NULL),
			 -EINVAL);
	assert_int_equal(fg_steering_table(&fx.steering, FG_MAX_SERVICES, &got), -EINVAL);
}

/* What is live cannot be edited, by us or with bpftool. */
static void live_table_is_frozen(void **state)
{
	static const uint16_t slots[] = {0};
	struct fg_table table = {};
	uint32_t zero = 0;
	int fd;

	(void)state;
	fx_flip(&fx, slots, 1);
	fd = pin("table-0");
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_update_elem(fd, &zero, &table, BPF_ANY), -EPERM);
	close(fd);
}

static void remove_pin_dir(void)
{
	static const char *const names[] = {"live",	 "services",  "slots",	 "xsks",
					    "socks_udp", "socks_tcp", "buckets", "acl",
					    "host",	 "counters",  "table-0"};
	const char *dir = fx.steering.config.pin_dir;
	char path[512];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

static uint32_t live_id(void)
{
	uint32_t key = 0, id = 0;

	assert_int_equal(bpf_map_lookup_elem(fx.steering.live, &key, &id), 0);
	return id;
}

/* A rollback must not wait for somebody to make a directory. */
static void flips_need_no_pins(void **state)
{
	static const uint16_t slots[] = {0};
	struct fg_error error = {""};
	struct fg_steering second;
	struct fg_table got;
	uint32_t before;
	int fd;

	(void)state;
	fx_flip(&fx, slots, 1);
	remove_pin_dir();
	before = live_id();
	fx_flip(&fx, slots, 1);
	assert_int_not_equal(live_id(), before);
	assert_int_equal(fg_steering_table(&fx.steering, 0, &got), -ENOENT);
	assert_int_equal(fg_steering_fence(&fx.steering, 0), -ENOENT);
	/* The keeper makes it again, and holds it against others. */
	assert_int_equal(fg_steering_keep_pins(&fx.steering, &error), 1);
	assert_int_equal(fg_steering_keep_pins(&fx.steering, &error), 0);
	fd = pin("slots");
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(fg_steering_open(&second, &fx.steering.config, &error), -EBUSY);
	fx_flip(&fx, slots, 1);
	assert_int_equal(fg_steering_table(&fx.steering, 0, &got), 0);
	assert_int_equal(fg_steering_fence(&fx.steering, 0), 0);
}

/* Control died between the update and the pin: nobody knows the live table, a flip heals. */
static void half_a_flip(void **state)
{
	static const uint16_t slots[] = {0};
	struct fg_table got;
	char path[512];
	int fd;

	(void)state;
	fx_flip(&fx, slots, 1);
	snprintf(path, sizeof(path), "%s/table-0", fx.steering.config.pin_dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(fg_steering_table(&fx.steering, 0, &got), -ENOENT);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, 4, sizeof(got), 1, NULL);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);
	assert_int_equal(fg_steering_table(&fx.steering, 0, &got), -ENOENT);
	assert_int_equal(fg_steering_fence(&fx.steering, 0), -ENOENT);
	fx_flip(&fx, slots, 1);
	assert_int_equal(fg_steering_table(&fx.steering, 0, &got), 0);
	assert_int_equal(fg_steering_fence(&fx.steering, 0), 0);
}

static void slots_hold_what_is_set(void **state)
{
	union fg_slot value;
	uint32_t key = 63, since;

	(void)state;
	assert_int_equal(fg_steering_set_slot(&fx.steering, 63, 0x10002, FG_SLOT_DRAINING), 0);
	assert_int_equal(fg_steering_get_slot(&fx.steering, 63, &value), 0);
	assert_int_equal(value.generation, 2);
	assert_int_equal(value.state, FG_SLOT_DRAINING);
	value.word = 0;
	assert_int_equal(bpf_map_lookup_elem(fx.steering.slots, &key, &value), 0);
	assert_int_equal(value.generation, 2);
	assert_int_equal(value.state, FG_SLOT_DRAINING);
	assert_in_range(fx_now(&fx) - value.since, 0, 1000);
	since = value.since;
	while (fx_now(&fx) == since)
		;
	assert_int_equal(fg_steering_set_slot(&fx.steering, 63, 2, FG_SLOT_DRAINING), 0);
	assert_int_equal(fg_steering_get_slot(&fx.steering, 63, &value), 0);
	assert_int_equal(value.since, since);
	assert_int_equal(fg_steering_set_slot(&fx.steering, 63, 2, FG_SLOT_RETIRED), 0);
	assert_int_equal(fg_steering_get_slot(&fx.steering, 63, &value), 0);
	assert_int_equal(value.since, 0);
	assert_int_equal(fg_steering_set_slot(&fx.steering, FG_MAX_SLOTS, 1, FG_SLOT_FREE),
			 -EINVAL);
	assert_int_equal(fg_steering_get_slot(&fx.steering, FG_MAX_SLOTS, &value), -EINVAL);
}

static void flows_are_counted_by_slot(void **state)
{
	uint32_t flows[FG_MAX_SLOTS], now = fx_now(&fx), idle = fx.steering.idle_ticks;
	const union fg_bucket buckets[] = {
		{.slot = 1, .generation = 1, .seen = now},
		{.slot = 1, .generation = 1, .seen = now - idle + 1000},
		{.slot = 1, .generation = 1, .seen = now - idle}, /* idle */
		{.slot = 1, .generation = 2, .seen = now},	  /* another generation's */
		{.slot = 2, .generation = 1, .seen = now},	  /* nobody stands there */
		{.slot = 63, .generation = 7, .seen = now},
		{.slot = FG_MAX_SLOTS, .generation = 1, .seen = now}, /* no such slot */
		{.word = 0},
	};

	(void)state;
	fg_steering_set_slot(&fx.steering, 1, 1, FG_SLOT_DRAINING);
	fg_steering_set_slot(&fx.steering, 63, 7, FG_SLOT_SERVING);
	for (uint32_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++)
		fx_set_bucket(&fx, i * 97, buckets[i]);
	assert_int_equal(fg_steering_flows(&fx.steering, flows), 0);
	for (int slot = 0; slot < FG_MAX_SLOTS; slot++)
		assert_int_equal(flows[slot], slot == 1 ? 2 : slot == 63 ? 1 : 0);
}

/* The tick advances with the clock, by the number that flow_idle is converted with. */
static void ticks_are_the_kernels(void **state)
{
	struct timespec before, after, wait = {.tv_nsec = 300 * 1000 * 1000};
	double ms, tick_ms = (double)FX_IDLE_MS / fx.steering.idle_ticks;
	uint32_t begin, end;

	(void)state;
	begin = fx_now(&fx);
	clock_gettime(CLOCK_MONOTONIC, &before);
	nanosleep(&wait, NULL);
	end = fx_now(&fx);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6;
	print_message("# %u ticks of %.2f ms in %.1f ms\n", end - begin, tick_ms, ms);
	assert_true((end - begin) * tick_ms < ms + 2 * tick_ms);
	assert_true((end - begin) * tick_ms > ms - 2 * tick_ms - 20);
}

/* ---- addresses ------------------------------------------------------------------------- */

static void bad_addresses(void **state)
{
	struct sockaddr_storage address = fx_address("10.0.0.9", 0);

	(void)state;
	assert_int_equal(fg_steering_listen(&fx.steering, &address, 0, 0), -EINVAL);
	address = fx_address("10.0.0.9", 1);
	assert_int_equal(fg_steering_listen(&fx.steering, &address, FG_MAX_SERVICES, 0), -EINVAL);
	assert_int_equal(fg_steering_listen(&fx.steering, &address, 0, FG_MAX_LISTENERS), -EINVAL);
	assert_int_equal(fg_steering_acl(&fx.steering, &address, 33, FG_ACL_DENY), -EINVAL);
	assert_int_equal(fg_steering_acl(&fx.steering, &address, 32, FG_ACL_DENY), 0);
	address.ss_family = AF_UNIX;
	assert_int_equal(fg_steering_listen(&fx.steering, &address, 0, 0), -EINVAL);
	assert_int_equal(fg_steering_acl(&fx.steering, &address, 0, FG_ACL_DENY), -EINVAL);
	address = fx_address("::1", 1);
	assert_int_equal(fg_steering_acl(&fx.steering, &address, 129, FG_ACL_DENY), -EINVAL);
}

/* As many addresses as all services can have, at random; each is found again. */
static void every_address_is_found(void **state)
{
	const uint32_t count = FG_MAX_SERVICES * FG_MAX_LISTENERS;
	static const uint16_t slots[] = {0};
	uint32_t random = 1;

	(void)state;
	fx_worker(&fx, 0, FX_GENERATION);
	fx_flip(&fx, slots, 1);
	for (uint32_t i = 0; i < count; i++) {
		struct fx_flow flow = {.v6 = i % 3 == 2};
		struct fx_packet packet = fx_request(&flow);
		struct sockaddr_storage address = {};
		uint8_t *daddr = packet.bytes + packet.udp - (flow.v6 ? 16 : 4);

		random = random * 1664525 + 1013904223;
		memcpy(daddr, &random, 4);
		daddr[0] = flow.v6 ? 0xfd : 10;
		fx_put16(packet.bytes + packet.udp + 2, 1 + (random >> 16));
		address.ss_family = flow.v6 ? AF_INET6 : AF_INET;
		if (flow.v6)
			memcpy(&((struct sockaddr_in6 *)&address)->sin6_addr, daddr, 16);
		else
			memcpy(&((struct sockaddr_in *)&address)->sin_addr, daddr, 4);
		((struct sockaddr_in *)&address)->sin_port = htons(1 + (random >> 16));
		fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
		assert_int_equal(fg_steering_listen(&fx.steering, &address, 0, 0), 0);
		fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	}
}

/* Addresses that all begin at one row: after the last probe there is no room, and it is said. */
static void full_rows_are_refused(void **state)
{
	uint32_t addr[4] = {0, 0, htonl(0xffff), 0}, wanted = 17, put = 0;
	int err = 0;

	(void)state;
	for (uint32_t i = 1; i < 1 << 22 && !err; i++) {
		struct sockaddr_storage address = {.ss_family = AF_INET};

		addr[3] = htonl(0x0b000000 + i);
		if (fg_service_row(addr, htons(5)) != wanted)
			continue;
		memcpy(&((struct sockaddr_in *)&address)->sin_addr, &addr[3], 4);
		((struct sockaddr_in *)&address)->sin_port = htons(5);
		err = fg_steering_listen(&fx.steering, &address, 0, 0);
		put += !err;
	}
	assert_int_equal(err, -ENOSPC);
	assert_in_range(put, FG_SERVICE_PROBES / 2, FG_SERVICE_PROBES);
}

/* ---- sockets and attach ---------------------------------------------------------------- */

static void sockets_must_fit(void **state)
{
	struct sockaddr_storage address = fx_address("127.0.0.1", 7000);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	(void)state;
	assert_int_equal(fg_steering_set_udp(&fx.steering, 0, 0, -1), -EINVAL);
	assert_int_equal(fg_steering_set_udp(&fx.steering, FG_MAX_SLOTS, 0, fd), -EINVAL);
	assert_int_equal(fg_steering_set_udp(&fx.steering, 0, FG_MAX_LISTENERS, fd), -EINVAL);
	assert_int_equal(fg_steering_set_udp(&fx.steering, 0, 0, fd), -EINVAL); /* not bound */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(fg_steering_set_udp(&fx.steering, 0, 0, fd), 0);
	assert_int_equal(fg_steering_set_udp(&fx.steering, 1, 0, fd), -EBUSY);
	assert_int_not_equal(fg_steering_set_xsk(&fx.steering, 0, 0, fd), 0); /* not AF_XDP */
	assert_int_equal(fg_steering_set_xsk(&fx.steering, FG_MAX_SLOTS, 0, fd), -EINVAL);
	assert_int_equal(fg_steering_set_xsk(&fx.steering, 0, FG_MAX_QUEUES, fd), -EINVAL);
	close(fd);
}

static void attach_expect(int ifindex, bool native, int err, const char *text)
{
	struct fg_error error = {""};

	assert_int_equal(fg_steering_attach(&fx.steering, ifindex, native, &error), err);
	if (!strstr(error.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, error.text);
}

static void attach_errors(void **state)
{
	struct fg_steering_config config = fx_config();
	int lo = if_nametoindex("lo");
	struct fx other;

	(void)state;
	attach_expect(9999, true, -ENODEV, "no interface has index 9999");
	attach_expect(lo, true, -EOPNOTSUPP, "lo: its driver has no native XDP");
	snprintf(config.pin_dir, sizeof(config.pin_dir), "/sys/fs/bpf/fgt-other-%d", getpid());
	fx_open(&other, &config);
	assert_int_equal(fg_steering_attach(&other.steering, lo, false, NULL), 0);
	attach_expect(lo, false, -EBUSY, "lo already runs XDP program id");
	attach_expect(lo, false, -EBUSY, "(fg_ingress)");
	fx_close(&other); /* detaches */
	attach_expect(lo, false, 0, "");
	attach_expect(lo, false, -EALREADY, "already attached");
}

static void counters_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < FG_COUNTER_COUNT; i++) {
		assert_string_not_equal(fg_counter_name(i), "?");
		assert_true(strlen(fg_counter_help(i)) > 10);
	}
	assert_string_equal(fg_counter_name(FG_COUNTER_XDP_STEERED), "xdp_steered");
	assert_string_equal(fg_counter_name(FG_COUNTER_COUNT), "?");
	assert_string_equal(fg_counter_help(FG_COUNTER_COUNT), "?");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_configurations),
		cmocka_unit_test(bad_pin_dirs),
		TEST(one_keeper_per_directory),
		cmocka_unit_test(pins_of_a_dead_keeper_are_cleared),
		cmocka_unit_test(bpffs_is_mounted_where_there_is_none),
		cmocka_unit_test(missing_capabilities_are_named),
		TEST(closing_twice),
		TEST(all_maps_are_pinned),
		TEST(flips_need_no_pins),
		TEST(tables_come_back),
		TEST(live_table_is_frozen),
		TEST(half_a_flip),
		TEST(slots_hold_what_is_set),
		TEST(flows_are_counted_by_slot),
		TEST(ticks_are_the_kernels),
		TEST(bad_addresses),
		TEST(every_address_is_found),
		TEST(full_rows_are_refused),
		TEST(sockets_must_fit),
		TEST(attach_errors),
		TEST(counters_have_names),
	};

	fx_isolate();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
