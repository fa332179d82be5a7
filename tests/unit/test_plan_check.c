/* models/plan_check: plans that were tampered with; each check refuses some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "models/plan_check.h"
#include "tests/unit/plan_fixture.h"

static void restore(struct fixture *fixture)
{
	memcpy(fixture->bytes, fixture->pristine, fixture->size);
}

static void assert_refused(struct fixture *fixture, const char *text)
{
	struct fg_plan plan;
	struct fg_error error = {"(nothing said)"};

	if (fg_plan_open(&plan, fixture->bytes, fixture->size, &error) != -EINVAL ||
	    !strstr(error.text, text))
		fail_msg("'%s' does not say '%s'", error.text, text);
	restore(fixture);
}

static void identity_is_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan plan;
	struct fg_error error;

	for (size_t i = 0; i < fixture->size; i += 61) {
		fixture->bytes[i] ^= 4;
		assert_refused(fixture, "plan: ");
	}
	header_of(fixture)->magic++;
	assert_refused(fixture, "magic");
	header_of(fixture)->version--;
	assert_refused(fixture, "pack again");
	header_of(fixture)->digest++;
	assert_refused(fixture, "digest");
	header_of(fixture)->size--;
	assert_refused(fixture, "its header says");
	for (size_t size = 0; size < fixture->size; size += 97)
		assert_int_equal(fg_plan_open(&plan, fixture->bytes, size, &error), -EINVAL);
	assert_int_equal(fg_plan_open(&plan, fixture->bytes + 4, fixture->size - 4, &error),
			 -EINVAL);
	assert_non_null(strstr(error.text, "multiple of 64"));
}

/* Does `change` to what `at` points to, sets the digest right, and wants a refusal. */
#define REFUSE(change, text)                                                                       \
	do {                                                                                       \
		change;                                                                            \
		seal(fixture);                                                                     \
		assert_refused(fixture, text);                                                     \
	} while (0)

static void headers_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *at = header_of(fixture);

	REFUSE(at->in_cols = 0, "columns must be");
	REFUSE(at->out_cols = (1 << 20) + 1, "columns must be");
	REFUSE(at->in_cols++, "do not fill a row");
	REFUSE(at->out_cols--, "do not fill a row");
	REFUSE(at->input_count = 0, "0 inputs");
	REFUSE(at->output_count = 0, "0 outputs");
	REFUSE(at->input_count = 255, "at most 256 together");
	REFUSE(at->output_count = UINT32_MAX - 1, "at most 256 together");
	REFUSE(at->input_count = 1, "");
	REFUSE(at->output_count = 1, "do not fill a row");
	REFUSE(at->step_count = 0, "steps do not fit");
	REFUSE(at->step_count = UINT32_MAX, "steps do not fit");
	REFUSE(at->step_count = 4096, "steps do not fit");
	REFUSE(at->step_count--, "no step writes some of the output");
	REFUSE(at->step_count++, ""); /* the tables reach into the first constant */
	REFUSE(at->buffer_count = 65, "65 buffers");
	REFUSE(at->buffer_count--, "buffer");
	REFUSE(at->buffer_cols[0] = 0, "buffer 0");
	REFUSE(at->buffer_cols[0]++, "buffer 0");
	REFUSE(at->buffer_cols[0] = 16, "writes where it must not");
	REFUSE(at->buffer_cols[0] = (1 << 20) + 16, "buffer 0");
	REFUSE(at->buffer_cols[63] = 16, "buffer 63");
	REFUSE(at->golden_rows = 4097, "golden rows");
	REFUSE(at->golden_rows = 4096, "golden rows");
	REFUSE(at->golden_inputs += 4, "golden rows");
	REFUSE(at->golden_inputs = 0, "golden rows");
	REFUSE(at->golden_inputs = 384, "golden rows");
	REFUSE(at->golden_outputs = fixture->size, "golden rows");
	REFUSE(at->golden_outputs = UINT64_MAX - 63, "golden rows");
	REFUSE(at->golden_tolerance = 0, "no meaning");
	REFUSE(at->golden_tolerance = NAN, "no meaning");
	REFUSE(at->golden_tolerance = 2, "no meaning");
	REFUSE(at->golden_shipped = 3, "no meaning");
	REFUSE(at->format = FG_WEIGHTS_COUNT, "no meaning");
	REFUSE(at->format_error = NAN, "no meaning");
	REFUSE(at->format_error = -1, "no meaning");
	REFUSE(at->format_error = INFINITY, "no meaning");
	REFUSE(at->format = FG_WEIGHTS_F32, "no meaning"); /* with an error */
	REFUSE(at->zero[3] = 1, "no meaning");
}

