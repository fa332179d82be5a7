/*
 * Many short random stories, each from its own seed: files, operators, readings, deaths, a slow
 * keeper, a control that dies between any two actions. rollout_kernel.h checks every action and
 * every state, rollout_flows.h every request, rollout_stream.h makes the events; here is what must
 * be true of each step, and once a stream is left in peace.
 *
 * FG_SEED (the first one) and FG_STREAMS (how many) in the environment choose another run.
 */
#include "tests/unit/rollout_stream.h"
#include "userspace/shared/sanitized.h"

#if FG_SANITIZED
#define STREAMS 4000
#else
#define STREAMS 50000
#endif
#define CALM_MS	   900000
#define CALM_STEPS 4000
#define STOP_MS	   30000 /* drains, and workers that hang */

static struct stream stream;
static struct stream_counts counts;
static uint64_t seed;
static bool failed = true; /* until a group of streams has come to its end */

/* ---- after each step ---- */

static const struct fg_rollout_generation *live_of(const struct fg_rollout *rollout)
{
	return fg_rollout_find(rollout, FG_GENERATION_LIVE);
}

static uint32_t id_of(const struct fg_rollout_generation *generation)
{
	return generation ? generation->id : 0;
}

/* What was LIVE died in a loop and is on its way out. */
static bool was_flipped_out(uint32_t id)
{
	const struct fg_rollout_generation *was = flow_generation(stream.world, id);

	return was && was->bad && was->phase != FG_GENERATION_LIVE;
}

/* What LIVE holds of a version is what is on disk, or that it is not is known. */
static void check_contents(const struct world *world, const struct fg_rollout_entry *entry)
{
	const struct fg_rollout_contents *contents = &world->rollout.contents[entry->plan];
	const struct fg_store_version *found =
		fg_store_version(&world->store, entry->model, entry->version);

	if (!found || !fg_rules_find(world_rules(world), entry->model))
		return;
	assert_int_equal(contents->asked, 0);
	if (contents->files == found->fingerprint)
		assert_true(world->seen.plans[entry->plan].digest ==
			    WORLD_CONTENTS(found->fingerprint));
	else
		assert_true(contents->other == found->fingerprint && !contents->take);
}

/* LIVE holds just what should be loaded by now; where that is nothing, what served goes on. */
static void check_all_is_live(const struct world *world)
{
	const struct fg_rollout_generation *live = live_of(&world->rollout);
	const struct fg_rollout_entry *entry;
	struct fg_wanted wanted;

	fg_wanted_all(&world->rollout, &world->store, world_rules(world), &wanted);
	assert_true(live->entry_count == wanted.count || !wanted.count);
	for (uint32_t i = 0; i < wanted.count; i++) {
		entry = fg_rollout_version(live, world->rollout.models[wanted.items[i].model].name,
					   wanted.items[i].version);
		assert_non_null(entry);
		assert_int_equal(entry->is_default, wanted.items[i].is_default);
	}
}

static uint64_t live_version(const struct fg_rollout *rollout, const char *model)
{
	const struct fg_rollout_generation *live = live_of(rollout);
	const struct fg_rollout_entry *entry = live ? fg_rollout_entry(live, model) : NULL;

	return entry ? entry->version : 0;
}

/* A canary goes live when it is DONE, and only then. What waited for its end may go live then. */
static void check_canary_step(const struct fg_rollout *before, const struct fg_rollout *now)
{
	const struct fg_canary *canary = &now->canary;
	uint32_t live = id_of(live_of(before));

	if (!fg_canary_active(&before->canary) || stream.world->seen.stopping)
		return;
	counts.canary_steps += canary->step > before->canary.step;
	counts.canaries_done += canary->phase == FG_CANARY_DONE;
	counts.canaries_broken += canary->phase == FG_CANARY_BROKEN;
	counts.canaries_failed += canary->phase == FG_CANARY_FAILED;
	if (canary->phase == FG_CANARY_DONE)
		assert_true(live_version(now, canary->model) == canary->version);
	else
		assert_true(live_version(now, canary->model) != canary->version ||
			    was_flipped_out(live));
	if (canary->phase == FG_CANARY_BROKEN || canary->phase == FG_CANARY_FAILED)
		assert_true(canary->reason[0]);
	else if (canary->phase != FG_CANARY_DONE)
		assert_int_equal(live, id_of(live_of(now)));
}

