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
#include "userspace/daemon/steering.h"
#include "userspace/shared/xsk.h"

/* One slot's sockets. The first two kinds are made the first time the slot is used, and stay open
 * until the keeper ends; TCP listeners are as dataplane_tcp.h says. */
struct fg_dataplane_slot {
	bool open;
	bool listening;			   /* has TCP listeners */
	bool vacant;			   /* its worker ended, and no other was announced */
	struct fg_xsk xsks[FG_MAX_QUEUES]; /* [queues] */
	int udp[FG_MAX_LISTENERS];	   /* [listeners] */
	int tcp[FG_MAX_LISTENERS];	   /* [listeners], if listening */
};

struct fg_dataplane {
	const struct fg_config *config;
	struct fg_steering *steering;
	enum fg_mode mode;
	char mode_reason[256]; /* why a faster mode was not taken */
	int ifindex;
	uint32_t queues;		 /* 0 in mode sockets */
	uint32_t mtu;			 /* of the interface; 0 in mode sockets */
	int sinks[FG_MAX_LISTENERS];	 /* UDP sockets that drop everything; -1: closed */
	int tcp_sinks[FG_MAX_LISTENERS]; /* listeners that do the same; -1: closed */
	struct fg_umem umems[FG_MAX_QUEUES];
	struct fg_dataplane_slot slots[FG_MAX_SLOTS];
};

/*
 * Announces the listeners and attaches in the fastest mode that works: native, generic, sockets;
 * or config->mode alone. Checks that no other program holds a listener's port. Nothing is
 * steered to a worker yet. -errno with *error; then everything is undone.
 */
int fg_dataplane_open(struct fg_dataplane *dataplane, const struct fg_config *config,
		      struct fg_steering *steering, struct fg_error *error);
/* Closes all sockets and frames; the steering is the caller's. Safe on a zeroed struct. */
void fg_dataplane_close(struct fg_dataplane *dataplane);

/*
 * The interface's MTU and MAC, or an address of this host, may have changed: reads them again, for
 * XDP and into dataplane->mtu. Keeper only, whenever it learns of a change and now and then. -errno
 * when the interface is not there; then all stays as it was.
 */
int fg_dataplane_follow_host(struct fg_dataplane *dataplane);

/* A worker is about to stand in the slot: makes the sockets that it has not, and puts them into the
 * maps. Keeper only. */
int fg_dataplane_open_slot(struct fg_dataplane *dataplane, uint16_t slot, struct fg_error *error);

/* A worker of the slot ended: frees the locks it held. Keeper only, before the next. */
void fg_dataplane_unlock_slot(struct fg_dataplane *dataplane, uint16_t slot);

/* After the slot's worker ended: its frames go back, datagrams that waited for it are dropped, TCP
 * connections that it did not accept move to workers that serve.
 * What is kept up by a worker that holds a lock, or by the driver, goes back in a later call: call
 * it again now and then while the slot has no worker. Returns how many were lost. Keeper only. */
uint32_t fg_dataplane_reclaim_slot(struct fg_dataplane *dataplane, uint16_t slot);

/* Adds up what all slots' sockets dropped since the start. */
void fg_dataplane_count_drops(const struct fg_dataplane *dataplane, struct fg_state_drops *drops);

#endif
