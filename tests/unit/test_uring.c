/* userspace/worker/uring over real UDP sockets on loopback. One thread is client and server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/shared/clock.h"
#include "userspace/worker/uring.h"

#define MILLISECOND 1000000ull
#define PATIENCE    (5000 * MILLISECOND)

static struct fg_uring uring;
static struct fg_stats stats;
static struct fg_error error;
static struct fg_message messages[256];
static uint8_t big[FG_URING_DATAGRAM_BYTES];

/* ---- both ends ---- */

static struct sockaddr_storage address_of(const char *text, uint16_t port)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_in *in = (void *)&address;
	struct sockaddr_in6 *in6 = (void *)&address;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
	}
	return address;
}

static socklen_t size_of(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in)
					     : sizeof(struct sockaddr_in6);
}

/* A UDP socket bound to a free port; *port says which. */
static int server_at(const char *text, uint16_t *port)
{
	struct sockaddr_storage address = address_of(text, 0);
	socklen_t size = size_of(&address);
	int fd = socket(address.ss_family, SOCK_DGRAM, 0), bytes = 4 << 20;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)), 0);
	assert_int_equal(bind(fd, (void *)&address, size), 0);
	assert_int_equal(getsockname(fd, (void *)&address, &size), 0);
	*port = ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
						   : ((struct sockaddr_in6 *)&address)->sin6_port);
	return fd;
}

/* Connected, so that the kernel gives it only what comes from that very address. */
static int client_of(const char *text, uint16_t port)
{
	struct sockaddr_storage address = address_of(text, port);
	int fd = socket(address.ss_family, SOCK_DGRAM, 0), bytes = 4 << 20;
	struct timeval patience = {.tv_sec = 5};

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(connect(fd, (void *)&address, size_of(&address)), 0);
	return fd;
}

static void open_uring(const int *sockets, uint32_t count, const int *polls, uint32_t poll_count,
		       uint32_t buffers, uint32_t datagram_bytes)
{
	struct fg_uring_config config = {.sockets = sockets,
					 .socket_count = count,
					 .polls = polls,
					 .poll_count = poll_count,
					 .buffers = buffers,
					 .datagram_bytes = datagram_bytes,
					 .stats = &stats};

	memset(&stats, 0, sizeof(stats));
	error.text[0] = 0;
	if (fg_uring_open(&uring, &config, &error))
		fail_msg("%s", error.text);
}

/* Receives until `want` messages are there. */
static void receive(uint32_t want)
{
	uint64_t start_ns = fg_clock_ns();
	uint32_t count = 0;

	while (count < want && fg_clock_ns() - start_ns < PATIENCE)
		count += fg_uring_receive(&uring, messages + count, 256 - count, 77);
	assert_int_equal(count, want);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(messages[i].arrived_ns, 77);
}

/* Calls receive often enough for anything that is under way to happen: nothing may come. */
static void receive_nothing(void)
{
	for (int i = 0; i < 1000; i++)
		assert_int_equal(fg_uring_receive(&uring, messages, 256, 0), 0);
}

static void reply(uint32_t count)
{
	struct fg_message *replies[256];

	for (uint32_t i = 0; i < count; i++)
		replies[i] = &messages[i];
	fg_uring_reply(&uring, replies, count);
}

/* Answers each message with its bytes inverted and one byte 'r' after them. */
static void answer(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		assert_true(messages[i].length < messages[i].capacity);
		for (uint32_t byte = 0; byte < messages[i].length; byte++)
			messages[i].bytes[byte] ^= 0xff;
		messages[i].bytes[messages[i].length++] = 'r';
	}
	reply(count);
}

static void send_to(int client, uint32_t value)
{
	assert_int_equal(send(client, &value, sizeof(value), 0), sizeof(value));
}

static void expect_answer(int client, uint32_t value)
{
	uint8_t bytes[64];
	uint32_t inverted;

	assert_int_equal(recv(client, bytes, sizeof(bytes), 0), sizeof(value) + 1);
	memcpy(&inverted, bytes, sizeof(inverted));
	assert_int_equal(inverted, ~value);
	assert_int_equal(bytes[sizeof(value)], 'r');
}

