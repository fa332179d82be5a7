#include <stdbool.h>
#include <string.h>
#include "models/inspect.h"
#include "models/inspect_step.h"
#include "models/pack.h"

#define MAX_LABELS 12 /* shown */

/* A text of the model file: what a terminal would take for a command becomes '?'. U+0080 to U+009F,
 * which are two bytes, are such as well. */
static void print_label(const char *label, FILE *out)
{
	for (const unsigned char *at = (const unsigned char *)label; *at; at++) {
		const bool two = at[0] == 0xc2 && at[1] < 0xa0;

		fputc(*at < ' ' || *at == 0x7f || two ? '?' : *at, out);
		at += two;
	}
}

static void print_ports(const struct fg_plan *plan, FILE *out)
{
	const struct fg_plan_header *header = plan->header;

	for (uint32_t i = 0; i < header->input_count + header->output_count; i++) {
		const struct fg_plan_port *port = fg_plan_port(plan, i);
		const char *label = (const char *)header + port->labels;
		char text[FG_INSPECT_PORT];

		fprintf(out, "%s  %s, column%s %u", i < header->input_count ? "input  " : "output ",
			fg_inspect_port(port, text), port->cols == 1 ? "" : "s", port->first);
		if (port->cols > 1)
			fprintf(out, " to %u", port->first + port->cols - 1);
		for (uint32_t l = 0; l < port->label_count && l < MAX_LABELS; l++) {
			fputs(l ? ", " : port->named_columns ? ", named " : ": ", out);
			print_label(label, out);
			label += strlen(label) + 1;
		}
		fputs(port->label_count > MAX_LABELS ? ", ...\n" : "\n", out);
	}
}

/* "buffer0", "buffer0 + input", or "buffer1 ? buffer0 : input". */
static void print_sources(const struct fg_plan_step *step, char *text, size_t size)
{
	char in[FG_INSPECT_PLACE], other[FG_INSPECT_PLACE], third[FG_INSPECT_PLACE];

	fg_inspect_place(step->in, in);
	fg_inspect_place(step->other, other);
	fg_inspect_place(step->third, third);
	if (step->third.place != FG_PLACE_NONE)
		snprintf(text, size, "%s ? %s : %s", in, other, third);
	else if (step->other.place != FG_PLACE_NONE)
		snprintf(text, size, "%s, %s", in, other);
	else
		snprintf(text, size, "%s", in);
}

static void print_step(const struct fg_plan *plan, uint32_t i, const struct fg_inspect_times *times,
		       FILE *out)
{
	const struct fg_plan_step *step = &plan->steps[i];
	char shape[FG_INSPECT_SHAPE], to[FG_INSPECT_PLACE], from[3 * FG_INSPECT_PLACE + 8];

	print_sources(step, from, sizeof(from));
	fprintf(out, "%4u  %-14s  %-20.20s  %-16s  %-10s  %-6s %-20s  %-12s %9llu %10llu", i,
		fg_inspect_kind(step), step->label, fg_inspect_shape(step, shape),
		fg_inspect_activation(step),
		step->kind == FG_STEP_DENSE ? fg_weights_name(step->format) : "", from,
		fg_inspect_place(step->out, to), (unsigned long long)fg_inspect_bytes(step),
		(unsigned long long)fg_inspect_flops(step));
	for (uint32_t b = 0; b < FG_INSPECT_BATCHES; b++)
		fprintf(out, " %8.2f", times->step_us[i][b]);
	fputc('\n', out);
}

void fg_inspect_text(const struct fg_plan *plan, const struct fg_inspect_times *times, FILE *out)
{
	const struct fg_plan_header *header = plan->header;
	struct fg_inspect_total total = fg_inspect_total(plan->steps, plan->step_count);

	fprintf(out, "plan     format %u, %llu bytes, digest %016llx\n", header->version,
		(unsigned long long)header->size, (unsigned long long)header->digest);
	fprintf(out, "shapes   (rows, %u) -> (rows, %u), float32\n", plan->in_cols, plan->out_cols);
	print_ports(plan, out);
	if (header->format != FG_WEIGHTS_F32)
		fprintf(out, "weights  %s, off from f32 by %.2g * (1 + |output|) at most\n",
			fg_weights_name(header->format), header->format_error);
	fprintf(out, "golden   %u rows, %s, tolerance %g\n", header->golden_rows,
		header->golden_shipped == 0   ? "made up and run through the C reference"
		: header->golden_shipped == 1 ? "of golden.json"
					      : "of golden.npz",
		header->golden_tolerance);
	if (header->warmup_count)
		fprintf(out, "warm-up  %u requests, %u rows\n", header->warmup_count,
			header->warmup_rows);
	fprintf(out, "memory   %llu bytes of weights, %zu bytes of scratch for one row\n",
		(unsigned long long)total.bytes, fg_plan_scratch_bytes(plan, 1));
	fprintf(out, "work     %llu flops a row\n", (unsigned long long)total.flops);
	fprintf(out,
		"time     %.2f us for 1 row, %.2f us for 8, %.2f us for 32 (measured here, in "
		"cache)\n\n",
		times->plan_us[0], times->plan_us[1], times->plan_us[2]);
	fprintf(out, "%4s  %-14s  %-20s  %-16s  %-10s  %-6s %-20s  %-12s %9s %10s %8s %8s %8s\n",
		"step", "kind", "label", "columns", "activation", "type", "from", "to", "bytes",
		"flops/row", "us for 1", "for 8", "for 32");
	for (uint32_t i = 0; i < plan->step_count; i++)
		print_step(plan, i, times, out);
}
