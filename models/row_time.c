#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include "models/cpu.h"
#include "models/inspect_step.h"
#include "models/plan_format.h"
#include "models/row_time.h"

#define PATIENCE_NS	5000000000ull /* for one run */
#define CLOSE_NS	2000000000ull /* for all, while less than twice the bound was measured */
#define FAR_NS		200000000ull /* ... or more: a first run meets page faults and cold caches */
#define REFERENCE_TIMES 40	     /* the C reference takes so many times longer, at most */

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* One row and room to run it. */
struct row {
	const struct fg_plan *plan;
	const float *in;
	float *out;
	void *scratch;
};

/* Of one run step by step. */
struct steps {
	uint64_t ns;
	uint32_t count; /* that were run before PATIENCE_NS were over */
	uint32_t slowest;
	uint64_t slowest_ns;
};

static int open_row(struct row *row, const struct fg_plan *plan, const float *in)
{
	const size_t out_bytes = (plan->out_cols * sizeof(float) + FG_PLAN_ALIGN - 1) /
				 FG_PLAN_ALIGN * FG_PLAN_ALIGN;

	*row = (struct row){
		.plan = plan,
		.in = in,
		.scratch = aligned_alloc(FG_PLAN_ALIGN, fg_plan_scratch_bytes(plan, 1) + out_bytes),
	};
	if (!row->scratch)
		return -ENOMEM;
	row->out = (float *)((char *)row->scratch + fg_plan_scratch_bytes(plan, 1));
	return 0;
}

static struct steps run_steps(const struct row *row)
{
	const uint64_t start_ns = cpu_ns();
	struct steps steps = {0};

	while (steps.count < row->plan->step_count && steps.ns < PATIENCE_NS) {
		uint64_t before_ns = steps.ns, step_ns;

		fg_plan_run_step(row->plan, steps.count, row->in, 1, row->out, row->scratch);
		steps.ns = cpu_ns() - start_ns;
		step_ns = steps.ns - before_ns;
		if (step_ns > steps.slowest_ns) {
			steps.slowest = steps.count;
			steps.slowest_ns = step_ns;
		}
		steps.count++;
	}
	return steps;
}

static uint64_t run_all(const struct row *row)
{
	const uint64_t start_ns = cpu_ns();

	fg_plan_run(row->plan, row->in, 1, row->out, row->scratch);
	return cpu_ns() - start_ns;
}

static uint64_t shortest_ns(const struct row *row, uint64_t first_ns, uint64_t most_ns)
{
	uint64_t best_ns = first_ns, spent_ns = first_ns;

	while (best_ns > most_ns && spent_ns < (best_ns < 2 * most_ns ? CLOSE_NS : FAR_NS)) {
		uint64_t ns = run_all(row);

		spent_ns += ns;
		best_ns = ns < best_ns ? ns : best_ns;
	}
	return best_ns;
}

static int refuse(const struct fg_plan *plan, const struct steps *steps, uint64_t ns,
		  uint64_t most_ns, struct fg_error *error)
{
	const struct fg_plan_step *slowest = &plan->steps[steps->slowest];
	const bool whole = steps->count == plan->step_count;
	char shape[FG_INSPECT_SHAPE];

	return fg_error_set(
		error, -ETIME,
		"a row takes %s%.4g ms, at most %.4g ms are allowed (max-row), as other "
		"models wait for it; step %u of %u, \"%s\" (%s, %s), takes most: %.4g ms",
		whole ? "" : "more than ", (double)ns / 1e6, (double)most_ns / 1e6,
		steps->slowest + 1, plan->step_count, slowest->label, fg_inspect_kind(slowest),
		fg_inspect_shape(slowest, shape), (double)steps->slowest_ns / 1e6);
}

static uint64_t reference_ns(const struct row *row)
{
	struct fg_plan reference = *row->plan;
	struct row slow = *row;

	reference.kernels = &fg_kernels_c;
	slow.plan = &reference;
	return run_steps(&slow).ns;
}

/* The packer runs them with all kernels, and twice with the slowest. */
static int check_golden(const struct row *row, uint64_t ns, struct fg_error *error)
{
	const struct fg_plan *plan = row->plan;
	double golden_ns;

	if (!plan->header->golden_shipped ||
	    2 * REFERENCE_TIMES * ns * plan->golden_rows < FG_ROW_TIME_GOLDEN_NS)
		return 0;
	golden_ns = 2.0 * (double)reference_ns(row) * plan->golden_rows;
	if (golden_ns <= (double)FG_ROW_TIME_GOLDEN_NS)
		return 0;
	return fg_error_set(
		error, -EINVAL,
		"checking %u golden rows would take %.0f s, at most %.0f s are allowed: "
		"ship fewer",
		plan->golden_rows, golden_ns / 1e9, FG_ROW_TIME_GOLDEN_NS / 1e9);
}

int fg_row_time_check(const struct fg_plan *plan, const float *in, uint64_t most_ns,
		      struct fg_error *error)
{
	struct steps steps;
	struct row row;
	uint64_t ns;
	int ret;

	if (open_row(&row, plan, in))
		return fg_error_set(error, -ENOMEM, "out of memory for a row");
	steps = run_steps(&row);
	ns = steps.ns;
	if (steps.count == plan->step_count)
		ns = shortest_ns(&row, ns, most_ns);
	ret = ns > most_ns ? refuse(plan, &steps, ns, most_ns, error)
			   : check_golden(&row, ns, error);
	free(row.scratch);
	return ret;
}

uint32_t fg_row_time_rows(const struct fg_plan *plan, const float *in, uint32_t rows,
			  uint32_t times)
{
	struct row row;
	uint64_t most;

	if (open_row(&row, plan, in))
		return rows; /* whoever runs them says that there is no memory */
	most = FG_ROW_TIME_GOLDEN_NS / 2 / (reference_ns(&row) * times + 1);
	free(row.scratch);
	return most < rows ? (uint32_t)most + !most : rows;
}
