/*
 * Models as exporters write them (tests/data/onnx, torch, keras, sklearn, tf; each NAME/model.*
 * with inputs.npy and expected.npy, what their own runtime answered), read, compiled with and
 * without folding, and run on every ISA. And models that must be refused (tests/data/refused), with
 * expected_error.txt in the error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/file.h"
#include "models/model.h"
#include "models/npy.h"
#include "models/plan.h"

#define MAX_FILE_BYTES (1 << 24)

struct array {
	float *at;
	size_t count;
};

/* Says what is wrong with a model; the others are looked at all the same. */
__attribute__((format(printf, 2, 3))) static bool wrong(const char *name, const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	print_error("%s: %s\n", name, reason);
	return false;
}

static bool read_npy(int dirfd, const char *file, struct fg_arena *arena, struct array *array,
		     const char *name)
{
	struct fg_error error;
	struct fg_npy npy;
	const void *bytes;
	size_t size;

	if (fg_file_load(dirfd, file, MAX_FILE_BYTES, arena, &bytes, &size, &error) ||
	    fg_npy_open(&npy, bytes, size, &error))
		return wrong(name, "%s", error.text);
	if (npy.fortran && npy.dims > 1)
		return wrong(name, "%s is in Fortran order", file);
	array->count = npy.count;
	array->at = fg_arena_alloc(arena, npy.count, sizeof(float));
	assert_non_null(array->at);
	for (size_t i = 0; i < npy.count; i++)
		array->at[i] = (float)fg_npy_number(&npy, i);
	return true;
}

/* Keras computes a float16 layer in float16; flipgate only reads its weights so. */
static float tolerance_of(const char *name)
{
	return strstr(name, "/float16") ? 5e-3f : 1e-5f;
}

static bool is_close(float got, float want, float tolerance)
{
	return got == want || (isnan(got) && isnan(want)) ||
	       fabsf(got - want) <= tolerance * (1 + fabsf(want));
}

static bool check_answers(const struct fg_plan *plan, struct array in, struct array want,
			  const char *name)
{
	const uint32_t rows = (uint32_t)(in.count / plan->in_cols);
	float *got = calloc(want.count, sizeof(*got));
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, rows) + 64);
	bool good = true;

	assert_non_null(got);
	assert_non_null(scratch);
	if (in.count != (size_t)rows * plan->in_cols || want.count != (size_t)rows * plan->out_cols)
		good = wrong(name, "%u columns to %u: %zu and %zu numbers are no rows of them",
			     plan->in_cols, plan->out_cols, in.count, want.count);
	else
		fg_plan_run(plan, in.at, rows, got, scratch);
	for (size_t i = 0; i < want.count && good; i++)
		if (!is_close(got[i], want.at[i], tolerance_of(name)))
			good = wrong(name, "%s: row %zu, column %zu: got %.9g, wanted %.9g",
				     plan->kernels->isa, i / plan->out_cols, i % plan->out_cols,
				     got[i], want.at[i]);
	free(got);
	free(scratch);
	return good;
}

static bool check_compiled(const struct fg_graph *graph, bool plain, struct array in,
			   struct array want, const char *name)
{
	const struct fg_compile_options options = {.plain = plain};
	bool good = true;
	struct fg_error error;
	struct fg_plan plan;
	void *bytes;
	size_t size;

	if (fg_compile(graph, NULL, &options, &bytes, &size, &error))
		return wrong(name, "%s", error.text);
	for (size_t isa = 0; fg_cpu_kernels(isa) && good; isa++) {
		if (fg_plan_open_with(&plan, fg_cpu_kernels(isa), bytes, size, &error))
			good = wrong(name, "%s", error.text);
		else
			good = check_answers(&plan, in, want, name);
	}
	free(bytes);
	return good;
}

static bool check_model(int dirfd, const char *name)
{
	struct fg_arena arena = {0};
	struct array in, want;
	struct fg_graph graph;
	struct fg_error error;
	bool good = read_npy(dirfd, "inputs.npy", &arena, &in, name) &&
		    read_npy(dirfd, "expected.npy", &arena, &want, name);

	if (good && fg_model_load(&graph, dirfd, NULL, &error)) {
		good = wrong(name, "%s", error.text);
	} else if (good) {
		good = check_compiled(&graph, false, in, want, name) &&
		       check_compiled(&graph, true, in, want, name);
		fg_graph_free(&graph);
	}
	fg_arena_free(&arena);
	return good;
}

static bool check_refused(int dirfd, const char *name)
{
	struct fg_arena arena = {0};
	struct fg_error error = {""};
	struct fg_graph graph;
	const void *text;
	char wanted[256];
	size_t length, size;
	void *bytes = NULL;
	int result;

	if (fg_file_load(dirfd, "expected_error.txt", sizeof(wanted) - 1, &arena, &text, &length,
			 &error))
		return wrong(name, "%s", error.text);
	snprintf(wanted, sizeof(wanted), "%.*s", (int)length, (const char *)text);
	wanted[strcspn(wanted, "\n")] = 0;
	fg_arena_free(&arena);
	result = fg_model_load(&graph, dirfd, NULL, &error);
	if (!result) {
		result = fg_compile(&graph, NULL, NULL, &bytes, &size, &error);
		fg_graph_free(&graph);
		free(bytes);
	}
	return (result == -EINVAL && strstr(error.text, wanted)) ||
	       wrong(name, "result %d, '%s' does not say '%s'", result, error.text, wanted);
}

/* Calls `check` for each folder below `path`; there must be some, and all must be good. */
static void walk(const char *path, bool (*check)(int dirfd, const char *name))
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	uint32_t count = 0, bad = 0;

	if (!folder)
		fail_msg("%s: %s (run this from the repository's root)", path, strerror(errno));
	while ((entry = readdir(folder))) {
		char name[512];
		int below;

		if (entry->d_name[0] == '.')
			continue;
		below = openat(dirfd(folder), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (below < 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		bad += !check(below, name);
		close(below);
		count++;
	}
	closedir(folder);
	print_message("# %s: %u models, %u failed\n", path, count, bad);
	assert_true(count > 0 && bad == 0);
}

static void onnx(void **state)
{
	(void)state;
	walk("tests/data/onnx", check_model);
}

static void torch(void **state)
{
	(void)state;
	walk("tests/data/torch", check_model);
}

static void keras(void **state)
{
	(void)state;
	walk("tests/data/keras", check_model);
}

static void tf(void **state)
{
	(void)state;
	walk("tests/data/tf", check_model);
}

static void sklearn(void **state)
{
	(void)state;
	walk("tests/data/sklearn", check_model);
}

static void refused(void **state)
{
	(void)state;
	walk("tests/data/refused", check_refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(onnx),	   cmocka_unit_test(torch), cmocka_unit_test(keras),
		cmocka_unit_test(sklearn), cmocka_unit_test(tf),    cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