static void warm_up_is_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *at = header_of(fixture);
	uint32_t *batches = (uint32_t *)(fixture->bytes + at->warmup_batches);

	REFUSE(at->warmup_count = 1001, "1001 batches to warm up with do not fit");
	REFUSE(at->warmup_count = UINT32_MAX, "warm up");
	REFUSE(at->warmup_count = 1000, "warm up");
	REFUSE(at->warmup_count = 1, "warm up");
	REFUSE(at->warmup_count = 3, "warm up");
	REFUSE(at->warmup_count = 0, "warm up");
	REFUSE(at->warmup_batches = 0, "warm up");
	REFUSE(at->warmup_batches += 4, "warm up");
	REFUSE(at->warmup_batches = 384, "warm up");
	REFUSE(at->warmup_batches = fixture->size, "warm up");
	REFUSE(at->warmup_batches = UINT64_MAX - 63, "warm up");
	REFUSE(at->warmup_rows = 4097, "warm up");
	REFUSE(at->warmup_rows = 4096, "warm up");
	REFUSE(at->warmup_rows = 2, "warm up");
	REFUSE(at->warmup_rows = 0, "warm up");
	REFUSE(at->warmup_inputs = 0, "warm up");
	REFUSE(at->warmup_inputs += 4, "warm up");
	REFUSE(at->warmup_inputs = 384, "warm up");
	REFUSE(at->warmup_inputs = fixture->size, "warm up");
	REFUSE(batches[0] = 3, "warm up");
	REFUSE((batches[0] = 0, batches[1] = 3), "warm up");
	REFUSE((batches[0] = UINT32_MAX, batches[1] = 4), "warm up");	/* 3, as 32 bits have it */
	REFUSE((at->warmup_count = 0, at->warmup_rows = 0), "warm up"); /* offsets of nothing */
}

/* A plan without any is right as well. */
static void warm_up_may_be_absent(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_header *at = header_of(fixture);
	struct fg_error error;
	struct fg_plan plan;

	at->warmup_count = at->warmup_rows = 0;
	at->warmup_batches = at->warmup_inputs = 0;
	seal(fixture);
	assert_int_equal(fg_plan_open(&plan, fixture->bytes, fixture->size, &error), 0);
	assert_int_equal(plan.warmup_count, 0);
	restore(fixture);
}

static void ports_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_port *at = ports(fixture);

	REFUSE(at[0].name[0] = '\n', "input 0");
	REFUSE(at[0].name[5] = 'x', "input 0"); /* behind the NUL */
	REFUSE(memset(at[0].name, 'x', sizeof(at[0].name)), "input 0");
	REFUSE(at[0].first = 1, "input 0");
	REFUSE(at[1].first = 0, "input 1");
	REFUSE(at[0].cols--, "input 0");
	REFUSE(at[0].dims[0]++, "input 0");
	REFUSE(at[0].dims[1] = 1, "input 0");
	REFUSE(at[0].rank = 2, "input 0");
	REFUSE(at[0].rank = 8, "input 0");
	REFUSE(at[0].rank = 0, "input 0");
	REFUSE((at[3].dims[0] = 1u << 31, at[3].dims[1] = 1u << 31), "output 1");
	REFUSE((at[3].dims[0] = 1 << 20, at[3].dims[1] = 1 << 20), "output 1");
	REFUSE(at[0].integer = 2, "input 0");
	REFUSE(at[0].zero[11] = 1, "input 0");
	REFUSE((at[0].labels = at[2].labels, at[0].labels_bytes = at[2].labels_bytes,
		at[0].label_count = at[2].label_count),
	       "input 0");
	REFUSE(at[3].labels = 64, "output 1");
	REFUSE(at[2].named_columns = 2, "output 0");
	REFUSE((at[2].named_columns = 1, at[2].label_count = 0, at[2].labels = 0,
		at[2].labels_bytes = 0),
	       "output 0");
	REFUSE(at[2].label_count++, "output 0");
	REFUSE(at[2].label_count = 0, "output 0");
	REFUSE(at[2].labels_bytes--, "output 0");
	REFUSE(at[2].labels_bytes = UINT64_MAX, "output 0");
	REFUSE(at[2].labels += 4, "output 0");
	REFUSE(at[2].labels = 384, "output 0");
	REFUSE(at[2].labels = fixture->size, "output 0");
	REFUSE(fixture->bytes[at[2].labels + 9] = 'x', "output 0"); /* the last NUL */
	REFUSE(fixture->bytes[at[2].labels + 3] = 'x', "output 0"); /* one text less */
}

