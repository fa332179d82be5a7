/*
 * tools/flipgate-pack as a program (from $BUILD/bin): what it writes, how it fails, and that it
 * has given up its rights while it reads. Tests that need root to give something up are skipped
 * without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "models/plan.h"
#include "models/plan_format.h"
#include "tests/unit/pack_case.h"

/* ---- what it writes ---- */

static void writes_a_plan(void **state)
{
	const struct version *version = *state;
	const float in[2] = {1, 2};
	float weights[4], out[2];
	struct fg_plan plan;
	void *bytes;
	int fd;

	assert_ended(pack(version), 0, "");
	fd = open(version->plan, O_RDONLY);
	assert_true(fd >= 0);
	plan = open_plan(fd, &bytes);
	fg_plan_run(&plan, in, 1, out, bytes); /* one step: no scratch */
	fill_weights(weights, 4, 1);
	assert_true(out[0] == weights[0] + 2 * weights[2]);
	assert_true(out[1] == weights[1] + 2 * weights[3]);
	free(bytes);
	close(fd);
}

static void writes_to_descriptors(void **state)
{
	const struct version *version = *state;
	int memory = memfd_create("fgt-plan", 0), ends[2], dir = dup(version->fd);
	char dir_text[16], out_text[16], error_text[16], line[512];
	struct fg_plan plan;
	void *bytes;

	assert_int_equal(pipe(ends), 0);
	snprintf(dir_text, sizeof(dir_text), "%d", dir);
	snprintf(out_text, sizeof(out_text), "%d", memory);
	snprintf(error_text, sizeof(error_text), "%d", ends[1]);
	assert_ended(RUN("--dir-fd", dir_text, "--output-fd", out_text, "--error-fd", error_text,
			 "--name", "digits", "--user", "nobody"),
		     0, "");
	plan = open_plan(memory, &bytes);
	assert_int_equal(plan.in_cols, 2);
	free(bytes);
	put_string(version, "model.onnx", "nonsense");
	assert_ended(RUN("--dir-fd", dir_text, "--output-fd", out_text, "--error-fd", error_text,
			 "--name", "digits", "--user", "nobody"),
		     3, "flipgate-pack: digits: model.onnx: ");
	close(ends[1]);
	read_end(ends[0], line, sizeof(line));
	assert_ptr_equal(strstr(line, "digits: model.onnx: "), line);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	close(ends[0]);
	close(memory);
	close(dir);
}

static void keeps_the_old_plan(void **state)
{
	const struct version *version = *state;
	char text[16] = {0};
	int fd;

	put_string(version, "plan", "old");
	put_string(version, "model.onnx", "nonsense");
	assert_ended(pack(version), 3, "model.onnx: ");
	fd = openat(version->fd, "plan", O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text) - 1), 3);
	close(fd);
	assert_string_equal(text, "old");
}

static void is_deterministic(void **state)
{
	const struct version *version = *state;
	struct fg_plan one, two;
	void *first, *second;
	int fd;

	assert_ended(pack(version), 0, "");
	fd = open(version->plan, O_RDONLY);
	one = open_plan(fd, &first);
	close(fd);
	assert_ended(pack(version), 0, "");
	fd = open(version->plan, O_RDONLY);
	two = open_plan(fd, &second);
	close(fd);
	assert_memory_equal(one.header, two.header, one.header->size);
	free(first);
	free(second);
}

/* ---- golden.json ---- */

static void golden_is_checked(void **state)
{
	const struct version *version = *state;
	float w[4];
	char text[256];
	struct fg_plan plan;
	void *bytes;
	int fd;

	fill_weights(w, 4, 1);
	snprintf(text, sizeof(text),
		 "{\"inputs\": [[1, 0], [0, 1]], \"outputs\": [[%g, %g], [%g, %g]],"
		 " \"tolerance\": 1e-3}",
		 w[0], w[1], w[2], w[3]);
	put_string(version, "golden.json", text);
	assert_ended(pack(version), 0, "");
	fd = open(version->plan, O_RDONLY);
	plan = open_plan(fd, &bytes);
	assert_int_equal(plan.golden_rows, 2);
	assert_int_equal(plan.header->golden_shipped, 1);
	assert_true(plan.header->golden_tolerance == 1e-3f);
	free(bytes);
	close(fd);
	snprintf(text, sizeof(text),
		 "{\"inputs\": [[1, 0], [0, 1]], \"outputs\": [[%g, %g], [%g, %g]]}", w[0], w[1],
		 w[2], w[3] + 0.5);
	put_string(version, "golden.json", text);
	assert_ended(pack(version), 4, "golden.json: golden row 1, column 1 (of output 'y'): got");
}

