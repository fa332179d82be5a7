/* rollout_story.h: what tests that tell one story each share: a world, and a few verbs. */
#ifndef FG_TESTS_ROLLOUT_STORY_H
#define FG_TESTS_ROLLOUT_STORY_H

#include <errno.h>
#include <stdlib.h>
#include "tests/unit/rollout_kernel.h"

static struct world *world;

static inline int open_world(void **state)
{
	(void)state;
	world = malloc(sizeof(*world));
	world_init(world, 2);
	return 0;
}

static inline int close_world(void **state)
{
	(void)state;
	free(world);
	return 0;
}

static inline const struct fg_rollout_generation *in_phase(enum fg_generation_phase phase)
{
	return fg_rollout_find(world_rollout(world), phase);
}

static inline const struct fg_rollout_model *model(const char *name)
{
	return fg_wanted_model(&world->rollout, name);
}

static inline int promote(const char *name, uint64_t version)
{
	return fg_wanted_promote(&world->rollout, &world->store, world_rules(world), name, version);
}

static inline int roll_back(const char *name, uint64_t *version)
{
	return fg_wanted_rollback(&world->rollout, &world->store, world_rules(world), name,
				  version);
}

/* ---- canaries, shadows, reloads ---- */

/* Weights upward, 0: no more. */
static inline struct fg_canary_plan steps(uint32_t hold_ms, uint32_t a, uint32_t b, uint32_t c)
{
	struct fg_canary_plan plan = {.step_count = 1 + !!b + !!c,
				      .steps = {a, b, c},
				      .hold_ns = hold_ms * WORLD_MS};
	const char *why;

	assert_int_equal(fg_canary_check(&plan, &why), 0);
	return plan;
}

static inline int canary(const char *name, uint64_t version, struct fg_canary_plan plan)
{
	return fg_canary_begin(&world->rollout, &world->store, world_rules(world), name, version,
			       &plan);
}

static inline int shadow(const char *name, uint64_t version, uint32_t share)
{
	return fg_shadow_begin(&world->rollout, &world->store, world_rules(world), name, version,
			       share, world->now_ns);
}

static inline const struct fg_canary *the_canary(void)
{
	return &world->rollout.canary;
}

/* The other rules, a copy of those in force: to be changed before try_rules(). */
static inline struct fg_rules *other_rules(void)
{
	uint32_t now = world->rollout.rules;

	world->rules[!now] = world->rules[now];
	return &world->rules[!now];
}

static inline struct fg_rules_model *add_rule(struct fg_rules *rules, const char *name,
					      enum fg_rules_policy policy, uint32_t count)
{
	struct fg_rules_model *rule = &rules->models[rules->model_count++];

	memset(rule, 0, sizeof(*rule));
	snprintf(rule->name, sizeof(rule->name), "%s", name);
	rule->policy = policy;
	rule->count = count;
	return rule;
}

static inline void add_label(struct fg_rules_model *rule, const char *name, uint64_t version)
{
	struct fg_rules_label *label = &rule->labels[rule->label_count++];

	snprintf(label->name, sizeof(label->name), "%s", name);
	label->version = version;
}

static inline int try_rules(void)
{
	return fg_rollout_try(&world->rollout, world->now_ns);
}

/* Version 1 serves, by choice; 2 is on disk only. */
static inline void serve_one_of_two(void)
{
	world_version(world, "digits", 1, WORLD_GOOD);
	world_version(world, "digits", 2, WORLD_GOOD);
	world_run(world, 300);
	assert_int_equal(promote("digits", 1), 0);
	world_run(world, 30000);
	assert_int_equal(world_live(world, "digits"), 1);
	assert_null(in_phase(FG_GENERATION_KEPT));
}

static inline void run_until(enum fg_generation_phase phase)
{
	for (uint32_t i = 0; i < 1000 && !in_phase(phase); i++)
		world_run(world, 1);
	assert_non_null(in_phase(phase));
}

/* ---- what was done ---- */

/* The place of the first done action like that since `from`; fails when there is none. */
static inline uint32_t done_at(uint32_t from, uint32_t verb, uint32_t slot, uint32_t value)
{
	for (uint32_t i = from; i < world->log_count; i++)
		if (world->log[i].verb == verb && world->log[i].slot == slot &&
		    world->log[i].value == value)
			return i;
	fail_msg("verb %u slot %u value %u was never done", verb, slot, value);
	return 0;
}

static inline void set_flows(uint32_t flows)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		world->seen.slots[slot].flows = flows;
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

#endif
