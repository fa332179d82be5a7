#include "userspace/worker/uring.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "userspace/shared/stats.h"

#define BUFFER_GROUP 0

/*
 * A buffer, as recvmsg fills it (io_uring_recvmsg_out, name, control data, payload). Both
 * reservations are larger than an address and its pktinfo, and round, so that payloads are
 * 64-byte aligned.
 */
#define NAME_BYTES    32
#define CONTROL_BYTES 80
#define HEAD_BYTES    (sizeof(struct io_uring_recvmsg_out) + NAME_BYTES + CONTROL_BYTES)
_Static_assert(HEAD_BYTES == 128, "payloads are aligned");
_Static_assert(NAME_BYTES >= sizeof(struct sockaddr_in6), "name");
_Static_assert(CONTROL_BYTES >= CMSG_SPACE(sizeof(struct in6_pktinfo)), "control");

/* What a completion is about: user_data is kind << 32 | index. */
enum kind {
	RECEIVE = 1, /* index of a socket */
	SEND,	     /* buffer */
	POLL,	     /* poll */
	CANCEL,
};

static uint64_t user_data(enum kind kind, uint32_t index)
{
	return (uint64_t)kind << 32 | index;
}

/*
 * Never NULL: there is room for one send per buffer, an arm and a cancel per socket and one poll
 * per poll fd, and none of these is queued twice before it completes.
 */
static struct io_uring_sqe *next_sqe(struct fg_uring *uring)
{
	return io_uring_get_sqe(&uring->ring);
}

static uint8_t *buffer_at(const struct fg_uring *uring, uint32_t buffer)
{
	return uring->buffers + (size_t)buffer * uring->stride;
}

static void recycle(struct fg_uring *uring, uint32_t buffer)
{
	io_uring_buf_ring_add(uring->buffer_ring, buffer_at(uring, buffer),
			      HEAD_BYTES + uring->datagram_bytes, (unsigned short)buffer,
			      io_uring_buf_ring_mask(uring->buffer_count), 0);
	io_uring_buf_ring_advance(uring->buffer_ring, 1);
	uring->available++;
}

/* ---- completions ---- */

/* A datagram in `buffer`: into *message. False when it is of no use; the buffer is then free. */
static bool received(struct fg_uring *uring, uint32_t socket, uint32_t buffer,
		     struct fg_message *message, uint64_t now_ns)
{
	uint8_t *bytes = buffer_at(uring, buffer);
	const struct io_uring_recvmsg_out *out = (const void *)bytes;

	fg_stats_add(&uring->stats->udp_received, 1);
	if (out->flags & MSG_TRUNC) {
		fg_stats_add(&uring->stats->not_ours, 1);
		recycle(uring, buffer);
		return false;
	}
	uring->replies[buffer].socket = socket;
	*message = (struct fg_message){
		.bytes = bytes + HEAD_BYTES,
		.length = out->payloadlen,
		.capacity = uring->datagram_bytes,
		.arrived_ns = now_ns,
		.tag = buffer,
	};
	return true;
}

/*
 * True when *message was filled. A receive that is no longer standing (out of buffers, an empty
 * datagram, taken back) is armed again by rearm(); its last completion may carry a buffer too.
 */
static bool receive_completed(struct fg_uring *uring, const struct io_uring_cqe *cqe,
			      struct fg_message *message, uint64_t now_ns)
{
	uint32_t index = (uint32_t)cqe->user_data;
	uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	struct fg_uring_socket *socket = &uring->sockets[index];

	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		socket->armed = false;
		socket->empty = uring->draining && cqe->res == -EAGAIN;
	}
	if (!(cqe->flags & IORING_CQE_F_BUFFER))
		return false;
	uring->available--;
	if (cqe->res >= 0)
		return received(uring, index, buffer, message, now_ns);
	recycle(uring, buffer);
	return false;
}

