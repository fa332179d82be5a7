#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>
#include "models/plan_check.h"

/* What is known at one step. */
struct check {
	const struct fg_plan_header *header;
	uint32_t written[FG_PLAN_MAX_BUFFERS]; /* columns that the buffer holds, 0: nothing yet */
};

__attribute__((format(printf, 2, 3))) static int bad(struct fg_error *error, const char *format,
						     ...)
{
	char reason[sizeof(error->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	return fg_error_set(error, -EINVAL, "plan: %s (damaged, or not made by flipgate-pack?)",
			    reason);
}

static int bad_step(struct fg_error *error, uint32_t index, const char *reason)
{
	return bad(error, "step %u: %s", index, reason);
}

static bool all_zero(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	while (size--)
		if (*at++)
			return false;
	return true;
}

static bool cols_ok(uint32_t cols)
{
	return cols >= 1 && cols <= FG_PLAN_MAX_COLS;
}

/* `rows` x `cols` floats at `offset`: aligned, behind the steps, inside the plan. Both factors
 * are at most 2^20 (rows) and 2^20 + 15 (cols), so nothing overflows 64 bits. */
static bool floats_ok(const struct fg_plan_header *header, uint64_t offset, uint64_t rows,
		      uint64_t cols)
{
	uint64_t first = sizeof(*header) + header->step_count * sizeof(struct fg_plan_step);

	return offset % FG_PLAN_ALIGN == 0 && offset >= first && offset <= header->size &&
	       rows * cols * sizeof(float) <= header->size - offset;
}

static int check_identity(const void *bytes, size_t size, struct fg_error *error)
{
	const struct fg_plan_header *header = bytes;
	const size_t covered = offsetof(struct fg_plan_header, digest) + sizeof(header->digest);

	if ((uintptr_t)bytes % FG_PLAN_ALIGN)
		return bad(error, "not mapped at a multiple of %u bytes", FG_PLAN_ALIGN);
	if (size < sizeof(*header))
		return bad(error, "%zu bytes are too few for a header", size);
	if (header->magic != FG_PLAN_MAGIC)
		return bad(error, "starts with 0x%08x, not the magic 'FGPL'", header->magic);
	if (header->version != FG_PLAN_VERSION)
		return bad(error, "has format version %u, this program reads %u: pack again",
			   header->version, FG_PLAN_VERSION);
	if (header->size != size)
		return bad(error, "has %zu bytes, its header says %llu", size,
			   (unsigned long long)header->size);
	if (XXH3_64bits((const char *)bytes + covered, size - covered) != header->digest)
		return bad(error, "does not match its digest");
	return 0;
}

static int check_header(const struct fg_plan_header *header, struct fg_error *error)
{
	if (!cols_ok(header->in_cols) || !cols_ok(header->out_cols))
		return bad(error, "input (rows, %u), output (rows, %u): columns must be 1 to %u",
			   header->in_cols, header->out_cols, FG_PLAN_MAX_COLS);
	if (header->step_count < 1 || header->step_count > FG_PLAN_MAX_STEPS ||
	    header->step_count > (header->size - sizeof(*header)) / sizeof(struct fg_plan_step))
		return bad(error, "%u steps do not fit", header->step_count);
	if (header->buffer_count > FG_PLAN_MAX_BUFFERS)
		return bad(error, "%u buffers, at most %u", header->buffer_count,
			   FG_PLAN_MAX_BUFFERS);
	for (uint32_t i = 0; i < header->buffer_count; i++)
		if (!cols_ok(header->buffer_cols[i]) || header->buffer_cols[i] % FG_PANEL_COLS)
			return bad(error, "buffer %u has %u columns", i, header->buffer_cols[i]);
	if (header->golden_rows > FG_PLAN_MAX_GOLDEN ||
	    !floats_ok(header, header->golden_inputs, header->golden_rows, header->in_cols) ||
	    !floats_ok(header, header->golden_outputs, header->golden_rows, header->out_cols))
		return bad(error, "%u golden rows do not fit", header->golden_rows);
	if (!(header->golden_tolerance > 0 && header->golden_tolerance <= 1) ||
	    header->golden_shipped > 1 || !all_zero(header->zero, sizeof(header->zero)))
		return bad(error, "a header field has no meaning");
	return 0;
}

/* True when `place` can be read and holds `cols` columns. */
static bool readable(const struct check *check, uint32_t place, uint32_t cols)
{
	if (place == FG_PLACE_INPUT)
		return cols == check->header->in_cols;
	return place >= FG_PLACE_BUFFER && place - FG_PLACE_BUFFER < check->header->buffer_count &&
	       check->written[place - FG_PLACE_BUFFER] == cols;
}

static bool writable(const struct check *check, uint32_t index, const struct fg_plan_step *step)
{
	const struct fg_plan_header *header = check->header;

	if (index == header->step_count - 1)
		return step->out == FG_PLACE_OUTPUT && step->out_cols == header->out_cols;
	return step->out >= FG_PLACE_BUFFER && step->out - FG_PLACE_BUFFER < header->buffer_count &&
	       step->out != step->in && step->out != step->other &&
	       step->out_cols <= header->buffer_cols[step->out - FG_PLACE_BUFFER];
}

/* The fields that a kind uses hold, and those that it does not use are zero. */
static bool operands_ok(const struct check *check, const struct fg_plan_step *step)
{
	const uint64_t padded = (uint64_t)fg_panels(step->out_cols) * FG_PANEL_COLS;
	bool has_bias = step->kind == FG_STEP_DENSE ||
			(step->kind == FG_STEP_ADD && step->other == FG_PLACE_NONE);

	if (has_bias ? !floats_ok(check->header, step->bias, 1, padded) : step->bias != 0)
		return false;
	if (step->kind == FG_STEP_DENSE)
		return step->other == FG_PLACE_NONE &&
		       floats_ok(check->header, step->weights, step->in_cols, padded);
	if (step->weights || step->in_cols != step->out_cols)
		return false;
	if (step->kind == FG_STEP_ADD)
		return has_bias || readable(check, step->other, step->in_cols);
	return step->other == FG_PLACE_NONE &&
	       (step->kind != FG_STEP_SOFTMAX || step->activation == FG_ACTIVATION_NONE);
}

static bool label_ok(const char label[FG_PLAN_LABEL_BYTES])
{
	const char *end = memchr(label, 0, FG_PLAN_LABEL_BYTES);

	for (const char *at = label; end && at < end; at++)
		if (*at < ' ' || *at > '~')
			return false;
	return end && all_zero(end, label + FG_PLAN_LABEL_BYTES - end);
}

static int check_step(struct check *check, uint32_t index, const struct fg_plan_step *step,
		      struct fg_error *error)
{
	if (step->kind >= FG_STEP_KIND_COUNT || step->activation >= FG_ACTIVATION_COUNT)
		return bad_step(error, index, "is of an unknown kind");
	if (!isfinite(step->alpha) || !label_ok(step->label) ||
	    !all_zero(step->zero, sizeof(step->zero)))
		return bad_step(error, index, "has a field without meaning");
	if (!cols_ok(step->in_cols) || !cols_ok(step->out_cols))
		return bad_step(error, index, "has too many columns, or none");
	if (!readable(check, step->in, step->in_cols))
		return bad_step(error, index, "reads what no step has written in that shape");
	if (!operands_ok(check, step))
		return bad_step(error, index,
				"has weights, a bias or a second input that do not fit");
	if (!writable(check, index, step))
		return bad_step(error, index, "writes where it must not");
	if (step->out >= FG_PLACE_BUFFER)
		check->written[step->out - FG_PLACE_BUFFER] = step->out_cols;
	return 0;
}

int fg_plan_check(const void *bytes, size_t size, struct fg_error *error)
{
	struct check check = {.header = bytes};
	const struct fg_plan_step *steps;
	int result = check_identity(bytes, size, error);

	if (!result)
		result = check_header(bytes, error);
	if (result)
		return result;
	steps = (const struct fg_plan_step *)(check.header + 1);
	for (uint32_t i = 0; i < check.header->step_count && !result; i++)
		result = check_step(&check, i, &steps[i], error);
	return result;
}