/* RFC 3629: overlong forms, surrogates, too large, cut short, stray. */
static void labels_are_utf8(void **state)
{
	static const char *const wrong[] = {"\xc0\x80",
					    "\xc1\xbf",
					    "\xe0\x9f\xbf",
					    "\xed\xa0\x80",
					    "\xf0\x8f\xbf\xbf",
					    "\xf4\x90\x80\x80",
					    "\xf5\x80\x80\x80",
					    "\x80",
					    "\xbf",
					    "\xc3",
					    "\xe2\x82",
					    "\xf0\x9f\x98",
					    "\xe2\x28\xa1",
					    "\xf0\x9f\x28\x80",
					    "\xff"};
	static const char *const right[] = {"",
					    "a",
					    "\xc2\x80",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(fg_plan_labels_ok(wrong[i], strlen(wrong[i]) + 1, 1));
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		assert_true(fg_plan_labels_ok(right[i], strlen(right[i]) + 1, 1));
		assert_false(fg_plan_labels_ok(right[i], strlen(right[i]) + 1, 2));
		assert_false(fg_plan_labels_ok(right[i], strlen(right[i]), 1));
	}
	assert_true(fg_plan_labels_ok(NULL, 0, 0));
}

#define SHAPE	    "that do not fit its kind"
#define READS	    "reads what no step has written"
#define LACKS	    "has weights or a bias"
#define WIDE	    "does with wide numbers what its kind cannot"
#define WRITES	    "writes where it must not"

#define WIDEN(what) (at[ADD].kind = FG_STEP_WIDE, at[ADD].operation = FG_WIDE_##what)

