#include "userspace/daemon/predecessor.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket tells who called listen(2) on its other end, and cannot be made to lie. */
static int who_listens(const char *path, struct ucred *keeper)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), code = 0;
	socklen_t size = sizeof(*keeper);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, keeper, &size))
		code = -errno;
	close(fd);
	return code;
}

/* A path given by mistake may well be another daemon's, which SIGTERM would end. */
static bool is_flipgated(pid_t pid)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return !strncmp(name, "flipgated", strlen("flipgated"));
}

/* There the same addresses are others. */
static bool in_our_network(pid_t pid)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	return !stat("/proc/self/ns/net", &ours) && !stat(path, &theirs) &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

int fg_predecessor_find(struct fg_predecessor *predecessor, const char *path,
			struct fg_error *error)
{
	struct ucred keeper;
	int code = who_listens(path, &keeper);

	*predecessor = (struct fg_predecessor){.pidfd = -1};
	if (code == -ENOENT || code == -ECONNREFUSED)
		return 0;
	if (code)
		return fg_error_set(error, code, "control socket %s: %s", path, strerror(-code));
	if (keeper.uid != geteuid() || keeper.pid <= 0)
		return fg_error_set(error, -EPERM,
				    "control socket %s: the gateway there belongs to uid %u, or to "
				    "another PID namespace: stop it where it was started",
				    path, keeper.uid);
	if (!is_flipgated(keeper.pid))
		return fg_error_set(
			error, -EPERM,
			"control socket %s: pid %d listens there, which is no flipgated", path,
			keeper.pid);
	if (!in_our_network(keeper.pid))
		return fg_error_set(error, -EXDEV,
				    "control socket %s: the gateway there (pid %d) is in another "
				    "network namespace: start this one with nsenter --target %d "
				    "--net",
				    path, keeper.pid, keeper.pid);
	predecessor->pidfd = pidfd_open(keeper.pid, 0);
	if (predecessor->pidfd < 0)
		return errno == ESRCH ? 0
				      : fg_error_set(error, -errno, "pid %d: %s", keeper.pid,
						     strerror(errno));
	predecessor->pid = keeper.pid;
	return 0;
}

bool fg_predecessor_lives(struct fg_predecessor *predecessor)
{
	struct pollfd one = {.fd = predecessor->pidfd, .events = POLLIN};

	if (predecessor->pid && poll(&one, 1, 0) > 0)
		fg_predecessor_close(predecessor);
	return predecessor->pid;
}

/* What the kernel says of a descriptor of its: a link of XDP to that interface? */
static bool is_link_to(const char *path, int ifindex)
{
	FILE *file = fopen(path, "re");
	char line[128];
	bool xdp = false;
	int index = 0;

	while (file && fgets(line, sizeof(line), file)) {
		xdp |= !strcmp(line, "link_type:\txdp\n");
		sscanf(line, "ifindex: %d", &index);
	}
	if (file)
		fclose(file);
	return xdp && index == ifindex;
}

int fg_predecessor_link(const struct fg_predecessor *predecessor, int ifindex)
{
	char folder[64], path[sizeof(folder) + NAME_MAX + 2];
	struct dirent *entry;
	int link = -1;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%d/fdinfo", predecessor->pid);
	dir = predecessor->pid && ifindex ? opendir(folder) : NULL;
	while (link < 0 && dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] != '.' && is_link_to(path, ifindex))
			link = pidfd_getfd(predecessor->pidfd, atoi(entry->d_name), 0);
	}
	if (dir)
		closedir(dir);
	return link;
}

int fg_predecessor_dismiss(const struct fg_predecessor *predecessor)
{
	if (!predecessor->pid || !pidfd_send_signal(predecessor->pidfd, SIGTERM, NULL, 0))
		return 0;
	return errno == ESRCH ? 0 : -errno;
}

void fg_predecessor_close(struct fg_predecessor *predecessor)
{
	if (predecessor->pid)
		close(predecessor->pidfd);
	*predecessor = (struct fg_predecessor){.pidfd = -1};
}