static int close_uring(void **state)
{
	(void)state;
	fg_uring_close(&uring);
	return 0;
}

/* ---- datagrams ---- */

static void answers_many_on_all_sockets(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1", "127.0.0.2"};
	int sockets[3], clients[3];
	uint16_t port;

	(void)state;
	for (int i = 0; i < 3; i++) {
		sockets[i] = server_at(addresses[i], &port);
		clients[i] = client_of(addresses[i], port);
	}
	open_uring(sockets, 3, NULL, 0, FG_URING_BUFFERS, FG_URING_DATAGRAM_BYTES);
	for (uint32_t round = 0; round < 300; round++) {
		uint32_t burst = 1 + round % 20;

		for (uint32_t i = 0; i < 3 * burst; i++)
			send_to(clients[i % 3], round * 1000 + i);
		receive(3 * burst);
		answer(3 * burst);
		for (uint32_t i = 0; i < 3 * burst; i++)
			expect_answer(clients[i % 3], round * 1000 + i);
	}
	assert_int_equal(stats.udp_received, 3 * 15 * 210);
	assert_int_equal(stats.send_failed + stats.not_ours + stats.sleeps, 0);
	for (int i = 0; i < 3; i++) {
		close(sockets[i]);
		close(clients[i]);
	}
}

static void answers_from_the_address_that_was_asked(void **state)
{
	uint16_t port4, port6;
	int sockets[] = {server_at("0.0.0.0", &port4), server_at("::", &port6)};
	int clients[] = {client_of("127.0.0.1", port4), client_of("127.0.0.2", port4),
			 client_of("127.9.8.7", port4), client_of("::1", port6),
			 client_of("127.0.0.3", port6) /* IPv4 on an IPv6 socket */};

	(void)state;
	open_uring(sockets, 2, NULL, 0, 8, 2048);
	for (uint32_t i = 0; i < 5; i++) {
		send_to(clients[i], i);
		receive(1);
		answer(1);
		expect_answer(clients[i], i);
		close(clients[i]);
	}
	close(sockets[0]);
	close(sockets[1]);
}

static void carries_the_largest_datagram(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	open_uring(&socket, 1, NULL, 0, 4, FG_URING_DATAGRAM_BYTES);
	for (size_t i = 0; i < FG_WIRE_MAX_DATAGRAM; i++)
		big[i] = (uint8_t)(i * 7);
	assert_int_equal(send(client, big, FG_WIRE_MAX_DATAGRAM, 0), FG_WIRE_MAX_DATAGRAM);
	receive(1);
	assert_int_equal(messages[0].length, FG_WIRE_MAX_DATAGRAM);
	assert_int_equal(messages[0].capacity, FG_URING_DATAGRAM_BYTES);
	assert_memory_equal(messages[0].bytes, big, FG_WIRE_MAX_DATAGRAM);
	reply(1);
	memset(big, 0, sizeof(big));
	assert_int_equal(recv(client, big, sizeof(big), 0), FG_WIRE_MAX_DATAGRAM);
	for (size_t i = 0; i < FG_WIRE_MAX_DATAGRAM; i++)
		assert_int_equal(big[i], (uint8_t)(i * 7));
	close(client);
	close(socket);
}

static void drops_and_counts_what_is_too_long(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	open_uring(&socket, 1, NULL, 0, 4, 1000);
	for (int i = 0; i < 20; i++) /* more often than there are buffers */
		assert_int_equal(send(client, big, 1001, 0), 1001);
	assert_int_equal(send(client, big, 1000, 0), 1000);
	receive(1);
	assert_int_equal(messages[0].length, 1000);
	assert_int_equal(stats.not_ours, 20);
	assert_int_equal(stats.udp_received, 21);
	messages[0].length = 0;
	reply(1);
	close(client);
	close(socket);
}

