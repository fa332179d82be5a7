/* tools/cli_publish_copy, cli_publish_tree: real folders in /tmp, and what goes wrong on the way.
 */
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/publish_case.h"
#include "tools/cli_publish_copy.h"

static struct fg_publish publish;
static bool force;

/* ---- a disk that can be told to lie ---- */

static struct {
	int calls, fail_at, spoil_at; /* count from 1; 0: never */
} disk;

/* Stands in for libc's, which it calls. Spoiling changes the file's first byte: what is read back
 * is then not what was written. */
int fsync(int fd)
{
	disk.calls++;
	if (disk.calls == disk.spoil_at)
		assert_int_equal(pwrite(fd, "X", 1, 0), 1);
	if (disk.calls == disk.fail_at) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static int renames, bad_rename; /* counts from 1; 0: none */

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
	if (++renames == bad_rename) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

static void fill(struct fg_publish *one, const char *source, const char *model, uint64_t version)
{
	memset(one, 0, sizeof(*one));
	one->source = source;
	one->version = version;
	one->force = force;
	snprintf(one->model, sizeof(one->model), "%s", model);
	snprintf(one->folder, sizeof(one->folder), "%s/repository/%s", base, model);
}

/* Prepares, commits and drops one. */
static int put(const char *source, uint64_t version)
{
	int result;

	fill(&publish, path_of(source), "digits", version);
	result = fg_publish_prepare(&publish, &stop, &error);
	if (!result)
		result = fg_publish_commit(&publish, 1, &error);
	fg_publish_drop(&publish);
	return result;
}

/* ---- what shall be ---- */

static void copies_all_of_it(void **state)
{
	(void)state;
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 1);
	assert_holds("repository/digits/1/model.onnx", "the model");
	assert_holds("repository/digits/1/assets.extra/warmup", "warm");
	assert_int_equal(count_names("repository/digits"), 5);
	force = true;
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 2);
	assert_int_equal(put("in", 7), 0);
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 8);
	force = false;
	assert_int_equal(put("in", 4), 0); /* below the highest, where nothing is */
}

/* A pipeline that runs again makes no version again. */
static void the_same_files_are_no_new_version(void **state)
{
	(void)state;
	assert_int_equal(put("in", 3), 0);
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 3);
	assert_true(publish.exists);
	assert_int_equal(count_names("repository/digits"), 5);
	write_file("in/model.onnx", "another!!", 9); /* as long as that one */
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 4);
	write_file("in/model.onnx", "the model", 9);
	assert_int_equal(put("in", 0), 0); /* it is not what the newest holds */
	assert_int_equal(publish.version, 5);
	write_file("in/more", "more", 4);
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 6);
}

