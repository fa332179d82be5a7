#include <errno.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>
#include "sched/budget.h"
#include "userspace/daemon/child.h"
#include "userspace/daemon/control.h"
#include "userspace/daemon/memory.h"
#include "userspace/daemon/orders.h"
#include "userspace/shared/clock.h"
#include "userspace/shared/log.h"

#define MAX_ROUNDS	  16		/* of step and act, before others get their turn */
#define RESEND_NS	  1000000000ull /* an order that shows no effect is sent again after that */
#define RETRY_NS	  20000000ull /* a list that could not be done is tried again after that */
#define LOOK_AT_MEMORY_NS 1000000000ull
#define COUNT_FLOWS_NS	  100000000ull /* counting reads all buckets: a fraction of a millisecond */

static uint32_t order_index(const struct fg_rollout_action *action)
{
	return action->verb == FG_ROLLOUT_PACK || action->verb == FG_ROLLOUT_DROP ? action->index
										  : action->slot;
}

static void forget_sent(struct fg_control *control, enum fg_rollout_verb verb, uint32_t index)
{
	control->sent[verb][index].hash = 0;
}

/* ---- observing ---- */

static const char *describe_end(struct fg_control *control, uint32_t slot)
{
	const struct fg_state_slot *state = &control->state->slots[slot];
	char *text = control->ends[slot];
	size_t size = sizeof(control->ends[slot]);
	int status = state->post.exit_status;

	if (control->observed.slots[slot].phase == FG_WORK_FAILED && state->work.error[0])
		snprintf(text, size, "%.*s", (int)size - 1, state->work.error);
	else if (WIFSIGNALED(status))
		snprintf(text, size, "a worker was killed by signal %d (%s) before it was ready",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "a worker ended with status %d before it was ready",
			 WEXITSTATUS(status));
	fg_log_clean(text);
	return text;
}

/* Nothing that a plan does: a signal that the kernel sends for memory, and others for their own
 * reasons. Of a worker that was READY nobody knows. */
static bool is_passing(const struct fg_state_slot *state, uint32_t phase)
{
	int status = state->post.exit_status;

	if (phase == FG_WORK_FAILED)
		return state->work.passing;
	return phase == FG_WORK_STARTING && fg_child_passing(status);
}

/* The counters are read one after the other, the one that is raised last first. */
static uint32_t open_connections(const struct fg_stats *stats)
{
	uint64_t closed = atomic_load_explicit(&stats->tcp_closed, memory_order_acquire);
	uint64_t accepted = atomic_load_explicit(&stats->tcp_accepted, memory_order_relaxed);

	return accepted > closed ? (uint32_t)(accepted - closed) : 0;
}

/* The keeper counts a death before it clears the pid, and sets the pid of a new worker last: so the
 * pid is read first. */
static void observe_slot(struct fg_control *control, uint32_t slot)
{
	const struct fg_state_slot *state = &control->state->slots[slot];
	struct fg_rollout_slot *seen = &control->observed.slots[slot];
	union fg_slot map = {.word = 0};

	seen->pid = atomic_load_explicit(&state->post.pid, memory_order_acquire);
	seen->generation = atomic_load_explicit(&state->post.generation, memory_order_acquire);
	seen->attachment = atomic_load_explicit(&state->post.attachment, memory_order_acquire);
	seen->deaths = atomic_load_explicit(&state->post.deaths, memory_order_acquire);
	seen->phase = atomic_load_explicit(&state->work.phase, memory_order_acquire);
	seen->order = atomic_load_explicit(&state->order, memory_order_relaxed);
	seen->urgent = atomic_load_explicit(&state->post.urgent, memory_order_acquire);
	seen->watch =
		fg_state_watch_epoch(atomic_load_explicit(&state->watch, memory_order_relaxed));
	seen->connections = seen->pid ? open_connections(&state->work.stats) : 0;
	seen->spawned_ns = state->post.spawned_ns;
	seen->heartbeat_ns = atomic_load_explicit(&state->work.heartbeat_ns, memory_order_relaxed);
	fg_steering_get_slot(control->steering, (uint16_t)slot, &map);
	seen->map_generation = map.generation;
	seen->map_state = map.state;
	seen->passing = is_passing(state, seen->phase);
	seen->error = describe_end(control, slot);
}

