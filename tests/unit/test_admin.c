/* The control socket: a real unix socket, good clients and bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "userspace/daemon/admin.h"

#define S 1000000000ull

static struct fg_admin admin;
static struct sockaddr_un address;
static int listener;
static uint64_t now_ns;

/* The owner: answers promote when told to, everything else at once. */
static struct {
	struct fg_admin_request last;
	uint32_t begun, left;
	bool live;
} owner;

static json_t *answer(const struct fg_admin_request *request)
{
	return json_pack("{s:b,s:s,s:I}", "ok", 1, "model", request->model, "version",
			 (json_int_t)request->version);
}

static json_t *progress(void *context, struct fg_admin_request *request, uint64_t at_ns)
{
	assert_ptr_equal(context, &owner);
	if (owner.live)
		return answer(request);
	return at_ns >= request->until_ns ? fg_admin_error("timeout", "not live yet") : NULL;
}

static json_t *begin(void *context, struct fg_admin_request *request, uint64_t at_ns)
{
	owner.last = *request;
	owner.begun++;
	return request->verb == FG_ADMIN_PROMOTE ? progress(context, request, at_ns)
						 : answer(request);
}

static void leave(void *context, struct fg_admin_request *request)
{
	assert_ptr_equal(context, &owner);
	assert_int_equal(request->verb, FG_ADMIN_PROMOTE);
	owner.left++;
}

static const struct fg_admin_ops ops = {begin, progress, leave};

static int open_admin(void **state)
{
	(void)state;
	memset(&owner, 0, sizeof(owner));
	now_ns = 1000 * S;
	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/fgt-admin-%d", getpid());
	unlink(address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 64))
		return -1;
	return fg_admin_open(&admin, listener, &ops, &owner);
}

static int close_admin(void **state)
{
	(void)state;
	fg_admin_close(&admin);
	close(listener);
	unlink(address.sun_path);
	return 0;
}

/* ---- a client ---- */

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static uint64_t turn(uint32_t times)
{
	uint64_t due_ns = 0;

	while (times--)
		due_ns = fg_admin_update(&admin, now_ns);
	return due_ns;
}

/* Bytes that never find room are no error here: a bad client may be cut off any time. */
static void say(int fd, const void *bytes, size_t length)
{
	size_t sent = 0;
	ssize_t one;

	for (uint32_t tries = 0; sent < length && tries < 10000; tries++) {
		one = send(fd, (const char *)bytes + sent, length - sent,
			   MSG_DONTWAIT | MSG_NOSIGNAL);
		if (one < 0 && errno != EAGAIN)
			break;
		sent += one > 0 ? (size_t)one : 0;
		turn(1);
	}
	turn(3);
}

static void say_text(int fd, const char *text)
{
	say(fd, text, strlen(text));
}

/* One line, parsed; NULL at the end of the connection. Fails when there is nothing to read. */
static json_t *hear(int fd)
{
	static char line[2 * FG_ADMIN_LINE_BYTES];
	size_t used = 0;
	json_t *reply;
	ssize_t got;

	do {
		turn(1);
		got = recv(fd, line + used, 1, MSG_DONTWAIT);
		if (got <= 0) {
			if (got < 0 && errno == EAGAIN)
				fail_msg("no reply");
			return NULL;
		}
	} while (line[used++] != '\n' && used < sizeof(line));
	reply = json_loadb(line, used, 0, NULL);
	assert_non_null(reply);
	return reply;
}

static bool is_silent(int fd)
{
	char byte;

	turn(3);
	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static void expect_code(int fd, const char *code, const char *part)
{
	json_t *reply = hear(fd);

	assert_non_null(reply);
	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "code")), code);
	if (!strstr(json_string_value(json_object_get(reply, "error")), part))
		fail_msg("\"%s\" does not say \"%s\"",
			 json_string_value(json_object_get(reply, "error")), part);
	json_decref(reply);
}

static void expect_ok(int fd)
{
	json_t *reply = hear(fd);

	assert_non_null(reply);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
}

static void expect_end(int fd)
{
	char byte;

	turn(3);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

static uint32_t connected(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < FG_ADMIN_MAX_CLIENTS; i++)
		count += admin.clients[i].fd >= 0;
	return count;
}

