#include <stdio.h>
#include <string.h>
#include "sched/budget.h"
#include "sched/rollout_actions.h"
#include "sched/rollout_pack.h"
#include "sched/rollout_step.h"

#define MAX_CANDIDATES (2 * FG_ROLLOUT_MAX_MODELS + 1)

_Static_assert(FG_ROLLOUT_MAX_TRIES > FG_ROLLOUT_MAX_MODELS, "every wanted version has a try");

/* ---- tries ---- */

static struct fg_rollout_try *find_try(const struct fg_rollout *rollout, const char *model,
				       uint64_t version)
{
	const struct fg_rollout_try *try;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_TRIES; i++) {
		try = &rollout->tries[i];
		if (try->version == version && !strcmp(rollout->models[try->model].name, model))
			return (struct fg_rollout_try *)try;
	}
	return NULL;
}

const struct fg_rollout_try *fg_pack_try(const struct fg_rollout *rollout, const char *model,
					 uint64_t version)
{
	return find_try(rollout, model, version);
}

/* A new one takes a free place, or that of the one stopped longest ago. */
void fg_pack_note(struct fg_step *step, const char *model, uint64_t version, uint64_t fingerprint,
		  uint32_t hunger)
{
	struct fg_rollout *rollout = step->rollout;
	const struct fg_rollout_model *record = fg_wanted_model(rollout, model);
	struct fg_rollout_try *try = find_try(rollout, model, version);
	uint32_t i;

	if (!record)
		return;
	if (!try) {
		try = &rollout->tries[0];
		for (i = 1; i < FG_ROLLOUT_MAX_TRIES; i++)
			if (rollout->tries[i].at_ns < try->at_ns)
				try = &rollout->tries[i];
		memset(try, 0, sizeof(*try));
	}
	try->version = version;
	try->fingerprint = fingerprint;
	try->model = (uint32_t)(record - rollout->models);
	try->at_ns = step->now_ns;
	try->hunger = hunger;
	try->count++;
}

/* Of what is packed, refused, gone or changed by now. */
static void forget_tries(struct fg_step *step)
{
	const struct fg_rollout_model *model;
	const struct fg_store_version *found;
	struct fg_rollout_try *try;
	uint32_t i;
	int plan;

	for (i = 0; i < FG_ROLLOUT_MAX_TRIES; i++) {
		try = &step->rollout->tries[i];
		if (!try->version)
			continue;
		model = &step->rollout->models[try->model];
		found = fg_store_version(step->observed->store, model->name, try->version);
		plan = fg_rollout_packed(step->rollout, step->observed, model->name, try->version,
					 try->fingerprint);
		if (!found || found->fingerprint != try->fingerprint ||
		    fg_wanted_failure(model, try->version, try->fingerprint) ||
		    (plan >= 0 && step->observed->plans[plan].phase == FG_PLAN_READY))
			memset(try, 0, sizeof(*try));
	}
}

bool fg_pack_slow(const struct fg_step *step, const char *model, uint64_t version)
{
	const struct fg_rollout_plan *plan = step->observed->plans;
	uint32_t i;

	if (find_try(step->rollout, model, version))
		return true;
	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++, plan++)
		if (plan->phase == FG_PLAN_PACKING && plan->version == version &&
		    !strcmp(plan->model, model))
			return step->now_ns >= plan->since_ns + FG_ROLLOUT_GATHER_NS;
	return false;
}

/* ---- candidates ---- */

struct candidate {
	const char *model;
	const struct fg_store_version *version;
	bool served; /* its model serves, or did before this start */
	uint32_t tries, hunger;
	uint64_t at_ns;
};

/* What one choice works on. */
struct choice {
	const struct fg_rollout *rollout;
	const struct fg_rollout_observed *observed;
	uint64_t now_ns;
	struct fg_budget budget;
	uint32_t running, slow; /* packers, and those of them that pack once more or run long */
	bool full;		/* one waits for memory that packers use */
	uint32_t count;
	struct candidate list[MAX_CANDIDATES];
	const struct fg_packs *packs;
};

static uint64_t served_version(const struct fg_rollout_observed *observed, const char *model)
{
	const struct fg_rollout_served_model *served = fg_rollout_served(observed->served, model);

	return served ? served->version : 0;
}

