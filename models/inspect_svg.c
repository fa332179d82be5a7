/*
 * One box for each step from top to bottom, the inputs above, the outputs below. An arrow comes
 * from whoever wrote what a step reads; one that passes other boxes goes around them on the left.
 * The bar in a box is its share of the time for one row.
 */
#include <string.h>
#include "models/inspect.h"
#include "models/inspect_step.h"
#include "models/pack.h"

#define LEFT	   150 /* room for arrows that go around */
#define BOX_WIDTH  520
#define BOX_HEIGHT 46
#define BOX_GAP	   22
#define TOP	   64
#define PORT_LINE  16
#define BAR_WIDTH  120

struct drawing {
	const struct fg_plan *plan;
	const struct fg_inspect_times *times;
	FILE *out;
	int first_step_y;
};

static void print_escaped(const char *text, FILE *out)
{
	for (; *text; text++) {
		if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else
			fputc(*text, out);
	}
}

static void print_text(const struct drawing *drawing, int x, int y, const char *class,
		       const char *text)
{
	fprintf(drawing->out, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
	print_escaped(text, drawing->out);
	fputs("</text>\n", drawing->out);
}

/* The box's colour says what the step does. */
static const char *class_of(const struct fg_plan_step *step)
{
	if (step->kind == FG_STEP_DENSE)
		return "dense";
	if (step->kind >= FG_STEP_EMBED && step->kind <= FG_STEP_LOOKUP)
		return "move";
	if (step->kind >= FG_STEP_CENTER && step->kind != FG_STEP_WIDE_REDUCE)
		return "each";
	return step->kind >= FG_STEP_SOFTMAX ? "row" : "each";
}

static int step_y(const struct drawing *drawing, int step)
{
	return drawing->first_step_y + step * (BOX_HEIGHT + BOX_GAP);
}

/* Step -1 is the box of the inputs. */
static void draw_arrow(const struct drawing *drawing, int from, int to)
{
	int start = step_y(drawing, from) + BOX_HEIGHT, end = step_y(drawing, to);
	int reach = 24 + 10 * (to - from);

	if (to - from == 1) {
		int x = LEFT + BOX_WIDTH / 2;

		fprintf(drawing->out,
			"<path class=\"flow\" d=\"M%d %dV%d\" marker-end=\"url(#tip)\"/>\n", x,
			start, end - 4);
		return;
	}
	if (reach > LEFT - 10)
		reach = LEFT - 10;
	start -= BOX_HEIGHT / 2;
	end += BOX_HEIGHT / 2;
	fprintf(drawing->out,
		"<path class=\"flow\" d=\"M%d %dC%d %d %d %d %d %d\" marker-end=\"url(#tip)\"/>\n",
		LEFT, start, LEFT - reach, start, LEFT - reach, end, LEFT - 4, end);
}

/* Arrows from the steps that last wrote these columns before step `to`. */
static void draw_sources(const struct drawing *drawing, struct fg_plan_span span, uint32_t cols,
			 uint32_t to)
{
	uint32_t found = 0;

	if (span.place == FG_PLACE_INPUT)
		draw_arrow(drawing, -1, (int)to);
	for (uint32_t i = to; span.place >= FG_PLACE_BUFFER && i-- > 0 && found < cols;) {
		const struct fg_plan_step *step = &drawing->plan->steps[i];
		uint32_t first = step->out.first, end = first + step->groups * step->out_cols;

		if (step->out.place != span.place || first >= span.first + cols ||
		    end <= span.first)
			continue;
		draw_arrow(drawing, (int)i, (int)to);
		found += (end < span.first + cols ? end : span.first + cols) -
			 (first > span.first ? first : span.first);
	}
}

static void draw_step(const struct drawing *drawing, uint32_t i)
{
	const struct fg_plan_step *step = &drawing->plan->steps[i];
	const double us = drawing->times->step_us[i][0], all = drawing->times->plan_us[0];
	double share = all > 0 ? us / all : 0;
	int y = step_y(drawing, (int)i), right = LEFT + BOX_WIDTH - 12;
	char shape[FG_INSPECT_SHAPE], text[160];

	fprintf(drawing->out,
		"<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n",
		class_of(step), LEFT, y, BOX_WIDTH, BOX_HEIGHT);
	snprintf(text, sizeof(text), "%s  %s%s%s%s", fg_inspect_kind(step),
		 fg_inspect_shape(step, shape),
		 step->kind == FG_STEP_DENSE && step->other.place ? "  + sum" : "",
		 step->activation ? "  + " : "",
		 step->activation ? fg_inspect_activation(step) : "");
	print_text(drawing, LEFT + 12, y + 19, "name", text);
	snprintf(text, sizeof(text), "%s%s%s  %llu bytes  %llu flops", step->label,
		 step->kind == FG_STEP_DENSE ? "  " : "",
		 step->kind == FG_STEP_DENSE ? fg_weights_name(step->format) : "",
		 (unsigned long long)fg_inspect_bytes(step),
		 (unsigned long long)fg_inspect_flops(step));
	print_text(drawing, LEFT + 12, y + 36, "small", text);
	fprintf(drawing->out,
		"<rect class=\"bar\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"6\"/>\n",
		right - BAR_WIDTH * (share < 1 ? share : 1), y + 30,
		BAR_WIDTH * (share < 1 ? share : 1));
	snprintf(text, sizeof(text), "%.2f us, %.0f %%", us, 100 * share);
	print_text(drawing, right, y + 19, "time", text);
}

static void draw_ports(const struct drawing *drawing, uint32_t first, uint32_t count, int y)
{
	fprintf(drawing->out,
		"<rect class=\"port\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n",
		LEFT, y, BOX_WIDTH, (int)count * PORT_LINE + 14);
	for (uint32_t i = 0; i < count; i++) {
		char text[FG_INSPECT_PORT];

		print_text(drawing, LEFT + 12, y + (int)(i + 1) * PORT_LINE + 4, "small",
			   fg_inspect_port(fg_plan_port(drawing->plan, first + i), text));
	}
}

static void print_head(const struct drawing *drawing, const char *name, int height)
{
	const double *us = drawing->times->plan_us;
	char text[200];

	fprintf(drawing->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"font-family=\"sans-serif\">\n"
		"<style>text{fill:#222}.title{font-size:18px;font-weight:bold}"
		".name{font-size:14px;font-weight:bold}.small{font-size:11px;fill:#555}"
		".time{font-size:11px;fill:#555;text-anchor:end}"
		"rect{stroke:#8899aa;fill:#fff}.dense{fill:#dce9f9}.row{fill:#dff2e1}"
		".each{fill:#f4f4f4}.move{fill:#fdf3d7}.port{fill:#fff;stroke-dasharray:4 3}"
		".bar{fill:#d9773f;stroke:none}.flow{fill:none;stroke:#667788;stroke-width:1.4}"
		"</style>\n"
		"<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"4\" refY=\"4\" "
		"markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">"
		"<path d=\"M0 0L8 4L0 8z\" fill=\"#667788\"/></marker></defs>\n"
		"<rect width=\"100%%\" height=\"100%%\" style=\"stroke:none\"/>\n",
		LEFT + BOX_WIDTH + 24, height);
	print_text(drawing, LEFT, 26, "title", name);
	snprintf(text, sizeof(text), "%.2f us for 1 row, %.2f us for 8, %.2f us for 32; %s kernels",
		 us[0], us[1], us[2], drawing->plan->kernels->isa);
	print_text(drawing, LEFT, 46, "small", text);
}

void fg_inspect_svg(const struct fg_plan *plan, const struct fg_inspect_times *times,
		    const char *name, FILE *out)
{
	const struct fg_plan_header *header = plan->header;
	int inputs = (int)header->input_count * PORT_LINE + 14;
	struct drawing drawing = {.plan = plan, .times = times, .out = out};
	int outputs_y;

	drawing.first_step_y = TOP + inputs + BOX_GAP;
	outputs_y = step_y(&drawing, (int)plan->step_count);
	print_head(&drawing, name,
		   outputs_y + (int)header->output_count * PORT_LINE + 14 + BOX_GAP);
	draw_ports(&drawing, 0, header->input_count, TOP);
	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct fg_plan_step *step = &plan->steps[i];

		draw_sources(&drawing, step->in, step->groups * step->in_cols, i);
		draw_sources(&drawing, step->other, step->groups * step->out_cols, i);
		draw_sources(&drawing, step->third, step->groups * step->out_cols, i);
		if (step->out.place == FG_PLACE_OUTPUT)
			draw_arrow(&drawing, (int)i, (int)plan->step_count);
	}
	draw_ports(&drawing, header->input_count, header->output_count, outputs_y);
	for (uint32_t i = 0; i < plan->step_count; i++)
		draw_step(&drawing, i);
	fputs("</svg>\n", out);
}
