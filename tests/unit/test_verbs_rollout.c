/* Canaries, shadows and reloads as the operator sees them. */
#include <fcntl.h>
#include <unistd.h>
#include "tests/unit/verbs_story.h"
#include "userspace/daemon/models_config.h"

static struct fg_admin_request canary_of(uint64_t version, uint32_t hold_ms)
{
	struct fg_admin_request request = request_of(FG_ADMIN_ROLLOUT, "digits", version);

	request.plan = steps(hold_ms, 100, 5000, 10000);
	return request;
}

/* Version 1 serves; 2 is the candidate. */
static int open_one(void **state)
{
	open_control(state);
	json_decref(ask(FG_ADMIN_PROMOTE, "digits", 1));
	world_run(world, 30000);
	return 0;
}

static void expect_step(json_t *reply, uint64_t version, bool changed, uint32_t step, double weight)
{
	expect_ok(reply, version, changed);
	assert_int_equal(json_integer_value(json_object_get(reply, "from")), 1);
	assert_int_equal(json_integer_value(json_object_get(reply, "step")), step);
	assert_true(json_real_value(json_object_get(reply, "weight")) == weight);
	json_decref(reply);
}

/* ---- canaries ---- */

static void test_rollout(void **state)
{
	json_t *reply;

	(void)state;
	expect_step(finish(canary_of(2, 1000)), 2, true, 0, 1);
	assert_non_null(in_phase(FG_GENERATION_CANARY));
	expect_step(finish(canary_of(2, 1000)), 2, false, 0, 1);
	world_run(world, 1200);
	expect_step(ask(FG_ADMIN_PAUSE, "digits", 0), 2, true, 1, 50);
	expect_step(ask(FG_ADMIN_PAUSE, "digits", 0), 2, false, 1, 50);
	world_run(world, 5000);
	assert_int_equal(the_canary()->step, 1);
	expect_step(ask(FG_ADMIN_RESUME, "digits", 0), 2, true, 1, 50);
	expect_step(ask(FG_ADMIN_RESUME, "digits", 0), 2, false, 1, 50);
	world_run(world, 5000);
	assert_int_equal(world_live(world, "digits"), 2);
	/* Said once more when all is over: it serves, nothing changes. */
	reply = finish(canary_of(2, 1000));
	expect_ok(reply, 2, false);
	json_decref(reply);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
}

/* As status shows it, until the next call. */
static const char *state_of(const char *model, uint64_t version)
{
	static char state[16];
	json_t *models, *entry, *found;
	size_t i, k;

	state[0] = 0;
	look();
	models = fg_control_report_models(control, 16);
	json_array_foreach(models, i, entry)
	{
		if (strcmp(json_string_value(json_object_get(entry, "model")), model))
			continue;
		json_array_foreach(json_object_get(entry, "versions"), k, found)
		{
			if ((uint64_t)json_integer_value(json_object_get(found, "version")) ==
			    version)
				snprintf(state, sizeof(state), "%s",
					 json_string_value(json_object_get(found, "state")));
		}
	}
	json_decref(models);
	return state;
}

/* The candidate's generation holds the other models' versions as well: they go on being live. */
static void test_states_of_other_models(void **state)
{
	(void)state;
	world_version(world, "iris", 7, WORLD_GOOD);
	world_run(world, 3000);
	assert_string_equal(state_of("iris", 7), "live");
	json_decref(finish(canary_of(2, 1000)));
	assert_string_equal(state_of("digits", 1), "live");
	assert_string_equal(state_of("digits", 2), "canary");
	assert_string_equal(state_of("iris", 7), "live");
	json_decref(ask(FG_ADMIN_PROMOTE, "digits", 2));
	world_run(world, 50);
	assert_string_equal(state_of("digits", 1), "kept");
	assert_string_equal(state_of("digits", 2), "live");
	assert_string_equal(state_of("iris", 7), "live");
	json_decref(ask(FG_ADMIN_ROLLBACK, "digits", 0));
	world_run(world, 50);
	assert_string_equal(state_of("digits", 1), "live");
	assert_string_equal(state_of("digits", 2), "kept");
	assert_string_equal(state_of("iris", 7), "live");
}

