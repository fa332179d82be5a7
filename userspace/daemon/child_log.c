#include "userspace/daemon/child_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "userspace/shared/log.h"

#define SECOND_NS   1000000000ull
#define FRAME_BYTES 96 /* time, level, part */

int fg_child_log_open(struct fg_child_log *log, const char *part)
{
	int ends[2];

	*log = (struct fg_child_log){.part = part, .read = -1, .write = -1};
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	log->read = ends[0];
	log->write = ends[1];
	return 0;
}

void fg_child_log_use(const struct fg_child_log *log)
{
	dup2(log->write, STDERR_FILENO);
}

int fg_child_log_fd(const struct fg_child_log *log, uint64_t now_ns)
{
	return log->left || now_ns >= log->second_ns + SECOND_NS ? log->read : -1;
}

/* A short line costs the log as much as its frame does. */
static void end_line(struct fg_child_log *log)
{
	if (log->used) {
		fg_log_forward(log->part, log->line, log->used);
		log->left -= log->left < FRAME_BYTES ? log->left : FRAME_BYTES;
	}
	log->used = 0;
}

/* A line that is longer than there is room for counts as several. */
static void take(struct fg_child_log *log, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '\n')
			log->line[log->used++] = text[i];
		if (text[i] == '\n' || log->used == sizeof(log->line))
			end_line(log);
	}
}

bool fg_child_log_read(struct fg_child_log *log, uint64_t now_ns)
{
	char text[2048]; /* of one call, so that nothing else waits for long */
	ssize_t got;

	if (now_ns >= log->second_ns + SECOND_NS) {
		log->second_ns = now_ns;
		log->left = FG_CHILD_LOG_PER_S;
	}
	got = log->left ? read(log->read, text, sizeof(text)) : 0;
	if (got <= 0)
		return false;
	log->left -= log->left < (uint32_t)got ? log->left : (uint32_t)got;
	take(log, text, (size_t)got);
	return true;
}

void fg_child_log_close(struct fg_child_log *log)
{
	if (log->read < 0)
		return;
	close(log->write);
	log->left = FG_CHILD_LOG_PER_S;
	while (fg_child_log_read(log, log->second_ns))
		;
	end_line(log);
	close(log->read);
	log->read = log->write = -1;
}
