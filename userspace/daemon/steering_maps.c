#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "userspace/daemon/steering.h"
#include "userspace/daemon/steering_pins.h"

/* 16 network-order bytes as every key has them: IPv4 as ::ffff:a.b.c.d. Returns the family's first
 * prefix bit, or -EINVAL. */
static int key_address(const struct sockaddr_storage *address, uint8_t out[16])
{
	if (address->ss_family == AF_INET) {
		memset(out, 0, 10);
		memset(out + 10, 0xff, 2);
		memcpy(out + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
		return 96;
	}
	if (address->ss_family != AF_INET6)
		return -EINVAL;
	memcpy(out, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
	return 0;
}

static bool is_wildcard(const uint8_t addr[16], int first_bit)
{
	static const uint8_t zero[16];

	return !memcmp(addr + first_bit / 8, zero, 16 - first_bit / 8);
}

/* Puts it in the first row of its probe sequence that is free or holds the same address. */
static int put_service(const struct fg_steering *steering, const struct fg_service *service)
{
	uint32_t row = fg_service_row(service->addr, service->port);

	for (uint32_t probe = 0; probe < FG_SERVICE_PROBES; probe++) {
		uint32_t index = (row + probe) & (FG_SERVICE_ROWS - 1);
		struct fg_service there;
		int err = bpf_map_lookup_elem(steering->services, &index, &there);

		if (err)
			return err;
		if (!there.proto || (!memcmp(there.addr, service->addr, sizeof(there.addr)) &&
				     there.port == service->port && there.proto == service->proto))
			return bpf_map_update_elem(steering->services, &index, service, BPF_ANY);
	}
	return -ENOSPC;
}

static int make_service(const struct sockaddr_storage *address, uint8_t proto, uint16_t service,
			uint16_t listener, struct fg_service *entry)
{
	*entry = (struct fg_service){.service = service, .listener = listener, .proto = proto};
	/* The port stands at the same place in both families. */
	entry->port = ((const struct sockaddr_in *)address)->sin_port;
	if (!entry->port || service >= FG_MAX_SERVICES || listener >= FG_MAX_LISTENERS)
		return -EINVAL;
	return key_address(address, (uint8_t *)entry->addr);
}

int fg_steering_listen(const struct fg_steering *steering, const struct sockaddr_storage *address,
		       uint16_t service, uint16_t listener)
{
	struct fg_service entry;
	int err, first_bit = make_service(address, IPPROTO_UDP, service, listener, &entry);

	if (first_bit < 0)
		return first_bit;
	err = put_service(steering, &entry);
	if (err || is_wildcard((const uint8_t *)entry.addr, first_bit))
		return err;
	entry.port = 0;
	entry.proto = FG_PROTO_ANY;
	return put_service(steering, &entry);
}

int fg_steering_listen_tcp(const struct fg_steering *steering,
			   const struct sockaddr_storage *address, uint16_t service,
			   uint16_t listener)
{
	struct fg_service entry;
	int first_bit = make_service(address, IPPROTO_TCP, service, listener, &entry);

	return first_bit < 0 ? first_bit : put_service(steering, &entry);
}

int fg_steering_acl(const struct fg_steering *steering, const struct sockaddr_storage *address,
		    uint32_t bits, enum fg_acl_action action)
{
	struct fg_acl_key key;
	int first_bit = key_address(address, key.addr);
	uint32_t value = action;

	if (first_bit < 0 || bits > 128U - first_bit)
		return -EINVAL;
	key.prefix_bits = first_bit + bits;
	return bpf_map_update_elem(steering->acl, &key, &value, BPF_ANY);
}

int fg_steering_set_host(const struct fg_steering *steering, const struct fg_host *host)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(steering->host, &zero, host, BPF_ANY);
}

int fg_steering_set_xsk(const struct fg_steering *steering, uint16_t slot, uint32_t queue, int fd)
{
	uint32_t key = slot * FG_MAX_QUEUES + queue;

	if (slot >= FG_MAX_SLOTS || queue >= FG_MAX_QUEUES)
		return -EINVAL;
	return bpf_map_update_elem(steering->xsks, &key, &fd, BPF_ANY);
}

void fg_steering_clear_xsk(const struct fg_steering *steering, uint16_t slot, uint32_t queue)
{
	uint32_t key = slot * FG_MAX_QUEUES + queue;

	bpf_map_delete_elem(steering->xsks, &key);
}

static int set_socket(int map, uint16_t slot, uint32_t listener, int fd)
{
	uint32_t key = slot * FG_MAX_LISTENERS + listener;
	uint64_t value = fd;

	if (slot > FG_SINK_ROW || listener >= FG_MAX_LISTENERS || fd < 0)
		return -EINVAL;
	return bpf_map_update_elem(map, &key, &value, BPF_ANY);
}

int fg_steering_set_udp(const struct fg_steering *steering, uint16_t slot, uint32_t listener,
			int fd)
{
	return set_socket(steering->socks_udp, slot, listener, fd);
}

int fg_steering_set_tcp(const struct fg_steering *steering, uint16_t slot, uint32_t listener,
			int fd)
{
	return set_socket(steering->socks_tcp, slot, listener, fd);
}

int fg_steering_set_slot(const struct fg_steering *steering, uint16_t slot, uint32_t generation,
			 enum fg_slot_state state)
{
	union fg_slot value = {.generation = (uint16_t)generation, .state = (uint16_t)state}, was;
	int err = fg_steering_get_slot(steering, slot, &was);

	if (err)
		return err;
	if (state == FG_SLOT_DRAINING && was.state == state && was.generation == value.generation)
		return 0;
	if (state == FG_SLOT_DRAINING)
		err = fg_steering_now(steering, &value.since);
	if (err)
		return err;
	/* Release: who sees the slot serve also sees the sockets that were put in place for it. */
	__atomic_store_n(&steering->slot_words[slot].word, value.word, __ATOMIC_RELEASE);
	return 0;
}

int fg_steering_get_slot(const struct fg_steering *steering, uint16_t slot, union fg_slot *value)
{
	if (slot >= FG_MAX_SLOTS)
		return -EINVAL;
	value->word = __atomic_load_n(&steering->slot_words[slot].word, __ATOMIC_RELAXED);
	return 0;
}

/* A frozen inner map with the table in it, typed so that bpftool prints its fields. */
static int make_table(const struct fg_steering *steering, const struct fg_table *table)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .btf_fd = steering->btf,
		    .btf_key_type_id = steering->table_key_type,
		    .btf_value_type_id = steering->table_value_type);
	uint32_t zero = 0;
	int err, fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "fg_table", sizeof(zero), sizeof(*table),
				     1, &options);

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(fd, &zero, table, BPF_ANY);
	if (!err)
		err = bpf_map_freeze(fd);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* The pin is for those who look, and for the next control process, which does without: a rollback
 * must not depend on a directory. */
