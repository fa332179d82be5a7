/* flipgate-pack: compiles a model version to a plan, without rights. See usage below. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/compile_plan.h"
#include "models/cpu.h"
#include "models/file.h"
#include "models/golden.h"
#include "models/model.h"
#include "models/pack.h"
#include "models/plan.h"
#include "models/plan_format.h"
#include "models/row_time.h"
#include "models/warmup.h"
#include "userspace/shared/sandbox.h"
#include "userspace/shared/sanitized.h"

#define SETTINGS_FILE	   "pack.json"
#define SETTINGS_MAX_BYTES (64u << 10)
#define MEMORY_BYTES	   (UINT64_C(6) << 30)
#define CPU_SECONDS	   60
#define OPEN_FILES	   32

enum {
	EXIT_USAGE = 1,
	EXIT_READ = 2,	  /* a file cannot be read */
	EXIT_MODEL = 3,	  /* the model or a file beside it is wrong, or not supported */
	EXIT_GOLDEN = 4,  /* the golden rows do not come out */
	EXIT_WRITE = 5,	  /* the plan cannot be written */
	EXIT_SANDBOX = 6, /* rights could not be given up, or the packer was killed */
	EXIT_MEMORY = 7,  /* it needs more memory than it may use */
	EXIT_SLOW = 8,	  /* a row takes too long */
};

