/* promote and rollback as the operator sees them, over a simulated world (rollout_world.h). */
#include <stdlib.h>
#include "tests/unit/rollout_story.h"
#include "userspace/daemon/control.h"

static struct fg_control *control;
static struct fg_state *page;
static struct fg_config config;

static int open_control(void **state)
{
	open_world(state);
	snprintf(config.repository, sizeof(config.repository), "/models");
	control = calloc(1, sizeof(*control));
	page = aligned_alloc(_Alignof(struct fg_state), sizeof(*page));
	memset(page, 0, sizeof(*page));
	control->config = &config;
	control->state = page;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	return 0;
}

static int close_control(void **state)
{
	free(control);
	free(page);
	return close_world(state);
}

/* Control looks at the world as it is now, ... */
static void look(void)
{
	page->rollout = world->record;
	control->repository.store = world->store;
	control->rules = world->config;
	control->table = world->seen.table;
}

/* ... and what it decided is what the world steps on from. */
static json_t *ask(enum fg_admin_verb verb, const char *name, uint64_t version,
		   struct fg_admin_request *request)
{
	json_t *reply;

	look();
	*request = (struct fg_admin_request){.verb = verb,
					     .version = version,
					     .until_ns = world->now_ns + 5000 * WORLD_MS};
	snprintf(request->model, sizeof(request->model), "%s", name);
	reply = fg_control_verbs.begin(control, request, world->now_ns);
	world->record = page->rollout;
	return reply;
}

/* Asks and waits for the reply, for up to 6 s. */
static json_t *ask_and_wait(enum fg_admin_verb verb, const char *name, uint64_t version)
{
	struct fg_admin_request request;
	json_t *reply = ask(verb, name, version, &request);

	for (uint32_t i = 0; i < 6000 && !reply; i++) {
		world_run(world, 1);
		look();
		reply = fg_control_verbs.progress(control, &request, world->now_ns);
	}
	assert_non_null(reply);
	return reply;
}

static void expect_error(json_t *reply, const char *code, const char *part)
{
	const char *error = json_string_value(json_object_get(reply, "error"));

	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "code")), code);
	if (!strstr(error, part))
		fail_msg("\"%s\" does not say \"%s\"", error, part);
	json_decref(reply);
}

static void expect_done(json_t *reply, uint64_t version, bool changed)
{
	assert_true(json_is_true(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "model")), "digits");
	assert_int_equal(json_integer_value(json_object_get(reply, "version")), version);
	assert_int_equal(json_is_true(json_object_get(reply, "changed")), changed);
	assert_int_equal(json_integer_value(json_object_get(reply, "generation")),
			 in_phase(FG_GENERATION_LIVE)->id);
	assert_true(json_real_value(json_object_get(reply, "flip_us")) == 1.0);
	assert_int_equal(world_live(world, "digits"), version);
	json_decref(reply);
}

static void test_promote_goes_live(void **state)
{
	(void)state;
	expect_done(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 1), 1, true);
	expect_done(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 1), 1, false);
	expect_done(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 2), 2, true);
}

/* LIVE in the state is not enough: the reply waits for the flip. */
static void test_no_reply_before_the_flip(void **state)
{
	struct fg_admin_request request;

	(void)state;
	assert_null(ask(FG_ADMIN_PROMOTE, "digits", 1, &request));
	while (!in_phase(FG_GENERATION_STARTING))
		world_run(world, 1);
	while (world_live(world, "digits") != 1) {
		world->now_ns += WORLD_MS;
		world_keeper(world, UINT32_MAX);
		world_children(world);
		world_step(world, 0);
	}
	look();
	assert_null(fg_control_verbs.progress(control, &request, world->now_ns));
	world_step(world, UINT32_MAX);
	look();
	expect_done(fg_control_verbs.progress(control, &request, world->now_ns), 1, true);
}

static void test_promote_of_what_is_not_there(void **state)
{
	struct fg_store_model *digits;

	(void)state;
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 9), "not_found", "there: 1 2");
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "fraud", 1), "not_found", "there: digits");
	world_version(world, "digits", 3, WORLD_GOOD);
	digits = world_model(world, "digits");
	digits->versions[2].complete = false;
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 3), "not_found", "being copied");
	world->store.count = 0;
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "fraud", 1), "not_found", "/models");
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_promote_of_what_fails(void **state)
{
	(void)state;
	world->config.manual = true;
	world_version(world, "digits", 3, WORLD_BAD_PACK);
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 3), "failed", "the packer says no");
	/* And again: it is tried again, and fails again. */
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 3), "failed", "the packer says no");
	world_version(world, "digits", 4, WORLD_BAD_LOAD);
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 4), "failed", "the worker says no");
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_promote_that_takes_too_long(void **state)
{
	(void)state;
	world_version(world, "digits", 3, WORLD_NEVER_READY);
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 3), "timeout", "goes on");
	assert_int_equal(in_phase(FG_GENERATION_STARTING)->entries[0].version, 3);
}

static void test_promote_that_is_overtaken(void **state)
{
	struct fg_admin_request request;

	(void)state;
	world->config.manual = true;
	world_version(world, "digits", 3, WORLD_NEVER_READY);
	assert_null(ask(FG_ADMIN_PROMOTE, "digits", 3, &request));
	world_run(world, 200);
	assert_int_equal(promote("digits", 1), 0);
	look();
	expect_error(fg_control_verbs.progress(control, &request, world->now_ns), "failed",
		     "not wanted any more; 1 is");
}

static void test_rollback(void **state)
{
	(void)state;
	expect_error(ask_and_wait(FG_ADMIN_ROLLBACK, "digits", 0), "not_found", "before version 2");
	expect_error(ask_and_wait(FG_ADMIN_ROLLBACK, "fraud", 0), "not_found", "there: digits");
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 300);
	expect_done(ask_and_wait(FG_ADMIN_ROLLBACK, "digits", 0), 2, true);
	expect_done(ask_and_wait(FG_ADMIN_ROLLBACK, "digits", 0), 2, false);
	world_version(world, "digits", 4, WORLD_GOOD);
	world_run(world, 30000);
	world_vanish(world, "digits", 2);
	expect_error(ask_and_wait(FG_ADMIN_ROLLBACK, "digits", 0), "not_found", "neither kept");
}

static void test_a_model_that_is_not_live(void **state)
{
	(void)state;
	world->config.manual = true;
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 300);
	expect_error(ask_and_wait(FG_ADMIN_ROLLBACK, "fraud", 0), "not_found", "not live");
}

static void test_stopping(void **state)
{
	(void)state;
	atomic_store(&page->boot.stopping, 1);
	expect_error(ask_and_wait(FG_ADMIN_PROMOTE, "digits", 1), "busy", "stopping");
	expect_error(ask_and_wait(FG_ADMIN_ROLLBACK, "digits", 0), "busy", "stopping");
}

#define TOLD(name) cmocka_unit_test_setup_teardown(name, open_control, close_control)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOLD(test_promote_goes_live),
		TOLD(test_no_reply_before_the_flip),
		TOLD(test_promote_of_what_is_not_there),
		TOLD(test_promote_of_what_fails),
		TOLD(test_promote_that_takes_too_long),
		TOLD(test_promote_that_is_overtaken),
		TOLD(test_rollback),
		TOLD(test_a_model_that_is_not_live),
		TOLD(test_stopping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
