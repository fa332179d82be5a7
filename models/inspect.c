#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "models/compile.h"
#include "models/file.h"
#include "models/inspect.h"
#include "models/onnx.h"
#include "models/plan.h"
#include "models/plan_format.h"

#define MAX_PLAN_BYTES (UINT64_C(1) << 36)
#define PLACE	       24 /* bytes for the name of a place */

static const char *kind_name(uint32_t kind)
{
	static const char *const names[] = {
#define NAME(name, label) label,
		FG_STEP_KINDS(NAME)};

	return names[kind];
}

static const char *activation_name(uint32_t activation)
{
	static const char *const names[] = {FG_ACTIVATIONS(NAME)
#undef NAME
	};

	return names[activation];
}

static const struct fg_plan_step *steps_of(const struct fg_plan *plan)
{
	return (const struct fg_plan_step *)(plan->header + 1);
}

static uint64_t constant_bytes(const struct fg_plan_step *step)
{
	uint64_t cols = (uint64_t)fg_panels(step->out_cols) * FG_PANEL_COLS;

	return ((step->weights ? cols * step->in_cols : 0) + (step->bias ? cols : 0)) *
	       sizeof(float);
}

static uint64_t flops(const struct fg_plan_step *step)
{
	uint64_t each = step->kind == FG_STEP_DENSE ? 2 * (uint64_t)step->in_cols : 1;

	if (step->kind != FG_STEP_ACTIVATION && step->activation != FG_ACTIVATION_NONE)
		each++;
	return each * step->out_cols;
}

static const char *place_name(uint32_t place, char name[PLACE])
{
	if (place == FG_PLACE_INPUT)
		return "input";
	if (place == FG_PLACE_OUTPUT)
		return "output";
	snprintf(name, PLACE, "buffer%u", place - FG_PLACE_BUFFER);
	return name;
}

struct total {
	uint64_t bytes;
	uint64_t flops;
};

static struct total total_of(const struct fg_plan *plan)
{
	struct total total = {0};

	for (uint32_t i = 0; i < plan->header->step_count; i++) {
		total.bytes += constant_bytes(&steps_of(plan)[i]);
		total.flops += flops(&steps_of(plan)[i]);
	}
	return total;
}

/* "buffer0" or, for a sum of two, "buffer0+input". */
static void print_sources(const struct fg_plan_step *step, char out[2 * PLACE])
{
	char one[PLACE], two[PLACE];

	if (step->other == FG_PLACE_NONE)
		snprintf(out, 2 * PLACE, "%s", place_name(step->in, one));
	else
		snprintf(out, 2 * PLACE, "%s+%s", place_name(step->in, one),
			 place_name(step->other, two));
}

static void print_text(const struct fg_plan *plan, FILE *out)
{
	const struct fg_plan_header *header = plan->header;
	struct total total = total_of(plan);

	fprintf(out, "plan     format %u, %llu bytes, digest %016llx\n", header->version,
		(unsigned long long)header->size, (unsigned long long)header->digest);
	fprintf(out, "shapes   (rows, %u) -> (rows, %u), float32\n", plan->in_cols, plan->out_cols);
	fprintf(out, "golden   %u rows, %s, tolerance %g\n", header->golden_rows,
		header->golden_shipped ? "shipped with the version"
				       : "made up and run through the C reference",
		header->golden_tolerance);
	fprintf(out, "memory   %llu bytes of weights, %zu bytes of scratch for one row\n",
		(unsigned long long)total.bytes, fg_plan_scratch_bytes(plan, 1));
	fprintf(out, "work     %llu flops a row\n\n", (unsigned long long)total.flops);
	fprintf(out, "%4s  %-10s  %-31s  %-17s  %-10s  %-17s  %-8s  %10s  %12s\n", "step", "kind",
		"label", "columns", "activation", "from", "to", "bytes", "flops/row");
	for (uint32_t i = 0; i < header->step_count; i++) {
		const struct fg_plan_step *step = &steps_of(plan)[i];
		char columns[32], from[2 * PLACE], to[PLACE];

		snprintf(columns, sizeof(columns), "%u -> %u", step->in_cols, step->out_cols);
		print_sources(step, from);
		fprintf(out, "%4u  %-10s  %-31s  %-17s  %-10s  %-17s  %-8s  %10llu  %12llu\n", i,
			kind_name(step->kind), step->label, columns,
			activation_name(step->activation), from, place_name(step->out, to),
			(unsigned long long)constant_bytes(step), (unsigned long long)flops(step));
	}
}

