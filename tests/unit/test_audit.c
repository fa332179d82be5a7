/* The audit log: lines as they should be, whatever is in them, and whatever becomes of the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "userspace/daemon/audit.h"

static char path[64];
static struct fg_audit audit;
static _Atomic uint64_t lost;
static const struct fg_audit_who root = {.uid = 0, .pid = 4711};

static int open_log(void **state)
{
	struct fg_error error = {""};
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/fgt-audit-%d", getpid());
	unlink(path);
	if (fg_audit_file(path, &fd, &error))
		return -1;
	atomic_store(&lost, 0);
	fg_audit_open(&audit, fd, &lost);
	return 0;
}

static int close_log(void **state)
{
	(void)state;
	fg_audit_close(&audit);
	close(audit.fd);
	unlink(path);
	return 0;
}

static void write_raw(const char *text)
{
	assert_int_equal(write(audit.fd, text, strlen(text)), strlen(text));
}

static json_t *tail(uint32_t limit)
{
	struct fg_error error = {""};
	json_t *list = fg_audit_tail(&audit, limit, 60000, &error);

	if (!list)
		fail_msg("%s", error.text);
	return list;
}

static const char *text_of(const json_t *list, size_t index, const char *key)
{
	return json_string_value(json_object_get(json_array_get(list, index), key));
}

static void add(const char *why)
{
	const struct fg_audit_event event = {.who = &root,
					     .what = "promote",
					     .result = "ok",
					     .why = why};

	fg_audit_add(&audit, &event);
}

static void test_a_line(void **state)
{
	const struct fg_audit_event event = {.who = &root,
					     .what = "promote",
					     .model = "fraud",
					     .from = 6,
					     .to = 7,
					     .generation = 12,
					     .result = "ok",
					     .why = "ticket 4711"};
	const struct fg_audit_event own = {.what = "guard", .result = "rolled_back", .error = ""};
	json_t *list, *line, *who;

	(void)state;
	fg_audit_add(&audit, &event);
	fg_audit_add(&audit, &own);
	list = tail(10);
	assert_int_equal(json_array_size(list), 0); /* queued, not written */
	json_decref(list);
	fg_audit_flush(&audit);
	list = tail(10);
	assert_int_equal(json_array_size(list), 2);
	line = json_array_get(list, 0);
	assert_string_equal(text_of(list, 0, "what"), "promote");
	assert_string_equal(text_of(list, 0, "model"), "fraud");
	assert_string_equal(text_of(list, 0, "result"), "ok");
	assert_string_equal(text_of(list, 0, "why"), "ticket 4711");
	assert_int_equal(json_integer_value(json_object_get(line, "from")), 6);
	assert_int_equal(json_integer_value(json_object_get(line, "to")), 7);
	assert_int_equal(json_integer_value(json_object_get(line, "generation")), 12);
	assert_null(json_object_get(line, "error"));
	who = json_object_get(line, "who");
	assert_int_equal(json_integer_value(json_object_get(who, "uid")), 0);
	assert_int_equal(json_integer_value(json_object_get(who, "pid")), 4711);
	assert_string_equal(json_string_value(json_object_get(who, "user")), "root");
	assert_int_equal(strlen(text_of(list, 0, "time")), strlen("2026-01-02T03:04:05.678Z"));
	assert_string_equal(text_of(list, 1, "who"), "flipgated");
	assert_null(json_object_get(json_array_get(list, 1), "model"));
	json_decref(list);
}

/* A user without a name, and texts that want to break out of their line. */
static void test_hostile_texts(void **state)
{
	const struct fg_audit_who nobody = {.uid = 3999999999u, .pid = 1};
	const struct fg_audit_event event = {.who = &nobody,
					     .what = "promote",
					     .result = "failed",
					     .why = "a\nb\"c\\d\x1b[31m",
					     .error = "bytes \xff\xfe"};
	json_t *list;

	(void)state;
	fg_audit_add(&audit, &event);
	fg_audit_flush(&audit);
	list = tail(10);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(text_of(list, 0, "why"), "a\nb\"c\\d\x1b[31m");
	assert_string_equal(text_of(list, 0, "error"), "bytes ??");
	assert_string_equal(json_string_value(
				    json_object_get(json_object_get(json_array_get(list, 0), "who"),
						    "user")),
			    "3999999999");
	json_decref(list);
	assert_int_equal(atomic_load(&lost), 0);
}

