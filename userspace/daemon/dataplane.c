#include "userspace/daemon/dataplane.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_xdp.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "userspace/daemon/dataplane_interface.h"
#include "userspace/daemon/dataplane_tcp.h"
#include "userspace/daemon/port.h"
#include "userspace/shared/log.h"

/* ---- listeners -------------------------------------------------------------------------- */

static void set_port(struct sockaddr_storage *address, const struct sockaddr_storage *from)
{
	if (address->ss_family == AF_INET)
		((struct sockaddr_in *)address)->sin_port =
			((const struct sockaddr_in *)from)->sin_port;
	else
		((struct sockaddr_in6 *)address)->sin6_port =
			((const struct sockaddr_in6 *)from)->sin6_port;
}

/* XDP sees packets for other hosts too, so it must know the addresses behind a wildcard. */
static int announce_wildcard(const struct fg_dataplane *dataplane, uint32_t listener)
{
	const struct sockaddr_storage *wildcard = &dataplane->config->listen[listener];
	struct sockaddr_storage address;
	struct ifaddrs *all, *one;
	size_t size = wildcard->ss_family == AF_INET ? sizeof(struct sockaddr_in)
						     : sizeof(struct sockaddr_in6);
	int code = fg_steering_listen(dataplane->steering, wildcard, 0, listener);

	if (code || getifaddrs(&all))
		return code ? code : -errno;
	for (one = all; one && !code; one = one->ifa_next) {
		if (!one->ifa_addr || one->ifa_addr->sa_family != wildcard->ss_family ||
		    strcmp(one->ifa_name, dataplane->interface.name))
			continue;
		memset(&address, 0, sizeof(address));
		memcpy(&address, one->ifa_addr, size);
		set_port(&address, wildcard);
		code = fg_steering_listen(dataplane->steering, &address, 0, listener);
	}
	freeifaddrs(all);
	return code;
}

static int announce(const struct fg_dataplane *dataplane, uint32_t listener)
{
	const struct sockaddr_storage *address = &dataplane->config->listen[listener];

	if (fg_port_wildcard(address))
		return announce_wildcard(dataplane, listener);
	return fg_steering_listen(dataplane->steering, address, 0, listener);
}

int fg_dataplane_announce(const struct fg_dataplane *dataplane)
{
	int code = 0;

	for (uint32_t i = 0; !code && i < dataplane->config->listen_count; i++)
		code = announce(dataplane, i);
	return code;
}

/* A socket of listener's group, in that row of socks_udp. *fd is the caller's, also on failure. */
static int open_listener(const struct fg_dataplane *dataplane, uint16_t row, uint32_t listener,
			 int *fd)
{
	int code = fg_port_bind(IPPROTO_UDP, &dataplane->config->listen[listener], true, fd);

	return code ? code : fg_steering_set_udp(dataplane->steering, row, listener, *fd);
}

/* Datagrams that must get no answer end in a socket whose filter takes 0 bytes of each. */
static int open_sinks(struct fg_dataplane *dataplane, struct fg_error *error)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog filter = {.len = 1, .filter = &nothing};
	int code = 0;

	for (uint32_t i = 0; !code && i < dataplane->config->listen_count; i++) {
		code = open_listener(dataplane, FG_SINK_ROW, i, &dataplane->sinks[i]);
		if (!code && setsockopt(dataplane->sinks[i], SOL_SOCKET, SO_ATTACH_FILTER, &filter,
					sizeof(filter)))
			code = -errno;
	}
	return code ? fg_error_set(error, code, "UDP sink: %s", strerror(-code)) : 0;
}

/* The program belongs to the whole group, of which a sink is the first that we have, and the last:
 * sockets that join later find it there. So it is set once: a gateway that is about to leave its
 * group to another one must not set it again. */
static int take_udp(const struct fg_dataplane *dataplane, bool *taken, struct fg_error *error)
{
	int code = 0;

	for (uint32_t i = 0; i < dataplane->config->listen_count; i++) {
		if (!setsockopt(dataplane->sinks[i], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF,
				&dataplane->steering->reuseport, sizeof(int)))
			*taken = true;
		else
			code = fg_error_set(error, -errno, "UDP sockets: %s", strerror(errno));
		if (code && !*taken)
			break;
	}
	return code;
}

/* ---- opening ---------------------------------------------------------------------------- */

/* TCP first: a host may have too many programs of that kind. *taken: something was, and then all
 * that can be is, whatever fails. */
static int take_sockets(struct fg_dataplane *dataplane, bool *taken, struct fg_error *error)
{
	int code = fg_dataplane_tcp_take(dataplane, taken, error), other = 0;

	if (!code || *taken)
		other = take_udp(dataplane, taken, error);
	return code ? code : other;
}

int fg_dataplane_take(struct fg_dataplane *dataplane, int link, struct fg_error *error)
{
	bool taken = false;
	int code = take_sockets(dataplane, &taken, error);

	if (code && !taken) {
		if (link >= 0)
			close(link);
		return code;
	}
	if (code)
		fg_log(FG_LOG_ERROR, "replace.sockets reason=\"%s\" next=\"goes on\"", error->text);
	fg_dataplane_interface_take(dataplane, link);
	return 0;
}

int fg_dataplane_open(struct fg_dataplane *dataplane, const struct fg_config *config,
		      struct fg_steering *steering, const struct fg_predecessor *predecessor,
		      struct fg_error *error)
{
	bool beside = predecessor->pid, taken = false;
	int code = 0;

