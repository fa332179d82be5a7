/* models/onnx, compile and the kernels on files made by exporters (tests/data/onnx), against what
 * onnxruntime answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/onnx.h"
#include "models/plan.h"

/* The numbers of a version 1 .npy file of f32, and how many. */
static float *read_npy(int dirfd, const char *name, size_t *count)
{
	int fd = openat(dirfd, name, O_RDONLY);
	unsigned char head[10];
	struct stat status;
	size_t skip, bytes;
	float *values;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(read(fd, head, sizeof(head)), sizeof(head));
	assert_memory_equal(head, "\x93NUMPY\x01", 7);
	skip = 10 + head[8] + 256 * (size_t)head[9];
	bytes = (size_t)status.st_size - skip;
	values = malloc(bytes);
	assert_non_null(values);
	assert_int_equal(pread(fd, values, bytes, (off_t)skip), bytes);
	close(fd);
	*count = bytes / sizeof(float);
	return values;
}

static void check_answers(const struct fg_plan *plan, int dirfd, const char *name)
{
	size_t in_count, out_count;
	float *in = read_npy(dirfd, "inputs.npy", &in_count);
	float *want = read_npy(dirfd, "expected.npy", &out_count);
	uint32_t rows = (uint32_t)(in_count / plan->in_cols);
	float *got = calloc(out_count, sizeof(*got));
	void *scratch = aligned_alloc(64, fg_plan_scratch_bytes(plan, rows) + 64);

	assert_non_null(got);
	assert_non_null(scratch);
	assert_int_equal(out_count, (size_t)rows * plan->out_cols);
	fg_plan_run(plan, in, rows, got, scratch);
	for (size_t i = 0; i < out_count; i++)
		if (!(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i]))))
			fail_msg("%s, %s: number %zu: got %g, wanted %g", name, plan->kernels->isa,
				 i, got[i], want[i]);
	free(in);
	free(want);
	free(got);
	free(scratch);
}

static void exported_models(void **state)
{
	static const char *const names[] = {"external",	       "fixed_batch",  "flatten_constant",
					    "gemm_alpha_beta", "gemm_trans_b", "leaky_relu",
					    "matmul_add",      "sigmoid",      "tanh"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct fg_graph parsed;
		struct fg_error error;
		struct fg_plan plan;
		char path[128];
		void *bytes;
		size_t size;
		int dirfd;

		snprintf(path, sizeof(path), "tests/data/onnx/%s", names[i]);
		dirfd = open(path, O_RDONLY | O_DIRECTORY);
		if (dirfd < 0)
			fail_msg("%s: %s (run this from the repository's root)", path,
				 strerror(errno));
		if (fg_onnx_load(&parsed, dirfd, FG_ONNX_FILE, &error) ||
		    fg_compile(&parsed, NULL, &bytes, &size, &error))
			fail_msg("%s: %s", names[i], error.text);
		fg_graph_free(&parsed);
		for (size_t isa = 0; fg_cpu_kernels(isa); isa++) {
			assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(isa), bytes, size,
							   &error),
					 0);
			check_answers(&plan, dirfd, names[i]);
		}
		free(bytes);
		close(dirfd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(exported_models)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
