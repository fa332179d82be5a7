/* flipgate inspect: what is in a model file, and would it be served? */
#include "tools/cli_common.h"

#include "models/inspect.h"

static const char help[] =
	"Usage: flipgate inspect FILE [--output json|text]\n"
	"\n"
	"Reads a model or a plan and prints its shapes, its steps and what flipgate would do with\n"
	"it. Needs no service. Exits with 5 when FILE is not a model that can be served.\n"
	"\n"
	"Examples:\n"
	"  flipgate inspect repository/digits/2/model.onnx\n"
	"  flipgate inspect model.onnx --output json | jq .\n";

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	static const struct option options[] = {FG_CLI_OPTIONS};
	struct fg_cli_output output = {.json = false};
	struct fg_error error;
	int option, code;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		code = fg_cli_option(verb, option, optarg, &output);
		if (code >= 0)
			return code;
	}
	if (argc - optind != 1)
		return fg_cli_usage(verb, "want one FILE");
	if (fg_inspect_file(argv[optind], output.json, stdout, &error))
		return fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text);
	return FG_CLI_OK;
}

const struct fg_cli_verb fg_cli_inspect = {
	.name = "inspect",
	.summary = "read a model file, print its shapes and steps",
	.help = help,
	.run = run,
};
