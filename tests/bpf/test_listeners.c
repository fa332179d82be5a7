/*
 * TCP listeners through a cutover: the keeper's own code (userspace/daemon/dataplane_tcp.c) with
 * the BPF programs under real sockets and under a client made of raw frames, which can stop in the
 * middle of a handshake. Nobody may be reset, wherever the connection stood.
 */
#include "tests/bpf/fixture.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include "tests/bpf/peer.h"
#include "userspace/daemon/dataplane.h"

#define OLD 0 /* slots */
#define NEW 1

/* Listener 0, 1: exact addresses; 2: 0.0.0.0; 3: [::]. */
enum { EXACT_V4, EXACT_V6, ANY_V4, ANY_V6, LISTENERS };
static const struct {
	const char *address;
	uint16_t port;
} listeners[LISTENERS] = {{SERVER_V4, 9000}, {SERVER_V6, 9000}, {"0.0.0.0", 9001}, {"::", 9002}};

static struct fg_steering steering;
static struct fg_dataplane dataplane;
static const struct fg_predecessor nobody = {.pidfd = -1};
static struct fg_config config;

/* ---- the gateway ----------------------------------------------------------------------- */

static void open_gateway(bool acl)
{
	struct fg_steering_config settings = fx_config();
	struct fg_error error = {""};

	settings.acl_enabled = acl;
	memset(&config, 0, sizeof(config));
	config.connections = 16;
	config.worker_count = 1;
	for (int i = 0; i < LISTENERS; i++)
		config.listen_tcp[config.listen_tcp_count++] =
			fx_address(listeners[i].address, listeners[i].port);
	if (fg_steering_open(&steering, &settings, &error) ||
	    fg_dataplane_open(&dataplane, &config, &steering, &nobody, &error))
		fail_msg("%s", error.text);
}

static int set_up(void **state)
{
	(void)state;
	open_gateway(false);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fg_dataplane_close(&dataplane);
	fg_steering_close(&steering);
	return 0;
}

static void flip(uint16_t slot)
{
	static uint32_t serial;
	struct fg_table table;

	fg_maglev_build(&table, ++serial, 1, &slot, 1);
	assert_int_equal(fg_steering_flip(&steering, 0, &table, NULL, NULL), 0);
}

/* A worker of that generation stands in the slot, and the table names it alone. */
static void serve(uint16_t slot, uint32_t generation)
{
	struct fg_error error = {""};

	if (fg_dataplane_open_slot(&dataplane, slot, &error))
		fail_msg("%s", error.text);
	fg_steering_set_slot(&steering, slot, generation, FG_SLOT_SERVING);
	flip(slot);
}

/* What the keeper does when the worker of the slot has ended, and once a second after that. */
static void reap(uint16_t slot)
{
	fg_steering_set_slot(&steering, slot, 0, FG_SLOT_FREE);
	fg_dataplane_unlock_slot(&dataplane, slot);
	fg_dataplane_reclaim_slot(&dataplane, slot);
}

static void cut_over(void)
{
	serve(NEW, 2);
	fg_steering_set_slot(&steering, OLD, 1, FG_SLOT_DRAINING);
	fg_steering_set_slot(&steering, OLD, 1, FG_SLOT_RETIRED);
	assert_int_equal(fg_steering_fence(&steering, 0), 0);
	reap(OLD);
	assert_false(dataplane.slots[OLD].listening);
}

static uint64_t counter(enum fg_counter which)
{
	uint64_t totals[FG_COUNTER_COUNT];

	assert_int_equal(fg_steering_counters(&steering, totals), 0);
	return totals[which];
}

/* A connection from the slot's accept queue; -1: none is there. */
static int accepted(uint16_t slot, int listener)
{
	return accept4(dataplane.slots[slot].tcp[listener], NULL, NULL, SOCK_CLOEXEC);
}

static void expect_text(int fd, const char *text)
{
	char bytes[64] = "";

	assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), strlen(text));
	assert_string_equal(bytes, text);
}

static void set_cookies(int value)
{
	char text[4];
	int fd = open("/proc/sys/net/ipv4/tcp_syncookies", O_WRONLY);

	assert_true(fd >= 0);
	assert_true(write(fd, text, snprintf(text, sizeof(text), "%d", value)) > 0);
	close(fd);
}

