#include "userspace/daemon/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "userspace/shared/log.h"

/* ---- the file ---- */

int fg_audit_file(const char *path, int *fd, struct fg_error *error)
{
	struct stat info;
	int code = 0;

	*fd = -1;
	if (!path[0])
		return 0;
	/* O_NONBLOCK: not to wait for ever where the path names a pipe. */
	*fd = open(path,
		   O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW,
		   0640);
	if (*fd < 0)
		return fg_error_set(error, -errno, "audit log %.180s: %s", path,
				    errno == ELOOP ? "is a symbolic link: name the file itself"
						   : strerror(errno));
	if (fstat(*fd, &info))
		code = fg_error_set(error, -errno, "audit log %.180s: %s", path, strerror(errno));
	else if (!S_ISREG(info.st_mode))
		code = fg_error_set(error, -EINVAL, "audit log %.180s: not a regular file", path);
	if (code) {
		close(*fd);
		*fd = -1;
	}
	return code;
}

void fg_audit_open(struct fg_audit *audit, int fd, _Atomic uint64_t *lost)
{
	memset(audit, 0, sizeof(*audit));
	audit->lost = lost;
	fg_audit_reopen(audit, fd);
}

/* What ends without a newline was torn, perhaps by a process that died. */
static bool is_torn(int fd)
{
	struct stat info;
	char last;

	return fd >= 0 && !fstat(fd, &info) && info.st_size > 0 &&
	       pread(fd, &last, 1, info.st_size - 1) == 1 && last != '\n';
}

int fg_audit_reopen(struct fg_audit *audit, int fd)
{
	int old = audit->fd;

	audit->fd = fd;
	audit->torn = is_torn(fd);
	audit->failing = false;
	return old;
}

void fg_audit_close(struct fg_audit *audit)
{
	fg_audit_flush(audit);
}

/* ---- lines ---- */

static void say_time(char text[32])
{
	struct timespec now;
	struct tm utc;
	size_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	used = strftime(text, 24, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + used, 32 - used, ".%03ldZ", now.tv_nsec / 1000000);
}

/* Of /etc/passwd alone: getpwuid(3) may ask a directory service, and wait for it. */
static void find_name(uid_t uid, char *name, size_t size)
{
	FILE *file = fopen("/etc/passwd", "re");
	struct passwd entry, *found;
	char buffer[1024];

	snprintf(name, size, "%u", uid);
	while (file && !fgetpwent_r(file, &entry, buffer, sizeof(buffer), &found))
		if (entry.pw_uid == uid) {
			snprintf(name, size, "%s", entry.pw_name);
			break;
		}
	if (file)
		fclose(file);
}

static json_t *say_who(const struct fg_audit_who *who)
{
	char name[32];

	if (!who)
		return json_string("flipgated");
	find_name(who->uid, name, sizeof(name));
	fg_log_clean(name);
	return json_pack("{s:I,s:I,s:s}", "uid", (json_int_t)who->uid, "pid", (json_int_t)who->pid,
			 "user", name);
}

/* jansson takes UTF-8 alone; a reason may quote a file's name, which can be anything. */
static void put_text(json_t *line, const char *key, const char *text)
{
	char clean[512];

	if (!text || !text[0] || !json_object_set_new(line, key, json_string(text)))
		return;
	snprintf(clean, sizeof(clean), "%s", text);
	fg_log_clean(clean);
	json_object_set_new(line, key, json_string(clean));
}

static void put_number(json_t *line, const char *key, uint64_t value)
{
	if (value)
		json_object_set_new(line, key, json_integer((json_int_t)value));
}

static json_t *say_event(const struct fg_audit_event *event)
{
	json_t *line = json_object();
	char time[32];

	say_time(time);
	put_text(line, "time", time);
	json_object_set_new(line, "who", say_who(event->who));
	put_text(line, "what", event->what);
	put_text(line, "model", event->model);
	put_number(line, "from", event->from);
	put_number(line, "to", event->to);
	put_number(line, "generation", event->generation);
	put_text(line, "result", event->result);
	put_text(line, "why", event->why);
	put_text(line, "error", event->error);
	return line;
}

