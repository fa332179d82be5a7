/* The pick: who gets a flow, how long it stays, when it moves; seen through buckets and counters.
 */
#include "tests/bpf/fixture.h"

#include <pthread.h>
#include "race.skel.h"

static struct fx fx;

#define GEN_OLD 1
#define GEN_NEW 2

static const uint16_t old_slots[] = {0, 1}, new_slots[] = {2, 3};

/* Two generations of two workers; the old one is live. */
static int set_up(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	fx_open(&fx, &config);
	for (uint16_t slot = 0; slot < 4; slot++)
		fx_worker(&fx, slot, slot < 2 ? GEN_OLD : GEN_NEW);
	fx_flip(&fx, old_slots, 2);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fx_close(&fx);
	return 0;
}

static struct fx_packet request(uint64_t affinity)
{
	struct fx_flow flow = {.affinity = affinity};

	return fx_request(&flow);
}

static void steer(const struct fx_packet *packet)
{
	assert_int_equal(fx_run(&fx, packet), XDP_REDIRECT);
}

static union fg_bucket bucket_after(const struct fx_packet *packet)
{
	steer(packet);
	return fx_bucket(&fx, fx_bucket_of(fx_hash(packet)));
}

static void set_slots(const uint16_t slots[2], uint32_t generation, enum fg_slot_state state)
{
	for (int i = 0; i < 2; i++)
		fg_steering_set_slot(&fx.steering, slots[i], generation, state);
}

static void check_flows(uint64_t begun, uint64_t moved)
{
	assert_int_equal(fx_counter(&fx, FG_COUNTER_FLOW_NEW), begun);
	assert_int_equal(fx_counter(&fx, FG_COUNTER_FLOW_MOVED), moved);
}

/* ---- hash ------------------------------------------------------------------------------ */

static uint64_t next_random(void)
{
	static uint64_t random = 0x9e3779b97f4a7c15;

	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	return random;
}

static struct fx_packet random_request(bool v6, bool affinity)
{
	struct fx_flow flow = {.v6 = v6, .affinity = affinity ? next_random() : 0};
	struct fx_packet packet = fx_request(&flow);
	uint8_t *source = packet.bytes + packet.ip + (v6 ? 8 : 12);

	for (int i = 1; i < (v6 ? 16 : 4); i++) /* the first byte stays: somebody can be there */
		source[i] = next_random() >> 32;
	fx_put16(packet.bytes + packet.udp, next_random() >> 32 | 1);
	return packet;
}

/* The program writes exactly the bucket, and takes exactly the position, that the reference names.
 */
static void hash_is_siphash(void **state)
{
	static const union fg_bucket empty;
	struct fg_table table;

	(void)state;
	assert_int_equal(fg_steering_table(&fx.steering, 0, &table), 0);
	for (int i = 0; i < 1200; i++) {
		struct fx_packet packet = random_request(i % 2, i % 3 == 0);
		uint64_t hash = fx_hash(&packet);
		uint32_t index = fx_bucket_of(hash);
		union fg_bucket bucket;

		fx_set_bucket(&fx, index, empty);
		bucket = bucket_after(&packet);
		assert_int_equal(bucket.generation, GEN_OLD);
		assert_int_equal(bucket.print, hash >> 56);
		assert_int_equal(bucket.slot, table.slot[fx_position_of(hash)]);
		fx_set_bucket(&fx, index, empty);
	}
	for (uint32_t i = 0; i < 1U << FX_BUCKETS; i++)
		assert_int_equal(fx_bucket(&fx, i).word, 0);
}

static void services_hash_apart(void **state)
{
	struct sockaddr_storage address = fx_address(FX_V4, FX_PORT);
	struct fg_flow_affinity key = {.key = 5, .service = 1, .kind = FG_FLOW_AFFINITY};
	struct fx_packet packet = request(5);
	struct fg_table table;
	uint32_t index;

	(void)state;
	assert_int_equal(fg_steering_listen(&fx.steering, &address, 1, 0), 0);
	fg_maglev_build(&table, 1, 1, new_slots, 2);
	assert_int_equal(fg_steering_flip(&fx.steering, 1, &table, NULL, NULL), 0);
	steer(&packet);
	index = fx_bucket_of(fx_flow_hash(&key, sizeof(key)));
	assert_int_equal(fx_bucket(&fx, index).generation, GEN_NEW);
	assert_int_equal(fx_bucket(&fx, fx_bucket_of(fx_hash(&packet))).word, 0);
}