static const char usage[] =
	"Usage: flipgate-pack [OPTION]... DIR|FILE --output PLAN\n"
	"       flipgate-pack [OPTION]... DIR|FILE --output-fd M [--error-fd E]\n"
	"       flipgate-pack [OPTION]... --dir-fd N --output-fd M [--error-fd E]\n"
	"\n"
	"Compiles the model version in DIR, or the model FILE, to a plan, checks that its golden\n"
	"rows come out, and writes the plan. The model is read without rights: as USER, without\n"
	"capabilities, under seccomp and, where the kernel has it, Landlock.\n"
	"\n"
	"DIR holds one of model.onnx (and data files that it names), model.h5 or model.keras, and\n"
	"may hold golden.json or golden.npz, pack.json, and TensorFlow Serving's\n" FG_WARMUP_FOLDER
	"/" FG_WARMUP_FILE ".\n"
	"\n"
	"  -o, --output PLAN   write the plan there (replaced only when all went well)\n"
	"  -w, --weights TYPE  f32 (default), bf16 or int8\n"
	"  -e, --max-error E   refuse bf16 or int8 where an output differs from f32's by more "
	"than\n"
	"                      E * (1 + |output|) (default 0.02)\n"
	"  -r, --max-row-ms MS refuse a model of which one row takes longer, 0.001 to 1000 "
	"(default\n"
	"                      10): other models wait for it\n"
	"  -u, --user USER     become USER before reading anything (root only; default nobody)\n"
	"  -m, --memory BYTES  use no more than that, a quarter for the plan (6 GiB)\n"
	"  -n, --name MODEL    the model's name, for messages\n"
	"      --dir-fd N      the version's directory, an open descriptor (for flipgated)\n"
	"      --file NAME     with --dir-fd: read this file in it\n"
	"      --output-fd M   write the plan to that open descriptor\n"
	"      --error-fd E    write the reason of a failure there too, one line\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"golden.json: {\"inputs\": [[row], ...], \"outputs\": [[row], ...], \"tolerance\": 1e-4};\n"
	"an output may differ by tolerance * (1 + |wanted|). golden.npz: the same as NumPy "
	"arrays.\n"
	"Without them 16 rows are made up and run through the reference kernels.\n"
	"pack.json: {\"weights\": \"int8\", \"max_error\": 0.02}, as the options say; they win.\n"
	"\n"
	"Exit status: 0 done, 1 usage, 2 a file cannot be read, 3 the model is wrong or not\n"
	"supported, 4 the golden rows do not come out, or the weights' error is above the bound,\n"
	"5 the plan cannot be written, 6 sandbox, 7 it takes more memory, 8 a row takes too "
	"long.\n"
	"\n"
	"Examples:\n"
	"  flipgate-pack models/digits/3 --output digits-3.plan\n"
	"  flipgate-pack model.keras --weights int8 --output small.plan\n"
	"  sudo flipgate-pack --user flipgate /srv/models/digits/3 -o /tmp/digits-3.plan\n";

struct options {
	const char *path;   /* people: DIR or FILE */
	const char *output; /* people */
	const char *file;   /* in dir_fd; NULL: whichever model file is there */
	int dir_fd;
	int output_fd;
	int error_fd; /* -1: none */
	const char *name;
	const char *user; /* NULL: not root, stay who we are */
	uint64_t memory_bytes;
	struct fg_compile_options compile;
	bool has_weights, has_max_error; /* said on the command line */
};

/* Reports one line and returns `status`. */
static int fail(const struct options *options, int status, const struct fg_error *error)
{
	struct fg_error line;

	fg_error_set(&line, 0, "%s%s%s", options->name ? options->name : "",
		     options->name ? ": " : "", error->text);
	fprintf(stderr, "flipgate-pack: %s\n", line.text);
	/* Nobody is left to tell when this fails: the exit status still says what it was. */
	if (options->error_fd >= 0)
		dprintf(options->error_fd, "%s\n", line.text);
	return status;
}

/* ---- pack.json ---- */

static int find_format(const char *name, enum fg_weights *format)
{
	for (uint32_t i = 0; i < FG_WEIGHTS_COUNT; i++) {
		if (strcmp(name, fg_weights_name(i)) == 0) {
			*format = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_settings(json_t *root, struct options *options, struct fg_error *error)
{
	const char *weights = NULL;
	double max_error = options->compile.max_error;
	json_error_t where;

	if (json_unpack_ex(root, &where, JSON_STRICT, "{s?s, s?F}", "weights", &weights,
			   "max_error", &max_error))
		return fg_error_set(error, -EINVAL,
				    SETTINGS_FILE ": %s; it holds {\"weights\": \"int8\", "
						  "\"max_error\": 0.02} or a part of it",
				    where.text);
	if (weights && !options->has_weights && find_format(weights, &options->compile.weights))
		return fg_error_set(error, -EINVAL,
				    SETTINGS_FILE
				    ": \"weights\" is '%.20s': f32, bf16 and int8 are "
				    "known",
				    weights);
	if (!(max_error >= 0 && max_error <= 1))
		return fg_error_set(error, -EINVAL,
				    SETTINGS_FILE ": \"max_error\" must be above 0, at most 1");
	if (!options->has_max_error)
		options->compile.max_error = (float)max_error;
	return 0;
}

/* What the version says of how to pack it; flags win. */
static int load_settings(struct options *options, struct fg_arena *arena, struct fg_error *error)
{
	json_error_t where;
	const void *bytes;
	json_t *root;
	size_t size;
	int result = fg_file_load(options->dir_fd, SETTINGS_FILE, SETTINGS_MAX_BYTES, arena, &bytes,
				  &size, error);

	if (result)
		return result == -ENOENT ? 0 : result;
	root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
	if (!root)
		return fg_error_set(error, -EINVAL, SETTINGS_FILE ": line %d: %s", where.line,
				    where.text);
	result = read_settings(root, options, error);
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

/* The plan is made in memory and then written to what may be memory, too. Of a plan that is too
 * long write(2) says so. */
static int set_limits(const struct options *options, struct fg_error *error)
{
	uint64_t plan_bytes = options->memory_bytes / 4;
	int result = set_limit(RLIMIT_CPU, CPU_SECONDS, error);

	signal(SIGXFSZ, SIG_IGN);

	/* An address sanitizer maps terabytes that it never touches. */
#if !FG_SANITIZED
	if (!result)
		result = set_limit(RLIMIT_AS, options->memory_bytes - plan_bytes, error);
#endif
	if (!result)
		result = set_limit(RLIMIT_FSIZE, plan_bytes, error);
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
		result = set_limits(options, error);
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
	if (result == -ENOMEM)
		return EXIT_MEMORY;
	return result == -EINVAL || result == -EFBIG ? EXIT_MODEL : EXIT_READ;
}

/* What is read and made for one plan. */
struct packing {
	struct fg_graph graph;
	struct fg_arena arena; /* of settings, golden and warm-up rows */
	struct fg_golden golden;
	bool has_golden;
	const void *warmup; /* the file; NULL: none */
	size_t warmup_bytes;
	void *plan;
	size_t plan_bytes;
};

static int read_version(struct options *options, struct packing *packing, struct fg_error *error)
{
	int result = fg_model_load(&packing->graph, options->dir_fd, options->file, error);

	/* A file by itself is no version: what else lies beside it is none of its business. */
	if (!result && !options->file) {
		result = load_settings(options, &packing->arena, error);
		if (result)
			return result;
		result = fg_golden_load(&packing->golden, options->dir_fd, &packing->arena, error);
		packing->has_golden = !result;
		if (!result || result == -ENOENT)
			result = fg_warmup_load(options->dir_fd, &packing->arena, &packing->warmup,
						&packing->warmup_bytes, error);
		result = result == -ENOENT ? 0 : result;
	}
	return result;
}

/* On stderr, as stdout may be somebody's JSON. */
static void tell_warmup(const struct options *options, const struct fg_warmup *warmup)
{
	char line[512]; /* room for the longest of all its parts */
	int length = snprintf(line, sizeof(line), "%.100s%swarm-up: %u requests, %u rows",
			      options->name ? options->name : "", options->name ? ": " : "",
			      warmup->count, warmup->rows);

	if (warmup->rows_left)
		length += snprintf(line + length, sizeof(line) - (size_t)length,
				   "; %llu more rows are too many",
				   (unsigned long long)warmup->rows_left);
	if (warmup->skipped)
		snprintf(line + length, sizeof(line) - (size_t)length, "; %u skipped: %s",
			 warmup->skipped, warmup->note.text);
	fprintf(stderr, "flipgate-pack: %s\n", line);
}

/* Puts the rows of the version's warm-up file into the plan, whose inputs say what they must be. */
static int add_warmup(const struct options *options, struct packing *packing,
		      struct fg_error *error)
{
	struct fg_warmup warmup;
	struct fg_plan plan;
	int result =
		fg_plan_open_with(&plan, &fg_kernels_c, packing->plan, packing->plan_bytes, error);

	if (!result)
		result = fg_warmup_read(&warmup, &plan, packing->warmup, packing->warmup_bytes,
					&packing->arena, error);
	if (!result && warmup.count)
		result = fg_plan_add_warmup(&packing->plan, &packing->plan_bytes, &warmup, error);
	if (!result)
		tell_warmup(options, &warmup);
	return result;
}

static int pack_version(struct options *options, struct packing *packing, struct fg_error *error)
{
	int result = read_version(options, packing, error);

	if (result)
		return read_status(options, result, error);
	result = fg_compile(&packing->graph, packing->has_golden ? &packing->golden : NULL,
			    &options->compile, &packing->plan, &packing->plan_bytes, error);
	if (result)
		return result == -EDOM	   ? EXIT_GOLDEN
		       : result == -ENOMEM ? EXIT_MEMORY
		       : result == -ETIME  ? EXIT_SLOW
					   : EXIT_MODEL;
	fg_graph_free(&packing->graph); /* the plan may be as large, and is copied once more */
	result = packing->warmup ? add_warmup(options, packing, error) : 0;
	if (result)
		return result == -ENOMEM ? EXIT_MEMORY : EXIT_MODEL;
	result = check_golden(packing->plan, packing->plan_bytes, error);
	if (result)
		return result == -ENOMEM ? EXIT_MEMORY : EXIT_GOLDEN;
	result = write_plan(options->output_fd, packing->plan, packing->plan_bytes, error);
	return result == -EFBIG ? EXIT_MEMORY : result ? EXIT_WRITE : 0;
}

static int pack(struct options *options)
{
	static struct packing packing; /* large */
	struct fg_error error;
	int status;

	close_others(options);
	if (enter_sandbox(options, &error))
		return fail(options, EXIT_SANDBOX, &error);
	status = pack_version(options, &packing, &error);
	free(packing.plan);
	fg_graph_free(&packing.graph);
	fg_arena_free(&packing.arena);
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
	fg_error_set(&error, -EPERM, "%s: the packer was killed by signal %d (%s)", options->path,
		     WTERMSIG(status), strsignal(WTERMSIG(status)));
	return fail(options, EXIT_SANDBOX, &error);
}

/* DIR itself, or the directory that FILE is in. */
static int open_directory(struct options *options, struct fg_error *error)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	const char *slash = strrchr(options->path, '/');
	char parent[PATH_MAX];

	options->dir_fd = open(options->path, flags);
	if (options->dir_fd < 0 && errno == ENOTDIR && strlen(options->path) < sizeof(parent)) {
		options->file = slash ? slash + 1 : options->path;
		snprintf(parent, sizeof(parent), "%.*s",
			 slash ? (int)(slash - options->path) + 1 : 1, slash ? options->path : ".");
		options->dir_fd = open(parent, flags);
	}
	if (options->dir_fd >= 0)
		return 0;
	return fg_error_set(error, -errno, "%.180s: %s", options->path, strerror(errno));
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
	if (open_directory(options, &error))
		return fail(options, EXIT_READ, &error);
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

static int set_weights(struct options *options, const char *text)
{
	options->has_weights = true;
	return find_format(text, &options->compile.weights);
}

static int set_max_error(struct options *options, const char *text)
{
	char *end;

	options->has_max_error = true;
	options->compile.max_error = strtof(text, &end);
	return *text && !*end && options->compile.max_error > 0 && options->compile.max_error <= 1
		       ? 0
		       : -EINVAL;
}

/* 0: as much as there usually is. */
static int set_memory(struct options *options, const char *text)
{
	char *end;
	unsigned long long bytes = strtoull(text, &end, 10);

	if (bytes)
		options->memory_bytes = bytes;
	return *text && !*end && *text != '-' ? 0 : -EINVAL;
}

static int set_max_row(struct options *options, const char *text)
{
	char *end;
	double ns = strtod(text, &end) * 1e6;

	if (!*text || *end || !(ns >= 1e3 && ns <= (double)FG_ROW_TIME_MOST_NS))
		return -EINVAL;
	options->compile.max_row_ns = (uint64_t)ns;
	return 0;
}

/* 0: go on; EXIT_USAGE; -1: done (help). */
static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
					      {"user", required_argument, NULL, 'u'},
					      {"memory", required_argument, NULL, 'm'},
					      {"name", required_argument, NULL, 'n'},
					      {"weights", required_argument, NULL, 'w'},
					      {"max-error", required_argument, NULL, 'e'},
					      {"max-row-ms", required_argument, NULL, 'r'},
					      {"file", required_argument, NULL, 'F'},
					      {"dir-fd", required_argument, NULL, 'D'},
					      {"output-fd", required_argument, NULL, 'O'},
					      {"error-fd", required_argument, NULL, 'E'},
					      {"help", no_argument, NULL, 'h'},
					      {"version", no_argument, NULL, 'V'},
					      {0}};
	int option;

	while ((option = getopt_long(argc, argv, "o:u:m:n:w:e:r:hV", longs, NULL)) != -1) {
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
		else if (option == 'F')
			options->file = optarg;
		else if (option == 'm' && set_memory(options, optarg))
			return usage_error("--memory takes a number of bytes");
		else if (option == 'w' && set_weights(options, optarg))
			return usage_error("--weights takes f32, bf16 or int8");
		else if (option == 'e' && set_max_error(options, optarg))
			return usage_error("--max-error takes a number above 0, at most 1");
		else if (option == 'r' && set_max_row(options, optarg))
			return usage_error("--max-row-ms takes a number from 0.001 to 1000");
	}
	options->path = argv[optind];
	return argc - optind > 1 ? usage_error("one DIR or FILE only") : 0;
}

int main(int argc, char **argv)
{
	struct options options = {.dir_fd = -1,
				  .output_fd = -1,
				  .error_fd = -1,
				  .user = "nobody",
				  .memory_bytes = MEMORY_BYTES,
				  .compile.max_row_ns = FG_ROW_TIME_DEFAULT_NS};
	int status = parse_options(&options, argc, argv);

	if (status)
		return status < 0 ? 0 : status;
	if (geteuid() != 0)
		options.user = NULL;
	if (options.path && options.output && options.dir_fd < 0 && options.output_fd < 0)
		return pack_by_name(&options);
	if (options.path && !options.output && options.dir_fd < 0 && options.output_fd >= 0) {
		struct fg_error error;

		if (open_directory(&options, &error))
			return fail(&options, EXIT_READ, &error);
		return pack(&options);
	}
	if (!options.path && !options.output && options.dir_fd >= 0 && options.output_fd >= 0)
		return pack(&options);
	return usage_error("give DIR or FILE or --dir-fd, and --output PLAN or --output-fd");
}
