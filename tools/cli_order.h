/*
 * cli_order.h: what the verbs that change something have in common: options, question, answer.
 *
 * A verb declares its table for getopt_long with FG_CLI_ORDER_OPTIONS at the end, calls
 * fg_cli_order_option for each option it does not know itself, and then fg_cli_order_ask.
 */
#ifndef FG_TOOLS_CLI_ORDER_H
#define FG_TOOLS_CLI_ORDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "tools/cli_common.h"
#include "tools/cli_control.h"

#define FG_CLI_WAIT_MS	   30000
#define FG_CLI_MAX_WAIT_MS 600000 /* what the server takes */
#define FG_CLI_WHY_BYTES   200

struct fg_cli_order {
	const struct fg_cli_verb *verb;
	const char *socket;
	uint64_t expect;  /* number of the generation that must be live; 0: any */
	const char *why;  /* for the audit log; NULL: nothing */
	uint64_t wait_ms; /* for the answer */
	bool may_pend;	  /* a wait that is over is no error: the service goes on */
	struct fg_cli_output output;
};

/* clang-format off */
#define FG_CLI_ORDER_OPTIONS                                                                       \
	{"socket", required_argument, NULL, 's'},                                                  \
	{"expect-current", required_argument, NULL, 'e'},                                          \
	{"why", required_argument, NULL, 'y'},                                                     \
	{"wait", required_argument, NULL, 'w'},                                                    \
	{"no-wait", no_argument, NULL, 'n'},                                                       \
	FG_CLI_OPTIONS
/* clang-format on */

#define FG_CLI_ORDER_HELP                                                                          \
	"  --expect-current N    only if generation N is the live one, else exit with 7\n"         \
	"  --why TEXT            for the audit log (flipgate history)\n"                           \
	"  --socket PATH         control socket; default " FG_CLI_SOCKET "\n"                      \
	"  --output FORMAT       text (default) or json\n"

#define FG_CLI_WAIT_HELP                                                                           \
	"  --wait TIME           give up after this (default 30s); the service goes on\n"          \
	"  --no-wait             return when it is asked for, not when it is done\n"

/* Defaults. */
struct fg_cli_order fg_cli_order(const struct fg_cli_verb *verb);

/* One option of the table: -1 when the verb goes on, else an exit code, as fg_cli_option. */
int fg_cli_order_option(struct fg_cli_order *order, int option, const char *value);

/* For verbs without options of their own: reads all of them, and wants `operands` operands, which
 * `names` names. -1 with optind at the first operand, else an exit code. */
int fg_cli_order_parse(struct fg_cli_order *order, int argc, char **argv, int operands,
		       const char *names);

/* "3" as a version number, 1 upward: 0, or FG_CLI_USAGE. */
int fg_cli_order_version(const struct fg_cli_order *order, const char *text, json_int_t *version);

/* Puts the options into a request. */
void fg_cli_order_fill(const struct fg_cli_order *order, json_t *request);

/*
 * Sends `request` (freed here) with the options put in; prints what was refused. Returns an exit
 * code; with FG_CLI_OK *reply is the caller's to free. With may_pend a wait that is over gives
 * {"ok":true,"pending":true}.
 */
int fg_cli_order_ask(const struct fg_cli_order *order, json_t *request, json_t **reply);

/* Prints a reply that says ok: as JSON, or as `print` does for people; one that is pending as
 * "asked for". */
void fg_cli_order_print(const struct fg_cli_order *order, const json_t *reply,
			void (*print)(const json_t *reply));

/* Asks, and prints the reply: as JSON, or as `print` does for people. Returns an exit code. */
int fg_cli_order_run(const struct fg_cli_order *order, json_t *request,
		     void (*print)(const json_t *reply));

#endif