static void fields_of_steps_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_step *at = steps(fixture);

	REFUSE(at[DENSE].kind = FG_STEP_KIND_COUNT, "unknown kind");
	REFUSE(at[DENSE].kind = UINT32_MAX, "unknown kind");
	REFUSE(at[DENSE].activation = FG_ACTIVATION_COUNT, "unknown kind");
	REFUSE(at[SOFTMAX].activation = FG_ACTIVATION_RELU, "without meaning");
	REFUSE(at[SELECT].activation = FG_ACTIVATION_RELU, "without meaning");
	REFUSE(at[DENSE].alpha = NAN, "without meaning");
	REFUSE(at[NORMALIZE].beta = NAN, "without meaning");
	REFUSE(at[DENSE].label[0] = '\n', "without meaning");
	REFUSE(at[DENSE].label[31] = 'x', "without meaning");
	REFUSE(at[DENSE].zero[23] = 1, "without meaning");
	REFUSE(at[DENSE].operation = FG_WIDE_OPERATION_COUNT, "unknown kind");
	REFUSE(at[ADD].operation = FG_WIDE_I64_ADD, WIDE);
	REFUSE(at[ADD].kind = FG_STEP_WIDE, WIDE);
	REFUSE((at[ADD].kind = FG_STEP_WIDE_REDUCE, at[ADD].operation = FG_WIDE_I64_MUL), WIDE);
	REFUSE((at[SOFTMAX].kind = FG_STEP_WIDE_REDUCE, at[SOFTMAX].operation = FG_WIDE_I64_ADD),
	       SHAPE);
	REFUSE(WIDEN(I64_FROM_F32), SHAPE);
	REFUSE(WIDEN(F32_FROM_I64), SHAPE);
	REFUSE((WIDEN(I64_ADD), at[ADD].in_cols = at[ADD].out_cols = 23), SHAPE);
	REFUSE((WIDEN(I64_ADD), at[ADD].in_cols = 22), SHAPE);
	REFUSE((WIDEN(I64_ADD), at[ADD].entries = 1), SHAPE);
	REFUSE((WIDEN(I64_ADD), at[ADD].activation = FG_ACTIVATION_RELU), "without meaning");
	REFUSE((WIDEN(I64_ADD), at[ADD].third = at[ADD].in), READS);
	REFUSE(WIDEN(F64_FROM_I64), READS); /* it has one operand too many */
	REFUSE((WIDEN(I64_WRAP), at[ADD].beta = 255), WIDE);
	REFUSE((WIDEN(I64_WRAP), at[ADD].beta = 0x1p33f), WIDE);
	REFUSE((WIDEN(I64_WRAP), at[ADD].beta = 1), WIDE);
	REFUSE((WIDEN(I64_LIMIT), at[ADD].beta = 256, at[ADD].alpha = 1), WIDE);
	REFUSE((WIDEN(I64_LIMIT), at[ADD].beta = INFINITY), WIDE);
	REFUSE((at[ADD].kind = FG_STEP_WIDE_SELECT), SHAPE);
	REFUSE((at[LOOKUP].kind = FG_STEP_WIDE_LOOKUP, at[LOOKUP].alpha = 0), SHAPE);
	REFUSE(at[DENSE].groups = 0, SHAPE);
	REFUSE(at[DENSE].groups = 1 << 20, SHAPE);
	REFUSE(at[ADD].groups = 2, SHAPE);
	REFUSE((at[ADD].groups = 2, at[ADD].in_cols = at[ADD].out_cols = 12), SHAPE);
	REFUSE(at[DENSE].in_cols = 0, SHAPE);
	REFUSE(at[DENSE].out_cols = (1 << 20) + 1, SHAPE);
	REFUSE(at[ADD].out_cols = 16, SHAPE);
	REFUSE(at[SOFTMAX].out_cols = 2, SHAPE);
	REFUSE(at[NORMALIZE].out_cols = 6, SHAPE);
	REFUSE(at[SUM].out_cols = 2, SHAPE);
	REFUSE(at[EMBED].in_cols = 2, SHAPE);
	REFUSE(at[EMBED].entries = 0, SHAPE);
	REFUSE(at[LOOKUP].entries = 0, SHAPE);
	REFUSE(at[LOOKUP].entries = (1 << 24) + fixture->size / 4 + 1, "has more keys");
	REFUSE(at[DENSE].entries = 1, SHAPE);
}

static void operands_of_steps_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_step *at = steps(fixture);
	const uint32_t buffers = header_of(fixture)->buffer_count;

	REFUSE(at[DENSE].in.place = FG_PLACE_NONE, READS);
	REFUSE(at[DENSE].in.place = FG_PLACE_CONSTANT, READS);
	REFUSE(at[DENSE].in.place = FG_PLACE_OUTPUT, READS);
	REFUSE(at[DENSE].in.place = FG_PLACE_BUFFER, READS);
	REFUSE(at[DENSE].in.place = UINT32_MAX, READS);
	REFUSE(at[DENSE].in.first = 3, READS); /* one column behind the input */
	REFUSE(at[DENSE].in.first = UINT32_MAX, READS);
	REFUSE(at[DENSE].in_cols = IN + 1, READS);
	REFUSE(at[COLUMNS].in.first = 1, READS); /* 24 of 32 columns were written */
	REFUSE(at[COLUMNS].groups = 3, READS);
	REFUSE(at[FILL].in.place = FG_PLACE_INPUT, READS);
	REFUSE(at[FILL].in.first = 1, READS);
	REFUSE(at[ADD].other.place = FG_PLACE_NONE, READS);
	REFUSE(at[ADD].other.place = FG_PLACE_BUFFER + buffers, READS);
	REFUSE(at[ADD].other.first = 1, READS);
	REFUSE(at[ADD].constant = at[MUL].constant, READS);
	REFUSE(at[ADD].third = at[ADD].in, READS);
	REFUSE(at[AFFINE].other = at[AFFINE].in, READS);
	REFUSE(at[AFFINE].other.first = 1, READS);
	REFUSE(at[AFFINE].other.place = FG_PLACE_CONSTANT, READS);
	REFUSE((at[AFFINE].other.place = FG_PLACE_CONSTANT, at[AFFINE].constant = at[MUL].constant),
	       READS);
	REFUSE(at[MUL].constant = 0, READS);
	REFUSE(at[MUL].constant += 4, READS);
	REFUSE(at[MUL].constant = 384, READS);
	REFUSE(at[MUL].constant = fixture->size - 64, READS);
	REFUSE(at[MUL].other.first = 1, READS);
	REFUSE(at[RESIDUAL].other.place = FG_PLACE_OUTPUT, READS);
	REFUSE(at[RESIDUAL].other.first = 1 << 20, READS);
	REFUSE(at[SELECT].third.place = FG_PLACE_NONE, READS);
	REFUSE(at[SELECT].third.place = FG_PLACE_CONSTANT, READS);
	REFUSE(at[SELECT].third.first = 1, READS);
}

