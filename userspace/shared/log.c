#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "userspace/shared/log.h"

static const char *log_part = "flipgate";
static bool log_verbose;

void fg_log_open(const char *part, bool verbose)
{
	log_part = part;
	log_verbose = verbose;
}

static size_t log_prefix(char *line, size_t size, enum fg_log_level level)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	struct timespec now;
	struct tm utc;
	size_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	used = strftime(line, size, "time=%Y-%m-%dT%H:%M:%S", &utc);
	used += (size_t)snprintf(line + used, size - used,
				 ".%03ldZ level=%s part=%s event=", now.tv_nsec / 1000000,
				 names[level], log_part);
	return used;
}

void fg_log(enum fg_log_level level, const char *format, ...)
{
	char line[1024];
	int saved = errno, more;
	size_t used, i;
	va_list args;

	if (level == FG_LOG_DEBUG && !log_verbose)
		return;
	used = log_prefix(line, 256, level);
	va_start(args, format);
	more = vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
	va_end(args);
	if (more > 0)
		used += (size_t)more;
	if (used > sizeof(line) - 2)
		used = sizeof(line) - 2;
	for (i = 0; i < used; i++)
		if ((unsigned char)line[i] < ' ' || (unsigned char)line[i] >= 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	/* A log line that cannot be written has nobody to be told. */
	if (write(STDERR_FILENO, line, used) < 0)
		errno = 0;
	errno = saved;
}

void fg_log_clean(char *text)
{
	for (; *text; text++) {
		if (*text == '"')
			*text = '\'';
		else if (*text < ' ' || *text > '~')
			*text = '?';
	}
}