/* No reply before the table was flipped that gives it flows. */
static void test_no_reply_before_the_first_step(void **state)
{
	struct fg_admin_request request = canary_of(2, 1000);

	(void)state;
	assert_null(begin(&request));
	while (!in_phase(FG_GENERATION_CANARY)) {
		world->now_ns += WORLD_MS;
		world_keeper(world, UINT32_MAX);
		world_children(world);
		world_step(world, in_phase(FG_GENERATION_CANARY) ? 0 : UINT32_MAX);
		if (!in_phase(FG_GENERATION_CANARY))
			assert_null(progress(&request));
	}
	world_run(world, 5);
	expect_step(progress(&request), 2, true, 0, 1);
}

static void test_abort(void **state)
{
	uint32_t live = in_phase(FG_GENERATION_LIVE)->id;

	(void)state;
	expect_error(ask(FG_ADMIN_ABORT, "digits", 0), "not_found", "no canary of digits");
	json_decref(finish(canary_of(2, 1000)));
	expect_done(ask(FG_ADMIN_ABORT, "digits", 0), 1, true);
	assert_int_equal(in_phase(FG_GENERATION_LIVE)->id, live);
	expect_done(ask(FG_ADMIN_ABORT, "digits", 0), 1, false);
	expect_error(ask(FG_ADMIN_PAUSE, "digits", 0), "not_found", "version 2 is aborted");
}

/* Twice "back" does not go back twice; nor does one that comes just after a guard's. */
static void test_rollback_of_a_canary(void **state)
{
	struct fg_admin_request request = canary_of(3, 10000);

	(void)state;
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	json_decref(ask(FG_ADMIN_PROMOTE, "digits", 2));
	json_decref(finish(request));
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 2, true);
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 2, false);
	request = canary_of(3, 10000);
	request.plan.guards.error_rate = 0.1;
	request.plan.guards.min_requests = 10;
	json_decref(finish(request));
	world->traffic = (struct world_traffic){.per_second = 1000, .canary_errors = 0.5};
	for (uint32_t i = 0; i < 5000 && fg_canary_active(the_canary()); i++)
		world_run(world, 1);
	assert_int_equal(the_canary()->phase, FG_CANARY_BROKEN);
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 2, false);
	world_run(world, 31000); /* by now it means the version before */
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 3, true);
}

/* ... unless something else went live since, or is chosen. */
static void test_rollback_of_what_came_after_a_canary(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_PROMOTE, "digits", 3);

	(void)state;
	json_decref(finish(canary_of(2, 10000)));
	expect_done(ask(FG_ADMIN_ABORT, "digits", 0), 1, true);
	world_version(world, "digits", 3, WORLD_GOOD);
	world_run(world, 1000);
	assert_int_equal(world_live(world, "digits"), 3);
	expect_done(ask(FG_ADMIN_ROLLBACK, "digits", 0), 1, true);
	json_decref(finish(canary_of(2, 10000)));
	expect_done(ask(FG_ADMIN_ABORT, "digits", 0), 1, true);
	assert_null(begin(&request));
	expect_error(ask(FG_ADMIN_ROLLBACK, "digits", 0), "not_found", "before version 1");
}

/* Whoever expects a generation knows of no canary beside it; whoever steers that one does. */
static void test_expect_during_a_canary(void **state)
{
	struct fg_admin_request request = canary_of(2, 100000);

	(void)state;
	world_version(world, "digits", 3, WORLD_GOOD);
	set_manual();
	json_decref(finish(request));
	request = request_of(FG_ADMIN_PROMOTE, "digits", 3);
	request.expects = true;
	request.expect = in_phase(FG_GENERATION_LIVE)->id;
	expect_error(begin(&request), "conflict", "a canary of digits version 2 is running");
	request.verb = FG_ADMIN_RELOAD;
	expect_error(begin(&request), "conflict", "a canary of digits version 2 is running");
	request.verb = FG_ADMIN_PAUSE;
	expect_step(finish(request), 2, true, 0, 1);
	request.verb = FG_ADMIN_ABORT;
	expect_done(finish(request), 1, true);
}

/* A reason is all of a why, or json_pack() would find half a character at its end. */
static void test_a_long_reason(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_ABORT, "digits", 0);
	const char *reason;
	json_t *report;

	(void)state;
	json_decref(finish(canary_of(2, 10000)));
	for (uint32_t i = 0; i < 100; i++)
		strcat(request.why, "\xc3\xa9");
	expect_done(finish(request), 1, true);
	look();
	report = fg_control_report_canary(control, world->now_ns);
	reason = json_string_value(json_object_get(report, "reason"));
	assert_string_equal(reason, request.why);
	json_decref(report);
}

