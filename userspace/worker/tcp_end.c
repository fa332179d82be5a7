#include "userspace/worker/tcp_end.h"

#include <sys/socket.h>
#include <unistd.h>
#include "userspace/shared/stats.h"

#define LOOKS 64 /* among that many of the oldest a victim is looked for */

/* ---- ending one ---- */

static void leave_open(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	if (connection->phase != FG_TCP_OPEN)
		return;
	fg_tcp_pool_unlist(&tcp->pool, connection);
	tcp->open--;
}

void fg_tcp_end_kill(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	leave_open(tcp, connection);
	connection->phase = FG_TCP_DEAD;
	shutdown(connection->fd, SHUT_RDWR);
	fg_tcp_pool_push(&tcp->pool, connection);
}

void fg_tcp_end_refuse(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	fg_stats_add(&tcp->stats->tcp_refused, !connection->stopped);
	fg_tcp_end_kill(tcp, connection);
}

static void forget_received(struct fg_tcp_connection *connection)
{
	connection->start = connection->end = 0;
	connection->half_ns = 0;
}

void fg_tcp_end_stop(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	if (!connection->stopped)
		fg_stats_add(&tcp->stats->tcp_refused, 1);
	connection->stopped = true;
	forget_received(connection);
}

void fg_tcp_end_politely(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns)
{
	leave_open(tcp, connection);
	connection->phase = FG_TCP_ENDING;
	connection->end_ns = now_ns;
	forget_received(connection);
	shutdown(connection->fd, SHUT_WR);
}

/* Both sides are shut down. What is in the kernel comes back at once for that; then it is over. */
void fg_tcp_end_bury(struct fg_tcp *tcp, struct fg_tcp_connection *connection)
{
	if (connection->receiving || connection->sending || connection->asked || connection->kept ||
	    connection->queued)
		return;
	close(connection->fd);
	fg_tcp_pool_put(&tcp->pool, connection);
	fg_stats_add(&tcp->stats->tcp_closed, 1);
}

/* ---- what is known of one ---- */

/* Does a completion of it wait in the ring? What does not fit there, the kernel shows nobody. */
static bool has_news(struct fg_tcp *tcp, const struct fg_tcp_connection *connection)
{
	uint32_t ready = io_uring_cq_ready(tcp->ring), head;
	struct io_uring_cqe *cqe;

	if (ready != tcp->looked_ahead) {
		tcp->looked_ahead = ready;
		io_uring_for_each_cqe(tcp->ring, head, cqe)
		{
			uint64_t kind = cqe->user_data >> 32;

			if (kind == FG_TCP_RECEIVE || kind == FG_TCP_SEND)
				tcp->pool.connections[(uint32_t)cqe->user_data].pending = true;
		}
	}
	return connection->pending || io_uring_cq_has_overflow(tcp->ring);
}

/* No reply is owed, no byte came that has not been looked at. */
static bool is_quiet(struct fg_tcp *tcp, const struct fg_tcp_connection *connection)
{
	return !connection->filled && !connection->asked && !connection->kept &&
	       !connection->fresh && !has_news(tcp, connection);
}

static bool is_between(struct fg_tcp *tcp, const struct fg_tcp_connection *connection)
{
	return connection->start == connection->end && is_quiet(tcp, connection);
}

/* ---- when ---- */

bool fg_tcp_end_is_due(struct fg_tcp *tcp, const struct fg_tcp_connection *connection,
		       uint64_t now_ns)
{
	uint64_t idle_ns = now_ns - connection->active_ns;

	if (!connection->active_ns)
		return false;
	if (tcp->leaving == FG_TCP_PART)
		return (connection->answered || idle_ns >= FG_TCP_FIRST_NS) &&
		       is_quiet(tcp, connection);
	return idle_ns >= (tcp->leaving ? tcp->leave_ns : FG_TCP_IDLE_NS) &&
	       is_between(tcp, connection);
}

static bool is_over(uint64_t since_ns, uint64_t limit_ns, uint64_t now_ns)
{
	return since_ns && now_ns - since_ns >= limit_ns;
}

void fg_tcp_end_check(struct fg_tcp *tcp, struct fg_tcp_connection *connection, uint64_t now_ns)
{
	if (connection->phase == FG_TCP_ENDING &&
	    is_over(connection->end_ns, FG_TCP_LINGER_NS, now_ns))
		fg_tcp_end_kill(tcp, connection);
	else if (has_news(tcp, connection))
		return;
	else if (is_over(connection->half_ns, FG_TCP_STUCK_NS, now_ns) ||
		 is_over(connection->send_ns, FG_TCP_STUCK_NS, now_ns))
		fg_tcp_end_refuse(tcp, connection);
	else if (connection->phase == FG_TCP_OPEN && fg_tcp_end_is_due(tcp, connection, now_ns))
		fg_tcp_pool_push(&tcp->pool, connection);
	else if (is_over(connection->active_ns, FG_TCP_SLEEP_NS, now_ns) &&
		 is_between(tcp, connection))
		fg_tcp_pool_give_back(&tcp->pool, connection);
}

/* Of the list's oldest the first that is between requests, if there is one: the others of these
 * have half a message here, or read slowly. A newcomer's half message does not help it. */
static struct fg_tcp_connection *oldest(struct fg_tcp *tcp, const struct fg_tcp_list *list)
{
	uint32_t index = list->first;

	for (int i = 0; i < LOOKS && index != FG_TCP_NONE; i++) {
		struct fg_tcp_connection *connection = &tcp->pool.connections[index];

		if (connection->answered ? is_between(tcp, connection) : is_quiet(tcp, connection))
			return connection;
		index = connection->newer;
	}
	return &tcp->pool.connections[list->first];
}

/* Some are idle where that list is chosen: fewer may be newcomers than may be in use. */
void fg_tcp_end_make_room(struct fg_tcp *tcp)
{
	const struct fg_tcp_pool *pool = &tcp->pool;
	uint32_t newcomers = 1 + tcp->max_open / FG_TCP_NEWCOMERS;

	while (tcp->open > tcp->max_open)
		fg_tcp_end_refuse(tcp,
				  oldest(tcp, pool->newcomer_count > newcomers ? &pool->newcomers
									       : &pool->idle));
}