static void add(struct choice *choice, const char *model, uint64_t wanted)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(choice->rollout, FG_GENERATION_LIVE);
	const struct fg_store_version *version =
		fg_store_version(choice->observed->store, model, wanted);
	const struct fg_rollout_try *try;
	struct candidate *candidate;

	if (choice->count == MAX_CANDIDATES ||
	    !fg_rollout_unpacked(choice->rollout, choice->observed, model, wanted))
		return;
	candidate = &choice->list[choice->count++];
	*candidate = (struct candidate){.model = model, .version = version};
	candidate->served =
		(live && fg_rollout_entry(live, model)) || served_version(choice->observed, model);
	candidate->tries =
		fg_wanted_tries(fg_wanted_model((struct fg_rollout *)choice->rollout, model),
				wanted);
	try = find_try(choice->rollout, model, wanted);
	if (try && try->fingerprint == version->fingerprint) {
		candidate->tries += try->count;
		candidate->hunger = try->hunger;
		candidate->at_ns = try->at_ns;
	}
}

/* Of a model that nothing serves of yet: what served before may be there long before what is
 * wanted. */
static void add_served(struct choice *choice, const struct fg_rules *rules,
		       const struct fg_rollout_model *model, uint64_t wanted)
{
	const struct fg_rollout_generation *live =
		fg_rollout_find(choice->rollout, FG_GENERATION_LIVE);
	uint64_t version = served_version(choice->observed, model->name);

	if (version && version < wanted && !(live && fg_rollout_entry(live, model->name)) &&
	    fg_wanted_stopgap(choice->rollout, choice->observed->store, rules, model, version))
		add(choice, model->name, version);
}

/* Then the shadow's version is packed; its files may be others by now, and not even packable. */
static bool shadow_stands(const struct fg_rollout *rollout)
{
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		if (rollout->generations[i].shadow &&
		    rollout->generations[i].phase != FG_GENERATION_RETIRING)
			return true;
	return false;
}

static void collect(struct choice *choice)
{
	const struct fg_rules *rules = fg_rollout_rules(choice->rollout, choice->observed->rules);
	const struct fg_shadow *shadow = &choice->rollout->shadow;
	const struct fg_rollout_model *model;
	struct fg_wanted wanted;
	uint32_t i;

	fg_wanted_all(choice->rollout, choice->observed->store, rules, &wanted);
	for (i = 0; i < wanted.count; i++) {
		model = &choice->rollout->models[wanted.items[i].model];
		if (wanted.items[i].is_default)
			add_served(choice, rules, model, wanted.items[i].version);
		add(choice, model->name, wanted.items[i].version);
	}
	if (fg_shadow_active(shadow) && !shadow_stands(choice->rollout))
		add(choice, shadow->model, shadow->version);
}

/* ---- choosing ---- */

static const struct fg_rollout_try *try_of(const struct fg_rollout *rollout,
					   const struct fg_rollout_plan *plan)
{
	const struct fg_rollout_try *try = find_try(rollout, plan->model, plan->version);

	if (!try || try->fingerprint != plan->fingerprint)
		return NULL;
	return try;
}

/* Who holds much memory has no more than that while something new waits (`hurry`). */
static uint64_t allowance_ns(const struct fg_rollout_try *try, bool hurry)
{
	uint32_t tries = try ? try->count : 0;

	if (hurry && try && try->hunger)
		tries = 1;
	return FG_ROLLOUT_PACK_NS << 2 * (tries < 8 ? tries : 8);
}

/* Those that were told to stop run until the keeper has done it. */
static void count_running(struct choice *choice)
{
	const struct fg_rollout_plan *plan = choice->observed->plans;
	uint32_t i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++, plan++) {
		if (plan->phase != FG_PLAN_PACKING)
			continue;
		choice->running++;
		choice->slow += try_of(choice->rollout, plan) ||
				choice->now_ns >= plan->since_ns + FG_ROLLOUT_PACK_NS;
	}
}

static uint32_t packers_of(const struct choice *choice, const char *model)
{
	uint32_t i, count = 0;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		count += choice->observed->plans[i].phase == FG_PLAN_PACKING &&
			 !strcmp(choice->observed->plans[i].model, model);
	for (i = 0; i < choice->packs->count; i++)
		count += !strcmp(choice->packs->list[i].model, model);
	return count;
}

/* `a` is packed before `b`; equals keep the order in which they are wanted. */
static bool before(const struct choice *choice, const struct candidate *a,
		   const struct candidate *b)
{
	uint32_t packers_a, packers_b;

	if (a->tries != b->tries)
		return a->tries < b->tries;
	if (a->served != b->served)
		return a->served;
	packers_a = packers_of(choice, a->model);
	packers_b = packers_of(choice, b->model);
	return packers_a != packers_b ? packers_a < packers_b : a->at_ns < b->at_ns;
}

static struct candidate take_first(struct choice *choice)
{
	struct candidate *first = &choice->list[0], taken;
	uint32_t i;

