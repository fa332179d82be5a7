#include "userspace/protocol/stream.h"

#include <errno.h>
#include <string.h>
#include "userspace/protocol/wire.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian");

int fg_stream_next(const void *bytes, size_t count, uint32_t *length)
{
	uint32_t announced;

	if (count < FG_STREAM_PREFIX_BYTES)
		return -EAGAIN;
	memcpy(&announced, bytes, sizeof(announced));
	if (announced < FG_WIRE_HEADER_BYTES || announced > FG_WIRE_MAX_DATAGRAM)
		return -EPROTO;
	if (count - FG_STREAM_PREFIX_BYTES < announced)
		return -EAGAIN;
	*length = announced;
	return 0;
}

void fg_stream_prefix(void *prefix, uint32_t length)
{
	memcpy(prefix, &length, sizeof(length));
}
