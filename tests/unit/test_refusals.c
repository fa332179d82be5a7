/*
 * models/plan_refuse and the engine: what a model's own runtime refuses is refused, on every kernel
 * set, naming row, input and column; the rows and requests beside it are answered as if alone.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include "models/compile.h"
#include "models/cpu.h"
#include "models/golden.h"
#include "models/onnx.h"
#include "models/pack.h"
#include "tests/unit/engine_fixture.h"
#include "tests/unit/onnx_writer.h"
#include "userspace/worker/watch.h"

enum { ENTRIES = 30, WIDTH = 3, IDS = 2 };

static struct writer graph, attributes;

static void op(const char *domain, const char *type, const char *inputs)
{
	put_node_of(&graph, domain, type, "step", inputs, "y", &attributes);
	attributes.length = 0;
}

static void begin(void)
{
	graph.length = attributes.length = 0;
	put_value_info(&graph, 11, "item", ONNX_INT64, DIMS(0, IDS));
}

/* y (rows, IDS, WIDTH): row `id` holds the numbers id * 3 .. id * 3 + 2. */
static void embedding(bool from_zero)
{
	float table[ENTRIES * WIDTH];

	for (int i = 0; i < ENTRIES * WIDTH; i++)
		table[i] = (float)i;
	put_raw(&graph, "table", ONNX_FLOAT, DIMS(ENTRIES, WIDTH), table, sizeof(table));
	if (from_zero)
		attribute_int(&attributes, "flipgate_from_zero", 1);
	op("", "Gather", "table item");
}

static void *compile_with(const struct fg_golden *golden)
{
	static struct writer model;
	struct fg_graph parsed;
	size_t size;
	void *bytes = NULL;

	put_output(&graph, "y", SCALAR);
	model.length = 0;
	put_model(&model, &graph, 13);
	put_import(&model, ONNX_ML, 3);
	if (fg_onnx_parse(&parsed, model.bytes, model.length, -1, &error) ||
	    fg_compile(&parsed, golden, NULL, &bytes, &size, &error))
		fail_msg("%s", error.text);
	fg_graph_free(&parsed);
	return bytes;
}

/* ---- a plan ---- */

/* A batch of three rows whose middle one is `ids`: it alone is refused, with `text`; NULL: none is.
 */
static void expect(const void *bytes, const float ids[IDS], const char *text)
{
	const size_t size = ((const struct fg_plan_header *)bytes)->size;
	const float in[3][IDS] = {{1, 2}, {ids[0], ids[1]}, {3, 4}};
	struct fg_plan plan;

	for (size_t k = 0; fg_cpu_kernels(k); k++) {
		float out[3 * 64], alone[64];
		struct fg_plan_refusal refusals[3], one;
		char why[64] = "";
		void *scratch;

		assert_int_equal(fg_plan_open_with(&plan, fg_cpu_kernels(k), bytes, size, &error),
				 0);
		assert_true(plan.out_cols <= 64 && plan.refuses);
		scratch = aligned_alloc(64, fg_plan_scratch_bytes(&plan, 3) + 64);
		assert_int_equal(fg_plan_try(&plan, in[0], 3, out, scratch, refusals),
				 text != NULL);
		assert_int_equal(refusals[0].step, 0);
		assert_int_equal(refusals[2].step, 0);
		if (text) {
			assert_true(refusals[1].step);
			fg_plan_refusal_text(&plan, &refusals[1], in[1], why, sizeof(why));
			assert_string_equal(why, text);
		}
		for (int row = 0; row < 3; row += 2) {
			assert_int_equal(fg_plan_try(&plan, in[row], 1, alone, scratch, &one), 0);
			assert_memory_equal(alone, out + row * plan.out_cols,
					    plan.out_cols * sizeof(float));
		}
		free(scratch);
	}
}

#define EXPECT(a, b, text) expect(bytes, (const float[IDS]){a, b}, text)

