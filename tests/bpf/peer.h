/*
 * peer.h: a TCP client made of raw frames, which can stop in the middle of a handshake. It sits at
 * the other end of a veth pair, where nobody else answers.
 */
#ifndef FG_TESTS_BPF_PEER_H
#define FG_TESTS_BPF_PEER_H

#include "tests/bpf/fixture.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>

#define SERVER_V4 "10.9.0.1"
#define CLIENT_V4 "10.9.0.2"
#define SERVER_V6 "fd09::1"
#define CLIENT_V6 "fd09::2"

static int wire; /* AF_PACKET socket at the client's end */
static uint8_t server_mac[6], client_mac[6];

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct peer {
	bool v6;
	uint16_t sport, dport;
	uint32_t seq, ack;
};

static inline uint32_t sum_words(const uint8_t *bytes, size_t count)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static inline uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	value = htonl(value);
	memcpy(at, &value, 4);
}

static inline uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return ntohl(value);
}

/* Writes the IP header; returns its length and the sum of the pseudo header. */
static inline size_t put_ip(uint8_t *ip, const struct peer *peer, size_t room, uint32_t *sum)
{
	*sum = IPPROTO_TCP + room;
	if (peer->v6) {
		ip[0] = 0x60;
		fx_put16(ip + 4, room);
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
		inet_pton(AF_INET6, CLIENT_V6, ip + 8);
		inet_pton(AF_INET6, SERVER_V6, ip + 24);
		*sum += sum_words(ip + 8, 32);
		return 40;
	}
	ip[0] = 0x45;
	fx_put16(ip + 2, 20 + room);
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	inet_pton(AF_INET, CLIENT_V4, ip + 12);
	inet_pton(AF_INET, SERVER_V4, ip + 16);
	*sum += sum_words(ip + 12, 8);
	fx_put16(ip + 10, fold(sum_words(ip, 20)));
	return 20;
}

static inline void peer_send(struct peer *peer, int flags, const char *text)
{
	uint8_t frame[200] = {0}, *tcp;
	size_t length = strlen(text), room = 20 + length;
	uint32_t sum;

	memcpy(frame, server_mac, 6);
	memcpy(frame + 6, client_mac, 6);
	fx_put16(frame + 12, peer->v6 ? ETH_P_IPV6 : ETH_P_IP);
	tcp = frame + 14 + put_ip(frame + 14, peer, room, &sum);
	fx_put16(tcp, peer->sport);
	fx_put16(tcp + 2, peer->dport);
	put32(tcp + 4, peer->seq);
	put32(tcp + 8, flags & ACK ? peer->ack : 0);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	fx_put16(tcp + 14, 60000);
	memcpy(tcp + 20, text, length);
	fx_put16(tcp + 16, fold(sum + sum_words(tcp, room)));
	assert_int_equal(send(wire, frame, tcp + room - frame, 0), tcp + room - frame);
	peer->seq += length + !!(flags & (SYN | FIN));
}

/* The flags of the next segment for this peer, or 0 after wait_ms. */
static inline int peer_receive(struct peer *peer, int wait_ms)
{
	struct pollfd polled = {.fd = wire, .events = POLLIN};
	uint8_t frame[2000];

	while (poll(&polled, 1, wait_ms) == 1) {
		ssize_t got = recv(wire, frame, sizeof(frame), 0);
		uint8_t *tcp = frame + 14 + (peer->v6 ? 40 : 20);
		uint8_t proto = frame[14 + (peer->v6 ? 6 : 9)];

		if (got < tcp + 20 - frame || proto != IPPROTO_TCP ||
		    memcmp(frame, client_mac, 6) || (frame[14] >> 4 == 6) != peer->v6 ||
		    (tcp[2] << 8 | tcp[3]) != peer->sport)
			continue;
		if (tcp[13] & SYN)
			peer->ack = get32(tcp + 4) + 1;
		return tcp[13];
	}
	return 0;
}

static inline void read_mac(const char *device, uint8_t mac[6])
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(request.ifr_name, device);
	fx_must(!ioctl(fd, SIOCGIFHWADDR, &request), device);
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
	close(fd);
}

/* v0 is the gateway's; at v1 nobody but this program answers. */
static inline void make_wire(void)
{
	struct sockaddr_ll there = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	char command[300];

	fx_must(!system("/sbin/ip link add v0 type veth peer name v1 && "
			"/sbin/ip addr add " SERVER_V4 "/24 dev v0 && "
			"/sbin/ip addr add " SERVER_V6 "/64 dev v0 nodad && "
			"/sbin/ip link set v0 up && /sbin/ip link set v1 up"),
		"veth");
	read_mac("v0", server_mac);
	read_mac("v1", client_mac);
	snprintf(command, sizeof(command),
		 "mac=%02x:%02x:%02x:%02x:%02x:%02x; "
		 "/sbin/ip neigh add " CLIENT_V4 " lladdr $mac dev v0 && "
		 "/sbin/ip neigh add " CLIENT_V6 " lladdr $mac dev v0",
		 client_mac[0], client_mac[1], client_mac[2], client_mac[3], client_mac[4],
		 client_mac[5]);
	fx_must(!system(command), "neighbours");
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	there.sll_ifindex = if_nametoindex("v1");
	fx_must(wire >= 0 && !bind(wire, (struct sockaddr *)&there, sizeof(there)), "AF_PACKET");
}

#endif
