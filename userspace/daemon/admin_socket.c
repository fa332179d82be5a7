#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "userspace/daemon/admin.h"

#define GROUP_BYTES (16u << 20) /* no group's record is that large */

/* Who answers at the socket is alive, also one with so many clients that more have to wait
 * (EAGAIN); a socket that nobody answers at is left over. */
static bool somebody_answers(const struct sockaddr_un *address)
{
	bool answers = true;

	/* The children of a keeper that was killed a moment ago need one to die. */
	for (int attempt = 0; answers && attempt < 10; attempt++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (attempt)
			usleep(100000);
		answers = !connect(fd, (const struct sockaddr *)address, sizeof(*address)) ||
			  errno == EAGAIN;
		close(fd);
	}
	return answers;
}

static void make_parent(const char *path)
{
	char parent[FG_ADMIN_SOCKET_BYTES];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		mkdir(parent, 0755);
	}
}

/* A group of many members takes much room. */
static int find_group(const char *name, gid_t *gid)
{
	struct group entry, *found = NULL;
	char *buffer = NULL, *larger;
	size_t size = 4096;
	int code = ERANGE;

	for (; code == ERANGE && size <= GROUP_BYTES; size *= 2) {
		larger = realloc(buffer, size);
		code = larger ? 0 : ENOMEM;
		if (larger)
			buffer = larger;
		if (!code)
			code = getgrnam_r(name, &entry, buffer, size, &found);
	}
	if (found)
		*gid = entry.gr_gid;
	free(buffer);
	if (code)
		return -code;
	return found ? 0 : -ESRCH;
}

/* Members may connect as well: that takes the right to write. */
static int give_to_group(const char *path, const char *group)
{
	gid_t gid;
	int code;

	if (!group[0])
		return 0;
	code = find_group(group, &gid);
	if (code)
		return code;
	return chown(path, (uid_t)-1, gid) || chmod(path, 0660) ? -errno : 0;
}

int fg_admin_move(char path[FG_ADMIN_SOCKET_BYTES], const char *to, struct fg_error *error)
{
	if (rename(path, to))
		return fg_error_set(error, -errno, "control socket %s: %s", path, strerror(errno));
	snprintf(path, FG_ADMIN_SOCKET_BYTES, "%s", to);
	return 0;
}

/* Whoever took our place has its socket there: so a connection asks whose it is. */
void fg_admin_unlisten(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred peer = {.pid = 0};
	socklen_t size = sizeof(peer);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.pid == getpid())
		unlink(path);
	if (fd >= 0)
		close(fd);
}

int fg_admin_listen(const char *path, const char *group, int *result, struct fg_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, code = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	make_parent(path);
	if (somebody_answers(&address))
		return fg_error_set(error, -EADDRINUSE,
				    "control socket %s: another flipgated serves here "
				    "(--name or --socket for a second one)",
				    path);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 16))
		code = -errno;
	umask(mask);
	if (!code)
		code = give_to_group(path, group);
	if (!code) {
		*result = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (code == -ESRCH)
		return fg_error_set(error, code, "socket-group: no group \"%s\"", group);
	return fg_error_set(error, code, "control socket %s: %s", path, strerror(-code));
}
