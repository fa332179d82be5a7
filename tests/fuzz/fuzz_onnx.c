/* Any bytes as a model: what is accepted must compile to a plan that opens, runs and keeps its
 * golden rows, or be refused with a reason. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "models/compile.h"
#include "models/onnx.h"
#include "models/plan.h"

/* Floats that one case may take: a few bytes can ask for many nodes of a million columns. */
#define MAX_WORK (UINT64_C(1) << 21)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* True when the steps of this graph are small enough to try thousands of such graphs. */
static bool is_small(const struct fg_graph *graph)
{
	uint64_t all = 0;

	for (uint32_t in = 0; in < graph->input_count && all <= MAX_WORK; in++) {
		const struct fg_graph_shape *shape = &graph->inputs[in].shape;
		uint64_t cols = 1;

		for (uint32_t i = 1; i < shape->rank && cols <= MAX_WORK; i++) {
			if (shape->dims[i] > (int64_t)MAX_WORK)
				return false;
			cols *= shape->dims[i] == FG_GRAPH_UNKNOWN ? 1 : (uint64_t)shape->dims[i];
		}
		all += cols;
	}
	return all * (graph->node_count + 1) <= MAX_WORK;
}

static void run(const void *bytes, size_t size)
{
	struct fg_error error;
	struct fg_plan plan;
	void *scratch;

	if (fg_plan_open(&plan, bytes, size, &error))
		abort();
	scratch = aligned_alloc(64, (fg_plan_golden_scratch_bytes(&plan) + 127) / 64 * 64);
	if (!scratch)
		return;
	fg_plan_check_golden(&plan, scratch, &error);
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct fg_error error = {""};
	struct fg_graph graph;
	size_t size;
	void *plan;
	int result = fg_onnx_parse(&graph, bytes, length, -1, &error);

	if (!result && is_small(&graph)) {
		result = fg_compile(&graph, NULL, NULL, &plan, &size, &error);
		if (!result) {
			run(plan, size);
			free(plan);
		}
	}
	fg_graph_free(&graph);
	if (result && !error.text[0])
		abort();
	return 0;
}
