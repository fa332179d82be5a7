/* rollout_story.h: what tests that tell one story each share: a world, and a few verbs. */
#ifndef FG_TESTS_ROLLOUT_STORY_H
#define FG_TESTS_ROLLOUT_STORY_H

#include <errno.h>
#include <stdlib.h>
#include "tests/unit/rollout_world.h"

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
	return fg_wanted_model((struct fg_rollout *)world_rollout(world), name);
}

static inline int promote(const char *name, uint64_t version)
{
	int code;

	world->next = *world_rollout(world);
	code = fg_wanted_promote(&world->next, &world->store, world->config.manual, name, version);
	fg_rollout_publish(&world->record, &world->next);
	return code;
}

static inline int roll_back(const char *name, uint64_t *version)
{
	int code;

	world->next = *world_rollout(world);
	code = fg_wanted_rollback(&world->next, &world->store, world->config.manual, name, version);
	fg_rollout_publish(&world->record, &world->next);
	return code;
}

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