static void an_empty_datagram_stops_nothing(void **state)
{
	uint16_t port;
	int socket = server_at("::1", &port), client = client_of("::1", port);

	(void)state;
	open_uring(&socket, 1, NULL, 0, 4, 1000);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(send(client, NULL, 0, 0), 0);
		receive(1);
		assert_int_equal(messages[0].length, 0);
		reply(1);
		send_to(client, i);
		receive(1);
		answer(1);
		expect_answer(client, i);
	}
	close(client);
	close(socket);
}

static void length_zero_sends_nothing(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	open_uring(&socket, 1, NULL, 0, 4, 1000);
	for (uint32_t i = 0; i < 20; i++) {
		send_to(client, i);
		receive(1);
		messages[0].length = 0;
		reply(1);
	}
	receive_nothing();
	assert_int_equal(recv(client, big, sizeof(big), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	close(client);
	close(socket);
}

static void goes_on_after_its_buffers_were_all_in_use(void **state)
{
	uint16_t ports[2];
	int sockets[] = {server_at("127.0.0.1", &ports[0]), server_at("127.0.0.1", &ports[1])};
	int clients[] = {client_of("127.0.0.1", ports[0]), client_of("127.0.0.1", ports[1])};

	(void)state;
	open_uring(sockets, 2, NULL, 0, 4, 1000);
	for (uint32_t i = 0; i < 80; i++)
		send_to(clients[i % 2], i);
	for (int round = 0; round < 20; round++) {
		struct fg_message held[4];

		receive(4);
		memcpy(held, messages, sizeof(held));
		receive_nothing();
		memcpy(messages, held, sizeof(held));
		answer(4);
	}
	for (uint32_t i = 0; i < 80; i++)
		expect_answer(clients[i % 2], i);
	for (int i = 0; i < 2; i++) {
		close(clients[i]);
		close(sockets[i]);
	}
}

static void gives_no_more_than_asked_for(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);
	uint32_t count = 0;

	(void)state;
	open_uring(&socket, 1, NULL, 0, 16, 1000);
	for (uint32_t i = 0; i < 10; i++)
		send_to(client, i);
	while (count < 10) {
		uint32_t got = fg_uring_receive(&uring, messages, 3, 0);

		assert_true(got <= 3);
		answer(got);
		count += got;
	}
	for (uint32_t i = 0; i < 10; i++)
		expect_answer(client, i);
	close(client);
	close(socket);
}

static void counts_what_the_kernel_refuses_to_send(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	open_uring(&socket, 1, NULL, 0, 4, FG_URING_DATAGRAM_BYTES);
	for (uint32_t i = 0; i < 20; i++) {
		send_to(client, i);
		receive(1);
		messages[0].length = FG_WIRE_MAX_DATAGRAM + 1; /* EMSGSIZE */
		reply(1);
	}
	receive_nothing();
	assert_int_equal(stats.send_failed, 20);
	close(client);
	close(socket);
}

/* ---- sleeping ---- */

static void sleeps_for_the_whole_timeout(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), event = eventfd(0, EFD_NONBLOCK);
	uint64_t start_ns;

	(void)state;
	open_uring(&socket, 1, &event, 1, 4, 1000);
	for (int i = 0; i < 3; i++) {
		start_ns = fg_clock_ns();
		assert_int_equal(fg_uring_wait(&uring, 20 * MILLISECOND), -ETIME);
		assert_true(fg_clock_ns() - start_ns >= 20 * MILLISECOND);
	}
	assert_int_equal(stats.sleeps, 3);
	close(event);
	close(socket);
}

static void sends_that_are_done_do_not_wake(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	open_uring(&socket, 1, NULL, 0, 4, 1000);
	send_to(client, 1);
	receive(1);
	answer(1);
	expect_answer(client, 1);
	assert_int_equal(fg_uring_wait(&uring, 20 * MILLISECOND), -ETIME);
	close(client);
	close(socket);
}

