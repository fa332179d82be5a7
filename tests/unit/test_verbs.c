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

/* Two who expect the same generation: the second one's is not what it decided on any more. */
static void test_expect_while_something_is_pending(void **state)
{
	struct fg_admin_request first = request_of(FG_ADMIN_PROMOTE, "digits", 3), second;

	(void)state;
	set_manual();
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1);
	first.expects = true;
	first.expect = in_phase(FG_GENERATION_LIVE)->id;
	second = first;
	second.version = 1;
	assert_null(begin(&first));
	expect_error(begin(&second), "conflict", "version 3 of digits was chosen");
	run_until(FG_GENERATION_STARTING);
	second.verb = FG_ADMIN_ROLLBACK;
	expect_error(begin(&second), "conflict", "version 3 of digits was chosen");
	world_run(world, 1000);
	expect_done(progress(&first), 3, true);
}

static void test_expect_while_a_new_version_starts(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 1);
	json_t *reply;

	(void)state;
	world_version(world, "digits", 3, WORLD_GOOD);
	run_until(FG_GENERATION_STARTING);
	request.expects = true;
	request.expect = in_phase(FG_GENERATION_LIVE)->id;
	reply = begin(&request);
	assert_int_equal(json_integer_value(json_object_get(reply, "generation")), request.expect);
	expect_error(reply, "conflict", "about to serve");
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

/* Whoever asks and does not wait for the answer is put down all the same, once. */
static void test_audit_of_who_left(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 1);
	struct fg_error error = {""};
	char path[] = "/tmp/fgt-verbs-XXXXXX";
	json_t *lines, *line;
	int fd = mkstemp(path);

	(void)state;
	fg_audit_open(&control->audit, fd, &page->control.audit_lost);
	request.who.uid = 4711;
	assert_null(begin(&request));
	fg_control_verbs.leave(control, &request);
	fg_control_verbs.leave(control, &request);
	fg_audit_close(&control->audit);
	lines = fg_audit_tail(&control->audit, 10, 60000, &error);
	assert_int_equal(json_array_size(lines), 1);
	line = json_array_get(lines, 0);
	assert_string_equal(json_string_value(json_object_get(line, "result")), "begun");
	line = json_object_get(line, "who");
	assert_int_equal(json_integer_value(json_object_get(line, "uid")), 4711);
	json_decref(lines);
	close(fd);
	unlink(path);
}

/* ---- status ---- */

/* What a dead worker had in flight is gone with it. */
static void test_status_counts_the_living(void **state)
{
	static const struct fg_steering nothing;
	const struct fg_rollout_generation *live = in_phase(FG_GENERATION_LIVE);
	struct fg_admin_request request = request_of(FG_ADMIN_STATUS, "", 0);
	const json_t *generation;
	json_t *reply;
	uint32_t i;

	(void)state;
	control->steering = &nothing;
	for (i = 0; i < live->worker_count; i++) {
		atomic_store(&page->slots[live->slots[i]].work.stats.requests, 10);
		atomic_store(&page->slots[live->slots[i]].work.stats.status[0], 7);
		control->observed.slots[live->slots[i]].connections = 1;
	}
	atomic_store(&page->slots[live->slots[0]].post.pid, 4711);
	reply = begin(&request);
	generation = json_array_get(json_object_get(reply, "generations"), 0);
	assert_int_equal(json_integer_value(json_object_get(generation, "requests")),
			 10 * live->worker_count);
	assert_int_equal(json_integer_value(json_object_get(generation, "in_flight")), 3);
	assert_int_equal(json_integer_value(json_object_get(generation, "connections")), 1);
	json_decref(reply);
}

/* A path, a reason, a name may be any bytes: nothing is left out for that. */
static void test_status_with_any_bytes(void **state)
{
	static const char *const keys[] = {"ok",     "control", "generations", "workers",
					   "models", "canary",	"shadow",      "reload",
					   "rules",  "flips",	"counters",    "audit",
					   "memory"};
	static const char any[] = "a\xff\xc3";
	static const struct fg_steering nothing;
	struct fg_admin_request request = request_of(FG_ADMIN_STATUS, "", 0);
	struct fg_rollout *rollout = &world->rollout;
	json_t *reply;

	(void)state;
	control->steering = &nothing;
	strcpy(control->program, any);
	strcpy(page->boot.mode_reason, any);
	strcpy(page->boot.upgrade_error, any);
	strcpy(world->rules[0].repository, any);
	strcpy(config.audit_log, any);
	strcpy(rollout->trial.error, any);
	strcpy(rollout->canary.reason, any);
	rollout->canary.phase = FG_CANARY_ABORTED;
	strcpy(rollout->shadow.reason, any);
	rollout->shadow.phase = FG_SHADOW_ENDED;
	reply = begin(&request);
	config.audit_log[0] = '\0';
	assert_non_null(reply);
	for (uint32_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_non_null(json_object_get(reply, keys[i]));
	assert_string_equal(json_string_value(
				    json_object_get(json_object_get(reply, "canary"), "reason")),
			    "a??");
	assert_true(json_is_object(json_object_get(reply, "shadow")));
	assert_true(json_is_object(json_object_get(reply, "rules")));
	json_decref(reply);
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
		TOLD(test_expect_while_something_is_pending),
		TOLD(test_expect_while_a_new_version_starts),
		TOLD(test_who_may_upgrade),
		TOLD(test_audit_lines),
		TOLD(test_audit_of_who_left),
		TOLD(test_status_counts_the_living),
		TOLD(test_status_with_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
