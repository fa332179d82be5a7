/* flipgate-pack: compiles a model version to a plan, without rights. See usage below. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/file.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "userspace/shared/sandbox.h"

#define GOLDEN_FILE	 "golden.json"
#define GOLDEN_MAX_BYTES (256u << 20)
#define MEMORY_BYTES	 (UINT64_C(4) << 30)
#define CPU_SECONDS	 60
#define OPEN_FILES	 32

enum {
	EXIT_USAGE = 1,
	EXIT_READ = 2,	  /* a file cannot be read */
	EXIT_MODEL = 3,	  /* the model or the golden file is wrong, or not supported */
	EXIT_GOLDEN = 4,  /* the golden rows do not come out */
	EXIT_WRITE = 5,	  /* the plan cannot be written */
	EXIT_SANDBOX = 6, /* rights could not be given up, or the packer was killed */
};

static const char usage[] =
	"Usage: flipgate-pack [--user USER] DIR --output FILE\n"
	"       flipgate-pack --dir-fd N --output-fd M [--error-fd E] [--name MODEL] [--user "
	"USER]\n"
	"\n"
	"Compiles the model version in DIR (model.onnx, data files that it names, and golden.json\n"
	"where there is one) to a plan, checks that its golden rows come out, and writes the "
	"plan.\n"
	"The model is read without rights: as USER (default nobody; root only), without\n"
	"capabilities, under seccomp and, where the kernel has it, Landlock.\n"
	"\n"
	"  -o, --output FILE   write the plan there (replaced only when all went well)\n"
	"  -u, --user USER     become USER before reading anything\n"
	"      --dir-fd N      the version's directory, an open descriptor (for flipgated)\n"
	"      --output-fd M   write the plan there (for flipgated: a memfd)\n"
	"      --error-fd E    write the reason of a failure there too, one line\n"
	"  -n, --name MODEL    the model's name, for messages\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"golden.json: {\"inputs\": [[row], ...], \"outputs\": [[row], ...], \"tolerance\": 1e-4};\n"
	"an output may differ by tolerance * (1 + |wanted|). Without it 16 rows are made up and "
	"run\n"
	"through the reference kernels.\n"
	"\n"
	"Exit status: 0 done, 1 usage, 2 a file cannot be read, 3 the model is wrong or not\n"
	"supported, 4 the golden rows do not come out, 5 the plan cannot be written, 6 sandbox.\n"
	"\n"
	"Examples:\n"
	"  flipgate-pack models/digits/3 --output digits-3.plan\n"
	"  sudo flipgate-pack --user flipgate /srv/models/digits/3 -o /tmp/digits-3.plan\n";

struct options {
	const char *dir;    /* people */
	const char *output; /* people */
	int dir_fd;
	int output_fd;
	int error_fd; /* -1: none */
	const char *name;
	const char *user; /* NULL: not root, stay who we are */
};

/* Reports one line and returns `status`. */
static int fail(const struct options *options, int status, const struct fg_error *error)
{
	char line[512];
	int length = snprintf(line, sizeof(line), "%s%s%s\n", options->name ? options->name : "",
			      options->name ? ": " : "", error->text);

	if (length >= (int)sizeof(line))
		length = sizeof(line) - 1;
	fprintf(stderr, "flipgate-pack: %s", line);
	/* Nobody is left to tell when this fails: the exit status still says what it was. */
	if (options->error_fd >= 0 && write(options->error_fd, line, (size_t)length) < 0)
		return status;
	return status;
}

/* ---- golden.json ---- */

struct golden_file {
	struct fg_golden golden;
	struct fg_arena arena; /* owns the rows */
};

/* Rows of one JSON array, all of the same length, as (rows, cols) floats. */
static int read_rows(const json_t *root, const char *key, struct fg_arena *arena, uint32_t *rows,
		     uint32_t *cols, const float **out, struct fg_error *error)
{
	const json_t *list = json_object_get(root, key);
	size_t count = json_array_size(list), width = json_array_size(json_array_get(list, 0));
	float *to;

	if (!count || count > FG_PLAN_MAX_GOLDEN || !width || width > FG_PLAN_MAX_COLS)
		return fg_error_set(error, -EINVAL,
				    GOLDEN_FILE ": \"%s\" must be a list of 1 to %u rows", key,
				    FG_PLAN_MAX_GOLDEN);
	to = fg_arena_alloc(arena, count, width * sizeof(*to));
	if (!to)
		return fg_error_set(error, -ENOMEM, GOLDEN_FILE ": out of memory");
	for (size_t row = 0; row < count; row++) {
		const json_t *line = json_array_get(list, row);

		if (json_array_size(line) != width)
			return fg_error_set(error, -EINVAL,
					    GOLDEN_FILE ": \"%s\": row %zu is not a list of %zu "
							"numbers, as row 0 is",
					    key, row, width);
		for (size_t col = 0; col < width; col++) {
			const json_t *number = json_array_get(line, col);

			if (!json_is_number(number))
				return fg_error_set(error, -EINVAL,
						    GOLDEN_FILE
						    ": \"%s\": row %zu, column %zu is no number",
						    key, row, col);
			to[row * width + col] = (float)json_number_value(number);
		}
	}
	*rows = (uint32_t)count;
	*cols = (uint32_t)width;
	*out = to;
	return 0;
}

static int read_golden_json(const json_t *root, struct golden_file *file, struct fg_error *error)
{
	struct fg_golden *golden = &file->golden;
	const json_t *tolerance = json_object_get(root, "tolerance");
	uint32_t output_rows;
	int result = read_rows(root, "inputs", &file->arena, &golden->rows, &golden->in_cols,
			       &golden->inputs, error);

	if (!result)
		result = read_rows(root, "outputs", &file->arena, &output_rows, &golden->out_cols,
				   &golden->outputs, error);
	if (result)
		return result;
	if (output_rows != golden->rows)
		return fg_error_set(error, -EINVAL, GOLDEN_FILE ": %u inputs but %u outputs",
				    golden->rows, output_rows);
	golden->tolerance = FG_GOLDEN_TOLERANCE;
	if (tolerance)
		golden->tolerance = (float)json_number_value(tolerance);
	if (!(golden->tolerance > 0 && golden->tolerance <= 1))
		return fg_error_set(error, -EINVAL,
				    GOLDEN_FILE
				    ": \"tolerance\" must be a number above 0, at most 1");
	return 0;
}

/* 0; -ENOENT: the version ships none; another -errno with *error. */
static int load_golden(int dirfd, struct golden_file *file, struct fg_error *error)
{
	json_error_t where;
	const void *bytes;
	json_t *root;
	size_t size;
	int result = fg_file_load(dirfd, GOLDEN_FILE, GOLDEN_MAX_BYTES, &file->arena, &bytes, &size,
				  error);

	if (result)
		return result;
	root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
	if (!root)
		return fg_error_set(error, -EINVAL, GOLDEN_FILE ": line %d: %.120s", where.line,
				    where.text);
	result = read_golden_json(root, file, error);
	json_decref(root);
	return result;
}

/* ---- packing, without rights ---- */

static int set_limit(int resource, rlim_t most, struct fg_error *error)
{
	struct rlimit limit;

	/* Never above a hard limit that is there already: only root could. */
	if (getrlimit(resource, &limit) == 0) {
		limit.rlim_max = limit.rlim_max < most ? limit.rlim_max : most;
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(resource, &limit) == 0)
			return 0;
	}
	return fg_error_set(error, -errno, "sandbox: resource limits: %s", strerror(errno));
}

