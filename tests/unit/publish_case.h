/* publish_case.h: a folder in /tmp for each test of publishing: "in", a version to publish, and an
 * empty "repository". */
#ifndef FG_TESTS_PUBLISH_CASE_H
#define FG_TESTS_PUBLISH_CASE_H

#include <errno.h>
#include <sys/stat.h>

#include "tests/unit/cli_case.h"
#include "tools/cli_publish_tree.h"

static char base[64]; /* of this test */
static struct fg_error error;
static volatile sig_atomic_t stop;

/* A name in it. Eight of them last at a time. */
static inline const char *path_of(const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
	return path;
}

static inline void write_file(const char *name, const void *bytes, size_t size)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_return_code(fd, errno);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static inline void make_folder(const char *name)
{
	assert_return_code(mkdir(path_of(name), 0755), errno);
}

static inline bool is_there(const char *name)
{
	struct stat info;

	return lstat(path_of(name), &info) == 0;
}

static inline void assert_holds(const char *name, const char *text)
{
	char there[64] = "";
	int fd = open(path_of(name), O_RDONLY);

	assert_return_code(fd, errno);
	assert_return_code(read(fd, there, sizeof(there) - 1), errno);
	close(fd);
	assert_string_equal(there, text);
}

/* How many names a folder holds, hidden ones too. */
static inline int count_names(const char *name)
{
	struct fg_tree tree;
	int count;

	assert_int_equal(fg_tree_open(&tree, path_of(name), &stop, &error), 0);
	count = (int)tree.count;
	fg_tree_close(&tree);
	return count;
}

static inline int setup(void **state)
{
	(void)state;
	stop = 0;
	strcpy(base, "/tmp/fgt-publish-XXXXXX");
	assert_non_null(mkdtemp(base));
	make_folder("in");
	make_folder("in/assets.extra");
	make_folder("repository");
	write_file("in/model.onnx", "the model", 9);
	write_file("in/golden.json", "{}", 2);
	write_file("in/assets.extra/warmup", "warm", 4);
	return 0;
}

static inline int teardown(void **state)
{
	int parent = open("/tmp", O_RDONLY | O_DIRECTORY);

	(void)state;
	fg_tree_remove(parent, strrchr(base, '/') + 1);
	close(parent);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