/* What was looked at is what is copied, whatever bears its name by then. */
static void a_file_that_is_swapped_is_not_followed(void **state)
{
	struct fg_tree tree;
	int to;

	(void)state;
	write_file("single.onnx", "mine", 4);
	write_file("secret.onnx", "hers", 4);
	assert_return_code(mkdir(path_of("out"), 0755), errno);
	to = open(path_of("out"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fg_tree_open(&tree, path_of("single.onnx"), &stop, &error), 0);
	assert_return_code(unlink(path_of("single.onnx")), errno);
	assert_return_code(symlink("secret.onnx", path_of("single.onnx")), errno);
	assert_int_equal(fg_tree_copy(&tree, to, "out", &error), 0);
	assert_holds("out/model.onnx", "mine");
	fg_tree_close(&tree);
	close(to);
}

static void large_files_are_the_same(void **state)
{
	size_t size = (3 << 20) + 17;
	unsigned char *bytes = malloc(size);
	struct fg_tree in, out;

	(void)state;
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	write_file("in/weights.bin", bytes, size);
	free(bytes);
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(fg_tree_open(&in, path_of("in"), &stop, &error), 0);
	assert_int_equal(fg_tree_open(&out, path_of("repository/digits/1"), &stop, &error), 0);
	assert_int_equal(fg_tree_hash(&in, &error), 0);
	assert_int_equal(fg_tree_hash(&out, &error), 0);
	assert_string_equal(fg_tree_difference(&in, &out), "");
	out.entries[1].hash ^= 1;
	assert_string_equal(fg_tree_difference(&in, &out), in.entries[1].path);
	fg_tree_close(&in);
	fg_tree_close(&out);
}

static void a_file_gets_a_models_name(void **state)
{
	static const struct {
		const char *source, *name;
	} cases[] = {{"in/new.onnx", "repository/digits/1/model.onnx"},
		     {"in/new.h5", "repository/digits/2/model.h5"},
		     {"in/new.keras", "repository/digits/3/model.keras"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		write_file(cases[i].source, "one file", 8);
		assert_int_equal(put(cases[i].source, 0), 0);
		assert_holds(cases[i].name, "one file");
	}
	assert_int_equal(put("in/golden.json", 0), -EINVAL);
	assert_true(!is_there("repository/digits/4"));
}

static void the_same_again_is_fine(void **state)
{
	(void)state;
	assert_int_equal(put("in", 3), 0);
	assert_false(publish.exists);
	assert_int_equal(put("in", 3), 0);
	assert_true(publish.exists);
	/* "003" is version 3. */
	assert_return_code(rename(path_of("repository/digits/3"), path_of("repository/digits/003")),
			   errno);
	assert_int_equal(put("in", 3), 0);
	assert_true(publish.exists);
	assert_false(is_there("repository/digits/3"));
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 3);
}

static void a_version_never_changes(void **state)
{
	(void)state;
	assert_int_equal(put("in", 3), 0);
	write_file("in/golden.json", "[]", 2);
	assert_int_equal(put("in", 3), -EEXIST);
	assert_contains(error.text, "golden.json");
	assert_holds("repository/digits/3/golden.json", "{}");
	write_file("in/golden.json", "{}", 2);
	write_file("in/zzz", "", 0);
	assert_int_equal(put("in", 3), -EEXIST);
	assert_contains(error.text, "zzz");
	assert_int_equal(count_names("repository/digits"), 5);
	/* Also not when it came meanwhile. */
	fill(&publish, path_of("in"), "digits", 5);
	assert_int_equal(fg_publish_prepare(&publish, &stop, &error), 0);
	make_folder("repository/digits/5");
	assert_int_equal(fg_publish_commit(&publish, 1, &error), -EEXIST);
	fg_publish_drop(&publish);
	assert_int_equal(count_names("repository/digits"), 6);
}

static void a_number_taken_meanwhile_is_passed(void **state)
{
	(void)state;
	fill(&publish, path_of("in"), "digits", 0);
	assert_int_equal(fg_publish_prepare(&publish, &stop, &error), 0);
	assert_int_equal(publish.version, 1);
	make_folder("repository/digits/1");
	assert_int_equal(fg_publish_commit(&publish, 1, &error), 0);
	assert_int_equal(publish.version, 2);
	fg_publish_drop(&publish);
	assert_holds("repository/digits/2/model.onnx", "the model");
}

static void several_appear_together_or_not(void **state)
{
	struct fg_publish *two = calloc(2, sizeof(*two));

	(void)state;
	for (int round = 0; round < 2; round++) {
		fill(&two[0], path_of("in"), "first", 1 + (uint64_t)round);
		fill(&two[1], path_of("in"), "second", 1 + (uint64_t)round);
		for (int i = 0; i < 2; i++)
			assert_int_equal(fg_publish_prepare(&two[i], &stop, &error), 0);
		assert_false(is_there("repository/first/1") && round == 0);
		if (round == 1)
			make_folder("repository/second/2"); /* the second one cannot come */
		assert_int_equal(fg_publish_commit(two, 2, &error), round ? -EEXIST : 0);
		for (int i = 0; i < 2; i++)
			fg_publish_drop(&two[i]);
	}
	assert_true(is_there("repository/first/1") && is_there("repository/second/1"));
	assert_false(is_there("repository/first/2"));
	assert_int_equal(count_names("repository/first"), 5);
	free(two);
}

/* The second one cannot come, and the first one cannot be taken back. */
static void what_stays_is_named(void **state)
{
	struct fg_publish *two = calloc(2, sizeof(*two));

	(void)state;
	fill(&two[0], path_of("in"), "first", 5);
	fill(&two[1], path_of("in"), "second", 6);
	for (int i = 0; i < 2; i++)
		assert_int_equal(fg_publish_prepare(&two[i], &stop, &error), 0);
	make_folder("repository/second/6");
	renames = 0;
	bad_rename = 3;
	assert_int_equal(fg_publish_commit(two, 2, &error), -EEXIST);
	bad_rename = 0;
	assert_contains(error.text, "first version 5 stays in place");
	assert_contains(error.text, "Input/output error");
	assert_contains(error.text, "second/6: somebody published it just now");
	for (int i = 0; i < 2; i++)
		fg_publish_drop(&two[i]);
	assert_holds("repository/first/5/model.onnx", "the model");
	assert_int_equal(count_names("repository/second"), 1);
	free(two);
}

/* ---- what may go wrong ---- */

static void links_are_refused(void **state)
{
	(void)state;
	assert_return_code(symlink("/etc/passwd", path_of("in/link")), errno);
	assert_int_equal(put("in", 0), -ELOOP);
	assert_contains(error.text, "in/link");
	assert_false(is_there("repository/digits"));
	unlink(path_of("in/link"));
	assert_return_code(symlink("/etc", path_of("in/folder")), errno);
	assert_int_equal(put("in", 0), -ELOOP);
	unlink(path_of("in/folder"));
	assert_return_code(mkfifo(path_of("in/pipe"), 0644), errno);
	assert_int_equal(put("in", 0), -EINVAL);
	assert_contains(error.text, "in/pipe");
	unlink(path_of("in/pipe"));
	/* The folder itself may be reached through one. */
	assert_return_code(symlink("in", path_of("way")), errno);
	assert_int_equal(put("way", 0), 0);
}

/* A folder becomes a link after it was listed: what it leads to must not be copied. */
static void a_folder_turned_link_is_not_followed(void **state)
{
	struct fg_tree tree;

	(void)state;
	assert_int_equal(fg_tree_open(&tree, path_of("in"), &stop, &error), 0);
	assert_return_code(rename(path_of("in/assets.extra"), path_of("elsewhere")), errno);
	assert_return_code(symlink("../elsewhere", path_of("in/assets.extra")), errno);
	assert_int_equal(fg_tree_hash(&tree, &error), -ELOOP);
	assert_true(tree.at_fault);
	fg_tree_close(&tree);
}

static void missing_folders_are_named(void **state)
{
	(void)state;
	assert_int_equal(put("nowhere", 0), -ENOENT);
	assert_contains(error.text, "nowhere");
	assert_true(publish.folder_fd < 0);
	fill(&publish, path_of("in"), "digits", 0);
	snprintf(publish.folder, sizeof(publish.folder), "%s/no/repository/digits", base);
	assert_int_equal(fg_publish_prepare(&publish, &stop, &error), -ENOENT);
	assert_contains(error.text, "no/repository/digits");
	fg_publish_drop(&publish);
}

/* Runs `body` in a child as nobody. */
static void as_nobody(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(2);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void put_unreadable(void)
{
	int result = put("in", 0);

	/* A child must not fail by an assertion of cmocka, which would go on in there. */
	_exit(result != -EACCES || !publish.source || !strstr(error.text, "golden.json"));
}

static void put_unwritable(void)
{
	_exit(put("in", 0) != -EACCES || !strstr(error.text, "repository/digits"));
}

static void rights_are_told_of(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	chmod(base, 0755);
	as_nobody(put_unwritable);
	chmod(path_of("repository"), 0777);
	chmod(path_of("in/golden.json"), 0600);
	as_nobody(put_unreadable);
	assert_false(is_there("repository/digits"));
}

static void an_interrupt_leaves_nothing(void **state)
{
	(void)state;
	stop = 1;
	assert_int_equal(put("in", 0), -ECANCELED);
	assert_false(is_there("repository/digits"));
}

static void a_change_meanwhile_is_seen(void **state)
{
	struct fg_tree tree;

	(void)state;
	assert_int_equal(fg_tree_open(&tree, path_of("in"), &stop, &error), 0);
	write_file("in/model.onnx", "the model, longer", 17);
	assert_int_equal(fg_tree_hash(&tree, &error), -ESTALE);
	assert_contains(error.text, "model.onnx");
	fg_tree_close(&tree);
}

static void a_disk_that_lies_is_caught(void **state)
{
	(void)state;
	memset(&disk, 0, sizeof(disk));
	for (int file = 1; file <= 3; file++) {
		disk.calls = 0;
		disk.spoil_at = file;
		assert_int_equal(put("in", 0), -EIO);
		assert_contains(error.text, "reads back other than it was written");
		assert_false(is_there("repository/digits"));
	}
}

/* Three files, two folders of the copy; then the folder of the new name, and that of the model's.
 */
static void every_fsync_counts(void **state)
{
	(void)state;
	memset(&disk, 0, sizeof(disk));
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(disk.calls, 7);
	force = true;
	for (int call = 1; call <= 6; call++) {
		disk.calls = 0;
		disk.fail_at = call;
		assert_int_equal(put("in", 0), -EIO);
		/* The last one comes after the rename: it is said that the version is there. */
		assert_true(is_there("repository/digits/2") == (call == 6));
		assert_contains(error.text, call == 6 ? "is in place" : "cannot be written");
	}
	assert_int_equal(count_names("repository/digits"), 10);
	force = false;
	memset(&disk, 0, sizeof(disk));
}

/* ---- leftovers ---- */

static void make_leftover(const char *name)
{
	char path[256];

	make_folder(name);
	snprintf(path, sizeof(path), "%s/part", name);
	write_file(path, "x", 1);
}

static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

static void leftovers_of_the_dead_are_removed(void **state)
{
	char dead[128], alive[128], locked[128], mine[128];
	pid_t pid = dead_pid(), parent = getppid();
	int fd;

	(void)state;
	make_folder("repository/digits");
	snprintf(dead, sizeof(dead), "repository/digits/.3.tmp-%d", (int)pid);
	snprintf(locked, sizeof(locked), "repository/digits/.4.tmp-%d", (int)pid);
	snprintf(alive, sizeof(alive), "repository/digits/.5.tmp-%d", (int)parent);
	snprintf(mine, sizeof(mine), "repository/digits/.6.tmp-%d", (int)getpid());
	make_leftover(dead);
	make_leftover(locked);
	make_leftover(alive);
	make_leftover(mine);
	make_leftover("repository/digits/.notes");
	make_leftover("repository/digits/.x.tmp-1");
	make_leftover("repository/digits/9.tmp-1");
	fd = open(path_of(locked), O_RDONLY | O_DIRECTORY);
	assert_return_code(flock(fd, LOCK_EX), errno);
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 1);
	assert_false(is_there(dead));
	assert_true(is_there(locked)); /* its publisher lives, in another pid namespace */
	assert_true(is_there(alive));
	assert_false(is_there(mine)); /* of an earlier process with our number */
	assert_true(is_there("repository/digits/.notes"));
	assert_true(is_there("repository/digits/.x.tmp-1"));
	assert_true(is_there("repository/digits/9.tmp-1"));
	close(fd);
}

static void a_killed_publisher_is_cleaned_up_after(void **state)
{
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		fill(&publish, path_of("in"), "digits", 0);
		fg_publish_prepare(&publish, &stop, &error);
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
	assert_int_equal(count_names("repository/digits"), 5); /* its copy is there */
	assert_int_equal(put("in", 0), 0);
	assert_int_equal(publish.version, 1);
	assert_int_equal(count_names("repository/digits"), 5); /* ours alone */
}

/* ---- a full disk ---- */

/* In a child with mounts of its own. Exit codes: 0 well, 1 not, 2 no mounts here. */
static void on_small_disk(const char *options, size_t file_bytes, const char *text)
{
	char *bytes = calloc(1, file_bytes);
	pid_t pid;
	int status;

	write_file("in/weights.bin", bytes, file_bytes);
	free(bytes);
	pid = fork();
	if (!pid) {
		int result;

		if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("small", path_of("repository"), "tmpfs", 0, options))
			_exit(2);
		result = put("in", 0);
		if (result != -ENOSPC || !strstr(error.text, text) || is_there("repository/digits"))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		skip();
	assert_int_equal(status, 0);
}

static void a_copy_that_cannot_fit_is_not_begun(void **state)
{
	(void)state;
	on_small_disk("size=2m", 2 << 20, "are needed");
}

static void a_disk_that_becomes_full_is_cleaned(void **state)
{
	(void)state;
	on_small_disk("size=8m,nr_inodes=6", 1 << 20, "cannot be written: No space left");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(copies_all_of_it),
		TEST(the_same_files_are_no_new_version),
		TEST(a_file_that_is_swapped_is_not_followed),
		TEST(large_files_are_the_same),
		TEST(a_file_gets_a_models_name),
		TEST(the_same_again_is_fine),
		TEST(a_version_never_changes),
		TEST(a_number_taken_meanwhile_is_passed),
		TEST(several_appear_together_or_not),
		TEST(what_stays_is_named),
		TEST(links_are_refused),
		TEST(a_folder_turned_link_is_not_followed),
		TEST(missing_folders_are_named),
		TEST(rights_are_told_of),
		TEST(an_interrupt_leaves_nothing),
		TEST(a_change_meanwhile_is_seen),
		TEST(a_disk_that_lies_is_caught),
		TEST(every_fsync_counts),
		TEST(leftovers_of_the_dead_are_removed),
		TEST(a_killed_publisher_is_cleaned_up_after),
		TEST(a_copy_that_cannot_fit_is_not_begun),
		TEST(a_disk_that_becomes_full_is_cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
