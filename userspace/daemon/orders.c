#include "userspace/daemon/orders.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for one descriptor, aligned as the kernel wants it. */
union passed {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int fg_orders_send(int socket, const struct fg_orders_message *message, int fd)
{
	struct iovec part = {(void *)message, sizeof(*message)};
	struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
	union passed passed;

	memset(&passed, 0, sizeof(passed));
	if (fd >= 0) {
		passed.head.cmsg_level = SOL_SOCKET;
		passed.head.cmsg_type = SCM_RIGHTS;
		passed.head.cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(&passed.head), &fd, sizeof(fd));
		head.msg_control = &passed;
		head.msg_controllen = sizeof(passed);
	}
	return sendmsg(socket, &head, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int fg_orders_receive(int socket, struct fg_orders_message *message, int *fd)
{
	struct iovec part = {message, sizeof(*message)};
	union passed passed;
	struct msghdr head = {.msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = &passed,
			      .msg_controllen = sizeof(passed)};
	ssize_t got = recvmsg(socket, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *with = got > 0 ? CMSG_FIRSTHDR(&head) : NULL;

	*fd = -1;
	if (got == 0)
		return -EPIPE;
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (with && with->cmsg_level == SOL_SOCKET && with->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(with), sizeof(*fd));
	if (got == sizeof(*message))
		return 0;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return -EBADMSG;
}
