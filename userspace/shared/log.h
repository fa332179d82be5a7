/*
 * log.h: log lines to stderr: one line each, key=value, written by one write(2).
 *
 *   time=2026-01-31T12:00:00.123Z level=info part=control event=flip serial=3 took_us=8123
 *
 * Never on a hot path. Any process; not in signal handlers.
 */
#ifndef FG_SHARED_LOG_H
#define FG_SHARED_LOG_H

#include <stdbool.h>

enum fg_log_level { FG_LOG_ERROR = 0, FG_LOG_WARN, FG_LOG_INFO, FG_LOG_DEBUG };

/* Names the process in its lines ("keeper"; static string, kept by reference) and says whether
 * DEBUG lines are wanted. A forked child calls it again. Before the first call: "flipgate", no. */
void fg_log_open(const char *part, bool verbose);

/*
 * Prints one line. `format` begins with the event, one word, and goes on with "key=value" pairs
 * separated by blanks: "flip serial=%u took_us=%.1f"; a value with blanks is written key=\"%s\".
 * Bytes that would break the line or a terminal become '?', so that text from outside (file names,
 * messages) is safe. A line longer than 1 KiB is cut. Keeps errno.
 */
__attribute__((format(printf, 2, 3))) void fg_log(enum fg_log_level level, const char *format, ...);

/* Makes outside text safe in a line, in quotes and in JSON: plain ASCII without '"'. In place. */
void fg_log_clean(char *text);

#endif
