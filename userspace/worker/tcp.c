#include "userspace/worker/tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "userspace/protocol/wire.h"
#include "userspace/shared/stats.h"
#include "userspace/worker/tcp_end.h"
#include "userspace/worker/tcp_message.h"

#define MAX_CONNECTIONS 65536

/* ---- submissions ---- */

static uint64_t user_data(enum fg_tcp_kind kind, uint32_t index)
{
	return (uint64_t)kind << 32 | index;
}

/* NULL when the kernel takes no submissions at the moment: try again in the next loop. */
static struct io_uring_sqe *next_sqe(struct fg_tcp *tcp)
{
	if (io_uring_sq_space_left(tcp->ring) <= tcp->others_sqes)
		io_uring_submit(tcp->ring);
	if (io_uring_sq_space_left(tcp->ring) <= tcp->others_sqes)
		return NULL;
	return io_uring_get_sqe(tcp->ring);
}

static void arm_accepts(struct fg_tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->listener_count; i++) {
		struct fg_tcp_listener *listener = &tcp->listeners[i];
		struct io_uring_sqe *sqe;

		if (listener->armed || listener->paused)
			continue;
		sqe = next_sqe(tcp);
		if (!sqe)
			return;
		io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, 0);
		io_uring_sqe_set_data64(sqe, user_data(FG_TCP_ACCEPT, i));
		listener->armed = true;
	}
}

static void cancel_accepts(struct fg_tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->listener_count; i++) {
		struct io_uring_sqe *sqe;

		if (!tcp->listeners[i].armed)
			continue;
		sqe = next_sqe(tcp);
		if (!sqe)
			return;
		io_uring_prep_cancel64(sqe, user_data(FG_TCP_ACCEPT, i), 0);
		io_uring_sqe_set_data64(sqe, user_data(FG_TCP_CANCEL, i));
	}
}

/* Poll first: what was there has been read, so trying would be in vain. */
static void arm_receive(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	struct io_uring_sqe *sqe = next_sqe(tcp);

	if (!sqe) {
		fg_tcp_pool_push(&tcp->pool, connection);
		return;
	}
	io_uring_prep_recv(sqe, connection->fd,
			   fg_tcp_pool_in(&tcp->pool, connection) + connection->end,
			   FG_TCP_BUFFER_BYTES - connection->end, 0);
	sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
	io_uring_sqe_set_data64(sqe, user_data(FG_TCP_RECEIVE,
					       fg_tcp_pool_index(&tcp->pool, connection)));
	connection->receiving = true;
}

static void arm_send(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns)
{
	struct io_uring_sqe *sqe = next_sqe(tcp);

	if (!sqe) {
		fg_tcp_pool_push(&tcp->pool, connection);
		return;
	}
	io_uring_prep_send(sqe, connection->fd,
			   fg_tcp_pool_out(&tcp->pool, connection) + connection->sent,
			   connection->filled - connection->sent, MSG_NOSIGNAL);
	io_uring_sqe_set_data64(sqe,
				user_data(FG_TCP_SEND, fg_tcp_pool_index(&tcp->pool, connection)));
	connection->sending = true;
	connection->send_ns = now_ns;
}

/* ---- completions ---- */

/* One too many is made room for when all that came with it has been looked at. */
static void adopt(struct fg_tcp *tcp, int fd)
{
	struct fg_tcp_connection *connection;

	fg_stats_add(&tcp->stats->tcp_accepted, 1);
	connection = fg_tcp_pool_get(&tcp->pool, fd);
	if (!connection) {
		close(fd);
		fg_stats_add(&tcp->stats->tcp_closed, 1);
		fg_stats_add(&tcp->stats->tcp_refused, 1);
		return;
	}
	tcp->open++;
	fg_tcp_pool_list(&tcp->pool, connection);
	fg_tcp_pool_push(&tcp->pool, connection);
}

/* Without descriptors or memory the next accept would fail as well: it waits for the tick. */
static void accept_completed(struct fg_tcp *tcp, struct fg_tcp_listener *listener,
			     const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		listener->armed = false;
	if (cqe->res >= 0)
		adopt(tcp, cqe->res);
	else if (cqe->res != -ECANCELED && cqe->res != -ECONNABORTED)
		listener->paused = true;
}

