/*
 * stream_responder.h: responder.h over TCP: a real FGP service on loopback that a test makes
 * misbehave.
 *
 * One thread accepts connections and hands each whole request to the test's function, which answers
 * with stream_answer as it likes, ends the connection with stream_end or stream_reset, or does
 * nothing. Stops with stream_stop.
 */
#ifndef FG_TESTS_STREAM_RESPONDER_H
#define FG_TESTS_STREAM_RESPONDER_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "tests/unit/responder.h"
#include "userspace/protocol/stream.h"

#define STREAM_CONNECTIONS 256

struct stream_connection {
	int fd; /* -1: ended */
	size_t here;
	unsigned char bytes[FG_STREAM_PREFIX_BYTES + FG_WIRE_MAX_DATAGRAM];
};

struct stream_asked {
	struct fg_wire_header header;
	const unsigned char *payload;
	struct stream_connection *connection;
	uint32_t accepted; /* number of the connection, from 0 */
	uint32_t number;   /* of the request, from 0, over all connections */
};

struct stream_responder {
	int fd;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint received;		       /* requests */
	atomic_uint accepted;		       /* connections; all are kept in their places */
	struct stream_connection *connections; /* STREAM_CONNECTIONS */
	char address[40];		       /* for fg_client_open */
	void (*handle)(struct stream_responder *responder, const struct stream_asked *asked);
	uint32_t generation; /* for the test's function */
	uint64_t version;
	uint16_t flags; /* of all replies */
};

static inline void stream_end(struct stream_connection *connection)
{
	close(connection->fd);
	connection->fd = -1;
}

static inline void stream_reset(struct stream_connection *connection)
{
	struct linger at_once = {.l_onoff = 1};

	setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	stream_end(connection);
}

static inline void stream_serve(struct stream_responder *responder, uint32_t place)
{
	struct stream_connection *connection = &responder->connections[place];
	ssize_t got = recv(connection->fd, connection->bytes + connection->here,
			   sizeof(connection->bytes) - connection->here, MSG_DONTWAIT);
	struct stream_asked asked = {.connection = connection, .accepted = place};
	uint32_t length;
	uint8_t status;

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		stream_end(connection);
		return;
	}
	connection->here += (size_t)got;
	while (connection->fd >= 0 &&
	       fg_stream_next(connection->bytes, connection->here, &length) == 0) {
		size_t whole = FG_STREAM_PREFIX_BYTES + length;

		if (fg_wire_parse_request(connection->bytes + FG_STREAM_PREFIX_BYTES, length,
					  &asked.header, &status) == -EPROTO)
			abort(); /* what is tested never sends such a thing */
		asked.payload = connection->bytes + FG_STREAM_PREFIX_BYTES + FG_WIRE_HEADER_BYTES;
		asked.number = atomic_load(&responder->received);
		responder->handle(responder, &asked);
		atomic_fetch_add(&responder->received, 1);
		connection->here -= whole;
		memmove(connection->bytes, connection->bytes + whole, connection->here);
	}
}