/* Takes completions off the ring, up to the first receive that finds no room in messages[max]. */
static uint32_t reap(struct fg_uring *uring, struct fg_message *messages, uint32_t max,
		     uint64_t now_ns)
{
	struct io_uring_cqe *cqe;
	uint32_t count = 0, head, seen = 0;

	io_uring_for_each_cqe(&uring->ring, head, cqe)
	{
		uint32_t index = (uint32_t)cqe->user_data;
		enum kind kind = (enum kind)(cqe->user_data >> 32);

		if (kind == RECEIVE && count == max)
			break;
		if (kind == RECEIVE)
			count += receive_completed(uring, cqe, &messages[count], now_ns);
		if (kind == POLL)
			uring->polls[index].armed = false;
		if (kind == SEND) {
			fg_stats_add(&uring->stats->send_failed, cqe->res < 0);
			recycle(uring, index);
		}
		if (kind >= FG_TCP_KINDS)
			fg_tcp_complete(uring->tcp, cqe);
		seen++;
	}
	io_uring_cq_advance(&uring->ring, seen);
	return count;
}

/* ---- submissions ---- */

/*
 * Without a free buffer a receive would end at once. While draining, MSG_DONTWAIT makes a
 * receive read until the socket is empty and end with -EAGAIN.
 */
static void rearm(struct fg_uring *uring)
{
	uint32_t i;

	for (i = 0; i < uring->socket_count; i++) {
		struct fg_uring_socket *socket = &uring->sockets[i];
		struct io_uring_sqe *sqe;

		if (socket->armed || socket->empty || !uring->available)
			continue;
		sqe = next_sqe(uring);
		io_uring_prep_recvmsg_multishot(sqe, socket->fd, &uring->layout,
						uring->draining ? MSG_DONTWAIT : 0);
		io_uring_sqe_set_data64(sqe, user_data(RECEIVE, i));
		io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
		sqe->buf_group = BUFFER_GROUP;
		socket->armed = true;
	}
}

/* Enters the kernel if there is something to submit or deferred work to run; else no syscall. */
static void enter(struct fg_uring *uring)
{
	struct io_uring *ring = &uring->ring;
	uint32_t flags = IO_URING_READ_ONCE(*ring->sq.kflags);
	bool work = uring->draining || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);

	/* An error leaves the submissions queued: the next call tries them again. */
	if (io_uring_sq_ready(ring))
		work ? io_uring_submit_and_get_events(ring) : io_uring_submit(ring);
	else if (work)
		io_uring_get_events(ring);
}

uint32_t fg_uring_receive(struct fg_uring *uring, struct fg_message *messages, uint32_t max,
			  uint64_t now_ns)
{
	uint32_t count;

	enter(uring);
	count = reap(uring, messages, max, now_ns);
	rearm(uring);
	if (io_uring_sq_ready(&uring->ring))
		enter(uring);
	return count;
}

/*
 * The received pktinfo says where the datagram was sent to; given back, it says where to send
 * from (ip(7), RFC 3542 section 6). The route decides the interface, except that a link-local
 * address means nothing without one.
 */
static struct cmsghdr *source_of(struct msghdr *received_control)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(received_control);

	for (; cmsg; cmsg = CMSG_NXTHDR(received_control, cmsg)) {
		if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
			((struct in_pktinfo *)CMSG_DATA(cmsg))->ipi_ifindex = 0;
			return cmsg;
		}
		if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(cmsg);

			if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
				info->ipi6_ifindex = 0;
			return cmsg;
		}
	}
	return NULL;
}

static void queue_send(struct fg_uring *uring, const struct fg_message *message)
{
	uint32_t buffer = (uint32_t)message->tag;
	struct fg_uring_reply *reply = &uring->replies[buffer];
	uint8_t *name = buffer_at(uring, buffer) + sizeof(struct io_uring_recvmsg_out);
	const struct io_uring_recvmsg_out *out = (const void *)buffer_at(uring, buffer);
	struct msghdr control = {.msg_control = name + NAME_BYTES,
				 .msg_controllen = out->controllen};
	struct cmsghdr *source = source_of(&control);
	struct io_uring_sqe *sqe = next_sqe(uring);

	reply->vector = (struct iovec){message->bytes, message->length};
	reply->header = (struct msghdr){
		.msg_name = name,
		.msg_namelen = out->namelen,
		.msg_iov = &reply->vector,
		.msg_iovlen = 1,
		.msg_control = source,
		.msg_controllen = source ? source->cmsg_len : 0,
	};
	io_uring_prep_sendmsg(sqe, uring->sockets[reply->socket].fd, &reply->header, 0);
	io_uring_sqe_set_data64(sqe, user_data(SEND, buffer));
}

