/* models/keras on files that Keras 2 and Keras 3 have saved (tests/data/keras), against what Keras
 * answered: read, compiled, run with every kernel set of this CPU. */
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
#include "models/keras.h"
#include "models/npy.h"
#include "models/plan.h"

#define FOLDER "tests/data/keras"

/* What one folder holds. */
struct files {
	const char *name;
	int dirfd;
	struct fg_arena arena; /* owns the arrays */
	struct fg_npy inputs;
	struct fg_npy expected;
};

static void open_npy(struct files *files, const char *name, struct fg_npy *npy)
{
	struct fg_error error;
	const void *bytes;
	size_t size;

	if (fg_file_load(files->dirfd, name, 1 << 20, &files->arena, &bytes, &size, &error) ||
	    fg_npy_open(npy, bytes, size, &error))
		fail_msg("%s: %s", files->name, error.text);
	assert_int_equal(npy->kind, 'f');
	assert_int_equal(npy->bytes, 4);
	assert_int_equal(npy->dims, 2);
}

static float *copy_floats(const struct fg_npy *npy)
{
	float *copy = malloc(npy->count * sizeof(*copy));

	assert_non_null(copy);
	memcpy(copy, npy->data, npy->count * sizeof(*copy));
	return copy;
}

/* Keras computes a float16 layer in float16; flipgate only reads its weights so. */
static float tolerance_of(const char *name)
{
	return strncmp(name, "float16", 7) == 0 ? 5e-3f : 1e-5f;
}

static void check_answers(const struct files *files, const struct fg_plan *plan)
{
	uint32_t rows = (uint32_t)files->inputs.shape[0];
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, rows) + 64);
	float *in = copy_floats(&files->inputs), *want = copy_floats(&files->expected);
	float *got = calloc(files->expected.count, sizeof(*got));
	float tolerance = tolerance_of(files->name);

	assert_non_null(scratch);
	assert_non_null(got);
	assert_int_equal(files->inputs.shape[1], plan->in_cols);
	assert_int_equal(files->expected.shape[1], plan->out_cols);
	assert_int_equal(files->expected.shape[0], rows);
	fg_plan_run(plan, in, rows, got, scratch);
	for (size_t i = 0; i < files->expected.count; i++)
		if (!(fabsf(got[i] - want[i]) <= tolerance * (1 + fabsf(want[i]))))
			fail_msg("%s, %s: row %zu, column %zu: got %.8g, wanted %.8g", files->name,
				 plan->kernels->isa, i / plan->out_cols, i % plan->out_cols,
				 (double)got[i], (double)want[i]);
	free(scratch);
	free(in);
	free(want);
	free(got);
}

static void check_graph(const struct files *files, const struct fg_graph *graph, bool plain)
{
	const struct fg_compile_options options = {.plain = plain};
	const struct fg_kernels *kernels;
	struct fg_error error = {""};
	void *bytes;
	size_t size;

	if (fg_compile(graph, NULL, &options, &bytes, &size, &error))
		fail_msg("%s: %s", files->name, error.text);
	for (size_t i = 0; (kernels = fg_cpu_kernels(i)); i++) {
		struct fg_plan plan;

		if (fg_plan_open_with(&plan, kernels, bytes, size, &error))
			fail_msg("%s: %s", files->name, error.text);
		check_answers(files, &plan);
	}
	free(bytes);
}

static void check_folder(const char *name)
{
	struct files files = {.name = name};
	struct fg_error error = {""};
	struct fg_graph graph;
	char path[512];
	bool zipped;

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	files.dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(files.dirfd >= 0);
	open_npy(&files, "inputs.npy", &files.inputs);
	open_npy(&files, "expected.npy", &files.expected);
	zipped = faccessat(files.dirfd, FG_KERAS_ZIP_FILE, F_OK, 0) == 0;
	if (zipped ? fg_keras_load_zip(&graph, files.dirfd, FG_KERAS_ZIP_FILE, &error)
		   : fg_keras_load_h5(&graph, files.dirfd, FG_KERAS_H5_FILE, &error))
		fail_msg("%s: %s", name, error.text);
	check_graph(&files, &graph, true);
	check_graph(&files, &graph, false);
	fg_graph_free(&graph);
	fg_arena_free(&files.arena);
	close(files.dirfd);
}

static void saved_models(void **state)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;
	unsigned int count = 0;

	(void)state;
	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		if (!strstr(entry->d_name, "_keras"))
			continue;
		check_folder(entry->d_name);
		count++;
	}
	closedir(folder);
	print_message("# %u models\n", count);
	assert_true(count >= 30);
}

/* The model that everyone starts with, as a version's directory holds it. */
static void first_model(void **state)
{
	(void)state;
	check_folder("dense_10_keras2_h5");
	check_folder("dense_10_keras3_h5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_model),
		cmocka_unit_test(saved_models),
	};

	return cmocka_run_group_tests_name("keras_files", tests, NULL, NULL);
}
