/* cli_ports.h: which columns of an answer are which output of the model. */
#ifndef FG_TOOLS_CLI_PORTS_H
#define FG_TOOLS_CLI_PORTS_H

#include "models/error.h"
#include "tools/flipgate.h"

#define FG_CLI_MAX_PORTS 256

/* The outputs of a model; their columns follow each other and make up `cols` of an answer. */
struct fg_cli_ports {
	uint32_t cols;
	size_t count;
	struct fg_client_port outputs[FG_CLI_MAX_PORTS];
};

/*
 * Asks for the outputs of what `request` names. A service that does not know the question, as one
 * that is older, or gives an answer that does not add up, leaves none: then an answer is taken as a
 * whole. Returns as fg_client_describe, but -EREMOTEIO and -EPROTO are 0.
 */
int fg_cli_ports_ask(struct fg_cli_ports *ports, struct fg_client *client,
		     const struct fg_client_request *request, struct fg_client_error *error);

/* Makes all `cols` columns one output without a name, where the outputs are not known to be just
 * these. */
void fg_cli_ports_settle(struct fg_cli_ports *ports, uint32_t cols);

/*
 * The output that tells a row's class: that called `name`; or (NULL) the only one that is a single
 * whole number, or else the only one with several columns. -EINVAL with *error, which lists them:
 * there is none such.
 */
int fg_cli_ports_class(const struct fg_cli_ports *ports, const char *name,
		       const struct fg_client_port **port, struct fg_error *error);

/* The class that output `port` gives a row of an answer: the column with the largest value; or, of
 * a single column, the whole number itself, or 1 where a number that is none is above 0.5. */
double fg_cli_class_of(const struct fg_client_port *port, const float *row);

/* Of a row of an answer, in output `port`: the column with the largest value, the first of equals;
 * from 0. NaN is never the largest, but where all are it is column 0. */
uint32_t fg_cli_argmax(const struct fg_client_port *port, const float *row);

#endif