/* Forks a child that does `act` after 30 ms, and checks that the wait ends then. */
static void expect_wake_by(void (*act)(int fd), int fd)
{
	uint64_t start_ns = fg_clock_ns();
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		usleep(30000);
		act(fd);
		_exit(0);
	}
	assert_int_equal(fg_uring_wait(&uring, PATIENCE), 0);
	assert_true(fg_clock_ns() - start_ns >= 25 * MILLISECOND);
	assert_true(fg_clock_ns() - start_ns < PATIENCE / 2);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void send_one(int fd)
{
	uint32_t value = 5;

	if (send(fd, &value, sizeof(value), 0) != sizeof(value))
		_exit(1);
}

static void raise_event(int fd)
{
	if (eventfd_write(fd, 1))
		_exit(1);
}

static void wakes_for_datagrams_and_polls(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);
	int events[] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
	eventfd_t value;

	(void)state;
	open_uring(&socket, 1, events, 2, 4, 1000);
	for (int round = 0; round < 3; round++) {
		expect_wake_by(send_one, client);
		receive(1);
		answer(1);
		expect_answer(client, 5);
		for (int i = 0; i < 2; i++) {
			expect_wake_by(raise_event, events[i]);
			assert_int_equal(eventfd_read(events[i], &value), 0);
		}
	}
	close(events[0]);
	close(events[1]);
	close(client);
	close(socket);
}

static void does_not_sleep_over_what_came_before(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);
	int event = eventfd(0, EFD_NONBLOCK);
	eventfd_t value;

	(void)state;
	open_uring(&socket, 1, &event, 1, 4, 1000);
	for (int round = 0; round < 100; round++) {
		/* The first wait arms the poll, later ones find it armed or fired. */
		send_to(client, 6);
		assert_int_equal(fg_uring_wait(&uring, PATIENCE), 0);
		receive(1);
		answer(1);
		expect_answer(client, 6);
		assert_int_equal(eventfd_write(event, 1), 0);
		assert_int_equal(fg_uring_wait(&uring, PATIENCE), 0);
		assert_int_equal(eventfd_read(event, &value), 0);
	}
	assert_int_equal(fg_uring_wait(&uring, 10 * MILLISECOND), -ETIME);
	close(event);
	close(client);
	close(socket);
}

/* Another process raises events the moment it may, mostly while this one is about to sleep. */
static void loses_no_wake_up_to_a_race(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK), taken = eventfd(0, 0);
	const uint32_t rounds = 5000;
	uint32_t seen = 0;
	eventfd_t value;
	pid_t child;

	(void)state;
	open_uring(NULL, 0, &event, 1, 4, 1000);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		for (uint32_t i = 0; i < rounds; i++)
			if (eventfd_write(event, 1) || eventfd_read(taken, &value))
				_exit(1);
		_exit(0);
	}
	while (seen < rounds) {
		if (!eventfd_read(event, &value)) {
			seen++;
			assert_int_equal(eventfd_write(taken, 1), 0);
		} else {
			assert_int_equal(fg_uring_wait(&uring, PATIENCE), 0);
		}
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(event);
	close(taken);
}

static void ignore(int signal_number)
{
	(void)signal_number;
}

static void a_signal_ends_the_wait(void **state)
{
	struct sigaction action = {.sa_handler = ignore}, old;
	struct itimerval timer = {.it_value.tv_usec = 20000};
	uint64_t start_ns;

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
	open_uring(NULL, 0, NULL, 0, 4, 1000);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
	start_ns = fg_clock_ns();
	assert_int_equal(fg_uring_wait(&uring, PATIENCE), -ETIME);
	assert_true(fg_clock_ns() - start_ns < PATIENCE / 2);
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
}

/* ---- the end ---- */

