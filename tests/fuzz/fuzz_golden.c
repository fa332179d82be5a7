/* Any file as golden.json (first byte 0) or golden.npz: what is read must be there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "models/golden_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void use(const struct fg_golden_part *parts, uint32_t count, uint32_t rows)
{
	volatile float last;

	for (uint32_t i = 0; i < count; i++) {
		if (parts[i].cols == 0 || rows == 0 || (count > 1 && !parts[i].name))
			abort();
		last = parts[i].rows[(size_t)rows * parts[i].cols - 1];
	}
	(void)last;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct fg_golden golden;
	struct fg_arena arena = {0};
	struct fg_error error;
	int result;

	if (!length)
		return 0;
	memset(&golden, 0, sizeof(golden));
	if (bytes[0])
		result = fg_golden_read_npz(&golden, bytes + 1, length - 1, &arena, &error);
	else
		result = fg_golden_read_json(&golden, bytes + 1, length - 1, &arena, &error);
	if (!result) {
		use(golden.inputs, golden.input_count, golden.rows);
		use(golden.outputs, golden.output_count, golden.rows);
	}
	fg_arena_free(&arena);
	return 0;
}