/* Plain ASCII with its newline, to be freed; NULL: no memory, or too long. */
static char *print(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
	size_t length = text ? strlen(text) : 0;

	if (!text || length >= FG_AUDIT_LINE_BYTES) {
		free(text);
		return NULL;
	}
	text[length] = '\n'; /* in the place of the NUL: lines are counted bytes from here on */
	return text;
}

static size_t line_bytes(const char *line)
{
	return (size_t)((const char *)rawmemchr(line, '\n') - line) + 1;
}

static void lose(struct fg_audit *audit, const char *line, const char *reason)
{
	atomic_fetch_add(audit->lost, 1);
	if (!audit->failing)
		fg_log(FG_LOG_ERROR, "audit.trouble reason=\"%s\" next=\"lines go here\"", reason);
	audit->failing = true;
	fg_log(FG_LOG_WARN, "audit.lost line=%.*s", (int)line_bytes(line) - 1, line);
}

void fg_audit_add(struct fg_audit *audit, const struct fg_audit_event *event)
{
	json_t *object;
	char *line;

	if (audit->fd < 0)
		return;
	if (audit->count == FG_AUDIT_QUEUE)
		fg_audit_flush(audit);
	object = say_event(event);
	line = print(object);
	json_decref(object);
	if (line)
		audit->lines[audit->count++] = line;
	else
		lose(audit, "{}\n", "no memory for a line");
}

/* One write(2). After a short one the file ends within a line, which the next one ends. */
static void write_line(struct fg_audit *audit, const char *line)
{
	char bytes[1 + FG_AUDIT_LINE_BYTES] = "\n";
	size_t length = line_bytes(line);
	ssize_t written;

	memcpy(bytes + 1, line, length);
	if (audit->torn)
		written = write(audit->fd, bytes, length + 1) - 1;
	else
		written = write(audit->fd, bytes + 1, length);
	if (written == (ssize_t)length) {
		audit->torn = audit->failing = false;
		return;
	}
	audit->torn |= written > 0;
	lose(audit, line, written < 0 ? strerror(errno) : "the disk is full");
}

void fg_audit_flush(struct fg_audit *audit)
{
	uint32_t i;

	for (i = 0; i < audit->count; i++) {
		write_line(audit, audit->lines[i]);
		free(audit->lines[i]);
	}
	audit->count = 0;
}

/* ---- history ---- */

/* The file's end, to be freed; it begins with a whole line. */
static char *read_tail(int fd, size_t *length, struct fg_error *error)
{
	char *bytes = malloc(FG_AUDIT_TAIL_BYTES), *start;
	struct stat info;
	off_t from;
	ssize_t got;

	if (!bytes || fstat(fd, &info))
		goto fail;
	from = info.st_size > FG_AUDIT_TAIL_BYTES ? info.st_size - FG_AUDIT_TAIL_BYTES : 0;
	got = pread(fd, bytes, FG_AUDIT_TAIL_BYTES, from);
	if (got < 0)
		goto fail;
	*length = (size_t)got;
	start = from ? memchr(bytes, '\n', *length) : NULL;
	if (start) {
		*length -= (size_t)(start + 1 - bytes);
		memmove(bytes, start + 1, *length);
	}
	return bytes;
fail:
	fg_error_set(error, -errno, "reading the audit log: %s", strerror(errno));
	free(bytes);
	return NULL;
}

json_t *fg_audit_tail(const struct fg_audit *audit, uint32_t limit, size_t bytes,
		      struct fg_error *error)
{
	size_t length = 0, end, start;
	char *text = read_tail(audit->fd, &length, error);
	json_t *list = text ? json_array() : NULL;

	/* From the newest line backward; what follows the last newline is no line yet. */
	for (end = length; list && end > 0 && text[end - 1] != '\n'; end--)
		;
	for (; list && end > 0 && json_array_size(list) < limit; end = start) {
		const char *before = end > 1 ? memrchr(text, '\n', end - 1) : NULL;
		json_t *line;

		start = before ? (size_t)(before + 1 - text) : 0;
		if (end - start > bytes)
			break;
		line = json_loadb(text + start, end - start, 0, NULL);
		if (json_is_object(line)) {
			bytes -= end - start;
			json_array_insert(list, 0, line);
		}
		json_decref(line);
	}
	free(text);
	return list;
}