/* ---- a client with the kernel's stack -------------------------------------------------- */

static int client(const char *address, uint16_t port)
{
	struct sockaddr_storage to = fx_address(address, port);
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	int code = 0;
	socklen_t size = sizeof(code);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&to,
		    to.ss_family == AF_INET ? sizeof(struct sockaddr_in)
					    : sizeof(struct sockaddr_in6)))
		assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(poll(&polled, 1, 100), 1);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size), 0);
	if (!code)
		return fd;
	close(fd);
	errno = code;
	return -1;
}

/* Still open, with nothing to read. */
static void expect_open(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* ---- a client made of frames, see peer.h ---------------------------------------------- */

static struct peer peer_new(int listener)
{
	static uint16_t sport = 20000;

	return (struct peer){.v6 = listener == EXACT_V6 || listener == ANY_V6,
			     .sport = ++sport,
			     .dport = listeners[listener].port,
			     .seq = 1000};
}

/* Half a handshake: the SYN is answered, the last ACK is not sent. */
static struct peer peer_half_open(int listener)
{
	struct peer peer = peer_new(listener);

	peer_send(&peer, SYN, "");
	assert_int_equal(peer_receive(&peer, 1000), SYN | ACK);
	return peer;
}

static void peer_finish(struct peer *peer, const char *text)
{
	peer_send(peer, ACK, "");
	peer_send(peer, ACK, text);
	assert_int_equal(peer_receive(peer, 1000), ACK); /* and no RST */
}

static void expect_peer(uint16_t slot, int listener, const char *text)
{
	int fd = accepted(slot, listener);

	assert_true(fd >= 0);
	expect_text(fd, text);
	close(fd);
}

/* ---- tests ----------------------------------------------------------------------------- */

static const char *const reachable[LISTENERS] = {SERVER_V4, SERVER_V6, "127.0.0.1", "::1"};

static void steers_to_the_slot_of_the_table(void **state)
{
	(void)state;
	serve(OLD, 1);
	serve(NEW, 2); /* two in the map, one in the table */
	for (int listener = 0; listener < LISTENERS; listener++) {
		int fd = client(reachable[listener], listeners[listener].port);

		assert_true(fd >= 0);
		assert_int_equal(accepted(OLD, listener), -1);
		assert_int_equal(send(fd, "hello", 5, 0), 5);
		expect_peer(NEW, listener, "hello");
		close(fd);
	}
	assert_int_equal(counter(FG_COUNTER_TCP_STEERED), LISTENERS);
}

/* 0.0.0.0 is served at every address, [::] at IPv6 alone: IPv4 there is nobody's and refused. */
static void wildcards_are_of_their_own_family(void **state)
{
	int fd;

	(void)state;
	serve(OLD, 1);
	fd = client("127.9.8.7", listeners[ANY_V4].port);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(client("127.0.0.1", listeners[ANY_V6].port), -1);
	assert_int_equal(errno, ECONNREFUSED);
	assert_int_equal(counter(FG_COUNTER_TCP_STEERED), 1);
	assert_int_equal(counter(FG_COUNTER_TCP_PASS_OTHER), 1);
}

static void the_queue_moves(void **state)
{
	int fds[40];

	(void)state;
	serve(OLD, 1);
	for (int i = 0; i < 40; i++) {
		fds[i] = client(reachable[i % LISTENERS], listeners[i % LISTENERS].port);
		assert_true(fds[i] >= 0);
		assert_int_equal(send(fds[i], "queued", 6, 0), 6);
	}
	cut_over();
	for (int i = 0; i < 40; i++) {
		expect_peer(NEW, i % LISTENERS, "queued");
		assert_int_equal(recv(fds[i], &(char){0}, 1, 0), 0); /* closed well */
		close(fds[i]);
	}
	assert_int_equal(counter(FG_COUNTER_TCP_MOVED), 40);
	assert_int_equal(counter(FG_COUNTER_TCP_LOST), 0);
}

static void check_half_open(int cookies)
{
	struct peer peers[2 * LISTENERS];

	set_cookies(cookies);
	serve(OLD, 1);
	for (int i = 0; i < 2 * LISTENERS; i++)
		peers[i] = peer_half_open(i % LISTENERS);
	cut_over();
	for (int i = 0; i < 2 * LISTENERS; i++) {
		peer_finish(&peers[i], "late");
		expect_peer(NEW, i % LISTENERS, "late");
	}
	set_cookies(1);
}

static void half_open_handshakes_move(void **state)
{
	(void)state;
	check_half_open(1);
	assert_int_equal(counter(FG_COUNTER_TCP_MOVED), 2 * LISTENERS);
}

/* Nothing is kept of these: the ACK is looked up, and believed by the other listener. */
static void cookies_are_believed_by_the_next(void **state)
{
	(void)state;
	check_half_open(2);
	assert_int_equal(counter(FG_COUNTER_TCP_MOVED), 0);
	assert_int_equal(counter(FG_COUNTER_TCP_STEERED), 2 * 2 * LISTENERS);
}

/* The SYN-ACK is repeated by a listener that is closed. */
static void a_repeated_handshake_moves(void **state)
{
	struct peer peer;

	(void)state;
	serve(OLD, 1);
	peer = peer_half_open(EXACT_V4);
	cut_over();
	assert_int_equal(peer_receive(&peer, 3000), SYN | ACK);
	peer_finish(&peer, "again");
	expect_peer(NEW, EXACT_V4, "again");
	assert_int_equal(counter(FG_COUNTER_TCP_MOVED), 1);
}

/* The slot is used again by a third generation: what was half open before does not meet it. */
static void a_slot_used_again_gets_nothing_old(void **state)
{
	struct peer peer;
	struct fg_error error = {""};

	(void)state;
	serve(OLD, 1);
	peer = peer_half_open(EXACT_V4);
	cut_over();
	assert_int_equal(fg_dataplane_open_slot(&dataplane, OLD, &error), 0);
	peer_finish(&peer, "old");
	assert_int_equal(accepted(OLD, EXACT_V4), -1);
	expect_peer(NEW, EXACT_V4, "old");
}

/* The only worker dies: what it left waits for the next one in its slot. */
static void connections_wait_when_nobody_serves(void **state)
{
	struct peer half;
	int fd;

	(void)state;
	serve(OLD, 1);
	fd = client(SERVER_V4, 9000);
	assert_int_equal(send(fd, "queued", 6, 0), 6);
	half = peer_half_open(EXACT_V4);
	reap(OLD);
	assert_true(dataplane.slots[OLD].listening);
	peer_finish(&half, "half");
	expect_open(fd);
	serve(OLD, 1);
	expect_peer(OLD, EXACT_V4, "queued");
	expect_peer(OLD, EXACT_V4, "half");
	close(fd);
}

/* ... or for a worker in another slot. */
static void connections_wait_for_any_worker(void **state)
{
	int fd;

	(void)state;
	serve(OLD, 1);
	fd = client(SERVER_V6, 9000);
	assert_int_equal(send(fd, "queued", 6, 0), 6);
	reap(OLD);
	serve(NEW, 2);
	fg_dataplane_reclaim_slot(&dataplane, OLD);
	expect_peer(NEW, EXACT_V6, "queued");
	close(fd);
}

/* With a SYN, or the ACK of a cookie: no answer, and the client gets in when it tries again. */
static void nobody_serves(void **state)
{
	struct peer fresh = peer_new(EXACT_V4), cookie;
	uint64_t steered;

	(void)state;
	set_cookies(2);
	serve(OLD, 1);
	cookie = peer_half_open(EXACT_V6);
	reap(OLD);
	steered = counter(FG_COUNTER_TCP_STEERED);
	peer_send(&fresh, SYN, "");
	assert_int_equal(peer_receive(&fresh, 50), 0);
	peer_send(&cookie, ACK, "");
	peer_send(&cookie, ACK, "data");
	assert_int_equal(peer_receive(&cookie, 50), 0);
	assert_int_equal(counter(FG_COUNTER_TCP_DROP_NO_SLOT), 3);
	assert_int_equal(counter(FG_COUNTER_TCP_STEERED), steered);
	serve(OLD, 1);
	cookie.seq -= 4;
	peer_send(&cookie, ACK, "data");
	assert_int_equal(peer_receive(&cookie, 1000), ACK);
	expect_peer(OLD, EXACT_V6, "data");
	fresh.seq = 1000;
	peer_send(&fresh, SYN, "");
	assert_int_equal(peer_receive(&fresh, 1000), SYN | ACK);
	set_cookies(1);
}

static void the_access_list_is_silent(void **state)
{
	struct sockaddr_storage v4 = fx_address(CLIENT_V4, 0), v6 = fx_address(CLIENT_V6, 0);
	struct peer peers[LISTENERS];

	tear_down(state);
	open_gateway(true);
	serve(OLD, 1);
	assert_int_equal(fg_steering_acl(&steering, &v4, 32, FG_ACL_DENY), 0);
	assert_int_equal(fg_steering_acl(&steering, &v6, 128, FG_ACL_DENY), 0);
	for (int i = 0; i < LISTENERS; i++) {
		peers[i] = peer_new(i);
		peer_send(&peers[i], SYN, "");
		assert_int_equal(peer_receive(&peers[i], 20), 0);
	}
	assert_int_equal(counter(FG_COUNTER_TCP_DROP_ACL), LISTENERS);
	assert_int_equal(counter(FG_COUNTER_TCP_STEERED), 0);
	close(client("127.0.0.1", 9001));
	assert_int_equal(counter(FG_COUNTER_TCP_STEERED), 1);
}

static void others_connections_pass(void **state)
{
	struct sockaddr_storage address = fx_address("127.0.0.1", 9100);
	int fd, other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	serve(OLD, 1);
	assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(other, 1), 0);
	fd = client("127.0.0.1", 9100);
	assert_true(fd >= 0);
	assert_int_equal(counter(FG_COUNTER_TCP_PASS_OTHER), 1);
	close(fd);
	close(other);
}

