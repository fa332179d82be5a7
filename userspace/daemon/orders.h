/*
 * orders.h: what control asks of the keeper, over a SOCK_SEQPACKET pair.
 *
 * One fixed-size record a message. Every order may be repeated: the keeper does nothing where
 * the thing asked for is already so. Answers are what appears in the state page; the keeper sends
 * one empty FG_ORDERS_POKE message back after each change there (and after a worker's end).
 */
#ifndef FG_DAEMON_ORDERS_H
#define FG_DAEMON_ORDERS_H

#include <stdint.h>
#include "userspace/shared/state.h"

enum fg_orders_verb {
	FG_ORDERS_POKE = 0, /* keeper to control: look at the state page */
	FG_ORDERS_PACK,	    /* pack `path` into plans[plan]: model, version, fingerprint, path,
			       memory_bytes */
	FG_ORDERS_DROP,	    /* forget plans[plan]: closes the memfd, phase becomes FREE */
	FG_ORDERS_SPAWN, /* start a worker: slot, cpu, generation (index in rollout), memory_bytes
			  */
	FG_ORDERS_KILL,	 /* SIGKILL the worker in slot (it hangs) */
	FG_ORDERS_PRIORITY, /* slot, urgent: 1 while draining (see keeper.c), 0 otherwise */
	FG_ORDERS_UPGRADE,  /* path: run this flipgated as control from now on, see takeover.h */
	FG_ORDERS_TAKE,	    /* all serves: take the place of the one that is replaced */
	FG_ORDERS_GIVE_UP,  /* path: why this one cannot, a text; the other one serves on */
	FG_ORDERS_AUDIT,    /* keeper to control: the audit log is this descriptor from now on */
};

struct fg_orders_message {
	uint32_t verb;
	uint32_t plan;
	uint32_t slot;
	uint32_t generation; /* index into fg_rollout.generations */
	int32_t cpu;
	uint32_t urgent;
	uint64_t version;
	uint64_t fingerprint;
	uint64_t memory_bytes; /* that the packer, or the worker for its models, may use; 0: any */
	char model[FG_NAME_BYTES];
	char path[4096]; /* the version's directory, absolute */
};

/* Sends one message without waiting, with a descriptor unless `fd` is -1; it stays the caller's.
 * 0 or -errno: -EAGAIN when the other end has too many to read. */
int fg_orders_send(int socket, const struct fg_orders_message *message, int fd);
/* The next message. *fd: the caller's, -1: it came without. 0; -EAGAIN: there is none; -EPIPE: the
 * other end is gone; -EBADMSG: it was no such message and is skipped. */
int fg_orders_receive(int socket, struct fg_orders_message *message, int *fd);

#endif
