/* flipgate promote, flipgate rollback: change which version is live, and wait for the flip. */
#include "tools/cli_common.h"

#include <stdlib.h>
#include "tools/cli_control.h"

#define WAIT_MS	 30000
#define GRACE_MS 2000 /* the server says itself that a wait is over: let it */

static const char promote_help[] =
	"Usage: flipgate promote MODEL VERSION [--socket PATH] [--wait MS] [--output json|text]\n"
	"\n"
	"Makes VERSION the live version of MODEL: starts workers that hold it, checks them, "
	"flips,\n"
	"and returns when new flows go to it. Flows in flight finish where they began.\n"
	"\n"
	"  --socket PATH    control socket; default " FG_CLI_SOCKET "\n"
	"  --wait MS        give up after this; default 30000. The service goes on trying\n"
	"\n"
	"Example:\n"
	"  flipgate promote digits 2\n";

static const char rollback_help[] =
	"Usage: flipgate rollback MODEL [--socket PATH] [--wait MS] [--output json|text]\n"
	"\n"
	"Makes the version of MODEL live again that was live before. Takes one flip when its\n"
	"workers are still kept, else it starts them as promote does.\n"
	"\n"
	"  --socket PATH    control socket; default " FG_CLI_SOCKET "\n"
	"  --wait MS        give up after this; default 30000\n"
	"\n"
	"Example:\n"
	"  flipgate rollback digits\n";

struct rollout {
	const char *socket;
	uint64_t wait_ms;
	struct fg_cli_output output;
};

/* -1 when the verb goes on, with optind at the first operand, else an exit code. */
static int parse(const struct fg_cli_verb *verb, int argc, char **argv, struct rollout *rollout)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"wait", required_argument, NULL, 'w'},
		FG_CLI_OPTIONS,
	};
	int option, code = -1;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			rollout->socket = optarg;
		else if (option != 'w')
			code = fg_cli_option(verb, option, optarg, &rollout->output);
		else if (fg_cli_u64(verb, "--wait", optarg, 1, 3600000, &rollout->wait_ms))
			code = FG_CLI_USAGE;
	}
	return code;
}

static void print_done(const json_t *reply)
{
	const char *model = "?";
	json_int_t version = 0, generation = 0;
	double flip_us = 0;
	int changed = 1;
	char text[16];

	json_unpack((json_t *)reply, "{s?s, s?I, s?I, s?F, s?b}", "model", &model, "version",
		    &version, "generation", &generation, "flip_us", &flip_us, "changed", &changed);
	printf("%s%s%s version %s%lld%s ", fg_cli_style(FG_CLI_BOLD), model,
	       fg_cli_style(FG_CLI_PLAIN), fg_cli_style(FG_CLI_BOLD), (long long)version,
	       fg_cli_style(FG_CLI_PLAIN));
	if (changed)
		printf("is live, generation %lld, flipped in %s\n", (long long)generation,
		       fg_cli_duration(text, flip_us / 1e6));
	else
		printf("was live already, generation %lld\n", (long long)generation);
}

static int ask(const struct rollout *rollout, json_t *request)
{
	json_t *reply;
	int code;

	json_object_set_new(request, "wait_ms", json_integer((json_int_t)rollout->wait_ms));
	code = fg_cli_control_ask(rollout->socket, request, (uint32_t)rollout->wait_ms + GRACE_MS,
				  &reply);
	if (code)
		return code;
	code = fg_cli_control_verdict(reply);
	if (rollout->output.json) {
		json_dumpf(reply, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (!code) {
		print_done(reply);
	}
	json_decref(reply);
	return code;
}

static int run_promote(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct rollout rollout = {.socket = FG_CLI_SOCKET, .wait_ms = WAIT_MS};
	uint64_t version;
	int code = parse(verb, argc, argv, &rollout);

	if (code >= 0)
		return code;
	if (argc - optind != 2)
		return fg_cli_usage(verb, "want MODEL and VERSION");
	if (fg_cli_u64(verb, "VERSION", argv[optind + 1], 1, INT64_MAX, &version))
		return FG_CLI_USAGE;
	return ask(&rollout, json_pack("{s:s, s:s, s:I}", "verb", "promote", "model", argv[optind],
				       "version", (json_int_t)version));
}

static int run_rollback(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct rollout rollout = {.socket = FG_CLI_SOCKET, .wait_ms = WAIT_MS};
	int code = parse(verb, argc, argv, &rollout);

	if (code >= 0)
		return code;
	if (argc - optind != 1)
		return fg_cli_usage(verb, "want MODEL");
	return ask(&rollout, json_pack("{s:s, s:s}", "verb", "rollback", "model", argv[optind]));
}

const struct fg_cli_verb fg_cli_promote = {
	.name = "promote",
	.summary = "make a version live, wait for the flip",
	.help = promote_help,
	.run = run_promote,
};

const struct fg_cli_verb fg_cli_rollback = {
	.name = "rollback",
	.summary = "make the version before live again",
	.help = rollback_help,
	.run = run_rollback,
};
