/*
 * Any bytes as a Keras model in HDF5: a graph, or refused with a reason.
 *
 * libhdf5 has errors of its own with such files, which is why flipgate-pack has no rights; they are
 * not what is looked for here. So each file is read in a child process, and what ends it counts
 * only when libhdf5 was not at work. What fuzz_config does reaches further into our own code.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "models/keras.h"
#include "userspace/shared/sanitized.h"

#define MOST_S	     1	/* of CPU time: libhdf5 may not end at all */
#define MOST_WALL_S  20 /* a crash inside malloc may leave its lock held for ever */
#define MEMORY_BYTES (UINT64_C(1) << 30)
#define MAX_FRAMES   128

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
extern const size_t fuzz_mutants;
const char *__asan_default_options(void);

const size_t fuzz_mutants = 2000; /* tests/fuzz/replay_main.c: a process for each takes time */

/* AddressSanitizer's findings come to our handler too. */
__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
	return "abort_on_error=1:handle_abort=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:"
	       "detect_leaks=0:allocator_may_return_null=1:log_path=/dev/null";
}

static void judge(int number)
{
	void *frames[MAX_FRAMES];
	int count = backtrace(frames, MAX_FRAMES);

	for (int i = 0; i < count; i++) {
		Dl_info object;

		if (dladdr(frames[i], &object) && object.dli_fname &&
		    strstr(object.dli_fname, "libhdf5"))
			_exit(0);
	}
	_exit(number);
}

static void watch(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGPROF};
	const struct itimerval most = {.it_value = {.tv_sec = MOST_S}};
	static uint8_t stack[1 << 16];
	const stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
	const struct sigaction action = {.sa_handler = judge, .sa_flags = SA_ONSTACK};
	void *frame;

	backtrace(&frame, 1); /* which allocates, the first time */
	sigaltstack(&own, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	setitimer(ITIMER_PROF, &most, NULL);
	signal(SIGALRM, SIG_DFL);
	alarm(MOST_WALL_S);
#if !FG_SANITIZED
	setrlimit(RLIMIT_AS, &(struct rlimit){MEMORY_BYTES, MEMORY_BYTES});
#endif
}

static int read_in_child(const uint8_t *bytes, size_t length)
{
	struct fg_error error = {""};
	struct fg_graph graph;
	int result;

	watch();
	result = fg_keras_parse_h5(&graph, bytes, length, &error);
	fg_graph_free(&graph);
	return result && !error.text[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(read_in_child(bytes, length));
	if (child < 0 || waitpid(child, &status, 0) != child)
		abort();
	if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM))
		abort();
	return 0;
}
