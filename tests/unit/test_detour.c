/* Which replies take the detour; and real ones, over loopback, from the address that was asked. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "userspace/worker/detour.h"

#define LISTENERS 4

static _Atomic uint32_t mtu = 1500;

static void needed(bool ipv6, uint32_t interface_mtu, uint32_t ip_bytes, bool expected)
{
	struct fg_frame frame = {.transport = ETH_HLEN + (ipv6 ? 40 : 20), .ipv6 = ipv6};
	struct fg_detour detour = {.mtu = &mtu};

	mtu = interface_mtu;
	assert_int_equal(fg_detour_is_needed(&detour, &frame, ip_bytes - (ipv6 ? 48 : 28)),
			 expected);
}

static void what_surely_fits_does_not(void **state)
{
	(void)state;
	needed(false, 1500, 1500, false);
	needed(false, 1500, 1501, true);
	needed(false, 576, 576, false);
	needed(false, 576, 577, true);
	needed(false, 3500, 3500, false);
	needed(true, 1500, 1280, false);
	needed(true, 1500, 1281, true);
	needed(true, 9000, 1281, true);
	needed(true, 1000, 1001, true); /* no MTU for IPv6; then it stays the stack's to say */
}

struct party {
	struct sockaddr_storage address;
	int fd;
};

static struct sockaddr_storage parse(const char *text, uint16_t port)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	v4->sin_port = htons(port);
	return address;
}

/* Binds to a port that the kernel chooses, or to `port`. */
static struct party listen_at(const char *text, uint16_t port)
{
	struct party party = {.address = parse(text, port)};
	socklen_t size = sizeof(party.address);
	int one = 1;

	party.fd = socket(party.address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(party.fd >= 0);
	if (party.address.ss_family == AF_INET6)
		setsockopt(party.fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	assert_int_equal(bind(party.fd, (struct sockaddr *)&party.address, size), 0);
	assert_int_equal(getsockname(party.fd, (struct sockaddr *)&party.address, &size), 0);
	return party;
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
	return ntohs(((const struct sockaddr_in *)address)->sin_port);
}

/* A request's headers, from `client` to `own`:`port`. */
static struct fg_frame request(uint8_t *bytes, const struct party *client, const char *own,
			       uint16_t port)
{
	bool ipv6 = client->address.ss_family == AF_INET6;
	struct sockaddr_storage target = parse(own, port);
	struct fg_frame frame = {.bytes = bytes,
				 .transport = ETH_HLEN + (ipv6 ? 40 : 20),
				 .ipv6 = ipv6};
	uint8_t *udp = bytes + frame.transport;

	memset(bytes, 0, frame.transport);
	if (ipv6) {
		memcpy(bytes + ETH_HLEN + 8,
		       &((const struct sockaddr_in6 *)&client->address)->sin6_addr, 16);
		memcpy(bytes + ETH_HLEN + 24, &((struct sockaddr_in6 *)&target)->sin6_addr, 16);
	} else {
		memcpy(bytes + ETH_HLEN + 12,
		       &((const struct sockaddr_in *)&client->address)->sin_addr, 4);
		memcpy(bytes + ETH_HLEN + 16, &((struct sockaddr_in *)&target)->sin_addr, 4);
	}
	memcpy(udp, &((const struct sockaddr_in *)&client->address)->sin_port, 2);
	memcpy(udp + 2, &((struct sockaddr_in *)&target)->sin_port, 2);
	return frame;
}

/* One reply to a client at `from` that asked own:port; it comes from there, whole. */
static void answered(const struct fg_detour *detour, const char *from, const char *own,
		     uint16_t port)
{
	struct party client = listen_at(from, 0);
	uint8_t bytes[3000], got[3000];
	struct fg_frame frame = request(bytes, &client, own, port);
	struct sockaddr_storage wanted = parse(own, port), source = {0};
	struct pollfd polled = {.fd = client.fd, .events = POLLIN};
	socklen_t size = sizeof(source);

	for (int i = 0; i < 2000; i++)
		bytes[frame.transport + 8 + i] = i * 7;
	assert_int_equal(fg_detour_send(detour, &frame, 2000), 0);
	assert_int_equal(poll(&polled, 1, 2000), 1);
	assert_int_equal(recvfrom(client.fd, got, sizeof(got), 0, (struct sockaddr *)&source,
				  &size),
			 2000);
	assert_memory_equal(got, bytes + frame.transport + 8, 2000);
	assert_memory_equal(&source, &wanted, size);
	close(client.fd);
}

static void replies_come_from_the_address_asked(void **state)
{
	struct party parties[LISTENERS] = {listen_at("127.0.0.1", 0), listen_at("::1", 0),
					   listen_at("0.0.0.0", 0), listen_at("::", 0)};
	struct sockaddr_storage addresses[LISTENERS];
	int sockets[LISTENERS];
	const struct fg_detour detour = {.mtu = &mtu,
					 .listeners = addresses,
					 .sockets = sockets,
					 .listener_count = LISTENERS};
	struct fg_frame frame;
	uint8_t bytes[200];

	(void)state;
	for (int i = 0; i < LISTENERS; i++) {
		addresses[i] = parties[i].address;
		sockets[i] = parties[i].fd;
	}
	answered(&detour, "127.0.0.9", "127.0.0.1", port_of(&addresses[0]));
	answered(&detour, "::1", "::1", port_of(&addresses[1]));
	answered(&detour, "127.0.0.9", "127.0.0.5", port_of(&addresses[2]));
	answered(&detour, "::1", "::1", port_of(&addresses[3]));
	frame = request(bytes, &parties[0], "127.0.0.5", port_of(&addresses[0]));
	assert_int_equal(fg_detour_send(&detour, &frame, 10), -EADDRNOTAVAIL);
	frame = request(bytes, &parties[0], "192.0.2.1", port_of(&addresses[2]));
	assert_true(fg_detour_send(&detour, &frame, 10) < 0); /* not an address of this host */
	for (int i = 0; i < LISTENERS; i++)
		close(parties[i].fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_surely_fits_does_not),
		cmocka_unit_test(replies_come_from_the_address_asked),
	};

	return cmocka_run_group_tests_name("detour", tests, NULL, NULL);
}
