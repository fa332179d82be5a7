/*
 * steering.h: user space's side of the BPF maps and programs (bpf/abi.h).
 *
 * The keeper loads and pins everything once (the programs for TCP only if there are TCP listeners).
 * Control inherits the struct by fork and publishes tables; nobody else writes `live`. All
 * functions: process context, no threads. Open needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, attach
 * CAP_NET_ADMIN, the rest CAP_BPF. Errors are -errno with *error where there is one.
 *
 *   file              does
 *   steering.c        load, attach, close
 *   steering_maps.c   read and write the maps, flip
 *   steering_pins.c   the directory of pins
 */
#ifndef FG_DAEMON_STEERING_H
#define FG_DAEMON_STEERING_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "models/error.h"
#include "sched/maglev.h"

/* Fixed at load. */
struct fg_steering_config {
	char pin_dir[256];     /* a directory on bpffs, made and owned by us; removed on close */
	uint32_t buckets_log2; /* 10 .. 24 */
	uint32_t flow_idle_ms; /* 1 .. 2^30 */
	uint64_t hash_key[2];  /* of the flow hash: a secret */
	uint32_t table_seed;   /* of the steering tables */
	bool pins_later; /* another keeper has pin_dir still: fg_steering_keep_pins tries it */
	bool acl_enabled;
};

struct fg_steering {
	struct ingress_bpf *ingress; /* skeletons; they own the map and program fds */
	struct socket_bpf *socket;
	struct lookup_bpf *lookup; /* NULL until fg_steering_load_tcp */
	struct fg_steering_config config;
	int live, services, slots, xsks, socks_udp, socks_tcp, buckets, acl, counters,
		host;  /* map fds */
	int reuseport; /* fd of the sk_reuseport program, for SO_ATTACH_REUSEPORT_EBPF */
	int clock;     /* fd of the program that tells the tick */
	int btf;       /* fd of the types that a table is made of ... */
	uint32_t table_key_type, table_value_type; /* ... and their ids there */
	int migrate;	     /* fd of the program for TCP listeners' groups; -1 until load_tcp */
	int link;	     /* fd of the XDP link, -1 when not attached */
	int lookup_link;     /* fd of the sk_lookup link, likewise */
	int pins;	     /* fd of pin_dir, flock-ed: one keeper per directory; -1: later */
	uint32_t idle_ticks; /* config.flow_idle_ms in kernel ticks, rounded up */
	const union fg_bucket *bucket_words; /* mapped read-only; buckets_log2 says how many */
	union fg_slot *slot_words;	     /* (FG_MAX_SLOTS), mapped */
};

/*
 * Loads both programs over one set of maps and pins the maps under config->pin_dir (mounts a bpffs
 * at /sys/fs/bpf when there is none and pin_dir is below it; clears pins that a dead keeper left).
 * *steering need not be initialised. On failure everything is undone and *steering is zeroed.
 * -EBUSY: a living keeper holds pin_dir.
 */
int fg_steering_open(struct fg_steering *steering, const struct fg_steering_config *config,
		     struct fg_error *error);
/* Detaches, unpins, closes: for the keeper, not for a forked child. Safe on a zeroed struct. */
void fg_steering_close(struct fg_steering *steering);
/* For a child that has no business with the maps: unmaps them. Their fds are the caller's to close.
 */
void fg_steering_unmap(struct fg_steering *steering);
/* Maps them again, from the fds: for a program that took over from another (takeover.h). */
int fg_steering_map(struct fg_steering *steering, struct fg_error *error);

/*
 * Where somebody removed pin_dir, or mounted over it: makes it again, with the lock and all pins
 * but that of the live table, which comes with the next flip. Nothing else depends on the pins.
 * Returns 1 when it did, 0 when all is in place; -errno as fg_steering_open. Keeper only.
 */
int fg_steering_keep_pins(struct fg_steering *steering, struct fg_error *error);

/*
 * Attaches the XDP program to interface `ifindex` by a bpf_link, with driver support (native) or
 * on skbs. -EBUSY: *error names the program that is there already; -EOPNOTSUPP: the driver cannot.
 */
int fg_steering_attach(struct fg_steering *steering, int ifindex, bool native,
		       struct fg_error *error);
/* Makes `link`, another gateway's link to an interface, run our program from now on; no packet
 * meets none. *native says in which mode. `link` becomes the steering's, unless this fails. */
int fg_steering_take(struct fg_steering *steering, int link, bool *native);
/* Takes the XDP program off the interface again; nothing when it is not attached. */
void fg_steering_detach(struct fg_steering *steering);

/* The index of the interface that it is on still; 0: none, because that went, or somebody took it
 * off by force. */
int fg_steering_attached_to(const struct fg_steering *steering);

