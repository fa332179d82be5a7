#include "userspace/daemon/steering.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "ingress.skel.h"
#include "lookup.skel.h"
#include "socket.skel.h"
#include "userspace/daemon/steering_pins.h"

/* The first warning of a libbpf call names the cause, those after it the callers. libbpf's printer
 * has no context argument, so this is static. */
static char warning[160];

__attribute__((format(printf, 2, 0))) static int
keep_first_warning(enum libbpf_print_level level, const char *format, va_list args)
{
	static const char prefix[] = "libbpf: ";

	if (level != LIBBPF_WARN || warning[0])
		return 0;
	if (!strncmp(format, prefix, sizeof(prefix) - 1))
		format += sizeof(prefix) - 1;
	vsnprintf(warning, sizeof(warning), format, args);
	warning[strcspn(warning, "\n")] = '\0';
	return 0;
}

static const char *missing_capability(void)
{
	if (capng_get_caps_process())
		return NULL;
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
		return NULL;
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_BPF))
		return "CAP_BPF";
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_PERFMON))
		return "CAP_PERFMON";
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN))
		return "CAP_NET_ADMIN";
	return NULL;
}

/* One line from what libbpf and the kernel said. */
static int explain_load(struct fg_error *error, int err, const char *what)
{
	const char *capability = missing_capability();

	if ((err == -EPERM || err == -EACCES) && capability)
		return fg_error_set(error, err, "cannot load %s: %s is missing", what, capability);
	if (err == -EPERM)
		return fg_error_set(
			error, err,
			"cannot load %s: not permitted, though the capabilities are there: a "
			"security module, or RLIMIT_MEMLOCK on a kernel before 5.11 (%s)",
			what, warning);
	if (err == -ENOSYS)
		return fg_error_set(
			error, err,
			"cannot load %s: this kernel is built without CONFIG_BPF_SYSCALL", what);
	return fg_error_set(error, err,
			    "cannot load %s: %s (%s); Linux 6.1 or later with CONFIG_BPF_JIT and "
			    "CONFIG_XDP_SOCKETS is needed",
			    what, strerror(-err), warning[0] ? warning : "no more is known");
}

/* The coarse clock advances once per tick, so its resolution is the tick. */
static uint32_t ticks_from_ms(uint32_t ms)
{
	struct timespec tick;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_nsec <= 0)
		tick.tv_nsec = 1000000;
	return (ms * 1000000ULL + tick.tv_nsec - 1) / tick.tv_nsec;
}

static struct fg_bpf_config bpf_config(const struct fg_steering *steering)
{
	return (struct fg_bpf_config){
		.buckets_mask = (1U << steering->config.buckets_log2) - 1,
		.idle_ticks = steering->idle_ticks,
		.acl_enabled = steering->config.acl_enabled,
		.hash_key = {steering->config.hash_key[0], steering->config.hash_key[1]},
	};
}

/* A table is typed, so that bpftool prints its fields. */
static void find_table_types(struct fg_steering *steering)
{
	const struct btf *btf = bpf_object__btf(steering->ingress->obj);

	steering->btf = bpf_object__btf_fd(steering->ingress->obj);
	steering->table_key_type = btf__find_by_name(btf, "unsigned int");
	steering->table_value_type = btf__find_by_name_kind(btf, "fg_table", BTF_KIND_STRUCT);
}

static int load_ingress(struct fg_steering *steering, struct fg_error *error)
{
	struct ingress_bpf *ingress;
	int err;

	warning[0] = '\0';
	ingress = ingress_bpf__open();
	if (!ingress)
		return explain_load(error, -errno, "the XDP program");
	steering->ingress = ingress;
	*(struct fg_bpf_config *)&ingress->rodata->fg_config = bpf_config(steering);
	err = bpf_map__set_max_entries(ingress->maps.buckets, 1U << steering->config.buckets_log2);
	/* Not mapped, so that no child inherits a mapping that it could write to. */
	if (!err)
		err = bpf_map__set_map_flags(ingress->maps.bss, 0);
	if (!err)
		err = ingress_bpf__load(ingress);
	if (err)
		return explain_load(error, err, "the XDP program");
	steering->live = bpf_map__fd(ingress->maps.live);
	steering->services = bpf_map__fd(ingress->maps.services);
	steering->slots = bpf_map__fd(ingress->maps.slots);
	steering->xsks = bpf_map__fd(ingress->maps.xsks);
	steering->socks_udp = bpf_map__fd(ingress->maps.socks_udp);
	steering->socks_tcp = bpf_map__fd(ingress->maps.socks_tcp);
	steering->buckets = bpf_map__fd(ingress->maps.buckets);
	steering->acl = bpf_map__fd(ingress->maps.acl);
	steering->counters = bpf_map__fd(ingress->maps.counters);
	steering->host = bpf_map__fd(ingress->maps.bss);
	steering->clock = bpf_program__fd(ingress->progs.fg_clock);
	find_table_types(steering);
	return 0;
}