static void pin_table(const struct fg_steering *steering, uint16_t service, int fd)
{
	char path[PATH_MAX];

	if (!fg_pins_ours(steering) ||
	    !fg_pins_table_path(steering->config.pin_dir, service, path, sizeof(path)))
		return;
	unlink(path);
	bpf_obj_pin(fd, path);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

int fg_steering_flip(const struct fg_steering *steering, uint16_t service,
		     const struct fg_table *table, uint64_t *flip_ns, uint64_t *visible_at_ns)
{
	uint32_t key = service;
	uint64_t started;
	int err, fd;

	if (service >= FG_MAX_SERVICES)
		return -EINVAL;
	fd = make_table(steering, table);
	if (fd < 0)
		return fd;
	started = now_ns();
	err = bpf_map_update_elem(steering->live, &key, &fd, BPF_ANY);
	if (flip_ns)
		*flip_ns = now_ns() - started;
	if (visible_at_ns)
		*visible_at_ns = started;
	if (!err)
		pin_table(steering, service, fd);
	close(fd);
	return err;
}

/* An fd of the live table: its pin, if that is the map that `live` names. Getting the map by its id
 * instead would take CAP_SYS_ADMIN. */
static int live_table(const struct fg_steering *steering, uint16_t service)
{
	struct bpf_map_info info = {};
	uint32_t key = service, id, size = sizeof(info);
	char path[PATH_MAX];
	int err, fd;

	if (service >= FG_MAX_SERVICES)
		return -EINVAL;
	if (!fg_pins_table_path(steering->config.pin_dir, service, path, sizeof(path)))
		return -ENAMETOOLONG;
	err = bpf_map_lookup_elem(steering->live, &key, &id);
	if (err)
		return err;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return fd;
	err = bpf_obj_get_info_by_fd(fd, &info, &size);
	if (!err && info.id != id)
		err = -ENOENT;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int fg_steering_table(const struct fg_steering *steering, uint16_t service, struct fg_table *table)
{
	int err, fd = live_table(steering, service);
	uint32_t zero = 0;

	if (fd < 0)
		return fd;
	err = bpf_map_lookup_elem(fd, &zero, table);
	close(fd);
	return err;
}

int fg_steering_fence(const struct fg_steering *steering, uint16_t service)
{
	int err, fd = live_table(steering, service);
	uint32_t key = service;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(steering->live, &key, &fd, BPF_ANY);
	close(fd);
	return err;
}

int fg_steering_now(const struct fg_steering *steering, uint32_t *tick)
{
	uint8_t frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 1);
	int err = bpf_prog_test_run_opts(steering->clock, &options);

	*tick = options.retval;
	return err;
}

int fg_steering_flows(const struct fg_steering *steering, uint32_t flows[FG_MAX_SLOTS])
{
	uint32_t count = 1U << steering->config.buckets_log2, now;
	uint16_t generations[FG_MAX_SLOTS];
	int err = fg_steering_now(steering, &now);

	if (err)
		return err;
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		union fg_slot value = {.word = 0};

		fg_steering_get_slot(steering, slot, &value);
		generations[slot] = value.generation;
		flows[slot] = 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		union fg_bucket bucket = {
			.word = __atomic_load_n(&steering->bucket_words[i].word, __ATOMIC_RELAXED)};

		if (!bucket.generation || bucket.slot >= FG_MAX_SLOTS)
			continue;
		if (generations[bucket.slot] == bucket.generation &&
		    !fg_flow_is_idle(bucket.seen, now, steering->idle_ticks))
			flows[bucket.slot]++;
	}
	return 0;
}

