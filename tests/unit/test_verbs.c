/* promote and rollback as the operator sees them, and what holds for every verb. */
#include <unistd.h>
#include "tests/unit/verbs_story.h"

static void test_promote_goes_live(void **state)
{
	(void)state;
	expect_done(ask(FG_ADMIN_PROMOTE, "digits", 1), 1, true);
	expect_done(ask(FG_ADMIN_PROMOTE, "digits", 1), 1, false);
	expect_done(ask(FG_ADMIN_PROMOTE, "digits", 2), 2, true);
}

/* LIVE in the state is not enough: the reply waits for the flip. */
static void test_no_reply_before_the_flip(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 1);

	(void)state;
	assert_null(begin(&request));
	while (!in_phase(FG_GENERATION_STARTING))
		world_run(world, 1);
	while (world_live(world, "digits") != 1) {
		world->now_ns += WORLD_MS;
		world_keeper(world, UINT32_MAX);
		world_children(world);
		world_step(world, 0);
	}
	assert_null(progress(&request));
	world_step(world, UINT32_MAX);
	expect_done(progress(&request), 1, true);
}

static void test_promote_of_what_is_not_there(void **state)
{
	struct fg_store_model *digits;

	(void)state;
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 9), "not_found", "there: 1 2");
	expect_error(ask(FG_ADMIN_PROMOTE, "fraud", 1), "not_found", "there: digits");
	world_version(world, "digits", 3, WORLD_GOOD);
	digits = world_model(world, "digits");
	digits->versions[2].complete = false;
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 3), "not_found", "being copied");
	world->store.count = 0;
	expect_error(ask(FG_ADMIN_PROMOTE, "fraud", 1), "not_found", "/models");
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_promote_of_what_fails(void **state)
{
	(void)state;
	set_manual();
	world_version(world, "digits", 3, WORLD_BAD_PACK);
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 3), "failed", "the packer says no");
	/* And again: it is tried again, and fails again. */
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 3), "failed", "the packer says no");
	world_version(world, "digits", 4, WORLD_BAD_LOAD);
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 4), "failed", "the worker says no");
	assert_int_equal(world_live(world, "digits"), 2);
}

static void test_promote_that_takes_too_long(void **state)
{
	(void)state;
	world_version(world, "digits", 3, WORLD_NEVER_READY);
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 3), "timeout", "goes on");
	assert_int_equal(in_phase(FG_GENERATION_STARTING)->entries[0].version, 3);
}

static void test_promote_that_is_overtaken(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 3);

	(void)state;
	set_manual();
	world_version(world, "digits", 3, WORLD_NEVER_READY);
	assert_null(begin(&request));
	world_run(world, 200);
	assert_int_equal(promote("digits", 1), 0);
	expect_error(progress(&request), "failed", "not wanted any more; 1 is");
}

static void test_promote_of_what_the_policy_leaves_out(void **state)
{
	struct fg_rules_model *rule;

	(void)state;
	rule = add_rule(&world->rules[0], "digits", FG_RULES_SPECIFIC, 1);
	rule->versions[0] = 2;
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 1), "not_found", "its policy names");
}

static void test_rollback(void **state)
{
	(void)state;
	expect_error(ask(FG_ADMIN_ROLLBACK, "digits", 0), "not_found", "before version 2");
	expect_error(ask(FG_ADMIN_ROLLBACK, "fraud", 0), "not_found", "there: digits");
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 300);
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 2, true);
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 2, false);
	world_version(world, "digits", 4, WORLD_GOOD);
	world_run(world, 30000);
	world_vanish(world, "digits", 2);
	expect_error(ask(FG_ADMIN_ROLLBACK, "digits", 0), "not_found", "neither kept");
}

static void test_a_model_that_is_not_live(void **state)
{
	(void)state;
	set_manual();
	world_version(world, "fraud", 1, WORLD_GOOD);
	world_run(world, 300);
	expect_error(ask(FG_ADMIN_ROLLBACK, "fraud", 0), "not_found", "not live");
}

static void test_stopping(void **state)
{
	(void)state;
	atomic_store(&page->boot.stopping, 1);
	expect_error(ask(FG_ADMIN_PROMOTE, "digits", 1), "busy", "stopping");
	expect_error(ask(FG_ADMIN_ROLLBACK, "digits", 0), "busy", "stopping");
}

/* Compare and set: only while the expected generation is live. */
static void test_expect(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 1);
	json_t *reply;

	(void)state;
	request.expects = true;
	request.expect = in_phase(FG_GENERATION_LIVE)->id + 1;
	reply = begin(&request);
	assert_int_equal(json_integer_value(json_object_get(reply, "generation")),
			 in_phase(FG_GENERATION_LIVE)->id);
	expect_error(reply, "conflict", "is live, not");
	assert_int_equal(world_live(world, "digits"), 2);
	request = request_of(FG_ADMIN_PROMOTE, "digits", 1);
	request.expects = true;
	request.expect = in_phase(FG_GENERATION_LIVE)->id;
	expect_done(finish(request), 1, true);
}

static void test_who_may_upgrade(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_UPGRADE, "", 0);

	(void)state;
	request.who.uid = 1000;
	expect_error(begin(&request), "denied", "only root");
}

/* Who asked for what, when it took longer than a step, and what came of it. */
static void test_audit_lines(void **state)
{
	struct fg_error error = {""};
	char path[] = "/tmp/fgt-verbs-XXXXXX";
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 1);
	const char *const wanted[] = {"begun", "ok", "conflict"};
	json_t *lines, *line;
	int fd = mkstemp(path);

	(void)state;
	fg_audit_open(&control->audit, fd, &page->control.audit_lost);
	snprintf(request.why, sizeof(request.why), "ticket 4711");
	json_decref(finish(request));
	request.expects = true;
	json_decref(finish(request));
	fg_audit_close(&control->audit);
	lines = fg_audit_tail(&control->audit, 10, 60000, &error);
	assert_int_equal(json_array_size(lines), 3);
	for (uint32_t i = 0; i < 3; i++) {
		line = json_array_get(lines, i);
		assert_string_equal(json_string_value(json_object_get(line, "result")), wanted[i]);
		assert_string_equal(json_string_value(json_object_get(line, "why")), "ticket 4711");
		assert_int_equal(json_integer_value(json_object_get(line, "to")), 1);
		assert_int_equal(json_integer_value(json_object_get(line, "from")), i < 2 ? 2 : 1);
	}
	json_decref(lines);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOLD(test_promote_goes_live),
		TOLD(test_no_reply_before_the_flip),
		TOLD(test_promote_of_what_is_not_there),
		TOLD(test_promote_of_what_fails),
		TOLD(test_promote_that_takes_too_long),
		TOLD(test_promote_that_is_overtaken),
		TOLD(test_promote_of_what_the_policy_leaves_out),
		TOLD(test_rollback),
		TOLD(test_a_model_that_is_not_live),
		TOLD(test_stopping),
		TOLD(test_expect),
		TOLD(test_who_may_upgrade),
		TOLD(test_audit_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
