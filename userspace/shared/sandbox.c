#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "userspace/shared/sandbox.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int failed(struct fg_error *error, const char *what)
{
	int code = errno;

	return fg_error_set(error, -code, "sandbox: %s: %s", what, strerror(code));
}

/* ---- user and capabilities ---- */

static int become(const char *user, struct fg_error *error)
{
	const struct passwd *entry = getpwnam(user);

	if (!entry)
		return fg_error_set(error, -EINVAL,
				    "sandbox: no user '%s' here: create it, or name another", user);
	if (entry->pw_uid == 0)
		return fg_error_set(error, -EINVAL,
				    "sandbox: user '%s' is root: name one without rights", user);
	/* The bounding set can be emptied only while CAP_SETPCAP is there, so it comes first. */
	capng_clear(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_BOUNDS))
		return failed(error, "emptying the bounding set");
	if (setgroups(0, NULL) || setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) ||
	    setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid))
		return failed(error, "changing the user");
	return 0;
}

/* The kernel forgets the parent-death signal whenever credentials change. */
static int restore_death_signal(int death_signal, pid_t parent, struct fg_error *error)
{
	if (prctl(PR_SET_PDEATHSIG, death_signal))
		return failed(error, "setting the parent-death signal");
	if (death_signal && getppid() != parent)
		return fg_error_set(error, -ESRCH, "sandbox: the parent process is gone");
	return 0;
}

int fg_sandbox_drop(const char *user, struct fg_error *error)
{
	bool root = geteuid() == 0;
	pid_t parent = getppid();
	int death_signal = 0, result;

	prctl(PR_GET_PDEATHSIG, &death_signal);
	result = root ? become(user, error) : 0;
	if (result)
		return result;
	capng_clear(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
	if (capng_apply(CAPNG_SELECT_CAPS) || capng_apply(CAPNG_SELECT_AMBIENT))
		return failed(error, "dropping capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return failed(error, "setting no_new_privs");
	capng_get_caps_process();
	if (capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE ||
	    (root && capng_have_capabilities(CAPNG_SELECT_BOUNDS) != CAPNG_NONE) ||
	    setresuid(0, 0, 0) == 0)
		return fg_error_set(error, -EPERM, "sandbox: capabilities are left after dropping");
	return restore_death_signal(death_signal, parent, error);
}

/* ---- Landlock ---- */

/* All rights over files that the first Landlock knew, and those that came later. */
static uint64_t handled_rights(long abi)
{
	uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	return rights;
}

int fg_sandbox_landlock_read(int dirfd, struct fg_error *error)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
		.parent_fd = dirfd,
	};
	struct landlock_ruleset_attr ruleset = {0};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int fd, result = 0;

	if (abi < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : failed(error, "Landlock");
	ruleset.handled_access_fs = handled_rights(abi);
	fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (fd < 0)
		return failed(error, "Landlock ruleset");
	if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) ||
	    syscall(SYS_landlock_restrict_self, fd, 0))
		result = failed(error, "Landlock");
	close(fd);
	return result;
}

/* ---- seccomp ---- */

/* What every program with a C library needs, and cannot do harm with. */
static const int common_calls[] = {
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(lseek),
	SCMP_SYS(close),
	SCMP_SYS(close_range),
	SCMP_SYS(fstat),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(futex),
	SCMP_SYS(rseq),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(getrandom),
	SCMP_SYS(sysinfo),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
};

static const int packer_calls[] = {SCMP_SYS(pwrite64), SCMP_SYS(ftruncate)};

static const int worker_calls[] = {
	SCMP_SYS(sendto),   /* AF_XDP: send what is in the tx ring */
	SCMP_SYS(recvfrom), /* AF_XDP: look at the fill ring */
	SCMP_SYS(sendmsg),  /* AF_XDP: what the path may not take leaves through a UDP socket */
	SCMP_SYS(io_uring_enter), SCMP_SYS(shutdown), /* TCP: a connection ends in order */
};

/* Of oneself (pid 0) alone: all workers are one user's, which may reschedule its processes.
 * Warm, a worker goes back to nice 0, within RLIMIT_NICE, and to its CPU. */
static const int worker_own_calls[] = {SCMP_SYS(sched_setattr), SCMP_SYS(sched_setaffinity)};

static const int scout_calls[] = {
	SCMP_SYS(newfstatat),
	SCMP_SYS(getdents64),
	SCMP_SYS(readlink), /* realpath() */
	SCMP_SYS(readlinkat),
	SCMP_SYS(inotify_add_watch),
	SCMP_SYS(inotify_rm_watch),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(sendto),
	SCMP_SYS(recvfrom),
};

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
	int result = 0;

	for (size_t i = 0; i < count && !result; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return result;
}

/* Allows `call` when the bits `mask` of argument `number` are `value`. */
static int allow_masked(scmp_filter_ctx filter, int call, unsigned int number, uint64_t mask,
			uint64_t value)
{
	const struct scmp_arg_cmp compare = {.arg = number,
					     .op = SCMP_CMP_MASKED_EQ,
					     .datum_a = mask,
					     .datum_b = value};

	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &compare);
}

/* Calls that are allowed for some arguments only. */
static int allow_some(scmp_filter_ctx filter)
{
	int result = allow_masked(filter, SCMP_SYS(mmap), 2, PROT_EXEC, 0);

	if (!result)
		result = allow_masked(filter, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
	/* abort() and raise(), on oneself. */
	if (!result)
		result = allow_masked(filter, SCMP_SYS(tgkill), 0, UINT32_MAX, (uint64_t)getpid());
	/* fstat() of newer C libraries; not stat(). */
	if (!result)
		result =
			allow_masked(filter, SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, AT_EMPTY_PATH);
	if (!result)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0);
	return result;
}

static int add_worker(scmp_filter_ctx filter)
{
	int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 0);

	for (size_t i = 0; i < COUNT(worker_own_calls) && !result; i++)
		result = allow_masked(filter, worker_own_calls[i], 0, UINT32_MAX, 0);
	return result ? result : allow_all(filter, worker_calls, COUNT(worker_calls));
}

static int add_profile(scmp_filter_ctx filter, enum fg_sandbox_profile profile)
{
	int result = allow_all(filter, common_calls, COUNT(common_calls));

	if (!result)
		result = allow_some(filter);
	if (result)
		return result;
	if (profile == FG_SANDBOX_WORKER)
		return add_worker(filter);
	result = allow_masked(filter, SCMP_SYS(openat), 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY);
	if (result)
		return result;
	if (profile == FG_SANDBOX_SCOUT)
		return allow_all(filter, scout_calls, COUNT(scout_calls));
	return allow_all(filter, packer_calls, COUNT(packer_calls));
}

int fg_sandbox_seccomp(enum fg_sandbox_profile profile, struct fg_error *error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int result;

	if (!filter)
		return fg_error_set(error, -ENOMEM, "sandbox: no seccomp filter");
	result = add_profile(filter, profile);
	if (!result)
		result = seccomp_load(filter);
	seccomp_release(filter);
	if (result)
		return fg_error_set(error, result, "sandbox: seccomp: %s", strerror(-result));
	return 0;
}