static void golden_is_refused(void **state)
{
	static const struct {
		const char *text;
		const char *reason;
	} cases[] = {
		{"", "golden.json: line"},
		{"{\"inputs\": [[1, 2]]", "golden.json: line 1"},
		{"{\"inputs\": [[1, 2, 3]], \"outputs\": [[1, 2]]}", "3 columns"},
		{"{\"inputs\": {\"z\": [[1, 2]]}, \"outputs\": [[1, 2]]}",
		 "input 'x' (2 columns) is missing"},
	};
	const struct version *version = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_string(version, "golden.json", cases[i].text);
		assert_ended(pack(version), 3, cases[i].reason);
	}
}

static void golden_arrays_are_checked(void **state)
{
	const struct version *version = *state;

	put_string(version, "golden.npz", "no zip");
	assert_ended(pack(version), 3, "golden.npz: ");
	put_string(version, "golden.json", "{\"inputs\": [[1, 0]], \"outputs\": [[1, 0]]}");
	assert_ended(pack(version), 3, "golden.json and golden.npz");
}

/* ---- pack.json, --weights and a file by itself ---- */

static uint32_t packed_format(const struct version *version)
{
	int fd = open(version->plan, O_RDONLY);
	struct fg_plan plan;
	uint32_t format;
	void *bytes;

	plan = open_plan(fd, &bytes);
	format = plan.header->format;
	close(fd);
	free(bytes);
	return format;
}

/* y = x (N, 40) times weights (40, 16) that need more than 8 bits. */
static void put_uneven(const struct version *version)
{
	float weights[40 * 16];

	for (size_t i = 0; i < 40 * 16; i++)
		weights[i] = sinf((float)(i * i)) * 0.05f;
	graph.length = model.length = 0;
	put_input(&graph, "x", DIMS(0, 40));
	put_raw(&graph, "w", ONNX_FLOAT, DIMS(40, 16), weights, sizeof(weights));
	put_node(&graph, "MatMul", "", "x w", "y", NULL);
	put_output(&graph, "y", DIMS(0, 16));
	put_model(&model, &graph, 13);
	put_file(version, "model.onnx", model.bytes, model.length);
}

static void weights_are_chosen(void **state)
{
	const struct version *version = *state;

	put_uneven(version);
	put_string(version, "pack.json", "{\"weights\": \"bf16\"}");
	assert_ended(pack(version), 0, "");
	assert_int_equal(packed_format(version), FG_WEIGHTS_BF16);
	assert_ended(RUN(version->path, "-o", version->plan, "--weights", "int8"), 0, "");
	assert_int_equal(packed_format(version), FG_WEIGHTS_INT8);
	put_string(version, "pack.json", "{\"weights\": \"int8\", \"max_error\": 1e-6}");
	assert_ended(pack(version), 4, "above the bound 1e-06");
	assert_ended(RUN(version->path, "-o", version->plan, "--max-error", "0.5"), 0, "");
	assert_ended(RUN(version->path, "-o", version->plan, "--weights", "f32"), 0, "");
	assert_int_equal(packed_format(version), FG_WEIGHTS_F32);
	assert_ended(RUN(version->path, "-o", version->plan, "--weights", "f16"), 1, "--weights");
	assert_ended(RUN(version->path, "-o", version->plan, "--max-error", "0"), 1, "--max-error");
}

