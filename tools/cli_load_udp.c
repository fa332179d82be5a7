/* A load over UDP: every flow has a socket of its own, or affinity keys share some. */
#include "tools/cli_load_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "tools/client_wait.h"

#define SECOND_NS     1000000000ull
#define SEND_BATCH    32
#define RECEIVE_BATCH 16
#define EVENTS	      64
#define SCANNED	      16 /* so few sockets are read without asking epoll which */

/* A socket and what it waits for. */
struct conn {
	int fd;		  /* -1: not open */
	uint32_t flow;	  /* when every flow has its own */
	uint32_t waiting; /* requests sent and not answered */
	uint32_t place;	  /* in udp.waiting, while it waits for any */
	bool ended;	  /* its flow is over: closed when all is answered, or lost */
	uint64_t last_sent_ns;
};

struct udp {
	struct fg_load_run *run;
	const struct fg_load_config *config;
	size_t padding;	    /* of every request */
	struct conn *conns; /* run->sockets */
	uint32_t open_conns;
	uint32_t search;   /* where to look for a closed one next */
	uint32_t *active;  /* [flow slot] -> conn */
	uint32_t *waiting; /* the conns that wait for replies, in no order */
	uint32_t waiting_count;
	int epoll;
	uint64_t swept_ns;
	unsigned char *zeros;	/* `padding` bytes */
	unsigned char *receive; /* RECEIVE_BATCH buffers of receive_bytes */
	size_t receive_bytes;
};

/* ---- sockets -------------------------------------------------------------------------------- */

static int open_conn(struct udp *udp, uint32_t flow, uint32_t *index)
{
	struct epoll_event event = {.events = EPOLLIN};
	int bytes = 4 << 20;
	struct conn *conn;

	while (udp->conns[udp->search].fd >= 0) /* there is room: count_sockets has seen to it */
		udp->search = (udp->search + 1) % udp->run->sockets;
	*index = udp->search;
	conn = &udp->conns[*index];
	*conn = (struct conn){.fd = fg_client_connect(&udp->run->address), .flow = flow};
	if (conn->fd < 0)
		return conn->fd;
	udp->open_conns++;
	if (udp->config->sockets)
		setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	event.data.u32 = *index;
	return epoll_ctl(udp->epoll, EPOLL_CTL_ADD, conn->fd, &event) ? -errno : 0;
}

static void sent_on(struct udp *udp, struct conn *conn, uint32_t requests, uint64_t now)
{
	if (conn->waiting == 0) {
		conn->place = udp->waiting_count;
		udp->waiting[udp->waiting_count++] = (uint32_t)(conn - udp->conns);
	}
	conn->waiting += requests;
	conn->last_sent_ns = now;
}

static void answered_on(struct udp *udp, struct conn *conn, uint32_t requests)
{
	uint32_t moved;

	conn->waiting -= requests;
	if (conn->waiting)
		return;
	moved = udp->waiting[--udp->waiting_count];
	udp->waiting[conn->place] = moved;
	udp->conns[moved].place = conn->place;
}

static void close_conn(struct udp *udp, struct conn *conn)
{
	if (conn->waiting)
		answered_on(udp, conn, conn->waiting); /* or lost */
	close(conn->fd);
	conn->fd = -1;
	udp->open_conns--;
}

/* Closes the sockets of ended flows whose last request is lost by now. */
static void sweep(struct udp *udp, uint64_t now)
{
	if (now - udp->swept_ns < udp->config->timeout_ns / 16)
		return;
	udp->swept_ns = now;
	for (uint32_t i = 0; i < udp->run->sockets; i++) {
		struct conn *conn = &udp->conns[i];

		if (conn->fd >= 0 && conn->ended &&
		    now - conn->last_sent_ns > udp->config->timeout_ns)
			close_conn(udp, conn);
	}
}

/* The socket for request i: its flow's own, opened when the flow begins, or a shared one. */
static int conn_for(struct udp *udp, uint32_t i, uint64_t now, struct conn **conn)
{
	const struct fg_load_config *config = udp->config;
	uint32_t slot = i % config->flows, flow = fg_load_flow(config, i), *active;
	int code;

	if (config->sockets) {
		*conn = &udp->conns[(uint64_t)slot * config->sockets / config->flows];
		return 0;
	}
	active = &udp->active[slot];
	*conn = &udp->conns[*active];
	if ((*conn)->flow == flow)
		return 0;
	(*conn)->ended = true;
	if ((*conn)->waiting == 0)
		close_conn(udp, *conn);
	sweep(udp, now);
	code = open_conn(udp, flow, active);
	*conn = &udp->conns[*active];
	return code;
}

