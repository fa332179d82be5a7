/*
 * Writes tests/fuzz/corpus/plan anew, after the format of plans has changed: the fixture of
 * test_plan.c, and random plans that have every kind of step, alone and in groups, and every format
 * of weights between them. From the repository's root, with the folder empty:
 *
 *   make build/tests/fuzz/make_plan_corpus && build/tests/fuzz/make_plan_corpus
 */
#include <errno.h>
#include <stdbool.h>
#include "tests/unit/plan_fixture.h"
#include "tests/unit/random_ir.h"

#define MOST_BYTES 12000
#define SEEDS	   4000

static bool seen[FG_STEP_KIND_COUNT][2][FG_WEIGHTS_COUNT];

/* How many pairs of a kind, alone or in groups, and a DENSE step's format are new in this plan. */
static uint32_t count_new(const struct fg_plan *plan, bool take)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct fg_plan_step *step = &plan->steps[i];
		bool *at = &seen[step->kind][step->groups > 1][step->format];

		found += !*at;
		*at |= take;
	}
	return found;
}

static int write_file(const char *name, const void *bytes, size_t size)
{
	char path[256];
	FILE *file;
	size_t done;

	snprintf(path, sizeof(path), "tests/fuzz/corpus/plan/%s", name);
	file = fopen(path, "wb");
	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	done = fwrite(bytes, 1, size, file);
	return fclose(file) || done != size ? -1 : 0;
}

/* Writes the plan when it is small and has at least `wanted` new things. */
static int try_seed(uint64_t seed, uint32_t wanted)
{
	static struct random_ir random;
	struct fg_golden_rows golden;
	struct fg_error error;
	struct fg_plan plan;
	char name[64];
	void *bytes;
	size_t size;
	int result = 0;

	random_ir_make(&random, seed, false);
	if (fg_golden_rows_make(&random.ir, &random.arena, FG_GOLDEN_MADE_ROWS, &golden, &error))
		return -1;
	golden.rows = 1;
	if (fg_plan_make(&random.ir, seed % FG_WEIGHTS_COUNT, &golden, &bytes, &size, &error) ||
	    fg_plan_open(&plan, bytes, size, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return -1;
	}
	if (size <= MOST_BYTES && count_new(&plan, false) >= wanted) {
		count_new(&plan, true);
		snprintf(name, sizeof(name), "random_%llu", (unsigned long long)seed);
		result = write_file(name, bytes, size);
	}
	free(bytes);
	fg_arena_free(&random.arena);
	return result;
}

int main(void)
{
	void *state;
	int result = set_up(&state);

	if (!result) {
		struct fixture *fixture = state;

		result = write_file("fixture", fixture->bytes, fixture->size);
		tear_down(&state);
	}
	for (uint32_t wanted = 8; wanted > 0 && !result; wanted /= 2)
		for (uint64_t seed = 0; seed < SEEDS && !result; seed++)
			result = try_seed(seed, wanted);
	return result ? 1 : 0;
}
