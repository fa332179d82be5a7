/*
 * plan.h: a model version compiled to packed weights and a list of steps.
 *
 * A plan is one position-independent block of bytes (models/plan_format.h): header, inputs and
 * outputs, steps, packed weights, golden and warm-up rows, a digest over all of it. flipgate-pack
 * writes it into a memfd that the keeper seals; every worker maps the same pages read-only. A
 * reader trusts nothing: fg_plan_open checks every offset, shape and step before the first run, so
 * that a hostile plan cannot make a worker read or write outside its buffers.
 *
 * Shapes are (rows, cols), row-major. Rows are f32.
 */
#ifndef FG_MODELS_PLAN_H
#define FG_MODELS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "models/error.h"

struct fg_plan_header; /* the bytes, models/plan_format.h */
struct fg_plan_port;
struct fg_plan_step;
struct fg_kernels; /* the kernels of one ISA, models/kernels.h */

/* A view on a plan's bytes. The caller owns both and keeps the bytes mapped and unchanged for as
 * long as the view is used. Fields are read-only for callers. */
struct fg_plan {
	const struct fg_plan_header *header;
	const struct fg_kernels *kernels;
	const struct fg_plan_step *steps;
	uint32_t step_count;
	uint32_t in_cols;      /* columns of one input row, 1 .. 2^20 */
	uint32_t out_cols;     /* columns of one output row, 1 .. 2^20 */
	uint32_t golden_rows;  /* rows of the golden batch, 0 when there is none */
	uint32_t warmup_count; /* batches to warm up with, 0 when there are none */
	bool refuses;	       /* some step may refuse a row (fg_plan_try) */
	/* The caller's, NULL when opened: fg_plan_run calls it after each step of each block of
	 * rows, with `watcher`, so that somebody can see a long run go on. */
	void (*progress)(void *watcher);
	void *watcher;
};

/* That a row has no answer: an id that no table has, a category that nobody knows. */
struct fg_plan_refusal {
	uint32_t step; /* that refuses it, plus 1; 0: none does */
	uint32_t col;  /* of what that step reads */
};

/*
 * Makes a view of `size` bytes at `bytes` (64-byte aligned), with the fastest kernels that this
 * CPU and FG_ISA (environment; read by fg_cpu_select only) allow. -EINVAL with *error for
 * anything that does not hold: magic, format version, digest, an offset, a shape, a step.
 * No allocation; touches every page once (the digest).
 */
int fg_plan_open(struct fg_plan *plan, const void *bytes, size_t size, struct fg_error *error);

/* The same with kernels of the caller's choice (models/cpu.h), for tests and the packer. */
int fg_plan_open_with(struct fg_plan *plan, const struct fg_kernels *kernels, const void *bytes,
		      size_t size, struct fg_error *error);

/* Input `i` < header->input_count, or output `i - input_count`. */
const struct fg_plan_port *fg_plan_port(const struct fg_plan *plan, uint32_t i);

/* The output that column `col` < out_cols belongs to. */
const struct fg_plan_port *fg_plan_output_of(const struct fg_plan *plan, uint32_t col);

/* Bytes of scratch memory that fg_plan_run needs for up to `rows` rows; a multiple of 64. */
size_t fg_plan_scratch_bytes(const struct fg_plan *plan, uint32_t rows);

/*
 * out (rows, out_cols) = model(in (rows, in_cols)). `in` and `out` may have any alignment and
 * must not overlap; `scratch` is 64-byte aligned with fg_plan_scratch_bytes(plan, rows) bytes.
 * rows >= 1. Batch-invariant: an input row gives the same bits whatever the batch and its
 * position in it. No allocation, no syscall (but what plan->progress makes), no failure.
 */
void fg_plan_run(const struct fg_plan *plan, const float *in, uint32_t rows, float *out,
		 void *scratch);

/*
 * The same, and refusals[row] says of each row whether the model refuses it, as its own runtime
 * would; what `out` holds of such a row means nothing, and other rows do not change. Returns how
 * many are refused. A plan that does not `refuse` takes no time for it.
 */
uint32_t fg_plan_try(const struct fg_plan *plan, const float *in, uint32_t rows, float *out,
		     void *scratch, struct fg_plan_refusal *refusals);

/* Why: "input 'item', column 2: 30 is not in 0..29" and the like in text[size]; `in` is the row
 * (step
 * != 0). */
void fg_plan_refusal_text(const struct fg_plan *plan, const struct fg_plan_refusal *refusal,
			  const float *in, char *text, size_t size);

/*
 * Runs step `i` < step_count alone, as often as the caller likes, on what fg_plan_run with the
 * same `in`, `rows` (at most FG_PLAN_BLOCK_ROWS), `out` and `scratch` has left there. For
 * measuring a step: the time is right, but buffers are shared between steps, so the numbers in
 * `out` mean nothing afterwards.
 */
void fg_plan_run_step(const struct fg_plan *plan, uint32_t i, const float *in, uint32_t rows,
		      float *out, void *scratch);

/*
 * Runs the golden batch (what the version shipped, or rows that flipgate-pack generated and ran
 * through the C reference) and compares. -EILSEQ with *error naming whose rows they are, row,
 * column, got and wanted when one is outside the plan's tolerance, or why the model refuses the
 * row. `scratch` holds fg_plan_golden_scratch_bytes.
 */
int fg_plan_check_golden(const struct fg_plan *plan, void *scratch, struct fg_error *error);
size_t fg_plan_golden_scratch_bytes(const struct fg_plan *plan);

/* The inputs (*rows, in_cols), *rows >= 1, of batch `i` < warmup_count: requests like those that
 * will come, which the version shipped to be run before it serves (models/warmup.h). */
const float *fg_plan_warmup(const struct fg_plan *plan, uint32_t i, uint32_t *rows);

#endif