static void settings_are_checked(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{"", "pack.json: line"},
		{"[]", "pack.json: "},
		{"{\"weights\": \"int4\"}", "'int4'"},
		{"{\"weights\": 8}", "pack.json: "},
		{"{\"max_error\": -1}", "\"max_error\""},
		{"{\"max_error\": \"small\"}", "pack.json: "},
		{"{\"wieghts\": \"int8\"}", "wieghts"},
	};
	const struct version *version = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_string(version, "pack.json", cases[i].text);
		assert_ended(pack(version), 3, cases[i].reason);
	}
}

static void a_file_by_itself(void **state)
{
	const struct version *version = *state;
	char path[128];

	put_string(version, "golden.json", "not of this file's business");
	snprintf(path, sizeof(path), "%s/model.onnx", version->path);
	assert_ended(RUN(path, "-o", version->plan), 0, "");
	snprintf(path, sizeof(path), "%s/golden.json", version->path);
	assert_ended(RUN(path, "-o", version->plan), 3, "not a model by its name");
	snprintf(path, sizeof(path), "%s/other.onnx", version->path);
	assert_ended(RUN(path, "-o", version->plan), 2, "No such file");
	put_string(version, "model.h5", "one too many");
	assert_ended(pack(version), 3, "model.onnx and model.h5");
}

/* ---- how it fails ---- */

static void usage_is_checked(void **state)
{
	const struct version *version = *state;

	assert_ended(RUN("--help"), 0, "Examples:");
	assert_ended(RUN("--version"), 0, "flipgate-pack ");
	assert_ended(RUN(version->path), 1, "--output");
	assert_ended(RUN("--output", version->plan), 1, "DIR or FILE");
	assert_ended(RUN("--nonsense"), 1, "nonsense");
	assert_ended(RUN("a", "b", "--output", version->plan), 1, "one DIR");
	assert_ended(RUN("--dir-fd", "900", "--output-fd", "1"), 1, "open descriptor");
	assert_ended(RUN("--dir-fd", "x", "--output-fd", "1"), 1, "open descriptor");
}

/* A file of some hundred bytes may ask for much: its golden rows alone take 16 MiB. */
static void memory_is_bounded(void **state)
{
	const struct version *version = *state;

	graph.length = model.length = 0;
	put_input(&graph, "x", DIMS(0, 2));
	put_shape(&graph, "shape", DIMS(2, 1 << 18));
	put_node(&graph, "ConstantOfShape", "zeros", "shape", "w", NULL);
	put_node(&graph, "MatMul", "wide", "x w", "y", NULL);
	put_output(&graph, "y", DIMS(0, 1 << 18));
	put_model(&model, &graph, 13);
	assert_in_range(model.length, 1, 1000);
	put_file(version, "model.onnx", model.bytes, model.length);
	assert_ended(RUN("-m", "67108864", version->path, "-o", version->plan), 7, "");
	assert_int_equal(access(version->plan, F_OK), -1);
	assert_ended(RUN("--memory", "0", version->path, "-o", version->plan), 0, "");
	assert_ended(RUN("--memory", "-1", version->path, "-o", version->plan), 1, "bytes");
	assert_ended(RUN("--memory", "1x", version->path, "-o", version->plan), 1, "bytes");
}

static void files_are_missing(void **state)
{
	const struct version *version = *state;

	assert_ended(RUN("/nonexistent", "--output", version->plan), 2, "/nonexistent: No such");
	assert_ended(RUN(version->path, "--output", "/nonexistent/plan"), 5, "No such file");
	unlinkat(version->fd, "model.onnx", 0);
	assert_ended(pack(version), 2, "no model.onnx, model.h5 or model.keras");
	symlinkat("plan", version->fd, "model.onnx");
	assert_ended(pack(version), 3, "model.onnx is a symbolic link");
}

