/* The repository with a configuration: models with places of their own, bases that come and go, and
 * which files of a version count. */
#include <sys/time.h>
#include "tests/unit/repository_fixture.h"

/* A model of its own in `base`/`place`. */
static struct fg_rules_model *add_own(const char *name, const char *place)
{
	struct fg_rules_model *model = &rules->models[rules->model_count++];

	strcpy(model->name, name);
	path_of(model->path, sizeof(model->path), place);
	model->count = 1;
	return model;
}

/* rules->repository is `base`/models. */
static void use_folder(void)
{
	make_dir("models");
	path_of(rules->repository, sizeof(rules->repository), "models");
}

static void assert_path(const char *model, uint64_t version, const char *expected)
{
	char path[256];

	assert_true(fg_repository_path(&repository->rules, &repository->store, model, version, path,
				       sizeof(path)));
	assert_string_equal(path + strlen(base) + 1, expected);
}

/* ---- places ---- */

static void test_own_places(void **state)
{
	(void)state;
	use_folder();
	make_version("models/free", "1");
	make_version("models/fraud", "2"); /* not where the rules say */
	make_version("far", "003");
	add_own("fraud", "far");
	add_own("late", "nowhere");
	wait_complete("fraud", 3);
	wait_complete("free", 1);
	assert_null(find("fraud", 2));
	assert_path("fraud", 3, "far/003");
	assert_path("free", 1, "models/free/1");
	assert_int_equal(fg_store_find(&repository->store, "late")->count, 0);
	assert_int_equal(repository->failing_count, 1);
	assert_int_equal(repository->store.count, 3);
}

static void test_no_folder(void **state)
{
	(void)state;
	make_version("other", "1");
	make_version("far", "1");
	make_version("far", "2");
	rules->repository[0] = '\0';
	add_own("a", "far");
	add_own("b", "far"); /* one place for two models */
	wait_complete("a", 2);
	wait_complete("b", 1);
	assert_int_equal(repository->store.count, 2);
	assert_int_equal(repository->failing_count, 0);
}

static void test_links_to_places(void **state)
{
	char path[256], next[256];

	(void)state;
	make_version("x", ".one");
	make_version("x", ".two");
	path_of(path, sizeof(path), "link");
	assert_int_equal(symlink("x", path), 0);
	path_of(path, sizeof(path), "x/7");
	assert_int_equal(symlink(".one", path), 0);
	rules->repository[0] = '\0';
	add_own("m", "link");
	wait_complete("m", 7);
	assert_path("m", 7, "link/7");
	/* The link is swapped, as by a publisher that works with links. */
	const uint64_t before = find("m", 7)->fingerprint;

	path_of(next, sizeof(next), "x/.next");
	assert_int_equal(symlink(".two", next), 0);
	assert_int_equal(rename(next, path), 0);
	watch(100);
	assert_true(find("m", 7)->fingerprint != before);
}

/* ---- bases that come and go ---- */

static void test_one_base_vanishes(void **state)
{
	(void)state;
	use_folder();
	make_version("models/free", "1");
	make_version("far", "1");
	make_version("near", "1");
	add_own("far", "far");
	add_own("near", "near");
	wait_complete("free", 1);
	wait_complete("far", 1);
	wait_complete("near", 1);
	remove_tree("far");
	watch(60);
	assert_int_equal(repository->failing_count, 1);
	assert_int_equal(fg_store_find(&repository->store, "far")->count, 0);
	assert_true(find("free", 1)->complete && find("near", 1)->complete);
	remove_tree("models");
	watch(60);
	assert_int_equal(repository->failing_count, 2);
	assert_null(find("free", 1));
	assert_true(find("near", 1)->complete);
	assert_in_range(watch(1100), 1, 2); /* again each second, and not more often */
	make_version("far", "2");
	make_dir("models");
	make_version("models/free", "1");
	wait_complete("far", 2);
	wait_complete("free", 1);
	assert_int_equal(repository->failing_count, 0);
}

static void test_base_is_a_file(void **state)
{
	(void)state;
	make_file("far", "not a directory");
	make_version("near", "1");
	rules->repository[0] = '\0';
	add_own("far", "far");
	add_own("near", "near");
	wait_complete("near", 1);
	assert_int_equal(repository->failing_count, 1);
	assert_false(repository->unwatched);
}

/* ---- bases that do not answer ---- */

static uint32_t entered;

static void count_entered(void *context, const char *place)
{
	char path[256];

	path_of(path, sizeof(path), (const char *)context);
	entered += !strcmp(place, path);
}

static void be_silent(const char *name)
{
	char path[256];

	path_of(path, sizeof(path), name);
	repository->silent[repository->silent_count++] = fg_repository_place(path);
	repository->enter = count_entered;
	repository->context = (void *)name;
	entered = 0;
}