/* ---- tests ---- */

static void test_requests(void **state)
{
	int fd = dial();

	(void)state;
	say_text(fd, "{\"verb\":\"status\"}\n");
	expect_ok(fd);
	assert_int_equal(owner.last.verb, FG_ADMIN_STATUS);
	say_text(fd, "{\"verb\":\"rollback\",\"model\":\"digits\"}\n");
	expect_ok(fd);
	assert_int_equal(owner.last.verb, FG_ADMIN_ROLLBACK);
	assert_string_equal(owner.last.model, "digits");
	assert_true(owner.last.until_ns == now_ns + 30 * S);
	owner.live = true;
	say_text(fd, "{\"wait_ms\":5,\"version\":9007199254740993,\"verb\":\"promote\","
		     "\"model\":\"a.b\"}\r\n");
	expect_ok(fd);
	assert_int_equal(owner.last.verb, FG_ADMIN_PROMOTE);
	assert_true(owner.last.version == 9007199254740993ull);
	assert_true(owner.last.until_ns == now_ns + 5000000);
	close(fd);
	turn(3);
	assert_int_equal(connected(), 0);
}

static void test_bad_requests_keep_the_connection(void **state)
{
	static const char *const bad[][2] = {
		{"{}", "verb"},
		{"[]", "object"},
		{"{\"verb\":\"reboot\"}", "reboot"},
		{"{\"verb\":\"status\",\"extra\":1}", "extra"},
		{"{\"verb\":\"promote\",\"model\":\"digits\"}", "version"},
	};
	int fd = dial();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say_text(fd, bad[i][0]);
		say_text(fd, "\n");
		expect_code(fd, "bad_request", bad[i][1]);
	}
	assert_int_equal(owner.begun, 0);
	say_text(fd, "{\"verb\":\"status\"}\n");
	expect_ok(fd);
	close(fd);
}

/* Who asks is whoever connected, whatever a request says. */
static void test_who_asks(void **state)
{
	int fd = dial();

	(void)state;
	say_text(fd, "{\"verb\":\"rollback\",\"model\":\"d\"}\n");
	expect_ok(fd);
	assert_int_equal(owner.last.who.uid, getuid());
	assert_int_equal(owner.last.who.pid, getpid());
	assert_true(owner.last.arrived_ns == now_ns);
	close(fd);
}

static void test_garbage_ends_the_connection(void **state)
{
	static const char *const garbage[] = {
		"\n",
		"hello\n",
		"{\"verb\":\"status\"\n",
		"{\"verb\":\"status\",\"verb\":\"x\"}\n",
		"\xff\xfe\n",
		"{\"verb\":\"sta\\u0000tus\"}\n",
		"GET / HTTP/1.1\r\n",
		"1e999\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		int fd = dial();

		say_text(fd, garbage[i]);
		expect_code(fd, "bad_request", "not JSON");
		expect_end(fd);
	}
	assert_int_equal(connected(), 0);
	assert_int_equal(owner.begun, 0);
}