/* Gives each map of `object` the ingress object's map of the same name. */
static int share_maps(const struct fg_steering *steering, const struct bpf_object *object)
{
	struct bpf_map *map, *shared;
	int err;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__is_internal(map)) /* .rodata */
			continue;
		shared = bpf_object__find_map_by_name(steering->ingress->obj, bpf_map__name(map));
		if (!shared)
			return -ENOENT;
		err = bpf_map__reuse_fd(map, bpf_map__fd(shared));
		if (err)
			return err;
	}
	return 0;
}

static int load_socket(struct fg_steering *steering, struct fg_error *error)
{
	int err;

	warning[0] = '\0';
	steering->socket = socket_bpf__open();
	if (!steering->socket)
		return explain_load(error, -errno, "the socket program");
	*(struct fg_bpf_config *)&steering->socket->rodata->fg_config = bpf_config(steering);
	err = share_maps(steering, steering->socket->obj);
	if (!err)
		err = socket_bpf__load(steering->socket);
	if (err)
		return explain_load(error, err, "the socket program");
	steering->reuseport = bpf_program__fd(steering->socket->progs.fg_socket);
	return 0;
}

int fg_steering_load_tcp(struct fg_steering *steering, struct fg_error *error)
{
	int err;

	warning[0] = '\0';
	steering->lookup = lookup_bpf__open();
	if (!steering->lookup)
		return explain_load(error, -errno, "the programs for TCP");
	*(struct fg_bpf_config *)&steering->lookup->rodata->fg_config = bpf_config(steering);
	err = share_maps(steering, steering->lookup->obj);
	if (!err)
		err = lookup_bpf__load(steering->lookup);
	if (err)
		return explain_load(error, err, "the programs for TCP");
	steering->migrate = bpf_program__fd(steering->lookup->progs.fg_migrate);
	return 0;
}

static size_t bucket_bytes(const struct fg_steering *steering)
{
	return sizeof(union fg_bucket) << steering->config.buckets_log2;
}

int fg_steering_map(struct fg_steering *steering, struct fg_error *error)
{
	void *at = mmap(NULL, bucket_bytes(steering), PROT_READ, MAP_SHARED, steering->buckets, 0);

	if (at != MAP_FAILED) {
		steering->bucket_words = at;
		at = mmap(NULL, FG_MAX_SLOTS * sizeof(union fg_slot), PROT_READ | PROT_WRITE,
			  MAP_SHARED, steering->slots, 0);
	}
	if (at == MAP_FAILED)
		return fg_error_set(error, -errno, "cannot mmap the BPF maps: %s", strerror(errno));
	steering->slot_words = at;
	return 0;
}

static int check_config(const struct fg_steering_config *config, struct fg_error *error)
{
	if (config->buckets_log2 < 10 || config->buckets_log2 > 24)
		return fg_error_set(error, -EINVAL, "buckets_log2 is %u: give 10 to 24",
				    config->buckets_log2);
	if (config->flow_idle_ms < 1 || config->flow_idle_ms > 1U << 30)
		return fg_error_set(error, -EINVAL, "flow_idle_ms is %u: give 1 to 2^30",
				    config->flow_idle_ms);
	return 0;
}

int fg_steering_open(struct fg_steering *steering, const struct fg_steering_config *config,
		     struct fg_error *error)
{
	int err = check_config(config, error), pins = -1;

	memset(steering, 0, sizeof(*steering));
	if (err)
		return err;
	if (!config->pins_later)
		pins = fg_pins_open(config->pin_dir, error);
	if (pins < 0 && !config->pins_later)
		return pins;
	steering->config = *config;
	steering->idle_ticks = ticks_from_ms(config->flow_idle_ms);
	steering->pins = pins;
	steering->link = steering->lookup_link = steering->migrate = -1;
	libbpf_set_print(keep_first_warning);
	err = load_ingress(steering, error);
	if (!err)
		err = load_socket(steering, error);
	if (!err)
		err = fg_steering_map(steering, error);
	if (!err && pins >= 0)
		err = fg_pins_add(steering, error);
	if (err)
		fg_steering_close(steering);
	return err;
}

int fg_steering_keep_pins(struct fg_steering *steering, struct fg_error *error)
{
	int pins, err;

	if (fg_pins_there(steering->config.pin_dir, steering->pins))
		return 0;
	pins = fg_pins_open(steering->config.pin_dir, error);
	if (pins < 0)
		return pins;
	if (steering->pins >= 0)
		close(steering->pins);
	steering->pins = pins;
	err = fg_pins_add(steering, error);
	return err ? err : 1;
}

