/* flipgate pause, resume, abort: a canary that is under way. */
#include "tools/cli_common.h"

#include "tools/cli_json.h"
#include "tools/cli_order.h"

static const char pause_help[] = "Usage: flipgate pause MODEL [OPTION]...\n"
				 "\n"
				 "The canary of MODEL stays at its step until it is resumed, "
				 "promoted or aborted. Guards go\n"
				 "on. To pause a paused canary is no error.\n"
				 "\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
				 "Example:\n"
				 "  flipgate pause digits --why 'looking at the scores'\n";

static const char resume_help[] =
	"Usage: flipgate resume MODEL [OPTION]...\n"
	"\n"
	"The paused canary of MODEL goes on, with what was left of its step.\n"
	"\n" FG_CLI_ORDER_HELP "\n"
	"Example:\n"
	"  flipgate resume digits\n";

static const char abort_help[] =
	"Usage: flipgate abort MODEL [OPTION]...\n"
	"\n"
	"Ends the canary of MODEL: all new flows go to the version before, in one flip. The\n"
	"version is not rolled out again by itself.\n"
	"\n" FG_CLI_WAIT_HELP FG_CLI_ORDER_HELP "\n"
	"Example:\n"
	"  flipgate abort digits --why 'wrong scores for card payments'\n";

static void print_done(const json_t *reply)
{
	const json_t *took = json_object_get(reply, "took_ms");
	char text[16];

	printf("%s version %lld", fg_cli_text_of(reply, "model"),
	       fg_cli_integer_of(reply, "version"));
	if (json_object_get(reply, "phase"))
		printf(" is %s at %g%% of new flows", fg_cli_text_of(reply, "phase"),
		       fg_cli_number_of(reply, "weight"));
	else
		fputs(" gets all new flows", stdout);
	if (json_is_false(json_object_get(reply, "changed")))
		fputs(" (nothing had to change)", stdout);
	else if (took)
		printf("; from the command to the last new flow on the canary: %s",
		       fg_cli_duration(text, json_number_value(took) / 1e3));
	putchar('\n');
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct fg_cli_order order = fg_cli_order(verb);
	int code = fg_cli_order_parse(&order, argc, argv, 1, "MODEL");

	if (code >= 0)
		return code;
	return fg_cli_order_run(&order,
				json_pack("{s:s, s:s}", "verb", verb->name, "model", argv[optind]),
				print_done);
}

const struct fg_cli_verb fg_cli_pause = {
	.name = "pause",
	.summary = "keep a canary at its step",
	.help = pause_help,
	.run = run,
};

const struct fg_cli_verb fg_cli_resume = {
	.name = "resume",
	.summary = "let a paused canary go on",
	.help = resume_help,
	.run = run,
};

const struct fg_cli_verb fg_cli_abort = {
	.name = "abort",
	.summary = "end a canary, back to the version before",
	.help = abort_help,
	.run = run,
};
