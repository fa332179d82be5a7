#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile.h"
#include "models/compile_golden.h"
#include "models/compile_plan.h"
#include "models/ir.h"
#include "models/optimize.h"
#include "models/pack.h"
#include "models/plan.h"
#include "models/plan_format.h"

/* *outputs (rows, out_cols), in `arena`: what the C reference makes of the golden inputs. */
static int run_golden(const void *bytes, size_t size, struct fg_arena *arena, const float **outputs,
		      struct fg_plan *plan, struct fg_error *error)
{
	float *scratch, *out;
	size_t scratch_bytes;
	int result = fg_plan_open_with(plan, &fg_kernels_c, bytes, size, error);

	if (result)
		return result;
	scratch_bytes = fg_plan_scratch_bytes(plan, plan->golden_rows);
	out = fg_arena_alloc(arena, (size_t)plan->golden_rows * plan->out_cols, sizeof(float));
	scratch = aligned_alloc(FG_PLAN_ALIGN, scratch_bytes + FG_PLAN_ALIGN);
	if (out && scratch)
		fg_plan_run(plan,
			    (const float *)((const char *)bytes + plan->header->golden_inputs),
			    plan->golden_rows, out, scratch);
	else
		result = fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	free(scratch);
	*outputs = out;
	return result;
}

/* 0 where both are the same, also when that is NaN or an infinity. */
static float difference(float got, float f32)
{
	if (got == f32 || (isnan(got) && isnan(f32)))
		return 0;
	if (!isfinite(got) || !isfinite(f32))
		return INFINITY;
	return fabsf(got - f32) / (1 + fabsf(f32));
}

/* *worst: the largest difference. -EDOM when it is above `bound`. */
static int measure(const struct fg_plan *plan, const float *got, const float *f32, float bound,
		   float *worst, struct fg_error *error)
{
	const size_t count = (size_t)plan->golden_rows * plan->out_cols;
	size_t at = 0;

	*worst = 0;
	for (size_t i = 0; i < count; i++)
		if (difference(got[i], f32[i]) > *worst) {
			*worst = difference(got[i], f32[i]);
			at = i;
		}
	if (*worst <= bound)
		return 0;
	return fg_error_set(
		error, -EDOM,
		"%s weights give %.9g where f32 gives %.9g (golden row %zu, column "
		"%zu, output '%.40s'): the error is %.3g, above the bound %.3g; use f32, "
		"or allow more",
		fg_weights_name(plan->header->format), got[at], f32[at], at / plan->out_cols,
		at % plan->out_cols, fg_plan_output_of(plan, (uint32_t)(at % plan->out_cols))->name,
		*worst, bound);
}

struct result {
	void *bytes;
	size_t size;
};

/* The f32 plan becomes one with narrow weights, when that is close enough to `f32`, its outputs. */
static int narrow(const struct fg_ir *ir, const struct fg_compile_options *options,
		  struct fg_golden_rows *golden, const float *f32, struct result *result,
		  struct fg_error *error)
{
	const float bound = options->max_error > 0 ? options->max_error : FG_COMPILE_MAX_ERROR;
	struct fg_plan plan;
	const float *got;
	float worst;
	int ret;

	/* A shipped output may be off by its tolerance from f32, and this plan by the bound from
	 * that; other kernels round differently where f32 meets a step of INT8's inputs. */
	golden->tolerance = fminf(golden->tolerance + bound, 1);
	free(result->bytes);
	result->bytes = NULL;
	ret = fg_plan_make(ir, options->weights, golden, &result->bytes, &result->size, error);
	if (!ret)
		ret = run_golden(result->bytes, result->size, ir->arena, &got, &plan, error);
	if (!ret)
		ret = measure(&plan, got, f32, bound, &worst, error);
	if (!ret)
		fg_plan_amend(result->bytes, golden, worst);
	return ret;
}

static int make_plan(const struct fg_ir *ir, const struct fg_golden *shipped,
		     const struct fg_compile_options *options, struct result *result,
		     struct fg_error *error)
{
	struct fg_golden_rows golden;
	struct fg_plan plan;
	const float *f32;
	int ret = shipped ? fg_golden_rows_join(ir, shipped, ir->arena, &golden, error)
			  : fg_golden_rows_make(ir, ir->arena, &golden, error);

	if (!ret)
		ret = fg_plan_make(ir, FG_WEIGHTS_F32, &golden, &result->bytes, &result->size,
				   error);
	if (!ret)
		ret = run_golden(result->bytes, result->size, ir->arena, &f32, &plan, error);
	if (ret)
		return ret;
	if (!golden.shipped)
		golden.outputs = f32;
	if (options->weights != FG_WEIGHTS_F32)
		return narrow(ir, options, &golden, f32, result, error);
	fg_plan_amend(result->bytes, &golden, 0);
	return 0;
}

int fg_compile(const struct fg_graph *graph, const struct fg_golden *golden,
	       const struct fg_compile_options *options, void **bytes, size_t *size,
	       struct fg_error *error)
{
	const struct fg_compile_options defaults = {0};
	struct fg_arena arena = {0};
	struct result result = {0};
	struct fg_ir ir;
	int ret;

	if (!options)
		options = &defaults;
	ret = fg_ir_lower(&ir, graph, &arena, error);
	if (!ret && !options->plain)
		ret = fg_optimize(&ir, error);
	if (!ret)
		ret = make_plan(&ir, golden, options, &result, error);
	if (ret) {
		free(result.bytes);
	} else {
		*bytes = result.bytes;
		*size = result.size;
	}
	fg_arena_free(&arena);
	return ret;
}