/* The rules in force name all that is live, or it was live before. */
static bool is_legal(const struct fg_rollout *before, const struct fg_rollout *now)
{
	const struct fg_rules *rules = fg_rollout_rules(now, stream.world->seen.rules);
	const struct fg_rollout_generation *live = live_of(now);

	for (uint32_t i = 0; i < live->entry_count; i++) {
		const struct fg_rollout_entry *entry = &live->entries[i];
		const struct fg_rules_model *rule = fg_rules_find(rules, entry->model);

		if (!fg_rollout_version(live_of(before), entry->model, entry->version) &&
		    (!rule || (entry->is_default && !fg_wanted_named(rule, entry->version))))
			return false;
	}
	return true;
}

static void check_trial_step(const struct fg_rollout *before, const struct fg_rollout *now)
{
	bool changed = id_of(live_of(before)) != id_of(live_of(now));

	if (!before->trial.active)
		return;
	if (now->trial.accepted != before->trial.accepted) {
		assert_int_equal(now->trial.accepted, now->trial.serial);
		assert_int_not_equal(now->rules, before->rules);
		check_all_is_live(stream.world);
		counts.trials_accepted++;
		return;
	}
	assert_int_equal(now->rules, before->rules);
	if (changed && live_of(before) && !stream.world->seen.stopping)
		assert_true(was_flipped_out(id_of(live_of(before))) ||
			    (!now->trial.active && is_legal(before, now)));
	if (now->trial.active)
		return;
	assert_true(now->trial.error[0]);
	counts.trials_refused++;
}

/* The table: LIVE and CANARY alone take new flows, and a canary's part only grows. */
static void check_table_step(const struct world *world)
{
	const struct fg_rollout_generation *canary =
		fg_rollout_find(&world->rollout, FG_GENERATION_CANARY);
	uint64_t began_ns = world->rollout.canary.began_ns;
	uint32_t ids[2] = {0, 0}, id;

	for (uint64_t left = world->seen.table; left; left &= left - 1) {
		id = id_of(world_owner(world, (uint32_t)__builtin_ctzll(left)));
		if (!ids[0] || ids[0] == id)
			ids[0] = id;
		else if (!ids[1] || ids[1] == id)
			ids[1] = id;
		else
			fail_msg("three generations take new flows");
	}
	if (began_ns != stream.canary_ns)
		stream.canary_floor = 0;
	stream.canary_ns = began_ns;
	if (canary && world->canary && world->rollout.flip.at_ns >= began_ns) {
		assert_true(world->weight >= stream.canary_floor);
		stream.canary_floor = world->weight;
	}
}

/* Another plan of the same version goes live when it really is another one, and because it is to be
 * taken; or what served before comes back. */
static void check_contents_step(const struct fg_rollout *before, const struct fg_rollout *now)
{
	const struct fg_rollout_plan *plans = stream.world->seen.plans;
	const struct fg_rollout_generation *was = live_of(before), *live = live_of(now);
	const struct fg_rollout_entry *old;

	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++) {
		counts.told_of += now->contents[i].other && !now->contents[i].take &&
				  now->contents[i].other != before->contents[i].other;
		counts.same_after_all += before->contents[i].files && now->contents[i].files &&
					 now->contents[i].files != before->contents[i].files;
		if (!stream.world->config.settle_ms && now->contents[i].take)
			assert_true(now->contents[i].asked);
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		for (uint32_t k = 0; k < FG_ROLLOUT_MAX_FAILURES; k++)
			counts.retries += before->models[i].failures[k].retry_ns &&
					  !now->models[i].failures[k].retry_ns;
	for (uint32_t i = 0; was && live && was->id < live->id && i < live->entry_count; i++) {
		old = fg_rollout_version(was, live->entries[i].model, live->entries[i].version);
		if (!old || old->plan == live->entries[i].plan)
			continue;
		assert_true(plans[old->plan].digest != plans[live->entries[i].plan].digest);
		assert_true(before->contents[old->plan].take);
		counts.taken++;
	}
}