/* They are not touched, and what was known of them stays: also a version that was not complete. */
static void test_a_base_that_does_not_answer(void **state)
{
	(void)state;
	use_folder();
	make_version("models/free", "1");
	make_version("far", "1");
	add_own("far", "far");
	wait_complete("far", 1);
	wait_complete("free", 1);
	make_version("far", "2");
	watch(50);
	assert_false(find("far", 2)->complete);
	be_silent("far");
	remove_tree("far");
	make_version("models/free", "2");
	wait_complete("free", 2);
	assert_int_equal(entered, 0);
	assert_true(find("far", 1)->complete && find("far", 2));
	assert_int_equal(repository->failing_count, 0);
	assert_in_range(watch(1500), 0, 1); /* and nobody waits for the one that is not complete */
	repository->silent_count = 0;
	watch(5200);
	assert_true(entered > 0);
	assert_null(find("far", 1));
}

static void test_a_folder_that_does_not_answer(void **state)
{
	(void)state;
	use_folder();
	make_version("models/free", "1");
	make_version("far", "1");
	add_own("far", "far");
	wait_complete("free", 1);
	be_silent("models");
	make_version("models/free", "2");
	make_version("models/other", "1");
	make_version("far", "2");
	wait_complete("far", 2);
	assert_int_equal(entered, 0);
	assert_non_null(find("free", 1));
	assert_null(find("free", 2));
	assert_null(fg_store_find(&repository->store, "other"));
	/* Under rules by which it lies elsewhere it is another one. */
	add_own("free", "nowhere");
	watch(50);
	assert_int_equal(fg_store_find(&repository->store, "free")->count, 0);
}

/* ---- other rules ---- */

static void test_carry(void **state)
{
	struct fg_rules before;

	(void)state;
	use_folder();
	make_version("models/free", "1");
	make_version("far", "1");
	make_version("near", "1");
	add_own("far", "far");
	add_own("near", "near");
	watch(300);
	before = *rules;
	path_of(rules->models[1].path, sizeof(rules->models[1].path), "elsewhere");
	add_own("fresh", "fresh");
	rules->repository[0] = '\0';
	fg_repository_carry(&repository->store, &before, rules);
	assert_int_equal(repository->store.count, 3);
	assert_non_null(find("far", 1));
	assert_null(find("near", 1));
	assert_null(fg_store_find(&repository->store, "free"));
	assert_int_equal(fg_store_find(&repository->store, "near")->count, 0);
	assert_int_equal(fg_store_find(&repository->store, "fresh")->count, 0);
}

static void test_rules_change(void **state)
{
	uint64_t now_ns;

	(void)state;
	use_folder();
	make_version("models/free", "1");
	make_version("far", "1");
	wait_complete("free", 1);
	memcpy(rollout->models[0].name, "free", 5);
	/* At once, not at the next look that is due. */
	now_ns = fg_clock_ns();
	rules->repository[0] = '\0';
	add_own("far", "far");
	assert_true(fg_repository_update(repository, rules, rollout, now_ns));
	assert_null(fg_store_find(&repository->store, "free"));
	wait_complete("far", 1);
	assert_int_equal(repository->store.count, 1);
	/* Only what is in the rules is watched: the place and its version. */
	assert_int_equal(repository->watch_count, 2);
	rules->model_count = 0;
	memset(rules->models, 0, sizeof(rules->models));
	path_of(rules->repository, sizeof(rules->repository), "models");
	wait_complete("free", 1);
	assert_null(fg_store_find(&repository->store, "far"));
}