/* Labels are printable ASCII (fg_plan_open), so only these two need an escape. */
static void print_json_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void print_json_step(const struct fg_plan_step *step, FILE *out)
{
	char from[2 * PLACE], to[PLACE];

	print_sources(step, from);
	fprintf(out, "{\"kind\":\"%s\",\"label\":", kind_name(step->kind));
	print_json_string(step->label, out);
	fprintf(out,
		",\"in_cols\":%u,\"out_cols\":%u,\"activation\":\"%s\",\"from\":\"%s\",\"to\":\"%"
		"s\","
		"\"bytes\":%llu,\"flops\":%llu}",
		step->in_cols, step->out_cols, activation_name(step->activation), from,
		place_name(step->out, to), (unsigned long long)constant_bytes(step),
		(unsigned long long)flops(step));
}

static void print_json(const struct fg_plan *plan, FILE *out)
{
	const struct fg_plan_header *header = plan->header;
	struct total total = total_of(plan);

	fprintf(out,
		"{\"format\":%u,\"size\":%llu,\"digest\":\"%016llx\",\"in_cols\":%u,"
		"\"out_cols\":%u,\"golden\":{\"rows\":%u,\"shipped\":%s,\"tolerance\":%g},"
		"\"scratch_bytes\":%zu,\"bytes\":%llu,\"flops\":%llu,\"steps\":[",
		header->version, (unsigned long long)header->size,
		(unsigned long long)header->digest, plan->in_cols, plan->out_cols,
		header->golden_rows, header->golden_shipped ? "true" : "false",
		header->golden_tolerance, fg_plan_scratch_bytes(plan, 1),
		(unsigned long long)total.bytes, (unsigned long long)total.flops);
	for (uint32_t i = 0; i < header->step_count; i++) {
		if (i)
			fputc(',', out);
		print_json_step(&steps_of(plan)[i], out);
	}
	fprintf(out, "]}\n");
}

static int print_plan(const void *bytes, size_t size, bool json, FILE *out, struct fg_error *error)
{
	struct fg_plan plan;
	int result = fg_plan_open(&plan, bytes, size, error);

	if (result)
		return result;
	if (json)
		print_json(&plan, out);
	else
		print_text(&plan, out);
	return 0;
}

static int print_model(int dirfd, const char *name, bool json, FILE *out, struct fg_error *error)
{
	struct fg_graph graph;
	void *bytes;
	size_t size;
	int result = fg_onnx_load(&graph, dirfd, name, error);

	if (result)
		return result;
	result = fg_compile(&graph, NULL, &bytes, &size, error);
	fg_graph_free(&graph);
	if (result)
		return result;
	result = print_plan(bytes, size, json, out, error);
	free(bytes);
	return result;
}

/* True when the file begins as a plan does. */
static bool is_plan(int dirfd, const char *name)
{
	uint32_t magic = 0;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool found = fd >= 0 && read(fd, &magic, sizeof(magic)) == sizeof(magic) &&
		     magic == FG_PLAN_MAGIC;

	if (fd >= 0)
		close(fd);
	return found;
}

static int print_file(int dirfd, const char *name, bool json, FILE *out, struct fg_error *error)
{
	struct fg_arena arena = {0};
	const void *bytes;
	size_t size;
	int result;

	if (!is_plan(dirfd, name))
		return print_model(dirfd, name, json, out, error);
	result = fg_file_load(dirfd, name, MAX_PLAN_BYTES, &arena, &bytes, &size, error);
	if (!result)
		result = print_plan(bytes, size, json, out, error);
	fg_arena_free(&arena);
	return result;
}

int fg_inspect_file(const char *path, bool json, FILE *out, struct fg_error *error)
{
	char directory[PATH_MAX], name[PATH_MAX];
	bool is_directory;
	struct stat status;
	int dirfd, result;

	if (strlen(path) >= PATH_MAX)
		return fg_error_set(error, -ENAMETOOLONG, "%.60s...: the name is too long", path);
	if (stat(path, &status))
		return fg_error_set(error, -errno, "%.180s: %s", path, strerror(errno));
	is_directory = S_ISDIR(status.st_mode);
	strcpy(directory, path);
	strcpy(name, path);
	dirfd = open(is_directory ? path : dirname(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return fg_error_set(error, -errno, "%.180s: %s", path, strerror(errno));
	if (is_directory)
		result = print_model(dirfd, FG_ONNX_FILE, json, out, error);
	else
		result = print_file(dirfd, basename(name), json, out, error);
	close(dirfd);
	return result;
}
