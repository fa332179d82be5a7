/*
 * maps.h: the maps of all programs, BTF-typed (bpf/abi.h gives keys and values their meaning).
 *
 * The ingress object creates them; the other objects are given the same ones before load
 * (userspace/daemon/steering.c), so all programs always see one state.
 */
#ifndef FG_BPF_MAPS_H
#define FG_BPF_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>
#include "bpf/abi.h"

/* What live[service] points at: one element. */
struct fg_table_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fg_table);
};

/* clang 14 describes a struct that only an inner map names by its name alone; this makes it whole.
 */
const struct fg_table *const fg_table_btf = NULL;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, FG_MAX_SERVICES);
	__type(key, __u32);
	__array(values, struct fg_table_map);
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FG_SERVICE_ROWS);
	__type(key, __u32);
	__type(value, struct fg_service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FG_MAX_SLOTS);
	__type(key, __u32);
	__type(value, union fg_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, FG_MAX_SLOTS *FG_MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* A socket stands in one slot of one map, so this needs no SOCKMAP, which would put its own recvmsg
 * in front of the socket's. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, (FG_SINK_ROW + 1) * FG_MAX_LISTENERS);
	__type(key, __u32);
	__type(value, __u64);
} socks_udp SEC(".maps");

/* A SOCKMAP, because sk_lookup cannot read a REUSEPORT_SOCKARRAY. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, (FG_SINK_ROW + 1) * FG_MAX_LISTENERS);
	__type(key, __u32);
	__type(value, __u64);
} socks_tcp SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << FG_BUCKETS_LOG2);
	__type(key, __u32);
	__type(value, union fg_bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FG_MAX_ACL);
	__type(key, struct fg_acl_key);
	__type(value, __u32);
} acl SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FG_COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#endif
