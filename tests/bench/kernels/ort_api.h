/*
 * ort_api.h: the part of onnxruntime's C API that the benchmark calls.
 *
 * The API is a table of functions that only grows: a function never changes its place, which is
 * how a program built against one version runs with all later ones (onnxruntime_c_api.h; its
 * static_asserts fix ReleaseCustomOpDomain at 101, the end of version 1, and AddSessionConfigEntry
 * at 130). A place is given by its number here, because the wheel on PyPI has no header.
 */
#ifndef FG_TESTS_BENCH_KERNELS_ORT_API_H
#define FG_TESTS_BENCH_KERNELS_ORT_API_H

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 11 /* asked for; all that is below is older */

enum { ORT_LOG_ERROR = 3, ORT_ENABLE_ALL = 99, ORT_ARENA_ALLOCATOR = 1, ORT_MEMORY_DEFAULT = 0 };
enum { ORT_ELEMENT_FLOAT = 1 };

struct ort_status;
struct ort_env;
struct ort_options;
struct ort_session;
struct ort_memory_info;
struct ort_value;
struct ort_binding;

/* What OrtGetApiBase(), the one exported function, returns. */
struct ort_base {
	const void *const *(*get_api)(uint32_t version); /* NULL: no such version */
	const char *(*get_version)(void);
};

/* X(place, name, parameters). They return a status, NULL for success. */
#define ORT_CALLS(X)                                                                               \
	X(3, create_env, (int log_level, const char *log_id, struct ort_env **env))                \
	X(8, create_session_from_array,                                                            \
	  (const struct ort_env *env, const void *bytes, size_t length,                            \
	   const struct ort_options *options, struct ort_session **session))                       \
	X(10, create_options, (struct ort_options * *options))                                     \
	X(23, set_optimization, (struct ort_options * options, int level))                         \
	X(24, set_intra_threads, (struct ort_options * options, int count))                        \
	X(25, set_inter_threads, (struct ort_options * options, int count))                        \
	X(49, create_tensor,                                                                       \
	  (const struct ort_memory_info *info, void *data, size_t bytes, const int64_t *shape,     \
	   size_t rank, int element, struct ort_value **value))                                    \
	X(69, create_cpu_memory_info, (int allocator, int memory, struct ort_memory_info **info))  \
	X(133, run_binding,                                                                        \
	  (struct ort_session * session, const void *run_options,                                  \
	   const struct ort_binding *binding))                                                     \
	X(134, create_binding, (struct ort_session * session, struct ort_binding * *binding))      \
	X(136, bind_input,                                                                         \
	  (struct ort_binding * binding, const char *name, const struct ort_value *value))         \
	X(137, bind_output,                                                                        \
	  (struct ort_binding * binding, const char *name, const struct ort_value *value))

/* X(place, name, object): they release what they are given, NULL too. */
#define ORT_RELEASES(X)                                                                            \
	X(92, release_env, struct ort_env)                                                         \
	X(93, release_status, struct ort_status)                                                   \
	X(94, release_memory_info, struct ort_memory_info)                                         \
	X(95, release_session, struct ort_session)                                                 \
	X(96, release_value, struct ort_value)                                                     \
	X(100, release_options, struct ort_options)                                                \
	X(135, release_binding, struct ort_binding)

#define ORT_ERROR_MESSAGE_PLACE 2

struct ort_api {
#define ORT_FIELD(place, name, parameters) struct ort_status *(*name)parameters;
	ORT_CALLS(ORT_FIELD)
#undef ORT_FIELD
#define ORT_FIELD(place, name, object) void (*name)(object * of);
	ORT_RELEASES(ORT_FIELD)
#undef ORT_FIELD
	const char *(*error_message)(const struct ort_status *status);
};

static inline struct ort_api ort_api_read(const void *const *table)
{
	struct ort_api api;

#define ORT_READ(place, name, rest) api.name = (__typeof__(api.name))table[place];
	ORT_CALLS(ORT_READ)
	ORT_RELEASES(ORT_READ)
#undef ORT_READ
	api.error_message = (__typeof__(api.error_message))table[ORT_ERROR_MESSAGE_PLACE];
	return api;
}

#endif
