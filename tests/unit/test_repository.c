/* The repository on a real directory with real inotify: what counts as a version, and when. */
#include "tests/unit/repository_fixture.h"

#define MANY 1000 /* versions, of which few count */

/* ---- tests ---- */

static void test_names(void **state)
{
	char longest[65];

	(void)state;
	assert_int_equal(fg_repository_parse_version("1"), 1);
	assert_int_equal(fg_repository_parse_version("007"), 7);
	assert_true(fg_repository_parse_version("9223372036854775807") == INT64_MAX);
	assert_int_equal(fg_repository_parse_version("9223372036854775808"), 0);
	assert_int_equal(fg_repository_parse_version("18446744073709551616"), 0);
	assert_int_equal(fg_repository_parse_version("99999999999999999999999999999999999"), 0);
	assert_int_equal(fg_repository_parse_version("0"), 0);
	assert_int_equal(fg_repository_parse_version(""), 0);
	assert_int_equal(fg_repository_parse_version("3.tmp"), 0);
	assert_int_equal(fg_repository_parse_version("-1"), 0);
	assert_int_equal(fg_repository_parse_version(" 1"), 0);
	assert_int_equal(fg_repository_parse_version("0x1"), 0);
	assert_true(fg_repository_valid_model("a"));
	assert_true(fg_repository_valid_model("Risk_v2.eu-west"));
	assert_false(fg_repository_valid_model(""));
	assert_false(fg_repository_valid_model(".hidden"));
	assert_false(fg_repository_valid_model("a b"));
	assert_false(fg_repository_valid_model("a/b"));
	assert_false(fg_repository_valid_model("\xc3\xa9"));
	memset(longest, 'x', sizeof(longest));
	longest[64] = '\0';
	assert_false(fg_repository_valid_model(longest));
	longest[63] = '\0';
	assert_true(fg_repository_valid_model(longest));
}

static void test_what_counts(void **state)
{
	char path[256];

	(void)state;
	make_version("digits", "1");
	make_version("digits", "002");
	make_version("digits", "3.tmp");
	make_version("digits", ".4");
	make_version("digits", "0");
	make_version(".hidden", "1");
	make_version("bad name", "1");
	make_dir("digits/5"); /* no model file */
	make_file("digits/6", "not a directory");
	make_file("README", "not a directory");
	make_dir("empty");
	watch(400);
	assert_int_equal(fg_store_find(&repository->store, "digits")->count, 2);
	assert_true(find("digits", 1)->complete && find("digits", 2)->complete);
	assert_null(fg_store_find(&repository->store, ".hidden"));
	assert_null(fg_store_find(&repository->store, "bad name"));
	assert_null(fg_store_find(&repository->store, "README"));
	assert_int_equal(fg_store_find(&repository->store, "empty")->count, 0);
	assert_true(fg_repository_path(&repository->rules, &repository->store, "digits", 2, path,
				       sizeof(path)));
	assert_string_equal(path + strlen(base), "/digits/002");
	assert_false(fg_repository_path(&repository->rules, &repository->store, "digits", 5, path,
					sizeof(path)));
	assert_false(
		fg_repository_path(&repository->rules, &repository->store, "digits", 2, path, 20));
}

/* What is said of `name` in the repository; NULL: nothing. */
static const struct fg_remark *remark_on(const char *name)
{
	char path[256];
	uint32_t i;

	path_of(path, sizeof(path), name);
	for (i = 0; i < repository->remarks.count; i++)
		if (!strcmp(repository->remarks.list[i].path, path))
			return &repository->remarks.list[i];
	return NULL;
}

static void assert_remark(const char *name, const char *model, uint64_t version, const char *part)
{
	const struct fg_remark *remark = remark_on(name);

	if (!remark || !strstr(remark->reason, part))
		fail_msg("%s: %s", name, remark ? remark->reason : "no remark");
	assert_string_equal(remark->model, model);
	assert_int_equal(remark->version, version);
	assert_ptr_equal(fg_remarks_find(&repository->remarks, model, version), remark);
}