	for (i = 1; i < choice->count; i++)
		if (before(choice, &choice->list[i], first))
			first = &choice->list[i];
	taken = *first;
	memmove(first, first + 1,
		(size_t)(choice->list + --choice->count - first) * sizeof(*first));
	return taken;
}

/* Even if no packer ran. */
static bool has_memory(const struct choice *choice, const struct candidate *candidate)
{
	if (candidate->hunger == FG_HUNGER_ALL && choice->budget.kept)
		return false;
	return fg_budget_share(&choice->budget, candidate->hunger) <=
	       fg_budget_left(&choice->budget);
}

/* Beside the packers that run. What one waits for, those behind it must not take. */
static bool has_packer(struct choice *choice, const struct candidate *candidate)
{
	uint64_t left = fg_budget_left(&choice->budget), packing = choice->budget.packing;

	choice->full |= packing > left ||
			fg_budget_share(&choice->budget, candidate->hunger) > left - packing;
	return !choice->full && choice->running < FG_ROLLOUT_MAX_PACKING &&
	       !(candidate->tries && choice->slow >= FG_ROLLOUT_MAX_PACKING - 1);
}

void fg_pack_choose(const struct fg_rollout *rollout, const struct fg_rollout_observed *observed,
		    const struct fg_rollout_config *config, uint64_t now_ns, struct fg_packs *packs)
{
	struct choice choice = {.rollout = rollout,
				.observed = observed,
				.now_ns = now_ns,
				.packs = packs};
	struct candidate candidate;
	struct fg_pack pack;

	memset(packs, 0, sizeof(*packs));
	fg_budget_count(rollout, observed, config, &choice.budget);
	collect(&choice);
	count_running(&choice);
	while (choice.count) {
		candidate = take_first(&choice);
		pack = (struct fg_pack){candidate.model, candidate.version,
					fg_budget_share(&choice.budget, candidate.hunger)};
		if (!has_memory(&choice, &candidate)) {
			packs->starved = pack;
		} else if (!has_packer(&choice, &candidate)) {
			packs->waiting++;
			packs->hurry |= !candidate.tries;
		} else {
			packs->list[packs->count++] = pack;
			choice.budget.packing += pack.memory_bytes;
			choice.running++;
			choice.slow += candidate.tries > 0;
		}
	}
}

/* ---- giving way ---- */

/* The packer that is over its allowance by most; -1: none is. */
static int slowest(const struct fg_step *step, bool hurry)
{
	const struct fg_rollout_plan *plan = step->observed->plans;
	uint64_t over_ns, most_ns = 0;
	int found = -1, i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++, plan++) {
		if (plan->phase != FG_PLAN_PACKING || step->rollout->dropping >> i & 1)
			continue;
		over_ns = plan->since_ns + allowance_ns(try_of(step->rollout, plan), hurry);
		over_ns = step->now_ns > over_ns ? step->now_ns - over_ns : 0;
		if (over_ns <= most_ns)
			continue;
		most_ns = over_ns;
		found = i;
	}
	return found;
}

static void give_way(struct fg_step *step, uint32_t waiting, bool hurry)
{
	const struct fg_rollout_plan *plans = step->observed->plans;
	const struct fg_rollout_try *try;
	uint32_t going = 0;
	int i;

	for (i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		going += plans[i].phase == FG_PLAN_PACKING && (step->rollout->dropping >> i & 1);
	for (; going < waiting && (i = slowest(step, hurry)) >= 0; going++) {
		try = try_of(step->rollout, &plans[i]);
		fg_pack_note(step, plans[i].model, plans[i].version, plans[i].fingerprint,
			     try ? try->hunger : 0);
		step->rollout->dropping |= 1ull << i;
	}
}

static void refuse(struct fg_step *step, const struct fg_pack *pack)
{
	char text[FG_ROLLOUT_ERROR_BYTES];
	struct fg_budget budget;

	fg_budget_count(step->rollout, step->observed, step->config, &budget);
	fg_budget_explain(&budget, "to pack it takes 64 or more", text, sizeof(text));
	fg_step_trial_failed(step, pack->model, pack->version->version, text);
	fg_wanted_fail(step->rollout, pack->model, pack->version->version,
		       pack->version->fingerprint, text, 0);
}

void fg_step_packers(struct fg_step *step)
{
	struct fg_packs packs;

	forget_tries(step);
	fg_pack_choose(step->rollout, step->observed, step->config, step->now_ns, &packs);
	if (packs.starved.model && !fg_step_make_room(step))
		refuse(step, &packs.starved);
	give_way(step, packs.waiting + step->blocked, packs.hurry || step->blocked);
}
