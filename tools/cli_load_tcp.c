/*
 * A load over TCP: every flow is a connection, on which requests follow each other without
 * waiting; or affinity keys share some connections.
 *
 * Which connection a request goes by stands in its sample. So what a connection has to send, and
 * what it waits for, are the samples that name it, and nothing else is queued: one that cannot send
 * now (it is being made, or the other side is slow) remembers the first request that it has to
 * send, and when a connection is lost its samples are given to another.
 */
#include "tools/cli_load_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "tools/client_wait.h"
#include "userspace/protocol/stream.h"

#define SECOND_NS     1000000000ull
#define CONNECT_NS    (3 * SECOND_NS) /* before the start, for all connections */
#define SEND_BATCH    16
#define EVENTS	      64
#define MOST_BYTES    (FG_STREAM_PREFIX_BYTES + FG_WIRE_MAX_DATAGRAM)
#define RECEIVE_BYTES (2 * MOST_BYTES)
#define NONE	      UINT32_MAX

struct conn {
	int fd; /* -1: not open */
	uint32_t number;
	uint32_t slot;
	uint32_t flow; /* that the schedule has for its slot; the next one gets a new connection */
	uint32_t waiting; /* requests given to it and not answered */
	uint32_t first;	  /* of them none is earlier */
	uint32_t unsent;  /* the first of them that is to be sent, or NONE */
	uint32_t partial; /* while offset is not 0: the one of which so many bytes are sent */
	size_t offset;
	bool is_blocked;     /* epoll will say when it can send */
	bool is_ended;	     /* gets no more requests: closed when all are answered, or lost */
	bool is_leaving;     /* the server said that it will end it */
	bool was_heard;	     /* a reply came */
	uint64_t heard_ns;   /* when the last one came, or the waiting for it began */
	unsigned char *rest; /* rest_bytes of a message that has not come whole; or NULL */
	size_t rest_bytes;
};

struct tcp {
	struct fg_load_run *run;
	const struct fg_load_config *config;
	struct conn *conns; /* run->sockets */
	uint32_t search;    /* where to look for a closed one next */
	uint32_t slots;
	uint32_t step;	      /* from one request of a slot to the next; 1: any may be of it */
	struct conn **active; /* [slot], or NULL */
	int epoll;
	uint64_t swept_ns;
	unsigned char *bytes;	/* RECEIVE_BYTES */
	unsigned char *payload; /* FG_WIRE_MAX_DATAGRAM, aligned for floats */
};

/* ---- connections ---------------------------------------------------------------------------- */

