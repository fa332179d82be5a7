/* userspace/shared/sandbox: what a confined process can still do, and what kills it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "userspace/shared/sandbox.h"

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static int wait_for(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Runs `act` in a child under `profile` and returns its exit status or minus its signal. */
static int confined(enum fg_sandbox_profile profile, int (*act)(void))
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct fg_error error;

		if (fg_sandbox_drop("nobody", &error) || fg_sandbox_seccomp(profile, &error))
			_exit(99);
		_exit(act());
	}
	return wait_for(child);
}

static int act_nothing(void)
{
	return 7;
}

static int act_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0) < 0;
}

static int act_exec(void)
{
	return execl("/bin/true", "true", NULL);
}

static int act_fork(void)
{
	return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0;
}

static int act_ptrace(void)
{
	return (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int act_kill(void)
{
	return kill(getppid(), 0);
}

static int act_open_to_write(void)
{
	int fd = open("/tmp/fgt-never", O_WRONLY | O_CREAT, 0600);

	return fd < 0 ? errno : 0;
}

static int act_open_to_read(void)
{
	int fd = open("/dev/null", O_RDONLY);

	return fd < 0 ? errno : 0;
}

static int act_executable_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED;
}

static int act_make_executable(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? 1 : mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static int act_ring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL) < 0 ? errno : 0;
}

/* Asked for before the walls are up: getppid() is forbidden and would kill by itself. */
static pid_t another;

static int act_priority_of_another(void)
{
	uint32_t attr[12] = {sizeof(attr)};

	return syscall(SYS_sched_setattr, another, attr, 0) ? errno : 0;
}

static int act_cpu_of_another(void)
{
	cpu_set_t all;

	return sched_getaffinity(0, sizeof(all), &all) ||
	       sched_setaffinity(another, sizeof(all), &all);
}

static int act_own_cpu(void)
{
	cpu_set_t all;

	return sched_getaffinity(0, sizeof(all), &all) || sched_setaffinity(0, sizeof(all), &all);
}

static int act_abort(void)
{
	abort();
}

static void forbidden_calls_kill(void **state)
{
	int (*const forbidden[])(void) = {act_socket,	      act_exec, act_fork,
					  act_ptrace,	      act_kill, act_executable_memory,
					  act_make_executable};

	(void)state;
	need_root();
	for (int profile = FG_SANDBOX_PACKER; profile <= FG_SANDBOX_WORKER; profile++) {
		assert_int_equal(confined(profile, act_nothing), 7);
		assert_int_equal(confined(profile, act_abort), -SIGABRT);
		for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
			assert_int_equal(confined(profile, forbidden[i]), -SIGSYS);
	}
	assert_int_equal(confined(FG_SANDBOX_PACKER, act_open_to_read), 0);
	assert_int_equal(confined(FG_SANDBOX_PACKER, act_open_to_write), -SIGSYS);
	assert_int_equal(confined(FG_SANDBOX_PACKER, act_ring), -SIGSYS);
	assert_int_equal(confined(FG_SANDBOX_WORKER, act_open_to_read), EACCES);
	assert_int_equal(confined(FG_SANDBOX_WORKER, act_open_to_write), EACCES);
	assert_int_equal(confined(FG_SANDBOX_WORKER, act_ring), -SIGSYS);
	another = getpid();
	assert_int_equal(confined(FG_SANDBOX_WORKER, act_own_cpu), 0);
	assert_int_equal(confined(FG_SANDBOX_WORKER, act_cpu_of_another), -SIGSYS);
	assert_int_equal(confined(FG_SANDBOX_WORKER, act_priority_of_another), -SIGSYS);
}

/* The kernel forgets the signal when the user changes; a worker must not outlive the keeper. */
static int keep_death_signal(void)
{
	struct fg_error error;
	int kept = 0;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || fg_sandbox_drop("nobody", &error) ||
	    prctl(PR_GET_PDEATHSIG, &kept))
		return 99;
	return kept;
}

static void death_signal_is_kept(void **state)
{
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0)
		_exit(keep_death_signal());
	assert_int_equal(wait_for(child), SIGKILL);
}

static int try_landlock(int dirfd)
{
	struct fg_error error;
	int fd;

	if (fg_sandbox_drop("nobody", &error) || fg_sandbox_landlock_read(dirfd, &error))
		return 98;
	fd = openat(dirfd, "passwd", O_RDONLY);
	if (fd < 0)
		return 97;
	return open("/dev/null", O_RDONLY) < 0 ? errno : 0;
}

static void landlock_where_there_is_one(void **state)
{
	/* Asks for the version (flag 1): fails where the kernel has no Landlock. */
	bool absent = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0;
	int dirfd = open("/etc", O_RDONLY | O_DIRECTORY);
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0 && dirfd >= 0);
	if (child == 0)
		_exit(try_landlock(dirfd));
	close(dirfd);
	assert_int_equal(wait_for(child), absent ? 0 : EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden_calls_kill),
		cmocka_unit_test(death_signal_is_kept),
		cmocka_unit_test(landlock_where_there_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
