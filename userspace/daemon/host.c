#include "userspace/daemon/host.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static void add(struct fg_host *host, const uint32_t addr[4])
{
	uint32_t bit = fg_host_bit(addr[0] ^ addr[1] ^ addr[2] ^ addr[3]);

	host->addresses[bit / 64] |= 1ull << bit % 64;
}

static void add_v4(struct fg_host *host, uint32_t addr)
{
	const uint32_t mapped[4] = {0, 0, htonl(0xffff), addr};

	add(host, mapped);
}

static uint32_t v4_of(const struct sockaddr *address)
{
	return ((const struct sockaddr_in *)address)->sin_addr.s_addr;
}

/* The kernel takes the last address of a subnet for a broadcast too, whatever was configured. */
static void add_ipv4(struct fg_host *host, const struct ifaddrs *one)
{
	uint32_t addr = v4_of(one->ifa_addr);

	add_v4(host, addr);
	if (one->ifa_flags & IFF_BROADCAST && one->ifa_broadaddr)
		add_v4(host, v4_of(one->ifa_broadaddr));
	if (one->ifa_netmask && ntohl(~v4_of(one->ifa_netmask)) > 1)
		add_v4(host, addr | ~v4_of(one->ifa_netmask));
}

static bool read_mac(struct fg_host *host, const struct ifaddrs *one)
{
	const struct sockaddr_ll *link = (const struct sockaddr_ll *)one->ifa_addr;

	if (link->sll_halen != ETH_ALEN)
		return false;
	memcpy((uint8_t *)&host->mac + sizeof(host->mac) - ETH_ALEN, link->sll_addr, ETH_ALEN);
	return true;
}

int fg_host_read(const char *interface, struct fg_host *host)
{
	struct ifaddrs *all;
	bool found = false;

	memset(host, 0, sizeof(*host));
	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
		if (!one->ifa_addr)
			continue;
		if (one->ifa_addr->sa_family == AF_PACKET && !strcmp(one->ifa_name, interface))
			found = read_mac(host, one);
		else if (one->ifa_addr->sa_family == AF_INET)
			add_ipv4(host, one);
		else if (one->ifa_addr->sa_family == AF_INET6)
			add(host, (const uint32_t *)((const struct sockaddr_in6 *)one->ifa_addr)
					  ->sin6_addr.s6_addr32);
	}
	freeifaddrs(all);
	return found ? 0 : -ENODEV;
}