int fg_steering_counters(const struct fg_steering *steering, uint64_t totals[FG_COUNTER_COUNT])
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	uint64_t *values;

	if (cpus < 0)
		return cpus;
	values = calloc(cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (uint32_t counter = 0; counter < FG_COUNTER_COUNT && !err; counter++) {
		totals[counter] = 0;
		err = bpf_map_lookup_elem(steering->counters, &counter, values);
		for (int cpu = 0; cpu < cpus && !err; cpu++)
			totals[counter] += values[cpu];
	}
	free(values);
	return err;
}

const char *fg_counter_name(enum fg_counter counter)
{
	static const char *const names[] = {
#define FG_COUNTER_NAME(name, label, help) [FG_COUNTER_##name] = label,
		FG_COUNTERS(FG_COUNTER_NAME)
#undef FG_COUNTER_NAME
	};

	return (unsigned int)counter < FG_COUNTER_COUNT ? names[counter] : "?";
}

const char *fg_counter_help(enum fg_counter counter)
{
	static const char *const helps[] = {
#define FG_COUNTER_HELP(name, label, help) [FG_COUNTER_##name] = help,
		FG_COUNTERS(FG_COUNTER_HELP)
#undef FG_COUNTER_HELP
	};

	return (unsigned int)counter < FG_COUNTER_COUNT ? helps[counter] : "?";
}
