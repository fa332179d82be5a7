#include "userspace/daemon/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/shared/log.h"

/* ---- the keeper's side ---- */

static int refuse(int program, const char *path, const char *why, struct fg_error *error)
{
	if (program >= 0)
		close(program);
	return fg_error_set(error, -EACCES, "%.180s: %s", path, why);
}

int fg_takeover_open(const char *path, int *program, struct fg_error *error)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat info;

	if (fd < 0 || fstat(fd, &info))
		return refuse(fd, path, strerror(errno), error);
	if (!S_ISREG(info.st_mode) || !(info.st_mode & S_IXUSR))
		return refuse(fd, path, "is not a program", error);
	if (info.st_uid != 0)
		return refuse(fd, path, "does not belong to root", error);
	if (info.st_mode & (S_IWGRP | S_IWOTH))
		return refuse(fd, path, "others than root may write it", error);
	*program = fd;
	return 0;
}

static int keep_open(int fd)
{
	return fcntl(fd, F_SETFD, 0) ? -errno : 0;
}

/* What control uses of the steering, see steering.h. */
static int keep_steering(const struct fg_steering *steering)
{
	const int fds[] = {steering->live,     steering->slots, steering->buckets,
			   steering->counters, steering->clock, steering->btf};
	int code = 0;

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]) && !code; i++)
		code = keep_open(fds[i]);
	return code;
}

/* A memfd with what the new program is given. */
static int write_takeover(const struct fg_control_setup *setup, int state_fd)
{
	static struct fg_takeover takeover;
	int fd = memfd_create("flipgate-takeover", MFD_CLOEXEC);

	takeover = (struct fg_takeover){
		.version = FG_TAKEOVER_VERSION,
		.bytes = sizeof(takeover),
		.abi = FG_ABI_VERSION,
		.layout = FG_STATE_LAYOUT,
		.state = state_fd,
		.orders = setup->orders,
		.admin = setup->admin,
		.audit = setup->audit,
		.config = *setup->config,
		.steering = *setup->steering,
	};
	takeover.steering.ingress = NULL;
	takeover.steering.socket = NULL;
	takeover.steering.lookup = NULL;
	takeover.steering.bucket_words = NULL;
	takeover.steering.slot_words = NULL;
	if (fd >= 0 && write(fd, &takeover, sizeof(takeover)) == sizeof(takeover))
		return fd;
	return -errno;
}

int fg_takeover_exec(int program, const struct fg_control_setup *setup, int state_fd)
{
	char number[16], *argv[] = {"flipgated", FG_TAKEOVER_FLAG, number, NULL};
	char *environment[] = {NULL};
	int fd = write_takeover(setup, state_fd), code;

	if (fd < 0)
		return fd;
	if (close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC))
		return -errno;
	code = keep_open(fd);
	if (!code)
		code = keep_open(state_fd);
	if (!code)
		code = keep_open(setup->orders);
	if (!code)
		code = keep_open(setup->admin);
	if (!code && setup->audit >= 0)
		code = keep_open(setup->audit);
	if (!code)
		code = keep_steering(setup->steering);
	if (code)
		return code;
	snprintf(number, sizeof(number), "%d", fd);
	execveat(program, "", argv, environment, AT_EMPTY_PATH);
	return -errno;
}

/* ---- the new control's side ---- */

/* All that is asked of the first words holds for any version of the struct. */
static bool fits(const struct fg_takeover *takeover, ssize_t got)
{
	return got == sizeof(*takeover) && takeover->version == FG_TAKEOVER_VERSION &&
	       takeover->bytes == sizeof(*takeover) && takeover->abi == FG_ABI_VERSION &&
	       takeover->layout == FG_STATE_LAYOUT;
}

static struct fg_state *map_state(const struct fg_takeover *takeover)
{
	struct stat info;
	void *map;

	if (fstat(takeover->state, &info) || info.st_size != sizeof(struct fg_state))
		return NULL;
	map = mmap(NULL, sizeof(struct fg_state), PROT_READ | PROT_WRITE, MAP_SHARED,
		   takeover->state, 0);
	return map == MAP_FAILED ? NULL : map;
}

int fg_takeover_run(const char *text)
{
	static struct fg_takeover takeover;
	struct fg_control_setup setup;
	struct fg_error error = {""};
	int fd = atoi(text);

	fg_log_open("control", false);
	if (!fits(&takeover, pread(fd, &takeover, sizeof(takeover), 0))) {
		fg_log(FG_LOG_ERROR,
		       "control.takeover reason=\"not of one layout with the keeper\"");
		return FG_TAKEOVER_UNFIT;
	}
	close(fd);
	setup = (struct fg_control_setup){.config = &takeover.config,
					  .state = map_state(&takeover),
					  .steering = &takeover.steering,
					  .orders = takeover.orders,
					  .admin = takeover.admin,
					  .audit = takeover.audit};
	if (!setup.state || setup.state->boot.layout != FG_STATE_LAYOUT)
		return FG_TAKEOVER_UNFIT;
	fg_log_open("control", takeover.config.verbose);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != setup.state->boot.keeper_pid)
		return 1; /* the keeper died before prctl */
	if (fg_steering_map(&takeover.steering, &error)) {
		fg_log(FG_LOG_ERROR, "control.takeover reason=\"%s\"", error.text);
		return 1;
	}
	return fg_control_run(&setup);
}