static void receive_completed(struct fg_tcp *tcp, struct fg_tcp_connection *connection, int result)
{
	connection->receiving = connection->pending = false;
	if (result > 0) {
		connection->fresh = connection->touched = true;
		connection->end += (uint32_t)result;
	} else if (result != -EINTR && result != -EAGAIN) {
		connection->eof = true;
	}
	fg_tcp_pool_push(&tcp->pool, connection);
}

static void send_completed(struct fg_tcp *tcp, struct fg_tcp_connection *connection, int result)
{
	connection->sending = connection->pending = false;
	connection->send_ns = 0;
	if (result > 0) {
		connection->sent += (uint32_t)result;
		if (connection->sent == connection->filled)
			connection->sent = connection->filled = 0;
	} else if (result != -EINTR && result != -EAGAIN && connection->phase != FG_TCP_DEAD) {
		fg_tcp_end_kill(tcp, connection); /* the client has gone */
	}
	fg_tcp_pool_push(&tcp->pool, connection);
}

void fg_tcp_complete(struct fg_tcp *tcp, const struct io_uring_cqe *cqe)
{
	uint32_t index = (uint32_t)cqe->user_data;

	switch ((enum fg_tcp_kind)(cqe->user_data >> 32)) {
	case FG_TCP_ACCEPT:
		accept_completed(tcp, &tcp->listeners[index], cqe);
		break;
	case FG_TCP_RECEIVE:
		receive_completed(tcp, &tcp->pool.connections[index], cqe->res);
		break;
	case FG_TCP_SEND:
		send_completed(tcp, &tcp->pool.connections[index], cqe->res);
		break;
	case FG_TCP_CANCEL:
		break;
	}
}

bool fg_tcp_has_work(const struct fg_tcp *tcp)
{
	return tcp->pool.work.first != FG_TCP_NONE;
}

/* ---- requests ---- */

/* Takes whole requests, up to `max`, while there is room for their replies. */
static uint32_t take(struct fg_tcp *tcp, struct fg_tcp_connection *connection,
		     struct fg_message *messages, uint32_t max, uint64_t now_ns)
{
	uint32_t count = 0;

	if (connection->fresh)
		connection->arrived_ns = now_ns;
	connection->fresh = false;
	while (count < max && !connection->stopped) {
		struct fg_tcp_next next;
		int ret = fg_tcp_message_peek(&tcp->pool, connection, tcp->row_bytes, &next);
		uint32_t slot = tcp->taken;

		if (ret == -EPROTO)
			fg_tcp_end_stop(tcp, connection);
		if (ret)
			break;
		fg_tcp_message_take(&tcp->pool, connection, &next,
				    tcp->area + (size_t)slot * FG_TCP_BUFFER_BYTES,
				    &messages[count++]);
		messages[count - 1].tag |= (uint64_t)slot << 32;
		tcp->bounds[slot] = next.bound;
		tcp->taken++;
	}
	if (!count)
		return 0;
	fg_stats_add(&tcp->stats->tcp_received, count);
	connection->active_ns = now_ns;
	connection->half_ns = 0;
	fg_tcp_pool_unlist(&tcp->pool, connection);
	connection->answered = true;
	fg_tcp_pool_list(&tcp->pool, connection);
	return count;
}

/* ---- what a connection needs next ---- */

/* Waits for the rest of a message, or for the next. */
static void wait_for_more(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns)
{
	uint32_t count = connection->end - connection->start;
	uint8_t *in = fg_tcp_pool_in(&tcp->pool, connection);

	if (connection->receiving)
		return;
	if (connection->start && count)
		memmove(in, in + connection->start, count);
	connection->start = 0;
	connection->end = count;
	if (!count)
		connection->half_ns = 0;
	else if (!connection->half_ns)
		connection->half_ns = now_ns;
	arm_receive(tcp, connection);
}

/* What came after the end is forgotten. */
static void settle_ending(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	connection->start = connection->end = 0;
	if (connection->eof)
		fg_tcp_end_kill(tcp, connection);
	else if (!connection->receiving)
		arm_receive(tcp, connection);
}

