/* Any datagram: what the parsers accept must lie inside it and convert without a bad read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/protocol/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void convert(const struct fg_wire_header *header, const uint8_t *bytes, size_t length)
{
	size_t count = (size_t)header->rows * header->cols;
	float *values;

	if (header->payload_bytes != count * fg_dtype_bytes(header->dtype) ||
	    header->payload_bytes > length - FG_WIRE_HEADER_BYTES)
		abort();
	values = malloc(count * sizeof(*values));
	if (!values)
		return;
	fg_wire_to_f32(values, bytes + FG_WIRE_HEADER_BYTES, header->dtype, count);
	free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_wire_header header;
	uint8_t status = 0xff;
	int error = fg_wire_parse_request(bytes, length, &header, &status);

	if (!error)
		convert(&header, bytes, length);
	else if (length >= FG_WIRE_HEADER_BYTES && memcmp(bytes, "FGP1\1\1", 6) == 0 &&
		 (status == FG_STATUS_OK || status >= FG_STATUS_COUNT))
		abort(); /* ours and wrong: must say what to answer */
	if (fg_wire_parse_reply(bytes, length, &header) == 0) {
		if (header.status == FG_STATUS_OK)
			convert(&header, bytes, length);
		else if (header.payload_bytes > length - FG_WIRE_HEADER_BYTES)
			abort();
	}
	return 0;
}