static void test_what_does_not_count_gets_a_remark(void **state)
{
	char path[256];

	(void)state;
	make_version("good", "1");
	make_version("good", "3.tmp");
	make_version("good", ".4");
	make_file("good/README.txt", "nobody takes that for a model");
	watch(20);
	assert_int_equal(repository->remarks.count, 0);
	make_version("named", "v1");
	make_version("dotted", "0.1");
	make_version("dated", "2024-01-31");
	make_dir("flat");
	make_file("flat/model.onnx", "some bytes");
	make_version("huge", "9223372036854775808");
	make_version("two", "7");
	make_version("two", "07");
	make_dir("hollow");
	make_dir("hollow/1");
	make_dir("other");
	make_dir("other/1");
	make_file("other/1/fraud.onnx", "some bytes");
	make_dir("saved");
	make_dir("saved/1");
	make_file("saved/1/saved_model.pb", "some bytes");
	make_dir("linked");
	path_of(path, sizeof(path), "linked/5");
	assert_int_equal(symlink("nowhere", path), 0);
	make_dir("bare");
	make_dir("bad name");
	make_file("model.h5", "some bytes");
	watch(50);
	assert_remark("named/v1", "named", 0, "\"v1\" is no version");
	assert_remark("dotted/0.1", "dotted", 0, "rename it");
	assert_remark("dated/2024-01-31", "dated", 0, "rename it");
	assert_remark("flat/model.onnx", "flat", 0, "/flat/1/model.onnx");
	assert_remark("huge/9223372036854775808", "huge", 0, "1 to 2^63-1");
	assert_remark("two/7", "two", 7, "the same version number");
	assert_remark("hollow/1", "hollow", 1, "is empty");
	assert_remark("other/1", "other", 1, "holds fraud.onnx, but no model");
	assert_remark("saved/1", "saved", 1, "SavedModel");
	assert_remark("linked/5", "linked", 5, "not there");
	assert_remark("bare", "bare", 0, "holds no version");
	assert_non_null(strstr(remark_on("bad name")->reason, "model names are"));
	assert_non_null(strstr(remark_on("model.h5")->reason, "REPOSITORY/MODEL/VERSION/model.h5"));
	assert_int_equal(repository->remarks.count, 13);
	/* What was mended has none. */
	make_file("hollow/1/model.onnx", "some bytes");
	remove_tree("bare");
	watch(50);
	assert_null(remark_on("hollow/1"));
	assert_int_equal(repository->remarks.count, 11);
}

/* Many of a kind are one line, and their number is bounded. */
static void test_remarks_are_few(void **state)
{
	char text[FG_REMARK_TEXT_BYTES], name[32];
	int i;

	(void)state;
	make_dir("many");
	for (i = 1; i <= 100; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		make_dir(name);
	}
	watch(20);
	assert_int_equal(repository->remarks.count, 1);
	assert_non_null(
		strstr(fg_remark_text(&repository->remarks.list[0], text),
		       "is empty: put model.onnx, model.h5 or model.keras there (and 99 more "
		       "like it)"));
	for (i = 1; i <= 100; i++) {
		snprintf(name, sizeof(name), "a name %d", i);
		make_dir(name);
		snprintf(name, sizeof(name), "model%d", i);
		make_dir(name);
	}
	watch(20);
	assert_in_range(repository->remarks.count, 2, FG_REMARKS_MAX);
}

static void test_the_folder_of_one_model(void **state)
{
	(void)state;
	make_dir("1");
	make_file("1/model.onnx", "some bytes");
	make_dir("2");
	make_file("2/model.onnx", "some bytes");
	watch(20);
	assert_int_equal(repository->remarks.count, 1);
	assert_string_equal(repository->remarks.list[0].path, base);
	assert_non_null(
		strstr(repository->remarks.list[0].reason, "give the folder above it, /tmp"));
}