	memset(dataplane, 0, sizeof(*dataplane));
	dataplane->config = config;
	dataplane->steering = steering;
	dataplane->beside = beside;
	dataplane->watch = -1;
	memset(dataplane->sinks, -1, sizeof(dataplane->sinks));
	memset(dataplane->tcp_sinks, -1, sizeof(dataplane->tcp_sinks));
	for (uint32_t i = 0; !code && i < config->listen_count; i++)
		code = fg_port_check(IPPROTO_UDP, &config->listen[i], predecessor, error);
	if (!code) {
		code = fg_dataplane_announce(dataplane);
		if (code)
			fg_error_set(error, code, "announcing a listener: %s", strerror(-code));
	}
	for (uint32_t i = 0; !code && i < config->acl_count; i++) {
		code = fg_steering_acl(steering, &config->acl[i].address, config->acl[i].bits,
				       config->acl[i].action);
		if (code)
			fg_error_set(error, code, "access list: %s", strerror(-code));
	}
	if (!code)
		code = open_sinks(dataplane, error);
	if (!code)
		code = fg_dataplane_tcp_open(dataplane, predecessor, error);
	if (!code && !beside)
		code = take_sockets(dataplane, &taken, error);
	if (!code)
		code = fg_dataplane_interface_open(dataplane, error);
	if (code)
		fg_dataplane_close(dataplane);
	return code;
}

static void close_slot(struct fg_dataplane *dataplane, struct fg_dataplane_slot *slot)
{
	for (uint32_t i = 0; i < dataplane->config->listen_count; i++)
		if (slot->udp[i] >= 0)
			close(slot->udp[i]);
	slot->open = false;
}

void fg_dataplane_close(struct fg_dataplane *dataplane)
{
	for (uint32_t i = 0; i < FG_MAX_SLOTS; i++)
		if (dataplane->slots[i].open)
			close_slot(dataplane, &dataplane->slots[i]);
	if (!dataplane->config) /* never opened */
		return;
	for (uint32_t i = 0; i < FG_MAX_LISTENERS; i++)
		if (dataplane->sinks[i] >= 0)
			close(dataplane->sinks[i]);
	fg_dataplane_tcp_close(dataplane);
	fg_dataplane_interface_close(dataplane);
}

/* ---- slots ------------------------------------------------------------------------------ */

static int open_sockets(struct fg_dataplane *dataplane, uint16_t slot, struct fg_error *error)
{
	struct fg_dataplane_slot *sockets = &dataplane->slots[slot];
	int code = 0;

	if (sockets->open)
		return 0;
	memset(sockets->udp, -1, sizeof(sockets->udp));
	for (uint32_t i = 0; !code && i < dataplane->config->listen_count; i++) {
		code = open_listener(dataplane, slot, i, &sockets->udp[i]);
		if (code)
			fg_error_set(error, code, "UDP socket of slot %u: %s", slot,
				     strerror(-code));
	}
	if (code)
		close_slot(dataplane, sockets);
	else
		sockets->open = true;
	return code;
}

int fg_dataplane_open_slot(struct fg_dataplane *dataplane, uint16_t slot, struct fg_error *error)
{
	int code = open_sockets(dataplane, slot, error);

	if (!code)
		fg_dataplane_interface_open_slot(dataplane, slot);
	if (dataplane->slots[slot].vacant)
		fg_dataplane_tcp_leave_slot(dataplane, slot);
	if (!code)
		code = fg_dataplane_tcp_open_slot(dataplane, slot, error);
	if (!code)
		dataplane->slots[slot].vacant = false;
	return code;
}

void fg_dataplane_unlock_slot(struct fg_dataplane *dataplane, uint16_t slot)
{
	for (uint32_t queue = 0; queue < dataplane->queues; queue++)
		fg_umem_recover(&dataplane->umems[queue], slot + 1);
	dataplane->slots[slot].vacant = true;
}

uint32_t fg_dataplane_reclaim_slot(struct fg_dataplane *dataplane, uint16_t slot)
{
	struct fg_dataplane_slot *sockets = &dataplane->slots[slot];
	uint32_t lost = 0;
	char byte;

	if (!sockets->open)
		return 0;
	if (sockets->vacant)
		fg_dataplane_tcp_leave_slot(dataplane, slot);
	for (uint32_t queue = 0; queue < sockets->queues; queue++)
		lost += fg_xsk_reclaim(&sockets->xsks[queue]);
	for (uint32_t i = 0; i < dataplane->config->listen_count; i++)
		while (recv(sockets->udp[i], &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0)
			lost++;
	return lost;
}

void fg_dataplane_count_xsk(const struct fg_xsk *xsk, struct fg_state_drops *drops)
{
	struct xdp_statistics statistics = {0};
	socklen_t size = sizeof(statistics);

	if (getsockopt(xsk->fd, SOL_XDP, XDP_STATISTICS, &statistics, &size))
		return;
	drops->ring_full += statistics.rx_ring_full;
	drops->no_frame += statistics.rx_dropped + statistics.rx_fill_ring_empty_descs;
}

static void count_udp(int fd, struct fg_state_drops *drops)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(memory);

	if (!getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size))
		drops->socket_full += memory[SK_MEMINFO_DROPS];
}

void fg_dataplane_count_drops(const struct fg_dataplane *dataplane, struct fg_state_drops *drops)
{
	struct fg_state_drops sum = dataplane->gone;

	for (uint32_t i = 0; i < FG_MAX_SLOTS; i++) {
		const struct fg_dataplane_slot *slot = &dataplane->slots[i];

		for (uint32_t queue = 0; queue < slot->queues; queue++)
			fg_dataplane_count_xsk(&slot->xsks[queue], &sum);
		for (uint32_t k = 0; slot->open && k < dataplane->config->listen_count; k++)
			count_udp(slot->udp[k], &sum);
	}
	*drops = sum;
}
