#include "userspace/worker/describe.h"

#include <stdio.h>
#include <string.h>
#include "models/plan_format.h"

/* The longest line: four numbers and words, and a name. */
#define LINE_BYTES (64 + FG_PLAN_NAME_BYTES)

static size_t write_line(char line[LINE_BYTES], const struct fg_plan *plan, uint32_t i)
{
	const struct fg_plan_port *port = fg_plan_port(plan, i);

	return (size_t)snprintf(line, LINE_BYTES, "%s\t%u\t%u\t%s\t%s\n",
				i < plan->header->input_count ? "input" : "output", port->first,
				port->cols, port->integer ? "integer" : "f32", port->name);
}

size_t fg_describe_ports(const struct fg_plan *plan, char *text, size_t room)
{
	uint32_t count = plan->header->input_count + plan->header->output_count, i;
	char line[LINE_BYTES];
	size_t bytes = 0;

	for (i = 0; i < count; i++)
		bytes += write_line(line, plan, i);
	for (i = 0; i < count && bytes <= room; i++) {
		size_t length = write_line(line, plan, i);

		memcpy(text, line, length);
		text += length;
	}
	return bytes;
}
