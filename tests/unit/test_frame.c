/* Frames in, answers out: every header by hand, checksums against a plain RFC 1071 sum. */
#include <errno.h>
#include <linux/if_ether.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "userspace/worker/frame.h"

struct shape {
	int tags;
	bool ipv6;
};

static const struct shape shapes[] = {{0, false}, {0, true}};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value;
}

/* RFC 1071, word by word, big-endian. */
static uint32_t sum(const uint8_t *at, size_t count)
{
	uint32_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += i % 2 ? at[i] : at[i] << 8;
	return total;
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return total;
}

static uint32_t pseudo(const uint8_t *ip, bool ipv6, uint16_t udp_bytes)
{
	return (ipv6 ? sum(ip + 8, 32) : sum(ip + 12, 8)) + 17 + udp_bytes;
}

/* Writes a whole frame with `payload` random bytes; returns its length. */
static uint32_t build(uint8_t *bytes, struct shape shape, uint16_t payload)
{
	uint8_t *at = bytes + 12, *ip, *udp;
	uint16_t udp_bytes = payload + 8;

	for (int i = 0; i < 12; i++)
		bytes[i] = i + 1;
	for (int i = 0; i < shape.tags; i++, at += 4) {
		put16(at, shape.tags == 2 && !i ? 0x88a8 : 0x8100);
		put16(at + 2, 100 + i);
	}
	put16(at, shape.ipv6 ? 0x86dd : 0x0800);
	ip = at + 2;
	memset(ip, 0, 40);
	if (shape.ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, udp_bytes);
		ip[6] = 17;
		ip[7] = 9;
		for (int i = 8; i < 40; i++)
			ip[i] = rand();
	} else {
		ip[0] = 0x45;
		put16(ip + 2, 20 + udp_bytes);
		ip[8] = 9;
		ip[9] = 17;
		for (int i = 12; i < 20; i++)
			ip[i] = rand();
		put16(ip + 10, ~fold(sum(ip, 20)));
	}
	udp = ip + (shape.ipv6 ? 40 : 20);
	put16(udp, 40000);
	put16(udp + 2, 9000);
	put16(udp + 4, udp_bytes);
	put16(udp + 6, 0);
	for (int i = 0; i < payload; i++)
		udp[8 + i] = rand();
	put16(udp + 6, ~fold(sum(udp, udp_bytes) + pseudo(ip, shape.ipv6, udp_bytes)));
	return udp + udp_bytes - bytes;
}

static void answers_are_whole(void **state)
{
	uint8_t bytes[2048], before[2048];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct shape shape = shapes[i % SHAPES];
		uint32_t length = build(bytes, shape, 64 + rand() % 600), answer;
		uint16_t reply = rand() % 700;
		struct fg_frame frame;
		uint8_t *ip, *udp;

		memcpy(before, bytes, length);
		assert_int_equal(fg_frame_parse(&frame, bytes, length), 0);
		for (int k = 0; k < reply; k++)
			bytes[frame.transport + 8 + k] = rand();
		answer = fg_frame_answer(&frame, reply, i + 7);
		assert_int_equal(answer, frame.transport + 8 + reply);
		ip = bytes + ETH_HLEN;
		udp = bytes + frame.transport;
		assert_memory_equal(bytes, before + 6, 6);
		assert_memory_equal(bytes + 6, before, 6);
		assert_memory_equal(bytes + 12, before + 12, 2);
		assert_memory_equal(udp, before + frame.transport + 2, 2);
		assert_memory_equal(udp + 2, before + frame.transport, 2);
		if (shape.ipv6) {
			assert_memory_equal(ip + 8, before + ETH_HLEN + 24, 16);
			assert_memory_equal(ip + 24, before + ETH_HLEN + 8, 16);
			assert_int_equal(ip[7], 64);
		} else {
			assert_memory_equal(ip + 12, before + ETH_HLEN + 16, 4);
			assert_memory_equal(ip + 16, before + ETH_HLEN + 12, 4);
			assert_int_equal(fold(sum(ip, 20)), 0xffff);
			assert_int_equal(ip[8], 64);
			assert_int_equal(ip[4] << 8 | ip[5], i + 7);
			assert_int_equal(ip[6] | ip[7], 0); /* any router may fragment it */
		}
		assert_int_equal(fold(sum(udp, reply + 8) + pseudo(ip, shape.ipv6, reply + 8)),
				 0xffff);
		/* And the other side would take it. */
		assert_int_equal(fg_frame_parse(&frame, bytes, answer), 0);
		assert_int_equal(frame.payload_bytes, reply);
	}
}

static void checksums_are_verified(void **state)
{
	uint8_t bytes[2048];
	struct fg_frame frame;

	(void)state;
	for (size_t i = 0; i < SHAPES; i++) {
		uint32_t length = build(bytes, shapes[i], 101);
		uint8_t *udp;

		assert_int_equal(fg_frame_parse(&frame, bytes, length), 0);
		udp = bytes + frame.transport;
		for (uint32_t k = frame.transport + 8; k < length; k++) {
			bytes[k] ^= 0x10;
			assert_int_equal(fg_frame_parse(&frame, bytes, length), -EBADMSG);
			bytes[k] ^= 0x10;
		}
		/* What a sender leaves for hardware: the folded pseudo header. */
		put16(udp + 6, fold(pseudo(bytes + ETH_HLEN, shapes[i].ipv6, 109)));
		assert_int_equal(fg_frame_parse(&frame, bytes, length), 0);
		/* None at all: allowed over IPv4 only. */
		put16(udp + 6, 0);
		assert_int_equal(fg_frame_parse(&frame, bytes, length),
				 shapes[i].ipv6 ? -EBADMSG : 0);
	}
}

static void every_cut_is_refused(void **state)
{
	struct fg_frame frame;

	(void)state;
	for (size_t i = 0; i < SHAPES; i++) {
		uint8_t bytes[512];
		uint32_t length = build(bytes, shapes[i], 80);

		for (uint32_t cut = 0; cut < length; cut++) {
			/* Exactly as long as it says, so that ASan sees a read beyond it. */
			uint8_t *copy = malloc(cut ? cut : 1);

			memcpy(copy, bytes, cut);
			assert_int_equal(fg_frame_parse(&frame, copy, cut), -EPROTO);
			free(copy);
		}
	}
}

static void what_xdp_passes_up_is_refused(void **state)
{
	uint8_t bytes[512];
	struct fg_frame frame;
	uint32_t length;

	(void)state;
	length = build(bytes, shapes[0], 80);
	bytes[14] = 0x46; /* options */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	length = build(bytes, shapes[0], 80);
	bytes[20] = 0x20; /* more fragments */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	length = build(bytes, shapes[0], 80);
	bytes[21] = 1; /* fragment offset */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	length = build(bytes, shapes[0], 80);
	bytes[23] = 6; /* TCP */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	length = build(bytes, shapes[1], 80);
	bytes[20] = 60; /* destination options */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	length = build(bytes, shapes[0], 80);
	put16(bytes + 12, 0x0806); /* ARP */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	length = build(bytes, shapes[0], 80);
	put16(bytes + 38, 200); /* UDP longer than IP */
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	put16(bytes + 38, 7);
	assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	for (int tags = 1; tags <= 2; tags++) {
		length = build(bytes, (struct shape){tags, tags == 1}, 80);
		assert_int_equal(fg_frame_parse(&frame, bytes, length), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_whole),
		cmocka_unit_test(checksums_are_verified),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(what_xdp_passes_up_is_refused),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