static void onnx_counts_from_the_end(void **state)
{
	void *bytes = NULL;

	(void)state;
	begin();
	embedding(false);
	bytes = compile_with(NULL);
	EXPECT(0, 29, NULL);
	EXPECT(-1, -30, NULL);
	EXPECT(30, 0, "input 'item', column 0: 30 is not in -30..29");
	EXPECT(0, -31, "input 'item', column 1: -31 is not in -30..29");
	EXPECT(2.5f, 0, "input 'item', column 0: 2.5 is not in -30..29");
	EXPECT(0, NAN, "input 'item', column 1: nan is not in -30..29");
	EXPECT(INFINITY, NAN, "input 'item', column 0: inf is not in -30..29");
	free(bytes);
}

static void others_do_not(void **state)
{
	void *bytes = NULL;

	(void)state;
	begin();
	embedding(true);
	bytes = compile_with(NULL);
	EXPECT(0, 29, NULL);
	EXPECT(-1, 0, "input 'item', column 0: -1 is not in 0..29");
	EXPECT(0, 30, "input 'item', column 1: 30 is not in 0..29");
	free(bytes);
}

/* Columns that are moved and added to before they pick: the input's own number is named. */
static void computed_ids_are_traced(void **state)
{
	static const int64_t places[2] = {1, 0}, add[2] = {0, 20};
	void *bytes = NULL;

	(void)state;
	begin();
	put_raw(&graph, "places", ONNX_INT64, DIMS(2), places, sizeof(places));
	put_raw(&graph, "add", ONNX_INT64, DIMS(2), add, sizeof(add));
	attribute_int(&attributes, "axis", 1);
	put_node(&graph, "Gather", "swap", "item places", "s", &attributes);
	attributes.length = 0;
	put_node(&graph, "Add", "add", "s add", "i", NULL);
	put_raw(&graph, "table", ONNX_FLOAT, DIMS(ENTRIES), (float[ENTRIES]){0},
		ENTRIES * sizeof(float));
	op("", "Gather", "table i");
	bytes = compile_with(NULL);
	assert_true(((struct fg_plan_header *)bytes)->golden_rows > 0);
	EXPECT(9, 29, NULL);
	EXPECT(10, 3, "input 'item', column 0: 10 is no id of 'step'");
	EXPECT(0, 30, "input 'item', column 1: 30 is no id of 'step'");
	free(bytes);
}

static void unknown_categories_are_refused(void **state)
{
	void *bytes = NULL;

	(void)state;
	for (int zeros = 0; zeros < 2; zeros++) {
		begin();
		attribute_ints(&attributes, "cats_int64s", DIMS(4, 1, 2, 3));
		attribute_int(&attributes, "zeros", zeros);
		op(ONNX_ML, "OneHotEncoder", "item");
		bytes = compile_with(NULL);
		if (!zeros) {
			EXPECT(4, 1, NULL);
			EXPECT(1, 5, "input 'item', column 1: 5 is no category of 'step'");
			EXPECT(NAN, 1, "input 'item', column 0: nan is no category of 'step'");
		} else {
			struct fg_plan plan;

			assert_int_equal(fg_plan_open(&plan, bytes,
						      ((struct fg_plan_header *)bytes)->size,
						      &error),
					 0);
			assert_false(plan.refuses);
		}
		free(bytes);
	}
}

/* Golden rows that the model refuses say so; those that are made up are none of them. */
static void golden_rows_are_not_refused(void **state)
{
	static const float in[2 * IDS] = {1, 2, 30, 4}, out[2 * IDS * WIDTH];
	const struct fg_golden shipped = {.rows = 2,
					  .tolerance = 1,
					  .input_count = 1,
					  .output_count = 1,
					  .inputs = {{NULL, IDS, in}},
					  .outputs = {{NULL, IDS * WIDTH, out}}};
	struct fg_plan plan;
	void *bytes, *scratch;

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin();
		embedding(false);
		bytes = compile_with(i ? &shipped : NULL);
		assert_int_equal(fg_plan_open(&plan, bytes, ((struct fg_plan_header *)bytes)->size,
					      &error),
				 0);
		scratch = aligned_alloc(64, align64(fg_plan_golden_scratch_bytes(&plan)));
		assert_int_equal(fg_plan_check_golden(&plan, scratch, &error), i ? -EILSEQ : 0);
		if (i)
			assert_string_equal(error.text,
					    "golden.json: golden row 1: the model refuses it: "
					    "input 'item', column 0: 30 is not in -30..29");
		free(scratch);
		free(bytes);
	}
}

