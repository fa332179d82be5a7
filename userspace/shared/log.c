#include "userspace/shared/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *log_part = "flipgate";
static bool log_verbose;
static uint64_t log_lost; /* lines */
static uint64_t log_told; /* of these: said so */
static bool log_torn;	  /* the last one that was lost is there in part */

void fg_log_open(const char *part, bool verbose)
{
	log_part = part;
	log_verbose = verbose;
	log_lost = log_told = 0; /* a fork inherits its parent's */
	log_torn = false;
}

/* O_NONBLOCK belongs to the open file, which a shell or a service manager may share: so it is
 * opened anew. */
void fg_log_never_wait(void)
{
	struct stat info;
	int fd;

	if (fstat(STDERR_FILENO, &info) || !(S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

uint64_t fg_log_lost(void)
{
	return log_lost;
}

/* A send that must not wait has its own flag; what is no socket has it from fg_log_never_wait. */
static bool write_line(const char *line, size_t length)
{
	ssize_t done = send(STDERR_FILENO, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (done < 0 && errno == ENOTSOCK)
		done = write(STDERR_FILENO, line, length);
	if (done == (ssize_t)length)
		return true;
	log_torn |= done > 0; /* a terminal takes what it has room for */
	return false;
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

static void tell_lost(void)
{
	char line[256];
	size_t used = log_torn ? 1 : 0;

	line[0] = '\n';
	used += log_prefix(line + used, sizeof(line) - used, FG_LOG_WARN);
	used += (size_t)snprintf(line + used, sizeof(line) - used, "log.lost lines=%llu\n",
				 (unsigned long long)(log_lost - log_told));
	if (!write_line(line, used))
		return;
	log_told = log_lost;
	log_torn = false;
}

/* Counts what finds no room. */
static void put_line(const char *line, size_t length)
{
	if (log_told != log_lost)
		tell_lost();
	if (!write_line(line, length))
		log_lost++;
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
	put_line(line, used);
	errno = saved;
}

/* "time=2026-01-31T12:00:00.123Z level=info part=worker event=..." */
static bool is_own_line(const char *part, const char *line, size_t length)
{
	static const char start[] = "time=0000-00-00T00:00:00.000Z level="; /* 0: a digit */
	const size_t level = sizeof(start) - 1;
	char rest[64];
	size_t i, expected;

	if (length < level)
		return false;
	for (i = 0; i < length; i++)
		if (line[i] < ' ' || line[i] > '~')
			return false;
	for (i = 0; i < level; i++)
		if (start[i] == '0' ? line[i] < '0' || line[i] > '9' : line[i] != start[i])
			return false;
	while (i < length && line[i] != ' ')
		i++;
	expected = (size_t)snprintf(rest, sizeof(rest), " part=%s event=", part);
	return length - i > expected && !memcmp(line + i, rest, expected);
}

void fg_log_forward(const char *part, const char *line, size_t length)
{
	const char *own = log_part;
	char text[1025];

	if (length > sizeof(text) - 1)
		length = sizeof(text) - 1;
	memcpy(text, line, length);
	text[length] = '\0';
	if (is_own_line(part, line, length)) {
		text[length] = '\n';
		put_line(text, length + 1);
		return;
	}
	for (size_t i = 0; i < length; i++)
		if (!text[i])
			text[i] = '?';
	fg_log_clean(text);
	log_part = part;
	fg_log(FG_LOG_WARN, "said text=\"%s\"", text);
	log_part = own;
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
