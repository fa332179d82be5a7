/*
 * state.h: the memory that keeper, control and workers share.
 *
 * One memfd, mapped by the keeper before it forks anybody. It outlives control and every worker,
 * so a control process that starts again finds here all that is true. Each part has one writer;
 * everybody may read. Fields that another process waits for are _Atomic; a multi-word record is
 * written before the atomic field that announces it (release), and read after it (acquire).
 *
 *   part            writer    holds
 *   boot            keeper    facts of this start, pids; mode and interface as they are now
 *   plans[]         keeper    packed plans and why one failed (the memfds are the keeper's)
 *   rollout         control   generations, wanted versions: the whole state of sched/rollout
 *   rules[]         control   the configuration of models: rollout says which one is in force. The
 *                             keeper writes the first, before there is a control
 *   control         control   what else the next control process must find
 *   known           control   what the scout found last (userspace/daemon/scout.h)
 *   slots[].post    keeper    pid and exit of the slot's worker, the MTU it sends by
 *   slots[].order   control   what the worker is told
 *   slots[].watch   control   which model it watches, for a canary or a shadow
 *   slots[].work    worker    what it is doing, and its counters
 *   slots[].seen    worker    what it saw of the watched model
 */
#ifndef FG_SHARED_STATE_H
#define FG_SHARED_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "bpf/abi.h"
#include "models/error.h"
#include "sched/distribution.h"
#include "sched/rollout.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/findings.h"

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
	uint32_t mode;		   /* enum fg_mode, now */
	uint32_t queues;	   /* interface queues in use, 0 in mode sockets */
	uint32_t mtu;		   /* of the interface, 0 without one */
	_Atomic uint32_t
		attachment;	    /* number of the one that workers should have sockets of
				     * (dataplane_interface.h); 0 in mode sockets. Announces mode */
	_Atomic uint32_t mode_lost; /* times that the interface was lost */
	uint32_t frames;	    /* UMEM frames per queue */
	int32_t keeper_pid;
	_Atomic int32_t control_pid;
	_Atomic uint32_t control_restarts;
	_Atomic uint32_t control_starts; /* of control, this one included; see control.in_charge */
	_Atomic uint32_t upgrades; /* of control (takeover.h), tried to their end; announces ... */
	char upgrade_error[256];   /* ... why the last one was not done; "": it was */
	_Atomic int32_t beside;	   /* keeper of the gateway that has the traffic still, and is to
				    * be replaced (predecessor.h); 0: none */
	_Atomic uint32_t pins;	   /* times that the keeper made the pins again: tables are
				    * control's */
	_Atomic uint32_t stopping; /* 1: keeper was asked to stop: drain all, then exit */
	_Atomic uint32_t reloads;  /* SIGHUPs: control reads the models' configuration again */
	uint32_t layout;	   /* FG_STATE_LAYOUT: who takes over must mean the same */
	struct fg_state_drops drops; /* every second */
	_Atomic uint64_t log_lost;   /* lines that the keeper could not log; likewise */
	char interface[16];	     /* its present name */
	char mode_reason[256];	     /* why a faster mode is not taken; empty if the first is */
};

struct fg_state_plan {
	_Atomic uint32_t phase; /* enum fg_plan_phase; announces the rest */
	char model[FG_NAME_BYTES];
	uint64_t version;
	uint64_t fingerprint;	    /* of the version's files when it was packed */
	uint64_t started_ns;	    /* when its packer was */
	uint64_t memory_bytes;	    /* that its packer may use; 0: any */
	uint32_t lacked;	    /* FAILED: 1: that was too little */
	uint32_t passing;	    /* FAILED: 1: what stood in the way may pass */
	uint64_t digest;	    /* READY: of the plan, as its header says it ... */
	uint64_t interface;	    /* ... and fg_plan_interface of its ports; 0: unknown */
	uint32_t in_cols, out_cols; /* READY */
	uint64_t ready_ns;	    /* READY, FAILED: when the packer had ended */
	uint64_t bytes;		    /* of the sealed plan */
	uint64_t pack_ns;	    /* wall time of the packer */
	char error[FG_ERROR_BYTES]; /* FAILED: why */
};

/* The keeper's word on a slot. */
struct fg_state_post {
	_Atomic int32_t pid;	     /* of the worker, 0: none */
	_Atomic uint32_t generation; /* of that worker, or of the last */
	_Atomic uint32_t attachment; /* whose AF_XDP sockets it has, all of them; 0: none */
	int32_t cpu;
	int32_t exit_status; /* of the last worker, as from waitpid */
	uint64_t spawned_ns;
	_Atomic uint32_t deaths; /* workers that ended without being told to */
	_Atomic uint32_t urgent; /* 1: made urgent (FG_ORDERS_PRIORITY); 0 with each new worker */
	_Atomic uint32_t mtu;	 /* of the interface, followed; 0 in mode sockets */
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
	_Atomic uint64_t detoured; /* of xsk_received: answered through a UDP socket (detour.h) */
	_Atomic uint64_t send_failed;  /* replies the kernel refused */
	_Atomic uint64_t sleeps;       /* times it blocked */
	_Atomic uint64_t tcp_accepted; /* connections */
	_Atomic uint64_t tcp_received; /* messages from connections */
	_Atomic uint64_t tcp_closed;   /* connections: tcp_accepted - tcp_closed are open */
	_Atomic uint64_t tcp_refused;  /* of these: closed for what the client did, or did not */
};

