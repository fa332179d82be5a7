/*
 * responder.h: a real FGP service on loopback, for tests of what asks one.
 *
 * One thread reads datagrams and hands each to the test's function, which answers with
 * responder_answer as it likes, or not at all. Stops with responder_stop.
 */
#ifndef FG_TESTS_RESPONDER_H
#define FG_TESTS_RESPONDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "userspace/protocol/wire.h"

struct responder;

/* A request as it came; `length` is the datagram's, padding included. */
struct asked {
	struct sockaddr_in from;
	struct fg_wire_header header;
	unsigned char bytes[FG_WIRE_MAX_DATAGRAM];
	size_t length;
	uint32_t number; /* counts from 0 */
};

struct responder {
	int fd;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint received; /* requests */
	char address[32];     /* for fg_client_open */
	void (*handle)(struct responder *responder, const struct asked *asked);
	uint32_t generation; /* for the test's function */
	uint64_t version;
	const char *description; /* the answer to FG_WIRE_DESCRIBE; NULL: that is refused */
};

static inline void responder_answer(struct responder *responder, const struct asked *asked,
				    uint8_t status, uint32_t cols, const void *payload,
				    uint32_t payload_bytes);

/* As a service does that is older than the question, unless the test gives it words. */
static inline void responder_describe(struct responder *responder, const struct asked *asked)
{
	const char *text = responder->description;

	responder_answer(responder, asked, text ? FG_STATUS_OK : FG_STATUS_BAD_REQUEST, 0,
			 text ? text : "what?", text ? (uint32_t)strlen(text) : 5);
}

static inline void *responder_run(void *argument)
{
	struct responder *responder = argument;
	struct asked *asked = malloc(sizeof(*asked));
	struct pollfd poll_fd = {.fd = responder->fd, .events = POLLIN};

	while (asked && !atomic_load(&responder->stop)) {
		socklen_t from_length = sizeof(asked->from);
		ssize_t length;
		uint8_t status;

		if (poll(&poll_fd, 1, 10) <= 0)
			continue;
		length = recvfrom(responder->fd, asked->bytes, sizeof(asked->bytes), MSG_DONTWAIT,
				  (struct sockaddr *)&asked->from, &from_length);
		if (length < 0 || fg_wire_parse_request(asked->bytes, (size_t)length,
							&asked->header, &status) == -EPROTO)
			continue;
		asked->length = (size_t)length;
		if (asked->header.flags & FG_WIRE_DESCRIBE) {
			responder_describe(responder, asked);
			continue;
		}
		asked->number = atomic_load(&responder->received);
		responder->handle(responder, asked);
		atomic_fetch_add(&responder->received, 1);
	}
	free(asked);
	return NULL;
}

/* Listens on a port of 127.0.0.1 that the kernel picks. */
static inline void responder_start(struct responder *responder,
				   void (*handle)(struct responder *, const struct asked *))
{
	struct sockaddr_in name = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(name);
	int bytes = 4 << 20;

	memset(responder, 0, sizeof(*responder));
	responder->handle = handle;
	responder->generation = 1;
	responder->version = 1;
	responder->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(responder->fd >= 0);
	setsockopt(responder->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	assert_int_equal(bind(responder->fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(getsockname(responder->fd, (struct sockaddr *)&name, &length), 0);
	snprintf(responder->address, sizeof(responder->address), "127.0.0.1:%u",
		 ntohs(name.sin_port));
	assert_int_equal(pthread_create(&responder->thread, NULL, responder_run, responder), 0);
}

static inline void responder_stop(struct responder *responder)
{
	atomic_store(&responder->stop, true);
	pthread_join(responder->thread, NULL);
	close(responder->fd);
}

/* Sends a reply with this status and payload; rows x cols of f32 when OK, else a text. */
static inline void responder_answer(struct responder *responder, const struct asked *asked,
				    uint8_t status, uint32_t cols, const void *payload,
				    uint32_t payload_bytes)
{
	unsigned char bytes[FG_WIRE_MAX_DATAGRAM];
	struct fg_wire_header header = asked->header;

	header.type = FG_WIRE_REPLY;
	header.status = status;
	header.dtype = status == FG_STATUS_OK && !(header.flags & FG_WIRE_DESCRIBE) ? FG_DTYPE_F32
										    : FG_DTYPE_TEXT;
	header.cols = cols;
	header.payload_bytes = payload_bytes;
	header.model_version = responder->version;
	header.generation = responder->generation;
	header.queued_ns = 1500;
	header.compute_ns = 2500;
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), payload, payload_bytes);
	sendto(responder->fd, bytes, sizeof(header) + payload_bytes, 0,
	       (const struct sockaddr *)&asked->from, sizeof(asked->from));
}

/* The model of these tests: two columns per row, their sum and the version. */
static inline void responder_compute(struct responder *responder, const struct asked *asked)
{
	uint32_t rows = asked->header.rows, cols = asked->header.cols;
	size_t count = (size_t)rows * cols;
	float *in = malloc(count * sizeof(*in)), *out = malloc(rows * 2 * sizeof(*out));

	if (in && out) {
		fg_wire_to_f32(in, asked->bytes + FG_WIRE_HEADER_BYTES, asked->header.dtype, count);
		for (uint32_t row = 0; row < rows; row++) {
			out[row * 2] = 0;
			out[row * 2 + 1] = (float)responder->version;
			for (uint32_t col = 0; col < cols; col++)
				out[row * 2] += in[row * cols + col];
		}
		responder_answer(responder, asked, FG_STATUS_OK, 2, out, rows * 8);
	}
	free(in);
	free(out);
}

#endif