static void test_sorted_by_number(void **state)
{
	const struct fg_store_model *model;

	(void)state;
	make_version("digits", "10");
	make_version("digits", "9");
	make_version("digits", "100");
	make_version("digits", "9223372036854775807");
	make_version("digits", "9223372036854775808"); /* JSON cannot say it */
	watch(300);
	model = fg_store_find(&repository->store, "digits");
	assert_int_equal(model->count, 4);
	assert_int_equal(model->versions[0].version, 9);
	assert_int_equal(model->versions[2].version, 100);
	assert_true(model->versions[3].version == INT64_MAX);
}

static void test_two_names_for_one_number(void **state)
{
	(void)state;
	make_version("digits", "7");
	make_version("digits", "007");
	watch(300);
	assert_int_equal(fg_store_find(&repository->store, "digits")->count, 1);
	assert_string_equal(find("digits", 7)->directory, "007");
}

static void test_new_version_is_noticed_at_once(void **state)
{
	uint32_t took_ms;

	(void)state;
	make_version("digits", "1");
	watch(300);
	make_version("digits", ".2");
	watch(50);
	move("digits/.2", "digits/2");
	took_ms = wait_complete("digits", 2);
	assert_in_range(took_ms, 100, 600); /* 200 ms by the rule; the machine may be busy */
}

static void test_old_files_are_complete_at_once(void **state)
{
	uint32_t took_ms;

	(void)state;
	make_version("digits", ".2");
	usleep(1300000);
	watch(10);
	move("digits/.2", "digits/2");
	took_ms = wait_complete("digits", 2);
	assert_in_range(took_ms, 0, 150);
}

/* The wall clock went back an hour, or forward: files of the future become complete by standing
 * still, and a copy that looks an hour old but goes on is another version with each change. */
static void test_the_clock_is_stepped(void **state)
{
	const time_t now = time(NULL);
	const struct timespec ahead[2] = {{now + 3600, 0}, {now + 3600, 0}};
	const struct timespec behind[2] = {{now - 3600, 0}, {now - 3600, 0}};
	char path[256];
	uint64_t before;

	(void)state;
	path_of(path, sizeof(path), "digits/1");
	make_version("digits", "1");
	assert_int_equal(utimensat(AT_FDCWD, path, ahead, 0), 0);
	watch(20);
	assert_false(find("digits", 1)->complete);
	wait_complete("digits", 1);
	before = find("digits", 1)->fingerprint;
	make_file("digits/1/model.onnx", "more of it");
	assert_int_equal(utimensat(AT_FDCWD, path, behind, 0), 0);
	watch(50);
	assert_true(find("digits", 1)->fingerprint != before);
	assert_false(find("digits", 1)->complete);
	wait_complete("digits", 1);
}

static void test_a_slow_copy_is_not_complete(void **state)
{
	char content[64] = "";
	int i;

	(void)state;
	make_version("digits", "1");
	for (i = 0; i < 12; i++) {
		strcat(content, "x");
		make_file("digits/1/model.onnx", content);
		watch(60);
		if (find("digits", 1))
			assert_false(find("digits", 1)->complete);
	}
	wait_complete("digits", 1);
}

static void test_another_file_counts(void **state)
{
	uint64_t before;

	(void)state;
	make_version("digits", "1");
	wait_complete("digits", 1);
	before = find("digits", 1)->fingerprint;
	make_file("digits/1/golden.npy", "more");
	watch(50);
	assert_true(find("digits", 1)->fingerprint != before);
	assert_false(find("digits", 1)->complete);
	wait_complete("digits", 1);
}

/* Another number, and complete once more. */
static void check_noticed(uint64_t *before)
{
	watch(50);
	assert_true(find("digits", 1)->fingerprint != *before);
	*before = find("digits", 1)->fingerprint;
	wait_complete("digits", 1);
}

/* What the packer may read counts as much as what it would read. */
static void test_permissions_count(void **state)
{
	uint64_t before;
	char path[256];

	(void)state;
	make_version("digits", "1");
	wait_complete("digits", 1);
	before = find("digits", 1)->fingerprint;
	path_of(path, sizeof(path), "digits/1/model.onnx");
	assert_int_equal(chmod(path, 0600), 0);
	check_noticed(&before);
	path_of(path, sizeof(path), "digits/1");
	assert_int_equal(chmod(path, 0711), 0);
	check_noticed(&before);
}

