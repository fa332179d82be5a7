#include "userspace/daemon/predecessor.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), code = 0;
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
		return fg_error_set(error, code, "control socket %s: %s", path,
				    code == -EAGAIN ? "too many clients wait there: try again"
						    : strerror(-code));
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

/* ---- what it listens at ------------------------------------------------------------------- */

/* One of its descriptors is that socket. */
static int holds_socket(pid_t pid, unsigned long inode)
{
	char folder[64], wanted[64], target[64];
	struct dirent *entry;
	bool found = false;
	ssize_t length;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%d/fd", pid);
	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	dir = opendir(folder);
	if (!dir)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno; /* it has just ended */
	while (!found && (entry = readdir(dir))) {
		length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = '\0';
		found = !strcmp(target, wanted);
	}
	closedir(dir);
	return found;
}

/* A socket as /proc/net shows it: the address by 32-bit words in network order, as numbers. */
struct shown {
	char hex[33];
	unsigned int port, state;
	unsigned long inode;
};

static bool parse_shown(const char *line, struct shown *shown)
{
	return sscanf(line, "%*d: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu",
		      shown->hex, &shown->port, &shown->state, &shown->inode) == 4;
}

/* `address` in the same way. */
static void show(const struct sockaddr_storage *address, struct shown *shown)
{
	const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)address;
	const uint32_t *words = ipv6->sin6_addr.s6_addr32;

	shown->port = ntohs(ipv4->sin_port); /* at the same place in both */
	if (address->ss_family == AF_INET)
		snprintf(shown->hex, sizeof(shown->hex), "%08X", ipv4->sin_addr.s_addr);
	else
		snprintf(shown->hex, sizeof(shown->hex), "%08X%08X%08X%08X", words[0], words[1],
			 words[2], words[3]);
}

static bool is_wildcard(const struct shown *shown)
{
	return strspn(shown->hex, "0") == strlen(shown->hex);
}

static int overlaps(const struct fg_predecessor *predecessor, const struct shown *ours,
		    struct fg_error *error)
{
	return fg_error_set(error, -EADDRINUSE,
			    "port %u: the gateway that runs (pid %d) listens at %s, and this one "
			    "at %s: requests would be lost before it is ready. Give this one the "
			    "same address, or stop that one first",
			    ours->port, predecessor->pid,
			    is_wildcard(ours) ? "a single address" : "all addresses",
			    is_wildcard(ours) ? "all" : "a single one");
}

int fg_predecessor_listens(const struct fg_predecessor *predecessor, int protocol,
			   const struct sockaddr_storage *address, struct fg_error *error)
{
	bool tcp = protocol == IPPROTO_TCP, equal = false, overlap = false;
	struct shown ours, theirs;
	char path[32], line[512];
	int held = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/net/%s%s", tcp ? "tcp" : "udp",
		 address->ss_family == AF_INET6 ? "6" : "");
	show(address, &ours);
	file = fopen(path, "re");
	if (!file)
		return fg_error_set(error, -errno, "%s: %s", path, strerror(errno));
	while (held >= 0 && !(held && equal) && fgets(line, sizeof(line), file)) {
		if (!parse_shown(line, &theirs) || theirs.port != ours.port ||
		    (tcp && theirs.state != TCP_LISTEN))
			continue;
		equal = !strcmp(theirs.hex, ours.hex);
		held = 0;
		if (equal || (!overlap && is_wildcard(&theirs) != is_wildcard(&ours)))
			held = holds_socket(predecessor->pid, theirs.inode);
		overlap |= held > 0 && !equal;
	}
	fclose(file);
	if (held < 0)
		return fg_error_set(error, held, "what pid %d listens at: %s", predecessor->pid,
				    strerror(-held));
	if (held && equal)
		return 1;
	return overlap ? overlaps(predecessor, &ours, error) : 0;
}

/* ---- its end ------------------------------------------------------------------------------ */

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