/* Loads the programs for TCP. For a gateway that has TCP listeners. */
int fg_steering_load_tcp(struct fg_steering *steering, struct fg_error *error);
/*
 * Attaches fg_lookup to this process's network namespace, until fg_steering_close: it runs for
 * every new TCP connection of the namespace, whoever it is for, and overrules those that were
 * attached before. After the addresses are announced.
 */
int fg_steering_attach_tcp(struct fg_steering *steering, struct fg_error *error);

/*
 * Announces a UDP address (IPv4 or IPv6; port in network order) of a service; 0.0.0.0 and :: are
 * wildcards. At any time. An address that is there already gets the new service and listener.
 * -EINVAL: another family, port 0, or an index out of range; -ENOSPC: too many.
 */
int fg_steering_listen(const struct fg_steering *steering, const struct sockaddr_storage *address,
		       uint16_t service, uint16_t listener);
/* The same for a TCP address; listeners are counted by themselves. */
int fg_steering_listen_tcp(const struct fg_steering *steering,
			   const struct sockaddr_storage *address, uint16_t service,
			   uint16_t listener);
/* Adds a prefix; bits counts within the address's own family. */
int fg_steering_acl(const struct fg_steering *steering, const struct sockaddr_storage *address,
		    uint32_t bits, enum fg_acl_action action);

/* What XDP shall know of this host from now on (host.h reads it). Until the first call XDP leaves
 * everything to the stack. */
int fg_steering_set_host(const struct fg_steering *steering, const struct fg_host *host);

/*
 * A worker's sockets, by slot (UDP, TCP: FG_SINK_ROW is for what must get no answer). They leave
 * the map by themselves when their last fd is closed, or when a TCP socket stops listening. set_udp
 * wants a socket that is bound, with SO_REUSEPORT set before that (else -EINVAL), and takes it once
 * only (-EBUSY). set_tcp wants one that listens (else -EOPNOTSUPP).
 */
int fg_steering_set_xsk(const struct fg_steering *steering, uint16_t slot, uint32_t queue, int fd);
void fg_steering_clear_xsk(const struct fg_steering *steering, uint16_t slot, uint32_t queue);
int fg_steering_set_udp(const struct fg_steering *steering, uint16_t slot, uint32_t listener,
			int fd);
int fg_steering_set_tcp(const struct fg_steering *steering, uint16_t slot, uint32_t listener,
			int fd);

/* Writes or reads one element of `slots`. `generation`: the full number, its low 16 bits count.
 * DRAINING begins once. */
int fg_steering_set_slot(const struct fg_steering *steering, uint16_t slot, uint32_t generation,
			 enum fg_slot_state state);
int fg_steering_get_slot(const struct fg_steering *steering, uint16_t slot, union fg_slot *value);

/*
 * The flip: makes a new, frozen inner map of `table`, replaces live[service] by it and pins it as
 * pin_dir/table-SERVICE. When this returns no running program still sees the table before it (the
 * update waits for an RCU grace period). That it could not be pinned is no error: fg_steering_table
 * and fg_steering_fence then say -ENOENT.
 * *flip_ns (may be NULL): time from the call of the one syscall to its return; *visible_at_ns:
 * CLOCK_MONOTONIC just before that call.
 */
int fg_steering_flip(const struct fg_steering *steering, uint16_t service,
		     const struct fg_table *table, uint64_t *flip_ns, uint64_t *visible_at_ns);
/* Copies the table that is live; -ENOENT when the service never had one, or when it has no pin, as
 * where a control process died in the middle of a flip, so that nobody knows: flip again. */
int fg_steering_table(const struct fg_steering *steering, uint16_t service, struct fg_table *table);
/* Waits until no program that ran before the call still runs: puts the live table in again.
 * Errors as fg_steering_table. */
int fg_steering_fence(const struct fg_steering *steering, uint16_t service);

/* *tick: the kernel's tick now, as buckets are stamped with. */
int fg_steering_now(const struct fg_steering *steering, uint32_t *tick);

/*
 * Counts, per slot, the buckets whose flow is on that slot's present generation and not idle:
 * flows[FG_MAX_SLOTS]. Reads all buckets: 2 MiB by default, a tenth of a millisecond.
 */
int fg_steering_flows(const struct fg_steering *steering, uint32_t flows[FG_MAX_SLOTS]);
/* Sums each counter over all CPUs: totals[FG_COUNTER_COUNT]. */
int fg_steering_counters(const struct fg_steering *steering, uint64_t totals[FG_COUNTER_COUNT]);
/* "xdp_steered" and its help. Static strings. */
const char *fg_counter_name(enum fg_counter counter);
const char *fg_counter_help(enum fg_counter counter);

#endif
