/*
 * dataplane.h: what carries requests to workers: the interface's frames and every slot's sockets.
 *
 * Owned by the keeper, made before the first fork. Workers inherit it at the same addresses.
 */
#ifndef FG_DAEMON_DATAPLANE_H
#define FG_DAEMON_DATAPLANE_H

#include <stdbool.h>
#include <stdint.h>
#include "userspace/daemon/config.h"
#include "userspace/daemon/interface.h"
#include "userspace/daemon/predecessor.h"
#include "userspace/daemon/steering.h"
#include "userspace/shared/xsk.h"

/* One slot's sockets. UDP sockets are made the first time the slot is used, and stay open until the
 * keeper ends; AF_XDP sockets likewise, but not longer than the interface (dataplane_interface.h);
 * TCP listeners are as dataplane_tcp.h says. */
struct fg_dataplane_slot {
	bool open;			   /* has UDP sockets */
	bool listening;			   /* has TCP listeners */
	bool vacant;			   /* its worker ended, and no other was announced */
	uint32_t queues;		   /* with an AF_XDP socket, from 0 on */
	struct fg_xsk xsks[FG_MAX_QUEUES]; /* [queues] */
	int udp[FG_MAX_LISTENERS];	   /* [listeners] */
	int tcp[FG_MAX_LISTENERS];	   /* [listeners], if listening */
};

struct fg_dataplane {
	const struct fg_config *config;
	struct fg_steering *steering;
	enum fg_mode mode;	/* now */
	char mode_reason[256];	/* why no faster one; "": it is the fastest, or the configured */
	bool by_xdp;		/* the start took a mode with XDP: lost, it is taken again */
	bool beside;		/* another gateway's frames are bound to the queues still */
	enum fg_mode taken;	/* in which the XDP link was taken from it; NONE: it was not */
	enum fg_mode bound_for; /* the mode that the frames were bound for */
	int watch;		/* tells that an interface or address changed; -1: none was named */
	int ifindex;		/* that the frames are bound to; 0: none */
	uint32_t queues;	/* with frames, from 0 on */
	uint32_t attachment;	/* number of the last one that workers must start anew for */
	uint32_t lost;		/* times that a mode was lost */
	uint64_t attached_ns;	/* when it was last taken */
	uint64_t pause_ns;	/* between the last two attempts to have it back */
	uint64_t retry_ns;	/* not to be tried again before, unless something changed */
	struct fg_interface interface;	 /* as it was read last */
	struct fg_state_drops gone;	 /* by AF_XDP sockets that are closed */
	int sinks[FG_MAX_LISTENERS];	 /* UDP sockets that drop everything; -1: closed */
	int tcp_sinks[FG_MAX_LISTENERS]; /* listeners that do the same; -1: closed */
	struct fg_umem umems[FG_MAX_QUEUES];
	struct fg_dataplane_slot slots[FG_MAX_SLOTS];
};

/*
 * Announces the listeners and attaches in the fastest mode that an answer can leave in: native,
 * generic, sockets; or config->mode alone. Checks that no other program holds a listener's port,
 * and that the host has its address. Nothing is steered to a worker yet. -errno with *error; then
 * everything is undone.
 *
 * `predecessor`, if there is one: it serves, perhaps at the same addresses, and nothing is taken
 * from it yet. What arrives is still that one's.
 */
int fg_dataplane_open(struct fg_dataplane *dataplane, const struct fg_config *config,
		      struct fg_steering *steering, const struct fg_predecessor *predecessor,
		      struct fg_error *error);
/*
 * Opened beside another gateway: from now on what arrives is ours, by the stack. `link`: its XDP
 * link (taken over, also on failure), -1: none is known. On failure nothing was taken; what fails
 * after the first step is only logged, because there is no way back from that.
 */
int fg_dataplane_take(struct fg_dataplane *dataplane, int link, struct fg_error *error);
/* That other gateway has ended: the interface is ours. */
void fg_dataplane_inherit(struct fg_dataplane *dataplane);
/* The gateway stops, perhaps because another one took over: off the interface, so that all that
 * comes goes up the stack, and to whom that gives it. */
void fg_dataplane_withdraw(struct fg_dataplane *dataplane);
/* Closes all sockets and frames; the steering is the caller's. Safe on a zeroed struct. */
void fg_dataplane_close(struct fg_dataplane *dataplane);

/* Tells BPF of all listeners; of a wildcard, the addresses that the interface has now. One that it
 * loses stays announced. May be repeated. */
int fg_dataplane_announce(const struct fg_dataplane *dataplane);

/* Compares what is attached with what the interface is now, and makes good what differs
 * (dataplane_interface.h). Keeper only: when `watch` is readable, and every second. */
void fg_dataplane_look(struct fg_dataplane *dataplane);

/* A worker is about to stand in the slot: makes the sockets that it has not, and puts them into the
 * maps. Keeper only. */
int fg_dataplane_open_slot(struct fg_dataplane *dataplane, uint16_t slot, struct fg_error *error);

/* The attachment whose AF_XDP sockets the slot has, all of them; 0: none. */
static inline uint32_t fg_dataplane_attachment(const struct fg_dataplane *dataplane, uint16_t slot)
{
	uint32_t queues = dataplane->slots[slot].queues;

	return queues && queues == dataplane->queues ? dataplane->attachment : 0;
}

/* A worker of the slot ended: frees the locks it held. Keeper only, before the next. */
void fg_dataplane_unlock_slot(struct fg_dataplane *dataplane, uint16_t slot);

/* After the slot's worker ended: its frames go back, datagrams that waited for it are dropped, TCP
 * connections that it did not accept move to workers that serve.
 * What is kept up by a worker that holds a lock, or by the driver, goes back in a later call: call
 * it again now and then while the slot has no worker. Returns how many were lost. Keeper only. */
uint32_t fg_dataplane_reclaim_slot(struct fg_dataplane *dataplane, uint16_t slot);

/* Adds to *drops what this socket dropped. */
void fg_dataplane_count_xsk(const struct fg_xsk *xsk, struct fg_state_drops *drops);
/* Adds up what all slots' sockets dropped since the start. */
void fg_dataplane_count_drops(const struct fg_dataplane *dataplane, struct fg_state_drops *drops);

#endif
