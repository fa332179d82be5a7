/* What lies between keeper and another control: which programs are run, what fits, and descriptors
 * that travel with orders. tests/e2e/test_operator.py upgrades for real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/daemon/orders.h"
#include "userspace/daemon/takeover.h"

static struct fg_error error;

static void expect_refused(const char *path, const char *part)
{
	int program = -1;

	assert_true(fg_takeover_open(path, &program, &error) < 0);
	assert_int_equal(program, -1);
	if (!strstr(error.text, part))
		fail_msg("\"%s\" does not say \"%s\"", error.text, part);
}

static void test_programs(void **state)
{
	char path[] = "/tmp/fgt-takeover-XXXXXX";
	int fd = mkstemp(path), program;

	(void)state;
	close(fd);
	expect_refused("/nowhere/flipgated", "No such file");
	expect_refused("/tmp", "not a program");
	expect_refused("/dev/null", "not a program");
	expect_refused(path, "not a program");
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(fg_takeover_open(path, &program, &error), 0);
	close(program);
	assert_int_equal(chmod(path, 0775), 0);
	expect_refused(path, "others than root");
	assert_int_equal(chmod(path, 0757), 0);
	expect_refused(path, "others than root");
	assert_int_equal(chmod(path, 0755), 0);
	if (!chown(path, 65534, 0))
		expect_refused(path, "does not belong to root");
	unlink(path);
}

/* Runs the new side on a memfd with `bytes`; returns its exit status. */
static int run(const void *bytes, size_t size)
{
	char text[16];
	int fd = memfd_create("takeover", 0), status;

	assert_int_equal(write(fd, bytes, size), size);
	snprintf(text, sizeof(text), "%d", fd);
	status = fg_takeover_run(text);
	close(fd);
	return status;
}

static void test_what_does_not_fit(void **state)
{
	static struct fg_takeover good, other;

	(void)state;
	good = (struct fg_takeover){.version = FG_TAKEOVER_VERSION,
				    .bytes = sizeof(good),
				    .abi = FG_ABI_VERSION,
				    .layout = FG_STATE_LAYOUT,
				    .state = -1};
	assert_int_equal(fg_takeover_run("nonsense"), FG_TAKEOVER_UNFIT);
	assert_int_equal(run(&good, 20), FG_TAKEOVER_UNFIT);
	other = good;
	other.version++;
	assert_int_equal(run(&other, sizeof(other)), FG_TAKEOVER_UNFIT);
	other = good;
	other.bytes += 8;
	assert_int_equal(run(&other, sizeof(other)), FG_TAKEOVER_UNFIT);
	other = good;
	other.abi++;
	assert_int_equal(run(&other, sizeof(other)), FG_TAKEOVER_UNFIT);
	other = good;
	other.layout++;
	assert_int_equal(run(&other, sizeof(other)), FG_TAKEOVER_UNFIT);
	assert_int_equal(run(&good, sizeof(good)), FG_TAKEOVER_UNFIT); /* no state page */
}

static void test_orders_carry_descriptors(void **state)
{
	struct fg_orders_message message = {.verb = FG_ORDERS_AUDIT, .slot = 7}, got;
	struct stat sent, received;
	int pair[2], fd;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(fg_orders_receive(pair[1], &got, &fd), -EAGAIN);
	assert_int_equal(fg_orders_send(pair[0], &message, STDOUT_FILENO), 0);
	message.verb = FG_ORDERS_POKE;
	assert_int_equal(fg_orders_send(pair[0], &message, -1), 0);
	assert_int_equal(fg_orders_receive(pair[1], &got, &fd), 0);
	assert_int_equal(got.verb, FG_ORDERS_AUDIT);
	assert_int_equal(got.slot, 7);
	assert_true(fd > STDERR_FILENO);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(STDOUT_FILENO, &sent), 0);
	assert_int_equal(fstat(fd, &received), 0);
	assert_int_equal(sent.st_ino, received.st_ino);
	close(fd);
	assert_int_equal(fg_orders_receive(pair[1], &got, &fd), 0);
	assert_int_equal(got.verb, FG_ORDERS_POKE);
	assert_int_equal(fd, -1);
	assert_int_equal(send(pair[0], "short", 5, 0), 5);
	assert_int_equal(fg_orders_receive(pair[1], &got, &fd), -EBADMSG);
	close(pair[0]);
	assert_int_equal(fg_orders_receive(pair[1], &got, &fd), -EPIPE);
	assert_true(fg_orders_send(pair[1], &message, -1) < 0);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_what_does_not_fit),
		cmocka_unit_test(test_orders_carry_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
