/*
 * tcp_server.h: what the tests of userspace/worker/tcp share: a server on loopback that answers by
 * itself, without a model, and clients. One thread is both; the server's time is a variable, so
 * that minutes pass at once.
 */
#ifndef FG_TESTS_UNIT_TCP_SERVER_H
#define FG_TESTS_UNIT_TCP_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/protocol/stream.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/clock.h"
#include "userspace/worker/uring.h"

#define MILLISECOND 1000000ull
#define SECOND	    (1000 * MILLISECOND)
#define PATIENCE    (5 * SECOND)
#define START	    (1000 * SECOND)
#define ROW_BYTES   40
#define LEAVE_MS    500

static struct fg_tcp tcp;
static struct fg_uring uring;
static struct fg_stats stats;
static struct fg_error error;
static struct fg_message messages[FG_TCP_BATCH];
static int listeners[2];
static uint16_t ports[2];
static uint64_t now;  /* the server's clock */
static uint32_t most; /* messages of one look so far */

/* ---- the server ------------------------------------------------------------------------ */

static inline int listener_at(const char *text, uint16_t *port)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_in *in = (void *)&address;
	struct sockaddr_in6 *in6 = (void *)&address;
	socklen_t size = strchr(text, ':') ? sizeof(*in6) : sizeof(*in);
	int fd;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
		in6->sin6_family = AF_INET6;
	}
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&address, size), 0);
	assert_int_equal(listen(fd, 4096), 0);
	assert_int_equal(getsockname(fd, (void *)&address, &size), 0);
	*port = ntohs(in->sin_port);
	return fd;
}

static inline void open_server(uint32_t connections)
{
	struct fg_tcp_config config = {.listeners = listeners,
				       .listener_count = 2,
				       .connections = connections,
				       .leave_ms = LEAVE_MS,
				       .stats = &stats};
	struct fg_uring_config ring = {.buffers = 4,
				       .datagram_bytes = 1000,
				       .tcp = &tcp,
				       .stats = &stats};

	memset(&stats, 0, sizeof(stats));
	now = START;
	most = 0;
	if (fg_tcp_open(&tcp, &config, &error) || fg_uring_open(&uring, &ring, &error))
		fail_msg("%s", error.text);
	fg_tcp_start(&tcp, ROW_BYTES);
}

static inline int set_up(void **state)
{
	(void)state;
	listeners[0] = listener_at("127.0.0.1", &ports[0]);
	listeners[1] = listener_at("::1", &ports[1]);
	open_server(64);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	fg_uring_close(&uring);
	fg_tcp_close(&tcp);
	close(listeners[0]);
	close(listeners[1]);
	return 0;
}

/* A reply of the rows that were asked for, each byte the low one of the request id. */
static inline void answer(struct fg_message *message)
{
	struct fg_wire_header header;

	assert_true(message->proven);
	memcpy(&header, message->bytes, sizeof(header));
	header.type = FG_WIRE_REPLY;
	header.payload_bytes = header.rows * ROW_BYTES;
	message->length = sizeof(header) + header.payload_bytes;
	assert_true(message->length <= message->capacity);
	memcpy(message->bytes, &header, sizeof(header));
	memset(message->bytes + sizeof(header), (int)header.request_id, header.payload_bytes);
}

/* One loop of a worker. Returns how many requests it answered. */
static inline uint32_t serve_max(uint32_t max)
{
	struct fg_message *done[FG_TCP_BATCH];
	uint32_t count;

	assert_int_equal(fg_uring_receive(&uring, NULL, 0, now), 0);
	count = fg_tcp_receive(&tcp, messages, max, now);
	for (uint32_t i = 0; i < count; i++) {
		answer(&messages[i]);
		done[i] = &messages[i];
	}
	/* In two parts, as the engine gives them back: the second first. */
	fg_tcp_reply(&tcp, done + count / 2, count - count / 2, now);
	fg_tcp_reply(&tcp, done, count / 2, now);
	fg_uring_reply(&uring, NULL, 0);
	if (count > most)
		most = count;
	return count;
}

static inline uint32_t serve(void)
{
	return serve_max(FG_TCP_BATCH);
}

