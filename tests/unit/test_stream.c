/* userspace/protocol/stream: lengths at their bounds, and a stream cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include "userspace/protocol/stream.h"
#include "userspace/protocol/wire.h"

static void lengths_have_bounds(void **state)
{
	static const struct {
		uint32_t length;
		int result;
	} cases[] = {{0, -EPROTO},
		     {1, -EPROTO},
		     {FG_WIRE_HEADER_BYTES - 1, -EPROTO},
		     {FG_WIRE_HEADER_BYTES, 0},
		     {FG_WIRE_MAX_DATAGRAM, 0},
		     {FG_WIRE_MAX_DATAGRAM + 1, -EPROTO},
		     {65536, -EPROTO},
		     {INT32_MAX, -EPROTO},
		     {UINT32_MAX, -EPROTO}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t length = 77, whole = cases[i].result ? 4 : cases[i].length + 4;
		uint8_t *bytes = calloc(1, whole);

		fg_stream_prefix(bytes, cases[i].length);
		assert_int_equal(fg_stream_next(bytes, whole, &length), cases[i].result);
		assert_int_equal(length, cases[i].result ? 77 : cases[i].length);
		/* A bad length is known before anything follows it, a good one is waited for. */
		assert_int_equal(fg_stream_next(bytes, 4, &length),
				 cases[i].result ? -EPROTO : -EAGAIN);
		free(bytes);
	}
}

static void the_prefix_is_little_endian(void **state)
{
	const uint8_t wanted[] = {0x40, 0xe2, 0x01, 0x00};
	uint8_t prefix[4];

	(void)state;
	fg_stream_prefix(prefix, 123456);
	assert_memory_equal(prefix, wanted, 4);
}

/* Three messages; from any place on, more bytes are asked for until one is whole. */
static void waits_for_whole_messages(void **state)
{
	const uint32_t lengths[] = {64, 100, 65};
	uint8_t bytes[64 + 100 + 65 + 12];
	size_t total = 0, at = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		fg_stream_prefix(bytes + total, lengths[i]);
		memset(bytes + total + 4, i, lengths[i]);
		total += 4 + lengths[i];
	}
	assert_int_equal(total, sizeof(bytes));
	for (int i = 0; i < 3; i++) {
		uint32_t length = 0;

		for (size_t count = 0; count < 4 + lengths[i]; count++) {
			/* In memory of just that size, so that a sanitizer sees a byte too much. */
			uint8_t *cut = malloc(count + !count);

			memcpy(cut, bytes + at, count);
			assert_int_equal(fg_stream_next(cut, count, &length), -EAGAIN);
			free(cut);
		}
		assert_int_equal(fg_stream_next(bytes + at, total - at, &length), 0);
		assert_int_equal(length, lengths[i]);
		at += 4 + length;
	}
	assert_int_equal(fg_stream_next(bytes + at, 0, &(uint32_t){0}), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_have_bounds),
		cmocka_unit_test(the_prefix_is_little_endian),
		cmocka_unit_test(waits_for_whole_messages),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
