/*
 * sandbox.h: giving up rights before hostile bytes are touched. Used by flipgate-pack by
 * workers and by the scout; each process calls these in this order, once, single-threaded:
 *
 *   fg_sandbox_drop            user, capabilities, no new privileges
 *   fg_sandbox_landlock_read   (packer) file system: one directory, read-only
 *   fg_sandbox_seccomp         system calls: a list; anything else kills the process
 *
 * None can be undone. On an error the process must end: it may have given up a part only.
 */
#ifndef FG_SHARED_SANDBOX_H
#define FG_SHARED_SANDBOX_H

#include "models/error.h"

/*
 * Becomes `user` (all uids and gids; no supplementary groups) when running as root; drops every
 * capability, also from the bounding, inheritable and ambient sets; sets NO_NEW_PRIVS. Without
 * root it stays the user that it is, and `user` may be NULL. Open descriptors stay open, and a
 * parent-death signal (prctl(2)) stays set. -EINVAL: no such user, or one with uid 0; -EPERM:
 * rights are left; -ESRCH: the parent died meanwhile; -errno. Afterwards /proc/self belongs to
 * root, so open what you need of it before.
 */
int fg_sandbox_drop(const char *user, struct fg_error *error);

/*
 * From now on the process can open, in the whole file system, only what lies beneath `dirfd`,
 * and only for reading (descriptors that are open keep their rights). 0 also where the kernel
 * has no Landlock (before 5.13, or not enabled); -errno with *error.
 */
int fg_sandbox_landlock_read(int dirfd, struct fg_error *error);

enum fg_sandbox_profile {
	FG_SANDBOX_PACKER, /* reads and opens files for reading, writes open descriptors, memory */
	/*
	 * What serving takes: I/O on open descriptors, io_uring_enter, shutdown, the two calls of
	 * AF_XDP, futex, clocks, sleeps, signals' return, memory, own priority. No new file,
	 * socket, ring, process.
	 */
	FG_SANDBOX_WORKER,
	/* Opens files for reading, lists and watches directories; its socket. */
	FG_SANDBOX_SCOUT,
};

/*
 * Installs the profile's allow-list (sandbox.c has the lists). Another system call kills the
 * process (SIGSYS, logged by the kernel), save a few that libraries try by themselves, which
 * fail instead: opening files (WORKER: -EACCES) and ioctl (-ENOTTY). Memory can never become
 * executable. io_uring can open files and sockets behind seccomp's back: a worker registers
 * restrictions (IORING_REGISTER_RESTRICTIONS) on its ring. -errno with *error.
 */
int fg_sandbox_seccomp(enum fg_sandbox_profile profile, struct fg_error *error);

#endif
