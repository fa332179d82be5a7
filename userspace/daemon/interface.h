/*
 * interface.h: what the kernel says of a network interface (rtnetlink, ethtool), and that something
 * of it changed.
 */
#ifndef FG_DAEMON_INTERFACE_H
#define FG_DAEMON_INTERFACE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include "userspace/shared/state.h"

/* Facts at one moment; equal facts are equal bytes. */
struct fg_interface {
	int32_t index; /* 0: there is no such interface, and all else is 0 */
	uint32_t mtu;
	uint32_t queues;	/* receive queues, at least 1 */
	uint32_t up;		/* 1: IFF_UP */
	uint32_t limit;		/* enum fg_interface_limit */
	uint32_t veth;		/* 1: a queue that is added gets no program before that is attached
				 * anew (drivers/net/veth.c, veth_enable_range_safe) */
	uint8_t mac[6];		/* 0 where it has none */
	char name[IF_NAMESIZE]; /* the present one */
};

/* Why an answer could not leave in the faster modes, by what the interface is. */
enum fg_interface_limit {
	FG_INTERFACE_ANY = 0,
	/* IP takes nothing from the loopback device that did not come out of its own stack: a
	 * frame that AF_XDP sends there is a martian (net/ipv4/route.c, ip_route_input_slow). */
	FG_INTERFACE_LOOPBACK,
	FG_INTERFACE_NO_ETHERNET, /* a tunnel: no Ethernet header, which is what XDP reads */
	/* Native XDP on a bond runs on its ports, whose queues are not the bond's: the kernel drops
	 * what is redirected to a socket of another device (net/xdp/xsk.c, xsk_rcv_check). */
	FG_INTERFACE_BOND,
	/* It routes what it sends by headers that only its own stack fills in, and drops the rest
	 * (drivers/net/ipvlan/ipvlan_core.c, ipvlan_xmit_mode_l3). */
	FG_INTERFACE_IPVLAN_L3,
};

/* Reads the interface of this name, or of this index where name is NULL. 0, also when there is
 * none; -errno: nobody knows. */
int fg_interface_read(struct fg_interface *interface, const char *name, int index);

/* The fastest mode that an answer can leave in, as far as what the interface is decides. */
enum fg_mode fg_interface_fastest(const struct fg_interface *interface);
/* "is a loopback device", why no faster one; "" for FG_INTERFACE_ANY. Static string. */
const char *fg_interface_limit(const struct fg_interface *interface);

/* A descriptor that is readable after an interface or an address changed; the caller's. -errno. */
int fg_interface_watch(void);
/* Reads it empty. True: there was something. */
bool fg_interface_changed(int watch);

#endif