static void test_deep_nesting(void **state)
{
	static char line[60000];
	int fd = dial();

	(void)state;
	memset(line, '[', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	say(fd, line, sizeof(line));
	expect_code(fd, "bad_request", "not JSON");
	expect_end(fd);
}

static void test_endless_line(void **state)
{
	static char line[3 * FG_ADMIN_LINE_BYTES];
	int fd = dial();

	(void)state;
	memset(line, 'x', sizeof(line));
	say(fd, line, sizeof(line));
	expect_code(fd, "bad_request", "64 KiB");
	turn(3);
	assert_int_equal(connected(), 0);
	close(fd);
}

static void test_longest_line(void **state)
{
	static char line[FG_ADMIN_LINE_BYTES];
	int fd = dial();

	(void)state;
	memset(line, ' ', sizeof(line));
	memcpy(line, "{\"verb\":\"status\"}", 17);
	line[sizeof(line) - 1] = '\n';
	say(fd, line, sizeof(line));
	expect_ok(fd);
	close(fd);
}

static void test_line_in_pieces(void **state)
{
	const char *line = "{\"verb\":\"status\"}\n";
	int fd = dial();

	(void)state;
	for (const char *c = line; *c; c++) {
		assert_true(is_silent(fd));
		say(fd, c, 1);
	}
	expect_ok(fd);
	close(fd);
}

static void test_unfinished_line(void **state)
{
	int fd = dial(), other = dial();

	(void)state;
	say_text(fd, "{\"verb\":");
	assert_true(shutdown(fd, SHUT_WR) == 0);
	expect_code(fd, "bad_request", "no end");
	expect_end(fd);
	say_text(other, "{\"verb\":");
	assert_true(turn(1) == now_ns + FG_ADMIN_IDLE_NS);
	now_ns += FG_ADMIN_IDLE_NS - 1;
	assert_true(is_silent(other));
	now_ns += 1;
	expect_code(other, "bad_request", "10 s");
	expect_end(other);
}

static void test_waiting(void **state)
{
	int fd = dial(), other = dial();
	uint64_t until_ns = now_ns + 7 * S;

	(void)state;
	say_text(fd, "{\"verb\":\"promote\",\"model\":\"d\",\"version\":2,\"wait_ms\":7000}\n"
		     "{\"verb\":\"status\"}\n");
	assert_true(is_silent(fd));
	now_ns += 3 * S; /* longer than others may idle does not matter to it */
	say_text(other, "{\"verb\":\"status\"}\n");
	expect_ok(other);
	assert_true(is_silent(fd));
	assert_true(turn(1) == until_ns);
	owner.live = true;
	expect_ok(fd);
	expect_ok(fd); /* the status that was sent behind it */
	owner.live = false;
	say_text(fd, "{\"verb\":\"promote\",\"model\":\"d\",\"version\":3,\"wait_ms\":12000}\n");
	now_ns += 12 * S;
	expect_code(fd, "timeout", "not live");
	close(fd);
	close(other);
}

/* Whoever shuts down its side after the request still gets its reply. */
static void test_half_closed_client_is_answered(void **state)
{
	int fd = dial();

	(void)state;
	say_text(fd, "{\"verb\":\"promote\",\"model\":\"d\",\"version\":2}\n");
	shutdown(fd, SHUT_WR);
	assert_true(is_silent(fd));
	owner.live = true;
	expect_ok(fd);
	expect_end(fd);
}

static void test_client_that_leaves_while_waiting(void **state)
{
	int fd = dial();

	(void)state;
	say_text(fd, "{\"verb\":\"promote\",\"model\":\"d\",\"version\":2}\n");
	assert_int_equal(connected(), 1);
	assert_int_equal(owner.left, 0);
	close(fd);
	turn(3);
	assert_int_equal(connected(), 0);
	assert_int_equal(owner.left, 1);
}

/* Line and end come in one: what it asked for is begun, and the owner hears that it is gone. */
static void test_client_that_sends_and_leaves(void **state)
{
	static const char line[] = "{\"verb\":\"promote\",\"model\":\"d\",\"version\":2}\n";
	int fd = dial();

	(void)state;
	turn(1);
	assert_int_equal(send(fd, line, sizeof(line) - 1, 0), sizeof(line) - 1);
	close(fd);
	turn(3);
	assert_int_equal(connected(), 0);
	assert_int_equal(owner.begun, 1);
	assert_int_equal(owner.left, 1);
}

/* It asks and asks and never reads: the socket fills, and it is dropped. */
static void test_client_that_never_reads(void **state)
{
	static char requests[18 * 3000];
	int fd = dial(), small = 1;

	(void)state;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (size_t i = 0; i < 3000; i++)
		memcpy(requests + 18 * i, "{\"verb\":\"status\"}\n", 18);
	for (uint32_t i = 0; i < 8; i++)
		say(fd, requests, sizeof(requests));
	turn(9000);
	assert_int_equal(connected(), 1);
	now_ns += FG_ADMIN_IDLE_NS;
	turn(2);
	assert_int_equal(connected(), 0);
	close(fd);
}

/* A flood of requests is answered one a turn, so that others get theirs. */
static void test_flood_is_taken_in_turns(void **state)
{
	static char requests[18 * 1000];
	int fd = dial(), other;

	(void)state;
	turn(1);
	for (size_t i = 0; i < 1000; i++)
		memcpy(requests + 18 * i, "{\"verb\":\"status\"}\n", 18);
	assert_int_equal(send(fd, requests, sizeof(requests), MSG_DONTWAIT), sizeof(requests));
	assert_true(turn(1) == now_ns); /* more at once */
	assert_int_equal(owner.begun, 1);
	other = dial();
	say_text(other, "{\"verb\":\"rollback\",\"model\":\"d\"}\n");
	expect_ok(other);
	assert_in_range(owner.begun, 2, 50);
	for (uint32_t i = 0; i < 1000; i++)
		expect_ok(fd);
	assert_int_equal(owner.begun, 1001);
	close(fd);
	close(other);
}

static void test_too_many_clients(void **state)
{
	int fds[FG_ADMIN_MAX_CLIENTS + 2];

	(void)state;
	for (uint32_t i = 0; i < FG_ADMIN_MAX_CLIENTS + 2; i++)
		fds[i] = dial();
	turn(2);
	assert_int_equal(connected(), FG_ADMIN_MAX_CLIENTS);
	expect_code(fds[FG_ADMIN_MAX_CLIENTS], "busy", "16 clients");
	expect_end(fds[FG_ADMIN_MAX_CLIENTS]);
	say_text(fds[3], "{\"verb\":\"status\"}\n");
	expect_ok(fds[3]);
	close(fds[0]);
	turn(2);
	fds[0] = dial();
	say_text(fds[0], "{\"verb\":\"status\"}\n");
	expect_ok(fds[0]);
	for (uint32_t i = 0; i < FG_ADMIN_MAX_CLIENTS; i++)
		close(fds[i]);
	close(fds[FG_ADMIN_MAX_CLIENTS + 1]);
}

static int dial_as(uid_t uid)
{
	int fd;

	assert_int_equal(seteuid(uid), 0);
	fd = dial();
	assert_int_equal(seteuid(0), 0);
	return fd;
}

/* However many others want in, two places are root's, and one user leaves some for the next. */
static void test_places_of_users(void **state)
{
	int ann[13], ben[3], root[3];

	(void)state;
	if (geteuid())
		skip();
	chmod(address.sun_path, 0777);
	for (uint32_t i = 0; i < 13; i++)
		ann[i] = dial_as(60001);
	for (uint32_t i = 0; i < 3; i++)
		ben[i] = dial_as(60002);
	for (uint32_t i = 0; i < 3; i++)
		root[i] = dial();
	turn(2);
	expect_code(ann[12], "busy", "12 of one user");
	expect_code(ben[2], "busy", "16 clients");
	expect_code(root[2], "busy", "16 clients");
	assert_int_equal(connected(), FG_ADMIN_MAX_CLIENTS);
	for (uint32_t i = 0; i < 12; i++) {
		say_text(ann[i], "{\"verb\":\"status\"}\n");
		expect_ok(ann[i]);
		close(ann[i]);
	}
	for (uint32_t i = 0; i < 2; i++) {
		say_text(ben[i], "{\"verb\":\"status\"}\n");
		expect_ok(ben[i]);
		say_text(root[i], "{\"verb\":\"rollback\",\"model\":\"d\"}\n");
		expect_ok(root[i]);
		close(ben[i]);
		close(root[i]);
	}
	close(ann[12]);
	close(ben[2]);
	close(root[2]);
}

/* Where all of a user's requests wait, the oldest is answered to let the next one in. */
static void test_the_oldest_wait_makes_room(void **state)
{
	int fds[FG_ADMIN_MAX_CLIENTS], next;

	(void)state;
	for (uint32_t i = 0; i < FG_ADMIN_MAX_CLIENTS; i++) {
		fds[i] = dial();
		say_text(fds[i], "{\"verb\":\"promote\",\"model\":\"d\",\"version\":2}\n");
		now_ns += i == 4 ? 0 : 1000;
	}
	assert_int_equal(connected(), FG_ADMIN_MAX_CLIENTS);
	next = dial();
	say_text(next, "{\"verb\":\"rollback\",\"model\":\"d\"}\n");
	expect_ok(next);
	expect_code(fds[0], "timeout", "goes on");
	expect_end(fds[0]);
	assert_int_equal(owner.left, 1);
	assert_true(is_silent(fds[1]));
	for (uint32_t i = 1; i < FG_ADMIN_MAX_CLIENTS; i++)
		close(fds[i]);
	close(next);
}

/* Without descriptors nobody is let in, and nothing spins for it. */
static void test_no_descriptors(void **state)
{
	struct pollfd readable = {.fd = admin.epoll, .events = POLLIN};
	struct rlimit old, none;
	int fd = dial();

	(void)state;
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_true(turn(1) == now_ns + FG_ADMIN_DEAF_NS);
	assert_int_equal(poll(&readable, 1, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	turn(1);
	assert_int_equal(connected(), 0);
	now_ns += FG_ADMIN_DEAF_NS;
	say_text(fd, "{\"verb\":\"status\"}\n");
	expect_ok(fd);
	close(fd);
}

/* Seeded noise from many clients at once: nothing but errors, and it still serves. */
static void test_noise(void **state)
{
	uint64_t seed = 42;
	char bytes[512];
	int fd;

	(void)state;
	for (uint32_t round = 0; round < 300; round++) {
		int fds[8];

		for (uint32_t i = 0; i < 8; i++) {
			fds[i] = dial();
			for (uint32_t k = 0; k < sizeof(bytes); k++) {
				seed = seed * 6364136223846793005ull + 1442695040888963407ull;
				bytes[k] = (char)(seed >> 33);
				if (seed >> 60 == 0)
					bytes[k] = "{}[]\",:\n"[seed >> 40 & 7];
			}
			say(fds[i], bytes, sizeof(bytes));
		}
		for (uint32_t i = 0; i < 8; i++)
			close(fds[i]);
		turn(2);
	}
	assert_int_equal(owner.begun, 0);
	assert_int_equal(connected(), 0);
	fd = dial();
	say_text(fd, "{\"verb\":\"status\"}\n");
	expect_ok(fd);
	close(fd);
}

/* ---- the socket itself ---- */

static void test_the_socket_and_its_group(void **state)
{
	struct fg_error error = {""};
	struct stat info;
	char path[64];
	int fd, other;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/fgt-socket-%d", getpid());
	assert_int_equal(fg_admin_listen(path, "", &fd, &error), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_int_equal(fg_admin_listen(path, "", &other, &error), -EADDRINUSE);
	close(fd); /* what a dead one left is replaced */
	assert_int_equal(fg_admin_listen(path, "nogroup", &fd, &error), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0660);
	assert_int_equal(info.st_gid, getgrnam("nogroup")->gr_gid);
	close(fd);
	assert_int_equal(fg_admin_listen(path, "no-such-group", &fd, &error), -ESRCH);
	assert_non_null(strstr(error.text, "no-such-group"));
	unlink(path);
}

static void test_errors_are_always_json(void **state)
{
	json_t *reply = fg_admin_error("failed", "%s", "bytes \xff\xfe and a \n line");

	(void)state;
	assert_non_null(reply);
	assert_string_equal(json_string_value(json_object_get(reply, "error")),
			    "bytes ?? and a ? line");
	json_decref(reply);
}

#define SERVED(name) cmocka_unit_test_setup_teardown(name, open_admin, close_admin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_requests),
		SERVED(test_bad_requests_keep_the_connection),
		SERVED(test_who_asks),
		SERVED(test_garbage_ends_the_connection),
		SERVED(test_deep_nesting),
		SERVED(test_endless_line),
		SERVED(test_longest_line),
		SERVED(test_line_in_pieces),
		SERVED(test_unfinished_line),
		SERVED(test_waiting),
		SERVED(test_half_closed_client_is_answered),
		SERVED(test_client_that_leaves_while_waiting),
		SERVED(test_client_that_sends_and_leaves),
		SERVED(test_client_that_never_reads),
		SERVED(test_flood_is_taken_in_turns),
		SERVED(test_too_many_clients),
		SERVED(test_places_of_users),
		SERVED(test_the_oldest_wait_makes_room),
		SERVED(test_no_descriptors),
		SERVED(test_noise),
		cmocka_unit_test(test_the_socket_and_its_group),
		cmocka_unit_test(test_errors_are_always_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