static const char *waiting_for(json_t *report)
{
	static char text[200];
	const char *said = json_string_value(json_object_get(report, "waiting_for"));

	assert_non_null(json_object_get(report, "waiting_for"));
	snprintf(text, sizeof(text), "%s", said ? said : "");
	json_decref(report);
	return text;
}

/* A guarded step without traffic stays where it is: the operator is told why. */
static void test_a_step_that_waits_for_requests(void **state)
{
	struct fg_admin_request request = canary_of(2, 1000);

	(void)state;
	request.plan.guards.error_rate = 0.1;
	request.plan.guards.min_requests = 10;
	json_decref(finish(request));
	look();
	assert_string_equal(waiting_for(fg_control_report_canary(control, world->now_ns)), "");
	world_run(world, 3000);
	assert_int_equal(the_canary()->step, 0);
	look();
	control->observed.comparison = (struct fg_comparison){.epoch = world->rollout.watch,
							      .stable_requests = 200,
							      .canary_errors = 3};
	assert_string_equal(
		waiting_for(fg_control_report_canary(control, world->now_ns)),
		"requests: the guards need 10 of each side, stable has 200, the canary 3");
	json_decref(ask(FG_ADMIN_PAUSE, "digits", 0));
	look();
	assert_string_equal(waiting_for(fg_control_report_canary(control, world->now_ns)), "");
}

static void test_promote_ends_the_steps(void **state)
{
	(void)state;
	world_version(world, "other", 1, WORLD_GOOD);
	world_run(world, 1000);
	json_decref(finish(canary_of(2, 100000)));
	expect_error(ask(FG_ADMIN_PROMOTE, "other", 1), "busy", "a canary of digits version 2");
	expect_error(ask(FG_ADMIN_ROLLBACK, "other", 0), "not_found", "served before");
	expect_done(ask(FG_ADMIN_PROMOTE, "digits", 2), 2, true);
	expect_done(ask(FG_ADMIN_PROMOTE, "digits", 2), 2, false);
	assert_int_equal(the_canary()->phase, FG_CANARY_DONE);
}

static void test_rollouts_that_fail(void **state)
{
	struct fg_admin_request request = canary_of(2, 1000);

	(void)state;
	expect_error(finish(canary_of(9, 1000)), "not_found", "there: 1 2");
	snprintf(request.model, sizeof(request.model), "fraud");
	expect_error(finish(request), "not_found", "there: digits");
	world_version(world, "digits", 4, WORLD_BAD_PACK);
	expect_error(finish(canary_of(4, 1000)), "failed", "the packer says no");
	world_version(world, "digits", 5, WORLD_BAD_LOAD);
	expect_error(finish(canary_of(5, 1000)), "failed", "the worker says no");
	assert_int_equal(world_live(world, "digits"), 1);
}

static void test_a_guard_breaks_before_the_reply(void **state)
{
	struct fg_admin_request request = canary_of(2, 1000);

	(void)state;
	assert_null(begin(&request));
	run_until(FG_GENERATION_CANARY);
	assert_int_equal(fg_canary_abort(&world->rollout, "digits", "p99 twice that", 0), 0);
	expect_error(progress(&request), "rolled_back", "p99 twice that");
}

/* ---- shadows ---- */

static struct fg_admin_request shadow_of(uint64_t version, uint32_t share)
{
	struct fg_admin_request request = request_of(FG_ADMIN_SHADOW, "digits", version);

	request.share = share;
	return request;
}

static void expect_shadow(json_t *reply, bool changed, uint32_t share)
{
	expect_ok(reply, 2, changed);
	assert_int_equal(json_integer_value(json_object_get(reply, "share")), share);
	json_decref(reply);
}

static void test_shadow(void **state)
{
	(void)state;
	expect_error(finish(shadow_of(2, 0)), "not_found", "no shadow");
	expect_shadow(finish(shadow_of(2, 1000)), true, 1000);
	assert_non_null(in_phase(FG_GENERATION_SHADOW));
	expect_shadow(finish(shadow_of(2, 1000)), false, 1000);
	expect_shadow(finish(shadow_of(2, 2000)), true, 2000);
	expect_error(finish(shadow_of(1, 500)), "failed", "serves by default");
	expect_error(finish(shadow_of(9, 500)), "not_found", "there: 1 2");
	expect_shadow(finish(shadow_of(2, 0)), true, 0);
	expect_shadow(finish(shadow_of(2, 0)), false, 0);
	world_version(world, "digits", 4, WORLD_BAD_PACK);
	expect_error(finish(shadow_of(4, 500)), "failed", "the packer says no");
}

