/* flipgate shadow: a version that runs beside the live one and answers nobody. */
#include "tools/cli_common.h"

#include <string.h>
#include "tools/cli_json.h"
#include "tools/cli_order.h"

#define DEFAULT_SHARE 1000 /* 10 % */
#define STATUS_MS     5000

static const char help[] =
	"Usage: flipgate shadow MODEL VERSION [--share P%] [OPTION]...\n"
	"       flipgate shadow MODEL --stop [OPTION]...\n"
	"\n"
	"Runs a share of the live requests on VERSION as well, and compares. Its answers are "
	"never\n"
	"sent; it gives way to live traffic. flipgate status shows agreement, drift and time.\n"
	"The same again changes the share. A canary ends it.\n"
	"\n"
	"  --share P%            of the requests; default 10%\n"
	"  --stop                end it\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
	"Examples:\n"
	"  flipgate shadow digits 3 --share 25%\n"
	"  flipgate status --output json | jq .shadow\n"
	"  flipgate shadow digits --stop\n";

struct command {
	struct fg_cli_order order;
	uint32_t share;
	bool stop;
};

/* -1 when the verb goes on, with optind at the first operand, else an exit code. */
static int parse(int argc, char **argv, struct command *command)
{
	static const struct option options[] = {
		{"share", required_argument, NULL, 'S'},
		{"stop", no_argument, NULL, 'X'},
		FG_CLI_ORDER_OPTIONS,
	};
	const struct fg_cli_verb *verb = command->order.verb;
	int option, code = -1;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'X')
			command->stop = true;
		else if (option != 'S')
			code = fg_cli_order_option(&command->order, option, optarg);
		else if (fg_cli_share(verb, "--share", optarg, &command->share))
			code = FG_CLI_USAGE;
	}
	if (code >= 0)
		return code;
	if (command->stop && argc - optind != 1)
		return fg_cli_usage(verb, "--stop wants MODEL alone");
	if (!command->stop && argc - optind != 2)
		return fg_cli_usage(verb, "want MODEL and VERSION, or MODEL --stop");
	return -1;
}

static void print_begun(const json_t *reply)
{
	printf("%s version %lld runs beside the live one%s\n", fg_cli_text_of(reply, "model"),
	       fg_cli_integer_of(reply, "version"),
	       json_is_false(json_object_get(reply, "changed")) ? ", as before" : "");
}

static void print_ended(const json_t *reply)
{
	puts(json_is_false(json_object_get(reply, "changed")) ? "there was no shadow to end"
							      : "the shadow has ended");
}

/* The version of the model's shadow, which the request to end it names; 0: it has none. Returns 0,
 * or an exit code. */
static int find_shadow(const struct fg_cli_order *order, const char *model, json_int_t *version)
{
	const json_t *shadow;
	json_t *status;
	int code = fg_cli_control_ask(order->socket, json_pack("{s:s}", "verb", "status"),
				      STATUS_MS, &status);

	if (code)
		return code;
	shadow = json_object_get(status, "shadow");
	*version = 0;
	code = fg_cli_control_verdict(status);
	if (!code && strcmp(fg_cli_text_of(shadow, "model"), model) == 0)
		*version = fg_cli_integer_of(shadow, "version");
	else if (!code && !fg_cli_find(json_object_get(status, "models"), "model", model))
		code = fg_cli_fail(FG_CLI_REFUSED, "not_found: there is no model %s", model);
	json_decref(status);
	return code;
}

static int ask(const struct command *command, const char *model, json_int_t version)
{
	return fg_cli_order_run(&command->order,
				json_pack("{s:s, s:s, s:I, s:I}", "verb", "shadow", "model", model,
					  "version", version, "share",
					  (json_int_t)(command->stop ? 0 : command->share)),
				command->stop ? print_ended : print_begun);
}

/* Ended already is ended, too. */
static int end(const struct command *command, const char *model)
{
	json_int_t version;
	json_t *reply;
	int code = find_shadow(&command->order, model, &version);

	if (code || version)
		return code ? code : ask(command, model, version);
	reply = json_pack("{s:b, s:b}", "ok", 1, "changed", 0);
	fg_cli_order_print(&command->order, reply, print_ended);
	json_decref(reply);
	return 0;
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct command command = {.order = fg_cli_order(verb), .share = DEFAULT_SHARE};
	json_int_t version;
	int code = parse(argc, argv, &command);

	if (code >= 0)
		return code;
	if (command.stop)
		return end(&command, argv[optind]);
	code = fg_cli_order_version(&command.order, argv[optind + 1], &version);
	return code ? code : ask(&command, argv[optind], version);
}

const struct fg_cli_verb fg_cli_shadow = {
	.name = "shadow",
	.summary = "run a version beside the live one, compare, answer nobody",
	.help = help,
	.run = run,
};
