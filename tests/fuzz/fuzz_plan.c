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
	header->size = size;
	header->digest = XXH3_64bits(bytes + covered, size - covered);
}

/* Steps may share weights, so a small plan can ask for much work. */
static bool is_small(const struct fg_plan *plan)
{
	const struct fg_plan_step *steps = (const struct fg_plan_step *)(plan->header + 1);
	uint64_t work = fg_plan_scratch_bytes(plan, ROWS);

	for (uint32_t i = 0; i < plan->header->step_count; i++)
		work += (uint64_t)steps[i].in_cols *
			(steps[i].kind == FG_STEP_DENSE ? steps[i].out_cols : 1);
	return work * (1 + plan->golden_rows / ROWS) <= MAX_WORK;
}

static void run(const struct fg_plan *plan)
{
	float *in = calloc(ROWS, plan->in_cols * sizeof(float));
	float *out = calloc(ROWS, plan->out_cols * sizeof(float));
	size_t scratch_bytes = fg_plan_scratch_bytes(plan, ROWS);
	size_t golden_bytes = fg_plan_golden_scratch_bytes(plan);
	struct fg_error error;
	void *scratch;

	if (!in || !out)
		abort();
	if (posix_memalign(&scratch, 64, scratch_bytes ? scratch_bytes : 1))
		abort();
	fg_plan_run(plan, in, ROWS, out, scratch);
	free(scratch);
	if (posix_memalign(&scratch, 64, golden_bytes ? golden_bytes : 1))
		abort();
	fg_plan_check_golden(plan, scratch, &error);
	free(scratch);
	free(in);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_error error = {""};
	struct fg_plan plan;
	void *copy;

	if (posix_memalign(&copy, FG_PLAN_ALIGN, length ? length : 1))
		abort();
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