/* The worker: accepts by io_uring until it is killed. */
static void accept_for_ever(int listener)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;

	if (io_uring_queue_init(8, &ring, 0))
		_exit(1);
	io_uring_prep_multishot_accept(io_uring_get_sqe(&ring), listener, NULL, NULL, 0);
	io_uring_submit(&ring);
	while (!io_uring_wait_cqe(&ring, &cqe))
		io_uring_cqe_seen(&ring, cqe);
	_exit(1);
}

/* The ring of a killed worker keeps its listener alive for a while: that must not keep connections.
 */
static void a_killed_worker_keeps_nothing(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 3; round++) {
		struct peer half;
		pid_t worker;
		int fd;

		serve(OLD, 1 + 2 * round);
		worker = fork();
		assert_true(worker >= 0);
		if (!worker)
			accept_for_ever(dataplane.slots[OLD].tcp[EXACT_V4]);
		fd = client(SERVER_V4, 9000);
		half = peer_half_open(EXACT_V4);
		serve(NEW, 2 + 2 * round);
		kill(worker, SIGKILL);
		assert_int_equal(waitpid(worker, NULL, 0), worker);
		reap(OLD);
		peer_finish(&half, "half");
		expect_peer(NEW, EXACT_V4, "half");
		close(fd);
		serve(OLD, 3 + 2 * round);
		reap(NEW);
	}
}

