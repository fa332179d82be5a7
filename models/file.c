#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "models/file.h"

bool fg_file_plain_name(struct fg_text name)
{
	return name.length >= 1 && name.length <= NAME_MAX && !memchr(name.at, '/', name.length) &&
	       !memchr(name.at, 0, name.length) && !fg_text_is(name, ".") &&
	       !fg_text_is(name, "..");
}

static int open_error(int code, const char *name, struct fg_error *error)
{
	if (code == ELOOP)
		return fg_error_set(error, -EINVAL,
				    "%s is a symbolic link: put the file itself there", name);
	if (code == EACCES)
		return fg_error_set(error, -EACCES,
				    "%s: user %u may not read it: chmod o+r the file and o+x its "
				    "directory, or give them to that user",
				    name, geteuid());
	return fg_error_set(error, -code, "%s: %s", name, strerror(code));
}

int fg_file_open(int dirfd, const char *name, int *fd, uint64_t *size, struct fg_error *error)
{
	struct stat status;

	if (!fg_file_plain_name((struct fg_text){name, strlen(name)}))
		return fg_error_set(error, -EINVAL, "'%.40s' is not a plain file name", name);
	/* O_NONBLOCK, so that a FIFO cannot hold us up before fstat has seen that it is one. */
	*fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return open_error(errno, name, error);
	if (fstat(*fd, &status) || !S_ISREG(status.st_mode)) {
		close(*fd);
		return fg_error_set(error, -EINVAL, "%s is not a regular file", name);
	}
	*size = (uint64_t)status.st_size;
	return 0;
}

int fg_file_read(int fd, const char *name, uint64_t offset, size_t size, struct fg_arena *arena,
		 const void **bytes, struct fg_error *error)
{
	char *buffer = fg_arena_alloc(arena, size, 1);
	size_t done = 0;

	if (!buffer)
		return fg_error_set(error, -ENOMEM, "%s: out of memory for %zu bytes", name, size);
	while (done < size) {
		ssize_t got = pread(fd, buffer + done, size - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fg_error_set(error, -errno, "%s: %s", name, strerror(errno));
		if (got == 0)
			return fg_error_set(error, -EIO, "%s ends after %llu bytes", name,
					    (unsigned long long)(offset + done));
		done += (size_t)got;
	}
	*bytes = buffer;
	return 0;
}

int fg_file_load(int dirfd, const char *name, uint64_t max, struct fg_arena *arena,
		 const void **bytes, size_t *size, struct fg_error *error)
{
	uint64_t length;
	int fd, result = fg_file_open(dirfd, name, &fd, &length, error);

	if (result)
		return result;
	if (length > max)
		result = fg_error_set(error, -EFBIG, "%s has %llu bytes, at most %llu are read",
				      name, (unsigned long long)length, (unsigned long long)max);
	else
		result = fg_file_read(fd, name, 0, length, arena, bytes, error);
	close(fd);
	*size = length;
	return result;
}
