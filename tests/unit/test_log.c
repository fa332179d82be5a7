/* Log lines to a reader that does not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>
#include "userspace/shared/log.h"

#define DRY_MS 200   /* a terminal's driver hands over when it has time to */
#define LINES  20000 /* more than any pipe, socket or terminal holds */

/* What this process has as stderr, while the test gives it another. */
static int own_stderr;

static void take_stderr(int fd)
{
	own_stderr = dup(STDERR_FILENO);
	assert_true(own_stderr >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	fg_log_open("test", false);
	fg_log_never_wait();
}

static void give_stderr_back(void)
{
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
}

/* What has come out at the other end. */
struct read {
	char line[512]; /* the one that is not whole yet */
	size_t used;
	uint64_t lines; /* of the test's */
	uint64_t lost;	/* as the log says */
	bool again;	/* the line that is written when there is room; nothing is lost after it */
};

static void take_line(struct read *read)
{
	const char *lost = strstr(read->line, "event=log.lost lines=");

	read->lines += strstr(read->line, " whole") != NULL;
	read->again |= strstr(read->line, "event=again") != NULL;
	if (lost)
		read->lost += strtoull(strrchr(lost, '=') + 1, NULL, 10);
}

static void drain(int fd, struct read *read_so_far)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	char bytes[4096];
	ssize_t got;

	while (poll(&poller, 1, DRY_MS) > 0 && (got = read(fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < got; i++) {
			if (bytes[i] != '\n') {
				if (read_so_far->used < sizeof(read_so_far->line) - 1)
					read_so_far->line[read_so_far->used++] = bytes[i];
				continue;
			}
			read_so_far->line[read_so_far->used] = 0;
			read_so_far->used = 0;
			take_line(read_so_far);
		}
}

/* An alarm ends the test where a line waits. What was lost is what did not come, and that is said
 * as soon as there is room again. */
static void loses_and_counts(int reader, int writer)
{
	struct read came = {.used = 0};
	uint64_t lost;

	alarm(20);
	take_stderr(writer);
	for (uint32_t i = 0; i < LINES; i++)
		fg_log(FG_LOG_INFO, "line number=%u whole", i);
	lost = fg_log_lost();
	drain(reader, &came);
	fg_log(FG_LOG_INFO, "again");
	drain(reader, &came);
	give_stderr_back();
	alarm(0);
	assert_true(lost > 0 && lost < LINES);
	assert_int_equal(came.lines + lost, LINES);
	assert_int_equal(came.lost, lost);
	assert_true(came.again);
	close(reader);
	close(writer);
}

static void a_full_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	loses_and_counts(fds[0], fds[1]);
}

static void a_full_stream_socket(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	loses_and_counts(fds[0], fds[1]);
}

/* As after ^S. */
static void a_terminal_that_stands_still(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), terminal;
	struct termios modes;

	(void)state;
	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(terminal >= 0);
	assert_int_equal(tcgetattr(terminal, &modes), 0);
	cfmakeraw(&modes);
	assert_int_equal(tcsetattr(terminal, TCSANOW, &modes), 0);
	loses_and_counts(master, terminal);
}

/* O_NONBLOCK would be everybody's who has the pipe open. */
static void others_keep_their_way_of_writing(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	take_stderr(fds[1]);
	give_stderr_back();
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	close(fds[0]);
	close(fds[1]);
}

static void a_reader_that_is_gone(void **state)
{
	int fds[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	take_stderr(fds[1]);
	close(fds[0]);
	errno = ENOENT;
	fg_log(FG_LOG_INFO, "nobody");
	give_stderr_back();
	assert_int_equal(errno, ENOENT);
	assert_int_equal(fg_log_lost(), 1);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_pipe),
		cmocka_unit_test(a_full_stream_socket),
		cmocka_unit_test(a_terminal_that_stands_still),
		cmocka_unit_test(others_keep_their_way_of_writing),
		cmocka_unit_test(a_reader_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
