#include <string.h>
#include "models/inspect.h"
#include "models/inspect_step.h"
#include "models/pack.h"

/* Names are printable ASCII and class labels are UTF-8 (fg_plan_open). */
static void print_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(out, "\\u%04x", *text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void print_span(const char *key, struct fg_plan_span span, FILE *out)
{
	char text[FG_INSPECT_PLACE];

	if (span.place != FG_PLACE_NONE)
		fprintf(out, ",\"%s\":\"%s\"", key, fg_inspect_place(span, text));
}

static void print_times(const double us[FG_INSPECT_BATCHES], FILE *out)
{
	fputs(",\"us\":{", out);
	for (uint32_t b = 0; b < FG_INSPECT_BATCHES; b++)
		fprintf(out, "%s\"%u\":%.3f", b ? "," : "", fg_inspect_batch[b], us[b]);
	fputc('}', out);
}

static void print_step(const struct fg_plan_step *step, const double us[FG_INSPECT_BATCHES],
		       FILE *out)
{
	fprintf(out, "{\"kind\":\"%s\",\"label\":", fg_inspect_kind(step));
	print_string(step->label, out);
	fprintf(out, ",\"groups\":%u,\"in_cols\":%u,\"out_cols\":%u,\"activation\":\"%s\"",
		step->groups, step->in_cols, step->out_cols, fg_inspect_activation(step));
	if (step->kind == FG_STEP_DENSE)
		fprintf(out, ",\"weights\":\"%s\"", fg_weights_name(step->format));
	print_span("from", step->in, out);
	print_span("other", step->other, out);
	print_span("third", step->third, out);
	print_span("to", step->out, out);
	fprintf(out, ",\"bytes\":%llu,\"flops\":%llu", (unsigned long long)fg_inspect_bytes(step),
		(unsigned long long)fg_inspect_flops(step));
	print_times(us, out);
	fputc('}', out);
}

static void print_port(const struct fg_plan *plan, const struct fg_plan_port *port, FILE *out)
{
	const char *label = (const char *)plan->header + port->labels;

	fputs("{\"name\":", out);
	print_string(port->name, out);
	fprintf(out, ",\"first\":%u,\"cols\":%u,\"integer\":%s,\"dims\":[", port->first, port->cols,
		port->integer ? "true" : "false");
	for (uint32_t i = 0; i < port->rank; i++)
		fprintf(out, "%s%u", i ? "," : "", port->dims[i]);
	fprintf(out, "],\"named_columns\":%s,\"labels\":[", port->named_columns ? "true" : "false");
	for (uint32_t i = 0; i < port->label_count; i++) {
		fputs(i ? "," : "", out);
		print_string(label, out);
		label += strlen(label) + 1;
	}
	fputs("]}", out);
}

static void print_ports(const struct fg_plan *plan, const char *key, uint32_t first, uint32_t count,
			FILE *out)
{
	fprintf(out, ",\"%s\":[", key);
	for (uint32_t i = 0; i < count; i++) {
		fputs(i ? "," : "", out);
		print_port(plan, fg_plan_port(plan, first + i), out);
	}
	fputc(']', out);
}

void fg_inspect_json(const struct fg_plan *plan, const struct fg_inspect_times *times, FILE *out)
{
	const struct fg_plan_header *header = plan->header;
	struct fg_inspect_total total = fg_inspect_total(plan->steps, plan->step_count);

	fprintf(out,
		"{\"format\":%u,\"size\":%llu,\"digest\":\"%016llx\",\"in_cols\":%u,"
		"\"out_cols\":%u,\"weights\":\"%s\",\"weights_error\":%g,"
		"\"golden\":{\"rows\":%u,\"shipped\":%s,\"tolerance\":%g},"
		"\"warmup\":{\"requests\":%u,\"rows\":%u},"
		"\"scratch_bytes\":%zu,\"bytes\":%llu,\"flops\":%llu",
		header->version, (unsigned long long)header->size,
		(unsigned long long)header->digest, header->in_cols, header->out_cols,
		fg_weights_name(header->format), header->format_error, header->golden_rows,
		header->golden_shipped ? "true" : "false", header->golden_tolerance,
		header->warmup_count, header->warmup_rows, fg_plan_scratch_bytes(plan, 1),
		(unsigned long long)total.bytes, (unsigned long long)total.flops);
	print_times(times->plan_us, out);
	print_ports(plan, "inputs", 0, header->input_count, out);
	print_ports(plan, "outputs", header->input_count, header->output_count, out);
	fputs(",\"steps\":[", out);
	for (uint32_t i = 0; i < plan->step_count; i++) {
		fputs(i ? "," : "", out);
		print_step(&plan->steps[i], times->step_us[i], out);
	}
	fputs("]}\n", out);
}
