/* cli_control.h: asks the control process, over its Unix socket: a line of JSON each way. */
#ifndef FG_TOOLS_CLI_CONTROL_H
#define FG_TOOLS_CLI_CONTROL_H

#include <jansson.h>
#include <stdint.h>
#include "models/error.h"

#define FG_CLI_SOCKET "/run/flipgate/default.sock"

/*
 * Sends `request` (which it frees) to the socket at `path` and waits for the reply. Returns an
 * exit code; with FG_CLI_OK *reply is an object for the caller to free, whatever it says. Else
 * the error has been printed.
 */
int fg_cli_control_ask(const char *path, json_t *request, uint32_t timeout_ms, json_t **reply);

/* The same for who asks again and again: prints nothing, *error says what went wrong. */
int fg_cli_control_try(const char *path, json_t *request, uint32_t timeout_ms, json_t **reply,
		       struct fg_error *error);

/* The exit code for what a reply says, without a word. */
int fg_cli_control_code(const json_t *reply);
/* The same; prints its error, if it is one, on stderr. */
int fg_cli_control_verdict(const json_t *reply);

/* Prints a reply, or another object, as a line of JSON on stdout. */
void fg_cli_control_print(const json_t *reply);

#endif
