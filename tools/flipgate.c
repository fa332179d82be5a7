/* flipgate: the command line tool. Each verb lives in a tools/cli_*.c of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tools/cli_common.h"
#include "userspace/shared/nearest.h"

static const struct fg_cli_verb *const verbs[] = {
	&fg_cli_infer,	 &fg_cli_load,	 &fg_cli_inspect, &fg_cli_verify,
	&fg_cli_publish, &fg_cli_status, &fg_cli_promote, &fg_cli_rollout_verb,
	&fg_cli_pause,	 &fg_cli_resume, &fg_cli_abort,	  &fg_cli_rollback,
	&fg_cli_shadow,	 &fg_cli_reload, &fg_cli_history, &fg_cli_upgrade,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(FILE *out)
{
	fputs("Usage: flipgate VERB [OPTION]...\n"
	      "       flipgate VERB --help\n"
	      "\n"
	      "Asks, loads, watches and steers a flipgate service.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < VERBS; i++)
		fprintf(out, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
	fputs("\n"
	      "Every verb takes --output json|text. Exit codes: 0 ok, 1 wrong usage, 2 refused or\n"
	      "failed, 3 nobody listens there, 4 time-out, 5 a file is not readable or not valid,\n"
	      "6 rolled back, 7 the live generation is not --expect-current.\n"
	      "\n"
	      "Examples:\n"
	      "  flipgate infer 10.0.0.1:9000 digits --input inputs.npy --rows 0:3\n"
	      "  flipgate load 10.0.0.1:9000 digits --input inputs.npy --rate 20000 --duration 10\n"
	      "  flipgate status --watch\n"
	      "  flipgate publish build/digits digits --wait\n"
	      "  flipgate rollout digits 3 --steps 1%,5%,25%,100% --hold 30s\n"
	      "  flipgate rollback digits\n",
	      out);
}

static int refuse(const char *name)
{
	const char *best = NULL;

	for (size_t i = 0; i < VERBS; i++)
		best = fg_nearest(name, verbs[i]->name, best);
	if (best)
		return fg_cli_fail(FG_CLI_USAGE, "no verb '%s': did you mean '%s'?", name, best);
	return fg_cli_fail(FG_CLI_USAGE, "no verb '%s'; flipgate --help lists them", name);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return FG_CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return FG_CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("flipgate " FG_VERSION);
		return FG_CLI_OK;
	}
	for (size_t i = 0; i < VERBS; i++) {
		if (strcmp(argv[1], verbs[i]->name) == 0) {
			int code;

			argv[1] = fg_cli_begin(verbs[i]);
			code = verbs[i]->run(verbs[i], argc - 1, argv + 1);

			if (fflush(stdout) || ferror(stdout))
				return fg_cli_fail(FG_CLI_BAD_DATA, "cannot write the output");
			return code;
		}
	}
	return refuse(argv[1]);
}
