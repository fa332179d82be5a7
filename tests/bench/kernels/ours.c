#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "models/compile.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "tests/bench/kernels/ours.h"

struct state {
	struct fg_plan plan;
	void *bytes; /* the plan's pages */
	size_t size;
	void *scratch;
	uint32_t rows;
	const float *in;
	float *out;
};

static int compile(const struct bench_model *model, enum fg_weights format, void **bytes,
		   size_t *size, struct fg_error *error)
{
	const struct fg_compile_options options = {.weights = format};
	struct fg_graph graph;
	int result = fg_onnx_parse(&graph, model->onnx, model->onnx_bytes, -1, error);

	if (result)
		return result;
	result = fg_compile(&graph, NULL, &options, bytes, size, error);
	fg_graph_free(&graph);
	return result;
}

void *bench_ours_open(const struct fg_kernels *kernels, enum fg_weights format,
		      const struct bench_model *model, uint32_t rows, const float *in, float *out,
		      char why[BENCH_WHY_BYTES])
{
	struct state *state = calloc(1, sizeof(*state));
	struct fg_error error = {.text = "no memory"};
	void *compiled = NULL;

	if (!state || compile(model, format, &compiled, &state->size, &error))
		goto failed;
	*state = (struct state){.size = state->size, .rows = rows, .in = in, .out = out};
	state->bytes = bench_pages(state->size);
	memcpy(state->bytes, compiled, state->size);
	if (fg_plan_open_with(&state->plan, kernels, state->bytes, state->size, &error))
		goto failed;
	/* A plan may need no scratch memory at all. */
	state->scratch = aligned_alloc(64, fg_plan_scratch_bytes(&state->plan, rows) + 64);
	if (!state->scratch)
		goto failed;
	free(compiled);
	return state;

failed:
	snprintf(why, BENCH_WHY_BYTES, "%.150s", error.text);
	free(compiled);
	if (state)
		bench_ours_close(state);
	return NULL;
}

void bench_ours_run(void *at)
{
	const struct state *state = at;

	fg_plan_run(&state->plan, state->in, state->rows, state->out, state->scratch);
}

void bench_ours_close(void *at)
{
	struct state *state = at;

	if (state->bytes)
		munmap(state->bytes, state->size);
	free(state->scratch);
	free(state);
}
