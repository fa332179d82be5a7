/* What served last: written when it changes, read by the next start, and only where it can be
 * trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <errno.h>
#include "userspace/daemon/served.h"

static char folder[] = "/tmp/fgt-served-XXXXXX";
static char path[64];
static struct fg_served served;
static struct fg_rollout rollout;
static struct fg_rollout_plan plans[FG_ROLLOUT_MAX_PLANS];

static int open_folder(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/one.served", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void serve(const char *model, uint64_t version)
{
	struct fg_rollout_generation *live = &rollout.generations[2];
	struct fg_rollout_entry *entry = &live->entries[live->entry_count++];

	live->phase = FG_GENERATION_LIVE;
	snprintf(entry->model, sizeof(entry->model), "%s", model);
	entry->version = version;
	entry->is_default = 1;
}

static void put(const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
	fg_served_open(&served, folder, "one");
}

static void note(int32_t keeper)
{
	fg_served_note(&served, &rollout, plans, keeper);
}

static void expect(const char *text)
{
	char all[4096] = "";

	fg_served_open(&served, folder, "one");
	for (uint32_t i = 0; i < served.list.count; i++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s %llu%s\n",
			 served.list.list[i].model, (unsigned long long)served.list.list[i].version,
			 served.list.list[i].away ? " away" : "");
	assert_string_equal(all, text);
}

static void the_next_start_knows(void **state)
{
	(void)state;
	memset(&rollout, 0, sizeof(rollout));
	expect("");
	note(1);
	expect(""); /* nothing serves, and that is said */
	assert_int_equal(served.keeper, 1);
	serve("digits", 3);
	serve("fraud", 7);
	rollout.generations[2].entries[1].is_default = 1;
	note(1);
	expect("digits 3\nfraud 7\n");
	/* After a start one is there before the other. */
	memset(&rollout, 0, sizeof(rollout));
	serve("fraud", 8);
	note(1);
	expect("fraud 8\ndigits 3 away\n");
	/* The next one has nothing yet: it says the same, and is known by it. */
	memset(&rollout, 0, sizeof(rollout));
	note(7);
	expect("fraud 8\ndigits 3 away\n");
	assert_int_equal(served.keeper, 7);
}

/* Whether a version serves what it served before shows in its plan's digest. */
static void the_digest_is_kept(void **state)
{
	(void)state;
	memset(&rollout, 0, sizeof(rollout));
	serve("digits", 3);
	rollout.generations[2].entries[0].plan = 5;
	plans[5].digest = 0xfedcba9876543210;
	note(1);
	plans[5].digest = 0;
	expect("digits 3\nfraud 8 away\n");
	assert_int_equal(served.list.list[0].digest, 0xfedcba9876543210);
}

/* Another one writes, and this one reads it again. */
static void it_may_be_read_again(void **state)
{
	struct fg_served other;

	(void)state;
	fg_served_open(&other, folder, "one");
	put("# pid 12\ndigits 4 4 9 live 00000000000000ff\nfraud 1 0 0 away 0\n", 0644);
	assert_int_equal(fg_served_read(&other), 0);
	assert_int_equal(other.keeper, 12);
	assert_int_equal(other.list.count, 2);
	assert_int_equal(other.list.list[0].seen, 9);
	assert_int_equal(other.list.list[0].digest, 255);
	assert_int_equal(other.list.list[0].away, 0);
	assert_int_equal(other.list.list[1].away, 1);
	unlink(path);
	assert_int_equal(fg_served_read(&other), -ENOENT);
	assert_int_equal(other.keeper, 0);
	assert_int_equal(other.list.count, 0);
}

static void expect_choice(const char *model, uint64_t chosen, uint64_t seen)
{
	const struct fg_rollout_served_model *found;

	fg_served_open(&served, folder, "one");
	found = fg_rollout_served(&served.list, model);
	assert_non_null(found);
	assert_int_equal(found->chosen, chosen);
	assert_int_equal(found->seen, seen);
}

static void what_was_chosen_is_kept(void **state)
{
	struct fg_rollout_model *digits = &rollout.models[1];

	(void)state;
	memset(&rollout, 0, sizeof(rollout));
	serve("digits", 3);
	strcpy(digits->name, "digits");
	digits->seen = 9; /* of no choice */
	note(1);
	expect_choice("digits", 0, 0);
	digits->chosen = 3;
	note(1);
	expect_choice("digits", 3, 9);
	/* Whatever a canary comes to, it is not over. */
	rollout.canary.phase = FG_CANARY_STARTING;
	strcpy(rollout.canary.model, "digits");
	rollout.canary.version = 12;
	digits->chosen = 0;
	note(1);
	expect_choice("digits", 3, 12);
	put("digits 3 2\nfraud 4 1 2\n", 0644);
	expect_choice("digits", 0, 0);
	expect_choice("fraud", 1, 2);
}

static void what_is_not_trusted_is_not_read(void **state)
{
	(void)state;
	put("digits 3\n", 0644);
	expect("digits 3\n");
	put("digits 3\n", 0666);
	expect("");
	put("digits 3\n../evil 4\n.x 1\ndigits 4\nnone\nzero 0\nlast 18446744073709551615", 0600);
	expect("digits 3\nlast 18446744073709551615\n");
	unlink(path);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	expect("");
}

/* More than there may be, and a name that is too long: cut, not overrun. */
static void much_is_cut(void **state)
{
	char text[16384] = "";

	(void)state;
	for (int i = 0; i < 300; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "model%d 1\n", i);
	unlink(path);
	put(text, 0644);
	assert_int_equal(served.list.count, FG_ROLLOUT_MAX_MODELS);
	memset(text, 'x', 300);
	snprintf(text + 300, sizeof(text) - 300, " 1\n");
	put(text, 0644);
	assert_true(served.list.count <= 1);
}

static void a_folder_that_is_not_there(void **state)
{
	(void)state;
	memset(&rollout, 0, sizeof(rollout));
	serve("digits", 3);
	fg_served_open(&served, "/nowhere", "one");
	note(1);
	assert_true(served.failing);
	assert_int_equal(served.list.count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_start_knows),
		cmocka_unit_test(the_digest_is_kept),
		cmocka_unit_test(it_may_be_read_again),
		cmocka_unit_test(what_was_chosen_is_kept),
		cmocka_unit_test(what_is_not_trusted_is_not_read),
		cmocka_unit_test(much_is_cut),
		cmocka_unit_test(a_folder_that_is_not_there),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
