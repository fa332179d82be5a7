/* Packers that take too long, also one whose end never comes: a process that hangs in a file system
 * outlives SIGKILL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "userspace/daemon/packer.h"
#include "userspace/shared/clock.h"

#define SECOND 1000000000ull

static struct fg_packer packer;
static struct fg_config config;
static struct fg_state *page;
static char program[] = "/tmp/fgt-packer-XXXXXX";

/* None ends by itself. */
static void write_program(const char *script)
{
	int fd = open(program, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, script, strlen(script)), strlen(script));
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
}

static int open_packer(void **state)
{
	int fd;

	(void)state;
	strcpy(program + sizeof(program) - 7, "XXXXXX");
	fd = mkstemp(program);
	if (fd < 0 || close(fd))
		return -1;
	write_program("#!/bin/sh\nexec sleep 600\n");
	snprintf(config.packer, sizeof(config.packer), "%s", program);
	snprintf(config.user, sizeof(config.user), "nobody");
	page = aligned_alloc(_Alignof(struct fg_state), sizeof(*page));
	memset(page, 0, sizeof(*page));
	fg_packer_init(&packer, &config, page, NULL);
	return 0;
}

static int close_packer(void **state)
{
	(void)state;
	fg_packer_close(&packer);
	while (waitpid(-1, NULL, 0) > 0)
		;
	free(page);
	unlink(program);
	return 0;
}

static pid_t start(uint32_t plan)
{
	struct fg_orders_message order = {.verb = FG_ORDERS_PACK,
					  .plan = plan,
					  .version = plan + 1};

	strcpy(order.model, "digits");
	strcpy(order.path, "/tmp");
	fg_packer_start(&packer, &order);
	assert_int_equal(page->plans[plan].phase, FG_PLAN_PACKING);
	return packer.jobs[plan].pid;
}

static void test_too_long(void **state)
{
	pid_t pid = start(0);
	int status;

	(void)state;
	assert_int_equal(fg_packer_expire(&packer, fg_clock_ns() + 59 * SECOND), 1);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(fg_packer_expire(&packer, fg_clock_ns() + 61 * SECOND), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(fg_packer_reap(&packer, pid, status));
	assert_int_equal(page->plans[0].phase, FG_PLAN_FAILED);
	assert_non_null(strstr(page->plans[0].error, "over a minute"));
	assert_true(page->plans[0].passing); /* it slept: the store, perhaps, or the machine */
}

static void test_too_much_work(void **state)
{
	struct timespec worked = {0};
	clockid_t clock;
	pid_t pid;
	int status;

	(void)state;
	write_program("#!/bin/sh\nwhile :; do :; done\n");
	packer.limit_ns = SECOND;
	pid = start(0);
	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	for (int i = 0; i < 1000 && worked.tv_sec * SECOND + worked.tv_nsec <= SECOND / 2; i++) {
		usleep(50000);
		assert_int_equal(clock_gettime(clock, &worked), 0);
	}
	fg_packer_expire(&packer, packer.jobs[0].started_ns + SECOND + 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(fg_packer_reap(&packer, pid, status));
	assert_int_equal(page->plans[0].phase, FG_PLAN_FAILED);
	assert_false(page->plans[0].passing);
}

/* The keeper never hears of its end. */
static void test_one_that_does_not_die(void **state)
{
	pid_t pid = start(0), other = start(1);
	int status;

	(void)state;
	assert_int_equal(fg_packer_expire(&packer, fg_clock_ns() + 61 * SECOND), 2);
	assert_int_equal(page->plans[0].phase, FG_PLAN_PACKING);
	fg_packer_expire(&packer, fg_clock_ns() + 66 * SECOND);
	assert_int_equal(page->plans[0].phase, FG_PLAN_FAILED);
	assert_non_null(strstr(page->plans[0].error, "does not answer"));
	assert_int_equal(packer.jobs[0].memfd, -1);
	assert_int_equal(fg_packer_expire(&packer, fg_clock_ns() + 67 * SECOND), 0);
	/* Its place can be used again, and its end, should it come, is nobody's. */
	fg_packer_drop(&packer, 0);
	start(0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(fg_packer_reap(&packer, pid, status));
	assert_int_equal(page->plans[0].phase, FG_PLAN_PACKING);
	assert_int_equal(waitpid(other, &status, 0), other);
}

/* Control can write to the page. What it says there starts no second packer in the place of one,
 * and forgets none. */
static void test_a_page_that_lies(void **state)
{
	struct fg_orders_message order = {.verb = FG_ORDERS_PACK, .version = 2, .path = "/tmp"};
	pid_t pid = start(0);
	int status;

	(void)state;
	strcpy(order.model, "other");
	page->plans[0].phase = FG_PLAN_FREE;
	page->plans[0].started_ns = UINT64_MAX;
	memset(page->plans[0].model, 'x', sizeof(page->plans[0].model));
	fg_packer_start(&packer, &order);
	assert_int_equal(packer.jobs[0].pid, pid);
	assert_int_equal(fg_packer_expire(&packer, fg_clock_ns() + 61 * SECOND), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(fg_packer_reap(&packer, pid, status));
}

#define PACKER(name) cmocka_unit_test_setup_teardown(name, open_packer, close_packer)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PACKER(test_too_long),
		PACKER(test_too_much_work),
		PACKER(test_one_that_does_not_die),
		PACKER(test_a_page_that_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