static void weights_of_steps_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_step *at = steps(fixture);
	char *bytes = fixture->bytes;
	const uint64_t int8 = at[DENSE].weights, sums = int8 + 20 * 32 + 32 * 4;

	REFUSE(at[DENSE].format = FG_WEIGHTS_COUNT, LACKS);
	REFUSE(at[DENSE].format = FG_WEIGHTS_F32, LACKS);
	REFUSE(at[ADD].format = FG_WEIGHTS_BF16, LACKS);
	REFUSE(at[DENSE].weights = 0, LACKS);
	REFUSE(at[DENSE].weights = 384, LACKS);
	REFUSE(at[DENSE].weights += 4, LACKS);
	REFUSE(at[DENSE].weights = fixture->size - 64, LACKS);
	REFUSE(at[DENSE].weights = UINT64_MAX - 63, LACKS);
	REFUSE(at[DENSE].weights_bytes -= 64, LACKS);
	REFUSE(at[DENSE].bias = 0, LACKS);
	REFUSE(at[DENSE].bias = fixture->size / 64 * 64, LACKS);
	REFUSE(at[DENSE].out_cols = 64, LACKS);
	REFUSE(at[ADD].weights = at[AFFINE].weights, LACKS);
	REFUSE(at[ADD].weights_bytes = 4, LACKS);
	REFUSE(at[ADD].bias = at[AFFINE].bias, LACKS);
	REFUSE(at[AFFINE].weights = 0, LACKS);
	REFUSE(at[AFFINE].bias = 0, LACKS);
	REFUSE(at[NORMALIZE].bias = 0, LACKS);
	REFUSE(at[FILL].bias = 0, LACKS);
	REFUSE(at[EMBED].weights = 0, LACKS);
	REFUSE(at[EMBED].entries = 6, LACKS);
	REFUSE(at[EMBED].entries = UINT32_MAX, LACKS);
	REFUSE((at[EMBED].entries = 1 << 20, at[EMBED].weights_bytes = 32ull << 20), LACKS);
	REFUSE(((uint32_t *)(bytes + at[COLUMNS].weights))[4] = 12, LACKS);
	REFUSE(((uint32_t *)(bytes + at[COLUMNS].weights))[0] = UINT32_MAX, LACKS);
	REFUSE(at[COLUMNS].in_cols = 11, LACKS);
	REFUSE(((float *)(bytes + at[LOOKUP].weights))[0] = 5, LACKS); /* not sorted */
	REFUSE(((float *)(bytes + at[LOOKUP].weights))[0] = NAN, LACKS);
	REFUSE(((float *)(bytes + at[LOOKUP].weights))[1] = NAN, LACKS);
	REFUSE(((int8_t *)(bytes + int8))[77] = -128, LACKS);
	REFUSE(((int8_t *)(bytes + int8))[639] = -128, LACKS);
	REFUSE(((int8_t *)(bytes + int8))[0] = -128, LACKS);
	REFUSE(((int32_t *)(bytes + sums))[0] = 127 * 20 + 1, LACKS);
	REFUSE(((int32_t *)(bytes + sums))[31] = INT32_MIN, LACKS);
}

