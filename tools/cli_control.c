#include "tools/cli_control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "tools/cli_common.h"

#define MAX_REPLY (16 << 20)

/* 0 with *fd, or an exit code. */
static int connect_to(const char *path, int *fd, struct fg_error *error)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(name.sun_path))
		return fg_error_set(error, FG_CLI_USAGE, "--socket %.150s: longer than %zu bytes",
				    path, sizeof(name.sun_path) - 1);
	strcpy(name.sun_path, path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd >= 0 && connect(*fd, (struct sockaddr *)&name, sizeof(name)) == 0)
		return 0;
	fg_error_set(error, 0, "%s: %s: %s", path, strerror(errno),
		     errno == EACCES ? "want the user that runs flipgated, or the group of its "
				       "option socket-group"
				     : "is flipgated running? --socket names another one");
	if (*fd >= 0)
		close(*fd);
	return FG_CLI_UNREACHABLE;
}

static int send_line(int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t length = text ? strlen(text) : 0, sent = 0;
	int code = text ? 0 : -ENOMEM;

	if (!code)
		text[length++] = '\n'; /* over the NUL: only `length` bytes are sent */
	while (sent < length && !code) {
		ssize_t done = send(fd, text + sent, length - sent, MSG_NOSIGNAL);

		if (done >= 0)
			sent += (size_t)done;
		else if (errno != EINTR)
			code = -errno;
	}
	free(text);
	return code;
}

/* One line, without its newline, to be freed. -errno; -EPIPE when it ends before. */
static int receive_line(int fd, int64_t until_ms, char **line)
{
	size_t length = 0, room = 1 << 16;
	char *newline = NULL;

	*line = malloc(room);
	while (*line && !newline) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int64_t left = until_ms - fg_cli_now_ms();
		ssize_t got;

		if (left <= 0 || poll(&poll_fd, 1, (int)left) == 0)
			return -ETIMEDOUT;
		got = recv(fd, *line + length, room - length, MSG_DONTWAIT);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return got ? -errno : -EPIPE;
		newline = memchr(*line + length, '\n', (size_t)got);
		length += (size_t)got;
		if (!newline && length == room) {
			char *larger = room < MAX_REPLY ? realloc(*line, room * 2) : NULL;

			if (!larger)
				return -ENOMEM;
			*line = larger;
			room *= 2;
		}
	}
	if (!*line)
		return -ENOMEM;
	*newline = 0;
	return 0;
}

int fg_cli_control_try(const char *path, json_t *request, uint32_t timeout_ms, json_t **reply,
		       struct fg_error *error)
{
	int64_t until_ms = fg_cli_now_ms() + timeout_ms;
	char *line = NULL;
	int fd = -1, code, failed;

	*reply = NULL;
	code = connect_to(path, &fd, error);
	if (code)
		goto out_request;
	failed = send_line(fd, request);
	if (!failed)
		failed = receive_line(fd, until_ms, &line);
	if (failed == -ETIMEDOUT) {
		code = fg_error_set(error, FG_CLI_TIMEOUT, "%s: no reply within %u ms", path,
				    timeout_ms);
	} else if (failed) {
		code = fg_error_set(error, FG_CLI_UNREACHABLE,
				    "%s: %s: flipgated closed the connection", path,
				    strerror(-failed));
	} else {
		*reply = json_loads(line, 0, NULL);
		if (!json_is_object(*reply)) {
			json_decref(*reply);
			*reply = NULL;
			code = fg_error_set(error, FG_CLI_UNREACHABLE,
					    "%s: the reply is no JSON object: is this flipgated?",
					    path);
		}
	}
	free(line);
	close(fd);
out_request:
	json_decref(request);
	return code;
}

int fg_cli_control_ask(const char *path, json_t *request, uint32_t timeout_ms, json_t **reply)
{
	struct fg_error error;
	int code = fg_cli_control_try(path, request, timeout_ms, reply, &error);

	return code ? fg_cli_fail((enum fg_cli_exit)code, "%s", error.text) : 0;
}

int fg_cli_control_code(const json_t *reply)
{
	static const struct {
		const char *code;
		enum fg_cli_exit exit;
	} codes[] = {
		{"timeout", FG_CLI_TIMEOUT},
		{"rolled_back", FG_CLI_ROLLED_BACK},
		{"conflict", FG_CLI_CONFLICT},
	};
	const char *code = json_string_value(json_object_get(reply, "code"));

	if (json_is_true(json_object_get(reply, "ok")))
		return FG_CLI_OK;
	for (size_t i = 0; code && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(code, codes[i].code) == 0)
			return codes[i].exit;
	return FG_CLI_REFUSED;
}

int fg_cli_control_verdict(const json_t *reply)
{
	const char *code = json_string_value(json_object_get(reply, "code"));
	const char *error = json_string_value(json_object_get(reply, "error"));
	int exit_code = fg_cli_control_code(reply);

	if (exit_code)
		fg_cli_fail((enum fg_cli_exit)exit_code, "%s%s%s", code ? code : "refused",
			    error ? ": " : "", error ? error : "");
	return exit_code;
}

void fg_cli_control_print(const json_t *reply)
{
	json_dumpf(reply, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
}