static void observe_plan(struct fg_control *control, uint32_t plan)
{
	const struct fg_state_plan *state = &control->state->plans[plan];
	struct fg_rollout_plan *seen = &control->observed.plans[plan];

	seen->phase = atomic_load_explicit(&state->phase, memory_order_acquire);
	seen->model = state->model;
	seen->version = state->version;
	seen->fingerprint = state->fingerprint;
	seen->since_ns = state->started_ns;
	seen->bytes = seen->phase == FG_PLAN_READY ? state->bytes : 0;
	seen->memory_bytes = state->memory_bytes;
	seen->lacked = state->lacked;
	seen->passing = state->passing;
	seen->digest = state->digest;
	seen->interface = seen->phase == FG_PLAN_READY ? state->interface : 0;
	seen->in_cols = state->in_cols;
	seen->out_cols = state->out_cols;
	seen->ready_ns = state->ready_ns;
	seen->error = state->error;
	/* Were the files, when it had read them, still those that it was to read? */
	if (seen->phase == FG_PLAN_READY || seen->phase == FG_PLAN_FAILED)
		fg_scout_look_since(&control->scout, seen->ready_ns);
}

/* An order whose effect shows is done: the next one like it is another one. */
static void forget_done(struct fg_control *control)
{
	const struct fg_rollout_observed *seen = &control->observed;
	uint32_t i;

	for (i = 0; i < FG_MAX_SLOTS; i++)
		forget_sent(control, seen->slots[i].pid ? FG_ROLLOUT_SPAWN : FG_ROLLOUT_KILL, i);
	for (i = 0; i < FG_STATE_MAX_PLANS; i++)
		forget_sent(control,
			    seen->plans[i].phase == FG_PLAN_FREE ? FG_ROLLOUT_DROP
								 : FG_ROLLOUT_PACK,
			    i);
}

static void observe_flows(struct fg_control *control, uint64_t now_ns)
{
	uint32_t flows[FG_MAX_SLOTS], slot;

	control->observed.flows_known = false;
	if (!fg_rollout_find(&control->next, FG_GENERATION_DRAINING) ||
	    now_ns < control->flows_ns + COUNT_FLOWS_NS)
		return;
	if (fg_steering_flows(control->steering, flows))
		return;
	for (slot = 0; slot < FG_MAX_SLOTS; slot++)
		control->observed.slots[slot].flows = flows[slot];
	control->observed.flows_known = true;
	control->flows_ns = now_ns;
}

/* A worker says itself what it takes: more than a part of all is not believed. */
static void observe_memory(struct fg_control *control, uint64_t now_ns)
{
	struct fg_rollout_memory *memory = &control->observed.memory;
	uint64_t bytes;
	uint32_t slot;

	if (control->memory_ns && now_ns < control->memory_ns + LOOK_AT_MEMORY_NS)
		return;
	control->memory_ns = now_ns;
	fg_memory_look(control->config->memory_bytes, control->state->boot.keeper_pid, memory);
	memory->worker_bytes = FG_BUDGET_WORKER_BYTES;
	for (slot = 0; slot < FG_MAX_SLOTS; slot++) {
		bytes = control->state->slots[slot].work.own_bytes;
		if (control->observed.slots[slot].phase == FG_WORK_READY &&
		    control->observed.slots[slot].pid && bytes > memory->worker_bytes &&
		    bytes < memory->limit_bytes / 8)
			memory->worker_bytes = bytes;
	}
}

static void observe(struct fg_control *control, uint64_t now_ns)
{
	uint32_t i;

	control->observed.stopping = atomic_load(&control->state->boot.stopping);
	control->observed.attachment = atomic_load(&control->state->boot.attachment);
	control->observed.table = control->table;
	control->observed.store = &control->repository.store;
	control->observed.rules[0] = &control->state->rules[0];
	control->observed.rules[1] = &control->state->rules[1];
	for (i = 0; i < FG_MAX_SLOTS; i++)
		observe_slot(control, i);
	for (i = 0; i < FG_STATE_MAX_PLANS; i++)
		observe_plan(control, i);
	observe_memory(control, now_ns);
	forget_done(control);
	observe_flows(control, now_ns);
	fg_control_compare(control, &control->next, now_ns);
}

/*
 * Versions whose present files are packed or failed already have stood still before: a control
 * process that starts again need not wait for that, and must not take a starting generation's
 * version for gone.
 */