/* All requests of one key are one flow, from whatever host, port or family they come. */
static void affinity_ignores_the_tuple(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		struct fx_packet packet = random_request(i % 2, false);
		uint64_t key = 77;

		memcpy(packet.bytes + packet.wire + FG_WIRE_AFFINITY_OFFSET, &key, 8);
		steer(&packet);
	}
	check_flows(1, 0);
}

static void tuples_are_flows(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		struct fx_flow flow = {.sport = 20000 + i};
		struct fx_packet packet = fx_request(&flow);

		steer(&packet);
		steer(&packet);
	}
	/* 100 flows over 4,096 buckets: a few may share one. */
	assert_in_range(fx_counter(&fx, FG_COUNTER_FLOW_NEW), 95, 100);
}

/* ---- stickiness ------------------------------------------------------------------------ */

static void bucket_outlives_flip(void **state)
{
	union fg_bucket before[50], after;

	(void)state;
	for (uint64_t key = 1; key <= 50; key++) {
		struct fx_packet packet = request(key);

		before[key - 1] = bucket_after(&packet);
		assert_in_range(before[key - 1].slot, 0, 1);
	}
	fx_flip(&fx, new_slots, 2);
	set_slots(old_slots, GEN_OLD, FG_SLOT_DRAINING);
	for (uint64_t key = 1; key <= 50; key++) {
		struct fx_packet packet = request(key);

		after = bucket_after(&packet);
		assert_int_equal(after.slot, before[key - 1].slot);
		assert_int_equal(after.generation, GEN_OLD);
	}
	for (uint64_t key = 1001; key <= 1050; key++) {
		struct fx_packet packet = request(key);
		union fg_bucket was = fx_bucket(&fx, fx_bucket_of(fx_hash(&packet)));

		after = bucket_after(&packet);
		if (!was.word)
			assert_in_range(after.slot, 2, 3);
	}
	assert_int_equal(fx_counter(&fx, FG_COUNTER_FLOW_MOVED), 0);
}

static void moves_when(enum fg_slot_state state, uint32_t generation)
{
	struct fx_packet packet = request(9);
	union fg_bucket bucket = bucket_after(&packet);

	assert_int_equal(bucket.generation, GEN_OLD);
	fx_flip(&fx, new_slots, 2);
	set_slots(old_slots, generation, state);
	bucket = bucket_after(&packet);
	assert_int_equal(bucket.generation, GEN_NEW);
	assert_in_range(bucket.slot, 2, 3);
	check_flows(1, 1);
	bucket = bucket_after(&packet); /* and stays there */
	assert_int_equal(bucket.generation, GEN_NEW);
	check_flows(1, 1);
}

static void moves_when_retired(void **state)
{
	(void)state;
	moves_when(FG_SLOT_RETIRED, GEN_OLD);
}

static void moves_when_free(void **state)
{
	(void)state;
	moves_when(FG_SLOT_FREE, GEN_OLD);
}

/* The slot serves again, but it is another generation's worker that stands there. */
static void moves_when_slot_changed_hands(void **state)
{
	(void)state;
	moves_when(FG_SLOT_SERVING, GEN_NEW + 1);
}

static void generation_counts_modulo_16_bits(void **state)
{
	struct fx_packet packet = request(9);
	union fg_bucket bucket;

	(void)state;
	set_slots(old_slots, 0x12345, FG_SLOT_SERVING);
	bucket = bucket_after(&packet);
	assert_int_equal(bucket.generation, 0x2345);
	bucket_after(&packet);
	check_flows(1, 0);
}

static void slot_beyond_the_map(void **state)
{
	struct fx_packet packet = request(9);
	union fg_bucket bucket = {.slot = FG_MAX_SLOTS, .generation = GEN_OLD, .seen = fx_now(&fx)};

	(void)state;
	fx_set_bucket(&fx, fx_bucket_of(fx_hash(&packet)), bucket);
	assert_in_range(bucket_after(&packet).slot, 0, 1);
	check_flows(0, 1);
}

/* ---- draining -------------------------------------------------------------------------- */

/* The old generation drains, for `age` ticks by now. */
static void drain_since(int64_t age)
{
	fx_flip(&fx, new_slots, 2);
	for (int i = 0; i < 2; i++) {
		union fg_slot slot = {.generation = GEN_OLD,
				      .state = FG_SLOT_DRAINING,
				      .since = fx_now(&fx) - age};

		fx.steering.slot_words[old_slots[i]].word = slot.word;
	}
}

/* Where does it go? The new generation's workers get no AF_XDP sockets here, so what is for them
 * passes. */