static void check_step(void)
{
	const struct fg_rollout *before = &stream.world->before, *now = &stream.world->rollout;
	const struct fg_rollout_generation *live = live_of(now);
	uint32_t was = id_of(live_of(before));

	if (live && live->id != was) {
		counts.cutovers++;
		counts.flips_from_memory += was > live->id;
		counts.flipped_out += was && was_flipped_out(was);
		counts.several_versions += live->entry_count > STREAM_MODELS;
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_TRIES; i++)
		counts.gave_way += now->tries[i].count > before->tries[i].count;
	check_canary_step(before, now);
	check_trial_step(before, now);
	check_contents_step(before, now);
	check_table_step(stream.world);
	counts.shadows_running += before->shadow.phase == FG_SHADOW_STARTING &&
				  now->shadow.phase == FG_SHADOW_RUNNING;
	counts.shadows_ended +=
		fg_shadow_active(&before->shadow) && now->shadow.phase == FG_SHADOW_ENDED;
}

/* ---- time ---- */

/* When something happens by itself. */
static uint64_t next_ns(const struct world *world)
{
	uint64_t next = UINT64_MAX, one;

	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		const struct fg_rollout_slot *seen = &world->seen.slots[slot];
		const struct world_worker *worker = &world->workers[slot];

		if (!seen->pid || worker->hangs)
			continue;
		one = UINT64_MAX;
		if (seen->phase == FG_WORK_STARTING)
			one = worker->ready_ns;
		if (worker->dies_ns && worker->dies_ns < one)
			one = worker->dies_ns;
		if (seen->phase == FG_WORK_FAILED || seen->phase == FG_WORK_DONE ||
		    seen->order == FG_ORDER_FINISH)
			one = 0;
		next = one < next ? one : next;
	}
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING &&
		    world->plans[i].ready_ns < next)
			next = world->plans[i].ready_ns;
	return next;
}

static void request(void)
{
	for (uint32_t i = 0; i < 3; i++)
		flow_request(stream.world, &stream.flows[stream_random(&stream, FLOWS)],
			     &counts.flows);
}

/* Control, keeper and children once. False: nothing changed, and nothing is on its way. */
static bool turn(bool peace)
{
	struct world *world = stream.world;
	bool partial = !peace && stream_random(&stream, 100) < stream.partial, changed;

	world_children(world);
	world_keeper(world, peace ? UINT32_MAX : stream.keeper_limit);
	changed = world_step(world, partial ? stream_random(&stream, 12) : UINT32_MAX);
	counts.steps++;
	counts.partial_steps += partial;
	check_step();
	request();
	return changed || world->actions.count;
}

/* Looks again when something happens, when a step was busy, and at growing intervals. Returns
 * whether the last step was at rest. */
static bool advance(uint64_t ms, bool peace)
{
	struct world *world = stream.world;
	uint64_t end_ns = world->now_ns + ms * WORLD_MS, stride_ns = WORLD_MS, event_ns;
	bool rest = false;

	while (world->now_ns < end_ns) {
		event_ns = next_ns(world);
		world->now_ns += stride_ns;
		if (event_ns < world->now_ns)
			world->now_ns = event_ns > world->now_ns - stride_ns + WORLD_MS
						? event_ns
						: world->now_ns - stride_ns + WORLD_MS;
		if (world->now_ns > end_ns)
			world->now_ns = end_ns;
		rest = !turn(peace);
		stride_ns = rest ? 4 * stride_ns : WORLD_MS;
	}
	return rest;
}

/* ---- peace ---- */

static bool is_used(const struct world *world, uint32_t plan)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++)
		for (uint32_t k = 0; k < world->rollout.generations[i].entry_count; k++)
			if (world->rollout.generations[i].entries[k].plan == plan)
				return true;
	return false;
}

/* A canary stays where its plan or the operator says so. */
static bool canary_stays(const struct fg_canary *canary)
{
	return canary->phase == FG_CANARY_PAUSED ||
	       (canary->phase == FG_CANARY_RUNNING && canary->step + 1 == canary->plan.step_count);
}

/* One that is paused before it is ready gets ready, and waits. */
static bool waits(const struct world *world, const struct fg_rollout_generation *generation)
{
	const struct fg_canary *canary = &world->rollout.canary;

	return generation->phase == FG_GENERATION_STARTING && !generation->shadow &&
	       canary->phase == FG_CANARY_PAUSED && !canary->step_ns;
}

