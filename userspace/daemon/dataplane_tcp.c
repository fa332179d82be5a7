#include "userspace/daemon/dataplane_tcp.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "userspace/daemon/port.h"

#define BACKLOG	     4096 /* the kernel takes no more than net.core.somaxconn */
#define OTHER_FILES  512  /* that a worker may have open beside connections */
#define ONLY_SERVICE 0

/*
 * A socket that listens, in that row of socks_tcp. `filter` (NULL: none) is there before a packet
 * can be.
 *
 * No TCP_DEFER_ACCEPT: a client may well connect long before its first request, and its handshake
 * would stay half open meanwhile, the SYN-ACK repeated, until it is forgotten.
 */
static int open_listener(const struct fg_dataplane *dataplane, uint16_t row, uint32_t listener,
			 const struct sock_fprog *filter, int *result)
{
	int fd, code = fg_port_bind(IPPROTO_TCP, &dataplane->config->listen_tcp[listener], true,
				    &fd);

	if (code)
		return code;
	if ((filter && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof(*filter))) ||
	    listen(fd, BACKLOG))
		code = -errno;
	else
		code = fg_steering_set_tcp(dataplane->steering, row, listener, fd);
	if (code)
		close(fd);
	else
		*result = fd;
	return code;
}

static int check_descriptors(const struct fg_config *config, struct fg_error *error)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_max >= config->connections + OTHER_FILES)
		return 0;
	return fg_error_set(error, -EMFILE,
			    "connections %u: a process may have only %llu files open: give fewer, "
			    "or raise RLIMIT_NOFILE (systemd: LimitNOFILE=) to %u",
			    config->connections, (unsigned long long)limit.rlim_max,
			    config->connections + OTHER_FILES);
}

int fg_dataplane_tcp_open(struct fg_dataplane *dataplane, const struct fg_predecessor *predecessor,
			  struct fg_error *error)
{
	const struct fg_config *config = dataplane->config;
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog drop = {.len = 1, .filter = &nothing};
	uint32_t count = config->listen_tcp_count, i;
	int code = 0;

	if (!count)
		return 0;
	code = check_descriptors(config, error);
	for (i = 0; !code && i < count; i++)
		code = fg_port_check(IPPROTO_TCP, &config->listen_tcp[i], predecessor, error);
	if (code)
		return code;
	for (i = 0; !code && i < count; i++) {
		code = fg_steering_listen_tcp(dataplane->steering, &config->listen_tcp[i],
					      ONLY_SERVICE, i);
		if (code)
			fg_error_set(error, code, "announcing a listener: %s", strerror(-code));
	}
	if (!code)
		code = fg_steering_load_tcp(dataplane->steering, error);
	for (i = 0; !code && i < count; i++) {
		code = open_listener(dataplane, FG_SINK_ROW, i, &drop, &dataplane->tcp_sinks[i]);
		if (code)
			fg_port_explain(IPPROTO_TCP, &config->listen_tcp[i], code, error);
	}
	return code;
}

/* fg_migrate belongs to the whole group, which a socket joins in listen(2): as for UDP, the sinks
 * stand for all. It is the last, because until fg_lookup chooses for us there is nobody to move to.
 */
int fg_dataplane_tcp_take(struct fg_dataplane *dataplane, bool *taken, struct fg_error *error)
{
	uint32_t count = dataplane->config->listen_tcp_count;
	int code = count ? fg_steering_attach_tcp(dataplane->steering, error) : 0;

	*taken = count && !code;
	for (uint32_t i = 0; *taken && i < count; i++)
		if (setsockopt(dataplane->tcp_sinks[i], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF,
			       &dataplane->steering->migrate, sizeof(int)))
			code = fg_error_set(error, -errno, "TCP sockets: %s", strerror(errno));
	return code;
}

static void close_listeners(struct fg_dataplane *dataplane, struct fg_dataplane_slot *slot)
{
	for (uint32_t i = 0; i < dataplane->config->listen_tcp_count; i++)
		if (slot->tcp[i] >= 0)
			close(slot->tcp[i]);
	slot->listening = false;
}

void fg_dataplane_tcp_close(struct fg_dataplane *dataplane)
{
	for (uint32_t i = 0; i < FG_MAX_SLOTS; i++)
		if (dataplane->slots[i].listening)
			close_listeners(dataplane, &dataplane->slots[i]);
	for (uint32_t i = 0; i < FG_MAX_LISTENERS; i++)
		if (dataplane->tcp_sinks[i] >= 0)
			close(dataplane->tcp_sinks[i]);
}

int fg_dataplane_tcp_open_slot(struct fg_dataplane *dataplane, uint16_t slot,
			       struct fg_error *error)
{
	struct fg_dataplane_slot *sockets = &dataplane->slots[slot];
	int code = 0;

	if (sockets->listening)
		return 0;
	memset(sockets->tcp, -1, sizeof(sockets->tcp));
	for (uint32_t i = 0; !code && i < dataplane->config->listen_tcp_count; i++) {
		code = open_listener(dataplane, slot, i, NULL, &sockets->tcp[i]);
		if (code)
			fg_port_explain(IPPROTO_TCP, &dataplane->config->listen_tcp[i], code,
					error);
	}
	if (code)
		close_listeners(dataplane, sockets);
	else
		sockets->listening = true;
	return code;
}

/* Would fg_migrate find a slot? As it does, this looks for one in the live table. */
static bool somebody_serves(const struct fg_dataplane *dataplane)
{
	union fg_slot slot;
	struct fg_table table;

	if (fg_steering_table(dataplane->steering, ONLY_SERVICE, &table))
		return false;
	for (uint32_t i = 0; i < FG_TABLE_PRIME; i++)
		if (!fg_steering_get_slot(dataplane->steering, table.slot[i], &slot) &&
		    slot.state == FG_SLOT_SERVING && dataplane->slots[table.slot[i]].listening)
			return true;
	return false;
}

/*
 * shutdown(2) and not only close(2): the ring of a worker that was killed may hold the socket for
 * some moments more. It takes the socket out of the map and the group, and moves its accept queue.
 */
void fg_dataplane_tcp_leave_slot(struct fg_dataplane *dataplane, uint16_t slot)
{
	struct fg_dataplane_slot *sockets = &dataplane->slots[slot];

	if (!sockets->listening || !somebody_serves(dataplane))
		return;
	for (uint32_t i = 0; i < dataplane->config->listen_tcp_count; i++)
		shutdown(sockets->tcp[i], SHUT_RD);
	close_listeners(dataplane, sockets);
}
