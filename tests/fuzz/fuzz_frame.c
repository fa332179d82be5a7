/* Any frame: what the parser takes lies inside it, and the answer to it is such a frame again, with
 * addresses and ports swapped and the same payload. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/worker/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define UDP_BYTES    8
#define CHECKSUM_AT  6
#define ADDRESSES_V4 26 /* of the Ethernet frame */
#define ADDRESSES_V6 22

/* A wrong checksum hides what comes behind: IPv4 may do without one. */
static int parse(struct fg_frame *frame, uint8_t *bytes, uint32_t length)
{
	int code = fg_frame_parse(frame, bytes, length);

	if (code != -EBADMSG || frame->ipv6)
		return code;
	memset(bytes + frame->transport + CHECKSUM_AT, 0, 2);
	return fg_frame_parse(frame, bytes, length);
}

static void check_answer(const struct fg_frame *asked, const uint8_t *before, uint32_t length)
{
	uint32_t at = asked->ipv6 ? ADDRESSES_V6 : ADDRESSES_V4, size = asked->ipv6 ? 16 : 4;
	uint32_t answer = fg_frame_answer(asked, asked->payload_bytes, 7);
	struct fg_frame again;

	if (answer > length || fg_frame_parse(&again, asked->bytes, answer) ||
	    again.payload_bytes != asked->payload_bytes || again.ipv6 != asked->ipv6 ||
	    again.transport != asked->transport)
		abort();
	if (memcmp(asked->bytes + at, before + at + size, size) ||
	    memcmp(asked->bytes + at + size, before + at, size) ||
	    memcmp(asked->bytes, before + 6, 6) || memcmp(asked->bytes + 6, before, 6) ||
	    memcmp(asked->bytes + asked->transport, before + asked->transport + 2, 2) ||
	    memcmp(asked->bytes + asked->transport + UDP_BYTES,
		   before + asked->transport + UDP_BYTES, asked->payload_bytes))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	uint8_t *frame = malloc(length ? length : 1), *before = malloc(length ? length : 1);
	struct fg_frame found = {0};

	if (!frame || !before)
		abort();
	memcpy(frame, bytes, length);
	if (!parse(&found, frame, (uint32_t)length)) {
		if ((size_t)found.transport + UDP_BYTES + found.payload_bytes > length)
			abort();
		memcpy(before, frame, length);
		check_answer(&found, before, (uint32_t)length);
	}
	free(before);
	free(frame);
	return 0;
}