static void drains_all_and_takes_no_more(void **state)
{
	uint16_t ports[2];
	int sockets[] = {server_at("127.0.0.1", &ports[0]), server_at("::1", &ports[1])};
	int clients[] = {client_of("127.0.0.1", ports[0]), client_of("::1", ports[1])};
	uint64_t start_ns = fg_clock_ns();
	uint32_t answered = 0;

	(void)state;
	open_uring(sockets, 2, NULL, 0, 4, 1000);
	for (uint32_t i = 0; i < 60; i++)
		send_to(clients[i % 2], i);
	fg_uring_drain(&uring);
	assert_false(fg_uring_drained(&uring));
	while (!fg_uring_drained(&uring) && fg_clock_ns() - start_ns < PATIENCE) {
		uint32_t count = fg_uring_receive(&uring, messages, 3, 0);

		assert_true(!count || !fg_uring_drained(&uring));
		answer(count);
		answered += count;
	}
	assert_true(fg_uring_drained(&uring));
	assert_int_equal(answered, 60);
	for (uint32_t i = 0; i < 60; i++)
		expect_answer(clients[i % 2], i);

	send_to(clients[0], 99);
	receive_nothing();
	fg_uring_close(&uring);
	assert_int_equal(recv(sockets[0], big, sizeof(big), MSG_DONTWAIT), 4);
	for (int i = 0; i < 2; i++) {
		close(clients[i]);
		close(sockets[i]);
	}
}

static void a_second_ring_takes_over_the_socket(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	for (uint32_t i = 0; i < 5; i++) {
		open_uring(&socket, 1, NULL, 0, 4, 1000);
		receive_nothing();
		fg_uring_close(&uring);
		send_to(client, i);
		open_uring(&socket, 1, NULL, 0, 4, 1000);
		receive(1);
		answer(1);
		expect_answer(client, i);
		fg_uring_close(&uring);
	}
	close(client);
	close(socket);
}

/* ---- the sandbox and what may be missing ---- */

/* Runs `act` in a child; its exit status. */
static int in_child(int (*act)(int fd), int fd)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child)
		syscall(SYS_exit_group, act(fd)); /* sanitizers do more in _exit */
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int allow_only(const int *calls, int count)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(exit_group), 0);

	for (int i = 0; i < count; i++)
		ret |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return ret | seccomp_load(filter);
}

static int serve_in_sandbox(int socket)
{
	const int calls[] = {SCMP_SYS(io_uring_enter)};
	int answered = 0;

	open_uring(&socket, 1, NULL, 0, 4, 1000);
	if (allow_only(calls, 1))
		return 100;
	while (answered < 20) {
		uint32_t count = fg_uring_receive(&uring, messages, 256, 0);

		answer(count);
		answered += (int)count;
		if (!count && fg_uring_wait(&uring, PATIENCE))
			return 101;
	}
	fg_uring_drain(&uring);
	while (!fg_uring_drained(&uring))
		fg_uring_receive(&uring, messages, 256, 0);
	return answered;
}

static void serving_needs_only_io_uring_enter(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port), client = client_of("127.0.0.1", port);

	(void)state;
	for (uint32_t i = 0; i < 20; i++)
		send_to(client, i);
	assert_int_equal(in_child(serve_in_sandbox, socket), 20);
	for (uint32_t i = 0; i < 20; i++)
		expect_answer(client, i);
	close(client);
	close(socket);
}

static int look_in_vain(int socket)
{
	open_uring(&socket, 1, &socket, 1, 4, 1000);
	if (allow_only(NULL, 0))
		return 1;
	for (int i = 0; i < 1000; i++)
		if (fg_uring_receive(&uring, messages, 256, 0))
			return 2;
	return 0;
}

static void looking_in_vain_makes_no_syscall(void **state)
{
	uint16_t port;
	int socket = server_at("127.0.0.1", &port);

	(void)state;
	assert_int_equal(in_child(look_in_vain, socket), 0);
	close(socket);
}

static int open_without_io_uring(int code)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	struct fg_uring_config config = {.buffers = 4, .datagram_bytes = 1000, .stats = &stats};
	int ret;

	if (seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint16_t)code), SCMP_SYS(io_uring_setup), 0) ||
	    seccomp_load(filter))
		return 100;
	ret = fg_uring_open(&uring, &config, &error);
	if (code == ENOMEM)
		return ret == -ENOMEM && strstr(error.text, "RLIMIT_MEMLOCK") ? 0 : 1;
	if (ret != -EOPNOTSUPP || strchr(error.text, '\n'))
		return 1;
	if (code == EPERM)
		return strstr(error.text, "kernel.io_uring_disabled") ? 0 : 2;
	return strstr(error.text, "Linux 6.1") ? 0 : 3;
}