/*
 * What a worker saw of the model it is told to watch, in one epoch: the answers it gave, or as a
 * shadow the answers it would have given. The worker empties it when the epoch changes and then
 * names the epoch (release). Durations in ns; scores: the first output columns of every row.
 */
#define FG_SEEN_SCORES 8
struct fg_state_seen {
	_Atomic uint32_t epoch;	   /* 0: nothing yet */
	_Atomic uint32_t worst;	   /* shadow: largest |live - own|, the bits of an f32 */
	_Atomic uint64_t requests; /* answered with OK, all outputs finite */
	_Atomic uint64_t errors;   /* the other answers that count (worker/watch.h) */
	_Atomic uint64_t skipped;  /* to be shadowed, but the ring was full */
	_Atomic uint64_t rows;	   /* shadow: compared */
	_Atomic uint64_t agreed;   /* shadow: rows with the same largest column, or close by */
	_Atomic uint64_t live_ns;  /* shadow: run times of what was compared, live ... */
	_Atomic uint64_t own_ns;   /* ... and own */
	struct fg_distribution latency_ns; /* from arrival to answer; shadow: run time */
	struct fg_distribution scores[FG_SEEN_SCORES];
};

/* What to watch, one word: the model's wire name (0: nothing), the epoch, and the share of requests
 * that a live worker leaves for a shadow (parts of FG_CANARY_WHOLE). */
static inline uint64_t fg_state_watch(uint32_t model, uint16_t epoch, uint16_t share)
{
	return model | (uint64_t)epoch << 32 | (uint64_t)share << 48;
}

static inline uint16_t fg_state_watch_epoch(uint64_t watch)
{
	return (uint16_t)(watch >> 32);
}

/* What a model version takes, so that others can tell what it would not have refused. */
struct fg_state_offer {
	uint32_t model; /* fg_wire_model; 0: none */
	uint32_t is_default;
	uint32_t in_cols, max_rows;
	uint64_t row_ns, batch_ns; /* measured: what one row takes, and max_rows */
};

struct fg_state_work {
	_Atomic uint32_t phase;	       /* enum fg_work_phase; announces error */
	_Atomic uint64_t heartbeat_ns; /* at least every 100 ms */
	uint64_t ready_ns;
	uint64_t own_bytes; /* private resident memory at READY, from smaps_rollup */
	uint32_t passing;   /* FAILED: 1: what stood in the way may pass */
	struct fg_stats stats;
	char error[FG_ERROR_BYTES];
	struct fg_state_offer offers[FG_ROLLOUT_MAX_MODELS]; /* of its versions, at READY */
};

/* Whole pages, so that a worker keeps its own mapped and no other. */
struct fg_state_slot {
	struct fg_state_post post;
	_Atomic uint32_t order; /* enum fg_order */
	_Atomic uint64_t watch; /* fg_state_watch(); 0: nothing */
	struct fg_state_work work;
	struct fg_state_seen seen __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));
_Static_assert(sizeof(struct fg_state_slot) % 4096 == 0, "a slot's state is whole pages");

_Static_assert(FG_ROLLOUT_ERROR_BYTES >= FG_ERROR_BYTES, "a reason is kept whole");

struct fg_state_control {
	_Atomic uint64_t heartbeat_ns; /* once in each round of its loop, and twice a second */
	_Atomic uint32_t in_charge;    /* the one of boot.control_starts that has taken over */
	_Atomic uint32_t reloads_done; /* of boot.reloads: those that were acted on */
	uint32_t upgrades_told;	       /* of boot.upgrades: those that the audit log tells of */
	uint64_t config_hash;	       /* of the models' configuration as it was read last */
	_Atomic uint64_t audit_lost;   /* lines that could not be written */
};

struct fg_state_known {
	_Atomic uint32_t valid; /* 0: nothing is known yet, or it is being written */
	struct fg_findings findings;
};

struct fg_state {
	struct fg_state_boot boot;
	struct fg_state_plan plans[FG_STATE_MAX_PLANS];
	struct fg_rollout_record rollout; /* fg_rollout_current() is what counts */
	struct fg_rules rules[2];
	struct fg_state_control control;
	struct fg_state_known known;
	struct fg_state_slot slots[FG_MAX_SLOTS];
};

/* Of this memory: programs that agree on it may take over from each other (flipgated --upgrade). */
#define FG_STATE_LAYOUT (2u << 24 | (uint32_t)(sizeof(struct fg_state) / 8 & 0xffffff))

/* "native", "generic", "sockets", "none". Static string. */
const char *fg_mode_name(uint32_t mode);

#endif