/* ---- reload ---- */

static char file[] = "/tmp/fgt-models-XXXXXX";

static int open_file(void **state)
{
	int fd;

	open_one(state);
	strcpy(file + sizeof(file) - 7, "XXXXXX");
	fd = mkstemp(file);
	if (fd < 0)
		return -1;
	close(fd);
	snprintf(config.models_config, sizeof(config.models_config), "%s", file);
	snprintf(config.repository, sizeof(config.repository), "/models");
	config.policy = FG_POLICY_LATEST;
	return 0;
}

static int close_file(void **state)
{
	unlink(file);
	memset(&config, 0, sizeof(config));
	return close_control(state);
}

static void write_file(const char *text)
{
	int fd = open(file, O_WRONLY | O_TRUNC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Two rounds of control, and between them what its scout does when it is asked for the file. */
static void update_reload(void)
{
	struct fg_scout_config *read = &control->scout.read;

	look();
	fg_control_reload_update(control, world->now_ns);
	if (control->reload.read) {
		read->error.text[0] = '\0';
		fg_models_config_read(&read->rules, &config, &read->error);
		read->read = control->reload.read;
		assert_true(fg_scout_check_config(read));
	}
	fg_control_reload_update(control, world->now_ns);
	decide();
	memcpy(world->rules, page->rules, sizeof(world->rules));
}

static json_t *reload(struct fg_admin_request *request)
{
	json_t *reply = begin(request);

	if (!reply)
		update_reload();
	for (uint32_t i = 0; i < 6000 && !reply; i++) {
		world_run(world, 1);
		reply = progress(request);
	}
	assert_non_null(reply);
	return reply;
}

static void test_reload(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_RELOAD, "", 0);
	json_t *reply;

	(void)state;
	write_file("models:\n- name: digits\n  policy: specific\n  versions: [2]\n");
	reply = reload(&request);
	if (!json_is_true(json_object_get(reply, "ok")))
		fail_msg("%s", json_string_value(json_object_get(reply, "error")));
	assert_true(json_is_true(json_object_get(reply, "changed")));
	assert_int_equal(json_array_size(json_object_get(reply, "models")), 1);
	assert_int_equal(world_live(world, "digits"), 2);
	json_decref(reply);
	request = request_of(FG_ADMIN_RELOAD, "", 0);
	reply = reload(&request);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	assert_true(json_is_false(json_object_get(reply, "changed")));
	json_decref(reply);
}

/* Nothing of a bad one is taken. */
static void test_bad_reloads(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_RELOAD, "", 0);
	uint32_t rules = world->rollout.rules;

	(void)state;
	write_file("models:\n- name: digits\n  policy: newest\n");
	expect_error(reload(&request), "failed", "nothing changed");
	assert_non_null(strstr(world->rollout.trial.error, "fgt-models"));
	write_file("models:\n- name: digits\n  policy: specific\n  versions: [1, 4]\n");
	world_version(world, "digits", 4, WORLD_BAD_PACK);
	request = request_of(FG_ADMIN_RELOAD, "", 0);
	expect_error(reload(&request), "failed", "version 4");
	assert_int_equal(world->rollout.rules, rules);
	assert_int_equal(world->rollout.trial.accepted, 0);
	assert_int_equal(world_live(world, "digits"), 1);
}

static void test_reload_during_a_canary(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_RELOAD, "", 0);

	(void)state;
	write_file("models:\n- name: digits\n");
	json_decref(finish(canary_of(2, 100000)));
	expect_error(reload(&request), "busy", "a canary of digits");
	/* One that nobody waits for comes when the canary is over. */
	atomic_store(&page->boot.reloads, 1);
	update_reload();
	assert_int_equal(fg_rollout_current(&page->rollout)->trial.serial, 0);
	assert_true(control->reload.waits);
	json_decref(ask(FG_ADMIN_ABORT, "digits", 0));
	update_reload();
	assert_int_equal(fg_rollout_current(&page->rollout)->trial.serial, 1);
	assert_int_equal(atomic_load(&page->control.reloads_done), 1);
	assert_false(control->reload.waits);
}

/* Control that dies between the publication and its notes leaves SIGHUP and file as not acted on:
 * the next one does them again, and finds nothing to change. */
