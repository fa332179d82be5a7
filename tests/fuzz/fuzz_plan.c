/* Any bytes as a plan, with the size and the digest put right so that the other checks are
 * reached: what opens must run, on every ISA, without touching a byte outside its buffers. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "models/cpu.h"
#include "models/plan.h"
#include "models/plan_format.h"

#define ROWS	 7 /* a whole tile of rows and one left over */
#define MAX_WORK (UINT64_C(1) << 22)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void seal(char *bytes, size_t size)
{
	struct fg_plan_header *header = (struct fg_plan_header *)bytes;
	const size_t covered = offsetof(struct fg_plan_header, digest) + sizeof(header->digest);

	if (size < sizeof(*header))
		return;
	header->magic = FG_PLAN_MAGIC;
	header->version = FG_PLAN_VERSION;
	header->size = size;
	header->digest = XXH3_64bits(bytes + covered, size - covered);
}

/* Steps may share weights, so a small plan can ask for much work. */
static bool is_small(const struct fg_plan *plan)
{
	uint64_t work = fg_plan_scratch_bytes(plan, ROWS);

	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct fg_plan_step *step = &plan->steps[i];
		bool is_dense = step->kind == FG_STEP_DENSE;

		work += (uint64_t)step->groups *
			((uint64_t)step->in_cols * (is_dense ? step->out_cols : 1) +
			 step->out_cols);
	}
	return work * (1 + (plan->golden_rows + plan->header->warmup_rows) / ROWS) <= MAX_WORK;
}

static void *allocate(size_t bytes)
{
	void *at;

	if (posix_memalign(&at, FG_PLAN_ALIGN, bytes ? bytes : 1))
		abort();
	return at;
}

/* The plan's own bytes are rows as wild as any: NaN, denormals, and ids of no table. */
static float *make_rows(const struct fg_plan *plan)
{
	const size_t bytes = ROWS * plan->in_cols * sizeof(float);
	char *rows = allocate(bytes);

	for (size_t i = 0; i < bytes; i++)
		rows[i] = ((const char *)plan->header)[i % plan->header->size];
	return (float *)rows;
}

static void run_warmup(const struct fg_plan *plan, float *out, void *scratch)
{
	for (uint32_t i = 0; i < plan->warmup_count; i++) {
		uint32_t left, rows;
		const float *at = fg_plan_warmup(plan, i, &left);

		for (; left; left -= rows, at += (size_t)rows * plan->in_cols) {
			rows = left < ROWS ? left : ROWS;
			fg_plan_run(plan, at, rows, out, scratch);
		}
	}
}

static void run(const struct fg_plan *plan)
{
	float *in = make_rows(plan);
	float *out = allocate(ROWS * plan->out_cols * sizeof(float));
	void *scratch = allocate(fg_plan_scratch_bytes(plan, ROWS));
	struct fg_plan_refusal refusals[ROWS];
	struct fg_error error;
	char text[64];

	if (fg_plan_try(plan, in, ROWS, out, scratch, refusals))
		for (uint32_t row = 0; row < ROWS; row++)
			if (refusals[row].step)
				fg_plan_refusal_text(plan, &refusals[row], in + row * plan->in_cols,
						     text, sizeof(text));
	run_warmup(plan, out, scratch);
	free(scratch);
	scratch = allocate(fg_plan_golden_scratch_bytes(plan));
	fg_plan_check_golden(plan, scratch, &error);
	free(scratch);
	free(in);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_error error = {""};
	struct fg_plan plan;
	void *copy = allocate(length);

	memcpy(copy, bytes, length);
	seal(copy, length);
	for (size_t i = 0; fg_cpu_kernels(i); i++) {
		if (fg_plan_open_with(&plan, fg_cpu_kernels(i), copy, length, &error)) {
			if (!error.text[0])
				abort();
			break;
		}
		if (is_small(&plan))
			run(&plan);
	}
	free(copy);
	return 0;
}
