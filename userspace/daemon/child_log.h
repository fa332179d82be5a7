/*
 * child_log.h: what children write to stderr, on its way to the keeper's own.
 *
 * stderr may be a file, which whoever holds it can truncate and overwrite, or a terminal, which
 * obeys control sequences. So workers and packers, which handle what strangers sent and wrote, get
 * the end of a pipe instead: one for all children of a kind, because lines name their writer only
 * as far as it is honest.
 */
#ifndef FG_DAEMON_CHILD_LOG_H
#define FG_DAEMON_CHILD_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define FG_CHILD_LOG_LINE  1024
#define FG_CHILD_LOG_PER_S (256u << 10) /* bytes of log; those who write more lose lines */

struct fg_child_log {
	const char *part;   /* of its children's lines; static string */
	int read, write;    /* the pipe's ends; -1: closed. write: for children, see below */
	uint32_t left;	    /* bytes of log that may be made in this second */
	uint32_t used;	    /* of line, which is not whole yet */
	uint64_t second_ns; /* when this second began */
	char line[FG_CHILD_LOG_LINE];
};

/* -errno: nothing is open. Both ends are close-on-exec and never wait. */
int fg_child_log_open(struct fg_child_log *log, const char *part);
/* Passes on what is there, then closes. Safe on one that was not opened, if its ends are -1. */
void fg_child_log_close(struct fg_child_log *log);

/* In a child: stderr is the pipe from now on. */
void fg_child_log_use(const struct fg_child_log *log);

/* What to poll for reading; -1: nothing now. */
int fg_child_log_fd(const struct fg_child_log *log, uint64_t now_ns);
/* Passes on whole lines, as fg_log_forward does, of at most 2 KiB that are there. Does not wait.
 * False: nothing was there, or may be read now. */
bool fg_child_log_read(struct fg_child_log *log, uint64_t now_ns);

#endif
