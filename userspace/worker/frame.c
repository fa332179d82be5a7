#include "userspace/worker/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <string.h>

#define UDP_BYTES 8

static uint16_t load16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, 2);
	return value;
}

/* RFC 1071: the sum may be taken in host order and in larger words, and folded at the end. */
static uint64_t sum_bytes(const uint8_t *at, size_t count, uint64_t sum)
{
	uint64_t word;
	uint32_t half = 0;

	for (; count >= 8; at += 8, count -= 8) {
		memcpy(&word, at, 8);
		sum += word & 0xffffffff;
		sum += word >> 32;
	}
	for (; count; at += 4, count -= count < 4 ? count : 4) {
		half = 0;
		memcpy(&half, at, count < 4 ? count : 4);
		sum += half;
	}
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint64_t sum_pseudo(const struct fg_frame *frame, uint16_t udp_bytes)
{
	const uint8_t *ip = frame->bytes + ETH_HLEN;
	uint64_t sum = frame->ipv6 ? sum_bytes(ip + 8, 32, 0) : sum_bytes(ip + 12, 8, 0);

	return sum + htons(IPPROTO_UDP) + htons(udp_bytes);
}

static int check_udp(const struct fg_frame *frame, uint16_t udp_bytes)
{
	const uint8_t *udp = frame->bytes + frame->transport;
	uint16_t field = load16(udp + 6);
	uint64_t pseudo = sum_pseudo(frame, udp_bytes);

	if (!field)
		return frame->ipv6 ? -EBADMSG : 0;
	if (fold(sum_bytes(udp, udp_bytes, pseudo)) == 0xffff || field == fold(pseudo))
		return 0;
	return -EBADMSG;
}

/* Checks the IP header behind the Ethernet header and finds frame->transport; `end`: bytes of the
 * frame. */
static int parse_ip(struct fg_frame *frame, uint32_t end)
{
	const uint8_t *ip = frame->bytes + ETH_HLEN;
	uint32_t header = frame->ipv6 ? sizeof(struct ip6_hdr) : sizeof(struct iphdr);
	uint32_t total;

	if (ETH_HLEN + header > end)
		return -EPROTO;
	if (frame->ipv6) {
		if (ip[0] >> 4 != 6 || ip[6] != IPPROTO_UDP)
			return -EPROTO;
		total = header + ntohs(load16(ip + 4));
	} else {
		if (ip[0] != 0x45 || ip[9] != IPPROTO_UDP ||
		    load16(ip + 6) & htons(IP_MF | IP_OFFMASK))
			return -EPROTO;
		total = ntohs(load16(ip + 2));
	}
	if (total < header + UDP_BYTES || ETH_HLEN + total > end)
		return -EPROTO;
	frame->transport = ETH_HLEN + header;
	return total - header;
}

int fg_frame_parse(struct fg_frame *frame, uint8_t *bytes, uint32_t length)
{
	uint16_t type, udp_bytes;
	int room;

	*frame = (struct fg_frame){.bytes = bytes};
	if (length < ETH_HLEN)
		return -EPROTO;
	type = load16(bytes + 12);
	if (type != htons(ETH_P_IP) && type != htons(ETH_P_IPV6))
		return -EPROTO;
	frame->ipv6 = type == htons(ETH_P_IPV6);
	room = parse_ip(frame, length);
	if (room < 0)
		return room;
	udp_bytes = ntohs(load16(bytes + frame->transport + 4));
	if (udp_bytes < UDP_BYTES || udp_bytes > room)
		return -EPROTO;
	frame->payload_bytes = udp_bytes - UDP_BYTES;
	return check_udp(frame, udp_bytes);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t count)
{
	uint8_t keep[16];

	memcpy(keep, a, count);
	memcpy(a, b, count);
	memcpy(b, keep, count);
}

static void answer_ip(uint8_t *ip, bool ipv6, uint16_t udp_bytes, uint16_t id)
{
	struct iphdr header;
	uint16_t total = htons(udp_bytes);

	if (ipv6) {
		swap_bytes(ip + 8, ip + 24, 16);
		memcpy(ip + 4, &total, 2);
		ip[7] = 64; /* hop limit */
		return;
	}
	memcpy(&header, ip, sizeof(header));
	header.tot_len = htons(sizeof(header) + udp_bytes);
	/* No DF: where a link on the way is smaller than ours, a router fragments, and no client
	 * waits for the one reply that would teach us so. Then the id counts (RFC 6864). */
	header.id = htons(id);
	header.frag_off = 0;
	header.ttl = 64;
	header.check = 0;
	memcpy(ip, &header, sizeof(header));
	swap_bytes(ip + 12, ip + 16, 4);
	header.check = ~fold(sum_bytes(ip, sizeof(header), 0));
	memcpy(ip + 10, &header.check, 2);
}

uint32_t fg_frame_answer(const struct fg_frame *frame, uint16_t payload_bytes, uint16_t id)
{
	uint8_t *udp = frame->bytes + frame->transport;
	uint16_t udp_bytes = payload_bytes + UDP_BYTES, length = htons(udp_bytes), check = 0;

	swap_bytes(frame->bytes, frame->bytes + ETH_ALEN, ETH_ALEN);
	answer_ip(frame->bytes + ETH_HLEN, frame->ipv6, udp_bytes, id);
	swap_bytes(udp, udp + 2, 2);
	memcpy(udp + 4, &length, 2);
	memcpy(udp + 6, &check, 2);
	check = ~fold(sum_bytes(udp, udp_bytes, sum_pseudo(frame, udp_bytes)));
	if (!check)
		check = 0xffff; /* RFC 768: 0 means no checksum */
	memcpy(udp + 6, &check, 2);
	return frame->transport + udp_bytes;
}