void fg_uring_reply(struct fg_uring *uring, struct fg_message *const *messages, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		if (messages[i]->length)
			queue_send(uring, messages[i]);
		else
			recycle(uring, (uint32_t)messages[i]->tag);
	}
	if (io_uring_sq_ready(&uring->ring))
		enter(uring);
}

static void arm_polls(struct fg_uring *uring)
{
	uint32_t i;

	for (i = 0; i < uring->poll_count; i++) {
		struct io_uring_sqe *sqe;

		if (uring->polls[i].armed)
			continue;
		sqe = next_sqe(uring);
		io_uring_prep_poll_add(sqe, uring->polls[i].fd, POLLIN);
		io_uring_sqe_set_data64(sqe, user_data(POLL, i));
		uring->polls[i].armed = true;
	}
}

int fg_uring_wait(struct fg_uring *uring, uint64_t timeout_ns)
{
	struct __kernel_timespec timeout = {.tv_sec = (int64_t)(timeout_ns / 1000000000),
					    .tv_nsec = (long long)(timeout_ns % 1000000000)};
	struct io_uring_cqe *cqe;
	int ret;

	/* Sends that are done and polls that fired long ago are no reason to wake up. */
	reap(uring, NULL, 0, 0);
	if (io_uring_cq_ready(&uring->ring) || (uring->tcp && fg_tcp_has_work(uring->tcp)))
		return 0;
	rearm(uring);
	arm_polls(uring);
	fg_stats_add(&uring->stats->sleeps, 1);
	ret = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &timeout, NULL);
	/* When it submitted something, io_uring_enter says that and not how the wait ended. */
	if (ret >= 0 || ret == -EINTR)
		return io_uring_cq_ready(&uring->ring) ? 0 : -ETIME;
	return ret;
}

void fg_uring_drain(struct fg_uring *uring)
{
	uint32_t i;

	if (uring->draining)
		return;
	uring->draining = true;
	for (i = 0; i < uring->socket_count; i++) {
		struct io_uring_sqe *sqe;

		if (!uring->sockets[i].armed)
			continue;
		sqe = next_sqe(uring);
		io_uring_prep_cancel64(sqe, user_data(RECEIVE, i), 0);
		io_uring_sqe_set_data64(sqe, user_data(CANCEL, i));
	}
	enter(uring);
}

bool fg_uring_drained(const struct fg_uring *uring)
{
	uint32_t i;

	for (i = 0; i < uring->socket_count; i++)
		if (!uring->sockets[i].empty)
			return false;
	return uring->draining && uring->available == uring->buffer_count;
}

/* ---- opening and closing ---- */

static int check_config(const struct fg_uring_config *config, struct fg_error *error)
{
	if (config->socket_count > FG_MAX_LISTENERS)
		return fg_error_set(error, -EINVAL, "io_uring: %u sockets, at most %u",
				    config->socket_count, FG_MAX_LISTENERS);
	if (config->poll_count > FG_MAX_QUEUES)
		return fg_error_set(error, -EINVAL, "io_uring: %u poll descriptors, at most %u",
				    config->poll_count, FG_MAX_QUEUES);
	if (config->buffers < 2 || config->buffers > 1024 ||
	    config->buffers & (config->buffers - 1))
		return fg_error_set(error, -EINVAL,
				    "io_uring: %u buffers, must be a power of two, 2 to 1024",
				    config->buffers);
	if (!config->datagram_bytes || config->datagram_bytes > FG_URING_DATAGRAM_BYTES)
		return fg_error_set(error, -EINVAL, "io_uring: datagrams of %u bytes, 1 to %u",
				    config->datagram_bytes, FG_URING_DATAGRAM_BYTES);
	return 0;
}

