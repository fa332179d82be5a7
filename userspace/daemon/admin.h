/*
 * admin.h: the control socket: clients, lines, requests, limits. What the verbs do is the owner's
 * business.
 *
 *   file              does
 *   admin.c           clients and lines
 *   admin_request.c   from a line to a request whose form is good
 *   admin_socket.c    the socket itself
 *
 * One JSON object a line each way, at most FG_ADMIN_LINE_BYTES; a client may send one request after
 * the other. Everything a client can do wrong (no JSON, endless lines, never reading, never
 * finishing a line, too many at once) costs it its connection, after an error line that says why
 * where that can still be sent; it never costs anybody else anything. Nothing here blocks.
 *
 * Places are few, and a rollback must find one: one user has at most FG_ADMIN_USER_CLIENTS,
 * FG_ADMIN_OWN_CLIENTS are for root and the user that control runs as alone, and where a user has
 * none left, the one of its requests that has waited longest is answered with "timeout" (what it
 * asked for goes on) and makes room.
 */
#ifndef FG_DAEMON_ADMIN_H
#define FG_DAEMON_ADMIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"
#include "sched/canary.h"
#include "sched/rollout.h"
#include "userspace/daemon/audit.h"

#define FG_ADMIN_MAX_CLIENTS  16
#define FG_ADMIN_USER_CLIENTS 12
#define FG_ADMIN_OWN_CLIENTS  2
#define FG_ADMIN_LINE_BYTES   65536
#define FG_ADMIN_IDLE_NS      10000000000ull /* to finish a line, or to read a reply */
#define FG_ADMIN_DEAF_NS      100000000ull   /* nobody is let in: no descriptors are left */
#define FG_ADMIN_WAIT_MS      30000	     /* wait_ms where a request has none */
#define FG_ADMIN_MAX_WAIT_MS  600000

#define FG_ADMIN_WHY_BYTES    201 /* with its NUL */
#define FG_ADMIN_PATH_BYTES   4096

/* Where a request says nothing. */
#define FG_ADMIN_HOLD_MS      30000
#define FG_ADMIN_MIN_REQUESTS 100
#define FG_ADMIN_LINES	      100

enum fg_admin_verb {
	FG_ADMIN_STATUS,
	FG_ADMIN_HISTORY,
	FG_ADMIN_PROMOTE,
	FG_ADMIN_ROLLBACK,
	FG_ADMIN_ROLLOUT,
	FG_ADMIN_PAUSE,
	FG_ADMIN_RESUME,
	FG_ADMIN_ABORT,
	FG_ADMIN_SHADOW,
	FG_ADMIN_RELOAD,
	FG_ADMIN_UPGRADE,
	FG_ADMIN_VERBS,
};

/* A request whose form is good. What its verb has no use for is 0. */
struct fg_admin_request {
	enum fg_admin_verb verb;
	char model[FG_ROLLOUT_NAME_BYTES]; /* a valid name */
	uint64_t version;		/* 1 .. 2^63-1; without one in the request: the owner's */
	struct fg_canary_plan plan;	/* rollout: passed fg_canary_check */
	uint32_t share;			/* shadow: 0 .. FG_CANARY_WHOLE */
	uint32_t limit;			/* history: 1 .. FG_AUDIT_MAX_LINES */
	char path[FG_ADMIN_PATH_BYTES]; /* upgrade: absolute */
	char why[FG_ADMIN_WHY_BYTES];
	bool expects;		 /* refuse unless the live generation is ... */
	uint32_t expect;	 /* ... this one */
	struct fg_audit_who who; /* asks */
	uint64_t arrived_ns;
	uint64_t until_ns; /* answer by then */
	/* The owner's notes between begin and progress; 0 at first. */
	uint64_t from;	 /* what served before */
	uint32_t serial; /* of the trial (reload), or boot.upgrades before it (upgrade) */
	bool changed, noted, aborts;
};

/* What the owner does. Both return a reply (a new reference), or NULL: not yet, ask progress. */
struct fg_admin_ops {
	json_t *(*begin)(void *context, struct fg_admin_request *request, uint64_t now_ns);
	json_t *(*progress)(void *context, struct fg_admin_request *request, uint64_t now_ns);
	/* A client went before its request was answered: progress is not asked any more. */
	void (*leave)(void *context, struct fg_admin_request *request);
};

struct fg_admin_client {
	int fd;	      /* -1: free */
	bool waiting; /* for progress on `request` */
	bool closing; /* once `out` is sent */
	struct fg_audit_who who;
	char *in, *out; /* in: FG_ADMIN_LINE_BYTES */
	size_t in_used, out_used, out_sent;
	uint64_t idle_ns; /* dropped then, unless waiting */
	struct fg_admin_request request;
};

struct fg_admin {
	int listener;		/* the caller's, nonblocking */
	int epoll;		/* readable: call update */
	uint64_t deaf_until_ns; /* the listener is left alone; 0: it is not */
	const struct fg_admin_ops *ops;
	void *context;
	struct fg_admin_client clients[FG_ADMIN_MAX_CLIENTS];
};

int fg_admin_open(struct fg_admin *admin, int listener, const struct fg_admin_ops *ops,
		  void *context);
/* Closes the clients; not the listener. */
void fg_admin_close(struct fg_admin *admin);

/* Does what can be done now. Returns when it must be called again at the latest (UINT64_MAX: only
 * when `epoll` is readable). Call it as well whenever a wait may have come to its end. */
uint64_t fg_admin_update(struct fg_admin *admin, uint64_t now_ns);

/* Fills *request from `object`: NULL, or the reply that refuses it ("bad_request"): unknown,
 * missing and misplaced keys, and values out of range. `who` and the owner's notes are not touched.
 */
json_t *fg_admin_parse(const json_t *object, struct fg_admin_request *request, uint64_t now_ns);
/* "promote" and the like. Static string. */
const char *fg_admin_verb_name(enum fg_admin_verb verb);

/* {"ok":false,"error":...,"code":...}. `code` is one of not_found, failed, timeout, busy,
 * bad_request, conflict, denied, rolled_back. */
__attribute__((format(printf, 2, 3))) json_t *fg_admin_error(const char *code, const char *format,
							     ...);

#define FG_ADMIN_SOCKET_BYTES 108 /* of an AF_UNIX address */

/*
 * Makes the control socket, mode 0600, or 0660 and of `group` unless that is "", and its folder;
 * the keeper does, before it forks control. What a dead gateway left is replaced; -EADDRINUSE when
 * a living one answers there. *result is the caller's. -errno with *error.
 */
int fg_admin_listen(const char *path, const char *group, int *result, struct fg_error *error);
/* Gives it the place `to`, from whoever has that; `path` becomes `to`. */
int fg_admin_move(char path[FG_ADMIN_SOCKET_BYTES], const char *to, struct fg_error *error);
/* Removes it, before it is closed; not one that another gateway has put in its place. */
void fg_admin_unlisten(const char *path);

#endif