/* Long enough for all that loopback and the ring still have under way. */
static inline void serve_a_while(void)
{
	for (int i = 0; i < 40; i++)
		if (serve())
			i = 0;
}

/* Lets the server's time pass, and it act on that. */
static inline void pass(uint64_t duration_ns)
{
	now += duration_ns;
	serve_a_while();
}

static inline uint64_t open_connections(void)
{
	return stats.tcp_accepted - stats.tcp_closed;
}

/* ---- clients --------------------------------------------------------------------------- */

static inline void connect_to(int fd, int which)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(ports[0])};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(ports[1])};

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6.sin6_addr = in6addr_loopback;
	assert_int_equal(connect(fd, which ? (void *)&in6 : (void *)&in,
				 which ? sizeof(in6) : sizeof(in)),
			 0);
}

static inline int client_at(int which)
{
	struct timeval patience = {.tv_sec = 5};
	int fd = socket(which ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	connect_to(fd, which);
	return fd;
}

/* One that the server has accepted. */
static inline int client(void)
{
	uint64_t before = stats.tcp_accepted;
	int fd = client_at(0);

	for (int i = 0; i < 1000 && stats.tcp_accepted == before; i++)
		serve();
	assert_int_equal(stats.tcp_accepted, before + 1);
	serve();
	return fd;
}

/* A request with its prefix; returns its bytes. `payload` more bytes follow the header. */
static inline size_t put_request(uint8_t *to, uint64_t id, uint32_t rows, uint32_t payload)
{
	struct fg_wire_header header = {.magic = FG_WIRE_MAGIC,
					.version = FG_WIRE_VERSION,
					.type = FG_WIRE_REQUEST,
					.rows = rows,
					.request_id = id};

	fg_stream_prefix(to, sizeof(header) + payload);
	memcpy(to + 4, &header, sizeof(header));
	memset(to + 4 + sizeof(header), 0x55, payload);
	return 4 + sizeof(header) + payload;
}

static inline void send_all(int fd, const void *bytes, size_t count)
{
	assert_int_equal(send(fd, bytes, count, MSG_NOSIGNAL), count);
}

static inline void send_request(int fd, uint64_t id)
{
	uint8_t bytes[100];

	send_all(fd, bytes, put_request(bytes, id, 1, 20));
}

/* Reads one reply while the server runs; its header. */
static inline struct fg_wire_header expect_reply(int fd)
{
	static uint8_t bytes[FG_TCP_BUFFER_BYTES];
	struct fg_wire_header header;
	uint64_t end_ns = fg_clock_ns() + PATIENCE;
	size_t have = 0;
	uint32_t length = 0;
	int ret;

	while ((ret = fg_stream_next(bytes, have, &length)) == -EAGAIN) {
		/* Not a byte of the next one. */
		size_t want = have < 4 ? 4 - have : 4 + *(uint32_t *)bytes - have;
		ssize_t got = recv(fd, bytes + have, want, MSG_DONTWAIT);

		if (got > 0)
			have += (size_t)got;
		else if (!got || errno != EAGAIN || fg_clock_ns() > end_ns)
			fail_msg("no reply: %s", got ? strerror(errno) : "end");
		serve();
	}
	assert_int_equal(ret, 0);
	memcpy(&header, bytes + 4, sizeof(header));
	assert_int_equal(length, sizeof(header) + header.payload_bytes);
	for (uint32_t i = sizeof(header); i < length; i++)
		assert_int_equal(bytes[4 + i], (uint8_t)header.request_id);
	return header;
}

static inline void expect_id(int fd, uint64_t id)
{
	assert_int_equal(expect_reply(fd).request_id, id);
}

/* The server ends the connection: the client sees the end (0) or a reset, `result` of recv. */
static inline void expect_end(int fd, bool reset_is_fine)
{
	uint64_t end_ns = fg_clock_ns() + PATIENCE;
	ssize_t got;
	char byte;

	do {
		serve();
		got = recv(fd, &byte, 1, MSG_DONTWAIT);
	} while (got < 0 && errno == EAGAIN && fg_clock_ns() < end_ns);
	if (reset_is_fine && got < 0 && errno == ECONNRESET)
		return;
	assert_int_equal(got, 0);
}

static inline void expect_open(int fd)
{
	char byte;

	serve_a_while();
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

#endif