/* Models that served once and that nothing names any more leave their room to others. */
static void test_old_names_take_no_room(void **state)
{
	char name[16];
	int i;

	(void)state;
	rules->repository[0] = '\0';
	for (i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		snprintf(rollout->models[i].name, sizeof(rollout->models[i].name), "old%d", i);
	for (i = 0; i < FG_RULES_MAX_MODELS; i++) {
		snprintf(name, sizeof(name), "new%d", i);
		make_version(name, "1");
		add_own(name, name);
	}
	watch(300);
	assert_int_equal(repository->store.count, FG_RULES_MAX_MODELS);
	assert_true(find("new31", 1)->complete);
}

/* What the configuration names is kept among ever so many versions. */
static void test_named_versions_stay(void **state)
{
	struct fg_rules_model *model;
	char version[16];
	int i;

	(void)state;
	rules->repository[0] = '\0';
	model = add_own("m", "m");
	model->policy = FG_RULES_SPECIFIC;
	model->count = 2;
	model->versions[0] = 3;
	model->versions[1] = 100;
	model->label_count = 1;
	model->labels[0].version = 1;
	for (i = 100; i > 0; i--) {
		snprintf(version, sizeof(version), "%d", i);
		make_version("m", version);
	}
	watch(300);
	assert_int_equal(fg_store_find(&repository->store, "m")->count, FG_STORE_MAX_VERSIONS);
	assert_non_null(find("m", 1));
	assert_null(find("m", 2));
	assert_non_null(find("m", 3));
	assert_null(find("m", 38));
	assert_non_null(find("m", 39));
	assert_non_null(find("m", 100));
}

/* ---- which files count ---- */

/* Changes the file's time and nothing else. */
static void touch(const char *name)
{
	char path[256];

	path_of(path, sizeof(path), name);
	assert_int_equal(utimes(path, NULL), 0);
}

/* After a change within the version: another fingerprint, noticed at once, not complete. */
static void assert_noticed(uint64_t *before)
{
	watch(50);
	assert_true(find("m", 1)->fingerprint != *before);
	assert_false(find("m", 1)->complete);
	wait_complete("m", 1);
	*before = find("m", 1)->fingerprint;
}

static void test_files_in_folders(void **state)
{
	uint64_t before;

	(void)state;
	make_version("m", "1");
	wait_complete("m", 1);
	before = find("m", 1)->fingerprint;
	make_dir("m/1/assets.extra");
	make_file("m/1/assets.extra/tf_serving_warmup_requests", "one");
	assert_noticed(&before);
	make_file("m/1/assets.extra/tf_serving_warmup_requests", "other");
	assert_noticed(&before);
	touch("m/1/assets.extra/tf_serving_warmup_requests");
	assert_noticed(&before);
	make_file("m/1/assets.extra/.next", "other");
	move("m/1/assets.extra/.next", "m/1/assets.extra/tf_serving_warmup_requests");
	assert_noticed(&before);
	remove_tree("m/1/assets.extra");
	assert_noticed(&before);
	/* A model file in a folder makes no version. */
	make_dir("m/2");
	make_dir("m/2/inner");
	make_file("m/2/inner/model.onnx", "some bytes");
	watch(300);
	assert_null(find("m", 2));
}

static void test_depth_is_bounded(void **state)
{
	uint64_t before;
	char path[256];

	(void)state;
	make_version("m", "1");
	make_dir("m/1/a");
	make_dir("m/1/a/b");
	make_dir("m/1/a/b/c");
	make_dir("m/1/a/b/c/d");
	make_file("m/1/a/b/c/counts", "");
	make_file("m/1/a/b/c/d/does_not", "");
	path_of(path, sizeof(path), "m/1/a/again");
	assert_int_equal(symlink("..", path), 0); /* a circle */
	wait_complete("m", 1);
	before = find("m", 1)->fingerprint;
	touch("m/1/a/b/c/counts");
	assert_noticed(&before);
	touch("m/1/a/b/c/d/does_not");
	watch(50);
	assert_true(find("m", 1)->fingerprint == before);
}

/* ---- copies ---- */

/* Room made beforehand, then written: name, size and inode stand still, the time does not. */
static void test_copy_into_a_file_of_full_size(void **state)
{
	char path[256];
	int fd, i;

	(void)state;
	make_version("m", "1");
	path_of(path, sizeof(path), "m/1/model.onnx");
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	for (i = 0; i < 6; i++) {
		assert_int_equal(pwrite(fd, path, 100, i * 4096), 100);
		watch(60);
		assert_non_null(find("m", 1));
		assert_false(find("m", 1)->complete);
	}
	close(fd);
	wait_complete("m", 1);
}

/* A copy that stalls is taken for complete; when it goes on it is another one, and not yet
 * complete, so that sched tries it again. */
static void test_copy_that_stalls(void **state)
{
	uint64_t stalled;

	(void)state;
	make_version("m", "1");
	wait_complete("m", 1);
	stalled = find("m", 1)->fingerprint;
	watch(300);
	assert_true(find("m", 1)->complete);
	make_file("m/1/model.onnx", "some bytes and the rest");
	watch(50);
	assert_true(find("m", 1)->fingerprint != stalled);
	assert_false(find("m", 1)->complete);
	wait_complete("m", 1);
}

#define ON_DISK(name) cmocka_unit_test_setup_teardown(name, open_repository, close_repository)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_DISK(test_own_places),
		ON_DISK(test_no_folder),
		ON_DISK(test_links_to_places),
		ON_DISK(test_one_base_vanishes),
		ON_DISK(test_base_is_a_file),
		ON_DISK(test_a_base_that_does_not_answer),
		ON_DISK(test_a_folder_that_does_not_answer),
		ON_DISK(test_carry),
		ON_DISK(test_rules_change),
		ON_DISK(test_old_names_take_no_room),
		ON_DISK(test_named_versions_stay),
		ON_DISK(test_files_in_folders),
		ON_DISK(test_depth_is_bounded),
		ON_DISK(test_copy_into_a_file_of_full_size),
		ON_DISK(test_copy_that_stalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