/* Few columns stand alone (models/pack.h), so their bytes and sums are elsewhere than in panels. */
static void narrow_int8_is_checked(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_step *at = steps(fixture);
	const uint64_t block = header_of(fixture)->golden_inputs; /* of zeros, for three columns */
	const uint64_t sums = block + 3 * 64 + 16 * 4;
	struct fg_error error = {""};
	struct fg_plan plan;

#define NARROW                                                                                     \
	memset(fixture->bytes + block, 0, 3 * 64 + 16 * 8),                                        \
		at[LAST_DENSE].weights = block, at[LAST_DENSE].weights_bytes = 3 * 64 + 16 * 8,    \
		at[LAST_DENSE].format = FG_WEIGHTS_INT8
	NARROW;
	seal(fixture);
	if (fg_plan_open(&plan, fixture->bytes, fixture->size, &error))
		fail_msg("refused: %s", error.text);
	restore(fixture);
	REFUSE((NARROW, ((int8_t *)(fixture->bytes + block))[191] = -128), LACKS);
	REFUSE((NARROW, ((int32_t *)(fixture->bytes + sums))[0] = 127 * 16 + 1), LACKS);
	REFUSE((NARROW, ((int32_t *)(fixture->bytes + sums))[15] = INT32_MIN), LACKS);
	/* What is behind the block is not looked at. */
	NARROW;
	memset(fixture->bytes + block + 3 * 64 + 16 * 8, 0x80, 512);
	seal(fixture);
	if (fg_plan_open(&plan, fixture->bytes, fixture->size, &error))
		fail_msg("refused: %s", error.text);
	restore(fixture);
}

static void outputs_of_steps_are_checked(void **state)
{
	struct fixture *fixture = *state;
	const uint32_t buffers = header_of(fixture)->buffer_count;
	struct fg_plan_step *at = steps(fixture);

	REFUSE(at[DENSE].out.place = FG_PLACE_OUTPUT, WRITES); /* 24 columns, it has 9 */
	REFUSE(at[DENSE].out.place = FG_PLACE_INPUT, WRITES);
	REFUSE(at[DENSE].out.place = FG_PLACE_NONE, WRITES);
	REFUSE(at[DENSE].out.place = FG_PLACE_CONSTANT, WRITES);
	REFUSE(at[DENSE].out.place = FG_PLACE_BUFFER + buffers, WRITES);
	REFUSE(at[DENSE].out.place = UINT32_MAX, WRITES);
	REFUSE(at[DENSE].out.first = UINT32_MAX, WRITES);
	REFUSE(at[DENSE].out.first = 9, WRITES);
	REFUSE(at[Z_FILL].out.first = Y + 3, WRITES);
	REFUSE(at[Z_FILL].out.first = Y + 1, "no step writes some of the output");
	REFUSE(at[Z_SUM].out.first = 0, "no step writes some of the output");
	REFUSE(at[ADD].out = at[ADD].in, "writes what it reads");
	REFUSE(at[ADD].out = at[ADD].other, "writes what it reads");
	REFUSE((at[ADD].out = at[ADD].other, at[ADD].out.first = 8), "writes what it reads");
	REFUSE(at[SELECT].out = at[SELECT].third, "writes what it reads");
}

/* Columns that several steps wrote are one run; a gap between them is seen. */
static void what_is_written_adds_up(void **state)
{
	struct fixture *fixture = *state;
	struct fg_plan_step *at = steps(fixture);
	struct fg_plan plan;
	struct fg_error error;

	/* z's columns Y .. Y + 5 in any order, also twice */
	at[Z_SUM].out.first = Y + 4;
	at[Z_FILL].out.first = Y;
	seal(fixture);
	assert_int_equal(fg_plan_open(&plan, fixture->bytes, fixture->size, &error), 0);
	/* the last step reads what softmax and the sum have left in the output, and copies it */
	at[Z_SUM].out.first = Y;
	at[Z_FILL] = at[Z_SUM];
	at[Z_FILL].in = (struct fg_plan_span){FG_PLACE_OUTPUT, 1};
	at[Z_FILL].in_cols = at[Z_FILL].out_cols = 4;
	at[Z_FILL].out.first = Y + 2;
	seal(fixture);
	assert_int_equal(fg_plan_open(&plan, fixture->bytes, fixture->size, &error), 0);
	at[Z_FILL].in.first = 2; /* one column more than there is */
	REFUSE((void)0, READS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(identity_is_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(headers_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(warm_up_is_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(warm_up_may_be_absent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ports_are_checked, set_up, tear_down),
		cmocka_unit_test(labels_are_utf8),
		cmocka_unit_test_setup_teardown(fields_of_steps_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(operands_of_steps_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(weights_of_steps_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(narrow_int8_is_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(outputs_of_steps_are_checked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_written_adds_up, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