static void test_a_reload_done_twice(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_RELOAD, "", 0);
	uint64_t hash;
	uint32_t rules, flips;

	(void)state;
	write_file("models:\n- name: digits\n  policy: specific\n  versions: [2]\n");
	json_decref(reload(&request));
	rules = world->rollout.rules;
	flips = (uint32_t)world->rollout.flip.count;
	hash = page->control.config_hash;
	page->control.config_hash = 0;
	atomic_store(&page->boot.reloads, 1);
	control->scout.read.changes++;
	update_reload();
	world_run(world, 500);
	assert_int_equal(world->rollout.rules, rules);
	assert_int_equal(world->rollout.flip.count, flips);
	assert_int_equal(world->rollout.trial.accepted, world->rollout.trial.serial);
	assert_false(world->rollout.trial.active);
	assert_true(page->control.config_hash == hash);
	assert_int_equal(atomic_load(&page->control.reloads_done), 1);
}

/* The step that ends a trial is the last one that goes by what was read for it. */
static void test_a_refused_reload_waits_for_the_disk(void **state)
{
	static union fg_slot slots[FG_MAX_SLOTS];
	static const struct fg_steering steering = {.slot_words = slots};

	(void)state;
	add_rule(other_rules(), "digits", FG_RULES_SPECIFIC, 1)->versions[0] = 9;
	assert_int_equal(try_rules(), 0);
	world->rollout.trial.since_ns = 0; /* long ago */
	look();
	control->steering = &steering;
	control->repository.rules = page->rules[!world->rollout.rules];
	assert_int_equal(fg_control_reconcile(control), 0);
	assert_false(fg_rollout_current(&page->rollout)->trial.active);
	assert_int_equal(control->acting_fails, 0); /* nothing was done, nothing could fail */
	control->repository.rules = page->rules[world->rollout.rules];
	assert_true(fg_control_reconcile(control) > 0);
}

/* A second client's reload, while the first one's is under way, is one more: both are answered. */
static void test_two_reloads(void **state)
{
	struct fg_admin_request first = request_of(FG_ADMIN_RELOAD, "", 0), second = first;
	json_t *reply;

	(void)state;
	write_file("models:\n- name: digits\n  policy: specific\n  versions: [2]\n");
	assert_null(begin(&first));
	update_reload();
	assert_null(begin(&second));
	assert_int_equal(second.serial, first.serial + 1);
	reply = NULL;
	for (uint32_t i = 0; i < 6000 && !reply; i++) {
		world_run(world, 1);
		reply = progress(&first);
	}
	assert_true(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	update_reload();
	reply = progress(&second);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	assert_true(json_is_false(json_object_get(reply, "changed")));
	json_decref(reply);
}

/* What was refused is not tried again by itself, also not by another control. */
static void test_a_refused_file_is_left_alone(void **state)
{
	struct fg_admin_request request = request_of(FG_ADMIN_RELOAD, "", 0);
	uint32_t serial;

	(void)state;
	write_file("models: 7\n");
	json_decref(reload(&request));
	serial = world->rollout.trial.serial;
	control->scout.read.changes++;
	update_reload();
	assert_int_equal(fg_rollout_current(&page->rollout)->trial.serial, serial);
	assert_int_equal(control->reload.changes, control->scout.read.changes);
}

#define CANARY(name) cmocka_unit_test_setup_teardown(name, open_one, close_control)
#define RELOAD(name) cmocka_unit_test_setup_teardown(name, open_file, close_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CANARY(test_rollout),
		CANARY(test_states_of_other_models),
		CANARY(test_no_reply_before_the_first_step),
		CANARY(test_abort),
		TOLD(test_rollback_of_a_canary),
		CANARY(test_rollback_of_what_came_after_a_canary),
		CANARY(test_expect_during_a_canary),
		CANARY(test_a_long_reason),
		CANARY(test_a_step_that_waits_for_requests),
		CANARY(test_promote_ends_the_steps),
		CANARY(test_rollouts_that_fail),
		CANARY(test_a_guard_breaks_before_the_reply),
		CANARY(test_shadow),
		RELOAD(test_reload),
		RELOAD(test_bad_reloads),
		RELOAD(test_reload_during_a_canary),
		RELOAD(test_a_reload_done_twice),
		RELOAD(test_a_refused_reload_waits_for_the_disk),
		RELOAD(test_two_reloads),
		RELOAD(test_a_refused_file_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