/* No message of it is in the engine but those that are kept there. */
static void settle_open(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns)
{
	struct fg_tcp_next next;
	int ret = connection->stopped
			  ? -EAGAIN
			  : fg_tcp_message_peek(&tcp->pool, connection, tcp->row_bytes, &next);

	/* There, but not taken: it is others' turn; or there is no room, until a send is done. */
	if (ret != -EAGAIN) {
		if (ret != -ENOBUFS)
			fg_tcp_pool_push(&tcp->pool, connection);
		return;
	}
	if (connection->stopped || connection->eof) {
		if (connection->filled || connection->kept)
			return;
		if (connection->start != connection->end)
			fg_tcp_end_refuse(tcp,
					  connection); /* the end came in the middle of a message */
		else
			fg_tcp_end_kill(tcp, connection);
		return;
	}
	if (fg_tcp_end_is_due(tcp, connection, now_ns)) {
		fg_tcp_end_politely(tcp, connection, now_ns);
		settle_ending(tcp, connection);
	} else if (tcp->leaving < FG_TCP_PART || !connection->answered) {
		wait_for_more(tcp, connection, now_ns);
	}
}

/* Does all that is to be done for a connection now; doing it twice does no harm. */
static void settle(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns)
{
	if (connection->phase == FG_TCP_DEAD)
		fg_tcp_end_bury(tcp, connection);
	if (connection->phase == FG_TCP_DEAD || connection->phase == FG_TCP_UNUSED)
		return;
	if (!connection->active_ns)
		connection->active_ns = now_ns;
	if (connection->filled && !connection->sending)
		arm_send(tcp, connection, now_ns);
	if (connection->asked)
		return;
	if (connection->phase == FG_TCP_OPEN)
		settle_open(tcp, connection, now_ns);
	else if (connection->phase == FG_TCP_ENDING)
		settle_ending(tcp, connection);
}

/* ---- time ---- */

/*
 * Ten times a second. Accepts are armed anew, because a connection that moves here from another
 * listener (userspace/daemon/dataplane_tcp.h) wakes nobody on kernels whose inet_csk_listen_stop()
 * does not call sk_data_ready(), which it learned in 2026: an accept looks into the queue first.
 */
static void tick(struct fg_tcp *tcp, uint64_t now_ns)
{
	uint32_t left = tcp->pool.used;

	if (now_ns - tcp->tick_ns < FG_TCP_TICK_NS)
		return;
	tcp->tick_ns = now_ns;
	for (uint32_t i = 0; i < tcp->listener_count; i++)
		tcp->listeners[i].paused = false;
	cancel_accepts(tcp);
	for (uint32_t i = 0; left && i < tcp->pool.begun; i++) {
		struct fg_tcp_connection *connection = &tcp->pool.connections[i];

		if (connection->phase == FG_TCP_UNUSED)
			continue;
		left--;
		if (connection->phase != FG_TCP_DEAD)
			fg_tcp_end_check(tcp, connection, now_ns);
	}
}

/* ---- for the worker ---- */

uint32_t fg_tcp_receive(struct fg_tcp *tcp, struct fg_message *messages, uint32_t max,
			uint64_t now_ns)
{
	uint32_t count = 0, last;

	tcp->looked_ahead = 0;
	tick(tcp, now_ns);
	last = tcp->pool.work.last;
	if (tcp->started && !tcp->finishing)
		arm_accepts(tcp);
	tcp->taken = 0;
	/* Once round: what is queued again behind the last one has its turn next time. */
	while (tcp->pool.work.first != FG_TCP_NONE && count < max) {
		struct fg_tcp_connection *connection = fg_tcp_pool_pop(&tcp->pool);
		uint32_t turn = max - count < FG_TCP_TURN ? max - count : FG_TCP_TURN;

		if (connection->phase == FG_TCP_OPEN)
			count += take(tcp, connection, messages + count, turn, now_ns);
		settle(tcp, connection, now_ns);
		if (fg_tcp_pool_index(&tcp->pool, connection) == last)
			break;
	}
	fg_tcp_end_make_room(tcp);
	return count;
}

void fg_tcp_keep(struct fg_tcp *tcp, struct fg_message *message, uint32_t place)
{
	struct fg_tcp_connection *connection = &tcp->pool.connections[(uint32_t)message->tag];
	uint64_t to = FG_TCP_BATCH + place;
	uint8_t *bytes = tcp->area + (size_t)to * FG_TCP_BUFFER_BYTES;

	memcpy(bytes, message->bytes, message->length);
	tcp->bounds[to] = tcp->bounds[message->tag >> 32];
	message->bytes = bytes;
	message->tag = to << 32 | (uint32_t)message->tag;
	connection->asked--;
	connection->kept++;
	fg_tcp_pool_push(&tcp->pool, connection);
}

