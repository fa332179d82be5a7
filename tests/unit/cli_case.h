/*
 * cli_case.h: verbs of the command line tool run inside a test, against a control socket that the
 * test answers for, with what they print kept.
 */
#ifndef FG_TESTS_CLI_CASE_H
#define FG_TESTS_CLI_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "tools/cli_common.h"

#define CONTROL_MAX_ASKED 64

/* A control socket. Each request gets the line that the test's function gives; NULL: the connection
 * is closed instead, as by a control process that dies. */
struct control {
	int listener;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint count;		  /* of requests */
	json_t *asked[CONTROL_MAX_ASKED]; /* requests, as they came */
	const char *(*answer)(struct control *control, const json_t *request);
	char folder[64], path[96];
};

static inline void control_serve(struct control *control, int fd)
{
	static const size_t room = 65536;
	char *line = calloc(1, room);
	size_t length = 0;
	ssize_t got = 1;
	unsigned number = atomic_load(&control->count);
	const char *reply;

	while (got > 0 && length < room - 1 && !memchr(line, '\n', length)) {
		got = read(fd, line + length, room - 1 - length);
		length += got > 0 ? (size_t)got : 0;
	}
	if (number < CONTROL_MAX_ASKED && got > 0) {
		control->asked[number] = json_loads(line, 0, NULL);
		reply = control->answer(control, control->asked[number]);
		atomic_fetch_add(&control->count, 1);
		if (reply)
			dprintf(fd, "%s\n", reply);
	}
	free(line);
	close(fd);
}

static inline void *control_run(void *argument)
{
	struct control *control = argument;
	struct pollfd poll_fd = {.fd = control->listener, .events = POLLIN};

	while (!atomic_load(&control->stop)) {
		int fd = poll(&poll_fd, 1, 5) > 0 ? accept(control->listener, NULL, NULL) : -1;

		if (fd >= 0)
			control_serve(control, fd);
	}
	return NULL;
}

/* Folders of this process, so that those of tests that failed are removed at its end as well. */
#define CONTROL_MAX_FOLDERS 64
static char control_folders[CONTROL_MAX_FOLDERS][64];

static inline void control_sweep(void)
{
	char path[96];

	for (int i = 0; i < CONTROL_MAX_FOLDERS && control_folders[i][0]; i++) {
		snprintf(path, sizeof(path), "%.63s/sock", control_folders[i]);
		unlink(path);
		rmdir(control_folders[i]);
	}
}

static inline void control_make_folder(struct control *control)
{
	static int used;

	if (!used)
		atexit(control_sweep);
	assert_in_range(used, 0, CONTROL_MAX_FOLDERS - 1);
	strcpy(control->folder, "/tmp/fgt-control-XXXXXX");
	assert_non_null(mkdtemp(control->folder));
	strcpy(control_folders[used++], control->folder);
	snprintf(control->path, sizeof(control->path), "%s/sock", control->folder);
}

static inline void control_start(struct control *control,
				 const char *(*answer)(struct control *, const json_t *))
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	memset(control, 0, sizeof(*control));
	control->answer = answer;
	control_make_folder(control);
	strcpy(name.sun_path, control->path);
	control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(control->listener, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_return_code(listen(control->listener, 8), 0);
	assert_int_equal(pthread_create(&control->thread, NULL, control_run, control), 0);
}

static inline void control_stop(struct control *control)
{
	atomic_store(&control->stop, true);
	pthread_join(control->thread, NULL);
	close(control->listener);
	for (unsigned i = 0; i < CONTROL_MAX_ASKED; i++)
		json_decref(control->asked[i]);
}

/* What a verb printed. */
struct printed {
	char out[16384], err[4096];
};

static inline void printed_read(int fd, char *text, size_t room)
{
	ssize_t got = pread(fd, text, room - 1, 0);

	text[got > 0 ? got : 0] = 0;
	close(fd);
}

/* Runs a verb with these arguments (NULL-terminated, at most 30) and "--socket PATH" of `control`
 * where there is one. Returns its exit code. */
static inline int run_verb(const struct fg_cli_verb *verb, const struct control *control,
			   struct printed *printed, const char *const *arguments)
{
	static char copies[32][512];
	char *argv[36] = {(char *)verb->name};
	int argc = 1, saved[2], files[2], code;

	for (; arguments[argc - 1]; argc++) { /* writable: getopt and verbs may cut them */
		snprintf(copies[argc], sizeof(copies[argc]), "%s", arguments[argc - 1]);
		argv[argc] = copies[argc];
	}
	if (control) {
		argv[argc++] = "--socket";
		argv[argc++] = (char *)control->path;
	}
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		saved[i] = dup(i + 1);
		files[i] = memfd_create("printed", MFD_CLOEXEC);
		dup2(files[i], i + 1);
	}
	optind = 0; /* getopt begins anew */
	code = verb->run(verb, argc, argv);
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		dup2(saved[i], i + 1);
		close(saved[i]);
	}
	printed_read(files[0], printed->out, sizeof(printed->out));
	printed_read(files[1], printed->err, sizeof(printed->err));
	return code;
}

#define RUN(verb, control, printed, ...)                                                           \
	run_verb(verb, control, printed, (const char *const[]){__VA_ARGS__, NULL})

static inline void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

#endif
