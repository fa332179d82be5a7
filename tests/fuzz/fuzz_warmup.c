/*
 * Any bytes as tf_serving_warmup_requests, for a model of one input (the first byte is even) or of
 * two. Checksums are put right, so that what is behind them is reached, unless the first byte is
 * above 127. What is read must be there, and make a plan that opens.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "models/compile_plan.h"
#include "models/kernels.h"
#include "models/plan_format.h"
#include "models/tfrecord.h"
#include "models/warmup.h"

#define PLAN_BYTES 1024

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void put_checksum(uint8_t *at, size_t size)
{
	uint32_t crc = fg_tfrecord_crc32c(at, size);

	crc = (crc >> 15 | crc << 17) + 0xa282ead8u;
	memcpy(at + size, &crc, sizeof(crc));
}

static void put_checksums(uint8_t *at, size_t left)
{
	uint64_t size;

	while (left >= 16) {
		memcpy(&size, at, sizeof(size));
		put_checksum(at, sizeof(size));
		if (size > left - 16)
			return;
		put_checksum(at + 12, size);
		at += size + 16;
		left -= size + 16;
	}
}

static struct fg_plan_port make_port(const char *name, uint32_t first, uint32_t cols)
{
	struct fg_plan_port port = {.first = first, .cols = cols, .rank = 1, .dims = {cols}};

	strcpy(port.name, name);
	return port;
}

/* The plan of y = x (9), or of y = numbers (5) and category (1) side by side: one step, no weights.
 */
static void *make_plan(bool two)
{
	const uint32_t cols = two ? 6 : 9;
	const size_t covered = offsetof(struct fg_plan_header, in_cols);
	struct fg_plan_header *header;
	struct fg_plan_port *next;
	void *plan;

	if (posix_memalign(&plan, FG_PLAN_ALIGN, PLAN_BYTES))
		abort();
	memset(plan, 0, PLAN_BYTES);
	header = plan;
	*header = (struct fg_plan_header){.magic = FG_PLAN_MAGIC,
					  .version = FG_PLAN_VERSION,
					  .size = PLAN_BYTES,
					  .in_cols = cols,
					  .out_cols = cols,
					  .input_count = two ? 2 : 1,
					  .output_count = 1,
					  .step_count = 1,
					  .golden_inputs = PLAN_BYTES,
					  .golden_outputs = PLAN_BYTES,
					  .golden_tolerance = 1};
	next = (struct fg_plan_port *)fg_plan_ports(header);
	*next++ = two ? make_port("numbers", 0, 5) : make_port("x", 0, 9);
	if (two)
		*next++ = make_port("category", 5, 1);
	*next = make_port("y", 0, cols);
	*(struct fg_plan_step *)fg_plan_steps(header) =
		(struct fg_plan_step){.kind = FG_STEP_ACTIVATION,
				      .in = {FG_PLACE_INPUT, 0},
				      .out = {FG_PLACE_OUTPUT, 0},
				      .groups = 1,
				      .in_cols = cols,
				      .out_cols = cols};
	header->digest = XXH3_64bits((char *)plan + covered, PLAN_BYTES - covered);
	return plan;
}

static void use(void **bytes, const struct fg_warmup *warmup)
{
	size_t size = PLAN_BYTES;
	struct fg_plan plan;
	uint32_t rows, all = 0;

	if (fg_plan_add_warmup(bytes, &size, warmup, NULL) ||
	    fg_plan_open_with(&plan, &fg_kernels_c, *bytes, size, NULL) ||
	    plan.warmup_count != warmup->count)
		abort();
	for (uint32_t i = 0; i < plan.warmup_count; i++) {
		const float *in = fg_plan_warmup(&plan, i, &rows);

		if (memcmp(in, warmup->inputs + (size_t)all * plan.in_cols,
			   (size_t)rows * plan.in_cols * sizeof(*in)))
			abort();
		all += rows;
	}
	if (all != warmup->rows)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_error error = {""};
	struct fg_arena arena = {0};
	struct fg_warmup warmup;
	struct fg_plan plan;
	uint8_t *copy;
	void *made;

	if (!length)
		return 0;
	copy = malloc(length);
	made = make_plan(bytes[0] & 1);
	if (!copy || fg_plan_open_with(&plan, &fg_kernels_c, made, PLAN_BYTES, NULL))
		abort();
	memcpy(copy, bytes + 1, length - 1);
	if (bytes[0] < 128)
		put_checksums(copy, length - 1);
	if (fg_warmup_read(&warmup, &plan, copy, length - 1, &arena, &error)) {
		if (!error.text[0])
			abort();
	} else if (warmup.count) {
		use(&made, &warmup);
	}
	free(copy);
	free(made);
	fg_arena_free(&arena);
	return 0;
}