void fg_tcp_reply(struct fg_tcp *tcp, struct fg_message *const *messages, uint32_t count,
		  uint64_t now_ns)
{
	uint16_t flags = tcp->leaving ? FG_WIRE_LEAVING : 0;
	uint32_t i;

	for (i = 0; i < count; i++) {
		struct fg_tcp_connection *connection =
			&tcp->pool.connections[(uint32_t)messages[i]->tag];

		if (messages[i]->tag >> 32 < FG_TCP_BATCH)
			connection->asked--;
		else
			connection->kept--;
		connection->reserved -= tcp->bounds[messages[i]->tag >> 32];
		if (connection->phase == FG_TCP_DEAD)
			continue;
		if (messages[i]->length)
			fg_tcp_message_put(&tcp->pool, connection, messages[i], flags);
		else
			fg_tcp_end_stop(tcp, connection);
	}
	for (i = 0; i < count; i++)
		settle(tcp, &tcp->pool.connections[(uint32_t)messages[i]->tag], now_ns);
}

/* What is to become of a connection is found out when it is looked at: so all are. */
void fg_tcp_leave(struct fg_tcp *tcp, enum fg_tcp_leaving leaving)
{
	if (leaving == tcp->leaving)
		return;
	tcp->leaving = leaving;
	for (uint32_t i = 0; i < tcp->pool.begun; i++)
		if (tcp->pool.connections[i].phase == FG_TCP_OPEN)
			fg_tcp_pool_push(&tcp->pool, &tcp->pool.connections[i]);
}

void fg_tcp_finish(struct fg_tcp *tcp)
{
	tcp->finishing = true;
	cancel_accepts(tcp);
	fg_tcp_leave(tcp, FG_TCP_PART);
}

bool fg_tcp_finished(const struct fg_tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->listener_count; i++)
		if (tcp->listeners[i].armed)
			return false;
	return !tcp->pool.used;
}

/* ---- opening and closing ---- */

int fg_tcp_open(struct fg_tcp *tcp, const struct fg_tcp_config *config, struct fg_error *error)
{
	uint32_t i;

	if (config->listener_count > FG_MAX_LISTENERS || !config->connections ||
	    config->connections > MAX_CONNECTIONS)
		return fg_error_set(error, -EINVAL,
				    "TCP: %u listeners (at most %u), %u connections (1 to %u)",
				    config->listener_count, FG_MAX_LISTENERS, config->connections,
				    MAX_CONNECTIONS);
	*tcp = (struct fg_tcp){
		.stats = config->stats,
		.listener_count = config->listener_count,
		.max_open = config->connections,
		.leave_ns = config->leave_ms * 1000000ull,
	};
	for (i = 0; i < config->listener_count; i++)
		tcp->listeners[i].fd = config->listeners[i];
	tcp->area = fg_tcp_pool_map(FG_TCP_MESSAGES * FG_TCP_BUFFER_BYTES);
	if (!tcp->area || fg_tcp_pool_open(&tcp->pool, config->connections + FG_TCP_SPARE)) {
		fg_tcp_close(tcp);
		return fg_error_set(error, -ENOMEM,
				    "no memory for %u TCP connections: give fewer (connections)",
				    config->connections);
	}
	return 0;
}

void fg_tcp_attach(struct fg_tcp *tcp, struct io_uring *ring, uint32_t others_sqes)
{
	tcp->ring = ring;
	tcp->others_sqes = others_sqes;
}

void fg_tcp_start(struct fg_tcp *tcp, uint32_t row_bytes)
{
	tcp->row_bytes = row_bytes;
	tcp->started = true;
}

void fg_tcp_close(struct fg_tcp *tcp)
{
	for (uint32_t i = 0; i < tcp->pool.begun; i++)
		if (tcp->pool.connections[i].phase != FG_TCP_UNUSED)
			close(tcp->pool.connections[i].fd);
	fg_tcp_pool_close(&tcp->pool);
	if (tcp->area)
		munmap(tcp->area, FG_TCP_MESSAGES * FG_TCP_BUFFER_BYTES);
	*tcp = (struct fg_tcp){0};
}
