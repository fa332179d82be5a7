/*
 * audit.h: who changed what: an append-only file of JSON objects, one a line.
 *
 *	{"time":"2026-01-02T03:04:05.678Z","who":{"uid":0,"pid":812,"user":"root"},
 *	 "what":"promote","model":"fraud","from":6,"to":7,"generation":12,"result":"ok",
 *	 "why":"ticket 4711"}
 *
 * who: "flipgated" for what it does by itself; user: what /etc/passwd calls the uid, else the uid
 * again: a directory service (sssd, LDAP) is not asked, it could keep a rollback waiting. from, to:
 * versions. result: "ok"; the code of an error, whose text is then in "error"; or "begun" of an
 * operator's verb that takes longer than one step, or whose client did not wait for its end. What
 * does not apply is left out.
 *
 * A rollback must not depend on a disk. So lines are queued, and written once what they tell of was
 * done; and a line that cannot be written (disk full) is counted, goes to stderr instead, and stops
 * nobody. One write(2) a line; what a full disk has torn is ended by the next line.
 */
#ifndef FG_DAEMON_AUDIT_H
#define FG_DAEMON_AUDIT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "models/error.h"

#define FG_AUDIT_QUEUE	    64
#define FG_AUDIT_LINE_BYTES 4096
#define FG_AUDIT_TAIL_BYTES 262144 /* that much of the file's end is history */
#define FG_AUDIT_MAX_LINES  1000   /* of one history */

/* At the other end of the control socket (SO_PEERCRED), when it connected. */
struct fg_audit_who {
	uid_t uid;
	pid_t pid;
};

/* What happened. Texts may be NULL, numbers 0: left out. */
struct fg_audit_event {
	const struct fg_audit_who *who; /* NULL: flipgated itself */
	const char *what;		/* "promote", "cutover", ... */
	const char *model;
	uint64_t from, to;
	uint32_t generation; /* the live one, after it */
	const char *result;  /* "ok", ... */
	const char *why;     /* the operator's words, or flipgated's reason */
	const char *error;
};

struct fg_audit {
	int fd;			/* the caller's; -1: no audit log */
	_Atomic uint64_t *lost; /* lines that could not be written */
	bool torn;		/* the file may end within a line */
	bool failing;		/* was logged */
	uint32_t count;
	char *lines[FG_AUDIT_QUEUE]; /* each ends with its newline */
};

/*
 * Opens the log for appending and reading, mode 0640 when it is new. The keeper does, while it may.
 * *fd: -1 when `path` is "". -errno with *error: cannot, or it is no regular file.
 */
int fg_audit_file(const char *path, int *fd, struct fg_error *error);

void fg_audit_open(struct fg_audit *audit, int fd, _Atomic uint64_t *lost);
/* Writes what is queued. The descriptor is the caller's. */
void fg_audit_close(struct fg_audit *audit);
/* The log is another file from now on (rotation). Returns the old descriptor, the caller's. */
int fg_audit_reopen(struct fg_audit *audit, int fd);

/* Queues a line; reads /etc/passwd for the user's name, so not before what it tells of was
 * ordered. */
void fg_audit_add(struct fg_audit *audit, const struct fg_audit_event *event);
/* Writes what is queued. */
void fg_audit_flush(struct fg_audit *audit);

/*
 * The last `limit` lines of the file, oldest first, as far as they lie in its last
 * FG_AUDIT_TAIL_BYTES and take `bytes` at most together: an array, a new reference. Broken lines
 * are skipped. NULL with *error when the file cannot be read.
 */
json_t *fg_audit_tail(const struct fg_audit *audit, uint32_t limit, size_t bytes,
		      struct fg_error *error);

#endif