static bool goes_to_new(const struct fx_packet *packet)
{
	int verdict = fx_run(&fx, packet);

	assert_true(verdict == XDP_PASS || verdict == XDP_REDIRECT);
	return verdict == XDP_PASS;
}

static void take_sockets_of_new(void)
{
	for (int i = 0; i < 2; i++)
		fg_steering_clear_xsk(&fx.steering, new_slots[i], 0);
}

/* Somebody else's bucket, kept warm: a flow that is not its own goes by the table after flow_idle,
 * and leaves the bucket to whose it is. */
static void draining_keeps_its_own(void **state)
{
	struct fx_packet packet = request(9);
	uint64_t hash = fx_hash(&packet);
	union fg_bucket own = {.slot = 0,
			       .print = hash >> 56,
			       .generation = GEN_OLD,
			       .seen = fx_now(&fx)},
			other = own;

	(void)state;
	other.print++;
	take_sockets_of_new();
	drain_since(fx.steering.idle_ticks - 1000);
	fx_set_bucket(&fx, fx_bucket_of(hash), other);
	assert_false(goes_to_new(&packet));
	drain_since(fx.steering.idle_ticks);
	fx_set_bucket(&fx, fx_bucket_of(hash), own);
	assert_false(goes_to_new(&packet));
	fx_set_bucket(&fx, fx_bucket_of(hash), other);
	for (int i = 0; i < 3; i++)
		assert_true(goes_to_new(&packet));
	assert_int_equal(fx_bucket(&fx, fx_bucket_of(hash)).word, other.word);
	check_flows(0, 0);
	/* Idle, it is anybody's. */
	other.seen -= fx.steering.idle_ticks;
	fx_set_bucket(&fx, fx_bucket_of(hash), other);
	assert_true(goes_to_new(&packet));
	assert_int_equal(fx_bucket(&fx, fx_bucket_of(hash)).print, hash >> 56);
	check_flows(1, 0);
}

/* As in a stop: what still answers is better than nobody. */
static void draining_is_better_than_none(void **state)
{
	struct fx_packet packet = request(9);
	union fg_bucket other = {.slot = 0,
				 .print = (fx_hash(&packet) >> 56) + 1,
				 .generation = GEN_OLD,
				 .seen = fx_now(&fx)};

	(void)state;
	drain_since(fx.steering.idle_ticks);
	set_slots(new_slots, GEN_NEW, FG_SLOT_RETIRED);
	fx_set_bucket(&fx, fx_bucket_of(fx_hash(&packet)), other);
	steer(&packet);
	assert_int_equal(fx_counter(&fx, FG_COUNTER_XDP_DROP_NO_SLOT), 0);
}

/* Forged flows keep nearly all buckets of the default table warm across a flip. What do 400,000 new
 * flows get, at once and after flow_idle? */
static void warm_buckets_hold_no_new_flow(void **state)
{
	struct fg_steering_config config = fx_config();
	uint32_t warm = 0, old[2] = {0, 0}, count;
	uint64_t key = 1;

	(void)state;
	fx_close(&fx);
	config.buckets_log2 = FG_BUCKETS_LOG2;
	config.flow_idle_ms = 600000; /* the test's, so that all stay warm */
	fx_open(&fx, &config);
	for (uint16_t slot = 0; slot < 4; slot++)
		fx_worker(&fx, slot, slot < 2 ? GEN_OLD : GEN_NEW);
	fx_flip(&fx, old_slots, 2);
	count = 1U << FG_BUCKETS_LOG2;
	for (; key <= 400000; key++) {
		struct fx_packet packet = request(key);

		steer(&packet);
	}
	for (uint32_t i = 0; i < count; i++)
		warm += fx_bucket(&fx, i).generation == GEN_OLD;
	assert_true(warm > count * 3 / 4);
	take_sockets_of_new();
	for (int late = 0; late < 2; late++) {
		drain_since(late ? fx.steering.idle_ticks : 0);
		for (int i = 0; i < 200000; i++, key++) {
			struct fx_packet packet = request(key);
			uint32_t index = (fx_hash(&packet) >> 32) & (count - 1);
			union fg_bucket before = fx_bucket(&fx, index);

			old[late] += !goes_to_new(&packet);
			fx_set_bucket(&fx, index, before); /* warm again, where it was free */
		}
	}
	print_message("# %u of %u buckets warm; of 200,000 new flows each the old version got %u "
		      "at once, %u after flow_idle\n",
		      warm, count, old[0], old[1]);
	assert_true(old[0] > 100000);
	assert_in_range(old[1], 1, 200000 / 128);
}

/* ---- time ------------------------------------------------------------------------------ */

/* A flow that was last seen `age` ticks ago on slot 0, while only the new generation takes flows.
 */
