/*
 * run_plan: compiles and runs many models in one process, for tests/models/check_operators.py.
 *
 *   run_plan < list
 *
 * Each line of the list: MODEL INPUTS ROWS OUTPUTS. MODEL is an ONNX file, INPUTS holds (ROWS,
 * in_cols) f32, OUTPUTS is written: (ROWS, out_cols) f32 by the fastest kernels, optimized, and
 * behind it the same by the C reference without folding and fusing. One line is printed for each:
 *
 *   ok COLS                      columns of an output row
 *   refused TEXT                 by the reader or the compiler
 *   failed TEXT                  anything that must not be, such as rows that depend on the batch
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/kernels.h"
#include "models/onnx.h"
#include "models/plan.h"

struct job {
	char model[512], inputs[512], outputs[512];
	uint32_t rows;
};

static float *read_inputs(const struct job *job, uint32_t cols)
{
	size_t count = (size_t)job->rows * cols;
	float *in = malloc((count + 1) * sizeof(*in));
	FILE *file = fopen(job->inputs, "rb");

	if (!in || !file || fread(in, sizeof(*in), count + 1, file) != count) {
		printf("failed the inputs are not %u rows of %u columns\n", job->rows, cols);
		free(in);
		in = NULL;
	}
	if (file)
		fclose(file);
	return in;
}

/* The whole batch, and then each row alone, which must give the same bits. */
static int run(const struct fg_plan *plan, const float *in, uint32_t rows, float *out)
{
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, rows) + 64);
	float *alone = malloc(plan->out_cols * sizeof(*alone));
	int result = scratch && alone ? 0 : -ENOMEM;

	if (!result)
		fg_plan_run(plan, in, rows, out, scratch);
	for (uint32_t i = 0; i < rows && !result; i++) {
		fg_plan_run(plan, in + (size_t)i * plan->in_cols, 1, alone, scratch);
		if (memcmp(alone, out + (size_t)i * plan->out_cols,
			   plan->out_cols * sizeof(*alone))) {
			printf("failed row %u alone differs from row %u in the batch\n", i, i);
			result = -EILSEQ;
		}
	}
	free(scratch);
	free(alone);
	return result;
}

/* Compiles, runs, appends the outputs; prints what went wrong. `plain`: with the C reference. */
static int compile_and_run(const struct fg_graph *graph, const struct job *job, bool plain,
			   FILE *file, uint32_t *out_cols)
{
	struct fg_compile_options options = {.plain = plain};
	struct fg_error error = {"?"};
	struct fg_plan plan;
	float *in = NULL, *out = NULL;
	void *bytes = NULL;
	size_t size;
	int result = fg_compile(graph, NULL, &options, &bytes, &size, &error);

	if (result) {
		printf("refused %s\n", error.text);
		return result;
	}
	result = plain ? fg_plan_open_with(&plan, &fg_kernels_c, bytes, size, &error)
		       : fg_plan_open(&plan, bytes, size, &error);
	if (result) {
		printf("failed the plan is refused: %s\n", error.text);
		goto done;
	}
	in = read_inputs(job, plan.in_cols);
	out = malloc((size_t)job->rows * plan.out_cols * sizeof(*out));
	result = in && out ? run(&plan, in, job->rows, out) : -EIO;
	if (!result && fwrite(out, sizeof(*out), (size_t)job->rows * plan.out_cols, file) !=
			       (size_t)job->rows * plan.out_cols) {
		printf("failed to write the outputs\n");
		result = -EIO;
	}
	*out_cols = plan.out_cols;
done:
	free(in);
	free(out);
	free(bytes);
	return result;
}

static void run_job(const struct job *job)
{
	struct fg_error error = {"?"};
	struct fg_graph graph;
	uint32_t cols;
	FILE *file;

	if (fg_onnx_load(&graph, AT_FDCWD, job->model, &error)) {
		printf("refused %s\n", error.text);
		return;
	}
	file = fopen(job->outputs, "wb");
	if (!file)
		printf("failed to open %s\n", job->outputs);
	else if (!compile_and_run(&graph, job, false, file, &cols) &&
		 !compile_and_run(&graph, job, true, file, &cols))
		printf("ok %u\n", cols);
	if (file)
		fclose(file);
	fg_graph_free(&graph);
}

int main(void)
{
	struct job job;

	while (scanf("%511s %511s %u %511s", job.model, job.inputs, &job.rows, job.outputs) == 4) {
		run_job(&job);
		fflush(stdout);
	}
	return 0;
}