/* A version failed for what has passed: it is tried again within a minute. */
static bool retries(const struct fg_rollout *rollout)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		for (uint32_t k = 0; k < FG_ROLLOUT_MAX_FAILURES; k++)
			if (rollout->models[i].failures[k].passing &&
			    rollout->models[i].failures[k].retry_ns)
				return true;
	return false;
}

/* Nothing is left that must come to an end. */
static bool is_settled(const struct world *world)
{
	const struct fg_rollout *rollout = &world->rollout;

	if (retries(rollout) || rollout->trial.active || rollout->dropping || rollout->gather_ns ||
	    rollout->retry_ns > world->now_ns || rollout->shadow.phase == FG_SHADOW_STARTING)
		return false;
	if (fg_canary_active(&rollout->canary) && !canary_stays(&rollout->canary))
		return false;
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		if (world->seen.plans[i].phase == FG_PLAN_PACKING)
			return false;
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_GENERATIONS; i++) {
		const struct fg_rollout_generation *generation = &rollout->generations[i];

		if ((generation->phase == FG_GENERATION_STARTING && !waits(world, generation)) ||
		    generation->phase == FG_GENERATION_DRAINING ||
		    generation->phase == FG_GENERATION_KEPT ||
		    generation->phase == FG_GENERATION_RETIRING ||
		    !fg_rollout_all_ready(generation, &world->seen, world->now_ns))
			return false;
	}
	return true;
}

static void check_slots(const struct world *world)
{
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		const struct fg_rollout_generation *owner = world_owner(world, slot);
		const struct fg_rollout_slot *seen = &world->seen.slots[slot];
		bool serves = owner && !owner->shadow && !waits(world, owner);

		assert_int_equal(seen->pid != 0, owner != NULL);
		assert_int_equal(seen->map_state, serves ? FG_SLOT_SERVING : FG_SLOT_FREE);
		assert_int_equal(world->seen.table >> slot & 1, serves);
		if (owner)
			assert_int_equal(seen->generation, owner->id);
	}
}

static void check_no_more_than_needed(const struct world *world)
{
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_PLANS; i++)
		assert_true(world->seen.plans[i].phase == FG_PLAN_FREE || is_used(world, i));
	if (!live_of(&world->rollout))
		return;
	check_all_is_live(world);
	for (uint32_t i = 0; i < live_of(&world->rollout)->entry_count; i++)
		check_contents(world, &live_of(&world->rollout)->entries[i]);
}

/* Nobody interferes and nothing breaks any more: every rollout comes to its end. */
static void check_peace(void)
{
	struct world *world = stream.world;
	uint64_t end_ns = world->now_ns + CALM_MS * WORLD_MS, steps = counts.steps;
	uint32_t live;

	stream_note(&stream, "peace", "", 0, 0);
	stream_restore(&stream);
	world->traffic = (struct world_traffic){.per_second = 100000, .canary_p99 = 1};
	world->rollout.canary.plan.window_ns = 0; /* would go on anew for ever */
	world->doomed = 0;
	world->unreadable = world->away = false;
	for (uint32_t i = 0; i < world->bad_count; i++)
		if (world->bad[i].fault == WORLD_DIES)
			world->bad[i].fault = WORLD_GOOD;
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++) {
		world->workers[slot].dies_ns = 0;
		world->seen.slots[slot].flows = world->seen.slots[slot].connections = 0;
	}
	world->seen.flows_known = true;
	while (!(advance(16000, true) && is_settled(world))) {
		assert_true(world->now_ns < end_ns);
		assert_true(counts.steps - steps < CALM_STEPS);
	}
	check_slots(world);
	if (!fg_canary_active(&world->rollout.canary))
		check_no_more_than_needed(world);
	/* And it stays so: all that changes is that back-offs are forgotten. */
	live = id_of(live_of(&world->rollout));
	world->now_ns += 100000 * WORLD_MS;
	turn(true);
	assert_false(turn(true));
	assert_int_equal(id_of(live_of(&world->rollout)), live);
}

static void check_stop(void)
{
	struct world *world = stream.world;

	stream_note(&stream, "stop", "", 0, 0);
	counts.stops++;
	world->seen.stopping = true;
	advance(STOP_MS, true);
	assert_true(fg_rollout_empty(&world->rollout));
	for (uint32_t slot = 0; slot < FG_MAX_SLOTS; slot++)
		assert_int_equal(world->seen.slots[slot].pid, 0);
}

