/* verbs_story.h: the operator's verbs, asked over a simulated world (rollout_world.h). */
#ifndef FG_TESTS_VERBS_STORY_H
#define FG_TESTS_VERBS_STORY_H

#include <stdlib.h>
#include "tests/unit/rollout_story.h"
#include "userspace/daemon/control.h"

static struct fg_control *control;
static struct fg_state *page;
static struct fg_config config;

static inline int open_control(void **state)
{
	open_world(state);
	control = calloc(1, sizeof(*control));
	page = aligned_alloc(_Alignof(struct fg_state), sizeof(*page));
	memset(page, 0, sizeof(*page));
	control->config = &config;
	control->state = page;
	control->audit.fd = control->orders = -1;
	control->audit.lost = &page->control.audit_lost;
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	return 0;
}

static inline int close_control(void **state)
{
	free(control);
	free(page);
	return close_world(state);
}

static inline void set_manual(void)
{
	world->rules[0].defaults.policy = world->rules[1].defaults.policy = FG_RULES_MANUAL;
}

/* Control looks at the world as it is now, ... */
static inline void look(void)
{
	fg_rollout_publish(&page->rollout, &world->rollout);
	memcpy(page->rules, world->rules, sizeof(page->rules));
	control->repository.store = world->store;
	control->pace = world->config;
	control->table = world->seen.table;
	control->spoken = false;
}

/* ... and what it decided is what the world steps on from. */
static inline void decide(void)
{
	world->rollout = *fg_rollout_current(&page->rollout);
}

static inline struct fg_admin_request request_of(enum fg_admin_verb verb, const char *name,
						 uint64_t version)
{
	struct fg_admin_request request = {.verb = verb,
					   .version = version,
					   .arrived_ns = world->now_ns,
					   .until_ns = world->now_ns + 5000 * WORLD_MS};

	snprintf(request.model, sizeof(request.model), "%s", name);
	return request;
}

static inline json_t *begin(struct fg_admin_request *request)
{
	json_t *reply;

	look();
	reply = fg_control_verbs.begin(control, request, world->now_ns);
	decide();
	return reply;
}

static inline json_t *progress(struct fg_admin_request *request)
{
	look();
	return fg_control_verbs.progress(control, request, world->now_ns);
}

/* Asks and waits for the reply, for up to 6 s. */
static inline json_t *finish(struct fg_admin_request request)
{
	json_t *reply = begin(&request);

	for (uint32_t i = 0; i < 6000 && !reply; i++) {
		world_run(world, 1);
		reply = progress(&request);
	}
	assert_non_null(reply);
	return reply;
}

static inline json_t *ask(enum fg_admin_verb verb, const char *name, uint64_t version)
{
	return finish(request_of(verb, name, version));
}

static inline void expect_error(json_t *reply, const char *code, const char *part)
{
	const char *error = json_string_value(json_object_get(reply, "error"));

	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "code")), code);
	if (!strstr(error, part))
		fail_msg("\"%s\" does not say \"%s\"", error, part);
	json_decref(reply);
}

static inline void expect_ok(const json_t *reply, uint64_t version, bool changed)
{
	if (!json_is_true(json_object_get(reply, "ok")))
		fail_msg("%s", json_string_value(json_object_get(reply, "error")));
	assert_string_equal(json_string_value(json_object_get(reply, "model")), "digits");
	assert_int_equal(json_integer_value(json_object_get(reply, "version")), version);
	assert_int_equal(json_is_true(json_object_get(reply, "changed")), changed);
	assert_int_equal(json_integer_value(json_object_get(reply, "generation")),
			 in_phase(FG_GENERATION_LIVE)->id);
}

/* Of a verb that ends with a flip: the version is live. */
static inline void expect_done(json_t *reply, uint64_t version, bool changed)
{
	double took_ms = json_real_value(json_object_get(reply, "took_ms"));

	expect_ok(reply, version, changed);
	assert_true(json_real_value(json_object_get(reply, "flip_us")) == 1.0);
	assert_true(changed ? took_ms > 0 && took_ms < 6000 : took_ms == 0);
	assert_int_equal(world_live(world, "digits"), version);
	json_decref(reply);
}

#define TOLD(name) cmocka_unit_test_setup_teardown(name, open_control, close_control)

#endif
