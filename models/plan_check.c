#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>
#include "models/pack.h"
#include "models/plan_check.h"
#include "models/plan_shape.h"

/* Keys of LOOKUP and WIDE_LOOKUP steps beyond those that the plan has room for, as steps may share
 * them: looking through them takes some 10 ms. */
#define MOST_SHARED_KEYS (1u << 24)

/* Columns of places that hold something, as one line of numbers: the output's columns first, then
 * those of buffer 0, and so on. Intervals are sorted and apart; one may reach over several places,
 * which does no harm, as spans are held to their own place. */
struct written {
	uint32_t count;
	struct {
		uint64_t begin, end;
	} at[FG_PLAN_MAX_STEPS]; /* each step adds at most one */
};

struct check {
	const struct fg_plan_header *header;
	struct {
		uint64_t begin; /* on the line above */
		uint32_t cols;
	} places[FG_PLACE_BUFFER + FG_PLAN_MAX_BUFFERS];
	uint32_t place_count;
	uint64_t keys; /* of the LOOKUP steps so far */
	struct written written;
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

static bool all_zero(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	while (size--)
		if (*at++)
			return false;
	return true;
}

static bool cols_ok(uint64_t cols)
{
	return cols >= 1 && cols <= FG_PLAN_MAX_COLS;
}

static uint64_t tables_end(const struct fg_plan_header *header)
{
	return sizeof(*header) +
	       (uint64_t)(header->input_count + header->output_count) *
		       sizeof(struct fg_plan_port) +
	       (uint64_t)header->step_count * sizeof(struct fg_plan_step);
}

/* `bytes` at `offset`: aligned, behind the tables, inside the plan. */
static bool block_ok(const struct fg_plan_header *header, uint64_t offset, uint64_t bytes)
{
	return offset % FG_PLAN_ALIGN == 0 && offset >= tables_end(header) &&
	       offset <= header->size && bytes <= header->size - offset;
}

/* The same, but for no bytes the offset is 0. */
static bool constant_ok(const struct fg_plan_header *header, uint64_t offset, uint64_t bytes)
{
	return bytes ? block_ok(header, offset, bytes) : offset == 0;
}

static const void *constant(const struct fg_plan_header *header, uint64_t offset)
{
	return (const char *)header + offset;
}

/* ---- the header -------------------------------------------------------------------------- */

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

static int check_buffers(const struct fg_plan_header *header, struct fg_error *error)
{
	if (header->buffer_count > FG_PLAN_MAX_BUFFERS)
		return bad(error, "%u buffers, at most %u", header->buffer_count,
			   FG_PLAN_MAX_BUFFERS);
	for (uint32_t i = 0; i < FG_PLAN_MAX_BUFFERS; i++) {
		uint32_t cols = header->buffer_cols[i];

		if (i < header->buffer_count ? !cols_ok(cols) || cols % FG_PANEL_COLS : cols != 0)
			return bad(error, "buffer %u has %u columns", i, cols);
	}
	return 0;
}

/* The batches make up the rows. Their number comes first: it bounds how many are looked at. */
static bool warmup_ok(const struct fg_plan_header *header)
{
	const uint32_t *batches;
	uint64_t rows = 0;

	if (header->warmup_count > FG_PLAN_MAX_WARMUP ||
	    header->warmup_rows > FG_PLAN_MAX_WARMUP_ROWS ||
	    !constant_ok(header, header->warmup_batches, header->warmup_count * sizeof(*batches)) ||
	    !constant_ok(header, header->warmup_inputs,
			 (uint64_t)header->warmup_rows * header->in_cols * sizeof(float)))
		return false;
	batches = constant(header, header->warmup_batches);
	for (uint32_t i = 0; i < header->warmup_count; i++) {
		if (!batches[i])
			return false;
		rows += batches[i];
	}
	return rows == header->warmup_rows;
}

static int check_header(const struct fg_plan_header *header, struct fg_error *error)
{
	if (!cols_ok(header->in_cols) || !cols_ok(header->out_cols))
		return bad(error, "input (rows, %u), output (rows, %u): columns must be 1 to %u",
			   header->in_cols, header->out_cols, FG_PLAN_MAX_COLS);
	if (header->input_count < 1 || header->input_count > FG_PLAN_MAX_PORTS ||
	    header->output_count < 1 || header->output_count > FG_PLAN_MAX_PORTS ||
	    header->input_count + header->output_count > FG_PLAN_MAX_PORTS)
		return bad(error, "%u inputs and %u outputs, at most %u together",
			   header->input_count, header->output_count, FG_PLAN_MAX_PORTS);
	if (header->step_count < 1 || header->step_count > FG_PLAN_MAX_STEPS ||
	    tables_end(header) > header->size)
		return bad(error, "%u steps do not fit", header->step_count);
	if (header->golden_rows > FG_PLAN_MAX_GOLDEN ||
	    !block_ok(header, header->golden_inputs,
		      (uint64_t)header->golden_rows * header->in_cols * sizeof(float)) ||
	    !block_ok(header, header->golden_outputs,
		      (uint64_t)header->golden_rows * header->out_cols * sizeof(float)))
		return bad(error, "%u golden rows do not fit", header->golden_rows);
	if (!(header->golden_tolerance > 0 && header->golden_tolerance <= 1) ||
	    header->golden_shipped > 2 || header->format >= FG_WEIGHTS_COUNT ||
	    !(header->format_error >= 0 && isfinite(header->format_error)) ||
	    (header->format == FG_WEIGHTS_F32 && header->format_error != 0) ||
	    !all_zero(header->zero, sizeof(header->zero)))
		return bad(error, "a header field has no meaning");
	if (!warmup_ok(header))
		return bad(error, "%u batches to warm up with do not fit", header->warmup_count);
	return check_buffers(header, error);
}

/* ---- inputs and outputs ------------------------------------------------------------------ */

/* Printable ASCII with a NUL, and NULs behind it. */
static bool name_ok(const char *name, size_t size)
{
	const char *end = memchr(name, 0, size);

	for (const char *at = name; end && at < end; at++)
		if (*at < ' ' || *at > '~')
			return false;
	return end && all_zero(end, (size_t)(name + size - end));
}

/* Bytes of the UTF-8 sequence at `at` (RFC 3629, section 4), of which `left` are there; 0: none. */
static size_t utf8_length(const uint8_t *at, size_t left)
{
	const uint8_t first = at[0];
	size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint8_t low = 0x80, high = 0xbf; /* of the second byte */

	if (length == 1)
		return 1;
	if (first < 0xc2 || first > 0xf4 || length > left)
		return 0;
	if (first == 0xe0)
		low = 0xa0; /* else it would be overlong */
	else if (first == 0xed)
		high = 0x9f; /* else a surrogate */
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f; /* else above U+10FFFF */
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (at[i] < 0x80 || at[i] > 0xbf)
			return 0;
	return length;
}

bool fg_plan_labels_ok(const char *labels, size_t bytes, uint32_t count)
{
	size_t length;

	if (!bytes || labels[bytes - 1])
		return count == 0 && !bytes;
	for (size_t i = 0; i < bytes; i += length) {
		length = utf8_length((const uint8_t *)labels + i, bytes - i);
		if (!length)
			return false;
		if (!labels[i] && count-- == 0)
			return false;
	}
	return count == 0;
}

static bool dims_ok(const struct fg_plan_port *port)
{
	uint64_t cols = 1;

	if (port->rank >= FG_PLAN_MAX_RANK)
		return false;
	for (uint32_t i = 0; i < FG_PLAN_MAX_RANK - 1; i++) {
		if (i >= port->rank ? port->dims[i] != 0 : !cols_ok(port->dims[i]))
			return false;
		cols *= i < port->rank ? port->dims[i] : 1;
		if (!cols_ok(cols))
			return false;
	}
	return cols == port->cols;
}

/* Ports follow each other; *next is the column that this one starts at, then that behind it. */
static bool port_ok(const struct check *check, const struct fg_plan_port *port, bool is_input,
		    uint64_t *next)
{
	const struct fg_plan_header *header = check->header;

	if (!name_ok(port->name, sizeof(port->name)) || port->first != *next || !dims_ok(port) ||
	    port->integer > 1 || port->named_columns > 1 ||
	    (port->named_columns && port->label_count != port->cols) ||
	    !all_zero(port->zero, sizeof(port->zero)))
		return false;
	*next += port->cols;
	if ((is_input && port->labels_bytes) ||
	    !constant_ok(header, port->labels, port->labels_bytes))
		return false;
	return fg_plan_labels_ok(constant(header, port->labels), port->labels_bytes,
				 port->label_count);
}

static int check_ports(const struct check *check, struct fg_error *error)
{
	const struct fg_plan_header *header = check->header;
	const struct fg_plan_port *ports = fg_plan_ports(header);
	uint64_t in = 0, out = 0, labels_bytes = 0;

	for (uint32_t i = 0; i < header->input_count; i++)
		if (!port_ok(check, &ports[i], true, &in))
			return bad(error, "input %u has a name or columns that do not fit", i);
	for (uint32_t i = 0; i < header->output_count; i++) {
		const struct fg_plan_port *port = &ports[header->input_count + i];

		/* Together no longer than the plan, so that reading them takes no longer either. */
		if (port->labels_bytes > header->size - labels_bytes ||
		    !port_ok(check, port, false, &out))
			return bad(error, "output %u has a name, labels or columns that do not fit",
				   i);
		labels_bytes += port->labels_bytes;
	}
	if (in != header->in_cols || out != header->out_cols)
		return bad(error, "inputs or outputs do not fill a row");
	return 0;
}

/* ---- what steps read and write ----------------------------------------------------------- */

static void find_places(struct check *check)
{
	const struct fg_plan_header *header = check->header;
	uint64_t begin = header->out_cols;

	memset(check->places, 0, sizeof(check->places));
	check->written.count = 0;
	check->keys = 0;
	check->place_count = FG_PLACE_BUFFER + header->buffer_count;
	check->places[FG_PLACE_INPUT].cols = header->in_cols;
	check->places[FG_PLACE_OUTPUT].cols = header->out_cols;
	for (uint32_t i = 0; i < header->buffer_count; i++) {
		check->places[FG_PLACE_BUFFER + i].begin = begin;
		check->places[FG_PLACE_BUFFER + i].cols = header->buffer_cols[i];
		begin += header->buffer_cols[i];
	}
}

/* The first interval that ends at `begin` or behind it. */
static uint32_t find_written(const struct written *written, uint64_t begin)
{
	uint32_t low = 0, high = written->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (written->at[middle].end < begin)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_written(const struct written *written, uint64_t begin, uint64_t end)
{
	uint32_t i = find_written(written, begin);

	if (i < written->count && written->at[i].end == begin)
		i++; /* only touches it; what does not touch its neighbour follows */
	return i < written->count && written->at[i].begin <= begin && end <= written->at[i].end;
}

static void add_written(struct written *written, uint64_t begin, uint64_t end)
{
	uint32_t first = find_written(written, begin), behind = first;

	for (; behind < written->count && written->at[behind].begin <= end; behind++) {
		if (written->at[behind].begin < begin)
			begin = written->at[behind].begin;
		if (written->at[behind].end > end)
			end = written->at[behind].end;
	}
	memmove(&written->at[first + 1], &written->at[behind],
		(written->count - behind) * sizeof(written->at[0]));
	written->count += first + 1 - behind;
	written->at[first].begin = begin;
	written->at[first].end = end;
}

/* True when `cols` columns at `span` are in a place with memory for them. */
static bool inside(const struct check *check, struct fg_plan_span span, uint64_t cols)
{
	return span.place < check->place_count &&
	       span.first + cols <= check->places[span.place].cols;
}

static bool readable(const struct check *check, struct fg_plan_span span, uint64_t cols)
{
	uint64_t begin;

	if (!inside(check, span, cols))
		return false;
	begin = check->places[span.place].begin + span.first;
	return span.place == FG_PLACE_INPUT || is_written(&check->written, begin, begin + cols);
}

static bool writable(const struct check *check, struct fg_plan_span span, uint64_t cols)
{
	return span.place != FG_PLACE_INPUT && inside(check, span, cols);
}

static bool is_absent(struct fg_plan_span span)
{
	return span.place == FG_PLACE_NONE && span.first == 0;
}

static bool apart(struct fg_plan_span a, uint64_t a_cols, struct fg_plan_span b, uint64_t b_cols)
{
	return a.place != b.place || a.first + a_cols <= b.first || b.first + b_cols <= a.first;
}

/* ---- steps ------------------------------------------------------------------------------- */

static bool shape_ok(const struct fg_plan_step *step, struct fg_plan_shape shape)
{
	if (step->groups < 1 || (shape.elementwise && step->groups != 1) ||
	    !cols_ok((uint64_t)step->groups * step->in_cols) ||
	    !cols_ok((uint64_t)step->groups * step->out_cols))
		return false;
	if (shape.cols == FG_PLAN_COLS_WIDE &&
	    (step->in_cols % shape.in_width || step->out_cols % shape.out_width ||
	     step->in_cols / shape.in_width != step->out_cols / shape.out_width))
		return false;
	if (step->kind == FG_STEP_WIDE_REDUCE && (step->in_cols % 2 || step->out_cols != 2))
		return false;
	if ((shape.cols == FG_PLAN_COLS_SAME || shape.cols == FG_PLAN_COLS_ONE) &&
	    step->out_cols != (shape.cols == FG_PLAN_COLS_ONE ? 1 : step->in_cols))
		return false;
	if (step->kind == FG_STEP_EMBED && step->in_cols != 1)
		return false;
	return (step->kind == FG_STEP_EMBED || step->kind == FG_STEP_LOOKUP ||
		step->kind == FG_STEP_WIDE_LOOKUP) == (step->entries != 0);
}

static bool numbers_ok(const struct fg_plan_step *step)
{
	bool any = step->kind == FG_STEP_LOOKUP || step->activation == FG_ACTIVATION_CLIP;

	return any || (!isnan(step->alpha) && !isnan(step->beta));
}

static bool operands_ok(const struct check *check, const struct fg_plan_step *step,
			struct fg_plan_shape shape)
{
	const uint64_t in_cols = (uint64_t)step->groups * step->in_cols;
	const uint64_t out_cols = (uint64_t)step->groups * step->out_cols;
	const bool is_constant = step->other.place == FG_PLACE_CONSTANT;
	const bool may_have = shape.other || step->kind == FG_STEP_DENSE;

	if (shape.in ? !readable(check, step->in, in_cols) : !is_absent(step->in))
		return false;
	if (is_constant ? !may_have || step->other.first != 0 ||
				  !block_ok(check->header, step->constant, out_cols * sizeof(float))
			: step->constant != 0)
		return false;
	if (!is_constant && !(is_absent(step->other) && !shape.other) &&
	    !(may_have && readable(check, step->other, out_cols)))
		return false;
	return shape.third ? readable(check, step->third, out_cols) : is_absent(step->third);
}

/* `bytes` is a multiple of 64; the inner loop has no exit, so that compilers make vectors of it. */
static bool int8_in_range(const int8_t *weights, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += 64) {
		uint8_t outside = 0;

		for (uint32_t k = 0; k < 64; k++)
			outside |= weights[i + k] < -FG_PACK_INT8_MOST;
		if (outside)
			return false;
	}
	return true;
}

/* Bytes in -127 .. 127 and their sums no larger than such bytes can make, so that no kernel's
 * integers overflow (models/pack.h). */
static bool int8_ok(const struct fg_plan_step *step, const int8_t *weights)
{
	const uint64_t cols = (uint64_t)fg_panels(step->out_cols) * FG_PANEL_COLS;
	const uint64_t bytes = fg_pack_panels_bytes(FG_WEIGHTS_INT8, step->in_cols, step->out_cols);
	const int32_t *sums = (const int32_t *)(weights + bytes) + cols;
	const int64_t most = FG_PACK_INT8_MOST * (int64_t)step->in_cols;

	if (!int8_in_range(weights, bytes))
		return false;
	for (uint64_t i = 0; i < cols; i++)
		if (sums[i] > most || sums[i] < -most)
			return false;
	return true;
}

static bool columns_ok(const struct fg_plan_step *step, const uint32_t *columns)
{
	uint32_t largest = 0;

	for (uint32_t i = 0; i < step->out_cols; i++)
		largest = columns[i] > largest ? columns[i] : largest;
	return largest < step->in_cols;
}

/* Sorted upward; the last may be NaN. */
static bool keys_ok(const struct fg_plan_step *step, const float *keys)
{
	for (uint32_t i = 1; i < step->entries; i++)
		if (!(keys[i - 1] <= keys[i]) &&
		    (i + 1 < step->entries || isnan(keys[i - 1]) || !isnan(keys[i])))
			return false;
	return true;
}

static bool wide_keys_ok(const struct fg_plan_step *step, const int64_t *keys)
{
	for (uint32_t i = 1; i < step->entries; i++)
		if (keys[i - 1] > keys[i])
			return false;
	return true;
}

static bool weights_ok(const struct check *check, const struct fg_plan_step *step)
{
	const struct fg_plan_header *header = check->header;
	bool is_int8 = step->kind == FG_STEP_DENSE && step->format == FG_WEIGHTS_INT8;
	const void *weights;

	if (step->format >= (step->kind == FG_STEP_DENSE ? FG_WEIGHTS_COUNT : 1) ||
	    (is_int8 && step->in_cols > FG_PACK_INT8_MAX_COLS) ||
	    step->weights_bytes != fg_plan_weights_bytes(step) ||
	    !constant_ok(header, step->weights, step->weights_bytes) ||
	    !constant_ok(header, step->bias, fg_plan_bias_bytes(step)))
		return false;
	weights = constant(header, step->weights);
	if (is_int8)
		return int8_ok(step, weights);
	if (step->kind == FG_STEP_COLUMNS)
		return columns_ok(step, weights);
	if (step->kind == FG_STEP_WIDE_LOOKUP)
		return wide_keys_ok(step, weights);
	return step->kind != FG_STEP_LOOKUP || keys_ok(step, weights);
}

/* NULL when the step may run, else what is wrong with it. */
static const char *why_not(const struct check *check, const struct fg_plan_step *step)
{
	const uint64_t in_cols = (uint64_t)step->groups * step->in_cols;
	const uint64_t out_cols = (uint64_t)step->groups * step->out_cols;
	struct fg_plan_shape shape;

	if (step->kind >= FG_STEP_KIND_COUNT || step->activation >= FG_ACTIVATION_COUNT ||
	    step->operation >= FG_WIDE_OPERATION_COUNT)
		return "is of an unknown kind";
	shape = fg_plan_shape_of(step->kind, step->operation);
	if (!fg_plan_operation_ok(step))
		return "does with wide numbers what its kind cannot";
	if (!name_ok(step->label, sizeof(step->label)) || !numbers_ok(step) ||
	    (step->activation != FG_ACTIVATION_NONE && !shape.activation) ||
	    !all_zero(step->zero, sizeof(step->zero)))
		return "has a field without meaning";
	if (!shape_ok(step, shape))
		return "has groups, columns or entries that do not fit its kind";
	if (!operands_ok(check, step, shape))
		return "reads what no step has written, or lacks an operand, or has one too many";
	if (!weights_ok(check, step))
		return "has weights or a bias that do not fit";
	if (!writable(check, step->out, out_cols))
		return "writes where it must not";
	if (!apart(step->in, in_cols, step->out, out_cols) ||
	    !apart(step->other, out_cols, step->out, out_cols) ||
	    !apart(step->third, out_cols, step->out, out_cols))
		return "writes what it reads";
	return NULL;
}

static int check_steps(struct check *check, struct fg_error *error)
{
	const struct fg_plan_step *steps = fg_plan_steps(check->header);

	for (uint32_t i = 0; i < check->header->step_count; i++) {
		const struct fg_plan_step *step = &steps[i];
		const char *reason;
		uint64_t begin;

		if (step->kind == FG_STEP_LOOKUP || step->kind == FG_STEP_WIDE_LOOKUP)
			check->keys += step->entries;
		if (check->keys > check->header->size / sizeof(float) + MOST_SHARED_KEYS)
			reason = "has more keys with those before it than can be looked through";
		else
			reason = why_not(check, step);
		if (reason)
			return bad(error, "step %u: %s", i, reason);
		begin = check->places[step->out.place].begin + step->out.first;
		add_written(&check->written, begin,
			    begin + (uint64_t)step->groups * step->out_cols);
	}
	if (!is_written(&check->written, 0, check->header->out_cols))
		return bad(error, "no step writes some of the output");
	return 0;
}

int fg_plan_check(const void *bytes, size_t size, struct fg_error *error)
{
	struct check check;
	int result = check_identity(bytes, size, error);

	if (!result)
		result = check_header(bytes, error);
	if (result)
		return result;
	check.header = bytes;
	find_places(&check);
	result = check_ports(&check, error);
	return result ? result : check_steps(&check, error);
}
