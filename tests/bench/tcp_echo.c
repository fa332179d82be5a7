/*
 * tcp_echo: the backend that proxies are compared with: answers FGP over TCP without a model.
 *
 *	tcp_echo ADDRESS PORT CPU GENERATION     prints "ready", then answers until SIGTERM
 *
 * Every request gets one f32 at once. SIGUSR1: the generation in the answers goes up by one, so
 * that `flipgate load` sees when something was done to the proxy before it. SIGTERM: the listener
 *is closed, as a server does that hands its port over by SO_REUSEPORT; open connections are served
 * until their clients close them, or for two seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "userspace/protocol/stream.h"
#include "userspace/protocol/wire.h"

#define MAX_FDS	     4096
#define BUFFER_BYTES 65536
#define LINGER_S     2

struct connection {
	size_t used;
	uint8_t bytes[BUFFER_BYTES + FG_STREAM_PREFIX_BYTES];
};

static volatile sig_atomic_t stopped;
static volatile sig_atomic_t generation;
static struct connection *connections[MAX_FDS];

static void on_signal(int number)
{
	if (number == SIGUSR1)
		generation++;
	else
		stopped = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "tcp_echo: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_listener(const char *address, int port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
		die("address");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) || listen(fd, 4096))
		die("listen");
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll");
}

static void accept_all(int epoll, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= MAX_FDS) {
			close(fd);
			continue;
		}
		connections[fd] = calloc(1, sizeof(struct connection));
		if (!connections[fd])
			die("memory");
		watch(epoll, fd);
	}
}

static void hang_up(int fd)
{
	free(connections[fd]);
	connections[fd] = NULL;
	close(fd);
}

/* False: the client is gone, or sends nonsense. */
static bool answer(int fd, const uint8_t *message, uint32_t length)
{
	struct {
		uint8_t prefix[FG_STREAM_PREFIX_BYTES];
		struct fg_wire_header header;
		float value;
	} __attribute__((packed)) reply = {.value = 0.5f};
	struct fg_wire_header request;
	uint8_t status;

	if (fg_wire_parse_request(message, length, &request, &status))
		return false;
	reply.header = (struct fg_wire_header){
		.magic = FG_WIRE_MAGIC,
		.version = FG_WIRE_VERSION,
		.type = FG_WIRE_REPLY,
		.model = request.model,
		.dtype = FG_DTYPE_F32,
		.affinity = request.affinity,
		.request_id = request.request_id,
		.model_version = 1,
		.rows = 1,
		.cols = 1,
		.payload_bytes = sizeof(reply.value),
		.generation = (uint32_t)generation,
	};
	fg_stream_prefix(reply.prefix, sizeof(reply.header) + sizeof(reply.value));
	return send(fd, &reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply);
}

static bool serve(int fd)
{
	struct connection *connection = connections[fd];
	ssize_t got = recv(fd, connection->bytes + connection->used,
			   sizeof(connection->bytes) - connection->used, 0);
	size_t at = 0;
	uint32_t length;

	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	connection->used += (size_t)got;
	while (!fg_stream_next(connection->bytes + at, connection->used - at, &length)) {
		if (!answer(fd, connection->bytes + at + FG_STREAM_PREFIX_BYTES, length))
			return false;
		at += FG_STREAM_PREFIX_BYTES + length;
	}
	connection->used -= at;
	memmove(connection->bytes, connection->bytes + at, connection->used);
	return true;
}

static int count_open(void)
{
	int count = 0;

	for (int fd = 0; fd < MAX_FDS; fd++)
		count += connections[fd] != NULL;
	return count;
}

static void serve_once(int epoll, int listener, int timeout_ms)
{
	struct epoll_event events[64];
	int count = epoll_wait(epoll, events, 64, timeout_ms);

	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == listener)
			accept_all(epoll, listener);
		else if (!serve(events[i].data.fd))
			hang_up(events[i].data.fd);
	}
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), listener;
	cpu_set_t cpus;
	time_t end;

	if (argc != 5) {
		fprintf(stderr, "usage: tcp_echo ADDRESS PORT CPU GENERATION\n");
		return 1;
	}
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[3]), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	generation = atoi(argv[4]);
	signal(SIGUSR1, on_signal);
	signal(SIGTERM, on_signal);
	listener = open_listener(argv[1], atoi(argv[2]));
	watch(epoll, listener);
	puts("ready");
	fflush(stdout);
	while (!stopped)
		serve_once(epoll, listener, 100);
	close(listener);
	end = time(NULL) + LINGER_S;
	while (count_open() && time(NULL) <= end)
		serve_once(epoll, -1, 100);
	return 0;
}