static void mark_known(struct fg_control *control)
{
	const struct fg_rollout *rollout = fg_rollout_current(&control->state->rollout);
	struct fg_store *store = &control->repository.store;
	const struct fg_state_plan *plan;
	uint32_t i, k, p;

	for (i = 0; i < store->count; i++) {
		for (k = 0; k < store->models[i].count; k++) {
			struct fg_store_version *version = &store->models[i].versions[k];

			for (p = 0; p < FG_STATE_MAX_PLANS && !version->complete; p++) {
				plan = &control->state->plans[p];
				version->complete =
					plan->phase != FG_PLAN_FREE &&
					plan->version == version->version &&
					(plan->fingerprint == version->fingerprint ||
					 rollout->contents[p].files == version->fingerprint) &&
					!strcmp(plan->model, store->models[i].name);
			}
		}
	}
}

/* ---- the live table ---- */

void fg_control_note_table(struct fg_control *control, const struct fg_table *table, uint64_t slots)
{
	uint16_t *positions = control->observed.positions;
	uint32_t i;

	control->live = *table;
	control->table = slots;
	memset(positions, 0, sizeof(control->observed.positions));
	for (i = 0; i < FG_TABLE_PRIME; i++)
		if (table->slot[i] < FG_MAX_SLOTS)
			positions[table->slot[i]]++;
}

/* A canary's weight can be so small that the table has no place for all its workers: then the next
 * step makes the table anew, of all that it should be made of. */
static uint64_t named_by(const struct fg_table *table)
{
	uint64_t slots = 0;
	uint32_t i;

	for (i = 0; i < FG_TABLE_PRIME; i++)
		if (table->slot[i] < FG_MAX_SLOTS)
			slots |= 1ull << table->slot[i];
	return slots;
}

static uint64_t slots_of(const struct fg_rollout_generation *generation)
{
	uint64_t slots = 0;
	uint32_t i;

	for (i = 0; generation && i < generation->worker_count; i++)
		slots |= 1ull << generation->slots[i];
	return slots;
}

bool fg_control_flipped(const struct fg_control *control, const struct fg_rollout *rollout)
{
	const struct fg_rollout_generation *live = fg_rollout_find(rollout, FG_GENERATION_LIVE);
	const struct fg_rollout_generation *canary = fg_rollout_find(rollout, FG_GENERATION_CANARY);

	return live && rollout->flip.generation == live->id && control->table &&
	       !(control->table & ~(slots_of(live) | slots_of(canary)));
}

/* Of the canary's positions, as a weight: the present step's where that gives as many. */
static uint32_t weight_of(const struct fg_control *control, const struct fg_rollout *rollout)
{
	uint64_t slots = slots_of(fg_rollout_find(rollout, FG_GENERATION_CANARY));
	uint32_t step = fg_canary_weight(&rollout->canary);
	uint32_t i, named = 0;

	for (i = 0; i < FG_MAX_SLOTS; i++)
		if (slots & 1ull << i)
			named += control->observed.positions[i];
	if (fg_maglev_share(step) == named)
		return step;
	return (named * FG_CANARY_WHOLE + FG_TABLE_PRIME / 2) / FG_TABLE_PRIME;
}

/* The kernel knows which table is live; where it does not tell (control died within a flip), no
 * slot counts as named, and the first step flips again. */
void fg_control_adopt(struct fg_control *control)
{
	struct fg_rollout_flip before;
	struct fg_table table;

	if (fg_steering_table(control->steering, FG_CONTROL_SERVICE, &table))
		return;
	fg_control_note_table(control, &table, named_by(&table));
	if (!atomic_load(&control->state->boot.ready_ns))
		atomic_store(&control->state->boot.ready_ns, fg_clock_ns());
	control->next = *fg_rollout_current(&control->state->rollout);
	if (control->next.flip.serial != table.serial) {
		before = control->next.flip;
		fg_rollout_note_flip(&control->next, table.serial,
				     weight_of(control, &control->next), 0, 0);
		fg_control_publish(control);
		fg_control_tell_flip(control, &before, &control->next);
	}
}

/* ---- acting ---- */

/* Orders show their effect only when the keeper has done them; meanwhile every step lists them. */
static bool sent_already(struct fg_control *control, const struct fg_rollout_action *action,
			 uint64_t now_ns)
{
	struct fg_control_sent *sent = &control->sent[action->verb][order_index(action)];
	uint64_t hash = XXH64(action, sizeof(*action), 0) | 1;

	if (sent->hash == hash && now_ns < sent->at_ns + RESEND_NS)
		return true;
	sent->hash = hash;
	sent->at_ns = now_ns;
	return false;
}