static int prepare(struct udp *udp, struct fg_error *error)
{
	const struct fg_load_run *run = udp->run;
	size_t most = run->reply_bytes - FG_WIRE_AMPLIFICATION;

	udp->padding = most > run->message_bytes ? most - run->message_bytes : 0;
	udp->receive_bytes =
		(run->message_bytes + udp->padding + FG_WIRE_AMPLIFICATION + 63) & ~(size_t)63;
	udp->zeros = calloc(1, udp->padding + 1);
	udp->receive = aligned_alloc(64, RECEIVE_BATCH * udp->receive_bytes);
	udp->active = calloc(udp->config->flows, sizeof(*udp->active));
	udp->conns = calloc(run->sockets, sizeof(*udp->conns));
	udp->waiting = calloc(run->sockets, sizeof(*udp->waiting));
	if (!udp->zeros || !udp->receive || !udp->active || !udp->conns || !udp->waiting)
		return fg_error_set(error, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < run->sockets; i++)
		udp->conns[i].fd = -1;
	udp->epoll = epoll_create1(EPOLL_CLOEXEC);
	return udp->epoll < 0 ? fg_error_set(error, -errno, "epoll: %s", strerror(errno)) : 0;
}

static int open_conns(struct udp *udp, struct fg_error *error)
{
	uint32_t first = udp->config->sockets ? udp->config->sockets : udp->config->flows;
	uint32_t slots = udp->config->sockets ? 0 : udp->config->flows;
	int code = 0;

	for (uint32_t i = 0; i < first && !code; i++) {
		uint32_t index;

		code = open_conn(udp, fg_load_flow(udp->config, i), &index);
		if (i < slots)
			udp->active[i] = index;
	}
	return code ? fg_error_set(error, code, "socket %u of %u: %s", udp->open_conns, first,
				   strerror(-code))
		    : 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Header, rows, padding. */
#define PARTS (1 + FG_LOAD_ROW_PARTS + 1)

/* Messages for one socket, being gathered. */
struct batch {
	struct conn *conn;
	unsigned count;
	uint32_t first; /* number of the first request; the others follow it */
	struct mmsghdr messages[SEND_BATCH];
	struct fg_wire_header headers[SEND_BATCH];
	struct iovec parts[SEND_BATCH][PARTS];
};

static void add(struct udp *udp, struct batch *batch, uint32_t i)
{
	struct fg_wire_header *header = &batch->headers[batch->count];
	struct iovec *parts = batch->parts[batch->count];
	struct msghdr *message = &batch->messages[batch->count].msg_hdr;

	fg_load_request(udp->run, i, header, parts + 1);
	parts[0] = (struct iovec){header, sizeof(*header)};
	parts[1 + FG_LOAD_ROW_PARTS] = (struct iovec){udp->zeros, udp->padding};
	*message = (struct msghdr){.msg_iov = parts, .msg_iovlen = PARTS};
	if (batch->count++ == 0)
		batch->first = i;
}

static void mark_sent(struct udp *udp, const struct batch *batch, unsigned count, uint64_t now)
{
	for (unsigned j = 0; j < count; j++)
		fg_load_sent(udp->run, batch->first + j, now);
	udp->run->load->sent += count;
	sent_on(udp, batch->conn, count, now);
}

/*
 * Sends what can be sent now; the rest is due again at the next look. An error met by an earlier
 * datagram (ICMP) is told by the first call after it, which sends nothing: count it, go on.
 */
static void flush(struct udp *udp, struct batch *batch)
{
	uint64_t now = fg_client_now_ns();
	int sent = sendmmsg(batch->conn->fd, batch->messages, batch->count, MSG_DONTWAIT);

	if (sent > 0)
		mark_sent(udp, batch, (unsigned)sent, now);
	else if (sent < 0 && errno != EAGAIN && errno != EINTR)
		fg_load_note_error(udp->run->load, errno);
}

/* Sends requests that are due, some for one socket. Returns 0 or the -errno of a new socket. */
static int send_due(void *state, uint64_t now)
{
	struct udp *udp = state;
	struct fg_load *load = udp->run->load;
	struct batch batch = {.conn = NULL, .count = 0};
	uint32_t i = load->sent;

	while (i < load->count && batch.count < SEND_BATCH &&
	       load->start_ns + fg_load_due_ns(load, i) <= now) {
		struct conn *conn;
		int code;

		if (batch.count && !load->config->sockets &&
		    fg_load_flow(load->config, i) != batch.conn->flow)
			break; /* and its socket must live until it is flushed */
		code = conn_for(udp, i, now, &conn);
		if (code)
			return code;
		if (batch.count && conn != batch.conn)
			break;
		batch.conn = conn;
		add(udp, &batch, i++);
	}
	if (batch.count)
		flush(udp, &batch);
	return 0;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void take_reply(struct udp *udp, struct conn *conn, const unsigned char *bytes,
		       size_t length, uint64_t now)
{
	struct fg_wire_header header;
	uint32_t i;

	if (!fg_load_is_reply(udp->run, bytes, length, &header, &i) ||
	    (!udp->config->sockets && fg_load_flow(udp->config, i) != conn->flow)) {
		udp->run->load->strays++;
		return;
	}
	if (fg_load_answered(udp->run, i, &header, bytes + sizeof(header), now))
		answered_on(udp, conn, 1);
}

static void receive(struct udp *udp, struct conn *conn)
{
	struct mmsghdr messages[RECEIVE_BATCH];
	struct iovec parts[RECEIVE_BATCH];
	uint64_t now;
	int got;

	for (int j = 0; j < RECEIVE_BATCH; j++) {
		parts[j] = (struct iovec){udp->receive + (size_t)j * udp->receive_bytes,
					  udp->receive_bytes};
		messages[j].msg_hdr = (struct msghdr){.msg_iov = &parts[j], .msg_iovlen = 1};
	}
	got = recvmmsg(conn->fd, messages, RECEIVE_BATCH, MSG_DONTWAIT, NULL);
	if (got < 0 && errno != EAGAIN && errno != EINTR)
		fg_load_note_error(udp->run->load, errno);
	now = fg_client_now_ns();
	for (int j = 0; j < got; j++)
		take_reply(udp, conn, parts[j].iov_base, messages[j].msg_len, now);
	if (conn->ended && conn->waiting == 0)
		close_conn(udp, conn);
}

/*
 * Reads what has come; sleeps at most until `until_ns` when the configuration says so. Where few
 * sockets wait for anything, reading them all is quicker than asking which have something.
 */
static void receive_all(void *state, uint64_t now, uint64_t until_ns)
{
	struct udp *udp = state;
	struct epoll_event events[EVENTS];
	struct timespec timeout = {.tv_sec = 0};
	int count;

	if (udp->config->sleep && until_ns > now) {
		timeout.tv_sec = (time_t)((until_ns - now) / SECOND_NS);
		timeout.tv_nsec = (long)((until_ns - now) % SECOND_NS);
	} else if (udp->waiting_count <= SCANNED) {
		for (uint32_t k = udp->waiting_count;
		     k-- > 0;) /* the last takes a gone one's place */
			receive(udp, &udp->conns[udp->waiting[k]]);
		return;
	}
	count = epoll_pwait2(udp->epoll, events, EVENTS, &timeout, NULL);
	for (int j = 0; j < count; j++)
		receive(udp, &udp->conns[events[j].data.u32]);
}

static void end(struct udp *udp)
{
	for (uint32_t i = 0; udp->conns && i < udp->run->sockets; i++)
		if (udp->conns[i].fd >= 0)
			close_conn(udp, &udp->conns[i]);
	if (udp->epoll >= 0)
		close(udp->epoll);
	free(udp->conns);
	free(udp->active);
	free(udp->waiting);
	free(udp->zeros);
	free(udp->receive);
}

int fg_load_udp(struct fg_load_run *run, struct fg_error *error)
{
	struct udp udp = {.run = run, .config = run->config, .epoll = -1};
	const struct fg_load_transport transport = {&udp, send_due, receive_all};
	int code = prepare(&udp, error);

	if (!code)
		code = open_conns(&udp, error);
	if (!code)
		code = fg_load_loop(run, &transport, error);
	end(&udp);
	return code;
}
