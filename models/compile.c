#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile.h"
#include "models/compile_golden.h"
#include "models/compile_plan.h"
#include "models/compile_steady.h"
#include "models/ir.h"
#include "models/optimize.h"
#include "models/pack.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "models/row_time.h"

#define NARROW_GAIN                                                                                \
	4 /* a row with narrow weights takes no less than this part of its time with f32 */

/* Rows that are made: so many are tried to find FG_GOLDEN_MADE_ROWS that stand at no step. */
#define TRIED_ROWS FG_PLAN_BLOCK_ROWS

/* Shaking moves the outputs of a row that is taken by no more than this part of the tolerance, and
 * the tolerance is this many times what it moves those of rows that have to be taken. */
#define SHAKEN_PART 4

/* A plan, and what the C reference makes of some rows. */
struct made {
	void *bytes;
	size_t size;
	struct fg_plan plan;
	uint32_t rows;
	const float *outputs; /* (rows, out_cols), in the ir's arena */
	const float *shaken;  /* (rows): models/compile_steady.h */
};

/* *outputs (rows, out_cols), in `arena`: what the C reference makes of the inputs. `refusals`:
 * (rows) that are all 0. */
static int run_reference(const struct fg_plan *plan, const float *inputs, uint32_t rows,
			 struct fg_arena *arena, const float **outputs,
			 struct fg_plan_refusal *refusals, struct fg_error *error)
{
	struct fg_plan reference = *plan;
	float *out = fg_arena_alloc(arena, (size_t)rows * plan->out_cols, sizeof(float));
	float *scratch =
		aligned_alloc(FG_PLAN_ALIGN, fg_plan_scratch_bytes(plan, rows) + FG_PLAN_ALIGN);
	int result = 0;

	reference.kernels = &fg_kernels_c;
	if (out && scratch)
		fg_plan_try(&reference, inputs, rows, out, scratch, refusals);
	else
		result = fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	free(scratch);
	*outputs = out;
	return result;
}

/* Before any rows are run: those of a plan that takes too long would not end. */
static int check_time(const struct fg_plan *plan, const float *in, uint64_t most_ns,
		      struct fg_error *error)
{
	return most_ns ? fg_row_time_check(plan, in, most_ns, error) : 0;
}

/* The f32 plan, with room for golden rows, and what it makes of the rows that are tried. */
static int make(const struct fg_ir *ir, const struct fg_golden_rows *golden,
		const struct fg_golden_rows *tried, uint64_t most_ns, struct made *made,
		struct fg_error *error)
{
	struct fg_plan_refusal refusals[TRIED_ROWS] = {{0}};
	float *shaken = NULL;
	bool jumps;
	int ret = fg_plan_make(ir, FG_WEIGHTS_F32, golden, &made->bytes, &made->size, error);

	if (!ret)
		ret = fg_plan_open(&made->plan, made->bytes, made->size, error);
	if (!ret)
		ret = check_time(&made->plan, tried->inputs, most_ns, error);
	if (ret)
		return ret;
	made->rows = tried->rows;
	jumps = fg_steady_has_jumps(&made->plan);
	if (!jumps && made->rows > FG_GOLDEN_MADE_ROWS)
		made->rows = FG_GOLDEN_MADE_ROWS;
	made->rows = fg_row_time_rows(&made->plan, tried->inputs, made->rows,
				      jumps ? 1 + FG_STEADY_RUNS : 1);
	ret = run_reference(&made->plan, tried->inputs, made->rows, ir->arena, &made->outputs,
			    refusals, error);
	if (!ret && fg_steady_measure(&made->plan, tried->inputs, made->rows, made->outputs,
				      ir->arena, &shaken))
		ret = fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	for (uint32_t i = 0; i < made->rows && !ret; i++)
		if (refusals[i].step)
			shaken[i] = INFINITY; /* never taken */
	made->shaken = shaken;
	return ret;
}

/* ---- is folding right? -------------------------------------------------------------------- */

