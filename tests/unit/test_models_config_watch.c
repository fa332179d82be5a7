/* When the models' configuration is read again: on a real directory, with real inotify. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/daemon/models_config_watch.h"
#include "userspace/shared/clock.h"

#define MS 1000000ull

static char base[64], path[96];
static struct fg_models_config_watch watched;

/* ---- files ---- */

static void path_of(char full[128], const char *name)
{
	assert_true(snprintf(full, 128, "%s/%s", base, name) < 128);
}

static void make_dir(const char *name)
{
	char full[128];

	path_of(full, name);
	assert_int_equal(mkdir(full, 0755), 0);
}

static void write_file(const char *name, const char *content)
{
	char full[128];
	FILE *file;

	path_of(full, name);
	file = fopen(full, "w");
	assert_non_null(file);
	assert_true(fputs(content, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void link_to(const char *name, const char *target)
{
	char full[128];

	path_of(full, name);
	assert_int_equal(symlink(target, full), 0);
}

static void move(const char *from, const char *to)
{
	char old[128], new[128];

	path_of(old, from);
	path_of(new, to);
	assert_int_equal(rename(old, new), 0);
}

static int remove_one(const char *name, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(name);
}

static void remove_tree(const char *name)
{
	char full[128];

	path_of(full, name);
	assert_int_equal(nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- waiting ---- */

/* As control's loop, for `ms`, and once more then, or until it is told. Returns after how many ms;
 * -1: not told. */
static int wait_ms(uint32_t ms)
{
	uint64_t now_ns = fg_clock_ns(), begin_ns = now_ns, end_ns = now_ns + ms * MS, until_ns;
	struct pollfd fd = {.fd = watched.inotify, .events = POLLIN};

	for (;; now_ns = fg_clock_ns()) {
		if (fg_models_config_watch_update(&watched, now_ns))
			return (int)((now_ns - begin_ns) / MS);
		if (now_ns >= end_ns)
			return -1;
		until_ns = watched.due_ns < end_ns ? watched.due_ns : end_ns;
		if (until_ns > now_ns)
			poll(&fd, 1, (int)((until_ns - now_ns + MS - 1) / MS));
	}
}

/* Told when 200 ms have passed; the machine may be busy. */
static void assert_told(void)
{
	const int took_ms = wait_ms(3000);

	assert_in_range(took_ms, 190, 2500);
}

/* Told within less than the look each second would take: inotify reported it. `change` is what is
 * done to the files. */
#define ASSERT_TOLD_AT_ONCE(change)                                                                \
	do {                                                                                       \
		while (fg_clock_ns() > watched.last_ns + 100 * MS)                                 \
			assert_int_equal(wait_ms(20), -1);                                         \
		change;                                                                            \
		assert_in_range(wait_ms(3000), 190, 1000);                                         \
	} while (0)

static int set_up(void **state)
{
	struct fg_error error;

	(void)state;
	strcpy(base, "/tmp/fgt-watch-XXXXXX");
	assert_non_null(mkdtemp(base));
	snprintf(path, sizeof(path), "%s/etc/models", base);
	make_dir("etc");
	return fg_models_config_watch_open(&watched, path, &error);
}

static int tear_down(void **state)
{
	(void)state;
	fg_models_config_watch_close(&watched);
	nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* ---- tests ---- */

static void test_edited_and_replaced(void **state)
{
	(void)state;
	write_file("etc/models", "one");
	assert_told(); /* the first content */
	assert_int_equal(wait_ms(250), -1);
	write_file("etc/models", "two"); /* in place */
	assert_told();
	write_file("etc/.models.swp", "three");
	move("etc/.models.swp", "etc/models"); /* as editors do */
	assert_told();
	write_file("etc/models", "three"); /* touched */
	write_file("etc/other", "x");
	assert_int_equal(wait_ms(400), -1);
	write_file("etc/models", "one");
	wait_ms(60);
	write_file("etc/models", "three"); /* thought better of it */
	assert_int_equal(wait_ms(400), -1);
}

/* Told when it stands still, once, however often it is written before. */
static void test_written_slowly(void **state)
{
	char content[16] = "";
	int i;

	(void)state;
	for (i = 0; i < 8; i++) {
		strcat(content, "x");
		write_file("etc/models", content);
		assert_int_equal(wait_ms(60), -1);
	}
	assert_in_range(wait_ms(3000), 130, 2500); /* of the 200, 60 are over */
}

/* A volume of Kubernetes: models -> ..data/models, ..data -> a folder; ..data is swapped. */
static void test_config_map(void **state)
{
	(void)state;
	make_dir("etc/..1");
	write_file("etc/..1/models", "one");
	link_to("etc/..data", "..1");
	link_to("etc/models", "..data/models");
	assert_told();
	make_dir("etc/..2");
	write_file("etc/..2/models", "two");
	link_to("etc/..next", "..2");
	ASSERT_TOLD_AT_ONCE(move("etc/..next", "etc/..data"));
	remove_tree("etc/..1");
	make_dir("etc/..3");
	write_file("etc/..3/models", "two");
	link_to("etc/..next", "..3");
	move("etc/..next", "etc/..data");
	assert_int_equal(wait_ms(400), -1);
	/* What the links lead to now is watched as well. */
	ASSERT_TOLD_AT_ONCE(write_file("etc/..3/models", "three"));
}

static void test_vanishes_and_comes_back(void **state)
{
	(void)state;
	assert_int_equal(wait_ms(50), -1); /* no file yet */
	assert_true(watched.failing);
	write_file("etc/models", "one");
	assert_told();
	assert_false(watched.failing);
	remove_tree("etc");
	assert_int_equal(wait_ms(100), -1);
	assert_true(watched.failing);
	make_dir("etc");
	write_file("etc/models", "one");
	assert_int_equal(wait_ms(1500), -1); /* the same as before */
	assert_false(watched.failing);
	ASSERT_TOLD_AT_ONCE(write_file("etc/models", "two")); /* watched again */
}

/* What happens in a directory that was moved away is of no interest. */
static void test_moved_away(void **state)
{
	struct pollfd fd = {.fd = watched.inotify, .events = POLLIN};

	(void)state;
	write_file("etc/models", "one");
	assert_told();
	move("etc", "gone");
	assert_int_equal(wait_ms(50), -1);
	assert_true(watched.failing);
	wait_ms(0); /* what the end of the watch itself reports */
	write_file("gone/models", "two");
	assert_int_equal(poll(&fd, 1, 50), 0);
}

#define ON_DISK(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_DISK(test_edited_and_replaced), ON_DISK(test_written_slowly),
		ON_DISK(test_config_map),	   ON_DISK(test_vanishes_and_comes_back),
		ON_DISK(test_moved_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
