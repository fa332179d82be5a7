/*
 * memory.h: how much memory there is for the gateway, and what of it is taken whatever serves.
 *
 * The limit is the least of the machine's memory, the limits of the memory cgroup that this process
 * runs in and of those above it (v2 memory.max, v1 memory.limit_in_bytes), and --memory.
 */
#ifndef FG_DAEMON_MEMORY_H
#define FG_DAEMON_MEMORY_H

#include <stdint.h>
#include <sys/types.h>
#include "sched/rollout.h"

/* Of a process that /proc/self/cgroup describes by `text`, where cgroup file systems are mounted
 * below `root` as usual ("/sys/fs/cgroup"). UINT64_MAX: no limit is set, or none can be read. */
uint64_t fg_memory_cgroup_limit(const char *text, const char *root);

/* Reads it all; `most` is --memory, 0: none; `keeper` is whose memory counts as taken. */
void fg_memory_look(uint64_t most, pid_t keeper, struct fg_rollout_memory *memory);

/* The caller, and what it starts from now on, is killed last when memory runs out; best effort,
 * lowering takes CAP_SYS_RESOURCE. */
void fg_memory_kill_last(void);
/* ... first; for packers. */
void fg_memory_kill_first(void);

#endif
