#include "tools/cli_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "models/plan_format.h"

/* True when the file begins as a plan does. */
static bool is_plan(int fd)
{
	uint32_t magic = 0;

	return pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == FG_PLAN_MAGIC;
}

static int map_plan(struct fg_cli_plan *plan, int fd, const char *path, struct fg_error *error)
{
	struct stat status;

	if (fstat(fd, &status))
		return fg_error_set(error, -errno, "%.180s: %s", path, strerror(errno));
	plan->size = (size_t)status.st_size;
	plan->bytes = mmap(NULL, plan->size, PROT_READ, MAP_SHARED, fd, 0);
	if (plan->bytes != MAP_FAILED)
		return 0;
	plan->bytes = NULL;
	return fg_error_set(error, -errno, "%.180s: cannot be mapped: %s", path, strerror(errno));
}

/* flipgate-pack beside this program; one of that name in PATH when there is none. */
static void find_packer(char path[PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof("-pack"));

	if (length > 0) {
		path[length] = 0;
		strcat(path, "-pack");
		if (access(path, X_OK) == 0)
			return;
	}
	strcpy(path, "flipgate-pack");
}

/* In the child: the model at `path` becomes a plan in `output`; reasons go to `errors`. */
static void run_packer(const char *path, const char *weights, int output, int errors)
{
	char packer[PATH_MAX], output_fd[16], error_fd[16];
	const char *argv[10] = {"flipgate-pack", "--output-fd", output_fd, "--error-fd", error_fd};
	int count = 5;
	int quiet = open("/dev/null", O_WRONLY);

	if (weights) {
		argv[count++] = "--weights";
		argv[count++] = weights;
	}
	argv[count++] = "--"; /* a path may begin with a dash */
	argv[count++] = path;
	find_packer(packer);
	snprintf(output_fd, sizeof(output_fd), "%d", output);
	snprintf(error_fd, sizeof(error_fd), "%d", errors);
	fcntl(output, F_SETFD, 0);
	fcntl(errors, F_SETFD, 0);
	dup2(quiet, STDERR_FILENO); /* says the same once more */
	execvp(packer, (char *const *)argv);
	dprintf(errors, "cannot run %s: %s\n", packer, strerror(errno));
	_exit(127);
}

/* Why the packer failed: its own words, else how it ended. */
static int packer_error(const char *name, int errors, int status, struct fg_error *error)
{
	char text[sizeof(error->text)];
	ssize_t got = read(errors, text, sizeof(text) - 1);

	if (got > 0) {
		text[got] = 0;
		text[strcspn(text, "\n")] = 0;
		return fg_error_set(error, -EINVAL, "%.100s: %s", name, text);
	}
	if (WIFSIGNALED(status))
		return fg_error_set(error, -EINVAL,
				    "%.100s: the packer was killed by signal %d (%s)", name,
				    WTERMSIG(status), strsignal(WTERMSIG(status)));
	return fg_error_set(error, -EINVAL, "%.100s: the packer ended with status %d", name,
			    WEXITSTATUS(status));
}

/* 0 with *status; -EINTR when a signal ended the wait: then the packer is gone as well. */
static int wait_for(pid_t pid, int *status)
{
	int result;

	if (waitpid(pid, status, 0) == pid)
		return 0;
	result = -errno;
	if (result == -EINTR) {
		kill(pid, SIGKILL);
		while (waitpid(pid, status, 0) < 0 && errno == EINTR)
			;
	}
	return result;
}

int fg_cli_plan_pack(struct fg_cli_plan *plan, const char *path, const char *name,
		     const char *weights, struct fg_error *error)
{
	int output = memfd_create("flipgate-plan", MFD_CLOEXEC), pipes[2], status, result;
	pid_t pid;

	*plan = (struct fg_cli_plan){NULL, 0};
	if (output < 0 || pipe2(pipes, O_CLOEXEC)) {
		result =
			fg_error_set(error, -errno, "cannot start the packer: %s", strerror(errno));
		if (output >= 0)
			close(output);
		return result;
	}
	pid = fork();
	if (!pid)
		run_packer(path, weights, output, pipes[1]);
	close(pipes[1]);
	result = pid < 0 ? -errno : wait_for(pid, &status);
	if (result)
		fg_error_set(error, result, "cannot run the packer: %s", strerror(-result));
	else if (status)
		result = packer_error(name, pipes[0], status, error);
	else
		result = map_plan(plan, output, name, error);
	close(pipes[0]);
	close(output);
	return result;
}

int fg_cli_plan_open(struct fg_cli_plan *plan, const char *path, const char *weights,
		     struct fg_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), result;

	*plan = (struct fg_cli_plan){NULL, 0};
	if (fd < 0)
		return fg_error_set(error, -errno, "%.180s: %s", path, strerror(errno));
	if (is_plan(fd))
		result = map_plan(plan, fd, path, error);
	else
		result = fg_cli_plan_pack(plan, path, path, weights, error);
	close(fd);
	return result;
}

void fg_cli_plan_close(struct fg_cli_plan *plan)
{
	if (plan->bytes)
		munmap(plan->bytes, plan->size);
	plan->bytes = NULL;
}