/* True when both plans agree wherever the rows stand at no step. */
static bool agree(const struct made *a, const struct made *b)
{
	const uint32_t rows = a->rows < b->rows ? a->rows : b->rows, cols = a->plan.out_cols;

	for (size_t i = 0; i < (size_t)rows * cols; i++)
		if (a->shaken[i / cols] <= FG_GOLDEN_TOLERANCE / SHAKEN_PART &&
		    !(fg_steady_difference(a->outputs[i], b->outputs[i]) <= FG_GOLDEN_TOLERANCE))
			return false;
	return true;
}

/*
 * Makes the plan without optimizing too; where the two differ, `ir` and `made` become that one. One
 * that has too many steps or buffers when it is not optimized cannot be compared.
 */
static int check_folding(struct fg_ir *ir, const struct fg_golden_rows *golden,
			 const struct fg_golden_rows *tried, uint64_t most_ns, struct made *made,
			 struct fg_error *error)
{
	struct made plain = {.bytes = NULL};
	struct fg_ir lowered;
	int ret = fg_ir_lower(&lowered, ir->graph, ir->arena, error);

	if (ret)
		return ret;
	ret = make(&lowered, golden, tried, 0, &plain, error);
	if (!ret && !agree(made, &plain)) {
		free(made->bytes);
		*made = plain;
		*ir = lowered;
		return check_time(&made->plan, tried->inputs, most_ns, error);
	}
	free(plain.bytes);
	return ret == -EINVAL ? 0 : ret;
}

/* ---- golden rows that are made ------------------------------------------------------------- */

/* The tried rows whose outputs shaking moves by no more than `most`, at most FG_GOLDEN_MADE_ROWS of
 * them, become golden ones. */
static void take_rows(const struct made *made, const struct fg_golden_rows *tried, float most,
		      struct fg_golden_rows *golden)
{
	const size_t in = made->plan.in_cols, out = made->plan.out_cols;
	float *inputs = (float *)golden->inputs, *outputs = (float *)golden->outputs;

	for (uint32_t i = 0; i < made->rows && golden->rows < FG_GOLDEN_MADE_ROWS; i++) {
		if (!(made->shaken[i] <= most))
			continue;
		memcpy(inputs + golden->rows * in, tried->inputs + i * in, in * sizeof(float));
		memcpy(outputs + golden->rows * out, made->outputs + i * out, out * sizeof(float));
		golden->rows++;
		golden->tolerance = fmaxf(golden->tolerance, SHAKEN_PART * made->shaken[i]);
	}
}

/* *golden: rows that stand at no step, or those that do, with a tolerance that allows for it; or
 * none. */
static int choose_rows(const struct made *made, const struct fg_golden_rows *tried,
		       struct fg_arena *arena, struct fg_golden_rows *golden,
		       struct fg_error *error)
{
	*golden = (struct fg_golden_rows){.tolerance = tried->tolerance};
	golden->inputs = fg_arena_alloc(arena, (size_t)FG_GOLDEN_MADE_ROWS * made->plan.in_cols,
					sizeof(float));
	golden->outputs = fg_arena_alloc(arena, (size_t)FG_GOLDEN_MADE_ROWS * made->plan.out_cols,
					 sizeof(float));
	if (!golden->inputs || !golden->outputs)
		return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	take_rows(made, tried, tried->tolerance / SHAKEN_PART, golden);
	if (!golden->rows)
		take_rows(made, tried, 1.0f / SHAKEN_PART, golden);
	return 0;
}

/* ---- narrow weights ------------------------------------------------------------------------ */

