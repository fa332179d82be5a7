/* flipgate history: who changed what, and when, from the audit log. */
#include "tools/cli_common.h"

#include <string.h>
#include "models/error.h"
#include "tools/cli_control.h"
#include "tools/cli_json.h"
#include "tools/cli_table.h"

#define TIMEOUT_MS 5000

static const char help[] =
	"Usage: flipgate history [--limit N] [--socket PATH] [--output json|text]\n"
	"\n"
	"The last lines of the audit log, oldest first: what operators asked for, and what\n"
	"flipgated did by itself (new versions, guards that broke, failed versions, reloads). The\n"
	"file itself holds one JSON object a line; flipgated only ever appends to it.\n"
	"\n"
	"  --limit N             default 20, at most 1000\n"
	"  --socket PATH         control socket; default " FG_CLI_SOCKET "\n"
	"  --output FORMAT       text (default) or json\n"
	"\n"
	"Examples:\n"
	"  flipgate history\n"
	"  flipgate history --limit 500 --output json | jq -r '.lines[] | select(.model == "
	"\"digits\")'\n";

/* "root (4711)", or "flipgated". */
static void name_of(const json_t *who, char *text, size_t room)
{
	const char *user = fg_cli_text_of(who, "user");

	if (json_is_string(who))
		snprintf(text, room, "%s", json_string_value(who));
	else if (*user)
		snprintf(text, room, "%s (%lld)", user, fg_cli_integer_of(who, "pid"));
	else
		snprintf(text, room, "uid %lld (%lld)", fg_cli_integer_of(who, "uid"),
			 fg_cli_integer_of(who, "pid"));
}

/* "1 > 2", "2", "": versions. */
static void change_of(const json_t *line, char *text, size_t room)
{
	long long from = fg_cli_integer_of(line, "from"), to = fg_cli_integer_of(line, "to");

	if (from && to && from != to)
		snprintf(text, room, "%lld > %lld", from, to);
	else if (from || to)
		snprintf(text, room, "%lld", to ? to : from);
	else
		*text = 0;
}

static void add_line(struct fg_cli_table *table, const json_t *line)
{
	const char *result = fg_cli_text_of(line, "result");
	char who[96], change[64], generation[32] = "", why[FG_ERROR_BYTES];

	name_of(json_object_get(line, "who"), who, sizeof(who));
	change_of(line, change, sizeof(change));
	if (fg_cli_integer_of(line, "generation"))
		snprintf(generation, sizeof(generation), "%lld",
			 fg_cli_integer_of(line, "generation"));
	fg_cli_table_add(table, FG_CLI_DIM, "%s", fg_cli_text_of(line, "time"));
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", who);
	fg_cli_table_add(table, FG_CLI_BOLD, "%s", fg_cli_text_of(line, "what"));
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", fg_cli_text_of(line, "model"));
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", change);
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s", generation);
	fg_cli_table_add(table, strcmp(result, "ok") == 0 ? FG_CLI_GREEN : FG_CLI_RED, "%s",
			 result);
	fg_cli_table_add(table, FG_CLI_PLAIN, "%s",
			 fg_cli_printable(why, sizeof(why), fg_cli_text_of(line, "why")));
}

static void print_lines(const json_t *reply)
{
	static const char *const names[] = {"time",	   "who",    "what", "model", "version",
					    ">generation", "result", "why",  NULL};
	const json_t *lines = json_object_get(reply, "lines");
	struct fg_cli_table table;
	json_t *line;
	size_t i;

	if (!json_array_size(lines)) {
		puts("nothing yet");
		return;
	}
	fg_cli_table_begin(&table, names);
	json_array_foreach((json_t *)lines, i, line) add_line(&table, line);
	fg_cli_table_print(&table, stdout);
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"limit", required_argument, NULL, 'l'},
		FG_CLI_OPTIONS,
	};
	struct fg_cli_output output = {.json = false};
	const char *socket = FG_CLI_SOCKET;
	uint64_t limit = 20;
	json_t *reply;
	int option, code = -1;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			socket = optarg;
		else if (option != 'l')
			code = fg_cli_option(verb, option, optarg, &output);
		else if (fg_cli_u64(verb, "--limit", optarg, 1, 1000, &limit))
			code = FG_CLI_USAGE;
	}
	if (code >= 0)
		return code;
	if (argc != optind)
		return fg_cli_usage(verb, "takes no '%s'", argv[optind]);
	code = fg_cli_control_ask(socket,
				  json_pack("{s:s, s:I}", "verb", "history", "limit",
					    (json_int_t)limit),
				  TIMEOUT_MS, &reply);
	if (code)
		return code;
	code = fg_cli_control_verdict(reply);
	if (output.json)
		fg_cli_control_print(reply);
	else if (!code)
		print_lines(reply);
	json_decref(reply);
	return code;
}

const struct fg_cli_verb fg_cli_history = {
	.name = "history",
	.summary = "who changed what, and when",
	.help = help,
	.run = run,
};
