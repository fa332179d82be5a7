/* flipgate status: asks the service how it is and shows it, once or again and again. */
#include "tools/cli_common.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tools/cli_control.h"
#include "tools/cli_status_text.h"

#define TIMEOUT_MS 5000

static const char help[] =
	"Usage: flipgate status [--socket PATH] [--watch[=SECONDS]] [--output json|text]\n"
	"\n"
	"Shows the service: its mode, generations with what each still holds and how its drain\n"
	"goes, a canary and a shadow, workers, model versions (* is the default one) with labels\n"
	"and the reason when one failed, and every counter that is not zero.\n"
	"\n"
	"  --socket PATH      control socket; default " FG_CLI_SOCKET "\n"
	"  --watch[=SECONDS]  show again every second, or every SECONDS, until interrupted\n"
	"  --output FORMAT    text (default) or json: the control socket's reply, one per line\n"
	"\n"
	"Examples:\n"
	"  flipgate status --watch\n"
	"  flipgate status --output json | jq '.generations[] | {id, phase, flows}'\n";

struct status {
	const char *socket;
	double every_s; /* 0: once */
	struct fg_cli_output output;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

static int parse(const struct fg_cli_verb *verb, int argc, char **argv, struct status *status)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"watch", optional_argument, NULL, 'w'},
		FG_CLI_OPTIONS,
	};
	int option, code = -1;

	while (code < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			status->socket = optarg;
		else if (option != 'w')
			code = fg_cli_option(verb, option, optarg, &status->output);
		else if (fg_cli_double(verb, "--watch", optarg ? optarg : "1", 0.1, 3600,
				       &status->every_s))
			code = FG_CLI_USAGE;
	}
	if (code < 0 && argc != optind)
		return fg_cli_usage(verb, "takes no '%s'", argv[optind]);
	return code;
}

/*
 * Prints one reply. While watching a terminal, over the one before: each line is cleared as it is
 * written and the rest of the screen at the end, so that nothing flickers.
 */
static void show(const struct status *status, const json_t *reply, const json_t *before)
{
	char *text = NULL, *line, *newline;
	size_t length = 0;
	FILE *memory;

	if (status->output.json) {
		fg_cli_control_print(reply);
		return;
	}
	memory = open_memstream(&text, &length);
	if (!memory)
		return;
	fg_cli_status_print(reply, before, status->every_s, memory);
	fclose(memory);
	if (status->every_s > 0 && fg_cli_is_tty(stdout)) {
		fputs("\033[H", stdout);
		for (line = text; (newline = strchr(line, '\n')); line = newline + 1)
			printf("%.*s\033[K\n", (int)(newline - line), line);
		fputs("\033[J", stdout);
	} else {
		fputs(text, stdout);
	}
	fflush(stdout);
	free(text);
}

static int watch(const struct status *status)
{
	struct sigaction action = {.sa_handler = interrupt};
	struct timespec pause = {
		.tv_sec = (time_t)status->every_s,
		.tv_nsec = (long)((status->every_s - (double)(time_t)status->every_s) * 1e9)};
	json_t *before = NULL, *reply;
	int code = 0;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (!status->output.json && fg_cli_is_tty(stdout))
		fputs("\033[2J", stdout);
	while (!code && !interrupted) {
		code = fg_cli_control_ask(status->socket, json_pack("{s:s}", "verb", "status"),
					  TIMEOUT_MS, &reply);
		if (code)
			break;
		code = fg_cli_control_verdict(reply);
		if (!code)
			show(status, reply, before);
		json_decref(before);
		before = reply;
		if (!code)
			nanosleep(&pause, NULL);
	}
	json_decref(before);
	return interrupted ? FG_CLI_OK : code;
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	struct status status = {.socket = FG_CLI_SOCKET};
	json_t *reply;
	int code = parse(verb, argc, argv, &status);

	if (code >= 0)
		return code;
	if (status.every_s > 0)
		return watch(&status);
	code = fg_cli_control_ask(status.socket, json_pack("{s:s}", "verb", "status"), TIMEOUT_MS,
				  &reply);
	if (code)
		return code;
	code = fg_cli_control_verdict(reply);
	if (!code || status.output.json)
		show(&status, reply, NULL);
	json_decref(reply);
	return code;
}

const struct fg_cli_verb fg_cli_status = {
	.name = "status",
	.summary = "show the service: generations, flows, workers, models",
	.help = help,
	.run = run,
};