static void set_blocked(struct tcp *tcp, struct conn *conn, bool is_blocked)
{
	struct epoll_event event = {.events = EPOLLIN | (is_blocked ? EPOLLOUT : 0),
				    .data.u32 = (uint32_t)(conn - tcp->conns)};

	conn->is_blocked = is_blocked;
	epoll_ctl(tcp->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static struct conn *find_closed(struct tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->run->sockets; i++) {
		struct conn *conn = &tcp->conns[tcp->search];

		if (conn->fd < 0)
			return conn;
		tcp->search = (tcp->search + 1) % tcp->run->sockets;
	}
	return NULL;
}

/* Begins to make the connection that is active in `slot` from now on. NULL: a socket error. */
static struct conn *open_conn(struct tcp *tcp, uint32_t slot, uint32_t flow)
{
	struct fg_load *load = tcp->run->load;
	struct conn *conn = find_closed(tcp);
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
	uint32_t number = load->connections++;
	int fd = conn ? fg_client_connect(&tcp->run->address) : -EMFILE;

	if (fd < 0) {
		fg_load_note_error(load, -fd);
		return NULL;
	}
	event.data.u32 = (uint32_t)(conn - tcp->conns);
	if (epoll_ctl(tcp->epoll, EPOLL_CTL_ADD, fd, &event)) {
		fg_load_note_error(load, errno);
		close(fd);
		return NULL;
	}
	*conn = (struct conn){.fd = fd,
			      .number = number,
			      .slot = slot,
			      .flow = flow,
			      .unsent = NONE,
			      .is_blocked = true};
	tcp->active[slot] = conn;
	return conn;
}

static void close_conn(struct tcp *tcp, struct conn *conn)
{
	if (tcp->active[conn->slot] == conn)
		tcp->active[conn->slot] = NULL;
	close(conn->fd);
	free(conn->rest);
	*conn = (struct conn){.fd = -1, .unsent = NONE};
}

/* No more requests for it: it is closed when it has answered those it has. */
static void end_conn(struct tcp *tcp, struct conn *conn)
{
	conn->is_ended = true;
	tcp->active[conn->slot] = NULL;
	if (conn->waiting == 0)
		close_conn(tcp, conn);
}

/* The active connection of a slot, made again when it has none since one went. Or NULL. */
static struct conn *active_conn(struct tcp *tcp, uint32_t slot, uint32_t flow)
{
	if (!tcp->active[slot] && open_conn(tcp, slot, flow))
		tcp->run->load->reconnects++;
	return tcp->active[slot];
}

/* The connection for request i, or NULL. */
static struct conn *conn_for(struct tcp *tcp, uint32_t i)
{
	const struct fg_load_config *config = tcp->config;
	uint32_t slot = i % config->flows, flow = fg_load_flow(config, i);

	if (config->sockets) {
		slot = (uint32_t)((uint64_t)slot * config->sockets / config->flows);
		flow = 0;
	}
	if (tcp->active[slot] && tcp->active[slot]->flow != flow) {
		end_conn(tcp, tcp->active[slot]);
		return open_conn(tcp, slot, flow);
	}
	return active_conn(tcp, slot, flow);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Prefix, header, rows. */
#define PARTS (2 + FG_LOAD_ROW_PARTS)

/* Messages for one connection, being gathered. */
struct batch {
	unsigned count;
	uint32_t requests[SEND_BATCH];
	unsigned char prefix[FG_STREAM_PREFIX_BYTES];
	struct fg_wire_header headers[SEND_BATCH];
	struct iovec parts[SEND_BATCH * PARTS];
};

static void lose(struct tcp *tcp, struct conn *conn, int error);

/* Request i is to go by this connection. */
static void give(struct tcp *tcp, struct conn *conn, uint32_t i)
{
	struct fg_load_sample *sample = &tcp->run->load->samples[i];

	sample->connection = conn->number;
	sample->is_sent = false;
	if (conn->waiting++ == 0) {
		conn->first = i;
		conn->heard_ns = fg_client_now_ns();
	}
	if (i < conn->first)
		conn->first = i;
	if (i < conn->unsent)
		conn->unsent = i;
}

/* The first request from i on that the connection has to send, and has not begun to. Or NONE. */
static uint32_t next_unsent(const struct tcp *tcp, const struct conn *conn, uint32_t i)
{
	const struct fg_load *load = tcp->run->load;

	for (; i < load->sent; i += tcp->step)
		if (load->samples[i].connection == conn->number && !load->samples[i].is_sent &&
		    !(conn->offset && i == conn->partial))
			return i;
	return NONE;
}

static void add(const struct tcp *tcp, struct batch *batch, uint32_t i)
{
	struct fg_wire_header *header = &batch->headers[batch->count];
	struct iovec *parts = &batch->parts[batch->count * PARTS];

	fg_load_request(tcp->run, i, header, parts + 2);
	parts[0] = (struct iovec){batch->prefix, sizeof(batch->prefix)};
	parts[1] = (struct iovec){header, sizeof(*header)};
	batch->requests[batch->count++] = i;
}

static void gather(const struct tcp *tcp, const struct conn *conn, struct batch *batch)
{
	size_t skip = conn->offset;
	uint32_t i = conn->unsent;

	batch->count = 0;
	fg_stream_prefix(batch->prefix, (uint32_t)tcp->run->message_bytes);
	if (conn->offset)
		add(tcp, batch, conn->partial);
	for (; i != NONE && batch->count < SEND_BATCH; i = next_unsent(tcp, conn, i + tcp->step))
		add(tcp, batch, i);
	for (unsigned part = 0; skip; part++) {
		struct iovec *cut = &batch->parts[part];
		size_t bytes = skip < cut->iov_len ? skip : cut->iov_len;

		cut->iov_base = (char *)cut->iov_base + bytes;
		cut->iov_len -= bytes;
		skip -= bytes;
	}
}

static void note_sent(struct tcp *tcp, struct conn *conn, const struct batch *batch, size_t bytes)
{
	size_t whole = FG_STREAM_PREFIX_BYTES + tcp->run->message_bytes;
	unsigned done = (unsigned)((conn->offset + bytes) / whole);

	for (unsigned j = 0; j < done; j++)
		tcp->run->load->samples[batch->requests[j]].is_sent = true;
	conn->offset = (conn->offset + bytes) % whole;
	if (conn->offset)
		conn->partial = batch->requests[done];
	if (conn->unsent != NONE)
		conn->unsent = next_unsent(tcp, conn, conn->unsent);
}

/* Sends what there is to send, until the kernel takes no more. */
static void flush(struct tcp *tcp, struct conn *conn)
{
	struct batch batch;

	while (!conn->is_blocked && (conn->offset || conn->unsent != NONE)) {
		struct msghdr message = {.msg_iov = batch.parts};
		ssize_t sent;

		gather(tcp, conn, &batch);
		message.msg_iovlen = batch.count * PARTS;
		sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0)
			note_sent(tcp, conn, &batch, (size_t)sent);
		else if (errno == EAGAIN)
			set_blocked(tcp, conn, true);
		else if (errno != EINTR)
			lose(tcp, conn, errno);
	}
}

static int send_due(void *state, uint64_t now)
{
	struct tcp *tcp = state;
	struct fg_load *load = tcp->run->load;
	struct conn *conns[SEND_BATCH];
	unsigned count = 0;

	while (load->sent < load->count && count < SEND_BATCH &&
	       load->start_ns + fg_load_due_ns(load, load->sent) <= now) {
		struct conn *conn = conn_for(tcp, load->sent);

		fg_load_sent(tcp->run, load->sent, now);
		/* Where none can be made: the number that it would have had. */
		load->samples[load->sent].connection = load->connections - 1;
		if (conn) {
			give(tcp, conn, load->sent);
			conns[count++] = conn;
		}
		load->sent++;
	}
	/* Of one that went meanwhile nothing is left to send. */
	for (unsigned j = 0; j < count; j++)
		flush(tcp, conns[j]);
	return 0;
}

/* ---- connections that go -------------------------------------------------------------------- */

static bool is_late(const struct tcp *tcp, uint32_t i, uint64_t now)
{
	const struct fg_load *load = tcp->run->load;

	return now > load->start_ns + fg_load_due_ns(load, i) + load->samples[i].lag_ns +
			     tcp->config->timeout_ns;
}

/* Asks again, by another connection, what a lost one did not answer; nothing a third time. */
static void retry(struct tcp *tcp, const struct conn *lost)
{
	struct fg_load *load = tcp->run->load;
	uint64_t now = fg_client_now_ns();
	struct conn *conn = NULL;

	for (uint32_t i = lost->first; lost->waiting && i < load->sent; i += tcp->step) {
		struct fg_load_sample *sample = &load->samples[i];

		if (sample->connection != lost->number || sample->answered || sample->retried ||
		    is_late(tcp, i, now))
			continue;
		conn = active_conn(tcp, lost->slot, lost->flow);
		if (!conn)
			return;
		sample->retried = true;
		load->retried++;
		give(tcp, conn, i);
	}
	if (conn)
		flush(tcp, conn);
	else if (lost->was_heard && !lost->is_ended) /* before the next request needs it */
		active_conn(tcp, lost->slot, lost->flow);
}

/* A connection is gone, by `error`, or because the other side ended it (0). */
static void lose(struct tcp *tcp, struct conn *conn, int error)
{
	struct fg_load *load = tcp->run->load;
	struct conn lost = *conn;

	if (error == ECONNRESET || error == EPIPE)
		load->resets++;
	else if (error)
		fg_load_note_error(load, error);
	else
		load->ends++;
	close_conn(tcp, conn);
	retry(tcp, &lost);
}

/* The server will end it: its successor gets what comes next, and what has not gone out yet. */
static void leave(struct tcp *tcp, struct conn *conn)
{
	struct conn *next;

	if (conn->is_leaving)
		return; /* each of its replies says so */
	conn->is_leaving = true;
	tcp->run->load->leaving++;
	if (conn->is_ended)
		return;
	conn->is_ended = true;
	tcp->active[conn->slot] = NULL;
	next = active_conn(tcp, conn->slot, conn->flow);
	while (next && conn->unsent != NONE) {
		uint32_t i = conn->unsent;

		give(tcp, next, i);
		conn->waiting--;
		conn->unsent = next_unsent(tcp, conn, i + tcp->step);
	}
}

/* A connection on which nothing came for the time-out, though something should, is given up. */
static void sweep(struct tcp *tcp, uint64_t now)
{
	tcp->swept_ns = now;
	for (uint32_t i = 0; i < tcp->run->sockets; i++) {
		struct conn *conn = &tcp->conns[i];

		if (conn->fd >= 0 && conn->waiting && now > conn->heard_ns &&
		    now - conn->heard_ns > tcp->config->timeout_ns)
			lose(tcp, conn, ETIMEDOUT);
	}
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void take_reply(struct tcp *tcp, struct conn *conn, const unsigned char *message,
		       size_t length, uint64_t now)
{
	struct fg_load *load = tcp->run->load;
	struct fg_wire_header header;
	uint32_t i;

	if (!fg_load_is_reply(tcp->run, message, length, &header, &i) ||
	    load->samples[i].connection != conn->number) {
		load->strays++;
		return;
	}
	conn->was_heard = true;
	conn->heard_ns = now;
	memcpy(tcp->payload, message + sizeof(header), header.payload_bytes);
	if (fg_load_answered(tcp->run, i, &header, tcp->payload, now))
		conn->waiting--;
	if (header.flags & FG_WIRE_LEAVING)
		leave(tcp, conn);
}

/* Keeps the beginning of a message for when more of it comes. 0 or an errno. */
static int keep_rest(struct conn *conn, const unsigned char *bytes, size_t count)
{
	if (count && !conn->rest)
		conn->rest = malloc(MOST_BYTES);
	if (count && !conn->rest)
		return ENOMEM;
	if (count)
		memcpy(conn->rest, bytes, count);
	conn->rest_bytes = count;
	return 0;
}

static void receive(struct tcp *tcp, struct conn *conn)
{
	size_t here = conn->rest_bytes, used = 0;
	uint32_t length;
	uint64_t now;
	ssize_t got;
	int code;

	if (here)
		memcpy(tcp->bytes, conn->rest, here);
	got = recv(conn->fd, tcp->bytes + here, RECEIVE_BYTES - here, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		lose(tcp, conn, got ? errno : 0);
		return;
	}
	here += (size_t)got;
	now = fg_client_now_ns();
	while ((code = fg_stream_next(tcp->bytes + used, here - used, &length)) == 0) {
		take_reply(tcp, conn, tcp->bytes + used + FG_STREAM_PREFIX_BYTES, length, now);
		used += FG_STREAM_PREFIX_BYTES + length;
	}
	code = code == -EPROTO ? EPROTO : keep_rest(conn, tcp->bytes + used, here - used);
	if (code)
		lose(tcp, conn, code);
	else if (conn->is_ended && conn->waiting == 0)
		close_conn(tcp, conn);
}

/* An event may be of a connection that went just before: its place does nothing with it. */
static void handle(struct tcp *tcp, const struct epoll_event *event)
{
	struct conn *conn = &tcp->conns[event->data.u32];

	if (conn->fd >= 0 && event->events & EPOLLOUT) {
		set_blocked(tcp, conn, false);
		flush(tcp, conn);
	}
	if (conn->fd >= 0 && event->events & ~(uint32_t)EPOLLOUT)
		receive(tcp, conn);
}

static void receive_all(void *state, uint64_t now, uint64_t until_ns)
{
	struct epoll_event events[EVENTS];
	struct timespec timeout = {.tv_sec = 0};
	struct tcp *tcp = state;
	int count;

	if (now - tcp->swept_ns > tcp->config->timeout_ns / 16)
		sweep(tcp, now);
	if (tcp->config->sleep && until_ns > now) {
		timeout.tv_sec = (time_t)((until_ns - now) / SECOND_NS);
		timeout.tv_nsec = (long)((until_ns - now) % SECOND_NS);
	}
	count = epoll_pwait2(tcp->epoll, events, EVENTS, &timeout, NULL);
	for (int j = 0; j < count; j++)
		handle(tcp, &events[j]);
}

/* ---- begin and end -------------------------------------------------------------------------- */

static int prepare(struct tcp *tcp, struct fg_error *error)
{
	uint32_t sockets = tcp->run->sockets;

	tcp->bytes = malloc(RECEIVE_BYTES);
	tcp->payload = malloc(FG_WIRE_MAX_DATAGRAM);
	tcp->active = calloc(tcp->slots, sizeof(*tcp->active));
	tcp->conns = calloc(sockets, sizeof(*tcp->conns));
	if (!tcp->bytes || !tcp->payload || !tcp->active || !tcp->conns)
		return fg_error_set(error, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < sockets; i++)
		tcp->conns[i].fd = -1;
	tcp->epoll = epoll_create1(EPOLL_CLOEXEC);
	return tcp->epoll < 0 ? fg_error_set(error, -errno, "epoll: %s", strerror(errno)) : 0;
}

/* All connections stand before the first request is due. */
static int open_conns(struct tcp *tcp, struct fg_error *error)
{
	uint64_t until_ns = fg_client_now_ns() + CONNECT_NS;

	for (uint32_t slot = 0; slot < tcp->slots; slot++) {
		uint32_t flow = tcp->config->sockets ? 0 : fg_load_flow(tcp->config, slot);
		struct conn *conn = open_conn(tcp, slot, flow);
		int code = conn ? fg_client_await_connection(conn->fd, &tcp->run->address, until_ns)
				: -tcp->run->load->last_socket_error;

		if (code)
			return fg_error_set(error, code, "connection %u of %u: %s", slot + 1,
					    tcp->slots, strerror(-code));
		set_blocked(tcp, conn, false);
	}
	return 0;
}

static void end(struct tcp *tcp)
{
	for (uint32_t i = 0; tcp->conns && i < tcp->run->sockets; i++)
		if (tcp->conns[i].fd >= 0)
			close_conn(tcp, &tcp->conns[i]);
	if (tcp->epoll >= 0)
		close(tcp->epoll);
	free(tcp->conns);
	free(tcp->active);
	free(tcp->payload);
	free(tcp->bytes);
}

int fg_load_tcp(struct fg_load_run *run, struct fg_error *error)
{
	const struct fg_load_config *config = run->config;
	struct tcp tcp = {.run = run,
			  .config = config,
			  .slots = config->sockets ? config->sockets : config->flows,
			  .step = config->sockets ? 1 : config->flows,
			  .epoll = -1};
	const struct fg_load_transport transport = {&tcp, send_due, receive_all};
	int code = prepare(&tcp, error);

	if (!code)
		code = open_conns(&tcp, error);
	if (!code)
		code = fg_load_loop(run, &transport, error);
	end(&tcp);
	return code;
}