static int set_limits(struct fg_error *error)
{
	int result = set_limit(RLIMIT_CPU, CPU_SECONDS, error);

	/* An address sanitizer maps terabytes that it never touches. */
#ifndef __SANITIZE_ADDRESS__
	if (!result)
		result = set_limit(RLIMIT_AS, MEMORY_BYTES, error);
#endif
	if (!result)
		result = set_limit(RLIMIT_FSIZE, MEMORY_BYTES, error);
	if (!result)
		result = set_limit(RLIMIT_NOFILE, OPEN_FILES, error);
	if (!result)
		result = set_limit(RLIMIT_CORE, 0, error);
	return result;
}

/* Closes all but stdin, stdout, stderr and the three descriptors that the work is about. */
static void close_others(const struct options *options)
{
	unsigned int next = 3;

	while (next) {
		unsigned int kept = UINT_MAX;
		const int keep[] = {options->dir_fd, options->output_fd, options->error_fd};

		for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++)
			if (keep[i] >= (int)next && (unsigned int)keep[i] < kept)
				kept = (unsigned int)keep[i];
		if (kept > next)
			close_range(next, kept == UINT_MAX ? UINT_MAX : kept - 1, 0);
		next = kept == UINT_MAX ? 0 : kept + 1;
	}
}

static int enter_sandbox(const struct options *options, struct fg_error *error)
{
	int result = fg_sandbox_drop(options->user, error);

	if (!result)
		result = set_limits(error);
	if (!result)
		result = fg_sandbox_landlock_read(options->dir_fd, error);
	if (!result)
		result = fg_sandbox_seccomp(FG_SANDBOX_PACKER, error);
	return result;
}