/* ---- the engine ---- */

static struct fg_watch watch;
static struct fg_state_slot *slot;

static int open_engine(void **state)
{
	(void)state;
	begin();
	embedding(false);
	set_entry(0, "items", 1, 1, compile_with(NULL));
	memset(&stats, 0, sizeof(stats));
	slot = aligned_alloc(4096, sizeof(*slot));
	memset(slot, 0, sizeof(*slot));
	fg_watch_open(&watch, slot, NULL);
	if (fg_engine_open(&engine, entries, 1, plans, GENERATION, MAX_BATCH, &stats, &error))
		fail_msg("%s", error.text);
	engine.watch = &watch;
	slot->watch = fg_state_watch(fg_wire_model("items"), 3, 0);
	fg_watch_look(&watch);
	return 0;
}

static int close_all(void **state)
{
	free(slot);
	return close_engine(state);
}

static void set(struct fg_message *message, uint32_t i, float value)
{
	memcpy(message->bytes + sizeof(struct fg_wire_header) + i * sizeof(value), &value,
	       sizeof(value));
}

/* ids (row, column) become row * 8 + column (engine_fixture.h): the first rows are in the table. */
static void check_answer(const struct fg_message *message, uint32_t rows)
{
	assert_int_equal(header_of(message)->status, FG_STATUS_OK);
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t i = 0; i < IDS * WIDTH; i++) {
			float got;

			memcpy(&got,
			       message->bytes + sizeof(struct fg_wire_header) +
				       (r * IDS * WIDTH + i) * sizeof(got),
			       sizeof(got));
			assert_true(got == (float)((r * 8 + i / WIDTH) * WIDTH + i % WIDTH));
		}
}

/* One batch: the bad requests are refused as a whole, the others answered; all are counted once. */
static void neighbours_are_answered(void **state)
{
	struct fg_message batch[] = {request("items", 0, 2, IDS, 0, 256),
				     request("items", 0, 3, IDS, 0, 256),
				     request("items", 0, 2, IDS, 0, 256),
				     request("items", 0, 1, IDS, 0, 256),
				     request("items", 0, 1, IDS, 0, 256)};

	(void)state;
	set(&batch[1], 2 * IDS + 1, 30);
	set(&batch[3], 0, 2.5f);
	serve(batch, 5);
	check_answer(&batch[0], 2);
	check_refusal(&batch[1], FG_STATUS_BAD_VALUE,
		      "row 2: input 'item', column 1: 30 is not in -30..29");
	check_answer(&batch[2], 2);
	check_refusal(&batch[3], FG_STATUS_BAD_VALUE,
		      "row 0: input 'item', column 0: 2.5 is not in -30..29");
	check_answer(&batch[4], 1);
	assert_int_equal(stats.batches, 1);
	assert_int_equal(stats.requests, 5);
	assert_int_equal(stats.replies, 3);
	assert_int_equal(stats.rows, 5);
	assert_int_equal(stats.status[FG_STATUS_OK], 3);
	assert_int_equal(stats.status[FG_STATUS_BAD_VALUE], 2);
	/* No fault of the version. */
	assert_int_equal(slot->seen.requests, 3);
	assert_int_equal(slot->seen.errors, 0);
	for (int i = 0; i < 5; i++)
		free(batch[i].bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(onnx_counts_from_the_end),
		cmocka_unit_test(others_do_not),
		cmocka_unit_test(computed_ids_are_traced),
		cmocka_unit_test(unknown_categories_are_refused),
		cmocka_unit_test(golden_rows_are_not_refused),
		cmocka_unit_test_setup_teardown(neighbours_are_answered, open_engine, close_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
