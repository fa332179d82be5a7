/*
 * echo: the floor under every round trip: a bare AF_XDP echo on one queue, spinning.
 *
 *	echo DEV CPU REPLY_BYTES     prints "ready", then echoes until SIGTERM
 *
 * A request's frame is cut to the reply's size, its addresses and ports swapped, and sent back. To
 * let `flipgate load` time it, 8 bytes are made to look like a reply of that size; no model is
 * run, no checksum is summed (UDP over IPv4 may go without), nobody else shares the frames.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "echo.skel.h"
#include "userspace/protocol/wire.h"
#include "userspace/shared/priority.h"
#include "userspace/shared/xsk.h"

#define FRAMES	4096
#define ENTRIES 2048
#define BATCH	64

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void die(const char *what, int code, const char *text)
{
	fprintf(stderr, "echo: %s: %s\n", what, text ? text : strerror(-code));
	exit(1);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t count)
{
	uint8_t keep[ETH_ALEN];

	memcpy(keep, a, count);
	memcpy(a, b, count);
	memcpy(b, keep, count);
}

static uint16_t ip_checksum(const struct iphdr *ip)
{
	uint16_t words[10];
	uint32_t sum = 0;

	memcpy(words, ip, sizeof(words));
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* Returns the reply frame's length. */
static uint32_t answer(uint8_t *bytes, uint16_t reply_bytes)
{
	struct iphdr *ip = (struct iphdr *)(bytes + ETH_HLEN);
	struct udphdr *udp = (struct udphdr *)(ip + 1);
	struct fg_wire_header *wire = (struct fg_wire_header *)(udp + 1);
	uint16_t payload = reply_bytes - FG_WIRE_HEADER_BYTES;

	swap_bytes(bytes, bytes + ETH_ALEN, ETH_ALEN);
	swap_bytes((uint8_t *)&ip->saddr, (uint8_t *)&ip->daddr, 4);
	swap_bytes((uint8_t *)&udp->source, (uint8_t *)&udp->dest, 2);
	ip->tot_len = htons(sizeof(*ip) + sizeof(*udp) + reply_bytes);
	ip->check = 0;
	ip->check = ip_checksum(ip);
	udp->len = htons(sizeof(*udp) + reply_bytes);
	udp->check = 0;
	wire->type = FG_WIRE_REPLY;
	wire->cols = payload / sizeof(float);
	wire->payload_bytes = payload;
	wire->model_version = 1;
	wire->generation = 1;
	return ETH_HLEN + sizeof(*ip) + sizeof(*udp) + reply_bytes;
}

static void serve(struct fg_xsk *xsk, uint16_t reply_bytes)
{
	struct fg_xsk_frame frames[BATCH];

	while (!stopped) {
		uint32_t count = fg_xsk_receive(xsk, frames, BATCH);

		for (uint32_t i = 0; i < count; i++)
			frames[i].length =
				answer(fg_xsk_bytes(xsk, frames[i].address), reply_bytes);
		if (count) {
			fg_xsk_send(xsk, frames, count);
			fg_xsk_kick(xsk);
		}
		fg_umem_recycle(xsk->umem, 1, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	struct fg_umem umem;
	struct fg_xsk xsk;
	struct fg_error error = {""};
	struct echo_bpf *bpf;
	struct bpf_link *link;
	uint32_t zero = 0;
	int ifindex, code;

	if (argc != 4)
		die("usage", 0, "echo DEV CPU REPLY_BYTES");
	ifindex = if_nametoindex(argv[1]);
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	fg_priority_pin(atoi(argv[2]));
	bpf = echo_bpf__open_and_load();
	if (!bpf)
		die("loading", -errno, NULL);
	code = fg_umem_open(&umem, ifindex, 0, FRAMES, false, &error);
	if (!code)
		code = fg_xsk_open(&xsk, &umem, ifindex, 0, 0, ENTRIES, &error);
	if (code)
		die(argv[1], code, error.text);
	code = bpf_map_update_elem(bpf_map__fd(bpf->maps.echo_socks), &zero, &xsk.fd, 0);
	link = bpf_program__attach_xdp(bpf->progs.fg_echo, ifindex);
	if (code || !link)
		die("attaching", -errno, NULL);
	puts("ready");
	fflush(stdout);
	serve(&xsk, atoi(argv[3]));
	bpf_link__destroy(link);
	echo_bpf__destroy(bpf);
	fg_xsk_close(&xsk);
	fg_umem_close(&umem);
	return 0;
}
