/* flipgate inspect: what is in a model file, and would it be served? */
#include <string.h>
#include "models/inspect.h"
#include "tools/cli_common.h"
#include "tools/cli_plan.h"

static const char help[] =
	"Usage: flipgate inspect MODEL [OPTION]...\n"
	"\n"
	"Shows what flipgate makes of a model: inputs and outputs, steps, bytes, operations, and\n"
	"the time that each step takes on this CPU for 1, 8 and 32 rows. MODEL is a model file\n"
	"(.onnx, .h5, .keras), a version's directory or a plan. Needs no service; flipgate-pack\n"
	"reads the model, without rights. Exits with 5 when it cannot be served.\n"
	"\n"
	"  -w, --weights TYPE  as if packed with f32, bf16 or int8 weights\n"
	"      --output TYPE   text (default), json, or svg: a drawing of the graph\n"
	"\n"
	"Examples:\n"
	"  flipgate inspect repository/digits/2\n"
	"  flipgate inspect model.keras --output svg >model.svg\n"
	"  flipgate inspect model.onnx --output json | jq .inputs\n";

static int print(const struct fg_cli_plan *bytes, const char *path, const char *output,
		 struct fg_error *error)
{
	struct fg_inspect_times times;
	struct fg_plan plan;
	int result = fg_plan_open(&plan, bytes->bytes, bytes->size, error);

	if (!result)
		result = fg_inspect_measure(&plan, &times, error);
	if (result)
		return result;
	if (strcmp(output, "svg") == 0)
		fg_inspect_svg(&plan, &times, path, stdout);
	else if (strcmp(output, "json") == 0)
		fg_inspect_json(&plan, &times, stdout);
	else
		fg_inspect_text(&plan, &times, stdout);
	fg_inspect_times_free(&times);
	return 0;
}

static int run(const struct fg_cli_verb *verb, int argc, char **argv)
{
	static const struct option options[] = {{"weights", required_argument, NULL, 'w'},
						FG_CLI_OPTIONS};
	struct fg_cli_output output = {.json = false};
	const char *weights = NULL, *format = "text";
	struct fg_cli_plan plan;
	struct fg_error error;
	int option, code;

	while ((option = getopt_long(argc, argv, "w:", options, NULL)) != -1) {
		if (option == 'w') {
			weights = optarg;
			continue;
		}
		if (option == 'o' && strcmp(optarg, "svg") == 0) {
			format = "svg";
			continue;
		}
		code = fg_cli_option(verb, option, optarg, &output);
		if (code >= 0)
			return code;
		format = output.json ? "json" : "text";
	}
	if (argc - optind != 1)
		return fg_cli_usage(verb, "want one MODEL");
	code = fg_cli_plan_open(&plan, argv[optind], weights, &error);
	if (!code)
		code = print(&plan, argv[optind], format, &error);
	fg_cli_plan_close(&plan);
	return code ? fg_cli_fail(FG_CLI_BAD_DATA, "%s", error.text) : FG_CLI_OK;
}

const struct fg_cli_verb fg_cli_inspect = {
	.name = "inspect",
	.summary = "what a model does, step by step, and how long it takes",
	.help = help,
	.run = run,
};
