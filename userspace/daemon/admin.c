#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "userspace/daemon/admin.h"

#define LISTENER UINT32_MAX /* epoll data; clients have their index */

json_t *fg_admin_error(const char *code, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* json_string refuses what is not UTF-8; our own texts may quote a client's bytes. */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
			*c = '?';
	return json_pack("{s:b,s:s,s:s}", "ok", 0, "error", text, "code", code);
}

/* ---- clients ---- */

static void drop(struct fg_admin *admin, struct fg_admin_client *client)
{
	if (client->waiting)
		admin->ops->leave(admin->context, &client->request);
	close(client->fd);
	free(client->in);
	free(client->out);
	memset(client, 0, sizeof(*client));
	client->fd = -1;
}

/* Replaces `out`, which must be sent. A reply that is too long is our own defect. */
static void put(struct fg_admin_client *client, json_t *reply, uint64_t now_ns)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;

	json_decref(reply);
	free(client->out);
	client->out = text;
	client->out_used = client->out_sent = 0;
	client->idle_ns = now_ns + FG_ADMIN_IDLE_NS;
	if (!text || length >= FG_ADMIN_LINE_BYTES) {
		client->closing = true;
		return;
	}
	text[length] = '\n'; /* in the place of the final NUL */
	client->out_used = length + 1;
}

static void refuse(struct fg_admin_client *client, const char *why, uint64_t now_ns)
{
	client->closing = true;
	put(client, fg_admin_error("bad_request", "%s", why), now_ns);
}

static void handle_line(struct fg_admin *admin, struct fg_admin_client *client, size_t length,
			uint64_t now_ns)
{
	json_error_t error;
	json_t *object = json_loadb(client->in, length, JSON_REJECT_DUPLICATES, &error);
	json_t *reply;

	if (!object) {
		client->closing = true;
		put(client, fg_admin_error("bad_request", "not JSON: %s", error.text), now_ns);
		return;
	}
	memset(&client->request, 0, sizeof(client->request));
	client->request.who = client->who;
	reply = fg_admin_parse(object, &client->request, now_ns);
	if (!reply)
		reply = admin->ops->begin(admin->context, &client->request, now_ns);
	json_decref(object);
	if (reply)
		put(client, reply, now_ns);
	else
		client->waiting = true;
}

static bool busy(const struct fg_admin_client *client)
{
	return client->waiting || client->closing || client->out_sent < client->out_used;
}