static void output_is_not_writable(void **state)
{
	const struct version *version = *state;
	char dir_text[16], out_text[16];
	int dir = dup(version->fd), out = open("/dev/null", O_RDONLY);

	snprintf(dir_text, sizeof(dir_text), "%d", dir);
	snprintf(out_text, sizeof(out_text), "%d", out);
	assert_ended(RUN("--dir-fd", dir_text, "--output-fd", out_text), 5, "writing the plan");
	close(dir);
	close(out);
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void unreadable_files(void **state)
{
	const struct version *version = *state;

	need_root();
	assert_int_equal(fchmodat(version->fd, "model.onnx", 0600, 0), 0);
	assert_ended(pack(version), 2, "model.onnx: user 65534 may not read it: chmod o+r");
	assert_ended(pack(version), 2, "(it is 'nobody')");
	assert_int_equal(fchmodat(version->fd, "model.onnx", 0644, 0), 0);
	assert_int_equal(fchmod(version->fd, 0700), 0);
	assert_ended(pack(version), 2, "o+x its directory");
}

static void users_are_checked(void **state)
{
	const struct version *version = *state;

	need_root();
	assert_ended(RUN("--user", "root", version->path, "--output", version->plan), 6,
		     "'root' is root");
	assert_ended(RUN("--user", "nobody-knows", version->path, "--output", version->plan), 6,
		     "no user 'nobody-knows'");
}

/* ---- rights while it works ---- */

/* The value of `key` in /proc/PID/status. */
static void status_field(pid_t pid, const char *key, char value[64])
{
	char path[32], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	assert_non_null(file);
	value[0] = 0;
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			sscanf(line + strlen(key), ":%63s", value);
	fclose(file);
}

static void assert_status(pid_t pid, const char *key, const char *want)
{
	char value[64];

	status_field(pid, key, value);
	if (strcmp(value, want) != 0)
		fail_msg("%s is %s, not %s", key, value, want);
}

static void assert_no_rights(pid_t pid)
{
	static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		assert_status(pid, sets[i], "0000000000000000");
	assert_status(pid, "NoNewPrivs", "1");
	assert_status(pid, "Uid", "65534");
	assert_status(pid, "Gid", "65534");
	assert_status(pid, "Groups", "");
}

/* Its output is a pipe that nobody empties, so it waits in the middle, and can be looked at. */
static void packer_has_no_rights(void **state)
{
	const struct version *version = *state;
	char dir_text[16], out_text[16];
	char *arguments[] = {"flipgate-pack", "--dir-fd", dir_text, "--output-fd", out_text, NULL};
	int dir = dup(version->fd), ends[2];
	struct pollfd ready;
	char drain[4096];
	pid_t child;

	need_root();
	put_linear(version, 2000); /* more than a pipe holds */
	assert_int_equal(pipe(ends), 0);
	snprintf(dir_text, sizeof(dir_text), "%d", dir);
	snprintf(out_text, sizeof(out_text), "%d", ends[1]);
	child = start_packer(arguments, STDERR_FILENO);
	close(ends[1]);
	ready = (struct pollfd){.fd = ends[0], .events = POLLIN};
	assert_int_equal(poll(&ready, 1, 20000), 1);
	assert_no_rights(child);
	assert_status(child, "Seccomp", "2");
	while (read(ends[0], drain, sizeof(drain)) > 0)
		;
	assert_int_equal(wait_for(child), 0);
	close(ends[0]);
	close(dir);
}

#define WITH_VERSION(test) cmocka_unit_test_setup_teardown(test, make_version, remove_version)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_VERSION(writes_a_plan),	    WITH_VERSION(writes_to_descriptors),
		WITH_VERSION(keeps_the_old_plan),   WITH_VERSION(is_deterministic),
		WITH_VERSION(golden_is_checked),    WITH_VERSION(golden_is_refused),
		WITH_VERSION(usage_is_checked),	    WITH_VERSION(memory_is_bounded),
		WITH_VERSION(files_are_missing),    WITH_VERSION(output_is_not_writable),
		WITH_VERSION(unreadable_files),	    WITH_VERSION(users_are_checked),
		WITH_VERSION(packer_has_no_rights), WITH_VERSION(golden_arrays_are_checked),
		WITH_VERSION(weights_are_chosen),   WITH_VERSION(settings_are_checked),
		WITH_VERSION(a_file_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