static union fg_bucket aged(const struct fx_packet *packet, int64_t age)
{
	union fg_bucket bucket = {.slot = 0, .generation = GEN_OLD};

	bucket.seen = fx_now(&fx) - age;
	fx_set_bucket(&fx, fx_bucket_of(fx_hash(packet)), bucket);
	return bucket;
}

static void idle_flows_begin_again(void **state)
{
	struct fx_packet packet = request(11);

	(void)state;
	fx_flip(&fx, new_slots, 2);
	aged(&packet, fx.steering.idle_ticks - 1000);
	assert_int_equal(bucket_after(&packet).slot, 0);
	check_flows(0, 0);
	aged(&packet, fx.steering.idle_ticks);
	assert_in_range(bucket_after(&packet).slot, 2, 3);
	check_flows(1, 0);
	aged(&packet, 1LL << 31);
	assert_in_range(bucket_after(&packet).slot, 2, 3);
	check_flows(2, 0);
}

/* Seen by a CPU that knows the next tick already: fresh, not 2^32 ticks old. */
static void clock_of_another_cpu(void **state)
{
	struct fx_packet packet = request(11);

	(void)state;
	fx_flip(&fx, new_slots, 2);
	aged(&packet, -FG_TICK_SLACK / 2);
	assert_int_equal(bucket_after(&packet).slot, 0);
	check_flows(0, 0);
}

static void time_is_refreshed_by_eighths(void **state)
{
	uint32_t eighth = fx.steering.idle_ticks / 8;
	struct fx_packet packet = request(11);
	union fg_bucket set, after;

	(void)state;
	set = aged(&packet, eighth - 1000);
	assert_int_equal(bucket_after(&packet).word, set.word);
	set = aged(&packet, eighth);
	after = bucket_after(&packet);
	assert_int_equal(after.slot, set.slot);
	assert_int_equal(after.generation, set.generation);
	assert_in_range(after.seen - set.seen, eighth, eighth + 1000);
}

/* With a real clock and a real wait. */
static void idle_after_a_wait(void **state)
{
	struct fg_steering_config config = fx_config();
	struct timespec wait = {.tv_nsec = 150 * 1000 * 1000};
	struct fx_packet packet = request(11);
	uint32_t flows[FG_MAX_SLOTS];
	union fg_bucket bucket;

	(void)state;
	fx_close(&fx);
	config.flow_idle_ms = 100;
	fx_open(&fx, &config);
	fx_worker(&fx, 0, GEN_OLD);
	fx_worker(&fx, 2, GEN_NEW);
	fx_flip(&fx, old_slots, 1);
	bucket = bucket_after(&packet);
	assert_int_equal(bucket.slot, 0);
	fx_flip(&fx, new_slots, 1);
	assert_int_equal(fg_steering_flows(&fx.steering, flows), 0);
	assert_int_equal(flows[0], 1);
	nanosleep(&wait, NULL);
	assert_int_equal(fg_steering_flows(&fx.steering, flows), 0);
	assert_int_equal(flows[0], 0);
	assert_int_equal(bucket_after(&packet).slot, 2);
	assert_int_equal(fg_steering_flows(&fx.steering, flows), 0);
	assert_int_equal(flows[2], 1);
	check_flows(2, 0);
}

/* ---- dead workers and races ------------------------------------------------------------ */

/* Before control publishes a table without it, a dead worker's flows move, and nobody else's. */
static void dead_worker_is_probed_around(void **state)
{
	static const uint16_t three[] = {0, 1, 4};
	union fg_bucket before[200], after;
	uint32_t moved = 0;

	(void)state;
	fx_worker(&fx, 4, GEN_OLD);
	fx_flip(&fx, three, 3);
	for (uint64_t key = 1; key <= 200; key++) {
		struct fx_packet packet = request(key);

		before[key - 1] = bucket_after(&packet);
	}
	fg_steering_set_slot(&fx.steering, 1, GEN_OLD, FG_SLOT_RETIRED);
	for (uint64_t key = 1; key <= 200; key++) {
		struct fx_packet packet = request(key);

		after = bucket_after(&packet);
		assert_int_not_equal(after.slot, 1);
		if (before[key - 1].slot == 1)
			moved++;
		else
			assert_int_equal(after.slot, before[key - 1].slot);
	}
	assert_in_range(moved, 30, 110);
	assert_int_equal(fx_counter(&fx, FG_COUNTER_XDP_DROP_NO_SLOT), 0);
	assert_in_range(fx_counter(&fx, FG_COUNTER_FLOW_MOVED), moved * 9 / 10, moved);
}