/* Other bytes, as many, and the time set back as cp -p and rsync do. */
static void test_same_size_and_time_count(void **state)
{
	struct timespec times[2];
	struct stat info;
	uint64_t before;
	char path[256];

	(void)state;
	make_version("digits", "1");
	wait_complete("digits", 1);
	before = find("digits", 1)->fingerprint;
	path_of(path, sizeof(path), "digits/1/model.onnx");
	assert_int_equal(stat(path, &info), 0);
	times[0] = info.st_atim;
	times[1] = info.st_mtim;
	make_file("digits/1/model.onnx", "bytes some");
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	check_noticed(&before);
}

static void test_model_file_comes_late(void **state)
{
	(void)state;
	make_dir("digits");
	make_dir("digits/1");
	watch(300);
	assert_null(find("digits", 1));
	make_file("digits/1/model.onnx", "at last");
	wait_complete("digits", 1);
}

static void test_vanish_and_return(void **state)
{
	(void)state;
	make_version("digits", "1");
	make_version("digits", "2");
	wait_complete("digits", 2);
	remove_tree("digits/2");
	watch(60);
	assert_null(find("digits", 2));
	remove_tree("digits");
	watch(60);
	assert_null(fg_store_find(&repository->store, "digits"));
	make_version("digits", "3");
	wait_complete("digits", 3);
}

static void test_base_goes_and_returns(void **state)
{
	(void)state;
	make_version("digits", "1");
	wait_complete("digits", 1);
	memcpy(rollout->models[0].name, "digits", 7);
	assert_int_equal(nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	watch(100);
	assert_int_equal(repository->failing_count, 1);
	assert_null(find("digits", 1));
	assert_int_equal(mkdir(base, 0755), 0);
	make_version("digits", "2");
	wait_complete("digits", 2);
	assert_int_equal(repository->failing_count, 0);
}

/* A symbolic link to a directory is a directory, as an operator expects. */
static void test_links(void **state)
{
	char path[256];

	(void)state;
	make_version("digits", ".store");
	path_of(path, sizeof(path), "digits/8");
	assert_int_equal(symlink(".store", path), 0);
	path_of(path, sizeof(path), "digits/9");
	assert_int_equal(symlink("nowhere", path), 0);
	wait_complete("digits", 8);
	assert_null(find("digits", 9));
}

/* Of the repository's inotify: one for each file and folder that is looked after. */
static uint32_t count_watches(void)
{
	char path[64], line[256];
	uint32_t count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", repository->inotify);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += !strncmp(line, "inotify ", 8);
	fclose(file);
	return count;
}

static void test_only_the_newest_count(void **state)
{
	char version[16];
	int i;

	(void)state;
	for (i = 1; i <= MANY; i++) {
		snprintf(version, sizeof(version), "%d", i);
		make_version("digits", version);
	}
	watch(400);
	assert_int_equal(fg_store_find(&repository->store, "digits")->count, FG_STORE_MAX_VERSIONS);
	assert_null(find("digits", MANY - FG_STORE_MAX_VERSIONS));
	assert_non_null(find("digits", MANY - FG_STORE_MAX_VERSIONS + 1));
	assert_non_null(find("digits", MANY));
	assert_in_range(count_watches(), FG_STORE_MAX_VERSIONS, 2 * FG_STORE_MAX_VERSIONS + 8);
}

static void test_too_many_models(void **state)
{
	char name[16];
	int i;

	(void)state;
	memcpy(rollout->models[3].name, "zz-last", 8);
	make_version("zz-last", "1");
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS + 4; i++) {
		snprintf(name, sizeof(name), "m%02d", i);
		make_version(name, "1");
	}
	watch(400);
	assert_int_equal(repository->store.count, FG_ROLLOUT_MAX_MODELS);
	assert_non_null(find("zz-last", 1)); /* a name in use keeps its place */
	assert_null(fg_store_find(&repository->store, "m35"));
}

static int compare_hashes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void random_name(char name[32], uint32_t seed)
{
	snprintf(name, 32, "m%016llx", (seed + 1ull) * 0x9e3779b97f4a7c15ull);
}

