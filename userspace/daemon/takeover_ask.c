#include "userspace/daemon/takeover.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "userspace/shared/clock.h"

enum { EXIT_UPGRADED = 0, EXIT_NOT = 2 };

#define ANSWER_NS 15000000000ull /* the keeper gives a program 2 s, and needs a moment */

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "flipgated: %s: %s\n", what, why);
	return EXIT_NOT;
}

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), code;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	code = -errno;
	if (fd >= 0)
		close(fd);
	return code;
}

/* One line, parsed; NULL when the other end is gone, or silent until then. */
static json_t *hear(int fd, uint64_t until_ns)
{
	static char line[FG_ADMIN_LINE_BYTES];
	size_t used = 0;

	while (used < sizeof(line)) {
		struct pollfd one = {.fd = fd, .events = POLLIN};
		uint64_t now_ns = fg_clock_ns();
		ssize_t got;

		if (now_ns >= until_ns || poll(&one, 1, (int)((until_ns - now_ns) / 1000000)) <= 0)
			return NULL;
		got = recv(fd, line + used, sizeof(line) - used, 0);
		if (got <= 0)
			return NULL;
		used += (size_t)got;
		if (line[used - 1] == '\n')
			return json_loadb(line, used, 0, NULL);
	}
	return NULL;
}

/* The reply to one request, a new reference; NULL: none came. *code: why it could not be asked. */
static json_t *ask(const char *path, json_t *request, uint64_t until_ns, int *code)
{
	char *text = json_dumps(request, JSON_COMPACT);
	json_t *reply = NULL;
	int fd = text ? dial(path) : -ENOMEM;

	*code = fd < 0 ? fd : 0;
	if (fd >= 0) {
		if (dprintf(fd, "%s\n", text) > 0)
			reply = hear(fd, until_ns);
		close(fd);
	}
	free(text);
	json_decref(request);
	return reply;
}

static const char *text_of(const json_t *reply, const char *part, const char *key)
{
	const char *text = json_string_value(json_object_get(json_object_get(reply, part), key));

	return text ? text : "?";
}

static json_int_t upgrades_of(const json_t *status)
{
	return json_integer_value(json_object_get(json_object_get(status, "control"), "upgrades"));
}

/* The connection of whoever asked dies with the old control; the new one tells how it went. */
static int follow(const char *path, json_int_t before, uint64_t until_ns)
{
	json_t *status;
	int code, left;

	for (;;) {
		status = ask(path, json_pack("{s:s}", "verb", "status"), until_ns, &code);
		if (status && upgrades_of(status) != before)
			break;
		json_decref(status);
		if (fg_clock_ns() >= until_ns)
			return complain(path, "no control answers: see flipgated's log");
		usleep(20000);
	}
	left = text_of(status, "control", "upgrade_error")[0] != '\0';
	if (left)
		complain("not upgraded", text_of(status, "control", "upgrade_error"));
	else
		printf("%s is in charge now: version %s, pid %lld\n",
		       text_of(status, "control", "program"), text_of(status, "control", "version"),
		       (long long)json_integer_value(json_object_get(status, "control_pid")));
	json_decref(status);
	return left ? EXIT_NOT : EXIT_UPGRADED;
}

int fg_takeover_ask(const struct fg_config *config)
{
	uint64_t until_ns = fg_clock_ns() + ANSWER_NS;
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	json_t *status, *reply;
	json_int_t before;
	int code;

	if (length < 0)
		return complain("/proc/self/exe", strerror(errno));
	self[length] = '\0';
	status = ask(config->socket, json_pack("{s:s}", "verb", "status"), until_ns, &code);
	if (!status)
		return complain(config->socket,
				code ? strerror(-code) : "nobody answers: is flipgated running?");
	before = upgrades_of(status);
	json_decref(status);
	reply = ask(config->socket, json_pack("{s:s,s:s}", "verb", "upgrade", "path", self),
		    until_ns, &code);
	if (reply) {
		code = complain("not upgraded",
				json_string_value(json_object_get(reply, "error")) ?: "?");
		json_decref(reply);
		return code;
	}
	return follow(config->socket, before, until_ns);
}