/* With every kernel that this CPU can run, because FG_ISA may choose any of them later. */
static int check_golden(const void *bytes, size_t size, struct fg_error *error)
{
	const struct fg_kernels *kernels;
	int result = 0;

	for (size_t i = 0; !result && (kernels = fg_cpu_kernels(i)); i++) {
		struct fg_plan plan;
		void *scratch;

		result = fg_plan_open_with(&plan, kernels, bytes, size, error);
		if (result)
			return result;
		scratch = aligned_alloc(FG_PLAN_ALIGN,
					(fg_plan_golden_scratch_bytes(&plan) + FG_PLAN_ALIGN - 1) /
						FG_PLAN_ALIGN * FG_PLAN_ALIGN);
		if (!scratch)
			return fg_error_set(error, -ENOMEM, "out of memory for the golden rows");
		result = fg_plan_check_golden(&plan, scratch, error);
		free(scratch);
	}
	return result;
}

static int write_plan(int fd, const char *bytes, size_t size, struct fg_error *error)
{
	while (size) {
		ssize_t done = write(fd, bytes, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fg_error_set(error, -errno, "writing the plan: %s", strerror(errno));
		bytes += done;
		size -= (size_t)done;
	}
	return 0;
}

/* The exit status for an errno of the reading half. Names the user behind the number that
 * models/file.h gives: looking names up is not possible any more in there. */
static int read_status(const struct options *options, int result, struct fg_error *error)
{
	size_t length = strlen(error->text);

	if (result == -EACCES && options->user)
		snprintf(error->text + length, sizeof(error->text) - length, " (it is '%s')",
			 options->user);
	return result == -EINVAL || result == -EFBIG ? EXIT_MODEL : EXIT_READ;
}

static int pack_version(const struct options *options, struct fg_error *error)
{
	struct golden_file file = {0};
	struct fg_graph graph = {0};
	void *bytes = NULL;
	size_t size;
	int status = 0, result = fg_onnx_load(&graph, options->dir_fd, FG_ONNX_FILE, error);

	if (result) {
		status = read_status(options, result, error);
		goto out;
	}
	result = load_golden(options->dir_fd, &file, error);
	if (result && result != -ENOENT) {
		status = read_status(options, result, error);
		goto out;
	}
	result = fg_compile(&graph, result ? NULL : &file.golden, &bytes, &size, error);
	if (result) {
		status = EXIT_MODEL;
		goto out;
	}
	if (check_golden(bytes, size, error))
		status = EXIT_GOLDEN;
	else if (write_plan(options->output_fd, bytes, size, error))
		status = EXIT_WRITE;
out:
	free(bytes);
	fg_graph_free(&graph);
	fg_arena_free(&file.arena);
	return status;
}

static int pack(const struct options *options)
{
	struct fg_error error;
	int status;

	close_others(options);
	if (enter_sandbox(options, &error))
		return fail(options, EXIT_SANDBOX, &error);
	status = pack_version(options, &error);
	return status ? fail(options, status, &error) : 0;
}

/* ---- for people: DIR and FILE by name ---- */

/* The child packs into `path` (a new file); the parent has never seen a byte of the model. */
static int pack_in_child(struct options *options)
{
	struct fg_error error;
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(pack(options));
	if (child < 0 || waitpid(child, &status, 0) != child) {
		fg_error_set(&error, -errno, "starting the packer: %s", strerror(errno));
		return fail(options, EXIT_SANDBOX, &error);
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fg_error_set(&error, -EPERM, "%s: the packer was killed by signal %d (%s)", options->dir,
		     WTERMSIG(status), strsignal(WTERMSIG(status)));
	return fail(options, EXIT_SANDBOX, &error);
}

static int pack_by_name(struct options *options)
{
	struct fg_error error;
	char path[PATH_MAX];
	int status;

	if (snprintf(path, sizeof(path), "%s.%d.tmp", options->output, getpid()) >=
	    (int)sizeof(path)) {
		fg_error_set(&error, -ENAMETOOLONG, "%.100s...: the name is too long",
			     options->output);
		return fail(options, EXIT_WRITE, &error);
	}
	options->dir_fd = open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (options->dir_fd < 0) {
		fg_error_set(&error, -errno, "%s: %s", options->dir, strerror(errno));
		return fail(options, EXIT_READ, &error);
	}
	options->output_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (options->output_fd < 0) {
		fg_error_set(&error, -errno, "%s: %s", path, strerror(errno));
		return fail(options, EXIT_WRITE, &error);
	}
	status = pack_in_child(options);
	if (!status && rename(path, options->output)) {
		fg_error_set(&error, -errno, "%s: %s", options->output, strerror(errno));
		status = fail(options, EXIT_WRITE, &error);
	}
	if (status)
		unlink(path);
	return status;
}

/* ---- options ---- */

static int parse_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	return *text && !*end && fd >= 0 && fd <= INT_MAX && fcntl((int)fd, F_GETFD) >= 0 ? (int)fd
											  : -1;
}

static int usage_error(const char *what)
{
	fprintf(stderr, "flipgate-pack: %s; see flipgate-pack --help\n", what);
	return EXIT_USAGE;
}

/* 0: go on; EXIT_USAGE; -1: done (help). */
static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
					      {"user", required_argument, NULL, 'u'},
					      {"name", required_argument, NULL, 'n'},
					      {"dir-fd", required_argument, NULL, 'D'},
					      {"output-fd", required_argument, NULL, 'O'},
					      {"error-fd", required_argument, NULL, 'E'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {0}};
	int option;

	while ((option = getopt_long(argc, argv, "o:u:n:hV", longs, NULL)) != -1) {
		int *fd = option == 'D'	  ? &options->dir_fd
			  : option == 'O' ? &options->output_fd
			  : option == 'E' ? &options->error_fd
					  : NULL;

		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage : "flipgate-pack " FG_VERSION "\n", stdout);
			return -1;
		}
		if (fd && (*fd = parse_fd(optarg)) < 0)
			return usage_error("--*-fd takes the number of an open descriptor");
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'o')
			options->output = optarg;
		else if (option == 'u')
			options->user = optarg;
		else if (option == 'n')
			options->name = optarg;
	}
	options->dir = argv[optind];
	return argc - optind > 1 ? usage_error("one DIR only") : 0;
}

int main(int argc, char **argv)
{
	struct options options = {.dir_fd = -1, .output_fd = -1, .error_fd = -1, .user = "nobody"};
	int status = parse_options(&options, argc, argv);

	if (status)
		return status < 0 ? 0 : status;
	if (geteuid() != 0)
		options.user = NULL;
	if (options.dir && options.output && options.dir_fd < 0 && options.output_fd < 0)
		return pack_by_name(&options);
	if (!options.dir && !options.output && options.dir_fd >= 0 && options.output_fd >= 0)
		return pack(&options);
	return usage_error("give DIR and --output FILE, or --dir-fd and --output-fd");
}
