/*
 * state.h: the memory that keeper, control and workers share.
 *
 * One memfd, mapped by the keeper before it forks anybody. It outlives control and every worker,
 * so a control process that starts again finds here all that is true. Each part has one writer;
 * everybody may read. Fields that another process waits for are _Atomic; a multi-word record is
 * written before the atomic field that announces it (release), and read after it (acquire).
 *
 *   part            writer    holds
 *   boot            keeper    facts of this start: mode, interface, pids
 *   plans[]         keeper    packed plans and why one failed (the memfds are the keeper's)
 *   rollout         control   generations, wanted versions: the whole state of sched/rollout
 *   slots[].post    keeper    pid and exit of the slot's worker
 *   slots[].order   control   what the worker is told
 *   slots[].work    worker    what it is doing, and its counters
 */
#ifndef FG_SHARED_STATE_H
#define FG_SHARED_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "sched/rollout.h"
#include "userspace/protocol/wire.h"

#define FG_STATE_MAX_PLANS FG_ROLLOUT_MAX_PLANS
#define FG_NAME_BYTES	   FG_ROLLOUT_NAME_BYTES

enum fg_mode { FG_MODE_NONE = 0, FG_MODE_NATIVE, FG_MODE_GENERIC, FG_MODE_SOCKETS };

/* Datagrams that the kernel dropped between steering and a worker. */
struct fg_state_drops {
	uint64_t ring_full;   /* the worker's AF_XDP ring had no room */
	uint64_t no_frame;    /* all frames were in use, or the packet exceeded one */
	uint64_t socket_full; /* the worker's UDP socket had no room, or a wrong checksum */
};

struct fg_state_boot {
	uint64_t started_ns;	   /* CLOCK_MONOTONIC */
	_Atomic uint64_t ready_ns; /* when the first generation was flipped in; 0 before. Control
				    * writes this one field, once */
	uint32_t mode;		   /* enum fg_mode */
	uint32_t queues;	   /* interface queues in use, 0 in mode sockets */
	uint32_t frames;	   /* UMEM frames per queue */
	int32_t keeper_pid;
	_Atomic int32_t control_pid;
	_Atomic uint32_t control_restarts;
	_Atomic uint32_t stopping;   /* 1: keeper was asked to stop: drain all, then exit */
	struct fg_state_drops drops; /* every second */
	char interface[16];
	char mode_reason[256]; /* why a faster mode was not taken; empty if the first was */
};

struct fg_state_plan {
	_Atomic uint32_t phase; /* enum fg_plan_phase; announces the rest */
	char model[FG_NAME_BYTES];
	uint64_t version;
	uint64_t fingerprint; /* of the version's files when it was packed */
	uint64_t bytes;	      /* of the sealed plan */
	uint64_t pack_ns;     /* wall time of the packer */
	int32_t packer_pid;   /* while PACKING */
	char error[256];      /* FAILED: why */
};

/* The keeper's word on a slot. */
struct fg_state_post {
	_Atomic int32_t pid;	     /* of the worker, 0: none */
	_Atomic uint32_t generation; /* of that worker, or of the last */
	int32_t cpu;
	int32_t exit_status; /* of the last worker, as from waitpid */
	uint64_t spawned_ns;
	_Atomic uint32_t deaths; /* workers that ended without being told to */
	_Atomic uint32_t urgent; /* 1: made urgent (FG_ORDERS_PRIORITY); 0 with each new worker */
};

/* Counters are written by one thread with relaxed stores; nobody ever needs two of them to
 * agree to the last request. They start at 0 with each worker. */
struct fg_stats {
	_Atomic uint64_t requests; /* parsed as ours */
	_Atomic uint64_t replies;  /* with status OK */
	_Atomic uint64_t rows;
	_Atomic uint64_t batches;
	_Atomic uint64_t status[FG_STATUS_COUNT]; /* replies by status */
	_Atomic uint64_t not_ours;     /* datagrams that got no answer: short, magic, version */
	_Atomic uint64_t xsk_received; /* datagrams from AF_XDP */
	_Atomic uint64_t udp_received; /* datagrams from io_uring */
	_Atomic uint64_t send_failed;  /* replies the kernel refused */
	_Atomic uint64_t sleeps;       /* times it blocked */
};

struct fg_state_work {
	_Atomic uint32_t phase;	       /* enum fg_work_phase; announces error */
	_Atomic uint64_t heartbeat_ns; /* at least every 100 ms */
	uint64_t ready_ns;
	uint64_t own_bytes; /* private resident memory at READY, from smaps_rollup */
	struct fg_stats stats;
	char error[256];
};

/* Page-sized, so that a worker keeps its own mapped and no other. */
struct fg_state_slot {
	struct fg_state_post post;
	_Atomic uint32_t order; /* enum fg_order */
	struct fg_state_work work;
} __attribute__((aligned(4096)));
_Static_assert(sizeof(struct fg_state_slot) == 4096, "a slot's state is one page");

struct fg_state {
	struct fg_state_boot boot;
	struct fg_state_plan plans[FG_STATE_MAX_PLANS];
	struct fg_rollout_record rollout; /* fg_rollout_current() is what counts */
	struct fg_state_slot slots[FG_MAX_SLOTS];
};

/* "native", "generic", "sockets", "none". Static string. */
const char *fg_mode_name(uint32_t mode);

#endif