/* ---- streams ---- */

static void begin(struct world *world)
{
	static const uint32_t workers[] = {1, 2, 2, 3};
	static const uint32_t keep_ms[] = {0, 1000, 5000, 20000};
	static const uint32_t settle_ms[] = {0, 500, 2000, 600000};

	world_init(world, workers[seed % 4]);
	world->seed = (seed + 1) * 0x9e3779b97f4a7c15ull | 1;
	if (seed % 64 == 0)
		world->config.worker_count = FG_ROLLOUT_MAX_WORKERS;
	world->config.keep_ms = keep_ms[world_random(world, 4)];
	world->config.settle_ms = settle_ms[world_random(world, 4)];
	world->config.drain_deadline_ms = 200 + world_random(world, 3000);
	world->rules[0].defaults.policy =
		world_random(world, 2) ? FG_RULES_MANUAL : FG_RULES_LATEST;
	world->rules[0].defaults.count = 1 + (world_random(world, 3) == 0);
	world->traffic = (struct world_traffic){.per_second = 10000, .canary_p99 = 1};
	if (world_random(world, 3) == 0)
		world->seen.memory = (struct fg_rollout_memory){
			.limit_bytes = (uint64_t)(460 + world_random(world, 540)) << 20,
			.base_bytes = 100u << 20,
			.worker_bytes = 10u << 20};
	world_version(world, "a", 1, WORLD_GOOD);
	world_version(world, "a", 2, WORLD_GOOD);
	world_version(world, "b", 1, WORLD_GOOD);
}

static void run_stream(void)
{
	static const uint32_t gaps_ms[] = {0, 1, 1, 1, 15, 15};
	struct world *world = stream.world;
	uint32_t events;

	begin(world);
	stream = (struct stream){.world = world, .counts = &counts, .keeper_limit = UINT32_MAX};
	flows_init(stream.flows, world);
	advance(200, false);
	events = 12 + stream_random(&stream, 1 + stream_random(&stream, 29));
	for (uint32_t i = 0; i < events; i++) {
		stream_event(&stream);
		advance(gaps_ms[stream_random(&stream, 6)] * stream_random(&stream, 60), false);
	}
	if (stream_random(&stream, 4))
		check_peace();
	if (stream_random(&stream, 4) == 0)
		check_stop();
	counts.flips += world->flips;
	for (uint32_t i = 0; i < FG_ROLLOUT_MAX_MODELS; i++)
		for (uint32_t k = 0; k < FG_ROLLOUT_MAX_FAILURES; k++) {
			const struct fg_rollout_failure *failure =
				&world->rollout.models[i].failures[k];

			counts.failures += failure->version != 0;
			counts.refused_for_memory +=
				failure->version && strstr(failure->error, "out of memory");
		}
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* Many streams must have met everything, or the test has become empty. */
static void check_coverage(uint64_t streams)
{
#define CHECK_COUNT(name)                                                                          \
	print_message("# %-20s %" PRIu64 "\n", #name, counts.name);                                \
	if (streams >= 1000)                                                                       \
		assert_true(counts.name > streams / 500);
	STREAM_COUNTS(CHECK_COUNT)
	CHECK_COUNT(flows.answered)
	CHECK_COUNT(flows.moved)
	CHECK_COUNT(flows.drained)
	CHECK_COUNT(flows.in_canary)
#undef CHECK_COUNT
	print_message("# %-20s %" PRIu64 "\n", "flows.lost", counts.flows.lost);
	assert_true(counts.flows.lost * 1000 < counts.flows.answered);
}

static void test_streams(void **state)
{
	uint64_t first = from_environment("FG_SEED", 1);
	uint64_t streams = from_environment("FG_STREAMS", STREAMS);

	(void)state;
	for (seed = first; seed < first + streams; seed++)
		run_stream();
	failed = false;
	print_message("# %" PRIu64 " streams from seed %" PRIu64 "\n", streams, first);
	check_coverage(streams);
}

static int open_streams(void **state)
{
	(void)state;
	stream.world = malloc(sizeof(*stream.world));
	return !stream.world;
}

static int close_streams(void **state)
{
	(void)state;
	if (failed)
		stream_tell(&stream, seed);
	free(stream.world);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_streams, open_streams, close_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