/* Sends what there is. False: the client is gone. */
static bool flush(struct fg_admin_client *client)
{
	ssize_t sent;

	while (client->out_sent < client->out_used) {
		sent = send(client->fd, client->out + client->out_sent,
			    client->out_used - client->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		client->out_sent += (size_t)sent;
	}
	return true;
}

static bool line_is_in(const struct fg_admin_client *client)
{
	return memchr(client->in, '\n', client->in_used);
}

/* Answers at most one line: nobody is kept waiting by a client that sends thousands. */
static bool serve_line(struct fg_admin *admin, struct fg_admin_client *client, uint64_t now_ns)
{
	char *end = memchr(client->in, '\n', client->in_used);
	size_t length;

	if (busy(client))
		return true;
	if (end) {
		length = (size_t)(end - client->in);
		handle_line(admin, client, length, now_ns);
		client->in_used -= length + 1;
		memmove(client->in, end + 1, client->in_used);
	} else if (client->in_used == FG_ADMIN_LINE_BYTES) {
		refuse(client, "a request line is at most 64 KiB", now_ns);
	}
	return flush(client);
}

/* Reads only while it can be answered, so that a client cannot fill more than its buffer. */
static bool take(struct fg_admin_client *client, uint64_t now_ns)
{
	ssize_t got;

	if (busy(client) || line_is_in(client))
		return true;
	got = recv(client->fd, client->in + client->in_used, FG_ADMIN_LINE_BYTES - client->in_used,
		   MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	client->in_used += (size_t)got;
	if (!got && client->in_used)
		refuse(client, "the last request line has no end", now_ns);
	client->closing |= !got;
	return true;
}

static void watch(struct fg_admin *admin, struct fg_admin_client *client)
{
	struct epoll_event event = {.data.u32 = (uint32_t)(client - admin->clients)};

	if (client->out_sent < client->out_used)
		event.events = EPOLLOUT;
	else if (!busy(client))
		event.events = EPOLLIN;
	epoll_ctl(admin->epoll, EPOLL_CTL_MOD, client->fd, &event);
}

/* After anything that may have moved a client on. */
static void settle(struct fg_admin *admin, struct fg_admin_client *client, bool alive)
{
	if (!alive || (client->closing && !client->waiting && client->out_sent == client->out_used))
		drop(admin, client);
	else
		watch(admin, client);
}

/* Nobody is uid -1: what cannot be told may not do what takes a name. */
static struct fg_audit_who who_is(int fd)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof(peer);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	return (struct fg_audit_who){.uid = peer.uid, .pid = peer.pid};
}

static bool is_owner(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static bool has_place(const struct fg_admin *admin, uid_t uid)
{
	uint32_t all = 0, own = 0, i;

	for (i = 0; i < FG_ADMIN_MAX_CLIENTS; i++) {
		all += admin->clients[i].fd >= 0;
		own += admin->clients[i].fd >= 0 && admin->clients[i].who.uid == uid;
	}
	if (is_owner(uid))
		return all < FG_ADMIN_MAX_CLIENTS;
	return all < FG_ADMIN_MAX_CLIENTS - FG_ADMIN_OWN_CLIENTS && own < FG_ADMIN_USER_CLIENTS;
}

static void make_place(struct fg_admin *admin, uid_t uid, uint64_t now_ns)
{
	struct fg_admin_client *client, *oldest = NULL;

	for (client = admin->clients; client < admin->clients + FG_ADMIN_MAX_CLIENTS; client++)
		if (client->fd >= 0 && client->waiting && client->who.uid == uid &&
		    (!oldest || client->request.arrived_ns < oldest->request.arrived_ns))
			oldest = client;
	if (!oldest)
		return;
	put(oldest,
	    fg_admin_error("timeout",
			   "too many requests of user %u wait: what this one asked for "
			   "goes on",
			   uid),
	    now_ns);
	flush(oldest);
	drop(admin, oldest);
}

static struct fg_admin_client *find_place(struct fg_admin *admin, uid_t uid, uint64_t now_ns)
{
	struct fg_admin_client *client = admin->clients;

	if (!has_place(admin, uid))
		make_place(admin, uid, now_ns);
	if (!has_place(admin, uid))
		return NULL;
	while (client->fd >= 0)
		client++;
	return client;
}

static void accept_one(struct fg_admin *admin, int fd, uint64_t now_ns)
{
	static const char full[] = "{\"ok\":false,\"error\":\"16 clients are connected already, or "
				   "12 of one user\",\"code\":\"busy\"}\n";
	struct fg_audit_who who = who_is(fd);
	struct fg_admin_client *client = find_place(admin, who.uid, now_ns);
	struct epoll_event event = {.events = EPOLLIN};
	char *in = client ? malloc(FG_ADMIN_LINE_BYTES) : NULL;

	if (client)
		event.data.u32 = (uint32_t)(client - admin->clients);
	if (!in || epoll_ctl(admin->epoll, EPOLL_CTL_ADD, fd, &event)) {
		/* Best effort: whoever cannot be served may not get the reason either. */
		send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
		free(in);
		return;
	}
	client->fd = fd;
	client->in = in;
	client->who = who;
	client->idle_ns = now_ns + FG_ADMIN_IDLE_NS;
}

static void listen_for(struct fg_admin *admin, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = LISTENER};

	epoll_ctl(admin->epoll, EPOLL_CTL_MOD, admin->listener, &event);
}

/* Whoever cannot be let in stays in the queue, so the listener stays readable: without a pause
 * control would do nothing else. */
static void accept_clients(struct fg_admin *admin, uint64_t now_ns)
{
	int fd;

	if (now_ns < admin->deaf_until_ns)
		return;
	if (admin->deaf_until_ns)
		listen_for(admin, EPOLLIN);
	admin->deaf_until_ns = 0;
	while ((fd = accept4(admin->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		accept_one(admin, fd, now_ns);
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	admin->deaf_until_ns = now_ns + FG_ADMIN_DEAF_NS;
	listen_for(admin, 0);
}

/* ---- the module ---- */

int fg_admin_open(struct fg_admin *admin, int listener, const struct fg_admin_ops *ops,
		  void *context)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = LISTENER};
	uint32_t i;

	memset(admin, 0, sizeof(*admin));
	admin->listener = listener;
	admin->ops = ops;
	admin->context = context;
	for (i = 0; i < FG_ADMIN_MAX_CLIENTS; i++)
		admin->clients[i].fd = -1;
	admin->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (admin->epoll < 0)
		return -errno;
	if (epoll_ctl(admin->epoll, EPOLL_CTL_ADD, listener, &event)) {
		int code = -errno;

		close(admin->epoll);
		admin->epoll = -1;
		return code;
	}
	return 0;
}

void fg_admin_close(struct fg_admin *admin)
{
	uint32_t i;

	for (i = 0; i < FG_ADMIN_MAX_CLIENTS; i++)
		if (admin->clients[i].fd >= 0)
			drop(admin, &admin->clients[i]);
	close(admin->epoll);
	admin->epoll = -1;
}

/* Waits that came to their end, and clients that let us wait too long. */
static bool look_after(struct fg_admin *admin, struct fg_admin_client *client, uint64_t now_ns)
{
	json_t *reply;

	if (client->waiting) {
		reply = admin->ops->progress(admin->context, &client->request, now_ns);
		if (reply) {
			client->waiting = false;
			put(client, reply, now_ns);
		}
	} else if (now_ns >= client->idle_ns) {
		if (client->out_sent < client->out_used)
			return false;
		refuse(client, "no whole request line for 10 s", now_ns);
	}
	return flush(client) && serve_line(admin, client, now_ns);
}

static uint64_t due_ns(const struct fg_admin_client *client, uint64_t now_ns)
{
	if (client->fd < 0)
		return UINT64_MAX;
	if (client->waiting)
		return client->request.until_ns;
	return !busy(client) && line_is_in(client) ? now_ns : client->idle_ns;
}

uint64_t fg_admin_update(struct fg_admin *admin, uint64_t now_ns)
{
	struct epoll_event events[FG_ADMIN_MAX_CLIENTS + 1];
	int i, count = epoll_wait(admin->epoll, events, FG_ADMIN_MAX_CLIENTS + 1, 0);
	struct fg_admin_client *client;
	uint64_t due;
	bool gone[FG_ADMIN_MAX_CLIENTS] = {false};

	for (i = 0; i < count; i++) {
		if (events[i].data.u32 == LISTENER)
			continue;
		client = &admin->clients[events[i].data.u32];
		gone[events[i].data.u32] =
			!take(client, now_ns) || events[i].events & (EPOLLHUP | EPOLLERR);
	}
	for (i = 0; i < FG_ADMIN_MAX_CLIENTS; i++) {
		client = &admin->clients[i];
		if (client->fd >= 0)
			settle(admin, client, look_after(admin, client, now_ns) && !gone[i]);
	}
	accept_clients(admin, now_ns);
	due = admin->deaf_until_ns ? admin->deaf_until_ns : UINT64_MAX;
	for (i = 0; i < FG_ADMIN_MAX_CLIENTS; i++)
		if (due_ns(&admin->clients[i], now_ns) < due)
			due = due_ns(&admin->clients[i], now_ns);
	return due;
}
