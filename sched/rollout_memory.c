#include <stdio.h>
#include "sched/budget.h"
#include "sched/rollout_step.h"

static void count(const struct fg_step *step, struct fg_budget *budget)
{
	fg_budget_count(step->rollout, step->observed, step->config, budget);
}

/* The largest, so that one that wants too much does not take the place of others; of equals one of
 * a model that does not serve yet, and the last. -1: none waits. */
static int least_deserving(const struct fg_step *step)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(step->rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_plan *plan, *worst = NULL;
	bool serves, worst_serves = false;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		plan = &step->observed->plans[i];
		if (!fg_budget_waits(step->rollout, step->observed, i))
			continue;
		serves = live && fg_rollout_entry(live, plan->model);
		if (worst && (plan->bytes < worst->bytes ||
			      (plan->bytes == worst->bytes && serves && !worst_serves)))
			continue;
		worst = plan;
		worst_serves = serves;
	}
	return worst ? (int)(worst - step->observed->plans) : -1;
}

void fg_step_memory(struct fg_step *step)
{
	char what[64], text[FG_ROLLOUT_ERROR_BYTES];
	struct fg_budget budget;
	int plan;

	count(step, &budget);
	plan = least_deserving(step);
	if (plan < 0 || !fg_budget_exceeded(&budget) || fg_step_make_room(step))
		return;
	budget.waiting -= step->observed->plans[plan].bytes;
	snprintf(what, sizeof(what), "its plan takes %llu",
		 (unsigned long long)step->observed->plans[plan].bytes >> 20);
	fg_step_fail_plan(step, (uint32_t)plan,
			  fg_budget_explain(&budget, what, text, sizeof(text)), false);
}

/* Packers use of what is left; one that runs long gives way (rollout_pack.c). Also where nothing
 * waits to be held, because all its plans are: its workers may be too many. */
bool fg_step_lacks_memory(struct fg_step *step)
{
	struct fg_budget budget;
	uint64_t left;

	count(step, &budget);
	/* Also beside one that is starting: a shadow. */
	budget.start = step->config->worker_count * step->observed->memory.worker_bytes;
	left = fg_budget_left(&budget);
	if (!left && fg_step_make_room(step))
		return true;
	return budget.packing > left || (budget.waiting && budget.packing == left);
}

/* Each time with more, or it is of no use. */
bool fg_step_feeds(struct fg_step *step, uint32_t plan)
{
	const struct fg_rollout_plan *seen = &step->observed->plans[plan];
	const struct fg_rollout_try *try = fg_pack_try(step->rollout, seen->model, seen->version);
	uint32_t hunger = try && try->fingerprint == seen->fingerprint ? try->hunger : 0;
	char what[64], text[FG_ROLLOUT_ERROR_BYTES];
	struct fg_budget budget;

	count(step, &budget);
	if (!seen->lacked || !budget.limit)
		return false;
	while (++hunger <= FG_HUNGER_ALL) {
		if ((hunger < FG_HUNGER_ALL || !budget.kept) &&
		    fg_budget_share(&budget, hunger) <= seen->memory_bytes)
			continue;
		fg_pack_note(step, seen->model, seen->version, seen->fingerprint, hunger);
		step->rollout->dropping |= 1ull << plan;
		return true;
	}
	snprintf(what, sizeof(what), "to pack it takes more than %llu",
		 (unsigned long long)seen->memory_bytes >> 20);
	fg_step_fail_plan(step, plan, fg_budget_explain(&budget, what, text, sizeof(text)), false);
	return true;
}