void fg_steering_unmap(struct fg_steering *steering)
{
	if (steering->slot_words)
		munmap(steering->slot_words, FG_MAX_SLOTS * sizeof(union fg_slot));
	if (steering->bucket_words)
		munmap((void *)steering->bucket_words, bucket_bytes(steering));
	steering->slot_words = NULL;
	steering->bucket_words = NULL;
}

void fg_steering_close(struct fg_steering *steering)
{
	if (!steering->config.buckets_log2) /* never opened */
		return;
	fg_steering_detach(steering);
	if (steering->lookup_link >= 0)
		close(steering->lookup_link);
	fg_steering_unmap(steering);
	lookup_bpf__destroy(steering->lookup);
	socket_bpf__destroy(steering->socket);
	ingress_bpf__destroy(steering->ingress);
	if (steering->pins >= 0) {
		fg_pins_remove(steering->config.pin_dir);
		close(steering->pins);
	}
	memset(steering, 0, sizeof(*steering));
}

/* Somebody else's program is on the interface: say whose. */
static int explain_busy(struct fg_error *error, int ifindex, const char *name)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info), id = 0;
	int fd = -1;

	if (!bpf_xdp_query(ifindex, 0, &query))
		id = query.drv_prog_id	 ? query.drv_prog_id
		     : query.skb_prog_id ? query.skb_prog_id
					 : query.hw_prog_id;
	if (id)
		fd = bpf_prog_get_fd_by_id(id);
	if (fd >= 0) {
		bpf_obj_get_info_by_fd(fd, &info, &size);
		close(fd);
	}
	return fg_error_set(
		error, -EBUSY,
		"interface %s already runs XDP program id %u (%s): detach it (`ip link "
		"set dev %s xdp off`; where a bpf_link holds it, `bpftool link`), or use "
		"mode sockets",
		name, id, info.name[0] ? info.name : "name unknown", name);
}

int fg_steering_attach(struct fg_steering *steering, int ifindex, bool native,
		       struct fg_error *error)
{
	LIBBPF_OPTS(bpf_link_create_opts, options,
		    .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	char name[IF_NAMESIZE] = "";
	int link;

	if (!if_indextoname(ifindex, name))
		return fg_error_set(error, -ENODEV, "no interface has index %d", ifindex);
	if (steering->link >= 0)
		return fg_error_set(error, -EALREADY, "interface %s: already attached", name);
	link = bpf_link_create(bpf_program__fd(steering->ingress->progs.fg_ingress), ifindex,
			       BPF_XDP, &options);
	if (link == -EBUSY || link == -EEXIST)
		return explain_busy(error, ifindex, name);
	if (link == -EOPNOTSUPP && native)
		return fg_error_set(error, link, "interface %s: its driver has no native XDP",
				    name);
	if (link == -EPERM)
		return fg_error_set(error, link, "interface %s: CAP_NET_ADMIN is missing", name);
	if (link < 0)
		return fg_error_set(error, link, "interface %s: %s XDP refused: %s%s", name,
				    native ? "native" : "generic", strerror(-link),
				    native ? " (too large an MTU, LRO, or too few queues?)" : "");
	steering->link = link;
	return 0;
}

int fg_steering_take(struct fg_steering *steering, int link, bool *native)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	int err = bpf_obj_get_info_by_fd(link, &info, &size);

	if (!err)
		err = bpf_xdp_query((int)info.xdp.ifindex, 0, &query);
	if (!err)
		err = bpf_link_update(link, bpf_program__fd(steering->ingress->progs.fg_ingress),
				      NULL);
	if (err)
		return err;
	*native = query.attach_mode == XDP_ATTACHED_DRV;
	steering->link = link;
	return 0;
}

void fg_steering_detach(struct fg_steering *steering)
{
	if (steering->link >= 0)
		close(steering->link);
	steering->link = -1;
}

int fg_steering_attached_to(const struct fg_steering *steering)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	if (steering->link < 0 || bpf_obj_get_info_by_fd(steering->link, &info, &size))
		return 0;
	return (int)info.xdp.ifindex;
}

int fg_steering_attach_tcp(struct fg_steering *steering, struct fg_error *error)
{
	int link, netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (netns < 0)
		return fg_error_set(error, -errno, "/proc/self/ns/net: %s", strerror(errno));
	link = bpf_link_create(bpf_program__fd(steering->lookup->progs.fg_lookup), netns,
			       BPF_SK_LOOKUP, NULL);
	close(netns);
	if (link < 0)
		return fg_error_set(error, link, "attaching to the network namespace: %s%s",
				    strerror(-link),
				    link == -E2BIG ? " (64 sk_lookup programs are there already: "
						     "bpftool link)"
						   : "");
	steering->lookup_link = link;
	return 0;
}