static int ask_for_pktinfo(int fd, struct fg_error *error)
{
	const int on = 1;
	int domain = 0, type = 0, ret;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_DGRAM)
		return fg_error_set(error, -EINVAL, "descriptor %d is no UDP socket", fd);
	ret = domain == AF_INET6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on))
				 : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	if (ret)
		return fg_error_set(error, -EINVAL, "descriptor %d is no UDP socket: pktinfo: %s",
				    fd, strerror(errno));
	return 0;
}

static int explain_setup(int code, struct fg_error *error)
{
	struct rlimit memlock = {0};

	switch (code) {
	case -EINVAL:
		return fg_error_set(error, -EOPNOTSUPP,
				    "io_uring has no DEFER_TASKRUN here: needs Linux 6.1 or newer");
	case -ENOSYS:
		return fg_error_set(
			error, -EOPNOTSUPP,
			"this kernel has no io_uring: needs CONFIG_IO_URING, Linux 6.1");
	case -EPERM:
		return fg_error_set(error, -EOPNOTSUPP,
				    "io_uring is forbidden here: set sysctl "
				    "kernel.io_uring_disabled to 0 (or lift the seccomp filter)");
	case -ENOMEM:
		getrlimit(RLIMIT_MEMLOCK, &memlock);
		return fg_error_set(error, -ENOMEM,
				    "no memory for io_uring: raise RLIMIT_MEMLOCK (is %llu KiB)",
				    (unsigned long long)memlock.rlim_cur >> 10);
	default:
		return fg_error_set(error, code, "io_uring_setup: %s", strerror(-code));
	}
}

static int open_ring(struct fg_uring *uring, struct fg_error *error)
{
	/* A buffer has at most one completion waiting, of its receive or of its send. Connections
	 * may have more than there is room for: the kernel keeps those until there is. */
	uint32_t own = uring->buffer_count + 2 * uring->socket_count + uring->poll_count;
	uint32_t entries = own + (uring->tcp ? FG_TCP_SQES : 0);
	struct io_uring_params params = {
		.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = (uring->tcp ? 8 : 2) * entries,
	};
	int ret = io_uring_queue_init_params(entries, &uring->ring, &params);

	if (ret) {
		uring->ring = (struct io_uring){0};
		return explain_setup(ret, error);
	}
	ret = io_uring_register_ring_fd(&uring->ring);
	if (ret != 1)
		return fg_error_set(error, ret, "io_uring: registering the ring: %s",
				    strerror(-ret));
	if (uring->tcp)
		fg_tcp_attach(uring->tcp, &uring->ring, own);
	return 0;
}

/* One mapping: the ring of buffers, what sends need, the buffers. */
static int map_buffers(struct fg_uring *uring, struct fg_error *error)
{
	size_t ring_bytes = uring->buffer_count * sizeof(struct io_uring_buf);
	size_t replies_bytes = uring->buffer_count * sizeof(struct fg_uring_reply);
	size_t head_bytes = (ring_bytes + replies_bytes + 63) & ~(size_t)63;
	uint8_t *map;

	/* An odd number of cache lines: the heads of buffers spread over all sets of the cache. */
	uring->stride = (uint32_t)((HEAD_BYTES + uring->datagram_bytes + 63) & ~63u) | 64;
	uring->map_bytes = head_bytes + (size_t)uring->buffer_count * uring->stride;
	map = mmap(NULL, uring->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	if (map == MAP_FAILED)
		return fg_error_set(error, -ENOMEM, "no memory for %u buffers of %u bytes",
				    uring->buffer_count, uring->stride);
	uring->buffer_ring = (void *)map;
	uring->replies = (void *)(map + ring_bytes);
	uring->buffers = map + head_bytes;
	return 0;
}

static int register_buffers(struct fg_uring *uring, struct fg_error *error)
{
	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)uring->buffer_ring,
		.ring_entries = uring->buffer_count,
		.bgid = BUFFER_GROUP,
	};
	uint32_t i;
	int ret;

	io_uring_buf_ring_init(uring->buffer_ring);
	ret = io_uring_register_buf_ring(&uring->ring, &registration, 0);
	if (ret)
		return fg_error_set(error, ret == -EINVAL ? -EOPNOTSUPP : ret,
				    "io_uring: no ring of provided buffers: %s", strerror(-ret));
	for (i = 0; i < uring->buffer_count; i++) {
		/* A datagram of one MTU shall meet no page fault, a larger one once per buffer. */
		buffer_at(uring, i)[0] = 0;
		buffer_at(uring, i)[HEAD_BYTES + (uring->datagram_bytes - 1) % 2048] = 0;
		recycle(uring, i);
	}
	return 0;
}

