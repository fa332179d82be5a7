/*
 * pack_case.h: what the tests of flipgate-pack as a program (from $BUILD/bin) share: a version's
 * directory, and running the packer on it.
 */
#ifndef FG_TESTS_PACK_CASE_H
#define FG_TESTS_PACK_CASE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "models/plan.h"
#include "tests/unit/onnx_writer.h"

#define WARMUP "assets.extra/tf_serving_warmup_requests"

static struct writer graph, model;

/* ---- a version's directory ---- */

struct version {
	char path[64];
	char plan[80]; /* output, beside it */
	int fd;
};

static inline void put_file(const struct version *version, const char *name, const void *bytes,
			    size_t length)
{
	int fd = openat(version->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), length);
	assert_int_equal(fchmod(fd, 0644), 0);
	close(fd);
}

static inline void put_string(const struct version *version, const char *name, const char *text)
{
	put_file(version, name, text, strlen(text));
}

/* y = x (N, in_cols) times small whole numbers (in_cols, 2). */
static inline void put_linear(const struct version *version, int64_t in_cols)
{
	graph.length = model.length = 0;
	put_input(&graph, "x", DIMS(0, in_cols));
	put_weights(&graph, "w", DIMS(in_cols, 2), 1);
	put_node(&graph, "MatMul", "layer \"one\"", "x w", "y", NULL);
	put_output(&graph, "y", DIMS(0, 2));
	put_model(&model, &graph, 13);
	put_file(version, "model.onnx", model.bytes, model.length);
}

static inline int make_version(void **state)
{
	static struct version version;

	strcpy(version.path, "/tmp/fgt-pack-XXXXXX");
	if (!mkdtemp(version.path) || chmod(version.path, 0755))
		return -1;
	version.fd = open(version.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(version.plan, sizeof(version.plan), "%s/plan", version.path);
	put_linear(&version, 2);
	*state = &version;
	return version.fd < 0;
}

static inline int remove_version(void **state)
{
	struct version *version = *state;

	unlinkat(version->fd, "model.onnx", 0);
	unlinkat(version->fd, "model.h5", 0);
	unlinkat(version->fd, "golden.json", 0);
	unlinkat(version->fd, "golden.npz", 0);
	unlinkat(version->fd, "pack.json", 0);
	unlinkat(version->fd, WARMUP, 0);
	unlinkat(version->fd, "assets.extra", AT_REMOVEDIR);
	unlinkat(version->fd, "plan", 0);
	close(version->fd);
	return rmdir(version->path); /* fails, and so does the test, when a file was left */
}

/* ---- running the packer ---- */

struct ended {
	int status; /* exit status, or minus the signal */
	char text[4096];
};

static inline const char *packer(void)
{
	static char path[512];
	const char *build = getenv("BUILD");

	snprintf(path, sizeof(path), "%s/bin/flipgate-pack", build ? build : "build");
	return path;
}

/* Starts the packer with stdout and stderr to `error_to`; it inherits other descriptors. */
static inline pid_t start_packer(char *const *arguments, int error_to)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		dup2(error_to, STDERR_FILENO);
		dup2(error_to, STDOUT_FILENO);
		/* A sanitized packer looks for leaks with ptrace, which seccomp forbids. */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
		execv(packer(), arguments);
		_exit(127);
	}
	return child;
}

static inline int wait_for(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline void read_end(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while (length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = 0;
}

/* Runs it to its end: `arguments` after the program's name, NULL at the end. */
static inline struct ended run_packer(const char *const *arguments)
{
	char *all[16] = {"flipgate-pack"};
	struct ended ended;
	int ends[2];
	pid_t child;

	for (int i = 0; arguments[i]; i++)
		all[i + 1] = (char *)arguments[i];
	assert_int_equal(pipe(ends), 0);
	child = start_packer(all, ends[1]);
	close(ends[1]);
	read_end(ends[0], ended.text, sizeof(ended.text));
	close(ends[0]);
	ended.status = wait_for(child);
	return ended;
}

#define RUN(...) run_packer((const char *const[]){__VA_ARGS__, NULL})

static inline void assert_ended(struct ended ended, int status, const char *text)
{
	if (ended.status != status || !strstr(ended.text, text))
		fail_msg("ended with %d, not %d, and said '%s', not '%s'", ended.status, status,
			 ended.text, text);
}

static inline struct ended pack(const struct version *version)
{
	return RUN(version->path, "--output", version->plan);
}

/* Opens the plan at `fd`; the caller frees *bytes. */
static inline struct fg_plan open_plan(int fd, void **bytes)
{
	struct fg_plan plan;
	struct fg_error error;
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	*bytes = aligned_alloc(64, ((size_t)status.st_size + 63) / 64 * 64);
	assert_non_null(*bytes);
	assert_int_equal(pread(fd, *bytes, (size_t)status.st_size, 0), status.st_size);
	if (fg_plan_open(&plan, *bytes, (size_t)status.st_size, &error))
		fail_msg("%s", error.text);
	return plan;
}

#endif
