#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/bench/kernels/plugins.h"

static const struct {
	const char *name, *file;
	uint32_t index; /* in the file's bench_references */
} sources[BENCH_REFERENCES] = {
	{"onnxruntime", "ref_onnxruntime", 0},
	{"oneDNN inner product", "ref_dnnl", 0},
	{"oneDNN matmul", "ref_dnnl", 1},
	{"OpenBLAS", "ref_openblas", 0},
	{"libxsmm", "ref_xsmm", 0},
};

/* The symbol of file $BUILD/bench/kernels/FILE.so, which stays open. */
static const void *open_symbol(const char *file, const char *symbol, char why[BENCH_WHY_BYTES])
{
	const char *build = getenv("BUILD") ?: "build";
	const void *found = NULL;
	char path[4096];
	void *library;

	snprintf(path, sizeof(path), "%s%s/bench/kernels/%s.so", *build == '/' ? "" : "./", build,
		 file);
	if (access(path, R_OK)) {
		snprintf(why, BENCH_WHY_BYTES, "%s could not be built", file);
		return NULL;
	}
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library)
		found = dlsym(library, symbol);
	if (!found)
		snprintf(why, BENCH_WHY_BYTES, "%.150s", dlerror());
	return found;
}

/* Before the first library is opened: they look at their environment then. */
static void set_limits(const char *isa)
{
	static const char *const avx2[][2] = {{"DNNL_MAX_CPU_ISA", "AVX2"},
					      {"OPENBLAS_CORETYPE", "Haswell"},
					      {"LIBXSMM_TARGET", "hsw"}};

	setenv("OMP_NUM_THREADS", "1", 1);
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	for (size_t i = 0; strcmp(isa, "avx2") == 0 && i < sizeof(avx2) / sizeof(avx2[0]); i++)
		setenv(avx2[i][0], avx2[i][1], 0);
}

static void open_way(struct bench_way *way, uint32_t i)
{
	const struct bench_reference *references;

	way->name = sources[i].name;
	way->version = "";
	references = open_symbol(sources[i].file, BENCH_REFERENCES_SYMBOL, way->why);
	if (references)
		way->reference = &references[sources[i].index];
}

void bench_plugins_open(struct bench_plugins *plugins, const char *isa)
{
	char file[64], why[BENCH_WHY_BYTES];

	memset(plugins, 0, sizeof(*plugins));
	set_limits(isa);
	snprintf(file, sizeof(file), "loops.%s", isa);
	plugins->loops = open_symbol(file, BENCH_LOOPS_SYMBOL, why);
	if (!plugins->loops) {
		fprintf(stderr, "bench_kernels: no loops for %s: %s\n", isa, why);
		exit(1);
	}
	snprintf(file, sizeof(file), "ref_sleef.%s", isa);
	plugins->math = open_symbol(file, BENCH_MATH_SYMBOL, plugins->math_why);
	for (uint32_t i = 0; i < BENCH_REFERENCES; i++)
		open_way(&plugins->ways[i], i);
}
