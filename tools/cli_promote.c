/* flipgate promote, flipgate rollback: change which version is live, and wait for the flip. */
#include "tools/cli_common.h"

#include "tools/cli_json.h"
#include "tools/cli_order.h"

static const char promote_help[] =
	"Usage: flipgate promote MODEL VERSION [OPTION]...\n"
	"\n"
	"Makes VERSION the live version of MODEL: starts workers that hold it, checks them, "
	"flips,\n"
	"and returns when new flows go to it. Flows in flight finish where they began. While\n"
	"VERSION is a canary, it gets all new flows now.\n"
	"\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
	"Examples:\n"
	"  flipgate promote digits 2\n"
	"  flipgate promote digits 2 --expect-current 7 --why 'release 41'\n";

static const char rollback_help[] =
	"Usage: flipgate rollback MODEL [OPTION]...\n"
	"\n"
	"Makes the version of MODEL live again that was live before. Takes one flip when its\n"
	"workers are still kept, else it starts them as promote does. During a canary of MODEL it\n"
	"is flipgate abort. Says how long it took from the command to the last new flow on the\n"
	"version that is left.\n"
	"\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
	"Example:\n"
	"  flipgate rollback digits --why 'scores look wrong'\n";

static void print_done(const json_t *reply)
{
	long long from = fg_cli_integer_of(reply, "from");
	bool changed = !json_is_false(json_object_get(reply, "changed"));
	char text[16];

	printf("%s%s%s version %s%lld%s %s live, generation %lld\n", fg_cli_style(FG_CLI_BOLD),
	       fg_cli_text_of(reply, "model"), fg_cli_style(FG_CLI_PLAIN),
	       fg_cli_style(FG_CLI_BOLD), fg_cli_integer_of(reply, "version"),
	       fg_cli_style(FG_CLI_PLAIN), changed ? "is" : "was already",
	       fg_cli_integer_of(reply, "generation"));
	if (!changed)
		return;
	if (json_object_get(reply, "flip_us"))
		printf("  the flip: %s\n",
		       fg_cli_duration(text, fg_cli_number_of(reply, "flip_us") / 1e6));
	if (!json_object_get(reply, "took_ms"))
		return;
	fg_cli_duration(text, fg_cli_number_of(reply, "took_ms") / 1e3);
	if (from)
		printf("  from the command to the last new flow on version %lld: %s\n", from, text);
	else
		printf("  from the command to the last new flow on the version before: %s\n", text);
}

static int run_promote(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct fg_cli_order order = fg_cli_order(verb);
	json_int_t version;
	int code = fg_cli_order_parse(&order, argc, argv, 2, "MODEL and VERSION");

	if (code >= 0)
		return code;
	if (fg_cli_order_version(&order, argv[optind + 1], &version))
		return FG_CLI_USAGE;
	return fg_cli_order_run(&order,
				json_pack("{s:s, s:s, s:I}", "verb", "promote", "model",
					  argv[optind], "version", version),
				print_done);
}

static int run_rollback(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct fg_cli_order order = fg_cli_order(verb);
	int code = fg_cli_order_parse(&order, argc, argv, 1, "MODEL");

	if (code >= 0)
		return code;
	return fg_cli_order_run(&order,
				json_pack("{s:s, s:s}", "verb", "rollback", "model", argv[optind]),
				print_done);
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