static inline void stream_accept(struct stream_responder *responder)
{
	uint32_t place = atomic_load(&responder->accepted);
	int on = 1, fd;

	if (place == STREAM_CONNECTIONS)
		return;
	fd = accept4(responder->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	responder->connections[place].fd = fd;
	atomic_fetch_add(&responder->accepted, 1);
}

static inline void *stream_run(void *argument)
{
	struct stream_responder *responder = argument;
	struct pollfd polls[STREAM_CONNECTIONS + 1];

	while (!atomic_load(&responder->stop)) {
		uint32_t count = atomic_load(&responder->accepted);

		for (uint32_t c = 0; c < count; c++)
			polls[c] = (struct pollfd){responder->connections[c].fd, POLLIN, 0};
		polls[count] = (struct pollfd){responder->fd, POLLIN, 0};
		if (poll(polls, count + 1, 10) <= 0)
			continue;
		for (uint32_t c = 0; c < count; c++)
			if (polls[c].revents)
				stream_serve(responder, c);
		if (polls[count].revents)
			stream_accept(responder);
	}
	return NULL;
}

/* Listens on a port of 127.0.0.1 that the kernel picks. */
static inline void stream_start(struct stream_responder *responder,
				void (*handle)(struct stream_responder *,
					       const struct stream_asked *))
{
	struct sockaddr_in name = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(name);
	int bytes = 64 << 10;

	memset(responder, 0, sizeof(*responder));
	responder->handle = handle;
	responder->generation = 1;
	responder->version = 1;
	responder->connections = calloc(STREAM_CONNECTIONS, sizeof(*responder->connections));
	assert_non_null(responder->connections);
	responder->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(responder->fd >= 0);
	/* Little: who sends much while the test's function sleeps meets a full window. */
	setsockopt(responder->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	assert_int_equal(bind(responder->fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(responder->fd, STREAM_CONNECTIONS), 0);
	assert_int_equal(getsockname(responder->fd, (struct sockaddr *)&name, &length), 0);
	snprintf(responder->address, sizeof(responder->address), "tcp://127.0.0.1:%u",
		 ntohs(name.sin_port));
	assert_int_equal(pthread_create(&responder->thread, NULL, stream_run, responder), 0);
}

static inline void stream_stop(struct stream_responder *responder)
{
	atomic_store(&responder->stop, true);
	pthread_join(responder->thread, NULL);
	for (uint32_t c = 0; c < atomic_load(&responder->accepted); c++)
		if (responder->connections[c].fd >= 0)
			close(responder->connections[c].fd);
	close(responder->fd);
	free(responder->connections);
}

/* Waits until the kernel has it all, or the other side has ended the connection. */
static inline void stream_write(const struct stream_connection *connection, const void *bytes,
				size_t count)
{
	send(connection->fd, bytes, count, MSG_NOSIGNAL);
}

/* Writes a reply with this status and payload, its prefix before it, to `bytes`. -> bytes of it */
static inline size_t stream_reply(const struct stream_responder *responder,
				  const struct stream_asked *asked, uint8_t status, uint32_t cols,
				  const void *payload, uint32_t payload_bytes, unsigned char *bytes)
{
	struct fg_wire_header header = asked->header;

	header.type = FG_WIRE_REPLY;
	header.flags = responder->flags;
	header.status = status;
	header.dtype = status == FG_STATUS_OK ? FG_DTYPE_F32 : FG_DTYPE_TEXT;
	header.cols = cols;
	header.payload_bytes = payload_bytes;
	header.model_version = responder->version;
	header.generation = responder->generation;
	header.queued_ns = 1500;
	header.compute_ns = 2500;
	fg_stream_prefix(bytes, (uint32_t)sizeof(header) + payload_bytes);
	memcpy(bytes + FG_STREAM_PREFIX_BYTES, &header, sizeof(header));
	memcpy(bytes + FG_STREAM_PREFIX_BYTES + sizeof(header), payload, payload_bytes);
	return FG_STREAM_PREFIX_BYTES + sizeof(header) + payload_bytes;
}

static inline void stream_answer(struct stream_responder *responder,
				 const struct stream_asked *asked, uint8_t status, uint32_t cols,
				 const void *payload, uint32_t payload_bytes)
{
	unsigned char bytes[FG_STREAM_PREFIX_BYTES + FG_WIRE_MAX_DATAGRAM];

	stream_write(asked->connection, bytes,
		     stream_reply(responder, asked, status, cols, payload, payload_bytes, bytes));
}

/* The model of responder_compute, for rows of f32: their sums, and the version. */
static inline void stream_compute(struct stream_responder *responder,
				  const struct stream_asked *asked)
{
	uint32_t rows = asked->header.rows, cols = asked->header.cols;
	float *out = calloc(rows * 2, sizeof(*out)), in;

	for (uint32_t i = 0; out && i < rows * cols; i++) {
		memcpy(&in, asked->payload + i * sizeof(in), sizeof(in));
		out[i / cols * 2] += in;
		out[i / cols * 2 + 1] = (float)responder->version;
	}
	stream_answer(responder, asked, FG_STATUS_OK, 2, out, rows * 8);
	free(out);
}

#endif