/* *worst: the largest difference. -EDOM when it is above `bound`. */
static int measure(const struct fg_plan *plan, const float *got, const float *f32, float bound,
		   float *worst, struct fg_error *error)
{
	const size_t count = (size_t)plan->golden_rows * plan->out_cols;
	size_t at = 0;

	*worst = 0;
	for (size_t i = 0; i < count; i++)
		if (fg_steady_difference(got[i], f32[i]) > *worst) {
			*worst = fg_steady_difference(got[i], f32[i]);
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

/* The f32 plan becomes one with narrow weights, when that is close enough to it. */
static int narrow(const struct fg_ir *ir, const struct fg_compile_options *options,
		  struct fg_golden_rows *golden, const float *in, struct made *made,
		  struct fg_error *error)
{
	const float bound = options->max_error > 0 ? options->max_error : FG_COMPILE_MAX_ERROR;
	struct fg_plan_refusal *refusals =
		fg_arena_alloc(ir->arena, golden->rows + 1, sizeof(*refusals));
	const float *got, *f32;
	float worst;
	int ret;

	if (!refusals)
		return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
	ret = run_reference(&made->plan, golden->inputs, golden->rows, ir->arena, &f32, refusals,
			    error);
	if (ret)
		return ret;
	/* A shipped output may be off by its tolerance from f32, and this plan by the bound from
	 * that; other kernels round differently where f32 meets a step of INT8's inputs. */
	golden->tolerance = fminf(golden->tolerance + bound, 1);
	free(made->bytes);
	made->bytes = NULL;
	ret = fg_plan_make(ir, options->weights, golden, &made->bytes, &made->size, error);
	if (!ret)
		ret = fg_plan_open(&made->plan, made->bytes, made->size, error);
	if (!ret)
		ret = check_time(&made->plan, in, options->max_row_ns, error);
	if (!ret)
		ret = run_reference(&made->plan, golden->inputs, golden->rows, ir->arena, &got,
				    refusals, error);
	if (!ret)
		ret = measure(&made->plan, got, f32, bound, &worst, error);
	if (!ret)
		fg_plan_amend(made->bytes, golden, worst);
	return ret;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static int make_plan(struct fg_ir *ir, const struct fg_golden *shipped,
		     const struct fg_compile_options *options, struct made *made,
		     struct fg_error *error)
{
	const uint32_t gain = options->weights == FG_WEIGHTS_F32 ? 1 : NARROW_GAIN;
	const uint64_t most_ns = options->max_row_ns * gain;
	struct fg_golden_rows tried, golden;
	int ret = fg_golden_rows_make(ir, ir->arena, TRIED_ROWS, &tried, error);

	golden = tried;
	if (golden.rows > FG_GOLDEN_MADE_ROWS)
		golden.rows = FG_GOLDEN_MADE_ROWS;
	if (!ret && shipped)
		ret = fg_golden_rows_join(ir, shipped, ir->arena, &golden, error);
	if (!ret && !options->plain)
		ret = fg_optimize(ir, options->weights, error);
	if (!ret)
		ret = make(ir, &golden, &tried, most_ns, made, error);
	if (!ret && ir->folded)
		ret = check_folding(ir, &golden, &tried, most_ns, made, error);
	if (!ret && !shipped)
		ret = choose_rows(made, &tried, ir->arena, &golden, error);
	if (!ret && options->weights != FG_WEIGHTS_F32)
		return narrow(ir, options, &golden, tried.inputs, made, error);
	if (!ret)
		fg_plan_amend(made->bytes, &golden, 0);
	return ret;
}

int fg_compile(const struct fg_graph *graph, const struct fg_golden *golden,
	       const struct fg_compile_options *options, void **bytes, size_t *size,
	       struct fg_error *error)
{
	const struct fg_compile_options defaults = {0};
	struct fg_arena arena = {0};
	struct made made = {.bytes = NULL};
	struct fg_ir ir;
	int ret = fg_ir_lower(&ir, graph, &arena, error);

	if (!ret)
		ret = make_plan(&ir, golden, options ? options : &defaults, &made, error);
	if (ret) {
		free(made.bytes);
	} else {
		*bytes = made.bytes;
		*size = made.size;
	}
	fg_arena_free(&arena);
	return ret;
}
