/* What a child can do to the keeper's log: say something, in its own name, and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/daemon/child_log.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define FORGED "time=2026-01-31T12:00:00.123Z level=info part=keeper event=stop signal=none"

static struct fg_child_log child_log;
static char text[1 << 20];
static int file, own_stderr;

/* stderr is a file, as under a shell that redirects it. */
static int open_log(void **state)
{
	char path[] = "/tmp/fgt-log-XXXXXX";

	(void)state;
	file = mkstemp(path);
	unlink(path);
	own_stderr = dup(STDERR_FILENO);
	if (file < 0 || own_stderr < 0 || dup2(file, STDERR_FILENO) < 0)
		return -1;
	fg_log_open("keeper", false);
	return fg_child_log_open(&child_log, "worker");
}

static int close_log(void **state)
{
	(void)state;
	fg_child_log_close(&child_log);
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
	return close(file);
}

/* Runs `say` in a child, and returns what is in the file then. */
static const char *after(void (*say)(void))
{
	pid_t pid = fork();
	ssize_t got;
	int status;

	if (!pid) {
		fg_child_log_use(&child_log);
		fg_log_open("worker", false);
		say();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	while (fg_child_log_read(&child_log, fg_clock_ns()))
		;
	got = pread(file, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = 0;
	return text;
}

static uint32_t lines(const char *of)
{
	uint32_t count = 0;

	for (; *of; of++)
		count += *of == '\n';
	return count;
}

static void honest(void)
{
	fg_log(FG_LOG_INFO, "ready models=%d", 3);
	fg_log(FG_LOG_WARN, "slow took_ms=%d", 7);
}

static void its_lines_come_as_they_are(void **state)
{
	const char *log = after(honest);

	(void)state;
	assert_non_null(strstr(log, "level=info part=worker event=ready models=3\n"));
	assert_non_null(strstr(log, "level=warn part=worker event=slow took_ms=7\n"));
	assert_int_equal(lines(log), 2);
}

static void nothing(void)
{
}

static void forger(void)
{
	static const char said[] = "a layer \"x\"\n" FORGED "\n\033[2Jgone\r\n\nno end";

	if (write(STDERR_FILENO, said, sizeof(said) - 1) < 0)
		_exit(1);
}

static void forged_lines_are_quoted(void **state)
{
	const char *log = after(forger);

	(void)state;
	fg_child_log_close(&child_log);
	log = after(nothing);
	assert_null(strstr(log, "\n" FORGED));
	assert_non_null(strstr(log, "part=worker event=said text=\"a layer 'x'\"\n"));
	assert_non_null(strstr(log, "part=worker event=said text=\"" FORGED "\"\n"));
	assert_non_null(strstr(log, "part=worker event=said text=\"?[2Jgone?\"\n"));
	assert_non_null(strstr(log, "part=worker event=said text=\"no end\"\n"));
	assert_null(strchr(log, '\033'));
	assert_int_equal(lines(log), 4);
}

static void vandal(void)
{
	if (!ftruncate(STDERR_FILENO, 0) || lseek(STDERR_FILENO, 0, SEEK_SET) >= 0)
		_exit(1);
	fg_log(FG_LOG_INFO, "tried");
}

static void what_is_there_stays(void **state)
{
	(void)state;
	fg_log(FG_LOG_INFO, "before");
	assert_non_null(strstr(after(vandal), "part=keeper event=before\n"));
	assert_non_null(strstr(text, "part=worker event=tried\n"));
}

/* As many lines as there can be. */
static void stutterer(void)
{
	char line[4000];

	for (size_t i = 0; i < sizeof(line); i++)
		line[i] = i % 2 ? '\n' : 'a';
	for (uint32_t i = 0; i < 2000; i++)
		if (write(STDERR_FILENO, line, sizeof(line)) < 0)
			break;
}

static void chatterbox(void)
{
	char line[2000];

	memset(line, 'x', sizeof(line));
	for (uint32_t i = 0; i < 4000; i++)
		if (write(STDERR_FILENO, line, sizeof(line)) < 0)
			break;
}

/* More than the pipe holds, and more than may pass in a second. */
static void nobody_floods_the_log(void **state)
{
	uint64_t began_ns = fg_clock_ns();

	(void)state;
	for (int i = 0; i < 20; i++)
		after(i % 2 ? chatterbox : stutterer);
	assert_true(strlen(text) <
		    (2 + (fg_clock_ns() - began_ns) / 1000000000) * 2 * FG_CHILD_LOG_PER_S);
	assert_int_equal(fg_child_log_fd(&child_log, child_log.second_ns), -1);
	assert_int_equal(fg_child_log_fd(&child_log, child_log.second_ns + 1000000000),
			 child_log.read);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_log, close_log)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(its_lines_come_as_they_are),
		TEST(forged_lines_are_quoted),
		TEST(what_is_there_stays),
		TEST(nobody_floods_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
