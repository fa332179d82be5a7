/*
 * log.h: log lines to stderr: one line each, key=value, written by one system call.
 *
 *   time=2026-01-31T12:00:00.123Z level=info part=control event=flip serial=3 took_us=8123
 *
 * Never on a hot path. Any process; not in signal handlers. A daemon does not wait for whoever
 * reads its log: a line that finds no room is counted, and the next one that finds some comes after
 * "event=log.lost lines=N".
 */
#ifndef FG_SHARED_LOG_H
#define FG_SHARED_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_log_level { FG_LOG_ERROR = 0, FG_LOG_WARN, FG_LOG_INFO, FG_LOG_DEBUG };

/* Names the process in its lines ("keeper"; static string, kept by reference) and says whether
 * DEBUG lines are wanted. A forked child calls it again. Before the first call: "flipgate", no. */
void fg_log_open(const char *part, bool verbose);

/*
 * Makes stderr a description of this process and its children alone, so that writing to a pipe or a
 * terminal never blocks, whoever else has it open. Once, before the first fork. Where that cannot
 * be (no /proc), lines go out as before. Sockets need no such thing. A file on a disk that hangs
 * blocks all the same.
 */
void fg_log_never_wait(void);

/* Lines that this process has lost so far. */
uint64_t fg_log_lost(void);

/*
 * Prints one line. `format` begins with the event, one word, and goes on with "key=value" pairs
 * separated by blanks: "flip serial=%u took_us=%.1f"; a value with blanks is written key=\"%s\".
 * Bytes that would break the line or a terminal become '?', so that text from outside (file names,
 * messages) is safe. A line longer than 1 KiB is cut. Keeps errno.
 */
__attribute__((format(printf, 2, 3))) void fg_log(enum fg_log_level level, const char *format, ...);

/*
 * Prints a line that another process wrote, `length` bytes without its end: as it is, if it is one
 * that fg_log prints for `part`; else as the text of an event of that part, "said". So nobody
 * forges another's line, breaks one, or reaches a terminal.
 */
void fg_log_forward(const char *part, const char *line, size_t length);

/* Makes outside text safe in a line, in quotes and in JSON: plain ASCII without '"'. In place. */
void fg_log_clean(char *text);

#endif