static void names_who_has_the_port(void **state)
{
	struct sockaddr_storage address = fx_address("127.0.0.1", 9001);
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct fg_error error = {""};

	fg_dataplane_close(&dataplane);
	assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(other, 1), 0);
	assert_int_equal(fg_dataplane_open(&dataplane, &config, &steering, &nobody, &error),
			 -EADDRINUSE);
	assert_non_null(strstr(error.text, "listen-tcp 0.0.0.0:9001"));
	close(other);
	config.connections = 1u << 30;
	assert_int_equal(fg_dataplane_open(&dataplane, &config, &steering, &nobody, &error),
			 -EMFILE);
	assert_non_null(strstr(error.text, "LimitNOFILE"));
	fg_steering_close(&steering);
	set_up(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(steers_to_the_slot_of_the_table),
		TEST(wildcards_are_of_their_own_family),
		TEST(the_queue_moves),
		TEST(half_open_handshakes_move),
		TEST(cookies_are_believed_by_the_next),
		TEST(a_repeated_handshake_moves),
		TEST(a_slot_used_again_gets_nothing_old),
		TEST(connections_wait_when_nobody_serves),
		TEST(connections_wait_for_any_worker),
		TEST(nobody_serves),
		TEST(the_access_list_is_silent),
		TEST(others_connections_pass),
		TEST(a_killed_worker_keeps_nothing),
		TEST(names_who_has_the_port),
	};

	fx_isolate();
	make_wire();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