/* liburing 2.3 as Debian builds it lacks the calls for these. */
static int ask_ring(struct fg_uring *uring, unsigned int what, void *arg, unsigned int count)
{
	long ret = syscall(SYS_io_uring_register, uring->ring.ring_fd, what, arg, count);

	return ret < 0 ? -errno : 0;
}

/* The kernel carries out io_uring's operations behind seccomp's back, so the ring itself is told
 * which ones this process needs, for ever. */
static int restrict_ring(struct fg_uring *uring, struct fg_error *error)
{
	static const uint8_t calls[] = {IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_POLL_ADD,
					IORING_OP_ASYNC_CANCEL,
					/* TCP only: */
					IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_SEND};
	uint32_t call_count = uring->tcp ? 7 : 4, count;
	struct io_uring_restriction allowed[sizeof(calls) + 2] = {
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_BUFFER_SELECT},
		/* what fg_uring_close undoes */
		{.opcode = IORING_RESTRICTION_REGISTER_OP,
		 .register_op = IORING_UNREGISTER_RING_FDS},
	};
	int ret;

	for (count = 2; count < 2 + call_count; count++)
		allowed[count] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP,
							       .sqe_op = calls[count - 2]};
	ret = ask_ring(uring, IORING_REGISTER_RESTRICTIONS, allowed, count);

	if (!ret)
		ret = ask_ring(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return ret ? fg_error_set(error, ret, "io_uring: restricting the ring: %s", strerror(-ret))
		   : 0;
}

int fg_uring_open(struct fg_uring *uring, const struct fg_uring_config *config,
		  struct fg_error *error)
{
	uint32_t i;
	int ret = check_config(config, error);

	*uring = (struct fg_uring){
		.layout = {.msg_namelen = NAME_BYTES, .msg_controllen = CONTROL_BYTES},
		.tcp = config->tcp,
		.stats = config->stats,
		.socket_count = config->socket_count,
		.poll_count = config->poll_count,
		.buffer_count = config->buffers,
		.datagram_bytes = config->datagram_bytes,
	};
	for (i = 0; !ret && i < config->socket_count; i++) {
		uring->sockets[i].fd = config->sockets[i];
		ret = ask_for_pktinfo(config->sockets[i], error);
	}
	for (i = 0; !ret && i < config->poll_count; i++)
		uring->polls[i].fd = config->polls[i];
	if (!ret)
		ret = open_ring(uring, error);
	if (!ret)
		ret = map_buffers(uring, error);
	if (!ret)
		ret = register_buffers(uring, error);
	if (!ret)
		ret = restrict_ring(uring, error);
	if (ret) {
		fg_uring_close(uring);
		return ret;
	}
	rearm(uring);
	enter(uring);
	return 0;
}

void fg_uring_close(struct fg_uring *uring)
{
	if (uring->ring.sq.ring_ptr)
		io_uring_queue_exit(&uring->ring);
	if (uring->buffer_ring)
		munmap(uring->buffer_ring, uring->map_bytes);
	*uring = (struct fg_uring){0};
}
