/* onnxruntime through its C API: one thread, all graph optimizations, inputs and outputs bound to
 * the caller's memory once. */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/bench/kernels/ort_api.h"
#include "tests/bench/kernels/reference.h"

static struct ort_api api;
static struct ort_env *env;
static char version_text[64] = "absent";

struct state {
	struct ort_options *options;
	struct ort_session *session;
	struct ort_memory_info *info;
	struct ort_value *in, *out;
	struct ort_binding *binding;
};

/* Success? */
static int ok(struct ort_status *status, char *why)
{
	if (!status)
		return 1;
	snprintf(why, BENCH_WHY_BYTES, "%.150s", api.error_message(status));
	api.release_status(status);
	return 0;
}

/* The shared library that setup.sh unpacked, whatever its version. */
static void *open_library(char why[BENCH_WHY_BYTES])
{
	const char *build = getenv("BUILD") ?: "build";
	void *library = NULL;
	char pattern[4096];
	glob_t found;

	snprintf(pattern, sizeof(pattern),
		 "%s/bench/kernels/onnxruntime/onnxruntime/capi/libonnxruntime.so.*", build);
	if (glob(pattern, 0, NULL, &found) == 0) {
		library = dlopen(found.gl_pathv[0], RTLD_NOW | RTLD_LOCAL);
		if (!library)
			snprintf(why, BENCH_WHY_BYTES, "%.150s", dlerror());
		globfree(&found);
	} else {
		snprintf(why, BENCH_WHY_BYTES, "setup.sh did not get it from PyPI");
	}
	return library;
}

/* Once for all batches. */
static int load(char why[BENCH_WHY_BYTES])
{
	const struct ort_base *(*get_base)(void);
	const void *const *table;
	void *library;

	if (env)
		return 1;
	library = open_library(why);
	if (!library)
		return 0;
	get_base = (__typeof__(get_base))dlsym(library, "OrtGetApiBase");
	table = get_base ? get_base()->get_api(ORT_API_VERSION) : NULL;
	if (!table) {
		snprintf(why, BENCH_WHY_BYTES, "the library has no C API of version %d",
			 ORT_API_VERSION);
		return 0;
	}
	api = ort_api_read(table);
	snprintf(version_text, sizeof(version_text), "%.32s", get_base()->get_version());
	return ok(api.create_env(ORT_LOG_ERROR, "bench", &env), why);
}

static int make_tensor(struct state *state, float *data, uint32_t rows, uint32_t cols,
		       struct ort_value **value, char why[BENCH_WHY_BYTES])
{
	int64_t shape[2] = {rows, cols};

	return ok(api.create_tensor(state->info, data, (size_t)rows * cols * sizeof(float), shape,
				    2, ORT_ELEMENT_FLOAT, value),
		  why);
}

static int make_session(struct state *state, const struct bench_model *model,
			char why[BENCH_WHY_BYTES])
{
	return ok(api.create_options(&state->options), why) &&
	       ok(api.set_optimization(state->options, ORT_ENABLE_ALL), why) &&
	       ok(api.set_intra_threads(state->options, 1), why) &&
	       ok(api.set_inter_threads(state->options, 1), why) &&
	       ok(api.create_session_from_array(env, model->onnx, model->onnx_bytes, state->options,
						&state->session),
		  why);
}

static void close_batch(void *at)
{
	struct state *state = at;

	api.release_binding(state->binding);
	api.release_value(state->in);
	api.release_value(state->out);
	api.release_memory_info(state->info);
	api.release_session(state->session);
	api.release_options(state->options);
	free(state);
}

static void *open_batch(const struct bench_model *model, uint32_t rows, const float *in, float *out,
			char why[BENCH_WHY_BYTES])
{
	struct state *state;

	if (!load(why))
		return NULL;
	state = calloc(1, sizeof(*state));
	if (!state) {
		snprintf(why, BENCH_WHY_BYTES, "no memory");
		return NULL;
	}
	/* The API has no word for data that is only read. */
	if (make_session(state, model, why) &&
	    ok(api.create_cpu_memory_info(ORT_ARENA_ALLOCATOR, ORT_MEMORY_DEFAULT, &state->info),
	       why) &&
	    make_tensor(state, (float *)(uintptr_t)in, rows, model->cols[0], &state->in, why) &&
	    make_tensor(state, out, rows, model->cols[BENCH_LAYERS], &state->out, why) &&
	    ok(api.create_binding(state->session, &state->binding), why) &&
	    ok(api.bind_input(state->binding, "x", state->in), why) &&
	    ok(api.bind_output(state->binding, "y", state->out), why))
		return state;
	close_batch(state);
	return NULL;
}

static void run_batch(void *at)
{
	struct state *state = at;
	char why[BENCH_WHY_BYTES];

	if (!ok(api.run_binding(state->session, NULL, state->binding), why)) {
		fprintf(stderr, "bench_kernels: onnxruntime: %s\n", why);
		abort();
	}
}

static const char *version(void)
{
	return version_text;
}

BENCH_EXPORT extern const struct bench_reference bench_references[];
const struct bench_reference bench_references[] = {
	{"onnxruntime", open_batch, run_batch, close_batch, version},
	{0},
};
