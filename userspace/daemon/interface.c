#include "userspace/daemon/interface.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_BYTES 16384 /* of one interface, without statistics */

/* ---- rtnetlink -------------------------------------------------------------------------- */

struct question {
	struct nlmsghdr head;
	struct ifinfomsg link;
	struct rtattr mask_head;
	uint32_t mask;
	struct rtattr name_head;
	char name[IF_NAMESIZE];
};

static int ask(int fd, const char *name, int index)
{
	struct question question = {
		.head = {.nlmsg_len = sizeof(question),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST},
		.link = {.ifi_family = AF_UNSPEC, .ifi_index = name ? 0 : index},
		.mask_head = {.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = IFLA_EXT_MASK},
		.mask = RTEXT_FILTER_SKIP_STATS,
		.name_head = {.rta_len = RTA_LENGTH(IF_NAMESIZE), .rta_type = IFLA_IFNAME},
	};

	if (name)
		snprintf(question.name, IF_NAMESIZE, "%s", name);
	else
		question.head.nlmsg_len = offsetof(struct question, name_head);
	return send(fd, &question, question.head.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* The attribute of that type within another; NULL: none. */
static const struct rtattr *find_within(const struct rtattr *nest, unsigned short type)
{
	const struct rtattr *at = nest ? RTA_DATA(nest) : NULL;
	int left = nest ? RTA_PAYLOAD(nest) : 0;

	for (; RTA_OK(at, left); at = RTA_NEXT(at, left))
		if ((at->rta_type & NLA_TYPE_MASK) == type)
			return at;
	return NULL;
}

static bool is_ipvlan_l3(const struct rtattr *info)
{
	const struct rtattr *mode =
		find_within(find_within(info, IFLA_INFO_DATA), IFLA_IPVLAN_MODE);

	return mode && *(const uint16_t *)RTA_DATA(mode) != IPVLAN_MODE_L2;
}

static void read_kind(struct fg_interface *interface, const struct rtattr *info)
{
	const struct rtattr *at = find_within(info, IFLA_INFO_KIND);
	const char *kind = at ? RTA_DATA(at) : "";

	interface->veth = !strcmp(kind, "veth");
	if (!strcmp(kind, "bond"))
		interface->limit = FG_INTERFACE_BOND;
	else if (!strcmp(kind, "ipvlan") && is_ipvlan_l3(info))
		interface->limit = FG_INTERFACE_IPVLAN_L3;
}

static void read_attribute(struct fg_interface *interface, const struct rtattr *at)
{
	size_t size = RTA_PAYLOAD(at);

	switch (at->rta_type) {
	case IFLA_IFNAME:
		memcpy(interface->name, RTA_DATA(at), size < IF_NAMESIZE ? size : IF_NAMESIZE - 1);
		break;
	case IFLA_MTU:
		memcpy(&interface->mtu, RTA_DATA(at), sizeof(interface->mtu));
		break;
	case IFLA_ADDRESS:
		if (size == sizeof(interface->mac))
			memcpy(interface->mac, RTA_DATA(at), size);
		break;
	case IFLA_LINKINFO:
		read_kind(interface, at);
		break;
	}
}

static int read_answer(struct fg_interface *interface, const struct nlmsghdr *head, ssize_t got)
{
	const struct ifinfomsg *link = NLMSG_DATA(head);
	const struct rtattr *at = IFLA_RTA(link);
	int left = IFLA_PAYLOAD(head);

	if (!NLMSG_OK(head, (size_t)got))
		return -EBADMSG;
	if (head->nlmsg_type == NLMSG_ERROR)
		return ((const struct nlmsgerr *)NLMSG_DATA(head))->error;
	if (head->nlmsg_type != RTM_NEWLINK)
		return -EBADMSG;
	interface->index = link->ifi_index;
	interface->up = !!(link->ifi_flags & IFF_UP);
	for (; RTA_OK(at, left); at = RTA_NEXT(at, left))
		read_attribute(interface, at);
	if (link->ifi_flags & IFF_LOOPBACK)
		interface->limit = FG_INTERFACE_LOOPBACK;
	else if (link->ifi_type != ARPHRD_ETHER)
		interface->limit = FG_INTERFACE_NO_ETHERNET;
	return 0;
}

/* Receive queues of the interface; a driver that does not say has one. */
static uint32_t count_queues(const char *name)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq ifr = {.ifr_data = (void *)&channels};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t queues = 0;

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	if (fd >= 0 && !ioctl(fd, SIOCETHTOOL, &ifr))
		queues = channels.combined_count + channels.rx_count;
	if (fd >= 0)
		close(fd);
	return queues ? queues : 1;
}

int fg_interface_read(struct fg_interface *interface, const char *name, int index)
{
	char answer[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	int code, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t got;

	memset(interface, 0, sizeof(*interface));
	if (fd < 0)
		return -errno;
	code = ask(fd, name, index);
	if (!code) {
		got = recv(fd, answer, sizeof(answer), 0);
		code = got < 0 ? -errno
			       : read_answer(interface, (const struct nlmsghdr *)answer, got);
	}
	close(fd);
	if (!code)
		interface->queues = count_queues(interface->name);
	return code == -ENODEV ? 0 : code;
}

/* ---- what it is ------------------------------------------------------------------------- */

enum fg_mode fg_interface_fastest(const struct fg_interface *interface)
{
	switch (interface->limit) {
	case FG_INTERFACE_LOOPBACK:
	case FG_INTERFACE_NO_ETHERNET:
	case FG_INTERFACE_IPVLAN_L3:
		return FG_MODE_SOCKETS;
	case FG_INTERFACE_BOND:
		return FG_MODE_GENERIC;
	default:
		return FG_MODE_NATIVE;
	}
}

const char *fg_interface_limit(const struct fg_interface *interface)
{
	static const char *const limits[] = {
		[FG_INTERFACE_ANY] = "",
		[FG_INTERFACE_LOOPBACK] = "is a loopback device: the stack takes no answer from "
					  "AF_XDP there",
		[FG_INTERFACE_NO_ETHERNET] = "carries no Ethernet frames, and XDP reads no others",
		[FG_INTERFACE_BOND] = "is a bond: native XDP runs on its ports, and no answer "
				      "would leave",
		[FG_INTERFACE_IPVLAN_L3] = "is an ipvlan that routes: it sends no frame of AF_XDP",
	};

	return limits[interface->limit];
}

/* ---- changes ---------------------------------------------------------------------------- */

int fg_interface_watch(void)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int code, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (!bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fd;
	code = -errno;
	close(fd);
	return code;
}

/* What the messages say is not read: whoever is told looks at everything (and some were lost where
 * recv says ENOBUFS). */
bool fg_interface_changed(int watch)
{
	char byte;
	bool any = false;

	while (recv(watch, &byte, 1, MSG_TRUNC) >= 0 || errno == ENOBUFS || errno == EINTR)
		any = true;
	return any;
}