/* A draining worker that a table still names takes no new flow. */
static void draining_takes_no_new_flow(void **state)
{
	(void)state;
	fg_steering_set_slot(&fx.steering, 0, GEN_OLD, FG_SLOT_DRAINING);
	for (uint64_t key = 1; key <= 100; key++) {
		struct fx_packet packet = request(key);

		assert_int_equal(bucket_after(&packet).slot, 1);
	}
}

/* ---- the compare-and-swap -------------------------------------------------------------- */

#define RACE_BUCKETS 17

struct racer {
	pthread_barrier_t *barrier;
	int program;
	struct {
		uint64_t runs, rival;
	} packet;
	int err;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = &racer->packet,
		    .data_size_in = sizeof(racer->packet), .repeat = 1 << RACE_BUCKETS);

	pthread_barrier_wait(racer->barrier);
	racer->err = bpf_prog_test_run_opts(racer->program, &options);
	return NULL;
}

/* tests/bpf/race.bpf.c over the maps of `fx`. */
static struct race_bpf *load_race(void)
{
	struct race_bpf *skeleton = race_bpf__open();
	struct fg_bpf_config config = {.buckets_mask = (1U << RACE_BUCKETS) - 1,
				       .idle_ticks = fx.steering.idle_ticks};
	struct bpf_map *map, *shared;

	assert_non_null(skeleton);
	memcpy((void *)&skeleton->rodata->fg_config, &config, sizeof(config));
	bpf_object__for_each_map(map, skeleton->obj)
	{
		shared = bpf_object__find_map_by_name(fx.steering.ingress->obj, bpf_map__name(map));
		if (!bpf_map__is_internal(map))
			assert_int_equal(bpf_map__reuse_fd(map, bpf_map__fd(shared)), 0);
	}
	assert_int_equal(race_bpf__load(skeleton), 0);
	return skeleton;
}

/* Two CPUs claim the same buckets at once for different slots: each bucket is claimed once, and
 * whoever loses follows the winner. */
static void losers_follow_the_winner(void **state)
{
	struct fg_steering_config config = fx_config();
	uint32_t flows[FG_MAX_SLOTS];
	struct racer racers[2] = {};
	struct race_bpf *skeleton;
	pthread_barrier_t barrier;
	pthread_t threads[2];
	struct fg_table table = {.serial = 1};

	(void)state;
	fx_close(&fx);
	config.buckets_log2 = RACE_BUCKETS;
	fx_open(&fx, &config);
	fx_worker(&fx, 0, GEN_OLD);
	fx_worker(&fx, 1, GEN_OLD);
	for (uint32_t i = FG_TABLE_PRIME / 2; i < FG_TABLE_PRIME; i++)
		table.slot[i] = 1;
	assert_int_equal(fg_steering_flip(&fx.steering, 0, &table, NULL, NULL), 0);
	skeleton = load_race();
	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < 2; i++) {
		racers[i].barrier = &barrier;
		racers[i].program = bpf_program__fd(skeleton->progs.race);
		racers[i].packet.rival = i;
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(racers[0].err, 0);
	assert_int_equal(racers[1].err, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(skeleton->bss->begun[i][0], 1 << RACE_BUCKETS);
		assert_int_equal(skeleton->bss->strayed[i][0], 0);
	}
	assert_int_equal(fg_steering_flows(&fx.steering, flows), 0);
	print_message("# slot 0 won %u buckets, slot 1 %u\n", flows[0], flows[1]);
	assert_int_equal(flows[0] + flows[1], 1 << RACE_BUCKETS);
	check_flows(1 << RACE_BUCKETS, 0);
	race_bpf__destroy(skeleton);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hash_is_siphash),
		TEST(services_hash_apart),
		TEST(affinity_ignores_the_tuple),
		TEST(tuples_are_flows),
		TEST(bucket_outlives_flip),
		TEST(moves_when_retired),
		TEST(moves_when_free),
		TEST(moves_when_slot_changed_hands),
		TEST(generation_counts_modulo_16_bits),
		TEST(slot_beyond_the_map),
		TEST(draining_keeps_its_own),
		TEST(draining_is_better_than_none),
		TEST(warm_buckets_hold_no_new_flow),
		TEST(idle_flows_begin_again),
		TEST(clock_of_another_cpu),
		TEST(time_is_refreshed_by_eighths),
		TEST(idle_after_a_wait),
		TEST(dead_worker_is_probed_around),
		TEST(draining_takes_no_new_flow),
		TEST(losers_follow_the_winner),
	};

	fx_isolate();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
