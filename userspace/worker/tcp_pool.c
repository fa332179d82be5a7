#include "userspace/worker/tcp_pool.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

void *fg_tcp_pool_map(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	/* A huge page for the first bytes of one connection would be the memory of many. */
	madvise(map, bytes, MADV_NOHUGEPAGE);
	return map;
}

static size_t buffers_bytes(const struct fg_tcp_pool *pool)
{
	return (size_t)pool->entries * 2 * FG_TCP_BUFFER_BYTES;
}

int fg_tcp_pool_open(struct fg_tcp_pool *pool, uint32_t entries)
{
	*pool = (struct fg_tcp_pool){
		.entries = entries,
		.free = FG_TCP_NONE,
		.work = {FG_TCP_NONE, FG_TCP_NONE},
		.newcomers = {FG_TCP_NONE, FG_TCP_NONE},
		.idle = {FG_TCP_NONE, FG_TCP_NONE},
	};
	pool->connections = fg_tcp_pool_map(entries * sizeof(*pool->connections));
	pool->buffers = fg_tcp_pool_map(buffers_bytes(pool));
	if (!pool->connections || !pool->buffers) {
		fg_tcp_pool_close(pool);
		return -ENOMEM;
	}
	return 0;
}

void fg_tcp_pool_close(struct fg_tcp_pool *pool)
{
	if (pool->connections)
		munmap(pool->connections, pool->entries * sizeof(*pool->connections));
	if (pool->buffers)
		munmap(pool->buffers, buffers_bytes(pool));
	*pool = (struct fg_tcp_pool){0};
}

struct fg_tcp_connection *fg_tcp_pool_get(struct fg_tcp_pool *pool, int fd)
{
	uint32_t index = pool->free;
	struct fg_tcp_connection *connection;

	if (index != FG_TCP_NONE)
		pool->free = pool->connections[index].next;
	else if (pool->begun < pool->entries)
		index = pool->begun++;
	else
		return NULL;
	connection = &pool->connections[index];
	pool->used++;
	*connection = (struct fg_tcp_connection){.fd = fd, .phase = FG_TCP_OPEN};
	return connection;
}

void fg_tcp_pool_put(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection)
{
	fg_tcp_pool_give_back(pool, connection);
	connection->phase = FG_TCP_UNUSED;
	connection->next = pool->free;
	pool->free = fg_tcp_pool_index(pool, connection);
	pool->used--;
}

void fg_tcp_pool_give_back(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection)
{
	if (connection->touched)
		madvise(fg_tcp_pool_in(pool, connection), 2 * FG_TCP_BUFFER_BYTES, MADV_DONTNEED);
	connection->touched = false;
}

void fg_tcp_pool_push(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection)
{
	uint32_t index = fg_tcp_pool_index(pool, connection);

	if (connection->queued)
		return;
	connection->queued = true;
	connection->next = FG_TCP_NONE;
	if (pool->work.last == FG_TCP_NONE)
		pool->work.first = index;
	else
		pool->connections[pool->work.last].next = index;
	pool->work.last = index;
}

struct fg_tcp_connection *fg_tcp_pool_pop(struct fg_tcp_pool *pool)
{
	struct fg_tcp_connection *connection = &pool->connections[pool->work.first];

	pool->work.first = connection->next;
	if (pool->work.first == FG_TCP_NONE)
		pool->work.last = FG_TCP_NONE;
	connection->queued = false;
	return connection;
}

static struct fg_tcp_list *list_of(struct fg_tcp_pool *pool,
				   const struct fg_tcp_connection *connection)
{
	return connection->answered ? &pool->idle : &pool->newcomers;
}

void fg_tcp_pool_list(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection)
{
	struct fg_tcp_list *list = list_of(pool, connection);
	uint32_t index = fg_tcp_pool_index(pool, connection);

	connection->older = list->last;
	connection->newer = FG_TCP_NONE;
	if (connection->older == FG_TCP_NONE)
		list->first = index;
	else
		pool->connections[connection->older].newer = index;
	list->last = index;
	pool->newcomer_count += !connection->answered;
}

void fg_tcp_pool_unlist(struct fg_tcp_pool *pool, struct fg_tcp_connection *connection)
{
	struct fg_tcp_list *list = list_of(pool, connection);
	uint32_t older = connection->older, newer = connection->newer;

	if (older == FG_TCP_NONE)
		list->first = newer;
	else
		pool->connections[older].newer = newer;
	if (newer == FG_TCP_NONE)
		list->last = older;
	else
		pool->connections[newer].older = older;
	pool->newcomer_count -= !connection->answered;
}