/* A shadow's worker is not pinned: it runs wherever no worker does, see worker.h. */
static int32_t cpu_of(const struct fg_control *control, const struct fg_rollout_action *action)
{
	if (control->next.generations[action->index].shadow)
		return -1;
	return control->config->worker_cpus[action->worker];
}

/* A packer would hang where the scout does: it is started when the store answers again. */
static bool is_out_of_reach(const struct fg_control *control,
			    const struct fg_rollout_action *action)
{
	const char *base = action->verb == FG_ROLLOUT_PACK
				   ? fg_repository_base(&control->repository.rules, action->model)
				   : NULL;

	return base && fg_scout_silent(&control->scout, base);
}

static int send_order(struct fg_control *control, const struct fg_rollout_action *action)
{
	struct fg_orders_message message = {.slot = action->slot};
	int code;

	if (is_out_of_reach(control, action) || sent_already(control, action, fg_clock_ns()))
		return 0;
	switch (action->verb) {
	case FG_ROLLOUT_PACK:
		message.verb = FG_ORDERS_PACK;
		message.plan = action->index;
		message.version = action->version;
		message.fingerprint = action->fingerprint;
		message.memory_bytes = action->memory;
		memcpy(message.model, action->model, sizeof(message.model));
		if (!fg_repository_path(&control->repository.rules, &control->repository.store,
					action->model, action->version, message.path,
					sizeof(message.path)))
			return 0; /* gone from the disk since: the next step sees that */
		break;
	case FG_ROLLOUT_DROP:
		message.verb = FG_ORDERS_DROP;
		message.plan = action->index;
		break;
	case FG_ROLLOUT_SPAWN:
		message.verb = FG_ORDERS_SPAWN;
		message.generation = action->index;
		message.cpu = cpu_of(control, action);
		message.memory_bytes = action->memory;
		break;
	case FG_ROLLOUT_KILL:
		message.verb = FG_ORDERS_KILL;
		fg_log(FG_LOG_WARN, "worker.kill slot=%u", action->slot);
		break;
	default:
		message.verb = FG_ORDERS_PRIORITY;
		message.urgent = action->value;
	}
	code = fg_orders_send(control->orders, &message, -1);
	if (code)
		forget_sent(control, action->verb, order_index(action));
	return code;
}

static uint32_t list_slots(uint64_t mask, uint16_t slots[FG_MAX_SLOTS])
{
	uint32_t slot, count = 0;

	for (slot = 0; slot < FG_MAX_SLOTS; slot++)
		if (mask & 1ull << slot)
			slots[count++] = (uint16_t)slot;
	return count;
}

/* The same seed in all tables of this keeper: a worker that leaves and comes back gets its
 * positions back, and a flow that is in a canary at one weight is in at the next. */
static void build_table(const struct fg_control *control, const struct fg_rollout_action *action,
			uint32_t serial, struct fg_table *table)
{
	uint32_t seed = control->steering->config.table_seed;
	uint16_t slots[FG_MAX_SLOTS];
	struct fg_table canary;

	fg_maglev_build(table, serial, seed, slots, list_slots(action->slots, slots));
	if (!action->canary)
		return;
	fg_maglev_build(&canary, serial, seed, slots, list_slots(action->canary, slots));
	fg_maglev_mix(table, table, &canary, action->value);
}

/* `slots`: what it was made of. */
static int put_table(struct fg_control *control, const struct fg_table *table, uint64_t slots,
		     uint32_t weight)
{
	const struct fg_rollout_flip before = control->next.flip;
	uint64_t took_ns = 0, at_ns = 0;
	int code = fg_steering_flip(control->steering, FG_CONTROL_SERVICE, table, &took_ns, &at_ns);

	if (code)
		return code;
	fg_control_note_table(control, table, slots);
	fg_rollout_note_flip(&control->next, table->serial, weight, at_ns, took_ns);
	fg_control_publish(control);
	if (!atomic_load(&control->state->boot.ready_ns))
		atomic_store(&control->state->boot.ready_ns, at_ns);
	fg_control_tell_flip(control, &before, &control->next);
	return 0;
}

static uint32_t next_serial(const struct fg_control *control)
{
	uint32_t noted = control->next.flip.serial;

	return (control->live.serial > noted ? control->live.serial : noted) + 1;
}

static int flip(struct fg_control *control, const struct fg_rollout_action *action)
{
	struct fg_table table;

	build_table(control, action, next_serial(control), &table);
	return put_table(control, &table, action->slots | action->canary, action->value);
}