static void test_history_is_the_end(void **state)
{
	char why[32];
	json_t *list;

	(void)state;
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(why, sizeof(why), "%u", i);
		add(why);
	}
	fg_audit_flush(&audit);
	list = tail(3);
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(text_of(list, 0, "why"), "4997");
	assert_string_equal(text_of(list, 2, "why"), "4999");
	json_decref(list);
	list = tail(FG_AUDIT_MAX_LINES); /* as many as fit */
	assert_in_range(json_array_size(list), 300, 900);
	assert_string_equal(text_of(list, json_array_size(list) - 1, "why"), "4999");
	json_decref(list);
	assert_int_equal(atomic_load(&lost), 0);
}

static void test_broken_lines_are_skipped(void **state)
{
	json_t *list;

	(void)state;
	add("one");
	fg_audit_flush(&audit);
	write_raw("{\"half\":\nhello\n[1,2]\n\xff\xfe\n\n");
	add("two");
	fg_audit_flush(&audit);
	write_raw("{\"what\":\"torn");
	list = tail(10);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(text_of(list, 0, "why"), "one");
	assert_string_equal(text_of(list, 1, "why"), "two");
	json_decref(list);
}

/* A process that died within a line: the next one ends it first. */
static void test_a_torn_end_is_ended(void **state)
{
	struct fg_error error = {""};
	json_t *list;
	int fd;

	(void)state;
	write_raw("{\"what\":\"torn");
	assert_int_equal(fg_audit_file(path, &fd, &error), 0);
	close(fg_audit_reopen(&audit, fd));
	add("after");
	fg_audit_flush(&audit);
	list = tail(10);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(text_of(list, 0, "why"), "after");
	json_decref(list);
}

/* The limit on a file's size tears writes and refuses them as a full disk does. */
static void test_a_full_disk(void **state)
{
	int said = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);
	struct rlimit old, small;
	json_t *list;

	(void)state;
	add("before");
	fg_audit_flush(&audit);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 200;	      /* within the second line */
	dup2(nowhere, STDERR_FILENO); /* the log may be a file too, and longer than that */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	add("torn");
	add("refused");
	fg_audit_flush(&audit);
	assert_int_equal(atomic_load(&lost), 2);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	dup2(said, STDERR_FILENO);
	close(said);
	close(nowhere);
	add("after");
	fg_audit_flush(&audit);
	assert_int_equal(atomic_load(&lost), 2);
	list = tail(10);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(text_of(list, 0, "why"), "before");
	assert_string_equal(text_of(list, 1, "why"), "after");
	json_decref(list);
}

static void test_rotation(void **state)
{
	struct fg_error error = {""};
	char old[80];
	json_t *list;
	int fd;

	(void)state;
	snprintf(old, sizeof(old), "%s.1", path);
	add("before");
	fg_audit_flush(&audit);
	assert_int_equal(rename(path, old), 0);
	add("still the old one");
	fg_audit_flush(&audit);
	assert_int_equal(fg_audit_file(path, &fd, &error), 0);
	close(fg_audit_reopen(&audit, fd));
	add("the new one");
	fg_audit_flush(&audit);
	list = tail(10);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(text_of(list, 0, "why"), "the new one");
	json_decref(list);
	unlink(old);
}

static void test_files_that_are_none(void **state)
{
	struct fg_error error = {""};
	struct stat info;
	int fd = 7;

	(void)state;
	assert_int_equal(fg_audit_file("", &fd, &error), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(fg_audit_file("/dev/null", &fd, &error), -EINVAL);
	assert_non_null(strstr(error.text, "/dev/null"));
	assert_int_equal(fg_audit_file("/nowhere/at/all", &fd, &error), -ENOENT);
	assert_int_equal(fstat(audit.fd, &info), 0);
	assert_int_equal(info.st_mode & 0777 & ~0640, 0);
}

static void test_no_log(void **state)
{
	struct fg_audit none;

	(void)state;
	fg_audit_open(&none, -1, &lost);
	fg_audit_add(&none, &(const struct fg_audit_event){.what = "promote", .result = "ok"});
	fg_audit_flush(&none);
	assert_int_equal(none.count, 0);
	assert_int_equal(atomic_load(&lost), 0);
}

#define LOGGED(name) cmocka_unit_test_setup_teardown(name, open_log, close_log)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOGGED(test_a_line),
		LOGGED(test_hostile_texts),
		LOGGED(test_history_is_the_end),
		LOGGED(test_broken_lines_are_skipped),
		LOGGED(test_a_torn_end_is_ended),
		LOGGED(test_a_full_disk),
		LOGGED(test_rotation),
		LOGGED(test_files_that_are_none),
		LOGGED(test_no_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