static void names_what_is_missing(void **state)
{
	(void)state;
	assert_int_equal(in_child(open_without_io_uring, EINVAL), 0);
	assert_int_equal(in_child(open_without_io_uring, ENOSYS), 0);
	assert_int_equal(in_child(open_without_io_uring, EPERM), 0);
	assert_int_equal(in_child(open_without_io_uring, ENOMEM), 0);
}

static void expect_invalid(struct fg_uring_config config, const char *what)
{
	config.stats = &stats;
	assert_int_equal(fg_uring_open(&uring, &config, &error), -EINVAL);
	assert_non_null(strstr(error.text, what));
}

static void refuses_a_bad_config(void **state)
{
	int pipes[2], tcp = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_DGRAM, 0);
	int sockets[FG_MAX_QUEUES + 1] = {0};

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	expect_invalid((struct fg_uring_config){.buffers = 6, .datagram_bytes = 1000}, "6 buffers");
	expect_invalid((struct fg_uring_config){.buffers = 0, .datagram_bytes = 1000}, "0 buffers");
	expect_invalid((struct fg_uring_config){.buffers = 2048, .datagram_bytes = 1000},
		       "2048 buffers");
	expect_invalid((struct fg_uring_config){.buffers = 4, .datagram_bytes = 0}, "0 bytes");
	expect_invalid((struct fg_uring_config){.buffers = 4, .datagram_bytes = 65537},
		       "65537 bytes");
	expect_invalid((struct fg_uring_config){.sockets = sockets,
						.socket_count = FG_MAX_LISTENERS + 1,
						.buffers = 4,
						.datagram_bytes = 1000},
		       "9 sockets");
	expect_invalid((struct fg_uring_config){.polls = sockets,
						.poll_count = FG_MAX_QUEUES + 1,
						.buffers = 4,
						.datagram_bytes = 1000},
		       "17 poll");
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? pipes[0] : i == 1 ? tcp : local;

		expect_invalid((struct fg_uring_config){.sockets = &fd,
							.socket_count = 1,
							.buffers = 4,
							.datagram_bytes = 1000},
			       "no UDP socket");
	}
	close(pipes[0]);
	close(pipes[1]);
	close(tcp);
	close(local);
}

static void closing_what_was_never_open_is_safe(void **state)
{
	(void)state;
	memset(&uring, 0, sizeof(uring));
	fg_uring_close(&uring);
	fg_uring_close(&uring);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, close_uring)
	const struct CMUnitTest tests[] = {
		TEST(answers_many_on_all_sockets),
		TEST(answers_from_the_address_that_was_asked),
		TEST(carries_the_largest_datagram),
		TEST(drops_and_counts_what_is_too_long),
		TEST(an_empty_datagram_stops_nothing),
		TEST(length_zero_sends_nothing),
		TEST(goes_on_after_its_buffers_were_all_in_use),
		TEST(gives_no_more_than_asked_for),
		TEST(counts_what_the_kernel_refuses_to_send),
		TEST(sleeps_for_the_whole_timeout),
		TEST(sends_that_are_done_do_not_wake),
		TEST(wakes_for_datagrams_and_polls),
		TEST(does_not_sleep_over_what_came_before),
		TEST(loses_no_wake_up_to_a_race),
		TEST(a_signal_ends_the_wait),
		TEST(drains_all_and_takes_no_more),
		TEST(a_second_ring_takes_over_the_socket),
		TEST(serving_needs_only_io_uring_enter),
		TEST(looking_in_vain_makes_no_syscall),
		TEST(names_what_is_missing),
		TEST(refuses_a_bad_config),
		TEST(closing_what_was_never_open_is_safe),
	};

	return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