static int fence(struct fg_control *control)
{
	int code = fg_steering_fence(control->steering, FG_CONTROL_SERVICE);
	struct fg_table table;

	/* Nobody knows which table is live: a flip waits for the same grace period, and without a
	 * worker to flip to, membarrier(2) does. */
	if (code != -ENOENT)
		return code;
	if (!control->table)
		return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) ? -errno : 0;
	table = control->live;
	table.serial = next_serial(control);
	return put_table(control, &table, control->table, control->next.flip.weight);
}

/* What the slot's worker watches, in one word. */
static void watch(struct fg_control *control, const struct fg_rollout_action *action)
{
	uint64_t word = 0;

	if (action->value)
		word = fg_state_watch(fg_wire_model(action->model), (uint16_t)action->value,
				      (uint16_t)action->weight);
	atomic_store_explicit(&control->state->slots[action->slot].watch, word,
			      memory_order_release);
}

static int act(struct fg_control *control, const struct fg_rollout_action *action)
{
	switch (action->verb) {
	case FG_ROLLOUT_ORDER:
		atomic_store_explicit(&control->state->slots[action->slot].order, action->value,
				      memory_order_release);
		return 0;
	case FG_ROLLOUT_SLOT_STATE:
		return fg_steering_set_slot(control->steering, (uint16_t)action->slot,
					    action->generation, action->value);
	case FG_ROLLOUT_FLIP:
		return flip(control, action);
	case FG_ROLLOUT_FENCE:
		return fence(control);
	case FG_ROLLOUT_WATCH:
		watch(control, action);
		return 0;
	default:
		return send_order(control, action);
	}
}

/* Stops at the first failure: what follows may rely on it. */
static int act_all(struct fg_control *control)
{
	uint32_t i;
	int code = 0;

	for (i = 0; i < control->actions.count && !code; i++)
		code = act(control, &control->actions.list[i]);
	if (code && !control->acting_fails)
		fg_log(FG_LOG_ERROR, "control.action verb=%u reason=\"%s\" next=\"tries again\"",
		       control->actions.list[i - 1].verb, strerror(-code));
	control->acting_fails = code != 0;
	return code;
}

/* ---- stepping ---- */

bool fg_control_publish(struct fg_control *control)
{
	const struct fg_rollout *current = fg_rollout_current(&control->state->rollout);

	if (!memcmp(current, &control->next, sizeof(*current)))
		return false;
	fg_control_tell(control, current, &control->next);
	fg_rollout_publish(&control->state->rollout, &control->next);
	return true;
}

/* A reload that ended in this step: what is on disk was read under rules that count no more. */
static bool store_is_stale(const struct fg_control *control)
{
	const struct fg_rules *rules =
		fg_control_rules(control, fg_rollout_current(&control->state->rollout));

	return memcmp(rules, &control->repository.rules, sizeof(*rules));
}

/* The directory of pins is another one, in which the live table is not: a fence finds that, and
 * pins it. */
static void pin_table(struct fg_control *control)
{
	uint32_t pins = atomic_load(&control->state->boot.pins);

	if (pins == control->pins || !control->table)
		return;
	control->next = *fg_rollout_current(&control->state->rollout);
	if (!fence(control))
		control->pins = pins;
}

/* What serves is another gateway's to say before this one serves, and when it is being replaced. */
static bool speaks(const struct fg_control *control)
{
	return !atomic_load(&control->state->boot.beside) &&
	       !atomic_load(&control->state->boot.stopping);
}

uint64_t fg_control_reconcile(struct fg_control *control)
{
	uint32_t round;
	bool changed;
	uint64_t now_ns;

	mark_known(control);
	pin_table(control);
	control->spoken = false;
	for (round = 0; round < MAX_ROUNDS; round++) {
		now_ns = fg_clock_ns();
		control->next = *fg_rollout_current(&control->state->rollout);
		observe(control, now_ns);
		fg_rollout_step(&control->next, &control->observed, &control->pace, now_ns,
				&control->actions);
		changed = fg_control_publish(control);
		if (speaks(control))
			fg_served_note(&control->served, &control->next, control->observed.plans,
				       control->state->boot.keeper_pid);
		if (changed && store_is_stale(control))
			return 0; /* what the step listed goes by that store, too */
		if (act_all(control))
			return RETRY_NS;
		if (!changed)
			break;
	}
	return control->actions.again_ns;
}