/* Two names with one XXH32, found as in the birthday problem. */
static void find_collision(char first[32], char second[32])
{
	const uint32_t count = 400000;
	uint64_t *hashes = malloc(count * sizeof(*hashes));
	uint32_t i;

	for (i = 0; i < count; i++) {
		random_name(first, i);
		hashes[i] = (uint64_t)fg_wire_model(first) << 32 | i;
	}
	qsort(hashes, count, sizeof(*hashes), compare_hashes);
	for (i = 1; i < count && hashes[i] >> 32 != hashes[i - 1] >> 32; i++)
		;
	assert_true(i < count);
	random_name(first, (uint32_t)hashes[i - 1]);
	random_name(second, (uint32_t)hashes[i]);
	free(hashes);
}

static void test_names_that_collide(void **state)
{
	char first[32], second[32];

	(void)state;
	find_collision(first, second);
	assert_int_equal(fg_wire_model(first), fg_wire_model(second));
	/* Who was there first stays, and the other is refused. */
	make_version(second, "1");
	wait_complete(second, 1);
	make_version(first, "1");
	watch(300);
	assert_non_null(find(second, 1));
	assert_null(fg_store_find(&repository->store, first));
	/* What the rollout knows comes before what the disk shows. */
	memcpy(rollout->models[0].name, first, sizeof(first));
	make_dir("another");
	watch(300);
	assert_non_null(find(first, 1));
	assert_null(fg_store_find(&repository->store, second));
}

static void test_quiet_when_idle(void **state)
{
	(void)state;
	make_version("digits", "1");
	wait_complete("digits", 1);
	watch(100);
	assert_in_range(watch(1500), 0, 1);
}

/* However much happens, looks are apart. */
static void test_storm(void **state)
{
	uint64_t end_ns = fg_clock_ns() + 500 * MS;
	uint32_t looks = 0;

	(void)state;
	make_version("digits", "1");
	while (fg_clock_ns() < end_ns) {
		make_file("digits/1/model.onnx", "again and again");
		looks += fg_repository_update(repository, rules, rollout, fg_clock_ns());
	}
	assert_in_range(looks, 2, 30);
}

static void test_moved_away_is_not_watched(void **state)
{
	char outside[80], inside[128];

	(void)state;
	make_version("digits", "1");
	wait_complete("digits", 1);
	snprintf(outside, sizeof(outside), "../%s-away", strrchr(base, '/') + 1);
	move("digits", outside);
	watch(100);
	assert_int_equal(repository->watch_count, 1);
	snprintf(inside, sizeof(inside), "%s/1/model.onnx", outside);
	make_file(inside, "written where nobody looks");
	assert_int_equal(watch(100), 0);
	move(outside, "digits");
	watch(100);
	assert_int_equal(repository->watch_count, 3);
}

#define ON_DISK(name) cmocka_unit_test_setup_teardown(name, open_repository, close_repository)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		ON_DISK(test_what_counts),
		ON_DISK(test_what_does_not_count_gets_a_remark),
		ON_DISK(test_remarks_are_few),
		ON_DISK(test_the_folder_of_one_model),
		ON_DISK(test_sorted_by_number),
		ON_DISK(test_two_names_for_one_number),
		ON_DISK(test_new_version_is_noticed_at_once),
		ON_DISK(test_old_files_are_complete_at_once),
		ON_DISK(test_the_clock_is_stepped),
		ON_DISK(test_a_slow_copy_is_not_complete),
		ON_DISK(test_another_file_counts),
		ON_DISK(test_permissions_count),
		ON_DISK(test_same_size_and_time_count),
		ON_DISK(test_model_file_comes_late),
		ON_DISK(test_vanish_and_return),
		ON_DISK(test_base_goes_and_returns),
		ON_DISK(test_links),
		ON_DISK(test_only_the_newest_count),
		ON_DISK(test_too_many_models),
		ON_DISK(test_names_that_collide),
		ON_DISK(test_quiet_when_idle),
		ON_DISK(test_storm),
		ON_DISK(test_moved_away_is_not_watched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
