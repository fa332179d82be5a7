#include "tools/cli_ports.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Keeps the outputs, if they follow each other. */
static void keep_outputs(struct fg_cli_ports *ports, size_t count)
{
	size_t kept = 0;

	ports->cols = 0;
	for (size_t i = 0; i < count; i++) {
		if (!ports->outputs[i].is_output)
			continue;
		if (ports->outputs[i].first != ports->cols || !ports->outputs[i].cols) {
			kept = 0;
			break;
		}
		ports->cols += ports->outputs[i].cols;
		ports->outputs[kept++] = ports->outputs[i];
	}
	ports->count = kept;
}

int fg_cli_ports_ask(struct fg_cli_ports *ports, struct fg_client *client,
		     const struct fg_client_request *request, struct fg_client_error *error)
{
	size_t count = 0;
	int code = fg_client_describe(client, request, ports->outputs, FG_CLI_MAX_PORTS, &count,
				      NULL, error);

	keep_outputs(ports, code ? 0 : count);
	return code == -EREMOTEIO || code == -EPROTO ? 0 : code;
}

void fg_cli_ports_settle(struct fg_cli_ports *ports, uint32_t cols)
{
	if (ports->count && ports->cols == cols)
		return;
	ports->cols = cols;
	ports->count = 1;
	ports->outputs[0] = (struct fg_client_port){.is_output = 1, .cols = cols};
}

/* "label (1 whole number), probabilities (10 columns)" */
static const char *list(const struct fg_cli_ports *ports, char *text, size_t room)
{
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < ports->count && used < room; i++) {
		const struct fg_client_port *port = &ports->outputs[i];

		used += (size_t)snprintf(text + used, room - used, "%s%s (%u %s%s)", i ? ", " : "",
					 port->name, port->cols,
					 port->is_integer ? "whole number" : "column",
					 port->cols == 1 ? "" : "s");
	}
	return text;
}

int fg_cli_ports_class(const struct fg_cli_ports *ports, const char *name,
		       const struct fg_client_port **port, struct fg_error *error)
{
	const struct fg_client_port *number = NULL, *wide = NULL;
	uint32_t numbers = 0, wides = 0;
	char text[300];

	for (size_t i = 0; i < ports->count; i++) {
		const struct fg_client_port *output = &ports->outputs[i];

		if (name && strcmp(output->name, name) == 0) {
			*port = output;
			return 0;
		}
		if (output->is_integer && output->cols == 1) {
			number = output;
			numbers++;
		} else if (output->cols > 1) {
			wide = output;
			wides++;
		}
	}
	*port = numbers == 1 ? number : numbers == 0 && wides == 1 ? wide : NULL;
	if (name)
		return fg_error_set(error, -EINVAL, "no output is called %.60s: there is %s", name,
				    list(ports, text, sizeof(text)));
	if (!*port)
		return fg_error_set(error, -EINVAL,
				    "which output tells the class? Say --labels-output NAME: "
				    "there is %s",
				    list(ports, text, sizeof(text)));
	return 0;
}

uint32_t fg_cli_argmax(const struct fg_client_port *port, const float *row)
{
	const float *values = row + port->first;
	uint32_t best = 0;

	for (uint32_t col = 1; col < port->cols; col++)
		if (values[col] > values[best] || (isnan(values[best]) && !isnan(values[col])))
			best = col;
	return best;
}

double fg_cli_class_of(const struct fg_client_port *port, const float *row)
{
	if (port->cols > 1)
		return fg_cli_argmax(port, row);
	return port->is_integer ? (double)row[port->first] : row[port->first] > 0.5f;
}
